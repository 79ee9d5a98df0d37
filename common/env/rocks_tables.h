/* rocks_tables: engine_tables of RocksDB, as SST files in the directory `snapshot` of the database's.
 *
 * An ingest gives RocksDB hard links, so that the files stay and may be ingested again. That is good only as long as it
 * writes nothing into them (rocks_sst_leave_unchanged): an inode may be part of the database twice, under two sequence
 * numbers. If it would, it gets copies.
 *
 * Rows of the range that are still in memory make RocksDB flush, with all writers waiting for it. So it is told not to,
 * and the flush is done before, with nobody waiting.
 *
 * Owner: engine_rocks. Threads: any. */
#ifndef ENV_ROCKS_TABLES_H
#define ENV_ROCKS_TABLES_H

#include <stdatomic.h>
#include <rocksdb/c.h>

#include "env/engine_tables.h"
#include "env/rocks_reserve.h"

struct rocks_tables_options {
    const char *path; /* of the database; borrowed */
    rocksdb_t *db;    /* borrowed, as the next */
    rocksdb_column_family_handle_t *const *cfs;
    struct rocks_reserve *reserve; /* borrowed */
    atomic_bool *is_broken;        /* set when an ingest failed in a way that is final */
    bool read_only;
};

struct engine_tables *rocks_tables_new(const struct rocks_tables_options *options); /* copied */
void rocks_tables_free(struct engine_tables *tables);                               /* NULL is fine */

#endif
