#include "traps.h"

#include <stdlib.h>

#include "base/check.h"
#include "client/client_internal.h"
#include "proto/wire.h"
#include "raft/raft.h"

enum { PAUSE_MS_MAX = 300, LOOK_NS = 1000000, DOWN_US_MAX = 3000, REDIAL_MS = 120, RIPE_MAX = 16 };

struct traps {
    struct world *world;
    struct faults *faults;
    struct rng rng;
    bool set;      /* one at a time */
    bool handover; /* waits for the leader to tell */
    struct world_node *leader, *campaigner, *restarter;
    region_id region;
    bool deaf[WORLD_STORE_MAX + 1]; /* these stores do not reach the leader ... */
    bool mute[WORLD_STORE_MAX + 1]; /* ... and it does not reach these */
    uint64_t give_up_ns;
    uint32_t ticks_before; /* the campaign; then it springs */
    /* during a visit */
    struct world_node *visited;
    struct world_node *peers[WORLD_STORE_MAX];
    uint32_t peer_count, seen_count;
    struct {
        region_id region;
        raft_index last;
    } ripe[RIPE_MAX];
    uint32_t ripe_count;
    bool is_ripe, clients_are_out;
    peer_id leading_peer;
    raft_term leading_term;
    struct raft_conf conf;
    bool wants_lease; /* who may be chosen */
    bool leads_still, has_successor, waits_for_round;
};

static struct sim *sim_of(struct traps *traps)
{
    return world_sim(traps->world);
}

static uint64_t election_ns(const struct traps *traps)
{
    const struct swarm *swarm = world_swarm(traps->world);
    return (uint64_t)swarm->tick_ms * swarm->election_ticks * 1000000;
}

static void visit_all(struct traps *traps, void (*visit)(void *context, const struct store_peer_view *view))
{
    for (uint32_t number = 1; number <= world_options(traps->world)->store_count; number++) {
        traps->visited = world_store(traps->world, number);
        if (traps->visited->store && sim_node_is_up(traps->visited->node))
            store_visit_peers(traps->visited->store, visit, traps);
    }
}

/* ---- walls around the leader */

static void set_wall(struct traps *traps, const struct world_node *store, bool mute)
{
    struct net *net = world_net(traps->world);
    traps->deaf[store->number] = true;
    net_block(net, store->node, traps->leader->node, true);
    if (!mute)
        return;
    traps->mute[store->number] = true;
    net_block(net, traps->leader->node, store->node, true);
}

/* Nobody writes there: who misses a write wins no election. */
static void keep_clients_out(struct traps *traps, bool out)
{
    if (out == traps->clients_are_out)
        return;
    traps->clients_are_out = out;
    for (uint32_t number = 1; number <= world_options(traps->world)->client_count && faults_aim(traps->faults);
         number++)
        net_block(world_net(traps->world), world_client(traps->world, number)->node, traps->leader->node, out);
}

static void remove_walls(void *context)
{
    struct traps *traps = context;
    struct net *net = world_net(traps->world);
    for (uint32_t number = 1; number <= world_options(traps->world)->store_count; number++) {
        const struct world_node *store = world_store(traps->world, number);
        if (traps->deaf[number] && faults_aim(traps->faults)) /* else they are gone already */
            net_block(net, store->node, traps->leader->node, false);
        if (traps->mute[number] && faults_aim(traps->faults))
            net_block(net, traps->leader->node, store->node, false);
        traps->deaf[number] = traps->mute[number] = false;
    }
    keep_clients_out(traps, false);
    traps->set = false;
}

/* ---- restart */

static void choose_leader(void *context, const struct store_peer_view *view)
{
    struct traps *traps = context;
    if (!(traps->wants_lease ? view->lease : raft_is_leader_ready(view->raft)) ||
        rng_below(&traps->rng, ++traps->seen_count) != 0)
        return;
    traps->leader = traps->visited;
    traps->region = view->region;
    traps->leading_peer = view->peer;
    traps->leading_term = raft_term_now(view->raft);
    raft_get_conf(view->raft, &traps->conf);
}

static void find_peers(void *context, const struct store_peer_view *view)
{
    struct traps *traps = context;
    if (view->region == traps->region && traps->visited != traps->leader)
        traps->peers[traps->peer_count++] = traps->visited;
}

/* Regions in which the campaigner campaigns soon. */
static void see_ripe(void *context, const struct store_peer_view *view)
{
    struct traps *traps = context;
    if (traps->visited != traps->campaigner || raft_is_leader(view->raft) || traps->ripe_count == RIPE_MAX ||
        raft_next_deadline(view->raft) > traps->ticks_before)
        return;
    traps->ripe[traps->ripe_count].region = view->region;
    traps->ripe[traps->ripe_count++].last = raft_last_index(view->raft);
}

/* One of them that the leader has a lease on, and in which nothing was written since: else nobody votes for it. */
static void see_ripe_leader(void *context, const struct store_peer_view *view)
{
    struct traps *traps = context;
    for (uint32_t i = 0; i < traps->ripe_count && traps->visited == traps->leader && view->lease; i++)
        if (traps->ripe[i].region == view->region && traps->ripe[i].last == raft_last_index(view->raft)) {
            traps->region = view->region;
            traps->is_ripe = true;
        }
}

static void spring(struct traps *traps)
{
    sim_trace(sim_of(traps), "trap: %s restarts, %s is alone, %s wants region=%llu ",
              sim_node_name(traps->restarter->node), sim_node_name(traps->leader->node),
              sim_node_name(traps->campaigner->node), (unsigned long long)traps->region);
    set_wall(traps, traps->restarter, true);
    faults_kill(traps->faults, traps->restarter, false, rng_between(&traps->rng, 1, DOWN_US_MAX) * 1000);
    sim_at(sim_of(traps), sim_heap_ns(sim_of(traps)) + 2 * election_ns(traps), NULL, remove_walls, NULL, traps);
}

static void look(void *context)
{
    struct traps *traps = context;
    uint64_t now_ns = sim_heap_ns(sim_of(traps));
    traps->ripe_count = 0;
    traps->is_ripe = false;
    visit_all(traps, see_ripe);
    visit_all(traps, see_ripe_leader);
    if (!faults_aim(traps->faults) || now_ns >= traps->give_up_ns || !sim_node_is_up(traps->restarter->node))
        remove_walls(traps);
    else if (traps->is_ripe)
        spring(traps);
    else
        sim_at(sim_of(traps), now_ns + LOOK_NS, NULL, look, NULL, traps);
}

static void set_restart(struct traps *traps)
{
    traps->peer_count = 0;
    visit_all(traps, find_peers);
    if (traps->peer_count != 2)
        return;
    uint32_t first = (uint32_t)rng_below(&traps->rng, 2);
    traps->campaigner = traps->peers[first];
    traps->restarter = traps->peers[1 - first];
    traps->set = true;
    /* Time enough for the campaigner to find the restarted one, and hardly more: the lease goes on. */
    traps->ticks_before = (uint32_t)(1 + REDIAL_MS / world_swarm(traps->world)->tick_ms + rng_below(&traps->rng, 2));
    traps->give_up_ns = sim_heap_ns(sim_of(traps)) + 5 * election_ns(traps);
    set_wall(traps, traps->campaigner, true);
    keep_clients_out(traps, true);
    look(traps);
}

/* ---- late: the leader goes deaf, a little later mute; when it has a successor, it hears what it was told before */

static void see_successor(void *context, const struct store_peer_view *view)
{
    struct traps *traps = context;
    if (view->region != traps->region || !raft_is_leader_ready(view->raft))
        return;
    if (traps->visited == traps->leader && raft_term_now(view->raft) == traps->leading_term)
        traps->leads_still = true;
    if (raft_term_now(view->raft) > traps->leading_term)
        traps->has_successor = true;
}

/* Some look for another leader, and find the successor; the others go on to ask the one they know. */
static void confuse_clients(struct traps *traps)
{
    for (uint32_t number = 1; number <= world_options(traps->world)->client_count; number++) {
        struct client *client = world_client(traps->world, number)->client;
        struct route *route = client ? router_find_by_id(client->router, traps->region) : NULL;
        if (route && rng_chance(&traps->rng, 1, 2))
            router_set_leader(client->router, route, 0);
    }
}

static void wait_for_successor(void *context)
{
    struct traps *traps = context;
    uint64_t now_ns = sim_heap_ns(sim_of(traps));
    traps->leads_still = traps->has_successor = false;
    visit_all(traps, see_successor);
    if (!faults_aim(traps->faults) || now_ns >= traps->give_up_ns || !traps->leads_still)
        remove_walls(traps);
    else if (traps->has_successor) {
        confuse_clients(traps);
        sim_at(sim_of(traps), now_ns + rng_below(&traps->rng, election_ns(traps)), NULL, remove_walls, NULL, traps);
    } else
        sim_at(sim_of(traps), now_ns + LOOK_NS, NULL, wait_for_successor, NULL, traps);
}

static void wall_in(struct traps *traps, bool mute)
{
    for (uint32_t number = 1; number <= world_options(traps->world)->store_count; number++)
        if (number != traps->leader->number)
            set_wall(traps, world_store(traps->world, number), mute);
}

static void make_mute(void *context)
{
    struct traps *traps = context;
    struct net *net = world_net(traps->world);
    if (!faults_aim(traps->faults)) {
        remove_walls(traps);
        return;
    }
    for (uint32_t number = 1; number <= world_options(traps->world)->store_count; number++) {
        if (number == traps->leader->number)
            continue;
        traps->mute[number] = true;
        net_block(net, traps->leader->node, world_store(traps->world, number)->node, true);
    }
    wait_for_successor(traps);
}

static uint64_t draw_heartbeats_ns(struct traps *traps)
{
    const struct swarm *swarm = world_swarm(traps->world);
    return rng_below(&traps->rng, 2 * (uint64_t)swarm->tick_ms * swarm->heartbeat_ticks * 1000000);
}

static void set_late(struct traps *traps)
{
    traps->set = true;
    traps->give_up_ns = sim_heap_ns(sim_of(traps)) + 3 * election_ns(traps);
    sim_trace(sim_of(traps), "trap: %s leads region=%llu and goes deaf", sim_node_name(traps->leader->node),
              (unsigned long long)traps->region);
    wall_in(traps, false);
    sim_at(sim_of(traps), sim_heap_ns(sim_of(traps)) + draw_heartbeats_ns(traps), NULL, make_mute, NULL, traps);
}

/* ---- handover */

static peer_id any_follower(struct traps *traps)
{
    uint32_t first = (uint32_t)rng_below(&traps->rng, traps->conf.count);
    for (uint32_t i = 0; i < traps->conf.count; i++) {
        const struct raft_member *member = &traps->conf.members[(first + i) % traps->conf.count];
        if (member->id != traps->leading_peer && member->roles & RAFT_VOTER)
            return member->id;
    }
    return 0;
}

/* Deaf first, then a round, and at once the handover: the answers to that round wait until the successor works. */
static void hand_over_deaf(void *context)
{
    struct traps *traps = context;
    peer_id to = any_follower(traps);
    if (faults_aim(traps->faults) && sim_node_is_up(traps->leader->node) && traps->leader->store) {
        sim_enter(traps->leader->node);
        store_transfer_leader(traps->leader->store, traps->region, to);
        sim_leave(traps->leader->node);
    }
    wait_for_successor(traps);
}

static void give_up_waiting(void *context)
{
    struct traps *traps = context;
    if (traps->waits_for_round)
        remove_walls(traps);
    traps->waits_for_round = false;
}

static void set_deaf_handover(struct traps *traps)
{
    traps->set = true;
    traps->give_up_ns = sim_heap_ns(sim_of(traps)) + election_ns(traps);
    sim_trace(sim_of(traps), "trap: %s goes deaf and will hand over region=%llu ", sim_node_name(traps->leader->node),
              (unsigned long long)traps->region);
    wall_in(traps, false);
    traps->waits_for_round = true;
    sim_at(sim_of(traps), traps->give_up_ns, NULL, give_up_waiting, NULL, traps);
}

static void set_handover(struct traps *traps)
{
    peer_id to = any_follower(traps);
    if (to == 0)
        return;
    traps->handover = true;
    sim_enter(traps->leader->node);
    store_transfer_leader(traps->leader->store, traps->region, to);
    sim_leave(traps->leader->node);
}

void traps_see_message(void *context, struct sim_node *from, struct sim_node *to,
                       const struct wire_raft_message *message)
{
    struct traps *traps = context;
    (void)to;
    if (traps->waits_for_round && message->region_id == traps->region && message->from == traps->leading_peer &&
        (message->kind == RAFT_HEARTBEAT || message->kind == RAFT_APP)) {
        traps->waits_for_round = false;
        sim_at(sim_of(traps), sim_heap_ns(sim_of(traps)) + rng_below(&traps->rng, LOOK_NS), NULL, hand_over_deaf, NULL,
               traps);
    }
    if (message->kind != RAFT_TIMEOUT_NOW || traps->set || !faults_aim(traps->faults) ||
        !(traps->handover || rng_chance(&traps->rng, 1, 2)))
        return;
    traps->set = true;
    traps->handover = false;
    traps->leader = world_node_of(traps->world, from);
    sim_trace(sim_of(traps), "trap: %s hands over region=%llu and goes deaf", sim_node_name(from),
              (unsigned long long)message->region_id);
    wall_in(traps, false);
    sim_at(sim_of(traps), sim_heap_ns(sim_of(traps)) + election_ns(traps), NULL, remove_walls, NULL, traps);
}

/* ---- install */

struct install {
    struct traps *traps;
    struct world_node *store;
};

static void kill_installer(void *context)
{
    struct install *install = context;
    struct traps *traps = install->traps;
    if (faults_aim(traps->faults) && sim_node_is_up(install->store->node)) {
        sim_trace(sim_of(traps), "trap: %s dies, it was to install a snapshot", sim_node_name(install->store->node));
        faults_kill(traps->faults, install->store, rng_chance(&traps->rng, 1, 2),
                    rng_between(&traps->rng, 1, PAUSE_MS_MAX) * 1000000);
    }
    free(install);
}

static void free_install(void *context)
{
    free(context);
}

void traps_see_install(void *context, struct world_node *store)
{
    struct traps *traps = context;
    if (!faults_aim(traps->faults) || !rng_chance(&traps->rng, 1, 8))
        return;
    struct install *install = malloc(sizeof *install);
    CHECK(install);
    *install = (struct install){.traps = traps, .store = store};
    sim_at(sim_of(traps), sim_heap_ns(sim_of(traps)) + rng_below(&traps->rng, 2000000), NULL, kill_installer,
           free_install, install);
}

/* ---- which */

static void set_one(struct traps *traps)
{
    switch (rng_below(&traps->rng, 5)) {
    case 0:
        set_handover(traps);
        break;
    case 1:
        set_deaf_handover(traps);
        break;
    case 2:
        set_late(traps);
        break;
    default:
        set_restart(traps);
    }
}

static void next(void *context)
{
    struct traps *traps = context;
    traps->handover = false;
    if (faults_aim(traps->faults) && !traps->set) {
        traps->leader = NULL;
        traps->seen_count = 0;
        traps->wants_lease = rng_chance(&traps->rng, 1, 2);
        visit_all(traps, choose_leader);
        if (traps->leader)
            set_one(traps);
    }
    sim_at(sim_of(traps), sim_heap_ns(sim_of(traps)) + rng_between(&traps->rng, 1, PAUSE_MS_MAX) * 1000000, NULL, next,
           NULL, traps);
}

/* ---- life */

struct traps *traps_new(struct world *world, struct faults *faults)
{
    struct traps *traps = calloc(1, sizeof *traps);
    CHECK(traps);
    traps->world = world;
    traps->faults = faults;
    rng_init(&traps->rng, world_options(world)->seed, "traps");
    sim_at(world_sim(world), 0, NULL, next, NULL, traps);
    return traps;
}

void traps_free(struct traps *traps)
{
    free(traps);
}
