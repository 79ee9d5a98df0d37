/* cmd_region: `polder region list`: the regions of a running cluster. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <string.h>

#include "commands.h"
#include "kv.h"

struct options {
    struct kv_base base;
};

static const struct setting list_rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
};

/* ---- list */

static cJSON *json_of(const struct polder_region *region)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddNumberToObject(item, "id", (double)region->id);
    cli_json_bytes(item, "start", kv_bytes(region->start_key));
    cli_json_bytes(item, "end", kv_bytes(region->end_key));
    cJSON_AddNumberToObject(item, "epoch_conf", (double)region->epoch_conf);
    cJSON_AddNumberToObject(item, "epoch_version", (double)region->epoch_version);
    cJSON_AddNumberToObject(item, "leader_store", (double)region->leader_store);
    cJSON *stores = cJSON_AddArrayToObject(item, "stores");
    for (size_t i = 0; i < region->peer_count; i++)
        cJSON_AddItemToArray(stores, cJSON_CreateNumber((double)region->peers[i].store_id));
    return item;
}

static void print_key(const struct options *options, struct polder_bytes key, const char *if_empty)
{
    if (key.size == 0) {
        printf("%s", if_empty);
        return;
    }
    putchar('"');
    kv_print(&options->base, key);
    putchar('"');
}

static void print_line(const struct options *options, const struct polder_region *region)
{
    char stores[320] = "", epoch[48], leader[24];
    size_t at = 0;
    for (size_t i = 0; i < region->peer_count && at < sizeof stores; i++)
        at += (size_t)snprintf(stores + at, sizeof stores - at, "%s%" PRIu64, i ? "," : "", region->peers[i].store_id);
    snprintf(epoch, sizeof epoch, "%" PRIu64 ".%" PRIu64, region->epoch_conf, region->epoch_version);
    snprintf(leader, sizeof leader, "%" PRIu64, region->leader_store);
    printf("%8" PRIu64 "  %-8s  %-12s  %6s  ", region->id, epoch, stores, region->leader_store ? leader : "?");
    print_key(options, region->start_key, "start");
    printf(" .. ");
    print_key(options, region->end_key, "end");
    putchar('\n');
}

/* A page at a time, so that a large cluster is no large answer. */
static int list(const struct command *command, const struct options *options, struct polder *polder)
{
    struct polder_call call = kv_call(&options->base);
    cJSON *all = kv_json(&options->base) ? cJSON_CreateArray() : NULL;
    struct buf start;
    buf_init(&start, KEY_SIZE_MAX + 64);
    if (!all)
        printf("  region  epoch     stores        leader  range (encoded)\n");
    int code = CLI_OK;
    bool more = true;
    while (code == CLI_OK && more) {
        struct polder_result *result = polder_cluster_regions(polder, kv_view(&start), 0, &call);
        code = cli_judge(command, result, "list regions");
        const struct polder_cluster *cluster = code == CLI_OK ? result->cluster : NULL;
        size_t count = cluster ? cluster->region_page_count : 0;
        for (size_t i = 0; i < count; i++) {
            if (all)
                cJSON_AddItemToArray(all, json_of(&cluster->regions[i]));
            else
                print_line(options, &cluster->regions[i]);
        }
        struct polder_bytes end = count > 0 ? cluster->regions[count - 1].end_key : polder_bytes(NULL, 0);
        more = end.size > 0;
        buf_reset(&start);
        if (more && buf_append_bytes(&start, kv_bytes(end)) != ERR_OK)
            more = false;
        polder_result_free(result);
    }
    if (all)
        cli_json_print(all);
    buf_fini(&start);
    return code;
}

static int run_list(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct polder *polder = NULL;
    memset(&options, 0, sizeof options); /* not all fields have a flag here */
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON)
        code = list(command, &options, polder);
    polder_close(polder);
    settings_fini_target(list_rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_region_list = {
    .name = "region list",
    .operands = "",
    .summary = "the regions of the cluster, in key order",
    .text = "As pd knows them. Keys are encoded: user keys have an r in front.\n"
            "\n"
            "Examples:\n"
            "  polder region list\n"
            "  polder region list -o json\n"
            "\n"
            "Exit codes: 0 done, 1 not done, 2 wrong usage.\n\n",
    CLI_TABLE(list_rows),
    .run = run_list,
};
