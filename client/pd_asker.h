/* pd_asker: questions to the placement driver, asked until somebody answers.
 *
 * One link at a time, to the endpoint that answered last. NotLeader with an address goes there; a refused connection,
 * silence, NotLeader without an address or NotReady again and again goes to the next endpoint. All questions that a client asks may be repeated
 * (ids and timestamps that got lost are merely skipped), so an ask has two ends only: answered, or past its deadline.
 *
 * Owner: the client's actor. An ask's memory is its holder's: from pd_asker_start until `done` or pd_asker_cancel.
 * `done` is called from the asker's own entry points (on_message, tick), never from start or cancel. */
#ifndef CLIENT_PD_ASKER_H
#define CLIENT_PD_ASKER_H

#include "base/error.h"
#include "base/list.h"
#include "env/env.h"
#include "env/executor.h"
#include "proto/wire.h"

#include <stdbool.h>
#include <uthash.h>

struct pd_asker;

struct pd_ask {
    struct wire_pd_request request; /* what it points to is the holder's; id and cluster_id are filled in here */
    uint64_t deadline_us;
    uint64_t stale_after_us; /* a route: after so long anybody may answer, leader or not; 0: the leader alone */
    /* ERR_OK and the reply (lent for the call); or a code of GIVE_UP or ERR_UNAVAILABLE and a text. */
    void (*done)(struct pd_ask *ask, enum err code, const struct wire_pd_reply *reply, const char *text);
    void *context;
    /* The rest is the asker's. */
    struct list link;
    UT_hash_handle hh;
    uint64_t begun_us;
    uint64_t due_us; /* not sent: not before; sent: silence after */
    bool open;
    bool sent;
    uint8_t pauses;
};

struct pd_asker_options {
    const char *endpoints; /* separated by commas */
    const char *name;
    bool tls; /* an endpoint without scheme means tls+tcp:// */
    uint64_t silence_us;
};

/* ERR_INVALID: no endpoint, too many, or one that is empty or too long. */
/* Nothing is dialed before the first tick. */
enum err pd_asker_new(struct env *env, struct actor *owner, uint32_t message_kind,
                      const struct pd_asker_options *options, struct pd_asker **ret_asker, struct error *err);
/* `env` may do without an owner for this: only checks the endpoints. */
enum err pd_asker_check_endpoints(const char *endpoints, struct error *err);
void pd_asker_free(struct pd_asker *asker); /* asks that are open are forgotten; NULL is fine */

void pd_asker_start(struct pd_asker *asker, struct pd_ask *ask, uint64_t now_us);
void pd_asker_cancel(struct pd_asker *asker, struct pd_ask *ask); /* fine if it is not open */
void pd_asker_on_message(struct pd_asker *asker, struct message *take_message, uint64_t now_us);
/* Sends, repeats, gives up. Returns when it wants to be called again; UINT64_MAX: when something was started. */
uint64_t pd_asker_tick(struct pd_asker *asker, uint64_t now_us);

uint64_t pd_asker_cluster_id(const struct pd_asker *asker); /* 0: not known yet */
bool pd_asker_is_up(const struct pd_asker *asker);
/* Why the last thing failed: "pd tcp://127.0.0.1:2379: connection refused"; "" if nothing did. */
const char *pd_asker_trouble(const struct pd_asker *asker);

#endif
