/* pd_service: requests of clients, stores and tools; every PdOp of proto/pd.fbs.
 *
 *   frame --pd_service_request--> refused at once (malformed, unknown op, other cluster, not leader), or queued
 *         --pd_service_seal-----> batch of the round, waits for the proof that we still lead (lease or ReadIndex: pd.c)
 *         --pd_service_run------> read: answered from memory;  write: pd_writes, answered after apply
 *
 * Only the leader answers, but for cluster_info, which helps to find it, and routes that may be stale: any member answers
 * those, and says how old its knowledge is (lag_ms) and of which applied index (revision). Answers carry code, action and wait_ms;
 * cluster id, bootstrapped, region count, revision (applied index) and how many stores the bootstrap waits for are
 * always there.
 *
 *   wrong cluster id                      ClusterNotMatch, both ids in the text
 *   before the first regions exist        NotReady + wait_ms (get_region, scan_regions, region_heartbeat)
 *   a key that no region covers just now  RegionNotFound + wait_ms (a split is being reported)
 *   not the leader                        NotLeader + leader_address, or NotReady + wait_ms while nobody is known to
 * lead an op of a newer version              Unsupported bytes that are no PdRequest           Invalid, with id 0
 *
 * Lists in answers are cut at a size or at `limit`: scan_regions and bootstrap_regions go on from the end_key
 * of the last route (an empty end_key, or no route at all: that was the end). bootstrap_regions begins at `key`, and
 * lists only regions that still have their first epoch: a region that has changed since must reach a store as a Raft
 * message.
 *
 * Owner: the pd actor. */
#ifndef PD_PD_SERVICE_H
#define PD_PD_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"
#include "env/env.h"
#include "env/transport.h"
#include "pd/cluster.h"
#include "pd/pd_config.h"
#include "pd/pd_fsm.h"

enum {
    PD_SCAN_LIMIT_DEFAULT = 1000,
    PD_SCAN_LIMIT_MAX = 100 * 1000,
    PD_REPLY_SIZE_MAX = 8 * 1024 * 1024,          /* of the routes in one answer, roughly */
    PD_FIRST_REGIONS_SIZE_MAX = 20 * 1024 * 1024, /* the same, of bootstrap_regions: 100,000 regions fit */
    PD_QUEUE_MAX = 4096,                          /* requests that wait for their batch, then Busy */
};

struct pd_service;
struct pd_writes;

struct pd_service_counts {
    uint64_t requests, store_heartbeats, region_heartbeats, timestamps; /* since the start */
};

struct pd_service_host {
    void *context; /* borrowed */
    /* As raft_propose; the command is lent. */
    enum err (*propose)(void *context, struct bytes command, raft_index *ret_index, raft_term *ret_term);
    /* As raft_propose_conf, raft_transfer and raft_get_status. */
    enum err (*propose_conf)(void *context, const struct raft_conf_change *change, raft_index *ret_index,
                             raft_term *ret_term);
    enum err (*transfer)(void *context, uint64_t member);
    void (*status)(void *context, struct raft_status *ret_status);
    void (*send)(void *context, conn_id conn, const struct wire_pd_reply *reply);
};

/* All arguments are borrowed and outlive us. */
struct pd_service *pd_service_new(struct env *env, const struct pd_config *config, struct pd_fsm *fsm,
                                  const struct pd_service_host *host);
/* For pd_api: what the leader remembers, and what goes through the log. */
const struct cluster *pd_service_cluster(const struct pd_service *service);
struct pd_service_counts pd_service_get_counts(const struct pd_service *service);
const struct pd_writes *pd_service_writes(const struct pd_service *service);
void pd_service_free(struct pd_service *service); /* NULL is fine */

/* Leadership: begins when all of the log is applied, ends with an answer to everybody who waits. */
void pd_service_begin(struct pd_service *service);
void pd_service_end(struct pd_service *service);
/* Who leads, as far as known: for NotLeader. `address` is copied; NULL: it is this one, or nobody is known. */
void pd_service_set_leader(struct pd_service *service, uint64_t member, const char *address);
/* Of another one; NULL: nobody is known. Borrowed until the next call. */
const char *pd_service_leader_address(const struct pd_service *service);
/* All that was committed at `fresh_us` is applied here; 0: nobody has ever said so. */
void pd_service_set_fresh(struct pd_service *service, uint64_t fresh_us);

struct pd_sched *pd_service_sched(const struct pd_service *service); /* for what people ask and read */

void pd_service_request(struct pd_service *service, conn_id conn, struct frame *take_frame);
/* What was queued is the next batch; false: there is nothing, or the batch before was not run yet. */
bool pd_service_seal(struct pd_service *service);
/* Leadership was confirmed after the seal, and all that was committed by then is applied. */
void pd_service_run(struct pd_service *service);

/* From the group, see pd_writes. */
void pd_service_applied(struct pd_service *service, raft_index index, raft_term term,
                        const struct pd_fsm_result *result);
/* Time passed: requests that came while nobody was known to lead are kept for one tick, because a lone member leads
 * within milliseconds of its start, and are refused at the second one. */
void pd_service_tick(struct pd_service *service);
/* Last thing in a round, before what was proposed is pulled; and in each tick. */
void pd_service_round(struct pd_service *service);

#endif
