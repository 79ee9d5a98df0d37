/* client_bench: what an operation costs in the client, in CPU, without the cost of a cluster.
 *
 *   client_bench [outstanding [seconds [threads]]]
 *
 * Starts itself a second time as a pd and a store that answer everything at once and do nothing, over the real
 * transport. Then: callbacks with `outstanding` operations under way, and `threads` threads that call and wait. CPU is
 * of this process alone (user and system, all threads, the transport's included). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "client/polder.h"
#include "env/os.h"
#include "env/transport_nng.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

/* ---- the server */

static struct transport *transport;
static char address[64];

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)context;
    (void)conn;
    (void)hello;
    struct wire_hello mine = {.role = WIRE_ROLE_STORENODE, .cluster_id = 7, .version_min = 1, .version_max = 1};
    *ret_reply = wire_frame_hello(FRAME_HELLO, &mine);
    return ERR_OK;
}

static struct frame *answer_pd(struct bytes bytes, struct arena *arena)
{
    struct wire_pd_request request;
    CHECK(wire_decode_pd_request(bytes, arena, &request) == ERR_OK);
    struct wire_peer peer = {.id = 5, .store_id = 1};
    struct wire_region region = {.id = 4, .epoch_conf = 1, .epoch_version = 1, .peers = &peer, .peers_count = 1};
    struct wire_route route = {.region = &region, .leader_store = 1};
    struct wire_store store = {.id = 1, .address = bytes_of_string(address)};
    struct wire_pd_reply reply = {
        .id = request.id, .routes = &route, .routes_count = 1, .stores = &store, .stores_count = 1};
    return wire_frame_pd_reply(FRAME_PD_REPLY, &reply);
}

static struct frame *answer_kv(struct bytes bytes, struct arena *arena)
{
    static const uint8_t value[100];
    struct wire_kv_request_batch batch;
    CHECK(wire_decode_kv_request_batch(bytes, arena, &batch) == ERR_OK);
    struct wire_kv_reply *replies = arena_alloc(arena, batch.requests_count * sizeof *replies);
    for (uint32_t i = 0; i < batch.requests_count; i++) {
        replies[i].id = batch.requests[i].id;
        if (batch.requests[i].op == WIRE_KV_OP_GET)
            replies[i].value = bytes_of(value, sizeof value);
    }
    struct wire_kv_reply_batch reply = {.replies = replies, .replies_count = batch.requests_count};
    return wire_frame_kv_reply_batch(FRAME_KV_REPLY, &reply);
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    (void)context;
    struct arena arena;
    arena_init(&arena);
    bool pd = take_frame->kind == FRAME_PD_REQUEST;
    transport_send(transport, conn,
                   pd ? answer_pd(frame_bytes(take_frame), &arena) : answer_kv(frame_bytes(take_frame), &arena));
    arena_fini(&arena);
    frame_unref(take_frame);
    return ERR_OK;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    (void)context;
    (void)conn;
    (void)reason;
}

static int serve(const char *where)
{
    static const struct transport_handler handler = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};
    struct error err = {0};
    snprintf(address, sizeof address, "%s", where);
    struct transport_nng_options options = {0};
    if (transport_nng_new(&options, &transport, &err) || transport_listen(transport, address, &handler, &err)) {
        fprintf(stderr, "client_bench: %s\n", err.text);
        return 1;
    }
    os_sleep_ms(120000);
    return 0;
}

/* ---- the client */

static struct polder *db;
static uint64_t end_us;
static bool writing;

struct lane {
    uint64_t count, failed;
    uint32_t *running; /* of the lanes of a run; touched on the client's thread only */
    struct os_event *over;
    struct os_thread *thread;
};

static void start_next(struct lane *lane);

static void on_result(void *user, struct polder_result *take_result)
{
    struct lane *lane = user;
    lane->count++;
    lane->failed += take_result->outcome != POLDER_DONE;
    polder_result_free(take_result);
    if (os_monotonic_us() < end_us)
        start_next(lane);
    else if (--*lane->running == 0)
        os_event_set(lane->over);
}

static const char key[16] = "sixteen bytes...";
static const char value[100];

static void start_next(struct lane *lane)
{
    struct polder_bytes k = polder_bytes(key, sizeof key);
    int code = writing ? polder_put_async(db, k, polder_bytes(value, sizeof value), NULL, on_result, lane)
                       : polder_get_async(db, k, NULL, on_result, lane);
    CHECK(code == POLDER_OK);
}

static void run_blocking(void *context)
{
    struct lane *lane = context;
    struct polder_bytes k = polder_bytes(key, sizeof key);
    while (os_monotonic_us() < end_us) {
        struct polder_result *result =
            writing ? polder_put(db, k, polder_bytes(value, sizeof value), NULL) : polder_get(db, k, NULL);
        lane->count++;
        lane->failed += result->outcome != POLDER_DONE;
        polder_result_free(result);
    }
}

static double cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void run(const char *name, uint32_t lane_count, double seconds, bool blocking)
{
    struct lane *lanes = calloc(lane_count, sizeof *lanes);
    CHECK(lanes);
    uint32_t running = lane_count;
    struct os_event *over = os_event_new();
    double cpu = cpu_us();
    uint64_t start_us = os_monotonic_us();
    end_us = start_us + (uint64_t)(seconds * 1e6);
    for (uint32_t i = 0; i < lane_count; i++) {
        struct error err;
        lanes[i].running = &running;
        lanes[i].over = over;
        if (blocking)
            CHECK(os_thread_start("caller", run_blocking, &lanes[i], &lanes[i].thread, &err) == ERR_OK);
        else
            start_next(&lanes[i]);
    }
    for (uint32_t i = 0; i < lane_count && blocking; i++)
        os_thread_join(lanes[i].thread);
    if (!blocking)
        os_event_wait(over, UINT64_MAX);
    double took_s = (double)(os_monotonic_us() - start_us) / 1e6;
    uint64_t count = 0, failed = 0;
    for (uint32_t i = 0; i < lane_count; i++)
        count += lanes[i].count, failed += lanes[i].failed;
    printf("%-10s %-4s %4u under way: %9.0f /s, %5.2f us CPU each, %llu failed\n", name, writing ? "put" : "get",
           lane_count, (double)count / took_s, (cpu_us() - cpu) / (double)count, (unsigned long long)failed);
    os_event_free(over);
    free(lanes);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--serve") == 0)
        return serve(argv[2]);
    uint32_t outstanding = argc > 1 ? (uint32_t)atoi(argv[1]) : 64;
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    uint32_t threads = argc > 3 ? (uint32_t)atoi(argv[3]) : 64;
    struct error err = {0};
    uint16_t port;
    char *path, where[64];
    CHECK(os_port_find_free("127.0.0.1", &port, &err) == ERR_OK);
    CHECK(os_executable_path(&path, &err) == ERR_OK);
    snprintf(where, sizeof where, "tcp://127.0.0.1:%u", port);
    struct os_process server;
    struct os_spawn_options spawn = {.argv = (const char *const[]){path, "--serve", where, NULL},
                                     .die_with_parent = true};
    CHECK(os_spawn(&spawn, &server, &err) == ERR_OK);
    struct polder_options options = {.size = sizeof options, .pd = where};
    CHECK(polder_open(&options, &db, err.text, sizeof err.text) == POLDER_OK);
    struct polder_result *first = polder_get(db, polder_string("x"), NULL);
    if (first->outcome != POLDER_DONE)
        fprintf(stderr, "client_bench: %s\n", first->text);
    CHECK(first->outcome == POLDER_DONE);
    polder_result_free(first);
    for (int i = 0; i < 2; i++) {
        writing = i == 1;
        run("callbacks", 1, seconds / 2, false);
        run("callbacks", outstanding, seconds, false);
        run("blocking", 1, seconds / 2, true);
        run("blocking", threads, seconds, true);
    }
    struct polder_stats stats = {.size = sizeof stats};
    polder_stats(db, &stats);
    printf("requests in a frame, on average: %.1f\n", (double)stats.requests / (double)stats.frames);
    polder_close(db);
    os_process_kill(server, OS_KILL_NOW, &err);
    free(path);
    return 0;
}
