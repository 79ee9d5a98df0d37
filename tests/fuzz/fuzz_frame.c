/* fuzz_frame: hostile bytes against the reader of frames.
 *
 * The first byte says in which portions the rest arrives, and (even) whether the checksum of the first frame is made
 * right, since no fuzzer guesses one. Whatever comes, a frame that is handed out must be one that a writer makes to the
 * same bytes again, and memory must stay within what was sent. */
#include <stdlib.h>

#include "env/frame_reader.h"
#include "env/frame_writer.h"
#include "fuzz.h"

static void check_frame(const struct frame_reader *reader, struct frame *frame)
{
    CHECK(reader->version >= 1);
    struct frame_writer writer;
    struct frame_piece pieces[FRAME_PIECES_MAX];
    uint32_t checksum = frame_writer_is_large(frame) ? frame_writer_checksum(reader->version, frame) : 0;
    uint16_t kind = frame->kind;
    uint32_t size = frame->size;
    frame_writer_init(&writer);
    frame_writer_put(&writer, reader->version, frame, checksum);
    CHECK(frame_writer_gather(&writer, pieces) > 0);
    struct frame_header header = frame_header_decode(pieces[0].data);
    CHECK(header.kind == kind && header.size == size);
    frame_writer_fini(&writer);
}

static void make_right(uint8_t *data, size_t size)
{
    if (size < FRAME_HEADER_SIZE)
        return;
    uint32_t payload_size = frame_header_decode(data).size;
    if (payload_size > size - FRAME_HEADER_SIZE)
        return;
    uint32_t checksum = frame_checksum(data, payload_size);
    for (int i = 0; i < 4; i++)
        data[4 + i] = (uint8_t)(checksum >> 8 * i);
}

static void feed(const uint8_t *data, size_t size, size_t portion)
{
    struct frame_reader reader;
    frame_reader_init(&reader, 1, 2);
    enum err code = ERR_NOT_READY;
    for (size_t at = 0; at < size && code == ERR_NOT_READY;) {
        struct frame_room rooms[FRAME_ROOMS_MAX];
        uint32_t count = frame_reader_room(&reader, rooms);
        CHECK(count >= 1);
        size_t part = size - at < portion ? size - at : portion;
        if (part > rooms[0].size)
            part = rooms[0].size;
        memcpy(rooms[0].data, data + at, part);
        frame_reader_added(&reader, part);
        at += part;
        struct frame *frame;
        while ((code = frame_reader_next(&reader, &frame)) == ERR_OK)
            check_frame(&reader, frame);
        CHECK(reader.capacity <= 64 * 1024 && (!reader.large || reader.large->size <= 256 * 1024 + 2 * size));
        CHECK((code == ERR_NOT_READY) == (reader.fault == NULL));
    }
    frame_reader_fini(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    uint8_t *copy = malloc(size - 1);
    CHECK(copy);
    memcpy(copy, data + 1, size - 1);
    if (data[0] % 2 == 0)
        make_right(copy, size - 1);
    feed(copy, size - 1, (size_t)data[0] / 2 + 1);
    free(copy);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const char *const names[] = {"ping", "small", "two"};
    static const size_t sizes[] = {0, 40, 200};
    for (size_t i = 0; i < 3; i++) {
        struct frame_writer writer;
        struct frame_piece pieces[FRAME_PIECES_MAX];
        uint8_t seed[1024] = {0x51}; /* the checksum is right already */
        size_t size = 1;
        frame_writer_init(&writer);
        for (size_t frames = 0; frames <= i / 2; frames++) {
            struct frame *frame = frame_new((uint16_t)i, sizes[i]);
            memset(frame->payload, (int)i, sizes[i]);
            frame_writer_put(&writer, 1, frame, 0);
        }
        uint32_t count = frame_writer_gather(&writer, pieces);
        for (uint32_t at = 0; at < count; size += pieces[at++].size)
            memcpy(seed + size, pieces[at].data, pieces[at].size);
        write(context, names[i], seed, size);
        frame_writer_fini(&writer);
    }
}
