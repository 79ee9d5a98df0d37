/* region_time: what time it is in a region.
 *
 * Keys expire by a clock that is part of the replicated state. Each command says what time it was when it was proposed, by
 * the wall clock of whoever led; the region's time is the latest that any applied command said. So it is the same at the same
 * entry on every replica, it never goes back, whatever clocks and leaders do, and what is decided by it (compare-and-swap,
 * what a compaction may drop, what a reader is told) is decided alike everywhere and for good.
 *
 *   now_ms         never goes back; 0: no command said any
 *   last_expiry_ms no row of the region expires later than this; 0: none expires at all
 *
 * It is written with the apply state, inherited by what a region is split into, and travels with snapshots. Of two regions
 * that become one both parts are joined: then nothing comes back to life on either side. */
#ifndef STORENODE_REGION_TIME_H
#define STORENODE_REGION_TIME_H

#include <stdint.h>

struct region_time {
    uint64_t now_ms, last_expiry_ms;
};

/* 100 years: sums never overflow. */
enum { REGION_TTL_DAYS_MAX = 36525 };
#define REGION_TTL_MAX_MS ((uint64_t)REGION_TTL_DAYS_MAX * 24 * 3600 * 1000)

static inline void region_time_pass(struct region_time *time, uint64_t now_ms)
{
    if (now_ms > time->now_ms)
        time->now_ms = now_ms;
}

static inline struct region_time region_time_join(struct region_time a, struct region_time b)
{
    return (struct region_time){.now_ms = a.now_ms > b.now_ms ? a.now_ms : b.now_ms,
                                .last_expiry_ms =
                                    a.last_expiry_ms > b.last_expiry_ms ? a.last_expiry_ms : b.last_expiry_ms};
}

#endif
