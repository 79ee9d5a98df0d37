/* pd in three members: one leads, others take over, nothing is given out twice, a member that was away gets it all. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "chosen_bug.h"
#include "env/engine_mem.h"
#include "http_visitor.h"
#include "pd/id_alloc.h"
#include "pd/pd.h"
#include "pd/pd_fsm.h"
#include "pd/pd_home.h"
#include "pd/tso.h"
#include "proto/wire.h"
#include "raft/raft.h"
#include "rpc/frame_kind.h"
#include "tests/sim/exec_sim.h"
#include "tests/sim/net_sim.h"

enum { MEMBERS_MAX = 5, SECOND_US = 1000000, SYNC_US = 150 };

struct member {
    struct cluster *cluster;
    uint32_t number;
    struct sim_node *node;
    struct engine *disk;
    struct env env;
    struct pd_config config;
    struct pd *pd;
    uint64_t hung_until_us;
    conn_id conn; /* the client's; 0: none */
    bool open;
};

struct cluster {
    struct sim *sim;
    struct net *net;
    struct rng rng;
    struct member members[MEMBERS_MAX];
    uint32_t member_count;
    struct sim_node *client;
    struct transport_handler handler;
    struct arena reply_arena;
    struct frame *reply_frame;
    struct wire_pd_reply reply;
    uint64_t id;
    bool answered;
    uint32_t asked; /* the member that the client asked last */
    uint64_t newest; /* timestamp */
    uint64_t newest_id;
};

/* ---- the client's side */

static struct member *member_of(struct cluster *cluster, conn_id conn)
{
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (cluster->members[i].conn == conn)
            return &cluster->members[i];
    return NULL;
}

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    struct member *member = member_of(context, conn);
    (void)hello, (void)ret_reply;
    member->open = true;
    return ERR_OK;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct cluster *cluster = context;
    struct wire_pd_reply reply;
    struct arena arena;
    (void)conn;
    arena_init(&arena);
    assert_int_equal(wire_decode_pd_reply(frame_bytes(take_frame), &arena, &reply), ERR_OK);
    if (reply.id == cluster->id && !cluster->answered) {
        frame_unref(cluster->reply_frame);
        cluster->reply_frame = frame_ref(take_frame);
        arena_reset(&cluster->reply_arena);
        assert_int_equal(wire_decode_pd_reply(frame_bytes(take_frame), &cluster->reply_arena, &cluster->reply), ERR_OK);
        cluster->answered = true;
    }
    frame_unref(take_frame);
    arena_fini(&arena);
    return ERR_OK;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    struct member *member = member_of(context, conn);
    (void)reason;
    if (member) {
        member->conn = 0;
        member->open = false;
    }
}

/* ---- the members */

static uint64_t disk_now_us(void *context)
{
    return sim_now_us(((struct member *)context)->cluster->sim);
}

static uint64_t disk_sync_cost_us(void *context, size_t size)
{
    struct member *member = context;
    uint64_t now_us = disk_now_us(context), cost_us = SYNC_US + size / 500 + rng_below(&member->cluster->rng, 300);
    return member->hung_until_us > now_us + cost_us ? member->hung_until_us - now_us : cost_us;
}

static void disk_wait_us(void *context, uint64_t us)
{
    sim_wait(((struct member *)context)->cluster->sim, us);
}

static void start(struct cluster *cluster, uint32_t number)
{
    struct member *member = &cluster->members[number - 1];
    struct error error = {.text = ""};
    sim_node_start(member->node);
    net_node_started(cluster->net, member->node);
    sim_enter(member->node);
    member->env.seed = rng_next(&cluster->rng);
    if (pd_new(&member->env, &member->config, &member->pd, &error) != ERR_OK)
        fail_msg("%s", error.text);
    sim_leave(member->node);
}

static void crash(struct cluster *cluster, uint32_t number)
{
    struct member *member = &cluster->members[number - 1];
    sim_node_kill(member->node);
    net_node_killed(cluster->net, member->node, false);
    pd_free(member->pd);
    member->pd = NULL;
    sim_node_reap(member->node);
    engine_mem_crash(member->disk, sim_heap_ns(cluster->sim) / 1000, &cluster->rng);
}

static char *text_of(const char *format, uint32_t number)
{
    char text[64], *copy;
    snprintf(text, sizeof text, format, number);
    copy = strdup(text);
    assert_non_null(copy);
    return copy;
}

static char *founder(uint32_t number)
{
    char text[64];
    snprintf(text, sizeof text, "pd-%%u=sim://pd%u", number);
    return text_of(text, number);
}

static void add_node(struct cluster *cluster, uint32_t founders)
{
    struct member *member = &cluster->members[cluster->member_count++];
    *member = (struct member){.cluster = cluster, .number = cluster->member_count};
    char name[16];
    snprintf(name, sizeof name, "pd%u", member->number);
    member->node = sim_node_new(cluster->sim, name);
    member->config = (struct pd_config){.name = text_of("pd-%u", member->number),
                                        .data_dir = text_of("/sim/pd%u", member->number),
                                        .address = text_of("sim://pd%u", member->number),
                                        .bootstrap_stores = 3,
                                        .bootstrap_regions = 64,
                                        .replicas = 3,
                                        .join = founders == 0,
                                        .tick_ms = 50,
                                        .heartbeat_ticks = 2,
                                        .election_ticks = 15,
                                        .mailbox_max = 4096,
                                        .log_size_max = 64 << 20,
                                        .snapshot_chunk_size = 1000,
                                        .store_disconnected_ms = 5000,
                                        .store_down_ms = 60000,
                                        .timestamp_window_ms = 3000};
    member->config.advertise_address = text_of("sim://pd%u", member->number);
    for (uint32_t i = 1; i <= founders; i++)
        member->config.initial_cluster[member->config.initial_cluster_count++] = founder(i);
    assert_int_equal(engine_mem_new(&member->disk), ERR_OK);
    const struct engine_mem_disk disk = {
        .context = member, .now_us = disk_now_us, .sync_cost_us = disk_sync_cost_us, .wait_us = disk_wait_us};
    engine_mem_set_disk(member->disk, &disk);
    member->env = (struct env){.executor = sim_node_executor(member->node),
                               .clock = sim_node_clock(member->node),
                               .transport = net_transport(cluster->net, member->node),
                               .engine = member->disk};
}

static void cluster_init(struct cluster *cluster, uint64_t seed, uint32_t founders, uint32_t joiners)
{
    *cluster = (struct cluster){0};
    cluster->sim = sim_new(seed);
    cluster->net = net_new(cluster->sim);
    rng_init(&cluster->rng, seed, "test_pd_group");
    *sim_timing(cluster->sim) = (struct sim_timing){
        .wake_max_us = 40, .timer_late_max_us = 500, .round_cost_max_us = 10, .take_all_percent = 50};
    *net_options(cluster->net) = (struct net_options){.delay_min_us = 20,
                                                      .delay_max_us = 200,
                                                      .idle_limit_us = 3000000,
                                                      .dial_timeout_us = 1000000,
                                                      .pending_size_max = 64 << 20};
    for (uint32_t i = 0; i < founders; i++)
        add_node(cluster, founders);
    for (uint32_t i = 0; i < joiners; i++)
        add_node(cluster, 0);
    cluster->client = sim_node_new(cluster->sim, "client");
    net_transport(cluster->net, cluster->client);
    sim_node_start(cluster->client);
    net_node_started(cluster->net, cluster->client);
    cluster->handler =
        (struct transport_handler){.context = cluster, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
    arena_init(&cluster->reply_arena);
    for (uint32_t i = 1; i <= founders; i++)
        start(cluster, i);
}

static void cluster_fini(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->member_count; i++)
        if (sim_node_is_up(cluster->members[i].node))
            crash(cluster, i + 1);
    sim_node_kill(cluster->client);
    net_node_killed(cluster->net, cluster->client, false);
    sim_node_reap(cluster->client);
    sim_free(cluster->sim);
    net_free(cluster->net);
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        struct member *member = &cluster->members[i];
        struct engine_mem_stats stats;
        engine_mem_stats(member->disk, &stats);
        assert_int_equal(stats.batch_count, 0);
        assert_int_equal(stats.iter_count, 0);
        engine_mem_free(member->disk);
        free(member->config.name);
        free(member->config.data_dir);
        free(member->config.address);
        free(member->config.advertise_address);
        for (uint32_t k = 0; k < member->config.initial_cluster_count; k++)
            free(member->config.initial_cluster[k]);
    }
    frame_unref(cluster->reply_frame);
    arena_fini(&cluster->reply_arena);
}

static void run_for(struct cluster *cluster, uint64_t us)
{
    sim_run_until(cluster->sim, sim_heap_ns(cluster->sim) + us * 1000);
}

/* ---- asking */

static void dial(struct cluster *cluster, struct member *member)
{
    const struct wire_hello hello = {
        .role = WIRE_ROLE_CLIENT, .version_min = PROTOCOL_VERSION_MIN, .version_max = PROTOCOL_VERSION};
    struct buf bytes;
    buf_init(&bytes, 65536);
    assert_int_equal(wire_encode_hello(&hello, &bytes), ERR_OK);
    sim_enter(cluster->client);
    assert_int_equal(transport_dial(net_transport(cluster->net, cluster->client), member->config.address,
                                    buf_bytes(&bytes), &cluster->handler, &member->conn),
                     ERR_OK);
    sim_leave(cluster->client);
    while (!member->open && member->conn != 0 && sim_step(cluster->sim))
        ;
    buf_fini(&bytes);
}

/* False: no answer within `limit_us`. */
static bool ask(struct cluster *cluster, uint32_t number, struct wire_pd_request request, uint64_t limit_us)
{
    struct member *member = &cluster->members[number - 1];
    uint64_t end_ns = sim_heap_ns(cluster->sim) + limit_us * 1000;
    if (!sim_node_is_up(member->node))
        return false;
    if (!member->open)
        dial(cluster, member);
    if (!member->open)
        return false;
    request.id = ++cluster->id;
    cluster->answered = false;
    sim_enter(cluster->client);
    transport_send(net_transport(cluster->net, cluster->client), member->conn,
                   wire_frame_pd_request(FRAME_PD_REQUEST, &request));
    sim_leave(cluster->client);
    while (!cluster->answered && member->open && sim_next_ns(cluster->sim) < end_ns)
        sim_step(cluster->sim);
    return cluster->answered;
}

/* Whoever leads answers, within `limit_us`; 0: nobody did. */
static uint64_t ask_any(struct cluster *cluster, struct wire_pd_request request, uint64_t limit_us)
{
    uint64_t begin_ns = sim_heap_ns(cluster->sim);
    while (sim_heap_ns(cluster->sim) < begin_ns + limit_us * 1000) {
        cluster->asked = cluster->asked % cluster->member_count + 1;
        if (ask(cluster, cluster->asked, request, 300000) && cluster->reply.code == ERR_OK)
            return (sim_heap_ns(cluster->sim) - begin_ns) / 1000 + 1;
        run_for(cluster, 5000);
    }
    return 0;
}

static void expect_ok(struct cluster *cluster, struct wire_pd_request request)
{
    if (ask_any(cluster, request, 10 * SECOND_US) == 0)
        fail_msg("operation %u: %s: %.*s", request.op, err_name((enum err)cluster->reply.code),
                 (int)cluster->reply.text.size, (const char *)cluster->reply.text.data);
}

static uint64_t take_timestamp(struct cluster *cluster, uint64_t limit_us)
{
    uint64_t us = ask_any(cluster, (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 10}, limit_us);
    if (us > 0) {
        assert_true(cluster->reply.timestamp > cluster->newest);
        cluster->newest = cluster->reply.timestamp + 9;
    }
    return us;
}

static void take_ids(struct cluster *cluster)
{
    expect_ok(cluster, (struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = 1500});
    assert_true(cluster->reply.first_id > cluster->newest_id);
    cluster->newest_id = cluster->reply.first_id + 1499;
}

/* Its number; 0: nobody leads. */
static uint32_t leader_of(const struct cluster *cluster)
{
    uint32_t leader = 0;
    uint64_t term = 0;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        const struct pd *pd = cluster->members[i].pd;
        if (pd && pd_is_leading(pd) && raft_term_now(pd_get_raft(pd)) > term) {
            leader = i + 1;
            term = raft_term_now(pd_get_raft(pd));
        }
    }
    return leader;
}

static uint32_t wait_leader(struct cluster *cluster)
{
    for (int i = 0; i < 1000 && leader_of(cluster) == 0; i++)
        run_for(cluster, 10000);
    assert_int_not_equal(leader_of(cluster), 0);
    return leader_of(cluster);
}

static struct wire_pd_request registration(uint64_t token)
{
    static char address[32];
    static struct wire_store store;
    snprintf(address, sizeof(address), "sim://s%llu", (unsigned long long)token);
    store = (struct wire_store){.address = bytes_of_string(address)};
    return (struct wire_pd_request){.op = WIRE_PD_OP_REGISTER_STORE, .store = &store, .token = token};
}

static void bootstrap(struct cluster *cluster)
{
    for (uint64_t token = 1; token <= 3; token++)
        expect_ok(cluster, registration(token));
    run_for(cluster, SECOND_US / 2);
    expect_ok(cluster, (struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO});
    assert_true(cluster->reply.bootstrapped);
}

static void expect_same_truth(struct cluster *cluster)
{
    uint64_t digest = 0, index = 0;
    for (uint32_t i = 0; i < cluster->member_count; i++) {
        if (!cluster->members[i].pd)
            continue;
        const struct pd_fsm *fsm = pd_get_fsm(cluster->members[i].pd);
        pd_fsm_check(fsm);
        if (index == 0) {
            index = pd_fsm_applied_index(fsm);
            digest = pd_fsm_digest(fsm);
        }
        assert_int_equal(pd_fsm_applied_index(fsm), index);
        assert_true(pd_fsm_digest(fsm) == digest);
    }
}

/* ---- the tests */

static void three_members_have_one_truth(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 1, 3, 0);
    bootstrap(&cluster);
    take_ids(&cluster);
    assert_true(take_timestamp(&cluster, SECOND_US) > 0);
    run_for(&cluster, SECOND_US);
    expect_same_truth(&cluster);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_true(pd_is_ready(cluster.members[i - 1].pd));
        assert_true(ask(&cluster, i, (struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO}, SECOND_US));
        assert_int_equal(cluster.reply.members_count, 3);
        assert_true(cluster.reply.members[wait_leader(&cluster) - 1].leader);
    }
    cluster_fini(&cluster);
}

static void a_follower_sends_to_the_leader(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 2, 3, 0);
    bootstrap(&cluster);
    uint32_t leader = wait_leader(&cluster), follower = leader % 3 + 1;
    assert_true(ask(&cluster, follower, (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 1}, SECOND_US));
    assert_int_equal(cluster.reply.code, ERR_NOT_LEADER);
    assert_true(
        bytes_equal(cluster.reply.leader_address, bytes_of_string(cluster.members[leader - 1].config.address)));
    cluster_fini(&cluster);
}

enum way { WAY_CRASH, WAY_PAUSE, WAY_CUT_OFF, WAY_HUNG, WAY_COUNT };

static void strike(struct cluster *cluster, enum way way, uint32_t number)
{
    struct member *member = &cluster->members[number - 1];
    switch (way) {
    case WAY_CRASH:
        crash(cluster, number);
        break;
    case WAY_PAUSE:
        sim_node_pause(member->node);
        break;
    case WAY_CUT_OFF: /* from the others; clients reach it */
        for (uint32_t i = 0; i < cluster->member_count; i++) {
            net_block(cluster->net, member->node, cluster->members[i].node, true);
            net_block(cluster->net, cluster->members[i].node, member->node, true);
        }
        break;
    default:
        member->hung_until_us = 1000 * 1000 * (uint64_t)SECOND_US;
    }
}

static void repair(struct cluster *cluster, enum way way, uint32_t number)
{
    struct member *member = &cluster->members[number - 1];
    net_unblock_all(cluster->net);
    if (way == WAY_PAUSE)
        sim_node_resume(member->node);
    if (way == WAY_HUNG) { /* whoever waits for that disk must be killed */
        member->hung_until_us = 0;
        crash(cluster, number);
    }
    if (!sim_node_is_up(member->node))
        start(cluster, number);
}

/* Returns the status. */
static unsigned visit(struct cluster *cluster, uint32_t number, const char *method, const char *path, const char *body,
                      struct http_visitor *visitor)
{
    http_visitor_init(visitor, method, path, body);
    pd_http(cluster->members[number - 1].pd, &visitor->exchange);
    for (int i = 0; i < 80 && visitor->count == 0; i++)
        run_for(cluster, SECOND_US / 10);
    assert_int_equal(visitor->count, 1);
    return visitor->status;
}

static void a_follower_has_the_leader_answer_people(void **state)
{
    (void)state;
    struct cluster cluster;
    struct http_visitor visitor;
    cluster_init(&cluster, 3, 3, 0);
    bootstrap(&cluster);
    uint32_t leader = wait_leader(&cluster), follower = leader % 3 + 1;
    run_for(&cluster, SECOND_US);
    assert_int_equal(visit(&cluster, follower, "GET", "/pd/v1/members", "", &visitor), 200);
    assert_non_null(strstr(visitor.body, "\"leader\":true"));
    assert_int_equal(visit(&cluster, follower, "PATCH", "/pd/v1/config", "{\"store-limit\": \"3MiB\"}", &visitor), 200);
    assert_int_equal(visit(&cluster, leader, "GET", "/pd/v1/config", "", &visitor), 200);
    assert_non_null(strstr(visitor.body, "\"store-limit\":\"3MiB\""));
    assert_int_equal(visit(&cluster, follower, "GET", "/pd/v1/no-such-thing", "", &visitor), 404);
    assert_int_equal(visit(&cluster, follower, "GET", "/livez", "", &visitor), 200); /* of itself */
    /* The question gets there, or does not; the answer does not come back. */
    strike(&cluster, WAY_PAUSE, leader);
    assert_int_equal(visit(&cluster, follower, "PATCH", "/pd/v1/config", "{\"store-limit\": \"4MiB\"}", &visitor), 504);
    repair(&cluster, WAY_PAUSE, leader);
    cluster_fini(&cluster);
}

static void a_follower_serves_routes_that_may_be_stale(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 3, 3, 0);
    bootstrap(&cluster);
    uint32_t leader = wait_leader(&cluster), follower = leader % 3 + 1;
    struct wire_pd_request request = {.op = WIRE_PD_OP_GET_REGION, .key = bytes_of_string("rx"), .stale = true};
    run_for(&cluster, SECOND_US);
    assert_true(ask(&cluster, follower, request, SECOND_US));
    assert_int_equal(cluster.reply.code, ERR_OK);
    assert_int_equal(cluster.reply.routes_count, 1);
    assert_true(cluster.reply.stale);
    assert_in_range(cluster.reply.lag_ms, 0, 300);
    /* Alone: the routes are still there, and their age grows. */
    for (uint32_t i = 1; i <= 3; i++)
        if (i != follower)
            crash(&cluster, i);
    run_for(&cluster, 3 * SECOND_US);
    assert_true(ask(&cluster, follower, request, SECOND_US));
    assert_int_equal(cluster.reply.code, ERR_OK);
    assert_in_range(cluster.reply.lag_ms, 2500, 3500);
    request.stale = false;
    assert_true(ask(&cluster, follower, request, SECOND_US));
    assert_int_equal(cluster.reply.code, ERR_NOT_READY);
    request = (struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = 1, .stale = true};
    assert_true(ask(&cluster, follower, request, SECOND_US));
    assert_int_equal(cluster.reply.code, ERR_NOT_READY);
    cluster_fini(&cluster);
}

/* Must show 1: whatever happens to the leader, timestamps and routes are there again within 3 s. */
static void a_leader_that_is_lost_in_any_way_is_replaced_within_three_seconds(void **state)
{
    (void)state;
    uint64_t slowest_us[WAY_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct cluster cluster;
        cluster_init(&cluster, seed, 3, 0);
        bootstrap(&cluster);
        for (int round = 0; round < 4; round++) {
            enum way way = (enum way)((seed + (uint64_t)round) % WAY_COUNT);
            uint32_t leader = wait_leader(&cluster);
            assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
            take_ids(&cluster);
            strike(&cluster, way, leader);
            /* Let a half-dead one notice that its disk hangs: somebody wants something. */
            uint64_t us = take_timestamp(&cluster, 10 * SECOND_US);
            uint64_t begin_ns = sim_heap_ns(cluster.sim);
            for (int i = 0; i < 4; i++)
                take_ids(&cluster); /* must go through the log */
            us += (sim_heap_ns(cluster.sim) - begin_ns) / 1000;
            if (us > 3 * SECOND_US || us == 0)
                fail_msg("seed %llu way %d: %llu us", (unsigned long long)seed, (int)way, (unsigned long long)us);
            if (us > slowest_us[way])
                slowest_us[way] = us;
            sim_node_set_clock(cluster.members[leader - 1].node, 0, (int64_t)rng_below(&cluster.rng, 40000) - 20000);
            repair(&cluster, way, leader);
            run_for(&cluster, 2 * SECOND_US);
        }
        take_ids(&cluster);
        run_for(&cluster, SECOND_US);
        expect_same_truth(&cluster);
        cluster_fini(&cluster);
    }
    print_message("slowest ms: crash %llu pause %llu cut off %llu hung disk %llu\n",
                  (unsigned long long)slowest_us[WAY_CRASH] / 1000, (unsigned long long)slowest_us[WAY_PAUSE] / 1000,
                  (unsigned long long)slowest_us[WAY_CUT_OFF] / 1000, (unsigned long long)slowest_us[WAY_HUNG] / 1000);
}

/* Cut off from the others, it believes for a while that it leads, and has a window left. */
static void a_deposed_leader_gives_out_nothing(void **state)
{
    (void)state;
    uint32_t new_before_old_gave_up = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct cluster cluster;
        cluster_init(&cluster, seed, 3, 0);
        bootstrap(&cluster);
        uint32_t old = wait_leader(&cluster);
        while (cluster.asked != old)
            assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
        strike(&cluster, WAY_CUT_OFF, old);
        for (int i = 0; i < 250 && pd_is_leading(cluster.members[old - 1].pd); i++) {
            uint32_t leader = leader_of(&cluster);
            struct wire_pd_request request = {.op = WIRE_PD_OP_TIMESTAMP, .count = 1};
            run_for(&cluster, 10000);
            if (leader == 0 || leader == old || !ask(&cluster, leader, request, 20000) ||
                cluster.reply.code != ERR_OK)
                continue;
            cluster.newest = cluster.reply.timestamp;
            new_before_old_gave_up += pd_is_leading(cluster.members[old - 1].pd);
            if (ask(&cluster, old, request, 20000) && cluster.reply.code == ERR_OK)
                assert_true(cluster.reply.timestamp > cluster.newest);
        }
        cluster_fini(&cluster);
    }
    print_message("%u times there were two that thought so\n", new_before_old_gave_up);
    assert_true(new_before_old_gave_up > 0);
}

static void whoever_leads_next_starts_above_the_window(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 7, 3, 0);
    bootstrap(&cluster);
    for (int round = 0; round < 6; round++) { /* each has a slower clock */
        for (uint32_t i = 1; i <= 3; i++)
            sim_node_set_clock(cluster.members[i - 1].node, 0, -10000 * (round + 1));
        uint32_t leader = wait_leader(&cluster);
        assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
        crash(&cluster, leader);
        start(&cluster, leader);
        run_for(&cluster, 2 * SECOND_US);
    }
    assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
    cluster_fini(&cluster);
}

static void all_at_once_come_back_with_everything(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster cluster;
        cluster_init(&cluster, seed, seed % 2 ? 3 : 5, 0);
        bootstrap(&cluster);
        for (int round = 0; round < 4; round++) {
            take_ids(&cluster);
            assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
            for (uint32_t i = 1; i <= cluster.member_count; i++)
                crash(&cluster, i);
            for (uint32_t i = 1; i <= cluster.member_count; i++)
                start(&cluster, i);
        }
        take_ids(&cluster);
        assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
        expect_ok(&cluster, (struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO});
        assert_true(cluster.reply.bootstrapped);
        run_for(&cluster, SECOND_US);
        expect_same_truth(&cluster);
        cluster_fini(&cluster);
    }
}

static void who_was_away_for_long_gets_a_snapshot_in_chunks(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 5, 3, 0);
    for (uint32_t i = 0; i < 3; i++)
        cluster.members[i].config.log_size_max = 4096;
    bootstrap(&cluster);
    for (int round = 0; round < 3; round++) { /* into the other column family, and back */
        uint32_t away = wait_leader(&cluster) % 3 + 1;
        crash(&cluster, away);
        for (int i = 0; i < 300; i++)
            take_ids(&cluster);
        start(&cluster, away);
        raft_index behind = pd_fsm_applied_index(pd_get_fsm(cluster.members[away - 1].pd));
        run_for(&cluster, 3 * SECOND_US);
        expect_same_truth(&cluster);
        struct raft_status status;
        raft_get_status(pd_get_raft(cluster.members[away - 1].pd), &status);
        assert_true(status.truncated.index > behind); /* its log does not go back to what it had */
        crash(&cluster, away); /* and after a restart it has what it got */
        start(&cluster, away);
        run_for(&cluster, 2 * SECOND_US);
        take_ids(&cluster);
        run_for(&cluster, SECOND_US);
        expect_same_truth(&cluster);
    }
    cluster_fini(&cluster);
}

/* ---- members */

static enum err change(struct cluster *cluster, struct wire_pd_request request)
{
    uint32_t leader = wait_leader(cluster);
    assert_true(ask(cluster, leader, request, 5 * SECOND_US));
    return (enum err)cluster->reply.code;
}

static enum err add(struct cluster *cluster, uint32_t number)
{
    struct wire_pd_member member = {.name = bytes_of_string(cluster->members[number - 1].config.name),
                                    .address = bytes_of_string(cluster->members[number - 1].config.address)};
    return change(cluster, (struct wire_pd_request){.op = WIRE_PD_OP_ADD_MEMBER, .member = &member});
}

static enum err remove_member(struct cluster *cluster, uint64_t id)
{
    struct wire_pd_member member = {.id = id};
    return change(cluster, (struct wire_pd_request){.op = WIRE_PD_OP_REMOVE_MEMBER, .member = &member});
}

static uint32_t voter_count(struct cluster *cluster)
{
    uint32_t count = 0;
    run_for(cluster, SECOND_US / 2); /* whoever is asked has heard of it by then */
    expect_ok(cluster, (struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO});
    for (uint32_t i = 0; i < cluster->reply.members_count; i++)
        count += !cluster->reply.members[i].learner;
    return count;
}

static void one_grows_to_three_and_loses_its_first(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct cluster cluster;
        cluster_init(&cluster, seed, 1, 2);
        bootstrap(&cluster);
        take_ids(&cluster);
        for (uint32_t number = 2; number <= 3; number++) {
            assert_int_equal(add(&cluster, number), ERR_OK);
            assert_int_equal(cluster.reply.member_id, number);
            take_ids(&cluster); /* who is not there yet holds up nobody */
            start(&cluster, number);
            run_for(&cluster, SECOND_US * 3 / 2);
            assert_int_equal(voter_count(&cluster), number);
        }
        take_ids(&cluster);
        assert_true(take_timestamp(&cluster, SECOND_US) > 0);
        run_for(&cluster, SECOND_US);
        expect_same_truth(&cluster);
        /* The founder leads, mostly: it goes in order, and for ever. */
        assert_int_equal(remove_member(&cluster, 1), ERR_OK);
        run_for(&cluster, SECOND_US);
        crash(&cluster, 1);
        take_ids(&cluster);
        assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
        assert_int_equal(voter_count(&cluster), 2);
        for (uint32_t number = 2; number <= 3; number++) { /* they know who they are */
            crash(&cluster, number);
            start(&cluster, number);
        }
        take_ids(&cluster);
        assert_true(take_timestamp(&cluster, 3 * SECOND_US) > 0);
        run_for(&cluster, SECOND_US);
        expect_same_truth(&cluster);
        cluster_fini(&cluster);
    }
}

static void who_joins_may_die_at_any_moment(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster cluster;
        cluster_init(&cluster, seed, 3, 1);
        bootstrap(&cluster);
        assert_int_equal(add(&cluster, 4), ERR_OK);
        for (int round = 0; round < 3; round++) {
            start(&cluster, 4);
            run_for(&cluster, rng_below(&cluster.rng, 300000));
            crash(&cluster, 4);
        }
        start(&cluster, 4);
        take_ids(&cluster);
        run_for(&cluster, 4 * SECOND_US);
        assert_int_equal(voter_count(&cluster), 4);
        expect_same_truth(&cluster);
        cluster_fini(&cluster);
    }
}

static void changes_that_would_end_the_cluster_are_refused(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 1, 1, 0);
    bootstrap(&cluster);
    uint64_t digest = pd_fsm_digest(pd_get_fsm(cluster.members[0].pd));
    assert_int_equal(remove_member(&cluster, 1), ERR_INVALID);
    assert_non_null(memmem(cluster.reply.text.data, cluster.reply.text.size, "the last", 8));
    assert_int_equal(remove_member(&cluster, 9), ERR_NOT_FOUND);
    assert_int_equal(add(&cluster, 1), ERR_EXISTS);
    assert_true(pd_fsm_digest(pd_get_fsm(cluster.members[0].pd)) == digest);
    cluster_fini(&cluster);

    cluster_init(&cluster, 2, 3, 0);
    bootstrap(&cluster);
    uint32_t leader = wait_leader(&cluster), away = leader % 3 + 1, other = away % 3 + 1;
    crash(&cluster, away);
    run_for(&cluster, 2 * SECOND_US);
    assert_int_equal(remove_member(&cluster, other), ERR_INVALID); /* one of two would be left */
    assert_non_null(memmem(cluster.reply.text.data, cluster.reply.text.size, "no majority", 11));
    assert_int_equal(remove_member(&cluster, away), ERR_OK);
    assert_int_equal(voter_count(&cluster), 2);
    cluster_fini(&cluster);
}

static void leadership_goes_where_it_is_sent(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 3, 3, 0);
    bootstrap(&cluster);
    for (int i = 0; i < 6; i++) {
        uint32_t leader = wait_leader(&cluster), to = leader % 3 + 1;
        struct wire_pd_member member = {.id = to};
        assert_true(take_timestamp(&cluster, SECOND_US) > 0);
        assert_int_equal(
            change(&cluster, (struct wire_pd_request){.op = WIRE_PD_OP_TRANSFER_LEADER, .member = &member}), ERR_OK);
        run_for(&cluster, SECOND_US / 5);
        assert_int_equal(leader_of(&cluster), to);
    }
    struct wire_pd_member nobody = {.id = 77};
    assert_int_equal(change(&cluster, (struct wire_pd_request){.op = WIRE_PD_OP_TRANSFER_LEADER, .member = &nobody}),
                     ERR_INVALID);
    cluster_fini(&cluster);
}

/* Its votes are gone with its disk: it must not come back as the one that it was. */
static void a_voter_that_lost_its_disk_does_not_come_back_under_its_id(void **state)
{
    (void)state;
    struct cluster cluster;
    cluster_init(&cluster, 4, 3, 0);
    bootstrap(&cluster);
    uint32_t away = wait_leader(&cluster) % 3 + 1;
    struct member *member = &cluster.members[away - 1];
    crash(&cluster, away);
    struct engine *old = member->disk;
    assert_int_equal(engine_mem_new(&member->disk), ERR_OK);
    engine_mem_free(old);
    member->env.engine = member->disk;
    for (uint32_t i = 0; i < member->config.initial_cluster_count; i++)
        free(member->config.initial_cluster[i]);
    member->config.initial_cluster_count = 0;
    member->config.join = true;
    start(&cluster, away);
    run_for(&cluster, SECOND_US);
    assert_int_equal(change(&cluster, (struct wire_pd_request){.op = WIRE_PD_OP_TRANSFER_LEADER}), ERR_OK);
    run_for(&cluster, 3 * SECOND_US); /* a leader that never heard of it offers a snapshot */
    assert_null(pd_get_raft(member->pd));
    take_ids(&cluster);
    /* As another one it may. */
    assert_int_equal(remove_member(&cluster, away), ERR_OK);
    assert_int_equal(add(&cluster, away), ERR_OK);
    assert_int_equal(cluster.reply.member_id, 4);
    run_for(&cluster, 3 * SECOND_US);
    assert_int_equal(voter_count(&cluster), 3);
    cluster_fini(&cluster);
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_members_have_one_truth),
        cmocka_unit_test(a_follower_sends_to_the_leader),
        cmocka_unit_test(a_follower_has_the_leader_answer_people),
        cmocka_unit_test(a_follower_serves_routes_that_may_be_stale),
        cmocka_unit_test(a_leader_that_is_lost_in_any_way_is_replaced_within_three_seconds),
        cmocka_unit_test(a_deposed_leader_gives_out_nothing),
        cmocka_unit_test(whoever_leads_next_starts_above_the_window),
        cmocka_unit_test(all_at_once_come_back_with_everything),
        cmocka_unit_test(who_was_away_for_long_gets_a_snapshot_in_chunks),
        cmocka_unit_test(one_grows_to_three_and_loses_its_first),
        cmocka_unit_test(who_joins_may_die_at_any_moment),
        cmocka_unit_test(changes_that_would_end_the_cluster_are_refused),
        cmocka_unit_test(leadership_goes_where_it_is_sent),
        cmocka_unit_test(a_voter_that_lost_its_disk_does_not_come_back_under_its_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
