/* test_campaigns: how many elections are under way at a time, and who gets a place. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "storenode/campaigns.h"

enum { MAX = 64, PEERS = 4 * MAX };

/* All peers in [from, to) that have no place ask for one; returns how many got it. */
static uint32_t ask(struct campaigns *campaigns, struct campaign *peers, int from, int to, bool quorum_lives)
{
    uint32_t count = 0;
    for (int i = from; i < to; i++)
        count += peers[i].place == 0 && campaigns_try(campaigns, &peers[i], quorum_lives);
    return count;
}

static void no_more_than_the_places_there_are_campaign_at_a_time(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[PEERS] = {0};
    campaigns_init(&campaigns, MAX, 1);
    campaigns_tick(&campaigns);
    assert_int_equal(ask(&campaigns, peers, 0, PEERS, true), MAX);
    campaigns_tick(&campaigns);
    assert_int_equal(ask(&campaigns, peers, 0, PEERS, true), 0);
    for (int i = 0; i < 10; i++)
        campaigns_end(&campaigns, &peers[i]);
    campaigns_end(&campaigns, &peers[0]); /* it has none any more */
    for (int tick = 0; tick < 1000 && campaigns.places[1].under_way < MAX; tick++) {
        campaigns_tick(&campaigns);
        ask(&campaigns, peers, 0, PEERS, true);
        assert_true(campaigns.places[1].under_way <= MAX);
    }
    assert_int_equal(campaigns.places[1].under_way, MAX);
}

/* Those that cannot win come back at every tick, and come first: the others get their turn all the same. */
static void nobody_waits_for_ever_behind_those_that_ask_again_and_again(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[PEERS] = {0};
    bool had[PEERS] = {false};
    campaigns_init(&campaigns, MAX, 1);
    for (int tick = 0; tick < 100; tick++) {
        campaigns_tick(&campaigns);
        ask(&campaigns, peers, 0, PEERS, true);
        for (int i = 0; i < PEERS; i++) {
            had[i] |= peers[i].place != 0;
            campaigns_end(&campaigns, &peers[i]);
        }
    }
    for (int i = 0; i < PEERS; i++)
        assert_true(had[i]);
}

static void peers_without_a_quorum_take_no_place_from_those_that_can_win(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peers[PEERS] = {0};
    campaigns_init(&campaigns, MAX, 1);
    campaigns_tick(&campaigns);
    assert_int_equal(ask(&campaigns, peers, 0, PEERS / 2, false), MAX);
    assert_int_equal(ask(&campaigns, peers, PEERS / 2, PEERS / 2 + MAX / 2, true), MAX / 2);
}

static void who_asks_again_gives_its_place_up_first(void **state)
{
    (void)state;
    struct campaigns campaigns;
    struct campaign peer = {0};
    campaigns_init(&campaigns, MAX, 1);
    for (int tick = 0; tick < 2 * MAX; tick++) {
        campaigns_tick(&campaigns);
        assert_true(campaigns_try(&campaigns, &peer, tick % 2)); /* its quorum comes and goes */
        assert_int_equal(campaigns.places[0].under_way + campaigns.places[1].under_way, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_the_places_there_are_campaign_at_a_time),
        cmocka_unit_test(nobody_waits_for_ever_behind_those_that_ask_again_and_again),
        cmocka_unit_test(peers_without_a_quorum_take_no_place_from_those_that_can_win),
        cmocka_unit_test(who_asks_again_gives_its_place_up_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
