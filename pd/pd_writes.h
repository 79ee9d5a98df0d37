/* pd_writes: requests that must go through pd's log before they can be answered, and what pd itself puts there.
 *
 *   register_store    id from the window, then put_store                    answered when applied
 *   region_heartbeat  regions with a newer epoch: put_regions               answered when applied
 *   alloc_id          from the window; a window at a time: alloc_ids        answered at once, or when the window is
 *   timestamp         from the window; a window at a time: timestamp_window  "
 *   add_member, remove_member   a change of pd's own group              answered when applied
 *   (pd itself)       set_cluster at the first start; the first regions (bootstrap) once enough stores have registered
 *
 * All that is proposed in one round of the actor leaves in one append, so in one fsync.
 *
 * Everything here is leader's state: `begin` when leadership is established and all of the log is applied, `end` when
 * it is lost; then all who wait are told NotLeader. That is safe even for what might still be applied, because every
 * one of these requests may be repeated: a registration by its token, the others by their nature.
 *
 * Owner: the pd actor.
 * Invariants: W1 a request is answered exactly once;  W2 proposals are in order of index;  W3 at most
 * WRITES_WAITING_MAX requests wait, then Busy. */
#ifndef PD_PD_WRITES_H
#define PD_PD_WRITES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"
#include "env/env.h"
#include "pd/cluster.h"
#include "pd/pd_config.h"
#include "pd/pd_fsm.h"
#include "pd/pd_op.h"
#include "pd/pd_sched.h"

enum { PD_WRITES_WAITING_MAX = 4096, PD_HEARTBEATS_MAX = 10000 /* regions in one region_heartbeat request */ };

struct pd_writes;

struct pd_writes_host {
    void *context; /* borrowed */
    /* As raft_propose; the command is lent. */
    enum err (*propose)(void *context, struct bytes command, raft_index *ret_index, raft_term *ret_term);
    /* As raft_propose_conf and raft_get_status. */
    enum err (*propose_conf)(void *context, const struct raft_conf_change *change, raft_index *ret_index,
                             raft_term *ret_term);
    void (*status)(void *context, struct raft_status *ret_status);
    /* Code, text and results are filled in; the host adds the rest, sends it and frees the request. */
    void (*answer)(void *context, struct pd_op *take_op, struct wire_pd_reply *reply);
};

/* Everything is borrowed and outlives us. */
struct pd_writes *pd_writes_new(struct env *env, const struct pd_config *config, struct pd_fsm *fsm,
                                struct cluster *cluster, struct pd_sched *sched, const struct pd_writes_host *host);
void pd_writes_free(struct pd_writes *writes); /* drops who waits unanswered; NULL is fine */

void pd_writes_begin(struct pd_writes *writes);
void pd_writes_end(struct pd_writes *writes);

/* Only between begin and end. All take the request; the answer may come before they return. */
void pd_writes_register_store(struct pd_writes *writes, struct pd_op *take_op);
void pd_writes_region_heartbeat(struct pd_writes *writes, struct pd_op *take_op);
void pd_writes_alloc_id(struct pd_writes *writes, struct pd_op *take_op);
void pd_writes_timestamp(struct pd_writes *writes, struct pd_op *take_op);
void pd_writes_member(struct pd_writes *writes, struct pd_op *take_op);

/* A normal entry with a command was applied to the fsm. Also outside of begin and end (then nobody waits). */
void pd_writes_applied(struct pd_writes *writes, raft_index index, raft_term term, const struct pd_fsm_result *result);
/* Ends a round (or a tick): serves who waited for a window, opens windows, starts the bootstrap if it is time. */
void pd_writes_round(struct pd_writes *writes);

struct tso;
const struct tso *pd_writes_tso(const struct pd_writes *writes);
uint32_t pd_writes_waiting_count(const struct pd_writes *writes);

/* Ids in a row, for what pd makes itself. ERR_NOT_READY: they are being reserved. */
enum err pd_writes_take_ids(struct pd_writes *writes, uint32_t count, uint64_t *ret_first);

#endif
