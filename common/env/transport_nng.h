/* transport_nng: the real transport. Frames (transport.h) over nng byte streams: tcp, tls+tcp, ipc.
 *
 * nng gives connections, TLS and its threads; everything else is ours: frames, hello, coalescing, watchdogs, reaping.
 * (Its scalability protocols cost ten times more and lose operations when a peer dies.)
 *
 * Threads: every call of transport.h from any thread at any time, also inside handler calls; no lock of the transport
 * is held while a handler runs. Handlers run on threads of nng (on_open, on_frame) and on the keeper (on_close). The
 * keeper is the one thread of ours: it runs the watchdogs, ends connections, and alone frees what nng made.
 *
 * Reasons that on_close gets: ERR_UNAVAILABLE (dial failed or took too long), ERR_CLOSED (either side ended it),
 * ERR_TIMEOUT (no hello in time, nothing heard for the idle limit, or a write that does not move for as long),
 * ERR_CORRUPT, ERR_VERSION (bad frame; one log line), or what on_open or on_frame returned.
 *
 * Versions: a hello carries the newest version that its sender speaks, all that is sent before the other hello is known
 * the oldest, and everything later the lower of both sides' newest.
 *
 * Memory: an idle connection costs about 8 KiB (tcp, ipc; TLS costs what mbedTLS takes, 40 KiB or more); a busy one up
 * to 64 KiB for reading, what waits to be sent (pending_size_max, pending_total_max), and one frame that is arriving, which grows with the
 * bytes that came and not with the size that its header claims. */
#ifndef ENV_TRANSPORT_NNG_H
#define ENV_TRANSPORT_NNG_H

#include <stdbool.h>

#include "env/transport.h"

struct clock;
struct log;

/* 0 and NULL mean the default. Nothing of it is needed after transport_nng_new, but for `log` and `clock`. */
struct transport_nng_options {
    uint64_t hello_timeout_ms;   /* from the connection to the other side's hello, TLS handshake included: 5000 */
    uint64_t idle_timeout_ms;    /* nothing heard: 30000 */
    uint64_t ping_interval_ms;   /* nothing said: 5000 */
    uint64_t dial_timeout_ms;    /* name lookup and connect: 3000 */
    uint64_t pending_size_max;   /* bytes waiting to leave on one connection, then ERR_BUSY: 64 MiB */
    uint64_t pending_total_max;  /* the same over all accepted connections, then ERR_BUSY for large frames and on those
                                   where much is pending: 512 MiB */
    uint64_t arriving_total_max; /* bytes of large frames that are arriving on accepted connections; the next one waits,
                                    and who takes a third of idle_timeout then is closed: 512 MiB */
    uint32_t connections_max;    /* dialed and accepted; more are refused: 10000 */
    uint16_t version;            /* newest protocol version that this process speaks: 1 */
    uint16_t version_min;        /* oldest: 1 */
    const char *tls_ca_file;     /* PEM; who may vouch for the other side. NULL: anybody may be there */
    const char *tls_cert_file;   /* PEM; own certificate. Listeners on tls+tcp need it */
    const char *tls_key_file;    /* PEM; its key */
    bool tls_require_client;     /* a listener wants a certificate vouched for by tls_ca_file from the dialer too */
    bool tls_verify_name;        /* a dialer wants the host of the address in the listener's certificate, unless it is
                                  a number: then the chain alone counts */
    struct log *log;             /* borrowed; NULL: silent */
    struct clock *clock;         /* borrowed; NULL: the machine's monotonic clock */
};

struct transport_nng_stats {
    uint64_t connections_open; /* dialing ones included, and those whose end is not through yet */
    uint64_t connections_opened;
    uint64_t connections_closed;  /* on_close was called */
    uint64_t connections_refused; /* accepted past connections_max */
    uint64_t
        connections_stuck; /* nng never gave an operation back: on_close was called, memory is kept. A fault of nng */
    uint64_t frames_in, frames_out, bytes_in, bytes_out; /* pings and hellos included */
    uint64_t arriving_size;                              /* of large frames that are arriving on accepted connections */
    uint64_t pending_size;                               /* what waits on accepted connections where much waits */
    uint64_t writes;                                     /* frames_out / writes: how well it coalesces */
};

/* No `options`: all defaults. ERR_INVALID: a TLS file that cannot be read or used, or options that contradict. */
enum err transport_nng_new(const struct transport_nng_options *options, struct transport **ret_transport,
                           struct error *err);
/* Closes listeners and connections (on_close comes for each) and waits until every callback has ended; afterwards the
 * handlers are called no more. Not to be called inside a handler. NULL is fine. */
void transport_nng_stop(struct transport *transport);
/* Stops first. Between the two, sends and closes are no-ops: actors that hold connections can be freed in peace. */
void transport_nng_free(struct transport *transport);

/* The port that listening on `address` got (for those that end in `:0`; the first such listener); 0: no such listener.
 */
uint16_t transport_nng_port(struct transport *transport, const char *address);
void transport_nng_stats(struct transport *transport, struct transport_nng_stats *ret_stats);

#endif
