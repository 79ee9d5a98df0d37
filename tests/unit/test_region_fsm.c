/* The state machine of a region by itself: what it keeps for a next life. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "fsm_home.h"
#include "storenode/region_fsm.h"

enum { REGION = 7, PEER = 71, FIRST_INDEX = 5, SAVE_INTERVAL = 512 };

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
    enum err code;
};

static void take_task(void *state, struct message *take_message)
{
    struct machine *machine = state;
    struct region_task *task = (struct region_task *)take_message;
    machine->code = task->code;
    message_free(take_message);
}

static void machine_init(struct machine *machine)
{
    static const struct actor_ops ops = {.on_message = take_task};
    memset(machine, 0, sizeof *machine);
    fsm_home_init(&machine->home, &ops, machine);
    machine->region = fsm_home_region(REGION, PEER - 1, "rb", "rz", 3, 4);
    machine->fsm =
        region_fsm_new(&machine->home.env, NULL, machine->region, PEER, FIRST_INDEX, FIRST_INDEX, SAVE_INTERVAL);
    machine->index = FIRST_INDEX;
    buf_init(&machine->encoded, 1 << 20);
}

static void machine_fini(struct machine *machine)
{
    region_fsm_free(machine->fsm);
    region_free(machine->region);
    fsm_home_fini(&machine->home);
    buf_fini(&machine->encoded);
}

static void apply(struct machine *machine, const struct wire_log_command *command)
{
    buf_reset(&machine->encoded);
    assert_int_equal(wire_encode_log_command(command, &machine->encoded), ERR_OK);
    struct raft_entry entry = {.index = ++machine->index, .term = FIRST_INDEX, .data = buf_bytes(&machine->encoded)};
    fsm_home_apply(&machine->home, machine->fsm, &entry, 1, false);
}

static void apply_put(struct machine *machine, uint64_t client, uint64_t sequence, size_t size)
{
    static const uint8_t zeros[64 * 1024];
    struct wire_log_write write = {.op = WIRE_KV_OP_PUT,
                                   .key = b("rkey"),
                                   .value = bytes_of(zeros, size),
                                   .client_id = client,
                                   .sequence = sequence,
                                   .sequence_done = sequence};
    apply(
        machine,
        &(struct wire_log_command){
            .kind = WIRE_COMMAND_KIND_WRITE, .epoch_conf = 3, .epoch_version = 4, .writes = &write, .writes_count = 1});
    assert_int_equal(machine->code, ERR_OK);
}

static uint64_t unsaved_count(const struct machine *machine)
{
    return machine->index - region_fsm_log_needed_after(machine->fsm);
}

/* ---- claims */

/* 10,000 regions may all want their first write of a new life at once. */
static void a_restart_reads_little_of_the_log_to_know_the_tokens(void **state)
{
    (void)state;
    enum { VALUE_SIZE = 1000, READ_SIZE_MAX = 32 * 1024 };
    struct machine machine;
    machine_init(&machine);
    for (uint64_t i = 1; i <= 300; i++) {
        apply_put(&machine, 9, i, VALUE_SIZE);
        assert_true(unsaved_count(&machine) * VALUE_SIZE < READ_SIZE_MAX);
    }
    machine_fini(&machine);
}

/* 200 rows of tokens change in each round. */
static void tokens_of_many_clients_are_saved_at_longer_intervals(void **state)
{
    (void)state;
    enum { VALUE_SIZE = 1000, CLIENTS = 200 };
    struct machine machine;
    uint64_t largest = 0;
    machine_init(&machine);
    for (uint64_t i = 1; i <= 2000; i++) {
        apply_put(&machine, 1 + i % CLIENTS, i, VALUE_SIZE);
        if (unsaved_count(&machine) > largest)
            largest = unsaved_count(&machine);
    }
    assert_in_range(largest, 100, SAVE_INTERVAL);
    machine_fini(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_reads_little_of_the_log_to_know_the_tokens),
        cmocka_unit_test(tokens_of_many_clients_are_saved_at_longer_intervals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
