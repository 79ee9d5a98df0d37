/* region_tree: one region per key at its newest epoch, compared with a list that is searched from end to end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/rng.h"
#include "pd/region_tree.h"

/* Keys are 0 .. KEYS-1, written as two bytes; KEYS is the end of the key space, 0 its start (the empty key). */
enum { KEYS = 64, IDS = 24, STEPS = 20000 };

struct model_region {
    bool there;
    uint64_t conf, version;
    uint32_t start, end;
};

static uint8_t key_bytes[KEYS + 1][2];

static struct bytes key_of(uint32_t key)
{
    key_bytes[key][0] = 'k';
    key_bytes[key][1] = (uint8_t)key;
    return key == 0 || key == KEYS ? bytes_empty() : bytes_of(key_bytes[key], 2);
}

static struct wire_region region_of(uint64_t id, uint32_t start, uint32_t end, uint64_t conf, uint64_t version)
{
    static struct wire_peer peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = (struct wire_peer){.id = 1000 * id + i + 1, .store_id = 1 + (id + i) % 5};
    return (struct wire_region){.id = id,
                                .start_key = key_of(start),
                                .end_key = key_of(end),
                                .epoch_conf = conf,
                                .epoch_version = version,
                                .peers = peers,
                                .peers_count = 3};
}

/* The epoch rule once more, in its simplest words. */
static bool model_insert(struct model_region *model, uint64_t id, struct model_region new_region)
{
    struct model_region *old = &model[id];
    if (old->there && (new_region.conf < old->conf || new_region.version < old->version))
        return false;
    if (old->there && new_region.conf == old->conf && new_region.version == old->version)
        return new_region.start == old->start && new_region.end == old->end;
    for (uint64_t other = 1; other < IDS; other++)
        if (other != id && model[other].there && model[other].start < new_region.end &&
            new_region.start < model[other].end && model[other].version >= new_region.version)
            return false;
    for (uint64_t other = 1; other < IDS; other++)
        if (model[other].start < new_region.end && new_region.start < model[other].end)
            model[other].there = false;
    *old = new_region;
    return true;
}

static uint64_t model_find(const struct model_region *model, uint32_t key)
{
    for (uint64_t id = 1; id < IDS; id++)
        if (model[id].there && model[id].start <= key && key < model[id].end)
            return id;
    return 0;
}

static uint64_t id_or_0(const struct region_node *node)
{
    return node ? region_node_id(node) : 0;
}

static void compare_scan(const struct region_tree *tree, const struct model_region *model)
{
    struct region_node *node = region_tree_seek(tree, bytes_empty());
    uint64_t count = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        uint64_t id = model_find(model, key);
        if (id == 0 || model[id].start != key)
            continue;
        assert_int_equal(id_or_0(node), id);
        node = region_tree_next(tree, node);
        count++;
    }
    assert_null(node);
    assert_int_equal(count, region_tree_count(tree));
}

static void compare_gap(const struct region_tree *tree, const struct model_region *model)
{
    struct bytes start, end;
    uint32_t first = 0, behind;
    while (first < KEYS && model_find(model, first) != 0)
        first++;
    assert_int_equal(region_tree_gap(tree, bytes_empty(), &start, &end), first < KEYS);
    if (first == KEYS)
        return;
    for (behind = first; behind < KEYS && model_find(model, behind) == 0;)
        behind++;
    assert_true(bytes_equal(start, key_of(first)));
    assert_true(bytes_equal(end, key_of(behind)));
}

static void compare(const struct region_tree *tree, const struct model_region *model)
{
    region_tree_check(tree);
    for (uint32_t key = 0; key < KEYS; key++)
        assert_int_equal(id_or_0(region_tree_find(tree, key_of(key))), model_find(model, key));
    for (uint32_t key = 1; key <= KEYS; key++)
        assert_int_equal(id_or_0(region_tree_find_previous(tree, key_of(key))), model_find(model, key - 1));
    for (uint64_t id = 1; id < IDS; id++)
        assert_int_equal(id_or_0(region_tree_find_id(tree, id)), model[id].there ? id : 0);
    compare_scan(tree, model);
    compare_gap(tree, model);
}

/* So that leaders come and go under the inserts; region_tree_check then compares the stores' arrays and sums. */
static void see_by_chance(struct region_tree *tree, uint64_t id, struct rng *rng)
{
    struct region_node *node = region_tree_find_id(tree, id);
    if (!node)
        return;
    const struct region_seen seen = {.leader_peer = rng_chance(rng, 1, 5) ? 0 : 1000 * id + rng_between(rng, 1, 3),
                                     .approximate_size = rng_below(rng, 1000),
                                     .read_load = (uint32_t)rng_below(rng, 100),
                                     .write_load = (uint32_t)rng_below(rng, 100)};
    region_tree_see(tree, node, &seen);
    assert_int_equal(region_node_seen(node).leader_peer, seen.leader_peer);
}

static void agrees_with_a_list_under_random_inserts(void **state)
{
    (void)state;
    uint32_t taken = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "region_tree");
        struct region_tree *tree = region_tree_new();
        struct model_region model[IDS] = {{0}};
        for (int step = 0; step < STEPS / 4; step++) {
            uint64_t id = rng_between(&rng, 1, IDS - 1);
            uint32_t start = (uint32_t)rng_below(&rng, KEYS);
            uint32_t end =
                start + 1 + (uint32_t)rng_below(&rng, rng_chance(&rng, 1, 3) ? KEYS - start : 1 + (KEYS - start) / 8);
            /* Epochs drift up, so that about half of the inserts are newer than what is there. */
            uint64_t version = 1 + (uint64_t)step / 50 + rng_below(&rng, 6);
            struct model_region region = {true, 1 + rng_below(&rng, 2) + (uint64_t)step / 100, version, start, end};
            struct wire_region wire = region_of(id, start, end, region.conf, version);
            bool expected = model_insert(model, id, region);
            assert_int_equal(region_tree_insert(tree, &wire, NULL, NULL), expected ? ERR_OK : ERR_EPOCH_NOT_MATCH);
            taken += expected;
            see_by_chance(tree, id, &rng);
            if (step % 20 == 0)
                compare(tree, model);
        }
        compare(tree, model);
        region_tree_free(tree);
    }
    assert_in_range(taken, STEPS / 10, STEPS * 9 / 10); /* both outcomes were really tried */
}

/* So many that the order has many runs, whose first bytes are all the same; then wide regions push out hundreds. */
static void order_holds_with_thousands_of_regions_and_long_common_prefixes(void **state)
{
    (void)state;
    enum { COUNT = 6000, WIDE = 40 };
    static uint32_t order[COUNT], owner[COUNT]; /* owner: the region of each key */
    for (int sorted = 0; sorted < 3; sorted++) { /* they come by chance, ascending, descending */
        struct region_tree *tree = region_tree_new();
        struct rng rng;
        uint8_t start[16] = "rtable-of-all", end[16] = "rtable-of-all";
        rng_init(&rng, (uint64_t)sorted, "order");
        memset(owner, 0, sizeof(owner));
        for (uint32_t i = 0; i < COUNT; i++)
            order[i] = sorted == 2 ? COUNT - 1 - i : i;
        for (uint32_t i = COUNT - 1; sorted == 0 && i > 0; i--) {
            uint32_t other = (uint32_t)rng_below(&rng, i + 1), kept = order[i];
            order[i] = order[other];
            order[other] = kept;
        }
        for (uint32_t i = 0; i < COUNT + WIDE; i++) {
            bool wide = i >= COUNT;
            uint32_t from = wide ? (uint32_t)rng_below(&rng, COUNT - 400) : order[i];
            uint32_t to = from + (wide ? 1 + (uint32_t)rng_below(&rng, 399) : 1);
            struct wire_region region = region_of(i + 1, 0, KEYS, 1, wide ? i : 1);
            store_u32_be(start + 12, from);
            store_u32_be(end + 12, to);
            region.start_key = bytes_of(start, 16);
            region.end_key = bytes_of(end, 16);
            assert_int_equal(region_tree_insert(tree, &region, NULL, NULL), ERR_OK);
            for (uint32_t key = 0; key < COUNT; key++) /* whom it overlaps is gone whole */
                for (uint32_t k = from; wide && k < to && owner[key] != 0; k++)
                    if (owner[k] == owner[key] && (key < from || key >= to))
                        owner[key] = 0;
            for (uint32_t key = from; key < to; key++)
                owner[key] = i + 1;
            if (i % 1000 == 0 || wide)
                region_tree_check(tree);
        }
        for (uint32_t key = 0; key < COUNT; key++) {
            store_u32_be(start + 12, key);
            assert_int_equal(id_or_0(region_tree_find(tree, bytes_of(start, 16))), owner[key]);
            store_u32_be(start + 12, key + 1);
            assert_int_equal(id_or_0(region_tree_find_previous(tree, bytes_of(start, 16))), owner[key]);
        }
        region_tree_free(tree);
    }
}

static void a_split_reported_in_either_order_ends_with_both_halves(void **state)
{
    (void)state;
    for (int right_first = 0; right_first < 2; right_first++) {
        struct region_tree *tree = region_tree_new();
        struct wire_region whole = region_of(1, 0, KEYS, 1, 1);
        struct wire_region left = region_of(1, 0, 10, 1, 2), right = region_of(2, 10, KEYS, 1, 2);
        assert_int_equal(region_tree_insert(tree, &whole, NULL, NULL), ERR_OK);
        assert_int_equal(region_tree_insert(tree, right_first ? &right : &left, NULL, NULL), ERR_OK);
        assert_int_equal(region_tree_insert(tree, right_first ? &left : &right, NULL, NULL), ERR_OK);
        assert_int_equal(region_tree_insert(tree, &whole, NULL, NULL), ERR_EPOCH_NOT_MATCH);
        struct bytes start, end;
        assert_false(region_tree_gap(tree, bytes_empty(), &start, &end));
        assert_int_equal(region_tree_count(tree), 2);
        region_tree_free(tree);
    }
}

static void what_was_seen_survives_a_newer_epoch_if_the_leader_is_still_a_peer(void **state)
{
    (void)state;
    struct region_tree *tree = region_tree_new();
    struct wire_region region = region_of(1, 0, KEYS, 1, 1);
    assert_int_equal(region_tree_insert(tree, &region, NULL, NULL), ERR_OK);
    const struct region_seen seen = {.leader_peer = 1002, .approximate_size = 5};
    region_tree_see(tree, region_tree_find_id(tree, 1), &seen);
    region.epoch_version = 2;
    assert_int_equal(region_tree_insert(tree, &region, NULL, NULL), ERR_OK);
    assert_int_equal(region_node_seen(region_tree_find_id(tree, 1)).leader_peer, 1002);
    region.epoch_conf = 2;
    region.peers_count = 1;
    assert_int_equal(region_tree_insert(tree, &region, NULL, NULL), ERR_OK);
    assert_int_equal(region_node_seen(region_tree_find_id(tree, 1)).leader_peer, 0);
    region_tree_free(tree);
}

static void a_store_has_its_leaders_first_and_their_sums(void **state)
{
    (void)state;
    struct region_tree *tree = region_tree_new();
    for (uint64_t id = 1; id <= 10; id++) { /* on stores 1..5, three each */
        struct wire_region region = region_of(id, (uint32_t)id, (uint32_t)id + 1, 1, 1);
        assert_int_equal(region_tree_insert(tree, &region, NULL, NULL), ERR_OK);
        const struct region_seen seen = {.leader_peer = 1000 * id + 1, .approximate_size = 10 * id, .read_load = 1};
        region_tree_see(tree, region_tree_find_id(tree, id), &seen);
    }
    struct region_sums sums = region_tree_sums(tree, 3); /* leads 2 and 7, follows 1, 5, 6, 10 */
    assert_int_equal(sums.count, 6);
    assert_int_equal(sums.leader_count, 2);
    assert_int_equal(sums.size, 10 * (2 + 7 + 1 + 6 + 5 + 10));
    assert_int_equal(sums.read_load, 2);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(region_node_leader_store(region_tree_at(tree, 3, i)) == 3, i < 2);
    assert_null(region_tree_at(tree, 3, 6));
    assert_null(region_tree_at(tree, 77, 0));
    region_tree_forget_seen(tree);
    assert_int_equal(region_tree_sums(tree, 3).leader_count, 0);
    assert_int_equal(region_tree_sums(tree, 3).size, 0);
    region_tree_check(tree);
    region_tree_free(tree);
}

static void bytes_that_are_no_region_are_refused_with_a_text(void **state)
{
    (void)state;
    struct error error = {0};
    struct wire_region good = region_of(1, 3, 5, 1, 1), bad;
    struct wire_peer peers[REGION_PEER_COUNT_MAX + 1] = {{.id = 1, .store_id = 1}, {.id = 2, .store_id = 1}};
    assert_int_equal(region_check_wire(&good, NULL), ERR_OK);
    bad = region_of(0, 3, 5, 1, 1);
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    bad = region_of(1, 5, 3, 1, 1);
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    bad = region_of(1, 5, 5, 1, 1);
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    bad = region_of(1, 3, 5, 0, 1);
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    bad = good;
    bad.peers = peers;
    bad.peers_count = 2; /* two peers on one store */
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    peers[1] = (struct wire_peer){.id = 1, .store_id = 2}; /* one id twice */
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    peers[1] = (struct wire_peer){.id = 2, .store_id = 2, .role = 9};
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    for (uint32_t i = 0; i <= REGION_PEER_COUNT_MAX; i++)
        peers[i] = (struct wire_peer){.id = i + 1, .store_id = i + 1};
    bad.peers_count = REGION_PEER_COUNT_MAX + 1;
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    bad.peers_count = 0;
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
    assert_true(error.text[0] != 0);
    static uint8_t long_key[REGION_KEY_SIZE_MAX + 1];
    bad = good;
    bad.end_key = bytes_of(long_key, sizeof(long_key));
    long_key[0] = 'z';
    assert_int_equal(region_check_wire(&bad, &error), ERR_INVALID);
}

static void takes_at_most_350_bytes_a_region(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    struct region_tree *tree = region_tree_new();
    struct mallinfo2 before = mallinfo2();
    uint8_t start[5] = "rk000", end[5] = "rk000";
    for (uint32_t i = 0; i < COUNT; i++) {
        struct wire_region region = region_of(i + 1, 0, KEYS, 1, 1);
        start[2] = (uint8_t)(i >> 16), start[3] = (uint8_t)(i >> 8), start[4] = (uint8_t)i;
        end[2] = (uint8_t)((i + 1) >> 16), end[3] = (uint8_t)((i + 1) >> 8), end[4] = (uint8_t)(i + 1);
        region.start_key = bytes_of(start, 5);
        region.end_key = bytes_of(end, 5);
        assert_int_equal(region_tree_insert(tree, &region, NULL, NULL), ERR_OK);
    }
    struct mallinfo2 after = mallinfo2();
    size_t each = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / COUNT;
    print_message("region_tree: %zu bytes a region\n", each);
    region_tree_free(tree);
    if (each == 0)
        skip(); /* a sanitizer's allocator does not count */
    assert_in_range(each, 1, 350);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_list_under_random_inserts),
        cmocka_unit_test(order_holds_with_thousands_of_regions_and_long_common_prefixes),
        cmocka_unit_test(a_split_reported_in_either_order_ends_with_both_halves),
        cmocka_unit_test(what_was_seen_survives_a_newer_epoch_if_the_leader_is_still_a_peer),
        cmocka_unit_test(a_store_has_its_leaders_first_and_their_sums),
        cmocka_unit_test(bytes_that_are_no_region_are_refused_with_a_text),
        cmocka_unit_test(takes_at_most_350_bytes_a_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
