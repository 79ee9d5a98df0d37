/* peer_report: all replicas of this store, as pd wants to know them before it plans a recovery (pd/recovery.h).
 *
 *   pd link: the answer to a heartbeat asks --> each region worker in turn (WORKER_PEERS) --> frames to pd, the last one
 *   says so. One that is lost on the way: pd asks again, under another number.
 *
 * Memory: some 200 bytes and the keys per replica, until the frames have left. */
#ifndef STORENODE_PEER_REPORT_H
#define STORENODE_PEER_REPORT_H

#include <stdint.h>

#include "base/arena.h"
#include "env/executor.h"
#include "meta/region.h"
#include "proto/wire.h"

struct store;
struct peer_report;

void peer_report_begin(struct store *store, uint64_t number);

/* ---- for the region workers */
/* Zeroed but for the region; lent until the next one. */
struct wire_peer_report *peer_report_add(struct peer_report *report, const struct region *region);
/* To the next worker, or to pd. */
void peer_report_next(struct peer_report *take_report);

#endif
