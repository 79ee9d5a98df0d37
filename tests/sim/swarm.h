/* swarm: all that a seed decides before the first event: sizes, speeds, and which kinds of fault exist at all.
 *
 * Groce et al. 2012: random tests that leave out some features at random find more than those that always use all of
 * them. So each kind of fault is off in about half of the seeds, and limits are sometimes absurdly small.
 *
 * The fault atlas. Each is something that happens to real clusters; nothing here may ever excuse a lost write or a stale
 * read, and when all of it has ended, all clients must be served again within a minute. What else must hold while it
 * lasts is said in docs/simulator.md.
 *
 *   processes  process  one is killed and started again          machine  the same; connections fall silent
 *              all      all stores' machines at once (power)     pd       pd is killed and started again
 *              client   one dies, another takes its place        pause    SIGSTOP, then its clock has jumped
 *              aimed    a machine dies just as it gives or asks for a vote, or says first that it leads
 *   network    isolate  a node hears and reaches nobody          one-way  it is heard but does not hear, or the reverse
 *              pair     two nodes cannot reach each other        split    two groups of stores; others reach one or both
 *              cut      connections are reset                    slow     a path is slow for a while
 *              clog     a path holds all, then lets it go        spikes   now and then a frame is late
 *              drop, repeat, reorder   of single raft frames
 *   disk       disk     syncs take up to seconds for a while     hang     a sync never ends until healed (or killed)
 *              eio      a write fails; the store must stop       fsync    a sync fails, and what it covered may be lost
 *              full     no space for a while                     bad-read a few reads fail
 *              damage   a row cannot be read any more; of all stores, one meets this (no region loses two replicas)
 *              lose, torn, hole   what a death does to what was not synced (engine_mem.h: LOSE, TORN, HOLES);
 *                       with none of them it keeps everything
 *   time       clock    a node's clock runs 1 % fast or slow     wall     its wall clock is stepped
 *              stall    threads sleep for long
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
    FAULT_HANG,
    FAULT_FSYNC,
    FAULT_BAD_READ,
    FAULT_LOSE,
    FAULT_TORN,
    FAULT_HOLE,
    FAULT_CLOG,
    FAULT_DAMAGE,
    FAULT_KIND_COUNT
};

#define FAULT_BIT(kind) ((uint64_t)1 << (kind))

const char *fault_name(enum fault_kind kind);
/* "pause,disk" to bits; "light" is a handful of mild ones, "none" none. False: a name is not known. */
bool fault_mask_parse(const char *text, uint64_t *ret_mask);

struct swarm {
    uint64_t fault_mask;
    uint32_t fault_interval_ms; /* mean time between two faults */
    struct sim_timing timing;
    struct net_options net; /* with spikes, drop, repeat, reorder as drawn; used during the fault phase */
    uint32_t sync_min_us, sync_max_us, sync_slow_per_10000, sync_slow_us;
    bool writes_wait; /* the disk has one queue: see engine_mem.h */
    /* store config */
    uint32_t region_workers, read_workers;
    uint64_t tick_ms;
    uint32_t heartbeat_ticks, election_ticks;
    bool lease_read;
    uint64_t lease_ms, sleep_after_ms, check_interval_ms;
    uint64_t split_load; /* requests per second and region */
    uint32_t campaigns_max, mailbox_max, region_proposals_max, inflight_count_max;
    uint64_t inflight_size_max, append_size_max, log_retain_count, log_size_max, store_heartbeat_ms;
    uint64_t stale_check_interval_ms;
    uint64_t log_count_max, snapshot_rate_size, snapshot_chunk_size, snapshot_timeout_ms, log_check_interval_ms;
    uint64_t snapshot_receive_rate_size, snapshot_small_size;
    uint64_t log_age_max_ms, snapshot_lag_max, snapshot_interval_min_ms;
    uint32_t table_rot_percent; /* of the tables that are made */
    uint64_t expiry_interval_ms;
    uint32_t ttl_percent; /* of writes */
    uint32_t snapshots_max, tokens_save_interval;
    uint64_t pd_log_size_max;
    bool scheduling;  /* pd decides by itself, and people ask it for more */
    bool stores_join; /* the first regions are on three stores; pd has to move some to the others */
    uint64_t schedule_interval_ms, region_merge_size, split_merge_interval_ms, store_down_ms, store_disconnected_ms;
    uint32_t hot_region_load;
    uint32_t scan_limit_max;
    /* workload */
    uint32_t keys_per_region, threads_per_client, think_max_us, value_size_max;
    uint32_t client_deadline_ms, client_silence_ms;
};

/* `faults` false: calm weather and ordinary sizes. `allowed`: bits of the kinds that may be drawn; `forced`: those that
 * are on in any case. */
void swarm_draw(uint64_t seed, bool faults, uint64_t allowed, uint64_t forced, struct swarm *ret_swarm);

/* 1, 3 or 5 members of pd. */
uint32_t swarm_draw_pds(uint64_t seed);
/* 1, 3 or 5 stores, 1 to 8 clients, 1 to 12 regions. */
void swarm_draw_sizes(uint64_t seed, uint32_t *ret_stores, uint32_t *ret_clients, uint32_t *ret_regions);

#endif
