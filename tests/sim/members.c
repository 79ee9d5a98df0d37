#include "members.h"

#include <stdlib.h>

#include "base/check.h"
#include "meta/region.h"
#include "proto/wire.h"
#include "raft/raft.h"

enum { CANDIDATES_MAX = 256, CHANGES_MAX = 40, VOTERS_MAX = 5 };

struct members {
    struct world *world;
    struct rng rng;
    uint64_t interval_ms;
    uint32_t left;
    uint32_t voters_min; /* what is lost with the disk of the only one that has it is lost */
    bool stopped;
    bool stores_were_ready;                 /* all of them, once */
    struct region *regions[CANDIDATES_MAX]; /* owned; led by the store that was visited */
    uint32_t count;
};

struct plan {
    struct wire_peer_change changes[RAFT_CHANGE_COUNT_MAX];
    uint32_t count;
};

static void visit_led(void *context, const struct store_peer_view *view)
{
    struct members *members = context;
    if (raft_is_leader(view->raft) && members->count < CANDIDATES_MAX)
        members->regions[members->count++] = region_copy(view->members);
}

static void add(struct plan *plan, uint8_t kind, store_id store)
{
    if (store != 0 && plan->count < RAFT_CHANGE_COUNT_MAX)
        plan->changes[plan->count++] = (struct wire_peer_change){.kind = kind, .store_id = store};
}

/* Any store with a peer of that role, or (WIRE_PEER_ROLE_... that does not exist) without a peer; 0: there is none. */
enum { NO_PEER = 255 };
static store_id any_store(struct members *members, const struct region *region, uint8_t role)
{
    uint32_t count = world_options(members->world)->store_count;
    uint32_t first = (uint32_t)rng_below(&members->rng, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct world_node *node = world_store(members->world, 1 + (first + i) % count);
        store_id id = node->store ? store_get_id(node->store) : 0;
        const struct region_peer *peer = id ? region_peer_on_store(region, id) : NULL;
        if (id != 0 && (peer ? peer->role == role : role == NO_PEER))
            return id;
    }
    return 0;
}

static uint32_t count_role(const struct region *region, uint8_t role)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < region->peer_count; i++)
        count += region->peers[i].role == role;
    return count;
}

/* Towards what a region usually has, on ways that it usually does not take. */
static void draw(struct members *members, const struct region *region, struct plan *plan)
{
    struct rng *rng = &members->rng;
    uint32_t voters = count_role(region, WIRE_PEER_ROLE_VOTER);
    store_id voter = any_store(members, region, WIRE_PEER_ROLE_VOTER);
    store_id learner = any_store(members, region, WIRE_PEER_ROLE_LEARNER);
    if (learner && rng_chance(rng, 2, 3)) {
        add(plan, WIRE_PEER_CHANGE_KIND_PROMOTE, learner);
        if (voters >= 3 && rng_chance(rng, 2, 3))
            add(plan, rng_chance(rng, 1, 3) ? WIRE_PEER_CHANGE_KIND_DEMOTE : WIRE_PEER_CHANGE_KIND_REMOVE, voter);
    } else if (learner && rng_chance(rng, 1, 3))
        add(plan, WIRE_PEER_CHANGE_KIND_REMOVE, learner);
    else if (voters >= VOTERS_MAX || (voters > members->voters_min && rng_chance(rng, 1, 3)))
        add(plan, rng_chance(rng, 1, 4) ? WIRE_PEER_CHANGE_KIND_DEMOTE : WIRE_PEER_CHANGE_KIND_REMOVE, voter);
    if (plan->count == 0 || rng_chance(rng, 1, 4))
        add(plan, WIRE_PEER_CHANGE_KIND_ADD_LEARNER, any_store(members, region, NO_PEER));
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

static void change(struct members *members)
{
    struct world *world = members->world;
    uint32_t number = (uint32_t)rng_between(&members->rng, 1, world_options(world)->store_count);
    struct world_node *store = world_store(world, number);
    members->stores_were_ready |= are_stores_ready(world);
    if (!members->stores_were_ready || !store->store || sim_node_is_paused(store->node))
        return;
    members->count = 0;
    store_visit_peers(store->store, visit_led, members);
    const struct region *region = members->count ? members->regions[rng_below(&members->rng, members->count)] : NULL;
    struct plan plan = {0};
    if (region)
        draw(members, region, &plan);
    for (uint32_t i = 0; i < plan.count; i++)
        sim_trace(world_sim(world), "members: s%u region=%llu conf=%llu kind=%u store=%llu", number,
                  (unsigned long long)region->id, (unsigned long long)region->epoch_conf, plan.changes[i].kind,
                  (unsigned long long)plan.changes[i].store_id);
    if (plan.count > 0) {
        members->left--;
        sim_enter(store->node);
        store_change_peers(store->store, region->id, plan.changes, plan.count);
        sim_leave(store->node);
    }
    while (members->count > 0)
        region_free(members->regions[--members->count]);
}

static void act(void *context)
{
    struct members *members = context;
    struct sim *sim = world_sim(members->world);
    if (members->stopped || members->left == 0)
        return;
    change(members);
    uint64_t wait_ns = rng_between(&members->rng, 1, members->interval_ms) * 1000000;
    sim_at(sim, sim_heap_ns(sim) + wait_ns, NULL, act, NULL, members);
}

struct members *members_new(struct world *world)
{
    struct members *members = calloc(1, sizeof *members);
    CHECK(members);
    members->world = world;
    rng_init(&members->rng, world_options(world)->seed, "members");
    members->interval_ms = rng_between(&members->rng, 20, 1500);
    members->left = CHANGES_MAX;
    members->voters_min = world_swarm(world)->fault_mask & FAULT_BIT(FAULT_DAMAGE) ? 2 : 1;
    if (rng_chance(&members->rng, 1, 2))
        sim_at(world_sim(world), 0, NULL, act, NULL, members);
    return members;
}

void members_stop(struct members *members)
{
    members->stopped = true;
}

void members_free(struct members *members)
{
    free(members);
}
