#include "http/http_api.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define TYPE_JSON "application/json"
#define TYPE_TEXT "text/plain; charset=utf-8"

enum { JSON_DEPTH_MAX = 16 };

void api_answer_init(struct api_answer *answer)
{
    *answer = (struct api_answer){.type = TYPE_TEXT};
    buf_init(&answer->body, API_ANSWER_SIZE_MAX);
}

void api_answer_fini(struct api_answer *answer)
{
    buf_fini(&answer->body);
}

/* ---- answers */

void api_json(struct api_call *call, cJSON *take_json)
{
    struct api_answer *answer = call->answer;
    char *text = cJSON_PrintUnformatted(take_json);
    CHECK(text);
    buf_reset(&answer->body);
    answer->type = TYPE_JSON;
    if (answer->status == 0)
        answer->status = 200;
    enum err code = buf_append_bytes(&answer->body, bytes_of_string(text));
    if (code == ERR_OK)
        code = buf_append_u8(&answer->body, '\n');
    cJSON_free(text);
    cJSON_Delete(take_json);
    CHECK(code == ERR_OK); /* lists are cut far below that */
}

void api_text(struct api_call *call, unsigned status, const char *text)
{
    call->answer->status = status;
    call->answer->type = TYPE_TEXT;
    buf_reset(&call->answer->body);
    CHECK(buf_append_bytes(&call->answer->body, bytes_of_string(text)) == ERR_OK);
}

unsigned api_status_of(enum err code)
{
    switch (code) {
    case ERR_OK:
        return 200;
    case ERR_REGION_NOT_FOUND:
    case ERR_STORE_NOT_MATCH:
    case ERR_NOT_FOUND:
        return 404;
    case ERR_EXISTS:
    case ERR_CONDITION_FAILED:
    case ERR_EPOCH_NOT_MATCH:
        return 409;
    case ERR_ENTRY_TOO_LARGE:
    case ERR_KEY_TOO_LARGE:
        return 413;
    case ERR_INVALID:
    case ERR_KEY_EMPTY:
        return 400;
    case ERR_UNSUPPORTED:
        return 405;
    case ERR_NOT_LEADER:
    case ERR_BUSY:
    case ERR_NOT_READY:
    case ERR_DISK_FULL:
    case ERR_UNAVAILABLE:
    case ERR_CLOSED:
        return 503;
    case ERR_TIMEOUT:
    case ERR_MAYBE:
        return 504;
    default:
        return 500;
    }
}

void api_error(struct api_call *call, enum err code, const char *hint, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "code", err_name(code));
    api_put_text(json, "message", message);
    api_put_text(json, "hint", hint);
    call->answer->status = api_status_of(code);
    api_json(call, json);
}

/* ---- JSON */

void api_put_u64(cJSON *object, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    cJSON_AddRawToObject(object, name, text);
}

void api_put_i64(cJSON *object, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    cJSON_AddRawToObject(object, name, text);
}

void api_put_key(cJSON *object, const char *name, struct bytes key)
{
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(2 * key.size + 1);
    CHECK(text);
    for (size_t i = 0; i < key.size; i++) {
        text[2 * i] = digits[key.data[i] >> 4];
        text[2 * i + 1] = digits[key.data[i] & 15];
    }
    text[2 * key.size] = '\0';
    cJSON_AddStringToObject(object, name, text);
    free(text);
}

void api_put_raw(cJSON *object, const char *name, struct bytes json)
{
    char *text = strndup((const char *)json.data, json.size);
    CHECK(text);
    cJSON_AddRawToObject(object, name, text);
    free(text);
}

/* cJSON copies what is above ASCII as it is; a message may quote anything. */
void api_put_text(cJSON *object, const char *name, const char *text)
{
    char *copy = strdup(text);
    CHECK(copy);
    for (char *at = copy; *at; at++)
        if ((unsigned char)*at >= 0x80 || (unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    cJSON_AddStringToObject(object, name, copy);
    free(copy);
}

/* ---- escapes */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum err api_unhex(const char *text, struct buf *out)
{
    for (; *text; text += 2) {
        int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0 || buf_append_u8(out, (uint8_t)(high << 4 | low)) != ERR_OK)
            return ERR_INVALID;
    }
    return ERR_OK;
}

/* A zero goes behind, and none may be in it. */
static enum err unescape(struct bytes text, bool query, struct buf *out)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        if (c == '%') {
            int high = i + 2 < text.size ? hex_digit((char)text.data[i + 1]) : -1;
            int low = high < 0 ? -1 : hex_digit((char)text.data[i + 2]);
            if (low < 0 || (high == 0 && low == 0))
                return ERR_INVALID;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+' && query) {
            c = ' ';
        }
        if (buf_append_u8(out, (uint8_t)c) != ERR_OK)
            return ERR_INVALID;
    }
    if (buf_append_u8(out, 0) != ERR_OK)
        return ERR_INVALID;
    out->size--; /* the zero is there, and does not count */
    return ERR_OK;
}

/* ---- the query */

/* The parts of a=1&b=2, one after the other. */
static bool next_parameter(const char **at, struct bytes *ret_name, struct bytes *ret_value)
{
    while (**at == '&')
        (*at)++;
    if (!**at)
        return false;
    size_t size = strcspn(*at, "&"), name = strcspn(*at, "=&");
    *ret_name = bytes_of(*at, name);
    *ret_value = name < size ? bytes_of(*at + name + 1, size - name - 1) : bytes_empty();
    *at += size;
    return true;
}

static bool find_parameter(const struct api_call *call, const char *name, struct bytes *ret_value)
{
    struct bytes found;
    for (const char *at = call->request->query; next_parameter(&at, &found, ret_value);)
        if (bytes_equal(found, bytes_of_string(name)))
            return true;
    *ret_value = bytes_empty();
    return false;
}

bool api_query_has(const struct api_call *call, const char *name)
{
    struct bytes value;
    return find_parameter(call, name, &value);
}

bool api_query_text(struct api_call *call, const char *name, struct buf *text)
{
    struct bytes value;
    find_parameter(call, name, &value);
    if (unescape(value, true, text) == ERR_OK)
        return true;
    api_error(call, ERR_INVALID, "write %XX for what is no plain character", "%s: not an escaped text", name);
    return false;
}

static bool parse_u64(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > (UINT64_MAX - (uint64_t)(*text - '0')) / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret_value = value;
    return true;
}

bool api_query_u64(struct api_call *call, const char *name, uint64_t value_default, uint64_t max, uint64_t *ret_value)
{
    struct buf text;
    buf_init(&text, 64);
    *ret_value = value_default;
    bool ok = !api_query_has(call, name);
    if (!ok && api_query_text(call, name, &text)) {
        ok = parse_u64((const char *)text.data, ret_value) && *ret_value <= max;
        if (!ok)
            api_error(call, ERR_INVALID, "write digits only", "%s: wants a number up to %" PRIu64, name, max);
    }
    buf_fini(&text);
    return ok;
}

bool api_query_key(struct api_call *call, const char *name, struct buf *key)
{
    struct buf text;
    buf_init(&text, API_WORD_SIZE_MAX);
    bool ok = api_query_text(call, name, &text);
    if (ok && api_unhex((const char *)text.data, key) != ERR_OK) {
        ok = false;
        api_error(call, ERR_INVALID, "an encoded key: user keys have 72 (r) in front",
                  "%s: not hexadecimal digits of a key", name);
    }
    buf_fini(&text);
    return ok;
}

const char *api_word(const struct api_call *call, uint32_t n)
{
    CHECK(n < call->word_count);
    return (const char *)call->words[n].data;
}

bool api_word_id(struct api_call *call, uint32_t n, const char *what, uint64_t *ret_id)
{
    if (parse_u64(api_word(call, n), ret_id) && *ret_id > 0)
        return true;
    api_error(call, ERR_INVALID, "ids are numbers above 0", "\"%.64s\" is no id of a %s", api_word(call, n), what);
    return false;
}

/* ---- the body */

static const cJSON *body_field(const struct api_call *call, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(call->body, name); /* NULL for no body, too */
}

static bool refuse_field(struct api_call *call, const char *name, const char *what)
{
    api_error(call, ERR_INVALID, "see docs/openapi.yaml", "%.40s: wants %s", name, what);
    return false;
}

bool api_body_u64(struct api_call *call, const char *name, bool wanted, uint64_t *ret_value)
{
    const double exact_max = 9007199254740992.0;
    const cJSON *item = body_field(call, name);
    if (!item)
        return !wanted || refuse_field(call, name, "a number, and is not there");
    if (cJSON_IsString(item))
        return parse_u64(item->valuestring, ret_value) || refuse_field(call, name, "a number");
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= exact_max) ||
        item->valuedouble != (double)(uint64_t)item->valuedouble)
        return refuse_field(call, name, "a whole number from 0 up");
    *ret_value = (uint64_t)item->valuedouble;
    return true;
}

bool api_body_bool(struct api_call *call, const char *name, bool wanted, bool *ret_value)
{
    const cJSON *item = body_field(call, name);
    if (!item)
        return !wanted || refuse_field(call, name, "true or false, and is not there");
    if (!cJSON_IsBool(item))
        return refuse_field(call, name, "true or false");
    *ret_value = cJSON_IsTrue(item);
    return true;
}

bool api_body_text(struct api_call *call, const char *name, bool wanted, const char **ret_text)
{
    const cJSON *item = body_field(call, name);
    if (!item)
        return !wanted || refuse_field(call, name, "a text, and is not there");
    if (!cJSON_IsString(item))
        return refuse_field(call, name, "a text");
    *ret_text = item->valuestring;
    return true;
}

bool api_body_key(struct api_call *call, const char *name, struct buf *key)
{
    const char *text = "";
    if (!api_body_text(call, name, false, &text))
        return false;
    return api_unhex(text, key) == ERR_OK || refuse_field(call, name, "hexadecimal digits of a key");
}

/* ---- routes */

/* One part of the path after another; a part of the pattern in {} takes any that is not empty. */
static bool matches(const char *pattern, const char *path, struct bytes *words, uint32_t *ret_count)
{
    *ret_count = 0;
    while (*pattern == '/' && *path == '/') {
        pattern++, path++;
        size_t want = strcspn(pattern, "/"), have = strcspn(path, "/");
        if (pattern[0] == '{') {
            if (have == 0)
                return false;
            words[(*ret_count)++] = bytes_of(path, have);
        } else if (want != have || memcmp(pattern, path, want) != 0) {
            return false;
        }
        pattern += want, path += have;
    }
    return *pattern == '\0' && *path == '\0';
}

static bool is_method(const char *wanted, const char *given)
{
    return strcmp(wanted, given) == 0 || (strcmp(wanted, "GET") == 0 && strcmp(given, "HEAD") == 0);
}

static const struct api_route *find_route(const struct api_route *routes, size_t count, struct api_call *call,
                                          struct bytes *words)
{
    char methods[64] = "";
    for (size_t i = 0; i < count; i++) {
        if (!matches(routes[i].pattern, call->request->path, words, &call->word_count))
            continue;
        if (is_method(routes[i].method, call->request->method))
            return &routes[i];
        size_t size = strlen(methods);
        snprintf(methods + size, sizeof methods - size, "%s%s", size ? ", " : "", routes[i].method);
    }
    call->word_count = 0;
    if (methods[0])
        api_error(call, ERR_UNSUPPORTED, "see docs/openapi.yaml", "%.256s takes %s, not %.16s", call->request->path,
                  methods, call->request->method);
    else
        api_error(call, ERR_NOT_FOUND, "see docs/openapi.yaml", "there is no %.256s here", call->request->path);
    return NULL;
}

static bool is_word_of(const char *words, struct bytes word)
{
    for (const char *at = words; *at;) {
        size_t size = strcspn(at, " ");
        if (bytes_equal(bytes_of(at, size), word))
            return true;
        at += size + (at[size] == ' ');
    }
    return false;
}

static bool check_parameters(struct api_call *call, const struct api_route *route)
{
    struct bytes name, value;
    for (const char *at = call->request->query; next_parameter(&at, &name, &value);) {
        if (is_word_of(route->parameters, name))
            continue;
        api_error(call, ERR_INVALID, route->parameters[0] ? route->parameters : "it takes none",
                  "%s does not know the parameter \"%.*s\"", route->pattern, (int)(name.size < 64 ? name.size : 64),
                  (const char *)name.data);
        return false;
    }
    return true;
}

bool api_body_only(struct api_call *call, const char *names)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, call->body)
    {
        if (is_word_of(names, bytes_of_string(item->string)))
            continue;
        api_error(call, ERR_INVALID, names[0] ? names : "it takes none", "the field \"%.40s\" is not known here",
                  item->string);
        return false;
    }
    return true;
}

/* cJSON reads a thousand levels deep; nothing here has more than a few. */
static bool is_deep(struct bytes text)
{
    uint32_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JSON_DEPTH_MAX)
                return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

static bool read_body(struct api_call *call)
{
    struct bytes body = call->request->body;
    if (body.size == 0)
        return true;
    const char *end = NULL;
    if (!is_deep(body))
        call->body = cJSON_ParseWithLengthOpts((const char *)body.data, body.size, &end, false);
    for (const char *rest = (const char *)body.data + body.size; call->body && end < rest; end++)
        if (*end != ' ' && *end != '\n' && *end != '\r' && *end != '\t' && *end != '\0') {
            cJSON_Delete(call->body);
            call->body = NULL;
        }
    if (cJSON_IsObject(call->body))
        return true;
    api_error(call, ERR_INVALID, "send {\"name\": value, ...}", "the body is no JSON object");
    return false;
}

static bool read_words(struct api_call *call, const struct bytes *words)
{
    for (uint32_t i = 0; i < call->word_count; i++) {
        if (unescape(words[i], false, &call->words[i]) == ERR_OK)
            continue;
        api_error(call, ERR_INVALID, "write %XX for what is no plain character", "the path has an escape that is none");
        return false;
    }
    return true;
}

void api_run(const struct api_route *routes, size_t count, void *context, const struct api_request *request,
             struct api_answer *answer)
{
    struct api_call call = {.context = context, .request = request, .answer = answer};
    struct bytes words[API_WORDS_MAX];
    for (uint32_t i = 0; i < API_WORDS_MAX; i++)
        buf_init(&call.words[i], API_WORD_SIZE_MAX);
    const struct api_route *route = find_route(routes, count, &call, words);
    if (route && check_parameters(&call, route) && read_words(&call, words) && read_body(&call))
        route->handle(&call);
    CHECK(answer->status != 0);
    for (uint32_t i = 0; i < API_WORDS_MAX; i++)
        buf_fini(&call.words[i]);
    cJSON_Delete(call.body);
}

/* ---- metrics */

static void append(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void append(struct buf *out, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    CHECK(size > 0 && (size_t)size < sizeof line);
    (void)buf_append(out, line, (size_t)size); /* what is too much is left out */
}

void metric_head(struct buf *out, const char *name, const char *type, const char *help)
{
    append(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metric_u64(struct buf *out, const char *name, const char *labels, uint64_t value)
{
    if (labels[0])
        append(out, "%s{%s} %" PRIu64 "\n", name, labels, value);
    else
        append(out, "%s %" PRIu64 "\n", name, value);
}

void metric_f64(struct buf *out, const char *name, const char *labels, double value)
{
    if (labels[0])
        append(out, "%s{%s} %.9g\n", name, labels, value);
    else
        append(out, "%s %.9g\n", name, value);
}

void metric_one(struct buf *out, const char *name, const char *type, uint64_t value, const char *help)
{
    metric_head(out, name, type, help);
    metric_u64(out, name, "", value);
}
