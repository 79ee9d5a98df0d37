/* region_row: the row that says what a region is, with a checksum.
 *
 *   'g' | region id | 0x10   table RegionState | checksum u32 (group_checksum, as of all rows of a group)
 *
 * A changed byte in it can read as another range or another peer, and nothing else in the store would contradict it. */
#ifndef STORENODE_REGION_ROW_H
#define STORENODE_REGION_ROW_H

#include "base/arena.h"
#include "proto/wire.h"

/* Puts the checksum behind what `row` holds; cuts it off. ERR_CORRUPT: it is not that of the rest. */
enum err row_seal(struct buf *row, uint8_t suffix);
enum err row_unseal(struct bytes *row, uint8_t suffix);

/* Appends to `row`. */
enum err region_row_encode(const struct wire_region_state *state, struct buf *row);
/* ERR_CORRUPT: bad checksum, or no region in it. Borrows from `row`. */
enum err region_row_decode(struct bytes row, struct arena *arena, struct wire_region_state *ret_state);

#endif
