/* Reads: whatever is asked and configured, an answer fits into a frame, and says where to go on. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "inline_exec.h"
#include "rpc/frame_kind.h"
#include "storenode/range_sum.h"
#include "storenode/read_worker.h"
#include "storenode/row.h"

enum { ROWS = 7, CONN = 5 };

/* Keeps the one reply that was sent. */
struct fake {
    struct transport transport; /* first */
    struct arena arena;
    struct frame *frame; /* owned; the reply points into it */
    struct wire_kv_reply reply;
    uint32_t closed_count;
};

struct world {
    struct env env;
    struct clock clock;
    struct inline_exec exec;
    struct fake fake;
    struct read_worker *worker;
};

static enum err fake_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    struct fake *fake = (struct fake *)transport;
    struct wire_kv_reply_batch batch;
    assert_int_equal(conn, CONN);
    assert_int_equal(take_frame->kind, FRAME_KV_REPLY);
    assert_true(take_frame->size <= FRAME_SIZE_MAX);
    assert_int_equal(wire_decode_kv_reply_batch(frame_bytes(take_frame), &fake->arena, &batch), ERR_OK);
    assert_int_equal(batch.replies_count, 1);
    frame_unref(fake->frame);
    fake->frame = take_frame;
    fake->reply = batch.replies[0];
    return ERR_OK;
}

static void fake_close(struct transport *transport, conn_id conn)
{
    (void)conn;
    ((struct fake *)transport)->closed_count++;
}

static uint64_t now(struct clock *clock)
{
    (void)clock;
    return 1000;
}

static struct bytes key_of(uint32_t i, char key[3])
{
    key[0] = 'r';
    key[1] = (char)('a' + i);
    return bytes_of(key, 2);
}

/* ROWS rows ra, rb, ... with values of `value_size` bytes. */
static void world_init(struct world *world, size_t value_size, struct read_limits limits)
{
    static const struct transport_ops ops = {.send = fake_send, .close = fake_close};
    memset(world, 0, sizeof *world);
    inline_exec_init(&world->exec);
    world->clock.now_us = world->clock.wall_ms = now;
    world->fake.transport.ops = &ops;
    arena_init(&world->fake.arena);
    world->env =
        (struct env){.executor = &world->exec.base, .clock = &world->clock, .transport = &world->fake.transport};
    assert_int_equal(engine_mem_new(&world->env.engine), ERR_OK);
    uint8_t *row = calloc(1, ROW_HEADER_SIZE + value_size);
    assert_non_null(row);
    for (uint32_t i = 0; i < ROWS; i++) {
        char key[3];
        struct engine_batch *batch = engine_batch_new(world->env.engine);
        engine_batch_put(world->env.engine, batch, ENGINE_DEFAULT, key_of(i, key),
                         bytes_of(row, ROW_HEADER_SIZE + value_size));
        assert_int_equal(engine_write(world->env.engine, batch, true, NULL), ERR_OK);
        engine_batch_free(world->env.engine, batch);
    }
    free(row);
    assert_int_equal(read_worker_new(&world->env, &limits, &world->worker), ERR_OK);
}

static void world_fini(struct world *world)
{
    assert_int_equal(world->fake.closed_count, 0);
    inline_exec_fini(&world->exec);
    read_worker_free(world->worker);
    frame_unref(world->fake.frame);
    arena_fini(&world->fake.arena);
    engine_mem_free(world->env.engine);
}

static const struct wire_kv_reply *ask(struct world *world, const struct wire_kv_request *request)
{
    struct read_task *task = read_task_new();
    world->fake.reply = (struct wire_kv_reply){.code = 9999};
    read_task_add(task, (struct reply_to){.conn = CONN, .request_id = 1}, request, bytes_of("r", 1), bytes_of("s", 1),
                  0);
    read_worker_post(world->worker, task);
    inline_exec_run(&world->exec);
    assert_int_equal(read_worker_waiting(world->worker), 0);
    return &world->fake.reply;
}

static void a_scan_of_large_values_comes_in_answers_that_fit_and_go_on(void **state)
{
    (void)state;
    static const struct read_limits limits[] = {{UINT32_MAX, UINT64_MAX}, {3, UINT64_MAX}, {UINT32_MAX, 1}};
    for (size_t at = 0; at < sizeof limits / sizeof limits[0]; at++)
        for (int reverse = 0; reverse < 2; reverse++) {
            struct world world;
            world_init(&world, VALUE_SIZE_MAX, limits[at]);
            char next[64] = "r";
            size_t next_size = reverse ? 0 : 1;
            uint32_t count = 0, answers = 0;
            for (bool more = true; more; answers++) {
                struct wire_kv_request request = {
                    .op = WIRE_KV_OP_SCAN, .reverse = reverse, .key = bytes_of(next, next_size), .limit = UINT32_MAX};
                const struct wire_kv_reply *reply = ask(&world, &request);
                assert_int_equal(reply->code, ERR_OK);
                assert_true(reply->pairs_count > 0);
                for (uint32_t i = 0; i < reply->pairs_count; i++, count++) {
                    char key[3];
                    assert_true(bytes_equal(reply->pairs[i].key, key_of(reverse ? ROWS - 1 - count : count, key)));
                    assert_int_equal(reply->pairs[i].value.size, VALUE_SIZE_MAX);
                }
                more = reply->more;
                assert_true(reply->next_key.size < sizeof next);
                memcpy(next, reply->next_key.data ? reply->next_key.data : (const uint8_t *)"", reply->next_key.size);
                next_size = reply->next_key.size;
            }
            assert_int_equal(count, ROWS);
            assert_true(answers > 1);
            world_fini(&world);
        }
}

static void a_batch_get_that_is_too_large_says_that_there_is_more(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, VALUE_SIZE_MAX, (struct read_limits){UINT32_MAX, UINT64_MAX});
    char keys[ROWS][3];
    uint32_t count = 0, answers = 0;
    while (count < ROWS) {
        struct wire_kv_pair pairs[ROWS];
        for (uint32_t i = count; i < ROWS; i++)
            pairs[i - count] = (struct wire_kv_pair){.key = key_of(i, keys[i])};
        struct wire_kv_request request = {.op = WIRE_KV_OP_BATCH_GET, .pairs = pairs, .pairs_count = ROWS - count};
        const struct wire_kv_reply *reply = ask(&world, &request);
        assert_int_equal(reply->code, ERR_OK);
        assert_true(reply->pairs_count > 0);
        for (uint32_t i = 0; i < reply->pairs_count; i++)
            assert_int_equal(reply->pairs[i].value.size, VALUE_SIZE_MAX);
        count += reply->pairs_count;
        assert_int_equal(reply->more, count < ROWS);
        answers++;
    }
    assert_true(answers > 1);
    world_fini(&world);
}

static void missing_keys_and_expired_requests_are_told(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 3, (struct read_limits){UINT32_MAX, UINT64_MAX});
    struct wire_kv_request get = {.op = WIRE_KV_OP_GET, .key = bytes_of("rz", 2)};
    assert_int_equal(ask(&world, &get)->code, ERR_NOT_FOUND);
    struct wire_kv_pair pairs[] = {{.key = bytes_of("rz", 2)}, {.key = bytes_of("ra", 2)}};
    struct wire_kv_request batch = {.op = WIRE_KV_OP_BATCH_GET, .pairs = pairs, .pairs_count = 2};
    const struct wire_kv_reply *reply = ask(&world, &batch);
    assert_int_equal(reply->pairs_count, 2);
    assert_true(reply->pairs[0].remove);
    assert_int_equal(reply->pairs[1].value.size, 3);
    struct read_task *task = read_task_new();
    read_task_add(task, (struct reply_to){.conn = CONN, .request_id = 1}, &get, bytes_empty(), bytes_empty(), 1000);
    read_worker_post(world.worker, task);
    inline_exec_run(&world.exec);
    assert_int_equal(world.fake.reply.code, ERR_DEADLINE);
    world_fini(&world);
}

static void what_was_read_while_the_rows_were_replaced_is_not_told(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 3, (struct read_limits){UINT32_MAX, UINT64_MAX});
    struct wire_kv_request get = {.op = WIRE_KV_OP_GET, .key = bytes_of("ra", 2)};
    _Atomic uint64_t generation = 7;
    for (int replaced = 0; replaced < 2; replaced++) {
        struct read_task *task = read_task_new();
        read_task_add(task, (struct reply_to){.conn = CONN, .request_id = 1}, &get, bytes_empty(), bytes_empty(), 0);
        read_task_watch(task, &generation);
        if (replaced)
            generation++;
        read_worker_post(world.worker, task);
        inline_exec_run(&world.exec);
        assert_int_equal(world.fake.reply.code, replaced ? ERR_NOT_READY : ERR_OK);
        assert_int_equal(world.fake.reply.value.size, replaced ? 0 : 3);
    }
    world_fini(&world);
}

/* Rows of 8 MiB: an answer ends after 32 MiB. */
static void a_checksum_stops_after_so_many_bytes_and_goes_on(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, VALUE_SIZE_MAX, (struct read_limits){1, 1});
    struct range_sum wanted = {0}, sum = {0};
    uint8_t *value = calloc(1, VALUE_SIZE_MAX);
    assert_non_null(value);
    for (uint32_t i = 0; i < ROWS; i++) {
        char key[3];
        key_of(i, key);
        range_sum_add(&wanted, bytes_of(key + 1, 1), bytes_of(value, VALUE_SIZE_MAX));
    }
    free(value);
    char next[8] = "r";
    uint32_t answers = 0;
    for (bool more = true; more; answers++) {
        struct wire_kv_request request = {
            .op = WIRE_KV_OP_CHECKSUM, .key = bytes_of_string(next), .end_key = bytes_of("s", 1)};
        const struct wire_kv_reply *reply = ask(&world, &request);
        assert_int_equal(reply->code, ERR_OK);
        assert_true(reply->rows <= 4);
        sum.checksum ^= reply->checksum;
        sum.rows += reply->rows;
        sum.size += reply->size;
        more = reply->more;
        if (more)
            memcpy(next, reply->next_key.data, reply->next_key.size);
    }
    assert_int_equal(answers, 2);
    assert_int_equal(sum.checksum, wanted.checksum);
    assert_int_equal(sum.rows, ROWS);
    assert_int_equal(sum.size, wanted.size);
    world_fini(&world);
}

/* What is asked while it is under way is answered first, and what is written meanwhile is not in it. */
static void a_checksum_lets_others_pass_and_is_of_one_moment(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 1024 * 1024, (struct read_limits){UINT32_MAX, UINT64_MAX});
    struct read_task *task = read_task_new();
    struct wire_kv_request request = {.op = WIRE_KV_OP_CHECKSUM, .key = bytes_of("r", 1), .end_key = bytes_of("s", 1)};
    read_task_add(task, (struct reply_to){.conn = CONN, .request_id = 7}, &request, bytes_of("r", 1), bytes_of("s", 1),
                  0);
    read_worker_post(world.worker, task);
    inline_exec_round(&world.exec.actors[0]);
    assert_null(world.fake.frame); /* it has begun, and is not through */
    struct engine_batch *batch = engine_batch_new(world.env.engine);
    engine_batch_delete_range(world.env.engine, batch, ENGINE_DEFAULT, bytes_of("r", 1), bytes_of("s", 1));
    assert_int_equal(engine_write(world.env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(world.env.engine, batch);
    inline_exec_run(&world.exec);
    assert_int_equal(world.fake.reply.id, 7);
    assert_int_equal(world.fake.reply.rows, ROWS);
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_of_large_values_comes_in_answers_that_fit_and_go_on),
        cmocka_unit_test(a_batch_get_that_is_too_large_says_that_there_is_more),
        cmocka_unit_test(a_checksum_stops_after_so_many_bytes_and_goes_on),
        cmocka_unit_test(a_checksum_lets_others_pass_and_is_of_one_moment),
        cmocka_unit_test(missing_keys_and_expired_requests_are_told),
        cmocka_unit_test(what_was_read_while_the_rows_were_replaced_is_not_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
