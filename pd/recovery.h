/* recovery: the way back when the majority of some regions is gone for good: what is left in, plan out. Pure.
 *
 * For each region without a majority of its voters the replica is chosen whose log is the most up to date, by the rule by
 * which Raft elects: last term, then last index. If anything that is left of the region knows an entry to be committed, that
 * log has it (leader completeness), so nothing is lost that somebody who is left could have served. What is behind the highest
 * commit index that is known may or may not have been acknowledged: it is kept. What only lost stores had is lost.
 *
 *   healthy      a majority is there, or it is led: not touched; its lost members are replaced as those that are down
 *   force        the chosen replica leads alone for a while (storenode/peer_force.h)
 *   superseded   a newer region has some of its keys: two would have them. It stays as it is, and serves nothing
 *   gone         no replica that can be used is left: its keys are a hole, unless others have them
 *
 * The epoch that a forced region gets is above all that is known of it, by RECOVERY_CONF_STEP: the lost stores could
 * have agreed on changes that nobody else has heard of, but not on so many. Its version is raised where pd knows of newer
 * regions with its keys of which nothing is left, so that it takes their place.
 *
 * Owner: who asks; all bytes are borrowed from reports and tree. docs/decisions/0021. */
#ifndef PD_RECOVERY_H
#define PD_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"
#include "pd/region_tree.h"
#include "proto/wire.h"

enum { RECOVERY_CONF_STEP = 1000 };

/* A replica that is left, as its store says. */
struct recovery_replica {
    store_id store;
    const struct wire_peer_report *report; /* its region is never NULL */
};

struct recovery_view {
    const store_id *lost;
    uint32_t lost_count;
    struct recovery_replica *replicas; /* is sorted */
    uint32_t replica_count;
    const struct region_tree *regions; /* as pd knows them */
};

enum recovery_kind { RECOVERY_FORCE, RECOVERY_SUPERSEDED, RECOVERY_GONE };

/* A region that has no majority. */
struct recovery_region {
    region_id region;
    enum recovery_kind kind;
    bool forced;    /* it leads alone just now */
    store_id store; /* force, superseded: who was chosen */
    peer_id peer;
    struct bytes start_key, end_key;
    uint64_t epoch_conf, epoch_version;           /* as that replica knows it */
    uint64_t epoch_conf_next, epoch_version_next; /* 0: as usual */
    raft_term last_term;
    raft_index last_index, applied_index, committed_index; /* the highest that any replica knows to be committed */
    uint32_t voters, lost, left, damaged;                  /* of the newest members that are known */
    region_id by;                                          /* superseded: the newer one */
    struct bytes refused; /* what spoke against it at its store; empty: nothing, or it was not told */
};

struct recovery_hole {
    struct bytes start_key, end_key;
    region_id region; /* that had the first of these keys, as pd knows it; 0: none */
};

struct recovery_plan {
    struct recovery_region *regions; /* owned, by id; healthy ones are not listed */
    uint32_t region_count;
    struct recovery_hole *holes; /* owned, in key order */
    uint32_t hole_count;
    uint32_t healthy_count, force_count;
    uint64_t digest; /* of all that `apply` would do: another one, another plan */
    /* inner */
    struct region_tree *claims; /* owned; holes borrow from it */
};

void recovery_make(const struct recovery_view *view, struct recovery_plan *ret_plan);
void recovery_fini(struct recovery_plan *plan);
const char *recovery_kind_name(enum recovery_kind kind);

#endif
