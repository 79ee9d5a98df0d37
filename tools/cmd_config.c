/* cmd_config: `polder config check|show`: files for pd and storenode without reading source code. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "pd/pd_config.h"
#include "storenode/store_config.h"

enum { YAML_SIZE_MAX = 256 * 1024 };

/* The rows of a role and behind them those of the command itself, whose fields lie behind the role's. */
struct target {
    union {
        struct pd_config pd;
        struct store_config store;
    } config;
    bool origin;
    char *output;
};

static const struct setting show_rows[] = {
    {.key = "origin",
     .type = SETTING_BOOL,
     .flag_only = true,
     SETTING_FIELD(struct target, origin),
     .default_text = "false",
     .help = "say where each value comes from"},
    {.key = "output",
     .letter = 'o',
     .type = SETTING_STRING,
     .flag_only = true,
     SETTING_FIELD(struct target, output),
     .default_text = "text",
     .choices = "text|json",
     .help = "form of the result"},
};
enum { SHOW_ROW_COUNT = sizeof show_rows / sizeof show_rows[0] };

static bool is_pd(const char *role)
{
    return strcmp(role, "pd") == 0;
}

static bool is_role(const char *role)
{
    return is_pd(role) || strcmp(role, "storenode") == 0;
}

static const struct setting *role_table(const char *role, size_t *ret_count)
{
    return is_pd(role) ? pd_config_table(ret_count) : store_config_table(ret_count);
}

static enum err finish(const char *role, struct target *target, struct error *err)
{
    return is_pd(role) ? pd_config_finish(&target->config.pd, err) : store_config_finish(&target->config.store, err);
}

/* ---- check */

static int run_check(const struct command *command, int argc, char **argv)
{
    struct settings *arguments;
    char none;
    int code = cli_parse(command, argc, argv, &arguments, &none);
    if (code != CLI_GO_ON)
        return code;
    const char *role = settings_operand(arguments, 0), *path = settings_operand(arguments, 1);
    if (!is_role(role)) {
        code = cli_usage(command, "\"%.32s\" is neither pd nor storenode", role);
        settings_free(arguments);
        return code;
    }
    size_t count;
    const struct setting *table = role_table(role, &count);
    struct settings *settings = settings_new(table, count);
    struct target target;
    struct error err;
    bool good = cli_read_file(settings, path, &err) == ERR_OK;
    if (good) {
        settings_fill(settings, &target);
        good = finish(role, &target, &err) == ERR_OK;
        if (!good)
            error_wrap(&err, "%s", path);
        settings_fini_target(table, count, &target);
    }
    if (good)
        printf("%s: ok\n", path);
    else
        code = cli_usage(command, "%s", err.text);
    settings_free(settings);
    settings_free(arguments);
    return good ? CLI_OK : code;
}

const struct command command_config_check = {
    .name = "config check",
    .operands = "pd|storenode FILE",
    .summary = "is this configuration file right?",
    .text = "Reads the file as the process would and says what is wrong, with its line.\n"
            "\n"
            "Examples:\n"
            "  polder config check storenode store.yaml\n"
            "\n"
            "Exit codes: 0 right, 2 wrong.\n",
    .operand_min = 2,
    .operand_max = 2,
    .operand_word = cli_role_word,
    .run = run_check,
};

/* ---- show */

static void show_json(const struct settings *settings, const struct setting *table, size_t count, bool origin)
{
    cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < count; i++) {
        if (table[i].flag_only)
            continue;
        const char *value = settings_value(settings, i);
        cJSON *item = origin ? cJSON_AddObjectToObject(json, table[i].key) : NULL;
        if (origin) {
            cJSON_AddItemToObject(item, "value", value ? cJSON_CreateString(value) : cJSON_CreateNull());
            cJSON_AddStringToObject(item, "origin", settings_place(settings, i));
        } else {
            cJSON_AddItemToObject(json, table[i].key, value ? cJSON_CreateString(value) : cJSON_CreateNull());
        }
    }
    cli_json_print(json);
}

static int show(const struct command *command, const struct setting *rows, size_t count, int argc, char **argv)
{
    struct settings *settings = settings_new(rows, count);
    struct target target;
    struct error err;
    int code = cli_read_flags(command, settings, argc, argv);
    if (code == CLI_GO_ON && cli_read_environment(settings, &err) != ERR_OK)
        code = cli_usage(command, "%s", err.text);
    if (code == CLI_GO_ON && settings_value(settings, 0) &&
        cli_read_file(settings, settings_value(settings, 0), &err) != ERR_OK)
        code = cli_usage(command, "%s", err.text);
    if (code == CLI_GO_ON) {
        settings_fill(settings, &target);
        struct buf text;
        buf_init(&text, YAML_SIZE_MAX);
        if (target.output[0] == 'j') {
            show_json(settings, rows, count, target.origin);
        } else {
            settings_show(settings, target.origin, &text);
            printf("%.*s", (int)text.size, (const char *)text.data);
        }
        buf_fini(&text);
        settings_fini_target(rows, count, &target);
        code = CLI_OK;
    }
    settings_free(settings);
    return code;
}

/* The role is the first word, so that all flags of that role can be read behind it. */
static int run_show(const struct command *command, int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        cli_help(command);
        return CLI_OK;
    }
    if (argc < 2 || !is_role(argv[1]))
        return cli_usage(command, "wants pd or storenode as its first word; see polder config show --help");
    size_t count;
    const struct setting *table = role_table(argv[1], &count);
    struct setting *rows = calloc(count + SHOW_ROW_COUNT, sizeof *rows);
    CHECK(rows);
    memcpy(rows, table, count * sizeof *rows);
    memcpy(rows + count, show_rows, sizeof show_rows);
    struct command full = *command;
    full.table = rows;
    full.table_count = count + SHOW_ROW_COUNT;
    int code = show(&full, rows, count + SHOW_ROW_COUNT, argc - 1, argv + 1);
    free(rows);
    return code;
}

const struct command command_config_show = {
    .name = "config show",
    .operands = "pd|storenode",
    .operand_word = cli_role_word,
    .summary = "which values would be used, and why",
    .text = "Shows every key after flags, POLDER_* variables and file have been weighed. All flags of `polder pd` or "
            "`polder\n"
            "storenode` are known (polder config show storenode --help lists them).\n"
            "\n"
            "Examples:\n"
            "  polder config show storenode --config store.yaml --origin\n"
            "  POLDER_TICK=50ms polder config show pd --origin -o json\n"
            "\n"
            "Exit codes: 0 ok, 2 wrong usage or configuration.\n\n",
    CLI_TABLE(show_rows),
    .run = run_show,
};
