#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "storenode/slow_score.h"

/* So many seconds in which each of ten writes takes so long. */
static uint32_t after(struct slow_score *slow, uint32_t seconds, uint64_t each_us)
{
    for (uint32_t i = 0; i < seconds; i++)
        slow_score_look(slow, slow->writes + 10, slow->write_us + 10 * each_us);
    return slow->score;
}

static void a_disk_as_it_should_be_has_no_score(void **unused)
{
    (void)unused;
    struct slow_score slow = {0};
    assert_int_equal(after(&slow, 100, 50 * 1000), 0);
    assert_int_equal(slow.latency_us, 50 * 1000);
}

static void three_bad_seconds_count_and_one_does_not(void **unused)
{
    (void)unused;
    struct slow_score slow = {0};
    assert_in_range(after(&slow, 1, 2000 * 1000), 1, 80);
    assert_in_range(after(&slow, 2, 2000 * 1000), 81, 100);
    assert_int_equal(after(&slow, 20, 2000 * 1000), 100);
}

static void it_recovers_slowly_and_without_writes_too(void **unused)
{
    (void)unused;
    struct slow_score slow = {0};
    after(&slow, 20, 2000 * 1000);
    assert_in_range(after(&slow, 4, 1000), 80, 99);
    slow_score_look(&slow, slow.writes, slow.write_us);
    assert_in_range(slow.score, 70, 79);
    assert_int_equal(after(&slow, 20, 1000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_as_it_should_be_has_no_score),
        cmocka_unit_test(three_bad_seconds_count_and_one_does_not),
        cmocka_unit_test(it_recovers_slowly_and_without_writes_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
