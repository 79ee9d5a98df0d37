/* region_split: what a split makes of a region. Pure, but for the rows it puts.
 *
 *   region 17 [a, z) version 4  --SPLIT at f, p-->  17 [a, f), 18 [f, p), 19 [p, z), all version 6
 *
 * The parent keeps the left part, so its start never moves; the children lie on the same stores with peers of their own.
 * The version grows by the number of children, so that of any two regions that overlap the newer has the greater one.
 * Every replica must come to the same word about an entry: nothing but the parent and the entry is looked at.
 *
 * Owner: whoever holds the pointer. docs/decisions/0008. */
#ifndef STORENODE_REGION_SPLIT_H
#define STORENODE_REGION_SPLIT_H

#include "env/engine.h"
#include "meta/region.h"
#include "raft/raft.h"

enum { REGION_SPLIT_KEYS_MAX = 64 };

/* What an entry made of a region: a split, or a step of a merge (region_merge.h). */
enum region_change { REGION_WAS_SPLIT, REGION_PREPARED, REGION_ROLLED_BACK, REGION_REFUSED, REGION_TOOK_IN };

struct region_split {
    struct region_split *next; /* the user's own */
    raft_index index;          /* of the entry */
    enum region_change change;
    uint32_t count;
    struct region *regions[]; /* owned; [0] is the region as it is now; then children, or what it took in */
};

/* `take_other`: what it took in; NULL: nothing. */
struct region_split *region_change_new(enum region_change change, raft_index index, struct region *take_region,
                                       struct region *take_other);

/* ERR_EPOCH_NOT_MATCH: not of this parent as it is. ERR_INVALID, ERR_KEY_NOT_IN_REGION: keys that do not ascend strictly
 * inside of it, ids that are none. */
enum err region_split_new(const struct region *parent, const struct wire_log_command *command, raft_index index,
                          struct region_split **ret_split);
struct region_split *region_split_copy(const struct region_split *split);
void region_split_free(struct region_split *split); /* NULL is fine */
/* May `keys` become the starts of new regions? The same word as region_split_new's. */
enum err region_split_check_key(const struct region *parent, struct bytes before, struct bytes key);

/* What a store tells of regions in an answer: `region`, and what was cut off it last (may be NULL). Copies into `arena`. */
void region_split_tell(const struct region *region, const struct region_split *last, struct arena *arena,
                       struct wire_kv_reply *reply);

/* Puts the row that says: this region lies here, and its peer is `local_peer`. ERR_INVALID. */
enum err region_put_state(struct engine *engine, struct engine_batch *batch, const struct region *region,
                          peer_id local_peer);
/* ... or: this region lay here, and its peer was `local_peer`. ERR_INVALID. */
enum err region_put_tombstone(struct engine *engine, struct engine_batch *batch, const struct region *region,
                              peer_id local_peer);
/* Puts all rows of a region that begins here. ERR_INVALID: its peers cannot be a group. */
enum err region_put_new(struct engine *engine, struct engine_batch *batch, const struct region *region,
                        peer_id local_peer);

#endif
