/* test_raft_conf: claims about who is a member, and what a majority of them is. `test_raft_conf CASE` runs one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "raft/membership.h"
#include "raft/quorum.h"

/* ---- configurations ---- */

static bool confs_equal(const struct raft_conf *a, const struct raft_conf *b)
{
    if (a->count != b->count || a->auto_leave != b->auto_leave)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->members[i].id != b->members[i].id || a->members[i].roles != b->members[i].roles)
            return false;
    }
    return true;
}

static void draw_change(struct rng *rng, struct raft_conf_change *change)
{
    *change = (struct raft_conf_change){.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2};
    change->count = (uint8_t)rng_between(rng, 1, 5);
    for (uint32_t i = 0; i < change->count; i++) {
        change->changes[i].kind = (uint8_t)rng_below(rng, 4);
        change->changes[i].id = rng_between(rng, 1, 9);
    }
}

/* Entering and leaving a joint configuration gives what the same changes give one at a time. (Not in every order: one
 * at a time may have to refuse, where no voter would be left in between.) */
static void joint_and_one_at_a_time_end_alike(void **state)
{
    (void)state;
    struct rng rng;
    uint32_t compared = 0;
    rng_init(&rng, 5, "conf");
    for (int round = 0; round < 20000; round++) {
        struct raft_conf conf = {0}, joint, left, single;
        struct raft_conf_change change, one = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2, .count = 1};
        for (int i = 0; i < 4; i++)
            raft_conf_add(&conf, 1 + (peer_id)i, rng_chance(&rng, 2, 3) || i == 0 ? RAFT_VOTER : RAFT_LEARNER);
        draw_change(&rng, &change);
        const char *why = membership_enter_joint(&conf, &change, rng_chance(&rng, 1, 2), &joint, NULL);
        bool refused = why != NULL;
        if (!refused) {
            assert_int_equal(raft_conf_check(&joint), ERR_OK);
            assert_null(membership_leave_joint(&joint, &left));
            assert_int_equal(raft_conf_check(&left), ERR_OK);
        }
        single = conf;
        for (uint32_t i = 0; i < change.count && !refused; i++) {
            one.changes[0] = change.changes[i];
            refused = membership_simple(&single, &one, &single, NULL) != NULL;
        }
        if (!refused) {
            compared++;
            assert_true(confs_equal(&single, &left));
        }
    }
    assert_true(compared > 10000);
}

/* Whatever a group can be in survives a restart and a snapshot. */
static void every_reachable_configuration_can_be_restored(void **state)
{
    (void)state;
    struct raft_pool *pool = raft_pool_new(0);
    struct raft_config config;
    struct rng rng;
    uint32_t joint = 0;
    raft_config_default(&config);
    rng_init(&rng, 6, "restore");
    for (int round = 0; round < 300; round++) {
        struct raft_initial initial = {.id = 1, .hard = {.term = 1}, .applied = 10};
        struct raft *raft;
        struct raft_conf conf = {0};
        initial.truncated = initial.base = (struct raft_position){.index = 10, .term = 1};
        raft_conf_add(&conf, 1, RAFT_VOTER);
        for (int i = 0; i < 8; i++) {
            struct raft_conf_change change;
            draw_change(&rng, &change);
            change.transition = (uint8_t)rng_below(&rng, 3);
            if (rng_chance(&rng, 1, 3))
                change = (struct raft_conf_change){.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2};
            raft_conf_apply(&conf, &change, &conf);
            initial.conf = conf;
            assert_int_equal(raft_new(&config, &initial, pool, &raft), ERR_OK);
            struct raft_conf restored;
            raft_get_conf(raft, &restored);
            assert_true(confs_equal(&conf, &restored));
            joint += raft_conf_is_joint(&conf);
            raft_free(raft);
        }
    }
    assert_true(joint > 300);
    raft_pool_free(pool);
}

static void conf_changes_are_decoded_as_they_were_encoded(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 7, "encode");
    for (int round = 0; round < 2000; round++) {
        struct raft_conf_change change, decoded;
        uint8_t data[512];
        draw_change(&rng, &change);
        change.transition = (uint8_t)rng_below(&rng, 3);
        change.context = bytes_of("context", rng_below(&rng, 8));
        size_t size = membership_encoded_size(&change);
        membership_encode(&change, data);
        struct raft_entry entry = {.kind = RAFT_ENTRY_CONF_CHANGE_V2, .data = bytes_of(data, size)};
        assert_int_equal(raft_conf_change_decode(&entry, &decoded), ERR_OK);
        assert_int_equal(decoded.count, change.count);
        assert_int_equal(decoded.transition, change.transition);
        assert_true(bytes_equal(decoded.context, change.context));
        for (uint32_t i = 0; i < change.count; i++) {
            assert_int_equal(decoded.changes[i].kind, change.changes[i].kind);
            assert_int_equal(decoded.changes[i].id, change.changes[i].id);
        }
        entry.data.size =
            rng_below(&rng, size); /* cut short: either another change, or refused; never read past the end */
        uint8_t *exact = malloc(entry.data.size + 1);
        memcpy(exact, data, entry.data.size);
        entry.data.data = exact;
        raft_conf_change_decode(&entry, &decoded);
        free(exact);
    }
}

/* Against counting, over all answers of up to five voters. */
static void quorums_agree_with_counting(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 7; n++) {
        for (uint32_t code = 0; code < 2187; code++) { /* 3^7 */
            uint64_t values[7];
            uint32_t yes = 0, no = 0, rest = code;
            for (uint32_t i = 0; i < n; i++, rest /= 3) {
                values[i] = rest % 3;
                yes += rest % 3 == 1;
                no += rest % 3 == 2;
            }
            enum quorum_vote vote = quorum_vote(yes, no, n);
            assert_int_equal(vote == QUORUM_WON, 2 * yes > n);
            assert_int_equal(vote == QUORUM_LOST, 2 * (n - no) <= n);
            uint64_t committed = quorum_committed(values, n);
            for (uint64_t level = 0; level < 3; level++) {
                uint32_t reached = 0;
                for (uint32_t i = 0; i < n; i++)
                    reached += values[i] >= level;
                assert_int_equal(committed >= level, 2 * reached > n);
            }
        }
    }
}

/* An index counts if more than half have it, and members of two groups have it; where there are not two groups, see
 * quorum.h. */
static void group_quorums_agree_with_counting(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 9, "groups");
    for (int round = 0; round < 20000; round++) {
        uint64_t values[7], sorted[7], groups[7];
        uint32_t n = (uint32_t)rng_between(&rng, 1, 7), group_count = 0, without = 0, seen[4] = {0};
        for (uint32_t i = 0; i < n; i++) {
            values[i] = sorted[i] = rng_below(&rng, 6);
            groups[i] = rng_below(&rng, 4);
            without += groups[i] == 0;
            group_count += groups[i] != 0 && seen[groups[i]]++ == 0;
        }
        uint64_t committed = quorum_committed_in_groups(sorted, groups, n);
        for (uint64_t level = 0; level < 6; level++) {
            uint32_t reached = 0, groups_reached = 0, in_group[4] = {0};
            for (uint32_t i = 0; i < n; i++) {
                reached += values[i] >= level;
                groups_reached += values[i] >= level && groups[i] != 0 && in_group[groups[i]]++ == 0;
            }
            bool expected = 2 * reached > n;
            if (group_count >= 2)
                expected = expected && groups_reached >= 2;
            else if (without > 0)
                expected = reached == n;
            assert_int_equal(committed >= level, expected);
        }
    }
    assert_true(quorum_committed_in_groups(NULL, NULL, 0) == UINT64_MAX);
}

static void a_conf_is_built_up_to_its_limits(void **state)
{
    (void)state;
    struct raft_conf conf = {0};
    assert_int_equal(raft_conf_add(&conf, 0, RAFT_VOTER), ERR_INVALID);
    assert_int_equal(raft_conf_add(&conf, 7, RAFT_VOTER), ERR_OK);
    assert_int_equal(raft_conf_add(&conf, 7, RAFT_OUTGOING), ERR_OK); /* one member, both halves */
    assert_int_equal(conf.count, 1);
    assert_int_equal(raft_conf_member(&conf, 7)->roles, RAFT_VOTER | RAFT_OUTGOING);
    for (peer_id id = 100; conf.count < RAFT_MEMBER_COUNT_MAX; id--)
        assert_int_equal(raft_conf_add(&conf, id, RAFT_VOTER), ERR_OK);
    assert_int_equal(raft_conf_check(&conf), ERR_OK);
    assert_int_equal(raft_conf_add(&conf, 1, RAFT_VOTER), ERR_INVALID);
    conf = (struct raft_conf){0};
    for (peer_id id = 1; id <= RAFT_MEMBER_COUNT_MAX; id++)
        raft_conf_add(&conf, id, RAFT_VOTER);
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2, .count = 1};
    for (int i = 0; i < 2; i++) {
        struct raft_conf result;
        change.changes[0].kind = i ? RAFT_CHANGE_ADD_LEARNER : RAFT_CHANGE_ADD_VOTER;
        change.changes[0].id = 100;
        assert_int_equal(raft_conf_apply(&conf, &change, &result), ERR_INVALID);
        change.changes[0].id = 5; /* who is there already needs no place */
        assert_int_equal(raft_conf_apply(&conf, &change, &result), ERR_OK);
    }
}

/* What came from a disk or a wire is looked at before it is believed. */
static void impossible_confs_and_changes_are_refused(void **state)
{
    (void)state;
    static const uint8_t roles[] = {0, 16, RAFT_LEARNER | RAFT_VOTER, RAFT_LEARNER_NEXT,
                                    RAFT_LEARNER_NEXT | RAFT_VOTER};
    struct raft_conf conf = {0}, result, none = {0};
    raft_conf_add(&conf, 1, RAFT_VOTER);
    raft_conf_add(&conf, 2, RAFT_VOTER);
    for (size_t i = 0; i < sizeof(roles); i++) {
        struct raft_conf bad = conf;
        bad.members[1].roles = roles[i];
        assert_int_equal(raft_conf_check(&bad), ERR_INVALID);
    }
    struct raft_conf bad[4] = {conf, conf, conf, conf};
    bad[0].count = RAFT_MEMBER_COUNT_MAX + 1;
    bad[1].members[0].id = 2; /* twice */
    bad[2].members[0].id = 0;
    bad[3].auto_leave = true; /* leave what? */
    for (int i = 0; i < 4; i++)
        assert_int_equal(raft_conf_check(&bad[i]), ERR_INVALID);
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2, .count = 1};
    change.changes[0].id = 3;
    change.changes[0].kind = RAFT_CHANGE_ADD_LEARNER + 1;
    assert_int_equal(raft_conf_apply(&conf, &change, &result), ERR_INVALID);
    change.changes[0].kind = RAFT_CHANGE_ADD_VOTER;
    change.transition = RAFT_TRANSITION_IMPLICIT;
    assert_int_equal(raft_conf_apply(&none, &change, &result),
                     ERR_INVALID); /* a newcomer knows no members to begin with */
    assert_int_equal(raft_conf_apply(&conf, &change, &conf), ERR_OK);
    assert_true(raft_conf_is_joint(&conf));
    assert_int_equal(raft_conf_apply(&conf, &change, &result), ERR_INVALID);
    change.transition = RAFT_TRANSITION_AUTO;
    assert_int_equal(raft_conf_apply(&conf, &change, &result), ERR_INVALID);
    struct raft_entry entry = {.kind = RAFT_ENTRY_NORMAL};
    assert_int_equal(raft_conf_change_decode(&entry, &change), ERR_INVALID);
    entry.kind = RAFT_ENTRY_CONF_CHANGE; /* the old form leaves nothing: it has exactly one change */
    assert_int_equal(raft_conf_change_decode(&entry, &change), ERR_INVALID);
    entry.kind = RAFT_ENTRY_CONF_CHANGE_V2;
    assert_int_equal(raft_conf_change_decode(&entry, &change), ERR_OK);
    static const uint8_t wrong[][12] = {{2, 0, 0}, {1, 3, 0}, {1, 0, 17}, {1, 0, 1, 4}};
    for (int i = 0; i < 4; i++) {
        entry.data = bytes_of(wrong[i], sizeof(wrong[i]));
        assert_int_equal(raft_conf_change_decode(&entry, &change), ERR_INVALID);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joint_and_one_at_a_time_end_alike),
        cmocka_unit_test(every_reachable_configuration_can_be_restored),
        cmocka_unit_test(conf_changes_are_decoded_as_they_were_encoded),
        cmocka_unit_test(a_conf_is_built_up_to_its_limits),
        cmocka_unit_test(impossible_confs_and_changes_are_refused),
        cmocka_unit_test(quorums_agree_with_counting),
        cmocka_unit_test(group_quorums_agree_with_counting),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
