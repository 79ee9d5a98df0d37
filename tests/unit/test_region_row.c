/* The rows that say what a region is and whose directory this is: a changed byte is always told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "env/engine_mem.h"
#include "storenode/pd_link.h"
#include "storenode/region_row.h"

static void every_changed_byte_of_a_regions_row_is_told(void **state)
{
    (void)state;
    struct wire_peer peer = {.id = 7, .store_id = 1};
    struct wire_region region = {.id = 3,
                                 .start_key = bytes_of("rb", 2),
                                 .end_key = bytes_of("rm", 2),
                                 .epoch_conf = 1,
                                 .epoch_version = 2,
                                 .peers = &peer,
                                 .peers_count = 1};
    struct wire_region_state whole = {.region = &region, .local_peer_id = 7}, read;
    struct arena arena;
    struct buf row;
    arena_init(&arena);
    buf_init(&row, 4096);
    assert_int_equal(region_row_encode(&whole, &row), ERR_OK);
    assert_int_equal(region_row_decode(buf_bytes(&row), &arena, &read), ERR_OK);
    assert_int_equal(read.local_peer_id, 7);
    for (size_t i = 0; i < row.size; i++) {
        row.data[i] ^= 0x10;
        assert_int_equal(region_row_decode(buf_bytes(&row), &arena, &read), ERR_CORRUPT);
        row.data[i] ^= 0x10;
        assert_int_equal(region_row_decode(bytes_of(row.data, i), &arena, &read), ERR_CORRUPT);
    }
    buf_fini(&row);
    arena_fini(&arena);
}

static void every_changed_byte_of_the_identity_is_told(void **state)
{
    (void)state;
    struct engine *engine;
    assert_int_equal(engine_mem_new(&engine), ERR_OK);
    struct engine_batch *batch = engine_batch_new(engine);
    struct wire_store_ident ident = {.cluster_id = 5, .store_id = 9, .bootstrapped = true, .token = 77};
    pd_link_put_ident(engine, batch, &ident);
    assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
    struct buf row;
    buf_init(&row, 4096);
    assert_int_equal(engine_get(engine, ENGINE_RAFT, bytes_of("i", 1), &row, NULL), ERR_OK);
    for (size_t i = 0; i < row.size; i++) {
        struct error error = {0};
        struct wire_store_ident read;
        row.data[i] ^= 1;
        engine_batch_clear(engine, batch);
        engine_batch_put(engine, batch, ENGINE_RAFT, bytes_of("i", 1), buf_bytes(&row));
        assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
        assert_int_equal(pd_link_load_ident(engine, &read, &error), ERR_CORRUPT);
        assert_non_null(strstr(error.text, "identity"));
        row.data[i] ^= 1;
    }
    buf_fini(&row);
    engine_batch_free(engine, batch);
    engine_mem_free(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_changed_byte_of_a_regions_row_is_told),
        cmocka_unit_test(every_changed_byte_of_the_identity_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
