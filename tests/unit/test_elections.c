/* test_elections: many groups want a leader at the same time, on stores whose answers take their time. Whole clusters in
 * simulated time. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "group/group.h"
#include "raft/raft.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/world.h"

struct cluster {
    struct world *world;
    struct check_raft *check;
};

static uint64_t now_ms(const struct cluster *cluster)
{
    return sim_heap_ns(world_sim(cluster->world)) / 1000000;
}

static void start_stores(struct cluster *cluster)
{
    struct error err = {0};
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        assert_int_equal(world_start(cluster->world, world_store(cluster->world, i), &err), ERR_OK);
}

static struct cluster cluster_new(uint32_t regions, uint32_t sync_ms, uint32_t campaigns_max)
{
    struct cluster cluster;
    struct swarm swarm;
    struct error err = {0};
    swarm_draw(1, false, 0, 0, &swarm);
    swarm.sync_min_us = sync_ms * 1000;
    swarm.sync_max_us = sync_ms * 2000;
    swarm.campaigns_max = campaigns_max;
    cluster.world = world_new(
        &(struct world_options){.seed = 1, .store_count = 3, .client_count = 1, .region_count = regions}, &swarm);
    cluster.check = check_raft_new(cluster.world);
    assert_int_equal(world_start(cluster.world, world_pd(cluster.world), &err), ERR_OK);
    start_stores(&cluster);
    return cluster;
}

static void cluster_free(struct cluster *cluster)
{
    world_free(cluster->world);
    check_raft_free(cluster->check);
}

/* Milliseconds until every region has one leader. */
static uint64_t wait_whole(struct cluster *cluster, uint32_t limit_ms)
{
    uint64_t began = now_ms(cluster), asked = 0;
    while (now_ms(cluster) < began + limit_ms && world_step(cluster->world)) {
        struct sim_node *last = sim_last_node(world_sim(cluster->world));
        if (last && sim_node_is_up(last) && world_node_of(cluster->world, last)->role == WORLD_STORE)
            check_raft_store(cluster->check, world_node_of(cluster->world, last));
        if (now_ms(cluster) < asked + 5)
            continue;
        asked = now_ms(cluster);
        if (check_raft_is_whole(cluster->check, true, NULL, 0))
            return now_ms(cluster) - began;
    }
    assert_string_equal(world_failure(cluster->world), "");
    fail_msg("not every region has a leader after %u ms", limit_ms);
    return 0;
}

static void take_term(void *context, const struct store_peer_view *view)
{
    raft_term *newest = context;
    if (raft_term_now(view->raft) > *newest)
        *newest = raft_term_now(view->raft);
}

static raft_term newest_term(const struct cluster *cluster)
{
    raft_term newest = 0;
    for (uint32_t i = 1; i <= 3; i++)
        store_visit_peers(world_store(cluster->world, i)->store, take_term, &newest);
    return newest;
}

/* A tick is 100 ms: the votes of a first campaign come later than the next tick. */
static void the_first_leader_waits_for_its_votes(void **state)
{
    (void)state;
    struct cluster cluster = cluster_new(8, 150, 256);
    printf("          whole after %u ms\n", (unsigned)wait_whole(&cluster, 20000));
    assert_int_equal(newest_term(&cluster), GROUP_FIRST_TERM + 1);
    cluster_free(&cluster);
}

static void groups_that_wait_for_a_place_all_get_a_leader(void **state)
{
    (void)state;
    struct cluster cluster = cluster_new(60, 10, 2);
    printf("          whole after %u ms\n", (unsigned)wait_whole(&cluster, 20000));
    for (uint32_t i = 1; i <= 3; i++)
        world_kill(cluster.world, world_store(cluster.world, i), false);
    start_stores(&cluster);
    printf("          whole again after %u ms\n", (unsigned)wait_whole(&cluster, 20000));
    cluster_free(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_leader_waits_for_its_votes),
        cmocka_unit_test(groups_that_wait_for_a_place_all_get_a_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
