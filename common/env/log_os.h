/* log_os: a log that is written to standard error or to a file, one line and one write(2) per event.
 *
 *   2026-03-01T10:20:30.123Z info store=1 region=17 msg="became leader"
 *   {"time":"2026-03-01T10:20:30.123Z","level":"info","store":"1","region":"17","msg":"became leader"}
 *
 * Control characters and bytes that are not ASCII-printable inside a line are replaced, so that a key in a message
 * cannot forge a line or reach a terminal. Threads: any. */
#ifndef ENV_LOG_OS_H
#define ENV_LOG_OS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/log.h"

struct log_os_options {
    enum log_level level;
    const char *path;   /* appended to; NULL: standard error */
    const char *prefix; /* fields in front of every line, `store=1`; may be NULL */
    bool json;
};

enum err log_os_new(const struct log_os_options *options, struct log **ret_log, struct error *err);
void log_os_free(struct log *log); /* NULL is fine */
/* "debug", "info", "warn", "error"; ERR_INVALID otherwise. */
enum err log_level_parse(const char *text, enum log_level *ret_level);

#endif
