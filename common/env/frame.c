#include "env/frame_wire.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/types.h"

/* One piece of memory: the struct, the 16 bytes of the header, the payload. All three begin at multiples of 16. */
enum { FRAME_FRONT_SIZE = (sizeof(struct frame) + 15) / 16 * 16 + FRAME_HEADER_SIZE };

static void point_inside(struct frame *frame)
{
    frame->payload = (uint8_t *)frame + FRAME_FRONT_SIZE;
    frame->header = frame->payload - FRAME_HEADER_SIZE;
}

struct frame *frame_new(uint16_t kind, size_t size)
{
    CHECK(size <= UINT32_MAX - FRAME_FRONT_SIZE);
    struct frame *frame = malloc(FRAME_FRONT_SIZE + size);
    CHECK(frame);
    *frame = (struct frame){.count = 1, .kind = kind, .size = (uint32_t)size};
    point_inside(frame);
    return frame;
}

struct frame *frame_copy(uint16_t kind, struct bytes payload)
{
    struct frame *frame = frame_new(kind, payload.size);
    if (payload.size > 0)
        memcpy(frame->payload, payload.data, payload.size);
    return frame;
}

struct frame *frame_resize(struct frame *take_frame, size_t size)
{
    CHECK(__atomic_load_n(&take_frame->count, __ATOMIC_RELAXED) == 1);
    CHECK(size <= UINT32_MAX - FRAME_FRONT_SIZE);
    struct frame *frame = realloc(take_frame, FRAME_FRONT_SIZE + size);
    CHECK(frame);
    frame->size = (uint32_t)size;
    point_inside(frame);
    return frame;
}

struct frame *frame_ref(struct frame *frame)
{
    __atomic_fetch_add(&frame->count, 1, __ATOMIC_RELAXED);
    return frame;
}

void frame_unref(struct frame *take_frame)
{
    if (!take_frame)
        return;
    uint32_t before = __atomic_fetch_sub(&take_frame->count, 1, __ATOMIC_ACQ_REL);
    CHECK(before > 0);
    if (before == 1)
        free(take_frame);
}

static void store_le(uint8_t *out, uint32_t value, int size)
{
    for (int i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t load_le(const uint8_t *in, int size)
{
    uint32_t value = 0;
    for (int i = 0; i < size; i++)
        value |= (uint32_t)in[i] << 8 * i;
    return value;
}

void frame_header_encode(const struct frame_header *header, uint8_t out[FRAME_HEADER_SIZE])
{
    store_le(out, header->size, 4);
    store_le(out + 4, header->checksum, 4);
    store_le(out + 8, header->version, 2);
    store_le(out + 10, header->kind, 2);
    store_le(out + 12, header->zero, 4);
}

struct frame_header frame_header_decode(const uint8_t in[FRAME_HEADER_SIZE])
{
    return (struct frame_header){
        .size = load_le(in, 4),
        .checksum = load_le(in + 4, 4),
        .version = (uint16_t)load_le(in + 8, 2),
        .kind = (uint16_t)load_le(in + 10, 2),
        .zero = load_le(in + 12, 4),
    };
}

uint32_t frame_checksum(const uint8_t *header, size_t payload_size)
{
    return (uint32_t)XXH3_64bits(header + 8, FRAME_HEADER_SIZE - 8 + payload_size);
}

uint32_t frame_checksum_apart(const uint8_t header[FRAME_HEADER_SIZE], struct bytes payload)
{
    XXH3_state_t *state = XXH3_createState();
    CHECK(state);
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, header + 8, FRAME_HEADER_SIZE - 8);
    XXH3_64bits_update(state, payload.data, payload.size);
    uint32_t checksum = (uint32_t)XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return checksum;
}
