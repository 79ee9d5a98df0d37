#include "read_worker.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "base/types.h"
#include "env/clock.h"
#include "env/engine.h"
#include "storenode/expiry.h"
#include "storenode/range_sum.h"
#include "storenode/row.h"

enum {
    SCAN_LIMIT_DEFAULT = 1000,
    /* Whatever the configuration says, an answer fits into a frame: the last value of it may be of the largest size. */
    REPLY_SIZE_MAX = FRAME_SIZE_MAX / 2 - VALUE_SIZE_MAX,
    PAIR_SIZE = 48, /* what a pair takes beside its key and value */
    SUMS_MAX = 16,  /* checksums at once: each holds an iterator */
    SUMS_WAIT_MS = 50,
    EXPIRED_COUNT_MAX = 4096 /* that one answer of a scan passes over */
};
enum { READ_WORKER_TASK, READ_WORKER_JOB };

struct read_worker {
    struct env *env;
    struct actor *actor;
    struct read_limits limits;
    struct replies *replies; /* owned */
    struct buf row;
    void (*on_damage)(void *context, region_id region, const char *text); /* may be NULL */
    void *damage_context;
    struct error damage;      /* of the read that is being served */
    _Atomic uint32_t waiting; /* keys */
    uint32_t sums_under_way;
};

void read_worker_set_damage(struct read_worker *worker,
                            void (*on_damage)(void *context, region_id region, const char *text), void *context)
{
    worker->on_damage = on_damage;
    worker->damage_context = context;
}

enum err read_worker_damaged(struct read_worker *worker, region_id region, const char *text)
{
    if (!worker->on_damage)
        return ERR_CORRUPT;
    worker->on_damage(worker->damage_context, region, text);
    return ERR_NOT_READY;
}

static void free_task_message(struct message *message)
{
    read_task_free((struct read_task *)message);
}

struct read_task *read_task_new(void)
{
    struct read_task *task = calloc(1, sizeof *task);
    CHECK(task);
    task->message.free = free_task_message;
    arena_init(&task->task_arena);
    task->last = &task->first;
    return task;
}

void read_task_free(struct read_task *task)
{
    if (!task)
        return;
    arena_fini(&task->task_arena);
    free(task);
}

void read_task_add(struct read_task *task, struct reply_to to, const struct wire_kv_request *request,
                   struct bytes region_start, struct bytes region_end, uint64_t expire_us)
{
    struct arena *arena = &task->task_arena;
    struct wire_kv_request *copy = arena_alloc(arena, sizeof *copy);
    *copy = *request;
    copy->key = arena_copy(arena, request->key);
    copy->end_key = arena_copy(arena, request->end_key);
    copy->value = copy->expected = bytes_empty();
    copy->pairs = arena_alloc(arena, request->pairs_count * sizeof *copy->pairs);
    for (uint32_t i = 0; i < request->pairs_count; i++)
        copy->pairs[i].key = arena_copy(arena, request->pairs[i].key);
    struct read_request *read = arena_alloc(arena, sizeof *read);
    *read = (struct read_request){.to = to, .request = copy, .expire_us = expire_us};
    if (request->op == WIRE_KV_OP_SCAN) {
        read->region_start = arena_copy(arena, region_start);
        read->region_end = arena_copy(arena, region_end);
    }
    *task->last = read;
    task->last = &read->next;
    task->count++;
    task->keys_count += 1 + request->pairs_count;
}

void read_task_watch(struct read_task *task, const _Atomic uint64_t *counter)
{
    struct read_request *read = (struct read_request *)((char *)task->last - offsetof(struct read_request, next));
    read->watched = counter;
    read->watched_was = atomic_load_explicit(counter, memory_order_relaxed);
}

void read_task_set_time(struct read_task *task, bool all, uint64_t time_ms)
{
    struct read_request *last = (struct read_request *)((char *)task->last - offsetof(struct read_request, next));
    for (struct read_request *read = all ? task->first : last; read; read = read->next)
        read->time_ms = time_ms;
}

void read_worker_post(struct read_worker *worker, struct read_task *take_task)
{
    take_task->message.kind = READ_WORKER_TASK;
    atomic_fetch_add_explicit(&worker->waiting, take_task->keys_count, memory_order_relaxed);
    actor_post_must(worker->env->executor, worker->actor, &take_task->message);
}

uint32_t read_worker_waiting(const struct read_worker *worker)
{
    return atomic_load_explicit(&worker->waiting, memory_order_relaxed);
}

void read_worker_post_job(struct read_worker *worker, struct read_job *take_job)
{
    take_job->message.kind = READ_WORKER_JOB;
    actor_post_must(worker->env->executor, worker->actor, &take_job->message);
}

/* The value of `key`, copied to the replies' arena; never NULL data when present. */
static enum err get_value(struct read_worker *worker, const struct expiry_view *view, struct bytes key,
                          struct bytes *ret_value, uint64_t *ret_left_ms)
{
    struct error error = {0};
    enum err code = engine_get(worker->env->engine, ENGINE_DEFAULT, key, &worker->row, &error);
    struct bytes value = bytes_empty();
    if (code == ERR_OK)
        code = expiry_look(worker->env, view, buf_bytes(&worker->row), &value, ret_left_ms);
    if (code == ERR_OK) {
        *ret_value = arena_copy(replies_arena(worker->replies), value);
        if (!ret_value->data)
            *ret_value = bytes_of("", 0);
    } else if (code != ERR_NOT_FOUND && code != ERR_NOT_READY)
        log_event(worker->env->log, LOG_ERROR, "event=read_failed code=%s msg=\"%s\"", err_name(code), error.text);
    worker->damage = error;
    return code;
}

/* Like get_value, but in the state that `iter` sees. */
static enum err value_at(struct read_worker *worker, const struct expiry_view *view, struct engine_iter *iter,
                         struct bytes key, struct bytes *ret_value)
{
    uint64_t left_ms;
    struct engine *engine = worker->env->engine;
    struct error error = {0};
    engine_iter_seek(engine, iter, key);
    enum err code = engine_iter_error(engine, iter, &error);
    struct bytes value = bytes_empty();
    if (code == ERR_OK && !(engine_iter_valid(engine, iter) && bytes_equal(engine_iter_key(engine, iter), key)))
        return ERR_NOT_FOUND;
    if (code == ERR_OK)
        code = expiry_look(worker->env, view, engine_iter_value(engine, iter), &value, &left_ms);
    if (code == ERR_NOT_FOUND || code == ERR_NOT_READY)
        return code;
    if (code != ERR_OK) {
        log_event(worker->env->log, LOG_ERROR, "event=read_failed code=%s msg=\"%s\"", err_name(code), error.text);
        worker->damage = error;
        return code;
    }
    *ret_value = arena_copy(replies_arena(worker->replies), value);
    if (!ret_value->data)
        *ret_value = bytes_of("", 0);
    return ERR_OK;
}

/* One state for all keys: a batch write is seen as a whole or not at all. */
static enum err batch_get(struct read_worker *worker, const struct wire_kv_request *request,
                          const struct expiry_view *view, struct wire_kv_reply *reply)
{
    struct arena *arena = replies_arena(worker->replies);
    struct engine *engine = worker->env->engine;
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
    enum err code = ERR_OK;
    size_t size = 0;
    reply->pairs = arena_alloc(arena, request->pairs_count * sizeof *reply->pairs);
    for (uint32_t i = 0; i < request->pairs_count && code == ERR_OK && !reply->more; i++) {
        struct wire_kv_pair *pair = &reply->pairs[i];
        pair->key = arena_copy(arena, request->pairs[i].key);
        code = value_at(worker, view, iter, pair->key, &pair->value);
        pair->remove = code == ERR_NOT_FOUND;
        code = pair->remove ? ERR_OK : code;
        size += PAIR_SIZE + pair->key.size + pair->value.size;
        reply->pairs_count = i + 1;
        /* the client asks again for the keys that are missing */
        reply->more = size > worker->limits.scan_size_max && i + 1 < request->pairs_count;
    }
    engine_iter_free(engine, iter);
    return code;
}

/* The part of [start, end) that lies in the region; an empty end is open. */
static void clamp(const struct read_request *read, struct bytes *start, struct bytes *end)
{
    if (bytes_compare(*start, read->region_start) < 0)
        *start = read->region_start;
    if (read->region_end.size > 0 && (end->size == 0 || bytes_compare(*end, read->region_end) > 0))
        *end = read->region_end;
}

/* Where a scan that stops before `key` goes on: forward at that key, backward right behind it. */
static struct bytes scan_next(struct arena *arena, bool reverse, struct bytes key)
{
    uint8_t *next = arena_alloc(arena, key.size + 1); /* zeroed */
    memcpy(next, key.data, key.size);
    return bytes_of(next, key.size + reverse);
}

static enum err scan(struct read_worker *worker, const struct read_request *read, const struct expiry_view *view,
                     struct wire_kv_reply *reply)
{
    const struct wire_kv_request *request = read->request;
    struct engine *engine = worker->env->engine;
    struct arena *arena = replies_arena(worker->replies);
    struct bytes start = request->reverse ? request->end_key : request->key;
    struct bytes end = request->reverse ? request->key : request->end_key;
    clamp(read, &start, &end);
    if (end.size > 0 && bytes_compare(start, end) >= 0)
        return ERR_OK;
    uint32_t limit = request->limit ? request->limit : SCAN_LIMIT_DEFAULT;
    if (limit > worker->limits.scan_limit_max)
        limit = worker->limits.scan_limit_max;
    uint64_t size_max = request->limit_size && request->limit_size < worker->limits.scan_size_max
                            ? request->limit_size
                            : worker->limits.scan_size_max;
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, start, end);
    if (request->reverse)
        engine_iter_seek_for_previous(engine, iter, end);
    else
        engine_iter_seek(engine, iter, start);
    uint32_t capacity = 0, expired_count = 0;
    size_t size = 0;
    enum err code = ERR_OK;
    for (; code == ERR_OK && engine_iter_valid(engine, iter);
         request->reverse ? engine_iter_previous(engine, iter) : engine_iter_next(engine, iter)) {
        struct bytes key = engine_iter_key(engine, iter), value;
        uint64_t left_ms;
        if (reply->pairs_count >= limit || (reply->pairs_count > 0 && size >= size_max) ||
            expired_count >= EXPIRED_COUNT_MAX) {
            reply->more = true;
            reply->next_key = scan_next(arena, request->reverse, key);
            break;
        }
        code = expiry_look(worker->env, view, engine_iter_value(engine, iter), &value, &left_ms);
        if (code == ERR_NOT_FOUND) {
            expired_count++;
            code = ERR_OK;
            continue;
        }
        if (code != ERR_OK)
            break;
        if (reply->pairs_count == capacity) {
            struct wire_kv_pair *old = reply->pairs;
            capacity = capacity ? capacity * 2 : 16;
            reply->pairs = arena_alloc(arena, capacity * sizeof *reply->pairs);
            if (old)
                memcpy(reply->pairs, old, reply->pairs_count * sizeof *old);
        }
        struct wire_kv_pair *pair = &reply->pairs[reply->pairs_count++];
        pair->key = arena_copy(arena, key);
        if (!request->keys_only) {
            pair->value = arena_copy(arena, value);
            if (!pair->value.data)
                pair->value = bytes_of("", 0);
        }
        size += PAIR_SIZE + pair->key.size + pair->value.size;
    }
    struct error error = {0};
    if (code == ERR_OK)
        code = engine_iter_error(engine, iter, &error);
    if (code != ERR_OK && code != ERR_NOT_READY)
        log_event(worker->env->log, LOG_ERROR, "event=scan_failed code=%s msg=\"%s\"", err_name(code), error.text);
    worker->damage = error;
    engine_iter_free(engine, iter);
    return code;
}

bool read_request_is_outdated(const struct read_request *read)
{
    return read->watched && atomic_load_explicit(read->watched, memory_order_acquire) != read->watched_was;
}

static void run(struct read_worker *worker, const struct read_task *task, const struct read_request *read,
                uint64_t now_us)
{
    const struct wire_kv_request *request = read->request;
    struct wire_kv_reply reply = {0};
    bool stale = request->read_mode == WIRE_READ_MODE_STALE;
    const struct expiry_view view = {.now_ms = read->time_ms,
                                     .clock_ms = clock_wall_ms(worker->env->clock),
                                     .region = request->region_id,
                                     .owner = stale ? NULL : task->owner};
    uint64_t left_ms = 0;
    enum err code;
    if (read->expire_us != 0 && now_us >= read->expire_us)
        code = ERR_DEADLINE;
    else if (request->op == WIRE_KV_OP_GET)
        code = get_value(worker, &view, request->key, &reply.value, &left_ms);
    else if (request->op == WIRE_KV_OP_TTL) {
        code = get_value(worker, &view, request->key, &reply.value, &reply.ttl_ms);
        reply.value = bytes_empty();
    } else if (request->op == WIRE_KV_OP_BATCH_GET)
        code = batch_get(worker, request, &view, &reply);
    else if (request->op == WIRE_KV_OP_CHECKSUM && worker->sums_under_way < SUMS_MAX) {
        range_sum_start(worker->env, worker, worker->replies, read, &view, &worker->sums_under_way);
        return;
    } else if (request->op == WIRE_KV_OP_CHECKSUM) {
        code = ERR_BUSY;
        reply.wait_ms = SUMS_WAIT_MS;
    } else
        code = scan(worker, read, &view, &reply);
    if (code == ERR_NOT_READY)
        reply = (struct wire_kv_reply){.wait_ms = EXPIRY_WAIT_MS};
    if (code == ERR_CORRUPT && BUG(damaged_row_reads_as_absent))
        code = request->op == WIRE_KV_OP_GET ? ERR_NOT_FOUND : ERR_OK;
    if (code == ERR_CORRUPT) {
        code = read_worker_damaged(worker, request->region_id, worker->damage.text);
        reply = (struct wire_kv_reply){.wait_ms = READ_NOT_READY_WAIT_MS};
    }
    if (read_request_is_outdated(read)) {
        reply = (struct wire_kv_reply){.wait_ms = READ_NOT_READY_WAIT_MS};
        code = ERR_NOT_READY;
    }
    reply.code = (uint16_t)code;
    replies_add(worker->replies, read->to, &reply);
}

static void on_message(void *state, struct message *take_message)
{
    struct read_worker *worker = state;
    if (take_message->kind == READ_WORKER_JOB) {
        struct read_job *job = (struct read_job *)take_message;
        job->run(job);
        return;
    }
    struct read_task *task = (struct read_task *)take_message;
    uint64_t now_us = clock_now_us(worker->env->clock);
    for (const struct read_request *read = task->first; read; read = read->next) {
        run(worker, task, read, now_us);
        if (replies_are_many(worker->replies))
            replies_flush(worker->replies); /* thousands of scans may have come in one frame */
    }
    atomic_fetch_sub_explicit(&worker->waiting, task->keys_count, memory_order_relaxed);
    read_task_free(task);
}

static void on_round(void *state)
{
    struct read_worker *worker = state;
    replies_flush(worker->replies);
}

enum err read_worker_new(struct env *env, const struct read_limits *limits, struct read_worker **ret_worker)
{
    static const struct actor_ops ops = {.on_message = on_message, .on_round = on_round};
    struct read_worker *worker = calloc(1, sizeof *worker);
    CHECK(worker);
    worker->env = env;
    worker->limits = *limits;
    if (worker->limits.scan_size_max > REPLY_SIZE_MAX)
        worker->limits.scan_size_max = REPLY_SIZE_MAX;
    worker->replies = replies_new(env);
    buf_init(&worker->row, ROW_HEADER_SIZE_MAX + VALUE_SIZE_MAX);
    enum err code = executor_spawn(env->executor, "read", &ops, worker, UINT32_MAX, &worker->actor);
    if (code != ERR_OK) {
        read_worker_free(worker);
        return code;
    }
    *ret_worker = worker;
    return ERR_OK;
}

void read_worker_free(struct read_worker *worker)
{
    if (!worker)
        return;
    replies_free(worker->replies);
    buf_fini(&worker->row);
    free(worker);
}
