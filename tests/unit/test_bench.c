/* The load generator must notice what it is there to notice: so most of this is about answers that are wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench.h"

enum { SIZE = 40 };

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, BENCH_KEY_SIZE);
}

static void keys_are_unique_and_spread_over_the_alphabet(void **state)
{
    (void)state;
    enum { COUNT = 62000 };
    char(*keys)[BENCH_KEY_SIZE] = calloc(COUNT, sizeof *keys);
    assert_non_null(keys);
    uint32_t first[256] = {0};
    for (uint64_t i = 0; i < COUNT; i++) {
        bench_data_key(i, keys[i]);
        first[(uint8_t)keys[i][0]]++;
    }
    for (int c = 0; c < 256; c++) {
        bool letter = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        assert_int_equal(first[c] > 0, letter);
        if (letter)
            assert_in_range(first[c], 800, 1200);
    }
    qsort(keys, COUNT, sizeof *keys, compare_keys);
    for (int i = 1; i < COUNT; i++)
        assert_true(memcmp(keys[i - 1], keys[i], BENCH_KEY_SIZE) != 0);
    free(keys);
}

static void a_value_tells_its_number(void **state)
{
    (void)state;
    uint8_t value[SIZE];
    uint64_t id = 0;
    bench_data_value(0xfedcba9876543210ULL, SIZE, value);
    assert_true(bench_data_value_id(bytes_of(value, SIZE), &id));
    assert_int_equal(id, 0xfedcba9876543210ULL);
    assert_false(bench_data_value_id(bytes_of(value, 16), &id));
    value[3] = 'G';
    assert_false(bench_data_value_id(bytes_of(value, SIZE), &id));
}

static enum bench_verdict judge(struct bench_truth *truth, uint64_t key, uint64_t id)
{
    uint8_t value[SIZE];
    bench_data_value(id, SIZE, value);
    return bench_truth_judge(truth, key, true, bytes_of(value, SIZE));
}

static void an_acknowledged_write_that_is_gone_is_lost(void **state)
{
    (void)state;
    struct bench_truth *truth = bench_truth_new(NULL, true, 4, SIZE);
    assert_int_equal(bench_truth_judge(truth, 0, false, bytes_empty()), BENCH_NEVER_WRITTEN);
    bench_truth_put(truth, 1, 0, 11, 10, 20, POLDER_DONE);
    assert_int_equal(bench_truth_judge(truth, 0, false, bytes_empty()), BENCH_LOST);
    assert_int_equal(judge(truth, 0, 11), BENCH_RIGHT);
    bench_truth_put(truth, 1, 0, 12, 30, 40, POLDER_DONE);
    assert_int_equal(judge(truth, 0, 11), BENCH_LOST);
    assert_int_equal(judge(truth, 0, 12), BENCH_RIGHT);
    assert_int_equal(bench_truth_acknowledged(truth), 2);
    bench_truth_free(truth);
}

static void of_writes_at_the_same_time_either_may_be_last(void **state)
{
    (void)state;
    struct bench_truth *truth = bench_truth_new(NULL, true, 4, SIZE);
    bench_truth_put(truth, 1, 0, 11, 10, 30, POLDER_DONE);
    bench_truth_put(truth, 2, 0, 12, 20, 40, POLDER_DONE);
    assert_int_equal(judge(truth, 0, 11), BENCH_RIGHT);
    assert_int_equal(judge(truth, 0, 12), BENCH_RIGHT);
    bench_truth_put(truth, 1, 0, 13, 35, 50, POLDER_DONE);
    assert_int_equal(judge(truth, 0, 11), BENCH_LOST);
    assert_int_equal(judge(truth, 0, 12), BENCH_RIGHT);
    bench_truth_free(truth);
}

static void an_unknown_write_stays_possible_and_a_refused_one_never_is(void **state)
{
    (void)state;
    struct bench_truth *truth = bench_truth_new(NULL, true, 4, SIZE);
    bench_truth_put(truth, 1, 0, 11, 10, 0, POLDER_UNKNOWN);
    assert_int_equal(bench_truth_judge(truth, 0, false, bytes_empty()), BENCH_RIGHT);
    bench_truth_put(truth, 2, 0, 12, 1000, 1010, POLDER_DONE);
    assert_int_equal(judge(truth, 0, 11), BENCH_RIGHT);
    assert_int_equal(judge(truth, 0, 12), BENCH_RIGHT);
    bench_truth_put(truth, 3, 0, 13, 2000, 2010, POLDER_NOT_DONE);
    assert_int_equal(judge(truth, 0, 13), BENCH_LOST);
    assert_int_equal(bench_truth_judge(truth, 0, false, bytes_empty()), BENCH_LOST);
    bench_truth_free(truth);
}

static void a_value_that_nobody_wrote_is_wrong(void **state)
{
    (void)state;
    uint8_t value[SIZE];
    struct bench_truth *truth = bench_truth_new(NULL, true, 4, SIZE);
    bench_truth_put(truth, 1, 0, 11, 10, 20, POLDER_DONE);
    bench_data_value(11, SIZE, value);
    value[SIZE - 1] ^= 1;
    assert_int_equal(bench_truth_judge(truth, 0, true, bytes_of(value, SIZE)), BENCH_WRONG);
    assert_int_equal(bench_truth_judge(truth, 0, true, bytes_of(value, SIZE - 1)), BENCH_WRONG);
    assert_int_equal(bench_truth_judge(truth, 0, true, bytes_of("junk", 4)), BENCH_WRONG);
    bench_truth_free(truth);
}

static void the_history_is_json_lines(void **state)
{
    (void)state;
    struct bench_truth *truth = bench_truth_new("x", false, 4, BENCH_VALUE_ID_SIZE);
    struct buf lines;
    char key[BENCH_KEY_SIZE + 1] = {0}, want[1024];
    bench_data_key(2, key);
    bench_truth_put(truth, 3, 2, 11, 10, 20, POLDER_DONE);
    bench_truth_put(truth, 3, 2, 12, 10, 20, POLDER_UNKNOWN);
    bench_truth_get(truth, 4, 2, 30, 31, POLDER_DONE, true, bytes_of("a\"\xff", 3));
    bench_truth_get(truth, 4, 2, 32, 33, POLDER_DONE, false, bytes_empty());
    bench_truth_get(truth, 4, 2, 34, 35, POLDER_NOT_DONE, false, bytes_empty());
    snprintf(want, sizeof want,
             "{\"client\":3,\"op\":\"put\",\"key\":\"%s\",\"value\":\"v000000000000000b\",\"start_us\":10,\"end_us\":"
             "20,\"outcome\":\"ok\"}\n"
             "{\"client\":3,\"op\":\"put\",\"key\":\"%s\",\"value\":\"v000000000000000c\",\"start_us\":10,\"outcome\":"
             "\"unknown\"}\n"
             "{\"client\":4,\"op\":\"get\",\"key\":\"%s\",\"result\":\"a\\u0022\\u00ff\",\"start_us\":30,\"end_us\":31,"
             "\"outcome\":\"ok\"}\n"
             "{\"client\":4,\"op\":\"get\",\"key\":\"%s\",\"result\":null,\"start_us\":32,\"end_us\":33,\"outcome\":"
             "\"ok\"}\n"
             "{\"client\":4,\"op\":\"get\",\"key\":\"%s\",\"start_us\":34,\"end_us\":35,\"outcome\":\"fail\"}\n",
             key, key, key, key, key);
    buf_init(&lines, 1);
    bench_truth_take(truth, &lines);
    assert_int_equal(lines.size, strlen(want));
    assert_memory_equal(lines.data, want, lines.size);
    bench_truth_take(truth, &lines);
    assert_int_equal(lines.size, 0);
    buf_fini(&lines);
    bench_truth_free(truth);
}

static void gaps_and_errors_are_counted(void **state)
{
    (void)state;
    struct bench_stats *stats = calloc(1, sizeof *stats);
    assert_non_null(stats);
    struct polder_result done = {.outcome = POLDER_DONE, .found = true},
                         failed = {.outcome = POLDER_NOT_DONE, .code = POLDER_BUSY};
    struct polder_result unknown = {.outcome = POLDER_UNKNOWN, .code = 1000}, missing = {.outcome = POLDER_DONE};
    bench_stats_start(stats, 1000);
    bench_stats_record(stats, BENCH_PUT, 1000, 1500, &done);
    bench_stats_record(stats, BENCH_GET, 1600, 9000, &failed);
    bench_stats_record(stats, BENCH_GET, 1600, 9500, &done);
    bench_stats_record(stats, BENCH_PUT, 9500, 9600, &unknown);
    bench_stats_record(stats, BENCH_GET, 9600, 9700, &missing);
    bench_stats_end(stats, 10000);
    assert_int_equal(stats->longest_gap_us, 8000);
    assert_int_equal(stats->longest_gap_at_us, 500);
    assert_int_equal(stats->not_done[POLDER_BUSY], 1);
    assert_int_equal(stats->unknown[BENCH_CODE_MAX - 1], 1);
    assert_int_equal(stats->error_count, 2);
    assert_int_equal(stats->missing_count, 1);
    assert_int_equal(stats->latency_us[BENCH_GET].count, 2);
    bench_stats_end(stats, 90000);
    assert_int_equal(stats->longest_gap_us, 80300);
    free(stats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_unique_and_spread_over_the_alphabet),
        cmocka_unit_test(a_value_tells_its_number),
        cmocka_unit_test(an_acknowledged_write_that_is_gone_is_lost),
        cmocka_unit_test(of_writes_at_the_same_time_either_may_be_last),
        cmocka_unit_test(an_unknown_write_stays_possible_and_a_refused_one_never_is),
        cmocka_unit_test(a_value_that_nobody_wrote_is_wrong),
        cmocka_unit_test(the_history_is_json_lines),
        cmocka_unit_test(gaps_and_errors_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
