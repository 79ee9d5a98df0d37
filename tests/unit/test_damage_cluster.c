/* Whole clusters in simulated time, in good weather: a replica that is damaged, or differs, is found and healed, and no client
 * ever sees what it had. */
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
#include "env/engine_mem.h"
#include "group/group_keys.h"
#include "meta/region.h"
#include "storenode/peer_heal.h"
#include "storenode/row.h"

/* One region, that is split by hand only. */
static struct sim_cluster *make_seeded(uint64_t seed, uint32_t stores)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.seed = seed;
    options.world.store_count = stores;
    return sim_cluster_new(&options);
}

static struct sim_cluster *make(uint32_t stores)
{
    return make_seeded(1, stores);
}

/* ---- stores */

static struct store_damage_counts damage(struct sim_cluster *cluster)
{
    struct store_damage_counts counts = {0};
    world_add_damage_counts(cluster->world, &counts);
    return counts;
}

static bool is_healed(struct sim_cluster *cluster)
{
    struct store_damage_counts counts = damage(cluster);
    return counts.healed == 1 && counts.damaged == 0;
}

static void find_leader(void *context, const struct store_peer_view *view)
{
    *(bool *)context = raft_is_leader(view->raft);
}

/* The store that leads, or the first one that does not. */
static struct world_node *store_that(struct sim_cluster *cluster, bool leads)
{
    for (uint32_t i = 1; i <= 3; i++) {
        bool found = false;
        store_visit_peers(world_store(cluster->world, i)->store, find_leader, &found);
        if (found == leads)
            return world_store(cluster->world, i);
    }
    return NULL;
}

/* Other bytes with sound checksums: only another replica can tell. */
static void put_behind_its_back(struct world_node *store, enum engine_cf cf, struct bytes key, const char *value)
{
    struct engine_batch *batch = engine_batch_new(store->disk);
    struct buf row;
    buf_init(&row, 256);
    if (value)
        row_make(&row, bytes_of_string(value), 0);
    if (value)
        engine_batch_put(store->disk, batch, cf, key, buf_bytes(&row));
    else
        engine_batch_delete(store->disk, batch, cf, key);
    sim_enter(store->node);
    assert_int_equal(engine_write(store->disk, batch, false, NULL), ERR_OK);
    sim_leave(store->node);
    engine_batch_free(store->disk, batch);
    buf_fini(&row);
}

static void check_replicas(struct sim_cluster *cluster)
{
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_CHECK_REGION, .key = bytes_of_string("a")});
}

static uint32_t hash_count(const struct sim_cluster *cluster)
{
    char hashes[3][24] = {{0}};
    uint32_t different = 0;
    int used = 0, at = 0;
    for (int i = 0; i < 3; i++, at += used) {
        assert_int_equal(sscanf(cluster->value + at, "%*u %*u %*u %*u %23s %*u %*u\n%n", hashes[i], &used), 1);
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen |= strcmp(hashes[i], hashes[j]) == 0;
        different += !seen;
    }
    return different;
}

/* ---- claims */

static void replicas_that_hold_the_same_have_one_hash(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    check_replicas(cluster);
    assert_int_equal(hash_count(cluster), 1);
    char before[512];
    strcpy(before, cluster->value);
    sim_cluster_put(cluster, "a", "2");
    check_replicas(cluster);
    assert_int_equal(hash_count(cluster), 1);
    assert_string_not_equal(before, cluster->value);
    assert_int_equal(damage(cluster).hash_mismatches, 0);
    sim_cluster_free(cluster, false);
}

static void differs(bool leads, enum engine_cf cf, struct bytes key, const char *value)
{
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    sim_cluster_put(cluster, "b", "1");
    sim_cluster_run_until(cluster, 3000, NULL); /* followers apply a little later */
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    struct world_node *store = store_that(cluster, leads);
    put_behind_its_back(store, cf, key, value);
    check_replicas(cluster);
    assert_int_equal(hash_count(cluster), 2);
    assert_true(sim_cluster_run_until(cluster, 20000, is_healed));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(damage(cluster).hash_mismatches, 1);
    sim_cluster_get(cluster, "a", "1");
    sim_cluster_get(cluster, "b", "1");
    check_replicas(cluster);
    assert_int_equal(hash_count(cluster), 1);
    check_region_replicas(cluster->world);
    sim_cluster_free(cluster, false);
}

static void a_follower_that_differs_is_found_and_healed(void **state)
{
    (void)state;
    differs(false, ENGINE_DEFAULT, bytes_of("ra", 2), "other");
    differs(false, ENGINE_DEFAULT, bytes_of("ra", 2), NULL);
    differs(false, ENGINE_DEFAULT, bytes_of("rzz", 3), "more");
    differs(false, ENGINE_LOCK, bytes_of("ra", 2), "lock");
    differs(false, ENGINE_WRITE, bytes_of("ra", 2), "write");
}

static void a_leader_that_differs_is_not_believed(void **state)
{
    (void)state;
    differs(true, ENGINE_DEFAULT, bytes_of("ra", 2), "other");
    differs(true, ENGINE_DEFAULT, bytes_of("rb", 2), NULL);
}

static void a_row_that_cannot_be_read_is_read_elsewhere(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    sim_cluster_put(cluster, "b", "2");
    struct world_node *store = store_that(cluster, true);
    assert_true(engine_mem_damage(store->disk, ENGINE_DEFAULT, bytes_of("ra", 2)));
    uint64_t began_ms = sim_cluster_now_ms(cluster);
    sim_cluster_get(cluster, "a", "1");
    printf("          the answer came after %u ms, ", (unsigned)(sim_cluster_now_ms(cluster) - began_ms));
    sim_cluster_put(cluster, "b", "3");
    assert_true(sim_cluster_run_until(cluster, 20000, is_healed));
    printf("all was healed after %u ms\n", (unsigned)(sim_cluster_now_ms(cluster) - began_ms));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_get(cluster, "b", "3");
    check_region_replicas(cluster->world);
    sim_cluster_free(cluster, false);
}

static void damage_that_is_known_survives_a_restart(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    struct world_node *store = store_that(cluster, false);
    world_kill(cluster->world, store, false);
    struct group_key applied = group_key_indexed(4, GROUP_APPLY_STATE, 0);
    assert_true(engine_mem_damage(store->disk, ENGINE_RAFT, group_key_bytes(&applied)));
    sim_cluster_put(cluster, "a", "2");
    sim_cluster_start(cluster, store);
    assert_true(sim_cluster_run_until(cluster, 20000, is_healed));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    check_region_replicas(cluster->world);
    sim_cluster_free(cluster, false);
}

static void find_region(void *context, const struct store_peer_view *view)
{
    *(region_id *)context = view->region;
}

/* Of two voters the damaged one has the longer log: the other one cannot win, and nobody is left but the damaged one. */
static void lose_rows_of_who_has_more(struct sim_cluster *cluster, struct world_node *first, struct world_node *second)
{
    bool first_leads = false;
    store_visit_peers(first->store, find_leader, &first_leads);
    struct world_node *leader = first_leads ? first : second, *follower = first_leads ? second : first;
    region_id region = 0;
    store_visit_peers(leader->store, find_region, &region);
    struct client_call call = {
        .op = CLIENT_PUT, .key = bytes_of_string("a"), .value = bytes_of_string("2"), .deadline_ms = 60000};
    world_kill(cluster->world, follower, true);
    sim_cluster_submit(cluster, call);
    sim_cluster_run_until(cluster, 200, NULL); /* it is in one log */
    assert_false(cluster->answered);
    world_kill(cluster->world, leader, false);
    struct group_key applied = group_key_indexed(region, GROUP_APPLY_STATE, 0);
    assert_true(engine_mem_damage(leader->disk, ENGINE_RAFT, group_key_bytes(&applied)));
    sim_cluster_start(cluster, leader);
    sim_cluster_start(cluster, follower);
    assert_true(sim_cluster_run_until(cluster, 40000, sim_cluster_is_answered));
    assert_int_equal(cluster->outcome, POLDER_DONE);
    assert_true(sim_cluster_run_until(cluster, 20000, is_healed));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_get(cluster, "a", "2");
}

/* What the other one could give it is older than what it has applied. */
static void a_damaged_replica_that_has_what_the_other_lacks_leads_until_it_has_it(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    struct world_node *leader = store_that(cluster, true), *late = store_that(cluster, false);
    region_id region = 0;
    store_visit_peers(leader->store, find_region, &region);
    world_kill(cluster->world, late, true);
    sim_cluster_put(cluster, "a", "2");
    sim_cluster_run_until(cluster, 1000, NULL);
    struct engine_batch *batch = engine_batch_new(leader->disk);
    damage_put(leader->disk, batch, region, "found in an earlier life");
    sim_enter(leader->node);
    assert_int_equal(engine_write(leader->disk, batch, true, NULL), ERR_OK);
    sim_leave(leader->node);
    engine_batch_free(leader->disk, batch);
    for (uint32_t i = 1; i <= 3; i++)
        if (world_store(cluster->world, i) != late)
            world_kill(cluster->world, world_store(cluster->world, i), false);
    sim_cluster_start(cluster, leader);
    sim_cluster_start(cluster, late);
    assert_true(sim_cluster_run_until(cluster, 40000, is_healed));
    sim_cluster_get(cluster, "a", "2");
    for (uint32_t i = 1; i <= 3; i++)
        if (!world_store(cluster->world, i)->store)
            sim_cluster_start(cluster, world_store(cluster->world, i));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_free(cluster, true);
}

static void change_peers(struct sim_cluster *cluster, region_id region, enum polder_peer_change_kind kind,
                         struct world_node *store)
{
    sim_cluster_do(cluster,
                   (struct client_call){
                       .op = CLIENT_CHANGE_PEERS,
                       .region_id = region,
                       .changes = &(struct polder_peer_change){.kind = kind, .store_id = store_get_id(store->store)},
                       .change_count = 1});
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
}

/* It leads, and a learner cannot. */
static void a_damaged_only_voter_gets_its_rows_from_a_learner(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    struct world_node *leader = store_that(cluster, true), *learner = store_that(cluster, false);
    region_id region = 0;
    store_visit_peers(leader->store, find_region, &region);
    for (uint32_t i = 1; i <= 3; i++)
        if (world_store(cluster->world, i) != leader)
            change_peers(cluster, region, POLDER_PEER_REMOVE, world_store(cluster->world, i));
    change_peers(cluster, region, POLDER_PEER_ADD_LEARNER, learner);
    assert_true(engine_mem_damage(leader->disk, ENGINE_DEFAULT, bytes_of_string("ra")));
    sim_cluster_get(cluster, "a", "1");
    assert_true(sim_cluster_run_until(cluster, 20000, is_healed));
    sim_cluster_put(cluster, "a", "2");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_free(cluster, true);
}

/* A change of members is among what it has to apply: until then it may not campaign, and it cannot apply without rows. */
static void it_asks_the_other_for_rows_if_it_may_not_lead(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    struct world_node *other = store_that(cluster, false), *voters[2];
    region_id region = 0;
    uint32_t count = 0;
    store_visit_peers(other->store, find_region, &region);
    change_peers(cluster, region, POLDER_PEER_REMOVE, other);
    for (uint32_t i = 1; i <= 3; i++)
        if (world_store(cluster->world, i) != other)
            voters[count++] = world_store(cluster->world, i);
    lose_rows_of_who_has_more(cluster, voters[0], voters[1]);
    sim_cluster_free(cluster, true);
}

static void who_lost_what_it_promised_is_not_started_and_not_made_anew(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    struct world_node *store = store_that(cluster, false);
    struct group_key hard = group_key(4, GROUP_HARD_STATE);
    put_behind_its_back(store, ENGINE_RAFT, group_key_bytes(&hard), "no term, no vote");
    world_kill(cluster->world, store, false);
    sim_cluster_start(cluster, store);
    sim_cluster_put(cluster, "a", "2");
    sim_cluster_run_until(cluster, 5000, NULL);
    assert_int_equal(damage(cluster).lost, 1);
    bool leads = false;
    store_visit_peers(store->store, find_leader, &leads);
    struct buf row;
    buf_init(&row, 1024);
    assert_int_equal(engine_get(store->disk, ENGINE_RAFT, group_key_bytes(&hard), &row, NULL), ERR_OK);
    assert_int_equal(row.size, 17); /* nobody has written another one */
    buf_fini(&row);
    sim_cluster_get(cluster, "a", "2");
    sim_cluster_free(cluster, false);
}

static store_id changed_store;
static uint8_t wanted_role;

static void look_at_member(void *context, const struct store_peer_view *view)
{
    const struct region_peer *peer = region_peer_on_store(view->members, changed_store);
    if (raft_is_leader(view->raft))
        *(bool *)context |= wanted_role == UINT8_MAX ? !peer : peer && peer->role == wanted_role;
}

static bool has_role(struct sim_cluster *cluster)
{
    bool found = false;
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_visit_peers(world_store(cluster->world, i)->store, look_at_member, &found);
    return found;
}

/* The only one; for a while, nobody may have it up. */
static region_id region_of(struct sim_cluster *cluster)
{
    static region_id region;
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_visit_peers(world_store(cluster->world, i)->store, find_region, &region);
    return region;
}

/* Until the leader has it so. */
static void change(struct sim_cluster *cluster, enum polder_peer_change_kind kind, store_id store, uint8_t role)
{
    struct polder_peer_change change = {kind, store};
    sim_cluster_do(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                                 .region_id = region_of(cluster),
                                                 .changes = &change,
                                                 .change_count = 1,
                                                 .deadline_ms = 10000});
    changed_store = store;
    wanted_role = role;
    assert_true(sim_cluster_run_until(cluster, 20000, has_role));
}

static void damage_apply_state(struct sim_cluster *cluster, struct world_node *store)
{
    struct group_key applied = group_key_indexed(region_of(cluster), GROUP_APPLY_STATE, 0);
    assert_true(engine_mem_damage(store->disk, ENGINE_RAFT, group_key_bytes(&applied)));
}

static void submit_put(struct sim_cluster *cluster, const char *value)
{
    sim_cluster_submit(cluster, (struct client_call){.op = CLIENT_PUT,
                                                     .key = bytes_of_string("a"),
                                                     .value = bytes_of_string(value),
                                                     .deadline_ms = 100000});
}

/* Its members are newer than the first entry that it can tell to be applied. */
static void a_damaged_replica_knows_which_changes_its_members_are_of(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    sim_cluster_put(cluster, "a", "1");
    struct world_node *gone = store_that(cluster, false);
    change(cluster, POLDER_PEER_REMOVE, store_get_id(gone->store), UINT8_MAX);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    struct world_node *leader = store_that(cluster, true), *follower = NULL;
    for (uint32_t i = 1; i <= 3; i++)
        if (world_store(cluster->world, i) != leader && world_store(cluster->world, i) != gone)
            follower = world_store(cluster->world, i);
    world_kill(cluster->world, follower, true);
    submit_put(cluster, "2");
    sim_cluster_run_until(cluster, 200, NULL); /* it is in one log */
    assert_false(cluster->answered);
    world_kill(cluster->world, leader, false);
    damage_apply_state(cluster, leader);
    sim_cluster_start(cluster, leader);
    sim_cluster_start(cluster, follower);
    assert_true(sim_cluster_run_until(cluster, 60000, sim_cluster_is_answered));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_get(cluster, "a", "2");
    assert_int_equal(damage(cluster).damaged, 0);
    sim_cluster_free(cluster, false);
}

/* It has applied what one of the others lacks; the third, from which it could get its rows, is dead. */
static void a_damaged_replica_takes_committed_changes_of_members_over(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(4);
    sim_cluster_put(cluster, "a", "1");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    struct world_node *leader = NULL, *voters[2] = {NULL}, *other = NULL;
    for (uint32_t i = 1; i <= 4; i++) {
        struct world_node *node = world_store(cluster->world, i);
        bool is_member = false, leads = false;
        changed_store = store_get_id(node->store);
        wanted_role = WIRE_PEER_ROLE_VOTER;
        for (uint32_t j = 1; j <= 4; j++)
            store_visit_peers(world_store(cluster->world, j)->store, look_at_member, &is_member);
        store_visit_peers(node->store, find_leader, &leads);
        if (!is_member)
            other = node;
        else if (leads)
            leader = node;
        else
            voters[voters[0] ? 1 : 0] = node;
    }
    assert_true(leader && voters[0] && voters[1] && other);
    store_id joins = store_get_id(other->store);
    voters[0]->store_config.snapshots_max = 0; /* it is not healed yet */
    world_kill(cluster->world, voters[1], false);
    sim_cluster_put(cluster, "b", "1");
    sim_cluster_run_until(cluster, 3000, NULL);
    sim_enter(voters[0]->node);
    store_report_damage(voters[0]->store, region_of(cluster), "a test");
    sim_leave(voters[0]->node);
    sim_cluster_run_until(cluster, 3000, NULL);
    change(cluster, POLDER_PEER_ADD_LEARNER, joins, WIRE_PEER_ROLE_LEARNER);
    sim_cluster_put(cluster, "a", "2");
    sim_cluster_run_until(cluster, 3000, NULL);
    assert_int_equal(damage(cluster).damaged, 1);
    world_kill(cluster->world, leader, false);
    world_kill(cluster->world, other, false); /* it has all rows, too */
    voters[0]->store_config.snapshots_max = 4;
    sim_cluster_start(cluster, voters[1]);
    submit_put(cluster, "3");
    assert_true(sim_cluster_run_until(cluster, 60000, sim_cluster_is_answered));
    assert_true(sim_cluster_run_until(cluster, 20000, is_healed));
    sim_cluster_start(cluster, other);
    sim_cluster_start(cluster, leader);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_get(cluster, "a", "3");
    check_region_replicas(cluster->world);
    sim_cluster_free(cluster, false);
}

/* By the members that it would have, it would be alone, and decide everything. */
static void a_damaged_replica_takes_over_no_change_that_is_not_committed(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(2);
    sim_cluster_put(cluster, "a", "1");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    bool first_leads = false;
    store_visit_peers(world_store(cluster->world, 1)->store, find_leader, &first_leads);
    struct world_node *leader = world_store(cluster->world, first_leads ? 1 : 2);
    struct world_node *follower = world_store(cluster->world, first_leads ? 2 : 1);
    struct wire_peer_change goes = {.kind = WIRE_PEER_CHANGE_KIND_REMOVE, .store_id = store_get_id(follower->store)};
    region_id region = region_of(cluster);
    world_kill(cluster->world, follower, true);
    sim_enter(leader->node);
    store_change_peers(leader->store, region, &goes, 1);
    sim_leave(leader->node);
    sim_cluster_run_until(cluster, 200, NULL);
    world_kill(cluster->world, leader, false);
    damage_apply_state(cluster, leader);
    sim_cluster_start(cluster, leader);
    for (int i = 0; i < 300; i++) {
        bool leads = false;
        sim_cluster_run_until(cluster, 100, NULL);
        store_visit_peers(leader->store, find_leader, &leads);
        assert_false(leads);
    }
    sim_cluster_free(cluster, false);
}

static struct world_node *emptied;
static store_id emptied_id;

static bool is_another_store(struct sim_cluster *cluster)
{
    (void)cluster;
    return emptied->store && store_is_ready(emptied->store) && store_get_id(emptied->store) != emptied_id;
}

/* As `polder store rebuild` has it; the new store dies now and then. */
static void empty_one(uint64_t seed)
{
    struct sim_cluster *cluster = make_seeded(seed, 3);
    struct rng rng;
    rng_init(&rng, seed, "empty_one");
    sim_cluster_put(cluster, "a", "1");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    emptied = store_that(cluster, seed % 2 == 0);
    emptied_id = store_get_id(emptied->store);
    world_kill(cluster->world, emptied, true);
    world_empty_disk(emptied);
    sim_cluster_put(cluster, "a", "2");
    sim_cluster_start(cluster, emptied);
    assert_true(sim_cluster_run_until(cluster, 120000, is_another_store)); /* pd waits until the old one is silent */
    store_id id = store_get_id(emptied->store);
    for (uint32_t i = 0; i < 6; i++) {
        struct polder_peer_change changes[2] = {{POLDER_PEER_ADD_LEARNER, id}};
        size_t count = 1;
        changed_store = id;
        wanted_role = WIRE_PEER_ROLE_LEARNER;
        if (has_role(cluster)) {
            changes[0] = (struct polder_peer_change){POLDER_PEER_PROMOTE, id};
            changes[count++] = (struct polder_peer_change){POLDER_PEER_REMOVE, emptied_id};
        }
        sim_cluster_submit(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                                         .region_id = region_of(cluster),
                                                         .changes = changes,
                                                         .change_count = count,
                                                         .deadline_ms = 5000});
        sim_cluster_run_until(cluster, (uint32_t)rng_below(&rng, 400), NULL);
        world_kill(cluster->world, emptied, rng_chance(&rng, 1, 2));
        sim_cluster_run_until(cluster, (uint32_t)rng_below(&rng, 2000), NULL);
        sim_cluster_start(cluster, emptied);
        assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_answered));
    }
    wanted_role = WIRE_PEER_ROLE_VOTER;
    assert_true(sim_cluster_run_until(cluster, 20000, has_role));
    changed_store = emptied_id;
    wanted_role = UINT8_MAX;
    assert_true(sim_cluster_run_until(cluster, 20000, has_role));
    sim_cluster_put(cluster, "a", "3");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(store_get_id(emptied->store), id);
    check_region_replicas(cluster->world);
    sim_cluster_free(cluster, true);
}

static void a_store_that_was_emptied_comes_back_as_another(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        empty_one(seed);
}

static struct world_node *lose_one(struct sim_cluster *cluster)
{
    sim_cluster_put(cluster, "a", "1");
    sim_cluster_put(cluster, "b", "1");
    sim_cluster_run_until(cluster, 3000, NULL);
    struct world_node *store = store_that(cluster, false);
    struct group_key hard = group_key(4, GROUP_HARD_STATE);
    put_behind_its_back(store, ENGINE_RAFT, group_key_bytes(&hard), "no term, no vote");
    world_kill(cluster->world, store, false);
    sim_cluster_start(cluster, store);
    sim_cluster_run_until(cluster, 1000, NULL);
    assert_int_equal(damage(cluster).lost, 1);
    return store;
}

static void a_lost_replica_is_replaced_on_its_own_store(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    struct world_node *store = lose_one(cluster);
    store_id id = store_get_id(store->store);
    change(cluster, POLDER_PEER_REMOVE, id, UINT8_MAX);
    change(cluster, POLDER_PEER_ADD_LEARNER, id, WIRE_PEER_ROLE_LEARNER);
    sim_cluster_put(cluster, "a", "2");
    change(cluster, POLDER_PEER_PROMOTE, id, WIRE_PEER_ROLE_VOTER);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(damage(cluster).lost, 0);
    check_region_replicas(cluster->world);
    world_kill(cluster->world, store, false); /* and it stays so */
    sim_cluster_start(cluster, store);
    sim_cluster_get(cluster, "a", "2");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(damage(cluster).lost, 0);
    sim_cluster_free(cluster, false);
}

/* Nobody speaks to its store any more: it asks. */
static void a_lost_replica_that_was_removed_leaves_nothing_behind(void **state)
{
    (void)state;
    struct sim_cluster *cluster = make(3);
    struct world_node *store = lose_one(cluster);
    store_id id = store_get_id(store->store);
    world_kill(cluster->world, store, false);
    change(cluster, POLDER_PEER_REMOVE, id, UINT8_MAX);
    sim_cluster_start(cluster, store);
    sim_cluster_run_until(cluster, 20000, NULL);
    assert_int_equal(damage(cluster).lost, 0);
    struct engine_iter *iter = engine_iter_new(store->disk, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
    engine_iter_seek(store->disk, iter, bytes_empty());
    assert_false(engine_iter_valid(store->disk, iter));
    engine_iter_free(store->disk, iter);
    sim_cluster_free(cluster, false);
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_that_hold_the_same_have_one_hash),
        cmocka_unit_test(a_follower_that_differs_is_found_and_healed),
        cmocka_unit_test(a_leader_that_differs_is_not_believed),
        cmocka_unit_test(a_row_that_cannot_be_read_is_read_elsewhere),
        cmocka_unit_test(damage_that_is_known_survives_a_restart),
        cmocka_unit_test(a_damaged_replica_that_has_what_the_other_lacks_leads_until_it_has_it),
        cmocka_unit_test(a_damaged_only_voter_gets_its_rows_from_a_learner),
        cmocka_unit_test(it_asks_the_other_for_rows_if_it_may_not_lead),
        cmocka_unit_test(who_lost_what_it_promised_is_not_started_and_not_made_anew),
        cmocka_unit_test(a_damaged_replica_knows_which_changes_its_members_are_of),
        cmocka_unit_test(a_damaged_replica_takes_committed_changes_of_members_over),
        cmocka_unit_test(a_damaged_replica_takes_over_no_change_that_is_not_committed),
        cmocka_unit_test(a_store_that_was_emptied_comes_back_as_another),
        cmocka_unit_test(a_lost_replica_is_replaced_on_its_own_store),
        cmocka_unit_test(a_lost_replica_that_was_removed_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
