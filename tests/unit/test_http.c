/* HTTP from the socket to the actor: the server (http_server) with well-meaning and other clients, and what pd keeps until its log
 * has it (pd_http). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api_world.h"
#include "chosen_bug.h"
#include "env/http.h"
#include "env/http_client.h"
#include "env/os.h"
#include "http_visitor.h"
#include "pd/pd_http.h"

/* ---- pd_http */

static struct message *message_of(struct http_visitor *visitor, const char *method, const char *path, const char *body)
{
    http_visitor_init(visitor, method, path, body);
    return pd_http_message_new(7, &visitor->exchange);
}

static void what_is_proposed_is_answered_when_it_is_applied_and_not_before(void **state)
{
    (void)state;
    struct api_world world;
    struct pd_http http;
    struct http_visitor visitor, other;
    conn_id conn;
    api_world_init(&world);
    pd_http_init(&http, NULL);
    char path[64];
    snprintf(path, sizeof path, "/pd/v1/stores/%llu/cordon", (unsigned long long)pd_fsm_store_at(world.fsm, 0)->id);
    assert_null(pd_http_request(&http, message_of(&visitor, "POST", path, "{}"), &world.api, NULL, &conn));
    raft_index index = world.api.wait_index;
    assert_true(index > pd_fsm_applied_index(world.fsm));
    assert_int_equal(visitor.status, 0);
    pd_http_applied(&http, index - 1);
    assert_int_equal(visitor.status, 0);
    world.api.wait_index = 0;
    assert_null(pd_http_request(&http, message_of(&other, "GET", "/livez", ""), &world.api, NULL, &conn));
    assert_int_equal(other.status, 200); /* others need not wait */
    pd_http_applied(&http, index);
    assert_int_equal(visitor.status, 200);
    pd_http_applied(&http, index + 1);
    pd_http_forget(&http);
    assert_int_equal(visitor.count, 1);
    api_world_fini(&world);
}

static void a_lost_leader_means_perhaps_and_a_dropped_message_means_no(void **state)
{
    (void)state;
    struct api_world world;
    struct pd_http http;
    struct http_visitor visitor, dropped;
    conn_id conn;
    api_world_init(&world);
    pd_http_init(&http, NULL);
    assert_null(pd_http_request(&http, message_of(&visitor, "PATCH", "/pd/v1/config", "{\"store-limit\": \"1MiB\"}"),
                                &world.api, NULL, &conn));
    assert_int_equal(visitor.status, 0);
    pd_http_forget(&http);
    assert_int_equal(visitor.status, 504);
    assert_non_null(strstr(visitor.body, "Maybe"));
    message_free(message_of(&dropped, "GET", "/livez", ""));
    assert_int_equal(dropped.status, 503);
    api_world_fini(&world);
}

static void what_pd_service_is_asked_is_answered_by_it(void **state)
{
    (void)state;
    struct api_world world;
    struct pd_http http;
    struct http_visitor visitor;
    conn_id conn = 0;
    api_world_init(&world);
    pd_http_init(&http, NULL);
    struct frame *frame =
        pd_http_request(&http, message_of(&visitor, "DELETE", "/pd/v1/members/1", ""), &world.api, NULL, &conn);
    assert_non_null(frame);
    assert_true(pd_http_is_conn(conn));
    assert_int_equal(visitor.status, 0);
    pd_http_applied(&http, UINT64_MAX - 1);
    assert_int_equal(visitor.status, 0); /* no entry of the log answers it */
    pd_http_reply(&http, conn + 1, &(struct wire_pd_reply){.code = ERR_OK});
    assert_int_equal(visitor.status, 0);
    pd_http_reply(&http, conn, &(struct wire_pd_reply){.code = ERR_INVALID, .text = bytes_of_string("it is the last")});
    assert_int_equal(visitor.status, 400);
    assert_non_null(strstr(visitor.body, "it is the last"));
    frame_unref(frame);
    api_world_fini(&world);
}

/* ---- the server */

/* Answers from a thread of its own, as an actor does. */
struct echo {
    pthread_t threads[512];
    uint32_t count;
    bool silent; /* keeps them */
    struct http_exchange *kept[64];
    uint32_t kept_count;
    pthread_mutex_t mutex;
};

static void *answer_later(void *context)
{
    struct http_exchange *exchange = context;
    char text[256];
    int size = snprintf(text, sizeof text, "%s %.100s ? %.50s: %zu", exchange->method, exchange->path, exchange->query,
                        exchange->body.size);
    http_answer(exchange, 200, HTTP_TEXT, bytes_of(text, (size_t)size));
    return NULL;
}

static void on_request(void *context, struct http_exchange *take_exchange)
{
    struct echo *echo = context;
    pthread_mutex_lock(&echo->mutex);
    if (echo->silent)
        echo->kept[echo->kept_count++] = take_exchange;
    else
        assert_int_equal(pthread_create(&echo->threads[echo->count++], NULL, answer_later, take_exchange), 0);
    pthread_mutex_unlock(&echo->mutex);
}

static struct http_server *start(struct echo *echo, uint16_t *ret_port)
{
    struct http_server *server;
    struct error err;
    *echo = (struct echo){.mutex = PTHREAD_MUTEX_INITIALIZER};
    const struct http_handler handler = {.context = echo, .on_request = on_request};
    assert_int_equal(os_port_find_free("127.0.0.1", ret_port, &err), ERR_OK);
    if (http_server_new("127.0.0.1", *ret_port, &handler, NULL, &server, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return server;
}

static void stop(struct http_server *server, struct echo *echo)
{
    http_server_free(server);
    for (uint32_t i = 0; i < echo->count; i++)
        pthread_join(echo->threads[i], NULL);
}

static unsigned fetch(uint16_t port, const char *method, const char *path, struct bytes body, struct buf *answer)
{
    struct http_client *client;
    struct error err;
    char url[256];
    unsigned status = 0;
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", port, path);
    assert_int_equal(http_client_new(&client, &err), ERR_OK);
    const struct http_fetch what = {.method = method, .url = url, .body = body, .timeout_ms = 10000};
    buf_reset(answer);
    if (http_client_fetch(client, &what, &status, answer, &err) != ERR_OK)
        status = 0;
    http_client_free(client);
    return status;
}

static void requests_are_answered_from_other_threads(void **state)
{
    (void)state;
    struct echo echo;
    struct buf answer;
    uint16_t port;
    struct http_server *server = start(&echo, &port);
    buf_init(&answer, 1 << 20);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fetch(port, "GET", "/a/%00b?x=1&y", bytes_empty(), &answer), 200);
        assert_true(bytes_equal(buf_bytes(&answer), bytes_of_string("GET /a/%00b ? x=1&y: 0")));
    }
    char body[100000];
    memset(body, 'x', sizeof body);
    assert_int_equal(fetch(port, "POST", "/p", bytes_of(body, sizeof body), &answer), 200);
    assert_true(bytes_equal(buf_bytes(&answer), bytes_of_string("POST /p ? : 100000")));
    assert_int_equal(fetch(port, "BREW", "/", bytes_empty(), &answer), 405);
    struct http_server *second;
    struct error err;
    const struct http_handler handler = {.context = &echo, .on_request = on_request};
    assert_int_equal(http_server_new("127.0.0.1", port, &handler, NULL, &second, &err), ERR_LOCKED);
    stop(server, &echo);
    assert_int_equal(fetch(port, "GET", "/", bytes_empty(), &answer), 0);
    buf_fini(&answer);
}

static int connect_to(uint16_t port, const char *text, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    while (size > 0) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);
        if (sent <= 0)
            break;
        text += sent;
        size -= (size_t)sent;
    }
    return fd;
}

static void expect_status(uint16_t port, const char *text, const char *status)
{
    char answer[256] = "";
    int fd = connect_to(port, text, strlen(text));
    ssize_t size = recv(fd, answer, sizeof answer - 1, 0);
    close(fd);
    if (size < 12 || strncmp(answer + 9, status, 3) != 0)
        fail_msg("%.60s: %.40s, not %s", text, answer, status);
}

static void who_means_no_good_is_refused_and_others_are_served(void **state)
{
    (void)state;
    struct echo echo;
    struct buf answer;
    uint16_t port;
    struct http_server *server = start(&echo, &port);
    buf_init(&answer, 1 << 20);
    expect_status(port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", "413");
    expect_status(port, "POST / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\nContent-Length: 0\r\n\r\n", "403");
    expect_status(port, "GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\n\r\n", "200"); /* may look */
    expect_status(port, "GET nopath HTTP/1.1\r\nHost: x\r\n\r\n", "400");
    expect_status(port, "GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n", "400");
    /* Without an end, too long, too many: they are let go, and nobody else notices. */
    int sockets[40];
    char junk[70000];
    memset(junk, 'a', sizeof junk);
    memcpy(junk, "GET /", 5);
    for (int i = 0; i < 40; i++)
        sockets[i] = connect_to(port, junk, i % 3 == 0 ? sizeof junk : (size_t)i);
    static const char chunked[] = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    int endless = connect_to(port, chunked, sizeof chunked - 1);
    char chunk[8 + 65536 + 2];
    memcpy(chunk, "0010000\r\n", 9);
    memset(chunk + 9, 'y', sizeof chunk - 9);
    uint32_t sent = 0;
    for (; sent < 200; sent++) { /* 13 MB, if somebody takes them */
        memcpy(chunk, "10000\r\n", 7);
        memset(chunk + 7, 'y', 65536);
        if (send(endless, chunk, 7 + 65536, MSG_NOSIGNAL) <= 0 || send(endless, "\r\n", 2, MSG_NOSIGNAL) <= 0)
            break;
    }
    assert_true(sent < 200); /* it was cut off */
    close(endless);
    assert_int_equal(fetch(port, "GET", "/", bytes_empty(), &answer), 200);
    for (int i = 0; i < 40; i++)
        close(sockets[i]);
    stop(server, &echo);
    buf_fini(&answer);
}

static void who_waits_at_the_end_is_told_and_late_answers_are_nothing(void **state)
{
    (void)state;
    struct echo echo;
    uint16_t port;
    char answer[512] = "";
    struct http_server *server = start(&echo, &port);
    echo.silent = true;
    static const char text[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
    int gone = connect_to(port, text, sizeof text - 1), waits = connect_to(port, text, sizeof text - 1);
    for (bool all = false; !all; os_sleep_ms(1)) {
        pthread_mutex_lock(&echo.mutex);
        all = echo.kept_count == 2;
        pthread_mutex_unlock(&echo.mutex);
    }
    close(gone);
    http_server_free(server);
    assert_true(recv(waits, answer, sizeof answer - 1, 0) > 12);
    assert_int_equal(strncmp(answer + 9, "503", 3), 0);
    close(waits);
    for (uint32_t i = 0; i < echo.kept_count; i++)
        http_answer(echo.kept[i], 200, HTTP_TEXT, bytes_of_string("late"));
}

int main(void)
{
    choose_bug();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_proposed_is_answered_when_it_is_applied_and_not_before),
        cmocka_unit_test(a_lost_leader_means_perhaps_and_a_dropped_message_means_no),
        cmocka_unit_test(what_pd_service_is_asked_is_answered_by_it),
        cmocka_unit_test(requests_are_answered_from_other_threads),
        cmocka_unit_test(who_means_no_good_is_refused_and_others_are_served),
        cmocka_unit_test(who_waits_at_the_end_is_told_and_late_answers_are_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
