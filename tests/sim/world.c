#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct world {
    struct world_options options;
    struct swarm swarm;
    struct sim *sim;
    struct net *net;
    struct rng rng;
    struct rng disk_rng;
    struct world_node nodes[WORLD_NODE_MAX];
    uint32_t node_count;
    char *pd_endpoints; /* owned; of all members */
    enum err (*write_hook)(void *context, struct world_node *node); /* NULL: none */
    void *write_hook_context;
    bool loss_is_set;
    enum engine_mem_loss loss; /* of every death, if it is set */
    struct coverage coverage;
    struct store_snapshot_counts snapshots; /* likewise */
    struct store_damage_counts damage;      /* likewise */
    struct store_merge_counts merges;       /* likewise */
    struct store_sleep_counts sleep; /* of stores that are dead */
    bool failed;
    region_id failed_region;
    char failure[1024];
};

/* ---- the seams of a node */

static void write_log(struct log *log, enum log_level level, const char *fields)
{
    struct world_node *node = (struct world_node *)(void *)((char *)log - offsetof(struct world_node, log));
    sim_trace(node->world->sim, "%s %s %s", sim_node_name(node->node), log_level_name(level), fields);
}

static uint64_t disk_now_us(void *context)
{
    return sim_now_us(((struct world_node *)context)->world->sim);
}

static uint64_t disk_world_us(void *context)
{
    return sim_heap_ns(((struct world_node *)context)->world->sim) / 1000;
}

static void disk_wait_us(void *context, uint64_t us)
{
    sim_wait(((struct world_node *)context)->world->sim, us);
}

static uint64_t disk_sync_cost_us(void *context, size_t size)
{
    struct world_node *node = context;
    struct world *world = node->world;
    const struct swarm *swarm = &world->swarm;
    uint64_t cost_us = rng_between(&world->disk_rng, swarm->sync_min_us, swarm->sync_max_us) + size / 1000;
    if (swarm->sync_slow_per_10000 && rng_chance(&world->disk_rng, swarm->sync_slow_per_10000, 10000)) {
        cost_us += rng_below(&world->disk_rng, swarm->sync_slow_us);
        world_note_fault(world, FAULT_DISK, 0);
    }
    /* A sync begun in the worst moment must still end before the patience of the liveness phase does. */
    enum { SYNC_MOST_US = 15 * 1000 * 1000 };
    cost_us *= node->slow_disk ? node->slow_disk : 1;
    cost_us = cost_us < SYNC_MOST_US ? cost_us : SYNC_MOST_US;
    uint64_t now_us = disk_now_us(node), begin_us = node->synced_us > now_us ? node->synced_us : now_us;
    if (node->hung_until_us > begin_us + cost_us) { /* whoever waits for it is killed, or healed with the disk */
        sim_trace(world->sim, "a sync hangs");
        cost_us = node->hung_until_us - begin_us;
    }
    node->synced_us = begin_us + cost_us;
    return cost_us;
}

static bool disk_sync_fails(void *context)
{
    struct world_node *node = context;
    if (node->disk_full && node->full_mode == FULL_AT_SYNC)
        return true;
    if (node->failing_syncs == 0)
        return false;
    node->failing_syncs--;
    world_note_fault(node->world, FAULT_FSYNC, 0);
    sim_trace(node->world->sim, "a sync fails");
    return true;
}

/* Checkers read too, but not as this node. */
static bool disk_read_fails(void *context)
{
    struct world_node *node = context;
    if (node->failing_reads == 0 || sim_current(node->world->sim) != node->node)
        return false;
    node->failing_reads--;
    world_note_fault(node->world, FAULT_BAD_READ, 0);
    sim_trace(node->world->sim, "a read fails");
    return true;
}

/* As it lies on the disk, before anybody reads it. */
static bool disk_table_rots(void *context)
{
    struct world_node *node = context;
    struct world *world = node->world;
    if (world->swarm.table_rot_percent == 0 || !rng_chance(&world->disk_rng, world->swarm.table_rot_percent, 100))
        return false;
    sim_trace(world->sim, "%s: a table rots", sim_node_name(node->node));
    return true;
}

static struct engine_space disk_space(void *context)
{
    const struct world_node *node = context;
    enum { GIB = 1 << 30 };
    return (struct engine_space){.available_size = node->disk_full ? 0 : GIB / 2, .capacity_size = GIB};
}

static enum err disk_fault(void *context, bool sync, size_t size)
{
    struct world_node *node = context;
    (void)size;
    if (!sim_node_is_up(node->node)) /* a dead program's clean-up reaches no disk */
        return ERR_IO;
    if (node->failing_writes > 0) {
        node->failing_writes--;
        world_note_fault(node->world, FAULT_EIO, 0);
        sim_trace(node->world->sim, "a write fails");
        return ERR_IO;
    }
    (void)sync;
    if (node->world->write_hook) {
        enum err code = node->world->write_hook(node->world->write_hook_context, node);
        if (code != ERR_OK)
            return code;
    }
    return node->disk_full && node->full_mode == FULL_REFUSES ? ERR_DISK_FULL : ERR_OK;
}

static void make_disk(struct world_node *node)
{
    CHECK(engine_mem_new(&node->disk) == ERR_OK);
    engine_mem_set_disk(node->disk, &(struct engine_mem_disk){.context = node,
                                                              .now_us = disk_now_us,
                                                              .sync_cost_us = disk_sync_cost_us,
                                                              .wait_us = disk_wait_us,
                                                              .world_us = disk_world_us,
                                                              .sync_fails = disk_sync_fails,
                                                              .read_fails = disk_read_fails,
                                                              .space = disk_space,
                                                              .table_rots = disk_table_rots,
                                                              .writes_wait = node->world->swarm.writes_wait});
    engine_mem_set_fault(node->disk, disk_fault, node);
}

static struct world_node *add_node(struct world *world, enum world_role role, uint32_t number)
{
    static const char *const names[] = {"pd", "s", "c"};
    CHECK(world->node_count < sizeof world->nodes / sizeof world->nodes[0]);
    struct world_node *node = &world->nodes[world->node_count++];
    char name[16];
    snprintf(name, sizeof name, "%s%u", names[role], number);
    *node = (struct world_node){.world = world, .role = role, .number = number};
    node->node = sim_node_new(world->sim, name);
    node->log = (struct log){.level = LOG_DEBUG, .write = write_log};
    if (role != WORLD_CLIENT)
        make_disk(node);
    node->env = (struct env){.executor = sim_node_executor(node->node),
                             .clock = sim_node_clock(node->node),
                             .transport = net_transport(world->net, node->node),
                             .engine = node->disk};
    return node;
}

static char *copy_text(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy);
    return copy;
}

static void replace_text(char **field, const char *text)
{
    free(*field);
    *field = copy_text(text);
}

static void configure_pd(struct world *world, struct world_node *node)
{
    struct pd_config *config = &node->pd_config;
    pd_config_init(config);
    char text[64];
    snprintf(text, sizeof text, "pd-%u", node->number);
    replace_text(&config->name, text);
    snprintf(text, sizeof text, "/sim/pd%u", node->number);
    replace_text(&config->data_dir, text);
    snprintf(text, sizeof text, "sim://pd%u", node->number);
    replace_text(&config->address, text);
    replace_text(&config->advertise_address, text);
    for (uint32_t i = 0; i < world->options.pd_count && world->options.pd_count > 1; i++) {
        snprintf(text, sizeof text, "pd-%u=sim://pd%u", i + 1, i + 1);
        config->initial_cluster[config->initial_cluster_count++] = copy_text(text);
    }
    if (world->options.pd_count > 1) {
        config->log_size_max = world->swarm.pd_log_size_max;
        config->snapshot_chunk_size = world->swarm.snapshot_chunk_size;
    }
    config->bootstrap_stores = world->options.store_count;
    config->bootstrap_regions = world->options.region_count;
    config->replicas = world->options.store_count < 3 ? world->options.store_count : 3;
    if (world->swarm.stores_join && config->bootstrap_stores > 3)
        config->bootstrap_stores = 3; /* the others come when there are regions already */
    config->scheduling = world->swarm.scheduling;
    config->schedule_interval_ms = world->swarm.schedule_interval_ms;
    config->region_merge_size = world->swarm.region_merge_size;
    config->split_merge_interval_ms = world->swarm.split_merge_interval_ms;
    config->store_down_ms = world->swarm.store_down_ms;
    config->store_disconnected_ms = world->swarm.store_disconnected_ms;
    config->hot_region_load = world->swarm.hot_region_load;
}

static void configure_store(struct world *world, struct world_node *node)
{
    const struct swarm *swarm = &world->swarm;
    struct store_config *config = &node->store_config;
    char text[32];
    store_config_init(config);
    snprintf(text, sizeof text, "/sim/s%u", node->number);
    replace_text(&config->data_dir, text);
    snprintf(text, sizeof text, "sim://s%u", node->number);
    replace_text(&config->address, text);
    replace_text(&config->advertise_address, text);
    for (uint32_t i = 0; i < config->pd_count; i++)
        free(config->pd[i]);
    config->pd_count = world->options.pd_count;
    for (uint32_t i = 0; i < config->pd_count; i++) { /* each begins with another one */
        snprintf(text, sizeof text, "sim://pd%u", 1 + (i + node->number - 1) % config->pd_count);
        config->pd[i] = copy_text(text);
    }
    config->region_workers = swarm->region_workers;
    config->read_workers = swarm->read_workers;
    config->tick_ms = swarm->tick_ms;
    config->heartbeat_ticks = swarm->heartbeat_ticks;
    config->election_ticks = swarm->election_ticks;
    config->lease_read = swarm->lease_read;
    config->lease_ms = swarm->lease_ms;
    config->sleep_after_ms = swarm->sleep_after_ms;
    config->split_load = swarm->split_load;
    config->split_load_seconds = 1;
    config->check_interval_ms = swarm->check_interval_ms;
    config->campaigns_max = swarm->campaigns_max;
    config->mailbox_max = swarm->mailbox_max;
    config->region_proposals_max = swarm->region_proposals_max;
    config->inflight_count_max = swarm->inflight_count_max;
    config->inflight_size_max = swarm->inflight_size_max;
    config->append_size_max = swarm->append_size_max;
    config->log_retain_count = swarm->log_retain_count;
    config->log_size_max = swarm->log_size_max;
    config->log_check_interval_ms = swarm->log_check_interval_ms;
    config->expiry_interval_ms = swarm->expiry_interval_ms;
    config->log_count_max = swarm->log_count_max;
    config->tokens_save_interval = swarm->tokens_save_interval;
    config->snapshots_max = swarm->snapshots_max;
    config->snapshot_rate_size = swarm->snapshot_rate_size;
    config->snapshot_receive_rate_size = swarm->snapshot_receive_rate_size;
    config->snapshot_small_size = swarm->snapshot_small_size;
    config->log_age_max_ms = swarm->log_age_max_ms;
    config->snapshot_lag_max = swarm->snapshot_lag_max;
    config->snapshot_interval_min_ms = swarm->snapshot_interval_min_ms;
    config->snapshot_chunk_size = swarm->snapshot_chunk_size;
    config->snapshot_timeout_ms = swarm->snapshot_timeout_ms;
    config->store_heartbeat_ms = swarm->store_heartbeat_ms;
    config->stale_check_interval_ms = swarm->stale_check_interval_ms;
    config->scan_limit_max = swarm->scan_limit_max;
}

static char *pd_endpoints(uint32_t count)
{
    char text[16 * WORLD_PD_MAX] = "";
    for (uint32_t i = 1; i <= count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%ssim://pd%u", i > 1 ? "," : "", i);
    return copy_text(text);
}

struct world *world_new(const struct world_options *options, const struct swarm *swarm)
{
    CHECK(options->store_count >= 1 && options->store_count <= WORLD_STORE_MAX &&
          options->client_count <= WORLD_CLIENT_MAX);
    struct world *world = calloc(1, sizeof *world);
    CHECK(world);
    world->options = *options;
    world->options.pd_count = options->pd_count ? options->pd_count : 1;
    CHECK(world->options.pd_count <= WORLD_PD_MAX);
    world->pd_endpoints = pd_endpoints(world->options.pd_count);
    world->swarm = *swarm;
    world->sim = sim_new(options->seed);
    world->net = net_new(world->sim);
    rng_init(&world->rng, options->seed, "world");
    rng_init(&world->disk_rng, options->seed, "disk");
    *sim_timing(world->sim) = swarm->timing;
    *net_options(world->net) = swarm->net;
    for (uint32_t i = 1; i <= world->options.pd_count; i++)
        configure_pd(world, add_node(world, WORLD_PD, i));
    for (uint32_t i = 1; i <= options->store_count; i++)
        configure_store(world, add_node(world, WORLD_STORE, i));
    for (uint32_t i = 1; i <= options->client_count; i++)
        add_node(world, WORLD_CLIENT, i);
    return world;
}

void world_free(struct world *world)
{
    if (!world)
        return;
    for (uint32_t i = 0; i < world->node_count; i++) {
        struct world_node *node = &world->nodes[i];
        world_kill(world, node, true);
        engine_mem_free(node->disk);
        if (node->role == WORLD_PD)
            pd_config_fini(&node->pd_config);
        if (node->role == WORLD_STORE)
            store_config_fini(&node->store_config);
    }
    sim_free(world->sim);
    net_free(world->net);
    free(world->pd_endpoints);
    free(world);
}

/* ---- life and death */

static enum err start_role(struct world_node *node, struct error *err)
{
    switch (node->role) {
    case WORLD_PD:
        return pd_new(&node->env, &node->pd_config, &node->pd, err);
    case WORLD_STORE:
        return store_new(&node->env, &node->store_config, &node->store, err);
    case WORLD_CLIENT: {
        const struct swarm *swarm = &node->world->swarm;
        struct client_options options = {.pd = node->world->pd_endpoints,
                                         .name = sim_node_name(node->node),
                                         .deadline_ms = swarm->client_deadline_ms,
                                         .silence_ms = swarm->client_silence_ms};
        return client_new(&node->env, &options, &node->client, err);
    }
    }
    return ERR_INVALID;
}

static void free_role(struct world_node *node)
{
    if (node->store) {
        store_add_snapshot_counts(node->store, &node->world->snapshots);
        store_add_damage_counts(node->store, &node->world->damage);
        node->world->damage.damaged = node->world->damage.lost = 0; /* those are of now */
        store_add_sleep_counts(node->store, &node->world->sleep);
        store_add_merge_counts(node->store, &node->world->merges);
    }
    pd_free(node->pd);
    store_free(node->store);
    client_free(node->client);
    node->pd = NULL;
    node->store = NULL;
    node->client = NULL;
}

void world_add_sleep_counts(const struct world *world, struct store_sleep_counts *counts)
{
    *counts = world->sleep;
    for (uint32_t i = 0; i < world->node_count; i++)
        if (world->nodes[i].store)
            store_add_sleep_counts(world->nodes[i].store, counts);
}

void world_add_merge_counts(const struct world *world, struct store_merge_counts *counts)
{
    *counts = world->merges;
    for (uint32_t i = 0; i < world->node_count; i++)
        if (world->nodes[i].store)
            store_add_merge_counts(world->nodes[i].store, counts);
}

void world_add_snapshot_counts(const struct world *world, struct store_snapshot_counts *counts)
{
    *counts = world->snapshots;
    for (uint32_t i = 0; i < world->node_count; i++)
        if (world->nodes[i].store)
            store_add_snapshot_counts(world->nodes[i].store, counts);
}

void world_add_damage_counts(const struct world *world, struct store_damage_counts *counts)
{
    *counts = world->damage;
    for (uint32_t i = 0; i < world->node_count; i++)
        if (world->nodes[i].store)
            store_add_damage_counts(world->nodes[i].store, counts);
}

enum err world_start(struct world *world, struct world_node *node, struct error *err)
{
    if (sim_node_is_up(node->node))
        return ERR_OK;
    node->env.seed = rng_next(&world->rng);
    node->env.log = sim_traces(world->sim) ? &node->log : NULL;
    sim_node_start(node->node);
    net_node_started(world->net, node->node);
    sim_enter(node->node);
    sim_trace(world->sim, "%s starts", sim_node_name(node->node));
    enum err code = start_role(node, err);
    sim_leave(node->node);
    if (code != ERR_OK)
        world_kill(world, node, false);
    return code;
}

/* What the disk makes of what was not synced, by the kinds of loss that this world knows. */
static void crash_disk(struct world *world, struct world_node *node)
{
    static const struct {
        enum fault_kind kind;
        enum engine_mem_loss loss;
    } kinds[] = {{FAULT_LOSE, ENGINE_MEM_LOSE}, {FAULT_TORN, ENGINE_MEM_TORN}, {FAULT_HOLE, ENGINE_MEM_HOLES}};
    uint64_t i = rng_below(&world->disk_rng, 3);
    bool keep = rng_chance(&world->disk_rng, 1, 8) || !(world->swarm.fault_mask & FAULT_BIT(kinds[i].kind));
    enum engine_mem_loss loss = world->loss_is_set ? world->loss : keep ? ENGINE_MEM_KEEP : kinds[i].loss;
    size_t lost_count = engine_mem_crash_as(node->disk, sim_heap_ns(world->sim) / 1000, &world->disk_rng, loss);
    node->synced_us = 0;
    sim_trace(world->sim, "%s lost %zu batches", sim_node_name(node->node), lost_count);
    if (!keep && lost_count > 0 && !world->loss_is_set)
        world_note_fault(world, kinds[i].kind, 0);
}

void world_set_loss(struct world *world, enum engine_mem_loss loss)
{
    world->loss_is_set = true;
    world->loss = loss;
}

void world_set_write_hook(struct world *world, enum err (*hook)(void *context, struct world_node *node), void *context)
{
    world->write_hook = hook;
    world->write_hook_context = context;
}

void world_kill(struct world *world, struct world_node *node, bool machine)
{
    if (!sim_node_is_up(node->node))
        return;
    sim_trace(world->sim, "%s dies%s", sim_node_name(node->node), machine ? " with its machine" : "");
    sim_node_kill(node->node);
    net_node_killed(world->net, node->node, machine);
    free_role(node);
    sim_node_reap(node->node);
    if (node->disk)
        crash_disk(world, node);
}

void world_empty_disk(struct world_node *node)
{
    CHECK(!sim_node_is_up(node->node));
    engine_mem_free(node->disk);
    make_disk(node);
    node->env.engine = node->disk;
}

void world_wipe(struct world *world, struct world_node *node)
{
    CHECK(node->role == WORLD_PD);
    sim_trace(world->sim, "%s gets an empty disk", sim_node_name(node->node));
    world_empty_disk(node);
    for (uint32_t i = 0; i < node->pd_config.initial_cluster_count; i++) {
        free(node->pd_config.initial_cluster[i]);
        node->pd_config.initial_cluster[i] = NULL;
    }
    node->pd_config.initial_cluster_count = 0;
    node->pd_config.join = true;
}

static void reap_stopped(struct world *world, struct world_node *node)
{
    enum err code = node->store ? store_failure(node->store) : node->pd ? pd_failure(node->pd) : ERR_OK;
    if (code == ERR_OK)
        return;
    if (!node->may_stop)
        world_fail(world, "store", 0, "%s gave up with %s, and nothing was wrong with its disk",
                   sim_node_name(node->node), err_name(code));
    sim_trace(world->sim, "%s gave up: %s", sim_node_name(node->node), err_name(code));
    world_kill(world, node, false);
}

/* A timer may be due every millisecond. An actor that asks again and again whether something has happened makes as many
 * rounds as its timers allow. */
static void check_spinning(struct world *world)
{
    enum { ROUNDS_MAX = 3000 };
    const char *name;
    uint32_t rounds = sim_most_idle_rounds(world->sim, &name);
    if (rounds > ROUNDS_MAX)
        world_fail(world, "spin", 0, "%s was woken %u times in a second by its timers alone", name, rounds);
}

bool world_step(struct world *world)
{
    if (!sim_step(world->sim))
        return false;
    check_spinning(world);
    struct sim_node *last = sim_last_node(world->sim);
    if (last && sim_node_is_up(last))
        reap_stopped(world, world_node_of(world, last));
    return !world->failed;
}

/* ---- coverage */

void world_note_fault(struct world *world, enum fault_kind kind, uint64_t until_ns)
{
    uint64_t now_ns = sim_heap_ns(world->sim);
    coverage_fault(&world->coverage, kind, 1, until_ns > now_ns ? until_ns : now_ns);
}

void world_note_heal(struct world *world)
{
    coverage_heal(&world->coverage, sim_heap_ns(world->sim));
}

static void note_weather(struct world *world, enum fault_kind kind, uint64_t count, uint64_t last_ns)
{
    uint64_t before = world->coverage.happened[kind];
    if (count > before)
        coverage_fault(&world->coverage, kind, count - before, last_ns);
}

static void look_at_weather(struct world *world)
{
    const struct net_counts *net = net_counts(world->net);
    uint64_t stall_ns, stall_count = sim_stall_count(world->sim, &stall_ns);
    note_weather(world, FAULT_DROP, net->raft_dropped, net->raft_dropped_ns);
    note_weather(world, FAULT_REPEAT, net->raft_repeated, net->raft_repeated_ns);
    note_weather(world, FAULT_REORDER, net->raft_reordered, net->raft_reordered_ns);
    note_weather(world, FAULT_SPIKES, net->spikes, net->spike_ns);
    note_weather(world, FAULT_STALL, stall_count, stall_ns);
}

void world_note_op(struct world *world, unsigned op, uint64_t start_ns)
{
    look_at_weather(world);
    coverage_op(&world->coverage, op, start_ns);
}

const struct coverage *world_coverage(struct world *world)
{
    look_at_weather(world);
    return &world->coverage;
}

/* ---- verdict */

void world_fail(struct world *world, const char *checker, region_id region, const char *format, ...)
{
    if (world->failed)
        return;
    world->failed = true;
    world->failed_region = region;
    int used = snprintf(world->failure, sizeof world->failure, "%s: ", checker);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure + used, sizeof world->failure - (size_t)used, format, arguments);
    va_end(arguments);
    sim_trace(world->sim, "FAILED %s", world->failure);
}

bool world_has_failed(const struct world *world)
{
    return world->failed;
}

const char *world_failure(const struct world *world)
{
    return world->failure;
}

region_id world_failed_region(const struct world *world)
{
    return world->failed_region;
}

/* ---- who is who */

struct sim *world_sim(struct world *world)
{
    return world->sim;
}

struct net *world_net(struct world *world)
{
    return world->net;
}

struct rng *world_rng(struct world *world)
{
    return &world->rng;
}

struct swarm *world_swarm(struct world *world)
{
    return &world->swarm;
}

const struct world_options *world_options(const struct world *world)
{
    return &world->options;
}

uint32_t world_node_count(const struct world *world)
{
    return world->node_count;
}

struct world_node *world_node(struct world *world, uint32_t index)
{
    CHECK(index < world->node_count);
    return &world->nodes[index];
}

struct world_node *world_pd(struct world *world)
{
    for (uint32_t i = 0; i < world->options.pd_count; i++)
        if (world->nodes[i].pd && pd_is_leading(world->nodes[i].pd))
            return &world->nodes[i];
    return &world->nodes[0];
}

struct world_node *world_pd_member(struct world *world, uint32_t number)
{
    CHECK(number >= 1 && number <= world->options.pd_count);
    return &world->nodes[number - 1];
}

struct world_node *world_store(struct world *world, uint32_t number)
{
    CHECK(number >= 1 && number <= world->options.store_count);
    return &world->nodes[world->options.pd_count + number - 1];
}

struct world_node *world_client(struct world *world, uint32_t number)
{
    CHECK(number >= 1 && number <= world->options.client_count);
    return &world->nodes[world->options.pd_count + world->options.store_count + number - 1];
}

/* Nodes of the sim are made in the order of ours. */
struct world_node *world_node_of(struct world *world, const struct sim_node *node)
{
    return &world->nodes[sim_node_index(node)];
}
