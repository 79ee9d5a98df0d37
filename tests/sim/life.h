/* life: the whole life of a region as a script, and a crash at every write of it.
 *
 *   create -> load -> split -> a store stays away until the log is cut, and gets a snapshot -> a peer moves to another
 *   store -> a peer is removed, and one added -> read
 *
 * The writes of all disks are numbered in the order in which they happen. `crash_at` N: the node that makes write N dies
 * as that write is done: its disk keeps what was synced, or all (`loss`). It is started again a moment later, and the
 * script goes on: each step is asked for until it is done. At the end all that was acknowledged must be there, each
 * replica equal, the ranges covered, and no promise of Raft broken on the way (check_raft, check_region).
 *
 * Deterministic. Owner: one thread; nothing is kept between runs. */
#ifndef SIM_LIFE_H
#define SIM_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "env/engine_mem.h"

enum { LIFE_STEP_NAME_MAX = 32 };

struct life_options {
    uint64_t seed;
    uint64_t crash_at; /* 0: never */
    enum engine_mem_loss loss;
    void (*trace)(void *context, const char *line); /* NULL: none */
    void *trace_context;
};

struct life_result {
    bool failed;
    char failure[1024];
    uint64_t writes; /* that all disks got */
    uint64_t digest, virtual_us, snapshots;
    char crashed_node[16], crashed_in[LIFE_STEP_NAME_MAX]; /* "s2", "split"; empty: nobody crashed */
};

void life_run(const struct life_options *options, struct life_result *ret_result);

/* `polder sim life ...`; the exit code. */
int life_main(int argc, char **argv);

#endif
