/* A lone group on an engine in memory: what it keeps of its log. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

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
            group_maybe_truncate(world.group, needed, &(struct group_retention){.retain_count = RETAIN});
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

/* ---- rows that are not what was written */

static void put_row(struct world *world, struct group_key key, struct bytes value)
{
    struct engine_batch *batch = engine_batch_new(world->env.engine);
    if (value.data)
        engine_batch_put(world->env.engine, batch, ENGINE_RAFT, group_key_bytes(&key), value);
    else
        engine_batch_delete(world->env.engine, batch, ENGINE_RAFT, group_key_bytes(&key));
    assert_int_equal(engine_write(world->env.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(world->env.engine, batch);
}

static void expect_open_fails(struct world *world, enum err code, const char *text)
{
    struct error error = {0};
    struct group *group = NULL;
    struct group_options options = {.id = GROUP,
                                    .self = PEER,
                                    .config = &world->config,
                                    .pool = world->pool,
                                    .host = &host,
                                    .user = world,
                                    .applied_index = GROUP_FIRST_INDEX,
                                    .applied_term = GROUP_FIRST_TERM};
    assert_int_equal(group_open(&world->env, &options, &group, &error), code);
    assert_null(group);
    if (text && !strstr(error.text, text))
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
}

/* Each row, each byte of it changed, then cut short, then grown beyond all measure, then gone. */
static void a_damaged_row_is_named_and_the_group_does_not_open(void **state)
{
    (void)state;
    static const struct {
        uint8_t suffix;
        uint64_t index; /* of the log */
        const char *text;
    } rows[] = {{GROUP_HARD_STATE, 0, "group 7: hard state"},
                {GROUP_TRUNCATED_STATE, 0, "group 7: truncated state"},
                {GROUP_CONF, 0, "group 7: membership"},
                {GROUP_LOG, GROUP_FIRST_INDEX + 1, "group 7: log entry 6"}};
    struct world world;
    world_init(&world);
    assert_int_equal(raft_campaign(world.group->raft), ERR_OK);
    settle(&world);
    propose(&world, 20);
    propose(&world, 20);
    for (size_t at = 0; at < sizeof rows / sizeof rows[0]; at++) {
        struct group_key key = rows[at].index ? group_key_indexed(GROUP, rows[at].suffix, rows[at].index)
                                              : group_key(GROUP, rows[at].suffix);
        struct buf good, bad;
        buf_init(&good, 8192);
        buf_init(&bad, 8192);
        assert_int_equal(engine_get(world.env.engine, ENGINE_RAFT, group_key_bytes(&key), &good, NULL), ERR_OK);
        for (size_t i = 0; i < good.size; i++) {
            assert_int_equal(buf_assign(&bad, buf_bytes(&good)), ERR_OK);
            bad.data[i] ^= 0x10;
            put_row(&world, key, buf_bytes(&bad));
            expect_open_fails(&world, ERR_CORRUPT, rows[at].text);
        }
        for (size_t size = 0; size < good.size; size++) {
            put_row(&world, key, bytes_of(good.data, size));
            expect_open_fails(&world, ERR_CORRUPT, rows[at].text);
        }
        while (bad.size < 4096)
            assert_int_equal(buf_append_u8(&bad, 1), ERR_OK);
        put_row(&world, key, buf_bytes(&bad));
        expect_open_fails(&world, ERR_CORRUPT, rows[at].text);
        put_row(&world, key, bytes_empty());
        if (rows[at].index)
            expect_open_fails(&world, ERR_CORRUPT, "log entry 6 is missing");
        else
            expect_open_fails(&world, ERR_NOT_FOUND, NULL);
        put_row(&world, key, buf_bytes(&good));
        buf_fini(&good);
        buf_fini(&bad);
    }
    raft_index last = raft_last_index(world.group->raft);
    group_close(world.group);
    open_group(&world, GROUP_FIRST_INDEX, GROUP_FIRST_TERM);
    assert_int_equal(raft_last_index(world.group->raft), last);
    world.committed = last;
    world_fini(&world);
}

static void rows_that_contradict_each_other_do_not_make_a_group(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct engine_batch *batch = engine_batch_new(world.env.engine);
    static const struct {
        struct raft_hard_state hard;
        struct raft_position truncated;
    } cases[] = {{{.term = 6, .commit = 50}, {5, 5}}, /* the log has nothing of that */
                 {{.term = 4, .commit = 5}, {5, 5}},  /* what is applied is of a later term */
                 {{.term = 9, .commit = 5}, {5, 6}},  /* what was cut off, too */
                 {{.term = 9, .commit = 5}, {6, 5}}}; /* and more than is applied */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        group_log_put_hard(world.env.engine, batch, GROUP, &cases[i].hard);
        group_log_put_truncated(world.env.engine, batch, GROUP, cases[i].truncated);
        assert_int_equal(engine_write(world.env.engine, batch, true, NULL), ERR_OK);
        expect_open_fails(&world, ERR_CORRUPT, "contradict");
    }
    engine_batch_free(world.env.engine, batch);
    world_fini(&world);
}

static void the_term_of_an_entry_is_found_in_the_log_and_at_its_cut(void **state)
{
    (void)state;
    struct world world;
    struct error error = {0};
    raft_term term = 0;
    world_init(&world);
    assert_int_equal(raft_campaign(world.group->raft), ERR_OK);
    settle(&world);
    propose(&world, 20);
    struct engine *engine = world.env.engine;
    assert_int_equal(group_log_term(engine, GROUP, GROUP_FIRST_INDEX, &term, &error), ERR_OK);
    assert_int_equal(term, GROUP_FIRST_TERM);
    assert_int_equal(group_log_term(engine, GROUP, GROUP_FIRST_INDEX + 2, &term, &error), ERR_OK);
    assert_int_equal(term, raft_term_now(world.group->raft));
    assert_int_equal(group_log_term(engine, GROUP, GROUP_FIRST_INDEX - 1, &term, &error), ERR_NOT_FOUND);
    assert_int_equal(group_log_term(engine, GROUP, GROUP_FIRST_INDEX + 9, &term, &error), ERR_NOT_FOUND);
    assert_int_equal(group_log_term(engine, GROUP + 1, 3, &term, &error), ERR_NOT_FOUND);
    put_row(&world, group_key_indexed(GROUP, GROUP_LOG, GROUP_FIRST_INDEX + 2), bytes_of("x", 1));
    assert_int_equal(group_log_term(engine, GROUP, GROUP_FIRST_INDEX + 2, &term, &error), ERR_CORRUPT);
    put_row(&world, group_key(GROUP, GROUP_TRUNCATED_STATE), bytes_of("x", 1));
    assert_int_equal(group_log_term(engine, GROUP, GROUP_FIRST_INDEX, &term, &error), ERR_CORRUPT);
    world_fini(&world);
}

static void a_fetch_reads_within_its_limits_and_says_what_it_lacks(void **state)
{
    (void)state;
    enum { ENTRIES = 20, SIZE = 100 };
    static const struct {
        raft_index from;
        uint32_t count_max;
        uint64_t size_max;
        enum err code;
        uint32_t count;
    } cases[] = {
        {GROUP_FIRST_INDEX + 1, 100, 1 << 20, ERR_OK, ENTRIES + 1}, /* and the leader's own */
        {GROUP_FIRST_INDEX + 2, 5, 1 << 20, ERR_OK, 5},
        {GROUP_FIRST_INDEX + 2, 100, 250, ERR_OK, 3},
        {GROUP_FIRST_INDEX + 2, 100, 1, ERR_OK, 1}, /* at least one */
        {GROUP_FIRST_INDEX + ENTRIES + 2, 100, 1 << 20, ERR_NOT_FOUND, 0},
        {GROUP_FIRST_INDEX, 100, 1 << 20, ERR_NOT_FOUND, 0},
    };
    struct world world;
    world_init(&world);
    assert_int_equal(raft_campaign(world.group->raft), ERR_OK);
    settle(&world);
    for (int i = 0; i < ENTRIES; i++)
        propose(&world, SIZE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct group_fetch fetch;
        struct raft_fetch wanted = {
            .from = cases[i].from, .count_max = cases[i].count_max, .size_max = cases[i].size_max};
        group_fetch_init(&fetch, GROUP, &wanted);
        group_fetch_run(&fetch, world.env.engine, NULL);
        assert_int_equal(fetch.code, cases[i].code);
        assert_int_equal(fetch.run.count, cases[i].count);
        for (uint32_t at = 0; at < fetch.run.count; at++)
            assert_int_equal(fetch.run.entries[at].index, cases[i].from + at);
        group_fetched(world.group, &fetch); /* nobody asked: ignored */
        group_fetch_fini(&fetch);
    }
    world_fini(&world);
}

static void a_lone_group_reads_without_a_lease(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    assert_false(group_lease_holds(world.group, 0, 0));
    assert_int_equal(raft_campaign(world.group->raft), ERR_OK);
    settle(&world);
    assert_true(group_lease_holds(world.group, UINT64_MAX, 0));
    world_fini(&world);
    group_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_damaged_row_is_named_and_the_group_does_not_open),
                                       cmocka_unit_test(rows_that_contradict_each_other_do_not_make_a_group),
                                       cmocka_unit_test(the_term_of_an_entry_is_found_in_the_log_and_at_its_cut),
                                       cmocka_unit_test(a_fetch_reads_within_its_limits_and_says_what_it_lacks),
                                       cmocka_unit_test(a_lone_group_reads_without_a_lease),
                                       cmocka_unit_test(a_log_row_under_another_key_is_corrupt),
                                       cmocka_unit_test(log_is_cut_although_what_is_needed_left_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
