/* retry: what to do about an answer, and what may be said about a request in the end.
 *
 * Two questions are kept apart here. *Where next* is judged by the code of the last answer (the table below). *Did it
 * happen* is judged by all sends together: a write of which one send got no definite answer may have happened, whatever
 * later sends were told, unless a later answer vouches for the token (Ok and ConditionFailed do: the servers remember
 * the result of a token and give it again, so such an answer is about the write and not about the send).
 *
 *   answer                          next                                              this send
 *   Ok, ConditionFailed             end                                               definite, for all sends
 *   NotLeader + hint                the hinted store, at once                         did not happen
 *   NotLeader                       next peer after a pause                           did not happen
 *   EpochNotMatch + regions         take the regions, route anew, at once             did not happen
 *   EpochNotMatch, known by now     route anew, at once                               did not happen
 *   EpochNotMatch                   drop the route, ask pd                            did not happen
 *   RegionNotFound, KeyNotInRegion  drop the route, ask pd                            did not happen
 *   StoreNotMatch                   drop route and connection, ask pd                 did not happen
 *   Busy, NotReady, DiskFull        same place after `wait_ms` (a stale read: next)   did not happen
 *   Unavailable, NotReady again     next peer after `wait_ms`                         did not happen
 *   Deadline                        same place; the own deadline will end it          did not happen
 *   Maybe, Timeout, codes of STOP   next peer or same place after a pause             not known
 *   connection lost, silence        next peer after a pause                           not known
 *   other codes of GIVE_UP          end                                               did not happen
 *   codes from a newer version      as their action says
 *
 * Pauses grow 2, 4 ... 500 ms, each drawn between half and all of it. What goes on at once may do so four times in a
 * row; then it pauses too, so that two stores that point at each other cost nothing.
 *
 * A wait that would pass the deadline ends the request at once, with the code that asked for it.
 *
 * Budget: re-sends without new information (that is: not after a hint, not after new regions) cost a token of their
 * store. A first send earns a tenth, a success after a retry earns two, time earns 500 a second up to 1,000: a store
 * that fails gets little more load than before, a store that works again is not kept waiting.
 *
 * Owner: whoever embeds the structs. No memory, no clock. */
#ifndef CLIENT_RETRY_H
#define CLIENT_RETRY_H

#include "base/error.h"
#include "base/rng.h"
#include "client/polder.h"

#include <stdbool.h>
#include <stdint.h>

struct retry {
    bool write;
    bool stale_read; /* any replica will do */
    bool waiting;    /* a send is out and its answer is waited for */
    bool maybe;      /* some send got no definite answer */
    bool vouched;    /* an answer about the write itself came */
    uint8_t hops;    /* gone on at once since the last pause */
    uint8_t pauses;
    uint32_t not_ready_ms; /* waited so long, because a store that is not ready said so */
    uint32_t attempts;     /* sends */
    enum err last_code;    /* of the last refusal or loss; ERR_OK: none yet */
    uint32_t last_wait_ms;
};

struct retry_answer {
    enum err code;
    uint8_t server_action; /* enum err_action, used for codes that this version does not know */
    uint32_t wait_ms;
    bool has_hint;    /* names a leader other than who answered */
    bool has_regions; /* some are news, or have been since it was sent */
};

enum retry_step {
    RETRY_END,       /* see retry_end */
    RETRY_SAME,      /* the same place */
    RETRY_HINT,      /* the hinted store */
    RETRY_ROUTES,    /* route anew by the regions that came */
    RETRY_NEXT_PEER, /* another replica */
    RETRY_RELOAD,    /* drop the route, ask pd */
    RETRY_RECONNECT, /* as RELOAD, and the connection is to the wrong store */
};

struct retry_verdict {
    enum retry_step step;
    uint64_t pause_us; /* 0: at once */
    bool paid;         /* costs a token of the budget */
};

void retry_init(struct retry *retry, bool write, bool stale_read);
/* A send leaves now. */
void retry_sent(struct retry *retry);
struct retry_verdict retry_answered(struct retry *retry, const struct retry_answer *answer, uint64_t remaining_us,
                                    struct rng *rng);
/* A send's answer will not come (connection lost), or is not waited for any longer. */
struct retry_verdict retry_lost(struct retry *retry, struct rng *rng);
/* It could not be sent at all (no route, no connection): how long to wait. */
uint64_t retry_unsent(struct retry *retry, enum err code, struct rng *rng);
/* Part of the work is done, the rest starts afresh (next page of a scan). */
void retry_progress(struct retry *retry);

struct retry_end {
    enum polder_outcome outcome;
    enum err code;
    enum polder_advice advice;
    uint32_t wait_ms;
};
/* The end by an answer with this code. */
struct retry_end retry_end_answered(const struct retry *retry, enum err code);
/* The end by the deadline. */
struct retry_end retry_end_deadline(const struct retry *retry);
/* The end because the client is closed. */
struct retry_end retry_end_closed(const struct retry *retry);

enum { RETRY_PAUSE_MIN_US = 2000, RETRY_PAUSE_MAX_US = 500000, RETRY_HOPS_MAX = 4 };

struct retry_budget {
    uint64_t tokens_milli;
    uint64_t filled_us; /* when time was last counted */
};

enum { RETRY_TOKENS_MAX = 1000, RETRY_TOKENS_PER_S = 500, RETRY_FIRST_MILLI = 100 };

void retry_budget_init(struct retry_budget *budget, uint64_t now_us);
void retry_budget_first(struct retry_budget *budget);   /* a first send */
void retry_budget_success(struct retry_budget *budget); /* a retry was answered well */
bool retry_budget_take(struct retry_budget *budget, uint64_t now_us);

#endif
