/* engine: ordered bytes on a disk that may forget what was not synced.
 *
 * Four column families. Writes are atomic batches; a batch written with `sync` is durable when the call returns, and then
 * so is every batch before it (one write-ahead log for all column families, replayed in order: after a crash what is left
 * is a prefix of the batches). A failed sync is final: the engine refuses everything afterwards (ERR_IO), the store stops.
 *
 * Calls may wait for the disk: only log, apply and read workers make them (and start-up code). Threads: any.
 *
 * Reads are ordered by bytes_compare. */
#ifndef ENV_ENGINE_H
#define ENV_ENGINE_H

#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"

enum engine_cf { ENGINE_DEFAULT, ENGINE_LOCK, ENGINE_WRITE, ENGINE_RAFT, ENGINE_CF_COUNT };

/* Keys of ENGINE_RAFT that share so many first bytes are expected to come in ascending order. */
enum { ENGINE_RAFT_HINT_SIZE = 11 };

struct engine_batch; /* made by one engine, written to the same one; reusable after engine_batch_clear */
struct engine_iter;  /* sees the state at its creation */

struct engine_tables; /* engine_tables.h */

struct engine {
    const struct engine_ops *ops;
    struct engine_tables *tables; /* owned */
};

/* Bytes; an estimate. `available` and `capacity` are of the file system; 0: not known. */
struct engine_space {
    uint64_t used_size, available_size, capacity_size;
};

/* Rows of ENGINE_DEFAULT in [start, end) may be dropped if they are expired at `time_ms`; an empty end is open. */
struct engine_span {
    struct bytes start, end;
    uint64_t time_ms;
};

/* All spans of one slot, in any order; slots belong to different callers. */
enum { ENGINE_EXPIRY_SLOT_COUNT = 16 };
struct engine_expiry {
    uint32_t slot;
    const struct engine_span *spans;
    size_t count;
    bool (*is_expired)(struct bytes value, uint64_t time_ms); /* any thread */
};

struct engine_ops {
    void (*space)(struct engine *engine, struct engine_space *ret_space);
    struct engine_batch *(*batch_new)(struct engine *engine);
    void (*batch_free)(struct engine_batch *batch);
    void (*batch_clear)(struct engine_batch *batch);
    void (*batch_put)(struct engine_batch *batch, enum engine_cf cf, struct bytes key, struct bytes value);
    void (*batch_delete)(struct engine_batch *batch, enum engine_cf cf, struct bytes key);
    void (*batch_delete_range)(struct engine_batch *batch, enum engine_cf cf, struct bytes start, struct bytes end);
    void (*batch_append)(struct engine_batch *batch, struct engine_batch *other);
    bool (*batch_find)(const struct engine_batch *batch, enum engine_cf cf, struct bytes key, bool *ret_present,
                       struct bytes *ret_value);
    size_t (*batch_count)(const struct engine_batch *batch);
    size_t (*batch_size)(const struct engine_batch *batch);
    void (*batch_cut)(struct engine_batch *batch, size_t count, size_t size);
    enum err (*write)(struct engine *engine, struct engine_batch *batch, bool sync, struct error *err);
    enum err (*get)(struct engine *engine, enum engine_cf cf, struct bytes key, struct buf *value, struct error *err);
    struct engine_iter *(*iter_new)(struct engine *engine, enum engine_cf cf, struct bytes lower, struct bytes upper);
    struct engine_iter *(*iter_new_once)(struct engine *engine, enum engine_cf cf, struct bytes lower, struct bytes upper);
    void (*iter_free)(struct engine_iter *iter);
    void (*iter_seek)(struct engine_iter *iter, struct bytes key);
    void (*iter_seek_for_previous)(struct engine_iter *iter, struct bytes key);
    bool (*iter_valid)(const struct engine_iter *iter);
    void (*iter_next)(struct engine_iter *iter);
    void (*iter_previous)(struct engine_iter *iter);
    struct bytes (*iter_key)(const struct engine_iter *iter);
    struct bytes (*iter_value)(const struct engine_iter *iter);
    enum err (*iter_error)(const struct engine_iter *iter, struct error *err);
    enum err (*set_expiry)(struct engine *engine, const struct engine_expiry *expiry, struct error *err);
    uint64_t (*approximate_size)(struct engine *engine, enum engine_cf cf, struct bytes start, struct bytes end); /* or NULL */
};

static inline void engine_get_space(struct engine *engine, struct engine_space *ret_space)
{
    engine->ops->space(engine, ret_space);
}

/* Bytes that [start, end) takes on the disk, an estimate without what is only in memory; 0: not known. An empty end is open. */
static inline uint64_t engine_approximate_size(struct engine *engine, enum engine_cf cf, struct bytes start,
                                               struct bytes end)
{
    return engine->ops->approximate_size ? engine->ops->approximate_size(engine, cf, start, end) : 0;
}

/* Batches. Nothing fails here: memory is bounded by the caller. Operations apply in order. */
static inline struct engine_batch *engine_batch_new(struct engine *engine) { return engine->ops->batch_new(engine); }
static inline void engine_batch_free(struct engine *engine, struct engine_batch *batch) { engine->ops->batch_free(batch); }
static inline void engine_batch_clear(struct engine *engine, struct engine_batch *batch) { engine->ops->batch_clear(batch); }
static inline void engine_batch_put(struct engine *engine, struct engine_batch *batch, enum engine_cf cf, struct bytes key, struct bytes value) { engine->ops->batch_put(batch, cf, key, value); }
static inline void engine_batch_delete(struct engine *engine, struct engine_batch *batch, enum engine_cf cf, struct bytes key) { engine->ops->batch_delete(batch, cf, key); }
/* Removes [start, end). In ENGINE_RAFT `start` is shorter than ENGINE_RAFT_HINT_SIZE (engine_rocks.c says why). */
static inline void engine_batch_delete_range(struct engine *engine, struct engine_batch *batch, enum engine_cf cf, struct bytes start, struct bytes end) { engine->ops->batch_delete_range(batch, cf, start, end); }
/* Puts all operations of `other` behind those of `batch`; `other` stays as it is. */
static inline void engine_batch_append(struct engine *engine, struct engine_batch *batch, struct engine_batch *other) { engine->ops->batch_append(batch, other); }
/* Does the batch say anything about `key`? Then what its last word is; the value is lent until the batch changes. Looks at
 * every operation. */
static inline bool engine_batch_find(struct engine *engine, const struct engine_batch *batch, enum engine_cf cf,
                                     struct bytes key, bool *ret_present, struct bytes *ret_value)
{
    return engine->ops->batch_find(batch, cf, key, ret_present, ret_value);
}
static inline size_t engine_batch_count(struct engine *engine, const struct engine_batch *batch) { return engine->ops->batch_count(batch); }
static inline size_t engine_batch_size(struct engine *engine, const struct engine_batch *batch) { return engine->ops->batch_size(batch); }

/* Takes back what was put in since it had so many operations and bytes. */
static inline void engine_batch_cut(struct engine *engine, struct engine_batch *batch, size_t count, size_t size) { engine->ops->batch_cut(batch, count, size); }

/* ERR_OK, ERR_DISK_FULL, ERR_IO (final), ERR_CORRUPT. The batch is not consumed. */
static inline enum err engine_write(struct engine *engine, struct engine_batch *batch, bool sync, struct error *err) { return engine->ops->write(engine, batch, sync, err); }
/* ERR_OK and the value in `value` (assigned, not appended), or ERR_NOT_FOUND (no text is set), or ERR_IO, ERR_CORRUPT. */
static inline enum err engine_get(struct engine *engine, enum engine_cf cf, struct bytes key, struct buf *value, struct error *err) { return engine->ops->get(engine, cf, key, value, err); }

/* Iterates [lower, upper); an empty bound is open. Not positioned until a seek. `lower` and `upper` are copied. Keys and
 * values are lent until the next move. After the loop ask iter_error: an iterator that met bad bytes ends early. */
static inline struct engine_iter *engine_iter_new(struct engine *engine, enum engine_cf cf, struct bytes lower, struct bytes upper) { return engine->ops->iter_new(engine, cf, lower, upper); }
/* The same for who reads a large range once, forward: what others read stays in the cache. */
static inline struct engine_iter *engine_iter_new_once(struct engine *engine, enum engine_cf cf, struct bytes lower, struct bytes upper) { return engine->ops->iter_new_once(engine, cf, lower, upper); }
static inline void engine_iter_free(struct engine *engine, struct engine_iter *iter) { engine->ops->iter_free(iter); }
/* To the first key >= key (never before lower). An empty key is the first of all. */
static inline void engine_iter_seek(struct engine *engine, struct engine_iter *iter, struct bytes key) { engine->ops->iter_seek(iter, key); }
/* To the last key < key (never past upper); an empty key is the last of all. */
static inline void engine_iter_seek_for_previous(struct engine *engine, struct engine_iter *iter, struct bytes key) { engine->ops->iter_seek_for_previous(iter, key); }
static inline bool engine_iter_valid(struct engine *engine, const struct engine_iter *iter) { return engine->ops->iter_valid(iter); }
static inline void engine_iter_next(struct engine *engine, struct engine_iter *iter) { engine->ops->iter_next(iter); }
static inline void engine_iter_previous(struct engine *engine, struct engine_iter *iter) { engine->ops->iter_previous(iter); }
static inline struct bytes engine_iter_key(struct engine *engine, const struct engine_iter *iter) { return engine->ops->iter_key(iter); }
static inline struct bytes engine_iter_value(struct engine *engine, const struct engine_iter *iter) { return engine->ops->iter_value(iter); }
static inline enum err engine_iter_error(struct engine *engine, const struct engine_iter *iter, struct error *err) { return engine->ops->iter_error(iter, err); }

/* From now on compactions may drop what these spans allow (and no longer what earlier ones of the slot did), whenever and in
 * whatever order they like, iterators unaffected. Everything that was written before the call is made durable first: no crash
 * brings back a state from before the one that allowed it. Copies. Errors as engine_write; then nothing is dropped. */
static inline enum err engine_set_expiry(struct engine *engine, const struct engine_expiry *expiry, struct error *err) { return engine->ops->set_expiry(engine, expiry, err); }

#endif
