#include "ctl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cluster_file.h"
#include "config/address.h"
#include "env/http_client.h"
#include "env/os.h"

enum {
    ANSWER_SIZE_MAX = 128 * 1024 * 1024,
    TEXT_SIZE_MAX = 1024 * 1024,
    PAGE_ROWS = 1000,
    RETRY_MS = 100,
};

const struct setting ctl_rows[CTL_ROW_COUNT] = {CTL_COMMON_ROWS};
const struct setting ctl_list_rows[CTL_LIST_ROW_COUNT] = {
    CTL_COMMON_ROWS,
    {.key = "limit",
     .letter = 'n',
     .type = SETTING_U64,
     SETTING_FIELD(struct ctl_options, limit),
     .default_text = "1000",
     .help = "rows at most; 0: all"},
    {.key = "store",
     .type = SETTING_U64,
     SETTING_FIELD(struct ctl_options, store),
     .default_text = "0",
     .help = "only regions with a peer on that store; 0: all"},
    {.key = "from",
     .type = SETTING_STRING,
     SETTING_FIELD(struct ctl_options, from),
     .value_name = "KEY",
     .help = "begin at this user key"},
};
const struct setting ctl_for_rows[CTL_FOR_ROW_COUNT] = {CTL_COMMON_ROWS, CTL_FOR_ROW};

const char *ctl_operand(const struct ctl *ctl, size_t index)
{
    return index < settings_operand_count(ctl->settings) ? settings_operand(ctl->settings, index) : "";
}

bool ctl_is_table(const struct ctl *ctl)
{
    return strcmp(ctl->options.output, "table") == 0;
}

double ctl_number(const cJSON *object, const char *field)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, field);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

const char *ctl_text(const cJSON *object, const char *field)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, field));
    return text ? text : "";
}

/* ---- templates */

static bool is_number(const char *text)
{
    return text[0] && strlen(text) < 20 && strspn(text, "0123456789") == strlen(text);
}

static void append_text(struct buf *out, const char *text)
{
    CHECK(buf_append_bytes(out, bytes_of_string(text)) == ERR_OK);
}

static void append_json(struct buf *out, const char *text)
{
    cJSON *json = cJSON_CreateString(text);
    char *printed = cJSON_PrintUnformatted(json);
    CHECK(printed);
    append_text(out, printed);
    cJSON_free(printed);
    cJSON_Delete(json);
}

static void append_hex(struct buf *out, struct bytes bytes)
{
    char digits[4];
    for (size_t i = 0; i < bytes.size; i++) {
        snprintf(digits, sizeof digits, "%02x", bytes.data[i]);
        append_text(out, digits);
    }
}

static void append_path(struct buf *out, const char *text)
{
    char escape[4];
    for (; *text; text++) {
        bool plain = (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
                     (*text >= 'A' && *text <= 'Z') || *text == '-' || *text == '_';
        snprintf(escape, sizeof escape, plain ? "%c" : "%%%02X", (unsigned char)*text);
        append_text(out, escape);
    }
}

/* A user key is encoded with an r in front. */
static int append_key(struct ctl *ctl, struct buf *out, const char *text)
{
    struct buf key;
    struct error err;
    buf_init(&key, TEXT_SIZE_MAX);
    append_text(&key, "r");
    int code = CLI_GO_ON;
    if (cli_unescape(bytes_of_string(text), &key, &err) == ERR_OK)
        append_hex(out, buf_bytes(&key));
    else
        code = cli_usage(ctl->command, "%s", err.text);
    buf_fini(&key);
    return code;
}

static int append_operand(struct ctl *ctl, char kind, size_t index, struct buf *out)
{
    const char *text = ctl_operand(ctl, index);
    if (kind == 's')
        append_json(out, text);
    else if (kind == 'p')
        append_path(out, text);
    else if (kind == 'k')
        return append_key(ctl, out, text);
    else if (is_number(text))
        append_text(out, text);
    else
        return cli_usage(ctl->command, "\"%.40s\" is no number; see pd-%s --help", text, ctl->command->name);
    return CLI_GO_ON;
}

static int append_flag(struct ctl *ctl, const char *name, size_t size, struct buf *out)
{
    char text[32] = "";
    if (strncmp(name, "limit", size) == 0)
        snprintf(text, sizeof text, "%" PRIu64, ctl->options.limit);
    else if (strncmp(name, "duration", size) == 0)
        snprintf(text, sizeof text, "%" PRIu64, ctl->options.duration_ms);
    else if (strncmp(name, "store", size) == 0)
        snprintf(text, sizeof text, "%" PRIu64, ctl->options.store);
    else if (strncmp(name, "learner", size) == 0)
        snprintf(text, sizeof text, "%s", ctl->options.learner ? "true" : "false");
    else if (strncmp(name, "from", size) == 0 && ctl->options.from)
        return append_key(ctl, out, ctl->options.from);
    append_text(out, text);
    return CLI_GO_ON;
}

/* A { that is followed by anything else is one of JSON. */
int ctl_fill(struct ctl *ctl, const char *template, struct buf *out)
{
    static const char *const flags[] = {"limit}", "duration}", "store}", "learner}", "from}"};
    int code = CLI_GO_ON;
    for (const char *at = template; *at && code == CLI_GO_ON; at++) {
        const char *name = at + 1;
        char kind = *name;
        size_t skip = kind == 's' || kind == 'p' || kind == 'k';
        if (*at == '{' && name[skip] >= '0' && name[skip] <= '9' && name[skip + 1] == '}') {
            code = append_operand(ctl, kind, (size_t)(name[skip] - '0'), out);
            at = name + skip + 1;
            continue;
        }
        bool flag = false;
        for (size_t i = 0; *at == '{' && !flag && i < sizeof flags / sizeof flags[0]; i++)
            flag = strncmp(name, flags[i], strlen(flags[i])) == 0;
        if (flag) {
            size_t size = strcspn(name, "}");
            code = append_flag(ctl, name, size, out);
            at = name + size;
        } else {
            CHECK(buf_append(out, at, 1) == ERR_OK);
        }
    }
    CHECK(buf_append_u8(out, 0) == ERR_OK);
    out->size--;
    return code;
}

void ctl_add_words(cJSON *object, const char *name, const char *words)
{
    cJSON *list = cJSON_AddArrayToObject(object, name);
    for (const char *at = words; *at;) {
        size_t size = strcspn(at, ",");
        char *word = strndup(at, size);
        CHECK(word);
        cJSON_AddItemToArray(list, cJSON_CreateString(word));
        free(word);
        at += size + (at[size] == ',');
    }
}

/* ---- the way to pd */

/* The exit code for an answer that is no success; says what it says. */
static int judge(struct ctl *ctl, unsigned status, const cJSON *json)
{
    const char *message = ctl_text(json, "message"), *hint = ctl_text(json, "hint");
    if (message[0])
        cli_complain(ctl->command, "%s: %s%s%s%s", ctl_text(json, "code"), message, hint[0] ? " (" : "", hint,
                     hint[0] ? ")" : "");
    else
        cli_complain(ctl->command, "pd answers with HTTP status %u", status);
    return status == 404   ? CLI_NOT_FOUND
           : status == 409 ? CLI_CONDITION
           : status == 504 ? CLI_UNKNOWN
           : status == 400 ? CLI_USAGE
                           : CLI_FAILED;
}

/* Of those that nobody needs to hear of while another endpoint may answer. */
static bool is_elsewhere(unsigned status, const cJSON *json)
{
    const char *code = ctl_text(json, "code");
    return status == 503 &&
           (strcmp(code, "NotLeader") == 0 || strcmp(code, "NotReady") == 0 || strcmp(code, "Closed") == 0);
}

struct attempt {
    enum err code;
    unsigned status;
    cJSON *json; /* owned */
    struct error err;
};

static void attempt_one(struct ctl *ctl, const char *url, size_t url_size, const struct http_fetch *what,
                        const char *path, struct buf *body, struct attempt *ret_attempt)
{
    size_t size = url_size + strlen(path) + 16;
    char *full = malloc(size);
    CHECK(full);
    snprintf(full, size, "%s%.*s%s", memchr(url, '/', url_size) ? "" : "http://", (int)url_size, url, path);
    struct http_fetch fetch = *what;
    fetch.url = full;
    cJSON_Delete(ret_attempt->json);
    *ret_attempt = (struct attempt){0};
    buf_reset(body);
    ret_attempt->code = http_client_fetch(ctl->client, &fetch, &ret_attempt->status, body, &ret_attempt->err);
    if (ret_attempt->code == ERR_OK)
        ret_attempt->json = cJSON_ParseWithLength((const char *)body->data, body->size);
    free(full);
}

enum { STATUS_PORT_ADD = 2 }; /* where a pd listens unless it was told otherwise: see pd_config.h */

/* Who was asked does not lead, and says who does: there, if its status port is where it usually is. */
static bool attempt_leader(struct ctl *ctl, const struct http_fetch *what, const char *path, struct buf *body,
                           struct attempt *attempt)
{
    struct address address;
    struct error err;
    char url[ADDRESS_TEXT_SIZE_MAX + 32];
    if (strcmp(ctl_text(attempt->json, "code"), "NotLeader") != 0 ||
        address_parse(ctl_text(attempt->json, "hint"), &address, &err) != ERR_OK || address.ipc)
        return false;
    bool brackets = strchr(address.host, ':') != NULL;
    snprintf(url, sizeof url, "http://%s%s%s:%u", brackets ? "[" : "", address.host, brackets ? "]" : "",
             address.port + STATUS_PORT_ADD);
    struct attempt there = {0};
    attempt_one(ctl, url, strlen(url), what, path, body, &there);
    bool settled = there.code == ERR_OK && there.json && !is_elsewhere(there.status, there.json);
    if (settled) {
        cJSON_Delete(attempt->json);
        *attempt = there;
    } else {
        cJSON_Delete(there.json);
    }
    return settled;
}

/* Each endpoint in turn, again and again, until one that leads has answered, or time is up. */
static void attempt_all(struct ctl *ctl, const struct http_fetch *what, const char *path, struct buf *body,
                        struct attempt *attempt)
{
    uint64_t end_us = os_monotonic_us() + ctl->options.deadline_ms * 1000;
    for (;;) {
        bool alive = false;
        for (const char *url = ctl->urls; *url;) {
            size_t size = strcspn(url, ",");
            attempt_one(ctl, url, size, what, path, body, attempt);
            bool settled = attempt->code == ERR_OK ? !is_elsewhere(attempt->status, attempt->json)
                                                   : attempt->code != ERR_UNAVAILABLE;
            if (settled || attempt_leader(ctl, what, path, body, attempt))
                return;
            alive |= attempt->code == ERR_OK;
            url += size + (url[size] == ',');
        }
        if (os_monotonic_us() + RETRY_MS * 1000 >= end_us || !alive)
            return;
        os_sleep_ms(RETRY_MS);
    }
}

int ctl_fetch(struct ctl *ctl, const char *method, const char *path, const char *request, cJSON **ret_json,
              struct buf *body)
{
    struct buf own;
    struct attempt attempt = {0};
    buf_init(&own, ANSWER_SIZE_MAX);
    const struct http_fetch what = {.method = method ? method : "GET",
                                    .body = request ? bytes_of_string(request) : bytes_empty(),
                                    .timeout_ms = ctl->options.deadline_ms};
    attempt_all(ctl, &what, path, body ? body : &own, &attempt);
    buf_fini(&own);
    int code = CLI_GO_ON;
    if (attempt.code != ERR_OK) {
        cli_complain(ctl->command, "%s", attempt.err.text);
        code = attempt.code == ERR_INVALID                                         ? CLI_USAGE
               : attempt.code == ERR_MAYBE && method && strcmp(method, "GET") != 0 ? CLI_UNKNOWN
                                                                                   : CLI_FAILED;
    } else if (attempt.status < 200 || attempt.status >= 300) {
        code = judge(ctl, attempt.status, attempt.json);
    } else if (!attempt.json) {
        cli_complain(ctl->command, "what answers there is no pd: no JSON");
        code = CLI_FAILED;
    }
    if (code == CLI_GO_ON && ret_json)
        *ret_json = attempt.json;
    else
        cJSON_Delete(attempt.json);
    return code;
}

int ctl_ask(struct ctl *ctl, const char *method, const char *path, const char *request, cJSON **ret_json,
            struct buf *body)
{
    struct buf full_path, full_request;
    buf_init(&full_path, TEXT_SIZE_MAX);
    buf_init(&full_request, TEXT_SIZE_MAX);
    int code = ctl_fill(ctl, path, &full_path);
    if (code == CLI_GO_ON)
        code = ctl_fill(ctl, request ? request : "", &full_request);
    if (code == CLI_GO_ON)
        code = ctl_fetch(ctl, method, (const char *)full_path.data, (const char *)full_request.data, ret_json, body);
    buf_fini(&full_path);
    buf_fini(&full_request);
    return code;
}

int ctl_pages(struct ctl *ctl, const char *path, const char *list, cJSON **ret_json)
{
    uint64_t limit = ctl->options.limit, count = 0;
    cJSON *all = cJSON_CreateObject();
    cJSON *rows = cJSON_AddArrayToObject(all, list);
    char *next = NULL;
    int code = CLI_GO_ON;
    struct buf start;
    buf_init(&start, TEXT_SIZE_MAX);
    code = ctl_fill(ctl, "{from}", &start);
    do {
        uint64_t page = limit == 0 || limit - count > PAGE_ROWS ? PAGE_ROWS : limit - count;
        size_t size = strlen(path) + (next ? strlen(next) : start.size) + 64;
        char *full = malloc(size);
        CHECK(full);
        snprintf(full, size, "%s%climit=%" PRIu64 "&from=%s", path, strchr(path, '?') ? '&' : '?', page,
                 next ? next : (const char *)start.data);
        cJSON *json = NULL;
        if (code == CLI_GO_ON)
            code = ctl_ask(ctl, NULL, full, NULL, &json, NULL);
        free(full);
        free(next);
        next = NULL;
        cJSON *from = cJSON_GetObjectItemCaseSensitive(json, list);
        while (cJSON_GetArraySize(from) > 0) {
            cJSON_AddItemToArray(rows, cJSON_DetachItemFromArray(from, 0));
            count++;
        }
        if (ctl_text(json, "next")[0]) {
            next = strdup(ctl_text(json, "next"));
            CHECK(next);
        }
        cJSON_Delete(json);
    } while (code == CLI_GO_ON && next && (limit == 0 || count < limit));
    if (code == CLI_GO_ON && next)
        fprintf(stderr, "there are more: --limit 0 shows all\n");
    free(next);
    buf_fini(&start);
    if (code == CLI_GO_ON)
        *ret_json = all;
    else
        cJSON_Delete(all);
    return code;
}

/* ---- one run */

static int find_urls(struct ctl *ctl)
{
    struct cluster_file file;
    struct error err;
    if (!ctl->options.dir) {
        ctl->urls = strdup(ctl->options.url);
        CHECK(ctl->urls);
        return CLI_GO_ON;
    }
    if (cluster_file_read(ctl->options.dir, &file, &err) != ERR_OK) {
        cli_complain(ctl->command, "%s", err.text);
        return CLI_FAILED;
    }
    struct buf urls;
    buf_init(&urls, TEXT_SIZE_MAX);
    for (uint32_t i = 0; i < file.process_count; i++)
        if (strcmp(file.processes[i].role, "pd") == 0 && file.processes[i].status_address[0]) {
            append_text(&urls, urls.size ? "," : "");
            append_text(&urls, file.processes[i].status_address);
        }
    append_text(&urls, "");
    CHECK(buf_append_u8(&urls, 0) == ERR_OK);
    ctl->urls = (char *)urls.data;
    cluster_file_fini(&file);
    if (ctl->urls[0])
        return CLI_GO_ON;
    cli_complain(ctl->command, "%s/cluster.json names no status address: it is of an older version", ctl->options.dir);
    return CLI_FAILED;
}

/* What can hurt is asked for by name, unless --yes. */
static int run_plain(struct ctl *ctl)
{
    const struct ctl_verb *verb = ctl->verb;
    cJSON *json = NULL;
    struct buf body;
    buf_init(&body, ANSWER_SIZE_MAX);
    int code = ctl_ask(ctl, verb->method, verb->path, verb->body, &json, &body);
    if (code == CLI_GO_ON && verb->method) {
        code = ctl_show_change(ctl, json);
    } else if (code == CLI_GO_ON && strcmp(ctl->options.output, "json") == 0) {
        /* As it came: doubles would lose digits of large numbers. */
        fwrite(body.data, 1, body.size, stdout);
        cJSON_Delete(json);
        code = CLI_OK;
    } else if (code == CLI_GO_ON) {
        code = ctl_show(ctl, json, verb->list, verb->columns);
    }
    buf_fini(&body);
    return code;
}

int ctl_run(const struct command *command, int argc, char **argv)
{
    struct ctl ctl = {.verb = (const struct ctl_verb *)command, .command = command};
    struct error err;
    int code = cli_parse(command, argc, argv, &ctl.settings, &ctl.options);
    if (code != CLI_GO_ON)
        return code;
    code = find_urls(&ctl);
    if (code == CLI_GO_ON && http_client_new(&ctl.client, &err) != ERR_OK) {
        cli_complain(command, "%s", err.text);
        code = CLI_FAILED;
    }
    if (code == CLI_GO_ON)
        code = ctl.verb->act ? ctl.verb->act(&ctl) : run_plain(&ctl);
    http_client_free(ctl.client);
    free(ctl.urls);
    settings_fini_target(command->table, command->table_count, &ctl.options);
    settings_free(ctl.settings);
    return code;
}
