/* check_raft: the promises of Raft (Ongaro 2014, figure 3.2), looked at from outside, after every event.
 *
 *   R1 election safety      one leader per term and region
 *   R2 one vote             a peer gives one vote per term, also when it has died in between (seen on the wire). A
 *                           request for votes is none: a candidate that dies before its own vote is durable counts
 *                           nothing
 *   R3 state machine safety what was applied at an index anywhere is what everybody applies there, and what every
 *                           disk holds there: term and bytes of the log row
 *   R4 leader completeness  a new leader of the newest term has every entry that was applied anywhere
 *   R5 order                truncated <= applied <= commit <= last (but a leader's commit, see below)
 *   R6 no way back          within a life of a store: term and commit never regress; a vote does not change in its term
 *   R7 own term             a leader commits by counting only what is of its own term (figure 8)
 *   R8 leases               whoever has a lease leads the newest term in which anything was committed
 *
 *   R9 durability           what is committed is durable on a quorum of disks (check_durable.h)
 *
 * R3 reads the log row of each index once per store and life, when the store says that it has applied it, and it must
 * be durable by then: so nothing is applied before it is safe on the own disk.
 *
 * Owner: the thread of the world. */
#ifndef SIM_CHECK_RAFT_H
#define SIM_CHECK_RAFT_H

#include "world.h"

struct frame;
struct check_raft;

/* Failures are given to world_fail. */
struct check_raft *check_raft_new(struct world *world);
void check_raft_free(struct check_raft *check);

/* After a round of a region worker of a store that is up: nobody else changes a core. */
void check_raft_store(struct check_raft *check, struct world_node *store);
/* A net_observer. Writes the messages to the trace, too. */
void check_raft_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame);

/* Is told of each raft message as it leaves its store. For faults that want to come at the worst moment. */
struct wire_raft_message;
typedef void check_raft_listener(void *context, struct sim_node *from, struct sim_node *to,
                                 const struct wire_raft_message *message);
/* ... and when a store has begun to install a snapshot. */
typedef void check_raft_install_listener(void *context, struct world_node *store);
void check_raft_set_listener(struct check_raft *check, check_raft_listener *listener,
                             check_raft_install_listener *install_listener, void *context);

/* Are all stores ready, and has each region all its peers and one leader? With `equal`: and have they applied the same?
 * If not, `text` says what lacks (if not NULL). */
bool check_raft_is_whole(struct check_raft *check, bool equal, char *text, size_t size);
/* What each peer of each region thinks, to the trace: for whoever asks why a cluster is stuck. */
void check_raft_describe(struct check_raft *check);
/* The newest index of a region that was applied anywhere. */
raft_index check_raft_applied(struct check_raft *check, region_id region);
/* How far the run got into the corners that matter. */
struct check_raft_counts {
    uint64_t applied;     /* entries seen applied, each once */
    uint64_t elections;   /* leaders, one per region and term */
    uint64_t deposed_us;  /* time that leaders went on leading while a newer term had a leader */
    uint64_t overwritten; /* entries that a store lost to another leader's */
    uint64_t durable;     /* committed entries that were looked for on the disks */
};
const struct check_raft_counts *check_raft_counts(struct check_raft *check);

#endif
