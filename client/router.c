#include "client/router.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

struct router_store {
    store_id id;
    uint64_t generation;
    UT_hash_handle hh;
};

RB_HEAD(route_tree, route);

struct router {
    struct route_tree tree;
    struct route *by_id;
    struct router_store *stores; /* never shrinks: routes point into it, and a cluster has few stores */
    struct list used;            /* newest first */
    uint32_t count;
    uint32_t count_max;
};

static int compare_start(const struct route *a, const struct route *b)
{
    return bytes_compare(a->start_key, b->start_key);
}

RB_GENERATE_INTERNAL(route_tree, route, by_start, compare_start, __attribute__((unused)) static)

struct router *router_new(uint32_t route_count_max)
{
    CHECK(route_count_max > 0);
    struct router *router = calloc(1, sizeof *router);
    CHECK(router);
    RB_INIT(&router->tree);
    list_init(&router->used);
    router->count_max = route_count_max;
    return router;
}

static void remove_route(struct router *router, struct route *route)
{
    RB_REMOVE(route_tree, &router->tree, route);
    HASH_DEL(router->by_id, route);
    list_remove(&route->used);
    router->count--;
    free(route); /* the keys are in the same block */
}

void router_free(struct router *router)
{
    if (!router)
        return;
    while (!RB_EMPTY(&router->tree))
        remove_route(router, RB_MIN(route_tree, &router->tree));
    struct router_store *store, *following;
    HASH_ITER(hh, router->stores, store, following)
    {
        HASH_DEL(router->stores, store);
        free(store);
    }
    free(router);
}

/* The last route that starts at or before `key` (strictly before it with `before`). */
static struct route *last_start(struct router *router, struct bytes key, bool before)
{
    struct route *route = RB_ROOT(&router->tree), *found = NULL;
    while (route) {
        int order = bytes_compare(route->start_key, key);
        if (order < 0 || (order == 0 && !before)) {
            found = route;
            route = RB_RIGHT(route, by_start);
        } else {
            route = RB_LEFT(route, by_start);
        }
    }
    return found;
}

static struct route *touch(struct router *router, struct route *route)
{
    if (router->used.next != &route->used) {
        list_remove(&route->used);
        list_push_front(&router->used, &route->used);
    }
    return route;
}

struct route *router_find(struct router *router, struct bytes key)
{
    struct route *route = last_start(router, key, false);
    if (!route || (route->end_key.size > 0 && bytes_compare(key, route->end_key) >= 0))
        return NULL;
    return touch(router, route);
}

struct route *router_find_before(struct router *router, struct bytes key)
{
    struct route *route = key.size > 0 ? last_start(router, key, true) : RB_MAX(route_tree, &router->tree);
    if (!route)
        return NULL;
    if (route->end_key.size > 0 && (key.size == 0 || bytes_compare(key, route->end_key) > 0))
        return NULL;
    return touch(router, route);
}

struct route *router_find_by_id(struct router *router, region_id id)
{
    struct route *route;
    HASH_FIND(hh, router->by_id, &id, sizeof id, route);
    return route;
}

static struct router_store *store_of(struct router *router, store_id id)
{
    struct router_store *store;
    HASH_FIND(hh, router->stores, &id, sizeof id, store);
    if (store)
        return store;
    store = calloc(1, sizeof *store);
    CHECK(store);
    store->id = id;
    HASH_ADD(hh, router->stores, id, sizeof store->id, store);
    return store;
}

store_id route_leader(const struct route *route)
{
    return route->leader && route->leader->generation == route->leader_generation ? route->leader->id : 0;
}

void router_set_leader(struct router *router, struct route *route, store_id leader)
{
    route->leader = NULL;
    for (uint32_t i = 0; i < route->peer_count && leader != 0; i++) {
        if (route->peers[i].store_id == leader) {
            route->leader = store_of(router, leader);
            route->leader_generation = route->leader->generation;
            return;
        }
    }
}

void router_store_silent(struct router *router, store_id store)
{
    store_of(router, store)->generation++;
}

static bool is_a_region(const struct wire_region *region)
{
    if (region->id == 0 || region->peers_count > ROUTE_PEERS_MAX)
        return false;
    if (region->start_key.size > KEY_SIZE_MAX + 16 || region->end_key.size > KEY_SIZE_MAX + 16)
        return false;
    return region->end_key.size == 0 || bytes_compare(region->start_key, region->end_key) < 0;
}

/* Is what we know of an overlapping range newer than `region`? */
static bool known_is_newer(const struct route *known, const struct wire_region *region)
{
    if (known->epoch_version != region->epoch_version)
        return known->epoch_version > region->epoch_version;
    return known->region_id == region->id && known->epoch_conf > region->epoch_conf;
}

/* The first route that ends after `start`; those from there on that begin before the region's end overlap it. */
static struct route *first_overlap(struct router *router, struct bytes start)
{
    struct route *route = last_start(router, start, false);
    if (!route)
        return RB_MIN(route_tree, &router->tree);
    if (route->end_key.size > 0 && bytes_compare(route->end_key, start) <= 0)
        return RB_NEXT(route_tree, &router->tree, route);
    return route;
}

static bool begins_before(const struct route *route, struct bytes end)
{
    return end.size == 0 || bytes_compare(route->start_key, end) < 0;
}

static struct route *route_new(const struct wire_region *region)
{
    size_t peers_size = region->peers_count * sizeof(struct route_peer);
    struct route *route = malloc(sizeof *route + peers_size + region->start_key.size + region->end_key.size);
    CHECK(route);
    memset(route, 0, sizeof *route);
    route->region_id = region->id;
    route->epoch_conf = region->epoch_conf;
    route->epoch_version = region->epoch_version;
    route->peer_count = region->peers_count;
    for (uint32_t i = 0; i < region->peers_count; i++)
        route->peers[i] = (struct route_peer){
            .id = region->peers[i].id, .store_id = region->peers[i].store_id, .role = region->peers[i].role};
    uint8_t *keys = (uint8_t *)route->peers + peers_size;
    if (region->start_key.size > 0)
        memcpy(keys, region->start_key.data, region->start_key.size);
    if (region->end_key.size > 0)
        memcpy(keys + region->start_key.size, region->end_key.data, region->end_key.size);
    route->start_key = bytes_of(keys, region->start_key.size);
    route->end_key = bytes_of(keys + region->start_key.size, region->end_key.size);
    return route;
}

enum router_insert router_insert(struct router *router, const struct wire_region *region, store_id leader)
{
    if (!is_a_region(region))
        return ROUTER_NOT_A_REGION;
    /* The same region may be known elsewhere: a merge moves start_key, a split end_key. */
    struct route *same = router_find_by_id(router, region->id);
    if (same && known_is_newer(same, region))
        return ROUTER_OLDER;
    for (struct route *route = first_overlap(router, region->start_key); route && begins_before(route, region->end_key);
         route = RB_NEXT(route_tree, &router->tree, route))
        if (known_is_newer(route, region))
            return ROUTER_OLDER;
    if (same && same->epoch_version == region->epoch_version && same->epoch_conf == region->epoch_conf) {
        if (leader != 0 && route_leader(same) == 0)
            router_set_leader(router, same, leader);
        return ROUTER_REFRESHED;
    }
    /* A change of members alone does not unseat the leader that we know. */
    store_id old_leader = same && same->epoch_version == region->epoch_version ? route_leader(same) : 0;
    if (same)
        remove_route(router, same);
    struct route *route = first_overlap(router, region->start_key);
    while (route && begins_before(route, region->end_key)) {
        struct route *following = RB_NEXT(route_tree, &router->tree, route);
        remove_route(router, route);
        route = following;
    }
    while (router->count >= router->count_max)
        remove_route(router, LIST_ENTRY(router->used.previous, struct route, used));
    route = route_new(region);
    RB_INSERT(route_tree, &router->tree, route);
    HASH_ADD(hh, router->by_id, region_id, sizeof route->region_id, route);
    list_push_front(&router->used, &route->used);
    router->count++;
    router_set_leader(router, route, leader != 0 ? leader : old_leader);
    return ROUTER_INSERTED;
}

void router_remove(struct router *router, region_id id, uint64_t epoch_conf, uint64_t epoch_version)
{
    struct route *route = router_find_by_id(router, id);
    if (route && route->epoch_version <= epoch_version && route->epoch_conf <= epoch_conf)
        remove_route(router, route);
}

uint32_t router_count(const struct router *router)
{
    return router->count;
}

void router_check(const struct router *router)
{
    struct router *r = (struct router *)router; /* the tree's macros know no const */
    uint32_t count = 0;
    struct route *before = NULL, *route;
    for (route = RB_MIN(route_tree, &r->tree); route; route = RB_NEXT(route_tree, &r->tree, route)) {
        if (before)
            CHECK(before->end_key.size > 0 && bytes_compare(before->end_key, route->start_key) <= 0);
        CHECK(router_find_by_id(r, route->region_id) == route);
        before = route;
        count++;
    }
    CHECK(count == router->count && count == HASH_COUNT(router->by_id) && count <= router->count_max);
}
