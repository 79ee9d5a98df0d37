/* transport_conn: one connection of transport_nng, and what its files share. Nobody else includes this.
 *
 *   FREE --dial--> DIALING --connected--> HELLO --other hello, on_open OK--> OPEN --> ENDING --on_close, reaped--> FREE
 *   FREE --accept-----------------------> HELLO --on_open refused, listener--> REFUSING --flushed, other side left-->
 * ENDING every state but FREE --conn_end (fault, timeout, closed)--> ENDING
 *
 * Who does what: callbacks of nng drive receiving and writing; any thread may put frames and ask for the end; the
 * keeper (transport_keeper.c) alone goes from ENDING to FREE. Slots are never freed before the transport, so that an id
 * can be looked up without a lock on anything but the slot itself.
 *
 * Locks: conn->lock, then transport->lock. Neither is held during a call of a handler, nor of nng that starts an
 * operation.
 *
 * Invariants:
 *   T1 at most one operation on each aio, and nothing of nng is freed while one is under way (receive_op, writing) or
 * the call that has begun one has not returned (calls): its callback may have run by then, and TLS still holds a lock;
 *   T2 handler calls about a connection come from its receive callback, and on_close from the keeper when that rests
 * for good; T3 a connection in ENDING is in the keeper's hands exactly once; T4 a listener writes nothing before its
 * hello. */
#ifndef ENV_TRANSPORT_CONN_H
#define ENV_TRANSPORT_CONN_H

#include <nng/nng.h>
#include <pthread.h>

#include "base/list.h"
#include "base/log.h"
#include "env/clock.h"
#include "env/frame_reader.h"
#include "env/frame_writer.h"
#include "env/net_address.h"
#include "env/transport_nng.h"

struct transport_tls;
struct nng_transport;

enum {
    HELLO_SIZE_MAX = 64 * 1024,
    PAUSE_MS = 3,     /* a frame that found a full mailbox is offered again after this */
    LINGER_MS = 1000, /* how long a refused dialer may take to read why */
    STUCK_MS = 5000,  /* nng owes an operation for this long after the close: go on without it */
    CLOSE_RETRY_MS = 20,
    MUCH_PENDING = 256 * 1024,  /* what counts towards pending_total_max: below, counting costs more than it saves */
    SMALL_SIZE_MAX = 64 * 1024, /* frames of this size leave even when the total is reached */
    SLOT_BITS = 20,             /* of a conn_id; the rest is a number that only grows */
};

enum conn_state { CONN_FREE, CONN_DIALING, CONN_HELLO, CONN_OPEN, CONN_REFUSING, CONN_ENDING };
enum conn_op { OP_NONE, OP_DIAL, OP_READ, OP_PAUSE };

struct conn {
    struct nng_transport *transport;
    uint32_t slot;
    pthread_mutex_t lock; /* everything below, but for what is marked */

    conn_id id; /* 0: the slot is free */
    enum conn_state state;
    enum err reason;
    bool is_dialer, is_tls;
    const struct transport_handler *handler; /* borrowed */
    char *address;                           /* owned; of a dialer */

    nng_stream_dialer *dialer; /* owned; NULL when accepted. These five are freed by the keeper only */
    nng_stream *stream;        /* owned */
    nng_aio *receive_aio, *write_aio;
    nng_aio *quick_aio; /* without a callback: for writes that are over at once */

    enum conn_op receive_op; /* what nng is doing on receive_aio */
    bool receiving; /* the receive callback is running (handlers may be called), or conn_new's caller is not done */
    bool writing;   /* nng has write_aio or quick_aio */
    bool corked;    /* frames that are put wait for the end of the receive callback: one write for all answers */
    bool may_write;
    uint32_t calls;   /* atomic: threads that are in nng to begin an operation on stream or dialer */
    uint16_t version; /* put in what is sent */
    struct frame_writer writer;
    uint64_t counted_size; /* the part of transport->pending_size that is ours */

    struct frame_reader reader; /* receive callback only */
    struct frame *held;         /* receive callback only: offered, refused with ERR_BUSY */
    uint64_t tag;               /* receive callback only: of the listener's hello, for every frame */

    uint64_t reserved_size; /* the part of transport->arriving_size that is ours */
    uint64_t reserved_ms;   /* keeper: since when; 0: it has not seen it yet */

    bool heard, said, wrote; /* since the keeper last looked */
    uint64_t since_ms;       /* when the state began; 0: the keeper has not seen it yet */
    uint64_t heard_ms, said_ms, wrote_ms;

    struct list ending;           /* transport->ending, then the keeper's own list */
    uint64_t ending_ms, close_ms; /* keeper only */
    bool told, stuck;             /* keeper only: on_close was called; counted as stuck */
    struct conn *next_free;       /* transport->lock */
};

struct nng_listener {
    struct nng_transport *transport;
    const struct transport_handler *handler; /* borrowed */
    char *address;
    bool is_tls;
    nng_stream_listener *stream_listener;
    nng_aio *aio;
    uint16_t port;
    bool failing; /* accept callback only: the last accept failed, and it was said */
    struct nng_listener *next;
};

struct nng_transport {
    struct transport base;                /* first */
    struct transport_nng_options options; /* no pointers but log, clock; defaults filled in */
    struct transport_tls *tls;
    struct conn **slots; /* connections_max; an entry is set once, atomically */

    pthread_mutex_t lock;
    pthread_cond_t wake_cond; /* for the keeper */
    pthread_cond_t gone_cond; /* for transport_nng_free: a connection went */
    pthread_t keeper;
    bool wake, stop, stopping; /* stopping: no new connections; stop: the keeper ends */
    bool stopped;              /* by transport_nng_stop; its caller alone touches this */
    struct list ending;        /* conns for the keeper */
    struct conn *free_slots;
    uint32_t slot_count, used_count, stuck_count;
    bool full; /* said that connections_max was reached */
    struct nng_listener *listeners;

    uint64_t pending_size;  /* atomic: of accepted connections that have much */
    uint64_t arriving_size; /* atomic */
    uint64_t opened, closed, refused, frames_in, frames_out, bytes_in, bytes_out, writes; /* atomic */
};

static inline void counter_add(uint64_t *counter, uint64_t amount)
{
    __atomic_fetch_add(counter, amount, __ATOMIC_RELAXED);
}

static inline struct nng_transport *transport_of(struct transport *base)
{
    return (struct nng_transport *)(void *)base;
}

/* transport_conn.c */
/* A slot in state DIALING or HELLO, with its id; locked by nobody yet. ERR_BUSY: connections_max; ERR_CLOSED: stopping.
 */
enum err conn_new(struct nng_transport *transport, const struct transport_handler *handler, bool is_dialer, bool is_tls,
                  struct conn **ret_conn);
/* The conn of `id`, locked, or NULL. */
struct conn *conn_find(struct nng_transport *transport, conn_id id);
void conn_dial(struct conn *conn, nng_stream_dialer *take_dialer, const char *address, struct bytes hello);
void conn_accepted(struct conn *conn, nng_stream *take_stream);
enum err conn_send(struct nng_transport *transport, conn_id id, struct frame *take_frame);
/* Locked: towards the end, for this reason; the first reason counts. */
void conn_end(struct conn *conn, enum err reason);
/* Locked: the same, with a line in the log. */
void conn_end_because(struct conn *conn, enum err reason, enum log_level level, const char *why);
/* Locked: says something, if there is nothing to be said. Unlocks. */
void conn_ping(struct conn *conn);
/* Locked: room for the large frame that is arriving, if there is one; else gives it back. False: there is no room yet. */
bool conn_reserve(struct conn *conn);
/* Locked: after every change of what is pending. */
void conn_count_pending(struct conn *conn);

/* transport_keeper.c */
enum err keeper_start(struct nng_transport *transport, struct error *err);
void keeper_stop(struct nng_transport *transport); /* all connections must be gone or stuck */
void keeper_wake(struct nng_transport *transport);

#endif
