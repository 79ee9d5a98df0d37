/* log_worker: one synced write for many groups.
 *
 * The actor that owns groups puts everything that a round must make durable into one log_task: the changes, the frames
 * that may leave only afterwards (votes, acknowledgements), and what to tell the groups. The log worker merges all
 * tasks that waited while the disk was busy into one write, syncs once, sends the frames, and gives the tasks back.
 *
 * A failed write is final: the task comes back with its error, no frame of it is sent, and the node stops.
 *
 * Owner: an actor of its own; it may wait for the disk. Tasks belong to who fills them, then to the worker between post
 * and completion, then to the owner again. */
#ifndef GROUP_LOG_WORKER_H
#define GROUP_LOG_WORKER_H

#include "base/types.h"
#include "env/engine.h"
#include "env/env.h"
#include "env/executor.h"
#include "env/transport.h"
#include "group/write_counts.h"
#include "raft/raft.h"

enum { LOG_OWN_MESSAGES_MAX = 4 };

/* One append of one group, to be acknowledged in order: its messages to itself, then its token. */
struct log_append {
    uint64_t group_id;
    struct raft_token token;
    bool host_only; /* not the core's: the host wants to know that its rows are durable */
    uint32_t own_count;
    struct raft_message own[LOG_OWN_MESSAGES_MAX];
};

struct log_send {
    conn_id conn;
    struct frame *frame; /* owned */
};

struct log_task {
    struct message message;
    struct env *env;     /* borrowed */
    struct actor *owner; /* gets the task back, ... */
    uint32_t done_kind;  /* ... as a message of this kind */
    struct engine_batch *batch;
    bool sync;
    struct log_append *appends; /* to hand to raft_appended */
    uint32_t append_count, append_capacity;
    struct log_send *sends;
    uint32_t send_count, send_capacity;
    void *user;      /* the owner's own */
    enum err result; /* set by the worker */
    struct error error;
};

struct log_worker;

/* `task_max`: tasks per merged write. */
enum err log_worker_new(struct env *env, uint32_t task_max, struct log_worker **ret_worker);
const struct write_counts *log_worker_counts(const struct log_worker *worker); /* any thread */
void log_worker_free(struct log_worker *worker); /* after the executor has stopped; NULL is fine */

struct log_task *log_task_new(struct env *env, struct actor *owner, uint32_t done_kind);
void log_task_free(struct log_task *task);  /* drops frames that were not sent */
void log_task_reset(struct log_task *task); /* for another round */
/* Zeroed but for the arguments; lent until the next add. */
struct log_append *log_task_add_append(struct log_task *task, uint64_t group_id, struct raft_token token);
/* Takes the frame; it leaves once the task is durable. */
void log_task_add_send(struct log_task *task, conn_id conn, struct frame *take_frame);
/* Never refused: an owner has a bounded number of tasks. */
void log_worker_post(struct log_worker *worker, struct log_task *take_task);

#endif
