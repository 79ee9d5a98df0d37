#include "operators.h"

#include <stdlib.h>

#include "base/check.h"
#include "raft/raft.h"

enum { CANDIDATES_MAX = 64 };

struct operators {
    struct world *world;
    struct rng rng;
    uint64_t interval_ms;
    bool stopped;
    /* during a visit */
    struct {
        region_id region;
        peer_id to;
    } moves[CANDIDATES_MAX];
    uint32_t move_count;
};

static void visit(void *context, const struct store_peer_view *view)
{
    struct operators *operators = context;
    struct raft_conf conf;
    raft_get_conf(view->raft, &conf);
    for (uint32_t i = 0; i < conf.count; i++)
        if (raft_is_leader(view->raft) && conf.members[i].id != view->peer && operators->move_count < CANDIDATES_MAX) {
            operators->moves[operators->move_count].region = view->region;
            operators->moves[operators->move_count++].to = conf.members[i].id;
        }
}

static void move_a_leader(struct operators *operators)
{
    struct world *world = operators->world;
    uint32_t number = (uint32_t)rng_between(&operators->rng, 1, world_options(world)->store_count);
    struct world_node *store = world_store(world, number);
    if (!store->store || sim_node_is_paused(store->node))
        return;
    operators->move_count = 0;
    store_visit_peers(store->store, visit, operators);
    if (operators->move_count == 0)
        return;
    uint32_t at = (uint32_t)rng_below(&operators->rng, operators->move_count);
    sim_trace(world_sim(world), "operator: s%u hands region=%llu to peer %llu", number,
              (unsigned long long)operators->moves[at].region, (unsigned long long)operators->moves[at].to);
    sim_enter(store->node);
    store_transfer_leader(store->store, operators->moves[at].region, operators->moves[at].to);
    sim_leave(store->node);
}

static void act(void *context)
{
    struct operators *operators = context;
    struct sim *sim = world_sim(operators->world);
    if (operators->stopped)
        return;
    move_a_leader(operators);
    uint64_t wait_ns = rng_between(&operators->rng, 1, operators->interval_ms) * 1000000;
    sim_at(sim, sim_heap_ns(sim) + wait_ns, NULL, act, NULL, operators);
}

struct operators *operators_new(struct world *world)
{
    struct operators *operators = calloc(1, sizeof *operators);
    CHECK(operators);
    operators->world = world;
    rng_init(&operators->rng, world_options(world)->seed, "operators");
    operators->interval_ms = rng_between(&operators->rng, 100, 2000);
    if (rng_chance(&operators->rng, 1, 2))
        sim_at(world_sim(world), 0, NULL, act, NULL, operators);
    return operators;
}

void operators_stop(struct operators *operators)
{
    operators->stopped = true;
}

void operators_free(struct operators *operators)
{
    free(operators);
}
