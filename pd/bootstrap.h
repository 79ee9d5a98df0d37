/* bootstrap: the first regions of a new cluster.
 *
 * Once enough stores have registered and live, the key space is cut at likely keys (split_keys) and every region gets
 * its peers round robin: region i has them on stores i, i+1, ... (modulo the number of stores), and its first peer is
 * the one that should campaign first, so that leaders spread evenly. All epochs start at (1, 1).
 *
 * The regions go through the log in commands of at most BOOTSTRAP_COMMAND_REGIONS_MAX; the last one says
 * `bootstrapped`, and only then does any store hear of a region. An interrupted bootstrap begins anew (pd_fsm).
 *
 * Pure: stores and ids come in. Memory: the caller's arena must live as long as the plan. */
#ifndef PD_BOOTSTRAP_H
#define PD_BOOTSTRAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "pd/split_keys.h"
#include "proto/wire.h"

enum { BOOTSTRAP_COMMAND_REGIONS_MAX = 1000 };

struct bootstrap {
    const uint64_t *stores; /* borrowed; ids */
    uint32_t store_count;
    uint32_t region_count; /* 1 .. SPLIT_KEYS_REGIONS_MAX */
    uint32_t replicas;     /* 1 .. store_count */
    uint64_t first_id;     /* bootstrap_id_count() ids from here on are ours */
    struct bytes *split_keys;
    uint32_t next; /* region to be put next */
};

/* How many ids to allocate: one per region and one per peer. */
uint32_t bootstrap_id_count(uint32_t region_count, uint32_t replicas);

/* The numbers must be in range (CHECK: they are pd's own). */
void bootstrap_init(struct bootstrap *bootstrap, const uint64_t *stores, uint32_t store_count, uint32_t region_count,
                    uint32_t replicas, uint64_t first_id, struct arena *arena);
/* The next put_regions command; false when all are out. */
bool bootstrap_next(struct bootstrap *bootstrap, struct arena *arena, struct wire_pd_command *ret_command);

#endif
