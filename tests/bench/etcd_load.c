/* etcd_load: load for etcd 3, for a fair comparison on one machine (vs_etcd.sh).
 *
 * etcd and its clients share the cores here, so what the client costs is taken from etcd. This one is as cheap as we
 * can make it: gRPC is HTTP/2 with a five byte prefix, nghttp2 speaks HTTP/2, and the few fields of etcd's
 * PutRequest and RangeRequest are written by hand. One thread, `--conns` connections, `--clients` requests outstanding
 * (each client has one at a time), all that is ready on a connection leaves in one write.
 *
 *   gRPC message   0 | size u32 be | protobuf
 *   PutRequest     1: key, 2: value              RangeRequest  1: key, 7: serializable (absent: linearizable)
 *   RangeResponse  2: kvs (a reply without it found nothing)
 *
 * A reply counts only with HTTP status 200 and grpc-status 0, a get only if it found its key. Prints one JSON line. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

enum { CONNS_MAX = 256, KEY_SIZE = 16, VALUE_SIZE_MAX = 65536, OUT_SIZE = 1 << 18 };

struct conn {
    int fd;
    nghttp2_session *session;
    const char *authority;
    uint8_t out[OUT_SIZE];
    size_t out_size, out_sent;
};

struct client {
    struct conn *conn;
    uint8_t *request;
    size_t request_size, request_sent;
    uint64_t started_ns;
    size_t reply_size;
    bool http_ok, grpc_ok;
};

static const char *op = "put", *endpoints = "127.0.0.1:2379";
static uint32_t client_count = 64, conn_count = 8, key_count = 100000, value_size = 100;
static double seconds = 5;

static struct conn *conns[CONNS_MAX];
static struct client *clients;
static uint8_t value[VALUE_SIZE_MAX];
static uint32_t *latencies; /* 0.1 us */
static size_t latency_count, latency_capacity;
static uint64_t started_ns, deadline_ns, error_count, missing_count, in_flight, next_fill;
static uint64_t random_state = 88172645463325252u;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void die(const char *what)
{
    fprintf(stderr, "etcd_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- messages */

static uint8_t *put_field(uint8_t *at, uint8_t number, const void *data, size_t size)
{
    *at++ = (uint8_t)(number << 3 | 2);
    size_t left = size;
    for (; left >= 128; left >>= 7)
        *at++ = (uint8_t)(left | 128);
    *at++ = (uint8_t)left;
    memcpy(at, data, size);
    return at + size;
}

static void make_request(struct client *client)
{
    char key[KEY_SIZE + 1];
    uint64_t number = op[0] == 'f' ? next_fill++ : next_random() % key_count;
    snprintf(key, sizeof key, "k%015llu", (unsigned long long)number);
    uint8_t *at = put_field(client->request + 5, 1, key, KEY_SIZE);
    if (op[0] != 'g')
        at = put_field(at, 2, value, value_size);
    uint32_t size = (uint32_t)(at - client->request) - 5;
    client->request[0] = 0;
    for (int i = 0; i < 4; i++)
        client->request[1 + i] = (uint8_t)(size >> (24 - 8 * i));
    client->request_size = size + 5;
    client->request_sent = 0;
}

static ssize_t read_request(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t size, uint32_t *flags,
                            nghttp2_data_source *source, void *user)
{
    (void)session, (void)stream, (void)user;
    struct client *client = source->ptr;
    size_t left = client->request_size - client->request_sent;
    if (size > left)
        size = left;
    memcpy(buf, client->request + client->request_sent, size);
    client->request_sent += size;
    if (client->request_sent == client->request_size)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)size;
}

static nghttp2_nv header(const char *name, const char *text)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)text, strlen(name), strlen(text),
                        NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

static void start_request(struct client *client)
{
    make_request(client);
    client->http_ok = client->grpc_ok = false;
    client->reply_size = 0;
    client->started_ns = now_ns();
    nghttp2_nv headers[] = {
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", op[0] == 'g' ? "/etcdserverpb.KV/Range" : "/etcdserverpb.KV/Put"),
        header(":authority", client->conn->authority),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    };
    nghttp2_data_provider body = {.source.ptr = client, .read_callback = read_request};
    int32_t stream =
        nghttp2_submit_request(client->conn->session, NULL, headers, sizeof headers / sizeof headers[0], &body, client);
    if (stream < 0) {
        fprintf(stderr, "etcd_load: submit: %s\n", nghttp2_strerror(stream));
        exit(1);
    }
    in_flight++;
}

/* ---- replies */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *text, size_t text_size, uint8_t flags, void *user)
{
    (void)flags, (void)user;
    struct client *client = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!client)
        return 0;
    if (name_size == 7 && memcmp(name, ":status", 7) == 0)
        client->http_ok = text_size == 3 && memcmp(text, "200", 3) == 0;
    else if (name_size == 11 && memcmp(name, "grpc-status", 11) == 0)
        client->grpc_ok = text_size == 1 && text[0] == '0';
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *user)
{
    (void)flags, (void)data, (void)user;
    struct client *client = nghttp2_session_get_stream_user_data(session, stream);
    if (client)
        client->reply_size += size;
    return 0;
}

static void record(uint64_t elapsed_ns)
{
    if (latency_count == latency_capacity) {
        latency_capacity = latency_capacity ? latency_capacity * 2 : 1 << 20;
        latencies = realloc(latencies, latency_capacity * sizeof *latencies);
        if (!latencies)
            die("memory");
    }
    latencies[latency_count++] = elapsed_ns / 100 < UINT32_MAX ? (uint32_t)(elapsed_ns / 100) : UINT32_MAX;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user)
{
    (void)user;
    struct client *client = nghttp2_session_get_stream_user_data(session, stream);
    if (!client)
        return 0;
    in_flight--;
    uint64_t now = now_ns();
    if (code != 0 || !client->http_ok || !client->grpc_ok)
        error_count++;
    else if (op[0] == 'g' && client->reply_size < value_size)
        missing_count++; /* a header alone is about 30 bytes: the key was not there */
    else
        record(now - client->started_ns);
    if (op[0] == 'f' ? next_fill < key_count : now < deadline_ns)
        start_request(client);
    return 0;
}

/* ---- connections */

static void flush(struct conn *conn)
{
    for (;;) {
        while (conn->out_size < OUT_SIZE / 2) {
            const uint8_t *data;
            ssize_t size = nghttp2_session_mem_send(conn->session, &data);
            if (size < 0)
                die("session");
            if (size == 0)
                break;
            memcpy(conn->out + conn->out_size, data, (size_t)size); /* a piece is below 32 KiB */
            conn->out_size += (size_t)size;
        }
        if (conn->out_sent == conn->out_size)
            return;
        ssize_t sent = send(conn->fd, conn->out + conn->out_sent, conn->out_size - conn->out_sent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN)
                return;
            die("send");
        }
        conn->out_sent += (size_t)sent;
        if (conn->out_sent == conn->out_size)
            conn->out_sent = conn->out_size = 0;
    }
}

static void receive(struct conn *conn)
{
    static uint8_t buf[1 << 16];
    for (;;) {
        ssize_t size = recv(conn->fd, buf, sizeof buf, 0);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size <= 0)
            die("connection lost");
        if (nghttp2_session_mem_recv(conn->session, buf, (size_t)size) < 0) {
            fprintf(stderr, "etcd_load: not HTTP/2\n");
            exit(1);
        }
        if ((size_t)size < sizeof buf)
            return;
    }
}

static struct conn *conn_new(const char *authority)
{
    struct conn *conn = calloc(1, sizeof *conn);
    char host[64];
    const char *colon = strrchr(authority, ':');
    if (!conn || !colon || (size_t)(colon - authority) >= sizeof host)
        die(authority);
    snprintf(host, sizeof host, "%.*s", (int)(colon - authority), authority);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    inet_pton(AF_INET, host, &address.sin_addr);
    conn->authority = authority;
    conn->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&address, sizeof address) != 0)
        die(authority);
    int one = 1;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(conn->fd, F_SETFL, O_NONBLOCK);
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&conn->session, callbacks, NULL);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, NULL, 0);
    nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, 1 << 24);
    return conn;
}

/* ---- the run */

static void run(void)
{
    struct pollfd polled[CONNS_MAX];
    for (uint32_t i = 0; i < client_count; i++)
        if (op[0] != 'f' || next_fill < key_count)
            start_request(&clients[i]);
    while (in_flight > 0) {
        for (uint32_t i = 0; i < conn_count; i++) {
            flush(conns[i]);
            short out = conns[i]->out_size > conns[i]->out_sent ? POLLOUT : 0;
            polled[i] = (struct pollfd){conns[i]->fd, (short)(POLLIN | out), 0};
        }
        if (poll(polled, conn_count, 10000) == 0) {
            fprintf(stderr, "etcd_load: no answer for 10 s\n");
            exit(1);
        }
        for (uint32_t i = 0; i < conn_count; i++)
            if (polled[i].revents & ~POLLOUT)
                receive(conns[i]);
    }
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static double quantile_us(double quantile)
{
    if (latency_count == 0)
        return 0;
    size_t index = (size_t)((double)latency_count * quantile);
    return latencies[index < latency_count ? index : latency_count - 1] / 10.0;
}

static void report(double elapsed)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (latency_count)
        qsort(latencies, latency_count, sizeof *latencies, compare);
    printf("{\"op\":\"%s\",\"clients\":%u,\"conns\":%u,\"ops\":%zu,\"ops_per_s\":%.0f,\"p50_us\":%.1f,"
           "\"p95_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"errors\":%llu,\"missing\":%llu,"
           "\"client_cpu_us_per_op\":%.2f}\n",
           op, client_count, conn_count, latency_count, (double)latency_count / elapsed, quantile_us(0.5),
           quantile_us(0.95), quantile_us(0.99), quantile_us(0.999), (unsigned long long)error_count,
           (unsigned long long)missing_count, latency_count ? cpu * 1e6 / (double)latency_count : 0);
}

static uint32_t number_arg(const char *name, const char *text, uint32_t max)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);
    if (*end != '\0' || number == 0 || number > max) {
        fprintf(stderr, "etcd_load: --%s: %s is not a number from 1 to %u\n", name, text, max);
        exit(2);
    }
    return (uint32_t)number;
}

static void parse_args(int argc, char **argv)
{
    static const struct option options[] = {
        {"endpoints", required_argument, NULL, 'e'}, {"op", required_argument, NULL, 'o'},
        {"clients", required_argument, NULL, 'c'},   {"conns", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 's'},   {"value-size", required_argument, NULL, 'v'},
        {"keys", required_argument, NULL, 'k'},      {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'e':
            endpoints = optarg;
            break;
        case 'o':
            op = optarg;
            break;
        case 'c':
            client_count = number_arg("clients", optarg, 10000);
            break;
        case 'n':
            conn_count = number_arg("conns", optarg, CONNS_MAX);
            break;
        case 's':
            seconds = number_arg("seconds", optarg, 3600);
            break;
        case 'v':
            value_size = number_arg("value-size", optarg, VALUE_SIZE_MAX);
            break;
        case 'k':
            key_count = number_arg("keys", optarg, UINT32_MAX);
            break;
        default:
            exit(2);
        }
    }
    if (strcmp(op, "put") != 0 && strcmp(op, "get") != 0 && strcmp(op, "fill") != 0) {
        fprintf(stderr, "etcd_load: --op: %s is not put, get or fill\n", op);
        exit(2);
    }
    if (conn_count > client_count)
        conn_count = client_count;
}

int main(int argc, char **argv)
{
    parse_args(argc, argv);
    char *list = strdup(endpoints), *authorities[16];
    uint32_t endpoint_count = 0;
    for (char *at = strtok(list, ","); at && endpoint_count < 16; at = strtok(NULL, ","))
        authorities[endpoint_count++] = at;
    if (endpoint_count == 0) {
        fprintf(stderr, "etcd_load: --endpoints: empty\n");
        return 2;
    }
    for (uint32_t i = 0; i < conn_count; i++)
        conns[i] = conn_new(authorities[i % endpoint_count]);
    for (uint32_t i = 0; i < value_size; i++)
        value[i] = (uint8_t)('a' + next_random() % 26);
    clients = calloc(client_count, sizeof *clients);
    for (uint32_t i = 0; i < client_count; i++) {
        clients[i].conn = conns[i % conn_count];
        clients[i].request = malloc(value_size + 64);
    }
    random_state ^= now_ns();
    started_ns = now_ns();
    deadline_ns = started_ns + (uint64_t)(seconds * 1e9);
    run();
    report((double)(now_ns() - started_ns) / 1e9);
    return error_count + missing_count ? 1 : 0;
}
