/* Whole clusters in simulated time: a key that was seen to be gone stays gone, whatever becomes of clocks, leaders and
 * regions; and it goes although nobody writes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chosen_bug.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/check_region.h"
#include "tests/sim/world.h"

enum { TTL_MS = 5000, AHEAD_MS = 10000 };

struct cluster {
    struct world *world;
    struct check_raft *check;
    bool answered;
    enum polder_outcome outcome;
    bool found;
    uint64_t ttl_ms;
    char value[64];
};

static uint64_t now_ms(const struct cluster *cluster)
{
    return sim_heap_ns(world_sim(cluster->world)) / 1000000;
}

static bool run_until(struct cluster *cluster, uint32_t limit_ms, bool (*is_done)(struct cluster *cluster))
{
    uint64_t limit = now_ms(cluster) + limit_ms;
    while (now_ms(cluster) < limit && world_step(cluster->world)) {
        struct sim_node *last = sim_last_node(world_sim(cluster->world));
        if (last && sim_node_is_up(last) && world_node_of(cluster->world, last)->role == WORLD_STORE)
            check_raft_store(cluster->check, world_node_of(cluster->world, last));
        if (is_done && is_done(cluster))
            return true;
    }
    assert_string_equal(world_failure(cluster->world), "");
    return !is_done;
}

static void start(struct cluster *cluster, struct world_node *node)
{
    struct error err = {0};
    assert_int_equal(world_start(cluster->world, node, &err), ERR_OK);
}

static bool is_whole(struct cluster *cluster)
{
    return check_raft_is_whole(cluster->check, true, NULL, 0);
}

/* Logs are cut at once, the engine drops what it may ten times a second. */
static struct cluster *cluster_new(void)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct swarm swarm;
    swarm_draw(1, false, 0, 0, &swarm);
    swarm.expiry_interval_ms = 100;
    swarm.log_retain_count = 0;
    swarm.log_count_max = 8;
    swarm.log_check_interval_ms = 100;
    swarm.tokens_save_interval = 1;
    cluster->world =
        world_new(&(struct world_options){.seed = 1, .store_count = 3, .client_count = 1, .region_count = 1}, &swarm);
    cluster->check = check_raft_new(cluster->world);
    for (uint32_t i = 0; i < world_node_count(cluster->world); i++)
        start(cluster, world_node(cluster->world, i));
    assert_true(run_until(cluster, 60000, is_whole));
    return cluster;
}

static void cluster_free(struct cluster *cluster)
{
    assert_true(run_until(cluster, 60000, is_whole));
    check_region_ranges(cluster->world);
    check_region_replicas(cluster->world);
    assert_string_equal(world_failure(cluster->world), "");
    world_free(cluster->world);
    check_raft_free(cluster->check);
    free(cluster);
}

/* ---- a client */

static void on_done(void *user, struct polder_result *take_result)
{
    struct cluster *cluster = user;
    cluster->answered = true;
    cluster->outcome = take_result->outcome;
    cluster->found = take_result->found;
    cluster->ttl_ms = take_result->ttl_ms;
    snprintf(cluster->value, sizeof cluster->value, "%.*s", (int)take_result->value.size,
             (const char *)take_result->value.data);
    polder_result_free(take_result);
}

static bool is_answered(struct cluster *cluster)
{
    return cluster->answered;
}

static void ask(struct cluster *cluster, struct client_call call)
{
    struct world_node *client = world_client(cluster->world, 1);
    call.done = on_done;
    call.user = cluster;
    call.deadline_ms = 30000;
    cluster->answered = false;
    sim_enter(client->node);
    assert_int_equal(client_submit(client->client, &call), ERR_OK);
    sim_leave(client->node);
    assert_true(run_until(cluster, 40000, is_answered));
    assert_int_equal(cluster->outcome, POLDER_DONE);
}

static void put(struct cluster *cluster, const char *key, uint64_t ttl_ms)
{
    ask(cluster, (struct client_call){
                     .op = CLIENT_PUT, .key = bytes_of_string(key), .value = bytes_of_string("v"), .ttl_ms = ttl_ms});
}

static bool has(struct cluster *cluster, const char *key)
{
    ask(cluster, (struct client_call){.op = CLIENT_GET, .key = bytes_of_string(key)});
    return cluster->found;
}

/* ---- stores */

struct look {
    bool leads;
    raft_index applied;
};

static void look(void *context, const struct store_peer_view *view)
{
    struct look *found = context;
    found->leads |= raft_is_leader(view->raft);
    found->applied = view->applied_index > found->applied ? view->applied_index : found->applied;
}

static struct look look_at(struct cluster *cluster, uint32_t store)
{
    struct look found = {0};
    if (world_store(cluster->world, store)->store)
        store_visit_peers(world_store(cluster->world, store)->store, look, &found);
    return found;
}

static uint32_t leader_of(struct cluster *cluster)
{
    for (uint32_t store = 1; store <= 3; store++)
        if (look_at(cluster, store).leads)
            return store;
    return 0;
}

static void set_clocks(struct cluster *cluster, int64_t skew_ms)
{
    for (uint32_t store = 1; store <= 3; store++)
        sim_node_set_clock(world_store(cluster->world, store)->node, 0, skew_ms);
}

/* k is gone by the clock of its leader, which was ahead; somebody has been told. Now no clock is ahead any more. */
static struct cluster *cluster_with_a_key_that_is_gone(void)
{
    struct cluster *cluster = cluster_new();
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    put(cluster, "other", 0);
    assert_true(has(cluster, "k"));
    set_clocks(cluster, AHEAD_MS);
    assert_false(has(cluster, "k"));
    set_clocks(cluster, 0);
    return cluster;
}

static void expect_gone(struct cluster *cluster)
{
    for (int i = 0; i < 3; i++) { /* by whoever leads, over and over; and for those who write */
        assert_false(has(cluster, "k"));
        assert_false(has(cluster, "z"));
        put(cluster, "other", i % 2 ? TTL_MS : 0);
    }
    ask(cluster, (struct client_call){.op = CLIENT_CAS, .key = bytes_of_string("k"), .value = bytes_of_string("new")});
    assert_true(has(cluster, "k"));
}

/* ---- claims */

static void what_is_gone_stays_gone_when_clocks_go_back(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_with_a_key_that_is_gone();
    expect_gone(cluster);
    cluster_free(cluster);
}

static void what_is_gone_stays_gone_with_another_leader(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_with_a_key_that_is_gone();
    uint32_t leader = leader_of(cluster);
    world_kill(cluster->world, world_store(cluster->world, leader), false);
    expect_gone(cluster);
    start(cluster, world_store(cluster->world, leader));
    cluster_free(cluster);
}

static void what_is_gone_stays_gone_when_all_have_died(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_with_a_key_that_is_gone();
    for (uint32_t store = 1; store <= 3; store++)
        world_kill(cluster->world, world_store(cluster->world, store), true);
    for (uint32_t store = 1; store <= 3; store++)
        start(cluster, world_store(cluster->world, store));
    expect_gone(cluster);
    cluster_free(cluster);
}

/* z goes to a new region, k stays. */
static void what_is_gone_stays_gone_in_both_parts_of_a_split(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_with_a_key_that_is_gone();
    ask(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("p")});
    expect_gone(cluster);
    cluster_free(cluster);
}

/* A store that was away gets the rows by a snapshot, expired ones perhaps among them, and leads in the end. */
static void what_is_gone_stays_gone_where_a_snapshot_came(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new();
    uint32_t leader = leader_of(cluster), away = leader % 3 + 1, third = away % 3 + 1;
    world_kill(cluster->world, world_store(cluster->world, away), false);
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    for (int i = 0; i < 40; i++)
        put(cluster, "other", 0);
    sim_node_set_clock(world_store(cluster->world, leader)->node, 0, AHEAD_MS);
    assert_false(has(cluster, "k"));
    sim_node_set_clock(world_store(cluster->world, leader)->node, 0, 0);
    run_until(cluster, 3000, NULL);
    start(cluster, world_store(cluster->world, away));
    assert_true(run_until(cluster, 60000, is_whole));
    struct store_snapshot_counts counts = {0};
    store_add_snapshot_counts(world_store(cluster->world, away)->store, &counts);
    assert_true(counts.installed + counts.installed_at_start > 0);
    world_kill(cluster->world, world_store(cluster->world, leader), false);
    while (leader_of(cluster) != away) { /* one of two */
        world_kill(cluster->world, world_store(cluster->world, third), false);
        run_until(cluster, 300, NULL);
        start(cluster, world_store(cluster->world, third));
        run_until(cluster, 5000, NULL);
    }
    expect_gone(cluster);
    start(cluster, world_store(cluster->world, leader));
    cluster_free(cluster);
}

/* The region sleeps; who asks for the key wakes it, and one entry lets time pass for all that is due. */
static void a_key_goes_although_nobody_writes(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new();
    put(cluster, "later", 60000);
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    ask(cluster, (struct client_call){.op = CLIENT_TTL, .key = bytes_of_string("k")});
    assert_true(cluster->found);
    assert_in_range(cluster->ttl_ms, TTL_MS - 500, TTL_MS);
    run_until(cluster, 2 * TTL_MS, NULL);
    raft_index before = look_at(cluster, leader_of(cluster)).applied;
    uint64_t began_ms = now_ms(cluster);
    assert_false(has(cluster, "k"));
    assert_in_range(now_ms(cluster) - began_ms, 0, 100);
    assert_false(has(cluster, "z"));
    assert_true(has(cluster, "later"));
    assert_int_equal(look_at(cluster, leader_of(cluster)).applied, before + 1);
    cluster_free(cluster);
}

/* When all is over, time passes once more by itself, and the rows may go; the simulated compaction takes half. */
static void what_has_expired_leaves_the_disks_although_nobody_asks(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new();
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    put(cluster, "other", 0);
    run_until(cluster, 3 * TTL_MS, NULL);
    uint64_t dropped = 0;
    for (uint32_t store = 1; store <= 3; store++) {
        struct engine_mem_stats stats;
        engine_mem_stats(world_store(cluster->world, store)->disk, &stats);
        assert_int_equal(stats.row_count[ENGINE_DEFAULT] + stats.expired_count, 3);
        dropped += stats.expired_count;
    }
    assert_in_range(dropped, 1, 6);
    raft_index before = look_at(cluster, 1).applied;
    run_until(cluster, 3 * TTL_MS, NULL);
    assert_int_equal(look_at(cluster, 1).applied, before); /* and not again */
    cluster_free(cluster);
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_gone_stays_gone_when_clocks_go_back),
        cmocka_unit_test(what_is_gone_stays_gone_with_another_leader),
        cmocka_unit_test(what_is_gone_stays_gone_when_all_have_died),
        cmocka_unit_test(what_is_gone_stays_gone_in_both_parts_of_a_split),
        cmocka_unit_test(what_is_gone_stays_gone_where_a_snapshot_came),
        cmocka_unit_test(a_key_goes_although_nobody_writes),
        cmocka_unit_test(what_has_expired_leaves_the_disks_although_nobody_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
