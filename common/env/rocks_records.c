#include "env/rocks_records.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_SIZE = 32 * 1024, HEADER_SIZE = 7, WHOLE = 1, FIRST = 2, MIDDLE = 3, LAST = 4 };

struct reader {
    const char *path;
    FILE *file;
    uint8_t block[BLOCK_SIZE];
    size_t size;           /* of what is in `block` */
    uint64_t block_offset; /* in the file */
    uint64_t begun_at;     /* where the record began that is not complete yet */
    bool is_inside;        /* of a record of several parts */
    bool is_over;          /* only zeros may follow */
};

static bool are_zeros(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i])
            return false;
    return true;
}

static enum err bad(const struct reader *reader, uint64_t offset, const char *what, struct error *err)
{
    return error_set(err, ERR_CORRUPT, "%s: the record at offset %llu %s", reader->path, (unsigned long long)offset,
                     what);
}

/* Kinds that are not ours to know (a newer RocksDB) are RocksDB's to judge. */
static void take_kind(struct reader *reader, uint8_t kind, uint64_t offset)
{
    if (kind == FIRST)
        reader->begun_at = offset;
    if (kind == FIRST || kind == MIDDLE)
        reader->is_inside = true;
    if (kind == WHOLE || kind == LAST)
        reader->is_inside = false;
}

static enum err check_block(struct reader *reader, struct error *err)
{
    size_t at = 0;
    while (!reader->is_over && at + HEADER_SIZE <= reader->size) {
        const uint8_t *header = reader->block + at;
        size_t length = (size_t)header[4] | (size_t)header[5] << 8;
        if (are_zeros(header, HEADER_SIZE)) {
            reader->is_over = true;
            break;
        }
        if (at + HEADER_SIZE + length > reader->size)
            return bad(reader, reader->block_offset + at, "is longer than the room it has", err);
        take_kind(reader, header[6], reader->block_offset + at);
        at += HEADER_SIZE + length;
    }
    if (reader->is_over && !are_zeros(reader->block + at, reader->size - at))
        return bad(reader, reader->block_offset + at, "is empty, but the file goes on", err);
    if (!reader->is_over && at < reader->size && reader->size < BLOCK_SIZE &&
        !are_zeros(reader->block + at, reader->size - at))
        return bad(reader, reader->block_offset + at, "has not even a whole header", err);
    return ERR_OK;
}

enum err rocks_records_check_end(const char *path, struct error *err)
{
    struct reader reader = {.path = path, .file = fopen(path, "re")};
    enum err code = ERR_OK;
    if (!reader.file)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    while (code == ERR_OK && (reader.size = fread(reader.block, 1, BLOCK_SIZE, reader.file)) > 0) {
        code = check_block(&reader, err);
        reader.block_offset += reader.size;
    }
    if (code == ERR_OK && ferror(reader.file))
        code = error_set(err, ERR_IO, "%s: cannot be read", path);
    if (code == ERR_OK && reader.is_inside)
        code = bad(&reader, reader.begun_at, "has no end", err);
    fclose(reader.file);
    return code;
}
