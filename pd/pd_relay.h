/* pd_relay: what people ask over HTTP of a member that does not lead, the leader answers, by the link between the two.
 *
 *   the member asked:  exchange --pd_relay_send--> HttpCall ------------> pd_relay_take: an exchange like any other  :the leader
 *                      exchange <--pd_relay_answered-- HttpAnswer <------ its answer
 *
 * So people, and probes, may ask any member, although status ports are reached from their own machine only: between members
 * there is TLS. A call is passed on once; if who gets it does not lead either, that is the answer.
 *
 * Owner: the pd actor. */
#ifndef PD_PD_RELAY_H
#define PD_PD_RELAY_H

#include "base/list.h"
#include "env/env.h"
#include "env/http.h"
#include "rpc/links.h"

struct pd_relay {
    struct env *env;     /* borrowed */
    struct list waiting; /* for the leader's answer */
    uint64_t call_id;    /* the newest */
};

void pd_relay_init(struct pd_relay *relay, struct env *env);
/* Who waits is told that nobody knows. */
void pd_relay_fini(struct pd_relay *relay);

/* False: the link is not up, the exchange is still the caller's. */
bool pd_relay_send(struct pd_relay *relay, struct link *leader, struct http_exchange *take_exchange);
void pd_relay_answered(struct pd_relay *relay, const struct frame *frame);
/* Who has waited for too long gives up. */
void pd_relay_tick(struct pd_relay *relay);

/* Another member asks on `conn`. NULL: malformed. */
struct http_exchange *pd_relay_take(struct pd_relay *relay, conn_id conn, const struct frame *frame);

#endif
