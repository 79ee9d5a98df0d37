#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

enum { LINE_SIZE_MAX = 2048 };

void log_event(struct log *log, enum log_level level, const char *format, ...)
{
    if (!log || level < log->level)
        return;
    char line[LINE_SIZE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log->write(log, level, line);
}

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    return names[level];
}
