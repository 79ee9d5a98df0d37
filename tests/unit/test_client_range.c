/* The client and ranges: cut at the borders of regions, told how far it got, one token as long as it must be one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "chosen_bug.h"
#include "fake_cluster.h"
#include "meta/region.h"
#include "storenode/key_range.h"
#include "storenode/range_sum.h"

enum { SECOND = 1000000 };

struct script {
    uint32_t from, count; /* requests, in order of coming */
    enum fake_fate fate;
    enum err code;
};

static enum fake_fate run_script(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                                 struct wire_kv_reply *reply)
{
    const struct script *script = cluster->hook_state;
    uint32_t number = cluster->hook_count++;
    (void)store;
    (void)request;
    if (number < script->from || number >= script->from + script->count)
        return FAKE_SERVE;
    reply->code = (uint16_t)script->code;
    return script->fate;
}

static struct fake_cluster *open_cluster(uint32_t regions, struct script *script)
{
    struct fake_cluster *cluster = fake_new(regions);
    fake_open_client(cluster, NULL);
    for (char c = 'a'; c <= 'h'; c++)
        fake_put(cluster, (char[]){'r', c, 0}, bytes_of("value", 5));
    cluster->hook = script ? run_script : NULL;
    cluster->hook_state = script;
    return cluster;
}

static struct client_call range_call(enum client_op op, const char *start, const char *end)
{
    return (struct client_call){
        .op = op,
        .scan = {.size = sizeof(struct polder_scan), .start = polder_string(start), .end = polder_string(end)}};
}

static uint32_t rows_left(struct fake_cluster *cluster)
{
    return cluster->row_count;
}

static void keep(void *user, struct polder_result *take_result)
{
    *(struct polder_result **)user = take_result;
}

/* ---- delete range */

static void a_range_is_cut_at_the_borders_of_regions(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(4, NULL); /* borders at b, d, f */
    struct polder_result *result = fake_call(cluster, range_call(CLIENT_DELETE_RANGE, "a", "e"));
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_false(result->more);
    assert_int_equal(rows_left(cluster), 4);
    assert_null(fake_row(cluster, "rd"));
    assert_non_null(fake_row(cluster, "re"));
    polder_result_free(result);
    assert_int_equal(cluster->log_count, 3);
    static const char *const ends[] = {"rb", "rd", "re"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(cluster->log[i].end_key, ends[i]);
        assert_int_equal(cluster->log[i].sequence, (unsigned)i + 1); /* each piece is a write of its own */
        assert_false(cluster->log[i].retry);
    }
    result = fake_call(cluster, range_call(CLIENT_DELETE_RANGE, "", ""));
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_int_equal(rows_left(cluster), 0);
    polder_result_free(result);
    uint32_t before = cluster->log_count;
    result = fake_call(cluster, range_call(CLIENT_DELETE_RANGE, "e", "e"));
    assert_int_equal(result->outcome, POLDER_DONE); /* nothing to do, nobody asked */
    polder_result_free(result);
    assert_int_equal(cluster->log_count, before);
    fake_free(cluster);
}

static void a_range_that_was_refused_at_once_is_not_done(void **state)
{
    (void)state;
    struct script script = {.from = 0, .count = 1, .fate = FAKE_REPLY, .code = ERR_INVALID};
    struct fake_cluster *cluster = open_cluster(4, &script);
    struct polder_result *result = fake_call(cluster, range_call(CLIENT_DELETE_RANGE, "a", "e"));
    assert_int_equal(result->outcome, POLDER_NOT_DONE);
    assert_int_equal(result->code, POLDER_INVALID);
    assert_int_equal(rows_left(cluster), 8);
    polder_result_free(result);
    fake_free(cluster);
}

static void a_range_that_was_refused_half_way_tells_how_far_it_got(void **state)
{
    (void)state;
    struct script script = {.from = 2, .count = 1, .fate = FAKE_REPLY, .code = ERR_INVALID};
    struct fake_cluster *cluster = open_cluster(4, &script);
    struct polder_result *result = fake_call(cluster, range_call(CLIENT_DELETE_RANGE, "a", "h"));
    assert_int_equal(result->outcome, POLDER_UNKNOWN);
    assert_int_equal(result->code, POLDER_INVALID);
    assert_int_equal(result->advice, POLDER_ADVICE_RECHECK);
    assert_true(result->more);
    assert_int_equal(result->next.size, 1);
    assert_memory_equal(result->next.data, "d", 1);
    assert_int_equal(rows_left(cluster), 5); /* a, b, c are gone */
    polder_result_free(result);
    fake_free(cluster);
}

/* The whole piece may have happened: what is left of it after the split is asked for under the same token. */
static void a_piece_that_was_lost_keeps_its_token_through_a_split(void **state)
{
    (void)state;
    for (int executed = 0; executed < 2; executed++) {
        struct script script = {.from = 0, .count = 1, .fate = executed ? FAKE_EXECUTE_CUT : FAKE_CUT};
        struct fake_cluster *cluster = open_cluster(1, &script);
        struct polder_result *result = NULL;
        struct client_call call = range_call(CLIENT_DELETE_RANGE, "a", "g");
        call.done = keep;
        call.user = &result;
        assert_int_equal(client_submit(cluster->client, &call), ERR_OK);
        while (cluster->hook_count == 0)
            fake_run(cluster, 100, NULL);
        fake_split(cluster, 0, "rc", 9);
        fake_put(cluster, "re", bytes_of("new", 3)); /* by somebody else, after it may have been removed */
        fake_run(cluster, 5 * SECOND, NULL);
        assert_non_null(result);
        assert_int_equal(result->outcome, POLDER_DONE);
        polder_result_free(result);
        const struct fake_request *last = &cluster->log[cluster->log_count - 1];
        assert_string_equal(last->key, "rc");
        assert_string_equal(last->end_key, "rg");
        for (uint32_t i = 0; i < cluster->log_count; i++) {
            assert_int_equal(cluster->log[i].sequence, 1);
            assert_int_equal(cluster->log[i].retry, i > 0);
        }
        if (executed)
            assert_non_null(fake_row(cluster, "re"));
        client_check(cluster->client);
        fake_free(cluster);
    }
}

/* A refusal says that nothing happened: the rest is a write of its own, which no region can take for the first. */
static void a_piece_that_was_refused_for_a_split_takes_another_token_for_the_rest(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1, NULL);
    struct polder_result *result = fake_call(cluster, range_call(CLIENT_DELETE_RANGE, "x", "y"));
    polder_result_free(result);
    fake_split(cluster, 0, "rc", 9); /* the client's route is of before */
    uint32_t first = cluster->log_count;
    result = fake_call(cluster, range_call(CLIENT_DELETE_RANGE, "a", "g"));
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_int_equal(rows_left(cluster), 2);
    polder_result_free(result);
    const struct fake_request *refused = &cluster->log[first], *left = refused + 1,
                              *right = &cluster->log[cluster->log_count - 1];
    assert_string_equal(refused->end_key, "rg");
    assert_string_equal(left->end_key, "rc");
    assert_string_equal(right->key, "rc");
    assert_int_equal(left->sequence, refused->sequence);
    assert_int_equal(right->sequence, left->sequence + 1);
    assert_false(right->retry);
    fake_free(cluster);
}

static void a_range_whose_last_answer_was_lost_is_unknown(void **state)
{
    (void)state;
    struct script script = {.from = 1, .count = 1000, .fate = FAKE_DROP};
    struct fake_cluster *cluster = open_cluster(4, &script);
    struct client_call call = range_call(CLIENT_DELETE_RANGE, "a", "h");
    call.deadline_ms = 3000;
    struct polder_result *result = fake_call(cluster, call);
    assert_int_equal(result->outcome, POLDER_UNKNOWN);
    assert_int_equal(result->code, POLDER_TIMEOUT);
    assert_memory_equal(result->next.data, "b", 1);
    polder_result_free(result);
    fake_free(cluster);
}

/* ---- checksum */

static void a_checksum_goes_on_where_an_answer_stopped_and_in_the_next_region(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(3, NULL);
    struct polder_result *result = fake_call(cluster, range_call(CLIENT_CHECKSUM, "", ""));
    assert_int_equal(result->outcome, POLDER_DONE);
    assert_int_equal(result->checksum, 0xff); /* each row once: an even number of times would leave no trace */
    assert_int_equal(result->checksum_rows, 8);
    assert_int_equal(result->checksum_size, 8 * 6);
    polder_result_free(result);
    result = fake_call(cluster, range_call(CLIENT_CHECKSUM, "b", "d"));
    assert_int_equal(result->checksum, 0x06);
    assert_int_equal(result->checksum_rows, 2);
    polder_result_free(result);
    fake_free(cluster);
}

static enum fake_fate lead_astray(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                                  struct wire_kv_reply *reply)
{
    (void)cluster;
    (void)store;
    reply->more = true;
    reply->next_key = request->key; /* for ever */
    return FAKE_REPLY;
}

static void a_checksum_that_would_never_end_is_refused(void **state)
{
    (void)state;
    struct fake_cluster *cluster = open_cluster(1, NULL);
    cluster->hook = lead_astray;
    struct polder_result *result = fake_call(cluster, range_call(CLIENT_CHECKSUM, "a", "d"));
    assert_int_equal(result->outcome, POLDER_NOT_DONE);
    assert_int_equal(result->code, POLDER_CORRUPT);
    polder_result_free(result);
    fake_free(cluster);
}

/* The check value of CRC-64/XZ is that of "123456789". */
static void a_row_has_the_crc_of_its_key_and_value(void **state)
{
    (void)state;
    struct range_sum sum = {0};
    range_sum_add(&sum, bytes_of_string("1234"), bytes_of_string("56789"));
    assert_int_equal(sum.checksum, 0x995dc9bbdf1939fa);
    range_sum_add(&sum, bytes_of_string("other"), bytes_empty());
    range_sum_add(&sum, bytes_of_string("1234"), bytes_of_string("56789"));
    range_sum_add(&sum, bytes_of_string("other"), bytes_empty());
    assert_int_equal(sum.checksum, 0);
    assert_int_equal(sum.rows, 4);
    assert_int_equal(sum.size, 28);
}

/* ---- what a store lets pass */

static void a_piece_lies_in_its_region_and_among_the_raw_keys(void **state)
{
    (void)state;
    static const struct {
        const char *region_start, *region_end, *start, *end;
        enum err code;
    } cases[] = {
        {"", "", "r", "s", ERR_OK},
        {"", "rm", "r", "rm", ERR_OK},
        {"rb", "rm", "rb", "rm", ERR_OK},
        {"rb", "rm", "rb", "rma", ERR_KEY_NOT_IN_REGION},
        {"rb", "rm", "ra", "rc", ERR_KEY_NOT_IN_REGION},
        {"rb", "", "rc", "s", ERR_OK},
        {"", "", "rb", "rb", ERR_INVALID},
        {"", "", "rc", "rb", ERR_INVALID},
        {"", "", "r", "sa", ERR_INVALID},
        {"", "", "r", "x", ERR_INVALID},
        {"", "", "q", "rb", ERR_INVALID},
        {"", "", "rb", "", ERR_INVALID},
        {"", "", "", "rb", ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_peer peer = {.id = 1, .store_id = 1};
        struct wire_region wire = {.id = 1,
                                   .start_key = bytes_of_string(cases[i].region_start),
                                   .end_key = bytes_of_string(cases[i].region_end),
                                   .epoch_conf = 1,
                                   .epoch_version = 1,
                                   .peers = &peer,
                                   .peers_count = 1};
        struct region *region;
        assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
        assert_int_equal(key_range_check(region, bytes_of_string(cases[i].start), bytes_of_string(cases[i].end)),
                         cases[i].code);
        region_free(region);
    }
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_cut_at_the_borders_of_regions),
        cmocka_unit_test(a_range_that_was_refused_at_once_is_not_done),
        cmocka_unit_test(a_range_that_was_refused_half_way_tells_how_far_it_got),
        cmocka_unit_test(a_piece_that_was_lost_keeps_its_token_through_a_split),
        cmocka_unit_test(a_piece_that_was_refused_for_a_split_takes_another_token_for_the_rest),
        cmocka_unit_test(a_range_whose_last_answer_was_lost_is_unknown),
        cmocka_unit_test(a_checksum_goes_on_where_an_answer_stopped_and_in_the_next_region),
        cmocka_unit_test(a_checksum_that_would_never_end_is_refused),
        cmocka_unit_test(a_row_has_the_crc_of_its_key_and_value),
        cmocka_unit_test(a_piece_lies_in_its_region_and_among_the_raw_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
