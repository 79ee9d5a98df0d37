#include "people.h"

#include <stdlib.h>

#include "base/check.h"
#include "pd/pd_sched.h"

enum { RETRY_MS = 100, KEY_SIZE = 8 };

struct people {
    struct world *world;
    struct rng rng;
    uint64_t interval_ms;
    bool stopped, heard;
    uint64_t operators_before, operators_seen; /* of leaders that were; of this one */
    const struct pd_sched *leader;
};

static struct pd_sched *find_leader(struct people *people, struct world_node **ret_node)
{
    for (uint32_t i = 0; i < world_node_count(people->world); i++) {
        struct world_node *node = world_node(people->world, i);
        struct pd_sched *sched = node->role == WORLD_PD && node->pd ? pd_get_sched(node->pd) : NULL;
        if (!sched || sim_node_is_paused(node->node) || !pd_sched_view(sched))
            continue;
        *ret_node = node;
        return sched;
    }
    return NULL;
}

static store_id any_store(struct people *people, const struct pd_sched *sched)
{
    const struct store_table *stores = pd_sched_view(sched)->stores;
    uint32_t count = store_table_count(stores);
    return count > 0 ? store_table_at(stores, (uint32_t)rng_below(&people->rng, count))->id : 0;
}

static struct bytes any_key(struct people *people, uint8_t key[KEY_SIZE])
{
    store_u64_be(key, rng_next(&people->rng));
    key[0] = 'r';
    return bytes_of(key, KEY_SIZE);
}

static struct region_node *any_region(struct people *people, const struct pd_sched *sched)
{
    const struct region_tree *regions = pd_sched_view(sched)->regions;
    uint8_t key[KEY_SIZE];
    struct region_node *node = region_tree_seek(regions, any_key(people, key));
    return node ? node : region_tree_seek(regions, bytes_empty());
}

/* ---- what they want */

static void want_of_store(struct people *people, struct pd_sched *sched)
{
    static const char *const zones[] = {"a", "b", "c", ""};
    struct rng *rng = &people->rng;
    store_id store = any_store(people, sched);
    raft_index index;
    switch (rng_below(rng, 8)) {
    case 0:
    case 1:
        (void)pd_sched_drain(sched, store, &index, NULL);
        break;
    case 2:
        (void)pd_sched_cancel_drain(sched, store, &index, NULL);
        break;
    case 3:
        (void)pd_sched_cordon(sched, store, rng_chance(rng, 1, 3), &index, NULL);
        break;
    case 4:
        (void)pd_sched_switch_store(sched, rng_chance(rng, 1, 2) ? "evict-leader" : "grant-leader", store,
                                    rng_chance(rng, 1, 3), &index, NULL);
        break;
    case 5:
        (void)pd_sched_label(sched, store, "zone", zones[rng_below(rng, 4)], &index, NULL);
        break;
    case 6:
        (void)pd_sched_weight(sched, store, (uint32_t)rng_between(rng, 0, 3000), (uint32_t)rng_between(rng, 0, 3000),
                              &index, NULL);
        break;
    case 7:
        (void)pd_sched_prepare_stop(sched, store, rng_between(rng, 0, 5000), &index, NULL);
        break;
    }
}

static void want_of_region(struct people *people, struct pd_sched *sched)
{
    struct rng *rng = &people->rng;
    struct region_node *node = any_region(people, sched);
    store_id store = any_store(people, sched);
    uint64_t number;
    if (!node)
        return;
    region_id region = region_node_id(node);
    switch (rng_below(rng, 7)) {
    case 0:
        (void)pd_sched_transfer_leader(sched, region, store, &number, NULL);
        break;
    case 1:
        (void)pd_sched_add_peer(sched, region, store, rng_chance(rng, 1, 2), &number, NULL);
        break;
    case 2:
        (void)pd_sched_remove_peer(sched, region, store, &number, NULL);
        break;
    case 3:
        (void)pd_sched_move_peer(sched, region, region_node_peer(node, 0).store_id, store, &number, NULL);
        break;
    case 4:
        (void)pd_sched_split(sched, region, &number, NULL);
        break;
    case 5: {
        struct region_node *next = region_tree_next(pd_sched_view(sched)->regions, node);
        if (next)
            (void)pd_sched_merge(sched, region, region_node_id(next), &number, NULL);
        break;
    }
    case 6:
        (void)pd_sched_cancel(sched, region, NULL);
        break;
    }
}

/* What is damaged on one store must be whole on others (faults.c). */
static uint32_t peers_wanted(struct people *people)
{
    uint32_t stores = world_options(people->world)->store_count;
    bool damage = world_swarm(people->world)->fault_mask & FAULT_BIT(FAULT_DAMAGE) ||
                  world_swarm(people->world)->table_rot_percent > 0;
    return damage && stores >= 3 ? 3 : (uint32_t)rng_between(&people->rng, 1, 3);
}

static void want_rule(struct people *people, struct pd_sched *sched)
{
    struct rng *rng = &people->rng;
    uint8_t start[KEY_SIZE];
    raft_index index;
    struct wire_store_label zone = {.name = bytes_of_string("zone"), .value = bytes_of_string("a")};
    struct wire_rule_constraint constraint = {
        .name = bytes_of_string("zone"), .test = WIRE_RULE_TEST_IS_NOT_IN, .values = &zone, .values_count = 1};
    struct wire_placement_rule rule = {
        .group = bytes_of_string("sim"),
        .name = bytes_of_string(rng_chance(rng, 1, 2) ? "one" : "two"),
        .index = (uint32_t)rng_below(rng, 3),
        .overrides = rng_chance(rng, 1, 2),
        .group_index = 1,
        .group_overrides = true,
        .role = (uint8_t)(rng_chance(rng, 1, 4) ? WIRE_RULE_ROLE_FOLLOWER : WIRE_RULE_ROLE_VOTER),
        .count = peers_wanted(people),
        .constraints = &constraint,
        .constraints_count = rng_chance(rng, 1, 3),
        .locations = &zone,
        .locations_count = rng_chance(rng, 1, 2)};
    if (rng_chance(rng, 1, 2))
        rule.start_key = any_key(people, start);
    if (rng_chance(rng, 1, 2))
        (void)pd_sched_put_rule(sched, &rule, &index, NULL);
    else
        (void)pd_sched_remove_rule(sched, "sim", rng_chance(rng, 1, 2) ? "one" : "two", &index, NULL);
}

static void want_policy(struct people *people, struct pd_sched *sched)
{
    raft_index index;
    enum scheduler_policy policy = (enum scheduler_policy)rng_below(&people->rng, POLICY_COUNT);
    if (rng_chance(&people->rng, 1, 4))
        (void)pd_sched_pause(sched, scheduler_policy_name(policy), rng_between(&people->rng, 0, 3000), NULL);
    else if (rng_chance(&people->rng, 1, 4))
        (void)pd_sched_scatter(sched, bytes_empty(), bytes_empty(), NULL);
    else
        (void)pd_sched_switch(sched, scheduler_policy_name(policy),
                              scheduler_policy_is_chaos(policy) ? rng_chance(&people->rng, 1, 2)
                                                                : rng_chance(&people->rng, 7, 8),
                              &index, NULL);
}

/* ---- */

static void look(struct people *people, const struct pd_sched *sched)
{
    const struct pd_view *view = pd_sched_view(sched);
    uint64_t started = pd_sched_scheduler(sched)->started_count;
    if (sched != people->leader || started < people->operators_seen)
        people->operators_before += people->operators_seen;
    people->leader = sched;
    people->operators_seen = started;
    operator_list_check(view->operators);
}

static void ask(struct people *people, struct pd_sched *sched)
{
    raft_index index;
    if (people->stopped) {
        if (!pd_sched_config(sched)->scheduling)
            people->heard = true;
        else
            (void)pd_sched_set_config(sched, "scheduling", "false", &index, NULL);
        return;
    }
    switch (rng_below(&people->rng, 8)) {
    case 0:
    case 1:
    case 2:
        want_of_store(people, sched);
        break;
    case 3:
    case 4:
        want_of_region(people, sched);
        break;
    case 5:
        want_rule(people, sched);
        break;
    default:
        want_policy(people, sched);
        break;
    }
}

static void act(void *context)
{
    struct people *people = context;
    struct sim *sim = world_sim(people->world);
    struct world_node *node;
    struct pd_sched *sched = find_leader(people, &node);
    if (sched) {
        sim_enter(node->node);
        look(people, sched);
        ask(people, sched);
        sim_leave(node->node);
    }
    uint64_t wait_ms = people->stopped ? RETRY_MS : rng_between(&people->rng, 1, people->interval_ms);
    if (!people->heard)
        sim_at(sim, sim_heap_ns(sim) + wait_ms * 1000000, NULL, act, NULL, people);
}

struct people *people_new(struct world *world)
{
    struct people *people = calloc(1, sizeof *people);
    CHECK(people);
    people->world = world;
    rng_init(&people->rng, world_options(world)->seed, "people");
    people->interval_ms = rng_between(&people->rng, 100, 3000);
    people->heard = !world_swarm(world)->scheduling;
    if (!people->heard)
        sim_at(world_sim(world), 0, NULL, act, NULL, people);
    return people;
}

void people_stop(struct people *people)
{
    people->stopped = true;
}

bool people_are_heard(const struct people *people)
{
    return people->heard;
}

uint64_t people_operators(const struct people *people)
{
    return people->operators_before + people->operators_seen;
}

void people_free(struct people *people)
{
    free(people);
}
