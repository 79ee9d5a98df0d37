/* quorum: what a majority, or both majorities of a joint configuration, agree on. Pure arithmetic.
 *
 * Ongaro 2014: 3.6.2 (commit), 4.3 (joint consensus: both halves must agree). */
#ifndef RAFT_QUORUM_H
#define RAFT_QUORUM_H

#include <stdint.h>

enum quorum_vote { QUORUM_PENDING, QUORUM_LOST, QUORUM_WON };

/* The largest value that a majority has reached. Sorts `values` in place. An empty majority agrees on everything:
 * UINT64_MAX, so that the minimum of both halves is right when the outgoing half is empty. */
uint64_t quorum_committed(uint64_t *values, uint32_t count);
/* The same, but members of two groups at least (say, of two data centres) must have reached it; group 0 is none. Where
 * all are in one group, that rule is void; where there is at most one group and members without, all must have reached
 * it. An offer to placement, as in raft-rs: replication itself asks for no more than majorities. */
uint64_t quorum_committed_in_groups(uint64_t *values, const uint64_t *groups, uint32_t count);
/* WON as soon as a majority of `count` said yes, LOST as soon as none can; an empty majority is won. */
enum quorum_vote quorum_vote(uint32_t yes_count, uint32_t no_count, uint32_t count);
enum quorum_vote quorum_vote_joint(enum quorum_vote incoming, enum quorum_vote outgoing);

#endif
