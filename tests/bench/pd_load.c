/* pd_load: what one pd does for stores and clients over the wire. Plays the stores of a large cluster to a pd that has
 * none yet, then asks it all that clients ask.
 *
 *   pd_load ADDRESS PID fill REGIONS STORES [SECONDS]     register, report every region, then measure
 *   pd_load ADDRESS PID wait REGIONS                      until it serves that many regions again: seconds since the start
 *
 * The pd must want no more than STORES stores for its bootstrap (bootstrap-stores), make one first region
 * (bootstrap-regions 1), and have nobody else. CPU is of the process PID: "per core" is count per second of its CPU.
 * tests/bench/pd_capacity.py does all of it. One JSON line. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/rng.h"
#include "env/transport_nng.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum {
    REPLICAS = 3,
    KEY_SIZE = 9,
    PAGE = 2000, /* regions in one heartbeat */
    IDS_AT_ONCE = 1000000,
    TIMESTAMPS_AT_ONCE = 1000, /* what a busy client gathers */
    BEATS_UNDER_WAY = 4,
    LOOKUPS_UNDER_WAY = 256,
    TIMESTAMPS_UNDER_WAY = 16,
    TIMEOUT_S = 120,
};

struct answer {
    uint16_t code;
    uint32_t wait_ms;
    uint64_t cluster_id, first_id, region_count, timestamp, store_id, routes_count;
    bool bootstrapped;
    char text[200];
};

struct load {
    struct transport *transport;
    conn_id conn;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool open, closed;
    uint32_t under_way;
    uint64_t replies, failures;
    struct answer last;
    uint64_t cluster_id;
    uint64_t regions, stores, first_id, version;
    uint64_t store_ids[4096];
    struct rng rng;
};

static struct load load;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* User and system time of another process. */
static double cpu_s(long pid)
{
    char path[64];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
            user = system = 0;
        fclose(file);
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double resident_mib(long pid)
{
    char path[64];
    unsigned long long pages, resident = 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", pid);
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%llu %llu", &pages, &resident) != 2)
            resident = 0;
        fclose(file);
    }
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

/* ---- the connection */

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)context, (void)conn, (void)hello, (void)ret_reply;
    pthread_mutex_lock(&load.mutex);
    load.open = true;
    pthread_cond_broadcast(&load.changed);
    pthread_mutex_unlock(&load.mutex);
    return ERR_OK;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    (void)context, (void)conn;
    struct wire_pd_reply reply;
    struct arena arena;
    arena_init(&arena);
    enum err code = wire_decode_pd_reply(frame_bytes(take_frame), &arena, &reply);
    pthread_mutex_lock(&load.mutex);
    if (code == ERR_OK) {
        load.last = (struct answer){.code = reply.code,
                                    .wait_ms = reply.wait_ms,
                                    .cluster_id = reply.cluster_id,
                                    .first_id = reply.first_id,
                                    .region_count = reply.region_count,
                                    .timestamp = reply.timestamp,
                                    .store_id = reply.store_id,
                                    .routes_count = reply.routes_count,
                                    .bootstrapped = reply.bootstrapped};
        snprintf(load.last.text, sizeof load.last.text, "%.*s", (int)reply.text.size, (const char *)reply.text.data);
        load.failures += reply.code != ERR_OK;
        load.replies++;
        load.under_way--;
    }
    pthread_cond_broadcast(&load.changed);
    pthread_mutex_unlock(&load.mutex);
    arena_fini(&arena);
    frame_unref(take_frame);
    return code;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    (void)context, (void)conn, (void)reason;
    pthread_mutex_lock(&load.mutex);
    load.closed = true;
    pthread_cond_broadcast(&load.changed);
    pthread_mutex_unlock(&load.mutex);
}

static const struct transport_handler handler = {.on_open = on_open, .on_frame = on_frame, .on_close = on_close};

static bool dial(const char *address)
{
    struct wire_hello hello = {.role = WIRE_ROLE_CLIENT, .version_min = 1, .version_max = 1};
    struct frame *frame = wire_frame_hello(FRAME_HELLO, &hello);
    load.open = load.closed = false;
    load.under_way = 0;
    bool started =
        transport_dial(load.transport, address, frame_bytes(frame), &handler, &load.conn) == ERR_OK;
    frame_unref(frame);
    pthread_mutex_lock(&load.mutex);
    while (started && !load.open && !load.closed)
        pthread_cond_wait(&load.changed, &load.mutex);
    pthread_mutex_unlock(&load.mutex);
    return started && load.open && !load.closed;
}

static void give_up(const char *what)
{
    fprintf(stderr, "pd_load: %s: code %u %s\n", what, load.last.code, load.last.text);
    exit(1);
}

/* Returns when fewer than `limit` are under way. False: the connection is gone. */
static bool wait_below(uint32_t limit)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += TIMEOUT_S;
    pthread_mutex_lock(&load.mutex);
    while (load.under_way >= limit && !load.closed)
        if (pthread_cond_timedwait(&load.changed, &load.mutex, &until) != 0)
            give_up("no answer");
    bool there = !load.closed;
    pthread_mutex_unlock(&load.mutex);
    return there;
}

static void send_request(struct wire_pd_request *request)
{
    static uint64_t id;
    request->id = ++id;
    request->cluster_id = load.cluster_id;
    pthread_mutex_lock(&load.mutex);
    load.under_way++;
    pthread_mutex_unlock(&load.mutex);
    if (transport_send(load.transport, load.conn, wire_frame_pd_request(FRAME_PD_REQUEST, request)) != ERR_OK)
        give_up("cannot send");
}

static bool ask(struct wire_pd_request request)
{
    send_request(&request);
    return wait_below(1);
}

/* Asks again while it says that it is not ready. */
static void ask_until_done(struct wire_pd_request request, const char *what)
{
    double until = now_s() + TIMEOUT_S;
    while (now_s() < until) {
        if (!ask(request))
            give_up("the connection ended");
        if (load.last.code == ERR_OK)
            return;
        if (load.last.wait_ms == 0)
            break;
        usleep(load.last.wait_ms * 1000);
    }
    give_up(what);
}

/* ---- the cluster that is played */

static struct bytes key_at(uint64_t number, uint8_t *data)
{
    data[0] = 'r';
    store_u64_be(data + 1, number);
    return bytes_of(data, KEY_SIZE);
}

static uint64_t leader_store_of(uint64_t i)
{
    return i % load.stores;
}

struct page {
    struct wire_region_heartbeat heartbeats[PAGE];
    struct wire_region regions[PAGE];
    struct wire_peer peers[PAGE][REPLICAS];
    uint8_t keys[PAGE][2][KEY_SIZE];
    uint32_t count;
};

/* What the leaders of regions i, i + stores, i + 2 stores... report: all are on one store. */
static void page_fill(struct page *page, uint64_t first)
{
    uint64_t step = UINT64_MAX / load.regions;
    page->count = 0;
    for (uint64_t i = first; i < load.regions && page->count < PAGE; i += load.stores) {
        uint32_t at = page->count++;
        uint64_t id = load.first_id + i * (REPLICAS + 1);
        for (uint32_t r = 0; r < REPLICAS; r++)
            page->peers[at][r] = (struct wire_peer){
                .id = id + 1 + r, .store_id = load.store_ids[(leader_store_of(i) + r * (load.stores / REPLICAS)) % load.stores]};
        page->regions[at] =
            (struct wire_region){.id = id,
                                 .start_key = i == 0 ? bytes_empty() : key_at(i * step, page->keys[at][0]),
                                 .end_key = i + 1 == load.regions ? bytes_empty() : key_at((i + 1) * step, page->keys[at][1]),
                                 .epoch_conf = 1,
                                 .epoch_version = load.version,
                                 .peers = page->peers[at],
                                 .peers_count = REPLICAS};
        page->heartbeats[at] = (struct wire_region_heartbeat){.region = &page->regions[at],
                                                              .leader_peer = id + 1,
                                                              .term = 6,
                                                              .approximate_size = 64 * 1048576,
                                                              .approximate_keys = 60000,
                                                              .keys_written = i % 500,
                                                              .keys_read = i % 800};
    }
}

static void report(uint64_t first)
{
    static struct page page;
    page_fill(&page, first);
    struct wire_pd_request request = {.op = WIRE_PD_OP_REGION_HEARTBEAT,
                                      .store_id = load.store_ids[leader_store_of(first)],
                                      .heartbeats = page.heartbeats,
                                      .heartbeats_count = page.count};
    if (!wait_below(BEATS_UNDER_WAY))
        give_up("the connection ended");
    send_request(&request);
}

/* Every region once. */
static void report_all(void)
{
    for (uint64_t s = 0; s < load.stores; s++)
        for (uint64_t first = s; first < load.regions; first += load.stores * PAGE)
            report(first);
    wait_below(1);
}

static void beat_stores(void)
{
    for (uint64_t i = 0; i < load.stores; i++) {
        struct wire_store store = {.id = load.store_ids[i], .capacity_size = 1ULL << 40, .used_size = 1ULL << 38};
        if (!wait_below(BEATS_UNDER_WAY))
            give_up("the connection ended");
        send_request(&(struct wire_pd_request){.op = WIRE_PD_OP_STORE_HEARTBEAT, .store_id = store.id, .store = &store});
    }
    wait_below(1);
}

static void fill(void)
{
    if (!ask((struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO}))
        give_up("the connection ended");
    ask_until_done((struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO}, "cluster info");
    load.cluster_id = load.last.cluster_id;
    for (uint64_t i = 0; i < load.stores; i++) {
        char address[64];
        snprintf(address, sizeof address, "tcp://127.0.0.1:%" PRIu64, 40000 + i % 20000);
        struct wire_store store = {.address = bytes_of_string(address), .capacity_size = 1ULL << 40};
        ask_until_done((struct wire_pd_request){.op = WIRE_PD_OP_REGISTER_STORE, .store = &store, .token = 1 + i},
                       "register");
        load.store_ids[i] = load.last.store_id;
    }
    do
        ask_until_done((struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO}, "bootstrap");
    while (!load.last.bootstrapped);
    for (uint64_t got = 0, wanted = load.regions * (REPLICAS + 1); got < wanted; got += IDS_AT_ONCE) {
        ask_until_done((struct wire_pd_request){.op = WIRE_PD_OP_ALLOC_ID, .count = IDS_AT_ONCE}, "ids");
        load.first_id = load.first_id ? load.first_id : load.last.first_id;
    }
    load.version = 2;
    report_all();
    ask_until_done((struct wire_pd_request){.op = WIRE_PD_OP_CLUSTER_INFO}, "cluster info");
    if (load.last.region_count != load.regions)
        give_up("not all regions are known");
}

/* ---- measuring */

struct measure {
    const char *name;
    long pid;
    double began_s, began_cpu_s;
};

static struct measure measure_begin(const char *name, long pid)
{
    load.failures = 0;
    return (struct measure){name, pid, now_s(), cpu_s(pid)};
}

static void measure_end(const struct measure *measure, double count)
{
    double took = now_s() - measure->began_s, cpu = cpu_s(measure->pid) - measure->began_cpu_s;
    if (load.failures > 0)
        give_up(measure->name);
    printf(", \"%s_per_s\": %.0f, \"%s_per_core\": %.0f", measure->name, count / took, measure->name,
           cpu > 0 ? count / cpu : 0);
}

static double measure_lookups(double seconds)
{
    double count = 0;
    for (double until = now_s() + seconds; now_s() < until;)
        for (int i = 0; i < LOOKUPS_UNDER_WAY; i++, count++) {
            uint8_t key[KEY_SIZE];
            if (!wait_below(LOOKUPS_UNDER_WAY))
                give_up("the connection ended");
            send_request(&(struct wire_pd_request){.op = WIRE_PD_OP_GET_REGION, .key = key_at(rng_next(&load.rng), key)});
        }
    wait_below(1);
    return count;
}

static double measure_timestamps(double seconds)
{
    double count = 0;
    for (double until = now_s() + seconds; now_s() < until; count += TIMESTAMPS_AT_ONCE) {
        if (!wait_below(TIMESTAMPS_UNDER_WAY))
            give_up("the connection ended");
        send_request(&(struct wire_pd_request){.op = WIRE_PD_OP_TIMESTAMP, .count = TIMESTAMPS_AT_ONCE});
    }
    wait_below(1);
    return count;
}

static int run_fill(long pid, double seconds)
{
    printf("{\"regions\": %" PRIu64 ", \"stores\": %" PRIu64, load.regions, load.stores);
    struct measure measure = measure_begin("reported_first", pid);
    double empty_mib = resident_mib(pid);
    fill();
    load.failures = 0; /* it was not ready at first */
    measure_end(&measure, (double)load.regions);
    printf(", \"empty_mib\": %.0f, \"rss_mib\": %.0f", empty_mib, resident_mib(pid));
    beat_stores();
    report_all();
    measure = measure_begin("heartbeats", pid);
    double count = 0;
    for (double until = now_s() + seconds; now_s() < until; count += (double)load.regions)
        report_all();
    measure_end(&measure, count);
    beat_stores();
    measure = measure_begin("lookups", pid);
    measure_end(&measure, measure_lookups(seconds));
    measure = measure_begin("timestamps", pid);
    measure_end(&measure, measure_timestamps(seconds));
    printf(", \"rss_end_mib\": %.0f}\n", resident_mib(pid));
    return 0;
}

static int run_wait(const char *address, long pid)
{
    double began = now_s();
    uint8_t key[KEY_SIZE];
    while (now_s() < began + TIMEOUT_S) {
        if (!dial(address)) {
            usleep(5000);
            continue;
        }
        if (ask((struct wire_pd_request){.op = WIRE_PD_OP_GET_REGION, .key = key_at(UINT64_MAX / 2, key)}) &&
            load.last.code == ERR_OK && load.last.routes_count == 1 && load.last.region_count == load.regions) {
            printf("{\"serving_s\": %.2f, \"rss_mib\": %.0f}\n", now_s() - began, resident_mib(pid));
            return 0;
        }
        transport_close_conn(load.transport, load.conn);
        usleep(5000);
    }
    give_up("it does not serve");
    return 1;
}

int main(int argc, char **argv)
{
    struct transport_nng_options options = {0};
    struct error err = {0};
    if (argc < 5 || (strcmp(argv[3], "fill") != 0 && strcmp(argv[3], "wait") != 0)) {
        fprintf(stderr, "usage: pd_load ADDRESS PID fill REGIONS STORES [SECONDS] | ADDRESS PID wait REGIONS\n");
        return 2;
    }
    long pid = atol(argv[2]);
    load.regions = strtoull(argv[4], NULL, 10);
    load.stores = argc > 5 ? strtoull(argv[5], NULL, 10) : REPLICAS;
    if (load.regions < 1 || load.stores < REPLICAS || load.stores > sizeof load.store_ids / sizeof load.store_ids[0])
        return 2;
    pthread_mutex_init(&load.mutex, NULL);
    pthread_cond_init(&load.changed, NULL);
    rng_init(&load.rng, 1, "pd_load");
    if (transport_nng_new(&options, &load.transport, &err) != ERR_OK) {
        fprintf(stderr, "pd_load: %s\n", err.text);
        return 1;
    }
    if (strcmp(argv[3], "wait") == 0)
        return run_wait(argv[1], pid);
    for (double until = now_s() + 10; !dial(argv[1]); usleep(5000))
        if (now_s() > until)
            give_up("cannot connect");
    return run_fill(pid, argc > 6 ? atof(argv[6]) : 3);
}
