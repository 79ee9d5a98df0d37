/* The door of pd: requests that wait are bounded in bytes, per connection and in all. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "env/clock.h"
#include "env/engine_mem.h"
#include "env/transport.h"
#include "inline_exec.h"
#include "pd/pd.h"
#include "pd/pd_config.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum { REQUEST_SIZE = 4 * 1024 * 1024 };

struct world {
    struct transport transport; /* first */
    struct clock clock;
    uint64_t now_us;
    struct inline_exec exec;
    struct env env;
    struct pd_config config;
    struct pd *pd;
    const struct transport_handler *handler;
    uint32_t answers;
};

static uint64_t now(struct clock *clock)
{
    struct world *world = (struct world *)(void *)((char *)clock - offsetof(struct world, clock));
    return world->now_us += 10;
}

static enum err fake_listen(struct transport *transport, const char *address, const struct transport_handler *handler,
                            struct error *err)
{
    (void)address, (void)err;
    ((struct world *)transport)->handler = handler;
    return ERR_OK;
}

static enum err fake_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    (void)conn;
    assert_int_equal(take_frame->kind, FRAME_PD_REPLY);
    ((struct world *)transport)->answers++;
    frame_unref(take_frame);
    return ERR_OK;
}

static int set_up(void **state)
{
    static const struct transport_ops ops = {.listen = fake_listen, .send = fake_send};
    struct world *world = calloc(1, sizeof *world);
    struct error error = {0};
    assert_non_null(world);
    world->transport.ops = &ops;
    world->clock = (struct clock){.now_us = now, .wall_ms = now};
    inline_exec_init(&world->exec);
    world->env = (struct env){.executor = &world->exec.base, .clock = &world->clock, .transport = &world->transport};
    assert_int_equal(engine_mem_new(&world->env.engine), ERR_OK);
    pd_config_init(&world->config);
    assert_int_equal(pd_new(&world->env, &world->config, &world->pd, &error), ERR_OK);
    assert_non_null(world->handler);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    inline_exec_fini(&world->exec);
    pd_free(world->pd);
    engine_mem_free(world->env.engine);
    pd_config_fini(&world->config);
    free(world);
    return 0;
}

static enum err offer(struct world *world, conn_id conn, size_t size)
{
    uint8_t *key = calloc(1, size);
    assert_non_null(key);
    struct wire_pd_request request = {.id = 1, .op = WIRE_PD_OP_CLUSTER_INFO, .key = bytes_of(key, size)};
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
    assert_non_null(frame);
    enum err code = world->handler->on_frame(world->handler->context, conn, frame);
    if (code != ERR_OK)
        frame_unref(frame);
    free(key);
    return code;
}

static void bytes_that_wait_are_bounded_and_work_makes_room(void **state)
{
    struct world *world = *state;
    uint32_t taken = 0, all = 0;
    while (taken < 100 && offer(world, 1, REQUEST_SIZE) == ERR_OK)
        taken++;
    assert_in_range(taken, 1, 8);
    for (conn_id conn = 2; conn < 40; conn++)
        for (int i = 0; i < 10; i++)
            all += offer(world, conn, REQUEST_SIZE) == ERR_OK;
    assert_in_range(taken + all, 20, 32);
    assert_int_equal(offer(world, 50, REQUEST_SIZE), ERR_BUSY); /* the transport will offer it again */
    inline_exec_run(&world->exec);
    assert_int_equal(world->answers, taken + all);
    assert_int_equal(offer(world, 50, REQUEST_SIZE), ERR_OK);
}

static void nothing_but_requests_is_taken(void **state)
{
    struct world *world = *state;
    static const uint16_t kinds[] = {FRAME_KV_REQUEST, FRAME_RAFT, FRAME_PD_REPLY, FRAME_SNAPSHOT, 99};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct frame *frame = frame_new(kinds[i], 10);
        assert_int_equal(world->handler->on_frame(world->handler->context, 1, frame), ERR_INVALID);
        frame_unref(frame);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_that_wait_are_bounded_and_work_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_but_requests_is_taken, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
