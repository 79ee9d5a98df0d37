#include "swarm.h"

#include <string.h>

#include "base/rng.h"

static const char *const names[FAULT_KIND_COUNT] = {
    "process", "machine", "all",     "pause", "isolate", "one-way",  "pair",  "cut",  "slow",   "spikes",
    "drop",    "repeat",  "reorder", "disk",  "clock",   "wall",     "stall", "pd",   "client", "eio",
    "full",    "split",   "aimed",   "hang",  "fsync",   "bad-read", "lose",  "torn", "hole",   "clog",
    "damage"};

/* What a good day in a bad data centre brings. */
static const uint64_t light_mask = FAULT_BIT(FAULT_PROCESS) | FAULT_BIT(FAULT_CUT) | FAULT_BIT(FAULT_SLOW) |
                                   FAULT_BIT(FAULT_SPIKES) | FAULT_BIT(FAULT_DROP) | FAULT_BIT(FAULT_PAIR) |
                                   FAULT_BIT(FAULT_DISK) | FAULT_BIT(FAULT_CLOCK) | FAULT_BIT(FAULT_TORN);

const char *fault_name(enum fault_kind kind)
{
    return names[kind];
}

static bool is_named(const char *name, const char *text, size_t size)
{
    return strlen(name) == size && memcmp(name, text, size) == 0;
}

bool fault_mask_parse(const char *text, uint64_t *ret_mask)
{
    uint64_t mask = 0;
    while (*text) {
        size_t size = strcspn(text, ",");
        uint64_t found = is_named("light", text, size) ? light_mask : 0;
        for (int kind = 0; kind < FAULT_KIND_COUNT; kind++)
            if (is_named(names[kind], text, size))
                found = FAULT_BIT(kind);
        if (!found && !is_named("none", text, size))
            return false;
        mask |= found;
        text += size;
        text += *text == ',';
    }
    *ret_mask = mask;
    return true;
}

/* One of several, the first ones more often than not. */
#define PICK(rng, ...)                                                                                                 \
    pick(rng, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
static uint64_t pick(struct rng *rng, const uint64_t *values, size_t count)
{
    return rng_chance(rng, 1, 2) ? values[0] : values[rng_below(rng, count)];
}

static void draw_calm(struct swarm *swarm)
{
    *swarm = (struct swarm){
        .fault_interval_ms = 1000,
        .timing = {.wake_max_us = 20,
                   .stall_max_us = 1000,
                   .timer_late_max_us = 100,
                   .round_cost_max_us = 10,
                   .take_all_percent = 50},
        .net = {.delay_min_us = 50,
                .delay_max_us = 300,
                .spike_max_us = 1000,
                .raft_reorder_max_us = 1000,
                .idle_limit_us = 5000000,
                .dial_timeout_us = 3000000,
                .pending_size_max = 64u << 20},
        .sync_min_us = 80,
        .sync_max_us = 400,
        .sync_slow_us = 1000,
        .region_workers = 1,
        .read_workers = 1,
        .tick_ms = 100,
        .heartbeat_ticks = 2,
        .election_ticks = 10,
        .lease_read = true,
        .lease_ms = 750,
        .sleep_after_ms = 1000,
        .split_load = 5000,
        .campaigns_max = 256,
        .mailbox_max = 65536,
        .region_proposals_max = 4096,
        .inflight_count_max = 256,
        .inflight_size_max = 64u << 20,
        .append_size_max = 1u << 20,
        .log_retain_count = 1024,
        .log_size_max = 64u << 20,
        .log_check_interval_ms = 1000,
        .expiry_interval_ms = 1000,
        .ttl_percent = 10,
        .log_count_max = 1000000,
        .snapshots_max = 2,
        .pd_log_size_max = 64u << 20,
        .schedule_interval_ms = 500,
        .region_merge_size = 20u << 20,
        .split_merge_interval_ms = 60 * 1000,
        .store_down_ms = 30 * 60 * 1000,
        .store_disconnected_ms = 5000,
        .hot_region_load = 1000,
        .tokens_save_interval = 512,
        .snapshot_rate_size = 128u << 20,
        .snapshot_chunk_size = 256u << 10,
        .snapshot_timeout_ms = 10000,
        .snapshot_receive_rate_size = 128u << 20,
        .snapshot_small_size = 1u << 20,
        .store_heartbeat_ms = 1000,
        .stale_check_interval_ms = 1800000,
        .scan_limit_max = 10000,
        .keys_per_region = 2,
        .threads_per_client = 2,
        .think_max_us = 30000,
        .value_size_max = 200,
        .client_deadline_ms = 10000,
        .client_silence_ms = 1000,
    };
}

static void draw_sizes(struct rng *rng, struct swarm *swarm)
{
    swarm->region_workers = (uint32_t)rng_between(rng, 1, 3);
    swarm->read_workers = (uint32_t)rng_between(rng, 1, 3);
    /* Short elections more often than not: what goes wrong around them has more chances per second. */
    swarm->tick_ms = PICK(rng, 20, 50, 100, 200);
    swarm->election_ticks = (uint32_t)PICK(rng, 10, 5, 5, 20);
    swarm->heartbeat_ticks = (uint32_t)PICK(rng, 2, 1);
    swarm->lease_read = rng_chance(rng, 1, 2);
    uint64_t lease_max_ms = (swarm->election_ticks - 1) * swarm->tick_ms * 8 / 10;
    swarm->lease_ms = lease_max_ms * rng_between(rng, 1, 4) / 4;
    swarm->mailbox_max = (uint32_t)PICK(rng, 65536, 1024, 256);
    swarm->region_proposals_max = (uint32_t)PICK(rng, 4096, 64, 8);
    swarm->inflight_count_max = (uint32_t)PICK(rng, 256, 16, 2, 1);
    swarm->inflight_size_max = PICK(rng, 64u << 20, 1u << 20, 64u << 10);
    swarm->append_size_max = PICK(rng, 1u << 20, 64u << 10, 1u << 10);
    swarm->log_retain_count = PICK(rng, 1024, 64, 8, 0);
    swarm->log_size_max = PICK(rng, 64u << 20, 64u << 10, 8u << 10);
    swarm->stale_check_interval_ms = 5000; /* liveness is asked for after 30 s */
    swarm->store_heartbeat_ms = PICK(rng, 1000, 300, 3000);
    swarm->scan_limit_max = (uint32_t)PICK(rng, 10000, 3, 1);
    swarm->expiry_interval_ms = PICK(rng, 1000, 100, 10);
    swarm->ttl_percent = (uint32_t)PICK(rng, 0, 10, 30, 60);
}

/* So small that snapshots are sent all the time, a row or two at a time; or as in real life. */
static void draw_snapshots(struct rng *rng, struct swarm *swarm)
{
    swarm->log_check_interval_ms = PICK(rng, 1, 100, 1000);
    swarm->log_count_max = PICK(rng, 1, 16, 64, 1000000);
    swarm->snapshots_max = (uint32_t)PICK(rng, 2, 1, 64);
    swarm->snapshot_rate_size = PICK(rng, 128u << 20, 1u << 20, 64u << 10, 0);
    swarm->snapshot_chunk_size = PICK(rng, 1, 300, 4096, 256u << 10);
    swarm->snapshot_timeout_ms = PICK(rng, 10000, 3000, 1000);
    swarm->snapshot_receive_rate_size = PICK(rng, 128u << 20, 256u << 10, 0);
    swarm->snapshot_small_size = PICK(rng, 0, 0, 500, 1u << 20);
    swarm->log_age_max_ms = PICK(rng, 0, 500, 5000);
    swarm->snapshot_lag_max = PICK(rng, 0, 10, 1000);
    swarm->snapshot_interval_min_ms = PICK(rng, 0, 1000);
    swarm->table_rot_percent = (uint32_t)PICK(rng, 0, 0, 10, 50);
    swarm->tokens_save_interval = (uint32_t)PICK(rng, 1, 8, 512);
    if (rng_chance(rng, 1, 2))
        swarm->log_retain_count = PICK(rng, 0, 2, 16);
}

static void draw_speeds(struct rng *rng, struct swarm *swarm)
{
    swarm->timing.wake_max_us = (uint32_t)PICK(rng, 20, 100, 1000);
    swarm->timing.take_all_percent = (uint32_t)PICK(rng, 50, 0, 100);
    swarm->timing.timer_late_max_us = (uint32_t)PICK(rng, 100, 2000, 10000);
    swarm->timing.round_cost_max_us = (uint32_t)PICK(rng, 10, 100);
    swarm->net.delay_max_us = (uint32_t)PICK(rng, 300, 1000, 5000);
    swarm->net.idle_limit_us = (uint32_t)PICK(rng, 5000000, 2000000, 30000000);
    swarm->net.pending_size_max = PICK(rng, 64u << 20, 256u << 10);
    swarm->sync_max_us = (uint32_t)PICK(rng, 400, 2000, 10000);
    swarm->writes_wait = rng_chance(rng, 1, 3);
    swarm->keys_per_region = (uint32_t)rng_between(rng, 1, 4);
    swarm->threads_per_client = (uint32_t)rng_between(rng, 1, 4);
    swarm->think_max_us = (uint32_t)PICK(rng, 30000, 100000, 10000, 5000);
    swarm->value_size_max = (uint32_t)PICK(rng, 200, 2000, 20000);
    swarm->client_deadline_ms = (uint32_t)PICK(rng, 10000, 3000, 1000);
    swarm->client_silence_ms = (uint32_t)PICK(rng, 1000, 300);
}

static void draw_weather(struct rng *rng, struct swarm *swarm)
{
    uint64_t mask = swarm->fault_mask;
    if (mask & FAULT_BIT(FAULT_SPIKES)) {
        swarm->net.spike_per_100000 = (uint32_t)PICK(rng, 100, 1000, 10);
        swarm->net.spike_max_us = (uint32_t)PICK(rng, 50000, 1000000, 5000);
    }
    if (mask & FAULT_BIT(FAULT_DROP))
        swarm->net.raft_drop_per_10000 = (uint32_t)PICK(rng, 50, 500, 2000);
    if (mask & FAULT_BIT(FAULT_REPEAT))
        swarm->net.raft_repeat_per_10000 = (uint32_t)PICK(rng, 100, 1000);
    if (mask & FAULT_BIT(FAULT_REORDER)) {
        swarm->net.raft_reorder_per_10000 = (uint32_t)PICK(rng, 100, 1000);
    }
    swarm->net.raft_reorder_max_us = (uint32_t)PICK(rng, 5000, 100000, 3000000);
    if (mask & FAULT_BIT(FAULT_STALL)) {
        swarm->timing.stall_per_100000 = (uint32_t)PICK(rng, 10, 100);
        swarm->timing.stall_max_us = (uint32_t)PICK(rng, 50000, 500000, 2000000);
    }
    if (mask & FAULT_BIT(FAULT_DISK)) {
        swarm->sync_slow_per_10000 = (uint32_t)PICK(rng, 20, 200);
        swarm->sync_slow_us = (uint32_t)PICK(rng, 200000, 50000, 2000000);
    }
}

void swarm_draw(uint64_t seed, bool faults, uint64_t allowed, uint64_t forced, struct swarm *ret_swarm)
{
    struct rng rng;
    rng_init(&rng, seed, "swarm");
    draw_calm(ret_swarm);
    if (!faults)
        return;
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++)
        if (rng_chance(&rng, 1, 2))
            ret_swarm->fault_mask |= FAULT_BIT(kind);
    ret_swarm->fault_mask = (ret_swarm->fault_mask & allowed) | forced;
    ret_swarm->fault_interval_ms = (uint32_t)PICK(&rng, 1000, 300, 3000, 100);
    draw_sizes(&rng, ret_swarm);
    draw_speeds(&rng, ret_swarm);
    draw_weather(&rng, ret_swarm);
    struct rng snapshots_rng;
    rng_init(&snapshots_rng, seed, "snapshots");
    draw_snapshots(&snapshots_rng, ret_swarm);
    struct rng check_rng;
    rng_init(&check_rng, seed, "check");
    ret_swarm->check_interval_ms = PICK(&check_rng, 5000, 500, 20000, 0);
    /* Mostly all the time: falling asleep and waking are what can go wrong. */
    ret_swarm->sleep_after_ms = PICK(&rng, ret_swarm->tick_ms, 1, 4 * ret_swarm->tick_ms, 1000, 0);
    ret_swarm->campaigns_max = (uint32_t)PICK(&rng, 1, 2, 256);
    struct rng load_rng;
    rng_init(&load_rng, seed, "split load");
    ret_swarm->split_load = PICK(&load_rng, 3, 5000, 10, 30);
    struct rng pd_rng;
    rng_init(&pd_rng, seed, "pd");
    ret_swarm->pd_log_size_max = PICK(&pd_rng, 1024, 64u << 20, 8192);
    ret_swarm->scheduling = PICK(&pd_rng, 1, 0);
    ret_swarm->schedule_interval_ms = PICK(&pd_rng, 100, 20, 500);
    ret_swarm->region_merge_size = PICK(&pd_rng, 20u << 20, 1024, 0);
    ret_swarm->split_merge_interval_ms = PICK(&pd_rng, 0, 1000, 5000);
    ret_swarm->store_down_ms = PICK(&pd_rng, 3000, 10000, 1800000);
    ret_swarm->store_disconnected_ms = PICK(&pd_rng, 500, 3000);
    ret_swarm->hot_region_load = (uint32_t)PICK(&pd_rng, 1000, 1, 20);
    ret_swarm->stores_join = ret_swarm->scheduling && PICK(&pd_rng, 1, 0);
}

uint32_t swarm_draw_pds(uint64_t seed)
{
    struct rng rng;
    rng_init(&rng, seed, "pds");
    return (uint32_t)PICK(&rng, 3, 1, 1, 5);
}

void swarm_draw_sizes(uint64_t seed, uint32_t *ret_stores, uint32_t *ret_clients, uint32_t *ret_regions)
{
    struct rng rng;
    rng_init(&rng, seed, "sizes");
    *ret_stores = (uint32_t)PICK(&rng, 3, 5, 1, 5);
    *ret_clients = (uint32_t)rng_between(&rng, 1, 8);
    *ret_regions = (uint32_t)PICK(&rng, 6, 1, 2, 4, 8, 12);
}
