#include "config/setting_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* Smallest first. */
static const struct unit size_units[] = {
    {"B", 1}, {"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1ULL << 30}, {"TiB", 1ULL << 40}};
static const struct unit duration_units[] = {{"ms", 1}, {"s", 1000}, {"min", 60 * 1000}, {"h", 3600 * 1000}};
enum { SIZE_UNIT_COUNT = 5, DURATION_UNIT_COUNT = 4 };

/* Decimal digits only: no sign, no hexadecimal, no spaces. `*ret_rest` is what follows them. */
static enum err parse_digits(const char *text, uint64_t *ret_number, const char **ret_rest, struct error *err)
{
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return error_set(err, ERR_INVALID, "\"%.64s\" is too large a number", text);
    if (at == text)
        return error_set(err, ERR_INVALID, "\"%.64s\" is not a number", text);
    *ret_number = number;
    *ret_rest = at;
    return ERR_OK;
}

static void join_units(const struct unit *units, size_t count, char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", units[i].name);
}

static enum err parse_with_unit(const char *text, const struct unit *units, size_t count, const char *example,
                                uint64_t *ret_number, struct error *err)
{
    char names[64];
    join_units(units, count, names, sizeof names);
    uint64_t number = 0;
    const char *rest = "";
    enum err code = parse_digits(text, &number, &rest, err);
    if (code != ERR_OK)
        return code;
    if (*rest == '\0')
        return error_set(err, ERR_INVALID, "\"%.64s\" has no unit; write for example %.20s%s (units: %s)", text, text,
                         example, names);
    if (*rest == ' ')
        rest++;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rest, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].factor, ret_number))
            return error_set(err, ERR_INVALID, "\"%.64s\" is too large a number", text);
        return ERR_OK;
    }
    return error_set(err, ERR_INVALID, "\"%.64s\" has an unknown unit \"%.16s\" (units: %s)", text, rest, names);
}

static enum err parse_bool(const char *text, uint64_t *ret_number, struct error *err)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        *ret_number = text[0] == 't';
        return ERR_OK;
    }
    return error_set(err, ERR_INVALID, "\"%.64s\" is neither true nor false", text);
}

static enum err check_choice(const char *choices, const char *text, struct error *err)
{
    size_t size = strlen(text);
    for (const char *at = choices; *at;) {
        size_t span = strcspn(at, "|");
        if (span == size && memcmp(at, text, size) == 0)
            return ERR_OK;
        at += span + (at[span] == '|');
    }
    return error_set(err, ERR_INVALID, "\"%.64s\" is not one of %s", text, choices);
}

/* A number as its type is written, so that a refusal can be understood. */
static void print_number(enum setting_type type, uint64_t number, char *text)
{
    if (type == SETTING_SIZE)
        setting_value_print_size(number, text);
    else if (type == SETTING_DURATION)
        setting_value_print_duration(number, text);
    else
        snprintf(text, 32, "%" PRIu64, number);
}

static enum err check_range(const struct setting *setting, const char *text, uint64_t number, struct error *err)
{
    uint64_t max = setting->max ? setting->max : setting->type == SETTING_U32 ? UINT32_MAX : UINT64_MAX;
    if (number >= setting->min && number <= max)
        return ERR_OK;
    char low[32], high[32];
    print_number(setting->type, setting->min, low);
    print_number(setting->type, max, high);
    if (number < setting->min)
        return error_set(err, ERR_INVALID, "\"%.64s\" is too small (at least %s)", text, low);
    return error_set(err, ERR_INVALID, "\"%.64s\" is too large (at most %s)", text, high);
}

enum err setting_value_parse(const struct setting *setting, const char *text, uint64_t *ret_number, struct error *err)
{
    uint64_t number = 0;
    const char *rest = "";
    enum err code = ERR_OK;
    switch (setting->type) {
    case SETTING_STRING:
    case SETTING_STRINGS:
        return setting->choices ? check_choice(setting->choices, text, err) : ERR_OK;
    case SETTING_BOOL:
        return parse_bool(text, ret_number, err);
    case SETTING_U32:
    case SETTING_U64:
        code = parse_digits(text, &number, &rest, err);
        if (code == ERR_OK && *rest != '\0')
            code = error_set(err, ERR_INVALID, "\"%.64s\" is not a number", text);
        break;
    case SETTING_SIZE:
        code = parse_with_unit(text, size_units, SIZE_UNIT_COUNT, "MiB", &number, err);
        break;
    case SETTING_DURATION:
        code = parse_with_unit(text, duration_units, DURATION_UNIT_COUNT, "ms", &number, err);
        break;
    }
    if (code == ERR_OK)
        code = check_range(setting, text, number, err);
    if (code == ERR_OK)
        *ret_number = number;
    return code;
}

static void print_with_unit(uint64_t number, const struct unit *units, size_t count, char *text)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (number && number % units[i].factor == 0)
            best = i;
    snprintf(text, 32, "%" PRIu64 "%s", number / units[best].factor, units[best].name);
}

void setting_value_print_size(uint64_t size, char *text)
{
    print_with_unit(size, size_units, SIZE_UNIT_COUNT, text);
}

void setting_value_print_duration(uint64_t ms, char *text)
{
    print_with_unit(ms, duration_units, DURATION_UNIT_COUNT, text);
}

const char *setting_value_name(const struct setting *setting)
{
    static const char *const names[] = {"TEXT", "", "N", "N", "SIZE", "DURATION", "LIST"};
    if (setting->value_name)
        return setting->value_name;
    return setting->choices ? setting->choices : names[setting->type];
}

/* Overlong forms and surrogates are no characters. */
size_t setting_value_utf8(const char *text, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint8_t first = (uint8_t)text[0];
    size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    uint32_t point = size < 2 ? first : first & (0x7fU >> size);
    for (size_t i = 1; i < size; i++) {
        if (((uint8_t)text[i] & 0xc0) != 0x80)
            return 0; /* the end of the text too */
        point = point << 6 | ((uint8_t)text[i] & 0x3f);
    }
    if (size == 0 || point < least[size] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
        return 0;
    *ret_point = point;
    return size;
}

static void append_text(struct buf *out, const char *text)
{
    CHECK(buf_append_bytes(out, bytes_of_string(text)) == ERR_OK);
}

static void append_list(const struct setting *setting, const char *target, struct buf *out)
{
    char *const *items = (char *const *)(const void *)(target + setting->offset);
    uint32_t count;
    memcpy(&count, target + setting->count_offset, sizeof count);
    for (uint32_t i = 0; i < count; i++) {
        append_text(out, i ? "," : "");
        append_text(out, items[i]);
    }
}

void setting_value_of(const struct setting *setting, const void *target, struct buf *out)
{
    const char *field = (const char *)target + setting->offset;
    char text[32] = "";
    const char *string = NULL;
    uint64_t number = 0;
    uint32_t small = 0;
    if (setting->type == SETTING_STRING)
        memcpy(&string, field, sizeof string);
    else if (setting->type == SETTING_U32)
        memcpy(&small, field, sizeof small);
    else if (setting->type == SETTING_U64 || setting->type == SETTING_SIZE || setting->type == SETTING_DURATION)
        memcpy(&number, field, sizeof number);
    switch (setting->type) {
    case SETTING_STRING:
        append_text(out, string ? string : "");
        break;
    case SETTING_BOOL:
        append_text(out, *(const bool *)field ? "true" : "false");
        break;
    case SETTING_U32:
    case SETTING_U64:
        snprintf(text, sizeof text, "%llu", (unsigned long long)(setting->type == SETTING_U32 ? small : number));
        break;
    case SETTING_SIZE:
        setting_value_print_size(number, text);
        break;
    case SETTING_DURATION:
        setting_value_print_duration(number, text);
        break;
    case SETTING_STRINGS:
        append_list(setting, target, out);
        break;
    }
    append_text(out, text);
    CHECK(buf_append_u8(out, 0) == ERR_OK);
    out->size--;
}
