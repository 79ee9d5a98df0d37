/* store_status: what a storenode answers over HTTP, as a function of what its workers counted.
 *
 *   /livez /readyz /startupz /health /status /config /metrics
 *   /store/v1/regions      the peers here, by region id, in pages: raft state, log, what is under way
 *
 * A request visits each region worker in turn (WORKER_STATUS), since each owns a share of the peers, and is answered by
 * the last one. So /livez says that every one of them handles messages. None of them asks another process anything. */
#ifndef STORENODE_STORE_STATUS_H
#define STORENODE_STORE_STATUS_H

#include "env/executor.h"
#include "http/http_api.h"
#include "raft/raft.h"
#include "storenode/store.h"

struct http_exchange;

enum { STORE_STATUS_LIMIT_DEFAULT = 100, STORE_STATUS_LIMIT_MAX = 1000 };

struct status_peer {
    region_id region;
    peer_id peer, leader;
    enum raft_role role;
    raft_term term;
    raft_index truncated, applied, committed, last;
    uint64_t log_size, memory_size;
    uint32_t proposals, reads;
    bool asleep, installs, damaged;
};

/* Sums over peers. */
struct status_counts {
    uint64_t peers, leaders, candidates, leaderless, asleep, installs, damaged;
    uint64_t log_entries, log_size, memory_size;
    uint64_t not_applied, not_applied_max; /* committed entries that are not */
    uint64_t proposals, reads;             /* who wait for an answer */
};

struct status_ask; /* one request on its way through the workers */

/* ---- for the region workers: WORKER_STATUS */
/* A peer of this worker. */
void status_ask_add(struct status_ask *ask, const struct status_peer *peer);
/* To the next worker, or the answer. */
void status_ask_next(struct status_ask *take_ask);

/* ---- for tests: the routes, without workers */
struct store_status {
    const struct store *store;
    struct status_counts counts;
    const struct status_peer *page; /* in order of region id */
    uint32_t page_count;
    uint64_t limit;
};
const struct api_route *store_status_routes(size_t *ret_count);

#endif
