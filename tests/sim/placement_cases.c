/* placement_cases: what happens to the simulated stores, and what pd must make of it. */
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "placement.h"

#define MIB PLACEMENT_MIB

static void fail(struct placement_result *result, const char *what, double is, double limit)
{
    if (result->failure[0] == '\0')
        snprintf(result->failure, sizeof(result->failure), "%s is %.4g, the limit is %.4g", what, is, limit);
}

static void at_most(struct placement_result *result, const char *what, double is, double limit)
{
    if (!(is <= limit))
        fail(result, what, is, limit);
}

/* A store holds so many regions that a spread of 1 % can be told from chance. */
static double grain(const struct placement *world)
{
    return (double)world->store_count / (3.0 * (double)region_tree_count(world->tree));
}

/* Ten a day; two in a short time are no sign of more. */
static double per_day_max(const struct placement *world)
{
    double quiet_s = (double)(placement_now_s(world) - world->quiet_from_s);
    return quiet_s < 17280 ? 2.0 * 86400 / (quiet_s + 1) : 10;
}

static void judge_settled(struct placement *world, struct placement_result *result)
{
    at_most(result, "operators_failed", (double)result->operators_failed, 0);
    at_most(result, "unsatisfied", (double)result->unsatisfied, 0);
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "operators_per_day", result->operators_per_day, per_day_max(world));
}

static void judge_moves(struct placement *world, struct placement_result *result)
{
    judge_settled(world, result);
    at_most(result, "moves_ratio", result->moves_ratio, 1.02 + grain(world));
    at_most(result, "redundant_ratio", result->redundant_ratio, 0.005);
    at_most(result, "time_99_s", result->time_99_s, 1.15 * result->bound_s + 30);
    at_most(result, "spread_ratio", result->spread_ratio, 0.01 + grain(world));
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
}

/* ---- once things are as they are */

static bool measure_at_once(struct placement *world)
{
    if (world->stage++ == 0)
        placement_measure(world);
    return false;
}

static void setup_leaders(struct placement *world)
{
    world->skew_leaders = true;
    world->warm_s = 0;
}

static void judge_leaders(struct placement *world, struct placement_result *result)
{
    judge_settled(world, result);
    at_most(result, "transfers", (double)result->transfers_made,
            1.02 * result->transfers_necessary + world->store_count);
    at_most(result, "spread_leaders", result->spread_leaders, 0.02 + 3 * grain(world));
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
}

static void setup_half(struct placement *world)
{
    world->first_stores = world->store_count_first / 2;
    world->warm_s = 0;
}

static void setup_pareto(struct placement *world)
{
    world->pareto = true;
    world->warm_s = 0;
    world->region_size_min = 8 * MIB;
    world->region_size_max = 140 * MIB;
}

/* ---- stores come and go */

static bool script_add(struct placement *world)
{
    if (world->stage++ > 0)
        return false;
    uint32_t more = world->store_count_first / 10 + (world->store_count_first < 10);
    uint64_t capacity = store_table_at(world->table, 0)->capacity_size;
    for (uint32_t i = 0; i < more; i++)
        placement_add_store(world, capacity);
    placement_measure(world);
    return false;
}

static bool script_drain(struct placement *world)
{
    struct error error = {0};
    if (world->stage++ > 0)
        return false;
    for (uint32_t i = 0; i < world->store_count_first / 10 + (world->store_count_first < 10); i++)
        CHECK(pd_view_drain(&world->scheduler.view, 1 + (store_id)i * 10 % world->store_count_first, &error) == ERR_OK);
    placement_measure(world);
    return false;
}

static void judge_drain(struct placement *world, struct placement_result *result)
{
    judge_moves(world, result);
    for (uint32_t i = 0; i < store_table_count(world->table); i++)
        if (store_table_at(world->table, i)->wanted == STORE_DRAINING)
            fail(result, "a store is not empty: peers", store_table_at(world->table, i)->count, 0);
}

static bool script_die(struct placement *world)
{
    uint32_t index = world->store_count_first / 2;
    if (world->stage == 0) {
        placement_kill(world, index);
        world->stage = 1;
    }
    if (world->stage == 1 && store_table_at(world->table, index)->heard == STORE_DOWN) {
        placement_measure(world);
        world->stage = 2;
    }
    return world->stage < 2;
}

static void judge_die(struct placement *world, struct placement_result *result)
{
    at_most(result, "unsatisfied", (double)result->unsatisfied, 0);
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "operators_per_day", result->operators_per_day, per_day_max(world));
    at_most(result, "moves_ratio", result->moves_ratio, 1.02 + grain(world));
    at_most(result, "redundant_ratio", result->redundant_ratio, 0.01); /* who has room takes it now, above the mean or not */
    at_most(result, "regions that still violate a rule", (double)world->violated_count, 0);
    at_most(result, "spread_ratio", result->spread_ratio, 0.01 + grain(world));
}

static bool script_rack(struct placement *world)
{
    uint64_t s = placement_script_s(world);
    if (world->stage++ == 0)
        placement_measure(world);
    for (uint32_t i = 0; i < world->store_count; i += world->racks) {
        if (s == 10)
            placement_kill(world, i);
        if (s == 10 + world->down_ms / 2000)
            placement_revive(world, i);
    }
    return s < 60 + world->down_ms / 2000;
}

static void judge_no_moves(struct placement *world, struct placement_result *result)
{
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "moves_made", (double)result->moves_made, 5); /* not the hundreds that a dead store has */
    at_most(result, "regions that still violate a rule", (double)world->violated_count, 0);
    at_most(result, "spread_leaders", result->spread_leaders, 0.02 + 3 * grain(world));
}

static bool script_flap(struct placement *world)
{
    uint64_t s = placement_script_s(world);
    if (world->stage++ == 0)
        placement_measure(world);
    if (s % 60 == 10)
        placement_kill(world, 1);
    if (s % 60 == 35)
        placement_revive(world, 1);
    return s < 3600;
}

static bool script_slow(struct placement *world)
{
    uint64_t s = placement_script_s(world);
    struct store_entry *store = store_table_at(world->table, 1);
    if (world->stage++ == 0)
        placement_measure(world);
    if (s == 60)
        store->slow_score = 100;
    if (s > 60 && world->result.demotion_s == 0 && region_tree_sums(world->tree, store->id).leader_count == 0)
        world->result.demotion_s = (double)s - 60;
    return s < 300;
}

static void judge_slow(struct placement *world, struct placement_result *result)
{
    judge_settled(world, result);
    at_most(result, "moves_made", (double)result->moves_made, 0);
    at_most(result, "demotion_s", result->demotion_s > 0 ? result->demotion_s : 1e9, 10);
}

static bool script_rolling(struct placement *world)
{
    enum { EACH_S = 90, ASK_S = 10, BACK_S = 50 };
    uint64_t s = placement_script_s(world), index = s / EACH_S;
    if (world->stage++ == 0)
        placement_measure(world);
    if (index >= world->store_count)
        return false;
    if (s % EACH_S == 0)
        store_prepare_stop(store_table_at(world->table, (uint32_t)index), (placement_now_s(world) + EACH_S - 5) * 1000);
    if (s % EACH_S == ASK_S) {
        if (region_tree_sums(world->tree, index + 1).leader_count > 0)
            world->result.self_inflicted += region_tree_sums(world->tree, index + 1).leader_count;
        placement_kill(world, (uint32_t)index);
    }
    if (s % EACH_S == BACK_S)
        placement_revive(world, (uint32_t)index);
    return true;
}

static void setup_rolling(struct placement *world)
{
    world->down_ms = 30 * 1000; /* shorter than a restart: the announcement is what holds the clock */
}

/* ---- load */

static void set_loads(struct placement *world, uint32_t phase, bool read)
{
    for (region_id id = 1; id <= world->last_region; id++) {
        bool hot = (id / 8 + phase) % 50 == 0;
        placement_set_region(world, id, (uint64_t)world->regions[id].size_kib * 1024, read && hot ? 1000 : 10,
                             !read && hot ? 1000 : 10);
    }
    placement_heartbeat_all(world);
}

static void setup_hot(struct placement *world)
{
    world->heartbeat_s = 10;
    world->noise_permille = 10;
}

static bool script_hot_read(struct placement *world)
{
    if (world->stage++ == 0) {
        set_loads(world, 0, true);
        placement_measure(world);
    }
    return false;
}

static bool script_hot_write(struct placement *world)
{
    if (world->stage++ == 0) {
        set_loads(world, 0, false);
        placement_measure(world);
    }
    return false;
}

static bool script_moving(struct placement *world)
{
    uint64_t s = placement_script_s(world);
    if (world->stage++ == 0)
        placement_measure(world);
    if (s % 600 == 1)
        set_loads(world, (uint32_t)(s / 600 * 7), true);
    return s < 3 * 600;
}

static void judge_hot(struct placement *world, struct placement_result *result)
{
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "operators_per_day", result->operators_per_day, per_day_max(world));
    at_most(result, "spread_read", result->spread_read, 0.12);
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
}

static void judge_hot_write(struct placement *world, struct placement_result *result)
{
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "operators_per_day", result->operators_per_day, per_day_max(world));
    at_most(result, "spread_write", result->spread_write, 0.12);
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
}

/* ---- rules */

/* From "three anywhere" to: three in different racks, for sure; a tenth of the keys has five; each region a learner on
 * a disk that spins. */
static bool script_rules(struct placement *world)
{
    static const uint8_t low[] = {'r', 0x20, 0, 0, 0, 0, 0, 0, 0}, high[] = {'r', 0x39, 0x99, 0, 0, 0, 0, 0, 0};
    struct store_table *table = world->table;
    struct rule rule = {
        .group = "pd", .name = "default", .role = RULE_VOTER, .count = 3, .location_count = 2, .isolation_level = 1};
    if (world->stage++ > 0)
        return false;
    for (uint32_t i = 0; i < store_table_count(table); i++)
        if (i % 4 == 3)
            store_table_set_label(table, store_table_at(table, i), "disk", "hdd");
    rule.locations[0] = store_table_intern(table, "rack");
    rule.locations[1] = store_table_intern(table, "host");
    rule.constraint_count = 1;
    rule.constraints[0] = (struct rule_constraint){.name = store_table_intern(table, "disk"),
                                                   .test = RULE_NOT_IN,
                                                   .value_count = 1,
                                                   .values = {store_table_intern(table, "hdd")}};
    CHECK(rules_put(&world->rules, &rule, NULL) == ERR_OK);
    snprintf(rule.name, sizeof(rule.name), "five");
    rule.start_key = bytes_of(low, sizeof(low));
    rule.end_key = bytes_of(high, sizeof(high));
    rule.index = 1;
    rule.overrides = true;
    rule.count = 5;
    CHECK(rules_put(&world->rules, &rule, NULL) == ERR_OK);
    struct rule learner = {.group = "spinning",
                           .name = "copy",
                           .group_index = 1,
                           .role = RULE_LEARNER,
                           .count = 1,
                           .constraint_count = 1,
                           .constraints = {rule.constraints[0]}};
    learner.constraints[0].test = RULE_IN;
    CHECK(rules_put(&world->rules, &learner, NULL) == ERR_OK);
    placement_judge_all(world);
    placement_measure(world);
    return false;
}

static void judge_rules(struct placement *world, struct placement_result *result)
{
    judge_settled(world, result);
    uint32_t bad = 0;
    for (struct region_node *node = region_tree_seek(world->tree, bytes_empty()); node;
         node = region_tree_next(world->tree, node)) {
        struct fit fit;
        fit_region(world->table, &world->rules, node, &fit);
        bad += fit_problems(&fit) != 0;
    }
    at_most(result, "regions that do not meet their rules", bad, 0);
}

/* ---- sizes */

static void setup_grow(struct placement *world)
{
    world->space_factor = 12;
}

static bool script_grow(struct placement *world)
{
    uint64_t s = placement_script_s(world);
    if (world->stage++ == 0)
        placement_measure(world);
    if (s % 60 != 0)
        return s < 301;
    uint64_t before = world->last_region;
    for (region_id id = 1; id <= before; id++)
        if (id % 10 == 0)
            placement_set_region(world, id, (uint64_t)world->regions[id].size_kib * 1024 * 2, 10, 10);
    placement_heartbeat_all(world);
    return s < 301;
}

static void judge_split(struct placement *world, struct placement_result *result)
{
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "operators_per_day", result->operators_per_day, per_day_max(world));
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
    at_most(result, "spread_ratio", result->spread_ratio, 0.015 + grain(world));
    for (struct region_node *node = region_tree_seek(world->tree, bytes_empty()); node;
         node = region_tree_next(world->tree, node))
        at_most(result, "size of a region in MiB", (double)(region_node_seen(node).approximate_size / MIB),
                (double)(world->config.split_size / MIB));
}

static bool script_shrink(struct placement *world)
{
    if (world->stage++ > 0)
        return false;
    for (region_id id = 1; id <= world->last_region; id++)
        if (id % 10 != 0)
            placement_set_region(world, id, MIB, 10, 10);
    placement_heartbeat_all(world);
    placement_measure(world);
    return false;
}

static void judge_merge(struct placement *world, struct placement_result *result)
{
    struct bytes start, end;
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "operators_per_day", result->operators_per_day, per_day_max(world));
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
    if (result->merges_made < world->region_count / 2)
        fail(result, "merges_made, which should be more,", (double)result->merges_made, world->region_count / 2);
    at_most(result, "gaps in the key space", region_tree_gap(world->tree, bytes_empty(), &start, &end), 0);
}

/* ---- time */

static void setup_stable(struct placement *world)
{
    world->heartbeat_s = 60;
    world->noise_permille = 10;
    world->config.patrol_count = 100;
}

static bool script_stable(struct placement *world)
{
    uint64_t s = placement_script_s(world);
    if (world->stage == 0 && s == 600) {
        world->stage = 1;
        placement_measure(world);
        world->quiet_from_s = placement_now_s(world);
        world->quiet_started = world->scheduler.started_count;
    }
    return s < 600 + 24 * 3600;
}

static void judge_stable(struct placement *world, struct placement_result *result)
{
    judge_settled(world, result);
    at_most(result, "moves_made", (double)result->moves_made, 10);
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
}

static bool script_failover(struct placement *world)
{
    uint64_t s = placement_script_s(world);
    script_add(world);
    if (s == 20 || s == 60 || s == 120)
        placement_pd_fails_over(world);
    return s < 130;
}

static void judge_failover(struct placement *world, struct placement_result *result)
{
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "moves_ratio", result->moves_ratio, 1.1); /* what was under way at a failover may be done in vain */
    at_most(result, "spread_ratio", result->spread_ratio, 0.01 + grain(world));
    at_most(result, "rule_violation_region_s", result->rule_violation_region_s, 0);
    for (struct region_node *node = region_tree_seek(world->tree, bytes_empty()); node;
         node = region_tree_next(world->tree, node))
        at_most(result, "peers of a region", region_node_peer_count(node), 3);
}

static void setup_chaos(struct placement *world)
{
    world->down_ms = 3 * 60 * 1000;
    world->heartbeat_s = 60;
    world->noise_permille = 20;
}

static bool script_chaos(struct placement *world)
{
    enum { CHAOS_S = 3600 };
    uint64_t s = placement_script_s(world);
    struct scheduler_state *states = world->scheduler.states;
    bool chaos = s < CHAOS_S;
    if (world->stage++ == 0)
        placement_measure(world);
    states[POLICY_SHUFFLE_LEADER].on = states[POLICY_SHUFFLE_REGION].on = states[POLICY_RANDOM_MERGE].on = chaos;
    if (!chaos) {
        for (uint32_t i = 0; i < world->store_count; i++)
            placement_revive(world, i);
        return false;
    }
    uint32_t store = (uint32_t)rng_below(&world->rng, world->store_count), dead = 0;
    for (uint32_t i = 0; i < world->store_count; i++)
        dead += !world->stores[i].alive;
    if (rng_chance(&world->rng, 1, 60) && dead < 2)
        placement_kill(world, store);
    if (rng_chance(&world->rng, 1, 60))
        placement_revive(world, store);
    if (rng_chance(&world->rng, 1, 600))
        (void)pd_view_drain(&world->scheduler.view, store + 1, NULL);
    if (rng_chance(&world->rng, 1, 600))
        placement_add_store(world, store_table_at(world->table, 0)->capacity_size);
    if (rng_chance(&world->rng, 1, 900))
        placement_pd_fails_over(world);
    return true;
}

static void judge_chaos(struct placement *world, struct placement_result *result)
{
    struct bytes start, end;
    at_most(result, "operators_running", operator_list_count(world->operators), 0);
    at_most(result, "regions that still violate a rule", (double)world->violated_count, 0);
    at_most(result, "unsatisfied", (double)result->unsatisfied, 0);
    at_most(result, "gaps in the key space", region_tree_gap(world->tree, bytes_empty(), &start, &end), 0);
    at_most(result, "spread_ratio", result->spread_ratio, 0.015 + grain(world));
    for (struct region_node *node = region_tree_seek(world->tree, bytes_empty()); node;
         node = region_tree_next(world->tree, node))
        at_most(result, "peers of a region", region_node_peer_count(node), 3);
}

/* ---- the same as scale-out, but by the rule that PD of TiKV has: balanced is what is within 5 % of the mean */

static void setup_tikv(struct placement *world)
{
    world->region_size_min = world->region_size_max = 96 * MIB;
    world->config.region_cost_size = 0;
    world->config.band_is_goal = true;
    world->config.region_band_permille = world->config.leader_band_permille = 50;
}

static void judge_tikv(struct placement *world, struct placement_result *result)
{
    judge_settled(world, result);
    at_most(result, "spread_ratio", result->spread_ratio, 0.05);
}

static const struct placement_case cases[] = {
    {"balance-leader", "all leaders lean to the first stores", 30, 30000, 7200, 900, setup_leaders, measure_at_once,
     judge_leaders},
    {"balance-region", "half of the stores are empty", 20, 6000, 36000, 900, setup_half, measure_at_once, judge_moves},
    {"scale-out", "a tenth more stores", 100, 30000, 36000, 900, NULL, script_add, judge_moves},
    {"scale-in", "a tenth of the stores is drained", 100, 30000, 36000, 900, NULL, script_drain, judge_drain},
    {"store-dies", "a store never comes back", 30, 9000, 36000, 900, NULL, script_die, judge_die},
    {"rack-dies-and-returns", "a rack is away for half of the time after which it would count as down", 60, 18000,
     36000, 900, NULL, script_rack, judge_no_moves},
    {"hot-read", "a fiftieth of the regions is read a hundred times as much", 20, 6000, 36000, 900, setup_hot,
     script_hot_read, judge_hot},
    {"hot-write", "a fiftieth of the regions is written a hundred times as much", 20, 6000, 36000, 900, setup_hot,
     script_hot_write, judge_hot_write},
    {"moving-hot-spot", "what is read much changes every ten minutes", 20, 6000, 36000, 900, setup_hot, script_moving,
     judge_hot},
    {"sizes-pareto", "regions of 8 to 140 MiB, stores of one, two and four times the capacity", 30, 30000, 72000, 900,
     setup_pareto, measure_at_once, judge_moves},
    {"rules", "isolated racks, five copies for a tenth, a learner on a spinning disk for all", 40, 4000, 72000, 900,
     NULL, script_rules, judge_rules},
    {"split-storm", "a tenth of the regions doubles every minute for five minutes", 20, 2000, 72000, 900, setup_grow,
     script_grow, judge_split},
    {"mass-merge", "nine tenths of the regions become small", 20, 10000, 72000, 900, NULL, script_shrink, judge_merge},
    {"stable-24h", "a day with 1 % of noise", 100, 10000, 90000, 0, setup_stable, script_stable, judge_stable},
    {"slow-store", "a store's disk becomes slow", 20, 6000, 7200, 900, NULL, script_slow, judge_slow},
    {"flapping-store", "a store goes and comes every minute for an hour", 20, 6000, 7200, 900, NULL, script_flap,
     judge_no_moves},
    {"pd-failover", "scale-out while pd's leader changes three times", 50, 15000, 36000, 900, NULL, script_failover,
     judge_failover},
    {"rolling-restart", "each store is announced, stopped, and back after 40 s", 20, 6000, 7200, 900, setup_rolling,
     script_rolling, judge_no_moves},
    {"chaos-mix", "shuffles, merges, deaths, drains, new stores, failovers for an hour; then peace", 30, 3000, 90000,
     900, setup_chaos, script_chaos, judge_chaos},
    {"tikv-defaults", "scale-out by the +-5 % rule with regions of 96 MiB", 100, 30000, 36000, 900, setup_tikv,
     script_add, judge_tikv},
};

const struct placement_case *placement_cases(uint32_t *ret_count)
{
    *ret_count = sizeof(cases) / sizeof(cases[0]);
    return cases;
}
