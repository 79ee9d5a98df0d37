#include "pd/region_tree.h"

#include <stdlib.h>

#include "base/check.h"
#include "pd/region_order.h"

struct node_peer {
    uint64_t id;
    uint64_t role_and_store; /* role << 56 | store id */
    uint32_t slot;           /* its store's, in `stores` */
    uint32_t position;       /* in that store's array */
};

struct region_node {
    uint64_t id;
    uint64_t conf, version;
    uint64_t term;
    uint64_t size, keys;
    uint32_t read_load, write_load;
    uint32_t mark;
    uint32_t split_s;
    uint32_t down_mask, pending_mask;
    uint16_t start_size, end_size;
    uint8_t peer_count;
    uint8_t leader; /* index of the peer + 1; 0: not known */
    struct node_peer peers[];
    /* behind the peers: start key, end key */
};

/* A store that some region has a peer on. Its slot stays its own until the tree is reset. */
struct node_store {
    store_id id;
    struct region_sums sums;
    uint32_t capacity;
    struct region_node **nodes; /* owned; leaders first */
};

struct region_tree {
    struct region_order order;
    struct region_node **by_id; /* owned; open addressing, linear probing; a power of two, at most 3/4 full */
    uint64_t by_id_capacity, count;
    struct node_store *stores;   /* owned; by slot */
    uint32_t *slots_by_store_id; /* owned; slots in order of store id */
    uint32_t store_count, store_capacity;
};

enum { ROLE_SHIFT = 56, BY_ID_CAPACITY_MIN = 64, NODES_CAPACITY_MIN = 16 };
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

/* An empty end is the end of the key space. */
static bool ends_after(struct bytes end, struct bytes key)
{
    return end.size == 0 || bytes_compare(end, key) > 0;
}

/* ---- by id */

static uint64_t home_of(const struct region_tree *tree, region_id id)
{
    return (id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (tree->by_id_capacity - 1);
}

/* Where it is, or the empty place where it would be. */
static uint64_t place_of(const struct region_tree *tree, region_id id)
{
    uint64_t place = home_of(tree, id);
    while (tree->by_id[place] && tree->by_id[place]->id != id)
        place = (place + 1) & (tree->by_id_capacity - 1);
    return place;
}

static void by_id_resize(struct region_tree *tree, uint64_t capacity)
{
    struct region_node **old = tree->by_id;
    uint64_t old_capacity = tree->by_id_capacity;
    tree->by_id = calloc(capacity, sizeof(struct region_node *));
    CHECK(tree->by_id);
    tree->by_id_capacity = capacity;
    for (uint64_t i = 0; i < old_capacity; i++)
        if (old[i])
            tree->by_id[place_of(tree, old[i]->id)] = old[i];
    free(old);
}

static void by_id_add(struct region_tree *tree, struct region_node *node)
{
    if ((tree->count + 1) * 4 > tree->by_id_capacity * 3)
        by_id_resize(tree, tree->by_id_capacity * 2);
    tree->by_id[place_of(tree, node->id)] = node;
    tree->count++;
}

/* What follows moves up, unless it would come to stand before its home. */
static void by_id_remove(struct region_tree *tree, region_id id)
{
    uint64_t mask = tree->by_id_capacity - 1, hole = place_of(tree, id);
    CHECK(tree->by_id[hole]);
    for (uint64_t place = (hole + 1) & mask; tree->by_id[place]; place = (place + 1) & mask) {
        uint64_t home = home_of(tree, tree->by_id[place]->id);
        if (((place - home) & mask) < ((place - hole) & mask))
            continue;
        tree->by_id[hole] = tree->by_id[place];
        hole = place;
    }
    tree->by_id[hole] = NULL;
    tree->count--;
}

struct region_node *region_tree_find_id(const struct region_tree *tree, region_id id)
{
    return tree->by_id[place_of(tree, id)];
}

/* ---- by store */

static uint32_t store_position(const struct region_tree *tree, store_id id)
{
    uint32_t low = 0, high = tree->store_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (tree->stores[tree->slots_by_store_id[middle]].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct node_store *find_store(const struct region_tree *tree, store_id id)
{
    uint32_t position = store_position(tree, id);
    if (position == tree->store_count)
        return NULL;
    struct node_store *store = &tree->stores[tree->slots_by_store_id[position]];
    return store->id == id ? store : NULL;
}

static uint32_t slot_of(struct region_tree *tree, store_id id)
{
    uint32_t position = store_position(tree, id);
    if (position < tree->store_count && tree->stores[tree->slots_by_store_id[position]].id == id)
        return tree->slots_by_store_id[position];
    if (tree->store_count == tree->store_capacity) {
        tree->store_capacity = tree->store_capacity ? tree->store_capacity * 2 : 16;
        tree->stores = realloc(tree->stores, tree->store_capacity * sizeof(*tree->stores));
        tree->slots_by_store_id =
            realloc(tree->slots_by_store_id, tree->store_capacity * sizeof(*tree->slots_by_store_id));
        CHECK(tree->stores && tree->slots_by_store_id);
    }
    uint32_t slot = tree->store_count;
    memmove(&tree->slots_by_store_id[position + 1], &tree->slots_by_store_id[position],
            (tree->store_count - position) * sizeof(*tree->slots_by_store_id));
    tree->slots_by_store_id[position] = slot;
    tree->stores[slot] = (struct node_store){.id = id};
    tree->store_count++;
    return slot;
}

static struct node_peer *peer_in_slot(struct region_node *node, uint32_t slot)
{
    uint32_t i = 0;
    while (node->peers[i].slot != slot)
        i++;
    return &node->peers[i];
}

static void put_at(struct node_store *store, uint32_t slot, uint32_t position, struct region_node *node)
{
    store->nodes[position] = node;
    peer_in_slot(node, slot)->position = position;
}

static void swap_positions(struct node_store *store, uint32_t slot, uint32_t a, uint32_t b)
{
    struct region_node *node = store->nodes[a];
    put_at(store, slot, a, store->nodes[b]);
    put_at(store, slot, b, node);
}

/* Becomes a leader there, or is one no longer: the border between the two parts of the array moves by one. */
static void count_leader(struct region_tree *tree, struct region_node *node, bool add)
{
    if (node->leader == 0)
        return;
    struct node_peer *peer = &node->peers[node->leader - 1];
    struct node_store *store = &tree->stores[peer->slot];
    store->sums.leader_count -= !add;
    swap_positions(store, peer->slot, peer->position, store->sums.leader_count);
    store->sums.leader_count += add;
    store->sums.read_load += add ? node->read_load : (uint64_t)0 - node->read_load;
}

static void count_peers(struct region_tree *tree, const struct region_node *node, bool add)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct region_sums *sums = &tree->stores[node->peers[i].slot].sums;
        sums->size += add ? node->size : 0 - node->size;
        sums->write_load += add ? node->write_load : (uint64_t)0 - node->write_load;
        sums->learner_count += (add ? 1U : 0U - 1U) * (node->peers[i].role_and_store >> ROLE_SHIFT == WIRE_PEER_ROLE_LEARNER);
    }
}

static void stores_add(struct region_tree *tree, struct region_node *node)
{
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct node_store *store = &tree->stores[node->peers[i].slot];
        if (store->sums.count == store->capacity) {
            store->capacity = store->capacity ? store->capacity + store->capacity / 4 : NODES_CAPACITY_MIN;
            store->nodes = realloc(store->nodes, store->capacity * sizeof(struct region_node *));
            CHECK(store->nodes);
        }
        put_at(store, node->peers[i].slot, store->sums.count++, node);
    }
    count_peers(tree, node, true);
    count_leader(tree, node, true);
}

static void stores_remove(struct region_tree *tree, struct region_node *node)
{
    count_leader(tree, node, false);
    count_peers(tree, node, false);
    for (uint32_t i = 0; i < node->peer_count; i++) {
        struct node_store *store = &tree->stores[node->peers[i].slot];
        swap_positions(store, node->peers[i].slot, node->peers[i].position, store->sums.count - 1);
        store->sums.count--;
    }
}

struct region_sums region_tree_sums(const struct region_tree *tree, store_id store)
{
    const struct node_store *found = find_store(tree, store);
    return found ? found->sums : (struct region_sums){0};
}

struct region_node *region_tree_at(const struct region_tree *tree, store_id store, uint32_t position)
{
    const struct node_store *found = find_store(tree, store);
    return found && position < found->sums.count ? found->nodes[position] : NULL;
}

/* ---- life */

struct region_tree *region_tree_new(void)
{
    struct region_tree *tree = calloc(1, sizeof(*tree));
    CHECK(tree);
    by_id_resize(tree, BY_ID_CAPACITY_MIN);
    return tree;
}

static void node_remove(struct region_tree *tree, struct region_node *node)
{
    region_order_remove(&tree->order, node);
    by_id_remove(tree, node->id);
    stores_remove(tree, node);
    free(node);
}

static void forget_all(struct region_tree *tree)
{
    for (uint64_t i = 0; i < tree->by_id_capacity; i++)
        free(tree->by_id[i]);
    for (uint32_t i = 0; i < tree->store_count; i++)
        free(tree->stores[i].nodes);
    region_order_fini(&tree->order);
    free(tree->by_id);
    free(tree->stores);
    free(tree->slots_by_store_id);
    *tree = (struct region_tree){0};
}

void region_tree_reset(struct region_tree *tree)
{
    forget_all(tree);
    by_id_resize(tree, BY_ID_CAPACITY_MIN);
}

void region_tree_free(struct region_tree *tree)
{
    if (!tree)
        return;
    forget_all(tree);
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

static struct region_node *node_new(struct region_tree *tree, const struct wire_region *region)
{
    size_t peers_size = region->peers_count * sizeof(((struct region_node *)NULL)->peers[0]);
    struct region_node *node = calloc(1, sizeof(*node) + peers_size + region->start_key.size + region->end_key.size);
    CHECK(node);
    node->id = region->id;
    node->conf = region->epoch_conf;
    node->version = region->epoch_version;
    node->start_size = (uint16_t)region->start_key.size;
    node->end_size = (uint16_t)region->end_key.size;
    node->peer_count = (uint8_t)region->peers_count;
    for (uint32_t i = 0; i < region->peers_count; i++)
        node->peers[i] = (struct node_peer){.id = region->peers[i].id,
                                            .role_and_store = (uint64_t)region->peers[i].role << ROLE_SHIFT |
                                                              region->peers[i].store_id,
                                            .slot = slot_of(tree, region->peers[i].store_id)};
    uint8_t *keys = (uint8_t *)&node->peers[node->peer_count];
    if (region->start_key.size)
        memcpy(keys, region->start_key.data, region->start_key.size);
    if (region->end_key.size)
        memcpy(keys + region->start_key.size, region->end_key.data, region->end_key.size);
    return node;
}

struct region_node *region_tree_find(const struct region_tree *tree, struct bytes key)
{
    struct region_node *node = region_order_at_or_before(&tree->order, key);
    return node && ends_after(region_node_end(node), key) ? node : NULL;
}

struct region_node *region_tree_find_previous(const struct region_tree *tree, struct bytes key)
{
    struct region_node *node;
    if (key.size == 0) {
        node = region_order_last(&tree->order);
        return node && node->end_size == 0 ? node : NULL;
    }
    node = region_order_at_or_before(&tree->order, key);
    if (node && bytes_equal(region_node_start(node), key))
        node = region_order_previous(&tree->order, node);
    if (!node)
        return NULL;
    struct bytes end = region_node_end(node);
    return end.size == 0 || bytes_compare(end, key) >= 0 ? node : NULL;
}

struct region_node *region_tree_seek(const struct region_tree *tree, struct bytes key)
{
    struct region_node *node = region_order_at_or_before(&tree->order, key);
    if (!node)
        return region_order_first(&tree->order);
    return ends_after(region_node_end(node), key) ? node : region_order_next(&tree->order, node);
}

struct region_node *region_tree_next(const struct region_tree *tree, struct region_node *node)
{
    return region_order_next(&tree->order, node);
}

uint64_t region_tree_count(const struct region_tree *tree)
{
    return tree->count;
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
         node = region_order_next(&tree->order, node))
        if (node->id != region->id && node->version >= region->epoch_version)
            return ERR_EPOCH_NOT_MATCH;
    return ERR_OK;
}

static uint8_t leader_index(const struct region_node *node, peer_id id)
{
    for (uint8_t i = 0; id != 0 && i < node->peer_count; i++)
        if (node->peers[i].id == id)
            return (uint8_t)(i + 1);
    return 0;
}

/* How big and busy it is stays about true for a newer epoch; who leads it only if that peer is still one. */
static void keep_seen(struct region_node *node, const struct region_node *old)
{
    node->size = old->size;
    node->keys = old->keys;
    node->read_load = old->read_load;
    node->write_load = old->write_load;
    node->mark = old->mark;
    node->split_s = old->split_s;
    if (old->leader)
        node->leader = leader_index(node, old->peers[old->leader - 1].id);
    if (node->leader)
        node->term = old->term;
}

void region_tree_see(struct region_tree *tree, struct region_node *node, const struct region_seen *seen)
{
    uint8_t leader = leader_index(node, seen->leader_peer);
    CHECK(leader != 0 || seen->leader_peer == 0);
    count_leader(tree, node, false);
    count_peers(tree, node, false);
    node->leader = leader;
    node->term = seen->term;
    node->size = seen->approximate_size;
    node->down_mask = seen->down_mask;
    node->pending_mask = seen->pending_mask;
    node->keys = seen->approximate_keys;
    node->read_load = seen->read_load;
    node->write_load = seen->write_load;
    count_peers(tree, node, true);
    count_leader(tree, node, true);
}

void region_tree_forget_seen(struct region_tree *tree)
{
    const struct region_seen nothing = {0};
    for (uint64_t i = 0; i < tree->by_id_capacity; i++)
        if (tree->by_id[i])
            region_tree_see(tree, tree->by_id[i], &nothing);
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

    struct region_node *node = node_new(tree, region);
    if (old) {
        keep_seen(node, old);
        node_remove(tree, old);
    }
    struct region_node *overlap = region_tree_seek(tree, region->start_key);
    while (overlap && node_overlaps(overlap, region)) {
        struct region_node *following = region_order_next(&tree->order, overlap);
        uint64_t id = overlap->id;
        node_remove(tree, overlap);
        if (replaced)
            replaced(context, id);
        overlap = following;
    }
    region_order_insert(&tree->order, node);
    by_id_add(tree, node);
    stores_add(tree, node);
    return ERR_OK;
}

bool region_tree_gap(const struct region_tree *tree, struct bytes from, struct bytes *ret_start, struct bytes *ret_end)
{
    struct bytes covered = from; /* all before it is */
    for (struct region_node *node = region_tree_seek(tree, from); node;
         node = region_order_next(&tree->order, node)) {
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

uint32_t region_node_peer_count(const struct region_node *node)
{
    return node->peer_count;
}
struct wire_peer region_node_peer(const struct region_node *node, uint32_t index)
{
    const struct node_peer *peer = &node->peers[index];
    return (struct wire_peer){.id = peer->id,
                              .store_id = peer->role_and_store & STORE_MASK,
                              .role = (uint8_t)(peer->role_and_store >> ROLE_SHIFT)};
}

void region_node_wire(const struct region_node *node, struct wire_peer *peers, struct wire_region *ret_region)
{
    for (uint32_t i = 0; i < node->peer_count; i++)
        peers[i] = region_node_peer(node, i);
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

struct region_seen region_node_seen(const struct region_node *node)
{
    return (struct region_seen){.leader_peer = node->leader ? node->peers[node->leader - 1].id : 0,
                                .term = node->term,
                                .approximate_size = node->size,
                                .approximate_keys = node->keys,
                                .read_load = node->read_load,
                                .write_load = node->write_load,
                                .down_mask = node->down_mask,
                                .pending_mask = node->pending_mask};
}

store_id region_node_leader_store(const struct region_node *node)
{
    return node->leader ? node->peers[node->leader - 1].role_and_store & STORE_MASK : 0;
}

uint32_t region_node_mark(const struct region_node *node)
{
    return node->mark;
}

void region_node_set_mark(struct region_node *node, uint32_t mark)
{
    node->mark = mark;
}

uint32_t region_node_split_s(const struct region_node *node)
{
    return node->split_s;
}

void region_node_set_split_s(struct region_node *node, uint32_t split_s)
{
    node->split_s = split_s;
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

static void check_store(const struct region_tree *tree, const struct node_store *store)
{
    struct region_sums sums = {.count = store->sums.count, .leader_count = store->sums.leader_count};
    for (uint32_t i = 0; i < store->sums.count; i++) {
        struct region_node *node = store->nodes[i];
        const struct node_peer *peer = peer_in_slot(node, (uint32_t)(store - tree->stores));
        CHECK(peer->position == i);
        CHECK((node->leader != 0 && peer == &node->peers[node->leader - 1]) == (i < store->sums.leader_count));
        CHECK(region_tree_find_id(tree, node->id) == node);
        sums.size += node->size;
        sums.write_load += node->write_load;
        sums.read_load += i < store->sums.leader_count ? node->read_load : 0;
        sums.learner_count += peer->role_and_store >> ROLE_SHIFT == WIRE_PEER_ROLE_LEARNER;
    }
    CHECK(sums.size == store->sums.size && sums.write_load == store->sums.write_load);
    CHECK(sums.read_load == store->sums.read_load && sums.learner_count == store->sums.learner_count);
}

void region_tree_check(const struct region_tree *tree)
{
    uint64_t peers = 0, places = 0;
    region_order_check(&tree->order);
    uint64_t count = 0;
    struct region_node *previous = NULL;
    for (struct region_node *node = region_order_first(&tree->order); node;
         node = region_order_next(&tree->order, node)) {
        CHECK(ends_after(region_node_end(node), region_node_start(node)));
        CHECK(region_tree_find_id(tree, node->id) == node);
        if (previous)
            CHECK(previous->end_size > 0 && bytes_compare(region_node_end(previous), region_node_start(node)) <= 0);
        previous = node;
        peers += node->peer_count;
        count++;
    }
    for (uint32_t i = 0; i < tree->store_count; i++) {
        check_store(tree, &tree->stores[i]);
        places += tree->stores[i].sums.count;
    }
    CHECK(places == peers); /* each peer is in an array, and check_store found nothing else there */
    CHECK(count == region_tree_count(tree));
}
