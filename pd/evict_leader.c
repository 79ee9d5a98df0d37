#include "pd/policy.h"

static bool wants_none(const struct pd_view *view, const struct store_entry *store)
{
    return store->evict_leaders || store_in_restart(store, view->now_ms);
}

static bool is_slow(const struct pd_view *view, const struct store_entry *store)
{
    return store->slow_score > view->config->slow_score_max;
}

/* A leader of the store to wherever it may be. */
static const struct operator* send_away(struct pd_view *view, const struct store_entry *store, struct reason *reason)
{
    uint32_t leaders = region_tree_sums(view->regions, store->id).leader_count;
    for (uint32_t try = 0; try < view->config->tries && leaders > 0; try++) {
        struct region_node *node = region_tree_at(view->regions, store->id, (uint32_t)rng_below(&view->rng, leaders));
        struct fit fit;
        if (region_node_mark(node) != 0 || !pd_view_is_led(view, node))
            continue;
        fit_region(view->stores, view->rules, node, &fit);
        store_id to = pd_view_next_leader(view, &fit, store->id, 0, reason);
        if (to == 0) {
            reason_refuse(reason, "region", region_node_id(node), "no_other_store");
            continue;
        }
        pd_view_note_transfer(view, store, store_table_find(view->stores, to), reason);
        reason_fact(reason, "slow_score", store->slow_score);
        reason_fact(reason, "asked_for", store->evict_leaders);
        reason_fact(reason, "planned_restart_ms",
                    store_in_restart(store, view->now_ms) ? (int64_t)(store->restart_until_ms - view->now_ms) : 0);
        return pd_view_transfer(view, node, to, reason);
    }
    return NULL;
}

static const struct operator* empty_of_leaders(struct pd_view *view,
                                               bool (*wants)(const struct pd_view *, const struct store_entry *),
                                               struct reason *reason)
{
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        if (!wants(view, store) || (int64_t)store->leader_count + store->coming_leaders <= 0)
            continue;
        const struct operator* operator= send_away(view, store, reason);
        if (operator)
            return operator;
    }
    return NULL;
}

const struct operator* evict_leader(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "evict-leader");
    return empty_of_leaders(view, wants_none, reason);
}

/* If many are slow, the cause is elsewhere, and moving leaders about would make it worse: at most a tenth, or one. */
const struct operator* slow_store(struct pd_view *view, struct reason *reason)
{
    uint32_t count = store_table_count(view->stores), slow = 0;
    reason_begin(reason, "slow-store");
    for (uint32_t i = 0; i < count; i++)
        slow += is_slow(view, store_table_at(view->stores, i));
    reason_fact(reason, "slow_stores", slow);
    reason_fact(reason, "slow_score_max", view->config->slow_score_max);
    if (slow > (count >= 20 ? count / 10 : 1))
        return NULL;
    return empty_of_leaders(view, is_slow, reason);
}

/* ---- leaders that come */

static bool leads_less(const struct store_entry *a, const struct store_entry *b)
{
    int64_t leads_a = (int64_t)a->leader_count + a->coming_leaders,
            leads_b = (int64_t)b->leader_count + b->coming_leaders;
    return leads_a != leads_b ? leads_a < leads_b : a->id < b->id;
}

/* Whether the leader is to come to `to`; notes what is compared. */
static bool comes_to(const struct pd_view *view, struct region_node *node, const struct store_entry *to,
                     struct reason *reason)
{
    const struct store_entry *from = store_table_find(view->stores, region_node_leader_store(node));
    struct fit fit;
    bool may = false;
    if (region_node_mark(node) != 0 || !pd_view_is_led(view, node) || (from && from->granted))
        return false;
    fit_region(view->stores, view->rules, node, &fit);
    for (uint32_t i = 0; i < fit.peer_count; i++)
        may |= fit.peers[i].store == to && fit_leads(&fit, &fit.peers[i]);
    if (!may) {
        reason_refuse(reason, "region", region_node_id(node), "may_not_lead");
        return false;
    }
    pd_view_note_transfer(view, from, to, reason);
    for (uint32_t i = 0; i < fit.peer_count; i++)
        if (fit.peers[i].store != to && !fit.peers[i].leader)
            reason_refuse(reason, "store", fit.peers[i].peer.store_id,
                          fit.peers[i].store && fit.peers[i].store->granted ? "leads_no_fewer" : "not_asked_for");
    return true;
}

static const struct operator* bring_one(struct pd_view *view, struct store_entry *to, struct reason *reason)
{
    enum { WALK_COUNT = 512 };
    struct region_sums sums = region_tree_sums(view->regions, to->id);
    uint32_t followers = sums.count - sums.leader_count;
    for (uint32_t i = 0; i < followers && i < WALK_COUNT; i++) {
        struct region_node *node = region_tree_at(view->regions, to->id, sums.leader_count + to->walk++ % followers);
        const struct operator* operator= comes_to(view, node, to, reason) ? pd_view_transfer(view, node, to->id, reason)
                                                                          : NULL;
        if (operator)
            return operator;
    }
    return NULL;
}

/* The next of those that were granted, in order of what they lead; NULL: there is none. */
static struct store_entry *next_granted(const struct pd_view *view, const struct store_entry *after)
{
    struct store_entry *best = NULL;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        struct store_entry *store = store_table_at(view->stores, i);
        if (store->granted && (!after || leads_less(after, store)) && (!best || leads_less(store, best)))
            best = store;
    }
    return best;
}

const struct operator* grant_leader(struct pd_view *view, struct reason *reason)
{
    const struct operator* operator= NULL;
    struct store_entry *to = NULL;
    reason_begin(reason, "grant-leader");
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        if (store->grant_leaders && !store->granted)
            reason_refuse(reason, "store", store->id, "takes_no_leader");
    }
    while (!operator&&(to = next_granted(view, to)))
        operator= bring_one(view, to, reason);
    return operator;
}
