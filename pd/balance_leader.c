#include <float.h>

#include "pd/policy.h"

enum { STORES_TRIED = 4 };

/* Straight: from above the mean to below. Stores that share no region (two in a rack) need a third between them: then
 * any step down of two or more, which brings all of them nearer to the mean together, so it ends. */
static bool leaves_order(const struct pd_view *view, const struct store_entry *from, const struct store_entry *to,
                         bool straight)
{
    double over = pd_view_leader_excess(view, from), under = pd_view_leader_excess(view, to);
    if (!from->leader_out && !to->leader_out)
        return false;
    return straight ? over >= 0.5 && under <= -0.5 : over - under >= 2;
}

/* The region's other stores, which do not get it. */
static void refuse_others(const struct pd_view *view, const struct fit *fit, const struct store_entry *from,
                          const struct store_entry *to, struct reason *reason)
{
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct store_entry *store = fit->peers[i].store;
        if (!store || store == from || store == to)
            continue;
        bool leads_fewer = pd_view_leader_excess(view, store) < pd_view_leader_excess(view, to);
        const char *why = leads_fewer ? "not_its_turn" : "leads_no_fewer";
        if (!fit_leads(fit, &fit->peers[i]) || !pd_view_takes_leader(view, store))
            why = fit_leads(fit, &fit->peers[i]) ? "takes_no_leader" : "may_not_lead";
        reason_refuse(reason, "store", store->id, why);
    }
}

static const struct operator *hand_over(struct pd_view *view, struct region_node *node, const struct store_entry *from,
                                        const struct store_entry *to, bool straight, struct reason *reason)
{
    struct fit fit;
    if (!to || !from || to == from || !leaves_order(view, from, to, straight))
        return NULL;
    fit_region(view->stores, view->rules, node, &fit);
    for (uint32_t i = 0; i < fit.peer_count; i++) {
        if (fit.peers[i].store != to)
            continue;
        if (!fit_leads(&fit, &fit.peers[i])) {
            reason_refuse(reason, "store", to->id, "rule");
            return NULL;
        }
        reason->fact_count = 0;
        pd_view_note_transfer(view, from, to, reason);
        refuse_others(view, &fit, from, to, reason);
        return pd_view_transfer(view, node, to->id, reason);
    }
    return NULL;
}

/* The lowest of the region's other stores. */
static const struct store_entry *lowest_peer(const struct pd_view *view, const struct region_node *node,
                                             store_id leader)
{
    const struct store_entry *best = NULL;
    double best_excess = DBL_MAX;
    for (uint32_t i = 0; i < region_node_peer_count(node); i++) {
        const struct store_entry *store = store_table_find(view->stores, region_node_peer(node, i).store_id);
        if (!store || store->id == leader || !pd_view_takes_leader(view, store))
            continue;
        double excess = pd_view_leader_excess(view, store);
        if (excess < best_excess) {
            best = store;
            best_excess = excess;
        }
    }
    return best;
}

static const struct operator *push_from(struct pd_view *view, const struct store_entry *from, bool straight,
                                        struct reason *reason)
{
    for (uint32_t try = 0; try < view->config->tries && from->leader_count > 0; try++) {
        struct region_node *node =
            region_tree_at(view->regions, from->id, (uint32_t)rng_below(&view->rng, from->leader_count));
        if (!node || region_node_mark(node) != 0 || region_node_leader_store(node) != from->id ||
            pd_view_is_hot(view, node) || !pd_view_is_led(view, node))
            continue;
        const struct operator *operator=
            hand_over(view, node, from, lowest_peer(view, node, from->id), straight, reason);
        if (operator)
            return operator;
    }
    return NULL;
}

static const struct operator *pull_to(struct pd_view *view, const struct store_entry *to, bool straight,
                                      struct reason *reason)
{
    uint32_t followers = to->count - to->leader_count;
    for (uint32_t try = 0; try < view->config->tries && followers > 0; try++) {
        struct region_node *node =
            region_tree_at(view->regions, to->id, to->leader_count + (uint32_t)rng_below(&view->rng, followers));
        if (!node || region_node_mark(node) != 0 || pd_view_is_hot(view, node) || !pd_view_is_led(view, node))
            continue;
        const struct store_entry *from = store_table_find(view->stores, region_node_leader_store(node));
        const struct operator *operator = hand_over(view, node, from, to, straight, reason);
        if (operator)
            return operator;
    }
    return NULL;
}

/* The most out of balance that was not tried: above the mean (`sign` 1) or below (-1). */
static const struct store_entry *furthest(const struct pd_view *view, int sign, const store_id *tried,
                                          uint32_t tried_count)
{
    const struct store_entry *best = NULL;
    double best_excess = 0;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        double excess = sign * pd_view_leader_excess(view, store);
        bool taken = !store->leader_out || (sign < 0 && !pd_view_takes_leader(view, store));
        for (uint32_t k = 0; k < tried_count; k++)
            taken |= tried[k] == store->id;
        if (!taken && excess > best_excess) {
            best = store;
            best_excess = excess;
        }
    }
    return best;
}

static const struct operator *try_stores(struct pd_view *view, bool straight, struct reason *reason)
{
    store_id highs[STORES_TRIED], lows[STORES_TRIED];
    for (uint32_t i = 0; i < STORES_TRIED; i++) {
        const struct store_entry *high = furthest(view, 1, highs, i), *low = furthest(view, -1, lows, i);
        const struct operator *operator = high ? push_from(view, high, straight, reason) : NULL;
        if (!operator&& low)
            operator = pull_to(view, low, straight, reason);
        if (operator||(!high && !low))
            return operator;
        highs[i] = high ? high->id : 0;
        lows[i] = low ? low->id : 0;
    }
    return NULL;
}

const struct operator *balance_leader(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "balance-leader");
    const struct operator *operator = try_stores(view, true, reason);
    return operator? operator: try_stores(view, false, reason);
}
