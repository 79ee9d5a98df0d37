#include "base/histogram.h"

#include <string.h>

#include "base/check.h"

enum { PART_COUNT = 1 << HISTOGRAM_PART_BITS };

static uint32_t slot_of(uint64_t value)
{
    if (value < PART_COUNT)
        return (uint32_t)value;
    if (value >> HISTOGRAM_VALUE_BITS)
        value = (1ULL << HISTOGRAM_VALUE_BITS) - 1;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_PART_BITS;
    return (shift << HISTOGRAM_PART_BITS) + (uint32_t)(value >> shift);
}

/* The largest value that falls into a slot. */
static uint64_t slot_end(uint32_t slot)
{
    if (slot < 2 * PART_COUNT)
        return slot;
    uint32_t shift = (slot >> HISTOGRAM_PART_BITS) - 1;
    uint64_t part = slot - (shift << HISTOGRAM_PART_BITS);
    return ((part + 1) << shift) - 1;
}

void histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_record(struct histogram *histogram, uint64_t value)
{
    if (histogram->count == 0 || value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->count++;
    histogram->sum += value;
    histogram->slots[slot_of(value)]++;
}

void histogram_add(struct histogram *histogram, const struct histogram *other)
{
    if (other->count == 0)
        return;
    if (histogram->count == 0 || other->min < histogram->min)
        histogram->min = other->min;
    if (other->max > histogram->max)
        histogram->max = other->max;
    histogram->count += other->count;
    histogram->sum += other->sum;
    for (uint32_t i = 0; i < HISTOGRAM_SLOT_COUNT; i++)
        histogram->slots[i] += other->slots[i];
}

uint64_t histogram_quantile(const struct histogram *histogram, uint32_t permille)
{
    CHECK(permille <= 1000);
    if (histogram->count == 0)
        return 0;
    if (permille == 0)
        return histogram->min;
    uint64_t wanted = (histogram->count * permille + 999) / 1000;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_SLOT_COUNT; i++) {
        seen += histogram->slots[i];
        if (seen >= wanted)
            return slot_end(i) < histogram->max ? slot_end(i) : histogram->max;
    }
    return histogram->max;
}

uint64_t histogram_mean(const struct histogram *histogram)
{
    return histogram->count ? histogram->sum / histogram->count : 0;
}
