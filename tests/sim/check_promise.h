/* check_promise: what a store says was on its disk before it said so (the disk's durable content is asked, which the
 * store itself cannot see).
 *
 *   P1 a vote that leaves is in the durable hard state of its store, in its term
 *   P2 an acknowledgement that leaves names an entry that is durable there (or truncated), not of a later term, unless
 *      the store is in a later term itself by then
 *   P3 a new life begins with the term, the vote and the log that the disk holds
 *
 * Owner: the thread of the world. */
#ifndef SIM_CHECK_PROMISE_H
#define SIM_CHECK_PROMISE_H

#include "world.h"

struct check_promise;
struct wire_raft_message;

/* Failures are given to world_fail. */
struct check_promise *check_promise_new(struct world *world);
void check_promise_free(struct check_promise *check);

/* A check_raft_listener. */
void check_promise_message(void *context, struct sim_node *from, struct sim_node *to,
                           const struct wire_raft_message *message);
/* After an event of the world itself, not of a node: stores are started by those, and have not run yet. */
void check_promise_births(struct check_promise *check);

#endif
