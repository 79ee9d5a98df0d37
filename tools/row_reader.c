#include "row_reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "cli.h"
#include "env/os.h"
#include "kv.h"

struct row_reader {
    struct os_lines *lines; /* owned */
    char *path;             /* owned; for messages */
    enum row_format format;
    bool raw;
    uint64_t line_base; /* lines passed over by a skip */
    struct buf key, value;
};

enum err row_reader_open(const char *path, enum row_format format, bool raw, struct row_reader **ret_reader,
                         struct error *err)
{
    struct os_lines *lines;
    enum err code = os_lines_open(path, KV_TEXT_SIZE_MAX, &lines, err);
    if (code != ERR_OK)
        return code;
    struct row_reader *reader = calloc(1, sizeof *reader);
    CHECK(reader);
    reader->lines = lines;
    reader->path = strdup(path);
    CHECK(reader->path);
    reader->format = format;
    reader->raw = raw;
    buf_init(&reader->key, KV_TEXT_SIZE_MAX);
    buf_init(&reader->value, KV_TEXT_SIZE_MAX);
    *ret_reader = reader;
    return ERR_OK;
}

void row_reader_close(struct row_reader *reader)
{
    if (!reader)
        return;
    os_lines_close(reader->lines);
    buf_fini(&reader->key);
    buf_fini(&reader->value);
    free(reader->path);
    free(reader);
}

uint64_t row_reader_line(const struct row_reader *reader)
{
    return reader->line_base + os_lines_number(reader->lines);
}

uint64_t row_reader_position(const struct row_reader *reader)
{
    return os_lines_position(reader->lines);
}

uint64_t row_reader_size(const struct row_reader *reader)
{
    return os_lines_size(reader->lines);
}

enum err row_reader_skip(struct row_reader *reader, uint64_t position, uint64_t line, struct error *err)
{
    enum err code = os_lines_skip(reader->lines, position, err);
    if (code == ERR_OK)
        reader->line_base = line;
    return code;
}

static enum err name_line(const struct row_reader *reader, enum err code, struct error *err)
{
    struct error inner = *err;
    return error_set(err, code, "%s:%" PRIu64 ": %s", reader->path, row_reader_line(reader), inner.text);
}

static enum err next_tsv(struct row_reader *reader, struct error *err)
{
    struct bytes line;
    enum err code;
    do
        code = os_lines_next(reader->lines, &line, err);
    while (code == ERR_OK && line.size == 0);
    if (code == ERR_NOT_FOUND)
        return code;
    if (code != ERR_OK)
        return name_line(reader, code, err);
    const uint8_t *tab = memchr(line.data, '\t', line.size);
    if (!tab)
        code = error_set(err, ERR_INVALID, "no tab between key and value");
    struct bytes key = bytes_of(line.data, tab ? (size_t)(tab - line.data) : 0);
    struct bytes value = bytes_of(line.data + key.size + 1, tab ? line.size - key.size - 1 : 0);
    if (code == ERR_OK)
        code = reader->raw ? buf_append_bytes(&reader->key, key) : cli_unescape(key, &reader->key, err);
    if (code == ERR_OK)
        code = reader->raw ? buf_append_bytes(&reader->value, value) : cli_unescape(value, &reader->value, err);
    return code == ERR_OK ? ERR_OK : name_line(reader, code, err);
}

/* The text behind `name` at the start of a line; false if it is another line. */
static bool field(struct bytes line, const char *name, struct bytes *ret_value)
{
    struct bytes prefix = bytes_of_string(name);
    if (!bytes_has_prefix(line, prefix))
        return false;
    *ret_value = bytes_of(line.data + prefix.size, line.size - prefix.size);
    return true;
}

static enum err next_dpkg(struct row_reader *reader, struct error *err)
{
    struct buf architecture;
    struct bytes line, text;
    bool same = false;
    enum err code;
    buf_init(&architecture, 1024);
    while ((code = os_lines_next(reader->lines, &line, err)) == ERR_OK) {
        if (line.size == 0 && reader->value.size == 0)
            continue;
        if (line.size == 0)
            break;
        if (field(line, "Package: ", &text))
            buf_assign(&reader->key, text);
        else if (field(line, "Architecture: ", &text))
            buf_assign(&architecture, text);
        else if (field(line, "Multi-Arch: ", &text))
            same = bytes_equal(text, bytes_of_string("same"));
        if (reader->value.size)
            buf_append_u8(&reader->value, '\n');
        code = buf_append_bytes(&reader->value, line);
        if (code != ERR_OK) {
            error_set(err, code, "the stanza is too long");
            break;
        }
    }
    if (code == ERR_NOT_FOUND && reader->value.size)
        code = ERR_OK;
    if (code == ERR_OK && reader->key.size == 0)
        code = error_set(err, ERR_INVALID, "a stanza without \"Package:\"; is this a status file of dpkg?");
    if (code == ERR_OK && same) {
        buf_append_u8(&reader->key, ':');
        buf_append_bytes(&reader->key, buf_bytes(&architecture));
    }
    buf_fini(&architecture);
    return code == ERR_OK || code == ERR_NOT_FOUND ? code : name_line(reader, code, err);
}

enum err row_reader_next(struct row_reader *reader, struct bytes *ret_key, struct bytes *ret_value, struct error *err)
{
    buf_reset(&reader->key);
    buf_reset(&reader->value);
    enum err code = reader->format == ROW_DPKG ? next_dpkg(reader, err) : next_tsv(reader, err);
    if (code != ERR_OK)
        return code;
    *ret_key = buf_bytes(&reader->key);
    *ret_value = buf_bytes(&reader->value);
    return ERR_OK;
}
