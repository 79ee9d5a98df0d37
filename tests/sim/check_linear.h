/* check_linear: is there an order of the operations on each key that explains every answer?
 *
 * Each key is a register of its own (linearizability is local): put, delete, get, compare-and-swap, append. An order
 * must respect time: an operation that ended before another began comes first. Unknown outcomes may take effect at any
 * time after their start, or never.
 *
 * The search is Wing and Gong's (1993) with Lowe's memory of configurations (2017): (set of operations done, value) is
 * visited once. The set is kept as a 128-bit sum of random words per operation (Zobrist), so a configuration
 * takes 16 bytes however long the history is; that two different ones meet in one sum is less likely than a broken
 * machine. These reductions keep long histories nearly linear; all are sound:
 *   - an answer that only looks and fits the present value is done at once;
 *   - a value that must still be seen, and that nothing can bring back, is not replaced;
 *   - a write that nobody was shown is junk, one as good as another: done at once over a value that nobody needs, and
 * left out if its outcome is unknown (unless some cas was not told what it found);
 *   - an unknown operation is left out if nobody needs what it would write, and nobody needs the present value to be gone;
 *   - of unknown operations that do the same the earlier is used first. */
#ifndef SIM_CHECK_LINEAR_H
#define SIM_CHECK_LINEAR_H

#include "history.h"

enum linear_verdict { LINEAR_OK, LINEAR_ILLEGAL, LINEAR_UNDECIDED };

struct linear_result {
    enum linear_verdict verdict;
    uint32_t key;         /* the key that broke it, if not ok */
    size_t stuck_index;   /* operation whose answer no order explains, after the longest order found */
    uint32_t stuck_value; /* value of the key then; HISTORY_NOT_TOLD: one that nobody was shown */
    size_t done_count;    /* operations in that longest order */
    uint64_t steps;       /* work done */
};

/* `steps_max`: work after which a key is given up as undecided; 0: 10 million per key. */
void check_linear(struct history *history, uint64_t steps_max, struct linear_result *ret_result);

#endif
