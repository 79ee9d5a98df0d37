/* engine_tables: files of rows, made beside the rows that are live and put among them at once.
 *
 *   engine_table_new --put, put...--> engine_table_finish: durable under its name --engine_tables_ingest--> live
 *
 * A table stands for a slice [start, end) of one column family: once it is ingested, the slice holds its rows and nothing
 * else. Rows come in ascending order. Until finish, what is there goes by another name (".tmp"), and a crash leaves rubbish
 * at most. An ingest is durable when it returns, whatever was written before it and is not synced; the files stay until
 * engine_tables_remove, so that it may be done again (after a crash, say). A crash may bring a removed file back.
 *
 * Names are of letters, digits, '_', '-' and '.'. Calls may wait for the disk. Threads: any; one table belongs to one. */
#ifndef ENV_ENGINE_TABLES_H
#define ENV_ENGINE_TABLES_H

#include "env/engine.h"

struct engine_table;

enum { ENGINE_TABLE_NAME_SIZE = 96 };

struct engine_tables {
    const struct engine_tables_ops *ops;
};

struct engine_tables_ops {
    enum err (*table_new)(struct engine_tables *tables, enum engine_cf cf, const char *name, bool compress,
                          struct engine_table **ret_table, struct error *err);
    enum err (*table_put)(struct engine_table *table, struct bytes key, struct bytes value, struct error *err);
    uint64_t (*table_size)(const struct engine_table *table);
    enum err (*table_finish)(struct engine_table *table, struct bytes start, struct bytes end, struct error *err);
    void (*table_free)(struct engine_table *table);
    enum err (*check)(struct engine_tables *tables, const char *name, struct error *err);
    enum err (*ingest)(struct engine_tables *tables, enum engine_cf cf, const char *const *names, uint32_t count,
                       struct bytes start, struct bytes end, struct error *err);
    enum err (*remove)(struct engine_tables *tables, const char *name, struct error *err);
    enum err (*list)(struct engine_tables *tables, void (*visit)(void *context, const char *name, uint64_t size),
                     void *context, struct error *err);
};

/* `compress`: not worth its CPU for rows that hardly become smaller; see engine_table_size. */
static inline enum err engine_table_new(struct engine *engine, enum engine_cf cf, const char *name, bool compress,
                                        struct engine_table **ret_table, struct error *err)
{
    return engine->tables->ops->table_new(engine->tables, cf, name, compress, ret_table, err);
}
/* Not finished: what is there goes. NULL is fine. */
static inline void engine_table_free(struct engine *engine, struct engine_table *table)
{
    if (table)
        engine->tables->ops->table_free(table);
}
/* ERR_DISK_FULL, ERR_IO: free it, nothing happened. The engine is as well as before. */
static inline enum err engine_table_put(struct engine *engine, struct engine_table *table, struct bytes key,
                                        struct bytes value, struct error *err)
{
    return engine->tables->ops->table_put(table, key, value, err);
}
/* Bytes so far, an estimate; of the file, when it is finished. */
static inline uint64_t engine_table_size(struct engine *engine, const struct engine_table *table)
{
    return engine->tables->ops->table_size(table);
}
/* Durable on ERR_OK. It is for the slice [start, end), which may be more than its rows; with end == start nothing is
 * removed. Free it afterwards. */
static inline enum err engine_table_finish(struct engine *engine, struct engine_table *table, struct bytes start,
                                           struct bytes end, struct error *err)
{
    return engine->tables->ops->table_finish(table, start, end, err);
}

/* Reads all of a finished table. ERR_CORRUPT, ERR_NOT_FOUND, ERR_IO: the text names the file. */
static inline enum err engine_tables_check(struct engine *engine, const char *name, struct error *err)
{
    return engine->tables->ops->check(engine->tables, name, err);
}
/* Tables of slices that do not overlap, in order, and cover [start, end); all or none. They may have been ingested before.
 * What was there goes first, and its space with it, as far as that is cheap: after an error, or a crash, any of it may be
 * gone. ERR_DISK_FULL, ERR_CORRUPT, ERR_NOT_FOUND; ERR_IO (final). */
static inline enum err engine_tables_ingest(struct engine *engine, enum engine_cf cf, const char *const *names,
                                            uint32_t count, struct bytes start, struct bytes end, struct error *err)
{
    return engine->tables->ops->ingest(engine->tables, cf, names, count, start, end, err);
}
/* One that is not there is fine. */
static inline enum err engine_tables_remove(struct engine *engine, const char *name, struct error *err)
{
    return engine->tables->ops->remove(engine->tables, name, err);
}
/* All that are there, those that were never finished too; sorted by name. */
static inline enum err engine_tables_list(struct engine *engine,
                                          void (*visit)(void *context, const char *name, uint64_t size), void *context,
                                          struct error *err)
{
    return engine->tables->ops->list(engine->tables, visit, context, err);
}

#endif
