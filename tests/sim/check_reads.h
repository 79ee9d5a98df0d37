/* check_reads: linearizable reads against what was applied, without waiting for a history to contradict itself.
 *
 *   L1 a read sees all that had been applied anywhere when its client sent it: at the time its answer leaves, the store
 *      that answers has applied as much
 *
 * Owner: the thread of the world. */
#ifndef SIM_CHECK_READS_H
#define SIM_CHECK_READS_H

#include "check_raft.h"
#include "world.h"

struct check_reads;
struct frame;

/* Failures are given to world_fail. `raft` knows what was applied; borrowed. */
struct check_reads *check_reads_new(struct world *world, struct check_raft *raft);
void check_reads_free(struct check_reads *check);
/* A net_observer. */
void check_reads_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame);

#endif
