#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/frame_kind.h"
#include "tests/sim/exec_sim.h"
#include "tests/sim/net_sim.h"

enum { SEEN_MAX = 4096, CONNS_MAX = 64 };

/* A process that notes what its transport tells it. */
struct toy {
    struct sim_node *node;
    struct transport *transport;
    struct transport_handler handler;
    conn_id opened[CONNS_MAX];
    int open_count, close_count;
    enum err last_reason;
    uint64_t closed_us;
    int seen[SEEN_MAX];
    int seen_count;
    int busy; /* refuse so many frames first */
    enum err refuse;
    struct sim *sim;
    char hello[32];
};

static struct sim *sim;
static struct net *net;
static struct toy toys[3];

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    struct toy *toy = context;
    assert_true(sim_current(sim) == toy->node);
    assert_in_range(hello.size, 1, sizeof toy->hello - 1);
    memcpy(toy->hello, hello.data, hello.size);
    toy->opened[toy->open_count++] = conn;
    if (ret_reply)
        *ret_reply = frame_copy(FRAME_HELLO, bytes_of_string("welcome"));
    return toy->refuse;
}

static enum err on_frame(void *context, conn_id conn, struct frame *frame)
{
    struct toy *toy = context;
    (void)conn;
    if (toy->busy > 0) {
        toy->busy--;
        return ERR_BUSY;
    }
    int value;
    assert_int_equal(frame->size, sizeof value);
    memcpy(&value, frame->payload, sizeof value);
    toy->seen[toy->seen_count++] = value;
    frame_unref(frame);
    return ERR_OK;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    struct toy *toy = context;
    (void)conn;
    toy->close_count++;
    toy->last_reason = reason;
    toy->closed_us = sim_now_us(sim);
}

static void start_toy(int i)
{
    struct toy *toy = &toys[i];
    char address[32];
    sim_node_start(toy->node);
    net_node_started(net, toy->node);
    struct error err;
    snprintf(address, sizeof address, "sim://n%d", i);
    assert_int_equal(transport_listen(toy->transport, address, &toy->handler, &err), ERR_OK);
}

static void kill_toy(int i, bool machine)
{
    sim_node_kill(toys[i].node);
    net_node_killed(net, toys[i].node, machine);
    sim_node_reap(toys[i].node);
}

static void setup(uint64_t seed)
{
    sim = sim_new(seed);
    net = net_new(sim);
    memset(toys, 0, sizeof toys);
    for (int i = 0; i < 3; i++) {
        struct toy *toy = &toys[i];
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        toy->node = sim_node_new(sim, name);
        toy->transport = net_transport(net, toy->node);
        toy->handler =
            (struct transport_handler){.context = toy, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
        start_toy(i);
    }
}

static void teardown(void)
{
    for (int i = 0; i < 3; i++)
        if (sim_node_is_up(toys[i].node))
            kill_toy(i, true);
    sim_free(sim);
    net_free(net);
}

static void run_ms(uint64_t ms)
{
    sim_run_until(sim, sim_heap_ns(sim) + ms * 1000000);
}

static conn_id dial(int from, int to)
{
    char address[32];
    conn_id conn = 0;
    snprintf(address, sizeof address, "sim://n%d", to);
    sim_enter(toys[from].node);
    assert_int_equal(
        transport_dial(toys[from].transport, address, bytes_of_string("hello"), &toys[from].handler, &conn), ERR_OK);
    sim_leave(toys[from].node);
    assert_true(conn != 0);
    return conn;
}

static enum err send_kind(int from, conn_id conn, int value, uint16_t kind)
{
    sim_enter(toys[from].node);
    enum err code = transport_send(toys[from].transport, conn, frame_copy(kind, bytes_of(&value, sizeof value)));
    sim_leave(toys[from].node);
    return code;
}

static enum err send(int from, conn_id conn, int value)
{
    return send_kind(from, conn, value, FRAME_KV_REQUEST);
}

static void both_sides_say_hello_and_frames_arrive_in_order(void **unused)
{
    (void)unused;
    setup(1);
    conn_id conn = dial(0, 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(send(0, conn, i), ERR_OK); /* before the connection is open, too */
    run_ms(100);
    assert_string_equal(toys[1].hello, "hello");
    assert_string_equal(toys[0].hello, "welcome");
    assert_int_equal(toys[1].seen_count, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(toys[1].seen[i], i);
    assert_int_equal(send(1, toys[1].opened[0], 7), ERR_OK); /* and back */
    run_ms(100);
    assert_int_equal(toys[0].seen_count, 1);
    teardown();
}

static void a_refusal_and_a_close_are_told_to_both_once(void **unused)
{
    (void)unused;
    setup(2);
    toys[1].refuse = ERR_CLUSTER_NOT_MATCH;
    dial(0, 1);
    run_ms(1000);
    assert_int_equal(toys[1].close_count, 1);
    assert_int_equal(toys[1].last_reason, ERR_CLUSTER_NOT_MATCH);
    assert_int_equal(toys[0].close_count, 1);
    toys[1].refuse = ERR_OK;
    conn_id conn = dial(0, 1);
    run_ms(1000);
    sim_enter(toys[0].node);
    transport_close_conn(toys[0].transport, conn);
    transport_close_conn(toys[0].transport, conn);
    sim_leave(toys[0].node);
    assert_int_equal(send(0, conn, 1), ERR_CLOSED);
    run_ms(1000);
    assert_int_equal(toys[0].close_count, 2);
    assert_int_equal(toys[1].close_count, 2);
    teardown();
}

static void a_dial_to_nobody_fails_at_once_and_to_a_dead_machine_after_a_while(void **unused)
{
    (void)unused;
    setup(3);
    kill_toy(1, false);
    dial(0, 1);
    run_ms(100);
    assert_int_equal(toys[0].close_count, 1);
    assert_int_equal(toys[0].last_reason, ERR_UNAVAILABLE);
    start_toy(2 - 1);
    kill_toy(1, true);
    dial(0, 1);
    run_ms(net_options(net)->dial_timeout_us / 1000 - 100);
    assert_int_equal(toys[0].close_count, 1);
    run_ms(300);
    assert_int_equal(toys[0].close_count, 2);
    teardown();
}

static void a_busy_receiver_is_offered_the_frame_again_in_order(void **unused)
{
    (void)unused;
    setup(4);
    conn_id conn = dial(0, 1);
    toys[1].busy = 10;
    for (int i = 0; i < 20; i++)
        send(0, conn, i);
    run_ms(500);
    assert_int_equal(toys[1].seen_count, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(toys[1].seen[i], i);
    assert_int_equal(net_counts(net)->busy_offers, 10);
    teardown();
}

static void a_short_block_only_delays(void **unused)
{
    (void)unused;
    setup(5);
    conn_id conn = dial(0, 1);
    run_ms(50);
    net_block(net, toys[0].node, toys[1].node, true);
    for (int i = 0; i < 20; i++)
        send(0, conn, i);
    run_ms(1000);
    assert_int_equal(toys[1].seen_count, 0);
    assert_int_equal(send(1, toys[1].opened[0], 1), ERR_OK); /* the other way is open */
    run_ms(100);
    assert_int_equal(toys[0].seen_count, 1);
    net_block(net, toys[0].node, toys[1].node, false);
    run_ms(1000);
    assert_int_equal(toys[1].seen_count, 20);
    assert_int_equal(toys[0].close_count + toys[1].close_count, 0);
    teardown();
}

static void a_long_block_ends_the_connection_on_both_sides(void **unused)
{
    (void)unused;
    setup(6);
    dial(0, 1);
    run_ms(50);
    net_block(net, NULL, toys[1].node, true);
    net_block(net, toys[1].node, NULL, true);
    run_ms(net_options(net)->idle_limit_us / 1000 - 500);
    assert_int_equal(toys[0].close_count + toys[1].close_count, 0);
    run_ms(2000);
    assert_int_equal(toys[0].close_count, 1);
    assert_int_equal(toys[1].close_count, 1);
    assert_int_equal(toys[0].last_reason, ERR_TIMEOUT);
    dial(0, 1);
    run_ms(1500);
    net_unblock_all(net);
    run_ms(2000);
    assert_int_equal(toys[0].open_count, 2); /* the dial got through with a later SYN */
    teardown();
}

static void a_clog_holds_all_for_longer_than_a_watchdog_waits_and_then_lets_all_go_at_once(void **unused)
{
    (void)unused;
    setup(9);
    conn_id conn = dial(0, 1);
    run_ms(50);
    net_clog(net, toys[0].node, toys[1].node, true);
    for (int i = 0; i < 20; i++) {
        send(0, conn, i);
        run_ms(net_options(net)->idle_limit_us / 1000 / 10);
    }
    dial(0, 1);
    run_ms(100);
    assert_int_equal(toys[1].seen_count, 0);
    assert_int_equal(toys[1].open_count, 1);
    assert_int_equal(send(1, toys[1].opened[0], 1), ERR_OK); /* the other way is open */
    run_ms(100);
    assert_int_equal(toys[0].seen_count, 1);
    net_clog(net, toys[0].node, toys[1].node, false);
    run_ms(1);
    assert_int_equal(toys[1].seen_count, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(toys[1].seen[i], i);
    run_ms(100);
    assert_int_equal(toys[1].open_count, 2);
    assert_int_equal(toys[0].close_count + toys[1].close_count, 0);
    teardown();
}

static void a_clog_in_which_a_machine_dies_ends_as_any_other_death(void **unused)
{
    (void)unused;
    setup(10);
    conn_id conn = dial(0, 1);
    run_ms(50);
    net_clog(net, toys[0].node, NULL, true);
    send(0, conn, 1);
    kill_toy(1, true);
    run_ms(net_options(net)->idle_limit_us / 1000 + 500);
    assert_int_equal(toys[0].close_count, 1);
    start_toy(1);
    net_unblock_all(net);
    run_ms(500);
    assert_int_equal(toys[1].seen_count, 0);
    dial(0, 1);
    run_ms(500);
    assert_int_equal(toys[0].open_count, 2);
    teardown();
}

static void a_dead_process_is_noticed_at_once_a_dead_machine_later(void **unused)
{
    (void)unused;
    setup(7);
    dial(0, 1);
    dial(0, 2);
    run_ms(50);
    kill_toy(1, false);
    run_ms(100);
    assert_int_equal(toys[0].close_count, 1);
    kill_toy(2, true);
    run_ms(1000);
    assert_int_equal(toys[0].close_count, 1);
    run_ms(net_options(net)->idle_limit_us / 1000);
    assert_int_equal(toys[0].close_count, 2);
    teardown();
}

static void a_cut_loses_only_a_tail_and_is_told_to_both(void **unused)
{
    (void)unused;
    int lost_some = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        setup(seed);
        conn_id conn = dial(0, 1);
        run_ms(50);
        for (int i = 0; i < 10; i++)
            send(0, conn, i);
        assert_int_equal(net_cut(net, toys[1].node, toys[0].node), 1);
        for (int i = 10; i < 20; i++)
            send(0, conn, i);
        run_ms(1000);
        for (int i = 0; i < toys[1].seen_count; i++)
            assert_int_equal(toys[1].seen[i], i);
        assert_in_range(toys[1].seen_count, 0, 10);
        lost_some += toys[1].seen_count < 10;
        assert_int_equal(toys[0].close_count, 1);
        assert_int_equal(toys[1].close_count, 1);
        teardown();
    }
    assert_in_range(lost_some, 10, 100);
}

static void a_paused_process_gets_its_frames_when_it_goes_on(void **unused)
{
    (void)unused;
    setup(8);
    conn_id conn = dial(0, 1);
    run_ms(50);
    sim_node_pause(toys[1].node);
    for (int i = 0; i < 10; i++)
        send(0, conn, i);
    conn_id second = dial(0, 1);
    send(0, second, 10);
    run_ms(1000);
    assert_int_equal(toys[1].seen_count, 0);
    assert_int_equal(toys[0].open_count, 1);
    sim_node_resume(toys[1].node);
    run_ms(100);
    assert_int_equal(toys[1].seen_count, 11);
    assert_int_equal(toys[0].open_count, 2);
    teardown();
}

static void only_raft_frames_are_lost_repeated_and_overtaken(void **unused)
{
    (void)unused;
    setup(9);
    *net_options(net) = (struct net_options){.delay_min_us = 10,
                                             .delay_max_us = 100,
                                             .raft_drop_per_10000 = 1000,
                                             .raft_repeat_per_10000 = 1000,
                                             .raft_reorder_per_10000 = 1000,
                                             .raft_reorder_max_us = 5000,
                                             .idle_limit_us = 5000000,
                                             .pending_size_max = 1 << 20};
    conn_id conn = dial(0, 1);
    run_ms(50);
    int times[1000] = {0}, overtaken = 0, lost = 0, repeated = 0;
    for (int i = 0; i < 1000; i++) {
        send_kind(0, conn, i, FRAME_RAFT);
        run_ms(1);
    }
    run_ms(100);
    for (int i = 0; i < toys[1].seen_count; i++) {
        times[toys[1].seen[i]]++;
        overtaken += i > 0 && toys[1].seen[i] < toys[1].seen[i - 1];
    }
    for (int i = 0; i < 1000; i++) {
        lost += times[i] == 0;
        repeated += times[i] > 1;
    }
    assert_in_range(lost, 50, 200);
    assert_in_range(repeated, 50, 200);
    assert_in_range(overtaken, 50, 400);
    toys[1].seen_count = 0;
    for (int i = 0; i < 1000; i++) {
        send(0, conn, i);
        run_ms(1);
    }
    run_ms(100);
    assert_int_equal(toys[1].seen_count, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(toys[1].seen[i], i);
    teardown();
}

static void too_much_on_the_way_is_busy(void **unused)
{
    (void)unused;
    setup(10);
    net_options(net)->pending_size_max = 40;
    conn_id conn = dial(0, 1);
    run_ms(50);
    int accepted = 0;
    for (int i = 0; i < 20; i++)
        accepted += send(0, conn, i) == ERR_OK;
    assert_int_equal(accepted, 10);
    run_ms(50);
    assert_int_equal(toys[1].seen_count, 10);
    assert_int_equal(send(0, conn, 1), ERR_OK);
    teardown();
}

static uint64_t storm_digest(uint64_t seed)
{
    setup(seed);
    struct rng rng;
    rng_init(&rng, seed, "storm");
    net_options(net)->idle_limit_us = 300000;
    net_options(net)->dial_timeout_us = 200000;
    for (int step = 0; step < 400; step++) {
        int from = (int)rng_below(&rng, 3), to = (int)rng_below(&rng, 3);
        struct toy *toy = &toys[from];
        switch (rng_below(&rng, 8)) {
        case 0:
            if (from != to && sim_node_is_up(toy->node) && toy->open_count + toy->close_count < CONNS_MAX / 2)
                dial(from, to);
            break;
        case 1:
            net_block(net, toy->node, toys[to].node, true);
            break;
        case 2:
            net_unblock_all(net);
            break;
        case 3:
            net_cut(net, toy->node, toys[to].node);
            break;
        case 4:
            if (rng_chance(&rng, 1, 4) && sim_node_is_up(toy->node))
                kill_toy(from, rng_chance(&rng, 1, 2));
            else if (!sim_node_is_up(toy->node))
                start_toy(from);
            break;
        case 5:
            if (sim_node_is_paused(toy->node))
                sim_node_resume(toy->node);
            else
                sim_node_pause(toy->node);
            break;
        default:
            if (sim_node_is_up(toy->node) && toy->open_count > 0)
                send(from, toy->opened[rng_below(&rng, (uint64_t)toy->open_count)], step);
        }
        run_ms(rng_below(&rng, 30));
        for (int i = 0; i < 3; i++)
            if (toys[i].seen_count > SEEN_MAX / 2 || toys[i].open_count > CONNS_MAX / 2)
                toys[i].seen_count = toys[i].open_count = toys[i].close_count = 0;
    }
    uint64_t digest = sim_digest(sim);
    teardown();
    return digest;
}

static void a_storm_frees_everything_and_repeats_exactly(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 60; seed++)
        assert_true(storm_digest(seed) == storm_digest(seed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_say_hello_and_frames_arrive_in_order),
        cmocka_unit_test(a_refusal_and_a_close_are_told_to_both_once),
        cmocka_unit_test(a_dial_to_nobody_fails_at_once_and_to_a_dead_machine_after_a_while),
        cmocka_unit_test(a_busy_receiver_is_offered_the_frame_again_in_order),
        cmocka_unit_test(a_short_block_only_delays),
        cmocka_unit_test(a_long_block_ends_the_connection_on_both_sides),
        cmocka_unit_test(a_clog_holds_all_for_longer_than_a_watchdog_waits_and_then_lets_all_go_at_once),
        cmocka_unit_test(a_clog_in_which_a_machine_dies_ends_as_any_other_death),
        cmocka_unit_test(a_dead_process_is_noticed_at_once_a_dead_machine_later),
        cmocka_unit_test(a_cut_loses_only_a_tail_and_is_told_to_both),
        cmocka_unit_test(a_paused_process_gets_its_frames_when_it_goes_on),
        cmocka_unit_test(only_raft_frames_are_lost_repeated_and_overtaken),
        cmocka_unit_test(too_much_on_the_way_is_busy),
        cmocka_unit_test(a_storm_frees_everything_and_repeats_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
