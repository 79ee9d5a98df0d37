/* check_epoch: a client that slept through a change of regions asks with an old epoch. Until regions change, this makes
 * clients forget what they know: now and then a route becomes one version older than it is.
 *
 *   E1 a store does not carry out, and does not answer, what was meant for a region as it no longer is
 *
 * Owner: the thread of the world. */
#ifndef SIM_CHECK_EPOCH_H
#define SIM_CHECK_EPOCH_H

#include "world.h"

struct check_epoch;
struct frame;

/* Failures are given to world_fail. */
struct check_epoch *check_epoch_new(struct world *world);
void check_epoch_free(struct check_epoch *check);
/* A net_observer. */
void check_epoch_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame);

#endif
