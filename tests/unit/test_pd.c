/* pd: a whole member in the simulator: its first start, its restarts after crashes, and whom it turns away. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "env/engine_mem.h"
#include "pd/id_alloc.h"
#include "pd/pd.h"
#include "pd/pd_fsm.h"
#include "pd/tso.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"
#include "tests/sim/exec_sim.h"
#include "tests/sim/net_sim.h"

enum { ANSWER_LIMIT_US = 2000000, SYNC_US = 150 };

struct world {
    struct sim *sim;
    struct net *net;
    struct rng rng;
    struct sim_node *pd_node, *client_node;
    struct engine *disk;
    struct env env;
    struct pd_config config;
    struct pd *pd;
    bool disk_broken;
    /* the client's connection */
    struct transport_handler handler;
    conn_id conn; /* 0: none */
    bool open;
    struct arena hello_arena, reply_arena;
    struct frame *hello_frame, *reply_frame;
    struct wire_hello hello; /* the answer to ours */
    struct wire_pd_reply reply;
    uint64_t id;
    bool answered;
};

/* ---- the client's side */

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    struct world *world = context;
    (void)conn, (void)ret_reply;
    frame_unref(world->hello_frame);
    world->hello_frame = frame_copy(FRAME_HELLO, hello);
    arena_reset(&world->hello_arena);
    assert_int_equal(wire_decode_hello(frame_bytes(world->hello_frame), &world->hello_arena, &world->hello), ERR_OK);
    world->open = world->hello.code == ERR_OK;
    return (enum err)world->hello.code;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct world *world = context;
    struct wire_pd_reply reply;
    struct arena arena;
    (void)conn;
    arena_init(&arena);
    assert_int_equal(take_frame->kind, FRAME_PD_REPLY);
    assert_int_equal(wire_decode_pd_reply(frame_bytes(take_frame), &arena, &reply), ERR_OK);
    if (reply.id == world->id && !world->answered) {
        frame_unref(world->reply_frame);
        world->reply_frame = take_frame;
        arena_reset(&world->reply_arena);
        assert_int_equal(wire_decode_pd_reply(frame_bytes(take_frame), &world->reply_arena, &world->reply), ERR_OK);
        world->answered = true;
    } else {
        frame_unref(take_frame);
    }
    arena_fini(&arena);
    return ERR_OK;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    struct world *world = context;
    (void)reason;
    if (conn == world->conn)
        world->conn = 0;
    world->open = false;
}

/* ---- the member's side */

static uint64_t disk_now_us(void *context)
{
    return sim_now_us(((struct world *)context)->sim);
}

static uint64_t disk_sync_cost_us(void *context, size_t size)
{
    struct world *world = context;
    return SYNC_US + size / 500 + rng_below(&world->rng, 300);
}

static void disk_wait_us(void *context, uint64_t us)
{
    sim_wait(((struct world *)context)->sim, us);
}

static enum err disk_fault(void *context, bool sync, size_t size)
{
    (void)sync, (void)size;
    return ((struct world *)context)->disk_broken ? ERR_IO : ERR_OK;
}

static enum err try_start(struct world *world, struct error *err)
{
    sim_node_start(world->pd_node);
    net_node_started(world->net, world->pd_node);
    sim_enter(world->pd_node);
    world->env.seed = rng_next(&world->rng);
    enum err code = pd_new(&world->env, &world->config, &world->pd, err);
    sim_leave(world->pd_node);
    return code;
}

static void start(struct world *world)
{
    struct error error = {0};
    if (try_start(world, &error) != ERR_OK)
        fail_msg("%s", error.text);
}

static void crash(struct world *world)
{
    sim_node_kill(world->pd_node);
    net_node_killed(world->net, world->pd_node, false);
    pd_free(world->pd);
    world->pd = NULL;
    sim_node_reap(world->pd_node);
    engine_mem_crash(world->disk, sim_heap_ns(world->sim) / 1000, &world->rng);
    while (world->open && sim_step(world->sim)) /* the client hears of it */
        ;
}

static void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){.config = {.name = (char *)"pd-1",
                                       .data_dir = (char *)"/sim/pd",
                                       .address = (char *)"sim://pd",
                                       .advertise_address = (char *)"sim://pd",
                                       .bootstrap_stores = 3,
                                       .bootstrap_regions = 64,
                                       .replicas = 3,
                                       .tick_ms = 100,
                                       .heartbeat_ticks = 2,
                                       .election_ticks = 10,
                                       .mailbox_max = 4096,
                                       .store_disconnected_ms = 5000,
                                       .store_down_ms = 60000,
                                       .timestamp_window_ms = 3000}};
    world->sim = sim_new(seed);
    world->net = net_new(world->sim);
    rng_init(&world->rng, seed, "test_pd");
    *sim_timing(world->sim) = (struct sim_timing){
        .wake_max_us = 40, .timer_late_max_us = 500, .round_cost_max_us = 10, .take_all_percent = 50};
    *net_options(world->net) = (struct net_options){.delay_min_us = 20,
                                                    .delay_max_us = 200,
                                                    .idle_limit_us = 3000000,
                                                    .dial_timeout_us = 1000000,
                                                    .pending_size_max = 64 << 20};
    world->pd_node = sim_node_new(world->sim, "pd");
    world->client_node = sim_node_new(world->sim, "client");
    assert_int_equal(engine_mem_new(&world->disk), ERR_OK);
    const struct engine_mem_disk disk = {
        .context = world, .now_us = disk_now_us, .sync_cost_us = disk_sync_cost_us, .wait_us = disk_wait_us};
    engine_mem_set_disk(world->disk, &disk);
    engine_mem_set_fault(world->disk, disk_fault, world);
    world->env = (struct env){.executor = sim_node_executor(world->pd_node),
                              .clock = sim_node_clock(world->pd_node),
                              .transport = net_transport(world->net, world->pd_node),
                              .engine = world->disk};
    world->handler =
        (struct transport_handler){.context = world, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
    arena_init(&world->hello_arena);
    arena_init(&world->reply_arena);
    net_transport(world->net, world->client_node);
    sim_node_start(world->client_node);
    net_node_started(world->net, world->client_node);
}

static void world_fini(struct world *world)
{
    struct engine_mem_stats stats;
    if (sim_node_is_up(world->pd_node)) {
        sim_node_kill(world->pd_node);
        net_node_killed(world->net, world->pd_node, false);
        pd_free(world->pd);
        sim_node_reap(world->pd_node);
    }
    sim_node_kill(world->client_node);
    net_node_killed(world->net, world->client_node, false);
    sim_node_reap(world->client_node);
    engine_mem_stats(world->disk, &stats);
    assert_int_equal(stats.batch_count, 0);
    assert_int_equal(stats.iter_count, 0);
    sim_free(world->sim);
    net_free(world->net);
    engine_mem_free(world->disk);
    frame_unref(world->hello_frame);
    frame_unref(world->reply_frame);
    arena_fini(&world->hello_arena);
    arena_fini(&world->reply_arena);
}

static void run_for(struct world *world, uint64_t us)
{
    uint64_t end_ns = sim_heap_ns(world->sim) + us * 1000;
    while (sim_next_ns(world->sim) <= end_ns && sim_step(world->sim))
        ;
}

/* Until the connection is open or is gone. */
static void dial(struct world *world, const struct wire_hello *hello)
{
    struct buf bytes;
    buf_init(&bytes, 65536);
    assert_int_equal(wire_encode_hello(hello, &bytes), ERR_OK);
    world->hello = (struct wire_hello){0};
    sim_enter(world->client_node);
    assert_int_equal(transport_dial(net_transport(world->net, world->client_node), "sim://pd", buf_bytes(&bytes),
                                    &world->handler, &world->conn),
                     ERR_OK);
    sim_leave(world->client_node);
    while (!world->open && world->conn != 0)
        assert_true(sim_step(world->sim));
    buf_fini(&bytes);
}

static const struct wire_hello plain_hello = {
    .role = WIRE_ROLE_CLIENT, .version_min = PROTOCOL_VERSION_MIN, .version_max = PROTOCOL_VERSION};

static void send_frame(struct world *world, struct frame *take_frame)
{
    sim_enter(world->client_node);
    transport_send(net_transport(world->net, world->client_node), world->conn, take_frame);
    sim_leave(world->client_node);
}

/* False: no answer in time, or the connection ended. */
static bool ask(struct world *world, struct wire_pd_request request)
{
    uint64_t end_ns = sim_heap_ns(world->sim) + (uint64_t)ANSWER_LIMIT_US * 1000;
    if (!world->open)
        dial(world, &plain_hello);
    if (!world->open)
        return false;
    request.id = ++world->id;
    world->answered = false;
    send_frame(world, wire_frame_pd_request(FRAME_PD_REQUEST, &request));
    while (!world->answered && world->open && sim_next_ns(world->sim) < end_ns)
        sim_step(world->sim);
    return world->answered;
}

static const struct wire_pd_reply *ask_ok(struct world *world, struct wire_pd_request request)
{
    if (!ask(world, request))
        fail_msg("no answer to operation %u", request.op);
    if (world->reply.code != ERR_OK)
        fail_msg("operation %u: %s: %.*s", request.op, err_name((enum err)world->reply.code),
                 (int)world->reply.text.size, (const char *)world->reply.text.data);
    return &world->reply;
}

static struct wire_pd_request registration(uint64_t token)
{
    static char address[32];
    static struct wire_store store;
    snprintf(address, sizeof(address), "sim://s%llu", (unsigned long long)token);
    store = (struct wire_store){.address = bytes_of_string(address)};
    return (struct wire_pd_request){.op = WIRE_PD_OP_REGISTER_STORE, .store = &store, .token = token};
}

/* ---- first start */

static void a_first_start_is_ready_within_milliseconds(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 1);
    start(&world);
    assert_false(pd_is_ready(world.pd));
    run_for(&world, 20000);
    assert_true(pd_is_ready(world.pd));
    assert_int_not_equal(pd_cluster_id(world.pd), 0);
    dial(&world, &plain_hello);
    assert_true(world.open);
    assert_int_equal(world.hello.role, WIRE_ROLE_PD);
    assert_int_equal(world.hello.cluster_id, pd_cluster_id(world.pd));
    world_fini(&world);
}

static void three_stores_make_a_cluster_of_many_regions(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 2);
    world.config.bootstrap_regions = 10000;
    start(&world);
    for (uint64_t token = 1; token <= 3; token++)
        ask_ok(&world, registration(token));
    run_for(&world, 2000000);
    const struct wire_pd_reply *reply = ask_ok(&world, (struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO});
    assert_true(reply->bootstrapped);
    assert_int_equal(reply->region_count, 10000);
    reply = ask_ok(&world, (struct wire_pd_request){.op = WIRE_PD_OP_BOOTSTRAP_REGIONS, .store_id = 1});
    assert_int_equal(reply->routes_count, 10000);
    assert_in_range(world.reply_frame->size, 1000000, 3000000);
    print_message("first regions of a store: %u routes in %u bytes\n", reply->routes_count, world.reply_frame->size);
    world_fini(&world);
}

/* ---- restarts */

struct memory {
    uint64_t cluster, timestamp, id;
    uint64_t stores[64]; /* by token; 0: not acknowledged */
    uint64_t regions;    /* first region's id; 0: not bootstrapped, as far as we were told */
};

static void expect_remembered(struct memory *memory, const struct wire_pd_reply *reply)
{
    if (reply->cluster_id != 0) {
        assert_true(memory->cluster == 0 || memory->cluster == reply->cluster_id);
        memory->cluster = reply->cluster_id;
    }
}

static void random_request(struct world *world, struct memory *memory)
{
    uint64_t token = rng_between(&world->rng, 1, 8);
    uint32_t count = (uint32_t)rng_between(&world->rng, 1, 500);
    struct wire_pd_request request = {.count = count};
    switch (rng_below(&world->rng, 4)) {
    case 0:
        request = registration(token);
        break;
    case 1:
        request.op = WIRE_PD_OP_TIMESTAMP;
        break;
    case 2:
        request.op = WIRE_PD_OP_ALLOC_ID;
        break;
    default:
        request.op = WIRE_PD_OP_GET_REGION;
    }
    if (!ask(world, request))
        return;
    const struct wire_pd_reply *reply = &world->reply;
    expect_remembered(memory, reply);
    if (reply->code != ERR_OK) {
        /* Nothing else may go wrong; regions do not exist at first, and once they do, they stay. */
        assert_int_equal(reply->code, ERR_NOT_READY);
        assert_true(request.op != WIRE_PD_OP_GET_REGION || memory->regions == 0);
    } else if (request.op == WIRE_PD_OP_REGISTER_STORE) {
        assert_true(memory->stores[token] == 0 || memory->stores[token] == reply->store_id);
        memory->stores[token] = reply->store_id;
    } else if (request.op == WIRE_PD_OP_TIMESTAMP) {
        assert_true(reply->timestamp > memory->timestamp);
        memory->timestamp = reply->timestamp + count - 1;
    } else if (request.op == WIRE_PD_OP_ALLOC_ID) {
        assert_true(reply->first_id > memory->id);
        memory->id = reply->first_id + count - 1;
    } else {
        assert_true(memory->regions == 0 || memory->regions == reply->routes[0].region->id);
        memory->regions = reply->routes[0].region->id;
    }
}

static void what_was_acknowledged_survives_crashes_at_any_moment(void **state)
{
    (void)state;
    uint32_t crashes = 0, requests = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world world;
        struct memory memory = {0};
        world_init(&world, seed);
        start(&world);
        for (int step = 0; step < 150; step++) {
            if (rng_chance(&world.rng, 1, 10)) {
                if (world.open && rng_chance(&world.rng, 3, 4)) /* in the middle of something */
                    send_frame(&world,
                               wire_frame_pd_request(FRAME_PD_REQUEST, &(struct wire_pd_request){
                                                                           .op = WIRE_PD_OP_ALLOC_ID, .count = 5000}));
                run_for(&world, rng_below(&world.rng, 2000));
                crash(&world);
                run_for(&world, rng_below(&world.rng, 5000));
                sim_node_set_clock(world.pd_node, 0, -(int64_t)rng_below(&world.rng, 100000));
                start(&world);
                crashes++;
            }
            random_request(&world, &memory);
            requests++;
        }
        pd_fsm_check(pd_get_fsm(world.pd));
        assert_true(memory.regions != 0 && memory.timestamp != 0 && memory.id != 0 && memory.cluster != 0);
        world_fini(&world);
    }
    print_message("%u requests, %u crashes\n", requests, crashes);
    assert_true(crashes > 200);
}

static void a_thousand_commands_leave_a_short_log(void **state)
{
    (void)state;
    struct world world;
    struct engine_mem_stats stats;
    world_init(&world, 3);
    start(&world);
    for (int i = 0; i < 1000; i++) /* each needs a window of its own */
        ask_ok(&world, (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = 2000});
    run_for(&world, 1000000);
    engine_mem_stats(world.disk, &stats);
    assert_in_range(stats.row_count[ENGINE_RAFT], 1, 300);
    crash(&world);
    start(&world);
    assert_true(ask_ok(&world, (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = 1})->first_id >= 2000000);
    world_fini(&world);
}

static void an_idle_member_writes_nothing(void **state)
{
    (void)state;
    struct world world;
    struct engine_mem_stats before, after;
    world_init(&world, 4);
    start(&world);
    ask_ok(&world, (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 1});
    run_for(&world, 10000000);
    engine_mem_stats(world.disk, &before);
    run_for(&world, 60000000);
    engine_mem_stats(world.disk, &after);
    assert_int_equal(before.write_count, after.write_count);
    world_fini(&world);
}

static void a_failed_write_ends_the_service_for_good(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 5);
    start(&world);
    ask_ok(&world, (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = 1});
    assert_int_equal(pd_failure(world.pd), ERR_OK);
    world.disk_broken = true;
    ask(&world, registration(1));
    assert_true(!world.answered || world.reply.code != ERR_OK);
    world.disk_broken = false; /* a later success proves nothing */
    run_for(&world, 1000000);
    assert_int_equal(pd_failure(world.pd), ERR_IO);
    assert_false(pd_is_ready(world.pd));
    assert_false(ask(&world, (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 1}));
    world_fini(&world);
}

/* ---- who is turned away */

static void expect_refused(struct world *world, struct wire_hello hello, enum err code, const char *text)
{
    char line[512];
    do /* a reset may overtake the refusal */
        dial(world, &hello);
    while (!world->open && world->hello.code == ERR_OK);
    assert_false(world->open);
    assert_int_equal(world->hello.code, code);
    snprintf(line, sizeof(line), "%.*s", (int)world->hello.text.size, (const char *)world->hello.text.data);
    if (!strstr(line, text))
        fail_msg("\"%s\" does not say \"%s\"", line, text);
}

static void a_hello_that_does_not_fit_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct world world;
    struct wire_hello hello = plain_hello;
    char own[32];
    world_init(&world, 6);
    start(&world);
    run_for(&world, 20000);
    snprintf(own, sizeof(own), "%llu", (unsigned long long)pd_cluster_id(world.pd));
    hello.cluster_id = 4711;
    expect_refused(&world, hello, ERR_CLUSTER_NOT_MATCH, "4711");
    expect_refused(&world, hello, ERR_CLUSTER_NOT_MATCH, own);
    hello = plain_hello;
    hello.version_min = hello.version_max = PROTOCOL_VERSION + 1;
    expect_refused(&world, hello, ERR_VERSION, "versions");
    hello = plain_hello;
    hello.version_min = hello.version_max = 0;
    expect_refused(&world, hello, ERR_VERSION, "versions");
    hello = plain_hello;
    hello.want_node_id = 9;
    expect_refused(&world, hello, ERR_STORE_NOT_MATCH, "member 1, not 9");
    hello = plain_hello;
    hello.cluster_id = pd_cluster_id(world.pd);
    hello.want_node_id = 1;
    hello.version_max = PROTOCOL_VERSION + 5;
    dial(&world, &hello);
    assert_true(world.open);
    world_fini(&world);
}

static void a_frame_of_another_kind_ends_the_connection(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 7);
    start(&world);
    dial(&world, &plain_hello);
    assert_true(world.open);
    send_frame(&world, frame_copy(FRAME_KV_REQUEST, bytes_of_string("hello")));
    run_for(&world, 100000);
    assert_false(world.open);
    ask_ok(&world, (struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO}); /* others are served */
    world_fini(&world);
}

static void expect_start_fails(struct world *world, enum err expected, const char *text)
{
    struct error error = {0};
    enum err code = try_start(world, &error);
    assert_int_equal(code, expected);
    if (!strstr(error.text, text))
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
    crash(world);
}

static void a_directory_of_something_else_is_refused(void **state)
{
    (void)state;
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        struct world world;
        world_init(&world, 8);
        struct engine_batch *batch = engine_batch_new(world.disk);
        engine_batch_put(world.disk, batch, (enum engine_cf)cf, bytes_of_string("rkey"), bytes_of_string("value"));
        assert_int_equal(engine_write(world.disk, batch, true, NULL), ERR_OK);
        engine_batch_free(world.disk, batch);
        expect_start_fails(&world, ERR_CLUSTER_NOT_MATCH, "/sim/pd");
        world_fini(&world);
    }
}

static void a_damaged_directory_is_refused_with_the_row(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 9);
    start(&world);
    run_for(&world, 100000);
    crash(&world);
    struct engine_batch *batch = engine_batch_new(world.disk);
    engine_batch_put(world.disk, batch, ENGINE_DEFAULT, bytes_of_string("c"), bytes_of_string("?"));
    assert_int_equal(engine_write(world.disk, batch, true, NULL), ERR_OK);
    engine_batch_free(world.disk, batch);
    expect_start_fails(&world, ERR_CORRUPT, "row 'c'");
    world_fini(&world);
}

static void impossible_configurations_are_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 10);
    const struct pd_config good = world.config;
    world.config.replicas = 4;
    expect_start_fails(&world, ERR_INVALID, "replicas");
    world.config = good;
    world.config.bootstrap_stores = 0;
    expect_start_fails(&world, ERR_INVALID, "bootstrap_stores");
    world.config = good;
    world.config.bootstrap_regions = ID_ALLOC_COUNT_MAX;
    expect_start_fails(&world, ERR_INVALID, "bootstrap_regions");
    world.config = good;
    world.config.election_ticks = 1;
    expect_start_fails(&world, ERR_INVALID, "election");
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_start_is_ready_within_milliseconds),
        cmocka_unit_test(three_stores_make_a_cluster_of_many_regions),
        cmocka_unit_test(what_was_acknowledged_survives_crashes_at_any_moment),
        cmocka_unit_test(a_thousand_commands_leave_a_short_log),
        cmocka_unit_test(an_idle_member_writes_nothing),
        cmocka_unit_test(a_failed_write_ends_the_service_for_good),
        cmocka_unit_test(a_hello_that_does_not_fit_is_refused_with_the_reason),
        cmocka_unit_test(a_frame_of_another_kind_ends_the_connection),
        cmocka_unit_test(a_directory_of_something_else_is_refused),
        cmocka_unit_test(a_damaged_directory_is_refused_with_the_row),
        cmocka_unit_test(impossible_configurations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
