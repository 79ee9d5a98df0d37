#include "pd/split_keys.h"

#include "base/check.h"

enum { LIKELY_COUNT = 62, UNLIKELY_COUNT = 256 - LIKELY_COUNT, DEPTH_MAX = SPLIT_KEY_SIZE_MAX - 1 };

struct weights {
    uint64_t below[257]; /* sum of the weights of all smaller bytes; [256] is the sum of all */
};

static bool is_likely(int byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

/* An unlikely byte weighs 1. All of them together are to be at most 2/64, and at most 1/(4 * region_count), of the sum.
 */
static void weights_init(struct weights *weights, uint32_t region_count)
{
    uint64_t share = 4 * (uint64_t)region_count;
    if (share < 32)
        share = 32;
    uint64_t likely = (UNLIKELY_COUNT * (share - 1) + LIKELY_COUNT - 1) / LIKELY_COUNT;
    weights->below[0] = 0;
    for (int byte = 0; byte < 256; byte++)
        weights->below[byte + 1] = weights->below[byte] + (is_likely(byte) ? likely : 1);
}

/* Deep enough that a boundary is off by less than a tenth of a region. */
static int depth_for(uint32_t region_count)
{
    return region_count <= LIKELY_COUNT * LIKELY_COUNT / 12 ? 2 : DEPTH_MAX;
}

/* The key below which lies the share numerator/denominator of the weight, cut off after `depth` bytes. */
static struct bytes quantile(const struct weights *weights, uint64_t numerator, uint64_t denominator, int depth,
                             struct arena *arena)
{
    const uint64_t sum = weights->below[256];
    uint8_t *key = arena_alloc(arena, (size_t)depth + 1);
    key[0] = 'r';
    uint64_t position = numerator; /* of `denominator`, inside the byte chosen so far */
    for (int i = 1; i <= depth; i++) {
        uint64_t scaled = position * sum; /* < 2^17 * 2^27 */
        int byte = 0;
        while (byte < 255 && weights->below[byte + 1] * denominator <= scaled)
            byte++;
        key[i] = (uint8_t)byte;
        position = (scaled - weights->below[byte] * denominator) / (weights->below[byte + 1] - weights->below[byte]);
    }
    return bytes_of(key, (size_t)depth + 1);
}

struct bytes *split_keys_make(uint32_t region_count, struct arena *arena)
{
    CHECK(region_count >= 1 && region_count <= SPLIT_KEYS_REGIONS_MAX);
    struct weights weights;
    weights_init(&weights, region_count);
    int depth = depth_for(region_count);
    struct bytes *keys = arena_alloc(arena, sizeof(*keys) * region_count); /* one spare: never of size 0 */
    for (uint32_t i = 1; i < region_count; i++)
        keys[i - 1] = quantile(&weights, i, region_count, depth, arena);
    return keys;
}
