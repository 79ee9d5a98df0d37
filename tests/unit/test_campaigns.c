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
    assert_int_equal(campaigns.places[1].under_way, 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_go_to_those_who_came_first),
        cmocka_unit_test(who_got_nothing_out_of_its_place_goes_to_the_end),
        cmocka_unit_test(peers_without_a_quorum_take_no_place_from_those_that_can_win),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
