#include "base/bug.h"
#include "pd/policy.h"

enum { TARGETS_TRIED = 4, SOURCES_TRIED = 4, STUCK_MS = 2 * 60 * 1000 };

bool balance_may_move(const struct pd_view *view, const struct fit *fit, const struct store_entry *from,
                      const struct store_entry *to, struct reason *reason)
{
    (void)view;
    uint32_t index = 0;
    while (index < fit->peer_count && fit->peers[index].peer.store_id != from->id)
        index++;
    if (index == fit->peer_count || fit->peers[index].rule == FIT_ORPHAN || fit_has_store(fit, to->id))
        return false;
    const char *why = fit_refuses(fit, index, to);
    if (why)
        reason_refuse(reason, "store", to->id, why);
    return why == NULL;
}

/* Both stores in one place: what may be on the one may be on the other. */
static bool share_location(const struct pd_view *view, const struct store_entry *a, const struct store_entry *b)
{
    const struct rule *rule = view->rules->count > 0 ? &view->rules->list[0] : NULL;
    return rule && rule->location_count > 0 && store_label_value(a, rule->locations[0]) != 0 &&
           store_label_value(a, rule->locations[0]) == store_label_value(b, rule->locations[0]);
}

/* Both stay on their side of the mean, but for half of the region. */
static bool leaves_order(const struct pd_view *view, const struct store_entry *from, const struct store_entry *to,
                         double weight, bool straight)
{
    if (!straight)
        return pd_view_region_excess(view, from) - pd_view_region_excess(view, to) > 2 * weight;
    double over = pd_view_region_excess(view, from), under = -pd_view_region_excess(view, to);
    if (BUG(balance_past_the_mean))
        return over > under - weight * 8;
    return weight / 2 <= over && weight / 2 <= under;
}

/* Who would have been next to give, and to take. */
static void refuse_next_best(const struct pd_view *view, const struct store_entry *from, const struct store_entry *to,
                             struct reason *reason)
{
    const struct store_entry *gives = NULL, *takes = NULL;
    double most = 0, least = 0, of_from = pd_view_region_excess(view, from), of_to = pd_view_region_excess(view, to);
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        double excess = pd_view_region_excess(view, store);
        if (store == from || store == to || store->domain != to->domain)
            continue;
        if (excess <= of_from && (!gives || excess > most)) {
            gives = store;
            most = excess;
        }
        if (excess >= of_to && (!takes || excess < least)) {
            takes = store;
            least = excess;
        }
    }
    if (gives)
        reason_refuse(reason, "store", gives->id, "not_fuller_than_the_source");
    if (takes)
        reason_refuse(reason, "store", takes->id, "not_emptier_than_the_target");
}

static const struct operator *move_one(struct pd_view *view, struct store_entry *from, struct store_entry *to,
                                       bool straight, struct reason *reason)
{
    uint32_t count = from->count, leaders = from->leader_count;
    for (uint32_t try = 0; try < view->config->tries && count > 0; try++) {
        /* Followers first: they move without a word to the clients. */
        uint32_t position = leaders < count && try < view->config->tries / 2
                                ? leaders + (uint32_t)rng_below(&view->rng, count - leaders)
                                : (uint32_t)rng_below(&view->rng, count);
        struct region_node *node = region_tree_at(view->regions, from->id, position);
        struct fit fit;
        if (!node || region_node_mark(node) != 0 || region_node_leader_store(node) == 0 ||
            region_node_has_store(node, to->id))
            continue;
        const char *why = NULL;
        if (pd_view_is_hot(view, node))
            why = "hot";
        else if (!pd_view_sends(view, node))
            why = "send_limit";
        else if (!leaves_order(view, from, to, pd_view_region_weight(view, node), straight))
            why = "too_large";
        else {
            fit_region(view->stores, view->rules, node, &fit);
            if ((fit_problems(&fit) & ~(uint32_t)FIT_LEADER) != 0)
                why = "is_being_mended";
        }
        if (why) {
            reason_refuse(reason, "region", region_node_id(node), why);
            continue;
        }
        if (!balance_may_move(view, &fit, from, to, reason))
            continue;
        uint32_t index = 0;
        while (fit.peers[index].peer.store_id != from->id)
            index++;
        bool leads = fit.peers[index].leader && fit.rules[fit.peers[index].rule]->role == RULE_LEADER;
        reason_fact(reason, "region_size", (int64_t)region_node_seen(node).approximate_size);
        refuse_next_best(view, from, to, reason);
        return pd_view_move(view, node, &fit, from->id, to->id, leads ? to->id : 0, reason);
    }
    return NULL;
}

static bool among(store_id id, const store_id *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static struct store_entry *lowest(struct pd_view *view, const store_id *tried, uint32_t tried_count, bool only_out,
                                  struct reason *reason)
{
    struct store_entry *best = NULL;
    double best_excess = 0;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        struct store_entry *store = store_table_at(view->stores, i);
        double excess = pd_view_region_excess(view, store);
        const char *why;
        if (excess >= best_excess || among(store->id, tried, tried_count) || (only_out && !store->region_out))
            continue;
        if (!pd_view_takes_peer(view, store, (uint64_t)view->domains[store->domain].region_size, &why)) {
            if (store->region_out)
                reason_refuse(reason, "store", store->id, why);
            continue;
        }
        best = store;
        best_excess = excess;
    }
    return best;
}

static struct store_entry *highest(struct pd_view *view, const struct store_entry *target, const store_id *tried,
                                   uint32_t tried_count, bool straight)
{
    struct store_entry *best = NULL;
    double excess_of_target = pd_view_region_excess(view, target);
    double mean = pd_view_region_amount(view, target) - excess_of_target;
    double best_excess = straight ? 0 : excess_of_target + mean * view->config->region_band_permille / 1000;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        struct store_entry *store = store_table_at(view->stores, i);
        double excess = pd_view_region_excess(view, store);
        if (excess <= best_excess || store->domain != target->domain || among(store->id, tried, tried_count) ||
            (!store->region_out && !target->region_out) || (!straight && !share_location(view, store, target)) || store->wanted != STORE_SERVING || store->heard == STORE_DOWN)
            continue;
        best = store;
        best_excess = excess;
    }
    return best;
}

static const struct operator *try_targets(struct pd_view *view, bool straight, bool only_out, struct reason *reason)
{
    store_id targets[TARGETS_TRIED];
    for (uint32_t t = 0; t < TARGETS_TRIED; t++) {
        struct store_entry *to = lowest(view, targets, t, only_out, reason);
        if (!to)
            return NULL;
        store_id sources[SOURCES_TRIED];
        targets[t] = to->id;
        for (uint32_t s = 0; s < SOURCES_TRIED; s++) {
            struct store_entry *from = highest(view, to, sources, s, straight);
            if (!from)
                break;
            sources[s] = from->id;
            reason->fact_count = 0;
            pd_view_note_move(view, from, to, reason);
            const struct operator *operator = move_one(view, from, to, straight, reason);
            if (operator)
                return operator;
        }
    }
    return NULL;
}

/* The lowest of all are not always out of balance; those that are must not wait behind them for somebody who gives. */
static const struct operator *try_stores(struct pd_view *view, bool straight, struct reason *reason)
{
    const struct operator *operator = try_targets(view, straight, false, reason);
    return operator? operator: try_targets(view, straight, true, reason);
}

/* Straight: from above the mean to below. Where isolation keeps a place below (or above) the mean for good, its stores
 * level out among themselves; but only when nothing went straight for long, and nothing is under way: else what a store
 * gets from its neighbour would leave it again. */
const struct operator *balance_region(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "balance-region");
    const struct operator *operator = try_stores(view, true, reason);
    if (operator)
        view->region_moved_ms = view->now_ms;
    if (operator || operator_list_count(view->operators) > 0 || view->now_ms < view->region_moved_ms + STUCK_MS)
        return operator;
    return try_stores(view, false, reason);
}
