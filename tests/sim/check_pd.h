/* check_pd: asks pd for what the workload does not need, all the time, and checks the answers.
 *
 *   D1 a timestamp is larger than every one that was answered before it was asked for
 *   D2 an id is given out once;  D3 a timestamp, too
 *   D4 two members that have applied the same have the same truth and the same members
 *
 * Owner: the thread of the world. */
#ifndef SIM_CHECK_PD_H
#define SIM_CHECK_PD_H

#include "world.h"

struct check_pd;

/* Begins to ask at once. Failures are given to world_fail. */
struct check_pd *check_pd_new(struct world *world);
void check_pd_free(struct check_pd *check);
/* A member's actor has just run. */
void check_pd_look(struct check_pd *check, const struct world_node *pd);
void check_pd_stop(struct check_pd *check); /* asks no more: a cluster must be able to settle */

#endif
