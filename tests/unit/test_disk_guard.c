/* When a store takes no new data, and when again. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "storenode/disk_guard.h"

static const uint64_t MIB = 1024 * 1024;

static bool low_with(struct disk_guard *guard, uint64_t free_mib, uint64_t disk_mib)
{
    struct engine_space space = {.available_size = free_mib * MIB, .capacity_size = disk_mib * MIB};
    (void)disk_guard_look(guard, &space, 256 * MIB);
    return disk_guard_is_low(guard);
}

static void a_large_disk_is_low_below_the_reserve(void **state)
{
    (void)state;
    struct disk_guard guard = {0};
    assert_false(low_with(&guard, 256, 100000));
    assert_true(low_with(&guard, 255, 100000));
}

static void a_small_disk_is_low_below_a_tenth(void **state)
{
    (void)state;
    struct disk_guard guard = {0};
    assert_false(low_with(&guard, 100, 1000));
    assert_true(low_with(&guard, 99, 1000));
}

static void it_is_not_low_any_more_with_a_quarter_more(void **state)
{
    (void)state;
    struct disk_guard guard = {0};
    assert_true(low_with(&guard, 10, 1000));
    assert_true(low_with(&guard, 124, 1000));
    assert_false(low_with(&guard, 125, 1000));
    assert_false(low_with(&guard, 101, 1000));
}

static void changes_are_told_once_and_no_disk_is_never_low(void **state)
{
    (void)state;
    struct disk_guard guard = {0};
    struct engine_space space = {.available_size = 1, .capacity_size = 1000};
    assert_true(disk_guard_look(&guard, &space, MIB));
    assert_false(disk_guard_look(&guard, &space, MIB));
    assert_true(disk_guard_look(&guard, &space, 0)); /* a reserve of nothing: never low */
    assert_false(disk_guard_is_low(&guard));
    space = (struct engine_space){0};
    assert_false(disk_guard_look(&guard, &space, MIB));
    assert_false(disk_guard_is_low(&guard));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_disk_is_low_below_the_reserve),
        cmocka_unit_test(a_small_disk_is_low_below_a_tenth),
        cmocka_unit_test(it_is_not_low_any_more_with_a_quarter_more),
        cmocka_unit_test(changes_are_told_once_and_no_disk_is_never_low),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
