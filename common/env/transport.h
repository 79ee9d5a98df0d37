/* transport: frames between processes.
 *
 * A connection carries whole frames in order, or ends. A frame is a kind and a payload of bytes:
 *
 *   offset 0  u32 le  payload size (<= FRAME_SIZE_MAX)
 *          4  u32 le  checksum: low half of XXH3-64 over bytes 8..15 and the payload
 *          8  u16 le  protocol version (PROTOCOL_VERSION)
 *         10  u16 le  kind: 0 ping, 1 hello, others as in rpc/frame_kind.h
 *         12  u32     zero
 *         16          payload: one FlatBuffer of the root that the kind names
 *
 * A bad size, checksum or version ends the connection (ERR_CORRUPT, ERR_VERSION). The payload is not trusted by that: it
 * goes through the verifier of proto/ before anybody reads it.
 *
 * Kinds 0 and 1 belong to the transport: 0 is a ping (empty, sent when a connection was silent for a while, answered by
 * nothing), 1 is hello, the first frame of each side. A connection that says no hello in time, or nothing at all for the
 * idle limit, is closed by its own watchdog.
 *
 * Everything pending on a connection is written at once (measured 10 to 30 times cheaper than a message a write).
 *
 * Handlers are called from the transport's own thread (production) or from the event (simulation); calls about one
 * connection never overlap. A handler must not block: it checks the frame and posts it, nothing else.
 *
 * Addresses: `tcp://host:port`, `tls+tcp://host:port`, `ipc:///path`, and in the simulator `sim://name`. */
#ifndef ENV_TRANSPORT_H
#define ENV_TRANSPORT_H

#include "base/bytes.h"
#include "base/error.h"

typedef uint64_t conn_id; /* never used twice in a process; 0: none */

/* Owns its bytes; counted, so that one decoded frame can be shared by several workers. Counting is thread-safe. */
struct frame {
    uint32_t count; /* touch through frame_ref, frame_unref only */
    uint16_t kind;
    uint32_t size;   /* of the payload */
    uint64_t tag;    /* of a frame that a listener received: what its hello carried in this field; else 0 */
    uint8_t *header; /* the 16 bytes in front of the payload, filled by the transport at send */
    uint8_t *payload;
};

/* Room for `size` payload bytes (8-byte aligned); fill it, then send it. Never NULL. */
struct frame *frame_new(uint16_t kind, size_t size);
/* A frame that holds a copy of `payload`. */
struct frame *frame_copy(uint16_t kind, struct bytes payload);
struct frame *frame_ref(struct frame *frame);
void frame_unref(struct frame *take_frame); /* NULL is fine */

static inline struct bytes frame_bytes(const struct frame *frame)
{
    return bytes_of(frame->payload, frame->size);
}

struct transport_handler {
    void *context; /* borrowed */
    /* A connection is usable once both sides have said hello: the dialer first, then the listener.
     * Listener: `hello` is the dialer's; put the own hello in `*ret_reply` (sent even on refusal). Dialer: `hello` is the
     * listener's answer, leave `*ret_reply` alone. Anything but ERR_OK ends the connection; on_close follows.
     * `hello` is unverified bytes, lent. Another code than ERR_OK is the reason that on_close gets.
     * What a listener puts in the tag of `*ret_reply` comes back in the tag of every frame of this connection: who it is
     * that speaks there. */
    enum err (*on_open)(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply);
    /* Takes the frame on ERR_OK. ERR_BUSY: the transport keeps it, stops reading this connection and offers it again a
     * few milliseconds later. Any other code ends the connection (and the transport drops the frame). */
    enum err (*on_frame)(void *context, conn_id conn, struct frame *take_frame);
    /* The last call about `conn`, exactly once for each dialed or accepted connection, also when the dial failed or when
     * on_open never came. */
    void (*on_close)(void *context, conn_id conn, enum err reason);
};

struct transport {
    const struct transport_ops *ops;
};

struct transport_ops {
    enum err (*listen)(struct transport *transport, const char *address, const struct transport_handler *handler, struct error *err);
    enum err (*dial)(struct transport *transport, const char *address, struct bytes hello, const struct transport_handler *handler, conn_id *ret_conn);
    enum err (*send)(struct transport *transport, conn_id conn, struct frame *take_frame);
    void (*close)(struct transport *transport, conn_id conn);
};

/* Accepts connections until the transport is closed. The handler is borrowed for as long. ERR_LOCKED: the port is in use. */
static inline enum err transport_listen(struct transport *transport, const char *address, const struct transport_handler *handler, struct error *err)
{
    return transport->ops->listen(transport, address, handler, err);
}

/* Starts to connect and sends `hello` (copied) first; the result comes as on_open or on_close. ERR_INVALID: not an
 * address. `*ret_conn` is set before any call of the handler about it. */
static inline enum err transport_dial(struct transport *transport, const char *address, struct bytes hello, const struct transport_handler *handler, conn_id *ret_conn)
{
    return transport->ops->dial(transport, address, hello, handler, ret_conn);
}

/* Queues a frame; it may still be lost when the connection ends (then on_close says so). Takes the frame always: on
 * ERR_BUSY (more than the outgoing limit is pending) and ERR_CLOSED it is dropped. May be called before on_open. */
static inline enum err transport_send(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    return transport->ops->send(transport, conn, take_frame);
}

/* Ends a connection; on_close follows (with ERR_CLOSED). A conn that is gone already is ignored. */
static inline void transport_close_conn(struct transport *transport, conn_id conn)
{
    transport->ops->close(transport, conn);
}

#endif
