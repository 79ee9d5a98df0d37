/* placement: rules, limits, life of stores, operators and policies, each on a handful of stores. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "chosen_bug.h"
#include "placement_world.h"

/* ---- rules */

static void a_region_with_too_few_peers_gets_one_in_another_rack(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 3); /* racks: 1,4  2,5  3,6 */
    const struct operator *operator= check(world, put(world, 1, 1, 1, ON(1, 2), 1), &reason);
    assert_string_equal(operator->reason.policy, "rule-miss");
    assert_steps(operator, "add_learner 3 0, change_peers 3 0");
}

static void a_peer_too_many_is_removed_and_never_the_leader(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    const struct operator *operator= check(world, put(world, 1, 1, 1, ON(4, 1, 2, 3), 4), &reason);
    assert_string_equal(operator->reason.policy, "extra-peer");
    assert_int_not_equal(operator->steps[0].other, 4);
    assert_int_equal(operator->steps[0].kind, STEP_CHANGE);
    assert_int_equal(operator->steps[1].kind, STEP_REMOVE);
}

static void a_learner_that_was_left_over_is_removed(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    assert_steps(check(world, put(world, 1, 1, 1, ON(1, 2, 3, -4), 1), &reason), "remove_peer 4 0");
}

static void a_half_done_move_off_a_drained_store_is_finished(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 6);
    struct region_node *node = put(world, 1, 2, 1, ON(1, 2, 3, -5), 1);
    drain(world, 3);
    store(world, 1)->send = (struct store_bucket){.rate_size = 1, .tokens = -1}; /* nothing is sent */
    const struct operator *operator = check(world, node, &reason);
    assert_string_equal(operator->reason.policy, "drain");
    assert_steps(operator, "change_peers 5 3, remove_peer 3 0");
    assert_int_equal(store(world, 5)->coming_count, 0); /* it is there */
    assert_int_equal(store(world, 3)->coming_count, -1);
}

static void a_learner_on_a_store_that_is_down_too_finishes_nothing(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 6);
    struct region_node *node = put(world, 1, 2, 1, ON(1, 2, 3, -5), 1);
    drain(world, 3);
    store(world, 5)->heard = STORE_DOWN;
    const struct operator *operator = check(world, node, &reason);
    assert_steps(operator, "add_learner 4 0, change_peers 4 3, remove_peer 3 0");
}

static void a_half_done_move_off_a_store_that_is_down_is_finished(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 6);
    struct region_node *node = put(world, 1, 2, 1, ON(1, 2, 3, -5), 1);
    store(world, 3)->heard = STORE_DOWN;
    assert_steps(check(world, node, &reason), "change_peers 5 0");
    assert_true(operator_list_cancel(world->operators, 1, world->now_ms));
    node = put(world, 1, 3, 1, ON(1, 2, 3, 5), 1);
    assert_steps(check(world, node, &reason), "change_peers 0 3, remove_peer 3 0");
}

static void a_half_done_move_to_an_emptier_store_is_finished_and_goes_off_the_fullest(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    for (region_id id = 2; id <= 9; id++)
        put(world, id, 1, 1, id < 4 ? ON(1, 3) : ON(1, 2, 3), 3);
    struct region_node *node = put(world, 1, 2, 1, ON(1, 2, 3, -4), 2);
    store(world, 3)->region_weight = 2;
    const struct operator *operator = check(world, node, &reason);
    assert_string_equal(operator->reason.policy, "half-done-move");
    assert_steps(operator, "change_peers 4 1, remove_peer 1 0");
    assert_true(operator_list_cancel(world->operators, 1, world->now_ms));
    /* Exchanged already: what is left over is on the fuller store, and only goes. */
    node = put(world, 1, 3, 1, ON(-1, 2, 3, 4), 2);
    assert_steps(check(world, node, &reason), "remove_peer 1 0");
}

static void a_half_done_move_goes_off_the_store_that_is_silent(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    for (region_id id = 2; id <= 9; id++)
        put(world, id, 1, 1, ON(1, 2), 1);
    struct region_node *node = put(world, 1, 2, 1, ON(1, 2, 3, -4), 2);
    store(world, 3)->heard = STORE_DISCONNECTED; /* as one that is being built anew as store 4 */
    const struct operator *operator = check(world, node, &reason);
    assert_string_equal(operator->reason.policy, "half-done-move");
    assert_steps(operator, "change_peers 4 3, remove_peer 3 0");
    assert_true(operator_list_cancel(world->operators, 1, world->now_ms));
    node = put(world, 1, 3, 1, ON(1, 2, 3, 4), 2);
    assert_steps(check(world, node, &reason), "change_peers 0 3, remove_peer 3 0");
}

static void a_learner_whose_store_has_not_been_heard_yet_is_not_thrown_away(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    for (region_id id = 2; id <= 9; id++)
        put(world, id, 1, 1, ON(1, 2, 3), 1);
    struct region_node *node = put(world, 1, 2, 1, ON(1, 2, 3, -4), 2);
    store(world, 4)->heard = STORE_UNKNOWN; /* pd's leader has just changed */
    assert_null(check(world, node, &reason));
    store(world, 4)->heard = STORE_UP;
    const struct operator *operator = check(world, node, &reason);
    assert_string_equal(operator->reason.policy, "half-done-move");
    assert_true(operator_list_cancel(world->operators, 1, world->now_ms));
    store(world, 4)->heard = STORE_DISCONNECTED; /* it did not come */
    assert_steps(check(world, node, &reason), "remove_peer 4 0");
}

static void a_learner_that_does_not_catch_up_is_given_up_after_two_timeouts(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 6);
    struct region_node *node = put(world, 1, 2, 1, ON(1, 2, 3, -5), 1);
    drain(world, 3);
    for (int i = 0; i < 2; i++) {
        assert_steps(check(world, node, &reason), "change_peers 5 3, remove_peer 3 0");
        world->now_ms += (31 + 64) * 1000;
        operator_list_tick(world->operators, world->now_ms);
        assert_int_equal(operator_list_count(world->operators), 0);
        world->now_ms += 130 * 1000;
    }
    assert_steps(check(world, node, &reason), "add_learner 4 0, change_peers 4 3, remove_peer 3 0");
}

static void a_half_done_move_that_a_rule_does_not_allow_is_taken_back(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 3); /* racks: 1,4  2,5  3,6 */
    for (region_id id = 2; id <= 9; id++)
        put(world, id, 1, 1, ON(1, 2, 3), 3);
    struct rule rule = plain_rule(world);
    constrain(world, &rule, "host", RULE_NOT_IN, "h6");
    put_rule(world, &rule);
    assert_steps(check(world, put(world, 1, 2, 1, ON(1, 2, 3, -6), 1), &reason), "remove_peer 6 0");
    assert_steps(check(world, put(world, 10, 2, 1, ON(1, 2, 3, -5), 1), &reason), "change_peers 5 2, remove_peer 2 0");
}

static void peers_that_share_an_isolated_rack_are_parted(void **state)
{
    struct world *world = *state;
    struct reason reason;
    isolate(world);
    add_stores(world, 6, 3);
    const struct operator *operator= check(world, put(world, 1, 1, 1, ON(1, 4, 2), 2), &reason);
    assert_string_equal(operator->reason.policy, "isolation");
    assert_true(operator->steps[0].store == 3 || operator->steps[0].store == 6);
}

static void a_rule_that_nothing_can_meet_is_reported_and_starts_nothing(void **state)
{
    struct world *world = *state;
    struct reason reason;
    isolate(world);
    add_stores(world, 6, 2);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2), 1);
    for (int i = 0; i < 5; i++) {
        assert_null(check(world, node, &reason));
        assert_int_equal(operator_list_count(world->operators), 0);
    }
    assert_true(world->view->unsatisfied > 0);
    assert_string_equal(reason.policy, "rule-miss");
    assert_string_equal(reason.refusals[0].why, "isolation");
}

static void a_rule_that_begins_inside_a_region_splits_it(void **state)
{
    struct world *world = *state;
    struct reason reason;
    const uint8_t cut[] = {'r', 1, 7};
    struct rule rule = plain_rule(world);
    snprintf(rule.name, sizeof(rule.name), "other");
    rule.start_key = bytes_of(cut, sizeof(cut));
    put_rule(world, &rule);
    add_stores(world, 3, 3);
    assert_steps(check(world, put(world, 1, 1, 1, ON(1, 2, 3), 1), &reason), "split 0 0");
}

static void a_learner_rule_gets_a_learner_on_the_disk_that_it_wants(void **state)
{
    struct world *world = *state;
    struct reason reason;
    struct rule rule = {.group = "pd", .name = "copy", .index = 2, .role = RULE_LEARNER, .count = 1};
    add_stores(world, 5, 5);
    assert_int_equal(store_table_set_label(world->table, store(world, 5), "disk", "hdd"), ERR_OK);
    constrain(world, &rule, "disk", RULE_IN, "hdd");
    put_rule(world, &rule);
    assert_steps(check(world, put(world, 1, 1, 1, ON(1, 2, 3), 1), &reason), "add_learner 5 0");
}

static void a_leader_rule_moves_the_leader_where_it_wants_it(void **state)
{
    struct world *world = *state;
    struct reason reason;
    struct rule followers = plain_rule(world), leader = plain_rule(world);
    add_stores(world, 3, 3);
    assert_int_equal(store_table_set_label(world->table, store(world, 2), "zone", "near"), ERR_OK);
    followers.role = RULE_FOLLOWER;
    followers.count = 2;
    snprintf(leader.name, sizeof(leader.name), "leads");
    leader.role = RULE_LEADER;
    leader.count = 1;
    leader.index = -1;
    constrain(world, &leader, "zone", RULE_IN, "near");
    put_rule(world, &followers);
    put_rule(world, &leader);
    const struct operator *operator = check(world, put(world, 1, 1, 1, ON(1, 2, 3), 1), &reason);
    assert_string_equal(operator->reason.policy, "rule-leader");
    assert_steps(operator, "transfer_leader 2 0");
    put(world, 2, 1, 1, ON(1, 2, 3), 2);
    assert_null(check(world, region_tree_find_id(world->tree, 2), &reason));
}

static void rules_that_make_no_sense_are_refused_with_a_text(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    struct rule rule = plain_rule(world);
    rule.count = 0;
    assert_int_equal(rules_put(&world->rules, &rule, &error), ERR_INVALID);
    assert_non_null(strstr(error.text, "wants 0 peers"));
    rule = plain_rule(world);
    rule.isolation_level = 3;
    assert_int_equal(rules_put(&world->rules, &rule, &error), ERR_INVALID);
    rule = plain_rule(world);
    rule.start_key = bytes_of_string("rz");
    rule.end_key = bytes_of_string("ra");
    assert_int_equal(rules_put(&world->rules, &rule, &error), ERR_INVALID);
    assert_int_equal(world->rules.count, 1);
    assert_int_equal(rules_remove(&world->rules, "pd", "nobody"), ERR_NOT_FOUND);
}

/* ---- life of a store */

static void a_store_that_is_down_is_replaced_and_one_in_a_planned_restart_is_not(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2, 3), 1);
    store_prepare_stop(store(world, 3), world->now_ms + 100 * 1000);
    for (int i = 0; i < 101; i++) {
        world->now_ms += 1000;
        for (store_id id = 1; id <= 4; id++)
            if (id != 3)
                store_heartbeat(store(world, id), world->now_ms);
        store_table_tick(world->table, world->now_ms);
        assert_null(check(world, node, &reason));
    }
    assert_int_equal(store(world, 3)->heard, STORE_DISCONNECTED);
    world->now_ms += 61 * 1000;
    for (store_id id = 1; id <= 4; id++)
        if (id != 3)
            store_heartbeat(store(world, id), world->now_ms);
    store_table_tick(world->table, world->now_ms);
    const struct operator *operator= check(world, node, &reason);
    assert_string_equal(operator->reason.policy, "down-peer");
    assert_steps(operator, "add_learner 4 0, change_peers 4 3, remove_peer 3 0");
}

static void nothing_is_begun_that_nobody_could_carry_out(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 6);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2, 3), 1);
    store(world, 1)->heard = store(world, 2)->heard = STORE_DOWN;
    assert_null(check(world, node, &reason));
    assert_string_equal(reason.refusals[0].why, "no_majority");
    store(world, 2)->heard = STORE_UP;
    assert_null(check(world, node, &reason));
    assert_string_equal(reason.refusals[0].why, "leader_is_silent"); /* the other two elect */
    assert_string_equal(reason.facts[0].name, "leader_store");
    assert_int_equal(reason.facts[0].value, 1);
    store(world, 1)->evict_leaders = true;
    pd_view_refresh(world->view, world->now_ms);
    assert_null(evict_leader(world->view, &reason));
    assert_null(balance_leader(world->view, &reason));
    const struct operator *operator = check(world, put(world, 1, 1, 1, ON(1, 2, 3), 2), &reason);
    assert_string_equal(operator->reason.policy, "down-peer");
}

static void draining_moves_away_and_ends_as_a_tombstone(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2, 3), 3);
    drain(world, 3);
    const struct operator *operator= check(world, node, &reason);
    assert_string_equal(operator->reason.policy, "drain");
    assert_int_equal(operator->steps[0].store, 4);
    assert_int_equal(operator->steps[1].kind, STEP_TRANSFER); /* it led: somebody else must before */
    assert_int_equal(pd_view_drain_permille(world->view, store(world, 3)), 0);
    node = put(world, 1, 2, 1, ON(1, 2, 3, -4), 3);
    pd_view_report(world->view, node, true);
    node = put(world, 1, 2, 1, ON(1, 2, 3, -4), 1);
    const struct region_seen led = {.leader_peer = 101, .term = 7, .approximate_size = 64 * MIB};
    region_tree_see(world->tree, node, &led);
    pd_view_report(world->view, node, true);
    pd_view_report(world->view, put(world, 1, 3, 1, ON(1, 2, -3, 4), 1), true);
    pd_view_report(world->view, put(world, 1, 4, 1, ON(1, 2, 4), 1), true);
    assert_int_equal(operator_list_count(world->operators), 0);
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_DONE);
    pd_view_end_drains(world->view);
    assert_int_equal(store(world, 3)->wanted, STORE_TOMBSTONE);
    assert_int_equal(store_table_remove(world->table, 1, NULL), ERR_CONDITION_FAILED);
    assert_int_equal(store_table_remove(world->table, 3, NULL), ERR_OK);
}

static void draining_below_the_replica_count_is_refused(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    add_stores(world, 3, 3);
    pd_view_refresh(world->view, world->now_ms);
    assert_int_equal(pd_view_drain(world->view, 2, &error), ERR_CONDITION_FAILED);
    assert_non_null(strstr(error.text, "wants 3 peers, and 2 stores would be left"));
    assert_int_equal(store(world, 2)->wanted, STORE_SERVING);
    assert_int_equal(pd_view_drain(world->view, 9, &error), ERR_STORE_NOT_MATCH);
}

static void draining_the_last_store_of_an_isolated_rack_is_refused(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    isolate(world);
    add_stores(world, 5, 3); /* 1,4  2,5  3 */
    pd_view_refresh(world->view, world->now_ms);
    assert_int_equal(pd_view_drain(world->view, 3, &error), ERR_CONDITION_FAILED);
    assert_non_null(strstr(error.text, "2 places"));
    assert_int_equal(pd_view_drain(world->view, 1, &error), ERR_OK);
}

static void draining_what_a_region_needs_for_its_majority_is_refused(void **state)
{
    struct world *world = *state;
    struct error error = {0};
    add_stores(world, 6, 6);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    store(world, 2)->heard = store(world, 3)->heard = STORE_DISCONNECTED;
    pd_view_refresh(world->view, world->now_ms);
    assert_int_equal(pd_view_drain(world->view, 1, &error), ERR_CONDITION_FAILED);
    assert_non_null(strstr(error.text, "no majority"));
}

static void a_store_that_comes_and_goes_waits_longer_each_time(void **state)
{
    struct world *world = *state;
    add_stores(world, 1, 1);
    struct store_entry *store = store_table_find(world->table, 1);
    assert_true(store_is_steady(store, world->now_ms)); /* a new one serves at once */
    uint64_t waited_before_ms = 0;
    for (int i = 0; i < 5; i++) {
        world->now_ms += 10 * 1000;
        store_table_tick(world->table, world->now_ms);
        assert_int_equal(store->heard, STORE_DISCONNECTED);
        store_heartbeat(store, world->now_ms);
        uint64_t waited_ms = 0;
        while (!store_is_steady(store, world->now_ms + waited_ms))
            waited_ms += 1000;
        assert_true(waited_ms >= 2 * waited_before_ms && waited_ms >= 10 * 1000);
        waited_before_ms = waited_ms;
    }
}

/* ---- limits */

static void a_bucket_lets_its_rate_through_and_halves_under_latency(void **state)
{
    struct world *world = *state;
    add_stores(world, 1, 1);
    struct store_entry *store = store_table_find(world->table, 1);
    store_limit(store, 10 * (int64_t)MIB, 10 * (int64_t)MIB, world->now_ms);
    uint64_t taken = 0, slow = 0;
    for (int i = 0; i < 1000; i++) {
        world->now_ms += 100;
        store_refill(store, 1000, world->now_ms);
        for (; store_bucket_open(&store->receive); taken += 96 * MIB)
            store_bucket_take(&store->receive, 96 * MIB); /* larger than the bucket: debt, not never */
    }
    assert_in_range(taken, 1000 * MIB, 1000 * MIB + 20 * MIB + 96 * MIB);
    store->latency_us = 5000;
    for (int i = 0; i < 1000; i++) {
        world->now_ms += 100;
        store_refill(store, 1000, world->now_ms);
        for (; store_bucket_open(&store->receive); slow += MIB)
            store_bucket_take(&store->receive, MIB);
    }
    assert_in_range(slow, 1, 100 * MIB);
}

static void any_rate_fills_a_bucket_however_long_nobody_looked(void **state)
{
    struct world *world = *state;
    const int64_t rates[] = {1, 999, STORE_RATE_MIN, MIB, STORE_RATE_MAX, INT64_MAX / 4, INT64_MAX};
    add_stores(world, 1, 1);
    struct store_entry *store = store_table_find(world->table, 1);
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        store_limit(store, rates[i], 0, world->now_ms);
        assert_in_range(store->receive.rate_size, STORE_RATE_MIN, STORE_RATE_MAX);
        store_bucket_take(&store->receive, (uint64_t)store->receive.tokens + STORE_RATE_MIN);
        assert_false(store_bucket_open(&store->receive));
        assert_true(store_bucket_open(&store->send)); /* no limit */
        world->now_ms += i % 2 ? UINT64_C(365) * 24 * 3600 * 1000 : 2000;
        store_refill(store, 0, world->now_ms);
        assert_true(store_bucket_open(&store->receive));
        assert_in_range(store->receive.tokens, 1, 2 * store->receive.rate_size);
    }
}

/* ---- operators */

static void a_region_has_at_most_one_operator(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2), 1);
    assert_non_null(check(world, node, &reason));
    assert_null(check(world, node, &reason));
    reason_begin(&reason, "people");
    assert_null(pd_view_transfer(world->view, node, 2, &reason));
    assert_int_equal(operator_list_count(world->operators), 1);
    assert_true(operator_list_cancel(world->operators, 1, world->now_ms));
    assert_false(operator_list_cancel(world->operators, 1, world->now_ms));
    assert_non_null(pd_view_transfer(world->view, node, 2, &reason));
}

/* A neighbour pushes it out of the tree, and it comes back. */
static void a_region_that_was_lost_and_found_has_no_operator(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    assert_non_null(check(world, put(world, 1, 1, 1, ON(1, 2), 1), &reason));
    uint8_t start[2] = {'r', 0}, end[2] = {'r', 9};
    struct wire_peer peer = {.id = 900, .store_id = 1};
    struct wire_region all = {.id = 9,
                              .start_key = bytes_of(start, 2),
                              .end_key = bytes_of(end, 2),
                              .epoch_conf = 1,
                              .epoch_version = 2,
                              .peers = &peer,
                              .peers_count = 1};
    assert_int_equal(region_tree_insert(world->tree, &all, NULL, NULL), ERR_OK);
    struct region_node *node = put(world, 1, 1, 3, ON(1, 2), 1);
    operator_list_tick(world->operators, world->now_ms);
    assert_int_equal(operator_list_count(world->operators), 0);
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_STALE);
    assert_non_null(check(world, node, &reason));
    assert_int_equal(operator_list_count(world->operators), 1);
}

static void a_tombstone_that_gets_a_peer_drains_again(void **state)
{
    struct world *world = *state;
    add_stores(world, 4, 4);
    put(world, 1, 1, 1, ON(1, 2, 3), 1);
    drain(world, 4);
    pd_view_end_drains(world->view);
    assert_int_equal(store(world, 4)->wanted, STORE_TOMBSTONE);
    put(world, 1, 2, 1, ON(1, 2, 3, -4), 1);
    pd_view_end_drains(world->view);
    assert_int_equal(store(world, 4)->wanted, STORE_DRAINING);
}

static void an_operator_ends_when_somebody_else_changes_the_region(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 5, 5);
    assert_non_null(check(world, put(world, 1, 1, 1, ON(1, 2), 1), &reason));
    pd_view_report(world->view, put(world, 1, 2, 1, ON(1, 2, -5), 1), true); /* not the store that it chose */
    assert_int_equal(operator_list_count(world->operators), 0);
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_STALE);
    assert_int_equal(store(world, 3)->coming_count, 0);
}

/* Its own preparation raises the version of the source once; a second time it is somebody else, or was taken back. */
static void a_merge_that_is_being_prepared_goes_on(void **state)
{
    struct world *world = *state;
    add_stores(world, 3, 3);
    const int stores[] = {1, 2, 3, 0};
    struct region_node *node = put(world, 1, 1, 1, stores, 1);
    put(world, 2, 1, 1, stores, 1);
    struct operator draft;
    struct reason reason;
    reason_begin(&reason, "test");
    operator_draft(&draft, node, &reason);
    draft.other_region = 2;
    operator_add_step(&draft, STEP_MERGE, 0, 0);
    assert_non_null(operator_list_start(world->operators, &draft, world->now_ms));
    node = put(world, 1, 1, 2, stores, 1);
    assert_non_null(operator_list_report(world->operators, node, world->now_ms));
    assert_int_equal(operator_list_count(world->operators), 1);
    node = put(world, 1, 1, 3, stores, 1);
    assert_null(operator_list_report(world->operators, node, world->now_ms));
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_STALE);
}

static void an_operator_whose_step_takes_too_long_times_out_and_holds_nothing(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 3, 3);
    assert_non_null(check(world, put(world, 1, 1, 1, ON(1, 2), 1), &reason));
    assert_int_equal(store(world, 3)->coming_count, 1);
    assert_int_equal(store(world, 3)->coming_size, 64 * MIB);
    operator_list_tick(world->operators, world->now_ms + 60 * 1000);
    assert_int_equal(operator_list_count(world->operators), 1);
    operator_list_tick(world->operators, world->now_ms + 3600 * 1000);
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_TIMED_OUT);
    assert_int_equal(store(world, 3)->coming_count, 0);
}

static struct region_node *put_large(struct world *world, const int *stores, uint64_t conf, uint64_t size)
{
    struct region_node *node = put(world, 1, conf, 1, stores, 1);
    struct region_seen seen = region_node_seen(node);
    seen.approximate_size = size;
    region_tree_see(world->tree, node, &seen);
    return node;
}

/* A learner on store 3 has been added; how long its promotion may take. */
static uint64_t promotion_ms(struct world *world, uint64_t size)
{
    struct reason reason;
    assert_steps(check(world, put_large(world, ON(1, 2), 1, size), &reason), "add_learner 3 0, change_peers 3 0");
    const struct operator_step *step = operator_list_report(
        world->operators, put_large(world, ON(1, 2, -3), 2, size), world->now_ms);
    assert_int_equal(step->kind, STEP_CHANGE);
    return step->timeout_ms;
}

static void a_promotion_may_take_as_long_as_the_rows_are_on_their_way(void **state)
{
    struct world *world = *state;
    add_stores(world, 3, 3);
    assert_int_equal(promotion_ms(world, 1024 * MIB), (30 + 1024) * 1000); /* 1 MiB/s is slow enough */
    operator_list_tick(world->operators, world->now_ms + 10 * 60 * 1000);
    assert_int_equal(operator_list_count(world->operators), 1);
    operator_list_tick(world->operators, world->now_ms + 20 * 60 * 1000);
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_TIMED_OUT);
}

static void a_promotion_may_take_longer_where_little_may_be_received(void **state)
{
    struct world *world = *state;
    add_stores(world, 3, 3);
    store_limit(store(world, 1), 0, (int64_t)(64 * MIB), world->now_ms); /* what is sent */
    store_limit(store(world, 3), (int64_t)(MIB / 2), 0, world->now_ms);
    assert_int_equal(promotion_ms(world, 1024 * MIB), (30 + 4 * 1024) * 1000);
    assert_true(operator_list_cancel(world->operators, 1, world->now_ms));
    store_limit(store(world, 3), 4096, 0, world->now_ms);
    store_limit(store(world, 1), 0, 0, world->now_ms);
    put_large(world, ON(1, 2), 3, 1024 * MIB);
    struct reason reason;
    const struct operator *operator = check(world, region_tree_find_id(world->tree, 1), &reason);
    assert_int_equal(operator->steps[1].timeout_ms, (24 * 3600 + 30) * 1000); /* never for ever */
}

static void a_promotion_does_not_wait_long_for_a_store_that_is_silent(void **state)
{
    struct world *world = *state;
    add_stores(world, 3, 3);
    assert_true(promotion_ms(world, 1024 * MIB) > 60 * 1000);
    store(world, 3)->heard = STORE_DISCONNECTED;
    operator_list_tick(world->operators, world->now_ms + 29 * 1000);
    assert_int_equal(operator_list_count(world->operators), 1);
    operator_list_tick(world->operators, world->now_ms + 31 * 1000);
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_CANCELLED);
}

static void after_a_timeout_a_region_is_left_alone_longer_each_time(void **state)
{
    struct world *world = *state;
    struct reason reason;
    uint64_t waited_before_ms = 0;
    add_stores(world, 3, 3);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2), 1);
    for (int i = 0; i < 4; i++) {
        assert_non_null(check(world, node, &reason));
        world->now_ms += 3600 * 1000;
        operator_list_tick(world->operators, world->now_ms);
        assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_TIMED_OUT);
        uint64_t ended_ms = world->now_ms;
        struct operator draft;
        reason_begin(&reason, "balance");
        do {
            world->now_ms += 1000;
            operator_draft(&draft, node, &reason);
            operator_add_step(&draft, STEP_TRANSFER, 2, 0);
        } while (!operator_list_start(world->operators, &draft, world->now_ms));
        assert_true(world->now_ms - ended_ms + 2000 >= 2 * waited_before_ms && world->now_ms - ended_ms >= 60 * 1000);
        waited_before_ms = world->now_ms - ended_ms;
        assert_true(operator_list_cancel(world->operators, 1, world->now_ms));
    }
    reason_begin(&reason, "people");
    struct operator draft;
    assert_non_null(check(world, node, &reason));
    operator_list_tick(world->operators, world->now_ms += 3600 * 1000);
    operator_draft(&draft, node, &reason);
    operator_add_step(&draft, STEP_TRANSFER, 2, 0);
    assert_null(operator_list_start(world->operators, &draft, world->now_ms));
    draft.by_people = true;
    assert_non_null(operator_list_start(world->operators, &draft, world->now_ms));
}

static void an_operator_whose_target_falls_silent_is_given_up(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    struct region_node *node = put(world, 1, 1, 1, ON(1, 2), 1);
    assert_int_equal(check(world, node, &reason)->steps[0].store, 3);
    store(world, 3)->heard = STORE_DISCONNECTED;
    operator_list_tick(world->operators, world->now_ms);
    assert_int_equal(operator_list_history(world->operators, 0)->state, OPERATOR_CANCELLED);
    assert_int_equal(check(world, node, &reason)->steps[0].store, 4);
}

static void a_decision_says_what_it_compared_and_what_it_refused(void **state)
{
    struct world *world = *state;
    struct reason reason;
    struct buf buf;
    add_stores(world, 5, 5);
    store(world, 3)->cordoned = true;
    const struct operator *operator= check(world, put(world, 1, 1, 1, ON(1, 2), 1), &reason);
    buf_init(&buf, 4096);
    assert_int_equal(reason_json(&operator->reason, &buf), ERR_OK);
    assert_int_equal(buf_append_u8(&buf, 0), ERR_OK);
    assert_string_equal((char *)buf.data,
                        "{\"policy\": \"rule-miss\", \"facts\": {\"rule_wants\": 3, \"rule_has\": 2, \"target_store\": 4, "
                        "\"target_size\": 0, \"target_mean_size\": 28521267, \"target_free_size\": 1099511627776}, "
                        "\"refused\": [{\"store\": 3, \"why\": \"cordoned\"}, {\"store\": 5, \"why\": \"not_emptier\"}], "
                        "\"refused_unkept\": 0}");
    buf_fini(&buf);
}

/* ---- balance */

static void a_move_goes_from_above_the_mean_to_below_and_not_past_it(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    for (region_id id = 1; id <= 8; id++)
        put(world, id, 1, 1, ON(1, 2, 3), 1);
    pd_view_refresh(world->view, world->now_ms);
    uint32_t count = 0;
    for (const struct operator *operator; (operator= balance_region(world->view, &reason)); count++)
        assert_int_equal(operator->steps[0].store, 4);
    assert_int_equal(count, 6); /* 24 peers, 6 on each */
    const struct store_entry *store = store_table_find(world->table, 4);
    assert_true(pd_view_region_excess(world->view, store) < 1);
}

/* Four stores in rack 0, one in each of three others; no rack twice: rack 0 can never hold its share. */
static void stores_of_a_rack_that_stays_below_the_mean_level_out_among_themselves(void **state)
{
    struct world *world = *state;
    struct reason reason;
    isolate(world);
    add_stores(world, 7, 1);
    for (store_id id = 5; id <= 7; id++)
        store_table_set_label(world->table, store(world, id), "rack", label("x", (uint32_t)id));
    int places[41][4];
    for (int id = 1; id <= 40; id++) {
        memcpy(places[id], ON(1, 5 + id % 3, 5 + (id + 1) % 3), sizeof(places[id]));
        put(world, (region_id)id, 1, 1, places[id], 5 + (store_id)id % 3);
    }
    uint64_t conf = 1;
    for (uint32_t quiet = 0, moves = 0; quiet < 5;) {
        pd_view_refresh(world->view, world->now_ms);
        const struct operator *operator = balance_region(world->view, &reason);
        quiet = operator ? 0 : quiet + 1;
        world->now_ms += operator ? 1000 : 100 * 1000;
        for (store_id id = 1; id <= 7; id++)
            store_heartbeat(store(world, id), world->now_ms);
        if (!operator)
            continue;
        int *place = places[operator->region];
        for (int i = 0; i < 3; i++)
            if ((store_id)place[i] == operator->steps[operator->step_count - 1].store)
                place[i] = (int)operator->steps[0].store;
        region_id id = operator->region;
        assert_true(operator_list_cancel(world->operators, id, world->now_ms));
        put(world, id, ++conf, 1, place, region_node_leader_store(region_tree_find_id(world->tree, id)));
        assert_true(++moves < 100);
    }
    for (store_id id = 1; id <= 4; id++)
        assert_in_range(region_tree_sums(world->tree, id).count, 8, 12);
}

static void a_store_of_twice_the_weight_holds_twice_as_much(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 5, 5);
    store(world, 5)->region_weight = 2;
    for (region_id id = 1; id <= 12; id++)
        put(world, id, 1, 1, id % 2 ? ON(1, 2, 3) : ON(2, 3, 4), 2);
    for (int i = 0; i < 5; i++) {
        pd_view_refresh(world->view, world->now_ms);
        while (balance_region(world->view, &reason))
            continue;
    }
    const struct store_entry *heavy = store(world, 5);
    assert_int_equal(heavy->coming_count + heavy->count, 12); /* of 36: 6, 6, 6, 6, 12 */
}

static void who_is_out_of_balance_does_not_wait_behind_lower_ones_that_are_not(void **state)
{
    struct world *world = *state;
    struct reason reason;
    struct rule rule = plain_rule(world);
    const uint32_t counts[] = {8, 8, 8, 8, 9, 12, 12, 12, 12, 11}; /* the mean is 10, the band 7.5 .. 12.5 */
    region_id id = 0;
    rule.count = 1;
    put_rule(world, &rule);
    add_stores(world, 10, 10);
    for (store_id store = 1; store <= 10; store++)
        for (uint32_t i = 0; i < counts[store - 1]; i++)
            put(world, ++id, 1, 1, ON((int)store), store);
    world->config.region_band_permille = 250;
    pd_view_refresh(world->view, world->now_ms);
    assert_null(balance_region(world->view, &reason));
    store(world, 5)->region_out = true; /* it was below the band, and is not at the mean yet */
    pd_view_refresh(world->view, world->now_ms);
    const struct operator *operator = balance_region(world->view, &reason);
    assert_non_null(operator);
    assert_int_equal(operator->steps[0].store, 5);
    pd_view_refresh(world->view, world->now_ms);
    assert_null(balance_region(world->view, &reason)); /* it will be at the mean, and nobody else is out */
}

static void noise_inside_the_band_moves_nothing(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 200; id++) {
        struct region_node *node = put(world, id, 1, 1, ON(1, 2, 3), 1 + id % 3);
        struct region_seen seen = region_node_seen(node);
        seen.approximate_size += id % 7 * MIB / 2;
        region_tree_see(world->tree, node, &seen);
    }
    add_stores(world, 1, 1);
    store(world, 4)->cordoned = true;
    store(world, 4)->region_weight = 1e-9;
    pd_view_refresh(world->view, world->now_ms);
    assert_null(balance_region(world->view, &reason));
    assert_null(balance_leader(world->view, &reason));
}

static void leaders_level_out_within_one(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 90; id++)
        put(world, id, 1, 1, ON(1, 2, 3), 1);
    uint32_t count = 0;
    for (; count < 1000; count++) {
        pd_view_refresh(world->view, world->now_ms);
        const struct operator *operator= balance_leader(world->view, &reason);
        if (!operator)
            break;
        struct region_node *node = region_tree_find_id(world->tree, operator->region);
        struct region_seen seen = region_node_seen(node);
        seen.leader_peer = 100 * operator->region + operator->steps[0].store;
        region_tree_see(world->tree, node, &seen);
        pd_view_report(world->view, node, true);
    }
    assert_in_range(count, 58, 60);
    for (store_id id = 1; id <= 3; id++)
        assert_in_range(region_tree_sums(world->tree, id).leader_count, 29, 31);
}

static void one_slow_store_loses_its_leaders_and_ten_slow_ones_do_not(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    for (region_id id = 1; id <= 20; id++)
        put(world, id, 1, 1, ON(1, 2, 3), 1);
    store(world, 1)->slow_score = 100;
    pd_view_refresh(world->view, world->now_ms);
    assert_non_null(slow_store(world->view, &reason));
    assert_string_equal(reason.policy, "slow-store");
    store(world, 2)->slow_score = 100;
    pd_view_refresh(world->view, world->now_ms);
    assert_null(slow_store(world->view, &reason));
}

/* What the policy begins is done at once. */
static void let_all_transfer(struct world *world, policy_decide policy)
{
    const struct operator *operator;
    struct reason reason;
    pd_view_refresh(world->view, world->now_ms);
    while ((operator= policy(world->view, &reason)) != NULL) {
        region_id id = operator->region;
        store_id to = operator->steps[0].store;
        assert_int_equal(operator->steps[0].kind, STEP_TRANSFER);
        assert_true(operator_list_cancel(world->operators, id, world->now_ms));
        put(world, id, 1, 1, id % 4 ? ON(1, 2, 3) : ON(1, 2, 4), to);
        pd_view_refresh(world->view, world->now_ms);
    }
}

static uint32_t leaders_on(const struct world *world, store_id store)
{
    return region_tree_sums(world->tree, store).leader_count;
}

static void leaders_come_to_a_store_that_is_granted_them_and_none_leaves(void **state)
{
    struct world *world = *state;
    add_stores(world, 4, 4);
    for (region_id id = 1; id <= 16; id++)
        put(world, id, 1, 1, id % 4 ? ON(1, 2, 3) : ON(1, 2, 4), 1 + id % 2);
    store(world, 3)->grant_leaders = true;
    let_all_transfer(world, grant_leader);
    assert_int_equal(leaders_on(world, 3), 12);
    let_all_transfer(world, balance_leader);
    assert_int_equal(leaders_on(world, 3), 12);
    assert_int_equal(leaders_on(world, 1) + leaders_on(world, 2) + leaders_on(world, 4), 4);
    assert_in_range(leaders_on(world, 4), 1, 2); /* the mean is that of the others */
    store(world, 3)->grant_leaders = false;
    let_all_transfer(world, balance_leader);
    assert_in_range(leaders_on(world, 3), 3, 5);
}

static void stores_that_are_granted_leaders_share_them(void **state)
{
    struct world *world = *state;
    add_stores(world, 4, 4);
    for (region_id id = 1; id <= 13; id++)
        put(world, id, 1, 1, id % 4 ? ON(1, 2, 3) : ON(1, 2, 4), 1);
    store(world, 2)->grant_leaders = store(world, 3)->grant_leaders = true;
    let_all_transfer(world, grant_leader);
    assert_int_equal(leaders_on(world, 1), 0);
    assert_in_range(leaders_on(world, 2), 6, 7);
    assert_in_range(leaders_on(world, 3), 6, 7);
}

static void a_slow_store_gets_no_leader_that_it_is_granted(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    for (region_id id = 1; id <= 12; id++)
        put(world, id, 1, 1, id % 4 ? ON(1, 2, 3) : ON(1, 2, 4), 1 + id % 3 % 2);
    store(world, 3)->grant_leaders = true;
    store(world, 3)->slow_score = 100;
    pd_view_refresh(world->view, world->now_ms);
    assert_null(grant_leader(world->view, &reason));
    assert_string_equal(reason.refusals[0].why, "takes_no_leader");
    store(world, 3)->slow_score = 0;
    world->config.grants = false; /* the policy is off */
    pd_view_refresh(world->view, world->now_ms);
    assert_null(grant_leader(world->view, &reason));
    let_all_transfer(world, balance_leader);
    assert_int_equal(leaders_on(world, 3), 3);
}

static void a_hot_leader_stays_where_all_leaders_are_granted(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 6; id++) {
        struct region_node *node = put(world, id, 1, 1, ON(1, 2, 3), 1);
        struct region_seen seen = region_node_seen(node);
        seen.read_load = 1000;
        region_tree_see(world->tree, node, &seen);
        pd_view_report(world->view, node, false);
    }
    store(world, 1)->grant_leaders = true;
    pd_view_refresh(world->view, world->now_ms);
    assert_null(hot_read(world->view, &reason));
    store(world, 1)->grant_leaders = false;
    pd_view_refresh(world->view, world->now_ms);
    assert_non_null(hot_read(world->view, &reason));
}

static void a_hot_leader_goes_to_a_cold_follower(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 6; id++) {
        struct region_node *node = put(world, id, 1, 1, ON(1, 2, 3), 1);
        struct region_seen seen = region_node_seen(node);
        seen.read_load = 1000;
        region_tree_see(world->tree, node, &seen);
        pd_view_report(world->view, node, false);
    }
    pd_view_refresh(world->view, world->now_ms);
    uint32_t count = 0;
    while (hot_read(world->view, &reason))
        count++;
    assert_int_equal(count, 4); /* two each */
}

static void what_is_left_of_an_excess_within_a_round_splits_nothing(void **state)
{
    struct world *world = *state;
    struct reason reason;
    const uint32_t loads[] = {1008, 300, 996, 700};
    add_stores(world, 3, 3);
    for (region_id id = 1; id <= 4; id++) {
        struct region_node *node = put(world, id, 1, 1, ON(1, 2, 3), id < 3 ? 1 : id - 1);
        struct region_seen seen = region_node_seen(node);
        seen.read_load = loads[id - 1];
        region_tree_see(world->tree, node, &seen);
        pd_view_report(world->view, node, false);
    }
    pd_view_refresh(world->view, world->now_ms);
    assert_steps(hot_read(world->view, &reason), "transfer_leader 3 0");
    assert_null(hot_read(world->view, &reason)); /* store 1 will be 7 above the mean */
}

static void load_decays_to_half_in_a_minute(void **state)
{
    (void)state;
    uint32_t load = 0;
    for (int i = 0; i < 100; i++)
        load = pd_view_decayed(load, 10 * 1000, 10 * 1000);
    assert_in_range(load, 990, 1000);
    for (int i = 0; i < 6; i++)
        load = pd_view_decayed(load, 0, 10 * 1000);
    assert_in_range(load, 480, 540);
    assert_int_equal(pd_view_decayed(load, 5, 0), load);
}

static void small_neighbours_meet_and_merge(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 4, 4);
    for (region_id id = 1; id <= 2; id++) {
        struct region_node *node = put(world, id, 1, 1, id == 1 ? ON(1, 2, 3) : ON(1, 2, 4), 1);
        struct region_seen seen = region_node_seen(node);
        seen.approximate_size = MIB;
        seen.approximate_keys = 10;
        region_tree_see(world->tree, node, &seen);
    }
    pd_view_refresh(world->view, world->now_ms);
    const struct operator *operator= merge_region(world->view, region_tree_find_id(world->tree, 1), &reason);
    assert_steps(operator, "add_learner 4 0, change_peers 4 3, remove_peer 3 0, merge 0 0");
    assert_int_equal(operator->other_region, 2);
    assert_ptr_equal(operator_list_of(world->operators, region_tree_find_id(world->tree, 2)), operator);
}

static void a_scattered_range_is_even_among_itself(void **state)
{
    struct world *world = *state;
    struct reason reason;
    add_stores(world, 6, 6);
    for (region_id id = 1; id <= 40; id++)
        put(world, id, 1, 1, ON(1, 2, 3), 1);
    pd_view_refresh(world->view, world->now_ms);
    struct scatter *scatter = calloc(1, sizeof(*scatter));
    while (scatter_range(world->view, scatter, &reason))
        continue;
    for (uint32_t i = 0; i < 6; i++)
        assert_in_range(scatter->group_count[i], 13, 27); /* each of 40 regions gives one peer per pass */
    free(scatter);
}

static void a_new_leader_of_pd_decides_nothing_before_it_knows(void **state)
{
    struct world *world = *state;
    add_stores(world, 4, 4);
    for (region_id id = 1; id <= 40; id++)
        put(world, id, 1, 1, ON(1, 2), 1);
    scheduler_restart(&world->scheduler, world->now_ms);
    region_tree_forget_seen(world->tree);
    store_table_forget_heard(world->table, world->now_ms);
    scheduler_round(&world->scheduler, world->now_ms, NULL, NULL);
    assert_int_equal(operator_list_count(world->operators), 0);
    for (store_id id = 1; id <= 4; id++)
        store_heartbeat(store(world, id), world->now_ms);
    for (region_id id = 1; id <= 40; id++)
        put(world, id, 1, 1, ON(1, 2), 1);
    scheduler_round(&world->scheduler, world->now_ms, NULL, NULL);
    assert_true(operator_list_count(world->operators) > 0);
}

int main(void)
{
    choose_bug();
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CLAIM(a_region_with_too_few_peers_gets_one_in_another_rack),
        CLAIM(a_peer_too_many_is_removed_and_never_the_leader),
        CLAIM(a_learner_that_was_left_over_is_removed),
        CLAIM(a_half_done_move_off_a_drained_store_is_finished),
        CLAIM(a_learner_on_a_store_that_is_down_too_finishes_nothing),
        CLAIM(a_half_done_move_off_a_store_that_is_down_is_finished),
        CLAIM(a_half_done_move_to_an_emptier_store_is_finished_and_goes_off_the_fullest),
        CLAIM(a_learner_that_does_not_catch_up_is_given_up_after_two_timeouts),
        CLAIM(a_half_done_move_goes_off_the_store_that_is_silent),
        CLAIM(a_learner_whose_store_has_not_been_heard_yet_is_not_thrown_away),
        CLAIM(a_half_done_move_that_a_rule_does_not_allow_is_taken_back),
        CLAIM(peers_that_share_an_isolated_rack_are_parted),
        CLAIM(a_rule_that_nothing_can_meet_is_reported_and_starts_nothing),
        CLAIM(a_rule_that_begins_inside_a_region_splits_it),
        CLAIM(a_learner_rule_gets_a_learner_on_the_disk_that_it_wants),
        CLAIM(a_leader_rule_moves_the_leader_where_it_wants_it),
        CLAIM(rules_that_make_no_sense_are_refused_with_a_text),
        CLAIM(a_store_that_is_down_is_replaced_and_one_in_a_planned_restart_is_not),
        CLAIM(nothing_is_begun_that_nobody_could_carry_out),
        CLAIM(draining_moves_away_and_ends_as_a_tombstone),
        CLAIM(draining_below_the_replica_count_is_refused),
        CLAIM(draining_the_last_store_of_an_isolated_rack_is_refused),
        CLAIM(draining_what_a_region_needs_for_its_majority_is_refused),
        CLAIM(a_store_that_comes_and_goes_waits_longer_each_time),
        CLAIM(a_bucket_lets_its_rate_through_and_halves_under_latency),
        CLAIM(any_rate_fills_a_bucket_however_long_nobody_looked),
        CLAIM(a_region_has_at_most_one_operator),
        CLAIM(a_region_that_was_lost_and_found_has_no_operator),
        CLAIM(a_tombstone_that_gets_a_peer_drains_again),
        CLAIM(an_operator_ends_when_somebody_else_changes_the_region),
        CLAIM(a_merge_that_is_being_prepared_goes_on),
        CLAIM(an_operator_whose_step_takes_too_long_times_out_and_holds_nothing),
        CLAIM(a_promotion_may_take_as_long_as_the_rows_are_on_their_way),
        CLAIM(a_promotion_may_take_longer_where_little_may_be_received),
        CLAIM(a_promotion_does_not_wait_long_for_a_store_that_is_silent),
        CLAIM(after_a_timeout_a_region_is_left_alone_longer_each_time),
        CLAIM(an_operator_whose_target_falls_silent_is_given_up),
        CLAIM(a_decision_says_what_it_compared_and_what_it_refused),
        CLAIM(a_move_goes_from_above_the_mean_to_below_and_not_past_it),
        CLAIM(stores_of_a_rack_that_stays_below_the_mean_level_out_among_themselves),
        CLAIM(a_store_of_twice_the_weight_holds_twice_as_much),
        CLAIM(who_is_out_of_balance_does_not_wait_behind_lower_ones_that_are_not),
        CLAIM(noise_inside_the_band_moves_nothing),
        CLAIM(leaders_level_out_within_one),
        CLAIM(one_slow_store_loses_its_leaders_and_ten_slow_ones_do_not),
        CLAIM(leaders_come_to_a_store_that_is_granted_them_and_none_leaves),
        CLAIM(stores_that_are_granted_leaders_share_them),
        CLAIM(a_slow_store_gets_no_leader_that_it_is_granted),
        CLAIM(a_hot_leader_stays_where_all_leaders_are_granted),
        CLAIM(a_hot_leader_goes_to_a_cold_follower),
        CLAIM(what_is_left_of_an_excess_within_a_round_splits_nothing),
        CLAIM(load_decays_to_half_in_a_minute),
        CLAIM(small_neighbours_meet_and_merge),
        CLAIM(a_scattered_range_is_even_among_itself),
        CLAIM(a_new_leader_of_pd_decides_nothing_before_it_knows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
