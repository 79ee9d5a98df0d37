#include "pd/scheduler.h"

enum { READY_PERMILLE = 950, READY_WAIT_MS = 5 * 60 * 1000 };

static const struct {
    const char *name;
    policy_decide decide;
    uint32_t per_round;
    bool chaos;
} policies[POLICY_COUNT] = {
    [POLICY_REPLICA_CHECK] = {"replica-check", replica_check, 4096, false},
    [POLICY_EVICT_LEADER] = {"evict-leader", evict_leader, 1024, false},
    [POLICY_SLOW_STORE] = {"slow-store", slow_store, 256, false},
    [POLICY_GRANT_LEADER] = {"grant-leader", grant_leader, 1024, false},
    [POLICY_SPLIT_MERGE] = {"split-merge", split_merge, 512, false},
    [POLICY_HOT_READ] = {"hot-read", hot_read, 8, false},
    [POLICY_HOT_WRITE] = {"hot-write", hot_write, 8, false},
    [POLICY_BALANCE_LEADER] = {"balance-leader", balance_leader, 512, false},
    [POLICY_BALANCE_REGION] = {"balance-region", balance_region, 4096, false},
    [POLICY_SHUFFLE_LEADER] = {"shuffle-leader", shuffle_leader, 4, true},
    [POLICY_SHUFFLE_REGION] = {"shuffle-region", shuffle_region, 4, true},
    [POLICY_RANDOM_MERGE] = {"random-merge", random_merge, 1, true},
};

const char *scheduler_policy_name(enum scheduler_policy policy)
{
    return policies[policy].name;
}

bool scheduler_policy_is_chaos(enum scheduler_policy policy)
{
    return policies[policy].chaos;
}

void scheduler_init(struct scheduler *scheduler, struct region_tree *regions, struct store_table *stores,
                    struct rules *rules, struct operator_list *operators, const struct pd_view_config *config,
                    uint64_t seed)
{
    pd_view_init(&scheduler->view, regions, stores, rules, operators, config, seed);
    scheduler->ready = false;
    scheduler->ready_at_ms = READY_WAIT_MS;
    scheduler->started_count = 0;
    for (int i = 0; i < POLICY_COUNT; i++)
        scheduler->states[i] = (struct scheduler_state){.on = !policies[i].chaos};
}

void scheduler_restart(struct scheduler *scheduler, uint64_t now_ms)
{
    operator_list_cancel_all(scheduler->view.operators, now_ms);
    scheduler->ready = false;
    scheduler->ready_at_ms = now_ms + READY_WAIT_MS;
}

static bool knows_enough(struct scheduler *scheduler, uint64_t now_ms)
{
    struct pd_view *view = &scheduler->view;
    uint64_t led = 0, count = region_tree_count(view->regions);
    for (uint32_t i = 0; i < store_table_count(view->stores); i++)
        led += store_table_at(view->stores, i)->leader_count;
    return led * 1000 >= count * READY_PERMILLE || now_ms >= scheduler->ready_at_ms;
}

static uint32_t run_policy(struct scheduler *scheduler, enum scheduler_policy policy, uint32_t left,
                           scheduler_started started, void *context)
{
    struct scheduler_state *state = &scheduler->states[policy];
    struct reason reason;
    uint32_t count = 0, most = policies[policy].per_round < left ? policies[policy].per_round : left;
    while (count < most && operator_list_has_room(scheduler->view.operators)) {
        const struct operator *operator = policies[policy].decide(&scheduler->view, &reason);
        if (!operator) {
            state->reason = reason;
            break;
        }
        count++;
        if (started)
            started(context, operator);
    }
    state->started_count += count;
    return count;
}

void scheduler_round(struct scheduler *scheduler, uint64_t now_ms, scheduler_started started, void *context)
{
    struct pd_view *view = &scheduler->view;
    operator_list_tick(view->operators, now_ms);
    store_table_tick(view->stores, now_ms);
    pd_view_end_drains(view);
    pd_view_refresh(view, now_ms);
    scheduler->ready = scheduler->ready || knows_enough(scheduler, now_ms);
    if (!scheduler->ready)
        return;
    uint32_t left = view->config->operators_per_round;
    for (int i = 0; i < POLICY_COUNT; i++) {
        uint32_t count =
            scheduler->states[i].on ? run_policy(scheduler, (enum scheduler_policy)i, left, started, context) : 0;
        scheduler->started_count += count;
        left -= count;
    }
}
