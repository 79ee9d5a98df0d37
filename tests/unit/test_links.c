/* Links over a transport and an executor that the test moves by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "env/clock.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"

enum { LINKS_KIND = 7, CONNS_MAX = 64, MAILBOX_MAX = 256 };

/* ---- the world */

struct fake_conn {
    char address[64];
    struct wire_hello hello;
    const struct transport_handler *handler;
    bool closing, closed;
    uint32_t sent;
};

static struct {
    struct clock clock;
    struct transport transport;
    struct executor executor;
    struct env env;
    uint64_t now_us;
    struct fake_conn conns[CONNS_MAX];
    uint32_t conn_count;
    enum err dial_answer, send_answer;
    struct message *mailbox[MAILBOX_MAX];
    uint32_t waiting;
    bool full;
    struct links *links;
    /* what the handler saw */
    uint32_t ups, frames, downs, downs_after_up;
    uint64_t last_node_id;
    char last_frame[32], last_text[64];
    enum err last_code;
    bool close_in_handler, try_next_in_handler;
} world;

static uint64_t clock_now(struct clock *clock)
{
    (void)clock;
    return world.now_us;
}

static enum err fake_dial(struct transport *transport, const char *address, struct bytes hello,
                          const struct transport_handler *handler, conn_id *ret_conn)
{
    (void)transport;
    if (world.dial_answer)
        return world.dial_answer;
    CHECK(world.conn_count < CONNS_MAX);
    struct fake_conn *conn = &world.conns[world.conn_count++];
    *conn = (struct fake_conn){.handler = handler};
    snprintf(conn->address, sizeof conn->address, "%s", address);
    struct arena arena;
    arena_init(&arena);
    assert_int_equal(wire_decode_hello(hello, &arena, &conn->hello), ERR_OK);
    arena_fini(&arena);
    *ret_conn = world.conn_count;
    return ERR_OK;
}

static enum err fake_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    (void)transport;
    frame_unref(take_frame);
    world.conns[conn - 1].sent++;
    return world.send_answer;
}

static void fake_close(struct transport *transport, conn_id conn)
{
    (void)transport;
    world.conns[conn - 1].closing = true;
}

static enum err fake_post(struct executor *executor, struct actor *actor, struct message *take_message)
{
    (void)executor, (void)actor;
    if (world.full)
        return ERR_BUSY;
    CHECK(world.waiting < MAILBOX_MAX);
    world.mailbox[world.waiting++] = take_message;
    return ERR_OK;
}

static void fake_post_must(struct executor *executor, struct actor *actor, struct message *take_message)
{
    (void)executor, (void)actor;
    CHECK(world.waiting < MAILBOX_MAX);
    world.mailbox[world.waiting++] = take_message;
}

static const struct transport_ops transport_ops = {.dial = fake_dial, .send = fake_send, .close = fake_close};
static const struct executor_ops executor_ops = {
    .post = fake_post, .post_must = fake_post_must, .post_lazy = fake_post_must};

static void on_up(void *context, struct link *link, const struct wire_hello *hello)
{
    (void)context;
    assert_true(link_is_up(link));
    world.ups++;
    world.last_node_id = hello->node_id;
    if (world.close_in_handler)
        link_close(link);
}

static void on_frame(void *context, struct link *link, struct frame *take_frame)
{
    (void)context;
    world.frames++;
    snprintf(world.last_frame, sizeof world.last_frame, "%.*s", (int)take_frame->size,
             (const char *)take_frame->payload);
    frame_unref(take_frame);
    if (world.close_in_handler)
        link_close(link);
}

static void on_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    (void)context;
    assert_false(link_is_up(link));
    assert_int_equal(link_conn(link), 0);
    world.downs++;
    world.downs_after_up += was_up;
    world.last_code = code;
    snprintf(world.last_text, sizeof world.last_text, "%s", text);
    if (world.close_in_handler)
        link_close(link);
    if (world.try_next_in_handler)
        link_open(world.links, "the next one", 0, NULL);
}

static int setup(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    world.now_us = 1000000;
    world.clock.now_us = clock_now;
    world.transport.ops = &transport_ops;
    world.executor.ops = &executor_ops;
    world.env =
        (struct env){.executor = &world.executor, .clock = &world.clock, .transport = &world.transport, .seed = 3};
    struct wire_hello hello = {
        .role = WIRE_ROLE_STORENODE, .cluster_id = 5, .node_id = 1, .version_min = 1, .version_max = 1};
    struct links_handler handler = {.on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    world.links = links_new(&world.env, NULL, LINKS_KIND, &hello, NULL, &handler);
    return 0;
}

static void deliver(void)
{
    uint32_t count = world.waiting;
    world.waiting = 0;
    struct message *messages[MAILBOX_MAX];
    memcpy(messages, world.mailbox, sizeof messages);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(messages[i]->kind, LINKS_KIND);
        links_on_message(world.links, messages[i]);
    }
}

static struct fake_conn *conn_of(uint32_t number)
{
    assert_true(number >= 1 && number <= world.conn_count);
    return &world.conns[number - 1];
}

static enum err say_hello(uint32_t number, struct wire_hello hello)
{
    struct buf encoded;
    buf_init(&encoded, 4096);
    assert_int_equal(wire_encode_hello(&hello, &encoded), ERR_OK);
    struct frame *reply = NULL;
    const struct transport_handler *handler = conn_of(number)->handler;
    enum err code = handler->on_open(handler->context, number, buf_bytes(&encoded), &reply);
    assert_null(reply);
    buf_fini(&encoded);
    return code;
}

static enum err welcome(uint32_t number)
{
    return say_hello(number, (struct wire_hello){.node_id = 9, .version_min = 1, .version_max = 2});
}

static enum err give_frame(uint32_t number, const char *text)
{
    const struct transport_handler *handler = conn_of(number)->handler;
    struct frame *frame = frame_copy(4, bytes_of_string(text));
    enum err code = handler->on_frame(handler->context, number, frame);
    if (code)
        frame_unref(frame); /* still ours */
    return code;
}

static void end(uint32_t number, enum err reason)
{
    struct fake_conn *conn = conn_of(number);
    assert_false(conn->closed);
    conn->closed = true;
    conn->handler->on_close(conn->handler->context, number, reason);
}

/* The transport ends everything, also after links is gone. */
static int teardown(void **state)
{
    (void)state;
    links_free(world.links);
    for (uint32_t i = 1; i <= world.conn_count; i++) {
        if (!conn_of(i)->closed)
            end(i, ERR_CLOSED);
    }
    for (uint32_t i = 0; i < world.waiting; i++)
        message_free(world.mailbox[i]);
    return 0;
}

static void pass(uint64_t us)
{
    world.now_us += us;
    links_tick(world.links);
}

/* Lets time pass in small ticks until it dials again; returns how long that took. */
static uint64_t until_redial(void)
{
    uint32_t before = world.conn_count;
    uint64_t begin = world.now_us;
    while (world.conn_count == before) {
        assert_true(world.now_us - begin < 10000000);
        pass(1000);
    }
    return world.now_us - begin;
}

/* ---- tests */

static void a_link_dials_at_once_and_says_whom_it_wants(void **state)
{
    (void)state;
    int user;
    struct link *link = link_open(world.links, "tcp://a:1", 42, &user);
    assert_int_equal(world.conn_count, 1);
    assert_string_equal(conn_of(1)->address, "tcp://a:1");
    assert_int_equal(conn_of(1)->hello.want_node_id, 42);
    assert_int_equal(conn_of(1)->hello.cluster_id, 5);
    assert_false(link_is_up(link));
    assert_int_equal(link_conn(link), 0);
    assert_ptr_equal(link_user(link), &user);
    assert_string_equal(link_address(link), "tcp://a:1");
    pass(10000000);
    assert_int_equal(world.conn_count, 1); /* it waits for the transport */
}

static void frames_come_after_up_and_until_down(void **state)
{
    (void)state;
    struct link *link = link_open(world.links, "tcp://a:1", 0, NULL);
    assert_int_equal(welcome(1), ERR_OK);
    assert_int_equal(give_frame(1, "one"), ERR_OK);
    assert_int_equal(world.ups, 0); /* nothing happens on the transport's thread */
    deliver();
    assert_int_equal(world.ups, 1);
    assert_int_equal(world.last_node_id, 9);
    assert_string_equal(world.last_frame, "one");
    assert_int_equal(link_conn(link), 1);
    assert_int_equal(link_send(link, frame_new(4, 8)), ERR_OK);
    assert_int_equal(conn_of(1)->sent, 1);
    assert_int_equal(give_frame(1, "two"), ERR_OK);
    end(1, ERR_TIMEOUT);
    deliver();
    assert_int_equal(world.frames, 2);
    assert_int_equal(world.downs_after_up, 1);
    assert_int_equal(world.last_code, ERR_TIMEOUT);
    assert_int_equal(link_send(link, frame_new(4, 8)), ERR_UNAVAILABLE);
    assert_int_equal(conn_of(1)->sent, 1);
}

static void sending_says_what_became_of_it(void **state)
{
    (void)state;
    struct link *link = link_open(world.links, "tcp://a:1", 0, NULL);
    assert_int_equal(link_send(link, frame_new(4, 8)), ERR_UNAVAILABLE);
    welcome(1);
    deliver();
    world.send_answer = ERR_BUSY;
    assert_int_equal(link_send(link, frame_new(4, 8)), ERR_BUSY);
    world.send_answer = ERR_CLOSED;
    assert_int_equal(link_send(link, frame_new(4, 8)), ERR_UNAVAILABLE);
}

static void a_full_mailbox_is_passed_back_to_the_transport(void **state)
{
    (void)state;
    link_open(world.links, "tcp://a:1", 0, NULL);
    welcome(1);
    deliver();
    world.full = true;
    assert_int_equal(give_frame(1, "kept"), ERR_BUSY);
    assert_int_equal(world.waiting, 0);
    end(1, ERR_CLOSED); /* this one must get through */
    assert_int_equal(world.waiting, 1);
    deliver();
    assert_int_equal(world.downs, 1);
}

static void pauses_grow_with_failures_and_stay_bounded(void **state)
{
    (void)state;
    link_open(world.links, "tcp://a:1", 0, NULL);
    uint64_t limit = 20000;
    bool differ = false;
    for (uint32_t i = 1; i <= 12; i++) {
        end(i, ERR_UNAVAILABLE);
        deliver();
        uint64_t pause = until_redial();
        assert_in_range(pause, limit / 2, limit + 1000);
        differ |= pause != limit && pause != limit / 2;
        limit = 2 * limit < 1000000 ? 2 * limit : 1000000;
    }
    assert_true(differ); /* chance is in it */
    assert_int_equal(world.downs, 12);
    assert_int_equal(world.downs_after_up, 0);
}

static void a_connection_that_was_of_use_makes_the_next_pause_short(void **state)
{
    (void)state;
    link_open(world.links, "tcp://a:1", 0, NULL);
    for (uint32_t i = 1; i <= 6; i++) {
        end(i, ERR_UNAVAILABLE);
        deliver();
        until_redial();
    }
    /* up, but silent, is no progress: a listener that drops us at once must not be dialed 50 times a second */
    welcome(7);
    end(7, ERR_CLOSED);
    deliver();
    assert_true(until_redial() > 300000);
    welcome(8);
    give_frame(8, "useful");
    end(8, ERR_CLOSED);
    deliver();
    assert_true(until_redial() <= 21000);
}

static void a_refusal_is_told_in_the_words_of_the_listener(void **state)
{
    (void)state;
    link_open(world.links, "tcp://a:1", 0, NULL);
    struct wire_hello no = {.version_min = 1,
                            .version_max = 1,
                            .code = ERR_CLUSTER_NOT_MATCH,
                            .text = bytes_of_string("this is cluster 6")};
    assert_int_equal(say_hello(1, no), ERR_CLUSTER_NOT_MATCH);
    end(1, ERR_CLUSTER_NOT_MATCH);
    deliver();
    assert_int_equal(world.ups, 0);
    assert_int_equal(world.downs, 1);
    assert_int_equal(world.downs_after_up, 0);
    assert_int_equal(world.last_code, ERR_CLUSTER_NOT_MATCH);
    assert_string_equal(world.last_text, "this is cluster 6");
    until_redial();
    end(2, ERR_UNAVAILABLE);
    deliver();
    assert_string_equal(world.last_text, "no connection"); /* not the old words */
}

static void a_long_refusal_is_cut(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text);
    link_open(world.links, "tcp://a:1", 0, NULL);
    say_hello(1, (struct wire_hello){
                     .version_min = 1, .version_max = 1, .code = ERR_BUSY, .text = bytes_of(text, sizeof text)});
    end(1, ERR_BUSY);
    deliver();
    assert_int_equal(world.downs, 1);
}

static void hellos_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    link_open(world.links, "tcp://a:1", 0, NULL);
    const struct transport_handler *handler = conn_of(1)->handler;
    struct frame *reply = NULL;
    assert_int_equal(handler->on_open(handler->context, 1, bytes_of_string("nonsense, nonsense"), &reply), ERR_CORRUPT);
    assert_int_equal(handler->on_open(handler->context, 1, bytes_empty(), &reply), ERR_CORRUPT);
    assert_int_equal(say_hello(1, (struct wire_hello){.version_min = 2, .version_max = 3}), ERR_VERSION);
    end(1, ERR_VERSION);
    deliver();
    assert_int_equal(world.ups, 0);
    assert_int_equal(world.downs, 1);
}

static void events_of_an_old_connection_are_ignored(void **state)
{
    (void)state;
    struct link *link = link_open(world.links, "tcp://a:1", 0, NULL);
    welcome(1);
    deliver();
    give_frame(1, "late");
    link_close(link);
    assert_true(conn_of(1)->closing);
    deliver();
    assert_int_equal(world.frames, 0);
    link = link_open(world.links, "tcp://a:1", 0, NULL);
    welcome(2);
    give_frame(1, "later still");
    end(1, ERR_CLOSED);
    deliver();
    assert_true(link_is_up(link));
    assert_int_equal(world.ups, 2);
    assert_int_equal(world.frames, 0);
    assert_int_equal(world.downs, 0);
}

static void a_reset_ends_the_connection_and_comes_back_after_growing_pauses(void **state)
{
    (void)state;
    struct link *link = link_open(world.links, "tcp://a:1", 0, NULL);
    for (uint32_t i = 1; i <= 6; i++) {
        welcome(i);
        give_frame(i, "nonsense");
        deliver();
        link_reset(link);
        assert_true(conn_of(i)->closing);
        end(i, ERR_CLOSED);
        deliver();
        uint64_t pause = until_redial();
        assert_in_range(pause, 10000ull << (i - 1), (20000ull << (i - 1)) + 1000);
    }
    assert_int_equal(world.downs_after_up, 6);
    assert_int_equal(world.ups, 6);
}

static void a_dial_that_cannot_start_is_told_at_the_next_tick(void **state)
{
    (void)state;
    world.dial_answer = ERR_INVALID;
    link_open(world.links, "nonsense", 0, NULL);
    link_open(world.links, "nonsense too", 0, NULL);
    assert_int_equal(world.downs, 0);
    links_tick(world.links);
    assert_int_equal(world.downs, 2);
    assert_int_equal(world.last_code, ERR_INVALID);
    assert_string_equal(world.last_text, "not a valid address");
    pass(2000000);
    assert_int_equal(world.downs, 4);
    world.dial_answer = ERR_OK;
    pass(2000000);
    assert_int_equal(world.conn_count, 2);
}

static void handlers_may_close_their_link(void **state)
{
    (void)state;
    world.close_in_handler = true;
    link_open(world.links, "tcp://a:1", 0, NULL);
    welcome(1);
    give_frame(1, "for nobody");
    end(1, ERR_CLOSED);
    deliver();
    assert_int_equal(world.ups, 1);
    assert_int_equal(world.frames + world.downs, 0);
    link_open(world.links, "tcp://a:1", 0, NULL);
    end(2, ERR_UNAVAILABLE);
    deliver();
    assert_int_equal(world.downs, 1);
    world.dial_answer = ERR_INVALID;
    link_open(world.links, "a", 0, NULL);
    link_open(world.links, "b", 0, NULL);
    links_tick(world.links);
    assert_int_equal(world.downs, 3);
    pass(10000000);
    assert_int_equal(world.downs, 3);
}

static void owner_that_tries_the_next_address_does_not_go_round_for_ever(void **state)
{
    (void)state;
    world.close_in_handler = world.try_next_in_handler = true;
    world.dial_answer = ERR_BUSY; /* no connection is free: each dial fails at once */
    link_open(world.links, "a", 0, NULL);
    for (uint32_t ticks = 1; ticks <= 5; ticks++) {
        links_tick(world.links);
        assert_int_equal(world.downs, ticks);
    }
}

static void later_dials_say_the_new_hello(void **state)
{
    (void)state;
    link_open(world.links, "tcp://a:1", 7, NULL);
    struct wire_hello hello = {
        .role = WIRE_ROLE_STORENODE, .cluster_id = 77, .node_id = 1, .version_min = 1, .version_max = 1};
    links_set_hello(world.links, &hello);
    end(1, ERR_UNAVAILABLE);
    deliver();
    until_redial();
    assert_int_equal(conn_of(2)->hello.cluster_id, 77);
    assert_int_equal(conn_of(2)->hello.want_node_id, 7);
}

static void the_transport_may_come_back_after_links_is_gone(void **state)
{
    (void)state;
    link_open(world.links, "tcp://a:1", 0, NULL);
    link_open(world.links, "tcp://b:1", 0, NULL);
    welcome(1);
    deliver();
    links_free(world.links);
    world.links = NULL;
    assert_true(conn_of(1)->closing && conn_of(2)->closing);
    assert_int_equal(welcome(2), ERR_CLOSED);
    assert_int_equal(give_frame(1, "x"), ERR_CLOSED);
    end(1, ERR_CLOSED);
    end(2, ERR_CLOSED);
    assert_int_equal(world.waiting, 0);
}

int main(void)
{
#define LINKS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        LINKS_TEST(a_link_dials_at_once_and_says_whom_it_wants),
        LINKS_TEST(frames_come_after_up_and_until_down),
        LINKS_TEST(sending_says_what_became_of_it),
        LINKS_TEST(a_full_mailbox_is_passed_back_to_the_transport),
        LINKS_TEST(pauses_grow_with_failures_and_stay_bounded),
        LINKS_TEST(a_connection_that_was_of_use_makes_the_next_pause_short),
        LINKS_TEST(a_refusal_is_told_in_the_words_of_the_listener),
        LINKS_TEST(a_long_refusal_is_cut),
        LINKS_TEST(hellos_that_make_no_sense_are_refused),
        LINKS_TEST(events_of_an_old_connection_are_ignored),
        LINKS_TEST(a_reset_ends_the_connection_and_comes_back_after_growing_pauses),
        LINKS_TEST(a_dial_that_cannot_start_is_told_at_the_next_tick),
        LINKS_TEST(handlers_may_close_their_link),
        LINKS_TEST(owner_that_tries_the_next_address_does_not_go_round_for_ever),
        LINKS_TEST(later_dials_say_the_new_hello),
        LINKS_TEST(the_transport_may_come_back_after_links_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
