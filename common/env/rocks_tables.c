#include "env/rocks_tables.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/check.h"
#include "env/os.h"
#include "env/rocks_sst.h"
#include "env/rocks_table.h"

enum { FLUSHES_MAX = 8, RESERVE_CHECK_SIZE = 1024 * 1024 };

static const char unfinished[] = ".tmp", linked[] = ".link";

struct rocks_tables {
    struct engine_tables tables; /* must be first */
    struct rocks_tables_options options;
    char *directory; /* owned */
};

struct engine_table {
    struct rocks_tables *tables;
    struct rocks_sst *sst; /* owned */
    char *path, *temporary_path;
    uint64_t unchecked_size; /* since the reserve was asked */
    bool finished;
};

static struct rocks_tables *self_of(struct engine_tables *tables)
{
    return (struct rocks_tables *)tables;
}

static char *path_of(const struct rocks_tables *self, const char *name, const char *suffix)
{
    char full[ENGINE_TABLE_NAME_SIZE + sizeof unfinished + sizeof linked];
    CHECK(strlen(name) < ENGINE_TABLE_NAME_SIZE && !strchr(name, '/'));
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return os_path_join(self->directory, full);
}

static enum err failed(struct error *err, int number, const char *what, const char *path)
{
    enum err code = number == ENOSPC || number == EDQUOT ? ERR_DISK_FULL : number == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    return error_set(err, code, "%s %s: %s", what, path, strerror(number));
}

/* ---- one table */

static void table_free(struct engine_table *table)
{
    rocks_sst_free(table->sst);
    if (!table->finished)
        (void)unlink(table->temporary_path);
    free(table->path);
    free(table->temporary_path);
    free(table);
}

static enum err check_space(struct rocks_tables *self, struct error *err)
{
    if (rocks_reserve_allows(self->options.reserve))
        return ERR_OK;
    return error_set(err, ERR_DISK_FULL, "data directory %s: the disk is full", self->options.path);
}

static enum err table_new(struct engine_tables *tables, enum engine_cf cf, const char *name, bool compress,
                          struct engine_table **ret_table, struct error *err)
{
    struct rocks_tables *self = self_of(tables);
    CHECK((unsigned)cf < ENGINE_CF_COUNT);
    if (self->options.read_only)
        return error_set(err, ERR_UNSUPPORTED, "data directory %s is open for reading only", self->options.path);
    enum err code = check_space(self, err);
    if (code == ERR_OK)
        code = os_dir_make(self->directory, err);
    if (code != ERR_OK)
        return code;
    struct engine_table *table = calloc(1, sizeof *table);
    CHECK(table);
    table->tables = self;
    table->path = path_of(self, name, "");
    table->temporary_path = path_of(self, name, unfinished);
    code = rocks_sst_new(table->temporary_path, compress, &table->sst, err);
    if (code == ERR_OK)
        *ret_table = table;
    else
        table_free(table);
    return code;
}

static enum err table_put(struct engine_table *table, struct bytes key, struct bytes value, struct error *err)
{
    table->unchecked_size += key.size + value.size;
    if (table->unchecked_size > RESERVE_CHECK_SIZE) {
        table->unchecked_size = 0;
        enum err code = check_space(table->tables, err);
        if (code != ERR_OK)
            return code;
    }
    return rocks_sst_put(table->sst, key, value, err);
}

static uint64_t table_size(const struct engine_table *table)
{
    return rocks_sst_size(table->sst);
}

static enum err table_finish(struct engine_table *table, struct bytes start, struct bytes end, struct error *err)
{
    CHECK(!table->finished);
    enum err code = ERR_OK;
    if (bytes_compare(start, end) < 0)
        code = rocks_sst_delete_range(table->sst, start, end, err);
    if (code == ERR_OK)
        code = rocks_sst_finish(table->sst, err);
    if (code == ERR_OK)
        code = os_file_rename(table->temporary_path, table->path, err); /* syncs the directory */
    table->finished = code == ERR_OK;
    return code;
}

/* ---- all of them */

static enum err check(struct engine_tables *tables, const char *name, struct error *err)
{
    char *path = path_of(self_of(tables), name, "");
    enum err code = os_exists(path) ? rocks_table_check(path, err) : failed(err, ENOENT, "read", path);
    free(path);
    return code;
}

static enum err remove_path(const char *path, struct error *err)
{
    return unlink(path) == 0 || errno == ENOENT ? ERR_OK : failed(err, errno, "remove", path);
}

static enum err remove_table(struct engine_tables *tables, const char *name, struct error *err)
{
    char *path = path_of(self_of(tables), name, "");
    enum err code = remove_path(path, err);
    free(path);
    return code;
}

struct listing {
    struct rocks_tables *self;
    void (*visit)(void *context, const char *name, uint64_t size);
    void *context;
};

static void visit_name(void *context, const char *name)
{
    struct listing *listing = context;
    struct stat status;
    if (strlen(name) >= ENGINE_TABLE_NAME_SIZE)
        return;
    char *path = path_of(listing->self, name, "");
    if (stat(path, &status) == 0 && S_ISREG(status.st_mode))
        listing->visit(listing->context, name, (uint64_t)status.st_size);
    free(path);
}

static enum err list(struct engine_tables *tables, void (*visit)(void *context, const char *name, uint64_t size),
                     void *context, struct error *err)
{
    struct rocks_tables *self = self_of(tables);
    struct listing listing = {.self = self, .visit = visit, .context = context};
    return os_is_dir(self->directory) ? os_dir_list(self->directory, visit_name, &listing, err) : ERR_OK;
}

/* ---- ingest */

/* Frees the text. */
static enum err take_error(char *take_text, const char *what, struct error *err)
{
    for (char *c = take_text; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = ' ';
    enum err code = strstr(take_text, "No space left on device") || strstr(take_text, "Disk quota exceeded")
                        ? ERR_DISK_FULL
                    : strncmp(take_text, "Corruption", strlen("Corruption")) == 0 ? ERR_CORRUPT
                                                                                  : ERR_IO;
    error_set(err, code, "%s: %s", what, take_text);
    rocksdb_free(take_text);
    return code;
}

static enum err flush(struct rocks_tables *self, enum engine_cf cf, struct error *err)
{
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    char *text = NULL;
    rocksdb_flush_cf(self->options.db, options, self->options.cfs[cf], &text);
    rocksdb_flushoptions_destroy(options);
    return text ? take_error(text, "flush before an ingest", err) : ERR_OK;
}

static bool wants_flush(const char *text)
{
    return strstr(text, "requires flush") != NULL;
}

static enum err ingest_paths(struct rocks_tables *self, enum engine_cf cf, const char *const *paths, uint32_t count,
                             struct error *err)
{
    rocksdb_ingestexternalfileoptions_t *options = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(options, rocks_sst_leave_unchanged(options));
    enum err code = ERR_OK;
    char *text = NULL;
    for (int tries = 0;; tries++) { /* others write while we flush */
        rocksdb_ingestexternalfileoptions_set_allow_blocking_flush(options, tries == FLUSHES_MAX);
        rocksdb_ingest_external_file_cf(self->options.db, self->options.cfs[cf], paths, count, options, &text);
        if (!text || !wants_flush(text) || tries == FLUSHES_MAX)
            break;
        rocksdb_free(text);
        text = NULL;
        code = flush(self, cf, err);
        if (code != ERR_OK)
            break;
    }
    rocksdb_ingestexternalfileoptions_destroy(options);
    if (text)
        code = take_error(text, "ingest", err);
    if (code == ERR_IO)
        atomic_store(self->options.is_broken, true);
    return code;
}

/* Links of a try that did not end are in the way. */
static enum err link_path(const char *from, const char *to, struct error *err)
{
    enum err code = remove_path(to, err);
    if (code == ERR_OK && link(from, to) != 0)
        code = failed(err, errno, "link", from);
    return code;
}

/* Files that hold nothing but rows of the range need not be compacted away: without them the tables find their place at
 * the bottom. RocksDB takes files up to and with the key that it is given, so it gets one below `end`. */
static enum err remove_files(struct rocks_tables *self, enum engine_cf cf, struct bytes start, struct bytes end,
                             struct error *err)
{
    static const uint8_t high[16] = {[0 ... 15] = 0xff};
    if (end.size == 0 || bytes_compare(start, end) >= 0)
        return ERR_OK;
    struct buf limit;
    buf_init(&limit, end.size + sizeof high);
    CHECK(buf_assign(&limit, bytes_of(end.data, end.size - 1)) == ERR_OK);
    uint8_t last = end.data[end.size - 1];
    if (BUG(ingest_takes_neighbour))
        CHECK(buf_append_u8(&limit, last) == ERR_OK);
    else if (last > 0)
        CHECK(buf_append_u8(&limit, (uint8_t)(last - 1)) == ERR_OK && buf_append(&limit, high, sizeof high) == ERR_OK);
    char *text = NULL;
    if (bytes_compare(start, buf_bytes(&limit)) <= 0)
        rocksdb_delete_file_in_range_cf(self->options.db, self->options.cfs[cf],
                                        start.size ? (const char *)start.data : "", start.size,
                                        (const char *)limit.data, limit.size, &text);
    buf_fini(&limit);
    return text ? take_error(text, "removing files", err) : ERR_OK;
}

static enum err ingest(struct engine_tables *tables, enum engine_cf cf, const char *const *names, uint32_t count,
                       struct bytes start, struct bytes end, struct error *err)
{
    struct rocks_tables *self = self_of(tables);
    CHECK((unsigned)cf < ENGINE_CF_COUNT && count > 0);
    if (atomic_load(self->options.is_broken))
        return error_set(err, ERR_IO, "data directory %s: an earlier write failed", self->options.path);
    char **paths = calloc(count, sizeof *paths);
    CHECK(paths);
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < count && code == ERR_OK; i++) {
        char *path = path_of(self, names[i], "");
        paths[i] = path_of(self, names[i], linked);
        code = link_path(path, paths[i], err);
        free(path);
    }
    if (code == ERR_OK) {
        code = remove_files(self, cf, start, end, err);
        if (code == ERR_IO)
            atomic_store(self->options.is_broken, true);
    }
    if (code == ERR_OK)
        code = ingest_paths(self, cf, (const char *const *)paths, count, err);
    for (uint32_t i = 0; i < count; i++) {
        if (paths[i])
            (void)unlink(paths[i]); /* it failed; what succeeded has taken them away */
        free(paths[i]);
    }
    free(paths);
    return code;
}

static const struct engine_tables_ops ops = {
    .table_new = table_new,
    .table_put = table_put,
    .table_size = table_size,
    .table_finish = table_finish,
    .table_free = table_free,
    .check = check,
    .ingest = ingest,
    .remove = remove_table,
    .list = list,
};

struct engine_tables *rocks_tables_new(const struct rocks_tables_options *options)
{
    struct rocks_tables *self = calloc(1, sizeof *self);
    CHECK(self);
    self->tables.ops = &ops;
    self->options = *options;
    self->directory = os_path_join(options->path, "snapshot");
    return &self->tables;
}

void rocks_tables_free(struct engine_tables *tables)
{
    if (!tables)
        return;
    free(self_of(tables)->directory);
    free(tables);
}
