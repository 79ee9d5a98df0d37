/* peer_conf: the members of a region change.
 *
 *   request --checks--> (ids from pd) --> one conf-change entry --committed, applied--> peer_conf_applied on every replica
 *
 * A peer is added as a learner, which counts for nothing; promoted when it has all but the newest of the log; and removed,
 * or replaced by one that is promoted in the same step. More than one voter at once goes through a joint configuration,
 * which the core leaves by itself. Each step is an entry for one epoch_conf: a step that was thought of for another
 * membership is refused, here or when it is applied. So the state of a longer sequence is the region itself, and whoever
 * wants one (`polder region move-peer`, pd) asks for the next step until the region is what it should be: any leader will
 * do.
 *
 * Who would remove the leader is told to wait: it hands its leadership to a voter that stays, if there is one.
 *
 * Refusals (code, text): NotFound: an unknown store or peer. Exists: a peer is there. Invalid: a step that does not exist, the
 * last voter. ConditionFailed: another epoch_conf than the caller thought. Busy: a change is under way. NotReady: not
 * caught up, the quorum would be lost, the leader goes first.
 *
 * Owner: the region worker of the peer. docs/decisions/0015. */
#ifndef STORENODE_PEER_CONF_H
#define STORENODE_PEER_CONF_H

#include "storenode/conf_ask.h"
#include "storenode/region_conf.h"

struct peer;

struct peer_conf {
    bool asked; /* waits for ids: one at a time */
};

/* change_peers, transfer_leader, show_peers. */
void peer_conf_request(struct peer *peer, struct reply_to to, const struct wire_kv_request *request);
void peer_conf_change(struct peer *peer, struct conf_ask *take_ask);
/* The ids have come (or not). */
void peer_conf_ids(struct peer *peer, struct conf_ask *take_ask);
/* `entry` changed the members, as the state machine says: the core and the region follow. */
void peer_conf_applied(struct peer *peer, const struct raft_entry *entry, const struct region_conf *conf);

#endif
