/* operator: a change to one region in small steps, and the list of all that run.
 *
 * A move is: add a learner, (hand over leadership,) exchange both in one joint step, remove what became a learner. So
 * a region never has fewer voters than before, and never one more than it has stores to lose.
 *
 *            start                     step seen in a heartbeat          last step seen
 *   (policy) -----> RUNNING(step 1) --------------------------> ... -----------------------> DONE
 *                      |  step took longer than its timeout (with rows to send: by      -> TIMED_OUT
 *                      |  their size and the limits of both stores)
 *                      |  membership or range changed, and not by the step under way -----> STALE
 *                      |  somebody said so, the region is gone, or who should get a peer
 *                      |  or leadership is silent ---------------------------------------> CANCELLED
 *
 * What an operator will still change is counted at its stores at once (coming_*), and taken back piece by piece as
 * heartbeats show it: two decisions in a row see each other's work. Bytes of snapshots are taken from the buckets of
 * who receives and who sends when it starts.
 *
 * Owner: whoever owns the list. It writes the region's mark and the stores' coming_*.
 * Invariants (operator_list_check): O1 at most one operator per region (a merge holds both);  O2 coming_* of a store are the
 * sums of the unsettled deltas of running operators;  O3 a finished operator holds nothing. */
#ifndef PD_OPERATOR_H
#define PD_OPERATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "pd/reason.h"
#include "pd/region_tree.h"
#include "pd/store_table.h"

enum { OPERATOR_STEPS_MAX = 16, OPERATOR_DELTAS_MAX = 16, OPERATOR_HISTORY_MAX = 1024, OPERATOR_PAUSES_MAX = 1024 };

enum operator_step_kind {
    STEP_ADD_LEARNER, /* on `store` */
    STEP_CHANGE,      /* jointly: the learner on `store` becomes a voter, the voter on `other` a learner; 0: nobody */
    STEP_REMOVE,      /* the learner on `store` */
    STEP_TRANSFER,    /* leadership to `store` */
    STEP_SPLIT,       /* in the middle, by load, or where a rule begins: the reason says which */
    STEP_MERGE,       /* into the neighbour `other_region` */
};

enum operator_state { OPERATOR_RUNNING, OPERATOR_DONE, OPERATOR_TIMED_OUT, OPERATOR_STALE, OPERATOR_CANCELLED };

struct operator_step {
    enum operator_step_kind kind;
    store_id store, other;
    uint64_t timeout_ms; /* from operator_list_start */
};

struct operator_delta {
    store_id store;
    int8_t peers, leaders;
    bool settled;
};

/* A region whose operator timed out: the next one waits, twice as long each time. */
struct operator_pause {
    region_id region;
    uint64_t until_ms;
    uint32_t failures;
};

struct operator
{
    struct list link; /* of running ones */
    uint64_t number;  /* never used twice */
    uint32_t slot;
    region_id region, other_region;
    uint64_t conf, version; /* of the region, as far as its own steps explain them */
    uint64_t size;
    uint32_t read_load, write_load;
    bool by_people;
    uint64_t created_ms, step_ms, ended_ms;
    enum operator_state state;
    uint32_t step, step_count, delta_count;
    struct operator_step steps[OPERATOR_STEPS_MAX];
    struct operator_delta deltas[OPERATOR_DELTAS_MAX];
    struct reason reason;
};

struct operator_list;

struct operator_list *operator_list_new(struct region_tree *regions, struct store_table *stores, uint32_t count_max);
void operator_list_free(struct operator_list *operators); /* NULL is fine */

/* A draft for a region, without steps. */
void operator_draft(struct operator *draft, const struct region_node *node, const struct reason *reason);
void operator_add_step(struct operator *draft, enum operator_step_kind kind, store_id store, store_id other);
/* NULL: the region (or its neighbour) has one, count_max run, or it is paused: 1 min after one timed out, twice as long
 * each time, 1 h at most (not for people: `by_people`). Else a copy of `draft` runs. */
const struct operator *operator_list_start(struct operator_list *operators, const struct operator *draft,
                                           uint64_t now_ms);
/* How often in a row operators of the region have timed out, as far as is remembered. */
uint32_t operator_list_failures(const struct operator_list *operators, region_id region);
bool operator_list_has_room(const struct operator_list *operators);

/* A heartbeat changed `node`: steps that are done are left behind. Returns the step that the region should do now;
 * NULL: none, it has no operator (any more). */
const struct operator_step *operator_list_report(struct operator_list *operators, struct region_node *node,
                                                 uint64_t now_ms);
/* Ends those that take too long, or cannot go on. Before any is started: what the tree has lost and found again has none. */
void operator_list_tick(struct operator_list *operators, uint64_t now_ms);
bool operator_list_cancel(struct operator_list *operators, region_id region, uint64_t now_ms); /* false: has none */
void operator_list_cancel_all(struct operator_list *operators, uint64_t now_ms);

const struct operator *operator_list_of(const struct operator_list *operators,
                                        const struct region_node *node); /* NULL */
uint32_t operator_list_count(const struct operator_list *operators);
/* Running ones in order of birth: operator_list_next(operators, NULL) is the oldest. */
const struct operator *operator_list_next(const struct operator_list *operators, const struct operator *after);
/* Ended ones, 0 is the latest; NULL: not kept. */
const struct operator *operator_list_history(const struct operator_list *operators, uint32_t back);
const char *operator_step_name(enum operator_step_kind kind);
const char *operator_state_name(enum operator_state state);

void operator_list_check(const struct operator_list *operators);

#endif
