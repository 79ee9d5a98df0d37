#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "storenode/peer_create.h"
#include "storenode/store_ranges.h"

static struct region region_of(region_id id, const char *start, const char *end)
{
    return (struct region){.id = id, .start_key = bytes_of_string(start), .end_key = bytes_of_string(end)};
}

static void set(struct store_ranges *ranges, region_id id, const char *start, const char *end)
{
    struct region region = region_of(id, start, end);
    store_ranges_set(ranges, &region);
}

static region_id find(const struct store_ranges *ranges, const char *start, const char *end, region_id except)
{
    return store_ranges_find(ranges, bytes_of_string(start), bytes_of_string(end), except);
}

static void keys_that_meet_are_found_and_neighbours_are_not(void **state)
{
    (void)state;
    struct store_ranges *ranges = store_ranges_new();
    assert_int_equal(find(ranges, "", "", 0), 0);
    set(ranges, 1, "b", "d");
    set(ranges, 2, "f", "h");
    assert_int_equal(find(ranges, "a", "b", 0), 0);
    assert_int_equal(find(ranges, "d", "f", 0), 0);
    assert_int_equal(find(ranges, "h", "", 0), 0);
    assert_int_equal(find(ranges, "a", "b0", 0), 1);
    assert_int_equal(find(ranges, "c", "c1", 0), 1);
    assert_int_equal(find(ranges, "c", "", 0), 1);
    assert_int_equal(find(ranges, "c", "", 1), 2);
    assert_int_equal(find(ranges, "e", "", 0), 2);
    assert_int_equal(find(ranges, "g", "z", 2), 0);
    store_ranges_free(ranges);
}

static void a_range_without_end_reaches_to_the_end(void **state)
{
    (void)state;
    struct store_ranges *ranges = store_ranges_new();
    set(ranges, 7, "m", "");
    assert_int_equal(find(ranges, "zzz", "", 0), 7);
    assert_int_equal(find(ranges, "a", "m", 0), 0);
    assert_int_equal(find(ranges, "", "", 0), 7);
    store_ranges_free(ranges);
}

static void a_split_gives_the_right_half_to_another(void **state)
{
    (void)state;
    struct store_ranges *ranges = store_ranges_new();
    set(ranges, 1, "", "");
    set(ranges, 1, "", "k");
    assert_int_equal(find(ranges, "k", "", 0), 0);
    set(ranges, 2, "k", "");
    assert_true(store_ranges_has(ranges, 2));
    store_ranges_remove(ranges, 1);
    assert_false(store_ranges_has(ranges, 1));
    assert_int_equal(find(ranges, "", "k", 0), 0);
    store_ranges_remove(ranges, 1);
    store_ranges_free(ranges);
}

static void nobody_is_told_absent_before_a_split_had_its_time(void **state)
{
    (void)state;
    struct absent_peers *absent = absent_peers_new();
    uint64_t tick = 100;
    assert_false(absent_peers_heard(absent, 5, tick));
    while (!absent_peers_heard(absent, 5, tick))
        tick++;
    assert_in_range(tick, 105, 120);
    assert_false(absent_peers_heard(absent, 5, tick + 1)); /* not with every heartbeat */
    assert_true(absent_peers_heard(absent, 5, tick + 10));
    absent_peers_remove(absent, 5);
    assert_false(absent_peers_heard(absent, 5, tick + 20)); /* a new matter */
    absent_peers_sweep(absent, tick + 1000);
    assert_false(absent_peers_heard(absent, 5, tick + 1000));
    absent_peers_free(absent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_that_meet_are_found_and_neighbours_are_not),
        cmocka_unit_test(a_range_without_end_reaches_to_the_end),
        cmocka_unit_test(a_split_gives_the_right_half_to_another),
        cmocka_unit_test(nobody_is_told_absent_before_a_split_had_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
