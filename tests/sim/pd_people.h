/* pd_people: those who look after pd: they hand leadership over, and replace a member by one with an empty disk at the same
 * address: remove, wait until it is out, wipe, start with `join`, add. Only what the newest truth says is out is wiped: a
 * voter that forgets is beyond what any protocol bears.
 *
 * In half of the worlds with several pds. Owner: the thread of the world. */
#ifndef SIM_PD_PEOPLE_H
#define SIM_PD_PEOPLE_H

#include "world.h"

struct pd_people;

struct pd_people *pd_people_new(struct world *world); /* begins by itself */
void pd_people_free(struct pd_people *people);
void pd_people_stop(struct pd_people *people);
uint64_t pd_people_replaced_count(const struct pd_people *people); /* members that came back as others */

#endif
