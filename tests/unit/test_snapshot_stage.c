/* A snapshot replaces what a region holds, whole or not at all, whenever the machine stops. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "env/engine_mem.h"
#include "env/engine_rocks.h"
#include "env/os.h"
#include "group/group_keys.h"
#include "storenode/peer_heal.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/snapshot_stage.h"
#include "storenode/store_keys.h"

enum { REGION = 9, CHUNKS = 12, ROWS_PER_CHUNK = 3, INDEX = 77, TERM = 6, OLD_INDEX = 20, STEP_SIZE = 1 };

static const struct snapshot_marker marker = {
    .id = 5, .position = {.index = INDEX, .term = TERM}, .chunk_count = CHUNKS};

static struct wire_peer peer = {.id = 3, .store_id = 1};
static const struct wire_region wire = {.id = REGION,
                                        .start_key = {.data = (const uint8_t *)"rb", .size = 2},
                                        .end_key = {.data = (const uint8_t *)"rm", .size = 2},
                                        .epoch_conf = 1,
                                        .epoch_version = 1,
                                        .peers = &peer,
                                        .peers_count = 1};

static struct region *make_region(void)
{
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    return region;
}

static void put(struct engine *engine, struct engine_batch *batch, const char *key, const char *value)
{
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string(key), bytes_of_string(value));
}

static void put_chunk(struct engine *engine, struct engine_batch *batch, uint32_t sequence)
{
    char keys[ROWS_PER_CHUNK][16];
    struct wire_snapshot_row rows[ROWS_PER_CHUNK];
    for (int i = 0; i < ROWS_PER_CHUNK; i++) {
        snprintf(keys[i], sizeof keys[i], "rc%02u%d", sequence, i);
        rows[i] = (struct wire_snapshot_row){
            .cf = ENGINE_DEFAULT, .key = bytes_of_string(keys[i]), .value = bytes_of_string("new")};
    }
    struct wire_snapshot_chunk chunk = {.region_id = REGION,
                                        .id = marker.id,
                                        .sequence = sequence,
                                        .last = sequence + 1 == CHUNKS,
                                        .rows = rows,
                                        .rows_count = ROWS_PER_CHUNK};
    struct buf bytes;
    buf_init(&bytes, 64 * 1024);
    assert_int_equal(wire_encode_snapshot_chunk(&chunk, &bytes), ERR_OK);
    snapshot_stage_put_chunk(engine, batch, REGION, sequence, buf_bytes(&bytes));
    buf_fini(&bytes);
}

static void write_and_clear(struct engine *engine, struct engine_batch *batch, bool sync)
{
    assert_int_equal(engine_write(engine, batch, sync, NULL), ERR_OK);
    engine_batch_clear(engine, batch);
}

static void put_region_row(struct engine *engine, struct engine_batch *batch)
{
    struct wire_region state_region = wire;
    struct wire_region_state state = {.region = &state_region, .local_peer_id = peer.id};
    struct group_key key = group_key(REGION, STORE_REGION_STATE);
    struct buf bytes;
    buf_init(&bytes, 64 * 1024);
    assert_int_equal(region_row_encode(&state, &bytes), ERR_OK);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&bytes));
    buf_fini(&bytes);
}

/* The region at OLD_INDEX, neighbours, all chunks; and the marker, if it was accepted. Everything is durable. */
static struct engine *make_disk(bool accepted)
{
    struct engine *engine;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    struct engine_batch *batch = engine_batch_new(engine);
    struct group_key token = group_key_indexed(REGION, STORE_TOKENS, 44);
    put_region_row(engine, batch);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&token), bytes_of_string("old"));
    region_fsm_put_applied(engine, batch, REGION, OLD_INDEX, TERM, NULL);
    put(engine, batch, "ra", "neighbour");
    put(engine, batch, "rb", "old");
    put(engine, batch, "rc001", "old");
    put(engine, batch, "rlz", "old");
    put(engine, batch, "rm", "neighbour");
    for (uint32_t i = 0; i < CHUNKS; i++)
        put_chunk(engine, batch, i);
    if (accepted)
        snapshot_stage_put_marker(engine, batch, REGION, &marker);
    write_and_clear(engine, batch, true);
    engine_batch_free(engine, batch);
    return engine;
}

static uint32_t count_rows(struct engine *engine, enum engine_cf cf, const char *from, const char *to,
                           const char *value)
{
    struct bytes lower = bytes_of_string(from), upper = bytes_of_string(to);
    struct engine_iter *iter = engine_iter_new(engine, cf, lower, upper);
    uint32_t count = 0;
    for (engine_iter_seek(engine, iter, lower); engine_iter_valid(engine, iter); engine_iter_next(engine, iter))
        count += !value || bytes_equal(engine_iter_value(engine, iter), bytes_of_string(value));
    engine_iter_free(engine, iter);
    return count;
}

static raft_index applied(struct engine *engine)
{
    raft_index index;
    raft_term term;
    assert_int_equal(region_fsm_load_applied(engine, REGION, &index, &term, NULL), ERR_OK);
    return index;
}

static void assert_installed(struct engine *engine)
{
    assert_int_equal(count_rows(engine, ENGINE_DEFAULT, "rb", "rm", NULL), CHUNKS * ROWS_PER_CHUNK);
    assert_int_equal(count_rows(engine, ENGINE_DEFAULT, "rb", "rm", "new"), CHUNKS * ROWS_PER_CHUNK);
    assert_int_equal(count_rows(engine, ENGINE_DEFAULT, "r", "s", "neighbour"), 2);
    assert_int_equal(count_rows(engine, ENGINE_RAFT, "g", "h", "old"), 0);
    assert_int_equal(count_rows(engine, ENGINE_RAFT, "s", "t", NULL), 0);
    assert_int_equal(applied(engine), INDEX);
}

static void count_line(struct log *log, enum log_level level, const char *fields)
{
    (void)log;
    (void)level;
    (void)fields;
}

static void recover(struct engine *engine, enum err expected)
{
    struct log log = {.level = LOG_ERROR, .write = count_line};
    struct env env = {.engine = engine, .log = &log};
    struct error err = {0};
    uint64_t installed = 0;
    assert_int_equal(snapshot_stage_recover(&env, &installed, &err), expected);
}

/* The next write of an installation; true: there is no other. */
static bool write_next(struct snapshot_install *install, struct engine *engine)
{
    if (!install->whole) {
        assert_int_equal(snapshot_install_step(install, engine, STEP_SIZE, NULL), ERR_OK);
        return false;
    }
    struct engine_batch *batch = engine_batch_new(engine);
    bool sync = snapshot_install_put_end(install, engine, batch);
    assert_int_equal(engine_write(engine, batch, sync, NULL), ERR_OK);
    engine_batch_free(engine, batch);
    snapshot_install_end(install, engine);
    return true;
}

static void a_snapshot_replaces_rows_and_tokens_and_nothing_else(void **unused)
{
    (void)unused;
    struct engine *engine = make_disk(true);
    struct snapshot_install install;
    snapshot_install_init(&install, make_region(), &marker, &(struct snapshot_tables){.items = NULL});
    uint32_t writes = 1;
    while (!write_next(&install, engine))
        writes++;
    assert_int_equal(writes, CHUNKS + 2);
    assert_int_equal(install.row_count, CHUNKS * ROWS_PER_CHUNK);
    snapshot_install_fini(&install);
    assert_installed(engine);
    engine_mem_free(engine);
}

/* Crash after each number of batches, with each that is not synced lost or not. */
static void whoever_finds_a_marker_installs_again_from_the_beginning(void **unused)
{
    (void)unused;
    struct rng rng;
    rng_init(&rng, 1, "crash");
    for (uint32_t steps = 0; steps <= CHUNKS + 2; steps++)
        for (int attempt = 0; attempt < 8; attempt++) {
            struct engine *engine = make_disk(true);
            struct snapshot_install install;
            snapshot_install_init(&install, make_region(), &marker, &(struct snapshot_tables){.items = NULL});
            for (uint32_t i = 0; i < steps; i++)
                write_next(&install, engine);
            snapshot_install_fini(&install);
            engine_mem_crash(engine, 0, &rng);
            recover(engine, ERR_OK);
            assert_installed(engine);
            engine_mem_free(engine);
        }
}

static void chunks_without_a_marker_are_dropped_and_the_region_is_as_it_was(void **unused)
{
    (void)unused;
    struct engine *engine = make_disk(false);
    recover(engine, ERR_OK);
    assert_int_equal(count_rows(engine, ENGINE_RAFT, "s", "t", NULL), 0);
    assert_int_equal(count_rows(engine, ENGINE_DEFAULT, "rb", "rm", "old"), 3);
    assert_int_equal(applied(engine), OLD_INDEX);
    engine_mem_free(engine);
}

/* It serves nothing, says why, and will ask for its rows again. */
static void assert_damaged(struct engine *engine, const char *name)
{
    char text[512];
    assert_true(damage_load(engine, REGION, text, sizeof text));
    assert_non_null(strstr(text, name));
    assert_int_equal(applied(engine), INDEX); /* as its log says */
    assert_int_equal(count_rows(engine, ENGINE_RAFT, "s", "t", NULL), 0);
}

static void a_chunk_that_is_missing_or_damaged_is_named_and_not_installed(void **unused)
{
    (void)unused;
    for (int damage = 0; damage < 2; damage++) {
        struct engine *engine = make_disk(true);
        struct engine_batch *batch = engine_batch_new(engine);
        uint8_t key[] = {'s', 0, 0, 0, 0, 0, 0, 0, REGION, 2, 0, 0, 0, 4};
        if (damage)
            engine_batch_put(engine, batch, ENGINE_RAFT, bytes_of(key, sizeof key), bytes_of_string("nonsense"));
        else
            engine_batch_delete(engine, batch, ENGINE_RAFT, bytes_of(key, sizeof key));
        write_and_clear(engine, batch, true);
        engine_batch_free(engine, batch);
        recover(engine, ERR_OK);
        assert_damaged(engine, "chunk 4");
        engine_mem_free(engine);
    }
}

/* ---- the same with tables: rows of data in files, the others as the last chunk */

static const struct snapshot_marker marker_of_tables = {
    .id = 5, .position = {.index = INDEX, .term = TERM}, .chunk_first = CHUNKS, .chunk_count = 1, .table_count = 1};

static void put_tokens_chunk(struct engine *engine, struct engine_batch *batch)
{
    struct group_key token = group_key_indexed(REGION, STORE_TOKENS, 45);
    struct wire_snapshot_row row = {
        .cf = ENGINE_RAFT, .key = group_key_bytes(&token), .value = bytes_of_string("new token")};
    struct wire_snapshot_chunk chunk = {
        .region_id = REGION, .id = marker.id, .sequence = CHUNKS, .last = true, .rows = &row, .rows_count = 1};
    struct buf bytes;
    buf_init(&bytes, 64 * 1024);
    assert_int_equal(wire_encode_snapshot_chunk(&chunk, &bytes), ERR_OK);
    snapshot_stage_put_chunk(engine, batch, REGION, CHUNKS, buf_bytes(&bytes));
    buf_fini(&bytes);
}

static enum err build(struct engine *engine, struct snapshot_tables *ret_tables)
{
    struct region *region = make_region();
    struct snapshot_build *build = snapshot_build_new(engine, region, marker.id, marker.position, 1);
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < CHUNKS * ROWS_PER_CHUNK && code == ERR_OK; i++) {
        char key[16];
        snprintf(key, sizeof key, "rc%02u%u", i / ROWS_PER_CHUNK, i % ROWS_PER_CHUNK);
        struct wire_snapshot_row row = {
            .cf = ENGINE_DEFAULT, .key = bytes_of_string(key), .value = bytes_of_string("new")};
        code = snapshot_build_add(build, &(struct wire_snapshot_chunk){.rows = &row, .rows_count = 1}, NULL);
    }
    if (code == ERR_OK)
        code = snapshot_build_finish(build, ret_tables, NULL);
    snapshot_build_free(build);
    region_free(region);
    return code;
}

static struct engine *make_disk_with_tables(bool accepted, struct snapshot_tables *ret_tables)
{
    struct engine *engine = make_disk(false);
    struct engine_batch *batch = engine_batch_new(engine);
    snapshot_stage_drop(engine, batch, REGION);
    assert_int_equal(build(engine, ret_tables), ERR_OK);
    if (accepted) {
        put_tokens_chunk(engine, batch);
        snapshot_stage_put_tables(engine, batch, REGION, ret_tables);
        snapshot_stage_put_marker(engine, batch, REGION, &marker_of_tables);
    }
    write_and_clear(engine, batch, true);
    engine_batch_free(engine, batch);
    return engine;
}

static uint64_t files(struct engine *engine)
{
    struct engine_mem_stats stats;
    engine_mem_stats(engine, &stats);
    return stats.table_count;
}

static void tables_are_installed_whenever_the_machine_stops_and_their_files_go(void **unused)
{
    (void)unused;
    struct rng rng;
    rng_init(&rng, 2, "crash");
    uint32_t steps_all = UINT32_MAX;
    for (uint32_t steps = 0; steps <= steps_all; steps++)
        for (int attempt = 0; attempt < 16; attempt++) {
            struct snapshot_tables tables;
            struct engine *engine = make_disk_with_tables(true, &tables);
            struct snapshot_install install;
            snapshot_install_init(&install, make_region(), &marker_of_tables, &tables);
            for (uint32_t i = 0; i < steps; i++)
                if (write_next(&install, engine))
                    steps_all = steps;
            snapshot_install_fini(&install);
            engine_mem_crash_as(engine, 0, &rng, (enum engine_mem_loss)(attempt % 4));
            recover(engine, ERR_OK);
            assert_installed(engine);
            assert_int_equal(count_rows(engine, ENGINE_RAFT, "g", "h", "new token"), 1);
            assert_int_equal(files(engine), 0);
            engine_mem_free(engine);
        }
    assert_int_equal(steps_all, 4); /* tables, what was there, chunk, end */
}

static void tables_that_no_marker_names_go(void **unused)
{
    (void)unused;
    struct snapshot_tables tables;
    struct engine *engine = make_disk_with_tables(false, &tables);
    assert_int_equal(files(engine), 1);
    recover(engine, ERR_OK);
    assert_int_equal(files(engine), 0);
    assert_int_equal(count_rows(engine, ENGINE_DEFAULT, "rb", "rm", "old"), 3);
    assert_int_equal(applied(engine), OLD_INDEX);
    snapshot_tables_fini(&tables);
    engine_mem_free(engine);
}

static void a_table_that_is_missing_is_named_and_nothing_is_installed(void **unused)
{
    (void)unused;
    struct snapshot_tables tables;
    struct engine *engine = make_disk_with_tables(true, &tables);
    assert_int_equal(engine_tables_remove(engine, tables.items[0].name, NULL), ERR_OK);
    recover(engine, ERR_OK);
    assert_damaged(engine, ".sst");
    snapshot_tables_fini(&tables);
    engine_mem_free(engine);
}

/* A real file, one byte of it after the other. */
static void a_flipped_byte_of_a_table_file_is_named_and_the_replica_damaged(void **unused)
{
    (void)unused;
    char directory[] = "/tmp/polder-test-stage-XXXXXX";
    assert_non_null(mkdtemp(directory));
    struct engine *engine = NULL;
    assert_int_equal(engine_rocks_open(&(struct engine_rocks_options){.path = directory, .create = true}, &engine, NULL),
                     ERR_OK);
    for (uint32_t at = 20; at < 200; at += 60) {
        struct snapshot_tables tables;
        struct engine_batch *batch = engine_batch_new(engine);
        put_region_row(engine, batch);
        assert_int_equal(build(engine, &tables), ERR_OK);
        put_tokens_chunk(engine, batch);
        snapshot_stage_put_tables(engine, batch, REGION, &tables);
        snapshot_stage_put_marker(engine, batch, REGION, &marker_of_tables);
        write_and_clear(engine, batch, true);
        engine_batch_free(engine, batch);
        char path[256];
        snprintf(path, sizeof path, "%s/snapshot/%s", directory, tables.items[0].name);
        struct buf content;
        buf_init(&content, 1 << 20);
        assert_int_equal(os_file_read(path, &content, NULL), ERR_OK);
        content.data[at] ^= 1;
        assert_int_equal(os_file_write(path, buf_bytes(&content), NULL), ERR_OK);
        recover(engine, ERR_OK);
        assert_damaged(engine, tables.items[0].name);
        assert_false(os_exists(path));
        buf_fini(&content);
        snapshot_tables_fini(&tables);
    }
    engine_rocks_close(engine);
    assert_int_equal(os_remove_tree(directory, NULL), ERR_OK);
}

static uint64_t no_time(void *context)
{
    (void)context;
    return 1;
}

static uint64_t no_cost(void *context, size_t size)
{
    (void)context;
    (void)size;
    return 0;
}

static void no_wait(void *context, uint64_t us)
{
    (void)context;
    (void)us;
}

static bool rots(void *context)
{
    (void)context;
    return true;
}

static void a_table_that_is_not_what_was_written_is_found_before_it_is_accepted(void **unused)
{
    (void)unused;
    struct engine *engine = make_disk(false);
    engine_mem_set_disk(engine, &(struct engine_mem_disk){
                                    .now_us = no_time, .sync_cost_us = no_cost, .wait_us = no_wait, .table_rots = rots});
    struct snapshot_tables tables;
    assert_int_equal(build(engine, &tables), ERR_CORRUPT);
    assert_int_equal(files(engine), 0);
    engine_mem_free(engine);
}

static void rows_out_of_order_are_refused(void **unused)
{
    (void)unused;
    static const struct {
        uint8_t cf;
        const char *key;
        enum err expected;
    } rows[] = {{ENGINE_DEFAULT, "rc", ERR_OK},       {ENGINE_DEFAULT, "rd", ERR_OK},  {ENGINE_LOCK, "rb", ERR_OK},
                {ENGINE_DEFAULT, "re", ERR_INVALID},  {ENGINE_LOCK, "rb", ERR_INVALID}, {ENGINE_LOCK, "ra", ERR_INVALID},
                {ENGINE_WRITE, "rb", ERR_OK}};
    struct engine *engine = make_disk(false);
    struct region *region = make_region();
    struct snapshot_build *build = snapshot_build_new(engine, region, marker.id, marker.position, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct wire_snapshot_row row = {.cf = rows[i].cf, .key = bytes_of_string(rows[i].key)};
        struct wire_snapshot_chunk chunk = {.rows = &row, .rows_count = 1};
        assert_int_equal(snapshot_build_add(build, &chunk, NULL), rows[i].expected);
    }
    snapshot_build_free(build);
    region_free(region);
    assert_int_equal(files(engine), 0);
    engine_mem_free(engine);
}

static void rows_of_other_regions_are_refused_at_the_door(void **unused)
{
    (void)unused;
    struct region *region = make_region();
    struct group_key own = group_key_indexed(REGION, STORE_TOKENS, 1), other = group_key_indexed(8, STORE_TOKENS, 1);
    struct group_key hard = group_key(REGION, GROUP_HARD_STATE);
    const struct {
        uint8_t cf;
        struct bytes key;
        enum err expected;
    } cases[] = {
        {ENGINE_DEFAULT, bytes_of_string("rb"), ERR_OK},      {ENGINE_WRITE, bytes_of_string("rlz"), ERR_OK},
        {ENGINE_RAFT, group_key_bytes(&own), ERR_OK},         {ENGINE_DEFAULT, bytes_of_string("ra"), ERR_INVALID},
        {ENGINE_DEFAULT, bytes_of_string("rm"), ERR_INVALID}, {ENGINE_DEFAULT, bytes_empty(), ERR_INVALID},
        {ENGINE_RAFT, group_key_bytes(&other), ERR_INVALID},  {ENGINE_RAFT, group_key_bytes(&hard), ERR_INVALID},
        {ENGINE_CF_COUNT, bytes_of_string("rb"), ERR_INVALID}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_snapshot_row row = {.cf = cases[i].cf, .key = cases[i].key};
        struct wire_snapshot_chunk chunk = {.rows = &row, .rows_count = 1};
        assert_int_equal(snapshot_stage_check_chunk(&chunk, region), cases[i].expected);
    }
    region_free(region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_replaces_rows_and_tokens_and_nothing_else),
        cmocka_unit_test(whoever_finds_a_marker_installs_again_from_the_beginning),
        cmocka_unit_test(chunks_without_a_marker_are_dropped_and_the_region_is_as_it_was),
        cmocka_unit_test(a_chunk_that_is_missing_or_damaged_is_named_and_not_installed),
        cmocka_unit_test(rows_of_other_regions_are_refused_at_the_door),
        cmocka_unit_test(tables_are_installed_whenever_the_machine_stops_and_their_files_go),
        cmocka_unit_test(tables_that_no_marker_names_go),
        cmocka_unit_test(a_table_that_is_missing_is_named_and_nothing_is_installed),
        cmocka_unit_test(a_flipped_byte_of_a_table_file_is_named_and_the_replica_damaged),
        cmocka_unit_test(a_table_that_is_not_what_was_written_is_found_before_it_is_accepted),
        cmocka_unit_test(rows_out_of_order_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
