#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "pd/pd_sched_parts.h"

#define ULL(value) ((unsigned long long)(value))

enum { WHY_HISTORY_MAX = 16 };

static void print(struct buf *json, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(struct buf *json, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size > 0 && (size_t)size < sizeof(text))
        (void)buf_append(json, text, (size_t)size); /* a full buffer ends what is said */
}

void pd_sched_operator_json(const struct pd_sched *sched, const struct operator* operator, struct buf * json)
{
    uint64_t now_ms = pd_sched_now_ms(sched);
    print(json, "{\"operator\": %llu, \"region\": %llu, \"state\": \"%s\", \"by_people\": %s, \"age_ms\": %llu, ",
          ULL(operator->number), ULL(operator->region),
          operator_state_name(operator->state), operator->by_people ? "true" : "false",
          ULL(now_ms - operator->created_ms));
    if (operator->other_region)
        print(json, "\"other_region\": %llu, ", ULL(operator->other_region));
    if (operator->ended_ms)
        print(json, "\"took_ms\": %llu, ", ULL(operator->ended_ms - operator->created_ms));
    print(json, "\"steps\": [");
    for (uint32_t i = 0; i < operator->step_count; i++) {
        const struct operator_step *step = &operator->steps[i];
        print(json, "%s{\"step\": \"%s\", \"done\": %s", i ? ", " : "", operator_step_name(step->kind),
              i < operator->step ? "true" : "false");
        if (step->store)
            print(json, ", \"store\": %llu", ULL(step->store));
        if (step->other)
            print(json, ", \"other_store\": %llu", ULL(step->other));
        print(json, "}");
    }
    print(json, "], \"reason\": ");
    (void)reason_json(&operator->reason, json);
    print(json, "}");
}

/* What was decided about it, the newest first. */
static void print_operators(struct pd_sched *sched, region_id region, struct buf *json)
{
    const struct operator* operator= NULL;
    uint32_t count = 0;
    print(json, "\"running\": [");
    while ((operator= operator_list_next(sched->operators, operator)) != NULL)
        if (operator->region == region || operator->other_region == region) {
            print(json, "%s", count++ ? ", " : "");
            pd_sched_operator_json(sched, operator, json);
        }
    print(json, "], \"history\": [");
    count = 0;
    for (uint32_t back = 0; count < WHY_HISTORY_MAX && (operator= operator_list_history(sched->operators, back));
         back++)
        if (operator->region == region || operator->other_region == region) {
            print(json, "%s", count++ ? ", " : "");
            pd_sched_operator_json(sched, operator, json);
        }
    print(json, "]");
}

static void print_peers(struct pd_sched *sched, const struct region_node *node, struct buf *json)
{
    static const char *const roles[] = {"voter", "learner", "incoming_voter", "demoting_voter"};
    struct fit fit;
    fit_region(sched->stores, &sched->rules, node, &fit);
    print(json, "\"peers\": [");
    for (uint32_t i = 0; i < fit.peer_count; i++) {
        const struct fit_peer *peer = &fit.peers[i];
        print(json, "%s{\"peer\": %llu, \"store\": %llu, \"role\": \"%s\", \"leader\": %s, \"rule\": ", i ? ", " : "",
              ULL(peer->peer.id), ULL(peer->peer.store_id), peer->peer.role < 4 ? roles[peer->peer.role] : "?",
              peer->leader ? "true" : "false");
        if (peer->rule == FIT_ORPHAN)
            print(json, "null}");
        else
            print(json, "\"%s/%s\"}", fit.rules[peer->rule]->group, fit.rules[peer->rule]->name);
    }
    print(json, "], \"problems\": [");
    static const struct {
        enum fit_problem problem;
        const char *name;
    } names[] = {{FIT_MISSES, "misses_peer"},     {FIT_EXTRA, "extra_peer"},      {FIT_DOWN, "peer_down"},
                 {FIT_LEAVING, "store_drains"},   {FIT_NEAR, "not_isolated"},     {FIT_ROLE, "wrong_role"},
                 {FIT_LEADER, "leader_unwanted"}, {FIT_CUT, "rule_begins_inside"}};
    uint32_t problems = fit_problems(&fit), count = 0;
    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (problems & names[i].problem)
            print(json, "%s\"%s\"", count++ ? ", " : "", names[i].name);
    print(json, "], ");
}

/* What a policy would say of a region now, with nothing done: each notes only why it does nothing. */
static void print_now(struct pd_sched *sched, struct region_node *node, struct buf *json)
{
    struct reason reason;
    replica_judge(&sched->scheduler.view, node, &reason);
    print(json, "\"replicas\": ");
    (void)reason_json(&reason, json);
    print(json, ", ");
    merge_judge(&sched->scheduler.view, node, &reason);
    print(json, "\"merge\": ");
    (void)reason_json(&reason, json);
    print(json, ", ");
}

enum err pd_sched_why_region(struct pd_sched *sched, region_id region, struct buf *json, struct error *err)
{
    if (!sched->leading)
        return error_set(err, ERR_NOT_LEADER, "this member of pd does not lead");
    struct region_node *node = region_tree_find_id(pd_fsm_regions(sched->fsm), region);
    if (!node)
        return error_set(err, ERR_REGION_NOT_FOUND, "there is no region %llu", ULL(region));
    struct region_seen seen = region_node_seen(node);
    sched->scheduler.view.now_ms = pd_sched_now_ms(sched);
    print(json, "{\"region\": %llu, \"epoch_conf\": %llu, \"epoch_version\": %llu, \"leader_store\": %llu, ",
          ULL(region), ULL(region_node_conf(node)), ULL(region_node_version(node)),
          ULL(region_node_leader_store(node)));
    print(json, "\"size\": %llu, \"keys\": %llu, \"read_load\": %u, \"write_load\": %u, ", ULL(seen.approximate_size),
          ULL(seen.approximate_keys), seen.read_load, seen.write_load);
    print_peers(sched, node, json);
    print_now(sched, node, json);
    print_operators(sched, region, json);
    print(json, "}\n");
    return ERR_OK;
}

/* ---- stores */

static void print_store(struct pd_sched *sched, const struct store_entry *store, struct buf *json)
{
    static const char *const heard[] = {"unknown", "up", "disconnected", "down"};
    static const char *const wanted[] = {"serving", "draining", "tombstone"};
    const struct pd_view *view = &sched->scheduler.view;
    const char *why = NULL;
    bool takes = pd_view_takes_peer(view, store, 0, &why);
    print(json, "{\"store\": %llu, \"heard\": \"%s\", \"life\": \"%s\", \"cordoned\": %s, \"evict_leaders\": %s, "
          "\"grant_leaders\": %s, ",
          ULL(store->id), heard[store->heard], wanted[store->wanted], store->cordoned ? "true" : "false",
          store->evict_leaders ? "true" : "false", store->grant_leaders ? "true" : "false");
    print(json, "\"takes_peers\": %s, \"takes_no_peers_because\": ", takes ? "true" : "false");
    print(json, why ? "\"%s\", " : "null%s, ", why ? why : "");
    print(json, "\"takes_leaders\": %s, \"slow_score\": %u, \"peers\": %u, \"leaders\": %u, \"size\": %llu, ",
          pd_view_takes_leader(view, store) ? "true" : "false", store->slow_score, store->count, store->leader_count,
          ULL(store->size));
    print(json, "\"coming_peers\": %lld, \"coming_leaders\": %lld, \"coming_size\": %lld, ",
          (long long)store->coming_count, (long long)store->coming_leaders, (long long)store->coming_size);
    print(json,
          "\"above_mean_size\": %.0f, \"above_mean_leaders\": %.2f, \"out_of_balance\": %s, \"drained_permille\": %u, ",
          store->region_share > 0 ? pd_view_region_excess(view, store) : 0,
          store->leader_share > 0 ? pd_view_leader_excess(view, store) : 0,
          store->region_out || store->leader_out ? "true" : "false",
          store->wanted == STORE_SERVING ? 0 : pd_view_drain_permille(view, store));
    print(json, "\"receive_tokens\": %lld, \"send_tokens\": %lld}", (long long)store->receive.tokens,
          (long long)store->send.tokens);
}

enum err pd_sched_why_store(struct pd_sched *sched, store_id id, struct buf *json, struct error *err)
{
    if (!sched->leading)
        return error_set(err, ERR_NOT_LEADER, "this member of pd does not lead");
    const struct store_entry *store = sched_store(sched, id);
    if (!store)
        return error_set(err, ERR_STORE_NOT_MATCH, "there is no store %llu", ULL(id));
    const struct operator* operator= NULL;
    uint32_t count = 0;
    print(json, "{\"now\": ");
    print_store(sched, store, json);
    print(json, ", \"running\": [");
    while (count < WHY_HISTORY_MAX && (operator= operator_list_next(sched->operators, operator)) != NULL)
        for (uint32_t i = 0; i < operator->delta_count; i++)
            if (operator->deltas[i].store == id) {
                print(json, "%s", count++ ? ", " : "");
                pd_sched_operator_json(sched, operator, json);
                break;
            }
    print(json, "]}\n");
    return ERR_OK;
}

enum err pd_sched_balance_json(struct pd_sched *sched, struct buf *json, struct error *err)
{
    if (!sched->leading)
        return error_set(err, ERR_NOT_LEADER, "this member of pd does not lead");
    const struct pd_view *view = &sched->scheduler.view;
    double above = 0;
    print(json, "{\"stores\": [");
    for (uint32_t i = 0; i < store_table_count(sched->stores); i++) {
        const struct store_entry *store = store_table_at(sched->stores, i);
        double excess = view->domain_count > 0 ? pd_view_region_excess(view, store) : 0;
        above += excess > 0 ? excess : 0;
        print(json, "%s", i ? ", " : "");
        print_store(sched, store, json);
    }
    print(json, "], \"above_mean_size\": %.0f, \"leader_mean\": %.2f, \"operators\": %u, \"ready\": %s}\n", above,
          view->leader_mean, operator_list_count(sched->operators), sched->scheduler.ready ? "true" : "false");
    return ERR_OK;
}
