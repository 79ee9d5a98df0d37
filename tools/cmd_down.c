/* cmd_down: `polder down` and `polder restart`: the processes that DIR/cluster.json names. */
#include <stdlib.h>
#include <string.h>

#include "client/polder.h"
#include "cluster_run.h"
#include "commands.h"

enum { LOCK_TRIES = 50, LOCK_PAUSE_MS = 100, UP_POLL_MS = 20 };

struct options {
    char *dir;
    char *role;
    uint32_t id;
    char *signal;
    uint64_t timeout_ms;
};

/* Another `restart` may hold it for a moment. */
static enum err lock_cluster(const char *dir, struct os_lock **ret_lock, struct error *err)
{
    enum err code = ERR_OK;
    for (int i = 0; i < LOCK_TRIES; i++) {
        code = os_lock_dir(dir, ret_lock, err);
        if (code != ERR_LOCKED)
            break;
        os_sleep_ms(LOCK_PAUSE_MS);
    }
    return code;
}

static enum err open_cluster(const char *dir, struct cluster_file *file, struct os_lock **ret_lock, struct error *err)
{
    enum err code = cluster_file_read(dir, file, err);
    if (code != ERR_OK)
        return code;
    code = lock_cluster(dir, ret_lock, err);
    cluster_file_fini(file);
    /* Again, under the lock. */
    return code == ERR_OK ? cluster_file_read(dir, file, err) : code;
}

/* ---- down */

static const struct setting down_rows[] = {
    {.key = "dir",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, dir),
     .default_text = "./polder-data",
     .value_name = "DIR",
     .help = "directory of the cluster"},
};

static int down(const struct command *command, const char *dir)
{
    struct cluster_file file;
    struct os_lock *lock = NULL;
    struct error err;
    enum err code = open_cluster(dir, &file, &lock, &err);
    if (code != ERR_OK) {
        cli_complain(command, "%s", err.text);
        return code == ERR_NOT_FOUND ? CLI_USAGE : CLI_FAILED;
    }
    uint32_t alive = cluster_file_alive_count(&file);
    uint32_t killed = cluster_run_stop(&file);
    uint32_t left = cluster_file_alive_count(&file);
    cluster_file_fini(&file);
    os_unlock(lock);
    if (killed)
        cli_complain(command, "%u processes did not end in %d s and were killed", killed,
                     CLUSTER_STOP_TIMEOUT_MS / 1000);
    if (left)
        cli_complain(command, "%u processes are still there", left);
    else
        printf(alive ? "stopped %u processes\n" : "nothing was running\n", alive);
    return killed || left ? CLI_FAILED : CLI_OK;
}

static int run_down(const struct command *command, int argc, char **argv)
{
    struct options options = {0};
    struct settings *settings;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = down(command, options.dir);
    settings_fini_target(down_rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_down = {
    .name = "down",
    .operands = "",
    .summary = "stop a cluster that polder up started",
    .text =
        "Asks all processes of DIR/cluster.json to end; those that have not after 10 s are killed. The data stays: "
        "polder up --dir\n"
        "DIR starts the same cluster again.\n"
        "\n"
        "Examples:\n"
        "  polder down --dir ./polder-data\n"
        "\n"
        "Exit codes: 0 stopped (or was not running), 1 some had to be killed, 2 wrong usage or no cluster there.\n\n",
    CLI_TABLE(down_rows),
    .run = run_down,
};

/* ---- restart */

static const struct setting restart_rows[] = {
    {.key = "dir",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, dir),
     .default_text = "./polder-data",
     .value_name = "DIR",
     .help = "directory of the cluster"},
    {.key = "role",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, role),
     .default_text = "storenode",
     .choices = "pd|storenode",
     .help = "what to restart"},
    {.key = "id",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, id),
     .default_text = "1",
     .min = 1,
     .max = CLUSTER_PROCESS_MAX,
     .help = "which one, as cluster.json numbers them"},
    {.key = "signal",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, signal),
     .default_text = "TERM",
     .choices = "TERM|KILL",
     .help = "how to stop it"},
    {.key = "timeout",
     .type = SETTING_DURATION,
     SETTING_FIELD(struct options, timeout_ms),
     .default_text = "30s",
     .help = "how long it may take until it serves again; 0s: do not wait"},
};

/* pd has heard of the store since `since_ms`: it runs, and it is the new process that does. */
static bool store_is_back(struct polder *polder, const char *address, uint64_t since_ms)
{
    struct polder_call call = {.size = sizeof call, .deadline_ms = 500};
    struct polder_result *result = polder_cluster_stores(polder, &call);
    bool back = false;
    for (size_t i = 0; result->outcome == POLDER_DONE && i < result->cluster->store_count; i++) {
        const struct polder_store *store = &result->cluster->stores[i];
        back = back || (strcmp(store->address, address) == 0 && store->state == POLDER_STORE_UP &&
                        store->started_at_ms >= since_ms);
    }
    polder_result_free(result);
    return back;
}

static bool pd_is_back(struct polder *polder)
{
    struct polder_call call = {.size = sizeof call, .deadline_ms = 500};
    struct polder_result *result = polder_cluster_info(polder, &call);
    bool back = result->outcome == POLDER_DONE;
    polder_result_free(result);
    return back;
}

static enum err wait_back(const struct cluster_process *process, struct polder *polder, uint64_t since_ms,
                          uint64_t timeout_ms, struct error *err)
{
    uint64_t end_us = os_monotonic_us() + timeout_ms * 1000;
    while (timeout_ms) {
        if (strcmp(process->role, "pd") == 0 ? pd_is_back(polder) : store_is_back(polder, process->address, since_ms))
            return ERR_OK;
        if (!os_process_is_alive(process->process)) {
            char words[400];
            cluster_run_last_words(process, words, sizeof words);
            return error_set(err, ERR_CLOSED, "%s %u did not start: %s (log: %s)", process->role, process->id, words,
                             process->log);
        }
        if (os_monotonic_us() > end_us)
            return error_set(err, ERR_TIMEOUT, "%s %u does not serve yet (log: %s)", process->role, process->id,
                             process->log);
        os_sleep_ms(UP_POLL_MS);
    }
    return ERR_OK;
}

static enum err restart_process(const struct options *options, struct cluster_file *file,
                                struct cluster_process *process, struct error *err)
{
    bool killed;
    enum os_kill how = strcmp(options->signal, "KILL") == 0 ? OS_KILL_NOW : OS_KILL_TERMINATE;
    int32_t before = process->process.pid;
    enum err code = cluster_run_stop_one(process, how, &killed, err);
    if (code == ERR_OK)
        code = cluster_run_start(process, err);
    if (code == ERR_OK)
        code = cluster_file_write(options->dir, file, err);
    if (code == ERR_OK)
        printf("%s %u: pid %d is now pid %d%s\n", process->role, process->id, before, process->process.pid,
               killed ? " (it did not end by itself and was killed)" : "");
    fflush(stdout);
    return code;
}

static int restart(const struct command *command, const struct options *options)
{
    struct cluster_file file;
    struct os_lock *lock = NULL;
    struct polder *polder = NULL;
    struct error err;
    uint64_t since_ms = os_wall_ms(), started_us = os_monotonic_us();
    enum err code = open_cluster(options->dir, &file, &lock, &err);
    if (code != ERR_OK) {
        cli_complain(command, "%s", err.text);
        return code == ERR_NOT_FOUND ? CLI_USAGE : CLI_FAILED;
    }
    struct cluster_process *process = cluster_file_find(&file, options->role, options->id);
    if (!process)
        code = error_set(&err, ERR_INVALID, "there is no %s %u in %s", options->role, options->id, options->dir);
    else
        code = restart_process(options, &file, process, &err);
    os_unlock(lock);
    struct cli_client client = {.pd = file.pd, .deadline_ms = 1000};
    if (code == ERR_OK && cli_open(command, &client, &polder) == CLI_GO_ON)
        code = wait_back(process, polder, since_ms, options->timeout_ms, &err);
    if (code == ERR_OK && polder && options->timeout_ms)
        printf("it serves again, %llu ms after the command\n",
               (unsigned long long)((os_monotonic_us() - started_us) / 1000));
    polder_close(polder);
    cluster_file_fini(&file);
    if (code != ERR_OK)
        cli_complain(command, "%s", err.text);
    return code == ERR_OK ? CLI_OK : code == ERR_INVALID ? CLI_USAGE : CLI_FAILED;
}

static int run_restart(const struct command *command, int argc, char **argv)
{
    struct options options = {0};
    struct settings *settings;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = restart(command, &options);
    settings_fini_target(restart_rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_restart = {
    .name = "restart",
    .operands = "",
    .summary = "stop one process of a cluster and start it again",
    .text = "Stops the process (one that is dead already is fine), starts it with the same flags, updates cluster.json "
            "and waits until\n"
            "it serves again.\n"
            "\n"
            "Examples:\n"
            "  polder restart --id 2\n"
            "  polder restart --dir /tmp/demo --role storenode --id 3 --signal KILL\n"
            "\n"
            "Exit codes: 0 it serves again, 1 it does not, 2 wrong usage or no such process.\n\n",
    CLI_TABLE(restart_rows),
    .run = run_restart,
};
