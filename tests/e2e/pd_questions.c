/* pd_questions: asks pd for timestamps, ids and routes without a pause, and judges what it was told.
 *
 *   pd_questions PD SECONDS [FILE]
 *
 * Prints one JSON object: how many of each, and the longest time (ms) in which none of a kind was answered. Exit code 1: a
 * timestamp or an id was given out twice, or a timestamp that was answered before another was asked for is not smaller.
 * FILE gets a line for each answer, for those who ask from several places: kind, asked at, answered at (us of this machine's
 * monotonic clock), and the first of the COUNT that were given out. */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/polder.h"

enum { TIMESTAMP_THREADS = 4, THREADS = TIMESTAMP_THREADS + 2, COUNT = 10, DEADLINE_MS = 10000 };
enum kind { TIMESTAMPS, IDS, ROUTES, KINDS };

struct answer {
    uint64_t begin_us, end_us, first;
};

struct asker {
    struct polder *polder;
    enum kind kind;
    uint64_t end_us;
    pthread_t thread;
    struct answer *answers;
    size_t count, capacity;
    uint64_t failed;
    char trouble[200];
};

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void keep(struct asker *asker, uint64_t begin_us, uint64_t first)
{
    if (asker->count == asker->capacity) {
        asker->capacity = asker->capacity ? 2 * asker->capacity : 4096;
        asker->answers = realloc(asker->answers, asker->capacity * sizeof *asker->answers);
        if (!asker->answers)
            abort();
    }
    asker->answers[asker->count++] = (struct answer){begin_us, now_us(), first};
}

static struct polder_result *ask(struct asker *asker, const struct polder_call *call)
{
    switch (asker->kind) {
    case TIMESTAMPS:
        return polder_cluster_timestamp(asker->polder, COUNT, call);
    case IDS:
        return polder_cluster_alloc_ids(asker->polder, COUNT, call);
    default:
        return polder_cluster_region_of(asker->polder, polder_string("k"), call);
    }
}

static void *run(void *context)
{
    struct asker *asker = context;
    const struct polder_call call = {.size = sizeof call, .deadline_ms = DEADLINE_MS};
    while (now_us() < asker->end_us) {
        uint64_t begin_us = now_us();
        struct polder_result *result = ask(asker, &call);
        if (result->outcome == POLDER_DONE && result->cluster) {
            keep(asker, begin_us,
                 asker->kind == TIMESTAMPS ? result->cluster->timestamp : result->cluster->first_id);
        } else {
            asker->failed++;
            snprintf(asker->trouble, sizeof asker->trouble, "%s: %s", result->name, result->text);
        }
        polder_result_free(result);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

/* ---- judgement */

static int by_first(const void *left, const void *right)
{
    uint64_t a = ((const struct answer *)left)->first, b = ((const struct answer *)right)->first;
    return (a > b) - (a < b);
}

static int by_end(const void *left, const void *right)
{
    uint64_t a = ((const struct answer *)left)->end_us, b = ((const struct answer *)right)->end_us;
    return (a > b) - (a < b);
}

static int by_begin(const void *left, const void *right)
{
    uint64_t a = ((const struct answer *)left)->begin_us, b = ((const struct answer *)right)->begin_us;
    return (a > b) - (a < b);
}

static bool is_unique(const char *what, struct answer *all, size_t count)
{
    qsort(all, count, sizeof *all, by_first);
    for (size_t i = 1; i < count; i++)
        if (all[i].first < all[i - 1].first + COUNT) {
            fprintf(stderr, "%s %" PRIu64 " and %" PRIu64 " overlap\n", what, all[i - 1].first, all[i].first);
            return false;
        }
    return true;
}

/* Of those that had ended when another began, the largest is smaller than that one. */
static bool is_in_order(const struct answer *all, size_t count)
{
    struct answer *ended = malloc((count + 1) * sizeof *ended), *begun = malloc((count + 1) * sizeof *begun);
    uint64_t largest = 0;
    bool good = true;
    if (!ended || !begun)
        abort();
    memcpy(ended, all, count * sizeof *all);
    memcpy(begun, all, count * sizeof *all);
    qsort(ended, count, sizeof *all, by_end);
    qsort(begun, count, sizeof *all, by_begin);
    for (size_t i = 0, k = 0; i < count && good; i++) {
        for (; k < count && ended[k].end_us < begun[i].begin_us; k++)
            if (ended[k].first + COUNT - 1 > largest)
                largest = ended[k].first + COUNT - 1;
        good = begun[i].first > largest;
        if (!good)
            fprintf(stderr, "timestamp %" PRIu64 " was asked for after %" PRIu64 " had been given out\n",
                    begun[i].first, largest);
    }
    free(ended);
    free(begun);
    return good;
}

static uint64_t longest_gap_us(struct answer *all, size_t count, uint64_t begin_us, uint64_t end_us)
{
    uint64_t last_us = begin_us, gap_us = 0;
    qsort(all, count, sizeof *all, by_end);
    for (size_t i = 0; i < count; i++) {
        if (all[i].end_us - last_us > gap_us)
            gap_us = all[i].end_us - last_us;
        last_us = all[i].end_us;
    }
    return end_us > last_us && end_us - last_us > gap_us ? end_us - last_us : gap_us;
}

static const char *const names[] = {"timestamps", "ids", "routes"};

static bool judge(const struct asker *askers, enum kind kind, uint64_t begin_us, uint64_t end_us)
{
    size_t count = 0;
    uint64_t failed = 0;
    for (int i = 0; i < THREADS; i++)
        count += askers[i].kind == kind ? askers[i].count : 0;
    struct answer *all = malloc((count + 1) * sizeof *all);
    if (!all)
        abort();
    count = 0;
    for (int i = 0; i < THREADS; i++) {
        if (askers[i].kind != kind)
            continue;
        memcpy(all + count, askers[i].answers, askers[i].count * sizeof *all);
        count += askers[i].count;
        failed += askers[i].failed;
        if (askers[i].failed > 0)
            fprintf(stderr, "%s: %s\n", names[kind], askers[i].trouble);
    }
    bool good = kind == ROUTES || is_unique(names[kind], all, count);
    good = good && (kind != TIMESTAMPS || is_in_order(all, count));
    uint64_t gap_us = longest_gap_us(all, count, begin_us, end_us);
    printf("%s\"%s\":{\"answered\":%zu,\"failed\":%" PRIu64 ",\"gap_ms\":%" PRIu64 "}", kind == 0 ? "{" : ",",
           names[kind], count, failed, gap_us / 1000);
    free(all);
    return good;
}

static bool write_answers(const char *path, const struct asker *askers)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return false;
    for (int i = 0; i < THREADS; i++)
        for (size_t k = 0; k < askers[i].count; k++) {
            const struct answer *answer = &askers[i].answers[k];
            fprintf(file, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", names[askers[i].kind], answer->begin_us,
                    answer->end_us, answer->first);
        }
    return fclose(file) == 0;
}

int main(int argc, char **argv)
{
    char text[256];
    struct asker askers[THREADS];
    struct polder *polder;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: pd_questions PD SECONDS [FILE]\n");
        return 2;
    }
    struct polder_options options = {.size = sizeof options, .pd = argv[1]};
    if (polder_open(&options, &polder, text, sizeof text) != POLDER_OK) {
        fprintf(stderr, "%s\n", text);
        return 2;
    }
    uint64_t begin_us = now_us(), end_us = begin_us + (uint64_t)(atof(argv[2]) * 1e6);
    for (int i = 0; i < THREADS; i++) {
        enum kind kind = i < TIMESTAMP_THREADS ? TIMESTAMPS : i == TIMESTAMP_THREADS ? IDS : ROUTES;
        askers[i] = (struct asker){.polder = polder, .kind = kind, .end_us = end_us};
        if (pthread_create(&askers[i].thread, NULL, run, &askers[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(askers[i].thread, NULL);
    bool good = true;
    for (int kind = 0; kind < KINDS; kind++)
        good &= judge(askers, (enum kind)kind, begin_us, end_us);
    printf("}\n");
    if (argc == 4 && !write_answers(argv[3], askers)) {
        perror(argv[3]);
        good = false;
    }
    for (int i = 0; i < THREADS; i++)
        free(askers[i].answers);
    polder_close(polder);
    return good ? 0 : 1;
}
