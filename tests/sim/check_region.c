#include "check_region.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/arena.h"
#include "base/check.h"
#include "group/group_keys.h"
#include "proto/wire.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/snapshot_cut.h"
#include "storenode/row.h"
#include "storenode/store_keys.h"

enum { REGIONS_MAX = 4096 };

#define ULL(value) ((unsigned long long)(value))

struct found {
    const struct wire_region *region; /* in the arena */
    uint32_t store;
    bool ended; /* merged into another one there */
};

struct survey {
    struct world *world;
    struct arena arena;
    struct found *found;
    uint32_t count;
};

/* ---- reading region rows: 'g' | region id | STORE_REGION_STATE */

static void add_state(struct survey *survey, uint32_t store, struct bytes value)
{
    struct wire_region_state state;
    if (region_row_decode(arena_copy(&survey->arena, value), &survey->arena, &state) != ERR_OK ||
        !state.region) {
        world_fail(survey->world, "region", 0, "s%u has a region state that cannot be read", store);
        return;
    }
    /* A tombstone that was not merged is of a peer that was removed: the region goes on without it. */
    if (survey->count < REGIONS_MAX && (!state.tombstone || state.region->merging))
        survey->found[survey->count++] = (struct found){state.region, store, state.tombstone};
}

static void survey_store(struct survey *survey, struct world_node *store)
{
    struct bytes lower = bytes_of("g", 1), upper = bytes_of("h", 1);
    struct engine_iter *iter = engine_iter_new(store->disk, ENGINE_RAFT, lower, upper);
    engine_iter_seek(store->disk, iter, lower);
    while (engine_iter_valid(store->disk, iter)) {
        struct bytes key = engine_iter_key(store->disk, iter);
        if (key.size < 10)
            break;
        /* Straight to this region's state, and from there to the next region: logs are long. */
        uint64_t id = load_u64_be(key.data + 1);
        struct group_key state = group_key(id, STORE_REGION_STATE);
        engine_iter_seek(store->disk, iter, group_key_bytes(&state));
        if (engine_iter_valid(store->disk, iter) &&
            bytes_equal(engine_iter_key(store->disk, iter), group_key_bytes(&state)))
            add_state(survey, store->number, engine_iter_value(store->disk, iter));
        struct group_key next = group_key(id + 1, 0);
        engine_iter_seek(store->disk, iter, group_key_bytes(&next));
    }
    engine_iter_free(store->disk, iter);
}

static void survey_init(struct survey *survey, struct world *world)
{
    *survey = (struct survey){.world = world, .found = calloc(REGIONS_MAX, sizeof(struct found))};
    CHECK(survey->found);
    arena_init(&survey->arena);
    for (uint32_t number = 1; number <= world_options(world)->store_count; number++)
        survey_store(survey, world_store(world, number));
}

static void survey_fini(struct survey *survey)
{
    arena_fini(&survey->arena);
    free(survey->found);
}

/* ---- G1, G2 */

static bool is_newer(const struct wire_region *a, const struct wire_region *b)
{
    return a->epoch_version != b->epoch_version ? a->epoch_version > b->epoch_version : a->epoch_conf > b->epoch_conf;
}

static bool is_same(const struct wire_region *a, const struct wire_region *b)
{
    if (!bytes_equal(a->start_key, b->start_key) || !bytes_equal(a->end_key, b->end_key) ||
        a->peers_count != b->peers_count)
        return false;
    for (uint32_t i = 0; i < a->peers_count; i++)
        if (a->peers[i].id != b->peers[i].id || a->peers[i].store_id != b->peers[i].store_id)
            return false;
    return true;
}

static int by_id_and_age(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->region->id != y->region->id)
        return x->region->id < y->region->id ? -1 : 1;
    if (is_newer(x->region, y->region) || is_newer(y->region, x->region))
        return is_newer(x->region, y->region) ? -1 : 1;
    return (int)y->ended - (int)x->ended; /* it ended as it was */
}

static int by_start(const void *a, const void *b)
{
    return bytes_compare(((const struct found *)a)->region->start_key, ((const struct found *)b)->region->start_key);
}

/* Keeps the newest of each id, and checks that those of one age agree. */
static void keep_newest(struct survey *survey)
{
    uint32_t kept = 0;
    qsort(survey->found, survey->count, sizeof survey->found[0], by_id_and_age);
    for (uint32_t i = 0; i < survey->count; i++) {
        const struct wire_region *region = survey->found[i].region;
        const struct found *before = kept > 0 ? &survey->found[kept - 1] : NULL;
        if (!before || before->region->id != region->id)
            survey->found[kept++] = survey->found[i];
        else if (!is_newer(before->region, region) && !is_same(before->region, region))
            world_fail(survey->world, "region", region->id, "G2: s%u and s%u disagree about region %llu at one epoch",
                       before->store, survey->found[i].store, ULL(region->id));
    }
    survey->count = kept;
}

static void drop_ended(struct survey *survey)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < survey->count; i++)
        if (!survey->found[i].ended)
            survey->found[kept++] = survey->found[i];
    survey->count = kept;
}

static void check_cover(struct survey *survey)
{
    struct bytes expected = bytes_empty();
    qsort(survey->found, survey->count, sizeof survey->found[0], by_start);
    for (uint32_t i = 0; i < survey->count; i++) {
        const struct wire_region *region = survey->found[i].region;
        bool last = i + 1 == survey->count;
        if (!bytes_equal(region->start_key, expected) || (region->end_key.size == 0) != last) {
            world_fail(survey->world, "region", region->id, "G1: region %llu does not begin where the one before ends",
                       ULL(region->id));
            return;
        }
        expected = region->end_key;
    }
}

void check_region_ranges(struct world *world)
{
    struct survey survey;
    survey_init(&survey, world);
    keep_newest(&survey);
    /* A store that was away while the first regions were made knows only those it has got. */
    bool all = survey.count >= world_options(world)->region_count;
    drop_ended(&survey);
    if (all)
        check_cover(&survey);
    survey_fini(&survey);
}

uint32_t check_region_ended(struct world *world)
{
    struct survey survey;
    survey_init(&survey, world);
    uint32_t count = 0;
    qsort(survey.found, survey.count, sizeof survey.found[0], by_id_and_age);
    for (uint32_t i = 0; i < survey.count; i++)
        count += survey.found[i].ended && (i == 0 || survey.found[i - 1].region->id != survey.found[i].region->id ||
                                           !survey.found[i - 1].ended);
    survey_fini(&survey);
    return count;
}

/* ---- G3 */

/* What is expired lies there until some compaction drops it, on each store another: row.h. */
static uint64_t hash_rows(struct engine *disk, enum engine_cf cf, struct bytes lower, struct bytes upper,
                          uint64_t time_ms, bool *readable)
{
    uint64_t hash = time_ms;
    struct engine_iter *iter = engine_iter_new(disk, cf, lower, upper);
    for (engine_iter_seek(disk, iter, lower); engine_iter_valid(disk, iter); engine_iter_next(disk, iter)) {
        struct bytes key = engine_iter_key(disk, iter), value = engine_iter_value(disk, iter);
        if (cf == ENGINE_DEFAULT && row_is_expired(value, time_ms))
            continue;
        hash = XXH3_64bits_withSeed(key.data, key.size, hash);
        hash = XXH3_64bits_withSeed(value.data, value.size, hash);
    }
    *readable &= engine_iter_error(disk, iter, NULL) != ERR_CORRUPT;
    engine_iter_free(disk, iter);
    return hash;
}

/* In no particular order: each by itself. */
static uint64_t hash_tokens(const struct wire_snapshot_row *rows, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += XXH3_64bits_withSeed(rows[i].value.data, rows[i].value.size,
                                    XXH3_64bits(rows[i].key.data, rows[i].key.size));
    return sum;
}

/* What a snapshot of it would hold: rows, and the tokens as of what is applied, wherever they were saved last. */
static uint64_t hash_region(struct world_node *store, const struct wire_region *wire, bool *ret_readable)
{
    *ret_readable = true;
    uint64_t hash = 0;
    struct env env = store->env;
    struct region *region = NULL;
    struct raft_position applied = {0};
    struct snapshot_cut *cut = snapshot_cut_new(store->disk);
    env.engine = store->disk;
    struct region_time time;
    (void)region_fsm_load_time(store->disk, wire->id, &time);
    hash = time.last_expiry_ms;
    for (int cf = ENGINE_DEFAULT; cf <= ENGINE_WRITE; cf++)
        hash = hash * 31 + hash_rows(store->disk, (enum engine_cf)cf, wire->start_key, wire->end_key, time.now_ms, ret_readable);
    enum err code = region_from_wire(wire, &region);
    if (code == ERR_OK)
        code = region_fsm_load_applied(store->disk, wire->id, &applied.index, &applied.term, NULL);
    struct region_fsm *fsm = code == ERR_OK ? region_fsm_new(&env, NULL, region, 0, applied.index, applied.term, 1) : NULL;
    if (code == ERR_OK)
        code = region_fsm_cut(fsm, cut);
    hash = hash * 31 + (code == ERR_OK ? hash_tokens(cut->rows, cut->row_count) : store->number);
    *ret_readable &= code != ERR_CORRUPT;
    region_fsm_free(fsm);
    snapshot_cut_free(cut);
    region_free(region);
    return hash;
}

static void pass_expired(struct engine *disk, struct engine_iter *iter, uint64_t time_ms)
{
    while (time_ms > 0 && engine_iter_valid(disk, iter) && row_is_expired(engine_iter_value(disk, iter), time_ms))
        engine_iter_next(disk, iter);
}

/* "raft row 67..11: sizes 30 and 44": the first row that is not the same. */
static bool describe_difference(struct engine *a, struct engine *b, enum engine_cf cf, struct bytes lower,
                                struct bytes upper, uint64_t time_ms, char *text, size_t size)
{
    static const char *const cf_names[] = {"default", "lock", "write", "raft"};
    struct engine_iter *x = engine_iter_new(a, cf, lower, upper), *y = engine_iter_new(b, cf, lower, upper);
    engine_iter_seek(a, x, lower);
    engine_iter_seek(b, y, lower);
    bool differs = false;
    for (;;) {
        pass_expired(a, x, time_ms);
        pass_expired(b, y, time_ms);
        if (differs || !(engine_iter_valid(a, x) || engine_iter_valid(b, y)))
            break;
        struct bytes x_key = engine_iter_valid(a, x) ? engine_iter_key(a, x) : bytes_empty();
        struct bytes y_key = engine_iter_valid(b, y) ? engine_iter_key(b, y) : bytes_empty();
        struct bytes x_value = x_key.size ? engine_iter_value(a, x) : bytes_empty(),
                     y_value = y_key.size ? engine_iter_value(b, y) : bytes_empty();
        differs = !bytes_equal(x_key, y_key) || !bytes_equal(x_value, y_value);
        if (differs) {
            int used = snprintf(text, size, "%s row ", cf_names[cf]);
            struct bytes key = y_key.size == 0 || (x_key.size > 0 && bytes_compare(x_key, y_key) < 0) ? x_key : y_key;
            for (size_t i = 0; i < key.size && i < 24; i++)
                used += snprintf(text + used, size - (size_t)used, "%02x", key.data[i]);
            snprintf(text + used, size - (size_t)used, " (%s)",
                     bytes_equal(x_key, y_key) ? "values differ"
                     : bytes_equal(key, x_key) ? "only the first has it"
                                               : "only the second has it");
        } else {
            engine_iter_next(a, x);
            engine_iter_next(b, y);
        }
    }
    engine_iter_free(a, x);
    engine_iter_free(b, y);
    return differs;
}

static void report_difference(struct world *world, const struct found *a, const struct found *b)
{
    char text[256] = "";
    struct engine *x = world_store(world, a->store)->disk, *y = world_store(world, b->store)->disk;
    struct region_time time;
    (void)region_fsm_load_time(x, a->region->id, &time);
    struct group_key tokens = group_key(a->region->id, STORE_TOKENS),
                     end = group_key(a->region->id, STORE_TOKENS_EDGE + 1);
    for (int cf = ENGINE_DEFAULT; cf <= ENGINE_WRITE; cf++)
        if (describe_difference(x, y, (enum engine_cf)cf, a->region->start_key, a->region->end_key,
                                cf == ENGINE_DEFAULT ? time.now_ms : 0, text, sizeof text))
            break;
    if (!text[0])
        describe_difference(x, y, ENGINE_RAFT, group_key_bytes(&tokens), group_key_bytes(&end), 0, text, sizeof text);
    if (!text[0])
        snprintf(text, sizeof text, "what time it is there");
    world_fail(world, "region", a->region->id, "G3: s%u and s%u differ in region %llu: %s", a->store, b->store,
               ULL(a->region->id), text);
}

/* ---- G4 */

static uint64_t count_rows(struct engine *disk, enum engine_cf cf, struct bytes lower, struct bytes upper)
{
    uint64_t count = 0;
    struct engine_iter *iter = engine_iter_new(disk, cf, lower, upper);
    for (engine_iter_seek(disk, iter, lower); engine_iter_valid(disk, iter); engine_iter_next(disk, iter))
        count++;
    engine_iter_free(disk, iter);
    return count;
}

static bool has_region(const struct survey *survey, uint32_t store, region_id id)
{
    for (uint32_t i = 0; i < survey->count; i++)
        if (survey->found[i].store == store && survey->found[i].region->id == id)
            return true;
    return false;
}

/* Of a region that is not here any more: its tombstone. */
static void check_raft_rows(struct survey *survey, uint32_t store)
{
    struct engine *disk = world_store(survey->world, store)->disk;
    struct engine_iter *iter = engine_iter_new(disk, ENGINE_RAFT, bytes_of("g", 1), bytes_of("h", 1));
    for (engine_iter_seek(disk, iter, bytes_of("g", 1)); engine_iter_valid(disk, iter); engine_iter_next(disk, iter)) {
        struct bytes key = engine_iter_key(disk, iter);
        region_id id = key.size >= 10 ? load_u64_be(key.data + 1) : 0;
        if (id != 0 && key.data[9] != STORE_REGION_STATE && !has_region(survey, store, id)) {
            world_fail(survey->world, "region", id, "G4: s%u has a raft row (0x%02x) of region %llu, which is not there",
                       store, key.data[9], ULL(id));
            break;
        }
    }
    engine_iter_free(disk, iter);
}

static void trace_leftovers(struct survey *survey, uint32_t store, enum engine_cf cf)
{
    struct engine *disk = world_store(survey->world, store)->disk;
    struct engine_iter *iter = engine_iter_new(disk, cf, bytes_empty(), bytes_empty());
    for (engine_iter_seek(disk, iter, bytes_empty()); engine_iter_valid(disk, iter); engine_iter_next(disk, iter)) {
        struct bytes key = engine_iter_key(disk, iter);
        bool owned = false;
        char text[65] = "";
        for (uint32_t i = 0; i < survey->count && !owned; i++) {
            const struct wire_region *region = survey->found[i].region;
            owned = survey->found[i].store == store && bytes_compare(region->start_key, key) <= 0 &&
                    (region->end_key.size == 0 || bytes_compare(key, region->end_key) < 0);
        }
        for (size_t i = 0; i < key.size && i < 32; i++)
            snprintf(text + 2 * i, 3, "%02x", key.data[i]);
        if (!owned)
            sim_trace(world_sim(survey->world), "s%u has a row of nobody: %s", store, text);
    }
    engine_iter_free(disk, iter);
}

static void check_leftovers(struct survey *survey, uint32_t store)
{
    struct engine *disk = world_store(survey->world, store)->disk;
    for (int cf = ENGINE_DEFAULT; cf <= ENGINE_WRITE; cf++) {
        uint64_t all = count_rows(disk, (enum engine_cf)cf, bytes_empty(), bytes_empty()), owned = 0;
        for (uint32_t i = 0; i < survey->count; i++)
            if (survey->found[i].store == store)
                owned += count_rows(disk, (enum engine_cf)cf, survey->found[i].region->start_key,
                                    survey->found[i].region->end_key);
        if (all != owned)
            trace_leftovers(survey, store, (enum engine_cf)cf);
        if (all != owned)
            world_fail(survey->world, "region", 0, "G4: s%u has %llu rows, and %llu in the regions that are there", store,
                       ULL(all), ULL(owned));
    }
    check_raft_rows(survey, store);
}

void check_region_replicas(struct world *world)
{
    struct survey survey;
    survey_init(&survey, world);
    drop_ended(&survey);
    qsort(survey.found, survey.count, sizeof survey.found[0], by_id_and_age);
    uint64_t first = 0;
    const struct found *compared = NULL; /* the last that could be read: damage that nobody has met is no difference */
    for (uint32_t i = 0; i < survey.count; i++) {
        const struct found *found = &survey.found[i];
        bool readable;
        uint64_t hash = hash_region(world_store(world, found->store), found->region, &readable);
        if (!readable)
            continue;
        if (!compared || compared->region->id != found->region->id)
            first = hash;
        else if (hash != first)
            report_difference(world, compared, found);
        compared = found;
    }
    for (uint32_t number = 1; number <= world_options(world)->store_count; number++)
        check_leftovers(&survey, number);
    survey_fini(&survey);
}
