/* replicas: do the data directories of stopped storenodes hold the same rows?
 *
 *   replicas DIR DIR...     each DIR is a storenode's data directory (with `engine` in it)
 *
 * For clusters with as many replicas as stores, where every store has every key. Walks all directories side by side
 * through the column families of user data and names the first key that differs. Rows that have expired by their region's
 * time are passed over: each store drops them when it likes. Prints one JSON line; exit code 0: the
 * same, 1: not, 2: a directory cannot be opened. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "env/engine_rocks.h"
#include "group/group_keys.h"
#include "meta/region.h"
#include "storenode/region_fsm.h"
#include "storenode/row.h"
#include "storenode/store_keys.h"

enum { STORES_MAX = 16, REGIONS_MAX = 4096 };

static const struct {
    enum engine_cf cf;
    const char *name;
} families[] = {{ENGINE_DEFAULT, "default"}, {ENGINE_LOCK, "lock"}, {ENGINE_WRITE, "write"}};

static struct engine *engines[STORES_MAX];
static int engine_count;

/* Of the first store; all have applied the same when they were stopped, or the rows differ anyway. */
static struct {
    struct region *region; /* owned */
    uint64_t time_ms;
} regions[REGIONS_MAX];
static size_t region_count;

static void load_region(struct engine *engine, struct bytes value)
{
    struct wire_region_state state;
    struct region_time time;
    struct arena arena;
    arena_init(&arena);
    if (region_count < REGIONS_MAX && wire_decode_region_state(value, &arena, &state) == ERR_OK && !state.tombstone &&
        state.region && region_from_wire(state.region, &regions[region_count].region) == ERR_OK) {
        (void)region_fsm_load_time(engine, state.region->id, &time);
        regions[region_count++].time_ms = time.now_ms;
    }
    arena_fini(&arena);
}

static void load_regions(struct engine *engine)
{
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, bytes_of("g", 1), bytes_of("h", 1));
    engine_iter_seek(engine, iter, bytes_of("g", 1));
    while (engine_iter_valid(engine, iter)) {
        struct bytes key = engine_iter_key(engine, iter);
        uint64_t id = key.size >= 9 ? load_u64_be(key.data + 1) : UINT64_MAX - 1;
        struct group_key state = group_key(id, STORE_REGION_STATE), next = group_key(id + 1, 0);
        engine_iter_seek(engine, iter, group_key_bytes(&state));
        if (engine_iter_valid(engine, iter) && bytes_equal(engine_iter_key(engine, iter), group_key_bytes(&state)))
            load_region(engine, engine_iter_value(engine, iter));
        engine_iter_seek(engine, iter, group_key_bytes(&next));
    }
    engine_iter_free(engine, iter);
}

static bool is_over(struct engine *engine, struct engine_iter *iter)
{
    struct bytes row = engine_iter_value(engine, iter);
    if (!row_is_expired(row, UINT64_MAX))
        return false;
    for (size_t i = 0; i < region_count; i++)
        if (region_contains(regions[i].region, engine_iter_key(engine, iter)))
            return row_is_expired(row, regions[i].time_ms);
    return false;
}

static void pass_expired(size_t family, struct engine *engine, struct engine_iter *iter)
{
    while (families[family].cf == ENGINE_DEFAULT && engine_iter_valid(engine, iter) && is_over(engine, iter))
        engine_iter_next(engine, iter);
}

static void print_bytes(struct bytes bytes)
{
    for (size_t i = 0; i < bytes.size && i < 64; i++)
        if (bytes.data[i] >= ' ' && bytes.data[i] <= '~' && bytes.data[i] != '"' && bytes.data[i] != '\\')
            putchar(bytes.data[i]);
        else
            printf("\\\\x%02x", bytes.data[i]);
}

static bool rows_equal(struct engine_iter *const *iters, int other)
{
    struct engine *first = engines[0], *second = engines[other];
    bool valid = engine_iter_valid(first, iters[0]);
    if (valid != engine_iter_valid(second, iters[other]))
        return false;
    return !valid || (bytes_equal(engine_iter_key(first, iters[0]), engine_iter_key(second, iters[other])) &&
                      bytes_equal(engine_iter_value(first, iters[0]), engine_iter_value(second, iters[other])));
}

static void print_row(const char *name, struct engine *engine, struct engine_iter *iter)
{
    printf(",\"%s\":\"", name);
    if (!engine_iter_valid(engine, iter)) {
        printf("(end)\"");
        return;
    }
    print_bytes(engine_iter_key(engine, iter));
    printf(" = ");
    print_bytes(engine_iter_value(engine, iter));
    printf("\"");
}

/* 0: the same, 1: not, 2: unreadable. */
static int compare_family(size_t family, uint64_t *row_count)
{
    struct engine_iter *iters[STORES_MAX];
    struct bytes open = bytes_of("", 0);
    int result = 0;
    for (int i = 0; i < engine_count; i++) {
        iters[i] = engine_iter_new(engines[i], families[family].cf, open, open);
        engine_iter_seek(engines[i], iters[i], open);
        pass_expired(family, engines[i], iters[i]);
    }
    for (bool more = true; more && result == 0;) {
        more = engine_iter_valid(engines[0], iters[0]);
        for (int i = 1; i < engine_count && result == 0; i++) {
            if (rows_equal(iters, i))
                continue;
            printf("{\"same\":false,\"family\":\"%s\",\"rows_before\":%" PRIu64 ",\"store\":%d", families[family].name,
                   *row_count, i + 1);
            print_row("row_of_store_1", engines[0], iters[0]);
            print_row("row_of_that_store", engines[i], iters[i]);
            printf("}\n");
            result = 1;
        }
        *row_count += more && result == 0;
        for (int i = 0; i < engine_count && more && result == 0; i++) {
            engine_iter_next(engines[i], iters[i]);
            pass_expired(family, engines[i], iters[i]);
        }
    }
    for (int i = 0; i < engine_count; i++) {
        struct error err;
        if (engine_iter_error(engines[i], iters[i], &err) != ERR_OK) {
            fprintf(stderr, "replicas: store %d: %s\n", i + 1, err.text);
            result = 2;
        }
        engine_iter_free(engines[i], iters[i]);
    }
    return result;
}

int main(int argc, char **argv)
{
    int result = 0;
    uint64_t row_count = 0;
    if (argc < 3 || argc > STORES_MAX + 1) {
        fprintf(stderr, "usage: replicas DIR DIR...\n");
        return 2;
    }
    for (int i = 1; i < argc && result == 0; i++) {
        char path[4096];
        struct error err;
        snprintf(path, sizeof path, "%s/engine", argv[i]);
        struct engine_rocks_options options = {.path = path};
        if (engine_rocks_open(&options, &engines[engine_count], &err) == ERR_OK) {
            engine_count++;
        } else {
            fprintf(stderr, "replicas: %s\n", err.text);
            result = 2;
        }
    }
    if (result == 0)
        load_regions(engines[0]);
    for (size_t family = 0; family < sizeof families / sizeof families[0] && result == 0; family++)
        result = compare_family(family, &row_count);
    if (result == 0)
        printf("{\"same\":true,\"rows\":%" PRIu64 ",\"stores\":%d}\n", row_count, engine_count);
    for (size_t i = 0; i < region_count; i++)
        region_free(regions[i].region);
    for (int i = 0; i < engine_count; i++)
        engine_rocks_close(engines[i]);
    return result;
}
