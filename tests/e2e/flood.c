/* flood: a client without manners, and what it does to the memory of a storenode.
 *
 *   flood --pd ADDRESS --pid PID... [--seconds N] [--connections N] [--size BYTES] [--limit-mib N] [--get]
 *
 * Finds the store that leads the first region and sends puts of large values (or with --get: asks for one, again and
 * again) on so many connections, as fast as they are taken, and never reads an answer. Says how much was sent, what the
 * resident memory of the largest PID grew to, and whether the store still answers a polite client. Exit code 0: memory stayed
 * within the limit and it does. */
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/types.h"
#include "client/polder.h"
#include "env/transport_nng.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum { CONNECTIONS_MAX = 64, PIDS_MAX = 8, WAIT_MS = 10000 };

static struct transport *transport;
static _Atomic uint32_t opened, closed;
static _Atomic uint64_t answers;
static struct wire_pd_reply pd_reply;
static struct arena pd_arena;
static _Atomic bool pd_answered;

static void sleep_ms(uint64_t ms)
{
    struct timespec pause = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)context, (void)conn, (void)hello, (void)ret_reply;
    atomic_fetch_add(&opened, 1);
    return ERR_OK;
}

/* It looks at no answer of a store: this one is offered again and again, and no other is read behind it. */
static enum err on_store_frame(void *context, conn_id conn, struct frame *take_frame)
{
    (void)context, (void)conn, (void)take_frame;
    atomic_fetch_add(&answers, 1);
    return ERR_BUSY;
}

static enum err on_pd_frame(void *context, conn_id conn, struct frame *take_frame)
{
    (void)context, (void)conn;
    struct bytes copy = arena_copy(&pd_arena, frame_bytes(take_frame));
    CHECK(wire_decode_pd_reply(copy, &pd_arena, &pd_reply) == ERR_OK);
    frame_unref(take_frame);
    atomic_store(&pd_answered, true);
    return ERR_OK;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    (void)context, (void)conn, (void)reason;
    atomic_fetch_add(&closed, 1);
}

static conn_id dial(const char *address, const struct transport_handler *handler)
{
    struct wire_hello hello = {
        .role = WIRE_ROLE_CLIENT, .version_min = PROTOCOL_VERSION_MIN, .version_max = PROTOCOL_VERSION};
    struct buf out;
    conn_id conn;
    buf_init(&out, 4096);
    CHECK(wire_encode_hello(&hello, &out) == ERR_OK);
    CHECK(transport_dial(transport, address, buf_bytes(&out), handler, &conn) == ERR_OK);
    buf_fini(&out);
    return conn;
}

/* The answer is good until the next one. */
static const struct wire_pd_reply *ask_pd(conn_id conn, const struct wire_pd_request *request)
{
    atomic_store(&pd_answered, false);
    CHECK(transport_send(transport, conn, wire_frame_pd_request(FRAME_PD_REQUEST, request)) == ERR_OK);
    for (int i = 0; i < WAIT_MS && !atomic_load(&pd_answered); i++)
        sleep_ms(1);
    CHECK(atomic_load(&pd_answered) && pd_reply.code == ERR_OK);
    return &pd_reply;
}

/* Resident memory, KiB. */
static uint64_t resident_kib_of(int pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        (void)(sscanf(line, "VmRSS: %llu kB", &kib) == 1);
    if (file)
        fclose(file);
    return kib;
}

struct options {
    const char *pd;
    int pids[PIDS_MAX];
    uint32_t pid_count;
    uint64_t seconds, connections, size, limit_mib;
    bool get;
};

static uint64_t resident_kib(const struct options *options)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < options->pid_count; i++) {
        uint64_t kib = resident_kib_of(options->pids[i]);
        most = kib > most ? kib : most;
    }
    return most;
}

static struct frame *request_frame(const struct wire_region *region, bool get, size_t size)
{
    uint8_t *value = calloc(1, size);
    CHECK(value);
    struct wire_kv_request request = {.id = 1,
                                      .op = get ? WIRE_KV_OP_GET : WIRE_KV_OP_PUT,
                                      .region_id = region->id,
                                      .epoch_conf = region->epoch_conf,
                                      .epoch_version = region->epoch_version,
                                      .key = bytes_of_string("r!flood"),
                                      .value = get ? bytes_empty() : bytes_of(value, size)};
    struct wire_kv_request_batch batch = {.requests = &request, .requests_count = 1};
    struct frame *frame = wire_frame_kv_request_batch(FRAME_KV_REQUEST, &batch);
    CHECK(frame);
    free(value);
    return frame;
}

static bool still_answers(const char *pd)
{
    char text[256];
    struct polder_options options = {.size = sizeof options, .pd = pd};
    struct polder *db;
    if (polder_open(&options, &db, text, sizeof text) != POLDER_OK)
        return false;
    struct polder_result *result = polder_put(db, polder_string("!polite"), polder_string("please"), NULL);
    bool done = result->outcome == POLDER_DONE;
    if (!done)
        fprintf(stderr, "a polite put: %s: %s\n", result->name, result->text);
    polder_result_free(result);
    polder_close(db);
    return done;
}

static int run(const struct options *options)
{
    struct transport_handler pd_handler = {.on_open = on_open, .on_frame = on_pd_frame, .on_close = on_close};
    struct transport_handler handler = {.on_open = on_open, .on_frame = on_store_frame, .on_close = on_close};
    conn_id pd = dial(options->pd, &pd_handler), conns[CONNECTIONS_MAX];
    struct arena arena;
    arena_init(&arena);
    struct wire_route route =
        ask_pd(pd, &(struct wire_pd_request){.op = WIRE_PD_OP_GET_REGION, .key = bytes_of_string("r!flood")})
            ->routes[0];
    const struct wire_pd_reply *stores = ask_pd(pd, &(struct wire_pd_request){.op = WIRE_PD_OP_LIST_STORES});
    char address[512] = "";
    for (uint32_t i = 0; i < stores->stores_count; i++)
        if (stores->stores[i].id == route.leader_store)
            snprintf(address, sizeof address, "%.*s", (int)stores->stores[i].address.size,
                     (const char *)stores->stores[i].address.data);
    CHECK(address[0]);
    struct frame *frame = request_frame(route.region, options->get, options->size);
    uint64_t before = resident_kib(options), most = before, sent = 0, full = 0;
    for (uint64_t i = 0; i < options->connections; i++)
        conns[i] = dial(address, &handler);
    uint64_t until = now_ms() + options->seconds * 1000;
    while (now_ms() < until) {
        bool any = false;
        for (uint64_t i = 0; i < options->connections; i++) {
            enum err code = transport_send(transport, conns[i], frame_copy(frame->kind, frame_bytes(frame)));
            any |= code == ERR_OK;
            sent += code == ERR_OK;
            full += code == ERR_BUSY;
            if (code == ERR_CLOSED)
                conns[i] = dial(address, &handler);
        }
        uint64_t now_kib = resident_kib(options);
        most = now_kib > most ? now_kib : most;
        if (!any)
            sleep_ms(2);
    }
    frame_unref(frame);
    transport_nng_stop(transport);
    bool good = still_answers(options->pd);
    printf("%llu frames of %u bytes on %llu connections in %llu s (%llu times no room here); %u connections ended; "
           "resident %llu -> %llu MiB, limit %llu; %s\n",
           (unsigned long long)sent, (unsigned)options->size, (unsigned long long)options->connections,
           (unsigned long long)options->seconds, (unsigned long long)full, atomic_load(&closed),
           (unsigned long long)before / 1024, (unsigned long long)most / 1024, (unsigned long long)options->limit_mib,
           good ? "a polite client is served" : "a polite client is NOT served");
    arena_fini(&arena);
    return good && most / 1024 <= options->limit_mib ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option flags[] = {
        {"pd", 1, 0, 'p'},   {"pid", 1, 0, 'i'},       {"seconds", 1, 0, 's'}, {"connections", 1, 0, 'c'},
        {"size", 1, 0, 'z'}, {"limit-mib", 1, 0, 'l'}, {"get", 0, 0, 'g'},     {0}};
    struct options options = {.seconds = 10, .connections = 16, .size = VALUE_SIZE_MAX, .limit_mib = 2048};
    for (int flag; (flag = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;
        switch (flag) {
        case 'p':
            options.pd = optarg;
            break;
        case 'i':
            if (options.pid_count < PIDS_MAX)
                options.pids[options.pid_count++] = (int)number;
            break;
        case 's':
            options.seconds = number;
            break;
        case 'c':
            options.connections = number < CONNECTIONS_MAX ? number : CONNECTIONS_MAX;
            break;
        case 'z':
            options.size = number;
            break;
        case 'l':
            options.limit_mib = number;
            break;
        case 'g':
            options.get = true;
            break;
        default:
            return 2;
        }
    }
    if (!options.pd || options.pid_count == 0) {
        fprintf(stderr, "usage: flood --pd ADDRESS --pid PID ...\n");
        return 2;
    }
    struct error error = {0};
    arena_init(&pd_arena);
    CHECK(transport_nng_new(NULL, &transport, &error) == ERR_OK);
    int result = run(&options);
    transport_nng_free(transport);
    arena_fini(&pd_arena);
    return result;
}
