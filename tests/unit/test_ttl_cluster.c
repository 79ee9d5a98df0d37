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
#include "sim_cluster.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/check_region.h"

enum { TTL_MS = 5000, AHEAD_MS = 10000 };

/* Logs are cut at once, the engine drops what it may ten times a second. */
static struct sim_cluster *make(void)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.swarm.expiry_interval_ms = 100;
    options.swarm.log_retain_count = 0;
    options.swarm.log_count_max = 8;
    options.swarm.log_check_interval_ms = 100;
    options.swarm.tokens_save_interval = 1;
    return sim_cluster_new(&options);
}

static void end(struct sim_cluster *cluster)
{
    assert_true(sim_cluster_run_until(cluster, 60000, sim_cluster_is_whole));
    sim_cluster_free(cluster, true);
}

/* ---- a client */

static void ask(struct sim_cluster *cluster, struct client_call call)
{
    call.deadline_ms = 30000;
    sim_cluster_do(cluster, call);
}

static void put(struct sim_cluster *cluster, const char *key, uint64_t ttl_ms)
{
    ask(cluster, (struct client_call){
                     .op = CLIENT_PUT, .key = bytes_of_string(key), .value = bytes_of_string("v"), .ttl_ms = ttl_ms});
}

static bool has(struct sim_cluster *cluster, const char *key)
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

static struct look look_at(struct sim_cluster *cluster, uint32_t store)
{
    struct look found = {0};
    if (world_store(cluster->world, store)->store)
        store_visit_peers(world_store(cluster->world, store)->store, look, &found);
    return found;
}

static uint32_t leader_of(struct sim_cluster *cluster)
{
    for (uint32_t store = 1; store <= 3; store++)
        if (look_at(cluster, store).leads)
            return store;
    return 0;
}

static void set_clocks(struct sim_cluster *cluster, int64_t skew_ms)
{
    for (uint32_t store = 1; store <= 3; store++)
        sim_node_set_clock(world_store(cluster->world, store)->node, 0, skew_ms);
}

/* k is gone by the clock of its leader, which was ahead; somebody has been told. Now no clock is ahead any more. */
static struct sim_cluster *cluster_with_a_key_that_is_gone(void)
{
    struct sim_cluster *cluster = make();
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    put(cluster, "other", 0);
    assert_true(has(cluster, "k"));
    set_clocks(cluster, AHEAD_MS);
    assert_false(has(cluster, "k"));
    set_clocks(cluster, 0);
    return cluster;
}

static void expect_gone(struct sim_cluster *cluster)
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
    struct sim_cluster *cluster = cluster_with_a_key_that_is_gone();
    expect_gone(cluster);
    end(cluster);
}

static void what_is_gone_stays_gone_with_another_leader(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = cluster_with_a_key_that_is_gone();
    uint32_t leader = leader_of(cluster);
    world_kill(cluster->world, world_store(cluster->world, leader), false);
    expect_gone(cluster);
    sim_cluster_start(cluster, world_store(cluster->world, leader));
    end(cluster);
}

static void what_is_gone_stays_gone_when_all_have_died(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = cluster_with_a_key_that_is_gone();
    for (uint32_t store = 1; store <= 3; store++)
        world_kill(cluster->world, world_store(cluster->world, store), true);
    for (uint32_t store = 1; store <= 3; store++)
        sim_cluster_start(cluster, world_store(cluster->world, store));
    expect_gone(cluster);
    end(cluster);
}

/* z goes to a new region, k stays. */
static void what_is_gone_stays_gone_in_both_parts_of_a_split(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = cluster_with_a_key_that_is_gone();
    ask(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("p")});
    expect_gone(cluster);
    end(cluster);
}

/* A store that was away gets the rows by a snapshot, expired ones perhaps among them, and leads in the end. */
static void what_is_gone_stays_gone_where_a_snapshot_came(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make();
    uint32_t leader = leader_of(cluster), away = leader % 3 + 1, third = away % 3 + 1;
    world_kill(cluster->world, world_store(cluster->world, away), false);
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    for (int i = 0; i < 40; i++)
        put(cluster, "other", 0);
    sim_node_set_clock(world_store(cluster->world, leader)->node, 0, AHEAD_MS);
    assert_false(has(cluster, "k"));
    sim_node_set_clock(world_store(cluster->world, leader)->node, 0, 0);
    sim_cluster_run_until(cluster, 3000, NULL);
    sim_cluster_start(cluster, world_store(cluster->world, away));
    assert_true(sim_cluster_run_until(cluster, 60000, sim_cluster_is_whole));
    struct store_snapshot_counts counts = {0};
    store_add_snapshot_counts(world_store(cluster->world, away)->store, &counts);
    assert_true(counts.installed + counts.installed_at_start > 0);
    world_kill(cluster->world, world_store(cluster->world, leader), false);
    while (leader_of(cluster) != away) { /* one of two */
        world_kill(cluster->world, world_store(cluster->world, third), false);
        sim_cluster_run_until(cluster, 300, NULL);
        sim_cluster_start(cluster, world_store(cluster->world, third));
        sim_cluster_run_until(cluster, 5000, NULL);
    }
    expect_gone(cluster);
    sim_cluster_start(cluster, world_store(cluster->world, leader));
    end(cluster);
}

/* The region sleeps; who asks for the key wakes it, and one entry lets time pass for all that is due. */
static void a_key_goes_although_nobody_writes(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make();
    put(cluster, "later", 60000);
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    ask(cluster, (struct client_call){.op = CLIENT_TTL, .key = bytes_of_string("k")});
    assert_true(cluster->found);
    assert_in_range(cluster->ttl_ms, TTL_MS - 500, TTL_MS);
    sim_cluster_run_until(cluster, 2 * TTL_MS, NULL);
    raft_index before = look_at(cluster, leader_of(cluster)).applied;
    uint64_t began_ms = sim_cluster_now_ms(cluster);
    assert_false(has(cluster, "k"));
    assert_in_range(sim_cluster_now_ms(cluster) - began_ms, 0, 100);
    assert_false(has(cluster, "z"));
    assert_true(has(cluster, "later"));
    assert_int_equal(look_at(cluster, leader_of(cluster)).applied, before + 1);
    end(cluster);
}

/* When all is over, time passes once more by itself, and the rows may go; the simulated compaction takes half. */
static void what_has_expired_leaves_the_disks_although_nobody_asks(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make();
    put(cluster, "k", TTL_MS);
    put(cluster, "z", TTL_MS);
    put(cluster, "other", 0);
    sim_cluster_run_until(cluster, 3 * TTL_MS, NULL);
    uint64_t dropped = 0;
    for (uint32_t store = 1; store <= 3; store++) {
        struct engine_mem_stats stats;
        engine_mem_stats(world_store(cluster->world, store)->disk, &stats);
        assert_int_equal(stats.row_count[ENGINE_DEFAULT] + stats.expired_count, 3);
        dropped += stats.expired_count;
    }
    assert_in_range(dropped, 1, 6);
    raft_index before = look_at(cluster, 1).applied;
    sim_cluster_run_until(cluster, 3 * TTL_MS, NULL);
    assert_int_equal(look_at(cluster, 1).applied, before); /* and not again */
    end(cluster);
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
