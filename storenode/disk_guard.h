/* disk_guard: no new data when the disk is nearly full.
 *
 * Below `disk-reserve` of free space (at most a tenth of the file system) writes that may need room are refused with
 * ERR_DISK_FULL; reads and deletes go on, and so does Raft's own work, for which the last part is kept
 * (env/rocks_reserve.h). A quarter more must be free before writes are taken again, so that the answer does not change
 * with every compaction.
 *
 * Threads: disk_guard_look one, the others any. */
#ifndef STORENODE_DISK_GUARD_H
#define STORENODE_DISK_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "env/engine.h"

struct disk_guard {
    atomic_bool is_low;
};

enum { DISK_FULL_WAIT_MS = 500 }; /* what the refused are told */

/* `reserve_size` as configured. True: it has just changed; somebody should say so. */
bool disk_guard_look(struct disk_guard *guard, const struct engine_space *space, uint64_t reserve_size);

static inline bool disk_guard_is_low(const struct disk_guard *guard)
{
    return atomic_load_explicit(&guard->is_low, memory_order_relaxed);
}

#endif
