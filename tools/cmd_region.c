/* cmd_region: `polder region list|merge`: the regions of a running cluster. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "env/os.h"
#include "kv.h"
#include "progress_bar.h"

struct options {
    struct kv_base base;
};

static const struct setting list_rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
};

static const struct setting merge_rows[] = {
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

/* ---- merge */

enum merge_state { MERGE_WAITS, MERGE_DONE, MERGE_GIVEN_UP };

/* A region as it was when it was asked about. */
struct place {
    uint64_t id, version;
    struct buf start; /* encoded */
    bool found;
};

static int find_region(const struct command *command, const struct options *options, struct polder *polder, uint64_t id,
                       struct place *ret_place)
{
    struct polder_call call = kv_call(&options->base);
    struct buf start;
    buf_init(&start, KEY_SIZE_MAX + 64);
    int code = CLI_OK;
    bool more = true;
    while (code == CLI_OK && more && !ret_place->found) {
        struct polder_result *result = polder_cluster_regions(polder, kv_view(&start), 0, &call);
        code = cli_judge(command, result, "find the region");
        const struct polder_cluster *cluster = code == CLI_OK ? result->cluster : NULL;
        size_t count = cluster ? cluster->region_page_count : 0;
        for (size_t i = 0; i < count; i++)
            if (cluster->regions[i].id == id) {
                ret_place->found = true;
                ret_place->version = cluster->regions[i].epoch_version;
                if (buf_append_bytes(&ret_place->start, kv_bytes(cluster->regions[i].start_key)) != ERR_OK)
                    ret_place->found = false;
            }
        struct polder_bytes end = count > 0 ? cluster->regions[count - 1].end_key : polder_bytes(NULL, 0);
        more = end.size > 0;
        buf_reset(&start);
        if (more && buf_append_bytes(&start, kv_bytes(end)) != ERR_OK)
            more = false;
        polder_result_free(result);
    }
    buf_fini(&start);
    if (code == CLI_OK && !ret_place->found) {
        fprintf(stderr, "polder %s: there is no region %" PRIu64 "\n", command->name, id);
        code = CLI_FAILED;
    }
    return code;
}

/* Who has the first key of the source now? It grows by one version when it is prepared, by another when that is undone. */
static int look(const struct command *command, const struct options *options, struct polder *polder,
                const struct place *source, uint64_t target, enum merge_state *ret_state)
{
    struct polder_call call = kv_call(&options->base);
    struct polder_result *result = polder_cluster_regions(polder, kv_view(&source->start), 1, &call);
    int code = cli_judge(command, result, "look at the region");
    const struct polder_cluster *cluster = code == CLI_OK ? result->cluster : NULL;
    *ret_state = MERGE_WAITS;
    if (cluster && cluster->region_page_count > 0) {
        const struct polder_region *region = &cluster->regions[0];
        bool covers = bytes_compare(kv_bytes(region->start_key), buf_bytes(&source->start)) <= 0;
        if (covers && region->id == source->id && region->epoch_version > source->version + 1)
            *ret_state = MERGE_GIVEN_UP;
        else if (covers && region->id != source->id)
            *ret_state = region->id == target ? MERGE_DONE : MERGE_WAITS;
    }
    polder_result_free(result);
    return code;
}

static void print_merged(const struct options *options, const struct place *source, uint64_t target,
                         enum merge_state state, uint64_t took_ms)
{
    static const char *const names[] = {"unknown", "merged", "given-up"};
    if (kv_json(&options->base)) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "source", (double)source->id);
        cJSON_AddNumberToObject(item, "target", (double)target);
        cJSON_AddStringToObject(item, "state", names[state]);
        cJSON_AddNumberToObject(item, "took_ms", (double)took_ms);
        cli_json_print(item);
    } else if (state == MERGE_DONE)
        printf("region %" PRIu64 " is part of region %" PRIu64 " (%" PRIu64 " ms)\n", source->id, target, took_ms);
    else
        printf("region %" PRIu64 ": %s\n", source->id,
               state == MERGE_GIVEN_UP ? "the merge was given up, all is as before"
                                       : "not merged yet, and it is not known whether it will be");
}

static int merge_and_wait(const struct command *command, const struct options *options, struct polder *polder,
                          uint64_t source_id, uint64_t target)
{
    enum { LOOK_MS = 50, WAIT_MS = 30000 };
    struct place source = {.id = source_id};
    buf_init(&source.start, KEY_SIZE_MAX + 64);
    int code = find_region(command, options, polder, source_id, &source);
    if (code == CLI_OK) {
        struct polder_call call = kv_call(&options->base);
        struct polder_result *result = polder_region_merge(polder, source_id, kv_view(&source.start), target, &call);
        code = cli_judge(command, result, "merge");
        polder_result_free(result);
    }
    if (code != CLI_OK) {
        buf_fini(&source.start);
        return code;
    }
    struct progress_bar progress;
    enum merge_state state = MERGE_WAITS;
    progress_bar_init(&progress, "merge", "regions", 0);
    while (code == CLI_OK && state == MERGE_WAITS && progress_bar_ms(&progress) < WAIT_MS) {
        progress_bar_update(&progress, 0, 0, 1);
        os_sleep_ms(LOOK_MS);
        code = look(command, options, polder, &source, target, &state);
    }
    progress_bar_end(&progress);
    if (code == CLI_OK)
        print_merged(options, &source, target, state, progress_bar_ms(&progress));
    buf_fini(&source.start);
    if (code != CLI_OK || state == MERGE_DONE)
        return code;
    return state == MERGE_GIVEN_UP ? CLI_FAILED : CLI_UNKNOWN;
}

static int region_operand(const struct command *command, const char *text, uint64_t *ret_id)
{
    char *end;
    unsigned long long id = strtoull(text, &end, 10);
    if (*end != '\0' || end == text || id == 0) {
        fprintf(stderr, "polder %s: \"%s\" is not the number of a region\n", command->name, text);
        return CLI_USAGE;
    }
    *ret_id = id;
    return CLI_GO_ON;
}

static int run_merge(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct polder *polder = NULL;
    uint64_t source = 0, target = 0;
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = region_operand(command, settings_operand(settings, 0), &source);
    if (code == CLI_GO_ON)
        code = region_operand(command, settings_operand(settings, 1), &target);
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON)
        code = merge_and_wait(command, &options, polder, source, target);
    polder_close(polder);
    settings_fini_target(merge_rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_region_merge = {
    .name = "region merge",
    .operands = "SOURCE TARGET",
    .summary = "make a region part of its neighbour",
    .text = "Both are numbers of regions (polder region list). The keys of SOURCE belong to TARGET afterwards; while it is\n"
            "under way, mostly some milliseconds, they wait. Refused: regions that are no neighbours, that do not lie on\n"
            "the same stores, or of which a store is down or far behind.\n\n"
            "Examples:\n"
            "  polder region merge 18 17\n"
            "\n"
            "Exit codes: 0 merged, 1 not done, or given up, 2 wrong usage, or no neighbours, 5 unknown (not yet, perhaps later).\n\n",
    CLI_TABLE(merge_rows),
    .operand_min = 2,
    .operand_max = 2,
    .run = run_merge,
};
