/* store: a storenode, ready to serve: many regions on one engine.
 *
 *   client frame --kv_service (transport thread)--> region worker --> log worker / apply worker / read worker --> reply
 * frame raft frame   --kv_service (transport thread)--> region worker
 *
 * The caller fills `env` (the engine is open, the executor runs) and owns it. Shutdown: stop the executor, close the
 * transport, then store_free; after store_new has failed the same order holds.
 *
 * Errors of store_new: ERR_CLUSTER_NOT_MATCH when the engine holds something that is not a storenode's, ERR_CORRUPT
 * when a row cannot be read, ERR_LOCKED when the port is in use, ERR_INVALID for an address that is none. */
#ifndef STORENODE_STORE_H
#define STORENODE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/types.h"
#include "env/env.h"
#include "raft/raft.h"
#include "storenode/store_config.h"

struct store;

/* Listens, loads the regions and starts; `config` is borrowed until store_free. `*ret_store` is set on failure too
 * (unless ERR_INVALID came of the configuration): stop the executor, then store_free it. A first start goes on in the
 * background: the store registers with pd, gets its id and its first regions. */
enum err store_new(struct env *env, const struct store_config *config, struct store **ret_store, struct error *err);
/* Only when the executor no longer runs any of its actors; NULL is fine. */
void store_free(struct store *store);

/* Any thread. The store has an id and its regions are loaded: requests are served, not refused with NotReady. */
bool store_is_ready(const struct store *store);
/* Any thread. ERR_OK, or why the store stopped serving for good (a failed write): the process must end. */
enum err store_failure(const struct store *store);
/* Any thread. A request over HTTP (store_status.h). */
struct http_exchange;
void store_http(struct store *store, struct http_exchange *take_exchange);
/* Any thread. 0 until it is known. */
store_id store_get_id(const struct store *store);

/* Any thread. What the store refused at its door since the start, and what is inside. */
struct store_edge_counts {
    uint64_t frames_refused;   /* not what may come on that connection: it was closed */
    uint64_t requests_refused; /* frames of requests that were answered Busy: no room for their bytes */
    uint64_t raft_dropped;     /* frames of other stores that were dropped for want of room */
    uint64_t requests_size, raft_size;
};
void store_get_edge_counts(const struct store *store, struct store_edge_counts *ret_counts);

/* Any thread. The peer of `region` here hands its leadership to `to`; it does nothing if it does not lead, or cannot. */
void store_transfer_leader(struct store *store, region_id region, peer_id to);

/* Any thread. Splits `region` at those of `keys` (encoded, ascending, at most 64) that lie inside of it; it does nothing if
 * it is not led here, or is being split already. */
/* `source` into its neighbour `target`, if it is led here; nobody hears what became of it. Any thread. */
void store_merge_region(struct store *store, region_id source, region_id target);
void store_split_region(struct store *store, region_id region, const struct bytes *keys, uint32_t count);

/* Any thread. Changes the members of `region` in one step (peer_conf.h); it does nothing if it is not led here, or if that is
 * refused. */
struct wire_peer_change;
void store_change_peers(struct store *store, region_id region, const struct wire_peer_change *changes, uint32_t count);

/* Any thread. Before an orderly end: leaderships go to other stores, so that nobody waits for an election. Goes on in
 * the background; store_has_left says when there is nothing left that somebody else could lead. */
void store_leave(struct store *store);
bool store_has_left(const struct store *store);

/* For checkers that run in the same thread (simulator): each peer of each region. `visit` must not keep the pointers.
 */
struct region;
struct store_peer_view {
    region_id region;
    const struct region *range; /* borrowed */
    peer_id peer;
    const struct raft *raft;
    const struct region *members; /* as the peer knows it */
    raft_index applied_index; /* by the state machine */
    bool installs;            /* a snapshot: the rows are not what is applied yet */
    bool lease;               /* a read would be served right now without asking anybody */
};
void store_visit_peers(const struct store *store, void (*visit)(void *context, const struct store_peer_view *view),
                       void *context);

/* How regions slept (peer_sleep.h), since the start: peers that fell asleep, and what woke them. Same thread only. */
enum wake_cause {
    WAKE_REQUEST,
    WAKE_LEADER,  /* a message of their leader */
    WAKE_MESSAGE, /* of somebody else */
    WAKE_SILENT,
    WAKE_RESTARTED,
    WAKE_NO_QUORUM,
    WAKE_BACK,
    WAKE_CAUSE_COUNT
};
const char *wake_cause_name(enum wake_cause cause);
struct store_sleep_counts {
    uint64_t slept, woken[WAKE_CAUSE_COUNT];
    uint64_t handed_over; /* groups whose leadership was given away: the disk hung, or the store was to stop */
    uint64_t asleep;      /* now */
};
/* How regions were merged here, since the start; each step once per peer. Any thread. */
struct store_merge_counts {
    uint64_t prepared, rolled_back, taken_in;
    uint64_t waited;      /* the target had to wait for the source's peer */
    uint64_t by_snapshot; /* the source ended with a snapshot of the target */
    uint64_t ending;      /* now: peers whose region was taken in, and that are not all gone. Same thread only */
};
void store_add_merge_counts(const struct store *store, struct store_merge_counts *counts);

/* Snapshots of regions since the start, at both ends (peer_snapshot.h). Any thread. */
struct store_snapshot_counts {
    uint64_t sent, not_sent;  /* by leaders here; given up, or refused by the other side */
    uint64_t resumed;         /* connections that took the place of a broken one, half way */
    uint64_t slow;            /* of those: took longer than snapshot-duration-max */
    uint64_t sent_size;       /* bytes, those that were sent again included */
    uint64_t refused;         /* that came, and had no place or were of no use any more */
    uint64_t installed, installed_at_start;
    uint64_t installed_size; /* bytes of rows */
};
/* Replicas whose rows could not be read (peer_heal.h), and checks of replicas against each other (region_hash.h). Any thread. */
struct store_damage_counts {
    uint64_t found, healed; /* since the start */
    uint64_t damaged;       /* now: not served */
    uint64_t lost;          /* now: not started, because what they promised cannot be read */
    uint64_t hashes, hash_mismatches;
};
void store_add_damage_counts(const struct store *store, struct store_damage_counts *counts);
void store_add_snapshot_counts(const struct store *store, struct store_snapshot_counts *counts);
void store_add_sleep_counts(const struct store *store, struct store_sleep_counts *counts);

#endif
