#include "log_worker.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "group/disk_wait.h"

enum { LOG_WORKER_TASK, LOG_WORKER_RETRY };

struct log_worker {
    struct env *env;
    struct actor *actor;
    struct write_counts counts;
    struct engine_batch *merged;
    struct message *first, **last; /* tasks of this round, in order */
    uint32_t task_count, task_max;
    bool failed; /* a write failed: everything later fails too */
    bool full;   /* the disk is: tasks wait, and are tried again after a while */
    struct error error;
};

/* Grows an array that holds `count` items so that one more fits. */
static void *room_for_one(void *items, uint32_t count, uint32_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? *capacity * 2 : 16;
    items = realloc(items, *capacity * item_size);
    CHECK(items);
    return items;
}

static void free_task_message(struct message *message)
{
    log_task_free((struct log_task *)message);
}

struct log_task *log_task_new(struct env *env, struct actor *owner, uint32_t done_kind)
{
    struct log_task *task = calloc(1, sizeof *task);
    CHECK(task);
    *task = (struct log_task){.message = {.free = free_task_message},
                              .env = env,
                              .owner = owner,
                              .done_kind = done_kind,
                              .batch = engine_batch_new(env->engine)};
    return task;
}

void log_task_reset(struct log_task *task)
{
    for (uint32_t i = 0; i < task->send_count; i++)
        frame_unref(task->sends[i].frame);
    task->send_count = 0;
    task->append_count = 0;
    task->sync = false;
    task->user = NULL;
    task->result = ERR_OK;
    engine_batch_clear(task->env->engine, task->batch);
}

void log_task_free(struct log_task *task)
{
    if (!task)
        return;
    for (uint32_t i = 0; i < task->send_count; i++)
        frame_unref(task->sends[i].frame);
    engine_batch_free(task->env->engine, task->batch);
    free(task->sends);
    free(task->appends);
    free(task);
}

struct log_append *log_task_add_append(struct log_task *task, uint64_t group_id, struct raft_token token)
{
    task->appends = room_for_one(task->appends, task->append_count, &task->append_capacity, sizeof *task->appends);
    struct log_append *append = &task->appends[task->append_count++];
    append->group_id = group_id;
    append->token = token;
    append->host_only = false;
    append->own_count = 0;
    return append;
}

void log_task_add_send(struct log_task *task, conn_id conn, struct frame *take_frame)
{
    task->sends = room_for_one(task->sends, task->send_count, &task->send_capacity, sizeof *task->sends);
    task->sends[task->send_count++] = (struct log_send){.conn = conn, .frame = take_frame};
}

/* One write for tasks[0..], synced if any of them asks for it. */
static enum err write_tasks(struct log_worker *worker, struct error *error)
{
    struct engine *engine = worker->env->engine;
    struct log_task *only = worker->task_count == 1 ? (struct log_task *)worker->first : NULL;
    struct engine_batch *batch = only ? only->batch : worker->merged;
    bool sync = false;
    for (struct message *message = worker->first; message; message = message->next) {
        struct log_task *task = (struct log_task *)message;
        sync |= task->sync && !BUG(skip_fsync);
        if (!only)
            engine_batch_append(engine, worker->merged, task->batch);
    }
    enum err code = ERR_OK;
    if (engine_batch_count(engine, batch) > 0) {
        uint64_t begun_us = clock_now_us(worker->env->clock);
        code = engine_write(engine, batch, sync, error);
        write_counts_add(&worker->counts, worker->task_count, clock_now_us(worker->env->clock) - begun_us);
    }
    engine_batch_clear(engine, worker->merged);
    return code;
}

/* A follower has said what it had to say (the frames); its own core may learn of it later. A leader or candidate counts
 * itself by its messages to itself. */
static bool nobody_waits(const struct log_task *task)
{
    if (task->result != ERR_OK || task->append_count == 0)
        return false;
    for (uint32_t i = 0; i < task->append_count; i++)
        if (task->appends[i].own_count > 0 || task->appends[i].token.snapshot_index != 0)
            return false;
    return true;
}

static void complete(struct log_worker *worker, struct log_task *task)
{
    if (task->result == ERR_OK) {
        for (uint32_t i = 0; i < task->send_count; i++)
            transport_send(worker->env->transport, task->sends[i].conn, task->sends[i].frame);
        task->send_count = 0;
    }
    task->message.kind = task->done_kind;
    if (nobody_waits(task))
        actor_post_lazy(worker->env->executor, task->owner, &task->message);
    else
        actor_post_must(worker->env->executor, task->owner, &task->message);
}

static void flush(struct log_worker *worker)
{
    if (worker->task_count == 0 || worker->full)
        return;
    if (!worker->failed) {
        enum err code = write_tasks(worker, &worker->error);
        if (code == ERR_DISK_FULL) {
            worker->full = true;
            disk_wait_post(worker->env, worker->actor, LOG_WORKER_RETRY);
            return;
        }
        if (code != ERR_OK) {
            worker->failed = true;
            worker->error.code = code;
            log_event(worker->env->log, LOG_ERROR, "event=log_write_failed code=%s msg=\"%s\"", err_name(code),
                      worker->error.text);
        }
    }
    struct message *message = worker->first;
    worker->first = NULL;
    worker->last = &worker->first;
    worker->task_count = 0;
    while (message) {
        struct log_task *task = (struct log_task *)message;
        message = message->next;
        task->result = worker->failed ? worker->error.code : ERR_OK;
        if (worker->failed)
            task->error = worker->error;
        complete(worker, task);
    }
}

static void on_message(void *state, struct message *take_message)
{
    struct log_worker *worker = state;
    if (take_message->kind == LOG_WORKER_RETRY) {
        worker->full = false;
        message_free(take_message);
        return;
    }
    take_message->next = NULL;
    *worker->last = take_message;
    worker->last = &take_message->next;
    if (++worker->task_count >= worker->task_max)
        flush(worker);
}

static void on_round(void *state)
{
    flush(state);
}

enum err log_worker_new(struct env *env, uint32_t task_max, struct log_worker **ret_worker)
{
    static const struct actor_ops ops = {.on_message = on_message, .on_round = on_round};
    struct log_worker *worker = calloc(1, sizeof *worker);
    CHECK(worker);
    worker->env = env;
    worker->task_max = task_max;
    worker->last = &worker->first;
    worker->merged = engine_batch_new(env->engine);
    enum err code = executor_spawn(env->executor, "log", &ops, worker, UINT32_MAX, &worker->actor);
    if (code != ERR_OK) {
        log_worker_free(worker);
        return code;
    }
    *ret_worker = worker;
    return ERR_OK;
}

const struct write_counts *log_worker_counts(const struct log_worker *worker)
{
    return &worker->counts;
}

void log_worker_free(struct log_worker *worker)
{
    if (!worker)
        return;
    for (struct message *message = worker->first, *next; message; message = next) {
        next = message->next;
        message_free(message);
    }
    engine_batch_free(worker->env->engine, worker->merged);
    free(worker);
}

void log_worker_post(struct log_worker *worker, struct log_task *take_task)
{
    take_task->message.kind = LOG_WORKER_TASK;
    actor_post_must(worker->env->executor, worker->actor, &take_task->message);
}
