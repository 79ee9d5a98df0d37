/* cmd_store_size: `polder store size`: what a data directory takes, and where. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "env/engine_rocks.h"
#include "env/os.h"
#include "store_dir.h"

struct options {
    char *data_dir, *output;
};

static const struct setting rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    CLI_OUTPUT_ROW(struct options, output),
};

struct sizes {
    const char *path; /* of the engine */
    struct engine_rocks_family families[ENGINE_CF_COUNT];
    uint64_t wal_size, wal_count; /* with what is allocated ahead */
    uint64_t total_size;          /* of the data directory */
    uint64_t disk_size, disk_free_size;
};

static void add_wal(void *context, const char *name)
{
    struct sizes *sizes = context;
    size_t size = strlen(name);
    uint64_t file_size = 0;
    if (size < 4 || strcmp(name + size - 4, ".log") != 0)
        return;
    char *path = os_path_join(sizes->path, name);
    if (os_dir_size(path, &file_size, NULL) == ERR_OK) {
        sizes->wal_size += file_size;
        sizes->wal_count++;
    }
    free(path);
}

static enum err measure(const struct store_dir *dir, const char *data_dir, struct sizes *sizes, struct error *err)
{
    *sizes = (struct sizes){.path = dir->engine_path};
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++)
        engine_rocks_family(dir->engine, (enum engine_cf)cf, &sizes->families[cf]);
    enum err code = os_dir_list(dir->engine_path, add_wal, sizes, err);
    if (code == ERR_OK)
        code = os_dir_size(data_dir, &sizes->total_size, err);
    return code == ERR_OK ? os_disk_space(data_dir, &sizes->disk_size, &sizes->disk_free_size, err) : code;
}

static void print(const struct sizes *sizes)
{
    char size[32], memory[32];
    printf("FAMILY       IN FILES  FILES    MEMTABLE  ROWS (ABOUT)\n");
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        const struct engine_rocks_family *family = &sizes->families[cf];
        cli_print_size(family->table_size, size);
        cli_print_size(family->memtable_size, memory);
        printf("%-9s  %10s  %5" PRIu64 "  %10s  %12" PRIu64 "\n", family->name, size, family->table_count, memory,
               family->row_count);
    }
    cli_print_size(sizes->wal_size, size);
    printf("\nwrite-ahead log  %s in %" PRIu64 " files\n", size, sizes->wal_count);
    cli_print_size(sizes->total_size, size);
    printf("all files        %s\n", size);
    cli_print_size(sizes->disk_free_size, size);
    cli_print_size(sizes->disk_size, memory);
    printf("free             %s of %s\n", size, memory);
}

static cJSON *json_of(const struct sizes *sizes)
{
    cJSON *all = cJSON_CreateObject();
    cJSON *families = cJSON_AddArrayToObject(all, "families");
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        const struct engine_rocks_family *family = &sizes->families[cf];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", family->name);
        cJSON_AddNumberToObject(item, "file_bytes", (double)family->table_size);
        cJSON_AddNumberToObject(item, "files", (double)family->table_count);
        cJSON_AddNumberToObject(item, "memtable_bytes", (double)family->memtable_size);
        cJSON_AddNumberToObject(item, "rows_estimate", (double)family->row_count);
        cJSON_AddItemToArray(families, item);
    }
    cJSON_AddNumberToObject(all, "wal_bytes", (double)sizes->wal_size);
    cJSON_AddNumberToObject(all, "wal_files", (double)sizes->wal_count);
    cJSON_AddNumberToObject(all, "total_bytes", (double)sizes->total_size);
    cJSON_AddNumberToObject(all, "disk_bytes", (double)sizes->disk_size);
    cJSON_AddNumberToObject(all, "disk_free_bytes", (double)sizes->disk_free_size);
    return all;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct store_dir dir;
    struct sizes sizes;
    struct error err;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = store_dir_open(command, options.data_dir, &dir);
    if (code == CLI_GO_ON && measure(&dir, options.data_dir, &sizes, &err) != ERR_OK) {
        cli_complain(command, "%s", err.text);
        code = CLI_FAILED;
    } else if (code == CLI_GO_ON) {
        if (options.output[0] == 'j')
            cli_json_print(json_of(&sizes));
        else
            print(&sizes);
        code = CLI_OK;
    }
    store_dir_close(&dir);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_store_size = {
    .name = "store size",
    .operands = "",
    .summary = "what a data directory takes, by column family",
    .text =
        "Reads the data directory of a storenode that does not run, and changes nothing in it. MEMTABLE is the memory "
        "for\n"
        "what lies in the write-ahead log only; rows are RocksDB's estimate (polder store check counts).\n"
        "\n"
        "Examples:\n"
        "  polder store size --data-dir polder-data/storenode-1/data\n"
        "\n"
        "Exit codes: 0 ok, 1 something cannot be read, 2 wrong usage, or it cannot be opened.\n\n",
    CLI_TABLE(rows),
    .run = run,
};
