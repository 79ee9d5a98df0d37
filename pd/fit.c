#include "pd/fit.h"

#include "base/bug.h"

bool role_is_voter(uint8_t role)
{
    return role == WIRE_PEER_ROLE_VOTER || role == WIRE_PEER_ROLE_INCOMING_VOTER;
}

bool fit_peer_is_down(const struct fit_peer *peer)
{
    return !peer->store || peer->store->heard == STORE_DOWN || peer->store->wanted >= STORE_TOMBSTONE;
}

bool fit_has_store(const struct fit *fit, store_id store)
{
    for (uint32_t i = 0; i < fit->peer_count; i++)
        if (fit->peers[i].peer.store_id == store)
            return true;
    return false;
}

static uint64_t pair_cost(const struct rule *rule, const struct store_entry *a, const struct store_entry *b)
{
    uint32_t shared = rule->location_count - rule_distance(rule, a, b);
    return shared == 0 ? 0 : UINT64_C(1) << 8 * (shared - 1);
}

static uint64_t cost_beside(const struct fit *fit, uint32_t rule, const struct store_entry *store, uint32_t without)
{
    uint64_t cost = 0;
    for (uint32_t i = 0; i < fit->peer_count; i++)
        if (i != without && fit->peers[i].rule == (int)rule && fit->peers[i].store && fit->peers[i].store != store)
            cost += pair_cost(fit->rules[rule], fit->peers[i].store, store);
    return cost;
}

uint64_t fit_cost(const struct fit *fit, uint32_t rule, const struct store_entry *store, uint32_t without)
{
    uint64_t twice = 0;
    if (fit->rules[rule]->location_count == 0)
        return 0;
    for (uint32_t i = 0; i < fit->peer_count; i++)
        if (i != without && fit->peers[i].rule == (int)rule && fit->peers[i].store)
            twice += cost_beside(fit, rule, fit->peers[i].store, without);
    return twice / 2 + (store ? cost_beside(fit, rule, store, without) : 0);
}

bool fit_isolates(const struct fit *fit, uint32_t rule, const struct store_entry *store, uint32_t without)
{
    if (fit->rules[rule]->isolation_level == 0 || BUG(isolation_ignored))
        return true;
    for (uint32_t i = 0; i < fit->peer_count; i++)
        if (i != without && fit->peers[i].rule == (int)rule && fit->peers[i].store &&
            !rule_isolates(fit->rules[rule], fit->peers[i].store, store))
            return false;
    return true;
}

const char *fit_refuses(const struct fit *fit, uint32_t index, const struct store_entry *store)
{
    uint32_t rule = (uint32_t)fit->peers[index].rule;
    if (!rule_takes_store(fit->rules[rule], store))
        return "constraint";
    if (!fit_isolates(fit, rule, store, index))
        return "isolation";
    bool nearer = fit_cost(fit, rule, store, index) > fit_cost(fit, rule, NULL, UINT32_MAX);
    return nearer && !BUG(isolation_ignored) ? "isolation" : NULL;
}

static bool role_suits(const struct rule *rule, const struct fit_peer *peer)
{
    bool voter = role_is_voter(peer->peer.role);
    switch (rule->role) {
    case RULE_LEADER:
        return voter && peer->leader;
    case RULE_FOLLOWER:
        return voter && !peer->leader;
    case RULE_LEARNER:
        return !voter;
    default:
        return voter;
    }
}

/* What speaks against giving this peer to the rule; the least is taken. */
static uint64_t against(const struct fit *fit, uint32_t rule, uint32_t index)
{
    const struct fit_peer *peer = &fit->peers[index];
    uint64_t cost = peer->store ? cost_beside(fit, rule, peer->store, index) : 0;
    if (fit_peer_is_down(peer))
        cost += UINT64_C(1) << 60;
    if (!role_suits(fit->rules[rule], peer))
        cost += UINT64_C(1) << 58;
    if (peer->store && peer->store->heard == STORE_DISCONNECTED)
        cost += UINT64_C(1) << 57;
    if (peer->store && peer->store->wanted == STORE_DRAINING)
        cost += UINT64_C(1) << 56;
    return cost;
}

static void give_peers(struct fit *fit, uint32_t rule)
{
    const struct rule *wanted = fit->rules[rule];
    while (fit->have[rule] < wanted->count) {
        uint32_t best = UINT32_MAX;
        uint64_t best_cost = UINT64_MAX;
        for (uint32_t i = 0; i < fit->peer_count; i++) {
            struct fit_peer *peer = &fit->peers[i];
            if (peer->rule != FIT_ORPHAN || (peer->store && !rule_takes_store(wanted, peer->store)))
                continue;
            uint64_t cost = against(fit, rule, i);
            if (cost < best_cost) {
                best = i;
                best_cost = cost;
            }
        }
        if (best == UINT32_MAX)
            return;
        fit->peers[best].rule = (int)rule;
        fit->have[rule]++;
    }
}

void fit_region(const struct store_table *stores, const struct rules *rules, const struct region_node *node,
                struct fit *ret_fit)
{
    peer_id leader = region_node_seen(node).leader_peer;
    ret_fit->peer_count = region_node_peer_count(node);
    for (uint32_t i = 0; i < ret_fit->peer_count; i++) {
        struct wire_peer peer = region_node_peer(node, i);
        ret_fit->peers[i] = (struct fit_peer){.peer = peer,
                                              .store = store_table_find(stores, peer.store_id),
                                              .rule = FIT_ORPHAN,
                                              .leader = peer.id == leader};
    }
    ret_fit->rule_count =
        rules_of(rules, region_node_start(node), region_node_end(node), ret_fit->rules, &ret_fit->cut);
    for (uint32_t i = 0; i < ret_fit->rule_count; i++) {
        ret_fit->have[i] = 0;
        give_peers(ret_fit, i);
    }
}

uint32_t fit_voters(const struct fit *fit, uint32_t *ret_heard)
{
    uint32_t voters = 0, heard = 0;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        bool voter = role_is_voter(fit->peers[i].peer.role);
        voters += voter;
        heard += voter && !store_is_silent(fit->peers[i].store);
    }
    if (ret_heard)
        *ret_heard = heard;
    return voters;
}

bool fit_leads(const struct fit *fit, const struct fit_peer *peer)
{
    if (!peer->store || peer->store->heard == STORE_DOWN || !role_is_voter(peer->peer.role) || peer->rule == FIT_ORPHAN)
        return false;
    if (fit->rules[peer->rule]->role == RULE_LEADER)
        return true;
    if (fit->rules[peer->rule]->role != RULE_VOTER)
        return false;
    for (uint32_t i = 0; i < fit->rule_count; i++) /* somebody else is to lead, if he is there at all */
        if (fit->rules[i]->role == RULE_LEADER && fit->have[i] > 0)
            return false;
    return true;
}

static uint32_t peer_problems(const struct fit *fit, uint32_t index)
{
    const struct fit_peer *peer = &fit->peers[index];
    if (peer->rule == FIT_ORPHAN)
        return fit->rule_count > 0 ? FIT_EXTRA : 0;
    const struct rule *rule = fit->rules[peer->rule];
    uint32_t problems = fit_peer_is_down(peer) ? FIT_DOWN : 0;
    if (role_is_voter(peer->peer.role) != (rule->role != RULE_LEARNER))
        problems |= FIT_ROLE;
    if (peer->store && peer->store->wanted == STORE_DRAINING)
        problems |= FIT_LEAVING;
    if (peer->store && rule->isolation_level > 0)
        for (uint32_t i = 0; i < index; i++)
            if (fit->peers[i].rule == peer->rule && fit->peers[i].store &&
                !rule_isolates(rule, fit->peers[i].store, peer->store))
                problems |= FIT_NEAR;
    return problems;
}

uint32_t fit_problems(const struct fit *fit)
{
    uint32_t problems = fit->cut.size > 0 ? FIT_CUT : 0;
    for (uint32_t i = 0; i < fit->rule_count; i++)
        problems |= fit->have[i] < fit->rules[i]->count ? FIT_MISSES : 0;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        problems |= peer_problems(fit, i);
        if (fit->peers[i].leader && fit->rule_count > 0 && !fit_leads(fit, &fit->peers[i]))
            problems |= FIT_LEADER;
    }
    return problems;
}
