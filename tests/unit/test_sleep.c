#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/wire.h"
#include "raft/raft.h"
#include "rpc/frame_kind.h"
#include "sim_cluster.h"
#include "storenode/store_pairs.h"
#include "tests/sim/check_raft.h"

/* Idle regions sleep, and whatever should wake them does. Whole clusters in simulated time, in good weather but for
 * what a test does. Ticks of 100 ms, a heartbeat each second one, elections after 10. */

enum { BEAT_MS = 200, ELECTION_MS = 1000, NEVER = UINT32_MAX };

/* Of Raft, on the wire since counting began. */
static struct {
    uint64_t beats, messages;
} seen;

static void see_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame)
{
    struct arena arena;
    struct wire_raft_batch batch;
    (void)context, (void)from, (void)to;
    if (frame->kind != FRAME_RAFT)
        return;
    arena_init(&arena);
    assert_int_equal(wire_decode_raft_batch(frame_bytes(frame), &arena, &batch), ERR_OK);
    seen.beats += batch.beat != NULL;
    seen.messages += batch.messages_count;
    arena_fini(&arena);
}

static void run_ms(struct sim_cluster *cluster, uint32_t ms)
{
    assert_true(sim_cluster_run_until(cluster, ms, NULL));
}

static struct store_sleep_counts counts_of(struct sim_cluster *cluster, uint32_t store)
{
    struct store_sleep_counts counts = {0};
    if (world_store(cluster->world, store)->store)
        store_add_sleep_counts(world_store(cluster->world, store)->store, &counts);
    return counts;
}

static struct store_sleep_counts all_counts(struct sim_cluster *cluster)
{
    struct store_sleep_counts counts = {0};
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_add_sleep_counts(world_store(cluster->world, i)->store, &counts);
    return counts;
}

static uint32_t peer_count(struct sim_cluster *cluster)
{
    const struct world_options *options = world_options(cluster->world);
    return options->region_count * (options->store_count < 3 ? options->store_count : 3);
}

static bool all_sleep(struct sim_cluster *cluster)
{
    return all_counts(cluster).asleep == peer_count(cluster);
}

static struct sim_cluster *make(uint32_t stores, uint32_t regions, uint32_t sleep_after_ms, uint32_t workers)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.store_count = stores;
    options.world.client_count = 1;
    options.world.region_count = regions;
    options.swarm.region_workers = workers;
    options.swarm.sleep_after_ms = sleep_after_ms;
    options.ask_interval_ms = 5; /* there are many regions to look at */
    struct sim_cluster *cluster = sim_cluster_new(&options);
    net_set_observer(world_net(cluster->world), see_frame, NULL);
    return cluster;
}

static struct sim_cluster *make_asleep(uint32_t stores, uint32_t regions)
{
    struct sim_cluster *cluster = make(stores, regions, 1000, 1);
    assert_true(sim_cluster_run_until(cluster, 60000, all_sleep));
    return cluster;
}

static void end(struct sim_cluster *cluster)
{
    sim_cluster_free(cluster, false);
}

/* ---- who leads */

struct search {
    region_id region;
    bool found;
    uint32_t count;
};

static void visit(void *context, const struct store_peer_view *view)
{
    struct search *search = context;
    if (raft_is_leader(view->raft) && (search->region == 0 || search->region == view->region)) {
        search->found = true;
        search->count++;
    }
}

static uint32_t led_by(struct sim_cluster *cluster, uint32_t store)
{
    struct search search = {0};
    if (world_store(cluster->world, store)->store)
        store_visit_peers(world_store(cluster->world, store)->store, visit, &search);
    return search.count;
}

/* Number of a store that leads something. */
static uint32_t a_leader(struct sim_cluster *cluster)
{
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (led_by(cluster, i))
            return i;
    fail_msg("nobody leads");
    return 0;
}

static bool others_lead_all(struct sim_cluster *cluster)
{
    uint32_t count = 0;
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (sim_node_is_up(world_store(cluster->world, i)->node) &&
            !sim_node_is_paused(world_store(cluster->world, i)->node))
            count += led_by(cluster, i);
    return count >= world_options(cluster->world)->region_count;
}

/* ---- claims */

static void an_idle_region_sends_nothing_for_a_minute(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 6);
    struct store_sleep_counts before = all_counts(cluster);
    seen.messages = seen.beats = 0;
    run_ms(cluster, 60000);
    struct store_sleep_counts after = all_counts(cluster);
    assert_int_equal(seen.messages, 0);
    assert_int_equal(after.asleep, peer_count(cluster));
    assert_int_equal(after.slept, before.slept);
    assert_in_range(seen.beats, 6 * 60000 / BEAT_MS - 6, 6 * 60000 / BEAT_MS + 6); /* 6 ordered pairs */
    end(cluster);
}

static void a_write_wakes_a_region_and_is_done_and_it_sleeps_again(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 6);
    sim_cluster_put(cluster, "a", "0"); /* routes are known now */
    assert_true(sim_cluster_run_until(cluster, 10000, all_sleep));
    uint64_t took_ms = sim_cluster_put(cluster, "a", "1");
    printf("          a write to a sleeping region: %u ms\n", (unsigned)took_ms);
    assert_true(took_ms < 20);
    assert_in_range(all_counts(cluster).asleep, peer_count(cluster) - 3, peer_count(cluster) - 1);
    assert_true(sim_cluster_run_until(cluster, 10000, all_sleep));
    sim_cluster_get(cluster, "a", "1");
    end(cluster);
}

static void a_read_wakes_a_region_and_asks_a_quorum(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 6);
    sim_cluster_put(cluster, "a", "1");
    assert_true(sim_cluster_run_until(cluster, 10000, all_sleep));
    run_ms(cluster, 10000);
    seen.messages = 0;
    assert_true(sim_cluster_get(cluster, "a", "1") < 20);
    assert_true(seen.messages >= 3); /* to two followers, and an answer */
    assert_true(all_counts(cluster).woken[WAKE_REQUEST] >= 1);
    end(cluster);
}

static void the_regions_of_a_store_that_dies_elect_within_two_timeouts(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 40);
    uint32_t leader = a_leader(cluster);
    run_ms(cluster, 5000);
    uint32_t led[4] = {0};
    for (uint32_t i = 1; i <= 3; i++)
        led[i] = led_by(cluster, i);
    world_kill(cluster->world, world_store(cluster->world, leader), true);
    uint64_t began = sim_cluster_now_ms(cluster);
    assert_true(sim_cluster_run_until(cluster, 10000, others_lead_all));
    printf("          40 regions, leader's machine dead: all led again after %u ms\n",
           (unsigned)(sim_cluster_now_ms(cluster) - began));
    assert_true(sim_cluster_now_ms(cluster) - began <= 2 * ELECTION_MS + 100);
    assert_true(all_counts(cluster).woken[WAKE_SILENT] > 0);
    for (uint32_t i = 1; i <= 3; i++)
        assert_true(i == leader || led_by(cluster, i) > led[i]); /* each group has its own patience */
    end(cluster);
}

static void a_store_that_restarts_at_once_is_noticed(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 40);
    uint32_t leader = a_leader(cluster);
    run_ms(cluster, 5000);
    world_kill(cluster->world, world_store(cluster->world, leader), false);
    run_ms(cluster, 100);
    sim_cluster_start(cluster, world_store(cluster->world, leader));
    uint64_t began = sim_cluster_now_ms(cluster);
    assert_true(sim_cluster_run_until(cluster, 10000, others_lead_all));
    assert_true(sim_cluster_now_ms(cluster) - began <= 2 * ELECTION_MS + 100);
    assert_true(all_counts(cluster).woken[WAKE_RESTARTED] > 0);
    assert_int_equal(all_counts(cluster).woken[WAKE_SILENT], 0);
    assert_true(sim_cluster_run_until(cluster, 20000, all_sleep));
    end(cluster);
}

static void a_follower_that_restarts_learns_who_leads_without_an_election(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 1);
    uint32_t leader = a_leader(cluster), follower = leader % 3 + 1;
    run_ms(cluster, 5000);
    uint64_t elections = check_raft_counts(cluster->check)->elections;
    world_kill(cluster->world, world_store(cluster->world, follower), false);
    run_ms(cluster, 3000);
    assert_int_equal(counts_of(cluster, leader).woken[WAKE_NO_QUORUM], 0); /* two of three are enough */
    sim_cluster_start(cluster, world_store(cluster->world, follower));
    assert_true(sim_cluster_run_until(cluster, 20000, all_sleep));
    assert_true(counts_of(cluster, leader).woken[WAKE_BACK] + counts_of(cluster, leader).woken[WAKE_MESSAGE] > 0);
    assert_int_equal(check_raft_counts(cluster->check)->elections, elections);
    end(cluster);
}

static void lost_questions_and_answers_only_delay_sleep(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3, 20, 100, 1);
    uint64_t elections = check_raft_counts(cluster->check)->elections;
    net_options(world_net(cluster->world))->raft_drop_per_10000 = 2000;
    uint64_t slept = all_counts(cluster).slept;
    for (uint32_t i = 0; i < 60; i++) {
        char key[2] = {(char)('a' + i % 26)};
        sim_cluster_put(cluster, key, "1");
        run_ms(cluster, 500);
    }
    net_options(world_net(cluster->world))->raft_drop_per_10000 = 0;
    assert_true(all_counts(cluster).slept > slept + 60);
    assert_true(sim_cluster_run_until(cluster, 20000, all_sleep));
    printf("          20 regions, every fifth frame lost for 30 s: %u elections\n",
           (unsigned)(check_raft_counts(cluster->check)->elections - elections));
    end(cluster);
}

static void a_leader_that_nobody_can_answer_is_replaced(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 1);
    uint32_t leader = a_leader(cluster);
    struct sim_node *node = world_store(cluster->world, leader)->node;
    run_ms(cluster, 5000);
    for (uint32_t i = 1; i <= 3; i++)
        if (i != leader)
            net_block(world_net(cluster->world), world_store(cluster->world, i)->node, node, true);
    run_ms(cluster, 1000 + 2 * ELECTION_MS + 2 * ELECTION_MS);
    assert_int_equal(led_by(cluster, leader), 0);
    assert_true(others_lead_all(cluster));
    net_unblock_all(world_net(cluster->world));
    assert_true(sim_cluster_run_until(cluster, 20000, all_sleep));
    end(cluster);
}

static void a_follower_that_cannot_hear_its_leader_keeps_it_awake_and_leading(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 1);
    uint32_t leader = a_leader(cluster), follower = leader % 3 + 1;
    run_ms(cluster, 5000);
    net_block(world_net(cluster->world), world_store(cluster->world, leader)->node,
              world_store(cluster->world, follower)->node, true);
    run_ms(cluster, 10000);
    assert_int_equal(led_by(cluster, leader), 1);
    assert_true(counts_of(cluster, leader).woken[WAKE_MESSAGE] > 0);
    assert_int_equal(counts_of(cluster, leader).asleep, 0);
    sim_cluster_put(cluster, "a", "1");
    net_unblock_all(world_net(cluster->world));
    assert_true(sim_cluster_run_until(cluster, 20000, all_sleep));
    end(cluster);
}

static void a_leader_that_was_stopped_in_its_sleep_serves_no_stale_read(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 1);
    sim_cluster_put(cluster, "a", "old");
    assert_true(sim_cluster_run_until(cluster, 10000, all_sleep));
    uint32_t leader = a_leader(cluster);
    struct sim_node *node = world_store(cluster->world, leader)->node;
    sim_node_pause(node);
    sim_cluster_submit(cluster,
                       (struct client_call){.op = CLIENT_GET, .key = bytes_of_string("a"), .deadline_ms = 20000});
    assert_true(
        sim_cluster_run_until(cluster, 10000, others_lead_all)); /* the question waits in the mailbox of the old one */
    cluster->answered = false;
    sim_cluster_put(cluster, "a", "new");
    sim_cluster_submit(cluster,
                       (struct client_call){.op = CLIENT_GET, .key = bytes_of_string("a"), .deadline_ms = 20000});
    sim_node_resume(node);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_answered));
    assert_string_equal(cluster->value, "new");
    end(cluster);
}

/* Of its groups, those that are written to wake and are handed over, the others are elected away in their sleep. */
static void a_store_whose_disk_hangs_leads_nothing_for_long(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 60);
    uint32_t leader = a_leader(cluster);
    world_store(cluster->world, leader)->hung_until_us = (sim_cluster_now_ms(cluster) + 15000) * 1000;
    uint64_t slowest_ms = 0;
    for (char letter = 'a'; letter <= 'z'; letter++) {
        char key[2] = {letter};
        uint64_t took_ms = sim_cluster_put(cluster, key, "1");
        slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
    }
    printf("          a write to each of 26 regions while the disk of a leader hangs: at most %u ms\n",
           (unsigned)slowest_ms);
    assert_in_range(slowest_ms, ELECTION_MS / 2, 3 * ELECTION_MS); /* the disk did hang for one of them */
    run_ms(cluster, 3 * ELECTION_MS);
    assert_int_equal(led_by(cluster, leader), 0);
    assert_true(others_lead_all(cluster));
    assert_true(counts_of(cluster, leader).handed_over > 0);
    assert_true(all_counts(cluster).woken[WAKE_SILENT] > 0);
    end(cluster);
}

struct silent_stores {
    uint32_t count;
    store_id last;
};

static void note_silent(void *context, store_id store)
{
    struct silent_stores *silent = context;
    silent->count++;
    silent->last = store;
}

static void leave(struct sim_cluster *cluster, uint32_t store)
{
    struct world_node *node = world_store(cluster->world, store);
    sim_enter(node->node);
    store_leave(node->store);
    sim_leave(node->node);
}

static uint32_t leaving_store;

static bool has_left(struct sim_cluster *cluster)
{
    return store_has_left(world_store(cluster->world, leaving_store)->store);
}

static void a_store_that_leaves_hands_over_what_sleeps_and_nobody_waits_for_an_election(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 60);
    leaving_store = a_leader(cluster);
    uint32_t led = led_by(cluster, leaving_store);
    leave(cluster, leaving_store);
    uint64_t begun_ms = sim_cluster_now_ms(cluster);
    assert_true(sim_cluster_run_until(cluster, 2 * ELECTION_MS, has_left));
    printf("          %u regions were handed over in %u ms\n", (unsigned)led,
           (unsigned)(sim_cluster_now_ms(cluster) - begun_ms));
    assert_in_range(sim_cluster_now_ms(cluster) - begun_ms, 1, ELECTION_MS / 2);
    assert_int_equal(led_by(cluster, leaving_store), 0);
    assert_int_equal(counts_of(cluster, leaving_store).handed_over, led);
    world_kill(cluster->world, world_store(cluster->world, leaving_store), false);
    for (char letter = 'a'; letter <= 'z'; letter++) {
        char key[2] = {letter};
        assert_in_range(sim_cluster_put(cluster, key, "1"), 0, ELECTION_MS / 2);
    }
    end(cluster);
}

static void when_all_leave_nobody_waits_for_anybody(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(3, 60);
    for (uint32_t store = 1; store <= 3; store++)
        leave(cluster, store);
    for (leaving_store = 1; leaving_store <= 3; leaving_store++)
        assert_true(sim_cluster_run_until(cluster, ELECTION_MS, has_left));
    end(cluster);
}

static void a_store_that_was_just_started_is_given_nothing_yet(void **unused)
{
    (void)unused;
    struct silent_stores silent = {0};
    struct store_pairs *pairs = store_pairs_new(10, 2);
    store_pairs_share(pairs, 7);
    assert_int_equal(store_pairs_fitness(pairs, 7), PAIRS_UNFIT);
    for (uint64_t incarnation = 1; incarnation <= 2; incarnation++) {
        for (int i = 0; i < 10; i++) {
            (void)store_pairs_heard(pairs, 7, incarnation, false);
            assert_int_equal(store_pairs_fitness(pairs, 7), PAIRS_FIT_SOON);
            store_pairs_tick(pairs, 1, note_silent, &silent);
        }
        store_pairs_tick(pairs, 1, note_silent, &silent);
        (void)store_pairs_heard(pairs, 7, incarnation, false);
        assert_int_equal(store_pairs_fitness(pairs, 7), PAIRS_FIT);
    }
    (void)store_pairs_heard(pairs, 7, 2, true);
    assert_int_equal(store_pairs_fitness(pairs, 7), PAIRS_UNFIT); /* it leaves */
    (void)store_pairs_heard(pairs, 7, 2, false);
    for (int i = 0; i < 10; i++)
        store_pairs_tick(pairs, 1, note_silent, &silent);
    assert_int_equal(store_pairs_fitness(pairs, 7), PAIRS_UNFIT); /* it is silent */
    store_pairs_free(pairs);
}

static void regions_never_sleep_if_told_so_or_beside_a_store_that_does_not(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3, 4, 0, 1);
    run_ms(cluster, 10000);
    assert_int_equal(all_counts(cluster).slept, 0);
    end(cluster);
    cluster = make(3, 4, 1000, 1);
    world_kill(cluster->world, world_store(cluster->world, 2), false);
    world_store(cluster->world, 2)->store_config.sleep_after_ms = 0;
    sim_cluster_start(cluster, world_store(cluster->world, 2));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    run_ms(cluster, 10000);
    assert_int_equal(all_counts(cluster).asleep, counts_of(cluster, 1).asleep + counts_of(cluster, 3).asleep);
    assert_int_equal(counts_of(cluster, 2).asleep, 0);
    sim_cluster_put(cluster, "a", "1");
    end(cluster);
}

static void a_lone_region_sleeps_too(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_asleep(1, 4);
    sim_cluster_put(cluster, "a", "1");
    sim_cluster_get(cluster, "a", "1");
    assert_true(sim_cluster_run_until(cluster, 20000, all_sleep));
    end(cluster);
}

static void messages_of_a_thousand_sleeping_regions_are_pairs_times_beats(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3, 1000, 1000, 2);
    assert_true(sim_cluster_run_until(cluster, 60000, all_sleep));
    seen.messages = seen.beats = 0;
    run_ms(cluster, 10000);
    printf("          3 stores, 1000 sleeping regions: %.1f beats and %u other messages per second\n",
           (double)seen.beats / 10, (unsigned)seen.messages);
    assert_int_equal(seen.messages, 0);
    assert_in_range(seen.beats, 6 * 10000 / BEAT_MS - 6, 6 * 10000 / BEAT_MS + 6);
    end(cluster);
}

static void visit_memory(void *context, const struct store_peer_view *view)
{
    size_t *most = context, size = raft_memory_size(view->raft);
    if (size > *most)
        *most = size;
}

/* Bytes that the store of a cluster gives back to malloc when it dies; its disk is another matter. */
static size_t memory_of_a_store(uint32_t regions, size_t *core_most)
{
    struct sim_cluster *cluster = make_asleep(3, regions);
    run_ms(cluster, 2000); /* what was kept for rounds goes, too */
    store_visit_peers(world_store(cluster->world, 1)->store, visit_memory, core_most);
    size_t before = mallinfo2().uordblks;
    world_kill(cluster->world, world_store(cluster->world, 1), true);
    size_t after = mallinfo2().uordblks;
    end(cluster);
    return before - after;
}

static void a_sleeping_region_takes_little_memory(void **unused)
{
    (void)unused;
    size_t core = 0;
    size_t one = memory_of_a_store(1, &core), many = memory_of_a_store(1001, &core);
    printf("          a sleeping region: %zu bytes in the core, %zu bytes of heap with its state machine, its tokens "
           "and two copies of its metadata\n",
           core, (many - one) / 1000);
    assert_in_range(core, 1, 1024);
    if (one > 0) /* a sanitizer's malloc does not say */
        assert_in_range((many - one) / 1000, 1, 3200);
}

/* ---- the table of stores alone */

static void pairs_tell_silence_return_and_restart(void **unused)
{
    (void)unused;
    struct silent_stores silent = {0};
    struct store_pairs *pairs = store_pairs_new(10, 2);
    assert_int_equal(store_pairs_heard(pairs, 7, 1, false), PAIRS_NOTHING); /* nothing is shared with it */
    assert_false(store_pairs_is_live(pairs, 7));
    assert_true(store_pairs_share(pairs, 7));
    assert_false(store_pairs_share(pairs, 7));
    assert_int_equal(store_pairs_silent_ticks(pairs, 7), NEVER);
    for (uint32_t i = 0; i < 20; i++)
        store_pairs_tick(pairs, 1, note_silent, &silent);
    assert_int_equal(silent.count, 0); /* never heard, so not missed */
    assert_int_equal(store_pairs_heard(pairs, 7, 1, false), PAIRS_RETURNED);
    assert_int_equal(store_pairs_heard(pairs, 7, 1, false), PAIRS_NOTHING);
    assert_true(store_pairs_is_live(pairs, 7));
    for (uint32_t i = 0; i < 9; i++)
        store_pairs_tick(pairs, 1, note_silent, &silent);
    assert_int_equal(silent.count, 0);
    assert_int_equal(store_pairs_silent_ticks(pairs, 7), 9);
    store_pairs_tick(pairs, 1, note_silent, &silent);
    store_pairs_tick(pairs, 1, note_silent, &silent);
    assert_int_equal(silent.count, 1);
    assert_int_equal(silent.last, 7);
    assert_int_equal(store_pairs_heard(pairs, 7, 1, false), PAIRS_RETURNED);
    assert_int_equal(store_pairs_heard(pairs, 7, 2, false), PAIRS_RESTARTED);
    assert_int_equal(store_pairs_heard(pairs, 7, 2, false), PAIRS_NOTHING);
    store_pairs_free(pairs);
}

static void own_deafness_is_no_silence_of_others(void **unused)
{
    (void)unused;
    struct silent_stores silent = {0};
    struct store_pairs *pairs = store_pairs_new(10, 2);
    store_pairs_share(pairs, 7);
    store_pairs_heard(pairs, 7, 1, false);
    store_pairs_tick(pairs, 20, note_silent, &silent); /* this process was stopped; its beats wait in the mailbox */
    assert_int_equal(silent.count, 0);
    assert_int_equal(store_pairs_heard(pairs, 7, 1, false), PAIRS_NOTHING);
    store_pairs_free(pairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_tell_silence_return_and_restart),
        cmocka_unit_test(own_deafness_is_no_silence_of_others),
        cmocka_unit_test(an_idle_region_sends_nothing_for_a_minute),
        cmocka_unit_test(a_write_wakes_a_region_and_is_done_and_it_sleeps_again),
        cmocka_unit_test(a_read_wakes_a_region_and_asks_a_quorum),
        cmocka_unit_test(the_regions_of_a_store_that_dies_elect_within_two_timeouts),
        cmocka_unit_test(a_store_that_restarts_at_once_is_noticed),
        cmocka_unit_test(a_follower_that_restarts_learns_who_leads_without_an_election),
        cmocka_unit_test(lost_questions_and_answers_only_delay_sleep),
        cmocka_unit_test(a_leader_that_nobody_can_answer_is_replaced),
        cmocka_unit_test(a_follower_that_cannot_hear_its_leader_keeps_it_awake_and_leading),
        cmocka_unit_test(a_leader_that_was_stopped_in_its_sleep_serves_no_stale_read),
        cmocka_unit_test(a_store_whose_disk_hangs_leads_nothing_for_long),
        cmocka_unit_test(a_store_that_leaves_hands_over_what_sleeps_and_nobody_waits_for_an_election),
        cmocka_unit_test(when_all_leave_nobody_waits_for_anybody),
        cmocka_unit_test(a_store_that_was_just_started_is_given_nothing_yet),
        cmocka_unit_test(regions_never_sleep_if_told_so_or_beside_a_store_that_does_not),
        cmocka_unit_test(a_lone_region_sleeps_too),
        cmocka_unit_test(messages_of_a_thousand_sleeping_regions_are_pairs_times_beats),
        cmocka_unit_test(a_sleeping_region_takes_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
