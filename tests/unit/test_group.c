/* A lone group on an engine in memory: what it keeps of its log. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "group/group_log.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "group/group.h"
#include "group/group_keys.h"

enum { GROUP = 7, PEER = 1, CACHE_SIZE = 16 * 1024 };

struct world {
    struct env env;
    struct raft_config config;
    struct raft_pool *pool;
    struct group *group;
    struct log_task *task;
    raft_index committed;
};

static void on_send(void *context, struct group *group, const struct raft_message *message, bool after)
{
    (void)context;
    (void)group;
    (void)message;
    (void)after;
    fail_msg("a lone group has nobody to talk to");
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
    ((struct world *)group->user)->committed = entries[count - 1].index;
}

static void on_changed(void *context, struct group *group, enum raft_role role, peer_id leader)
{
    (void)context;
    (void)group;
    (void)role;
    (void)leader;
}

static const struct group_host host = {
    .send = on_send, .log_task = on_log_task, .committed = on_committed, .changed = on_changed};

static void open_group(struct world *world, raft_index applied, raft_term term)
{
    struct error error;
    struct group_options options = {.id = GROUP,
                                    .self = PEER,
                                    .seed = 1,
                                    .config = &world->config,
                                    .pool = world->pool,
                                    .host = &host,
                                    .user = world,
                                    .applied_index = applied,
                                    .applied_term = term};
    assert_int_equal(group_open(&world->env, &options, &world->group, &error), ERR_OK);
}

static void world_init(struct world *world)
{
    *world = (struct world){0};
    assert_int_equal(engine_mem_new(&world->env.engine), ERR_OK);
    raft_config_default(&world->config);
    world->config.cache_size_max = CACHE_SIZE;
    world->pool = raft_pool_new(1024 * 1024);
    struct raft_conf conf = {0};
    assert_int_equal(raft_conf_add(&conf, PEER, RAFT_VOTER), ERR_OK);
    struct engine_batch *batch = engine_batch_new(world->env.engine);
    group_create(world->env.engine, batch, GROUP, &conf);
    assert_int_equal(engine_write(world->env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(world->env.engine, batch);
    open_group(world, GROUP_FIRST_INDEX, GROUP_FIRST_TERM);
}

static void world_fini(struct world *world)
{
    group_close(world->group);
    log_task_free(world->task);
    raft_pool_free(world->pool);
    engine_mem_free(world->env.engine);
}

/* Everything that was asked for becomes durable and applied. */
static void settle(struct world *world)
{
    do {
        group_pull(world->group);
        if (world->task) {
            struct log_task *task = world->task;
            world->task = NULL;
            assert_int_equal(engine_write(world->env.engine, task->batch, task->sync, NULL), ERR_OK);
            for (uint32_t i = 0; i < task->append_count; i++)
                group_appended(world->group, &task->appends[i]);
            log_task_free(task);
        }
        if (world->committed > raft_applied_index(world->group->raft))
            group_applied(world->group, world->committed);
    } while (!group_release(world->group));
}

static void propose(struct world *world, size_t size)
{
    raft_index index;
    raft_term term;
    uint8_t *data = calloc(1, size);
    assert_non_null(data);
    assert_int_equal(raft_propose(world->group->raft, bytes_of(data, size), &index, &term), ERR_OK);
    free(data);
    settle(world);
}

static uint32_t count_rows(struct world *world)
{
    struct engine *engine = world->env.engine;
    struct group_key start = group_key(GROUP, GROUP_LOG), end = group_key(GROUP, GROUP_LOG + 1);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, group_key_bytes(&start), group_key_bytes(&end));
    uint32_t count = 0;
    for (engine_iter_seek(engine, iter, group_key_bytes(&start)); engine_iter_valid(engine, iter);
         engine_iter_next(engine, iter))
        count++;
    engine_iter_free(engine, iter);
    return count;
}

/* The host needs the log behind its last save, which is always a while ago; few entries are in memory then. */
static void log_is_cut_although_what_is_needed_left_memory(void **state)
{
    (void)state;
    enum { ENTRIES = 4000, SAVE_INTERVAL = 200, LOOK_INTERVAL = 70, RETAIN = 100 };
    const size_t sizes[] = {1, 200, 3000, CACHE_SIZE + 1};
    for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        struct world world;
        world_init(&world);
        assert_int_equal(raft_campaign(world.group->raft), ERR_OK);
        settle(&world);
        for (uint32_t i = 1; i <= ENTRIES; i++) {
            propose(&world, sizes[at]);
            raft_index applied = raft_applied_index(world.group->raft), needed = applied - i % SAVE_INTERVAL;
            if (i % LOOK_INTERVAL != 0)
                continue;
            group_maybe_truncate(world.group, needed, RETAIN, 0);
            assert_true(raft_truncated(world.group->raft).index <= needed);
            settle(&world);
        }
        assert_in_range(count_rows(&world), 1, 2 * SAVE_INTERVAL + 2 * LOOK_INTERVAL + RETAIN);
        raft_index applied = raft_applied_index(world.group->raft);
        raft_term term = raft_term_at(world.group->raft, applied);
        group_close(world.group);
        open_group(&world, applied, term);
        world_fini(&world);
    }
}

/* A row that is sound in itself, under a key that is not its own. */
static void a_log_row_under_another_key_is_corrupt(void **state)
{
    (void)state;
    enum { ID = 3 };
    struct engine *engine;
    struct buf scratch, row;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    buf_init(&scratch, 1024);
    buf_init(&row, 1024);
    struct engine_batch *batch = engine_batch_new(engine);
    struct raft_entry entry = {.term = 6, .index = 7, .data = bytes_of_string("payload")};
    group_log_put_entry(engine, batch, ID, &entry, &scratch);
    assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
    struct group_key own = group_key_indexed(ID, GROUP_LOG, 7);
    assert_int_equal(engine_get(engine, ENGINE_RAFT, group_key_bytes(&own), &row, NULL), ERR_OK);
    static const struct {
        uint64_t id, index;
        enum err code;
    } places[] = {{ID, 7, ERR_OK}, {ID, 8, ERR_CORRUPT}, {ID + 1, 7, ERR_CORRUPT}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct group_key key = group_key_indexed(places[i].id, GROUP_LOG, places[i].index);
        engine_batch_clear(engine, batch);
        engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&row));
        assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
        struct group_log_run run;
        group_log_run_init(&run);
        assert_int_equal(group_log_read(engine, places[i].id, places[i].index, 1, 1024, &run, NULL), places[i].code);
        group_log_run_fini(&run);
    }
    engine_batch_free(engine, batch);
    buf_fini(&row);
    buf_fini(&scratch);
    engine_mem_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_log_row_under_another_key_is_corrupt),
                                       cmocka_unit_test(log_is_cut_although_what_is_needed_left_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
