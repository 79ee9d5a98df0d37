/* split_keys, bootstrap: the first regions cover the key space, and realistic keys and leaders spread evenly. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/rng.h"
#include "pd/bootstrap.h"
#include "pd/region_tree.h"
#include "pd/split_keys.h"

static const char base62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static const uint32_t counts[] = {
    1, 2, 3, 16, 62, 64, 100, 256, 320, 321, 1000, 1024, 4096, 10000, SPLIT_KEYS_REGIONS_MAX};
enum { COUNTS = sizeof(counts) / sizeof(counts[0]) };

static void boundaries_increase_and_lie_in_the_raw_space(void **state)
{
    (void)state;
    for (size_t c = 0; c < COUNTS; c++) {
        struct arena arena;
        arena_init(&arena);
        struct bytes *keys = split_keys_make(counts[c], &arena);
        for (uint32_t i = 0; i + 1 < counts[c]; i++) {
            assert_in_range(keys[i].size, 2, SPLIT_KEY_SIZE_MAX);
            assert_int_equal(keys[i].data[0], 'r');
            assert_true(i == 0 || bytes_compare(keys[i - 1], keys[i]) < 0);
        }
        arena_fini(&arena);
    }
}

/* The region of a key: how many boundaries are not above it. */
static uint32_t region_index(const struct bytes *keys, uint32_t count, struct bytes key)
{
    uint32_t low = 0, high = count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bytes_compare(keys[middle], key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void random_base62_keys_spread_within_half_of_even(void **state)
{
    (void)state;
    for (size_t c = 0; c < COUNTS && counts[c] <= 1024; c++) {
        struct arena arena;
        struct rng rng;
        uint32_t count = counts[c];
        uint32_t *hits = calloc(count, sizeof(*hits));
        arena_init(&arena);
        rng_init(&rng, count, "base62");
        struct bytes *keys = split_keys_make(count, &arena);
        for (uint64_t i = 0; i < (uint64_t)count * 1000; i++) {
            char key[13] = "r";
            for (int k = 1; k < 13; k++)
                key[k] = base62[rng_below(&rng, 62)];
            hits[region_index(keys, count, bytes_of(key, sizeof(key)))]++;
        }
        uint32_t least = UINT32_MAX, most = 0;
        for (uint32_t i = 0; i < count; i++) {
            least = hits[i] < least ? hits[i] : least;
            most = hits[i] > most ? hits[i] : most;
        }
        print_message("%u regions: least %.2f, most %.2f of even\n", count, least / 1000.0, most / 1000.0);
        assert_in_range(least, 500, 1000);
        assert_in_range(most, 1000, 1500);
        free(hits);
        arena_fini(&arena);
    }
}

static void bytes_that_are_no_letters_have_their_share_too(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    /* 4 regions: the quantiles of 62 equal symbols are 15.5, 31, 46.5; what is unlikely shifts them by less than one.
     */
    struct bytes *keys = split_keys_make(4, &arena);
    assert_in_range(keys[0].data[1], 'E', 'G');
    assert_in_range(keys[1].data[1], 'U', 'W');
    assert_in_range(keys[2].data[1], 'j', 'l');
    arena_fini(&arena);
}

struct built {
    struct region_tree *tree;
    uint32_t commands;
    bool finished;
    uint64_t first_leaders[STORE_COUNT_MAX + 1], peers[STORE_COUNT_MAX + 1];
};

static void build(uint32_t store_count, uint32_t region_count, uint32_t replicas, struct built *ret)
{
    enum { FIRST_ID = 100 };
    uint64_t stores[STORE_COUNT_MAX];
    struct arena arena;
    struct bootstrap bootstrap;
    struct wire_pd_command command;
    uint8_t *used = calloc(FIRST_ID + bootstrap_id_count(region_count, replicas), 1);
    *ret = (struct built){.tree = region_tree_new()};
    for (uint32_t i = 0; i < store_count; i++)
        stores[i] = i + 1;
    arena_init(&arena);
    bootstrap_init(&bootstrap, stores, store_count, region_count, replicas, FIRST_ID, &arena);
    while (bootstrap_next(&bootstrap, &arena, &command)) {
        assert_false(ret->finished);
        assert_in_range(command.regions_count, 1, BOOTSTRAP_COMMAND_REGIONS_MAX);
        ret->finished = command.bootstrapped;
        ret->commands++;
        for (uint32_t i = 0; i < command.regions_count; i++) {
            const struct wire_region *region = command.regions[i].region;
            assert_int_equal(region_check_wire(region, NULL), ERR_OK);
            assert_int_equal(region->epoch_conf, 1);
            assert_int_equal(region->epoch_version, 1);
            assert_int_equal(region->peers_count, replicas);
            assert_int_equal(region_tree_insert(ret->tree, region, NULL, NULL), ERR_OK);
            assert_int_equal(used[region->id]++, 0);
            ret->first_leaders[region->peers[0].store_id]++;
            for (uint32_t k = 0; k < replicas; k++) {
                assert_int_equal(used[region->peers[k].id]++, 0);
                ret->peers[region->peers[k].store_id]++;
            }
        }
    }
    for (uint32_t i = FIRST_ID; i < FIRST_ID + bootstrap_id_count(region_count, replicas); i++)
        assert_int_equal(used[i], 1);
    free(used);
    arena_fini(&arena);
}

static void regions_cover_the_key_space_and_spread_over_the_stores(void **state)
{
    (void)state;
    const uint32_t cases[][3] = {{1, 1, 1},    {3, 16, 3},    {3, 64, 3}, {5, 1000, 3},
                                 {5, 1001, 3}, {7, 10000, 5}, {4, 10, 1}};
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        uint32_t stores = cases[c][0], regions = cases[c][1], replicas = cases[c][2];
        struct built built;
        struct bytes start, end;
        build(stores, regions, replicas, &built);
        assert_true(built.finished);
        assert_int_equal(built.commands, (regions + BOOTSTRAP_COMMAND_REGIONS_MAX - 1) / BOOTSTRAP_COMMAND_REGIONS_MAX);
        assert_int_equal(region_tree_count(built.tree), regions);
        assert_false(region_tree_gap(built.tree, bytes_empty(), &start, &end));
        for (uint32_t store = 1; store <= stores; store++) {
            assert_in_range(built.first_leaders[store], regions / stores, regions / stores + 1);
            assert_in_range(built.peers[store], regions * replicas / stores - replicas,
                            regions * replicas / stores + replicas);
        }
        region_tree_free(built.tree);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boundaries_increase_and_lie_in_the_raw_space),
        cmocka_unit_test(random_base62_keys_spread_within_half_of_even),
        cmocka_unit_test(bytes_that_are_no_letters_have_their_share_too),
        cmocka_unit_test(regions_cover_the_key_space_and_spread_over_the_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
