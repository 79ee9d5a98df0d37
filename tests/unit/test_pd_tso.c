/* tso, id_alloc: nothing is given out twice, nothing goes back, whatever the clock and the restarts do. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/rng.h"
#include "pd/id_alloc.h"
#include "pd/tso.h"

enum { WINDOW_MS = 3000 };

/* A log that applies a window some steps after it was proposed, or loses it with a restart. */
struct log_of_one {
    uint64_t limit_ms;   /* applied: survives */
    uint64_t pending_ms; /* proposed: may or may not survive */
    uint32_t delay;
};

static void log_step(struct log_of_one *log, struct tso *tso)
{
    if (log->pending_ms != 0 && log->delay-- == 0) {
        log->limit_ms = log->pending_ms > log->limit_ms ? log->pending_ms : log->limit_ms;
        tso_window_applied(tso, log->pending_ms);
        log->pending_ms = 0;
    }
}

static void log_restart(struct log_of_one *log, struct tso *tso, struct rng *rng)
{
    /* What was proposed may have been committed although nobody was told. */
    if (log->pending_ms > log->limit_ms && rng_chance(rng, 1, 2))
        log->limit_ms = log->pending_ms;
    log->pending_ms = 0;
    tso_init(tso, WINDOW_MS, log->limit_ms);
}

static uint64_t random_clock(struct rng *rng, uint64_t wall_ms)
{
    switch (rng_below(rng, 200)) {
    case 0:
        return wall_ms > 50000 ? wall_ms - rng_below(rng, 50000) : wall_ms;
    case 1:
        return wall_ms + rng_below(rng, 50000);
    case 2:
        return rng_below(rng, 3) == 0 ? 0 : wall_ms;
    default:
        return wall_ms + rng_below(rng, 5);
    }
}

static void timestamps_grow_over_restarts_and_clock_steps(void **state)
{
    (void)state;
    uint64_t served = 0;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "tso");
        struct log_of_one log = {0};
        struct tso tso;
        uint64_t wall_ms = 1700000000000, newest = 0, first, limit_ms;
        tso_init(&tso, WINDOW_MS, 0);
        for (int step = 0; step < 2000; step++) {
            wall_ms = random_clock(&rng, wall_ms);
            log_step(&log, &tso);
            if (rng_chance(&rng, 1, 150))
                log_restart(&log, &tso, &rng);
            uint32_t count = (uint32_t)rng_between(&rng, 1, rng_chance(&rng, 1, 10) ? TSO_COUNT_MAX : 100);
            enum err code = tso_take(&tso, wall_ms, count, &first);
            tso_check(&tso);
            if (code == ERR_OK) {
                served++;
                assert_true(first > newest || (first == 0 && newest == 0));
                newest = first + count - 1;
                assert_int_equal(tso_physical_ms(first), tso_physical_ms(newest)); /* the batch is consecutive */
                assert_true(tso_physical_ms(newest) < log.limit_ms);               /* and was reserved */
            } else {
                assert_int_equal(code, ERR_NOT_READY);
            }
            if (tso_wants_window(&tso, wall_ms, code == ERR_NOT_READY, &limit_ms)) {
                assert_true(limit_ms > tso.limit_ms);
                tso_window_proposed(&tso, limit_ms);
                log.pending_ms = limit_ms;
                log.delay = (uint32_t)rng_below(&rng, 4);
            }
        }
    }
    assert_true(served > 200 * 1000); /* most of the steps were answered */
}

static void open_window(struct tso *tso, uint64_t wall_ms)
{
    uint64_t limit_ms;
    assert_true(tso_wants_window(tso, wall_ms, true, &limit_ms));
    tso_window_proposed(tso, limit_ms);
    tso_window_applied(tso, limit_ms);
}

static void nothing_is_given_out_before_the_window_is_applied(void **state)
{
    (void)state;
    struct tso tso;
    uint64_t first, limit_ms;
    tso_init(&tso, WINDOW_MS, 0);
    assert_int_equal(tso_take(&tso, 5000, 1, &first), ERR_NOT_READY);
    assert_true(tso_wants_window(&tso, 5000, true, &limit_ms));
    assert_int_equal(limit_ms, 5000 + WINDOW_MS);
    tso_window_proposed(&tso, limit_ms);
    assert_int_equal(tso_take(&tso, 5000, 1, &first), ERR_NOT_READY);
    assert_false(tso_wants_window(&tso, 5000, true, &limit_ms)); /* one at a time */
    tso_window_failed(&tso);
    assert_true(tso_wants_window(&tso, 5000, true, &limit_ms));
    tso_window_applied(&tso, limit_ms);
    assert_int_equal(tso_take(&tso, 5000, 1, &first), ERR_OK);
    assert_int_equal(first, (uint64_t)5000 << TSO_COUNTER_BITS);
}

static void a_clock_that_is_behind_goes_on_by_the_counter(void **state)
{
    (void)state;
    struct tso tso;
    uint64_t a, b;
    tso_init(&tso, WINDOW_MS, 9000);
    open_window(&tso, 1000);
    assert_int_equal(tso_take(&tso, 1000, 10, &a), ERR_OK);
    assert_int_equal(tso_take(&tso, 900, 10, &b), ERR_OK);
    assert_int_equal(a, (uint64_t)9000 << TSO_COUNTER_BITS);
    assert_int_equal(b, a + 10);
}

static void a_full_counter_moves_the_millisecond(void **state)
{
    (void)state;
    struct tso tso;
    uint64_t first;
    tso_init(&tso, 10, 0);
    open_window(&tso, 1000);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(tso_take(&tso, 1000, TSO_COUNT_MAX, &first), ERR_OK);
        assert_int_equal(first, (1000 + i) << TSO_COUNTER_BITS);
    }
    assert_int_equal(tso_take(&tso, 1000, 1, &first), ERR_NOT_READY); /* ten milliseconds were reserved */
    open_window(&tso, 1000);
    assert_int_equal(tso_take(&tso, 1000, 1, &first), ERR_OK);
    assert_int_equal(first, (uint64_t)1010 << TSO_COUNTER_BITS);
}

static void impossible_counts_and_clocks_are_refused(void **state)
{
    (void)state;
    struct tso tso;
    uint64_t first;
    tso_init(&tso, WINDOW_MS, 100);
    open_window(&tso, 100);
    assert_int_equal(tso_take(&tso, 100, 0, &first), ERR_INVALID);
    assert_int_equal(tso_take(&tso, 100, TSO_COUNT_MAX + 1, &first), ERR_INVALID);
    assert_int_equal(tso_take(&tso, UINT64_MAX, 1, &first), ERR_OK); /* such a clock is not believed */
    assert_int_equal(first, (uint64_t)100 << TSO_COUNTER_BITS);
}

static void an_idle_tso_writes_nothing(void **state)
{
    (void)state;
    struct tso tso;
    uint64_t first, limit_ms;
    tso_init(&tso, WINDOW_MS, 0);
    assert_false(tso_wants_window(&tso, 1000, false, &limit_ms));
    open_window(&tso, 1000);
    assert_false(tso_wants_window(&tso, 1000000, false, &limit_ms));
    assert_int_equal(tso_take(&tso, 1000, 1, &first), ERR_OK);
    assert_false(tso_wants_window(&tso, 1001, false, &limit_ms));
    assert_true(tso_wants_window(&tso, 1000 + WINDOW_MS / 2, false, &limit_ms)); /* in use: early enough */
}

static void ids_never_repeat_over_restarts(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "ids");
        struct id_alloc alloc;
        uint64_t log_next = 1, newest = 0, first;
        uint32_t window;
        id_alloc_init(&alloc);
        for (int step = 0; step < 1000; step++) {
            uint32_t count = (uint32_t)rng_between(&rng, 1, rng_chance(&rng, 1, 20) ? 5000 : 20);
            if (id_alloc_wants_window(&alloc, count, &window)) {
                id_alloc_window_proposed(&alloc, window);
                uint64_t reserved = log_next;
                bool applied = rng_chance(&rng, 9, 10);
                log_next += applied || rng_chance(&rng, 1, 2) ? window : 0; /* committed, but who knows it? */
                if (applied)
                    id_alloc_window_applied(&alloc, reserved, window);
                else
                    id_alloc_window_failed(&alloc);
            }
            if (id_alloc_take(&alloc, count, &first) == ERR_OK) {
                assert_true(first > newest);
                newest = first + count - 1;
                assert_true(newest < log_next);
            }
            if (rng_chance(&rng, 1, 100))
                id_alloc_init(&alloc);
            id_alloc_check(&alloc);
        }
        assert_true(newest > 1000);
    }
}

static void impossible_id_counts_are_refused(void **state)
{
    (void)state;
    struct id_alloc alloc;
    uint64_t first;
    id_alloc_init(&alloc);
    assert_int_equal(id_alloc_take(&alloc, 0, &first), ERR_INVALID);
    assert_int_equal(id_alloc_take(&alloc, ID_ALLOC_COUNT_MAX + 1, &first), ERR_INVALID);
    assert_int_equal(id_alloc_take(&alloc, 1, &first), ERR_NOT_READY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timestamps_grow_over_restarts_and_clock_steps),
        cmocka_unit_test(nothing_is_given_out_before_the_window_is_applied),
        cmocka_unit_test(a_clock_that_is_behind_goes_on_by_the_counter),
        cmocka_unit_test(a_full_counter_moves_the_millisecond),
        cmocka_unit_test(impossible_counts_and_clocks_are_refused),
        cmocka_unit_test(an_idle_tso_writes_nothing),
        cmocka_unit_test(ids_never_repeat_over_restarts),
        cmocka_unit_test(impossible_id_counts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
