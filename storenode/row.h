/* row: how a value lies in column family `default`.
 *
 *   byte 0   flags: 0 plain, 1 expires; other values belong to newer versions and are refused
 *   plain    byte 1.. the user's value
 *   expires  bytes 1..8 when, in milliseconds of the region's time (region_time.h), big-endian; byte 9.. the user's value
 *
 * A row that expires is there until the region's time is `when`, and never after. It lies in the engine for longer: readers
 * look, compactions drop it one day, on each replica on another. So who compares replicas at some entry of the log leaves out
 * what is expired by the region's time at that entry (row_is_expired), and finds them equal. */
#ifndef STORENODE_ROW_H
#define STORENODE_ROW_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"

enum { ROW_PLAIN = 0, ROW_EXPIRES = 1, ROW_HEADER_SIZE = 1, ROW_HEADER_SIZE_MAX = 9 };

/* What is inside a row. */
static inline enum err row_parse(struct bytes row, struct bytes *ret_value, uint64_t *ret_expiry_ms)
{
    size_t size = row.size > 0 && row.data[0] == ROW_EXPIRES ? ROW_HEADER_SIZE_MAX : ROW_HEADER_SIZE;
    if (row.size < size || row.data[0] > ROW_EXPIRES)
        return ERR_CORRUPT;
    *ret_expiry_ms = size == ROW_HEADER_SIZE_MAX ? load_u64_be(row.data + 1) : 0;
    *ret_value = bytes_of(row.data + size, row.size - size);
    return ERR_OK;
}

/* Is there nothing to be seen any more when the region's time is `time_ms`? A row that cannot be read is not expired. */
static inline bool row_is_expired(struct bytes row, uint64_t time_ms)
{
    struct bytes value;
    uint64_t expiry_ms;
    return row_parse(row, &value, &expiry_ms) == ERR_OK && expiry_ms != 0 && expiry_ms <= time_ms;
}

/* `expiry_ms` 0: never. Fails if `row` has no room. */
static inline enum err row_make(struct buf *row, struct bytes value, uint64_t expiry_ms)
{
    buf_reset(row);
    buf_append_u8(row, expiry_ms != 0 ? ROW_EXPIRES : ROW_PLAIN);
    if (expiry_ms != 0)
        buf_append_u64_be(row, expiry_ms);
    return buf_append_bytes(row, value);
}

#endif
