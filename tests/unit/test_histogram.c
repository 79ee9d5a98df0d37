#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/histogram.h"
#include "base/rng.h"

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_within_one_percent_of_the_sorted_truth(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    uint64_t *values = calloc(COUNT, sizeof *values);
    struct histogram *histogram = calloc(1, sizeof *histogram);
    assert_non_null(values);
    assert_non_null(histogram);
    struct rng rng;
    rng_init(&rng, 1, "histogram");
    for (int i = 0; i < COUNT; i++) {
        values[i] = rng_next(&rng) >> (24 + rng_below(&rng, 40));
        histogram_record(histogram, values[i]);
    }
    qsort(values, COUNT, sizeof *values, compare_numbers);
    for (uint32_t permille = 1; permille <= 1000; permille++) {
        uint64_t truth = values[(COUNT * (uint64_t)permille + 999) / 1000 - 1];
        uint64_t found = histogram_quantile(histogram, permille);
        assert_true(found >= truth);
        assert_true(found <= truth + truth / 100 + 1);
    }
    assert_int_equal(histogram_quantile(histogram, 0), values[0]);
    assert_int_equal(histogram_quantile(histogram, 1000), values[COUNT - 1]);
    free(values);
    free(histogram);
}

static void empty_and_extreme_values_do_no_harm(void **state)
{
    (void)state;
    struct histogram *histogram = calloc(1, sizeof *histogram);
    assert_non_null(histogram);
    assert_int_equal(histogram_quantile(histogram, 500), 0);
    assert_int_equal(histogram_mean(histogram), 0);
    histogram_record(histogram, UINT64_MAX);
    histogram_record(histogram, 0);
    assert_int_equal(histogram_quantile(histogram, 500), 0);
    assert_int_equal(histogram->max, UINT64_MAX);
    assert_int_equal(histogram->count, 2);
    histogram_reset(histogram);
    assert_int_equal(histogram->count, 0);
    free(histogram);
}

static void a_sum_of_two_is_what_one_would_have_recorded(void **state)
{
    (void)state;
    struct histogram *a = calloc(3, sizeof *a), *b = a + 1, *both = a + 2;
    assert_non_null(a);
    histogram_add(a, b);
    assert_int_equal(a->count, 0);
    for (uint64_t i = 0; i < 5000; i++) {
        histogram_record(i % 3 ? a : b, i * i);
        histogram_record(both, i * i);
    }
    histogram_add(a, b);
    assert_memory_equal(a, both, sizeof *a);
    free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_within_one_percent_of_the_sorted_truth),
        cmocka_unit_test(empty_and_extreme_values_do_no_harm),
        cmocka_unit_test(a_sum_of_two_is_what_one_would_have_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
