/* Frames without sockets: counting, cutting, coalescing; and addresses. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/rng.h"
#include "base/types.h"
#include "env/frame_reader.h"
#include "env/frame_writer.h"
#include "env/net_address.h"

static struct frame *random_frame(struct rng *rng, uint16_t kind, size_t size)
{
    struct frame *frame = frame_new(kind, size);
    for (size_t i = 0; i < size; i++)
        frame->payload[i] = (uint8_t)rng_next(rng);
    return frame;
}

static void put(struct frame_writer *writer, struct frame *take_frame)
{
    uint32_t checksum = frame_writer_is_large(take_frame) ? frame_writer_checksum(1, take_frame) : 0;
    frame_writer_put(writer, 1, take_frame, checksum);
}

/* All that is pending, in one piece. */
static void drain(struct frame_writer *writer, struct buf *out)
{
    struct frame_piece pieces[FRAME_PIECES_MAX];
    for (uint32_t count; (count = frame_writer_gather(writer, pieces)) > 0;) {
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(buf_append(out, pieces[i].data, pieces[i].size), ERR_OK);
            frame_writer_sent(writer, pieces[i].size);
        }
    }
    assert_int_equal(writer->pending_size, 0);
}

static void encode_more(struct buf *out, struct frame *take_frame)
{
    struct frame_writer writer;
    frame_writer_init(&writer);
    put(&writer, take_frame);
    drain(&writer, out);
    frame_writer_fini(&writer);
}

/* Gives `size` bytes at most to the reader; returns how many it took. */
static size_t feed(struct frame_reader *reader, const uint8_t *data, size_t size)
{
    struct frame_room rooms[FRAME_ROOMS_MAX];
    uint32_t count = frame_reader_room(reader, rooms);
    size_t taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t part = rooms[i].size < size - taken ? rooms[i].size : size - taken;
        memcpy(rooms[i].data, data + taken, part);
        taken += part;
    }
    frame_reader_added(reader, taken);
    return taken;
}

static void a_frame_lives_until_the_last_holder_lets_go(void **state)
{
    (void)state;
    struct frame *frame = frame_copy(7, bytes_of_string("hello"));
    assert_int_equal((uintptr_t)frame->payload % 8, 0);
    assert_ptr_equal(frame_ref(frame), frame);
    frame_unref(frame);
    assert_true(bytes_equal(frame_bytes(frame), bytes_of_string("hello")));
    assert_int_equal(frame->kind, 7);
    frame_unref(frame);
    frame_unref(NULL);
    struct frame *empty = frame_copy(3, bytes_empty());
    assert_int_equal(empty->size, 0);
    frame_unref(empty);
}

static void frames_of_all_sizes_survive_being_cut_anywhere(void **state)
{
    (void)state;
    enum { COUNT = 400 };
    static const size_t size_max[] = {0, 1, 40, 200, 5000, 70000, 300000, 3000000};
    struct rng rng;
    rng_init(&rng, 1, "cut");
    for (int round = 0; round < 6; round++) {
        struct frame *frames[COUNT];
        struct frame_writer writer;
        struct frame_reader reader;
        struct buf wire;
        buf_init(&wire, SIZE_MAX / 2);
        frame_writer_init(&writer);
        frame_reader_init(&reader, 1, 1);
        size_t total = 0;
        for (int i = 0; i < COUNT; i++) {
            /* large sizes are rare, or this test would be slow */
            size_t sort = rng_below(&rng, 60) == 0 ? rng_below(&rng, 8) : rng_below(&rng, 5);
            frames[i] = random_frame(&rng, (uint16_t)rng_between(&rng, 2, 9), rng_between(&rng, 0, size_max[sort]));
            put(&writer, frame_ref(frames[i]));
            total += FRAME_HEADER_SIZE + frames[i]->size;
            if (rng_below(&rng, 10) == 0) { /* a write that goes through in part */
                struct frame_piece pieces[FRAME_PIECES_MAX];
                uint32_t count = frame_writer_gather(&writer, pieces);
                size_t part = rng_between(&rng, 0, pieces[0].size);
                put(&writer, random_frame(&rng, 2, 0)); /* puts behind, moves nothing */
                total += FRAME_HEADER_SIZE;
                assert_true(count >= 1);
                assert_int_equal(buf_append(&wire, pieces[0].data, part), ERR_OK);
                frame_writer_sent(&writer, part);
            }
        }
        drain(&writer, &wire);
        frame_writer_trim(&writer);
        assert_int_equal(wire.size, total);

        int received = 0;
        size_t step_max = round == 0 ? 1 : (size_t)1 << (4 * round);
        if (round == 0)
            wire.size = wire.size < 200000 ? wire.size : 200000; /* byte by byte */
        for (size_t at = 0; at < wire.size;) {
            size_t step = rng_between(&rng, 1, step_max);
            at += feed(&reader, wire.data + at, step < wire.size - at ? step : wire.size - at);
            struct frame *frame;
            while (frame_reader_next(&reader, &frame) == ERR_OK) {
                if (frame->size > 0 ||
                    (received < COUNT && frames[received]->size == 0 && frames[received]->kind == frame->kind)) {
                    assert_true(received < COUNT);
                    assert_true(bytes_equal(frame_bytes(frame), frame_bytes(frames[received])));
                    assert_int_equal(frame->kind, frames[received]->kind);
                    received++;
                }
                frame_unref(frame);
            }
            assert_null(reader.fault);
        }
        if (round > 0)
            assert_int_equal(received, COUNT);
        assert_true(received > 10);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(frames[i]->count, 1); /* the writer has let go of all */
            frame_unref(frames[i]);
        }
        frame_reader_fini(&reader);
        frame_writer_fini(&writer);
        buf_fini(&wire);
    }
}

static void everything_pending_fits_into_one_write(void **state)
{
    (void)state;
    struct frame_writer writer;
    frame_writer_init(&writer);
    for (int i = 0; i < 1000; i++)
        put(&writer, frame_new(2, 100));
    struct frame_piece pieces[FRAME_PIECES_MAX];
    size_t size = 0;
    for (uint32_t i = 0, count = frame_writer_gather(&writer, pieces); i < count; i++)
        size += pieces[i].size;
    assert_int_equal(size, 1000 * 116);
    assert_int_equal(writer.pending_size, size);
    frame_writer_fini(&writer);
}

static void a_hello_goes_in_front_of_what_was_sent_before_it(void **state)
{
    (void)state;
    struct frame_writer writer;
    struct buf wire;
    buf_init(&wire, 1 << 20);
    frame_writer_init(&writer);
    put(&writer, frame_copy(5, bytes_of_string("early")));
    frame_writer_put_first(&writer, 3, frame_copy(FRAME_WIRE_HELLO, bytes_of_string("hello")));
    put(&writer, frame_copy(6, bytes_of_string("late")));
    drain(&writer, &wire);
    struct frame_reader reader;
    frame_reader_init(&reader, 1, 1);
    assert_int_equal(feed(&reader, wire.data, wire.size), wire.size);
    static const uint16_t kinds[] = {FRAME_WIRE_HELLO, 5, 6};
    for (int i = 0; i < 3; i++) {
        struct frame *frame;
        assert_int_equal(frame_reader_next(&reader, &frame), ERR_OK);
        assert_int_equal(frame->kind, kinds[i]);
        assert_int_equal(reader.version, i == 0 ? 3 : 1);
        frame_unref(frame);
    }
    frame_reader_fini(&reader);
    frame_writer_fini(&writer);
    buf_fini(&wire);
}

static void a_changed_bit_never_passes(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 2, "bits");
    struct buf wire;
    buf_init(&wire, 1 << 20);
    encode_more(&wire, random_frame(&rng, 4, 50));
    for (size_t bit = 0; bit < wire.size * 8; bit++) {
        wire.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct frame_reader reader;
        frame_reader_init(&reader, 1, 1);
        assert_int_equal(feed(&reader, wire.data, wire.size), wire.size);
        struct frame *frame = NULL;
        enum err code = frame_reader_next(&reader, &frame);
        assert_null(frame);
        /* a size that has become larger, but not too large, waits for the rest */
        if (code == ERR_NOT_READY)
            assert_true(bit < 32);
        else
            assert_non_null(reader.fault);
        frame_reader_fini(&reader);
        wire.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_fini(&wire);
}

static void a_changed_byte_of_a_large_frame_never_passes(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 3, "large");
    struct buf wire;
    buf_init(&wire, 4 << 20);
    encode_more(&wire, random_frame(&rng, 4, 1000000));
    for (int i = 0; i < 20; i++) {
        size_t at = rng_between(&rng, 16, wire.size - 1);
        wire.data[at] ^= 1;
        struct frame_reader reader;
        frame_reader_init(&reader, 1, 1);
        struct frame *frame = NULL;
        enum err code = ERR_NOT_READY;
        for (size_t done = 0; done < wire.size;) {
            done += feed(&reader, wire.data + done, wire.size - done);
            code = frame_reader_next(&reader, &frame);
        }
        assert_int_equal(code, ERR_CORRUPT);
        assert_null(frame);
        frame_reader_fini(&reader);
        wire.data[at] ^= 1;
    }
    buf_fini(&wire);
}

static enum err read_header(struct frame_header header)
{
    uint8_t bytes[FRAME_HEADER_SIZE];
    frame_header_encode(&header, bytes);
    header.checksum = header.size == 0 ? frame_checksum(bytes, 0) : 0;
    frame_header_encode(&header, bytes);
    struct frame_reader reader;
    frame_reader_init(&reader, 2, 3);
    assert_int_equal(feed(&reader, bytes, sizeof bytes), sizeof bytes);
    struct frame *frame = NULL;
    enum err code = frame_reader_next(&reader, &frame);
    frame_unref(frame);
    frame_reader_fini(&reader);
    return code;
}

static void bad_headers_are_refused_before_any_payload(void **state)
{
    (void)state;
    assert_int_equal(read_header((struct frame_header){.version = 2, .kind = 4}), ERR_OK);
    assert_int_equal(read_header((struct frame_header){.version = 3, .kind = 4}), ERR_OK);
    assert_int_equal(read_header((struct frame_header){.version = 1, .kind = 4}), ERR_VERSION);
    assert_int_equal(read_header((struct frame_header){.version = 4, .kind = 4}), ERR_VERSION);
    assert_int_equal(read_header((struct frame_header){.version = 4, .kind = FRAME_WIRE_HELLO}), ERR_OK);
    assert_int_equal(read_header((struct frame_header){.version = 1, .kind = FRAME_WIRE_HELLO}), ERR_VERSION);
    assert_int_equal(read_header((struct frame_header){.version = 2, .kind = 4, .zero = 1}), ERR_CORRUPT);
    assert_int_equal(read_header((struct frame_header){.version = 2, .kind = 4, .size = FRAME_SIZE_MAX + 1}),
                     ERR_CORRUPT);
    assert_int_equal(read_header((struct frame_header){.version = 2, .kind = 4, .size = 100000000}), ERR_CORRUPT);
    assert_int_equal(read_header((struct frame_header){.version = 2, .kind = 4, .size = FRAME_SIZE_MAX}),
                     ERR_NOT_READY);
}

static void only_a_sender_of_much_gets_a_large_buffer(void **state)
{
    (void)state;
    struct buf wire;
    buf_init(&wire, 1 << 20);
    for (int i = 0; i < 1000; i++)
        encode_more(&wire, frame_new(4, 128));
    struct frame_reader reader;
    frame_reader_init(&reader, 1, 1);
    struct frame *frame;
    for (size_t at = 0; at < wire.size / 2;) { /* a little at a time */
        at += feed(&reader, wire.data + at, 144 * 3);
        while (frame_reader_next(&reader, &frame) == ERR_OK)
            frame_unref(frame);
    }
    assert_true(reader.capacity <= 4096);
    size_t at = 144 * 3 * (wire.size / 2 / (144 * 3) + 1);
    for (int i = 0; i < 2; i++) {
        at += feed(&reader, wire.data + at, wire.size - at);
        while (frame_reader_next(&reader, &frame) == ERR_OK)
            frame_unref(frame);
    }
    assert_int_equal(reader.capacity, 64 * 1024);
    assert_null(reader.fault);
    frame_reader_fini(&reader);
    buf_fini(&wire);
}

static void a_header_that_claims_32_mib_costs_little(void **state)
{
    (void)state;
    struct frame_header header = {.size = FRAME_SIZE_MAX, .version = 1, .kind = 4};
    uint8_t bytes[FRAME_HEADER_SIZE];
    frame_header_encode(&header, bytes);
    struct frame_reader reader;
    frame_reader_init(&reader, 1, 1);
    feed(&reader, bytes, sizeof bytes);
    struct frame *frame;
    assert_int_equal(frame_reader_next(&reader, &frame), ERR_NOT_READY);
    assert_true(reader.capacity <= 64 * 1024);
    assert_non_null(reader.large);
    assert_true(reader.large->size <= 256 * 1024);
    size_t sent = 0;
    static uint8_t zeros[10000];
    while (sent < 5000000) {
        sent += feed(&reader, zeros, sizeof zeros);
        assert_int_equal(frame_reader_next(&reader, &frame), ERR_NOT_READY);
        assert_true(reader.large->size <= 256 * 1024 || reader.large->size <= 2 * sent);
    }
    frame_reader_fini(&reader);
}

static void random_bytes_are_refused_or_waited_for(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 4, "garbage");
    int refused = 0;
    for (int i = 0; i < 3000; i++) {
        struct frame_reader reader;
        frame_reader_init(&reader, 1, 1);
        uint8_t garbage[300];
        for (size_t j = 0; j < sizeof garbage; j++)
            garbage[j] = (uint8_t)(rng_below(&rng, 3) == 0 ? rng_next(&rng) : rng_below(&rng, 2));
        feed(&reader, garbage, sizeof garbage);
        struct frame *frame = NULL;
        enum err code = frame_reader_next(&reader, &frame);
        assert_true(code == ERR_NOT_READY || code == ERR_CORRUPT || code == ERR_VERSION);
        refused += code != ERR_NOT_READY;
        frame_reader_fini(&reader);
    }
    assert_true(refused > 2000);
}

static void good_addresses_are_understood(void **state)
{
    (void)state;
    struct net_address address;
    assert_int_equal(net_address_parse("tcp://127.0.0.1:20160", false, &address, NULL), ERR_OK);
    assert_int_equal(address.scheme, NET_TCP);
    assert_string_equal(address.host, "127.0.0.1");
    assert_int_equal(address.port, 20160);
    assert_int_equal(net_address_parse("tls+tcp://store-1.polder.svc:65535", false, &address, NULL), ERR_OK);
    assert_int_equal(address.scheme, NET_TLS);
    assert_string_equal(address.host, "store-1.polder.svc");
    assert_int_equal(net_address_parse("tcp://[::1]:2379", false, &address, NULL), ERR_OK);
    assert_string_equal(address.host, "::1");
    assert_int_equal(net_address_parse("ipc:///tmp/x.sock", true, &address, NULL), ERR_OK);
    assert_string_equal(address.host, "/tmp/x.sock");
    assert_int_equal(net_address_parse("tcp://*:0", true, &address, NULL), ERR_OK);
    assert_int_equal(address.port, 0);
}

static void bad_addresses_are_named_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "begin"},
        {"127.0.0.1:20160", "begin"},
        {"udp://127.0.0.1:20160", "begin"},
        {"tcp://127.0.0.1", "port"},
        {"tcp://127.0.0.1:", "port"},
        {"tcp://127.0.0.1:http", "port"},
        {"tcp://127.0.0.1:70000", "port"},
        {"tcp://127.0.0.1:000080", "port"},
        {"tcp://127.0.0.1:-1", "port"},
        {"tcp://127.0.0.1:0", "port 0"},
        {"tcp://:80", "host"},
        {"tcp://*:80", "host"},
        {"tcp://a b:80", "host"},
        {"tcp://a/b:80", "host"},
        {"tcp://::1:80", "host"},
        {"tcp://[::1:80", "]"},
        {"tcp://[::1]80", "port"},
        {"ipc://", "path"},
        {"ipc://relative", "path"},
        {"ipc:///"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaa",
         "107"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct net_address address;
        struct error err = {0};
        assert_int_equal(net_address_parse(bad[i].text, false, &address, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, bad[i].text));
        assert_non_null(strstr(err.text, bad[i].reason));
    }
    assert_int_equal(net_address_parse(NULL, false, &(struct net_address){0}, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_lives_until_the_last_holder_lets_go),
        cmocka_unit_test(frames_of_all_sizes_survive_being_cut_anywhere),
        cmocka_unit_test(everything_pending_fits_into_one_write),
        cmocka_unit_test(a_hello_goes_in_front_of_what_was_sent_before_it),
        cmocka_unit_test(a_changed_bit_never_passes),
        cmocka_unit_test(a_changed_byte_of_a_large_frame_never_passes),
        cmocka_unit_test(bad_headers_are_refused_before_any_payload),
        cmocka_unit_test(only_a_sender_of_much_gets_a_large_buffer),
        cmocka_unit_test(a_header_that_claims_32_mib_costs_little),
        cmocka_unit_test(random_bytes_are_refused_or_waited_for),
        cmocka_unit_test(good_addresses_are_understood),
        cmocka_unit_test(bad_addresses_are_named_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
