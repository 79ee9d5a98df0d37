#include "split_load.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/rng.h"
#include "base/types.h"
#include "meta/keyspace.h"

enum { SAMPLES_MAX = 256, SAMPLES_MIN = 32, CANDIDATES_MAX = 64, UNBALANCED_PERCENT = 40, SPANNING_PERCENT = 50 };
enum { SAMPLE_KEY_SIZE_MAX = KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE };
enum { PAUSE_MIN_S = 60, PAUSE_DOUBLINGS_MAX = 6 /* to an hour or so */ };

struct sample {
    struct buf start, end;
    bool range;
};

struct load_samples {
    struct rng rng;
    uint64_t since_us; /* more than the limits since then */
    uint64_t seen;
    uint32_t count;
    struct sample samples[SAMPLES_MAX];
};

static void forget_samples(struct split_load *load)
{
    for (uint32_t i = 0; load->samples && i < load->samples->count; i++) {
        buf_fini(&load->samples->samples[i].start);
        buf_fini(&load->samples->samples[i].end);
    }
    free(load->samples);
    load->samples = NULL;
}

void split_load_fini(struct split_load *load)
{
    forget_samples(load);
    *load = (struct split_load){0};
}

/* ---- sampling */

/* NULL: this request is not in the sample. */
static struct sample *place_of_next(struct load_samples *samples)
{
    samples->seen++;
    if (samples->count < SAMPLES_MAX) {
        struct sample *sample = &samples->samples[samples->count++];
        buf_init(&sample->start, SAMPLE_KEY_SIZE_MAX);
        buf_init(&sample->end, SAMPLE_KEY_SIZE_MAX);
        return sample;
    }
    uint64_t at = rng_below(&samples->rng, samples->seen);
    return at < SAMPLES_MAX ? &samples->samples[at] : NULL;
}

static void take(struct split_load *load, struct bytes start, struct bytes end, bool range)
{
    if (!load->samples || start.size > SAMPLE_KEY_SIZE_MAX || end.size > SAMPLE_KEY_SIZE_MAX)
        return; /* bounds of scans may be anything */
    struct sample *sample = place_of_next(load->samples);
    if (!sample)
        return;
    sample->range = range;
    CHECK(buf_assign(&sample->start, start) == ERR_OK);
    CHECK(buf_assign(&sample->end, end) == ERR_OK);
}

void split_load_sample(struct split_load *load, struct bytes start)
{
    take(load, start, bytes_empty(), false);
}

void split_load_sample_range(struct split_load *load, struct bytes start, struct bytes end)
{
    take(load, start, end, true);
}

/* ---- where to cut */

struct sides {
    uint32_t left, right, across;
};

static struct sides sides_of(const struct load_samples *samples, struct bytes key)
{
    struct sides sides = {0};
    for (uint32_t i = 0; i < samples->count; i++) {
        const struct sample *sample = &samples->samples[i];
        bool ends_left = sample->range && sample->end.size > 0 && bytes_compare(buf_bytes(&sample->end), key) <= 0;
        if (bytes_compare(buf_bytes(&sample->start), key) >= 0)
            sides.right++;
        else if (ends_left || !sample->range)
            sides.left++;
        else
            sides.across++;
    }
    return sides;
}

static uint32_t difference(const struct sides *sides)
{
    return sides->left > sides->right ? sides->left - sides->right : sides->right - sides->left;
}

/* The sampled key with the most equal sides; what lies across it is on both, and for nothing. A quarter of the sample is
 * tried: a key with so much of the load that it must be a border is among them. */
static enum split_load_verdict choose(const struct load_samples *samples, struct bytes start_key, struct bytes *ret_key)
{
    uint32_t best = UINT32_MAX;
    bool spans = false;
    for (uint32_t i = 0; i < samples->count && i < CANDIDATES_MAX; i++) {
        struct bytes key = buf_bytes(&samples->samples[i].start);
        if (bytes_compare(key, start_key) <= 0)
            continue;
        struct sides sides = sides_of(samples, key);
        uint32_t off = difference(&sides) + sides.across;
        if (difference(&sides) * 100 > (sides.left + sides.right) * UNBALANCED_PERCENT || off >= best)
            continue;
        if (sides.across * 100 > samples->count * SPANNING_PERCENT) {
            spans = true;
            continue;
        }
        best = off;
        *ret_key = key;
    }
    if (best != UINT32_MAX)
        return SPLIT_LOAD_CUT;
    return spans ? SPLIT_LOAD_SPANNING : SPLIT_LOAD_ONE_KEY;
}

static bool is_more(uint64_t count, uint64_t limit, uint64_t time_us)
{
    return limit > 0 && (double)count * 1e6 > (double)limit * (double)time_us;
}

static void begin_sampling(struct split_load *load, uint64_t now_us, uint64_t seed)
{
    load->samples = calloc(1, sizeof *load->samples);
    CHECK(load->samples);
    load->samples->since_us = now_us;
    rng_init(&load->samples->rng, seed, "split load");
}

static enum split_load_verdict decide(struct split_load *load, struct bytes start_key, uint64_t now_us,
                                      struct bytes *ret_key)
{
    enum split_load_verdict verdict = choose(load->samples, start_key, ret_key);
    load->samples->since_us = now_us; /* if nothing comes of it: once more, from the beginning */
    load->samples->seen = load->samples->count;
    if (verdict == SPLIT_LOAD_CUT)
        return verdict;
    uint32_t doublings = load->failures < PAUSE_DOUBLINGS_MAX ? load->failures : PAUSE_DOUBLINGS_MAX;
    load->failures++;
    load->again_us = now_us + ((uint64_t)PAUSE_MIN_S * 1000000 << doublings);
    forget_samples(load);
    return verdict;
}

enum split_load_verdict split_load_look(struct split_load *load, const struct split_load_limits *limits,
                                        struct bytes start_key, uint64_t now_us, uint64_t seed, struct bytes *ret_key)
{
    uint64_t time_us = now_us - load->looked_us;
    bool hot = load->looked_us != 0 && now_us >= load->again_us &&
               (is_more(load->request_count, limits->requests, time_us) || is_more(load->size, limits->size, time_us));
    load->request_count = 0;
    load->size = 0;
    load->looked_us = now_us;
    if (!hot) {
        forget_samples(load);
        return SPLIT_LOAD_NOTHING;
    }
    if (!load->samples) {
        begin_sampling(load, now_us, seed);
        return SPLIT_LOAD_NOTHING;
    }
    if (now_us < load->samples->since_us + limits->seconds * 1000000 || load->samples->count < SAMPLES_MIN)
        return SPLIT_LOAD_NOTHING;
    return decide(load, start_key, now_us, ret_key);
}
