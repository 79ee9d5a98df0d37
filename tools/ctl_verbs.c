/* ctl_verbs: the verbs of `polder ctl` (pd-ctl). Most of them are one row. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/nearest.h"
#include "config/setting_value.h"
#include "ctl.h"
#include "env/os.h"
#include "progress_bar.h"

extern const struct ctl_verb ctl_why_region, ctl_why_store, ctl_why_operator;
extern const struct ctl_verb ctl_unsafe_plan, ctl_unsafe_dry_run, ctl_unsafe_apply, ctl_unsafe_report;

enum { TEXT_SIZE_MAX = 1024 * 1024, WAIT_POLL_MS = 200 };

/* ---- columns */

static const struct ctl_column member_columns[] = {{"id", "ID", CTL_NUMBER},
                                                   {"name", "NAME", CTL_TEXT},
                                                   {"address", "ADDRESS", CTL_TEXT},
                                                   {"status_address", "STATUS", CTL_TEXT},
                                                   {"leader", "LEADS", CTL_BOOL},
                                                   {"learner", "LEARNS", CTL_BOOL},
                                                   {"active", "HEARD", CTL_BOOL},
                                                   {"lags_by", "LAGS BY", CTL_NUMBER},
                                                   {0}};
static const struct ctl_column store_columns[] = {{"id", "STORE", CTL_NUMBER},
                                                  {"address", "ADDRESS", CTL_TEXT},
                                                  {"state", "STATE", CTL_TEXT},
                                                  {"life", "LIFE", CTL_TEXT},
                                                  {"region_count", "REGIONS", CTL_NUMBER},
                                                  {"leader_count", "LEADERS", CTL_NUMBER},
                                                  {"region_size", "HOLDS", CTL_SIZE},
                                                  {"available_size", "FREE", CTL_SIZE},
                                                  {"heartbeat_age_ms", "HEARTBEAT", CTL_MS},
                                                  {"drained_permille", "DRAINED", CTL_PERMILLE},
                                                  {"labels", "LABELS", CTL_LABELS},
                                                  {0}};
static const struct ctl_column region_columns[] = {
    {"id", "REGION", CTL_NUMBER},   {"peers", "PEERS", CTL_PEERS},       {"size", "SIZE", CTL_SIZE},
    {"keys", "KEYS", CTL_NUMBER},   {"read_load", "READ/S", CTL_NUMBER}, {"write_load", "WRITE/S", CTL_NUMBER},
    {"start_key", "FROM", CTL_KEY}, {"end_key", "TO", CTL_KEY},          {0}};
static const struct ctl_column hole_columns[] = {{"start_key", "FROM", CTL_KEY}, {"end_key", "TO", CTL_KEY}, {0}};
static const struct ctl_column operator_columns[] = {{"operator", "OPERATOR", CTL_NUMBER},
                                                     {"region", "REGION", CTL_NUMBER},
                                                     {"state", "STATE", CTL_TEXT},
                                                     {"age_ms", "AGE", CTL_MS},
                                                     {"by_people", "BY PEOPLE", CTL_BOOL},
                                                     {"steps", "STEPS", CTL_STEPS},
                                                     {0}};
static const struct ctl_column scheduler_columns[] = {{"name", "NAME", CTL_TEXT},
                                                      {"on", "ON", CTL_BOOL},
                                                      {"paused_ms", "PAUSED FOR", CTL_MS},
                                                      {"started_count", "BEGAN", CTL_NUMBER},
                                                      {"stores", "STORES", CTL_TEXT},
                                                      {0}};
static const struct ctl_column rule_columns[] = {{"group", "GROUP", CTL_TEXT},
                                                 {"name", "NAME", CTL_TEXT},
                                                 {"role", "ROLE", CTL_TEXT},
                                                 {"count", "COUNT", CTL_NUMBER},
                                                 {"start_key", "FROM", CTL_KEY},
                                                 {"end_key", "TO", CTL_KEY},
                                                 {"constraints", "CONSTRAINTS", CTL_TEXT},
                                                 {"locations", "LOCATIONS", CTL_TEXT},
                                                 {"isolation_level", "ISOLATION", CTL_NUMBER},
                                                 {0}};
static const struct ctl_column load_columns[] = {
    {"store", "STORE", CTL_NUMBER}, {"read_load", "READ/S", CTL_NUMBER}, {"write_load", "WRITE/S", CTL_NUMBER}, {0}};
static const struct ctl_column balance_columns[] = {{"store", "STORE", CTL_NUMBER},
                                                    {"life", "LIFE", CTL_TEXT},
                                                    {"peers", "PEERS", CTL_NUMBER},
                                                    {"leaders", "LEADERS", CTL_NUMBER},
                                                    {"size", "HOLDS", CTL_SIZE},
                                                    {"above_mean_size", "ABOVE MEAN (B)", CTL_NUMBER},
                                                    {"above_mean_leaders", "LEADERS ABOVE MEAN", CTL_NUMBER},
                                                    {"coming_peers", "COMING", CTL_NUMBER},
                                                    {"out_of_balance", "OUT OF BALANCE", CTL_BOOL},
                                                    {0}};

/* ---- flags of single verbs */

static const struct setting drain_rows[] = {
    CTL_COMMON_ROWS,
    CTL_WAIT_ROW("the store is empty; Ctrl-C leaves, and it goes on"),
};

static const struct setting stop_rows[] = {
    CTL_COMMON_ROWS,
    CTL_FOR_ROW,
    CTL_WAIT_ROW("the store leads nothing, for half of the time at most"),
};

static const struct setting history_rows[] = {
    CTL_COMMON_ROWS,
    {.key = "limit",
     .letter = 'n',
     .type = SETTING_U64,
     SETTING_FIELD(struct ctl_options, limit),
     .default_text = "100",
     .max = 1024,
     .help = "rows at most"},
};

static const struct setting rule_rows[] = {
    CTL_COMMON_ROWS,
    {.key = "role",
     .type = SETTING_STRING,
     SETTING_FIELD(struct ctl_options, role),
     .default_text = "voter",
     .choices = "voter|leader|follower|learner",
     .help = "what the peers are"},
    {.key = "start-key",
     .type = SETTING_STRING,
     SETTING_FIELD(struct ctl_options, start_key),
     .value_name = "KEY",
     .help = "first user key; not given: the beginning"},
    {.key = "end-key",
     .type = SETTING_STRING,
     SETTING_FIELD(struct ctl_options, end_key),
     .value_name = "KEY",
     .help = "the user key behind the last; not given: the end"},
    {.key = "constraint",
     .type = SETTING_STRING,
     SETTING_FIELD(struct ctl_options, constraint),
     .value_name = "LABEL=VALUES",
     .help = "only stores with such a label; values are separated by commas"},
    {.key = "locations",
     .type = SETTING_STRING,
     SETTING_FIELD(struct ctl_options, locations),
     .value_name = "LABELS",
     .help = "keep the peers apart by these, outermost first, separated by commas"},
    {.key = "isolation",
     .type = SETTING_U32,
     SETTING_FIELD(struct ctl_options, isolation),
     .default_text = "0",
     .max = 4,
     .help = "the peers must differ in so many of the locations"},
};

/* ---- what is more than one request, or not of the usual form */

static int region_list(struct ctl *ctl)
{
    cJSON *json = NULL;
    int code = ctl_pages(ctl, ctl->options.store ? "/pd/v1/regions?store={store}" : "/pd/v1/regions", "regions", &json);
    return code == CLI_GO_ON ? ctl_show(ctl, json, "regions", region_columns) : code;
}

static int region_check(struct ctl *ctl)
{
    cJSON *json = NULL;
    bool holes = strcmp(ctl_operand(ctl, 0), "holes") == 0;
    int code =
        holes ? ctl_pages(ctl, "/pd/v1/holes", "holes", &json)
              : ctl_pages(ctl,
                          ctl->options.store ? "/pd/v1/regions?check={p0}&store={store}" : "/pd/v1/regions?check={p0}",
                          "regions", &json);
    if (code != CLI_GO_ON)
        return code;
    const char *list = holes ? "holes" : "regions";
    if (ctl_is_table(ctl) && cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, list)) == 0) {
        printf("none\n");
        cJSON_Delete(json);
        return CLI_OK;
    }
    return ctl_show(ctl, json, list, holes ? hole_columns : region_columns);
}

static const char *top_field;

static int compare_rows(const void *a, const void *b)
{
    double first = ctl_number(*(cJSON *const *)a, top_field), second = ctl_number(*(cJSON *const *)b, top_field);
    return (first < second) - (first > second);
}

/* Each page has its own largest: the largest of all are among them. */
static void keep_largest(cJSON *rows, uint64_t limit)
{
    size_t count = (size_t)cJSON_GetArraySize(rows), at = 0;
    cJSON **all = calloc(count + 1, sizeof *all);
    CHECK(all);
    while (cJSON_GetArraySize(rows) > 0)
        all[at++] = cJSON_DetachItemFromArray(rows, 0);
    qsort(all, count, sizeof *all, compare_rows);
    for (size_t i = 0; i < count; i++) {
        if (limit == 0 || i < limit)
            cJSON_AddItemToArray(rows, all[i]);
        else
            cJSON_Delete(all[i]);
    }
    free(all);
}

static int region_top(struct ctl *ctl)
{
    cJSON *json = NULL;
    const char *what = ctl_operand(ctl, 0);
    uint64_t limit = ctl->options.limit == 1000 ? 10 : ctl->options.limit;
    top_field = strcmp(what, "read") == 0 ? "read_load" : strcmp(what, "write") == 0 ? "write_load" : "size";
    ctl->options.limit = 0; /* all pages */
    int code = ctl_pages(ctl, "/pd/v1/regions?top={p0}", "regions", &json);
    if (code != CLI_GO_ON)
        return code;
    keep_largest(cJSON_GetObjectItemCaseSensitive(json, "regions"), limit);
    return ctl_show(ctl, json, "regions", region_columns);
}

static int change_at(struct ctl *ctl, const char *method, const char *path, const char *body)
{
    cJSON *json = NULL;
    int code = ctl_ask(ctl, method, path, body, &json, NULL);
    return code == CLI_GO_ON ? ctl_show_change(ctl, json) : code;
}

static int change(struct ctl *ctl, const char *body)
{
    return change_at(ctl, ctl->verb->method, ctl->verb->path, body);
}

static bool read_permille(const char *text, uint64_t *ret_value)
{
    char *end;
    double value = strtod(text, &end);
    bool ok = text[0] >= '0' && text[0] <= '9' && *end == '\0' && value > 0 && value <= 1000;
    *ret_value = ok ? (uint64_t)(value * 1000 + 0.5) : 0;
    return ok && *ret_value > 0;
}

static int store_weight(struct ctl *ctl)
{
    uint64_t leader, region;
    char body[128];
    if (!read_permille(ctl_operand(ctl, 1), &leader) || !read_permille(ctl_operand(ctl, 2), &region))
        return cli_usage(ctl->command, "a weight is a number from 0.001 to 1000");
    snprintf(body, sizeof body, "{\"leader_permille\":%" PRIu64 ",\"region_permille\":%" PRIu64 "}", leader, region);
    return change(ctl, body);
}

static int store_limit(struct ctl *ctl)
{
    static const struct setting size = {.key = "limit", .type = SETTING_SIZE};
    struct error err;
    uint64_t receive, send;
    char body[128];
    if (setting_value_parse(&size, ctl_operand(ctl, 1), &receive, &err) != ERR_OK ||
        setting_value_parse(&size, ctl_operand(ctl, 2), &send, &err) != ERR_OK)
        return cli_usage(ctl->command, "%s", err.text);
    snprintf(body, sizeof body, "{\"receive_size\":%" PRIu64 ",\"send_size\":%" PRIu64 "}", receive, send);
    return change(ctl, body);
}

/* Until it is empty, or somebody wants it to serve again. */
static int wait_drained(struct ctl *ctl)
{
    struct progress_bar progress;
    char life[16] = "draining";
    int code = CLI_GO_ON;
    progress_bar_init(&progress, "drain", "peers", 0);
    for (;;) {
        cJSON *json = NULL;
        code = ctl_ask(ctl, NULL, "/pd/v1/stores/{0}", NULL, &json, NULL);
        if (code != CLI_GO_ON)
            break;
        uint64_t permille = (uint64_t)ctl_number(json, "drained_permille"),
                 left = (uint64_t)ctl_number(json, "region_count");
        snprintf(life, sizeof life, "%s", ctl_text(json, "life"));
        cJSON_Delete(json);
        if (strcmp(life, "draining") != 0)
            break;
        progress_bar_update(&progress, permille < 1000 ? left * permille / (1000 - permille) : 0, permille, 1000);
        os_sleep_ms(WAIT_POLL_MS);
    }
    progress_bar_end(&progress);
    if (code != CLI_GO_ON)
        return code;
    if (strcmp(life, "tombstone") == 0) {
        printf("drained after %.1f s; store remove-tombstone forgets it\n", (double)progress_bar_ms(&progress) / 1000);
        return CLI_OK;
    }
    cli_complain(ctl->command, "it is %s again: somebody has taken it back", life);
    return CLI_CONDITION;
}

static int store_drain(struct ctl *ctl)
{
    int code = change(ctl, NULL);
    return code == CLI_OK && ctl->options.wait ? wait_drained(ctl) : code;
}

/* Regions whose other peers are not well keep their leader: so not for ever. */
static int wait_leads_nothing(struct ctl *ctl)
{
    struct progress_bar progress;
    uint64_t leaders = 0, most = 0, end_us = os_monotonic_us() + ctl->options.duration_ms * 500;
    int code = CLI_GO_ON;
    progress_bar_init(&progress, "leaders leave", "leaders", 0);
    for (bool first = true; first || (leaders > 0 && os_monotonic_us() < end_us); first = false) {
        cJSON *json = NULL;
        if (!first)
            os_sleep_ms(WAIT_POLL_MS);
        code = ctl_ask(ctl, NULL, "/pd/v1/stores/{0}", NULL, &json, NULL);
        if (code != CLI_GO_ON)
            break;
        leaders = (uint64_t)ctl_number(json, "leader_count");
        most = leaders > most ? leaders : most;
        cJSON_Delete(json);
        progress_bar_update(&progress, most - leaders, most - leaders, most);
    }
    progress_bar_end(&progress);
    if (code != CLI_GO_ON)
        return code;
    if (leaders == 0) {
        printf("it leads nothing after %.1f s\n", (double)progress_bar_ms(&progress) / 1000);
        return CLI_OK;
    }
    cli_complain(ctl->command, "it still leads %" PRIu64 " regions: pd-ctl why store %s", leaders, ctl_operand(ctl, 0));
    return CLI_CONDITION;
}

static int store_prepare_stop(struct ctl *ctl)
{
    int code = change(ctl, ctl->verb->body);
    return code == CLI_OK && ctl->options.wait && ctl->options.duration_ms > 0 ? wait_leads_nothing(ctl) : code;
}

static const struct {
    const char *kind, *path, *body;
    size_t operands;
} kinds[] = {{"transfer-leader", "/pd/v1/regions/{1}/transfer-leader", "{\"store\":{2}}", 3},
             {"add-peer", "/pd/v1/regions/{1}/add-peer", "{\"store\":{2}}", 3},
             {"remove-peer", "/pd/v1/regions/{1}/remove-peer", "{\"store\":{2}}", 3},
             {"move-peer", "/pd/v1/regions/{1}/move-peer", "{\"from\":{2},\"to\":{3}}", 4},
             {"merge", "/pd/v1/regions/{1}/merge", "{\"target\":{2}}", 3},
             {"split", "/pd/v1/regions/{1}/split", "", 2},
             {"scatter", "/pd/v1/regions/{1}/scatter", "", 2}};

static const char *kind_word(size_t n)
{
    return n < sizeof kinds / sizeof kinds[0] ? kinds[n].kind : NULL;
}

static const char *check_word(size_t n)
{
    static const char *const words[] = {"miss", "extra", "down", "pending", "empty", "oversized", "leaderless", "holes"};
    return n < sizeof words / sizeof words[0] ? words[n] : NULL;
}

static const char *top_word(size_t n)
{
    static const char *const words[] = {"read", "write", "size"};
    return n < sizeof words / sizeof words[0] ? words[n] : NULL;
}

static int operator_add(struct ctl *ctl)
{
    struct nearest nearest;
    nearest_init(&nearest, ctl_operand(ctl, 0));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        nearest_offer(&nearest, kinds[i].kind);
        if (strcmp(kinds[i].kind, ctl_operand(ctl, 0)) != 0)
            continue;
        if (settings_operand_count(ctl->settings) != kinds[i].operands)
            return cli_usage(ctl->command, "%s wants %zu words more; see pd-ctl operator add --help", kinds[i].kind,
                             kinds[i].operands - 1);
        return change_at(ctl, "POST", kinds[i].path, kinds[i].body);
    }
    return cli_usage(ctl->command, "there is no \"%.40s\"%s%s%s; see pd-ctl operator add --help", ctl_operand(ctl, 0),
                     nearest.best ? "; did you mean \"" : "", nearest.best ? nearest.best : "",
                     nearest.best ? "\"" : "");
}

/* Of all stores, or of one that is named. */
static int scheduler_switch(struct ctl *ctl)
{
    bool on = strcmp(ctl->verb->body, "true") == 0, for_one = settings_operand_count(ctl->settings) > 1;
    const char *body = for_one ? (on ? "{\"on\":true,\"store\":{1}}" : "{\"on\":false,\"store\":{1}}")
                               : (on ? "{\"on\":true}" : "{\"on\":false}");
    return change_at(ctl, "PUT", ctl->verb->path, body);
}

static int scheduler_explain(struct ctl *ctl)
{
    cJSON *json = NULL, *item, *found = NULL;
    int code = ctl_ask(ctl, NULL, "/pd/v1/schedulers", NULL, &json, NULL);
    if (code != CLI_GO_ON)
        return code;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, "schedulers"))
    {
        if (strcmp(ctl_text(item, "name"), ctl_operand(ctl, 0)) == 0)
            found = item;
    }
    if (!found) {
        cli_complain(ctl->command, "there is no policy \"%.40s\"; pd-ctl scheduler list names them",
                     ctl_operand(ctl, 0));
        code = CLI_NOT_FOUND;
    } else if (!ctl_is_table(ctl)) {
        code = ctl_show(ctl, cJSON_Duplicate(found, true), NULL, NULL);
    } else {
        bool scheduling = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "scheduling"));
        bool ready = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "ready"));
        char paused[64] = "on", left[32];
        cli_print_duration((uint64_t)ctl_number(found, "paused_ms"), left);
        if (ctl_number(found, "paused_ms") > 0)
            snprintf(paused, sizeof paused, "paused for another %s", left);
        printf("%s: %s, began %.0f operators\n", ctl_text(found, "name"),
               !scheduling ? "waits, scheduling is off (pd-ctl config set scheduling true)"
               : !ready    ? "waits, pd has not heard of most regions yet"
               : cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(found, "on")) ? paused
                                                                             : "off",
               ctl_number(found, "started_count"));
        const cJSON *quiet = cJSON_GetObjectItemCaseSensitive(found, "quiet_because");
        if (cJSON_IsObject(quiet)) {
            printf("when it last began nothing it\n");
            ctl_print_reason(
                quiet, "  ",
                cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(quiet, "facts")) == 0 ? "found nothing to do" : "");
        }
        code = CLI_OK;
    }
    cJSON_Delete(json);
    return code;
}

static int scheduler_config(struct ctl *ctl)
{
    cJSON *json = NULL;
    bool sets = settings_operand_count(ctl->settings) > 0;
    if (settings_operand_count(ctl->settings) == 1)
        return cli_usage(ctl->command, "wants a KEY and a VALUE, or nothing");
    int code = sets ? ctl_ask(ctl, "PATCH", "/pd/v1/config", "{{s0}:{s1}}", &json, NULL)
                    : ctl_ask(ctl, NULL, ctl->verb->path, NULL, &json, NULL);
    if (code != CLI_GO_ON)
        return code;
    return sets ? ctl_show_change(ctl, json) : ctl_show(ctl, json, NULL, NULL);
}

/* LABEL=VALUE,VALUE as {"label", "test", "values"}. */
static bool add_constraint(cJSON *body, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return false;
    cJSON *list = cJSON_AddArrayToObject(body, "constraints"), *item = cJSON_CreateObject();
    char *label = strndup(text, (size_t)(equals - text));
    CHECK(label);
    cJSON_AddStringToObject(item, "label", label);
    free(label);
    cJSON_AddStringToObject(item, "test", "in");
    ctl_add_words(item, "values", equals + 1);
    cJSON_AddItemToArray(list, item);
    return true;
}

static bool add_key(cJSON *body, const char *name, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    struct buf key, hex;
    struct error err;
    buf_init(&key, TEXT_SIZE_MAX);
    buf_init(&hex, TEXT_SIZE_MAX);
    bool ok = buf_append_u8(&key, 'r') == ERR_OK && cli_unescape(bytes_of_string(text), &key, &err) == ERR_OK;
    for (size_t i = 0; ok && i < key.size; i++)
        ok = buf_append_u8(&hex, (uint8_t)digits[key.data[i] >> 4]) == ERR_OK &&
             buf_append_u8(&hex, (uint8_t)digits[key.data[i] & 15]) == ERR_OK;
    if (ok && buf_append_u8(&hex, 0) == ERR_OK)
        cJSON_AddStringToObject(body, name, (const char *)hex.data);
    buf_fini(&key);
    buf_fini(&hex);
    return ok;
}

static int rule_put(struct ctl *ctl)
{
    const struct ctl_options *options = &ctl->options;
    cJSON *body = cJSON_CreateObject();
    cJSON_AddStringToObject(body, "count", ctl_operand(ctl, 2));
    cJSON_AddStringToObject(body, "role", options->role);
    cJSON_AddNumberToObject(body, "isolation_level", options->isolation);
    bool ok = (!options->start_key || add_key(body, "start_key", options->start_key)) &&
              (!options->end_key || add_key(body, "end_key", options->end_key));
    int code = ok ? CLI_GO_ON : cli_usage(ctl->command, "a key has an escape that is none");
    if (code == CLI_GO_ON && options->constraint && !add_constraint(body, options->constraint))
        code = cli_usage(ctl->command, "--constraint: wants LABEL=VALUE[,VALUE...]");
    if (options->locations)
        ctl_add_words(body, "locations", options->locations);
    char *text = cJSON_PrintUnformatted(body);
    CHECK(text);
    cJSON *json = NULL;
    struct buf path;
    buf_init(&path, TEXT_SIZE_MAX);
    if (code == CLI_GO_ON)
        code = ctl_fill(ctl, "/pd/v1/rules/{p0}/{p1}", &path);
    if (code == CLI_GO_ON)
        code = ctl_fetch(ctl, "PUT", (const char *)path.data, text, &json, NULL);
    buf_fini(&path);
    cJSON_free(text);
    cJSON_Delete(body);
    return code == CLI_GO_ON ? ctl_show_change(ctl, json) : code;
}

static int hot(struct ctl *ctl)
{
    cJSON *json = NULL;
    int code = ctl_ask(ctl, NULL, ctl->verb->path, NULL, &json, NULL);
    if (code != CLI_GO_ON)
        return code;
    if (!ctl_is_table(ctl))
        return ctl_show(ctl, json, "regions", region_columns);
    bool none = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "regions")) == 0;
    ctl_show(ctl, cJSON_Duplicate(json, true), "stores", load_columns);
    printf("\n");
    if (!none)
        return ctl_show(ctl, json, "regions", region_columns);
    printf("no region is hot\n");
    cJSON_Delete(json);
    return CLI_OK;
}

enum { TSO_BITS = 18 };

static void print_time(uint64_t ms)
{
    char text[40];
    os_time_text(ms, text, sizeof text);
    printf("%s", text);
}

static int tso_explain(struct ctl *ctl, const char *text)
{
    char *end;
    uint64_t timestamp = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end)
        return cli_usage(ctl->command, "\"%.40s\" is no timestamp", text);
    uint64_t ms = timestamp >> TSO_BITS, counter = timestamp & ((1u << TSO_BITS) - 1);
    if (!ctl_is_table(ctl)) {
        printf("{\"timestamp\":%" PRIu64 ",\"physical_ms\":%" PRIu64 ",\"counter\":%" PRIu64 "}\n", timestamp, ms,
               counter);
        return CLI_OK;
    }
    printf("%" PRIu64 ": ", timestamp);
    print_time(ms);
    printf(", number %" PRIu64 " of that millisecond\n", counter);
    return CLI_OK;
}

static int tso(struct ctl *ctl)
{
    cJSON *json = NULL;
    struct buf body;
    if (ctl_operand(ctl, 0)[0])
        return tso_explain(ctl, ctl_operand(ctl, 0));
    buf_init(&body, TEXT_SIZE_MAX);
    int code = ctl_ask(ctl, NULL, ctl->verb->path, NULL, &json, &body);
    if (code == CLI_GO_ON && !ctl_is_table(ctl)) {
        fwrite(body.data, 1, body.size, stdout); /* a double would lose digits of it */
        code = CLI_OK;
    } else if (code == CLI_GO_ON && ctl_number(json, "limit_ms") == 0) {
        printf("nobody has asked for a timestamp yet\n");
        code = CLI_OK;
    } else if (code == CLI_GO_ON) {
        uint64_t ms = (uint64_t)ctl_number(json, "physical_ms"), counter = (uint64_t)ctl_number(json, "counter");
        printf("next      %" PRIu64 ": ", ms << TSO_BITS | counter);
        print_time(ms);
        printf(", number %" PRIu64 "\nreserved  up to ", counter);
        print_time((uint64_t)ctl_number(json, "limit_ms"));
        printf("\nahead     %.0f ms of the clock of pd\n", ctl_number(json, "ahead_ms"));
        code = CLI_OK;
    }
    cJSON_Delete(json);
    buf_fini(&body);
    return code;
}

static int balance_now(struct ctl *ctl)
{
    cJSON *json = NULL;
    int code = ctl_ask(ctl, NULL, ctl->verb->path, NULL, &json, NULL);
    if (code != CLI_GO_ON)
        return code;
    char size[32];
    cli_print_size((uint64_t)ctl_number(json, "above_mean_size"), size);
    if (ctl_is_table(ctl)) {
        ctl_show(ctl, cJSON_Duplicate(json, true), "stores", balance_columns);
        printf("\n%s lie above the mean and may move; %.0f operators are under way\n", size,
               ctl_number(json, "operators"));
    }
    cJSON_Delete(json);
    if (ctl->options.yes)
        return change(ctl, NULL);
    cli_complain(ctl->command, "nothing was begun: say --yes to do it");
    return CLI_CONDITION;
}

/* ---- the table */

static const struct ctl_verb ctl_status = {
    .command = {.name = "ctl status",
                .operands = "",
                .summary = "the cluster at a glance",
                .text = "How healthy it is and why not, who leads pd, how many stores and regions there are.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl status\n"
                        "  pd-ctl status -o json\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/status",
};

static const struct ctl_verb ctl_member_list = {
    .command = {.name = "ctl member list",
                .operands = "",
                .summary = "members of pd",
                .text = "Examples:\n"
                        "  pd-ctl member list\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/members",
    .list = "members",
    .columns = member_columns,
};

static const struct ctl_verb ctl_member_add = {
    .command = {.name = "ctl member add",
                .operands = "NAME ADDRESS",
                .summary = "one more member of pd",
                .text = "It learns first, and votes once it has caught up. Start it with --join (polder pd --help).\n\n"
                        "Examples:\n"
                        "  pd-ctl member add pd-4 tcp://10.0.0.4:2379\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 2,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/members",
    .body = "{\"name\":{s0},\"address\":{s1}}",
};

static const struct ctl_verb ctl_member_remove = {
    .command = {.name = "ctl member remove",
                .operands = "MEMBER",
                .summary = "one member of pd less",
                .text = "Refused for the last one, and if those that are left could not agree.\n\n"
                        "Examples:\n"
                        "  pd-ctl member remove 4\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "DELETE",
    .path = "/pd/v1/members/{0}",
};

static const struct ctl_verb ctl_member_transfer = {
    .command = {.name = "ctl member transfer",
                .operands = "MEMBER",
                .summary = "another member of pd leads",
                .text = ""
                        "Examples:\n"
                        "  pd-ctl member transfer 2\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/members/{0}/transfer-leader",
};

static const struct ctl_verb ctl_store_list = {
    .command = {.name = "ctl store list",
                .operands = "",
                .summary = "all stores, what they hold and what is wanted of them",
                .text = "Examples:\n"
                        "  pd-ctl store list\n"
                        "  pd-ctl store list -o jsonl\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/stores",
    .list = "stores",
    .columns = store_columns,
};

static const struct ctl_verb ctl_store_show = {
    .command = {.name = "ctl store show",
                .operands = "STORE",
                .summary = "all that is known of a store",
                .text = "Examples:\n"
                        "  pd-ctl store show 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/stores/{0}",
    .columns = store_columns,
};

static const struct ctl_verb ctl_store_label = {
    .command = {.name = "ctl store label",
                .operands = "STORE NAME VALUE",
                .summary = "give a store a label",
                .text = "Rules place peers by labels: zone, rack, host. An empty value takes the label away.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl store label 3 zone east\n"
                        "  pd-ctl store label 3 zone ''\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 3,
                .operand_max = 3,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/label",
    .body = "{\"name\":{s1},\"value\":{s2}}",
};

static const struct ctl_verb ctl_store_weight = {
    .command = {.name = "ctl store weight",
                .operands = "STORE LEADERS REGIONS",
                .summary = "how much a store shall hold, compared with others",
                .text =
                    "1 is the weight of all; a store of 2 gets twice as much for its capacity. Three digits count.\n"
                    "\n"
                    "Examples:\n"
                    "  pd-ctl store weight 3 2 1.5\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 3,
                .operand_max = 3,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/weight",
    .act = store_weight,
};

static const struct ctl_verb ctl_store_limit = {
    .command = {.name = "ctl store limit",
                .operands = "STORE RECEIVE SEND",
                .summary = "bytes of snapshots per second that a store takes and gives",
                .text = "Sizes have a unit. 0B: the default (store-limit) again.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl store limit 3 64MiB 32MiB\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 3,
                .operand_max = 3,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/limit",
    .act = store_limit,
};

static const struct ctl_verb ctl_store_drain = {
    .command =
        {.name = "ctl store drain",
         .operands = "STORE",
         .summary = "move everything away from a store, for ever",
         .text =
             "Refused if the others could not take it: too few stores, too little room, rules that could not be met.\n"
             "Goes on by itself; store show says how far it is, and --wait stays until it is done. A drained store\n"
             "becomes a tombstone.\n"
             "\n"
             "Examples:\n"
             "  pd-ctl store drain 3\n"
             "  pd-ctl store drain 3 --wait\n" CTL_EXIT_CODES,
         CLI_TABLE(drain_rows),
         .operand_min = 1,
         .operand_max = 1,
         .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/drain",
    .act = store_drain,
};

static const struct ctl_verb ctl_store_cancel_drain = {
    .command = {.name = "ctl store cancel-drain",
                .operands = "STORE",
                .summary = "a store that drains serves again",
                .text = "Examples:\n"
                        "  pd-ctl store cancel-drain 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/cancel-drain",
};

static const struct ctl_verb ctl_store_cordon = {
    .command = {.name = "ctl store cordon",
                .operands = "STORE",
                .summary = "a store gets nothing new",
                .text = "Examples:\n"
                        "  pd-ctl store cordon 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/cordon",
    .body = "{\"on\":true}",
};

static const struct ctl_verb ctl_store_uncordon = {
    .command = {.name = "ctl store uncordon",
                .operands = "STORE",
                .summary = "a store that is cordoned gets new peers again",
                .text = "Examples:\n"
                        "  pd-ctl store uncordon 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/cordon",
    .body = "{\"on\":false}",
};

static const struct ctl_verb ctl_store_evict_leaders = {
    .command = {.name = "ctl store evict-leaders",
                .operands = "STORE",
                .summary = "leaders leave a store, and none comes",
                .text = "Examples:\n"
                        "  pd-ctl store evict-leaders 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/evict-leaders",
    .body = "{\"on\":true}",
};

static const struct ctl_verb ctl_store_return_leaders = {
    .command = {.name = "ctl store return-leaders",
                .operands = "STORE",
                .summary = "leaders may be on a store again",
                .text = "Examples:\n"
                        "  pd-ctl store return-leaders 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/evict-leaders",
    .body = "{\"on\":false}",
};

static const struct ctl_verb ctl_store_prepare_stop = {
    .command = {.name = "ctl store prepare-stop",
                .operands = "STORE",
                .summary = "before a planned restart: leaders leave, and its silence repairs nothing",
                .text = "For so long (--for) the store gets nothing new and may be away. --for 0ms: it is over. --wait "
                        "stays until\n"
                        "its leaders have left.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl store prepare-stop 3\n"
                        "  pd-ctl store prepare-stop 3 --for 30min\n"
                        "  pd-ctl store prepare-stop 3 --wait && systemctl restart polder-storenode\n" CTL_EXIT_CODES,
                CLI_TABLE(stop_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/stores/{0}/prepare-stop",
    .body = "{\"duration_ms\":{duration}}",
    .act = store_prepare_stop,
};

static const struct ctl_verb ctl_store_remove_tombstone = {
    .command = {.name = "ctl store remove-tombstone",
                .operands = "STORE",
                .summary = "forget a store that was drained to its end",
                .text = "Examples:\n"
                        "  pd-ctl store remove-tombstone 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "DELETE",
    .path = "/pd/v1/stores/{0}",
};

static const struct ctl_verb ctl_region_list = {
    .command =
        {.name = "ctl region list",
         .operands = "",
         .summary = "regions in key order",
         .text = "Keys are encoded: user keys have an r in front. Of peers * leads, ! is on a store that is not up.\n"
                 "\n"
                 "Examples:\n"
                 "  pd-ctl region list\n"
                 "  pd-ctl region list --store 3 --limit 0 -o jsonl\n" CTL_EXIT_CODES,
         CLI_TABLE(ctl_list_rows),
         .operand_min = 0,
         .operand_max = 0,
         .run = ctl_run},
    .columns = region_columns,
    .act = region_list,
};

static const struct ctl_verb ctl_region_show = {
    .command = {.name = "ctl region show",
                .operands = "REGION",
                .summary = "one region",
                .text = "Examples:\n"
                        "  pd-ctl region show 42\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/regions/{0}",
};

static const struct ctl_verb ctl_region_key = {
    .command = {.name = "ctl region key",
                .operands = "KEY",
                .summary = "the region that has a user key",
                .text = "In keys \\n, \\t, \\\\ and \\xNN stand for bytes.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl region key user/17\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/region-of-key?key={k0}",
};

static const struct ctl_verb ctl_region_check = {
    .command = {.name = "ctl region check",
                .operands = "WHAT",
                .summary = "regions with which something is the matter",
                .text = "miss: too few voters. extra: too many. down: a peer on a store that does not answer. pending: "
                        "a change of\n"
                        "members goes on. empty: no rows. oversized: over 144 MiB. leaderless: no leader, or its store "
                        "is not up.\n"
                        "holes: keys that no region has. Prints what it finds; nothing found is exit code 0, too.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl region check miss\n"
                        "  pd-ctl region check holes -o json\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_list_rows),
                .operand_min = 1,
                .operand_max = 1,
                .operand_word = check_word,
                .run = ctl_run},
    .act = region_check,
};

static const struct ctl_verb ctl_region_top = {
    .command = {.name = "ctl region top",
                .operands = "WHAT",
                .summary = "the regions that are read, written or grown most",
                .text = "Examples:\n"
                        "  pd-ctl region top read\n"
                        "  pd-ctl region top size --limit 5\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_list_rows),
                .operand_min = 1,
                .operand_max = 1,
                .operand_word = top_word,
                .run = ctl_run},
    .act = region_top,
};

static const struct ctl_verb ctl_region_split = {
    .command = {.name = "ctl region split",
                .operands = "REGION",
                .summary = "cut a region in the middle",
                .text = "Or where a rule begins inside. polder region split cuts at keys.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl region split 42\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/regions/{0}/split",
};

static const struct ctl_verb ctl_region_merge = {
    .command = {.name = "ctl region merge",
                .operands = "SOURCE TARGET",
                .summary = "make a region a part of its neighbour",
                .text = "Examples:\n"
                        "  pd-ctl region merge 42 43\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 2,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/regions/{0}/merge",
    .body = "{\"target\":{1}}",
};

static const struct ctl_verb ctl_region_scatter = {
    .command = {.name = "ctl region scatter",
                .operands = "REGION",
                .summary = "spread the peers of a region and of those it is split into",
                .text = "Examples:\n"
                        "  pd-ctl region scatter 42\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/regions/{0}/scatter",
};

static const struct ctl_verb ctl_region_transfer_leader = {
    .command = {.name = "ctl region transfer-leader",
                .operands = "REGION STORE",
                .summary = "another store leads a region",
                .text = "Examples:\n"
                        "  pd-ctl region transfer-leader 42 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 2,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/regions/{0}/transfer-leader",
    .body = "{\"store\":{1}}",
};

static const struct ctl_verb ctl_region_add_peer = {
    .command = {.name = "ctl region add-peer",
                .operands = "REGION STORE",
                .summary = "one more peer of a region",
                .text = "Examples:\n"
                        "  pd-ctl region add-peer 42 4\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 2,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/regions/{0}/add-peer",
    .body = "{\"store\":{1}}",
};

static const struct ctl_verb ctl_region_remove_peer = {
    .command = {.name = "ctl region remove-peer",
                .operands = "REGION STORE",
                .summary = "one peer of a region less",
                .text = "Examples:\n"
                        "  pd-ctl region remove-peer 42 4\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 2,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/regions/{0}/remove-peer",
    .body = "{\"store\":{1}}",
};

static const struct ctl_verb ctl_region_move_peer = {
    .command = {.name = "ctl region move-peer",
                .operands = "REGION FROM TO",
                .summary = "the peer on one store goes to another",
                .text = "Examples:\n"
                        "  pd-ctl region move-peer 42 1 4\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 3,
                .operand_max = 3,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/regions/{0}/move-peer",
    .body = "{\"from\":{1},\"to\":{2}}",
};

static const struct ctl_verb ctl_operator_list = {
    .command = {.name = "ctl operator list",
                .operands = "",
                .summary = "changes of regions that are under way",
                .text = "Examples:\n"
                        "  pd-ctl operator list\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/operators",
    .list = "operators",
    .columns = operator_columns,
};

static const struct ctl_verb ctl_operator_show = {
    .command = {.name = "ctl operator show",
                .operands = "OPERATOR",
                .summary = "one operator; why operator says more",
                .text = "Examples:\n"
                        "  pd-ctl operator show 7\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/operators/{0}",
};

static const struct ctl_verb ctl_operator_add = {
    .command = {.name = "ctl operator add",
                .operands = "KIND REGION [STORE...]",
                .summary = "begin a change of a region",
                .text = "KIND is transfer-leader, add-peer, remove-peer (REGION STORE), move-peer (REGION FROM TO), "
                        "merge (REGION\n"
                        "TARGET), split or scatter (REGION): the same as region KIND.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl operator add move-peer 42 1 4\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 4,
                .operand_word = kind_word,
                .run = ctl_run},
    .method = "POST",
    .act = operator_add,
};

static const struct ctl_verb ctl_operator_cancel = {
    .command = {.name = "ctl operator cancel",
                .operands = "REGION",
                .summary = "end the operator of a region where it is",
                .text = "What it has done stays.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl operator cancel 42\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "DELETE",
    .path = "/pd/v1/regions/{0}/operator",
};

static const struct ctl_verb ctl_operator_history = {
    .command = {.name = "ctl operator history",
                .operands = "",
                .summary = "operators that have ended, the newest first",
                .text = "Examples:\n"
                        "  pd-ctl operator history\n"
                        "  pd-ctl operator history --limit 10 -o jsonl\n" CTL_EXIT_CODES,
                CLI_TABLE(history_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/operator-history?limit={limit}",
    .list = "operators",
    .columns = operator_columns,
};

static const struct ctl_verb ctl_scheduler_list = {
    .command = {.name = "ctl scheduler list",
                .operands = "",
                .summary = "policies: which are on, and what they began",
                .text = "Examples:\n"
                        "  pd-ctl scheduler list\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/schedulers",
    .list = "schedulers",
    .columns = scheduler_columns,
};

static const struct ctl_verb ctl_scheduler_add = {
    .command = {.name = "ctl scheduler add",
                .operands = "NAME [STORE]",
                .summary = "a policy may decide; evict-leader and grant-leader: for a store",
                .text = "Also those for chaos: shuffle-leader, shuffle-region, random-merge.\n"
                        "\n"
                        "With a STORE: evict-leader, no leader is on that store (as store evict-leaders); "
                        "grant-leader, all leaders\n"
                        "that can are on it, or spread over those that it is added for. A store can have one of both.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl scheduler add balance-leader\n"
                        "  pd-ctl scheduler add grant-leader 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 2,
                .operand_word = ctl_scheduler_word,
                .run = ctl_run},
    .path = "/pd/v1/schedulers/{p0}",
    .body = "true",
    .act = scheduler_switch,
};

static const struct ctl_verb ctl_scheduler_remove = {
    .command = {.name = "ctl scheduler remove",
                .operands = "NAME [STORE]",
                .summary = "a policy decides nothing any more; evict-leader and grant-leader: for a store",
                .text = "Examples:\n"
                        "  pd-ctl scheduler remove balance-region\n"
                        "  pd-ctl scheduler remove grant-leader 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 2,
                .operand_word = ctl_scheduler_word,
                .run = ctl_run},
    .path = "/pd/v1/schedulers/{p0}",
    .body = "false",
    .act = scheduler_switch,
};

static const struct ctl_verb ctl_scheduler_pause = {
    .command = {.name = "ctl scheduler pause",
                .operands = "NAME",
                .summary = "a policy decides nothing for a while",
                .text = "Until --for has passed, or another member of pd leads.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl scheduler pause balance-region --for 1h\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_for_rows),
                .operand_min = 1,
                .operand_max = 1,
                .operand_word = ctl_scheduler_word,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/schedulers/{p0}/pause",
    .body = "{\"duration_ms\":{duration}}",
};

static const struct ctl_verb ctl_scheduler_resume = {
    .command = {.name = "ctl scheduler resume",
                .operands = "NAME",
                .summary = "a policy that is paused goes on",
                .text = "Examples:\n"
                        "  pd-ctl scheduler resume balance-region\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .operand_word = ctl_scheduler_word,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/schedulers/{p0}/pause",
    .body = "{\"duration_ms\":0}",
};

static const struct ctl_verb ctl_scheduler_explain = {
    .command = {.name = "ctl scheduler explain",
                .operands = "NAME",
                .summary = "why a policy does nothing just now",
                .text = "What it compared the last time that it began nothing.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl scheduler explain balance-leader\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .operand_word = ctl_scheduler_word,
                .run = ctl_run},
    .act = scheduler_explain,
};

static const struct ctl_verb ctl_scheduler_config = {
    .command = {.name = "ctl scheduler config",
                .operands = "[KEY VALUE]",
                .summary = "what policies and operators keep to, and what it is set to",
                .text = "Shows what can be set while pd runs; with a KEY and a VALUE it sets one, as config set does.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl scheduler config\n"
                        "  pd-ctl scheduler config schedule-interval 1s\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 2,
                .run = ctl_run},
    .path = "/pd/v1/config?online=1",
    .act = scheduler_config,
};

static const struct ctl_verb ctl_rule_list = {
    .command = {.name = "ctl rule list",
                .operands = "",
                .summary = "how many peers of which kind are wanted where",
                .text = "Examples:\n"
                        "  pd-ctl rule list\n"
                        "  pd-ctl rule list -o json\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/rules",
    .list = "rules",
    .columns = rule_columns,
};

static const struct ctl_verb ctl_rule_put = {
    .command = {.name = "ctl rule put",
                .operands = "GROUP NAME COUNT",
                .summary = "add a rule, or change it",
                .text = "For all keys, or those from --start-key to --end-key. --constraint LABEL=VALUE[,VALUE...]: "
                        "only such stores.\n"
                        "--locations zone,host: apart from each other, as far as there are such; --isolation 1: in the "
                        "first of them always.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl rule put polder default 5\n"
                        "  pd-ctl rule put app east 1 --role learner --constraint zone=east --start-key user/ "
                        "--end-key user0\n" CTL_EXIT_CODES,
                CLI_TABLE(rule_rows),
                .operand_min = 3,
                .operand_max = 3,
                .run = ctl_run},
    .method = "PUT",
    .act = rule_put,
};

static const struct ctl_verb ctl_rule_remove = {
    .command = {.name = "ctl rule remove",
                .operands = "GROUP NAME",
                .summary = "take a rule away",
                .text = "Examples:\n"
                        "  pd-ctl rule remove app east\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 2,
                .run = ctl_run},
    .method = "DELETE",
    .path = "/pd/v1/rules/{p0}/{p1}",
};

static const struct ctl_verb ctl_hot = {
    .command = {.name = "ctl hot",
                .operands = "",
                .summary = "the busiest regions and how the load lies on stores",
                .text =
                    "Regions that are busy for a minute; what a store's leaders are read and its peers are written.\n"
                    "\n"
                    "Examples:\n"
                    "  pd-ctl hot\n"
                    "  pd-ctl hot -o json\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/hot",
    .act = hot,
};

static const struct ctl_verb ctl_config_show = {
    .command = {.name = "ctl config show",
                .operands = "",
                .summary = "the configuration as it is now",
                .text = "With what was set online.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl config show\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/config",
};

static const struct ctl_verb ctl_config_set = {
    .command = {.name = "ctl config set",
                .operands = "KEY VALUE",
                .summary = "set a value online",
                .text = "It counts at once, for all members, and over restarts, until config reset. Values are as in "
                        "the file: 64MiB, 500ms.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl config set store-limit 64MiB\n"
                        "  pd-ctl config set scheduling false\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 2,
                .operand_max = 2,
                .run = ctl_run},
    .method = "PATCH",
    .path = "/pd/v1/config",
    .body = "{{s0}:{s1}}",
};

static const struct ctl_verb ctl_config_reset = {
    .command = {.name = "ctl config reset",
                .operands = "KEY",
                .summary = "a value is as in the file again",
                .text = "Examples:\n"
                        "  pd-ctl config reset store-limit\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .method = "PATCH",
    .path = "/pd/v1/config",
    .body = "{{s0}:null}",
};

static const struct ctl_verb ctl_tso = {
    .command = {.name = "ctl tso",
                .operands = "[TIMESTAMP]",
                .summary = "where timestamps are, or what one means",
                .text = "Examples:\n"
                        "  pd-ctl tso\n"
                        "  pd-ctl tso 471859200000000000\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/tso",
    .act = tso,
};

static const struct ctl_verb ctl_balance_plan = {
    .command = {.name = "ctl balance plan",
                .operands = "",
                .summary = "what stores hold, and how far they are from the mean",
                .text = "Examples:\n"
                        "  pd-ctl balance plan\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .path = "/pd/v1/balance",
    .list = "stores",
    .columns = balance_columns,
};

static const struct ctl_verb ctl_balance_now = {
    .command = {.name = "ctl balance now",
                .operands = "",
                .summary = "balance at once, whatever was paused",
                .text = "Shows the plan first, and wants --yes.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl balance now\n"
                        "  pd-ctl balance now --yes\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .method = "POST",
    .path = "/pd/v1/balance",
    .act = balance_now,
};

/* In the order of help. */
const struct ctl_verb *const ctl_verbs[] = {
    &ctl_status,
    &ctl_member_list,
    &ctl_member_add,
    &ctl_member_remove,
    &ctl_member_transfer,
    &ctl_store_list,
    &ctl_store_show,
    &ctl_store_label,
    &ctl_store_weight,
    &ctl_store_limit,
    &ctl_store_drain,
    &ctl_store_cancel_drain,
    &ctl_store_cordon,
    &ctl_store_uncordon,
    &ctl_store_evict_leaders,
    &ctl_store_return_leaders,
    &ctl_store_prepare_stop,
    &ctl_store_remove_tombstone,
    &ctl_region_list,
    &ctl_region_show,
    &ctl_region_key,
    &ctl_region_check,
    &ctl_region_top,
    &ctl_region_split,
    &ctl_region_merge,
    &ctl_region_scatter,
    &ctl_region_transfer_leader,
    &ctl_region_add_peer,
    &ctl_region_remove_peer,
    &ctl_region_move_peer,
    &ctl_operator_list,
    &ctl_operator_show,
    &ctl_operator_add,
    &ctl_operator_cancel,
    &ctl_operator_history,
    &ctl_scheduler_list,
    &ctl_scheduler_add,
    &ctl_scheduler_remove,
    &ctl_scheduler_pause,
    &ctl_scheduler_resume,
    &ctl_scheduler_explain,
    &ctl_scheduler_config,
    &ctl_rule_list,
    &ctl_rule_put,
    &ctl_rule_remove,
    &ctl_hot,
    &ctl_config_show,
    &ctl_config_set,
    &ctl_config_reset,
    &ctl_tso,
    &ctl_balance_plan,
    &ctl_balance_now,
    &ctl_why_region,
    &ctl_why_store,
    &ctl_why_operator,
    &ctl_unsafe_plan,
    &ctl_unsafe_dry_run,
    &ctl_unsafe_apply,
    &ctl_unsafe_report,
    NULL,
};
