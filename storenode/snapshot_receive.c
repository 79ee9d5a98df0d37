#include "snapshot_receive.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "group/group.h"
#include "rpc/frame_kind.h"
#include "storenode/snapshot_stage.h"

enum { TICK_US = 20000 };

#define ULL(value) ((unsigned long long)(value))

struct incoming {
    struct incoming *next;
    struct actor *owner;
    region_id region;
    uint64_t id;
    struct region *range; /* owned */
    struct raft_position position;
    struct snapshot_build *build;                /* owned; NULL while it is small */
    struct snapshot_chunk_message *held, **tail; /* owned; written with the marker, if nothing comes in between */
    uint32_t held_first, held_count;
    uint64_t held_size, size;
    struct snapshot_chunk_message *waiting, **waiting_tail; /* owned; in order: there is no budget for them */
    uint32_t written, expected;                             /* sequences: written up to; that may come next */
};

struct snapshot_receiver {
    struct store *store;
    struct env *env;
    struct actor *actor;
    struct incoming *first;
    uint32_t build_count; /* so far: no two have files of the same names */
    int64_t budget_size; /* bytes that may be taken now */
    uint64_t budgeted_us;
    bool ticking;
};

enum receiver_message { RECEIVER_CHUNK, RECEIVER_DROP, RECEIVER_FORGET, RECEIVER_JOB, RECEIVER_TICK };

struct drop_message {
    struct message message;
    region_id region;
    uint64_t id;
};

struct frame *snapshot_ack_frame(region_id region, uint64_t id, uint32_t next, enum err code)
{
    struct wire_snapshot_ack ack = {.region_id = region, .id = id, .next = next, .code = (uint16_t)code};
    struct frame *frame = wire_frame_snapshot_ack(FRAME_SNAPSHOT_ACK, &ack);
    CHECK(frame);
    return frame;
}

static void acknowledge(struct snapshot_receiver *receiver, const struct snapshot_chunk_message *message, uint32_t next)
{
    (void)transport_send(receiver->env->transport, message->conn,
                         snapshot_ack_frame(message->chunk.region_id, message->chunk.id, next, ERR_OK));
}

/* ---- those that come */

static void free_chunks(struct snapshot_chunk_message *list)
{
    while (list) {
        struct snapshot_chunk_message *next = list->next;
        message_free(&list->message);
        list = next;
    }
}

static struct incoming *find(const struct snapshot_receiver *receiver, region_id region, uint64_t id)
{
    for (struct incoming *in = receiver->first; in; in = in->next)
        if (in->region == region && in->id == id)
            return in;
    return NULL;
}

static void incoming_free(struct snapshot_receiver *receiver, struct incoming *in)
{
    struct incoming **at = &receiver->first;
    while (*at != in)
        at = &(*at)->next;
    *at = in->next;
    snapshot_build_free(in->build);
    region_free(in->range);
    free_chunks(in->held);
    free_chunks(in->waiting);
    free(in);
}

/* The region worker has made sure that it is what it should be. */
static struct incoming *begin(struct snapshot_receiver *receiver, const struct snapshot_chunk_message *message)
{
    const struct wire_snapshot_chunk *chunk = &message->chunk;
    struct incoming *in = calloc(1, sizeof *in);
    struct raft_snapshot snapshot;
    CHECK(in && group_snapshot_from_wire(chunk->snapshot, &snapshot) == ERR_OK);
    *in = (struct incoming){.next = receiver->first,
                            .owner = message->owner,
                            .region = chunk->region_id,
                            .id = chunk->id,
                            .position = {.index = snapshot.index, .term = snapshot.term}};
    in->tail = &in->held;
    in->waiting_tail = &in->waiting;
    CHECK(region_from_wire(chunk->region, &in->range) == ERR_OK);
    receiver->first = in;
    return in;
}

static void free_staged(struct message *message)
{
    struct snapshot_staged *staged = (struct snapshot_staged *)message;
    snapshot_tables_remove(&staged->tables, staged->engine);
    snapshot_tables_fini(&staged->tables);
    free_chunks(staged->chunks);
    free(staged);
}

/* Takes `in`. */
static void tell_owner(struct snapshot_receiver *receiver, struct incoming *in, enum err code,
                       struct snapshot_tables *take_tables, const struct error *error)
{
    struct snapshot_staged *staged = calloc(1, sizeof *staged);
    CHECK(staged);
    *staged = (struct snapshot_staged){.message = {.kind = WORKER_SNAPSHOT_STAGED, .free = free_staged},
                                       .engine = receiver->env->engine,
                                       .region = in->region,
                                       .id = in->id,
                                       .code = code,
                                       .tables = *take_tables,
                                       .next = in->expected,
                                       .size = in->size};
    if (code == ERR_OK) {
        staged->chunks = in->held;
        staged->chunk_first = in->held_first;
        staged->chunk_count = in->held_count;
        in->held = NULL;
    } else
        log_event(receiver->env->log, LOG_WARN, "event=snapshot_not_staged region=%llu index=%llu code=%s msg=\"%s\"",
                  ULL(in->region), ULL(in->position.index), err_name(code), error->text);
    actor_post_must(receiver->env->executor, in->owner, &staged->message);
    incoming_free(receiver, in);
}

/* ---- chunks */

static void hold(struct incoming *in, struct snapshot_chunk_message *take_chunk)
{
    if (in->held_count++ == 0)
        in->held_first = take_chunk->chunk.sequence;
    in->held_size += take_chunk->frame->size;
    take_chunk->next = NULL;
    *in->tail = take_chunk;
    in->tail = &take_chunk->next;
}

/* It is not small: what was held goes into tables like the rest. */
static enum err begin_tables(struct snapshot_receiver *receiver, struct incoming *in, struct error *err)
{
    in->build =
        snapshot_build_new(receiver->env->engine, in->range, in->id, in->position, ++receiver->build_count);
    enum err code = ERR_OK;
    for (const struct snapshot_chunk_message *chunk = in->held; chunk && code == ERR_OK; chunk = chunk->next)
        code = snapshot_build_add(in->build, &chunk->chunk, err);
    free_chunks(in->held);
    in->held = NULL;
    in->tail = &in->held;
    in->held_count = 0;
    in->held_size = 0;
    return code;
}

static bool has_data(const struct wire_snapshot_chunk *chunk)
{
    return chunk->rows_count > 0 && chunk->rows[0].cf < ENGINE_RAFT;
}

/* Rows of data go into tables, others are held: they have their place among the region's raft rows. */
static enum err write_chunk(struct snapshot_receiver *receiver, struct incoming *in,
                            struct snapshot_chunk_message *take_chunk, struct error *err)
{
    enum err code = snapshot_stage_check_chunk(&take_chunk->chunk, in->range);
    if (code != ERR_OK)
        error_set(err, code, "region %llu: a row of a snapshot has no place in it", ULL(in->region));
    if (code == ERR_OK && !in->build && has_data(&take_chunk->chunk) &&
        in->held_size + take_chunk->frame->size > receiver->store->config->snapshot_small_size)
        code = begin_tables(receiver, in, err);
    if (code == ERR_OK && in->build && in->held_count > 0 && has_data(&take_chunk->chunk))
        code = error_set(err, ERR_INVALID, "region %llu: rows of a snapshot are not in order", ULL(in->region));
    if (code == ERR_OK && in->build && has_data(&take_chunk->chunk)) {
        code = snapshot_build_add(in->build, &take_chunk->chunk, err);
        message_free(&take_chunk->message);
    } else if (code == ERR_OK)
        hold(in, take_chunk);
    else
        message_free(&take_chunk->message);
    return code;
}

static void take_chunk(struct snapshot_receiver *receiver, struct incoming *in,
                       struct snapshot_chunk_message *take_message)
{
    struct error error = {0};
    struct snapshot_tables tables = {.items = NULL};
    bool last = take_message->chunk.last;
    conn_id conn = take_message->conn;
    receiver->budget_size -= (int64_t)take_message->frame->size;
    in->size += take_message->frame->size;
    in->written = take_message->chunk.sequence + 1;
    enum err code = write_chunk(receiver, in, take_message, &error);
    if (code == ERR_OK && last && in->build)
        code = snapshot_build_finish(in->build, &tables, &error);
    if (code != ERR_OK || last)
        tell_owner(receiver, in, code, &tables, &error);
    else
        (void)transport_send(receiver->env->transport, conn,
                             snapshot_ack_frame(in->region, in->id, in->written, ERR_OK));
}

static bool has_budget(const struct snapshot_receiver *receiver)
{
    return receiver->store->config->snapshot_receive_rate_size == 0 || receiver->budget_size > 0;
}

/* What is not known was dropped, or is with the region worker already; what comes twice is answered. */
static void on_chunk(struct snapshot_receiver *receiver, struct snapshot_chunk_message *take_message)
{
    const struct wire_snapshot_chunk *chunk = &take_message->chunk;
    struct incoming *in =
        take_message->begin ? begin(receiver, take_message) : find(receiver, chunk->region_id, chunk->id);
    if (!in || chunk->sequence != in->expected) {
        if (in)
            acknowledge(receiver, take_message, in->written);
        message_free(&take_message->message);
        return;
    }
    in->expected++;
    if (!in->waiting && has_budget(receiver)) {
        take_chunk(receiver, in, take_message);
        return;
    }
    take_message->next = NULL;
    *in->waiting_tail = take_message;
    in->waiting_tail = &take_message->next;
}

/* ---- time */

static void free_plain(struct message *message)
{
    free(message);
}

static void keep_ticking(struct snapshot_receiver *receiver)
{
    if (receiver->ticking || !receiver->first || receiver->store->config->snapshot_receive_rate_size == 0)
        return;
    struct message *tick = calloc(1, sizeof *tick);
    CHECK(tick);
    *tick = (struct message){.kind = RECEIVER_TICK, .free = free_plain};
    actor_post_after(receiver->env->executor, receiver->actor, TICK_US, tick);
    receiver->ticking = true;
}

static void fill_budget(struct snapshot_receiver *receiver)
{
    uint64_t now_us = clock_now_us(receiver->env->clock), passed_us = now_us - receiver->budgeted_us;
    uint64_t rate = receiver->store->config->snapshot_receive_rate_size, passed_max_us = 5 * TICK_US;
    receiver->budgeted_us = now_us;
    if (passed_us > passed_max_us)
        passed_us = passed_max_us;
    int64_t most = (int64_t)((double)rate * (double)passed_max_us / 1e6) + 1;
    receiver->budget_size += (int64_t)((double)rate * (double)passed_us / 1e6);
    if (receiver->budget_size > most)
        receiver->budget_size = most;
}

static void on_tick(struct snapshot_receiver *receiver)
{
    receiver->ticking = false;
    fill_budget(receiver);
    for (struct incoming *in = receiver->first, *next; in; in = next) {
        next = in->next;
        while (in->waiting && has_budget(receiver)) {
            struct snapshot_chunk_message *chunk = in->waiting;
            bool last = chunk->chunk.last;
            in->waiting = chunk->next;
            if (!in->waiting)
                in->waiting_tail = &in->waiting;
            region_id region = in->region;
            uint64_t id = in->id;
            take_chunk(receiver, in, chunk);
            if (last || find(receiver, region, id) != in) /* it has ended */
                break;
        }
    }
}

/* ---- the actor */

static void on_message(void *state, struct message *take_message)
{
    struct snapshot_receiver *receiver = state;
    switch ((enum receiver_message)take_message->kind) {
    case RECEIVER_CHUNK:
        on_chunk(receiver, (struct snapshot_chunk_message *)take_message);
        break;
    case RECEIVER_DROP: {
        const struct drop_message *drop = (struct drop_message *)take_message;
        struct incoming *in = find(receiver, drop->region, drop->id);
        if (in)
            incoming_free(receiver, in);
        message_free(take_message);
        break;
    }
    case RECEIVER_FORGET:
        message_free(take_message);
        break;
    case RECEIVER_JOB: {
        struct snapshot_job *job = (struct snapshot_job *)take_message;
        job->run(job);
        break;
    }
    case RECEIVER_TICK:
        message_free(take_message);
        on_tick(receiver);
        break;
    }
    keep_ticking(receiver);
}

enum err snapshot_receiver_new(struct store *store, struct snapshot_receiver **ret_receiver)
{
    static const struct actor_ops ops = {.on_message = on_message, .bulk = true};
    struct snapshot_receiver *receiver = calloc(1, sizeof *receiver);
    CHECK(receiver);
    receiver->store = store;
    receiver->env = store->env;
    receiver->budget_size = 1;
    enum err code = executor_spawn(store->env->executor, "snapshot_in", &ops, receiver, UINT32_MAX, &receiver->actor);
    if (code != ERR_OK) {
        free(receiver);
        return code;
    }
    *ret_receiver = receiver;
    return ERR_OK;
}

void snapshot_receiver_free(struct snapshot_receiver *receiver)
{
    if (!receiver)
        return;
    while (receiver->first)
        incoming_free(receiver, receiver->first);
    free(receiver);
}

void snapshot_receiver_post(struct snapshot_receiver *receiver, struct snapshot_chunk_message *take_chunk,
                            struct actor *owner, bool begin)
{
    take_chunk->message.kind = RECEIVER_CHUNK;
    take_chunk->owner = owner;
    take_chunk->begin = begin;
    actor_post_must(receiver->env->executor, receiver->actor, &take_chunk->message);
}

void snapshot_receiver_post_drop(struct snapshot_receiver *receiver, region_id region, uint64_t id)
{
    struct drop_message *drop = calloc(1, sizeof *drop);
    CHECK(drop);
    *drop = (struct drop_message){.message = {.kind = RECEIVER_DROP, .free = free_plain}, .region = region, .id = id};
    actor_post_must(receiver->env->executor, receiver->actor, &drop->message);
}

void snapshot_receiver_post_forget(struct snapshot_receiver *receiver, struct snapshot_staged *take_staged)
{
    take_staged->message.kind = RECEIVER_FORGET;
    actor_post_must(receiver->env->executor, receiver->actor, &take_staged->message);
}

void snapshot_receiver_post_job(struct snapshot_receiver *receiver, struct snapshot_job *take_job)
{
    take_job->message.kind = RECEIVER_JOB;
    actor_post_must(receiver->env->executor, receiver->actor, &take_job->message);
}
