/* fuzz_frame: hostile bytes against the reader of frames.
 *
 * The first byte says in which portions the rest arrives. Whatever comes, a frame that is handed out must be one that a
 * writer makes to the same bytes again, and memory must stay within what was sent.
 *
 *   CC=clang CXX=clang++ meson setup BUILD -Dfuzz=true && ninja -C BUILD tests/fuzz_frame
 *   BUILD/tests/fuzz_frame -max_total_time=120 */
#include "base/check.h"
#include "env/frame_reader.h"
#include "env/frame_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t portion = (size_t)data[0] + 1;
    struct frame_reader reader;
    frame_reader_init(&reader, 1, 2);
    enum err code = ERR_NOT_READY;
    for (size_t at = 1; at < size && code == ERR_NOT_READY;) {
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
    return 0;
}
