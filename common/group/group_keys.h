/* group_keys: what a group keeps in column family `raft`, byte by byte.
 *
 *   key    'g' | group id u64 be | suffix
 *   suffix 0x01                 hard state      u8 format=1 | term u64 | vote u64 | commit u64 | checksum u32
 *          0x02 zero u64        apply state     u8 format=1 | applied index u64 | applied term u64 | checksum u32
 *          0x03                 truncated state u8 format=1 | index u64 | term u64 | checksum u32
 *          0x04 index u64       log entry       u8 format=1 | kind u8 | term u64 | checksum u32 | payload
 *          0x05                 membership      u8 format=1 | auto_leave u8 | count u8 | count x (id u64, roles u8) | (index u64) |
 *                                               checksum u32
 *          0x10 and above       the user's own (region state, idempotency tokens)
 *
 * Integers are big endian. A checksum is the low half of XXH3-64 over the whole value without the checksum, seeded with the
 * key's suffix; a log entry's covers its group and index as well, so that a row that strayed to another key is found. */
#ifndef GROUP_GROUP_KEYS_H
#define GROUP_GROUP_KEYS_H

#include "base/buf.h"
#include "base/types.h"

enum group_suffix {
    GROUP_HARD_STATE = 0x01,
    GROUP_APPLY_STATE = 0x02,
    GROUP_TRUNCATED_STATE = 0x03,
    GROUP_LOG = 0x04,
    GROUP_CONF = 0x05,
    GROUP_USER = 0x10,
};

enum { GROUP_KEY_SIZE_MAX = 24 };

struct group_key {
    uint8_t data[GROUP_KEY_SIZE_MAX];
    size_t size;
};

struct group_key group_key(uint64_t group_id, uint8_t suffix);
struct group_key group_key_indexed(uint64_t group_id, uint8_t suffix, uint64_t index);
static inline struct bytes group_key_bytes(const struct group_key *key)
{
    return bytes_of(key->data, key->size);
}

/* Low half of XXH3-64 over `suffix` and `value`. */
uint32_t group_checksum(uint8_t suffix, const void *value, size_t size);

#endif
