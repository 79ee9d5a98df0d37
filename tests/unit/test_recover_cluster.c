/* Whole clusters in simulated time, in good weather, until two of five stores are gone for good: regions without a majority
 * come back by unsafe recovery, whatever was on its way when they went, and the lost stores never do. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chosen_bug.h"
#include "meta/region.h"
#include "pd/pd_parts.h"
#include "pd/pd_recovery.h"
#include "sim_cluster.h"
#include "storenode/region_worker.h"
#include "storenode/store_parts.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/check_region.h"
#include "tests/sim/sim.h"

enum { STORES = 5 };

static struct sim_cluster *make_with(uint64_t seed, uint32_t regions, uint32_t pds, bool scheduling)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.store_count = STORES;
    options.world.region_count = regions;
    options.world.pd_count = pds;
    options.world.seed = seed;
    options.swarm.scheduling = scheduling;
    options.swarm.schedule_interval_ms = 200;
    options.swarm.store_disconnected_ms = 5000;
    options.swarm.store_down_ms = 30 * 60 * 1000;
    options.swarm.hot_region_load = 1000 * 1000;
    options.swarm.region_merge_size = 0;
    return sim_cluster_new(&options);
}

static struct sim_cluster *make(uint64_t seed, uint32_t regions, uint32_t pds)
{
    return make_with(seed, regions, pds, true);
}

/* ---- regions */

struct seen {
    struct region *regions[64]; /* as their leaders have them */
    store_id leaders[64];
    uint32_t count;
};

static void visit(void *context, const struct store_peer_view *view)
{
    struct seen *seen = context;
    const struct region_peer *own = region_peer_by_id(view->members, view->peer);
    if (!raft_is_leader(view->raft) || raft_is_forced(view->raft) || !own)
        return;
    seen->leaders[seen->count] = own->store_id;
    seen->regions[seen->count++] = region_copy(view->members);
}

static void see(struct sim_cluster *cluster, struct seen *seen)
{
    seen->count = 0;
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_visit_peers(world_store(cluster->world, i)->store, visit, seen);
}

static void forget(struct seen *seen)
{
    for (uint32_t i = 0; i < seen->count; i++)
        region_free(seen->regions[i]);
    seen->count = 0;
}

/* ---- pd */

static store_id lost[3];
static uint32_t lost_count = 2;
static char plan_id[RECOVERY_PLAN_ID_SIZE];
static uint32_t force_count, hole_count;
static bool create_empty;
static enum err plan_code;
static char plan_text[sizeof(struct error)];

static struct pd_recovery *enter_pd(struct sim_cluster *cluster)
{
    struct world_node *node = world_pd(cluster->world);
    if (!node->pd || !pd_is_leading(node->pd))
        return NULL;
    sim_enter(node->node);
    return pd_sched_recovery(pd_service_sched(node->pd->service));
}

static void leave_pd(struct sim_cluster *cluster)
{
    sim_leave(world_pd(cluster->world)->node);
}

static bool has_plan(struct sim_cluster *cluster)
{
    struct pd_recovery *recovery = enter_pd(cluster);
    struct recovery_plan plan;
    struct error err = {0};
    if (!recovery)
        return false;
    plan_code = pd_recovery_plan(recovery, lost, lost_count, &plan, &err);
    snprintf(plan_text, sizeof plan_text, "%s", err.text);
    if (plan_code == ERR_OK) {
        pd_recovery_id(lost, lost_count, plan.digest, plan_id, sizeof plan_id);
        force_count = plan.force_count;
        hole_count = plan.hole_count;
        recovery_fini(&plan);
    }
    leave_pd(cluster);
    return plan_code == ERR_OK;
}

static enum err apply(struct sim_cluster *cluster, const char *id)
{
    struct pd_recovery *recovery = enter_pd(cluster);
    struct error err = {0};
    raft_index index;
    assert_non_null(recovery);
    enum err code = pd_recovery_apply(recovery, id, create_empty, &index, &err);
    leave_pd(cluster);
    return code;
}

static bool has_ended(struct sim_cluster *cluster)
{
    struct pd_recovery *recovery = enter_pd(cluster);
    struct wire_recovery last;
    struct arena arena;
    if (!recovery)
        return false;
    arena_init(&arena);
    bool ended = pd_recovery_last(recovery, &arena, &last) && last.ended_ms != 0;
    arena_fini(&arena);
    leave_pd(cluster);
    return ended;
}

/* Each region has as many voters as it should, on stores that are left, and they cover all keys. */
static bool is_whole(struct sim_cluster *cluster)
{
    struct seen seen;
    see(cluster, &seen);
    bool whole = seen.count >= world_options(cluster->world)->region_count;
    for (uint32_t i = 0; i < seen.count; i++) {
        whole &= seen.regions[i]->peer_count == 3;
        for (uint32_t k = 0; k < seen.regions[i]->peer_count; k++)
            whole &= seen.regions[i]->peers[k].role == WIRE_PEER_ROLE_VOTER &&
                     seen.regions[i]->peers[k].store_id != lost[0] && seen.regions[i]->peers[k].store_id != lost[1];
    }
    forget(&seen);
    return whole;
}

/* ---- what people and clients do */

static void put(struct sim_cluster *cluster, const char *key, const char *value)
{
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_PUT,
                                                 .key = bytes_of_string(key),
                                                 .value = bytes_of_string(value),
                                                 .deadline_ms = 20000});
}

static void get(struct sim_cluster *cluster, const char *key, const char *value)
{
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_GET, .key = bytes_of_string(key), .deadline_ms = 20000});
    assert_string_equal(cluster->value, value);
}

static void lose(struct sim_cluster *cluster, store_id a, store_id b)
{
    lost[0] = a < b ? a : b;
    lost[1] = a < b ? b : a;
    struct world_node *first = sim_cluster_store(cluster, a), *second = sim_cluster_store(cluster, b);
    world_kill(cluster->world, first, true);
    world_kill(cluster->world, second, true);
}

/* The two followers of the first region. */
static void lose_followers(struct sim_cluster *cluster)
{
    struct seen seen;
    store_id followers[2] = {0};
    uint32_t count = 0;
    see(cluster, &seen);
    assert_true(seen.count > 0);
    for (uint32_t i = 0; i < seen.regions[0]->peer_count && count < 2; i++)
        if (seen.regions[0]->peers[i].store_id != seen.leaders[0])
            followers[count++] = seen.regions[0]->peers[i].store_id;
    forget(&seen);
    assert_int_equal(count, 2);
    lose(cluster, followers[0], followers[1]);
}

static void recover(struct sim_cluster *cluster)
{
    if (!sim_cluster_run_until(cluster, 60000, has_plan))
        fail_msg("no plan: %s", plan_text);
    assert_true(force_count > 0);
    assert_int_equal(apply(cluster, plan_id), ERR_OK);
}

/* ---- claims */

static void regions_without_a_majority_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct sim_cluster *cluster = make(seed, 6, 1);
        char key[2] = "a";
        for (key[0] = 'a'; key[0] <= 'z'; key[0]++)
            put(cluster, key, key);
        sim_cluster_run_until(cluster, 3000, NULL);
        lose_followers(cluster);
        recover(cluster);
        assert_true(sim_cluster_run_until(cluster, 30000, has_ended));
        for (key[0] = 'a'; key[0] <= 'z'; key[0]++)
            get(cluster, key, key);
        assert_true(sim_cluster_run_until(cluster, 120000, is_whole));
        put(cluster, "a", "1");
        get(cluster, "a", "1");
        sim_cluster_free(cluster, false);
    }
}

/* Two neighbours become one, and are led by the one that is left: wherever the merge was, it comes to its end. */
static void a_merge_comes_to_its_end(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct sim_cluster_options options;
        struct seen seen;
        struct rng rng;
        rng_init(&rng, seed, "a_merge");
        sim_cluster_options_init(&options);
        options.world.seed = seed;
        options.swarm.store_disconnected_ms = 5000;
        options.swarm.scheduling = false;
        struct sim_cluster *cluster = sim_cluster_new(&options);
        sim_cluster_do(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("m")});
        put(cluster, "a", "1");
        put(cluster, "q", "1");
        sim_cluster_run_until(cluster, 2000, NULL);
        see(cluster, &seen);
        bool same = seen.count == 2 && seen.leaders[0] == seen.leaders[1];
        if (same) {
            sim_cluster_submit(cluster, (struct client_call){.op = CLIENT_MERGE_REGION,
                                                             .key = seen.regions[0]->start_key,
                                                             .region_id = seen.regions[0]->id,
                                                             .target_region = seen.regions[1]->id,
                                                             .deadline_ms = 3000});
            sim_cluster_run_until(cluster, (uint32_t)rng_below(&rng, 9), NULL);
            lose_followers(cluster);
            recover(cluster);
            if (!sim_cluster_run_until(cluster, 60000, has_ended))
                fail_msg("seed %d does not end", (int)seed);
            get(cluster, "a", "1");
            get(cluster, "q", "1");
            put(cluster, "a", "2");
            put(cluster, "q", "2");
        }
        forget(&seen);
        sim_cluster_free(cluster, false);
    }
}

static bool is_found(struct sim_cluster *cluster, const char *key)
{
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_GET, .key = bytes_of_string(key), .deadline_ms = 20000});
    return cluster->found;
}

/* All stores of a region are gone: its keys are a hole, and stay one unless people want an empty region there. */
static void a_hole_is_filled_if_people_say_so(void **state)
{
    (void)state;
    uint32_t found = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct sim_cluster *cluster = make(seed, 6, 1);
        struct seen seen;
        char key[2] = "a";
        for (key[0] = 'a'; key[0] <= 'z'; key[0]++)
            put(cluster, key, key);
        sim_cluster_run_until(cluster, 3000, NULL);
        see(cluster, &seen);
        store_id three[3] = {0};
        for (uint32_t i = 0; i < 3; i++)
            three[i] = seen.regions[0]->peers[i].store_id;
        forget(&seen);
        for (uint32_t i = 0; i < 3; i++) /* in order of id */
            for (uint32_t k = i + 1; k < 3; k++)
                if (three[k] < three[i]) {
                    store_id other = three[i];
                    three[i] = three[k];
                    three[k] = other;
                }
        lose(cluster, three[0], three[1]);
        world_kill(cluster->world, sim_cluster_store(cluster, three[2]), true);
        lost[2] = three[2];
        lost_count = 3;
        create_empty = true;
        recover(cluster);
        assert_true(hole_count > 0);
        assert_true(sim_cluster_run_until(cluster, 60000, has_ended));
        for (key[0] = 'a'; key[0] <= 'z'; key[0]++) {
            found += is_found(cluster, key);
            put(cluster, key, "new");
            get(cluster, key, "new");
        }
        lost_count = 2;
        create_empty = false;
        for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
            if (!world_store(cluster->world, i)->store)
                world_empty_disk(world_store(cluster->world, i));
        sim_cluster_free(cluster, false);
    }
    assert_in_range(found, 3, 3 * 26 - 1);
}

/* Changes of members, splits and writes are on their way, in the log of the one that is left only. */
static void what_was_in_the_log_counts_and_brings_nobody_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct sim_cluster *cluster = make(seed, 1, 1);
        struct rng rng;
        rng_init(&rng, seed, "what_was_in_the_log");
        put(cluster, "a", "1");
        put(cluster, "q", "1");
        struct seen seen;
        see(cluster, &seen);
        store_id fresh = 0;
        for (store_id id = 1; id <= 64 && fresh == 0; id++)
            for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
                if (store_get_id(world_store(cluster->world, i)->store) == id &&
                    !region_peer_on_store(seen.regions[0], id))
                    fresh = id;
        struct polder_peer_change change = {POLDER_PEER_ADD_LEARNER, fresh};
        region_id id = seen.regions[0]->id;
        forget(&seen);
        if (seed % 2) {
            sim_cluster_submit(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                                             .region_id = id,
                                                             .changes = &change,
                                                             .change_count = 1,
                                                             .deadline_ms = 3000});
        } else {
            sim_cluster_submit(
                cluster,
                (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("m"), .deadline_ms = 3000});
        }
        sim_cluster_run_until(cluster, (uint32_t)rng_below(&rng, 12), NULL);
        lose_followers(cluster);
        recover(cluster);
        assert_true(sim_cluster_run_until(cluster, 60000, has_ended));
        assert_true(sim_cluster_run_until(cluster, 120000, is_whole));
        get(cluster, "a", "1");
        get(cluster, "q", "1");
        put(cluster, "q", "2");
        get(cluster, "q", "2");
        sim_cluster_free(cluster, false);
    }
}

static struct world_node *comes_back;

static bool is_off(struct sim_cluster *cluster)
{
    (void)cluster;
    return comes_back->store == NULL;
}

static void a_lost_store_never_comes_back(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(1, 4, 1);
    put(cluster, "a", "1");
    sim_cluster_run_until(cluster, 3000, NULL);
    struct world_node *nodes[2];
    uint32_t count = 0;
    lose_followers(cluster);
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (!world_store(cluster->world, i)->store)
            nodes[count++] = world_store(cluster->world, i);
    assert_int_equal(count, 2);
    recover(cluster);
    assert_true(sim_cluster_run_until(cluster, 30000, has_ended));
    for (uint32_t i = 0; i < 2; i++) { /* with its disk, as it was */
        comes_back = nodes[i];
        comes_back->may_stop = true;
        sim_cluster_start(cluster, comes_back);
    }
    for (uint32_t i = 0; i < 2; i++) {
        comes_back = nodes[i];
        assert_true(sim_cluster_run_until(cluster, 5000, is_off));
    }
    put(cluster, "a", "2");
    get(cluster, "a", "2");
    assert_true(sim_cluster_run_until(cluster, 120000, is_whole));
    sim_cluster_free(cluster, false);
}

/* The settings say what goes on; who leads looks anew. */
static void it_goes_on_when_pd_changes_its_leader(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct sim_cluster *cluster = make(seed, 6, 3);
        struct rng rng;
        rng_init(&rng, seed, "it_goes_on");
        put(cluster, "a", "1");
        sim_cluster_run_until(cluster, 3000, NULL);
        lose_followers(cluster);
        recover(cluster);
        sim_cluster_run_until(cluster, (uint32_t)rng_below(&rng, 1500), NULL);
        struct world_node *leader = world_pd(cluster->world);
        world_kill(cluster->world, leader, false);
        sim_cluster_start(cluster, leader);
        if (!sim_cluster_run_until(cluster, 20000, has_ended)) {
            /* The order itself was lost with that leader: whoever gave it finds out, and gives it again. */
            recover(cluster);
            assert_true(sim_cluster_run_until(cluster, 30000, has_ended));
        }
        assert_true(sim_cluster_run_until(cluster, 120000, is_whole));
        get(cluster, "a", "1");
        sim_cluster_free(cluster, false);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(1, 4, 1);
    lost[0] = store_get_id(world_store(cluster->world, 1)->store);
    lost[1] = store_get_id(world_store(cluster->world, 2)->store);
    assert_false(has_plan(cluster)); /* they are up */
    assert_int_equal(plan_code, ERR_CONDITION_FAILED);
    lose_followers(cluster);
    store_id both[2] = {lost[0], lost[1]};
    assert_true(sim_cluster_run_until(cluster, 60000, has_plan));
    lost[1] = lost[0]; /* the other one is not heard either */
    assert_false(has_plan(cluster));
    assert_int_equal(plan_code, ERR_CONDITION_FAILED);
    lost[1] = both[1];
    assert_int_equal(apply(cluster, "nonsense"), ERR_INVALID);
    assert_true(sim_cluster_run_until(cluster, 60000, has_plan));
    size_t last = strlen(plan_id) - 1;
    plan_id[last] = plan_id[last] == '0' ? '1' : '0';
    assert_int_equal(apply(cluster, plan_id), ERR_CONDITION_FAILED); /* not what is left */
    recover(cluster);
    sim_cluster_run_until(cluster, 100, NULL);
    assert_int_equal(apply(cluster, plan_id), ERR_OK); /* again: it goes on */
    assert_true(sim_cluster_run_until(cluster, 30000, has_ended));
    sim_cluster_free(cluster, false);
}

/* ---- a late word */

static void free_steps(struct message *message)
{
    struct regions_message *steps = (struct regions_message *)message;
    free(steps->reply.steps[0].lost);
    free(steps->reply.steps);
    free(steps);
}

/* As if pd said so to the store of this peer. */
static void say_force(struct sim_cluster *cluster, const struct region *region, const struct region_peer *peer,
                      store_id lost_store)
{
    struct world_node *node = sim_cluster_store(cluster, peer->store_id);
    struct regions_message *message = calloc(1, sizeof *message);
    assert_non_null(message);
    message->message = (struct message){.kind = WORKER_STEPS, .free = free_steps};
    message->reply.steps = calloc(1, sizeof *message->reply.steps);
    message->reply.steps_count = 1;
    struct wire_region_step *step = &message->reply.steps[0];
    *step = (struct wire_region_step){.region_id = region->id,
                                      .kind = WIRE_STEP_KIND_FORCE,
                                      .peer_id = peer->id,
                                      .epoch_conf = region->epoch_conf,
                                      .epoch_version = region->epoch_version,
                                      .epoch_conf_next = region->epoch_conf + RECOVERY_CONF_STEP,
                                      .lost = calloc(1, sizeof(store_id)),
                                      .lost_count = 1};
    step->lost[0] = lost_store;
    sim_enter(node->node);
    struct store *store = node->store;
    actor_post_must(store->env->executor, region_worker_actor(store->workers[region->id % store->worker_count]),
                    &message->message);
    sim_leave(node->node);
}

static void a_late_word_does_not_hit_a_healthy_region(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(1, 1, 1);
    struct seen before, after;
    put(cluster, "a", "1");
    see(cluster, &before);
    assert_int_equal(before.count, 1);
    const struct region *region = before.regions[0];
    for (uint32_t i = 0; i < region->peer_count; i++)
        for (uint32_t k = 0; k < region->peer_count; k++)
            if (i != k)
                say_force(cluster, region, &region->peers[i], region->peers[k].store_id);
    sim_cluster_run_until(cluster, 5000, NULL);
    see(cluster, &after);
    assert_int_equal(after.count, 1);
    assert_int_equal(after.regions[0]->epoch_conf, region->epoch_conf);
    assert_int_equal(after.regions[0]->peer_count, region->peer_count);
    assert_int_equal(after.leaders[0], before.leaders[0]);
    forget(&before);
    forget(&after);
    put(cluster, "a", "2");
    sim_cluster_free(cluster, false);
}

/* ---- members that stay, and that left */

static int change(struct sim_cluster *cluster, region_id region, const struct polder_peer_change *changes, size_t count)
{
    sim_cluster_ask(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                                  .region_id = region,
                                                  .changes = changes,
                                                  .change_count = count,
                                                  .deadline_ms = 20000});
    return cluster->outcome == POLDER_DONE ? POLDER_OK : cluster->code;
}

/* Of the lone region: a store that has no peer of it. */
static store_id store_without_peer(struct sim_cluster *cluster, const struct region *region)
{
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++) {
        store_id id = store_get_id(world_store(cluster->world, i)->store);
        if (!region_peer_on_store(region, id))
            return id;
    }
    fail_msg("all have one");
    return 0;
}

static void who_is_left_and_follows_stays_a_member(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct sim_cluster *cluster = make_with(seed, 1, 1, false);
        struct seen before, after;
        put(cluster, "a", "1");
        see(cluster, &before);
        const struct region *region = before.regions[0];
        store_id fourth = store_without_peer(cluster, region);
        struct polder_peer_change add = {POLDER_PEER_ADD_LEARNER, fourth}, promote = {POLDER_PEER_PROMOTE, fourth};
        assert_int_equal(change(cluster, region->id, &add, 1), POLDER_OK);
        assert_int_equal(change(cluster, region->id, &promote, 1), POLDER_OK);
        lose_followers(cluster); /* two of four */
        recover(cluster);
        assert_true(sim_cluster_run_until(cluster, 60000, has_ended));
        see(cluster, &after);
        assert_int_equal(after.count, 1);
        assert_int_equal(after.regions[0]->peer_count, 2);
        get(cluster, "a", "1");
        put(cluster, "a", "2"); /* by both */
        forget(&before);
        forget(&after);
        sim_cluster_free(cluster, false);
    }
}

static void free_create(struct message *message)
{
    struct regions_message *steps = (struct regions_message *)message;
    free(steps->reply.steps);
    free(steps);
}

static void say_create(struct sim_cluster *cluster, const struct region *region, peer_id peer, store_id to)
{
    struct world_node *node = sim_cluster_store(cluster, to);
    struct regions_message *message = calloc(1, sizeof *message);
    assert_non_null(message);
    message->message = (struct message){.kind = WORKER_STEPS, .free = free_create};
    message->reply.steps = calloc(1, sizeof *message->reply.steps);
    message->reply.steps_count = 1;
    message->reply.steps[0] = (struct wire_region_step){.region_id = region->id,
                                                        .kind = WIRE_STEP_KIND_CREATE,
                                                        .peer_id = peer,
                                                        .epoch_conf = 1,
                                                        .epoch_version = 1,
                                                        .key = region->start_key,
                                                        .end_key = region->end_key};
    sim_enter(node->node);
    struct store *store = node->store;
    actor_post_must(store->env->executor, region_worker_actor(store->workers[region->id % store->worker_count]),
                    &message->message);
    sim_leave(node->node);
}

/* The word was on its way for so long that the region has left the store. */
static void a_late_word_makes_no_empty_region(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make_with(1, 1, 1, false);
    struct seen before, after;
    put(cluster, "a", "1");
    see(cluster, &before);
    const struct region *region = before.regions[0];
    const struct region_peer *from = &region->peers[region->peers[0].store_id == before.leaders[0]];
    store_id to = store_without_peer(cluster, region);
    struct polder_peer_change add = {POLDER_PEER_ADD_LEARNER, to};
    struct polder_peer_change step[] = {{POLDER_PEER_PROMOTE, to}, {POLDER_PEER_REMOVE, from->store_id}};
    assert_int_equal(change(cluster, region->id, &add, 1), POLDER_OK);
    assert_int_equal(change(cluster, region->id, step, 2), POLDER_OK);
    sim_cluster_run_until(cluster, 5000, NULL);
    say_create(cluster, region, from->id, from->store_id);
    sim_cluster_run_until(cluster, 5000, NULL);
    see(cluster, &after);
    assert_int_equal(after.count, 1);
    assert_int_equal(after.leaders[0], before.leaders[0]);
    get(cluster, "a", "1");
    forget(&before);
    forget(&after);
    sim_cluster_free(cluster, true);
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_without_a_majority_come_back),
        cmocka_unit_test(what_was_in_the_log_counts_and_brings_nobody_back),
        cmocka_unit_test(a_merge_comes_to_its_end),
        cmocka_unit_test(a_hole_is_filled_if_people_say_so),
        cmocka_unit_test(a_lost_store_never_comes_back),
        cmocka_unit_test(it_goes_on_when_pd_changes_its_leader),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_late_word_does_not_hit_a_healthy_region),
        cmocka_unit_test(who_is_left_and_follows_stays_a_member),
        cmocka_unit_test(a_late_word_makes_no_empty_region),
    };
    return cmocka_run_group_tests_name("recover_cluster", tests, NULL, NULL);
}
