/* transport_bench: echo of small frames over loopback, both sides in this process: round trips a second with 1, 64 and
 * 256 outstanding, the p50 of a lone one, and frames per write.
 *
 *   transport_bench [tcp|ipc|tls CERT KEY] [seconds] */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "env/transport_nng.h"

enum { FRAME_SIZE = 128, LATENCIES_MAX = 1000000 };

struct bench {
    struct transport *server, *client;
    _Atomic uint64_t replies;
    _Atomic bool open;
    _Atomic bool stopping;
    uint64_t sent_ns; /* of the lone frame */
    _Atomic uint32_t latency_count;
    uint32_t latencies[LATENCIES_MAX];
    bool lone;
};

static struct bench bench;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static enum err server_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)context, (void)conn, (void)hello;
    *ret_reply = frame_copy(1, bytes_of_string("welcome"));
    return ERR_OK;
}

static enum err server_frame(void *context, conn_id conn, struct frame *take_frame)
{
    (void)context;
    (void)transport_send(bench.server, conn, take_frame);
    return ERR_OK;
}

static enum err client_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)context, (void)conn, (void)hello, (void)ret_reply;
    bench.open = true;
    return ERR_OK;
}

static void send_one(conn_id conn)
{
    struct frame *frame = frame_new(2, FRAME_SIZE);
    memset(frame->payload, 0x5a, FRAME_SIZE);
    (void)transport_send(bench.client, conn, frame);
}

static enum err client_frame(void *context, conn_id conn, struct frame *take_frame)
{
    (void)context;
    frame_unref(take_frame);
    bench.replies++;
    if (bench.lone) {
        uint64_t now = now_ns();
        if (bench.latency_count < LATENCIES_MAX)
            bench.latencies[bench.latency_count++] = (uint32_t)(now - bench.sent_ns);
        bench.sent_ns = now;
    }
    if (!bench.stopping)
        send_one(conn);
    return ERR_OK;
}

static void closed(void *context, conn_id conn, enum err reason)
{
    (void)context, (void)conn, (void)reason;
}

static const struct transport_handler server_handler = {
    .on_open = server_open, .on_frame = server_frame, .on_close = closed};
static const struct transport_handler client_handler = {
    .on_open = client_open, .on_frame = client_frame, .on_close = closed};

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run(const char *address, int outstanding, double seconds)
{
    conn_id conn;
    bench.open = bench.stopping = false;
    bench.lone = outstanding == 1;
    bench.latency_count = 0;
    CHECK(transport_dial(bench.client, address, bytes_of_string("hello"), &client_handler, &conn) == ERR_OK);
    while (!bench.open)
        usleep(1000);
    struct transport_nng_stats before, after;
    transport_nng_stats(bench.client, &before);
    bench.sent_ns = now_ns();
    bench.replies = 0;
    double cpu = cpu_s();
    uint64_t start = now_ns();
    for (int i = 0; i < outstanding; i++)
        send_one(conn);
    usleep((useconds_t)(seconds * 1e6));
    uint64_t replies = bench.replies;
    double took = (double)(now_ns() - start) / 1e9;
    cpu = cpu_s() - cpu;
    bench.stopping = true;
    transport_nng_stats(bench.client, &after);
    printf("outstanding=%d echoes_per_s=%.0f cpu_us_per_echo=%.2f frames_per_write=%.1f", outstanding,
           (double)replies / took, cpu * 1e6 / (double)replies,
           (double)(after.frames_out - before.frames_out) / (double)(after.writes - before.writes));
    if (bench.lone) {
        uint32_t count = bench.latency_count;
        qsort(bench.latencies, count, sizeof bench.latencies[0], by_value);
        printf(" p50_us=%.1f p99_us=%.1f", bench.latencies[count / 2] / 1e3,
               bench.latencies[(uint64_t)count * 99 / 100] / 1e3);
    }
    printf("\n");
    fflush(stdout);
    usleep(50000);
    transport_close_conn(bench.client, conn);
    usleep(50000);
}

int main(int argc, char **argv)
{
    const char *scheme = argc > 1 ? argv[1] : "tcp";
    bool tls = strcmp(scheme, "tls") == 0;
    struct transport_nng_options options = {0};
    if (tls && argc > 3) {
        options.tls_cert_file = argv[2];
        options.tls_key_file = argv[3];
    }
    double seconds = argc > (tls ? 4 : 2) ? atof(argv[tls ? 4 : 2]) : 2;
    struct error err = {0};
    char address[128];
    if (transport_nng_new(&options, &bench.server, &err) || transport_nng_new(&options, &bench.client, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (strcmp(scheme, "ipc") == 0)
        snprintf(address, sizeof address, "ipc:///tmp/transport_bench.%d", (int)getpid());
    else
        snprintf(address, sizeof address, "%s://127.0.0.1:0", tls ? "tls+tcp" : "tcp");
    if (transport_listen(bench.server, address, &server_handler, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (strcmp(scheme, "ipc") != 0)
        snprintf(address, sizeof address, "%s://127.0.0.1:%u", tls ? "tls+tcp" : "tcp",
                 transport_nng_port(bench.server, address));
    int outstanding[] = {1, 64, 256};
    for (size_t i = 0; i < sizeof outstanding / sizeof outstanding[0]; i++)
        run(address, outstanding[i], seconds);
    transport_nng_free(bench.client);
    transport_nng_free(bench.server);
    return 0;
}
