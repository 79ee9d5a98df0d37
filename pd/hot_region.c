#include "pd/policy.h"

/* Loads are decayed where heartbeats come in, so what is hot here was hot for a while. */

static const struct store_entry *hottest_store(const struct pd_view *view, bool read)
{
    const struct store_entry *best = NULL;
    double best_excess = view->config->hot_load_min / 2.0; /* less is at the mean, since this round if not before */
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        double excess = read ? pd_view_read_excess(view, store) : pd_view_write_excess(view, store);
        if (excess > best_excess && (read ? store->read_out : store->write_out)) {
            best = store;
            best_excess = excess;
        }
    }
    return best;
}

/* The coldest of the region's other stores that the leader's load still fits on. */
static const struct store_entry *cold_peer(const struct pd_view *view, const struct fit *fit, double load,
                                           store_id leader, struct reason *reason)
{
    const struct store_entry *best = NULL;
    double best_excess = -load / 2;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct store_entry *store = fit->peers[i].store;
        if (!store || store->id == leader)
            continue;
        if (!fit_leads(fit, &fit->peers[i]) || !pd_view_takes_leader(view, store)) {
            reason_refuse(reason, "store", store->id, "takes_no_leader");
            continue;
        }
        double excess = pd_view_read_excess(view, store);
        const struct store_entry *other = excess <= best_excess ? best : store;
        if (other)
            reason_refuse(reason, "store", other->id, "too_busy");
        if (excess <= best_excess) {
            best = store;
            best_excess = excess;
        }
    }
    return best;
}

/* The coldest store of all that the peer on `from` may go to. */
static const struct store_entry *cold_store(const struct pd_view *view, const struct fit *fit,
                                            const struct store_entry *from, bool read, double load, uint64_t size,
                                            struct reason *reason)
{
    const struct store_entry *best = NULL;
    double best_excess = -load / 2;
    const char *why;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        double excess = read ? pd_view_read_excess(view, store) : pd_view_write_excess(view, store);
        if (store == from || fit_has_store(fit, store->id))
            continue;
        why = excess > best_excess ? "too_busy" : NULL;
        if (!why && pd_view_takes_peer(view, store, size, &why) && read && !pd_view_takes_leader(view, store))
            why = "takes_no_leader";
        if (why) {
            reason_refuse(reason, "store", store->id, why);
            continue;
        }
        if (!balance_may_move(view, fit, from, store, reason))
            continue;
        if (best)
            reason_refuse(reason, "store", best->id, "too_busy");
        best = store;
        best_excess = excess;
    }
    return best;
}

/* The busiest hot region of the store that nothing happens to, whose load is between the limits. */
static struct region_node *hot_of(struct pd_view *view, const struct store_entry *store, bool read, double load_max)
{
    struct region_node *best = NULL;
    uint32_t best_load = 0;
    for (uint32_t i = 0; i < PD_VIEW_HOT_MAX; i++) {
        struct region_node *node = view->hot[i] ? region_tree_find_id(view->regions, view->hot[i]) : NULL;
        if (!node || region_node_mark(node) != 0 || !pd_view_is_led(view, node))
            continue;
        struct region_seen seen = region_node_seen(node);
        uint32_t load = read ? seen.read_load : seen.write_load;
        if (load < view->config->hot_load_min || load <= best_load || load > load_max)
            continue;
        if (read ? region_node_leader_store(node) == store->id : region_node_has_store(node, store->id)) {
            best = node;
            best_load = load;
        }
    }
    return best;
}

static void note(const struct pd_view *view, struct reason *reason, const struct store_entry *from,
                 const struct store_entry *to, bool read, double excess, double load)
{
    const double target_excess =
        !to ? 0 : read ? pd_view_read_excess(view, to) : pd_view_write_excess(view, to);
    reason_fact(reason, "source_store", (int64_t)from->id);
    reason_fact(reason, "source_above_mean", (int64_t)excess);
    reason_fact(reason, "region_load", (int64_t)load);
    if (to) {
        reason_fact(reason, "target_store", (int64_t)to->id);
        reason_fact(reason, "target_above_mean", (int64_t)target_excess);
    }
}

/* Alone it is more than what may move: half of it can. */
static const struct operator *split_hot(struct pd_view *view, const struct store_entry *from, bool read, double excess,
                                        struct reason *reason)
{
    struct region_node *node = hot_of(view, from, read, (double)UINT32_MAX);
    struct operator draft;
    if (!node || region_node_seen(node).approximate_keys < 2)
        return NULL;
    double load = read ? region_node_seen(node).read_load : region_node_seen(node).write_load;
    if (load / 2 <= excess)
        return NULL; /* it fits, if only somewhere else were room */
    note(view, reason, from, NULL, read, excess, load);
    reason_refuse(reason, "region", region_node_id(node), "more_than_may_move");
    operator_draft(&draft, node, reason);
    operator_add_step(&draft, STEP_SPLIT, 0, 0);
    return operator_list_start(view->operators, &draft, view->now_ms);
}

const struct operator *hot_read(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "hot-read");
    const struct store_entry *from = hottest_store(view, true);
    if (!from)
        return NULL;
    double excess = pd_view_read_excess(view, from);
    struct region_node *node = hot_of(view, from, true, 2 * excess);
    if (!node)
        return split_hot(view, from, true, excess, reason);
    struct fit fit;
    struct region_seen seen = region_node_seen(node);
    fit_region(view->stores, view->rules, node, &fit);
    const struct store_entry *to = cold_peer(view, &fit, seen.read_load, from->id, reason);
    if (to) {
        note(view, reason, from, to, true, excess, seen.read_load);
        return pd_view_transfer(view, node, to->id, reason);
    }
    to = pd_view_sends(view, node) ? cold_store(view, &fit, from, true, seen.read_load, seen.approximate_size, reason)
                                   : NULL;
    if (!to)
        return NULL;
    note(view, reason, from, to, true, excess, seen.read_load);
    return pd_view_move(view, node, &fit, from->id, to->id, to->id, reason);
}

const struct operator *hot_write(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "hot-write");
    const struct store_entry *from = hottest_store(view, false);
    if (!from)
        return NULL;
    double excess = pd_view_write_excess(view, from);
    struct region_node *node = hot_of(view, from, false, 2 * excess);
    if (!node)
        return split_hot(view, from, false, excess, reason);
    struct fit fit;
    struct region_seen seen = region_node_seen(node);
    fit_region(view->stores, view->rules, node, &fit);
    if (!pd_view_sends(view, node))
        return NULL;
    const struct store_entry *to = cold_store(view, &fit, from, false, seen.write_load, seen.approximate_size, reason);
    if (!to)
        return NULL;
    note(view, reason, from, to, false, excess, seen.write_load);
    return pd_view_move(view, node, &fit, from->id, to->id, 0, reason);
}
