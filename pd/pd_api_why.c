/* pd_api_why: what pd has decided and why, over HTTP: operators, policies, rules, load, and "why". */
#include <inttypes.h>

#include "base/check.h"
#include "pd/pd_api.h"

enum { WHY_SIZE_MAX = 16 * 1024 * 1024, OPERATORS_MAX = 1000, HISTORY_DEFAULT = 100, HOT_MAX = 100 };

static struct pd_api *api_of(const struct api_call *call)
{
    return call->context;
}

/* ---- operators */

static void put_operator(const struct pd_api *api, cJSON *list, const struct operator* operator)
{
    struct buf text;
    buf_init(&text, WHY_SIZE_MAX);
    pd_sched_operator_json(api->sched, operator, & text);
    CHECK(buf_append_u8(&text, 0) == ERR_OK);
    cJSON_AddItemToArray(list, cJSON_CreateRaw((const char *)text.data));
    buf_fini(&text);
}

void pd_api_operators(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    if (!pd_api_leads(call))
        return;
    const struct operator_list *operators = pd_sched_view(api->sched)->operators;
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "count", operator_list_count(operators));
    cJSON *list = cJSON_AddArrayToObject(json, "operators");
    const struct operator* operator= operator_list_next(operators, NULL);
    for (uint32_t i = 0; operator&& i<OPERATORS_MAX; i++, operator= operator_list_next(operators, operator))
        put_operator(api, list, operator);
    api_json(call, json);
}

void pd_api_history(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    uint64_t limit;
    if (!pd_api_leads(call) || !api_query_u64(call, "limit", HISTORY_DEFAULT, OPERATOR_HISTORY_MAX, &limit))
        return;
    cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "operators");
    for (uint32_t back = 0; back < limit; back++) {
        const struct operator* operator= operator_list_history(pd_sched_view(api->sched)->operators, back);
        if (!operator)
            break;
        put_operator(api, list, operator);
    }
    api_json(call, json);
}

void pd_api_operator(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    uint64_t number;
    if (!pd_api_leads(call) || !api_word_id(call, 0, "operator", &number))
        return;
    const struct operator* operator= pd_sched_operator(api->sched, number);
    if (!operator) {
        api_error(call, ERR_NOT_FOUND, "pd-ctl operator list, operator history: a new leader of pd begins anew",
                  "operator %" PRIu64 " neither runs nor is remembered", number);
        return;
    }
    struct buf *out = &call->answer->body;
    pd_sched_operator_json(api->sched, operator, out);
    (void)buf_append_u8(out, '\n');
    call->answer->status = 200;
    call->answer->type = "application/json";
}

/* ---- why */

static void answer_text(struct api_call *call, enum err code, const char *hint, const struct error *err)
{
    if (code != ERR_OK) {
        api_error(call, code, hint, "%s", err->text);
        return;
    }
    call->answer->status = 200;
    call->answer->type = "application/json";
}

void pd_api_why_region(struct api_call *call)
{
    struct error err = {0};
    uint64_t id;
    if (pd_api_leads(call) && api_word_id(call, 0, "region", &id))
        answer_text(call, pd_sched_why_region(api_of(call)->sched, id, &call->answer->body, &err),
                    "pd-ctl region list names them", &err);
}

void pd_api_why_store(struct api_call *call)
{
    struct error err = {0};
    uint64_t id;
    if (pd_api_leads(call) && api_word_id(call, 0, "store", &id))
        answer_text(call, pd_sched_why_store(api_of(call)->sched, id, &call->answer->body, &err),
                    "pd-ctl store list names them", &err);
}

void pd_api_balance(struct api_call *call)
{
    struct error err = {0};
    if (pd_api_leads(call))
        answer_text(call, pd_sched_balance_json(api_of(call)->sched, &call->answer->body, &err),
                    "ask again a little later", &err);
}

/* ---- policies */

static void put_reason(cJSON *json, const struct reason *reason)
{
    struct buf text;
    buf_init(&text, WHY_SIZE_MAX);
    if (reason->policy && reason_json(reason, &text) == ERR_OK)
        api_put_raw(json, "quiet_because", buf_bytes(&text));
    else
        cJSON_AddNullToObject(json, "quiet_because");
    buf_fini(&text);
}

/* For which it was asked: the others are for all. */
static void put_stores(const struct pd_api *api, cJSON *json, enum scheduler_policy policy)
{
    const struct store_table *stores = pd_sched_view(api->sched)->stores;
    if (policy != POLICY_EVICT_LEADER && policy != POLICY_GRANT_LEADER)
        return;
    cJSON *list = cJSON_AddArrayToObject(json, "stores");
    for (uint32_t i = 0; i < store_table_count(stores); i++) {
        const struct store_entry *store = store_table_at(stores, i);
        if (policy == POLICY_EVICT_LEADER ? store->evict_leaders : store->grant_leaders)
            cJSON_AddItemToArray(list, cJSON_CreateNumber((double)store->id));
    }
}

void pd_api_schedulers(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    if (!pd_api_leads(call))
        return;
    const struct scheduler *scheduler = pd_sched_scheduler(api->sched);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddBoolToObject(json, "scheduling", pd_sched_config(api->sched)->scheduling);
    cJSON_AddBoolToObject(json, "ready", scheduler->ready);
    cJSON *list = cJSON_AddArrayToObject(json, "schedulers");
    for (int i = 0; i < POLICY_COUNT; i++) {
        const struct scheduler_state *state = &scheduler->states[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", scheduler_policy_name((enum scheduler_policy)i));
        cJSON_AddBoolToObject(item, "on", state->on);
        uint64_t paused_ms = pd_sched_paused_ms(api->sched, (enum scheduler_policy)i);
        if (paused_ms > 0)
            api_put_u64(item, "paused_ms", paused_ms);
        api_put_u64(item, "started_count", state->started_count);
        put_stores(api, item, (enum scheduler_policy)i);
        put_reason(item, &state->reason);
        cJSON_AddItemToArray(list, item);
    }
    api_json(call, json);
}

/* ---- rules */

static const char *text_of(const struct pd_api *api, uint16_t text)
{
    return store_table_text_of(pd_sched_view(api->sched)->stores, text);
}

static void put_constraints(const struct pd_api *api, cJSON *json, const struct rule *rule)
{
    static const char *const tests[] = {"in", "not_in", "exists", "not_exists"};
    cJSON *list = cJSON_AddArrayToObject(json, "constraints");
    for (uint32_t i = 0; i < rule->constraint_count; i++) {
        const struct rule_constraint *constraint = &rule->constraints[i];
        cJSON *item = cJSON_CreateObject();
        api_put_text(item, "label", text_of(api, constraint->name));
        cJSON_AddStringToObject(item, "test", tests[constraint->test]);
        cJSON *values = cJSON_AddArrayToObject(item, "values");
        for (uint32_t j = 0; j < constraint->value_count; j++)
            cJSON_AddItemToArray(values, cJSON_CreateString(text_of(api, constraint->values[j])));
        cJSON_AddItemToArray(list, item);
    }
}

static cJSON *rule_json(const struct pd_api *api, const struct rule *rule)
{
    cJSON *json = cJSON_CreateObject();
    api_put_text(json, "group", rule->group);
    api_put_text(json, "name", rule->name);
    cJSON_AddStringToObject(json, "role", rule_role_name(rule->role));
    api_put_u64(json, "count", rule->count);
    api_put_key(json, "start_key", rule->start_key);
    api_put_key(json, "end_key", rule->end_key);
    put_constraints(api, json, rule);
    cJSON *locations = cJSON_AddArrayToObject(json, "locations");
    for (uint32_t i = 0; i < rule->location_count; i++)
        cJSON_AddItemToArray(locations, cJSON_CreateString(text_of(api, rule->locations[i])));
    api_put_u64(json, "isolation_level", rule->isolation_level);
    api_put_i64(json, "group_index", rule->group_index);
    api_put_i64(json, "index", rule->index);
    cJSON_AddBoolToObject(json, "overrides", rule->overrides);
    cJSON_AddBoolToObject(json, "group_overrides", rule->group_overrides);
    return json;
}

void pd_api_rules(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    if (!pd_api_leads(call))
        return;
    const struct pd_view *view = pd_sched_view(api->sched);
    cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "rules");
    for (uint32_t i = 0; i < view->rules->count; i++)
        cJSON_AddItemToArray(list, rule_json(api, &view->rules->list[i]));
    api_put_u64(json, "unsatisfied_regions", view->unsatisfied);
    api_json(call, json);
}

/* ---- load */

static uint64_t load_of(const struct region_node *node)
{
    struct region_seen seen = region_node_seen(node);
    return (uint64_t)seen.read_load + seen.write_load;
}

/* The busiest of those that are noted as hot. */
static uint32_t find_hot(const struct pd_view *view, const struct region_node **found)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < PD_VIEW_HOT_MAX; i++) {
        const struct region_node *node = view->hot[i] ? region_tree_find_id(view->regions, view->hot[i]) : NULL;
        if (!node || !pd_view_is_hot(view, node))
            continue;
        uint32_t at = count < HOT_MAX ? count++ : count;
        for (; at > 0 && load_of(found[at - 1]) < load_of(node); at--)
            if (at < HOT_MAX)
                found[at] = found[at - 1];
        if (at < HOT_MAX)
            found[at] = node;
    }
    return count;
}

void pd_api_hot(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    if (!pd_api_leads(call))
        return;
    const struct pd_view *view = pd_sched_view(api->sched);
    const struct region_node *found[HOT_MAX];
    uint32_t count = find_hot(view, found);
    cJSON *json = cJSON_CreateObject();
    cJSON *stores = cJSON_AddArrayToObject(json, "stores");
    for (uint32_t i = 0; i < store_table_count(view->stores); i++) {
        store_id id = store_table_at(view->stores, i)->id;
        struct region_sums sums = region_tree_sums(view->regions, id);
        cJSON *item = cJSON_CreateObject();
        api_put_u64(item, "store", id);
        api_put_u64(item, "read_load", sums.read_load);
        api_put_u64(item, "write_load", sums.write_load);
        cJSON_AddItemToArray(stores, item);
    }
    cJSON *list = cJSON_AddArrayToObject(json, "regions");
    for (uint32_t i = 0; i < count; i++)
        cJSON_AddItemToArray(list, pd_api_region_json(api, found[i]));
    api_json(call, json);
}

/* ---- what people want of a store */

void pd_api_put_wishes(cJSON *json, const struct pd_api *api, store_id id)
{
    static const char *const lives[] = {"serving", "draining", "tombstone", "lost"};
    const struct pd_view *view = pd_sched_view(api->sched);
    const struct store_entry *store = view ? store_table_find(view->stores, id) : NULL;
    if (!store)
        return;
    cJSON_AddStringToObject(json, "life", lives[store->wanted]);
    api_put_u64(json, "drained_permille", store->wanted == STORE_SERVING ? 0 : pd_view_drain_permille(view, store));
    cJSON_AddBoolToObject(json, "cordoned", store->cordoned);
    cJSON_AddBoolToObject(json, "evict_leaders", store->evict_leaders);
    cJSON_AddBoolToObject(json, "grant_leaders", store->grant_leaders);
    cJSON_AddBoolToObject(json, "planned_restart", store_in_restart(store, pd_sched_now_ms(api->sched)));
    cJSON_AddNumberToObject(json, "leader_weight", store->leader_weight);
    cJSON_AddNumberToObject(json, "region_weight", store->region_weight);
    api_put_u64(json, "receive_limit", store->receive_limit);
    api_put_u64(json, "send_limit", store->send_limit);
    api_put_u64(json, "slow_score", store->slow_score);
    cJSON *labels = cJSON_AddObjectToObject(json, "labels");
    for (uint32_t i = 0; i < store->label_count; i++)
        api_put_text(labels, store_table_text_of(view->stores, store->labels[i].name),
                     store_table_text_of(view->stores, store->labels[i].value));
}
