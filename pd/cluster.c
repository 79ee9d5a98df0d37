#include "pd/cluster.h"

#include <stdlib.h>

#include "base/check.h"
#include "pd/pd_sched.h"

struct cluster_store {
    uint64_t id;
    uint64_t heartbeat_us;  /* 0: none yet */
    struct wire_store said; /* numbers only: texts and pointers are not kept */
};

struct cluster {
    uint64_t disconnected_us;
    uint64_t down_us;
    uint64_t started_us;
    struct region_tree *regions; /* borrowed from pd_fsm */
    uint32_t store_count;
    struct cluster_store stores[STORE_COUNT_MAX]; /* in order of id */
};

struct cluster *cluster_new(const struct pd_config *config)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    CHECK(cluster);
    cluster->disconnected_us = config->store_disconnected_ms * 1000;
    cluster->down_us = config->store_down_ms * 1000;
    return cluster;
}

void cluster_free(struct cluster *cluster)
{
    free(cluster);
}

void cluster_reset(struct cluster *cluster, struct region_tree *regions, uint64_t now_us)
{
    cluster->started_us = now_us;
    cluster->regions = regions;
    cluster->store_count = 0;
    region_tree_forget_seen(regions);
}

static uint32_t store_position(const struct cluster *cluster, store_id id)
{
    uint32_t low = 0, high = cluster->store_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cluster->stores[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct cluster_store *find_store(const struct cluster *cluster, store_id id)
{
    uint32_t position = store_position(cluster, id);
    if (position == cluster->store_count || cluster->stores[position].id != id)
        return NULL;
    return (struct cluster_store *)&cluster->stores[position];
}

bool cluster_add_store(struct cluster *cluster, store_id id)
{
    if (find_store(cluster, id))
        return true;
    if (cluster->store_count == STORE_COUNT_MAX)
        return false;
    uint32_t position = store_position(cluster, id);
    struct cluster_store *store = &cluster->stores[position];
    memmove(store + 1, store, (cluster->store_count - position) * sizeof(*store));
    cluster->store_count++;
    *store = (struct cluster_store){.id = id};
    return true;
}

bool cluster_store_registered(struct cluster *cluster, store_id id, uint64_t now_us)
{
    if (!cluster_add_store(cluster, id))
        return false;
    find_store(cluster, id)->heartbeat_us = now_us > 0 ? now_us : 1;
    return true;
}

enum err cluster_store_heartbeat(struct cluster *cluster, const struct wire_store *store, uint64_t now_us)
{
    struct cluster_store *known = find_store(cluster, store->id);
    if (!known)
        return ERR_STORE_NOT_MATCH;
    known->heartbeat_us = now_us > 0 ? now_us : 1;
    known->said = *store;
    known->said.address = known->said.status_address = known->said.version = bytes_empty();
    return ERR_OK;
}

static uint64_t silence_us(const struct cluster *cluster, const struct cluster_store *store, uint64_t now_us)
{
    uint64_t since_us = store->heartbeat_us ? store->heartbeat_us : cluster->started_us;
    return now_us > since_us ? now_us - since_us : 0;
}

uint8_t cluster_store_state(const struct cluster *cluster, store_id id, uint64_t now_us)
{
    const struct cluster_store *store = find_store(cluster, id);
    if (!store)
        return WIRE_STORE_STATE_UNKNOWN;
    uint64_t silent_us = silence_us(cluster, store, now_us);
    if (silent_us > cluster->down_us)
        return WIRE_STORE_STATE_DOWN;
    if (silent_us > cluster->disconnected_us)
        return WIRE_STORE_STATE_DISCONNECTED;
    return store->heartbeat_us ? WIRE_STORE_STATE_UP : WIRE_STORE_STATE_UNKNOWN;
}

uint64_t cluster_store_silence_left_ms(const struct cluster *cluster, store_id id, uint64_t now_us)
{
    const struct cluster_store *store = find_store(cluster, id);
    if (!store)
        return 0;
    uint64_t silent_us = silence_us(cluster, store, now_us);
    return silent_us > cluster->disconnected_us ? 0 : (cluster->disconnected_us - silent_us) / 1000 + 1;
}

void cluster_fill_store(const struct cluster *cluster, struct wire_store *store, uint64_t now_us)
{
    store->state = cluster_store_state(cluster, store->id, now_us);
    const struct cluster_store *known = find_store(cluster, store->id);
    if (!known)
        return;
    store->heartbeat_age_ms = silence_us(cluster, known, now_us) / 1000;
    if (known->said.id == 0)
        return;
    store->region_count = known->said.region_count;
    store->leader_count = known->said.leader_count;
    store->capacity_size = known->said.capacity_size;
    store->available_size = known->said.available_size;
    store->used_size = known->said.used_size;
    store->started_at_ms = known->said.started_at_ms;
    store->slow_score = known->said.slow_score;
    store->latency_us = known->said.latency_us;
    store->snapshots_sending = known->said.snapshots_sending;
    store->snapshots_receiving = known->said.snapshots_receiving;
    store->keys_written = known->said.keys_written;
    store->keys_read = known->said.keys_read;
}

/* Compared with what the tree holds of the same id. */
static enum cluster_verdict judge_epoch(const struct region_node *node, const struct wire_region *region)
{
    if (region->epoch_conf < region_node_conf(node) || region->epoch_version < region_node_version(node))
        return CLUSTER_STALE;
    if (region->epoch_conf > region_node_conf(node) || region->epoch_version > region_node_version(node))
        return CLUSTER_NEWER;
    return CLUSTER_SEEN;
}

/* An unknown id that lost its range to newer regions must not go through the log again and again. */
static enum cluster_verdict judge_unknown(const struct region_tree *regions, const struct wire_region *region)
{
    for (struct region_node *node = region_tree_seek(regions, region->start_key); node;
         node = region_tree_next(regions, node)) {
        if (region->end_key.size > 0 && bytes_compare(region_node_start(node), region->end_key) >= 0)
            break;
        if (region_node_version(node) >= region->epoch_version)
            return CLUSTER_STALE;
    }
    return CLUSTER_NEWER;
}

static uint32_t mask_of(const struct region_node *node, const uint64_t *stores, uint32_t count)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; count > 0 && i < region_node_peer_count(node); i++)
        for (uint32_t k = 0; k < count; k++)
            mask |= region_node_peer(node, i).store_id == stores[k] ? UINT32_C(1) << i : 0;
    return mask;
}

enum cluster_verdict cluster_region_heartbeat(struct cluster *cluster, const struct wire_region_heartbeat *heartbeat,
                                              bool *ret_leader_changed, struct error *err)
{
    const struct wire_region *region = heartbeat->region;
    if (!region) {
        error_set(err, ERR_INVALID, "a heartbeat without a region");
        return CLUSTER_WRONG;
    }
    if (region_check_wire(region, err) != ERR_OK)
        return CLUSTER_WRONG;
    struct region_node *node = region_tree_find_id(cluster->regions, region->id);
    enum cluster_verdict verdict = node ? judge_epoch(node, region) : judge_unknown(cluster->regions, region);
    if (verdict != CLUSTER_SEEN)
        return verdict;
    if (heartbeat->term < region_node_seen(node).term)
        return CLUSTER_SEEN; /* a deposed leader that does not know it yet */
    if (heartbeat->leader_peer != 0 && region_node_store_of(node, heartbeat->leader_peer) == 0) {
        error_set(err, ERR_INVALID, "region %llu: the leader %llu is not one of its peers",
                  (unsigned long long)region->id, (unsigned long long)heartbeat->leader_peer);
        return CLUSTER_WRONG;
    }
    struct region_seen seen = {.leader_peer = heartbeat->leader_peer,
                               .term = heartbeat->term,
                               .approximate_size = heartbeat->approximate_size,
                               .approximate_keys = heartbeat->approximate_keys};
    pd_sched_load(node, heartbeat, &seen);
    seen.down_mask = mask_of(node, heartbeat->down_stores, heartbeat->down_stores_count);
    seen.pending_mask = mask_of(node, heartbeat->pending_stores, heartbeat->pending_stores_count);
    if (ret_leader_changed)
        *ret_leader_changed = region_node_seen(node).leader_peer != heartbeat->leader_peer;
    region_tree_see(cluster->regions, node, &seen);
    return CLUSTER_SEEN;
}

void cluster_route(const struct cluster *cluster, struct region_node *node, struct wire_peer *peers,
                   struct wire_region *ret_region, struct wire_route *ret_route)
{
    (void)cluster;
    region_node_wire(node, peers, ret_region);
    uint64_t leader = region_node_seen(node).leader_peer;
    *ret_route = (struct wire_route){
        .region = ret_region, .leader_peer = leader, .leader_store = region_node_store_of(node, leader)};
}
