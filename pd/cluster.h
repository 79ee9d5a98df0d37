/* cluster: what the leader of pd remembers of heartbeats: which stores live, and who leads which region.
 *
 * None of it is replicated: a new leader starts knowing nothing and hears everything again within some heartbeats. So
 * "no heartbeat yet" is a state of its own (unknown), never taken for "dead".
 *
 *   unknown --heartbeat--> up --age > store_disconnected_ms--> disconnected --age > store_down_ms--> down
 *      |                    ^------------------------heartbeat--------+--------------------------------+
 *      +-- no heartbeat for as long after our start: disconnected, then down
 *
 * Owner: the pd actor. Time comes in as monotonic microseconds. Memory: a slot per store (STORE_COUNT_MAX), and the
 * `seen` part of the regions in the tree. */
#ifndef PD_CLUSTER_H
#define PD_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/types.h"
#include "pd/pd_config.h"
#include "pd/region_tree.h"
#include "proto/wire.h"

struct cluster;

struct cluster *cluster_new(const struct pd_config *config);
void cluster_free(struct cluster *cluster); /* NULL is fine */
/* Leadership begins: all is forgotten; `now_us` is what silence is measured from. */
void cluster_reset(struct cluster *cluster, struct region_tree *regions, uint64_t now_us);

/* A store exists (loaded): nothing was heard of it. False: more than STORE_COUNT_MAX. */
bool cluster_add_store(struct cluster *cluster, store_id id);
/* A store registered just now: it lives. Adds it if needed. */
bool cluster_store_registered(struct cluster *cluster, store_id id, uint64_t now_us);
/* Its statistics, as it said. ERR_STORE_NOT_MATCH: no such store. */
enum err cluster_store_heartbeat(struct cluster *cluster, const struct wire_store *store, uint64_t now_us);
/* enum wire_store_state. */
uint8_t cluster_store_state(const struct cluster *cluster, store_id id, uint64_t now_us);
/* How long until cluster_store_state could say that the store is gone, if nothing is heard. 0: it is up no longer. */
uint64_t cluster_store_silence_left_ms(const struct cluster *cluster, store_id id, uint64_t now_us);
/* Fills state, heartbeat_age_ms and the statistics of `*store`, whose id is given; leaves its texts alone. */
void cluster_fill_store(const struct cluster *cluster, struct wire_store *store, uint64_t now_us);

/* What became of the heartbeat of one region. */
enum cluster_verdict {
    CLUSTER_SEEN,  /* noted, or old news that was ignored */
    CLUSTER_NEWER, /* its epoch is newer than ours, or we do not know it: put it through the log, then call again */
    CLUSTER_STALE, /* ours is newer, or its range was taken over by newer regions */
    CLUSTER_WRONG, /* not a region at all; `err` says why */
};
/* `heartbeat->region` may be NULL (wrong). */
/* `ret_leader_changed` (may be NULL): somebody else leads than was known. */
enum cluster_verdict cluster_region_heartbeat(struct cluster *cluster, const struct wire_region_heartbeat *heartbeat,
                                              bool *ret_leader_changed, struct error *err);

/* The answer for one region: descriptor and leader as far as known. `peers` must hold REGION_PEER_COUNT_MAX; all memory
 * is borrowed from node, peers and ret_region. */
void cluster_route(const struct cluster *cluster, struct region_node *node, struct wire_peer *peers,
                   struct wire_region *ret_region, struct wire_route *ret_route);

#endif
