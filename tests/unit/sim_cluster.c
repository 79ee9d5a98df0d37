#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "sim_cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "meta/region.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/check_region.h"

enum { START_MS = 60000, ANSWER_MS = 40000, LEADER_MS = 20000 };

void sim_cluster_options_init(struct sim_cluster_options *options)
{
    *options =
        (struct sim_cluster_options){.world = {.seed = 1, .store_count = 3, .client_count = 2, .region_count = 1}};
    swarm_draw(1, false, 0, 0, &options->swarm);
}

uint64_t sim_cluster_now_ms(const struct sim_cluster *cluster)
{
    return sim_heap_ns(world_sim(cluster->world)) / 1000000;
}

static void look(struct sim_cluster *cluster)
{
    struct sim_node *last = sim_last_node(world_sim(cluster->world));
    struct world_node *node = last && sim_node_is_up(last) ? world_node_of(cluster->world, last) : NULL;
    if (!node || node->role != WORLD_STORE)
        return;
    check_raft_store(cluster->check, node);
    if (cluster->other_check)
        check_raft_store(cluster->other_check, node);
}

bool sim_cluster_run_until(struct sim_cluster *cluster, uint32_t limit_ms, bool (*is_done)(struct sim_cluster *cluster))
{
    uint64_t limit = sim_cluster_now_ms(cluster) + limit_ms, asked_ms = 0;
    while (sim_cluster_now_ms(cluster) < limit && world_step(cluster->world)) {
        look(cluster);
        if (!is_done || sim_cluster_now_ms(cluster) < asked_ms + cluster->ask_interval_ms)
            continue;
        asked_ms = sim_cluster_now_ms(cluster);
        if (is_done(cluster))
            return true;
    }
    assert_string_equal(world_failure(cluster->world), "");
    return !is_done;
}

bool sim_cluster_is_whole(struct sim_cluster *cluster)
{
    return check_raft_is_whole(cluster->check, true, NULL, 0);
}

void sim_cluster_start(struct sim_cluster *cluster, struct world_node *node)
{
    struct error err = {0};
    assert_int_equal(world_start(cluster->world, node, &err), ERR_OK);
}

struct world_node *sim_cluster_store(struct sim_cluster *cluster, store_id id)
{
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++) {
        struct world_node *node = world_store(cluster->world, i);
        if (node->store && store_get_id(node->store) == id)
            return node;
    }
    fail_msg("no such store");
    return NULL;
}

/* ---- the region */

static void see_leader(void *context, const struct store_peer_view *view)
{
    struct sim_cluster *cluster = context;
    if (!raft_is_leader(view->raft))
        return;
    region_free(cluster->region);
    cluster->region = region_copy(view->members);
    cluster->leader = region_peer_by_id(view->members, view->peer)->store_id;
}

bool sim_cluster_has_leader(struct sim_cluster *cluster)
{
    cluster->leader = 0;
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_visit_peers(world_store(cluster->world, i)->store, see_leader, cluster);
    return cluster->leader != 0;
}

const struct region *sim_cluster_look(struct sim_cluster *cluster)
{
    assert_true(sim_cluster_run_until(cluster, LEADER_MS, sim_cluster_has_leader));
    return cluster->region;
}

/* ---- its life */

struct sim_cluster *sim_cluster_new(const struct sim_cluster_options *options)
{
    struct sim_cluster *cluster = calloc(1, sizeof *cluster);
    assert_non_null(cluster);
    cluster->world = world_new(&options->world, &options->swarm);
    cluster->client = 1;
    cluster->ask_interval_ms = options->ask_interval_ms;
    cluster->check = check_raft_new(cluster->world);
    cluster->other_check = options->two_checks ? check_raft_new(cluster->world) : NULL;
    for (uint32_t i = 1; i <= options->world.store_count; i++) {
        world_store(cluster->world, i)->store_config.region_size_max = options->region_size_max;
        world_store(cluster->world, i)->store_config.region_split_size = options->region_size_max / 2;
    }
    for (uint32_t i = 0; i < world_node_count(cluster->world); i++)
        sim_cluster_start(cluster, world_node(cluster->world, i));
    assert_true(sim_cluster_run_until(cluster, START_MS, sim_cluster_is_whole));
    return cluster;
}

void sim_cluster_free(struct sim_cluster *cluster, bool equal)
{
    check_region_ranges(cluster->world);
    if (equal)
        check_region_replicas(cluster->world);
    assert_string_equal(world_failure(cluster->world), "");
    world_free(cluster->world);
    check_raft_free(cluster->check);
    check_raft_free(cluster->other_check);
    region_free(cluster->region);
    free(cluster);
}

/* ---- a client */

static void on_done(void *user, struct polder_result *take_result)
{
    struct sim_cluster *cluster = user;
    cluster->answered = true;
    cluster->answered_ms = sim_cluster_now_ms(cluster);
    cluster->outcome = take_result->outcome;
    cluster->code = take_result->code;
    cluster->found = take_result->found;
    cluster->ttl_ms = take_result->ttl_ms;
    cluster->row_count = take_result->row_count;
    snprintf(cluster->value, sizeof cluster->value, "%.*s", (int)take_result->value.size,
             (const char *)take_result->value.data);
    snprintf(cluster->text, sizeof cluster->text, "%s", take_result->text);
    polder_result_free(take_result);
}

bool sim_cluster_is_answered(struct sim_cluster *cluster)
{
    return cluster->answered;
}

void sim_cluster_submit(struct sim_cluster *cluster, struct client_call call)
{
    struct world_node *client = world_client(cluster->world, cluster->client);
    call.done = on_done;
    call.user = cluster;
    cluster->answered = false;
    sim_enter(client->node);
    assert_int_equal(client_submit(client->client, &call), ERR_OK);
    sim_leave(client->node);
}

uint64_t sim_cluster_ask(struct sim_cluster *cluster, struct client_call call)
{
    uint64_t began_ms = sim_cluster_now_ms(cluster);
    sim_cluster_submit(cluster, call);
    assert_true(sim_cluster_run_until(cluster, ANSWER_MS, sim_cluster_is_answered));
    return cluster->answered_ms - began_ms;
}

uint64_t sim_cluster_do(struct sim_cluster *cluster, struct client_call call)
{
    uint64_t took_ms = sim_cluster_ask(cluster, call);
    assert_int_equal(cluster->outcome, POLDER_DONE);
    return took_ms;
}

uint64_t sim_cluster_put(struct sim_cluster *cluster, const char *key, const char *value)
{
    return sim_cluster_do(
        cluster, (struct client_call){.op = CLIENT_PUT, .key = bytes_of_string(key), .value = bytes_of_string(value)});
}

uint64_t sim_cluster_get(struct sim_cluster *cluster, const char *key, const char *value)
{
    uint64_t took_ms = sim_cluster_do(cluster, (struct client_call){.op = CLIENT_GET, .key = bytes_of_string(key)});
    assert_string_equal(cluster->value, value);
    return took_ms;
}
