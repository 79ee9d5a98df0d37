/* fuzz_group: a group that starts from hostile rows, and then hears hostile messages.
 *
 * Input: a list of rows, each by kind: raw bytes under a key of the group (with a right checksum or not), or a sound row
 * of drawn numbers. Then what is applied, and what happens: ticks, elections, proposals, fetches, a RaftMessage table.
 * Opening says OK, NOT_FOUND or CORRUPT; a group that opened keeps its invariants, and what it wrote opens again. */
#include <stdlib.h>

#include "env/engine_mem.h"
#include "fuzz.h"
#include "group/group.h"
#include "group/group_keys.h"

enum { GROUP = 7, SELF = 1, ROWS_MAX = 24, STEPS_MAX = 64, PULLS_MAX = 64 };

struct world {
    struct env env;
    struct raft_config config;
    struct raft_pool *pool;
    struct group *group;
    struct log_task *task;
    struct arena arena;
    raft_index committed;
    raft_term committed_term;
    bool fetch_wanted;
    struct raft_fetch fetch;
    struct fuzz_input input;
};

/* ---- the disk */

/* Bytes as they are; half of the time with the checksum that makes them believable. */
static void put_raw(struct world *world, struct engine_batch *batch)
{
    struct fuzz_input *input = &world->input;
    uint8_t suffix = fuzz_u8(input), how = fuzz_u8(input);
    struct group_key key =
        suffix == GROUP_LOG ? group_key_indexed(GROUP, suffix, fuzz_u8(input)) : group_key(GROUP, suffix);
    if (how & 2 && key.size > 1)
        key.size -= 1;
    struct bytes drawn = fuzz_take(input, fuzz_u8(input));
    uint8_t *value = malloc(drawn.size + 4);
    CHECK(value);
    if (drawn.size > 0)
        memcpy(value, drawn.data, drawn.size);
    bool checked = (how & 1) && suffix != GROUP_LOG;
    if (checked)
        store_u32_be(value + drawn.size, group_checksum(suffix, value, drawn.size));
    engine_batch_put(world->env.engine, batch, ENGINE_RAFT, group_key_bytes(&key),
                     bytes_of(value, drawn.size + (checked ? 4 : 0)));
    free(value);
}

static void put_sound(struct world *world, struct engine_batch *batch, uint8_t kind)
{
    struct fuzz_input *input = &world->input;
    struct engine *engine = world->env.engine;
    uint32_t width = fuzz_u8(input) % 16 == 15 ? 8 : 1; /* mostly small numbers: rows that fit together */
    if (kind == 1) {
        struct raft_hard_state hard = {fuzz_number(input, width), fuzz_number(input, width), fuzz_number(input, width)};
        group_log_put_hard(engine, batch, GROUP, &hard);
    } else if (kind == 2) {
        struct raft_position position = {.index = fuzz_number(input, width), .term = fuzz_number(input, width)};
        group_log_put_truncated(engine, batch, GROUP, position);
    } else if (kind == 3) {
        struct raft_conf conf = {0};
        for (uint8_t count = fuzz_u8(input) % 8; count > 0; count--)
            (void)raft_conf_add(&conf, fuzz_u8(input), fuzz_u8(input));
        conf.auto_leave = fuzz_u8(input) & 1;
        group_put_conf(engine, batch, GROUP, &conf);
    } else {
        struct buf scratch;
        buf_init(&scratch, 4096);
        struct raft_entry entry = {.index = fuzz_number(input, width), .term = fuzz_number(input, width)};
        entry.kind = fuzz_u8(input) % 4;
        entry.data = fuzz_take(input, fuzz_u8(input) % 64);
        group_log_put_entry(engine, batch, GROUP, &entry, &scratch);
        buf_fini(&scratch);
    }
}

static void put_rows(struct world *world)
{
    struct engine_batch *batch = engine_batch_new(world->env.engine);
    if (fuzz_u8(&world->input) & 1) { /* a good group to begin with: what follows damages it */
        struct raft_conf conf = {0};
        for (peer_id id = 1; id <= 3; id++)
            CHECK(raft_conf_add(&conf, id, RAFT_VOTER) == ERR_OK);
        group_create(world->env.engine, batch, GROUP, &conf);
    }
    for (uint8_t count = fuzz_u8(&world->input) % ROWS_MAX; count > 0; count--) {
        uint8_t kind = fuzz_u8(&world->input) % 5;
        if (kind == 0)
            put_raw(world, batch);
        else
            put_sound(world, batch, kind);
    }
    CHECK(engine_write(world->env.engine, batch, true, NULL) == ERR_OK);
    engine_batch_free(world->env.engine, batch);
}

/* ---- the host */

static void on_send(void *context, struct group *group, const struct raft_message *message, bool after)
{
    (void)context, (void)after;
    struct world *world = group->user;
    struct wire_raft_message wire;
    struct raft_message again;
    group_message_to_wire(group, message, &world->arena, &wire);
    CHECK(group_message_from_wire(&wire, &world->arena, &again) == ERR_OK);
    CHECK(again.kind == message->kind && again.index == message->index && again.entry_count == message->entry_count);
}

static struct log_task *on_log_task(void *context, struct group *group)
{
    (void)context;
    struct world *world = group->user;
    if (!world->task)
        world->task = log_task_new(&world->env, NULL, 0);
    return world->task;
}

static void on_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count)
{
    (void)context;
    struct world *world = group->user;
    for (uint32_t i = 0; i < count; i++) {
        struct raft_conf conf;
        CHECK(i == 0 || entries[i].index == entries[i - 1].index + 1);
        if (entries[i].kind != RAFT_ENTRY_NORMAL)
            (void)raft_apply_conf(group->raft, &entries[i], &conf);
    }
    world->committed = entries[count - 1].index;
    world->committed_term = entries[count - 1].term;
}

static void on_read_done(void *context, struct group *group, const struct raft_read_result *read)
{
    (void)context, (void)group, (void)read;
}

static void on_fetch(void *context, struct group *group, const struct raft_fetch *fetch)
{
    (void)context;
    struct world *world = group->user;
    world->fetch_wanted = true;
    world->fetch = *fetch;
}

static void on_changed(void *context, struct group *group, enum raft_role role, peer_id leader)
{
    (void)context, (void)group, (void)role, (void)leader;
}

static void on_snapshot_wanted(void *context, struct group *group, const struct raft_message *message)
{
    (void)context;
    raft_report_snapshot(group->raft, message->to, false);
}

static void on_install(void *context, struct group *group, const struct raft_snapshot *snapshot, struct log_task *task)
{
    (void)context, (void)task;
    struct world *world = group->user;
    world->committed = snapshot->index;
    world->committed_term = snapshot->term;
}

static const struct group_host host = {.send = on_send,
                                       .log_task = on_log_task,
                                       .committed = on_committed,
                                       .read_done = on_read_done,
                                       .fetch = on_fetch,
                                       .changed = on_changed,
                                       .snapshot_wanted = on_snapshot_wanted,
                                       .install = on_install};

static enum err open_group(struct world *world, raft_index applied, raft_term term)
{
    struct error error = {0};
    struct group_options options = {.id = GROUP,
                                    .self = SELF,
                                    .seed = 1,
                                    .config = &world->config,
                                    .pool = world->pool,
                                    .host = &host,
                                    .user = world,
                                    .applied_index = applied,
                                    .applied_term = term};
    enum err code = group_open(&world->env, &options, &world->group, &error);
    CHECK(code == ERR_OK || code == ERR_NOT_FOUND || code == ERR_CORRUPT || code == ERR_INVALID);
    CHECK(code == ERR_OK || code == ERR_NOT_FOUND || error.text[0] != 0);
    return code;
}

/* ---- what happens */

static void settle(struct world *world)
{
    for (int i = 0; i < PULLS_MAX; i++) {
        group_pull(world->group);
        if (world->task) {
            struct log_task *task = world->task;
            world->task = NULL;
            CHECK(engine_write(world->env.engine, task->batch, task->sync, NULL) == ERR_OK);
            for (uint32_t at = 0; at < task->append_count; at++)
                group_appended(world->group, &task->appends[at]);
            log_task_free(task);
        }
        if (world->committed > raft_applied_index(world->group->raft))
            group_applied(world->group, world->committed);
        raft_check(world->group->raft);
        if (group_release(world->group))
            return;
    }
}

static void run_fetch(struct world *world, const struct raft_fetch *wanted)
{
    struct group_fetch fetch;
    group_fetch_init(&fetch, GROUP, wanted);
    group_fetch_run(&fetch, world->env.engine, NULL);
    CHECK(fetch.code != ERR_OK || fetch.run.count > 0);
    if (world->fetch_wanted && wanted == &world->fetch)
        group_fetched(world->group, &fetch);
    group_fetch_fini(&fetch);
}

/* A table as it comes from the wire; what follows of the input is that. */
static void hear(struct world *world)
{
    struct wire_raft_message wire;
    struct raft_message message;
    struct bytes bytes = fuzz_take(&world->input, (size_t)fuzz_number(&world->input, 2));
    if (wire_decode_raft_message(bytes, &world->arena, &wire) != ERR_OK)
        return;
    if (fuzz_u8(&world->input) & 1)
        wire.to = SELF;
    if (group_message_from_wire(&wire, &world->arena, &message) != ERR_OK)
        return;
    if (raft_step(world->group->raft, &message) == ERR_OK)
        group_note_replicated(world->group, wire.replicated);
}

static void do_step(struct world *world)
{
    struct fuzz_input *input = &world->input;
    struct raft *raft = world->group->raft;
    raft_index index;
    raft_term term;
    struct raft_fetch wanted = {.peer = 2, .count_max = 1 + fuzz_u8(input), .size_max = 1024};
    switch (fuzz_u8(input) % 8) {
    case 0:
        raft_tick(raft, fuzz_u8(input));
        break;
    case 1:
        (void)raft_campaign(raft);
        break;
    case 2:
        (void)raft_propose(raft, fuzz_take(input, fuzz_u8(input)), &index, &term);
        break;
    case 3:
        wanted.from = fuzz_number(input, fuzz_u8(input) % 4 ? 1 : 8);
        run_fetch(world, &wanted);
        break;
    case 4:
        if (world->fetch_wanted)
            run_fetch(world, &world->fetch);
        world->fetch_wanted = false;
        break;
    case 5: {
        raft_index limit = fuzz_number(input, 1);
        struct group_retention retention = {.retain_count = fuzz_u8(input)};
        retention.size_max = fuzz_u8(input) % 2;
        group_maybe_truncate(world->group, limit, &retention);
        break;
    }
    case 6:
        raft_cache_evict(raft, fuzz_u8(input) % 4);
        break;
    default:
        hear(world);
    }
    settle(world);
}

static void live(struct world *world)
{
    world->committed = raft_applied_index(world->group->raft);
    world->committed_term = raft_term_at(world->group->raft, world->committed);
    settle(world);
    for (int i = 0; i < STEPS_MAX && world->input.size > 0; i++)
        do_step(world);
    raft_index applied = raft_applied_index(world->group->raft);
    raft_term term = world->committed_term;
    struct raft_conf conf;
    raft_get_conf(world->group->raft, &conf);
    group_close(world->group);
    world->group = NULL;
    /* A host keeps the membership with its own apply state. */
    struct engine_batch *batch = engine_batch_new(world->env.engine);
    group_put_conf(world->env.engine, batch, GROUP, &conf);
    CHECK(engine_write(world->env.engine, batch, true, NULL) == ERR_OK);
    engine_batch_free(world->env.engine, batch);
    if (conf.count > 0)
        CHECK(open_group(world, applied, term) == ERR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.input = {.data = data, .size = size}};
    CHECK(engine_mem_new(&world.env.engine) == ERR_OK);
    raft_config_default(&world.config);
    world.config.cache_size_max = 512;
    world.pool = raft_pool_new(0);
    arena_init(&world.arena);
    put_rows(&world);
    raft_index applied = fuzz_u8(&world.input);
    if (open_group(&world, applied, fuzz_u8(&world.input)) == ERR_OK)
        live(&world);
    group_close(world.group);
    log_task_free(world.task);
    arena_fini(&world.arena);
    CHECK(raft_pool_used_size(world.pool) == 0);
    raft_pool_free(world.pool);
    engine_mem_free(world.env.engine);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    /* no rows: damage nothing; then an election, ticks, proposals, a fetch, a cut */
    static const uint8_t follower[] = {1, 0, 5, 5, 9, 0, 30, 9, 1, 9, 3, 1, 6};
    /* hard 5 0 6, truncated 5 5, conf {1 voter}, entry 6 of term 5 */
    static const uint8_t lone[] = {0,   4, 1, 0, 5,   0,   6, 2, 0, 5, 5, 3, 0, 1,   1,   1,   0, 4, 0,
                                   6,   5, 0, 2, 'x', 'y', 5, 5, 9, 1, 9, 2, 3, 'a', 'b', 'c', 9, 2, 1,
                                   'z', 9, 3, 1, 6,   9,   6, 0, 9, 3, 1, 6, 9, 5,   6,   0,   1};
    /* rows that are no rows */
    static const uint8_t raw[] = {1, 5, 0, 1, 1, 25, 1, 0, 0, 0, 0, 0, 0, 0,  6, 0,  0, 0, 0,
                                  0, 0, 0, 1, 0, 0,  0, 0, 0, 0, 0, 5, 0, 5,  1, 12, 1, 0, 1,
                                  0, 0, 0, 0, 0, 0,  0, 1, 1, 0, 4, 0, 6, 20, 1, 0,  5, 5};
    write(context, "follower", follower, sizeof follower);
    write(context, "lone", lone, sizeof lone);
    write(context, "raw", raw, sizeof raw);
    struct wire_raft_entry entries[] = {{.term = 6, .index = 6, .data = bytes_of("x", 1)},
                                        {.term = 6, .index = 7, .kind = 2}};
    struct wire_raft_message messages[] = {
        {.region_id = GROUP,
         .kind = RAFT_APP,
         .from = 2,
         .to = SELF,
         .term = 6,
         .log_term = 5,
         .index = 5,
         .commit = 7,
         .entries = entries,
         .entries_count = 2,
         .round = 3,
         .replicated = 6},
        {.region_id = GROUP,
         .kind = RAFT_VOTE,
         .from = 3,
         .to = SELF,
         .term = 9,
         .log_term = 5,
         .index = 5,
         .force = true},
        {.region_id = GROUP, .kind = RAFT_HEARTBEAT, .from = 2, .to = SELF, .term = 6, .commit = 5, .context = 1},
    };
    struct wire_raft_conf conf = {
        .voters = (uint64_t[]){1, 2}, .voters_count = 2, .learners = (uint64_t[]){4}, .learners_count = 1};
    struct wire_raft_snapshot snapshot = {.index = 20, .term = 6, .conf = &conf, .id = 1, .size = 2};
    struct wire_raft_message install = {
        .region_id = GROUP, .kind = RAFT_SNAPSHOT, .from = 2, .to = SELF, .term = 6, .snapshot = &snapshot};
    struct buf seed, table;
    buf_init(&seed, 65536);
    buf_init(&table, 65536);
    buf_append(&seed, follower, 4);
    for (int i = 0; i < 4; i++) {
        CHECK(wire_encode_raft_message(i < 3 ? &messages[i] : &install, &table) == ERR_OK);
        uint8_t head[] = {0, 7, (uint8_t)(table.size >> 8), (uint8_t)table.size};
        buf_append(&seed, head, sizeof head);
        buf_append_bytes(&seed, buf_bytes(&table));
        buf_append_u8(&seed, 0);
    }
    write(context, "messages", seed.data, seed.size);
    buf_fini(&table);
    buf_fini(&seed);
}
