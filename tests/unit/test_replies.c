/* Replies: one frame per connection and round, every reply once, and an end for a connection that cannot be answered.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "env/env.h"
#include "rpc/frame_kind.h"
#include "storenode/replies.h"

enum { CONN_MAX = 600, REPLY_MAX = 20000, CONN_FIRST = 1000 };

/* A transport that decodes what is sent and keeps who got which request id. */
struct fake {
    struct transport transport; /* must be first */
    enum err send_code;
    uint32_t frame_count, closed_count;
    conn_id closed;
    uint32_t reply_count;
    struct {
        conn_id conn;
        uint64_t id;
        uint16_t code;
        uint8_t action;
        uint32_t wait_ms;
        uint32_t value_hash;
    } replies[REPLY_MAX];
};

static uint32_t hash_of(struct bytes bytes)
{
    uint32_t hash = 1;
    for (size_t i = 0; i < bytes.size; i++)
        hash = hash * 31 + bytes.data[i];
    return hash;
}

static enum err fake_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    struct fake *fake = (struct fake *)transport;
    struct arena arena;
    struct wire_kv_reply_batch batch;
    arena_init(&arena);
    assert_int_equal(take_frame->kind, FRAME_KV_REPLY);
    assert_int_equal(wire_decode_kv_reply_batch(frame_bytes(take_frame), &arena, &batch), ERR_OK);
    assert_true(batch.replies_count > 0);
    for (uint32_t i = 0; i < batch.replies_count && fake->send_code == ERR_OK; i++) {
        const struct wire_kv_reply *reply = &batch.replies[i];
        assert_true(fake->reply_count < REPLY_MAX);
        fake->replies[fake->reply_count].conn = conn;
        fake->replies[fake->reply_count].id = reply->id;
        fake->replies[fake->reply_count].code = reply->code;
        fake->replies[fake->reply_count].action = reply->action;
        fake->replies[fake->reply_count].wait_ms = reply->wait_ms;
        fake->replies[fake->reply_count++].value_hash = hash_of(reply->value);
    }
    fake->frame_count++;
    arena_fini(&arena);
    frame_unref(take_frame);
    return fake->send_code;
}

static void fake_close(struct transport *transport, conn_id conn)
{
    struct fake *fake = (struct fake *)transport;
    fake->closed = conn;
    fake->closed_count++;
}

static const struct transport_ops fake_ops = {.send = fake_send, .close = fake_close};
static struct fake fake;
static struct env env = {.transport = &fake.transport};
static struct replies *replies;

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof fake);
    fake.transport.ops = &fake_ops;
    replies = replies_new(&env);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    replies_free(replies);
    return 0;
}

static struct reply_to to(uint32_t conn, uint64_t id)
{
    return (struct reply_to){.conn = CONN_FIRST + conn, .request_id = id};
}

static void nothing_leaves_before_the_round_ends(void **state)
{
    (void)state;
    replies_add_error(replies, to(0, 1), ERR_NOT_LEADER, 0);
    assert_int_equal(fake.frame_count, 0);
    replies_flush(replies);
    assert_int_equal(fake.frame_count, 1);
    replies_flush(replies);
    assert_int_equal(fake.frame_count, 1);
}

static void each_connection_gets_one_frame_with_its_own_replies_in_order(void **state)
{
    (void)state;
    enum { CONNS = 5, EACH = 40, ROUNDS = 3 };
    for (uint32_t round = 0; round < ROUNDS; round++) {
        memset(fake.replies, 0, sizeof fake.replies);
        fake.frame_count = fake.reply_count = 0;
        for (uint64_t id = 0; id < EACH; id++)
            for (uint32_t conn = 0; conn < CONNS; conn++)
                replies_add_error(replies, to(conn, 1000 * round + id), ERR_OK, 0);
        replies_flush(replies);
        assert_int_equal(fake.frame_count, CONNS);
        assert_int_equal(fake.reply_count, CONNS * EACH);
        for (uint32_t i = 0; i < fake.reply_count; i++) {
            assert_int_equal(fake.replies[i].id, 1000 * round + i % EACH);
            assert_int_equal(fake.replies[i].conn, fake.replies[i - i % EACH].conn);
        }
    }
}

static void code_says_what_the_client_may_do(void **state)
{
    (void)state;
    static const enum err codes[] = {ERR_OK, ERR_NOT_LEADER, ERR_BUSY, ERR_MAYBE, ERR_KEY_TOO_LARGE};
    for (uint64_t id = 0; id < 5; id++)
        replies_add_error(replies, to(0, id), codes[id], 7);
    replies_flush(replies);
    for (uint64_t id = 0; id < 5; id++) {
        assert_int_equal(fake.replies[id].code, codes[id]);
        assert_int_equal(fake.replies[id].action, err_action(codes[id]));
        assert_int_equal(fake.replies[id].wait_ms, 7);
    }
}

static void values_may_live_in_the_arena_until_the_flush(void **state)
{
    (void)state;
    char text[32];
    for (uint64_t id = 0; id < 1000; id++) {
        snprintf(text, sizeof text, "value %d", (int)id);
        struct wire_kv_reply reply = {.value = arena_copy(replies_arena(replies), bytes_of_string(text))};
        replies_add(replies, to((uint32_t)(id % 3), id), &reply);
    }
    replies_flush(replies);
    assert_int_equal(fake.reply_count, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "value %d", (int)fake.replies[i].id);
        assert_int_equal(fake.replies[i].value_hash, hash_of(bytes_of_string(text)));
    }
}

/* Many small ones, and few large ones: frames stay far below what a frame may hold, no reply is lost or doubled. */
static void much_is_sent_in_several_frames(void **state)
{
    (void)state;
    static uint8_t large[1024 * 1024];
    static bool got[REPLY_MAX];
    memset(got, 0, sizeof got);
    for (uint64_t id = 0; id < 10000; id++)
        replies_add_error(replies, to(0, id), ERR_OK, 0);
    assert_int_equal(fake.frame_count, 2);
    assert_false(replies_are_many(replies));
    for (uint64_t id = 10000; id < 10020; id++) {
        struct wire_kv_reply reply = {.value = bytes_of(large, sizeof large)};
        replies_add(replies, to(0, id), &reply);
    }
    assert_true(replies_are_many(replies));
    replies_flush(replies);
    assert_false(replies_are_many(replies));
    assert_true(fake.frame_count > 5);
    assert_int_equal(fake.reply_count, 10020);
    for (uint32_t i = 0; i < fake.reply_count; i++) {
        assert_false(got[fake.replies[i].id]);
        got[fake.replies[i].id] = true;
    }
}

static void many_connections_are_all_answered_and_then_forgotten(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 3; round++) {
        fake.frame_count = fake.reply_count = 0;
        for (uint32_t conn = 0; conn < CONN_MAX; conn++)
            replies_add_error(replies, to(conn + round * CONN_MAX, conn), ERR_OK, 0);
        replies_flush(replies);
        assert_int_equal(fake.frame_count, CONN_MAX);
        assert_int_equal(fake.reply_count, CONN_MAX);
    }
}

/* An answer that fits into no frame is told so; the connection and the other answers are none the worse. */
static void an_answer_that_is_too_large_becomes_an_error(void **state)
{
    (void)state;
    enum { PAIRS = 5 };
    static uint8_t large[VALUE_SIZE_MAX];
    struct wire_kv_pair pairs[PAIRS];
    for (int i = 0; i < PAIRS; i++)
        pairs[i] = (struct wire_kv_pair){.key = bytes_of("rk", 2), .value = bytes_of(large, sizeof large)};
    struct wire_kv_reply scan = {.pairs = pairs, .pairs_count = PAIRS};
    replies_add_error(replies, to(0, 1), ERR_OK, 0);
    replies_add(replies, to(0, 2), &scan);
    replies_add_error(replies, to(0, 3), ERR_NOT_FOUND, 0);
    replies_flush(replies);
    assert_int_equal(fake.closed_count, 0);
    assert_int_equal(fake.reply_count, 3);
    static const struct {
        uint16_t code;
        uint8_t action;
    } want[] = {{ERR_OK, ERR_ACTION_NONE}, {ERR_ENTRY_TOO_LARGE, ERR_ACTION_GIVE_UP}, {ERR_NOT_FOUND, ERR_ACTION_NONE}};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(fake.replies[i].id, i + 1);
        assert_int_equal(fake.replies[i].code, want[i].code);
        if (i == 1)
            assert_int_equal(fake.replies[i].action, want[i].action);
    }
}

static void connection_that_takes_no_replies_is_closed(void **state)
{
    (void)state;
    fake.send_code = ERR_BUSY;
    replies_add_error(replies, to(3, 1), ERR_OK, 0);
    replies_flush(replies);
    assert_int_equal(fake.closed_count, 1);
    assert_int_equal(fake.closed, CONN_FIRST + 3);
    fake.send_code = ERR_CLOSED; /* it is gone already: nobody waits */
    replies_add_error(replies, to(4, 1), ERR_OK, 0);
    replies_flush(replies);
    assert_int_equal(fake.closed_count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_leaves_before_the_round_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_connection_gets_one_frame_with_its_own_replies_in_order, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(code_says_what_the_client_may_do, set_up, tear_down),
        cmocka_unit_test_setup_teardown(values_may_live_in_the_arena_until_the_flush, set_up, tear_down),
        cmocka_unit_test_setup_teardown(much_is_sent_in_several_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_connections_are_all_answered_and_then_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_that_is_too_large_becomes_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connection_that_takes_no_replies_is_closed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
