#include "pd/pd_sched.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "pd/pd_op.h"
#include "pd/pd_recovery.h"
#include "pd/pd_sched_parts.h"

enum {
    TELL_INTERVAL_MS = 1000, /* who did not do it may not have heard it */
    STEPS_PER_REPLY_MAX = 1024,
    COMMAND_SIZE_MAX = 1024 * 1024,
    LOAD_SIZE = 4096, /* so many bytes are as much work as another key */
};

/* ---- life */

struct pd_sched *pd_sched_new(struct env *env, const struct pd_config *config, struct pd_fsm *fsm,
                              const struct pd_sched_host *host)
{
    struct pd_sched *sched = calloc(1, sizeof(*sched));
    CHECK(sched);
    sched->env = env;
    sched->config = config;
    sched->effective = *config;
    sched->fsm = fsm;
    sched->host = *host;
    buf_init(&sched->command, COMMAND_SIZE_MAX);
    sched->recovery = pd_recovery_new(sched);
    return sched;
}

void pd_sched_end(struct pd_sched *sched)
{
    if (!sched->leading)
        return;
    sched->leading = false;
    operator_list_cancel_all(sched->operators, pd_sched_now_ms(sched)); /* takes its marks off the regions */
    sched_scatter_end(sched);
    pd_recovery_reset(sched->recovery);
    operator_list_free(sched->operators);
    store_table_free(sched->stores);
    rules_fini(&sched->rules);
    free(sched->told_ms);
    free(sched->due);
    sched->operators = NULL;
    sched->stores = NULL;
    sched->told_ms = NULL;
    sched->due = NULL;
}

void pd_sched_free(struct pd_sched *sched)
{
    if (!sched)
        return;
    pd_sched_end(sched);
    pd_recovery_free(sched->recovery);
    buf_fini(&sched->command);
    free(sched);
}

uint64_t pd_sched_now_ms(const struct pd_sched *sched)
{
    return clock_now_us(sched->env->clock) / 1000;
}

void pd_sched_begin(struct pd_sched *sched)
{
    uint64_t now_ms = pd_sched_now_ms(sched);
    struct region_tree *regions = pd_fsm_regions(sched->fsm);
    CHECK(!sched->leading);
    sched->leading = true;
    sched->begun_ms = now_ms;
    sched->round_at_ms = 0;
    sched->proposed_index = 0;
    sched->due_count = 0;
    sched->stores = store_table_new(sched->config->store_disconnected_ms, sched->config->store_down_ms);
    sched->operators = operator_list_new(regions, sched->stores, sched->config->operators_max);
    sched->told_ms = calloc(sched->config->operators_max, sizeof(*sched->told_ms));
    sched->due = calloc(sched->config->operators_max, sizeof(*sched->due));
    CHECK(sched->told_ms && sched->due);
    rules_init(&sched->rules);
    memset(sched->paused_until_ms, 0, sizeof(sched->paused_until_ms));
    pd_view_config_init(&sched->view_config);
    scheduler_init(&sched->scheduler, regions, sched->stores, &sched->rules, sched->operators, &sched->view_config,
                   sched->env->seed);
    scheduler_restart(&sched->scheduler, now_ms);
    sched_load_truth(sched);
}

void pd_sched_applied(struct pd_sched *sched)
{
    sched->truth_is_old = true;
}

/* ---- steps */

/* What a store understands: of the epoch that pd knows, so of the one that the decision was made for. */
static bool make_step(const struct pd_sched *sched, const struct region_node *node, struct arena *arena,
                      struct wire_region_step *ret_step)
{
    const struct operator* operator= operator_list_of(sched->operators, node);
    if (!operator|| operator->region != region_node_id(node) || operator->step >= operator->step_count)
        return false;
    const struct operator_step *step = &operator->steps[operator->step];
    static const uint8_t kinds[] = {[STEP_ADD_LEARNER] = WIRE_STEP_KIND_ADD_LEARNER,
                                    [STEP_CHANGE] = WIRE_STEP_KIND_CHANGE,
                                    [STEP_REMOVE] = WIRE_STEP_KIND_REMOVE,
                                    [STEP_TRANSFER] = WIRE_STEP_KIND_TRANSFER,
                                    [STEP_SPLIT] = WIRE_STEP_KIND_SPLIT,
                                    [STEP_MERGE] = WIRE_STEP_KIND_MERGE};
    *ret_step = (struct wire_region_step){.operator_number = operator->number,
                                          .region_id = operator->region,
                                          .epoch_conf = region_node_conf(node),
                                          .epoch_version = region_node_version(node),
                                          .kind = kinds[step->kind],
                                          .store_id = step->store,
                                          .other_store = step->other,
                                          .other_region = operator->other_region };
    if (step->kind == STEP_SPLIT) {
        struct fit fit;
        fit_region(sched->stores, &sched->rules, node, &fit);
        ret_step->key = arena_copy(arena, fit.cut);
    }
    sched->told_ms[operator->slot] = pd_sched_now_ms(sched);
    return true;
}

/* Whose leaders have something to hear: so a store's heartbeat need not look at all operators' regions. */
static void find_due(struct pd_sched *sched, uint64_t now_ms)
{
    const struct operator* operator= NULL;
    sched->due_count = 0;
    while ((operator= operator_list_next(sched->operators, operator)) != NULL) {
        const struct region_node *node = region_tree_find_id(pd_fsm_regions(sched->fsm), operator->region);
        bool told = sched->told_ms[operator->slot] >= operator->created_ms;
        if (node && (!told || now_ms >= sched->told_ms[operator->slot] + TELL_INTERVAL_MS))
            sched->due[sched->due_count++] = (struct sched_due){region_node_leader_store(node), operator->region };
    }
}

static void add_due_steps(struct pd_sched *sched, store_id store, struct arena *arena, struct wire_pd_reply *reply)
{
    uint32_t count = 0, kept = 0;
    for (uint32_t i = 0; i < sched->due_count; i++)
        count += sched->due[i].store == store;
    if (count == 0)
        return;
    reply->steps = arena_alloc(arena, count * sizeof(*reply->steps));
    for (uint32_t i = 0; i < sched->due_count; i++) {
        const struct sched_due *due = &sched->due[i];
        const struct region_node *node = due->store == store && reply->steps_count < STEPS_PER_REPLY_MAX
                                             ? region_tree_find_id(pd_fsm_regions(sched->fsm), due->region)
                                             : NULL;
        if (node)
            reply->steps_count += make_step(sched, node, arena, &reply->steps[reply->steps_count]);
        else
            sched->due[kept++] = *due;
    }
    sched->due_count = kept;
}

/* ---- what is reported */

void pd_sched_store_registered(struct pd_sched *sched, store_id id)
{
    struct store_entry *store = sched->leading ? sched_store(sched, id) : NULL;
    if (!store)
        return;
    if (pd_fsm_bootstrapped(sched->fsm) && store->heard == STORE_UNKNOWN && store->returns == 0 &&
        region_tree_sums(pd_fsm_regions(sched->fsm), id).count == 0)
        store_is_new(store, pd_sched_now_ms(sched));
    store_heartbeat(store, pd_sched_now_ms(sched));
}

void pd_sched_store_heartbeat(struct pd_sched *sched, const struct wire_store *wire, struct arena *arena,
                              struct wire_pd_reply *reply)
{
    struct store_entry *store = sched->leading ? sched_store(sched, wire->id) : NULL;
    if (!store)
        return;
    store_heartbeat(store, pd_sched_now_ms(sched));
    store->capacity_size = wire->capacity_size;
    store->available_size = wire->available_size;
    store->slow_score = wire->slow_score;
    store->latency_us = wire->latency_us;
    add_due_steps(sched, wire->id, arena, reply);
    pd_recovery_store_heartbeat(sched->recovery, wire->id, arena, reply);
}

void pd_sched_peer_report(struct pd_sched *sched, struct pd_op *take_op)
{
    if (sched->leading)
        pd_recovery_report(sched->recovery, take_op);
    else
        pd_op_free(take_op);
}

bool pd_sched_store_is_lost(const struct pd_sched *sched, store_id id)
{
    const struct store_entry *store = sched->leading ? store_table_find(sched->stores, id) : NULL;
    return store && store->wanted == STORE_LOST;
}

struct pd_recovery *pd_sched_recovery(const struct pd_sched *sched)
{
    return sched->recovery;
}

void pd_sched_load(const struct region_node *node, const struct wire_region_heartbeat *heartbeat,
                   struct region_seen *seen)
{
    struct region_seen before = region_node_seen(node);
    seen->read_load = pd_view_decayed(before.read_load, heartbeat->keys_read + heartbeat->size_read / LOAD_SIZE,
                                      heartbeat->interval_ms);
    seen->write_load = pd_view_decayed(before.write_load, heartbeat->keys_written + heartbeat->size_written / LOAD_SIZE,
                                       heartbeat->interval_ms);
}

bool pd_sched_region(struct pd_sched *sched, region_id region, enum region_news news, struct arena *arena,
                     struct wire_region_step *ret_step)
{
    struct region_node *node = sched->leading ? region_tree_find_id(pd_fsm_regions(sched->fsm), region) : NULL;
    if (!node)
        return false;
    sched->scheduler.view.now_ms = pd_sched_now_ms(sched);
    if (news == REGION_SPLIT)
        region_node_set_split_s(node, (uint32_t)(sched->scheduler.view.now_ms / 1000));
    bool does = pd_view_report(&sched->scheduler.view, node, news != REGION_SAME) != NULL;
    return does && make_step(sched, node, arena, ret_step);
}

/* ---- rounds */

static void say_started(void *context, const struct operator* operator)
{
    struct pd_sched *sched = context;
    log_event(sched->env->log, LOG_INFO,
              "event=operator_started operator=%llu region=%llu policy=%s step=%s store=%llu other=%llu",
              (unsigned long long)operator->number, (unsigned long long)operator->region, operator->reason.policy,
              operator_step_name(operator->steps[0].kind), (unsigned long long)operator->steps[0].store,
              (unsigned long long)(operator->steps[0].other ? operator->steps[0].other : operator->other_region));
}

/* Drained to the end by the round, or not empty any more: the others are to know it, too. */
static void keep_tombstones(struct pd_sched *sched)
{
    for (uint32_t i = 0; i < store_table_count(sched->stores); i++) {
        struct store_entry *store = store_table_at(sched->stores, i);
        raft_index index;
        bool empty = store->wanted == STORE_TOMBSTONE;
        if (empty == store->tombstone_said || sched_put_wish(sched, store, &index, NULL) != ERR_OK)
            continue;
        store->tombstone_said = empty;
        log_event(sched->env->log, LOG_INFO, "event=%s store=%llu", empty ? "store_is_tombstone" : "store_drains_again",
                  (unsigned long long)store->id);
    }
}

static void run_round(struct pd_sched *sched, uint64_t now_ms)
{
    struct scheduler *scheduler = &sched->scheduler;
    bool on[POLICY_COUNT];
    for (int i = 0; i < POLICY_COUNT; i++) {
        on[i] = scheduler->states[i].on;
        scheduler->states[i].on = on[i] && now_ms >= sched->paused_until_ms[i];
    }
    scheduler_round(scheduler, now_ms, say_started, sched);
    for (int i = 0; i < POLICY_COUNT; i++)
        scheduler->states[i].on = on[i];
    if (scheduler->ready)
        sched_scatter_round(sched);
    keep_tombstones(sched);
    find_due(sched, now_ms);
}

void pd_sched_tick(struct pd_sched *sched)
{
    uint64_t now_ms = pd_sched_now_ms(sched);
    if (!sched->leading || !pd_fsm_bootstrapped(sched->fsm))
        return;
    pd_recovery_tick(sched->recovery);
    if (now_ms < sched->round_at_ms)
        return;
    (void)sched_load_if_old(sched);
    sched->round_at_ms = now_ms + sched->effective.schedule_interval_ms;
    run_round(sched, now_ms);
}

void pd_sched_refresh(struct pd_sched *sched)
{
    if (sched->leading && sched->truth_is_old)
        sched_load_truth(sched);
}

/* ---- to read */

const struct scheduler *pd_sched_scheduler(const struct pd_sched *sched)
{
    return sched->leading ? &sched->scheduler : NULL;
}

const struct pd_view *pd_sched_view(const struct pd_sched *sched)
{
    return sched->leading ? &sched->scheduler.view : NULL;
}

const struct pd_config *pd_sched_config(const struct pd_sched *sched)
{
    return &sched->effective;
}

const struct operator* pd_sched_operator(const struct pd_sched *sched, uint64_t number)
{
    const struct operator* operator= NULL;
    if (!sched->leading)
        return NULL;
    while ((operator= operator_list_next(sched->operators, operator)) != NULL)
        if (operator->number == number)
            return operator;
    for (uint32_t back = 0; (operator= operator_list_history(sched->operators, back)) != NULL; back++)
        if (operator->number == number)
            return operator;
    return NULL;
}
