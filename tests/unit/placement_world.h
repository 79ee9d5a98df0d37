/* placement_world: a handful of stores and regions for tests of what pd decides. */
#ifndef TESTS_UNIT_PLACEMENT_WORLD_H
#define TESTS_UNIT_PLACEMENT_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pd/scheduler.h"

#define MIB (UINT64_C(1) << 20)

struct world {
    struct region_tree *tree;
    struct store_table *table;
    struct rules rules;
    struct operator_list *operators;
    struct pd_view_config config;
    struct scheduler scheduler;
    struct pd_view *view;
    uint64_t now_ms, regions;
};

static inline const char *label(const char *prefix, uint32_t number)
{
    static char text_of_label[8];
    snprintf(text_of_label, sizeof(text_of_label), "%s%u", prefix, number);
    return text_of_label;
}

/* `count` stores, one per host, `racks` racks. */
static inline void add_stores(struct world *world, uint32_t count, uint32_t racks)
{
    for (uint32_t i = 0; i < count; i++) {
        struct store_entry *store;
        store_id id = store_table_count(world->table) + 1;
        assert_int_equal(store_table_add(world->table, id, world->now_ms, &store), ERR_OK);
        store->capacity_size = store->available_size = 1024 * 1024 * MIB;
        store_heartbeat(store, world->now_ms);
        assert_int_equal(store_table_set_label(world->table, store, "rack", label("r", i % racks)), ERR_OK);
        assert_int_equal(store_table_set_label(world->table, store, "host", label("h", (uint32_t)id)), ERR_OK);
    }
}

static inline struct rule plain_rule(struct world *world)
{
    struct rule rule = {.group = "pd", .name = "default", .role = RULE_VOTER, .count = 3, .location_count = 2};
    rule.locations[0] = store_table_intern(world->table, "rack");
    rule.locations[1] = store_table_intern(world->table, "host");
    return rule;
}

static inline void put_rule(struct world *world, const struct rule *rule)
{
    assert_int_equal(rules_put(&world->rules, rule, NULL), ERR_OK);
}

/* No two peers in a rack. */
static inline void isolate(struct world *world)
{
    struct rule rule = plain_rule(world);
    rule.isolation_level = 1;
    put_rule(world, &rule);
}

static inline void constrain(struct world *world, struct rule *rule, const char *label_name, enum rule_test test,
                             const char *value)
{
    rule->constraint_count = 1;
    rule->constraints[0] = (struct rule_constraint){.name = store_table_intern(world->table, label_name),
                                                    .test = test,
                                                    .value_count = 1,
                                                    .values = {store_table_intern(world->table, value)}};
}

static inline struct store_entry *store(struct world *world, store_id id)
{
    return store_table_find(world->table, id);
}

static inline int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    world->now_ms = 1000 * 1000;
    world->tree = region_tree_new();
    world->table = store_table_new(5000, 60 * 1000);
    rules_init(&world->rules);
    world->operators = operator_list_new(world->tree, world->table, 64);
    pd_view_config_init(&world->config);
    scheduler_init(&world->scheduler, world->tree, world->table, &world->rules, world->operators, &world->config, 7);
    world->view = &world->scheduler.view;
    struct rule rule = plain_rule(world);
    put_rule(world, &rule);
    *state = world;
    return 0;
}

static inline int teardown(void **state)
{
    struct world *world = *state;
    operator_list_check(world->operators);
    region_tree_check(world->tree);
    operator_list_free(world->operators);
    region_tree_free(world->tree);
    store_table_free(world->table);
    rules_fini(&world->rules);
    free(world);
    return 0;
}

/* Region n has the keys [n, n + 1); peer ids are 100 * region + store. Negative stores are learners. */
static inline struct region_node *put(struct world *world, region_id id, uint64_t conf, uint64_t version, const int *stores,
                               store_id leader)
{
    uint8_t start[2] = {'r', (uint8_t)id}, end[2] = {'r', (uint8_t)(id + 1)};
    struct wire_peer peers[8];
    struct wire_region region = {.id = id,
                                 .start_key = bytes_of(start, 2),
                                 .end_key = bytes_of(end, 2),
                                 .epoch_conf = conf,
                                 .epoch_version = version,
                                 .peers = peers};
    for (; stores[region.peers_count] != 0; region.peers_count++) {
        int store = stores[region.peers_count];
        peers[region.peers_count] = (struct wire_peer){
            .id = 100 * id + (uint64_t)abs(store), .store_id = (store_id)abs(store), .role = (uint8_t)(store < 0)};
    }
    assert_int_equal(region_tree_insert(world->tree, &region, NULL, NULL), ERR_OK);
    struct region_node *node = region_tree_find_id(world->tree, id);
    const struct region_seen seen = {.leader_peer = leader ? 100 * id + leader : 0,
                                     .term = 6,
                                     .approximate_size = 64 * MIB,
                                     .approximate_keys = 100000};
    region_tree_see(world->tree, node, &seen);
    return node;
}

#define ON(...) ((const int[]){__VA_ARGS__, 0})

static inline const struct operator *check(struct world *world, struct region_node *node, struct reason *reason)
{
    pd_view_refresh(world->view, world->now_ms);
    return replica_check_region(world->view, node, reason);
}

static inline void drain(struct world *world, store_id id)
{
    pd_view_refresh(world->view, world->now_ms);
    assert_int_equal(pd_view_drain(world->view, id, NULL), ERR_OK);
}

static inline void assert_steps(const struct operator *operator, const char * wanted)
{
    char text[256] = "";
    assert_non_null(operator);
    for (uint32_t i = 0; i < operator->step_count; i++) {
        const struct operator_step *step = &operator->steps[i];
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s %llu %llu", i ? ", " : "",
                 operator_step_name(step->kind), (unsigned long long)step->store, (unsigned long long)step->other);
    }
    assert_string_equal(text, wanted);
}

#endif
