/* store_table: what placement knows of each store, and what life it leads.
 *
 * Two things that must not be mixed: what heartbeats say, and what people want.
 *
 *   heard:  unknown --heartbeat--> up --silent--> disconnected --silent--> down      (store_table_tick)
 *               ^                   ^------------heartbeat-----------+--------+
 *   wanted: serving --drain--> draining --empty--> tombstone --remove--> (gone)
 *               ^--cancel_drain----+
 *
 * A planned restart (prepare_stop) holds both: until its deadline leaders leave the store, it gets nothing new, and its
 * silence does not make it down, so nothing is repaired that comes back by itself. Cordoned: gets nothing new, no more.
 *
 * Labels are `name=value`, interned: a store has at most one value per name.
 *
 * Limits: bytes of snapshots that a store receives and sends, a token bucket each. A bucket may go into debt by one
 * region, so a region larger than the bucket is slow, never impossible. While a store says that its foreground latency
 * is above the target, its rate halves each time, and recovers by a twentieth of the full rate per second.
 *
 * Owner: whoever owns the table (pd's leader; the placement simulator). Time comes in as milliseconds.
 * Invariants: T1 entries are ordered by id;  T2 coming_* are the sums of what running operators still owe. */
#ifndef PD_STORE_TABLE_H
#define PD_STORE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/types.h"

enum {
    STORE_TABLE_COUNT_MAX = STORE_COUNT_MAX,
    STORE_LABELS_MAX = 8,
    LABEL_TEXT_SIZE = 64, /* with the zero */
    LABEL_TEXTS_MAX = 8192,
};

enum store_heard { STORE_UNKNOWN, STORE_UP, STORE_DISCONNECTED, STORE_DOWN };
enum store_wanted { STORE_SERVING, STORE_DRAINING, STORE_TOMBSTONE, STORE_LOST }; /* lost: never to come back */

struct store_bucket {
    int64_t rate_size; /* bytes per second; 0: no limit */
    int64_t tokens;    /* bytes; negative: debt */
    uint64_t filled_ms;
};

struct store_label {
    uint16_t name, value; /* interned */
};

struct store_entry {
    store_id id;
    enum store_heard heard;
    enum store_wanted wanted;
    bool cordoned;
    bool evict_leaders;        /* asked for by people, like ... */
    bool grant_leaders;        /* all leaders that can be here; never with evict_leaders */
    uint64_t restart_until_ms; /* planned restart; 0: none */
    uint64_t heard_ms;         /* last heartbeat; or since when we listen */
    uint64_t up_since_ms;      /* it came back then; 0: it was never away */
    uint32_t returns;          /* how often it came back unannounced; one is forgotten per hour up */
    uint64_t capacity_size, available_size;
    double leader_weight, region_weight; /* 1 */
    uint32_t slow_score;                 /* 0 .. 100, from its own syncs and latencies */
    uint64_t latency_us;                 /* of foreground requests */
    uint32_t label_count;
    struct store_label labels[STORE_LABELS_MAX];
    struct store_bucket send, receive;
    int64_t backoff_permille; /* of the rates; 1000: no back-off */
    uint64_t receive_limit, send_limit; /* as people set them; 0: the default */
    uint64_t restart_until_wall_ms;     /* as people said */
    bool tombstone_said;                /* it is in pd's log that it is one */
    uint32_t drain_count;     /* peers when draining began */
    uint64_t drain_ms;

    /* What running operators will still add. */
    int64_t coming_count, coming_leaders, coming_size, coming_read, coming_write;

    /* pd_view_refresh */
    uint32_t count, leader_count; /* as the region tree has them */
    uint64_t size, read_load, write_load;
    double region_share, leader_share; /* of what it could take */
    uint32_t domain;                   /* index of the stores that it can exchange peers with */
    bool granted;                      /* grant_leaders, and it may lead: its leaders are no matter of balance */
    bool region_out, leader_out;       /* out of balance: it was outside of the band, and is not at the mean yet */
    bool read_out, write_out;
    uint32_t walk; /* where replica_check goes on in a store that is to be left, grant_leader in one that is not */
};

struct store_table;

struct store_table *store_table_new(uint64_t disconnected_ms, uint64_t down_ms);
void store_table_set_silence(struct store_table *table, uint64_t disconnected_ms, uint64_t down_ms);
void store_table_free(struct store_table *table); /* NULL is fine */

/* ERR_EXISTS; ERR_BUSY: STORE_TABLE_COUNT_MAX. Pointers to entries are valid until the next add or remove. */
enum err store_table_add(struct store_table *table, store_id id, uint64_t now_ms, struct store_entry **ret_store);
enum err store_table_remove(struct store_table *table, store_id id, struct error *err); /* tombstones only */
struct store_entry *store_table_find(const struct store_table *table, store_id id);     /* NULL: none */
uint32_t store_table_count(const struct store_table *table);
struct store_entry *store_table_at(const struct store_table *table, uint32_t index); /* in order of id */

/* ERR_INVALID: too long or too many. An empty value takes the label away. */
enum err store_table_set_label(struct store_table *table, struct store_entry *store, const char *name,
                               const char *value);
/* 0: never seen. */
uint16_t store_table_text(const struct store_table *table, const char *text);
const char *store_table_text_of(const struct store_table *table, uint16_t text); /* not 0 */
uint16_t store_table_intern(struct store_table *table, const char *text);   /* 0: full or too long */
uint16_t store_label_value(const struct store_entry *store, uint16_t name); /* 0: has none */

/* It is the first time that it is there: it waits as one that has come back, so that those that come with it are known
 * before anything moves. */
void store_is_new(struct store_entry *store, uint64_t now_ms);
void store_heartbeat(struct store_entry *store, uint64_t now_ms);
/* Whether it has been up for long enough after it came back: 10 s, twice as long with each return, at most 30 min. A
 * store that goes and comes is given nothing, so that nothing has to leave it again. */
bool store_is_steady(const struct store_entry *store, uint64_t now_ms);
/* Silence turns into states. */
void store_table_tick(struct store_table *table, uint64_t now_ms);
/* A new leader of pd: nothing is known, silence is counted from now. */
void store_table_forget_heard(struct store_table *table, uint64_t now_ms);

void store_prepare_stop(struct store_entry *store, uint64_t until_ms);

/* Bytes per second; 0: no limit. What is set is taken to be within these. */
enum { STORE_RATE_MIN = 1024 };
#define STORE_RATE_MAX (INT64_C(1) << 40)
void store_limit(struct store_entry *store, int64_t receive_size_per_s, int64_t send_size_per_s, uint64_t now_ms);
/* Fills buckets for the time since; backs off while `latency_us` is above the target (0: never). */
void store_refill(struct store_entry *store, uint64_t latency_target_us, uint64_t now_ms);
static inline bool store_bucket_open(const struct store_bucket *bucket)
{
    return bucket->rate_size == 0 || bucket->tokens > 0;
}
void store_bucket_take(struct store_bucket *bucket, uint64_t size);

/* It does not answer, or is not known (NULL). */
static inline bool store_is_silent(const struct store_entry *store)
{
    return !store || store->heard == STORE_DISCONNECTED || store->heard == STORE_DOWN;
}

bool store_in_restart(const struct store_entry *store, uint64_t now_ms);

#endif
