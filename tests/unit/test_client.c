/* client: the whole core against a scripted cluster (fake_cluster.h), in virtual time. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "fake_cluster.h"

enum { MS = 1000, SECOND = 1000000 };

static struct client_call get(const char *key)
{
    return (struct client_call){.op = CLIENT_GET, .key = bytes_of_string(key)};
}

static struct client_call put(const char *key, const char *value)
{
    return (struct client_call){.op = CLIENT_PUT, .key = bytes_of_string(key), .value = bytes_of_string(value)};
}

static struct client_call cas(const char *key, const char *expected, const char *value)
{
    return (struct client_call){.op = CLIENT_CAS,
                                .key = bytes_of_string(key),
                                .value = bytes_of_string(value),
                                .expect_value = expected != NULL,
                                .expected = bytes_of_string(expected ? expected : "")};
}

/* Calls, checks the end, frees. */
static void expect(struct fake_cluster *cluster, struct client_call call, enum polder_outcome outcome, int code)
{
    struct polder_result *result = fake_call(cluster, call);
    if (result->outcome != outcome || result->code != code)
        fail_msg("outcome %d code %s (%s)", (int)result->outcome, result->name, result->text);
    assert_true((result->outcome == POLDER_DONE) == (result->text[0] == 0));
    polder_result_free(result);
}

static void expect_get(struct fake_cluster *cluster, const char *key, const char *value)
{
    struct polder_result *result = fake_call(cluster, get(key));
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_int_equal(result->found, value != NULL);
    if (value) {
        assert_int_equal(result->value.size, strlen(value));
        assert_memory_equal(result->value.data, value, strlen(value));
    }
    polder_result_free(result);
}

static struct fake_cluster *open_cluster(uint32_t region_count)
{
    struct fake_cluster *cluster = fake_new(region_count);
    fake_open_client(cluster, NULL);
    return cluster;
}

/* Several operations at once. */
struct pending {
    bool came;
    struct polder_result *result;
};

static void keep(void *user, struct polder_result *take_result)
{
    struct pending *pending = user;
    assert_false(pending->came);
    pending->came = true;
    pending->result = take_result;
}

static void submit(struct fake_cluster *cluster, struct client_call call, struct pending *pending)
{
    *pending = (struct pending){0};
    call.done = keep;
    call.user = pending;
    assert_int_equal(client_submit(cluster->client, &call), ERR_OK);
}

/* A hook that gives one answer `count` times and then serves. */
struct script {
    enum err code;
    uint32_t count;
    uint32_t wait_ms;
    uint64_t hint;
    enum fake_fate fate; /* FAKE_SERVE: reply with `code` */
};

static enum fake_fate run_script(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                                 struct wire_kv_reply *reply)
{
    struct script *script = cluster->hook_state;
    (void)store;
    (void)request;
    if (cluster->hook_count >= script->count)
        return FAKE_SERVE;
    cluster->hook_count++;
    if (script->fate != FAKE_SERVE)
        return script->fate;
    reply->code = (uint16_t)script->code;
    reply->wait_ms = script->wait_ms;
    reply->leader_store = script->hint;
    reply->text = bytes_of_string("as the script says");
    return FAKE_REPLY;
}

static void set_script(struct fake_cluster *cluster, struct script *script)
{
    cluster->hook = run_script;
    cluster->hook_state = script;
    cluster->hook_count = 0;
}

/* ---- the plain paths */

static void what_was_put_is_got_and_what_was_deleted_is_not(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(4);
    expect_get(cluster, "k", NULL);
    expect(cluster, put("k", "v1"), POLDER_DONE, POLDER_OK);
    expect_get(cluster, "k", "v1");
    expect(cluster, put("k", ""), POLDER_DONE, POLDER_OK);
    expect_get(cluster, "k", "");
    assert_non_null(fake_row(cluster, "rk")); /* the mode prefix is there, and not in what comes back */
    struct client_call remove = {.op = CLIENT_DELETE, .key = bytes_of_string("k")};
    expect(cluster, remove, POLDER_DONE, POLDER_OK);
    expect(cluster, remove, POLDER_DONE, POLDER_OK);
    expect_get(cluster, "k", NULL);
    fake_free(cluster);
}

static void compare_and_swap_tells_what_is_there(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, cas("k", "x", "y"), POLDER_NOT_DONE, POLDER_CONDITION_FAILED);
    expect(cluster, cas("k", NULL, "one"), POLDER_DONE, POLDER_OK);
    struct polder_result *result = fake_call(cluster, cas("k", NULL, "two"));
    assert_int_equal(result->code, POLDER_CONDITION_FAILED);
    assert_int_equal(result->advice, POLDER_ADVICE_GIVE_UP);
    assert_true(result->found);
    assert_int_equal(result->value.size, 3);
    assert_memory_equal(result->value.data, "one", 3);
    polder_result_free(result);
    expect(cluster, cas("k", "one", ""), POLDER_DONE, POLDER_OK);
    expect(cluster, cas("k", "", "two"), POLDER_DONE, POLDER_OK);
    expect_get(cluster, "k", "two");
    fake_free(cluster);
}

static void bad_keys_and_values_are_refused_before_anything_is_sent(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    size_t large = 9 * 1024 * 1024;
    uint8_t *bytes = calloc(1, large);
    static const struct client_call plain = {.op = CLIENT_PUT, .done = keep};
    struct client_call call = plain;
    assert_int_equal(client_submit(cluster->client, &call), ERR_KEY_EMPTY);
    call.key = bytes_of(bytes, 8 * 1024 + 1);
    assert_int_equal(client_submit(cluster->client, &call), ERR_KEY_TOO_LARGE);
    call.key = bytes_of("k", 1);
    call.value = bytes_of(bytes, 8 * 1024 * 1024 + 1);
    assert_int_equal(client_submit(cluster->client, &call), ERR_ENTRY_TOO_LARGE);
    struct polder_pair pairs[] = {{.key = {"a", 1}}, {.key = {"", 0}}};
    call = (struct client_call){.op = CLIENT_BATCH_WRITE, .pairs = pairs, .pair_count = 2, .done = keep};
    assert_int_equal(client_submit(cluster->client, &call), ERR_KEY_EMPTY);
    pairs[1] = (struct polder_pair){.key = {"b", 1}, .value = {bytes, large}};
    assert_int_equal(client_submit(cluster->client, &call), ERR_ENTRY_TOO_LARGE);
    call = (struct client_call){.op = CLIENT_SCAN, .scan = {.start = {bytes, large}}, .done = keep};
    assert_int_equal(client_submit(cluster->client, &call), ERR_KEY_TOO_LARGE);
    fake_run(cluster, SECOND, NULL);
    assert_int_equal(cluster->log_count, 0);
    free(bytes);
    fake_free(cluster);
}

static void the_longest_key_is_fine(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    static char key[8 * 1024];
    memset(key, 'x', sizeof key);
    struct script script = {.code = ERR_OK, .count = 1};
    set_script(cluster, &script); /* the array of the fake does not hold such keys */
    struct client_call call = {.op = CLIENT_PUT, .key = bytes_of(key, sizeof key)};
    expect(cluster, call, POLDER_DONE, POLDER_OK);
    fake_free(cluster);
}

/* ---- batching */

static void what_is_ready_together_leaves_together(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(4);
    expect(cluster, put("a", "warm"), POLDER_DONE, POLDER_OK);
    uint32_t frames = cluster->frame_count;
    enum { COUNT = 1300 };
    struct pending *pending = calloc(COUNT, sizeof *pending);
    char keys[COUNT][8];
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], sizeof keys[i], "%c%d", 'a' + i % 8, i);
        submit(cluster, put(keys[i], "v"), &pending[i]);
    }
    fake_run(cluster, SECOND, NULL);
    for (int i = 0; i < COUNT; i++) {
        assert_true(pending[i].came);
        assert_int_equal(pending[i].result->outcome, POLDER_DONE);
        polder_result_free(pending[i].result);
    }
    assert_int_equal(cluster->frame_count - frames, (COUNT + 511) / 512); /* all regions are led by one store */
    assert_int_equal(cluster->executed, COUNT + 1);
    free(pending);
    fake_free(cluster);
}

static uint32_t count_arrived(const struct fake_cluster *cluster, uint64_t store)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cluster->log_count; i++)
        count += cluster->log[i].store == store;
    return count;
}

static void writes_leave_in_waves_but_a_silent_store_holds_up_nobody_for_long(void **state)
{
    (void)state;
    enum { HELD = 20, FRESH = 10 };
    struct fake_cluster *cluster = open_cluster(4);
    cluster->regions[1].leader = cluster->regions[1].pd_leader = 2; /* keys from b on */
    expect(cluster, put("a", "warm"), POLDER_DONE, POLDER_OK);
    expect(cluster, put("c", "warm"), POLDER_DONE, POLDER_OK);
    struct pending held[HELD], fresh[2 * FRESH], lone;
    cluster->store_silent[2] = true;
    for (int i = 0; i < HELD; i++)
        submit(cluster, put("c", "v"), &held[i]);
    fake_run(cluster, 100, NULL);
    assert_int_equal(count_arrived(cluster, 2), 1 + HELD); /* nothing was out: no reason to wait */

    for (int i = 0; i < FRESH; i++)
        submit(cluster, put("a", "v"), &fresh[i]);
    fake_run(cluster, 100, NULL);
    assert_int_equal(count_arrived(cluster, 1), 1); /* most of the last wave is still out */
    fake_run(cluster, 5 * MS, NULL);
    assert_int_equal(count_arrived(cluster, 1), 1 + FRESH); /* time is up */

    for (int i = FRESH; i < 2 * FRESH; i++)
        submit(cluster, put("a", "v"), &fresh[i]);
    fake_run(cluster, 100, NULL);
    assert_int_equal(count_arrived(cluster, 1), 1 + 2 * FRESH); /* the silent one counts no more */
    submit(cluster, put("a", "v"), &lone);
    fake_run(cluster, 100, NULL);
    assert_int_equal(count_arrived(cluster, 1), 2 + 2 * FRESH);

    cluster->store_silent[2] = false;
    fake_run(cluster, 20 * SECOND, NULL);
    for (int i = 0; i < HELD; i++) {
        assert_true(held[i].came);
        polder_result_free(held[i].result);
    }
    for (int i = 0; i < 2 * FRESH; i++) {
        assert_true(fresh[i].came);
        assert_int_equal(fresh[i].result->outcome, POLDER_DONE);
        polder_result_free(fresh[i].result);
    }
    assert_true(lone.came);
    polder_result_free(lone.result);
    fake_free(cluster);
}

static void sequence_done_is_the_oldest_write_that_has_not_ended(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    struct script script = {.count = 1, .fate = FAKE_DROP};
    struct pending lost;
    expect(cluster, put("a", "0"), POLDER_DONE, POLDER_OK);
    set_script(cluster, &script);
    submit(cluster, put("a", "1"), &lost);
    fake_run(cluster, 10 * MS, NULL);
    uint64_t oldest = cluster->log[cluster->log_count - 1].sequence;
    for (int i = 0; i < 3; i++) {
        expect(cluster, put("b", "2"), POLDER_DONE, POLDER_OK);
        assert_int_equal(cluster->log[cluster->log_count - 1].sequence_done, oldest);
    }
    fake_run(cluster, 5 * SECOND, &lost.came); /* asked again: done */
    assert_true(lost.came);
    assert_int_equal(lost.result->outcome, POLDER_DONE);
    polder_result_free(lost.result);
    expect(cluster, put("b", "3"), POLDER_DONE, POLDER_OK);
    const struct fake_request *last = &cluster->log[cluster->log_count - 1];
    assert_int_equal(last->sequence_done, last->sequence);
    fake_free(cluster);
}

static void past_the_maximum_operations_are_refused_as_busy(void **state)
{
    (void)state;
    struct fake_cluster *cluster = fake_new(1);
    fake_open_client(cluster, &(struct client_options){.outstanding_max = 3});
    struct pending pending[3];
    for (int i = 0; i < 3; i++)
        submit(cluster, put("k", "v"), &pending[i]);
    struct client_call call = put("k", "v");
    call.done = keep;
    assert_int_equal(client_submit(cluster->client, &call), ERR_BUSY);
    fake_run(cluster, SECOND, NULL);
    for (int i = 0; i < 3; i++)
        polder_result_free(pending[i].result);
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    fake_free(cluster);
}

/* ---- routes */

static void routes_are_fetched_by_the_page_and_remembered(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(12);
    char key[4];
    for (int round = 0; round < 3; round++)
        for (char c = 'a'; c <= 'w'; c++) {
            snprintf(key, sizeof key, "%c", c);
            expect(cluster, put(key, "v"), POLDER_DONE, POLDER_OK);
        }
    assert_int_equal(cluster->pd_request_count, 2); /* one page of routes, one list of stores */
    assert_int_equal(cluster->log_count, 69);       /* and every request went right at once */
    fake_free(cluster);
}

static void a_hint_costs_one_request_and_no_pause(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, put("k", "1"), POLDER_DONE, POLDER_OK);
    cluster->regions[0].leader = 3;
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("k", "2"), POLDER_DONE, POLDER_OK);
    assert_int_equal(cluster->now_us, before_us);
    assert_int_equal(cluster->log_count, 3);
    assert_int_equal(cluster->log[2].store, 3);
    assert_false(cluster->log[2].retry); /* the first one did not happen */
    assert_int_equal(cluster->log[1].sequence, cluster->log[2].sequence);
    expect(cluster, put("k", "3"), POLDER_DONE, POLDER_OK);
    assert_int_equal(cluster->log[3].store, 3); /* remembered */
    fake_free(cluster);
}

static void while_nobody_leads_peers_are_asked_in_turn_with_growing_pauses(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, put("k", "1"), POLDER_DONE, POLDER_OK);
    cluster->regions[0].leader = 0;
    struct pending pending;
    submit(cluster, put("k", "2"), &pending);
    fake_run(cluster, 3 * SECOND, NULL);
    assert_false(pending.came);
    uint32_t seen[FAKE_STORES + 1] = {0};
    for (uint32_t i = 1; i < cluster->log_count; i++)
        seen[cluster->log[i].store]++;
    for (uint32_t i = 1; i <= FAKE_STORES; i++)
        assert_true(seen[i] >= 2);
    assert_in_range(cluster->log_count, 10, 30);
    cluster->regions[0].leader = 2;
    uint64_t before_us = cluster->now_us;
    fake_run(cluster, 3 * SECOND, &pending.came);
    assert_true(pending.came && cluster->now_us - before_us <= 600 * MS);
    assert_int_equal(pending.result->outcome, POLDER_DONE);
    polder_result_free(pending.result);
    fake_free(cluster);
}

static void two_stores_that_point_at_each_other_are_not_asked_in_a_frenzy(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    struct script one = {.code = ERR_NOT_LEADER, .count = UINT32_MAX};
    set_script(cluster, &one);
    struct pending pending;
    submit(cluster, get("k"), &pending);
    for (int i = 0; i < 2000; i++) { /* the hint always names the other */
        uint64_t asked = cluster->log_count ? cluster->log[cluster->log_count - 1].store : 0;
        one.hint = asked == 1 ? 2 : 1;
        fake_run(cluster, MS, NULL);
    }
    assert_in_range(cluster->log_count, 4, 100);
    fake_run(cluster, 60 * SECOND, &pending.came);
    assert_int_equal(pending.result->outcome, POLDER_NOT_DONE);
    polder_result_free(pending.result);
    fake_free(cluster);
}

static void after_a_split_the_request_goes_right_at_once(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, put("a", "1"), POLDER_DONE, POLDER_OK);
    fake_split(cluster, 0, "rm", 9);
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("a", "2"), POLDER_DONE, POLDER_OK); /* learns the left half */
    expect(cluster, put("x", "2"), POLDER_DONE, POLDER_OK); /* asks pd for the right half */
    assert_int_equal(cluster->now_us, before_us);
    assert_int_equal(cluster->log[cluster->log_count - 1].region_id, 9);
    fake_free(cluster);
}

/* All are refused with the same news: it is news to the first one only, but all were sent by the old route. */
static void all_that_were_sent_before_a_split_go_right_at_once(void **state)
{
    (void)state;
    struct pending pending[8];
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, put("a", "1"), POLDER_DONE, POLDER_OK);
    fake_split(cluster, 0, "rm", 9);
    uint64_t before_us = cluster->now_us;
    for (int i = 0; i < 8; i++)
        submit(cluster, put("a", "2"), &pending[i]);
    fake_run(cluster, 100 * MS, &pending[7].came);
    for (int i = 0; i < 8; i++) {
        assert_true(pending[i].came);
        assert_int_equal(pending[i].result->outcome, POLDER_DONE);
        assert_int_equal(pending[i].result->attempts, 2);
        polder_result_free(pending[i].result);
    }
    assert_int_equal(cluster->now_us, before_us);
    fake_free(cluster);
}

static void a_region_that_is_gone_is_asked_of_pd(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(2);
    expect(cluster, put("a", "1"), POLDER_DONE, POLDER_OK);
    cluster->regions[0].id = 50; /* as after a merge into a region with another id */
    cluster->regions[0].epoch_version = 4;
    expect(cluster, put("a", "2"), POLDER_DONE, POLDER_OK);
    assert_int_equal(cluster->log[cluster->log_count - 1].region_id, 50);
    fake_free(cluster);
}

static void a_store_behind_our_epoch_is_waited_for(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    cluster->regions[0].epoch_version = 5;
    expect(cluster, put("k", "1"), POLDER_DONE, POLDER_OK);
    cluster->regions[0].epoch_version = 4; /* a store that has not applied the split yet */
    struct pending pending;
    submit(cluster, put("k", "2"), &pending);
    fake_run(cluster, 100 * MS, NULL);
    assert_false(pending.came);
    cluster->regions[0].epoch_version = 5;
    fake_run(cluster, SECOND, &pending.came);
    assert_true(pending.came);
    assert_int_equal(pending.result->outcome, POLDER_DONE);
    polder_result_free(pending.result);
    assert_true(cluster->log_count < 15);
    fake_free(cluster);
}

static void a_store_that_moved_is_found_at_its_new_address(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, put("k", "1"), POLDER_DONE, POLDER_OK);
    cluster->store_moved[1] = true;
    fake_cut(cluster, 1);
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("k", "2"), POLDER_DONE, POLDER_OK);
    assert_true(cluster->now_us - before_us < 2 * SECOND);
    fake_free(cluster);
}

/* ---- did it happen? every code, as the first answer and after a lost send */

static const enum err all_codes[] = {
    ERR_NOT_LEADER,
    ERR_EPOCH_NOT_MATCH,
    ERR_REGION_NOT_FOUND,
    ERR_KEY_NOT_IN_REGION,
    ERR_STORE_NOT_MATCH,
    ERR_BUSY,
    ERR_NOT_READY,
    ERR_DISK_FULL,
    ERR_UNAVAILABLE,
    ERR_MAYBE,
    ERR_TIMEOUT,
    ERR_INVALID,
    ERR_KEY_TOO_LARGE,
    ERR_ENTRY_TOO_LARGE,
    ERR_KEY_EMPTY,
    ERR_CONDITION_FAILED,
    ERR_CLUSTER_NOT_MATCH,
    ERR_VERSION,
    ERR_DEADLINE,
    ERR_UNSUPPORTED,
    ERR_IO,
    ERR_CORRUPT,
    ERR_CLOSED,
    (enum err)999,
};

/* The first `lose` requests vanish, all later ones get one code for ever. */
struct losing {
    uint32_t lose;
    enum fake_fate fate;
    enum err code;
};

static enum fake_fate lose_then_refuse(struct fake_cluster *cluster, uint64_t store,
                                       const struct wire_kv_request *request, struct wire_kv_reply *reply)
{
    const struct losing *losing = cluster->hook_state;
    (void)store;
    (void)request;
    if (cluster->hook_count++ < losing->lose)
        return losing->fate;
    reply->code = (uint16_t)losing->code;
    return FAKE_REPLY;
}

static struct polder_result *call_losing(struct client_call call, struct losing losing)
{
    struct fake_cluster *cluster = open_cluster(1);
    cluster->hook = lose_then_refuse;
    cluster->hook_state = &losing;
    call.deadline_ms = 3000;
    uint64_t before_us = cluster->now_us;
    struct polder_result *result = fake_call(cluster, call);
    assert_true(cluster->now_us - before_us <= 3100 * MS);
    if (call.op != CLIENT_GET) {
        enum err_action action = err_action(losing.code);
        bool unsure = losing.lose > 0 || action == ERR_ACTION_RECHECK || action == ERR_ACTION_STOP;
        for (uint32_t i = 0; i < cluster->log_count; i++) { /* one token for all sends, and honest about it */
            assert_int_equal(cluster->log[i].sequence, cluster->log[0].sequence);
            assert_int_equal(cluster->log[i].client_id, cluster->log[0].client_id);
            assert_int_equal(cluster->log[i].retry, i > 0 && unsure);
        }
    }
    assert_int_equal(result->attempts, cluster->log_count);
    fake_free(cluster);
    return result;
}

static bool is_definite(enum err code)
{
    return code == ERR_OK || code == ERR_CONDITION_FAILED;
}

static bool tells_nothing(enum err code)
{
    return err_action(code) == ERR_ACTION_RECHECK || err_action(code) == ERR_ACTION_STOP;
}

static void an_answer_decides_unless_it_says_that_nobody_knows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof all_codes / sizeof all_codes[0]; i++) {
        struct polder_result *result = call_losing(put("k", "v"), (struct losing){.code = all_codes[i]});
        enum polder_outcome expected = tells_nothing(all_codes[i]) ? POLDER_UNKNOWN : POLDER_NOT_DONE;
        if (result->outcome != expected)
            fail_msg("put, %s: outcome %d (%s)", err_name(all_codes[i]), (int)result->outcome, result->text);
        polder_result_free(result);
        result = call_losing(get("k"), (struct losing){.code = all_codes[i]});
        if (result->outcome != POLDER_NOT_DONE)
            fail_msg("get, %s: outcome %d", err_name(all_codes[i]), (int)result->outcome);
        polder_result_free(result);
    }
}

static void after_a_lost_send_no_refusal_makes_it_not_done(void **state)
{
    (void)state;
    static const enum fake_fate fates[] = {FAKE_CUT, FAKE_DROP};
    for (size_t f = 0; f < 2; f++)
        for (size_t i = 0; i < sizeof all_codes / sizeof all_codes[0]; i++) {
            struct losing losing = {.lose = 1, .fate = fates[f], .code = all_codes[i]};
            struct polder_result *result = call_losing(put("k", "v"), losing);
            enum polder_outcome expected = is_definite(all_codes[i]) ? POLDER_NOT_DONE : POLDER_UNKNOWN;
            if (result->outcome != expected)
                fail_msg("put, %s after a loss: outcome %d (%s)", err_name(all_codes[i]), (int)result->outcome,
                         result->text);
            assert_true(result->attempts >= 2);
            polder_result_free(result);
            result = call_losing(get("k"), losing);
            assert_int_equal(result->outcome, POLDER_NOT_DONE);
            polder_result_free(result);
        }
}

static void a_write_whose_answer_was_lost_happens_once(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    struct script script = {.count = 1, .fate = FAKE_EXECUTE_CUT};
    set_script(cluster, &script);
    expect(cluster, cas("k", NULL, "1"), POLDER_DONE, POLDER_OK); /* a second execution would find a value */
    assert_int_equal(cluster->executed, 1);
    assert_in_range(cluster->log_count, 2, 12); /* other peers are asked while the store is redialed */
    set_script(cluster, &script);
    expect(cluster, cas("k", "7", "2"), POLDER_NOT_DONE, POLDER_CONDITION_FAILED);
    assert_int_equal(cluster->executed, 2);
    fake_free(cluster);
}

static void nothing_sent_is_not_done_at_the_deadline(void **state)
{
    (void)state;
    struct fake_cluster *cluster = fake_new(1);
    for (int i = 1; i <= FAKE_STORES; i++)
        cluster->store_up[i] = false;
    fake_open_client(cluster, NULL);
    struct client_call call = put("k", "v");
    call.deadline_ms = 2000;
    uint64_t before_us = cluster->now_us;
    struct polder_result *result = fake_call(cluster, call);
    assert_int_equal(result->outcome, POLDER_NOT_DONE);
    assert_int_equal(result->code, POLDER_UNAVAILABLE);
    assert_int_equal(result->advice, POLDER_ADVICE_RETRY);
    assert_int_equal(cluster->now_us - before_us, 2000 * MS);
    assert_int_equal(cluster->log_count, 0);
    polder_result_free(result);
    fake_free(cluster);
}

static void without_pd_it_says_so(void **state)
{
    (void)state;
    struct fake_cluster *cluster = fake_new(1);
    cluster->store_up[0] = false;
    fake_open_client(cluster, NULL);
    struct client_call call = get("k");
    call.deadline_ms = 700;
    struct polder_result *result = fake_call(cluster, call);
    assert_int_equal(result->outcome, POLDER_NOT_DONE);
    assert_int_equal(result->code, POLDER_UNAVAILABLE);
    assert_non_null(strstr(result->text, "fake://pd"));
    polder_result_free(result);
    cluster->store_up[0] = true; /* it comes back: the next one is served soon */
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    assert_true(cluster->now_us - before_us <= 2 * SECOND);
    fake_free(cluster);
}

/* It told the route and then nothing, for longer than any question lasts. */
static void addresses_are_asked_for_until_pd_tells_them(void **state)
{
    (void)state;
    struct fake_cluster *cluster = fake_new(1);
    fake_open_client(cluster, NULL);
    struct pending pending;
    submit(cluster, put("k", "v"), &pending);
    cluster->pd_lists_nothing = true;
    fake_run(cluster, 20 * SECOND, &pending.came);
    assert_true(pending.came);
    assert_int_equal(pending.result->outcome, POLDER_NOT_DONE);
    polder_result_free(pending.result);
    for (uint32_t i = 0; i < 2; i++) {
        submit(cluster, put("k", "v"), &pending);
        fake_run(cluster, 20 * SECOND, &pending.came);
        assert_true(pending.came);
        assert_int_equal(pending.result->outcome, POLDER_NOT_DONE);
        polder_result_free(pending.result);
    }
    cluster->pd_lists_nothing = false;
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    assert_true(cluster->now_us - before_us <= 5 * SECOND);
    fake_free(cluster);
}

static void a_pd_that_is_not_ready_is_waited_for(void **state)
{
    (void)state;
    struct fake_cluster *cluster = fake_new(1);
    cluster->pd_code = ERR_NOT_READY;
    fake_open_client(cluster, NULL);
    struct pending pending;
    submit(cluster, put("k", "v"), &pending);
    fake_run(cluster, 2 * SECOND, NULL);
    assert_false(pending.came);
    assert_in_range(cluster->pd_request_count, 5, 40);
    cluster->pd_code = ERR_OK;
    fake_run(cluster, SECOND, &pending.came);
    assert_true(pending.came);
    assert_int_equal(pending.result->outcome, POLDER_DONE);
    polder_result_free(pending.result);
    fake_free(cluster);
}

static void a_wait_that_passes_the_deadline_is_told_at_once(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    struct script script = {.code = ERR_DISK_FULL, .count = 1, .wait_ms = 60000};
    set_script(cluster, &script);
    uint64_t before_us = cluster->now_us;
    struct polder_result *result = fake_call(cluster, put("k", "v"));
    assert_int_equal(result->code, POLDER_DISK_FULL);
    assert_int_equal(result->advice, POLDER_ADVICE_RETRY);
    assert_int_equal(result->wait_ms, 60000);
    assert_non_null(strstr(result->text, "as the script says")); /* what the server wrote is passed on */
    assert_true(cluster->now_us - before_us < 10 * MS);
    polder_result_free(result);
    fake_free(cluster);
}

static void busy_is_waited_out(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    struct script script = {.code = ERR_BUSY, .count = 3, .wait_ms = 50};
    set_script(cluster, &script);
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    assert_in_range(cluster->now_us - before_us, 150 * MS, 200 * MS);
    assert_int_equal(cluster->log_count, 4);
    assert_true(cluster->log[3].deadline_ms < cluster->log[0].deadline_ms); /* what remains */
    fake_free(cluster);
}

static void closing_tells_everybody_the_truth(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    struct pending sent, read, waiting;
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    cluster->store_silent[1] = true;
    submit(cluster, put("k", "1"), &sent);
    submit(cluster, get("k"), &read);
    fake_run(cluster, MS, NULL);
    submit(cluster, put("k", "2"), &waiting); /* never reaches the actor */
    fake_free(cluster);
    assert_true(sent.came && read.came && waiting.came);
    assert_int_equal(sent.result->outcome, POLDER_UNKNOWN);
    assert_int_equal(sent.result->code, POLDER_MAYBE);
    assert_int_equal(read.result->outcome, POLDER_NOT_DONE);
    assert_int_equal(waiting.result->outcome, POLDER_NOT_DONE);
    assert_int_equal(waiting.result->code, POLDER_CANCELLED);
    polder_result_free(sent.result);
    polder_result_free(read.result);
    polder_result_free(waiting.result);
}

/* ---- silence and failover */

static void after_the_leader_dies_many_writes_recover_quickly(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(4);
    expect(cluster, put("a", "warm"), POLDER_DONE, POLDER_OK);
    enum { COUNT = 5000 };
    struct pending *pending = calloc(COUNT, sizeof *pending);
    struct script script = {.count = COUNT, .fate = FAKE_DROP};
    set_script(cluster, &script);
    for (int i = 0; i < COUNT; i++)
        submit(cluster, put(i % 2 ? "a" : "f", "v"), &pending[i]);
    fake_run(cluster, 10 * MS, NULL);
    cluster->hook = NULL;
    cluster->store_up[1] = false;
    for (uint32_t i = 0; i < cluster->region_count; i++)
        cluster->regions[i].leader = 0; /* until somebody is elected */
    fake_cut(cluster, 1);
    fake_run(cluster, 1500 * MS, NULL);
    for (uint32_t i = 0; i < cluster->region_count; i++)
        cluster->regions[i].leader = 2 + i % 2;
    uint64_t before_us = cluster->now_us;
    uint32_t log_before = cluster->log_count;
    for (int i = 0; i < COUNT; i++) {
        fake_run(cluster, 10 * SECOND, &pending[i].came);
        assert_true(pending[i].came);
        assert_int_equal(pending[i].result->outcome, POLDER_DONE);
        polder_result_free(pending[i].result);
    }
    print_message("recovered %d writes in %llu ms of virtual time, %u requests while nobody led\n", COUNT,
                  (unsigned long long)(cluster->now_us - before_us) / 1000, log_before);
    assert_true(cluster->now_us - before_us < 1500 * MS);
    assert_int_equal(cluster->executed, COUNT + 1); /* each once */
    assert_true(log_before < COUNT * 4);            /* the survivors were not flooded meanwhile */
    free(pending);
    fake_free(cluster);
}

static void a_store_that_says_nothing_is_left_after_a_second(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, put("k", "1"), POLDER_DONE, POLDER_OK);
    cluster->store_silent[1] = true;
    cluster->regions[0].leader = 2;
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("k", "2"), POLDER_DONE, POLDER_OK);
    assert_in_range(cluster->now_us - before_us, SECOND, 1200 * MS);
    before_us = cluster->now_us;
    expect_get(cluster, "k", "2"); /* nobody else has to find out */
    assert_int_equal(cluster->now_us, before_us);
    fake_free(cluster);
}

static void a_silent_store_is_found_out_by_operations_that_are_in_a_hurry(void **state)
{
    (void)state;
    static const uint32_t deadlines_ms[] = {1000, 300, 20};
    for (size_t d = 0; d < 3; d++) {
        struct fake_cluster *cluster = open_cluster(1);
        expect(cluster, put("k", "1"), POLDER_DONE, POLDER_OK);
        fake_run(cluster, 30 * SECOND, NULL);
        cluster->store_silent[1] = true;
        cluster->regions[0].leader = 2;
        uint64_t before_us = cluster->now_us;
        for (bool got = false; !got;) {
            struct client_call call = get("k");
            call.deadline_ms = deadlines_ms[d];
            struct polder_result *result = fake_call(cluster, call);
            got = result->outcome == POLDER_DONE;
            polder_result_free(result);
            assert_true(cluster->now_us - before_us <= 1300 * MS);
        }
        fake_free(cluster);
    }
}

static void a_slow_store_that_answers_others_keeps_its_requests(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    expect(cluster, put("k", "1"), POLDER_DONE, POLDER_OK);
    struct script script = {.count = 1, .fate = FAKE_DROP};
    set_script(cluster, &script);
    struct pending lost;
    submit(cluster, put("k", "2"), &lost);
    for (int i = 0; i < 12; i++) {
        expect_get(cluster, "other", NULL);
        fake_run(cluster, 200 * MS, NULL);
    }
    uint32_t puts = 0;
    for (uint32_t i = 0; i < cluster->log_count; i++)
        puts += cluster->log[i].op == WIRE_KV_OP_PUT;
    assert_int_equal(puts, 2); /* not sent again within 2.4 s */
    for (int i = 0; i < 12 && !lost.came; i++) {
        expect_get(cluster, "other", NULL);
        fake_run(cluster, 200 * MS, NULL);
    }
    assert_true(lost.came); /* but in the end it was */
    assert_int_equal(lost.result->outcome, POLDER_DONE);
    polder_result_free(lost.result);
    fake_free(cluster);
}

static void a_dial_that_hangs_is_not_waited_for(void **state)
{
    (void)state;
    struct fake_cluster *cluster = fake_new(1);
    cluster->black_hole[1] = true;
    cluster->regions[0].leader = 2; /* pd still believes in store 1 */
    fake_open_client(cluster, NULL);
    uint64_t before_us = cluster->now_us;
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    assert_true(cluster->now_us - before_us <= 1100 * MS);
    fake_free(cluster);
}

static void an_idle_client_sets_no_timers(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(4);
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    fake_run(cluster, 20 * SECOND, NULL); /* what was set before runs out */
    assert_null(cluster->timers);
    fake_free(cluster);
}

/* ---- scans */

static void fill(struct fake_cluster *cluster)
{
    char key[8];
    for (char c = 'a'; c <= 'j'; c++)
        for (int i = 0; i < 5; i++) {
            snprintf(key, sizeof key, "r%c%d", c, i);
            fake_put(cluster, key, bytes_of(key + 1, 2));
        }
    fake_put(cluster, "q", bytes_of("not raw", 7)); /* outside of the raw keys */
    fake_put(cluster, "s", bytes_of("not raw", 7));
}

/* All pages of a scan, keys joined. */
static void scan_all(struct fake_cluster *cluster, struct polder_scan scan, char *text)
{
    struct polder_result *result = NULL;
    *text = 0;
    for (int pages = 0; pages < 1000; pages++) {
        if (result)
            scan.token = result->next;
        struct polder_result *page = fake_call(cluster, (struct client_call){.op = CLIENT_SCAN, .scan = scan});
        assert_int_equal(page->outcome, POLDER_DONE);
        assert_true(scan.limit == 0 || page->row_count <= scan.limit);
        for (size_t i = 0; i < page->row_count; i++) {
            strncat(text, page->rows[i].key.data, page->rows[i].key.size);
            assert_int_equal(page->rows[i].value.size, scan.keys_only ? 0 : 2);
        }
        polder_result_free(result);
        result = page;
        if (!page->more)
            break;
        assert_true(page->next.size > 0);
    }
    polder_result_free(result);
}

static void scans_give_each_row_once_in_order_across_regions(void **state)
{
    (void)state;
    char text[4096], expected[4096];
    for (uint32_t regions = 1; regions <= 6; regions += 5)
        for (uint32_t limit = 0; limit <= 60; limit += limit < 8 ? 1 : 13)
            for (int reverse = 0; reverse < 2; reverse++) {
                struct fake_cluster *cluster = open_cluster(regions);
                fill(cluster);
                *expected = 0;
                for (uint32_t i = 0; i < 50; i++) {
                    uint32_t n = reverse ? 49 - i : i;
                    sprintf(expected + strlen(expected), "%c%u", (int)('a' + n / 5), n % 5);
                }
                scan_all(cluster, (struct polder_scan){.limit = limit, .reverse = reverse}, text);
                assert_string_equal(text, expected);
                fake_free(cluster);
            }
}

static void scans_keep_to_their_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *start, *end, *prefix, *forward;
    } cases[] = {
        {"b3", "c1", "", "b3b4c0"}, {"", "a2", "", "a0a1"},   {"j3", "", "", "j3j4"}, {"", "", "c", "c0c1c2c3c4"},
        {"c3", "", "c", "c3c4"},    {"", "c1", "c", "c0"},    {"d", "c", "", ""},     {"c", "c", "", ""},
        {"x", "", "", ""},          {"d", "", "c", ""},       {"", "", "\xff", ""},   {"", "", "c4", "c4"},
        {"b9", "c", "", ""},        {"a4", "b1", "", "a4b0"}, {"", "c", "c", ""},
    };
    struct fake_cluster *cluster = open_cluster(5);
    char text[4096], reversed[4096];
    fill(cluster);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (uint32_t limit = 0; limit < 4; limit++) {
            struct polder_scan scan = {.start = polder_string(cases[i].start),
                                       .end = polder_string(cases[i].end),
                                       .prefix = polder_string(cases[i].prefix),
                                       .limit = limit,
                                       .keys_only = limit == 2};
            scan_all(cluster, scan, text);
            assert_string_equal(text, cases[i].forward);
            scan.reverse = true;
            scan_all(cluster, scan, text);
            *reversed = 0;
            for (size_t at = strlen(cases[i].forward); at > 0; at -= 2)
                strncat(reversed, cases[i].forward + at - 2, 2);
            assert_string_equal(text, reversed);
        }
    fake_free(cluster);
}

static enum fake_fate split_at_second_page(struct fake_cluster *cluster, uint64_t store,
                                           const struct wire_kv_request *request, struct wire_kv_reply *reply)
{
    (void)store;
    (void)request;
    (void)reply;
    if (++cluster->hook_count == 2) { /* between the two pages, and under the feet of the second */
        fake_split(cluster, 1, "rc", 20);
        fake_split(cluster, 2, "rc3", 21);
        fake_cut(cluster, 1);
    }
    return FAKE_SERVE;
}

static void a_scan_survives_splits_and_lost_connections(void **state)
{
    (void)state;
    char text[4096];
    for (int reverse = 0; reverse < 2; reverse++) {
        struct fake_cluster *cluster = open_cluster(3);
        fill(cluster);
        cluster->hook = split_at_second_page;
        scan_all(cluster, (struct polder_scan){.limit = 7, .reverse = reverse}, text);
        assert_int_equal(strlen(text), 100);
        for (size_t i = 2; i < 100; i += 2)
            assert_true(reverse ? memcmp(text + i, text + i - 2, 2) < 0 : memcmp(text + i, text + i - 2, 2) > 0);
        fake_free(cluster);
    }
}

static enum fake_fate foreign_rows(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                                   struct wire_kv_reply *reply)
{
    static struct wire_kv_pair pair;
    (void)store;
    pair = (struct wire_kv_pair){.key = bytes_of_string(cluster->hook_state)};
    if (request->op != WIRE_KV_OP_SCAN && request->op != WIRE_KV_OP_BATCH_GET)
        return FAKE_SERVE;
    reply->pairs = &pair;
    reply->pairs_count = 1;
    return FAKE_REPLY;
}

static void rows_that_were_not_asked_for_are_an_error(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    cluster->hook = foreign_rows;
    static const char *const keys[] = {"ra", "rz", "s", "r", ""};
    struct polder_pair pairs[] = {{.key = {"b", 1}}};
    for (size_t i = 0; i < 5; i++) {
        cluster->hook_state = (void *)(uintptr_t)keys[i];
        struct client_call scan = {.op = CLIENT_SCAN, .scan = {.start = {"b", 1}, .end = {"c", 1}}};
        expect(cluster, scan, POLDER_NOT_DONE, POLDER_CORRUPT);
        struct client_call batch = {.op = CLIENT_BATCH_GET, .pairs = pairs, .pair_count = 1};
        expect(cluster, batch, POLDER_NOT_DONE, POLDER_CORRUPT);
    }
    fake_free(cluster);
}

/* Answers to scans that lead nowhere, or to where nobody was asked to go. */
static enum fake_fate bad_next_key(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                                   struct wire_kv_reply *reply)
{
    static uint8_t long_key[100000];
    (void)store;
    memset(long_key, 'r', sizeof long_key);
    const struct bytes keys[] = {request->key, bytes_empty(), bytes_of_string("q"), bytes_of_string("zz"),
                                 bytes_of(long_key, sizeof long_key)};
    reply->more = true;
    reply->next_key = keys[*(size_t *)cluster->hook_state];
    return FAKE_REPLY;
}

static void a_scan_that_leads_nowhere_ends(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    size_t index;
    cluster->hook = bad_next_key;
    cluster->hook_state = &index;
    for (index = 0; index < 5; index++)
        for (int reverse = 0; reverse < 2; reverse++) {
            struct client_call scan = {.op = CLIENT_SCAN, .scan = {.start = {"b", 1}, .reverse = reverse}};
            expect(cluster, scan, POLDER_NOT_DONE, POLDER_CORRUPT);
        }
    fake_free(cluster);
}

static enum fake_fate rude_text(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                                struct wire_kv_reply *reply)
{
    (void)cluster;
    (void)store;
    (void)request;
    reply->code = ERR_INVALID;
    reply->text = bytes_of_string("one\ntwo\033[2J");
    return FAKE_REPLY;
}

static void words_of_a_server_stay_on_one_line(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    cluster->hook = rude_text;
    struct polder_result *result = fake_call(cluster, get("k"));
    assert_non_null(strstr(result->text, "one?two?[2J"));
    polder_result_free(result);
    fake_free(cluster);
}

static void operations_are_bounded_in_bytes_too(void **state)
{
    (void)state;
    struct fake_cluster *cluster = fake_new(1);
    fake_open_client(cluster, &(struct client_options){.outstanding_size_max = 100000});
    static struct pending pending[11];
    size_t size = 9999;
    uint8_t *value = calloc(1, 8 * 1024 * 1024);
    struct client_call call = {.op = CLIENT_PUT, .key = bytes_of("k", 1), .value = bytes_of(value, size)};
    cluster->store_silent[1] = true;
    for (int i = 0; i < 10; i++) /* with their keys: just so many */
        submit(cluster, call, &pending[i]);
    call.done = keep;
    assert_int_equal(client_submit(cluster->client, &call), ERR_BUSY);
    fake_run(cluster, 20 * SECOND, NULL); /* they end, unknown, and make room again */
    cluster->store_silent[1] = false;
    call.value = bytes_of(value, 8 * 1024 * 1024); /* alone, even what is larger than the limit has room */
    submit(cluster, call, &pending[10]);
    fake_run(cluster, 20 * SECOND, NULL);
    for (int i = 0; i < 11; i++) {
        assert_int_equal(pending[i].result->outcome, i < 10 ? POLDER_UNKNOWN : POLDER_DONE);
        polder_result_free(pending[i].result);
    }
    fake_free(cluster);
    free(value);
}

/* ---- batches */

static void batches_go_to_each_region_once_and_answer_in_the_callers_order(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(4);
    struct polder_pair pairs[] = {
        {.key = {"g1", 2}, .value = {"1", 1}}, {.key = {"a1", 2}, .value = {"2", 1}},
        {.key = {"c1", 2}, .value = {"3", 1}}, {.key = {"a2", 2}, .value = {"4", 1}},
        {.key = {"c1", 2}, .value = {"5", 1}}, {.key = {"e1", 2}, .remove = true},
    };
    struct client_call call = {.op = CLIENT_BATCH_WRITE, .pairs = pairs, .pair_count = 6};
    struct polder_result *result = fake_call(cluster, call);
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_int_equal(result->row_count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(result->rows[i].outcome, POLDER_DONE);
        assert_memory_equal(result->rows[i].key.data, pairs[i].key.data, 2);
    }
    polder_result_free(result);
    assert_int_equal(cluster->log_count, 4);
    assert_int_equal(cluster->frame_count, 1);
    expect_get(cluster, "c1", "5"); /* the later one wins */
    call.op = CLIENT_BATCH_GET;
    result = fake_call(cluster, call);
    assert_int_equal(result->outcome, POLDER_DONE);
    static const char *const values[] = {"1", "2", "5", "4", "5", NULL};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(result->rows[i].found, values[i] != NULL);
        if (values[i])
            assert_memory_equal(result->rows[i].value.data, values[i], 1);
    }
    polder_result_free(result);
    call.pair_count = 0;
    expect(cluster, call, POLDER_DONE, POLDER_OK);
    fake_free(cluster);
}

static enum fake_fate refuse_region_2(struct fake_cluster *cluster, uint64_t store,
                                      const struct wire_kv_request *request, struct wire_kv_reply *reply)
{
    (void)cluster;
    (void)store;
    if (request->region_id != 2)
        return FAKE_SERVE;
    reply->code = ERR_ENTRY_TOO_LARGE;
    return FAKE_REPLY;
}

static void a_batch_of_which_a_part_failed_tells_which(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(3);
    cluster->hook = refuse_region_2;
    struct polder_pair pairs[] = {{.key = {"a", 1}}, {.key = {"c", 1}}, {.key = {"e", 1}}};
    struct client_call call = {.op = CLIENT_BATCH_WRITE, .pairs = pairs, .pair_count = 3};
    struct polder_result *result = fake_call(cluster, call);
    assert_int_equal(result->outcome, POLDER_UNKNOWN);
    assert_int_equal(result->code, POLDER_ENTRY_TOO_LARGE);
    assert_int_equal(result->rows[0].outcome, POLDER_DONE);
    assert_int_equal(result->rows[1].outcome, POLDER_NOT_DONE);
    assert_int_equal(result->rows[1].code, POLDER_ENTRY_TOO_LARGE);
    assert_int_equal(result->rows[2].outcome, POLDER_DONE);
    polder_result_free(result);
    call.pairs = pairs + 1;
    call.pair_count = 1;
    expect(cluster, call, POLDER_NOT_DONE, POLDER_ENTRY_TOO_LARGE);
    fake_free(cluster);
}

static void a_batch_write_that_was_lost_keeps_its_token_through_a_split(void **state)
{
    (void)state;
    for (int executed = 0; executed < 2; executed++) {
        struct fake_cluster *cluster = open_cluster(1);
        struct script script = {.count = 1, .fate = executed ? FAKE_EXECUTE_CUT : FAKE_CUT};
        struct polder_pair pairs[] = {{.key = {"a", 1}, .value = {"1", 1}}, {.key = {"x", 1}, .value = {"1", 1}}};
        struct client_call call = {.op = CLIENT_BATCH_WRITE, .pairs = pairs, .pair_count = 2};
        set_script(cluster, &script);
        struct pending pending;
        submit(cluster, call, &pending);
        while (cluster->hook_count == 0)
            fake_run(cluster, 100, NULL);
        fake_split(cluster, 0, "rm", 9);
        fake_run(cluster, 5 * SECOND, &pending.came);
        assert_true(pending.came);
        assert_int_equal(pending.result->outcome, POLDER_DONE);
        polder_result_free(pending.result);
        for (uint32_t i = 0; i < cluster->log_count; i++) {
            assert_int_equal(cluster->log[i].sequence, cluster->log[0].sequence);
            assert_int_equal(cluster->log[i].retry, i > 0);
        }
        fake_free(cluster);
    }
}

static void large_batches_are_cut_into_requests(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    enum { COUNT = 1000 };
    struct polder_pair *pairs = calloc(COUNT, sizeof *pairs);
    char(*keys)[8] = calloc(COUNT, 8);
    for (int i = 0; i < COUNT; i++) {
        snprintf(keys[i], 8, "k%04d", COUNT - i);
        pairs[i].key = polder_string(keys[i]);
        pairs[i].value = polder_string(keys[i]);
    }
    struct client_call call = {.op = CLIENT_BATCH_WRITE, .pairs = pairs, .pair_count = COUNT};
    expect(cluster, call, POLDER_DONE, POLDER_OK);
    assert_int_equal(cluster->log_count, 1); /* one region: one atomic request */
    call.op = CLIENT_BATCH_GET;
    struct polder_result *result = fake_call(cluster, call);
    for (int i = 0; i < COUNT; i++) {
        assert_true(result->rows[i].found);
        assert_memory_equal(result->rows[i].value.data, keys[i], 5);
    }
    polder_result_free(result);
    for (uint32_t i = 1; i < cluster->log_count; i++)
        assert_true(cluster->log[i].pair_count <= 256);
    uint8_t *value = calloc(1, 3 * 1024 * 1024);
    for (int i = 0; i < 3; i++)
        pairs[i].value = polder_bytes(value, 3 * 1024 * 1024);
    call.op = CLIENT_BATCH_WRITE;
    uint32_t before = cluster->log_count;
    expect(cluster, call, POLDER_NOT_DONE, POLDER_ENTRY_TOO_LARGE); /* 9 MiB for one region */
    assert_int_equal(cluster->log_count, before);
    free(value);
    free(keys);
    free(pairs);
    fake_free(cluster);
}

static enum fake_fate short_batch_get(struct fake_cluster *cluster, uint64_t store,
                                      const struct wire_kv_request *request, struct wire_kv_reply *reply)
{
    static struct wire_kv_pair pairs[2];
    (void)cluster;
    (void)store;
    if (request->op != WIRE_KV_OP_BATCH_GET || request->pairs_count <= 2)
        return FAKE_SERVE;
    for (int i = 0; i < 2; i++)
        pairs[i] = (struct wire_kv_pair){.key = request->pairs[i].key, .value = bytes_of_string("v")};
    reply->pairs = pairs;
    reply->pairs_count = 2;
    reply->more = true;
    return FAKE_REPLY;
}

static void a_batch_get_that_stops_early_goes_on(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    cluster->hook = short_batch_get;
    struct polder_pair pairs[] = {
        {.key = {"a", 1}}, {.key = {"b", 1}}, {.key = {"c", 1}}, {.key = {"d", 1}}, {.key = {"e", 1}}};
    struct polder_result *result =
        fake_call(cluster, (struct client_call){.op = CLIENT_BATCH_GET, .pairs = pairs, .pair_count = 5});
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_int_equal(cluster->log_count, 3);
    for (int i = 0; i < 5; i++)
        assert_int_equal(result->rows[i].found, i < 4);
    polder_result_free(result);
    fake_free(cluster);
}

/* ---- the cluster and the counters */

static void pd_answers_are_passed_on(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(3);
    struct polder_result *result = fake_call(cluster, (struct client_call){.op = CLIENT_CLUSTER_STORES});
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_int_equal(result->cluster->store_count, 3);
    assert_string_equal(result->cluster->stores[1].address, "fake://store2-1");
    assert_int_equal(result->cluster->stores[1].region_count, 7);
    polder_result_free(result);
    result = fake_call(cluster, (struct client_call){.op = CLIENT_CLUSTER_REGIONS, .count = 2});
    assert_int_equal(result->cluster->region_page_count, 2);
    assert_int_equal(result->cluster->regions[0].leader_store, 1);
    assert_int_equal(result->cluster->regions[1].peer_count, 3);
    assert_int_equal(result->cluster->regions[1].start_key.size, 2);
    polder_result_free(result);
    struct client_call region_of = {.op = CLIENT_CLUSTER_REGION_OF, .key = bytes_of_string("c")};
    result = fake_call(cluster, region_of);
    assert_int_equal(result->cluster->regions[0].id, 2);
    polder_result_free(result);
    uint64_t asked_us = cluster->now_us;
    expect(cluster, (struct client_call){.op = CLIENT_CLUSTER_REGION_BY_ID, .region_id = 99}, POLDER_NOT_DONE,
           POLDER_NOT_FOUND);
    assert_int_equal(cluster->pd_by_id_count, 2); /* a follower may not know it yet */
    assert_in_range(cluster->now_us - asked_us, 0, 1000 * MS);
    result = fake_call(cluster, (struct client_call){.op = CLIENT_CLUSTER_TIMESTAMP, .count = 5});
    assert_int_equal(result->cluster->timestamp, 1000);
    polder_result_free(result);
    cluster->store_up[0] = false;
    fake_cut(cluster, 0);
    struct client_call info = {.op = CLIENT_CLUSTER_INFO, .deadline_ms = 500};
    uint64_t before_us = cluster->now_us;
    expect(cluster, info, POLDER_NOT_DONE, POLDER_UNAVAILABLE);
    assert_in_range(cluster->now_us - before_us, 500 * MS, 600 * MS);
    fake_free(cluster);
}

static void counters_count(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1);
    struct script script = {.code = ERR_BUSY, .count = 2};
    set_script(cluster, &script);
    expect(cluster, put("k", "v"), POLDER_DONE, POLDER_OK);
    struct polder_stats stats = {.size = sizeof stats};
    expect(cluster, (struct client_call){.op = CLIENT_STATS, .stats = &stats}, POLDER_DONE, POLDER_OK);
    assert_int_equal(stats.operations, 1);
    assert_int_equal(stats.outstanding, 0);
    assert_int_equal(stats.requests, 3);
    assert_int_equal(stats.retries, 2);
    assert_int_equal(stats.backoffs, 2);
    assert_int_equal(stats.routes, 1);
    fake_free(cluster);
}

/* ---- all at once: random weather, then the truth is compared */

static enum fake_fate weather(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                              struct wire_kv_reply *reply)
{
    static const enum err refusals[] = {ERR_BUSY,  ERR_NOT_READY,       ERR_NOT_LEADER, ERR_REGION_NOT_FOUND,
                                        ERR_MAYBE, ERR_STORE_NOT_MATCH, ERR_TIMEOUT};
    struct rng *rng = cluster->hook_state;
    (void)store;
    (void)request;
    if (rng_chance(rng, 1, 200) && cluster->region_count < 20) {
        uint32_t index = (uint32_t)rng_below(rng, cluster->region_count);
        char at[32];
        snprintf(at, sizeof at, "%s%d", cluster->regions[index].start[0] ? cluster->regions[index].start : "ra", 5);
        if ((!cluster->regions[index].end[0] || strcmp(at, cluster->regions[index].end) < 0) && strlen(at) < 12)
            fake_split(cluster, index, at, 100 + cluster->region_count);
    }
    if (rng_chance(rng, 1, 50))
        cluster->regions[rng_below(rng, cluster->region_count)].leader = 1 + rng_below(rng, FAKE_STORES);
    switch (rng_below(rng, 20)) {
    case 0:
        return FAKE_CUT;
    case 1:
        return FAKE_EXECUTE_CUT;
    case 2:
        return rng_chance(rng, 1, 4) ? FAKE_DROP : FAKE_SERVE;
    case 3:
    case 4:
        reply->code = (uint16_t)refusals[rng_below(rng, sizeof refusals / sizeof refusals[0])];
        return FAKE_REPLY;
    default:
        return FAKE_SERVE;
    }
}

/* A counter that every increment reads and swaps: if a write happened that was said not to, or twice, it shows. */
static void in_any_weather_what_is_said_is_true(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "weather");
        struct fake_cluster *cluster = open_cluster(1 + (uint32_t)seed % 5);
        cluster->hook = weather;
        cluster->hook_state = &rng;
        int values[5] = {0};
        bool known[5] = {true, true, true, true, true};
        for (int i = 0; i < 120; i++) {
            size_t k = rng_below(&rng, 5);
            char key[2] = {(char)('a' + 2 * k), 0}, old[16], new[16];
            snprintf(old, sizeof old, "%d", values[k]);
            snprintf(new, sizeof new, "%d", values[k] + 1);
            struct client_call call = cas(key, values[k] ? old : NULL, new);
            call.deadline_ms = rng_chance(&rng, 1, 10) ? 30 : 20000;
            if (!known[k]) { /* look first */
                struct polder_result *seen = fake_call(cluster, get(key));
                if (seen->outcome == POLDER_DONE) {
                    int value = 0;
                    if (seen->found) {
                        char text[16] = {0};
                        memcpy(text, seen->value.data, seen->value.size);
                        value = atoi(text);
                    }
                    assert_true(value == values[k] || value == values[k] + 1);
                    values[k] = value;
                    known[k] = true;
                }
                polder_result_free(seen);
                continue;
            }
            struct polder_result *result = fake_call(cluster, call);
            if (result->outcome == POLDER_DONE)
                values[k]++;
            else if (result->outcome == POLDER_UNKNOWN)
                known[k] = false;
            else /* the only writer: nobody else can have changed it */
                assert_int_not_equal(result->code, POLDER_CONDITION_FAILED);
            polder_result_free(result);
        }
        cluster->hook = NULL;
        for (size_t k = 0; k < 5; k++) {
            char encoded[4] = {'r', (char)('a' + 2 * k), 0};
            const struct fake_row *row = fake_row(cluster, encoded);
            char text[16] = {0};
            if (row)
                memcpy(text, row->value, row->size);
            int value = atoi(text);
            assert_true(value == values[k] || (!known[k] && value == values[k] + 1));
        }
        fake_free(cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_got_and_what_was_deleted_is_not),
        cmocka_unit_test(compare_and_swap_tells_what_is_there),
        cmocka_unit_test(bad_keys_and_values_are_refused_before_anything_is_sent),
        cmocka_unit_test(the_longest_key_is_fine),
        cmocka_unit_test(what_is_ready_together_leaves_together),
        cmocka_unit_test(writes_leave_in_waves_but_a_silent_store_holds_up_nobody_for_long),
        cmocka_unit_test(sequence_done_is_the_oldest_write_that_has_not_ended),
        cmocka_unit_test(past_the_maximum_operations_are_refused_as_busy),
        cmocka_unit_test(routes_are_fetched_by_the_page_and_remembered),
        cmocka_unit_test(a_hint_costs_one_request_and_no_pause),
        cmocka_unit_test(while_nobody_leads_peers_are_asked_in_turn_with_growing_pauses),
        cmocka_unit_test(two_stores_that_point_at_each_other_are_not_asked_in_a_frenzy),
        cmocka_unit_test(after_a_split_the_request_goes_right_at_once),
        cmocka_unit_test(all_that_were_sent_before_a_split_go_right_at_once),
        cmocka_unit_test(a_region_that_is_gone_is_asked_of_pd),
        cmocka_unit_test(a_store_behind_our_epoch_is_waited_for),
        cmocka_unit_test(a_store_that_moved_is_found_at_its_new_address),
        cmocka_unit_test(an_answer_decides_unless_it_says_that_nobody_knows),
        cmocka_unit_test(after_a_lost_send_no_refusal_makes_it_not_done),
        cmocka_unit_test(a_write_whose_answer_was_lost_happens_once),
        cmocka_unit_test(nothing_sent_is_not_done_at_the_deadline),
        cmocka_unit_test(without_pd_it_says_so),
        cmocka_unit_test(a_pd_that_is_not_ready_is_waited_for),
        cmocka_unit_test(addresses_are_asked_for_until_pd_tells_them),
        cmocka_unit_test(a_wait_that_passes_the_deadline_is_told_at_once),
        cmocka_unit_test(busy_is_waited_out),
        cmocka_unit_test(closing_tells_everybody_the_truth),
        cmocka_unit_test(after_the_leader_dies_many_writes_recover_quickly),
        cmocka_unit_test(a_store_that_says_nothing_is_left_after_a_second),
        cmocka_unit_test(a_silent_store_is_found_out_by_operations_that_are_in_a_hurry),
        cmocka_unit_test(a_slow_store_that_answers_others_keeps_its_requests),
        cmocka_unit_test(a_dial_that_hangs_is_not_waited_for),
        cmocka_unit_test(an_idle_client_sets_no_timers),
        cmocka_unit_test(scans_give_each_row_once_in_order_across_regions),
        cmocka_unit_test(scans_keep_to_their_bounds),
        cmocka_unit_test(a_scan_survives_splits_and_lost_connections),
        cmocka_unit_test(rows_that_were_not_asked_for_are_an_error),
        cmocka_unit_test(a_scan_that_leads_nowhere_ends),
        cmocka_unit_test(words_of_a_server_stay_on_one_line),
        cmocka_unit_test(operations_are_bounded_in_bytes_too),
        cmocka_unit_test(batches_go_to_each_region_once_and_answer_in_the_callers_order),
        cmocka_unit_test(a_batch_of_which_a_part_failed_tells_which),
        cmocka_unit_test(a_batch_write_that_was_lost_keeps_its_token_through_a_split),
        cmocka_unit_test(large_batches_are_cut_into_requests),
        cmocka_unit_test(a_batch_get_that_stops_early_goes_on),
        cmocka_unit_test(pd_answers_are_passed_on),
        cmocka_unit_test(counters_count),
        cmocka_unit_test(in_any_weather_what_is_said_is_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
