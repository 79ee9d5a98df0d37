/* cmd_store_rebuild: `polder store rebuild`: a store whose files cannot be trusted is emptied, and gets its regions back from
 * the others.
 *
 *   data-dir/engine            what the storenode refuses to start from
 *   data-dir/engine.lost-3     moved aside: store 3 is being rebuilt; the command, called again, goes on from here
 *   data-dir/engine.kept-3     done; to be deleted by hand (or --discard)
 *
 * Invariant: an emptied store never speaks under its old id. The storenode finds no identity, and registers as another store;
 * what is sent to the old one names its id, and is refused. So each replica that was lost is replaced as any other is
 * (region move-peer), by those that have not forgotten anything. docs/decisions/0018. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "env/engine_rocks.h"
#include "env/os.h"
#include "progress_bar.h"
#include "region_peers.h"
#include "store_dir.h"

enum { PAGE_SIZE = 256, POLL_MS = 200, LOOK_TRIES = 5, UNSAFE_SHOWN_MAX = 10, LEARNER_ROLE = 1 };

struct options {
    struct kv_base base;
    char *data_dir;
    uint64_t store, wait_ms;
    bool yes, dry_run, discard;
};

static const struct setting rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
    STORE_DIR_ROW(struct options, data_dir),
    {.key = "store",
     .type = SETTING_U64,
     SETTING_FIELD(struct options, store),
     .default_text = "0",
     .value_name = "ID",
     .help = "which store it is, if the directory cannot tell any more; 0: it can"},
    {.key = "wait",
     .type = SETTING_DURATION,
     SETTING_FIELD(struct options, wait_ms),
     .default_text = "1h",
     .min = 1,
     .max = 7 * (uint64_t)86400000,
     .help = "how long to go on until it is done"},
    {.key = "yes", .type = SETTING_BOOL, SETTING_FIELD(struct options, yes), .default_text = "false", .help = "do it"},
    {.key = "dry-run",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, dry_run),
     .default_text = "false",
     .help = "only say what would be done, and whether it may be"},
    {.key = "discard",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, discard),
     .default_text = "false",
     .help = "delete what was moved aside, once all is there again"},
};

struct rebuild {
    const struct command *command;
    const struct options *options;
    struct polder *polder;
    uint64_t old_store, new_store;
    char *address;   /* owned: of both */
    char *aside;     /* owned: data-dir/engine.lost-ID */
    bool is_emptied; /* by this call or an earlier one */
    uint64_t begun_us;
    uint64_t *regions; /* owned: with a peer on the old store */
    size_t count, capacity, moved;
};

static bool is_late(const struct rebuild *rebuild)
{
    return os_monotonic_us() - rebuild->begun_us > rebuild->options->wait_ms * 1000;
}

static uint64_t wait_left_ms(const struct rebuild *rebuild)
{
    uint64_t gone_ms = (os_monotonic_us() - rebuild->begun_us) / 1000;
    return gone_ms < rebuild->options->wait_ms ? rebuild->options->wait_ms - gone_ms : 1;
}

/* ---- which store is it */

static void on_name(void *context, const char *name)
{
    struct rebuild *rebuild = context;
    static const char prefix[] = "engine.lost-";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) {
        rebuild->old_store = strtoull(name + sizeof prefix - 1, NULL, 10);
        rebuild->is_emptied = rebuild->old_store != 0;
    }
}

static void keep_quiet(void *context, bool is_warning, const char *text)
{
    (void)context;
    (void)is_warning;
    (void)text;
}

static uint64_t store_of_engine(const char *path)
{
    struct engine *engine;
    struct error err;
    struct wire_store_ident ident = {0};
    struct engine_rocks_options options = {.path = path, .read_only = true};
    if (engine_rocks_open(&options, &engine, &err) != ERR_OK)
        return 0;
    struct inspect inspect = {.engine = engine, .found = keep_quiet};
    if (inspect_ident(&inspect, &ident) != ERR_OK)
        ident.store_id = 0;
    engine_rocks_close(engine);
    return ident.store_id;
}

/* With the lock of the directory, unless it is emptied already. */
static int find_store(struct rebuild *rebuild, struct store_dir *dir)
{
    const struct options *options = rebuild->options;
    struct error err;
    char name[48];
    if (!options->data_dir)
        return cli_usage(rebuild->command, "wants --data-dir DIR");
    if (os_dir_list(options->data_dir, on_name, rebuild, &err) != ERR_OK)
        return cli_usage(rebuild->command, "%s", err.text);
    if (!rebuild->is_emptied) {
        int code = store_dir_lock(rebuild->command, options->data_dir, dir);
        if (code != CLI_GO_ON)
            return code;
        uint64_t found = store_of_engine(dir->engine_path);
        if (options->store && found && found != options->store)
            return cli_usage(rebuild->command, "%s is of store %" PRIu64, dir->engine_path, found);
        rebuild->old_store = found ? found : options->store;
    }
    if (rebuild->old_store == 0)
        return cli_usage(rebuild->command,
                         "%s does not say any more which store it is: --store ID (polder status "
                         "tells the ids)",
                         options->data_dir);
    snprintf(name, sizeof name, "engine.lost-%" PRIu64, rebuild->old_store);
    rebuild->aside = os_path_join(options->data_dir, name);
    return CLI_GO_ON;
}

static struct polder_result *stores(struct rebuild *rebuild)
{
    struct polder_call call = kv_call(&rebuild->options->base);
    return polder_cluster_stores(rebuild->polder, &call);
}

/* pd knows it, and has not heard of it for a while. CLI_GO_ON. */
static int check_store(struct rebuild *rebuild)
{
    int code = CLI_OK;
    for (bool said = false; code == CLI_OK; said = true) {
        struct polder_result *result = stores(rebuild);
        const struct polder_store *found = NULL;
        code = cli_judge(rebuild->command, result, "list stores");
        for (size_t i = 0; code == CLI_OK && i < result->cluster->store_count; i++)
            if (result->cluster->stores[i].id == rebuild->old_store)
                found = &result->cluster->stores[i];
        if (code == CLI_OK && !found) {
            cli_complain(rebuild->command, "the cluster has no store %" PRIu64, rebuild->old_store);
            code = CLI_NOT_FOUND;
        } else if (code == CLI_OK && found->state != POLDER_STORE_UP) {
            free(rebuild->address);
            rebuild->address = strdup(found->address);
            CHECK(rebuild->address);
            code = CLI_GO_ON;
        } else if (code == CLI_OK && (is_late(rebuild) || rebuild->options->dry_run)) {
            cli_complain(rebuild->command, "store %" PRIu64 " is up: pd heard of it %" PRIu64 " ms ago",
                         rebuild->old_store, found->heartbeat_age_ms);
            code = CLI_FAILED;
        } else if (code == CLI_OK && !said)
            fprintf(stderr, "waits until pd knows that store %" PRIu64 " is down\n", rebuild->old_store);
        polder_result_free(result);
        if (code == CLI_OK)
            os_sleep_ms(POLL_MS);
    }
    return code;
}

/* ---- its regions */

static void note_region(struct rebuild *rebuild, const struct polder_region *region)
{
    bool is_there = false;
    for (size_t i = 0; i < region->peer_count; i++)
        is_there |= region->peers[i].store_id == rebuild->old_store;
    if (!is_there)
        return;
    if (rebuild->count == rebuild->capacity) {
        rebuild->capacity = rebuild->capacity ? 2 * rebuild->capacity : 64;
        rebuild->regions = realloc(rebuild->regions, rebuild->capacity * sizeof *rebuild->regions);
        CHECK(rebuild->regions);
    }
    rebuild->regions[rebuild->count++] = region->id;
}

/* All regions with a peer on the old store, as pd knows it. CLI_GO_ON. */
static int find_regions(struct rebuild *rebuild)
{
    struct polder_call call = kv_call(&rebuild->options->base);
    struct buf from;
    int code = CLI_GO_ON;
    buf_init(&from, KEY_SIZE_MAX + 64);
    rebuild->count = 0;
    for (bool more = true; code == CLI_GO_ON && more;) {
        struct polder_result *result = polder_cluster_regions(rebuild->polder, kv_view(&from), PAGE_SIZE, &call);
        code = cli_judge(rebuild->command, result, "list regions");
        code = code == CLI_OK ? CLI_GO_ON : code;
        size_t count = code == CLI_GO_ON ? result->cluster->region_page_count : 0;
        for (size_t i = 0; i < count; i++)
            note_region(rebuild, &result->cluster->regions[i]);
        struct polder_bytes end = count ? result->cluster->regions[count - 1].end_key : (struct polder_bytes){0};
        more = end.size > 0 && buf_assign(&from, kv_bytes(end)) == ERR_OK;
        polder_result_free(result);
    }
    buf_fini(&from);
    return code;
}

/* Can the others go on without the peer on the old store? */
static bool view_is_safe(const struct polder_cluster *view, uint64_t old_store, const char **ret_why)
{
    size_t voters = 0, live = 0;
    for (size_t i = 0; i < view->peer_count; i++) {
        const struct polder_peer_status *peer = &view->peers[i];
        *ret_why = "its members are changing";
        if (peer->role > LEARNER_ROLE)
            return false;
        voters += peer->role != LEARNER_ROLE;
        live += peer->role != LEARNER_ROLE && peer->store_id != old_store && (peer->active || peer->leader);
    }
    *ret_why = "too few of its other replicas are alive";
    return live >= voters / 2 + 1;
}

static bool region_is_safe(struct rebuild *rebuild, uint64_t region, const char **ret_why)
{
    struct polder_call call = kv_call(&rebuild->options->base);
    bool safe = false;
    *ret_why = "nobody leads it";
    for (int i = 0; i < LOOK_TRIES && !safe; i++) {
        if (i > 0)
            os_sleep_ms(POLL_MS);
        struct polder_result *found = polder_cluster_region_by_id(rebuild->polder, region, &call);
        struct polder_result *result = NULL;
        if (found->outcome == POLDER_DONE && found->cluster && found->cluster->region_page_count > 0)
            result = polder_region_peers(rebuild->polder, region, found->cluster->regions[0].start_key, &call);
        if (result && result->outcome == POLDER_DONE && result->cluster)
            safe = view_is_safe(result->cluster, rebuild->old_store, ret_why);
        polder_result_free(result);
        polder_result_free(found);
    }
    return safe;
}

/* CLI_GO_ON: nothing is lost with this store that the others do not have. */
static int check_regions(struct rebuild *rebuild)
{
    size_t unsafe = 0;
    for (size_t i = 0; i < rebuild->count; i++) {
        const char *why;
        if (region_is_safe(rebuild, rebuild->regions[i], &why))
            continue;
        if (unsafe++ < UNSAFE_SHOWN_MAX)
            cli_complain(rebuild->command, "region %" PRIu64 " cannot do without it: %s", rebuild->regions[i], why);
    }
    if (unsafe == 0)
        return CLI_GO_ON;
    cli_complain(rebuild->command, "%zu of %zu regions need what is left of store %" PRIu64 "; nothing was done",
                 unsafe, rebuild->count, rebuild->old_store);
    return CLI_FAILED;
}

/* ---- the steps */

static int empty(struct rebuild *rebuild, const struct store_dir *dir)
{
    struct error err;
    if (os_file_rename(dir->engine_path, rebuild->aside, &err) != ERR_OK) {
        cli_complain(rebuild->command, "%s", err.text);
        return CLI_FAILED;
    }
    rebuild->is_emptied = true;
    fprintf(stderr, "moved aside to %s; start the storenode now, with the same configuration\n", rebuild->aside);
    return CLI_GO_ON;
}

/* It registers under another id, at the same address. */
static int wait_for_new(struct rebuild *rebuild)
{
    while (!is_late(rebuild)) {
        struct polder_result *result = stores(rebuild);
        size_t count = result->outcome == POLDER_DONE && result->cluster ? result->cluster->store_count : 0;
        for (size_t i = 0; i < count; i++) {
            const struct polder_store *store = &result->cluster->stores[i];
            if (store->id != rebuild->old_store && store->state == POLDER_STORE_UP &&
                strcmp(store->address, rebuild->address) == 0)
                rebuild->new_store = store->id;
        }
        polder_result_free(result);
        if (rebuild->new_store != 0) {
            fprintf(stderr, "it is store %" PRIu64 " now\n", rebuild->new_store);
            return CLI_GO_ON;
        }
        os_sleep_ms(POLL_MS);
    }
    cli_complain(rebuild->command, "no storenode was started in time; the same command goes on");
    return CLI_UNKNOWN;
}

/* Until none is left: those that are split meanwhile have parts there, too. */
static int move_all(struct rebuild *rebuild)
{
    int code = find_regions(rebuild);
    while (code == CLI_GO_ON && rebuild->count > 0) {
        for (size_t i = 0; i < rebuild->count && code == CLI_GO_ON; i++) {
            code = region_peers_move(rebuild->command, rebuild->polder, &rebuild->options->base, wait_left_ms(rebuild),
                                     rebuild->regions[i], rebuild->old_store, rebuild->new_store);
            rebuild->moved += code == CLI_OK;
            if (code == CLI_OK || code == CLI_NOT_FOUND) /* it went elsewhere, or was merged, meanwhile */
                code = is_late(rebuild) ? CLI_UNKNOWN : CLI_GO_ON;
        }
        if (code == CLI_GO_ON) {
            os_sleep_ms(POLL_MS); /* pd hears of it with a heartbeat */
            code = find_regions(rebuild);
        }
    }
    return code;
}

static int clean_up(struct rebuild *rebuild)
{
    struct error err;
    char name[48];
    enum err code;
    snprintf(name, sizeof name, "engine.kept-%" PRIu64, rebuild->old_store);
    char *kept = os_path_join(rebuild->options->data_dir, name);
    if (rebuild->options->discard)
        code = os_remove_tree(rebuild->aside, &err);
    else
        code = os_file_rename(rebuild->aside, kept, &err);
    if (code != ERR_OK)
        cli_complain(rebuild->command, "%s", err.text);
    else if (!rebuild->options->discard)
        fprintf(stderr, "what it had lies in %s, and can be deleted\n", kept);
    free(kept);
    return code == ERR_OK ? CLI_GO_ON : CLI_FAILED;
}

static void print_result(const struct rebuild *rebuild)
{
    uint64_t took_ms = (os_monotonic_us() - rebuild->begun_us) / 1000;
    bool dry_run = rebuild->options->dry_run;
    char took[32];
    if (kv_json(&rebuild->options->base)) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddBoolToObject(json, "dry_run", dry_run);
        cJSON_AddNumberToObject(json, "store", (double)rebuild->old_store);
        cJSON_AddNumberToObject(json, "new_store", (double)rebuild->new_store);
        cJSON_AddNumberToObject(json, "regions", (double)(dry_run ? rebuild->count : rebuild->moved));
        cJSON_AddNumberToObject(json, "took_ms", (double)took_ms);
        cli_json_print(json);
        return;
    }
    cli_print_duration(took_ms, took);
    if (dry_run)
        printf("store %" PRIu64 " has %zu regions, and all of them can do without it\n", rebuild->old_store,
               rebuild->count);
    else
        printf("store %" PRIu64 " is store %" PRIu64 " now, with %zu regions, after %s\n", rebuild->old_store,
               rebuild->new_store, rebuild->moved, took);
}

static int go(struct rebuild *rebuild)
{
    struct store_dir dir = {0};
    int code = find_store(rebuild, &dir);
    if (code == CLI_GO_ON && !rebuild->options->yes && !rebuild->options->dry_run)
        code = cli_usage(rebuild->command, "empties store %" PRIu64 ": --yes to do it, --dry-run to look",
                         rebuild->old_store);
    if (code == CLI_GO_ON)
        code = cli_open(rebuild->command, &rebuild->options->base.client, &rebuild->polder);
    if (code == CLI_GO_ON)
        code = check_store(rebuild);
    if (code == CLI_GO_ON)
        code = find_regions(rebuild);
    if (code == CLI_GO_ON && !rebuild->is_emptied)
        code = check_regions(rebuild);
    if (code == CLI_GO_ON && !rebuild->is_emptied && !rebuild->options->dry_run)
        code = empty(rebuild, &dir);
    store_dir_close(&dir);
    if (code == CLI_GO_ON && !rebuild->options->dry_run) {
        code = wait_for_new(rebuild);
        if (code == CLI_GO_ON)
            code = move_all(rebuild);
        if (code == CLI_GO_ON)
            code = clean_up(rebuild);
    }
    if (code == CLI_GO_ON)
        print_result(rebuild);
    return code == CLI_GO_ON ? CLI_OK : code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    struct rebuild rebuild = {.command = command, .options = &options, .begun_us = os_monotonic_us()};
    code = go(&rebuild);
    polder_close(rebuild.polder);
    free(rebuild.address);
    free(rebuild.aside);
    free(rebuild.regions);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_store_rebuild = {
    .name = "store rebuild",
    .operands = "",
    .summary = "a store that lost its data gets it from the others",
    .text =
        "For a storenode that refuses to start (a damaged MANIFEST, CURRENT or write-ahead log). Run it\n"
        "where the data directory is. It asks each region of that store whether the others can do without it, and "
        "does\n"
        "nothing if one cannot. Then it moves the database aside, waits for the storenode to be started, which\n"
        "registers as another store (what was promised under the old id is not known any more), and moves replica by "
        "replica\n"
        "from the old store to the new one. Stopped half-way it is called again, and goes on.\n"
        "\n"
        "Examples:\n"
        "  polder store rebuild --data-dir /var/lib/polder --dry-run\n"
        "  polder store rebuild --data-dir /var/lib/polder --yes --discard\n"
        "  polder store rebuild --data-dir /var/lib/polder --store 3 --yes\n"
        "\n"
        "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, or in use by a process, 3 no such store, 5 not done "
        "in "
        "time (the same\n"
        "command goes on).\n\n",
    CLI_TABLE(rows),
    .run = run,
};
