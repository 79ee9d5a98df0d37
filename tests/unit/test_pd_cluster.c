/* cluster: who lives and who leads, from heartbeats and their age. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "pd/cluster.h"

enum { START_US = 1000000 };

static const struct pd_config config = {.store_disconnected_ms = 5000, .store_down_ms = 60000};

static struct wire_peer peers[] = {{.id = 11, .store_id = 1}, {.id = 12, .store_id = 2}, {.id = 13, .store_id = 3}};

static struct wire_region region_of(uint64_t id, const char *start, const char *end, uint64_t version)
{
    return (struct wire_region){.id = id,
                                .start_key = bytes_of_string(start),
                                .end_key = bytes_of_string(end),
                                .epoch_conf = 1,
                                .epoch_version = version,
                                .peers = peers,
                                .peers_count = 3};
}

struct world {
    struct cluster *cluster;
    struct region_tree *regions;
};

static int setup(void **state)
{
    static struct world world;
    world = (struct world){.cluster = cluster_new(&config), .regions = region_tree_new()};
    struct wire_region a = region_of(1, "", "m", 2), b = region_of(2, "m", "", 2);
    region_tree_insert(world.regions, &a, NULL, NULL);
    region_tree_insert(world.regions, &b, NULL, NULL);
    cluster_reset(world.cluster, world.regions, START_US);
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    cluster_free(world->cluster);
    region_tree_free(world->regions);
    return 0;
}

static void a_store_goes_from_unknown_to_up_to_disconnected_to_down(void **state)
{
    struct cluster *cluster = ((struct world *)*state)->cluster;
    const struct wire_store store = {.id = 7, .leader_count = 3};
    uint64_t now_us = START_US;
    assert_int_equal(cluster_store_heartbeat(cluster, &store, now_us), ERR_STORE_NOT_MATCH);
    assert_true(cluster_add_store(cluster, 7));
    assert_int_equal(cluster_store_state(cluster, 7, now_us), WIRE_STORE_STATE_UNKNOWN);
    assert_int_equal(cluster_store_silence_left_ms(cluster, 7, now_us), 5001);
    assert_int_equal(cluster_store_state(cluster, 7, now_us + 5000001), WIRE_STORE_STATE_DISCONNECTED);
    now_us += 6000000;
    assert_int_equal(cluster_store_heartbeat(cluster, &store, now_us), ERR_OK);
    assert_int_equal(cluster_store_state(cluster, 7, now_us + 5000000), WIRE_STORE_STATE_UP);
    assert_int_equal(cluster_store_state(cluster, 7, now_us + 5000001), WIRE_STORE_STATE_DISCONNECTED);
    assert_int_equal(cluster_store_state(cluster, 7, now_us + 60000001), WIRE_STORE_STATE_DOWN);
    struct wire_store filled = {.id = 7, .address = bytes_of_string("kept")};
    cluster_fill_store(cluster, &filled, now_us + 1500000);
    assert_int_equal(filled.heartbeat_age_ms, 1500);
    assert_int_equal(filled.leader_count, 3);
    assert_int_equal(filled.address.size, 4);
    assert_int_equal(cluster_store_heartbeat(cluster, &store, now_us + 70000000), ERR_OK); /* back from the dead */
    assert_int_equal(cluster_store_state(cluster, 7, now_us + 70000000), WIRE_STORE_STATE_UP);
}

static void statistics_of_the_registration_stay_until_a_heartbeat_brings_newer(void **state)
{
    struct cluster *cluster = ((struct world *)*state)->cluster;
    struct wire_store filled = {.id = 3, .started_at_ms = 99, .capacity_size = 1000};
    assert_true(cluster_store_registered(cluster, 3, START_US));
    cluster_fill_store(cluster, &filled, START_US);
    assert_int_equal(filled.state, WIRE_STORE_STATE_UP);
    assert_int_equal(filled.started_at_ms, 99);
    assert_int_equal(filled.capacity_size, 1000);
}

static void stores_are_bounded(void **state)
{
    struct cluster *cluster = ((struct world *)*state)->cluster;
    for (uint64_t id = STORE_COUNT_MAX; id > 0; id--)
        assert_true(cluster_add_store(cluster, id));
    assert_true(cluster_add_store(cluster, 1));
    assert_false(cluster_add_store(cluster, STORE_COUNT_MAX + 1));
    for (uint64_t id = 1; id <= STORE_COUNT_MAX; id++)
        assert_int_equal(cluster_store_state(cluster, id, START_US), WIRE_STORE_STATE_UNKNOWN);
}

static void the_newest_term_names_the_leader(void **state)
{
    struct world *world = *state;
    struct wire_region region = region_of(1, "", "m", 2);
    struct wire_region_heartbeat heartbeat = {.region = &region, .leader_peer = 12, .term = 8};
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_SEEN);
    assert_int_equal(region_node_seen(region_tree_find_id(world->regions, 1)).leader_peer, 12);
    heartbeat.leader_peer = 13;
    heartbeat.term = 7; /* deposed, and does not know it */
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_SEEN);
    assert_int_equal(region_node_seen(region_tree_find_id(world->regions, 1)).leader_peer, 12);
    heartbeat.term = 9;
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_SEEN);
    assert_int_equal(region_node_seen(region_tree_find_id(world->regions, 1)).leader_peer, 13);
    struct wire_peer out[REGION_PEER_COUNT_MAX];
    struct wire_region wire;
    struct wire_route route;
    cluster_route(world->cluster, region_tree_find_id(world->regions, 1), out, &wire, &route);
    assert_int_equal(route.leader_peer, 13);
    assert_int_equal(route.leader_store, 3);
}

static void epochs_decide_what_must_go_through_the_log(void **state)
{
    struct world *world = *state;
    struct wire_region region = region_of(1, "", "m", 1);
    struct wire_region_heartbeat heartbeat = {.region = &region, .leader_peer = 11, .term = 1};
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_STALE);
    region.epoch_version = 3;
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_NEWER);
    region.epoch_version = 2;
    region.epoch_conf = 2;
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_NEWER);
    region = region_of(9, "a", "c", 3); /* half of a split whose other half was not reported yet */
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_NEWER);
    region = region_of(9, "a", "c", 2); /* merged away long ago */
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL), CLUSTER_STALE);
    assert_int_equal(region_node_seen(region_tree_find_id(world->regions, 1)).leader_peer, 0);
}

static void nonsense_is_told_apart(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    struct wire_region region = region_of(1, "", "m", 2);
    struct wire_region_heartbeat heartbeat = {0};
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, &error), CLUSTER_WRONG);
    heartbeat = (struct wire_region_heartbeat){.region = &region, .leader_peer = 99, .term = 5};
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, &error), CLUSTER_WRONG);
    assert_non_null(strstr(error.text, "not one of its peers"));
    region.id = 0;
    assert_int_equal(cluster_region_heartbeat(world->cluster, &heartbeat, NULL, &error), CLUSTER_WRONG);
}

static void a_new_leader_of_pd_starts_knowing_nothing(void **state)
{
    struct world *world = *state;
    struct wire_region region = region_of(1, "", "m", 2);
    struct wire_region_heartbeat heartbeat = {.region = &region, .leader_peer = 12, .term = 8};
    cluster_add_store(world->cluster, 1);
    cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL);
    cluster_reset(world->cluster, world->regions, START_US);
    assert_int_equal(region_node_seen(region_tree_find_id(world->regions, 1)).leader_peer, 0);
    heartbeat.term = 3; /* terms of before do not count */
    heartbeat.leader_peer = 11;
    cluster_region_heartbeat(world->cluster, &heartbeat, NULL, NULL);
    assert_int_equal(region_node_seen(region_tree_find_id(world->regions, 1)).leader_peer, 11);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_store_goes_from_unknown_to_up_to_disconnected_to_down),
        TEST(statistics_of_the_registration_stay_until_a_heartbeat_brings_newer),
        TEST(stores_are_bounded),
        TEST(the_newest_term_names_the_leader),
        TEST(epochs_decide_what_must_go_through_the_log),
        TEST(nonsense_is_told_apart),
        TEST(a_new_leader_of_pd_starts_knowing_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
