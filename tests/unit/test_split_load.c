/* When is a region split for its load, and where? Time is the test's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/rng.h"
#include "storenode/split_load.h"

enum { REQUESTS = 1000, SECONDS = 3 };

struct machine {
    struct split_load load;
    struct split_load_limits limits;
    struct rng rng;
    uint64_t now_us;
    struct bytes key;
};

static void machine_init(struct machine *machine)
{
    *machine = (struct machine){.limits = {.requests = REQUESTS, .seconds = SECONDS}, .now_us = 5000000};
    rng_init(&machine->rng, 1, "load");
}

static enum split_load_verdict look(struct machine *machine)
{
    machine->now_us += 1000000;
    return split_load_look(&machine->load, &machine->limits, bytes_of_string("ra"), machine->now_us, 7, &machine->key);
}

/* Any of a thousand keys, one of them in `hot_percent`. */
static void ask(struct machine *machine, uint32_t count, uint32_t hot_percent)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[16];
        bool hot = rng_below(&machine->rng, 100) < hot_percent;
        snprintf(text, sizeof text, "rk%03u", hot ? 777 : (unsigned)rng_below(&machine->rng, 1000));
        split_load_count(&machine->load, 100);
        if (split_load_wants_samples(&machine->load))
            split_load_sample(&machine->load, bytes_of_string(text));
    }
}

static enum split_load_verdict run(struct machine *machine, uint32_t count, uint32_t hot_percent, uint32_t seconds)
{
    enum split_load_verdict verdict = SPLIT_LOAD_NOTHING;
    for (uint32_t second = 0; second < seconds && verdict == SPLIT_LOAD_NOTHING; second++) {
        ask(machine, count, hot_percent);
        verdict = look(machine);
    }
    return verdict;
}

static void a_region_that_is_asked_too_much_is_cut_in_the_middle_of_its_load(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct machine machine;
        machine_init(&machine);
        rng_init(&machine.rng, seed, "load");
        assert_int_equal(run(&machine, 2 * REQUESTS, 0, SECONDS + 1), SPLIT_LOAD_NOTHING);
        assert_int_equal(run(&machine, 2 * REQUESTS, 0, 1), SPLIT_LOAD_CUT);
        assert_true(bytes_compare(machine.key, bytes_of_string("rk350")) > 0);
        assert_true(bytes_compare(machine.key, bytes_of_string("rk650")) < 0);
        split_load_fini(&machine.load);
    }
}

static void nothing_is_sampled_below_the_limit(void **state)
{
    (void)state;
    struct machine machine;
    machine_init(&machine);
    for (int second = 0; second < 20; second++) {
        assert_int_equal(run(&machine, REQUESTS, 0, 1), SPLIT_LOAD_NOTHING);
        assert_false(split_load_wants_samples(&machine.load));
    }
    split_load_fini(&machine.load);
}

static void a_pause_begins_the_time_anew(void **state)
{
    (void)state;
    struct machine machine;
    machine_init(&machine);
    for (int time = 0; time < 5; time++) {
        assert_int_equal(run(&machine, 2 * REQUESTS, 0, SECONDS), SPLIT_LOAD_NOTHING);
        assert_int_equal(run(&machine, REQUESTS / 2, 0, 1), SPLIT_LOAD_NOTHING);
        assert_false(split_load_wants_samples(&machine.load));
    }
    split_load_fini(&machine.load);
}

static void bytes_count_too(void **state)
{
    (void)state;
    struct machine machine;
    machine_init(&machine);
    machine.limits.size = 20000;
    assert_int_equal(run(&machine, REQUESTS / 2, 0, SECONDS + 2), SPLIT_LOAD_CUT);
    split_load_fini(&machine.load);
}

/* The k-th refusal is waited out 2^k minutes: tried for half a day, that is not often. */
static void one_hot_key_is_not_tried_for_ever(void **state)
{
    (void)state;
    struct machine machine;
    uint32_t refusals = 0, sampled_seconds = 0;
    machine_init(&machine);
    for (uint32_t second = 0; second < 12 * 3600; second++) {
        ask(&machine, second % 600 < 20 || machine.load.samples ? REQUESTS + 200 : REQUESTS + 1, 90);
        sampled_seconds += split_load_wants_samples(&machine.load);
        enum split_load_verdict verdict = look(&machine);
        assert_int_not_equal(verdict, SPLIT_LOAD_CUT);
        assert_int_not_equal(verdict, SPLIT_LOAD_SPANNING);
        refusals += verdict == SPLIT_LOAD_ONE_KEY;
    }
    assert_in_range(refusals, 5, 20);
    assert_in_range(sampled_seconds, 1, 200);
    split_load_fini(&machine.load);
}

/* A key with much, but not nearly all of the load is put on a side of its own. */
static void a_warm_key_is_no_obstacle(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct machine machine;
        machine_init(&machine);
        rng_init(&machine.rng, seed, "load");
        assert_int_equal(run(&machine, 2 * REQUESTS, 40, SECONDS + 2), SPLIT_LOAD_CUT);
        split_load_fini(&machine.load);
    }
}

static void what_both_parts_would_be_asked_is_not_worth_a_cut(void **state)
{
    (void)state;
    struct machine machine;
    enum split_load_verdict verdict = SPLIT_LOAD_NOTHING;
    machine_init(&machine);
    for (int second = 0; second < SECONDS + 2; second++) {
        for (int i = 0; i < 2 * REQUESTS; i++) {
            char text[16];
            snprintf(text, sizeof text, "rk%03u", (unsigned)rng_below(&machine.rng, 400));
            split_load_count(&machine.load, 100);
            if (i % 10 < 9)
                split_load_sample_range(&machine.load, bytes_of_string(text), bytes_empty());
            else
                split_load_sample(&machine.load, bytes_of_string(text));
        }
        if (verdict == SPLIT_LOAD_NOTHING)
            verdict = look(&machine);
    }
    assert_int_equal(verdict, SPLIT_LOAD_SPANNING);
    split_load_fini(&machine.load);
}

/* Short scans lie on one side. */
static void short_ranges_are_like_keys(void **state)
{
    (void)state;
    struct machine machine;
    enum split_load_verdict verdict = SPLIT_LOAD_NOTHING;
    machine_init(&machine);
    for (int second = 0; second < SECONDS + 2; second++) {
        for (int i = 0; i < 2 * REQUESTS; i++) {
            char text[16], end[16];
            unsigned number = (unsigned)rng_below(&machine.rng, 1000);
            snprintf(text, sizeof text, "rk%03u", number);
            snprintf(end, sizeof end, "rk%03u", number + 5);
            split_load_count(&machine.load, 100);
            split_load_sample_range(&machine.load, bytes_of_string(text), bytes_of_string(end));
        }
        if (verdict == SPLIT_LOAD_NOTHING)
            verdict = look(&machine);
    }
    assert_int_equal(verdict, SPLIT_LOAD_CUT);
    split_load_fini(&machine.load);
}

static void keys_that_nobody_may_have_are_not_taken(void **state)
{
    (void)state;
    static char much[100000];
    struct machine machine;
    machine_init(&machine);
    run(&machine, 2 * REQUESTS, 0, 2);
    assert_true(split_load_wants_samples(&machine.load));
    split_load_sample_range(&machine.load, bytes_of(much, sizeof much), bytes_of(much, sizeof much));
    split_load_fini(&machine.load);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_that_is_asked_too_much_is_cut_in_the_middle_of_its_load),
        cmocka_unit_test(nothing_is_sampled_below_the_limit),
        cmocka_unit_test(a_pause_begins_the_time_anew),
        cmocka_unit_test(bytes_count_too),
        cmocka_unit_test(one_hot_key_is_not_tried_for_ever),
        cmocka_unit_test(a_warm_key_is_no_obstacle),
        cmocka_unit_test(what_both_parts_would_be_asked_is_not_worth_a_cut),
        cmocka_unit_test(short_ranges_are_like_keys),
        cmocka_unit_test(keys_that_nobody_may_have_are_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
