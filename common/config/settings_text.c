/* settings_text: a table and its values as text: YAML to show and to start from, and the flags for `--help`. */
#include "config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/setting_value.h"

static void append(struct buf *out, const char *text)
{
    buf_append(out, text, strlen(text));
}

static void append_padded(struct buf *out, const char *text, size_t width)
{
    append(out, text);
    for (size_t size = strlen(text); size < width; size++)
        append(out, " ");
}

/* What YAML refuses as it is, or takes for the end of a line. */
static bool is_unprintable(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 || point == 0xfeff ||
           point == 0xfffe || point == 0xffff;
}

/* Quotes what YAML might take for something else than text. */
static void append_scalar(struct buf *out, const char *text)
{
    bool plain = text[0] != '\0';
    for (const char *at = text; *at; at++)
        plain = plain && ((*at >= '0' && *at <= '9') || (*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z') ||
                          strchr("/._+", *at) || (at != text && strchr(":-", *at) && at[1] != '\0'));
    if (plain) {
        append(out, text);
        return;
    }
    append(out, "\"");
    for (const char *at = text; *at;) {
        uint32_t point;
        char escape[16] = {0};
        size_t size = setting_value_utf8(at, &point); /* values are UTF-8: set_value sees to it */
        if (*at == '"' || *at == '\\')
            snprintf(escape, sizeof escape, "\\%c", *at);
        else if (is_unprintable(point))
            snprintf(escape, sizeof escape, "\\u%04x", point);
        else
            memcpy(escape, at, size);
        append(out, escape);
        at += size;
    }
    append(out, "\"");
}

/* `[a, b]` for a list, the scalar otherwise. */
static void append_value(struct buf *out, const struct setting *setting, const char *text)
{
    if (setting->type != SETTING_STRINGS) {
        append_scalar(out, text);
        return;
    }
    append(out, "[");
    bool first = true;
    for (const char *at = text; *at;) {
        size_t span = strcspn(at, ",");
        if (span) {
            char *item = strndup(at, span);
            CHECK(item);
            append(out, first ? "" : ", ");
            append_scalar(out, item);
            free(item);
            first = false;
        }
        at += span + (at[span] == ',');
    }
    append(out, "]");
}

static void show_section(const struct setting *table, size_t count, const struct settings *settings, bool origin,
                         bool advanced, struct buf *out)
{
    bool headed = !advanced;
    for (size_t i = 0; i < count; i++) {
        const struct setting *setting = &table[i];
        const char *text = settings_value(settings, i);
        if (setting->flag_only || setting->advanced != advanced || !text)
            continue;
        if (!headed)
            append(out, "advanced:\n");
        headed = true;
        size_t start = out->size;
        append(out, advanced ? "  " : "");
        append(out, setting->key);
        append(out, ": ");
        append_value(out, setting, text);
        if (origin) {
            for (size_t width = out->size - start; width < 44; width++)
                append(out, " ");
            append(out, "  # ");
            append(out, settings_place(settings, i));
        }
        append(out, "\n");
    }
}

void settings_show(const struct settings *settings, bool origin, struct buf *out)
{
    size_t count;
    const struct setting *table = settings_table(settings, &count);
    show_section(table, count, settings, origin, false, out);
    show_section(table, count, settings, origin, true, out);
}

void settings_generate(const struct setting *table, size_t count, struct buf *out)
{
    for (int advanced = 0; advanced < 2; advanced++) {
        if (advanced)
            append(out,
                   "\n# Rarely needed: take the # away from `advanced:` and from the lines to change.\n# advanced:\n");
        for (size_t i = 0; i < count; i++) {
            const struct setting *setting = &table[i];
            if (setting->flag_only || setting->advanced != advanced)
                continue;
            append(out, advanced ? "#   # " : "# ");
            append(out, setting->help);
            append(out, advanced ? "\n#   " : setting->default_text ? "\n" : "\n# ");
            append(out, setting->key);
            append(out, ": ");
            append_value(out, setting, setting->default_text ? setting->default_text : "");
            append(out, "\n");
        }
    }
}

static void help_section(const struct setting *table, size_t count, bool advanced, struct buf *out)
{
    bool headed = false;
    for (size_t i = 0; i < count; i++) {
        const struct setting *setting = &table[i];
        if (setting->advanced != advanced)
            continue;
        if (!headed)
            append(out, advanced ? "Advanced flags:\n" : "Flags:\n");
        headed = true;
        char flag[128];
        char letter[8] = "    ";
        if (setting->letter)
            snprintf(letter, sizeof letter, "-%c, ", setting->letter);
        const char *name = setting->type == SETTING_BOOL ? "" : setting_value_name(setting);
        snprintf(flag, sizeof flag, "  %s--%s%s%s", letter, setting->key, name[0] ? " " : "", name);
        append_padded(out, flag, 34);
        append(out, strlen(flag) >= 34 ? "\n                                    " : "  ");
        append(out, setting->help);
        if (setting->default_text && setting->default_text[0] && setting->type != SETTING_BOOL) {
            append(out, " (");
            append(out, setting->default_text);
            append(out, ")");
        }
        if (setting->env) {
            append(out, " [");
            append(out, setting->env);
            append(out, "]");
        }
        append(out, "\n");
    }
}

void settings_help(const struct setting *table, size_t count, struct buf *out)
{
    help_section(table, count, false, out);
    help_section(table, count, true, out);
}
