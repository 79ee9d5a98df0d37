#include "env/engine_rocks.h"

#include <ctype.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <rocksdb/c.h>

#include "base/check.h"
#include "env/engine_batch.h"
#include "env/os.h"
#include "env/rocks_expiry.h"
#include "env/rocks_log.h"
#include "env/rocks_records.h"
#include "env/rocks_reserve.h"
#include "env/rocks_tables.h"
#include "env/rocks_wal.h"

/* Measured (2 cores, one virtual disk, a thread that syncs rounds of log entries beside one that applies):
 *
 *   - A synced batch is written first and the log synced afterwards (FlushWAL), instead of WriteOptions.sync: RocksDB
 *     then holds its write queue for the memory work only, not for the disk. Rounds of 1 row: 7,000/s instead of
 * 5,500/s, and the other thread waits 10 us a batch instead of 135 us. Rounds of 32: 3,000/s instead of 2,500/s.
 *   - Pipelined writes add nothing to that. So they are off.
 *   - Recycling log files is out: RocksDB 7.8 turns it off in every recovery mode that keeps a prefix (it could recover
 *     with a hole). Preallocation is on by itself, but the size still grows with each sync: see rocks_wal.h. */

enum { BLOOM_BITS = 10, MIB = 1024 * 1024, LEVEL_COUNT = 7, ONCE_READAHEAD_SIZE = 1024 * 1024 };

static const char *const cf_names[ENGINE_CF_COUNT] = {"default", "lock", "write", "raft"};

struct engine_rocks {
    struct engine engine; /* must be first */
    rocksdb_t *db;
    rocksdb_column_family_handle_t *cfs[ENGINE_CF_COUNT];
    rocksdb_writeoptions_t *write_options;
    rocksdb_readoptions_t *read_options;
    rocksdb_cache_t *cache;
    rocksdb_env_t *files;
    struct rocks_reserve *reserve;
    char *path;            /* owned */
    bool read_only;
    atomic_uint_fast64_t synced_sequence; /* all up to there is durable */
    atomic_bool is_broken; /* a write failed: what a later success means is not known */
    struct rocks_expiry *expiry; /* owned */
};

struct engine_iter {
    struct engine_rocks *engine;
    rocksdb_iterator_t *inner;
    rocksdb_readoptions_t *read_options;
    struct bytes lower, upper; /* owned; RocksDB looks at them all the time */
    bool is_empty;             /* lower >= upper */
};

static struct engine_rocks *self_of(struct engine *engine)
{
    return (struct engine_rocks *)engine;
}

/* --- errors --- */

static enum err code_of(const char *text)
{
    if (strstr(text, "No space left on device") || strstr(text, "Disk quota exceeded"))
        return ERR_DISK_FULL;
    if (strncmp(text, "Corruption", strlen("Corruption")) == 0)
        return ERR_CORRUPT;
    return ERR_IO;
}

/* Frees the text. RocksDB says which file and what it did with it. */
static enum err take_error(char *take_text, const char *what, struct error *err)
{
    for (char *c = take_text; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = ' ';
    enum err code = error_set(err, code_of(take_text), "%s: %s", what, take_text);
    rocksdb_free(take_text);
    return code;
}

static enum err take_open_error(char *take_text, const char *path, struct error *err)
{
    enum err code = ERR_OK;
    if (strstr(take_text, "While lock file") || strstr(take_text, "lock hold by current process"))
        code = error_set(err, ERR_LOCKED, "data directory %s is used by another process", path);
    else if (strstr(take_text, "does not exist (create_if_missing is false)"))
        code = error_set(err, ERR_NOT_FOUND, "data directory %s: no database there", path);
    if (code == ERR_OK) {
        char what[sizeof err->text];
        snprintf(what, sizeof what, "data directory %s", path);
        return take_error(take_text, what, err);
    }
    rocksdb_free(take_text);
    return code;
}

/* --- options --- */

static void set_log_and_files(rocksdb_options_t *options, const struct engine_rocks_options *wanted)
{
    uint64_t buffer_size = wanted->write_buffer_size;
    /* What is not synced stays in our memory until the next sync: it may be forgotten anyway, and a write call per
     * applied batch costs as much as the batch. */
    rocksdb_options_set_manual_wal_flush(options, 1);
    /* Strict: only a last record that was cut off is no damage. */
    rocksdb_options_set_wal_recovery_mode(options, wanted->strict_wal ? rocksdb_tolerate_corrupted_tail_records_recovery
                                                                      : rocksdb_point_in_time_recovery);
    rocksdb_options_set_max_total_wal_size(options, wanted->wal_size_max);
    rocksdb_options_set_db_write_buffer_size(options, 3 * buffer_size); /* of all column families */
    rocksdb_options_set_max_background_jobs(options, (int)wanted->background_jobs);
    rocksdb_options_set_max_open_files(options, (int)wanted->open_files_max);
    rocksdb_options_set_bytes_per_sync(options, MIB); /* spreads the writing of tables, so that a log sync waits less */
    rocksdb_options_set_skip_stats_update_on_db_open(options, !wanted->read_only); /* for counts of rows */
    rocksdb_options_set_stats_dump_period_sec(options, 0); /* nothing is done while nothing happens */
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_manifest_preallocation_size(options, 64 * 1024);
    rocksdb_options_set_allow_concurrent_memtable_write(options, 0); /* set_raft_memtable says why */
}

/* The raft log lives for seconds: compressing it before it reaches the lower levels is waste. */
static void set_compression(rocksdb_options_t *options)
{
    int levels[LEVEL_COUNT];
    for (int level = 0; level < LEVEL_COUNT; level++)
        levels[level] = level < 2 ? rocksdb_no_compression : rocksdb_lz4_compression;
    rocksdb_options_set_compression_per_level(options, levels, LEVEL_COUNT);
    rocksdb_options_set_bottommost_compression(options, rocksdb_zstd_compression);
}

static void set_tables(rocksdb_options_t *options, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_block_size(table, 16 * 1024);
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    /* In the cache, so that its size bounds the memory, but last to leave it. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_memtables(rocksdb_options_t *options, uint64_t write_buffer_size)
{
    rocksdb_options_set_write_buffer_size(options, write_buffer_size);
    rocksdb_options_set_max_write_buffer_number(options, 4);
    rocksdb_options_set_arena_block_size(options, 256 * 1024); /* an idle memtable takes one block */
    rocksdb_options_set_target_file_size_base(options, write_buffer_size);
    rocksdb_options_set_max_bytes_for_level_base(options, 4 * write_buffer_size);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
}

/* Rows of the raft log come in order of their keys within each group: what found its place once need not search for the
 * next one (a third of the CPU time of a log write was that search). The hint is kept per prefix, which is all of a key
 * but the low bytes of a log index: group_keys.h. RocksDB mixes up the hints of rows and of range deletions (its
 * assertions say so, in 7.8), so a range to be deleted begins with a key that is shorter than the prefix, and has none.
 * Hints and concurrent inserts exclude each other, and there are hardly two writers at a time here. */
static void set_raft_memtable(rocksdb_options_t *options, const rocksdb_options_t *base)
{
    char setting[96];
    snprintf(setting, sizeof setting, "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.%d",
             ENGINE_RAFT_HINT_SIZE);
    char *text = NULL;
    rocksdb_get_options_from_string(base, setting, options, &text);
    rocksdb_free(text); /* a RocksDB that does not know it is slower, no more */
}

static rocksdb_options_t *options_new(const struct engine_rocks_options *wanted, rocksdb_cache_t *cache)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, wanted->create);
    rocksdb_options_set_create_missing_column_families(options, wanted->create);
    rocks_log_attach(options, wanted->log);
    set_log_and_files(options, wanted);
    set_memtables(options, wanted->write_buffer_size);
    set_compression(options);
    set_tables(options, cache);
    return options;
}

static void set_defaults(struct engine_rocks_options *options)
{
    if (options->block_cache_size == 0)
        options->block_cache_size = 64 * MIB;
    if (options->write_buffer_size == 0)
        options->write_buffer_size = 64 * MIB;
    if (options->wal_size_max == 0)
        options->wal_size_max = 2 * options->write_buffer_size;
    if (options->background_jobs == 0)
        options->background_jobs = 2;
    if (options->open_files_max == 0)
        options->open_files_max = 2000;
}

/* --- open and close --- */

/* RocksDB refuses families that it is not told of, but does not say that it is a matter of versions. */
static enum err check_families(const rocksdb_options_t *options, const char *path, struct error *err)
{
    size_t count = 0;
    char *text = NULL;
    char **names = rocksdb_list_column_families(options, path, &count, &text);
    rocksdb_free(text); /* no database yet, or one that open will complain about: then there are no names */
    enum err code = ERR_OK;
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        int cf = 0;
        while (cf < ENGINE_CF_COUNT && strcmp(names[i], cf_names[cf]) != 0)
            cf++;
        if (cf == ENGINE_CF_COUNT)
            code = error_set(err, ERR_VERSION, "data directory %s: unknown column family %s", path, names[i]);
    }
    rocksdb_list_column_families_destroy(names, count);
    return code;
}

static enum err check_directory(const char *path, bool create, struct error *err)
{
    struct stat status;
    if (stat(path, &status) == 0) {
        if (S_ISDIR(status.st_mode))
            return ERR_OK;
        return error_set(err, ERR_IO, "data directory %s: not a directory", path);
    }
    if (errno == ENOENT && !create)
        return error_set(err, ERR_NOT_FOUND, "data directory %s: no database there", path);
    if (errno != ENOENT || mkdir(path, 0700) != 0)
        return error_set(err, errno == ENOSPC ? ERR_DISK_FULL : ERR_IO, "data directory %s: %s", path, strerror(errno));
    return ERR_OK;
}

static enum err open_database(struct engine_rocks *self, const struct engine_rocks_options *wanted, struct error *err)
{
    rocksdb_options_t *options = options_new(wanted, self->cache);
    rocksdb_options_set_env(options, self->files);
    const rocksdb_options_t *cf_options[ENGINE_CF_COUNT];
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++)
        cf_options[cf] = options;
    rocksdb_options_t *raft_options = rocksdb_options_create_copy(options);
    set_raft_memtable(raft_options, options);
    cf_options[ENGINE_RAFT] = raft_options;
    rocksdb_options_t *default_options = rocksdb_options_create_copy(options);
    rocks_expiry_attach(self->expiry, default_options);
    cf_options[ENGINE_DEFAULT] = default_options;
    enum err code = check_families(options, wanted->path, err);
    if (code == ERR_OK) {
        char *text = NULL;
        self->db = wanted->read_only ? rocksdb_open_for_read_only_column_families(options, wanted->path, ENGINE_CF_COUNT,
                                                                                  cf_names, cf_options, self->cfs, 0,
                                                                                  &text)
                                     : rocksdb_open_column_families(options, wanted->path, ENGINE_CF_COUNT, cf_names,
                                                                    cf_options, self->cfs, &text);
        if (text)
            code = take_open_error(text, wanted->path, err);
    }
    rocksdb_options_destroy(default_options);
    rocksdb_options_destroy(raft_options);
    rocksdb_options_destroy(options);
    return code;
}

/* Batches name column families by id, and ids are given in order of creation. */
static enum err check_ids(struct engine_rocks *self, struct error *err)
{
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++)
        if (rocksdb_column_family_handle_get_id(self->cfs[cf]) != (uint32_t)cf)
            return error_set(err, ERR_CORRUPT, "data directory %s: column family %s has id %u", self->path,
                             cf_names[cf], rocksdb_column_family_handle_get_id(self->cfs[cf]));
    return ERR_OK;
}

/* Behind the last synced batch, so that it is known to be one. A batch of nothing: there is nothing to be lost in it. */
static void write_last_mark(struct engine_rocks *self)
{
    uint8_t mark[ROCKS_RECORDS_MARK_SIZE];
    uint64_t synced = atomic_load(&self->synced_sequence);
    if (synced == 0 || atomic_load(&self->is_broken))
        return;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    rocks_records_mark(synced, mark);
    rocksdb_writebatch_put_log_data(batch, (const char *)mark, sizeof mark);
    char *text = NULL;
    rocksdb_write(self->db, self->write_options, batch, &text);
    if (!text)
        rocksdb_flush_wal(self->db, 1, &text);
    rocksdb_free(text); /* the disk is full: then it is a start as after a crash */
    rocksdb_writebatch_destroy(batch);
}

void engine_rocks_close(struct engine *engine)
{
    if (!engine)
        return;
    struct engine_rocks *self = self_of(engine);
    if (self->db && !self->read_only)
        write_last_mark(self);
    if (self->db) {
        for (int cf = 0; cf < ENGINE_CF_COUNT; cf++)
            rocksdb_column_family_handle_destroy(self->cfs[cf]);
        rocksdb_close(self->db);
    }
    rocksdb_writeoptions_destroy(self->write_options);
    rocksdb_readoptions_destroy(self->read_options);
    rocksdb_cache_destroy(self->cache);
    rocks_wal_env_free(self->files);
    rocks_tables_free(self->engine.tables);
    rocks_reserve_free(self->reserve);
    rocks_expiry_free(self->expiry);
    free(self->path);
    free(self);
}

static const struct engine_ops ops;

enum err engine_rocks_open(const struct engine_rocks_options *options, struct engine **ret_engine, struct error *err)
{
    struct engine_rocks_options wanted = *options;
    set_defaults(&wanted);
    enum err code = check_directory(wanted.path, wanted.create, err);
    if (code != ERR_OK)
        return code;
    struct engine_rocks *self = calloc(1, sizeof *self);
    CHECK(self);
    self->engine.ops = &ops;
    atomic_init(&self->is_broken, false);
    self->read_only = wanted.read_only;
    self->path = strdup(wanted.path);
    CHECK(self->path);
    self->cache = rocksdb_cache_create_lru(wanted.block_cache_size);
    self->files = rocks_wal_env_new();
    self->expiry = rocks_expiry_new();
    self->reserve = rocks_reserve_new(wanted.path, wanted.reserve_size, wanted.log);
    self->write_options = rocksdb_writeoptions_create();
    self->read_options = rocksdb_readoptions_create();
    if (!wanted.read_only)
        code = rocks_records_check_syncs(wanted.path, err);
    if (code == ERR_OK)
        code = open_database(self, &wanted, err);
    if (code == ERR_OK)
        code = check_ids(self, err);
    if (code == ERR_OK)
        self->engine.tables = rocks_tables_new(&(struct rocks_tables_options){.path = self->path,
                                                                              .db = self->db,
                                                                              .cfs = self->cfs,
                                                                              .reserve = self->reserve,
                                                                              .is_broken = &self->is_broken,
                                                                              .read_only = wanted.read_only});
    if (code == ERR_OK)
        *ret_engine = &self->engine;
    else
        engine_rocks_close(&self->engine);
    return code;
}

enum err engine_rocks_flush(struct engine *engine, struct error *err)
{
    struct engine_rocks *self = self_of(engine);
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    enum err code = ERR_OK;
    for (int cf = 0; cf < ENGINE_CF_COUNT && code == ERR_OK; cf++) {
        char *text = NULL;
        rocksdb_flush_cf(self->db, options, self->cfs[cf], &text);
        if (text)
            code = take_error(text, "flush", err);
    }
    rocksdb_flushoptions_destroy(options);
    return code;
}

enum err engine_rocks_compact(struct engine *engine, struct error *err)
{
    struct engine_rocks *self = self_of(engine);
    enum err code = engine_rocks_flush(engine, err);
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
    for (int cf = 0; cf < ENGINE_CF_COUNT && code == ERR_OK; cf++)
        rocksdb_compact_range_cf_opt(self->db, self->cfs[cf], options, NULL, 0, NULL, 0);
    rocksdb_compactoptions_destroy(options);
    return code;
}

/* --- writing and reading --- */

static struct engine_batch *engine_rocks_batch_new(struct engine *engine)
{
    struct engine_batch *batch = malloc(sizeof *batch);
    CHECK(batch);
    engine_batch_init(batch, engine);
    return batch;
}

static void engine_rocks_batch_free(struct engine_batch *batch)
{
    if (!batch)
        return;
    engine_batch_fini(batch);
    free(batch);
}

/* A full disk is not our fault and not final for the data; anything else that fails while writing is final. */
static enum err write_failed(struct engine_rocks *self, char *take_text, const char *what, struct error *err)
{
    enum err code = take_error(take_text, what, err);
    if (code != ERR_DISK_FULL)
        atomic_store(&self->is_broken, true);
    return code;
}

static void note_synced(struct engine_rocks *self, uint64_t sequence)
{
    uint64_t known = atomic_load(&self->synced_sequence);
    while (known < sequence && !atomic_compare_exchange_weak(&self->synced_sequence, &known, sequence))
        ;
}

static enum err engine_rocks_write(struct engine *engine, struct engine_batch *batch, bool sync, struct error *err)
{
    struct engine_rocks *self = self_of(engine);
    CHECK(batch->engine == engine);
    if (self->read_only)
        return error_set(err, ERR_UNSUPPORTED, "data directory %s is open for reading only", self->path);
    if (atomic_load(&self->is_broken))
        return error_set(err, ERR_IO, "data directory %s: an earlier write failed", self->path);
    if (!rocks_reserve_allows(self->reserve))
        return error_set(err, ERR_DISK_FULL, "data directory %s: the disk is full", self->path);
    char *text = NULL;
    if (engine_batch_data_count(batch) > 0) {
        rocksdb_writebatch_t *inner = rocksdb_writebatch_create_from((const char *)batch->data.data, batch->data.size);
        if (sync) {
            uint8_t mark[ROCKS_RECORDS_MARK_SIZE];
            rocks_records_mark(atomic_load(&self->synced_sequence), mark);
            rocksdb_writebatch_put_log_data(inner, (const char *)mark, sizeof mark);
        }
        rocksdb_write(self->db, self->write_options, inner, &text);
        rocksdb_writebatch_destroy(inner);
        if (text)
            return write_failed(self, text, "write", err);
    }
    if (sync) {
        uint64_t written = rocksdb_get_latest_sequence_number(self->db);
        rocksdb_flush_wal(self->db, 1, &text);
        if (text) {
            enum err code = write_failed(self, text, "sync", err);
            atomic_store(&self->is_broken, true); /* whatever it was: what the kernel dropped is gone */
            return code == ERR_DISK_FULL ? error_set(err, ERR_IO, "data directory %s: sync: no space left", self->path)
                                         : code;
        }
        if (atomic_load(&self->is_broken)) /* another thread's sync failed: ours may have succeeded because of that */
            return error_set(err, ERR_IO, "data directory %s: another write failed", self->path);
        note_synced(self, written);
    }
    return ERR_OK;
}

static enum err engine_rocks_get(struct engine *engine, enum engine_cf cf, struct bytes key, struct buf *value,
                                 struct error *err)
{
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    struct engine_rocks *self = self_of(engine);
    char *text = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(self->db, self->read_options, self->cfs[cf],
                                                           key.size ? (const char *)key.data : "", key.size, &text);
    if (text)
        return take_error(text, "read", err);
    if (!slice)
        return ERR_NOT_FOUND;
    size_t size = 0;
    const char *data = rocksdb_pinnableslice_value(slice, &size);
    enum err code = buf_assign(value, bytes_of(data, size));
    rocksdb_pinnableslice_destroy(slice);
    if (code != ERR_OK)
        return error_set(err, code, "a value of %zu bytes does not fit into %zu", size, value->size_max);
    return ERR_OK;
}

/* --- iterators --- */

static struct bytes bytes_duplicate(struct bytes bytes)
{
    if (bytes.size == 0)
        return bytes_empty();
    uint8_t *data = malloc(bytes.size);
    CHECK(data);
    memcpy(data, bytes.data, bytes.size);
    return bytes_of(data, bytes.size);
}

static struct engine_iter *make_iter(struct engine *engine, enum engine_cf cf, struct bytes lower, struct bytes upper,
                                     bool once)
{
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    struct engine_rocks *self = self_of(engine);
    struct engine_iter *iter = calloc(1, sizeof *iter);
    CHECK(iter);
    iter->engine = self;
    iter->lower = bytes_duplicate(lower);
    iter->upper = bytes_duplicate(upper);
    iter->is_empty = upper.size > 0 && bytes_compare(lower, upper) >= 0;
    iter->read_options = rocksdb_readoptions_create();
    if (lower.size > 0)
        rocksdb_readoptions_set_iterate_lower_bound(iter->read_options, (const char *)iter->lower.data, lower.size);
    if (upper.size > 0)
        rocksdb_readoptions_set_iterate_upper_bound(iter->read_options, (const char *)iter->upper.data, upper.size);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(iter->read_options, 1);
    if (once) {
        rocksdb_readoptions_set_fill_cache(iter->read_options, 0);
        rocksdb_readoptions_set_readahead_size(iter->read_options, ONCE_READAHEAD_SIZE);
    }
    iter->inner = rocksdb_create_iterator_cf(self->db, iter->read_options, self->cfs[cf]);
    return iter;
}

static struct engine_iter *engine_rocks_iter_new(struct engine *engine, enum engine_cf cf, struct bytes lower,
                                                 struct bytes upper)
{
    return make_iter(engine, cf, lower, upper, false);
}

static struct engine_iter *engine_rocks_iter_new_once(struct engine *engine, enum engine_cf cf, struct bytes lower,
                                                      struct bytes upper)
{
    return make_iter(engine, cf, lower, upper, true);
}

static void engine_rocks_iter_free(struct engine_iter *iter)
{
    if (!iter)
        return;
    rocksdb_iter_destroy(iter->inner);
    rocksdb_readoptions_destroy(iter->read_options);
    free((void *)iter->lower.data);
    free((void *)iter->upper.data);
    free(iter);
}

static void engine_rocks_iter_seek(struct engine_iter *iter, struct bytes key)
{
    if (iter->is_empty)
        return;
    if (key.size == 0)
        rocksdb_iter_seek_to_first(iter->inner);
    else
        rocksdb_iter_seek(iter->inner, (const char *)key.data, key.size);
}

static struct bytes engine_rocks_iter_key(const struct engine_iter *iter)
{
    size_t size = 0;
    const char *data = rocksdb_iter_key(iter->inner, &size);
    return bytes_of(data, size);
}

static void engine_rocks_iter_seek_for_previous(struct engine_iter *iter, struct bytes key)
{
    if (iter->is_empty)
        return;
    if (key.size == 0 || (iter->upper.size > 0 && bytes_compare(iter->upper, key) <= 0)) {
        rocksdb_iter_seek_to_last(iter->inner);
        return;
    }
    rocksdb_iter_seek_for_prev(iter->inner, (const char *)key.data, key.size); /* the last <= key */
    if (rocksdb_iter_valid(iter->inner) && bytes_equal(engine_rocks_iter_key(iter), key))
        rocksdb_iter_prev(iter->inner);
}

static bool engine_rocks_iter_valid(const struct engine_iter *iter)
{
    return !iter->is_empty && rocksdb_iter_valid(iter->inner);
}

static void engine_rocks_iter_next(struct engine_iter *iter)
{
    CHECK(engine_rocks_iter_valid(iter));
    rocksdb_iter_next(iter->inner);
}

static void engine_rocks_iter_previous(struct engine_iter *iter)
{
    CHECK(engine_rocks_iter_valid(iter));
    rocksdb_iter_prev(iter->inner);
}

static struct bytes engine_rocks_iter_value(const struct engine_iter *iter)
{
    size_t size = 0;
    const char *data = rocksdb_iter_value(iter->inner, &size);
    return bytes_of(data, size);
}

static enum err engine_rocks_iter_error(const struct engine_iter *iter, struct error *err)
{
    char *text = NULL;
    rocksdb_iter_get_error(iter->inner, &text);
    return text ? take_error(text, "scan", err) : ERR_OK;
}

static void engine_rocks_space(struct engine *engine, struct engine_space *ret_space)
{
    struct engine_rocks_stats stats;
    engine_rocks_stats(engine, &stats);
    uint64_t taken = rocks_reserve_taken(self_of(engine)->reserve);
    *ret_space = (struct engine_space){.used_size = stats.table_size + stats.memtable_size,
                                       .available_size = stats.disk_free_size > taken ? stats.disk_free_size - taken : 0,
                                       .capacity_size = stats.disk_size};
}

/* What drops rows must not be ahead of what a crash leaves; a synced batch says so in the log as well. */
static enum err engine_rocks_set_expiry(struct engine *engine, const struct engine_expiry *expiry, struct error *err)
{
    struct engine_batch *batch = engine_rocks_batch_new(engine);
    engine_batch_data_delete(batch, ENGINE_RAFT, bytes_of("", 0)); /* no row has this key */
    enum err code = engine_rocks_write(engine, batch, true, err);
    engine_rocks_batch_free(batch);
    if (code == ERR_OK)
        rocks_expiry_set(self_of(engine)->expiry, expiry);
    return code;
}

static uint64_t rocks_approximate_size(struct engine *engine, enum engine_cf cf, struct bytes start, struct bytes end)
{
    uint64_t size = 0;
    return engine_rocks_approximate_size(engine, cf, start, end, &size, NULL) == ERR_OK ? size : 0;
}

static const struct engine_ops ops = {
    .space = engine_rocks_space,
    .batch_new = engine_rocks_batch_new,
    .batch_free = engine_rocks_batch_free,
    .batch_clear = engine_batch_data_clear,
    .batch_put = engine_batch_data_put,
    .batch_delete = engine_batch_data_delete,
    .batch_delete_range = engine_batch_data_delete_range,
    .batch_append = engine_batch_data_append,
    .batch_find = engine_batch_data_find,
    .batch_count = engine_batch_data_count,
    .batch_size = engine_batch_data_size,
    .batch_cut = engine_batch_data_cut,
    .write = engine_rocks_write,
    .get = engine_rocks_get,
    .iter_new = engine_rocks_iter_new,
    .iter_new_once = engine_rocks_iter_new_once,
    .iter_free = engine_rocks_iter_free,
    .iter_seek = engine_rocks_iter_seek,
    .iter_seek_for_previous = engine_rocks_iter_seek_for_previous,
    .iter_valid = engine_rocks_iter_valid,
    .iter_next = engine_rocks_iter_next,
    .iter_previous = engine_rocks_iter_previous,
    .iter_key = engine_rocks_iter_key,
    .iter_value = engine_rocks_iter_value,
    .iter_error = engine_rocks_iter_error,
    .set_expiry = engine_rocks_set_expiry,
    .approximate_size = rocks_approximate_size,
};

/* --- looking in --- */

static uint64_t sum_property(struct engine_rocks *self, const char *name)
{
    uint64_t sum = 0;
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        uint64_t value = 0;
        if (rocksdb_property_int_cf(self->db, self->cfs[cf], name, &value) == 0)
            sum += value;
    }
    return sum;
}

static uint64_t property(struct engine_rocks *self, const char *name)
{
    uint64_t value = 0;
    return rocksdb_property_int(self->db, name, &value) == 0 ? value : 0;
}

void engine_rocks_stats(struct engine *engine, struct engine_rocks_stats *ret_stats)
{
    struct engine_rocks *self = self_of(engine);
    *ret_stats = (struct engine_rocks_stats){
        .memtable_size = sum_property(self, "rocksdb.cur-size-all-mem-tables"),
        .table_size = sum_property(self, "rocksdb.live-sst-files-size"),
        .cache_size = rocksdb_cache_get_usage(self->cache),
        .table_readers_size = sum_property(self, "rocksdb.estimate-table-readers-mem"),
        .pending_compaction_size = sum_property(self, "rocksdb.estimate-pending-compaction-bytes"),
        .row_count = sum_property(self, "rocksdb.estimate-num-keys"),
        .expired_count = rocks_expiry_dropped(self->expiry),
        .running_flush_count = property(self, "rocksdb.num-running-flushes"),
        .running_compaction_count = property(self, "rocksdb.num-running-compactions"),
        .delayed_write_rate = property(self, "rocksdb.actual-delayed-write-rate"),
        .is_write_stopped = property(self, "rocksdb.is-write-stopped") != 0,
        .is_broken = atomic_load(&self->is_broken),
    };
    if (os_disk_space(self->path, &ret_stats->disk_size, &ret_stats->disk_free_size, NULL) != ERR_OK)
        ret_stats->disk_size = ret_stats->disk_free_size = 0;
}

void engine_rocks_family(struct engine *engine, enum engine_cf cf, struct engine_rocks_family *ret_family)
{
    static const struct {
        const char *name;
        size_t offset;
    } properties[] = {
        {"rocksdb.live-sst-files-size", offsetof(struct engine_rocks_family, table_size)},
        {"rocksdb.cur-size-all-mem-tables", offsetof(struct engine_rocks_family, memtable_size)},
        {"rocksdb.estimate-num-keys", offsetof(struct engine_rocks_family, row_count)},
    };
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    struct engine_rocks *self = self_of(engine);
    *ret_family = (struct engine_rocks_family){.name = cf_names[cf]};
    for (size_t i = 0; i < sizeof properties / sizeof properties[0]; i++) {
        uint64_t value = 0;
        if (rocksdb_property_int_cf(self->db, self->cfs[cf], properties[i].name, &value) == 0)
            memcpy((char *)ret_family + properties[i].offset, &value, sizeof value);
    }
    const rocksdb_livefiles_t *files = rocksdb_livefiles(self->db);
    for (int i = 0; i < rocksdb_livefiles_count(files); i++)
        ret_family->table_count += strcmp(rocksdb_livefiles_column_family_name(files, i), cf_names[cf]) == 0;
    rocksdb_livefiles_destroy(files);
}

void engine_rocks_visit_tables(struct engine *engine, void (*visit)(void *context, const char *name, uint64_t size),
                               void *context)
{
    const rocksdb_livefiles_t *files = rocksdb_livefiles(self_of(engine)->db);
    for (int i = 0; i < rocksdb_livefiles_count(files); i++) {
        const char *name = rocksdb_livefiles_name(files, i);
        visit(context, name[0] == '/' ? name + 1 : name, rocksdb_livefiles_size(files, i));
    }
    rocksdb_livefiles_destroy(files);
}

enum err engine_rocks_approximate_size(struct engine *engine, enum engine_cf cf, struct bytes start, struct bytes end,
                                       uint64_t *ret_size, struct error *err)
{
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    struct engine_rocks *self = self_of(engine);
    static const uint8_t last[64] = {[0 ... 63] = 0xff}; /* past every key that anybody would write */
    if (end.size == 0)
        end = bytes_of(last, sizeof last);
    const char *start_data = start.size ? (const char *)start.data : "";
    const char *end_data = (const char *)end.data;
    char *text = NULL;
    uint64_t size = 0;
    rocksdb_approximate_sizes_cf(self->db, self->cfs[cf], 1, &start_data, &start.size, &end_data, &end.size, &size,
                                 &text);
    if (text)
        return take_error(text, "approximate size", err);
    *ret_size = size;
    return ERR_OK;
}
