/* pd_fsm: the same commands make the same truth, in memory, from the rows, and from rows and the rest of the log. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "env/engine_mem.h"
#include "pd/bootstrap.h"
#include "pd/pd_fsm.h"
#include "pd/tso.h"

struct world {
    struct engine *engine;
    struct engine_batch *batch;
    struct pd_fsm *fsm;
    raft_index index;
    struct buf command; /* scratch */
};

static void world_init(struct world *world)
{
    *world = (struct world){0};
    assert_int_equal(engine_mem_new(&world->engine), ERR_OK);
    world->batch = engine_batch_new(world->engine);
    world->fsm = pd_fsm_new();
    buf_init(&world->command, FRAME_SIZE_MAX);
}

static void world_fini(struct world *world)
{
    buf_fini(&world->command);
    pd_fsm_free(world->fsm);
    engine_batch_free(world->engine, world->batch);
    engine_mem_free(world->engine);
}

static struct pd_fsm_result apply_bytes(struct world *world, struct bytes command)
{
    struct pd_fsm_result result;
    pd_fsm_apply(world->fsm, command, world->engine, world->batch, &result);
    pd_fsm_set_applied(world->fsm, ++world->index, 1);
    pd_fsm_check(world->fsm);
    return result;
}

static struct pd_fsm_result apply(struct world *world, const struct wire_pd_command *command)
{
    assert_int_equal(wire_encode_pd_command(command, &world->command), ERR_OK);
    return apply_bytes(world, buf_bytes(&world->command));
}

/* Writes what is in the batch, then loads the rows into a new truth. */
static struct pd_fsm *reload(struct world *world)
{
    pd_fsm_put_applied(world->fsm, world->engine, world->batch);
    assert_int_equal(engine_write(world->engine, world->batch, true, NULL), ERR_OK);
    engine_batch_clear(world->engine, world->batch);
    struct pd_fsm *loaded = pd_fsm_new();
    struct error error = {0};
    if (pd_fsm_load(loaded, world->engine, &error) != ERR_OK)
        fail_msg("%s", error.text);
    pd_fsm_check(loaded);
    return loaded;
}

static void expect_reload_is_equal(struct world *world)
{
    struct pd_fsm *loaded = reload(world);
    assert_int_equal(pd_fsm_applied_index(loaded), world->index);
    assert_true(pd_fsm_digest(loaded) == pd_fsm_digest(world->fsm));
    pd_fsm_free(loaded);
}

/* ---- commands */

static struct wire_pd_command put_store(uint64_t id, uint64_t token, const char *address)
{
    static struct wire_store store;
    store = (struct wire_store){.id = id, .address = bytes_of_string(address), .version = bytes_of_string("0.1.0")};
    return (struct wire_pd_command){.kind = WIRE_PD_COMMAND_KIND_PUT_STORE, .store = &store, .token = token};
}

static struct wire_pd_command alloc_ids(uint32_t count)
{
    return (struct wire_pd_command){.kind = WIRE_PD_COMMAND_KIND_ALLOC_IDS, .count = count};
}

static uint64_t bootstrap(struct world *world, uint32_t region_count, uint32_t commands_max)
{
    const uint64_t stores[] = {1, 2, 3};
    struct arena arena;
    struct bootstrap plan;
    struct wire_pd_command command = alloc_ids(bootstrap_id_count(region_count, 3));
    uint64_t first_id = apply(world, &command).first_id;
    enum err code = ERR_OK;
    arena_init(&arena);
    bootstrap_init(&plan, stores, 3, region_count, 3, first_id, &arena);
    while (commands_max-- > 0 && bootstrap_next(&plan, &arena, &command))
        code = apply(world, &command).code;
    assert_int_equal(code, ERR_OK);
    arena_fini(&arena);
    return first_id;
}

/* ---- random histories */

struct random_command {
    struct rng *rng;
    struct world *world;
    struct arena *arena;
};

static struct bytes random_key(const struct random_command *random)
{
    uint64_t size = rng_below(random->rng, 4);
    uint8_t *key = arena_alloc(random->arena, size + 1);
    for (uint64_t i = 0; i < size; i++)
        key[i] = (uint8_t)('a' + rng_below(random->rng, 4));
    return bytes_of(key, size);
}

static struct wire_route random_route(const struct random_command *random)
{
    struct wire_region *region = arena_alloc(random->arena, sizeof(*region));
    region->id = rng_between(random->rng, 1, 30);
    region->start_key = random_key(random);
    region->end_key = random_key(random);
    if (region->end_key.size && bytes_compare(region->start_key, region->end_key) > 0) {
        struct bytes start = region->end_key;
        region->end_key = region->start_key;
        region->start_key = start;
    }
    region->epoch_conf = rng_between(random->rng, 1, 3);
    region->epoch_version = rng_between(random->rng, 1, 4) + random->world->index / 20;
    region->peers_count = (uint32_t)rng_between(random->rng, 1, 3);
    region->peers = arena_alloc(random->arena, region->peers_count * sizeof(*region->peers));
    for (uint32_t i = 0; i < region->peers_count; i++)
        region->peers[i] =
            (struct wire_peer){.id = 1 + i, .store_id = 1 + i, .role = (uint8_t)rng_below(random->rng, 2)};
    return (struct wire_route){.region = region};
}

static void random_regions(const struct random_command *random, struct wire_pd_command *command)
{
    command->regions_count = (uint32_t)rng_between(random->rng, 0, 4);
    command->regions = arena_alloc(random->arena, (command->regions_count + 1) * sizeof(*command->regions));
    for (uint32_t i = 0; i < command->regions_count; i++)
        command->regions[i] = random_route(random);
    command->bootstrapped = rng_chance(random->rng, 1, 4);
}

static void random_store(const struct random_command *random, struct wire_pd_command *command)
{
    struct wire_store *store = arena_alloc(random->arena, sizeof(*store));
    char *address = arena_alloc(random->arena, 32);
    snprintf(address, 32, "tcp://h:%u", (unsigned)rng_below(random->rng, 5));
    *store = (struct wire_store){.id = rng_below(random->rng, 40),
                                 .address = bytes_of_string(address),
                                 .started_at_ms = rng_below(random->rng, 100),
                                 .capacity_size = rng_next(random->rng)};
    command->store = rng_chance(random->rng, 1, 20) ? NULL : store;
    command->token = rng_below(random->rng, 12);
}

static struct wire_pd_command make_random(const struct random_command *random)
{
    struct wire_pd_command command = {
        .kind = (uint8_t)rng_below(random->rng, 6),
        .cluster_id = rng_below(random->rng, 3),
        .count = (uint32_t)rng_below(random->rng, 20),
        .timestamp_limit = rng_chance(random->rng, 1, 20) ? rng_next(random->rng) : rng_below(random->rng, 100000)};
    if (command.kind == WIRE_PD_COMMAND_KIND_PUT_STORE)
        random_store(random, &command);
    if (command.kind == WIRE_PD_COMMAND_KIND_PUT_REGIONS)
        random_regions(random, &command);
    return command;
}

static void refused_changes_nothing(const struct pd_fsm_result *result, uint64_t before, uint64_t after)
{
    /* Regions of an unfinished bootstrap stay even if the command did not finish it. */
    if (result->code != ERR_OK && result->code != ERR_CONDITION_FAILED)
        assert_true(before == after);
}

static void replays_and_reloads_come_to_the_same_truth(void **state)
{
    (void)state;
    uint32_t codes[128] = {0};
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct rng rng;
        struct arena arena;
        struct world first, second;
        rng_init(&rng, seed, "fsm");
        arena_init(&arena);
        world_init(&first);
        world_init(&second);
        for (int step = 0; step < 150; step++) {
            const struct random_command random = {&rng, &first, &arena};
            struct wire_pd_command command = make_random(&random);
            uint64_t before = pd_fsm_digest(first.fsm);
            struct pd_fsm_result result = apply(&first, &command), again;
            codes[result.code]++;
            refused_changes_nothing(&result, before, pd_fsm_digest(first.fsm));
            again = apply(&second, &command);
            assert_memory_equal(&result, &again, sizeof(result));
            assert_true(pd_fsm_digest(first.fsm) == pd_fsm_digest(second.fsm));
            if (rng_chance(&rng, 1, 10))
                expect_reload_is_equal(&first);
            if (rng_chance(&rng, 1, 20)) { /* the second one goes on from its rows */
                struct pd_fsm *loaded = reload(&second);
                pd_fsm_free(second.fsm);
                second.fsm = loaded;
            }
            arena_reset(&arena);
        }
        expect_reload_is_equal(&first);
        world_fini(&first);
        world_fini(&second);
        arena_fini(&arena);
    }
    /* Every way to end was taken. */
    const enum err ends[] = {ERR_OK, ERR_CORRUPT, ERR_CLUSTER_NOT_MATCH, ERR_EXISTS, ERR_INVALID, ERR_CONDITION_FAILED};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (codes[ends[i]] == 0)
            fail_msg("no command ended with %s", err_name(ends[i]));
}

/* ---- rules */

static void a_token_names_one_store_for_ever(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct wire_pd_command command = alloc_ids(10);
    apply(&world, &command);
    command = put_store(1, 77, "tcp://a:1");
    assert_int_equal(apply(&world, &command).code, ERR_OK);
    command = put_store(2, 77, "tcp://a:2");
    struct pd_fsm_result result = apply(&world, &command);
    assert_int_equal(result.code, ERR_EXISTS);
    assert_int_equal(result.store_id, 1);
    assert_null(pd_fsm_find_store(world.fsm, 2));
    command = put_store(1, 77, "tcp://a:3"); /* the same one again: its address is new */
    assert_int_equal(apply(&world, &command).code, ERR_OK);
    assert_string_equal(pd_fsm_find_store_token(world.fsm, 77)->address, "tcp://a:3");
    expect_reload_is_equal(&world);
    world_fini(&world);
}

static void a_store_id_that_was_never_allocated_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct wire_pd_command command = put_store(1, 5, "tcp://a:1");
    assert_int_equal(apply(&world, &command).code, ERR_INVALID);
    command = alloc_ids(1);
    assert_int_equal(apply(&world, &command).first_id, 1);
    command = put_store(1, 5, "tcp://a:1");
    assert_int_equal(apply(&world, &command).code, ERR_OK);
    world_fini(&world);
}

static void the_number_of_stores_is_bounded(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct wire_pd_command command = alloc_ids(STORE_COUNT_MAX + 10);
    apply(&world, &command);
    for (uint64_t id = 1; id <= STORE_COUNT_MAX; id++) {
        command = put_store(id, id, "tcp://a:1");
        assert_int_equal(apply(&world, &command).code, ERR_OK);
    }
    command = put_store(STORE_COUNT_MAX + 1, STORE_COUNT_MAX + 1, "tcp://a:1");
    assert_int_equal(apply(&world, &command).code, ERR_INVALID);
    expect_reload_is_equal(&world);
    world_fini(&world);
}

static void an_interrupted_bootstrap_begins_anew(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    bootstrap(&world, 2500, 2); /* 2 of 3 commands */
    assert_false(pd_fsm_bootstrapped(world.fsm));
    assert_int_equal(region_tree_count(pd_fsm_regions(world.fsm)), 2000);
    expect_reload_is_equal(&world);
    uint64_t first_id = bootstrap(&world, 2500, 3);
    assert_true(pd_fsm_bootstrapped(world.fsm));
    assert_int_equal(region_tree_count(pd_fsm_regions(world.fsm)), 2500);
    assert_int_equal(region_node_id(region_tree_find(pd_fsm_regions(world.fsm), bytes_empty())), first_id);
    expect_reload_is_equal(&world);
    world_fini(&world);
}

static void ten_thousand_first_regions_fit(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    bootstrap(&world, 10000, UINT32_MAX);
    assert_true(pd_fsm_bootstrapped(world.fsm));
    assert_int_equal(region_tree_count(pd_fsm_regions(world.fsm)), 10000);
    expect_reload_is_equal(&world);
    world_fini(&world);
}

static void a_second_bootstrap_is_refused(void **state)
{
    (void)state;
    struct world world;
    struct wire_peer peer = {.id = 1, .store_id = 1};
    struct wire_region region = {.id = 1, .epoch_conf = 9, .epoch_version = 9, .peers = &peer, .peers_count = 1};
    struct wire_route route = {.region = &region};
    struct wire_pd_command command = {
        .kind = WIRE_PD_COMMAND_KIND_PUT_REGIONS, .bootstrapped = true, .regions = &route, .regions_count = 1};
    world_init(&world);
    bootstrap(&world, 16, 1);
    assert_int_equal(apply(&world, &command).code, ERR_EXISTS);
    assert_int_equal(region_tree_count(pd_fsm_regions(world.fsm)), 16);
    command.bootstrapped = false; /* but a merge of all of them is fine */
    assert_int_equal(apply(&world, &command).code, ERR_OK);
    assert_int_equal(region_tree_count(pd_fsm_regions(world.fsm)), 1);
    expect_reload_is_equal(&world);
    world_fini(&world);
}

/* Somebody is wrong about the peers; whoever it is, memory and disk must say the same. */
static void a_region_told_twice_at_one_epoch_is_kept_as_it_was(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    bootstrap(&world, 4, 1);
    struct region_node *node = region_tree_seek(pd_fsm_regions(world.fsm), bytes_empty());
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    struct wire_region region;
    region_node_wire(node, peers, &region);
    uint64_t before = pd_fsm_digest(world.fsm);
    peers[0].role = WIRE_PEER_ROLE_LEARNER;
    struct wire_route route = {.region = &region};
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_PUT_REGIONS, .regions = &route, .regions_count = 1};
    assert_int_equal(apply(&world, &command).code, ERR_OK);
    assert_true(pd_fsm_digest(world.fsm) == before);
    expect_reload_is_equal(&world);
    world_fini(&world);
}

static void what_is_no_command_changes_nothing(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    bootstrap(&world, 16, 1);
    uint64_t before = pd_fsm_digest(world.fsm);
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_TIMESTAMP_WINDOW, .timestamp_limit = UINT64_MAX};
    assert_int_equal(apply(&world, &command).code, ERR_CORRUPT);
    command = (struct wire_pd_command){.kind = 200};
    assert_int_equal(apply(&world, &command).code, ERR_UNSUPPORTED);
    struct rng rng;
    rng_init(&rng, 1, "garbage");
    for (int i = 0; i < 2000; i++) {
        uint8_t garbage[64];
        for (size_t k = 0; k < sizeof(garbage); k++)
            garbage[k] = (uint8_t)rng_next(&rng);
        assert_int_equal(apply_bytes(&world, bytes_of(garbage, rng_below(&rng, sizeof(garbage)))).code, ERR_CORRUPT);
    }
    assert_true(pd_fsm_digest(world.fsm) == before);
    world_fini(&world);
}

/* ---- rows that are not ours */

static void expect_load_fails(struct engine *engine, const char *text)
{
    struct error error = {0};
    struct pd_fsm *fsm = pd_fsm_new();
    assert_int_equal(pd_fsm_load(fsm, engine, &error), ERR_CORRUPT);
    if (!strstr(error.text, text))
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
    pd_fsm_free(fsm);
}

static void overwrite(struct world *world, const char *key, size_t key_size, const char *value, size_t value_size)
{
    struct engine_batch *batch = engine_batch_new(world->engine);
    engine_batch_put(world->engine, batch, ENGINE_DEFAULT, bytes_of(key, key_size), bytes_of(value, value_size));
    assert_int_equal(engine_write(world->engine, batch, true, NULL), ERR_OK);
    engine_batch_free(world->engine, batch);
}

static void damaged_rows_are_named(void **state)
{
    (void)state;
    const struct {
        const char *key;
        size_t key_size;
        const char *value;
        size_t value_size;
        const char *text;
    } cases[] = {
        {"c", 1, "\1", 1, "row 'c'"},
        {"c", 1, "\2aaaaaaaa\1", 10, "row 'c'"},
        {"i", 1, "\1\0\0\0\0\0\0\0\0", 9, "next id"},
        {"i", 1, "\1\377\0\0\0\0\0\0\0", 9, "next id"},
        {"i", 1, "\1\0\0\0\0\0\0\0\2", 9, "next id"}, /* ids above it are in use */
        {"t", 1, "\1\377\0\0\0\0\0\0\0", 9, "limit"},
        {"a", 1, "\1aaa", 4, "row 'a'"},
        {"s\0\0\0\0\0\0\0\1", 9, "\1\0\0\0\0\0\0\0garbage garbage", 23, "row 's' 1"},
        {"g\0\0\0\0\0\0\0\7", 9, "\1\0\0\0\0\0\0\0garbage garbage", 23, "row 'g' 7"},
        {"g\0\0\0\0\0\0\0\7", 9, "\1", 1, "row 'g' 7"},
        {"k\0\0\0\0\0\0\0\7", 9, "\1\0\0\0\0\0\0\0\11", 9, "store 9"}, /* a token without its store */
        {"z", 1, "", 0, "row 'z'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world world;
        world_init(&world);
        bootstrap(&world, 16, 1);
        pd_fsm_free(reload(&world));
        overwrite(&world, cases[i].key, cases[i].key_size, cases[i].value, cases[i].value_size);
        expect_load_fails(world.engine, cases[i].text);
        world_fini(&world);
    }
}

static void a_bootstrapped_cluster_without_a_region_is_refused(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    overwrite(&world, "i", 1, "\1\0\0\0\0\0\0\0\7", 9);
    overwrite(&world, "c", 1, "\1aaaaaaaa\1", 10);
    expect_load_fails(world.engine, "no region");
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_and_reloads_come_to_the_same_truth),
        cmocka_unit_test(a_token_names_one_store_for_ever),
        cmocka_unit_test(a_store_id_that_was_never_allocated_is_refused),
        cmocka_unit_test(the_number_of_stores_is_bounded),
        cmocka_unit_test(an_interrupted_bootstrap_begins_anew),
        cmocka_unit_test(ten_thousand_first_regions_fit),
        cmocka_unit_test(a_second_bootstrap_is_refused),
        cmocka_unit_test(what_is_no_command_changes_nothing),
        cmocka_unit_test(a_region_told_twice_at_one_epoch_is_kept_as_it_was),
        cmocka_unit_test(damaged_rows_are_named),
        cmocka_unit_test(a_bootstrapped_cluster_without_a_region_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
