/* region_conf: what a change of members makes of a region. Pure.
 *
 *   17 {70@1, 71@2, 72@3} conf 4  --replace 72@3 by 90@4-->   conf 5, joint: {70, 71, 72 demoting, 90 incoming}
 *                                 --leave, by itself----->    conf 6: {70, 71, 90@4}
 *
 * The change is an entry of the core's own kind (raft/membership.h); its context is a table LogCommand (kind conf) that says
 * of which epoch_conf it is, and on which stores its new peers are. An entry without anything leaves a joint membership.
 *
 * Invariants: C1 the peers of a region are the members of its raft configuration, with the roles that these have there.
 *             C2 epoch_conf grows by one with each entry that changes anything.
 * Every replica must come to the same word about an entry: nothing but region, configuration and entry is looked at.
 *
 * Owner: whoever holds the pointer. docs/decisions/0015. */
#ifndef STORENODE_REGION_CONF_H
#define STORENODE_REGION_CONF_H

#include "base/buf.h"
#include "meta/region.h"
#include "raft/raft.h"

/* An entry that changed the members. */
struct region_conf {
    struct region_conf *next; /* the user's own */
    raft_index index;
    struct region *region; /* owned; as it is now */
    struct raft_conf conf;
};

/* ERR_CORRUPT: the entry cannot be read: nothing may follow. Else a refusal, which changes nothing: ERR_EPOCH_NOT_MATCH: not
 * of this membership. ERR_INVALID: it is impossible here. ERR_EXISTS: two peers on one store. */
enum err region_conf_new(const struct region *region, const struct raft_conf *conf, const struct raft_entry *entry,
                         struct region_conf **ret_conf);
void region_conf_free(struct region_conf *conf); /* NULL is fine */

/* Some peer is voter in one half only, and the other half still votes. */
bool region_is_joint(const struct region *region);

struct region_epoch {
    uint64_t conf, version;
};
/* The context of an entry for `region` as it is: the peers that it adds; the least that its epoch is afterwards (all zero:
 * as usual), for who must be newer than what was lost (peer_force.h). */
enum err region_conf_encode(const struct region *region, struct wire_peer *peers, uint32_t peer_count,
                            struct region_epoch least, struct buf *context);

#endif
