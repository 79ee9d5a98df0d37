#include "faults.h"

#include <stdlib.h>

#include "base/check.h"
#include "env/engine_mem.h"
#include "group/group_keys.h"
#include "proto/wire.h"
#include "raft/raft.h"
#include "storenode/store_keys.h"

enum { SUPERVISOR_US = 500 * 1000 /* how soon a node that is down without a reason is started again */ };

struct faults {
    struct world *world;
    struct workload *workload;
    struct rng rng;
    uint64_t mask;
    bool healed;
    bool began;
    uint64_t heal_ns;
    uint64_t aimed_ns; /* when the last aimed fault was */
    uint64_t down_until_ns[WORLD_NODE_MAX];
};

/* The end of a fault that lasts. */
struct ending {
    struct faults *faults;
    enum fault_kind kind;
    struct world_node *node;
    struct world_node *from, *to; /* NULL: any */
    bool both_ways;
    uint8_t sides[WORLD_NODE_MAX]; /* SPLIT: who is where; bits, 3: reaches both */
};

static struct sim *sim_of(struct faults *faults)
{
    return world_sim(faults->world);
}

static struct sim_node *sim_node_or_any(const struct world_node *node)
{
    return node ? node->node : NULL;
}

/* ---- choosing */

struct leader_search {
    uint32_t count;
    bool leads[WORLD_STORE_MAX + 1];
    uint32_t store;
};

static void visit_leader(void *context, const struct store_peer_view *view)
{
    struct leader_search *search = context;
    search->leads[search->store] = search->leads[search->store] || raft_is_leader(view->raft);
}

/* A store that leads something; NULL: none does. */
static struct world_node *any_leader(struct faults *faults)
{
    struct leader_search search = {0};
    uint32_t store_count = world_options(faults->world)->store_count;
    uint32_t first = (uint32_t)rng_below(&faults->rng, store_count);
    for (search.store = 1; search.store <= store_count; search.store++) {
        const struct world_node *node = world_store(faults->world, search.store);
        if (node->store)
            store_visit_peers(node->store, visit_leader, &search);
    }
    for (uint32_t i = 0; i < store_count; i++)
        if (search.leads[1 + (first + i) % store_count])
            return world_store(faults->world, 1 + (first + i) % store_count);
    return NULL;
}

static struct world_node *any_store(struct faults *faults)
{
    struct world_node *leader = rng_chance(&faults->rng, 1, 2) ? any_leader(faults) : NULL;
    if (leader)
        return leader;
    return world_store(faults->world,
                       (uint32_t)rng_between(&faults->rng, 1, world_options(faults->world)->store_count));
}

/* Of several, mostly the one that leads. */
static struct world_node *any_pd(struct faults *faults)
{
    uint32_t count = world_options(faults->world)->pd_count;
    if (count == 1 || rng_chance(&faults->rng, 2, 3))
        return world_pd(faults->world);
    return world_pd_member(faults->world, (uint32_t)rng_between(&faults->rng, 1, count));
}

/* Mostly stores, now and then anybody. */
static struct world_node *any_node(struct faults *faults)
{
    if (world_options(faults->world)->pd_count > 1 && rng_chance(&faults->rng, 1, 4))
        return any_pd(faults);
    if (rng_chance(&faults->rng, 3, 4))
        return any_store(faults);
    return world_node(faults->world, (uint32_t)rng_below(&faults->rng, world_node_count(faults->world)));
}

/* Mostly short, sometimes long: 1 ms .. 8 s. */
static uint64_t draw_duration_ns(struct faults *faults)
{
    static const uint64_t limits_ms[] = {20, 200, 1000, 1000, 3000, 3000, 8000};
    uint64_t limit_ms = limits_ms[rng_below(&faults->rng, sizeof limits_ms / sizeof limits_ms[0])];
    return rng_between(&faults->rng, 1, limit_ms) * 1000000;
}

/* ---- ends */

static void end_fault(void *context);

static void last(struct faults *faults, const struct ending *ending, uint64_t duration_ns)
{
    struct ending *copy = malloc(sizeof *copy);
    CHECK(copy);
    *copy = *ending;
    copy->faults = faults;
    uint64_t end_ns = sim_heap_ns(sim_of(faults)) + duration_ns;
    world_note_fault(faults->world, ending->kind, end_ns);
    sim_at(sim_of(faults), end_ns, NULL, end_fault, free, copy);
}

/* Who is on one side only does not reach who is on the other side only. */
static void split(struct faults *faults, const uint8_t *sides, bool blocked)
{
    for (uint32_t i = 0; i < world_node_count(faults->world); i++)
        for (uint32_t j = 0; j < world_node_count(faults->world); j++)
            if ((sides[i] & sides[j]) == 0)
                net_block(world_net(faults->world), world_node(faults->world, i)->node,
                          world_node(faults->world, j)->node, blocked);
}

static void end_fault(void *context)
{
    struct ending *ending = context;
    struct faults *faults = ending->faults;
    struct net *net = world_net(faults->world);
    if (!faults->healed) {
        sim_trace(sim_of(faults), "fault %s ends", fault_name(ending->kind));
        switch (ending->kind) {
        case FAULT_PAUSE:
            sim_node_resume(ending->node->node);
            break;
        case FAULT_ISOLATE:
        case FAULT_ONE_WAY:
        case FAULT_PAIR:
            net_block(net, sim_node_or_any(ending->from), sim_node_or_any(ending->to), false);
            if (ending->both_ways)
                net_block(net, sim_node_or_any(ending->to), sim_node_or_any(ending->from), false);
            break;
        case FAULT_SPLIT:
            split(faults, ending->sides, false);
            break;
        case FAULT_CLOG:
            net_clog(net, sim_node_or_any(ending->from), sim_node_or_any(ending->to), false);
            if (ending->both_ways)
                net_clog(net, sim_node_or_any(ending->to), sim_node_or_any(ending->from), false);
            break;
        case FAULT_SLOW:
            net_slow(net, sim_node_or_any(ending->from), sim_node_or_any(ending->to), 0);
            break;
        case FAULT_DISK:
            ending->node->slow_disk = 0;
            break;
        case FAULT_HANG:
            ending->node->hung_until_us = 0;
            break;
        case FAULT_FULL:
            ending->node->disk_full = false;
            break;
        case FAULT_CLOCK:
            sim_node_set_clock(ending->node->node, 0, 0);
            break;
        default:
            break;
        }
    }
    free(ending);
}

/* ---- beginnings */

static void bring_up_due(void *context);

static void kill_node_for(struct faults *faults, enum fault_kind kind, struct world_node *node, bool machine,
                          uint64_t duration_ns)
{
    uint64_t up_ns = sim_heap_ns(sim_of(faults)) + duration_ns;
    if (node->role == WORLD_CLIENT)
        workload_client_dies(faults->workload, node);
    if (sim_node_is_up(node->node))
        world_note_fault(faults->world, kind, up_ns);
    world_kill(faults->world, node, machine);
    faults->down_until_ns[sim_node_index(node->node)] = up_ns;
    sim_at(sim_of(faults), up_ns, NULL, bring_up_due, NULL, faults);
}

static void kill_node(struct faults *faults, enum fault_kind kind, struct world_node *node, bool machine)
{
    kill_node_for(faults, kind, node, machine, draw_duration_ns(faults));
}

/* A store that is asked to leave; its process ends when it has, or when whoever stops it loses patience. */
struct leaving {
    struct faults *faults;
    struct world_node *node;
    uint64_t generation, limit_ns;
};

static void look_whether_left(void *context)
{
    enum { INTERVAL_NS = 10 * 1000 * 1000 };
    struct leaving *leaving = context;
    struct sim *sim = sim_of(leaving->faults);
    struct world_node *node = leaving->node;
    bool same = sim_node_is_up(node->node) && sim_node_generation(node->node) == leaving->generation;
    if (same && !store_has_left(node->store) && sim_heap_ns(sim) < leaving->limit_ns) {
        sim_at(sim, sim_heap_ns(sim) + INTERVAL_NS, NULL, look_whether_left, free, leaving);
        return;
    }
    if (same)
        kill_node(leaving->faults, FAULT_PROCESS, node, false);
    free(leaving);
}

static void stop_in_order(struct faults *faults, struct world_node *node)
{
    if (!sim_node_is_up(node->node) || !node->store)
        return;
    sim_trace(sim_of(faults), "fault: %s is stopped in order", sim_node_name(node->node));
    sim_enter(node->node);
    store_leave(node->store);
    sim_leave(node->node);
    struct leaving *leaving = malloc(sizeof *leaving);
    CHECK(leaving);
    uint64_t now_ns = sim_heap_ns(sim_of(faults));
    *leaving = (struct leaving){.faults = faults,
                                .node = node,
                                .generation = sim_node_generation(node->node),
                                .limit_ns = now_ns + rng_below(&faults->rng, 3000) * 1000000u};
    sim_at(sim_of(faults), now_ns, NULL, look_whether_left, free, leaving);
}

static void block(struct faults *faults, enum fault_kind kind, struct world_node *from, struct world_node *to,
                  bool both_ways)
{
    struct net *net = world_net(faults->world);
    if (from == to)
        return;
    sim_trace(sim_of(faults), "fault: %s %s %s", from ? sim_node_name(from->node) : "any", both_ways ? "<-x->" : "-x->",
              to ? sim_node_name(to->node) : "any");
    net_block(net, sim_node_or_any(from), sim_node_or_any(to), true);
    if (both_ways)
        net_block(net, sim_node_or_any(to), sim_node_or_any(from), true);
    last(faults, &(struct ending){.kind = kind, .from = from, .to = to, .both_ways = both_ways},
         draw_duration_ns(faults));
}

/* Mostly the store, sometimes pd. */
static struct world_node *with_disk(struct faults *faults, struct world_node *store)
{
    uint32_t pds = world_options(faults->world)->pd_count;
    return rng_chance(&faults->rng, pds > 1 ? 2 : 1, 8) ? any_pd(faults) : store;
}

static void begin_disk_fault(struct faults *faults, enum fault_kind kind, struct world_node *node)
{
    if (kind == FAULT_DISK) {
        node->slow_disk = (uint32_t)rng_between(&faults->rng, 2, 200);
    } else if (kind == FAULT_FULL) {
        node->disk_full = true;
        node->full_mode = (enum full_mode)rng_below(&faults->rng, FULL_MODE_COUNT);
        node->may_stop |= node->full_mode == FULL_AT_SYNC; /* a sync that failed is the end of a store */
    } else { /* they may come at a start, too, and the store is then not there until its supervisor tries again */
        node->may_stop = true;
        if (kind == FAULT_EIO)
            node->failing_writes = 1;
        else if (kind == FAULT_FSYNC)
            node->failing_syncs = 1;
        else
            node->failing_reads = (uint32_t)rng_between(&faults->rng, 1, 10);
        return;
    }
    last(faults, &(struct ending){.kind = kind, .node = node}, draw_duration_ns(faults));
}

/* ---- rows that cannot be read any more */

/* What a start and an apply can do without: data, tokens, apply states. Log and hard state are promises; who loses those is
 * no member any more. */
static bool may_be_damaged(enum engine_cf cf, struct bytes key)
{
    if (cf != ENGINE_RAFT)
        return true;
    return key.size >= 10 && key.data[0] == 'g' &&
           (key.data[9] == GROUP_APPLY_STATE || key.data[9] == STORE_TOKENS || key.data[9] == STORE_TOKENS_EDGE);
}

/* A region that was split off may have one peer that has anything, for a while. */
static bool is_elsewhere(const struct faults *faults, const struct engine *disk, enum engine_cf cf, struct bytes key)
{
    struct buf value;
    bool found = false;
    buf_init(&value, 64 * 1024);
    for (uint32_t i = 1; i <= world_options(faults->world)->store_count && !found; i++) {
        struct engine *other = world_store(faults->world, i)->disk;
        struct group_key applied;
        if (cf == ENGINE_RAFT) {
            applied = group_key_indexed(load_u64_be(key.data + 1), GROUP_APPLY_STATE, 0);
            key = group_key_bytes(&applied);
        }
        found = other != disk && engine_get(other, cf, key, &value, NULL) == ERR_OK;
    }
    buf_fini(&value);
    return found;
}

static bool damage_one(struct faults *faults, struct engine *disk, enum engine_cf cf, uint64_t wanted)
{
    uint64_t at = 0;
    bool done = false;
    struct engine_iter *iter = engine_iter_new(disk, cf, bytes_empty(), bytes_empty());
    for (engine_iter_seek(disk, iter, bytes_empty()); !done && engine_iter_valid(disk, iter); engine_iter_next(disk, iter)) {
        struct bytes key = engine_iter_key(disk, iter);
        done = may_be_damaged(cf, key) && at++ == wanted && is_elsewhere(faults, disk, cf, key) &&
               engine_mem_damage(disk, cf, key);
        if (done)
            sim_trace(sim_of(faults), "fault: a row of cf %d is damaged: %02x%02x, %zu bytes", (int)cf, key.data[0],
                      key.size > 9 ? key.data[9] : 0, key.size);
    }
    engine_iter_free(disk, iter);
    return done;
}

/* Always the same store, and only where others have the rows. */
static void begin_damage(struct faults *faults)
{
    const struct world_options *options = world_options(faults->world);
    struct world_node *node = world_store(faults->world, 1 + (uint32_t)(options->seed % options->store_count));
    enum engine_cf cf = rng_chance(&faults->rng, 2, 3) ? ENGINE_DEFAULT : ENGINE_RAFT;
    if (options->store_count >= 3 && damage_one(faults, node->disk, cf, rng_below(&faults->rng, 40)))
        world_note_fault(faults->world, FAULT_DAMAGE, 0);
}

/* Half of the time it never ends: until all is healed, or the node dies. */
static void begin_hang(struct faults *faults, struct world_node *store)
{
    struct world_node *node = with_disk(faults, store);
    uint64_t now_ns = sim_heap_ns(sim_of(faults)), rest_ns = faults->heal_ns > now_ns ? faults->heal_ns - now_ns : 0;
    uint64_t duration_ns = rng_chance(&faults->rng, 1, 2) ? rest_ns : draw_duration_ns(faults);
    duration_ns = duration_ns < rest_ns ? duration_ns : rest_ns;
    if (node->hung_until_us > 0)
        return;
    node->hung_until_us = (now_ns + duration_ns) / 1000;
    sim_trace(sim_of(faults), "fault: the disk of %s hangs", sim_node_name(node->node));
    last(faults, &(struct ending){.kind = FAULT_HANG, .node = node}, duration_ns);
}

/* One path, one way or both, or all that goes to a node. */
static void begin_clog(struct faults *faults)
{
    struct world_node *from = rng_chance(&faults->rng, 2, 3) ? any_store(faults) : NULL, *to = any_node(faults);
    bool both_ways = rng_chance(&faults->rng, 1, 3);
    if (from == to)
        return;
    sim_trace(sim_of(faults), "fault: clogged: %s %s %s", from ? sim_node_name(from->node) : "any",
              both_ways ? "<->" : "->", sim_node_name(to->node));
    net_clog(world_net(faults->world), sim_node_or_any(from), to->node, true);
    if (both_ways)
        net_clog(world_net(faults->world), to->node, sim_node_or_any(from), true);
    last(faults, &(struct ending){.kind = FAULT_CLOG, .from = from, .to = to, .both_ways = both_ways},
         draw_duration_ns(faults));
}

static void begin_clock_fault(struct faults *faults, enum fault_kind kind, struct world_node *node)
{
    if (kind == FAULT_WALL) {
        if (rng_chance(&faults->rng, 1, 2)) /* hardly anybody else looks at it */
            node = any_pd(faults);
        sim_node_set_clock(node->node, 0, (int64_t)rng_between(&faults->rng, 0, 20000) - 10000);
        world_note_fault(faults->world, kind, 0);
    } else {
        sim_node_set_clock(node->node, (int32_t)rng_between(&faults->rng, 0, 20000) - 10000, 0);
        last(faults, &(struct ending){.kind = kind, .node = node}, draw_duration_ns(faults));
    }
}

/* Two groups of stores, neither of them empty; everybody else reaches one of them, or both. */
static void begin_split(struct faults *faults)
{
    struct ending ending = {.kind = FAULT_SPLIT};
    struct world_node *alone = any_store(faults);
    for (uint32_t i = 0; i < world_node_count(faults->world); i++) {
        struct world_node *node = world_node(faults->world, i);
        if (node->role == WORLD_STORE)
            ending.sides[i] = node == alone || rng_chance(&faults->rng, 1, 4) ? 1 : 2;
        else
            ending.sides[i] = (uint8_t)rng_between(&faults->rng, 1, 3);
        sim_trace(sim_of(faults), "fault: split: %s is on side %u", sim_node_name(node->node), ending.sides[i]);
    }
    split(faults, ending.sides, true);
    last(faults, &ending, draw_duration_ns(faults));
}

static void begin_slow(struct faults *faults)
{
    struct world_node *from = rng_chance(&faults->rng, 1, 2) ? any_node(faults) : NULL, *to = any_node(faults);
    net_slow(world_net(faults->world), sim_node_or_any(from), to->node,
             (uint32_t)rng_between(&faults->rng, 1000, 500000));
    last(faults, &(struct ending){.kind = FAULT_SLOW, .from = from, .to = to}, draw_duration_ns(faults));
}

/* Now and then all members at once. */
static void kill_pd(struct faults *faults)
{
    uint32_t count = world_options(faults->world)->pd_count;
    if (count == 1 || !rng_chance(&faults->rng, 1, 4)) {
        kill_node(faults, FAULT_PD, any_pd(faults), rng_chance(&faults->rng, 1, 2));
        return;
    }
    for (uint32_t i = 1; i <= count; i++)
        kill_node(faults, FAULT_PD, world_pd_member(faults->world, i), true);
}

static void begin_fault(struct faults *faults, enum fault_kind kind)
{
    struct world *world = faults->world;
    struct world_node *node = any_node(faults), *store = any_store(faults);
    sim_trace(sim_of(faults), "fault: %s", fault_name(kind));
    switch (kind) {
    case FAULT_PROCESS:
        if (rng_chance(&faults->rng, 1, 4))
            stop_in_order(faults, store);
        else
            kill_node(faults, kind, store, false);
        break;
    case FAULT_MACHINE:
        kill_node(faults, kind, store, true);
        break;
    case FAULT_ALL:
        for (uint32_t number = 1; number <= world_options(world)->store_count; number++)
            kill_node(faults, kind, world_store(world, number), true);
        break;
    case FAULT_PAUSE:
        if (sim_node_is_up(node->node) && !sim_node_is_paused(node->node)) {
            sim_trace(sim_of(faults), "fault: %s is paused", sim_node_name(node->node));
            sim_node_pause(node->node);
            last(faults, &(struct ending){.kind = kind, .node = node}, draw_duration_ns(faults));
        }
        break;
    case FAULT_ISOLATE:
        block(faults, kind, node, NULL, true);
        break;
    case FAULT_ONE_WAY:
        if (rng_chance(&faults->rng, 1, 2))
            block(faults, kind, rng_chance(&faults->rng, 1, 2) ? NULL : any_store(faults), node, false);
        else
            block(faults, kind, node, rng_chance(&faults->rng, 1, 2) ? NULL : any_store(faults), false);
        break;
    case FAULT_PAIR:
        block(faults, kind, store, any_node(faults), true);
        break;
    case FAULT_SPLIT:
        begin_split(faults);
        break;
    case FAULT_CUT:
        if (net_cut(world_net(world), node->node, rng_chance(&faults->rng, 1, 2) ? NULL : store->node) > 0)
            world_note_fault(world, kind, 0);
        break;
    case FAULT_SLOW:
        begin_slow(faults);
        break;
    case FAULT_DISK:
    case FAULT_FULL:
    case FAULT_EIO:
    case FAULT_FSYNC:
    case FAULT_BAD_READ:
        begin_disk_fault(faults, kind, with_disk(faults, store));
        break;
    case FAULT_DAMAGE:
        begin_damage(faults);
        break;
    case FAULT_HANG:
        begin_hang(faults, store);
        break;
    case FAULT_CLOG:
        begin_clog(faults);
        break;
    case FAULT_CLOCK:
    case FAULT_WALL:
        begin_clock_fault(faults, kind, node);
        break;
    case FAULT_PD:
        kill_pd(faults);
        break;
    case FAULT_CLIENT:
        kill_node(faults, kind,
                  world_client(world, (uint32_t)rng_between(&faults->rng, 1, world_options(world)->client_count)),
                  false);
        break;
    default: /* not_begun_mask */
        break;
    }
}

/* ---- aimed ones */

struct aim {
    struct faults *faults;
    struct world_node *node;
};

static void run_aim(void *context)
{
    struct aim *aim = context;
    struct faults *faults = aim->faults;
    if (!faults->healed && sim_node_is_up(aim->node->node)) {
        sim_trace(sim_of(faults), "fault: aimed at %s", sim_node_name(aim->node->node));
        kill_node_for(faults, FAULT_AIMED, aim->node, true, rng_between(&faults->rng, 1, 300) * 1000000);
    }
    free(aim);
}

static void take_aim(struct faults *faults, const struct sim_node *node)
{
    struct aim *aim = malloc(sizeof *aim);
    CHECK(aim);
    *aim = (struct aim){faults, world_node_of(faults->world, node)};
    sim_at(sim_of(faults), sim_heap_ns(sim_of(faults)) + rng_below(&faults->rng, 2000000), NULL, run_aim, free, aim);
}

void faults_see_message(void *context, struct sim_node *from, struct sim_node *to,
                        const struct wire_raft_message *message)
{
    struct faults *faults = context;
    uint64_t now_ns = sim_heap_ns(sim_of(faults));
    bool vote = message->kind == RAFT_VOTE || (message->kind == RAFT_VOTE_RESP && !message->reject);
    bool append = message->kind == RAFT_APP || message->kind == RAFT_APP_RESP;
    if (faults->healed || !faults->began || !(faults->mask & FAULT_BIT(FAULT_AIMED)) ||
        now_ns < faults->aimed_ns + 300000000 ||
        !rng_chance(&faults->rng,
                    vote     ? 20
                    : append ? 1
                             : 0,
                    200))
        return;
    faults->aimed_ns = now_ns;
    uint64_t who = rng_below(&faults->rng, 3);
    if (who != 0)
        take_aim(faults, from);
    if (who != 1)
        take_aim(faults, to);
}

bool faults_aim(const struct faults *faults)
{
    return !faults->healed && faults->began && (faults->mask & FAULT_BIT(FAULT_AIMED)) != 0;
}

void faults_kill(struct faults *faults, struct world_node *node, bool machine, uint64_t duration_ns)
{
    kill_node_for(faults, FAULT_AIMED, node, machine, duration_ns);
}

static void next_fault(void *context);

static void schedule_fault(struct faults *faults)
{
    uint64_t interval_ns = (uint64_t)world_swarm(faults->world)->fault_interval_ms * 1000000;
    sim_at(sim_of(faults), sim_heap_ns(sim_of(faults)) + rng_below(&faults->rng, 2 * interval_ns), NULL, next_fault,
           NULL, faults);
}

/* What is there all the time, or comes with something else. */
static const uint64_t not_begun_mask = FAULT_BIT(FAULT_SPIKES) | FAULT_BIT(FAULT_DROP) | FAULT_BIT(FAULT_REPEAT) |
                                       FAULT_BIT(FAULT_REORDER) | FAULT_BIT(FAULT_STALL) | FAULT_BIT(FAULT_AIMED) |
                                       FAULT_BIT(FAULT_LOSE) | FAULT_BIT(FAULT_TORN) | FAULT_BIT(FAULT_HOLE);

static void next_fault(void *context)
{
    struct faults *faults = context;
    uint64_t mask = faults->mask & ~not_begun_mask;
    if (faults->healed || !mask)
        return;
    enum fault_kind kind;
    do
        kind = (enum fault_kind)rng_below(&faults->rng, FAULT_KIND_COUNT);
    while (!(mask & FAULT_BIT(kind)));
    begin_fault(faults, kind);
    schedule_fault(faults);
}

/* ---- the supervisor: what is down comes up again when its time has come */

static void bring_up(struct faults *faults, struct world_node *node)
{
    struct error err = {.text = ""};
    enum err code = node->role == WORLD_CLIENT ? workload_start_client(faults->workload, node, &err)
                                               : world_start(faults->world, node, &err);
    if (code == ERR_OK) {
        node->may_stop = node->failing_writes + node->failing_syncs + node->failing_reads > 0 ||
                         (node->disk_full && node->full_mode == FULL_AT_SYNC);
        return;
    }
    bool excused = (code == ERR_IO && node->may_stop) || (code == ERR_DISK_FULL && node->disk_full);
    if (!excused)
        world_fail(faults->world, "start", 0, "%s does not start: %s: %s", sim_node_name(node->node), err_name(code),
                   err.text);
}

static void bring_up_due(void *context)
{
    struct faults *faults = context;
    uint64_t now_ns = sim_heap_ns(sim_of(faults));
    for (uint32_t i = 0; i < world_node_count(faults->world); i++) {
        struct world_node *node = world_node(faults->world, i);
        if (!sim_node_is_up(node->node) && now_ns >= faults->down_until_ns[i])
            bring_up(faults, node);
    }
}

static void supervise(void *context)
{
    struct faults *faults = context;
    uint64_t now_ns = sim_heap_ns(sim_of(faults));
    bring_up_due(faults);
    sim_at(sim_of(faults), now_ns + rng_between(&faults->rng, 1000, SUPERVISOR_US) * 1000, NULL, supervise, NULL,
           faults);
}

struct faults *faults_new(struct world *world, struct workload *workload)
{
    struct faults *faults = calloc(1, sizeof *faults);
    CHECK(faults);
    faults->world = world;
    faults->workload = workload;
    faults->mask = world_swarm(world)->fault_mask;
    rng_init(&faults->rng, world_options(world)->seed, "faults");
    for (uint32_t i = 0; i < world_node_count(world); i++) /* not all at once */
        faults->down_until_ns[i] = rng_below(&faults->rng, 500) * 1000000;
    sim_at(world_sim(world), 0, NULL, supervise, NULL, faults);
    return faults;
}

void faults_free(struct faults *faults)
{
    free(faults);
}

void faults_begin(struct faults *faults, uint64_t heal_ns)
{
    faults->began = true;
    faults->heal_ns = heal_ns;
    schedule_fault(faults);
}

void faults_heal(struct faults *faults)
{
    struct world *world = faults->world;
    struct net *net = world_net(world);
    sim_trace(sim_of(faults), "all faults end");
    faults->healed = true;
    world_note_heal(world);
    net_unblock_all(net);
    net_slow(net, NULL, NULL, 0);
    struct net_options *options = net_options(net);
    options->spike_per_100000 = options->raft_drop_per_10000 = options->raft_repeat_per_10000 =
        options->raft_reorder_per_10000 = 0;
    sim_timing(sim_of(faults))->stall_per_100000 = 0;
    world_swarm(world)->sync_slow_per_10000 = 0;
    world_swarm(world)->table_rot_percent = 0;
    for (uint32_t i = 0; i < world_node_count(world); i++) {
        struct world_node *node = world_node(world, i);
        node->slow_disk = node->failing_writes = node->failing_syncs = node->failing_reads = 0;
        node->hung_until_us = 0;
        node->disk_full = false;
        sim_node_set_clock(node->node, 0, 0);
        sim_node_resume(node->node);
        if (faults->down_until_ns[i] > sim_heap_ns(sim_of(faults)))
            faults->down_until_ns[i] = sim_heap_ns(sim_of(faults));
    }
}
