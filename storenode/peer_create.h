/* peer_create: how a peer comes to be where its store has nothing of the region.
 *
 *   leader --append, heartbeat--> this store            "there is no such region": noted (absent_peers)
 *   this store --RAFT_ABSENT--> leader                  some ticks later, if it still is not there
 *   leader --snapshot, chunk 0--> this store            says what the region is
 *   peer_create: the apply worker, where regions begin and end, makes the rows of an empty peer, unless
 *                a region that is here has some of the same keys (it has not applied the split yet), or
 *                the peer was removed from here for good
 *   region worker: starts it, and gives it the chunk
 *
 * The wait is for splits: the peers of a new region that applied it first speak to the others, which make it themselves
 * as soon as they apply it.
 *
 * An empty peer has the membership that the snapshot names and no log: it never voted, cannot win an election, and serves
 * nothing before it has installed the snapshot. Crash in between: it is empty again, and asks for another.
 *
 * Owner: a region worker. Memory: 40 bytes per absent region that is heard of, ABSENT_COUNT_MAX of them at most. */
#ifndef STORENODE_PEER_CREATE_H
#define STORENODE_PEER_CREATE_H

#include "storenode/store_parts.h"

struct absent_peers;
struct absent_peers *absent_peers_new(void);
void absent_peers_free(struct absent_peers *absent); /* NULL is fine */
/* Its leader spoke at this tick. True: tell it that there is nobody. */
bool absent_peers_heard(struct absent_peers *absent, region_id region, uint64_t tick);
/* It is here now. */
void absent_peers_remove(struct absent_peers *absent, region_id region);
/* Forgets those that were not spoken to for a while. */
void absent_peers_sweep(struct absent_peers *absent, uint64_t tick);

/* WORKER_PEER_CREATED */
struct peer_created {
    struct message message;
    struct snapshot_chunk_message *chunk; /* owned: the one that it is made of */
    struct region *region;                /* owned */
    peer_id peer;
    bool began;    /* its rows were written just now; false: the region is here already */
    region_id overlaps; /* ERR_BUSY: with this one, which is here */
    enum err code; /* ERR_BUSY: not now; ERR_REGION_NOT_FOUND: not any more */
};

/* For a chunk with sequence 0 of an unknown region. Takes `take_chunk` and answers by WORKER_PEER_CREATED, unless the
 * result is not ERR_OK: then nothing was taken. ERR_INVALID: no snapshot for a peer of this store. */
enum err peer_create_start(struct store *store, struct actor *owner, struct snapshot_chunk_message *take_chunk);

#endif
