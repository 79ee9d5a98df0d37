/* Idempotency tokens: a write sent twice happens once, on every replica alike, whatever is restarted in between. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "chosen_bug.h"
#include "base/rng.h"
#include "env/engine_mem.h"
#include "group/group_keys.h"
#include "storenode/store_keys.h"
#include "storenode/tokens.h"

enum { REGION = 9 };

enum { FIRST_INDEX = 5 };

struct replica {
    struct engine *engine;
    struct tokens *tokens;
    struct engine_batch *batch;
};

static void load(struct replica *replica)
{
    replica->tokens = tokens_new(replica->engine, REGION, FIRST_INDEX);
    assert_int_equal(tokens_load(replica->tokens), ERR_OK);
}

static void replica_init(struct replica *replica)
{
    assert_int_equal(engine_mem_new(&replica->engine), ERR_OK);
    load(replica);
    replica->batch = engine_batch_new(replica->engine);
}

static void replica_fini(struct replica *replica)
{
    tokens_free(replica->tokens);
    engine_batch_free(replica->engine, replica->batch);
    engine_mem_free(replica->engine);
}

static void save(struct replica *replica)
{
    tokens_save(replica->tokens, replica->batch, FIRST_INDEX);
    assert_int_equal(engine_write(replica->engine, replica->batch, true, NULL), ERR_OK);
    engine_batch_clear(replica->engine, replica->batch);
}

/* The process ends without a save of its own. */
static void restart(struct replica *replica)
{
    tokens_free(replica->tokens);
    load(replica);
}

static struct token token(uint64_t client, uint64_t sequence, uint64_t done, bool retry)
{
    return (struct token){.client_id = client, .sequence = sequence, .sequence_done = done, .retry = retry};
}

/* What the state machine does: asks, executes if it may, records. Returns what the client is told; *ret_executed. */
static enum err apply(struct replica *replica, struct token token, enum err outcome, raft_index index,
                      bool *ret_executed)
{
    bool seen;
    enum err code = ERR_OK, seen_code = ERR_OK;
    *ret_executed = false;
    code = tokens_check(replica->tokens, &token, &seen, &seen_code);
    if (code != ERR_OK)
        return code;
    if (seen)
        return seen_code;
    *ret_executed = true;
    tokens_record(replica->tokens, &token, outcome, index);
    return outcome;
}

static void assert_executed(struct replica *replica, struct token token, enum err outcome, raft_index index)
{
    bool executed;
    assert_int_equal(apply(replica, token, outcome, index, &executed), outcome);
    assert_true(executed);
}

static void assert_not_executed(struct replica *replica, struct token token, enum err told)
{
    bool executed;
    assert_int_equal(apply(replica, token, ERR_OK, 1000000, &executed), told);
    assert_false(executed);
}

static void repeated_write_is_told_what_became_of_the_first(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    assert_executed(&replica, token(1, 10, 10, false), ERR_OK, 100);
    assert_executed(&replica, token(1, 11, 10, false), ERR_CONDITION_FAILED, 101);
    assert_not_executed(&replica, token(1, 10, 10, true), ERR_OK);
    assert_not_executed(&replica, token(1, 11, 10, true), ERR_CONDITION_FAILED);
    assert_executed(&replica, token(2, 10, 10, false), ERR_OK, 102);   /* another client's numbers are its own */
    assert_executed(&replica, token(1, 5 + 7, 10, true), ERR_OK, 103); /* a repetition whose first try was lost */
    replica_fini(&replica);
}

static void writes_without_a_token_are_always_executed(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    assert_executed(&replica, token(0, 1, 0, false), ERR_OK, 100);
    assert_executed(&replica, token(0, 1, 0, true), ERR_OK, 101);
    replica_fini(&replica);
}

static void tokens_survive_a_restart(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    assert_executed(&replica, token(1, 10, 9, false), ERR_OK, 100);
    assert_executed(&replica, token(1, 12, 9, false), ERR_CONDITION_FAILED, 101);
    save(&replica);
    assert_executed(&replica, token(1, 13, 9, false), ERR_OK, 102); /* not saved: neither is its data */
    restart(&replica);
    assert_not_executed(&replica, token(1, 10, 9, true), ERR_OK);
    assert_not_executed(&replica, token(1, 12, 9, true), ERR_CONDITION_FAILED);
    assert_executed(&replica, token(1, 13, 9, true), ERR_OK, 102); /* replayed */
    assert_executed(&replica, token(1, 11, 9, true), ERR_OK, 103);
    save(&replica);
    restart(&replica);
    for (uint64_t sequence = 10; sequence <= 13; sequence++)
        assert_not_executed(&replica, token(1, sequence, 9, true), sequence == 12 ? ERR_CONDITION_FAILED : ERR_OK);
    replica_fini(&replica);
}

static void what_a_client_said_it_finished_is_forgotten_and_never_done_again(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    assert_executed(&replica, token(1, 10, 10, false), ERR_OK, 100);
    assert_executed(&replica, token(1, 20, 15, false), ERR_OK, 101);
    assert_not_executed(&replica, token(1, 10, 10, true), ERR_MAYBE);
    assert_not_executed(&replica, token(1, 14, 10, false), ERR_MAYBE);
    assert_executed(&replica, token(1, 15, 10, false), ERR_OK, 102); /* an older word does not take back a newer one */
    assert_not_executed(&replica, token(1, 14, 10, true), ERR_MAYBE);
    save(&replica);
    restart(&replica);
    assert_not_executed(&replica, token(1, 14, 10, true), ERR_MAYBE);
    replica_fini(&replica);
}

static void too_many_unfinished_writes_are_refused_until_some_finish(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    for (uint64_t i = 0; i < TOKENS_SEQUENCES_MAX; i++)
        assert_executed(&replica, token(1, 100 + i, 100, false), ERR_OK, 100 + i);
    uint64_t next = 100 + TOKENS_SEQUENCES_MAX;
    assert_not_executed(&replica, token(1, next, 100, false), ERR_BUSY);
    save(&replica); /* the largest row fits */
    restart(&replica);
    assert_not_executed(&replica, token(1, next, 100, false), ERR_BUSY);
    assert_not_executed(&replica, token(1, 100, 100, true), ERR_OK);
    assert_executed(&replica, token(1, next, 101, false), ERR_OK, 1000000);
    replica_fini(&replica);
}

static void oldest_client_goes_and_its_repetitions_are_uncertain(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    for (uint64_t client = 1; client <= TOKENS_CLIENTS_MAX; client++)
        assert_executed(&replica, token(client, 1, 1, false), ERR_OK, 100 + client);
    assert_executed(&replica, token(1, 2, 1, false), ERR_OK, 5000);   /* client 1 is young again, 2 is the oldest */
    assert_executed(&replica, token(9999, 1, 1, true), ERR_OK, 5001); /* nobody went before: a repetition is certain */
    assert_not_executed(&replica, token(2, 1, 1, true), ERR_MAYBE);
    assert_not_executed(&replica, token(1, 1, 1, true), ERR_OK);
    assert_not_executed(&replica, token(3, 1, 1, true), ERR_OK);
    save(&replica);
    restart(&replica);
    assert_not_executed(&replica, token(2, 1, 1, true), ERR_MAYBE);
    assert_not_executed(&replica, token(9999, 1, 1, true), ERR_OK);
    assert_executed(&replica, token(2, 2, 2, false), ERR_OK, 5002); /* new work of a forgotten client goes on */
    replica_fini(&replica);
}

static void client_that_comes_back_is_not_told_that_its_lost_writes_never_were(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    assert_executed(&replica, token(1, 7, 5, false), ERR_OK, 100); /* the answer gets lost */
    for (uint64_t client = 2; client <= TOKENS_CLIENTS_MAX + 1; client++)
        assert_executed(&replica, token(client, 1, 1, false), ERR_OK, 100 + client);
    assert_executed(&replica, token(1, 8, 5, false), ERR_OK, 5000);
    assert_not_executed(&replica, token(1, 7, 5, true), ERR_MAYBE);
    assert_not_executed(&replica, token(1, 8, 5, true), ERR_OK);
    save(&replica);
    restart(&replica);
    assert_not_executed(&replica, token(1, 7, 5, true), ERR_MAYBE);
    assert_executed(&replica, token(1, 9, 5, false), ERR_OK, 5001);
    assert_executed(&replica, token(TOKENS_CLIENTS_MAX, 2, 1, true), ERR_OK, 5002); /* known all the time */
    replica_fini(&replica);
}

static void hostile_numbers_are_refused_and_harm_nothing(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    assert_executed(&replica, token(1, 10, 10, false), ERR_OK, 100);
    assert_not_executed(&replica, token(1, UINT64_MAX, 10, false), ERR_BUSY);
    assert_not_executed(&replica, token(1, 10 + (1ULL << 32), 10, false), ERR_BUSY);
    assert_not_executed(&replica, token(1, 11, UINT64_MAX, false), ERR_MAYBE); /* finished what it now asks */
    save(&replica);
    restart(&replica);
    assert_not_executed(&replica, token(1, 10, 10, true), ERR_OK);
    replica_fini(&replica);
}

/* Rows keep distances of 32 bits: the very first write of a client must not be further away either. */
static void a_first_write_far_from_what_is_done_is_refused(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica);
    assert_not_executed(&replica, token(1, 1ULL << 32, 0, false), ERR_BUSY);
    assert_not_executed(&replica, token(1, UINT64_MAX, 7, false), ERR_BUSY);
    assert_executed(&replica, token(1, UINT32_MAX, 0, false), ERR_OK, 10);
    save(&replica);
    restart(&replica);
    assert_not_executed(&replica, token(1, UINT32_MAX, 0, true), ERR_OK);
    replica_fini(&replica);
}

static void put_window(struct replica *replica, uint64_t client, const uint8_t *entries, size_t size)
{
    uint8_t row[17 + 64 + 4] = {0};
    struct group_key key = group_key_indexed(REGION, STORE_TOKENS, client);
    memcpy(row + 17, entries, size);
    store_u32_be(row + 17 + size, group_checksum(STORE_TOKENS, row, 17 + size));
    engine_batch_put(replica->engine, replica->batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(row, 21 + size));
    assert_int_equal(engine_write(replica->engine, replica->batch, true, NULL), ERR_OK);
    engine_batch_clear(replica->engine, replica->batch);
}

static void rows_that_no_store_writes_are_corrupt(void **state)
{
    (void)state;
    static const uint8_t good[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0}, twice[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0},
                         down[] = {0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0};
    static const struct {
        uint64_t client;
        const uint8_t *entries;
        enum err code;
    } cases[] = {{1, good, ERR_OK}, {1, twice, ERR_CORRUPT}, {1, down, ERR_CORRUPT}, {0, good, ERR_CORRUPT}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct replica replica;
        replica_init(&replica);
        put_window(&replica, cases[i].client, cases[i].entries, sizeof good);
        tokens_free(replica.tokens);
        replica.tokens = tokens_new(replica.engine, REGION, FIRST_INDEX);
        assert_int_equal(tokens_load(replica.tokens), cases[i].code);
        replica_fini(&replica);
    }
    struct replica replica;
    replica_init(&replica);
    for (uint64_t client = 1; client <= TOKENS_CLIENTS_MAX + 1; client++)
        put_window(&replica, client, good, sizeof good);
    tokens_free(replica.tokens);
    replica.tokens = tokens_new(replica.engine, REGION, FIRST_INDEX);
    assert_int_equal(tokens_load(replica.tokens), ERR_CORRUPT);
    replica_fini(&replica);
}

static void damaged_row_is_corrupt(void **state)
{
    (void)state;
    struct group_key keys[] = {group_key_indexed(REGION, STORE_TOKENS, 1), group_key(REGION, STORE_TOKENS_EDGE)};
    for (size_t at = 0; at < 2; at++) {
        struct replica replica;
        struct buf row;
        replica_init(&replica);
        buf_init(&row, 100000);
        for (uint64_t client = 0; client <= TOKENS_CLIENTS_MAX; client++)
            assert_executed(&replica, token(1 + (client + 1) % (TOKENS_CLIENTS_MAX + 1), 1, 1, false), ERR_OK,
                            1 + client);
        save(&replica);
        assert_int_equal(engine_get(replica.engine, ENGINE_RAFT, group_key_bytes(&keys[at]), &row, NULL), ERR_OK);
        for (size_t i = 0; i < row.size; i++) {
            row.data[i] ^= 0x10;
            engine_batch_put(replica.engine, replica.batch, ENGINE_RAFT, group_key_bytes(&keys[at]), buf_bytes(&row));
            assert_int_equal(engine_write(replica.engine, replica.batch, true, NULL), ERR_OK);
            engine_batch_clear(replica.engine, replica.batch);
            struct tokens *damaged = tokens_new(replica.engine, REGION, FIRST_INDEX);
            assert_int_equal(tokens_load(damaged), ERR_CORRUPT);
            tokens_free(damaged);
            row.data[i] ^= 0x10;
        }
        buf_fini(&row);
        replica_fini(&replica);
    }
}

/* The same entries on replicas that save at different times, restart and unload: the same answers and the same rows. */
static void replicas_agree_whenever_they_save(void **state)
{
    (void)state;
    enum { REPLICAS = 3, STEPS = 30000, CLIENTS = TOKENS_CLIENTS_MAX + 40 };
    struct replica replicas[REPLICAS];
    struct rng rng;
    rng_init(&rng, 1, "tokens");
    for (int i = 0; i < REPLICAS; i++)
        replica_init(&replicas[i]);
    for (raft_index index = 1; index <= STEPS; index++) {
        uint64_t client = 1 + rng_below(&rng, CLIENTS), round = index / 300;
        struct token asked =
            token(client, round * 3 + rng_below(&rng, 8), round * 3 + rng_below(&rng, 3), rng_below(&rng, 2));
        enum err outcome = rng_below(&rng, 4) ? ERR_OK : ERR_CONDITION_FAILED, told[REPLICAS];
        bool executed[REPLICAS];
        for (int i = 0; i < REPLICAS; i++) {
            told[i] = apply(&replicas[i], asked, outcome, index, &executed[i]);
            assert_int_equal(told[i], told[0]);
            assert_int_equal(executed[i], executed[0]);
            if (i != 0 && rng_below(&rng, i == 1 ? 2 : 50))
                continue; /* the first saves each time */
            save(&replicas[i]);
            if (rng_below(&rng, 100) == 0)
                restart(&replicas[i]);
        }
    }
    struct engine_iter *iters[REPLICAS];
    for (int i = 0; i < REPLICAS; i++) {
        save(&replicas[i]);
        iters[i] = engine_iter_new(replicas[i].engine, ENGINE_RAFT, bytes_empty(), bytes_empty());
        engine_iter_seek(replicas[i].engine, iters[i], bytes_empty());
    }
    size_t rows = 0;
    for (; engine_iter_valid(replicas[0].engine, iters[0]); rows++) {
        for (int i = 1; i < REPLICAS; i++) {
            assert_true(engine_iter_valid(replicas[i].engine, iters[i]));
            assert_true(bytes_equal(engine_iter_key(replicas[i].engine, iters[i]),
                                    engine_iter_key(replicas[0].engine, iters[0])));
            assert_true(bytes_equal(engine_iter_value(replicas[i].engine, iters[i]),
                                    engine_iter_value(replicas[0].engine, iters[0])));
        }
        for (int i = 0; i < REPLICAS; i++)
            engine_iter_next(replicas[i].engine, iters[i]);
    }
    assert_int_equal(rows, TOKENS_CLIENTS_MAX + 1);
    for (int i = 0; i < REPLICAS; i++) {
        assert_false(engine_iter_valid(replicas[i].engine, iters[i]));
        engine_iter_free(replicas[i].engine, iters[i]);
        replica_fini(&replicas[i]);
    }
}

/* ---- two regions become one */

static void what_either_region_did_is_known_to_the_one_that_is_left(void **state)
{
    (void)state;
    struct replica target, source;
    replica_init(&target);
    replica_init(&source);
    bool executed;
    apply(&target, token(1, 5, 3, false), ERR_OK, 10, &executed);
    apply(&source, token(1, 6, 4, false), ERR_CONDITION_FAILED, 20, &executed);
    apply(&source, token(2, 1, 1, false), ERR_OK, 21, &executed);
    tokens_absorb(target.tokens, source.tokens, 11);
    assert_int_equal(apply(&target, token(1, 5, 4, true), ERR_OK, 12, &executed), ERR_OK);
    assert_false(executed);
    assert_int_equal(apply(&target, token(1, 6, 4, true), ERR_OK, 12, &executed), ERR_CONDITION_FAILED);
    assert_false(executed);
    assert_int_equal(apply(&target, token(2, 1, 1, true), ERR_OK, 12, &executed), ERR_OK);
    assert_false(executed);
    assert_int_equal(apply(&target, token(2, 2, 1, true), ERR_OK, 12, &executed), ERR_OK);
    assert_true(executed);
    save(&target);
    restart(&target);
    assert_int_equal(apply(&target, token(1, 6, 4, true), ERR_OK, 13, &executed), ERR_CONDITION_FAILED);
    assert_false(executed);
    replica_fini(&target);
    replica_fini(&source);
}

/* Cut at a border under one number, both parts then in one region: the one is done, the other is asked for, and neither may
 * be taken for the other. */
static void what_was_done_for_a_repetition_of_many_keys_is_in_doubt(void **state)
{
    (void)state;
    struct replica target, source;
    replica_init(&target);
    replica_init(&source);
    bool executed;
    struct token whole = token(1, 5, 3, false), part = token(1, 6, 3, true), theirs = token(1, 7, 3, true);
    whole.part = part.part = theirs.part = true;
    assert_int_equal(apply(&target, part, ERR_OK, 10, &executed), ERR_OK);
    assert_true(executed);
    apply(&source, whole, ERR_OK, 20, &executed);
    apply(&source, theirs, ERR_OK, 20, &executed);
    tokens_absorb(target.tokens, source.tokens, 11);
    save(&target);
    restart(&target);
    whole.retry = true;
    assert_int_equal(apply(&target, part, ERR_OK, 12, &executed), ERR_MAYBE);
    assert_false(executed);
    assert_int_equal(apply(&target, theirs, ERR_OK, 12, &executed), ERR_MAYBE);
    assert_false(executed);
    assert_int_equal(apply(&target, whole, ERR_OK, 12, &executed), ERR_OK); /* all of it was */
    assert_false(executed);
    struct token one_key = token(1, 8, 3, true);
    apply(&target, one_key, ERR_OK, 13, &executed);
    assert_int_equal(apply(&target, one_key, ERR_OK, 14, &executed), ERR_OK);
    assert_false(executed);
    replica_fini(&target);
    replica_fini(&source);
}

static void what_one_of_them_has_forgotten_is_in_doubt_for_both(void **state)
{
    (void)state;
    struct replica target, source;
    replica_init(&target);
    replica_init(&source);
    bool executed;
    for (uint64_t client = 1; client <= TOKENS_CLIENTS_MAX + 1; client++) /* client 1 is forgotten */
        apply(&source, token(client, 1, 1, false), ERR_OK, 20 + client, &executed);
    apply(&target, token(1, 2, 1, false), ERR_OK, 10, &executed);
    tokens_absorb(target.tokens, source.tokens, 11);
    assert_int_equal(apply(&target, token(1, 1, 1, true), ERR_OK, 12, &executed), ERR_MAYBE);
    assert_false(executed);
    assert_int_equal(apply(&target, token(5000, 1, 1, true), ERR_OK, 12, &executed), ERR_MAYBE); /* perhaps it was, too */
    save(&target);
    restart(&target); /* no more rows than there may be */
    assert_int_equal(apply(&target, token(7, 1, 1, true), ERR_OK, 13, &executed), ERR_OK);
    assert_false(executed);
    replica_fini(&target);
    replica_fini(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeated_write_is_told_what_became_of_the_first),
        cmocka_unit_test(writes_without_a_token_are_always_executed),
        cmocka_unit_test(tokens_survive_a_restart),
        cmocka_unit_test(what_a_client_said_it_finished_is_forgotten_and_never_done_again),
        cmocka_unit_test(too_many_unfinished_writes_are_refused_until_some_finish),
        cmocka_unit_test(oldest_client_goes_and_its_repetitions_are_uncertain),
        cmocka_unit_test(client_that_comes_back_is_not_told_that_its_lost_writes_never_were),
        cmocka_unit_test(hostile_numbers_are_refused_and_harm_nothing),
        cmocka_unit_test(damaged_row_is_corrupt),
        cmocka_unit_test(a_first_write_far_from_what_is_done_is_refused),
        cmocka_unit_test(rows_that_no_store_writes_are_corrupt),
        cmocka_unit_test(replicas_agree_whenever_they_save),
        cmocka_unit_test(what_either_region_did_is_known_to_the_one_that_is_left),
        cmocka_unit_test(what_was_done_for_a_repetition_of_many_keys_is_in_doubt),
        cmocka_unit_test(what_one_of_them_has_forgotten_is_in_doubt_for_both),
    };
    choose_bug();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
