/* pd_op: one request to pd, from its frame to its answer.
 *
 * Owner: pd_service, lent to pd_writes while the request waits for the log; always in at most one list. */
#ifndef PD_PD_OP_H
#define PD_PD_OP_H

#include "base/arena.h"
#include "base/list.h"
#include "env/transport.h"
#include "proto/wire.h"

struct pd_op {
    struct list link;
    conn_id conn;
    struct frame *frame;            /* owned; the request borrows from it */
    struct arena arena;             /* ends with the request */
    struct wire_pd_request request; /* verified */
    uint8_t *split;                 /* region_heartbeat: by heartbeat, whether it tells of a split; of the arena, NULL: none */
    uint64_t store_id;              /* register_store: the id that was proposed */
};

/* Takes the frame in any case. NULL: its bytes are not a PdRequest. */
struct pd_op *pd_op_new(conn_id conn, struct frame *take_frame);
void pd_op_free(struct pd_op *op); /* out of its list, too; NULL is fine */

#endif
