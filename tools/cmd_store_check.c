/* cmd_store_check: `polder store check`: reads everything in a data directory and says what is wrong with it.
 *
 * In this order, each whatever the one before has found: the write-ahead logs and the MANIFEST, record by record; the
 * database opens; every table file, block by block; every row (storenode/store_inspect.h). */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "env/engine_rocks.h"
#include "env/os.h"
#include "env/rocks_records.h"
#include "env/rocks_table.h"
#include "progress_bar.h"
#include "store_dir.h"

struct options {
    char *data_dir, *output;
    bool progress;
};

static const struct setting rows[] = {
    STORE_DIR_ROW(struct options, data_dir),
    {.key = "progress",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, progress),
     .default_text = "false",
     .help = "show on standard error how far it is"},
    CLI_OUTPUT_ROW(struct options, output),
};

struct names {
    char **names; /* owned, both */
    size_t count, capacity;
};

struct check {
    struct store_dir dir;
    struct inspect inspect;
    struct progress_bar bar;
    bool show_progress;
    uint64_t row_estimate;
    struct names live, files; /* tables that the database has; *.sst in the directory */
    struct names logs;        /* *.log, and the MANIFEST that CURRENT names */
    bool has_bad_log;         /* damaged, or cut by a crash */
    uint64_t table_count, table_size;
    cJSON *json; /* owned; findings; NULL: text */
};

static void names_add(struct names *names, const char *name)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? 2 * names->capacity : 64;
        names->names = realloc(names->names, names->capacity * sizeof(char *));
        CHECK(names->names);
    }
    names->names[names->count] = strdup(name);
    CHECK(names->names[names->count]);
    names->count++;
}

static bool names_have(const struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i], name) == 0)
            return true;
    return false;
}

static void names_fini(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
}

static void on_found(void *context, bool is_warning, const char *text)
{
    struct check *check = context;
    if (check->show_progress)
        progress_bar_end(&check->bar);
    if (!check->json) {
        printf("%s: %s\n", is_warning ? "warning" : "finding", text);
        fflush(stdout);
        return;
    }
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "severity", is_warning ? "warning" : "finding");
    cJSON_AddStringToObject(item, "text", text);
    cJSON_AddItemToArray(check->json, item);
}

static void on_progress(void *context, const struct inspect_totals *totals)
{
    struct check *check = context;
    if (check->show_progress)
        progress_bar_update(&check->bar, totals->row_count, totals->row_count, check->row_estimate);
}

/* ---- opening */

static bool is_damage(enum err code)
{
    return code == ERR_CORRUPT || code == ERR_IO || code == ERR_NOT_FOUND;
}

/* What RocksDB does not say. */
static const char *hint_at(const char *text)
{
    const char *manifest = strstr(text, "/MANIFEST-");
    if (manifest && strstr(text, "No such file"))
        return " (CURRENT names it)";
    return manifest || strstr(text, ".sst") || strstr(text, ".log") || strstr(text, "CURRENT")
               ? ""
               : " (so MANIFEST or CURRENT must be damaged)";
}

/* CLI_GO_ON with or without an engine: without, that was a finding. */
static int open_engine(struct check *check)
{
    struct error strict, lenient;
    struct engine_rocks_options options = {.path = check->dir.engine_path, .read_only = true, .strict_wal = true};
    if (engine_rocks_open(&options, &check->dir.engine, &strict) == ERR_OK)
        return CLI_GO_ON;
    options.strict_wal = false;
    enum err code = engine_rocks_open(&options, &check->dir.engine, &lenient);
    if (code == ERR_OK && !check->has_bad_log) /* else it is told already */
        inspect_found(&check->inspect, false, "write-ahead log: %s", strict.text);
    else if (code != ERR_OK && is_damage(code))
        inspect_found(&check->inspect, false, "the database cannot be opened: %s%s", lenient.text,
                      hint_at(lenient.text));
    else if (code != ERR_OK)
        return cli_usage(check->dir.command, "%s", lenient.text);
    return CLI_GO_ON;
}

/* ---- files */

static void add_file(void *context, const char *name)
{
    size_t size = strlen(name);
    struct check *check = context;
    if (size > 4 && strcmp(name + size - 4, ".sst") == 0)
        names_add(&check->files, name);
    if (size > 4 && strcmp(name + size - 4, ".log") == 0)
        names_add(&check->logs, name);
}

/* The one that CURRENT names; older ones may be there for a while. */
static void add_manifest(struct check *check)
{
    char *path = os_path_join(check->dir.engine_path, "CURRENT");
    struct buf content;
    buf_init(&content, 255);
    if (os_file_read(path, &content, NULL) == ERR_OK && content.size > 1) {
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)content.size - 1,
                 (const char *)content.data); /* without the newline */
        char *manifest = os_path_join(check->dir.engine_path, name);
        if (strncmp(name, "MANIFEST-", strlen("MANIFEST-")) == 0 && !strchr(name, '/') && os_exists(manifest))
            names_add(&check->logs, name);
        free(manifest);
    }
    buf_fini(&content);
    free(path);
}

static void add_live_table(void *context, const char *name, uint64_t size)
{
    struct check *check = context;
    names_add(&check->live, name);
    check->table_size += size;
}

/* A crash cuts the newest log only. */
static bool is_followed(const struct check *check, size_t log)
{
    uint64_t size = 0;
    for (size_t i = log + 1; i < check->logs.count && size == 0 && check->logs.names[i][0] != 'M'; i++) {
        char *path = os_path_join(check->dir.engine_path, check->logs.names[i]);
        (void)os_dir_size(path, &size, NULL);
        free(path);
    }
    return size > 0;
}

static void check_log(struct check *check, size_t log)
{
    char *path = os_path_join(check->dir.engine_path, check->logs.names[log]);
    struct error err;
    bool is_cut = false;
    const char *then =
        check->logs.names[log][0] == 'M'
            ? ""
            : "; the store does not start without what was promised there: `polder store rebuild`";
    if (rocks_records_check(path, &is_cut, &err) != ERR_OK)
        inspect_found(&check->inspect, false, "%s%s", err.text, then);
    else if (is_cut && is_followed(check, log))
        inspect_found(&check->inspect, false, "%s, but there is a newer log%s", err.text, then);
    else if (is_cut)
        inspect_found(&check->inspect, true, "%s: a crash did that, and nobody was told of it", err.text);
    else
        then = NULL;
    check->has_bad_log = check->has_bad_log || then;
    free(path);
}

/* Before anything is opened. In order of names: logs from the oldest on, the MANIFEST last. */
static void check_logs(struct check *check)
{
    struct error err;
    if (os_dir_list(check->dir.engine_path, add_file, check, &err) != ERR_OK)
        inspect_found(&check->inspect, false, "%s", err.text);
    add_manifest(check);
    for (size_t i = 0; i < check->logs.count; i++)
        check_log(check, i);
    if (check->inspect.totals.finding_count == 0 &&
        rocks_records_check_syncs(check->dir.engine_path, &err) == ERR_CORRUPT) {
        inspect_found(&check->inspect, false, "%s", err.text);
        check->has_bad_log = true;
    }
}

static void check_files(struct check *check)
{
    struct error err;
    if (check->dir.engine)
        engine_rocks_visit_tables(check->dir.engine, add_live_table, check);
    progress_bar_init(&check->bar, "check", "files", 0);
    for (size_t i = 0; i < check->files.count; i++) {
        char *path = os_path_join(check->dir.engine_path, check->files.names[i]);
        bool live = !check->dir.engine || names_have(&check->live, check->files.names[i]);
        if (!live)
            inspect_found(&check->inspect, true, "%s belongs to nothing: left by a crash, or forgotten by the MANIFEST",
                          path);
        else if (rocks_table_check(path, &err) != ERR_OK)
            inspect_found(&check->inspect, false, "%s", err.text);
        free(path);
        check->table_count++;
        if (check->show_progress)
            progress_bar_update(&check->bar, i, i, check->files.count);
    }
    for (size_t i = 0; i < check->live.count; i++)
        if (!names_have(&check->files, check->live.names[i]))
            inspect_found(&check->inspect, false, "%s/%s is missing", check->dir.engine_path, check->live.names[i]);
}

/* ---- rows */

static void check_rows(struct check *check)
{
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        struct engine_rocks_family family;
        engine_rocks_family(check->dir.engine, (enum engine_cf)cf, &family);
        check->row_estimate += family.row_count;
    }
    progress_bar_init(&check->bar, "check", "rows", 0);
    check->inspect.engine = check->dir.engine;
    inspect_all(&check->inspect);
}

static void print_summary(struct check *check)
{
    const struct inspect_totals *totals = &check->inspect.totals;
    char size[32];
    if (check->json) {
        cJSON *all = cJSON_CreateObject();
        cJSON_AddNumberToObject(all, "rows", (double)totals->row_count);
        cJSON_AddNumberToObject(all, "bytes", (double)totals->size);
        cJSON_AddNumberToObject(all, "log_entries", (double)totals->log_count);
        cJSON_AddNumberToObject(all, "groups", (double)totals->group_count);
        cJSON_AddNumberToObject(all, "tables", (double)check->table_count);
        cJSON_AddNumberToObject(all, "findings", (double)totals->finding_count);
        cJSON_AddNumberToObject(all, "warnings", (double)totals->warning_count);
        cJSON_AddItemToObject(all, "list", check->json);
        check->json = NULL;
        cli_json_print(all);
        return;
    }
    cli_print_size(totals->size, size);
    printf("checked %" PRIu64 " rows, %s, %" PRIu64 " log entries of %" PRIu64 " groups, %" PRIu64 " files: %" PRIu64
           " findings, %" PRIu64 " warnings\n",
           totals->row_count, size, totals->log_count, totals->group_count, check->table_count, totals->finding_count,
           totals->warning_count);
}

static int check_dir(const struct command *command, const struct options *options, struct check *check)
{
    int code = store_dir_lock(command, options->data_dir, &check->dir);
    if (code != CLI_GO_ON)
        return code;
    check_logs(check);
    code = open_engine(check);
    if (code != CLI_GO_ON)
        return code;
    check_files(check);
    if (check->dir.engine)
        check_rows(check);
    if (check->show_progress)
        progress_bar_end(&check->bar);
    print_summary(check);
    return check->inspect.totals.finding_count > 0 ? CLI_FAILED : CLI_OK;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    struct check check = {.show_progress = options.progress};
    check.inspect = (struct inspect){.context = &check, .found = on_found, .progress = on_progress};
    if (options.output[0] == 'j')
        check.json = cJSON_CreateArray();
    code = check_dir(command, &options, &check);
    cJSON_Delete(check.json);
    names_fini(&check.live);
    names_fini(&check.files);
    names_fini(&check.logs);
    store_dir_close(&check.dir);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_store_check = {
    .name = "store check",
    .operands = "",
    .summary = "is all that a data directory holds sound?",
    .text =
        "Reads everything in the data directory of a storenode that does not run, compares every checksum, and holds "
        "rows\n"
        "against each other: tables, write-ahead log, Raft logs without holes, apply state, membership, regions, "
        "tokens,\n"
        "the user's rows. Says of each finding which file or row it is in, and goes on. Changes nothing.\n"
        "Warnings are what any crash may leave: tables that belong to nothing, a last record of a log that was cut.\n"
        "\n"
        "What it cannot see: a write-ahead log that ends between two records (a shorter one looks the same), and what "
        "the "
        "other\n"
        "replicas have. Of a file with a bad block, the blocks after it may be bad, too: the first one is told.\n"
        "It does not look at OPTIONS-* and IDENTITY: RocksDB writes them for people, and nothing ever reads them.\n"
        "\n"
        "Examples:\n"
        "  polder store check --data-dir polder-data/storenode-1/data\n"
        "  polder store check --data-dir /var/lib/polder --progress -o json\n"
        "\n"
        "Exit codes: 0 sound, 1 findings, 2 wrong usage, in use by a process, or not a storenode's directory.\n\n",
    CLI_TABLE(rows),
    .run = run,
};
