/* Keys that expire: decided by the time in the log, alike on every replica; seen alike by every reader. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/clock.h"
#include "env/engine_mem.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "inline_exec.h"
#include "rpc/frame_kind.h"
#include "storenode/expiry.h"
#include "storenode/range_sum.h"
#include "storenode/read_worker.h"
#include "storenode/region_fsm.h"
#include "storenode/row.h"
#include "storenode/store_parts.h"

enum { REGION = 7, CHILD = 20, PEER = 71, FIRST_INDEX = 5, CONN = 5 };

static struct bytes b(const char *text)
{
    return bytes_of_string(text);
}

/* ---- one replica: a state machine, an engine, a read worker; replies end in `reply` */

struct machine {
    struct transport transport; /* first */
    struct inline_exec exec;
    struct clock clock;
    uint64_t wall_ms;
    struct env env;
    struct actor *owner;
    struct apply_worker *worker;
    struct read_worker *reader;
    struct replies *replies;
    struct region *region;
    struct region_fsm *fsm;
    raft_index index;
    struct buf encoded;
    struct arena arena;
    struct frame *frame;
    struct wire_kv_reply reply;
    uint64_t wished_ms;
    uint32_t wish_count;
    enum err code;
};

static struct machine *machine_of(struct clock *clock)
{
    return (struct machine *)(void *)((char *)clock - offsetof(struct machine, clock));
}

static uint64_t wall(struct clock *clock)
{
    return machine_of(clock)->wall_ms;
}

static uint64_t no_time(struct clock *clock)
{
    (void)clock;
    return 1;
}

static enum err keep_frame(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    struct machine *machine = (struct machine *)(void *)transport;
    struct wire_kv_reply_batch batch;
    (void)conn;
    assert_int_equal(wire_decode_kv_reply_batch(frame_bytes(take_frame), &machine->arena, &batch), ERR_OK);
    frame_unref(machine->frame);
    machine->frame = take_frame;
    machine->reply = batch.replies[batch.replies_count - 1];
    return ERR_OK;
}

static void take_message(void *state, struct message *take_message)
{
    struct machine *machine = state;
    if (take_message->kind == WORKER_TIME_WISH) {
        assert_int_equal(((struct time_wish *)take_message)->region, REGION);
        machine->wished_ms = ((struct time_wish *)take_message)->time_ms;
        machine->wish_count++;
    } else
        machine->code = ((struct region_task *)take_message)->code;
    message_free(take_message);
}

static struct region *make_region(void)
{
    struct wire_peer peer = {.id = PEER, .store_id = 2};
    struct wire_region wire = {.id = REGION,
                               .start_key = b("r"),
                               .end_key = b("s"),
                               .epoch_version = 4,
                               .epoch_conf = 3,
                               .peers = &peer,
                               .peers_count = 1};
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    return region;
}

static void start(struct machine *machine)
{
    machine->fsm = region_fsm_new(&machine->env, NULL, machine->region, PEER, machine->index, FIRST_INDEX, 1);
}

static struct machine *machine_new(uint64_t wall_ms)
{
    static const struct actor_ops ops = {.on_message = take_message};
    static const struct apply_worker_options options = {0};
    static const struct transport_ops transport_ops = {.send = keep_frame};
    static const struct read_limits limits = {10, 1 << 20};
    struct machine *machine = calloc(1, sizeof *machine);
    assert_non_null(machine);
    inline_exec_init(&machine->exec);
    machine->transport.ops = &transport_ops;
    machine->wall_ms = wall_ms;
    machine->clock = (struct clock){.now_us = no_time, .wall_ms = wall};
    machine->env =
        (struct env){.executor = &machine->exec.base, .clock = &machine->clock, .transport = &machine->transport};
    arena_init(&machine->arena);
    buf_init(&machine->encoded, 1 << 20);
    assert_int_equal(engine_mem_new(&machine->env.engine), ERR_OK);
    assert_int_equal(executor_spawn(&machine->exec.base, "owner", &ops, machine, 16, &machine->owner), ERR_OK);
    assert_int_equal(apply_worker_new(&machine->env, &options, &machine->worker), ERR_OK);
    assert_int_equal(read_worker_new(&machine->env, &limits, &machine->reader), ERR_OK);
    machine->replies = replies_new(&machine->env);
    machine->region = make_region();
    machine->index = FIRST_INDEX;
    start(machine);
    return machine;
}

static void machine_free(struct machine *machine)
{
    region_fsm_free(machine->fsm);
    region_free(machine->region);
    replies_free(machine->replies);
    inline_exec_fini(&machine->exec);
    apply_worker_free(machine->worker);
    read_worker_free(machine->reader);
    engine_mem_free(machine->env.engine);
    buf_fini(&machine->encoded);
    arena_fini(&machine->arena);
    frame_unref(machine->frame);
    free(machine);
}

static void apply(struct machine *machine, const struct wire_log_command *command)
{
    buf_reset(&machine->encoded);
    assert_int_equal(wire_encode_log_command(command, &machine->encoded), ERR_OK);
    struct raft_entry entry = {.index = ++machine->index, .term = FIRST_INDEX, .data = buf_bytes(&machine->encoded)};
    struct region_task *task = region_task_new(machine->fsm, machine->owner, 0, machine->replies, &entry, 1, NULL);
    apply_worker_post(machine->worker, &task->task);
    inline_exec_run(&machine->exec);
    assert_int_equal(machine->code, ERR_OK);
}

static void apply_write(struct machine *machine, uint64_t time_ms, struct wire_log_write write)
{
    apply(machine, &(struct wire_log_command){.kind = WIRE_COMMAND_KIND_WRITE,
                                              .epoch_conf = 3,
                                              .epoch_version = 4,
                                              .writes = &write,
                                              .writes_count = write.op != 0,
                                              .time_ms = time_ms});
}

static void put(struct machine *machine, uint64_t time_ms, const char *key, const char *value, uint64_t ttl_ms)
{
    apply_write(machine, time_ms,
                (struct wire_log_write){.op = WIRE_KV_OP_PUT, .key = b(key), .value = b(value), .ttl_ms = ttl_ms});
}

static void cas(struct machine *machine, uint64_t time_ms, const char *key, const char *expected, const char *value)
{
    apply_write(machine, time_ms,
                (struct wire_log_write){.op = WIRE_KV_OP_CAS,
                                        .key = b(key),
                                        .value = b(value),
                                        .expected = expected ? b(expected) : bytes_empty()});
}

static void pass(struct machine *machine, uint64_t time_ms)
{
    apply_write(machine, time_ms, (struct wire_log_write){0});
}

static const struct wire_kv_reply *ask(struct machine *machine, struct wire_kv_request request)
{
    struct read_task *task = read_task_new();
    machine->reply = (struct wire_kv_reply){.code = 9999};
    request.region_id = REGION;
    read_task_add(task, (struct reply_to){.conn = CONN, .request_id = 1}, &request, b("r"), b("s"), 0);
    read_task_set_time(task, true, region_fsm_time(machine->fsm).now_ms);
    task->owner = machine->owner;
    read_worker_post(machine->reader, task);
    inline_exec_run(&machine->exec);
    return &machine->reply;
}

static void expect(struct machine *machine, const char *key, const char *value)
{
    const struct wire_kv_reply *reply =
        ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_GET, .key = b(key), .read_mode = 0});
    assert_int_equal(reply->code, value ? ERR_OK : ERR_NOT_FOUND);
    if (value)
        assert_true(bytes_equal(reply->value, b(value)));
}

/* ---- what is in the log decides */

static void a_key_expires_when_the_log_says_so(void **state)
{
    (void)state;
    struct machine *machine = machine_new(0);
    put(machine, 1000, "rk", "v", 500);
    put(machine, 0, "rother", "w", 0); /* says no time: none passes */
    expect(machine, "rk", "v");
    assert_int_equal(region_fsm_time(machine->fsm).now_ms, 1000);
    assert_int_equal(region_fsm_time(machine->fsm).last_expiry_ms, 1500);
    pass(machine, 1499);
    expect(machine, "rk", "v");
    pass(machine, 1500);
    expect(machine, "rk", NULL);
    expect(machine, "rother", "w");
    pass(machine, 1200); /* a leader whose clock is behind */
    expect(machine, "rk", NULL);
    assert_int_equal(region_fsm_time(machine->fsm).now_ms, 1500);
    put(machine, 1600, "rk", "again", 0);
    pass(machine, 1u << 30);
    expect(machine, "rk", "again");
    machine_free(machine);
}

/* The same entries, on three replicas whose clocks have nothing to do with each other. One has dropped the row. */
static void a_compare_and_swap_is_decided_alike_everywhere(void **state)
{
    (void)state;
    static const uint64_t walls[] = {0, 1250, 1u << 30};
    for (int i = 0; i < 3; i++) {
        struct machine *machine = machine_new(walls[i]);
        put(machine, 1000, "ralive", "v", 500);
        put(machine, 1000, "rgone", "v", 200);
        cas(machine, 1300, "ralive", "v", "swapped");
        struct engine_span all = {.time_ms = region_fsm_time(machine->fsm).now_ms};
        struct engine_expiry expiry = {.spans = &all, .count = 1, .is_expired = row_is_expired};
        for (int times = 0; times < 20 && i == 2; times++)
            assert_int_equal(engine_set_expiry(machine->env.engine, &expiry, NULL), ERR_OK);
        cas(machine, 1100, "rgone", "v", "wrong"); /* by a leader that is behind: it was gone at 1300 */
        expect(machine, "rgone", NULL);
        cas(machine, 1100, "rgone", NULL, "new");
        machine->wall_ms = 0;
        expect(machine, "ralive", "swapped");
        expect(machine, "rgone", "new");
        machine_free(machine);
    }
}

static void batches_and_swaps_give_a_life_too(void **state)
{
    (void)state;
    struct machine *machine = machine_new(0);
    struct wire_kv_pair pairs[] = {{.key = b("ra"), .value = b("1")}, {.key = b("rb"), .value = b("2")}};
    apply_write(machine, 1000,
                (struct wire_log_write){.op = WIRE_KV_OP_BATCH_WRITE, .pairs = pairs, .pairs_count = 2, .ttl_ms = 100});
    apply_write(machine, 1000,
                (struct wire_log_write){.op = WIRE_KV_OP_CAS, .key = b("rc"), .value = b("3"), .ttl_ms = 300});
    expect(machine, "ra", "1");
    expect(machine, "rb", "2");
    pass(machine, 1100);
    expect(machine, "ra", NULL);
    expect(machine, "rb", NULL);
    expect(machine, "rc", "3");
    pass(machine, 1300);
    expect(machine, "rc", NULL);
    apply_write(machine, 2000,
                (struct wire_log_write){
                    .op = WIRE_KV_OP_PUT, .key = b("rd"), .value = b("4"), .ttl_ms = REGION_TTL_MAX_MS + 1});
    expect(machine, "rd", NULL); /* refused: sums must not overflow */
    machine_free(machine);
}

static void a_restart_does_not_turn_time_back(void **state)
{
    (void)state;
    struct machine *machine = machine_new(0);
    put(machine, 1000, "rk", "v", 500);
    pass(machine, 2000);
    region_fsm_free(machine->fsm);
    start(machine);
    assert_int_equal(region_fsm_time(machine->fsm).now_ms, 2000);
    assert_int_equal(region_fsm_time(machine->fsm).last_expiry_ms, 1500);
    expect(machine, "rk", NULL);
    machine_free(machine);
}

static void what_is_split_off_has_the_time_of_its_parent(void **state)
{
    (void)state;
    struct machine *machine = machine_new(0);
    put(machine, 1000, "rx", "v", 500);
    pass(machine, 2000);
    uint64_t peers[] = {CHILD + 1};
    struct wire_log_split split = {.key = b("rm"), .region_id = CHILD, .peer_ids = peers, .peer_ids_count = 1};
    apply(
        machine,
        &(struct wire_log_command){
            .kind = WIRE_COMMAND_KIND_SPLIT, .epoch_conf = 3, .epoch_version = 4, .splits = &split, .splits_count = 1});
    struct region_time time;
    assert_int_equal(region_fsm_load_time(machine->env.engine, CHILD, &time), ERR_OK);
    assert_int_equal(time.now_ms, 2000);
    assert_int_equal(time.last_expiry_ms, 1500);
    machine_free(machine);
}

/* Rows of the format before: read. Anything else: refused. */
static void apply_states_of_both_formats_are_read_and_others_refused(void **state)
{
    (void)state;
    static const struct region_time time = {.now_ms = 3, .last_expiry_ms = 4};
    for (int timed = 0; timed < 2; timed++) {
        struct engine *engine;
        assert_int_equal(engine_mem_new(&engine), ERR_OK);
        struct engine_batch *batch = engine_batch_new(engine);
        region_fsm_put_applied(engine, batch, REGION, 1, 2, timed ? &time : NULL);
        assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
        struct group_key key = group_key_indexed(REGION, GROUP_APPLY_STATE, 0);
        struct buf row;
        buf_init(&row, 256);
        assert_int_equal(engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &row, NULL), ERR_OK);
        assert_int_equal(row.data[0], timed ? 2 : 1);
        assert_int_equal(row.size, timed ? 37 : 21);
        struct region_time read;
        raft_index index = 0;
        raft_term term = 0;
        assert_int_equal(region_fsm_load_applied(engine, REGION, &index, &term, NULL), ERR_OK);
        assert_int_equal(region_fsm_load_time(engine, REGION, &read), ERR_OK);
        assert_int_equal(index, 1);
        assert_int_equal(term, 2);
        assert_int_equal(read.now_ms, timed ? 3 : 0);
        assert_int_equal(read.last_expiry_ms, timed ? 4 : 0);
        for (size_t at = 0; at < row.size; at++) { /* one wrong byte, wherever */
            row.data[at] ^= 3;
            engine_batch_clear(engine, batch);
            engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&row));
            assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
            assert_int_equal(region_fsm_load_applied(engine, REGION, &index, &term, NULL), ERR_CORRUPT);
            row.data[at] ^= 3;
        }
        engine_batch_free(engine, batch);
        engine_mem_free(engine);
        buf_fini(&row);
    }
}

/* ---- readers */

static void every_way_to_read_leaves_out_what_is_expired(void **state)
{
    (void)state;
    struct machine *machine = machine_new(0);
    put(machine, 1000, "ra", "1", 0);
    put(machine, 1000, "rb", "2", 100);
    put(machine, 1000, "rc", "3", 900);
    pass(machine, 1500);
    const struct wire_kv_reply *reply;
    for (int reverse = 0; reverse < 2; reverse++)
        for (int keys_only = 0; keys_only < 2; keys_only++) {
            reply = ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_SCAN,
                                                          .reverse = reverse,
                                                          .keys_only = keys_only,
                                                          .key = reverse ? b("s") : b("r"),
                                                          .end_key = reverse ? b("r") : b("s")});
            assert_int_equal(reply->code, ERR_OK);
            assert_int_equal(reply->pairs_count, 2);
            assert_true(bytes_equal(reply->pairs[reverse].key, b("ra")));
            assert_true(bytes_equal(reply->pairs[!reverse].key, b("rc")));
        }
    struct wire_kv_pair pairs[] = {{.key = b("ra")}, {.key = b("rb")}, {.key = b("rc")}};
    reply = ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_BATCH_GET, .pairs = pairs, .pairs_count = 3});
    assert_false(reply->pairs[0].remove);
    assert_true(reply->pairs[1].remove);
    assert_true(bytes_equal(reply->pairs[2].value, b("3")));
    struct range_sum sum = {0};
    range_sum_add(&sum, b("a"), b("1"));
    range_sum_add(&sum, b("c"), b("3"));
    reply = ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_CHECKSUM, .key = b("r"), .end_key = b("s")});
    assert_int_equal(reply->rows, 2);
    assert_int_equal(reply->checksum, sum.checksum);
    machine_free(machine);
}

static void what_is_left_of_a_life_is_told(void **state)
{
    (void)state;
    struct machine *machine = machine_new(0);
    put(machine, 1000, "ra", "1", 0);
    put(machine, 1000, "rb", "2", 900);
    const struct wire_kv_reply *reply = ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_TTL, .key = b("ra")});
    assert_int_equal(reply->code, ERR_OK);
    assert_int_equal(reply->ttl_ms, 0);
    assert_int_equal(ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_TTL, .key = b("rb")})->ttl_ms, 900);
    machine->wall_ms = 1300; /* later than the region's time: nobody has written */
    assert_int_equal(ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_TTL, .key = b("rb")})->ttl_ms, 600);
    machine->wall_ms = 2000; /* within the grace: still there, though not for long */
    assert_int_equal(ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_TTL, .key = b("rb")})->ttl_ms, 1);
    pass(machine, 2000);
    assert_int_equal(ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_TTL, .key = b("rb")})->code, ERR_NOT_FOUND);
    machine_free(machine);
}

/* Neither told to be there, nor to be gone: the leader has to let time pass first. */
static void a_row_that_is_due_makes_the_reader_wait_until_time_has_passed(void **state)
{
    (void)state;
    struct machine *machine = machine_new(0);
    put(machine, 1000, "rb", "2", 500);
    machine->wall_ms = 1500 + EXPIRY_GRACE_MS - 1;
    expect(machine, "rb", "2");
    assert_int_equal(machine->wish_count, 0);
    machine->wall_ms++;
    const uint8_t ops[] = {WIRE_KV_OP_GET, WIRE_KV_OP_TTL, WIRE_KV_OP_SCAN, WIRE_KV_OP_CHECKSUM};
    for (uint32_t i = 0; i < sizeof ops; i++) {
        const struct wire_kv_reply *reply =
            ask(machine, (struct wire_kv_request){.op = ops[i], .key = b("rb"), .end_key = b("rc")});
        assert_int_equal(reply->code, ERR_NOT_READY);
        assert_int_equal(reply->pairs_count, 0);
        assert_true(reply->wait_ms > 0);
        assert_int_equal(machine->wish_count, i + 1);
        assert_int_equal(machine->wished_ms, machine->wall_ms);
    }
    const struct wire_kv_reply *stale =
        ask(machine, (struct wire_kv_request){.op = WIRE_KV_OP_GET, .key = b("rb"), .read_mode = WIRE_READ_MODE_STALE});
    assert_int_equal(stale->code, ERR_OK); /* it may be old */
    assert_int_equal(machine->wish_count, 4);
    pass(machine, machine->wished_ms);
    expect(machine, "rb", NULL);
    machine->wall_ms = 0; /* the clock jumps back */
    expect(machine, "rb", NULL);
    machine_free(machine);
}

/* However many lie in between, an answer comes soon, and says where to go on. */
static void a_scan_passes_over_so_many_expired_rows_and_no_more(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    struct machine *machine = machine_new(0);
    struct engine_batch *batch = engine_batch_new(machine->env.engine);
    struct buf row;
    buf_init(&row, 64);
    for (int i = 0; i <= COUNT; i++) {
        char key[16];
        snprintf(key, sizeof key, "r%05d", i);
        assert_int_equal(row_make(&row, b("v"), i == COUNT / 2 ? 0 : 5), ERR_OK);
        engine_batch_put(machine->env.engine, batch, ENGINE_DEFAULT, b(key), buf_bytes(&row));
    }
    assert_int_equal(engine_write(machine->env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(machine->env.engine, batch);
    buf_fini(&row);
    put(machine, 10, "r00000", "v", 1);
    pass(machine, 20);
    for (int reverse = 0; reverse < 2; reverse++) {
        char next[32] = "r";
        uint32_t answers = 0, rows = 0;
        if (reverse)
            strcpy(next, "s");
        for (bool more = true; more; answers++) {
            const struct wire_kv_reply *reply = ask(
                machine,
                (struct wire_kv_request){
                    .op = WIRE_KV_OP_SCAN, .reverse = reverse, .key = b(next), .end_key = reverse ? b("r") : b("s")});
            assert_int_equal(reply->code, ERR_OK);
            rows += reply->pairs_count;
            more = reply->more;
            assert_true(reply->next_key.size < sizeof next);
            if (!more)
                break;
            int order = bytes_compare(reply->next_key, b(next));
            assert_true(reverse ? order < 0 : order > 0);
            /* As text: a byte of zero at the end says "right behind", which a later key says as well. */
            size_t size = reply->next_key.size;
            memcpy(next, reply->next_key.data, size);
            if (reverse)
                next[size - 1] = 1;
            next[size] = '\0';
        }
        assert_int_equal(rows, 1);
        assert_int_equal(answers, 2);
    }
    machine_free(machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_expires_when_the_log_says_so),
        cmocka_unit_test(a_compare_and_swap_is_decided_alike_everywhere),
        cmocka_unit_test(batches_and_swaps_give_a_life_too),
        cmocka_unit_test(a_restart_does_not_turn_time_back),
        cmocka_unit_test(what_is_split_off_has_the_time_of_its_parent),
        cmocka_unit_test(apply_states_of_both_formats_are_read_and_others_refused),
        cmocka_unit_test(every_way_to_read_leaves_out_what_is_expired),
        cmocka_unit_test(what_is_left_of_a_life_is_told),
        cmocka_unit_test(a_row_that_is_due_makes_the_reader_wait_until_time_has_passed),
        cmocka_unit_test(a_scan_passes_over_so_many_expired_rows_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
