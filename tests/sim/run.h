/* run: one seed from beginning to end.
 *
 *   bootstrap  pd and stores start, the first regions are made
 *   safety     the workload runs while faults happen; the checkers look on
 *   liveness   everything is healed: within LIVENESS_US each client must write and read each key, and all
 *              replicas must come to hold the same
 *   verdict    the history must be linearizable, the ranges must cover the key space
 *
 * Deterministic: equal options give equal results, digest included. Owner: one thread; nothing is kept between runs. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "check_raft.h"
#include "swarm.h"
#include "net_sim.h"
#include "workload.h"

struct run_options {
    uint64_t seed;
    uint32_t stores, clients, regions, pds; /* 0: the seed decides */
    uint32_t seconds;                  /* of the safety phase */
    bool faults;
    uint64_t fault_allowed, fault_forced;           /* masks of enum fault_kind */
    void (*trace)(void *context, const char *line); /* NULL: none */
    void *trace_context;
    const char *history_path; /* NULL: none */
};

struct run_result {
    bool failed;
    char failure[1024];                /* "checker: what", see run_checker_of */
    uint32_t stores, clients, regions, pds; /* as run */
    uint64_t failed_region;
    uint64_t digest;
    uint64_t virtual_us, events;
    struct check_raft_counts raft;
    struct store_sleep_counts sleep;
    struct store_snapshot_counts snapshots;
    struct store_damage_counts damage;
    struct store_merge_counts merges;
    uint64_t operators; /* that pd's policies began, as far as people saw it */
    uint64_t linear_steps;
    bool linear_undecided;
    uint64_t recovery_us;      /* from heal to the last probe */
    uint32_t most_idle_rounds; /* see exec_sim.h */
    char most_idle_rounds_of[48];
    struct workload_counts ops;
    struct net_counts net;
    struct coverage coverage;
    uint64_t fault_mask;
    uint64_t pds_replaced; /* members that came back as others, with an empty disk */
};

void run_seed(const struct run_options *options, struct run_result *ret_result);

#endif
