/* pd_metrics: what pd counts, for Prometheus. Names are stable. */
#include <inttypes.h>
#include <stdio.h>

#include "pd/pd_api.h"
#include "pd/pd_recovery.h"

static void put_stores(const struct pd_api *api, struct buf *out)
{
    static const char *const states[] = {"unknown", "up", "disconnected", "down"};
    uint64_t counts[4] = {0};
    for (uint32_t i = 0; i < pd_fsm_store_count(api->fsm); i++) {
        uint8_t state = cluster_store_state(api->cluster, pd_fsm_store_at(api->fsm, i)->id, api->now_us);
        counts[state < 4 ? state : 0]++;
    }
    metric_head(out, "polder_pd_stores", "gauge", "Stores by state, as the leader sees them");
    for (int i = 0; i < 4; i++) {
        char label[40];
        snprintf(label, sizeof label, "state=\"%s\"", states[i]);
        metric_u64(out, "polder_pd_stores", label, counts[i]);
    }
}

static void put_per_store(const struct pd_api *api, struct buf *out, const char *name, const char *help,
                          uint64_t (*of)(const struct region_sums *sums, const struct wire_store *heard))
{
    metric_head(out, name, "gauge", help);
    for (uint32_t i = 0; i < pd_fsm_store_count(api->fsm); i++) {
        struct wire_store heard = {.id = pd_fsm_store_at(api->fsm, i)->id};
        char label[40];
        cluster_fill_store(api->cluster, &heard, api->now_us);
        struct region_sums sums = region_tree_sums(pd_fsm_regions(api->fsm), heard.id);
        snprintf(label, sizeof label, "store=\"%" PRIu64 "\"", heard.id);
        metric_u64(out, name, label, of(&sums, &heard));
    }
}

static uint64_t regions_of(const struct region_sums *sums, const struct wire_store *heard)
{
    (void)heard;
    return sums->count;
}

static uint64_t leaders_of(const struct region_sums *sums, const struct wire_store *heard)
{
    (void)heard;
    return sums->leader_count;
}

static uint64_t size_of(const struct region_sums *sums, const struct wire_store *heard)
{
    (void)heard;
    return sums->size;
}

static uint64_t available_of(const struct region_sums *sums, const struct wire_store *heard)
{
    (void)sums;
    return heard->available_size;
}

static uint64_t age_of(const struct region_sums *sums, const struct wire_store *heard)
{
    (void)sums;
    return heard->heartbeat_age_ms;
}

static void put_recovery(const struct pd_api *api, struct buf *out)
{
    static const char *const labels[] = {"state=\"planned\"", "state=\"forced\"", "state=\"leading\"",
                                         "state=\"replicated\""};
    const struct pd_recovery *recovery = pd_sched_recovery(api->sched);
    uint64_t counts[4] = {0};
    for (uint32_t i = 0; i < pd_recovery_region_count(recovery); i++) {
        const struct pd_recovery_region *region = pd_recovery_region(recovery, i);
        counts[region->whole_ms ? 3 : region->led_ms ? 2 : region->forced_ms ? 1 : 0]++;
    }
    metric_one(out, "polder_pd_recovery_running", "gauge", pd_recovery_is_running(recovery),
               "1 while an unsafe recovery goes on");
    metric_head(out, "polder_pd_recovery_regions", "gauge", "Regions of the last one, that this leader has seen to");
    for (int i = 0; i < 4; i++)
        metric_u64(out, "polder_pd_recovery_regions", labels[i], counts[i]);
}

/* What only a leader knows. */
static void put_cluster(const struct pd_api *api, struct buf *out)
{
    put_stores(api, out);
    put_recovery(api, out);
    put_per_store(api, out, "polder_pd_store_regions", "Peers of regions on a store", regions_of);
    put_per_store(api, out, "polder_pd_store_leaders", "Regions that a store leads", leaders_of);
    put_per_store(api, out, "polder_pd_store_region_bytes", "Bytes of the regions on a store, as their leaders say",
                  size_of);
    put_per_store(api, out, "polder_pd_store_available_bytes", "Room left on the disk of a store", available_of);
    put_per_store(api, out, "polder_pd_store_heartbeat_age_ms", "Time since the last heartbeat of a store", age_of);
    metric_one(out, "polder_pd_timestamp_physical_ms", "gauge", api->tso->physical_ms,
               "Physical part of the next timestamp");
    metric_one(out, "polder_pd_timestamp_limit_ms", "gauge", api->tso->limit_ms, "Up to where timestamps are reserved");
}

void pd_api_metrics(struct api_call *call)
{
    const struct pd_api *api = call->context;
    struct buf *out = &call->answer->body;
    call->answer->status = 200;
    call->answer->type = "text/plain; version=0.0.4; charset=utf-8";
    metric_one(out, "polder_pd_leading", "gauge", api->leading, "1 while this member leads");
    metric_one(out, "polder_pd_failed", "gauge", api->failure != ERR_OK, "1 when this member has stopped serving");
    metric_one(out, "polder_pd_regions", "gauge", region_tree_count(pd_fsm_regions(api->fsm)), "Regions known");
    metric_one(out, "polder_pd_raft_term", "gauge", api->term, "Term of pd's own group");
    metric_one(out, "polder_pd_raft_committed_index", "gauge", api->committed_index,
               "Newest committed entry of pd's own log");
    metric_one(out, "polder_pd_raft_applied_index", "gauge", pd_fsm_applied_index(api->fsm),
               "Newest applied entry of pd's own log");
    metric_one(out, "polder_pd_raft_log_bytes", "gauge", api->log_size, "Bytes of pd's own log since it was last cut");
    metric_one(out, "polder_pd_next_id", "gauge", pd_fsm_next_id(api->fsm), "Ids below are given out or reserved");
    metric_one(out, "polder_pd_requests_total", "counter", api->counts.requests,
               "Requests of clients, stores and tools");
    metric_one(out, "polder_pd_store_heartbeats_total", "counter", api->counts.store_heartbeats,
               "Heartbeats of stores");
    metric_one(out, "polder_pd_region_heartbeats_total", "counter", api->counts.region_heartbeats,
               "Regions in heartbeats");
    metric_one(out, "polder_pd_timestamps_total", "counter", api->counts.timestamps, "Timestamps asked for");
    metric_one(out, "polder_pd_http_requests_total", "counter", api->http_requests, "Requests over HTTP");
    if (api->leading)
        put_cluster(api, out);
}
