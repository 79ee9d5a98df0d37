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
static const struct operator *send_away(struct pd_view *view, const struct store_entry *store, struct reason *reason)
{
    uint32_t leaders = region_tree_sums(view->regions, store->id).leader_count;
    for (uint32_t try = 0; try < view->config->tries && leaders > 0; try++) {
        struct region_node *node = region_tree_at(view->regions, store->id, (uint32_t)rng_below(&view->rng, leaders));
        struct fit fit;
        if (region_node_mark(node) != 0)
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

static const struct operator *empty_of_leaders(struct pd_view *view,
                                               bool (*wants)(const struct pd_view *, const struct store_entry *),
                                               struct reason *reason)
{
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        if (!wants(view, store) || (int64_t)store->leader_count + store->coming_leaders <= 0)
            continue;
        const struct operator *operator = send_away(view, store, reason);
        if (operator)
            return operator;
    }
    return NULL;
}

const struct operator *evict_leader(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "evict-leader");
    return empty_of_leaders(view, wants_none, reason);
}

/* If many are slow, the cause is elsewhere, and moving leaders about would make it worse: at most a tenth, or one. */
const struct operator *slow_store(struct pd_view *view, struct reason *reason)
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

const struct operator *grant_leader(struct pd_view *view, store_id id, struct reason *reason)
{
    const struct store_entry *store = store_table_find(view->stores, id);
    reason_begin(reason, "grant-leader");
    if (!store || !pd_view_takes_leader(view, store)) {
        reason_refuse(reason, "store", id, store ? "takes_no_leader" : "unknown");
        return NULL;
    }
    uint32_t leaders = region_tree_sums(view->regions, id).leader_count,
             count = region_tree_sums(view->regions, id).count;
    for (uint32_t i = leaders; i < count; i++) {
        struct region_node *node = region_tree_at(view->regions, id, i);
        struct fit fit;
        if (region_node_mark(node) != 0 || region_node_leader_store(node) == 0)
            continue;
        fit_region(view->stores, view->rules, node, &fit);
        for (uint32_t k = 0; k < fit.peer_count; k++)
            if (fit.peers[k].peer.store_id == id && fit_leads(&fit, &fit.peers[k])) {
                pd_view_note_transfer(view, store_table_find(view->stores, region_node_leader_store(node)), store,
                                      reason);
                for (uint32_t other = 0; other < fit.peer_count; other++)
                    if (other != k && !fit.peers[other].leader)
                        reason_refuse(reason, "store", fit.peers[other].peer.store_id, "not_asked_for");
                return pd_view_transfer(view, node, id, reason);
            }
    }
    return NULL;
}
