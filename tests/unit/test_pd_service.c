/* pd_service and pd_writes over a log that commits when the test says so: who is answered what, and when. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/rng.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "pd/pd_service.h"
#include "pd/pd_writes.h"
#include "pd/tso.h"
#include "rpc/frame_kind.h"

enum { CONN = 5, REPLIES_MAX = 20000, ENTRIES_MAX = 512, TERM = 6 };

struct reply {
    struct arena arena;
    struct frame *frame;
    struct wire_pd_reply wire;
};

struct world {
    struct clock clock; /* first: see clock_world */
    uint64_t now_us, wall_ms;
    struct env env;
    struct pd_config config;
    struct engine_batch *batch;
    struct pd_fsm *fsm;
    struct pd_service *service;
    raft_index proposed, committed;
    struct buf entries[ENTRIES_MAX]; /* by index, from committed + 1 to proposed */
    enum err propose_code;           /* of the next proposals */
    struct reply *replies;
    uint32_t reply_count;
    uint64_t id; /* of the newest request */
};

static uint64_t now_us(struct clock *clock)
{
    return ((struct world *)clock)->now_us;
}

static uint64_t wall_ms(struct clock *clock)
{
    return ((struct world *)clock)->wall_ms;
}

static enum err propose(void *context, struct bytes command, raft_index *ret_index, raft_term *ret_term)
{
    struct world *world = context;
    if (world->propose_code != ERR_OK)
        return world->propose_code;
    if (world->proposed - world->committed == ENTRIES_MAX)
        return ERR_BUSY;
    *ret_index = ++world->proposed;
    *ret_term = TERM;
    struct buf *entry = &world->entries[world->proposed % ENTRIES_MAX];
    buf_init(entry, FRAME_SIZE_MAX);
    assert_int_equal(buf_assign(entry, command), ERR_OK);
    return ERR_OK;
}

static void send_reply(void *context, conn_id conn, const struct wire_pd_reply *wire)
{
    struct world *world = context;
    assert_int_equal(conn, CONN);
    assert_in_range(world->reply_count, 0, REPLIES_MAX - 1);
    struct reply *reply = &world->replies[world->reply_count++];
    arena_init(&reply->arena);
    reply->frame = wire_frame_pd_reply(FRAME_PD_REPLY, wire);
    assert_non_null(reply->frame);
    assert_int_equal(wire_decode_pd_reply(frame_bytes(reply->frame), &reply->arena, &reply->wire), ERR_OK);
}

static void make_service(struct world *world)
{
    const struct pd_service_host host = {.context = world, .propose = propose, .send = send_reply};
    world->service = pd_service_new(&world->env, &world->config, world->fsm, &host);
}

static void world_init(struct world *world)
{
    *world = (struct world){.clock = {.now_us = now_us, .wall_ms = wall_ms},
                            .now_us = 1000000,
                            .wall_ms = 1700000000000,
                            .config = {.name = (char *)"pd-1",
                                       .address = (char *)"tcp://pd:1",
                                       .advertise_address = (char *)"tcp://pd:1",
                                       .bootstrap_stores = 3,
                                       .bootstrap_regions = 16,
                                       .replicas = 3,
                                       .store_disconnected_ms = 5000,
                                       .store_down_ms = 60000,
                                       .timestamp_window_ms = 3000},
                            .fsm = pd_fsm_new(),
                            .replies = calloc(REPLIES_MAX, sizeof(struct reply))};
    world->env = (struct env){.clock = &world->clock, .seed = 1};
    assert_int_equal(engine_mem_new(&world->env.engine), ERR_OK);
    world->batch = engine_batch_new(world->env.engine);
    struct wire_pd_member self = {.id = 1, .name = bytes_of_string("pd-1"), .address = bytes_of_string("tcp://pd:1")};
    pd_fsm_found_member(world->fsm, &self, world->env.engine, world->batch);
    make_service(world);
}

static void forget_replies(struct world *world)
{
    for (uint32_t i = 0; i < world->reply_count; i++) {
        frame_unref(world->replies[i].frame);
        arena_fini(&world->replies[i].arena);
    }
    world->reply_count = 0;
}

static void drop_entries(struct world *world)
{
    while (world->proposed > world->committed)
        buf_fini(&world->entries[world->proposed-- % ENTRIES_MAX]);
}

static void world_fini(struct world *world)
{
    pd_service_free(world->service);
    drop_entries(world);
    forget_replies(world);
    free(world->replies);
    pd_fsm_free(world->fsm);
    engine_batch_free(world->env.engine, world->batch);
    engine_mem_free(world->env.engine);
}

/* A round of the actor, without the log. */
static void run(struct world *world)
{
    if (pd_service_seal(world->service))
        pd_service_run(world->service);
    pd_service_round(world->service);
}

static void commit_one(struct world *world)
{
    struct pd_fsm_result result;
    struct buf *entry = &world->entries[++world->committed % ENTRIES_MAX];
    pd_fsm_apply(world->fsm, buf_bytes(entry), world->env.engine, world->batch, &result);
    pd_fsm_set_applied(world->fsm, world->committed, TERM);
    buf_fini(entry);
    pd_service_applied(world->service, world->committed, TERM, &result);
}

/* Rounds and commits until nothing is left to do. */
static void settle(struct world *world)
{
    run(world);
    while (world->committed < world->proposed) {
        commit_one(world);
        run(world);
    }
    pd_fsm_check(world->fsm);
}

static void lead(struct world *world)
{
    pd_service_set_leader(world->service, 1, NULL);
    pd_service_begin(world->service);
    settle(world);
}

static uint64_t post(struct world *world, struct wire_pd_request request)
{
    request.id = ++world->id;
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
    assert_non_null(frame);
    pd_service_request(world->service, CONN, frame);
    return request.id;
}

/* The one answer to a request; NULL: none yet. */
static const struct wire_pd_reply *answer_to(const struct world *world, uint64_t id)
{
    const struct wire_pd_reply *found = NULL;
    for (uint32_t i = 0; i < world->reply_count; i++)
        if (world->replies[i].wire.id == id) {
            assert_null(found);
            found = &world->replies[i].wire;
        }
    return found;
}

static const struct wire_pd_reply *ask(struct world *world, struct wire_pd_request request)
{
    uint64_t id = post(world, request);
    settle(world);
    const struct wire_pd_reply *reply = answer_to(world, id);
    assert_non_null(reply);
    assert_int_equal(reply->action, err_action((enum err)reply->code));
    return reply;
}

static void expect_text(const struct wire_pd_reply *reply, const char *text)
{
    char line[512];
    snprintf(line, sizeof(line), "%.*s", (int)reply->text.size, (const char *)reply->text.data);
    if (!strstr(line, text))
        fail_msg("\"%s\" does not say \"%s\"", line, text);
}

/* ---- requests */

static struct wire_pd_request registration(uint64_t store, uint64_t token, const char *address)
{
    static struct wire_store wire;
    wire = (struct wire_store){.id = store, .address = bytes_of_string(address), .version = bytes_of_string("0.1")};
    return (struct wire_pd_request){.op = WIRE_PD_OP_REGISTER_STORE, .store = &wire, .token = token};
}

static struct wire_pd_request op(enum wire_pd_op op)
{
    return (struct wire_pd_request){.op = (uint8_t)op};
}

static uint64_t register_new(struct world *world, uint64_t token, const char *address)
{
    const struct wire_pd_reply *reply = ask(world, registration(0, token, address));
    assert_int_equal(reply->code, ERR_OK);
    assert_int_not_equal(reply->store_id, 0);
    return reply->store_id;
}

static void register_three(struct world *world, uint64_t *ret_stores)
{
    const char *addresses[] = {"tcp://a:1", "tcp://b:1", "tcp://c:1"};
    for (uint64_t i = 0; i < 3; i++)
        ret_stores[i] = register_new(world, 100 + i, addresses[i]);
    settle(world);
    assert_true(pd_fsm_bootstrapped(world->fsm));
}

/* ---- before there is a leader, or a cluster */

static void requests_wait_for_the_first_leader_and_are_answered_by_it(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    uint64_t info = post(&world, op(WIRE_PD_OP_CLUSTER_INFO)), list = post(&world, op(WIRE_PD_OP_LIST_STORES));
    run(&world);
    assert_int_equal(world.reply_count, 0);
    lead(&world);
    assert_int_equal(answer_to(&world, info)->code, ERR_OK);
    assert_int_not_equal(answer_to(&world, info)->cluster_id, 0);
    assert_int_equal(answer_to(&world, info)->cluster_id, pd_fsm_cluster_id(world.fsm));
    assert_int_equal(answer_to(&world, info)->members_count, 1);
    assert_true(answer_to(&world, info)->members[0].leader);
    assert_int_equal(answer_to(&world, info)->store_count_wanted, 3);
    assert_int_equal(answer_to(&world, list)->code, ERR_OK);
    world_fini(&world);
}

static void requests_are_not_kept_for_longer_than_a_tick(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    uint64_t id = post(&world, op(WIRE_PD_OP_LIST_STORES));
    pd_service_tick(world.service); /* it may have come just before */
    assert_null(answer_to(&world, id));
    pd_service_tick(world.service);
    assert_int_equal(answer_to(&world, id)->code, ERR_NOT_READY);
    assert_true(answer_to(&world, id)->wait_ms > 0);
    for (uint32_t i = 0; i < PD_QUEUE_MAX; i++)
        post(&world, op(WIRE_PD_OP_LIST_STORES));
    id = post(&world, op(WIRE_PD_OP_LIST_STORES));
    assert_int_equal(answer_to(&world, id)->code, ERR_BUSY);
    pd_service_tick(world.service);
    pd_service_tick(world.service);
    assert_int_equal(world.reply_count, PD_QUEUE_MAX + 2);
    world_fini(&world);
}

static void a_follower_names_the_leader(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    pd_service_end(world.service);
    pd_service_set_leader(world.service, 2, "tcp://other:2");
    const struct wire_pd_reply *reply = ask(&world, op(WIRE_PD_OP_TIMESTAMP));
    assert_int_equal(reply->code, ERR_NOT_LEADER);
    assert_true(bytes_equal(reply->leader_address, bytes_of_string("tcp://other:2")));
    reply = ask(&world, op(WIRE_PD_OP_CLUSTER_INFO));
    assert_int_equal(reply->code, ERR_OK);
    assert_false(reply->members[0].leader);
    world_fini(&world);
}

static void a_lost_leadership_is_told_to_everybody_who_waits(void **state)
{
    (void)state;
    struct world world;
    uint64_t ids[5];
    world_init(&world);
    lead(&world);
    ids[0] = post(&world, registration(0, 9, "tcp://a:1"));
    ids[1] = post(&world, (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 1});
    ids[2] = post(&world, (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = 1});
    run(&world);
    commit_one(&world); /* ids: the registration is proposed, the timestamp still waits for its window */
    run(&world);
    ids[3] = post(&world, op(WIRE_PD_OP_LIST_STORES)); /* not even sealed */
    assert_null(answer_to(&world, ids[0]));
    pd_service_end(world.service);
    assert_int_equal(answer_to(&world, ids[0])->code, ERR_NOT_LEADER);
    assert_int_equal(answer_to(&world, ids[1])->code, ERR_NOT_LEADER);
    assert_int_equal(answer_to(&world, ids[2])->code, ERR_OK);
    assert_int_equal(answer_to(&world, ids[3])->code, ERR_NOT_READY);
    while (world.committed < world.proposed)
        commit_one(&world); /* what was on its way is committed after all: nobody waits for it */
    pd_service_begin(world.service);
    settle(&world);
    const struct wire_pd_reply *reply = ask(&world, registration(0, 9, "tcp://a:1"));
    assert_int_equal(reply->code, ERR_OK);
    assert_int_equal(pd_fsm_store_count(world.fsm), 1);
    world_fini(&world);
}

/* ---- malformed and foreign */

static void bytes_that_are_no_request_are_answered_invalid(void **state)
{
    (void)state;
    struct world world;
    struct rng rng;
    world_init(&world);
    rng_init(&rng, 1, "garbage");
    lead(&world);
    for (uint32_t i = 0; i < 1000; i++) {
        uint8_t garbage[200];
        for (size_t k = 0; k < sizeof(garbage); k++)
            garbage[k] = (uint8_t)rng_next(&rng);
        pd_service_request(world.service, CONN,
                           frame_copy(FRAME_PD_REQUEST, bytes_of(garbage, rng_below(&rng, sizeof(garbage)))));
        assert_int_equal(world.reply_count, i + 1);
        assert_int_equal(world.replies[i].wire.code, ERR_INVALID);
        assert_int_equal(world.replies[i].wire.id, 0);
    }
    world_fini(&world);
}

static void unknown_operations_are_unsupported(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    for (unsigned number = WIRE_PD_OP_PEER_REPORT + 1; number < 256; number++)
        assert_int_equal(ask(&world, (struct wire_pd_request){.op = (uint8_t)number})->code, ERR_UNSUPPORTED);
    expect_text(ask(&world, (struct wire_pd_request){.op = 99}), "operation 99");
    assert_int_equal(ask(&world, op(WIRE_PD_OP_NONE))->code, ERR_UNSUPPORTED);
    world_fini(&world);
}

static void another_cluster_is_refused_with_both_ids(void **state)
{
    (void)state;
    struct world world;
    char own[32];
    world_init(&world);
    lead(&world);
    snprintf(own, sizeof(own), "%llu", (unsigned long long)pd_fsm_cluster_id(world.fsm));
    for (uint8_t number = WIRE_PD_OP_CLUSTER_INFO; number <= WIRE_PD_OP_TIMESTAMP; number++) {
        const struct wire_pd_reply *reply = ask(&world, (struct wire_pd_request){.op = number, .cluster_id = 4711});
        assert_int_equal(reply->code, ERR_CLUSTER_NOT_MATCH);
        expect_text(reply, "4711");
        expect_text(reply, own);
    }
    world_fini(&world);
}

static void giant_keys_are_refused(void **state)
{
    (void)state;
    struct world world;
    uint64_t stores[3];
    static uint8_t key[REGION_KEY_SIZE_MAX + 1];
    world_init(&world);
    lead(&world);
    register_three(&world, stores);
    struct wire_pd_request request = {.op = WIRE_PD_OP_GET_REGION, .key = bytes_of(key, sizeof(key))};
    assert_int_equal(ask(&world, request)->code, ERR_KEY_TOO_LARGE);
    request = (struct wire_pd_request){.op = WIRE_PD_OP_SCAN_REGIONS, .end_key = bytes_of(key, sizeof(key))};
    assert_int_equal(ask(&world, request)->code, ERR_KEY_TOO_LARGE);
    world_fini(&world);
}

/* ---- registration */

static void a_registration_is_answered_only_when_it_is_committed(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    uint64_t id = post(&world, registration(0, 9, "tcp://a:1"));
    run(&world);
    commit_one(&world);
    run(&world);
    assert_null(answer_to(&world, id));
    assert_int_equal(pd_fsm_store_count(world.fsm), 0);
    commit_one(&world);
    assert_int_equal(answer_to(&world, id)->code, ERR_OK);
    world_fini(&world);
}

static void a_token_finds_its_first_registration(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    uint64_t first = register_new(&world, 9, "tcp://a:1");
    assert_int_equal(register_new(&world, 9, "tcp://a:1"), first);
    assert_int_equal(register_new(&world, 9, "tcp://a:2"), first); /* its address changed in between */
    uint64_t twice[2];
    for (int i = 0; i < 2; i++)
        twice[i] = post(&world, registration(0, 10, "tcp://b:1"));
    settle(&world);
    for (int i = 0; i < 2; i++)
        assert_int_equal(answer_to(&world, twice[i])->code, ERR_OK);
    assert_int_equal(answer_to(&world, twice[0])->store_id, answer_to(&world, twice[1])->store_id);
    assert_int_not_equal(answer_to(&world, twice[0])->store_id, first);
    assert_int_equal(pd_fsm_store_count(world.fsm), 2);
    assert_int_equal(ask(&world, registration(0, 0, "tcp://d:1"))->code,
                     ERR_INVALID); /* and without one, nothing would */
    world_fini(&world);
}

static void a_known_store_must_belong_to_the_cluster(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    uint64_t store = register_new(&world, 9, "tcp://a:1");
    struct wire_pd_request request = registration(store, 0, "tcp://a:7");
    assert_int_equal(ask(&world, request)->code, ERR_CLUSTER_NOT_MATCH);
    request.cluster_id = pd_fsm_cluster_id(world.fsm);
    const struct wire_pd_reply *reply = ask(&world, request);
    assert_int_equal(reply->code, ERR_OK);
    assert_int_equal(reply->store_id, store);
    assert_string_equal(pd_fsm_find_store(world.fsm, store)->address, "tcp://a:7");
    request = registration(store + 1, 0, "tcp://b:7");
    request.cluster_id = pd_fsm_cluster_id(world.fsm);
    assert_int_equal(ask(&world, request)->code, ERR_STORE_NOT_MATCH);
    world_fini(&world);
}

static void the_address_of_a_living_store_is_its_own(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    register_new(&world, 9, "tcp://a:1");
    const struct wire_pd_reply *reply = ask(&world, registration(0, 10, "tcp://a:1"));
    assert_int_equal(reply->code, ERR_EXISTS);
    expect_text(reply, "tcp://a:1 belongs to store");
    /* A new leader does not know yet whether the old store lives. */
    pd_service_end(world.service);
    lead(&world);
    reply = ask(&world, registration(0, 10, "tcp://a:1"));
    assert_int_equal(reply->code, ERR_NOT_READY);
    assert_in_range(reply->wait_ms, 4000, 5001);
    world.now_us += reply->wait_ms * 1000;
    assert_int_not_equal(register_new(&world, 10, "tcp://a:1"), 0); /* it does not */
    assert_int_equal(pd_fsm_store_count(world.fsm), 2);
    world_fini(&world);
}

static void two_new_stores_with_one_address_at_once_make_one_store(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    register_new(&world, 1, "tcp://z:1"); /* there is a window of ids now */
    uint64_t first = post(&world, registration(0, 10, "tcp://a:1"));
    uint64_t second = post(&world, registration(0, 11, "tcp://a:1"));
    settle(&world);
    assert_int_equal(answer_to(&world, first)->code, ERR_OK);
    assert_int_equal(answer_to(&world, second)->code, ERR_BUSY);
    assert_int_equal(pd_fsm_store_count(world.fsm), 2);
    world_fini(&world);
}

static void addresses_must_be_plain_text(void **state)
{
    (void)state;
    struct world world;
    char giant[PD_FSM_TEXT_SIZE_MAX + 2];
    world_init(&world);
    lead(&world);
    memset(giant, 'a', sizeof(giant) - 1);
    giant[sizeof(giant) - 1] = 0;
    const char *bad[] = {"", "tcp://a b", "tcp://a\n", "tcp://\xff", giant};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ask(&world, registration(0, 10, bad[i]))->code, ERR_INVALID);
    assert_int_equal(ask(&world, op(WIRE_PD_OP_REGISTER_STORE))->code, ERR_INVALID);
    assert_int_equal(pd_fsm_store_count(world.fsm), 0);
    world_fini(&world);
}

static void heartbeats_of_stores_show_in_the_list(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    uint64_t store = register_new(&world, 9, "tcp://a:1");
    struct wire_store said = {.id = store, .leader_count = 4, .region_count = 16};
    struct wire_pd_request request = {.op = WIRE_PD_OP_STORE_HEARTBEAT, .store = &said};
    assert_int_equal(ask(&world, request)->code, ERR_OK);
    world.now_us += 700000;
    const struct wire_pd_reply *reply = ask(&world, op(WIRE_PD_OP_LIST_STORES));
    assert_int_equal(reply->stores_count, 1);
    assert_int_equal(reply->stores[0].state, WIRE_STORE_STATE_UP);
    assert_int_equal(reply->stores[0].leader_count, 4);
    assert_int_equal(reply->stores[0].heartbeat_age_ms, 700);
    assert_true(bytes_equal(reply->stores[0].address, bytes_of_string("tcp://a:1")));
    said.id = 99;
    assert_int_equal(ask(&world, request)->code, ERR_STORE_NOT_MATCH);
    assert_int_equal(ask(&world, op(WIRE_PD_OP_STORE_HEARTBEAT))->code, ERR_INVALID);
    world_fini(&world);
}

/* ---- regions */

static void there_are_no_regions_before_enough_stores_live(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    register_new(&world, 1, "tcp://a:1");
    uint64_t second = register_new(&world, 2, "tcp://b:1");
    const struct wire_pd_reply *reply = ask(&world, op(WIRE_PD_OP_GET_REGION));
    assert_int_equal(reply->code, ERR_NOT_READY);
    assert_true(reply->wait_ms > 0);
    expect_text(reply, "2 of 3 stores");
    struct wire_pd_request first_regions = {.op = WIRE_PD_OP_BOOTSTRAP_REGIONS, .store_id = second};
    reply = ask(&world, first_regions);
    assert_int_equal(reply->code, ERR_OK);
    assert_false(reply->bootstrapped);
    assert_int_equal(reply->routes_count, 0);
    world.now_us += 6000000; /* the first one died; the second still asks */
    assert_int_equal(ask(&world, first_regions)->code, ERR_OK);
    register_new(&world, 3, "tcp://c:1");
    settle(&world);
    assert_false(pd_fsm_bootstrapped(world.fsm)); /* three have registered, two live */
    uint64_t fourth = register_new(&world, 4, "tcp://a:1");
    settle(&world);
    assert_true(pd_fsm_bootstrapped(world.fsm));
    first_regions.store_id = fourth;
    reply = ask(&world, first_regions);
    assert_true(reply->bootstrapped);
    assert_int_equal(reply->routes_count, 16);
    world_fini(&world);
}

static void first_regions_name_who_campaigns_until_they_change(void **state)
{
    (void)state;
    struct world world;
    uint64_t stores[3];
    uint32_t campaigns = 0;
    world_init(&world);
    lead(&world);
    register_three(&world, stores);
    for (int i = 0; i < 3; i++) {
        const struct wire_pd_reply *reply =
            ask(&world, (struct wire_pd_request){.op = WIRE_PD_OP_BOOTSTRAP_REGIONS, .store_id = stores[i]});
        assert_int_equal(reply->routes_count, 16);
        for (uint32_t k = 0; k < reply->routes_count; k++)
            campaigns += reply->routes[k].leader_store == stores[i];
    }
    assert_int_equal(campaigns, 16); /* each region has one */
    const struct wire_pd_reply *reply = ask(&world, op(WIRE_PD_OP_GET_REGION));
    assert_int_equal(reply->routes[0].leader_peer, 0); /* nobody said that it leads */
    struct wire_region changed = *reply->routes[0].region;
    changed.epoch_conf++;
    struct wire_region_heartbeat heartbeat = {.region = &changed, .leader_peer = changed.peers[1].id, .term = 7};
    struct wire_pd_request request = {
        .op = WIRE_PD_OP_REGION_HEARTBEAT, .heartbeats = &heartbeat, .heartbeats_count = 1};
    assert_int_equal(ask(&world, request)->code, ERR_OK);
    reply = ask(&world, (struct wire_pd_request){.op = WIRE_PD_OP_BOOTSTRAP_REGIONS, .store_id = stores[0]});
    assert_int_equal(reply->routes_count, 15);
    assert_int_equal(ask(&world, (struct wire_pd_request){.op = WIRE_PD_OP_BOOTSTRAP_REGIONS, .store_id = 99})->code,
                     ERR_STORE_NOT_MATCH);
    world_fini(&world);
}

static void routes_are_found_by_key_backwards_by_id_and_in_order(void **state)
{
    (void)state;
    struct world world;
    uint64_t stores[3];
    struct bytes key = bytes_empty();
    world_init(&world);
    lead(&world);
    register_three(&world, stores);
    uint32_t count = 0;
    do { /* pages of five */
        const struct wire_pd_reply *page =
            ask(&world, (struct wire_pd_request){.op = WIRE_PD_OP_SCAN_REGIONS, .key = key, .limit = 5});
        assert_int_equal(page->code, ERR_OK);
        assert_in_range(page->routes_count, 1, 5);
        for (uint32_t i = 0; i < page->routes_count; i++) {
            const struct wire_region *region = page->routes[i].region;
            assert_true(bytes_equal(region->start_key, key));
            struct wire_pd_request request = {.op = WIRE_PD_OP_GET_REGION, .key = region->start_key};
            assert_int_equal(ask(&world, request)->routes[0].region->id, region->id);
            request = (struct wire_pd_request){.op = WIRE_PD_OP_GET_REGION, .key = region->end_key, .reverse = true};
            assert_int_equal(ask(&world, request)->routes[0].region->id, region->id);
            request = (struct wire_pd_request){.op = WIRE_PD_OP_GET_REGION_BY_ID, .region_id = region->id};
            assert_int_equal(ask(&world, request)->routes[0].region->id, region->id);
            key = region->end_key;
            count++;
        }
    } while (key.size > 0);
    assert_int_equal(count, 16);
    struct wire_pd_request request = {
        .op = WIRE_PD_OP_SCAN_REGIONS, .key = bytes_of_string("rA"), .end_key = bytes_of_string("rB")};
    assert_in_range(ask(&world, request)->routes_count, 1, 2);
    request = (struct wire_pd_request){.op = WIRE_PD_OP_GET_REGION_BY_ID, .region_id = 12345};
    assert_int_equal(ask(&world, request)->code, ERR_REGION_NOT_FOUND);
    world_fini(&world);
}

static void a_split_is_known_once_it_is_committed(void **state)
{
    (void)state;
    struct world world;
    uint64_t stores[3];
    struct wire_region halves[2];
    struct wire_peer peers[3];
    world_init(&world);
    lead(&world);
    register_three(&world, stores);
    uint64_t ids = ask(&world, (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = 4})->first_id;
    halves[0] = halves[1] = *ask(&world, op(WIRE_PD_OP_GET_REGION))->routes[0].region;
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = (struct wire_peer){.id = ids + 1 + i, .store_id = halves[0].peers[i].store_id};
    halves[0].end_key = halves[1].start_key = bytes_of_string("r!");
    halves[0].epoch_version = halves[1].epoch_version = 2;
    halves[1].id = ids;
    halves[1].peers = peers;
    struct wire_region_heartbeat heartbeats[] = {
        {.region = &halves[1], .leader_peer = peers[2].id, .term = 6, .approximate_size = 77},
        {.region = &halves[0], .leader_peer = halves[0].peers[0].id, .term = 7}};
    struct wire_pd_request request = {
        .op = WIRE_PD_OP_REGION_HEARTBEAT, .heartbeats = heartbeats, .heartbeats_count = 2};
    uint64_t id = post(&world, request);
    run(&world);
    assert_null(answer_to(&world, id));
    commit_one(&world);
    assert_int_equal(answer_to(&world, id)->code, ERR_OK);
    struct wire_pd_request find = {.op = WIRE_PD_OP_GET_REGION, .key = bytes_of_string("r!")};
    const struct wire_pd_reply *reply = ask(&world, find);
    assert_int_equal(reply->routes[0].region->id, ids);
    assert_int_equal(reply->routes[0].leader_peer, peers[2].id); /* the heartbeat that brought it was not lost */
    assert_int_equal(reply->region_count, 17);
    raft_index before = world.proposed;
    assert_int_equal(ask(&world, request)->code, ERR_OK); /* old news by now: nothing goes through the log */
    assert_int_equal(world.proposed, before);
    world_fini(&world);
}

static void regions_with_invented_ids_are_refused(void **state)
{
    (void)state;
    struct world world;
    uint64_t stores[3];
    world_init(&world);
    lead(&world);
    register_three(&world, stores);
    struct wire_region region = *ask(&world, op(WIRE_PD_OP_GET_REGION))->routes[0].region;
    struct wire_region_heartbeat heartbeat = {.region = &region};
    struct wire_pd_request request = {
        .op = WIRE_PD_OP_REGION_HEARTBEAT, .heartbeats = &heartbeat, .heartbeats_count = 1};
    region.id = 1000000;
    region.epoch_version = 99;
    assert_int_equal(ask(&world, request)->code, ERR_INVALID);
    region.id = 0;
    assert_int_equal(ask(&world, request)->code, ERR_INVALID);
    heartbeat.region = NULL;
    assert_int_equal(ask(&world, request)->code, ERR_INVALID);
    assert_int_equal(region_tree_count(pd_fsm_regions(world.fsm)), 16);
    world_fini(&world);
}

/* ---- ids and timestamps */

static void a_round_of_waiting_requests_is_one_proposal(void **state)
{
    (void)state;
    struct world world;
    uint64_t first = 0, newest = 0;
    world_init(&world);
    lead(&world);
    raft_index before = world.proposed;
    for (int i = 0; i < 100; i++) {
        post(&world, (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 10});
        post(&world, (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = 3});
    }
    run(&world);
    assert_int_equal(world.proposed, before + 2); /* a window of each */
    settle(&world);
    assert_int_equal(world.reply_count, 200);
    for (uint32_t i = 0; i < world.reply_count; i++) {
        const struct wire_pd_reply *reply = &world.replies[i].wire;
        assert_int_equal(reply->code, ERR_OK);
        if (reply->timestamp) {
            assert_true(reply->timestamp > newest);
            newest = reply->timestamp + 9;
        } else {
            assert_true(reply->first_id > first);
            first = reply->first_id + 2;
        }
    }
    assert_int_equal(tso_physical_ms(newest), world.wall_ms);
    world_fini(&world);
}

static void impossible_counts_are_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    assert_int_equal(ask(&world, op(WIRE_PD_OP_TIMESTAMP))->code, ERR_INVALID);
    assert_int_equal(ask(&world, op(WIRE_PD_OP_ALLOC_ID))->code, ERR_INVALID);
    struct wire_pd_request request = {.op = WIRE_PD_OP_TIMESTAMP, .count = TSO_COUNT_MAX + 1};
    assert_int_equal(ask(&world, request)->code, ERR_INVALID);
    request = (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = UINT32_MAX};
    assert_int_equal(ask(&world, request)->code, ERR_INVALID);
    world_fini(&world);
}

static void timestamps_grow_over_a_new_leader_with_a_slow_clock(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    struct wire_pd_request request = {.op = WIRE_PD_OP_TIMESTAMP, .count = 1};
    uint64_t before = ask(&world, request)->timestamp;
    pd_service_end(world.service);
    world.wall_ms -= 3600 * 1000;
    lead(&world);
    const struct wire_pd_reply *reply = ask(&world, request);
    assert_int_equal(reply->code, ERR_OK);
    assert_true(reply->timestamp > before);
    world_fini(&world);
}

/* Another leader, that we know only from what it committed. */
static void commit_foreign(struct world *world, const struct wire_pd_command *command)
{
    struct pd_fsm_result result;
    struct buf bytes;
    buf_init(&bytes, FRAME_SIZE_MAX);
    assert_int_equal(wire_encode_pd_command(command, &bytes), ERR_OK);
    assert_int_equal(world->proposed, world->committed);
    world->proposed = ++world->committed;
    pd_fsm_apply(world->fsm, buf_bytes(&bytes), world->env.engine, world->batch, &result);
    pd_fsm_set_applied(world->fsm, world->committed, TERM);
    pd_service_applied(world->service, world->committed, TERM, &result);
    assert_int_equal(result.code, ERR_OK);
    buf_fini(&bytes);
}

static void what_another_leader_gave_out_is_never_given_again(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    lead(&world);
    struct wire_pd_request timestamp = {.op = WIRE_PD_OP_TIMESTAMP, .count = 1};
    struct wire_pd_request id = {.op = WIRE_PD_OP_ALLOC_ID, .count = 1};
    assert_int_equal(ask(&world, timestamp)->code, ERR_OK);
    assert_int_equal(ask(&world, id)->code, ERR_OK); /* a window is open */
    pd_service_end(world.service);
    struct wire_pd_command window = {.kind = WIRE_PD_COMMAND_KIND_TIMESTAMP_WINDOW,
                                     .timestamp_limit = world.wall_ms + 100000};
    struct wire_pd_command ids = {.kind = WIRE_PD_COMMAND_KIND_ALLOC_IDS, .count = 777};
    commit_foreign(&world, &window);
    commit_foreign(&world, &ids);
    uint64_t next_id = pd_fsm_next_id(world.fsm);
    lead(&world);
    assert_true(tso_physical_ms(ask(&world, timestamp)->timestamp) >= world.wall_ms + 100000);
    assert_true(ask(&world, id)->first_id >= next_id);
    world_fini(&world);
}

static void a_full_log_is_busy_and_too_many_who_wait_are_too(void **state)
{
    (void)state;
    struct world world;
    uint32_t busy = 0;
    world_init(&world);
    lead(&world);
    register_new(&world, 1, "tcp://z:1");
    world.propose_code = ERR_BUSY;
    const struct wire_pd_reply *reply = ask(&world, registration(0, 10, "tcp://a:1"));
    assert_int_equal(reply->code, ERR_BUSY);
    assert_true(reply->wait_ms > 0);
    forget_replies(&world);
    for (uint32_t i = 0; i < PD_WRITES_WAITING_MAX + 100; i++) {
        post(&world, (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 1});
        if (i % 1000 == 0)
            run(&world);
    }
    run(&world);
    for (uint32_t i = 0; i < world.reply_count; i++)
        busy += world.replies[i].wire.code == ERR_BUSY;
    assert_int_equal(busy, 100);
    world.propose_code = ERR_OK; /* the log takes commands again: all who waited are served */
    settle(&world);
    assert_int_equal(world.reply_count, PD_WRITES_WAITING_MAX + 100);
    world_fini(&world);
}

/* ---- everything at once */

static struct wire_pd_request random_request(struct rng *rng, const struct world *world, struct arena *arena)
{
    static const char *const addresses[] = {"tcp://a:1", "tcp://b:1", "tcp://c:1", "tcp://d:1", "tcp://e:1"};
    static const char *const keys[] = {"", "r", "rA", "rm", "rz", "x", "zz"};
    struct wire_store *store = arena_alloc(arena, sizeof(*store));
    *store = (struct wire_store){.id = rng_chance(rng, 1, 2) ? 0 : rng_below(rng, 8),
                                 .address = bytes_of_string(addresses[rng_below(rng, 5)])};
    struct wire_pd_request request = {.op = (uint8_t)rng_below(rng, WIRE_PD_OP_TIMESTAMP + 2),
                                      .cluster_id =
                                          rng_below(rng, 10) ? pd_fsm_cluster_id(world->fsm) : rng_below(rng, 3),
                                      .store = rng_below(rng, 20) ? store : NULL,
                                      .store_id = rng_below(rng, 8),
                                      .region_id = rng_below(rng, 60),
                                      .key = bytes_of_string(keys[rng_below(rng, 7)]),
                                      .end_key = bytes_of_string(keys[rng_below(rng, 7)]),
                                      .limit = (uint32_t)rng_below(rng, 5),
                                      .reverse = rng_chance(rng, 1, 2),
                                      .count = (uint32_t)rng_below(rng, 2000),
                                      .token = rng_below(rng, 8)};
    struct region_node *node = region_tree_find_id(pd_fsm_regions(world->fsm), rng_below(rng, 60));
    if (request.op == WIRE_PD_OP_REGION_HEARTBEAT && node) {
        request.heartbeats = arena_alloc(arena, sizeof(*request.heartbeats));
        request.heartbeats_count = 1;
        struct wire_region *region = arena_alloc(arena, sizeof(*region));
        region_node_wire(node, arena_alloc(arena, REGION_PEER_COUNT_MAX * sizeof(struct wire_peer)), region);
        region->epoch_version += rng_below(rng, 3);
        region->epoch_conf += rng_below(rng, 2);
        *request.heartbeats =
            (struct wire_region_heartbeat){.region = region,
                                           .leader_peer = region->peers[rng_below(rng, region->peers_count)].id,
                                           .term = rng_below(rng, 9)};
    }
    return request;
}

static void every_request_is_answered_exactly_once(void **state)
{
    (void)state;
    uint32_t ok = 0, bootstrapped = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct world world;
        struct rng rng;
        struct arena arena;
        bool leading = false;
        world_init(&world);
        rng_init(&rng, seed, "service");
        arena_init(&arena);
        for (int step = 0; step < 1500; step++) {
            uint64_t dice = rng_below(&rng, 100);
            if (dice < 50)
                post(&world, random_request(&rng, &world, &arena));
            else if (dice < 70)
                run(&world);
            else if (dice < 92 && world.committed < world.proposed)
                commit_one(&world);
            else if (dice < 94)
                world.now_us += rng_below(&rng, 300000);
            else if (dice < 95)
                world.wall_ms += rng_below(&rng, 5000) - 2000;
            else if (dice < 96)
                pd_service_tick(world.service);
            else if (dice == 96)
                world.propose_code = rng_chance(&rng, 1, 4) ? ERR_BUSY : ERR_OK;
            else if (dice == 97 && leading && rng_chance(&rng, 1, 8)) {
                pd_service_end(world.service);
                leading = false;
                if (rng_chance(&rng, 1, 2))
                    drop_entries(&world); /* overwritten by the next leader */
            } else if (!leading && world.committed == world.proposed) {
                pd_service_begin(world.service);
                leading = true;
            }
            arena_reset(&arena);
        }
        world.propose_code = ERR_OK;
        if (leading)
            settle(&world);
        pd_service_tick(world.service);
        pd_service_tick(world.service);
        assert_int_equal(world.reply_count, world.id);
        for (uint64_t id = 1; id <= world.id; id += 1 + world.id / 50)
            assert_non_null(answer_to(&world, id)); /* and only one */
        for (uint32_t i = 0; i < world.reply_count; i++)
            ok += world.replies[i].wire.code == ERR_OK;
        bootstrapped += pd_fsm_bootstrapped(world.fsm);
        arena_fini(&arena);
        world_fini(&world);
    }
    print_message("%u answers were ok, %u worlds were bootstrapped\n", ok, bootstrapped);
    assert_true(ok > 60 * 100);
    assert_true(bootstrapped > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_wait_for_the_first_leader_and_are_answered_by_it),
        cmocka_unit_test(requests_are_not_kept_for_longer_than_a_tick),
        cmocka_unit_test(a_follower_names_the_leader),
        cmocka_unit_test(a_lost_leadership_is_told_to_everybody_who_waits),
        cmocka_unit_test(bytes_that_are_no_request_are_answered_invalid),
        cmocka_unit_test(unknown_operations_are_unsupported),
        cmocka_unit_test(another_cluster_is_refused_with_both_ids),
        cmocka_unit_test(giant_keys_are_refused),
        cmocka_unit_test(a_registration_is_answered_only_when_it_is_committed),
        cmocka_unit_test(a_token_finds_its_first_registration),
        cmocka_unit_test(a_known_store_must_belong_to_the_cluster),
        cmocka_unit_test(the_address_of_a_living_store_is_its_own),
        cmocka_unit_test(two_new_stores_with_one_address_at_once_make_one_store),
        cmocka_unit_test(addresses_must_be_plain_text),
        cmocka_unit_test(heartbeats_of_stores_show_in_the_list),
        cmocka_unit_test(there_are_no_regions_before_enough_stores_live),
        cmocka_unit_test(first_regions_name_who_campaigns_until_they_change),
        cmocka_unit_test(routes_are_found_by_key_backwards_by_id_and_in_order),
        cmocka_unit_test(a_split_is_known_once_it_is_committed),
        cmocka_unit_test(regions_with_invented_ids_are_refused),
        cmocka_unit_test(a_round_of_waiting_requests_is_one_proposal),
        cmocka_unit_test(impossible_counts_are_refused),
        cmocka_unit_test(timestamps_grow_over_a_new_leader_with_a_slow_clock),
        cmocka_unit_test(what_another_leader_gave_out_is_never_given_again),
        cmocka_unit_test(a_full_log_is_busy_and_too_many_who_wait_are_too),
        cmocka_unit_test(every_request_is_answered_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
