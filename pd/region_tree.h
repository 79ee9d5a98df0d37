/* region_tree: which region holds a key, at the newest epoch that pd has heard of; and which regions a store has.
 *
 * Regions ordered by start key, and found by id. A region that comes in with a newer epoch replaces every older one
 * that it overlaps; an older one is refused. So after a split is reported in any order the tree ends with the newest
 * regions, in between it may have gaps (region_tree_gap): a gap is told, never filled by guessing.
 *
 * What is known of a region beyond its descriptor (who leads it, how big it is, how busy) is kept in its `seen`: that
 * part is cluster's, not replicated, and lost with the region's record.
 *
 * Of each store there is an array of the regions with a peer there, those it leads in front, and what they sum up to.
 * A peer knows its place in that array, so that all changes are O(1), and the policies can draw a region or a led
 * region of a store by chance without looking at any other.
 *
 * Owner: whoever owns the tree. Memory: one allocation per region (keys and peers inside), a slot in a hash table (our
 * own: uthash takes 70 bytes a region more, and a chain of cache misses per heartbeat), and 8 bytes per peer in the
 * arrays, 16 to 32 in the order: 250 bytes for three peers and short keys.
 * Invariants (region_tree_check): R1 start < end;  R2 ranges do not overlap;  R3 tree and table hold the same regions;
 * R4 the epoch of a region id never goes back while the region is in the tree;  R5 a store's array holds exactly the
 * regions with a peer there, leaders first;  R6 sums of a store are the sums of its regions. */
#ifndef PD_REGION_TREE_H
#define PD_REGION_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/types.h"
#include "proto/wire.h"

enum {
    REGION_PEER_COUNT_MAX = 32,
    REGION_KEY_SIZE_MAX = 2 * KEY_SIZE_MAX, /* encoded: mode prefix, escapes, timestamp */
};

/* Reported by the leader's store. */
struct region_seen {
    uint64_t leader_peer; /* 0: not known */
    uint64_t term;
    uint64_t approximate_size;
    uint64_t approximate_keys;
    uint32_t read_load, write_load; /* decayed, per second; in a unit that the caller keeps to */
    uint32_t down_mask, pending_mask; /* bits by position of the peer: not heard of; far behind. As its leader says */
};

/* What a store has. */
struct region_sums {
    uint32_t count, leader_count;
    uint32_t learner_count;
    uint64_t size;                  /* of all peers */
    uint64_t read_load, write_load; /* of the regions led here; of all peers */
};

struct region_node; /* one region; valid until the next insert, remove or reset */
struct region_tree;

struct region_tree *region_tree_new(void);
void region_tree_free(struct region_tree *tree); /* NULL is fine */
void region_tree_reset(struct region_tree *tree);

/* Whether `region` can be one at all: ids, range, peers, sizes. ERR_INVALID and a text. For bytes from outside. */
enum err region_check_wire(const struct wire_region *region, struct error *err);

/* Tells the insert below what it replaced. */
typedef void (*region_replaced)(void *context, region_id id);

/* `region` must pass region_check_wire (CHECK).
 * ERR_OK: it is in the tree; `replaced` was called for each other region that it pushed out. The same region at the
 * same epoch and range is ERR_OK too and changes nothing; a newer one keeps what was seen if its leader is still a
 * peer. ERR_EPOCH_NOT_MATCH: the tree knows newer: the same id with a higher conf or version, or an overlapping region
 * whose version is not lower. Nothing was changed. */
enum err region_tree_insert(struct region_tree *tree, const struct wire_region *region, region_replaced replaced,
                            void *context);

/* What the leader's store says of it. The leader must be a peer, or 0 (CHECK). */
void region_tree_see(struct region_tree *tree, struct region_node *node, const struct region_seen *seen);
/* Nothing is known any more beyond descriptors: a new leader of pd begins so. */
void region_tree_forget_seen(struct region_tree *tree);

/* The region that contains `key`; NULL in a gap. */
struct region_node *region_tree_find(const struct region_tree *tree, struct bytes key);
/* The region that contains the bytes just before `key` (an empty key: the end of the key space); NULL in a gap. */
struct region_node *region_tree_find_previous(const struct region_tree *tree, struct bytes key);
struct region_node *region_tree_find_id(const struct region_tree *tree, region_id id);
/* The first region that ends behind `key`, so a scan from `key` begins with it. */
struct region_node *region_tree_seek(const struct region_tree *tree, struct bytes key);
struct region_node *region_tree_next(const struct region_tree *tree, struct region_node *node);
uint64_t region_tree_count(const struct region_tree *tree);

/* All zero for a store without regions. */
struct region_sums region_tree_sums(const struct region_tree *tree, store_id store);
/* The regions of a store by position: leaders are 0 .. leader_count-1, the others up to count-1. The order changes with
 * every insert and region_tree_see. NULL: no such position. */
struct region_node *region_tree_at(const struct region_tree *tree, store_id store, uint32_t position);

/* The first gap at or behind `from`: [*ret_start, *ret_end), borrowed from the tree or from `from`. False: none. */
bool region_tree_gap(const struct region_tree *tree, struct bytes from, struct bytes *ret_start, struct bytes *ret_end);

/* The descriptor as it travels: all pointers are borrowed from the node. `peers` must hold REGION_PEER_COUNT_MAX. */
void region_node_wire(const struct region_node *node, struct wire_peer *peers, struct wire_region *ret_region);
uint64_t region_node_id(const struct region_node *node);
struct bytes region_node_start(const struct region_node *node);
struct bytes region_node_end(const struct region_node *node);
/* The store of one of its peers; 0: no such peer. */
uint64_t region_node_store_of(const struct region_node *node, peer_id id);
bool region_node_has_store(const struct region_node *node, store_id id);
uint64_t region_node_conf(const struct region_node *node);
uint64_t region_node_version(const struct region_node *node);
/* The first of the peers: at bootstrap the one that should campaign. */
uint64_t region_node_first_peer(const struct region_node *node);
struct region_seen region_node_seen(const struct region_node *node);
uint32_t region_node_peer_count(const struct region_node *node);
struct wire_peer region_node_peer(const struct region_node *node, uint32_t index);
store_id region_node_leader_store(const struct region_node *node); /* 0: not known */
/* A number that the policies keep with a region, 0 at first; it stays over newer epochs. */
uint32_t region_node_mark(const struct region_node *node);
void region_node_set_mark(struct region_node *node, uint32_t mark);
/* When it was last split, in seconds of the caller's clock; 0: not known. Stays over newer epochs. */
uint32_t region_node_split_s(const struct region_node *node);
void region_node_set_split_s(struct region_node *node, uint32_t split_s);
size_t region_node_size(const struct region_node *node); /* memory, for the sum in tests and metrics */

void region_tree_check(const struct region_tree *tree);

#endif
