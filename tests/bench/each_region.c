/* each_region: how long until every region has taken a write?
 *
 *   each_region PD [DEADLINE_SECONDS]
 *
 * Learns the regions, says "N regions" and waits for a line on standard input. Then one write to each region is begun at
 * the same moment, and the times at which they were done come as one JSON line: ms for the first, the median, the 99th of
 * a hundred, the last. Exit code 0: all were done. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/polder.h"

enum { RAW_PREFIX = 'r', PAGE = 1000, KEY_SIZE_MAX = 64, DEADLINE_SECONDS = 120 };

struct write {
    uint8_t key[KEY_SIZE_MAX];
    size_t size;
    double done_ms; /* 0: not done */
    struct run *run;
};

struct run {
    struct write *writes; /* owned */
    size_t count, capacity;
    struct timespec began;
    pthread_mutex_t mutex;
    pthread_cond_t all_ended;
    size_t ended;
    char failure[160]; /* the first one */
};

static double passed_ms(const struct run *run)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - run->began.tv_sec) * 1e3 + (double)(now.tv_nsec - run->began.tv_nsec) / 1e6;
}

/* A key of the region: its start, and a byte more (no region is that narrow). */
static void add_write(struct run *run, struct polder_bytes start_key)
{
    const uint8_t *start = start_key.data;
    size_t size = start_key.size > 0 && start[0] == RAW_PREFIX ? start_key.size - 1 : 0;
    if ((start_key.size > 0 && start[0] != RAW_PREFIX) || size + 1 > KEY_SIZE_MAX)
        return; /* no user key is there */
    if (run->count == run->capacity) {
        run->capacity = run->capacity ? 2 * run->capacity : 1024;
        run->writes = realloc(run->writes, run->capacity * sizeof *run->writes);
        if (!run->writes)
            abort();
    }
    struct write *write = &run->writes[run->count++];
    *write = (struct write){.size = size + 1};
    if (size > 0)
        memcpy(write->key, start + 1, size);
    write->key[size] = 1;
}

static int learn_regions(struct polder *polder, struct run *run)
{
    struct polder_result *page = NULL;
    struct polder_bytes at = polder_bytes(NULL, 0);
    do {
        struct polder_result *next = polder_cluster_regions(polder, at, PAGE, NULL);
        polder_result_free(page); /* `at` points into it */
        page = next;
        if (page->outcome != POLDER_DONE) {
            fprintf(stderr, "each_region: %s: %s\n", page->name, page->text);
            polder_result_free(page);
            return -1;
        }
        size_t count = page->cluster->region_page_count;
        for (size_t i = 0; i < count; i++)
            add_write(run, page->cluster->regions[i].start_key);
        at = count > 0 ? page->cluster->regions[count - 1].end_key : polder_bytes(NULL, 0);
    } while (at.size > 0);
    polder_result_free(page);
    for (size_t i = 0; i < run->count; i++)
        run->writes[i].run = run;
    return 0;
}

static void note_end(struct run *run, const char *failure)
{
    pthread_mutex_lock(&run->mutex);
    if (failure && !run->failure[0])
        snprintf(run->failure, sizeof run->failure, "%s", failure);
    if (++run->ended == run->count)
        pthread_cond_signal(&run->all_ended);
    pthread_mutex_unlock(&run->mutex);
}

static void on_done(void *user, struct polder_result *take_result)
{
    struct write *write = user;
    if (take_result->outcome == POLDER_DONE)
        write->done_ms = passed_ms(write->run);
    note_end(write->run, take_result->outcome == POLDER_DONE ? NULL : take_result->text);
    polder_result_free(take_result);
}

static void write_to_each(struct polder *polder, struct run *run)
{
    clock_gettime(CLOCK_MONOTONIC, &run->began);
    for (size_t i = 0; i < run->count; i++) {
        struct write *write = &run->writes[i];
        int code =
            polder_put_async(polder, polder_bytes(write->key, write->size), polder_string("1"), NULL, on_done, write);
        if (code != POLDER_OK)
            note_end(run, polder_code_name(code));
    }
    pthread_mutex_lock(&run->mutex);
    while (run->ended < run->count)
        pthread_cond_wait(&run->all_ended, &run->mutex);
    pthread_mutex_unlock(&run->mutex);
}

static int compare_times(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;
    return one < other ? -1 : one > other;
}

static size_t print(const struct run *run)
{
    double *times = calloc(run->count + 1, sizeof *times);
    if (!times)
        abort();
    size_t done = 0;
    for (size_t i = 0; i < run->count; i++)
        if (run->writes[i].done_ms > 0)
            times[done++] = run->writes[i].done_ms;
    qsort(times, done, sizeof *times, compare_times);
    printf("{\"regions\":%zu,\"done\":%zu", run->count, done);
    if (done > 0)
        printf(",\"first_ms\":%.1f,\"p50_ms\":%.1f,\"p99_ms\":%.1f,\"last_ms\":%.1f", times[0], times[done / 2],
               times[done - 1 - done / 100], times[done - 1]);
    printf("}\n");
    if (run->failure[0])
        fprintf(stderr, "each_region: %zu not done, one of them: %s\n", run->count - done, run->failure);
    free(times);
    return run->count - done;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: each_region PD [DEADLINE_SECONDS]\n");
        return 2;
    }
    struct polder *polder;
    char text[256];
    struct polder_options options = {.size = sizeof options,
                                     .pd = argv[1],
                                     .deadline_ms =
                                         1000 * (argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : DEADLINE_SECONDS)};
    struct run run = {.mutex = PTHREAD_MUTEX_INITIALIZER, .all_ended = PTHREAD_COND_INITIALIZER};
    if (polder_open(&options, &polder, text, sizeof text) != POLDER_OK) {
        fprintf(stderr, "each_region: %s\n", text);
        return 2;
    }
    size_t missing = 1;
    if (learn_regions(polder, &run) == 0) {
        printf("%zu regions\n", run.count);
        fflush(stdout);
        if (fgets(text, sizeof text, stdin)) {
            write_to_each(polder, &run);
            missing = print(&run);
        }
    }
    polder_close(polder);
    free(run.writes);
    return missing == 0 ? 0 : 1;
}
