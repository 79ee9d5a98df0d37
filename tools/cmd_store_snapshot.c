/* cmd_store_snapshot: `polder store snapshot list`: snapshots in a data directory that came and are not installed. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "commands.h"
#include "env/engine_tables.h"
#include "store_dir.h"
#include "storenode/snapshot_stage.h"

struct options {
    char *data_dir, *output;
};

static const struct setting rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    CLI_OUTPUT_ROW(struct options, output),
};

struct file {
    char name[ENGINE_TABLE_NAME_SIZE];
    uint64_t size;
    region_id region; /* whose marker names it; 0: nobody's */
    enum err code;
    char text[256];
};

struct found {
    struct engine *engine;
    struct file *files;
    uint32_t file_count;
    struct staged {
        region_id region;
        struct snapshot_marker marker;
    } *staged;
    uint32_t staged_count;
};

static void add_file(void *context, const char *name, uint64_t size)
{
    struct found *found = context;
    found->files = realloc(found->files, (found->file_count + 1) * sizeof *found->files);
    if (!found->files)
        abort();
    struct file *file = &found->files[found->file_count++];
    *file = (struct file){.size = size};
    snprintf(file->name, sizeof file->name, "%s", name);
}

static void claim(struct found *found, const struct snapshot_tables *tables, region_id region)
{
    for (uint32_t i = 0; i < tables->count; i++)
        for (uint32_t k = 0; k < found->file_count; k++)
            if (strcmp(found->files[k].name, tables->items[i].name) == 0) {
                struct error err = {0};
                found->files[k].region = region;
                found->files[k].code = engine_tables_check(found->engine, found->files[k].name, &err);
                snprintf(found->files[k].text, sizeof found->files[k].text, "%.*s", 250, err.text);
            }
}

static enum err add_staged(struct found *found, region_id region, struct error *err)
{
    struct snapshot_marker marker;
    struct snapshot_tables tables = {.items = NULL};
    enum err code = snapshot_stage_load_marker(found->engine, region, &marker);
    if (code == ERR_OK)
        code = snapshot_stage_load_tables(found->engine, region, marker.table_count, &tables, err);
    if (code == ERR_NOT_FOUND)
        return ERR_OK; /* rows without a marker: of an older version */
    if (code != ERR_OK)
        return error_set(err, code, "region %" PRIu64 ": what a snapshot left cannot be read", region);
    found->staged = realloc(found->staged, (found->staged_count + 1) * sizeof *found->staged);
    if (!found->staged)
        abort();
    found->staged[found->staged_count++] = (struct staged){.region = region, .marker = marker};
    claim(found, &tables, region);
    snapshot_tables_fini(&tables);
    return ERR_OK;
}

static enum err look(struct found *found, struct error *err)
{
    struct engine *engine = found->engine;
    enum err code = engine_tables_list(engine, add_file, found, err);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, bytes_of("s", 1), bytes_of("t", 1));
    engine_iter_seek(engine, iter, bytes_of("s", 1));
    while (code == ERR_OK && engine_iter_valid(engine, iter)) {
        struct bytes key = engine_iter_key(engine, iter);
        uint8_t next[10] = {'s'};
        if (key.size < sizeof next) {
            code = error_set(err, ERR_CORRUPT, "a row of column family raft has a key of %zu bytes", key.size);
            break;
        }
        region_id region = load_u64_be(key.data + 1);
        code = add_staged(found, region, err);
        store_u64_be(next + 1, region);
        next[9] = 0xff;
        engine_iter_seek(engine, iter, bytes_of(next, sizeof next));
    }
    if (code == ERR_OK)
        code = engine_iter_error(engine, iter, err);
    engine_iter_free(engine, iter);
    return code;
}

static const char *state_of(const struct file *file)
{
    return file->region == 0 ? "left over" : file->code == ERR_OK ? "sound" : "damaged";
}

static void print(const struct found *found)
{
    char size[32];
    printf("  REGION       INDEX     TERM  CHUNKS  TABLES\n");
    for (uint32_t i = 0; i < found->staged_count; i++) {
        const struct snapshot_marker *marker = &found->staged[i].marker;
        printf("%8" PRIu64 "  %10" PRIu64 "  %7" PRIu64 "  %6u  %6u\n", found->staged[i].region,
               marker->position.index, marker->position.term, marker->chunk_count, marker->table_count);
    }
    printf("\n      SIZE  STATE      FILE\n");
    for (uint32_t i = 0; i < found->file_count; i++) {
        cli_print_size(found->files[i].size, size);
        printf("%10s  %-9s  %s\n", size, state_of(&found->files[i]), found->files[i].name);
        if (found->files[i].text[0])
            printf("            %s\n", found->files[i].text);
    }
}

static cJSON *json_of(const struct found *found)
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

static bool is_damaged(const struct found *found)
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
    code = store_dir_open(command, options.data_dir, &dir);
    struct found found = {.engine = dir.engine};
    if (code == CLI_GO_ON && look(&found, &err) != ERR_OK) {
        cli_complain(command, "%s", err.text);
        code = CLI_FAILED;
    } else if (code == CLI_GO_ON) {
        if (options.output[0] == 'j')
            cli_json_print(json_of(&found));
        else
            print(&found);
        code = is_damaged(&found) ? CLI_FAILED : CLI_OK;
    }
    free(found.files);
    free(found.staged);
    store_dir_close(&dir);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_store_snapshot_list = {
    .name = "store snapshot list",
    .operands = "",
    .summary = "snapshots in a data directory that are not installed",
    .text = "Snapshots that were accepted and are installed when the store starts, and the table files of the directory\n"
            "engine/snapshot: those that belong to one are read and their checksums compared; what is left over goes at\n"
            "the next start. Reads the data directory of a storenode that does not run, and changes nothing in it.\n"
            "\n"
            "Examples:\n"
            "  polder store snapshot list --data-dir polder-data/storenode-1\n"
            "\n"
            "Exit codes: 0 ok, 1 something cannot be read or is damaged, 2 wrong usage, or it cannot be opened.\n\n",
    CLI_TABLE(rows),
    .run = run,
};
