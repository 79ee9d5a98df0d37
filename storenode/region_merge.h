/* region_merge: what a merge makes of two neighbours. Pure, but for the rows it puts.
 *
 *   source's log   PREPARE(target, its epoch)   --> the source waits: no writes, no reads, no splits, no other members
 *   all peers of the source have that entry
 *   target's log   COMMIT(source as prepared)   --> the target has both ranges, the source is no more
 *             or   REFUSE, or anything else that changes the target's epoch
 *   source's log   ROLLBACK                     --> the source goes on as if nothing had been
 *
 * The target's log decides. COMMIT counts only at the epoch that PREPARE named, and after it the target's epoch is another;
 * so as soon as the target has any other epoch without having taken the source in (region_merge_judge), it never will.
 * The target keeps the list of all that it took in for that: who got it by a snapshot knows as much as who applied its log.
 *
 * Each step is for one epoch of the region in whose log it is; another one makes it nothing, with the same word on every
 * replica. Versions only grow: PREPARE, REFUSE and ROLLBACK by one; COMMIT makes it greater than both were.
 *
 * Owner: whoever holds the pointer. docs/decisions/0016. */
#ifndef STORENODE_REGION_MERGE_H
#define STORENODE_REGION_MERGE_H

#include "env/engine.h"
#include "meta/region.h"
#include "raft/raft.h"

/* May they be merged, as far as they tell? ERR_EXISTS: one of them is being merged already; ERR_INVALID: no neighbours, or one
 * region; ERR_NOT_READY: not on the same stores with the same roles; ERR_UNSUPPORTED: the target has taken in REGION_MERGED_MAX.
 * `ret_reason`: a text for people. */
enum err region_merge_check(const struct region *source, const struct region *target, const char **ret_reason);

enum region_merge_verdict {
    REGION_MERGE_OPEN,  /* the target may still take it in */
    REGION_MERGE_DONE,  /* it has */
    REGION_MERGE_NEVER, /* it has not and will not */
    REGION_MERGE_BEHIND /* this replica of the target has not come to where the source was prepared for it */
};
enum region_merge_verdict region_merge_judge(const struct region *source, const struct region *target);

/* What a command of its log makes of `region`. Not ERR_OK: nothing, everywhere. */
enum err region_merge_prepare(const struct region *region, const struct wire_log_command *command, raft_index index,
                              raft_term term, struct region **ret_region);
enum err region_merge_rollback(const struct region *region, const struct wire_log_command *command,
                               struct region **ret_region);
/* ERR_CORRUPT is fatal. `ret_source`: as it was prepared. */
enum err region_merge_commit(const struct region *region, const struct wire_log_command *command,
                             struct region **ret_region, struct region **ret_source);
enum err region_merge_refuse(const struct region *region, const struct wire_log_command *command,
                             struct region **ret_region);

/* Whichever of these `command` is: of the descriptor alone, for who does not apply it. */
enum err region_merge_step(const struct region *region, const struct wire_log_command *command, raft_index index,
                           raft_term term, struct region **ret_region);

/* Is all that the prepared source holds in the engine here? ERR_OK; ERR_NOT_READY: not yet; else fatal. */
enum err region_merge_source_is_here(struct engine *engine, const struct region *source, peer_id *ret_local_peer,
                                     struct error *err);
/* The row of a region. ERR_NOT_FOUND: there is none, or only a tombstone (`*ret_region` is it then, else NULL). */
enum err region_load_state(struct engine *engine, region_id id, struct region **ret_region, peer_id *ret_local_peer,
                           struct error *err);
/* Everything else that was kept of it beside its data. */
void region_drop_rows(struct engine *engine, struct engine_batch *batch, region_id region);

#endif
