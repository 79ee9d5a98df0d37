/* fuzz_door: a whole storenode in one thread, and what hostile connections send to its door: hellos, requests, raft
 * messages, as bytes or of drawn fields, in between ticks and rounds.
 *
 * The store has region 4, which it leads alone, and region 5, which it shares with stores 2 and 3. No request is answered
 * twice, no client makes the store fail, and when it is gone nothing is left. */
#include <stdlib.h>

#include "../unit/inline_exec.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "fuzz.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "rpc/frame_kind.h"
#include "storenode/pd_link.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/store.h"
#include "storenode/store_keys.h"

enum { CLUSTER = 77, SELF = 1, STEPS_MAX = 100, REQUESTS_MAX = 4, CONNS = 4, TICK_US = 100 * 1000, LARGE_SIZE = 40000 };

struct world {
    struct transport transport; /* first */
    struct clock clock;
    uint64_t now_us;
    struct inline_exec exec;
    struct env env;
    struct store_config config;
    struct store *store;
    const struct transport_handler *handler;
    uint64_t tags[CONNS]; /* of connections that said hello */
    uint64_t asked, answered;
    bool raft_heard, snapshots_heard;
    struct arena arena;
    struct fuzz_input input;
};

/* ---- the outside world */

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

static enum err fake_dial(struct transport *transport, const char *address, struct bytes hello,
                          const struct transport_handler *handler, conn_id *ret_conn)
{
    (void)transport, (void)address, (void)hello, (void)handler, (void)ret_conn;
    return ERR_UNAVAILABLE;
}

static enum err fake_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    struct world *world = (struct world *)transport;
    struct arena arena;
    struct wire_kv_reply_batch batch;
    CHECK(conn >= 1 && conn <= CONNS);
    arena_init(&arena);
    if (take_frame->kind == FRAME_SNAPSHOT_ACK) {
        struct wire_snapshot_ack ack;
        CHECK(wire_decode_snapshot_ack(frame_bytes(take_frame), &arena, &ack) == ERR_OK);
        CHECK(world->snapshots_heard); /* nobody is told of what did not come */
        arena_fini(&arena);
        frame_unref(take_frame);
        return ERR_OK;
    }
    CHECK(take_frame->kind == FRAME_KV_REPLY);
    CHECK(wire_decode_kv_reply_batch(frame_bytes(take_frame), &arena, &batch) == ERR_OK && batch.replies_count > 0);
    world->answered += batch.replies_count;
    CHECK(world->answered <= world->asked);
    arena_fini(&arena);
    frame_unref(take_frame);
    return ERR_OK;
}

static void fake_close(struct transport *transport, conn_id conn)
{
    (void)transport, (void)conn;
}

/* ---- the disk of a store that was there before */

static void put_table(struct engine *engine, struct engine_batch *batch, struct bytes key, const struct buf *table)
{
    engine_batch_put(engine, batch, ENGINE_RAFT, key, buf_bytes(table));
}

static void put_region(struct engine *engine, struct engine_batch *batch, uint64_t id, const char *start,
                       const char *end, uint32_t peer_count)
{
    struct wire_peer peers[3];
    struct raft_conf conf = {0};
    for (uint32_t i = 0; i < peer_count; i++) {
        peers[i] = (struct wire_peer){.id = 10 * id + i, .store_id = i + 1};
        CHECK(raft_conf_add(&conf, peers[i].id, RAFT_VOTER) == ERR_OK);
    }
    struct wire_region region = {.id = id,
                                 .start_key = bytes_of_string(start),
                                 .end_key = bytes_of_string(end),
                                 .epoch_conf = 1,
                                 .epoch_version = 1,
                                 .peers = peers,
                                 .peers_count = peer_count};
    struct wire_region_state state = {.region = &region, .local_peer_id = peers[0].id};
    struct buf table;
    buf_init(&table, 4096);
    CHECK(region_row_encode(&state, &table) == ERR_OK);
    struct group_key key = group_key(id, STORE_REGION_STATE);
    put_table(engine, batch, group_key_bytes(&key), &table);
    buf_fini(&table);
    group_create(engine, batch, id, &conf);
    region_fsm_put_applied(engine, batch, id, GROUP_FIRST_INDEX, GROUP_FIRST_TERM, NULL);
}

static void put_store(struct engine *engine)
{
    struct engine_batch *batch = engine_batch_new(engine);
    struct wire_store_ident ident = {
        .cluster_id = CLUSTER, .store_id = SELF, .format = 1, .bootstrapped = true, .token = 1};
    engine_batch_put(engine, batch, ENGINE_RAFT, bytes_of("p", 1), bytes_of("s", 1));
    pd_link_put_ident(engine, batch, &ident);
    put_region(engine, batch, 4, "", "rm", 1);
    put_region(engine, batch, 5, "rm", "", 3);
    CHECK(engine_write(engine, batch, true, NULL) == ERR_OK);
    engine_batch_free(engine, batch);
}

/* ---- time */

static void run(struct world *world)
{
    inline_exec_run(&world->exec);
}

static void pass_time(struct world *world, uint32_t ticks)
{
    for (; ticks > 0; ticks--) {
        world->now_us += TICK_US;
        inline_exec_fire(&world->exec);
        run(world);
    }
}

/* ---- what comes to the door */

static void hello(struct world *world, uint32_t conn)
{
    struct fuzz_input *input = &world->input;
    struct buf out;
    buf_init(&out, 4096);
    struct bytes bytes = fuzz_take(input, fuzz_u8(input));
    if (bytes.size == 0) {
        struct wire_hello said = {.role = fuzz_u8(input) % 6,
                                  .cluster_id = fuzz_u8(input) % 4 ? CLUSTER : fuzz_u8(input),
                                  .node_id = fuzz_u8(input) % 4,
                                  .want_node_id = fuzz_u8(input) % 3,
                                  .version_min = fuzz_u8(input) % 3,
                                  .version_max = fuzz_u8(input) % 3};
        CHECK(wire_encode_hello(&said, &out) == ERR_OK);
        bytes = buf_bytes(&out);
    }
    struct frame *reply = NULL;
    enum err code = world->handler->on_open(world->handler->context, conn, bytes, &reply);
    CHECK(reply);
    world->tags[conn - 1] = code == ERR_OK ? reply->tag : 0;
    frame_unref(reply);
    buf_fini(&out);
}

static void offer(struct world *world, uint32_t conn, struct frame *take_frame)
{
    take_frame->tag = world->tags[conn - 1];
    world->snapshots_heard |= take_frame->kind == FRAME_SNAPSHOT && take_frame->tag != 0;
    world->raft_heard |= (take_frame->kind == FRAME_RAFT || take_frame->kind == FRAME_SNAPSHOT) && take_frame->tag != 0;
    if (world->handler->on_frame(world->handler->context, conn, take_frame) != ERR_OK)
        frame_unref(take_frame);
}

static void raw_frame(struct world *world, uint32_t conn)
{
    struct fuzz_input *input = &world->input;
    uint16_t kind = (uint16_t)(fuzz_u8(input) % 9);
    struct frame *frame = frame_copy(kind, fuzz_take(input, (size_t)fuzz_number(input, 2) % 1024));
    struct wire_kv_request_batch batch;
    arena_reset(&world->arena);
    if (kind == FRAME_KV_REQUEST && wire_decode_kv_request_batch(frame_bytes(frame), &world->arena, &batch) == ERR_OK)
        world->asked += batch.requests_count;
    offer(world, conn, frame);
}

static struct bytes draw_key(struct world *world)
{
    struct fuzz_input *input = &world->input;
    uint8_t how = fuzz_u8(input);
    if (how == 255)
        return (struct bytes){arena_alloc(&world->arena, KEY_SIZE_MAX + 2), KEY_SIZE_MAX + 2};
    if (how % 16 == 15)
        return fuzz_take(input, fuzz_u8(input) % 8);
    uint8_t *key = arena_alloc(&world->arena, 4);
    key[0] = 'r';
    key[1] = (uint8_t)('a' + fuzz_u8(input) % 26);
    key[2] = fuzz_u8(input);
    return bytes_of(key, how % 4);
}

static struct bytes draw_value(struct world *world)
{
    uint8_t how = fuzz_u8(&world->input);
    if (how == 255)
        return (struct bytes){arena_alloc(&world->arena, LARGE_SIZE), LARGE_SIZE};
    return fuzz_take(&world->input, how % 16);
}

static void draw_request(struct world *world, struct wire_kv_request *request)
{
    struct fuzz_input *input = &world->input;
    struct wire_kv_pair *pairs = arena_alloc(&world->arena, 3 * sizeof *pairs);
    uint8_t flags = fuzz_u8(input);
    *request = (struct wire_kv_request){.id = fuzz_u8(input),
                                        .op = fuzz_u8(input) % 10,
                                        .region_id = 4 + fuzz_u8(input) % 3,
                                        .epoch_conf = 1,
                                        .epoch_version = flags & 1 ? fuzz_u8(input) : 1,
                                        .deadline_ms = flags & 2 ? fuzz_u8(input) : 0,
                                        .read_mode = flags & 4 ? fuzz_u8(input) : 0,
                                        .key = draw_key(world),
                                        .value = draw_value(world),
                                        .end_key = flags & 8 ? draw_key(world) : bytes_empty(),
                                        .limit = flags & 16 ? fuzz_u8(input) : 0,
                                        .limit_size = flags & 16 ? fuzz_u8(input) : 0,
                                        .reverse = flags & 32,
                                        .keys_only = flags & 64,
                                        .expected = flags & 128 ? draw_value(world) : bytes_empty(),
                                        .pairs = pairs,
                                        .pairs_count = fuzz_u8(input) % 4,
                                        .client_id = fuzz_u8(input) % 4};
    request->sequence = fuzz_u8(input);
    request->sequence_done = fuzz_u8(input) % 16;
    request->retry = fuzz_u8(input) & 1;
    for (uint32_t i = 0; i < request->pairs_count; i++)
        pairs[i] =
            (struct wire_kv_pair){.remove = fuzz_u8(input) & 1, .key = draw_key(world), .value = draw_value(world)};
}

static void requests(struct world *world, uint32_t conn)
{
    struct wire_kv_request drawn[REQUESTS_MAX];
    arena_reset(&world->arena);
    uint32_t count = fuzz_u8(&world->input) % (REQUESTS_MAX + 1);
    for (uint32_t i = 0; i < count; i++)
        draw_request(world, &drawn[i]);
    struct wire_kv_request_batch batch = {.requests = drawn, .requests_count = count};
    struct frame *frame = wire_frame_kv_request_batch(FRAME_KV_REQUEST, &batch);
    if (!frame)
        return; /* too large */
    world->asked += count;
    offer(world, conn, frame);
}

static void raft(struct world *world, uint32_t conn)
{
    struct fuzz_input *input = &world->input;
    struct wire_raft_entry entry = {
        .term = fuzz_u8(input) % 16, .index = fuzz_u8(input) % 16, .kind = fuzz_u8(input) % 4};
    entry.data = fuzz_take(input, fuzz_u8(input) % 32);
    struct wire_raft_message message = {.region_id = 4 + fuzz_u8(input) % 3,
                                        .epoch_conf = 1,
                                        .epoch_version = 1,
                                        .kind = fuzz_u8(input) % 14,
                                        .from = 50 + fuzz_u8(input) % 4,
                                        .to = 50,
                                        .term = fuzz_u8(input) % 16,
                                        .log_term = fuzz_u8(input) % 16,
                                        .index = fuzz_u8(input) % 16,
                                        .commit = fuzz_u8(input) % 16,
                                        .reject = fuzz_u8(input) & 1,
                                        .round = fuzz_u8(input),
                                        .replicated = fuzz_u8(input),
                                        .sleep = fuzz_u8(input) & 1,
                                        .entries = &entry,
                                        .entries_count = fuzz_u8(input) & 1};
    struct wire_store_beat beat = {.incarnation = fuzz_u8(input) % 3};
    struct wire_raft_batch batch = {.from_store = fuzz_u8(input) % 4,
                                    .to_store = fuzz_u8(input) % 16 == 15 ? 9 : SELF,
                                    .messages = &message,
                                    .messages_count = fuzz_u8(input) % 8 ? 1 : 0,
                                    .beat = fuzz_u8(input) & 1 ? &beat : NULL};
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    CHECK(frame);
    offer(world, conn, frame);
}

/* Of region 5 mostly, whose leader may be store 2 or 3: chunks in and out of order, rows that belong there or not. */
static void snapshot(struct world *world, uint32_t conn)
{
    struct fuzz_input *input = &world->input;
    static uint64_t voters[] = {50, 51, 52};
    static const char *const starts[] = {"rm", "rm", "", "rp"};
    uint8_t what = fuzz_u8(input), which = fuzz_u8(input);
    struct wire_peer peers[] = {{.id = 50, .store_id = 1}, {.id = 51, .store_id = 2}, {.id = 52, .store_id = 3}};
    struct wire_region region = {.id = 5u + (what & 3) / 3,
                                 .start_key = bytes_of_string(starts[(what >> 2) & 3]),
                                 .epoch_conf = 1,
                                 .epoch_version = 1 + (what >> 7),
                                 .peers = peers,
                                 .peers_count = what & 0x40 ? 2 : 3};
    struct wire_raft_conf conf = {.voters = voters, .voters_count = 3};
    struct wire_raft_snapshot position = {.index = fuzz_u8(input), .term = fuzz_u8(input) % 16, .conf = &conf};
    struct wire_snapshot_row rows[4];
    uint32_t count = which % 5;
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (struct wire_snapshot_row){.cf = fuzz_u8(input) % 5};
        rows[i].key = fuzz_take(input, 1 + fuzz_u8(input) % 4);
        rows[i].value = fuzz_take(input, fuzz_u8(input) % 32);
    }
    struct wire_snapshot_chunk chunk = {.region_id = 5 + (which >> 7),
                                        .from = 50 + fuzz_u8(input) % 4,
                                        .to = 50,
                                        .term = fuzz_u8(input) % 16,
                                        .id = fuzz_u8(input) % 3,
                                        .sequence = (which >> 3) & 3,
                                        .last = which & 0x20,
                                        .region = which & 0x40 ? NULL : &region,
                                        .snapshot = which & 0x40 ? NULL : &position,
                                        .rows = rows,
                                        .rows_count = count};
    struct frame *frame = wire_frame_snapshot_chunk(FRAME_SNAPSHOT, &chunk);
    CHECK(frame);
    offer(world, conn, frame);
}

static void do_step(struct world *world)
{
    uint8_t what = fuzz_u8(&world->input);
    uint32_t conn = 1 + (uint32_t)(what >> 4) % CONNS;
    switch (what % 8) {
    case 0:
        hello(world, conn);
        break;
    case 1:
        raw_frame(world, conn);
        break;
    case 2:
    case 3:
        requests(world, conn);
        break;
    case 4:
        raft(world, conn);
        break;
    case 5:
        run(world);
        break;
    case 7:
        snapshot(world, conn);
        break;
    default:
        pass_time(world, 1 + fuzz_u8(&world->input) % 16);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct transport_ops ops = {
        .listen = fake_listen, .dial = fake_dial, .send = fake_send, .close = fake_close};
    struct world *world = calloc(1, sizeof *world);
    CHECK(world);
    struct error error = {0};
    world->transport.ops = &ops;
    world->clock = (struct clock){.now_us = now, .wall_ms = now};
    world->now_us = 1000 * 1000;
    world->input = (struct fuzz_input){.data = data, .size = size};
    arena_init(&world->arena);
    inline_exec_init(&world->exec);
    store_config_init(&world->config);
    world->config.read_workers = 1;
    /* Limits that little reaches. */
    world->config.proposal_size_max = LARGE_SIZE;
    world->config.scan_size_max = 4096;
    world->config.admission_size_max = 8 * LARGE_SIZE;
    world->config.connection_admission_size_max = 4 * LARGE_SIZE;
    world->config.region_proposals_max = 8;
    uint8_t first = fuzz_u8(&world->input);
    world->config.region_workers = 1 + first % 2;
    world->config.snapshot_small_size = first & 0x80 ? 0 : 400;
    world->env = (struct env){.executor = &world->exec.base, .clock = &world->clock, .transport = &world->transport};
    CHECK(engine_mem_new(&world->env.engine) == ERR_OK);
    put_store(world->env.engine);
    CHECK(store_new(&world->env, &world->config, &world->store, &error) == ERR_OK);
    pass_time(world, fuzz_u8(&world->input) % 64);
    for (int i = 0; i < STEPS_MAX && world->input.size > 0; i++)
        do_step(world);
    pass_time(world, 2);
    CHECK(world->raft_heard || store_failure(world->store) == ERR_OK);
    inline_exec_fini(&world->exec);
    store_free(world->store);
    engine_mem_free(world->env.engine);
    store_config_fini(&world->config);
    arena_fini(&world->arena);
    free(world);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    /* a leader; put rb=xyz and get it; scan; a batch; cas; then time */
    static const uint8_t client[] = {0,   40, 2, 2,  0, 1,   2, 0, 2,   1, 'b', 3,   'x', 'y', 'z', 0,  1, 1, 0, 0, 0,
                                     2,   1,  0, 2,  1, 'b', 0, 0, 0,   0, 0,   0,   5,   2,   1,   16, 3, 4, 0, 2, 0,
                                     'a', 0,  9, 99, 0, 0,   0, 0, 0,   5, 6,   3,   2,   1,   0,   4,  7, 0, 2, 0, 'c',
                                     0,   2,  1, 2,  0, 0,   0, 2, 'd', 0, 1,   'v', 1,   2,   'e', 0,  0, 5, 6, 3};
    /* a store says hello, then leads region 5 */
    static const uint8_t store[] = {1, 40, 0, 0, 2, 1, 2, 1, 0, 1, 4, 6, 6, 0, 1, 'x', 1, 7,  1, 6,
                                    5, 5,  6, 0, 1, 5, 0, 1, 0, 2, 0, 1, 1, 5, 4, 0,   0, 0,  0, 1,
                                    7, 1,  6, 0, 0, 6, 0, 2, 6, 1, 0, 0, 2, 0, 1, 1,   6, 15, 6, 15};
    write(context, "client", client, sizeof client);
    write(context, "store", store, sizeof store);
    /* store 2 says hello and sends region 5 in two chunks, with a row each; then time */
    static const uint8_t rows[] = {1, 40, 0, 0, 2, 1, 2, 7, 0, 1, 99, 6, 0, 2, 'r', 'n', 1, 'x', 1, 6, 1, 5, 7,
                                   0, 0x69, 99, 6, 0, 2, 'r', 'o', 1, 'y', 1, 6, 1, 5, 6, 9};
    write(context, "snapshot", rows, sizeof rows);
    struct wire_kv_pair pairs[] = {{.key = bytes_of("rb", 2)}, {.key = bytes_of("rc", 2), .value = bytes_of("v", 1)}};
    struct wire_kv_request requests[] = {
        {.id = 1,
         .op = WIRE_KV_OP_PUT,
         .region_id = 4,
         .epoch_version = 1,
         .key = bytes_of("rb", 2),
         .value = bytes_of("v", 1)},
        {.id = 2, .op = WIRE_KV_OP_BATCH_GET, .region_id = 4, .epoch_version = 1, .pairs = pairs, .pairs_count = 2},
        {.id = 3, .op = WIRE_KV_OP_SCAN, .region_id = 4, .epoch_version = 1, .reverse = true},
        {.id = 4, .op = WIRE_KV_OP_PING}};
    struct wire_kv_request_batch batch = {.requests = requests, .requests_count = 4};
    struct buf seed, table;
    buf_init(&seed, 65536);
    buf_init(&table, 65536);
    CHECK(wire_encode_kv_request_batch(&batch, &table) == ERR_OK);
    uint8_t head[] = {0, 40, 1, FRAME_KV_REQUEST, (uint8_t)(table.size >> 8), (uint8_t)table.size};
    buf_append(&seed, head, sizeof head);
    buf_append_bytes(&seed, buf_bytes(&table));
    buf_append(&seed, "\005\006\003", 3);
    write(context, "raw", seed.data, seed.size);
    buf_fini(&table);
    buf_fini(&seed);
}
