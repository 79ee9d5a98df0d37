#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/sim/exec_sim.h"

/* A toy: notes what it gets, and can be told to wait, to post on, or to arm a timer. */
struct note {
    struct message message;
    int value;
    int *freed; /* counts messages dropped unhandled */
};

enum { NOTES_MAX = 4096 };
enum { KIND_NOTE = 1, KIND_WAIT = 2, KIND_FORWARD = 3, KIND_TIMER = 4 };

struct toy {
    struct sim *sim;
    struct sim_node *node;
    struct actor *actor;
    struct toy *next; /* FORWARD goes there */
    int seen[NOTES_MAX];
    uint64_t seen_us[NOTES_MAX];
    int count, rounds;
};

static void note_free(struct message *message)
{
    struct note *note = (struct note *)message;
    if (note->freed)
        ++*note->freed;
    free(note);
}

static struct message *note_new(uint32_t kind, int value, int *freed)
{
    struct note *note = calloc(1, sizeof *note);
    assert_non_null(note);
    note->message.kind = kind;
    note->message.free = note_free;
    note->value = value;
    note->freed = freed;
    return &note->message;
}

static void toy_message(void *state, struct message *message)
{
    struct toy *toy = state;
    struct note *note = (struct note *)message;
    assert_true(toy->count < NOTES_MAX);
    toy->seen[toy->count] = note->value;
    toy->seen_us[toy->count++] = sim_now_us(toy->sim);
    if (message->kind == KIND_WAIT)
        sim_wait(toy->sim, 1000);
    if (message->kind == KIND_FORWARD)
        for (int i = 0; i < 3; i++)
            actor_post_must(sim_node_executor(toy->node), toy->next->actor,
                            note_new(KIND_NOTE, note->value * 3 + i, NULL));
    if (message->kind == KIND_TIMER)
        actor_post_after(sim_node_executor(toy->node), toy->actor, 10000, note_new(KIND_TIMER, note->value + 1, NULL));
    free(note);
}

static void toy_round(void *state)
{
    ((struct toy *)state)->rounds++;
}

static const struct actor_ops toy_ops = {.on_message = toy_message, .on_round = toy_round};

static void toy_start(struct toy *toy, struct sim *sim, struct sim_node *node, uint32_t mailbox_max)
{
    toy->sim = sim;
    toy->node = node;
    assert_int_equal(executor_spawn(sim_node_executor(node), "toy", &toy_ops, toy, mailbox_max, &toy->actor), ERR_OK);
}

static void run_for(struct sim *sim, uint64_t us)
{
    sim_run_until(sim, sim_heap_ns(sim) + us * 1000);
}

static void end_node(struct sim_node *node)
{
    sim_node_kill(node);
    sim_node_reap(node);
}

static struct toy a, b; /* large */

static void setup(struct sim **sim, struct sim_node **node, uint64_t seed, uint32_t mailbox_max)
{
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    *sim = sim_new(seed);
    *node = sim_node_new(*sim, "n1");
    sim_node_start(*node);
    toy_start(&a, *sim, *node, mailbox_max);
    toy_start(&b, *sim, *node, mailbox_max);
    a.next = &b;
}

static void messages_of_one_poster_arrive_in_order_even_when_it_waited(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct sim *sim;
        struct sim_node *node;
        setup(&sim, &node, seed, 1000);
        for (int i = 0; i < 100; i++) {
            actor_post_must(sim_node_executor(node), a.actor, note_new(i % 7 == 0 ? KIND_WAIT : KIND_NOTE, -1, NULL));
            actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_FORWARD, i, NULL));
        }
        while (sim_step(sim))
            ;
        assert_int_equal(b.count, 300);
        for (int i = 0; i < 300; i++)
            assert_int_equal(b.seen[i], i);
        end_node(node);
        sim_free(sim);
    }
}

static void a_round_takes_a_share_and_is_followed_by_on_round(void **unused)
{
    (void)unused;
    struct sim *sim;
    struct sim_node *node;
    setup(&sim, &node, 3, 1000);
    sim_timing(sim)->take_all_percent = 0;
    for (int i = 0; i < 200; i++)
        assert_int_equal(actor_post(sim_node_executor(node), a.actor, note_new(KIND_NOTE, i, NULL)), ERR_OK);
    while (sim_step(sim))
        ;
    assert_int_equal(a.count, 200);
    assert_in_range(a.rounds, 2, 100);
    end_node(node);
    sim_free(sim);
}

static void a_full_mailbox_is_busy_but_post_must_goes_in(void **unused)
{
    (void)unused;
    struct sim *sim;
    struct sim_node *node;
    setup(&sim, &node, 3, 2);
    struct message *third = note_new(KIND_NOTE, 3, NULL);
    assert_int_equal(actor_post(sim_node_executor(node), a.actor, note_new(KIND_NOTE, 1, NULL)), ERR_OK);
    assert_int_equal(actor_post(sim_node_executor(node), a.actor, note_new(KIND_NOTE, 2, NULL)), ERR_OK);
    assert_int_equal(actor_post(sim_node_executor(node), a.actor, third), ERR_BUSY);
    actor_post_must(sim_node_executor(node), a.actor, third);
    while (sim_step(sim))
        ;
    assert_int_equal(a.count, 3);
    end_node(node);
    sim_free(sim);
}

static void what_a_handler_does_after_waiting_happens_later(void **unused)
{
    (void)unused;
    struct sim *sim;
    struct sim_node *node;
    setup(&sim, &node, 5, 10);
    sim_timing(sim)->take_all_percent = 100;
    actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_WAIT, 0, NULL)); /* 1 ms */
    actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_FORWARD, 1, NULL));
    while (sim_step(sim))
        ;
    assert_true(a.seen_us[1] >= a.seen_us[0] + 1000);
    assert_true(b.seen_us[0] >= a.seen_us[0] + 1000);
    end_node(node);
    sim_free(sim);
}

static void a_kill_undoes_what_a_waiting_handler_would_have_done_later(void **unused)
{
    (void)unused;
    struct sim *sim;
    struct sim_node *node;
    setup(&sim, &node, 5, 10);
    sim_timing(sim)->take_all_percent = 100;
    int freed = 0;
    actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_WAIT, 0, NULL));
    actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_FORWARD, 1, NULL));
    actor_post_after(sim_node_executor(node), a.actor, 100, note_new(KIND_NOTE, 2, &freed));
    run_for(sim, 500); /* both handlers have been run; the second one's own time is 1 ms later */
    assert_int_equal(a.count, 2);
    sim_node_kill(node);
    assert_int_equal(freed, 1);
    struct message *late = note_new(KIND_NOTE, 3, &freed);
    assert_int_equal(actor_post(sim_node_executor(node), a.actor, late), ERR_CLOSED);
    actor_post_must(sim_node_executor(node), a.actor, late);
    assert_int_equal(freed, 2);
    sim_node_reap(node);
    while (sim_step(sim))
        ;
    assert_int_equal(b.count, 0);

    sim_node_start(node); /* the next life knows nothing of it */
    toy_start(&b, sim, node, 10);
    actor_post_must(sim_node_executor(node), b.actor, note_new(KIND_NOTE, 9, NULL));
    while (sim_step(sim))
        ;
    assert_int_equal(b.count, 1);
    assert_int_equal(b.seen[0], 9);
    end_node(node);
    sim_free(sim);
}

static void a_paused_node_runs_nothing_and_its_clock_jumps(void **unused)
{
    (void)unused;
    struct sim *sim;
    struct sim_node *node;
    setup(&sim, &node, 5, 10);
    actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_TIMER, 0, NULL));
    run_for(sim, 100000);
    int before = a.count;
    assert_in_range(before, 8, 11);
    uint64_t clock_before = clock_now_us(sim_node_clock(node));
    sim_node_pause(node);
    run_for(sim, 1000000);
    assert_int_equal(a.count, before);
    sim_node_resume(node);
    assert_true(clock_now_us(sim_node_clock(node)) >= clock_before + 999000);
    run_for(sim, 100000);
    assert_in_range(a.count, before + 8, before + 12);
    end_node(node);
    sim_free(sim);
}

static void a_fast_clock_ends_timers_sooner(void **unused)
{
    (void)unused;
    struct sim *sim;
    struct sim_node *node;
    setup(&sim, &node, 5, 10);
    sim_timing(sim)->timer_late_max_us = 0;
    sim_timing(sim)->wake_max_us = 0;
    sim_node_set_clock(node, 500000, 0); /* one and a half times */
    actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_TIMER, 0, NULL));
    uint64_t clock_before = clock_now_us(sim_node_clock(node));
    run_for(sim, 1000000);
    assert_in_range(a.count, 140, 151);
    assert_in_range(clock_now_us(sim_node_clock(node)) - clock_before, 1490000, 1500001);
    end_node(node);
    sim_free(sim);
}

static uint64_t digest_of(uint64_t seed)
{
    struct sim *sim;
    struct sim_node *node;
    setup(&sim, &node, seed, 1000);
    actor_post_must(sim_node_executor(node), a.actor, note_new(KIND_TIMER, 0, NULL));
    for (int i = 0; i < 100; i++)
        actor_post_must(sim_node_executor(node), a.actor, note_new(i % 3 ? KIND_FORWARD : KIND_WAIT, i, NULL));
    run_for(sim, 200000);
    sim_node_pause(node);
    run_for(sim, 200000);
    sim_node_resume(node);
    run_for(sim, 200000);
    uint64_t digest = sim_digest(sim);
    end_node(node);
    sim_free(sim);
    return digest;
}

static void a_seed_decides_everything(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        assert_true(digest_of(seed) == digest_of(seed));
        assert_true(digest_of(seed) != digest_of(seed + 1));
    }
}

/* Timers of 10 ms: a hundred rounds a second, and none while others have news for it. */
static void rounds_that_only_timers_asked_for_are_counted(void **unused)
{
    (void)unused;
    struct sim *sim = sim_new(1);
    struct sim_node *node = sim_node_new(sim, "s7");
    static struct toy toy;
    const char *name;
    toy = (struct toy){0};
    sim_node_start(node);
    toy_start(&toy, sim, node, 100);
    for (int i = 0; i < 500; i++)
        actor_post_must(sim_node_executor(node), toy.actor, note_new(KIND_NOTE, i, NULL));
    sim_run_until(sim, 900000000);
    assert_int_equal(toy.count, 500);
    assert_int_equal(sim_most_idle_rounds(sim, &name), 0);
    sim_enter(node);
    actor_post_after(sim_node_executor(node), toy.actor, 100000, note_new(KIND_TIMER, 0, NULL));
    sim_leave(node);
    sim_run_until(sim, 5000000000u);
    assert_in_range(sim_most_idle_rounds(sim, &name), 95, 100);
    assert_string_equal(name, "s7 toy");
    sim_node_kill(node);
    sim_node_reap(node);
    sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_one_poster_arrive_in_order_even_when_it_waited),
        cmocka_unit_test(a_round_takes_a_share_and_is_followed_by_on_round),
        cmocka_unit_test(a_full_mailbox_is_busy_but_post_must_goes_in),
        cmocka_unit_test(what_a_handler_does_after_waiting_happens_later),
        cmocka_unit_test(a_kill_undoes_what_a_waiting_handler_would_have_done_later),
        cmocka_unit_test(a_paused_node_runs_nothing_and_its_clock_jumps),
        cmocka_unit_test(a_fast_clock_ends_timers_sooner),
        cmocka_unit_test(rounds_that_only_timers_asked_for_are_counted),
        cmocka_unit_test(a_seed_decides_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
