#include "client/retry.h"

#include "base/bug.h"

#include <string.h>

enum { NOT_READY_PATIENCE_MS = 150, NOT_READY_UNTOLD_MS = 40 }; /* of told waits; then somebody else is asked */

void retry_init(struct retry *retry, bool write, bool stale_read)
{
    *retry = (struct retry){.write = write, .stale_read = stale_read};
}

void retry_sent(struct retry *retry)
{
    retry->attempts++;
    retry->waiting = true;
}

void retry_progress(struct retry *retry)
{
    retry->hops = 0;
    retry->pauses = 0;
    retry->not_ready_ms = 0;
    retry->waiting = false;
    retry->last_code = ERR_OK;
    retry->last_wait_ms = 0;
}

static uint64_t next_pause(struct retry *retry, struct rng *rng)
{
    uint64_t pause_us = (uint64_t)RETRY_PAUSE_MIN_US << retry->pauses;
    if (pause_us >= RETRY_PAUSE_MAX_US)
        pause_us = RETRY_PAUSE_MAX_US;
    else
        retry->pauses++;
    retry->hops = 0;
    return rng_between(rng, pause_us / 2, pause_us);
}

/* At once, while that has not been done too often in a row. */
static struct retry_verdict informed(struct retry *retry, enum retry_step step, struct rng *rng)
{
    if (retry->hops < RETRY_HOPS_MAX) {
        retry->hops++;
        return (struct retry_verdict){.step = step};
    }
    return (struct retry_verdict){.step = step, .pause_us = next_pause(retry, rng)};
}

static struct retry_verdict uninformed(struct retry *retry, enum retry_step step, struct rng *rng)
{
    return (struct retry_verdict){.step = step, .pause_us = next_pause(retry, rng), .paid = true};
}

/* Nobody waits much longer than was said, and never less: the store counts on it. */
static struct retry_verdict wait_as_told(struct retry *retry, enum err code, uint32_t wait_ms, uint64_t remaining_us,
                                         struct rng *rng)
{
    bool elsewhere = retry->stale_read || code == ERR_UNAVAILABLE ||
                     (code == ERR_NOT_READY && retry->not_ready_ms >= NOT_READY_PATIENCE_MS);
    if (code == ERR_NOT_READY)
        retry->not_ready_ms += wait_ms > 0 ? wait_ms : NOT_READY_UNTOLD_MS;
    uint64_t pause_us = next_pause(retry, rng);
    uint64_t told_us = (uint64_t)wait_ms * 1000;
    if (told_us > 0)
        pause_us = told_us + rng_below(rng, told_us / 8 + 1);
    if (told_us > remaining_us)
        return (struct retry_verdict){.step = RETRY_END};
    return (struct retry_verdict){.step = elsewhere ? RETRY_NEXT_PEER : RETRY_SAME, .pause_us = pause_us, .paid = true};
}

static struct retry_verdict unknown_outcome(struct retry *retry, enum retry_step step, struct rng *rng)
{
    if (retry->write)
        retry->maybe = true;
    return uninformed(retry, step, rng);
}

static enum err_action action_of(const struct retry_answer *answer)
{
    if (strcmp(err_name(answer->code), "Unknown") == 0 && answer->server_action <= ERR_ACTION_STOP &&
        answer->server_action != ERR_ACTION_NONE)
        return (enum err_action)answer->server_action;
    return err_action(answer->code);
}

struct retry_verdict retry_answered(struct retry *retry, const struct retry_answer *answer, uint64_t remaining_us,
                                    struct rng *rng)
{
    struct retry_verdict end = {.step = RETRY_END};
    retry->waiting = false;
    if (answer->code == ERR_OK || answer->code == ERR_CONDITION_FAILED || answer->code == ERR_NOT_FOUND) {
        retry->vouched = true;
        return end;
    }
    retry->last_code = answer->code;
    retry->last_wait_ms = answer->wait_ms;
    switch (answer->code) {
    case ERR_NOT_LEADER:
        return answer->has_hint ? informed(retry, RETRY_HINT, rng) : uninformed(retry, RETRY_NEXT_PEER, rng);
    case ERR_EPOCH_NOT_MATCH:
        if (answer->has_regions)
            return informed(retry, RETRY_ROUTES, rng);
        return uninformed(retry, RETRY_RELOAD, rng);
    case ERR_STORE_NOT_MATCH:
        return uninformed(retry, RETRY_RECONNECT, rng);
    case ERR_MAYBE:
    case ERR_TIMEOUT: /* the store is well; it lost sight of this one (a change of leader, most often) */
        return unknown_outcome(retry, RETRY_SAME, rng);
    case ERR_DEADLINE: /* what it counts as passed and what we do may differ by a moment */
        return uninformed(retry, RETRY_SAME, rng);
    default:
        break;
    }
    switch (action_of(answer)) {
    case ERR_ACTION_REROUTE:
        return uninformed(retry, RETRY_RELOAD, rng);
    case ERR_ACTION_BACKOFF:
        return wait_as_told(retry, answer->code, answer->wait_ms, remaining_us, rng);
    case ERR_ACTION_RECHECK:
        return unknown_outcome(retry, RETRY_SAME, rng);
    case ERR_ACTION_STOP: /* that node is ending: what it had accepted may or may not be in the log */
        return unknown_outcome(retry, RETRY_NEXT_PEER, rng);
    case ERR_ACTION_NONE:
    case ERR_ACTION_GIVE_UP:
        break;
    }
    return end;
}

struct retry_verdict retry_lost(struct retry *retry, struct rng *rng)
{
    retry->waiting = false;
    retry->last_code = ERR_TIMEOUT;
    retry->last_wait_ms = 0;
    return unknown_outcome(retry, RETRY_NEXT_PEER, rng);
}

uint64_t retry_unsent(struct retry *retry, enum err code, struct rng *rng)
{
    retry->last_code = code;
    retry->last_wait_ms = 0;
    return next_pause(retry, rng);
}

static bool may_have_happened(const struct retry *retry)
{
    return retry->write && (retry->maybe || retry->waiting) && !BUG(unknown_as_not_done);
}

static enum polder_advice advice_of(enum polder_outcome outcome, enum err code)
{
    if (outcome == POLDER_DONE)
        return POLDER_ADVICE_NONE;
    if (outcome == POLDER_UNKNOWN)
        return POLDER_ADVICE_RECHECK;
    if (code == ERR_DEADLINE || code == ERR_CANCELLED) /* of GIVE_UP, but not the request's fault */
        return POLDER_ADVICE_RETRY;
    return err_action(code) == ERR_ACTION_GIVE_UP ? POLDER_ADVICE_GIVE_UP : POLDER_ADVICE_RETRY;
}

static struct retry_end end_of(enum polder_outcome outcome, enum err code, uint32_t wait_ms)
{
    struct retry_end end = {.outcome = outcome, .code = code, .advice = advice_of(outcome, code)};
    if (end.advice == POLDER_ADVICE_RETRY)
        end.wait_ms = wait_ms;
    return end;
}

struct retry_end retry_end_answered(const struct retry *retry, enum err code)
{
    if (code == ERR_OK)
        return end_of(POLDER_DONE, code, 0);
    if (may_have_happened(retry) && !retry->vouched)
        return end_of(POLDER_UNKNOWN, ERR_MAYBE, 0);
    return end_of(POLDER_NOT_DONE, code, retry->last_wait_ms);
}

struct retry_end retry_end_deadline(const struct retry *retry)
{
    if (may_have_happened(retry))
        return end_of(POLDER_UNKNOWN, ERR_TIMEOUT, 0);
    if (retry->waiting)
        return end_of(POLDER_NOT_DONE, ERR_TIMEOUT, 0); /* a read that got no answer did nothing */
    switch (retry->last_code) {
    case ERR_BUSY:
    case ERR_NOT_READY:
    case ERR_DISK_FULL:
    case ERR_UNAVAILABLE:
        return end_of(POLDER_NOT_DONE, retry->last_code, retry->last_wait_ms);
    case ERR_MAYBE: /* only of reads here */
    case ERR_TIMEOUT:
        return end_of(POLDER_NOT_DONE, ERR_TIMEOUT, 0);
    default:
        return end_of(POLDER_NOT_DONE, retry->attempts == 0 ? ERR_UNAVAILABLE : ERR_DEADLINE, 0);
    }
}

struct retry_end retry_end_closed(const struct retry *retry)
{
    return may_have_happened(retry) ? end_of(POLDER_UNKNOWN, ERR_MAYBE, 0) : end_of(POLDER_NOT_DONE, ERR_CANCELLED, 0);
}

void retry_budget_init(struct retry_budget *budget, uint64_t now_us)
{
    *budget = (struct retry_budget){.tokens_milli = RETRY_TOKENS_MAX * 1000, .filled_us = now_us};
}

static void earn(struct retry_budget *budget, uint64_t milli)
{
    budget->tokens_milli += milli;
    if (budget->tokens_milli > RETRY_TOKENS_MAX * 1000)
        budget->tokens_milli = RETRY_TOKENS_MAX * 1000;
}

void retry_budget_first(struct retry_budget *budget)
{
    earn(budget, RETRY_FIRST_MILLI);
}

void retry_budget_success(struct retry_budget *budget)
{
    earn(budget, 2000);
}

bool retry_budget_take(struct retry_budget *budget, uint64_t now_us)
{
    uint64_t milli = (now_us - budget->filled_us) * RETRY_TOKENS_PER_S / 1000;
    if (milli > 0) {
        earn(budget, milli);
        budget->filled_us = now_us;
    }
    if (budget->tokens_milli < 1000)
        return false;
    budget->tokens_milli -= 1000;
    return true;
}
