#include "env/rocks_records.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK_SIZE = 32 * 1024, HEADER_SIZE = 7, WHOLE = 1, FIRST = 2, MIDDLE = 3, LAST = 4 };

struct reader {
    const char *path;
    FILE *file;
    uint32_t crc_table[256];
    uint8_t block[BLOCK_SIZE];
    size_t size;           /* of what is in `block` */
    uint64_t block_offset; /* in the file */
    uint64_t data_end;     /* in the file: behind it are only zeros */
    uint64_t begun_at;     /* where the record began that is not complete yet */
    bool is_inside;        /* of a record of several parts */
    bool is_over;          /* only zeros may follow */
    bool is_cut;
    bool is_bad; /* check_syncs: from bad_offset on; marks that came after it */
    uint64_t bad_offset;
    uint64_t last_mark;
    uint32_t mark_count;
};

/* CRC-32C, Castagnoli's polynomial, bits reversed. */
static void make_crc_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        table[i] = crc;
    }
}

/* As RocksDB stores it: turned and moved, since it computes checksums of data that holds checksums. */
static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static uint32_t stored_crc(const uint8_t *header)
{
    return (uint32_t)header[0] | (uint32_t)header[1] << 8 | (uint32_t)header[2] << 16 | (uint32_t)header[3] << 24;
}

static bool are_zeros(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i])
            return false;
    return true;
}

static bool crc_fits(const struct reader *reader, const uint8_t *header, size_t length)
{
    uint32_t crc = ~0u;
    for (size_t i = 6; i < HEADER_SIZE + length; i++)
        crc = reader->crc_table[(crc ^ header[i]) & 0xff] ^ crc >> 8;
    return masked(~crc) == stored_crc(header);
}

/* Would the record be good with another length? Then that is what was damaged. */
static bool fits_any_length(const struct reader *reader, const uint8_t *header, size_t size)
{
    uint32_t crc = ~0u, stored = stored_crc(header);
    for (size_t i = 6; i < size; i++) {
        crc = reader->crc_table[(crc ^ header[i]) & 0xff] ^ crc >> 8;
        if (masked(~crc) == stored)
            return true;
    }
    return false;
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

/* The record at `at` is not good. Cut: some of its last bytes were never written. */
static enum err judge(struct reader *reader, size_t at, size_t length, struct error *err)
{
    const uint8_t *header = reader->block + at;
    uint64_t offset = reader->block_offset + at;
    size_t have = reader->size - at;
    bool has_header = offset + HEADER_SIZE <= reader->data_end;
    bool is_short = offset + HEADER_SIZE + length > reader->data_end;
    bool fits_block = at + HEADER_SIZE + length <= BLOCK_SIZE;
    if (has_header && (!is_short || !fits_block || fits_any_length(reader, header, have)))
        return bad(reader, offset, "is damaged", err);
    reader->is_cut = reader->is_over = true;
    bad(reader, offset, "is the last, and not all of it was written", err);
    return ERR_OK;
}

static enum err check_block(struct reader *reader, struct error *err)
{
    enum err code = ERR_OK;
    for (size_t at = 0; code == ERR_OK && !reader->is_over && at < reader->size;) {
        const uint8_t *header = reader->block + at;
        size_t left = reader->size - at;
        if (BLOCK_SIZE - at < HEADER_SIZE) /* padding */
            return are_zeros(header, left) ? ERR_OK : bad(reader, reader->block_offset + at, "is no padding", err);
        size_t length = left >= HEADER_SIZE ? (size_t)header[4] | (size_t)header[5] << 8 : 0;
        if (are_zeros(header, left < HEADER_SIZE ? left : HEADER_SIZE)) {
            reader->is_over = true;
            if (reader->data_end > reader->block_offset + at)
                return bad(reader, reader->block_offset + at, "is empty, but the file goes on", err);
        } else if (left < HEADER_SIZE + length || !crc_fits(reader, header, length)) {
            code = judge(reader, at, length, err);
        } else {
            take_kind(reader, header[6], reader->block_offset + at);
            at += HEADER_SIZE + length;
        }
    }
    return code;
}

static enum err read_blocks(struct reader *reader, enum err (*take)(struct reader *reader, struct error *err),
                            struct error *err)
{
    enum err code = ERR_OK;
    rewind(reader->file);
    reader->block_offset = 0;
    while (code == ERR_OK && (reader->size = fread(reader->block, 1, BLOCK_SIZE, reader->file)) > 0) {
        code = take(reader, err);
        reader->block_offset += reader->size;
    }
    if (code == ERR_OK && ferror(reader->file))
        code = error_set(err, ERR_IO, "%s: cannot be read", reader->path);
    return code;
}

static enum err find_data_end(struct reader *reader, struct error *err)
{
    (void)err;
    size_t size = reader->size;
    while (size > 0 && reader->block[size - 1] == 0)
        size--;
    if (size > 0)
        reader->data_end = reader->block_offset + size;
    return ERR_OK;
}

enum err rocks_records_check(const char *path, bool *ret_is_cut, struct error *err)
{
    struct reader reader = {.path = path, .file = fopen(path, "re")};
    if (!reader.file)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    make_crc_table(reader.crc_table);
    enum err code = read_blocks(&reader, find_data_end, err);
    if (code == ERR_OK)
        code = read_blocks(&reader, check_block, err);
    if (code == ERR_OK && reader.is_inside && !reader.is_cut) {
        reader.is_cut = true;
        bad(&reader, reader.begun_at, "is the last, and not all of it was written", err);
    }
    fclose(reader.file);
    *ret_is_cut = reader.is_cut;
    return code;
}

/* ---- what was synced */

/* Seven bytes, the number, and one that is not zero: a record that ends in zeros looks like one that was cut. */
static const uint8_t MARK[7] = {0xb7, 's', 'y', 'n', 'c', 'e', 'd'};
enum { MARK_LAST = 0x9e };

void rocks_records_mark(uint64_t number, uint8_t ret_mark[static ROCKS_RECORDS_MARK_SIZE])
{
    memcpy(ret_mark, MARK, sizeof MARK);
    memcpy(ret_mark + sizeof MARK, &number, sizeof number);
    ret_mark[ROCKS_RECORDS_MARK_SIZE - 1] = MARK_LAST;
}

static void count_marks(struct reader *reader, const uint8_t *data, size_t size)
{
    while (size >= ROCKS_RECORDS_MARK_SIZE) {
        const uint8_t *found = memmem(data, size - ROCKS_RECORDS_MARK_SIZE + sizeof MARK, MARK, sizeof MARK);
        if (!found)
            return;
        uint64_t number;
        memcpy(&number, found + sizeof MARK, sizeof number);
        if (found[ROCKS_RECORDS_MARK_SIZE - 1] == MARK_LAST &&
            (reader->mark_count == 0 || number != reader->last_mark)) {
            reader->mark_count++;
            reader->last_mark = number;
        }
        size -= (size_t)(found + 1 - data);
        data = found + 1;
    }
}

static enum err count_in_block(struct reader *reader, struct error *err)
{
    (void)err;
    size_t at = 0;
    while (!reader->is_bad && at + HEADER_SIZE <= reader->size) {
        const uint8_t *header = reader->block + at;
        size_t length = (size_t)header[4] | (size_t)header[5] << 8;
        if (at + HEADER_SIZE + length > reader->size || are_zeros(header, HEADER_SIZE) ||
            !crc_fits(reader, header, length)) {
            reader->bad_offset = reader->block_offset + at;
            reader->is_bad = true;
        } else {
            at += HEADER_SIZE + length;
        }
    }
    if (reader->is_bad) /* where records begin is not known any more; marks are known by themselves */
        count_marks(reader, reader->block + at, reader->size - at);
    return ERR_OK;
}

static enum err check_syncs(const char *path, struct error *err)
{
    struct reader reader = {.path = path, .file = fopen(path, "re")};
    if (!reader.file)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    make_crc_table(reader.crc_table);
    enum err code = read_blocks(&reader, count_in_block, err);
    fclose(reader.file);
    if (code == ERR_OK && reader.mark_count >= ROCKS_RECORDS_MARKS_MIN)
        code = bad(&reader, reader.bad_offset, "is damaged, and what was promised after it would be forgotten", err);
    return code;
}

enum err rocks_records_check_syncs(const char *directory, struct error *err)
{
    DIR *entries = opendir(directory);
    if (!entries)
        return errno == ENOENT ? ERR_OK : error_set(err, ERR_IO, "%s: %s", directory, strerror(errno));
    enum err code = ERR_OK;
    for (const struct dirent *entry; code == ERR_OK && (entry = readdir(entries));) {
        size_t size = strlen(entry->d_name);
        char path[4096];
        if (size <= 4 || strcmp(entry->d_name + size - 4, ".log") != 0)
            continue;
        int length = snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        code = length < (int)sizeof path ? check_syncs(path, err)
                                         : error_set(err, ERR_IO, "%s: the name is too long", directory);
    }
    closedir(entries);
    return code;
}
