/* rng: repeatable chance. One generator per module and purpose: rng_init(seed, "election").
 *
 * xoshiro256** by Blackman and Vigna (2018), seeded with splitmix64. Not for secrets. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state[4];
};

void rng_init(struct rng *rng, uint64_t seed, const char *purpose);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t limit);                 /* 0 .. limit-1; limit > 0 */
uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high);  /* low .. high, both included */
bool rng_chance(struct rng *rng, uint32_t numerator, uint32_t denominator);

#endif
