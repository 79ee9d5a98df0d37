/* batch: many seeds, a process for each, so that one that breaks takes nobody along.
 *
 * A share of the seeds (all whose number is a multiple of BATCH_TWICE_EVERY) is run twice, and the digests of the two
 * runs must be equal: a simulator that is not deterministic proves nothing.
 *
 * Owner: the thread that calls. */
#ifndef SIM_BATCH_H
#define SIM_BATCH_H

#include <stdio.h>

#include "run.h"

enum { BATCH_JOBS_MAX = 64, BATCH_TWICE_EVERY = 50 };

struct batch_settings {
    struct run_options run; /* but the seed */
    uint64_t first, last;
    uint32_t jobs;
    bool twice, verbose, quiet, json, shrink;
    const char *trace_path; /* NULL: none */
    const char *bug;        /* NULL: none; for the command that repeats */
};

/* What became of one seed. */
struct batch_outcome {
    bool failed;
    char failure[1200];
    char checker[64]; /* who found it: "raft: R3", "linear", "signal 6": equal for equal kinds of failure */
    bool complete;    /* `result` is filled */
    bool ran_twice;
    struct run_result result;
};

struct batch_totals {
    uint64_t seeds, failed, twice, virtual_us, events, done, unknown, undecided;
    struct check_raft_counts raft;
    struct store_sleep_counts sleep;
    struct store_snapshot_counts snapshots;
    struct store_damage_counts damage;
    struct store_merge_counts merges;
    uint64_t pds_replaced;
    uint64_t operators;
    struct coverage coverage;
    uint64_t by_op[COVERAGE_OP_COUNT];
    uint64_t recovery_max_us, recovery_seed;
    uint64_t digest; /* of all seeds, whatever the order of the jobs */
    double real_s, cpu_s; /* cpu_s: of all processes; the machine may have had other things to do */
};

/* The exit code: 0 if all promises were kept, and (from 1000 seeds on) no fault class was dead. */
int batch_run(const struct batch_settings *settings);

/* One seed in a process of its own, silently. */
void batch_run_one(const struct batch_settings *settings, const struct run_options *options, uint64_t seed,
                   struct batch_outcome *ret_outcome);

/* `polder sim --seed ...`: all that decides what happens. */
void batch_print_command(const struct batch_settings *settings, const struct run_options *options, uint64_t seed,
                         FILE *out);

#endif
