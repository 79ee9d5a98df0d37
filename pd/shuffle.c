#include "pd/policy.h"

static struct store_entry *any_store(struct pd_view *view)
{
    uint32_t count = store_table_count(view->stores);
    return count == 0 ? NULL : store_table_at(view->stores, (uint32_t)rng_below(&view->rng, count));
}

const struct operator *shuffle_leader(struct pd_view *view, struct reason *reason)
{
    const struct store_entry *store = any_store(view);
    reason_begin(reason, "shuffle-leader");
    uint32_t leaders = store ? region_tree_sums(view->regions, store->id).leader_count : 0;
    if (leaders == 0)
        return NULL;
    struct region_node *node = region_tree_at(view->regions, store->id, (uint32_t)rng_below(&view->rng, leaders));
    struct fit fit;
    fit_region(view->stores, view->rules, node, &fit);
    store_id to = pd_view_next_leader(view, &fit, store->id, 0, reason);
    pd_view_note_transfer(view, store, store_table_find(view->stores, to), reason);
    return to == 0 ? NULL : pd_view_transfer(view, node, to, reason);
}

const struct operator *shuffle_region(struct pd_view *view, struct reason *reason)
{
    const struct store_entry *from = any_store(view), *to = any_store(view);
    const char *why;
    reason_begin(reason, "shuffle-region");
    uint32_t count = from ? region_tree_sums(view->regions, from->id).count : 0;
    if (count == 0)
        return NULL;
    struct region_node *node = region_tree_at(view->regions, from->id, (uint32_t)rng_below(&view->rng, count));
    struct fit fit;
    fit_region(view->stores, view->rules, node, &fit);
    if (region_node_mark(node) != 0 || region_node_leader_store(node) == 0 || fit_problems(&fit) != 0 ||
        !pd_view_sends(view, node) || !pd_view_takes_peer(view, to, region_node_seen(node).approximate_size, &why) ||
        !balance_may_move(view, &fit, from, to, reason))
        return NULL;
    pd_view_note_move(view, from, to, reason);
    return pd_view_move(view, node, &fit, from->id, to->id, 0, reason);
}
