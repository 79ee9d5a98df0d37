/* cmd_up: `polder up`: a whole cluster on this machine, from one command.
 *
 *   options + DIR/cluster.json -> plan (processes, ports) -> start -> DIR/cluster.json -> wait until ready -> screen
 *   then: --detach: leave; otherwise watch until Ctrl-C, and stop all processes that cluster.json names by then
 * (another `polder restart` may have replaced some).
 *
 * The processes do not depend on us: they have sessions of their own, so killing this one leaves the cluster running.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "client/polder.h"
#include "cluster_run.h"
#include "commands.h"
#include "view.h"

enum {
    PD_PORT = 2379,
    PD_STATUS_PORT = 2381,
    STORE_PORT = 20160,
    STORE_STATUS_PORT = 20180,
    STORE_STATUS_PORT_MANY = 20240, /* when the stores' own ports reach into the others */
    PD_PORT_STEP = 10,              /* between two pds */
    PDS_MAX = 5,
    STORES_MAX = CLUSTER_PROCESS_MAX - PDS_MAX,
    READY_POLL_MS = 20,
    REGISTERED_POLL_MS = 2,
    REGISTERED_DEADLINE_MS = 50,
    WATCH_INTERVAL_MS = 500,
};

/* What starting needs besides the plan. */
struct start {
    struct polder *polder; /* owned */
    struct os_signals *signals;
    uint64_t started_us;
    bool is_new; /* there was no cluster in the directory */
};

struct options {
    uint32_t pds, stores, regions, replicas, port_offset;
    char *dir;
    bool detach;
    uint64_t timeout_ms;
};

static const struct setting rows[] = {
    {.key = "pds",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, pds),
     .default_text = "1",
     .min = 1,
     .max = PDS_MAX,
     .help = "members of pd: 1, 3 or 5"},
    {.key = "stores",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, stores),
     .default_text = "3",
     .min = 1,
     .max = STORES_MAX,
     .help = "storenodes"},
    {.key = "regions",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, regions),
     .default_text = "16",
     .min = 1,
     .max = 65536,
     .help = "first regions, spread over the key space"},
    {.key = "replicas",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, replicas),
     .default_text = "0",
     .max = 9,
     .help = "copies of each region; 0: 3, or as many as there are stores"},
    {.key = "dir",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, dir),
     .default_text = "./polder-data",
     .value_name = "DIR",
     .help = "data, logs and cluster.json; an existing cluster starts again"},
    {.key = "port-offset",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, port_offset),
     .default_text = "0",
     .max = 45000,
     .help =
         "added to the ports 2379 and 2381 (pd; 10 more for each other one), 20160, ... and 20180, ... (storenodes)"},
    {.key = "detach",
     .letter = 'd',
     .type = SETTING_BOOL,
     SETTING_FIELD(struct options, detach),
     .default_text = "false",
     .help = "return when the cluster is ready; polder down stops it"},
    {.key = "timeout",
     .type = SETTING_DURATION,
     SETTING_FIELD(struct options, timeout_ms),
     .default_text = "60s",
     .min = 100,
     .help = "how long it may take to become ready"},
};

static char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *format_text(const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    CHECK(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    return text;
}

/* ---- the plan */

static void add_arg(struct cluster_process *process, char *take_text)
{
    size_t count = 0;
    while (process->args[count])
        count++;
    CHECK(count + 1 < CLUSTER_ARG_MAX);
    process->args[count] = take_text;
}

static void add_flag(struct cluster_process *process, const char *flag, char *take_value)
{
    add_arg(process, format_text("%s", flag));
    add_arg(process, take_value);
}

static struct cluster_process *plan_process(struct cluster_file *file, const char *dir, const char *role, uint32_t id,
                                            uint32_t port, uint32_t status_port)
{
    struct cluster_process *process = &file->processes[file->process_count++];
    snprintf(process->role, sizeof process->role, "%s", role);
    process->id = id;
    process->address = format_text("tcp://127.0.0.1:%u", port);
    process->status_address = format_text("http://127.0.0.1:%u", status_port);
    process->data_dir = format_text("%s/%s-%u/data", dir, role, id);
    process->log = format_text("%s/%s-%u/log", dir, role, id);
    add_arg(process, format_text("%s", role));
    add_flag(process, "--data-dir", format_text("%s", process->data_dir));
    add_flag(process, "--address", format_text("%s", process->address));
    add_flag(process, "--status-address", format_text("%s", process->status_address));
    return process;
}

static uint32_t pd_port_of(const struct options *options, uint32_t id)
{
    return PD_PORT + (id - 1) * PD_PORT_STEP + options->port_offset;
}

static uint32_t pd_status_port_of(const struct options *options, uint32_t id)
{
    return PD_STATUS_PORT + (id - 1) * PD_PORT_STEP + options->port_offset;
}

static uint32_t port_of(const struct options *options, uint32_t id)
{
    return STORE_PORT + id - 1 + options->port_offset;
}

static uint32_t status_port_of(const struct options *options, uint32_t id)
{
    uint32_t first = options->stores > STORE_STATUS_PORT - STORE_PORT ? STORE_STATUS_PORT_MANY : STORE_STATUS_PORT;
    return first + id - 1 + options->port_offset;
}

/* "tcp://...,tcp://..."; with the beginning of names, "NAME1=tcp://...,..." */
static char *list_pds(const struct options *options, const char *name)
{
    char *list = format_text("%s", "");
    for (uint32_t i = 1; i <= options->pds; i++) {
        char number[16] = "", *longer;
        if (*name)
            snprintf(number, sizeof number, "%u=", i);
        longer =
            format_text("%s%s%s%stcp://127.0.0.1:%u", list, i > 1 ? "," : "", name, number, pd_port_of(options, i));
        free(list);
        list = longer;
    }
    return list;
}

static void plan_pd(const struct options *options, const char *dir, struct cluster_file *file, uint32_t id)
{
    struct cluster_process *pd =
        plan_process(file, dir, "pd", id, pd_port_of(options, id), pd_status_port_of(options, id));
    add_flag(pd, "--name", format_text("pd-%u", id));
    add_flag(pd, "--bootstrap-stores", format_text("%u", file->stores));
    add_flag(pd, "--bootstrap-regions", format_text("%u", file->regions));
    add_flag(pd, "--replicas", format_text("%u", file->replicas));
    if (options->pds > 1)
        add_flag(pd, "--initial-cluster", list_pds(options, "pd-"));
}

static void plan(const struct options *options, const char *dir, struct cluster_file *file)
{
    memset(file, 0, sizeof *file);
    file->stores = options->stores;
    file->regions = options->regions;
    file->replicas = options->replicas ? options->replicas : options->stores < 3 ? options->stores : 3;
    file->port_offset = options->port_offset;
    file->pds = options->pds;
    for (uint32_t i = 1; i <= options->pds; i++)
        plan_pd(options, dir, file, i);
    file->pd = list_pds(options, "");
    for (uint32_t i = 1; i <= options->stores; i++)
        add_flag(plan_process(file, dir, "storenode", i, port_of(options, i), status_port_of(options, i)), "--pd",
                 format_text("%s", file->pd));
}

/* An existing cluster keeps its shape: taken over where nothing was said, refused where something else was. */
static enum err adopt_existing(const struct settings *settings, const char *dir, struct options *options,
                               bool *ret_is_new, struct error *err)
{
    char *path = cluster_file_path(dir);
    bool exists = os_exists(path);
    free(path);
    *ret_is_new = !exists;
    if (!exists)
        return ERR_OK;
    struct cluster_file old;
    enum err code = cluster_file_read(dir, &old, err);
    if (code != ERR_OK)
        return code;
    uint32_t alive = cluster_file_alive_count(&old);
    if (alive)
        code = error_set(err, ERR_LOCKED,
                         "the cluster in %s is already running (%u of %u processes); stop it: polder down --dir %s",
                         dir, alive, old.process_count, dir);
    const struct {
        const char *key;
        uint32_t was;
        uint32_t *now;
    } shape[] = {{"pds", old.pds, &options->pds},
                 {"stores", old.stores, &options->stores},
                 {"regions", old.regions, &options->regions},
                 {"replicas", old.replicas, &options->replicas}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0] && code == ERR_OK; i++) {
        if (settings_is_set(settings, shape[i].key) && *shape[i].now != shape[i].was)
            code = error_set(err, ERR_INVALID,
                             "--%s %u: the cluster in %s was made with %u; leave the flag out or choose another --dir",
                             shape[i].key, *shape[i].now, dir, shape[i].was);
        *shape[i].now = shape[i].was;
    }
    if (!settings_is_set(settings, "port-offset"))
        options->port_offset = old.port_offset;
    cluster_file_fini(&old);
    return code;
}

static enum err check_port(const struct options *options, const char *role, uint32_t id, uint32_t port,
                           struct error *err)
{
    if (port > 65535)
        return error_set(err, ERR_INVALID, "--port-offset %u: %s %u would need port %u", options->port_offset, role, id,
                         port);
    if (!os_port_is_free("127.0.0.1", (uint16_t)port))
        return error_set(
            err, ERR_LOCKED,
            "port %u of 127.0.0.1, for %s %u, is in use by another process; choose others with --port-offset N", port,
            role, id);
    return ERR_OK;
}

static enum err check_ports(const struct options *options, struct error *err)
{
    enum err code = ERR_OK;
    for (uint32_t i = 1; i <= options->pds && code == ERR_OK; i++) {
        code = check_port(options, "pd", i, pd_port_of(options, i), err);
        if (code == ERR_OK)
            code = check_port(options, "pd", i, pd_status_port_of(options, i), err);
    }
    for (uint32_t i = 1; i <= options->stores && code == ERR_OK; i++) {
        code = check_port(options, "storenode", i, port_of(options, i), err);
        if (code == ERR_OK)
            code = check_port(options, "storenode", i, status_port_of(options, i), err);
    }
    if (code == ERR_OK && options->pds % 2 == 0)
        code = error_set(err, ERR_INVALID, "--pds %u: 1, 3 or 5 can lose 0, 1 or 2", options->pds);
    return code;
}

/* ---- start and wait */

/* NULL while all that were started are alive. */
static const struct cluster_process *find_dead(const struct cluster_file *file)
{
    for (uint32_t i = 0; i < file->process_count; i++)
        if (file->processes[i].process.pid != 0 && !os_process_is_alive(file->processes[i].process))
            return &file->processes[i];
    return NULL;
}

static enum err report_dead(const struct cluster_process *process, struct error *err)
{
    char words[400];
    cluster_run_last_words(process, words, sizeof words);
    return error_set(err, ERR_CLOSED, "%s %u did not start: %s (log: %s)", process->role, process->id,
                     words[0] ? words : "it said nothing", process->log);
}

static enum err start_one(const char *dir, struct cluster_file *file, struct cluster_process *process,
                          struct error *err)
{
    enum err code = os_dir_make(process->data_dir, err);
    if (code == ERR_OK)
        code = cluster_run_start(process, err);
    if (code != ERR_OK)
        return error_wrap(err, "start %s %u", process->role, process->id), code;
    printf("%-9s %-3u pid %-8d %-26s %-26s %s\n", process->role, process->id, process->process.pid, process->address,
           process->status_address, process->data_dir);
    fflush(stdout);
    /* Those that run are in it from now on, so that `polder down` finds them if we do not come to the end. */
    struct cluster_file started = *file;
    started.process_count = (uint32_t)(process - file->processes) + 1;
    return cluster_file_write(dir, &started, err);
}

/* Short: a question that was asked before pd listened waits for the next attempt to connect, a new one does not. */
static uint32_t count_registered(struct polder *polder)
{
    struct polder_call call = {.size = sizeof call, .deadline_ms = REGISTERED_DEADLINE_MS};
    struct polder_result *result = polder_cluster_stores(polder, &call);
    uint32_t count = result->cluster ? (uint32_t)result->cluster->store_count : 0;
    polder_result_free(result);
    return count;
}

/* pd numbers stores as they come. In a new cluster each waits for the one before it: then store 2 of `polder status` is
 * storenode 2 of cluster.json, and of `polder restart --id 2`. */
static enum err wait_registered(const struct options *options, const struct cluster_file *file, uint32_t count,
                                struct start *start, struct error *err)
{
    while (count_registered(start->polder) < count) {
        const struct cluster_process *dead = find_dead(file);
        if (dead)
            return report_dead(dead, err);
        if (os_monotonic_us() > start->started_us + options->timeout_ms * 1000)
            return error_set(err, ERR_TIMEOUT, "not ready after %" PRIu64 " s: pd does not know storenode %u",
                             options->timeout_ms / 1000, count);
        if (os_signals_wait(start->signals, REGISTERED_POLL_MS) == OS_SIGNAL_STOP)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return ERR_OK;
}

static enum err start_all(const char *dir, const struct options *options, struct cluster_file *file,
                          struct start *start, struct error *err)
{
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < file->process_count && code == ERR_OK; i++) {
        struct cluster_process *process = &file->processes[i];
        if (start->is_new && strcmp(process->role, "storenode") == 0 && process->id > 1)
            code = wait_registered(options, file, process->id - 1, start, err);
        if (code == ERR_OK)
            code = start_one(dir, file, process, err);
    }
    if (code != ERR_OK)
        cluster_run_stop(file);
    return code;
}

/* Ready: all stores up, every region with a leader. ERR_CANCELLED: Ctrl-C. */
static enum err wait_ready(const struct options *options, const struct cluster_file *file, struct polder *polder,
                           struct os_signals *signals, struct error *err)
{
    uint64_t end_us = os_monotonic_us() + options->timeout_ms * 1000;
    for (;;) {
        struct view view;
        view_load(polder, 500, &view);
        bool ready = view.health == VIEW_HEALTHY && view.up_count >= file->stores;
        char reason[sizeof view.reason];
        memcpy(reason, view.reason, sizeof reason);
        view_fini(&view);
        if (ready)
            return ERR_OK;
        const struct cluster_process *dead = find_dead(file);
        if (dead)
            return report_dead(dead, err);
        if (os_monotonic_us() > end_us)
            return error_set(err, ERR_TIMEOUT, "not ready after %" PRIu64 " s: %s", options->timeout_ms / 1000, reason);
        if (os_signals_wait(signals, READY_POLL_MS) == OS_SIGNAL_STOP)
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
}

/* ---- afterwards */

/* Whatever cluster.json names now: processes may have been restarted meanwhile. */
static uint32_t stop_all(const char *dir, struct cluster_file *started)
{
    struct cluster_file file;
    if (cluster_file_read(dir, &file, NULL) != ERR_OK)
        return cluster_run_stop(started);
    uint32_t killed = cluster_run_stop(&file);
    cluster_file_fini(&file);
    return killed;
}

/* Says once when a process ends (and again when it came back and ended). */
static void watch(const char *dir, struct os_signals *signals)
{
    int32_t reported[CLUSTER_PROCESS_MAX] = {0};
    while (os_signals_wait(signals, WATCH_INTERVAL_MS) != OS_SIGNAL_STOP) {
        struct cluster_file file;
        if (cluster_file_read(dir, &file, NULL) != ERR_OK)
            continue;
        uint32_t alive = cluster_file_alive_count(&file);
        for (uint32_t i = 0; i < file.process_count; i++) {
            struct cluster_process *process = &file.processes[i];
            if (reported[i] == process->process.pid || os_process_is_alive(process->process))
                continue;
            reported[i] = process->process.pid;
            os_process_wait(process->process, 0, NULL, NULL); /* reaps it, if it was our child */
            fprintf(stderr, "%s %u (pid %d) ended; start it again: polder restart --dir %s --role %s --id %u\n",
                    process->role, process->id, process->process.pid, dir, process->role, process->id);
        }
        cluster_file_fini(&file);
        if (alive == 0) {
            printf("all processes have ended\n");
            return;
        }
    }
}

static int serve(const struct command *command, const struct options *options, const char *dir,
                 struct cluster_file *file, const struct start *start)
{
    struct error err;
    enum err code = wait_ready(options, file, start->polder, start->signals, &err);
    if (code != ERR_OK) {
        cli_complain(command, "%s", err.text);
        stop_all(dir, file);
        return CLI_FAILED;
    }
    struct view view;
    uint64_t took_ms = (os_monotonic_us() - start->started_us) / 1000;
    view_load(start->polder, 3000, &view);
    printf("\n");
    view_print(&view);
    view_fini(&view);
    printf("\nready in %" PRIu64 ".%02" PRIu64 " s; pd is at %s, its status at %s\n", took_ms / 1000,
           took_ms % 1000 / 10, file->pd, file->processes[0].status_address);
    if (options->detach) {
        printf("stop it: polder down --dir %s\n", dir);
        return CLI_OK;
    }
    printf("Ctrl-C stops the cluster\n");
    fflush(stdout);
    watch(dir, start->signals);
    printf("stopping\n");
    fflush(stdout);
    uint32_t killed = stop_all(dir, file);
    if (killed)
        cli_complain(command, "%u processes did not end in %d s and were killed", killed,
                     CLUSTER_STOP_TIMEOUT_MS / 1000);
    else
        printf("stopped\n");
    return killed ? CLI_FAILED : CLI_OK;
}

static enum err prepare(const struct settings *settings, struct options *options, const char *dir,
                        struct os_lock **ret_lock, bool *ret_is_new, struct error *err)
{
    enum err code = os_lock_dir(dir, ret_lock, err);
    if (code == ERR_OK)
        code = adopt_existing(settings, dir, options, ret_is_new, err);
    if (code == ERR_OK && options->replicas > options->stores)
        code =
            error_set(err, ERR_INVALID, "--replicas %u: there are only %u stores", options->replicas, options->stores);
    if (code == ERR_OK)
        code = check_ports(options, err);
    return code;
}

/* The first start; afterwards cluster.json is the truth, and restart and down may have it. */
static int plan_and_start(const struct command *command, const struct settings *settings, struct options *options,
                          const char *dir, struct cluster_file *file, struct start *start)
{
    struct error err;
    struct os_lock *lock = NULL;
    int exit_code = CLI_GO_ON;
    enum err code = prepare(settings, options, dir, &lock, &start->is_new, &err);
    if (code == ERR_OK) {
        plan(options, dir, file);
        struct cli_client client = {.pd = file->pd, .deadline_ms = 1000};
        exit_code = cli_open(command, &client, &start->polder);
        if (exit_code == CLI_GO_ON)
            code = start_all(dir, options, file, start, &err);
    }
    os_unlock(lock);
    if (code == ERR_OK)
        return exit_code;
    cli_complain(command, "%s", err.text);
    return code == ERR_INVALID ? CLI_USAGE : CLI_FAILED;
}

static int up(const struct command *command, const struct settings *settings, struct options *options,
              struct os_signals *signals)
{
    struct error err;
    struct cluster_file file = {0};
    struct start start = {.signals = signals, .started_us = os_monotonic_us()};
    char *dir = NULL;
    int exit_code = CLI_FAILED;
    if (os_dir_make(options->dir, &err) == ERR_OK && os_path_absolute(options->dir, &dir, &err) == ERR_OK)
        exit_code = plan_and_start(command, settings, options, dir, &file, &start);
    else
        cli_complain(command, "%s", err.text);
    if (exit_code == CLI_GO_ON)
        exit_code = serve(command, options, dir, &file, &start);
    polder_close(start.polder);
    cluster_file_fini(&file);
    free(dir);
    return exit_code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct os_signals *signals;
    struct error err;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    if (os_signals_open(&signals, &err) == ERR_OK) {
        code = up(command, settings, &options, signals);
        os_signals_close(signals);
    } else {
        cli_complain(command, "%s", err.text);
        code = CLI_FAILED;
    }
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_up = {
    .name = "up",
    .operands = "",
    .summary = "start a cluster on this machine",
    .text = "Starts pd and some storenodes as processes of their own, waits until every region has a leader, shows "
            "the status and\n"
            "stays until Ctrl-C, which stops them all. DIR/cluster.json names the processes; their logs are in "
            "DIR/<role>-<id>/log.\n"
            "POLDER_* variables reach the processes: POLDER_LOG_LEVEL=debug polder up.\n"
            "\n"
            "Examples:\n"
            "  polder up\n"
            "  polder up --stores 5 --regions 64 --dir /tmp/demo --port-offset 1000 --detach\n"
            "\n"
            "Exit codes: 0 stopped by Ctrl-C (or ready, with --detach), 1 did not start, 2 wrong usage.\n\n",
    CLI_TABLE(rows),
    .run = run,
};
