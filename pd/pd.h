/* pd: a member of the placement driver, ready to serve.
 *
 * pd knows where every key range lives. What must never be lost (cluster id, stores, regions, id and timestamp windows)
 * is replicated truth behind a Raft group (pd_fsm); what stores report again anyway (heartbeats, leaders) is the
 * leader's memory (cluster). One actor owns all of it; connections post their frames to that actor.
 *
 *   frame --on_frame (transport thread)--> actor --> pd_service --> answer at once, or propose and answer after apply
 *
 * The caller fills `env` (the engine is open, the executor runs) and owns it. Shutdown: stop the executor, close the
 * transport, then pd_free. After pd_new has failed the same order holds: *ret_pd is then NULL, or what is left to free.
 *
 * Errors of pd_new: ERR_CLUSTER_NOT_MATCH when the engine holds something that is not a pd's (a storenode's data
 * directory), ERR_CORRUPT when a row cannot be read, ERR_LOCKED when the port is in use, ERR_INVALID for an address
 * that is none. The text names the data directory or the address. */
#ifndef PD_PD_H
#define PD_PD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "env/env.h"
#include "pd/pd_config.h"

struct pd;

/* Listens, loads and starts; `config` is borrowed until pd_free. Serving begins a little later: pd_is_ready. */
enum err pd_new(struct env *env, const struct pd_config *config, struct pd **ret_pd, struct error *err);
/* Only when the executor no longer runs any of its actors; NULL is fine. */
void pd_free(struct pd *pd);

/* Any thread. A leader is known and the cluster has its id: requests are answered here, or sent there. */
bool pd_is_ready(const struct pd *pd);
/* Any thread. ERR_OK, or why the member stopped serving for good (a failed write, a command of a newer version in the
 * log): the process must end. */
enum err pd_failure(const struct pd *pd);
/* Any thread. 0 until the first start has given the cluster its id. */
uint64_t pd_cluster_id(const struct pd *pd);

/* Any thread. A request over HTTP, answered by pd_api on the actor. */
struct http_exchange;
void pd_http(struct pd *pd, struct http_exchange *take_exchange);

/* For checkers that run in the same thread (simulator); borrowed. */
struct pd_fsm;
struct raft;
const struct pd_fsm *pd_get_fsm(const struct pd *pd);
struct pd_sched;
struct pd_sched *pd_get_sched(const struct pd *pd); /* for what people would ask for */
struct raft *pd_get_raft(const struct pd *pd); /* NULL: no member yet */
bool pd_is_leading(const struct pd *pd);

#endif
