#include "pd/pd_api.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "config/setting_value.h"

static const char *const state_names[] = {"unknown", "up", "disconnected", "down"};

static struct pd_api *api_of(const struct api_call *call)
{
    return call->context;
}

bool pd_api_leads(struct api_call *call)
{
    struct pd_api *api = api_of(call);
    api->wants_leader = api->failure == ERR_OK && !api->leading;
    if (api->failure != ERR_OK)
        api_error(call, ERR_CLOSED, "restart it, and look into its log", "this member of pd has stopped serving: %s",
                  err_name(api->failure));
    else if (!api->leading && api->leader_address)
        api_error(call, ERR_NOT_LEADER, api->leader_address, "this member of pd does not lead");
    else if (!api->leading)
        api_error(call, ERR_NOT_READY, "ask again a little later", "pd has no leader yet");
    return api->failure == ERR_OK && api->leading;
}

void pd_api_answer_change(struct api_call *call, raft_index index)
{
    struct pd_api *api = api_of(call);
    api->wait_index = index;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddBoolToObject(json, "changed", index != 0);
    api_put_u64(json, "revision", index ? index : pd_fsm_applied_index(api->fsm));
    api_json(call, json);
}

/* ---- this process */

static void livez(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    api_text(call, api->failure == ERR_OK ? 200 : 503, api->failure == ERR_OK ? "ok\n" : "stopped serving\n");
}

static void put_times(cJSON *json, const struct pd_api *api)
{
    api_put_u64(json, "uptime_ms", (api->now_us - api->started_us) / 1000);
}

struct state_count {
    uint32_t states[4], all;
    uint64_t first_not_up;
};

static void count_stores(const struct pd_api *api, struct state_count *count)
{
    *count = (struct state_count){0};
    for (uint32_t i = 0; i < pd_fsm_store_count(api->fsm); i++) {
        store_id id = pd_fsm_store_at(api->fsm, i)->id;
        if (pd_sched_store_is_lost(api->sched, id))
            continue; /* nobody waits for it */
        count->all++;
        uint8_t state = cluster_store_state(api->cluster, id, api->now_us);
        count->states[state < 4 ? state : 0]++;
        if (state != WIRE_STORE_STATE_UP && count->first_not_up == 0)
            count->first_not_up = id;
    }
}

/* Who was a leader before its store went is none: as `region check leaderless` has it. */
static uint64_t count_led(const struct pd_api *api)
{
    uint64_t led = 0;
    for (uint32_t i = 0; i < pd_fsm_store_count(api->fsm); i++) {
        store_id id = pd_fsm_store_at(api->fsm, i)->id;
        if (cluster_store_state(api->cluster, id, api->now_us) == WIRE_STORE_STATE_UP)
            led += region_tree_sums(pd_fsm_regions(api->fsm), id).leader_count;
    }
    return led;
}

const char *pd_api_health(const struct pd_api *api, char *reason, size_t size)
{
    struct state_count stores;
    struct bytes start, end;
    reason[0] = '\0';
    if (!api->leading) {
        snprintf(reason, size, "%s", api->leader_address ? "this member does not lead" : "pd has no leader");
        return "unknown";
    }
    count_stores(api, &stores);
    uint64_t regions = region_tree_count(pd_fsm_regions(api->fsm)), led = count_led(api);
    const char *health = "degraded";
    if (!pd_fsm_bootstrapped(api->fsm)) {
        snprintf(reason, size, "waiting for stores: %u of %u have registered", stores.all,
                 api->config->bootstrap_stores);
        health = "down";
    } else if (stores.states[WIRE_STORE_STATE_UP] == 0 || led == 0) {
        snprintf(reason, size, "%s",
                 stores.states[WIRE_STORE_STATE_UP] == 0 ? "no store is up" : "no region has a leader");
        health = "down";
    } else if (stores.states[WIRE_STORE_STATE_UP] < stores.all && led == regions) {
        snprintf(reason, size, "%u of %u stores are not up, first: %" PRIu64, stores.all - stores.states[1], stores.all,
                 stores.first_not_up);
    } else if (led < regions) {
        snprintf(reason, size, "%" PRIu64 " regions have no leader", regions - led);
    } else if (regions <= PD_API_WALK_MAX && region_tree_gap(pd_fsm_regions(api->fsm), bytes_empty(), &start, &end)) {
        snprintf(reason, size, "the regions do not cover the key space");
    } else {
        health = "healthy";
    }
    return health;
}

static void put_health(cJSON *json, const struct pd_api *api)
{
    char reason[160];
    cJSON_AddStringToObject(json, "health", pd_api_health(api, reason, sizeof reason));
    api_put_text(json, "reason", reason);
}

static void health(struct api_call *call)
{
    cJSON *json = cJSON_CreateObject();
    put_health(json, api_of(call));
    api_json(call, json);
}

static void put_store_counts(cJSON *json, const struct pd_api *api)
{
    struct state_count count;
    count_stores(api, &count);
    cJSON *stores = cJSON_AddObjectToObject(json, "stores");
    api_put_u64(stores, "count", count.all);
    for (int i = 0; i < 4; i++)
        api_put_u64(stores, state_names[i], count.states[i]);
}

/* What any member knows of itself. */
static void status(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "role", "pd");
    cJSON_AddStringToObject(json, "version", POLDER_VERSION);
    api_put_text(json, "name", api->config->name);
    api_put_u64(json, "cluster_id", pd_fsm_cluster_id(api->fsm));
    api_put_text(json, "address", api->config->advertise_address);
    cJSON_AddBoolToObject(json, "leading", api->leading);
    api_put_text(json, "leader_address", api->leader_address ? api->leader_address : "");
    api_put_u64(json, "term", api->term);
    api_put_u64(json, "committed_index", api->committed_index);
    api_put_u64(json, "applied_index", pd_fsm_applied_index(api->fsm));
    cJSON_AddStringToObject(json, "failure", api->failure == ERR_OK ? "" : err_name(api->failure));
    put_times(json, api);
    api_json(call, json);
}

/* The cluster at a glance. */
static void cluster_status(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    if (!pd_api_leads(call))
        return;
    cJSON *json = cJSON_CreateObject();
    put_health(json, api);
    api_put_u64(json, "cluster_id", pd_fsm_cluster_id(api->fsm));
    cJSON_AddStringToObject(json, "version", POLDER_VERSION);
    cJSON_AddBoolToObject(json, "bootstrapped", pd_fsm_bootstrapped(api->fsm));
    api_put_text(json, "leader_name", api->config->name);
    api_put_text(json, "leader_address", api->config->advertise_address);
    api_put_u64(json, "revision", pd_fsm_applied_index(api->fsm));
    api_put_u64(json, "region_count", region_tree_count(pd_fsm_regions(api->fsm)));
    api_put_u64(json, "region_led_count", count_led(api));
    put_store_counts(json, api);
    put_times(json, api);
    api_json(call, json);
}

static void put_config(struct api_call *call, const struct pd_config *config, bool online_only)
{
    size_t count;
    const struct setting *table = pd_config_table(&count);
    cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < count; i++) {
        if (table[i].flag_only || (online_only && !pd_config_is_online(table[i].key)))
            continue;
        struct buf text;
        buf_init(&text, 64 * 1024);
        setting_value_of(&table[i], config, &text);
        api_put_text(json, table[i].key, (const char *)text.data);
        buf_fini(&text);
    }
    api_json(call, json);
}

/* As in file, environment and flags. */
static void config(struct api_call *call)
{
    put_config(call, api_of(call)->config, false);
}

/* ---- the cluster */

/* With what was set online. */
static void cluster_config(struct api_call *call)
{
    uint64_t online = 0;
    if (pd_api_leads(call) && api_query_u64(call, "online", 0, 1, &online))
        put_config(call, pd_sched_config(api_of(call)->sched), online != 0);
}

static cJSON *store_json(const struct pd_api *api, const struct pd_store *store)
{
    struct wire_store heard = {.id = store->id};
    cluster_fill_store(api->cluster, &heard, api->now_us);
    struct region_sums sums = region_tree_sums(pd_fsm_regions(api->fsm), store->id);
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "id", store->id);
    api_put_text(json, "address", store->address);
    api_put_text(json, "status_address", store->status_address);
    api_put_text(json, "version", store->version);
    cJSON_AddStringToObject(json, "state", state_names[heard.state < 4 ? heard.state : 0]);
    api_put_u64(json, "heartbeat_age_ms", heard.heartbeat_age_ms);
    api_put_u64(json, "region_count", sums.count);
    api_put_u64(json, "leader_count", sums.leader_count);
    api_put_u64(json, "learner_count", sums.learner_count);
    api_put_u64(json, "region_size", sums.size);
    api_put_u64(json, "capacity_size", heard.capacity_size);
    api_put_u64(json, "available_size", heard.available_size);
    api_put_u64(json, "used_size", heard.used_size);
    api_put_u64(json, "started_at_ms", store->started_at_ms);
    api_put_u64(json, "keys_read", heard.keys_read);
    api_put_u64(json, "keys_written", heard.keys_written);
    pd_api_put_wishes(json, api, store->id);
    return json;
}

static void stores(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    if (!pd_api_leads(call))
        return;
    cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "stores");
    for (uint32_t i = 0; i < pd_fsm_store_count(api->fsm); i++)
        cJSON_AddItemToArray(list, store_json(api, pd_fsm_store_at(api->fsm, i)));
    api_json(call, json);
}

static void store(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    uint64_t id;
    if (!pd_api_leads(call) || !api_word_id(call, 0, "store", &id))
        return;
    const struct pd_store *found = pd_fsm_find_store(api->fsm, id);
    if (found)
        api_json(call, store_json(api, found));
    else
        api_error(call, ERR_STORE_NOT_MATCH, "pd-ctl store list names them", "there is no store %" PRIu64, id);
}

/* Nothing is taken: looking must not use timestamps up. */
static void tso(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    if (!pd_api_leads(call))
        return;
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "next", api->tso->physical_ms << TSO_COUNTER_BITS | (api->tso->counter & (TSO_COUNT_MAX - 1)));
    api_put_u64(json, "physical_ms", api->tso->physical_ms);
    api_put_u64(json, "counter", api->tso->counter);
    api_put_u64(json, "limit_ms", api->tso->limit_ms);
    api_put_u64(json, "window_ms", api->tso->window_ms);
    api_put_u64(json, "wall_ms", api->wall_ms);
    /* Nobody has asked for any yet: then there is none to be ahead. */
    bool used = api->tso->limit_ms > 0;
    api_put_i64(json, "ahead_ms", used ? (int64_t)(api->tso->physical_ms - api->wall_ms) : 0);
    api_json(call, json);
}

/* ---- routes */

static const struct api_route routes[] = {
    {"GET", "/livez", "", livez},
    {"GET", "/readyz", "", livez},
    {"GET", "/startupz", "", livez},
    {"GET", "/health", "", health},
    {"GET", "/status", "", status},
    {"GET", "/config", "", config},
    {"GET", "/metrics", "", pd_api_metrics},
    {"GET", "/pd/v1/status", "", cluster_status},
    {"GET", "/pd/v1/config", "online", cluster_config},
    {"GET", "/pd/v1/members", "", pd_api_members},
    {"POST", "/pd/v1/members", "", pd_api_member_add},
    {"DELETE", "/pd/v1/members/{id}", "", pd_api_member_remove},
    {"POST", "/pd/v1/members/{id}/transfer-leader", "", pd_api_member_lead},
    {"GET", "/pd/v1/stores", "", stores},
    {"GET", "/pd/v1/stores/{id}", "", store},
    {"GET", "/pd/v1/regions", "from limit store check top", pd_api_regions},
    {"GET", "/pd/v1/regions/{id}", "", pd_api_region},
    {"GET", "/pd/v1/region-of-key", "key", pd_api_region_of_key},
    {"GET", "/pd/v1/holes", "from limit", pd_api_holes},
    {"GET", "/pd/v1/tso", "", tso},
    {"GET", "/pd/v1/operators", "", pd_api_operators},
    {"GET", "/pd/v1/operators/{number}", "", pd_api_operator},
    {"GET", "/pd/v1/operator-history", "limit", pd_api_history},
    {"GET", "/pd/v1/schedulers", "", pd_api_schedulers},
    {"GET", "/pd/v1/rules", "", pd_api_rules},
    {"GET", "/pd/v1/hot", "", pd_api_hot},
    {"GET", "/pd/v1/balance", "", pd_api_balance},
    {"GET", "/pd/v1/why/regions/{id}", "", pd_api_why_region},
    {"GET", "/pd/v1/why/stores/{id}", "", pd_api_why_store},
    {"GET", "/pd/v1/why/operators/{number}", "", pd_api_operator},
    {"PATCH", "/pd/v1/config", "", pd_api_set_config},
    {"POST", "/pd/v1/stores/{id}/{verb}", "", pd_api_store_verb},
    {"DELETE", "/pd/v1/stores/{id}", "", pd_api_store_remove},
    {"POST", "/pd/v1/regions/{id}/{verb}", "", pd_api_region_verb},
    {"DELETE", "/pd/v1/regions/{id}/operator", "", pd_api_region_cancel},
    {"POST", "/pd/v1/scatter", "", pd_api_scatter},
    {"PUT", "/pd/v1/schedulers/{name}", "", pd_api_scheduler_switch},
    {"POST", "/pd/v1/schedulers/{name}/pause", "", pd_api_scheduler_pause},
    {"PUT", "/pd/v1/rules/{group}/{name}", "", pd_api_put_rule},
    {"DELETE", "/pd/v1/rules/{group}/{name}", "", pd_api_remove_rule},
    {"POST", "/pd/v1/balance", "", pd_api_balance_now},
    {"GET", "/pd/v1/recovery", "", pd_api_recovery_report},
    {"GET", "/pd/v1/recovery/plan", "stores plan", pd_api_recovery_plan},
    {"POST", "/pd/v1/recovery", "", pd_api_recovery_apply},
};

const struct api_route *pd_api_routes(size_t *ret_count)
{
    *ret_count = sizeof routes / sizeof routes[0];
    return routes;
}

void pd_api_handle(struct pd_api *api, const struct api_request *request, struct api_answer *answer)
{
    pd_sched_refresh(api->sched);
    api_run(routes, sizeof routes / sizeof routes[0], api, request, answer);
}
