#include "store_pairs.h"

#include <stdlib.h>
#include <uthash.h>

#include "base/check.h"

struct pair {
    store_id store;
    uint64_t incarnation;
    uint32_t silent_ticks;
    uint32_t known_ticks; /* since the first beat of this incarnation; up to silence_ticks + 1 or so */
    bool live, leaving;
    UT_hash_handle hh;
};

struct store_pairs {
    uint32_t silence_ticks, step_max;
    struct pair *pairs; /* by store */
};

static struct pair *find(const struct store_pairs *pairs, store_id store)
{
    struct pair *pair;
    HASH_FIND(hh, pairs->pairs, &store, sizeof store, pair);
    return pair;
}

struct store_pairs *store_pairs_new(uint32_t silence_ticks, uint32_t step_max)
{
    CHECK(silence_ticks > 0 && step_max > 0);
    struct store_pairs *pairs = calloc(1, sizeof *pairs);
    CHECK(pairs);
    pairs->silence_ticks = silence_ticks;
    pairs->step_max = step_max;
    return pairs;
}

void store_pairs_free(struct store_pairs *pairs)
{
    if (!pairs)
        return;
    struct pair *pair, *next;
    HASH_ITER(hh, pairs->pairs, pair, next)
    {
        HASH_DEL(pairs->pairs, pair);
        free(pair);
    }
    free(pairs);
}

bool store_pairs_share(struct store_pairs *pairs, store_id store)
{
    if (find(pairs, store))
        return false;
    struct pair *pair = calloc(1, sizeof *pair);
    CHECK(pair);
    pair->store = store;
    pair->silent_ticks = UINT32_MAX;
    HASH_ADD(hh, pairs->pairs, store, sizeof pair->store, pair);
    return true;
}

void store_pairs_each(const struct store_pairs *pairs, void (*visit)(void *context, store_id store), void *context)
{
    for (const struct pair *pair = pairs->pairs; pair; pair = pair->hh.next)
        visit(context, pair->store);
}

enum pairs_event store_pairs_heard(struct store_pairs *pairs, store_id store, uint64_t incarnation, bool leaving)
{
    struct pair *pair = find(pairs, store);
    if (!pair)
        return PAIRS_NOTHING;
    bool first = pair->incarnation == 0;
    enum pairs_event event = !first && pair->incarnation != incarnation ? PAIRS_RESTARTED
                             : pair->live                               ? PAIRS_NOTHING
                                                                        : PAIRS_RETURNED;
    if (pair->incarnation != incarnation)
        pair->known_ticks = 0;
    pair->incarnation = incarnation;
    pair->silent_ticks = 0;
    pair->live = true;
    pair->leaving = leaving;
    return event;
}

void store_pairs_tick(struct store_pairs *pairs, uint32_t ticks, void (*silent)(void *context, store_id store),
                      void *context)
{
    uint32_t step = ticks < pairs->step_max ? ticks : pairs->step_max;
    for (struct pair *pair = pairs->pairs; pair; pair = pair->hh.next) {
        if (pair->known_ticks <= pairs->silence_ticks)
            pair->known_ticks += step;
        if (pair->silent_ticks < UINT32_MAX - step)
            pair->silent_ticks += step;
        if (!pair->live || pair->silent_ticks < pairs->silence_ticks)
            continue;
        pair->live = false;
        silent(context, pair->store);
    }
}

bool store_pairs_is_live(const struct store_pairs *pairs, store_id store)
{
    const struct pair *pair = find(pairs, store);
    return pair && pair->live;
}

enum pairs_fitness store_pairs_fitness(const struct store_pairs *pairs, store_id store)
{
    const struct pair *pair = find(pairs, store);
    if (!pair || !pair->live || pair->leaving)
        return PAIRS_UNFIT;
    return pair->known_ticks > pairs->silence_ticks ? PAIRS_FIT : PAIRS_FIT_SOON;
}

uint32_t store_pairs_silent_ticks(const struct store_pairs *pairs, store_id store)
{
    const struct pair *pair = find(pairs, store);
    return pair ? pair->silent_ticks : UINT32_MAX;
}
