#include "group_keys.h"

#include <xxhash.h>

#include "base/check.h"

struct group_key group_key(uint64_t group_id, uint8_t suffix)
{
    struct group_key key = {.size = 10};
    key.data[0] = 'g';
    store_u64_be(key.data + 1, group_id);
    key.data[9] = suffix;
    return key;
}

struct group_key group_key_indexed(uint64_t group_id, uint8_t suffix, uint64_t index)
{
    struct group_key key = group_key(group_id, suffix);
    store_u64_be(key.data + 10, index);
    key.size = 18;
    return key;
}

uint32_t group_checksum(uint8_t suffix, const void *value, size_t size)
{
    return (uint32_t)XXH3_64bits_withSeed(value, size, suffix);
}
