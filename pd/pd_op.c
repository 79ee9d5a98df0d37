#include "pd/pd_op.h"

#include <stdlib.h>

#include "base/check.h"

struct pd_op *pd_op_new(conn_id conn, struct frame *take_frame)
{
    struct pd_op *op = calloc(1, sizeof(*op));
    CHECK(op);
    list_init(&op->link);
    arena_init(&op->arena);
    op->conn = conn;
    op->frame = take_frame;
    if (wire_decode_pd_request(frame_bytes(take_frame), &op->arena, &op->request) != ERR_OK) {
        pd_op_free(op);
        return NULL;
    }
    return op;
}

void pd_op_free(struct pd_op *op)
{
    if (!op)
        return;
    list_remove(&op->link);
    arena_fini(&op->arena);
    frame_unref(op->frame);
    free(op);
}
