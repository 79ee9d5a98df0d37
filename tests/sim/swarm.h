/* swarm: all that a seed decides before the first event: sizes, speeds, and which kinds of fault exist at all.
 *
 * Groce et al. 2012: random tests that leave out some features at random find more than those that always use all of
 * them. So each kind of fault is off in about half of the seeds, and limits are sometimes absurdly small.
 *
 * The fault atlas. Each is something that happens to real clusters; nothing here may ever excuse a lost write:
 *   process    a process is killed and started again       machine   the same, and unsynced writes and connections die
 *   all        all stores' machines at once (power)        pause     SIGSTOP, then its clock has jumped
 *   isolate    a node hears and reaches nobody             one-way   it is heard, but hears nobody, or the reverse
 *   pair       two nodes cannot reach each other           cut       connections are reset
 *   slow       a path is slow for a while                  spikes    now and then a frame is late
 *   drop, repeat, reorder   of single raft frames          disk      syncs take up to seconds for a while
 *   clock      a node's clock runs 1 % fast or slow        wall      its wall clock is stepped
 *   stall      threads sleep for long                      pd        pd is killed and started again
 *   client     a client dies and another takes its place   eio       a write fails; the store must stop
 *   full       the disk is full for a while        split     stores fall apart in two groups; clients and pd reach one
 * or both aimed      a machine dies, quickly to come back, just as it gives or asks for a vote, or says first that it
 * leads
 *
 * Half of what happens to a store happens to one that leads. */
#ifndef SIM_SWARM_H
#define SIM_SWARM_H

#include <stdbool.h>
#include <stdint.h>

#include "net_sim.h"
#include "exec_sim.h"

enum fault_kind {
    FAULT_PROCESS,
    FAULT_MACHINE,
    FAULT_ALL,
    FAULT_PAUSE,
    FAULT_ISOLATE,
    FAULT_ONE_WAY,
    FAULT_PAIR,
    FAULT_CUT,
    FAULT_SLOW,
    FAULT_SPIKES,
    FAULT_DROP,
    FAULT_REPEAT,
    FAULT_REORDER,
    FAULT_DISK,
    FAULT_CLOCK,
    FAULT_WALL,
    FAULT_STALL,
    FAULT_PD,
    FAULT_CLIENT,
    FAULT_EIO,
    FAULT_FULL,
    FAULT_SPLIT,
    FAULT_AIMED,
    FAULT_KIND_COUNT
};

const char *fault_name(enum fault_kind kind);
/* "pause,disk" to bits of 1 << kind; false: a name is not known. */
bool fault_mask_parse(const char *text, uint32_t *ret_mask);

struct swarm {
    uint32_t fault_mask;
    uint32_t fault_interval_ms; /* mean time between two faults */
    struct sim_timing timing;
    struct net_options net; /* with spikes, drop, repeat, reorder as drawn; used during the fault phase */
    uint32_t sync_min_us, sync_max_us, sync_slow_per_10000, sync_slow_us;
    /* store config */
    uint32_t region_workers, read_workers;
    uint64_t tick_ms;
    uint32_t heartbeat_ticks, election_ticks;
    bool lease_read;
    uint64_t lease_ms;
    uint32_t mailbox_max, region_proposals_max, inflight_count_max;
    uint64_t inflight_size_max, append_size_max, log_retain_count, log_size_max, store_heartbeat_ms;
    uint32_t scan_limit_max;
    /* workload */
    uint32_t keys_per_region, threads_per_client, think_max_us, value_size_max;
    uint32_t client_deadline_ms, client_silence_ms;
};

/* `faults` false: calm weather and ordinary sizes. `allowed`: bits of the kinds that may be drawn; `forced`: those that
 * are on in any case. */
void swarm_draw(uint64_t seed, bool faults, uint32_t allowed, uint32_t forced, struct swarm *ret_swarm);

#endif
