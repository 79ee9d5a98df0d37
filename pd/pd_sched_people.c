#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "env/clock.h"
#include "pd/pd_sched_parts.h"

#define ULL(value) ((unsigned long long)(value))

static enum err not_leading(struct error *err)
{
    return error_set(err, ERR_NOT_LEADER, "this member of pd does not lead");
}

/* ---- operators */

static enum err find_region(struct pd_sched *sched, region_id id, struct region_node **ret_node, struct error *err)
{
    if (!sched->leading)
        return not_leading(err);
    operator_list_tick(sched->operators, pd_sched_now_ms(sched));
    *ret_node = region_tree_find_id(pd_fsm_regions(sched->fsm), id);
    if (!*ret_node)
        return error_set(err, ERR_REGION_NOT_FOUND, "there is no region %llu", ULL(id));
    if (region_node_mark(*ret_node) != 0)
        return error_set(err, ERR_BUSY, "region %llu has operator %llu: wait for it, or cancel it", ULL(id),
                         ULL(operator_list_of(sched->operators, *ret_node)->number));
    if (region_node_leader_store(*ret_node) == 0)
        return error_set(err, ERR_CONDITION_FAILED, "nobody is known to lead region %llu", ULL(id));
    if (!pd_view_is_led(&sched->scheduler.view, *ret_node))
        return error_set(err, ERR_CONDITION_FAILED,
                         "store %llu led region %llu, and does not answer: pd-ctl why region %llu",
                         ULL(region_node_leader_store(*ret_node)), ULL(id), ULL(id));
    sched->scheduler.view.now_ms = pd_sched_now_ms(sched);
    return ERR_OK;
}

static enum err start(struct pd_sched *sched, struct operator* draft, uint64_t *ret_number, struct error *err)
{
    draft->by_people = true;
    const struct operator* operator= operator_list_start(sched->operators, draft, pd_sched_now_ms(sched));
    if (!operator)
        return error_set(err, ERR_BUSY, "region %llu or its neighbour has an operator, or %u run already",
                         ULL(draft->region), sched->config->operators_max);
    *ret_number = operator->number;
    sched->round_at_ms = 0; /* its store hears of it with its next heartbeat */
    return ERR_OK;
}

static enum err check_target(struct pd_sched *sched, store_id id, struct error *err)
{
    const struct store_entry *store = sched_store(sched, id);
    if (!store)
        return error_set(err, ERR_STORE_NOT_MATCH, "there is no store %llu", ULL(id));
    if (store->wanted != STORE_SERVING)
        return error_set(err, ERR_CONDITION_FAILED, "store %llu is to be left", ULL(id));
    return ERR_OK;
}

static const struct fit_peer *peer_on(const struct fit *fit, store_id store)
{
    for (uint32_t i = 0; i < fit->peer_count; i++)
        if (fit->peers[i].peer.store_id == store)
            return &fit->peers[i];
    return NULL;
}

static enum err no_peer(region_id region, store_id store, struct error *err)
{
    return error_set(err, ERR_CONDITION_FAILED, "region %llu has no peer on store %llu", ULL(region), ULL(store));
}

enum err pd_sched_transfer_leader(struct pd_sched *sched, region_id region, store_id to, uint64_t *ret_number,
                                  struct error *err)
{
    struct region_node *node;
    struct reason reason;
    struct operator draft;
    struct fit fit;
    enum err code = find_region(sched, region, &node, err);
    if (code == ERR_OK)
        code = check_target(sched, to, err);
    if (code != ERR_OK)
        return code;
    fit_region(sched->stores, &sched->rules, node, &fit);
    const struct fit_peer *peer = peer_on(&fit, to);
    if (!peer || !role_is_voter(peer->peer.role))
        return error_set(err, ERR_CONDITION_FAILED, "region %llu has no voter on store %llu", ULL(region), ULL(to));
    if (peer->leader)
        return error_set(err, ERR_CONDITION_FAILED, "region %llu is led on store %llu", ULL(region), ULL(to));
    reason_begin(&reason, "people-transfer-leader");
    pd_view_note_transfer(&sched->scheduler.view, store_table_find(sched->stores, region_node_leader_store(node)),
                          store_table_find(sched->stores, to), &reason);
    operator_draft(&draft, node, &reason);
    operator_add_step(&draft, STEP_TRANSFER, to, 0);
    return start(sched, &draft, ret_number, err);
}

enum err pd_sched_add_peer(struct pd_sched *sched, region_id region, store_id to, bool learner, uint64_t *ret_number,
                           struct error *err)
{
    struct region_node *node;
    struct reason reason;
    struct operator draft;
    enum err code = find_region(sched, region, &node, err);
    if (code == ERR_OK)
        code = check_target(sched, to, err);
    if (code != ERR_OK)
        return code;
    if (region_node_has_store(node, to))
        return error_set(err, ERR_CONDITION_FAILED, "region %llu has a peer on store %llu", ULL(region), ULL(to));
    reason_begin(&reason, "people-add-peer");
    pd_view_note_move(&sched->scheduler.view, NULL, store_table_find(sched->stores, to), &reason);
    reason_fact(&reason, "peers", region_node_peer_count(node));
    operator_draft(&draft, node, &reason);
    operator_add_step(&draft, STEP_ADD_LEARNER, to, 0);
    if (!learner)
        operator_add_step(&draft, STEP_CHANGE, to, 0);
    return start(sched, &draft, ret_number, err);
}

enum err pd_sched_remove_peer(struct pd_sched *sched, region_id region, store_id from, uint64_t *ret_number,
                              struct error *err)
{
    struct region_node *node;
    struct reason reason;
    struct operator draft;
    struct fit fit;
    enum err code = find_region(sched, region, &node, err);
    if (code != ERR_OK)
        return code;
    fit_region(sched->stores, &sched->rules, node, &fit);
    const struct fit_peer *peer = peer_on(&fit, from);
    if (!peer)
        return no_peer(region, from, err);
    reason_begin(&reason, "people-remove-peer");
    reason_fact(&reason, "source_store", (int64_t)from);
    pd_view_note_move(&sched->scheduler.view, peer->store, NULL, &reason);
    reason_fact(&reason, "peers", fit.peer_count);
    operator_draft(&draft, node, &reason);
    if (role_is_voter(peer->peer.role)) {
        if (fit_voters(&fit, NULL) < 2)
            return error_set(err, ERR_CONDITION_FAILED, "region %llu has its last voter on store %llu", ULL(region),
                             ULL(from));
        store_id next =
            peer->leader ? pd_view_next_leader(&sched->scheduler.view, &fit, from, 0, &draft.reason) : 0;
        if (peer->leader && next == 0)
            return error_set(err, ERR_CONDITION_FAILED, "nobody else can lead region %llu now", ULL(region));
        if (next != 0)
            operator_add_step(&draft, STEP_TRANSFER, next, 0);
        operator_add_step(&draft, STEP_CHANGE, 0, from);
    }
    operator_add_step(&draft, STEP_REMOVE, from, 0);
    return start(sched, &draft, ret_number, err);
}

enum err pd_sched_move_peer(struct pd_sched *sched, region_id region, store_id from, store_id to, uint64_t *ret_number,
                            struct error *err)
{
    struct region_node *node;
    struct reason reason;
    struct operator draft;
    struct fit fit;
    enum err code = find_region(sched, region, &node, err);
    if (code == ERR_OK)
        code = check_target(sched, to, err);
    if (code != ERR_OK)
        return code;
    fit_region(sched->stores, &sched->rules, node, &fit);
    if (!peer_on(&fit, from))
        return no_peer(region, from, err);
    if (peer_on(&fit, to))
        return error_set(err, ERR_CONDITION_FAILED, "region %llu has a peer on store %llu", ULL(region), ULL(to));
    reason_begin(&reason, "people-move-peer");
    pd_view_note_move(&sched->scheduler.view, peer_on(&fit, from)->store, store_table_find(sched->stores, to), &reason);
    reason_fact(&reason, "region_size", (int64_t)region_node_seen(node).approximate_size);
    operator_draft(&draft, node, &reason);
    pd_view_move_steps(&sched->scheduler.view, &fit, from, to, 0, &draft);
    return start(sched, &draft, ret_number, err);
}

enum err pd_sched_split(struct pd_sched *sched, region_id region, uint64_t *ret_number, struct error *err)
{
    struct region_node *node;
    struct reason reason;
    struct operator draft;
    enum err code = find_region(sched, region, &node, err);
    if (code != ERR_OK)
        return code;
    reason_begin(&reason, "people-split");
    reason_fact(&reason, "region_size", (int64_t)region_node_seen(node).approximate_size);
    operator_draft(&draft, node, &reason);
    operator_add_step(&draft, STEP_SPLIT, 0, 0);
    return start(sched, &draft, ret_number, err);
}

enum err pd_sched_merge(struct pd_sched *sched, region_id source, region_id target, uint64_t *ret_number,
                        struct error *err)
{
    struct region_node *node = NULL, *other = NULL;
    struct reason reason;
    enum err code = find_region(sched, source, &node, err);
    if (code == ERR_OK)
        code = find_region(sched, target, &other, err);
    if (code != ERR_OK)
        return code;
    bool meets = (region_node_end(node).size > 0 && bytes_equal(region_node_end(node), region_node_start(other))) ||
                 (region_node_end(other).size > 0 && bytes_equal(region_node_end(other), region_node_start(node)));
    if (!meets)
        return error_set(err, ERR_CONDITION_FAILED, "regions %llu and %llu are no neighbours", ULL(source),
                         ULL(target));
    reason_begin(&reason, "people-merge");
    const struct operator* operator= merge_pair(&sched->scheduler.view, node, other, true, &reason);
    if (!operator)
        return error_set(err, ERR_CONDITION_FAILED, "regions %llu and %llu cannot be merged now: %s", ULL(source),
                         ULL(target), reason.refusal_count ? reason.refusals[0].why : "one has an operator");
    *ret_number = operator->number;
    return ERR_OK;
}

enum err pd_sched_cancel(struct pd_sched *sched, region_id region, struct error *err)
{
    if (!sched->leading)
        return not_leading(err);
    if (!operator_list_cancel(sched->operators, region, pd_sched_now_ms(sched)))
        return error_set(err, ERR_NOT_FOUND, "region %llu has no operator", ULL(region));
    return ERR_OK;
}

/* ---- scatter */

static struct bytes copy_key(struct bytes key)
{
    uint8_t *copy = malloc(key.size + 1);
    CHECK(copy);
    if (key.size > 0)
        memcpy(copy, key.data, key.size);
    return bytes_of(copy, key.size);
}

void sched_scatter_end(struct pd_sched *sched)
{
    if (!sched->scatter)
        return;
    free((void *)(uintptr_t)sched->scatter->start_key.data);
    free((void *)(uintptr_t)sched->scatter->end_key.data);
    free(sched->scatter);
    sched->scatter = NULL;
}

enum err pd_sched_scatter(struct pd_sched *sched, struct bytes start_key, struct bytes end_key, struct error *err)
{
    if (!sched->leading)
        return not_leading(err);
    if (end_key.size > 0 && bytes_compare(start_key, end_key) >= 0)
        return error_set(err, ERR_INVALID, "the range is empty");
    if (sched->scatter)
        return error_set(err, ERR_BUSY, "another range is being scattered");
    sched->scatter = calloc(1, sizeof(*sched->scatter));
    CHECK(sched->scatter);
    sched->scatter->start_key = copy_key(start_key);
    sched->scatter->end_key = copy_key(end_key);
    return ERR_OK;
}

void sched_scatter_round(struct pd_sched *sched)
{
    enum { PER_ROUND = 64 };
    struct reason reason;
    for (uint32_t i = 0; sched->scatter && i < PER_ROUND; i++) {
        if (!sched->scatter->counted)
            memset(sched->scatter->group_count, 0, sizeof(sched->scatter->group_count));
        if (!scatter_range(&sched->scheduler.view, sched->scatter, &reason))
            sched_scatter_end(sched);
    }
}

/* ---- stores */

static enum err find_store(struct pd_sched *sched, store_id id, struct store_entry **ret_store, raft_index *ret_index,
                           struct error *err)
{
    *ret_index = 0;
    if (!sched->leading)
        return not_leading(err);
    if (!sched_load_if_old(sched))
        return error_set(err, ERR_BUSY, "another change is on its way through pd's log: try again");
    sched->scheduler.view.now_ms = pd_sched_now_ms(sched);
    *ret_store = sched_store(sched, id);
    return *ret_store ? ERR_OK : error_set(err, ERR_STORE_NOT_MATCH, "there is no store %llu", ULL(id));
}

/* What could not be proposed did not happen. */
static enum err keep_wish(struct pd_sched *sched, const struct store_entry *store, raft_index *ret_index,
                          struct error *err)
{
    enum err code = sched_put_wish(sched, store, ret_index, err);
    if (code != ERR_OK)
        sched_load_truth(sched);
    return code;
}

enum err pd_sched_drain(struct pd_sched *sched, store_id id, raft_index *ret_index, struct error *err)
{
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code == ERR_OK)
        code = pd_view_drain(&sched->scheduler.view, id, err);
    return code == ERR_OK ? keep_wish(sched, store, ret_index, err) : code;
}

enum err pd_sched_cancel_drain(struct pd_sched *sched, store_id id, raft_index *ret_index, struct error *err)
{
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code == ERR_OK)
        code = pd_view_cancel_drain(&sched->scheduler.view, id, err);
    return code == ERR_OK ? keep_wish(sched, store, ret_index, err) : code;
}

enum err pd_sched_cordon(struct pd_sched *sched, store_id id, bool cordoned, raft_index *ret_index, struct error *err)
{
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code != ERR_OK)
        return code;
    store->cordoned = cordoned;
    return keep_wish(sched, store, ret_index, err);
}

enum err pd_sched_evict_leaders(struct pd_sched *sched, store_id id, bool evict, raft_index *ret_index,
                                struct error *err)
{
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code != ERR_OK)
        return code;
    if (evict && store->grant_leaders)
        return error_set(err, ERR_CONDITION_FAILED,
                         "store %llu is granted all leaders: pd-ctl scheduler remove grant-leader %llu", ULL(id),
                         ULL(id));
    store->evict_leaders = evict;
    return keep_wish(sched, store, ret_index, err);
}

enum err pd_sched_grant_leaders(struct pd_sched *sched, store_id id, bool grant, raft_index *ret_index,
                                struct error *err)
{
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code == ERR_OK && grant)
        code = check_target(sched, id, err);
    if (code != ERR_OK)
        return code;
    if (grant && store->evict_leaders)
        return error_set(err, ERR_CONDITION_FAILED,
                         "leaders are to leave store %llu: pd-ctl scheduler remove evict-leader %llu", ULL(id),
                         ULL(id));
    store->grant_leaders = grant;
    return keep_wish(sched, store, ret_index, err);
}

enum err pd_sched_label(struct pd_sched *sched, store_id id, const char *name, const char *value, raft_index *ret_index,
                        struct error *err)
{
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code != ERR_OK)
        return code;
    if (store_table_set_label(sched->stores, store, name, value) != ERR_OK)
        return error_set(err, ERR_INVALID, "a label is name=value of 1 to %d bytes each, and a store has at most %d",
                         LABEL_TEXT_SIZE - 1, STORE_LABELS_MAX);
    return keep_wish(sched, store, ret_index, err);
}

enum err pd_sched_weight(struct pd_sched *sched, store_id id, uint32_t leader_permille, uint32_t region_permille,
                         raft_index *ret_index, struct error *err)
{
    enum { WEIGHT_PERMILLE_MAX = 1000 * 1000 };
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code != ERR_OK)
        return code;
    if (leader_permille > WEIGHT_PERMILLE_MAX || region_permille > WEIGHT_PERMILLE_MAX)
        return error_set(err, ERR_INVALID, "a weight is at most 1000");
    if (leader_permille > 0)
        store->leader_weight = leader_permille / 1000.0;
    if (region_permille > 0)
        store->region_weight = region_permille / 1000.0;
    return keep_wish(sched, store, ret_index, err);
}

enum err pd_sched_limit(struct pd_sched *sched, store_id id, uint64_t receive_size, uint64_t send_size,
                        raft_index *ret_index, struct error *err)
{
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code != ERR_OK)
        return code;
    if (receive_size > STORE_RATE_MAX || send_size > STORE_RATE_MAX)
        return error_set(err, ERR_INVALID, "a limit is 1 TiB per second at most");
    if ((receive_size > 0 && receive_size < STORE_RATE_MIN) || (send_size > 0 && send_size < STORE_RATE_MIN))
        return error_set(err, ERR_INVALID, "a limit is 1 KiB per second at least; to give a store nothing, cordon it");
    store->receive_limit = receive_size;
    store->send_limit = send_size;
    return keep_wish(sched, store, ret_index, err);
}

enum err pd_sched_prepare_stop(struct pd_sched *sched, store_id id, uint64_t duration_ms, raft_index *ret_index,
                               struct error *err)
{
    enum { DURATION_MS_MAX = 24 * 60 * 60 * 1000 };
    struct store_entry *store;
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code != ERR_OK)
        return code;
    if (duration_ms > DURATION_MS_MAX)
        return error_set(err, ERR_INVALID, "a planned restart takes a day at most: drain the store");
    store->restart_until_wall_ms = duration_ms > 0 ? clock_wall_ms(sched->env->clock) + duration_ms : 0;
    store_prepare_stop(store, duration_ms > 0 ? pd_sched_now_ms(sched) + duration_ms : 0);
    return keep_wish(sched, store, ret_index, err);
}

enum err pd_sched_remove_tombstone(struct pd_sched *sched, store_id id, raft_index *ret_index, struct error *err)
{
    struct store_entry *store;
    struct wire_store wire = {.id = id};
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_REMOVE_STORE, .store = &wire};
    char name[64];
    enum err code = find_store(sched, id, &store, ret_index, err);
    if (code != ERR_OK)
        return code;
    if (store->wanted == STORE_LOST)
        return error_set(err, ERR_CONDITION_FAILED, "store %llu was lost: its id stays, to be refused if it comes back",
                         ULL(id));
    if (store->wanted != STORE_TOMBSTONE)
        return error_set(err, ERR_CONDITION_FAILED, "store %llu is not a tombstone: drain it first", ULL(id));
    snprintf(name, sizeof(name), "store/%llu", ULL(id));
    code = sched_propose(sched, &command, ret_index, err);
    raft_index wish_index;
    return code == ERR_OK ? sched_put_setting(sched, name, bytes_empty(), &wish_index, err) : code;
}

/* ---- the rest */

static enum err find_policy(const char *name, int *ret_policy, struct error *err)
{
    for (int i = 0; i < POLICY_COUNT; i++)
        if (strcmp(name, scheduler_policy_name((enum scheduler_policy)i)) == 0) {
            *ret_policy = i;
            return ERR_OK;
        }
    return error_set(err, ERR_NOT_FOUND, "there is no scheduler %s", name);
}

enum err pd_sched_switch(struct pd_sched *sched, const char *policy, bool on, raft_index *ret_index, struct error *err)
{
    int found = 0;
    char name[PD_SETTING_NAME_MAX];
    *ret_index = 0;
    enum err code = sched->leading ? find_policy(policy, &found, err) : not_leading(err);
    if (code != ERR_OK)
        return code;
    snprintf(name, sizeof(name), "scheduler/%s", policy);
    return sched_put_setting(sched, name, bytes_of_string(on ? "on" : "off"), ret_index, err);
}

enum err pd_sched_switch_store(struct pd_sched *sched, const char *policy, store_id store, bool on,
                               raft_index *ret_index, struct error *err)
{
    int found = 0;
    char name[PD_SETTING_NAME_MAX];
    *ret_index = 0;
    enum err code = sched->leading ? find_policy(policy, &found, err) : not_leading(err);
    if (code != ERR_OK)
        return code;
    snprintf(name, sizeof(name), "scheduler/%s", policy);
    bool off = bytes_equal(pd_settings_get(pd_fsm_settings(sched->fsm), bytes_of_string(name)), bytes_of_string("off"));
    if (found != POLICY_EVICT_LEADER && found != POLICY_GRANT_LEADER)
        return error_set(err, ERR_INVALID, "%s is for all stores, not for one", policy);
    if (on && off)
        return error_set(err, ERR_CONDITION_FAILED, "%s is off: pd-ctl scheduler add %s", policy, policy);
    return found == POLICY_EVICT_LEADER ? pd_sched_evict_leaders(sched, store, on, ret_index, err)
                                        : pd_sched_grant_leaders(sched, store, on, ret_index, err);
}

enum err pd_sched_pause(struct pd_sched *sched, const char *policy, uint64_t duration_ms, struct error *err)
{
    int found = 0;
    enum err code = sched->leading ? find_policy(policy, &found, err) : not_leading(err);
    if (code == ERR_OK)
        sched->paused_until_ms[found] = pd_sched_now_ms(sched) + duration_ms;
    return code;
}

uint64_t pd_sched_paused_ms(const struct pd_sched *sched, enum scheduler_policy policy)
{
    uint64_t now_ms = pd_sched_now_ms(sched), until_ms = sched->paused_until_ms[policy];
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

enum err pd_sched_set_config(struct pd_sched *sched, const char *key, const char *text, raft_index *ret_index,
                             struct error *err)
{
    char name[PD_SETTING_NAME_MAX];
    struct pd_config scratch = sched->effective;
    *ret_index = 0;
    enum err code = sched->leading ? ERR_OK : not_leading(err);
    if (code == ERR_OK && !pd_config_is_online(key))
        code = error_set(err, ERR_NOT_FOUND, "%s cannot be set while pd runs", key);
    if (code == ERR_OK && text)
        code = pd_config_set_online(&scratch, key, text, err);
    if (code != ERR_OK)
        return code;
    snprintf(name, sizeof(name), "config/%s", key);
    return sched_put_setting(sched, name, text ? bytes_of_string(text) : bytes_empty(), ret_index, err);
}

/* What could not be found to be right by itself is tried on a set of its own. */
static enum err try_rule(struct pd_sched *sched, const struct wire_placement_rule *wire, struct rule *ret_rule,
                         struct error *err)
{
    struct rules rules;
    rules_init(&rules);
    enum err code = sched_rule_from_wire(sched, wire, ret_rule, err);
    if (code == ERR_OK)
        code = rules_put(&rules, ret_rule, err);
    rules_fini(&rules);
    return code;
}

enum err pd_sched_put_rule(struct pd_sched *sched, const struct wire_placement_rule *wire, raft_index *ret_index,
                           struct error *err)
{
    struct rule rule;
    struct buf value;
    char name[PD_SETTING_NAME_MAX];
    *ret_index = 0;
    enum err code = sched->leading ? try_rule(sched, wire, &rule, err) : not_leading(err);
    if (code != ERR_OK)
        return code;
    if (sched->rules.count >= RULES_MAX)
        return error_set(err, ERR_BUSY, "there are %d rules already", RULES_MAX);
    buf_init(&value, PD_SETTING_VALUE_MAX);
    code = wire_encode_placement_rule(wire, &value);
    snprintf(name, sizeof(name), "rule/%s/%s", rule.group, rule.name);
    code = code == ERR_OK ? sched_put_setting(sched, name, buf_bytes(&value), ret_index, err)
                          : error_set(err, ERR_INVALID, "the rule is too large");
    buf_fini(&value);
    return code;
}

enum err pd_sched_remove_rule(struct pd_sched *sched, const char *group, const char *rule, raft_index *ret_index,
                              struct error *err)
{
    char name[PD_SETTING_NAME_MAX];
    *ret_index = 0;
    if (!sched->leading)
        return not_leading(err);
    int size = snprintf(name, sizeof(name), "rule/%s/%s", group, rule);
    if (size < 0 || (size_t)size >= sizeof(name) ||
        pd_settings_get(pd_fsm_settings(sched->fsm), bytes_of_string(name)).size == 0)
        return error_set(err, ERR_NOT_FOUND,
                         strcmp(group, "polder") == 0 && strcmp(rule, "default") == 0
                             ? "rule %s/%s is as it is from the beginning: put another one of that name"
                             : "there is no rule %s/%s",
                         group, rule);
    return sched_put_setting(sched, name, bytes_empty(), ret_index, err);
}
