#include "env/rocks_records.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/check.h"

enum { BLOCK_SIZE = 32 * 1024, HEADER_SIZE = 7, WHOLE = 1, FIRST = 2, MIDDLE = 3, LAST = 4 };
enum { SECTOR_SIZE = 512, BATCH_HEADER_SIZE = 12, PATH_SIZE = 4096 };

/* What a record that is not good is taken for. */
enum verdict { VERDICT_GOOD, VERDICT_CUT, VERDICT_TORN, VERDICT_EMPTY, VERDICT_DAMAGED };

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
    bool is_behind_bad;    /* an older log has a record that is not good */
    enum verdict verdict;
    uint64_t bad_offset;                /* of the record that it is about */
    uint64_t batch_last, last_sequence; /* RocksDB's: of the batch that is being read, of all that are whole */
    uint64_t synced_sequence;           /* the most that a mark behind a bad record claims */
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

static bool is_one_byte(uint32_t difference)
{
    while (difference > 0xff && (difference & 0xff) == 0)
        difference >>= 8;
    return difference > 0 && difference <= 0xff;
}

/* Is what [from, to) of the block shares with the sector of `at` all zeros? Then it may never have been written. */
static bool sector_is_empty(const struct reader *reader, size_t at, size_t from, size_t to)
{
    size_t begin = at / SECTOR_SIZE * SECTOR_SIZE, end = begin + SECTOR_SIZE;
    if (begin < from)
        begin = from;
    if (end > to)
        end = to;
    return are_zeros(reader->block + begin, end - begin);
}

/* Would the record be good if one byte of it were another? The checksum of the difference is that of one byte followed
 * by zeros, so it is turned back by zeros until it is one of a single byte. */
static bool is_one_byte_off(const struct reader *reader, size_t at, size_t length)
{
    const uint8_t *header = reader->block + at;
    uint32_t crc = ~0u, stored = stored_crc(header), index = 0;
    uint8_t table_of_top[256];
    for (size_t i = 6; i < HEADER_SIZE + length; i++)
        crc = reader->crc_table[(crc ^ header[i]) & 0xff] ^ crc >> 8;
    if (is_one_byte(masked(~crc) ^ stored))
        return true;
    for (uint32_t i = 0; i < 256; i++)
        table_of_top[reader->crc_table[i] >> 24] = (uint8_t)i;
    uint32_t unmasked = stored - 0xa282ead8, difference = ~crc ^ (unmasked >> 17 | unmasked << 15);
    for (size_t i = HEADER_SIZE + length; i > 6; i--) {
        index = table_of_top[difference >> 24];
        difference = (difference ^ reader->crc_table[index]) << 8 | index;
        if (difference <= 0xff)
            return !sector_is_empty(reader, at + i - 1, at, at + HEADER_SIZE + length);
    }
    return false;
}

static enum err bad(const struct reader *reader, uint64_t offset, const char *what, struct error *err)
{
    return error_set(err, ERR_CORRUPT, "%s: the record at offset %llu %s", reader->path, (unsigned long long)offset,
                     what);
}

/* Kinds that are not ours to know (a newer RocksDB) are RocksDB's to judge. */
static void take_good(struct reader *reader, const uint8_t *header, size_t length, uint64_t offset)
{
    uint8_t kind = header[6];
    if (kind == FIRST)
        reader->begun_at = offset;
    if (kind == FIRST || kind == MIDDLE)
        reader->is_inside = true;
    if ((kind == FIRST || kind == WHOLE) && length >= BATCH_HEADER_SIZE) {
        uint64_t first;
        uint32_t count;
        memcpy(&first, header + HEADER_SIZE, sizeof first);
        memcpy(&count, header + HEADER_SIZE + sizeof first, sizeof count);
        reader->batch_last = first + count - 1;
    }
    if (kind == WHOLE || kind == LAST) {
        reader->is_inside = false;
        if (reader->batch_last > reader->last_sequence)
            reader->last_sequence = reader->batch_last;
    }
}

static bool has_lost_sector(const struct reader *reader, size_t at, size_t end)
{
    for (size_t i = at; i < end; i = (i / SECTOR_SIZE + 1) * SECTOR_SIZE)
        if (sector_is_empty(reader, i, at, end))
            return true;
    return false;
}

/* The record at `at` is not good. What was synced ends with a mark: if more than its end is missing, no byte was changed. */
static enum verdict judge(const struct reader *reader, size_t at, size_t length)
{
    const uint8_t *header = reader->block + at;
    size_t have = reader->size - at, end = at + HEADER_SIZE + length;
    uint64_t data_end = reader->data_end - reader->block_offset;
    bool is_cut = data_end < at + HEADER_SIZE || (data_end < end && end <= BLOCK_SIZE);
    if (have >= HEADER_SIZE && fits_any_length(reader, header, have))
        return VERDICT_DAMAGED;
    if (is_cut && end - data_end >= ROCKS_RECORDS_MARK_SIZE)
        return VERDICT_CUT;
    if (end <= reader->size && is_one_byte_off(reader, at, length))
        return VERDICT_DAMAGED;
    if (is_cut)
        return VERDICT_CUT;
    return has_lost_sector(reader, at, end <= reader->size ? end : reader->size) ? VERDICT_TORN : VERDICT_DAMAGED;
}

static enum verdict look_at(struct reader *reader, size_t at, size_t *ret_size)
{
    const uint8_t *header = reader->block + at;
    size_t left = reader->size - at;
    size_t length = left >= HEADER_SIZE ? (size_t)header[4] | (size_t)header[5] << 8 : 0;
    if (are_zeros(header, left < HEADER_SIZE ? left : HEADER_SIZE))
        return VERDICT_EMPTY;
    if (left < HEADER_SIZE + length || !crc_fits(reader, header, length))
        return judge(reader, at, length);
    take_good(reader, header, length, reader->block_offset + at);
    *ret_size = HEADER_SIZE + length;
    return VERDICT_GOOD;
}

static void find_marks(struct reader *reader, const uint8_t *data, size_t size);

/* Up to the first record that is not good, of all logs; from there on, marks are looked for. */
static enum err check_block(struct reader *reader, struct error *err)
{
    (void)err;
    size_t at = 0, size = 0;
    while (reader->verdict == VERDICT_GOOD && at < reader->size) {
        if (BLOCK_SIZE - at < HEADER_SIZE) { /* padding */
            if (are_zeros(reader->block + at, reader->size - at))
                return ERR_OK;
            reader->verdict = VERDICT_DAMAGED;
        } else
            reader->verdict = look_at(reader, at, &size);
        if (reader->verdict == VERDICT_GOOD)
            at += size;
        else
            reader->bad_offset = reader->block_offset + at;
    }
    if (reader->is_behind_bad)
        at = 0;
    find_marks(reader, reader->block + at, reader->size - at);
    return ERR_OK;
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

/* Goes on from what `reader` knows of older logs. */
static enum err read_file(struct reader *reader, const char *path, struct error *err)
{
    reader->path = path;
    reader->file = fopen(path, "re");
    if (!reader->file)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    reader->data_end = 0;
    enum err code = read_blocks(reader, find_data_end, err);
    if (code == ERR_OK)
        code = read_blocks(reader, check_block, err);
    fclose(reader->file);
    return code;
}

enum err rocks_records_check(const char *path, bool *ret_is_cut, struct error *err)
{
    struct reader reader = {.path = path};
    make_crc_table(reader.crc_table);
    enum err code = read_file(&reader, path, err);
    if (code != ERR_OK)
        return code;
    enum verdict verdict = reader.verdict;
    if (verdict == VERDICT_DAMAGED)
        return bad(&reader, reader.bad_offset, "is damaged", err);
    if (verdict == VERDICT_EMPTY && reader.data_end > reader.bad_offset)
        return bad(&reader, reader.bad_offset, "is empty, but the file goes on", err);
    if (verdict == VERDICT_TORN)
        bad(&reader, reader.bad_offset, "was not written as a whole before the power was gone", err);
    if (verdict == VERDICT_CUT)
        bad(&reader, reader.bad_offset, "is the last, and not all of it was written", err);
    else if (reader.is_inside)
        bad(&reader, reader.begun_at, "is the last, and not all of it was written", err);
    *ret_is_cut = verdict == VERDICT_CUT || verdict == VERDICT_TORN || reader.is_inside;
    return ERR_OK;
}

/* ---- what was synced */

/* Seven bytes, the number, a checksum, and a byte that is not zero: a record that ends in zeros looks like one that was
 * cut. */
static const uint8_t MARK[7] = {0xb8, 's', 'y', 'n', 'c', 'e', 'd'};
enum { MARK_SUM_AT = sizeof MARK + sizeof(uint64_t), MARK_LAST = 0x9e };
_Static_assert(MARK_SUM_AT + sizeof(uint32_t) + 1 == ROCKS_RECORDS_MARK_SIZE, "a mark is what the header says");

/* FNV-1a; RocksDB's checksum covers the mark as well, unless it is in a record that is bad. */
static uint32_t mark_sum(const uint8_t *mark)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < MARK_SUM_AT; i++)
        sum = (sum ^ mark[i]) * 16777619u;
    return sum;
}

void rocks_records_mark(uint64_t synced, uint8_t ret_mark[static ROCKS_RECORDS_MARK_SIZE])
{
    memcpy(ret_mark, MARK, sizeof MARK);
    memcpy(ret_mark + sizeof MARK, &synced, sizeof synced);
    uint32_t sum = mark_sum(ret_mark);
    memcpy(ret_mark + MARK_SUM_AT, &sum, sizeof sum);
    ret_mark[ROCKS_RECORDS_MARK_SIZE - 1] = MARK_LAST;
}

static void find_marks(struct reader *reader, const uint8_t *data, size_t size)
{
    while (size >= ROCKS_RECORDS_MARK_SIZE) {
        const uint8_t *found = memmem(data, size - ROCKS_RECORDS_MARK_SIZE + sizeof MARK, MARK, sizeof MARK);
        if (!found)
            return;
        uint64_t synced;
        uint32_t sum;
        memcpy(&synced, found + sizeof MARK, sizeof synced);
        memcpy(&sum, found + MARK_SUM_AT, sizeof sum);
        if (found[ROCKS_RECORDS_MARK_SIZE - 1] == MARK_LAST && sum == mark_sum(found) &&
            synced > reader->synced_sequence)
            reader->synced_sequence = synced;
        size -= (size_t)(found + 1 - data);
        data = found + 1;
    }
}

/* In order: logs from the oldest on. Their names have one length. */
static enum err list_logs(const char *directory, char ***ret_names, size_t *ret_count, struct error *err)
{
    DIR *entries = opendir(directory);
    if (!entries)
        return error_set(err, ERR_IO, "%s: %s", directory, strerror(errno));
    char **names = NULL;
    size_t count = 0;
    for (const struct dirent *entry; (entry = readdir(entries));) {
        size_t size = strlen(entry->d_name);
        if (size <= 4 || strcmp(entry->d_name + size - 4, ".log") != 0)
            continue;
        names = realloc(names, (count + 1) * sizeof *names);
        CHECK(names);
        names[count] = strdup(entry->d_name);
        CHECK(names[count]);
        count++;
    }
    closedir(entries);
    *ret_names = names;
    *ret_count = count;
    return ERR_OK;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* Remembers the first record of all logs that is not good. */
static enum err check_log(struct reader *reader, const char *path, struct reader *first_bad, struct error *err)
{
    reader->verdict = VERDICT_GOOD;
    reader->is_inside = false;
    enum err code = read_file(reader, path, err);
    if (reader->verdict == VERDICT_EMPTY && reader->data_end <= reader->bad_offset)
        reader->verdict = VERDICT_GOOD; /* its end, and room that was not needed */
    if (code == ERR_OK && reader->verdict == VERDICT_DAMAGED && !BUG(damage_is_a_crash))
        code = bad(reader, reader->bad_offset, "is damaged, and what was promised would be forgotten with it", err);
    if (code == ERR_OK && reader->verdict == VERDICT_GOOD && reader->is_inside) {
        reader->verdict = VERDICT_CUT;
        reader->bad_offset = reader->begun_at;
    }
    if (code == ERR_OK && reader->verdict != VERDICT_GOOD && !reader->is_behind_bad) {
        reader->is_behind_bad = true;
        *first_bad = *reader;
    }
    return code;
}

static enum err check_logs(const char *directory, struct reader *reader, struct reader *first_bad, struct error *err)
{
    char **names = NULL, path[PATH_SIZE], bad_path[PATH_SIZE] = "";
    size_t count = 0;
    enum err code = list_logs(directory, &names, &count, err);
    if (count > 1)
        qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        int length = snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        code = length < (int)sizeof path ? check_log(reader, path, first_bad, err)
                                         : error_set(err, ERR_IO, "%s: the name is too long", directory);
        if (bad_path[0] == '\0' && first_bad->verdict != VERDICT_GOOD)
            memcpy(bad_path, path, sizeof path);
    }
    first_bad->path = bad_path;
    if (code == ERR_OK && first_bad->verdict != VERDICT_GOOD && reader->synced_sequence > first_bad->last_sequence)
        code =
            bad(first_bad, first_bad->bad_offset, "is lost, and what was promised behind it would be forgotten", err);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
    return code;
}

/* The one that CURRENT names; what is wrong with that is RocksDB's to say. Nothing in it is used before it is synced. */
static enum err check_manifest(const char *directory, struct reader *reader, struct error *err)
{
    char path[PATH_SIZE], name[64] = "";
    if (snprintf(path, sizeof path, "%s/CURRENT", directory) >= (int)sizeof path)
        return ERR_OK;
    FILE *file = fopen(path, "re");
    if (!file)
        return ERR_OK;
    bool has_name = fscanf(file, "%63s", name) == 1 && strncmp(name, "MANIFEST-", strlen("MANIFEST-")) == 0;
    fclose(file);
    if (!has_name || snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path ||
        access(path, R_OK) != 0)
        return ERR_OK;
    enum err code = read_file(reader, path, err);
    if (code == ERR_OK && reader->verdict == VERDICT_DAMAGED)
        code = bad(reader, reader->bad_offset, "is damaged", err);
    return code;
}

enum err rocks_records_check_syncs(const char *directory, struct error *err)
{
    if (access(directory, F_OK) != 0)
        return ERR_OK; /* nothing yet */
    struct reader *readers = calloc(2, sizeof *readers);
    CHECK(readers);
    for (size_t i = 0; i < 2; i++)
        make_crc_table(readers[i].crc_table);
    enum err code = check_manifest(directory, &readers[1], err);
    readers[1].verdict = VERDICT_GOOD;
    if (code == ERR_OK)
        code = check_logs(directory, &readers[0], &readers[1], err);
    free(readers);
    return code;
}
