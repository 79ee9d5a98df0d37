/* Regions are merged: the target's log decides, the source's rows and tokens are there, and nothing is done twice. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "chosen_bug.h"
#include "fsm_home.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "storenode/region_fsm.h"
#include "storenode/region_merge.h"
#include "storenode/region_split.h"
#include "storenode/snapshot_stage.h"
#include "storenode/store_keys.h"
#include "storenode/tokens.h"

enum { LEFT = 7, RIGHT = 9, FIRST_INDEX = 5, CLIENT = 44 };

static struct bytes b(const char *text)
{
    return bytes_of_string(text);
}

/* Peers on stores 1, 2, 3; this store is 2. */
static struct region *make_region(region_id id, const char *start, const char *end, uint64_t version)
{
    return fsm_home_region(id, id * 10 + 1, start, end, 3, version);
}

/* ---- two state machines on one engine: a store */

struct machine {
    struct region_fsm *fsm;
    struct region *region; /* as it is now */
    raft_index index;
};

struct pair {
    struct fsm_home home;
    struct machine left, right;
    struct machine *applying;
    struct region_task *parked; /* came back undone */
    struct buf encoded;
    struct arena payloads;     /* a task may come back undone */
    enum region_change change; /* the last one */
    bool changed;
    enum err code;
};

static void take_task(void *state, struct message *take_message)
{
    struct pair *pair = state;
    struct region_task *task = (struct region_task *)take_message;
    pair->code = task->code;
    for (const struct region_split *split = task->splits; split; split = split->next) {
        struct machine *machine = split->regions[0]->id == LEFT ? &pair->left : &pair->right;
        region_free(machine->region);
        machine->region = region_copy(split->regions[0]);
        pair->change = split->change;
        pair->changed = true;
    }
    if (task->parked)
        pair->parked = task;
    else
        message_free(take_message);
}

static void machine_init(struct pair *pair, struct machine *machine, struct region *take_region)
{
    struct engine_batch *batch = engine_batch_new(pair->home.env.engine);
    machine->region = take_region;
    assert_int_equal(region_put_new(pair->home.env.engine, batch, take_region, take_region->id * 10 + 2), ERR_OK);
    assert_int_equal(engine_write(pair->home.env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(pair->home.env.engine, batch);
    machine->fsm =
        region_fsm_new(&pair->home.env, NULL, take_region, take_region->id * 10 + 2, FIRST_INDEX, FIRST_INDEX, 1000);
    machine->index = FIRST_INDEX;
}

static void apply(struct pair *pair, struct machine *machine, const struct wire_log_command *command)
{
    buf_reset(&pair->encoded);
    pair->changed = false;
    assert_int_equal(wire_encode_log_command(command, &pair->encoded), ERR_OK);
    struct raft_entry entry = {
        .index = ++machine->index, .term = FIRST_INDEX, .data = arena_copy(&pair->payloads, buf_bytes(&pair->encoded))};
    fsm_home_apply(&pair->home, machine->fsm, &entry, 1, true);
    assert_int_equal(pair->code, ERR_OK);
}

static void write_at(struct pair *pair, struct machine *machine, uint64_t version, const char *key, const char *value,
                     uint64_t sequence)
{
    struct wire_log_write write = {.op = WIRE_KV_OP_PUT,
                                   .key = b(key),
                                   .value = b(value),
                                   .client_id = sequence ? CLIENT : 0,
                                   .sequence = sequence,
                                   .sequence_done = 1,
                                   .retry = true};
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_WRITE,
                                       .epoch_conf = 3,
                                       .epoch_version = version,
                                       .writes = &write,
                                       .writes_count = 1};
    apply(pair, machine, &command);
}

static void write(struct pair *pair, struct machine *machine, const char *key, const char *value, uint64_t sequence)
{
    write_at(pair, machine, machine->region->epoch_version, key, value, sequence);
}

static int setup(void **state)
{
    static const struct actor_ops ops = {.on_message = take_task};
    static struct pair pair;
    memset(&pair, 0, sizeof pair);
    fsm_home_init(&pair.home, &ops, &pair);
    machine_init(&pair, &pair.left, make_region(LEFT, "rb", "rm", 4));
    machine_init(&pair, &pair.right, make_region(RIGHT, "rm", "rz", 11));
    buf_init(&pair.encoded, 1 << 20);
    arena_init(&pair.payloads);
    /* From here on tokens are in memory: there is no log here to learn them from. */
    write(&pair, &pair.left, "rb", "first", 0);
    write(&pair, &pair.right, "rm", "first", 0);
    *state = &pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;
    region_task_free(pair->parked);
    region_fsm_free(pair->left.fsm);
    region_fsm_free(pair->right.fsm);
    region_free(pair->left.region);
    region_free(pair->right.region);
    fsm_home_fini(&pair->home);
    buf_fini(&pair->encoded);
    arena_fini(&pair->payloads);
    return 0;
}

static bool has(struct pair *pair, const char *key, const char *value)
{
    struct buf row;
    buf_init(&row, 1024);
    enum err code = engine_get(pair->home.env.engine, ENGINE_DEFAULT, b(key), &row, NULL);
    bool same = code == ERR_OK && row.size == strlen(value) + 1 && memcmp(row.data + 1, value, row.size - 1) == 0;
    buf_fini(&row);
    return same;
}

static void step(struct pair *pair, struct machine *machine, uint8_t kind, const struct wire_log_merge *merge)
{
    struct wire_log_merge copy = *merge;
    struct wire_log_command command = {.kind = kind,
                                       .epoch_conf = machine->region->epoch_conf,
                                       .epoch_version = machine->region->epoch_version,
                                       .merge = &copy};
    apply(pair, machine, &command);
}

static void prepare(struct pair *pair, struct machine *source, const struct machine *target)
{
    struct wire_log_merge merge = {.target_id = target->region->id,
                                   .target_conf = target->region->epoch_conf,
                                   .target_version = target->region->epoch_version};
    step(pair, source, WIRE_COMMAND_KIND_PREPARE_MERGE, &merge);
}

static void decide(struct pair *pair, struct machine *target, const struct region *source, uint8_t kind)
{
    struct arena arena;
    arena_init(&arena);
    struct wire_region wire = region_to_wire(source, &arena);
    struct wire_log_merge merge = {.source = &wire};
    step(pair, target, kind, &merge);
    arena_fini(&arena);
}

/* ---- the claims */

static void the_target_has_both_ranges_and_a_version_above_both(void **state)
{
    struct pair *pair = *state;
    write(pair, &pair->left, "rc", "left", 1);
    write(pair, &pair->right, "rn", "right", 2);
    prepare(pair, &pair->right, &pair->left);
    assert_int_equal(pair->right.region->epoch_version, 12);
    assert_int_equal(pair->right.region->merging->index, FIRST_INDEX + 3);
    decide(pair, &pair->left, pair->right.region, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_true(pair->changed && pair->change == REGION_TOOK_IN);
    assert_true(bytes_equal(pair->left.region->start_key, b("rb")) && bytes_equal(pair->left.region->end_key, b("rz")));
    assert_int_equal(pair->left.region->epoch_version, 13);
    assert_int_equal(region_merge_judge(pair->right.region, pair->left.region), REGION_MERGE_DONE);
    write(pair, &pair->left, "rp", "new", 3);
    assert_true(has(pair, "rc", "left") && has(pair, "rn", "right") && has(pair, "rp", "new"));

    struct region *row;
    peer_id peer;
    assert_int_equal(region_load_state(pair->home.env.engine, RIGHT, &row, &peer, NULL), ERR_NOT_FOUND);
    assert_non_null(row); /* a tombstone: as it was prepared */
    assert_int_equal(row->merging->target, LEFT);
    assert_int_equal(peer, RIGHT * 10 + 2);
    region_free(row);
}

static void it_works_to_the_right_as_well(void **state)
{
    struct pair *pair = *state;
    prepare(pair, &pair->left, &pair->right);
    decide(pair, &pair->right, pair->left.region, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_true(bytes_equal(pair->right.region->start_key, b("rb")) &&
                bytes_equal(pair->right.region->end_key, b("rz")));
    assert_int_equal(pair->right.region->epoch_version, 12);
}

static void a_prepared_source_takes_no_writes_and_no_splits(void **state)
{
    struct pair *pair = *state;
    prepare(pair, &pair->right, &pair->left);
    write_at(pair, &pair->right, 11, "rn", "late", 1);
    write_at(pair, &pair->right, 12, "ro", "late", 2);
    assert_false(has(pair, "rn", "late") || has(pair, "ro", "late"));
    uint64_t peers[] = {51, 52, 53};
    struct wire_log_split split = {.key = b("rp"), .region_id = 50, .peer_ids = peers, .peer_ids_count = 3};
    struct wire_log_command command = {
        .kind = WIRE_COMMAND_KIND_SPLIT, .epoch_conf = 3, .epoch_version = 12, .splits = &split, .splits_count = 1};
    apply(pair, &pair->right, &command);
    assert_false(pair->changed);
    prepare(pair, &pair->right, &pair->left);
    assert_false(pair->changed); /* nor another target */
}

static void a_source_that_was_rolled_back_goes_on(void **state)
{
    struct pair *pair = *state;
    prepare(pair, &pair->right, &pair->left);
    raft_index index = pair->right.region->merging->index;
    decide(pair, &pair->left, pair->right.region, WIRE_COMMAND_KIND_REFUSE_MERGE);
    assert_int_equal(region_merge_judge(pair->right.region, pair->left.region), REGION_MERGE_NEVER);
    struct wire_log_merge other = {.index = index - 1}, merge = {.index = index};
    step(pair, &pair->right, WIRE_COMMAND_KIND_ROLLBACK_MERGE, &other);
    assert_false(pair->changed); /* of another attempt */
    struct region *prepared = region_copy(pair->right.region);
    step(pair, &pair->right, WIRE_COMMAND_KIND_ROLLBACK_MERGE, &merge);
    assert_true(pair->changed && pair->change == REGION_ROLLED_BACK && !region_is_merging(pair->right.region));
    assert_int_equal(pair->right.region->epoch_version, 13);
    write(pair, &pair->right, "rn", "again", 1);
    assert_true(has(pair, "rn", "again"));
    decide(pair, &pair->left, prepared, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_false(pair->changed); /* its epoch is over */
    region_free(prepared);
}

static void a_target_that_has_changed_takes_nothing_in(void **state)
{
    struct pair *pair = *state;
    prepare(pair, &pair->right, &pair->left);
    uint64_t peers[] = {51, 52, 53};
    struct wire_log_split split = {.key = b("rd"), .region_id = 50, .peer_ids = peers, .peer_ids_count = 3};
    struct wire_log_command command = {
        .kind = WIRE_COMMAND_KIND_SPLIT, .epoch_conf = 3, .epoch_version = 4, .splits = &split, .splits_count = 1};
    assert_int_equal(region_merge_judge(pair->right.region, pair->left.region), REGION_MERGE_OPEN);
    apply(pair, &pair->left, &command);
    assert_int_equal(region_merge_judge(pair->right.region, pair->left.region), REGION_MERGE_NEVER);
    decide(pair, &pair->left, pair->right.region, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_false(pair->changed);
}

/* It still has the border: nothing but the epoch says that this is too late. */
static void nor_if_it_is_a_neighbour_still(void **state)
{
    struct pair *pair = *state;
    prepare(pair, &pair->left, &pair->right);
    uint64_t peers[] = {51, 52, 53};
    struct wire_log_split split = {.key = b("rp"), .region_id = 50, .peer_ids = peers, .peer_ids_count = 3};
    struct wire_log_command command = {
        .kind = WIRE_COMMAND_KIND_SPLIT, .epoch_conf = 3, .epoch_version = 11, .splits = &split, .splits_count = 1};
    apply(pair, &pair->right, &command);
    assert_true(pair->changed);
    decide(pair, &pair->right, pair->left.region, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_false(pair->changed);
    assert_int_equal(region_merge_judge(pair->left.region, pair->right.region), REGION_MERGE_NEVER);
}

static void the_later_of_both_times_counts(void **state)
{
    struct pair *pair = *state;
    struct region_time time;
    struct wire_log_write put = {.op = WIRE_KV_OP_PUT, .key = b("rn"), .value = b("right")};
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_WRITE,
                                       .epoch_conf = 3,
                                       .epoch_version = 11,
                                       .time_ms = 5000,
                                       .writes = &put,
                                       .writes_count = 1};
    apply(pair, &pair->right, &command);
    prepare(pair, &pair->right, &pair->left);
    decide(pair, &pair->left, pair->right.region, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_int_equal(region_fsm_load_time(pair->home.env.engine, LEFT, &time), ERR_OK);
    assert_int_equal(time.now_ms, 5000);
}

static void a_target_waits_until_all_of_the_source_is_here(void **state)
{
    struct pair *pair = *state;
    struct region_merging merging = {
        .target = LEFT, .epoch_conf = 3, .epoch_version = 4, .index = FIRST_INDEX + 3, .term = FIRST_INDEX};
    struct region *prepared = region_copy_merging(pair->right.region, 12, &merging);
    decide(pair, &pair->left, prepared, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_non_null(pair->parked);
    assert_false(pair->changed);
    assert_int_equal(pair->parked->waits_for->id, RIGHT);
    struct region_task *first = pair->parked;
    write(pair, &pair->left, "rc", "behind", 1); /* what comes behind waits, too */
    struct region_task *second = pair->parked;
    assert_ptr_not_equal(first, second);
    assert_false(has(pair, "rc", "behind"));

    write(pair, &pair->right, "rn", "last", 2);
    pair->parked = NULL;
    first->resumes = true; /* too early: its last write is here, its prepare is not */
    apply_worker_post(pair->home.worker, &first->task);
    inline_exec_run(&pair->home.exec);
    assert_ptr_equal(pair->parked, first);
    prepare(pair, &pair->right, &pair->left);
    pair->parked = NULL;
    first->resumes = true;
    apply_worker_post(pair->home.worker, &first->task);
    apply_worker_post(pair->home.worker, &second->task);
    inline_exec_run(&pair->home.exec);
    assert_null(pair->parked);
    assert_int_equal(pair->left.region->epoch_version, 13);
    assert_true(has(pair, "rn", "last"));
    assert_false(has(pair, "rc", "behind")); /* of a version that is over */
    region_free(prepared);
}

static void a_snapshot_on_its_way_into_the_source_is_waited_for(void **state)
{
    struct pair *pair = *state;
    prepare(pair, &pair->right, &pair->left);
    peer_id peer;
    assert_int_equal(region_merge_source_is_here(pair->home.env.engine, pair->right.region, &peer, NULL), ERR_OK);
    struct region *other = region_copy(pair->right.region);
    other->merging->index++; /* of an attempt before */
    assert_int_equal(region_merge_source_is_here(pair->home.env.engine, other, &peer, NULL), ERR_NOT_READY);
    region_free(other);
    struct engine_batch *batch = engine_batch_new(pair->home.env.engine);
    region_fsm_put_applied(pair->home.env.engine, batch, RIGHT, 0, 0,
                           NULL); /* an empty peer whose row came with a snapshot */
    assert_int_equal(engine_write(pair->home.env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(pair->home.env.engine, batch);
    assert_int_equal(region_merge_source_is_here(pair->home.env.engine, pair->right.region, &peer, NULL),
                     ERR_NOT_READY);
}

/* Its row says that it is prepared, and it has never applied anything: that is not damage. */
static void so_is_the_first_one_of_a_source_that_has_applied_nothing(void **state)
{
    struct pair *pair = *state;
    prepare(pair, &pair->right, &pair->left);
    struct group_key applied = group_key_indexed(RIGHT, GROUP_APPLY_STATE, 0);
    struct snapshot_marker marker = {.id = 1, .position = {.index = FIRST_INDEX + 3, .term = FIRST_INDEX}};
    struct engine_batch *batch = engine_batch_new(pair->home.env.engine);
    peer_id peer;
    engine_batch_delete(pair->home.env.engine, batch, ENGINE_RAFT, group_key_bytes(&applied));
    snapshot_stage_put_marker(pair->home.env.engine, batch, RIGHT, &marker);
    assert_int_equal(engine_write(pair->home.env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(pair->home.env.engine, batch);
    assert_int_equal(region_merge_source_is_here(pair->home.env.engine, pair->right.region, &peer, NULL),
                     ERR_NOT_READY);
    decide(pair, &pair->left, pair->right.region, WIRE_COMMAND_KIND_COMMIT_MERGE);
    assert_non_null(pair->parked);
}

static void a_write_to_the_source_that_comes_again_is_not_done_twice(void **state)
{
    struct pair *pair = *state;
    write(pair, &pair->right, "rn", "one", 1);
    write(pair, &pair->right, "rn", "two", 2);
    prepare(pair, &pair->right, &pair->left);
    decide(pair, &pair->left, pair->right.region, WIRE_COMMAND_KIND_COMMIT_MERGE);
    raft_index index = pair->left.index;
    write(pair, &pair->left, "rn", "one", 1);
    assert_true(has(pair, "rn", "two"));
    /* ... nor after a restart. */
    region_fsm_free(pair->left.fsm);
    pair->left.fsm = region_fsm_new(&pair->home.env, NULL, pair->left.region, LEFT * 10 + 2, index, FIRST_INDEX, 1000);
    pair->left.index = index;
    write(pair, &pair->left, "rn", "one", 1);
    assert_true(has(pair, "rn", "two"));
}

static void who_has_taken_in_too_many_takes_no_more(void **state)
{
    (void)state;
    struct region *left = make_region(LEFT, "rb", "rm", 4), *right = make_region(RIGHT, "rm", "rz", 11);
    struct arena arena;
    arena_init(&arena);
    struct wire_region wire = region_to_wire(left, &arena);
    wire.merged = arena_alloc(&arena, REGION_MERGED_MAX * sizeof *wire.merged);
    wire.merged_count = REGION_MERGED_MAX;
    for (uint32_t i = 0; i < REGION_MERGED_MAX; i++)
        wire.merged[i] = (struct wire_merged){.region_id = 1000 + i, .index = i, .term = 1};
    struct region *full;
    const char *reason;
    assert_int_equal(region_from_wire(&wire, &full), ERR_OK);
    assert_int_equal(region_merge_check(right, left, &reason), ERR_OK);
    assert_int_equal(region_merge_check(right, full, &reason), ERR_UNSUPPORTED);
    assert_int_equal(region_merge_check(full, right, &reason), ERR_OK); /* the other way */
    region_free(full);
    region_free(left);
    region_free(right);
    arena_fini(&arena);
}

static void only_neighbours_on_the_same_stores_are_merged(void **state)
{
    (void)state;
    const char *reason;
    struct region *left = make_region(LEFT, "rb", "rm", 4), *right = make_region(RIGHT, "rm", "rz", 11),
                  *far = make_region(30, "s", "", 2), *end = make_region(31, "rz", "", 2);
    assert_int_equal(region_merge_check(left, far, &reason), ERR_INVALID);
    assert_int_equal(region_merge_check(left, left, &reason), ERR_INVALID);
    assert_int_equal(region_merge_check(end, right, &reason), ERR_OK);
    assert_int_equal(region_merge_check(far, end, &reason), ERR_INVALID); /* an empty end is no key */
    right->peers[1].store_id = 4;
    assert_int_equal(region_merge_check(left, right, &reason), ERR_NOT_READY);
    right->peers[1].store_id = 2;
    right->peers[2].role = WIRE_PEER_ROLE_LEARNER;
    assert_int_equal(region_merge_check(left, right, &reason), ERR_NOT_READY);
    right->peers[2].role = WIRE_PEER_ROLE_VOTER;
    struct region_merging merging = {.target = 30};
    right->merging = &merging;
    assert_int_equal(region_merge_check(left, right, &reason), ERR_EXISTS);
    region_free(left);
    region_free(right);
    region_free(far);
    region_free(end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_target_has_both_ranges_and_a_version_above_both, setup, teardown),
        cmocka_unit_test_setup_teardown(it_works_to_the_right_as_well, setup, teardown),
        cmocka_unit_test_setup_teardown(a_prepared_source_takes_no_writes_and_no_splits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_that_was_rolled_back_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_target_that_has_changed_takes_nothing_in, setup, teardown),
        cmocka_unit_test_setup_teardown(nor_if_it_is_a_neighbour_still, setup, teardown),
        cmocka_unit_test_setup_teardown(the_later_of_both_times_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_target_waits_until_all_of_the_source_is_here, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_on_its_way_into_the_source_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(so_is_the_first_one_of_a_source_that_has_applied_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_write_to_the_source_that_comes_again_is_not_done_twice, setup, teardown),
        cmocka_unit_test(who_has_taken_in_too_many_takes_no_more),
        cmocka_unit_test(only_neighbours_on_the_same_stores_are_merged),
    };
    choose_bug();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
