/* peer_snapshot: a region that is behind gets all of its rows from its leader.
 *
 * Leader's side: the core asks (a follower needs entries that the log has no more); the apply worker makes a cut, the
 * sender sends it (snapshot_send.h), and the core hears how it went. The log behind the cut is kept as long.
 *
 *   core: snapshot wanted --> apply worker: cut --> sender --> WORKER_SNAPSHOT_SENT --> raft_report_snapshot
 *
 * Follower's side (the receiver puts chunks together, snapshot_receive.h; the region worker says which may come):
 *
 *   NONE --chunk 0--> COMING --all is staged--> WHOLE --nothing is at the apply worker, the core wants it--> ACCEPTED
 *    ^ ^---silent, bad, or another one comes---'  '--not wanted--> NONE, what is staged goes                |
 *    |                                                                       log task with the marker is durable
 *    '-- job done: state machine at the new index -- RUNNING <--at once, or when there is room-- LOGGED <--'
 *
 * From WHOLE on nothing of the region is applied here: committed entries wait. (The log's batch takes the log away, and
 * the apply worker may be reading in it what tokens there are.) From then on nothing is read either; reads that were under
 * way when the rows changed are not answered from them (`generation`).
 *
 * Owner: the region worker of the peer. */
#ifndef STORENODE_PEER_SNAPSHOT_H
#define STORENODE_PEER_SNAPSHOT_H

#include "env/executor.h"
#include "env/transport.h"
#include "group/group.h"
#include "storenode/snapshot_stage.h"

struct peer;
struct store;
struct snapshot_in;
struct snapshot_chunk_message;
struct snapshot_staged;
struct snapshot_sent;

/* In place of the term of a leader: from somebody who does not lead. Only the rows count, and only to a damaged replica
 * (peer_heal.h); what they are as of is committed. */
enum { PEER_SNAPSHOT_HELP = 0 };

enum peer_snapshot_state {
    PEER_SNAPSHOT_NONE,
    PEER_SNAPSHOT_COMING,
    PEER_SNAPSHOT_WHOLE,
    PEER_SNAPSHOT_ACCEPTED,
    PEER_SNAPSHOT_LOGGED,
    PEER_SNAPSHOT_RUNNING
};

struct peer_snapshot {
    enum peer_snapshot_state state;
    uint32_t sending;                 /* snapshots that left here and have not ended */
    bool helps;                       /* the latest of them did not go as a leader's */
    struct snapshot_in *in;           /* owned; COMING and later */
    _Atomic uint64_t generation;      /* of the rows */
    peer_id failed[REGION_PEERS_MAX]; /* the core hears of these at the next tick: not again at once */
    uint32_t failed_count;
    bool damaged; /* the rows cannot be read: others come (peer_heal.h) */
    uint64_t ended_us; /* the last one that left */
    uint32_t failures; /* that were refused or lost, in a row: the next one waits, others get the place */
    raft_index floor; /* log entries after this are kept for those who get one of them */
};

/* The region's rows are not what its state says, or soon will not be: nothing may read or apply. */
static inline bool peer_snapshot_installs(const struct peer_snapshot *snapshot)
{
    return snapshot->state >= PEER_SNAPSHOT_WHOLE || snapshot->damaged;
}

/* One comes, or is sent, or what became of it is not told yet: time must go by. */
static inline bool peer_snapshot_is_busy(const struct peer_snapshot *snapshot)
{
    return snapshot->damaged || snapshot->state != PEER_SNAPSHOT_NONE || snapshot->sending > 0 || snapshot->failed_count > 0;
}

/* ---- leader */
void peer_snapshot_wanted(struct peer *peer, const struct raft_message *message);
/* Begins to send all rows to `to`; the log behind `floor` is kept meanwhile. False: not now. */
bool peer_snapshot_start(struct peer *peer, const struct region_peer *to, raft_index floor, raft_term term);
/* We have nobody to vote for us: that peer is not there. If we are as we were born, it gets what it would have been born with. */
void peer_snapshot_absent(struct peer *peer, peer_id absent);
region_id peer_snapshot_cut_region(const struct message *message);
void peer_snapshot_cut_done(struct peer *peer, struct message *take_message);
void peer_snapshot_sent(struct peer *peer, const struct snapshot_sent *sent);

/* ---- follower */
/* There is no such region here, say: the sender gives up. */
void snapshot_refuse(struct store *store, const struct snapshot_chunk_message *message, enum err code);
void peer_snapshot_chunk(struct peer *peer, struct snapshot_chunk_message *take_message);
void peer_snapshot_staged(struct peer *peer, struct snapshot_staged *take_staged);
/* host.install: marker and region row into the log's batch. */
void peer_snapshot_accepted(struct peer *peer, const struct raft_snapshot *snapshot, struct log_task *task);
void peer_snapshot_logged(struct peer *peer);
/* Something came back from the apply worker, or time has passed: goes on if it may. */
void peer_snapshot_go_on(struct peer *peer);
region_id peer_snapshot_install_region(const struct message *message);
void peer_snapshot_installed(struct peer *peer, struct message *take_message);
/* Every second or so: gives up what does not come on, tries again what found a full disk. */
void peer_snapshot_tick(struct peer *peer);
/* The peer is gone: what has come so far is dropped; for what is being installed it waits. */
void peer_snapshot_cancel(struct peer *peer);
/* The region ends: what comes is dropped. */
void peer_snapshot_give_up(struct peer *peer);
void peer_snapshot_fini(struct peer *peer);

#endif
