/* Whole clusters in simulated time, in good weather: what pd is asked for, and decides, is done by the stores; a step of
 * another epoch, or of a learner that lags, is not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "chosen_bug.h"
#include "pd/pd_sched.h"
#include "sim_cluster.h"
#include "storenode/region_worker.h"
#include "tests/sim/sim.h"

static struct sim_cluster *make(uint32_t stores, bool scheduling)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.store_count = stores;
    options.swarm.scheduling = scheduling;
    options.swarm.schedule_interval_ms = 100;
    options.swarm.split_merge_interval_ms = 0;
    return sim_cluster_new(&options);
}

static struct pd_sched *sched_of(struct sim_cluster *cluster)
{
    return pd_get_sched(world_pd_member(cluster->world, 1)->pd);
}

/* A store with (or without) a peer, other than the leader's. */
static store_id store_with_peer(struct sim_cluster *cluster, bool peer)
{
    const struct region *region = sim_cluster_look(cluster);
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++) {
        store_id id = store_get_id(world_store(cluster->world, i)->store);
        if (id != cluster->leader && (region_peer_on_store(region, id) != NULL) == peer)
            return id;
    }
    fail_msg("there is none");
    return 0;
}

static void end(struct sim_cluster *cluster)
{
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_free(cluster, true);
}

/* ---- a step, as pd's answer brings it */

static void free_steps(struct message *message)
{
    struct regions_message *steps = (struct regions_message *)message;
    arena_fini(&steps->message_arena);
    free(steps);
}

static void give(struct sim_cluster *cluster, struct wire_region_step step)
{
    struct world_node *node = sim_cluster_store(cluster, cluster->leader);
    struct regions_message *message = calloc(1, sizeof *message);
    message->message = (struct message){.kind = WORKER_STEPS, .free = free_steps};
    arena_init(&message->message_arena);
    message->reply.steps = arena_alloc(&message->message_arena, sizeof step);
    message->reply.steps[0] = step;
    message->reply.steps_count = 1;
    sim_enter(node->node);
    actor_post_must(node->env.executor,
                    region_worker_actor(node->store->workers[step.region_id % node->store->worker_count]),
                    &message->message);
    sim_leave(node->node);
    sim_cluster_run_until(cluster, 1000, NULL);
}

static void a_step_of_another_epoch_is_not_done(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4, false);
    sim_cluster_run_until(cluster, 3000, NULL); /* stores know of each other */
    const struct region *region = sim_cluster_look(cluster);
    uint64_t conf = region->epoch_conf;
    struct wire_region_step step = {.region_id = region->id,
                                    .epoch_conf = conf + 1,
                                    .epoch_version = region->epoch_version,
                                    .kind = WIRE_STEP_KIND_ADD_LEARNER,
                                    .store_id = store_with_peer(cluster, false)};
    give(cluster, step);
    step.epoch_conf = conf;
    step.epoch_version++;
    give(cluster, step);
    assert_int_equal(sim_cluster_look(cluster)->epoch_conf, conf);
    step.epoch_version--;
    give(cluster, step);
    assert_int_equal(sim_cluster_look(cluster)->epoch_conf, conf + 1);
    end(cluster);
}

static void a_learner_that_lags_is_not_promoted(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4, false);
    sim_cluster_run_until(cluster, 3000, NULL); /* stores know of each other */
    const struct region *region = sim_cluster_look(cluster);
    struct wire_region_step step = {.region_id = region->id,
                                    .epoch_conf = region->epoch_conf,
                                    .epoch_version = region->epoch_version,
                                    .kind = WIRE_STEP_KIND_ADD_LEARNER,
                                    .store_id = store_with_peer(cluster, false)};
    struct world_node *away = sim_cluster_store(cluster, step.store_id);
    world_kill(cluster->world, away, false);
    give(cluster, step);
    step.epoch_conf = sim_cluster_look(cluster)->epoch_conf;
    step.kind = WIRE_STEP_KIND_CHANGE;
    give(cluster, step);
    assert_int_equal(sim_cluster_look(cluster)->epoch_conf, step.epoch_conf);
    assert_int_equal(region_peer_on_store(sim_cluster_look(cluster), step.store_id)->role, WIRE_PEER_ROLE_LEARNER);
    sim_cluster_start(cluster, away);
    sim_cluster_run_until(cluster, 5000, NULL);
    give(cluster, step);
    assert_int_equal(region_peer_on_store(sim_cluster_look(cluster), step.store_id)->role, WIRE_PEER_ROLE_VOTER);
    end(cluster);
}

/* ---- what people ask pd for */

static bool is_idle(struct sim_cluster *cluster)
{
    return operator_list_count(pd_sched_view(sched_of(cluster))->operators) == 0;
}

static enum operator_state wait_end(struct sim_cluster *cluster, uint64_t number)
{
    assert_true(sim_cluster_run_until(cluster, 60000, is_idle));
    return pd_sched_operator(sched_of(cluster), number)->state;
}

static void a_peer_moves_because_somebody_asked_pd(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4, false);
    uint64_t number;
    struct error error = {0};
    region_id region = sim_cluster_look(cluster)->id;
    store_id from = cluster->leader, to = store_with_peer(cluster, false);
    sim_cluster_run_until(cluster, 2000, NULL);
    assert_int_equal(pd_sched_move_peer(sched_of(cluster), region, from, to, &number, &error), ERR_OK);
    assert_int_equal(pd_sched_cancel(sched_of(cluster), region + 1, &error), ERR_NOT_FOUND);
    assert_int_equal(pd_sched_split(sched_of(cluster), region, &number, &error), ERR_BUSY);
    assert_int_equal(wait_end(cluster, number), OPERATOR_DONE);
    assert_null(region_peer_on_store(sim_cluster_look(cluster), from));
    assert_int_equal(region_peer_on_store(sim_cluster_look(cluster), to)->role, WIRE_PEER_ROLE_VOTER);
    assert_int_equal(cluster->region->peer_count, 3);
    end(cluster);
}

static void put(struct sim_cluster *cluster, uint32_t number)
{
    char key[16], value[200];
    snprintf(key, sizeof key, "k%06u", number);
    memset(value, 'v', sizeof value);
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_PUT,
                                                 .key = bytes_of_string(key),
                                                 .value = bytes_of((const uint8_t *)value, sizeof value)});
}

static bool is_two(struct sim_cluster *cluster)
{
    return region_tree_count(pd_sched_view(sched_of(cluster))->regions) == 2 && is_idle(cluster);
}

static bool is_one(struct sim_cluster *cluster)
{
    return region_tree_count(pd_sched_view(sched_of(cluster))->regions) == 1 && is_idle(cluster);
}

static void a_region_is_split_in_the_middle_and_merged_again(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3, false);
    uint64_t number;
    struct error error = {0};
    for (uint32_t i = 0; i < 100; i++)
        put(cluster, i);
    region_id region = sim_cluster_look(cluster)->id;
    sim_cluster_run_until(cluster, 2000, NULL);
    assert_int_equal(pd_sched_split(sched_of(cluster), region, &number, &error), ERR_OK);
    assert_true(sim_cluster_run_until(cluster, 60000, is_two));
    const struct region_tree *regions = pd_sched_view(sched_of(cluster))->regions;
    struct region_node *first = region_tree_seek(regions, bytes_empty());
    struct bytes middle = region_node_end(first);
    char text[16] = "";
    assert_in_range(middle.size, 6, sizeof text - 1);
    memcpy(text, middle.data, middle.size);
    assert_memory_equal(text, "rk0000", 6);
    assert_in_range(atoi(text + 2), 30, 70);
    region_id second = region_node_id(region_tree_next(regions, first));
    sim_cluster_run_until(cluster, 12000, NULL); /* who leads them is known */
    assert_int_equal(pd_sched_merge(sched_of(cluster), region_node_id(first), second, &number, &error), ERR_OK);
    assert_true(sim_cluster_run_until(cluster, 60000, is_one));
    end(cluster);
}

static bool is_tombstone(struct sim_cluster *cluster)
{
    if (!pd_sched_view(sched_of(cluster)))
        return false;
    const struct store_table *stores = pd_sched_view(sched_of(cluster))->stores;
    for (uint32_t i = 0; i < store_table_count(stores); i++)
        if (store_table_at(stores, i)->wanted == STORE_TOMBSTONE && store_table_at(stores, i)->tombstone_said)
            return true;
    return false;
}

/* A store is drained by pd's own decisions; what people wanted outlasts the one that led. */
static void a_drained_store_ends_empty_whoever_leads(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4, true);
    struct world_node *pd = world_pd_member(cluster->world, 1);
    raft_index index;
    struct error error = {0};
    sim_cluster_look(cluster);
    store_id leaving = cluster->leader;
    sim_cluster_run_until(cluster, 2000, NULL);
    assert_int_equal(pd_sched_drain(sched_of(cluster), leaving, &index, &error), ERR_OK);
    assert_int_equal(pd_sched_cordon(sched_of(cluster), leaving, true, &index, &error), ERR_BUSY);
    sim_cluster_run_until(cluster, 500, NULL);
    assert_int_equal(pd_sched_label(sched_of(cluster), leaving, "zone", "a", &index, &error), ERR_OK);
    sim_cluster_run_until(cluster, 500, NULL);
    assert_int_equal(pd_sched_drain(sched_of(cluster), leaving, &index, &error), ERR_CONDITION_FAILED);
    world_kill(cluster->world, pd, false);
    sim_cluster_start(cluster, pd);
    assert_true(sim_cluster_run_until(cluster, 120000, is_tombstone));
    sim_cluster_run_until(cluster, 500, NULL);
    assert_null(region_peer_on_store(sim_cluster_look(cluster), leaving));
    const struct store_table *stores = pd_sched_view(sched_of(cluster))->stores;
    assert_int_equal(store_table_find(stores, leaving)->label_count, 1);
    assert_int_equal(pd_sched_drain(sched_of(cluster), cluster->leader, &index, &error), ERR_CONDITION_FAILED);
    sim_cluster_run_until(cluster, 500, NULL);
    assert_int_equal(pd_sched_remove_tombstone(sched_of(cluster), leaving, &index, &error), ERR_OK);
    sim_cluster_run_until(cluster, 1000, NULL);
    assert_null(store_table_find(pd_sched_view(sched_of(cluster))->stores, leaving));
    end(cluster);
}

static void a_rule_that_nothing_can_meet_starts_nothing_and_says_why(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3, true);
    raft_index index;
    struct error error = {0};
    struct buf json;
    const struct wire_placement_rule rule = {
        .group = bytes_of_string("polder"), .name = bytes_of_string("default"), .count = 5};
    const struct wire_placement_rule odd = {.group = bytes_of_string("a/b"), .name = bytes_of_string("c"), .count = 1};
    sim_cluster_look(cluster);
    sim_cluster_run_until(cluster, 2000, NULL);
    assert_int_equal(pd_sched_put_rule(sched_of(cluster), &odd, &index, &error), ERR_INVALID);
    assert_int_equal(pd_sched_put_rule(sched_of(cluster), &rule, &index, &error), ERR_OK);
    sim_cluster_run_until(cluster, 20000, NULL);
    assert_int_equal(pd_sched_scheduler(sched_of(cluster))->started_count, 0);
    buf_init(&json, 64 * 1024);
    assert_int_equal(pd_sched_why_region(sched_of(cluster), sim_cluster_look(cluster)->id, &json, &error), ERR_OK);
    assert_non_null(strstr((const char *)json.data, "misses_peer"));
    buf_fini(&json);
    assert_int_equal(pd_sched_remove_rule(sched_of(cluster), "polder", "default", &index, &error), ERR_OK);
    end(cluster);
}

static void a_region_without_a_majority_waits_and_says_so(void **unused)
{
    (void)unused;
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.store_count = 5;
    options.swarm.scheduling = true;
    options.swarm.store_down_ms = 10000;
    struct sim_cluster *cluster = sim_cluster_new(&options);
    struct error error = {0};
    struct buf json;
    uint64_t number;
    const struct region *region = sim_cluster_look(cluster);
    region_id id = region->id;
    store_id other = store_with_peer(cluster, true), without = store_with_peer(cluster, false);
    struct world_node *lost[] = {sim_cluster_store(cluster, cluster->leader), sim_cluster_store(cluster, other)};
    sim_cluster_run_until(cluster, 2000, NULL);
    for (int i = 0; i < 2; i++)
        world_kill(cluster->world, lost[i], false);
    sim_cluster_run_until(cluster, 60000, NULL); /* both are down, and three others would have room */
    assert_int_equal(pd_sched_scheduler(sched_of(cluster))->started_count, 0);
    buf_init(&json, 64 * 1024);
    assert_int_equal(pd_sched_why_region(sched_of(cluster), id, &json, &error), ERR_OK);
    assert_int_equal(buf_append_u8(&json, 0), ERR_OK);
    assert_non_null(strstr((const char *)json.data, "no_majority"));
    buf_fini(&json);
    assert_int_equal(pd_sched_add_peer(sched_of(cluster), id, without, false, &number, &error), ERR_CONDITION_FAILED);
    for (int i = 0; i < 2; i++)
        sim_cluster_start(cluster, lost[i]);
    end(cluster);
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_of_another_epoch_is_not_done),
        cmocka_unit_test(a_learner_that_lags_is_not_promoted),
        cmocka_unit_test(a_peer_moves_because_somebody_asked_pd),
        cmocka_unit_test(a_region_is_split_in_the_middle_and_merged_again),
        cmocka_unit_test(a_drained_store_ends_empty_whoever_leads),
        cmocka_unit_test(a_rule_that_nothing_can_meet_starts_nothing_and_says_why),
        cmocka_unit_test(a_region_without_a_majority_waits_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
