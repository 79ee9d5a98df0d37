/* cmd_kv_range: `polder kv delete-range` and `polder kv checksum`: what is asked of all keys between two. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "kv.h"

struct range_options {
    struct kv_base base;
    char *prefix;
    bool all, yes;
};

struct range {
    struct buf start, end;
};

#define RANGE_ROWS                                                                                                     \
    CLI_CLIENT_ROWS(struct range_options, base.client), CLI_OUTPUT_ROW(struct range_options, base.output),             \
        KV_RAW_ROW(struct range_options),                                                                              \
        {.key = "prefix",                                                                                              \
         .type = SETTING_STRING,                                                                                       \
         SETTING_FIELD(struct range_options, prefix),                                                                  \
         .value_name = "KEY",                                                                                          \
         .help = "all keys that begin so, instead of START END"},                                                      \
    {                                                                                                                  \
        .key = "all", .type = SETTING_BOOL, SETTING_FIELD(struct range_options, all), .default_text = "false",         \
        .help = "all keys there are, instead of START END"                                                             \
    }

#define RANGE_TEXT "START is included, END is not; '' as END: after the last key. "

/* The first key after all that begin with it; empty: there is none. */
static void after_prefix(struct buf *key)
{
    while (key->size > 0 && key->data[key->size - 1] == 0xff)
        key->size--;
    if (key->size > 0)
        key->data[key->size - 1]++;
}

static int read_range(const struct command *command, const struct range_options *options,
                      const struct settings *settings, struct range *range)
{
    size_t count = settings_operand_count(settings);
    buf_init(&range->start, 0);
    buf_init(&range->end, 0);
    if ((count == 2) + (options->prefix != NULL) + options->all != 1 || count == 1)
        return cli_usage(command, "wants START and END, or --prefix, or --all, and only one of them");
    const char *start = options->all ? "" : options->prefix ? options->prefix : settings_operand(settings, 0);
    const char *end = options->all ? "" : options->prefix ? options->prefix : settings_operand(settings, 1);
    int code = kv_decode(command, &options->base, options->prefix ? "prefix" : "start", start, &range->start);
    int end_code = kv_decode(command, &options->base, "end", end, &range->end);
    if (options->prefix && options->prefix[0] == '\0')
        return cli_usage(command, "an empty prefix is all keys: say --all");
    if (options->prefix)
        after_prefix(&range->end);
    if (code == CLI_GO_ON && end_code == CLI_GO_ON)
        code = kv_check_bounds(command, buf_bytes(&range->start), buf_bytes(&range->end));
    return code == CLI_GO_ON ? end_code : code;
}

static void add_range(cJSON *json, const struct range *range)
{
    cli_json_bytes(json, "start", buf_bytes(&range->start));
    cli_json_bytes(json, "end", buf_bytes(&range->end));
}

static cJSON *result_json(const struct range *range, const struct polder_result *result)
{
    cJSON *json = cJSON_CreateObject();
    add_range(json, range);
    cJSON_AddStringToObject(json, "outcome", kv_outcome_name(result->outcome));
    cJSON_AddStringToObject(json, "code", result->name);
    cJSON_AddStringToObject(json, "text", result->text);
    return json;
}

static int run_range(const struct command *command, int argc, char **argv,
                     int (*act)(const struct command *, const struct range_options *, struct polder *,
                                const struct range *))
{
    struct range_options options;
    struct settings *settings;
    struct polder *polder = NULL;
    struct range range;
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = read_range(command, &options, settings, &range);
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON)
        code = act(command, &options, polder, &range);
    polder_close(polder);
    buf_fini(&range.start);
    buf_fini(&range.end);
    settings_fini_target(command->table, command->table_count, &options);
    settings_free(settings);
    return code;
}

/* ---- checksum */

static const struct setting checksum_rows[] = {
    RANGE_ROWS,
    KV_READ_ROW(struct range_options),
};

static int act_checksum(const struct command *command, const struct range_options *options, struct polder *polder,
                        const struct range *range)
{
    struct polder_call call = kv_call(&options->base);
    struct polder_result *result = polder_checksum(polder, kv_view(&range->start), kv_view(&range->end), &call);
    int code = cli_judge(command, result, "checksum");
    char text[32];
    snprintf(text, sizeof text, "%016" PRIx64, result->checksum);
    if (kv_json(&options->base)) {
        cJSON *json = result_json(range, result);
        if (code == CLI_OK) {
            cJSON_AddStringToObject(json, "checksum", text);
            cJSON_AddNumberToObject(json, "rows", (double)result->checksum_rows);
            cJSON_AddNumberToObject(json, "size", (double)result->checksum_size);
        }
        cli_json_print(json);
    } else if (code == CLI_OK) {
        char size[32];
        cli_print_size(result->checksum_size, size);
        printf("%s  %" PRIu64 " rows, %" PRIu64 " bytes (%s)\n", text, result->checksum_rows, result->checksum_size,
               size);
    }
    polder_result_free(result);
    return code;
}

static int run_checksum(const struct command *command, int argc, char **argv)
{
    return run_range(command, argc, argv, act_checksum);
}

const struct command command_kv_checksum = {
    .name = "kv checksum",
    .operands = "[START END]",
    .summary = "checksum, number and size of the rows in a range",
    .text =
        "The exclusive or, over all rows, of the CRC-64/XZ of key and value: it does not depend on the order, and two\n"
        "ranges side by side have the exclusive or of theirs. " RANGE_TEXT KV_ESCAPES "\n"
        "Examples:\n"
        "  polder kv checksum --all\n"
        "  polder kv checksum a n\n"
        "  polder kv checksum --prefix user: -o json\n"
        "\n" KV_EXIT_CODES,
    CLI_TABLE(checksum_rows),
    .operand_max = 2,
    .run = run_checksum,
};

/* ---- delete-range */

static const struct setting delete_rows[] = {
    RANGE_ROWS,
    {.key = "yes",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct range_options, yes),
     .default_text = "false",
     .help = "remove; without it only how much there is to remove is told"},
};

/* What would go. */
static int act_rehearse(const struct command *command, const struct range_options *options, struct polder *polder,
                        const struct range *range)
{
    struct polder_call call = kv_call(&options->base);
    struct polder_result *result = polder_checksum(polder, kv_view(&range->start), kv_view(&range->end), &call);
    int code = cli_judge(command, result, "delete-range");
    if (kv_json(&options->base)) {
        cJSON *json = result_json(range, result);
        cJSON_AddBoolToObject(json, "dry_run", true);
        if (code == CLI_OK) {
            cJSON_AddNumberToObject(json, "rows", (double)result->checksum_rows);
            cJSON_AddNumberToObject(json, "size", (double)result->checksum_size);
        }
        cli_json_print(json);
    } else if (code == CLI_OK) {
        char size[32];
        cli_print_size(result->checksum_size, size);
        printf("would remove %" PRIu64 " rows, %s; nothing is removed without --yes\n", result->checksum_rows, size);
    }
    polder_result_free(result);
    return code;
}

static int act_delete(const struct command *command, const struct range_options *options, struct polder *polder,
                      const struct range *range)
{
    if (!options->yes)
        return act_rehearse(command, options, polder, range);
    struct polder_call call = kv_call(&options->base);
    struct polder_result *result = polder_delete_range(polder, kv_view(&range->start), kv_view(&range->end), &call);
    int code = cli_judge(command, result, "delete-range");
    if (kv_json(&options->base)) {
        cJSON *json = result_json(range, result);
        cJSON_AddBoolToObject(json, "dry_run", false);
        if (result->outcome == POLDER_UNKNOWN)
            cli_json_bytes(json, "next", kv_bytes(result->next));
        cli_json_print(json);
    } else if (code == CLI_OK) {
        puts("ok");
    } else if (result->outcome == POLDER_UNKNOWN) {
        struct buf next;
        buf_init(&next, 4 * result->next.size + 1);
        cli_escape(kv_bytes(result->next), &next);
        cli_complain(command, "all before '%.*s' is removed; to finish, repeat with that as START", (int)next.size,
                     (const char *)next.data);
        buf_fini(&next);
    }
    polder_result_free(result);
    return code;
}

static int run_delete(const struct command *command, int argc, char **argv)
{
    return run_range(command, argc, argv, act_delete);
}

const struct command command_kv_delete_range = {
    .name = "kv delete-range",
    .operands = "[START END]",
    .summary = "remove all keys in a range",
    .text = "Each region's part goes at one moment, the regions one after the other. " RANGE_TEXT KV_ESCAPES "\n"
            "Examples:\n"
            "  polder kv delete-range a n             how much is that?\n"
            "  polder kv delete-range a n --yes\n"
            "  polder kv delete-range --prefix user: --yes -o json\n"
            "\n" KV_EXIT_CODES,
    CLI_TABLE(delete_rows),
    .operand_max = 2,
    .run = run_delete,
};
