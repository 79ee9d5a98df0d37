#include "snapshot_send.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "group/group.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"
#include "storenode/peer_heal.h"

enum {
    CHUNKS_AHEAD_MAX = 32,
    AHEAD_SIZE_MAX = 4 * 1024 * 1024, /* of the chunks on their way, and one more */
    SENDS_MAX = 64,
    TICK_US = 20000,
    RESEND_US = 1000000,
    ROW_EXTRA_SIZE = 32
};

#define ULL(value) ((unsigned long long)(value))

struct send {
    struct snapshot_sender *sender;
    struct snapshot_cut *cut; /* owned */
    struct actor *owner;
    struct link *link; /* owned by links */
    uint64_t id;
    struct frame *chunks[CHUNKS_AHEAD_MAX]; /* counted; not acknowledged, by sequence */
    uint32_t first, next;                   /* sequences: the oldest of those; the next to be made */
    int cf;                                 /* where the iterators are; ENGINE_RAFT: at the rows */
    uint32_t row_at;
    bool last_made;
    uint64_t started_us, heard_us, sent_us, size;
    size_t ahead_size; /* of the chunks that are not acknowledged */
};

struct address {
    store_id store;
    char text[256];
};

struct snapshot_sender {
    struct store *store;
    struct env *env;
    struct actor *actor;
    struct links *links; /* made with the first cut: who we are is known then */
    struct send *sends[SENDS_MAX];
    uint32_t count;
    struct address *addresses; /* owned array */
    uint32_t address_count;
    uint64_t id;          /* of the last snapshot: unique in all lives of this store */
    int64_t budget_size;  /* bytes that may leave now */
    uint64_t budgeted_us; /* up to when it was filled */
    bool ticking;
};

enum sender_message { SENDER_CUT, SENDER_STOP, SENDER_STORES, SENDER_LINKS, SENDER_TICK };

struct cut_message {
    struct message message;
    struct actor *owner;
    struct snapshot_cut *cut; /* owned */
};

struct stop_message {
    struct message message;
    region_id region;
};

/* ---- the end of one */

static void free_sent(struct message *message)
{
    free(message);
}

static void send_free(struct send *send)
{
    for (int i = 0; i < CHUNKS_AHEAD_MAX; i++)
        frame_unref(send->chunks[i]);
    snapshot_cut_free(send->cut);
    free(send);
}

static void tell_owner(struct snapshot_sender *sender, struct actor *owner, const struct snapshot_cut *cut, bool ok)
{
    struct snapshot_sent *sent = calloc(1, sizeof *sent);
    CHECK(sent);
    *sent = (struct snapshot_sent){.message = {.kind = WORKER_SNAPSHOT_SENT, .free = free_sent},
                                   .region = cut->region_id,
                                   .to = cut->to,
                                   .ok = ok};
    actor_post_must(sender->env->executor, owner, &sent->message);
}

static void finish(struct send *take_send, enum err code)
{
    struct snapshot_sender *sender = take_send->sender;
    const struct snapshot_cut *cut = take_send->cut;
    uint64_t now_us = clock_now_us(sender->env->clock);
    log_event(sender->env->log, code == ERR_OK ? LOG_INFO : LOG_WARN,
              "event=snapshot_%s region=%llu to_store=%llu index=%llu chunks=%u size=%llu took_ms=%llu code=%s",
              code == ERR_OK ? "sent" : "not_sent", ULL(cut->region_id), ULL(cut->to_store), ULL(cut->position.index),
              take_send->next, ULL(take_send->size), ULL((now_us - take_send->started_us) / 1000), err_name(code));
    atomic_fetch_add(code == ERR_OK ? &sender->store->snapshot_counts.sent : &sender->store->snapshot_counts.not_sent,
                     1);
    atomic_fetch_add(&sender->store->snapshot_counts.sent_size, take_send->size);
    uint64_t healthy_us = sender->store->config->snapshot_duration_max_ms * 1000;
    if (healthy_us > 0 && now_us - take_send->started_us > healthy_us) {
        atomic_fetch_add(&sender->store->snapshot_counts.slow, 1);
        log_event(sender->env->log, LOG_WARN, "event=snapshot_slow region=%llu to_store=%llu took_ms=%llu",
                  ULL(cut->region_id), ULL(cut->to_store), ULL((now_us - take_send->started_us) / 1000));
    }
    tell_owner(sender, take_send->owner, cut, code == ERR_OK);
    for (uint32_t i = 0; i < sender->count; i++)
        if (sender->sends[i] == take_send) {
            sender->sends[i] = sender->sends[--sender->count];
            break;
        }
    link_close(take_send->link);
    send_free(take_send);
}

/* ---- chunks */

/* False: there is none, or the chunk ends here because it has data and the rows that are left are others. */
static bool next_row(struct send *send, struct arena *arena, bool has_data, struct wire_snapshot_row *ret_row,
                     enum err *ret_code)
{
    struct snapshot_cut *cut = send->cut;
    for (; send->cf < ENGINE_RAFT; send->cf++) {
        struct engine_iter *iter = cut->iters[send->cf];
        if (engine_iter_valid(cut->engine, iter)) {
            *ret_row = (struct wire_snapshot_row){.cf = (uint8_t)send->cf,
                                                  .key = arena_copy(arena, engine_iter_key(cut->engine, iter)),
                                                  .value = arena_copy(arena, engine_iter_value(cut->engine, iter))};
            engine_iter_next(cut->engine, iter);
            return true;
        }
        struct error error = {0};
        *ret_code = engine_iter_error(cut->engine, iter, &error);
        if (*ret_code != ERR_OK) {
            log_event(send->sender->env->log, LOG_ERROR, "event=snapshot_unreadable region=%llu code=%s msg=\"%s\"",
                      ULL(cut->region_id), err_name(*ret_code), error.text);
            if (*ret_code == ERR_CORRUPT)
                store_report_damage(send->sender->store, cut->region_id, error.text);
            return false;
        }
    }
    if (send->row_at == cut->row_count || has_data)
        return false;
    *ret_row = cut->rows[send->row_at++];
    return true;
}

static enum err gather_rows(struct send *send, struct arena *arena, struct wire_snapshot_chunk *chunk)
{
    uint32_t capacity = 0;
    size_t size = 0, row_size = 0; /* the next row is as large as the last one, probably */
    struct wire_snapshot_row row;
    enum err code = ERR_OK;
    while (size + row_size < send->sender->store->config->snapshot_chunk_size) {
        bool has_data = chunk->rows_count > 0 && chunk->rows[0].cf < ENGINE_RAFT;
        if (!next_row(send, arena, has_data, &row, &code)) {
            chunk->last = code == ERR_OK && send->row_at == send->cut->row_count;
            break;
        }
        if (chunk->rows_count == capacity) {
            const struct wire_snapshot_row *old = chunk->rows;
            capacity = capacity ? 2 * capacity : 64;
            chunk->rows = arena_alloc(arena, capacity * sizeof *chunk->rows);
            if (old)
                memcpy(chunk->rows, old, chunk->rows_count * sizeof *old);
        }
        chunk->rows[chunk->rows_count++] = row;
        row_size = row.key.size + row.value.size + ROW_EXTRA_SIZE;
        size += row_size;
    }
    return code;
}

static enum err make_chunk(struct send *send)
{
    struct snapshot_cut *cut = send->cut;
    struct arena arena;
    arena_init(&arena);
    struct raft_snapshot snapshot = {.index = cut->position.index, .term = cut->position.term, .conf = cut->conf};
    struct wire_region region = region_to_wire(cut->region, &arena);
    struct wire_snapshot_chunk chunk = {.region_id = cut->region_id,
                                        .from = cut->from,
                                        .to = cut->to,
                                        .term = cut->term,
                                        .id = send->id,
                                        .sequence = send->next,
                                        .time_ms = BUG(snapshot_forgets_time) ? 0 : cut->time.now_ms,
                                        .last_expiry_ms = cut->time.last_expiry_ms,
                                        .region = send->next == 0 ? &region : NULL,
                                        .snapshot = send->next == 0 ? group_snapshot_to_wire(&snapshot, &arena) : NULL};
    enum err code = gather_rows(send, &arena, &chunk);
    struct frame *frame = code == ERR_OK ? wire_frame_snapshot_chunk(FRAME_SNAPSHOT, &chunk) : NULL;
    if (code == ERR_OK && !frame)
        code = ERR_ENTRY_TOO_LARGE;
    if (code == ERR_OK) {
        send->chunks[send->next % CHUNKS_AHEAD_MAX] = frame;
        send->last_made = chunk.last;
        send->next++;
        send->ahead_size += frame->size;
    }
    arena_fini(&arena);
    return code;
}

static void forget_chunk(struct send *send, uint32_t sequence)
{
    struct frame **chunk = &send->chunks[sequence % CHUNKS_AHEAD_MAX];
    send->ahead_size -= (*chunk)->size;
    frame_unref(*chunk);
    *chunk = NULL;
}

/* A frame that is sent again may still be on its way: the transport writes into its header. */
static void send_chunk(struct send *send, uint32_t sequence, bool again)
{
    struct frame *frame = send->chunks[sequence % CHUNKS_AHEAD_MAX];
    send->sender->budget_size -= (int64_t)frame->size;
    send->size += frame->size;
    send->sent_us = clock_now_us(send->sender->env->clock);
    (void)link_send(send->link, /* lost: sent again */
                    again ? frame_copy(FRAME_SNAPSHOT, frame_bytes(frame)) : frame_ref(frame));
}

/* Makes and sends what may be on its way. */
static void pump(struct send *send)
{
    const struct store_config *config = send->sender->store->config;
    while (link_is_up(send->link) && !send->last_made && send->next - send->first < CHUNKS_AHEAD_MAX &&
           send->ahead_size < AHEAD_SIZE_MAX && (config->snapshot_rate_size == 0 || send->sender->budget_size > 0)) {
        enum err code = make_chunk(send);
        if (code == ERR_OK && config->snapshot_size_max > 0 && send->size > config->snapshot_size_max)
            code = ERR_ENTRY_TOO_LARGE;
        if (code != ERR_OK) {
            finish(send, code);
            return;
        }
        send_chunk(send, send->next - 1, false);
    }
}

static void send_again(struct send *send)
{
    for (uint32_t sequence = send->first; sequence < send->next; sequence++)
        send_chunk(send, sequence, true);
}

/* ---- links */

static void on_up(void *context, struct link *link, const struct wire_hello *hello)
{
    (void)context;
    (void)hello; /* another store refuses us: want_node_id */
    struct send *send = link_user(link);
    if (send->first > 0) { /* the other side has some of it */
        atomic_fetch_add(&send->sender->store->snapshot_counts.resumed, 1);
        log_event(send->sender->env->log, LOG_INFO, "event=snapshot_resumed region=%llu to_store=%llu chunk=%u",
                  ULL(send->cut->region_id), ULL(send->cut->to_store), send->first);
    }
    send_again(send);
    pump(send);
}

static void on_ack(struct send *send, const struct wire_snapshot_ack *ack)
{
    if (ack->id != send->id || ack->region_id != send->cut->region_id)
        return;
    send->heard_us = clock_now_us(send->sender->env->clock);
    if (ack->code != ERR_OK) {
        finish(send, (enum err)ack->code);
        return;
    }
    if (ack->next > send->next || ack->next < send->first)
        return; /* of an earlier connection, or nonsense */
    for (; send->first < ack->next; send->first++)
        forget_chunk(send, send->first);
    if (send->last_made && send->first == send->next)
        finish(send, ERR_OK);
    else
        pump(send);
}

static void on_frame(void *context, struct link *link, struct frame *take_frame)
{
    (void)context;
    struct wire_snapshot_ack ack;
    struct arena arena;
    arena_init(&arena);
    if (take_frame->kind != FRAME_SNAPSHOT_ACK ||
        wire_decode_snapshot_ack(frame_bytes(take_frame), &arena, &ack) != ERR_OK)
        link_reset(link);
    else
        on_ack(link_user(link), &ack);
    arena_fini(&arena);
    frame_unref(take_frame);
}

static void on_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    (void)context;
    (void)link;
    (void)was_up;
    (void)code;
    (void)text; /* it dials again; the timeout ends it */
}

static void make_links(struct snapshot_sender *sender)
{
    struct wire_hello hello = {.role = WIRE_ROLE_STORENODE,
                               .cluster_id = atomic_load(&sender->store->cluster_id),
                               .node_id = atomic_load(&sender->store->store_id),
                               .version_min = PROTOCOL_VERSION_MIN,
                               .version_max = PROTOCOL_VERSION,
                               .build = bytes_of_string(POLDER_VERSION)};
    struct links_options options = {0};
    struct links_handler handler = {.context = sender, .on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    sender->links = links_new(sender->env, sender->actor, SENDER_LINKS, &hello, &options, &handler);
}

/* ---- time */

static void free_plain(struct message *message)
{
    free(message);
}

/* Only while something is on its way. */
static void keep_ticking(struct snapshot_sender *sender)
{
    if (sender->ticking || sender->count == 0)
        return;
    struct message *tick = calloc(1, sizeof *tick);
    CHECK(tick);
    *tick = (struct message){.kind = SENDER_TICK, .free = free_plain};
    actor_post_after(sender->env->executor, sender->actor, TICK_US, tick);
    sender->ticking = true;
}

static void fill_budget(struct snapshot_sender *sender, uint64_t now_us)
{
    uint64_t rate = sender->store->config->snapshot_rate_size, passed_us = now_us - sender->budgeted_us;
    uint64_t passed_max_us = 5 * TICK_US;
    if (passed_us > passed_max_us)
        passed_us = passed_max_us;
    sender->budgeted_us = now_us;
    sender->budget_size += (int64_t)((double)rate * (double)passed_us / 1e6);
    int64_t most = (int64_t)(rate / (1000000 / passed_max_us)) + (int64_t)sender->store->config->snapshot_chunk_size;
    if (sender->budget_size > most)
        sender->budget_size = most;
}

static void on_tick(struct snapshot_sender *sender)
{
    const struct store_config *config = sender->store->config;
    uint64_t now_us = clock_now_us(sender->env->clock);
    sender->ticking = false;
    fill_budget(sender, now_us);
    links_tick(sender->links);
    for (uint32_t i = sender->count; i-- > 0;) { /* from the end: one that finishes leaves its place to the last */
        struct send *send = sender->sends[i];
        if (link_is_up(send->link) && send->first == send->next)
            send->heard_us = now_us; /* it is we who are silent: the rate */
        if (now_us >= send->heard_us + config->snapshot_timeout_ms * 1000) {
            finish(send, ERR_TIMEOUT);
            continue;
        }
        if (link_is_up(send->link) && send->first < send->next && now_us >= send->sent_us + RESEND_US)
            send_again(send);
        pump(send);
    }
}

/* ---- the actor */

static const char *address_of(const struct snapshot_sender *sender, store_id store)
{
    for (uint32_t i = 0; i < sender->address_count; i++)
        if (sender->addresses[i].store == store)
            return sender->addresses[i].text;
    return NULL;
}

static void on_stores(struct snapshot_sender *sender, struct regions_message *take_stores)
{
    uint32_t count = take_stores->reply.stores_count;
    free(sender->addresses);
    sender->addresses = calloc(count + 1, sizeof *sender->addresses);
    CHECK(sender->addresses);
    sender->address_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct wire_store *store = &take_stores->reply.stores[i];
        struct address *address = &sender->addresses[sender->address_count];
        if (store->id == 0 || store->address.size >= sizeof address->text)
            continue;
        address->store = store->id;
        snprintf(address->text, sizeof address->text, "%.*s", (int)store->address.size,
                 (const char *)store->address.data);
        sender->address_count++;
    }
    message_free(&take_stores->message);
}

static void on_cut(struct snapshot_sender *sender, struct cut_message *take_message)
{
    struct snapshot_cut *cut = take_message->cut;
    const char *address = address_of(sender, cut->to_store);
    if (!address || sender->count == SENDS_MAX) {
        tell_owner(sender, take_message->owner, cut, false);
        message_free(&take_message->message);
        return;
    }
    if (!sender->links)
        make_links(sender);
    struct send *send = calloc(1, sizeof *send);
    CHECK(send);
    uint64_t now_us = clock_now_us(sender->env->clock);
    *send = (struct send){.sender = sender,
                          .cut = cut,
                          .owner = take_message->owner,
                          .id = ++sender->id,
                          .started_us = now_us,
                          .heard_us = now_us};
    for (int cf = 0; cf < ENGINE_RAFT; cf++)
        engine_iter_seek(cut->engine, cut->iters[cf], cut->region->start_key);
    take_message->cut = NULL;
    message_free(&take_message->message);
    sender->sends[sender->count++] = send;
    send->link = link_open(sender->links, address, cut->to_store, send);
}

static void on_stop(struct snapshot_sender *sender, region_id region)
{
    for (uint32_t i = sender->count; i-- > 0;)
        if (sender->sends[i]->cut->region_id == region)
            finish(sender->sends[i], ERR_NOT_LEADER);
}

static void on_message(void *state, struct message *take_message)
{
    struct snapshot_sender *sender = state;
    switch ((enum sender_message)take_message->kind) {
    case SENDER_CUT:
        on_cut(sender, (struct cut_message *)take_message);
        break;
    case SENDER_STOP:
        on_stop(sender, ((struct stop_message *)take_message)->region);
        message_free(take_message);
        break;
    case SENDER_STORES:
        on_stores(sender, (struct regions_message *)take_message);
        break;
    case SENDER_LINKS:
        links_on_message(sender->links, take_message);
        break;
    case SENDER_TICK:
        message_free(take_message);
        on_tick(sender);
        break;
    }
    keep_ticking(sender);
}

enum err snapshot_sender_new(struct store *store, struct snapshot_sender **ret_sender)
{
    static const struct actor_ops ops = {.on_message = on_message, .bulk = true};
    struct snapshot_sender *sender = calloc(1, sizeof *sender);
    CHECK(sender);
    sender->store = store;
    sender->env = store->env;
    sender->id = store->incarnation;
    enum err code = executor_spawn(store->env->executor, "snapshot", &ops, sender, UINT32_MAX, &sender->actor);
    if (code != ERR_OK) {
        free(sender);
        return code;
    }
    *ret_sender = sender;
    return ERR_OK;
}

void snapshot_sender_free(struct snapshot_sender *sender)
{
    if (!sender)
        return;
    links_free(sender->links);
    for (uint32_t i = 0; i < sender->count; i++)
        send_free(sender->sends[i]);
    free(sender->addresses);
    free(sender);
}

static void free_cut_message(struct message *message)
{
    snapshot_cut_free(((struct cut_message *)message)->cut);
    free(message);
}

void snapshot_sender_post(struct snapshot_sender *sender, struct actor *owner, struct snapshot_cut *take_cut)
{
    struct cut_message *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct cut_message){
        .message = {.kind = SENDER_CUT, .free = free_cut_message}, .owner = owner, .cut = take_cut};
    actor_post_must(sender->env->executor, sender->actor, &message->message);
}

void snapshot_sender_post_stores(struct snapshot_sender *sender, struct regions_message *take_stores)
{
    take_stores->message.kind = SENDER_STORES;
    actor_post_must(sender->env->executor, sender->actor, &take_stores->message);
}

void snapshot_sender_post_stop(struct snapshot_sender *sender, region_id region)
{
    struct stop_message *stop = calloc(1, sizeof *stop);
    CHECK(stop);
    *stop = (struct stop_message){.message = {.kind = SENDER_STOP, .free = free_plain}, .region = region};
    actor_post_must(sender->env->executor, sender->actor, &stop->message);
}
