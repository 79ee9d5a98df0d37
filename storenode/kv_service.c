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

enum { HELLO_SIZE_MAX = 4096 };

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
    arena_fini(&batch->batch_arena);
    free(batch);
}

static void free_raft_batch(struct message *message)
{
    struct raft_batch *batch = (struct raft_batch *)message;
    frame_unref(batch->frame);
    arena_fini(&batch->batch_arena);
    free(batch);
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

/* Each worker gets its own decoded copy of the structs; the bytes are shared through the frame. On ERR_BUSY from the
 * first worker nothing was taken; a later worker that is full loses its share of *raft messages* (Raft repeats them),
 * but requests must be answered, so they are posted without a limit once the first share is in. */
static enum err post_kv(struct store *store, conn_id conn, struct frame *take_frame)
{
    struct kv_batch *decoded = NULL;
    uint32_t remaining = 1; /* replaced by the real set after the first decode */
    bool posted = false;
    for (uint32_t i = 0; i < store->worker_count && remaining != 0; i++) {
        decoded = calloc(1, sizeof *decoded);
        CHECK(decoded);
        decoded->message = (struct message){.kind = WORKER_KV_BATCH, .free = free_kv_batch};
        decoded->conn = conn;
        decoded->received_us = clock_now_us(store->env->clock);
        arena_init(&decoded->batch_arena);
        enum err code = wire_decode_kv_request_batch(frame_bytes(take_frame), &decoded->batch_arena, &decoded->batch);
        if (code != ERR_OK) {
            message_free(&decoded->message);
            return code;
        }
        if (!posted && i == 0)
            remaining = workers_of_requests(store, &decoded->batch);
        if (!(remaining & 1u << i)) {
            message_free(&decoded->message);
            continue;
        }
        remaining &= ~(1u << i);
        decoded->frame = frame_ref(take_frame);
        struct actor *actor = region_worker_actor(store->workers[i]);
        if (posted)
            actor_post_must(store->env->executor, actor, &decoded->message);
        else {
            code = actor_post(store->env->executor, actor, &decoded->message);
            if (code != ERR_OK) {
                message_free(&decoded->message);
                return code;
            }
        }
        posted = true;
    }
    frame_unref(take_frame);
    return ERR_OK;
}

static enum err post_raft(struct store *store, struct frame *take_frame)
{
    uint32_t remaining = 1;
    for (uint32_t i = 0; i < store->worker_count && remaining != 0; i++) {
        struct raft_batch *decoded = calloc(1, sizeof *decoded);
        CHECK(decoded);
        decoded->message = (struct message){.kind = WORKER_RAFT_BATCH, .free = free_raft_batch};
        arena_init(&decoded->batch_arena);
        enum err code = wire_decode_raft_batch(frame_bytes(take_frame), &decoded->batch_arena, &decoded->batch);
        if (code == ERR_OK && decoded->batch.to_store != atomic_load(&store->store_id))
            code = ERR_STORE_NOT_MATCH;
        if (code != ERR_OK) {
            message_free(&decoded->message);
            return code;
        }
        if (i == 0)
            remaining = workers_of_messages(store, &decoded->batch);
        bool wanted = remaining & 1u << i, only_beat = decoded->batch.beat && decoded->batch.messages_count == 0;
        remaining &= ~(1u << i);
        decoded->frame = frame_ref(take_frame);
        struct actor *actor = region_worker_actor(store->workers[i]);
        if (wanted && only_beat) /* a few per second; one that is heard by chance would be worse than none */
            actor_post_must(store->env->executor, actor, &decoded->message);
        else if (!wanted || actor_post(store->env->executor, actor, &decoded->message) != ERR_OK)
            message_free(&decoded->message); /* Raft sends it again */
    }
    frame_unref(take_frame);
    return ERR_OK;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct store *store = context;
    switch (take_frame->kind) {
    case FRAME_KV_REQUEST:
        return post_kv(store, conn, take_frame);
    case FRAME_RAFT:
        return post_raft(store, take_frame);
    default:
        return ERR_UNSUPPORTED;
    }
}

void kv_service_init(struct store *store, struct transport_handler *handler)
{
    *handler =
        (struct transport_handler){.context = store, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
}
