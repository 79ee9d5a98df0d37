/* disk_wait: a worker whose write met a full disk keeps its tasks and tries again after a while.
 *
 * To whoever waits for them it looks like a disk that hangs, and that is what it is: nothing is lost, nothing is
 * promised, and the store gives away what it leads (storenode/store_pairs.h). */
#ifndef GROUP_DISK_WAIT_H
#define GROUP_DISK_WAIT_H

#include "env/env.h"
#include "env/executor.h"

/* A message of this kind comes to `actor` when it is time to try again. */
void disk_wait_post(struct env *env, struct actor *actor, uint32_t kind);

#endif
