/* row_reader: rows of key and value from a file, one after the other, from any row on.
 *
 *   tsv   lines of key, tab, value; \t \n \\ \xNN stand for bytes (unless raw: then nothing does)
 *   dpkg  /var/lib/dpkg/status: stanzas with a blank line between them; the key is the name of the package, with
 *         `:architecture` where dpkg says it so (Multi-Arch: same); the value is the stanza
 *
 * Owner: one thread. */
#ifndef TOOLS_ROW_READER_H
#define TOOLS_ROW_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

enum row_format { ROW_TSV, ROW_DPKG };

struct row_reader;

/* "-" is standard input. */
enum err row_reader_open(const char *path, enum row_format format, bool raw, struct row_reader **ret_reader,
                         struct error *err);
void row_reader_close(struct row_reader *reader); /* NULL is fine */
/* ERR_OK and a row (lent until the next call), ERR_NOT_FOUND at the end; ERR_INVALID names file and line. */
enum err row_reader_next(struct row_reader *reader, struct bytes *ret_key, struct bytes *ret_value, struct error *err);
uint64_t row_reader_line(const struct row_reader *reader);     /* where the row returned last ends, from 1 */
uint64_t row_reader_position(const struct row_reader *reader); /* behind it, in bytes */
uint64_t row_reader_size(const struct row_reader *reader);     /* of the file; 0: not known */
/* Goes on at what position and line said. */
enum err row_reader_skip(struct row_reader *reader, uint64_t position, uint64_t line, struct error *err);

#endif
