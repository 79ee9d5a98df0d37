/* progress: what the leader knows about one peer, and what it may send to it next.
 *
 *              append refused, unreachable
 *   +-------+ <--------------------------- +-----------+
 *   | PROBE |                              | REPLICATE |   PROBE: one append at a time, until it is known where logs
 * agree
 *   +-------+ ---------------------------> +-----------+   REPLICATE: a stream, bounded by the window
 *     |   ^            ack                    |    ^
 *     |   | report                 compacted  |    | ack     SNAPSHOTTING: nothing but heartbeats
 *     |   +------------ +--------------+ <----+    |
 *     +---------------> | SNAPSHOTTING | ----------+
 *        compacted      +--------------+
 *
 * Owner: the raft that holds it. Memory: the window is a ring from the pool, taken when needed, given back when empty.
 * Invariant: match < next. Every member of the configuration has one, the leader itself included. */
#ifndef RAFT_PROGRESS_H
#define RAFT_PROGRESS_H

#include "raft/raft.h"

struct inflight {
    raft_index index; /* last entry of that message */
    uint64_t size;
};

struct progress {
    peer_id id;
    raft_index match;       /* known to be the same there as here */
    raft_index next;        /* to be sent next */
    raft_index sent_commit; /* highest commit index that was sent; less after a loss */
    raft_index pending_snapshot;
    raft_index fetch_from; /* the disk was asked for entries from here; 0: not */
    uint64_t acked_round, sent_round;
    struct inflight *window; /* ring; NULL when empty */
    uint64_t window_size;
    uint64_t queued_size; /* bytes of entries in the message `queued` */
    uint32_t window_head, window_count, window_capacity;
    uint32_t queued; /* 1 + place of the newest append to it in the outbox, while that is not handed out; 0: none */
    uint8_t state;   /* enum raft_progress_state */
    uint8_t roles;   /* bits of enum raft_member_role */
    uint8_t vote;    /* enum progress_vote */
    bool paused : 1; /* wait for an answer (or heartbeat answer) before the next append */
    bool recent_active : 1;
    bool want_snapshot : 1; /* the disk does not have what it needs, whatever the log says */
};

enum progress_vote { PROGRESS_NO_ANSWER = 0, PROGRESS_YES = 1, PROGRESS_NO = 2 };

void progress_reset(struct progress *progress, struct raft_pool *pool, raft_index match, raft_index next);
void progress_become_probe(struct progress *progress, struct raft_pool *pool);
void progress_become_replicate(struct progress *progress, struct raft_pool *pool);
void progress_become_snapshotting(struct progress *progress, struct raft_pool *pool, raft_index index);

/* The peer has everything up to `index`. True if that is news. */
bool progress_ack(struct progress *progress, raft_index index);
/* The peer refused an append after `rejected`; the logs may agree at `hint`. False if the refusal is out of date. */
bool progress_nack(struct progress *progress, raft_index rejected, raft_index hint);

bool progress_is_paused(const struct progress *progress);
bool progress_is_window_full(const struct progress *progress, const struct raft_config *config);
/* Sending now would tell the peer a higher commit index that it can use. */
bool progress_can_bump_commit(const struct progress *progress, raft_index commit);

/* `count` entries of `size` bytes went out. With `merged` they went into the message before. */
void progress_sent(struct progress *progress, struct raft_pool *pool, const struct raft_config *config, uint32_t count,
                   uint64_t size, bool merged);
/* Messages up to `index` arrived. */
void progress_free_window(struct progress *progress, struct raft_pool *pool, raft_index index);
void progress_fini(struct progress *progress, struct raft_pool *pool);
size_t progress_memory_size(const struct progress *progress);

#endif
