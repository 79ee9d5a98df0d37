/* pd_api_recovery: unsafe recovery over HTTP: plan, dry run, apply, report. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pd/pd_api.h"
#include "pd/pd_recovery.h"

enum { ROWS_MAX = 1000, TEXT_SIZE_MAX = 4096 };

static struct pd_api *api_of(const struct api_call *call)
{
    return call->context;
}

static struct pd_recovery *recovery_of(const struct api_call *call)
{
    return pd_sched_recovery(api_of(call)->sched);
}

static void refuse(struct api_call *call, enum err code, const struct error *err)
{
    const char *hint = code == ERR_NOT_READY         ? "ask again"
                       : code == ERR_STORE_NOT_MATCH ? "pd-ctl store list names them"
                       : code == ERR_INVALID         ? "pd-ctl unsafe recover plan --stores 3,4"
                       : code == ERR_CONDITION_FAILED
                           ? "nothing was changed; pd-ctl unsafe recover plan shows what is so now"
                           : "nothing was changed";
    api_error(call, code, hint, "%s", err->text[0] ? err->text : err_name(code));
}

/* ---- a plan */

static cJSON *region_json(const struct recovery_region *region)
{
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "region", region->region);
    cJSON_AddStringToObject(json, "action", recovery_kind_name(region->kind));
    cJSON_AddBoolToObject(json, "forced", region->forced);
    api_put_u64(json, "store", region->store);
    api_put_u64(json, "peer", region->peer);
    api_put_u64(json, "voters", region->voters);
    api_put_u64(json, "lost", region->lost);
    api_put_u64(json, "left", region->left);
    api_put_u64(json, "damaged", region->damaged);
    api_put_u64(json, "last_term", region->last_term);
    api_put_u64(json, "last_index", region->last_index);
    api_put_u64(json, "applied_index", region->applied_index);
    api_put_u64(json, "committed_index", region->committed_index);
    uint64_t behind = region->committed_index < region->last_index ? region->last_index - region->committed_index : 0;
    api_put_u64(json, "uncertain_entries", behind);
    api_put_u64(json, "superseded_by", region->by);
    api_put_key(json, "start_key", region->start_key);
    api_put_key(json, "end_key", region->end_key);
    return json;
}

static void put_plan(cJSON *json, const struct recovery_plan *plan)
{
    api_put_u64(json, "healthy", plan->healthy_count);
    api_put_u64(json, "to_force", plan->force_count);
    api_put_u64(json, "without_majority", plan->region_count);
    api_put_u64(json, "hole_count", plan->hole_count);
    cJSON *regions = cJSON_AddArrayToObject(json, "regions"), *holes = cJSON_AddArrayToObject(json, "holes");
    for (uint32_t i = 0; i < plan->region_count && i < ROWS_MAX; i++)
        cJSON_AddItemToArray(regions, region_json(&plan->regions[i]));
    for (uint32_t i = 0; i < plan->hole_count && i < ROWS_MAX; i++) {
        cJSON *hole = cJSON_CreateObject();
        api_put_u64(hole, "region", plan->holes[i].region);
        api_put_key(hole, "start_key", plan->holes[i].start_key);
        api_put_key(hole, "end_key", plan->holes[i].end_key);
        cJSON_AddItemToArray(holes, hole);
    }
}

static void put_stores(cJSON *json, const store_id *stores, uint32_t count)
{
    cJSON *list = cJSON_AddArrayToObject(json, "stores");
    char text[24];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)stores[i]);
        cJSON_AddItemToArray(list, cJSON_CreateRaw(text));
    }
}

/* `id`: of a plan that was made before; NULL: none. */
static void answer_plan(struct api_call *call, store_id *stores, uint32_t count, const char *id)
{
    struct error err = {0};
    struct recovery_plan plan;
    char now[RECOVERY_PLAN_ID_SIZE];
    enum err code = pd_recovery_plan(recovery_of(call), stores, count, &plan, &err);
    if (code != ERR_OK) {
        refuse(call, code, &err);
        return;
    }
    pd_recovery_id(stores, count, plan.digest, now, sizeof now);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "plan", now);
    if (id)
        cJSON_AddBoolToObject(json, "fits", strcmp(id, now) == 0);
    put_stores(json, stores, count);
    put_plan(json, &plan);
    recovery_fini(&plan);
    api_json(call, json);
}

static int compare_ids(const void *a, const void *b)
{
    store_id x = *(const store_id *)a, y = *(const store_id *)b;
    return x < y ? -1 : x > y;
}

/* "3,4" */
static enum err read_stores(const char *text, store_id *stores, uint32_t *ret_count, struct error *err)
{
    *ret_count = 0;
    for (const char *at = text; *at;) {
        char *end;
        store_id id = *at >= '0' && *at <= '9' ? strtoull(at, &end, 10) : 0;
        if (id == 0 || (*end && *end != ',') || *ret_count == RECOVERY_STORES_MAX)
            return error_set(err, ERR_INVALID, "stores=%.60s: wants ids, separated by commas, %d at most", text,
                             RECOVERY_STORES_MAX);
        bool known = false;
        for (uint32_t i = 0; i < *ret_count; i++)
            known |= stores[i] == id;
        if (!known)
            stores[(*ret_count)++] = id;
        at = end + (*end == ',');
    }
    qsort(stores, *ret_count, sizeof *stores, compare_ids);
    return *ret_count > 0 ? ERR_OK : error_set(err, ERR_INVALID, "no lost store is named");
}

void pd_api_recovery_plan(struct api_call *call)
{
    struct error err = {0};
    struct buf text;
    store_id stores[RECOVERY_STORES_MAX];
    uint32_t count;
    uint64_t digest;
    if (!pd_api_leads(call))
        return;
    bool again = api_query_has(call, "plan");
    buf_init(&text, TEXT_SIZE_MAX);
    if (api_query_text(call, again ? "plan" : "stores", &text)) {
        const char *word = text.size > 0 ? (const char *)text.data : "";
        enum err code =
            again ? pd_recovery_parse(word, stores, &count, &digest, &err) : read_stores(word, stores, &count, &err);
        if (code == ERR_OK)
            answer_plan(call, stores, count, again ? word : NULL);
        else
            refuse(call, code, &err);
    }
    buf_fini(&text);
}

void pd_api_recovery_apply(struct api_call *call)
{
    struct error err = {0};
    raft_index index = 0;
    const char *id = "";
    bool create_empty = false;
    if (!pd_api_leads(call) || !api_body_only(call, "plan create_empty") || !api_body_text(call, "plan", true, &id) ||
        !api_body_bool(call, "create_empty", false, &create_empty))
        return;
    enum err code = pd_recovery_apply(recovery_of(call), id, create_empty, &index, &err);
    if (code == ERR_OK)
        pd_api_answer_change(call, index);
    else
        refuse(call, code, &err);
}

/* ---- report */

static void put_row(cJSON *rows, const struct pd_recovery_region *region, uint64_t now_ms, uint64_t counts[4])
{
    static const char *const names[] = {"planned", "forced", "leading", "replicated"};
    const uint64_t at_ms[] = {region->planned_ms, region->forced_ms, region->led_ms, region->whole_ms};
    static const char *const fields[] = {"planned_ms_ago", "forced_ms_ago", "leading_ms_ago", "replicated_ms_ago"};
    int state = region->whole_ms ? 3 : region->led_ms ? 2 : region->forced_ms ? 1 : 0;
    counts[state]++;
    if (cJSON_GetArraySize(rows) >= ROWS_MAX)
        return;
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "region", region->region);
    cJSON_AddStringToObject(json, "state", names[state]);
    api_put_u64(json, "store", region->store);
    api_put_u64(json, "peer", region->peer);
    if (region->refused[0] && state == 0)
        api_put_text(json, "refused", region->refused);
    for (int i = 0; i < 4; i++)
        if (at_ms[i] != 0)
            api_put_u64(json, fields[i], now_ms - at_ms[i]);
    cJSON_AddItemToArray(rows, json);
}

static void put_last(cJSON *json, const struct wire_recovery *last)
{
    char id[RECOVERY_PLAN_ID_SIZE];
    snprintf(id, sizeof id, "%.*s", (int)last->plan.size, (const char *)last->plan.data);
    api_put_text(json, "plan", id);
    put_stores(json, last->stores, last->stores_count);
    api_put_u64(json, "begun_ms", last->begun_ms);
    api_put_u64(json, "ended_ms", last->ended_ms);
    api_put_u64(json, "superseded", last->superseded);
    api_put_u64(json, "gone", last->gone);
    api_put_u64(json, "hole_count", last->holes);
    cJSON_AddBoolToObject(json, "create_empty", last->create_empty);
    api_put_u64(json, "created", last->created);
}

void pd_api_recovery_report(struct api_call *call)
{
    const struct pd_recovery *recovery = recovery_of(call);
    struct wire_recovery last;
    struct arena arena;
    uint64_t counts[4] = {0}, now_ms = pd_sched_now_ms(api_of(call)->sched);
    if (!pd_api_leads(call))
        return;
    arena_init(&arena);
    bool known = pd_recovery_last(recovery, &arena, &last);
    cJSON *json = cJSON_CreateObject(), *rows = cJSON_CreateArray();
    cJSON_AddStringToObject(json, "state", !known ? "none" : last.ended_ms ? "ended" : "running");
    if (known)
        put_last(json, &last);
    api_put_u64(json, "waits_for_store", known && !last.ended_ms ? pd_recovery_waits_for(recovery) : 0);
    for (uint32_t i = 0; i < pd_recovery_region_count(recovery); i++)
        put_row(rows, pd_recovery_region(recovery, i), now_ms, counts);
    api_put_u64(json, "planned", counts[0]);
    api_put_u64(json, "forced", counts[1]);
    api_put_u64(json, "leading", counts[2]);
    api_put_u64(json, "replicated", counts[3]);
    cJSON_AddItemToObject(json, "regions", rows);
    arena_fini(&arena);
    api_json(call, json);
}
