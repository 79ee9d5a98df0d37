/* scheduler: asks each policy in turn, round by round.
 *
 * In a round a policy is asked again until it has nothing more, or its share of the round is used up. What keeps data
 * safe comes first. Nothing is decided before enough is known: a new leader of pd waits until most regions were heard
 * of (or a time has passed).
 *
 * Owner: whoever owns the struct. */
#ifndef PD_SCHEDULER_H
#define PD_SCHEDULER_H

#include "pd/policy.h"

enum scheduler_policy {
    POLICY_REPLICA_CHECK,
    POLICY_EVICT_LEADER,
    POLICY_SLOW_STORE,
    POLICY_GRANT_LEADER,
    POLICY_SPLIT_MERGE,
    POLICY_HOT_READ,
    POLICY_HOT_WRITE,
    POLICY_BALANCE_LEADER,
    POLICY_BALANCE_REGION,
    POLICY_SHUFFLE_LEADER,
    POLICY_SHUFFLE_REGION,
    POLICY_RANDOM_MERGE,
    POLICY_COUNT
};

struct scheduler_state {
    bool on;
    uint64_t started_count; /* operators */
    struct reason reason;   /* of the last time it started none: why it is quiet */
};

struct scheduler {
    struct pd_view view;
    bool ready;           /* enough is known */
    uint64_t ready_at_ms; /* at the latest */
    struct scheduler_state states[POLICY_COUNT];
    uint64_t started_count;
};

/* All but those for chaos are on. Borrows as pd_view_init does. */
void scheduler_init(struct scheduler *scheduler, struct region_tree *regions, struct store_table *stores,
                    struct rules *rules, struct operator_list *operators, const struct pd_view_config *config,
                    uint64_t seed);
/* A new leader of pd: operators are forgotten, and it waits. */
void scheduler_restart(struct scheduler *scheduler, uint64_t now_ms);
/* Told of every operator that starts. */
typedef void (*scheduler_started)(void *context, const struct operator *operator);
void scheduler_round(struct scheduler *scheduler, uint64_t now_ms, scheduler_started started, void *context);

const char *scheduler_policy_name(enum scheduler_policy policy);
bool scheduler_policy_is_chaos(enum scheduler_policy policy); /* off unless somebody wants it */

#endif
