/* snapshot_cut: everything of one region as of one index, seen by iterators that nothing disturbs.
 *
 * The apply worker alone writes a region's data, so what it makes between two of its writes is of one index: rows, tokens,
 * membership and range together (region_fsm_cut). Iterators pin what they see: a cut must not live longer than it is read.
 *
 * Owner: whoever has it; one at a time. */
#ifndef STORENODE_SNAPSHOT_CUT_H
#define STORENODE_SNAPSHOT_CUT_H

#include "base/arena.h"
#include "env/engine.h"
#include "meta/region.h"
#include "raft/raft.h"
#include "storenode/region_time.h"

struct snapshot_cut {
    /* by who wants it */
    struct engine *engine; /* borrowed */
    region_id region_id;
    peer_id from, to;
    store_id to_store;
    raft_term term;
    /* region_fsm_cut */
    struct region *region; /* owned */
    struct raft_position position;
    struct raft_conf conf;
    struct region_time time;
    struct engine_iter *iters[ENGINE_RAFT]; /* owned; one per column family with data */
    struct arena rows_arena;
    struct wire_snapshot_row *rows; /* tokens */
    uint32_t row_count;
};

struct snapshot_cut *snapshot_cut_new(struct engine *engine);
void snapshot_cut_free(struct snapshot_cut *cut); /* NULL is fine */

#endif
