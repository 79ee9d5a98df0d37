/* pd_api: what pd answers over HTTP, to people and to those who mean no good. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "api_world.h"

static struct api_world world;

static int setup(void **state)
{
    (void)state;
    api_world_init(&world);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    api_world_fini(&world);
    return 0;
}

static cJSON *ask_for(const char *method, const char *path, const char *query, const char *body, unsigned status)
{
    unsigned found = api_world_ask(&world, method, path, query, bytes_of_string(body));
    if (found != status)
        fail_msg("%s %s?%s: %u, not %u: %.*s", method, path, query, found, status, (int)world.answer.body.size,
                 (const char *)world.answer.body.data);
    cJSON *json = cJSON_ParseWithLength((const char *)world.answer.body.data, world.answer.body.size);
    assert_non_null(json);
    if (status != 200) { /* an error has always the same three fields */
        assert_true(cJSON_IsString(cJSON_GetObjectItem(json, "code")));
        assert_true(cJSON_IsString(cJSON_GetObjectItem(json, "message")));
        assert_true(cJSON_IsString(cJSON_GetObjectItem(json, "hint")));
        assert_int_equal(cJSON_GetArraySize(json), 3);
    }
    return json;
}

static void expect(const char *method, const char *path, const char *query, const char *body, unsigned status)
{
    cJSON_Delete(ask_for(method, path, query, body, status));
}

static uint64_t number(const cJSON *json, const char *field)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, field);
    if (!cJSON_IsNumber(item))
        fail_msg("no number \"%s\"", field);
    return (uint64_t)item->valuedouble;
}

static char *path_of(const char *format, uint64_t id)
{
    static char path[128];
    snprintf(path, sizeof path, format, (unsigned long long)id);
    return path;
}

static region_id first_region(void)
{
    return region_node_id(region_tree_seek(pd_fsm_regions(world.fsm), bytes_empty()));
}

static store_id store_at(uint32_t position)
{
    return pd_fsm_store_at(world.fsm, position)->id;
}

/* ---- reading */

static void every_get_route_answers_with_json_or_text(void **state)
{
    (void)state;
    size_t count;
    const struct api_route *routes = pd_api_routes(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(routes[i].method, "GET") != 0 || strchr(routes[i].pattern, '{') ||
            strstr(routes[i].pattern, "of-key") || strstr(routes[i].pattern, "recovery/plan"))
            continue;
        assert_int_equal(api_world_ask(&world, "GET", routes[i].pattern, "", bytes_empty()), 200);
        assert_true(world.answer.body.size > 0);
        if (strcmp(world.answer.type, "application/json") == 0)
            expect("HEAD", routes[i].pattern, "", "", 200);
    }
}

static void pages_of_regions_together_are_all_regions_in_order(void **state)
{
    (void)state;
    char query[512] = "limit=2", last[256] = "";
    uint32_t count = 0, pages = 0;
    for (bool more = true; more; pages++) {
        cJSON *json = ask_for("GET", "/pd/v1/regions", query, "", 200), *region;
        cJSON_ArrayForEach(region, cJSON_GetObjectItem(json, "regions"))
        {
            const char *start = cJSON_GetStringValue(cJSON_GetObjectItem(region, "start_key"));
            assert_true(count == 0 || strcmp(last, start) < 0);
            snprintf(last, sizeof last, "%s", start);
            count++;
        }
        const char *next = cJSON_GetStringValue(cJSON_GetObjectItem(json, "next"));
        more = next != NULL;
        if (more)
            snprintf(query, sizeof query, "limit=2&from=%s", next);
        cJSON_Delete(json);
    }
    assert_int_equal(count, API_WORLD_REGIONS);
    assert_int_equal(pages, API_WORLD_REGIONS / 2);
}

static void top_gives_the_largest_first(void **state)
{
    (void)state;
    cJSON *json = ask_for("GET", "/pd/v1/regions", "top=size&limit=3", "", 200);
    const cJSON *list = cJSON_GetObjectItem(json, "regions");
    assert_int_equal(cJSON_GetArraySize(list), 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(number(cJSON_GetArrayItem(list, i), "size"), (uint64_t)(API_WORLD_REGIONS - 1 - i) << 20);
    cJSON_Delete(json);
}

static void checks_find_what_is_wrong_and_nothing_else(void **state)
{
    (void)state;
    cJSON *json = ask_for("GET", "/pd/v1/regions", "check=empty", "", 200);
    const cJSON *list = cJSON_GetObjectItem(json, "regions");
    assert_int_equal(cJSON_GetArraySize(list), 1);
    assert_int_equal(number(cJSON_GetArrayItem(list, 0), "id"), first_region());
    cJSON_Delete(json);
    static const char *const none[] = {"check=miss",    "check=extra",     "check=down",
                                       "check=pending", "check=oversized", "check=leaderless"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        json = ask_for("GET", "/pd/v1/regions", none[i], "", 200);
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "regions")), 0);
        cJSON_Delete(json);
    }
    world.config.replicas = 4; /* then each of them misses one */
    json = ask_for("GET", "/pd/v1/regions", "check=miss", "", 200);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "regions")), API_WORLD_REGIONS);
    cJSON_Delete(json);
    world.api.now_us += 10 * 1000 * 1000; /* all stores have been silent for longer than they may */
    json = ask_for("GET", "/pd/v1/regions", "check=down", "", 200);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "regions")), API_WORLD_REGIONS);
    cJSON_Delete(json);
}

static void a_key_finds_the_region_that_holds_it(void **state)
{
    (void)state;
    const struct region_tree *regions = pd_fsm_regions(world.fsm);
    cJSON *json = ask_for("GET", "/pd/v1/region-of-key", "key=7278", "", 200); /* "rx" */
    assert_int_equal(number(json, "id"), region_node_id(region_tree_find(regions, bytes_of_string("rx"))));
    cJSON_Delete(json);
    expect("GET", "/pd/v1/region-of-key", "key=727", "", 400);
    expect("GET", "/pd/v1/region-of-key", "key=7g", "", 400);
}

static void who_does_not_lead_says_so(void **state)
{
    (void)state;
    world.api.leading = false;
    cJSON *json = ask_for("GET", "/pd/v1/stores", "", "", 503);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "code")), "NotLeader");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "hint")), "tcp://pd:1");
    cJSON_Delete(json);
    world.api.leader_address = NULL;
    json = ask_for("GET", "/pd/v1/stores", "", "", 503);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "code")), "NotReady");
    cJSON_Delete(json);
    expect("POST", path_of("/pd/v1/stores/%llu/drain", store_at(0)), "", "", 503);
    assert_int_equal(api_world_ask(&world, "GET", "/livez", "", bytes_empty()), 200);
    assert_int_equal(api_world_ask(&world, "GET", "/readyz", "", bytes_empty()), 200);
    assert_int_equal(api_world_ask(&world, "GET", "/metrics", "", bytes_empty()), 200);
    world.api.failure = ERR_IO;
    assert_int_equal(api_world_ask(&world, "GET", "/livez", "", bytes_empty()), 503);
    expect("GET", "/pd/v1/stores", "", "", 503);
}

/* Each metric has HELP and TYPE in front, and each series comes once. */
static void metrics_are_well_formed(void **state)
{
    (void)state;
    assert_int_equal(api_world_ask(&world, "GET", "/metrics", "", bytes_empty()), 200);
    assert_int_equal(buf_append_u8(&world.answer.body, 0), ERR_OK);
    char *text = (char *)world.answer.body.data, *rest = NULL, name[128] = "";
    char *seen[512];
    uint32_t count = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            snprintf(name, sizeof name, "%.*s", (int)strcspn(line + 7, " "), line + 7);
            assert_int_equal(strncmp(name, "polder_", 7), 0);
        } else if (line[0] == '#') {
            assert_int_equal(strncmp(line + 7, name, strlen(name)), 0);
        } else {
            char *value = strrchr(line, ' ');
            assert_non_null(value);
            *value = '\0';
            assert_int_equal(strcspn(line, "{"), strlen(name));
            assert_int_equal(strncmp(line, name, strlen(name)), 0);
            for (uint32_t i = 0; i < count; i++)
                assert_string_not_equal(seen[i], line);
            assert_in_range(count, 0, 511);
            seen[count++] = line;
        }
    }
    assert_true(count > 20);
}

/* ---- asking for something */

static bool is_cordoned(store_id id)
{
    cJSON *json = ask_for("GET", path_of("/pd/v1/stores/%llu", id), "", "", 200);
    bool cordoned = cJSON_IsTrue(cJSON_GetObjectItem(json, "cordoned"));
    cJSON_Delete(json);
    return cordoned;
}

static void a_wish_is_answered_when_the_log_has_it_and_shows_at_once(void **state)
{
    (void)state;
    store_id id = store_at(1);
    const struct api_request request = {.method = "POST",
                                        .path = path_of("/pd/v1/stores/%llu/cordon", id),
                                        .query = "",
                                        .body = bytes_of_string("{\"on\": true}")};
    pd_api_handle(&world.api, &request, &world.answer);
    assert_int_equal(world.answer.status, 200);
    assert_int_equal(world.api.wait_index, world.proposed); /* the answer must wait for this */
    assert_true(world.proposed > pd_fsm_applied_index(world.fsm));
    api_world_settle(&world);
    assert_true(is_cordoned(id));
    cJSON *json = ask_for("POST", path_of("/pd/v1/stores/%llu/cordon", id), "", "{\"on\": true}", 200);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(json, "changed")));
    assert_int_equal(world.api.wait_index, 0);
    cJSON_Delete(json);
    expect("POST", path_of("/pd/v1/stores/%llu/cordon", id), "", "{\"on\": false}", 200);
    assert_false(is_cordoned(id));
}

/* How many stores a policy was asked for; UINT32_MAX: it is for all. */
static uint32_t stores_of(const char *policy)
{
    cJSON *json = ask_for("GET", "/pd/v1/schedulers", "", "", 200), *item;
    uint32_t count = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "schedulers"))
    {
        const cJSON *stores = cJSON_GetObjectItem(item, "stores");
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(item, "name")), policy) == 0)
            count = stores ? (uint32_t)cJSON_GetArraySize(stores) : UINT32_MAX;
    }
    cJSON_Delete(json);
    return count;
}

static void put_for_store(const char *policy, bool on, store_id id, unsigned status)
{
    char path[64], body[64];
    snprintf(path, sizeof path, "/pd/v1/schedulers/%s", policy);
    snprintf(body, sizeof body, "{\"on\": %s, \"store\": %llu}", on ? "true" : "false", (unsigned long long)id);
    expect("PUT", path, "", body, status);
}

static void a_store_has_all_leaders_or_none_but_is_not_asked_for_both(void **state)
{
    (void)state;
    put_for_store("grant-leader", true, store_at(1), 200);
    put_for_store("grant-leader", true, store_at(2), 200);
    put_for_store("evict-leader", true, store_at(3), 200);
    assert_int_equal(stores_of("grant-leader"), 2);
    assert_int_equal(stores_of("evict-leader"), 1);
    assert_int_equal(stores_of("balance-leader"), UINT32_MAX);
    put_for_store("evict-leader", true, store_at(1), 409);
    expect("POST", path_of("/pd/v1/stores/%llu/evict-leaders", store_at(1)), "", "{\"on\": true}", 409);
    put_for_store("grant-leader", true, store_at(3), 409);
    assert_int_equal(stores_of("grant-leader"), 2);
    put_for_store("grant-leader", false, store_at(1), 200);
    put_for_store("evict-leader", true, store_at(1), 200);
    assert_int_equal(stores_of("evict-leader"), 2);
    expect("PUT", "/pd/v1/schedulers/grant-leader", "", "{\"on\": false}", 200);
    put_for_store("grant-leader", true, store_at(0), 409); /* the policy is off */
    put_for_store("grant-leader", false, store_at(2), 200);
    expect("PUT", "/pd/v1/schedulers/grant-leader", "", "{\"on\": true}", 200);
    expect("POST", path_of("/pd/v1/stores/%llu/drain", store_at(0)), "", "", 200);
    put_for_store("grant-leader", true, store_at(0), 409); /* it is to be left */
    assert_int_equal(stores_of("grant-leader"), 0);
}

static void a_limit_that_is_none_or_nothing_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        unsigned status;
    } asked[] = {{"{\"receive_size\": 1023, \"send_size\": 0}", 400},
                 {"{\"receive_size\": 0, \"send_size\": 1}", 400},
                 {"{\"receive_size\": 2305843009213693951, \"send_size\": 0}", 400},
                 {"{\"receive_size\": 0, \"send_size\": 1099511627777}", 400},
                 {"{\"receive_size\": 1024, \"send_size\": 1099511627776}", 200},
                 {"{\"receive_size\": 0, \"send_size\": 0}", 200}};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        expect("POST", path_of("/pd/v1/stores/%llu/limit", store_at(1)), "", asked[i].body, asked[i].status);
}

static void an_operator_has_a_number_a_history_and_a_reason(void **state)
{
    (void)state;
    region_id region = first_region();
    struct region_node *node = region_tree_find_id(pd_fsm_regions(world.fsm), region);
    store_id to = region_node_peer(node, 1).store_id;
    char body[64], cancel[64];
    snprintf(body, sizeof body, "{\"store\": %llu}", (unsigned long long)to);
    cJSON *json = ask_for("POST", path_of("/pd/v1/regions/%llu/transfer-leader", region), "", body, 200);
    uint64_t operator= number(json, "operator");
    cJSON_Delete(json);
    expect("POST", path_of("/pd/v1/regions/%llu/transfer-leader", region), "", body, 503); /* it has one */
    json = ask_for("GET", "/pd/v1/operators", "", "", 200);
    assert_int_equal(number(json, "count"), 1);
    cJSON_Delete(json);
    json = ask_for("GET", path_of("/pd/v1/why/operators/%llu", operator), "", "", 200);
    assert_true(cJSON_IsObject(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "reason"), "facts")));
    cJSON_Delete(json);
    snprintf(cancel, sizeof cancel, "/pd/v1/regions/%llu/operator", (unsigned long long)region);
    expect("DELETE", cancel, "", "", 200);
    expect("DELETE", cancel, "", "", 404);
    json = ask_for("GET", "/pd/v1/operator-history", "", "", 200);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "operators")), 1);
    cJSON_Delete(json);
    json = ask_for("GET", path_of("/pd/v1/why/regions/%llu", region), "", "", 200);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "history")), 1);
    cJSON_Delete(json);
}

static void a_rule_comes_back_as_it_was_put(void **state)
{
    (void)state;
    expect("PUT", "/pd/v1/rules/app/far", "",
           "{\"count\": 2, \"role\": \"learner\", \"start_key\": \"7261\", \"end_key\": \"7262\", \"locations\": "
           "[\"zone\", \"host\"],"
           "\"isolation_level\": 1, \"constraints\": [{\"label\": \"zone\", \"test\": \"in\", \"values\": [\"east\", "
           "\"west\"]}]}",
           200);
    cJSON *json = ask_for("GET", "/pd/v1/rules", "", "", 200), *rule, *found = NULL;
    cJSON_ArrayForEach(rule, cJSON_GetObjectItem(json, "rules"))
    {
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(rule, "name")), "far") == 0)
            found = rule;
    }
    assert_non_null(found);
    assert_int_equal(number(found, "count"), 2);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(found, "role")), "learner");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(found, "start_key")), "7261");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(found, "locations")), 2);
    const cJSON *constraint = cJSON_GetArrayItem(cJSON_GetObjectItem(found, "constraints"), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(constraint, "values")), 2);
    cJSON_Delete(json);
    expect("DELETE", "/pd/v1/rules/app/far", "", "", 200);
    expect("DELETE", "/pd/v1/rules/app/far", "", "", 404);
}

static void configuration_is_set_online_and_goes_back(void **state)
{
    (void)state;
    expect("PATCH", "/pd/v1/config", "", "{\"store-limit\": \"77MiB\"}", 200);
    cJSON *json = ask_for("GET", "/pd/v1/config", "", "", 200);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "store-limit")), "77MiB");
    cJSON_Delete(json);
    expect("PATCH", "/pd/v1/config", "", "{\"store-limit\": null}", 200);
    json = ask_for("GET", "/pd/v1/config", "", "", 200);
    assert_string_not_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "store-limit")), "77MiB");
    cJSON_Delete(json);
}

/* ---- bad input: a clear refusal, and nothing has changed */

static void what_makes_no_sense_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *query, *body;
        unsigned status;
    } bad[] = {
        {"GET", "/", "", "", 404},
        {"GET", "/pd/v1/regions/", "", "", 404},
        {"GET", "/pd/v1/regions/0", "", "", 400},
        {"GET", "/pd/v1/regions/-1", "", "", 400},
        {"GET", "/pd/v1/regions/18446744073709551616", "", "", 400},
        {"GET", "/pd/v1/regions/18446744073709551615", "", "", 404},
        {"GET", "/pd/v1/regions/1%", "", "", 400},
        {"GET", "/pd/v1/regions/%00", "", "", 400},
        {"GET", "/pd/v1/stores/99999", "", "", 404},
        {"GET", "/pd/v1/regions", "limit=0", "", 400},
        {"GET", "/pd/v1/regions", "limit=1001", "", 400},
        {"GET", "/pd/v1/regions", "limit=", "", 400},
        {"GET", "/pd/v1/regions", "limit=1x", "", 400},
        {"GET", "/pd/v1/regions", "limt=1", "", 400},
        {"GET", "/pd/v1/regions", "from=abc", "", 400},
        {"GET", "/pd/v1/regions", "from=%zz", "", 400},
        {"GET", "/pd/v1/regions", "check=", "", 400},
        {"GET", "/pd/v1/regions", "check=holes", "", 400},
        {"GET", "/pd/v1/regions", "top=age", "", 400},
        {"POST", "/pd/v1/regions", "", "", 405},
        {"GET", "/pd/v1/stores/1/drain", "", "", 405},
        {"POST", "/pd/v1/stores/1/burn", "", "", 404},
        {"POST", "/pd/v1/stores/1/cordon", "", "[]", 400},
        {"POST", "/pd/v1/stores/1/cordon", "", "{", 400},
        {"POST", "/pd/v1/stores/1/cordon", "", "{} {}", 400},
        {"POST", "/pd/v1/stores/1/cordon", "", "{\"on\": 1}", 400},
        {"POST", "/pd/v1/stores/1/cordon", "", "{\"of\": true}", 400},
        {"POST", "/pd/v1/stores/1/cordon", "", "{\"a\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}", 400},
        {"POST", "/pd/v1/stores/1/label", "", "{\"name\": \"\", \"value\": \"x\"}", 400},
        {"POST", "/pd/v1/stores/1/label", "", "{\"name\": 1, \"value\": \"x\"}", 400},
        {"POST", "/pd/v1/stores/1/weight", "", "{\"leader_permille\": 1e30}", 400},
        {"POST", "/pd/v1/stores/1/weight", "", "{\"leader_permille\": -1}", 400},
        {"POST", "/pd/v1/stores/1/weight", "", "{\"leader_permille\": 1.5}", 400},
        {"POST", "/pd/v1/stores/1/limit", "", "{\"receive_size\": \"x\", \"send_size\": 1}", 400},
        {"POST", "/pd/v1/stores/1/prepare-stop", "", "{}", 400},
        {"DELETE", "/pd/v1/stores/1", "", "", 409},
        {"POST", "/pd/v1/regions/1/merge", "", "{}", 400},
        {"POST", "/pd/v1/scatter", "", "{\"start_key\": \"zz\"}", 400},
        {"PATCH", "/pd/v1/config", "", "", 400},
        {"PATCH", "/pd/v1/config", "", "{\"data-dir\": \"/\"}", 404},
        {"PATCH", "/pd/v1/config", "", "{\"store-limit\": 5}", 400},
        {"PATCH", "/pd/v1/config", "", "{\"store-limit\": \"5\"}", 400},
        {"PUT", "/pd/v1/schedulers/nobody", "", "{\"on\": true}", 404},
        {"PUT", "/pd/v1/schedulers/nobody", "", "{\"on\": true, \"store\": 1}", 404},
        {"PUT", "/pd/v1/schedulers/balance-leader", "", "{\"on\": true, \"store\": 1}", 400},
        {"PUT", "/pd/v1/schedulers/grant-leader", "", "{\"on\": true, \"store\": 99999}", 404},
        {"PUT", "/pd/v1/schedulers/grant-leader", "", "{\"on\": true, \"store\": 0}", 404},
        {"PUT", "/pd/v1/schedulers/grant-leader", "", "{\"on\": true, \"store\": \"x\"}", 400},
        {"PUT", "/pd/v1/rules/a/b", "", "{}", 400},
        {"PUT", "/pd/v1/rules/a/b", "", "{\"count\": 1, \"role\": \"king\"}", 400},
        {"PUT", "/pd/v1/rules/a/b", "", "{\"count\": 1, \"locations\": [1]}", 400},
        {"PUT", "/pd/v1/rules/a/b", "", "{\"count\": 1, \"locations\": [\"a\",\"b\",\"c\",\"d\",\"e\"]}", 400},
        {"PUT", "/pd/v1/rules/a%2fb/c", "", "{\"count\": 1}", 400},
        {"PUT", "/pd/v1/rules/a/b", "", "{\"count\": 4294967295}", 400},
        {"GET", "/pd/v1/why/regions/0", "", "", 400},
        {"GET", "/pd/v1/operators/1", "", "", 404},
        {"GET", "/pd/v1/operator-history", "limit=99999", "", 400},
    };
    uint64_t before = pd_fsm_digest(world.fsm);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect(bad[i].method, bad[i].path, bad[i].query, bad[i].body, bad[i].status);
    assert_int_equal(pd_fsm_digest(world.fsm), before);
    assert_int_equal(operator_list_count(pd_sched_view(world.api.sched)->operators), 0);
}

static void a_drain_that_the_others_could_not_take_is_refused(void **state)
{
    (void)state;
    expect("POST", path_of("/pd/v1/stores/%llu/drain", store_at(0)), "", "",
           200); /* three are left for three replicas */
    cJSON *json = ask_for("POST", path_of("/pd/v1/stores/%llu/drain", store_at(1)), "", "", 409);
    cJSON_Delete(json);
    expect("POST", path_of("/pd/v1/stores/%llu/cancel-drain", store_at(0)), "", "", 200);
}

static void a_recovery_wants_stores_that_are_gone(void **state)
{
    (void)state;
    char query[64], body[128];
    uint64_t before = pd_fsm_digest(world.fsm);
    expect("GET", "/pd/v1/recovery/plan", "", "", 400);
    expect("GET", "/pd/v1/recovery/plan", "stores=", "", 400);
    expect("GET", "/pd/v1/recovery/plan", "stores=1,,2", "", 400);
    expect("GET", "/pd/v1/recovery/plan", "stores=-1", "", 400);
    expect("GET", "/pd/v1/recovery/plan", "stores=0", "", 400);
    expect("GET", "/pd/v1/recovery/plan", "stores=99999999", "", 404);
    expect("GET", "/pd/v1/recovery/plan", "plan=nonsense", "", 400);
    snprintf(query, sizeof query, "stores=%llu", (unsigned long long)store_at(0));
    expect("GET", "/pd/v1/recovery/plan", query, "", 409); /* it is up */
    expect("POST", "/pd/v1/recovery", "", "{}", 400);
    expect("POST", "/pd/v1/recovery", "", "{\"plan\":\"3.4\"}", 400);
    expect("POST", "/pd/v1/recovery", "", "{\"plan\":\"99999999-0123456789abcdef\"}", 404);
    expect("POST", "/pd/v1/recovery", "", "{\"plan\":\"99999999-0123456789abcdef\",\"create_empty\":1}", 400);
    snprintf(body, sizeof body, "{\"plan\":\"%llu-0123456789abcdef\"}", (unsigned long long)store_at(0));
    expect("POST", "/pd/v1/recovery", "", body, 409);
    assert_int_equal(pd_fsm_digest(world.fsm), before);
    cJSON *json = ask_for("GET", "/pd/v1/recovery", "", "", 200);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "state")), "none");
    cJSON_Delete(json);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_get_route_answers_with_json_or_text),
        TEST(pages_of_regions_together_are_all_regions_in_order),
        TEST(top_gives_the_largest_first),
        TEST(checks_find_what_is_wrong_and_nothing_else),
        TEST(a_key_finds_the_region_that_holds_it),
        TEST(who_does_not_lead_says_so),
        TEST(metrics_are_well_formed),
        TEST(a_wish_is_answered_when_the_log_has_it_and_shows_at_once),
        TEST(a_store_has_all_leaders_or_none_but_is_not_asked_for_both),
        TEST(a_limit_that_is_none_or_nothing_is_refused),
        TEST(an_operator_has_a_number_a_history_and_a_reason),
        TEST(a_rule_comes_back_as_it_was_put),
        TEST(configuration_is_set_online_and_goes_back),
        TEST(what_makes_no_sense_is_refused_and_changes_nothing),
        TEST(a_drain_that_the_others_could_not_take_is_refused),
        TEST(a_recovery_wants_stores_that_are_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
