/* store_parts: what the actors of one storenode know of each other, and the messages between them. Inner header.
 *
 *   transport --KV_BATCH, RAFT_BATCH--> region workers --> log worker --LOG_DONE--> region workers
 *                                          |  \--> apply worker --APPLY_DONE--> region workers
 *                                          |  \--> read workers --FETCHED--> region workers
 *                                          |  \--MERGE--> the region worker of a neighbour (peer_merge.h)
 *                                          |  \--CHILD--> the region worker of a region that was split off
 *                                          |  \--split_ask, conf_ask--> pd link --SPLIT_IDS, CONF_IDS--> region workers
 *                                          |  \--split_check--> read workers --SPLIT_CHECKED--> region workers
 *                                          |  \--cut, via the apply worker--> snapshot sender --SNAPSHOT_SENT--> region workers
 *                                          |  \--chunks--> snapshot receiver --SNAPSHOT_STAGED--> region workers
 *                                          |  \--TIME_WISH-- from read workers, which met a row that is due
 *                                          |  \--PEERS, one after the other, for the pd link (peer_report.h)
 *                                          |  \--SHARED--> region worker 0, which sends the beats
 *                                          \--PD_FRAME--> pd link --REGIONS, STORES, HEARTBEAT_ALL--> region workers */
#ifndef STORENODE_STORE_PARTS_H
#define STORENODE_STORE_PARTS_H

#include <stdatomic.h>

#include "base/arena.h"
#include "env/env.h"
#include "env/executor.h"
#include "env/transport.h"
#include "group/apply_worker.h"
#include "group/log_worker.h"
#include "meta/region.h"
#include "rpc/admission.h"
#include "storenode/disk_guard.h"
#include "storenode/read_worker.h"
#include "storenode/replies.h"
#include "storenode/store_config.h"

enum { STORE_WORKERS_MAX = 16 };

/* Kinds of RaftMessage that are the store's own and never reach the core. */
enum {
    STORE_ROWS_WANTED = 64, /* a damaged replica asks its leader for all rows (peer_heal.h) */
    STORE_HASH = 80,        /* index; context: hash; commit: rows; commit_term: bytes (region_hash.h) */
};

struct region_worker;
struct pd_link;
struct snapshot_sender;
struct snapshot_receiver;

struct store {
    struct env *env;                   /* borrowed */
    const struct store_config *config; /* borrowed */
    struct raft_config raft_config;
    struct raft_config raft_config_fresh; /* of groups that begin in this life */
    uint32_t worker_count, reader_count;
    struct region_worker *workers[STORE_WORKERS_MAX]; /* owned; region id modulo worker_count finds the one */
    struct read_worker *readers[STORE_WORKERS_MAX];   /* owned */
    struct log_worker *log_worker;                    /* owned */
    struct apply_worker *apply_worker;                /* owned */
    struct store_ranges *ranges;                      /* owned; the apply worker's */
    struct replies *apply_replies;                    /* owned; used by the apply worker only */
    struct snapshot_sender *snapshot_sender;          /* owned */
    struct snapshot_receiver *snapshot_receiver;      /* owned */
    struct pd_link *pd_link;                          /* owned */
    struct transport_handler handler;
    struct admission *requests, *raft_frames;         /* owned; bytes that came in and are still held */
    /* Written once, by whoever learns it; read by every thread. */
    _Atomic uint64_t cluster_id, store_id;
    _Atomic bool ready;
    struct disk_guard disk_guard;
    _Atomic uint64_t frames_refused; /* not what may come on their connection; it was closed */
    _Atomic int failure; /* enum err: why the store must stop; ERR_OK while it serves */
    uint64_t started_at_ms;
    uint64_t incarnation; /* not 0; another one in each life */
    _Atomic uint32_t snapshots_out, snapshots_in; /* under way; each at most snapshots-max */
    struct {
        _Atomic uint64_t sent, not_sent, resumed, slow, sent_size, refused, installed, installed_size, installed_at_start;
    } snapshot_counts;
    struct {
        _Atomic uint64_t found, damaged, healed, lost; /* replicas: since the start; now; since the start; now, not started */
        _Atomic uint64_t hashes, hash_mismatches;      /* region_hash.h */
    } damage_counts;
    _Atomic uint32_t checks_under_way; /* of those that are led here */
    struct {
        _Atomic uint64_t prepared, rolled_back, taken_in, waited, by_snapshot;
    } merge_counts;
    /* store_leave: groups that each worker is handing over. */
    _Atomic uint32_t leads_count[STORE_WORKERS_MAX];
    /* When each region worker last had its tick with a disk that answers: what a beat vouches for. */
    _Atomic uint64_t fit_us[STORE_WORKERS_MAX];
};

/* Nothing may be promised any more: logs once, and makes the process end. Any thread. */
void store_fail(struct store *store, enum err code, const char *what);

/* ---- messages to region workers */
enum worker_message_kind {
    WORKER_KV_BATCH,
    WORKER_RAFT_BATCH,
    WORKER_LOG_DONE,
    WORKER_APPLY_DONE,
    WORKER_FETCHED,
    WORKER_TICK,
    WORKER_GATHERED,
    WORKER_LINKS,
    WORKER_REGIONS,
    WORKER_STORES,
    WORKER_REGION_SEEN,
    WORKER_REGION_UNKNOWN,
    WORKER_STEPS,
    WORKER_HEARTBEAT_ALL,
    WORKER_SHARED,
    WORKER_TRANSFER,
    WORKER_LEAVE,
    WORKER_CHILD,
    WORKER_PEER_CREATED,
    WORKER_SPLIT,
    WORKER_CONF_CHANGE,
    WORKER_CONF_IDS,
    WORKER_PEER_FORGOTTEN,
    WORKER_LOST_FORGOTTEN,
    WORKER_MERGE,
    WORKER_SPLIT_IDS,
    WORKER_SPLIT_CHECKED,
    WORKER_SNAPSHOT_CUT,
    WORKER_SNAPSHOT_SENT,
    WORKER_SNAPSHOT_CHUNK,
    WORKER_SNAPSHOT_STAGED,
    WORKER_SNAPSHOT_INSTALLED,
    WORKER_TIME_WISH,
    WORKER_DAMAGE,
    WORKER_HASHED,
    WORKER_STATUS,
    WORKER_PEERS,
    WORKER_EMPTY,
};

/* Requests of one frame; a worker takes those of its regions. */
struct kv_batch {
    struct message message;
    conn_id conn;
    struct frame *frame; /* owned: the requests point into it */
    struct arena batch_arena;
    struct wire_kv_request_batch batch;
    struct admission_charge *charge; /* counted */
    uint64_t received_us;
};

struct raft_batch {
    struct message message;
    struct frame *frame; /* owned */
    struct arena batch_arena;
    struct wire_raft_batch batch;
    struct admission_charge *charge; /* counted */
};

/* WORKER_SHARED, to worker 0, which sends the beats: another worker has a region that has a peer on that store. */
struct shared_message {
    struct message message;
    store_id store;
};

/* WORKER_REGIONS: regions whose rows are durable now and whose peers here should start (routes; leader_peer: who should
 * lead first). WORKER_STORES: where the other stores are (stores).
 * WORKER_STEPS: what pd wants done next to regions that are led here (steps).
 * WORKER_REGION_SEEN: what pd knows of a region that somebody asked about (routes). */
struct regions_message {
    struct message message;
    struct frame *frame; /* owned; a PdReply */
    struct arena message_arena;
    struct wire_pd_reply reply;
};

/* To pd_link, what became of this region? WORKER_REGION_UNKNOWN: it is not on pd's map. */
struct region_ask {
    struct message message;
    region_id region;
};

/* WORKER_CHILD: its rows are in the engine. */
struct child_message {
    struct message message;
    struct region *region; /* owned */
    bool campaign;
};

/* WORKER_SNAPSHOT_SENT: what became of a cut that the sender took. */
struct snapshot_sent {
    struct message message;
    region_id region;
    peer_id to;
    bool ok;
};

/* WORKER_SNAPSHOT_CHUNK: rows of a region that is behind here. */
struct snapshot_chunk_message {
    struct message message;
    conn_id conn;
    store_id from_store;
    struct frame *frame; /* owned: the chunk points into it */
    struct arena chunk_arena;
    struct wire_snapshot_chunk chunk;
    struct admission_charge *charge; /* counted */
    /* of the receiver (snapshot_receive.h) */
    struct snapshot_chunk_message *next;
    struct actor *owner;
    bool begin;
};

struct transfer_message {
    struct message message;
    region_id region;
    peer_id to;
};

#endif
