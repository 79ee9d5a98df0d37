/* peer_force: a replica that leads alone, because the majority of its region is gone for good (unsafe recovery).
 *
 * Somebody said so to pd, and pd chose this peer: of those that are left its log has all that any of them knows to be
 * committed (pd/recovery.h). A step names the peer, the epoch that it has told pd, and the stores that were lost.
 *
 *   NOT FORCED --step, and nothing speaks against it--> ALONE: only itself is asked (raft_force)
 *   ALONE --elected--> what its log has is committed and applied, as it was meant: splits, members and merges too
 *         --followers have had an election timeout--> one conf change: who is on a lost store, or does not follow, is out
 *         --applied, left the joint configuration--> NOT FORCED: a region like any other, with fewer members
 *
 * It is not a rewrite of rows: the log stays the only truth of a region, so that an entry of before means on this
 * replica what it meant on all others, and whoever joins later gets the result in a snapshot. That change raises the epoch
 * further than anything that the lost ones may have agreed on among themselves: pd and stores that heard of that take
 * this for newer.
 *
 * Against it speaks: another epoch or peer, no member on a lost store, a majority without them, a leader that is heard, a
 * lost store that is heard, rows that are damaged or being replaced. Then nothing happens, and pd sees it in the next report.
 * A crash forgets that it is forced: pd says it again.
 *
 * Owner: the region worker of the peer. docs/decisions/0021. */
#ifndef STORENODE_PEER_FORCE_H
#define STORENODE_PEER_FORCE_H

#include "base/types.h"
#include "proto/wire.h"

struct peer;
struct peer_force;

/* NULL: it is (or was already) forced. Else what speaks against it. */
const char *peer_force_take(struct peer *peer, const struct wire_region_step *step);
void peer_force_tick(struct peer *peer, uint32_t count);
void peer_force_fini(struct peer *peer);

#endif
