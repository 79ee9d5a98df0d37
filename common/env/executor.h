/* executor: actors and the messages between them.
 *
 * An actor owns its state; it handles one message at a time, and after each run of messages it gets one `on_round` call.
 * What arrived while it was busy is the next round: that is how batches clock themselves (a lone message is a round of
 * one and waits for nobody).
 *
 * Production: a thread per actor (but see `brief`). Simulation: one heap of events; a round takes a random share of the waiting messages.
 * Actors that may wait (log, apply and read workers: RocksDB, fsync) are spawned like the others; in the simulator a
 * waiting engine call moves that actor's own time forward, so whatever it posts afterwards leaves later. */
#ifndef ENV_EXECUTOR_H
#define ENV_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Head of every message; the kinds are the receiver's own enum. Whoever holds a message owns it. */
struct message {
    struct message *next; /* for whoever holds it */
    uint32_t kind;
    void (*free)(struct message *message); /* drops it unhandled (shutdown, full mailbox); never NULL */
};

static inline void message_free(struct message *take_message)
{
    if (take_message)
        take_message->free(take_message);
}

struct actor_ops {
    void (*on_message)(void *state, struct message *take_message);
    void (*on_round)(void *state); /* may be NULL */
    bool brief; /* never waits, and its rounds are short: who posts may run them itself, instead of waking a thread */
    bool bulk;  /* long work that nobody waits for: while cores are short, the other actors come first */
};

struct actor; /* handle; valid until executor_stop has returned */

struct executor {
    const struct executor_ops *ops;
};

struct executor_ops {
    enum err (*spawn)(struct executor *executor, const char *name, const struct actor_ops *ops, void *state, uint32_t mailbox_max, struct actor **ret_actor);
    enum err (*post)(struct executor *executor, struct actor *actor, struct message *take_message);
    void (*post_must)(struct executor *executor, struct actor *actor, struct message *take_message);
    void (*post_lazy)(struct executor *executor, struct actor *actor, struct message *take_message);
    void (*post_after)(struct executor *executor, struct actor *actor, uint64_t delay_us, struct message *take_message);
};

/* `state` is borrowed until the executor has stopped. `name` shows in logs and thread names (15 characters). */
static inline enum err executor_spawn(struct executor *executor, const char *name, const struct actor_ops *ops, void *state, uint32_t mailbox_max,
                                      struct actor **ret_actor)
{
    return executor->ops->spawn(executor, name, ops, state, mailbox_max, ret_actor);
}

/* Takes the message on ERR_OK. ERR_BUSY: the mailbox holds `mailbox_max`; ERR_CLOSED: stopping. The caller keeps it then. */
static inline enum err actor_post(struct executor *executor, struct actor *actor, struct message *take_message)
{
    return executor->ops->post(executor, actor, take_message);
}

/* Always takes it: for completions, whose number the asker has bounded already. Freed unhandled when stopping. */
static inline void actor_post_must(struct executor *executor, struct actor *actor, struct message *take_message)
{
    executor->ops->post_must(executor, actor, take_message);
}

/* As actor_post_must, in order with the other posts, but wakes nobody: it is handled with whatever comes next, at the
 * latest when the actor's next timer fires (so the actor must keep one). For completions that nobody waits for: waking a
 * thread costs more than most of them. */
static inline void actor_post_lazy(struct executor *executor, struct actor *actor, struct message *take_message)
{
    executor->ops->post_lazy(executor, actor, take_message);
}

/* A timer is a message. There is no cancel: the receiver ignores what it no longer wants. */
static inline void actor_post_after(struct executor *executor, struct actor *actor, uint64_t delay_us, struct message *take_message)
{
    executor->ops->post_after(executor, actor, delay_us, take_message);
}

#endif
