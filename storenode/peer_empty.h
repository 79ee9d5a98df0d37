/* peer_empty: an empty region where keys have no replica any more (unsafe recovery, --create-empty).
 *
 * pd put the region on its map, with one peer, here, and says so until a heartbeat shows it. Made by the apply worker, where
 * regions begin and end: never over keys that a region here has, and never where there was a peer of that region before,
 * so that a late word brings nothing back. Durable before it is started; from then on a region like any other.
 *
 * Owner: a region worker. docs/decisions/0021. */
#ifndef STORENODE_PEER_EMPTY_H
#define STORENODE_PEER_EMPTY_H

#include "env/executor.h"
#include "meta/region.h"
#include "proto/wire.h"

struct store;

/* WORKER_EMPTY comes back if it was made. */
void peer_empty_create(struct store *store, struct actor *owner, const struct wire_region_step *step);

struct peer_empty {
    struct message message;
    struct region *region; /* owned */
};

#endif
