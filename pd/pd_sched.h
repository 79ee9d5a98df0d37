/* pd_sched: placement at work: what stores report goes to the view, what the policies decide rides back on the answers.
 *
 *   region_heartbeat --pd_writes--> (newer epoch: through the log) --pd_sched_region--> operator goes on --> step in the answer
 *   store_heartbeat  --pd_service--> pd_sched_store_heartbeat --> steps that are not shown yet, said again each second
 *   tick             --pd_sched_tick--> scheduler_round: policies start operators
 *   people           --pd_sched_*--> operators at once; what must outlast us is proposed as a setting (pd_settings.h)
 *   log              --pd_sched_applied--> settings and stores as they are now
 *
 * Everything here is the leader's: `begin` with leadership, `end` with it. A new leader builds all of it anew from the
 * settings, the stores and the heartbeats, and decides nothing before it knows enough (scheduler.h). Operators and
 * their history are not kept over a change of leader: what an operator has done shows in the regions.
 *
 * Owner: the pd actor: every function here is called on it, only between begin and end (else ERR_NOT_LEADER, NULL, 0). */
#ifndef PD_PD_SCHED_H
#define PD_PD_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "env/env.h"
#include "pd/pd_config.h"
#include "pd/pd_fsm.h"
#include "pd/scheduler.h"
#include "proto/wire.h"

struct pd_op;
struct pd_recovery;
struct pd_sched;

struct pd_sched_host {
    void *context; /* borrowed */
    /* As raft_propose; the command is lent. */
    enum err (*propose)(void *context, struct bytes command, raft_index *ret_index, raft_term *ret_term);
    /* Ids in a row; ERR_NOT_READY: soon. NULL: there are none to be had. */
    enum err (*take_ids)(void *context, uint32_t count, uint64_t *ret_first);
};

/* All arguments are borrowed and outlive us. */
struct pd_sched *pd_sched_new(struct env *env, const struct pd_config *config, struct pd_fsm *fsm,
                              const struct pd_sched_host *host);
void pd_sched_free(struct pd_sched *sched); /* NULL is fine */
void pd_sched_begin(struct pd_sched *sched);
void pd_sched_end(struct pd_sched *sched); /* also when it has not begun */

/* ---- what is reported */

/* Stores or settings are others than they were. */
void pd_sched_applied(struct pd_sched *sched);
/* Time passed: a round, if it is time. */
void pd_sched_tick(struct pd_sched *sched);
void pd_sched_store_registered(struct pd_sched *sched, store_id id);
/* Adds steps to the answer. */
void pd_sched_store_heartbeat(struct pd_sched *sched, const struct wire_store *store, struct arena *arena,
                              struct wire_pd_reply *reply);

enum region_news {
    REGION_SAME,    /* as far as its descriptor goes */
    REGION_CHANGED, /* its peers or its leader */
    REGION_SPLIT,   /* it has lost a part of its range, or is such a part */
};
/* A PdOp peer_report. Takes it. */
void pd_sched_peer_report(struct pd_sched *sched, struct pd_op *take_op);
/* Declared lost: it may not speak any more. */
bool pd_sched_store_is_lost(const struct pd_sched *sched, store_id id);
struct pd_recovery *pd_sched_recovery(const struct pd_sched *sched);
/* The tree was just told of this heartbeat. `ret_step` is filled, in memory of the arena, if there is something to do:
 * true. */
bool pd_sched_region(struct pd_sched *sched, region_id region, enum region_news news, struct arena *arena,
                     struct wire_region_step *ret_step);
/* How busy it is now, after what this heartbeat counted: for region_seen. */
void pd_sched_load(const struct region_node *node, const struct wire_region_heartbeat *heartbeat,
                   struct region_seen *seen);

/* What was applied shows at once in what is read below, not only after the next round. */
void pd_sched_refresh(struct pd_sched *sched);

/* ---- to read: for answers to people, borrowed until the next call */

const struct scheduler *pd_sched_scheduler(const struct pd_sched *sched); /* states, ready, ...; NULL: not leading */
const struct pd_view *pd_sched_view(const struct pd_sched *sched); /* regions, stores, rules, operators, means; NULL */
const struct pd_config *pd_sched_config(const struct pd_sched *sched); /* with what was set online */
/* Operators: operator_list_next, _history, _of (operator.h), on pd_sched_view()->operators. NULL: neither running nor kept. */
const struct operator* pd_sched_operator(const struct pd_sched *sched, uint64_t number);
uint64_t pd_sched_now_ms(const struct pd_sched *sched); /* the clock of created_ms, ended_ms, heard_ms, ... */
/* What is said for "why region N": the operator under way, those that ended, what replica_check says of it now, its load and
 * whether it may be merged; "why store N". JSON objects. ERR_REGION_NOT_FOUND, ERR_STORE_NOT_MATCH. */
enum err pd_sched_why_region(struct pd_sched *sched, region_id region, struct buf *json, struct error *err);
enum err pd_sched_why_store(struct pd_sched *sched, store_id store, struct buf *json, struct error *err);
void pd_sched_operator_json(const struct pd_sched *sched, const struct operator* operator, struct buf * json);
/* The plan of `balance`: per store what it holds, should hold, and how many bytes are above the mean in all. */
enum err pd_sched_balance_json(struct pd_sched *sched, struct buf *json, struct error *err);

/* ---- what people ask for. A refusal changes nothing, and its text says why. */

/* Operators. `ret_number`: of the operator. ERR_REGION_NOT_FOUND, ERR_BUSY (has one), ERR_CONDITION_FAILED,
 * ERR_STORE_NOT_MATCH. */
enum err pd_sched_transfer_leader(struct pd_sched *sched, region_id region, store_id to, uint64_t *ret_number,
                                  struct error *err);
enum err pd_sched_add_peer(struct pd_sched *sched, region_id region, store_id to, bool learner, uint64_t *ret_number,
                           struct error *err);
enum err pd_sched_remove_peer(struct pd_sched *sched, region_id region, store_id from, uint64_t *ret_number,
                              struct error *err);
enum err pd_sched_move_peer(struct pd_sched *sched, region_id region, store_id from, store_id to, uint64_t *ret_number,
                            struct error *err);
/* In the middle, or where a rule begins inside. */
enum err pd_sched_split(struct pd_sched *sched, region_id region, uint64_t *ret_number, struct error *err);
enum err pd_sched_merge(struct pd_sched *sched, region_id source, region_id target, uint64_t *ret_number,
                        struct error *err);
enum err pd_sched_cancel(struct pd_sched *sched, region_id region, struct error *err); /* ERR_NOT_FOUND */
/* Encoded keys, copied; an empty end is the end of the key space. ERR_BUSY: another one goes on. */
enum err pd_sched_scatter(struct pd_sched *sched, struct bytes start_key, struct bytes end_key, struct error *err);

/* What follows is a setting: `ret_index` is its place in pd's log; it counts, and outlasts us, once that is applied
 * (pd_fsm_applied_index). 0: nothing had to change. ERR_BUSY: what was wanted of a store before is not applied yet. */

enum err pd_sched_drain(struct pd_sched *sched, store_id store, raft_index *ret_index, struct error *err);
enum err pd_sched_cancel_drain(struct pd_sched *sched, store_id store, raft_index *ret_index, struct error *err);
/* Gets nothing new. */
enum err pd_sched_cordon(struct pd_sched *sched, store_id store, bool cordoned, raft_index *ret_index,
                         struct error *err);
/* No leader on it; all leaders that can on it. ERR_CONDITION_FAILED: the other one is asked for. */
enum err pd_sched_evict_leaders(struct pd_sched *sched, store_id store, bool evict, raft_index *ret_index,
                                struct error *err);
enum err pd_sched_grant_leaders(struct pd_sched *sched, store_id store, bool grant, raft_index *ret_index,
                                struct error *err);
/* An empty value takes the label away. */
enum err pd_sched_label(struct pd_sched *sched, store_id store, const char *name, const char *value,
                        raft_index *ret_index, struct error *err);
/* Thousandths; 0: as it is. */
enum err pd_sched_weight(struct pd_sched *sched, store_id store, uint32_t leader_permille, uint32_t region_permille,
                         raft_index *ret_index, struct error *err);
/* Bytes of snapshots per second, each way; 0: the default (store-limit). */
enum err pd_sched_limit(struct pd_sched *sched, store_id store, uint64_t receive_size, uint64_t send_size,
                        raft_index *ret_index, struct error *err);
/* A planned restart: for so long leaders leave it, it gets nothing new and its silence repairs nothing. 0: it is over. */
enum err pd_sched_prepare_stop(struct pd_sched *sched, store_id store, uint64_t duration_ms, raft_index *ret_index,
                               struct error *err);
/* A store that was drained to its end is forgotten. */
enum err pd_sched_remove_tombstone(struct pd_sched *sched, store_id store, raft_index *ret_index, struct error *err);
/* By its name in scheduler_policy_name. Chaos is off until it is asked for. ERR_NOT_FOUND. */
enum err pd_sched_switch(struct pd_sched *sched, const char *policy, bool on, raft_index *ret_index, struct error *err);
/* For a store: evict-leader and grant-leader, as above. ERR_INVALID: another one; ERR_CONDITION_FAILED: it is off. */
enum err pd_sched_switch_store(struct pd_sched *sched, const char *policy, store_id store, bool on,
                               raft_index *ret_index, struct error *err);
/* Not before so long has passed; not a setting. */
enum err pd_sched_pause(struct pd_sched *sched, const char *policy, uint64_t duration_ms, struct error *err);
uint64_t pd_sched_paused_ms(const struct pd_sched *sched, enum scheduler_policy policy); /* what is left of it; 0: none */
/* One of the keys that can be set online (pd_config_is_online); NULL: as in the file again. */
enum err pd_sched_set_config(struct pd_sched *sched, const char *key, const char *text, raft_index *ret_index,
                             struct error *err);
enum err pd_sched_put_rule(struct pd_sched *sched, const struct wire_placement_rule *rule, raft_index *ret_index,
                           struct error *err);
/* ERR_NOT_FOUND. The default rule (polder/default) is then what `replicas` says. */
enum err pd_sched_remove_rule(struct pd_sched *sched, const char *group, const char *name, raft_index *ret_index,
                              struct error *err);

#endif
