/* client: what is behind polder.h, without threads, sockets or clocks of its own.
 *
 * One actor over struct env. It takes operations as messages, cuts them into parts (one part lies in one region), finds
 * the store for each part (router), lets what became ready in one round leave as one frame per store, and judges the
 * answers (retry) until each part has an end. The blocking library (kv.c) and the simulator run the same actor.
 *
 *   part:  ROUTING --route known--> READY --flush at end of round--> SENT --answer--> ended
 *             ^                      ^  |                             |
 *             |                      |  +--no tokens--> THROTTLED     +--refused, lost, silent--> BACKOFF or READY or
 * ROUTING
 *             +------ route dropped -+------------------- pause over -----------------------------+
 *
 * Outcome: see retry.h. Owner: its actor. Threads: client_submit from any thread, the rest from the actor or, for new
 * and free, from whoever starts and stops the executor.
 *
 * Invariants (client_check):
 *   C1 every accepted operation is answered exactly once;  C2 a write keeps its (client id, sequence) for all its
 * sends; C3 sequence_done never passes a write that may still be sent;  C4 a part is in exactly one list. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "base/bytes.h"
#include "base/error.h"
#include "client/polder.h"
#include "env/env.h"

struct client;

struct client_options {
    const char *pd;           /* endpoints, separated by commas; tcp://, tls+tcp://, sim:// ...; none said: tcp:// */
    const char *name;         /* in the hello; NULL: "libpolder" */
    uint64_t client_id;       /* of the idempotency tokens; 0: drawn from env->seed and the time */
    uint32_t deadline_ms;     /* 0: 10 000 */
    uint32_t outstanding_max; /* 0: 65 536 */
    uint64_t outstanding_size_max; /* 0: 512 MiB */
    uint32_t silence_ms;           /* 0: 1 000 */
    uint32_t route_count_max;      /* 0: 100 000 */
    bool tls;                      /* an endpoint without scheme means tls+tcp:// */
};

enum client_op {
    CLIENT_GET,
    CLIENT_PUT,
    CLIENT_DELETE,
    CLIENT_CAS,
    CLIENT_SCAN,
    CLIENT_BATCH_GET,
    CLIENT_BATCH_WRITE,
    CLIENT_DELETE_RANGE,
    CLIENT_CHECKSUM,
    CLIENT_TTL,
    /* about regions */
    CLIENT_SPLIT_REGION,
    CLIENT_SPLIT_REGIONS, /* at the keys of `pairs`, all different */
    CLIENT_REGION_PEERS,
    CLIENT_CHANGE_PEERS,
    CLIENT_TRANSFER_LEADER,
    CLIENT_CHECK_REGION,
    CLIENT_MERGE_REGION,
    /* answered by pd */
    CLIENT_CLUSTER_INFO,
    CLIENT_CLUSTER_STORES,
    CLIENT_CLUSTER_REGIONS,
    CLIENT_CLUSTER_REGION_OF,
    CLIENT_CLUSTER_REGION_BY_ID,
    CLIENT_CLUSTER_ALLOC_IDS,
    CLIENT_CLUSTER_TIMESTAMP,
    /* answered by the actor itself */
    CLIENT_STATS,
};

/* What to do; only the fields that the operation has are looked at. Keys are user keys (but CLUSTER_REGIONS, and those about
 * the peers of a region: encoded). */
struct client_call {
    enum client_op op;
    enum polder_read read;
    uint32_t deadline_ms; /* 0: as in the options */
    struct bytes key;
    struct bytes value;
    uint64_t ttl_ms;   /* put, cas, batch write: what is put expires so long after; 0: never */
    bool expect_value; /* cas: it must have `expected`; false: it must not exist */
    struct bytes expected;
    struct polder_scan scan; /* delete range, checksum: start, end and prefix */
    const struct polder_pair *pairs; /* batches: `pair_count` of them; batch get looks at the keys */
    size_t pair_count;
    uint64_t region_id, target_region;
    uint32_t count;             /* ids, timestamps, regions */
    const struct polder_peer_change *changes; /* CHANGE_PEERS, TRANSFER_LEADER (one): `change_count` of them */
    size_t change_count;
    uint64_t guard_conf; /* CHANGE_PEERS */
    struct polder_stats *stats; /* CLIENT_STATS: filled before `done` */
    /* Called exactly once if client_submit said ERR_OK: on the actor, or inside executor_stop, sim_node_kill or
     * client_free for what had no end yet. Takes the result (polder_result_free). */
    void (*done)(void *user, struct polder_result *take_result);
    void *user;
};

/* ERR_INVALID says which option is at fault. `options` is needed during the call only. */
enum err client_new(struct env *env, const struct client_options *options, struct client **ret_client,
                    struct error *err);
/* The executor has stopped (or the simulated node is dead), the transport is still there. Operations without an end get
 * one: CANCELLED, or MAYBE for writes that were sent. NULL is fine. */
void client_free(struct client *client);

/* Copies what `call` lends. Not ERR_OK: nothing was done and `done` will not come: ERR_BUSY (outstanding_max),
 * ERR_CLOSED, ERR_KEY_EMPTY, ERR_KEY_TOO_LARGE, ERR_ENTRY_TOO_LARGE, ERR_INVALID. Any thread. */
enum err client_submit(struct client *client, const struct client_call *call);

/* A result for what client_submit refused, so that a caller who waits gets one in any case. */
struct polder_result *client_result_refused(enum err code, enum polder_advice advice);

/* Asserts the invariants. On the actor's thread, or when it does not run. */
void client_check(const struct client *client);

#endif
