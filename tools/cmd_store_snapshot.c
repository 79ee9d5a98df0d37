/* cmd_store_snapshot: `polder store snapshot list`: snapshots in a data directory that came and are not installed. */
#include <cjson/cJSON.h>
#include <inttypes.h>

#include "commands.h"
#include "store_dir.h"
#include "store_online.h"
#include "storenode/snapshot_inspect.h"

struct options {
    char *data_dir, *output, *address;
};

static const struct setting rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    STORE_ONLINE_ROW(struct options, address),
    CLI_OUTPUT_ROW(struct options, output),
};

static const char *state_of(const struct snapshot_file *file)
{
    return file->region == 0 ? "left over" : file->code == ERR_OK ? "sound" : "damaged";
}

static void print(const struct snapshot_inspect *found)
{
    char size[32];
    printf("  REGION       INDEX     TERM  CHUNKS  TABLES\n");
    for (uint32_t i = 0; i < found->staged_count; i++) {
        const struct snapshot_marker *marker = &found->staged[i].marker;
        printf("%8" PRIu64 "  %10" PRIu64 "  %7" PRIu64 "  %6u  %6u\n", found->staged[i].region, marker->position.index,
               marker->position.term, marker->chunk_count, marker->table_count);
    }
    printf("\n      SIZE  STATE      FILE\n");
    for (uint32_t i = 0; i < found->file_count; i++) {
        cli_print_size(found->files[i].size, size);
        printf("%10s  %-9s  %s\n", size, state_of(&found->files[i]), found->files[i].name);
        if (found->files[i].text[0])
            printf("            %s\n", found->files[i].text);
    }
}

static cJSON *json_of(const struct snapshot_inspect *found)
{
    cJSON *all = cJSON_CreateObject();
    cJSON *staged = cJSON_AddArrayToObject(all, "staged"), *files = cJSON_AddArrayToObject(all, "files");
    for (uint32_t i = 0; i < found->staged_count; i++) {
        const struct snapshot_marker *marker = &found->staged[i].marker;
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "region", (double)found->staged[i].region);
        cJSON_AddNumberToObject(item, "index", (double)marker->position.index);
        cJSON_AddNumberToObject(item, "term", (double)marker->position.term);
        cJSON_AddNumberToObject(item, "chunks", marker->chunk_count);
        cJSON_AddNumberToObject(item, "tables", marker->table_count);
        cJSON_AddItemToArray(staged, item);
    }
    for (uint32_t i = 0; i < found->file_count; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", found->files[i].name);
        cJSON_AddNumberToObject(item, "bytes", (double)found->files[i].size);
        cJSON_AddStringToObject(item, "state", state_of(&found->files[i]));
        cJSON_AddItemToArray(files, item);
    }
    return all;
}

static bool is_damaged(const struct snapshot_inspect *found)
{
    for (uint32_t i = 0; i < found->file_count; i++)
        if (found->files[i].code != ERR_OK)
            return true;
    return false;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct store_dir dir;
    struct error err = {0};
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    if (options.address) {
        code = options.data_dir ? cli_usage(command, "--address or --data-dir: which?")
                                : store_online_snapshots(command, options.address, options.output[0] == 'j');
        settings_fini_target(rows, command->table_count, &options);
        settings_free(settings);
        return code;
    }
    code = store_dir_open(command, options.data_dir, &dir);
    struct snapshot_inspect found = {.engine = dir.engine};
    if (code == CLI_GO_ON && snapshot_inspect(&found, &err) != ERR_OK) {
        cli_complain(command, "%s", err.text);
        code = CLI_FAILED;
    } else if (code == CLI_GO_ON) {
        if (options.output[0] == 'j')
            cli_json_print(json_of(&found));
        else
            print(&found);
        code = is_damaged(&found) ? CLI_FAILED : CLI_OK;
    }
    snapshot_inspect_fini(&found);
    store_dir_close(&dir);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_store_snapshot_list = {
    .name = "store snapshot list",
    .operands = "",
    .summary = "snapshots in a data directory that are not installed",
    .text =
        "Snapshots that were accepted and are installed when the store starts, and the table files of the directory\n"
        "engine/snapshot: those that belong to one are read and their checksums compared; what is left over goes at\n"
        "the next start. Reads the data directory of a storenode that does not run, and changes nothing in it.\n"
        "\n"
        "Examples:\n"
        "  polder store snapshot list --data-dir polder-data/storenode-1/data\n"
        "  polder store snapshot list --address http://127.0.0.1:20180      on their way now\n"
        "\n"
        "Exit codes: 0 ok, 1 something cannot be read or is damaged, 2 wrong usage, or it cannot be opened.\n\n",
    CLI_TABLE(rows),
    .run = run,
};
