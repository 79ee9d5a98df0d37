#include "operators.h"

#include <stdlib.h>

#include "base/check.h"
#include "meta/keyspace.h"
#include "meta/region.h"
#include "raft/raft.h"

enum { CANDIDATES_MAX = 256, SPLIT_KEYS_MAX = 24, SPLITS_MAX = 32 };

struct operators {
    struct world *world;
    struct rng rng;
    struct workload *workload; /* whose keys regions are split at */
    uint64_t interval_ms;
    uint64_t split_interval_ms;
    uint32_t splits_left;
    uint64_t merge_interval_ms;
    struct world_node *cut_store;
    bool stopped;
    bool stores_were_ready; /* all of them, once: every first region has its rows */
    /* during a visit */
    struct {
        region_id region;
        peer_id to;
        region_id neighbour;
    } moves[CANDIDATES_MAX];
    const struct region *ranges[CANDIDATES_MAX];
    bool led[CANDIDATES_MAX];
    uint32_t range_count;
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

/* ---- splits */

static void visit_led(void *context, const struct store_peer_view *view)
{
    struct operators *operators = context;
    if (raft_is_leader(view->raft) && operators->move_count < CANDIDATES_MAX)
        operators->moves[operators->move_count++].region = view->region;
}

static bool are_stores_ready(struct world *world)
{
    for (uint32_t number = 1; number <= world_options(world)->store_count; number++) {
        struct world_node *store = world_store(world, number);
        if (!store->store || !store_is_ready(store->store))
            return false;
    }
    return true;
}

static int compare_bytes(const void *a, const void *b)
{
    return bytes_compare(*(const struct bytes *)a, *(const struct bytes *)b);
}

/* The clients of the store that splits. */
static void cut_off(void *context)
{
    struct operators *operators = context;
    struct world *world = operators->world;
    for (uint32_t number = 1; number <= world_options(world)->client_count && !operators->stopped; number++)
        net_cut(world_net(world), operators->cut_store->node, world_client(world, number)->node);
}

/* Some lie in the region, most do not: those the store leaves out. */
static void split_a_region(struct operators *operators)
{
    struct world *world = operators->world;
    uint32_t number = (uint32_t)rng_between(&operators->rng, 1, world_options(world)->store_count);
    struct world_node *store = world_store(world, number);
    operators->stores_were_ready |= are_stores_ready(world);
    if (!operators->stores_were_ready || !store->store || sim_node_is_paused(store->node))
        return;
    operators->move_count = 0;
    store_visit_peers(store->store, visit_led, operators);
    if (operators->move_count == 0)
        return;
    region_id region = operators->moves[rng_below(&operators->rng, operators->move_count)].region;
    struct bytes keys[SPLIT_KEYS_MAX];
    uint8_t data[SPLIT_KEYS_MAX][WORKLOAD_KEY_SIZE_MAX + 2];
    uint32_t count = (uint32_t)rng_between(&operators->rng, 1, SPLIT_KEYS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes key = workload_any_key(operators->workload, &operators->rng);
        data[i][0] = KEYSPACE_RAW;
        memcpy(data[i] + 1, key.data, key.size);
        data[i][key.size + 1] = (uint8_t)rng_below(&operators->rng, 256);
        keys[i] = bytes_of(data[i], key.size + 1 + rng_chance(&operators->rng, 1, 4));
    }
    qsort(keys, count, sizeof keys[0], compare_bytes);
    sim_trace(world_sim(world), "operator: s%u splits region=%llu", number, (unsigned long long)region);
    sim_enter(store->node);
    store_split_region(store->store, region, keys, count);
    sim_leave(store->node);
    operators->splits_left--;
    /* Who does not hear the answer asks again, under its token, perhaps somebody else. */
    bool cuts = world_swarm(world)->fault_mask & FAULT_BIT(FAULT_CUT);
    if (cuts && rng_chance(&operators->rng, 1, 2))
        sim_at(world_sim(world), sim_heap_ns(world_sim(world)) + rng_below(&operators->rng, 8000000), NULL, cut_off,
               NULL, operators);
    operators->cut_store = store;
}

/* ---- merges */

static void visit_range(void *context, const struct store_peer_view *view)
{
    struct operators *operators = context;
    if (operators->range_count == CANDIDATES_MAX)
        return;
    operators->led[operators->range_count] = raft_is_leader(view->raft);
    operators->ranges[operators->range_count++] = view->range;
}

static void add_neighbours(struct operators *operators, uint32_t at)
{
    const struct region *region = operators->ranges[at];
    for (uint32_t i = 0; i < operators->range_count && operators->move_count < CANDIDATES_MAX; i++) {
        const struct region *other = operators->ranges[i];
        if ((region->end_key.size > 0 && bytes_equal(region->end_key, other->start_key)) ||
            (other->end_key.size > 0 && bytes_equal(other->end_key, region->start_key))) {
            operators->moves[operators->move_count].region = region->id;
            operators->moves[operators->move_count++].neighbour = other->id;
        }
    }
}

static void merge_a_region(struct operators *operators)
{
    struct world *world = operators->world;
    uint32_t number = (uint32_t)rng_between(&operators->rng, 1, world_options(world)->store_count);
    struct world_node *store = world_store(world, number);
    if (!store->store || sim_node_is_paused(store->node))
        return;
    operators->move_count = operators->range_count = 0;
    store_visit_peers(store->store, visit_range, operators);
    for (uint32_t i = 0; i < operators->range_count; i++)
        if (operators->led[i])
            add_neighbours(operators, i);
    if (operators->move_count == 0)
        return;
    uint32_t at = (uint32_t)rng_below(&operators->rng, operators->move_count);
    sim_trace(world_sim(world), "operator: s%u merges region=%llu into region=%llu", number,
              (unsigned long long)operators->moves[at].region, (unsigned long long)operators->moves[at].neighbour);
    sim_enter(store->node);
    store_merge_region(store->store, operators->moves[at].region, operators->moves[at].neighbour);
    sim_leave(store->node);
}

static void act_merge(void *context)
{
    struct operators *operators = context;
    struct sim *sim = world_sim(operators->world);
    if (operators->stopped)
        return;
    merge_a_region(operators);
    uint64_t wait_ns = rng_between(&operators->rng, 1, operators->merge_interval_ms) * 1000000;
    sim_at(sim, sim_heap_ns(sim) + wait_ns, NULL, act_merge, NULL, operators);
}

static void act_split(void *context)
{
    struct operators *operators = context;
    struct sim *sim = world_sim(operators->world);
    if (operators->stopped || operators->splits_left == 0)
        return;
    split_a_region(operators);
    uint64_t wait_ns = rng_between(&operators->rng, 1, operators->split_interval_ms) * 1000000;
    sim_at(sim, sim_heap_ns(sim) + wait_ns, NULL, act_split, NULL, operators);
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

struct operators *operators_new(struct world *world, struct workload *workload)
{
    struct operators *operators = calloc(1, sizeof *operators);
    CHECK(operators);
    operators->world = world;
    operators->workload = workload;
    rng_init(&operators->rng, world_options(world)->seed, "operators");
    operators->interval_ms = rng_between(&operators->rng, 100, 2000);
    if (rng_chance(&operators->rng, 1, 2))
        sim_at(world_sim(world), 0, NULL, act, NULL, operators);
    operators->split_interval_ms = rng_between(&operators->rng, 20, 1500);
    operators->splits_left = SPLITS_MAX;
    if (rng_chance(&operators->rng, 1, 2))
        sim_at(world_sim(world), 0, NULL, act_split, NULL, operators);
    operators->merge_interval_ms = rng_between(&operators->rng, 20, 3000);
    if (rng_chance(&operators->rng, 1, 2))
        sim_at(world_sim(world), 0, NULL, act_merge, NULL, operators);
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
