/* tso: timestamps that only grow, across restarts, changes of leader and steps of the clock.
 *
 *   timestamp = physical milliseconds << 18 | counter
 *
 * Timestamps may be given out only below `limit_ms`, a physical time that is in pd's log already. Whoever leads next
 * starts at that limit, above everything that was ever given out. The limit is moved ahead by `window_ms` at a time, so
 * the log sees one command per window and not one per timestamp.
 *
 *              given out            may be given out          needs a command first
 *   ---------------------------|------------------------|------------------------------> physical time
 *                         physical_ms               limit_ms
 *
 * The wall clock only pulls forward. When it is behind (a step back, or a start before the old limit) the counter goes
 * on from where it was and its overflow moves the physical part by one millisecond: never back, never a wait.
 *
 * Owner: the pd actor. Pure: time comes in as an argument.
 * Invariants (tso_check): T1 physical_ms <= limit_ms;  T2 what tso_take returns is above all it returned before. */
#ifndef PD_TSO_H
#define PD_TSO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { TSO_COUNTER_BITS = 18, TSO_COUNT_MAX = 1 << TSO_COUNTER_BITS };
/* 46 bits: the year 4199. A clock beyond it is not believed. */
#define TSO_PHYSICAL_MS_MAX ((UINT64_C(1) << 46) - 1)

struct tso {
    uint64_t window_ms;
    uint64_t limit_ms;         /* in the log and applied */
    uint64_t pending_limit_ms; /* proposed by us, not applied yet; 0: none */
    uint64_t physical_ms;      /* of the next timestamp */
    uint32_t counter;          /* of the next timestamp; may be TSO_COUNT_MAX: this millisecond is used up */
    bool used;                 /* since the limit last moved: an idle pd writes no windows */
};

/* Memory is the caller's. `limit_ms` is the persisted one: call it when leadership begins. */
void tso_init(struct tso *tso, uint64_t window_ms, uint64_t limit_ms);

/* The first of `count` consecutive timestamps. ERR_INVALID: count is 0 or over TSO_COUNT_MAX. ERR_NOT_READY: the window
 * is used up, or was never opened; propose one (tso_wants_window) and take again after it is applied. */
enum err tso_take(struct tso *tso, uint64_t wall_ms, uint32_t count, uint64_t *ret_first);

/* True when a new window should be proposed now: the present one is more than half used and none is on the way, or
 * `urgent` (somebody waits after ERR_NOT_READY). The caller proposes `*ret_limit_ms`. */
bool tso_wants_window(const struct tso *tso, uint64_t wall_ms, bool urgent, uint64_t *ret_limit_ms);
void tso_window_proposed(struct tso *tso, uint64_t limit_ms);
/* From the applied command; a limit lower than ours is nothing. */
void tso_window_applied(struct tso *tso, uint64_t limit_ms);
/* The proposal came to nothing: another one may be made. */
void tso_window_failed(struct tso *tso);

void tso_check(const struct tso *tso);

static inline uint64_t tso_physical_ms(uint64_t timestamp)
{
    return timestamp >> TSO_COUNTER_BITS;
}

#endif
