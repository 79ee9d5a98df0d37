/* snapshot_tables: the rows of a snapshot as tables of the engine (engine_tables.h), in key order, one behind the other.
 *
 * A table is closed when it is large enough, and read again at once; so the slices [start, cut), [cut, cut), ... [cut, end) cover the region's range
 * in each column family that has a row. Names: rev_<region>_<term>_<index>_<id>_<attempt>_<number>.sst (attempt: another one each time,
 * because one that was given up may still lie there when it begins again)
 *
 * Owner: the snapshot receiver while they are made; what is finished belongs to whoever has the list. */
#ifndef STORENODE_SNAPSHOT_TABLES_H
#define STORENODE_SNAPSHOT_TABLES_H

#include "env/engine_tables.h"
#include "meta/region.h"
#include "proto/wire.h"
#include "raft/raft.h"

struct snapshot_table {
    enum engine_cf cf;
    char name[ENGINE_TABLE_NAME_SIZE];
};

struct snapshot_tables {
    struct snapshot_table *items; /* owned; by column family and key */
    uint32_t count;
    uint64_t row_count, size;
};

struct snapshot_build;

/* `region` is copied. */
struct snapshot_build *snapshot_build_new(struct engine *engine, const struct region *region, uint64_t id,
                                          struct raft_position position, uint32_t attempt);
/* What it made is removed, unless it was finished. NULL is fine. */
void snapshot_build_free(struct snapshot_build *build);
/* The rows of column families with data. ERR_INVALID: a row out of order; ERR_DISK_FULL, ERR_IO; ERR_CORRUPT: a table is not
 * what was written. After an error there is no going on. */
enum err snapshot_build_add(struct snapshot_build *build, const struct wire_snapshot_chunk *chunk, struct error *err);
/* All are durable, and were read again. ERR_CORRUPT: one of them is not what was written. */
enum err snapshot_build_finish(struct snapshot_build *build, struct snapshot_tables *ret_tables, struct error *err);

/* Of one column family, instead of what `region` had there: all or none. None is fine. */
enum err snapshot_tables_ingest(const struct snapshot_tables *tables, struct engine *engine, enum engine_cf cf,
                                const struct region *region, struct error *err);
bool snapshot_tables_have(const struct snapshot_tables *tables, enum engine_cf cf);
void snapshot_tables_add(struct snapshot_tables *tables, enum engine_cf cf, const char *name);
/* The files go. What cannot be removed is found at the next start. */
void snapshot_tables_remove(const struct snapshot_tables *tables, struct engine *engine);
void snapshot_tables_fini(struct snapshot_tables *tables);

/* The end of a range: every key begins with its mode, which is below 0xff. */
static inline struct bytes snapshot_end_of(const struct region *region)
{
    return region->end_key.size > 0 ? region->end_key : bytes_of("\xff", 1);
}

#endif
