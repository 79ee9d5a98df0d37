/* buf: bytes that are owned and grow, up to a limit given at birth.
 *
 * Owner: whoever holds the struct. Appending past the limit returns ERR_ENTRY_TOO_LARGE and changes nothing; running out
 * of memory is a broken belief (every caller is bounded, and the system overcommits). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/bytes.h"
#include "base/error.h"

struct buf {
    uint8_t *data; /* owned */
    size_t size;
    size_t capacity;
    size_t size_max;
};

void buf_init(struct buf *buf, size_t size_max);
void buf_fini(struct buf *buf);
void buf_reset(struct buf *buf); /* empty; keeps the memory */

enum err buf_append(struct buf *buf, const void *data, size_t size);
enum err buf_append_bytes(struct buf *buf, struct bytes bytes);
enum err buf_append_u8(struct buf *buf, uint8_t value);
/* Integers are big endian, so that encoded keys sort like the numbers. */
enum err buf_append_u32_be(struct buf *buf, uint32_t value);
enum err buf_append_u64_be(struct buf *buf, uint64_t value);
/* Room for `size` more bytes at the end, to be filled by the caller; NULL past the limit. Size grows at once. */
uint8_t *buf_extend(struct buf *buf, size_t size);
enum err buf_assign(struct buf *buf, struct bytes bytes);

static inline struct bytes buf_bytes(const struct buf *buf)
{
    return bytes_of(buf->data, buf->size);
}

static inline uint64_t load_u64_be(const uint8_t *data)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | data[i];
    return value;
}

static inline uint32_t load_u32_be(const uint8_t *data)
{
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

static inline void store_u64_be(uint8_t *data, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        data[i] = (uint8_t)value;
}

static inline void store_u32_be(uint8_t *data, uint32_t value)
{
    for (int i = 3; i >= 0; i--, value >>= 8)
        data[i] = (uint8_t)value;
}

#endif
