/* Actors on threads: order, rounds, bounds, timers, and an end that loses no memory. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/rng.h"
#include "env/clock_os.h"
#include "env/exec_threads.h"

struct number {
    struct message message; /* must be first */
    uint32_t sender;
    uint64_t value;
};

static atomic_int alive_count; /* messages that nobody has freed */

static void number_free(struct message *message)
{
    atomic_fetch_sub(&alive_count, 1);
    free(message);
}

static struct message *number_new(uint32_t kind, uint32_t sender, uint64_t value)
{
    struct number *number = calloc(1, sizeof *number);
    assert_non_null(number);
    number->message = (struct message){.kind = kind, .free = number_free};
    number->sender = sender;
    number->value = value;
    atomic_fetch_add(&alive_count, 1);
    return &number->message;
}

enum { KIND_COUNT = 1, KIND_BLOCK, KIND_FORWARD };
enum { SENDER_COUNT = 4, SEEN_MAX = 64 };

struct receiver {
    struct executor *executor;
    struct actor *self, *other;
    pthread_t thread;
    bool has_thread, has_wrong_thread, has_wrong_order;
    uint64_t next_value[SENDER_COUNT];
    uint64_t seen[SEEN_MAX]; /* values, in order */
    uint64_t in_round_count, round_size_max;
    atomic_uint_fast64_t message_count, round_count;
    atomic_bool is_blocked, may_go_on;
};

static void receiver_on_message(void *state, struct message *message)
{
    struct receiver *receiver = state;
    struct number *number = (struct number *)message;
    if (!receiver->has_thread)
        receiver->thread = pthread_self();
    receiver->has_thread = true;
    receiver->has_wrong_thread |= !pthread_equal(receiver->thread, pthread_self());
    if (message->kind == KIND_COUNT && number->value != receiver->next_value[number->sender]++)
        receiver->has_wrong_order = true;
    uint64_t index = atomic_load(&receiver->message_count);
    if (index < SEEN_MAX)
        receiver->seen[index] = number->value;
    receiver->in_round_count++;
    if (message->kind == KIND_BLOCK) {
        atomic_store(&receiver->is_blocked, true);
        while (!atomic_load(&receiver->may_go_on))
            usleep(100);
    }
    atomic_fetch_add(&receiver->message_count, 1);
    if (message->kind == KIND_FORWARD && number->value > 0) {
        number->value--;
        actor_post_must(receiver->executor, receiver->other, message);
        return;
    }
    message_free(message);
}

static void receiver_on_round(void *state)
{
    struct receiver *receiver = state;
    if (receiver->in_round_count > receiver->round_size_max)
        receiver->round_size_max = receiver->in_round_count;
    receiver->in_round_count = 0;
    atomic_fetch_add(&receiver->round_count, 1);
}

static const struct actor_ops receiver_ops = {.on_message = receiver_on_message, .on_round = receiver_on_round};

static void spawn(struct executor *executor, struct receiver *receiver, uint32_t mailbox_max)
{
    receiver->executor = executor;
    assert_int_equal(executor_spawn(executor, "receiver", &receiver_ops, receiver, mailbox_max, &receiver->self),
                     ERR_OK);
}

static void wait_for(atomic_uint_fast64_t *counter, uint64_t value)
{
    for (int i = 0; i < 100000 && atomic_load(counter) < value; i++)
        usleep(100);
    assert_true(atomic_load(counter) >= value);
}

static void block(struct receiver *receiver)
{
    actor_post_must(receiver->executor, receiver->self, number_new(KIND_BLOCK, 0, 0));
    while (!atomic_load(&receiver->is_blocked))
        usleep(100);
}

struct sender {
    struct receiver *receiver;
    uint32_t id;
    uint64_t count;
};

static void *send_numbers(void *argument)
{
    struct sender *sender = argument;
    for (uint64_t i = 0; i < sender->count; i++) {
        struct message *message = number_new(KIND_COUNT, sender->id, i);
        while (actor_post(sender->receiver->executor, sender->receiver->self, message) == ERR_BUSY)
            usleep(10);
    }
    return NULL;
}

static void messages_of_one_sender_arrive_in_order_one_at_a_time(void **state)
{
    (void)state;
    struct executor *executor = NULL;
    struct exec_threads_options options = {.round_count_max = 16};
    assert_int_equal(exec_threads_new(&options, &executor, NULL), ERR_OK);
    struct receiver *receiver = calloc(1, sizeof *receiver);
    spawn(executor, receiver, 100);
    struct sender senders[SENDER_COUNT];
    pthread_t threads[SENDER_COUNT];
    for (uint32_t i = 0; i < SENDER_COUNT; i++) {
        senders[i] = (struct sender){.receiver = receiver, .id = i, .count = 5000};
        assert_int_equal(pthread_create(&threads[i], NULL, send_numbers, &senders[i]), 0);
    }
    for (uint32_t i = 0; i < SENDER_COUNT; i++)
        pthread_join(threads[i], NULL);
    wait_for(&receiver->message_count, SENDER_COUNT * 5000);
    exec_threads_stop(executor);
    assert_false(receiver->has_wrong_order || receiver->has_wrong_thread);
    assert_in_range(receiver->round_size_max, 1, 16);
    assert_int_equal(receiver->in_round_count, 0);
    exec_threads_free(executor);
    assert_int_equal(atomic_load(&alive_count), 0);
    free(receiver);
}

static void what_arrives_while_it_is_busy_is_one_round(void **state)
{
    (void)state;
    struct executor *executor = NULL;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    struct receiver *receiver = calloc(1, sizeof *receiver);
    spawn(executor, receiver, 1000);
    block(receiver);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(actor_post(executor, receiver->self, number_new(KIND_COUNT, 0, i)), ERR_OK);
    atomic_store(&receiver->may_go_on, true);
    wait_for(&receiver->round_count, 2);
    exec_threads_free(executor);
    assert_int_equal(atomic_load(&receiver->message_count), 101);
    assert_int_equal(atomic_load(&receiver->round_count), 2);
    assert_int_equal(receiver->round_size_max, 100);
    free(receiver);
}

static void a_full_mailbox_is_busy_but_takes_what_must_go_in(void **state)
{
    (void)state;
    struct executor *executor = NULL;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    struct receiver *receiver = calloc(1, sizeof *receiver);
    spawn(executor, receiver, 10);
    block(receiver);
    uint64_t taken_count = 0;
    struct message *message = number_new(KIND_COUNT, 0, 0);
    while (actor_post(executor, receiver->self, message) == ERR_OK)
        message = number_new(KIND_COUNT, 0, ++taken_count);
    assert_in_range(taken_count, 9, 10); /* the one that is being handled may count */
    assert_int_equal(actor_post(executor, receiver->self, message), ERR_BUSY);
    actor_post_must(executor, receiver->self, message);
    atomic_store(&receiver->may_go_on, true);
    wait_for(&receiver->message_count, taken_count + 2);
    assert_false(receiver->has_wrong_order);
    message = number_new(KIND_COUNT, 0, taken_count + 1);
    while (actor_post(executor, receiver->self, message) == ERR_BUSY) /* it has room again */
        usleep(100);
    wait_for(&receiver->message_count, taken_count + 3);
    exec_threads_free(executor);
    assert_int_equal(atomic_load(&alive_count), 0);
    free(receiver);
}

static void timers_fire_in_order_of_time_and_not_early(void **state)
{
    (void)state;
    struct executor *executor = NULL;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    struct receiver *receiver = calloc(1, sizeof *receiver);
    spawn(executor, receiver, 10);
    static const uint64_t delays_ms[] = {60, 20, 40, 0, 20, 80, 10};
    static const uint64_t expected[] = {3, 6, 1, 4, 2, 0, 5};
    uint64_t begin_us = clock_now_us(clock_os());
    for (uint64_t i = 0; i < 7; i++)
        actor_post_after(executor, receiver->self, delays_ms[i] * 1000, number_new(0, 0, i));
    actor_post_after(executor, receiver->self, UINT64_MAX, number_new(0, 0, 99)); /* never */
    wait_for(&receiver->message_count, 7);
    uint64_t took_us = clock_now_us(clock_os()) - begin_us;
    exec_threads_free(executor);
    assert_true(took_us >= 80000 && took_us < 1000000);
    assert_memory_equal(receiver->seen, expected, sizeof expected);
    assert_int_equal(atomic_load(&alive_count), 0);
    free(receiver);
}

static void a_timer_is_not_delayed_by_a_long_backlog(void **state)
{
    (void)state;
    struct executor *executor = NULL;
    struct exec_threads_options options = {.round_count_max = 4};
    assert_int_equal(exec_threads_new(&options, &executor, NULL), ERR_OK);
    struct receiver *receiver = calloc(1, sizeof *receiver);
    spawn(executor, receiver, 1000);
    block(receiver);
    for (uint64_t i = 0; i < 40; i++)
        actor_post_must(executor, receiver->self, number_new(KIND_COUNT, 0, i));
    actor_post_after(executor, receiver->self, 0, number_new(0, 0, 1234));
    atomic_store(&receiver->may_go_on, true);
    wait_for(&receiver->message_count, 42);
    exec_threads_free(executor);
    size_t at = 0;
    while (at < 42 && receiver->seen[at] != 1234)
        at++;
    assert_in_range(at, 1, 9);
    assert_false(receiver->has_wrong_order);
    free(receiver);
}

static void stopping_frees_what_waits_and_refuses_what_comes(void **state)
{
    (void)state;
    struct executor *executor = NULL;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    struct receiver *receivers = calloc(2, sizeof *receivers);
    spawn(executor, &receivers[0], 10);
    spawn(executor, &receivers[1], 10);
    receivers[0].other = receivers[1].self;
    receivers[1].other = receivers[0].self;
    for (int i = 0; i < 10; i++) /* messages that go to and fro until somebody stops them */
        actor_post_must(executor, receivers[i % 2].self, number_new(KIND_FORWARD, 0, UINT64_MAX));
    for (int i = 0; i < 100; i++)
        actor_post_after(executor, receivers[i % 2].self, 3600u * 1000000u, number_new(0, 0, 0));
    wait_for(&receivers[0].message_count, 100);
    exec_threads_stop(executor);
    uint64_t count = atomic_load(&receivers[0].message_count);
    assert_int_equal(atomic_load(&alive_count), 0);
    struct message *message = number_new(0, 0, 0);
    assert_int_equal(actor_post(executor, receivers[0].self, message), ERR_CLOSED);
    message_free(message);
    actor_post_must(executor, receivers[0].self, number_new(0, 0, 0));
    actor_post_after(executor, receivers[0].self, 0, number_new(0, 0, 0));
    struct actor *actor = NULL;
    assert_int_equal(executor_spawn(executor, "late", &receiver_ops, &receivers[0], 1, &actor), ERR_CLOSED);
    assert_int_equal(atomic_load(&alive_count), 0);
    assert_int_equal(atomic_load(&receivers[0].message_count), count);
    exec_threads_stop(executor);
    exec_threads_free(executor);
    free(receivers);
}

static void read_stats(void *context, const struct exec_threads_stats *stats)
{
    assert_string_equal(stats->name, "receiver");
    *(struct exec_threads_stats *)context = *stats;
}

static void statistics_count(void **state)
{
    (void)state;
    struct executor *executor = NULL;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    struct receiver *receiver = calloc(1, sizeof *receiver);
    spawn(executor, receiver, 1);
    block(receiver);
    struct message *message = number_new(0, 0, 0);
    while (actor_post(executor, receiver->self, message) == ERR_OK)
        message = number_new(0, 0, 0);
    message_free(message);
    struct exec_threads_stats stats;
    exec_threads_each(executor, read_stats, &stats);
    assert_int_equal(stats.refused_count, 1);
    assert_int_equal(stats.waiting_count_max, 1);
    assert_int_equal(stats.waiting_count, 1);
    atomic_store(&receiver->may_go_on, true);
    wait_for(&receiver->round_count, 1);
    do
        exec_threads_each(executor, read_stats, &stats);
    while (stats.waiting_count > 0 || stats.message_count < 1);
    assert_in_range(stats.round_count, 1, 2);
    exec_threads_free(executor);
    free(receiver);
}

static char thread_name[16];
static sigset_t thread_mask;
static atomic_bool is_named;

static void name_on_message(void *state, struct message *message)
{
    (void)state;
    message_free(message);
    for (int i = 0; i < 1000 && strcmp(thread_name, "a-very-long-nam") != 0; i++) {
        pthread_getname_np(pthread_self(), thread_name, sizeof thread_name);
        usleep(100);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &thread_mask);
    atomic_store(&is_named, true);
}

static void threads_have_the_names_of_their_actors_and_take_no_signals(void **state)
{
    (void)state;
    static const struct actor_ops ops = {.on_message = name_on_message};
    struct executor *executor = NULL;
    struct actor *actor = NULL;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    assert_int_equal(executor_spawn(executor, "a-very-long-name", &ops, NULL, 1, &actor), ERR_OK);
    actor_post_must(executor, actor, number_new(0, 0, 0));
    while (!atomic_load(&is_named))
        usleep(100);
    exec_threads_free(executor);
    assert_string_equal(thread_name, "a-very-long-nam");
    assert_true(sigismember(&thread_mask, SIGTERM));
}

/* ---- brief actors */

struct brief {
    struct executor *executor;
    struct actor *self;
    pthread_t last_thread;
    atomic_int inside; /* threads in a handler */
    atomic_bool met;   /* two at a time */
    uint64_t next_value[SENDER_COUNT];
    bool has_wrong_order;
    atomic_uint_fast64_t message_count, timer_count, lent_count;
};

static _Thread_local bool is_lender;

static void brief_on_message(void *state, struct message *message)
{
    struct brief *brief = state;
    struct number *number = (struct number *)message;
    if (atomic_fetch_add(&brief->inside, 1) != 0)
        atomic_store(&brief->met, true);
    brief->last_thread = pthread_self();
    atomic_fetch_add(&brief->lent_count, is_lender);
    if (message->kind == KIND_COUNT) {
        brief->has_wrong_order |= number->value != brief->next_value[number->sender]++;
        if (number->value % 8 == 0) /* a timer that is due before the sleeping thread means to wake */
            actor_post_after(brief->executor, brief->self, number->value % 512, number_new(KIND_BLOCK, 0, 0));
        atomic_fetch_add(&brief->message_count, 1);
    } else {
        atomic_fetch_add(&brief->timer_count, 1);
    }
    atomic_fetch_sub(&brief->inside, 1);
    message_free(message);
}

static void brief_on_round(void *state)
{
    (void)state;
}

static const struct actor_ops brief_ops = {.on_message = brief_on_message, .on_round = brief_on_round, .brief = true};

struct lender {
    pthread_t thread;
    struct brief *brief;
    uint32_t sender;
    uint64_t count;
};

static void *lend(void *argument)
{
    struct lender *lender = argument;
    struct rng rng;
    rng_init(&rng, lender->sender, "lender");
    is_lender = true;
    for (uint64_t value = 0; value < lender->count;) {
        exec_threads_lend_begin();
        for (uint64_t i = rng_below(&rng, 4); i > 0 && value < lender->count; i--)
            actor_post_must(lender->brief->executor, lender->brief->self,
                            number_new(KIND_COUNT, lender->sender, value++));
        exec_threads_lend_end();
        if (rng_chance(&rng, 1, 4))
            usleep((useconds_t)rng_below(&rng, 50));
    }
    is_lender = false;
    return NULL;
}

static void a_brief_actor_is_run_by_those_who_post_and_by_one_at_a_time(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct executor *executor;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    struct brief brief = {.executor = executor};
    assert_int_equal(executor_spawn(executor, "brief", &brief_ops, &brief, 0, &brief.self), ERR_OK);
    struct lender lenders[SENDER_COUNT];
    for (uint32_t i = 0; i < SENDER_COUNT; i++) {
        lenders[i] = (struct lender){.brief = &brief, .sender = i, .count = COUNT};
        assert_int_equal(pthread_create(&lenders[i].thread, NULL, lend, &lenders[i]), 0);
    }
    for (uint32_t i = 0; i < SENDER_COUNT; i++)
        assert_int_equal(pthread_join(lenders[i].thread, NULL), 0);
    wait_for(&brief.message_count, (uint64_t)SENDER_COUNT * COUNT);
    wait_for(&brief.timer_count, (uint64_t)SENDER_COUNT * COUNT / 8); /* its own thread woke for them in time */
    assert_false(atomic_load(&brief.met));
    assert_false(brief.has_wrong_order);
    assert_true(atomic_load(&brief.lent_count) > 0);
    exec_threads_free(executor);
    assert_int_equal(atomic_load(&alive_count), 0);
}

static void a_lone_post_to_a_brief_actor_is_handled_before_the_lender_goes_on(void **state)
{
    (void)state;
    struct executor *executor;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    struct brief brief = {.executor = executor};
    assert_int_equal(executor_spawn(executor, "brief", &brief_ops, &brief, 0, &brief.self), ERR_OK);
    usleep(50000); /* it sleeps */
    exec_threads_lend_begin();
    actor_post_must(executor, brief.self, number_new(KIND_COUNT, 0, 0));
    assert_int_equal(atomic_load(&brief.message_count), 0);
    exec_threads_lend_end();
    assert_int_equal(atomic_load(&brief.message_count), 1);
    assert_true(pthread_equal(brief.last_thread, pthread_self()));
    wait_for(&brief.timer_count, 1);
    exec_threads_free(executor);
    assert_int_equal(atomic_load(&alive_count), 0);
}

static void note_niceness(void *state, struct message *message)
{
    atomic_store((atomic_int *)state, getpriority(PRIO_PROCESS, 0));
    message_free(message);
}

static void bulk_actors_leave_the_cores_to_others(void **unused)
{
    (void)unused;
    static const struct actor_ops kinds[] = {{.on_message = note_niceness},
                                             {.on_message = note_niceness, .bulk = true}};
    struct executor *executor;
    assert_int_equal(exec_threads_new(NULL, &executor, NULL), ERR_OK);
    atomic_int niceness[2];
    for (int i = 0; i < 2; i++) {
        struct actor *actor;
        atomic_init(&niceness[i], 1000);
        assert_int_equal(executor_spawn(executor, "nice", &kinds[i], &niceness[i], 10, &actor), ERR_OK);
        actor_post_must(executor, actor, number_new(KIND_COUNT, 0, 0));
        for (int n = 0; n < 100000 && atomic_load(&niceness[i]) == 1000; n++)
            usleep(100);
    }
    int own = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(atomic_load(&niceness[0]), own);
    assert_true(atomic_load(&niceness[1]) > own || own >= 15);
    exec_threads_free(executor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_one_sender_arrive_in_order_one_at_a_time),
        cmocka_unit_test(what_arrives_while_it_is_busy_is_one_round),
        cmocka_unit_test(a_full_mailbox_is_busy_but_takes_what_must_go_in),
        cmocka_unit_test(timers_fire_in_order_of_time_and_not_early),
        cmocka_unit_test(a_timer_is_not_delayed_by_a_long_backlog),
        cmocka_unit_test(stopping_frees_what_waits_and_refuses_what_comes),
        cmocka_unit_test(statistics_count),
        cmocka_unit_test(a_brief_actor_is_run_by_those_who_post_and_by_one_at_a_time),
        cmocka_unit_test(a_lone_post_to_a_brief_actor_is_handled_before_the_lender_goes_on),
        cmocka_unit_test(threads_have_the_names_of_their_actors_and_take_no_signals),
        cmocka_unit_test(bulk_actors_leave_the_cores_to_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
