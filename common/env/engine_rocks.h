/* engine_rocks: the engine of production, RocksDB through its C API.
 *
 * Owner: whoever opened it. Threads: any, except that close must be the last call, after all iterators and batches are
 * freed. A batch belongs to one thread at a time, an iterator too.
 *
 * After a crash the log is replayed up to the first record that is not whole. A batch that is being synced can be read
 * by others before it is durable.
 *
 * A write that failed for another reason than a full disk is final: from then on every write gets ERR_IO; reads go on.
 * A write that met a full disk (ERR_DISK_FULL) changed nothing, and may be tried again. With a reserve RocksDB does not
 * even hear of it. Without, or when others eat the reserve, too: writes fail until, some seconds after there is room for
 * a write buffer again, RocksDB goes on by itself (measured on tmpfs and ext4); and a *sync* that fails is final
 * whatever the reason.
 *
 * Errors of open: ERR_LOCKED (another process, or this one, has it open), ERR_NOT_FOUND (no database there and `create`
 * is false), ERR_VERSION (column families that we do not know), ERR_CORRUPT (names the file), ERR_DISK_FULL, ERR_IO. */
#ifndef ENV_ENGINE_ROCKS_H
#define ENV_ENGINE_ROCKS_H

#include "base/log.h"
#include "env/engine.h"

struct engine_rocks_options {
    const char *path;           /* the directory; its parent must exist */
    bool create;                /* make it when it is not there */
    uint64_t block_cache_size;  /* shared by all column families; filled as needed; 0: 64 MiB */
    uint64_t write_buffer_size; /* of one column family; grown as needed; 0: 64 MiB */
    uint64_t wal_size_max;      /* what a restart has to replay at most; 0: two write buffers */
    uint32_t background_jobs;   /* flushes and compactions at a time; 0: 2 */
    uint32_t open_files_max;    /* 0: 2000 */
    uint64_t reserve_size;      /* kept free for a full disk (rocks_reserve.h); 0: none */
    /* Nothing in the directory changes: the log is replayed into memory, writes are ERR_UNSUPPORTED. RocksDB's own lock is
     * not taken: see to it that nobody writes meanwhile. */
    bool read_only;
    /* With read_only: a log that is bad in the middle is ERR_CORRUPT, not the end of the log. */
    bool strict_wal;
    struct log *log;            /* RocksDB's warnings and errors; borrowed until close; may be NULL */
};

enum err engine_rocks_open(const struct engine_rocks_options *options, struct engine **ret_engine, struct error *err);
/* Does not flush: what was not synced may be lost if the machine stops, never if only the process does. NULL is fine.
 */
void engine_rocks_close(struct engine *engine);
/* Compacts all data, which drops what engine_set_expiry allows. Waits for the disk. */
enum err engine_rocks_compact(struct engine *engine, struct error *err);
/* Writes all memtables to files, so that the next open has nothing to replay. Waits for the disk. */
enum err engine_rocks_flush(struct engine *engine, struct error *err);

struct engine_rocks_stats {
    uint64_t memtable_size;
    uint64_t table_size; /* of the files that are live */
    uint64_t cache_size; /* used */
    uint64_t table_readers_size;
    uint64_t pending_compaction_size;
    uint64_t row_count; /* an estimate */
    uint64_t expired_count; /* rows that compactions have dropped since it was opened */
    uint64_t running_flush_count, running_compaction_count;
    uint64_t delayed_write_rate;        /* bytes per second that writes are held to; 0: they are not */
    uint64_t disk_size, disk_free_size; /* of the file system */
    bool is_write_stopped;
    bool is_broken; /* a write failed for good */
};
void engine_rocks_stats(struct engine *engine, struct engine_rocks_stats *ret_stats);

/* One column family by itself. */
struct engine_rocks_family {
    const char *name;
    uint64_t table_size, table_count; /* files that are live */
    uint64_t memtable_size;
    uint64_t row_count; /* an estimate */
};
void engine_rocks_family(struct engine *engine, enum engine_cf cf, struct engine_rocks_family *ret_family);
/* The live tables, by name as in the directory ("000012.sst"). */
void engine_rocks_visit_tables(struct engine *engine, void (*visit)(void *context, const char *name, uint64_t size),
                               void *context);

/* Bytes on disk of [start, end) in one column family, an estimate; an empty bound is open. */
enum err engine_rocks_approximate_size(struct engine *engine, enum engine_cf cf, struct bytes start, struct bytes end,
                                       uint64_t *ret_size, struct error *err);

#endif
