/* slow_score: how much slower than it should is this store's disk, from 0 to 100, for pd: above 80 its leaders go elsewhere.
 *
 * Looked at with each heartbeat: the mean of the log's synced writes since the last one. Up to 50 ms is fine, from 500 ms
 * on it is as bad as can be. The score goes half of the way up at a time, so that three bad seconds count and one does
 * not, and down slowly, so that a disk that is bad now and then gets nothing back in between. Without writes there is
 * nothing to measure: it goes down, too. (A disk that answers nothing at all is noticed sooner: worker_clock.c.)
 *
 * Owner: the pd link. All zero is a fine disk. */
#ifndef STORENODE_SLOW_SCORE_H
#define STORENODE_SLOW_SCORE_H

#include <stdint.h>

struct slow_score {
    uint64_t writes, write_us; /* when it was looked at last */
    uint64_t latency_us;       /* mean since the look before; 0: nothing was written */
    uint32_t score;
};

/* Both only grow (group/write_counts.h). */
void slow_score_look(struct slow_score *slow, uint64_t writes, uint64_t write_us);

#endif
