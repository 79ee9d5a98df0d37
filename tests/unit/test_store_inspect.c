/* What lies in a store's engine is sound, or what is wrong with it is told: each byte of each row, and each row. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/engine_mem.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "group/group_log.h"
#include "storenode/pd_link.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/row.h"
#include "storenode/store_inspect.h"
#include "storenode/store_keys.h"
#include "storenode/tokens.h"

enum { STORE = 3, REGION_A = 4, REGION_B = 9, ENTRY_COUNT = 6, ROWS_MAX = 128, CLIENT = 0x77 };

struct row {
    enum engine_cf cf;
    struct bytes key, value; /* owned */
};

struct world {
    struct engine *engine;
    struct row rows[ROWS_MAX];
    size_t count;
    char first[512]; /* finding or warning of the last look */
};

static void put(struct engine *engine, enum engine_cf cf, struct bytes key, struct bytes value)
{
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, cf, key, value);
    assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
    engine_batch_free(engine, batch);
}

static void delete (struct engine *engine, enum engine_cf cf, struct bytes key)
{
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_delete(engine, batch, cf, key);
    assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
    engine_batch_free(engine, batch);
}

static void put_entry(struct engine *engine, region_id id, raft_index index, uint8_t kind, struct bytes data)
{
    struct engine_batch *batch = engine_batch_new(engine);
    struct raft_entry entry = {.term = index < 8 ? 6 : 7, .index = index, .kind = kind, .data = data};
    struct buf scratch;
    buf_init(&scratch, 1 << 20);
    group_log_put_entry(engine, batch, id, &entry, &scratch);
    assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
    engine_batch_free(engine, batch);
    buf_fini(&scratch);
}

static void put_write_entry(struct engine *engine, region_id id, raft_index index, const char *key)
{
    struct wire_log_write writes[] = {
        {.op = WIRE_KV_OP_PUT,
         .key = bytes_of_string(key),
         .value = bytes_of("value", 5),
         .client_id = CLIENT,
         .sequence = index,
         .sequence_done = 1},
        {.op = WIRE_KV_OP_DELETE_KEY, .key = bytes_of_string(key)},
    };
    struct wire_log_command command = {.epoch_version = 1, .writes = writes, .writes_count = 2};
    struct buf data;
    buf_init(&data, 1 << 20);
    assert_int_equal(wire_encode_log_command(&command, &data), ERR_OK);
    put_entry(engine, id, index, RAFT_ENTRY_NORMAL, buf_bytes(&data));
    buf_fini(&data);
}

static void put_region(struct engine *engine, region_id id, const char *start, const char *end)
{
    struct wire_peer peers[] = {{.id = id * 10 + 1, .store_id = STORE}, {.id = id * 10 + 2, .store_id = STORE + 1}};
    struct wire_region region = {.id = id,
                                 .epoch_conf = 1,
                                 .epoch_version = 1,
                                 .start_key = bytes_of_string(start),
                                 .end_key = bytes_of_string(end),
                                 .peers = peers,
                                 .peers_count = 2};
    struct wire_region_state state = {.region = &region, .local_peer_id = peers[0].id};
    struct group_key key = group_key(id, STORE_REGION_STATE);
    struct buf value;
    buf_init(&value, 1 << 16);
    assert_int_equal(region_row_encode(&state, &value), ERR_OK);
    put(engine, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&value));
    buf_fini(&value);
}

/* Log 6..11, applied 10, tokens saved as of 9. */
static void put_group(struct engine *engine, region_id id, const char *start, const char *end)
{
    struct raft_conf conf = {0};
    struct raft_hard_state hard = {.term = 7, .vote = id * 10 + 1, .commit = 10};
    struct engine_batch *batch = engine_batch_new(engine);
    for (peer_id peer = 1; peer <= 2; peer++)
        assert_int_equal(raft_conf_add(&conf, id * 10 + peer, RAFT_VOTER), ERR_OK);
    put_region(engine, id, start, end);
    group_create(engine, batch, id, &conf);
    group_log_put_hard(engine, batch, id, &hard);
    region_fsm_put_applied(engine, batch, id, 10, 7, NULL);
    struct tokens *tokens = tokens_new(engine, id, GROUP_FIRST_INDEX);
    assert_int_equal(tokens_load(tokens), ERR_OK);
    tokens_record(tokens, &(struct token){.client_id = CLIENT, .sequence = 4, .sequence_done = 2}, ERR_OK, 8);
    tokens_record(tokens, &(struct token){.client_id = CLIENT, .sequence = 7, .sequence_done = 2}, ERR_OK, 9);
    tokens_save(tokens, batch, 9);
    tokens_free(tokens);
    assert_int_equal(engine_write(engine, batch, true, NULL), ERR_OK);
    engine_batch_free(engine, batch);
    put_entry(engine, id, 6, RAFT_ENTRY_NORMAL, bytes_empty());
    for (raft_index index = 7; index < 6 + ENTRY_COUNT; index++)
        put_write_entry(engine, id, index, id == REGION_A ? "rb" : "rn");
}

static void keep_rows(struct world *world)
{
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        struct engine_iter *iter = engine_iter_new(world->engine, (enum engine_cf)cf, bytes_empty(), bytes_empty());
        for (engine_iter_seek(world->engine, iter, bytes_empty()); engine_iter_valid(world->engine, iter);
             engine_iter_next(world->engine, iter)) {
            struct bytes key = engine_iter_key(world->engine, iter), value = engine_iter_value(world->engine, iter);
            assert_true(world->count < ROWS_MAX);
            uint8_t *copy = malloc(key.size + value.size);
            assert_non_null(copy);
            memcpy(copy, key.data, key.size);
            memcpy(copy + key.size, value.data, value.size);
            world->rows[world->count++] =
                (struct row){(enum engine_cf)cf, bytes_of(copy, key.size), bytes_of(copy + key.size, value.size)};
        }
        engine_iter_free(world->engine, iter);
    }
}

static void world_init(struct world *world)
{
    *world = (struct world){0};
    assert_int_equal(engine_mem_new(&world->engine), ERR_OK);
    struct wire_store_ident ident = {.cluster_id = 1, .store_id = STORE, .bootstrapped = true, .token = 5};
    struct engine_batch *batch = engine_batch_new(world->engine);
    engine_batch_put(world->engine, batch, ENGINE_RAFT, bytes_of("p", 1), bytes_of("s", 1));
    pd_link_put_ident(world->engine, batch, &ident);
    assert_int_equal(engine_write(world->engine, batch, true, NULL), ERR_OK);
    engine_batch_free(world->engine, batch);
    put_group(world->engine, REGION_A, "", "rm");
    put_group(world->engine, REGION_B, "rm", "");
    put(world->engine, ENGINE_DEFAULT, bytes_of("rb", 2), bytes_of("\0value", 6));
    put(world->engine, ENGINE_DEFAULT, bytes_of("rn", 2), bytes_of("\0", 1));
    keep_rows(world);
}

static void world_fini(struct world *world)
{
    for (size_t i = 0; i < world->count; i++)
        free((void *)world->rows[i].key.data);
    engine_mem_free(world->engine);
}

static void note(void *context, bool is_warning, const char *text)
{
    struct world *world = context;
    (void)is_warning;
    if (!world->first[0])
        snprintf(world->first, sizeof world->first, "%s", text);
}

static struct inspect_totals look(struct world *world)
{
    struct inspect inspect = {.engine = world->engine, .context = world, .found = note};
    world->first[0] = '\0';
    inspect_all(&inspect);
    return inspect.totals;
}

static bool is_user_row(const struct row *row)
{
    return row->cf == ENGINE_DEFAULT;
}

static bool is_suffix(const struct row *row, uint8_t suffix)
{
    return row->cf == ENGINE_RAFT && row->key.size >= 10 && row->key.data[9] == suffix;
}

/* Rows with a checksum of their own, and the role, which is one byte. */
static bool has_checksum(const struct row *row)
{
    return !is_user_row(row) && !is_suffix(row, STORE_REGION_STATE) && row->key.data[0] != 'i';
}

static void print_row(const struct row *row, const char *what, size_t at)
{
    printf("%s %zu of the row of cf %d, key ", what, at, row->cf);
    for (size_t i = 0; i < row->key.size; i++)
        printf("%02x", row->key.data[i]);
    printf(" was not found\n");
}

static void a_sound_store_has_no_findings_and_is_counted(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct inspect_totals totals = look(&world);
    assert_string_equal(world.first, "");
    assert_int_equal(totals.finding_count + totals.warning_count, 0);
    assert_int_equal(totals.row_count, world.count);
    assert_int_equal(totals.log_count, 2 * ENTRY_COUNT);
    assert_int_equal(totals.group_count, 2);
    uint64_t size = 0;
    for (size_t i = 0; i < world.count; i++)
        size += world.rows[i].key.size + world.rows[i].value.size;
    assert_int_equal(totals.size, size);
    world_fini(&world);
}

static void every_flipped_bit_of_a_row_with_a_checksum_is_found_and_none_is_fatal(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t missed = 0, silent[2] = {0};
    for (size_t i = 0; i < world.count; i++) {
        const struct row *row = &world.rows[i];
        uint8_t *value = malloc(row->value.size + 1);
        assert_non_null(value);
        for (size_t at = 0; at < row->value.size; at++)
            for (int bit = 0; bit < 8; bit++) {
                memcpy(value, row->value.data, row->value.size);
                value[at] ^= (uint8_t)(1 << bit);
                put(world.engine, row->cf, row->key, bytes_of(value, row->value.size));
                struct inspect_totals totals = look(&world);
                bool must = has_checksum(row) || (is_user_row(row) && at == 0);
                if (totals.finding_count == 0 && must) {
                    print_row(row, "byte", at);
                    missed++;
                }
                silent[is_user_row(row)] += totals.finding_count == 0 && !must;
            }
        put(world.engine, row->cf, row->key, row->value);
        free(value);
    }
    assert_int_equal(missed, 0);
    assert_int_equal(look(&world).finding_count, 0);
    printf("flips without a finding: %zu of region and identity rows, %zu of users' values\n", silent[0], silent[1]);
    world_fini(&world);
}

static void a_row_that_is_cut_or_longer_is_found(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t missed = 0;
    for (size_t i = 0; i < world.count; i++) {
        const struct row *row = &world.rows[i];
        for (size_t size = 0; size < row->value.size; size++) {
            put(world.engine, row->cf, row->key, bytes_of(row->value.data, size));
            struct inspect_totals totals = look(&world);
            if (totals.finding_count == 0 && (has_checksum(row) || size == 0)) {
                print_row(row, "cut to", size);
                missed++;
            }
        }
        uint8_t *longer = calloc(1, row->value.size + 1);
        assert_non_null(longer);
        memcpy(longer, row->value.data, row->value.size);
        put(world.engine, row->cf, row->key, bytes_of(longer, row->value.size + 1));
        if (look(&world).finding_count == 0 && has_checksum(row)) {
            print_row(row, "longer than", row->value.size);
            missed++;
        }
        free(longer);
        put(world.engine, row->cf, row->key, row->value);
    }
    assert_int_equal(missed, 0);
    world_fini(&world);
}

/* Whom a row belongs to is in its key. What only RocksDB's checksums guard: the client of a tokens row, a user's key. */
static void a_row_under_another_key_or_gone_is_found(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    size_t missed = 0;
    for (size_t i = 0; i < world.count; i++) {
        const struct row *row = &world.rows[i];
        uint8_t key[32];
        bool is_tokens = is_suffix(row, STORE_TOKENS), is_edge = is_suffix(row, STORE_TOKENS_EDGE);
        /* The newest entry is the one row of a log whose loss looks like a log that ends before it. */
        bool is_last = is_suffix(row, GROUP_LOG) && load_u64_be(row->key.data + 10) == 5 + ENTRY_COUNT;
        delete (world.engine, row->cf, row->key);
        struct inspect_totals totals = look(&world);
        bool may_go = is_user_row(row) || is_tokens || is_edge || is_last;
        if (totals.finding_count == 0 && !may_go && row->key.data[0] != 'p') {
            print_row(row, "deletion", i);
            missed++;
        }
        for (size_t at = 0; at < row->key.size; at++) {
            memcpy(key, row->key.data, row->key.size);
            key[at] ^= 0x40;
            put(world.engine, row->cf, bytes_of(key, row->key.size), row->value);
            totals = look(&world);
            bool free_key = (is_tokens && at >= 10) || (is_user_row(row) && at > 0);
            if (totals.finding_count == 0 && !free_key) {
                print_row(row, "byte of the key", at);
                missed++;
            }
            delete (world.engine, row->cf, bytes_of(key, row->key.size));
        }
        put(world.engine, row->cf, row->key, row->value);
    }
    assert_int_equal(missed, 0);
    assert_int_equal(look(&world).finding_count, 0);
    world_fini(&world);
}

static void expect(struct world *world, const char *part)
{
    struct inspect_totals totals = look(world);
    assert_int_not_equal(totals.finding_count + totals.warning_count, 0);
    if (!strstr(world->first, part))
        fail_msg("\"%s\" is not about \"%s\"", world->first, part);
}

static void what_rows_say_of_each_other_is_compared(void **state)
{
    (void)state;
    static const struct {
        raft_index truncated, applied, commit, tokens;
        raft_term term;
        const char *text;
    } cases[] = {
        {5, 12, 10, 9, 7, "applied 12 is after the end of the log, 11"},
        {5, 10, 12, 9, 7, "committed 12 is after the end of the log, 11"},
        {5, 10, 10, 11, 7, "tokens are saved as of 11, but applied is 10"},
        {5, 10, 10, 9, 6, "term 7 is impossible"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world world;
        world_init(&world);
        struct engine_batch *batch = engine_batch_new(world.engine);
        struct raft_hard_state hard = {.term = cases[i].term, .commit = cases[i].commit};
        struct raft_position truncated = {.index = cases[i].truncated, .term = GROUP_FIRST_TERM};
        group_log_put_hard(world.engine, batch, REGION_A, &hard);
        group_log_put_truncated(world.engine, batch, REGION_A, truncated);
        region_fsm_put_applied(world.engine, batch, REGION_A, cases[i].applied, 7, NULL);
        struct tokens *tokens = tokens_new(world.engine, REGION_A, GROUP_FIRST_INDEX);
        assert_int_equal(tokens_load(tokens), ERR_OK);
        tokens_save(tokens, batch, cases[i].tokens);
        tokens_free(tokens);
        assert_int_equal(engine_write(world.engine, batch, true, NULL), ERR_OK);
        engine_batch_free(world.engine, batch);
        expect(&world, cases[i].text);
        world_fini(&world);
    }
}

/* Made for a snapshot that has not come yet (peer_create.c): nothing was applied, nothing is saved. */
static void a_peer_that_waits_for_its_rows_is_sound(void **state)
{
    (void)state;
    enum { REGION_C = 15 };
    struct world world;
    world_init(&world);
    put_region(world.engine, REGION_B, "rm", "rx");
    put_region(world.engine, REGION_C, "rx", "");
    struct engine_batch *batch = engine_batch_new(world.engine);
    struct raft_conf conf = {0};
    struct raft_hard_state hard = {0};
    for (peer_id peer = 1; peer <= 2; peer++)
        assert_int_equal(raft_conf_add(&conf, REGION_C * 10 + peer, RAFT_VOTER), ERR_OK);
    group_log_put_hard(world.engine, batch, REGION_C, &hard);
    group_log_put_truncated(world.engine, batch, REGION_C, (struct raft_position){0});
    group_put_conf(world.engine, batch, REGION_C, &conf);
    region_fsm_put_applied(world.engine, batch, REGION_C, 0, 0, NULL);
    assert_int_equal(engine_write(world.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(world.engine, batch);
    struct inspect_totals totals = look(&world);
    assert_string_equal(world.first, "");
    assert_int_equal(totals.finding_count + totals.warning_count, 0);
    world_fini(&world);
}

static void a_log_cut_beyond_what_tokens_are_saved_of_is_found(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct engine_batch *batch = engine_batch_new(world.engine);
    struct raft_position truncated = {.index = 10, .term = 7};
    group_log_put_truncated(world.engine, batch, REGION_A, truncated);
    group_log_delete_head(world.engine, batch, REGION_A, 11);
    assert_int_equal(engine_write(world.engine, batch, true, NULL), ERR_OK);
    engine_batch_free(world.engine, batch);
    expect(&world, "the log begins after 10, but tokens are saved as of 9 only");
    world_fini(&world);
}

static void holes_overlaps_and_homeless_rows_are_found(void **state)
{
    (void)state;
    struct world world;
    world_init(&world);
    struct group_key gone = group_key_indexed(REGION_B, GROUP_LOG, 8);
    delete (world.engine, ENGINE_RAFT, group_key_bytes(&gone));
    expect(&world, "region 9: log entries 8..8 are missing");
    world_fini(&world);

    world_init(&world);
    struct group_key hard = group_key(REGION_A, GROUP_HARD_STATE), conf = group_key(REGION_A, GROUP_CONF);
    delete (world.engine, ENGINE_RAFT, group_key_bytes(&hard));
    delete (world.engine, ENGINE_RAFT, group_key_bytes(&conf));
    expect(&world, "region 4: missing: hard state, membership");
    world_fini(&world);

    world_init(&world);
    put_region(world.engine, REGION_B, "rl", "");
    expect(&world, "regions 4 and 9 overlap");
    assert_int_equal(look(&world).row_count, world.count); /* nothing is read twice */
    put_region(world.engine, REGION_B, "rn", "rp");
    assert_int_equal(look(&world).finding_count, 0);
    put(world.engine, ENGINE_DEFAULT, bytes_of("rm1", 3), bytes_of("\0x", 2));
    expect(&world, "1 rows from \"rm\" to \"rn\" belong to no known region");
    put(world.engine, ENGINE_DEFAULT, bytes_of("rm1", 3), bytes_of("\1x", 2));
    expect(&world, "row rm1: unknown format");
    world_fini(&world);
}

static void the_least_index_to_keep_is_that_of_tokens_or_of_what_is_not_applied(void **state)
{
    (void)state;
    struct world world;
    struct inspect_group group;
    world_init(&world);
    struct inspect inspect = {.engine = world.engine};
    assert_true(inspect_group(&inspect, REGION_A, &group));
    assert_int_equal(group.first_index, 6);
    assert_int_equal(group.last_index, 5 + ENTRY_COUNT);
    assert_int_equal(inspect_group_lag(&group), 1);
    assert_int_equal(inspect_group_min_checkpoint(&group), 10);
    assert_int_equal(group.client_count, 1);
    inspect_group_fini(&group);
    assert_false(inspect_group(&inspect, REGION_A + 1, &group));
    inspect_group_fini(&group);
    assert_int_equal(inspect.totals.finding_count, 0);
    world_fini(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_store_has_no_findings_and_is_counted),
        cmocka_unit_test(every_flipped_bit_of_a_row_with_a_checksum_is_found_and_none_is_fatal),
        cmocka_unit_test(a_row_that_is_cut_or_longer_is_found),
        cmocka_unit_test(a_row_under_another_key_or_gone_is_found),
        cmocka_unit_test(what_rows_say_of_each_other_is_compared),
        cmocka_unit_test(a_peer_that_waits_for_its_rows_is_sound),
        cmocka_unit_test(a_log_cut_beyond_what_tokens_are_saved_of_is_found),
        cmocka_unit_test(holes_overlaps_and_homeless_rows_are_found),
        cmocka_unit_test(the_least_index_to_keep_is_that_of_tokens_or_of_what_is_not_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
