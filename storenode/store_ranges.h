/* store_ranges: which keys belong to which region of this store.
 *
 * A store may be told of a region by its snapshot before it has applied the split that made it, or after another region
 * took its keys. Two regions of one store with the same keys would write over each other's rows; who brings a new one
 * asks here first.
 *
 * Invariant: no two ranges overlap.
 * Owner: the apply worker, where regions begin, split and end; before it runs, whoever starts the store.
 * Memory: about 100 bytes and the keys per region. */
#ifndef STORENODE_STORE_RANGES_H
#define STORENODE_STORE_RANGES_H

#include "base/bytes.h"
#include "base/types.h"
#include "meta/region.h"

struct apply_worker;
struct store_ranges;

struct store_ranges *store_ranges_new(void);
void store_ranges_free(struct store_ranges *ranges); /* NULL is fine */

/* The region has these keys from now on; whatever it had before is free. They belong to no other: CHECKed. */
void store_ranges_set(struct store_ranges *ranges, const struct region *region);
/* The same, by a task of the apply worker: for who is somebody else. */
void store_ranges_post(struct store_ranges *ranges, struct apply_worker *worker, const struct region *region);
/* Several at once: first some go, then others have their keys, in this order. In between nobody sees keys that are nobody's, and
 * makes a peer over them. */
struct store_ranges_change;
struct store_ranges_change *store_ranges_change_new(struct store_ranges *ranges);
void store_ranges_change_set(struct store_ranges_change *change, const struct region *region);
void store_ranges_change_remove(struct store_ranges_change *change, region_id region);
void store_ranges_change_post(struct store_ranges_change *take_change, struct apply_worker *worker);
/* It is gone; nothing if it was not there. */
void store_ranges_remove(struct store_ranges *ranges, region_id region);
bool store_ranges_has(const struct store_ranges *ranges, region_id region);
/* A region other than `except` that has a key of [start, end); an empty end is that of the key space. 0: none. */
region_id store_ranges_find(const struct store_ranges *ranges, struct bytes start, struct bytes end, region_id except);

#endif
