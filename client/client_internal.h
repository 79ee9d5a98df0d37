/* client_internal: what the files of the client core share. Nobody else includes it.
 *
 *   client.c          the actor: operations in and out, timers
 *   client_parts.c    one part of an operation: route, wait, judge
 *   client_stores.c   links to stores: frames out, replies in, silence
 *   client_routes.c   questions to pd about routes and stores
 *   client_results.c  what the caller gets
 *
 * Everything here belongs to the client's actor. */
#ifndef CLIENT_CLIENT_INTERNAL_H
#define CLIENT_CLIENT_INTERNAL_H

#include "base/arena.h"
#include "base/check.h"
#include "base/list.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/types.h"
#include "client/client.h"
#include "client/pd_asker.h"
#include "client/retry.h"
#include "client/router.h"
#include "env/clock.h"
#include "env/executor.h"
#include "proto/wire.h"
#include "rpc/links.h"

#include <stdatomic.h>
#include <uthash.h>

enum {
    BATCH_COUNT_MAX = 512,                       /* requests in one frame */
    BATCH_SIZE_MAX = 4 * 1024 * 1024,            /* bytes of keys and values after which a frame is closed */
    PART_SPLITS_MAX = 64,                        /* keys to split one region at: what a store takes at a time */
    PART_KEYS_MAX = 256,                         /* keys of a batch get in one request: bounds the reply */
    PART_SIZE_MAX = VALUE_SIZE_MAX + 512 * 1024, /* a region's part of a batch write: stores propose it as one entry */
    LOADS_MAX = 4,                               /* questions about routes at once */
    REFRESHES_MAX = 8,
    LOAD_PAGE_COUNT = 128, /* routes fetched ahead */
    SILENCE_GROWTH_MAX = 8,
    SLOW_MAX = 3, /* silences that one request may last while its store answers others */
    TICK_US = 100000,
    THROTTLE_US = 10000, /* how often parts without a token look again */
};

struct operation;
struct client_store;
struct route_load;

enum client_message {
    CLIENT_MESSAGE_START,
    CLIENT_MESSAGE_OPERATION,
    CLIENT_MESSAGE_STORE_LINKS,
    CLIENT_MESSAGE_PD_LINKS,
    CLIENT_MESSAGE_TIMER,
};

enum part_state { PART_NEW, PART_UNROUTED, PART_READY, PART_THROTTLED, PART_SENT, PART_PAUSED, PART_ENDED };

/* The work of an operation in one region. Single-key operations have one, scans and ranges one that moves on, batches
 * several. */
struct part {
    struct operation *op;
    uint64_t id; /* of its requests; the same for all sends of the same content, so that a late answer still counts */
    UT_hash_handle hh;
    enum part_state state;
    bool paid;    /* the next send costs a token */
    bool reload;  /* the route was wrong: ask pd for this one alone */
    uint8_t slow; /* silences waited for, since it was sent */
    uint32_t heap_index;
    uint64_t due_us;
    uint64_t sent_us; /* last time */
    struct list link; /* in the list of its state */
    struct retry retry;
    uint32_t peer_cursor;       /* which peer to ask while the leader is not known */
    uint32_t first, last;       /* batches: slice of op->order */
    struct client_store *store; /* READY, THROTTLED, SENT */
    struct route_load *load;    /* UNROUTED: asked for this part; may be NULL */
    region_id region_id;        /* as sent last */
    uint64_t epoch_conf, epoch_version;
    uint64_t sequence;      /* write, once sent: of the token */
    struct list write_link; /* in client->writes, if sequence != 0 */
    char *trouble;          /* owned; why it is not done yet; NULL: nothing went wrong */
};

struct scan_state {
    struct buf lower, upper; /* encoded bounds; what is done is cut off at one end */
    struct buf bound;        /* other end of the request that was sent */
    struct buf token_end;    /* writes: the present token is about keys below this */
    bool progressed;         /* writes: some of it is done */
    uint32_t limit, limit_size;
    size_t rows_size;
    size_t row_capacity;
    bool reverse, keys_only;
};

struct operation {
    struct message message; /* it is posted as one */
    struct client *client;
    struct list link; /* in client->operations */
    enum client_op kind;
    enum polder_read read;
    bool write;
    bool expect_value;
    uint32_t deadline_ms;
    uint64_t deadline_us;
    void (*done)(void *user, struct polder_result *take_result);
    void *user;
    struct polder_result result;
    char *text;                            /* owned; result.text */
    uint8_t *value;                        /* owned; result.value */
    struct polder_row *rows;               /* owned; result.rows */
    struct arena arena;                    /* rows of a scan, values of a batch get, cluster */
    struct bytes key, new_value, expected; /* in data */
    struct scan_state *scan;               /* owned */
    struct wire_kv_pair *pairs;            /* batches: encoded keys; in `memory` */
    uint32_t *order;                       /* indexes of pairs in order of keys */
    size_t pair_count;
    struct wire_peer_change *changes; /* in the arena */
    uint32_t change_count;
    uint64_t guard_conf;
    void *memory;               /* owned */
    struct pd_ask *ask;         /* owned; cluster operations */
    struct polder_stats *stats; /* CLIENT_STATS */
    uint64_t ttl_ms;
    uint64_t region_id, target_region;
    uint32_t count;
    size_t size; /* as counted in client->outstanding_size */
    uint32_t parts_open;
    struct part first;
    uint8_t data[];
};

enum store_link { STORE_FRESH, STORE_DIALING, CLIENT_STORE_UP, CLIENT_STORE_DOWN };

struct client_store {
    store_id id;
    struct client *client;
    char *address;     /* owned; NULL: not known */
    struct link *link; /* NULL until something is to be sent */
    enum store_link state;
    bool reset_wanted;
    uint64_t silence_us;    /* grows while it stays silent */
    uint64_t owes_since_us; /* a request went out then, and nothing has come since; 0: nothing is owed */
    struct list ready, throttled, sent;
    struct retry_budget budget;
    uint64_t write_us;  /* how long a write takes, smoothed */
    uint64_t released_us; /* when `throttled` was last looked through */
    bool dirty;
    struct list dirty_link; /* in client->dirty */
    UT_hash_handle hh;
};

struct route_load {
    struct pd_ask ask;
    struct client *client;
    struct list link; /* client->loads */
    bool refresh;     /* nobody waits for it */
    region_id region_id;
    uint8_t key[];
};

struct client_counts {
    uint64_t operations, requests, retries, frames, reroutes, backoffs, losses, unknown, route_misses, route_loads;
};

struct client {
    struct env *env;
    struct actor *actor;
    uint64_t client_id;
    uint32_t deadline_ms;
    uint32_t outstanding_max;
    uint64_t outstanding_size_max;
    uint64_t silence_us;
    char *name; /* owned */
    atomic_uint outstanding;
    atomic_size_t outstanding_size;
    uint64_t now_us;
    struct rng rng;

    struct list operations;
    struct part *parts; /* by id */
    uint64_t part_id_last;
    struct part **heap; /* open parts by due_us */
    uint32_t heap_count, heap_capacity;
    uint64_t gather_due_us; /* until then fresh writes wait for others; UINT64_MAX: they do not */
    struct list writes; /* parts that have a sequence, in its order */
    uint64_t sequence_last;
    uint64_t armed_us; /* when the earliest timer will come; UINT64_MAX: none */
    uint64_t ticked_us;

    struct router *router;
    struct list unrouted;
    struct list loads;
    uint32_t load_count, refresh_count;

    struct pd_asker *asker;
    uint64_t asker_due_us;
    struct links *links;
    struct wire_hello hello;
    struct client_store *stores;
    struct list dirty;
    uint32_t throttled_count;
    struct pd_ask stores_ask;
    uint64_t stores_due_us; /* not asked again before */
    bool stores_wanted;

    struct arena message_arena;
    struct wire_kv_request *batch; /* BATCH_COUNT_MAX */
    struct part **batch_parts;
    struct wire_kv_pair *batch_pairs; /* scratch for the pairs of batches */
    size_t batch_pairs_count, batch_pairs_capacity;
    struct client_counts counts;
};

/* ---- client.c */
void client_operation_end(struct operation *op);
/* Orders the part in the heap by `due_us`, but never after the operation's deadline. */
void client_due(struct client *client, struct part *part, uint64_t due_us);
void client_heap_remove(struct client *client, struct part *part);

/* ---- client_parts.c */
void part_init(struct part *part, struct operation *op);
void part_route(struct part *part);
void part_pause(struct part *part, uint64_t pause_us);
void part_follow(struct part *part, struct retry_verdict verdict);
/* One line on why it is not done yet. */
void part_note(struct part *part, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes it out of whatever list it is in. */
void part_detach(struct part *part);
void part_end(struct part *part, struct retry_end end);
void part_answered(struct part *part, struct client_store *store, const struct wire_kv_reply *reply);
void part_timer(struct part *part);
struct bytes part_key(const struct part *part);
bool part_is_reverse(const struct part *part);
/* Fills a request; its pairs go to client->batch_pairs, whose index is left in *ret_pairs. Returns bytes, about. */
size_t part_fill(struct part *part, struct wire_kv_request *request, size_t *ret_pairs);

/* ---- client_stores.c */
struct client_store *client_store_of(struct client *client, store_id id);
bool client_store_is_usable(const struct client_store *store);
void client_store_dirty(struct client_store *store);
void client_store_set_address(struct client_store *store, struct bytes address);
/* It owes answers, and has said nothing for too long. Also of requests that have met their deadline meanwhile. */
bool client_store_is_silent(const struct client_store *store);
/* It owes answers and says nothing: nothing that was sent there is waited for any longer. */
void client_store_silent(struct client_store *store);
/* It cannot be reached: what waits for it goes elsewhere. */
void client_store_unreachable(struct client_store *store);
void client_stores_init(struct client *client);
void client_stores_flush(struct client *client);
void client_stores_free(struct client *client);

/* ---- client_routes.c */
void client_routes_start(struct client *client); /* asks for what unrouted parts need; end of a round */
void client_route_refresh(struct client *client, const struct route *route);
void client_routes_free(struct client *client);
void client_stores_want(struct client *client);
void client_cluster_start(struct operation *op);

/* ---- client_results.c */
void result_value(struct operation *op, struct bytes value);
void result_set(struct operation *op, struct retry_end end, const char *text);
/* Copies rows of a page, user keys. ERR_CORRUPT: keys that are not of the range that was asked for. */
enum err result_scan_rows(struct operation *op, const struct wire_kv_reply *reply);
/* Does the answer say where to go on, and is that further on? */
bool result_leads_on(const struct scan_state *scan, const struct wire_kv_reply *reply);
void result_batch(struct operation *op);
/* A range of which only some is done: how far. */
void result_range(struct operation *op);
void result_peers(struct operation *op, const struct wire_kv_reply *reply);
void result_cluster(struct operation *op, const struct wire_pd_reply *reply);

#endif
