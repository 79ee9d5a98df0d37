#include "pd/region_tree.h"

#include <stdlib.h>

#include <bsd/sys/tree.h>
#include <uthash.h>

#include "base/check.h"

struct region_node {
    RB_ENTRY(region_node) link;
    UT_hash_handle hh;
    uint64_t id;
    uint64_t conf, version;
    struct region_seen seen;
    uint32_t start_size, end_size;
    uint32_t peer_count;
    struct {
        uint64_t id;
        uint64_t role_and_store; /* role << 56 | store id */
    } peers[];
    /* behind the peers: start key, end key */
};

RB_HEAD(region_order, region_node);

struct region_tree {
    struct region_order order;
    struct region_node *by_id;
};

enum { ROLE_SHIFT = 56 };
#define STORE_MASK ((UINT64_C(1) << ROLE_SHIFT) - 1)

static const uint8_t *node_keys(const struct region_node *node)
{
    return (const uint8_t *)&node->peers[node->peer_count];
}

struct bytes region_node_start(const struct region_node *node)
{
    return bytes_of(node_keys(node), node->start_size);
}

struct bytes region_node_end(const struct region_node *node)
{
    return bytes_of(node_keys(node) + node->start_size, node->end_size);
}

static int node_compare(const struct region_node *a, const struct region_node *b)
{
    return bytes_compare(region_node_start(a), region_node_start(b));
}

/* RB_GENERATE_STATIC wants __unused, which Debian's libbsd leaves out. */
RB_GENERATE_INTERNAL(region_order, region_node, link, node_compare, __attribute__((unused)) static)

/* An empty end is the end of the key space. */
static bool ends_after(struct bytes end, struct bytes key)
{
    return end.size == 0 || bytes_compare(end, key) > 0;
}

struct region_tree *region_tree_new(void)
{
    struct region_tree *tree = calloc(1, sizeof(*tree));
    CHECK(tree);
    RB_INIT(&tree->order);
    return tree;
}

static void node_remove(struct region_tree *tree, struct region_node *node)
{
    RB_REMOVE(region_order, &tree->order, node);
    HASH_DEL(tree->by_id, node);
    free(node);
}

void region_tree_reset(struct region_tree *tree)
{
    struct region_node *node, *following;
    HASH_CLEAR(hh, tree->by_id);
    for (node = RB_MIN(region_order, &tree->order); node; node = following) {
        following = RB_NEXT(region_order, &tree->order, node);
        RB_REMOVE(region_order, &tree->order, node);
        free(node);
    }
}

void region_tree_free(struct region_tree *tree)
{
    if (!tree)
        return;
    region_tree_reset(tree);
    free(tree);
}

static enum err check_peers(const struct wire_region *region, struct error *err)
{
    if (region->peers_count == 0 || region->peers_count > REGION_PEER_COUNT_MAX)
        return error_set(err, ERR_INVALID, "region %llu has %u peers", (unsigned long long)region->id,
                         region->peers_count);
    for (uint32_t i = 0; i < region->peers_count; i++) {
        const struct wire_peer *peer = &region->peers[i];
        if (peer->id == 0 || peer->store_id == 0 || peer->store_id > STORE_MASK ||
            peer->role > WIRE_PEER_ROLE_DEMOTING_VOTER)
            return error_set(err, ERR_INVALID, "region %llu has a malformed peer %llu", (unsigned long long)region->id,
                             (unsigned long long)peer->id);
        for (uint32_t k = 0; k < i; k++)
            if (region->peers[k].id == peer->id || region->peers[k].store_id == peer->store_id)
                return error_set(err, ERR_INVALID, "region %llu has two peers %llu, or two peers on store %llu",
                                 (unsigned long long)region->id, (unsigned long long)peer->id,
                                 (unsigned long long)peer->store_id);
    }
    return ERR_OK;
}

enum err region_check_wire(const struct wire_region *region, struct error *err)
{
    if (region->id == 0)
        return error_set(err, ERR_INVALID, "a region without an id");
    if (region->epoch_conf == 0 || region->epoch_version == 0)
        return error_set(err, ERR_INVALID, "region %llu has no epoch", (unsigned long long)region->id);
    if (region->start_key.size > REGION_KEY_SIZE_MAX || region->end_key.size > REGION_KEY_SIZE_MAX)
        return error_set(err, ERR_INVALID, "region %llu has a boundary of %zu bytes", (unsigned long long)region->id,
                         region->start_key.size > region->end_key.size ? region->start_key.size : region->end_key.size);
    if (!ends_after(region->end_key, region->start_key))
        return error_set(err, ERR_INVALID, "region %llu ends before it starts", (unsigned long long)region->id);
    return check_peers(region, err);
}

static struct region_node *node_new(const struct wire_region *region)
{
    size_t peers_size = region->peers_count * sizeof(((struct region_node *)NULL)->peers[0]);
    struct region_node *node = calloc(1, sizeof(*node) + peers_size + region->start_key.size + region->end_key.size);
    CHECK(node);
    node->id = region->id;
    node->conf = region->epoch_conf;
    node->version = region->epoch_version;
    node->start_size = (uint32_t)region->start_key.size;
    node->end_size = (uint32_t)region->end_key.size;
    node->peer_count = region->peers_count;
    for (uint32_t i = 0; i < region->peers_count; i++) {
        node->peers[i].id = region->peers[i].id;
        node->peers[i].role_and_store = (uint64_t)region->peers[i].role << ROLE_SHIFT | region->peers[i].store_id;
    }
    uint8_t *keys = (uint8_t *)&node->peers[node->peer_count];
    if (region->start_key.size)
        memcpy(keys, region->start_key.data, region->start_key.size);
    if (region->end_key.size)
        memcpy(keys + region->start_key.size, region->end_key.data, region->end_key.size);
    return node;
}

/* The last region that starts at or before `key`. */
static struct region_node *node_at_or_before(const struct region_tree *tree, struct bytes key)
{
    struct region_node *node = RB_ROOT(&tree->order), *best = NULL;
    while (node) {
        if (bytes_compare(region_node_start(node), key) <= 0) {
            best = node;
            node = RB_RIGHT(node, link);
        } else {
            node = RB_LEFT(node, link);
        }
    }
    return best;
}

struct region_node *region_tree_find(const struct region_tree *tree, struct bytes key)
{
    struct region_node *node = node_at_or_before(tree, key);
    return node && ends_after(region_node_end(node), key) ? node : NULL;
}

struct region_node *region_tree_find_previous(const struct region_tree *tree, struct bytes key)
{
    struct region_node *node;
    if (key.size == 0) {
        node = RB_MAX(region_order, &((struct region_tree *)tree)->order);
        return node && node->end_size == 0 ? node : NULL;
    }
    node = node_at_or_before(tree, key);
    if (node && bytes_equal(region_node_start(node), key))
        node = RB_PREV(region_order, &tree->order, node);
    if (!node)
        return NULL;
    struct bytes end = region_node_end(node);
    return end.size == 0 || bytes_compare(end, key) >= 0 ? node : NULL;
}

struct region_node *region_tree_find_id(const struct region_tree *tree, region_id id)
{
    struct region_node *node;
    HASH_FIND(hh, tree->by_id, &id, sizeof(id), node);
    return node;
}

struct region_node *region_tree_seek(const struct region_tree *tree, struct bytes key)
{
    struct region_node *node = node_at_or_before(tree, key);
    if (!node)
        return RB_MIN(region_order, &((struct region_tree *)tree)->order);
    return ends_after(region_node_end(node), key) ? node : RB_NEXT(region_order, &tree->order, node);
}

struct region_node *region_tree_next(const struct region_tree *tree, struct region_node *node)
{
    (void)tree;
    return RB_NEXT(region_order, &tree->order, node);
}

uint64_t region_tree_count(const struct region_tree *tree)
{
    return HASH_COUNT(tree->by_id);
}

static bool node_overlaps(const struct region_node *node, const struct wire_region *region)
{
    return ends_after(region_node_end(node), region->start_key) && ends_after(region->end_key, region_node_start(node));
}

/* Newer in one number and older in the other cannot come from one history: refused like an older one. */
static enum err judge_same_id(const struct region_node *old, const struct wire_region *region)
{
    if (region->epoch_conf < old->conf || region->epoch_version < old->version)
        return ERR_EPOCH_NOT_MATCH;
    return ERR_OK;
}

static bool is_same(const struct region_node *old, const struct wire_region *region)
{
    return region->epoch_conf == old->conf && region->epoch_version == old->version;
}

static enum err judge_overlaps(const struct region_tree *tree, const struct wire_region *region)
{
    for (struct region_node *node = region_tree_seek(tree, region->start_key); node && node_overlaps(node, region);
         node = RB_NEXT(region_order, &tree->order, node))
        if (node->id != region->id && node->version >= region->epoch_version)
            return ERR_EPOCH_NOT_MATCH;
    return ERR_OK;
}

enum err region_tree_insert(struct region_tree *tree, const struct wire_region *region, region_replaced replaced,
                            void *context)
{
    CHECK(region_check_wire(region, NULL) == ERR_OK);
    struct region_node *old = region_tree_find_id(tree, region->id);
    if (old && judge_same_id(old, region) != ERR_OK)
        return ERR_EPOCH_NOT_MATCH;
    if (old && is_same(old, region)) {
        bool same_range = bytes_equal(region_node_start(old), region->start_key) &&
                          bytes_equal(region_node_end(old), region->end_key);
        return same_range ? ERR_OK : ERR_EPOCH_NOT_MATCH; /* one epoch, one range: somebody is wrong, keep ours */
    }
    if (judge_overlaps(tree, region) != ERR_OK)
        return ERR_EPOCH_NOT_MATCH;

    struct region_node *node = node_new(region);
    if (old) {
        if (region_node_store_of(node, old->seen.leader_peer) != 0)
            node->seen = old->seen;
        node_remove(tree, old);
    }
    struct region_node *overlap = region_tree_seek(tree, region->start_key);
    while (overlap && node_overlaps(overlap, region)) {
        struct region_node *following = RB_NEXT(region_order, &tree->order, overlap);
        uint64_t id = overlap->id;
        node_remove(tree, overlap);
        if (replaced)
            replaced(context, id);
        overlap = following;
    }
    RB_INSERT(region_order, &tree->order, node);
    HASH_ADD(hh, tree->by_id, id, sizeof(node->id), node);
    return ERR_OK;
}

bool region_tree_gap(const struct region_tree *tree, struct bytes from, struct bytes *ret_start, struct bytes *ret_end)
{
    struct bytes covered = from; /* all before it is */
    for (struct region_node *node = region_tree_seek(tree, from); node;
         node = RB_NEXT(region_order, &tree->order, node)) {
        if (bytes_compare(region_node_start(node), covered) > 0) {
            *ret_start = covered;
            *ret_end = region_node_start(node);
            return true;
        }
        covered = region_node_end(node);
        if (covered.size == 0)
            return false;
    }
    *ret_start = covered;
    *ret_end = bytes_empty();
    return true;
}

void region_node_wire(const struct region_node *node, struct wire_peer *peers, struct wire_region *ret_region)
{
    for (uint32_t i = 0; i < node->peer_count; i++)
        peers[i] = (struct wire_peer){.id = node->peers[i].id,
                                      .store_id = node->peers[i].role_and_store & STORE_MASK,
                                      .role = (uint8_t)(node->peers[i].role_and_store >> ROLE_SHIFT)};
    *ret_region = (struct wire_region){.id = node->id,
                                       .start_key = region_node_start(node),
                                       .end_key = region_node_end(node),
                                       .epoch_conf = node->conf,
                                       .epoch_version = node->version,
                                       .peers = peers,
                                       .peers_count = node->peer_count};
}

uint64_t region_node_id(const struct region_node *node)
{
    return node->id;
}

uint64_t region_node_conf(const struct region_node *node)
{
    return node->conf;
}

uint64_t region_node_version(const struct region_node *node)
{
    return node->version;
}

uint64_t region_node_first_peer(const struct region_node *node)
{
    return node->peers[0].id;
}

struct region_seen *region_node_seen(struct region_node *node)
{
    return &node->seen;
}

uint64_t region_node_store_of(const struct region_node *node, peer_id id)
{
    for (uint32_t i = 0; i < node->peer_count; i++)
        if (node->peers[i].id == id)
            return node->peers[i].role_and_store & STORE_MASK;
    return 0;
}

bool region_node_has_store(const struct region_node *node, store_id id)
{
    for (uint32_t i = 0; i < node->peer_count; i++)
        if ((node->peers[i].role_and_store & STORE_MASK) == id)
            return true;
    return false;
}

size_t region_node_size(const struct region_node *node)
{
    return sizeof(*node) + node->peer_count * sizeof(node->peers[0]) + node->start_size + node->end_size;
}

void region_tree_check(const struct region_tree *tree)
{
    uint64_t count = 0;
    struct region_node *previous = NULL;
    for (struct region_node *node = RB_MIN(region_order, &((struct region_tree *)tree)->order); node;
         node = RB_NEXT(region_order, &tree->order, node)) {
        CHECK(ends_after(region_node_end(node), region_node_start(node)));
        CHECK(region_tree_find_id(tree, node->id) == node);
        if (previous)
            CHECK(previous->end_size > 0 && bytes_compare(region_node_end(previous), region_node_start(node)) <= 0);
        previous = node;
        count++;
    }
    CHECK(count == region_tree_count(tree));
}
