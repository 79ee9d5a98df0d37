#include "scenario.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

void text_add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (text->size + (size_t)size + 1 > text->capacity) {
        text->capacity = (text->size + (size_t)size + 1) * 2;
        text->data = realloc(text->data, text->capacity);
    }
    va_start(arguments, format);
    vsnprintf(text->data + text->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    text->size += (size_t)size;
}

void text_reset(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

const char *text_string(const struct text *text)
{
    return text->data ? text->data : "";
}

/* ---- reading ---- */

static char *copy_range(const char *from, const char *to)
{
    char *copy = malloc((size_t)(to - from) + 1);
    memcpy(copy, from, (size_t)(to - from));
    copy[to - from] = 0;
    return copy;
}

static char *copy_trimmed(const char *from, const char *to)
{
    while (from < to && isspace((unsigned char)*from))
        from++;
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    return copy_range(from, to);
}

static void add_value(struct argument *argument, char *value)
{
    argument->values = realloc(argument->values, (argument->value_count + 1) * sizeof(char *));
    argument->values[argument->value_count++] = value;
}

/* `at` is behind "key="; returns what follows the value. */
static const char *read_values(struct argument *argument, const char *at)
{
    if (*at != '(') {
        const char *end = at;
        while (*end && !isspace((unsigned char)*end))
            end++;
        if (end > at)
            add_value(argument, copy_range(at, end));
        return end;
    }
    int depth = 1;
    const char *start = ++at;
    for (;; at++) {
        if (*at == '(')
            depth++;
        if (*at == ')' || *at == 0)
            depth--;
        if (depth == 0 || *at == 0 || (depth == 1 && *at == ',')) {
            char *value = copy_trimmed(start, at);
            if (*value || *at == ',')
                add_value(argument, value);
            else
                free(value);
            start = at + 1;
        }
        if (depth == 0 || *at == 0)
            return *at ? at + 1 : at;
    }
}

static void read_command(struct directive *directive, const char *line)
{
    const char *end = line;
    while (*end && !isspace((unsigned char)*end))
        end++;
    directive->command = copy_range(line, end);
    for (const char *at = end;;) {
        while (isspace((unsigned char)*at))
            at++;
        if (!*at)
            return;
        end = at;
        while (*end && *end != '=' && !isspace((unsigned char)*end))
            end++;
        struct argument argument = {.key = copy_range(at, end)};
        at = *end == '=' ? read_values(&argument, end + 1) : end;
        directive->arguments = realloc(directive->arguments, (directive->argument_count + 1) * sizeof(argument));
        directive->arguments[directive->argument_count++] = argument;
    }
}

struct reader {
    char *at;
    int line;
};

/* The next line without its newline, or NULL. */
static char *next_line(struct reader *reader)
{
    if (!*reader->at)
        return NULL;
    char *line = reader->at;
    char *end = strchr(line, '\n');
    reader->at = end ? end + 1 : line + strlen(line);
    if (end)
        *end = 0;
    reader->line++;
    return line;
}

/* Up to a blank line; or, if the first line is another ----, up to two of them. */
static void read_expected(struct reader *reader, struct text *expected)
{
    char *line = next_line(reader);
    if (line && strcmp(line, "----") == 0) {
        bool at_end = false;
        while ((line = next_line(reader)) && !(at_end && strcmp(line, "----") == 0)) {
            if (at_end)
                text_add(expected, "----\n");
            at_end = strcmp(line, "----") == 0;
            if (!at_end)
                text_add(expected, "%s\n", line);
        }
        return;
    }
    for (; line && line[strspn(line, " \t\r")]; line = next_line(reader))
        text_add(expected, "%s\n", line);
}

static bool read_directive(struct reader *reader, struct directive *directive)
{
    char *line;
    struct text command = {0}, input = {0}, expected = {0};
    *directive = (struct directive){0};
    do {
        line = next_line(reader);
        if (!line)
            return false;
        line += strspn(line, " \t\r");
    } while (!*line || *line == '#');
    directive->line = reader->line;
    while (line && *line && line[strlen(line) - 1] == '\\') {
        text_add(&command, "%.*s ", (int)strlen(line) - 1, line);
        line = next_line(reader);
    }
    text_add(&command, "%s", line ? line : "");
    read_command(directive, text_string(&command));
    while ((line = next_line(reader)) && strcmp(line, "----") != 0)
        text_add(&input, "%s\n", line);
    directive->is_complete = line != NULL;
    if (line)
        read_expected(reader, &expected);
    const char *whole = text_string(&input);
    directive->input = copy_trimmed(whole, whole + strlen(whole));
    directive->expected = expected.data ? expected.data : copy_range("", "");
    text_reset(&command);
    text_reset(&input);
    return true;
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct text text = {0};
    char piece[4096];
    if (!file) {
        perror(path);
        return NULL;
    }
    text_add(&text, "%s", "");
    while (fgets(piece, sizeof(piece), file))
        text_add(&text, "%s", piece);
    fclose(file);
    return text.data;
}

struct scenario *scenario_read(const char *path)
{
    char *content = read_file(path);
    struct reader reader = {.at = content};
    struct directive directive;
    if (!content)
        return NULL;
    struct scenario *scenario = calloc(1, sizeof(*scenario));
    scenario->path = copy_range(path, path + strlen(path));
    while (read_directive(&reader, &directive)) {
        scenario->directives = realloc(scenario->directives, (scenario->directive_count + 1) * sizeof(directive));
        scenario->directives[scenario->directive_count++] = directive;
    }
    free(content);
    return scenario;
}

static void free_directive(struct directive *directive)
{
    for (uint32_t i = 0; i < directive->argument_count; i++) {
        for (uint32_t j = 0; j < directive->arguments[i].value_count; j++)
            free(directive->arguments[i].values[j]);
        free(directive->arguments[i].values);
        free(directive->arguments[i].key);
    }
    free(directive->arguments);
    free(directive->command);
    free(directive->input);
    free(directive->expected);
}

void scenario_free(struct scenario *scenario)
{
    for (uint32_t i = 0; i < scenario->directive_count; i++)
        free_directive(&scenario->directives[i]);
    free(scenario->directives);
    free(scenario->path);
    free(scenario);
}

/* ---- arguments ---- */

const struct argument *directive_find(const struct directive *directive, const char *key)
{
    for (uint32_t i = 0; i < directive->argument_count; i++) {
        if (strcmp(directive->arguments[i].key, key) == 0)
            return &directive->arguments[i];
    }
    return NULL;
}

const char *directive_word(const struct directive *directive, const char *key, const char *otherwise)
{
    const struct argument *argument = directive_find(directive, key);
    return argument && argument->value_count > 0 ? argument->values[0] : otherwise;
}

uint64_t directive_number(const struct directive *directive, const char *key, uint64_t otherwise)
{
    const char *word = directive_word(directive, key, NULL);
    return word ? strtoull(word, NULL, 10) : otherwise;
}

bool directive_flag(const struct directive *directive, const char *key)
{
    return strcmp(directive_word(directive, key, ""), "true") == 0;
}

uint32_t directive_numbers(const struct directive *directive, const char *key, uint64_t *ret_numbers,
                           uint32_t count_max, uint64_t blank)
{
    const struct argument *argument = directive_find(directive, key);
    uint32_t count = 0;
    for (; argument && count < argument->value_count && count < count_max; count++) {
        const char *word = argument->values[count];
        ret_numbers[count] = strcmp(word, "_") == 0 ? blank : strtoull(word, NULL, 10);
    }
    return count;
}
