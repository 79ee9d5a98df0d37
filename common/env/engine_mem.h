/* engine_mem: the engine of the simulator: an ordered map that forgets unsynced writes when told to crash.
 *
 * Each column family is a treap whose nodes are shared between versions (a changed path is copied if somebody else
 * still looks at it). So an iterator holds a version and sees the state at its creation whatever is written meanwhile,
 * and each batch that is not durable yet holds the version before it: a crash is going back to one of those. Priorities
 * come from the bytes of the key: equal contents have equal shape, whatever their history.
 *
 * The object is the disk: it survives the node. A node that crashed is brought up again over the same engine. Handles
 * of the node that died (batches, iterators) may still be freed, and writing such a batch is ERR_CLOSED; what nobody
 * frees goes with engine_mem_free.
 *
 * Time: without a disk model a sync takes no time. With one, the disk does one sync after the other; each ends at a
 * time of its own, and only at that time it and all batches before it are durable. A crash in between may lose them. At
 * most 4096 batches wait for being durable: then the oldest becomes so (a kernel writes back sometimes as well).
 *
 * What a crash leaves is what RocksDB's recovery makes of its log: whole batches (a batch has a checksum: one that was
 * cut is none), in order, up to the first that is missing, whatever the disk has behind it. And it is durable from then
 * on, because recovery writes it into tables and syncs those. So a torn end, lost pages and pages written out of order
 * differ in how much is left, not in what: enum engine_mem_loss.
 *
 * Tables (engine_tables.h) are files beside that: one that was finished stays, whatever becomes of the log; one that was
 * not leaves rubbish, or nothing; one that was removed may come back. What was ingested is there after a crash, on top of
 * whatever is left of the batches before it.
 *
 * Compactions: engine_set_expiry drops about half of what it may, at once and for good; the rest stays until the next call.
 *
 * Owner: the simulated store or the unit test. Threads: one at a time. */
#ifndef ENV_ENGINE_MEM_H
#define ENV_ENGINE_MEM_H

#include "base/rng.h"
#include "env/engine.h"

enum err engine_mem_new(struct engine **ret_engine);
void engine_mem_free(struct engine *engine); /* and all handles that are left; NULL is fine */

/* What the disk is like. The first three or none; `now_us` and `wait_us` are about the actor that is calling right now. */
struct engine_mem_disk {
    void *context; /* borrowed */
    uint64_t (*now_us)(void *context);
    uint64_t (*sync_cost_us)(void *context, size_t size); /* of syncing so many bytes */
    void (*wait_us)(void *context, uint64_t us);          /* a synced write waits: move the actor's time */
    /* The rest may be NULL or false. */
    /* An actor that waited is ahead of it; a crash can come at any time after it. */
    uint64_t (*world_us)(void *context);
    /* Asked once the batch of a synced write is visible: the sync fails, after its time. Then nothing since the sync
     * before it is sure any more, whatever is synced later, and the engine refuses all writes until the next crash. */
    bool (*sync_fails)(void *context);
    bool (*read_fails)(void *context); /* asked before each get and move of an iterator: ERR_IO, this once */
    struct engine_space (*space)(void *context); /* NULL: not known */
    bool (*table_rots)(void *context); /* asked when a table is finished: it can no longer be read */
    bool writes_wait;                  /* unsynced writes wait for a sync that is under way: they have one queue */
};
void engine_mem_set_disk(struct engine *engine, const struct engine_mem_disk *disk); /* copied; NULL: no disk model */

/* Asked before each write. ERR_OK: go on; ERR_DISK_FULL: the write fails, nothing changed; ERR_IO: it fails and so does
 * every write until the next crash. NULL takes it away. It may be left in place over a crash. */
typedef enum err engine_mem_fault(void *context, bool sync, size_t size);
void engine_mem_set_fault(struct engine *engine, engine_mem_fault *fault, void *context);

/* What becomes of the batches behind the last sync that ended. */
enum engine_mem_loss {
    ENGINE_MEM_TORN, /* a prefix of random length is left, and the end may have been cut in the middle of a batch */
    ENGINE_MEM_KEEP, /* all are left: the kernel had written back in time, or only the process died */
    ENGINE_MEM_LOSE, /* none is */
    ENGINE_MEM_HOLES /* the kernel wrote back some, in no order: what is left ends at the first that is missing */
};

/* The node dies at `now_us` (of the disk's clock; ignored without a disk model). What was synced by then stays. Returns
 * how many batches were lost. */
size_t engine_mem_crash_as(struct engine *engine, uint64_t now_us, struct rng *rng, enum engine_mem_loss loss);
/* ENGINE_MEM_TORN */
void engine_mem_crash(struct engine *engine, uint64_t now_us, struct rng *rng);

/* The row at `key` cannot be read any more, in this state and in those that a crash goes back to: whoever meets it gets
 * ERR_CORRUPT, until it is overwritten or deleted. False: no such row. */
bool engine_mem_damage(struct engine *engine, enum engine_cf cf, struct bytes key);

/* As engine_get, of what no crash could take back any more at this time of the world. For checkers. */
enum err engine_mem_get_durable(struct engine *engine, enum engine_cf cf, struct bytes key, struct buf *value);

struct engine_mem_stats {
    uint64_t row_count[ENGINE_CF_COUNT];
    uint64_t row_size;       /* bytes of keys and values */
    uint64_t volatile_count; /* batches that a crash right now could lose, as far as is known without a clock */
    uint64_t write_count, sync_count;
    uint64_t table_count; /* files, rubbish too */
    uint64_t expired_count; /* rows dropped because engine_set_expiry allowed it */
    uint64_t batch_count, iter_count; /* handles that are alive: a node that was shut down cleanly left none */
};
void engine_mem_stats(struct engine *engine, struct engine_mem_stats *ret_stats);

#endif
