/* A region is split: what becomes of its rows and tokens, who is told, and what clients see of it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "fsm_home.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/region_split.h"
#include "storenode/store_keys.h"
#include "storenode/tokens.h"

enum { PARENT = 7, LEFT_PEER = 71, CHILD = 20, FIRST_INDEX = 5 };

static struct bytes b(const char *text)
{
    return bytes_of_string(text);
}

/* ---- one state machine on an engine of its own */

struct machine {
    struct fsm_home home;
    struct region *region;
    struct region_fsm *fsm;
    raft_index index;
    struct buf encoded;
    struct region_split *splits; /* of the last task; owned */
    enum err code;
};

static void take_task(void *state, struct message *take_message)
{
    struct machine *machine = state;
    struct region_task *task = (struct region_task *)take_message;
    machine->code = task->code;
    machine->splits = task->splits;
    task->splits = NULL;
    message_free(take_message);
}

static struct region *make_parent(void)
{
    return fsm_home_region(PARENT, LEFT_PEER - 1, "rb", "rz", 3, 4);
}

static void machine_init(struct machine *machine)
{
    static const struct actor_ops ops = {.on_message = take_task};
    memset(machine, 0, sizeof *machine);
    fsm_home_init(&machine->home, &ops, machine);
    machine->region = make_parent();
    machine->fsm = region_fsm_new(&machine->home.env, NULL, machine->region, LEFT_PEER, FIRST_INDEX, FIRST_INDEX, 1);
    machine->index = FIRST_INDEX;
    buf_init(&machine->encoded, 1 << 20);
}

static void machine_fini(struct machine *machine)
{
    region_split_free(machine->splits);
    region_fsm_free(machine->fsm);
    region_free(machine->region);
    fsm_home_fini(&machine->home);
    buf_fini(&machine->encoded);
}

static void apply(struct machine *machine, const struct wire_log_command *command)
{
    region_split_free(machine->splits);
    machine->splits = NULL;
    buf_reset(&machine->encoded);
    assert_int_equal(wire_encode_log_command(command, &machine->encoded), ERR_OK);
    struct raft_entry entry = {.index = ++machine->index, .term = FIRST_INDEX, .data = buf_bytes(&machine->encoded)};
    fsm_home_apply(&machine->home, machine->fsm, &entry, 1, false);
}

static void apply_put(struct machine *machine, const char *key, uint64_t version, uint64_t sequence)
{
    struct wire_log_write write = {.op = WIRE_KV_OP_PUT,
                                   .key = b(key),
                                   .value = b("value"),
                                   .client_id = 9,
                                   .sequence = sequence,
                                   .sequence_done = 1};
    apply(machine, &(struct wire_log_command){.kind = WIRE_COMMAND_KIND_WRITE,
                                              .epoch_conf = 3,
                                              .epoch_version = version,
                                              .writes = &write,
                                              .writes_count = 1});
}

/* At f and p. */
static struct wire_log_command *split_command(void)
{
    static uint64_t ids[2][3] = {{21, 22, 23}, {25, 26, 27}};
    static struct wire_log_split splits[2];
    static struct wire_log_command command;
    for (int i = 0; i < 2; i++)
        splits[i] = (struct wire_log_split){
            .key = b(i ? "rp" : "rf"), .region_id = CHILD + 4u * (unsigned)i, .peer_ids = ids[i], .peer_ids_count = 3};
    command = (struct wire_log_command){
        .kind = WIRE_COMMAND_KIND_SPLIT, .epoch_conf = 3, .epoch_version = 4, .splits = splits, .splits_count = 2};
    return &command;
}

static bool has_row(struct machine *machine, const char *key)
{
    struct buf value;
    buf_init(&value, 1024);
    enum err code = engine_get(machine->home.env.engine, ENGINE_DEFAULT, b(key), &value, NULL);
    buf_fini(&value);
    return code == ERR_OK;
}

/* NULL: no row. Free it. */
static struct region *row_of(struct machine *machine, region_id id, peer_id *ret_local)
{
    struct group_key key = group_key(id, STORE_REGION_STATE);
    struct buf value;
    struct arena arena;
    struct wire_region_state state;
    struct region *region = NULL;
    buf_init(&value, 1 << 16);
    arena_init(&arena);
    if (engine_get(machine->home.env.engine, ENGINE_RAFT, group_key_bytes(&key), &value, NULL) == ERR_OK) {
        assert_int_equal(region_row_decode(buf_bytes(&value), &arena, &state), ERR_OK);
        assert_int_equal(region_from_wire(state.region, &region), ERR_OK);
        *ret_local = state.local_peer_id;
    }
    arena_fini(&arena);
    buf_fini(&value);
    return region;
}

static void assert_row(struct machine *machine, region_id id, const char *start, const char *end, peer_id local)
{
    peer_id found;
    struct region *region = row_of(machine, id, &found);
    assert_non_null(region);
    assert_true(bytes_equal(region->start_key, b(start)) && bytes_equal(region->end_key, b(end)));
    assert_int_equal(region->epoch_version, 6);
    assert_int_equal(region->epoch_conf, 3);
    assert_int_equal(found, local);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(region->peers[i].store_id, i + 1);
    region_free(region);
}

static void a_split_leaves_the_left_part_and_makes_groups_of_the_others(void **unused)
{
    (void)unused;
    struct machine machine;
    machine_init(&machine);
    apply(&machine, split_command());
    assert_int_equal(machine.code, ERR_OK);
    assert_row(&machine, PARENT, "rb", "rf", LEFT_PEER);
    assert_row(&machine, CHILD, "rf", "rp", 22);
    assert_row(&machine, CHILD + 4, "rp", "rz", 26);
    raft_index applied;
    raft_term term;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            region_fsm_load_applied(machine.home.env.engine, CHILD + 4u * (unsigned)i, &applied, &term, NULL), ERR_OK);
        assert_int_equal(applied, GROUP_FIRST_INDEX);
    }
    assert_int_equal(region_fsm_load_applied(machine.home.env.engine, PARENT, &applied, &term, NULL), ERR_OK);
    assert_int_equal(applied, machine.index);
    assert_non_null(machine.splits);
    assert_int_equal(machine.splits->count, 3);
    assert_int_equal(region_fsm_split_index(machine.fsm), machine.index);
    machine_fini(&machine);
}

/* All of it is one batch: a crash, wherever, leaves either the region or its parts. */
static void a_crash_leaves_a_region_or_its_parts_but_nothing_between(void **unused)
{
    (void)unused;
    int kept = 0, lost = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct machine machine;
        machine_init(&machine);
        apply_put(&machine, "rm", 4, 2);
        apply(&machine, split_command());
        apply_put(&machine, "rc", 6, 3);
        struct rng rng;
        rng_init(&rng, seed, "crash");
        engine_mem_crash(machine.home.env.engine, 1, &rng);
        peer_id local;
        raft_index applied = 0;
        raft_term term;
        (void)region_fsm_load_applied(machine.home.env.engine, PARENT, &applied, &term, NULL);
        region_id ids[] = {PARENT, CHILD, CHILD + 4};
        for (int i = 0; i < 3; i++) {
            struct region *region = row_of(&machine, ids[i], &local);
            assert_int_equal(region != NULL, applied >= FIRST_INDEX + 2);
            region_free(region);
        }
        (applied >= FIRST_INDEX + 2 ? &kept : &lost)[0]++;
        machine_fini(&machine);
    }
    assert_true(kept > 0 && lost > 0);
}

static void writes_of_before_the_split_are_refused_behind_it(void **unused)
{
    (void)unused;
    struct machine machine;
    machine_init(&machine);
    apply_put(&machine, "rm", 4, 2);
    apply(&machine, split_command());
    apply_put(&machine, "rc", 4, 3); /* even in the part that stayed: its proposer did not know */
    apply_put(&machine, "rq", 4, 4);
    apply_put(&machine, "rq", 6, 5); /* not its range any more */
    apply_put(&machine, "rd", 6, 6);
    assert_true(has_row(&machine, "rm") && has_row(&machine, "rd"));
    assert_false(has_row(&machine, "rc") || has_row(&machine, "rq"));
    machine_fini(&machine);
}

static void a_child_recognises_what_was_done_before_it_was_born(void **unused)
{
    (void)unused;
    struct machine machine;
    machine_init(&machine);
    apply_put(&machine, "rm", 4, 2);
    apply_put(&machine, "rq", 4, 3);
    apply(&machine, split_command());
    for (int i = 0; i < 2; i++) {
        struct tokens *tokens = tokens_new(machine.home.env.engine, CHILD + 4u * (unsigned)i, GROUP_FIRST_INDEX);
        assert_int_equal(tokens_load(tokens), ERR_OK);
        assert_int_equal(tokens_saved_index(tokens), GROUP_FIRST_INDEX);
        for (uint64_t sequence = 2; sequence <= 4; sequence++) {
            struct token token = {.client_id = 9, .sequence = sequence, .sequence_done = 1, .retry = true};
            bool seen;
            enum err told = ERR_MAYBE;
            assert_int_equal(tokens_check(tokens, &token, &seen, &told), ERR_OK);
            assert_int_equal(seen, sequence < 4);
            if (seen)
                assert_int_equal(told, ERR_OK);
        }
        tokens_free(tokens);
    }
    machine_fini(&machine);
}

static void expect_refusal(enum err code, void (*spoil)(struct wire_log_command *command))
{
    struct region *parent = make_parent();
    struct wire_log_command *command = split_command();
    struct region_split *split = NULL;
    spoil(command);
    assert_int_equal(region_split_new(parent, command, 9, &split), code);
    assert_null(split);
    region_free(parent);
}

static void spoil_version(struct wire_log_command *command)
{
    command->epoch_version = 3;
}

static void spoil_conf(struct wire_log_command *command)
{
    command->epoch_conf = 2;
}

static void spoil_order(struct wire_log_command *command)
{
    command->splits[1].key = command->splits[0].key;
}

static void spoil_start(struct wire_log_command *command)
{
    command->splits[0].key = b("rb");
}

static void spoil_end(struct wire_log_command *command)
{
    command->splits[1].key = b("rz");
}

static void spoil_peers(struct wire_log_command *command)
{
    command->splits[1].peer_ids_count = 2;
}

static void spoil_id(struct wire_log_command *command)
{
    command->splits[1].region_id = command->splits[0].region_id;
}

static void spoil_own_id(struct wire_log_command *command)
{
    command->splits[0].region_id = PARENT;
}

static void spoil_count(struct wire_log_command *command)
{
    command->splits_count = 0;
}

static void a_split_that_does_not_fit_the_region_changes_nothing(void **unused)
{
    (void)unused;
    expect_refusal(ERR_EPOCH_NOT_MATCH, spoil_version);
    expect_refusal(ERR_EPOCH_NOT_MATCH, spoil_conf);
    expect_refusal(ERR_INVALID, spoil_order);
    expect_refusal(ERR_KEY_NOT_IN_REGION, spoil_start);
    expect_refusal(ERR_KEY_NOT_IN_REGION, spoil_end);
    expect_refusal(ERR_INVALID, spoil_peers);
    expect_refusal(ERR_INVALID, spoil_id);
    expect_refusal(ERR_INVALID, spoil_own_id);
    expect_refusal(ERR_INVALID, spoil_count);
    struct machine machine;
    machine_init(&machine);
    apply(&machine, split_command());
    apply(&machine, split_command()); /* again: the version has moved on */
    assert_int_equal(machine.code, ERR_OK);
    assert_null(machine.splits);
    assert_int_equal(region_fsm_split_index(machine.fsm), machine.index - 1);
    machine_fini(&machine);
}

static void a_region_that_is_here_already_stops_the_store(void **unused)
{
    (void)unused;
    struct machine machine;
    machine_init(&machine);
    struct engine_batch *batch = engine_batch_new(machine.home.env.engine);
    region_fsm_put_applied(machine.home.env.engine, batch, CHILD + 4, 6, 6, NULL);
    assert_int_equal(engine_write(machine.home.env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(machine.home.env.engine, batch);
    apply(&machine, split_command());
    assert_int_equal(machine.code, ERR_EXISTS);
    peer_id local;
    assert_null(row_of(&machine, CHILD, &local)); /* half of it must not be there */
    machine_fini(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_split_leaves_the_left_part_and_makes_groups_of_the_others),
        cmocka_unit_test(a_crash_leaves_a_region_or_its_parts_but_nothing_between),
        cmocka_unit_test(writes_of_before_the_split_are_refused_behind_it),
        cmocka_unit_test(a_child_recognises_what_was_done_before_it_was_born),
        cmocka_unit_test(a_split_that_does_not_fit_the_region_changes_nothing),
        cmocka_unit_test(a_region_that_is_here_already_stops_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
