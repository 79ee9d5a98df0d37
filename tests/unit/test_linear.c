#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "tests/sim/check_linear.h"
#include "tests/sim/history.h"

static struct history_op *add(struct history *history, enum history_kind kind, const char *value, uint64_t start,
                              uint64_t end)
{
    struct history_op op = {.key = history_intern_key(history, bytes_of_string("k")),
                            .kind = kind,
                            .outcome = end == UINT64_MAX ? HISTORY_UNKNOWN : HISTORY_OK,
                            .value = HISTORY_NO_VALUE,
                            .result = HISTORY_NOT_TOLD,
                            .start = start,
                            .end = end};
    uint32_t number = value ? history_intern(history, bytes_of_string(value)) : HISTORY_NO_VALUE;
    if (kind == HISTORY_GET)
        op.result = number;
    else
        op.value = number;
    history_add(history, &op);
    return history_at(history, history_count(history) - 1);
}

static enum linear_verdict verdict_of(struct history *history)
{
    struct linear_result result;
    check_linear(history, 0, &result);
    history_free(history);
    return result.verdict;
}

static void a_read_after_a_write_sees_it(void **unused)
{
    (void)unused;
    struct history *history = history_new();
    add(history, HISTORY_PUT, "a", 1, 2);
    add(history, HISTORY_GET, "a", 3, 4);
    assert_int_equal(verdict_of(history), LINEAR_OK);

    history = history_new();
    add(history, HISTORY_PUT, "a", 1, 2);
    add(history, HISTORY_GET, NULL, 3, 4);
    assert_int_equal(verdict_of(history), LINEAR_ILLEGAL);
}

static void an_overlapping_read_may_see_either(void **unused)
{
    (void)unused;
    for (int seen = 0; seen < 2; seen++) {
        struct history *history = history_new();
        add(history, HISTORY_PUT, "a", 1, 10);
        add(history, HISTORY_GET, seen ? "a" : NULL, 3, 4);
        assert_int_equal(verdict_of(history), LINEAR_OK);
    }
    struct history *history = history_new(); /* but nobody may see it and then not see it */
    add(history, HISTORY_PUT, "a", 1, 10);
    add(history, HISTORY_GET, "a", 3, 4);
    add(history, HISTORY_GET, NULL, 5, 6);
    assert_int_equal(verdict_of(history), LINEAR_ILLEGAL);
}

static void an_unknown_write_may_happen_late_or_never_but_once(void **unused)
{
    (void)unused;
    struct history *history = history_new();
    add(history, HISTORY_PUT, "lost", 1, UINT64_MAX);
    add(history, HISTORY_PUT, "a", 2, 3);
    add(history, HISTORY_GET, "a", 4, 5);
    add(history, HISTORY_GET, "lost", 6, 7);
    assert_int_equal(verdict_of(history), LINEAR_OK);

    history = history_new();
    add(history, HISTORY_PUT, "lost", 1, UINT64_MAX);
    add(history, HISTORY_GET, NULL, 4, 5);
    assert_int_equal(verdict_of(history), LINEAR_OK);

    history = history_new();
    add(history, HISTORY_PUT, "lost", 1, UINT64_MAX);
    add(history, HISTORY_GET, "lost", 2, 3);
    add(history, HISTORY_PUT, "a", 4, 5);
    add(history, HISTORY_GET, "lost", 6, 7);
    assert_int_equal(verdict_of(history), LINEAR_ILLEGAL);

    history = history_new(); /* and not before it was asked for */
    add(history, HISTORY_GET, "lost", 1, 2);
    add(history, HISTORY_PUT, "lost", 3, UINT64_MAX);
    assert_int_equal(verdict_of(history), LINEAR_ILLEGAL);
}

static void a_failed_write_never_happened(void **unused)
{
    (void)unused;
    struct history *history = history_new();
    add(history, HISTORY_PUT, "a", 1, 2)->outcome = HISTORY_FAIL;
    add(history, HISTORY_GET, "a", 3, 4);
    assert_int_equal(verdict_of(history), LINEAR_ILLEGAL);
}

static void a_cas_that_did_not_swap_must_have_had_a_reason(void **unused)
{
    (void)unused;
    for (int told = 0; told < 2; told++) {
        struct history *history = history_new();
        add(history, HISTORY_PUT, "a", 1, 2);
        struct history_op *cas = add(history, HISTORY_CAS, "b", 3, 4);
        cas->expected = history_intern(history, bytes_of_string("a"));
        cas->result = told ? cas->expected : HISTORY_NOT_TOLD;
        assert_int_equal(verdict_of(history), LINEAR_ILLEGAL);
    }
    struct history *history = history_new(); /* an unknown write may be the reason, though nobody saw it */
    add(history, HISTORY_PUT, "a", 1, 2);
    add(history, HISTORY_PUT, "unseen", 1, UINT64_MAX);
    struct history_op *cas = add(history, HISTORY_CAS, "b", 3, 4);
    cas->expected = history_intern(history, bytes_of_string("a"));
    assert_int_equal(verdict_of(history), LINEAR_OK);
}

/* ---- against an oracle that tries every order */

enum { SMALL_MAX = 7 };

static bool oracle_apply(const struct history_op *op, uint32_t *state)
{
    switch (op->kind) {
    case HISTORY_PUT:
        *state = op->value;
        return true;
    case HISTORY_DELETE:
        *state = 0;
        return true;
    case HISTORY_GET:
        return op->outcome == HISTORY_UNKNOWN || op->result == *state;
    case HISTORY_CAS:
        if (op->outcome == HISTORY_UNKNOWN) {
            *state = *state == op->expected ? op->value : *state;
            return true;
        }
        if (op->swapped != (*state == op->expected) ||
            (!op->swapped && op->result != HISTORY_NOT_TOLD && op->result != *state))
            return false;
        *state = op->swapped ? op->value : *state;
        return true;
    default:
        return false;
    }
}

static bool oracle(struct history *history, unsigned done, uint32_t state)
{
    size_t count = history_count(history);
    bool complete = true;
    for (size_t i = 0; i < count; i++)
        complete = complete && (done >> i & 1 || history_at(history, i)->outcome != HISTORY_OK);
    if (complete)
        return true;
    for (size_t i = 0; i < count; i++) {
        const struct history_op *op = history_at(history, i);
        if (done >> i & 1 || op->outcome == HISTORY_FAIL)
            continue;
        bool first = true;
        for (size_t j = 0; j < count; j++) {
            const struct history_op *other = history_at(history, j);
            if (!(done >> j & 1) && other->outcome == HISTORY_OK && other->end < op->start)
                first = false;
        }
        uint32_t after = state;
        if (first && oracle_apply(op, &after) && oracle(history, done | 1u << i, after))
            return true;
    }
    return false;
}

static void make_random(struct history *history, struct rng *rng)
{
    size_t count = rng_between(rng, 2, SMALL_MAX);
    history_intern_key(history, bytes_of_string("k"));
    for (int i = 0; i < 3; i++)
        history_intern(history, bytes_of_string((const char *[]){"x", "y", "z"}[i]));
    for (size_t i = 0; i < count; i++) {
        uint64_t start = rng_between(rng, 1, 12), end = start + rng_below(rng, 6);
        struct history_op op = {.kind = (enum history_kind)rng_below(rng, 4),
                                .outcome = rng_chance(rng, 1, 4)    ? HISTORY_UNKNOWN
                                           : rng_chance(rng, 1, 10) ? HISTORY_FAIL
                                                                    : HISTORY_OK,
                                .value = (uint32_t)rng_between(rng, 1, 3),
                                .expected = (uint32_t)rng_below(rng, 4),
                                .result = rng_chance(rng, 1, 4) ? HISTORY_NOT_TOLD : (uint32_t)rng_below(rng, 4),
                                .swapped = rng_chance(rng, 1, 2),
                                .start = start,
                                .end = end};
        if (op.kind == HISTORY_GET && op.result == HISTORY_NOT_TOLD)
            op.result = 0;
        if (op.outcome == HISTORY_UNKNOWN)
            op.end = UINT64_MAX;
        history_add(history, &op);
    }
}

static void it_agrees_with_trying_every_order(void **unused)
{
    (void)unused;
    struct rng rng;
    rng_init(&rng, 7, "linear");
    unsigned legal = 0, total = 30000;
    for (unsigned i = 0; i < total; i++) {
        struct history *history = history_new();
        make_random(history, &rng);
        bool expected = oracle(history, 0, 0);
        legal += expected;
        assert_int_equal(verdict_of(history), expected ? LINEAR_OK : LINEAR_ILLEGAL);
    }
    assert_in_range(legal, total / 10, total * 9 / 10); /* else the histories test nothing */
}

static void a_long_history_with_many_unknown_writes_is_decided(void **unused)
{
    (void)unused;
    enum { COUNT = 20000 };
    struct history *history = history_new();
    struct rng rng;
    rng_init(&rng, 11, "linear");
    char value[32];
    for (uint64_t i = 0; i < COUNT; i++) {
        snprintf(value, sizeof value, "v%llu", (unsigned long long)i);
        bool unknown = rng_chance(&rng, 1, 5), happened = rng_chance(&rng, 1, 2);
        add(history, HISTORY_PUT, value, 10 * i, unknown ? UINT64_MAX : 10 * i + 25);
        if (!unknown || happened)
            add(history, HISTORY_GET, value, 10 * i + 6, 10 * i + 9);
    }
    assert_int_equal(verdict_of(history), LINEAR_OK);
}

/* Histories that others judged, where they are to be found. */
static void it_agrees_with_porcupine(void **unused)
{
    (void)unused;
    const char *folder = getenv("POLDER_TESTDATA") ? getenv("POLDER_TESTDATA") : "../shared/testdata";
    char path[512], name[128], wanted[32];
    snprintf(path, sizeof path, "%s/linearizability/VERDICTS.txt", folder);
    FILE *verdicts = fopen(path, "r");
    if (!verdicts)
        skip();
    int count = 0;
    while (fscanf(verdicts, "%127s %31s", name, wanted) == 2) {
        struct history *history = history_new();
        struct error err = {0};
        snprintf(path, sizeof path, "%s/linearizability/%s", folder, name);
        if (history_read(history, path, &err) != ERR_OK)
            fail_msg("%s", err.text);
        enum linear_verdict verdict = verdict_of(history);
        if (verdict != (strcmp(wanted, "ok") == 0 ? LINEAR_OK : LINEAR_ILLEGAL))
            fail_msg("%s: wanted %s", name, wanted);
        count++;
    }
    fclose(verdicts);
    assert_true(count > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_after_a_write_sees_it),
        cmocka_unit_test(an_overlapping_read_may_see_either),
        cmocka_unit_test(an_unknown_write_may_happen_late_or_never_but_once),
        cmocka_unit_test(a_failed_write_never_happened),
        cmocka_unit_test(a_cas_that_did_not_swap_must_have_had_a_reason),
        cmocka_unit_test(it_agrees_with_trying_every_order),
        cmocka_unit_test(a_long_history_with_many_unknown_writes_is_decided),
        cmocka_unit_test(it_agrees_with_porcupine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
