/* What proto/ promises about the bytes that leave a process, for every table of the schemas. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/types.h"
#include "proto/wire.h"
#include "newer.h"
#include "wire_random.h"

enum { ROUND_COUNT = 100, OUT_SIZE_MAX = 4 * 1024 * 1024 };

struct fixture {
    struct arena message_arena;
    struct buf out;
    struct buf again;
    struct rng rng;
};

static int setup(void **state)
{
    struct fixture *fixture = malloc(sizeof *fixture);
    assert_non_null(fixture);
    arena_init(&fixture->message_arena);
    buf_init(&fixture->out, OUT_SIZE_MAX);
    buf_init(&fixture->again, OUT_SIZE_MAX);
    rng_init(&fixture->rng, 20, "test_proto");
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_fini(&fixture->message_arena);
    buf_fini(&fixture->out);
    buf_fini(&fixture->again);
    free(fixture);
    return 0;
}

static void *random_message(struct fixture *fixture, const struct wire_root *root)
{
    void *message = arena_alloc(&fixture->message_arena, root->size);
    root->random(&fixture->rng, &fixture->message_arena, message);
    return message;
}

/* Decodes a copy that ends where its heap block ends (and begins `shift` bytes after an aligned address), so that a
 * sanitizer sees every byte read beyond it. What was decoded must mean the same after another round. */
static enum err decode_hostile(struct fixture *fixture, const struct wire_root *root, struct bytes in, size_t shift,
                               const void *expected)
{
    uint8_t *block = malloc(shift + in.size + !in.size);
    assert_non_null(block);
    if (in.size > 0)
        memcpy(block + shift, in.data, in.size);
    struct arena *arena = &fixture->message_arena;
    void *first = arena_alloc(arena, root->size), *second = arena_alloc(arena, root->size);
    enum err code = root->decode(bytes_of(block + shift, in.size), arena, first);
    if (code == ERR_OK) {
        if (expected)
            assert_true(root->equal(expected, first));
        assert_int_equal(root->encode(first, &fixture->again), ERR_OK);
        assert_int_equal(root->decode(buf_bytes(&fixture->again), arena, second), ERR_OK);
        assert_true(root->equal(first, second));
    } else {
        assert_int_equal(code, ERR_CORRUPT);
        assert_memory_equal(first, second, root->size); /* both all zero */
    }
    free(block);
    return code;
}

static void every_table_survives_a_round_trip(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < wire_root_count; i++) {
        const struct wire_root *root = &wire_roots[i];
        for (int round = 0; round < ROUND_COUNT; round++) {
            void *message = random_message(fixture, root);
            assert_int_equal(root->encode(message, &fixture->out), ERR_OK);
            assert_int_equal(decode_hostile(fixture, root, buf_bytes(&fixture->out), 0, message), ERR_OK);
            /* decode_hostile encoded what it had decoded: equal structs give equal bytes. */
            assert_int_equal(fixture->out.size, fixture->again.size);
            assert_memory_equal(fixture->out.data, fixture->again.data, fixture->out.size);
            arena_reset(&fixture->message_arena);
        }
    }
}

static void a_frame_holds_the_same_bytes(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < wire_root_count; i++) {
        void *message = random_message(fixture, &wire_roots[i]);
        assert_int_equal(wire_roots[i].encode(message, &fixture->out), ERR_OK);
        struct frame *frame = wire_roots[i].frame((uint16_t)(i + 1), message);
        assert_non_null(frame);
        assert_int_equal(frame->kind, i + 1);
        assert_int_equal(frame->size, fixture->out.size);
        assert_memory_equal(frame->payload, fixture->out.data, fixture->out.size);
        frame_unref(frame);
        arena_reset(&fixture->message_arena);
    }
}

static void absent_and_empty_bytes_stay_apart(void **state)
{
    struct fixture *fixture = *state;
    struct wire_kv_reply in = {.text = bytes_of("", 0), .value = bytes_empty(), .next_key = bytes_of("x", 0)}, out;
    assert_int_equal(wire_encode_kv_reply(&in, &fixture->out), ERR_OK);
    assert_int_equal(wire_decode_kv_reply(buf_bytes(&fixture->out), &fixture->message_arena, &out), ERR_OK);
    assert_non_null(out.text.data);
    assert_int_equal(out.text.size, 0);
    assert_null(out.value.data);
    assert_int_equal(out.value.size, 0);
    assert_non_null(out.next_key.data);
    assert_int_equal(out.next_key.size, 0);
}

static void bytes_are_borrowed_from_the_input(void **state)
{
    struct fixture *fixture = *state;
    struct wire_kv_pair in = {.key = bytes_of_string("key"), .value = bytes_of_string("value")}, out;
    assert_int_equal(wire_encode_kv_pair(&in, &fixture->out), ERR_OK);
    assert_int_equal(wire_decode_kv_pair(buf_bytes(&fixture->out), &fixture->message_arena, &out), ERR_OK);
    assert_in_range(out.value.data, fixture->out.data, fixture->out.data + fixture->out.size);
    assert_true(bytes_equal(out.value, in.value));
}

static void nested_arrays_keep_their_order(void **state)
{
    struct fixture *fixture = *state;
    uint64_t voters[] = {3, 1, 2};
    struct wire_raft_conf conf = {.voters = voters, .voters_count = 3, .auto_leave = true};
    struct wire_raft_snapshot snapshot = {.index = 9, .conf = &conf};
    struct wire_raft_entry entries[] = {{.index = 1, .data = bytes_of_string("one")}, {.index = 2}, {.index = 3}};
    struct wire_raft_message messages[] = {{.to = 1, .entries = entries, .entries_count = 3},
                                           {.to = 2, .snapshot = &snapshot}};
    struct wire_raft_batch in = {.from_store = 7, .messages = messages, .messages_count = 2}, out;
    assert_int_equal(wire_encode_raft_batch(&in, &fixture->out), ERR_OK);
    assert_int_equal(wire_decode_raft_batch(buf_bytes(&fixture->out), &fixture->message_arena, &out), ERR_OK);
    assert_int_equal(out.messages_count, 2);
    assert_int_equal(out.messages[0].entries_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(out.messages[0].entries[i].index, i + 1);
    assert_true(bytes_equal(out.messages[0].entries[0].data, bytes_of_string("one")));
    assert_null(out.messages[0].snapshot);
    assert_null(out.messages[1].entries);
    assert_memory_equal(out.messages[1].snapshot->conf->voters, voters, sizeof voters);
    assert_true(out.messages[1].snapshot->conf->auto_leave);
}

static void unaligned_input_is_fine(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < wire_root_count; i++) {
        void *message = random_message(fixture, &wire_roots[i]);
        assert_int_equal(wire_roots[i].encode(message, &fixture->out), ERR_OK);
        for (size_t shift = 1; shift < 8; shift++)
            assert_int_equal(decode_hostile(fixture, &wire_roots[i], buf_bytes(&fixture->out), shift, message), ERR_OK);
        arena_reset(&fixture->message_arena);
    }
}

static void a_truncated_message_is_refused_or_lost_only_padding(void **state)
{
    struct fixture *fixture = *state;
    uint32_t refused = 0, count = 0;
    for (uint32_t i = 0; i < wire_root_count; i++) {
        void *message = random_message(fixture, &wire_roots[i]);
        assert_int_equal(wire_roots[i].encode(message, &fixture->out), ERR_OK);
        for (size_t size = 0; size < fixture->out.size; size++, count++) {
            struct bytes cut = bytes_of(fixture->out.data, size);
            refused += decode_hostile(fixture, &wire_roots[i], cut, 0, message) == ERR_CORRUPT;
        }
        arena_reset(&fixture->message_arena);
    }
    assert_true(refused > count / 10 * 9);
}

static void flipped_bytes_never_crash(void **state)
{
    struct fixture *fixture = *state;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < wire_root_count; i++) {
        for (int round = 0; round < ROUND_COUNT; round++) {
            void *message = random_message(fixture, &wire_roots[i]);
            assert_int_equal(wire_roots[i].encode(message, &fixture->out), ERR_OK);
            for (uint64_t flips = rng_between(&fixture->rng, 1, 4); flips > 0; flips--)
                fixture->out.data[rng_below(&fixture->rng, fixture->out.size)] = (uint8_t)rng_next(&fixture->rng);
            refused += decode_hostile(fixture, &wire_roots[i], buf_bytes(&fixture->out), 0, NULL) == ERR_CORRUPT;
            arena_reset(&fixture->message_arena);
        }
    }
    assert_true(refused > 0);
}

static void a_message_of_another_kind_never_crashes(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < wire_root_count; i++) {
        void *message = random_message(fixture, &wire_roots[i]);
        assert_int_equal(wire_roots[i].encode(message, &fixture->out), ERR_OK);
        for (uint32_t j = 0; j < wire_root_count; j++)
            decode_hostile(fixture, &wire_roots[j], buf_bytes(&fixture->out), 0, NULL);
        arena_reset(&fixture->message_arena);
    }
}

static void encode_stops_at_the_limit(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t i = 0; i < wire_root_count; i++) {
        void *message = random_message(fixture, &wire_roots[i]);
        assert_int_equal(wire_roots[i].encode(message, &fixture->out), ERR_OK);
        struct buf tight;
        buf_init(&tight, fixture->out.size);
        assert_int_equal(wire_roots[i].encode(message, &tight), ERR_OK);
        for (tight.size_max = 0; tight.size_max < fixture->out.size; tight.size_max++)
            assert_int_equal(wire_roots[i].encode(message, &tight), ERR_ENTRY_TOO_LARGE);
        /* The message that failed has left nothing behind. */
        assert_int_equal(wire_roots[i].encode(message, &fixture->again), ERR_OK);
        assert_int_equal(fixture->again.size, fixture->out.size);
        assert_memory_equal(fixture->again.data, fixture->out.data, fixture->out.size);
        buf_fini(&tight);
        arena_reset(&fixture->message_arena);
    }
}

static void a_frame_is_never_larger_than_allowed(void **state)
{
    (void)state;
    uint8_t *value = calloc(1, FRAME_SIZE_MAX);
    assert_non_null(value);
    struct wire_kv_pair pair = {.value = bytes_of(value, FRAME_SIZE_MAX)};
    assert_null(wire_frame_kv_pair(2, &pair));
    pair.value.size -= 64;
    struct frame *frame = wire_frame_kv_pair(2, &pair);
    assert_non_null(frame);
    assert_in_range(frame->size, FRAME_SIZE_MAX - 64, FRAME_SIZE_MAX);
    frame_unref(frame);
    free(value);
}

static void what_can_be_written_can_be_read(void **state)
{
    struct fixture *fixture = *state;
    enum { PAIR_COUNT_MAX = 1000000 - 1 }; /* and the reply itself */
    struct wire_kv_pair *pairs = calloc(PAIR_COUNT_MAX + 1, sizeof *pairs);
    assert_non_null(pairs);
    struct wire_kv_reply in = {.pairs = pairs, .pairs_count = PAIR_COUNT_MAX + 1}, out;
    struct buf large;
    buf_init(&large, SIZE_MAX);
    assert_int_equal(wire_encode_kv_reply(&in, &large), ERR_ENTRY_TOO_LARGE);
    /* Empty tables are the densest honest message: 8 bytes each. */
    in.pairs_count = PAIR_COUNT_MAX;
    assert_int_equal(wire_encode_kv_reply(&in, &large), ERR_OK);
    assert_in_range(large.size, 8 * PAIR_COUNT_MAX, 8 * PAIR_COUNT_MAX + 64);
    assert_int_equal(wire_decode_kv_reply(buf_bytes(&large), &fixture->message_arena, &out), ERR_OK);
    assert_int_equal(out.pairs_count, PAIR_COUNT_MAX);
    buf_fini(&large);
    free(pairs);
}

/* ---- messages that no builder makes: many offsets to one child */

static void put_u32(struct buf *buf, uint32_t value)
{
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
    assert_int_equal(buf_append(buf, bytes, 4), ERR_OK);
}

/* A vtable and a table of `field_count` fields, of which those from `first` on hold the offset of what comes right
 * after. */
static void put_table(struct buf *buf, uint32_t field_count, uint32_t first)
{
    uint32_t used = field_count - first, table_size = 4 + 4 * used, vtable_size = 4 + 2 * field_count;
    uint32_t padding = vtable_size % 4;
    for (uint32_t i = 0; i < padding; i++)
        assert_int_equal(buf_append_u8(buf, 0), ERR_OK);
    uint8_t vtable[64] = {(uint8_t)vtable_size, 0, (uint8_t)table_size, 0};
    for (uint32_t i = 0; i < used; i++)
        vtable[4 + 2 * (first + i)] = (uint8_t)(4 + 4 * i);
    assert_int_equal(buf_append(buf, vtable, vtable_size), ERR_OK);
    put_u32(buf, vtable_size);
    for (uint32_t i = 0; i < used; i++)
        put_u32(buf, 4 * (used - i));
}

/* The offset of a message's root table, whose vtable of `field_count` fields comes first. */
static void put_root(struct buf *buf, uint32_t field_count)
{
    uint32_t vtable_size = 4 + 2 * field_count;
    buf_reset(buf);
    put_u32(buf, 4 + vtable_size + vtable_size % 4);
}

/* `count` offsets to one table that begins after `skip` more bytes. */
static void put_offsets(struct buf *buf, uint32_t count, uint32_t skip)
{
    put_u32(buf, count);
    for (uint32_t i = 0; i < count; i++)
        put_u32(buf, 4 * (count - i) + skip);
}

static uint32_t vtable_skip(uint32_t field_count)
{
    return 4 + 2 * field_count + (4 + 2 * field_count) % 4;
}

enum { PAIRS_FIELD = 15 }; /* of KvRequest */

static enum err decode_shared(struct fixture *fixture, uint32_t request_count, uint32_t pair_count)
{
    struct wire_kv_request_batch out;
    put_root(&fixture->out, 1);
    put_table(&fixture->out, 1, 0);
    put_offsets(&fixture->out, request_count, vtable_skip(PAIRS_FIELD + 1));
    put_table(&fixture->out, PAIRS_FIELD + 1, PAIRS_FIELD);
    put_offsets(&fixture->out, pair_count, vtable_skip(3));
    put_table(&fixture->out, 3, 3);
    enum err code = wire_decode_kv_request_batch(buf_bytes(&fixture->out), &fixture->message_arena, &out);
    if (code == ERR_OK) {
        assert_int_equal(out.requests_count, request_count);
        assert_int_equal(out.requests[request_count - 1].pairs_count, pair_count);
    }
    return code;
}

static void shared_children_cannot_amplify(void **state)
{
    struct fixture *fixture = *state;
    /* Well-formed, so that the refusals below are about sharing and nothing else. */
    assert_int_equal(decode_shared(fixture, 1, 1), ERR_OK);
    assert_int_equal(decode_shared(fixture, 2, 2), ERR_OK);
    assert_int_equal(decode_shared(fixture, 1, 1000), ERR_CORRUPT);
    assert_int_equal(decode_shared(fixture, 1000, 1), ERR_CORRUPT);
    assert_int_equal(decode_shared(fixture, 1000, 1000), ERR_CORRUPT); /* 8 kB that mean a million structs */
}

static uint64_t load_last_number(const struct fixture *fixture)
{
    uint64_t number = 0;
    for (size_t i = 1; i <= 8; i++)
        number = number << 8 | fixture->out.data[fixture->out.size - i];
    return number;
}

static enum err decode_shared_numbers(struct fixture *fixture, uint32_t field_count, uint32_t number_count)
{
    struct wire_raft_conf out;
    put_root(&fixture->out, field_count);
    put_table(&fixture->out, field_count, 0);
    put_u32(&fixture->out, number_count);
    for (uint32_t i = 0; i < 2 * number_count; i++)
        put_u32(&fixture->out, i);
    enum err code = wire_decode_raft_conf(buf_bytes(&fixture->out), &fixture->message_arena, &out);
    if (code == ERR_OK)
        assert_int_equal(out.voters[number_count - 1], load_last_number(fixture));
    else
        assert_null(out.voters);
    return code;
}

static void shared_numbers_cannot_amplify(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(decode_shared_numbers(fixture, 1, 1000), ERR_OK);
    assert_int_equal(decode_shared_numbers(fixture, 4, 1), ERR_OK); /* 32 bytes of numbers out of 48 */
    assert_int_equal(decode_shared_numbers(fixture, 4, 1000), ERR_CORRUPT);
}

/* The verifier of FlatBuffers 2.0.8 lets this pass: only the count of a vector has to be aligned. */
static void numbers_need_not_be_aligned(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(decode_shared_numbers(fixture, 2, 1), ERR_OK);
    assert_int_equal((fixture->out.size - 8) % 8, 4);
}

/* ---- other versions */

static void a_newer_message_is_read_without_its_new_fields(void **state)
{
    struct fixture *fixture = *state;
    uint64_t marks[] = {1, 2, 3};
    struct newer_note notes[] = {{.text = bytes_of_string("new"), .marks = marks, .marks_count = 3}, {.marks = NULL}};
    struct newer_peer peers[] = {
        {.id = 1, .store_id = 11, .role = NEWER_PEER_ROLE_WITNESS, .zone = bytes_of_string("z"), .notes_count = 0},
        {.id = 2, .store_id = 12, .notes = notes, .notes_count = 2}};
    struct newer_region in = {.id = 5,
                              .start_key = bytes_of_string("a"),
                              .end_key = bytes_of_string("b"),
                              .epoch_conf = 6,
                              .epoch_version = 7,
                              .peers = peers,
                              .peers_count = 2,
                              .priority = 8,
                              .owner = bytes_of_string("me"),
                              .marks = marks,
                              .marks_count = 3,
                              .last_note = notes};
    struct wire_region out;
    assert_int_equal(newer_encode_region(&in, &fixture->out), ERR_OK);
    assert_int_equal(wire_decode_region(buf_bytes(&fixture->out), &fixture->message_arena, &out), ERR_OK);
    assert_int_equal(out.id, 5);
    assert_true(bytes_equal(out.start_key, in.start_key));
    assert_true(bytes_equal(out.end_key, in.end_key));
    assert_int_equal(out.epoch_version, 7);
    assert_int_equal(out.peers_count, 2);
    assert_int_equal(out.peers[0].role, NEWER_PEER_ROLE_WITNESS); /* no constant of ours; the number arrives */
    assert_int_equal(out.peers[1].store_id, 12);
}

static void an_older_message_lacks_nothing_but_its_fields(void **state)
{
    struct fixture *fixture = *state;
    struct newer_older_region in = {.id = 5, .start_key = bytes_of_string("a"), .epoch_conf = 6};
    struct wire_region out;
    assert_int_equal(newer_encode_older_region(&in, &fixture->out), ERR_OK);
    assert_int_equal(wire_decode_region(buf_bytes(&fixture->out), &fixture->message_arena, &out), ERR_OK);
    assert_int_equal(out.id, 5);
    assert_int_equal(out.epoch_conf, 6);
    assert_true(bytes_equal(out.start_key, in.start_key));
    assert_null(out.end_key.data);
    assert_int_equal(out.epoch_version, 0);
    assert_int_equal(out.peers_count, 0);
    assert_null(out.peers);
}

static void our_message_is_read_by_a_newer_version(void **state)
{
    struct fixture *fixture = *state;
    struct wire_peer peer = {.id = 1, .store_id = 11, .role = WIRE_PEER_ROLE_LEARNER};
    struct wire_region in = {.id = 5, .end_key = bytes_of("", 0), .peers = &peer, .peers_count = 1};
    struct newer_region out;
    assert_int_equal(wire_encode_region(&in, &fixture->out), ERR_OK);
    assert_int_equal(newer_decode_region(buf_bytes(&fixture->out), &fixture->message_arena, &out), ERR_OK);
    assert_int_equal(out.id, 5);
    assert_non_null(out.end_key.data);
    assert_int_equal(out.peers[0].role, NEWER_PEER_ROLE_LEARNER);
    assert_int_equal(out.priority, 0);
    assert_null(out.owner.data);
    assert_null(out.last_note);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CLAIM(every_table_survives_a_round_trip),
        CLAIM(a_frame_holds_the_same_bytes),
        CLAIM(absent_and_empty_bytes_stay_apart),
        CLAIM(bytes_are_borrowed_from_the_input),
        CLAIM(nested_arrays_keep_their_order),
        CLAIM(unaligned_input_is_fine),
        CLAIM(a_truncated_message_is_refused_or_lost_only_padding),
        CLAIM(flipped_bytes_never_crash),
        CLAIM(a_message_of_another_kind_never_crashes),
        CLAIM(encode_stops_at_the_limit),
        CLAIM(a_frame_is_never_larger_than_allowed),
        CLAIM(what_can_be_written_can_be_read),
        CLAIM(shared_children_cannot_amplify),
        CLAIM(shared_numbers_cannot_amplify),
        CLAIM(numbers_need_not_be_aligned),
        CLAIM(a_newer_message_is_read_without_its_new_fields),
        CLAIM(an_older_message_lacks_nothing_but_its_fields),
        CLAIM(our_message_is_read_by_a_newer_version),
    };
    return cmocka_run_group_tests_name("proto", tests, NULL, NULL);
}
