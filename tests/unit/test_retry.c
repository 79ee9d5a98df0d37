/* retry: where next, and what may be said in the end. One row per code; each row is tried as the first answer and after
 * a send that was lost, for writes and for reads. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

#include "client/retry.h"

enum { SECOND_US = 1000000 };

/* What becomes of a request that gets this answer and, if it goes on, meets its deadline without another answer. */
struct row {
    enum err code;
    enum retry_step step;
    bool at_once; /* no pause */
    /* The end, for a write that was never sent before / of which a send was lost; for a read. */
    enum polder_outcome first, after_loss, read;
    enum err first_code, after_loss_code, read_code;
};

static const struct row rows[] = {
    /* definite, and about the write itself */
    {ERR_OK, RETRY_END, true, POLDER_DONE, POLDER_DONE, POLDER_DONE, ERR_OK, ERR_OK, ERR_OK},
    {ERR_CONDITION_FAILED, RETRY_END, true, POLDER_NOT_DONE, POLDER_NOT_DONE, POLDER_NOT_DONE, ERR_CONDITION_FAILED,
     ERR_CONDITION_FAILED, ERR_CONDITION_FAILED},
    /* this send did not happen; what an earlier one did, it does not say */
    {ERR_NOT_LEADER, RETRY_NEXT_PEER, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_DEADLINE,
     ERR_TIMEOUT, ERR_DEADLINE},
    {ERR_EPOCH_NOT_MATCH, RETRY_RELOAD, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_DEADLINE,
     ERR_TIMEOUT, ERR_DEADLINE},
    {ERR_REGION_NOT_FOUND, RETRY_RELOAD, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_DEADLINE,
     ERR_TIMEOUT, ERR_DEADLINE},
    {ERR_KEY_NOT_IN_REGION, RETRY_RELOAD, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_DEADLINE,
     ERR_TIMEOUT, ERR_DEADLINE},
    {ERR_STORE_NOT_MATCH, RETRY_RECONNECT, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_DEADLINE,
     ERR_TIMEOUT, ERR_DEADLINE},
    {ERR_BUSY, RETRY_SAME, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_BUSY, ERR_TIMEOUT, ERR_BUSY},
    {ERR_NOT_READY, RETRY_SAME, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_NOT_READY, ERR_TIMEOUT,
     ERR_NOT_READY},
    {ERR_DISK_FULL, RETRY_SAME, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_DISK_FULL, ERR_TIMEOUT,
     ERR_DISK_FULL},
    {ERR_UNAVAILABLE, RETRY_NEXT_PEER, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_UNAVAILABLE,
     ERR_TIMEOUT, ERR_UNAVAILABLE},
    {ERR_DEADLINE, RETRY_SAME, false, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_DEADLINE, ERR_TIMEOUT,
     ERR_DEADLINE},
    /* nobody knows */
    {ERR_MAYBE, RETRY_SAME, false, POLDER_UNKNOWN, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_TIMEOUT, ERR_TIMEOUT,
     ERR_TIMEOUT},
    {ERR_TIMEOUT, RETRY_SAME, false, POLDER_UNKNOWN, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_TIMEOUT, ERR_TIMEOUT,
     ERR_TIMEOUT},
    {ERR_IO, RETRY_NEXT_PEER, false, POLDER_UNKNOWN, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_TIMEOUT, ERR_TIMEOUT,
     ERR_DEADLINE},
    {ERR_CORRUPT, RETRY_NEXT_PEER, false, POLDER_UNKNOWN, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_TIMEOUT, ERR_TIMEOUT,
     ERR_DEADLINE},
    {ERR_CLOSED, RETRY_NEXT_PEER, false, POLDER_UNKNOWN, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_TIMEOUT, ERR_TIMEOUT,
     ERR_DEADLINE},
    {(enum err)999, RETRY_SAME, false, POLDER_UNKNOWN, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_TIMEOUT, ERR_TIMEOUT,
     ERR_DEADLINE},
    /* the request is at fault: told at once, but never that it did not happen if an earlier send may have */
    {ERR_INVALID, RETRY_END, true, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_INVALID, ERR_MAYBE,
     ERR_INVALID},
    {ERR_KEY_TOO_LARGE, RETRY_END, true, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_KEY_TOO_LARGE, ERR_MAYBE,
     ERR_KEY_TOO_LARGE},
    {ERR_ENTRY_TOO_LARGE, RETRY_END, true, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_ENTRY_TOO_LARGE,
     ERR_MAYBE, ERR_ENTRY_TOO_LARGE},
    {ERR_KEY_EMPTY, RETRY_END, true, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_KEY_EMPTY, ERR_MAYBE,
     ERR_KEY_EMPTY},
    {ERR_CLUSTER_NOT_MATCH, RETRY_END, true, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_CLUSTER_NOT_MATCH,
     ERR_MAYBE, ERR_CLUSTER_NOT_MATCH},
    {ERR_VERSION, RETRY_END, true, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_VERSION, ERR_MAYBE,
     ERR_VERSION},
    {ERR_UNSUPPORTED, RETRY_END, true, POLDER_NOT_DONE, POLDER_UNKNOWN, POLDER_NOT_DONE, ERR_UNSUPPORTED, ERR_MAYBE,
     ERR_UNSUPPORTED},
};

static struct rng rng;

static struct retry_verdict answer(struct retry *retry, struct retry_answer with)
{
    retry_sent(retry);
    return retry_answered(retry, &with, 10 * SECOND_US, &rng);
}

static void check_row(const struct row *row, bool write, bool lost, enum polder_outcome outcome, enum err code)
{
    struct retry retry;
    retry_init(&retry, write, false);
    if (lost) {
        retry_sent(&retry);
        retry_lost(&retry, &rng);
    }
    struct retry_verdict verdict = answer(&retry, (struct retry_answer){.code = row->code});
    struct retry_end end =
        verdict.step == RETRY_END ? retry_end_answered(&retry, row->code) : retry_end_deadline(&retry);
    if (verdict.step != row->step || (verdict.pause_us == 0) != row->at_once || end.outcome != outcome ||
        end.code != code)
        fail_msg("%s, %s%s: step %d pause %llu outcome %d code %s", err_name(row->code), write ? "write" : "read",
                 lost ? " after a loss" : "", (int)verdict.step, (unsigned long long)verdict.pause_us, (int)end.outcome,
                 err_name(end.code));
    assert_true(verdict.pause_us <= RETRY_PAUSE_MAX_US);
    /* Advice: nothing when done; look when unknown; give up only if the request is at fault. */
    if (end.outcome == POLDER_DONE)
        assert_int_equal(end.advice, POLDER_ADVICE_NONE);
    else if (end.outcome == POLDER_UNKNOWN)
        assert_int_equal(end.advice, POLDER_ADVICE_RECHECK);
    else
        assert_int_equal(end.advice, row->step == RETRY_END ? POLDER_ADVICE_GIVE_UP : POLDER_ADVICE_RETRY);
}

static void every_code_has_its_step_and_its_outcome(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        check_row(&rows[i], true, false, rows[i].first, rows[i].first_code);
        check_row(&rows[i], true, true, rows[i].after_loss, rows[i].after_loss_code);
        check_row(&rows[i], false, false, rows[i].read, rows[i].read_code);
        check_row(&rows[i], false, true, rows[i].read, rows[i].read_code);
    }
}

static void a_request_that_was_never_sent_did_not_happen(void **state)
{
    (void)state;
    for (int write = 0; write < 2; write++) {
        struct retry retry;
        retry_init(&retry, write, false);
        retry_unsent(&retry, ERR_UNAVAILABLE, &rng);
        struct retry_end end = retry_end_deadline(&retry);
        assert_int_equal(end.outcome, POLDER_NOT_DONE);
        assert_int_equal(end.code, ERR_UNAVAILABLE);
        assert_int_equal(retry_end_closed(&retry).outcome, POLDER_NOT_DONE);
        assert_int_equal(retry_end_closed(&retry).code, ERR_CANCELLED);
    }
}

static void a_write_whose_answer_is_still_waited_for_is_unknown(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, true, false);
    retry_sent(&retry);
    assert_int_equal(retry_end_deadline(&retry).outcome, POLDER_UNKNOWN);
    assert_int_equal(retry_end_closed(&retry).outcome, POLDER_UNKNOWN);
    retry_init(&retry, false, false);
    retry_sent(&retry);
    assert_int_equal(retry_end_deadline(&retry).outcome, POLDER_NOT_DONE);
    assert_int_equal(retry_end_deadline(&retry).code, ERR_TIMEOUT);
    assert_int_equal(retry_end_closed(&retry).outcome, POLDER_NOT_DONE);
}

static void a_doubt_stays_through_any_number_of_refusals(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_NOT_LEADER, ERR_BUSY, ERR_EPOCH_NOT_MATCH, ERR_DEADLINE};
    struct retry retry;
    retry_init(&retry, true, false);
    retry_sent(&retry);
    retry_lost(&retry, &rng);
    for (int i = 0; i < 40; i++)
        answer(&retry, (struct retry_answer){.code = refusals[i % 4]});
    assert_int_equal(retry_end_deadline(&retry).outcome, POLDER_UNKNOWN);
    answer(&retry, (struct retry_answer){.code = ERR_OK}); /* the token vouches for all sends */
    assert_int_equal(retry_end_answered(&retry, ERR_OK).outcome, POLDER_DONE);
}

static void a_hint_is_followed_at_once_and_for_free_but_not_for_ever(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, true, false);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < RETRY_HOPS_MAX; i++) {
            struct retry_verdict verdict =
                answer(&retry, (struct retry_answer){.code = ERR_NOT_LEADER, .has_hint = true});
            assert_int_equal(verdict.step, RETRY_HINT);
            assert_int_equal(verdict.pause_us, 0);
            assert_false(verdict.paid);
        }
        struct retry_verdict verdict = answer(&retry, (struct retry_answer){.code = ERR_NOT_LEADER, .has_hint = true});
        assert_int_equal(verdict.step, RETRY_HINT);
        assert_true(verdict.pause_us > 0);
    }
}

static void news_of_regions_are_followed_at_once(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, true, false);
    struct retry_verdict verdict =
        answer(&retry, (struct retry_answer){.code = ERR_EPOCH_NOT_MATCH, .has_regions = true});
    assert_int_equal(verdict.step, RETRY_ROUTES);
    assert_int_equal(verdict.pause_us, 0);
}

static void pauses_double_up_to_half_a_second_and_are_drawn(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, true, false);
    uint64_t most_us = RETRY_PAUSE_MIN_US, distinct = 0, before_us = 0;
    for (int i = 0; i < 20; i++) {
        uint64_t pause_us = answer(&retry, (struct retry_answer){.code = ERR_NOT_LEADER}).pause_us;
        assert_true(pause_us >= most_us / 2 && pause_us <= most_us);
        distinct += pause_us != before_us;
        before_us = pause_us;
        most_us = most_us * 2 > RETRY_PAUSE_MAX_US ? RETRY_PAUSE_MAX_US : most_us * 2;
    }
    assert_true(distinct > 15);
    retry_progress(&retry);
    assert_true(answer(&retry, (struct retry_answer){.code = ERR_NOT_LEADER}).pause_us <= RETRY_PAUSE_MIN_US);
}

static void what_was_said_to_be_waited_is_waited(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, true, false);
    for (int i = 0; i < 50; i++) {
        struct retry_verdict verdict = answer(&retry, (struct retry_answer){.code = ERR_BUSY, .wait_ms = 40});
        assert_int_equal(verdict.step, RETRY_SAME);
        assert_true(verdict.pause_us >= 40000 && verdict.pause_us <= 45000);
    }
    assert_int_equal(retry_end_deadline(&retry).wait_ms, 40);
}

static void a_wait_past_the_deadline_ends_it_now(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, true, false);
    retry_sent(&retry);
    struct retry_answer full = {.code = ERR_DISK_FULL, .wait_ms = 4000000000u};
    assert_int_equal(retry_answered(&retry, &full, 5 * SECOND_US, &rng).step, RETRY_END);
    struct retry_end end = retry_end_answered(&retry, ERR_DISK_FULL);
    assert_int_equal(end.outcome, POLDER_NOT_DONE);
    assert_int_equal(end.code, ERR_DISK_FULL);
    assert_int_equal(end.advice, POLDER_ADVICE_RETRY);
    assert_true(end.wait_ms == 4000000000u);
}

static void a_stale_read_goes_elsewhere_instead_of_waiting(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, false, true);
    assert_int_equal(answer(&retry, (struct retry_answer){.code = ERR_BUSY}).step, RETRY_NEXT_PEER);
}

static void a_store_that_is_never_ready_is_left(void **state)
{
    (void)state;
    struct retry retry;
    retry_init(&retry, true, false);
    int same = 0;
    while (answer(&retry, (struct retry_answer){.code = ERR_NOT_READY}).step == RETRY_SAME && same < 100)
        same++;
    assert_in_range(same, 1, 10);
}

static void codes_of_a_newer_version_do_what_their_action_says(void **state)
{
    (void)state;
    static const struct {
        enum err_action action;
        enum retry_step step;
        enum polder_outcome outcome;
    } expected[] = {
        {ERR_ACTION_REROUTE, RETRY_RELOAD, POLDER_NOT_DONE}, {ERR_ACTION_BACKOFF, RETRY_SAME, POLDER_NOT_DONE},
        {ERR_ACTION_RECHECK, RETRY_SAME, POLDER_UNKNOWN},    {ERR_ACTION_GIVE_UP, RETRY_END, POLDER_NOT_DONE},
        {ERR_ACTION_STOP, RETRY_NEXT_PEER, POLDER_UNKNOWN},  {ERR_ACTION_NONE, RETRY_SAME, POLDER_UNKNOWN},
        {(enum err_action)77, RETRY_SAME, POLDER_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct retry retry;
        retry_init(&retry, true, false);
        struct retry_answer unknown = {.code = (enum err)999, .server_action = (uint8_t)expected[i].action};
        struct retry_verdict verdict = answer(&retry, unknown);
        assert_int_equal(verdict.step, expected[i].step);
        struct retry_end end =
            verdict.step == RETRY_END ? retry_end_answered(&retry, unknown.code) : retry_end_deadline(&retry);
        assert_int_equal(end.outcome, expected[i].outcome);
    }
}

static void the_budget_bounds_retries_and_lets_a_recovered_store_go(void **state)
{
    (void)state;
    struct retry_budget budget;
    uint64_t now_us = 5 * SECOND_US;
    retry_budget_init(&budget, now_us);
    int taken = 0;
    while (retry_budget_take(&budget, now_us))
        taken++;
    assert_int_equal(taken, RETRY_TOKENS_MAX);
    /* While it fails: what time earns, no more. */
    taken = 0;
    for (int ms = 0; ms < 2000; ms++) {
        now_us += 1000;
        for (int i = 0; i < 10; i++)
            taken += retry_budget_take(&budget, now_us);
    }
    assert_in_range(taken, 2 * RETRY_TOKENS_PER_S - 2, 2 * RETRY_TOKENS_PER_S + 2);
    /* It answers again, each millisecond all that were sent: twice as many leave then, and soon all that wait. */
    taken = 0;
    for (int ms = 0, sent = 0; ms < 20; ms++, sent = 0) {
        now_us += 1000;
        while (retry_budget_take(&budget, now_us))
            sent++;
        for (int i = 0; i < sent; i++)
            retry_budget_success(&budget);
        taken += sent;
    }
    assert_true(taken > 5000);
    /* 20,000 more leave as fast as they are answered, not at the rate of time. */
    taken = 0;
    for (int i = 0; i < 40000 && taken < 20000; i++) {
        now_us += 10;
        if (retry_budget_take(&budget, now_us)) {
            taken++;
            retry_budget_success(&budget);
        }
    }
    assert_int_equal(taken, 20000);
    /* Ten first sends earn one. */
    while (retry_budget_take(&budget, now_us))
        ;
    for (int i = 0; i < 10; i++)
        retry_budget_first(&budget);
    assert_true(retry_budget_take(&budget, now_us));
    assert_false(retry_budget_take(&budget, now_us));
}

static int seed_rng(void **state)
{
    (void)state;
    rng_init(&rng, 1, "test_retry");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_step_and_its_outcome),
        cmocka_unit_test(a_request_that_was_never_sent_did_not_happen),
        cmocka_unit_test(a_write_whose_answer_is_still_waited_for_is_unknown),
        cmocka_unit_test(a_doubt_stays_through_any_number_of_refusals),
        cmocka_unit_test(a_hint_is_followed_at_once_and_for_free_but_not_for_ever),
        cmocka_unit_test(news_of_regions_are_followed_at_once),
        cmocka_unit_test(pauses_double_up_to_half_a_second_and_are_drawn),
        cmocka_unit_test(what_was_said_to_be_waited_is_waited),
        cmocka_unit_test(a_wait_past_the_deadline_ends_it_now),
        cmocka_unit_test(a_stale_read_goes_elsewhere_instead_of_waiting),
        cmocka_unit_test(a_store_that_is_never_ready_is_left),
        cmocka_unit_test(codes_of_a_newer_version_do_what_their_action_says),
        cmocka_unit_test(the_budget_bounds_retries_and_lets_a_recovered_store_go),
    };
    return cmocka_run_group_tests(tests, seed_rng, NULL);
}
