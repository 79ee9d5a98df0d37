/* pd_why: each policy, in a view small enough to see that it is right, starts what it is for; and its reason names the
 * policy, the numbers that it compared, and what it could have done instead but did not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "placement_world.h"

static const char *refusal_of(const struct reason *reason, const char *what, uint64_t id)
{
    for (uint32_t i = 0; i < reason->refusal_count; i++)
        if (strcmp(reason->refusals[i].what, what) == 0 && reason->refusals[i].id == id)
            return reason->refusals[i].why;
    fail_msg("%s: nothing is said of %s %llu", reason->policy, what, (unsigned long long)id);
    return "";
}

static int64_t fact_of(const struct reason *reason, const char *name)
{
    uint32_t found = 0;
    int64_t value = 0;
    for (uint32_t i = 0; i < reason->fact_count; i++)
        if (strcmp(reason->facts[i].name, name) == 0) {
            value = reason->facts[i].value;
            found++;
        }
    if (found != 1)
        fail_msg("%s: %s is told %u times", reason->policy, name, found);
    return value;
}

/* The operator keeps the reason: that is what people are shown. */
static const struct reason *begun(const struct operator *operator, const char *policy)
{
    assert_non_null(operator);
    assert_string_equal(operator->reason.policy, policy);
    assert_true(operator->reason.fact_count > 0);
    assert_true(operator->step_count > 0);
    return &operator->reason;
}

static void see(struct world *world, region_id id, uint64_t size, uint64_t keys, uint32_t reads, uint32_t writes)
{
    struct region_node *node = region_tree_find_id(world->tree, id);
    struct region_seen seen = region_node_seen(node);
    seen.approximate_size = size;
    seen.approximate_keys = keys;
    seen.read_load = reads;
    seen.write_load = writes;
    region_tree_see(world->tree, node, &seen);
    pd_view_report(world->view, node, false);
}

/* ---- replica_check */

static void a_missing_peer(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 6, 3); /* racks: 1,4  2,5  3,6 */
    put(world, 2, 1, 1, ON(3, 4, 5), 3);
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(1, 2), 1), &ignored), "rule-miss");
    assert_int_equal(fact_of(reason, "rule_wants"), 3);
    assert_int_equal(fact_of(reason, "rule_has"), 2);
    assert_int_equal(fact_of(reason, "target_store"), 6);
    assert_int_equal(fact_of(reason, "target_size"), 0);
    assert_true(fact_of(reason, "target_mean_size") > 0);
    assert_true(fact_of(reason, "target_free_size") > 0);
    assert_string_equal(refusal_of(reason, "store", 3), "not_emptier");
    assert_string_equal(refusal_of(reason, "store", 4), "nearer_to_others");
    assert_string_equal(refusal_of(reason, "store", 5), "nearer_to_others");
}

static void a_peer_on_a_store_that_is_down(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 5, 5);
    store(world, 5)->cordoned = true;
    world->now_ms += 100 * 1000;
    for (store_id id = 1; id <= 5; id++)
        if (id != 3)
            store_heartbeat(store(world, id), world->now_ms);
    store_table_tick(world->table, world->now_ms);
    for (store_id id = 1; id <= 5; id++)
        store(world, id)->up_since_ms = 0;
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(1, 2, 3), 1), &ignored), "down-peer");
    assert_int_equal(fact_of(reason, "source_store"), 3);
    assert_int_equal(fact_of(reason, "source_silent_ms"), 100 * 1000);
    assert_int_equal(fact_of(reason, "target_store"), 4);
    assert_string_equal(refusal_of(reason, "store", 5), "cordoned");
}

static void a_drain(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 6, 6);
    put(world, 2, 1, 1, ON(1, 2, 4), 1);
    put(world, 3, 1, 1, ON(1, 2, 3), 1);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2, 3), 1);
    store(world, 6)->available_size = MIB;
    drain(world, 3);
    const struct reason *reason = begun(check(world, node, &ignored), "drain");
    assert_int_equal(fact_of(reason, "source_store"), 3);
    assert_int_equal(fact_of(reason, "source_size"), 2 * 68 * MIB);
    assert_int_equal(fact_of(reason, "source_mean_size"), 0); /* of what is to be empty */
    assert_int_equal(fact_of(reason, "target_store"), 5);
    assert_int_equal(fact_of(reason, "target_size"), 0);
    assert_true(fact_of(reason, "target_mean_size") > (int64_t)(68 * MIB));
    assert_int_equal(fact_of(reason, "target_free_size"), 1024 * 1024 * MIB);
    assert_int_equal(fact_of(reason, "region_size"), 64 * MIB);
    assert_string_equal(refusal_of(reason, "store", 4), "not_emptier");
    assert_string_equal(refusal_of(reason, "store", 6), "space");
}

static void a_peer_too_many(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 4, 4);
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(4, 1, 2, 3), 4), &ignored), "extra-peer");
    assert_int_equal(fact_of(reason, "peers"), 4);
    assert_int_equal(fact_of(reason, "rules_want"), 3);
    assert_int_equal(fact_of(reason, "store"), 3);
    for (store_id id = 1; id <= 4; id++)
        if (id != 3)
            assert_string_equal(refusal_of(reason, "store", id), "a_rule_wants_it");
}

static void a_learner_where_a_voter_is_wanted(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(1, 2, -3), 1), &ignored), "rule-role");
    assert_int_equal(fact_of(reason, "store"), 3);
    assert_int_equal(fact_of(reason, "is_voter"), 0);
    assert_int_equal(fact_of(reason, "wants_voter"), 1);
    assert_int_equal(fact_of(reason, "voters"), 2);
}

static void peers_that_isolation_parts(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    isolate(world);
    add_stores(world, 6, 3);
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(1, 4, 2), 2), &ignored), "isolation");
    assert_true(fact_of(reason, "nearness_then") < fact_of(reason, "nearness_now"));
    assert_int_equal(fact_of(reason, "target_store"), 3);
    assert_string_equal(refusal_of(reason, "store", 5), "isolation");
    assert_string_equal(refusal_of(reason, "store", 6), "not_emptier");
}

static void peers_that_could_be_further_apart(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 6, 3);
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(1, 4, 2), 2), &ignored), "location");
    assert_true(fact_of(reason, "nearness_then") < fact_of(reason, "nearness_now"));
    assert_string_equal(refusal_of(reason, "store", 5), "nearer_to_others");
}

static void a_rule_that_begins_inside(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    const uint8_t cut[] = {'r', 1, 7};
    struct rule rule = plain_rule(world);
    snprintf(rule.name, sizeof(rule.name), "other");
    rule.start_key = bytes_of(cut, sizeof(cut));
    put_rule(world, &rule);
    add_stores(world, 3, 3);
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(1, 2, 3), 1), &ignored), "rule-split");
    assert_int_equal(fact_of(reason, "region_size"), 64 * MIB);
}

static void a_leader_where_the_rules_want_none(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    struct rule follows = plain_rule(world), votes = plain_rule(world);
    add_stores(world, 3, 3);
    assert_int_equal(store_table_set_label(world->table, store(world, 1), "zone", "far"), ERR_OK);
    follows.role = RULE_FOLLOWER;
    follows.count = 1;
    follows.index = -1;
    constrain(world, &follows, "zone", RULE_IN, "far");
    snprintf(votes.name, sizeof(votes.name), "votes");
    votes.count = 2;
    put_rule(world, &follows);
    put_rule(world, &votes);
    put(world, 2, 1, 1, ON(1, 2, 3), 2);
    const struct reason *reason = begun(check(world, put(world, 1, 1, 1, ON(1, 2, 3), 1), &ignored), "rule-leader");
    assert_int_equal(fact_of(reason, "target_store"), 3);
    assert_int_equal(fact_of(reason, "target_leaders"), 0);
    assert_string_equal(refusal_of(reason, "store", 2), "leads_no_fewer");
}

/* ---- balance */

static void balance_of_regions(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 5, 5);
    for (region_id id = 1; id <= 8; id++)
        put(world, id, 1, 1, id < 3 ? ON(1, 2, 4) : ON(1, 2, 3), 1);
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(balance_region(world->view, &ignored), "balance-region");
    assert_int_equal(fact_of(reason, "source_store"), 1);
    assert_true(fact_of(reason, "source_size") > fact_of(reason, "source_mean_size"));
    assert_int_equal(fact_of(reason, "target_store"), 5);
    assert_true(fact_of(reason, "target_size") < fact_of(reason, "target_mean_size"));
    assert_true(fact_of(reason, "target_free_size") > 0);
    assert_int_equal(fact_of(reason, "region_size"), 64 * MIB);
    assert_string_equal(refusal_of(reason, "store", 2), "not_fuller_than_the_source");
    assert_string_equal(refusal_of(reason, "store", 4), "not_emptier_than_the_target");
}

static void balance_of_leaders(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 20; id++)
        put(world, id, 1, 1, ON(1, 2, 3), id < 4 ? 2 : 1);
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(balance_leader(world->view, &ignored), "balance-leader");
    assert_int_equal(fact_of(reason, "source_leaders"), 17);
    assert_int_equal(fact_of(reason, "source_mean"), 6);
    assert_int_equal(fact_of(reason, "target_store"), 3);
    assert_int_equal(fact_of(reason, "target_leaders"), 0);
    assert_string_equal(refusal_of(reason, "store", 2), "leads_no_fewer");
}

/* ---- load */

static void hot_reads(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 7; id++) {
        put(world, id, 1, 1, ON(1, 2, 3), id == 7 ? 2 : 1);
        see(world, id, 64 * MIB, 1000, 1000, 0);
    }
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(hot_read(world->view, &ignored), "hot-read");
    assert_int_equal(fact_of(reason, "source_store"), 1);
    assert_true(fact_of(reason, "source_above_mean") > 0);
    assert_true(fact_of(reason, "target_above_mean") < 0);
    assert_int_equal(fact_of(reason, "region_load"), 1000);
    assert_string_equal(refusal_of(reason, "store", 2), "too_busy");
}

static void hot_writes(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 5, 5);
    store(world, 5)->cordoned = true;
    for (region_id id = 1; id <= 6; id++) {
        put(world, id, 1, 1, ON(1, 2, 3), 1);
        see(world, id, 64 * MIB, 1000, 0, 1000);
    }
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(hot_write(world->view, &ignored), "hot-write");
    assert_int_equal(fact_of(reason, "target_store"), 4);
    assert_true(fact_of(reason, "source_above_mean") > 0);
    assert_true(fact_of(reason, "target_above_mean") < 0);
    assert_string_equal(refusal_of(reason, "store", 5), "cordoned");
}

static void a_region_that_is_too_hot_to_move(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    see(world, 1, 64 * MIB, 1000, 9000, 0);
    for (store_id id = 2; id <= 3; id++) { /* half of it would still be above the mean elsewhere */
        put(world, id, 1, 1, ON(1, 2, 3), id);
        see(world, id, 64 * MIB, 1000, 6000, 0);
    }
    pd_view_refresh(world->view, world->now_ms);
    const struct operator *operator = hot_read(world->view, &ignored);
    const struct reason *reason = begun(operator, "hot-read");
    assert_steps(operator, "split 0 0");
    assert_int_equal(fact_of(reason, "region_load"), 9000);
    assert_int_equal(fact_of(reason, "source_above_mean"), 2000);
    assert_string_equal(refusal_of(reason, "region", 1), "more_than_may_move");
}

/* ---- sizes */

static void a_split(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    see(world, 1, 200 * MIB, 1000, 0, 0);
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(split_merge(world->view, &ignored), "split");
    assert_int_equal(fact_of(reason, "region_size"), 200 * MIB);
    assert_int_equal(fact_of(reason, "split_size"), 96 * MIB);
}

static void three_small_neighbours(struct world *world)
{
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 3; id++) {
        put(world, id, 1, 1, ON(1, 2, 3), 1);
        see(world, id, id == 2 ? MIB : 40 * MIB, 10, 0, 0);
    }
    pd_view_refresh(world->view, world->now_ms);
}

static void a_merge(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    three_small_neighbours(world);
    const struct reason *reason = begun(split_merge(world->view, &ignored), "merge");
    assert_int_equal(fact_of(reason, "region_size"), MIB);
    assert_int_equal(fact_of(reason, "merge_size"), 8 * MIB);
    assert_int_equal(fact_of(reason, "into"), 3);
    assert_int_equal(fact_of(reason, "into_size"), 40 * MIB);
    assert_string_equal(refusal_of(reason, "region", 1), "one_neighbour_is_enough");
}

static void a_merge_by_chance(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    const struct operator *operator = NULL;
    three_small_neighbours(world);
    for (int i = 0; !operator && i < 100; i++)
        operator = random_merge(world->view, &ignored);
    const struct reason *reason = begun(operator, "random-merge");
    assert_int_equal(fact_of(reason, "into"), operator->other_region);
    assert_true(fact_of(reason, "region_size") >= (int64_t)MIB);
    if (operator->region == 2)
        assert_string_equal(refusal_of(reason, "region", 4 - operator->other_region), "one_neighbour_is_enough");
}

/* ---- leaders that go */

static void leaders_that_people_send_away(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    put(world, 2, 1, 1, ON(1, 2, 3), 2);
    store(world, 1)->evict_leaders = true;
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(evict_leader(world->view, &ignored), "evict-leader");
    assert_int_equal(fact_of(reason, "asked_for"), 1);
    assert_int_equal(fact_of(reason, "source_leaders"), 1);
    assert_int_equal(fact_of(reason, "target_leaders"), 0);
    assert_int_equal(fact_of(reason, "target_store"), 3);
    assert_string_equal(refusal_of(reason, "store", 2), "leads_no_fewer");
}

static void leaders_of_a_slow_store(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    store(world, 1)->slow_score = 100;
    store(world, 2)->evict_leaders = true;
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(slow_store(world->view, &ignored), "slow-store");
    assert_int_equal(fact_of(reason, "slow_score"), 100);
    assert_int_equal(fact_of(reason, "slow_score_max"), 80);
    assert_int_equal(fact_of(reason, "slow_stores"), 1);
    assert_string_equal(refusal_of(reason, "store", 2), "takes_no_leader");
}

static void leaders_that_one_store_gets(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    add_stores(world, 3, 3);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    store(world, 3)->grant_leaders = true;
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(grant_leader(world->view, &ignored), "grant-leader");
    assert_int_equal(fact_of(reason, "target_store"), 3);
    assert_int_equal(fact_of(reason, "source_leaders"), 1);
    assert_int_equal(fact_of(reason, "target_leaders"), 0);
    assert_string_equal(refusal_of(reason, "store", 2), "not_asked_for");
}

/* ---- spread and chaos */

static void a_scattered_range(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    struct scatter *scatter = calloc(1, sizeof(*scatter));
    add_stores(world, 6, 6);
    store(world, 6)->cordoned = true;
    for (region_id id = 1; id <= 10; id++)
        put(world, id, 1, 1, ON(1, 2, 3), 1);
    pd_view_refresh(world->view, world->now_ms);
    const struct reason *reason = begun(scatter_range(world->view, scatter, &ignored), "scatter-range");
    assert_int_equal(fact_of(reason, "source_group"), 10);
    assert_int_equal(fact_of(reason, "target_group"), 0);
    assert_int_equal(fact_of(reason, "target_store"), 4);
    assert_string_equal(refusal_of(reason, "store", 5), "has_no_fewer_of_the_range");
    assert_string_equal(refusal_of(reason, "store", 6), "cordoned");
    free(scatter);
}

static void a_leader_by_chance(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    const struct operator *operator = NULL;
    add_stores(world, 3, 3);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    pd_view_refresh(world->view, world->now_ms);
    for (int i = 0; !operator && i < 100; i++)
        operator = shuffle_leader(world->view, &ignored);
    const struct reason *reason = begun(operator, "shuffle-leader");
    assert_int_equal(fact_of(reason, "source_leaders"), 1);
    assert_int_equal(fact_of(reason, "target_leaders"), 0);
    assert_string_equal(refusal_of(reason, "store", 5 - (uint64_t)fact_of(reason, "target_store")), "leads_no_fewer");
}

static void a_peer_by_chance(void **state)
{
    struct world *world = *state;
    struct reason ignored;
    const struct operator *operator = NULL;
    add_stores(world, 4, 4);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    pd_view_refresh(world->view, world->now_ms);
    for (int i = 0; !operator && i < 100; i++)
        operator = shuffle_region(world->view, &ignored);
    const struct reason *reason = begun(operator, "shuffle-region");
    assert_int_equal(fact_of(reason, "target_store"), 4);
    assert_int_equal(fact_of(reason, "source_size"), 68 * MIB);
    assert_int_equal(fact_of(reason, "target_size"), 0);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CLAIM(a_missing_peer),
        CLAIM(a_peer_on_a_store_that_is_down),
        CLAIM(a_drain),
        CLAIM(a_peer_too_many),
        CLAIM(a_learner_where_a_voter_is_wanted),
        CLAIM(peers_that_isolation_parts),
        CLAIM(peers_that_could_be_further_apart),
        CLAIM(a_rule_that_begins_inside),
        CLAIM(a_leader_where_the_rules_want_none),
        CLAIM(balance_of_regions),
        CLAIM(balance_of_leaders),
        CLAIM(hot_reads),
        CLAIM(hot_writes),
        CLAIM(a_region_that_is_too_hot_to_move),
        CLAIM(a_split),
        CLAIM(a_merge),
        CLAIM(a_merge_by_chance),
        CLAIM(leaders_that_people_send_away),
        CLAIM(leaders_of_a_slow_store),
        CLAIM(leaders_that_one_store_gets),
        CLAIM(a_scattered_range),
        CLAIM(a_leader_by_chance),
        CLAIM(a_peer_by_chance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
