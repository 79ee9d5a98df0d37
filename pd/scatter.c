#include "pd/policy.h"

static uint32_t position_of(const struct pd_view *view, const struct store_entry *store)
{
    return (uint32_t)(store - store_table_at(view->stores, 0));
}

static bool in_range(const struct scatter *scatter, const struct region_node *node)
{
    return scatter->end_key.size == 0 || bytes_compare(region_node_start(node), scatter->end_key) < 0;
}

static void count_group(const struct pd_view *view, struct scatter *scatter)
{
    scatter->counted = true;
    for (struct region_node *node = region_tree_seek(view->regions, scatter->start_key);
         node && in_range(scatter, node); node = region_tree_next(view->regions, node))
        for (uint32_t i = 0; i < region_node_peer_count(node); i++) {
            const struct store_entry *store = store_table_find(view->stores, region_node_peer(node, i).store_id);
            if (store)
                scatter->group_count[position_of(view, store)]++;
        }
}

/* The peer whose store has most of the group goes to the store that has least, if that is two fewer. */
static const struct operator *scatter_region(struct pd_view *view, struct scatter *scatter, struct region_node *node,
                                             struct reason *reason)
{
    struct fit fit;
    const struct store_entry *from = NULL, *to = NULL;
    const char *why;
    fit_region(view->stores, view->rules, node, &fit);
    if (region_node_mark(node) != 0 || region_node_leader_store(node) == 0 || fit_problems(&fit) != 0 ||
        !pd_view_sends(view, node))
        return NULL;
    for (uint32_t i = 0; i < fit.peer_count; i++)
        if (!from ||
            scatter->group_count[position_of(view, fit.peers[i].store)] > scatter->group_count[position_of(view, from)])
            from = fit.peers[i].store;
    for (uint32_t i = 0; from && i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        if (fit_has_store(&fit, store->id))
            continue;
        if (!pd_view_takes_peer(view, store, region_node_seen(node).approximate_size, &why)) {
            reason_refuse(reason, "store", store->id, why);
            continue;
        }
        if ((to && scatter->group_count[i] >= scatter->group_count[position_of(view, to)]) ||
            scatter->group_count[i] + 2 > scatter->group_count[position_of(view, from)]) {
            reason_refuse(reason, "store", store->id, "has_no_fewer_of_the_range");
            continue;
        }
        if (!balance_may_move(view, &fit, from, store, reason))
            continue;
        if (to)
            reason_refuse(reason, "store", to->id, "has_no_fewer_of_the_range");
        to = store;
    }
    if (!to)
        return NULL;
    reason_fact(reason, "source_store", (int64_t)from->id);
    reason_fact(reason, "source_group", scatter->group_count[position_of(view, from)]);
    reason_fact(reason, "target_store", (int64_t)to->id);
    reason_fact(reason, "target_group", scatter->group_count[position_of(view, to)]);
    const struct operator *operator = pd_view_move(view, node, &fit, from->id, to->id, 0, reason);
    if (operator) {
        scatter->group_count[position_of(view, from)]--;
        scatter->group_count[position_of(view, to)]++;
    }
    return operator;
}

const struct operator *scatter_range(struct pd_view *view, struct scatter *scatter, struct reason *reason)
{
    reason_begin(reason, "scatter-range");
    if (!scatter->counted)
        count_group(view, scatter);
    struct region_node *last = scatter->last ? region_tree_find_id(view->regions, scatter->last) : NULL;
    struct region_node *node =
        last ? region_tree_next(view->regions, last) : region_tree_seek(view->regions, scatter->start_key);
    for (; node && in_range(scatter, node); node = region_tree_next(view->regions, node)) {
        const struct operator *operator = scatter_region(view, scatter, node, reason);
        scatter->last = region_node_id(node);
        if (operator)
            return operator;
    }
    return NULL;
}
