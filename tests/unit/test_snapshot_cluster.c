/* Whole clusters in simulated time, in good weather: who was away for longer than logs are kept gets rows, while regions split
 * and merge. */
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
#include "sim_cluster.h"
#include "storenode/peer_heal.h"
#include "storenode/store_parts.h"
#include "storenode/store_ranges.h"
#include "tests/sim/check_region.h"

/* Three stores, one region, and logs that are kept for nobody. */
static struct sim_cluster *make(uint32_t workers, uint32_t snapshots_max)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.swarm.region_workers = workers;
    options.swarm.snapshots_max = snapshots_max;
    options.swarm.snapshot_interval_min_ms = 0;
    options.swarm.tokens_save_interval = 1;
    options.swarm.log_retain_count = 0;
    options.swarm.log_count_max = 1;
    options.swarm.log_check_interval_ms = 100;
    return sim_cluster_new(&options);
}

/* ---- a client */

static void put(struct sim_cluster *cluster, const char *key)
{
    sim_cluster_put(cluster, key, "value");
}

static void split(struct sim_cluster *cluster, const char *key)
{
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string(key)});
}

/* ---- stores */

static void count_leader(void *context, const struct store_peer_view *view)
{
    *(uint32_t *)context += raft_is_leader(view->raft);
}

static uint32_t led_by(const struct world_node *node)
{
    uint32_t count = 0;
    store_visit_peers(node->store, count_leader, &count);
    return count;
}

static struct world_node *store_that_leads_nothing(struct sim_cluster *cluster)
{
    for (uint32_t i = 1; i <= 3; i++)
        if (led_by(world_store(cluster->world, i)) == 0)
            return world_store(cluster->world, i);
    fail_msg("each of them leads something");
    return NULL;
}

static struct store_snapshot_counts snapshots(struct sim_cluster *cluster)
{
    struct store_snapshot_counts counts = {0};
    for (uint32_t i = 1; i <= 3; i++)
        if (world_store(cluster->world, i)->store)
            store_add_snapshot_counts(world_store(cluster->world, i)->store, &counts);
    return counts;
}

/* ---- claims */

/* Else the one place at the store that sends would be taken again as soon as it is free, and those whose snapshot the other
 * store would take, and waits for, would not get it. */
static void who_is_refused_tries_again_ever_more_rarely(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(1, 1);
    put(cluster, "a");
    struct world_node *away = store_that_leads_nothing(cluster);
    world_kill(cluster->world, away, false);
    for (uint32_t i = 0; i < 20; i++)
        put(cluster, "a");
    assert_true(sim_cluster_run_until(cluster, 2000, NULL)); /* the log is cut */
    away->store_config.snapshots_max = 0;
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 30000, NULL));
    uint64_t refused = snapshots(cluster).not_sent;
    printf("          refused %u times in 30 s\n", (unsigned)refused);
    assert_in_range(refused, 3, 15); /* after 0.2, 0.4, ... 6.4 s */
    away->store_config.snapshots_max = 1;
    assert_true(sim_cluster_run_until(cluster, 10000, sim_cluster_is_whole));
    assert_in_range(snapshots(cluster).installed, 1, 1);
    sim_cluster_free(cluster, true);
}

static struct world_node *installs; /* which of them */

static bool has_installed(struct sim_cluster *cluster)
{
    (void)cluster;
    struct store_snapshot_counts counts = {0};
    store_add_snapshot_counts(installs->store, &counts);
    return counts.installed > 0;
}

static void look_who_has_all(void *context, const struct store_peer_view *view)
{
    struct raft_status status;
    if (!raft_is_leader(view->raft))
        return;
    raft_get_status(view->raft, &status);
    bool all = true;
    for (uint32_t i = 0; i < status.peer_count; i++)
        all &= status.peers[i].match == status.last;
    *(bool *)context = all;
}

static bool leader_knows_that_all_have_all(struct sim_cluster *cluster)
{
    bool all = false;
    for (uint32_t i = 1; i <= 3; i++)
        if (world_store(cluster->world, i)->store)
            store_visit_peers(world_store(cluster->world, i)->store, look_who_has_all, &all);
    return all;
}

/* Another snapshot is as old as what it has, and nobody writes anything. */
static void who_dies_before_it_says_that_its_snapshot_is_there_says_so_later(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(1, 1);
    put(cluster, "a");
    installs = store_that_leads_nothing(cluster);
    world_kill(cluster->world, installs, false);
    for (uint32_t i = 0; i < 20; i++)
        put(cluster, "a");
    assert_true(sim_cluster_run_until(cluster, 2000, NULL)); /* the log is cut */
    sim_cluster_start(cluster, installs);
    assert_true(sim_cluster_run_until(cluster, 20000, has_installed));
    world_kill(cluster->world, installs, false);
    assert_false(leader_knows_that_all_have_all(cluster));
    sim_cluster_start(cluster, installs);
    assert_true(sim_cluster_run_until(cluster, 20000, leader_knows_that_all_have_all));
    sim_cluster_free(cluster, true);
}

/* ---- with a merge before it */

struct two {
    region_id left, right; /* the target and the source */
};

static void note_region(void *context, const struct store_peer_view *view)
{
    struct two *two = context;
    *(view->range->start_key.size == 0 ? &two->left : &two->right) = view->region;
}

static struct two split_in_two(struct sim_cluster *cluster)
{
    struct two two = {0};
    put(cluster, "a");
    put(cluster, "z");
    split(cluster, "m");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    store_visit_peers(world_store(cluster->world, 1)->store, note_region, &two);
    assert_true(two.left != 0 && two.right != 0);
    return two;
}

static bool is_taken_in(struct sim_cluster *cluster)
{
    struct store_merge_counts counts = {0};
    for (uint32_t i = 1; i <= 3; i++)
        if (world_store(cluster->world, i)->store)
            store_add_merge_counts(world_store(cluster->world, i)->store, &counts);
    return counts.taken_in > 0;
}

static void merge(struct sim_cluster *cluster, const struct two *two)
{
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_MERGE_REGION,
                                                 .key = bytes_of_string("rm"),
                                                 .region_id = two->right,
                                                 .target_region = two->left});
    assert_true(sim_cluster_run_until(cluster, 20000, is_taken_in));
}

/* A key of the source's: in how many steps of the world was it nobody's, the target's, and the target's without that its peer
 * has it? */
static struct {
    const struct world_node *store;
    struct bytes start, end; /* a range of one key */
    region_id target;
    uint32_t nobodys, known, owned_early;
} watched;

static void watch(const struct world_node *store, region_id target, const char *key)
{
    memset(&watched, 0, sizeof watched);
    watched.store = store;
    watched.target = target;
    watched.start = bytes_of(key, strlen(key));
    watched.end = bytes_of(key, strlen(key) + 1);
}

static void look_how_far(void *context, const struct store_peer_view *view)
{
    if (view->region == watched.target)
        *(bool *)context = view->range->end_key.size == 0;
}

static bool is_whole_and_watched(struct sim_cluster *cluster)
{
    bool knows = false;
    if (watched.store->store->failure == ERR_OK) {
        region_id owner = store_ranges_find(watched.store->store->ranges, watched.start, watched.end, 0);
        store_visit_peers(watched.store->store, look_how_far, &knows);
        watched.nobodys += owner == 0;
        watched.owned_early += owner == watched.target && !knows;
        watched.known += knows;
    }
    return sim_cluster_is_whole(cluster);
}

/* Else a peer of a region that is split off later is made with them, and the end of the snapshot finds it. */
static void keys_that_come_with_a_snapshot_are_nobodys_at_no_time(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(2, 2);
    struct two two = split_in_two(cluster);
    struct world_node *away = store_that_leads_nothing(cluster);
    struct store_merge_counts counts = {0};
    merge(cluster, &two);
    store_add_merge_counts(away->store, &counts);
    assert_int_equal(counts.taken_in, 0);
    world_kill(cluster->world, away, false);
    for (uint32_t i = 0; i < 5; i++)
        put(cluster, "z");
    assert_true(sim_cluster_run_until(cluster, 2000, NULL)); /* the log is cut */
    sim_cluster_start(cluster, away);
    watch(away, two.left, "rz");
    assert_true(sim_cluster_run_until(cluster, 20000, is_whole_and_watched));
    store_add_merge_counts(away->store, &counts);
    assert_int_equal(counts.by_snapshot, 1);
    assert_true(watched.known > 0 && watched.owned_early > 0);
    assert_int_equal(watched.nobodys, 0);
    sim_cluster_free(cluster, true);
}

static bool is_healed(struct sim_cluster *cluster)
{
    struct store_damage_counts counts = {0};
    world_add_damage_counts(cluster->world, &counts);
    return counts.healed > 0 && counts.damaged == 0;
}

/* It does not apply them, and its rows come from behind them. */
static void a_damaged_replica_finds_what_was_split_off_behind_a_merge(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(2, 2);
    struct two two = split_in_two(cluster);
    struct world_node *node = store_that_leads_nothing(cluster);
    struct store_damage_counts counts = {0};
    node->store_config.snapshots_max = 0; /* not yet */
    sim_enter(node->node);
    store_report_damage(node->store, two.left, "a test");
    sim_leave(node->node);
    merge(cluster, &two);
    split(cluster, "s");
    put(cluster, "a");
    put(cluster, "z");
    assert_true(sim_cluster_run_until(cluster, 2000, NULL));
    store_add_damage_counts(node->store, &counts);
    assert_int_equal(counts.damaged, 1);
    node->store_config.snapshots_max = 2;
    assert_true(sim_cluster_run_until(cluster, 20000, is_healed));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    counts = (struct store_damage_counts){0};
    store_add_damage_counts(node->store, &counts);
    assert_int_equal(counts.healed, 2); /* and what was split off, whose rows come by themselves */
    sim_cluster_free(cluster, true);
}

/* Else what was split off that in turn is made over it. */
static void the_keys_of_what_it_finds_are_nobodys_at_no_time(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(2, 2);
    struct two two = split_in_two(cluster);
    struct world_node *node = store_that_leads_nothing(cluster);
    node->store_config.snapshots_max = 0;
    sim_enter(node->node);
    store_report_damage(node->store, two.right, "a test");
    sim_leave(node->node);
    split(cluster, "s");
    for (uint32_t i = 0; i < 60; i++) {
        char key[8];
        snprintf(key, sizeof key, "n%02u", i);
        put(cluster, key);
    }
    split(cluster, "t");
    put(cluster, "s");
    assert_true(sim_cluster_run_until(cluster, 2000, NULL));
    watch(node, two.right, "rs");
    node->store_config.snapshots_max = 2;
    assert_true(sim_cluster_run_until(cluster, 20000, is_whole_and_watched));
    assert_int_equal(watched.nobodys, 0);
    sim_cluster_free(cluster, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_come_with_a_snapshot_are_nobodys_at_no_time),
        cmocka_unit_test(a_damaged_replica_finds_what_was_split_off_behind_a_merge),
        cmocka_unit_test(the_keys_of_what_it_finds_are_nobodys_at_no_time),
        cmocka_unit_test(who_is_refused_tries_again_ever_more_rarely),
        cmocka_unit_test(who_dies_before_it_says_that_its_snapshot_is_there_says_so_later),
    };
    choose_bug();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
