#include <float.h>

#include "base/bug.h"
#include "base/check.h"
#include "pd/policy.h"

enum { FAILURES_PER_ROUND = 16, WALK_COUNT = 512 };

static const struct operator *nothing(struct pd_view *view, const struct reason *reason)
{
    view->unsatisfied++;
    view->unsatisfied_reason = *reason;
    return NULL;
}

static const struct operator *add_peer(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                       uint32_t rule, struct reason *reason)
{
    struct operator draft;
    reason_fact(reason, "rule_wants", fit->rules[rule]->count);
    reason_fact(reason, "rule_has", fit->have[rule]);
    const struct store_entry *to = pd_view_pick_store(view, node, fit, rule, UINT32_MAX, reason);
    if (!to)
        return nothing(view, reason);
    pd_view_note_move(view, NULL, to, reason);
    operator_draft(&draft, node, reason);
    operator_add_step(&draft, STEP_ADD_LEARNER, to->id, 0);
    if (fit->rules[rule]->role != RULE_LEARNER)
        operator_add_step(&draft, STEP_CHANGE, to->id, 0);
    return operator_list_start(view->operators, &draft, view->now_ms);
}

static const struct operator *move(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                   const struct fit_peer *peer, const struct store_entry *to, struct reason *reason)
{
    const struct rule *rule = fit->rules[peer->rule];
    reason_fact(reason, "source_store", (int64_t)peer->peer.store_id);
    pd_view_note_move(view, peer->store, to, reason);
    if (peer->store && peer->store->heard == STORE_DOWN)
        reason_fact(reason, "source_silent_ms", (int64_t)(view->now_ms - peer->store->heard_ms));
    reason_fact(reason, "region_size", (int64_t)region_node_seen(node).approximate_size);
    if (rule->location_count > 0) {
        uint32_t index = (uint32_t)(peer - fit->peers);
        reason_fact(reason, "nearness_now", (int64_t)fit_cost(fit, (uint32_t)peer->rule, NULL, UINT32_MAX));
        reason_fact(reason, "nearness_then", (int64_t)fit_cost(fit, (uint32_t)peer->rule, to, index));
    }
    return pd_view_move(view, node, fit, peer->peer.store_id, to->id, rule->role == RULE_LEADER ? to->id : 0, reason);
}

/* ---- moves that are half done
 *
 * Operators are forgotten when pd's leader goes, and end when a step takes too long. The learner that was made for one
 * is there, with most of the data: it takes the place of a peer that is to go rather than being made once more. */

static bool is_half_done(const struct pd_view *view, const struct fit_peer *peer)
{
    const struct store_entry *store = peer->store;
    return peer->rule == FIT_ORPHAN && !role_is_voter(peer->peer.role) && store && store->wanted == STORE_SERVING &&
           store->heard == STORE_UP && store->slow_score <= view->config->slow_score_max;
}

/* Right after pd's leader has changed: whether the learner may stay is known once its store has been heard, or has not been
 * for long. */
static bool is_judged_too_early(const struct fit *fit, struct reason *reason)
{
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct fit_peer *peer = &fit->peers[i];
        if (peer->rule == FIT_ORPHAN && !role_is_voter(peer->peer.role) && peer->store &&
            peer->store->wanted == STORE_SERVING && peer->store->heard == STORE_UNKNOWN) {
            reason_refuse(reason, "store", peer->peer.store_id, "not_heard_yet");
            return true;
        }
    }
    return false;
}

/* A learner that no rule has, where the peer `index` may be instead; NULL: there is none, or it does not catch up. */
static const struct store_entry *learner_for(const struct pd_view *view, const struct region_node *node,
                                             const struct fit *fit, uint32_t index, struct reason *reason)
{
    if (operator_list_failures(view->operators, region_node_id(node)) > 1)
        return NULL;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct store_entry *store = fit->peers[i].store;
        if (!is_half_done(view, &fit->peers[i]))
            continue;
        const char *why = fit_refuses(fit, index, store);
        if (!why)
            return store;
        reason_refuse(reason, "store", store->id, why);
    }
    return NULL;
}

/* What is won if the learner takes the peer's place. Nothing is copied any more: who is silent goes, whatever he holds. */
static double gain_of(const struct pd_view *view, const struct fit_peer *peer, const struct store_entry *learner)
{
    if (peer->store->heard == STORE_DISCONNECTED && !BUG(half_done_by_size_alone))
        return DBL_MAX;
    return pd_view_region_excess(view, peer->store) - pd_view_region_excess(view, learner);
}

/* The peer on a store that is silent, or else on the fullest one that is fuller than the learner's. */
static const struct operator *finish_move(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                          struct reason *reason)
{
    const struct fit_peer *fullest = NULL;
    const struct store_entry *to = NULL;
    double most = 0;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct fit_peer *peer = &fit->peers[i];
        const struct store_entry *learner =
            peer->rule == FIT_ORPHAN || !peer->store ? NULL : learner_for(view, node, fit, i, reason);
        if (!learner || learner->domain != peer->store->domain)
            continue;
        double gain = gain_of(view, peer, learner);
        const struct fit_peer *other = gain > most ? fullest : peer;
        if (other)
            reason_refuse(reason, "store", other->peer.store_id, "not_fuller");
        if (gain > most) {
            fullest = peer;
            to = learner;
            most = gain;
        }
    }
    return fullest ? move(view, node, fit, fullest, to, reason) : NULL;
}

/* Elsewhere with the peer, if there is a better place. `must_gain`: only to where the rule's peers are further apart. */
static const struct operator *replace(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                      uint32_t index, bool must_gain, struct reason *reason)
{
    uint32_t rule = (uint32_t)fit->peers[index].rule;
    const struct store_entry *to = pd_view_pick_store(view, node, fit, rule, index, reason);
    if (!to)
        reason_fact(reason, "source_store", (int64_t)fit->peers[index].peer.store_id);
    if (!to)
        return must_gain ? NULL : nothing(view, reason);
    if (must_gain && fit_cost(fit, rule, to, index) >= fit_cost(fit, rule, NULL, UINT32_MAX))
        return NULL;
    return move(view, node, fit, &fit->peers[index], to, reason);
}

/* A voter leaves: never the last one, and not while it leads. */
static bool add_voter_steps(const struct pd_view *view, const struct fit *fit, const struct fit_peer *peer,
                            struct operator *draft)
{
    store_id store = peer->peer.store_id;
    if (fit_voters(fit, NULL) < 2)
        return false;
    if (peer->leader) {
        store_id next = pd_view_next_leader(view, fit, store, 0, &draft->reason);
        if (next == 0)
            return false;
        operator_add_step(draft, STEP_TRANSFER, next, 0);
    }
    operator_add_step(draft, STEP_CHANGE, 0, store);
    return true;
}

static const struct operator *fix_role(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                       uint32_t index, struct reason *reason)
{
    const struct fit_peer *peer = &fit->peers[index];
    struct operator draft;
    reason_fact(reason, "store", (int64_t)peer->peer.store_id);
    reason_fact(reason, "is_voter", role_is_voter(peer->peer.role));
    reason_fact(reason, "wants_voter", fit->rules[peer->rule]->role != RULE_LEARNER);
    reason_fact(reason, "voters", fit_voters(fit, NULL));
    operator_draft(&draft, node, reason);
    if (!role_is_voter(peer->peer.role))
        operator_add_step(&draft, STEP_CHANGE, peer->peer.store_id, 0);
    else if (!add_voter_steps(view, fit, peer, &draft))
        return NULL;
    return operator_list_start(view->operators, &draft, view->now_ms);
}

static const struct operator *remove_orphan(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                            struct reason *reason)
{
    const struct fit_peer *worst = NULL;
    int worst_badness = -1;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct fit_peer *peer = &fit->peers[i];
        int badness = 4 * fit_peer_is_down(peer) + 2 * !role_is_voter(peer->peer.role) + !peer->leader;
        if (peer->rule == FIT_ORPHAN && badness > worst_badness) {
            worst = peer;
            worst_badness = badness;
        }
    }
    CHECK(worst); /* asked for only when there is one */
    struct operator draft;
    uint32_t wanted = 0;
    for (uint32_t rule = 0; rule < fit->rule_count; rule++)
        wanted += fit->rules[rule]->count;
    reason_fact(reason, "store", (int64_t)worst->peer.store_id);
    reason_fact(reason, "peers", fit->peer_count);
    reason_fact(reason, "rules_want", wanted);
    for (uint32_t i = 0; i < fit->peer_count; i++)
        if (&fit->peers[i] != worst)
            reason_refuse(reason, "store", fit->peers[i].peer.store_id,
                          fit->peers[i].rule == FIT_ORPHAN ? "harder_to_remove" : "a_rule_wants_it");
    operator_draft(&draft, node, reason);
    if (role_is_voter(worst->peer.role) && !add_voter_steps(view, fit, worst, &draft))
        return NULL;
    operator_add_step(&draft, STEP_REMOVE, worst->peer.store_id, 0);
    return operator_list_start(view->operators, &draft, view->now_ms);
}

static const struct operator *split_at_rule(struct pd_view *view, struct region_node *node, struct reason *reason)
{
    struct operator draft;
    reason_begin(reason, "rule-split");
    reason_fact(reason, "region", (int64_t)region_node_id(node));
    reason_fact(reason, "region_size", (int64_t)region_node_seen(node).approximate_size);
    operator_draft(&draft, node, reason);
    operator_add_step(&draft, STEP_SPLIT, 0, 0);
    return operator_list_start(view->operators, &draft, view->now_ms);
}

/* The first peer with one of these problems; UINT32_MAX: none. */
static uint32_t first_peer(const struct fit *fit, enum fit_problem problem)
{
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct fit_peer *peer = &fit->peers[i];
        if (peer->rule == FIT_ORPHAN)
            continue;
        const struct rule *rule = fit->rules[peer->rule];
        if ((problem == FIT_DOWN && fit_peer_is_down(peer)) ||
            (problem == FIT_LEAVING && peer->store && peer->store->wanted == STORE_DRAINING) ||
            (problem == FIT_ROLE && role_is_voter(peer->peer.role) != (rule->role != RULE_LEARNER)) ||
            (problem == FIT_NEAR && peer->store && !fit_isolates(fit, (uint32_t)peer->rule, peer->store, i)))
            return i;
    }
    return UINT32_MAX;
}

static const struct operator *spread_further(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                             struct reason *reason)
{
    reason_begin(reason, "location");
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        uint32_t rule = (uint32_t)fit->peers[i].rule;
        if (fit->peers[i].rule == FIT_ORPHAN || !fit->peers[i].store || fit->rules[rule]->location_count == 0 ||
            fit_cost(fit, rule, NULL, UINT32_MAX) == fit_cost(fit, rule, NULL, i))
            continue; /* is near nobody */
        const struct operator *operator = replace(view, node, fit, i, true, reason);
        if (operator)
            return operator;
    }
    return NULL;
}

static const struct operator *move_leader(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                          struct reason *reason)
{
    reason_begin(reason, "rule-leader");
    store_id leader = region_node_leader_store(node), to = pd_view_next_leader(view, fit, leader, 0, reason);
    pd_view_note_transfer(view, store_table_find(view->stores, leader), store_table_find(view->stores, to), reason);
    return to == 0 ? NULL : pd_view_transfer(view, node, to, reason);
}

static const struct operator *replace_first(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                            enum fit_problem problem, const char *policy, struct reason *reason)
{
    reason_begin(reason, policy);
    uint32_t index = first_peer(fit, problem);
    if (index == UINT32_MAX)
        return NULL;
    const struct store_entry *learner = learner_for(view, node, fit, index, reason);
    if (learner)
        return move(view, node, fit, &fit->peers[index], learner, reason);
    if (!pd_view_sends(view, node)) {
        reason_refuse(reason, "store", region_node_leader_store(node), "send_limit");
        return NULL;
    }
    return replace(view, node, fit, index, false, reason);
}

static const struct operator *fill_rules(struct pd_view *view, struct region_node *node, const struct fit *fit,
                                         struct reason *reason)
{
    for (uint32_t rule = 0; rule < fit->rule_count; rule++) {
        if (fit->have[rule] >= fit->rules[rule]->count)
            continue;
        reason_begin(reason, "rule-miss");
        if (pd_view_sends(view, node))
            return add_peer(view, node, fit, rule, reason);
        reason_refuse(reason, "store", region_node_leader_store(node), "send_limit");
    }
    return NULL;
}

/* Nobody carries out what is decided for a region whose leader is silent: either it elects another one, or it cannot. */
static const char *why_nobody_leads(const struct pd_view *view, const struct region_node *node, const struct fit *fit,
                                    struct reason *reason)
{
    const struct store_entry *leader = store_table_find(view->stores, region_node_leader_store(node));
    uint32_t heard, voters = fit_voters(fit, &heard);
    reason_fact(reason, "leader_store", (int64_t)region_node_leader_store(node));
    if (leader)
        reason_fact(reason, "leader_silent_ms", (int64_t)(view->now_ms - leader->heard_ms));
    reason_fact(reason, "voters", voters);
    reason_fact(reason, "voters_heard", heard);
    if (heard <= voters / 2)
        return "no_majority";
    return region_node_leader_store(node) == 0 ? "no_leader" : "leader_is_silent";
}

/* Whether something may be done now; fills `ret_fit` then. */
static bool judge(const struct pd_view *view, const struct region_node *node, struct fit *ret_fit,
                  struct reason *reason)
{
    const char *why = region_node_mark(node) != 0 ? "has_operator" : NULL;
    reason_begin(reason, "replica-check");
    if (!why) {
        fit_region(view->stores, view->rules, node, ret_fit);
        why = pd_view_is_led(view, node) ? NULL : why_nobody_leads(view, node, ret_fit, reason);
    }
    for (uint32_t i = 0; !why && i < ret_fit->peer_count; i++)
        if (ret_fit->peers[i].peer.role > WIRE_PEER_ROLE_LEARNER)
            why = "in_joint"; /* its leader leaves that by itself */
    if (why)
        reason_refuse(reason, "region", region_node_id(node), why);
    return why == NULL;
}

void replica_judge(const struct pd_view *view, const struct region_node *node, struct reason *reason)
{
    struct fit fit;
    (void)judge(view, node, &fit, reason);
}

const struct operator *replica_check_region(struct pd_view *view, struct region_node *node, struct reason *reason)
{
    struct fit fit;
    if (!judge(view, node, &fit, reason))
        return NULL;
    uint32_t problems = fit_problems(&fit);
    if (problems & FIT_CUT)
        return split_at_rule(view, node, reason);
    if (fit.rule_count == 0)
        return NULL;
    const struct operator *operator = NULL;
    if (problems & FIT_ROLE) {
        reason_begin(reason, "rule-role");
        operator = fix_role(view, node, &fit, first_peer(&fit, FIT_ROLE), reason);
    }
    if (!operator&& problems & FIT_MISSES)
        operator = fill_rules(view, node, &fit, reason);
    if (!operator&& problems & FIT_DOWN)
        operator = replace_first(view, node, &fit, FIT_DOWN, "down-peer", reason);
    if (!operator&& problems & FIT_LEAVING)
        operator = replace_first(view, node, &fit, FIT_LEAVING, "drain", reason);
    if (!operator&& problems & FIT_EXTRA && !(problems &FIT_MISSES)) {
        reason_begin(reason, "half-done-move");
        operator = finish_move(view, node, &fit, reason);
        if (!operator && !is_judged_too_early(&fit, reason)) {
            reason_begin(reason, "extra-peer");
            operator = remove_orphan(view, node, &fit, reason);
        }
    }
    if (!operator&& problems & FIT_NEAR)
        operator = replace_first(view, node, &fit, FIT_NEAR, "isolation", reason);
    if (!operator&& problems & FIT_LEADER)
        operator = move_leader(view, node, &fit, reason);
    return operator|| problems ? operator: spread_further(view, node, &fit, reason);
}

static bool is_left(const struct store_entry *store)
{
    return store->count > 0 && (store->wanted == STORE_DRAINING || store->wanted == STORE_LOST || store->heard == STORE_DOWN);
}

/* Stores that are to be left take turns, a region each. */
static const struct operator *walk_stores(struct pd_view *view, struct reason *reason)
{
    uint32_t stores = store_table_count(view->stores), failures = 0;
    for (uint32_t k = 0; k < stores; k++) {
        uint32_t index = (view->walk_store + k) % stores;
        struct store_entry *store = store_table_at(view->stores, index);
        if (!is_left(store))
            continue;
        uint32_t count = region_tree_sums(view->regions, store->id).count;
        for (uint32_t i = 0; i < count && i < WALK_COUNT; i++) {
            struct region_node *node = region_tree_at(view->regions, store->id, store->walk++ % count);
            if (region_node_mark(node) != 0)
                continue;
            const struct operator *operator = replica_check_region(view, node, reason);
            if (operator) {
                view->walk_store = index + 1;
                return operator;
            }
            if (++failures == FAILURES_PER_ROUND) {
                view->walk_store = index + 1;
                return NULL;
            }
        }
    }
    return NULL;
}

static const struct operator *take_suspects(struct pd_view *view, struct reason *reason)
{
    while (view->suspect_count > 0) {
        region_id id = view->suspects[view->suspect_first];
        view->suspect_first = (view->suspect_first + 1) % PD_VIEW_SUSPECTS_MAX;
        view->suspect_count--;
        struct region_node *node = region_tree_find_id(view->regions, id);
        const struct operator *operator = node ? replica_check_region(view, node, reason) : NULL;
        if (operator)
            return operator;
    }
    return NULL;
}

const struct operator *replica_check(struct pd_view *view, struct reason *reason)
{
    const struct operator *operator = take_suspects(view, reason);
    if (!operator)
        operator = walk_stores(view, reason);
    while (!operator&& view->patrol_left> 0) {
        struct region_node *node = pd_view_patrol(view, &view->patrol);
        view->patrol_left--;
        operator = node ? replica_check_region(view, node, reason) : NULL;
    }
    return operator;
}
