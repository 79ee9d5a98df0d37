/* kv: the library over the real threads and transport; a port where nobody listens is cluster enough for most of it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <poll.h>
#include <string.h>

#include "client/polder.h"
#include "env/os.h"

static struct polder *open_nowhere(uint32_t deadline_ms, uint32_t outstanding_max)
{
    struct polder *db = NULL;
    char text[256];
    struct polder_options options = {
        .size = sizeof options, .pd = "127.0.0.1:1", .deadline_ms = deadline_ms, .outstanding_max = outstanding_max};
    assert_int_equal(polder_open(&options, &db, text, sizeof text), POLDER_OK);
    return db;
}

static void bad_options_are_refused_with_a_text(void **state)
{
    (void)state;
    struct polder *db = NULL;
    char text[256] = "";
    struct polder_options options = {.size = sizeof options};
    assert_int_equal(polder_open(&options, &db, text, sizeof text), POLDER_INVALID);
    assert_non_null(strstr(text, "endpoint"));
    options.pd = "a:1,,b:2";
    assert_int_equal(polder_open(&options, &db, text, sizeof text), POLDER_INVALID);
    assert_non_null(strstr(text, "a:1,,b:2"));
    options.size = 0;
    assert_int_equal(polder_open(&options, &db, text, sizeof text), POLDER_INVALID);
    assert_non_null(strstr(text, "size"));
    options.size = sizeof options;
    options.pd = "a:1";
    options.tls_ca_file = "/no/such/file.pem";
    assert_int_equal(polder_open(&options, &db, text, sizeof text), POLDER_INVALID);
    assert_non_null(strstr(text, "/no/such/file.pem"));
    assert_int_equal(polder_open(&options, &db, NULL, 0), POLDER_INVALID);
    assert_null(db);
}

static void what_cannot_be_reached_is_said_at_the_deadline(void **state)
{
    (void)state;
    struct polder *db = open_nowhere(200, 0);
    uint64_t before_us = os_monotonic_us();
    struct polder_result *result = polder_put(db, polder_string("k"), polder_string("v"), NULL);
    assert_in_range(os_monotonic_us() - before_us, 190000, 5000000);
    assert_int_equal(result->outcome, POLDER_NOT_DONE);
    assert_int_equal(result->code, POLDER_UNAVAILABLE);
    assert_string_equal(result->name, "Unavailable");
    assert_non_null(strstr(result->text, "127.0.0.1:1"));
    polder_result_free(result);
    struct polder_call call = {.size = sizeof call, .deadline_ms = 50};
    result = polder_cluster_stores(db, &call);
    assert_int_equal(result->outcome, POLDER_NOT_DONE);
    assert_null(result->cluster);
    polder_result_free(result);
    struct polder_stats stats = {.size = sizeof stats};
    polder_stats(db, &stats);
    assert_int_equal(stats.operations, 2);
    polder_close(db);
}

static void what_is_refused_at_once_says_why(void **state)
{
    (void)state;
    struct polder *db = open_nowhere(200, 0);
    static char large[9 * 1024 * 1024];
    struct polder_result *result = polder_get(db, polder_string(""), NULL);
    assert_int_equal(result->code, POLDER_KEY_EMPTY);
    assert_int_equal(result->outcome, POLDER_NOT_DONE);
    assert_int_equal(result->advice, POLDER_ADVICE_GIVE_UP);
    assert_string_equal(result->text, "the key is empty");
    polder_result_free(result);
    result = polder_put(db, polder_string("k"), polder_bytes(large, sizeof large), NULL);
    assert_int_equal(result->code, POLDER_ENTRY_TOO_LARGE);
    polder_result_free(result);
    result = polder_delete(db, polder_bytes(large, 8 * 1024 + 1), NULL);
    assert_int_equal(result->code, POLDER_KEY_TOO_LARGE);
    polder_result_free(result);
    assert_int_equal(polder_get_async(db, polder_string(""), NULL, polder_queue_callback, NULL), POLDER_KEY_EMPTY);
    polder_close(db);
}

static void closing_ends_what_waits(void **state)
{
    (void)state;
    struct polder *db = open_nowhere(60000, 10);
    struct polder_queue *queue = polder_queue_new();
    struct polder_completion done[16];
    for (int i = 0; i < 10; i++)
        assert_int_equal(polder_put_async(db, polder_string("k"), polder_string("v"), NULL, polder_queue_callback,
                                          polder_queue_ticket(queue, done + i)),
                         POLDER_OK);
    struct polder_ticket *ticket = polder_queue_ticket(queue, NULL);
    assert_int_equal(polder_get_async(db, polder_string("k"), NULL, polder_queue_callback, ticket), POLDER_BUSY);
    polder_ticket_free(ticket);
    assert_int_equal(polder_queue_take(queue, done, 16), 0);
    struct pollfd poll_in = {.fd = polder_queue_fd(queue), .events = POLLIN};
    assert_int_equal(poll(&poll_in, 1, 0), 0);
    polder_close(db);
    assert_int_equal(poll(&poll_in, 1, 0), 1);
    assert_int_equal(polder_queue_take(queue, done, 7), 7);
    assert_int_equal(poll(&poll_in, 1, 0), 1);
    assert_int_equal(polder_queue_take(queue, done + 7, 7), 3);
    assert_int_equal(poll(&poll_in, 1, 0), 0);
    unsigned seen = 0; /* each once; in which order they end is nobody's promise */
    for (int i = 0; i < 10; i++) {
        ptrdiff_t index = (struct polder_completion *)done[i].tag - done;
        assert_in_range(index, 0, 9);
        assert_false(seen & 1u << index);
        seen |= 1u << index;
        assert_int_equal(done[i].result->outcome, POLDER_NOT_DONE);
        assert_int_equal(done[i].result->code, POLDER_CANCELLED);
        polder_result_free(done[i].result);
    }
    polder_queue_free(queue);
}

static void a_queue_that_is_freed_frees_what_nobody_took(void **state)
{
    (void)state;
    struct polder *db = open_nowhere(60000, 0);
    struct polder_queue *queue = polder_queue_new();
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            polder_get_async(db, polder_string("k"), NULL, polder_queue_callback, polder_queue_ticket(queue, NULL)),
            POLDER_OK);
    polder_close(db);
    polder_queue_free(queue);
}

static void structs_of_an_older_program_are_understood(void **state)
{
    (void)state;
    struct polder_options options = {.size = offsetof(struct polder_options, deadline_ms), .pd = "127.0.0.1:1"};
    options.outstanding_max = 1; /* beyond the size: not looked at */
    struct polder *db = NULL;
    assert_int_equal(polder_open(&options, &db, NULL, 0), POLDER_OK);
    struct polder_queue *queue = polder_queue_new();
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            polder_get_async(db, polder_string("k"), NULL, polder_queue_callback, polder_queue_ticket(queue, NULL)),
            POLDER_OK);
    struct polder_stats stats = {.size = offsetof(struct polder_stats, requests), .requests = 4711};
    polder_stats(db, &stats);
    assert_int_equal(stats.outstanding, 2);
    assert_int_equal(stats.requests, 4711);
    assert_int_equal(stats.size, offsetof(struct polder_stats, requests));
    polder_close(db);
    polder_queue_free(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_options_are_refused_with_a_text),
        cmocka_unit_test(what_cannot_be_reached_is_said_at_the_deadline),
        cmocka_unit_test(what_is_refused_at_once_says_why),
        cmocka_unit_test(closing_ends_what_waits),
        cmocka_unit_test(a_queue_that_is_freed_frees_what_nobody_took),
        cmocka_unit_test(structs_of_an_older_program_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
