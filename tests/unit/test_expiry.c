/* Rows that expire: what lies on the disk, what compactions drop, and that no crash can tell. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chosen_bug.h"
#include "env/engine_mem.h"
#include "env/engine_rocks.h"
#include "storenode/region_time.h"
#include "storenode/row.h"

enum { ROWS = 26, STEP_MS = 100 };

static struct bytes b(const char *text)
{
    return bytes_of_string(text);
}

static void write_row(struct engine *engine, const char *key, const char *value, uint64_t expiry_ms, bool sync)
{
    struct buf row;
    buf_init(&row, 256);
    assert_int_equal(row_make(&row, b(value), expiry_ms), ERR_OK);
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, b(key), buf_bytes(&row));
    assert_int_equal(engine_write(engine, batch, sync, NULL), ERR_OK);
    engine_batch_free(engine, batch);
    buf_fini(&row);
}

/* ra expires at 100, rb at 200, ...; Ra, Rb, ... never. */
static void fill(struct engine *engine)
{
    for (int i = 0; i < ROWS; i++) {
        write_row(engine, (char[]){'r', (char)('a' + i), 0}, "v", (uint64_t)(i + 1) * STEP_MS, false);
        write_row(engine, (char[]){'R', (char)('a' + i), 0}, "v", 0, false);
    }
}

static bool has(struct engine *engine, const char *key)
{
    struct buf value;
    buf_init(&value, 256);
    enum err code = engine_get(engine, ENGINE_DEFAULT, b(key), &value, NULL);
    buf_fini(&value);
    return code == ERR_OK;
}

static uint32_t count_rows(struct engine *engine)
{
    uint32_t count = 0;
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
    for (engine_iter_seek(engine, iter, bytes_empty()); engine_iter_valid(engine, iter); engine_iter_next(engine, iter))
        count++;
    engine_iter_free(engine, iter);
    return count;
}

static void a_row_that_expires_tells_when(void **state)
{
    (void)state;
    struct buf row;
    struct bytes value = bytes_empty();
    uint64_t expiry_ms;
    buf_init(&row, ROW_HEADER_SIZE_MAX + 5);
    assert_int_equal(row_make(&row, b("value"), 0), ERR_OK);
    assert_int_equal(row.size, 6);
    assert_int_equal(row_parse(buf_bytes(&row), &value, &expiry_ms), ERR_OK);
    assert_int_equal(expiry_ms, 0);
    assert_true(bytes_equal(value, b("value")));
    assert_false(row_is_expired(buf_bytes(&row), UINT64_MAX));
    assert_int_equal(row_make(&row, b("value"), 0x0102030405060708), ERR_OK);
    assert_int_equal(row_parse(buf_bytes(&row), &value, &expiry_ms), ERR_OK);
    assert_int_equal(expiry_ms, 0x0102030405060708);
    assert_int_equal(row.data[1], 1);
    assert_true(bytes_equal(value, b("value")));
    assert_false(row_is_expired(buf_bytes(&row), 0x0102030405060707));
    assert_true(row_is_expired(buf_bytes(&row), 0x0102030405060708));
    row.size = ROW_HEADER_SIZE_MAX; /* an empty value */
    assert_int_equal(row_parse(buf_bytes(&row), &value, &expiry_ms), ERR_OK);
    assert_int_equal(value.size, 0);
    row.size--;
    assert_int_equal(row_parse(buf_bytes(&row), &value, &expiry_ms), ERR_CORRUPT);
    assert_false(row_is_expired(buf_bytes(&row), UINT64_MAX));
    row.data[0] = 2; /* of a newer version */
    row.size = 14;
    assert_int_equal(row_parse(buf_bytes(&row), &value, &expiry_ms), ERR_CORRUPT);
    assert_int_equal(row_parse(bytes_empty(), &value, &expiry_ms), ERR_CORRUPT);
    buf_fini(&row);
}

/* Two spans of one slot and one of another; f to k belong to nobody. */
static void allow(struct engine *engine)
{
    struct engine_span spans[] = {{.start = b("rk"), .end = b("rn"), .time_ms = UINT64_MAX},
                                  {.start = b("R"), .end = b("rf"), .time_ms = 3 * STEP_MS}};
    struct engine_expiry expiry = {.slot = 1, .spans = spans, .count = 2, .is_expired = row_is_expired};
    assert_int_equal(engine_set_expiry(engine, &expiry, NULL), ERR_OK);
    struct engine_span rest = {.start = b("rw"), .time_ms = 25 * STEP_MS};
    struct engine_expiry other = {.slot = 3, .spans = &rest, .count = 1, .is_expired = row_is_expired};
    assert_int_equal(engine_set_expiry(engine, &other, NULL), ERR_OK);
}

static void check_dropped(struct engine *engine)
{
    static const char gone[] = "abcklmwxy";
    for (int i = 0; i < ROWS; i++) {
        assert_int_equal(has(engine, (char[]){'r', (char)('a' + i), 0}), !strchr(gone, 'a' + i));
        assert_true(has(engine, (char[]){'R', (char)('a' + i), 0}));
    }
}

static struct engine *open_rocks(const char *path)
{
    struct engine *engine;
    struct error err;
    struct engine_rocks_options options = {.path = path, .create = true};
    enum err code = engine_rocks_open(&options, &engine, &err);
    if (code != ERR_OK)
        fail_msg("%s", err.text);
    return engine;
}

static void a_compaction_drops_what_its_spans_allow_and_nothing_else(void **state)
{
    (void)state;
    char path[] = "/tmp/polder-expiry-XXXXXX";
    assert_non_null(mkdtemp(path));
    struct engine *engine = open_rocks(path);
    struct engine_rocks_stats stats;
    fill(engine);
    assert_int_equal(engine_rocks_compact(engine, NULL), ERR_OK);
    assert_int_equal(count_rows(engine), 2 * ROWS); /* nobody said that anything may go */
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, b("ra"), b("rb"));
    allow(engine);
    write_row(engine, "rb", "new", 0, false); /* an older row of the same key goes, this one stays */
    write_row(engine, "rl", "old", 1, false);
    assert_int_equal(engine_rocks_compact(engine, NULL), ERR_OK);
    engine_iter_seek(engine, iter, bytes_empty());
    assert_true(engine_iter_valid(engine, iter)); /* it sees the state at its creation */
    engine_iter_free(engine, iter);
    assert_true(has(engine, "rb"));
    assert_false(has(engine, "rl"));
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_delete(engine, batch, ENGINE_DEFAULT, b("rb"));
    assert_int_equal(engine_write(engine, batch, false, NULL), ERR_OK);
    engine_batch_free(engine, batch);
    check_dropped(engine);
    engine_rocks_stats(engine, &stats);
    assert_true(stats.expired_count >= 8);
    struct engine_expiry none = {.slot = 1, .is_expired = row_is_expired};
    assert_int_equal(engine_set_expiry(engine, &none, NULL), ERR_OK);
    write_row(engine, "ra", "again", 1, false);
    assert_int_equal(engine_rocks_compact(engine, NULL), ERR_OK);
    assert_true(has(engine, "ra")); /* what was allowed before no longer is */
    engine_rocks_close(engine);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", path);
    assert_int_equal(system(command), 0);
}

static void the_simulated_engine_drops_the_same_in_some_order(void **state)
{
    (void)state;
    struct engine *engine;
    struct engine_mem_stats stats;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    fill(engine);
    allow(engine);
    uint32_t left = count_rows(engine);
    assert_true(left < 2 * ROWS && left > 2 * ROWS - 9); /* some of the nine */
    for (int i = 0; i < 30; i++)
        allow(engine);
    check_dropped(engine);
    engine_mem_stats(engine, &stats);
    assert_int_equal(stats.expired_count, 9);
    engine_mem_free(engine);
}

/* If a crash could bring back the state before the one that allowed it, a row would be missing there that was alive. */
static void what_was_written_before_is_durable_when_rows_may_go(void **state)
{
    (void)state;
    struct engine *engine;
    struct rng rng;
    rng_init(&rng, 1, "expiry");
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    fill(engine);
    write_row(engine, "state", "v", 0, false);
    allow(engine);
    assert_true(engine_mem_crash_as(engine, 0, &rng, ENGINE_MEM_LOSE) == 0);
    assert_true(has(engine, "state"));
    engine_mem_free(engine);
}

static void time_passes_and_never_goes_back(void **state)
{
    (void)state;
    struct region_time time = {0};
    region_time_pass(&time, 0); /* a command of an older version */
    region_time_pass(&time, 500);
    region_time_pass(&time, 400);
    assert_int_equal(time.now_ms, 500);
    time.last_expiry_ms = 700;
    struct region_time joined = region_time_join(time, (struct region_time){.now_ms = 300, .last_expiry_ms = 900});
    assert_int_equal(joined.now_ms, 500);
    assert_int_equal(joined.last_expiry_ms, 900);
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_that_expires_tells_when),
        cmocka_unit_test(a_compaction_drops_what_its_spans_allow_and_nothing_else),
        cmocka_unit_test(the_simulated_engine_drops_the_same_in_some_order),
        cmocka_unit_test(what_was_written_before_is_durable_when_rows_may_go),
        cmocka_unit_test(time_passes_and_never_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
