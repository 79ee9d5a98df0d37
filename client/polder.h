/* polder: the client library of Polder, a sharded, replicated, ordered key-value database.
 *
 *   struct polder *db;
 *   char error_text[256];
 *   struct polder_options options = {.size = sizeof options, .pd = "127.0.0.1:2379"};
 *   if (polder_open(&options, &db, error_text, sizeof error_text) != POLDER_OK) ...
 *   struct polder_result *result = polder_put(db, polder_string("key"), polder_string("value"), NULL);
 *   if (result->outcome != POLDER_DONE)
 *       fprintf(stderr, "put: %s: %s\n", result->name, result->text);
 *   polder_result_free(result);
 *   polder_close(db);
 *
 * The one question that every call answers is: did it happen?
 *
 *   POLDER_DONE      it happened (a read: this is the answer; `found` says whether the key exists)
 *   POLDER_NOT_DONE  it did not happen and will not happen later
 *   POLDER_UNKNOWN   a write left this process and no definite answer came before the deadline: it may have happened,
 * or may still happen within a moment. Never for reads.
 *
 * Routing, retries, changes of leader, splits of regions and lost connections are dealt with inside, until the
 * deadline. A write is repeated only under an idempotency token that the servers know, so it is never applied twice.
 *
 * Keys: 1 byte to 8 KiB, any octets, ordered byte by byte, unsigned. Values: up to 8 MiB, empty is fine. What breaks
 * these limits is refused here, before anything is sent.
 *
 * Threads: any number may use one handle at once, and should: requests of all threads that are ready together travel
 * together, on one connection per store. A handle is meant to live as long as the program. No globals; several handles
 * do not know of each other. Not usable after fork() in the child.
 *
 * Versions: every struct that the caller fills begins with its `size` (sizeof); fields are only ever appended, and zero
 * is always the default. Results are allocated here, so they may grow as well. */
#ifndef POLDER_H
#define POLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define POLDER_API __attribute__((visibility("default")))
#else
#define POLDER_API
#endif

struct polder;

/* A view of bytes that somebody else owns. */
struct polder_bytes {
    const void *data;
    size_t size;
};

static inline struct polder_bytes polder_bytes(const void *data, size_t size)
{
    struct polder_bytes view;
    view.data = data;
    view.size = size;
    return view;
}

static inline struct polder_bytes polder_string(const char *text)
{
    return polder_bytes(text, strlen(text));
}

enum polder_outcome { POLDER_DONE = 0, POLDER_NOT_DONE = 1, POLDER_UNKNOWN = 2 };

/* What may help now (the library has already retried for as long as the deadline allowed). */
enum polder_advice {
    POLDER_ADVICE_NONE = 0,    /* nothing to do: it is done */
    POLDER_ADVICE_RETRY = 1,   /* did not happen: try again, after `wait_ms` if that is not 0 */
    POLDER_ADVICE_RECHECK = 2, /* perhaps happened: read before you repeat, or repeat if repeating does no harm */
    POLDER_ADVICE_GIVE_UP = 3, /* the request itself is at fault */
};

/* Codes. Numbers are never reused; a program must expect numbers that it does not know. */
enum polder_code {
    POLDER_OK = 0,
    POLDER_NOT_LEADER = 1,
    POLDER_EPOCH_NOT_MATCH = 2,
    POLDER_REGION_NOT_FOUND = 3,
    POLDER_KEY_NOT_IN_REGION = 4,
    POLDER_STORE_NOT_MATCH = 5,
    POLDER_BUSY = 16,      /* a queue is full, here or there */
    POLDER_NOT_READY = 17, /* starting, electing, catching up */
    POLDER_DISK_FULL = 18,
    POLDER_UNAVAILABLE = 19, /* never left this process: no connection, no route */
    POLDER_MAYBE = 32,       /* sent, then the outcome was lost sight of */
    POLDER_TIMEOUT = 33,     /* the deadline passed after it was sent */
    POLDER_INVALID = 48,     /* malformed argument */
    POLDER_KEY_TOO_LARGE = 49,
    POLDER_ENTRY_TOO_LARGE = 50, /* value over 8 MiB, or one region's part of a batch */
    POLDER_KEY_EMPTY = 51,
    POLDER_NOT_FOUND =
        52, /* never a result code of get: that is DONE with `found` false. cluster calls: no such region */
    POLDER_CONDITION_FAILED = 53, /* compare-and-swap found another value */
    POLDER_CLUSTER_NOT_MATCH = 54,
    POLDER_BAD_VERSION = 55, /* the other side speaks another protocol */
    POLDER_DEADLINE = 56,    /* the deadline passed before it was executed: it did not happen */
    POLDER_EXISTS = 57,      /* members of a region: there is one already */
    POLDER_CANCELLED = 58,   /* the handle was closed before it was sent */
    POLDER_UNSUPPORTED = 59,
    POLDER_IO = 64,
    POLDER_CORRUPT = 65,
    POLDER_NO_MEMORY = 66,
    POLDER_CLOSED = 67,
};

/* ---- opening */

struct polder_options {
    size_t size;    /* sizeof(struct polder_options) */
    const char *pd; /* endpoints of the placement drivers: "host:port,host:port" (or tcp://host:port, tls+tcp://...) */
    uint32_t deadline_ms;     /* per operation, when the call names none; 0: 10 000 */
    uint32_t outstanding_max; /* operations under way at once; further ones get POLDER_BUSY, like those that would make
                               * it  more than 512 MiB of keys and values; 0: 65 536 */
    uint32_t silence_ms;      /* a store that owes answers and says nothing for this long is tried around; 0: 1 000 */
    uint32_t route_count_max; /* routes remembered; 0: 100 000 */
    /* PEM; given: connections are TLS and the servers are verified: their certificate's chain, and its name if the
     * address has one (not for numeric addresses) */
    const char *tls_ca_file;
    const char *tls_cert_file; /* PEM: the own certificate, for mutual TLS; NULL: none */
    const char *tls_key_file;  /* PEM */
    const char *name;          /* shows in the logs of servers; NULL: "libpolder" */
    /* Lines for operators (a store became unreachable, ...), from the library's threads; NULL: none are written. */
    void (*log)(void *user, const char *line);
    void *log_user;
    uint64_t outstanding_size_max; /* bytes of keys and values under way at once, likewise; 0: 512 MiB */
};

/* Checks the options and starts the client's threads; connecting goes on in the background, so an unreachable cluster
 * shows as POLDER_UNAVAILABLE of the first operations (after their deadline), not here. Returns POLDER_OK, or
 * POLDER_INVALID and the like with one line in `error_text` (may be NULL). */
POLDER_API int polder_open(const struct polder_options *options, struct polder **ret_polder, char *error_text,
                           size_t error_text_size);

/* Ends all operations under way (their results say CANCELLED and NOT_DONE if they were never sent, MAYBE and UNKNOWN
 * for writes that were), waits for callbacks that run, then frees the handle. Not from a callback. NULL is fine. */
POLDER_API void polder_close(struct polder *polder);

POLDER_API const char *polder_version(void);       /* "0.1.0" */
POLDER_API const char *polder_code_name(int code); /* "NotLeader"; never NULL */

/* ---- results */

struct polder_row {
    struct polder_bytes key;
    struct polder_bytes value; /* scan, batch get */
    bool found;                /* batch get: the key exists */
    uint8_t outcome;           /* enum polder_outcome, of this key */
    uint16_t code;             /* enum polder_code, of this key */
};

struct polder_cluster;

/* Never NULL from a call; freed by whoever got it. All memory that it points to ends with it. */
struct polder_result {
    enum polder_outcome outcome;
    int code; /* enum polder_code */
    enum polder_advice advice;
    uint32_t wait_ms;  /* with ADVICE_RETRY: not before this */
    const char *name;  /* of the code, static */
    const char *text;  /* one line for people; "" when done */
    bool found;        /* get: the key exists. cas: it existed with `value` */
    bool more;         /* scan: stopped by a limit (there may be more): go on with `next`. delete range: not done */
    uint32_t attempts; /* how often something was sent for it */
    struct polder_bytes
        value; /* get; cas that failed: the value now (absent when the failing attempt was a repeated one) */
    const struct polder_row *rows; /* scan: in scan order. batches: one per key, in the caller's order */
    size_t row_count;
    struct polder_bytes next;             /* scan: continuation token. delete range that is not done: how far it is */
    const struct polder_cluster *cluster; /* cluster calls, when done; else NULL */
    uint64_t checksum;                    /* checksum, when done */
    uint64_t checksum_rows;               /* how many rows it is of */
    uint64_t checksum_size;               /* bytes of their keys and values */
    uint64_t ttl_ms;                      /* ttl: what is left; 0: it does not expire */
};

POLDER_API void polder_result_free(struct polder_result *result); /* NULL is fine */

/* ---- operations, blocking
 *
 * `call` may be NULL: all defaults. Arguments are lent for the duration of the call only. */

enum polder_read {
    POLDER_READ_LEADER = 0, /* linearizable; the leader answers under its lease if it has one */
    POLDER_READ_INDEX = 1,  /* linearizable; the leader asks a quorum each time */
    POLDER_READ_STALE = 2,  /* whatever the asked replica has applied; may be old */
};

struct polder_call {
    size_t size;          /* sizeof(struct polder_call) */
    uint32_t deadline_ms; /* 0: as in the options */
    enum polder_read read;
    uint64_t ttl_ms; /* put, cas, batch put: what is put expires so long after (see polder_ttl); 0: never */
};

POLDER_API struct polder_result *polder_get(struct polder *polder, struct polder_bytes key,
                                            const struct polder_call *call);
POLDER_API struct polder_result *polder_put(struct polder *polder, struct polder_bytes key, struct polder_bytes value,
                                            const struct polder_call *call);
/* DONE also when there was no such key. */
POLDER_API struct polder_result *polder_delete(struct polder *polder, struct polder_bytes key,
                                               const struct polder_call *call);
/* Writes `value` if the key's value is `*expected` (NULL: if there is no such key). Otherwise NOT_DONE with
 * POLDER_CONDITION_FAILED, and `found` and `value` tell what is there. */
POLDER_API struct polder_result *polder_cas(struct polder *polder, struct polder_bytes key,
                                            const struct polder_bytes *expected, struct polder_bytes value,
                                            const struct polder_call *call);

struct polder_scan {
    size_t size;                /* sizeof(struct polder_scan) */
    struct polder_bytes start;  /* first key, inclusive; empty: the first of all */
    struct polder_bytes end;    /* exclusive; empty: after the last of all */
    struct polder_bytes prefix; /* only keys that begin so; narrows [start, end) further */
    struct polder_bytes token;  /* `next` of the page before; empty: the first page. All other fields as before */
    uint32_t limit;             /* rows in one result; 0: 1 000 */
    uint32_t limit_size;        /* bytes of keys and values in one result, about; 0: 4 MiB, at most 64 MiB */
    bool reverse;               /* from the last key towards the first */
    bool keys_only;
};

/* One page of the rows in key order. A page is consistent per region, not across regions. */
POLDER_API struct polder_result *polder_scan(struct polder *polder, const struct polder_scan *scan,
                                             const struct polder_call *call);

struct polder_pair {
    struct polder_bytes key;
    struct polder_bytes value;
    bool remove; /* batch write: delete the key instead */
};

/* Batches go to each region once, together; each region's part happens wholly or not at all, the parts are independent.
 * `rows` of the result tells per key. `outcome`: DONE if all keys are done, NOT_DONE if none is, else UNKNOWN (see
 * rows); `code`: that of the first key that is not done. If a key comes twice in a write, the later one wins. */
POLDER_API struct polder_result *polder_batch_get(struct polder *polder, const struct polder_bytes *keys, size_t count,
                                                  const struct polder_call *call);
POLDER_API struct polder_result *polder_batch_put(struct polder *polder, const struct polder_pair *pairs, size_t count,
                                                  const struct polder_call *call);
POLDER_API struct polder_result *polder_batch_delete(struct polder *polder, const struct polder_bytes *keys,
                                                     size_t count, const struct polder_call *call);
/* Puts and deletes mixed (`remove`). */
POLDER_API struct polder_result *polder_batch_write(struct polder *polder, const struct polder_pair *pairs,
                                                    size_t count, const struct polder_call *call);

/* A key that was put with a `ttl_ms` expires: it is as if it had been deleted then. The time is the cluster's, kept in the log
 * of each region and led by the wall clocks of leaders: it never goes back, so a key that was seen to be gone does not
 * return, whatever happens to clocks and leaders (stale reads apart, as always). It is gone at most a quarter of a second
 * after its time by the leader's clock; earlier only if clocks disagree, by as much as they do. Putting the key again, with
 * or without ttl_ms, begins a new life. The longest is 100 years. */
#define POLDER_TTL_MAX_MS ((uint64_t)36525 * 24 * 3600 * 1000)
/* What is left of a key's life: `found`, and `ttl_ms` (0: it does not expire). */
POLDER_API struct polder_result *polder_ttl(struct polder *polder, struct polder_bytes key,
                                            const struct polder_call *call);

/* Removes all keys in [start, end): an empty start is the first of all, an empty end is after the last of all. In each
 * region it happens wholly or not at all, at one moment; the regions follow each other in key order. NOT_DONE: nothing was
 * removed. UNKNOWN: everything before `next` is removed (with `code` of what ended it), what comes from there on may be:
 * to finish, call again with `next` as start. However often it is sent inside, a key that is written after it was
 * removed stays. */
POLDER_API struct polder_result *polder_delete_range(struct polder *polder, struct polder_bytes start,
                                                     struct polder_bytes end, const struct polder_call *call);

/* Checksum of all rows in [start, end), bounds as above: the exclusive or, over all rows, of CRC-64/XZ of the key followed by
 * the value. So it does not depend on the order, and checksums of ranges that follow each other can be joined the same way;
 * TiKV's raw checksum is the same. Up to 32 MiB of rows of one region are of one moment; a range that nobody writes to
 * meanwhile has one checksum. */
POLDER_API struct polder_result *polder_checksum(struct polder *polder, struct polder_bytes start,
                                                 struct polder_bytes end, const struct polder_call *call);

/* ---- operations, by callback
 *
 * Return POLDER_OK: accepted, and `callback` comes exactly once, on a thread of the library (any, but never two at a
 * time for one handle), with a result that it owns (and frees, now or later). Anything else: refused at once
 * (POLDER_BUSY, POLDER_KEY_EMPTY, POLDER_CLOSED, ...), nothing was done and no callback comes. Arguments are copied
 * before the return. A callback must not wait and must not make blocking calls of this library; it may start further
 * operations. */

typedef void (*polder_callback)(void *user, struct polder_result *take_result);

POLDER_API int polder_get_async(struct polder *polder, struct polder_bytes key, const struct polder_call *call,
                                polder_callback callback, void *user);
POLDER_API int polder_put_async(struct polder *polder, struct polder_bytes key, struct polder_bytes value,
                                const struct polder_call *call, polder_callback callback, void *user);
POLDER_API int polder_delete_async(struct polder *polder, struct polder_bytes key, const struct polder_call *call,
                                   polder_callback callback, void *user);
POLDER_API int polder_cas_async(struct polder *polder, struct polder_bytes key, const struct polder_bytes *expected,
                                struct polder_bytes value, const struct polder_call *call, polder_callback callback,
                                void *user);
POLDER_API int polder_scan_async(struct polder *polder, const struct polder_scan *scan, const struct polder_call *call,
                                 polder_callback callback, void *user);
POLDER_API int polder_batch_get_async(struct polder *polder, const struct polder_bytes *keys, size_t count,
                                      const struct polder_call *call, polder_callback callback, void *user);
POLDER_API int polder_ttl_async(struct polder *polder, struct polder_bytes key, const struct polder_call *call,
                                polder_callback callback, void *user);
POLDER_API int polder_delete_range_async(struct polder *polder, struct polder_bytes start, struct polder_bytes end,
                                         const struct polder_call *call, polder_callback callback, void *user);
POLDER_API int polder_checksum_async(struct polder *polder, struct polder_bytes start, struct polder_bytes end,
                                     const struct polder_call *call, polder_callback callback, void *user);
POLDER_API int polder_batch_write_async(struct polder *polder, const struct polder_pair *pairs, size_t count,
                                        const struct polder_call *call, polder_callback callback, void *user);

/* ---- operations, by completion queue
 *
 * For programs with a poll loop of their own: results wait in a queue, whose descriptor is readable while it is not
 * empty.
 *
 *   polder_get_async(db, key, NULL, polder_queue_callback, polder_queue_ticket(queue, my_request));
 *   ... poll() says that polder_queue_fd(queue) is readable ...
 *   count = polder_queue_take(queue, completions, 16);
 *
 * A ticket is used up by the one operation that it was given to; if that was refused at once, polder_ticket_free it. */

struct polder_queue;
struct polder_ticket;

struct polder_completion {
    void *tag;                    /* as given to polder_queue_ticket */
    struct polder_result *result; /* the caller's */
};

/* NULL: no descriptor is left. */
POLDER_API struct polder_queue *polder_queue_new(void);
/* All operations with its tickets must have ended (after polder_close they have); results that nobody took are freed.
 */
POLDER_API void polder_queue_free(struct polder_queue *queue);
POLDER_API int
polder_queue_fd(const struct polder_queue *queue); /* to poll for reading; the queue's, only to be polled */
POLDER_API struct polder_ticket *polder_queue_ticket(struct polder_queue *queue, void *tag);
POLDER_API void polder_ticket_free(struct polder_ticket *ticket);
POLDER_API void polder_queue_callback(void *ticket, struct polder_result *take_result);
/* Up to `count_max` completions, oldest first; 0: none is there. Any thread. */
POLDER_API size_t polder_queue_take(struct polder_queue *queue, struct polder_completion *completions,
                                    size_t count_max);

/* ---- the cluster, for tools */

struct polder_peer {
    uint64_t id;
    uint64_t store_id;
    uint8_t role; /* 0 voter, 1 learner, 2 incoming voter, 3 demoting voter */
};

struct polder_region {
    uint64_t id;
    struct polder_bytes start_key; /* encoded: raw user keys have the byte 'r' in front */
    struct polder_bytes end_key;   /* encoded, exclusive; empty: end of the key space */
    uint64_t epoch_conf;
    uint64_t epoch_version;
    const struct polder_peer *peers;
    size_t peer_count;
    uint64_t leader_peer; /* 0: not known */
    uint64_t leader_store;
};

/* A peer as its leader knows it. */
struct polder_peer_status {
    uint64_t id;
    uint64_t store_id;
    uint8_t role; /* as in polder_peer */
    bool leader;
    bool active;    /* heard of lately */
    bool snapshot;  /* gets one just now */
    uint64_t match; /* it has the log up to here */
};

enum polder_peer_change_kind {
    POLDER_PEER_ADD_LEARNER = 1, /* a new peer: it gets the data, and does not vote */
    POLDER_PEER_PROMOTE = 2,     /* a learner that has (nearly) everything votes */
    POLDER_PEER_DEMOTE = 3,
    POLDER_PEER_REMOVE = 4
};

struct polder_peer_change {
    enum polder_peer_change_kind kind;
    uint64_t store_id;
};

enum { POLDER_PEER_CHANGES_MAX = 16 };

enum polder_store_state {
    POLDER_STORE_UNKNOWN = 0,
    POLDER_STORE_UP = 1,
    POLDER_STORE_DISCONNECTED = 2,
    POLDER_STORE_DOWN = 3
};

struct polder_store {
    uint64_t id;
    const char *address;
    const char *status_address;
    const char *version;
    enum polder_store_state state;
    uint64_t heartbeat_age_ms;
    uint64_t region_count;
    uint64_t leader_count;
    uint64_t capacity_size;
    uint64_t available_size;
    uint64_t used_size;
    uint64_t started_at_ms; /* Unix time */
    uint64_t keys_written;
    uint64_t keys_read;
    bool lost; /* given up for good (pd-ctl unsafe recover): it never comes back */
};

struct polder_member {
    uint64_t id;
    const char *name;
    const char *address;
    bool leader;
    bool learner; /* has no vote yet */
    bool active;  /* was heard of lately: said by the leader alone */
};

/* Each call fills what it says, the rest is zero. */
struct polder_cluster {
    uint64_t cluster_id;
    bool bootstrapped;
    uint32_t store_count_wanted; /* before bootstrap: how many stores pd waits for */
    uint64_t region_count;
    const struct polder_member *members;
    size_t member_count;
    const struct polder_store *stores;
    size_t store_count;
    const struct polder_region *regions;
    size_t region_page_count; /* elements of `regions` */
    uint64_t first_id;
    uint64_t timestamp; /* physical ms << 18 | counter */
    uint32_t count;
    uint64_t revision; /* of pd's state that answered */
    uint64_t lag_ms;
    const struct polder_peer_status *peers; /* polder_region_peers */
    size_t peer_count;
    uint64_t last_index; /* polder_region_peers: the end of the leader's log */
};

/* cluster_id, bootstrapped, store_count_wanted, region_count, members. */
POLDER_API struct polder_result *polder_cluster_info(struct polder *polder, const struct polder_call *call);
POLDER_API struct polder_result *polder_cluster_stores(struct polder *polder, const struct polder_call *call);
/* A page of regions in key order, from the one that holds `start_key` (encoded; empty: the first). The page after it
 * starts at the last region's end_key; an empty end_key is the end. limit 0: 256. */
POLDER_API struct polder_result *polder_cluster_regions(struct polder *polder, struct polder_bytes start_key,
                                                        uint32_t limit, const struct polder_call *call);
POLDER_API struct polder_result *polder_cluster_region_by_id(struct polder *polder, uint64_t id,
                                                             const struct polder_call *call);
/* The region that holds a raw user key, as pd knows it. */
POLDER_API struct polder_result *polder_cluster_region_of(struct polder *polder, struct polder_bytes key,
                                                          const struct polder_call *call);
/* Compares what the replicas of the region of `key` hold, as of one entry of its log. The value of the result is a line per
 * replica: region, peer, store, index, hash, rows, bytes, separated by blanks; a hash of - was not heard in time. */
POLDER_API struct polder_result *polder_region_check(struct polder *polder, struct polder_bytes key,
                                                     const struct polder_call *call);
/* A region begins at this raw user key from now on. If one did already, nothing happens. */
POLDER_API struct polder_result *polder_region_split(struct polder *polder, struct polder_bytes key,
                                                     const struct polder_call *call);
/* The same for several keys, all different, in any order. Regions at whose keys it was not done are told by the rows of
 * the result, one per key; to repeat it does no harm. */
POLDER_API struct polder_result *polder_region_split_keys(struct polder *polder, const struct polder_bytes *keys,
                                                          size_t count, const struct polder_call *call);
/* The members of a region as its leader knows them: regions[0], peers, last_index. `start_key` (encoded) and `id` as in
 * polder_region. */
POLDER_API struct polder_result *polder_region_peers(struct polder *polder, uint64_t id, struct polder_bytes start_key,
                                                     const struct polder_call *call);
/* Changes members, all in one step. DONE: it is decided; more than one voter at once is in effect a moment later, when no
 * peer is in between (role 2 or 3) any more. CONDITION_FAILED: epoch_conf is not `guard_conf` (0: whatever it is), perhaps
 * because it was done by an earlier try. NOT_READY, BUSY: after the deadline; text says why. NOT_FOUND, EXISTS, INVALID. */
POLDER_API struct polder_result *polder_region_change_peers(struct polder *polder, uint64_t id,
                                                            struct polder_bytes start_key,
                                                            const struct polder_peer_change *changes, size_t count,
                                                            uint64_t guard_conf, const struct polder_call *call);
/* DONE: the leader begins to hand over (or the peer on that store leads). */
POLDER_API struct polder_result *polder_region_transfer_leader(struct polder *polder, uint64_t id,
                                                               struct polder_bytes start_key, uint64_t store_id,
                                                               const struct polder_call *call);
/* Asks that the region `source`, which begins at `start_key` (encoded, as pd says it), become part of its neighbour `target`.
 * DONE: it has begun. Then its keys wait until it is through, mostly some milliseconds; or it is given up, and all is as
 * before (polder_cluster_regions tells). */
POLDER_API struct polder_result *polder_region_merge(struct polder *polder, uint64_t source,
                                                     struct polder_bytes start_key, uint64_t target,
                                                     const struct polder_call *call);
/* `count` ids that nobody else gets: first_id .. first_id + count - 1. */
POLDER_API struct polder_result *polder_cluster_alloc_ids(struct polder *polder, uint32_t count,
                                                          const struct polder_call *call);
/* `count` timestamps larger than all given out before: timestamp .. timestamp + count - 1. */
POLDER_API struct polder_result *polder_cluster_timestamp(struct polder *polder, uint32_t count,
                                                          const struct polder_call *call);

/* ---- counters of this handle, since it was opened */

struct polder_stats {
    size_t size;           /* sizeof(struct polder_stats), set by the caller */
    uint64_t operations;   /* ended */
    uint64_t outstanding;  /* under way */
    uint64_t requests;     /* sent to stores, re-sent ones included */
    uint64_t retries;      /* of these: re-sent */
    uint64_t frames;       /* sent to stores: requests / frames is the batching */
    uint64_t reroutes;     /* answers that said "not here" */
    uint64_t backoffs;     /* answers that said "not now" */
    uint64_t losses;       /* requests whose answer was lost with a connection, or waited for too long */
    uint64_t unknown;      /* operations that ended UNKNOWN */
    uint64_t route_misses; /* keys that no cached route covered */
    uint64_t route_loads;  /* questions to pd about routes */
    uint64_t routes;       /* cached now */
    uint64_t stores;       /* known now */
};

POLDER_API void polder_stats(struct polder *polder, struct polder_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
