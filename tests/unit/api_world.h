/* api_world: a pd that leads three stores and some regions, over a log that commits at once, and its HTTP API. No sockets. */
#ifndef TESTS_UNIT_API_WORLD_H
#define TESTS_UNIT_API_WORLD_H

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "pd/pd_api.h"
#include "pd/pd_writes.h"
#include "rpc/frame_kind.h"

enum { API_WORLD_STORES = 4, API_WORLD_REGIONS = 6, API_WORLD_ENTRIES_MAX = 64 };

struct api_world {
    struct clock clock; /* first */
    struct env env;
    struct pd_config config;
    struct engine_batch *batch;
    struct pd_fsm *fsm;
    struct pd_service *service;
    raft_index proposed, committed;
    struct buf entries[API_WORLD_ENTRIES_MAX];
    struct pd_api api;
    struct api_answer answer; /* the last one */
};

static uint64_t api_world_now_us(struct clock *clock)
{
    (void)clock;
    return 60 * 1000 * 1000;
}

static uint64_t api_world_wall_ms(struct clock *clock)
{
    (void)clock;
    return 1700000000000;
}

static enum err api_world_propose(void *context, struct bytes command, raft_index *ret_index, raft_term *ret_term)
{
    struct api_world *world = context;
    if (world->proposed - world->committed == API_WORLD_ENTRIES_MAX)
        return ERR_BUSY;
    *ret_index = ++world->proposed;
    *ret_term = 6;
    struct buf *entry = &world->entries[world->proposed % API_WORLD_ENTRIES_MAX];
    buf_init(entry, FRAME_SIZE_MAX);
    CHECK(buf_assign(entry, command) == ERR_OK);
    return ERR_OK;
}

static void api_world_send(void *context, conn_id conn, const struct wire_pd_reply *reply)
{
    (void)context, (void)conn, (void)reply;
}

static void api_world_settle(struct api_world *world)
{
    for (;;) {
        if (pd_service_seal(world->service))
            pd_service_run(world->service);
        pd_service_round(world->service);
        if (world->committed == world->proposed)
            return;
        struct pd_fsm_result result;
        struct buf *entry = &world->entries[++world->committed % API_WORLD_ENTRIES_MAX];
        pd_fsm_apply(world->fsm, buf_bytes(entry), world->env.engine, world->batch, &result);
        pd_fsm_set_applied(world->fsm, world->committed, 6);
        buf_fini(entry);
        pd_service_applied(world->service, world->committed, 6, &result);
    }
}

static void api_world_post(struct api_world *world, struct wire_pd_request request)
{
    request.id = 1;
    request.cluster_id = pd_fsm_cluster_id(world->fsm);
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
    CHECK(frame);
    pd_service_request(world->service, 5, frame);
    api_world_settle(world);
}

/* Each region is led by its first peer, and region n has n MiB. */
static void api_world_report(struct api_world *world)
{
    const struct region_tree *regions = pd_fsm_regions(world->fsm);
    uint64_t size = 0;
    for (struct region_node *node = region_tree_seek(regions, bytes_empty()); node;
         node = region_tree_next(regions, node)) {
        struct wire_peer peers[REGION_PEER_COUNT_MAX];
        struct wire_region region;
        region_node_wire(node, peers, &region);
        struct wire_region_heartbeat heartbeat = {.region = &region,
                                                  .leader_peer = region_node_first_peer(node),
                                                  .term = 6,
                                                  .approximate_size = size << 20,
                                                  .approximate_keys = size + 1};
        api_world_post(world, (struct wire_pd_request){
                                  .op = WIRE_PD_OP_REGION_HEARTBEAT, .heartbeats = &heartbeat, .heartbeats_count = 1});
        size++;
    }
}

static inline void api_world_init(struct api_world *world)
{
    *world =
        (struct api_world){.clock = {.now_us = api_world_now_us, .wall_ms = api_world_wall_ms}, .fsm = pd_fsm_new()};
    pd_config_init(&world->config);
    world->config.bootstrap_stores = 3;
    world->config.bootstrap_regions = API_WORLD_REGIONS;
    world->config.advertise_address = strdup("tcp://pd:1");
    world->env = (struct env){.clock = &world->clock, .seed = 1};
    CHECK(engine_mem_new(&world->env.engine) == ERR_OK);
    world->batch = engine_batch_new(world->env.engine);
    const struct pd_service_host host = {.context = world, .propose = api_world_propose, .send = api_world_send};
    world->service = pd_service_new(&world->env, &world->config, world->fsm, &host);
    pd_service_begin(world->service);
    api_world_settle(world);
    for (uint64_t i = 1; i <= API_WORLD_STORES; i++) {
        char address[32];
        snprintf(address, sizeof address, "tcp://store-%llu:1", (unsigned long long)i);
        struct wire_store store = {.address = bytes_of_string(address), .version = bytes_of_string("0.1")};
        api_world_post(world,
                       (struct wire_pd_request){.op = WIRE_PD_OP_REGISTER_STORE, .store = &store, .token = 100 + i});
    }
    CHECK(pd_fsm_bootstrapped(world->fsm));
    for (uint32_t i = 0; i < pd_fsm_store_count(world->fsm); i++) {
        struct wire_store store = {
            .id = pd_fsm_store_at(world->fsm, i)->id, .capacity_size = 1ULL << 40, .available_size = 1ULL << 39};
        api_world_post(
            world, (struct wire_pd_request){.op = WIRE_PD_OP_STORE_HEARTBEAT, .store_id = store.id, .store = &store});
    }
    api_world_report(world);
    api_answer_init(&world->answer);
    world->api = (struct pd_api){.config = &world->config,
                                 .fsm = world->fsm,
                                 .cluster = pd_service_cluster(world->service),
                                 .tso = pd_writes_tso(pd_service_writes(world->service)),
                                 .sched = pd_service_sched(world->service),
                                 .now_us = api_world_now_us(NULL),
                                 .wall_ms = api_world_wall_ms(NULL),
                                 .leading = true,
                                 .leader_address = "tcp://pd:1",
                                 .term = 6};
}

/* The status; what was proposed is applied. */
static inline unsigned api_world_ask(struct api_world *world, const char *method, const char *path, const char *query,
                                     struct bytes body)
{
    const struct api_request request = {.method = method, .path = path, .query = query, .body = body};
    api_answer_fini(&world->answer);
    api_answer_init(&world->answer);
    world->api.wait_index = 0;
    pd_api_handle(&world->api, &request, &world->answer);
    frame_unref(world->api.forward); /* what pd_service would be asked: test_pd_group has members */
    world->api.forward = NULL;
    api_world_settle(world);
    CHECK(world->api.wait_index <= pd_fsm_applied_index(world->fsm));
    return world->answer.status;
}

static inline void api_world_fini(struct api_world *world)
{
    api_answer_fini(&world->answer);
    pd_service_free(world->service);
    while (world->proposed > world->committed)
        buf_fini(&world->entries[world->proposed-- % API_WORLD_ENTRIES_MAX]);
    pd_fsm_free(world->fsm);
    engine_batch_free(world->env.engine, world->batch);
    engine_mem_free(world->env.engine);
    pd_config_fini(&world->config);
}

#endif
