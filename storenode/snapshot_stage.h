/* snapshot_stage: a snapshot that was accepted, and how it replaces what a region holds.
 *
 * When all of it is here and the core wants it, one batch (that of the log, synced) replaces the raft state of the region
 * and puts a marker, with the chunks that came as rows and the names of the tables that were made of the others (which are
 * durable by then). From then on the region is what the snapshot says, and its old rows mean nothing. Installing ingests the
 * tables, moves the rows in batches of bounded size and ends with the one that clears the marker, which is synced if there
 * were tables; then their files go. Nothing else needs a sync: who finds a marker at start-up begins again; files that no
 * marker names go.
 *
 *   's' | region id u64 | 0x01                 marker  u8 format=3 | id u64 | index u64 | term u64 | first chunk u32 |
 *                                                      chunks u32 | tables u32 | time u64 | last expiry u64 | checksum u32
 *   's' | region id u64 | 0x02 | sequence u32  chunk   table SnapshotChunk as it came | checksum u32
 *   's' | region id u64 | 0x03 | number u32    table   u8 column family | name | checksum u32
 *
 * Invariants: S1 a marker is there only with all chunks and tables of its id; S2 while it is there, nobody reads or applies;
 *             S3 apply state, data and tokens of a region without a marker are of one index.
 * Owner: region worker (what gathers in the log's batch), then whoever runs the job. */
#ifndef STORENODE_SNAPSHOT_STAGE_H
#define STORENODE_SNAPSHOT_STAGE_H

#include "base/buf.h"
#include "env/engine.h"
#include "env/env.h"
#include "meta/region.h"
#include "raft/raft.h"
#include "storenode/region_time.h"
#include "storenode/snapshot_tables.h"

struct snapshot_marker {
    uint64_t id;
    struct raft_position position;
    uint32_t chunk_first, chunk_count; /* those that are kept as rows: the last ones, or all */
    uint32_t table_count;
    struct region_time time;
};

/* ERR_INVALID: a row that has no place in that region, or rows of data beside others. */
enum err snapshot_stage_check_chunk(const struct wire_snapshot_chunk *chunk, const struct region *region);
/* `bytes`: the chunk as it came. */
void snapshot_stage_put_chunk(struct engine *engine, struct engine_batch *batch, region_id region, uint32_t sequence,
                              struct bytes bytes);
void snapshot_stage_put_marker(struct engine *engine, struct engine_batch *batch, region_id region,
                               const struct snapshot_marker *marker);
void snapshot_stage_put_tables(struct engine *engine, struct engine_batch *batch, region_id region,
                               const struct snapshot_tables *tables);
/* All of that. */
void snapshot_stage_drop(struct engine *engine, struct engine_batch *batch, region_id region);

/* One installation; may be run again from its beginning at any time. */
struct snapshot_install {
    struct region *region; /* owned */
    struct snapshot_marker marker;
    struct snapshot_tables tables; /* owned */
    int ingested_cf;               /* up to which the tables are in */
    uint32_t next;                 /* chunk to move; the first step also removes what was there */
    bool begun, whole;
    uint64_t row_count, size;
};
void snapshot_install_init(struct snapshot_install *install, struct region *take_region,
                           const struct snapshot_marker *marker, struct snapshot_tables *take_tables);
void snapshot_install_fini(struct snapshot_install *install);
/* The tables of one column family, or one batch of about `size_max` bytes (0: a few MiB), until `whole`. ERR_DISK_FULL:
 * nothing was written, try again. May wait for the disk. */
enum err snapshot_install_step(struct snapshot_install *install, struct engine *engine, size_t size_max,
                               struct error *err);
/* All data are in: what makes them count. True: the batch must be durable before snapshot_install_end. Who reads a
 * region's rows to learn how far it is (region_merge_source_is_here) must not do so between that write and what else the
 * region's new state means on this store, so both are one task of the apply worker. */
bool snapshot_install_put_end(const struct snapshot_install *install, struct engine *engine, struct engine_batch *batch);
/* That batch is written: the files go. */
void snapshot_install_end(struct snapshot_install *install, struct engine *engine);
/* All of that at once: before anybody else runs. */
enum err snapshot_install_all(struct snapshot_install *install, struct engine *engine, struct error *err);

/* Start-up: finishes what a marker asks for, drops what has none. `*ret_installed`: how many it did. A chunk or table that
 * cannot be read makes the replica a damaged one, which says which (peer_heal.h). ERR_CORRUPT: a marker or the region's row. */
enum err snapshot_stage_recover(struct env *env, uint64_t *ret_installed, struct error *err);

/* ERR_NOT_FOUND: nothing must be installed; ERR_CORRUPT. */
enum err snapshot_stage_load_marker(struct engine *engine, region_id region, struct snapshot_marker *ret_marker);
enum err snapshot_stage_load_tables(struct engine *engine, region_id region, uint32_t count,
                                    struct snapshot_tables *ret_tables, struct error *err);
/* A row of the 's' family by itself, for who looks in. ERR_CORRUPT. */
enum err snapshot_stage_check_row(struct bytes key, struct bytes value);

#endif
