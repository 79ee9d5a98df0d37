/* snapshot_receive: chunks of snapshots on their way in, written to tables beside what is live.
 *
 * The region worker says which may come (limits, epochs) and hands their chunks over; here they are put in order, held
 * while they are few (a small snapshot goes as plain rows), and from snapshot-small-size on written to tables. Each chunk but
 * the last is acknowledged when it is written: what the disk cannot take is not sent. The last one is finished and read
 * again; then the region worker gets all of it (WORKER_SNAPSHOT_STAGED), and it acknowledges when the marker is durable.
 *
 *   chunk that begins --> COMING --last chunk--> finished, checked --> WORKER_SNAPSHOT_STAGED
 *                           '--the region worker gives up, or an error--> files are removed
 *
 * Half of a snapshot is lost when the store stops: the sender begins again. It is not when the connection breaks.
 * Limits: snapshots-max (counted by the region workers); snapshot-receive-rate bytes per second together, beyond which
 * chunks wait unacknowledged.
 *
 * Owner: an actor of its own; it may wait for the disk. */
#ifndef STORENODE_SNAPSHOT_RECEIVE_H
#define STORENODE_SNAPSHOT_RECEIVE_H

#include "storenode/snapshot_tables.h"
#include "storenode/store_parts.h"

struct snapshot_receiver;

/* All of a snapshot, if `code` is ERR_OK. */
struct snapshot_staged {
    struct message message;
    struct engine *engine;
    region_id region;
    uint64_t id;
    enum err code;
    struct snapshot_tables tables;         /* owned; freed with the message, the files are removed too */
    struct snapshot_chunk_message *chunks; /* owned list by `next`: those that are to be rows, the last ones or all */
    uint32_t chunk_first, chunk_count;     /* of those */
    uint32_t next;                         /* all before it came */
    uint64_t size;
};

enum err snapshot_receiver_new(struct store *store, struct snapshot_receiver **ret_receiver);
void snapshot_receiver_free(struct snapshot_receiver *receiver); /* after the executor has stopped; NULL is fine */
/* Chunk 0 with `begin`: a new one, of which `owner` will hear once. Any actor. */
void snapshot_receiver_post(struct snapshot_receiver *receiver, struct snapshot_chunk_message *take_chunk,
                            struct actor *owner, bool begin);
/* Not wanted any more. Fine if it is not known. Any actor. */
void snapshot_receiver_post_drop(struct snapshot_receiver *receiver, region_id region, uint64_t id);
/* What nobody wants goes, files too. Any actor. */
void snapshot_receiver_post_forget(struct snapshot_receiver *receiver, struct snapshot_staged *take_staged);
/* Any other work beside what is live: runs once, on the receiver. */
struct snapshot_job {
    struct message message; /* free: drops the job */
    void (*run)(struct snapshot_job *take_job);
};
void snapshot_receiver_post_job(struct snapshot_receiver *receiver, struct snapshot_job *take_job);

struct frame *snapshot_ack_frame(region_id region, uint64_t id, uint32_t next, enum err code);

#endif
