#include "pd/tso.h"

#include "base/bug.h"
#include "base/check.h"

void tso_init(struct tso *tso, uint64_t window_ms, uint64_t limit_ms)
{
    *tso = (struct tso){.window_ms = window_ms ? window_ms : 1, .limit_ms = limit_ms, .physical_ms = limit_ms};
}

void tso_check(const struct tso *tso)
{
    CHECK(tso->physical_ms <= tso->limit_ms);
    CHECK(tso->counter <= TSO_COUNT_MAX);
}

/* Where the next `count` timestamps would start, not looking at the limit. */
static void tso_next(const struct tso *tso, uint64_t wall_ms, uint32_t count, uint64_t *ret_physical_ms,
                     uint32_t *ret_counter)
{
    *ret_physical_ms = tso->physical_ms;
    *ret_counter = tso->counter;
    if ((wall_ms > tso->physical_ms || BUG(tso_follows_clock)) && wall_ms < TSO_PHYSICAL_MS_MAX) {
        *ret_physical_ms = wall_ms;
        *ret_counter = 0;
    } else if (tso->counter + count > TSO_COUNT_MAX) {
        *ret_physical_ms = tso->physical_ms + 1;
        *ret_counter = 0;
    }
}

enum err tso_take(struct tso *tso, uint64_t wall_ms, uint32_t count, uint64_t *ret_first)
{
    if (count == 0 || count > TSO_COUNT_MAX)
        return ERR_INVALID;
    uint64_t physical_ms;
    uint32_t counter;
    tso_next(tso, wall_ms, count, &physical_ms, &counter);
    /* A clock that runs in front of the window must not stop us: the rest of the window is as good as now. */
    if (physical_ms >= tso->limit_ms && wall_ms >= tso->limit_ms)
        tso_next(tso, 0, count, &physical_ms, &counter);
    if (physical_ms >= tso->limit_ms)
        return ERR_NOT_READY;
    *ret_first = physical_ms << TSO_COUNTER_BITS | counter;
    tso->physical_ms = physical_ms;
    tso->counter = counter + count;
    tso->used = true;
    return ERR_OK;
}

bool tso_wants_window(const struct tso *tso, uint64_t wall_ms, bool urgent, uint64_t *ret_limit_ms)
{
    if (tso->pending_limit_ms != 0 || !(urgent || tso->used))
        return false;
    uint64_t from_ms = tso->physical_ms;
    if (wall_ms > from_ms && wall_ms < TSO_PHYSICAL_MS_MAX)
        from_ms = wall_ms;
    if (!urgent && from_ms + tso->window_ms / 2 < tso->limit_ms)
        return false;
    uint64_t base_ms = from_ms > tso->limit_ms ? from_ms : tso->limit_ms;
    /* Normally from_ms + window_ms; never less than one more millisecond than now. */
    *ret_limit_ms = from_ms + tso->window_ms > base_ms ? from_ms + tso->window_ms : base_ms + 1;
    return true;
}

void tso_window_proposed(struct tso *tso, uint64_t limit_ms)
{
    tso->pending_limit_ms = limit_ms;
}

void tso_window_applied(struct tso *tso, uint64_t limit_ms)
{
    if (limit_ms >= tso->pending_limit_ms)
        tso->pending_limit_ms = 0;
    if (limit_ms <= tso->limit_ms)
        return;
    tso->limit_ms = limit_ms;
    tso->used = false;
}

void tso_window_failed(struct tso *tso)
{
    tso->pending_limit_ms = 0;
}
