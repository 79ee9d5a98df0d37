/* snapshot_send: cuts of regions, sent as chunks of rows to the stores that need them.
 *
 * Each goes over a connection of its own, so that it never delays a heartbeat, and closes it at the end. A few chunks are
 * on their way at a time; the receiver's word (SnapshotAck) says which are staged. After a broken connection, or a silence,
 * those that are not are sent again: the iterators have gone on, so unacknowledged chunks are kept as bytes.
 *
 *   cut --> DIALING --link up--> SENDING --last chunk acknowledged--> sent
 *              ^-----link down------'   '--refused, or silent for snapshot-timeout--> failed
 *
 * Limits: snapshots-max at a time (counted by the region workers), some MiB of chunks each, snapshot-rate bytes per
 * second together.
 *
 * Owner: an actor of its own; it may wait for the disk. */
#ifndef STORENODE_SNAPSHOT_SEND_H
#define STORENODE_SNAPSHOT_SEND_H

#include "storenode/snapshot_cut.h"
#include "storenode/store_parts.h"

struct snapshot_sender;

enum err snapshot_sender_new(struct store *store, struct snapshot_sender **ret_sender);
void snapshot_sender_free(struct snapshot_sender *sender); /* after the executor has stopped; NULL is fine */
/* Ends with one WORKER_SNAPSHOT_SENT to `owner`. Any actor. */
void snapshot_sender_post(struct snapshot_sender *sender, struct actor *owner, struct snapshot_cut *take_cut);
/* Its peer here leads no more: what is on its way is given up. Any actor. */
void snapshot_sender_post_stop(struct snapshot_sender *sender, region_id region);
/* Where the other stores are. Any actor. */
void snapshot_sender_post_stores(struct snapshot_sender *sender, struct regions_message *take_stores);

#endif
