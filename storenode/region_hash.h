/* region_hash: the hash of all that a replica holds as of one index of its log, and the comparison of replicas.
 *
 *   leader: log entry {hash}, index I
 *   each replica: the apply worker writes what is before it and I, and makes a cut; a read worker hashes it in portions
 *   followers -> leader: STORE_HASH (I, hash, rows, bytes)
 *   leader: all are here, or the time is over. They agree: done. Else log entry {verify: I, what most of them have}
 *   each replica: its own is another one: replica_differs; it is damaged, and gets its rows anew (peer_heal.h)
 *
 * The majority says what is right, not the leader. Without a majority nobody knows: it is logged and counted, nothing else.
 *
 * What is hashed: rows of data (keys and values, without those that have expired by the region's time, which are dropped on
 * each replica at another moment), tokens, the index, range and epoch, members. Each row by itself, joined by addition: the order
 * of tokens does not matter.
 *
 * Each region worker has one of the regions that it leads compared after the other, so that each had its turn within
 * consistency-check-interval.
 *
 * Owner: region worker; the computation: a read worker. */
#ifndef STORENODE_REGION_HASH_H
#define STORENODE_REGION_HASH_H

#include "raft/raft.h"
#include "storenode/read_worker.h"
#include "storenode/snapshot_cut.h"
#include "storenode/store_parts.h"

struct peer;

struct region_hash {
    raft_index index;
    uint64_t hash, rows, size;
};

/* WORKER_HASHED: what came of a cut. */
struct hash_job {
    struct read_job job;
    struct store *store;
    struct actor *owner;
    struct snapshot_cut *cut; /* owned */
    int cf;
    bool sought;
    struct region_hash sum;
    enum err code;
};
/* On the apply worker: takes the cut to a read worker. */
void region_hash_start(struct store *store, struct actor *owner, struct snapshot_cut *take_cut);

/* ---- the peer's part: `peer->check` */
struct peer_check;

/* Leader: begins, or joins what is under way. `to`: who is owed an answer; NULL: nobody. */
enum err peer_check_start(struct peer *peer, const struct reply_to *to);
void peer_check_hashed(struct peer *peer, struct hash_job *take_job);
/* STORE_HASH */
void peer_check_heard(struct peer *peer, const struct wire_raft_message *wire);
/* {verify} was applied. */
void peer_check_verify(struct peer *peer, const struct region_hash *expected);
/* Every second or so: time-outs. */
void peer_check_tick(struct peer *peer);
void peer_check_fini(struct peer *peer);
bool peer_check_is_busy(const struct peer *peer);

#endif
