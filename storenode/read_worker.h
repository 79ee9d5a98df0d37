/* read_worker: gets and scans, off the region worker and never through the log.
 *
 * A read comes here when its region's leader has made sure that the engine holds everything that was acknowledged
 * before the read began (lease, or ReadIndex and apply). It is answered from the engine as it is then.
 *
 * Owner: an actor of its own; it may wait for the disk. */
#ifndef STORENODE_READ_WORKER_H
#define STORENODE_READ_WORKER_H

#include "base/arena.h"
#include "base/types.h"
#include "env/env.h"
#include "env/executor.h"
#include "storenode/replies.h"

struct read_worker;

struct read_request {
    struct read_request *next;
    struct reply_to to;
    const struct wire_kv_request *request; /* in the task's arena */
    struct bytes region_start, region_end; /* a scan never leaves its region; in the task's arena */
    uint64_t expire_us;                    /* clock_now_us; 0: never */
    uint64_t time_ms;                      /* of the region, when the read may be served */
    const _Atomic uint64_t *watched;       /* NULL, or: what was read counts only if this is ... */
    uint64_t watched_was;                  /* ... still what it was */
};

/* The rows were replaced since the request came: what was read of them may be half old, half new. */
bool read_request_is_outdated(const struct read_request *read);

enum { READ_NOT_READY_WAIT_MS = 50 }; /* what is told then */

/* The reads that became ready in one round. */
struct read_task {
    struct message message;
    struct arena task_arena;
    struct read_request *first, **last;
    uint32_t count;
    uint32_t keys_count; /* that they name: what waits is bounded by these */
    struct actor *owner; /* borrowed; hears of rows that are due (expiry.h); NULL: nobody does */
};

struct read_limits {
    uint32_t scan_limit_max; /* rows */
    uint64_t scan_size_max;  /* bytes */
};

enum err read_worker_new(struct env *env, const struct read_limits *limits, struct read_worker **ret_worker);
/* Who hears of rows that cannot be read: then the read is answered NotReady, not Corrupt. Before anything is posted. */
void read_worker_set_damage(struct read_worker *worker,
                            void (*on_damage)(void *context, region_id region, const char *text), void *context);
/* Tells of it; the code to answer with. */
enum err read_worker_damaged(struct read_worker *worker, region_id region, const char *text);
void read_worker_free(struct read_worker *worker); /* after the executor has stopped; NULL is fine */

struct read_task *read_task_new(void);
void read_task_free(struct read_task *task);
/* Copies the request and the bounds. */
void read_task_add(struct read_task *task, struct reply_to to, const struct wire_kv_request *request,
                   struct bytes region_start, struct bytes region_end, uint64_t expire_us);
/* The read that was added last counts only if `counter`, which outlives it, does not change until it is answered: the
 * rows under it may be replaced by a snapshot. */
void read_task_watch(struct read_task *task, const _Atomic uint64_t *counter);
/* The time of the region for the one that was added last, or for all. */
void read_task_set_time(struct read_task *task, bool all, uint64_t time_ms);
void read_worker_post(struct read_worker *worker, struct read_task *take_task);
/* Keys named by the reads that were posted and are not answered. Any thread. */
uint32_t read_worker_waiting(const struct read_worker *worker);

/* Anything else that has to wait for the disk off the region worker: runs once, on the read worker. */
struct read_job {
    struct message message; /* free: drops the job */
    void (*run)(struct read_job *take_job);
};
void read_worker_post_job(struct read_worker *worker, struct read_job *take_job);

#endif
