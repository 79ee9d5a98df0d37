/* Both engines against a sorted array: the same random operations, the same answers; then what each may lose. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "chosen_bug.h"
#include "env/engine_mem.h"
#include "env/engine_rocks.h"
#include "env/rocks_records.h"

/* --- the model: rows in a sorted array per column family --- */

enum { MODEL_ROW_MAX = 400, KEY_MAX = 4, VALUE_MAX = 24 };

struct model_row {
    uint8_t key[KEY_MAX], value[VALUE_MAX];
    size_t key_size, value_size;
};

struct model {
    struct model_row rows[ENGINE_CF_COUNT][MODEL_ROW_MAX];
    size_t count[ENGINE_CF_COUNT];
};

static struct bytes model_key(const struct model *model, enum engine_cf cf, size_t index)
{
    return bytes_of(model->rows[cf][index].key, model->rows[cf][index].key_size);
}

static size_t model_find(const struct model *model, enum engine_cf cf, struct bytes key)
{
    size_t index = 0;
    while (index < model->count[cf] && bytes_compare(model_key(model, cf, index), key) < 0)
        index++;
    return index;
}

static void model_remove(struct model *model, enum engine_cf cf, size_t from, size_t to)
{
    struct model_row *rows = model->rows[cf];
    memmove(&rows[from], &rows[to], (model->count[cf] - to) * sizeof rows[0]);
    model->count[cf] -= to - from;
}

static void model_put(struct model *model, enum engine_cf cf, struct bytes key, struct bytes value)
{
    size_t index = model_find(model, cf, key);
    struct model_row *rows = model->rows[cf];
    if (index == model->count[cf] || !bytes_equal(model_key(model, cf, index), key)) {
        assert_true(model->count[cf] < MODEL_ROW_MAX);
        memmove(&rows[index + 1], &rows[index], (model->count[cf] - index) * sizeof rows[0]);
        model->count[cf]++;
    }
    rows[index].key_size = key.size;
    rows[index].value_size = value.size;
    memcpy(rows[index].key, key.data, key.size);
    memcpy(rows[index].value, value.data, value.size);
}

static void model_delete_range(struct model *model, enum engine_cf cf, struct bytes start, struct bytes end)
{
    if (bytes_compare(start, end) < 0)
        model_remove(model, cf, model_find(model, cf, start), model_find(model, cf, end));
}

static void model_delete(struct model *model, enum engine_cf cf, struct bytes key)
{
    size_t index = model_find(model, cf, key);
    if (index < model->count[cf] && bytes_equal(model_key(model, cf, index), key))
        model_remove(model, cf, index, index + 1);
}

/* --- random operations --- */

struct text {
    uint8_t data[VALUE_MAX];
    size_t size;
};

/* Few letters, so that keys meet; 0 and 255 among them, because order is by unsigned bytes; sometimes empty. */
static struct bytes random_key(struct rng *rng, struct text *text)
{
    static const uint8_t letters[] = {0, 'a', 'b', 'c', 255};
    text->size = rng_below(rng, KEY_MAX + 1);
    if (text->size > 3)
        text->size = 3;
    for (size_t i = 0; i < text->size; i++)
        text->data[i] = letters[rng_below(rng, sizeof letters)];
    return bytes_of(text->data, text->size);
}

static struct bytes random_value(struct rng *rng, struct text *text)
{
    text->size = rng_below(rng, VALUE_MAX + 1);
    for (size_t i = 0; i < text->size; i++)
        text->data[i] = (uint8_t)rng_next(rng);
    return bytes_of(text->data, text->size);
}

enum { ENGINES_MAX = 2 };

struct world {
    struct rng rng;
    struct model model;
    struct engine *engines[ENGINES_MAX];
    struct engine_batch *batches[ENGINES_MAX], *others[ENGINES_MAX];
    int engine_count;
};

static void add_operation(struct world *world, struct engine_batch **batches)
{
    struct text a_text, b_text;
    enum engine_cf cf = (enum engine_cf)rng_below(&world->rng, ENGINE_CF_COUNT);
    uint64_t dice = rng_below(&world->rng, 100);
    struct bytes a = random_key(&world->rng, &a_text);
    struct bytes b = dice < 65 ? random_value(&world->rng, &b_text) : random_key(&world->rng, &b_text);
    for (int i = 0; i < world->engine_count; i++) {
        if (dice < 65)
            engine_batch_put(world->engines[i], batches[i], cf, a, b);
        else if (dice < 95)
            engine_batch_delete(world->engines[i], batches[i], cf, a);
        else
            engine_batch_delete_range(world->engines[i], batches[i], cf, a, b);
    }
    if (dice < 65)
        model_put(&world->model, cf, a, b);
    else if (dice < 95)
        model_delete(&world->model, cf, a);
    else
        model_delete_range(&world->model, cf, a, b);
}

/* A batch, sometimes with another one appended: operations apply in order, the appended ones last. */
static void write_batch(struct world *world)
{
    struct error err;
    uint64_t own_count = rng_below(&world->rng, 8), other_count = rng_below(&world->rng, 8);
    for (uint64_t i = 0; i < own_count; i++)
        add_operation(world, world->batches);
    for (uint64_t i = 0; i < other_count; i++)
        add_operation(world, world->others);
    bool sync = rng_chance(&world->rng, 1, 8);
    for (int i = 0; i < world->engine_count; i++) {
        struct engine *engine = world->engines[i];
        size_t count = engine_batch_count(engine, world->batches[i]) + engine_batch_count(engine, world->others[i]);
        engine_batch_append(engine, world->batches[i], world->others[i]);
        assert_int_equal(engine_batch_count(engine, world->batches[i]), count);
        assert_int_equal(engine_write(engine, world->batches[i], sync, &err), ERR_OK);
        engine_batch_clear(engine, world->batches[i]);
        engine_batch_clear(engine, world->others[i]);
        assert_int_equal(engine_batch_count(engine, world->batches[i]), 0);
        assert_int_equal(engine_batch_size(engine, world->batches[i]), 0);
    }
}

static void check_get(struct world *world, enum engine_cf cf, struct bytes key)
{
    struct error err;
    size_t index = model_find(&world->model, cf, key);
    bool is_there = index < world->model.count[cf] && bytes_equal(model_key(&world->model, cf, index), key);
    for (int i = 0; i < world->engine_count; i++) {
        struct buf value;
        buf_init(&value, VALUE_MAX);
        assert_int_equal(engine_get(world->engines[i], cf, key, &value, &err), is_there ? ERR_OK : ERR_NOT_FOUND);
        if (is_there) {
            assert_int_equal(value.size, world->model.rows[cf][index].value_size);
            assert_memory_equal(value.size ? value.data : (uint8_t *)"", world->model.rows[cf][index].value,
                                value.size);
        }
        buf_fini(&value);
    }
}

static void check_at(const struct world *world, struct engine *engine, const struct engine_iter *iter,
                     enum engine_cf cf, size_t index)
{
    const struct model_row *row = &world->model.rows[cf][index];
    assert_true(bytes_equal(engine_iter_key(engine, iter), bytes_of(row->key, row->key_size)));
    assert_true(bytes_equal(engine_iter_value(engine, iter), bytes_of(row->value, row->value_size)));
}

/* From a random key forward or backward, sometimes turning, within random bounds. */
static void check_scan(struct world *world, enum engine_cf cf)
{
    struct text lower_text, upper_text, from_text;
    struct bytes lower = random_key(&world->rng, &lower_text);
    struct bytes upper = random_key(&world->rng, &upper_text);
    struct bytes from = random_key(&world->rng, &from_text);
    bool forward = rng_chance(&world->rng, 1, 2);
    size_t first = model_find(&world->model, cf, lower);
    size_t end = upper.size == 0 ? world->model.count[cf] : model_find(&world->model, cf, upper);
    if (end < first)
        end = first;
    size_t at = model_find(&world->model, cf, from); /* the place between keys below `from` and the others */
    if (!forward && from.size == 0)
        at = world->model.count[cf];
    at = at < first ? first : at > end ? end : at;
    for (int i = 0; i < world->engine_count; i++) {
        struct engine *engine = world->engines[i];
        struct engine_iter *iter = engine_iter_new(engine, cf, lower, upper);
        assert_false(engine_iter_valid(engine, iter));
        struct rng turns = world->rng;
        size_t index = at;
        if (forward) {
            engine_iter_seek(engine, iter, from);
        } else {
            engine_iter_seek_for_previous(engine, iter, from);
            index--; /* wraps to SIZE_MAX below the first: not inside */
        }
        bool is_forward = forward;
        for (int step = 0; step < 2 * MODEL_ROW_MAX; step++) {
            bool is_inside = index != SIZE_MAX && index >= first && index < end;
            assert_int_equal(engine_iter_valid(engine, iter), is_inside);
            if (!is_inside)
                break;
            check_at(world, engine, iter, cf, index);
            if (rng_chance(&turns, 1, 16))
                is_forward = !is_forward;
            if (is_forward) {
                engine_iter_next(engine, iter);
                index++;
            } else {
                engine_iter_previous(engine, iter);
                index--;
            }
        }
        assert_int_equal(engine_iter_error(engine, iter, NULL), ERR_OK);
        engine_iter_free(engine, iter);
    }
    rng_next(&world->rng);
}

static void check_all(struct world *world)
{
    for (int i = 0; i < world->engine_count; i++)
        for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
            struct engine *engine = world->engines[i];
            struct engine_iter *iter = engine_iter_new(engine, (enum engine_cf)cf, bytes_empty(), bytes_empty());
            size_t index = 0;
            for (engine_iter_seek(engine, iter, bytes_empty()); engine_iter_valid(engine, iter);
                 engine_iter_next(engine, iter)) {
                assert_true(index < world->model.count[cf]);
                check_at(world, engine, iter, (enum engine_cf)cf, index++);
            }
            assert_int_equal(index, world->model.count[cf]);
            engine_iter_free(engine, iter);
        }
}

static void make_batches(struct world *world)
{
    for (int i = 0; i < world->engine_count; i++) {
        world->batches[i] = engine_batch_new(world->engines[i]);
        world->others[i] = engine_batch_new(world->engines[i]);
    }
}

static void free_batches(struct world *world)
{
    for (int i = 0; i < world->engine_count; i++) {
        engine_batch_free(world->engines[i], world->batches[i]);
        engine_batch_free(world->engines[i], world->others[i]);
    }
}

static void run(struct world *world, int round_count)
{
    make_batches(world);
    for (int round = 0; round < round_count; round++) {
        write_batch(world);
        enum engine_cf cf = (enum engine_cf)rng_below(&world->rng, ENGINE_CF_COUNT);
        struct text text;
        check_get(world, cf, random_key(&world->rng, &text));
        check_scan(world, cf);
    }
    check_all(world);
    free_batches(world);
}

/* --- RocksDB in a directory of its own --- */

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/polder-test-engine-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

static const char *database_path(void)
{
    static char path[80];
    snprintf(path, sizeof path, "%s/db", directory);
    return path;
}

static struct engine_rocks_options rocks_options(void)
{
    return (struct engine_rocks_options){
        .path = database_path(), .create = true, .block_cache_size = 1 << 20, .write_buffer_size = 1 << 20};
}

static struct engine *open_rocks(void)
{
    struct engine_rocks_options options = rocks_options();
    struct engine *engine = NULL;
    struct error err = {.text = ""};
    if (engine_rocks_open(&options, &engine, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return engine;
}

static struct world *world_new(uint64_t seed)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    rng_init(&world->rng, seed, "test_engine");
    return world;
}

static void engines_do_what_a_sorted_array_does(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct world *world = world_new(seed);
        world->engine_count = 2;
        assert_int_equal(engine_mem_new(&world->engines[0]), ERR_OK);
        world->engines[1] = open_rocks();
        for (int reopening = 0; reopening < 3; reopening++) {
            run(world, 300);
            if (reopening == 1)
                assert_int_equal(engine_rocks_flush(world->engines[1], NULL), ERR_OK);
            engine_rocks_close(world->engines[1]);
            world->engines[1] = open_rocks();
            check_all(world);
        }
        engine_rocks_close(world->engines[1]);
        engine_mem_free(world->engines[0]);
        free(world);
        assert_int_equal(remove_directory(NULL), 0);
        assert_int_equal(make_directory(NULL), 0);
    }
}

static void mem_does_what_a_sorted_array_does_for_many_seeds(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 200; seed++) {
        struct world *world = world_new(seed);
        world->engine_count = 1;
        assert_int_equal(engine_mem_new(&world->engines[0]), ERR_OK);
        run(world, 200);
        engine_mem_free(world->engines[0]);
        free(world);
    }
}

static void put_one(struct engine *engine, const char *key, const char *value, bool sync)
{
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string(key), bytes_of_string(value));
    struct error err = {.text = ""};
    if (engine_write(engine, batch, sync, &err) != ERR_OK)
        fail_msg("%s", err.text);
    engine_batch_free(engine, batch);
}

static bool has(struct engine *engine, const char *key)
{
    struct buf value;
    buf_init(&value, 1024);
    enum err code = engine_get(engine, ENGINE_DEFAULT, bytes_of_string(key), &value, NULL);
    buf_fini(&value);
    assert_true(code == ERR_OK || code == ERR_NOT_FOUND);
    return code == ERR_OK;
}

static void check_iterator_keeps_its_state(struct engine *engine)
{
    put_one(engine, "a", "1", false);
    put_one(engine, "b", "1", false);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
    put_one(engine, "a", "2", false);
    put_one(engine, "aa", "2", true);
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_delete_range(engine, batch, ENGINE_DEFAULT, bytes_of_string("a"), bytes_of_string("c"));
    assert_int_equal(engine_write(engine, batch, false, NULL), ERR_OK);
    engine_batch_free(engine, batch);
    engine_iter_seek(engine, iter, bytes_empty());
    assert_true(bytes_equal(engine_iter_value(engine, iter), bytes_of_string("1")));
    engine_iter_next(engine, iter);
    assert_true(bytes_equal(engine_iter_key(engine, iter), bytes_of_string("b")));
    engine_iter_next(engine, iter);
    assert_false(engine_iter_valid(engine, iter));
    engine_iter_free(engine, iter);
    assert_false(has(engine, "a"));
}

/* --- the raft log's own memtable --- */

static struct bytes log_key(uint8_t *data, uint64_t group, uint64_t index)
{
    data[0] = 'g';
    for (int i = 0; i < 8; i++)
        data[1 + i] = (uint8_t)(group >> (56 - 8 * i));
    data[9] = 4;
    for (int i = 0; i < 8; i++)
        data[10 + i] = (uint8_t)(index >> (56 - 8 * i));
    return bytes_of(data, 18);
}

/* What logs do: append, overwrite the tail, lose the head as a range, keep one row that is written again and again. */
static void log_step(struct engine **engines, struct engine_batch **batches, struct rng *rng, uint64_t *first,
                     uint64_t *last)
{
    enum { GROUPS = 40 };
    uint64_t group = rng_below(rng, GROUPS), dice = rng_below(rng, 100);
    uint64_t from = dice < 80 ? last[group] + 1 : last[group] - rng_below(rng, last[group] - first[group] + 1);
    uint64_t to = from + rng_below(rng, 4), cut = first[group] + rng_below(rng, last[group] - first[group] + 1);
    for (int i = 0; i < 2; i++) {
        uint8_t a[18], b[18];
        if (dice >= 95) {
            struct bytes start = log_key(a, group, 0), end = log_key(b, group, cut);
            start.size = ENGINE_RAFT_HINT_SIZE - 1;
            engine_batch_delete_range(engines[i], batches[i], ENGINE_RAFT, start, end);
            continue;
        }
        for (uint64_t index = from; index <= to; index++)
            engine_batch_put(engines[i], batches[i], ENGINE_RAFT, log_key(a, group, index), bytes_of(&dice, 8));
        for (uint64_t index = to + 1; index <= last[group]; index++)
            engine_batch_delete(engines[i], batches[i], ENGINE_RAFT, log_key(a, group, index));
        struct bytes state = log_key(a, group, 0);
        a[9] = 2;
        engine_batch_put(engines[i], batches[i], ENGINE_RAFT, state, bytes_of(&to, 8));
    }
    if (dice >= 95)
        first[group] = cut;
    else
        last[group] = to;
}

static void raft_rows_in_any_order_are_kept_in_order(void **state)
{
    (void)state;
    enum { GROUPS = 40, BATCHES = 3000 };
    struct engine *engines[2] = {NULL, open_rocks()};
    assert_int_equal(engine_mem_new(&engines[0]), ERR_OK);
    assert_non_null(engines[1]);
    uint64_t first[GROUPS], last[GROUPS];
    for (int i = 0; i < GROUPS; i++)
        first[i] = last[i] = 10;
    struct rng rng;
    rng_init(&rng, 1, "raft rows");
    struct engine_batch *batches[2] = {engine_batch_new(engines[0]), engine_batch_new(engines[1])};
    for (int n = 0; n < BATCHES; n++) {
        for (uint64_t i = rng_below(&rng, 20); i > 0; i--)
            log_step(engines, batches, &rng, first, last);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(engine_write(engines[i], batches[i], false, NULL), ERR_OK);
            engine_batch_clear(engines[i], batches[i]);
        }
    }
    struct engine_iter *iters[2];
    for (int i = 0; i < 2; i++) {
        engine_batch_free(engines[i], batches[i]);
        iters[i] = engine_iter_new(engines[i], ENGINE_RAFT, bytes_empty(), bytes_empty());
        engine_iter_seek(engines[i], iters[i], bytes_empty());
    }
    uint64_t count = 0;
    for (; engine_iter_valid(engines[0], iters[0]); count++) {
        assert_true(engine_iter_valid(engines[1], iters[1]));
        assert_true(bytes_equal(engine_iter_key(engines[0], iters[0]), engine_iter_key(engines[1], iters[1])));
        assert_true(bytes_equal(engine_iter_value(engines[0], iters[0]), engine_iter_value(engines[1], iters[1])));
        for (int i = 0; i < 2; i++)
            engine_iter_next(engines[i], iters[i]);
    }
    assert_false(engine_iter_valid(engines[1], iters[1]));
    assert_true(count > GROUPS);
    for (int i = 0; i < 2; i++)
        engine_iter_free(engines[i], iters[i]);
    engine_mem_free(engines[0]);
    engine_rocks_close(engines[1]);
}

static void an_iterator_sees_the_state_at_its_creation(void **state)
{
    (void)state;
    struct engine *mem = NULL;
    assert_int_equal(engine_mem_new(&mem), ERR_OK);
    check_iterator_keeps_its_state(mem);
    engine_mem_free(mem);
    struct engine *rocks = open_rocks();
    check_iterator_keeps_its_state(rocks);
    engine_rocks_close(rocks);
}

static void a_value_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct engine *engines[2] = {NULL, open_rocks()};
    assert_int_equal(engine_mem_new(&engines[0]), ERR_OK);
    for (int i = 0; i < 2; i++) {
        put_one(engines[i], "key", "four", false);
        struct buf value;
        struct error err;
        buf_init(&value, 3);
        assert_int_equal(engine_get(engines[i], ENGINE_DEFAULT, bytes_of_string("key"), &value, &err),
                         ERR_ENTRY_TOO_LARGE);
        buf_fini(&value);
    }
    engine_mem_free(engines[0]);
    engine_rocks_close(engines[1]);
}

/* --- what RocksDB says when it cannot --- */

/* The child: another process, RocksDB finds that out in another way. */
static int expect_locked(void)
{
    struct engine_rocks_options options = rocks_options();
    struct engine *engine = NULL;
    struct error err;
    return engine_rocks_open(&options, &engine, &err) == ERR_LOCKED && strstr(err.text, database_path()) ? 0 : 1;
}

static void a_directory_that_is_open_is_locked(void **state)
{
    (void)state;
    struct engine *engine = open_rocks();
    struct engine_rocks_options options = rocks_options();
    struct engine *second = NULL;
    struct error err;
    assert_int_equal(engine_rocks_open(&options, &second, &err), ERR_LOCKED);
    assert_non_null(strstr(err.text, database_path()));
    pid_t child = fork();
    if (child == 0) { /* a program of its own: memory of a process with threads may be locked in its fork */
        execl("/proc/self/exe", "test_engine", "expect-locked", directory, (char *)NULL);
        _exit(2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    engine_rocks_close(engine);
    engine_rocks_close(open_rocks());
}

static void a_file_in_place_of_the_directory_is_named(void **state)
{
    (void)state;
    FILE *file = fopen(database_path(), "w");
    assert_non_null(file);
    fclose(file);
    struct engine_rocks_options options = rocks_options();
    struct engine *engine = NULL;
    struct error err;
    assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_IO);
    assert_non_null(strstr(err.text, database_path()));
    assert_non_null(strstr(err.text, "not a directory"));
    options.path = "/proc/polder-test";
    assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_IO);
    assert_non_null(strstr(err.text, "/proc/polder-test"));
    assert_int_equal(unlink(database_path()), 0);
    options = rocks_options();
    options.create = false;
    assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_NOT_FOUND);
    assert_int_not_equal(access(database_path(), F_OK), 0);
}

/* Changes a byte in each file whose name ends like this. */
static int damage(const char *suffix, long from_end)
{
    char command[512];
    snprintf(command, sizeof command,
             "for f in %s/*%s; do s=$(stat -c %%s $f); [ $s -gt %ld ] || exit 1; "
             "printf '\\377\\377\\377\\377' | dd of=$f bs=1 seek=$((s-%ld)) conv=notrunc status=none; done",
             database_path(), suffix, from_end, from_end);
    return system(command);
}

static void a_damaged_table_is_corrupt_and_named(void **state)
{
    (void)state;
    struct engine *engine = open_rocks();
    char key[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key%06d", i);
        put_one(engine, key, "some value that takes room", false);
    }
    assert_int_equal(engine_rocks_flush(engine, NULL), ERR_OK);
    engine_rocks_close(engine);
    char command[256];
    snprintf(command, sizeof command,
             "for f in %s/*.sst; do printf 'damage' | dd of=$f bs=1 seek=200 conv=notrunc status=none; done",
             database_path());
    assert_int_equal(system(command), 0);
    struct engine_rocks_options options = rocks_options();
    struct error err = {.text = ""};
    if (engine_rocks_open(&options, &engine, &err) != ERR_OK) {
        assert_int_equal(err.code, ERR_CORRUPT);
    } else {
        struct buf value;
        buf_init(&value, 1024);
        assert_int_equal(engine_get(engine, ENGINE_DEFAULT, bytes_of_string("key000001"), &value, &err), ERR_CORRUPT);
        buf_fini(&value);
        struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
        engine_iter_seek(engine, iter, bytes_empty());
        assert_false(engine_iter_valid(engine, iter));
        assert_int_equal(engine_iter_error(engine, iter, &err), ERR_CORRUPT);
        engine_iter_free(engine, iter);
        engine_rocks_close(engine);
    }
    assert_non_null(strstr(err.text, ".sst"));
}

static void a_torn_end_of_the_log_loses_only_itself(void **state)
{
    (void)state;
    struct engine *engine = open_rocks();
    put_one(engine, "first", "1", true);
    put_one(engine, "second", "2", false);
    engine_rocks_close(engine);
    char command[256];
    snprintf(command, sizeof command, "truncate -s -50 %s/*.log", database_path()); /* the last mark, and some more */
    assert_int_equal(system(command), 0);
    engine = open_rocks();
    assert_true(has(engine, "first"));
    assert_false(has(engine, "second"));
    engine_rocks_close(engine);
}

/* Names, sizes and contents of all files. */
static void print_sum(char text[64])
{
    char command[256];
    snprintf(command, sizeof command, "cd %s && find . -type f | sort | xargs sha256sum | sha256sum", database_path());
    FILE *file = popen(command, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, 64, file));
    assert_int_equal(pclose(file), 0);
}

static void read_only_changes_nothing_and_replays_the_log(void **state)
{
    (void)state;
    char before[64], after[64];
    struct engine *engine = open_rocks();
    put_one(engine, "flushed", "1", true);
    assert_int_equal(engine_rocks_flush(engine, NULL), ERR_OK);
    put_one(engine, "in the log", "2", true);
    engine_rocks_close(engine);
    print_sum(before);
    struct engine_rocks_options options = rocks_options();
    options.create = false;
    options.read_only = true;
    struct error err = {.text = ""};
    for (int strict = 0; strict < 2; strict++) {
        options.strict_wal = strict;
        assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_OK);
        assert_true(has(engine, "flushed"));
        assert_true(has(engine, "in the log"));
        struct engine_batch *batch = engine_batch_new(engine);
        assert_int_equal(engine_write(engine, batch, true, &err), ERR_UNSUPPORTED);
        engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string("k"), bytes_of_string("v"));
        assert_int_equal(engine_write(engine, batch, false, &err), ERR_UNSUPPORTED);
        engine_batch_free(engine, batch);
        struct engine_rocks_family family;
        engine_rocks_family(engine, ENGINE_DEFAULT, &family);
        assert_string_equal(family.name, "default");
        assert_int_equal(family.table_count, 1);
        assert_int_equal(family.row_count, 2);
        engine_rocks_close(engine);
    }
    print_sum(after);
    assert_string_equal(before, after);
}

static void a_log_that_is_bad_in_the_middle_is_an_error_if_strict(void **state)
{
    (void)state;
    struct engine *engine = open_rocks();
    put_one(engine, "first", "1", true);
    put_one(engine, "second", "2", true);
    put_one(engine, "third", "3", true);
    engine_rocks_close(engine);
    assert_int_equal(damage(".log", 85), 0); /* in the second record */
    struct engine_rocks_options options = rocks_options();
    options.create = false;
    options.read_only = options.strict_wal = true;
    struct error err = {.text = ""};
    assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_CORRUPT);
    options.strict_wal = false;
    assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_OK);
    assert_true(has(engine, "first"));
    assert_false(has(engine, "third"));
    engine_rocks_close(engine);
}

/* Writes rows 0..count-1, each synced, and lets go of the directory as a kill would. Returns the size of the log. */
static long write_synced_rows(int count)
{
    struct engine *engine = open_rocks();
    char key[32], path[256], command[512], text[32];
    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "key%06d", i);
        put_one(engine, key, "some value that takes room", true);
    }
    engine_rocks_close(engine);
    snprintf(path, sizeof path, "%s/size", directory);
    snprintf(command, sizeof command, "stat -c %%s %s/*.log > %s", database_path(), path);
    assert_int_equal(system(command), 0);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    return atol(text);
}

static void a_log_that_lost_what_was_synced_is_not_opened(void **state)
{
    (void)state;
    enum { COUNT = 2000 }; /* several blocks */
    long size = write_synced_rows(COUNT);
    assert_true(size > 3 * 32 * 1024);
    struct engine_rocks_options options = rocks_options();
    struct engine *engine;
    for (int part = 1; part <= 3; part++) { /* the damage grows towards the beginning */
        struct error err = {.text = ""};
        assert_int_equal(damage(".log", part * size / 4), 0);
        assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_CORRUPT);
        assert_non_null(strstr(err.text, ".log: the record at offset"));
    }
}

enum { DYING_LARGE = 3000, DYING_MAX = 40000 };

/* Rows that are short ('s') or large, each synced. */
static void write_rows_and_die(const char *pattern)
{
    struct engine *engine = open_rocks();
    char key[32], large[DYING_LARGE];
    memset(large, 'z', sizeof large);
    large[sizeof large - 1] = '\0';
    for (size_t i = 0; pattern[i]; i++) {
        snprintf(key, sizeof key, "key%06zu", i);
        put_one(engine, key, pattern[i] == 's' ? "1" : large, true);
    }
    kill(getpid(), SIGKILL);
}

/* Until somebody ends it; every third row is synced. */
static void write_for_ever(const char *seed)
{
    struct engine *engine = open_rocks();
    struct rng rng;
    char key[32], *value = malloc(DYING_MAX);
    assert_non_null(value);
    rng_init(&rng, strtoull(seed, NULL, 10), "write_for_ever");
    for (uint32_t i = 0;; i++) {
        size_t size = (size_t)rng_below(&rng, rng_chance(&rng, 1, 8) ? DYING_MAX : 300);
        memset(value, 'a' + (int)(i % 26), size);
        value[size] = '\0';
        snprintf(key, sizeof key, "key%06u", i);
        put_one(engine, key, value, i % 3 == 2);
    }
}

/* A process of its own, since a fork of one with threads should make no more of them. 0: it ends by itself. */
static void run_and_kill(const char *what, const char *argument, uint32_t after_us)
{
    pid_t child = fork();
    int status = 0;
    assert_true(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "test_engine", what, directory, argument, (char *)NULL);
        _exit(1);
    }
    if (after_us > 0) {
        usleep(after_us);
        assert_int_equal(kill(child, SIGKILL), 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void a_kill_at_any_time_is_no_damage(void **state)
{
    struct rng rng;
    rng_init(&rng, 1, "kill");
    for (uint32_t round = 0; round < 10; round++) {
        char seed[16];
        struct error err = {.text = ""};
        assert_int_equal(remove_directory(state), 0);
        assert_int_equal(make_directory(state), 0);
        snprintf(seed, sizeof seed, "%u", round);
        for (uint32_t life = 0; life < 2; life++) {
            run_and_kill("write-for-ever", seed, 20000 + (uint32_t)rng_below(&rng, 60000));
            if (rocks_records_check_syncs(database_path(), &err) != ERR_OK)
                fail_msg("%s", err.text);
        }
        engine_rocks_close(open_rocks());
    }
}

/* Of the one log: its path, and what is in it without the zeros behind. */
static size_t read_log(char path[256], uint8_t *data, size_t room)
{
    glob_t found;
    char pattern[256];
    snprintf(pattern, sizeof pattern, "%s/*.log", database_path());
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    snprintf(path, 256, "%s", found.gl_pathv[0]);
    globfree(&found);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t size = fread(data, 1, room, file);
    fclose(file);
    assert_true(size < room);
    while (size > 0 && data[size - 1] == 0)
        size--;
    return size;
}

static enum err check_log(const char *path, const uint8_t *data, size_t size, struct error *err)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    return rocks_records_check_syncs(database_path(), err);
}

static bool is_last_of_a_record(const uint8_t *data, size_t at)
{
    enum { BLOCK = 32 * 1024 };
    size_t end = 0;
    while (end <= at)
        end += BLOCK - end % BLOCK < 7 ? BLOCK - end % BLOCK : 7 + ((size_t)data[end + 4] | (size_t)data[end + 5] << 8);
    return end == at + 1;
}

static void no_byte_of_what_was_synced_can_be_changed(void **state)
{
    (void)state;
    enum { ROOM = 1024 * 1024, BLOCK = 32 * 1024 };
    char path[256];
    uint8_t *data = calloc(1, ROOM);
    assert_non_null(data);
    const char *const patterns[] = {"s", "ssl", "sslsl"};
    struct error err = {.text = ""};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(remove_directory(state), 0);
        assert_int_equal(make_directory(state), 0);
        run_and_kill("write-rows-and-die", patterns[i], 0);
        memset(data, 0, ROOM);
        size_t size = read_log(path, data, ROOM);
        assert_true(size < BLOCK);
        assert_int_equal(check_log(path, data, size + 5000, &err), ERR_OK);
        for (size_t at = 0; at < size; at += at < 100 || at + 100 > size ? 1 : 101)
            for (unsigned change = 1; change < 256; change = at % 31 == 0 ? change + 1 : 4 * change) {
                data[at] ^= (uint8_t)change;
                assert_int_equal(check_log(path, data, size + 5000, &err), ERR_CORRUPT);
                assert_non_null(strstr(err.text, path));
                data[at] ^= (uint8_t)change;
            }
        for (size_t left = 0; left < size; left += size < 500 ? 1 : 11) { /* who dies while it writes leaves a part of it */
            uint8_t copy[BLOCK] = {0};
            memcpy(copy, data, left);
            assert_int_equal(check_log(path, copy, left, &err), ERR_OK);
            if (!is_last_of_a_record(data, left) && check_log(path, copy, left + 700, &err) != ERR_OK)
                fail_msg("%zu of %zu: %s", left, size, err.text); /* else that would be one byte changed */
        }
    }
    free(data);
}

static void a_sector_that_was_not_written_is_no_damage_unless_it_was_synced(void **state)
{
    (void)state;
    enum { ROOM = 1024 * 1024, SECTOR = 512 };
    char path[256];
    uint8_t *data = calloc(1, ROOM);
    assert_non_null(data);
    struct error err = {.text = ""};
    run_and_kill("write-rows-and-die", "sll", 0);
    size_t size = read_log(path, data, ROOM);
    memset(data + SECTOR * (size / SECTOR - 2), 0, SECTOR); /* within the last one */
    assert_int_equal(check_log(path, data, size, &err), ERR_OK);
    struct engine *engine = open_rocks();
    assert_true(has(engine, "key000000"));
    assert_false(has(engine, "key000002"));
    engine_rocks_close(engine);
    assert_int_equal(remove_directory(state), 0);
    assert_int_equal(make_directory(state), 0);
    run_and_kill("write-rows-and-die", "slls", 0);
    memset(data, 0, ROOM);
    size = read_log(path, data, ROOM);
    memset(data + SECTOR * (size / SECTOR - 2), 0, SECTOR); /* the one before it, of which the last one tells */
    assert_int_equal(check_log(path, data, size, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "is lost"));
    free(data);
}

/* Logs are changed for new ones when a memtable is full; an old one that a kill left has zeros behind it. */
static void a_record_that_a_newer_log_tells_of_cannot_be_cut(void **state)
{
    (void)state;
    char command[512];
    struct error err = {.text = ""};
    run_and_kill("write-rows-and-die", "sss", 0);
    snprintf(command, sizeof command, "cd %s && mv *.log older && cp older 000001.log", database_path());
    assert_int_equal(system(command), 0);
    struct engine_rocks_options options = rocks_options();
    assert_int_equal(rocks_records_check_syncs(options.path, &err), ERR_OK);
    snprintf(command, sizeof command, "mkdir %s/save && mv %s/older %s/*.log %s/save", database_path(), database_path(),
             database_path(), database_path());
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "cd %s && mv save ../save && rm -r *", database_path());
    assert_int_equal(system(command), 0);
    run_and_kill("write-rows-and-die", "ssssss", 0); /* as if the first three were in the log before it */
    snprintf(command, sizeof command, "cd %s && cp ../save/older 000001.log", database_path());
    assert_int_equal(system(command), 0);
    assert_int_equal(rocks_records_check_syncs(options.path, &err), ERR_OK);
    snprintf(command, sizeof command, "cd %s && truncate -s 60 000001.log", database_path());
    assert_int_equal(system(command), 0);
    assert_int_equal(rocks_records_check_syncs(options.path, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "000001.log"));
    snprintf(command, sizeof command, "rm -r %s/../save", database_path());
    assert_int_equal(system(command), 0);
}

enum whole { IS_WHOLE, IS_CUT, IS_DAMAGED };

static void check_records(const uint8_t *data, size_t size, enum whole expected)
{
    char path[128];
    struct error err = {.text = ""};
    bool is_cut = false;
    snprintf(path, sizeof path, "%s/records", directory);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rocks_records_check(path, &is_cut, &err), expected == IS_DAMAGED ? ERR_CORRUPT : ERR_OK);
    assert_int_equal(is_cut, expected == IS_CUT);
    assert_true(expected == IS_WHOLE || strstr(err.text, path));
}

/* A log as RocksDB writes it: small records, one over several blocks, and zeros behind. */
static void a_record_that_a_crash_cut_is_told_from_one_that_is_damaged(void **state)
{
    (void)state;
    enum { BLOCK = 32 * 1024, LARGE = 70000, ROOM = 1024 * 1024 };
    char command[256];
    uint8_t *data = calloc(1, ROOM);
    char *large = malloc(LARGE + 1);
    assert_non_null(data);
    assert_non_null(large);
    memset(large, 'x', LARGE);
    large[LARGE] = '\0';
    struct engine *engine = open_rocks();
    put_one(engine, "first", "1", true);
    put_one(engine, "second", large, true);
    put_one(engine, "third", "3", true);
    engine_rocks_close(engine);
    snprintf(command, sizeof command, "cat %s/*.log", database_path());
    FILE *file = popen(command, "r");
    assert_non_null(file);
    size_t size = fread(data, 1, ROOM - 1, file);
    assert_int_equal(pclose(file), 0);
    assert_in_range(size, LARGE, 2 * LARGE); /* an orderly close leaves no zeros */
    check_records(data, 0, IS_WHOLE);
    check_records(data, size, IS_WHOLE);
    check_records(data, size + 5000, IS_WHOLE);
    check_records(data, 4 * BLOCK, IS_WHOLE);
    uint8_t *copy = calloc(1, ROOM);
    assert_non_null(copy);
    for (size_t left = 1; left < size; left += left < 60 || left > size - 60 ? 1 : 997) {
        memset(copy, 0, ROOM);
        memcpy(copy, data, left);
        struct error err;
        bool is_cut;
        char path[128];
        snprintf(path, sizeof path, "%s/records", directory);
        for (size_t zeros = 0; zeros < 2; zeros++) { /* the file ends there, or zeros follow */
            if (zeros && is_last_of_a_record(data, left))
                continue; /* that would be one byte changed */
            file = fopen(path, "wb");
            assert_non_null(file);
            assert_int_equal(fwrite(copy, 1, left + zeros * 100000, file), left + zeros * 100000);
            assert_int_equal(fclose(file), 0);
            assert_int_equal(rocks_records_check(path, &is_cut, &err), ERR_OK); /* a prefix is never damage */
        }
    }
    for (size_t at = 0; at < size; at += at < 60 || at > size - 60 ? 1 : 997)
        for (int bit = 0; bit < 8; bit++) {
            data[at] ^= (uint8_t)(1 << bit);
            check_records(data, size, IS_DAMAGED);
            check_records(data, size + 100000, IS_DAMAGED);
            data[at] ^= (uint8_t)(1 << bit);
        }
    data[size + 5000] = 1; /* behind zeros */
    check_records(data, size + 9000, IS_DAMAGED);
    data[size + 5000] = 0;
    check_records(data, size - 1, IS_CUT);
    check_records(data, BLOCK, IS_CUT); /* between parts of the large one */
    free(copy);
    free(large);
    free(data);
}

/* They have no checksums, and need none. */
static void nothing_reads_options_and_identity(void **state)
{
    (void)state;
    char command[512];
    for (int i = 0; i < 4; i++) {
        struct engine *engine = open_rocks();
        put_one(engine, i % 2 ? "odd" : "even", "1", true);
        assert_true(i == 0 || has(engine, "even"));
        assert_true(i <= 1 || has(engine, "odd"));
        engine_rocks_close(engine);
        snprintf(command, sizeof command,
                 "cd %s && for f in OPTIONS-* IDENTITY; do printf 'damage' | dd of=$f bs=1 seek=%d conv=notrunc "
                 "status=none; "
                 "done",
                 database_path(), 9 * i);
        assert_int_equal(system(command), 0);
    }
}

static char logged[4096];

static void remember(struct log *log, enum log_level level, const char *fields)
{
    (void)log;
    (void)level;
    snprintf(logged, sizeof logged, "%s", fields);
}

static void a_damaged_manifest_refuses_to_open_and_is_logged(void **state)
{
    (void)state;
    struct log log = {.level = LOG_DEBUG, .write = remember};
    struct engine *engine = open_rocks();
    put_one(engine, "first", "1", true);
    engine_rocks_close(engine);
    char command[256];
    snprintf(command, sizeof command,
             "for f in %s/MANIFEST*; do printf damage | dd of=$f bs=1 seek=9 conv=notrunc status=none; done",
             database_path());
    assert_int_equal(system(command), 0);
    struct engine_rocks_options options = rocks_options();
    struct error err = {.text = ""};
    options.log = &log;
    assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, "/MANIFEST-"));
    snprintf(command, sizeof command, "for f in %s/MANIFEST*; do truncate -s 20 $f; done", database_path());
    assert_int_equal(system(command), 0); /* a record that is cut: that is RocksDB's to say */
    assert_int_equal(engine_rocks_open(&options, &engine, &err), ERR_CORRUPT);
    assert_non_null(strstr(err.text, database_path()));
    assert_non_null(strstr(logged, "event=rocksdb"));
    assert_null(strpbrk(logged, "\n\t"));
    snprintf(command, sizeof command, "%s/LOG", database_path());
    assert_int_not_equal(access(command, F_OK), 0); /* no log file of its own */
}

static void write_and_die(void)
{
    struct engine *engine = open_rocks();
    put_one(engine, "before", "0", false);
    put_one(engine, "synced", "1", true);
    put_one(engine, "after", "2", false);
    kill(getpid(), SIGKILL);
}

static void what_was_synced_survives_kill(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) { /* a program of its own: a fork of a process with threads should not make more of them */
        execl("/proc/self/exe", "test_engine", "write-and-die", directory, (char *)NULL);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    struct engine *engine = open_rocks();
    assert_true(has(engine, "before"));
    assert_true(has(engine, "synced"));
    /* What came after the last sync waited in the memory of the process: it may be there or not. */
    engine_rocks_close(engine);
}

/* --- a log that is longer than what is in it --- */

enum { LONG_ROW_COUNT = 60, LONG_VALUE_MAX = 40000, CUT_COUNT = 14 };

/* Short ones, and some that cross the blocks of the log. */
static struct bytes long_value(int row)
{
    static uint8_t value[LONG_VALUE_MAX];
    memset(value, 'a' + row % 26, sizeof value);
    return bytes_of(value, (size_t)(1 + row * row * 977 % (row % 5 ? 300 : LONG_VALUE_MAX)));
}

static struct bytes long_key(int row, char text[16])
{
    return bytes_of(text, (size_t)snprintf(text, 16, "row%03d", row));
}

static void write_long_and_die(void)
{
    struct engine *engine = open_rocks();
    struct engine_batch *batch = engine_batch_new(engine);
    char key[16];
    for (int row = 0; row < LONG_ROW_COUNT; row++) {
        engine_batch_clear(engine, batch);
        engine_batch_put(engine, batch, ENGINE_DEFAULT, long_key(row, key), long_value(row));
        if (engine_write(engine, batch, true, NULL) != ERR_OK)
            exit(1);
    }
    kill(getpid(), SIGKILL);
}

/* How many rows are there; they must be the first ones, and whole. */
static int long_row_count(void)
{
    struct engine *engine = open_rocks();
    struct buf value;
    char key[16];
    int count = 0;
    buf_init(&value, LONG_VALUE_MAX);
    for (int row = 0; row < LONG_ROW_COUNT; row++) {
        enum err code = engine_get(engine, ENGINE_DEFAULT, long_key(row, key), &value, NULL);
        assert_true(code == ERR_NOT_FOUND || (code == ERR_OK && count == row));
        if (code == ERR_OK) {
            assert_true(bytes_equal(buf_bytes(&value), long_value(row)));
            count++;
        }
    }
    buf_fini(&value);
    engine_rocks_close(engine);
    return count;
}

static void run_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run_shell(const char *format, ...)
{
    char command[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

/* Zeros from `cut` on, or from the last byte that is none when `cut` is negative. Returns where that was; the size of
 * the file in `*ret_size`. */
static long cut_log(double cut, long *ret_size)
{
    char path[512];
    FILE *pipe = popen("exec 2>&-; ls -S $DIR/*.log | head -n 1", "r");
    assert_non_null(pipe);
    assert_non_null(fgets(path, sizeof path, pipe));
    pclose(pipe);
    path[strcspn(path, "\n")] = '\0';
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    static uint8_t content[4 << 20];
    size_t size = fread(content, 1, sizeof content, file), used = size;
    while (used > 0 && content[used - 1] == 0)
        used--;
    size_t from = cut < 0 ? used : (size_t)((double)used * cut);
    memset(content, 0, sizeof content);
    assert_int_equal(fseek(file, (long)from, SEEK_SET), 0);
    assert_int_equal(fwrite(content, 1, size - from, file), size - from);
    fclose(file);
    *ret_size = (long)size;
    return (long)from;
}

static void a_log_that_ends_in_zeros_keeps_all_that_is_before_them(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test_engine", "write-long-and-die", directory, (char *)NULL);
        _exit(1);
    }
    int status = 0, before = 0;
    long size;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    setenv("DIR", database_path(), 1);
    run_shell("mv %s %s/saved", database_path(), directory);
    for (int i = 0; i < CUT_COUNT; i++) {
        run_shell("rm -rf %s && cp -a %s/saved %s", database_path(), directory, database_path());
        cut_log((double)i / CUT_COUNT, &size);
        int count = long_row_count();
        assert_true(count >= before && count < LONG_ROW_COUNT);
        assert_true(i < CUT_COUNT / 2 || count > 0);
        before = count;
    }
    run_shell("rm -rf %s && cp -a %s/saved %s", database_path(), directory, database_path());
    long used = cut_log(-1, &size);
    assert_true(size >= used + 1000); /* what this is all about */
    assert_int_equal(long_row_count(), LONG_ROW_COUNT);
    assert_int_equal(long_row_count(), LONG_ROW_COUNT); /* and once more: recovery wrote tables and a new log */
}

static void an_orderly_close_leaves_no_zeros(void **state)
{
    (void)state;
    struct engine *engine = open_rocks();
    put_one(engine, "key", "value", true);
    engine_rocks_close(engine);
    run_shell("for f in %s/*.log; do [ $(stat -c %%s $f) -lt 1000 ] || exit 1; done", database_path());
}

static void rocks_statistics_count(void **state)
{
    (void)state;
    struct engine *engine = open_rocks();
    char key[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key%06d", i);
        put_one(engine, key, "some value that takes room", false);
    }
    struct engine_rocks_stats stats;
    engine_rocks_stats(engine, &stats);
    assert_true(stats.memtable_size > 0 && stats.row_count == 1000 && stats.disk_size > 0 && stats.disk_free_size > 0);
    assert_false(stats.is_broken || stats.is_write_stopped);
    assert_int_equal(engine_rocks_flush(engine, NULL), ERR_OK);
    engine_rocks_stats(engine, &stats);
    assert_true(stats.table_size > 1000);
    uint64_t size = 0;
    assert_int_equal(engine_rocks_approximate_size(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty(), &size, NULL),
                     ERR_OK);
    assert_true(size > 1000);
    engine_rocks_close(engine);
}

/* --- what engine_mem may lose --- */

struct disk {
    uint64_t now_us, cost_us, world_us;
    enum err fault;
    bool sync_fails, read_fails;
};

static uint64_t disk_now(void *context)
{
    return ((struct disk *)context)->now_us;
}

static uint64_t disk_cost(void *context, size_t size)
{
    assert_true(size > 0);
    return ((struct disk *)context)->cost_us;
}

static void disk_wait(void *context, uint64_t us)
{
    ((struct disk *)context)->now_us += us;
}

static enum err disk_fault(void *context, bool sync, size_t size)
{
    (void)sync;
    (void)size;
    return ((struct disk *)context)->fault;
}

static uint64_t disk_world(void *context)
{
    return ((struct disk *)context)->world_us;
}

static bool disk_sync_fails(void *context)
{
    return ((struct disk *)context)->sync_fails;
}

static bool disk_read_fails(void *context)
{
    return ((struct disk *)context)->read_fails;
}

static struct engine *engine_on(struct disk *disk, bool writes_wait)
{
    struct engine *engine = NULL;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    engine_mem_set_disk(engine, &(struct engine_mem_disk){.context = disk,
                                                          .now_us = disk_now,
                                                          .sync_cost_us = disk_cost,
                                                          .wait_us = disk_wait,
                                                          .world_us = disk_world,
                                                          .sync_fails = disk_sync_fails,
                                                          .read_fails = disk_read_fails,
                                                          .writes_wait = writes_wait});
    return engine;
}

static bool is_durable(struct engine *engine, const char *key)
{
    struct buf value;
    buf_init(&value, 64);
    enum err code = engine_mem_get_durable(engine, ENGINE_RAFT, bytes_of_string(key), &value);
    buf_fini(&value);
    assert_true(code == ERR_OK || code == ERR_NOT_FOUND);
    return code == ERR_OK;
}

/* Batch number n writes row n and, in another family, row n too: all of it or nothing, and no hole. */
static uint64_t count_prefix(struct engine *engine, uint64_t written_count)
{
    uint64_t count = 0;
    bool has_ended = false;
    for (uint64_t n = 0; n < written_count; n++) {
        char key[32];
        snprintf(key, sizeof key, "%08u", (unsigned)n);
        struct buf value;
        buf_init(&value, 64);
        bool in_default = engine_get(engine, ENGINE_DEFAULT, bytes_of_string(key), &value, NULL) == ERR_OK;
        bool in_raft = engine_get(engine, ENGINE_RAFT, bytes_of_string(key), &value, NULL) == ERR_OK;
        buf_fini(&value);
        assert_int_equal(in_default, in_raft);
        assert_false(has_ended && in_default);
        has_ended = has_ended || !in_default;
        count += in_default;
    }
    return count;
}

static void write_numbered(struct engine *engine, uint64_t n, bool sync)
{
    char key[32];
    snprintf(key, sizeof key, "%08u", (unsigned)n);
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string(key), bytes_of_string("x"));
    engine_batch_put(engine, batch, ENGINE_RAFT, bytes_of_string(key), bytes_of_string("y"));
    assert_int_equal(engine_write(engine, batch, sync, NULL), ERR_OK);
    engine_batch_free(engine, batch);
}

static void a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest(void **state)
{
    (void)state;
    bool has_lost = false, has_kept_more = false;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "crash");
        struct engine *engine = NULL;
        assert_int_equal(engine_mem_new(&engine), ERR_OK);
        uint64_t count = 0;
        for (int life = 0; life < 5; life++) {
            uint64_t synced_count = count;
            for (uint64_t steps = rng_below(&rng, 20); steps > 0; steps--) {
                bool sync = rng_chance(&rng, 1, 6);
                write_numbered(engine, count++, sync);
                if (sync)
                    synced_count = count;
            }
            engine_mem_crash(engine, 0, &rng);
            uint64_t left_count = count_prefix(engine, count);
            assert_true(left_count >= synced_count);
            has_lost = has_lost || left_count < count;
            has_kept_more = has_kept_more || left_count > synced_count;
            count = left_count;
            engine_mem_crash(engine, 0, &rng); /* what a restarted node found on the disk cannot be lost any more */
            assert_int_equal(count_prefix(engine, count), count);
        }
        engine_mem_free(engine);
    }
    assert_true(has_lost && has_kept_more);
}

static void a_sync_that_had_not_ended_at_the_crash_may_be_lost(void **state)
{
    (void)state;
    int lost_count = 0, kept_count = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "crash");
        struct disk disk = {.now_us = 1000, .cost_us = 100};
        struct engine_mem_disk hooks = {
            .context = &disk, .now_us = disk_now, .sync_cost_us = disk_cost, .wait_us = disk_wait};
        struct engine *engine = NULL;
        assert_int_equal(engine_mem_new(&engine), ERR_OK);
        engine_mem_set_disk(engine, &hooks);
        write_numbered(engine, 0, true);
        assert_int_equal(disk.now_us, 1100);
        write_numbered(engine, 1, false);
        assert_int_equal(disk.now_us, 1100); /* only syncs wait */
        disk.now_us = 1050;                  /* another actor, whose time is not as late */
        write_numbered(engine, 2, true);
        assert_int_equal(disk.now_us, 1200); /* its sync began when the first had ended */
        engine_mem_crash(engine, 1150, &rng);
        uint64_t left_count = count_prefix(engine, 3);
        assert_true(left_count >= 1);
        lost_count += left_count < 3;
        kept_count += left_count == 3;
        engine_mem_free(engine);
    }
    assert_true(lost_count > 0 && kept_count > 0);
}

static void a_sync_that_had_ended_at_the_crash_is_kept(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "crash");
        struct disk disk = {.now_us = 1000, .cost_us = 100};
        struct engine_mem_disk hooks = {
            .context = &disk, .now_us = disk_now, .sync_cost_us = disk_cost, .wait_us = disk_wait};
        struct engine *engine = NULL;
        assert_int_equal(engine_mem_new(&engine), ERR_OK);
        engine_mem_set_disk(engine, &hooks);
        write_numbered(engine, 0, false);
        write_numbered(engine, 1, true);
        write_numbered(engine, 2, false);
        engine_mem_crash(engine, 1100, &rng);
        assert_true(count_prefix(engine, 3) >= 2);
        engine_mem_free(engine);
    }
}

static void handles_of_a_crashed_node_write_nothing_and_may_be_freed(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1, "crash");
    struct engine *engine = NULL;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    put_one(engine, "a", "1", true);
    struct engine_batch *freed = engine_batch_new(engine), *forgotten = engine_batch_new(engine);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty());
    engine_iter_new(engine, ENGINE_DEFAULT, bytes_empty(), bytes_empty()); /* forgotten as well */
    engine_batch_put(engine, freed, ENGINE_DEFAULT, bytes_of_string("b"), bytes_of_string("2"));
    engine_batch_put(engine, forgotten, ENGINE_DEFAULT, bytes_of_string("b"), bytes_of_string("2"));
    struct engine_mem_stats stats;
    engine_mem_stats(engine, &stats);
    assert_int_equal(stats.batch_count, 2);
    assert_int_equal(stats.iter_count, 2);
    engine_mem_crash(engine, 0, &rng);
    engine_mem_stats(engine, &stats);
    assert_int_equal(stats.batch_count + stats.iter_count, 0);
    assert_int_equal(stats.row_count[ENGINE_DEFAULT], 1);
    struct error err;
    assert_int_equal(engine_write(engine, freed, true, &err), ERR_CLOSED);
    assert_false(has(engine, "b"));
    engine_batch_free(engine, freed);
    engine_iter_free(engine, iter);
    engine_mem_free(engine);
}

static void a_failed_write_is_final_until_the_crash_and_a_full_disk_is_not(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1, "crash");
    struct disk disk = {.fault = ERR_DISK_FULL};
    struct engine *engine = NULL;
    struct error err;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    engine_mem_set_fault(engine, disk_fault, &disk);
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string("a"), bytes_of_string("1"));
    assert_int_equal(engine_write(engine, batch, true, &err), ERR_DISK_FULL);
    assert_false(has(engine, "a"));
    disk.fault = ERR_OK;
    assert_int_equal(engine_write(engine, batch, true, &err), ERR_OK);
    disk.fault = ERR_IO;
    assert_int_equal(engine_write(engine, batch, true, &err), ERR_IO);
    disk.fault = ERR_OK;
    assert_int_equal(engine_write(engine, batch, false, &err), ERR_IO);
    engine_batch_free(engine, batch);
    engine_mem_crash(engine, 0, &rng);
    put_one(engine, "b", "1", true);
    engine_mem_free(engine);
}

static void a_batch_is_durable_when_the_world_has_seen_its_sync_end(void **state)
{
    (void)state;
    struct disk disk = {.now_us = 1000, .cost_us = 100, .world_us = 1000};
    struct engine *engine = engine_on(&disk, false);
    write_numbered(engine, 0, false);
    write_numbered(engine, 1, true); /* the actor is at 1100 now, the world is not */
    write_numbered(engine, 2, false);
    assert_false(is_durable(engine, "00000000") || is_durable(engine, "00000001"));
    disk.world_us = 1099;
    assert_false(is_durable(engine, "00000001"));
    disk.world_us = 1100;
    assert_true(is_durable(engine, "00000000") && is_durable(engine, "00000001"));
    assert_false(is_durable(engine, "00000002"));
    assert_int_equal(count_prefix(engine, 3), 3);
    engine_mem_free(engine);
}

static void what_an_actor_ahead_of_the_crash_would_have_written_is_not_there(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "crash");
        struct disk disk = {.now_us = 1000, .cost_us = 100, .world_us = 1000};
        struct engine *engine = engine_on(&disk, false);
        write_numbered(engine, 0, true);
        write_numbered(engine, 1, true);
        engine_mem_crash_as(engine, 1050, &rng, (enum engine_mem_loss)(seed % 4));
        assert_true(count_prefix(engine, 2) <= 1);
        engine_mem_free(engine);
    }
}

/* Ten batches, the first two of them synced: how many does a crash leave, at least and at most? */
static void crash_ten(enum engine_mem_loss loss, uint64_t *ret_least, uint64_t *ret_most)
{
    *ret_least = UINT64_MAX;
    *ret_most = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "crash");
        struct disk disk = {.now_us = 1000, .cost_us = 100};
        struct engine *engine = engine_on(&disk, false);
        for (uint64_t n = 0; n < 10; n++)
            write_numbered(engine, n, n == 1);
        size_t lost_count = engine_mem_crash_as(engine, 2000, &rng, loss);
        uint64_t left_count = count_prefix(engine, 10);
        assert_int_equal(lost_count, 10 - left_count);
        *ret_least = left_count < *ret_least ? left_count : *ret_least;
        *ret_most = left_count > *ret_most ? left_count : *ret_most;
        engine_mem_free(engine);
    }
}

static void a_crash_leaves_all_none_or_a_prefix_of_what_was_not_synced(void **state)
{
    (void)state;
    uint64_t least, most;
    crash_ten(ENGINE_MEM_KEEP, &least, &most);
    assert_true(least == 10 && most == 10);
    crash_ten(ENGINE_MEM_LOSE, &least, &most);
    assert_true(least == 2 && most == 2);
    crash_ten(ENGINE_MEM_TORN, &least, &most);
    assert_true(least == 2 && most == 10);
    crash_ten(ENGINE_MEM_HOLES, &least, &most);
    assert_true(least == 2 && most == 10);
}

static void a_failed_sync_is_final_and_what_it_covered_may_be_lost(void **state)
{
    (void)state;
    int lost_count = 0, kept_count = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "crash");
        struct disk disk = {.now_us = 1000, .cost_us = 100};
        struct engine *engine = engine_on(&disk, false);
        struct error err;
        write_numbered(engine, 0, true);
        write_numbered(engine, 1, false);
        disk.sync_fails = true;
        struct engine_batch *batch = engine_batch_new(engine);
        engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string("00000002"), bytes_of_string("x"));
        engine_batch_put(engine, batch, ENGINE_RAFT, bytes_of_string("00000002"), bytes_of_string("x"));
        assert_int_equal(engine_write(engine, batch, true, &err), ERR_IO);
        assert_int_equal(disk.now_us, 1200); /* it took its time to fail */
        disk.sync_fails = false;
        disk.world_us = 5000;
        assert_int_equal(engine_write(engine, batch, true, &err), ERR_IO);
        engine_batch_free(engine, batch);
        assert_int_equal(count_prefix(engine, 3), 3); /* readers have seen it */
        assert_true(is_durable(engine, "00000000"));
        assert_false(is_durable(engine, "00000001") || is_durable(engine, "00000002"));
        engine_mem_crash_as(engine, 5000, &rng, ENGINE_MEM_KEEP);
        uint64_t left_count = count_prefix(engine, 3);
        assert_true(left_count == 1 || left_count == 3);
        lost_count += left_count == 1;
        kept_count += left_count == 3;
        put_one(engine, "a", "1", true); /* a new life, a new page cache */
        engine_mem_free(engine);
    }
    assert_true(lost_count > 0 && kept_count > 0);
}

static void a_failed_read_says_so_and_the_next_one_works(void **state)
{
    (void)state;
    struct disk disk = {.now_us = 1000, .cost_us = 100};
    struct engine *engine = engine_on(&disk, false);
    struct error err;
    struct buf value;
    buf_init(&value, 64);
    write_numbered(engine, 0, true);
    write_numbered(engine, 1, true);
    disk.read_fails = true;
    assert_int_equal(engine_get(engine, ENGINE_RAFT, bytes_of_string("00000000"), &value, &err), ERR_IO);
    disk.world_us = 2000;
    assert_true(is_durable(engine, "00000000")); /* a checker reads past the fault */
    disk.read_fails = false;
    assert_int_equal(engine_get(engine, ENGINE_RAFT, bytes_of_string("00000000"), &value, &err), ERR_OK);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, bytes_empty(), bytes_empty());
    engine_iter_seek(engine, iter, bytes_empty());
    assert_true(engine_iter_valid(engine, iter));
    disk.read_fails = true;
    engine_iter_next(engine, iter);
    assert_false(engine_iter_valid(engine, iter));
    assert_int_equal(engine_iter_error(engine, iter, &err), ERR_IO);
    disk.read_fails = false;
    engine_iter_seek(engine, iter, bytes_of_string("00000001"));
    assert_true(engine_iter_valid(engine, iter));
    assert_int_equal(engine_iter_error(engine, iter, &err), ERR_OK);
    engine_iter_free(engine, iter);
    buf_fini(&value);
    engine_mem_free(engine);
}

static void writes_wait_for_the_sync_before_them_if_there_is_one_queue(void **state)
{
    (void)state;
    struct disk disk = {.now_us = 1000, .cost_us = 100};
    struct engine *engine = engine_on(&disk, true);
    write_numbered(engine, 0, true);
    disk.now_us = 1050; /* another actor */
    write_numbered(engine, 1, false);
    assert_int_equal(disk.now_us, 1100);
    write_numbered(engine, 2, false);
    assert_int_equal(disk.now_us, 1100);
    engine_mem_free(engine);
}

static void batches_beyond_the_limit_become_durable(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 1, "crash");
    struct engine *engine = NULL;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    for (uint64_t n = 0; n < 5000; n++)
        write_numbered(engine, n, false);
    struct engine_mem_stats stats;
    engine_mem_stats(engine, &stats);
    assert_int_equal(stats.volatile_count, 4096);
    engine_mem_crash(engine, 0, &rng);
    assert_true(count_prefix(engine, 5000) >= 5000 - 4096);
    engine_mem_free(engine);
}

int main(int argument_count, char **arguments)
{
    if (argument_count == 3 && strcmp(arguments[1], "write-and-die") == 0) {
        snprintf(directory, sizeof directory, "%s", arguments[2]);
        write_and_die();
    }
    if (argument_count == 4) {
        snprintf(directory, sizeof directory, "%s", arguments[2]);
        if (strcmp(arguments[1], "write-rows-and-die") == 0)
            write_rows_and_die(arguments[3]);
        write_for_ever(arguments[3]);
    }
    if (argument_count == 3 && strcmp(arguments[1], "write-long-and-die") == 0) {
        snprintf(directory, sizeof directory, "%s", arguments[2]);
        write_long_and_die();
    }
    if (argument_count == 3 && strcmp(arguments[1], "expect-locked") == 0) {
        snprintf(directory, sizeof directory, "%s", arguments[2]);
        return expect_locked();
    }
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(engines_do_what_a_sorted_array_does, make_directory, remove_directory),
        cmocka_unit_test(mem_does_what_a_sorted_array_does_for_many_seeds),
        cmocka_unit_test_setup_teardown(an_iterator_sees_the_state_at_its_creation, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(raft_rows_in_any_order_are_kept_in_order, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_log_that_lost_what_was_synced_is_not_opened, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(no_byte_of_what_was_synced_can_be_changed, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_sector_that_was_not_written_is_no_damage_unless_it_was_synced, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_kill_at_any_time_is_no_damage, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(nothing_reads_options_and_identity, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_record_that_a_newer_log_tells_of_cannot_be_cut, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_value_that_does_not_fit_is_refused, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_directory_that_is_open_is_locked, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_file_in_place_of_the_directory_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_damaged_table_is_corrupt_and_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_torn_end_of_the_log_loses_only_itself, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(read_only_changes_nothing_and_replays_the_log, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_log_that_is_bad_in_the_middle_is_an_error_if_strict, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_record_that_a_crash_cut_is_told_from_one_that_is_damaged, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_damaged_manifest_refuses_to_open_and_is_logged, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(what_was_synced_survives_kill, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(a_log_that_ends_in_zeros_keeps_all_that_is_before_them, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(an_orderly_close_leaves_no_zeros, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(rocks_statistics_count, make_directory, remove_directory),
        cmocka_unit_test(a_crash_keeps_what_was_synced_and_a_prefix_of_the_rest),
        cmocka_unit_test(a_sync_that_had_not_ended_at_the_crash_may_be_lost),
        cmocka_unit_test(a_sync_that_had_ended_at_the_crash_is_kept),
        cmocka_unit_test(handles_of_a_crashed_node_write_nothing_and_may_be_freed),
        cmocka_unit_test(a_failed_write_is_final_until_the_crash_and_a_full_disk_is_not),
        cmocka_unit_test(a_batch_is_durable_when_the_world_has_seen_its_sync_end),
        cmocka_unit_test(what_an_actor_ahead_of_the_crash_would_have_written_is_not_there),
        cmocka_unit_test(a_crash_leaves_all_none_or_a_prefix_of_what_was_not_synced),
        cmocka_unit_test(a_failed_sync_is_final_and_what_it_covered_may_be_lost),
        cmocka_unit_test(a_failed_read_says_so_and_the_next_one_works),
        cmocka_unit_test(writes_wait_for_the_sync_before_them_if_there_is_one_queue),
        cmocka_unit_test(batches_beyond_the_limit_become_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
