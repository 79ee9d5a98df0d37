/* worker_parts: the inside of region_worker, shared by its rooms alone.
 *
 *   region_worker.c   the actor: messages to whom they name, the gate of writes, the round
 *   worker_peers.c    who is here: peers come with a start, pd's word, a split or a snapshot, are merged, and go
 *   worker_sends.c    what gathers in a round and leaves at its end; the other stores
 *   worker_clock.c    what happens because time has passed: ticks, beats, reports to pd, looking after regions
 *
 * Nobody else includes it: region_worker.h is for all others. */
#ifndef STORENODE_WORKER_PARTS_H
#define STORENODE_WORKER_PARTS_H

#include <uthash.h>

#include "group/log_worker.h"
#include "rpc/links.h"
#include "storenode/campaigns.h"
#include "storenode/region_worker.h"

struct merge_message;
struct peer_created;

enum { EARLY_VOTES_MAX = 512 }; /* what is lost is asked again, only an election timeout later */

/* Messages to one store that leave this round: [0] now, [1] after the log task is durable. */
struct outbox {
    struct wire_raft_message *messages[2];
    uint32_t count[2], capacity[2];
    size_t size[2];
};

/* Somebody campaigns in a region that we do not have yet: it was split off where the split is applied already. */
struct early_vote {
    struct wire_raft_message wire; /* without entries */
    uint64_t tick;
};

/* A peer is being made of a snapshot's first chunk; those behind it wait. There are no more than the sender has under way. */
struct birth {
    struct birth *next;
    region_id region;
    struct snapshot_chunk_message *chunks, **last; /* owned list */
};

struct neighbour {
    store_id id;
    struct link *link; /* owned by links */
    struct outbox outbox;
    bool dirty;
    bool lost; /* given up for good (unsafe recovery): what it says is not heard */
    struct neighbour *next_dirty;
    UT_hash_handle hh;
};

/* Was merged into another one. */
struct departed {
    region_id id;
    struct region *last; /* owned: at its end */
    struct region *into; /* owned: what took it in, then; NULL: not known */
    UT_hash_handle hh;
};

struct region_worker {
    struct store *store;
    struct env *env;
    uint32_t index;
    struct actor *actor;
    struct raft_pool *pool;
    struct peer *peers;        /* by region id */
    struct peer *ending;       /* by region id: merged into others, but something of them is still under way */
    struct departed *departed; /* by id */
    struct list awake;         /* those that are ticked */
    struct peer *touched, **touched_last;
    struct replies *replies;
    struct arena round_arena;     /* ends with the round */
    struct log_task *log_task;    /* of this round; NULL: none yet */
    struct log_task *spare_tasks; /* list through message.next */
    uint32_t spare_count;
    struct read_task *read_task; /* of this round */
    uint32_t next_reader;
    struct links *links;
    struct neighbour *neighbours; /* by store id */
    struct neighbour *dirty;
    struct store_pairs *pairs;
    struct campaigns campaigns;
    uint64_t tick_count;      /* given to awake peers since the start */
    uint32_t beat_ticks;      /* worker 0: since the last beat */
    uint32_t log_tasks_out;   /* at the log worker, ... */
    uint32_t log_still_ticks; /* ... which has given none of them back for so long */
    bool disk_hangs;
    bool leaving; /* being stopped in order: leads nothing, if others can */
    struct store_sleep_counts sleep_counts;
    uint64_t slept_at_trim;                   /* sleep_counts.slept when memory was given back last */
    uint32_t own_appends_out;                 /* log tasks with what was proposed here; elections close no gate */
    bool proposed;                            /* since the last log task */
    uint32_t proposals_out;                   /* entries proposed here and not committed yet */
    uint64_t proposed_us;                     /* when the last of them was */
    bool gate_open;                           /* writes of this pass may be proposed */
    uint64_t gathered_us;                     /* when the next WORKER_GATHERED comes; UINT64_MAX: none is on its way */
    struct peer *waiting;                     /* peers whose writes wait for that */
    struct early_vote early[EARLY_VOTES_MAX]; /* a ring */
    uint32_t early_count;
    struct birth *births;        /* owned list */
    struct lost_peers *lost;     /* owned: those that are not started */
    struct absent_peers *absent; /* owned: regions that are not here, though others think so */
    struct message *held;        /* batches whose bytes this round, or a write that waits, borrows */
    uint64_t now_us;
    uint64_t ticked_us;         /* time up to which ticks were given */
    uint64_t truncate_at_us;    /* next look at log retention */
    uint64_t count_at_us;       /* a region of which little is known may be counted */
    uint64_t stale_check_at_us; /* next question of those that sleep: are they members? */
    uint64_t heartbeat_at_us;   /* next full report to pd */
    uint64_t check_at_us;       /* next comparison of replicas */
    region_id checked;          /* of this one the last one was */
    uint64_t expiry_at_us;      /* the engine next hears which rows may go ... */
    uint64_t expiry_told;       /* ... unless it is what it heard last */
    bool stopped;               /* after a failed write: nothing is handled any more */
};

struct tick_message {
    struct message message;
};

/* ---- worker_peers.c */

struct peer *worker_find_peer(const struct region_worker *worker, region_id id); /* NULL: it is not here */
/* Whatever comes back is for those that are ending as well. */
struct peer *worker_find_any_peer(const struct region_worker *worker, region_id id);
struct departed *worker_find_departed(const struct region_worker *worker, region_id id);
void worker_keep_early_vote(struct region_worker *worker, const struct wire_raft_message *wire);
void worker_start_child(struct region_worker *worker, const struct region *region, bool campaign);
void worker_remove_peer(struct region_worker *worker, struct peer *peer); /* destroyed: nobody has a pointer to it */
void worker_free_ended_peer(struct region_worker *worker, struct peer *peer); /* merged, and its rows are gone */
void worker_drop_ended(struct region_worker *worker);
void worker_drop_births(struct region_worker *worker);
/* Messages; taken. */
void worker_on_merge(struct region_worker *worker, struct merge_message *take_message);
void worker_on_regions(struct region_worker *worker, struct regions_message *take_message);
void worker_on_region_seen(struct region_worker *worker, struct regions_message *take_message);
void worker_on_region_unknown(struct region_worker *worker, struct region_ask *take_message);
void worker_on_steps(struct region_worker *worker, struct regions_message *take_message);
void worker_on_chunk(struct region_worker *worker, struct snapshot_chunk_message *take_message);
void worker_on_created(struct region_worker *worker, struct peer_created *take_created);

/* ---- worker_sends.c */

struct neighbour *worker_neighbour(const struct region_worker *worker, store_id id); /* NULL: not known */
/* Everything that gathered leaves. */
void worker_flush(struct region_worker *worker);
void worker_free_spare_tasks(struct region_worker *worker);
/* Once this store has an id: how others are reached. */
void worker_open_links(struct region_worker *worker);
void worker_on_stores(struct region_worker *worker, struct regions_message *take_message);

/* ---- worker_clock.c */

void worker_post_tick(struct region_worker *worker);
void worker_on_tick(struct region_worker *worker);
/* The store is being stopped in order; again in each round until nothing is led here. */
void worker_leave(struct region_worker *worker);

#endif
