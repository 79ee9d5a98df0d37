/* cmd_store_raft: `polder store raft`: the Raft groups of a store, from its data directory. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "store_dir.h"
#include "store_online.h"

enum { KEYS_PER_LINE = 8 };

struct options {
    char *data_dir, *output, *address;
    uint64_t from, limit;
};

static const struct setting rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    CLI_OUTPUT_ROW(struct options, output),
};

static const struct setting online_rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    STORE_ONLINE_ROW(struct options, address),
    CLI_OUTPUT_ROW(struct options, output),
};

static const struct setting log_rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    {.key = "from",
     .type = SETTING_U64,
     SETTING_FIELD(struct options, from),
     .default_text = "0",
     .help = "first index; 0: the first there is"},
    {.key = "limit",
     .letter = 'n',
     .type = SETTING_U64,
     SETTING_FIELD(struct options, limit),
     .default_text = "100",
     .help = "entries at most; 0: all"},
    CLI_OUTPUT_ROW(struct options, output),
};

/* ---- groups */

static void print_group_line(const struct inspect_group *group)
{
    char size[32];
    cli_print_size(group->log_size, size);
    printf("%8" PRIu64 "  %6" PRIu64 "  %8" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %10" PRIu64
           "  %10" PRIu64 "  %8" PRIu64 "  %10s  %6" PRIu64 "%s\n",
           group->id, group->hard.term, group->hard.vote, group->hard.commit, group->applied.index,
           group->truncated.index, group->first_index, group->last_index, group->log_count, size,
           inspect_group_lag(group), group->is_tombstone ? "  removed" : "");
}

static const char *roles_text(uint8_t roles, char text[64])
{
    static const struct {
        uint8_t role;
        const char *name;
    } names[] = {{RAFT_VOTER, "voter"},
                 {RAFT_OUTGOING, "outgoing"},
                 {RAFT_LEARNER, "learner"},
                 {RAFT_LEARNER_NEXT, "learner next"}};
    text[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (roles & names[i].role) {
            if (text[0])
                strcat(text, "+");
            strcat(text, names[i].name);
        }
    return text;
}

static void print_group(const struct inspect_group *group)
{
    char size[32], roles[64];
    cli_print_size(group->log_size, size);
    printf("region          %" PRIu64 "%s\n", group->id, group->is_tombstone ? " (removed)" : "");
    printf("term            %" PRIu64 "\nvote            %" PRIu64 "%s\ncommit          %" PRIu64 " (as persisted)\n",
           group->hard.term, group->hard.vote, group->hard.vote ? "" : " (none in this term)", group->hard.commit);
    printf("applied         %" PRIu64 " of term %" PRIu64 "\ntruncated       %" PRIu64 " of term %" PRIu64 "\n",
           group->applied.index, group->applied.term, group->truncated.index, group->truncated.term);
    if (group->log_count > 0)
        printf("log             %" PRIu64 "..%" PRIu64 ": %" PRIu64 " entries, %s\n", group->first_index,
               group->last_index, group->log_count, size);
    else
        printf("log             empty\n");
    printf("not applied     %" PRIu64 "\ntokens          of %" PRIu64 " clients, saved as of %" PRIu64
           "\nkeep from       %" PRIu64 "\n",
           inspect_group_lag(group), group->client_count, group->tokens_index, inspect_group_min_checkpoint(group));
    for (uint32_t i = 0; i < group->conf.count; i++)
        printf("%-14s  %" PRIu64 " %s%s\n", i ? "" : "members", group->conf.members[i].id,
               roles_text(group->conf.members[i].roles, roles),
               group->conf.members[i].id == group->local_peer ? " (here)" : "");
}

static cJSON *json_of(const struct inspect_group *group)
{
    cJSON *item = cJSON_CreateObject();
    char roles[64];
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"id", group->id},
                   {"term", group->hard.term},
                   {"vote", group->hard.vote},
                   {"commit", group->hard.commit},
                   {"applied_index", group->applied.index},
                   {"applied_term", group->applied.term},
                   {"truncated_index", group->truncated.index},
                   {"truncated_term", group->truncated.term},
                   {"first_index", group->first_index},
                   {"last_index", group->last_index},
                   {"log_entries", group->log_count},
                   {"log_bytes", group->log_size},
                   {"lag", inspect_group_lag(group)},
                   {"clients", group->client_count},
                   {"tokens_index", group->tokens_index},
                   {"min_checkpoint", inspect_group_min_checkpoint(group)}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        cJSON_AddNumberToObject(item, numbers[i].name, (double)numbers[i].value);
    cJSON_AddBoolToObject(item, "removed", group->is_tombstone);
    cJSON *members = cJSON_AddArrayToObject(item, "members");
    for (uint32_t i = 0; i < group->conf.count; i++) {
        cJSON *member = cJSON_CreateObject();
        cJSON_AddNumberToObject(member, "id", (double)group->conf.members[i].id);
        cJSON_AddStringToObject(member, "roles", roles_text(group->conf.members[i].roles, roles));
        cJSON_AddItemToArray(members, member);
    }
    return item;
}

static void print_checkpoint_line(const struct inspect_group *group)
{
    raft_index keep = inspect_group_min_checkpoint(group);
    uint64_t spare = group->log_count > 0 && keep > group->first_index ? keep - group->first_index : 0;
    printf("%8" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "  %10" PRIu64 "\n", group->id, keep,
           group->applied.index, group->tokens_index, group->first_index,
           spare < group->log_count ? spare : group->log_count);
}

static void list(const struct options *options, struct inspect *inspect, const char *header,
                 void (*print)(const struct inspect_group *group))
{
    cJSON *all = options->output[0] == 'j' ? cJSON_CreateArray() : NULL;
    if (!all)
        printf("%s", header);
    region_id id = 0;
    while (inspect_next_group(inspect, id, &id)) {
        struct inspect_group group;
        inspect_group(inspect, id, &group);
        if (all)
            cJSON_AddItemToArray(all, json_of(&group));
        else
            print(&group);
        inspect_group_fini(&group);
        if (id++ == UINT64_MAX)
            break;
    }
    if (all)
        cli_json_print(all);
}

static int not_here(const struct command *command, const struct inspect *inspect, region_id id)
{
    cli_complain(command, "region %" PRIu64 " is not on this store", id);
    return store_dir_exit(inspect) == CLI_OK ? CLI_NOT_FOUND : CLI_FAILED;
}

static int show(const struct command *command, const struct options *options, struct inspect *inspect, region_id id)
{
    struct inspect_group group;
    bool found = inspect_group(inspect, id, &group);
    if (found && options->output[0] == 'j')
        cli_json_print(json_of(&group));
    else if (found)
        print_group(&group);
    inspect_group_fini(&group);
    return found ? store_dir_exit(inspect) : not_here(command, inspect, id);
}

/* ---- entries */

/* Text: a line that is cut after some keys. JSON: all of them. */
struct write_list {
    cJSON *json; /* NULL: text */
    uint32_t count;
};

static void add_write(void *context, const char *op, struct bytes key, size_t value_size)
{
    struct write_list *list = context;
    if (list->json) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "op", op);
        cli_json_bytes(item, "key", key);
        cJSON_AddNumberToObject(item, "value_bytes", (double)value_size);
        cJSON_AddItemToArray(list->json, item);
    } else if (list->count < KEYS_PER_LINE) {
        struct buf text;
        buf_init(&text, SIZE_MAX);
        cli_escape(key, &text);
        printf("%s%s %.*s", list->count ? ", " : "", op, (int)text.size, (const char *)text.data);
        buf_fini(&text);
    }
    list->count++;
}

static const char *kind_name(const struct raft_entry *entry)
{
    if (entry->kind == RAFT_ENTRY_CONF_CHANGE || entry->kind == RAFT_ENTRY_CONF_CHANGE_V2)
        return "members";
    return entry->kind != RAFT_ENTRY_NORMAL ? "unknown" : entry->data.size > 0 ? "write" : "empty";
}

static void print_entry(void *context, const struct raft_entry *entry)
{
    cJSON *all = context; /* NULL: text */
    struct write_list list = {0};
    if (all) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "index", (double)entry->index);
        cJSON_AddNumberToObject(item, "term", (double)entry->term);
        cJSON_AddStringToObject(item, "kind", kind_name(entry));
        cJSON_AddNumberToObject(item, "bytes", (double)entry->data.size);
        list.json = cJSON_AddArrayToObject(item, "writes");
        cJSON_AddItemToArray(all, item);
    } else
        printf("%10" PRIu64 "  %6" PRIu64 "  %-8s  %8zu  ", entry->index, entry->term, kind_name(entry),
               entry->data.size);
    enum err code = inspect_writes(entry, add_write, &list); /* one that cannot be decoded is a finding already */
    if (!all && list.count > KEYS_PER_LINE)
        printf(" and %u more", (unsigned)(list.count - KEYS_PER_LINE));
    if (!all)
        printf("%s\n", code == ERR_OK ? "" : "cannot be decoded");
}

static void print_log(const struct options *options, struct inspect *inspect, const struct inspect_group *group)
{
    cJSON *all = options->output[0] == 'j' ? cJSON_CreateArray() : NULL;
    if (!all)
        printf("     INDEX    TERM  KIND          SIZE  WRITES\n");
    inspect_entries(inspect, group, options->from, options->limit, print_entry, all);
    if (all)
        cli_json_print(all);
}

static int show_log(const struct command *command, const struct options *options, struct inspect *inspect, region_id id)
{
    struct inspect_group group;
    bool found = inspect_group(inspect, id, &group);
    if (found)
        print_log(options, inspect, &group);
    inspect_group_fini(&group);
    return found ? store_dir_exit(inspect) : not_here(command, inspect, id);
}

/* ---- commands */

static int run_command(const struct command *command, int argc, char **argv)
{
    struct options options = {0};
    struct settings *settings;
    struct store_dir dir;
    region_id id = 0;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    if (command->operand_min > 0)
        code = store_dir_region_id(command, settings_operand(settings, 0), &id);
    bool json = options.output[0] == 'j';
    if (code == CLI_GO_ON && options.address && options.data_dir) {
        code = cli_usage(command, "--address asks a storenode that runs, --data-dir reads one that does not: which?");
    } else if (code == CLI_GO_ON && options.address) {
        code = command == &command_store_raft_list ? store_online_raft_list(command, options.address, json)
                                                   : store_online_raft_show(command, options.address, json, id);
    } else if (code == CLI_GO_ON) {
        code = store_dir_open(command, options.data_dir, &dir);
        if (code == CLI_GO_ON) {
            struct inspect inspect = store_dir_inspect(&dir);
            if (command == &command_store_raft_list)
                list(&options, &inspect,
                     "  REGION    TERM      VOTE      COMMIT     APPLIED   TRUNCATED       FIRST        LAST   ENTRIES"
                     "        SIZE     LAG\n",
                     print_group_line);
            else if (command == &command_store_raft_min_checkpoint)
                list(&options, &inspect, "  REGION   KEEP FROM     APPLIED      TOKENS       FIRST    NOT NEEDED\n",
                     print_checkpoint_line);
            code = command == &command_store_raft_show  ? show(command, &options, &inspect, id)
                   : command == &command_store_raft_log ? show_log(command, &options, &inspect, id)
                                                        : store_dir_exit(&inspect);
        }
        store_dir_close(&dir);
    }
    settings_fini_target(command->table, command->table_count, &options);
    settings_free(settings);
    return code;
}

#define EXIT_CODES                                                                                                     \
    "Exit codes: 0 ok, 1 something is damaged (polder store check tells what), 2 wrong usage, or it cannot be opened"

const struct command command_store_raft_list = {
    .name = "store raft list",
    .operands = "",
    .summary = "the Raft groups of a store, stopped (--data-dir) or not (--address)",
    .text =
        "Reads the data directory of a storenode that does not run, and changes nothing in it. LAG is what is in the "
        "log\n"
        "and not applied; COMMIT is as persisted: it may be older than APPLIED.\n"
        "\n"
        "Examples:\n"
        "  polder store raft list --data-dir polder-data/storenode-1/data\n"
        "  polder store raft list --address http://127.0.0.1:20180\n"
        "\n" EXIT_CODES ".\n\n",
    CLI_TABLE(online_rows),
    .run = run_command,
};

const struct command command_store_raft_show = {
    .name = "store raft show",
    .operands = "ID",
    .summary = "one Raft group of a store, stopped (--data-dir) or not (--address)",
    .text = "Reads the data directory of a storenode that does not run, and changes nothing in it.\n"
            "\n"
            "Examples:\n"
            "  polder store raft show 12 --data-dir polder-data/storenode-1/data\n"
            "  polder store raft show 12 --address http://127.0.0.1:20180\n"
            "\n" EXIT_CODES ",\n3 no such region.\n\n",
    CLI_TABLE(online_rows),
    .operand_min = 1,
    .operand_max = 1,
    .run = run_command,
};

const struct command command_store_raft_log = {
    .name = "store raft log",
    .operands = "ID",
    .summary = "the log entries of one group in a data directory",
    .text = "Prints entries with what they write; of more than 8 keys the rest is counted (-o json has all). Reads the "
            "data\n"
            "directory of a storenode that does not run, and changes nothing in it.\n"
            "\n"
            "Examples:\n"
            "  polder store raft log 12 --data-dir polder-data/storenode-1/data\n"
            "  polder store raft log 12 --data-dir polder-data/storenode-1/data --from 1000 -n 10 -o json\n"
            "\n" EXIT_CODES ",\n3 no such region.\n\n",
    CLI_TABLE(log_rows),
    .operand_min = 1,
    .operand_max = 1,
    .run = run_command,
};

const struct command command_store_raft_min_checkpoint = {
    .name = "store raft min-checkpoint",
    .operands = "",
    .summary = "the least log index that each group must keep",
    .text =
        "KEEP FROM is the first index that this replica needs itself: what is not applied, and what idempotency tokens "
        "are\n"
        "not saved of. NOT NEEDED counts the entries before it. A follower that is behind may need more: only its "
        "leader\n"
        "knows. Reads the data directory of a storenode that does not run, and changes nothing in it.\n"
        "\n"
        "Examples:\n"
        "  polder store raft min-checkpoint --data-dir polder-data/storenode-1/data\n"
        "\n" EXIT_CODES ".\n\n",
    CLI_TABLE(rows),
    .run = run_command,
};
