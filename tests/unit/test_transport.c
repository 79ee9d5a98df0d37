/* The real transport over loopback: contract of transport.h, watchdogs, hostile peers. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/types.h"
#include "env/frame_wire.h"
#include "env/frame_writer.h"
#include "env/transport_nng.h"

/* ---- one side: a transport, and what its handler saw */

enum { PATIENCE_MS = 10000, RECORDS_MAX = 4096, HOOKED_MAX = 64 };

struct record {
    conn_id conn;
    struct bytes hello;
    char hello_text[64];
    uint32_t opens, frames, closes;
    enum err reason;
    uint64_t checksum; /* of all payloads in order */
    uint64_t bytes;
    bool after_close; /* a call came after on_close */
    bool wrong_tag;   /* a frame had not the tag of our hello */
};

struct side {
    struct transport *transport;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct record records[RECORDS_MAX];
    uint32_t count, opened, closed;
    uint64_t frames;
    bool echo, is_listener, no_tags;
    enum err refuse;       /* on_open answers this */
    uint32_t busy_count;   /* so many offers are refused with ERR_BUSY */
    enum err frame_answer; /* on_frame answers this */
    uint32_t log_lines;
    char log_text[2048];
    struct log log;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint32_t count_of(struct side *side, const uint32_t *counter)
{
    pthread_mutex_lock(&side->lock);
    uint32_t count = *counter;
    pthread_mutex_unlock(&side->lock);
    return count;
}

/* Locked. */
static struct record *record_of(struct side *side, conn_id conn)
{
    for (uint32_t i = side->count; i-- > 0;) {
        if (side->records[i].conn == conn)
            return &side->records[i];
    }
    CHECK(side->count < RECORDS_MAX);
    struct record *record = &side->records[side->count++];
    *record = (struct record){.conn = conn};
    return record;
}

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    struct side *side = context;
    pthread_mutex_lock(&side->lock);
    struct record *record = record_of(side, conn);
    record->opens++;
    record->after_close |= record->closes > 0;
    snprintf(record->hello_text, sizeof record->hello_text, "%.*s", (int)hello.size, (const char *)hello.data);
    side->opened++;
    enum err refuse = side->refuse;
    pthread_cond_broadcast(&side->changed);
    pthread_mutex_unlock(&side->lock);
    if (side->is_listener) {
        (void)transport_send(side->transport, conn, frame_copy(9, bytes_of_string("sent inside on_open")));
        *ret_reply = frame_copy(FRAME_WIRE_HELLO, bytes_of_string(refuse ? "go away" : "welcome"));
        (*ret_reply)->tag = side->no_tags ? 0 : ~conn;
    }
    return refuse;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct side *side = context;
    pthread_mutex_lock(&side->lock);
    struct record *record = record_of(side, conn);
    record->after_close |= record->closes > 0;
    record->wrong_tag |= take_frame->tag != (side->is_listener && !side->no_tags ? ~conn : 0);
    enum err answer = side->frame_answer;
    if (side->busy_count > 0) {
        side->busy_count--;
        answer = ERR_BUSY;
    }
    bool echo = !answer && side->echo && take_frame->kind != 9;
    if (!answer) {
        record->frames++;
        record->bytes += take_frame->size;
        side->frames++;
        for (uint32_t i = 0; i < take_frame->size && i < 8; i++)
            record->checksum = record->checksum * 31 + take_frame->payload[i];
    }
    pthread_cond_broadcast(&side->changed);
    pthread_mutex_unlock(&side->lock);
    if (echo)
        (void)transport_send(side->transport, conn, take_frame);
    else if (!answer)
        frame_unref(take_frame);
    return answer;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    struct side *side = context;
    pthread_mutex_lock(&side->lock);
    struct record *record = record_of(side, conn);
    record->closes++;
    record->reason = reason;
    side->closed++;
    pthread_cond_broadcast(&side->changed);
    pthread_mutex_unlock(&side->lock);
    /* allowed, and in vain */
    assert_int_equal(transport_send(side->transport, conn, frame_new(5, 1)), ERR_CLOSED);
}

static void log_write(struct log *log, enum log_level level, const char *fields)
{
    (void)level;
    struct side *side = (struct side *)(void *)((char *)log - offsetof(struct side, log));
    pthread_mutex_lock(&side->lock);
    side->log_lines++;
    size_t used = strlen(side->log_text);
    snprintf(side->log_text + used, sizeof side->log_text - used, "%s\n", fields);
    pthread_mutex_unlock(&side->lock);
}

static struct side *side_new(struct transport_nng_options options, bool is_listener)
{
    struct side *side = calloc(1, sizeof *side);
    CHECK(side);
    pthread_mutex_init(&side->lock, NULL);
    pthread_cond_init(&side->changed, NULL);
    side->is_listener = is_listener;
    side->log = (struct log){.level = LOG_INFO, .write = log_write};
    options.log = &side->log;
    struct error err = {0};
    if (transport_nng_new(&options, &side->transport, &err))
        fail_msg("%s", err.text);
    return side;
}

static struct transport_handler handler_of(struct side *side)
{
    return (struct transport_handler){.context = side, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
}

/* What every test demands at its end: each connection was closed once, and nothing came after that. */
static void side_free(struct side *side)
{
    struct transport_nng_stats stats;
    transport_nng_stats(side->transport, &stats);
    assert_int_equal(stats.connections_stuck, 0);
    transport_nng_free(side->transport);
    for (uint32_t i = 0; i < side->count; i++) {
        assert_int_equal(side->records[i].closes, 1);
        assert_true(side->records[i].opens <= 1);
        assert_false(side->records[i].after_close);
        assert_false(side->records[i].wrong_tag);
    }
    assert_int_equal(side->closed, stats.connections_opened);
    pthread_cond_destroy(&side->changed);
    pthread_mutex_destroy(&side->lock);
    free(side);
}

static bool wait_for(struct side *side, const uint32_t *counter, uint32_t value)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&side->lock);
    int rv = 0;
    while (*counter < value && rv == 0)
        rv = pthread_cond_timedwait(&side->changed, &side->lock, &until);
    bool reached = *counter >= value;
    pthread_mutex_unlock(&side->lock);
    return reached;
}

static bool wait_frames(struct side *side, uint64_t value)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&side->lock);
    int rv = 0;
    while (side->frames < value && rv == 0)
        rv = pthread_cond_timedwait(&side->changed, &side->lock, &until);
    bool reached = side->frames >= value;
    pthread_mutex_unlock(&side->lock);
    return reached;
}

static struct record *only_record(struct side *side)
{
    assert_int_equal(side->count, 1);
    return &side->records[0];
}

/* ---- a listener and a dialer */

struct pair {
    struct side *listener, *dialer;
    struct transport_handler listener_handler, dialer_handler;
    char address[128];
    uint16_t port;
};

static void listen_on(struct pair *pair, const char *address)
{
    struct error err = {0};
    if (transport_listen(pair->listener->transport, address, &pair->listener_handler, &err))
        fail_msg("%s", err.text);
    pair->port = transport_nng_port(pair->listener->transport, address);
    snprintf(pair->address, sizeof pair->address, "%s", address);
    size_t size = strlen(address);
    if (size > 2 && strcmp(address + size - 2, ":0") == 0)
        snprintf(pair->address + size - 1, sizeof pair->address - size, "%u", pair->port);
}

static void pair_init(struct pair *pair, const char *address, struct transport_nng_options options)
{
    pair->listener = side_new(options, true);
    pair->dialer = side_new(options, false);
    pair->listener_handler = handler_of(pair->listener);
    pair->dialer_handler = handler_of(pair->dialer);
    listen_on(pair, address);
}

static void pair_fini(struct pair *pair)
{
    side_free(pair->dialer);
    side_free(pair->listener);
}

static conn_id dial(struct pair *pair)
{
    conn_id conn = 0;
    assert_int_equal(transport_dial(pair->dialer->transport, pair->address, bytes_of_string("it is me"),
                                    &pair->dialer_handler, &conn),
                     ERR_OK);
    assert_int_not_equal(conn, 0);
    return conn;
}

static conn_id dial_open(struct pair *pair)
{
    uint32_t opened = pair->dialer->opened;
    conn_id conn = dial(pair);
    assert_true(wait_for(pair->dialer, &pair->dialer->opened, opened + 1));
    return conn;
}

/* ---- a raw socket: the hostile peer */

static int raw_connect(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    return fd;
}

static void raw_frame(int fd, uint16_t version, uint16_t kind, struct bytes payload)
{
    struct frame_writer writer;
    frame_writer_init(&writer);
    frame_writer_put(&writer, version, frame_copy(kind, payload), 0);
    struct frame_piece pieces[FRAME_PIECES_MAX];
    CHECK(frame_writer_gather(&writer, pieces) == 1);
    CHECK(send(fd, pieces[0].data, pieces[0].size, MSG_NOSIGNAL) == (ssize_t)pieces[0].size);
    frame_writer_fini(&writer);
}

/* True: the other side has closed within our patience. */
static bool raw_wait_end(int fd)
{
    uint8_t sink[4096];
    ssize_t size;
    while ((size = recv(fd, sink, sizeof sink, 0)) > 0)
        ;
    return size == 0 || errno == ECONNRESET;
}

static uint32_t descriptors(void)
{
    uint32_t count = 0;
    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static struct transport_nng_options quick(void)
{
    return (struct transport_nng_options){
        .hello_timeout_ms = 400, .idle_timeout_ms = 600, .ping_interval_ms = 100, .dial_timeout_ms = 500};
}

/* ---- tests */

static char tls_dir[64], elsewhere_file[96], elsewhere_key_file[96];
static char ca_file[96], cert_file[96], key_file[96], other_ca_file[96];

static struct transport_nng_options with_tls(struct transport_nng_options options)
{
    options.tls_ca_file = ca_file;
    options.tls_cert_file = cert_file;
    options.tls_key_file = key_file;
    return options;
}

/* A bare system may have no /etc/hosts; certificates are for names. */
static void skip_without_localhost(void)
{
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &found) != 0) {
        print_message("localhost is not known here\n");
        skip();
    }
    freeaddrinfo(found);
}

static void echo_over(const char *address, struct transport_nng_options options)
{
    struct pair pair;
    pair_init(&pair, address, options);
    pair.listener->echo = true;
    conn_id conn = dial(&pair);
    /* before on_open: queued, and delivered behind the hello */
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_copy(4, bytes_of_string("early"))), ERR_OK);
    assert_true(wait_for(pair.dialer, &pair.dialer->opened, 1));
    for (int i = 0; i < 1000; i++)
        assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, (size_t)i)), ERR_OK);
    assert_true(wait_frames(pair.dialer, 1002)); /* one was sent inside on_open */
    assert_int_equal(only_record(pair.dialer)->bytes, 999 * 1000 / 2 + 5 + 19);
    assert_string_equal(only_record(pair.dialer)->hello_text, "welcome");
    assert_string_equal(only_record(pair.listener)->hello_text, "it is me");
    transport_close_conn(pair.dialer->transport, conn);
    transport_close_conn(pair.dialer->transport, conn);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    assert_int_equal(only_record(pair.dialer)->reason, ERR_CLOSED);
    assert_int_equal(only_record(pair.listener)->reason, ERR_CLOSED);
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 1)), ERR_CLOSED);
    assert_int_equal(pair.listener->log_lines + pair.dialer->log_lines, 0);
    pair_fini(&pair);
}

static void frames_go_both_ways_over_tcp(void **state)
{
    (void)state;
    echo_over("tcp://127.0.0.1:0", (struct transport_nng_options){0});
}

static void frames_go_both_ways_over_ipc(void **state)
{
    (void)state;
    char address[64];
    snprintf(address, sizeof address, "ipc:///tmp/test_transport.%d", (int)getpid());
    echo_over(address, (struct transport_nng_options){0});
}

static void frames_go_both_ways_over_tls(void **state)
{
    (void)state;
    echo_over("tls+tcp://127.0.0.1:0", with_tls((struct transport_nng_options){0}));
}

static void frames_go_both_ways_with_certificates_on_both_sides(void **state)
{
    (void)state;
    struct transport_nng_options options =
        with_tls((struct transport_nng_options){.tls_require_client = true, .tls_verify_name = true});
    skip_without_localhost();
    echo_over("tls+tcp://localhost:0", options);
}

static void a_dialer_trusts_only_its_ca(void **state)
{
    (void)state;
    struct pair pair;
    struct transport_nng_options options = with_tls(quick());
    pair_init(&pair, "tls+tcp://127.0.0.1:0", options);
    side_free(pair.dialer);
    options.tls_ca_file = other_ca_file;
    pair.dialer = side_new(options, false);
    pair.dialer_handler = handler_of(pair.dialer);
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_int_equal(only_record(pair.dialer)->opens, 0);
    assert_int_equal(only_record(pair.dialer)->reason, ERR_UNAVAILABLE);
    assert_non_null(strstr(pair.dialer->log_text, "TLS"));
    pair_fini(&pair);
}

static void a_dialer_without_certificate_is_refused_where_one_is_required(void **state)
{
    (void)state;
    struct pair pair;
    struct transport_nng_options options = with_tls(quick());
    options.tls_require_client = true;
    pair_init(&pair, "tls+tcp://127.0.0.1:0", options);
    side_free(pair.dialer);
    options = quick();
    options.tls_ca_file = ca_file;
    pair.dialer = side_new(options, false);
    pair.dialer_handler = handler_of(pair.dialer);
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_int_equal(only_record(pair.dialer)->opens, 0);
    assert_int_equal(count_of(pair.listener, &pair.listener->opened), 0);
    pair_fini(&pair);
}

static void a_name_that_is_not_in_the_certificate_is_refused_when_names_count(void **state)
{
    (void)state;
    struct pair pair;
    struct transport_nng_options options = with_tls(quick());
    options.tls_verify_name = true;
    options.tls_ca_file = options.tls_cert_file = elsewhere_file;
    options.tls_key_file = elsewhere_key_file;
    skip_without_localhost();
    pair_init(&pair, "tls+tcp://localhost:0", options);
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_int_equal(only_record(pair.dialer)->opens, 0);
    assert_int_equal(only_record(pair.dialer)->reason, ERR_UNAVAILABLE);
    pair_fini(&pair);
}

static void the_chain_alone_counts_for_a_numeric_address(void **state)
{
    (void)state;
    struct pair pair;
    struct transport_nng_options options = with_tls(quick());
    options.tls_verify_name = true;
    pair_init(&pair, "tls+tcp://127.0.0.1:0", options);
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->opened, 1));
    pair_fini(&pair);
}

static void bad_tls_options_are_named(void **state)
{
    (void)state;
    struct transport *transport;
    static const struct {
        const char *ca, *cert, *key;
        bool require;
        const char *part;
    } bad[] = {
        {"/nonexistent/ca.pem", NULL, NULL, false, "/nonexistent/ca.pem"},
        {NULL, "/etc/hostname", NULL, false, "key"},
        {NULL, NULL, NULL, true, "ca_file"},
        {"/etc/hostname", NULL, NULL, false, "ca_file"},
        {NULL, "/etc/hostname", "/etc/hostname", false, "cert_file"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = {0};
        struct transport_nng_options options = {.tls_ca_file = bad[i].ca,
                                                .tls_cert_file = bad[i].cert,
                                                .tls_key_file = bad[i].key,
                                                .tls_require_client = bad[i].require};
        assert_int_equal(transport_nng_new(&options, &transport, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, bad[i].part));
    }
    /* listening without a certificate */
    struct error err = {0};
    assert_int_equal(transport_nng_new(&(struct transport_nng_options){0}, &transport, &err), ERR_OK);
    struct transport_handler handler = {0};
    assert_int_equal(transport_listen(transport, "tls+tcp://127.0.0.1:0", &handler, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "certificate"));
    transport_nng_free(transport);
}

static void no_options_are_all_defaults(void **state)
{
    (void)state;
    struct error err = {0};
    struct transport *transport;
    assert_int_equal(transport_nng_new(NULL, &transport, &err), ERR_OK);
    struct transport_handler handler = {0};
    assert_int_equal(transport_listen(transport, "tcp://127.0.0.1:0", &handler, &err), ERR_OK);
    transport_nng_free(transport);
}

static void a_refused_dialer_reads_why(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){0});
    pair.listener->refuse = ERR_CLUSTER_NOT_MATCH;
    pair.dialer->refuse = ERR_STORE_NOT_MATCH; /* what the dialer makes of it */
    conn_id conn = dial(&pair);
    for (int i = 0; i < 100; i++)
        (void)transport_send(pair.dialer->transport, conn, frame_new(4, 1000));
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    assert_string_equal(only_record(pair.dialer)->hello_text, "go away");
    assert_int_equal(only_record(pair.dialer)->reason, ERR_STORE_NOT_MATCH);
    assert_int_equal(only_record(pair.listener)->reason, ERR_CLUSTER_NOT_MATCH);
    assert_int_equal(only_record(pair.listener)->frames, 0);
    assert_int_equal(only_record(pair.dialer)->frames, 0);
    pair_fini(&pair);
}

static void a_refused_dialer_that_stays_is_closed(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", quick());
    pair.listener->refuse = ERR_CLUSTER_NOT_MATCH;
    int fd = raw_connect(pair.port);
    raw_frame(fd, 1, FRAME_WIRE_HELLO, bytes_of_string("x"));
    assert_true(raw_wait_end(fd));
    close(fd);
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    assert_int_equal(only_record(pair.listener)->reason, ERR_CLUSTER_NOT_MATCH);
    pair_fini(&pair);
}

static void a_busy_receiver_loses_nothing_and_keeps_the_order(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){0});
    conn_id conn = dial_open(&pair);
    pair.listener->busy_count = 30;
    uint64_t expected = 0;
    for (uint32_t i = 0; i < 5000; i++) {
        struct frame *frame = frame_new(4, 200);
        memset(frame->payload, 0, 200);
        memcpy(frame->payload, &i, sizeof i);
        for (int j = 0; j < 8; j++)
            expected = expected * 31 + frame->payload[j];
        assert_int_equal(transport_send(pair.dialer->transport, conn, frame), ERR_OK);
        if (i % 1000 == 0) {
            pthread_mutex_lock(&pair.listener->lock);
            pair.listener->busy_count += 3;
            pthread_mutex_unlock(&pair.listener->lock);
        }
    }
    assert_true(wait_frames(pair.listener, 5000));
    assert_int_equal(only_record(pair.listener)->checksum, expected);
    pair_fini(&pair);
}

static void a_receiver_that_stays_busy_makes_the_sender_busy_and_memory_stays_bounded(void **state)
{
    (void)state;
    struct pair pair;
    struct transport_nng_options options = {.pending_size_max = 1024 * 1024};
    pair_init(&pair, "tcp://127.0.0.1:0", options);
    conn_id conn = dial_open(&pair);
    pthread_mutex_lock(&pair.listener->lock);
    pair.listener->busy_count = UINT32_MAX;
    pthread_mutex_unlock(&pair.listener->lock);
    enum err code = ERR_OK;
    uint32_t sent = 0;
    for (; code == ERR_OK && sent < 100000; sent++)
        code = transport_send(pair.dialer->transport, conn, frame_new(4, 10000));
    assert_int_equal(code, ERR_BUSY);
    assert_true(sent < 3000); /* our megabyte and what the kernel holds */
    pthread_mutex_lock(&pair.listener->lock);
    pair.listener->busy_count = 0;
    pthread_mutex_unlock(&pair.listener->lock);
    assert_true(wait_frames(pair.listener, sent - 1));
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 10000)), ERR_OK);
    pair_fini(&pair);
}

static void a_handler_that_refuses_a_frame_ends_the_connection_with_its_reason(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){0});
    conn_id conn = dial_open(&pair);
    pair.listener->frame_answer = ERR_INVALID;
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 10)), ERR_OK);
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_int_equal(only_record(pair.listener)->reason, ERR_INVALID);
    assert_int_equal(only_record(pair.dialer)->reason, ERR_CLOSED);
    pair_fini(&pair);
}

static void a_dial_that_nobody_answers_ends_as_unavailable(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", quick());
    char address[sizeof pair.address];
    snprintf(address, sizeof address, "%s", pair.address);
    side_free(pair.listener); /* now nobody listens there */
    uint64_t begin = now_ms();
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_int_equal(only_record(pair.dialer)->reason, ERR_UNAVAILABLE);
    assert_int_equal(only_record(pair.dialer)->opens, 0);
    snprintf(pair.address, sizeof pair.address, "ipc:///tmp/nobody-is-here.%d", (int)getpid());
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 2));
    assert_int_equal(pair.dialer->records[1].reason, ERR_UNAVAILABLE);
    snprintf(pair.address, sizeof pair.address, "tcp://no-such-host.invalid:80");
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 3));
    assert_int_equal(pair.dialer->records[2].reason, ERR_UNAVAILABLE);
    assert_true(now_ms() - begin < 5000);
    side_free(pair.dialer);
}

/* A listener of the kernel's that no program serves: connects, and says nothing. */
static void a_listener_that_says_no_hello_is_given_up(const char *scheme, struct transport_nng_options options)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof name;
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    struct pair pair = {.dialer = side_new(options, false)};
    pair.dialer_handler = handler_of(pair.dialer);
    snprintf(pair.address, sizeof pair.address, "%s://127.0.0.1:%u", scheme, ntohs(name.sin_port));
    uint64_t begin = now_ms();
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_int_equal(only_record(pair.dialer)->reason, ERR_TIMEOUT);
    assert_in_range(now_ms() - begin, 300, 2500);
    side_free(pair.dialer);
    close(fd);
}

static void a_silent_listener_is_given_up(void **state)
{
    (void)state;
    a_listener_that_says_no_hello_is_given_up("tcp", quick());
}

static void a_silent_tls_listener_is_given_up(void **state)
{
    (void)state;
    a_listener_that_says_no_hello_is_given_up("tls+tcp", with_tls(quick()));
}

static void a_client_that_says_nothing_is_closed(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", quick());
    int fd = raw_connect(pair.port);
    uint64_t begin = now_ms();
    assert_true(raw_wait_end(fd));
    assert_in_range(now_ms() - begin, 300, 2500);
    close(fd);
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    assert_int_equal(only_record(pair.listener)->reason, ERR_TIMEOUT);
    assert_int_equal(only_record(pair.listener)->opens, 0);
    assert_int_equal(pair.listener->log_lines, 1);
    pair_fini(&pair);
}

static void a_client_that_says_nothing_over_tls_is_closed(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tls+tcp://127.0.0.1:0", with_tls(quick()));
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = raw_connect(pair.port);
    for (int i = 0; i < 20; i++) {
        assert_true(raw_wait_end(fds[i]));
        close(fds[i]);
    }
    assert_true(wait_for(pair.listener, &pair.listener->closed, 20));
    pair_fini(&pair);
}

static void a_client_that_falls_silent_is_closed(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", quick());
    int fd = raw_connect(pair.port);
    raw_frame(fd, 1, FRAME_WIRE_HELLO, bytes_of_string("x"));
    uint64_t begin = now_ms();
    /* half a frame, and a header that claims 32 MiB, are silence too */
    struct frame_header header = {.size = FRAME_SIZE_MAX, .version = 1, .kind = 4};
    uint8_t bytes[FRAME_HEADER_SIZE];
    frame_header_encode(&header, bytes);
    assert_int_equal(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_true(raw_wait_end(fd));
    assert_in_range(now_ms() - begin, 450, 3000);
    close(fd);
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    assert_int_equal(only_record(pair.listener)->reason, ERR_TIMEOUT);
    assert_int_equal(only_record(pair.listener)->opens, 1);
    pair_fini(&pair);
}

static void a_client_that_does_not_read_is_closed(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", quick());
    int fd = raw_connect(pair.port);
    raw_frame(fd, 1, FRAME_WIRE_HELLO, bytes_of_string("x"));
    assert_true(wait_for(pair.listener, &pair.listener->opened, 1));
    conn_id conn = only_record(pair.listener)->conn;
    for (int i = 0; i < 20; i++)
        (void)transport_send(pair.listener->transport, conn, frame_new(4, 1000000));
    uint64_t begin = now_ms();
    while (now_ms() - begin < PATIENCE_MS) {
        raw_frame(fd, 1, FRAME_WIRE_PING, bytes_empty()); /* it is alive, it just does not read */
        usleep(50000);
        struct transport_nng_stats stats;
        transport_nng_stats(pair.listener->transport, &stats);
        if (stats.connections_open == 0)
            break;
    }
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    assert_int_equal(only_record(pair.listener)->reason, ERR_TIMEOUT);
    close(fd);
    pair_fini(&pair);
}

static uint64_t pending_of(struct side *side)
{
    struct transport_nng_stats stats;
    transport_nng_stats(side->transport, &stats);
    return stats.pending_size;
}

static void many_clients_that_do_not_read_share_a_limit(void **state)
{
    (void)state;
    enum { CLIENTS = 8, LARGE = 1024 * 1024, TOTAL_MAX = 8 * LARGE };
    struct pair pair;
    struct transport_nng_options options = {.pending_total_max = TOTAL_MAX};
    pair_init(&pair, "tcp://127.0.0.1:0", options);
    int fds[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i++) {
        fds[i] = raw_connect(pair.port);
        raw_frame(fds[i], 1, FRAME_WIRE_HELLO, bytes_of_string("x"));
        assert_true(wait_for(pair.listener, &pair.listener->opened, i + 1));
    }
    struct transport *transport = pair.listener->transport;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 400; i++) {
        refused += transport_send(transport, pair.listener->records[i % CLIENTS].conn, frame_new(4, LARGE)) == ERR_BUSY;
        assert_true(pending_of(pair.listener) <= TOTAL_MAX + CLIENTS * FRAME_HEADER_SIZE * 100);
    }
    assert_true(refused > 200); /* the kernel holds some */
    assert_true(pending_of(pair.listener) > TOTAL_MAX / 2);
    /* One that reads is served as long as its frames are small. */
    conn_id polite = dial_open(&pair);
    conn_id served = pair.listener->records[CLIENTS].conn;
    assert_int_equal(transport_send(transport, served, frame_new(4, LARGE)), ERR_BUSY);
    for (int i = 0; i < 100; i++)
        assert_int_equal(transport_send(transport, served, frame_new(4, 1000)), ERR_OK);
    assert_true(wait_frames(pair.dialer, 101)); /* one came inside on_open */
    assert_int_equal(transport_send(pair.dialer->transport, polite, frame_new(4, LARGE)),
                     ERR_OK); /* we chose whom we dial */
    for (uint32_t i = 0; i < CLIENTS; i++)
        close(fds[i]);
    assert_true(wait_for(pair.listener, &pair.listener->closed, CLIENTS));
    for (int i = 0; i < PATIENCE_MS && pending_of(pair.listener) > 0; i++)
        usleep(1000);
    assert_int_equal(pending_of(pair.listener), 0);
    assert_int_equal(transport_send(transport, served, frame_new(4, LARGE)), ERR_OK);
    pair_fini(&pair);
}

static uint64_t arriving_of(struct side *side)
{
    struct transport_nng_stats stats;
    transport_nng_stats(side->transport, &stats);
    return stats.arriving_size;
}

/* Frames that begin and do not end: what they may take is bounded, and who waits for them gets through after a while. */
static void large_frames_that_do_not_arrive_share_a_limit_and_a_time(void **state)
{
    (void)state;
    enum { CLIENTS = 3, LARGE = 4 * 1024 * 1024, TOTAL_MAX = 2 * LARGE, PART = 200 * 1024 };
    struct pair pair;
    struct transport_nng_options options = quick();
    options.arriving_total_max = TOTAL_MAX;
    pair_init(&pair, "tcp://127.0.0.1:0", options);
    pair.listener->no_tags = true; /* strangers, all of them */
    int fds[CLIENTS];
    uint8_t *begin = calloc(1, PART);
    CHECK(begin);
    struct frame_header header = {.size = LARGE, .version = 1, .kind = 4};
    frame_header_encode(&header, begin);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        fds[i] = raw_connect(pair.port);
        raw_frame(fds[i], 1, FRAME_WIRE_HELLO, bytes_of_string("x"));
        assert_true(wait_for(pair.listener, &pair.listener->opened, i + 1));
        CHECK(send(fds[i], begin, PART, MSG_NOSIGNAL) > 0);
    }
    for (int i = 0; i < PATIENCE_MS && arriving_of(pair.listener) < TOTAL_MAX; i++)
        usleep(1000);
    assert_int_equal(arriving_of(pair.listener), TOTAL_MAX);
    (void)dial_open(&pair);
    conn_id conn = pair.dialer->records[0].conn;
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, LARGE)), ERR_OK);
    /* They trickle, so they are not silent; but whoever is slow while others wait goes. */
    uint64_t start = now_ms();
    while (now_ms() - start < PATIENCE_MS && pair.listener->records[CLIENTS].frames == 0) {
        for (uint32_t i = 0; i < CLIENTS; i++)
            (void)(send(fds[i], begin, 1, MSG_NOSIGNAL) > 0);
        assert_true(arriving_of(pair.listener) <= TOTAL_MAX);
        usleep(20000);
    }
    assert_int_equal(pair.listener->records[CLIENTS].frames, 1);
    for (uint32_t i = 0; i < CLIENTS; i++)
        close(fds[i]);
    assert_true(wait_for(pair.listener, &pair.listener->closed, CLIENTS));
    for (int i = 0; i < PATIENCE_MS && arriving_of(pair.listener) > 0; i++)
        usleep(1000);
    assert_int_equal(arriving_of(pair.listener), 0);
    free(begin);
    pair_fini(&pair);
}

static void idle_connections_stay_up(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", quick());
    pair.listener->echo = true;
    conn_id conn = dial_open(&pair);
    usleep(2000000); /* three times the idle limit */
    assert_int_equal(count_of(pair.dialer, &pair.dialer->closed), 0);
    assert_int_equal(count_of(pair.listener, &pair.listener->closed), 0);
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 10)), ERR_OK);
    assert_true(wait_frames(pair.dialer, 2));
    pair_fini(&pair);
}

/* ---- hostile bytes */

static void raw_and_see_it_closed(struct pair *pair, const void *data, size_t size, bool after_hello, enum err reason)
{
    uint32_t closed = count_of(pair->listener, &pair->listener->closed);
    uint32_t lines = count_of(pair->listener, &pair->listener->log_lines);
    int fd = raw_connect(pair->port);
    if (after_hello)
        raw_frame(fd, 1, FRAME_WIRE_HELLO, bytes_of_string("x"));
    assert_int_equal(send(fd, data, size, MSG_NOSIGNAL), size);
    assert_true(raw_wait_end(fd));
    close(fd);
    assert_true(wait_for(pair->listener, &pair->listener->closed, closed + 1));
    pthread_mutex_lock(&pair->listener->lock);
    assert_int_equal(pair->listener->records[pair->listener->count - 1].reason, reason);
    assert_int_equal(pair->listener->log_lines, lines + 1);
    pthread_mutex_unlock(&pair->listener->lock);
}

static void raw_header(struct frame_header header, uint8_t bytes[FRAME_HEADER_SIZE])
{
    frame_header_encode(&header, bytes);
    header.checksum += frame_checksum(bytes, 0);
    frame_header_encode(&header, bytes);
}

static void protocol_errors_end_that_connection_only_with_one_line(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){0});
    pair.listener->echo = true;
    conn_id conn = dial_open(&pair);
    uint8_t bytes[FRAME_HEADER_SIZE];
    raw_header((struct frame_header){.kind = 4, .version = 1}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, false, ERR_CORRUPT); /* no hello first */
    raw_header((struct frame_header){.kind = FRAME_WIRE_PING, .version = 1}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, false, ERR_CORRUPT);
    raw_header((struct frame_header){.kind = FRAME_WIRE_HELLO, .version = 1, .size = 1000000}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, false, ERR_CORRUPT); /* a hello is small */
    raw_header((struct frame_header){.kind = FRAME_WIRE_HELLO, .version = 1}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, true, ERR_CORRUPT); /* a second hello */
    raw_header((struct frame_header){.kind = 4, .version = 1, .checksum = 1}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, true, ERR_CORRUPT);
    raw_header((struct frame_header){.kind = 4, .version = 2}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, true, ERR_VERSION);
    raw_header((struct frame_header){.kind = 4, .version = 0}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, true, ERR_VERSION);
    raw_header((struct frame_header){.kind = 4, .version = 1, .size = 100000000}, bytes);
    raw_and_see_it_closed(&pair, bytes, sizeof bytes, true, ERR_CORRUPT); /* 100 MB */
    raw_and_see_it_closed(&pair, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, false, ERR_CORRUPT);
    struct frame_writer writer;
    frame_writer_init(&writer);
    frame_writer_put(&writer, 1, frame_copy(FRAME_WIRE_PING, bytes_of_string("p")), 0);
    struct frame_piece pieces[FRAME_PIECES_MAX];
    frame_writer_gather(&writer, pieces);
    raw_and_see_it_closed(&pair, pieces[0].data, pieces[0].size, true, ERR_CORRUPT); /* a ping with a payload */
    frame_writer_fini(&writer);

    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 10)), ERR_OK);
    assert_true(wait_frames(pair.dialer, 2));
    assert_int_equal(count_of(pair.dialer, &pair.dialer->closed), 0);
    pair_fini(&pair);
}

static void garbage_and_resets_beside_a_good_connection(const char *address, struct transport_nng_options options)
{
    struct pair pair;
    pair_init(&pair, address, options);
    pair.listener->echo = true;
    pair.listener->log.level = LOG_ERROR;
    conn_id conn = dial_open(&pair);
    struct rng rng;
    rng_init(&rng, 5, "garbage");
    for (int i = 0; i < 300; i++) {
        int fd = raw_connect(pair.port);
        if (rng_below(&rng, 2) == 0)
            raw_frame(fd, 1, FRAME_WIRE_HELLO, bytes_of_string("x"));
        uint8_t garbage[3000];
        size_t size = rng_between(&rng, 0, sizeof garbage);
        for (size_t j = 0; j < size; j++)
            garbage[j] = (uint8_t)(i % 2 ? rng_next(&rng) : rng_below(&rng, 4));
        (void)!send(fd, garbage, size, MSG_NOSIGNAL);
        if (rng_below(&rng, 2) == 0) {
            struct linger reset = {.l_onoff = 1, .l_linger = 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        }
        close(fd);
        assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 100)), ERR_OK);
    }
    assert_true(wait_frames(pair.dialer, 301));
    assert_int_equal(count_of(pair.dialer, &pair.dialer->closed), 0);
    /* all the others go */
    uint64_t begin = now_ms();
    struct transport_nng_stats stats;
    do {
        usleep(10000);
        transport_nng_stats(pair.listener->transport, &stats);
    } while (stats.connections_open > 1 && now_ms() - begin < PATIENCE_MS);
    assert_int_equal(stats.connections_open, 1);
    pair_fini(&pair);
}

static void garbage_and_resets_over_tcp_hurt_nobody_else(void **state)
{
    (void)state;
    garbage_and_resets_beside_a_good_connection("tcp://127.0.0.1:0", quick());
}

static void garbage_and_resets_over_tls_hurt_nobody_else(void **state)
{
    (void)state;
    garbage_and_resets_beside_a_good_connection("tls+tcp://127.0.0.1:0", with_tls(quick()));
}

/* ---- sizes and numbers */

static void large_frames_pass_whole(const char *address, struct transport_nng_options options)
{
    struct pair pair;
    pair_init(&pair, address, options);
    pair.listener->echo = true;
    conn_id conn = dial_open(&pair);
    static const size_t sizes[] = {16383, 16384, 65520, 65521, 262144, 1000003, FRAME_SIZE_MAX};
    uint64_t bytes = 19;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct frame *frame = frame_new(4, sizes[i]);
        memset(frame->payload, (int)i, sizes[i]);
        enum err code = ERR_BUSY;
        for (int tries = 0; code == ERR_BUSY && tries < 10000; tries++, usleep(1000))
            code = transport_send(pair.dialer->transport, conn, frame_ref(frame));
        assert_int_equal(code, ERR_OK);
        assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 3)), ERR_OK);
        frame_unref(frame);
        bytes += sizes[i] + 3;
    }
    assert_true(wait_frames(pair.dialer, 15));
    assert_int_equal(only_record(pair.dialer)->bytes, bytes);
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, FRAME_SIZE_MAX + 1)),
                     ERR_ENTRY_TOO_LARGE);
    assert_int_equal(count_of(pair.dialer, &pair.dialer->closed), 0);
    pair_fini(&pair);
}

static void frames_up_to_the_maximum_pass_over_tcp(void **state)
{
    (void)state;
    large_frames_pass_whole("tcp://127.0.0.1:0", (struct transport_nng_options){0});
}

static void frames_up_to_the_maximum_pass_over_tls(void **state)
{
    (void)state;
    large_frames_pass_whole("tls+tcp://127.0.0.1:0", with_tls((struct transport_nng_options){0}));
}

static void versions_n_and_n_plus_1_talk_and_n_plus_2_does_not(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){.version = 2, .version_min = 1});
    pair.listener->echo = true;
    side_free(pair.dialer);
    pair.dialer = side_new((struct transport_nng_options){.version = 3, .version_min = 2}, false);
    pair.dialer_handler = handler_of(pair.dialer);
    conn_id conn = dial_open(&pair);
    assert_int_equal(transport_send(pair.dialer->transport, conn, frame_new(4, 10)), ERR_OK);
    assert_true(wait_frames(pair.dialer, 2));
    side_free(pair.dialer);
    pair.dialer = side_new((struct transport_nng_options){.version = 4, .version_min = 3}, false);
    pair.dialer_handler = handler_of(pair.dialer);
    dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, 1));
    assert_int_equal(only_record(pair.dialer)->opens, 0);
    assert_int_equal(only_record(pair.dialer)->reason, ERR_VERSION);
    pair_fini(&pair);
}

static void what_is_past_the_maximum_of_connections_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){.connections_max = 5});
    for (int i = 0; i < 5; i++)
        dial_open(&pair);
    conn_id none = 0;
    assert_int_equal(transport_dial(pair.dialer->transport, pair.address, bytes_empty(), &pair.dialer_handler, &none),
                     ERR_BUSY);
    int fd = raw_connect(pair.port);
    assert_true(raw_wait_end(fd));
    close(fd);
    fd = raw_connect(pair.port);
    assert_true(raw_wait_end(fd));
    close(fd);
    struct transport_nng_stats stats;
    transport_nng_stats(pair.listener->transport, &stats);
    assert_int_equal(stats.connections_refused, 2);
    assert_int_equal(stats.connections_open, 5);
    assert_int_equal(pair.listener->log_lines, 1);
    transport_close_conn(pair.dialer->transport, pair.dialer->records[0].conn);
    assert_true(wait_for(pair.listener, &pair.listener->closed, 1));
    usleep(50000);
    dial_open(&pair); /* there is room again */
    pair_fini(&pair);
}

static void a_port_in_use_and_bad_addresses_are_named(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){0});
    struct error err = {0};
    assert_int_equal(transport_listen(pair.dialer->transport, pair.address, &pair.dialer_handler, &err), ERR_LOCKED);
    assert_non_null(strstr(err.text, pair.address));
    static const char *const bad[] = {"tcp://127.0.0.1", "nonsense", "tcp://127.0.0.1:99999", "tcp://203.0.113.7:80",
                                      "tcp://no-such-host.invalid:80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err = (struct error){0};
        assert_int_equal(transport_listen(pair.dialer->transport, bad[i], &pair.dialer_handler, &err), ERR_INVALID);
        assert_non_null(strstr(err.text, bad[i]));
    }
    conn_id conn = 0;
    assert_int_equal(transport_dial(pair.dialer->transport, "nonsense", bytes_empty(), &pair.dialer_handler, &conn),
                     ERR_INVALID);
    assert_int_equal(conn, 0);
    pair_fini(&pair);
}

/* ---- threads */

enum { SENDERS = 4, SENDER_FRAMES = 20000 };

struct sender {
    struct pair *pair;
    conn_id conn;
    uint8_t number;
};

static uint32_t order_next[SENDERS];
static bool order_broken;

static enum err on_ordered(void *context, conn_id conn, struct frame *take_frame)
{
    (void)conn;
    struct side *side = context;
    uint32_t index;
    uint8_t sender = take_frame->payload[0];
    memcpy(&index, take_frame->payload + 1, sizeof index);
    pthread_mutex_lock(&side->lock);
    order_broken |= sender >= SENDERS || order_next[sender] != index || take_frame->size != 5 + index % 300;
    order_next[sender % SENDERS]++;
    side->frames++;
    pthread_cond_broadcast(&side->changed);
    pthread_mutex_unlock(&side->lock);
    frame_unref(take_frame);
    return ERR_OK;
}

static void *send_many(void *argument)
{
    struct sender *sender = argument;
    for (uint32_t i = 0; i < SENDER_FRAMES; i++) {
        struct frame *frame = frame_new(4, 5 + i % 300);
        frame->payload[0] = sender->number;
        memcpy(frame->payload + 1, &i, sizeof i);
        enum err code = transport_send(sender->pair->dialer->transport, sender->conn, frame);
        if (code != ERR_OK)
            order_broken = true;
    }
    return NULL;
}

static void many_threads_send_on_one_connection(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){0});
    pair.listener_handler.on_frame = on_ordered;
    conn_id conn = dial_open(&pair);
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];
    for (uint8_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&pair, conn, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_many, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(wait_frames(pair.listener, SENDERS * SENDER_FRAMES));
    assert_false(order_broken);
    struct transport_nng_stats stats;
    transport_nng_stats(pair.dialer->transport, &stats);
    assert_true(stats.writes < stats.frames_out); /* some were written together */
    pair_fini(&pair);
}

static void *send_until_closed(void *argument)
{
    struct sender *sender = argument;
    for (;;) {
        enum err code = transport_send(sender->pair->dialer->transport, sender->conn, frame_new(4, 100));
        if (code == ERR_CLOSED)
            return NULL;
        if (code == ERR_BUSY)
            usleep(1000);
    }
}

static void closing_while_others_send_and_handlers_run_is_safe(const char *address,
                                                               struct transport_nng_options options)
{
    struct pair pair;
    pair_init(&pair, address, options);
    pair.listener->echo = true;
    for (uint32_t round = 0; round < 30; round++) {
        struct sender sender = {&pair, dial_open(&pair), 0};
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, send_until_closed, &sender), 0);
        usleep(3000);
        if (round % 2) {
            transport_close_conn(pair.dialer->transport, sender.conn);
        } else { /* the other side closes */
            assert_true(wait_for(pair.listener, &pair.listener->opened, round + 1));
            transport_close_conn(pair.listener->transport, pair.listener->records[round].conn);
        }
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        assert_true(wait_for(pair.dialer, &pair.dialer->closed, round + 1));
    }
    assert_true(wait_for(pair.listener, &pair.listener->closed, 30));
    pair_fini(&pair);
}

static void closing_under_load_is_safe_over_tcp(void **state)
{
    (void)state;
    closing_while_others_send_and_handlers_run_is_safe("tcp://127.0.0.1:0", (struct transport_nng_options){0});
}

static void closing_under_load_is_safe_over_tls(void **state)
{
    (void)state;
    closing_while_others_send_and_handlers_run_is_safe("tls+tcp://127.0.0.1:0",
                                                       with_tls((struct transport_nng_options){0}));
}

static void freeing_with_everything_under_way_closes_each_connection_once(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        struct pair pair;
        pair_init(&pair, "tcp://127.0.0.1:0", (struct transport_nng_options){0});
        pair.listener->echo = true;
        if (round % 2)
            pair.listener->busy_count = UINT32_MAX;
        for (int i = 0; i < 20; i++) {
            conn_id conn = dial(&pair);
            for (int j = 0; j < 50; j++)
                (void)transport_send(pair.dialer->transport, conn, frame_new(4, 1000));
        }
        usleep((useconds_t)round * 1000);
        if (round < 5) {
            pair_fini(&pair);
        } else {
            side_free(pair.listener);
            side_free(pair.dialer);
        }
    }
}

/* ---- cost */

static size_t resident_size(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long total, resident;
    CHECK(file && fscanf(file, "%lu %lu", &total, &resident) == 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void a_thousand_idle_connections_are_cheap_and_leave_nothing(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    struct rlimit limit = {.rlim_cur = 8192, .rlim_max = 8192};
    struct rlimit before_limit;
    getrlimit(RLIMIT_NOFILE, &before_limit);
    limit.rlim_max = before_limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct pair pair;
    pair_init(&pair, "tcp://127.0.0.1:0",
              (struct transport_nng_options){.idle_timeout_ms = 2000, .ping_interval_ms = 500});
    dial_open(&pair);
    usleep(300000); /* what earlier tests have freed is closed by nng in its own time */
    uint32_t fds = descriptors();
    size_t before = resident_size();
    for (int i = 0; i < COUNT; i++)
        dial(&pair);
    assert_true(wait_for(pair.dialer, &pair.dialer->opened, COUNT + 1));
    size_t after = resident_size();
    print_message("memory per idle connection, both sides together: %zu bytes\n", (after - before) / COUNT);
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
    assert_true(after - before < (size_t)COUNT * 40 * 1024);
#endif
    usleep(2500000); /* pings keep them all */
    assert_int_equal(count_of(pair.dialer, &pair.dialer->closed), 0);
    for (uint32_t i = 1; i <= COUNT; i++)
        transport_close_conn(pair.dialer->transport, pair.dialer->records[i].conn);
    assert_true(wait_for(pair.dialer, &pair.dialer->closed, COUNT));
    assert_true(wait_for(pair.listener, &pair.listener->closed, COUNT));
    uint64_t begin = now_ms();
    while (descriptors() > fds && now_ms() - begin < PATIENCE_MS)
        usleep(10000);
    assert_true(descriptors() <= fds);
    pair_fini(&pair);
    setrlimit(RLIMIT_NOFILE, &before_limit);
}

/* ---- certificates: made for this run only */

static void make_certificate(const char *name, const char *host, char *cert, char *key)
{
    char command[1024];
    snprintf(cert, 96, "%s/%s.pem", tls_dir, name);
    snprintf(key, 96, "%s/%s.key", tls_dir, name);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=%s "
             "-addext subjectAltName=DNS:%s -keyout %s -out %s 2>/dev/null",
             host, host, key, cert);
    CHECK(system(command) == 0);
}

static int make_certificates(void **state)
{
    (void)state;
    char unused[96];
    snprintf(tls_dir, sizeof tls_dir, "/tmp/test_transport.XXXXXX");
    CHECK(mkdtemp(tls_dir));
    make_certificate("own", "localhost", cert_file, key_file);
    make_certificate("other", "localhost", other_ca_file, unused);
    make_certificate("elsewhere", "elsewhere", elsewhere_file, elsewhere_key_file);
    memcpy(ca_file, cert_file, sizeof ca_file);
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", tls_dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_both_ways_over_tcp),
        cmocka_unit_test(frames_go_both_ways_over_ipc),
        cmocka_unit_test(frames_go_both_ways_over_tls),
        cmocka_unit_test(frames_go_both_ways_with_certificates_on_both_sides),
        cmocka_unit_test(a_dialer_trusts_only_its_ca),
        cmocka_unit_test(no_options_are_all_defaults),
        cmocka_unit_test(a_dialer_without_certificate_is_refused_where_one_is_required),
        cmocka_unit_test(a_name_that_is_not_in_the_certificate_is_refused_when_names_count),
        cmocka_unit_test(the_chain_alone_counts_for_a_numeric_address),
        cmocka_unit_test(bad_tls_options_are_named),
        cmocka_unit_test(a_refused_dialer_reads_why),
        cmocka_unit_test(a_refused_dialer_that_stays_is_closed),
        cmocka_unit_test(a_busy_receiver_loses_nothing_and_keeps_the_order),
        cmocka_unit_test(a_receiver_that_stays_busy_makes_the_sender_busy_and_memory_stays_bounded),
        cmocka_unit_test(a_handler_that_refuses_a_frame_ends_the_connection_with_its_reason),
        cmocka_unit_test(a_dial_that_nobody_answers_ends_as_unavailable),
        cmocka_unit_test(a_silent_listener_is_given_up),
        cmocka_unit_test(a_silent_tls_listener_is_given_up),
        cmocka_unit_test(a_client_that_says_nothing_is_closed),
        cmocka_unit_test(a_client_that_says_nothing_over_tls_is_closed),
        cmocka_unit_test(a_client_that_falls_silent_is_closed),
        cmocka_unit_test(a_client_that_does_not_read_is_closed),
        cmocka_unit_test(many_clients_that_do_not_read_share_a_limit),
        cmocka_unit_test(large_frames_that_do_not_arrive_share_a_limit_and_a_time),
        cmocka_unit_test(idle_connections_stay_up),
        cmocka_unit_test(protocol_errors_end_that_connection_only_with_one_line),
        cmocka_unit_test(garbage_and_resets_over_tcp_hurt_nobody_else),
        cmocka_unit_test(garbage_and_resets_over_tls_hurt_nobody_else),
        cmocka_unit_test(frames_up_to_the_maximum_pass_over_tcp),
        cmocka_unit_test(frames_up_to_the_maximum_pass_over_tls),
        cmocka_unit_test(versions_n_and_n_plus_1_talk_and_n_plus_2_does_not),
        cmocka_unit_test(what_is_past_the_maximum_of_connections_is_refused),
        cmocka_unit_test(a_port_in_use_and_bad_addresses_are_named),
        cmocka_unit_test(many_threads_send_on_one_connection),
        cmocka_unit_test(closing_under_load_is_safe_over_tcp),
        cmocka_unit_test(closing_under_load_is_safe_over_tls),
        cmocka_unit_test(freeing_with_everything_under_way_closes_each_connection_once),
        cmocka_unit_test(a_thousand_idle_connections_are_cheap_and_leave_nothing),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
