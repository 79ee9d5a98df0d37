/* pd_api_people: what people ask pd to do, over HTTP.
 *
 * What becomes an operator is answered with its number. What must outlast this leader is a setting in pd's log: the answer
 * leaves when it is applied. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "pd/pd_api.h"

static struct pd_api *api_of(const struct api_call *call)
{
    return call->context;
}

static const char *hint_of(enum err code)
{
    switch (code) {
    case ERR_BUSY:
        return "it has an operator already, or too many run: pd-ctl operator list";
    case ERR_STORE_NOT_MATCH:
        return "pd-ctl store list names them";
    case ERR_REGION_NOT_FOUND:
        return "pd-ctl region list names them";
    default:
        return "nothing was changed";
    }
}

static void refuse(struct api_call *call, enum err code, const struct error *err)
{
    api_error(call, code, hint_of(code), "%s", err->text[0] ? err->text : err_name(code));
}

static void answer_setting(struct api_call *call, enum err code, raft_index index, const struct error *err)
{
    if (code == ERR_OK)
        pd_api_answer_change(call, index);
    else
        refuse(call, code, err);
}

static void answer_operator(struct api_call *call, enum err code, uint64_t number, const struct error *err)
{
    if (code != ERR_OK) {
        refuse(call, code, err);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "operator", number);
    api_json(call, json);
}

/* Something that happened at once. */
static void answer_done(struct api_call *call, enum err code, const struct error *err)
{
    if (code != ERR_OK) {
        refuse(call, code, err);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddBoolToObject(json, "changed", true);
    api_json(call, json);
}

/* ---- stores */

static void ask_drain(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    if (api_body_only(call, "")) {
        enum err code = pd_sched_drain(api_of(call)->sched, id, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

static void ask_cancel_drain(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    if (api_body_only(call, "")) {
        enum err code = pd_sched_cancel_drain(api_of(call)->sched, id, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

static void ask_cordon(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    bool on = true;
    if (api_body_only(call, "on") && api_body_bool(call, "on", false, &on)) {
        enum err code = pd_sched_cordon(api_of(call)->sched, id, on, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

static void ask_evict_leaders(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    bool on = true;
    if (api_body_only(call, "on") && api_body_bool(call, "on", false, &on)) {
        enum err code = pd_sched_evict_leaders(api_of(call)->sched, id, on, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

static void ask_label(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    const char *name = "", *value = "";
    if (api_body_only(call, "name value") && api_body_text(call, "name", true, &name) &&
        api_body_text(call, "value", true, &value)) {
        enum err code = pd_sched_label(api_of(call)->sched, id, name, value, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

static void ask_weight(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    uint64_t leader = 0, region = 0;
    if (!api_body_only(call, "leader_permille region_permille") ||
        !api_body_u64(call, "leader_permille", false, &leader) ||
        !api_body_u64(call, "region_permille", false, &region))
        return;
    if (leader > UINT32_MAX || region > UINT32_MAX)
        api_error(call, ERR_INVALID, "1000 is the weight of all others", "a weight is too large");
    else {
        enum err code = pd_sched_weight(api_of(call)->sched, id, (uint32_t)leader, (uint32_t)region, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

static void ask_limit(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    uint64_t receive = 0, send = 0;
    if (api_body_only(call, "receive_size send_size") && api_body_u64(call, "receive_size", true, &receive) &&
        api_body_u64(call, "send_size", true, &send)) {
        enum err code = pd_sched_limit(api_of(call)->sched, id, receive, send, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

static void ask_prepare_stop(struct api_call *call, store_id id)
{
    struct error err = {0};
    raft_index index = 0;
    uint64_t duration_ms = 0;
    if (api_body_only(call, "duration_ms") && api_body_u64(call, "duration_ms", true, &duration_ms)) {
        enum err code = pd_sched_prepare_stop(api_of(call)->sched, id, duration_ms, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

struct verb {
    const char *name;
    void (*run)(struct api_call *call, uint64_t id);
};

static void run_verb(struct api_call *call, const struct verb *verbs, size_t count, uint64_t id, const char *hint)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(verbs[i].name, api_word(call, 1)) == 0) {
            verbs[i].run(call, id);
            return;
        }
    api_error(call, ERR_NOT_FOUND, hint, "there is no \"%.40s\" here", api_word(call, 1));
}

void pd_api_store_verb(struct api_call *call)
{
    static const struct verb verbs[] = {{"drain", ask_drain},   {"cancel-drain", ask_cancel_drain},
                                        {"cordon", ask_cordon}, {"evict-leaders", ask_evict_leaders},
                                        {"label", ask_label},   {"weight", ask_weight},
                                        {"limit", ask_limit},   {"prepare-stop", ask_prepare_stop}};
    uint64_t id;
    if (pd_api_leads(call) && api_word_id(call, 0, "store", &id))
        run_verb(call, verbs, sizeof verbs / sizeof verbs[0], id,
                 "drain, cancel-drain, cordon, evict-leaders, label, weight, limit or prepare-stop");
}

void pd_api_store_remove(struct api_call *call)
{
    struct error err = {0};
    raft_index index = 0;
    uint64_t id;
    if (pd_api_leads(call) && api_word_id(call, 0, "store", &id)) {
        enum err code = pd_sched_remove_tombstone(api_of(call)->sched, id, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

/* ---- regions */

static void region_transfer_leader(struct api_call *call, region_id id)
{
    struct error err = {0};
    uint64_t store = 0, number = 0;
    if (api_body_only(call, "store") && api_body_u64(call, "store", true, &store)) {
        enum err code = pd_sched_transfer_leader(api_of(call)->sched, id, store, &number, &err);
        answer_operator(call, code, number, &err);
    }
}

static void region_add_peer(struct api_call *call, region_id id)
{
    struct error err = {0};
    uint64_t store = 0, number = 0;
    bool learner = false;
    if (api_body_only(call, "store learner") && api_body_u64(call, "store", true, &store) &&
        api_body_bool(call, "learner", false, &learner)) {
        enum err code = pd_sched_add_peer(api_of(call)->sched, id, store, learner, &number, &err);
        answer_operator(call, code, number, &err);
    }
}

static void region_remove_peer(struct api_call *call, region_id id)
{
    struct error err = {0};
    uint64_t store = 0, number = 0;
    if (api_body_only(call, "store") && api_body_u64(call, "store", true, &store)) {
        enum err code = pd_sched_remove_peer(api_of(call)->sched, id, store, &number, &err);
        answer_operator(call, code, number, &err);
    }
}

static void region_move_peer(struct api_call *call, region_id id)
{
    struct error err = {0};
    uint64_t from = 0, to = 0, number = 0;
    if (api_body_only(call, "from to") && api_body_u64(call, "from", true, &from) &&
        api_body_u64(call, "to", true, &to)) {
        enum err code = pd_sched_move_peer(api_of(call)->sched, id, from, to, &number, &err);
        answer_operator(call, code, number, &err);
    }
}

static void region_split(struct api_call *call, region_id id)
{
    struct error err = {0};
    uint64_t number = 0;
    if (api_body_only(call, "")) {
        enum err code = pd_sched_split(api_of(call)->sched, id, &number, &err);
        answer_operator(call, code, number, &err);
    }
}

static void region_merge(struct api_call *call, region_id id)
{
    struct error err = {0};
    uint64_t target = 0, number = 0;
    if (api_body_only(call, "target") && api_body_u64(call, "target", true, &target)) {
        enum err code = pd_sched_merge(api_of(call)->sched, id, target, &number, &err);
        answer_operator(call, code, number, &err);
    }
}

static void region_scatter(struct api_call *call, region_id id)
{
    struct error err = {0};
    const struct region_node *node = region_tree_find_id(pd_fsm_regions(api_of(call)->fsm), id);
    if (!api_body_only(call, ""))
        return;
    if (!node)
        api_error(call, ERR_REGION_NOT_FOUND, hint_of(ERR_REGION_NOT_FOUND), "there is no region %" PRIu64, id);
    else
        answer_done(call, pd_sched_scatter(api_of(call)->sched, region_node_start(node), region_node_end(node), &err),
                    &err);
}

void pd_api_region_verb(struct api_call *call)
{
    static const struct verb verbs[] = {{"transfer-leader", region_transfer_leader},
                                        {"add-peer", region_add_peer},
                                        {"remove-peer", region_remove_peer},
                                        {"move-peer", region_move_peer},
                                        {"split", region_split},
                                        {"merge", region_merge},
                                        {"scatter", region_scatter}};
    uint64_t id;
    if (pd_api_leads(call) && api_word_id(call, 0, "region", &id))
        run_verb(call, verbs, sizeof verbs / sizeof verbs[0], id,
                 "transfer-leader, add-peer, remove-peer, move-peer, split, merge or scatter");
}

void pd_api_region_cancel(struct api_call *call)
{
    struct error err = {0};
    uint64_t id;
    if (pd_api_leads(call) && api_word_id(call, 0, "region", &id))
        answer_done(call, pd_sched_cancel(api_of(call)->sched, id, &err), &err);
}

void pd_api_scatter(struct api_call *call)
{
    struct error err = {0};
    struct buf start, end;
    buf_init(&start, REGION_KEY_SIZE_MAX);
    buf_init(&end, REGION_KEY_SIZE_MAX);
    if (pd_api_leads(call) && api_body_only(call, "start_key end_key") && api_body_key(call, "start_key", &start) &&
        api_body_key(call, "end_key", &end))
        answer_done(call, pd_sched_scatter(api_of(call)->sched, buf_bytes(&start), buf_bytes(&end), &err), &err);
    buf_fini(&start);
    buf_fini(&end);
}

/* ---- policies and configuration */

static enum err set_one(struct api_call *call, const cJSON *item, raft_index *ret_index, struct error *err)
{
    if (!cJSON_IsString(item) && !cJSON_IsNull(item))
        return error_set(err, ERR_INVALID, "%.40s: wants a text as in the file (\"64MiB\"), or null: as in the file",
                         item->string);
    return pd_sched_set_config(api_of(call)->sched, item->string, cJSON_IsNull(item) ? NULL : item->valuestring,
                               ret_index, err);
}

/* One key at a time: of several, some might be refused. */
void pd_api_set_config(struct api_call *call)
{
    struct error err = {0};
    raft_index index = 0;
    if (!pd_api_leads(call))
        return;
    if (cJSON_GetArraySize(call->body) != 1) {
        api_error(call, ERR_INVALID, "{\"store-limit\": \"64MiB\"}", "the body names %d keys, not one",
                  cJSON_GetArraySize(call->body));
        return;
    }
    enum err code = set_one(call, call->body->child, &index, &err);
    answer_setting(call, code, index, &err);
}

void pd_api_scheduler_switch(struct api_call *call)
{
    struct error err = {0};
    raft_index index = 0;
    const char *name = api_word(call, 0);
    bool on = false, is_for_one = cJSON_HasObjectItem(call->body, "store");
    uint64_t store = 0;
    if (pd_api_leads(call) && api_body_only(call, "on store") && api_body_bool(call, "on", true, &on) &&
        api_body_u64(call, "store", false, &store)) {
        enum err code = is_for_one ? pd_sched_switch_store(api_of(call)->sched, name, store, on, &index, &err)
                                   : pd_sched_switch(api_of(call)->sched, name, on, &index, &err);
        answer_setting(call, code, index, &err);
    }
}

void pd_api_scheduler_pause(struct api_call *call)
{
    struct error err = {0};
    uint64_t duration_ms = 0;
    if (pd_api_leads(call) && api_body_only(call, "duration_ms") &&
        api_body_u64(call, "duration_ms", true, &duration_ms))
        answer_done(call, pd_sched_pause(api_of(call)->sched, api_word(call, 0), duration_ms, &err), &err);
}

/* The balancing policies go on at once, whatever they were paused for. */
void pd_api_balance_now(struct api_call *call)
{
    struct error err = {0};
    struct pd_api *api = api_of(call);
    if (!pd_api_leads(call) || !api_body_only(call, ""))
        return;
    if (!pd_sched_config(api->sched)->scheduling) {
        api_error(call, ERR_CONDITION_FAILED, "pd-ctl config set scheduling true", "scheduling is off");
        return;
    }
    enum err code = pd_sched_pause(api->sched, scheduler_policy_name(POLICY_BALANCE_REGION), 0, &err);
    if (code == ERR_OK)
        code = pd_sched_pause(api->sched, scheduler_policy_name(POLICY_BALANCE_LEADER), 0, &err);
    answer_done(call, code, &err);
}

/* ---- rules */

/* Room for what a rule of JSON points to. */
struct rule_draft {
    struct wire_placement_rule rule;
    struct wire_rule_constraint constraints[RULE_CONSTRAINTS_MAX];
    struct wire_store_label values[RULE_CONSTRAINTS_MAX][RULE_VALUES_MAX];
    struct wire_store_label locations[RULE_LOCATIONS_MAX];
    struct buf start, end;
};

static bool refuse_rule(struct api_call *call, const char *text)
{
    api_error(call, ERR_INVALID, "see docs/openapi.yaml", "%s", text);
    return false;
}

static bool index_of(const char *const *names, size_t count, const char *name, uint8_t *ret_index)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) {
            *ret_index = (uint8_t)i;
            return true;
        }
    return false;
}

static bool read_texts(const cJSON *list, struct wire_store_label *texts, uint32_t max, bool as_names,
                       uint32_t *ret_count)
{
    const cJSON *item;
    *ret_count = 0;
    if (list && !cJSON_IsArray(list))
        return false;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item) || *ret_count == max)
            return false;
        struct bytes text = bytes_of_string(item->valuestring);
        texts[(*ret_count)++] =
            as_names ? (struct wire_store_label){.name = text} : (struct wire_store_label){.value = text};
    }
    return true;
}

static bool read_constraints(struct api_call *call, struct rule_draft *draft)
{
    static const char *const tests[] = {"in", "not_in", "exists", "not_exists"};
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(call->body, "constraints"), *item;
    if (list && (!cJSON_IsArray(list) || cJSON_GetArraySize(list) > RULE_CONSTRAINTS_MAX))
        return refuse_rule(call, "constraints: wants at most 4 of {\"label\", \"test\", \"values\"}");
    uint32_t count = 0;
    cJSON_ArrayForEach(item, list)
    {
        struct wire_rule_constraint *constraint = &draft->constraints[count];
        const char *label = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "label"));
        const char *test = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "test"));
        uint32_t value_count = 0;
        if (!label || !test || !index_of(tests, 4, test, &constraint->test) ||
            !read_texts(cJSON_GetObjectItemCaseSensitive(item, "values"), draft->values[count], RULE_VALUES_MAX, false,
                        &value_count))
            return refuse_rule(call,
                               "constraints: wants label, test (in, not_in, exists, not_exists), at most 4 values");
        constraint->name = bytes_of_string(label);
        constraint->values = draft->values[count];
        constraint->values_count = value_count;
        count++;
    }
    draft->rule.constraints = draft->constraints;
    draft->rule.constraints_count = count;
    return true;
}

static bool read_role(struct api_call *call, struct rule_draft *draft)
{
    static const char *const roles[] = {"voter", "leader", "follower", "learner"};
    const char *role = "voter";
    if (!api_body_text(call, "role", false, &role))
        return false;
    return index_of(roles, 4, role, &draft->rule.role) ||
           refuse_rule(call, "role: wants voter, leader, follower or learner");
}

static bool read_rule(struct api_call *call, struct rule_draft *draft)
{
    struct wire_placement_rule *rule = &draft->rule;
    uint64_t count = 0, isolation = 0, group_index = 0, index = 0;
    uint32_t locations = 0;
    if (!api_body_only(call, "role count start_key end_key constraints locations isolation_level group_index index "
                             "overrides group_overrides") ||
        !api_body_u64(call, "count", true, &count) || !api_body_u64(call, "isolation_level", false, &isolation) ||
        !api_body_u64(call, "group_index", false, &group_index) || !api_body_u64(call, "index", false, &index) ||
        !api_body_bool(call, "overrides", false, &rule->overrides) ||
        !api_body_bool(call, "group_overrides", false, &rule->group_overrides) ||
        !api_body_key(call, "start_key", &draft->start) || !api_body_key(call, "end_key", &draft->end) ||
        !read_role(call, draft) || !read_constraints(call, draft))
        return false;
    if (!read_texts(cJSON_GetObjectItemCaseSensitive(call->body, "locations"), draft->locations, RULE_LOCATIONS_MAX,
                    true, &locations))
        return refuse_rule(call, "locations: wants at most 4 names of labels, outermost first");
    if (count > UINT32_MAX || isolation > UINT32_MAX || group_index > INT32_MAX || index > INT32_MAX)
        return refuse_rule(call, "a number is too large");
    rule->group = bytes_of_string(api_word(call, 0));
    rule->name = bytes_of_string(api_word(call, 1));
    rule->count = (uint32_t)count;
    rule->isolation_level = (uint32_t)isolation;
    rule->group_index = (uint32_t)group_index;
    rule->index = (uint32_t)index;
    rule->locations = draft->locations;
    rule->locations_count = locations;
    rule->start_key = buf_bytes(&draft->start);
    rule->end_key = buf_bytes(&draft->end);
    return true;
}

void pd_api_put_rule(struct api_call *call)
{
    struct error err = {0};
    raft_index index = 0;
    struct rule_draft draft = {0};
    buf_init(&draft.start, REGION_KEY_SIZE_MAX);
    buf_init(&draft.end, REGION_KEY_SIZE_MAX);
    if (pd_api_leads(call) && read_rule(call, &draft)) {
        enum err code = pd_sched_put_rule(api_of(call)->sched, &draft.rule, &index, &err);
        answer_setting(call, code, index, &err);
    }
    buf_fini(&draft.start);
    buf_fini(&draft.end);
}

void pd_api_remove_rule(struct api_call *call)
{
    struct error err = {0};
    raft_index index = 0;
    if (pd_api_leads(call)) {
        enum err code = pd_sched_remove_rule(api_of(call)->sched, api_word(call, 0), api_word(call, 1), &index, &err);
        answer_setting(call, code, index, &err);
    }
}
