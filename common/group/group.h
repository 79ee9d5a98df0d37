/* group: one Raft peer on this node, and the order in which its output becomes effects.
 *
 * The core (raft/raft.h) says what should happen; a group makes it happen: persist, then send what promised it, then
 * apply. It owns no thread: the actor that owns groups (its host: a region worker, pd) calls group_pull for each group
 * that was touched in a round, and everything that must be durable lands in the host's one log_task of that round.
 *
 *   host round:   raft_step / raft_propose / ... on several groups
 *                 group_pull on each              -> host.send(now), host.log_task, host.committed, host.reads
 *                 the host sends its frames, posts its log_task
 *                 group_release on each           -> false: pull it again
 *   task is back: group_appended for each log_append of it, then group_pull again
 *   applied:      group_applied, then group_pull again
 *
 * On disk: group_keys.h. A group starts from group_create's rows, or from what a snapshot left.
 *
 * Leases (DESIGN 4): valid until lease_us after the send time of the newest round that a quorum confirmed.
 *
 * Owner: the host's actor. */
#ifndef GROUP_GROUP_H
#define GROUP_GROUP_H

#include "env/engine.h"
#include "env/env.h"
#include "group/group_log.h"
#include "group/log_worker.h"
#include "proto/wire.h"
#include "raft/raft.h"

/* A fresh group starts behind this entry, so that a peer that is added later (at 0) always gets a snapshot first. */
enum { GROUP_FIRST_INDEX = 5, GROUP_FIRST_TERM = 5 };

struct group;

struct group_host {
    void *context; /* borrowed */
    /* A message to another peer; lent. `after`: only once this round's log task is durable. */
    void (*send)(void *context, struct group *group, const struct raft_message *message, bool after);
    /* The log task of this round, made when first asked for. */
    struct log_task *(*log_task)(void *context, struct group *group);
    /* Committed entries in order; the array is lent, payloads live until group_applied. */
    void (*committed)(void *context, struct group *group, const struct raft_entry *entries, uint32_t count);
    void (*read_done)(void *context, struct group *group, const struct raft_read_result *read);
    /* Entries that a slow follower needs from the disk: run group_fetch_run on an actor that may wait, then give the
     * result to group_fetched. */
    void (*fetch)(void *context, struct group *group, const struct raft_fetch *fetch);
    /* Role or leader changed. */
    void (*changed)(void *context, struct group *group, enum raft_role role, peer_id leader);
    /* `peer` needs a snapshot; end with raft_report_snapshot. */
    void (*snapshot_wanted)(void *context, struct group *group, const struct raft_message *message);
    /* A snapshot was accepted (ready.snapshot): put the staged rows into `task` (apply state and region rows too). */
    void (*install)(void *context, struct group *group, const struct raft_snapshot *snapshot, struct log_task *task);
};

struct group {
    uint64_t id;
    struct env *env;               /* borrowed */
    const struct group_host *host; /* borrowed */
    void *user;                    /* the host's own */
    struct raft *raft;             /* owned */
    struct group *next_touched;    /* the host's list of groups to pull */
    bool touched;
    raft_term logged_term; /* hard state as the engine has it */
    peer_id logged_vote;
    raft_index logged_last; /* newest index with a row in the engine (or on its way) */
    raft_index replicated;  /* every peer has the log up to here: our own knowledge as leader, else the leader's word */
    struct raft_position edge; /* applied; was the edge of memory once: the next cut of the log */
    uint32_t appends_under_way;
    struct buf scratch;     /* one encoded log row */
    uint64_t log_size;      /* bytes of entries appended since the last truncation (an estimate after a restart) */
    uint64_t lease_from_us; /* send time of the newest confirmed round in this term; 0: none */
    raft_term lease_term;
    uint32_t round_first, round_count;
    struct {
        uint64_t round, sent_us;
    } rounds[8];
};

struct group_options {
    uint64_t id;
    peer_id self;
    uint64_t seed;
    const struct raft_config *config; /* borrowed for the life of the group */
    struct raft_pool *pool;           /* borrowed */
    const struct group_host *host;    /* borrowed */
    void *user;
    raft_index applied_index; /* what the state machine has, durably */
    raft_term applied_term;
};

/* Puts the rows of a fresh group into `batch`: truncated and applied at (GROUP_FIRST_INDEX, GROUP_FIRST_TERM). The
 * apply state is the user's own row. */
void group_create(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_conf *conf);
/* Start-up: reads hard state, membership and log. ERR_NOT_FOUND: no such group; ERR_CORRUPT names group and index. */
enum err group_open(struct env *env, const struct group_options *options, struct group **ret_group, struct error *err);
void group_close(struct group *group); /* NULL is fine */

/* Turns what the core has to say into effects, once. Payloads of messages given to host.send live until the next
 * group_pull or group_release of this group: the host encodes its frames before that. */
void group_pull(struct group *group);
/* After the frames are encoded: gives memory back. False: there is more to pull already. */
bool group_release(struct group *group);
/* One append of a log_task that came back durable. */
void group_appended(struct group *group, const struct log_append *append);
void group_applied(struct group *group, raft_index index);

/* The engine's current content answers a linearizable read at `now_us`: lone, or under a valid lease, and everything
 * that was acknowledged by earlier leaders is applied here. */
bool group_lease_holds(const struct group *group, uint64_t now_us, uint64_t lease_us);
/* Everything of earlier terms is applied here (own term has begun in the applied part). */
bool group_is_ready_to_read(const struct group *group);

struct group_retention {
    uint64_t retain_count;        /* kept in any case, unless they are more than half of size_max */
    uint64_t size_max, count_max; /* of what is kept for a peer that lags; 0: no limit */
    bool force;                   /* nothing is kept for a peer that lags */
};
/* Drops log rows that every peer has (and that are applied here), keeping `retain_count`; or, over a limit, all that a
 * majority has: who needs it gets a snapshot. Never past `limit`: what is after it the host still needs. Adds the deletion to the host's log
 * task if there is enough to gain. */
void group_maybe_truncate(struct group *group, raft_index limit, const struct group_retention *retention);

/* An idle group keeps no entries in memory: they are on the disk. */
void group_shrink(struct group *group);

/* ---- reading the log for slow followers: on an actor that may wait */
struct group_fetch {
    struct raft_fetch fetch;
    uint64_t group_id;
    enum err code;
    raft_term term_before;
    struct group_log_run run;
};
void group_fetch_init(struct group_fetch *fetch, uint64_t group_id, const struct raft_fetch *wanted);
void group_fetch_run(struct group_fetch *fetch, struct engine *engine, struct log *log);
void group_fetch_fini(struct group_fetch *fetch);
void group_fetched(struct group *group, const struct group_fetch *fetch);

/* ---- messages on the wire */
/* Borrows the entries' payloads; arrays are allocated in `arena`. */
void group_message_to_wire(const struct group *group, const struct raft_message *message, struct arena *arena,
                           struct wire_raft_message *ret_wire);
/* Checks what the core does not; ERR_INVALID. Borrows from `wire`; arrays are allocated in `arena`. */
enum err group_message_from_wire(const struct wire_raft_message *wire, struct arena *arena,
                                 struct raft_message *ret_message);
/* Allocated in `arena`. */
struct wire_raft_snapshot *group_snapshot_to_wire(const struct raft_snapshot *snapshot, struct arena *arena);
/* ERR_INVALID. */
enum err group_snapshot_from_wire(const struct wire_raft_snapshot *wire, struct raft_snapshot *ret_snapshot);
/* The leader's word on what every peer has; call it when a message was accepted. */
void group_note_replicated(struct group *group, raft_index replicated);

#endif
