#include "base/rng.h"

#include "base/check.h"

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_init(struct rng *rng, uint64_t seed, const char *purpose)
{
    uint64_t mixed = seed;
    for (const char *c = purpose; *c; c++) /* FNV-1a over the purpose, so that two modules never share a stream */
        mixed = (mixed ^ (uint8_t)*c) * 0x100000001b3u;
    for (int i = 0; i < 4; i++)
        rng->state[i] = splitmix(&mixed);
}

static uint64_t rotate_left(uint64_t value, int count)
{
    return (value << count) | (value >> (64 - count));
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *rng, uint64_t limit)
{
    CHECK(limit > 0);
    uint64_t threshold = -limit % limit; /* rejects the uneven rest, so that every value is equally likely */
    for (;;) {
        uint64_t value = rng_next(rng);
        if (value >= threshold)
            return value % limit;
    }
}

uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high)
{
    CHECK(low <= high);
    return high - low == UINT64_MAX ? rng_next(rng) : low + rng_below(rng, high - low + 1);
}

bool rng_chance(struct rng *rng, uint32_t numerator, uint32_t denominator)
{
    return rng_below(rng, denominator) < numerator;
}
