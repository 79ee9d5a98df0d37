/* people: somebody at pd-ctl: drains stores and thinks better of it, cordons, gives labels and weights and rules that use them,
 * announces restarts, scatters, wants regions moved, split and merged, cancels, and lets pd make chaos. Whoever leads pd is
 * asked, and whatever it answers is fine. In worlds where pd decides by itself (swarm.h: scheduling).
 *
 *   P1 what operators that run will still change is counted at their stores, at all times (operator_list_check).
 *
 * Owner: the thread of the world. */
#ifndef SIM_PEOPLE_H
#define SIM_PEOPLE_H

#include "world.h"

struct people;

struct people *people_new(struct world *world);
/* pd decides nothing by itself any more, as soon as somebody leads it to hear that. */
void people_stop(struct people *people);
bool people_are_heard(const struct people *people); /* what people_stop asked for counts, or nothing had to be asked */
uint64_t people_operators(const struct people *people); /* begun by the policies of members that led, as far as seen */
void people_free(struct people *people);                /* NULL is fine */

#endif
