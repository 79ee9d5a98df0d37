/* cmd_store_compact: `polder store compact`: takes back the room of what was deleted, replaced or has expired. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "env/engine_rocks.h"
#include "store_dir.h"

struct options {
    char *data_dir, *output;
};

static const struct setting rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    CLI_OUTPUT_ROW(struct options, output),
};

static uint64_t table_size(struct engine *engine)
{
    uint64_t size = 0;
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        struct engine_rocks_family family;
        engine_rocks_family(engine, (enum engine_cf)cf, &family);
        size += family.table_size;
    }
    return size;
}

static int compact(const struct command *command, const struct options *options, struct store_dir *dir)
{
    struct inspect inspect = store_dir_inspect(dir);
    struct error err = {0};
    enum err code = engine_rocks_flush(dir->engine, &err); /* so that before and after are the same things */
    uint64_t before = table_size(dir->engine);
    if (code == ERR_OK)
        code = inspect_allow_expiry(&inspect, &err);
    if (code == ERR_OK)
        code = engine_rocks_compact(dir->engine, &err);
    if (code != ERR_OK) {
        cli_complain(command, "%s", err.text);
        return CLI_FAILED;
    }
    struct engine_rocks_stats stats;
    engine_rocks_stats(dir->engine, &stats);
    uint64_t after = table_size(dir->engine);
    if (options->output[0] == 'j') {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddNumberToObject(json, "before_bytes", (double)before);
        cJSON_AddNumberToObject(json, "after_bytes", (double)after);
        cJSON_AddNumberToObject(json, "expired_rows", (double)stats.expired_count);
        cli_json_print(json);
    } else {
        char before_text[32], after_text[32];
        cli_print_size(before, before_text);
        cli_print_size(after, after_text);
        printf("%s in files, %s before; %" PRIu64 " expired rows dropped\n", after_text, before_text,
               stats.expired_count);
    }
    return store_dir_exit(&inspect);
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct store_dir dir;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = store_dir_open_to_change(command, options.data_dir, &dir);
    if (code == CLI_GO_ON)
        code = compact(command, &options, &dir);
    store_dir_close(&dir);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_store_compact = {
    .name = "store compact",
    .operands = "",
    .summary = "take back the room of what was deleted or has expired",
    .text =
        "Rewrites all files in the data directory of a storenode that does not run; what is in it stays the same. "
        "While\n"
        "it works it needs as much room again as the largest column family takes. A storenode that runs does this by\n"
        "itself, where there are writes.\n"
        "\n"
        "Examples:\n"
        "  polder store compact --data-dir polder-data/storenode-1/data\n"
        "\n"
        "Exit codes: 0 done, 1 something cannot be read or written, 2 wrong usage, or it cannot be opened.\n\n",
    CLI_TABLE(rows),
    .run = run,
};
