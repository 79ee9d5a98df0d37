/* apply_worker: committed entries to the state machine, batch by batch.
 *
 * A task is what its user makes it: `apply` puts the changes of one group's committed entries into the round's batch
 * (what it must read may still be in there: engine_batch_find), `done` answers those who wait and tells the
 * owner. The worker merges the tasks of a round into one write. It is not synced: the log is, and after a crash the
 * entries behind the durable apply state are applied again.
 *
 * Owner: an actor of its own; it may wait for the disk. State touched by `apply` and `done` belongs to this actor. */
#ifndef GROUP_APPLY_WORKER_H
#define GROUP_APPLY_WORKER_H

#include "env/engine.h"
#include "env/env.h"
#include "env/executor.h"
#include "group/write_counts.h"

struct apply_worker;

struct apply_task {
    struct message message; /* free: drops the task unapplied */
    /* Adds its changes to the worker's batch (apply_worker_batch). */
    void (*apply)(struct apply_task *task, struct apply_worker *worker);
    bool alone; /* written before anything that comes after it is applied: `done` sees the engine as of this task */
    /* The changes are written (`code` ERR_OK) or not (the node stops). Takes the task. */
    void (*done)(struct apply_task *take_task, enum err code);
};

struct apply_worker_options {
    size_t batch_size_max; /* bytes, then the batch is written before the round ends: 0 is 4 MiB */
    void *context;
    void (*on_round)(void *context); /* after all `done` of a round: flush replies; may be NULL */
};

enum err apply_worker_new(struct env *env, const struct apply_worker_options *options,
                          struct apply_worker **ret_worker);
const struct write_counts *apply_worker_counts(const struct apply_worker *worker); /* any thread */
void apply_worker_free(struct apply_worker *worker); /* after the executor has stopped; NULL is fine */
/* Never refused: the number of tasks is bounded by what groups may have committed and not applied. */
void apply_worker_post(struct apply_worker *worker, struct apply_task *take_task);

/* For `apply`: */
struct engine_batch *apply_worker_batch(struct apply_worker *worker);
/* What is in the batch now must be durable before any `done` says so. */
void apply_worker_sync(struct apply_worker *worker);
/* Something went wrong in the middle of an entry: the batch is half of it and must never be written, nor anything after
 * it. Comes to every `done` from now on; the node stops. */
void apply_worker_fail(struct apply_worker *worker, enum err code);
struct env *apply_worker_env(struct apply_worker *worker);

#endif
