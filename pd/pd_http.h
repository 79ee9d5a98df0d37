/* pd_http: requests over HTTP inside the pd actor: asked of pd_api, and answered at once or when the log has them.
 *
 * Owner: the pd actor, but for pd_http_message_new. */
#ifndef PD_PD_HTTP_H
#define PD_PD_HTTP_H

#include "base/list.h"
#include "env/executor.h"
#include "pd/pd_api.h"
#include "pd/pd_relay.h"

#define PD_HTTP_CONN (UINT64_C(1) << 63) /* no transport counts that far */

struct http_exchange;

struct pd_http {
    struct list waiting; /* what they ask for is proposed, by this leader, or asked of pd_service */
    uint64_t count;      /* of requests */
    conn_id conn;        /* the newest that was given to pd_service */
    struct pd_relay relay;
};

/* Any thread. Dropped unhandled, it is answered. */
struct message *pd_http_message_new(uint32_t kind, struct http_exchange *take_exchange);

void pd_http_init(struct pd_http *http, struct env *env);
void pd_http_fini(struct pd_http *http);
/* `api` is filled but for the count of requests. `leader`: who does lead gets what only it can answer; NULL: nobody does. Not
 * NULL: this is to be asked of pd_service, on `*ret_conn`. */
struct frame *pd_http_request(struct pd_http *http, struct message *take_message, struct pd_api *api,
                              struct link *leader, conn_id *ret_conn);
/* What pd_service says on such a connection. */
static inline bool pd_http_is_conn(conn_id conn)
{
    return (conn & PD_HTTP_CONN) != 0;
}
void pd_http_reply(struct pd_http *http, conn_id conn, const struct wire_pd_reply *reply);
/* Everything up to `index` is applied: who waited for that is answered. */
void pd_http_applied(struct pd_http *http, raft_index index);
/* Nobody leads here any more, so nobody will say what became of what was proposed: perhaps it happened. */
void pd_http_forget(struct pd_http *http);

#endif
