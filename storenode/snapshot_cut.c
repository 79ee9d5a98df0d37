#include "snapshot_cut.h"

#include <stdlib.h>

#include "base/check.h"

struct snapshot_cut *snapshot_cut_new(struct engine *engine)
{
    struct snapshot_cut *cut = calloc(1, sizeof *cut);
    CHECK(cut);
    cut->engine = engine;
    arena_init(&cut->rows_arena);
    return cut;
}

void snapshot_cut_free(struct snapshot_cut *cut)
{
    if (!cut)
        return;
    for (int cf = 0; cf < ENGINE_RAFT; cf++)
        if (cut->iters[cf])
            engine_iter_free(cut->engine, cut->iters[cf]);
    region_free(cut->region);
    arena_fini(&cut->rows_arena);
    free(cut);
}
