#include "pd/region_order.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "pd/region_tree.h" /* region_node_start */

enum { RUN_COUNT_MAX = 128 };
#define BEFORE_ALL UINT32_MAX

struct order_run {
    uint32_t count;
    uint64_t prefixes[RUN_COUNT_MAX];
    struct region_node *nodes[RUN_COUNT_MAX];
};

struct place {
    uint32_t run, index;
};

static uint64_t prefix_of(struct bytes key)
{
    uint8_t first[8] = {0};
    if (key.size >= sizeof(first))
        return load_u64_be(key.data);
    if (key.size > 0)
        memcpy(first, key.data, key.size);
    return load_u64_be(first);
}

static bool starts_at_or_before(uint64_t node_prefix, const struct region_node *node, uint64_t prefix, struct bytes key)
{
    if (node_prefix != prefix)
        return node_prefix < prefix;
    return bytes_compare(region_node_start(node), key) <= 0;
}

/* The place of the last region that starts at or before; false: all start behind. */
static bool find(const struct region_order *order, struct bytes key, struct place *ret_place)
{
    uint64_t prefix = prefix_of(key);
    uint32_t low = 0, high = order->count; /* the first that starts behind */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (starts_at_or_before(order->firsts[middle], order->runs[middle]->nodes[0], prefix, key))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    const struct order_run *run = order->runs[low - 1];
    ret_place->run = low - 1;
    for (low = 1, high = run->count; low < high;) {
        uint32_t middle = low + (high - low) / 2;
        if (starts_at_or_before(run->prefixes[middle], run->nodes[middle], prefix, key))
            low = middle + 1;
        else
            high = middle;
    }
    ret_place->index = low - 1;
    return true;
}

static struct place place_of(const struct region_order *order, const struct region_node *node)
{
    struct place place = {0};
    CHECK(find(order, region_node_start(node), &place));
    CHECK(order->runs[place.run]->nodes[place.index] == node);
    return place;
}

void region_order_fini(struct region_order *order)
{
    for (uint32_t i = 0; i < order->count; i++)
        free(order->runs[i]);
    free(order->runs);
    free(order->firsts);
    *order = (struct region_order){0};
}

static struct order_run *add_run(struct region_order *order, uint32_t at)
{
    if (order->count == order->capacity) {
        order->capacity = order->capacity ? order->capacity * 2 : 16;
        order->runs = realloc(order->runs, order->capacity * sizeof(struct order_run *));
        order->firsts = realloc(order->firsts, order->capacity * sizeof(*order->firsts));
        CHECK(order->runs && order->firsts);
    }
    memmove(&order->runs[at + 1], &order->runs[at], (order->count - at) * sizeof(struct order_run *));
    memmove(&order->firsts[at + 1], &order->firsts[at], (order->count - at) * sizeof(*order->firsts));
    order->count++;
    order->runs[at] = malloc(sizeof(struct order_run));
    CHECK(order->runs[at]);
    order->runs[at]->count = 0;
    return order->runs[at];
}

/* Room for one more behind `place`. */
static void make_room(struct region_order *order, struct place *place)
{
    struct order_run *run = order->runs[place->run];
    if (run->count < RUN_COUNT_MAX)
        return;
    struct order_run *right = add_run(order, place->run + 1);
    uint32_t kept = place->index == run->count - 1 && place->run + 2 == order->count ? run->count : run->count / 2;
    right->count = run->count - kept;
    memcpy(right->prefixes, &run->prefixes[kept], right->count * sizeof(run->prefixes[0]));
    memcpy(right->nodes, &run->nodes[kept], right->count * sizeof(run->nodes[0]));
    run->count = kept;
    if (right->count > 0)
        order->firsts[place->run + 1] = right->prefixes[0]; /* else the one that comes now is its first */
    if (place->index != BEFORE_ALL && (place->index >= kept || kept == RUN_COUNT_MAX)) {
        place->index -= kept; /* one before the first is BEFORE_ALL again */
        place->run++;
    }
}

void region_order_insert(struct region_order *order, struct region_node *node)
{
    struct bytes key = region_node_start(node);
    struct place place = {0, BEFORE_ALL};
    if (order->count == 0)
        add_run(order, 0);
    else if (find(order, key, &place) || order->runs[0]->count == RUN_COUNT_MAX)
        make_room(order, &place);
    struct order_run *run = order->runs[place.run];
    uint32_t index = place.index + 1; /* behind what is at or before it */
    memmove(&run->prefixes[index + 1], &run->prefixes[index], (run->count - index) * sizeof(run->prefixes[0]));
    memmove(&run->nodes[index + 1], &run->nodes[index], (run->count - index) * sizeof(run->nodes[0]));
    run->prefixes[index] = prefix_of(key);
    run->nodes[index] = node;
    run->count++;
    order->firsts[place.run] = run->prefixes[0];
}

void region_order_remove(struct region_order *order, const struct region_node *node)
{
    struct place place = place_of(order, node);
    struct order_run *run = order->runs[place.run];
    run->count--;
    memmove(&run->prefixes[place.index], &run->prefixes[place.index + 1],
            (run->count - place.index) * sizeof(run->prefixes[0]));
    memmove(&run->nodes[place.index], &run->nodes[place.index + 1], (run->count - place.index) * sizeof(run->nodes[0]));
    if (run->count > 0) {
        order->firsts[place.run] = run->prefixes[0];
        return;
    }
    free(run);
    order->count--;
    memmove(&order->runs[place.run], &order->runs[place.run + 1],
            (order->count - place.run) * sizeof(struct order_run *));
    memmove(&order->firsts[place.run], &order->firsts[place.run + 1],
            (order->count - place.run) * sizeof(*order->firsts));
}

struct region_node *region_order_at_or_before(const struct region_order *order, struct bytes key)
{
    struct place place;
    return find(order, key, &place) ? order->runs[place.run]->nodes[place.index] : NULL;
}

struct region_node *region_order_first(const struct region_order *order)
{
    return order->count > 0 ? order->runs[0]->nodes[0] : NULL;
}

struct region_node *region_order_last(const struct region_order *order)
{
    if (order->count == 0)
        return NULL;
    const struct order_run *run = order->runs[order->count - 1];
    return run->nodes[run->count - 1];
}

struct region_node *region_order_next(const struct region_order *order, const struct region_node *node)
{
    struct place place = place_of(order, node);
    if (place.index + 1 < order->runs[place.run]->count)
        return order->runs[place.run]->nodes[place.index + 1];
    return place.run + 1 < order->count ? order->runs[place.run + 1]->nodes[0] : NULL;
}

struct region_node *region_order_previous(const struct region_order *order, const struct region_node *node)
{
    struct place place = place_of(order, node);
    if (place.index > 0)
        return order->runs[place.run]->nodes[place.index - 1];
    if (place.run == 0)
        return NULL;
    const struct order_run *run = order->runs[place.run - 1];
    return run->nodes[run->count - 1];
}

void region_order_check(const struct region_order *order)
{
    const struct region_node *before = NULL;
    for (uint32_t i = 0; i < order->count; i++) {
        const struct order_run *run = order->runs[i];
        CHECK(run->count > 0 && run->count <= RUN_COUNT_MAX && order->firsts[i] == run->prefixes[0]);
        for (uint32_t k = 0; k < run->count; k++) {
            CHECK(run->prefixes[k] == prefix_of(region_node_start(run->nodes[k])));
            CHECK(!before || bytes_compare(region_node_start(before), region_node_start(run->nodes[k])) < 0);
            before = run->nodes[k];
        }
    }
}
