/* Three groups, each on a disk of its own, with every message between them as bytes: elections, leases, slow followers,
 * snapshots, logs that are overwritten and cut, and starting again from what the disk says. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "group/group.h"
#include "group/group_keys.h"

enum { GROUP = 7, NODES = 3, NET_MAX = 4096, ROUNDS_MAX = 400, LEASE_US = 700 * 1000, TICK_US = 100 * 1000 };

struct packet {
    peer_id from, to;
    uint8_t *data; /* owned; a RaftMessage table */
    size_t size;
};

struct node {
    struct env env;
    peer_id id;
    struct group *group; /* NULL: down */
    struct log_task *task;
    struct packet after[64]; /* leave once the task is durable */
    uint32_t after_count;
    raft_index committed;
    raft_term committed_term;
    raft_index applied; /* durable */
    raft_term applied_term;
    struct raft_read_result read;
    struct raft_fetch fetch;
    bool fetch_wanted;
    uint32_t fetch_count, snapshot_count, install_count, own_count_max;
    enum raft_role role;
    peer_id leader;
};

struct world {
    struct clock clock; /* first */
    struct log log;
    uint32_t log_count;
    struct raft_config config;
    struct raft_pool *pool;
    struct node nodes[NODES];
    struct packet net[NET_MAX];
    uint32_t net_count;
    bool cut[NODES + 1];
    bool refuse_snapshots;
    uint64_t now_us;
    uint32_t reads_until_fault; /* 0: none fails */
};

static struct world *the_world; /* engine_mem's read_fails has no context of its own to spare */

static uint64_t now(struct clock *clock)
{
    return ((struct world *)clock)->now_us;
}

static void count_line(struct log *log, enum log_level level, const char *fields)
{
    (void)level;
    assert_non_null(strstr(fields, "event=log_fetch_failed"));
    ((struct world *)(void *)((char *)log - offsetof(struct world, log)))->log_count++;
}

/* ---- the host */

static struct packet encode(struct group *group, const struct raft_message *message)
{
    struct arena arena;
    struct wire_raft_message wire;
    struct buf out;
    arena_init(&arena);
    buf_init(&out, 16 * 1024 * 1024);
    group_message_to_wire(group, message, &arena, &wire);
    assert_int_equal(wire.region_id, GROUP);
    assert_int_equal(wire_encode_raft_message(&wire, &out), ERR_OK);
    arena_fini(&arena);
    return (struct packet){.from = message->from, .to = message->to, .data = out.data, .size = out.size};
}

static void post(struct world *world, struct packet packet)
{
    bool is_here = packet.to <= NODES;
    if (!is_here || world->cut[packet.from] || world->cut[packet.to] || world->net_count == NET_MAX) {
        free(packet.data);
        return;
    }
    world->net[world->net_count++] = packet;
}

static void on_send(void *context, struct group *group, const struct raft_message *message, bool after)
{
    (void)context;
    struct node *node = group->user;
    if (!after) {
        post(the_world, encode(group, message));
        return;
    }
    assert_non_null(node->task);
    assert_true(node->after_count < sizeof node->after / sizeof node->after[0]);
    node->after[node->after_count++] = encode(group, message);
}

static struct log_task *on_log_task(void *context, struct group *group)
{
    (void)context;
    struct node *node = group->user;
    if (!node->task)
        node->task = log_task_new(&node->env, NULL, 0);
    return node->task;
}

static void on_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count)
{
    (void)context;
    struct node *node = group->user;
    for (uint32_t i = 0; i < count; i++) {
        struct raft_conf conf;
        assert_int_equal(entries[i].index, node->committed + 1 + i);
        if (entries[i].kind == RAFT_ENTRY_NORMAL || raft_apply_conf(group->raft, &entries[i], &conf) != ERR_OK)
            continue;
        struct engine_batch *batch = engine_batch_new(node->env.engine);
        group_put_conf(node->env.engine, batch, GROUP, &conf);
        assert_int_equal(engine_write(node->env.engine, batch, true, NULL), ERR_OK);
        engine_batch_free(node->env.engine, batch);
    }
    node->committed = entries[count - 1].index;
    node->committed_term = entries[count - 1].term;
}

static void on_read_done(void *context, struct group *group, const struct raft_read_result *read)
{
    (void)context;
    ((struct node *)group->user)->read = *read;
}

static void on_fetch(void *context, struct group *group, const struct raft_fetch *fetch)
{
    (void)context;
    struct node *node = group->user;
    node->fetch = *fetch;
    node->fetch_wanted = true;
    node->fetch_count++;
}

static void on_changed(void *context, struct group *group, enum raft_role role, peer_id leader)
{
    (void)context;
    struct node *node = group->user;
    node->role = role;
    node->leader = leader;
}

static void on_snapshot_wanted(void *context, struct group *group, const struct raft_message *message)
{
    (void)context;
    struct node *node = group->user;
    struct raft_message filled = *message;
    struct raft_snapshot snapshot = {.index = node->applied, .term = node->applied_term};
    assert_true(message->snapshot->index <= node->applied);
    raft_get_conf(group->raft, &snapshot.conf);
    filled.snapshot = &snapshot;
    node->snapshot_count++;
    if (!the_world->refuse_snapshots)
        post(the_world, encode(group, &filled));
    raft_report_snapshot(group->raft, message->to, !the_world->refuse_snapshots);
}

static void on_install(void *context, struct group *group, const struct raft_snapshot *snapshot, struct log_task *task)
{
    (void)context;
    struct node *node = group->user;
    assert_ptr_equal(task, node->task);
    node->install_count++;
    node->committed = node->applied = snapshot->index;
    node->committed_term = node->applied_term = snapshot->term;
}

static const struct group_host host = {.send = on_send,
                                       .log_task = on_log_task,
                                       .committed = on_committed,
                                       .read_done = on_read_done,
                                       .fetch = on_fetch,
                                       .changed = on_changed,
                                       .snapshot_wanted = on_snapshot_wanted,
                                       .install = on_install};

/* ---- the world */

static enum err try_open(struct world *world, struct node *node, struct error *error)
{
    struct group_options options = {.id = GROUP,
                                    .self = node->id,
                                    .seed = node->id,
                                    .config = &world->config,
                                    .pool = world->pool,
                                    .host = &host,
                                    .user = node,
                                    .applied_index = node->applied,
                                    .applied_term = node->applied_term};
    node->committed = node->applied;
    node->committed_term = node->applied_term;
    return group_open(&node->env, &options, &node->group, error);
}

static void open_node(struct world *world, struct node *node)
{
    struct error error = {0};
    if (try_open(world, node, &error) != ERR_OK)
        fail_msg("%s", error.text);
}

static void close_node(struct node *node)
{
    group_close(node->group);
    node->group = NULL;
    log_task_free(node->task);
    node->task = NULL;
    for (uint32_t i = 0; i < node->after_count; i++)
        free(node->after[i].data);
    node->after_count = 0;
    node->fetch_wanted = false;
}

/* Without `joins`, who comes later is created as an empty group. */
static void create(struct world *world, struct node *node)
{
    struct raft_conf conf = {0};
    for (peer_id id = 1; id <= NODES; id++)
        assert_int_equal(raft_conf_add(&conf, id, RAFT_VOTER), ERR_OK);
    struct engine_batch *batch = engine_batch_new(node->env.engine);
    group_create(node->env.engine, batch, GROUP, &conf);
    assert_int_equal(engine_write(node->env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(node->env.engine, batch);
    node->applied = GROUP_FIRST_INDEX;
    node->applied_term = GROUP_FIRST_TERM;
    open_node(world, node);
}

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->clock = (struct clock){.now_us = now, .wall_ms = now};
    world->log = (struct log){.level = LOG_INFO, .write = count_line};
    world->now_us = 1000 * 1000;
    raft_config_default(&world->config);
    world->config.lease_reads = true;
    world->pool = raft_pool_new(1024 * 1024);
    the_world = world;
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        node->id = i + 1;
        node->env = (struct env){.clock = &world->clock, .log = &world->log};
        assert_int_equal(engine_mem_new(&node->env.engine), ERR_OK);
        create(world, node);
    }
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    for (uint32_t i = 0; i < NODES; i++) {
        close_node(&world->nodes[i]);
        engine_mem_free(world->nodes[i].env.engine);
    }
    for (uint32_t i = 0; i < world->net_count; i++)
        free(world->net[i].data);
    assert_int_equal(raft_pool_used_size(world->pool), 0);
    raft_pool_free(world->pool);
    free(world);
    return 0;
}

static void deliver(struct world *world)
{
    uint32_t count = world->net_count;
    struct packet *packets = malloc((count + 1) * sizeof *packets);
    assert_non_null(packets);
    memcpy(packets, world->net, count * sizeof *packets);
    world->net_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct node *node = &world->nodes[packets[i].to - 1];
        struct arena arena;
        struct wire_raft_message wire;
        struct raft_message message;
        arena_init(&arena);
        assert_int_equal(wire_decode_raft_message(bytes_of(packets[i].data, packets[i].size), &arena, &wire), ERR_OK);
        assert_int_equal(group_message_from_wire(&wire, &arena, &message), ERR_OK);
        if (node->group && !world->cut[packets[i].from] && !world->cut[node->id] &&
            raft_step(node->group->raft, &message) == ERR_OK)
            group_note_replicated(node->group, wire.replicated);
        arena_fini(&arena);
        free(packets[i].data);
    }
    free(packets);
}

static void write_task(struct world *world, struct node *node)
{
    struct log_task *task = node->task;
    node->task = NULL;
    if (!task)
        return;
    assert_int_equal(engine_write(node->env.engine, task->batch, task->sync, NULL), ERR_OK);
    for (uint32_t i = 0; i < node->after_count; i++)
        post(world, node->after[i]);
    node->after_count = 0;
    for (uint32_t i = 0; i < task->append_count; i++) {
        if (task->appends[i].own_count > node->own_count_max)
            node->own_count_max = task->appends[i].own_count;
        group_appended(node->group, &task->appends[i]);
    }
    log_task_free(task);
}

static void run_fetch(struct node *node)
{
    struct group_fetch fetch;
    group_fetch_init(&fetch, GROUP, &node->fetch);
    group_fetch_run(&fetch, node->env.engine, node->env.log);
    group_fetched(node->group, &fetch);
    group_fetch_fini(&fetch);
    node->fetch_wanted = false;
}

/* One round of one node. */
static bool run_node(struct world *world, struct node *node)
{
    if (!node->group)
        return false;
    bool busy = raft_has_ready(node->group->raft) || node->task || node->fetch_wanted;
    group_pull(node->group);
    (void)group_release(node->group);
    write_task(world, node);
    if (node->committed > node->applied) {
        node->applied = node->committed;
        node->applied_term = node->committed_term;
        group_applied(node->group, node->applied);
        busy = true;
    }
    if (node->fetch_wanted)
        run_fetch(node);
    return busy;
}

static void settle(struct world *world)
{
    for (int i = 0; i < ROUNDS_MAX; i++) {
        bool busy = world->net_count > 0;
        deliver(world);
        for (uint32_t n = 0; n < NODES; n++)
            busy |= run_node(world, &world->nodes[n]);
        if (!busy)
            return;
    }
    fail_msg("it never comes to rest");
}

static void tick(struct world *world, uint32_t count)
{
    for (; count > 0; count--) {
        world->now_us += TICK_US;
        for (uint32_t n = 0; n < NODES; n++)
            if (world->nodes[n].group)
                raft_tick(world->nodes[n].group->raft, 1);
        settle(world);
    }
}

static void lead(struct world *world, struct node *node)
{
    for (int i = 0; i < 100 && !(node->group && raft_is_leader_ready(node->group->raft)); i++) {
        (void)raft_campaign(node->group->raft);
        settle(world);
        tick(world, 1);
    }
    assert_true(raft_is_leader_ready(node->group->raft));
    tick(world, world->config.heartbeat_ticks);
}

static void propose(struct world *world, struct node *node, uint32_t count, size_t size)
{
    uint8_t *data = calloc(1, size + 1);
    assert_non_null(data);
    for (uint32_t i = 0; i < count; i++) {
        raft_index index;
        raft_term term;
        data[0] = (uint8_t)i;
        assert_int_equal(raft_propose(node->group->raft, bytes_of(data, size), &index, &term), ERR_OK);
        settle(world);
    }
    free(data);
}

static void expect_all_applied(struct world *world, raft_index index)
{
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(world->nodes[n].applied, index);
}

/* What is on the disk is what a start makes of it. */
static void restart(struct world *world, struct node *node)
{
    raft_index last = raft_last_index(node->group->raft);
    close_node(node);
    open_node(world, node);
    assert_int_equal(raft_last_index(node->group->raft), last);
    raft_check(node->group->raft);
}

static uint32_t count_rows(const struct node *node)
{
    struct engine *engine = node->env.engine;
    struct group_key start = group_key(GROUP, GROUP_LOG), end = group_key(GROUP, GROUP_LOG + 1);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, group_key_bytes(&start), group_key_bytes(&end));
    uint32_t count = 0;
    for (engine_iter_seek(engine, iter, group_key_bytes(&start)); engine_iter_valid(engine, iter);
         engine_iter_next(engine, iter))
        count++;
    engine_iter_free(engine, iter);
    return count;
}

/* ---- claims */

static void what_one_proposes_all_apply_and_know_after_a_restart(void **state)
{
    struct world *world = *state;
    lead(world, &world->nodes[0]);
    assert_int_equal(world->nodes[1].leader, 1);
    propose(world, &world->nodes[0], 10, 100);
    propose(world, &world->nodes[0], 1, 100 * 1024); /* more than the scratch buffer keeps */
    tick(world, 3);
    raft_index last = raft_last_index(world->nodes[0].group->raft);
    expect_all_applied(world, last);
    for (uint32_t n = 0; n < NODES; n++) {
        assert_int_equal(count_rows(&world->nodes[n]), last - GROUP_FIRST_INDEX);
        restart(world, &world->nodes[n]);
    }
    lead(world, &world->nodes[2]);
    propose(world, &world->nodes[2], 1, 1);
    tick(world, 3);
    expect_all_applied(world, raft_last_index(world->nodes[2].group->raft));
}

static void a_lease_runs_from_the_sending_of_a_confirmed_round(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    assert_false(group_lease_holds(leader->group, world->now_us, LEASE_US));
    assert_false(group_is_ready_to_read(leader->group));
    lead(world, leader);
    assert_true(group_is_ready_to_read(leader->group));
    tick(world, world->config.heartbeat_ticks);
    uint64_t from_us = leader->group->lease_from_us;
    assert_true(from_us > 0 && from_us <= world->now_us);
    assert_true(group_lease_holds(leader->group, from_us + LEASE_US - 1, LEASE_US));
    assert_false(group_lease_holds(leader->group, from_us + LEASE_US, LEASE_US));
    assert_false(group_lease_holds(world->nodes[1].group, world->now_us, LEASE_US));
    /* Nobody answers: rounds go out, the lease does not move, and only so many rounds are remembered. */
    world->cut[1] = true;
    uint64_t cut_us = world->now_us;
    tick(world, world->config.heartbeat_ticks); /* what was confirmed is learnt with the next round */
    from_us = leader->group->lease_from_us;
    assert_true(from_us <= cut_us);
    for (int i = 0; i < 30; i++) {
        world->now_us += 10 * TICK_US;
        raft_tick(leader->group->raft, world->config.heartbeat_ticks);
        settle(world);
        if (!raft_is_leader(leader->group->raft))
            break;
        assert_int_equal(leader->group->lease_from_us, from_us);
        assert_false(group_lease_holds(leader->group, world->now_us, LEASE_US));
    }
    tick(world, 3 * world->config.election_ticks);
    assert_false(raft_is_leader(leader->group->raft)); /* without a quorum it stepped down */
    assert_int_equal(leader->group->lease_from_us, 0);
    world->cut[1] = false;
}

static void more_rounds_than_are_remembered_only_shorten_the_lease(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    world->config.check_quorum = world->config.lease_reads = false;
    lead(world, leader);
    world->cut[1] = true;
    for (int i = 0; i < 20; i++) {
        world->now_us += TICK_US;
        raft_tick(leader->group->raft, world->config.heartbeat_ticks);
        settle(world);
    }
    uint64_t cut_us = world->now_us;
    assert_int_equal(leader->group->round_count, 8);
    world->cut[1] = false;
    for (int i = 0; i < 6; i++) {
        uint64_t before = leader->group->lease_from_us;
        world->now_us += TICK_US;
        raft_tick(leader->group->raft, world->config.heartbeat_ticks);
        settle(world);
        assert_in_range(leader->group->lease_from_us, before, world->now_us);
    }
    assert_true(leader->group->lease_from_us > cut_us);
}

static void a_transfer_ends_the_lease(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    lead(world, leader);
    assert_true(group_lease_holds(leader->group, world->now_us, LEASE_US));
    world->cut[2] = true;
    assert_int_equal(raft_transfer(leader->group->raft, 2), ERR_OK);
    assert_false(group_lease_holds(leader->group, world->now_us, LEASE_US));
    world->cut[2] = false;
}

static void a_read_is_told_an_index_that_is_committed(void **state)
{
    struct world *world = *state;
    lead(world, &world->nodes[0]);
    propose(world, &world->nodes[0], 3, 10);
    for (uint32_t n = 0; n < 2; n++) { /* the leader, and a follower who asks it */
        assert_int_equal(raft_read(world->nodes[n].group->raft, 40 + n), ERR_OK);
        settle(world);
        assert_int_equal(world->nodes[n].read.context, 40 + n);
        assert_int_equal(world->nodes[n].read.code, ERR_OK);
        assert_int_equal(world->nodes[n].read.index, raft_commit_index(world->nodes[0].group->raft));
    }
}

static void a_slow_follower_is_fed_from_the_disk(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    lead(world, leader);
    world->cut[3] = true;
    propose(world, leader, 60, 200);
    group_shrink(leader->group);
    assert_int_equal(raft_term_at(leader->group->raft, GROUP_FIRST_INDEX + 3), 0); /* it left memory */
    world->cut[3] = false;
    tick(world, 2 * world->config.election_ticks);
    assert_true(leader->fetch_count > 0);
    assert_int_equal(leader->snapshot_count, 0);
    expect_all_applied(world, raft_last_index(leader->group->raft));
}

static bool fail_nth_read(void *context)
{
    (void)context;
    return the_world->reads_until_fault > 0 && --the_world->reads_until_fault == 0;
}

static uint64_t disk_now(void *context)
{
    (void)context;
    return the_world->now_us;
}

static uint64_t disk_cost(void *context, size_t size)
{
    (void)context, (void)size;
    return 0;
}

static void disk_wait(void *context, uint64_t us)
{
    (void)context, (void)us;
}

static void let_reads_fail(const struct node *node)
{
    struct engine_mem_disk disk = {
        .now_us = disk_now, .sync_cost_us = disk_cost, .wait_us = disk_wait, .read_fails = fail_nth_read};
    engine_mem_set_disk(node->env.engine, &disk);
}

static void a_fetch_that_fails_is_said_and_tried_again(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    let_reads_fail(leader);
    lead(world, leader);
    world->cut[3] = true;
    propose(world, leader, 60, 200);
    group_shrink(leader->group);
    world->cut[3] = false;
    for (uint32_t nth = 1; nth < 4; nth++) {
        world->reads_until_fault = nth;
        uint32_t before = leader->fetch_count;
        for (int i = 0; i < 50 && leader->fetch_count == before; i++)
            tick(world, 1);
        if (leader->fetch_count == before)
            break; /* all is there */
    }
    assert_true(world->log_count > 0);
    world->reads_until_fault = 0;
    tick(world, 2 * world->config.election_ticks);
    assert_int_equal(leader->snapshot_count, 0);
    expect_all_applied(world, raft_last_index(leader->group->raft));
}

static void a_start_on_a_disk_that_cannot_be_read_says_so(void **state)
{
    struct world *world = *state;
    struct node *node = &world->nodes[0];
    lead(world, node);
    propose(world, node, 5, 10);
    close_node(node);
    let_reads_fail(node);
    node->applied = GROUP_FIRST_INDEX;
    node->applied_term = GROUP_FIRST_TERM;
    uint32_t nth = 1;
    for (;; nth++) {
        struct error error = {0};
        world->reads_until_fault = nth;
        enum err code = try_open(world, node, &error);
        if (code == ERR_OK)
            break;
        assert_int_equal(code, ERR_IO);
        assert_null(node->group);
        assert_true(error.text[0] != 0);
        assert_true(nth < 100);
    }
    assert_true(nth > 5); /* three rows, and each step over the log */
    world->reads_until_fault = 0;
}

static void who_is_behind_the_cut_of_the_log_gets_a_snapshot(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0], *late = &world->nodes[2];
    lead(world, leader);
    world->cut[3] = true;
    propose(world, leader, 200, 100);
    raft_index applied = leader->applied;
    struct group_retention retention = {.retain_count = 10};
    group_maybe_truncate(leader->group, applied, &retention);
    assert_int_equal(raft_truncated(leader->group->raft).index, GROUP_FIRST_INDEX); /* the late one needs it */
    retention.size_max = leader->group->log_size - 1; /* over the size that it may take: not any more */
    group_maybe_truncate(leader->group, applied, &retention);
    assert_int_equal(raft_truncated(leader->group->raft).index, applied - 10);
    assert_int_equal(leader->group->log_size, 0);
    settle(world);
    assert_int_equal(count_rows(leader), 10);
    group_maybe_truncate(leader->group, applied, &retention); /* too little to gain */
    assert_null(leader->task);
    world->refuse_snapshots = true;
    world->cut[3] = false;
    tick(world, 5);
    assert_true(leader->snapshot_count > 0);
    assert_int_equal(late->install_count, 0);
    world->refuse_snapshots = false;
    tick(world, 2 * world->config.election_ticks);
    assert_int_equal(late->install_count, 1);
    propose(world, leader, 3, 10);
    tick(world, 3);
    expect_all_applied(world, raft_last_index(leader->group->raft));
    assert_int_equal(raft_truncated(late->group->raft).index, applied);
    assert_int_equal(count_rows(late), raft_last_index(late->group->raft) - applied);
    restart(world, late);
}

/* A disk that is nearly full, or a peer that was away for too long. */
static void nothing_is_kept_for_who_lags_when_the_host_says_so(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    lead(world, leader);
    world->cut[3] = true;
    propose(world, leader, 200, 100);
    raft_index applied = leader->applied;
    struct group_retention retention = {.retain_count = 10};
    group_maybe_truncate(leader->group, applied, &retention);
    assert_int_equal(raft_truncated(leader->group->raft).index, GROUP_FIRST_INDEX);
    retention.force = true;
    group_maybe_truncate(leader->group, applied - 50, &retention); /* what the host needs stays */
    assert_int_equal(raft_truncated(leader->group->raft).index, applied - 50);
    settle(world);
    assert_int_equal(count_rows(leader), 50);
}

/* Only this peer could make it a snapshot, and might find its own rows damaged. */
static void who_is_needed_for_the_next_commit_gets_entries_even_if_nothing_is_kept(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0], *late = &world->nodes[2];
    raft_index index;
    raft_term term;
    lead(world, leader);
    raft_index seen = raft_last_index(late->group->raft);
    world->cut[3] = true;
    propose(world, leader, 200, 100);
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE, .count = 1};
    change.changes[0].kind = RAFT_CHANGE_REMOVE;
    change.changes[0].id = 2;
    assert_int_equal(raft_propose_conf(leader->group->raft, &change, &index, &term), ERR_OK);
    settle(world);
    assert_int_equal(leader->applied, index); /* by 1 and 2; from here on 1 and 3 are needed */
    struct group_retention retention = {.retain_count = 10, .force = true};
    group_maybe_truncate(leader->group, index, &retention);
    settle(world);
    assert_true(raft_truncated(leader->group->raft).index <= seen);
    world->refuse_snapshots = true;
    world->cut[3] = false;
    tick(world, 5);
    assert_int_equal(raft_last_index(late->group->raft), raft_last_index(leader->group->raft));
    assert_int_equal(late->applied, leader->applied);
    group_maybe_truncate(leader->group, leader->applied, &retention);
    assert_int_equal(raft_truncated(leader->group->raft).index, leader->applied - 10);
    settle(world);
}

static void what_is_kept_is_no_more_than_half_of_what_a_log_may_take(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    lead(world, leader);
    world->cut[3] = true;
    propose(world, leader, 200, 100);
    raft_index applied = leader->applied;
    struct group_retention retention = {.retain_count = 150, .size_max = leader->group->log_size / 2};
    group_maybe_truncate(leader->group, applied, &retention);
    assert_in_range(applied - raft_truncated(leader->group->raft).index, 45, 55);
    settle(world);
}

static void followers_cut_at_the_leaders_word(void **state)
{
    struct world *world = *state;
    lead(world, &world->nodes[0]);
    propose(world, &world->nodes[0], 200, 100);
    tick(world, 5);
    struct node *follower = &world->nodes[1];
    assert_in_range(follower->group->replicated, GROUP_FIRST_INDEX + 100, follower->applied);
    group_note_replicated(follower->group, 3); /* old news */
    assert_in_range(follower->group->replicated, GROUP_FIRST_INDEX + 100, follower->applied);
    group_maybe_truncate(follower->group, follower->applied, &(struct group_retention){.retain_count = 20});
    settle(world);
    assert_in_range(count_rows(follower), 20, 100);
    restart(world, follower);
}

static void another_leaders_entries_replace_the_tail_on_the_disk(void **state)
{
    struct world *world = *state;
    struct node *old = &world->nodes[0], *new = &world->nodes[1];
    lead(world, old);
    propose(world, old, 2, 10);
    tick(world, 3);
    world->cut[1] = true;
    propose(world, old, 40, 10); /* of which nobody hears */
    raft_index lost = raft_last_index(old->group->raft);
    tick(world, 3 * world->config.election_ticks);
    world->cut[1] = false;
    world->cut[1] = true;
    lead(world, new);
    propose(world, new, 3, 20);
    world->cut[1] = false;
    tick(world, 3 * world->config.election_ticks);
    struct node *leader = raft_is_leader(new->group->raft) ? new : &world->nodes[2];
    raft_index last = raft_last_index(leader->group->raft);
    assert_true(last < lost);
    expect_all_applied(world, last);
    assert_int_equal(count_rows(old), last - GROUP_FIRST_INDEX);
    restart(world, old);
}

/* A process that was stopped for long ticks through many campaigns before its disk gets to write the first. */
static void campaigns_given_up_leave_one_vote_for_oneself(void **state)
{
    struct world *world = *state;
    struct node *node = &world->nodes[0];
    world->config.pre_vote = false;
    for (int i = 0; i < 30; i++)
        raft_tick(node->group->raft, 2 * world->config.election_ticks);
    settle(world);
    assert_true(raft_term_now(node->group->raft) > GROUP_FIRST_TERM + 5);
    assert_in_range(node->own_count_max, 1, LOG_OWN_MESSAGES_MAX);
    lead(world, node);
    restart(world, node);
}

static void members_that_change_are_remembered(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    struct raft_conf conf;
    raft_index index;
    raft_term term;
    lead(world, leader);
    struct raft_conf_change change = {
        .entry_kind = RAFT_ENTRY_CONF_CHANGE_V2,
        .transition = RAFT_TRANSITION_EXPLICIT,
        .count = 2,
        .changes = {{.kind = RAFT_CHANGE_ADD_LEARNER, .id = 2}, {.kind = RAFT_CHANGE_ADD_LEARNER, .id = 9}}};
    assert_int_equal(raft_propose_conf(leader->group->raft, &change, &index, &term), ERR_OK);
    settle(world);
    tick(world, 3);
    restart(world, &world->nodes[1]);
    raft_get_conf(world->nodes[1].group->raft, &conf);
    assert_true(raft_conf_is_joint(&conf));
    assert_int_equal(raft_conf_member(&conf, 2)->roles, RAFT_OUTGOING | RAFT_LEARNER_NEXT);
    assert_int_equal(raft_conf_member(&conf, 9)->roles, RAFT_LEARNER);
    /* A snapshot carries such a membership, too. */
    struct arena arena;
    struct wire_raft_message wire;
    struct raft_message again;
    struct raft_snapshot snapshot = {.index = 30, .term = 6, .conf = conf, .id = 5, .size = 6};
    struct raft_message message = {.kind = RAFT_SNAPSHOT, .from = 1, .to = 2, .term = 6, .snapshot = &snapshot};
    arena_init(&arena);
    group_message_to_wire(leader->group, &message, &arena, &wire);
    assert_int_equal(group_message_from_wire(&wire, &arena, &again), ERR_OK);
    assert_int_equal(again.snapshot->conf.count, conf.count);
    assert_int_equal(again.snapshot->conf.auto_leave, conf.auto_leave);
    for (uint32_t i = 0; i < conf.count; i++) {
        assert_int_equal(again.snapshot->conf.members[i].id, conf.members[i].id);
        assert_int_equal(again.snapshot->conf.members[i].roles, conf.members[i].roles);
    }
    assert_int_equal(again.snapshot->size, 6);
    arena_fini(&arena);
}

/* Who has a change of members on its disk knows from its disk that the one before it is committed; else, started again, it
 * could be elected by the members of two changes ago. (Scenario: tests/raft/two_changes_ago.txt.) */
static void a_change_of_members_takes_the_commit_index_along(void **state)
{
    struct world *world = *state;
    struct node *leader = &world->nodes[0];
    raft_index first, second;
    raft_term term;
    lead(world, leader);
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE, .count = 1};
    change.changes[0].kind = RAFT_CHANGE_ADD_LEARNER;
    change.changes[0].id = 8;
    assert_int_equal(raft_propose_conf(leader->group->raft, &change, &first, &term), ERR_OK);
    settle(world);
    tick(world, world->config.heartbeat_ticks);
    change.changes[0].id = 9;
    assert_int_equal(raft_propose_conf(leader->group->raft, &change, &second, &term), ERR_OK);
    settle(world);
    for (uint32_t i = 0; i < NODES; i++) {
        struct node *node = &world->nodes[i];
        struct group_log_state loaded;
        struct group_log_run run;
        struct error error = {0};
        group_log_run_init(&run);
        assert_int_equal(group_log_load(node->env.engine, GROUP, GROUP_FIRST_INDEX, &loaded, &run, &error), ERR_OK);
        assert_int_equal(run.entries[run.count - 1].index, second);
        assert_true(loaded.hard.commit >= first);
        group_log_run_fini(&run);
    }
}

static void memberships_that_cannot_be_are_refused_at_the_wire(void **state)
{
    (void)state;
    uint64_t one[] = {1}, two[] = {2}, zero[] = {0}, many[RAFT_MEMBER_COUNT_MAX + 1];
    for (uint64_t i = 0; i <= RAFT_MEMBER_COUNT_MAX; i++)
        many[i] = i + 1;
    struct wire_raft_conf bad[] = {
        {0},                                                         /* nobody */
        {.voters = zero, .voters_count = 1},                         /* no id */
        {.learners = one, .learners_count = 1},                      /* no voter */
        {.voters = many, .voters_count = RAFT_MEMBER_COUNT_MAX + 1}, /* too many */
        {.voters = one, .voters_count = 1, .voters_outgoing = zero, .voters_outgoing_count = 1},
        {.voters = one, .voters_count = 1, .learners = one, .learners_count = 1},           /* both */
        {.voters = one, .voters_count = 1, .learners_next = two, .learners_next_count = 1}, /* not outgoing */
        {.voters = one, .voters_count = 1, .auto_leave = true},                             /* leave what? */
    };
    struct arena arena;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct wire_raft_snapshot snapshot = {.index = 1, .term = 1, .conf = &bad[i]};
        struct wire_raft_message wire = {.kind = RAFT_SNAPSHOT, .snapshot = &snapshot};
        struct raft_message message;
        assert_int_equal(group_message_from_wire(&wire, &arena, &message), ERR_INVALID);
    }
    struct wire_raft_snapshot bare = {.index = 1, .term = 1};
    struct wire_raft_message wire = {.kind = RAFT_SNAPSHOT, .snapshot = &bare};
    struct raft_message message;
    assert_int_equal(group_message_from_wire(&wire, &arena, &message), ERR_INVALID);
    arena_fini(&arena);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(what_one_proposes_all_apply_and_know_after_a_restart),
        CLAIM(a_lease_runs_from_the_sending_of_a_confirmed_round),
        CLAIM(more_rounds_than_are_remembered_only_shorten_the_lease),
        CLAIM(a_transfer_ends_the_lease),
        CLAIM(a_read_is_told_an_index_that_is_committed),
        CLAIM(a_slow_follower_is_fed_from_the_disk),
        CLAIM(a_fetch_that_fails_is_said_and_tried_again),
        CLAIM(a_start_on_a_disk_that_cannot_be_read_says_so),
        CLAIM(who_is_behind_the_cut_of_the_log_gets_a_snapshot),
        CLAIM(nothing_is_kept_for_who_lags_when_the_host_says_so),
        CLAIM(who_is_needed_for_the_next_commit_gets_entries_even_if_nothing_is_kept),
        CLAIM(what_is_kept_is_no_more_than_half_of_what_a_log_may_take),
        CLAIM(followers_cut_at_the_leaders_word),
        CLAIM(another_leaders_entries_replace_the_tail_on_the_disk),
        CLAIM(campaigns_given_up_leave_one_vote_for_oneself),
        CLAIM(members_that_change_are_remembered),
        CLAIM(a_change_of_members_takes_the_commit_index_along),
        CLAIM(memberships_that_cannot_be_are_refused_at_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
