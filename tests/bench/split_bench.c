/* split_bench: how long do writes wait while regions split? Run by split.py against a cluster of its own.
 *
 *   split_bench PD [rate [regions [interval_ms]]]
 *
 * Puts are begun at a fixed rate, whatever becomes of those before them, to keys spread over the first `regions` regions
 * of the cluster; latency counts from when each was due. A handle of its own splits ten regions in their middle, one each
 * `interval_ms`, then leaves the cluster in peace for as long, and so on: a machine that is busy with something else is
 * so in both. Printed, as one line of JSON: the writes that were due in peace and those that were due while regions
 * split, these also by how often they had to be sent (one that was sent once waited for the machine, or behind others,
 * but was refused by no region); and for each split the longest that a write to that region took meanwhile. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/histogram.h"
#include "client/polder.h"
#include "env/os.h"

enum { REGIONS_MAX = 1000, KEYS_PER_REGION = 1000, START_SIZE_MAX = 64, AROUND_US = 100000, LIMIT_US = 50000 };
enum { WINDOW = 10 /* splits */, WARM_UP_US = 2000000 };

struct write {
    uint64_t due_us, took_us; /* 0: not answered */
    uint32_t region, attempts;
    bool done;
};

struct split {
    uint64_t began_us, ended_us;
    int code;
};

struct place {
    uint8_t start[START_SIZE_MAX]; /* of a region, without the byte of the mode */
    size_t start_size;
};

static struct place places[REGIONS_MAX];
static struct split splits[REGIONS_MAX];
static uint32_t place_count;
static struct write *writes;
static uint64_t write_count, write_max;
static _Atomic uint64_t ended_count;
static struct os_event *ended;

/* ---- keys */

static struct polder_bytes key_of(uint32_t place, uint32_t number, char text[static START_SIZE_MAX + 16])
{
    memcpy(text, places[place].start, places[place].start_size);
    int size = snprintf(text + places[place].start_size, 16, "\x01%05u", number);
    return polder_bytes(text, places[place].start_size + (size_t)size);
}

static void add_places(const struct polder_cluster *cluster, uint32_t count_max)
{
    for (size_t i = 0; i < cluster->region_page_count && place_count < count_max; i++) {
        struct polder_bytes start = cluster->regions[i].start_key;
        size_t mode_size = start.size > 0 ? 1 : 0;
        CHECK(start.size < START_SIZE_MAX);
        if (start.size > 0 && ((const uint8_t *)start.data)[0] != 'r')
            continue; /* not raw keys */
        memcpy(places[place_count].start, (const uint8_t *)start.data + mode_size, start.size - mode_size);
        places[place_count++].start_size = start.size - mode_size;
    }
}

static void find_places(struct polder *db, uint32_t count_max)
{
    struct polder_result *result = polder_cluster_regions(db, polder_bytes(NULL, 0), count_max + 1, NULL);
    if (result->outcome != POLDER_DONE) {
        fprintf(stderr, "split_bench: regions: %s\n", result->text);
        exit(1);
    }
    add_places(result->cluster, count_max);
    polder_result_free(result);
}

/* ---- load */

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(random_state >> 33) % limit;
}

static void on_write(void *user, struct polder_result *take_result)
{
    struct write *write = user;
    write->took_us = os_monotonic_us() - write->due_us;
    write->attempts = take_result->attempts;
    write->done = take_result->outcome == POLDER_DONE;
    polder_result_free(take_result);
    ended_count++;
    os_event_set(ended);
}

static void begin_write(struct polder *db, uint64_t due_us)
{
    static const char value[100];
    char text[START_SIZE_MAX + 16];
    CHECK(write_count < write_max);
    struct write *write = &writes[write_count++];
    *write = (struct write){.due_us = due_us, .region = random_below(place_count)};
    struct polder_bytes key = key_of(write->region, random_below(KEYS_PER_REGION), text);
    int code = polder_put_async(db, key, polder_bytes(value, sizeof value), NULL, on_write, write);
    if (code != POLDER_OK) {
        fprintf(stderr, "split_bench: put: %s\n", polder_code_name(code));
        exit(1);
    }
}

static void load(struct polder *db, uint32_t rate, uint64_t from_us, uint64_t until_us)
{
    uint64_t due_us = from_us, interval_us = 1000000 / rate;
    while (due_us < until_us) {
        uint64_t now_us = os_monotonic_us();
        for (; due_us <= now_us && due_us < until_us; due_us += interval_us)
            begin_write(db, due_us);
        os_sleep_ms(1);
    }
}

struct splitter {
    struct polder *db;
    uint64_t from_us, interval_us;
};

static void run_splitter(void *context)
{
    const struct splitter *splitter = context;
    for (uint32_t i = 0; i < place_count; i++) {
        char text[START_SIZE_MAX + 16];
        uint64_t window_us = WINDOW * splitter->interval_us;
        uint64_t due_us = splitter->from_us + (2 * (i / WINDOW) + 1) * window_us + i % WINDOW * splitter->interval_us;
        uint64_t now_us;
        while ((now_us = os_monotonic_us()) < due_us)
            os_sleep_ms((due_us - now_us) / 1000 + 1);
        splits[i].began_us = now_us;
        struct polder_result *result = polder_region_split(splitter->db, key_of(i, KEYS_PER_REGION / 2, text), NULL);
        splits[i].ended_us = os_monotonic_us();
        splits[i].code = result->code;
        polder_result_free(result);
    }
}

/* ---- what came of it */

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

enum phase { PEACE, SPLITTING };

static void print_writes(const char *name, const struct splitter *splitter, enum phase phase, uint32_t attempts_min,
                         uint32_t attempts_max)
{
    uint64_t window_us = WINDOW * splitter->interval_us;
    static struct histogram took;
    uint64_t slow = 0, failed = 0;
    histogram_reset(&took);
    for (uint64_t i = 0; i < write_count; i++) {
        const struct write *write = &writes[i];
        if (write->due_us < splitter->from_us || (write->due_us - splitter->from_us) / window_us % 2 != phase ||
            write->attempts < attempts_min || write->attempts > attempts_max)
            continue;
        failed += !write->done;
        slow += write->took_us > LIMIT_US;
        histogram_record(&took, write->took_us);
    }
    printf("\"%s\":{\"count\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"over_50_ms\":%" PRIu64 ",\"p50_us\":%" PRIu64
           ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64 ",\"max_us\":%" PRIu64 "},",
           name, took.count, failed, slow, histogram_quantile(&took, 500), histogram_quantile(&took, 990),
           histogram_quantile(&took, 999), took.max);
}

/* Of each region: the longest that a write took which was due around its split; of those that were sent again only, and
 * of all. */
static void print_pauses(void)
{
    static uint64_t pauses[2][REGIONS_MAX], split_us[REGIONS_MAX];
    uint32_t failed = 0;
    memset(pauses, 0, sizeof pauses);
    for (uint64_t i = 0; i < write_count; i++) {
        const struct write *write = &writes[i];
        const struct split *split = &splits[write->region];
        if (write->due_us + AROUND_US < split->began_us || write->due_us > split->ended_us + AROUND_US)
            continue;
        for (int again = 0; again < 2; again++)
            if ((!again || write->attempts > 1) && pauses[again][write->region] < write->took_us)
                pauses[again][write->region] = write->took_us;
    }
    for (uint32_t i = 0; i < place_count; i++) {
        split_us[i] = splits[i].ended_us - splits[i].began_us;
        failed += splits[i].code != POLDER_OK;
    }
    static const char *const names[] = {"pause", "pause_of_those_sent_again"};
    for (int again = 0; again < 2; again++) {
        qsort(pauses[again], place_count, sizeof pauses[0][0], compare_numbers);
        printf("\"%s\":{\"p50_us\":%" PRIu64 ",\"p90_us\":%" PRIu64 ",\"max_us\":%" PRIu64 "},", names[again],
               pauses[again][place_count / 2], pauses[again][place_count * 9 / 10], pauses[again][place_count - 1]);
    }
    qsort(split_us, place_count, sizeof split_us[0], compare_numbers);
    printf("\"splits\":{\"count\":%u,\"failed\":%u,\"p50_us\":%" PRIu64 ",\"max_us\":%" PRIu64 "}", place_count, failed,
           split_us[place_count / 2], split_us[place_count - 1]);
}

static void print_all(struct polder *db, const struct splitter *splitter)
{
    struct polder_stats stats = {.size = sizeof stats};
    polder_stats(db, &stats);
    printf("{");
    print_writes("peace", splitter, PEACE, 0, UINT32_MAX);
    print_writes("splitting", splitter, SPLITTING, 0, UINT32_MAX);
    print_writes("splitting_sent_once", splitter, SPLITTING, 0, 1);
    print_writes("splitting_sent_twice", splitter, SPLITTING, 2, 2);
    print_writes("splitting_sent_more", splitter, SPLITTING, 3, UINT32_MAX);
    print_pauses();
    printf(",\"client\":{\"reroutes\":%" PRIu64 ",\"backoffs\":%" PRIu64 ",\"losses\":%" PRIu64
           ",\"route_loads\":%" PRIu64 "}}\n",
           stats.reroutes, stats.backoffs, stats.losses, stats.route_loads);
}

static struct polder *open_db(const char *pd)
{
    char text[256];
    struct polder *db;
    struct polder_options options = {.size = sizeof options, .pd = pd, .deadline_ms = 30000};
    if (polder_open(&options, &db, text, sizeof text) != POLDER_OK) {
        fprintf(stderr, "split_bench: %s\n", text);
        exit(1);
    }
    return db;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: split_bench PD [rate [regions [interval_ms]]]\n");
        return 2;
    }
    uint32_t rate = argc > 2 ? (uint32_t)atoi(argv[2]) : 3000;
    uint32_t regions = argc > 3 ? (uint32_t)atoi(argv[3]) : 100;
    uint64_t interval_us = argc > 4 ? (uint64_t)atoi(argv[4]) * 1000 : 50000;
    struct polder *db = open_db(argv[1]), *splitting = open_db(argv[1]);
    struct os_thread *thread;
    struct error err;
    CHECK(rate > 0 && regions > 0 && regions <= REGIONS_MAX && interval_us > 0);
    find_places(db, regions);
    uint64_t run_us = (uint64_t)(place_count + WINDOW - 1) / WINDOW * 2 * WINDOW * interval_us;
    write_max = (run_us + WARM_UP_US) / 1000000 * rate + 2 * rate;
    writes = calloc(write_max, sizeof *writes);
    ended = os_event_new();
    CHECK(writes);
    uint64_t now_us = os_monotonic_us();
    load(db, rate, now_us, now_us + WARM_UP_US); /* routes, connections, and who leads */
    struct splitter splitter = {.db = splitting, .from_us = now_us + WARM_UP_US, .interval_us = interval_us};
    CHECK(os_thread_start("splitter", run_splitter, &splitter, &thread, &err) == ERR_OK);
    load(db, rate, splitter.from_us, splitter.from_us + run_us);
    os_thread_join(thread);
    while (ended_count < write_count)
        os_event_wait(ended, 100000);
    print_all(db, &splitter);
    polder_close(splitting);
    polder_close(db);
    os_event_free(ended);
    free(writes);
    return 0;
}
