/* key_range: a piece of a region's raw keys that one command is about, [start, end).
 *
 * Clients cut a range at the borders of regions; a command names its piece, so that whoever applies it later, after a
 * split, does what was asked for or refuses. */
#ifndef STORENODE_KEY_RANGE_H
#define STORENODE_KEY_RANGE_H

#include "base/bytes.h"
#include "base/error.h"
#include "meta/region.h"

/* Encoded keys. ERR_INVALID: empty, or not of raw keys; ERR_KEY_NOT_IN_REGION: some of it is not the region's. */
enum err key_range_check(const struct region *region, struct bytes start, struct bytes end);

#endif
