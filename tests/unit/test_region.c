/* Regions from the wire: what is one, what is none, and what lies inside. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "meta/region.h"

enum { BOUND_SIZE_MAX = KEY_SIZE_MAX + 1 };

static struct wire_peer peers[REGION_PEERS_MAX + 1];

static struct wire_region sound(void)
{
    for (uint32_t i = 0; i < REGION_PEERS_MAX + 1; i++)
        peers[i] = (struct wire_peer){.id = 100 + i, .store_id = 1 + i, .role = WIRE_PEER_ROLE_VOTER};
    return (struct wire_region){.id = 7,
                                .start_key = bytes_of_string("rb"),
                                .end_key = bytes_of_string("rm"),
                                .epoch_conf = 3,
                                .epoch_version = 5,
                                .peers = peers,
                                .peers_count = 3};
}

static void assert_refused(const struct wire_region *wire)
{
    struct region *region = NULL;
    assert_int_equal(region_from_wire(wire, &region), ERR_INVALID);
    assert_null(region);
}

static void region_comes_back_from_the_wire_as_it_went(void **state)
{
    (void)state;
    struct wire_region wire = sound();
    peers[1].role = WIRE_PEER_ROLE_LEARNER;
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    struct arena arena;
    arena_init(&arena);
    struct region *copy = region_copy(region);
    region_free(region);
    struct wire_region back = region_to_wire(copy, &arena);
    assert_int_equal(back.id, 7);
    assert_int_equal(back.epoch_conf, 3);
    assert_int_equal(back.epoch_version, 5);
    assert_true(bytes_equal(back.start_key, wire.start_key) && bytes_equal(back.end_key, wire.end_key));
    assert_int_equal(back.peers_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(back.peers[i].id, peers[i].id);
        assert_int_equal(back.peers[i].store_id, peers[i].store_id);
        assert_int_equal(back.peers[i].role, peers[i].role);
    }
    arena_fini(&arena);
    region_free(copy);
}

static void region_does_not_borrow_the_keys(void **state)
{
    (void)state;
    char key[] = "rk";
    struct wire_region wire = sound();
    wire.start_key = bytes_of(key, 2);
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    key[1] = 'z';
    assert_true(bytes_equal(region->start_key, bytes_of_string("rk")));
    region_free(region);
}

static void nonsense_is_no_region(void **state)
{
    (void)state;
    assert_refused(NULL);
    struct wire_region wire = sound();
    wire.id = 0;
    assert_refused(&wire);
    wire = sound();
    wire.peers_count = 0;
    assert_refused(&wire);
    wire = sound();
    wire.peers_count = REGION_PEERS_MAX + 1;
    assert_refused(&wire);
    wire = sound();
    wire.end_key = wire.start_key;
    assert_refused(&wire);
    wire = sound();
    wire.end_key = bytes_of_string("ra");
    assert_refused(&wire);
    wire = sound();
    peers[2].id = peers[0].id;
    assert_refused(&wire);
    wire = sound();
    peers[2].store_id = peers[1].store_id;
    assert_refused(&wire);
    wire = sound();
    peers[1].id = 0;
    assert_refused(&wire);
    wire = sound();
    peers[1].store_id = 0;
    assert_refused(&wire);
}

static void bound_may_be_as_long_as_the_longest_key_and_no_longer(void **state)
{
    (void)state;
    static uint8_t key[BOUND_SIZE_MAX + 1];
    memset(key, 'r', sizeof key);
    struct wire_region wire = sound();
    wire.end_key = bytes_of(key, BOUND_SIZE_MAX);
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    region_free(region);
    wire.end_key.size++;
    assert_refused(&wire);
    wire.start_key = wire.end_key;
    wire.end_key = bytes_empty();
    assert_refused(&wire);
}

static void region_holds_its_start_and_not_its_end(void **state)
{
    (void)state;
    struct wire_region wire = sound();
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    assert_true(region_contains(region, bytes_of_string("rb")));
    assert_true(region_contains(region, bytes_of("rb\0", 3)));
    assert_true(region_contains(region, bytes_of_string("rl\xff\xff")));
    assert_false(region_contains(region, bytes_of_string("rm")));
    assert_false(region_contains(region, bytes_of_string("ra\xff")));
    assert_false(region_contains(region, bytes_of_string("r")));
    assert_true(region_contains_range(region, bytes_of_string("rb"), bytes_of_string("rm")));
    assert_false(region_contains_range(region, bytes_of_string("ra"), bytes_of_string("rm")));
    assert_false(region_contains_range(region, bytes_of_string("rb"), bytes_of_string("rma")));
    assert_false(region_contains_range(region, bytes_of_string("rb"), bytes_empty()));
    region_free(region);
}

static void open_end_is_the_end_of_everything(void **state)
{
    (void)state;
    struct wire_region wire = sound();
    wire.start_key = wire.end_key = bytes_empty();
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    assert_true(region_contains(region, bytes_of_string("\xff\xff\xff")));
    assert_true(region_contains(region, bytes_empty()));
    assert_true(region_contains_range(region, bytes_empty(), bytes_empty()));
    assert_true(region_contains_range(region, bytes_of_string("a"), bytes_of_string("b")));
    region_free(region);
}

static void peers_are_found_by_store_and_by_id(void **state)
{
    (void)state;
    struct wire_region wire = sound();
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    assert_int_equal(region_peer_on_store(region, 2)->id, 101);
    assert_int_equal(region_peer_by_id(region, 102)->store_id, 3);
    assert_null(region_peer_on_store(region, 4));
    assert_null(region_peer_by_id(region, 99));
    region_free(region);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(region_comes_back_from_the_wire_as_it_went),
        cmocka_unit_test(region_does_not_borrow_the_keys),
        cmocka_unit_test(nonsense_is_no_region),
        cmocka_unit_test(bound_may_be_as_long_as_the_longest_key_and_no_longer),
        cmocka_unit_test(region_holds_its_start_and_not_its_end),
        cmocka_unit_test(open_end_is_the_end_of_everything),
        cmocka_unit_test(peers_are_found_by_store_and_by_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
