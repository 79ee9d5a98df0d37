#include "env/frame_reader.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/types.h"

enum {
    BUFFER_SIZE_MIN = 4 * 1024,
    BUFFER_SIZE_MAX = 64 * 1024,
    LARGE_SIZE_FIRST = 256 * 1024,
};

void frame_reader_init(struct frame_reader *reader, uint16_t version_min, uint16_t version_max)
{
    *reader = (struct frame_reader){
        .payload_size_max = FRAME_SIZE_MAX,
        .version_min = version_min,
        .version_max = version_max,
    };
}

void frame_reader_fini(struct frame_reader *reader)
{
    free(reader->data);
    frame_unref(reader->large);
    *reader = (struct frame_reader){0};
}

static void buffer_grow(struct frame_reader *reader, size_t needed)
{
    size_t capacity = reader->capacity ? reader->capacity : BUFFER_SIZE_MIN;
    while (capacity < needed)
        capacity *= 2;
    if (capacity == reader->capacity)
        return;
    reader->data = realloc(reader->data, capacity);
    CHECK(reader->data);
    reader->capacity = capacity;
}

/* Moves what is left of a frame to the front, so that the rest of it fits behind. */
static void buffer_compact(struct frame_reader *reader)
{
    size_t left = reader->end - reader->begin;
    if (reader->begin == 0)
        return;
    if (left > 0)
        memmove(reader->data, reader->data + reader->begin, left);
    reader->begin = 0;
    reader->end = left;
}

uint32_t frame_reader_room(struct frame_reader *reader, struct frame_room rooms[FRAME_ROOMS_MAX])
{
    uint32_t count = 0;
    if (reader->large) {
        struct frame *frame = reader->large;
        rooms[count++] =
            (struct frame_room){frame->payload + reader->large_received, frame->size - reader->large_received};
        if (frame->size < reader->large_size)
            return count; /* what comes behind this part is payload too, and has no place yet */
    }
    buffer_compact(reader);
    if (reader->capacity == 0)
        buffer_grow(reader, BUFFER_SIZE_MIN);
    else if (reader->was_full)
        buffer_grow(reader, BUFFER_SIZE_MAX);
    reader->was_full = false;
    CHECK(reader->end < reader->capacity);
    rooms[count++] = (struct frame_room){reader->data + reader->end, reader->capacity - reader->end};
    return count;
}

void frame_reader_added(struct frame_reader *reader, size_t size)
{
    if (reader->large) {
        size_t missing = reader->large->size - reader->large_received;
        size_t part = size < missing ? size : missing;
        reader->large_received += part;
        size -= part;
    }
    CHECK(size <= reader->capacity - reader->end);
    reader->end += size;
    reader->was_full = reader->end == reader->capacity;
}

static enum err fail(struct frame_reader *reader, enum err code, const char *fault)
{
    reader->fault = fault;
    return code;
}

static enum err check_header(struct frame_reader *reader, const struct frame_header *header)
{
    if (header->size > reader->payload_size_max)
        return fail(reader, ERR_CORRUPT, "a frame is larger than allowed, or this is not our protocol");
    if (header->zero != 0)
        return fail(reader, ERR_CORRUPT, "bytes of a frame header that must be zero are not");
    if (header->version < reader->version_min)
        return fail(reader, ERR_VERSION, "protocol version is too old");
    if (header->version > reader->version_max && header->kind != FRAME_WIRE_HELLO)
        return fail(reader, ERR_VERSION, "protocol version is too new");
    reader->version = header->version;
    return ERR_OK;
}

static const char checksum_fault[] = "the checksum of a frame does not match";

/* A frame that the buffer cannot hold: it moves, header first, to memory of its own. */
static void large_begin(struct frame_reader *reader, const struct frame_header *header)
{
    size_t buffered = reader->end - reader->begin - FRAME_HEADER_SIZE;
    CHECK(buffered < header->size);
    size_t first = header->size < LARGE_SIZE_FIRST ? header->size : LARGE_SIZE_FIRST;
    reader->large = frame_new(header->kind, first);
    memcpy(reader->large->header, reader->data + reader->begin, FRAME_HEADER_SIZE + buffered);
    reader->large_size = header->size;
    reader->large_received = buffered;
    reader->begin = reader->end = 0;
}

static enum err large_next(struct frame_reader *reader, struct frame **ret_frame)
{
    struct frame *frame = reader->large;
    if (reader->large_received < reader->large_size) {
        if (reader->large_received == frame->size) {
            size_t size = 2 * (size_t)frame->size;
            uint8_t header[FRAME_HEADER_SIZE];
            memcpy(header, frame->header, sizeof header);
            frame = frame_resize(frame, size < reader->large_size ? size : reader->large_size);
            memcpy(frame->header, header, sizeof header);
            reader->large = frame;
        }
        return ERR_NOT_READY;
    }
    if (frame_checksum(frame->header, frame->size) != frame_header_decode(frame->header).checksum)
        return fail(reader, ERR_CORRUPT, checksum_fault);
    reader->large = NULL;
    *ret_frame = frame;
    return ERR_OK;
}

enum err frame_reader_next(struct frame_reader *reader, struct frame **ret_frame)
{
    if (reader->large)
        return large_next(reader, ret_frame);
    size_t available = reader->end - reader->begin;
    if (available < FRAME_HEADER_SIZE)
        return ERR_NOT_READY;
    const uint8_t *start = reader->data + reader->begin;
    struct frame_header header = frame_header_decode(start);
    enum err code = check_header(reader, &header);
    if (code)
        return code;
    size_t size = FRAME_HEADER_SIZE + (size_t)header.size;
    if (available < size) {
        if (size > BUFFER_SIZE_MAX)
            large_begin(reader, &header);
        else if (size > reader->capacity)
            buffer_grow(reader, size);
        return ERR_NOT_READY;
    }
    if (frame_checksum(start, header.size) != header.checksum)
        return fail(reader, ERR_CORRUPT, checksum_fault);
    *ret_frame = frame_copy(header.kind, bytes_of(start + FRAME_HEADER_SIZE, header.size));
    reader->begin += size;
    if (reader->begin == reader->end)
        reader->begin = reader->end = 0;
    return ERR_OK;
}
