/* cluster_run: starts and stops the processes of a cluster.json. All of them are this same program. */
#ifndef TOOLS_CLUSTER_RUN_H
#define TOOLS_CLUSTER_RUN_H

#include "cluster_file.h"

enum { CLUSTER_STOP_TIMEOUT_MS = 10000 };

/* Fills process->process. The process outlives us and does not hear our Ctrl-C. */
enum err cluster_run_start(struct cluster_process *process, struct error *err);
/* Asks all to end, waits, kills what is still there after CLUSTER_STOP_TIMEOUT_MS. Storenodes first, so that pd hears
 * of it. Returns how many had to be killed. */
uint32_t cluster_run_stop(struct cluster_file *file);
enum err cluster_run_stop_one(struct cluster_process *process, enum os_kill how, bool *ret_killed, struct error *err);
/* The last line of its log, cut to `size`; "" if there is none. */
void cluster_run_last_words(const struct cluster_process *process, char *text, size_t size);

#endif
