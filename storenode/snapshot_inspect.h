/* snapshot_inspect: what snapshots have left in the directory of a store that does not run: those that were accepted and are
 * installed when it starts, and the table files, which belong to one of them or go at the next start.
 *
 * Owner: whoever looks in. */
#ifndef STORENODE_SNAPSHOT_INSPECT_H
#define STORENODE_SNAPSHOT_INSPECT_H

#include "env/engine_tables.h"
#include "storenode/snapshot_stage.h"

struct snapshot_file {
    char name[ENGINE_TABLE_NAME_SIZE];
    uint64_t size;
    region_id region; /* whose marker names it; 0: nobody's */
    enum err code;    /* of reading it, if it is somebody's */
    char text[256];
};

struct snapshot_left {
    region_id region;
    struct snapshot_marker marker;
};

struct snapshot_inspect {
    struct engine *engine;       /* borrowed; the rest is zero before, owned */
    struct snapshot_file *files; /* by name */
    uint32_t file_count;
    struct snapshot_left *staged;
    uint32_t staged_count;
};

/* ERR_CORRUPT: a marker, or the name of a table. A damaged table is found all the same. */
enum err snapshot_inspect(struct snapshot_inspect *inspect, struct error *err);
void snapshot_inspect_fini(struct snapshot_inspect *inspect);

#endif
