#include "config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/nearest.h"
#include "config/setting_value.h"

enum { PLACE_SIZE_MAX = 256 };

struct value {
    char *text; /* owned; NULL: none; a list is joined with commas */
    enum setting_origin origin;
    char place[PLACE_SIZE_MAX];
};

struct settings {
    const struct setting *table; /* borrowed */
    size_t count;
    struct value *values;  /* owned; one per row */
    const char **operands; /* owned array of borrowed argv */
    size_t operand_count;
    bool wants_help;
};

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy);
    return copy;
}

struct settings *settings_new(const struct setting *table, size_t count)
{
    struct settings *settings = calloc(1, sizeof *settings);
    CHECK(settings);
    settings->table = table;
    settings->count = count;
    settings->values = calloc(count ? count : 1, sizeof *settings->values);
    CHECK(settings->values);
    for (size_t i = 0; i < count; i++) {
        struct value *value = &settings->values[i];
        snprintf(value->place, sizeof value->place, "default");
        if (!table[i].default_text)
            continue;
        uint64_t number;
        CHECK(table[i].default_text[0] == '\0' ||
              setting_value_parse(&table[i], table[i].default_text, &number, NULL) == ERR_OK);
        value->text = copy_text(table[i].default_text);
    }
    return settings;
}

void settings_free(struct settings *settings)
{
    if (!settings)
        return;
    for (size_t i = 0; i < settings->count; i++)
        free(settings->values[i].text);
    free(settings->values);
    free(settings->operands);
    free(settings);
}

/* ---- one value */

static uint32_t count_items(const char *list)
{
    uint32_t count = 0;
    for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
        count += *at != ',';
    return count;
}

/* A list grows within one origin (`--pd a --pd b`, the items of a sequence) and is replaced by a higher one. */
static enum err append_to_list(const struct setting *setting, struct value *value, const char *text, struct error *err)
{
    char *joined = NULL;
    CHECK(asprintf(&joined, "%s,%s", value->text ? value->text : "", text) >= 0);
    if (count_items(joined) > setting->list_max) {
        free(joined);
        return error_set(err, ERR_INVALID, "more than %u items", setting->list_max);
    }
    free(value->text);
    value->text = joined;
    return ERR_OK;
}

/* YAML knows nothing else, and what is set can be shown as YAML. */
static bool is_utf8(const char *text)
{
    size_t size;
    for (uint32_t point; *text; text += size)
        if ((size = setting_value_utf8(text, &point)) == 0)
            return false;
    return true;
}

static enum err set_value(struct settings *settings, size_t index, enum setting_origin origin, const char *place,
                          const char *text, struct error *err)
{
    const struct setting *setting = &settings->table[index];
    struct value *value = &settings->values[index];
    uint64_t number;
    if (!is_utf8(text))
        return error_set(err, ERR_INVALID, "is not UTF-8");
    enum err code = setting_value_parse(setting, text, &number, err);
    if (code != ERR_OK)
        return code;
    bool again = origin == value->origin && strcmp(value->place, "default") != 0;
    if (origin < value->origin)
        return ERR_OK;
    if (setting->type == SETTING_STRINGS) {
        if (origin != ORIGIN_DEFAULT && count_items(text) == 0)
            return error_set(err, ERR_INVALID, "has no value"); /* as YAML's [] has none */
        if (again)
            return append_to_list(setting, value, text, err);
        if (count_items(text) > setting->list_max)
            return error_set(err, ERR_INVALID, "more than %u items", setting->list_max);
    } else if (again && origin != ORIGIN_DEFAULT) {
        return error_set(err, ERR_INVALID, "given twice (first at %s)", value->place);
    }
    free(value->text);
    value->text = copy_text(text);
    value->origin = origin;
    snprintf(value->place, sizeof value->place, "%s", place);
    return ERR_OK;
}

static size_t find_key(const struct settings *settings, const char *key)
{
    for (size_t i = 0; i < settings->count; i++)
        if (strcmp(settings->table[i].key, key) == 0)
            return i;
    return SIZE_MAX;
}

enum err settings_set(struct settings *settings, const char *key, enum setting_origin origin, const char *place,
                      const char *text, struct error *err)
{
    size_t index = find_key(settings, key);
    if (index == SIZE_MAX) {
        struct nearest nearest;
        nearest_init(&nearest, key);
        for (size_t i = 0; i < settings->count; i++)
            if (!settings->table[i].flag_only)
                nearest_offer(&nearest, settings->table[i].key);
        if (nearest.best)
            return error_set(err, ERR_INVALID, "unknown key \"%.64s\"; did you mean \"%s\"?", key, nearest.best);
        return error_set(err, ERR_INVALID, "unknown key \"%.64s\"", key);
    }
    struct error inner;
    enum err code = set_value(settings, index, origin, place, text, &inner);
    return code == ERR_OK ? ERR_OK : error_set(err, code, "%s: %s", key, inner.text);
}

/* ---- environment */

enum err settings_read_env(struct settings *settings, char *const *environment, struct error *err)
{
    for (size_t i = 0; i < settings->count; i++) {
        const char *name = settings->table[i].env;
        size_t size = name ? strlen(name) : 0;
        for (char *const *at = environment; size && *at; at++) {
            if (strncmp(*at, name, size) != 0 || (*at)[size] != '=')
                continue;
            struct error inner;
            enum err code = set_value(settings, i, ORIGIN_ENV, name, *at + size + 1, &inner);
            if (code != ERR_OK)
                return error_set(err, code, "%s: %s", name, inner.text);
            break;
        }
    }
    return ERR_OK;
}

/* ---- flags */

/* Of `name[0..size)` without dashes; SIZE_MAX if there is none. */
static size_t find_flag(const struct settings *settings, const char *name, size_t size, bool is_long)
{
    for (size_t i = 0; i < settings->count; i++) {
        const struct setting *setting = &settings->table[i];
        if (is_long ? strlen(setting->key) == size && memcmp(setting->key, name, size) == 0
                    : size == 1 && setting->letter && setting->letter == name[0])
            return i;
    }
    return SIZE_MAX;
}

static enum err unknown_flag(const struct settings *settings, const char *name, size_t size, bool is_long,
                             struct error *err)
{
    char word[65];
    snprintf(word, sizeof word, "%.*s", (int)(size < 64 ? size : 64), name);
    struct nearest nearest;
    nearest_init(&nearest, word);
    for (size_t i = 0; i < settings->count; i++)
        nearest_offer(&nearest, settings->table[i].key);
    nearest_offer(&nearest, "help");
    const char *dashes = is_long ? "--" : "-";
    if (nearest.best)
        return error_set(err, ERR_INVALID, "unknown flag %s%s; did you mean --%s?", dashes, word, nearest.best);
    return error_set(err, ERR_INVALID, "unknown flag %s%s; --help lists them", dashes, word);
}

/* `*index` is at the flag and moves on to its value when that is a word of its own. */
static enum err read_flag(struct settings *settings, int argc, char *const *argv, int *index, struct error *err)
{
    const char *word = argv[*index];
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    size_t size = strcspn(name, "=");
    size_t found = find_flag(settings, name, size, is_long);
    if (found == SIZE_MAX)
        return unknown_flag(settings, name, size, is_long, err);
    const struct setting *setting = &settings->table[found];
    const char *text = name[size] == '=' ? name + size + 1 : NULL;
    if (!text && setting->type == SETTING_BOOL)
        text = "true";
    if (!text && *index + 1 < argc)
        text = argv[++*index];
    if (!text)
        return error_set(err, ERR_INVALID, "--%s wants a value (%s)", setting->key, setting_value_name(setting));
    char place[PLACE_SIZE_MAX];
    snprintf(place, sizeof place, "--%s", setting->key);
    struct error inner;
    enum err code = set_value(settings, found, ORIGIN_FLAG, place, text, &inner);
    return code == ERR_OK ? ERR_OK : error_set(err, code, "%s: %s", place, inner.text);
}

enum err settings_read_flags(struct settings *settings, int argc, char *const *argv, struct error *err)
{
    free(settings->operands);
    settings->operands = calloc((size_t)(argc > 0 ? argc : 1), sizeof *settings->operands);
    CHECK(settings->operands);
    settings->operand_count = 0;
    bool flags_over = false;
    enum err code = ERR_OK;
    for (int i = 1; i < argc && code == ERR_OK; i++) {
        const char *word = argv[i];
        if (flags_over || word[0] != '-' || word[1] == '\0')
            settings->operands[settings->operand_count++] = word;
        else if (strcmp(word, "--") == 0)
            flags_over = true;
        else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            settings->wants_help = true;
        else
            code = read_flag(settings, argc, argv, &i, err);
    }
    return settings->wants_help ? ERR_OK : code;
}

bool settings_wants_help(const struct settings *settings)
{
    return settings->wants_help;
}

size_t settings_operand_count(const struct settings *settings)
{
    return settings->operand_count;
}

const char *settings_operand(const struct settings *settings, size_t index)
{
    CHECK(index < settings->operand_count);
    return settings->operands[index];
}

/* ---- the target */

static void fill_list(const struct setting *setting, const char *text, char *target)
{
    char **items = (char **)(void *)(target + setting->offset);
    uint32_t *count = (uint32_t *)(void *)(target + setting->count_offset);
    *count = 0;
    for (uint32_t i = 0; i < setting->list_max; i++)
        items[i] = NULL;
    for (const char *at = text ? text : ""; *at;) {
        size_t span = strcspn(at, ",");
        if (span) {
            CHECK(*count < setting->list_max);
            items[*count] = strndup(at, span);
            CHECK(items[*count]);
            ++*count;
        }
        at += span + (at[span] == ',');
    }
}

void settings_fill(const struct settings *settings, void *target_)
{
    char *target = target_;
    for (size_t i = 0; i < settings->count; i++) {
        const struct setting *setting = &settings->table[i];
        const char *text = settings->values[i].text;
        uint64_t number = 0;
        if (text && setting->type != SETTING_STRING && setting->type != SETTING_STRINGS)
            CHECK(setting_value_parse(setting, text, &number, NULL) == ERR_OK);
        switch (setting->type) {
        case SETTING_STRING:
            *(char **)(void *)(target + setting->offset) = text ? copy_text(text) : NULL;
            break;
        case SETTING_STRINGS:
            fill_list(setting, text, target);
            break;
        case SETTING_BOOL:
            *(bool *)(void *)(target + setting->offset) = number != 0;
            break;
        case SETTING_U32:
            *(uint32_t *)(void *)(target + setting->offset) = (uint32_t)number;
            break;
        case SETTING_U64:
        case SETTING_SIZE:
        case SETTING_DURATION:
            *(uint64_t *)(void *)(target + setting->offset) = number;
            break;
        }
    }
}

void settings_fini_target(const struct setting *table, size_t count, void *target_)
{
    char *target = target_;
    for (size_t i = 0; i < count; i++) {
        char **strings = (char **)(void *)(target + table[i].offset);
        if (table[i].type == SETTING_STRING) {
            free(*strings);
            *strings = NULL;
        } else if (table[i].type == SETTING_STRINGS) {
            for (uint32_t item = 0; item < table[i].list_max; item++) {
                free(strings[item]);
                strings[item] = NULL;
            }
            *(uint32_t *)(void *)(target + table[i].count_offset) = 0;
        }
    }
}

const struct setting *settings_table(const struct settings *settings, size_t *ret_count)
{
    *ret_count = settings->count;
    return settings->table;
}

const char *settings_value(const struct settings *settings, size_t index)
{
    CHECK(index < settings->count);
    return settings->values[index].text;
}

enum setting_origin settings_origin(const struct settings *settings, size_t index)
{
    CHECK(index < settings->count);
    return settings->values[index].origin;
}

const char *settings_place(const struct settings *settings, size_t index)
{
    CHECK(index < settings->count);
    return settings->values[index].place;
}

bool settings_is_set(const struct settings *settings, const char *key)
{
    size_t index = find_key(settings, key);
    CHECK(index != SIZE_MAX);
    return settings->values[index].origin != ORIGIN_DEFAULT;
}
