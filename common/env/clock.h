/* clock: two clocks and no more. Monotonic time never goes back and has no meaning outside the process; wall time is for
 * timestamps and people, and may jump. Threads: any. */
#ifndef ENV_CLOCK_H
#define ENV_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*now_us)(struct clock *clock);  /* monotonic, microseconds */
    uint64_t (*wall_ms)(struct clock *clock); /* Unix time, milliseconds */
};

static inline uint64_t clock_now_us(struct clock *clock)
{
    return clock->now_us(clock);
}

static inline uint64_t clock_now_ms(struct clock *clock)
{
    return clock->now_us(clock) / 1000;
}

static inline uint64_t clock_wall_ms(struct clock *clock)
{
    return clock->wall_ms(clock);
}

#endif
