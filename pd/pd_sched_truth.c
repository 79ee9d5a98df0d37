#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "pd/pd_sched_parts.h"

enum { DEFAULT_WEIGHT_PERMILLE = 1000, WISH_LABELS_MAX = STORE_LABELS_MAX };

/* ---- texts and names */

static bool text_of(struct bytes from, char *to, size_t size)
{
    if (from.size >= size)
        return false;
    memcpy(to, from.size ? from.data : (const uint8_t *)"", from.size);
    to[from.size] = '\0';
    return strlen(to) == from.size;
}

static bool starts_with(struct bytes name, const char *prefix)
{
    size_t size = strlen(prefix);
    return name.size > size && memcmp(name.data, prefix, size) == 0;
}

/* The settings whose names begin so. `*position`: from pd_settings_seek. */
static const struct pd_setting *next_of(const struct pd_settings *settings, const char *prefix, uint32_t *position)
{
    if (*position >= settings->count || !starts_with(settings->list[*position].name, prefix))
        return NULL;
    return &settings->list[(*position)++];
}

static uint32_t first_of(const struct pd_settings *settings, const char *prefix)
{
    return pd_settings_seek(settings, bytes_of_string(prefix));
}

static void say_bad(const struct pd_sched *sched, struct bytes name, const char *why)
{
    log_event(sched->env->log, LOG_ERROR, "event=bad_setting name=%.*s msg=\"%s\"", (int)name.size,
              (const char *)name.data, why);
}

/* ---- stores */

static double weight_of(uint32_t permille)
{
    return permille > 0 ? (double)permille / DEFAULT_WEIGHT_PERMILLE : 1;
}

static uint32_t permille_of(double weight)
{
    return (uint32_t)(weight * DEFAULT_WEIGHT_PERMILLE + 0.5);
}

static int64_t rate_of(uint64_t size)
{
    if (size > 0 && size < STORE_RATE_MIN)
        return STORE_RATE_MIN;
    return size < STORE_RATE_MAX ? (int64_t)size : STORE_RATE_MAX;
}

static void set_limits(const struct pd_sched *sched, struct store_entry *store, uint64_t receive, uint64_t send)
{
    uint64_t rate = sched->effective.store_limit_size, now_ms = pd_sched_now_ms(sched);
    int64_t receive_rate = rate_of(receive > 0 ? receive : rate), send_rate = rate_of(send > 0 ? send : rate);
    store->receive_limit = receive;
    store->send_limit = send;
    if (receive_rate != store->receive.rate_size || send_rate != store->send.rate_size)
        store_limit(store, receive_rate, send_rate, now_ms);
}

/* Wall time at which people meant a restart to be over, by our own clock. */
static uint64_t restart_until(const struct pd_sched *sched, uint64_t until_wall_ms)
{
    uint64_t wall_ms = clock_wall_ms(sched->env->clock);
    return until_wall_ms > wall_ms ? pd_sched_now_ms(sched) + (until_wall_ms - wall_ms) : 0;
}

static void take_wish(struct pd_sched *sched, struct store_entry *store, const struct wire_store_wish *wish)
{
    char name[LABEL_TEXT_SIZE], value[LABEL_TEXT_SIZE];
    if (wish->life <= WIRE_STORE_LIFE_LOST) {
        if (wish->life == WIRE_STORE_LIFE_DRAINING && store->wanted != STORE_DRAINING)
            store->drain_ms = pd_sched_now_ms(sched);
        store->wanted = (enum store_wanted)wish->life;
    }
    store->tombstone_said = store->wanted == STORE_TOMBSTONE;
    store->drain_count = wish->drain_count;
    store->cordoned = wish->cordoned;
    store->evict_leaders = wish->evict_leaders;
    store->grant_leaders = wish->grant_leaders;
    store->leader_weight = weight_of(wish->leader_weight_permille);
    store->region_weight = weight_of(wish->region_weight_permille);
    store->restart_until_wall_ms = wish->restart_until_ms;
    store_prepare_stop(store, restart_until(sched, wish->restart_until_ms));
    store->label_count = 0;
    for (uint32_t i = 0; i < wish->labels_count; i++)
        if (!text_of(wish->labels[i].name, name, sizeof(name)) ||
            !text_of(wish->labels[i].value, value, sizeof(value)) ||
            store_table_set_label(sched->stores, store, name, value) != ERR_OK)
            log_event(sched->env->log, LOG_ERROR, "event=bad_label store=%llu", (unsigned long long)store->id);
    set_limits(sched, store, wish->receive_limit, wish->send_limit);
}

static void load_wish(struct pd_sched *sched, struct store_entry *store)
{
    char name[64];
    struct arena arena;
    struct wire_store_wish wish = {0};
    arena_init(&arena);
    snprintf(name, sizeof(name), "store/%llu", (unsigned long long)store->id);
    struct bytes value = pd_settings_get(pd_fsm_settings(sched->fsm), bytes_of_string(name));
    if (value.size > 0 && wire_decode_store_wish(value, &arena, &wish) != ERR_OK)
        say_bad(sched, bytes_of_string(name), "no wish for a store");
    else
        take_wish(sched, store, &wish);
    arena_fini(&arena);
}

static void load_stores(struct pd_sched *sched)
{
    uint64_t now_ms = pd_sched_now_ms(sched);
    for (uint32_t i = store_table_count(sched->stores); i > 0; i--) {
        struct store_entry *store = store_table_at(sched->stores, i - 1);
        if (pd_fsm_find_store(sched->fsm, store->id))
            continue;
        store->wanted = STORE_TOMBSTONE;
        CHECK(store_table_remove(sched->stores, store->id, NULL) == ERR_OK);
    }
    for (uint32_t i = 0; i < pd_fsm_store_count(sched->fsm); i++) {
        store_id id = pd_fsm_store_at(sched->fsm, i)->id;
        if (!store_table_find(sched->stores, id))
            CHECK(store_table_add(sched->stores, id, now_ms, NULL) == ERR_OK);
        load_wish(sched, store_table_find(sched->stores, id));
    }
}

struct store_entry *sched_store(struct pd_sched *sched, store_id id)
{
    struct store_entry *store = store_table_find(sched->stores, id);
    if (!store && pd_fsm_find_store(sched->fsm, id)) {
        sched_load_truth(sched);
        store = store_table_find(sched->stores, id);
    }
    return store;
}

/* ---- rules */

static enum err constraint_from_wire(struct pd_sched *sched, const struct wire_rule_constraint *wire,
                                     struct rule_constraint *ret, struct error *err)
{
    static const enum rule_test tests[] = {[WIRE_RULE_TEST_IS_IN] = RULE_IN,
                                           [WIRE_RULE_TEST_IS_NOT_IN] = RULE_NOT_IN,
                                           [WIRE_RULE_TEST_IS_SET] = RULE_EXISTS,
                                           [WIRE_RULE_TEST_IS_NOT_SET] = RULE_NOT_EXISTS};
    char text[LABEL_TEXT_SIZE];
    if (wire->test >= sizeof(tests) / sizeof(tests[0]) || wire->values_count > RULE_VALUES_MAX)
        return error_set(err, ERR_INVALID, "a constraint has an unknown test, or over %d values", RULE_VALUES_MAX);
    *ret = (struct rule_constraint){.test = tests[wire->test], .value_count = wire->values_count};
    if (text_of(wire->name, text, sizeof(text)))
        ret->name = store_table_intern(sched->stores, text);
    for (uint32_t i = 0; i < wire->values_count && ret->name != 0; i++) {
        ret->values[i] =
            text_of(wire->values[i].value, text, sizeof(text)) ? store_table_intern(sched->stores, text) : 0;
        if (ret->values[i] == 0)
            ret->name = 0;
    }
    return ret->name != 0
               ? ERR_OK
               : error_set(err, ERR_INVALID, "a label of a constraint is over %d bytes", LABEL_TEXT_SIZE - 1);
}

enum err sched_rule_from_wire(struct pd_sched *sched, const struct wire_placement_rule *wire, struct rule *ret_rule,
                              struct error *err)
{
    struct rule rule = {.group_index = (int32_t)wire->group_index,
                        .index = (int32_t)wire->index,
                        .overrides = wire->overrides,
                        .group_overrides = wire->group_overrides,
                        .start_key = wire->start_key,
                        .end_key = wire->end_key,
                        .role = (enum rule_role)wire->role,
                        .count = wire->count,
                        .constraint_count = wire->constraints_count,
                        .location_count = wire->locations_count,
                        .isolation_level = wire->isolation_level};
    char text[LABEL_TEXT_SIZE];
    if (!text_of(wire->group, rule.group, sizeof(rule.group)) || !text_of(wire->name, rule.name, sizeof(rule.name)))
        return error_set(err, ERR_INVALID, "group and name of a rule have at most %d bytes", RULE_NAME_SIZE - 1);
    if (strchr(rule.group, '/') || strchr(rule.name, '/'))
        return error_set(err, ERR_INVALID, "group and name of a rule have no '/'");
    if (wire->role > WIRE_RULE_ROLE_LEARNER || wire->constraints_count > RULE_CONSTRAINTS_MAX ||
        wire->locations_count > RULE_LOCATIONS_MAX)
        return error_set(err, ERR_INVALID, "rule %s/%s: an unknown role, or too many constraints or locations",
                         rule.group, rule.name);
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < wire->constraints_count && code == ERR_OK; i++)
        code = constraint_from_wire(sched, &wire->constraints[i], &rule.constraints[i], err);
    for (uint32_t i = 0; i < wire->locations_count && code == ERR_OK; i++) {
        bool fits = text_of(wire->locations[i].name, text, sizeof(text));
        rule.locations[i] = fits ? store_table_intern(sched->stores, text) : 0;
        if (rule.locations[i] == 0)
            code = error_set(err, ERR_INVALID, "a location is over %d bytes", LABEL_TEXT_SIZE - 1);
    }
    if (code == ERR_OK)
        *ret_rule = rule;
    return code;
}

static void load_rules(struct pd_sched *sched)
{
    const struct pd_settings *settings = pd_fsm_settings(sched->fsm);
    struct rule rule = {.group = "polder", .name = "default", .count = sched->config->replicas};
    struct arena arena;
    rules_fini(&sched->rules);
    CHECK(rules_put(&sched->rules, &rule, NULL) == ERR_OK);
    uint32_t position = first_of(settings, "rule/");
    const struct pd_setting *setting;
    arena_init(&arena);
    while ((setting = next_of(settings, "rule/", &position)) != NULL) {
        struct wire_placement_rule wire;
        struct error error = {0};
        if (wire_decode_placement_rule(setting->value, &arena, &wire) != ERR_OK)
            say_bad(sched, setting->name, "no rule");
        else if (sched_rule_from_wire(sched, &wire, &rule, &error) != ERR_OK ||
                 rules_put(&sched->rules, &rule, &error) != ERR_OK)
            say_bad(sched, setting->name, error.text);
    }
    arena_fini(&arena);
}

/* ---- switches and configuration */

static void load_switches(struct pd_sched *sched)
{
    const struct pd_settings *settings = pd_fsm_settings(sched->fsm);
    for (int i = 0; i < POLICY_COUNT; i++) {
        enum scheduler_policy policy = (enum scheduler_policy)i;
        char name[PD_SETTING_NAME_MAX];
        snprintf(name, sizeof(name), "scheduler/%s", scheduler_policy_name(policy));
        struct bytes value = pd_settings_get(settings, bytes_of_string(name));
        bool on = value.size > 0 ? bytes_equal(value, bytes_of_string("on")) : !scheduler_policy_is_chaos(policy);
        sched->scheduler.states[i].on = on && sched->effective.scheduling;
    }
    sched->view_config.grants = sched->scheduler.states[POLICY_GRANT_LEADER].on;
}

static void load_config(struct pd_sched *sched)
{
    const struct pd_settings *settings = pd_fsm_settings(sched->fsm);
    struct pd_view_config *view = &sched->view_config;
    uint32_t position = first_of(settings, "config/");
    const struct pd_setting *setting;
    sched->effective = *sched->config;
    while ((setting = next_of(settings, "config/", &position)) != NULL) {
        char key[PD_SETTING_NAME_MAX + 1], text[PD_SETTING_NAME_MAX + 1];
        struct error error = {0};
        struct bytes name = bytes_of(setting->name.data + strlen("config/"), setting->name.size - strlen("config/"));
        if (!text_of(name, key, sizeof(key)) || !text_of(setting->value, text, sizeof(text)) ||
            pd_config_set_online(&sched->effective, key, text, &error) != ERR_OK)
            say_bad(sched, setting->name, error.text);
    }
    view->store_splits = true;
    view->region_count_min = sched->config->bootstrap_regions;
    view->merge_size = sched->effective.region_merge_size;
    view->merge_keys = sched->effective.region_merge_keys;
    view->merged_size_max = 2 * sched->effective.region_merge_size;
    view->split_merge_interval_ms = sched->effective.split_merge_interval_ms;
    view->begun_ms = sched->begun_ms;
    view->space_low_permille = 10 * sched->effective.store_space_low_percent;
    view->latency_target_us = 1000 * sched->effective.store_latency_target_ms;
    view->hot_load_min = sched->effective.hot_region_load;
    store_table_set_silence(sched->stores, sched->effective.store_disconnected_ms, sched->effective.store_down_ms);
}

/* Not over a wish that is on its way: it would be forgotten by the next one, which says all that is wanted of a store. */
bool sched_load_if_old(struct pd_sched *sched)
{
    if (pd_fsm_applied_index(sched->fsm) < sched->proposed_index)
        return false;
    if (sched->truth_is_old)
        sched_load_truth(sched);
    return true;
}

void sched_load_truth(struct pd_sched *sched)
{
    sched->truth_is_old = false;
    load_config(sched);
    load_stores(sched);
    load_rules(sched);
    load_switches(sched);
    if (sched->scatter)
        sched->scatter->counted = false; /* it counts by position in the store table */
}

/* ---- the way back */

enum err sched_propose(struct pd_sched *sched, const struct wire_pd_command *command, raft_index *ret_index,
                       struct error *err)
{
    raft_term term;
    enum err code = wire_encode_pd_command(command, &sched->command);
    if (code == ERR_OK)
        code = sched->host.propose(sched->host.context, buf_bytes(&sched->command), ret_index, &term);
    return code == ERR_OK ? code : error_set(err, code, "pd's log did not take it: %s", err_name(code));
}

enum err sched_put_setting(struct pd_sched *sched, const char *name, struct bytes value, raft_index *ret_index,
                           struct error *err)
{
    const struct wire_pd_command command = {
        .kind = WIRE_PD_COMMAND_KIND_PUT_SETTING, .name = bytes_of_string(name), .value = value};
    *ret_index = 0;
    if (strlen(name) > PD_SETTING_NAME_MAX || value.size > PD_SETTING_VALUE_MAX)
        return error_set(err, ERR_INVALID, "a setting's name or value is too long");
    if (bytes_equal(pd_settings_get(pd_fsm_settings(sched->fsm), command.name), value))
        return ERR_OK;
    return sched_propose(sched, &command, ret_index, err);
}

enum err sched_put_wish(struct pd_sched *sched, const struct store_entry *store, raft_index *ret_index,
                        struct error *err)
{
    struct wire_store_label labels[WISH_LABELS_MAX];
    struct buf value;
    char name[64];
    snprintf(name, sizeof(name), "store/%llu", (unsigned long long)store->id);
    for (uint32_t i = 0; i < store->label_count; i++)
        labels[i] = (struct wire_store_label){
            .name = bytes_of_string(store_table_text_of(sched->stores, store->labels[i].name)),
            .value = bytes_of_string(store_table_text_of(sched->stores, store->labels[i].value))};
    const struct wire_store_wish wish = {.life = (uint8_t)store->wanted,
                                         .cordoned = store->cordoned,
                                         .evict_leaders = store->evict_leaders,
                                         .grant_leaders = store->grant_leaders,
                                         .labels = labels,
                                         .labels_count = store->label_count,
                                         .leader_weight_permille = permille_of(store->leader_weight),
                                         .region_weight_permille = permille_of(store->region_weight),
                                         .receive_limit = store->receive_limit,
                                         .send_limit = store->send_limit,
                                         .restart_until_ms = store->restart_until_wall_ms,
                                         .drain_count = store->drain_count};
    buf_init(&value, PD_SETTING_VALUE_MAX);
    enum err code = wire_encode_store_wish(&wish, &value);
    CHECK(code == ERR_OK); /* labels have a size */
    code = sched_put_setting(sched, name, buf_bytes(&value), ret_index, err);
    if (code == ERR_OK && *ret_index > 0)
        sched->proposed_index = *ret_index;
    buf_fini(&value);
    return code;
}
