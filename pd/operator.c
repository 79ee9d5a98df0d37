#include "pd/operator.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/check.h"

enum {
    STEP_TIMEOUT_MS = 30 * 1000,
    SNAPSHOT_TIMEOUT_MS = 10 * 60 * 1000,
    PAUSE_MIN_MS = 60 * 1000,
    PAUSE_MAX_MS = 60 * 60 * 1000,
    SNAPSHOT_TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000,
    SLOW_LINK_SIZE = 1024 * 1024, /* bytes per second; slower is too slow, if nobody limits it to less */
};

struct operator_list {
    struct region_tree *regions; /* borrowed */
    struct store_table *stores;  /* borrowed */
    uint32_t count, count_max;
    uint64_t last_number;
    struct list running;
    struct operator ** slots; /* owned; the mark of a region is its slot + 1 */
    uint32_t *free_slots;    /* owned; stack */
    uint32_t free_count, slot_count;
    struct operator *history; /* owned ring */
    struct operator_pause pauses[OPERATOR_PAUSES_MAX]; /* by region; of two in one place the later is remembered */
    uint64_t ended_count;
};

struct operator_list *operator_list_new(struct region_tree *regions, struct store_table *stores, uint32_t count_max)
{
    struct operator_list *operators = calloc(1, sizeof(*operators));
    CHECK(operators);
    operators->regions = regions;
    operators->stores = stores;
    operators->count_max = count_max;
    operators->slots = calloc(count_max, sizeof(*operators->slots));
    operators->free_slots = calloc(count_max, sizeof(*operators->free_slots));
    operators->history = calloc(OPERATOR_HISTORY_MAX, sizeof(*operators->history));
    CHECK(operators->slots && operators->free_slots && operators->history);
    list_init(&operators->running);
    return operators;
}

void operator_list_free(struct operator_list *operators)
{
    if (!operators)
        return;
    for (uint32_t i = 0; i < operators->slot_count; i++)
        free(operators->slots[i]);
    free(operators->slots);
    free(operators->free_slots);
    free(operators->history);
    free(operators);
}

bool operator_list_has_room(const struct operator_list *operators)
{
    return operators->count < operators->count_max;
}

void operator_draft(struct operator *draft, const struct region_node *node, const struct reason *reason)
{
    struct region_seen seen = region_node_seen(node);
    *draft = (struct operator){.region = region_node_id(node),
                               .conf = region_node_conf(node),
                               .version = region_node_version(node),
                               .size = seen.approximate_size,
                               .read_load = seen.read_load,
                               .write_load = seen.write_load,
                               .reason = *reason};
}

void operator_add_step(struct operator *draft, enum operator_step_kind kind, store_id store, store_id other)
{
    CHECK(draft->step_count < OPERATOR_STEPS_MAX);
    draft->steps[draft->step_count++] = (struct operator_step){.kind = kind, .store = store, .other = other};
}

/* Of a limit others have their part; half of it is this one's. */
static uint64_t rate_under(uint64_t rate_size, const struct store_bucket *bucket)
{
    uint64_t share = bucket->rate_size > 1 ? (uint64_t)bucket->rate_size / 2 : 1;
    return bucket->rate_size > 0 && share < rate_size ? share : rate_size;
}

/* How long the region's rows may be on their way. */
static uint64_t transfer_ms(const struct operator_list *operators, uint64_t size, store_id sender, store_id receiver)
{
    const struct store_entry *from = store_table_find(operators->stores, sender);
    const struct store_entry *to = store_table_find(operators->stores, receiver);
    uint64_t rate_size = SLOW_LINK_SIZE;
    if (from)
        rate_size = rate_under(rate_size, &from->send);
    if (to)
        rate_size = rate_under(rate_size, &to->receive);
    double ms = (double)size * 1000 / (double)rate_size;
    return ms < SNAPSHOT_TIMEOUT_MAX_MS ? (uint64_t)ms : SNAPSHOT_TIMEOUT_MAX_MS;
}

/* A learner shows at once, and has the rows only later: it is its promotion that waits for them. */
static uint64_t timeout_of(const struct operator_list *operators, const struct operator *operator,
                           const struct operator_step * step, store_id leader)
{
    switch (step->kind) {
    case STEP_ADD_LEARNER:
        return SNAPSHOT_TIMEOUT_MS + transfer_ms(operators, operator->size, leader, step->store);
    case STEP_CHANGE:
        return STEP_TIMEOUT_MS + (step->store ? transfer_ms(operators, operator->size, leader, step->store) : 0);
    case STEP_MERGE:
        return SNAPSHOT_TIMEOUT_MS + transfer_ms(operators, operator->size, 0, 0);
    default:
        return STEP_TIMEOUT_MS;
    }
}

/* ---- what it will still change */

static void count_coming(struct operator_list *operators, const struct operator *operator,
                         const struct operator_delta * delta, int sign)
{
    struct store_entry *store = store_table_find(operators->stores, delta->store);
    if (!store)
        return;
    store->coming_count += sign * delta->peers;
    store->coming_size += sign * delta->peers * (int64_t) operator->size;
    store->coming_write += sign * delta->peers * (int64_t) operator->write_load;
    store->coming_leaders += sign * delta->leaders;
    store->coming_read += sign * delta->leaders * (int64_t) operator->read_load;
}

static void add_delta(struct operator_list *operators, struct operator *operator, store_id store, int peers,
                      int leaders)
{
    CHECK(operator->delta_count<OPERATOR_DELTAS_MAX);
    struct operator_delta *delta = &operator->deltas[operator->delta_count++];
    *delta = (struct operator_delta){store, (int8_t)peers, (int8_t)leaders, false};
    count_coming(operators, operator, delta, 1);
}

static bool delta_shows(const struct operator_delta *delta, const struct region_node *node)
{
    store_id leader = region_node_leader_store(node);
    if (delta->peers != 0)
        return region_node_has_store(node, delta->store) == (delta->peers > 0);
    return leader != 0 && (leader == delta->store) == (delta->leaders > 0);
}

static void settle(struct operator_list *operators, struct operator *operator, const struct region_node * node)
{
    for (uint32_t i = 0; i < operator->delta_count; i++) {
        struct operator_delta *delta = &operator->deltas[i];
        if (delta->settled || (node && !delta_shows(delta, node)))
            continue;
        delta->settled = true;
        count_coming(operators, operator, delta, -1);
    }
}

static void take_tokens(struct operator_list *operators, const struct operator *operator, store_id sender,
                        store_id receiver)
{
    struct store_entry *from = store_table_find(operators->stores, sender);
    struct store_entry *to = store_table_find(operators->stores, receiver);
    if (from)
        store_bucket_take(&from->send, operator->size);
    if (to)
        store_bucket_take(&to->receive, operator->size);
}

static void influence(struct operator_list *operators, struct operator *operator, const struct region_node * node)
{
    store_id leader = region_node_leader_store(node);
    for (uint32_t i = 0; i < operator->step_count; i++) {
        const struct operator_step *step = &operator->steps[i];
        if (step->kind == STEP_ADD_LEARNER) {
            add_delta(operators, operator, step->store, 1, 0);
            take_tokens(operators, operator, leader, step->store);
        }
        if (step->kind == STEP_REMOVE)
            add_delta(operators, operator, step->store, -1, 0);
        if (step->kind == STEP_TRANSFER && step->store != leader) {
            if (leader != 0)
                add_delta(operators, operator, leader, 0, -1);
            add_delta(operators, operator, step->store, 0, 1);
            leader = step->store;
        }
    }
}

/* ---- life */

const struct operator *operator_list_of(const struct operator_list *operators, const struct region_node *node)
{
    uint32_t mark = region_node_mark(node);
    return mark == 0 ? NULL : operators->slots[mark - 1];
}

static uint32_t pause_place(region_id region)
{
    return (uint32_t)(region * UINT64_C(0x9e3779b97f4a7c15) >> 32) % OPERATOR_PAUSES_MAX;
}

static struct operator_pause *pause_of(struct operator_list *operators, region_id region)
{
    return &operators->pauses[pause_place(region)];
}

uint32_t operator_list_failures(const struct operator_list *operators, region_id region)
{
    const struct operator_pause *pause = &operators->pauses[pause_place(region)];
    return pause->region == region ? pause->failures : 0;
}

static void remember_end(struct operator_list *operators, const struct operator *operator, uint64_t now_ms)
{
    struct operator_pause *pause = pause_of(operators, operator->region);
    if (operator->state == OPERATOR_DONE && pause->region == operator->region)
        *pause = (struct operator_pause){0};
    if (operator->state != OPERATOR_TIMED_OUT)
        return;
    if (pause->region != operator->region)
        *pause = (struct operator_pause){.region = operator->region};
    uint64_t wait_ms = (uint64_t)PAUSE_MIN_MS << (pause->failures < 16 ? pause->failures++ : 16);
    pause->until_ms = now_ms + (wait_ms < PAUSE_MAX_MS ? wait_ms : PAUSE_MAX_MS);
}

static uint32_t take_slot(struct operator_list *operators)
{
    if (operators->free_count > 0)
        return operators->free_slots[--operators->free_count];
    uint32_t slot = operators->slot_count++;
    operators->slots[slot] = calloc(1, sizeof(struct operator));
    CHECK(operators->slots[slot]);
    return slot;
}

const struct operator *operator_list_start(struct operator_list *operators, const struct operator *draft,
                                           uint64_t now_ms)
{
    struct region_node *node = region_tree_find_id(operators->regions, draft->region);
    struct region_node *other =
        draft->other_region ? region_tree_find_id(operators->regions, draft->other_region) : NULL;
    if (!node || (region_node_mark(node) != 0 && !BUG(two_operators)) || !operator_list_has_room(operators) || draft->step_count == 0)
        return NULL;
    if (draft->other_region && (!other || region_node_mark(other) != 0))
        return NULL;
    const struct operator_pause *pause = pause_of(operators, draft->region);
    if (pause->region == draft->region && now_ms < pause->until_ms && !draft->by_people)
        return NULL;
    uint32_t slot = take_slot(operators);
    struct operator *operator = operators->slots[slot];
    *operator = * draft;
    operator->number = ++ operators->last_number;
    operator->slot = slot;
    operator->created_ms = operator->step_ms = now_ms;
    operator->delta_count = operator->step = 0;
    for (uint32_t i = 0; i < operator->step_count; i++)
        operator->steps[i].timeout_ms =
            timeout_of(operators, operator, &operator->steps[i], region_node_leader_store(node));
    list_push_back(&operators->running, &operator->link);
    operators->count++;
    region_node_set_mark(node, slot + 1);
    if (other)
        region_node_set_mark(other, slot + 1);
    influence(operators, operator, node);
    return operator;
}

static void unmark(struct operator_list *operators, region_id id, uint32_t mark)
{
    struct region_node *node = region_tree_find_id(operators->regions, id);
    if (node && region_node_mark(node) == mark)
        region_node_set_mark(node, 0);
}

static void end(struct operator_list *operators, struct operator *operator, enum operator_state state, uint64_t now_ms)
{
    uint32_t slot = operator->slot;
    settle(operators, operator, NULL);
    unmark(operators, operator->region, slot + 1);
    if (operator->other_region)
        unmark(operators, operator->other_region, slot + 1);
    list_remove(&operator->link);
    operator->state = state;
    operator->ended_ms = now_ms;
    remember_end(operators, operator, now_ms);
    operators->history[operators->ended_count++ % OPERATOR_HISTORY_MAX] = *operator;
    operators->free_slots[operators->free_count++] = slot;
    operators->count--;
}

static uint8_t role_on(const struct region_node *node, store_id store)
{
    for (uint32_t i = 0; i < region_node_peer_count(node); i++)
        if (region_node_peer(node, i).store_id == store)
            return region_node_peer(node, i).role;
    return UINT8_MAX;
}

static bool in_joint(const struct region_node *node)
{
    for (uint32_t i = 0; i < region_node_peer_count(node); i++)
        if (region_node_peer(node, i).role > WIRE_PEER_ROLE_LEARNER)
            return true;
    return false;
}

static bool step_shows(const struct operator *operator, const struct operator_step * step,
                       const struct region_node *node)
{
    switch (step->kind) {
    case STEP_ADD_LEARNER:
        return region_node_has_store(node, step->store);
    case STEP_CHANGE:
        return !in_joint(node) && (step->store == 0 || role_on(node, step->store) == WIRE_PEER_ROLE_VOTER) &&
               (step->other == 0 || role_on(node, step->other) != WIRE_PEER_ROLE_VOTER);
    case STEP_REMOVE:
        return !region_node_has_store(node, step->store);
    case STEP_TRANSFER:
        return region_node_leader_store(node) == step->store;
    case STEP_SPLIT:
        return region_node_version(node) > operator->version;
    case STEP_MERGE:
        return false; /* the region is gone when it is done */
    }
    return false;
}

/* The source of a merge gives its version one up when it prepares, and lies beside the target as before. */
static bool is_prepared(const struct operator_list *operators, const struct operator *operator,
                        const struct region_node * node)
{
    const struct region_node *other = region_tree_find_id(operators->regions, operator->other_region);
    return operator->steps[operator->step].kind == STEP_MERGE && region_node_version(node) == operator->version + 1 &&
           other && (bytes_equal(region_node_end(node), region_node_start(other)) ||
                     bytes_equal(region_node_end(other), region_node_start(node)));
}

/* Whether what changed in the region is what the operator did. */
static bool explained(const struct operator_list *operators, const struct operator *operator,
                      const struct region_node * node, bool advanced)
{
    if (BUG(operator_no_epoch_guard))
        return true;
    const struct operator_step *step = operator->step<operator->step_count ? &operator->steps[operator->step] : NULL;
    bool split = advanced && operator->steps[operator->step - 1].kind == STEP_SPLIT;
    if (region_node_version(node) != operator->version && !split && !(step && is_prepared(operators, operator, node)))
        return false;
    return region_node_conf(node) == operator->conf || advanced || (step && step->kind == STEP_CHANGE && in_joint(node));
}

const struct operator_step *operator_list_report(struct operator_list *operators, struct region_node *node,
                                                 uint64_t now_ms)
{
    uint32_t mark = region_node_mark(node);
    if (mark == 0)
        return NULL;
    struct operator *operator = operators->slots[mark - 1];
    if (operator->region != region_node_id(node)) {
        if (!region_tree_find_id(operators->regions, operator->region))
            end(operators, operator, OPERATOR_DONE, now_ms); /* merged into this one */
        return NULL;
    }
    uint32_t before = operator->step;
    while (operator->step<operator->step_count && step_shows(operator, & operator->steps[operator->step], node)) {
        operator->step++;
        operator->step_ms = now_ms;
    }
    settle(operators, operator, node);
    if (!explained(operators, operator, node, operator->step> before)) {
        end(operators, operator, OPERATOR_STALE, now_ms);
        return NULL;
    }
    operator->conf = region_node_conf(node);
    if (operator->step<operator->step_count)
        return &operator->steps[operator->step];
    end(operators, operator, OPERATOR_DONE, now_ms);
    return NULL;
}

/* Who should get something does not hear it: another one may be found. A learner that has much of it already is waited
 * for a little. */
static bool waits_for_the_silent(const struct operator_list *operators, const struct operator *operator,
                                 const struct region_node * node, uint64_t now_ms)
{
    const struct operator_step *step = &operator->steps[operator->step];
    bool promotes = step->kind == STEP_CHANGE && step->store != 0 && !in_joint(node);
    if (step->kind != STEP_ADD_LEARNER && step->kind != STEP_TRANSFER && !promotes)
        return false;
    const struct store_entry *store = store_table_find(operators->stores, step->store);
    if (!store_is_silent(store))
        return false;
    return !promotes || !store ||
           (now_ms > store->heard_ms + STEP_TIMEOUT_MS && now_ms > operator->step_ms + STEP_TIMEOUT_MS);
}

void operator_list_tick(struct operator_list *operators, uint64_t now_ms)
{
    LIST_FOR_EACH_SAFE (link, following, &operators->running) {
        struct operator *operator = LIST_ENTRY(link, struct operator, link);
        const struct region_node *node = region_tree_find_id(operators->regions, operator->region);
        if (node && region_node_mark(node) != operator->slot + 1) {
            /* It was pushed out of the tree, and came back as one that nobody had decided about. */
            end(operators, operator, OPERATOR_STALE, now_ms);
        } else if (!node) {
            bool merged = operator->steps[operator->step].kind == STEP_MERGE;
            end(operators, operator, merged ? OPERATOR_DONE : OPERATOR_CANCELLED, now_ms);
        } else if (waits_for_the_silent(operators, operator, node, now_ms)) {
            end(operators, operator, OPERATOR_CANCELLED, now_ms);
        } else if (now_ms > operator->step_ms + operator->steps[operator->step].timeout_ms) {
            end(operators, operator, OPERATOR_TIMED_OUT, now_ms);
        }
    }
}

bool operator_list_cancel(struct operator_list *operators, region_id region, uint64_t now_ms)
{
    struct region_node *node = region_tree_find_id(operators->regions, region);
    if (!node || region_node_mark(node) == 0)
        return false;
    end(operators, operators->slots[region_node_mark(node) - 1], OPERATOR_CANCELLED, now_ms);
    return true;
}

void operator_list_cancel_all(struct operator_list *operators, uint64_t now_ms)
{
    LIST_FOR_EACH_SAFE (link, following, &operators->running) {
        struct operator *operator = LIST_ENTRY(link, struct operator, link);
        end(operators, operator, OPERATOR_CANCELLED, now_ms);
    }
}

uint32_t operator_list_count(const struct operator_list *operators)
{
    return operators->count;
}

const struct operator *operator_list_next(const struct operator_list *operators, const struct operator *after)
{
    const struct list *link = after ? after->link.next : operators->running.next;
    return link == &operators->running ? NULL : LIST_ENTRY(link, const struct operator, link);
}

const struct operator *operator_list_history(const struct operator_list *operators, uint32_t back)
{
    if (back >= operators->ended_count || back >= OPERATOR_HISTORY_MAX)
        return NULL;
    return &operators->history[(operators->ended_count - 1 - back) % OPERATOR_HISTORY_MAX];
}

const char *operator_step_name(enum operator_step_kind kind)
{
    static const char *const names[] = {"add_learner",     "change_peers", "remove_peer",
                                        "transfer_leader", "split",        "merge"};
    return names[kind];
}

const char *operator_state_name(enum operator_state state)
{
    static const char *const names[] = {"running", "done", "timed_out", "stale", "cancelled"};
    return names[state];
}

void operator_list_check(const struct operator_list *operators)
{
    struct store_table *stores = operators->stores;
    for (uint32_t i = 0; i < store_table_count(stores); i++) {
        const struct store_entry *store = store_table_at(stores, i);
        int64_t count = 0, leaders = 0, size = 0;
        LIST_FOR_EACH (link, &operators->running) {
            const struct operator *operator = LIST_ENTRY(link, const struct operator, link);
            for (uint32_t k = 0; k < operator->delta_count; k++) {
                const struct operator_delta *delta = &operator->deltas[k];
                if (delta->settled || delta->store != store->id)
                    continue;
                count += delta->peers;
                leaders += delta->leaders;
                size += delta->peers * (int64_t) operator->size;
            }
        }
        CHECK(count == store->coming_count && leaders == store->coming_leaders && size == store->coming_size);
    }
    LIST_FOR_EACH (link, &operators->running) {
        const struct operator *operator = LIST_ENTRY(link, const struct operator, link);
        const struct region_node *node = region_tree_find_id(operators->regions, operator->region);
        /* 0: it was pushed out and came back; the next tick ends the operator */
        CHECK(!node || region_node_mark(node) == 0 || operator_list_of(operators, node) == operator);
    }
}
