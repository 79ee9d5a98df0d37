/* exec_sim: one seeded heap of events, and the processes that live on it.
 *
 * A `sim` is the world's time. A `sim_node` is a process on it: it has an executor and a clock (the two fillings of
 * env/executor.h and env/clock.h), can be killed and started again, paused and resumed. Everything happens in the
 * thread that calls sim_step; two runs with one seed do the same things in the same order, and sim_digest proves it.
 *
 * How an executor of threads is modelled:
 *   - A post puts the message into the mailbox at once, as a mutex would. What is random is when the actor wakes up
 *     (`wake_*`, now and then `stall_*`) and how many of the waiting messages its round takes (at least one), so
 *     every interleaving of threads that a kernel could choose can come up.
 *   - A handler that waits for the disk calls sim_wait (the engine's hook does): the actor's own time moves on, what it
 *     posts or sends from then on leaves at that later time, and its next round begins no earlier.
 *   - Killing a node at time T drops what it would have done after T, also the part of a handler that has been run
 *     already but whose own time is later than T.
 *   - A paused node runs nothing; what falls due waits, and its clock has jumped when it goes on.
 *
 * Invariants:
 *   S1 heap time never goes back;  S2 messages of one poster to one actor arrive in order;  S3 no event of a dead
 *   generation runs;  S4 the mailbox bound counts what is waiting and what is on its way.
 *
 * Owner: one thread. */
#ifndef SIM_EXEC_SIM_H
#define SIM_EXEC_SIM_H

#include <stdio.h>

#include "base/rng.h"
#include "env/clock.h"
#include "env/executor.h"

struct sim;
struct sim_node;

/* How threads and timers behave; drawn per seed by whoever makes the world. */
struct sim_timing {
    uint32_t wake_max_us;      /* post to round: 1 us .. this */
    uint32_t stall_per_100000; /* chance that a wake-up takes up to stall_max_us instead */
    uint32_t stall_max_us;
    uint32_t timer_late_max_us;
    uint32_t round_cost_max_us; /* CPU time of a round */
    uint32_t take_all_percent;  /* chance that a round takes all that waits; else a random share */
};

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim);                 /* all nodes must be dead and reaped; NULL is fine */
struct sim_timing *sim_timing(struct sim *sim); /* may be changed at any time */
struct rng *sim_rng(struct sim *sim);           /* for whoever schedules (net, faults); one stream, in event order */

/* Time since the start. Inside a handler (or between enter and leave) that waited it is the handler's own, later time.
 */
uint64_t sim_now_ns(const struct sim *sim);
uint64_t sim_now_us(const struct sim *sim);
uint64_t sim_heap_ns(const struct sim *sim); /* time of the event that runs: never the handler's own */

/* Runs the next event. False: nothing is left. */
bool sim_step(struct sim *sim);
/* Runs all events up to that time; heap time is `until_ns` then. */
void sim_run_until(struct sim *sim, uint64_t until_ns);
uint64_t sim_next_ns(const struct sim *sim); /* time of the next event, UINT64_MAX if none */
/* Whose event the last step ran; NULL: the world's own, or one that died. */
struct sim_node *sim_last_node(const struct sim *sim);
/* The actor whose round it was; NULL: it was no round. */
const char *sim_last_actor(const struct sim *sim);
uint64_t sim_event_count(const struct sim *sim);
/* Rounds of one actor in one second of the heap's time for which only its timers woke it: the most so far, and whose it
 * was ("s2 region"). A program that waits for something by asking again and again shows here. */
uint32_t sim_most_idle_rounds(const struct sim *sim, const char **ret_name);
/* Wake-ups that took up to stall_max_us, and when the last of them began. */
uint64_t sim_stall_count(const struct sim *sim, uint64_t *ret_last_ns);
uint64_t sim_digest(const struct sim *sim);
/* Adds to the digest what happened besides the events themselves (payload hashes, fault decisions). */
void sim_digest_add(struct sim *sim, uint64_t value);

/* The node whose code runs now; NULL: the world's own. */
struct sim_node *sim_current(const struct sim *sim);
const char *sim_current_actor(const struct sim *sim); /* "-" outside an actor */
/* The running handler waits: its own time moves on. Outside of any node it does nothing. */
void sim_wait(struct sim *sim, uint64_t wait_us);

/* Is the running handler ahead of the heap? Then what it does to the world must happen at its own time: sim_at. */
bool sim_is_ahead(const struct sim *sim);
/* The handler's own time, and a nanosecond passes, so that the next thing it does comes after this one. */
uint64_t sim_take_now_ns(struct sim *sim);

/* `run(context)` at absolute time `at_ns` (now, if that is past). With a node: in its name, not when it has been killed
 * since, and deferred while it is paused. `drop(context)` instead of run when the event dies; may be NULL. */
void sim_at(struct sim *sim, uint64_t at_ns, struct sim_node *node, void (*run)(void *context),
            void (*drop)(void *context), void *context);

/* From an event of the world: `run(context)` in the name of a node that is up, within the same event. False: it is
 * paused, and nothing was done; sim_at will defer it. */
bool sim_run_as(struct sim_node *node, void (*run)(void *context), void *context);

/* Lines for people: `time node actor text`. NULL sink: off, and then sim_trace costs a branch. */
void sim_set_trace(struct sim *sim, void (*sink)(void *context, const char *line), void *context);
bool sim_traces(const struct sim *sim);
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- nodes */

struct sim_node *sim_node_new(struct sim *sim, const char *name); /* off; lives as long as the sim */
const char *sim_node_name(const struct sim_node *node);
uint32_t sim_node_index(const struct sim_node *node); /* 0, 1, ... in order of creation */
bool sim_node_is_up(const struct sim_node *node);
bool sim_node_is_paused(const struct sim_node *node);
uint64_t sim_node_generation(const struct sim_node *node); /* grows with each start */

/* A new life. The executor of the node is the same pointer in every life; its actors are not. */
void sim_node_start(struct sim_node *node);
/* Nothing of this life happens any more: waiting messages and events are freed, later posts are refused or freed. Then
 * free the program's own memory (as after executor_stop), then sim_node_reap, which frees the actor handles. */
void sim_node_kill(struct sim_node *node);
void sim_node_reap(struct sim_node *node);
void sim_node_pause(struct sim_node *node);
void sim_node_resume(struct sim_node *node);

/* Brackets code of a node that is no actor's (start-up, shutdown, callers of a client). Own time begins at heap time.
 */
void sim_enter(struct sim_node *node);
void sim_leave(struct sim_node *node);

struct executor *sim_node_executor(struct sim_node *node);
struct clock *sim_node_clock(struct sim_node *node);
/* The clock of the node from now on: `rate_ppm` faster (or slower) than the heap, wall time off by `wall_skew_ms`.
 * Monotonic time stays continuous. */
void sim_node_set_clock(struct sim_node *node, int32_t rate_ppm, int64_t wall_skew_ms);
/* Messages that wait in all mailboxes of the node. */
uint64_t sim_node_waiting(const struct sim_node *node);

#endif
