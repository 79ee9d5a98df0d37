/* cmd_store_region: `polder store region`: the regions of a store, from its data directory. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>

#include "commands.h"
#include "env/engine_rocks.h"
#include "store_dir.h"

struct options {
    char *data_dir, *output;
    bool count;
};

static const struct setting rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    {.key = "count",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, count),
     .default_text = "false",
     .help = "count rows and their bytes: reads all of them"},
    CLI_OUTPUT_ROW(struct options, output),
};

struct region_view {
    region_id id;
    struct region *region; /* owned */
    peer_id local_peer;
    bool is_tombstone;
    uint64_t file_size; /* an estimate, of what is in table files */
    uint64_t row_count, row_size;
};

static bool load(struct inspect *inspect, const struct options *options, region_id id, struct region_view *view)
{
    *view = (struct region_view){.id = id};
    if (!inspect_region(inspect, id, &view->region, &view->local_peer, &view->is_tombstone))
        return false;
    struct bytes start = view->region->start_key, end = view->region->end_key;
    struct error err;
    if (engine_rocks_approximate_size(inspect->engine, ENGINE_DEFAULT, start, end, &view->file_size, &err) != ERR_OK)
        inspect_found(inspect, false, "region %" PRIu64 ": %s", id, err.text);
    if (options->count && !view->is_tombstone)
        inspect_rows(inspect, ENGINE_DEFAULT, start, end, &view->row_count, &view->row_size);
    return true;
}

static void print_key(struct bytes key)
{
    struct buf text;
    buf_init(&text, 4 * KEY_SIZE_MAX + 64);
    cli_escape(key, &text);
    printf("\"%.*s\"", (int)text.size, (const char *)text.data);
    buf_fini(&text);
}

static void print_range(const struct region *region)
{
    print_key(region->start_key);
    printf(" .. ");
    if (region->end_key.size > 0)
        print_key(region->end_key);
    else
        printf("end");
}

static const char *stores_text(const struct region *region, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < region->peer_count && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%" PRIu64, i ? "," : "", region->peers[i].store_id);
    return text;
}

static void print_line(const struct options *options, const struct region_view *view)
{
    char stores[320], size[32], epoch[48];
    snprintf(epoch, sizeof epoch, "%" PRIu64 ".%" PRIu64, view->region->epoch_conf, view->region->epoch_version);
    cli_print_size(view->file_size, size);
    printf("%8" PRIu64 "  %-8s  %6" PRIu64 "  %-12s  %10s  ", view->id, epoch, view->local_peer,
           stores_text(view->region, stores, sizeof stores), size);
    if (options->count) {
        cli_print_size(view->row_size, size);
        printf("%10" PRIu64 "  %10s  ", view->row_count, size);
    }
    print_range(view->region);
    printf("%s\n", view->is_tombstone ? "  removed" : "");
}

static void print_one(const struct options *options, const struct region_view *view)
{
    char size[32];
    printf("region        %" PRIu64 "%s\nrange         ", view->id, view->is_tombstone ? " (removed)" : "");
    print_range(view->region);
    printf("\nepoch         conf %" PRIu64 ", version %" PRIu64 "\nlocal peer    %" PRIu64 "\n",
           view->region->epoch_conf, view->region->epoch_version, view->local_peer);
    for (uint32_t i = 0; i < view->region->peer_count; i++)
        printf("%-12s  %" PRIu64 " on store %" PRIu64 "%s\n", i ? "" : "peers", view->region->peers[i].id,
               view->region->peers[i].store_id, view->region->peers[i].role ? " (not a voter)" : "");
    cli_print_size(view->file_size, size);
    printf("in files      %s\n", size);
    if (options->count) {
        cli_print_size(view->row_size, size);
        printf("rows          %" PRIu64 ", %s\n", view->row_count, size);
    }
}

static cJSON *json_of(const struct options *options, const struct region_view *view)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddNumberToObject(item, "id", (double)view->id);
    cli_json_bytes(item, "start", view->region->start_key);
    cli_json_bytes(item, "end", view->region->end_key);
    cJSON_AddNumberToObject(item, "epoch_conf", (double)view->region->epoch_conf);
    cJSON_AddNumberToObject(item, "epoch_version", (double)view->region->epoch_version);
    cJSON_AddNumberToObject(item, "local_peer", (double)view->local_peer);
    cJSON_AddBoolToObject(item, "removed", view->is_tombstone);
    cJSON *peers = cJSON_AddArrayToObject(item, "peers");
    for (uint32_t i = 0; i < view->region->peer_count; i++) {
        cJSON *peer = cJSON_CreateObject();
        cJSON_AddNumberToObject(peer, "id", (double)view->region->peers[i].id);
        cJSON_AddNumberToObject(peer, "store", (double)view->region->peers[i].store_id);
        cJSON_AddNumberToObject(peer, "role", view->region->peers[i].role);
        cJSON_AddItemToArray(peers, peer);
    }
    cJSON_AddNumberToObject(item, "file_bytes", (double)view->file_size);
    if (options->count) {
        cJSON_AddNumberToObject(item, "rows", (double)view->row_count);
        cJSON_AddNumberToObject(item, "row_bytes", (double)view->row_size);
    }
    return item;
}

static void list(const struct options *options, struct inspect *inspect)
{
    cJSON *all = options->output[0] == 'j' ? cJSON_CreateArray() : NULL;
    if (!all)
        printf("  REGION  EPOCH      LOCAL  STORES          IN FILES  %sRANGE\n",
               options->count ? "      ROWS       BYTES  " : "");
    region_id id = 0;
    while (inspect_next_group(inspect, id, &id)) {
        struct region_view view;
        if (load(inspect, options, id, &view) && all)
            cJSON_AddItemToArray(all, json_of(options, &view));
        else if (view.region)
            print_line(options, &view);
        region_free(view.region);
        if (id++ == UINT64_MAX)
            break;
    }
    if (all)
        cli_json_print(all);
}

static int show(const struct command *command, const struct options *options, struct inspect *inspect, region_id id)
{
    struct region_view view;
    if (!load(inspect, options, id, &view)) {
        cli_complain(command, "region %" PRIu64 " is not on this store", id);
        return store_dir_exit(inspect) == CLI_OK ? CLI_NOT_FOUND : CLI_FAILED;
    }
    if (options->output[0] == 'j')
        cli_json_print(json_of(options, &view));
    else
        print_one(options, &view);
    region_free(view.region);
    return store_dir_exit(inspect);
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct store_dir dir;
    region_id id = 0;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    bool one = settings_operand_count(settings) > 0;
    if (one)
        code = store_dir_region_id(command, settings_operand(settings, 0), &id);
    if (code == CLI_GO_ON) {
        code = store_dir_open(command, options.data_dir, &dir);
        if (code == CLI_GO_ON) {
            struct inspect inspect = store_dir_inspect(&dir);
            if (!one)
                list(&options, &inspect);
            code = one ? show(command, &options, &inspect, id) : store_dir_exit(&inspect);
        }
        store_dir_close(&dir);
    }
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_store_region_list = {
    .name = "store region list",
    .operands = "",
    .summary = "the regions in a data directory",
    .text = "Reads the data directory of a storenode that does not run, and changes nothing in it. IN FILES is an "
            "estimate\n"
            "of the bytes on disk, without what lies in the write-ahead log only; --count counts the rows themselves.\n"
            "\n"
            "Examples:\n"
            "  polder store region list --data-dir polder-data/storenode-1/data\n"
            "  polder store region list --data-dir /var/lib/polder --count -o json\n"
            "\n"
            "Exit codes: 0 ok, 1 something is damaged (polder store check tells what), 2 wrong usage, or it cannot be "
            "opened.\n\n",
    CLI_TABLE(rows),
    .run = run,
};

const struct command command_store_region_show = {
    .name = "store region show",
    .operands = "ID",
    .summary = "one region in a data directory",
    .text = "Reads the data directory of a storenode that does not run, and changes nothing in it.\n"
            "\n"
            "Examples:\n"
            "  polder store region show 12 --data-dir polder-data/storenode-1/data --count\n"
            "\n"
            "Exit codes: 0 ok, 1 something is damaged, 2 wrong usage, or it cannot be opened, 3 no such region.\n\n",
    CLI_TABLE(rows),
    .operand_min = 1,
    .operand_max = 1,
    .run = run,
};
