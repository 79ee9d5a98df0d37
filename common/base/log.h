/* log: one line per event, `key=value`, written where somebody gives up or a role changes; never in a hot loop.
 *
 *   2026-03-01T10:20:30.123Z info store=1 region=17 peer=3 term=9 msg="became leader"
 *
 * A `struct log` is a sink given by env; base knows no files and no time. Threads: the sink is safe from any thread.
 * No addresses in log lines: two runs of one seed must log alike. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log {
    enum log_level level; /* what is below is dropped before it is formatted */
    /* Writes one line (no newline in `fields`); adds time, level and its own prefix such as `store=1`. */
    void (*write)(struct log *log, enum log_level level, const char *fields);
};

/* `log_event(log, LOG_INFO, "region=%llu msg=\"became leader\"", id)`. `log` may be NULL: then nothing is written. */
void log_event(struct log *log, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *log_level_name(enum log_level level);

#endif
