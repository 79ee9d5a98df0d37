/* test_campaigns: how many elections are under way at a time, and who is next. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "storenode/campaigns.h"

enum { MAX = 8, PEERS = 3 * MAX };

static void places_go_to_those_who_came_first(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[PEERS] = {0};
    campaigns_init(&campaigns, MAX);
    assert_null(campaigns_next(&campaigns));
    for (int i = 0; i < PEERS; i++)
        campaigns_want(&campaigns, &peers[i], true);
    for (int i = 0; i < MAX; i++)
        assert_ptr_equal(campaigns_next(&campaigns), &peers[i]);
    assert_null(campaigns_next(&campaigns));       /* no place is free */
    campaigns_want(&campaigns, &peers[MAX], true); /* it waits already */
    campaigns_end(&campaigns, &peers[3]);
    assert_ptr_equal(campaigns_next(&campaigns), &peers[MAX]);
    assert_null(campaigns_next(&campaigns));
    for (int i = 0; i < PEERS; i++)
        campaigns_end(&campaigns, &peers[i]);
    campaigns_end(&campaigns, &peers[0]); /* it has nothing any more */
    assert_int_equal(campaigns.places[1].under_way_count, 0);
    assert_null(campaigns_next(&campaigns));
}

static void who_got_nothing_out_of_its_place_goes_to_the_end(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[3] = {0};
    campaigns_init(&campaigns, 1);
    for (int i = 0; i < 3; i++)
        campaigns_want(&campaigns, &peers[i], true);
    for (int turn = 0; turn < 10; turn++) {
        assert_ptr_equal(campaigns_next(&campaigns), &peers[turn % 3]);
        assert_null(campaigns_next(&campaigns));
        campaigns_want(&campaigns, &peers[turn % 3], true);
    }
}

static void peers_without_a_quorum_take_no_place_from_those_that_can_win(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[PEERS] = {0};
    campaigns_init(&campaigns, MAX);
    for (int i = 0; i < PEERS; i++)
        campaigns_want(&campaigns, &peers[i], i >= 2 * MAX);
    for (int i = 0; i < MAX; i++)
        assert_ptr_equal(campaigns_next(&campaigns), &peers[2 * MAX + i]);
    for (int i = 0; i < MAX; i++)
        assert_ptr_equal(campaigns_next(&campaigns), &peers[i]);
    assert_null(campaigns_next(&campaigns));
    campaigns_end(&campaigns, &peers[PEERS - 1]);
    campaigns_want(&campaigns, &peers[PEERS / 2], true); /* its quorum is heard now */
    assert_ptr_equal(campaigns_next(&campaigns), &peers[PEERS / 2]);
}

static int begin_all(struct campaigns *campaigns)
{
    int count = 0;
    while (campaigns_next(campaigns))
        count++;
    return count;
}

/* Nobody answers who hears a leader. */
static void a_campaign_that_is_not_answered_loses_its_place(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[PEERS] = {0};
    campaigns_init(&campaigns, MAX);
    for (int i = 0; i < PEERS; i++)
        campaigns_want(&campaigns, &peers[i], true);
    assert_int_equal(begin_all(&campaigns), MAX);
    campaigns_tick(&campaigns, 1);
    assert_int_equal(begin_all(&campaigns), 0);
    campaigns_tick(&campaigns, 1);
    assert_int_equal(begin_all(&campaigns), MAX);
    campaigns_end(&campaigns, &peers[0]); /* it is late: that gives no place to anybody */
    assert_int_equal(begin_all(&campaigns), 0);
}

static void how_long_an_answer_may_take_is_learnt_from_those_that_are_won(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[PEERS] = {0};
    campaigns_init(&campaigns, MAX);
    for (int i = 0; i < PEERS; i++)
        campaigns_want(&campaigns, &peers[i], true);
    assert_int_equal(begin_all(&campaigns), MAX);
    campaigns_tick(&campaigns, 10);
    assert_int_equal(begin_all(&campaigns), MAX);
    campaigns_won(&campaigns, &peers[0]); /* late, but that tells how slow everything is */
    campaigns_tick(&campaigns, 19);
    assert_int_equal(begin_all(&campaigns), 0);
    for (int i = 0; i < MAX; i++)
        campaigns_end(&campaigns, &peers[MAX + i]);
    assert_int_equal(begin_all(&campaigns), MAX);
    for (int i = 0; i < 200; i++) { /* they are won at once again */
        campaigns_want(&campaigns, &peers[i % MAX], true);
        struct campaign *next = campaigns_next(&campaigns);
        if (next)
            campaigns_won(&campaigns, next);
        else
            campaigns_won(&campaigns, &peers[2 * MAX]);
    }
    assert_int_equal(campaigns.won_ticks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_go_to_those_who_came_first),
        cmocka_unit_test(who_got_nothing_out_of_its_place_goes_to_the_end),
        cmocka_unit_test(peers_without_a_quorum_take_no_place_from_those_that_can_win),
        cmocka_unit_test(a_campaign_that_is_not_answered_loses_its_place),
        cmocka_unit_test(how_long_an_answer_may_take_is_learnt_from_those_that_are_won),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
