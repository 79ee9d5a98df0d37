/* expiry: who may see a row that expires, and when it may go.
 *
 * A read looks at rows with the region's time (region_time.h) as it was when all that the read must see was applied. What is
 * expired by that is not there, now and for ever. The region's time stands still while nobody writes; so a row whose time has
 * come by our own clock, EXPIRY_GRACE_MS ago, is not served either: the read is answered NotReady, the leader is asked to
 * let time pass (an entry without writes), and the client asks again. What is within the grace is still there: without it a
 * scan over rows that expire all the time would never end.
 *
 * What a reader is told has therefore been decided in the log: no other leader, whatever its clock says, brings it back. A
 * stale read looks with the time that its replica knows, and waits for nothing.
 *
 * Compactions may drop what is expired by the time of the region here (engine_set_expiry): every interval each region worker
 * tells the engine the times of its regions. It must be that, not a clock: a compare-and-swap that is applied here later, from
 * a log that is behind, is decided by the region's time as well. */
#ifndef STORENODE_EXPIRY_H
#define STORENODE_EXPIRY_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/types.h"
#include "env/engine.h"
#include "env/env.h"
#include "env/executor.h"
#include "storenode/region_time.h"

enum { EXPIRY_GRACE_MS = 200, EXPIRY_WAIT_MS = 5 };

/* How one read looks at rows. */
struct expiry_view {
    uint64_t now_ms;     /* the region's time */
    uint64_t clock_ms;   /* ours */
    region_id region;
    struct actor *owner; /* hears of what is due (time_wish); NULL: what is due is there still (a stale read) */
};

/* The value in a row, and what is left of its life (0: no end). ERR_NOT_FOUND: expired; ERR_NOT_READY: due, the owner has been
 * told; ERR_CORRUPT. */
enum err expiry_look(struct env *env, const struct expiry_view *view, struct bytes row, struct bytes *ret_value,
                     uint64_t *ret_left_ms);

/* WORKER_TIME_WISH: somebody saw a row that is due. */
struct time_wish {
    struct message message;
    region_id region;
    uint64_t time_ms;
};

/* ---- what compactions may drop */

struct store;
struct expiry_spans; /* of one worker's regions */

struct expiry_spans *expiry_spans_new(void);
void expiry_spans_free(struct expiry_spans *spans);
void expiry_spans_add(struct expiry_spans *spans, struct bytes start, struct bytes end, struct region_time time);
/* Tells the engine, from a read worker, unless they are what this worker told last (*told: a hash, kept by the caller). */
void expiry_spans_post(struct store *store, uint32_t slot, struct expiry_spans *take_spans, uint64_t *told);

#endif
