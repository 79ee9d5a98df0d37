/* id_alloc: numbers for stores, regions and peers that were never given out before.
 *
 * Ids are handed out from a window [next, limit) that pd's log has reserved already (command alloc_ids); a restart or a
 * new leader drops what is left of its window and takes a new one, so ids have gaps but never repeat. At most one
 * reservation is on the way; whoever finds the window too small waits for it.
 *
 * Owner: the pd actor. Invariants (id_alloc_check): I1 next <= limit;  I2 what was given out was below a reserved
 * limit. */
#ifndef PD_ID_ALLOC_H
#define PD_ID_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum {
    ID_ALLOC_WINDOW_COUNT = 1000,
    ID_ALLOC_COUNT_MAX = 1000 * 1000, /* in one call: 100,000 regions of three peers at bootstrap fit */
};

struct id_alloc {
    uint64_t next;
    uint64_t limit;
    uint32_t pending_count; /* ids in the reservation on the way; 0: none */
};

/* Nothing reserved; also when leadership begins or ends. */
void id_alloc_init(struct id_alloc *alloc);

/* The first of `count` consecutive ids. ERR_INVALID: count is 0 or over ID_ALLOC_COUNT_MAX. ERR_NOT_READY: reserve
 * first (id_alloc_wants_window), take again after it is applied. */
enum err id_alloc_take(struct id_alloc *alloc, uint32_t count, uint64_t *ret_first);

/* True when ids should be reserved now for somebody who wants `count`: too few are left and no reservation is on the
 * way (if the one on the way turns out too small, the next answer asks for more). */
bool id_alloc_wants_window(const struct id_alloc *alloc, uint32_t count, uint32_t *ret_count);
void id_alloc_window_proposed(struct id_alloc *alloc, uint32_t count);
/* Our own reservation was applied: [first, first + count) is ours. */
void id_alloc_window_applied(struct id_alloc *alloc, uint64_t first, uint32_t count);
/* The proposal came to nothing, or nobody knows: if it was applied after all its ids are lost, which is harmless. */
void id_alloc_window_failed(struct id_alloc *alloc);

void id_alloc_check(const struct id_alloc *alloc);

#endif
