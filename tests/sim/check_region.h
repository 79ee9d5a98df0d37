/* check_region: what the disks say about regions.
 *
 *   G1 the regions at their newest epochs cover the key space exactly once
 *   G2 a region at one epoch is the same range with the same peers on every store
 *   G3 (when nothing is under way) replicas of a region that applied the same hold the same rows and tokens
 *   G4 (then) a store has rows of the regions that are there, tombstones, and nothing else
 *
 * Owner: the thread of the world. */
#ifndef SIM_CHECK_REGION_H
#define SIM_CHECK_REGION_H

#include "world.h"

/* G1, G2 over all stores, dead ones too (their disks are there). Before the first regions are made there is nothing to
 * say. */
void check_region_ranges(struct world *world);
/* Regions that were merged into others, by the word of any disk. */
uint32_t check_region_ended(struct world *world);
/* G3, G4. Call it only after check_raft_is_whole (equal). */
void check_region_replicas(struct world *world);

#endif
