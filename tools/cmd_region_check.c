/* cmd_region_check: `polder region check`: do the replicas of a region hold the same? */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "kv.h"

struct options {
    struct kv_base base;
    bool all;
};

static const struct setting rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
    {.key = "all",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, all),
     .default_text = "false",
     .help = "all regions of the cluster, one after the other"},
};

struct check {
    const struct command *command;
    const struct options *options;
    struct polder *polder;
    cJSON *all; /* NULL: text */
    uint32_t region_count, different_count, silent_count;
    int code;
};

struct replica {
    uint64_t region, peer, store, index, rows, size;
    char hash[24];
};

/* Every region begins at a key that the user could have written: the first one behind its start. */
static void first_key_of(const struct polder_region *region, struct buf *key)
{
    struct bytes start = kv_bytes(region->start_key);
    buf_reset(key);
    if (start.size > 1)
        (void)buf_append(key, start.data + 1, start.size - 1);
    else
        (void)buf_append_u8(key, 0);
}

static void add_replica(struct check *check, cJSON *list, const struct replica *replica, bool right, bool heard)
{
    const char *word = !heard ? "not heard" : right ? "same" : "differs";
    if (list) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "peer", (double)replica->peer);
        cJSON_AddNumberToObject(item, "store", (double)replica->store);
        cJSON_AddNumberToObject(item, "index", (double)replica->index);
        cJSON_AddStringToObject(item, "hash", replica->hash);
        cJSON_AddNumberToObject(item, "rows", (double)replica->rows);
        cJSON_AddNumberToObject(item, "size", (double)replica->size);
        cJSON_AddStringToObject(item, "verdict", word);
        cJSON_AddItemToArray(list, item);
    } else
        printf("%8" PRIu64 "  %8" PRIu64 "  %6" PRIu64 "  %10" PRIu64 "  %-16s  %10" PRIu64 "  %12" PRIu64 "  %s\n",
               replica->region, replica->peer, replica->store, replica->index, replica->hash, replica->rows,
               replica->size, word);
    (void)check;
}

/* More than half of all decide; without them everybody differs. */
static bool is_right(const struct replica *replicas, size_t count, size_t at)
{
    size_t same = 0;
    for (size_t i = 0; i < count; i++)
        same += strcmp(replicas[i].hash, replicas[at].hash) == 0;
    return same > count / 2;
}

static void report(struct check *check, const char *text)
{
    struct replica replicas[16];
    size_t count = 0;
    int used;
    for (const char *at = text; count < 16 && sscanf(at, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %23s %" SCNu64 " %" SCNu64 "\n%n",
                                       &replicas[count].region, &replicas[count].peer, &replicas[count].store,
                                       &replicas[count].index, replicas[count].hash, &replicas[count].rows,
                                       &replicas[count].size, &used) == 7;
         at += used)
        count++;
    cJSON *item = check->all && count > 0 ? cJSON_CreateObject() : NULL, *list = NULL;
    if (item) {
        cJSON_AddNumberToObject(item, "region", (double)replicas[0].region);
        list = cJSON_AddArrayToObject(item, "replicas");
    }
    bool differs = false, silent = false;
    const char *first = NULL;
    for (size_t i = 0; i < count; i++) {
        bool heard = strcmp(replicas[i].hash, "-") != 0;
        differs |= heard && first && strcmp(first, replicas[i].hash) != 0;
        first = heard ? replicas[i].hash : first;
        silent |= !heard;
    }
    for (size_t i = 0; i < count; i++)
        add_replica(check, list, &replicas[i], !differs || is_right(replicas, count, i), strcmp(replicas[i].hash, "-") != 0);
    if (item) {
        cJSON_AddBoolToObject(item, "same", !differs);
        cJSON_AddBoolToObject(item, "complete", !silent);
        cJSON_AddItemToArray(check->all, item);
    }
    check->different_count += differs;
    check->silent_count += silent;
}

static void check_one(struct check *check, const struct polder_region *region)
{
    struct polder_call call = kv_call(&check->options->base);
    struct buf key;
    buf_init(&key, KEY_SIZE_MAX + 64);
    first_key_of(region, &key);
    struct polder_result *result = polder_region_check(check->polder, kv_view(&key), &call);
    int code = cli_judge(check->command, result, "check");
    if (code == CLI_OK) {
        char *text = strndup((const char *)result->value.data, result->value.size);
        report(check, text ? text : "");
        free(text);
        check->region_count++;
    } else
        check->code = code;
    polder_result_free(result);
    buf_fini(&key);
}

static void check_all(struct check *check)
{
    struct polder_call call = kv_call(&check->options->base);
    struct buf start;
    buf_init(&start, KEY_SIZE_MAX + 64);
    for (bool more = true; more;) {
        struct polder_result *result = polder_cluster_regions(check->polder, kv_view(&start), 0, &call);
        int code = cli_judge(check->command, result, "list regions");
        const struct polder_cluster *cluster = code == CLI_OK ? result->cluster : NULL;
        size_t count = cluster ? cluster->region_page_count : 0;
        for (size_t i = 0; i < count; i++)
            check_one(check, &cluster->regions[i]);
        if (code != CLI_OK)
            check->code = code;
        struct polder_bytes end = count > 0 ? cluster->regions[count - 1].end_key : polder_bytes(NULL, 0);
        buf_reset(&start);
        more = end.size > 0 && buf_append_bytes(&start, kv_bytes(end)) == ERR_OK;
        polder_result_free(result);
    }
    buf_fini(&start);
}

static void check_by_id(struct check *check, const char *text)
{
    struct polder_call call = kv_call(&check->options->base);
    struct polder_result *result = polder_cluster_region_by_id(check->polder, strtoull(text, NULL, 10), &call);
    check->code = cli_judge(check->command, result, "find the region");
    if (check->code == CLI_OK && result->cluster && result->cluster->region_page_count > 0)
        check_one(check, &result->cluster->regions[0]);
    else if (check->code == CLI_OK)
        check->code = CLI_FAILED;
    polder_result_free(result);
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct check check = {.command = command, .options = &options, .code = CLI_OK};
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    const char *region = settings_operand_count(settings) > 0 ? settings_operand(settings, 0) : NULL;
    if (options.all == (region != NULL)) {
        fprintf(stderr, "polder region check: name a region, or --all\n");
        code = CLI_USAGE;
    } else
        code = cli_open(command, &options.base.client, &check.polder);
    if (code == CLI_GO_ON) {
        check.all = kv_json(&options.base) ? cJSON_CreateArray() : NULL;
        if (!check.all)
            printf("  region      peer   store       index  hash                    rows         bytes  verdict\n");
        if (options.all)
            check_all(&check);
        else if (region)
            check_by_id(&check, region);
        if (check.all)
            cli_json_print(check.all);
        else
            printf("%u regions compared, %u differ, %u without an answer of all\n", check.region_count,
                   check.different_count, check.silent_count);
        code = check.code != CLI_OK ? check.code : check.different_count > 0 ? CLI_FAILED : CLI_OK;
    }
    polder_close(check.polder);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_region_check = {
    .name = "region check",
    .operands = "[REGION]",
    .summary = "compare what the replicas of a region hold",
    .text = "As of one entry of the region's log each replica hashes what it holds: rows, tokens, range, members. A replica that\n"
            "differs from most is marked as damaged by its store, serves no more, and gets its rows anew from its leader.\n"
            "\n"
            "Examples:\n"
            "  polder region check 17\n"
            "  polder region check --all -o json\n"
            "\n"
            "Exit codes: 0 all that answered are the same, 1 replicas differ or not done, 2 wrong usage.\n\n",
    CLI_TABLE(rows),
    .operand_max = 1,
    .run = run,
};
