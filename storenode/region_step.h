/* region_step: what pd wants done next to a region that is led here.
 *
 *   pd's answer --pd_link--> WORKER_STEPS --> region_step_take --> members, leadership, split or merge, as if people had asked
 *
 * A step is of one epoch: of another one it is nothing any more, because pd decided looking at something else. It is said
 * again until a heartbeat shows it, so what cannot be done now (a learner that is not caught up, a change under way) needs
 * no answer and no memory here.
 *
 * Owner: the region worker of the peer. */
#ifndef STORENODE_REGION_STEP_H
#define STORENODE_REGION_STEP_H

#include "proto/wire.h"

struct peer;

void region_step_take(struct peer *peer, const struct wire_region_step *step);

#endif
