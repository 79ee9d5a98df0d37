/* cli_text: keys and values are bytes; people and JSON want text. */
#include "cli.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Length of the UTF-8 character at the start of [at, end); 0 if there is none. Overlong forms and surrogates are none.
 */
static size_t utf8_size(const uint8_t *at, const uint8_t *end)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (at[0] < 0x80)
        return 1;
    size_t size = at[0] >= 0xf0 && at[0] < 0xf5   ? 4
                  : at[0] >= 0xe0 && at[0] < 0xf0 ? 3
                  : at[0] >= 0xc2 && at[0] < 0xe0 ? 2
                                                  : 0;
    if (size == 0 || (size_t)(end - at) < size)
        return 0;
    uint32_t point = at[0] & (0x7fU >> size);
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (at[i] & 0x3f);
    }
    return point < least[size] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : size;
}

bool cli_is_utf8(struct bytes bytes)
{
    const uint8_t *end = bytes.data + bytes.size;
    for (const uint8_t *at = bytes.data; at < end;) {
        size_t size = utf8_size(at, end);
        if (size == 0)
            return false;
        at += size;
    }
    return true;
}

void cli_escape(struct bytes bytes, struct buf *out)
{
    const uint8_t *end = bytes.data + bytes.size;
    for (const uint8_t *at = bytes.data; at < end;) {
        size_t size = utf8_size(at, end);
        /* C1 control characters (U+0080..9F) are valid UTF-8 and drive terminals all the same. */
        bool control = at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && size == 2 && at[1] < 0xa0);
        char text[8];
        if (at[0] == '\\')
            buf_append(out, "\\\\", 2);
        else if (at[0] == '\t')
            buf_append(out, "\\t", 2);
        else if (at[0] == '\n')
            buf_append(out, "\\n", 2);
        else if (size && !control)
            buf_append(out, at, size);
        else
            for (size_t i = 0; i < (size ? size : 1); i++)
                buf_append(out, text, (size_t)snprintf(text, sizeof text, "\\x%02x", at[i]));
        at += size ? size : 1;
    }
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum err cli_unescape(struct bytes text, struct buf *out, struct error *err)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        enum err code;
        if (c != '\\') {
            code = buf_append_u8(out, c);
        } else {
            uint8_t kind = i + 1 < text.size ? text.data[i + 1] : 0;
            int high = i + 2 < text.size ? hex_digit(text.data[i + 2]) : -1;
            int low = i + 3 < text.size ? hex_digit(text.data[i + 3]) : -1;
            if (kind == 'x' && high >= 0 && low >= 0) {
                code = buf_append_u8(out, (uint8_t)(high << 4 | low));
                i += 3;
            } else if (kind == 'n' || kind == 't' || kind == '\\') {
                code = buf_append_u8(out, kind == 'n' ? '\n' : kind == 't' ? '\t' : '\\');
                i++;
            } else {
                return error_set(err, ERR_INVALID,
                                 "bad escape at byte %zu; known are \\n, \\t, \\\\ and \\xNN (or use --raw)", i + 1);
            }
        }
        if (code != ERR_OK)
            return error_set(err, code, "longer than %zu bytes", out->size_max);
    }
    return ERR_OK;
}

static char *base64(struct bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((bytes.size + 2) / 3 * 4 + 1), *at = text;
    CHECK(text);
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t group = (uint32_t)bytes.data[i] << 16 | (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                         (left > 2 ? bytes.data[i + 2] : 0);
        *at++ = digits[group >> 18];
        *at++ = digits[group >> 12 & 63];
        *at++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *at++ = left > 2 ? digits[group & 63] : '=';
    }
    *at = '\0';
    return text;
}

void cli_json_bytes(struct cJSON *object, const char *name, struct bytes bytes)
{
    char field[64];
    char *text;
    bool plain = cli_is_utf8(bytes) && (bytes.size == 0 || !memchr(bytes.data, 0, bytes.size));
    if (plain) {
        text = malloc(bytes.size + 1);
        CHECK(text);
        if (bytes.size)
            memcpy(text, bytes.data, bytes.size);
        text[bytes.size] = '\0';
    } else {
        text = base64(bytes);
    }
    snprintf(field, sizeof field, "%s%s", name, plain ? "" : "_base64");
    cJSON_AddStringToObject(object, field, text);
    free(text);
}

void cli_json_print(struct cJSON *take_json)
{
    char *text = cJSON_PrintUnformatted(take_json);
    CHECK(text);
    puts(text);
    cJSON_free(text);
    cJSON_Delete(take_json);
}

void cli_print_size(uint64_t size, char *text)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double number = (double)size;
    size_t unit = 0;
    for (; number >= 1000 && unit < 5; unit++)
        number /= 1024;
    snprintf(text, 32, number < 10 && unit ? "%.1f %s" : "%.0f %s", number, units[unit]);
}

void cli_print_duration(uint64_t ms, char *text)
{
    if (ms < 1000)
        snprintf(text, 32, "%" PRIu64 " ms", ms);
    else if (ms < 60 * 1000)
        snprintf(text, 32, "%.1f s", (double)ms / 1000);
    else if (ms < 3600 * 1000)
        snprintf(text, 32, "%" PRIu64 " min %" PRIu64 " s", ms / 60000, ms / 1000 % 60);
    else if (ms < 48ULL * 3600 * 1000)
        snprintf(text, 32, "%" PRIu64 " h %" PRIu64 " min", ms / 3600000, ms / 60000 % 60);
    else
        snprintf(text, 32, "%" PRIu64 " d %" PRIu64 " h", ms / 86400000, ms / 3600000 % 24);
}
