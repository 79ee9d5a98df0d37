/* The door of a storenode: who may send what, and how much of it may be inside. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "inline_exec.h"
#include "rpc/frame_kind.h"
#include "storenode/kv_service.h"
#include "storenode/region_worker.h"
#include "storenode/store.h"
#include "storenode/store_parts.h"

enum { CLUSTER = 77, SELF = 1, OTHER = 2, CLIENT_CONN = 100, STORE_CONN = 200, WORKERS = 2 };
enum { TOTAL_MAX = 1024 * 1024, CONNECTION_MAX = 256 * 1024 };

struct world {
    struct transport transport; /* first */
    struct log log;
    struct clock clock;
    struct inline_exec exec;
    struct env env;
    struct store_config config;
    struct store store;
    struct transport_handler handler;
    enum err send_code;
    uint32_t sent_count, busy_count, other_count, wait_ms;
    conn_id closed;
    uint32_t log_count;
    uint64_t tag; /* of the hello that was last answered */
};

static enum err fake_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    struct world *world = (struct world *)transport;
    struct arena arena;
    struct wire_kv_reply_batch batch;
    arena_init(&arena);
    (void)conn;
    world->sent_count++;
    assert_int_equal(take_frame->kind, FRAME_KV_REPLY);
    assert_int_equal(wire_decode_kv_reply_batch(frame_bytes(take_frame), &arena, &batch), ERR_OK);
    for (uint32_t i = 0; i < batch.replies_count; i++) {
        world->busy_count += batch.replies[i].code == ERR_BUSY && batch.replies[i].action == ERR_ACTION_BACKOFF;
        world->other_count += batch.replies[i].code != ERR_BUSY;
        world->wait_ms = batch.replies[i].wait_ms;
    }
    arena_fini(&arena);
    frame_unref(take_frame);
    return world->send_code;
}

static void fake_close(struct transport *transport, conn_id conn)
{
    ((struct world *)transport)->closed = conn;
}

static uint64_t now(struct clock *clock)
{
    (void)clock;
    return 1;
}

static void count_line(struct log *log, enum log_level level, const char *fields)
{
    struct world *world = (struct world *)(void *)((char *)log - offsetof(struct world, log));
    (void)level;
    assert_non_null(strstr(fields, "event=frame_refused"));
    world->log_count++;
}

static int set_up(void **state)
{
    static const struct transport_ops ops = {.send = fake_send, .close = fake_close};
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->transport.ops = &ops;
    world->log = (struct log){.level = LOG_INFO, .write = count_line};
    world->clock = (struct clock){.now_us = now, .wall_ms = now};
    inline_exec_init(&world->exec);
    world->env = (struct env){
        .executor = &world->exec.base, .clock = &world->clock, .transport = &world->transport, .log = &world->log};
    assert_int_equal(engine_mem_new(&world->env.engine), ERR_OK);
    store_config_init(&world->config);
    struct store *store = &world->store;
    store->env = &world->env;
    store->config = &world->config;
    store->worker_count = WORKERS;
    store->requests = admission_new(TOTAL_MAX, CONNECTION_MAX);
    store->raft_frames = admission_new(TOTAL_MAX, TOTAL_MAX);
    atomic_init(&store->cluster_id, CLUSTER);
    atomic_init(&store->store_id, SELF);
    atomic_init(&store->ready, true);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(region_worker_new(store, i, &store->workers[i]), ERR_OK);
    kv_service_init(store, &world->handler);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    inline_exec_fini(&world->exec);
    for (uint32_t i = 0; i < WORKERS; i++)
        region_worker_free(world->store.workers[i]);
    struct store_edge_counts counts;
    store_get_edge_counts(&world->store, &counts);
    assert_int_equal(counts.requests_size, 0);
    assert_int_equal(counts.raft_size, 0);
    admission_unref(world->store.requests);
    admission_unref(world->store.raft_frames);
    engine_mem_free(world->env.engine);
    store_config_fini(&world->config);
    free(world);
    return 0;
}

/* What the transport does with a hello; the tag is what it puts on the frames of the connection. */
static enum err say_hello(struct world *world, struct wire_hello hello)
{
    struct buf out;
    struct frame *reply = NULL;
    hello.version_min = PROTOCOL_VERSION_MIN;
    hello.version_max = PROTOCOL_VERSION;
    buf_init(&out, 4096);
    assert_int_equal(wire_encode_hello(&hello, &out), ERR_OK);
    enum err code = world->handler.on_open(world->handler.context, 1, buf_bytes(&out), &reply);
    assert_non_null(reply);
    world->tag = reply->tag;
    frame_unref(reply);
    buf_fini(&out);
    return code;
}

static enum err offer(struct world *world, conn_id conn, uint64_t tag, struct frame *take_frame)
{
    take_frame->tag = tag;
    enum err code = world->handler.on_frame(world->handler.context, conn, take_frame);
    if (code != ERR_OK)
        frame_unref(take_frame);
    return code;
}

static struct frame *raft_frame(store_id from, store_id to, size_t size)
{
    uint8_t *data = calloc(1, size + 1);
    assert_non_null(data);
    struct wire_raft_entry entry = {.term = 1, .index = 1, .data = bytes_of(data, size)};
    struct wire_raft_message message = {
        .region_id = 4, .kind = RAFT_APP, .from = 9, .to = 8, .term = 1, .entries = &entry, .entries_count = 1};
    struct wire_raft_batch batch = {.from_store = from, .to_store = to, .messages = &message, .messages_count = 1};
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    free(data);
    return frame;
}

/* Puts of `size` bytes, for regions of both workers. */
static struct frame *kv_frame(uint32_t count, size_t size)
{
    uint8_t *data = calloc(1, size + 1);
    struct wire_kv_request *requests = calloc(count + 1, sizeof *requests);
    assert_true(data && requests);
    for (uint32_t i = 0; i < count; i++)
        requests[i] = (struct wire_kv_request){
            .id = i, .op = WIRE_KV_OP_PUT, .region_id = i, .key = bytes_of("rk", 2), .value = bytes_of(data, size)};
    struct wire_kv_request_batch batch = {.requests = requests, .requests_count = count};
    struct frame *frame = wire_frame_kv_request_batch(FRAME_KV_REQUEST, &batch);
    assert_non_null(frame);
    free(requests);
    free(data);
    return frame;
}

static uint64_t frames_refused(const struct world *world)
{
    struct store_edge_counts counts;
    store_get_edge_counts(&world->store, &counts);
    return counts.frames_refused;
}

static void only_a_store_of_this_cluster_gets_to_speak_as_one(void **state)
{
    struct world *world = *state;
    static const struct {
        uint8_t role;
        uint64_t cluster, node, tag;
        enum err code;
    } cases[] = {
        {WIRE_ROLE_STORENODE, CLUSTER, OTHER, OTHER, ERR_OK},
        {WIRE_ROLE_CLIENT, CLUSTER, OTHER, 0, ERR_OK},
        {WIRE_ROLE_UNKNOWN, CLUSTER, OTHER, 0, ERR_OK},
        {WIRE_ROLE_STORENODE, 0, OTHER, 0, ERR_OK}, /* it does not say of which cluster */
        {WIRE_ROLE_STORENODE, CLUSTER, 0, 0, ERR_OK},
        {WIRE_ROLE_STORENODE, CLUSTER + 1, OTHER, 0, ERR_CLUSTER_NOT_MATCH},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_hello hello = {.role = cases[i].role, .cluster_id = cases[i].cluster, .node_id = cases[i].node};
        assert_int_equal(say_hello(world, hello), cases[i].code);
        assert_int_equal(world->tag, cases[i].tag);
    }
}

static void raft_is_taken_from_who_said_hello_and_in_no_other_name(void **state)
{
    struct world *world = *state;
    assert_int_equal(offer(world, STORE_CONN, OTHER, raft_frame(OTHER, SELF, 10)), ERR_OK);
    assert_int_equal(frames_refused(world), 0);
    assert_int_equal(offer(world, CLIENT_CONN, 0, raft_frame(OTHER, SELF, 10)), ERR_INVALID);
    assert_int_equal(offer(world, CLIENT_CONN, 0, raft_frame(0, SELF, 10)), ERR_INVALID);
    assert_int_equal(offer(world, STORE_CONN, OTHER, raft_frame(OTHER + 1, SELF, 10)), ERR_INVALID);
    assert_int_equal(frames_refused(world), 3);
    assert_int_equal(offer(world, STORE_CONN, OTHER, raft_frame(OTHER, SELF + 5, 10)), ERR_STORE_NOT_MATCH);
    struct store_edge_counts counts;
    store_get_edge_counts(&world->store, &counts);
    assert_true(counts.raft_size > 0); /* the good one waits for its worker */
}

static void what_is_refused_a_thousand_times_is_logged_ten_times(void **state)
{
    struct world *world = *state;
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(offer(world, CLIENT_CONN + i, 0, raft_frame(OTHER, SELF, 10)), ERR_INVALID);
    assert_int_equal(offer(world, CLIENT_CONN, 0, frame_new(FRAME_PD_REPLY, 0)), ERR_INVALID);
    assert_int_equal(frames_refused(world), 1001);
    assert_int_equal(world->log_count, 10);
}

/* Nobody works: what got in stays in. */
static void bytes_inside_are_bounded_per_connection_and_in_all(void **state)
{
    struct world *world = *state;
    struct store_edge_counts counts;
    uint32_t in = 0;
    for (; in < 100 && world->busy_count == 0; in++)
        assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(2, 20 * 1024)), ERR_OK);
    assert_in_range(in, 3, 7);              /* CONNECTION_MAX, less what the decoded structs take */
    assert_int_equal(world->busy_count, 2); /* both requests of the frame */
    assert_true(world->wait_ms > 0);
    for (uint32_t i = 1; i < 100; i++)
        for (uint32_t frames = 0; frames < 5; frames++)
            assert_int_equal(offer(world, CLIENT_CONN + i, 0, kv_frame(2, 20 * 1024)), ERR_OK);
    store_get_edge_counts(&world->store, &counts);
    assert_in_range(counts.requests_size, TOTAL_MAX / 2, TOTAL_MAX);
    assert_int_equal(world->busy_count, 2 * counts.requests_refused);
    assert_int_equal(world->closed, 0);
    /* Work makes room again. */
    inline_exec_run(&world->exec);
    store_get_edge_counts(&world->store, &counts);
    assert_int_equal(counts.requests_size, 0);
    world->busy_count = world->other_count = 0;
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(2, 20 * 1024)), ERR_OK);
    assert_int_equal(world->busy_count, 0);
}

static void a_frame_larger_than_all_limits_gets_in_when_nothing_else_is_inside(void **state)
{
    struct world *world = *state;
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(1, 2 * TOTAL_MAX)), ERR_OK);
    assert_int_equal(world->busy_count, 0);
    assert_int_equal(offer(world, CLIENT_CONN + 1, 0, kv_frame(1, 1)), ERR_OK);
    assert_int_equal(world->busy_count, 1);
}

static void a_frame_without_requests_is_not_answered_even_when_there_is_no_room(void **state)
{
    struct world *world = *state;
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(1, 2 * TOTAL_MAX)), ERR_OK);
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(0, 0)), ERR_OK);
    assert_int_equal(world->sent_count, 0);
    inline_exec_run(&world->exec);
    assert_int_equal(world->sent_count, 1);
}

static void who_does_not_even_read_refusals_is_closed(void **state)
{
    struct world *world = *state;
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(1, 2 * TOTAL_MAX)), ERR_OK);
    world->send_code = ERR_BUSY;
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(1, 1)), ERR_OK);
    assert_int_equal(world->closed, CLIENT_CONN);
}

static void raft_without_room_is_dropped_and_beats_are_not(void **state)
{
    struct world *world = *state;
    struct store_edge_counts counts;
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(offer(world, STORE_CONN, OTHER, raft_frame(OTHER, SELF, 100 * 1024)), ERR_OK);
    store_get_edge_counts(&world->store, &counts);
    assert_true(counts.raft_dropped > 5);
    assert_true(counts.raft_size <= TOTAL_MAX);
    struct wire_store_beat beat = {0};
    struct wire_raft_batch batch = {.from_store = OTHER, .to_store = SELF, .beat = &beat};
    struct message **last[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++)
        last[i] = world->exec.actors[i].last;
    assert_int_equal(offer(world, STORE_CONN, OTHER, wire_frame_raft_batch(FRAME_RAFT, &batch)), ERR_OK);
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_true(world->exec.actors[i].last != last[i]);
    assert_int_equal(world->busy_count + world->other_count, 0);
}

static void a_frame_of_a_million_tiny_requests_is_refused(void **state)
{
    struct world *world = *state;
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(65 * 1024, 0)), ERR_INVALID);
    assert_int_equal(offer(world, CLIENT_CONN, 0, kv_frame(0, 0)), ERR_OK); /* and one of none asks for nothing */
    assert_int_equal(offer(world, CLIENT_CONN, 0, frame_copy(FRAME_KV_REQUEST, bytes_of_string("garbage!"))),
                     ERR_CORRUPT);
    assert_int_equal(offer(world, STORE_CONN, OTHER, frame_copy(FRAME_RAFT, bytes_of_string("garbage!"))), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_a_store_of_this_cluster_gets_to_speak_as_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(raft_is_taken_from_who_said_hello_and_in_no_other_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_refused_a_thousand_times_is_logged_ten_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_inside_are_bounded_per_connection_and_in_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frame_larger_than_all_limits_gets_in_when_nothing_else_is_inside, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_frame_without_requests_is_not_answered_even_when_there_is_no_room, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(who_does_not_even_read_refusals_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(raft_without_room_is_dropped_and_beats_are_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frame_of_a_million_tiny_requests_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
