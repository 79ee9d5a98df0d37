#include "pd/pd_view.h"

#include <math.h>
#include <string.h>

#include "base/bug.h"
#include "base/check.h"

#define MIB (UINT64_C(1) << 20)

void pd_view_config_init(struct pd_view_config *config)
{
    *config = (struct pd_view_config){.region_cost_size = 4 * MIB,
                                      .region_band_permille = 10,
                                      .leader_band_permille = 10,
                                      .hot_band_permille = 100,
                                      .hot_load_min = 100,
                                      .split_size = 96 * MIB,
                                      .merge_size = 8 * MIB,
                                      .merge_keys = 80 * 1000,
                                      .merged_size_max = 48 * MIB,
                                      .grants = true,
                                      .slow_score_max = 80,
                                      .space_low_permille = 200,
                                      .tries = 12,
                                      .patrol_count = 1000,
                                      .operators_per_round = 4096};
}

void pd_view_init(struct pd_view *view, struct region_tree *regions, struct store_table *stores, struct rules *rules,
                  struct operator_list *operators, const struct pd_view_config *config, uint64_t seed)
{
    memset(view, 0, sizeof(*view));
    view->regions = regions;
    view->stores = stores;
    view->rules = rules;
    view->operators = operators;
    view->config = config;
    rng_init(&view->rng, seed, "placement");
}

/* ---- who may take what */

static bool is_serving(const struct store_entry *store)
{
    return store->wanted == STORE_SERVING && store->heard != STORE_DOWN;
}

bool pd_view_takes_peer(const struct pd_view *view, const struct store_entry *store, uint64_t size,
                        const char **ret_why)
{
    uint64_t coming = store->coming_size > 0 ? (uint64_t)store->coming_size : 0;
    const char *why = NULL;
    if (store->wanted != STORE_SERVING)
        why = "leaving";
    else if (store->heard != STORE_UP)
        why = "not_up";
    else if (store->cordoned)
        why = "cordoned";
    else if (store_in_restart(store, view->now_ms))
        why = "planned_restart";
    else if (!store_is_steady(store, view->now_ms))
        why = "came_back_lately";
    else if (store->slow_score > view->config->slow_score_max)
        why = "slow";
    else if (!store_bucket_open(&store->receive))
        why = "receive_limit";
    else if (store->capacity_size > 0 &&
             store->available_size < coming + size + store->capacity_size / 1000 * view->config->space_low_permille)
        why = "space";
    *ret_why = why;
    return why == NULL;
}

bool pd_view_takes_leader(const struct pd_view *view, const struct store_entry *store)
{
    return is_serving(store) && store->heard == STORE_UP && !store->evict_leaders &&
           store_is_steady(store, view->now_ms) && !store_in_restart(store, view->now_ms) &&
           store->slow_score <= view->config->slow_score_max;
}

bool pd_view_is_led(const struct pd_view *view, const struct region_node *node)
{
    store_id leader = region_node_leader_store(node);
    return leader != 0 && !store_is_silent(store_table_find(view->stores, leader));
}

bool pd_view_sends(const struct pd_view *view, const struct region_node *node)
{
    const struct store_entry *leader = store_table_find(view->stores, region_node_leader_store(node));
    return leader && !store_is_silent(leader) && store_bucket_open(&leader->send);
}

bool pd_view_is_hot(const struct pd_view *view, const struct region_node *node)
{
    struct region_seen seen = region_node_seen(node);
    return seen.read_load >= view->config->hot_load_min || seen.write_load >= view->config->hot_load_min;
}

/* ---- means */

/* At most as many values of the outermost location as peers: then each keeps its share for ever. 0: not so. */
static uint16_t locked_location(const struct pd_view *view, const struct rule *rule)
{
    uint16_t values[RULE_PEERS_MAX];
    uint32_t count = 0;
    if (rule->location_count == 0)
        return 0;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        uint16_t value = store_label_value(store, rule->locations[0]);
        uint32_t k = 0;
        if (!is_serving(store) || !rule_takes_store(rule, store))
            continue;
        while (k < count && values[k] != value)
            k++;
        if (k < count)
            continue;
        if (count == rule->count)
            return 0;
        values[count++] = value;
    }
    return count > 1 ? rule->locations[0] : 0;
}

static uint64_t domain_key(const struct pd_view *view, const struct store_entry *store, const uint16_t *locked)
{
    uint64_t key = 0;
    for (uint32_t i = 0; i < view->rules->count; i++) {
        if (!rule_takes_store(&view->rules->list[i], store))
            continue;
        key ^=
            (UINT64_C(1) << i) + (locked[i] ? store_label_value(store, locked[i]) * UINT64_C(0x9e3779b97f4a7c15) : 0);
    }
    return key;
}

static uint32_t domain_of(struct pd_view *view, uint64_t key)
{
    uint32_t i = 0;
    while (i < view->domain_count && view->domains[i].key != key)
        i++;
    if (i < view->domain_count)
        return i;
    if (i == PD_VIEW_DOMAINS_MAX)
        return i - 1;
    view->domains[view->domain_count++] = (struct pd_view_mean){.key = key};
    return i;
}

static void refresh_store(struct pd_view *view, struct store_entry *store, const uint16_t *locked)
{
    struct region_sums sums = region_tree_sums(view->regions, store->id);
    double size = store->capacity_size > 0 ? (double)store->capacity_size / (double)(MIB * 1024) : 1;
    bool leads = pd_view_takes_leader(view, store) && (sums.count == 0 || sums.learner_count < sums.count);
    store->count = sums.count;
    store->leader_count = sums.leader_count;
    store->size = sums.size;
    store->read_load = sums.read_load;
    store->write_load = sums.write_load;
    store->region_share = is_serving(store) ? store->region_weight * size : 0;
    store->granted = leads && store->grant_leaders && view->config->grants;
    store->leader_share = leads && !store->granted ? store->leader_weight : 0;
    store->domain = domain_of(view, domain_key(view, store, locked));
    store_refill(store, view->config->latency_target_us, view->now_ms);
}

static double own_count(const struct store_entry *store)
{
    return (double)store->count + (BUG(balance_forgets_operators) ? 0 : (double)store->coming_count);
}

double pd_view_region_amount(const struct pd_view *view, const struct store_entry *store)
{
    double coming = BUG(balance_forgets_operators) ? 0 : (double)store->coming_size;
    return (double)store->size + coming + own_count(store) * (double)view->config->region_cost_size;
}

double pd_view_region_weight(const struct pd_view *view, const struct region_node *node)
{
    return (double)(region_node_seen(node).approximate_size + view->config->region_cost_size);
}

static double over(double amount, double share)
{
    return share > 0 ? amount / share : 0;
}

static void find_means(struct pd_view *view)
{
    double amounts[PD_VIEW_DOMAINS_MAX] = {0}, shares[PD_VIEW_DOMAINS_MAX] = {0}, counts[PD_VIEW_DOMAINS_MAX] = {0};
    double leaders = 0, leader_share = 0, reads = 0, writes = 0, share = 0;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        amounts[store->domain] += pd_view_region_amount(view, store);
        counts[store->domain] += own_count(store);
        shares[store->domain] += store->region_share;
        leaders += store->granted ? 0 : (double)(store->leader_count + store->coming_leaders);
        reads += store->granted ? 0 : (double)store->read_load + (double)store->coming_read;
        writes += (double)store->write_load + (double)store->coming_write;
        leader_share += store->leader_share;
        share += store->region_share;
    }
    for (uint32_t i = 0; i < view->domain_count; i++) {
        view->domains[i].region = over(amounts[i], shares[i]);
        view->domains[i].region_size = over(amounts[i], counts[i]);
    }
    view->leader_mean = over(leaders, leader_share);
    view->read_mean = over(reads, leader_share);
    view->write_mean = over(writes, share);
}

double pd_view_region_excess(const struct pd_view *view, const struct store_entry *store)
{
    return pd_view_region_amount(view, store) - view->domains[store->domain].region * store->region_share;
}

double pd_view_leader_excess(const struct pd_view *view, const struct store_entry *store)
{
    if (store->granted)
        return 0;
    return (double)(store->leader_count + store->coming_leaders) - view->leader_mean * store->leader_share;
}

double pd_view_read_excess(const struct pd_view *view, const struct store_entry *store)
{
    if (store->granted)
        return 0;
    return (double)store->read_load + (double)store->coming_read - view->read_mean * store->leader_share;
}

double pd_view_write_excess(const struct pd_view *view, const struct store_entry *store)
{
    return (double)store->write_load + (double)store->coming_write - view->write_mean * store->region_share;
}

/* Outside of the band: out. At the mean: in. Between: as it was. */
static bool is_out(bool was, double excess, double mean, uint32_t band_permille, double grain)
{
    double band = mean * band_permille / 1000;
    if (fabs(excess) > (band > grain ? band : grain))
        return true;
    return was && fabs(excess) > grain / 2;
}

static void find_who_is_out(struct pd_view *view)
{
    const struct pd_view_config *config = view->config;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        struct store_entry *store = store_table_at(view->stores, i);
        const struct pd_view_mean *mean = &view->domains[store->domain];
        store->region_out = is_out(store->region_out && !config->band_is_goal, pd_view_region_excess(view, store),
                                   mean->region * store->region_share, config->region_band_permille, mean->region_size);
        store->leader_out = is_out(store->leader_out && !config->band_is_goal, pd_view_leader_excess(view, store),
                                   view->leader_mean * store->leader_share, config->leader_band_permille, 1);
        store->read_out =
            is_out(store->read_out, pd_view_read_excess(view, store), view->read_mean * store->leader_share,
                   config->hot_band_permille, config->hot_load_min);
        store->write_out =
            is_out(store->write_out, pd_view_write_excess(view, store), view->write_mean * store->region_share,
                   config->hot_band_permille, config->hot_load_min);
    }
}

void pd_view_refresh(struct pd_view *view, uint64_t now_ms)
{
    uint16_t locked[RULES_MAX];
    view->now_ms = now_ms;
    view->domain_count = 0;
    view->unsatisfied = 0;
    view->patrol_left = view->size_patrol_left = view->config->patrol_count;
    for (uint32_t i = 0; i < view->rules->count; i++)
        locked[i] = locked_location(view, &view->rules->list[i]);
    for (uint32_t i = 0; i < store_table_count(view->stores); i++)
        refresh_store(view, store_table_at(view->stores, i), locked);
    find_means(view);
    find_who_is_out(view);
}

/* ---- heartbeats */

uint32_t pd_view_decayed(uint32_t before, uint64_t count, uint64_t interval_ms)
{
    enum { MEMORY_MS = 87 * 1000 }; /* a minute / ln 2 */
    if (interval_ms == 0)
        return before;
    uint64_t rate = count > UINT32_MAX ? UINT32_MAX : count * 1000 / interval_ms;
    uint64_t sum = (uint64_t)before * MEMORY_MS + rate * interval_ms;
    uint64_t decayed = (sum + (MEMORY_MS + interval_ms) / 2) / (MEMORY_MS + interval_ms);
    return decayed > UINT32_MAX ? UINT32_MAX : (uint32_t)decayed;
}

void pd_view_suspect(struct pd_view *view, region_id id)
{
    if (view->suspect_count == PD_VIEW_SUSPECTS_MAX)
        return; /* the patrol comes by */
    view->suspects[(view->suspect_first + view->suspect_count++) % PD_VIEW_SUSPECTS_MAX] = id;
}

struct region_node *pd_view_patrol(struct pd_view *view, region_id *cursor)
{
    struct region_node *node = *cursor ? region_tree_find_id(view->regions, *cursor) : NULL;
    node = node ? region_tree_next(view->regions, node) : NULL;
    if (!node)
        node = region_tree_seek(view->regions, bytes_empty());
    *cursor = node ? region_node_id(node) : 0;
    return node;
}

static void note_hot(struct pd_view *view, const struct region_node *node)
{
    struct region_seen seen = region_node_seen(node);
    uint32_t load = seen.read_load > seen.write_load ? seen.read_load : seen.write_load;
    if (load < view->config->hot_load_min)
        return;
    region_id *place = &view->hot[region_node_id(node) * UINT64_C(0x9e3779b97f4a7c15) >> 51];
    const struct region_node *other = *place ? region_tree_find_id(view->regions, *place) : NULL;
    struct region_seen others = other ? region_node_seen(other) : (struct region_seen){0};
    if (others.read_load < load && others.write_load < load)
        *place = region_node_id(node);
}

const struct operator_step *pd_view_report(struct pd_view *view, struct region_node *node, bool changed)
{
    note_hot(view, node);
    const struct operator_step *step = operator_list_report(view->operators, node, view->now_ms);
    if (changed && region_node_mark(node) == 0)
        pd_view_suspect(view, region_node_id(node));
    return step;
}

/* ---- choosing */

static void note_store(const struct pd_view *view, const struct store_entry *store, const char *const names[3],
                       struct reason *reason)
{
    double amount = pd_view_region_amount(view, store);
    reason_fact(reason, names[0], (int64_t)store->id);
    reason_fact(reason, names[1], (int64_t)amount);
    reason_fact(reason, names[2], (int64_t)(amount - pd_view_region_excess(view, store)));
}

void pd_view_note_move(const struct pd_view *view, const struct store_entry *from, const struct store_entry *to,
                       struct reason *reason)
{
    static const char *const source[] = {"source_store", "source_size", "source_mean_size"},
                             *const target[] = {"target_store", "target_size", "target_mean_size"};
    if (from)
        note_store(view, from, source, reason);
    if (to)
        note_store(view, to, target, reason);
    if (to && to->capacity_size > 0)
        reason_fact(reason, "target_free_size", (int64_t)to->available_size);
}

void pd_view_note_transfer(const struct pd_view *view, const struct store_entry *from, const struct store_entry *to,
                           struct reason *reason)
{
    if (from) {
        reason_fact(reason, "source_store", (int64_t)from->id);
        reason_fact(reason, "source_leaders", (int64_t)from->leader_count + from->coming_leaders);
        reason_fact(reason, "source_mean", (int64_t)(view->leader_mean * from->leader_share));
    }
    if (to) {
        reason_fact(reason, "target_store", (int64_t)to->id);
        reason_fact(reason, "target_leaders", (int64_t)to->leader_count + to->coming_leaders);
        reason_fact(reason, "target_mean", (int64_t)(view->leader_mean * to->leader_share));
    }
}

struct store_entry *pd_view_pick_store(struct pd_view *view, const struct region_node *node, const struct fit *fit,
                                       uint32_t rule, uint32_t without, struct reason *reason)
{
    uint64_t size = region_node_seen(node).approximate_size, best_cost = UINT64_MAX;
    struct store_entry *best = NULL;
    double best_level = 0;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        struct store_entry *store = store_table_at(view->stores, i);
        const char *why = NULL;
        if (fit_has_store(fit, store->id))
            continue;
        if (!rule_takes_store(fit->rules[rule], store))
            why = "constraint";
        else if (pd_view_takes_peer(view, store, size, &why) && !fit_isolates(fit, rule, store, without))
            why = "isolation";
        if (why) {
            reason_refuse(reason, "store", store->id, why);
            continue;
        }
        uint64_t cost = fit_cost(fit, rule, store, without);
        double level = over(pd_view_region_amount(view, store), store->region_share);
        bool better = cost < best_cost || (cost == best_cost && level < best_level);
        const struct store_entry *other = better ? best : store;
        if (other)
            reason_refuse(reason, "store", other->id, cost != best_cost ? "nearer_to_others" : "not_emptier");
        if (better) {
            best = store;
            best_cost = cost;
            best_level = level;
        }
    }
    return best;
}

static void refuse_leader(struct reason *reason, store_id store, const char *why)
{
    if (reason && store != 0)
        reason_refuse(reason, "store", store, why);
}

store_id pd_view_next_leader(const struct pd_view *view, const struct fit *fit, store_id not_this, store_id nor_this,
                             struct reason *reason)
{
    store_id best = 0;
    double best_level = 0;
    for (uint32_t i = 0; i < fit->peer_count; i++) {
        const struct fit_peer *peer = &fit->peers[i];
        if (peer->peer.store_id == not_this || peer->peer.store_id == nor_this)
            continue;
        if (!fit_leads(fit, peer) || !pd_view_takes_leader(view, peer->store)) {
            refuse_leader(reason, peer->peer.store_id, fit_leads(fit, peer) ? "takes_no_leader" : "may_not_lead");
            continue;
        }
        double level =
            over((double)(peer->store->leader_count + peer->store->coming_leaders), peer->store->leader_share);
        bool better = best == 0 || level < best_level;
        refuse_leader(reason, better ? best : peer->store->id, "leads_no_fewer");
        if (better) {
            best = peer->store->id;
            best_level = level;
        }
    }
    return best;
}

const struct operator *pd_view_transfer(struct pd_view *view, const struct region_node *node, store_id to,
                                        const struct reason *reason)
{
    struct operator draft;
    operator_draft(&draft, node, reason);
    operator_add_step(&draft, STEP_TRANSFER, to, 0);
    return operator_list_start(view->operators, &draft, view->now_ms);
}

static const struct fit_peer *peer_on(const struct fit *fit, store_id store)
{
    for (uint32_t i = 0; i < fit->peer_count; i++)
        if (fit->peers[i].peer.store_id == store)
            return &fit->peers[i];
    return NULL;
}

void pd_view_move_steps(const struct pd_view *view, const struct fit *fit, store_id from, store_id to, store_id leader,
                        struct operator *draft)
{
    const struct fit_peer *old = peer_on(fit, from);
    CHECK(old);
    if (BUG(move_removes_first) && role_is_voter(old->peer.role) && !old->leader) {
        operator_add_step(draft, STEP_CHANGE, 0, from);
        operator_add_step(draft, STEP_REMOVE, from, 0);
        operator_add_step(draft, STEP_ADD_LEARNER, to, 0);
        operator_add_step(draft, STEP_CHANGE, to, 0);
        return;
    }
    if (!peer_on(fit, to)) /* else a move is finished that somebody else began */
        operator_add_step(draft, STEP_ADD_LEARNER, to, 0);
    if (!role_is_voter(old->peer.role)) {
        operator_add_step(draft, STEP_REMOVE, from, 0);
        return;
    }
    if (old->leader && leader == 0)
        leader = pd_view_next_leader(view, fit, from, 0, NULL);
    if (leader == to || (old->leader && leader == 0)) { /* the new one is to lead: it must be a voter before */
        operator_add_step(draft, STEP_CHANGE, to, 0);
        operator_add_step(draft, STEP_TRANSFER, to, 0);
        operator_add_step(draft, STEP_CHANGE, 0, from);
    } else {
        if (leader != 0)
            operator_add_step(draft, STEP_TRANSFER, leader, 0);
        operator_add_step(draft, STEP_CHANGE, to, from);
    }
    operator_add_step(draft, STEP_REMOVE, from, 0);
}

const struct operator *pd_view_move(struct pd_view *view, const struct region_node *node, const struct fit *fit,
                                    store_id from, store_id to, store_id leader, const struct reason *reason)
{
    struct operator draft;
    operator_draft(&draft, node, reason);
    pd_view_move_steps(view, fit, from, to, leader, &draft);
    return operator_list_start(view->operators, &draft, view->now_ms);
}

/* ---- what people ask for */

/* Whether the rule finds enough stores, far enough apart, without this one. */
static enum err rule_lives_without(const struct pd_view *view, const struct rule *rule,
                                   const struct store_entry *leaving, struct error *err)
{
    uint16_t values[RULE_PEERS_MAX];
    uint32_t stores = 0, places = 0;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        if (store == leaving || !is_serving(store) || !rule_takes_store(rule, store))
            continue;
        stores++;
        if (rule->isolation_level == 0 || places == rule->count)
            continue;
        uint16_t value = store_label_value(store, rule->locations[rule->isolation_level - 1]);
        uint32_t k = 0;
        while (k < places && values[k] != value)
            k++;
        if (value != 0 && k == places)
            values[places++] = value;
    }
    if (stores < rule->count)
        return error_set(err, ERR_CONDITION_FAILED, "rule %s/%s wants %u peers, and %u stores would be left for them",
                         rule->group, rule->name, rule->count, stores);
    if (rule->isolation_level > 0 && places < rule->count)
        return error_set(err, ERR_CONDITION_FAILED,
                         "rule %s/%s isolates %u peers, and stores in %u places would be left for them", rule->group,
                         rule->name, rule->count, places);
    return ERR_OK;
}

static enum err regions_live_without(const struct pd_view *view, const struct store_entry *leaving, struct error *err)
{
    struct region_node *node;
    for (uint32_t i = 0; (node = region_tree_at(view->regions, leaving->id, i)); i++) {
        struct fit fit;
        uint32_t heard;
        fit_region(view->stores, view->rules, node, &fit);
        if (fit_voters(&fit, &heard) / 2 >= heard)
            return error_set(err, ERR_CONDITION_FAILED, "region %llu has no majority now: it could not be moved",
                             (unsigned long long)region_node_id(node));
    }
    return ERR_OK;
}

static enum err others_have_space(const struct pd_view *view, const struct store_entry *leaving, struct error *err)
{
    uint64_t room = 0, size = region_tree_sums(view->regions, leaving->id).size;
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        const struct store_entry *store = store_table_at(view->stores, i);
        uint64_t kept = store->capacity_size / 1000 * view->config->space_low_permille;
        if (store == leaving || !is_serving(store))
            continue;
        if (store->capacity_size == 0)
            return ERR_OK; /* says nothing of its disk */
        room += store->available_size > kept ? store->available_size - kept : 0;
    }
    return size <= room
               ? ERR_OK
               : error_set(err, ERR_CONDITION_FAILED, "%llu bytes are to move, and the others have room for %llu",
                           (unsigned long long)size, (unsigned long long)room);
}

enum err pd_view_drain(struct pd_view *view, store_id id, struct error *err)
{
    struct store_entry *store = store_table_find(view->stores, id);
    if (!store)
        return error_set(err, ERR_STORE_NOT_MATCH, "no store %llu", (unsigned long long)id);
    if (store->wanted != STORE_SERVING)
        return error_set(err, ERR_CONDITION_FAILED, "store %llu is drained already", (unsigned long long)id);
    enum err code = ERR_OK;
    for (uint32_t i = 0; code == ERR_OK && i < view->rules->count; i++)
        if (rule_takes_store(&view->rules->list[i], store))
            code = rule_lives_without(view, &view->rules->list[i], store, err);
    if (code == ERR_OK)
        code = regions_live_without(view, store, err);
    if (code == ERR_OK)
        code = others_have_space(view, store, err);
    if (code != ERR_OK)
        return error_wrap(err, "drain store %llu", (unsigned long long)id);
    store->wanted = STORE_DRAINING;
    store->drain_ms = view->now_ms;
    store->drain_count = region_tree_sums(view->regions, id).count;
    return ERR_OK;
}

enum err pd_view_cancel_drain(struct pd_view *view, store_id id, struct error *err)
{
    struct store_entry *store = store_table_find(view->stores, id);
    if (!store || store->wanted != STORE_DRAINING)
        return error_set(err, store ? ERR_CONDITION_FAILED : ERR_STORE_NOT_MATCH, "store %llu is not being drained",
                         (unsigned long long)id);
    store->wanted = STORE_SERVING;
    return ERR_OK;
}

void pd_view_end_drains(struct pd_view *view)
{
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        struct store_entry *store = store_table_at(view->stores, i);
        uint32_t count = region_tree_sums(view->regions, store->id).count;
        if (store->wanted == STORE_DRAINING && store->coming_count == 0 && count == 0)
            store->wanted = STORE_TOMBSTONE;
        else if (store->wanted == STORE_TOMBSTONE && count > 0)
            store->wanted = STORE_DRAINING; /* a change of members that nobody knew to be under way has come to its end */
    }
}

uint32_t pd_view_drain_permille(const struct pd_view *view, const struct store_entry *store)
{
    uint32_t count = region_tree_sums(view->regions, store->id).count;
    if (store->wanted == STORE_TOMBSTONE || count == 0)
        return 1000;
    return count >= store->drain_count ? 0 : 1000 - (uint32_t)((uint64_t)count * 1000 / store->drain_count);
}
