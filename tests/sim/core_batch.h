/* core_batch: `polder sim --core`: groups of the Raft core alone in random worlds (raft_world.h), with what clusters do
 * not do yet: members that come and go, learners, snapshots. A process for each seed. */
#ifndef SIM_CORE_BATCH_H
#define SIM_CORE_BATCH_H

#include "batch.h"

/* Looks at seeds, jobs, bug and quiet. The exit code. */
int core_batch_run(const struct batch_settings *settings);

#endif
