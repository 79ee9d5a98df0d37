#include "env/engine_mem_tables.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "env/engine_batch.h"

enum { ASK_SIZE = 64 * 1024 };

/* A table as it is written, or a file. Both live as long as the disk, or until somebody frees or removes them. */
struct engine_table {
    struct mem_tables *tables;
    struct engine_table *next, *previous;
    char name[ENGINE_TABLE_NAME_SIZE + 8]; /* and ".tmp" */
    enum engine_cf cf;
    struct engine_batch content;
    struct buf last_key;
    uint64_t generation, unasked_size;
    uint64_t finished_us, removed_us; /* by an actor that may be ahead of the world */
    bool finished;                    /* a file */
    bool removed;                     /* as long as nobody dies */
    bool rotten;
    bool is_handle; /* somebody will free it */
};

struct mem_tables {
    struct engine_tables tables; /* must be first */
    struct engine *engine;
    struct engine_table *first;
};

static struct mem_tables *self_of(struct engine_tables *tables)
{
    return (struct mem_tables *)tables;
}

static void table_delete(struct engine_table *table)
{
    if (table->previous)
        table->previous->next = table->next;
    else
        table->tables->first = table->next;
    if (table->next)
        table->next->previous = table->previous;
    engine_batch_fini(&table->content);
    buf_fini(&table->last_key);
    free(table);
}

static struct engine_table *find(const struct mem_tables *self, const char *name)
{
    for (struct engine_table *table = self->first; table; table = table->next)
        if (table->finished && !table->removed && strcmp(table->name, name) == 0)
            return table;
    return NULL;
}

/* ---- one table */

static enum err table_new(struct engine_tables *tables, enum engine_cf cf, const char *name, bool compress,
                          struct engine_table **ret_table, struct error *err)
{
    struct mem_tables *self = self_of(tables);
    (void)compress;
    CHECK((unsigned)cf < ENGINE_CF_COUNT && strlen(name) < ENGINE_TABLE_NAME_SIZE);
    enum err code = engine_mem_ask(self->engine, engine_mem_generation(self->engine), false, 0, err);
    if (code != ERR_OK)
        return code;
    struct engine_table *table = calloc(1, sizeof *table);
    CHECK(table);
    *table = (struct engine_table){.tables = self,
                                   .next = self->first,
                                   .cf = cf,
                                   .generation = engine_mem_generation(self->engine),
                                   .is_handle = true};
    snprintf(table->name, sizeof table->name, "%s", name);
    engine_batch_init(&table->content, self->engine);
    buf_init(&table->last_key, 1024 * 1024);
    if (self->first)
        self->first->previous = table;
    self->first = table;
    *ret_table = table;
    return ERR_OK;
}

/* It was being written: what is there of it has another name. */
static void become_rubbish(struct engine_table *table)
{
    memcpy(table->name + strlen(table->name), ".tmp", strlen(".tmp") + 1);
    table->rotten = table->finished = true;
    table->finished_us = 0;
}

static void table_free(struct engine_table *table)
{
    table->is_handle = false;
    if (table->finished)
        return;
    if (engine_mem_ask(table->tables->engine, table->generation, false, 0, NULL) == ERR_OK)
        table_delete(table);
    else /* of a program that is dead: it removes nothing */
        become_rubbish(table);
}

static enum err table_put(struct engine_table *table, struct bytes key, struct bytes value, struct error *err)
{
    CHECK(!table->finished);
    CHECK(engine_batch_data_count(&table->content) == 0 || bytes_compare(buf_bytes(&table->last_key), key) < 0);
    CHECK(buf_assign(&table->last_key, key) == ERR_OK);
    engine_batch_data_put(&table->content, table->cf, key, value);
    table->unasked_size += key.size + value.size;
    if (table->unasked_size < ASK_SIZE)
        return ERR_OK;
    table->unasked_size = 0;
    return engine_mem_ask(table->tables->engine, table->generation, false, ASK_SIZE, err);
}

static uint64_t table_size(const struct engine_table *table)
{
    return engine_batch_data_size(&table->content);
}

/* The range goes before the rows: in a file they are of one moment, and a range removes what is older. */
static void put_range_first(struct engine_table *table, struct bytes start, struct bytes end)
{
    struct engine_batch all;
    engine_batch_init(&all, table->tables->engine);
    engine_batch_data_delete_range(&all, table->cf, start, end);
    engine_batch_data_append(&all, &table->content);
    engine_batch_fini(&table->content);
    table->content = all;
}

static enum err table_finish(struct engine_table *table, struct bytes start, struct bytes end, struct error *err)
{
    struct engine *engine = table->tables->engine;
    CHECK(!table->finished && !find(table->tables, table->name));
    enum err code = engine_mem_ask(engine, table->generation, true, table_size(table) + 1, err);
    if (code != ERR_OK)
        return code;
    if (bytes_compare(start, end) < 0)
        put_range_first(table, start, end);
    table->finished = true;
    table->finished_us = engine_mem_now_us(engine);
    table->rotten = engine_mem_table_rots(engine);
    return ERR_OK;
}

/* ---- all of them */

static enum err missing(const char *name, struct error *err)
{
    return error_set(err, ERR_NOT_FOUND, "table %s is not there", name);
}

static enum err check(struct engine_tables *tables, const char *name, struct error *err)
{
    const struct engine_table *table = find(self_of(tables), name);
    if (!table)
        return missing(name, err);
    if (engine_mem_read_fails(self_of(tables)->engine))
        return error_set(err, ERR_IO, "injected fault: table %s: a read failed", name);
    return table->rotten ? error_set(err, ERR_CORRUPT, "table %s: a block has a bad checksum", name) : ERR_OK;
}

/* RocksDB does not look at blocks when it ingests: of a bad file some rows will not be found. */
static void append_rotten(struct engine_batch *batch, const struct engine_table *table)
{
    struct engine_batch_operation operation;
    uint32_t number = 0;
    for (size_t position = 0; engine_batch_next(&table->content, &position, &operation);)
        if (operation.kind == ENGINE_BATCH_DELETE_RANGE)
            engine_batch_data_delete_range(batch, table->cf, operation.key, operation.value);
        else if (number++ % 2)
            engine_batch_data_put(batch, table->cf, operation.key, operation.value);
}

static struct engine_batch *batch_for(struct mem_tables *self)
{
    struct engine_batch *batch = malloc(sizeof *batch);
    CHECK(batch);
    engine_batch_init(batch, self->engine);
    return batch;
}

/* In two steps: some of the old rows go, as with RocksDB those do that have files of their own; then the new ones come. */
static enum err ingest(struct engine_tables *tables, enum engine_cf cf, const char *const *names, uint32_t count,
                       struct bytes start, struct bytes end, struct error *err)
{
    struct mem_tables *self = self_of(tables);
    struct engine_batch *batch = batch_for(self);
    for (uint32_t i = 0; i < count; i++) {
        struct engine_table *table = find(self, names[i]);
        if (!table) {
            engine_batch_fini(batch);
            free(batch);
            return missing(names[i], err);
        }
        CHECK(table->cf == cf);
        if (table->rotten)
            append_rotten(batch, table);
        else
            engine_batch_data_append(batch, &table->content);
    }
    struct engine_batch *old = batch_for(self);
    const struct engine_table *first = find(self, names[0]);
    bool has_rows = first->last_key.size > 0 && bytes_compare(start, buf_bytes(&first->last_key)) <= 0;
    if (bytes_compare(start, end) < 0)
        engine_batch_data_delete_range(old, cf, start, has_rows ? buf_bytes(&first->last_key) : end);
    enum err code = engine_mem_ingest(self->engine, old, err);
    if (code == ERR_OK)
        return engine_mem_ingest(self->engine, batch, err);
    engine_batch_fini(batch);
    free(batch);
    return code;
}

static enum err remove_table(struct engine_tables *tables, const char *name, struct error *err)
{
    struct mem_tables *self = self_of(tables);
    struct engine_table *table = find(self, name);
    enum err code = engine_mem_ask(self->engine, engine_mem_generation(self->engine), false, 0, err);
    if (code == ERR_DISK_FULL)
        code = ERR_OK; /* removing needs no room */
    if (table && code == ERR_OK) {
        table->removed = true;
        table->removed_us = engine_mem_now_us(self->engine);
    }
    return code;
}

static int compare_tables(const void *a, const void *b)
{
    return strcmp((*(struct engine_table *const *)a)->name, (*(struct engine_table *const *)b)->name);
}

static enum err list(struct engine_tables *tables, void (*visit)(void *context, const char *name, uint64_t size),
                     void *context, struct error *err)
{
    struct mem_tables *self = self_of(tables);
    if (engine_mem_read_fails(self->engine))
        return error_set(err, ERR_IO, "injected fault: a read failed");
    uint32_t count = 0;
    struct engine_table **sorted = calloc(mem_tables_count(tables) + 1, sizeof(struct engine_table *));
    CHECK(sorted);
    for (struct engine_table *table = self->first; table; table = table->next)
        if (table->finished && !table->removed)
            sorted[count++] = table;
    if (count > 0)
        qsort(sorted, count, sizeof(struct engine_table *), compare_tables);
    for (uint32_t i = 0; i < count; i++)
        visit(context, sorted[i]->name, table_size(sorted[i]));
    free(sorted);
    return ERR_OK;
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

struct engine_tables *mem_tables_new(struct engine *engine)
{
    struct mem_tables *self = calloc(1, sizeof *self);
    CHECK(self);
    self->tables.ops = &ops;
    self->engine = engine;
    return &self->tables;
}

void mem_tables_free(struct engine_tables *tables)
{
    struct mem_tables *self = self_of(tables);
    while (self->first)
        table_delete(self->first);
    free(self);
}

uint64_t mem_tables_count(const struct engine_tables *tables)
{
    uint64_t count = 0;
    for (const struct engine_table *table = ((const struct mem_tables *)tables)->first; table; table = table->next)
        count += table->finished && !table->removed;
    return count;
}

static void crash_table(struct engine_table *table, uint64_t now_us, struct rng *rng)
{
    bool was_finished = table->finished && table->finished_us <= now_us;
    if (!was_finished)
        become_rubbish(table);
    bool is_back = table->removed && (table->removed_us > now_us || rng_chance(rng, 1, 2));
    if (is_back && !find(table->tables, table->name))
        table->removed = false;
    if (!table->is_handle && (table->removed || (!was_finished && rng_chance(rng, 1, 2))))
        table_delete(table);
}

void mem_tables_crash(struct engine_tables *tables, uint64_t now_us, struct rng *rng)
{
    for (struct engine_table *table = self_of(tables)->first, *next; table; table = next) {
        next = table->next;
        crash_table(table, now_us, rng);
    }
}
