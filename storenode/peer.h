/* peer: the replica of one region on this store: its group, its state machine, and who waits for an answer.
 *
 * A write waits in `pending` until the disk has taken what was proposed before (a lone one: until the end of the
 * round), then in `proposals` until its entry is committed, then travels with the entry to the apply worker, which
 * answers. A follower, for whose applying nobody waits, hands its entries over in larger portions. A read is answered
 * at once under a lease if all that is committed is applied; else it waits in `reads` for the core's word from which
 * index on it is true, and for the apply worker to get there.
 *
 * Owner: a region worker. Invariants (peer_check):
 *   P1 indexes of proposals strictly increase, their terms never decrease;
 *   P2 every reply is given exactly once: by us, by the apply worker, or by a read worker.
 * Ongaro 2014: 3.5 (a slot of the log can be overwritten), 6.3, 6.4. */
#ifndef STORENODE_PEER_H
#define STORENODE_PEER_H

#include <uthash.h>

#include "base/list.h"
#include "group/group.h"
#include "meta/region.h"
#include "storenode/campaigns.h"
#include "storenode/peer_conf.h"
#include "storenode/peer_destroy.h"
#include "storenode/peer_force.h"
#include "storenode/peer_heal.h"
#include "storenode/peer_merge.h"
#include "storenode/peer_sleep.h"
#include "storenode/peer_snapshot.h"
#include "storenode/region_fsm.h"
#include "storenode/split_ask.h"
#include "storenode/split_check.h"
#include "storenode/split_load.h"

struct region_worker;

/* Reads that arrived in one round and wait for ReadIndex, or under a lease for the apply worker. */
struct waiting_reads {
    struct waiting_reads *next;
    uint64_t context;       /* 0: nothing was asked */
    raft_index index;       /* 0: not known yet */
    struct read_task *task; /* owned */
};

struct pending_write {
    struct reply_to to;
    const struct wire_kv_request *request; /* lent until it is proposed */
    size_t size;
};

struct peer {
    region_id region_id;
    struct region_worker *worker; /* borrowed */
    struct region *region;        /* owned */
    peer_id id;
    struct group *group;          /* owned */
    struct region_fsm *fsm;       /* owned; touched by the apply worker only while tasks are out */
    struct raft_entry *committed; /* owned array: a follower's committed entries, not handed to the apply worker yet */
    uint32_t committed_count;
    uint32_t proposed_count; /* requests in `proposals` */
    size_t committed_size;
    uint32_t tasks_out;  /* at the apply worker, ... */
    uint32_t urgent_out; /* ... of which these wake us when they are done */
    struct peer *next_touched;
    struct peer *next_waiting;
    bool touched, waiting;
    bool heartbeat_due; /* pd should hear of this region soon */
    struct peer_conf conf;
    bool leads_first;   /* chosen to: tries until somebody leads */
    struct campaign campaign;
    struct pending_write *pending; /* owned array */
    uint32_t pending_count, pending_capacity;
    struct proposal *proposals, **proposals_last; /* owned list */
    struct read_task *round_reads;                /* came in this round, want ReadIndex */
    struct read_task *round_lease_reads;          /* came in this round, want what is committed to be applied */
    struct waiting_reads *reads, **reads_last;    /* owned list, ascending context */
    uint32_t reads_count;
    uint64_t read_context;
    uint64_t keys_written, keys_read, size_written; /* since the last heartbeat */
    uint64_t reported_us;                           /* that was then; 0: not yet */
    struct {
        struct region_split *last; /* owned: the newest that we know to be done; NULL: none in this life, or a merge came */
        raft_index known;          /* of the newest change of the region that we know to be done; 0: none in this life */
        raft_index proposed;       /* a change: by us, neither done nor given up; 0: none */
        bool everybody;            /* each peer has been heard of, by us or by an earlier leader */
        bool asked;                /* waits for ids, or for where to split: one at a time */
        bool announce;             /* committed just now: followers should know at once */
        uint32_t hurry_ticks;      /* leader: what is sent for so long makes followers apply at once */
        bool hurry;                /* follower: the leader says so */
        uint32_t young_ticks;      /* split off just now, and about to lead: who asks should wait, not look elsewhere */
        bool counted, estimated;
        bool holds_deleted;           /* its rows take more room on the disk than they should */
        bool due;                     /* when it was counted it was too large: to be split, unless that is done */
        struct region_extent extent;  /* as it was counted, or estimated */
        struct region_extent written; /* committed (keys: applied) since then */
        uint64_t look_at_us;          /* it could not be split: not counted again before */
    } split;
    struct region_time time;   /* goes with `region`: as of the last task that came back */
    uint64_t time_asked_ms;    /* leader: time is about to pass that ... */
    raft_term time_asked_term; /* ... by an entry of this term */
    struct split_load load; /* of requests, while we lead */
    struct peer_strangers *strangers; /* owned; NULL: nobody spoke who is no member, as far as we know */
    struct peer_destroy destroy;
    struct peer_sleep sleep;
    uint64_t behind_since_us; /* some peer has not all that is applied here; as of the last look */
    struct peer_snapshot snapshot;
    struct peer_check *check; /* owned; NULL: none yet (region_hash.h) */
    struct peer_heal *heal; /* owned; NULL: nothing is known to be damaged */
    struct peer_merge merge;
    struct peer_force *force; /* owned; NULL: as usual */
    const char *force_refused; /* static text: what spoke against it when it was told to lead alone; NULL: nothing */
    struct list awake; /* in the worker's list, unless it sleeps */
    UT_hash_handle hh; /* in the worker, by region_id */
};

/* `config`: of its core; borrowed. */
enum err peer_new(struct region_worker *worker, const struct region *region, peer_id id,
                  const struct raft_config *config, struct peer **ret_peer, struct error *err);
void peer_free(struct peer *peer); /* NULL is fine */

/* A request that names this region. `request` is lent until the end of the round; a write, until the peer no longer
 * waits (region_worker_wait). */
void peer_request(struct peer *peer, conn_id conn, const struct wire_kv_request *request, uint64_t received_us);
void peer_step(struct peer *peer, const struct wire_raft_message *wire, struct arena *arena);
void peer_tick(struct peer *peer, uint32_t count);
void peer_campaign(struct peer *peer); /* it is its turn (campaigns.h) */
/* End of round: proposes what is pending (or lets it wait), asks for reads, pulls the group. */
void peer_round(struct peer *peer);
void peer_applied(struct peer *peer, struct region_task *take_task);
/* At those of its keys that lie inside. */
void peer_split(struct peer *peer, struct split_ask *take_wish);
/* The ids have come (or not: take_ask->code): proposes the split. */
void peer_split_ids(struct peer *peer, struct split_ask *take_ask);
/* Every second: has it grown too large? The answer comes as a WORKER_SPLIT_CHECKED message. */
void peer_split_look(struct peer *peer);
/* It leads, and nothing changes its range just now. */
bool peer_may_split(const struct peer *peer);
/* A step of a merge (`kind`), as one entry for the epoch of now. `owed`: who waits for the outcome; NULL: nobody. */
enum err peer_propose_change(struct peer *peer, uint8_t kind, const struct wire_log_merge *merge,
                             const struct reply_to *owed);
/* Whatever waits here did not happen, and its keys are in `into` now. */
void peer_refuse_all(struct peer *peer, const struct region *into);
/* The region is another one than it was: a snapshot was installed. */
void peer_split_forget(struct peer *peer);
void peer_split_checked(struct peer *peer, struct message *take_message);
region_id peer_split_check_region(const struct message *message);
uint64_t peer_size(const struct peer *peer); /* bytes of keys and values, roughly; 0: not known */
/* The same for pd, and the keys: 0 only if nothing is known. */
struct region_extent peer_known_extent(const struct peer *peer);
/* Counts it if nothing is known of it and the worker may. Also of a peer that sleeps. */
void peer_size_look(struct peer *peer);
/* Into two halves, once it is known how large it is. */
void peer_split_in_middle(struct peer *peer);
/* A WORKER_FETCHED message: of which region, and its result. */
region_id peer_fetch_region(const struct message *message);
void peer_fetched(struct peer *peer, const struct message *message);
/* Gives back what can be read or made again. */
void peer_shrink(struct peer *peer);
/* Gives memory back; false: pull again. */
bool peer_release(struct peer *peer);
/* For peer_heal.c: nobody is served from these rows any more; who waits is told to go elsewhere. */
void peer_refuse_waiting(struct peer *peer);
/* For peer_snapshot.c: what was committed before a snapshot goes to the apply worker, what comes after it waits; until ... */
void peer_snapshot_begin_install(struct peer *peer);
/* What waited was committed before the snapshot, too: it is in it. */
void peer_snapshot_forget_committed(struct peer *peer);
/* ... the state machine stands at the snapshot. */
void peer_snapshot_end_install(struct peer *peer);
/* For peer_conf.c: an answer; `why` (may be NULL) is copied. An entry that was proposed just now, and who is owed its
 * answer (may be NULL). */
void peer_refuse(struct peer *peer, struct reply_to to, enum err code, uint32_t wait_ms);
void peer_refuse_because(struct peer *peer, struct reply_to to, enum err code, uint32_t wait_ms, const char *why);
void peer_add_proposal(struct peer *peer, raft_index index, raft_term term, const struct reply_to *to, size_t size);
/* For peer_destroy.c: all who wait are answered, nobody else is let in, and what is at the apply worker comes back. */
void peer_end(struct peer *peer);
/* A message came that way, from somebody we know or not; where to answer. 0: not known. */
void peer_note_sender(struct peer *peer, peer_id id, store_id store);
store_id peer_store_of(const struct peer *peer, peer_id id);
store_id peer_leader_store(const struct peer *peer); /* 0: not known */

#endif
