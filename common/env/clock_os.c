#include "env/clock_os.h"

#include <time.h>

#include "base/check.h"

static uint64_t now_us(struct clock *clock)
{
    (void)clock;
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint64_t wall_ms(struct clock *clock)
{
    (void)clock;
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

struct clock *clock_os(void)
{
    static struct clock clock = {.now_us = now_us, .wall_ms = wall_ms}; /* never written */
    return &clock;
}
