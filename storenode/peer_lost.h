/* peer_lost: replicas that are not started, because what they promised cannot be read.
 *
 * Hard state or log are damaged. A replica that forgot its vote or its entries must never speak again under its id, so it
 * does not; it keeps its rows and its range, or a leader that knows nothing of this would make an empty peer of the same
 * id here. It can be replaced: somebody removes it from the region (`polder region rebuild-peer`), and adds a peer with
 * a new id, on this store or another one.
 *
 *   lost --PEER_ASK now and then--> the other members                 (as peers do that hear of no leader)
 *   a message for another peer of the region here, PEER_GONE, or pd's word at a newer epoch_conf: it was removed
 *   removed --apply worker: rows deleted, tombstone, range free--> forgotten: the new peer may be made (peer_create.h)
 *
 * Invariant: nothing leaves this store in the name of a lost peer but the question whether it is a member.
 * Owner: a region worker. Memory: a region each. docs/decisions/0018. */
#ifndef STORENODE_PEER_LOST_H
#define STORENODE_PEER_LOST_H

#include <stdbool.h>

#include "base/types.h"
#include "storenode/store_parts.h"

struct lost_peers;
struct peer_report;
struct region;
struct wire_raft_message;

struct lost_peers *lost_peers_new(struct region_worker *worker);
void lost_peers_free(struct lost_peers *lost); /* NULL is fine */
/* Start-up. Copies `region`. */
void lost_peers_add(struct lost_peers *lost, const struct region *region, peer_id peer);
/* True: a peer of this region is lost, and nobody else here needs the message. */
bool lost_peers_message(struct lost_peers *lost, const struct wire_raft_message *wire);
/* What pd knows of a region. */
void lost_peers_seen(struct lost_peers *lost, const struct region *region);
/* That it knows nothing of it. */
void lost_peers_unknown(struct lost_peers *lost, region_id region);
/* As damaged, with an empty log. */
void lost_peers_report(const struct lost_peers *lost, struct peer_report *report);
void lost_peers_tick(struct lost_peers *lost, uint32_t ticks);
/* WORKER_LOST_FORGOTTEN: its rows are gone. */
void lost_peers_forgotten(struct lost_peers *lost, const struct message *message);

#endif
