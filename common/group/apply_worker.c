#include "apply_worker.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "group/disk_wait.h"

enum { APPLY_WORKER_TASK, APPLY_WORKER_RETRY, BATCH_SIZE_DEFAULT = 4 * 1024 * 1024 };

struct apply_worker {
    struct env *env;
    struct actor *actor;
    struct write_counts counts;
    struct apply_worker_options options;
    struct engine_batch *batch;
    struct message *first, **last;     /* applied, not answered yet */
    uint32_t task_count;               /* of these */
    struct message *held, **held_last; /* not applied: came while the disk is full */
    bool sync;                         /* the batch holds what must not be forgotten by a crash */
    bool full;                         /* the batch waits for room */
    enum err code;                     /* sticky */
};

struct engine_batch *apply_worker_batch(struct apply_worker *worker)
{
    return worker->batch;
}

void apply_worker_sync(struct apply_worker *worker)
{
    worker->sync = true;
}

struct env *apply_worker_env(struct apply_worker *worker)
{
    return worker->env;
}

void apply_worker_fail(struct apply_worker *worker, enum err code)
{
    if (worker->code == ERR_OK)
        worker->code = code;
}

/* Only between tasks: a task's changes and the apply state that goes with them are never apart. False: the disk is full,
 * and the batch waits. */
static bool write_batch(struct apply_worker *worker)
{
    struct engine *engine = worker->env->engine;
    if (engine_batch_count(engine, worker->batch) == 0)
        return true;
    if (worker->code == ERR_OK) {
        struct error error = {0};
        uint64_t begun_us = clock_now_us(worker->env->clock);
        enum err code = engine_write(engine, worker->batch, worker->sync, &error);
        write_counts_add(&worker->counts, worker->task_count, clock_now_us(worker->env->clock) - begun_us);
        if (code == ERR_DISK_FULL)
            return false;
        worker->code = code;
        if (code != ERR_OK)
            log_event(worker->env->log, LOG_ERROR, "event=apply_write_failed code=%s msg=\"%s\"", err_name(code),
                      error.text);
    }
    engine_batch_clear(engine, worker->batch);
    worker->sync = false;
    return true;
}

static void finish(struct apply_worker *worker)
{
    if (worker->full)
        return;
    if (!write_batch(worker)) {
        worker->full = true;
        disk_wait_post(worker->env, worker->actor, APPLY_WORKER_RETRY);
        return;
    }
    struct message *message = worker->first;
    worker->first = NULL;
    worker->last = &worker->first;
    worker->task_count = 0;
    while (message) {
        struct apply_task *task = (struct apply_task *)message;
        message = message->next;
        task->done(task, worker->code);
    }
}

static void apply(struct apply_worker *worker, struct apply_task *take_task)
{
    take_task->apply(take_task, worker);
    take_task->message.next = NULL;
    *worker->last = &take_task->message;
    worker->last = &take_task->message.next;
    worker->task_count++;
    if (take_task->alone || engine_batch_size(worker->env->engine, worker->batch) >= worker->options.batch_size_max)
        finish(worker);
}

static void hold(struct apply_worker *worker, struct message *take_message)
{
    take_message->next = NULL;
    *worker->held_last = take_message;
    worker->held_last = &take_message->next;
}

/* The batch that met a full disk first; then what came meanwhile, until it is full again. */
static void try_again(struct apply_worker *worker)
{
    worker->full = false;
    finish(worker);
    struct message *message = worker->held;
    worker->held = NULL;
    worker->held_last = &worker->held;
    while (message) {
        struct message *next = message->next;
        if (worker->full)
            hold(worker, message);
        else
            apply(worker, (struct apply_task *)message);
        message = next;
    }
}

static void on_message(void *state, struct message *take_message)
{
    struct apply_worker *worker = state;
    if (take_message->kind == APPLY_WORKER_RETRY) {
        message_free(take_message);
        try_again(worker);
    } else if (worker->full) {
        hold(worker, take_message);
    } else {
        apply(worker, (struct apply_task *)take_message);
    }
}

static void on_round(void *state)
{
    struct apply_worker *worker = state;
    finish(worker);
    if (worker->options.on_round)
        worker->options.on_round(worker->options.context);
}

enum err apply_worker_new(struct env *env, const struct apply_worker_options *options, struct apply_worker **ret_worker)
{
    static const struct actor_ops ops = {.on_message = on_message, .on_round = on_round};
    struct apply_worker *worker = calloc(1, sizeof *worker);
    CHECK(worker);
    worker->env = env;
    worker->options = *options;
    if (worker->options.batch_size_max == 0)
        worker->options.batch_size_max = BATCH_SIZE_DEFAULT;
    worker->last = &worker->first;
    worker->held_last = &worker->held;
    worker->batch = engine_batch_new(env->engine);
    enum err code = executor_spawn(env->executor, "apply", &ops, worker, UINT32_MAX, &worker->actor);
    if (code != ERR_OK) {
        apply_worker_free(worker);
        return code;
    }
    *ret_worker = worker;
    return ERR_OK;
}

const struct write_counts *apply_worker_counts(const struct apply_worker *worker)
{
    return &worker->counts;
}

void apply_worker_free(struct apply_worker *worker)
{
    if (!worker)
        return;
    for (struct message *message = worker->first, *next; message; message = next) {
        next = message->next;
        message_free(message);
    }
    for (struct message *message = worker->held, *next; message; message = next) {
        next = message->next;
        message_free(message);
    }
    engine_batch_free(worker->env->engine, worker->batch);
    free(worker);
}

void apply_worker_post(struct apply_worker *worker, struct apply_task *take_task)
{
    take_task->message.kind = APPLY_WORKER_TASK;
    actor_post_must(worker->env->executor, worker->actor, &take_task->message);
}
