/* exec_threads: the executor of production: one thread per actor.
 *
 * A mailbox is a list behind a mutex. The actor's thread takes the whole list at once (one lock a round, not one a
 * message), handles it, calls on_round, looks again. It is woken only when it sleeps. Timers wait in a heap of the
 * actor and are handled by the same thread: no thread of their own, nothing to do while nothing is due.
 *
 *   post, post_must, post_after   any thread
 *   on_message, on_round          the actor's own thread, or for a brief one that of who posts; never two at a time
 *   spawn                         any thread, actors included
 *   stop, free                    not an actor's thread (it would wait for itself)
 *
 * Messages of the round that is being handled still count as waiting until the round is over.
 * A message that is dropped at stop is freed by the stopping thread. */
#ifndef ENV_EXEC_THREADS_H
#define ENV_EXEC_THREADS_H

#include "env/executor.h"

struct exec_threads_options {
    uint32_t round_count_max; /* messages before on_round comes, however many wait; 0: 1024 */
};

/* `options` may be NULL. */
enum err exec_threads_new(const struct exec_threads_options *options, struct executor **ret_executor,
                          struct error *err);
/* After it returns no on_message, on_round will be called, all threads are joined, and what waited is freed. Handles
 * stay valid until exec_threads_free: actor_post says ERR_CLOSED, the other two free what they get. Twice is fine. */
void exec_threads_stop(struct executor *executor);
void exec_threads_free(struct executor *executor); /* stops first; NULL is fine */

/* Brackets the work of a thread that is no actor's and never waits (a callback of nng). A brief actor that sleeps and is
 * posted to in between is not woken: this thread runs its rounds at the end, where nothing may be locked. */
void exec_threads_lend_begin(void);
void exec_threads_lend_end(void);

/* For /metrics: called once per actor, in order of spawning. Counters only grow; `waiting_count` is of this moment. */
struct exec_threads_stats {
    const char *name;
    uint32_t waiting_count;
    uint32_t waiting_count_max; /* the mailbox_max */
    uint64_t message_count;
    uint64_t round_count;
    uint64_t refused_count; /* posts that got ERR_BUSY */
};
void exec_threads_each(struct executor *executor, void (*visit)(void *context, const struct exec_threads_stats *stats),
                       void *context);

#endif
