/* split_keys: where to cut the key space before there are any keys.
 *
 * Nobody knows the keys yet, but keys that programs and people make mostly consist of digits and ASCII letters. So
 * these 62 bytes weigh the same and carry nearly all of the weight; the other 194 share what is left: 2/64 of it, but
 * never more than a quarter of one region, lest regions without a single likely key come out when there are many.
 * Boundaries are quantiles of that distribution, two or three bytes deep; later splits follow the real keys.
 *
 * Pure. All boundaries lie in the raw key space (prefix 'r'), see DESIGN: encoded keys. */
#ifndef PD_SPLIT_KEYS_H
#define PD_SPLIT_KEYS_H

#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"

enum { SPLIT_KEYS_REGIONS_MAX = 100 * 1000, SPLIT_KEY_SIZE_MAX = 4 };

/* The `region_count` - 1 boundaries between `region_count` regions (1 .. SPLIT_KEYS_REGIONS_MAX, a CHECK), strictly
 * increasing. Memory is the arena's. */
struct bytes *split_keys_make(uint32_t region_count, struct arena *arena);

#endif
