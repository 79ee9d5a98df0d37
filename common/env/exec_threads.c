#include "env/exec_threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/check.h"

/* A bulk thread gets a third of the time of another that wants the same core, not none: it may hold a lock. */
enum { ROUND_COUNT_MAX_DEFAULT = 1024, THREAD_NAME_SIZE = 16, BULK_NICENESS = 5 };

struct queue {
    struct message *first, *last;
};

struct timer {
    uint64_t due_us;
    uint64_t sequence; /* equal times fire in order of posting */
    struct message *message;
};

struct actor {
    struct exec_threads *executor;
    struct actor *next;
    const struct actor_ops *ops;
    void *state; /* borrowed */
    char name[THREAD_NAME_SIZE];
    uint32_t mailbox_max;
    pthread_t thread;
    atomic_bool is_stopping; /* written under the mutex; read between messages without it */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t wake;
    bool is_sleeping;        /* nobody has woken it yet */
    bool is_lent;            /* another thread runs its rounds */
    bool is_held_up;         /* the thread is awake, and waits for that one to end */
    uint64_t sleep_until_us; /* when the sleeping thread wakes by itself */
    struct queue mailbox;
    uint32_t waiting_count; /* mailbox and backlog */
    struct timer *timers;   /* binary heap, earliest first */
    size_t timer_count, timer_capacity;
    uint64_t timer_sequence;
    uint64_t message_count, round_count, refused_count;

    /* Of whoever runs its rounds. */
    struct queue due;                 /* timers that fired */
    struct queue backlog;             /* swapped out of the mailbox, older than all that is there */
    uint32_t timers_handled, handled; /* not counted yet */
};

struct exec_threads {
    struct executor executor; /* must be first */
    uint32_t round_count_max;
    pthread_mutex_t mutex; /* guards what follows */
    struct actor *first, *last;
    bool is_stopped;
};

static struct exec_threads *self_of(struct executor *executor)
{
    return (struct exec_threads *)executor;
}

static uint64_t monotonic_us(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void queue_push(struct queue *queue, struct message *message)
{
    message->next = NULL;
    if (queue->last)
        queue->last->next = message;
    else
        queue->first = message;
    queue->last = message;
}

static struct message *queue_pop(struct queue *queue)
{
    struct message *message = queue->first;
    if (!message)
        return NULL;
    queue->first = message->next;
    if (!queue->first)
        queue->last = NULL;
    message->next = NULL;
    return message;
}

static void queue_drop(struct queue *queue)
{
    for (struct message *message; (message = queue_pop(queue)) != NULL;)
        message_free(message);
}

static bool timer_is_before(const struct timer *a, const struct timer *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->sequence < b->sequence;
}

static void timer_push(struct actor *actor, struct timer timer)
{
    if (actor->timer_count == actor->timer_capacity) {
        actor->timer_capacity = actor->timer_capacity ? actor->timer_capacity * 2 : 8;
        actor->timers = realloc(actor->timers, actor->timer_capacity * sizeof actor->timers[0]);
        CHECK(actor->timers);
    }
    size_t at = actor->timer_count++;
    while (at > 0 && timer_is_before(&timer, &actor->timers[(at - 1) / 2])) {
        actor->timers[at] = actor->timers[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    actor->timers[at] = timer;
}

static struct message *timer_pop(struct actor *actor)
{
    struct message *message = actor->timers[0].message;
    struct timer moved = actor->timers[--actor->timer_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= actor->timer_count)
            break;
        if (child + 1 < actor->timer_count && timer_is_before(&actor->timers[child + 1], &actor->timers[child]))
            child++;
        if (!timer_is_before(&actor->timers[child], &moved))
            break;
        actor->timers[at] = actor->timers[child];
        at = child;
    }
    actor->timers[at] = moved;
    return message;
}

/* Waits until there may be something to do. Under the mutex. */
static void actor_sleep(struct actor *actor)
{
    actor->is_sleeping = true;
    if (actor->timer_count == 0) {
        actor->sleep_until_us = UINT64_MAX;
        pthread_cond_wait(&actor->wake, &actor->mutex);
    } else {
        uint64_t due_us = actor->sleep_until_us = actor->timers[0].due_us;
        struct timespec until = {.tv_sec = (time_t)(due_us / 1000000u), .tv_nsec = (long)(due_us % 1000000u) * 1000};
        pthread_cond_timedwait(&actor->wake, &actor->mutex, &until);
    }
    while (actor->is_lent) {
        actor->is_held_up = true;
        pthread_cond_wait(&actor->wake, &actor->mutex);
    }
    actor->is_held_up = false;
    actor->is_sleeping = false;
}

/* Fills `due`, and the backlog when it is used up. False: there is nothing. Under the mutex. */
static bool actor_fill(struct actor *actor)
{
    actor->waiting_count -= actor->handled;
    actor->message_count += actor->timers_handled + actor->handled;
    actor->timers_handled = actor->handled = 0;
    if (actor->timer_count > 0)
        for (uint64_t now_us = monotonic_us(); actor->timer_count > 0 && actor->timers[0].due_us <= now_us;)
            queue_push(&actor->due, timer_pop(actor));
    if (!actor->backlog.first) {
        actor->backlog = actor->mailbox;
        actor->mailbox = (struct queue){NULL, NULL};
    }
    bool some = actor->due.first || actor->backlog.first;
    actor->round_count += some;
    return some;
}

static bool actor_is_stopping(const struct actor *actor)
{
    return atomic_load_explicit(&actor->is_stopping, memory_order_relaxed);
}

/* Waits for the next round. False: the actor is stopping. */
static bool actor_collect(struct actor *actor)
{
    pthread_mutex_lock(&actor->mutex);
    while (!actor_is_stopping(actor) && !actor_fill(actor))
        actor_sleep(actor);
    pthread_mutex_unlock(&actor->mutex);
    return !actor_is_stopping(actor);
}

static uint32_t handle_queue(struct actor *actor, struct queue *queue, uint32_t count_max)
{
    uint32_t count = 0;
    while (count < count_max && !actor_is_stopping(actor)) {
        struct message *message = queue_pop(queue);
        if (!message)
            break;
        actor->ops->on_message(actor->state, message);
        count++;
    }
    return count;
}

static void run_round(struct actor *actor)
{
    actor->timers_handled =
        handle_queue(actor, &actor->due, UINT32_MAX); /* first: a long backlog must not delay a tick */
    actor->handled = handle_queue(actor, &actor->backlog, actor->executor->round_count_max);
    if (actor->ops->on_round && !actor_is_stopping(actor))
        actor->ops->on_round(actor->state);
}

static void *actor_run(void *argument)
{
    struct actor *actor = argument;
    if (actor->ops->bulk) /* 0 is the calling thread; who may not be nice is no worse off than before */
        (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + BULK_NICENESS);
    while (actor_collect(actor)) {
        if (actor->ops->brief)
            exec_threads_lend_begin();
        run_round(actor);
        if (actor->ops->brief)
            exec_threads_lend_end();
    }
    return NULL;
}

/* ---- lending: to wake a thread costs more than a short round. So a thread that never waits (nng's callbacks, a brief
 * actor's own) runs, at the end of its work, the rounds of those brief actors that it would have had to wake. Theirs
 * keep sleeping meanwhile, and are held up if they wake by themselves. Threads that may wait must not lend: between the
 * post and the end of their work nobody else can run the actor. */

enum { LENT_ACTORS_MAX = 4, LENT_ROUNDS_MAX = 4 };
static _Thread_local struct {
    uint32_t depth, count;
    struct actor *actors[LENT_ACTORS_MAX];
} lending;

/* Under the mutex of a sleeping actor. True: the caller's thread will run it, and nobody needs to be woken. */
static bool lend_to(struct actor *actor)
{
    if (lending.depth == 0 || !actor->ops->brief || actor->is_lent || lending.count == LENT_ACTORS_MAX)
        return false;
    actor->is_lent = true;
    lending.actors[lending.count++] = actor;
    return true;
}

static void run_lent(struct actor *actor)
{
    for (int i = 0;; i++) {
        pthread_mutex_lock(&actor->mutex);
        bool more = !actor_is_stopping(actor) && actor_fill(actor);
        if (!more || i == LENT_ROUNDS_MAX)
            break;
        pthread_mutex_unlock(&actor->mutex);
        run_round(actor);
    }
    /* Its own thread goes on: now, if there is something to do or it sleeps for too long, else when it is woken. */
    actor->is_lent = false;
    actor->is_sleeping = !actor->is_held_up && !actor_is_stopping(actor) && !actor->due.first &&
                         !actor->backlog.first &&
                         (actor->timer_count == 0 || actor->timers[0].due_us >= actor->sleep_until_us);
    if (!actor->is_sleeping)
        pthread_cond_signal(&actor->wake); /* locked: after it, the actor may be gone */
    pthread_mutex_unlock(&actor->mutex);
}

void exec_threads_lend_begin(void)
{
    lending.depth++;
}

void exec_threads_lend_end(void)
{
    if (lending.depth == 1)
        for (uint32_t i = 0; i < lending.count; i++) /* they may add more */
            run_lent(lending.actors[i]);
    if (--lending.depth == 0)
        lending.count = 0;
}

/* Unlocks; the signal comes after it, so that the woken thread does not run into the lock. */
static void unlock_and_wake(struct actor *actor, bool must_wake)
{
    must_wake = must_wake && actor->is_sleeping;
    if (must_wake) {
        actor->is_sleeping = false; /* one signal is enough, whoever posts before it is awake */
        must_wake = !lend_to(actor);
    }
    pthread_mutex_unlock(&actor->mutex);
    if (must_wake)
        pthread_cond_signal(&actor->wake);
}

static enum err post(struct actor *actor, struct message *take_message, bool must, bool wake)
{
    pthread_mutex_lock(&actor->mutex);
    enum err code = ERR_OK;
    if (atomic_load_explicit(&actor->is_stopping, memory_order_relaxed)) {
        code = ERR_CLOSED;
    } else if (!must && actor->waiting_count >= actor->mailbox_max) {
        actor->refused_count++;
        code = ERR_BUSY;
    } else {
        queue_push(&actor->mailbox, take_message);
        actor->waiting_count++;
    }
    unlock_and_wake(actor, wake && code == ERR_OK);
    return code;
}

static enum err exec_threads_post(struct executor *executor, struct actor *actor, struct message *take_message)
{
    CHECK(actor->executor == self_of(executor));
    return post(actor, take_message, false, true);
}

static void exec_threads_post_must(struct executor *executor, struct actor *actor, struct message *take_message)
{
    CHECK(actor->executor == self_of(executor));
    if (post(actor, take_message, true, true) != ERR_OK)
        message_free(take_message);
}

static void exec_threads_post_lazy(struct executor *executor, struct actor *actor, struct message *take_message)
{
    CHECK(actor->executor == self_of(executor));
    if (post(actor, take_message, true, false) != ERR_OK)
        message_free(take_message);
}

static void exec_threads_post_after(struct executor *executor, struct actor *actor, uint64_t delay_us,
                                    struct message *take_message)
{
    CHECK(actor->executor == self_of(executor));
    uint64_t now_us = monotonic_us();
    uint64_t due_us = delay_us > UINT64_MAX / 2 - now_us ? UINT64_MAX / 2 : now_us + delay_us;
    pthread_mutex_lock(&actor->mutex);
    if (atomic_load_explicit(&actor->is_stopping, memory_order_relaxed)) {
        pthread_mutex_unlock(&actor->mutex);
        message_free(take_message);
        return;
    }
    bool is_first = actor->timer_count == 0 || due_us < actor->timers[0].due_us;
    timer_push(actor, (struct timer){.due_us = due_us, .sequence = actor->timer_sequence++, .message = take_message});
    unlock_and_wake(actor, is_first);
}

static void actor_free(struct actor *actor)
{
    pthread_cond_destroy(&actor->wake);
    pthread_mutex_destroy(&actor->mutex);
    free(actor->timers);
    free(actor);
}

static struct actor *actor_new(struct exec_threads *self, const char *name, const struct actor_ops *ops, void *state,
                               uint32_t mailbox_max)
{
    struct actor *actor = calloc(1, sizeof *actor);
    if (!actor)
        return NULL;
    actor->executor = self;
    actor->ops = ops;
    actor->state = state;
    actor->mailbox_max = mailbox_max;
    snprintf(actor->name, sizeof actor->name, "%.15s", name);
    atomic_init(&actor->is_stopping, false);
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&actor->wake, &attributes) == 0);
    CHECK(pthread_mutex_init(&actor->mutex, NULL) == 0);
    pthread_condattr_destroy(&attributes);
    return actor;
}

static enum err exec_threads_spawn(struct executor *executor, const char *name, const struct actor_ops *ops,
                                   void *state, uint32_t mailbox_max, struct actor **ret_actor)
{
    struct exec_threads *self = self_of(executor);
    struct actor *actor = actor_new(self, name, ops, state, mailbox_max);
    if (!actor)
        return ERR_NO_MEMORY;
    sigset_t all, before;
    sigfillset(&all);
    enum err code = ERR_OK;
    pthread_mutex_lock(&self->mutex);
    *ret_actor = actor; /* before the thread runs: its state may hold the place that is filled here */
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to main */
    if (self->is_stopped)
        code = ERR_CLOSED;
    else if (pthread_create(&actor->thread, NULL, actor_run, actor) != 0)
        code = ERR_NO_MEMORY;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == ERR_OK) {
        pthread_setname_np(actor->thread, actor->name);
        if (self->last)
            self->last->next = actor;
        else
            self->first = actor;
        self->last = actor;
    }
    pthread_mutex_unlock(&self->mutex);
    if (code != ERR_OK) {
        *ret_actor = NULL;
        actor_free(actor);
    }
    return code;
}

static const struct executor_ops ops = {
    .spawn = exec_threads_spawn,
    .post = exec_threads_post,
    .post_must = exec_threads_post_must,
    .post_lazy = exec_threads_post_lazy,
    .post_after = exec_threads_post_after,
};

enum err exec_threads_new(const struct exec_threads_options *options, struct executor **ret_executor, struct error *err)
{
    struct exec_threads *self = calloc(1, sizeof *self);
    if (!self)
        return error_set(err, ERR_NO_MEMORY, "no memory for an executor");
    self->executor.ops = &ops;
    self->round_count_max = options && options->round_count_max ? options->round_count_max : ROUND_COUNT_MAX_DEFAULT;
    CHECK(pthread_mutex_init(&self->mutex, NULL) == 0);
    *ret_executor = &self->executor;
    return ERR_OK;
}

/* What is left when the thread has ended. A message's free may post to an actor: that one is stopping too and refuses.
 */
static void actor_drop_rest(struct actor *actor)
{
    queue_drop(&actor->due);
    queue_drop(&actor->backlog);
    queue_drop(&actor->mailbox);
    actor->waiting_count = 0;
    while (actor->timer_count > 0)
        message_free(timer_pop(actor));
}

void exec_threads_stop(struct executor *executor)
{
    struct exec_threads *self = self_of(executor);
    pthread_mutex_lock(&self->mutex);
    bool was_stopped = self->is_stopped;
    self->is_stopped = true; /* no actor is added from here on */
    pthread_mutex_unlock(&self->mutex);
    if (was_stopped)
        return;
    for (struct actor *actor = self->first; actor; actor = actor->next) {
        CHECK(!pthread_equal(actor->thread, pthread_self()));
        pthread_mutex_lock(&actor->mutex);
        atomic_store(&actor->is_stopping, true);
        unlock_and_wake(actor, true);
    }
    for (struct actor *actor = self->first; actor; actor = actor->next)
        CHECK(pthread_join(actor->thread, NULL) == 0);
    for (struct actor *actor = self->first; actor; actor = actor->next)
        actor_drop_rest(actor);
}

void exec_threads_free(struct executor *executor)
{
    if (!executor)
        return;
    struct exec_threads *self = self_of(executor);
    exec_threads_stop(executor);
    for (struct actor *actor = self->first, *next; actor; actor = next) {
        next = actor->next;
        actor_free(actor);
    }
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

void exec_threads_each(struct executor *executor, void (*visit)(void *context, const struct exec_threads_stats *stats),
                       void *context)
{
    struct exec_threads *self = self_of(executor);
    pthread_mutex_lock(&self->mutex);
    struct actor *first = self->first;
    struct actor *last = self->last;
    pthread_mutex_unlock(&self->mutex);
    for (struct actor *actor = first; actor; actor = actor == last ? NULL : actor->next) {
        pthread_mutex_lock(&actor->mutex);
        struct exec_threads_stats stats = {
            .name = actor->name,
            .waiting_count = actor->waiting_count,
            .waiting_count_max = actor->mailbox_max,
            .message_count = actor->message_count,
            .round_count = actor->round_count,
            .refused_count = actor->refused_count,
        };
        pthread_mutex_unlock(&actor->mutex);
        visit(context, &stats);
    }
}
