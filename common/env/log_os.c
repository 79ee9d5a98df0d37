#include "env/log_os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"

enum { LINE_SIZE_MAX = 8192 };

struct log_os {
    struct log log; /* must be first */
    int descriptor;
    bool is_file;
    bool is_json;
    char *prefix; /* owned */
};

struct line {
    char text[LINE_SIZE_MAX];
    size_t size;
};

static void add(struct line *line, const char *text, size_t size)
{
    enum { TAIL_SIZE = 4 }; /* what closes a JSON line, and the newline */
    size_t room = sizeof line->text - TAIL_SIZE - line->size;
    if (size > room)
        size = room;
    memcpy(line->text + line->size, text, size);
    line->size += size;
}

static void add_string(struct line *line, const char *text)
{
    add(line, text, strlen(text));
}

/* Nothing that could forge a line or drive a terminal. */
static void add_safe(struct line *line, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        add(line, c < 0x20 || c >= 0x7f ? "?" : text, 1);
    }
}

static void add_time(struct line *line)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char text[64];
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + size, sizeof text - size, ".%03dZ", (int)(now.tv_nsec / 1000000));
    add_string(line, text);
}

/* --- key=value to JSON --- */

static void add_json_char(struct line *line, unsigned char c)
{
    char text[8];
    if (c == '"' || c == '\\')
        add(line, (char[]){'\\', (char)c}, 2);
    else if (c < 0x20 || c >= 0x7f) { /* not known to be UTF-8, and JSON must be: as Latin-1 */
        snprintf(text, sizeof text, "\\u%04x", c);
        add_string(line, text);
    } else
        add(line, (char *)&c, 1);
}

/* Whether the rest of the line still has room for the longest escape of one character and the closing quote: a line
 * that is cut must stay valid JSON. */
static bool has_room(const struct line *line)
{
    return sizeof line->text - line->size > 64;
}

static void add_json_text(struct line *line, const char *begin, const char *end)
{
    for (const char *c = begin; c != end && has_room(line); c++)
        add_json_char(line, (unsigned char)*c);
}

/* One `key=value` or `key="value"`; a word without `=` is its own value under "text". Returns what follows. */
static const char *add_json_field(struct line *line, const char *at)
{
    const char *key = at;
    while (*at && *at != '=' && *at != ' ')
        at++;
    const char *key_end = at;
    bool has_value = *at == '=';
    add_string(line, ",\"");
    if (has_value)
        add_json_text(line, key, key_end);
    else
        add_string(line, "text");
    add_string(line, "\":\"");
    if (!has_value) {
        add_json_text(line, key, key_end);
    } else if (*++at == '"') {
        for (at++; *at && *at != '"'; at++) {
            if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
                at++;
            if (has_room(line))
                add_json_char(line, (unsigned char)*at);
        }
        at += *at == '"';
    } else {
        for (; *at && *at != ' '; at++)
            if (has_room(line))
                add_json_char(line, (unsigned char)*at);
    }
    add_string(line, "\"");
    return at;
}

static void add_json_fields(struct line *line, const char *fields)
{
    for (const char *at = fields; *at && has_room(line);) {
        if (*at == ' ')
            at++;
        else
            at = add_json_field(line, at);
    }
}

static void write_all(int descriptor, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t written = write(descriptor, text, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return; /* nowhere left to say so */
        text += written;
        size -= (size_t)written;
    }
}

static void log_os_write(struct log *log, enum log_level level, const char *fields)
{
    struct log_os *self = (struct log_os *)log;
    struct line line;
    line.size = 0;
    if (self->is_json) {
        add_string(&line, "{\"time\":\"");
        add_time(&line);
        add_string(&line, "\",\"level\":\"");
        add_string(&line, log_level_name(level));
        add_string(&line, "\"");
        if (self->prefix)
            add_json_fields(&line, self->prefix);
        add_json_fields(&line, fields);
        add_string(&line, "}");
    } else {
        add_time(&line);
        add_string(&line, " ");
        add_string(&line, log_level_name(level));
        if (self->prefix) {
            add_string(&line, " ");
            add_safe(&line, self->prefix);
        }
        add_string(&line, " ");
        add_safe(&line, fields);
    }
    line.text[line.size++] = '\n';
    write_all(self->descriptor, line.text, line.size);
}

enum err log_os_new(const struct log_os_options *options, struct log **ret_log, struct error *err)
{
    int descriptor = STDERR_FILENO;
    if (options->path) {
        descriptor = open(options->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (descriptor < 0)
            return error_set(err, errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, "log file %s: %s", options->path,
                             strerror(errno));
    }
    struct log_os *self = calloc(1, sizeof *self);
    CHECK(self);
    self->log = (struct log){.level = options->level, .write = log_os_write};
    self->descriptor = descriptor;
    self->is_file = options->path != NULL;
    self->is_json = options->json;
    if (options->prefix && options->prefix[0]) {
        self->prefix = strdup(options->prefix);
        CHECK(self->prefix);
    }
    *ret_log = &self->log;
    return ERR_OK;
}

void log_os_free(struct log *log)
{
    if (!log)
        return;
    struct log_os *self = (struct log_os *)log;
    if (self->is_file)
        close(self->descriptor);
    free(self->prefix);
    free(self);
}

enum err log_level_parse(const char *text, enum log_level *ret_level)
{
    for (enum log_level level = LOG_DEBUG; level <= LOG_ERROR; level++)
        if (strcmp(text, log_level_name(level)) == 0) {
            *ret_level = level;
            return ERR_OK;
        }
    return ERR_INVALID;
}
