#include "store_ranges.h"

#include <stdlib.h>
#include <string.h>

#include <bsd/sys/tree.h>
#include <uthash.h>

#include "base/check.h"
#include "group/apply_worker.h"

struct range {
    RB_ENTRY(range) link;
    UT_hash_handle hh;
    region_id region;
    struct bytes start, end; /* in `keys` */
    uint8_t keys[];
};

RB_HEAD(range_order, range);

struct store_ranges {
    struct range_order order; /* by start */
    struct range *by_region;
};

static int range_compare(const struct range *a, const struct range *b)
{
    return bytes_compare(a->start, b->start);
}

/* RB_GENERATE_STATIC wants __unused, which Debian's libbsd leaves out. */
RB_GENERATE_INTERNAL(range_order, range, link, range_compare, __attribute__((unused)) static)

struct store_ranges *store_ranges_new(void)
{
    struct store_ranges *ranges = calloc(1, sizeof *ranges);
    CHECK(ranges);
    RB_INIT(&ranges->order);
    return ranges;
}

static void drop(struct store_ranges *ranges, struct range *range)
{
    RB_REMOVE(range_order, &ranges->order, range);
    HASH_DEL(ranges->by_region, range);
    free(range);
}

void store_ranges_free(struct store_ranges *ranges)
{
    struct range *range, *following;
    if (!ranges)
        return;
    HASH_ITER(hh, ranges->by_region, range, following)
    drop(ranges, range);
    free(ranges);
}

static struct range *find(const struct store_ranges *ranges, region_id region)
{
    struct range *range;
    HASH_FIND(hh, ranges->by_region, &region, sizeof region, range);
    return range;
}

bool store_ranges_has(const struct store_ranges *ranges, region_id region)
{
    return find(ranges, region) != NULL;
}

void store_ranges_remove(struct store_ranges *ranges, region_id region)
{
    struct range *range = find(ranges, region);
    if (range)
        drop(ranges, range);
}

static bool ends_after(struct bytes end, struct bytes key)
{
    return end.size == 0 || bytes_compare(end, key) > 0;
}

/* The last range that starts at or before `key`; NULL: none. */
static struct range *at_or_before(const struct store_ranges *ranges, struct bytes key)
{
    struct range *range = RB_ROOT(&ranges->order), *best = NULL;
    while (range) {
        bool before = bytes_compare(range->start, key) <= 0;
        if (before)
            best = range;
        range = before ? RB_RIGHT(range, link) : RB_LEFT(range, link);
    }
    return best;
}

region_id store_ranges_find(const struct store_ranges *ranges, struct bytes start, struct bytes end, region_id except)
{
    struct range *range = at_or_before(ranges, start);
    if (!range)
        range = RB_MIN(range_order, &((struct store_ranges *)ranges)->order);
    for (; range && ends_after(end, range->start); range = RB_NEXT(range_order, &ranges->order, range))
        if (range->region != except && ends_after(range->end, start))
            return range->region;
    return 0;
}

static void copy_key(uint8_t *to, struct bytes key)
{
    if (key.size > 0)
        memcpy(to, key.data, key.size);
}

void store_ranges_set(struct store_ranges *ranges, const struct region *region)
{
    CHECK(store_ranges_find(ranges, region->start_key, region->end_key, region->id) == 0);
    store_ranges_remove(ranges, region->id);
    struct range *range = malloc(sizeof *range + region->start_key.size + region->end_key.size);
    CHECK(range);
    range->region = region->id;
    copy_key(range->keys, region->start_key);
    copy_key(range->keys + region->start_key.size, region->end_key);
    range->start = bytes_of(range->keys, region->start_key.size);
    range->end = bytes_of(range->keys + region->start_key.size, region->end_key.size);
    CHECK(!RB_INSERT(range_order, &ranges->order, range));
    HASH_ADD(hh, ranges->by_region, region, sizeof range->region, range);
}

struct store_ranges_change {
    struct apply_task task;
    struct store_ranges *ranges;
    struct region **regions; /* owned array, and they */
    region_id *gone;         /* owned array */
    uint32_t region_count, gone_count;
};

static void free_change(struct message *message)
{
    struct store_ranges_change *change = (struct store_ranges_change *)message;
    for (uint32_t i = 0; i < change->region_count; i++)
        region_free(change->regions[i]);
    free(change->regions);
    free(change->gone);
    free(change);
}

static void apply_change(struct apply_task *task, struct apply_worker *worker)
{
    (void)worker;
    struct store_ranges_change *change = (struct store_ranges_change *)task;
    for (uint32_t i = 0; i < change->gone_count; i++)
        store_ranges_remove(change->ranges, change->gone[i]);
    for (uint32_t i = 0; i < change->region_count; i++)
        store_ranges_set(change->ranges, change->regions[i]);
}

static void change_done(struct apply_task *task, enum err code)
{
    (void)code; /* it wrote nothing */
    message_free(&task->message);
}

struct store_ranges_change *store_ranges_change_new(struct store_ranges *ranges)
{
    struct store_ranges_change *change = calloc(1, sizeof *change);
    CHECK(change);
    *change = (struct store_ranges_change){
        .task = {.message = {.free = free_change}, .apply = apply_change, .done = change_done}, .ranges = ranges};
    return change;
}

void store_ranges_change_set(struct store_ranges_change *change, const struct region *region)
{
    change->regions = realloc(change->regions, (change->region_count + 1) * sizeof(*change->regions));
    CHECK(change->regions);
    change->regions[change->region_count++] = region_copy(region);
}

void store_ranges_change_remove(struct store_ranges_change *change, region_id region)
{
    change->gone = realloc(change->gone, (change->gone_count + 1) * sizeof(*change->gone));
    CHECK(change->gone);
    change->gone[change->gone_count++] = region;
}

void store_ranges_change_post(struct store_ranges_change *take_change, struct apply_worker *worker)
{
    apply_worker_post(worker, &take_change->task);
}

void store_ranges_post(struct store_ranges *ranges, struct apply_worker *worker, const struct region *region)
{
    struct store_ranges_change *change = store_ranges_change_new(ranges);
    store_ranges_change_set(change, region);
    store_ranges_change_post(change, worker);
}
