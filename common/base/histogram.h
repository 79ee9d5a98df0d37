/* histogram: how often values of which size came, within 1 % of the value.
 *
 * Log-linear: up to 128 each value has its own counter, above it every power of two is cut into 128 equal parts, up to
 * 2^40 (12 days in microseconds); larger values count as that. Recording is a few instructions and allocates nothing.
 * Owner: whoever holds it. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_PART_BITS = 7,
    HISTOGRAM_VALUE_BITS = 40,
    HISTOGRAM_SLOT_COUNT = (HISTOGRAM_VALUE_BITS - HISTOGRAM_PART_BITS + 1) << HISTOGRAM_PART_BITS,
};

/* All zero is empty. */
struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t min, max; /* exact; min is 0 while empty */
    uint64_t slots[HISTOGRAM_SLOT_COUNT];
};

void histogram_reset(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_add(struct histogram *histogram, const struct histogram *other);
/* The value that `permille / 1000` of all values do not exceed (999 for p99.9), as the upper end of its slot but never
 * above max; 0 while empty. permille 0 gives min, 1000 max. */
uint64_t histogram_quantile(const struct histogram *histogram, uint32_t permille);
uint64_t histogram_mean(const struct histogram *histogram);

#endif
