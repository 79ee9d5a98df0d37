/* cmd_kv_scan: `polder kv scan`, page by page. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "kv.h"

enum { PAGE_ROWS = 1000 };

struct options {
    struct kv_base base;
    char *start, *end, *prefix, *token;
    uint64_t limit, offset;
    bool reverse, keys_only;
};

static const struct setting rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
    KV_RAW_ROW(struct options),
    KV_READ_ROW(struct options),
    {.key = "prefix",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, prefix),
     .value_name = "KEY",
     .help = "only keys that begin so"},
    {.key = "start",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, start),
     .value_name = "KEY",
     .help = "first key, included"},
    {.key = "end",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, end),
     .value_name = "KEY",
     .help = "last key, excluded"},
    {.key = "limit",
     .letter = 'n',
     .type = SETTING_U64,
     SETTING_FIELD(struct options, limit),
     .default_text = "1000",
     .help = "rows at most; 0: all"},
    {.key = "offset",
     .type = SETTING_U64,
     SETTING_FIELD(struct options, offset),
     .default_text = "0",
     .help = "rows to pass over first"},
    {.key = "reverse",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, reverse),
     .default_text = "false",
     .help = "from the last key to the first"},
    {.key = "keys-only",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, keys_only),
     .default_text = "false",
     .help = "leave the values"},
    {.key = "token",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, token),
     .value_name = "TOKEN",
     .help = "go on where an earlier scan stopped; other flags as then"},
};

struct page_state {
    struct buf bounds[4]; /* start, end, prefix, token */
    uint64_t skipped, printed;
    cJSON *list; /* owned; NULL for text */
};

static void print_row(const struct options *options, struct page_state *state, const struct polder_row *row)
{
    if (state->list) {
        cJSON *item = cJSON_CreateObject();
        cli_json_bytes(item, "key", kv_bytes(row->key));
        if (!options->keys_only)
            cli_json_bytes(item, "value", kv_bytes(row->value));
        cJSON_AddItemToArray(state->list, item);
        return;
    }
    kv_print(&options->base, row->key);
    if (!options->keys_only) {
        putchar('\t');
        kv_print(&options->base, row->value);
    }
    putchar('\n');
}

/* What the next page may hold: rows to skip still and rows to print still. */
static uint32_t page_limit(const struct options *options, const struct page_state *state)
{
    if (options->limit == 0)
        return PAGE_ROWS;
    uint64_t wanted = options->offset - state->skipped + options->limit - state->printed;
    return wanted < PAGE_ROWS ? (uint32_t)wanted : PAGE_ROWS;
}

/* Puts the token into `state`; empty at the end. */
static int scan_page(const struct command *command, const struct options *options, struct polder *polder,
                     struct page_state *state, bool *ret_more)
{
    struct polder_call call = kv_call(&options->base);
    struct polder_scan scan = {
        .size = sizeof scan,
        .start = kv_view(&state->bounds[0]),
        .end = kv_view(&state->bounds[1]),
        .prefix = kv_view(&state->bounds[2]),
        .token = kv_view(&state->bounds[3]),
        .limit = page_limit(options, state),
        .reverse = options->reverse,
        .keys_only = options->keys_only,
    };
    struct polder_result *result = polder_scan(polder, &scan, &call);
    int code = cli_judge(command, result, "scan");
    for (size_t i = 0; i < result->row_count && code == CLI_OK; i++) {
        if (state->skipped < options->offset) {
            state->skipped++;
            continue;
        }
        state->printed++;
        print_row(options, state, &result->rows[i]);
    }
    *ret_more = code == CLI_OK && result->more;
    if (*ret_more)
        CHECK(buf_assign(&state->bounds[3], kv_bytes(result->next)) == ERR_OK);
    polder_result_free(result);
    return code;
}

static void print_end(struct page_state *state, bool more)
{
    struct buf token;
    buf_init(&token, 4 * state->bounds[3].size + 1);
    cli_escape(buf_bytes(&state->bounds[3]), &token);
    if (state->list) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddItemToObject(json, "rows", state->list);
        cJSON_AddBoolToObject(json, "more", more);
        if (more)
            cli_json_bytes(json, "token", buf_bytes(&token));
        state->list = NULL;
        cli_json_print(json);
    } else if (more) {
        fflush(stdout);
        fprintf(stderr, "there is more; go on with --token '%.*s'\n", (int)token.size, (const char *)token.data);
    }
    buf_fini(&token);
}

static int scan(const struct command *command, const struct options *options, struct polder *polder,
                struct page_state *state)
{
    bool more = true;
    int code = CLI_OK;
    state->list = kv_json(&options->base) ? cJSON_CreateArray() : NULL;
    while (more && code == CLI_OK && (options->limit == 0 || state->printed < options->limit) && !ferror(stdout))
        code = scan_page(command, options, polder, state, &more);
    if (code == CLI_OK)
        print_end(state, more);
    cJSON_Delete(state->list);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct polder *polder = NULL;
    struct page_state state = {0};
    memset(&options, 0, sizeof options); /* not all fields have a flag here */
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    static const char *const names[] = {"start", "end", "prefix", "token"};
    const char *texts[] = {options.start, options.end, options.prefix, options.token};
    for (size_t i = 0; i < 4; i++) {
        /* A token always is as it was printed. */
        struct kv_base base = options.base;
        base.raw = base.raw && i < 3;
        int decoded = kv_decode(command, &base, names[i], texts[i] ? texts[i] : "", &state.bounds[i]);
        if (code == CLI_GO_ON)
            code = decoded;
    }
    if (code == CLI_GO_ON)
        code = kv_check_bounds(command, buf_bytes(&state.bounds[0]), buf_bytes(&state.bounds[1]));
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON)
        code = scan(command, &options, polder, &state);
    polder_close(polder);
    for (size_t i = 0; i < 4; i++)
        buf_fini(&state.bounds[i]);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_kv_scan = {
    .name = "kv scan",
    .operands = "",
    .summary = "read keys in order",
    .text = "Prints lines of key, tab, value. When --limit ends it, how to go on is said on standard error. " KV_ESCAPES
            "\n"
            "Examples:\n"
            "  polder kv scan --prefix user: --limit 20\n"
            "  polder kv scan --start a --end n --reverse --keys-only\n"
            "  polder kv scan --limit 0 -o json\n"
            "\n" KV_EXIT_CODES,
    CLI_TABLE(rows),
    .run = run,
};
