#include "pd/policy.h"

const struct operator* split_region(struct pd_view *view, struct region_node *node, struct reason *reason)
{
    struct operator draft;
    uint64_t size = region_node_seen(node).approximate_size;
    reason_begin(reason, "split");
    reason_fact(reason, "region_size", (int64_t)size);
    reason_fact(reason, "split_size", (int64_t)view->config->split_size);
    if (view->config->store_splits || size <= view->config->split_size || region_node_mark(node) != 0)
        return NULL;
    operator_draft(&draft, node, reason);
    operator_add_step(&draft, STEP_SPLIT, 0, 0);
    return operator_list_start(view->operators, &draft, view->now_ms);
}

/* ---- merge */

/* One after the other the source's peers go where the target's are. False: too many steps. */
static bool add_meeting_steps(const struct pd_view *view, const struct fit *fit, const struct region_node *target,
                              struct operator* draft)
{
    store_id common = 0, leaving = 0;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        store_id store = fit->peers[i].peer.store_id;
        if (region_node_has_store(target, store) && role_is_voter(fit->peers[i].peer.role))
            common = store;
        else if (fit->peers[i].leader)
            leaving = store;
    }
    uint32_t t = 0;
    /* The leader's peer goes last: by then there is somebody to hand over to. */
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < fit->peer_count; i++) {
            store_id from = fit->peers[i].peer.store_id;
            if (region_node_has_store(target, from) || (from == leaving) != (round == 1))
                continue;
            while (t < region_node_peer_count(target) && fit_has_store(fit, region_node_peer(target, t).store_id))
                t++;
            if (t == region_node_peer_count(target) || draft->step_count + 6 > OPERATOR_STEPS_MAX)
                return false;
            store_id to = region_node_peer(target, t++).store_id;
            pd_view_move_steps(view, fit, from, to, from == leaving ? (common ? common : to) : 0, draft);
        }
    return true;
}

static bool is_plain(const struct pd_view *view, const struct region_node *node, struct fit *fit)
{
    fit_region(view->stores, view->rules, node, fit);
    struct region_seen seen = region_node_seen(node);
    return region_node_mark(node) == 0 && region_node_leader_store(node) != 0 && fit_problems(fit) == 0 &&
           seen.down_mask == 0 && seen.pending_mask == 0;
}

static bool same_rules(const struct fit *a, const struct fit *b)
{
    if (a->rule_count != b->rule_count)
        return false;
    for (uint32_t i = 0; i < a->rule_count; i++)
        if (a->rules[i] != b->rules[i])
            return false;
    return true;
}

static struct region_node *neighbour(struct pd_view *view, struct region_node *node, bool behind)
{
    if (behind) {
        struct region_node *next = region_tree_next(view->regions, node);
        return next && bytes_equal(region_node_end(node), region_node_start(next)) ? next : NULL;
    }
    return region_node_start(node).size > 0 ? region_tree_find_previous(view->regions, region_node_start(node)) : NULL;
}

/* What it could have gone into as well, if nothing was said of that yet. */
static void refuse_other_neighbour(struct pd_view *view, struct region_node *source, const struct region_node *target,
                                   struct reason *reason)
{
    for (int behind = 1; behind >= 0; behind--) {
        const struct region_node *other = neighbour(view, source, behind);
        bool said = !other || other == target;
        for (uint32_t i = 0; !said && i < reason->refusal_count; i++)
            said = reason->refusals[i].id == region_node_id(other);
        if (!said)
            reason_refuse(reason, "region", region_node_id(other), "one_neighbour_is_enough");
    }
}

const struct operator* merge_pair(struct pd_view *view, struct region_node *source, struct region_node *target,
                                  bool by_people, struct reason *reason)
{
    struct fit fit, target_fit;
    struct operator draft;
    const char *why = NULL;
    if (!is_plain(view, source, &fit) || !is_plain(view, target, &target_fit))
        why = "is_being_changed";
    else if (!same_rules(&fit, &target_fit) || fit.peer_count != target_fit.peer_count)
        why = "other_rules";
    else if (!pd_view_sends(view, source))
        why = "send_limit";
    if (!why) {
        reason_fact(reason, "region_size", (int64_t)region_node_seen(source).approximate_size);
        reason_fact(reason, "into", (int64_t)region_node_id(target));
        reason_fact(reason, "into_size", (int64_t)region_node_seen(target).approximate_size);
        refuse_other_neighbour(view, source, target, reason);
        operator_draft(&draft, source, reason);
        if (add_meeting_steps(view, &fit, target, &draft)) {
            operator_add_step(&draft, STEP_MERGE, 0, 0);
            draft.other_region = region_node_id(target);
            draft.by_people = by_people;
            return operator_list_start(view->operators, &draft, view->now_ms);
        }
        why = "too_many_steps";
    }
    reason_refuse(reason, "region", region_node_id(target), why);
    return NULL;
}

static bool is_small(const struct pd_view *view, const struct region_node *node)
{
    struct region_seen seen = region_node_seen(node);
    return seen.leader_peer != 0 && seen.approximate_size <= view->config->merge_size &&
           seen.approximate_keys <= view->config->merge_keys;
}

/* It was split for a reason, which may be there again. */
static const char *why_not_now(const struct pd_view *view, const struct region_node *node)
{
    struct region_seen seen = region_node_seen(node);
    uint64_t split_ms = (uint64_t)region_node_split_s(node) * 1000;
    if (split_ms < view->config->begun_ms)
        split_ms = view->config->begun_ms;
    if (region_node_mark(node) != 0)
        return "has_operator";
    if (view->config->store_splits && (seen.leader_peer == 0 || seen.approximate_size == 0))
        return "size_unknown";
    if (view->config->store_splits && pd_view_is_hot(view, node))
        return "hot";
    if (view->now_ms < split_ms + view->config->split_merge_interval_ms)
        return "split_lately";
    return NULL;
}

void merge_judge(const struct pd_view *view, const struct region_node *node, struct reason *reason)
{
    reason_begin(reason, "merge");
    reason_fact(reason, "region_size", (int64_t)region_node_seen(node).approximate_size);
    reason_fact(reason, "merge_size", (int64_t)view->config->merge_size);
    reason_fact(reason, "region_keys", (int64_t)region_node_seen(node).approximate_keys);
    reason_fact(reason, "merge_keys", (int64_t)view->config->merge_keys);
    const char *why = why_not_now(view, node);
    if (why || !is_small(view, node))
        reason_refuse(reason, "region", region_node_id(node), why ? why : "too_large");
}

const struct operator* merge_region(struct pd_view *view, struct region_node *node, struct reason *reason)
{
    const char *why;
    merge_judge(view, node, reason);
    if (reason->refusal_count > 0)
        return NULL;
    if (region_tree_count(view->regions) <= view->config->region_count_min) {
        reason_refuse(reason, "regions", view->config->region_count_min, "as_few_as_at_first");
        return NULL;
    }
    for (int behind = 1; behind >= 0; behind--) {
        struct region_node *other = neighbour(view, node, behind);
        why = other ? why_not_now(view, other) : NULL;
        /* What comes out must be far from being split again. */
        if (other && !why &&
            region_node_seen(other).approximate_size + region_node_seen(node).approximate_size >
                view->config->merged_size_max)
            why = "too_large_together";
        if (why)
            reason_refuse(reason, "region", region_node_id(other), why);
        if (!other || why)
            continue;
        const struct operator* operator= merge_pair(view, node, other, false, reason);
        if (operator)
            return operator;
    }
    return NULL;
}

const struct operator* split_merge(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "split-merge");
    while (view->size_patrol_left > 0) {
        struct region_node *node = pd_view_patrol(view, &view->size_patrol);
        view->size_patrol_left--;
        if (!node)
            return NULL;
        const struct operator* operator= split_region(view, node, reason);
        if (!operator)
            operator= merge_region(view, node, reason);
        if (operator)
            return operator;
    }
    return NULL;
}

const struct operator* random_merge(struct pd_view *view, struct reason *reason)
{
    reason_begin(reason, "random-merge");
    if (store_table_count(view->stores) == 0)
        return NULL;
    const struct store_entry *store =
        store_table_at(view->stores, (uint32_t)rng_below(&view->rng, store_table_count(view->stores)));
    if (store->count == 0)
        return NULL;
    struct region_node *node = region_tree_at(view->regions, store->id, (uint32_t)rng_below(&view->rng, store->count));
    struct region_node *other = node ? neighbour(view, node, rng_chance(&view->rng, 1, 2)) : NULL;
    return other ? merge_pair(view, node, other, false, reason) : NULL;
}
