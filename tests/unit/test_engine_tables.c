/* Tables of rows that are put among the live ones at once: RocksDB and the simulated engine do the same. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "env/engine_mem.h"
#include "env/engine_rocks.h"
#include "env/engine_tables.h"
#include "env/os.h"

#include "chosen_bug.h"

enum { ROCKS, MEM, ENGINES };

static char directory[64];

static struct engine *open_rocks(void)
{
    struct engine *engine = NULL;
    struct error err = {0};
    enum err code = engine_rocks_open(
        &(struct engine_rocks_options){.path = directory, .create = true, .write_buffer_size = 1 << 20}, &engine, &err);
    if (code != ERR_OK)
        print_message("%s\n", err.text);
    assert_int_equal(code, ERR_OK);
    return engine;
}

static struct engine *open_engine(int which)
{
    struct engine *engine = NULL;
    if (which == MEM) {
        assert_int_equal(engine_mem_new(&engine), ERR_OK);
        return engine;
    }
    strcpy(directory, "/tmp/polder-test-tables-XXXXXX");
    assert_non_null(mkdtemp(directory));
    return open_rocks();
}

static void close_engine(int which, struct engine *engine)
{
    if (which == MEM) {
        engine_mem_free(engine);
        return;
    }
    engine_rocks_close(engine);
    assert_int_equal(os_remove_tree(directory, NULL), ERR_OK);
}

static void put(struct engine *engine, const char *key, const char *value, bool sync)
{
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string(key), bytes_of_string(value));
    assert_int_equal(engine_write(engine, batch, sync, NULL), ERR_OK);
    engine_batch_free(engine, batch);
}

/* "key=value key=value " */
static const char *contents(struct engine *engine, struct engine_iter *take_iter)
{
    static char text[4096];
    struct engine_iter *iter =
        take_iter ? take_iter : engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
    size_t size = 0;
    text[0] = '\0';
    for (engine_iter_seek(engine, iter, bytes_empty()); engine_iter_valid(engine, iter);
         engine_iter_next(engine, iter)) {
        struct bytes key = engine_iter_key(engine, iter), value = engine_iter_value(engine, iter);
        size += (size_t)snprintf(text + size, sizeof text - size, "%.*s=%.*s ", (int)key.size, (const char *)key.data,
                                 (int)value.size, (const char *)value.data);
    }
    assert_int_equal(engine_iter_error(engine, iter, NULL), ERR_OK);
    engine_iter_free(engine, iter);
    return text;
}

/* Rows "<key>=new" for keys that begin with each of the letters. */
static void make_table(struct engine *engine, const char *name, const char *start, const char *end, const char *keys)
{
    struct engine_table *table = NULL;
    assert_int_equal(engine_table_new(engine, ENGINE_DEFAULT, name, true, &table, NULL), ERR_OK);
    for (const char *c = keys; *c; c++)
        assert_int_equal(engine_table_put(engine, table, bytes_of(c, 1), bytes_of_string("new"), NULL), ERR_OK);
    assert_int_equal(engine_table_finish(engine, table, bytes_of_string(start), bytes_of_string(end), NULL), ERR_OK);
    engine_table_free(engine, table);
}

static void ingest(struct engine *engine, const char *const *names, uint32_t count, const char *start, const char *end)
{
    struct error err = {0};
    enum err code =
        engine_tables_ingest(engine, ENGINE_DEFAULT, names, count, bytes_of_string(start), bytes_of_string(end), &err);
    if (code != ERR_OK)
        print_message("%s\n", err.text);
    assert_int_equal(code, ERR_OK);
}

static void count_name(void *context, const char *name, uint64_t size)
{
    (void)name;
    (void)size;
    ++*(uint32_t *)context;
}

static uint32_t table_count(struct engine *engine)
{
    uint32_t count = 0;
    assert_int_equal(engine_tables_list(engine, count_name, &count, NULL), ERR_OK);
    return count;
}

static const char before[] = "a=old b=old c=old d=old g=old p=old q=old ";
static const char after[] = "a=old c=new e=new m=new p=old q=old ";

static void put_before(struct engine *engine)
{
    for (const char *c = "abcdgpq"; *c; c++)
        put(engine, (char[]){*c, '\0'}, "old", false);
}

static const char *const two_names[] = {"1.sst", "2.sst"};

static void make_two(struct engine *engine) /* of [b, p) */
{
    make_table(engine, "1.sst", "b", "f", "ce");
    make_table(engine, "2.sst", "f", "p", "m");
}

static void what_is_ingested_replaces_its_slice_and_nothing_else(void **unused)
{
    (void)unused;
    for (int which = 0; which < ENGINES; which++)
        for (int flushed = 0; flushed < 2; flushed++) {
            struct engine *engine = open_engine(which);
            put_before(engine);
            if (flushed && which == ROCKS)
                assert_int_equal(engine_rocks_flush(engine, NULL), ERR_OK);
            make_two(engine);
            assert_string_equal(contents(engine, NULL), before);
            struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
            ingest(engine, two_names, 2, "b", "p");
            assert_string_equal(contents(engine, NULL), after);
            assert_string_equal(contents(engine, iter), before); /* it sees the state at its creation */
            put(engine, "d", "newer", true);
            assert_string_equal(contents(engine, NULL), "a=old c=new d=newer e=new m=new p=old q=old ");
            close_engine(which, engine);
        }
}

static void an_ingest_may_be_done_again_in_a_later_life(void **unused)
{
    (void)unused;
    for (int which = 0; which < ENGINES; which++) {
        struct engine *engine = open_engine(which);
        put_before(engine);
        make_two(engine);
        ingest(engine, two_names, 2, "b", "p");
        assert_int_equal(table_count(engine), 2);
        for (int life = 0; life < 3; life++) {
            if (which == ROCKS) {
                engine_rocks_close(engine);
                engine = open_rocks();
            } else {
                struct rng rng;
                rng_init(&rng, (uint64_t)life, "lives");
                engine_mem_crash_as(engine, 0, &rng, ENGINE_MEM_KEEP);
            }
            ingest(engine, two_names, 2, "b", "p");
            assert_string_equal(contents(engine, NULL), after);
            if (which == ROCKS)
                assert_int_equal(engine_rocks_flush(engine, NULL), ERR_OK);
            assert_string_equal(contents(engine, NULL), after);
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(engine_tables_remove(engine, two_names[i], NULL), ERR_OK);
        assert_int_equal(engine_tables_remove(engine, two_names[0], NULL), ERR_OK); /* not there: fine */
        assert_int_equal(table_count(engine), 0);
        assert_string_equal(contents(engine, NULL), after);
        assert_int_equal(engine_tables_ingest(engine, ENGINE_DEFAULT, two_names, 2, bytes_of_string("b"),
                                              bytes_of_string("p"), NULL),
                         ERR_NOT_FOUND);
        close_engine(which, engine);
    }
}

static void a_table_without_rows_empties_its_slice(void **unused)
{
    (void)unused;
    for (int which = 0; which < ENGINES; which++) {
        struct engine *engine = open_engine(which);
        put_before(engine);
        make_table(engine, "1.sst", "b", "p", "");
        ingest(engine, two_names, 1, "b", "p");
        assert_string_equal(contents(engine, NULL), "a=old p=old q=old ");
        close_engine(which, engine);
    }
}

/* Rows that do not compress, in files of about 1 MiB: RocksDB may move a file as it is or write it anew, so no file is large from
 * the beginning. The last two letters share one. */
static void put_large(struct engine *engine, char from, char to)
{
    static uint8_t value[100 * 1000];
    struct rng rng;
    rng_init(&rng, (uint64_t)from, "large");
    for (char c = from; c <= to; c++) {
        struct engine_batch *batch = engine_batch_new(engine);
        for (char d = 'a'; d <= 'e'; d++) {
            for (size_t i = 0; i < sizeof value; i++)
                value[i] = (uint8_t)rng_below(&rng, 256);
            char key[3] = {c, c == 'p' ? '\0' : d, '\0'}; /* "p" is where [b, p) ends */
            engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string(key), bytes_of(value, sizeof value));
        }
        assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
        engine_batch_free(engine, batch);
        if (c != to - 1)
            assert_int_equal(engine_rocks_flush(engine, NULL), ERR_OK);
    }
    assert_int_equal(engine_rocks_compact(engine, NULL), ERR_OK);
}

static uint64_t live_size(struct engine *engine)
{
    struct engine_rocks_family family;
    engine_rocks_family(engine, ENGINE_DEFAULT, &family);
    return family.table_size;
}

/* Whether the row at the end of the range has a file of its own or shares one with rows of the range. */
static void old_files_go_with_an_ingest_and_those_of_others_stay(void **unused)
{
    (void)unused;
    for (int apart = 0; apart < 2; apart++) {
        struct engine *engine = open_engine(ROCKS);
        put_large(engine, 'b', apart ? 'o' : 'p');
        if (apart)
            put_large(engine, 'p', 'q');
        uint64_t before_size = live_size(engine);
        assert_true(before_size > 14 * 5 * 100 * 1000);
        make_two(engine);
        struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, bytes_of_string("b"), bytes_of_string("p"));
        ingest(engine, two_names, 2, "b", "p");
        assert_true(live_size(engine) < before_size / 2);
        uint32_t count = 0;
        for (engine_iter_seek(engine, iter, bytes_empty()); engine_iter_valid(engine, iter);
             engine_iter_next(engine, iter))
            count++;
        assert_int_equal(count, 14 * 5); /* it sees the state at its creation */
        engine_iter_free(engine, iter);
        struct buf value;
        buf_init(&value, 1 << 20);
        assert_int_equal(engine_get(engine, ENGINE_DEFAULT, bytes_of_string("p"), &value, NULL), ERR_OK);
        assert_int_equal(engine_get(engine, ENGINE_DEFAULT, bytes_of_string("ba"), &value, NULL), ERR_NOT_FOUND);
        assert_int_equal(engine_get(engine, ENGINE_DEFAULT, bytes_of_string("oe"), &value, NULL), ERR_NOT_FOUND);
        assert_int_equal(engine_get(engine, ENGINE_DEFAULT, bytes_of_string("m"), &value, NULL), ERR_OK);
        buf_fini(&value);
        close_engine(ROCKS, engine);
    }
}

static void rows_that_do_not_compress_show_in_the_size(void **unused)
{
    (void)unused;
    struct engine *engine = open_engine(ROCKS);
    uint64_t sizes[2];
    for (int compress = 0; compress < 2; compress++) {
        static const uint8_t zeros[1000];
        const char *name = two_names[compress];
        struct engine_table *table = NULL;
        assert_int_equal(engine_table_new(engine, ENGINE_DEFAULT, name, compress, &table, NULL), ERR_OK);
        for (int i = 0; i < 1000; i++) {
            char key[16];
            snprintf(key, sizeof key, "%06d", i);
            assert_int_equal(engine_table_put(engine, table, bytes_of_string(key), bytes_of(zeros, sizeof zeros), NULL),
                             ERR_OK);
        }
        assert_int_equal(engine_table_finish(engine, table, bytes_of_string("0"), bytes_of_string("1"), NULL), ERR_OK);
        sizes[compress] = engine_table_size(engine, table);
        engine_table_free(engine, table);
        assert_int_equal(engine_tables_check(engine, name, NULL), ERR_OK);
    }
    assert_true(sizes[0] > 1000 * 1000 && sizes[1] < 100 * 1000);
    close_engine(ROCKS, engine);
}

static void what_was_not_finished_goes(void **unused)
{
    (void)unused;
    for (int which = 0; which < ENGINES; which++) {
        struct engine *engine = open_engine(which);
        struct engine_table *table = NULL;
        assert_int_equal(engine_table_new(engine, ENGINE_DEFAULT, "1.sst", true, &table, NULL), ERR_OK);
        assert_int_equal(engine_table_put(engine, table, bytes_of_string("a"), bytes_of_string("b"), NULL), ERR_OK);
        engine_table_free(engine, table);
        assert_int_equal(table_count(engine), 0);
        assert_int_equal(engine_tables_check(engine, "1.sst", NULL), ERR_NOT_FOUND);
        close_engine(which, engine);
    }
}

static void any_flipped_byte_is_found_or_changes_nothing(void **unused)
{
    (void)unused;
    struct engine *engine = open_engine(ROCKS);
    make_two(engine);
    char *path = os_path_join(directory, "snapshot/1.sst");
    struct buf content, flipped;
    buf_init(&content, 1 << 20);
    buf_init(&flipped, 1 << 20);
    assert_int_equal(os_file_read(path, &content, NULL), ERR_OK);
    assert_int_equal(engine_tables_check(engine, "1.sst", NULL), ERR_OK);
    uint32_t found = 0;
    for (size_t i = 0; i < content.size; i++) {
        struct error err = {0};
        assert_int_equal(buf_assign(&flipped, buf_bytes(&content)), ERR_OK);
        flipped.data[i] ^= 0x10;
        assert_int_equal(os_file_write(path, buf_bytes(&flipped), NULL), ERR_OK);
        enum err code = engine_tables_check(engine, "1.sst", &err);
        if (code != ERR_OK)
            assert_non_null(strstr(err.text, "1.sst"));
        found += code != ERR_OK;
    }
    print_message("%u of %zu flipped bytes were found\n", found, content.size);
    assert_true(found > content.size / 2);
    free(path);
    buf_fini(&content);
    buf_fini(&flipped);
    close_engine(ROCKS, engine);
}

/* The log loses what was not synced before the ingest; the ingest stays. What was not finished is rubbish at most. */
static void a_crash_takes_batches_but_no_table(void **unused)
{
    (void)unused;
    bool came_back = false, rubbish = false;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "crash");
        struct engine *engine = open_engine(MEM);
        put(engine, "a", "old", true);
        put(engine, "b", "lost", false);
        put(engine, "z", "lost", false);
        make_two(engine);
        ingest(engine, two_names, 2, "b", "p");
        put(engine, "m", "lost", false);
        struct engine_table *table = NULL;
        assert_int_equal(engine_table_new(engine, ENGINE_DEFAULT, "3.sst", true, &table, NULL), ERR_OK);
        assert_int_equal(engine_tables_remove(engine, "2.sst", NULL), ERR_OK);
        engine_mem_crash_as(engine, 0, &rng, ENGINE_MEM_LOSE);
        engine_table_free(engine, table);
        assert_string_equal(contents(engine, NULL), "a=old c=new e=new m=new ");
        assert_int_equal(engine_tables_check(engine, "1.sst", NULL), ERR_OK);
        came_back |= engine_tables_check(engine, "2.sst", NULL) == ERR_OK;
        assert_int_equal(engine_tables_check(engine, "3.sst", NULL), ERR_NOT_FOUND);
        rubbish |= table_count(engine) > 2;
        close_engine(MEM, engine);
    }
    assert_true(came_back && rubbish);
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_ingested_replaces_its_slice_and_nothing_else),
        cmocka_unit_test(an_ingest_may_be_done_again_in_a_later_life),
        cmocka_unit_test(a_table_without_rows_empties_its_slice),
        cmocka_unit_test(old_files_go_with_an_ingest_and_those_of_others_stay),
        cmocka_unit_test(rows_that_do_not_compress_show_in_the_size),
        cmocka_unit_test(what_was_not_finished_goes),
        cmocka_unit_test(any_flipped_byte_is_found_or_changes_nothing),
        cmocka_unit_test(a_crash_takes_batches_but_no_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
