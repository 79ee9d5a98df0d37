/* region: a range of encoded keys with an id, an epoch and peers; the owned form of table Region.
 *
 * Epoch (conf_version, version): conf_version grows with membership, version with split and merge. A region is newer
 * than another of the same id if neither part is smaller and one is greater.
 *
 * Owner: whoever holds the pointer. */
#ifndef META_REGION_H
#define META_REGION_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/types.h"
#include "proto/wire.h"

enum { REGION_PEERS_MAX = 15, REGION_MERGED_MAX = 256 };

struct region_peer {
    peer_id id;
    store_id store_id;
    uint8_t role; /* WIRE_PEER_ROLE_ */
};

/* Prepared for a merge: the target, its epoch, and the entry that prepared it. */
struct region_merging {
    region_id target;
    uint64_t epoch_conf, epoch_version;
    raft_index index;
    raft_term term;
};

/* Was taken in, its log up to here. */
struct region_merged {
    region_id id;
    raft_index index;
    raft_term term;
};

struct region {
    region_id id;
    uint64_t epoch_conf, epoch_version;
    struct bytes start_key; /* owned; inclusive */
    struct bytes end_key;   /* owned; exclusive; empty: the end of the key space */
    struct region_merging *merging; /* owned; NULL: it is not */
    uint32_t merged_count; /* region_merged_list */
    uint32_t peer_count;
    struct region_peer peers[];
};

/* Checks (id, order of keys, sizes, peers, no id twice) and copies. ERR_INVALID says it is not a region. */
enum err region_from_wire(const struct wire_region *wire, struct region **ret_region);
struct region *region_copy(const struct region *region);
/* A copy at that version; `merging` may be NULL. */
struct region *region_copy_merging(const struct region *region, uint64_t version, const struct region_merging *merging);
void region_free(struct region *region); /* NULL is fine */
/* Borrows the keys; peers are allocated in `arena`. */
struct wire_region region_to_wire(const struct region *region, struct arena *arena);
/* Without what concerns only stores: for clients and pd. */
struct wire_region region_to_wire_brief(const struct region *region, struct arena *arena);
/* What it took in, the oldest first; behind its peers. */
static inline struct region_merged *region_merged_list(const struct region *region)
{
    return (struct region_merged *)(uintptr_t)&region->peers[region->peer_count];
}
static inline bool region_is_merging(const struct region *region)
{
    return region->merging != NULL;
}
/* NULL: it did not take that one in. */
const struct region_merged *region_find_merged(const struct region *region, region_id source);
bool region_overlaps(const struct region *a, const struct region *b);

bool region_contains(const struct region *region, struct bytes key);
/* [start, end) lies inside; an empty end is the end of the key space. */
bool region_contains_range(const struct region *region, struct bytes start, struct bytes end);
const struct region_peer *region_peer_on_store(const struct region *region, store_id store); /* NULL: none */
const struct region_peer *region_peer_by_id(const struct region *region, peer_id peer);      /* NULL: none */

#endif
