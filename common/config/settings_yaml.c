/* settings_yaml: a YAML file as settings.
 *
 * Only what a flat table needs: one mapping of keys to scalars or sequences of scalars, and one mapping `advanced:`
 * inside. Events are taken one by one and nothing is kept, so nesting, aliases and size cannot make this grow. */
#include "config/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "config/nearest.h"

struct reader {
    struct settings *settings; /* borrowed */
    yaml_parser_t parser;
    const char *file; /* borrowed */
    struct error *err;
    bool advanced;      /* inside `advanced:` */
    bool advanced_seen; /* `advanced:` is there already */
};

static enum err refuse(struct reader *reader, size_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum err refuse(struct reader *reader, size_t line, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(reader->err, ERR_INVALID, "%s:%zu: %s", reader->file, line, text);
}

/* The next event, or an error that libyaml found. What it never lets through: aliases, anchors, tags. */
static enum err next_event(struct reader *reader, yaml_event_t *ret_event)
{
    if (!yaml_parser_parse(&reader->parser, ret_event)) {
        const char *problem = reader->parser.problem ? reader->parser.problem : "not YAML";
        size_t line = reader->parser.problem_mark.line + 1;
        if (reader->parser.error == YAML_READER_ERROR)
            return error_set(reader->err, ERR_INVALID, "%s: %s at byte %zu", reader->file, problem,
                             reader->parser.problem_offset);
        return refuse(reader, line, "%s", problem);
    }
    size_t line = ret_event->start_mark.line + 1;
    enum err code = ERR_OK;
    if (ret_event->type == YAML_ALIAS_EVENT)
        code = refuse(reader, line, "aliases (*name) are not accepted here");
    else if (ret_event->type == YAML_SCALAR_EVENT && (ret_event->data.scalar.anchor || ret_event->data.scalar.tag))
        code = refuse(reader, line, "anchors (&name) and tags (!type) are not accepted here");
    else if (ret_event->type == YAML_SEQUENCE_START_EVENT &&
             (ret_event->data.sequence_start.anchor || ret_event->data.sequence_start.tag))
        code = refuse(reader, line, "anchors (&name) and tags (!type) are not accepted here");
    else if (ret_event->type == YAML_MAPPING_START_EVENT &&
             (ret_event->data.mapping_start.anchor || ret_event->data.mapping_start.tag))
        code = refuse(reader, line, "anchors (&name) and tags (!type) are not accepted here");
    if (code != ERR_OK)
        yaml_event_delete(ret_event);
    return code;
}

/* The text of a scalar event; NULL and `*ret_code` if it cannot be one of ours. Lent until the event is deleted. */
static const char *scalar_text(struct reader *reader, const yaml_event_t *event, const char *key, enum err *ret_code)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t line = event->start_mark.line + 1;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *ret_code = ERR_OK;
    if (strlen(text) != event->data.scalar.length)
        *ret_code = refuse(reader, line, "%s: a zero byte is not accepted", key);
    else if (plain && (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0))
        *ret_code = refuse(reader, line, "%s: has no value", key);
    return *ret_code == ERR_OK ? text : NULL;
}

static enum err set_scalar(struct reader *reader, const char *key, const yaml_event_t *event)
{
    enum err code;
    const char *text = scalar_text(reader, event, key, &code);
    if (!text)
        return code;
    size_t line = event->start_mark.line + 1;
    char place[256];
    snprintf(place, sizeof place, "%s:%zu", reader->file, line);
    struct error inner;
    code = settings_set(reader->settings, key, ORIGIN_FILE, place, text, &inner);
    return code == ERR_OK ? ERR_OK : refuse(reader, line, "%s", inner.text);
}

static enum err read_sequence(struct reader *reader, const struct setting *setting, size_t line)
{
    if (setting->type != SETTING_STRINGS)
        return refuse(reader, line, "%s: wants one value, not a list", setting->key);
    for (bool empty = true;; empty = false) {
        yaml_event_t event;
        enum err code = next_event(reader, &event);
        if (code != ERR_OK)
            return code;
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        if (end && empty)
            code = refuse(reader, line, "%s: has no value", setting->key);
        else if (event.type == YAML_SCALAR_EVENT)
            code = set_scalar(reader, setting->key, &event);
        else if (!end)
            code = refuse(reader, event.start_mark.line + 1, "%s: wants a list of plain values", setting->key);
        yaml_event_delete(&event);
        if (end || code != ERR_OK)
            return code;
    }
}

/* The row of `key` in the section we are in. Says so if the key is right and the section wrong. */
static const struct setting *find_row(struct reader *reader, const char *key, size_t line, enum err *ret_code)
{
    size_t count;
    const struct setting *table = settings_table(reader->settings, &count);
    struct nearest nearest;
    nearest_init(&nearest, key);
    *ret_code = ERR_OK;
    for (size_t i = 0; i < count; i++) {
        if (table[i].flag_only)
            continue;
        nearest_offer(&nearest, table[i].key);
        if (strcmp(table[i].key, key) != 0)
            continue;
        if (table[i].advanced == reader->advanced)
            return &table[i];
        if (reader->advanced)
            *ret_code = refuse(reader, line, "key \"%s\" is a basic one; move it out of \"advanced:\"", key);
        else
            *ret_code = refuse(reader, line, "key \"%s\" is an advanced one; put it under \"advanced:\"", key);
        return NULL;
    }
    if (!reader->advanced)
        nearest_offer(&nearest, "advanced");
    if (nearest.best)
        *ret_code = refuse(reader, line, "unknown key \"%.64s\"; did you mean \"%s\"?", key, nearest.best);
    else
        *ret_code = refuse(reader, line, "unknown key \"%.64s\"", key);
    return NULL;
}

static enum err read_mapping(struct reader *reader);

static enum err read_advanced(struct reader *reader, const yaml_event_t *event)
{
    size_t line = event->start_mark.line + 1;
    if (reader->advanced_seen)
        return refuse(reader, line, "advanced: given twice");
    if (event->type != YAML_MAPPING_START_EVENT)
        return refuse(reader, line, "advanced: wants keys below it, indented");
    reader->advanced_seen = reader->advanced = true;
    enum err code = read_mapping(reader);
    reader->advanced = false;
    return code;
}

static enum err read_value(struct reader *reader, const char *key, size_t key_line)
{
    enum err code = ERR_OK;
    bool is_advanced = !reader->advanced && strcmp(key, "advanced") == 0;
    const struct setting *setting = is_advanced ? NULL : find_row(reader, key, key_line, &code);
    if (code != ERR_OK)
        return code;
    yaml_event_t event;
    code = next_event(reader, &event);
    if (code != ERR_OK)
        return code;
    size_t line = event.start_mark.line + 1;
    if (is_advanced)
        code = read_advanced(reader, &event);
    else if (event.type == YAML_SEQUENCE_START_EVENT)
        code = read_sequence(reader, setting, line);
    else if (event.type == YAML_SCALAR_EVENT)
        code = set_scalar(reader, setting->key, &event);
    else
        code = refuse(reader, line, "%s: wants a value, not keys of its own", key);
    yaml_event_delete(&event);
    return code;
}

/* From behind the start of a mapping to behind its end. Calls itself at most once, for `advanced:`. */
static enum err read_mapping(struct reader *reader)
{
    for (;;) {
        yaml_event_t event;
        enum err code = next_event(reader, &event);
        if (code != ERR_OK)
            return code;
        bool end = event.type == YAML_MAPPING_END_EVENT;
        size_t line = event.start_mark.line + 1;
        if (event.type == YAML_SCALAR_EVENT) {
            const char *key = scalar_text(reader, &event, "key", &code);
            if (key)
                code = read_value(reader, key, line);
        } else if (!end) {
            code = refuse(reader, line, "a key must be plain text");
        }
        yaml_event_delete(&event);
        if (end || code != ERR_OK)
            return code;
    }
}

/* Stream and document events around the one mapping; an empty file says nothing, and that is fine. */
static enum err read_stream(struct reader *reader)
{
    int documents = 0;
    for (;;) {
        yaml_event_t event;
        enum err code = next_event(reader, &event);
        if (code != ERR_OK)
            return code;
        yaml_event_type_t type = event.type;
        size_t line = event.start_mark.line + 1;
        bool empty_scalar = type == YAML_SCALAR_EVENT && event.data.scalar.length == 0;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return ERR_OK;
        if (type == YAML_DOCUMENT_START_EVENT && ++documents > 1)
            return refuse(reader, line, "a second document (---) is not accepted");
        if (type == YAML_MAPPING_START_EVENT)
            code = read_mapping(reader);
        else if (type == YAML_SEQUENCE_START_EVENT || (type == YAML_SCALAR_EVENT && !empty_scalar))
            code = refuse(reader, line, "wants lines of the form \"key: value\"");
        if (code != ERR_OK)
            return code;
    }
}

enum err settings_read_yaml(struct settings *settings, const char *file, struct bytes text, struct error *err)
{
    if (text.size > SETTINGS_FILE_SIZE_MAX)
        return error_set(err, ERR_INVALID, "%s: larger than 1MiB, surely not a configuration", file);
    struct reader reader = {.settings = settings, .file = file, .err = err};
    if (!yaml_parser_initialize(&reader.parser))
        return error_set(err, ERR_NO_MEMORY, "%s: no memory for the YAML parser", file);
    static const unsigned char nothing[1];
    yaml_parser_set_input_string(&reader.parser, text.size ? text.data : nothing, text.size);
    enum err code = read_stream(&reader);
    yaml_parser_delete(&reader.parser);
    return code;
}
