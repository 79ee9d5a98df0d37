/* region_fsm: the state machine of one region: committed entries in, changes of the data out.
 *
 * An entry is a table LogCommand: all writes of one round. Each write is checked again here, because what was true when
 * it was proposed may have changed: epoch (writes of another version than the region's are refused), range, idempotency
 * token. Data, tokens and apply state go into one batch, so a crash never separates them.
 *
 * A split (region_split.h) puts the rows of all its regions into that batch too, and the tokens: a write that is sent again
 * after it must be recognised by whichever region has its key now. Writes of the version before it that come behind it in
 * the log are refused.
 *
 * A change of members (region_conf.h) puts region row and raft configuration into the batch: after a crash both are as of the
 * apply state. That batch is synced: a peer that was removed may go as soon as anybody says so, and its vote could be needed
 * by whoever forgets that (docs/decisions/0015). What comes after the own removal is not applied.
 * A merge (region_merge.h) that commits puts the region that ends into the batch as well. If not all of that one is here
 * yet, nothing is applied any more: the task comes back as it was, with what it waits for, and so do those behind it,
 * until it is posted again with `resumes`.
 *
 * Owner: the apply worker. The region worker makes a task with the entries (lent by the raft core until the task has
 * come back) and with who is owed an answer; `done` answers and posts the task to the region worker as `done_kind`.
 *
 * Invariants: F1 entries are applied in index order, each once: index == applied_index + 1.
 *             F2 every reply of a task is given exactly once, after the write. */
#ifndef STORENODE_REGION_FSM_H
#define STORENODE_REGION_FSM_H

#include "group/apply_worker.h"
#include "meta/region.h"
#include "raft/raft.h"
#include "storenode/region_conf.h"
#include "storenode/region_hash.h"
#include "storenode/region_split.h"
#include "storenode/region_time.h"
#include "storenode/replies.h"

struct region_fsm;
struct snapshot_cut;
struct store_ranges;

/* What this peer proposed as one entry, and who is owed an answer: one reply per write, in order. */
struct proposal {
    struct proposal *next;
    raft_index index;
    raft_term term;
    uint32_t count;
    uint32_t size; /* bytes of the entry */
    struct reply_to replies[];
};

enum { REGION_FSM_RANGE_KEYS = 1000 * 1000 }; /* what was deleted as a range, for who guesses how much is left */

struct region_task {
    struct apply_task task; /* its message comes back to the region worker */
    struct region_fsm *fsm;
    struct actor *owner;
    uint32_t done_kind;
    struct replies *replies;    /* of the apply worker */
    struct raft_entry *entries; /* owned array; payloads lent by the raft core */
    uint32_t entry_count;
    struct proposal *proposals; /* owned list, ascending index; only those whose entry is among `entries` */
    struct arena results_arena;
    struct wire_kv_reply **results; /* per proposal, an array of its results */
    enum err code;                  /* when it comes back */
    raft_index applied_index;
    bool urgent; /* somebody waits for it to come back: wake the region worker */
    struct region_time time; /* when it comes back: after its last entry */
    uint64_t region_id;
    uint64_t keys_written;
    uint64_t keys_deleted; /* of those; a range counts as REGION_FSM_RANGE_KEYS */
    /* Owned lists, in order: what became of the region. Then it comes back at once. */
    struct region_split *splits;
    struct region_conf *confs;
    struct store *hash_store;    /* the last entry wants the region's hash as of it: a read worker of this store gets the cut */
    bool has_hash, has_verify;   /* of the last entry */
    struct region_hash verify;
    uint32_t answered_count;     /* of the proposals */
    bool damaged;                /* rows of the region could not be read: nothing is applied any more (`damage`) */
    const char *damage; /* lent by the state machine */
    bool parked;                 /* not done: it waits, or one before it does */
    bool resumes;                /* what was waited for is here: set it in the first one that is posted again, ... */
    bool gives_up;               /* ... and this as well, if it never will be: then this replica is damaged */
    struct region *waits_for;    /* owned; parked: the source of a merge, as it was prepared */
    struct region_task *next;    /* the owner's own, while it is parked */
    uint32_t next_entry, next_result;
    struct proposal *next_proposal;
};

/* `ranges`: is told of splits; may be NULL. `region` is copied; `local_peer`: the one of its peers that lives here.
 * Applied: what the engine holds. `save_interval`: entries between two saves of the tokens, at most. */
struct region_fsm *region_fsm_new(struct env *env, struct store_ranges *ranges, const struct region *region,
                                  peer_id local_peer, raft_index applied_index, raft_term applied_term,
                                  uint32_t save_interval);
void region_fsm_free(struct region_fsm *fsm);
/* What the engine holds by now. Any thread: a task that is done comes back lazily, but a read need not wait for that.
 */
raft_index region_fsm_applied(const struct region_fsm *fsm);
/* Index of the newest entry of this life in the engine that changed what may be asked of the region (a split, a merge);
 * 0: none. Any thread; read it after region_fsm_applied, and it knows of every one up to there. */
raft_index region_fsm_split_index(const struct region_fsm *fsm);
/* The region's time, of what the engine holds. Any thread; read it after region_fsm_applied. */
struct region_time region_fsm_time(const struct region_fsm *fsm);
/* Log entries after this index are still needed to know the tokens at the next start. Any thread. */
raft_index region_fsm_log_needed_after(const struct region_fsm *fsm);

/* Everything of the region as of what is applied, into `cut`. Only in a `done` of the apply worker: what is applied is
 * written then, and nothing else is. An error: the node must stop. */
enum err region_fsm_cut(struct region_fsm *fsm, struct snapshot_cut *cut);

/* A task for entries[0..count). Copies the array, not the payloads. No entries: the
 * task only comes back, behind those before it. */
struct region_task *region_task_new(struct region_fsm *fsm, struct actor *owner, uint32_t done_kind,
                                    struct replies *replies, const struct raft_entry *entries, uint32_t count,
                                    struct proposal *take_proposals);
/* Those that were taken over: it is not done, and will come back. */
void region_task_forget_confs(struct region_task *task);
void region_task_free(struct region_task *task); /* drops replies unanswered: the connection or the process is going */

/* Reads the apply state of a group; ERR_NOT_FOUND: there is none. */
enum err region_fsm_load_applied(struct engine *engine, region_id region, raft_index *ret_index, raft_term *ret_term,
                                 struct error *err);
/* Its other part; all zero if there is none. */
enum err region_fsm_load_time(struct engine *engine, region_id region, struct region_time *ret_time);
/* Puts the apply state. `time` may be NULL: nothing ever expired here. */
void region_fsm_put_applied(struct engine *engine, struct engine_batch *batch, region_id region, raft_index index,
                            raft_term term, const struct region_time *time);

#endif
