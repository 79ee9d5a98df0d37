#include "cluster_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { LOG_TAIL_SIZE = 16 * 1024 };

enum err cluster_run_start(struct cluster_process *process, struct error *err)
{
    char *program;
    enum err code = os_executable_path(&program, err);
    if (code != ERR_OK)
        return code;
    const char *argv[CLUSTER_ARG_MAX + 1] = {program};
    size_t count = 1;
    for (char *const *arg = process->args; *arg; arg++)
        argv[count++] = *arg;
    struct os_spawn_options options = {.argv = argv, .log_path = process->log, .detach = true};
    code = os_spawn(&options, &process->process, err);
    free(program);
    return code;
}

static enum err wait_or_kill(struct cluster_process *process, bool *ret_killed, struct error *err)
{
    *ret_killed = false;
    enum err code = os_process_wait(process->process, CLUSTER_STOP_TIMEOUT_MS, NULL, err);
    if (code != ERR_TIMEOUT)
        return code == ERR_NOT_FOUND ? ERR_OK : code;
    *ret_killed = true;
    code = os_process_kill(process->process, OS_KILL_NOW, err);
    if (code == ERR_OK)
        code = os_process_wait(process->process, CLUSTER_STOP_TIMEOUT_MS, NULL, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

enum err cluster_run_stop_one(struct cluster_process *process, enum os_kill how, bool *ret_killed, struct error *err)
{
    *ret_killed = false;
    /* A paused process would not hear it. */
    os_process_kill(process->process, OS_KILL_RESUME, NULL);
    enum err code = os_process_kill(process->process, how, err);
    if (code == ERR_NOT_FOUND)
        return ERR_OK;
    return code == ERR_OK ? wait_or_kill(process, ret_killed, err) : code;
}

/* All of one role (or all others) at once: they end side by side. */
static uint32_t stop_role(struct cluster_file *file, bool storenodes)
{
    uint32_t killed = 0;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < file->process_count; i++) {
            struct cluster_process *process = &file->processes[i];
            bool was_killed = false;
            if ((strcmp(process->role, "storenode") == 0) != storenodes)
                continue;
            if (round == 0) {
                os_process_kill(process->process, OS_KILL_RESUME, NULL);
                os_process_kill(process->process, OS_KILL_TERMINATE, NULL);
            } else {
                wait_or_kill(process, &was_killed, NULL);
            }
            killed += was_killed;
        }
    }
    return killed;
}

uint32_t cluster_run_stop(struct cluster_file *file)
{
    uint32_t killed = stop_role(file, true);
    return killed + stop_role(file, false);
}

void cluster_run_last_words(const struct cluster_process *process, char *text, size_t size)
{
    struct os_lines *lines;
    struct bytes line;
    text[0] = '\0';
    if (os_lines_open(process->log, LOG_TAIL_SIZE, &lines, NULL) != ERR_OK)
        return;
    uint64_t total = os_lines_size(lines);
    if (total > LOG_TAIL_SIZE)
        os_lines_skip(lines, total - LOG_TAIL_SIZE, NULL);
    for (enum err code; (code = os_lines_next(lines, &line, NULL)) == ERR_OK || code == ERR_ENTRY_TOO_LARGE;)
        if (code == ERR_OK && line.size)
            snprintf(text, size, "%.*s", (int)line.size, (const char *)line.data);
    os_lines_close(lines);
}
