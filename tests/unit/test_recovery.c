/* recovery: what is left in, plan out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "pd/recovery.h"

enum { REPLICAS_MAX = 32, FORCED = 1, DAMAGED = 2, LEADS = 4 };

/* Stores 1 .. 5; 4 and 5 are lost. The peer of region r on store s is 10 r + s. */
struct left {
    struct wire_peer peers[REPLICAS_MAX][5];
    struct wire_region regions[REPLICAS_MAX];
    struct wire_peer_report reports[REPLICAS_MAX];
    struct recovery_replica replicas[REPLICAS_MAX];
    uint32_t count;
    struct region_tree *known;
    struct recovery_plan plan;
};

static const store_id lost[] = {4, 5};

static int setup(void **state)
{
    struct left *left = test_calloc(1, sizeof *left);
    left->known = region_tree_new();
    *state = left;
    return 0;
}

static int teardown(void **state)
{
    struct left *left = *state;
    recovery_fini(&left->plan);
    region_tree_free(left->known);
    test_free(left);
    return 0;
}

/* `stores`: of its voters, as digits; a small letter is a learner: a is 1. "" is an end of the key space. */
static struct wire_region make(struct wire_peer *peers, region_id id, const char *start, const char *end, uint64_t conf,
                               uint64_t version, const char *stores)
{
    struct wire_region region = {.id = id,
                                 .start_key = bytes_of_string(start),
                                 .end_key = bytes_of_string(end),
                                 .epoch_conf = conf,
                                 .epoch_version = version,
                                 .peers = peers};
    for (const char *at = stores; *at; at++) {
        bool learner = *at >= 'a';
        store_id store = (store_id)(learner ? *at - 'a' + 1 : *at - '0');
        peers[region.peers_count++] = (struct wire_peer){
            .id = 10 * id + store, .store_id = store, .role = learner ? WIRE_PEER_ROLE_LEARNER : WIRE_PEER_ROLE_VOTER};
    }
    return region;
}

static struct wire_peer_report *add(struct left *left, store_id store, struct wire_region region, raft_term last_term,
                                    raft_index last_index, int flags)
{
    uint32_t at = left->count++;
    memcpy(left->peers[at], region.peers, region.peers_count * sizeof *region.peers);
    region.peers = left->peers[at];
    left->regions[at] = region;
    left->reports[at] = (struct wire_peer_report){.region = &left->regions[at],
                                                  .peer_id = 10 * region.id + store,
                                                  .term = last_term,
                                                  .last_term = last_term,
                                                  .last_index = last_index,
                                                  .committed_index = last_index - (last_index > 0),
                                                  .applied_index = last_index - (last_index > 0),
                                                  .forced = flags & FORCED,
                                                  .damaged = flags & DAMAGED};
    if (flags & LEADS)
        left->reports[at].leader_peer = left->reports[at].peer_id;
    left->replicas[at] = (struct recovery_replica){.store = store, .report = &left->reports[at]};
    return &left->reports[at];
}

static struct recovery_plan *make_plan(struct left *left)
{
    const struct recovery_view view = {.lost = lost,
                                       .lost_count = 2,
                                       .replicas = left->replicas,
                                       .replica_count = left->count,
                                       .regions = left->known};
    recovery_fini(&left->plan);
    recovery_make(&view, &left->plan);
    return &left->plan;
}

static void know(struct left *left, struct wire_region region)
{
    assert_int_equal(region_tree_insert(left->known, &region, NULL, NULL), ERR_OK);
}

static void a_region_with_a_majority_is_left_alone(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    struct wire_region region = make(peers, 1, "", "", 3, 1, "124");
    add(left, 1, region, 6, 20, 0);
    add(left, 2, region, 6, 21, 0);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->region_count, 0);
    assert_int_equal(plan->healthy_count, 1);
    assert_int_equal(plan->hole_count, 0);
}

static void a_region_that_is_led_is_left_alone(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    add(left, 1, make(peers, 1, "", "", 3, 1, "145"), 6, 20, LEADS);
    assert_int_equal(make_plan(left)->region_count, 0);
}

static void the_newest_log_leads(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    struct wire_region region = make(peers, 1, "", "", 3, 2, "1245");
    add(left, 1, region, 6, 90, 0);
    add(left, 2, region, 7, 50, 0)->committed_index = 40;
    know(left, region);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->region_count, 1);
    const struct recovery_region *one = &plan->regions[0];
    assert_int_equal(one->kind, RECOVERY_FORCE);
    assert_int_equal(one->peer, 12); /* a later term beats a longer log */
    assert_int_equal(one->store, 2);
    assert_int_equal(one->committed_index, 89); /* as the other one says */
    assert_int_equal(one->epoch_conf_next, 3 + RECOVERY_CONF_STEP);
    assert_int_equal(one->epoch_version_next, 0);
    assert_int_equal(one->voters, 4);
    assert_int_equal(one->lost, 2);
    left->reports[1].last_term = 6;
    assert_int_equal(make_plan(left)->regions[0].peer, 11);
}

/* With three of five there is a majority; with one of them damaged in what it promised (no log) there is none. */
static void who_has_no_log_neither_votes_nor_leads(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    struct wire_region region = make(peers, 1, "", "", 3, 1, "12345");
    add(left, 1, region, 6, 20, 0);
    add(left, 2, region, 6, 20, 0);
    add(left, 3, region, 0, 0, DAMAGED);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->region_count, 1);
    assert_int_equal(plan->regions[0].peer, 11); /* a tie: the lower id, each time */
    assert_int_equal(plan->regions[0].left, 2);
    assert_int_equal(plan->regions[0].damaged, 1);
}

static void a_damaged_replica_is_not_chosen(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    struct wire_region region = make(peers, 1, "", "", 3, 1, "1245");
    add(left, 1, region, 7, 99, DAMAGED);
    add(left, 2, region, 6, 20, 0);
    assert_int_equal(make_plan(left)->regions[0].peer, 12);
    left->reports[1].damaged = true; /* and if all are: nothing is made up */
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->regions[0].kind, RECOVERY_GONE);
    assert_int_equal(plan->force_count, 0);
    assert_int_equal(plan->hole_count, 1);
}

static void a_learner_leads_if_it_knows_more(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    struct wire_region region = make(peers, 1, "", "", 3, 1, "145b");
    add(left, 1, region, 6, 20, 0);
    add(left, 2, region, 6, 21, 0);
    assert_int_equal(make_plan(left)->regions[0].peer, 12);
    left->reports[1].last_index = left->reports[0].last_index = 20;
    assert_int_equal(make_plan(left)->regions[0].peer, 11); /* a tie: the voter */
}

static void who_is_forced_stays_so(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    struct wire_region region = make(peers, 1, "", "", 3, 1, "1245");
    add(left, 1, region, 6, 20, FORCED | LEADS);
    add(left, 2, region, 6, 21, 0);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->regions[0].peer, 11);
    assert_true(plan->regions[0].forced);
}

/* In a joint configuration both halves need a majority. */
static void each_half_of_a_joint_configuration_counts(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    struct wire_region region = make(peers, 1, "", "", 3, 1, "123");
    region.peers[2].role = WIRE_PEER_ROLE_INCOMING_VOTER;
    region.peers[region.peers_count++] = (struct wire_peer){14, 4, WIRE_PEER_ROLE_DEMOTING_VOTER};
    add(left, 1, region, 6, 20, 0);
    add(left, 2, region, 6, 20, 0);
    assert_int_equal(make_plan(left)->region_count, 0); /* 1, 2 of 1 2 3, and of 1 2 4 */
    left->count = 1;
    assert_int_equal(make_plan(left)->region_count, 1);
    add(left, 3, region, 6, 20, 0);
    assert_int_equal(make_plan(left)->region_count, 1); /* 1, 3 of 1 2 3, but 1 of 1 2 4 */
}

/* A member that pd knows to be out does not count, however long its log. */
static void the_newest_members_count(void **state)
{
    struct left *left = *state;
    struct wire_peer old[5], new[5];
    know(left, make(new, 1, "", "", 9, 1, "145"));
    add(left, 1, make(old, 1, "", "", 4, 1, "123"), 6, 20, 0);
    add(left, 2, make(old, 1, "", "", 4, 1, "123"), 7, 90, 0);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->region_count, 1);
    assert_int_equal(plan->regions[0].peer, 11);
    assert_int_equal(plan->regions[0].epoch_conf, 4); /* what its store would recognise */
    assert_int_equal(plan->regions[0].epoch_conf_next, 9 + RECOVERY_CONF_STEP);
}

/* pd heard of a split of which no store that is left has anything: the region as it was takes the place of both. */
static void a_split_that_is_lost_is_undone(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5], other[5];
    know(left, make(peers, 1, "", "m", 3, 8, "145"));
    know(left, make(other, 2, "m", "", 3, 9, "145"));
    add(left, 1, make(peers, 1, "", "", 3, 7, "145"), 6, 20, 0);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->region_count, 1);
    assert_int_equal(plan->regions[0].kind, RECOVERY_FORCE);
    assert_int_equal(plan->regions[0].epoch_version_next, 10);
    assert_int_equal(plan->hole_count, 0);
}

/* The other part lives on: two regions would have its keys. */
static void an_older_region_does_not_take_keys_of_a_newer_one(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    add(left, 1, make(peers, 1, "", "", 3, 7, "145"), 6, 20, 0);
    add(left, 2, make(peers, 2, "m", "", 3, 8, "234"), 6, 20, LEADS);
    add(left, 3, make(peers, 2, "m", "", 3, 8, "234"), 6, 20, 0);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->region_count, 1);
    assert_int_equal(plan->regions[0].kind, RECOVERY_SUPERSEDED);
    assert_int_equal(plan->regions[0].by, 2);
    assert_int_equal(plan->force_count, 0);
    assert_int_equal(plan->hole_count, 1);
    assert_true(bytes_equal(plan->holes[0].end_key, bytes_of_string("m")));
}

static void of_two_generations_the_newer_one_is_forced(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    add(left, 1, make(peers, 7, "", "", 3, 5, "145"), 6, 90, 0); /* lags: the merge of 7 and 8, or its split */
    add(left, 2, make(peers, 8, "", "", 3, 6, "245"), 6, 20, 0);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->region_count, 2);
    assert_int_equal(plan->regions[0].kind, RECOVERY_SUPERSEDED);
    assert_int_equal(plan->regions[0].by, 8);
    assert_int_equal(plan->regions[1].kind, RECOVERY_FORCE);
    assert_int_equal(plan->hole_count, 0);
}

static void keys_that_nobody_has_are_holes(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    know(left, make(peers, 1, "", "b", 3, 1, "123"));
    know(left, make(peers, 2, "b", "m", 3, 1, "45"));
    know(left, make(peers, 3, "m", "", 3, 1, "145"));
    add(left, 1, make(peers, 1, "", "b", 3, 1, "123"), 6, 20, 0);
    add(left, 2, make(peers, 1, "", "b", 3, 1, "123"), 6, 20, 0);
    struct recovery_plan *plan = make_plan(left);
    assert_int_equal(plan->hole_count, 1);
    assert_int_equal(plan->holes[0].region, 2);
    assert_true(bytes_equal(plan->holes[0].start_key, bytes_of_string("b")));
    assert_int_equal(plan->holes[0].end_key.size, 0);
    add(left, 1, make(peers, 3, "m", "", 3, 1, "145"), 6, 20, 0);
    plan = make_plan(left);
    assert_int_equal(plan->force_count, 1);
    assert_int_equal(plan->hole_count, 1);
    assert_true(bytes_equal(plan->holes[0].end_key, bytes_of_string("m")));
}

static void another_state_is_another_plan(void **state)
{
    struct left *left = *state;
    struct wire_peer peers[5];
    add(left, 1, make(peers, 1, "", "", 3, 1, "145"), 6, 20, 0);
    uint64_t digest = make_plan(left)->digest;
    assert_true(make_plan(left)->digest == digest);
    left->reports[0].applied_index = left->reports[0].committed_index = 1; /* goes on by itself */
    assert_true(make_plan(left)->digest == digest);
    left->reports[0].last_index++;
    assert_true(make_plan(left)->digest != digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_region_with_a_majority_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(a_region_that_is_led_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_log_leads, setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_no_log_neither_votes_nor_leads, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_replica_is_not_chosen, setup, teardown),
        cmocka_unit_test_setup_teardown(a_learner_leads_if_it_knows_more, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_forced_stays_so, setup, teardown),
        cmocka_unit_test_setup_teardown(each_half_of_a_joint_configuration_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(the_newest_members_count, setup, teardown),
        cmocka_unit_test_setup_teardown(a_split_that_is_lost_is_undone, setup, teardown),
        cmocka_unit_test_setup_teardown(an_older_region_does_not_take_keys_of_a_newer_one, setup, teardown),
        cmocka_unit_test_setup_teardown(of_two_generations_the_newer_one_is_forced, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_that_nobody_has_are_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(another_state_is_another_plan, setup, teardown),
    };
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
