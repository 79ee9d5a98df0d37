/* peer_merge: two neighbours become one, seen from the peers of both (region_merge.h says what the steps are).
 *
 *   client --merge--> source's leader --QUERY--> target's peer on the same store --TARGET--> source's leader: proposes PREPARE
 *   each peer of the source that has applied PREPARE and knows that all of them have its entry
 *                     --ASK--> target's peer on the same store; the one that leads proposes COMMIT
 *   a target that has moved on --REFUSED--> source's leader: proposes ROLLBACK
 *   no target's peer there any more --NO_TARGET--> source's leader: leaves leadership to who may have one beside it
 *   target's peer, applying COMMIT where the source's peer is behind (the task is parked)
 *                     --CATCH_UP--> source's peer: all up to PREPARE is committed --CAUGHT_UP--> target's peer goes on
 *   target's peer, COMMIT applied --TAKEN--> source's peer ends
 *   source's peer that hears from another store that the region was taken in --LEFT_OVER--> target's peer, which was removed
 *                     before it applied COMMIT: its worker finds the tombstone --TARGET_LEFT--> source's peer is destroyed
 *
 * Both regions lie on the same stores, so every message stays inside a process, and each store has all it needs: no entry of
 * the source travels with COMMIT, because COMMIT is not proposed before every peer of the source has its whole log on disk.
 * Until then, and for MERGE_PATIENCE_MS at most, the source waits; then the target is asked to REFUSE.
 *
 * A source's peer that is damaged (peer_heal.h), with nobody left to give it its rows, cannot come to its PREPARE: then the
 * target's peer counts as damaged as well, and gets all of it from its own leader.
 *
 * A target that gets a snapshot from after COMMIT lets the source's peer come to its PREPARE in the same way before the
 * snapshot is accepted, and ends it in the same batch.
 *
 * A peer that ends answers all who wait (it did not happen; the target's range goes with it), takes nothing any more, and is
 * freed, with its rows, once nothing of it is under way: at the apply, log and read workers, at the snapshot sender.
 *
 * Owner: the region worker of the peer. */
#ifndef STORENODE_PEER_MERGE_H
#define STORENODE_PEER_MERGE_H

#include "env/executor.h"
#include "group/log_worker.h"
#include "meta/region.h"
#include "storenode/region_fsm.h"
#include "storenode/replies.h"

struct peer;
struct store;
struct store_ranges_change;
struct region_worker;

enum { MERGE_PATIENCE_MS = 5000 };

enum merge_word {
    MERGE_WISH, /* an operator's: no answer */
    MERGE_QUERY,
    MERGE_TARGET,
    MERGE_ASK,
    MERGE_REFUSED,
    MERGE_NO_TARGET,
    MERGE_CATCH_UP,
    MERGE_CAUGHT_UP,
    MERGE_ABSENT,
    MERGE_DAMAGED,
    MERGE_ALSO,
    MERGE_TAKEN,
    MERGE_LEFT_OVER,
    MERGE_TARGET_LEFT,
    MERGE_FENCE
};

/* WORKER_MERGE */
struct merge_message {
    struct message message;
    enum merge_word word;
    region_id to, from;
    region_id also; /* ALSO: this one, too; it ends where `from`, which is damaged, was to take it in */
    struct region
        *region; /* owned. QUERY, ASK, CAUGHT_UP, LEFT_OVER: the source; TARGET, TAKEN: the target; else NULL */
    struct raft_position
        position;       /* CATCH_UP: the end of the source's log; REFUSED, TARGET_LEFT, NO_TARGET: the index of its PREPARE */
    bool ready, refuse; /* ASK: all have its log; it has waited too long for that. TARGET: ready: it has a leader */
    bool for_snapshot;  /* CATCH_UP */
    bool owed;          /* QUERY, TARGET: somebody waits */
    struct reply_to reply_to;
    uint32_t reader; /* FENCE */
};

/* Sources of what a snapshot holds already: they must be whole here before it is accepted. */
struct merge_sources;

struct peer_merge {
    struct region_task *parked; /* owned list: tasks that wait for a source */
    uint32_t parked_count;
    uint32_t ticks;                /* merging for so long, as far as we know */
    bool resume;                   /* the source is here */
    bool yields;                   /* damaged, and a snapshot of the target has its keys: it gets no rows any more */
    bool told;                     /* the target heard that all have our log */
    bool querying;                 /* the target was asked what it is */
    bool ended;                    /* in the worker's list of those that end */
    bool fenced;                   /* no read worker knows it any more */
    bool dropped;                  /* its rows go with a write that is under way */
    region_id wish;                /* an operator's: this neighbour; 0: none ... */
    uint64_t wish_version;         /* ... of this epoch ... */
    uint32_t wish_ticks;           /* ... and only for so long: who just woke has not heard of all its peers */
    region_id waiter;              /* a target here waits until we have applied our PREPARE; 0: none */
    struct merge_sources *sources; /* owned; NULL: none are needed */
};

void peer_merge_fini(struct peer *peer);

/* KvOp merge. */
void peer_merge_request(struct peer *peer, struct reply_to to, const struct wire_kv_request *request);
void peer_merge_tick(struct peer *peer, uint32_t count);
/* End of round, after the group was pulled. */
void peer_merge_round(struct peer *peer);
/* What became of the region was taken over. */
void peer_merge_changed(struct peer *peer, const struct region_split *change);
/* A task came back that was not done. */
void peer_merge_park(struct peer *peer, struct region_task *take_task);
/* Something came back: what is parked may go on. */
void peer_merge_go_on(struct peer *peer);
/* A message to this peer. */
void peer_merge_message(struct peer *peer, struct merge_message *take_message);
/* ... to a region that is not here; `departed`: it was (NULL: not known). */
void peer_merge_message_absent(struct store *store, struct merge_message *take_message, const struct region *departed);

/* For peer_snapshot.c. May a snapshot of `region` be accepted? False: it was asked what is missing, try again later. */
bool peer_merge_sources_are_here(struct peer *peer, const struct region *region);
/* It was: they end with the batch of the log task, ... */
void peer_merge_put_sources_end(struct peer *peer, struct log_task *task);
/* ... and when it is durable: `ranges` hears which of them give up their keys. Or it was not. */
void peer_merge_end_sources(struct peer *peer, const struct region *region, struct store_ranges_change *ranges);
void peer_merge_forget_sources(struct peer *peer);

/* Another store says that the region, prepared by this entry, was taken in. `merging`: how; NULL: it does not say. */
void peer_merge_heard_end(struct peer *peer, struct raft_position prepared, const struct wire_merging *merging);
/* The peer takes nothing any more; `into`: where its keys are. */
void peer_merge_end(struct peer *peer, const struct region *into);
/* It has ended, and nothing of it is under way. */
bool peer_merge_is_over(const struct peer *peer);

/* For operators. */
void peer_merge_post_wish(struct store *store, region_id source, region_id target);

#endif
