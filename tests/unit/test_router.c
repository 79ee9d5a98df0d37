/* router: routes that never overlap, never go back to what is older, and lose their leaders with one touch. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/rng.h"
#include "client/router.h"

static struct wire_peer three_peers[] = {
    {.id = 11, .store_id = 1}, {.id = 12, .store_id = 2}, {.id = 13, .store_id = 3}};

static struct wire_region region(uint64_t id, const char *start, const char *end, uint64_t conf, uint64_t version)
{
    return (struct wire_region){.id = id,
                                .start_key = bytes_of_string(start),
                                .end_key = bytes_of_string(end),
                                .epoch_conf = conf,
                                .epoch_version = version,
                                .peers = three_peers,
                                .peers_count = 3};
}

static enum router_insert insert(struct router *router, uint64_t id, const char *start, const char *end, uint64_t conf,
                                 uint64_t version, store_id leader)
{
    struct wire_region it = region(id, start, end, conf, version);
    enum router_insert outcome = router_insert(router, &it, leader);
    router_check(router);
    return outcome;
}

static uint64_t id_at(struct router *router, const char *key)
{
    const struct route *route = router_find(router, bytes_of_string(key));
    return route ? route->region_id : 0;
}

static uint64_t id_before(struct router *router, const char *key)
{
    const struct route *route = router_find_before(router, bytes_of_string(key));
    return route ? route->region_id : 0;
}

static void a_key_is_found_in_the_region_that_holds_it(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    assert_int_equal(insert(router, 1, "", "b", 1, 1, 1), ROUTER_INSERTED);
    assert_int_equal(insert(router, 2, "b", "d", 1, 1, 1), ROUTER_INSERTED);
    assert_int_equal(insert(router, 4, "f", "", 1, 1, 1), ROUTER_INSERTED);
    assert_int_equal(id_at(router, ""), 1);
    assert_int_equal(id_at(router, "a"), 1);
    assert_int_equal(id_at(router, "azzz"), 1);
    assert_int_equal(id_at(router, "b"), 2);
    assert_int_equal(id_at(router, "d"), 0);
    assert_int_equal(id_at(router, "e"), 0);
    assert_int_equal(id_at(router, "f"), 4);
    assert_int_equal(id_at(router, "zzz"), 4);
    router_free(router);
}

static void keys_just_before_a_boundary_belong_to_the_region_on_its_left(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    insert(router, 1, "", "b", 1, 1, 1);
    insert(router, 2, "b", "d", 1, 1, 1);
    assert_int_equal(id_before(router, "b"), 1);
    assert_int_equal(id_before(router, "ba"), 2);
    assert_int_equal(id_before(router, "d"), 2);
    assert_int_equal(id_before(router, "da"), 0);
    assert_int_equal(id_before(router, ""), 0); /* the end of the key space is not known */
    insert(router, 3, "d", "", 1, 1, 1);
    assert_int_equal(id_before(router, ""), 3);
    assert_int_equal(id_before(router, "d"), 2);
    router_free(router);
}

static void a_split_replaces_the_old_region_and_the_old_one_never_comes_back(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    insert(router, 1, "a", "z", 1, 5, 2);
    assert_int_equal(insert(router, 1, "a", "m", 1, 6, 2), ROUTER_INSERTED);
    assert_int_equal(insert(router, 9, "m", "z", 1, 6, 2), ROUTER_INSERTED);
    assert_int_equal(insert(router, 1, "a", "z", 1, 5, 2), ROUTER_OLDER);
    assert_int_equal(id_at(router, "b"), 1);
    assert_int_equal(id_at(router, "n"), 9);
    assert_int_equal(router_count(router), 2);
    router_free(router);
}

static void an_older_region_is_refused_even_if_only_its_other_half_is_known(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    insert(router, 9, "m", "z", 1, 6, 2); /* from the split of region 1 */
    assert_int_equal(insert(router, 1, "a", "z", 1, 5, 2), ROUTER_OLDER);
    assert_int_equal(id_at(router, "b"), 0);
    router_free(router);
}

static void a_merge_removes_everything_that_it_covers(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    insert(router, 1, "a", "c", 1, 5, 2);
    insert(router, 2, "c", "e", 1, 6, 2);
    insert(router, 3, "e", "g", 1, 6, 2);
    assert_int_equal(insert(router, 2, "a", "g", 1, 7, 2), ROUTER_INSERTED);
    assert_int_equal(router_count(router), 1);
    assert_int_equal(id_at(router, "f"), 2);
    router_free(router);
}

static void a_new_member_list_keeps_the_leader(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    insert(router, 1, "a", "z", 1, 5, 2);
    assert_int_equal(insert(router, 1, "a", "z", 2, 5, 0), ROUTER_INSERTED);
    assert_int_equal(route_leader(router_find(router, bytes_of_string("b"))), 2);
    assert_int_equal(insert(router, 1, "a", "z", 1, 5, 3), ROUTER_OLDER);
    assert_int_equal(route_leader(router_find(router, bytes_of_string("b"))), 2);
    router_free(router);
}

static void the_same_epoch_again_only_fills_in_a_leader_that_is_not_known(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    insert(router, 1, "a", "z", 1, 5, 0);
    struct route *route = router_find(router, bytes_of_string("b"));
    assert_int_equal(route_leader(route), 0);
    assert_int_equal(insert(router, 1, "a", "z", 1, 5, 3), ROUTER_REFRESHED);
    assert_int_equal(route_leader(route), 3);
    assert_int_equal(insert(router, 1, "a", "z", 1, 5, 1), ROUTER_REFRESHED); /* pd may be behind the stores */
    assert_int_equal(route_leader(route), 3);
    router_free(router);
}

static void a_leader_must_be_a_peer(void **state)
{
    (void)state;
    struct router *router = router_new(10);
    insert(router, 1, "a", "z", 1, 5, 77);
    struct route *route = router_find(router, bytes_of_string("b"));
    assert_int_equal(route_leader(route), 0);
    router_set_leader(router, route, 2);
    assert_int_equal(route_leader(route), 2);
    router_set_leader(router, route, 77);
    assert_int_equal(route_leader(route), 0);
    router_free(router);
}

static void a_silent_store_leads_nothing_until_somebody_says_so_again(void **state)
{
    (void)state;
    struct router *router = router_new(1000);
    char start[8], end[8];
    for (int i = 0; i < 900; i++) {
        snprintf(start, sizeof start, "k%03d", i);
        snprintf(end, sizeof end, "k%03d", i + 1);
        struct wire_region it = region((uint64_t)i + 1, start, end, 1, 1);
        assert_int_equal(router_insert(router, &it, 1 + (store_id)i % 3), ROUTER_INSERTED);
    }
    router_store_silent(router, 2);
    for (int i = 0; i < 900; i++) {
        struct route *route = router_find_by_id(router, (uint64_t)i + 1);
        assert_int_equal(route_leader(route), i % 3 == 1 ? 0 : 1 + i % 3);
    }
    router_set_leader(router, router_find_by_id(router, 2), 2);
    assert_int_equal(route_leader(router_find_by_id(router, 2)), 2);
    assert_int_equal(route_leader(router_find_by_id(router, 5)), 0);
    router_free(router);
}

static void past_the_maximum_the_least_used_goes(void **state)
{
    (void)state;
    struct router *router = router_new(3);
    insert(router, 1, "a", "b", 1, 1, 1);
    insert(router, 2, "b", "c", 1, 1, 1);
    insert(router, 3, "c", "d", 1, 1, 1);
    assert_int_equal(id_at(router, "a"), 1); /* used */
    insert(router, 4, "d", "e", 1, 1, 1);
    assert_int_equal(router_count(router), 3);
    assert_int_equal(id_at(router, "a"), 1);
    assert_int_equal(id_at(router, "b"), 0);
    assert_int_equal(id_at(router, "c"), 3);
    router_free(router);
}

static void removal_spares_what_is_newer(void **state)
{
    (void)state;
    struct router *router = router_new(3);
    insert(router, 1, "a", "b", 2, 7, 1);
    router_remove(router, 1, 2, 6);
    router_remove(router, 1, 1, 7);
    router_remove(router, 5, 9, 9);
    assert_int_equal(id_at(router, "a"), 1);
    router_remove(router, 1, 2, 7);
    assert_int_equal(id_at(router, "a"), 0);
    router_free(router);
}

static void nonsense_is_no_region(void **state)
{
    (void)state;
    struct router *router = router_new(3);
    static uint8_t long_key[KEY_SIZE_MAX + 17];
    static struct wire_peer many[ROUTE_PEERS_MAX + 1];
    assert_int_equal(insert(router, 0, "a", "b", 1, 1, 1), ROUTER_NOT_A_REGION);
    assert_int_equal(insert(router, 1, "b", "a", 1, 1, 1), ROUTER_NOT_A_REGION);
    assert_int_equal(insert(router, 1, "b", "b", 1, 1, 1), ROUTER_NOT_A_REGION);
    struct wire_region it = region(1, "a", "b", 1, 1);
    it.end_key = bytes_of(long_key, sizeof long_key);
    assert_int_equal(router_insert(router, &it, 1), ROUTER_NOT_A_REGION);
    it = region(1, "a", "b", 1, 1);
    it.peers = many;
    it.peers_count = ROUTE_PEERS_MAX + 1;
    assert_int_equal(router_insert(router, &it, 1), ROUTER_NOT_A_REGION);
    assert_int_equal(router_count(router), 0);
    router_free(router);
}

struct range {
    int start, end;
    uint64_t id, version;
};

/* A key space of 100 keys that splits and merges at random; news of it arrive late and out of order. Whatever order
 * they come in, the router never overlaps, and after all have come it knows the newest of everything. */
static void news_in_any_order_end_in_the_newest_map(void **state)
{
    (void)state;
    enum { NEWS = 400, KEYS = 100 };
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "router test");
        struct range map[KEYS + 1], news[NEWS];
        int count = 1, news_count = 0;
        uint64_t next_id = 2;
        map[0].start = 0, map[0].end = KEYS, map[0].id = 1, map[0].version = 1;
        news[news_count++] = map[0];
        while (news_count + 2 < NEWS) {
            int at = (int)rng_below(&rng, (uint64_t)count);
            if (rng_chance(&rng, 1, 2) && map[at].end - map[at].start > 1) {
                int middle = (int)rng_between(&rng, (uint64_t)map[at].start + 1, (uint64_t)map[at].end - 1);
                memmove(&map[at + 1], &map[at], (size_t)(count - at) * sizeof map[0]);
                count++;
                map[at].end = map[at + 1].start = middle;
                map[at + 1].id = next_id++;
                map[at + 1].version = ++map[at].version;
                news[news_count++] = map[at];
                news[news_count++] = map[at + 1];
            } else if (at + 1 < count) {
                map[at].end = map[at + 1].end;
                map[at].version = (map[at].version > map[at + 1].version ? map[at].version : map[at + 1].version) + 1;
                memmove(&map[at + 1], &map[at + 2], (size_t)(count - at - 2) * sizeof map[0]);
                count--;
                news[news_count++] = map[at];
            }
        }
        for (int i = news_count - 1; i > 0; i--) {
            int j = (int)rng_below(&rng, (uint64_t)i + 1);
            struct range swap = news[i];
            news[i] = news[j];
            news[j] = swap;
        }
        struct router *router = router_new(1000);
        char start[8], end[8];
        for (int round = 0; round < 2;
             round++) { /* what was evicted by something older that came between comes again */
            for (int i = 0; i < news_count; i++) {
                snprintf(start, sizeof start, "%03d", news[i].start);
                snprintf(end, sizeof end, "%03d", news[i].end);
                insert(router, news[i].id, start, end, 1, news[i].version, 0);
            }
        }
        for (int i = 0; i < count; i++) {
            snprintf(start, sizeof start, "%03d", map[i].start);
            const struct route *route = router_find(router, bytes_of_string(start));
            assert_non_null(route);
            assert_int_equal(route->region_id, map[i].id);
            assert_int_equal(route->epoch_version, map[i].version);
        }
        assert_int_equal(router_count(router), count);
        router_free(router);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_found_in_the_region_that_holds_it),
        cmocka_unit_test(keys_just_before_a_boundary_belong_to_the_region_on_its_left),
        cmocka_unit_test(a_split_replaces_the_old_region_and_the_old_one_never_comes_back),
        cmocka_unit_test(an_older_region_is_refused_even_if_only_its_other_half_is_known),
        cmocka_unit_test(a_merge_removes_everything_that_it_covers),
        cmocka_unit_test(a_new_member_list_keeps_the_leader),
        cmocka_unit_test(the_same_epoch_again_only_fills_in_a_leader_that_is_not_known),
        cmocka_unit_test(a_leader_must_be_a_peer),
        cmocka_unit_test(a_silent_store_leads_nothing_until_somebody_says_so_again),
        cmocka_unit_test(past_the_maximum_the_least_used_goes),
        cmocka_unit_test(removal_spares_what_is_newer),
        cmocka_unit_test(nonsense_is_no_region),
        cmocka_unit_test(news_in_any_order_end_in_the_newest_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
