#include "key_range.h"

#include "base/types.h"
#include "meta/keyspace.h"

enum err key_range_check(const struct region *region, struct bytes start, struct bytes end)
{
    enum { BOUND_SIZE_MAX = KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE + 1 }; /* a key, or what comes right after it */
    const uint8_t after_raw = KEYSPACE_RAW + 1;
    if (start.size == 0 || end.size == 0 || start.size > BOUND_SIZE_MAX || end.size > BOUND_SIZE_MAX)
        return ERR_INVALID;
    if (start.data[0] != KEYSPACE_RAW || bytes_compare(end, bytes_of(&after_raw, 1)) > 0 ||
        bytes_compare(start, end) >= 0)
        return ERR_INVALID;
    return region_contains_range(region, start, end) ? ERR_OK : ERR_KEY_NOT_IN_REGION;
}
