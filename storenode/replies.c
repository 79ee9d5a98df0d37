#include "replies.h"

#include <stdlib.h>
#include <uthash.h>

#include "base/check.h"
#include "base/log.h"
#include "rpc/frame_kind.h"

enum {
    GATHER_SIZE_MAX = 4 * 1024 * 1024,
    GATHER_COUNT_MAX = 4096,
    CONNS_KEPT_MAX = 256,
    ROUND_SIZE_MAX = 16 * 1024 * 1024
};

/* What one connection is owed. Kept for later rounds, because the same few connections come again and again. */
struct conn_replies {
    conn_id conn;
    struct wire_kv_reply *items;
    uint32_t count, capacity;
    size_t size;
    struct conn_replies *next_dirty;
    UT_hash_handle hh;
};

struct replies {
    struct env *env;
    struct arena round_arena;
    struct conn_replies *by_conn;
    struct conn_replies *dirty;
    size_t gathered_size; /* since the last flush */
};

struct replies *replies_new(struct env *env)
{
    struct replies *replies = calloc(1, sizeof *replies);
    CHECK(replies);
    replies->env = env;
    arena_init(&replies->round_arena);
    return replies;
}

static void forget_all(struct replies *replies)
{
    struct conn_replies *each, *next;
    HASH_ITER(hh, replies->by_conn, each, next)
    {
        HASH_DEL(replies->by_conn, each);
        free(each->items);
        free(each);
    }
}

void replies_free(struct replies *replies)
{
    if (!replies)
        return;
    forget_all(replies);
    arena_fini(&replies->round_arena);
    free(replies);
}

struct arena *replies_arena(struct replies *replies)
{
    return &replies->round_arena;
}

/* What does not fit into a frame goes in two; one reply that does not becomes an error that says so: an
 * answer never just stays away, and others on the connection have nothing to do with it. */
static enum err send_items(struct replies *replies, conn_id conn, struct wire_kv_reply *items, uint32_t count)
{
    struct wire_kv_reply_batch batch = {.replies = items, .replies_count = count};
    struct frame *frame = wire_frame_kv_reply_batch(FRAME_KV_REPLY, &batch);
    if (!frame && count > 1) {
        enum err code = send_items(replies, conn, items, count / 2);
        return code == ERR_OK ? send_items(replies, conn, items + count / 2, count - count / 2) : code;
    }
    if (!frame) {
        log_event(replies->env->log, LOG_WARN, "event=reply_too_large conn=%llu pairs=%u", (unsigned long long)conn,
                  items->pairs_count);
        struct wire_kv_reply error = {.id = items->id,
                                      .code = ERR_ENTRY_TOO_LARGE,
                                      .action = (uint8_t)err_action(ERR_ENTRY_TOO_LARGE),
                                      .text = bytes_of_string("the answer does not fit into a frame")};
        batch = (struct wire_kv_reply_batch){.replies = &error, .replies_count = 1};
        frame = wire_frame_kv_reply_batch(FRAME_KV_REPLY, &batch);
    }
    return transport_send(replies->env->transport, conn, frame);
}

static void send_gathered(struct replies *replies, struct conn_replies *owed)
{
    enum err code = send_items(replies, owed->conn, owed->items, owed->count);
    if (code != ERR_OK && code != ERR_CLOSED) {
        log_event(replies->env->log, LOG_WARN, "event=replies_lost conn=%llu count=%u size=%zu code=%s",
                  (unsigned long long)owed->conn, owed->count, owed->size, err_name(code));
        /* Whoever waits for them must know that they will not come. */
        transport_close_conn(replies->env->transport, owed->conn);
    }
    owed->count = 0;
    owed->size = 0;
}

static size_t reply_size(const struct wire_kv_reply *reply)
{
    size_t size = 64 + reply->value.size + reply->text.size + reply->next_key.size;
    for (uint32_t i = 0; i < reply->pairs_count; i++)
        size += 32 + reply->pairs[i].key.size + reply->pairs[i].value.size;
    return size;
}

void replies_add(struct replies *replies, struct reply_to to, const struct wire_kv_reply *reply)
{
    struct conn_replies *owed;
    HASH_FIND(hh, replies->by_conn, &to.conn, sizeof to.conn, owed);
    if (!owed) {
        owed = calloc(1, sizeof *owed);
        CHECK(owed);
        owed->conn = to.conn;
        HASH_ADD(hh, replies->by_conn, conn, sizeof owed->conn, owed);
    }
    size_t size = reply_size(reply);
    if (owed->count > 0 && (owed->size + size > GATHER_SIZE_MAX || owed->count >= GATHER_COUNT_MAX))
        send_gathered(replies, owed); /* stays in the dirty list; that does no harm */
    else if (owed->count == 0 && !owed->next_dirty) {
        owed->next_dirty = replies->dirty ? replies->dirty : owed; /* the last one points at itself */
        replies->dirty = owed;
    }
    if (owed->count == owed->capacity) {
        owed->capacity = owed->capacity ? owed->capacity * 2 : 32;
        owed->items = realloc(owed->items, owed->capacity * sizeof *owed->items);
        CHECK(owed->items);
    }
    owed->items[owed->count] = *reply;
    owed->items[owed->count].id = to.request_id;
    owed->items[owed->count].action = (uint8_t)err_action((enum err)reply->code);
    owed->count++;
    owed->size += size;
    replies->gathered_size += size;
}

void replies_add_error(struct replies *replies, struct reply_to to, enum err code, uint32_t wait_ms)
{
    struct wire_kv_reply reply = {.code = (uint16_t)code, .wait_ms = wait_ms};
    replies_add(replies, to, &reply);
}

void replies_flush(struct replies *replies)
{
    struct conn_replies *owed = replies->dirty;
    replies->dirty = NULL;
    while (owed) {
        struct conn_replies *next = owed->next_dirty == owed ? NULL : owed->next_dirty;
        owed->next_dirty = NULL;
        if (owed->count > 0)
            send_gathered(replies, owed);
        owed = next;
    }
    if (HASH_COUNT(replies->by_conn) > CONNS_KEPT_MAX)
        forget_all(replies);
    replies->gathered_size = 0;
    arena_reset(&replies->round_arena);
}

bool replies_are_many(const struct replies *replies)
{
    return replies->gathered_size >= ROUND_SIZE_MAX;
}
