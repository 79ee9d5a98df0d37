/* pd_parts: what the files around one member share: pd.c (life, the door, rounds), pd_raft.c (what the group wants done),
 * pd_snapshot.c (the truth as a whole, to and from another member), pd_health.c (a leader that cannot go on).
 *
 * Inner part of pd. Owner: the pd actor, but for what is said to be for other threads. */
#ifndef PD_PD_PARTS_H
#define PD_PD_PARTS_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "env/executor.h"
#include "env/transport.h"
#include "group/apply_worker.h"
#include "group/group.h"
#include "group/group_log.h"
#include "group/log_worker.h"
#include "pd/pd.h"
#include "pd/pd_fsm.h"
#include "pd/pd_http.h"
#include "pd/pd_jobs.h"
#include "pd/pd_members.h"
#include "pd/pd_service.h"
#include "rpc/admission.h"
#include "rpc/links.h"

enum { PD_GROUP_ID = 1 };
enum pd_message_kind { PD_TICK = 1, PD_FRAME, PD_LOGGED, PD_APPLIED, PD_CUT, PD_JOB, PD_LINKS, PD_HTTP };

/* A connection to another member; frames go out by it, answers come by its own. */
struct pd_peer {
    uint64_t id;
    struct link *link; /* owned by links */
    bool said;         /* that it is down */
};

/* A snapshot that leaves, to one member at a time. */
struct pd_snapshot_out {
    peer_id to;                    /* 0: none */
    uint64_t id;                   /* of this one, in this process */
    struct raft_snapshot snapshot; /* what it is of */
    raft_term term;                /* in which we lead */
    struct engine_iter *iter;      /* owned; NULL while a job has it */
    uint32_t sequence;             /* of the chunk that was sent last */
    bool last;                     /* there is no other */
    uint64_t heard_us;             /* when it last went on */
};

/* A snapshot that comes. */
struct pd_snapshot_in {
    enum { PD_SNAPSHOT_NONE, PD_SNAPSHOT_COMING, PD_SNAPSHOT_WHOLE, PD_SNAPSHOT_ACCEPTED } state;
    conn_id conn;
    peer_id from;
    raft_term term;
    uint64_t id;
    struct raft_snapshot snapshot;
    uint32_t next;      /* chunk */
    bool busy;          /* a job has one */
    struct pd_fsm *fsm; /* owned; WHOLE: what came; ACCEPTED: what was there before */
};

/* Something that the disk was given and has not come back with. */
struct pd_wait {
    uint32_t count;
    uint64_t since_us; /* the oldest of them, or when the one before it came back */
};

struct pd {
    struct env *env;                /* borrowed */
    const struct pd_config *config; /* borrowed */
    struct transport_handler handler;
    struct group_host group_host;
    struct raft_config raft_config;
    struct raft_pool *pool;
    struct group *group; /* NULL: not a member yet, see pd_config.h join */
    struct log_worker *log_worker;
    struct apply_worker *apply_worker;
    struct pd_jobs *jobs;
    struct actor *actor;
    struct links *links;
    struct pd_peer peers[PD_FSM_MEMBERS_MAX];
    uint32_t peer_count;
    uint64_t member_id;    /* 0: none yet; other threads read own_id */
    struct raft_conf conf; /* as of what is applied in memory; the core follows when the rows are written */
    struct pd_fsm *fsm;
    struct pd_service *service;
    struct log_task *log_task; /* of this round; NULL: nothing to log yet */
    struct pd_wait logs, applies;
    struct pd_snapshot_out out;
    struct pd_snapshot_in in;
    uint64_t snapshot_id_last;
    peer_id snapshot_failed[PD_FSM_MEMBERS_MAX]; /* the core hears of these at the next tick: not again at once */
    uint32_t snapshot_failed_count;
    raft_term leading_term;   /* 0: not leading, or not ready to */
    uint64_t barrier;         /* number of the newest ReadIndex */
    bool barrier_wanted;      /* a sealed batch waits for its ReadIndex to be asked for */
    raft_index barrier_index; /* it is confirmed, run the batch when this is applied; 0: not confirmed */
    uint64_t aside_us;        /* pd_health.h: when it last tried to give leadership away */
    bool muted;               /* says nothing to the others: they shall elect another one */
    /* How old is what we know? The leader said at heard_us that heard_index is committed; once that is applied, our truth
     * is that of heard_us or later. */
    raft_index commit_seen, heard_index;
    uint64_t heard_us, fresh_us;
    uint64_t started_us;
    struct pd_http http;
    struct arena message_arena;
    peer_id heard_from; /* by this connection: answers go there while there is no link */
    conn_id heard_conn;
    /* For other threads. */
    _Atomic(uint64_t) cluster, own_id;
    _Atomic(bool) ready;
    struct admission *requests; /* owned; bytes that came in and wait in the mailbox, which counts messages */
    _Atomic(int) failure;       /* enum err */
};

/* ---- pd.c */
void pd_fail(struct pd *pd, enum err code, const char *what);
static inline bool pd_has_failed(const struct pd *pd)
{
    return atomic_load(&pd->failure) != ERR_OK;
}
/* Opens the group whose rows are there. */
enum err pd_open_group(struct pd *pd, struct error *err);

/* ---- pd_raft.c */
void pd_raft_host(struct pd *pd, struct group_host *ret_host);
/* A RaftBatch of a connection that said it is a member. */
void pd_raft_frame(struct pd *pd, conn_id conn, const struct frame *frame);
void pd_raft_applied(struct pd *pd, struct apply_task *take_task);
/* Where others are sent to; false: nobody else, or nobody that we know. */
bool pd_raft_note_leader(struct pd *pd, peer_id leader);
/* The members have changed: links to all but this one. */
void pd_raft_sync_links(struct pd *pd);
struct link *pd_raft_link(const struct pd *pd, uint64_t member); /* NULL: no such member */
/* Leader: a learner that has caught up becomes a voter. */
void pd_raft_tick(struct pd *pd);

/* ---- pd_snapshot.c */
void pd_snapshot_wanted(struct pd *pd, const struct raft_message *message);
void pd_snapshot_cut_done(struct pd *pd, struct message *take_message);
void pd_snapshot_ack(struct pd *pd, const struct frame *frame);
void pd_snapshot_chunk(struct pd *pd, conn_id conn, struct frame *frame);
/* host.install */
void pd_snapshot_install(struct pd *pd, const struct raft_snapshot *snapshot, struct log_task *task);
void pd_snapshot_logged(struct pd *pd);
/* Nothing is at the apply worker now, perhaps: goes on if it may. */
void pd_snapshot_go_on(struct pd *pd);
void pd_snapshot_tick(struct pd *pd, uint64_t now_us);
void pd_snapshot_stop_sending(struct pd *pd);
void pd_snapshot_fini(struct pd *pd);

/* ---- pd_health.c */
void pd_wait_begin(struct pd_wait *wait, uint64_t now_us);
void pd_wait_end(struct pd_wait *wait, uint64_t now_us);
void pd_health_tick(struct pd *pd, uint64_t now_us);

#endif
