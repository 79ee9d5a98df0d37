#include "env/transport_nng.h"

#include <stdlib.h>

#include "base/check.h"
#include "env/transport_conn.h"
#include "env/transport_tls.h"

enum { ACCEPT_PAUSE_MS = 20 }; /* after an accept that failed, mostly for want of descriptors */

/* ---- listening */

static void accepted(struct nng_listener *listener, nng_stream *stream)
{
    struct nng_transport *transport = listener->transport;
    struct conn *conn;
    listener->failing = false;
    if (conn_new(transport, listener->handler, false, listener->is_tls, &conn) != ERR_OK) {
        counter_add(&transport->refused, 1);
        nng_stream_close(stream);
        nng_stream_free(stream);
        return;
    }
    conn_accepted(conn, stream);
}

static void accept_failed(struct nng_listener *listener, int rv)
{
    if (!listener->failing)
        log_event(listener->transport->options.log, LOG_WARN, "address=%s msg=\"accept failed: %s\"", listener->address,
                  nng_strerror(rv));
    listener->failing = true;
}

static void on_accepted(void *argument)
{
    struct nng_listener *listener = argument;
    struct nng_transport *transport = listener->transport;
    int rv = nng_aio_result(listener->aio);
    nng_stream *stream = rv == 0 ? nng_aio_get_output(listener->aio, 0) : NULL; /* NULL too when a pause is over */
    pthread_mutex_lock(&transport->lock);
    bool stopping = transport->stopping;
    pthread_mutex_unlock(&transport->lock);
    if (stream)
        accepted(listener, stream);
    if (stopping)
        return;
    if (rv == 0) {
        nng_stream_listener_accept(listener->stream_listener, listener->aio);
        return;
    }
    accept_failed(listener, rv);
    nng_sleep_aio(ACCEPT_PAUSE_MS, listener->aio);
}

static void listener_free(struct nng_listener *listener)
{
    if (listener->stream_listener) {
        nng_stream_listener_close(listener->stream_listener);
        nng_aio_wait(
            listener->aio); /* no new operation is started any more; stopping one instead would race inside nng */
        nng_aio_free(listener->aio);
        nng_stream_listener_free(listener->stream_listener);
    }
    free(listener->address);
    free(listener);
}

static enum err listen_failed(const char *address, int rv, struct error *err)
{
    switch (rv) {
    case NNG_EADDRINUSE:
        return error_set(err, ERR_LOCKED, "listen on %s: the address is in use by another process", address);
    case NNG_EADDRINVAL:
        return error_set(err, ERR_INVALID, "listen on %s: not an address of this machine", address);
    case NNG_EPERM:
        return error_set(err, ERR_IO, "listen on %s: not permitted", address);
    default:
        return error_set(err, ERR_IO, "listen on %s: %s", address, nng_strerror(rv));
    }
}

/* Fills in the listener of nng. What it made is freed by listener_free in any case. */
static enum err listener_open(struct nng_listener *listener, const struct net_address *parsed, struct error *err)
{
    nng_stream_listener *made;
    int rv = nng_stream_listener_alloc(&made, listener->address);
    if (rv)
        return listen_failed(listener->address, rv, err);
    if (nng_aio_alloc(&listener->aio, on_accepted, listener) != 0) {
        nng_stream_listener_free(made);
        return error_set(err, ERR_NO_MEMORY, "listen on %s: out of memory", listener->address);
    }
    listener->stream_listener = made;
    listener->is_tls = parsed->scheme == NET_TLS;
    if (parsed->scheme != NET_IPC)
        (void)nng_stream_listener_set_bool(made, NNG_OPT_TCP_NODELAY, true);
    if (parsed->scheme == NET_TLS && transport_tls_listener(listener->transport->tls, made, err))
        return error_wrap(err, "listen on %s", listener->address);
    rv = nng_stream_listener_listen(made);
    if (rv)
        return listen_failed(listener->address, rv, err);
    int port = 0;
    if (parsed->scheme != NET_IPC && nng_stream_listener_get_int(made, NNG_OPT_TCP_BOUND_PORT, &port) == 0)
        listener->port = (uint16_t)port;
    return ERR_OK;
}

static enum err do_listen(struct transport *base, const char *address, const struct transport_handler *handler,
                          struct error *err)
{
    struct nng_transport *transport = transport_of(base);
    struct net_address parsed;
    enum err code = net_address_parse(address, true, &parsed, err);
    if (code)
        return code;
    struct nng_listener *listener = calloc(1, sizeof *listener);
    CHECK(listener);
    *listener = (struct nng_listener){.transport = transport, .handler = handler, .address = strdup(address)};
    CHECK(listener->address);
    code = listener_open(listener, &parsed, err);
    if (code) {
        listener_free(listener);
        return code;
    }
    pthread_mutex_lock(&transport->lock);
    listener->next = transport->listeners;
    transport->listeners = listener;
    pthread_mutex_unlock(&transport->lock);
    nng_stream_listener_accept(listener->stream_listener, listener->aio);
    return ERR_OK;
}

uint16_t transport_nng_port(struct transport *base, const char *address)
{
    struct nng_transport *transport = transport_of(base);
    uint16_t port = 0;
    pthread_mutex_lock(&transport->lock);
    for (struct nng_listener *listener = transport->listeners; listener; listener = listener->next) {
        if (strcmp(listener->address, address) == 0)
            port = listener->port; /* the list is newest first */
    }
    pthread_mutex_unlock(&transport->lock);
    return port;
}

/* ---- dialing, sending, closing */

static enum err dialer_new(struct nng_transport *transport, const char *address, nng_stream_dialer **ret_dialer,
                           bool *ret_is_tls)
{
    struct error err = {0};
    struct net_address parsed;
    enum err code = net_address_parse(address, false, &parsed, &err);
    nng_stream_dialer *dialer = NULL;
    if (!code) {
        int rv = nng_stream_dialer_alloc(&dialer, address);
        if (rv)
            code = error_set(&err, ERR_INVALID, "address \"%s\": %s", address, nng_strerror(rv));
    }
    if (!code && parsed.scheme != NET_IPC)
        (void)nng_stream_dialer_set_bool(dialer, NNG_OPT_TCP_NODELAY, true);
    if (!code && parsed.scheme == NET_TLS)
        code = transport_tls_dialer(transport->tls, parsed.host, dialer, &err);
    if (code) {
        log_event(transport->options.log, LOG_WARN, "msg=\"cannot dial: %s\"", err.text);
        if (dialer)
            nng_stream_dialer_free(dialer);
        return code;
    }
    *ret_dialer = dialer;
    *ret_is_tls = parsed.scheme == NET_TLS;
    return ERR_OK;
}

static enum err do_dial(struct transport *base, const char *address, struct bytes hello,
                        const struct transport_handler *handler, conn_id *ret_conn)
{
    struct nng_transport *transport = transport_of(base);
    if (hello.size > HELLO_SIZE_MAX)
        return ERR_INVALID;
    nng_stream_dialer *dialer;
    bool is_tls;
    enum err code = dialer_new(transport, address, &dialer, &is_tls);
    if (code)
        return code;
    struct conn *conn;
    code = conn_new(transport, handler, true, is_tls, &conn);
    if (code) {
        nng_stream_dialer_free(dialer);
        return code;
    }
    *ret_conn = conn->id;
    conn_dial(conn, dialer, address, hello);
    return ERR_OK;
}

static enum err do_send(struct transport *base, conn_id id, struct frame *take_frame)
{
    return conn_send(transport_of(base), id, take_frame);
}

static void do_close(struct transport *base, conn_id id)
{
    struct conn *conn = conn_find(transport_of(base), id);
    if (!conn)
        return;
    conn_end(conn, ERR_CLOSED);
    pthread_mutex_unlock(&conn->lock);
}

static const struct transport_ops ops = {.listen = do_listen, .dial = do_dial, .send = do_send, .close = do_close};

/* ---- the whole */

static enum err fill_defaults(struct transport_nng_options *options, struct error *err)
{
    if (options->hello_timeout_ms == 0)
        options->hello_timeout_ms = 5000;
    if (options->idle_timeout_ms == 0)
        options->idle_timeout_ms = 30000;
    if (options->ping_interval_ms == 0)
        options->ping_interval_ms = 5000;
    if (options->dial_timeout_ms == 0)
        options->dial_timeout_ms = 3000;
    if (options->pending_size_max == 0)
        options->pending_size_max = 64 * 1024 * 1024;
    if (options->pending_total_max == 0)
        options->pending_total_max = 512 * 1024 * 1024;
    if (options->arriving_total_max == 0)
        options->arriving_total_max = 512 * 1024 * 1024;
    if (options->connections_max == 0)
        options->connections_max = 10000;
    if (options->version == 0)
        options->version = 1;
    if (options->version_min == 0)
        options->version_min = 1;
    if (options->version_min > options->version)
        return error_set(err, ERR_INVALID, "protocol versions: the oldest is newer than the newest");
    if (options->ping_interval_ms >= options->idle_timeout_ms)
        return error_set(err, ERR_INVALID, "the ping interval must be shorter than the idle timeout");
    if (options->connections_max > 1u << SLOT_BITS)
        return error_set(err, ERR_INVALID, "connections_max is over %u", 1u << SLOT_BITS);
    return ERR_OK;
}

static void forget(struct nng_transport *transport)
{
    for (uint32_t slot = 0; slot < transport->slot_count; slot++) {
        pthread_mutex_destroy(&transport->slots[slot]->lock);
        free(transport->slots[slot]);
    }
    pthread_cond_destroy(&transport->wake_cond);
    pthread_cond_destroy(&transport->gone_cond);
    pthread_mutex_destroy(&transport->lock);
    transport_tls_free(transport->tls);
    free(transport->slots);
    free(transport);
}

enum err transport_nng_new(const struct transport_nng_options *options, struct transport **ret_transport,
                           struct error *err)
{
    static const struct transport_nng_options defaults;
    if (!options)
        options = &defaults;
    struct nng_transport *transport = calloc(1, sizeof *transport);
    CHECK(transport);
    transport->base.ops = &ops;
    transport->options = *options;
    list_init(&transport->ending);
    CHECK(pthread_mutex_init(&transport->lock, NULL) == 0);
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&transport->wake_cond, &monotonic) == 0);
    CHECK(pthread_cond_init(&transport->gone_cond, NULL) == 0);
    pthread_condattr_destroy(&monotonic);

    enum err code = fill_defaults(&transport->options, err);
    if (!code)
        code = transport_tls_new(options, &transport->tls, err);
    if (!code) {
        transport->slots = calloc(transport->options.connections_max, sizeof(struct conn *));
        CHECK(transport->slots);
        code = keeper_start(transport, err);
    }
    if (code) {
        forget(transport);
        return code;
    }
    *ret_transport = &transport->base;
    return ERR_OK;
}

static void end_all(struct nng_transport *transport)
{
    pthread_mutex_lock(&transport->lock);
    uint32_t count = transport->slot_count;
    pthread_mutex_unlock(&transport->lock);
    for (uint32_t slot = 0; slot < count; slot++) {
        struct conn *conn = transport->slots[slot];
        pthread_mutex_lock(&conn->lock);
        conn_end(conn, ERR_CLOSED);
        pthread_mutex_unlock(&conn->lock);
    }
}

void transport_nng_stop(struct transport *base)
{
    struct nng_transport *transport = base ? transport_of(base) : NULL;
    if (!transport || transport->stopped)
        return;
    transport->stopped = true;
    pthread_mutex_lock(&transport->lock);
    transport->stopping = true;
    struct nng_listener *listeners = transport->listeners;
    transport->listeners = NULL;
    pthread_mutex_unlock(&transport->lock);
    for (struct nng_listener *listener = listeners, *next; listener; listener = next) {
        next = listener->next;
        listener_free(listener);
    }
    end_all(transport);
    pthread_mutex_lock(&transport->lock);
    while (transport->used_count > transport->stuck_count)
        pthread_cond_wait(&transport->gone_cond, &transport->lock);
    pthread_mutex_unlock(&transport->lock);
    keeper_stop(transport);
}

void transport_nng_free(struct transport *base)
{
    if (!base)
        return;
    transport_nng_stop(base);
    struct nng_transport *transport = transport_of(base);
    if (transport->stuck_count == 0) /* otherwise nng may still come back with an operation: better a leak than a call into freed memory */
        forget(transport);
}

void transport_nng_stats(struct transport *base, struct transport_nng_stats *ret_stats)
{
    struct nng_transport *transport = transport_of(base);
    pthread_mutex_lock(&transport->lock);
    uint64_t used = transport->used_count, stuck = transport->stuck_count;
    pthread_mutex_unlock(&transport->lock);
    *ret_stats = (struct transport_nng_stats){
        .connections_open = used - stuck,
        .connections_opened = __atomic_load_n(&transport->opened, __ATOMIC_RELAXED),
        .connections_closed = __atomic_load_n(&transport->closed, __ATOMIC_RELAXED),
        .connections_refused = __atomic_load_n(&transport->refused, __ATOMIC_RELAXED),
        .connections_stuck = stuck,
        .frames_in = __atomic_load_n(&transport->frames_in, __ATOMIC_RELAXED),
        .frames_out = __atomic_load_n(&transport->frames_out, __ATOMIC_RELAXED),
        .bytes_in = __atomic_load_n(&transport->bytes_in, __ATOMIC_RELAXED),
        .bytes_out = __atomic_load_n(&transport->bytes_out, __ATOMIC_RELAXED),
        .arriving_size = __atomic_load_n(&transport->arriving_size, __ATOMIC_RELAXED),
        .pending_size = __atomic_load_n(&transport->pending_size, __ATOMIC_RELAXED),
        .writes = __atomic_load_n(&transport->writes, __ATOMIC_RELAXED),
    };
}
