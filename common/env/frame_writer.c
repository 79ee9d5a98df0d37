#include "env/frame_writer.h"

#include <stdlib.h>

#include "base/check.h"

enum {
    LARGE_SIZE_MIN = 16 * 1024,  /* from here on a reference is cheaper than a copy */
    CHUNK_SIZE_FIRST = 4 * 1024, /* a lone connection that answers small requests needs no more */
    CHUNK_SIZE = 64 * 1024,
};

struct frame_chunk {
    struct frame_chunk *next;
    struct frame *frame; /* owned; NULL: the bytes are inside */
    const uint8_t *data; /* of the frame's payload, or `inside` */
    size_t begin, end;   /* what is not sent yet */
    size_t capacity;
    uint8_t inside[];
};

void frame_writer_init(struct frame_writer *writer)
{
    *writer = (struct frame_writer){0};
}

static void chunk_free(struct frame_chunk *chunk)
{
    frame_unref(chunk->frame);
    free(chunk);
}

void frame_writer_fini(struct frame_writer *writer)
{
    for (struct frame_chunk *chunk = writer->first, *next; chunk; chunk = next) {
        next = chunk->next;
        chunk_free(chunk);
    }
    *writer = (struct frame_writer){0};
}

static struct frame_chunk *chunk_new(size_t capacity)
{
    struct frame_chunk *chunk = malloc(sizeof *chunk + capacity);
    CHECK(chunk);
    *chunk = (struct frame_chunk){.data = chunk->inside, .capacity = capacity};
    return chunk;
}

static void append(struct frame_writer *writer, struct frame_chunk *chunk)
{
    if (writer->last)
        writer->last->next = chunk;
    else
        writer->first = chunk;
    writer->last = chunk;
}

/* The last chunk, if it has room for `size` bytes, or a new one. */
static struct frame_chunk *chunk_with_room(struct frame_writer *writer, size_t size)
{
    struct frame_chunk *last = writer->last;
    if (last && last->capacity - last->end >= size && !last->frame)
        return last;
    size_t capacity = last ? CHUNK_SIZE : CHUNK_SIZE_FIRST;
    if (capacity < size)
        capacity = CHUNK_SIZE;
    struct frame_chunk *chunk = chunk_new(capacity);
    append(writer, chunk);
    return chunk;
}

bool frame_writer_is_large(const struct frame *frame)
{
    return frame->size >= LARGE_SIZE_MIN;
}

static struct frame_header header_of(const struct frame *frame, uint16_t version)
{
    return (struct frame_header){.size = frame->size, .version = version, .kind = frame->kind};
}

uint32_t frame_writer_checksum(uint16_t version, const struct frame *frame)
{
    struct frame_header header = header_of(frame, version);
    uint8_t encoded[FRAME_HEADER_SIZE];
    frame_header_encode(&header, encoded);
    return frame_checksum_apart(encoded, frame_bytes(frame));
}

static void put_large(struct frame_writer *writer, uint16_t version, struct frame *take_frame, uint32_t checksum)
{
    struct frame_chunk *front = chunk_with_room(writer, FRAME_HEADER_SIZE);
    struct frame_header header = header_of(take_frame, version);
    header.checksum = checksum;
    frame_header_encode(&header, front->inside + front->end);
    front->end += FRAME_HEADER_SIZE;
    struct frame_chunk *chunk = chunk_new(0);
    chunk->frame = take_frame;
    chunk->data = take_frame->payload;
    chunk->end = take_frame->size;
    append(writer, chunk);
}

/* The header bytes in front of the frame's payload are not used: other connections may be sending the same frame. */
static void copy_small(struct frame_chunk *chunk, uint16_t version, struct frame *take_frame)
{
    struct frame_header header = header_of(take_frame, version);
    uint8_t *out = chunk->inside + chunk->end;
    if (header.size > 0)
        memcpy(out + FRAME_HEADER_SIZE, take_frame->payload, header.size);
    frame_header_encode(&header, out);
    header.checksum = frame_checksum(out, header.size);
    frame_header_encode(&header, out);
    chunk->end += FRAME_HEADER_SIZE + header.size;
    frame_unref(take_frame);
}

void frame_writer_put(struct frame_writer *writer, uint16_t version, struct frame *take_frame, uint32_t checksum)
{
    size_t size = FRAME_HEADER_SIZE + (size_t)take_frame->size;
    writer->pending_size += size;
    if (frame_writer_is_large(take_frame))
        put_large(writer, version, take_frame, checksum);
    else
        copy_small(chunk_with_room(writer, size), version, take_frame);
}

void frame_writer_put_first(struct frame_writer *writer, uint16_t version, struct frame *take_frame)
{
    struct frame_writer rest = *writer;
    frame_writer_init(writer);
    uint32_t checksum = frame_writer_is_large(take_frame) ? frame_writer_checksum(version, take_frame) : 0;
    frame_writer_put(writer, version, take_frame, checksum);
    if (rest.first) {
        writer->last->next = rest.first;
        writer->last = rest.last;
    }
    writer->pending_size += rest.pending_size;
}

uint32_t frame_writer_gather(const struct frame_writer *writer, struct frame_piece pieces[FRAME_PIECES_MAX])
{
    uint32_t count = 0;
    for (struct frame_chunk *chunk = writer->first; chunk && count < FRAME_PIECES_MAX; chunk = chunk->next) {
        if (chunk->begin < chunk->end)
            pieces[count++] = (struct frame_piece){chunk->data + chunk->begin, chunk->end - chunk->begin};
    }
    return count;
}

void frame_writer_sent(struct frame_writer *writer, size_t size)
{
    CHECK(size <= writer->pending_size);
    writer->pending_size -= size;
    while (writer->first) {
        struct frame_chunk *chunk = writer->first;
        size_t part = chunk->end - chunk->begin < size ? chunk->end - chunk->begin : size;
        chunk->begin += part;
        size -= part;
        if (chunk->begin < chunk->end)
            break;
        if (chunk == writer->last && !chunk->frame) {
            chunk->begin = chunk->end = 0; /* kept: the next frame goes there */
            break;
        }
        writer->first = chunk->next;
        if (!writer->first)
            writer->last = NULL;
        chunk_free(chunk);
    }
    CHECK(size == 0);
}

void frame_writer_trim(struct frame_writer *writer)
{
    if (writer->pending_size > 0 || !writer->first)
        return;
    CHECK(writer->first == writer->last);
    chunk_free(writer->first);
    writer->first = writer->last = NULL;
}
