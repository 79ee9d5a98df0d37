/* inline_exec: an executor for tests of one actor or two: what is posted waits until inline_exec_run, which handles all
 * of it, round by round, in the caller's thread. Timers fire when inline_exec_fire says so, all of them. */
#ifndef UNIT_INLINE_EXEC_H
#define UNIT_INLINE_EXEC_H

#include <stdbool.h>

#include "base/check.h"
#include "env/executor.h"

enum { INLINE_ACTORS_MAX = 8 };

struct actor {
    const struct actor_ops *ops;
    void *state;
    struct message *first, **last;
    struct message *timers, **last_timer;
};

struct inline_exec {
    struct executor base; /* first */
    struct actor actors[INLINE_ACTORS_MAX];
    uint32_t actor_count;
    enum err spawn_code; /* what the next spawn says */
    uint32_t lazy_count; /* posts that woke nobody */
};

static inline enum err inline_spawn(struct executor *base, const char *name, const struct actor_ops *ops, void *state,
                                    uint32_t mailbox_max, struct actor **ret_actor)
{
    struct inline_exec *exec = (struct inline_exec *)base;
    (void)name, (void)mailbox_max;
    if (exec->spawn_code != ERR_OK)
        return exec->spawn_code;
    CHECK(exec->actor_count < INLINE_ACTORS_MAX);
    struct actor *actor = &exec->actors[exec->actor_count++];
    *actor = (struct actor){.ops = ops, .state = state};
    actor->last = &actor->first;
    actor->last_timer = &actor->timers;
    *ret_actor = actor;
    return ERR_OK;
}

static inline void inline_post_must(struct executor *base, struct actor *actor, struct message *take_message)
{
    (void)base;
    take_message->next = NULL;
    *actor->last = take_message;
    actor->last = &take_message->next;
}

static inline void inline_post_lazy(struct executor *base, struct actor *actor, struct message *take_message)
{
    ((struct inline_exec *)base)->lazy_count++;
    inline_post_must(base, actor, take_message);
}

static inline enum err inline_post(struct executor *base, struct actor *actor, struct message *take_message)
{
    inline_post_must(base, actor, take_message);
    return ERR_OK;
}

static inline void inline_post_after(struct executor *base, struct actor *actor, uint64_t delay_us,
                                     struct message *take_message)
{
    (void)base, (void)delay_us;
    take_message->next = NULL;
    *actor->last_timer = take_message;
    actor->last_timer = &take_message->next;
}

static inline void inline_exec_init(struct inline_exec *exec)
{
    static const struct executor_ops ops = {.spawn = inline_spawn,
                                            .post = inline_post,
                                            .post_must = inline_post_must,
                                            .post_lazy = inline_post_lazy,
                                            .post_after = inline_post_after};
    *exec = (struct inline_exec){.base = {.ops = &ops}};
}

/* One round of `actor`: false if nothing waited. */
static inline bool inline_exec_round(struct actor *actor)
{
    struct message *message = actor->first;
    actor->first = NULL;
    actor->last = &actor->first;
    if (!message)
        return false;
    while (message) {
        struct message *next = message->next;
        actor->ops->on_message(actor->state, message);
        message = next;
    }
    if (actor->ops->on_round)
        actor->ops->on_round(actor->state);
    return true;
}

static inline void inline_exec_run(struct inline_exec *exec)
{
    for (bool busy = true; busy;) {
        busy = false;
        for (uint32_t i = 0; i < exec->actor_count; i++)
            busy |= inline_exec_round(&exec->actors[i]);
    }
}

/* The timers that are set now; those they set wait for the next time. */
static inline void inline_exec_fire(struct inline_exec *exec)
{
    for (uint32_t i = 0; i < exec->actor_count; i++) {
        struct actor *actor = &exec->actors[i];
        if (!actor->timers)
            continue;
        *actor->last = actor->timers;
        actor->last = actor->last_timer;
        actor->timers = NULL;
        actor->last_timer = &actor->timers;
    }
}

/* What is still waiting is dropped. */
static inline void inline_exec_fini(struct inline_exec *exec)
{
    inline_exec_fire(exec);
    for (uint32_t i = 0; i < exec->actor_count; i++)
        for (struct message *message = exec->actors[i].first, *next; message; message = next) {
            next = message->next;
            message_free(message);
        }
}

#endif
