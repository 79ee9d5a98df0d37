/* traps: aimed faults of several steps, for what chance alone hits once in thousands of seeds. On with FAULT_AIMED.
 *
 *   restart    a leader with a lease loses sight of one follower; just before that one campaigns, the other follower
 *              is killed, comes back at once, and cannot hear the leader either
 *   handover   as a leader tells a follower to campaign, or a little before that, it goes deaf to all stores
 *   late       a leader goes deaf, and mute soon after; what it was told meanwhile reaches it once it has a successor
 *   install    a store dies while it installs a snapshot, or just before or after
 *
 * Owner: the thread of the world. */
#ifndef SIM_TRAPS_H
#define SIM_TRAPS_H

#include "faults.h"

struct traps;

struct traps *traps_new(struct world *world, struct faults *faults);
void traps_free(struct traps *traps);
/* A check_raft_listener. */
void traps_see_message(void *context, struct sim_node *from, struct sim_node *to,
                       const struct wire_raft_message *message);

/* A check_raft_install_listener. */
void traps_see_install(void *context, struct world_node *store);

#endif
