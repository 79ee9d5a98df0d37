#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "group/group.h"
#include "group/group_keys.h"
#include "proto/wire.h"
#include "raft/raft.h"
#include "rpc/frame_kind.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/store_keys.h"
#include "tests/sim/check_durable.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/check_region.h"

/* Checkers that cannot fail prove nothing: each is shown what it must refuse. */

static struct world *make_world(void)
{
    struct swarm swarm;
    swarm_draw(1, false, 0, 0, &swarm);
    return world_new(&(struct world_options){.seed = 1, .store_count = 3, .client_count = 1, .region_count = 2},
                     &swarm);
}

/* ---- raft, on the wire */

static void say(struct check_raft *check, struct world *world, uint8_t kind, peer_id from, peer_id to, raft_term term,
                bool reject)
{
    struct wire_raft_message message = {
        .region_id = 7, .kind = kind, .from = from, .to = to, .term = term, .reject = reject};
    struct wire_raft_batch batch = {.from_store = 1, .to_store = 2, .messages = &message, .messages_count = 1};
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    assert_non_null(frame);
    check_raft_frame(check, world_store(world, 1)->node, world_store(world, 2)->node, frame);
    frame_unref(frame);
}

static void two_leaders_in_a_term_are_refused(void **unused)
{
    (void)unused;
    struct world *world = make_world();
    struct check_raft *check = check_raft_new(world);
    say(check, world, RAFT_HEARTBEAT, 1, 2, 5, false);
    say(check, world, RAFT_APP, 1, 3, 5, false);
    say(check, world, RAFT_APP, 2, 3, 6, false);
    assert_false(world_has_failed(world));
    say(check, world, RAFT_APP, 2, 3, 5, false);
    assert_true(world_has_failed(world));
    assert_non_null(strstr(world_failure(world), "R1"));
    assert_int_equal(world_failed_region(world), 7);
    check_raft_free(check);
    world_free(world);
}

static void two_votes_in_a_term_are_refused(void **unused)
{
    (void)unused;
    struct world *world = make_world();
    struct check_raft *check = check_raft_new(world);
    say(check, world, RAFT_VOTE_RESP, 3, 1, 5, false);
    say(check, world, RAFT_VOTE_RESP, 3, 1, 5, false);
    say(check, world, RAFT_VOTE_RESP, 3, 2, 5, true);
    say(check, world, RAFT_PRE_VOTE_RESP, 3, 2, 5, false);
    say(check, world, RAFT_VOTE_RESP, 3, 2, 6, false);
    assert_false(world_has_failed(world));
    say(check, world, RAFT_VOTE_RESP, 3, 2, 5, false);
    assert_true(world_has_failed(world));
    assert_non_null(strstr(world_failure(world), "R2"));
    check_raft_free(check);
    world_free(world);
}

/* ---- what is committed, and the disks */

enum { REGION = 7, COMMIT = 7 };

static void add_members(struct raft_conf *conf, peer_id first, peer_id last, uint8_t roles)
{
    for (peer_id id = first; id <= last; id++)
        assert_int_equal(raft_conf_add(conf, id, roles), ERR_OK);
}

/* A peer that has committed entries 6 and 7 of term 6, or says so. */
static struct raft *make_committed(struct raft_pool *pool, const struct raft_conf *conf)
{
    static struct raft_config config;
    raft_config_default(&config);
    const struct raft_entry entries[] = {{.term = 6, .index = 6}, {.term = 6, .index = COMMIT}};
    struct raft_initial initial = {.id = 1,
                                   .seed = 1,
                                   .hard = {.term = 6, .commit = COMMIT},
                                   .conf = *conf,
                                   .applied = 5,
                                   .truncated = {5, 5},
                                   .base = {5, 5},
                                   .entries = entries,
                                   .entry_count = 2};
    struct raft *raft = NULL;
    assert_int_equal(raft_new(&config, &initial, pool, &raft), ERR_OK);
    return raft;
}

static void write_raft_row(struct world_node *store, struct group_key key, uint64_t number, size_t at, bool sync)
{
    uint8_t value[17] = {1};
    store_u64_be(value + at, number);
    struct engine_batch *batch = engine_batch_new(store->disk);
    engine_batch_put(store->disk, batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(value, sizeof value));
    sim_enter(store->node);
    assert_int_equal(engine_write(store->disk, batch, sync, NULL), ERR_OK);
    sim_leave(store->node);
    engine_batch_free(store->disk, batch);
}

static void write_entry(struct world_node *store, raft_index index, raft_term term, bool sync)
{
    write_raft_row(store, group_key_indexed(REGION, GROUP_LOG, index), term, 2, sync);
}

/* `write` fills the disks; the outcome is what the checker says then. */
static bool commit_is_refused(const struct raft_conf *conf, void (*write)(struct world *world))
{
    struct world *world = make_world();
    struct check_durable *check = check_durable_new(world);
    struct raft_pool *pool = raft_pool_new(0);
    struct raft *raft = make_committed(pool, conf);
    struct store_peer_view view = {.region = REGION, .raft = raft, .applied_index = 5};
    for (uint32_t number = 1; number <= 3; number++) {
        struct world_node *store = world_store(world, number);
        sim_node_start(store->node);
        for (view.peer = number; view.peer <= 6; view.peer += 3) /* store 1: peers 1 and 4, ... */
            check_durable_peer(check, store, &view);
        write_entry(store, 6, 6, true);
    }
    write(world);
    sim_run_until(world_sim(world), sim_heap_ns(world_sim(world)) + 1000000000);
    check_durable_commit(check, world_store(world, 1), &view);
    bool refused = world_has_failed(world);
    if (refused)
        assert_non_null(strstr(world_failure(world), "R9"));
    else
        assert_int_equal(check_durable_count(check), 2);
    check_durable_free(check);
    raft_free(raft);
    raft_pool_free(pool);
    world_free(world);
    return refused;
}

static void write_on_two(struct world *world)
{
    write_entry(world_store(world, 1), COMMIT, 6, true);
    write_entry(world_store(world, 3), COMMIT, 6, true);
}

static void write_on_one_and_sync_no_other(struct world *world)
{
    write_entry(world_store(world, 1), COMMIT, 6, true);
    write_entry(world_store(world, 2), COMMIT, 6, false);
    write_entry(world_store(world, 3), COMMIT, 6, false);
}

static void write_another_term(struct world *world)
{
    write_entry(world_store(world, 1), COMMIT, 6, true);
    write_entry(world_store(world, 2), COMMIT, 5, true);
}

static void truncate_one(struct world *world)
{
    write_entry(world_store(world, 1), COMMIT, 6, true);
    write_raft_row(world_store(world, 2), group_key(REGION, GROUP_TRUNCATED_STATE), COMMIT, 1, true);
}

static void what_is_committed_must_be_durable_on_a_quorum(void **unused)
{
    (void)unused;
    struct raft_conf conf = {0};
    add_members(&conf, 1, 3, RAFT_VOTER);
    assert_false(commit_is_refused(&conf, write_on_two));
    assert_false(commit_is_refused(&conf, truncate_one)); /* it had it, and dropped it */
    assert_true(commit_is_refused(&conf, write_on_one_and_sync_no_other));
    assert_true(commit_is_refused(&conf, write_another_term));
}

static void what_a_joint_group_commits_must_be_durable_on_both_quorums(void **unused)
{
    (void)unused;
    struct raft_conf conf = {0};
    assert_int_equal(raft_conf_add(&conf, 1, RAFT_VOTER | RAFT_OUTGOING), ERR_OK);
    assert_int_equal(raft_conf_add(&conf, 2, RAFT_OUTGOING), ERR_OK); /* not on the disk of store 2 */
    assert_int_equal(raft_conf_add(&conf, 3, RAFT_VOTER), ERR_OK);
    assert_true(commit_is_refused(&conf, write_on_two));
    struct raft_conf other = {0};
    assert_int_equal(raft_conf_add(&other, 1, RAFT_VOTER | RAFT_OUTGOING), ERR_OK);
    assert_int_equal(raft_conf_add(&other, 3, RAFT_VOTER | RAFT_OUTGOING), ERR_OK);
    assert_false(commit_is_refused(&other, write_on_two));
}

/* ---- regions, on disk */

static void write_region(struct world *world, uint32_t store, region_id id, const char *start, const char *end,
                         uint64_t version)
{
    struct wire_peer peer = {.id = id * 10, .store_id = 1}; /* the same on all stores */
    struct wire_region region = {.id = id,
                                 .start_key = bytes_of_string(start),
                                 .end_key = bytes_of_string(end),
                                 .epoch_conf = 1,
                                 .epoch_version = version,
                                 .peers = &peer,
                                 .peers_count = 1};
    struct wire_region_state state = {.region = &region, .local_peer_id = peer.id};
    struct engine *disk = world_store(world, store)->disk;
    struct engine_batch *batch = engine_batch_new(disk);
    struct group_key key = group_key(id, STORE_REGION_STATE);
    struct buf encoded;
    buf_init(&encoded, 4096);
    assert_int_equal(region_row_encode(&state, &encoded), ERR_OK);
    engine_batch_put(disk, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&encoded));
    struct raft_conf conf = {0};
    assert_int_equal(raft_conf_add(&conf, peer.id, RAFT_VOTER), ERR_OK);
    group_create(disk, batch, id, &conf);
    region_fsm_put_applied(disk, batch, id, GROUP_FIRST_INDEX, GROUP_FIRST_TERM, NULL);
    sim_enter(world_store(world, store)->node);
    assert_int_equal(engine_write(disk, batch, false, NULL), ERR_OK);
    sim_leave(world_store(world, store)->node);
    engine_batch_free(disk, batch);
    buf_fini(&encoded);
}

static void write_row(struct world *world, uint32_t store, const char *key, const char *value)
{
    struct engine *disk = world_store(world, store)->disk;
    struct engine_batch *batch = engine_batch_new(disk);
    engine_batch_put(disk, batch, ENGINE_DEFAULT, bytes_of_string(key), bytes_of_string(value));
    sim_enter(world_store(world, store)->node);
    assert_int_equal(engine_write(disk, batch, false, NULL), ERR_OK);
    sim_leave(world_store(world, store)->node);
    engine_batch_free(disk, batch);
}

static struct world *make_disks(void)
{
    struct world *world = make_world();
    for (uint32_t store = 1; store <= 3; store++) {
        sim_node_start(world_store(world, store)->node); /* disks refuse the writes of the dead */
        write_region(world, store, 4, "", "m", 1);
        write_region(world, store, 5, "m", "", 1);
    }
    return world;
}

static void end_disks(struct world *world, const char *expected)
{
    if (expected) {
        assert_true(world_has_failed(world));
        assert_non_null(strstr(world_failure(world), expected));
    } else {
        assert_false(world_has_failed(world));
    }
    world_free(world);
}

static void ranges_that_cover_once_are_fine_also_while_a_store_is_behind(void **unused)
{
    (void)unused;
    struct world *world = make_disks();
    check_region_ranges(world);
    write_region(world, 1, 4, "", "f", 2); /* a split that the others have not applied yet */
    write_region(world, 1, 6, "f", "m", 2);
    check_region_ranges(world);
    end_disks(world, NULL);
}

static void a_gap_and_an_overlap_are_refused(void **unused)
{
    (void)unused;
    struct world *world = make_disks();
    write_region(world, 1, 4, "", "f", 2);
    check_region_ranges(world);
    end_disks(world, "G1");

    world = make_disks();
    write_region(world, 2, 4, "", "q", 2);
    check_region_ranges(world);
    end_disks(world, "G1");

    world = make_disks();
    write_region(world, 2, 5, "m", "z", 2);
    check_region_ranges(world);
    end_disks(world, "G1");
}

static void two_truths_of_one_epoch_are_refused(void **unused)
{
    (void)unused;
    struct world *world = make_disks();
    write_region(world, 3, 4, "", "l", 1);
    check_region_ranges(world);
    end_disks(world, "G2");
}

static void replicas_that_differ_are_refused(void **unused)
{
    (void)unused;
    struct world *world = make_disks();
    for (uint32_t store = 1; store <= 3; store++)
        write_row(world, store, "a", "1");
    check_region_replicas(world);
    assert_false(world_has_failed(world));
    write_row(world, 2, "b", "2");
    check_region_replicas(world);
    assert_int_equal(world_failed_region(world), 4);
    end_disks(world, "G3");
}

/* ---- coverage */

static void an_operation_met_the_faults_that_lasted_into_it_or_ended_a_second_before(void **unused)
{
    (void)unused;
    const uint64_t second_ns = 1000000000;
    struct coverage coverage = {0}, sum = {0};
    enum fault_kind kind;
    unsigned op;
    uint64_t kinds = FAULT_BIT(FAULT_PAUSE) | FAULT_BIT(FAULT_CUT);
    coverage_fault(&coverage, FAULT_PAUSE, 1, 10 * second_ns);
    coverage_fault(&coverage, FAULT_CUT, 1, 5 * second_ns);
    coverage_op(&coverage, 2, 6 * second_ns);
    assert_int_equal(coverage.ops[FAULT_PAUSE][2], 1);
    assert_int_equal(coverage.ops[FAULT_CUT][2], 0);
    coverage_heal(&coverage, 7 * second_ns);
    coverage_op(&coverage, 2, 8 * second_ns);
    assert_int_equal(coverage.ops[FAULT_PAUSE][2], 1);
    coverage_op(&coverage, 2, 8 * second_ns - 1);
    assert_int_equal(coverage.ops[FAULT_PAUSE][2], 2);
    coverage_add(&sum, &coverage);
    coverage_add(&sum, &coverage);
    assert_int_equal(sum.ops[FAULT_PAUSE][2], 4);
    assert_int_equal(sum.happened[FAULT_CUT], 2);
    for (op = 0; op < COVERAGE_OP_COUNT; op++)
        sum.ops[FAULT_PAUSE][op] = sum.ops[FAULT_CUT][op] = 1;
    assert_false(coverage_find_hole(&sum, kinds, &kind, &op));
    sum.ops[FAULT_CUT][3] = 0;
    assert_true(coverage_find_hole(&sum, kinds, &kind, &op));
    assert_true(kind == FAULT_CUT && op == 3);
    assert_false(coverage_find_hole(&sum, FAULT_BIT(FAULT_PAUSE), &kind, &op));
}

static void names_of_faults_make_masks(void **unused)
{
    (void)unused;
    uint64_t mask = 0;
    assert_true(fault_mask_parse("hang,clog,bad-read", &mask));
    assert_int_equal(mask, FAULT_BIT(FAULT_HANG) | FAULT_BIT(FAULT_CLOG) | FAULT_BIT(FAULT_BAD_READ));
    assert_true(fault_mask_parse("none", &mask) && mask == 0);
    assert_true(fault_mask_parse("light,hang", &mask) && (mask & FAULT_BIT(FAULT_HANG)) &&
                (mask & FAULT_BIT(FAULT_CUT)));
    assert_false(fault_mask_parse("hang,clo", &mask));
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++)
        assert_true(fault_mask_parse(fault_name((enum fault_kind)kind), &mask) && mask == FAULT_BIT(kind));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_leaders_in_a_term_are_refused),
        cmocka_unit_test(two_votes_in_a_term_are_refused),
        cmocka_unit_test(what_is_committed_must_be_durable_on_a_quorum),
        cmocka_unit_test(what_a_joint_group_commits_must_be_durable_on_both_quorums),
        cmocka_unit_test(ranges_that_cover_once_are_fine_also_while_a_store_is_behind),
        cmocka_unit_test(a_gap_and_an_overlap_are_refused),
        cmocka_unit_test(two_truths_of_one_epoch_are_refused),
        cmocka_unit_test(replicas_that_differ_are_refused),
        cmocka_unit_test(an_operation_met_the_faults_that_lasted_into_it_or_ended_a_second_before),
        cmocka_unit_test(names_of_faults_make_masks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
