/* members: somebody who changes the members of regions all the time: adds learners, promotes them, alone or in the place of
 * a voter, demotes and removes, one at a time and several at once. What the region's leader makes of it is its own
 * business. In half of all worlds.
 *
 * Owner: the thread of the world. */
#ifndef SIM_MEMBERS_H
#define SIM_MEMBERS_H

#include "world.h"

struct members;

struct members *members_new(struct world *world);
void members_stop(struct members *members); /* whatever members there are then, they stay */
void members_free(struct members *members); /* NULL is fine */

#endif
