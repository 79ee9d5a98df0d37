#include "base/buf.h"

#include <stdlib.h>

#include "base/check.h"

enum { CAPACITY_MIN = 64 };

void buf_init(struct buf *buf, size_t size_max)
{
    *buf = (struct buf){.size_max = size_max};
}

void buf_fini(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.size_max = buf->size_max};
}

void buf_reset(struct buf *buf)
{
    buf->size = 0;
}

uint8_t *buf_extend(struct buf *buf, size_t size)
{
    if (size > buf->size_max || buf->size > buf->size_max - size)
        return NULL;
    size_t needed = buf->size + size;
    if (needed > buf->capacity || !buf->data) {
        size_t capacity = buf->capacity ? buf->capacity : CAPACITY_MIN;
        while (capacity < needed)
            capacity *= 2;
        uint8_t *data = realloc(buf->data, capacity);
        CHECK(data);
        buf->data = data;
        buf->capacity = capacity;
    }
    uint8_t *room = buf->data + buf->size;
    buf->size = needed;
    return room;
}

enum err buf_append(struct buf *buf, const void *data, size_t size)
{
    uint8_t *room = buf_extend(buf, size);
    if (!room)
        return ERR_ENTRY_TOO_LARGE;
    if (size > 0)
        memcpy(room, data, size);
    return ERR_OK;
}

enum err buf_append_bytes(struct buf *buf, struct bytes bytes)
{
    return buf_append(buf, bytes.data, bytes.size);
}

enum err buf_append_u8(struct buf *buf, uint8_t value)
{
    return buf_append(buf, &value, 1);
}

enum err buf_append_u32_be(struct buf *buf, uint32_t value)
{
    uint8_t encoded[4];
    store_u32_be(encoded, value);
    return buf_append(buf, encoded, sizeof encoded);
}

enum err buf_append_u64_be(struct buf *buf, uint64_t value)
{
    uint8_t encoded[8];
    store_u64_be(encoded, value);
    return buf_append(buf, encoded, sizeof encoded);
}

enum err buf_assign(struct buf *buf, struct bytes bytes)
{
    buf_reset(buf);
    return buf_append_bytes(buf, bytes);
}
