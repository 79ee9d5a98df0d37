/* pd_recovery: unsafe recovery at work: asks the stores that are left, plans (recovery.h), tells the chosen, watches.
 *
 *   people: plan      --> stores are asked in the answers to their heartbeats --peer_report--> all there: the plan, with an id
 *   people: apply ID  --> planned anew: still the same? --> each lost store is a store that never comes back, and "recovery"
 *                         says that this one goes on: settings, so they outlast us
 *   from then on      --> asked every second; whoever the plan of that moment wants to lead alone is told so (WIRE_STEP_KIND_FORCE)
 *                         with the next heartbeat; nothing is left to do: it has ended
 *
 * What goes on is no list of steps: it is the wish that no region is without a majority because of those stores, and each
 * round looks anew. So a new leader of pd goes on where the old one was; a step is said again until it shows; and regions
 * that a split in the log of a forced one brings to light get their turn. A plan's id is a digest of what it would do: no plan is
 * kept anywhere.
 *
 * Invariant: nobody is told anything before the lost stores are lost in pd's log, and from then on pd refuses them.
 *
 * Owner: the pd actor; part of pd_sched. docs/decisions/0021. */
#ifndef PD_PD_RECOVERY_H
#define PD_PD_RECOVERY_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/types.h"
#include "pd/recovery.h"
#include "proto/wire.h"
#include "raft/raft.h"

enum { RECOVERY_PLAN_ID_SIZE = 512, RECOVERY_STORES_MAX = 64 };

struct pd_op;
struct pd_recovery;
struct pd_sched;

struct pd_recovery *pd_recovery_new(struct pd_sched *sched);
void pd_recovery_free(struct pd_recovery *recovery);  /* NULL is fine */
void pd_recovery_reset(struct pd_recovery *recovery); /* leadership has ended */

void pd_recovery_tick(struct pd_recovery *recovery);
/* Adds questions and steps to the answer. */
void pd_recovery_store_heartbeat(struct pd_recovery *recovery, store_id store, struct arena *arena,
                                 struct wire_pd_reply *reply);
void pd_recovery_report(struct pd_recovery *recovery, struct pd_op *take_op);

/* The plan for these stores and those that are lost already. The caller ends it at once: it borrows from the tree.
 * ERR_NOT_READY: ask again soon, the stores are being asked; ERR_CONDITION_FAILED, ERR_STORE_NOT_MATCH, ERR_INVALID: never so. */
enum err pd_recovery_plan(struct pd_recovery *recovery, const store_id *stores, uint32_t count,
                          struct recovery_plan *ret_plan, struct error *err);
/* "3.4-0123456789abcdef": the stores and the digest. */
void pd_recovery_id(const store_id *stores, uint32_t count, uint64_t digest, char *text, size_t size);
enum err pd_recovery_parse(const char *text, store_id *stores, uint32_t *ret_count, uint64_t *ret_digest,
                           struct error *err);
/* As pd_sched_drain. Also ERR_CONDITION_FAILED: it is another plan by now. `create_empty`: empty regions take the place of
 * holes of which nothing is left, once all that could be forced lead. */
enum err pd_recovery_apply(struct pd_recovery *recovery, const char *id, bool create_empty, raft_index *ret_index,
                           struct error *err);

/* What goes on, or was the last one. */
struct pd_recovery_region {
    region_id region;
    store_id store; /* who was chosen */
    peer_id peer;
    uint64_t epoch_conf_next;
    char refused[64];                                 /* what spoke against it at its store; "": nothing */
    uint64_t planned_ms, forced_ms, led_ms, whole_ms; /* when it was seen; 0: not yet */
};
/* False: there was none. Memory: of the arena. */
bool pd_recovery_last(const struct pd_recovery *recovery, struct arena *arena, struct wire_recovery *ret_last);
bool pd_recovery_is_running(const struct pd_recovery *recovery);
uint32_t pd_recovery_region_count(const struct pd_recovery *recovery);
const struct pd_recovery_region *pd_recovery_region(const struct pd_recovery *recovery, uint32_t index);
/* A store that has not answered the question that goes on; 0: none. */
store_id pd_recovery_waits_for(const struct pd_recovery *recovery);

#endif
