#include "kv_service.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"
#include "storenode/region_worker.h"
#include "storenode/store_parts.h"

enum { BUSY_WAIT_MS = 20, REQUESTS_MAX = 64 * 1024 };

/* ---- hello */

static enum err judge_hello(struct store *store, const struct wire_hello *hello, char *text, size_t text_size)
{
    uint64_t cluster = atomic_load(&store->cluster_id), id = atomic_load(&store->store_id);
    if (hello->version_min > PROTOCOL_VERSION || hello->version_max < PROTOCOL_VERSION_MIN) {
        snprintf(text, text_size, "this storenode speaks protocol versions %d to %d, you speak %u to %u",
                 PROTOCOL_VERSION_MIN, PROTOCOL_VERSION, hello->version_min, hello->version_max);
        return ERR_VERSION;
    }
    if (!atomic_load(&store->ready)) {
        snprintf(text, text_size, "this storenode is still starting");
        return ERR_NOT_READY;
    }
    if (hello->cluster_id != 0 && hello->cluster_id != cluster) {
        snprintf(text, text_size, "this storenode belongs to cluster %llu, not %llu", (unsigned long long)cluster,
                 (unsigned long long)hello->cluster_id);
        return ERR_CLUSTER_NOT_MATCH;
    }
    if (hello->want_node_id != 0 && hello->want_node_id != id) {
        snprintf(text, text_size, "this is store %llu, not %llu", (unsigned long long)id,
                 (unsigned long long)hello->want_node_id);
        return ERR_STORE_NOT_MATCH;
    }
    return ERR_OK;
}

static enum err on_open(void *context, conn_id conn, struct bytes bytes, struct frame **ret_reply)
{
    (void)conn;
    struct store *store = context;
    struct arena arena;
    arena_init(&arena);
    struct wire_hello hello;
    char text[160] = "";
    enum err code = wire_decode_hello(bytes, &arena, &hello);
    if (code == ERR_OK)
        code = judge_hello(store, &hello, text, sizeof text);
    struct wire_hello answer = {.role = WIRE_ROLE_STORENODE,
                                .cluster_id = atomic_load(&store->cluster_id),
                                .node_id = atomic_load(&store->store_id),
                                .version_min = PROTOCOL_VERSION_MIN,
                                .version_max = PROTOCOL_VERSION,
                                .build = bytes_of_string(POLDER_VERSION),
                                .code = (uint16_t)code,
                                .text = bytes_of_string(text)};
    *ret_reply = wire_frame_hello(FRAME_HELLO, &answer);
    /* The store that speaks here, if one does: raft frames are taken from nobody else. */
    if (code == ERR_OK && hello.role == WIRE_ROLE_STORENODE && hello.cluster_id != 0)
        (*ret_reply)->tag = hello.node_id;
    arena_fini(&arena);
    return code;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    (void)context;
    (void)conn;
    (void)reason; /* replies to a connection that is gone are dropped by the transport */
}

/* ---- frames */

static void free_kv_batch(struct message *message)
{
    struct kv_batch *batch = (struct kv_batch *)message;
    frame_unref(batch->frame);
    admission_charge_unref(batch->charge);
    arena_fini(&batch->batch_arena);
    free(batch);
}

static void free_raft_batch(struct message *message)
{
    struct raft_batch *batch = (struct raft_batch *)message;
    frame_unref(batch->frame);
    admission_charge_unref(batch->charge);
    arena_fini(&batch->batch_arena);
    free(batch);
}

/* Counted, and said as often as it doubles: who does this once does it a thousand times. The connection ends. */
static enum err refuse_frame(struct store *store, conn_id conn, const struct frame *frame, const char *why)
{
    uint64_t count = atomic_fetch_add(&store->frames_refused, 1) + 1;
    if ((count & (count - 1)) == 0)
        log_event(
            store->env->log, LOG_WARN, "event=frame_refused conn=%llu kind=%u said_store=%llu count=%llu msg=\"%s\"",
            (unsigned long long)conn, frame->kind, (unsigned long long)frame->tag, (unsigned long long)count, why);
    return ERR_INVALID;
}

/* Bit i: worker i owns a region that the batch speaks of. */
static uint32_t workers_of_requests(const struct store *store, const struct wire_kv_request_batch *batch)
{
    uint32_t mask = 0;
    if (store->worker_count == 1)
        return 1;
    for (uint32_t i = 0; i < batch->requests_count; i++)
        mask |= 1u << (batch->requests[i].region_id % store->worker_count);
    return mask;
}

static uint32_t workers_of_messages(const struct store *store, const struct wire_raft_batch *batch)
{
    uint32_t mask = 0;
    if (store->worker_count == 1)
        return 1;
    if (batch->beat) /* everybody wants to hear that */
        return (1u << store->worker_count) - 1;
    for (uint32_t i = 0; i < batch->messages_count; i++)
        mask |= 1u << (batch->messages[i].region_id % store->worker_count);
    return mask;
}

static enum err decode_kv(struct store *store, conn_id conn, struct frame *frame, struct kv_batch **ret_batch)
{
    struct kv_batch *batch = calloc(1, sizeof *batch);
    CHECK(batch);
    batch->message = (struct message){.kind = WORKER_KV_BATCH, .free = free_kv_batch};
    batch->conn = conn;
    batch->received_us = clock_now_us(store->env->clock);
    arena_init(&batch->batch_arena);
    enum err code = wire_decode_kv_request_batch(frame_bytes(frame), &batch->batch_arena, &batch->batch);
    if (code != ERR_OK) {
        message_free(&batch->message);
        return code;
    }
    batch->frame = frame_ref(frame);
    *ret_batch = batch;
    return ERR_OK;
}

/* No room: each request is told so at once. A client that does not even read that loses its connection. */
static void refuse_busy(struct store *store, conn_id conn, struct kv_batch *take_batch)
{
    uint32_t count = take_batch->batch.requests_count;
    struct wire_kv_reply *replies = arena_alloc(&take_batch->batch_arena, count * sizeof *replies);
    for (uint32_t i = 0; i < count; i++)
        replies[i] = (struct wire_kv_reply){.id = take_batch->batch.requests[i].id,
                                            .code = ERR_BUSY,
                                            .action = (uint8_t)err_action(ERR_BUSY),
                                            .wait_ms = BUSY_WAIT_MS};
    struct wire_kv_reply_batch batch = {.replies = replies, .replies_count = count};
    struct frame *frame = wire_frame_kv_reply_batch(FRAME_KV_REPLY, &batch);
    CHECK(frame);
    if (transport_send(store->env->transport, conn, frame) == ERR_BUSY)
        transport_close_conn(store->env->transport, conn);
    message_free(&take_batch->message);
}

/* Each worker gets its own decoded copy of the structs; the bytes are shared through the frame, and charged once. On
 * ERR_BUSY from the first worker nothing was taken; requests must be answered, so the other shares are posted without a
 * limit once the first is in. */
static enum err post_kv(struct store *store, conn_id conn, struct frame *take_frame)
{
    struct kv_batch *batch;
    enum err code = decode_kv(store, conn, take_frame, &batch);
    if (code != ERR_OK)
        return code;
    if (batch->batch.requests_count > REQUESTS_MAX) {
        message_free(&batch->message);
        return refuse_frame(store, conn, take_frame, "too many requests in one frame");
    }
    if (batch->batch.requests_count == 0) { /* it asks for nothing */
        message_free(&batch->message);
        frame_unref(take_frame);
        return ERR_OK;
    }
    uint32_t workers = workers_of_requests(store, &batch->batch);
    uint64_t size = take_frame->size + arena_size(&batch->batch_arena) * (uint32_t)__builtin_popcount(workers);
    batch->charge = admission_charge(store->requests, conn, size);
    if (!batch->charge) {
        refuse_busy(store, conn, batch);
        frame_unref(take_frame);
        return ERR_OK;
    }
    struct admission_charge *charge = admission_charge_ref(batch->charge);
    bool posted = false;
    for (; workers != 0; workers &= workers - 1) {
        struct actor *actor = region_worker_actor(store->workers[__builtin_ctz(workers)]);
        if (posted) {
            code = decode_kv(store, conn, take_frame, &batch);
            CHECK(code == ERR_OK); /* the same bytes as before */
            batch->charge = admission_charge_ref(charge);
            actor_post_must(store->env->executor, actor, &batch->message);
        } else if ((code = actor_post(store->env->executor, actor, &batch->message)) != ERR_OK) {
            message_free(&batch->message);
            break;
        }
        posted = true;
    }
    admission_charge_unref(charge);
    if (code == ERR_OK)
        frame_unref(take_frame);
    return code;
}

static enum err decode_raft(struct frame *frame, struct raft_batch **ret_batch)
{
    struct raft_batch *batch = calloc(1, sizeof *batch);
    CHECK(batch);
    batch->message = (struct message){.kind = WORKER_RAFT_BATCH, .free = free_raft_batch};
    arena_init(&batch->batch_arena);
    enum err code = wire_decode_raft_batch(frame_bytes(frame), &batch->batch_arena, &batch->batch);
    if (code != ERR_OK) {
        message_free(&batch->message);
        return code;
    }
    batch->frame = frame_ref(frame);
    *ret_batch = batch;
    return ERR_OK;
}

/* A few per second; one that is heard by chance would be worse than none. */
static bool is_only_beat(const struct wire_raft_batch *batch)
{
    return batch->beat && batch->messages_count == 0;
}

/* Takes it, or drops it: Raft sends it again. */
static void post_raft_batch(struct store *store, uint32_t worker, struct raft_batch *take_batch)
{
    struct actor *actor = region_worker_actor(store->workers[worker]);
    if (is_only_beat(&take_batch->batch))
        actor_post_must(store->env->executor, actor, &take_batch->message);
    else if (actor_post(store->env->executor, actor, &take_batch->message) != ERR_OK)
        message_free(&take_batch->message);
}

/* Raft speaks for the store that said hello on this connection and for no other. */
static enum err check_sender(struct store *store, conn_id conn, const struct frame *frame,
                             const struct wire_raft_batch *batch)
{
    if (frame->tag == 0)
        return refuse_frame(store, conn, frame, "no store has said hello on this connection");
    if (batch->from_store != frame->tag)
        return refuse_frame(store, conn, frame, "another store has said hello on this connection");
    return batch->to_store == atomic_load(&store->store_id) ? ERR_OK : ERR_STORE_NOT_MATCH;
}

static enum err post_raft(struct store *store, conn_id conn, struct frame *take_frame)
{
    struct raft_batch *batch;
    enum err code = decode_raft(take_frame, &batch);
    if (code != ERR_OK)
        return code;
    code = check_sender(store, conn, take_frame, &batch->batch);
    if (code != ERR_OK) {
        message_free(&batch->message);
        return code;
    }
    uint32_t workers = workers_of_messages(store, &batch->batch);
    uint64_t size = take_frame->size + arena_size(&batch->batch_arena) * (uint32_t)__builtin_popcount(workers);
    struct admission_charge *charge = admission_charge(store->raft_frames, conn, size);
    if (!charge && !is_only_beat(&batch->batch))
        workers = 0; /* Raft sends it again */
    for (; workers != 0; workers &= workers - 1) {
        if (!batch) {
            code = decode_raft(take_frame, &batch);
            CHECK(code == ERR_OK); /* the same bytes as before */
        }
        batch->charge = charge ? admission_charge_ref(charge) : NULL;
        post_raft_batch(store, (uint32_t)__builtin_ctz(workers), batch);
        batch = NULL;
    }
    if (batch)
        message_free(&batch->message);
    admission_charge_unref(charge);
    frame_unref(take_frame);
    return ERR_OK;
}

static void free_chunk(struct message *message)
{
    struct snapshot_chunk_message *chunk = (struct snapshot_chunk_message *)message;
    frame_unref(chunk->frame);
    admission_charge_unref(chunk->charge);
    arena_fini(&chunk->chunk_arena);
    free(chunk);
}

/* No room, here or in the mailbox: it is dropped, and sent again after a while. */
static enum err post_chunk(struct store *store, conn_id conn, struct frame *take_frame)
{
    if (take_frame->tag == 0)
        return refuse_frame(store, conn, take_frame, "no store has said hello on this connection");
    struct snapshot_chunk_message *chunk = calloc(1, sizeof *chunk);
    CHECK(chunk);
    chunk->message = (struct message){.kind = WORKER_SNAPSHOT_CHUNK, .free = free_chunk};
    chunk->conn = conn;
    chunk->from_store = take_frame->tag;
    arena_init(&chunk->chunk_arena);
    enum err code = wire_decode_snapshot_chunk(frame_bytes(take_frame), &chunk->chunk_arena, &chunk->chunk);
    if (code != ERR_OK) {
        message_free(&chunk->message);
        return code;
    }
    chunk->frame = take_frame;
    chunk->charge = admission_charge(store->raft_frames, conn, take_frame->size + arena_size(&chunk->chunk_arena));
    struct region_worker *worker = store->workers[chunk->chunk.region_id % store->worker_count];
    if (!chunk->charge || actor_post(store->env->executor, region_worker_actor(worker), &chunk->message) != ERR_OK)
        message_free(&chunk->message);
    return ERR_OK;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct store *store = context;
    switch (take_frame->kind) {
    case FRAME_KV_REQUEST:
        return post_kv(store, conn, take_frame);
    case FRAME_RAFT:
        return post_raft(store, conn, take_frame);
    case FRAME_SNAPSHOT:
        return post_chunk(store, conn, take_frame);
    default:
        return refuse_frame(store, conn, take_frame, "a frame of a kind that no storenode takes");
    }
}

void kv_service_init(struct store *store, struct transport_handler *handler)
{
    *handler =
        (struct transport_handler){.context = store, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
}
