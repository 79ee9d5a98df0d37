/* The keeper: watchdogs, and the end of connections. See transport_conn.h.
 *
 * nng 1.5.2 can lose an operation: a receive that is started just when its connection is closed by somebody else (the
 * other side of a TLS connection, or we) may be put in a queue that nobody looks at any more. Closing the stream again,
 * and aborting the operation, gives it back; so that is repeated until it comes. Should it never come, the connection
 * is told to be closed all the same, and its memory is left to nng for good (connections_stuck). */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "env/transport_conn.h"

static uint64_t now_ms(struct nng_transport *transport)
{
    if (transport->options.clock)
        return clock_now_ms(transport->options.clock);
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void keeper_wake(struct nng_transport *transport)
{
    pthread_mutex_lock(&transport->lock);
    transport->wake = true;
    pthread_cond_signal(&transport->wake_cond);
    pthread_mutex_unlock(&transport->lock);
}

/* ---- watchdogs */

/* Locked. Turns what happened since the last look into times: the data path reads no clock. */
static void note_times(struct conn *conn, uint64_t now, bool slept)
{
    if (conn->since_ms == 0) {
        conn->since_ms = conn->heard_ms = conn->said_ms = conn->wrote_ms = now;
        conn->heard = conn->said = conn->wrote = false;
    }
    if (slept && conn->state != CONN_OPEN)
        conn->since_ms = now;
    /* What has arrived and waits for us is no silence of the other side; nor is the time that this process was stopped.
     */
    if (conn->heard || conn->receive_op != OP_READ || slept)
        conn->heard_ms = now;
    if (conn->reserved_ms == 0 || conn->receive_op != OP_READ || slept)
        conn->reserved_ms = now;
    if (conn->said)
        conn->said_ms = now;
    if (conn->wrote || !conn->writing || slept)
        conn->wrote_ms = now;
    if (!conn->said && !conn->writing)
        frame_writer_trim(&conn->writer);
    conn->heard = conn->said = conn->wrote = false;
}

/* Locked. TLS in nng 1.5.2, told of an error while none of our operations waits there, closes the connection under it
 * and forgets to say so to the next operation. But a closed connection has no other side any more, and that can be
 * asked. */
static bool is_dead(const struct conn *conn)
{
    nng_sockaddr address;
    return conn->is_tls && conn->stream && nng_stream_get_addr(conn->stream, NNG_OPT_REMADDR, &address) != 0;
}

/* Locked. Its frame takes long to arrive while others wait for the room. */
static bool is_slow(const struct conn *conn, uint64_t now)
{
    const struct nng_transport *transport = conn->transport;
    uint64_t arriving = __atomic_load_n(&transport->arriving_size, __ATOMIC_RELAXED);
    return conn->reserved_size > 0 && arriving > transport->options.arriving_total_max / 2 &&
           now - conn->reserved_ms >= transport->options.idle_timeout_ms / 3; /* before those who wait give up */
}

/* Locked; unlocks. */
static void watch(struct conn *conn, uint64_t now, bool slept)
{
    const struct transport_nng_options *options = &conn->transport->options;
    note_times(conn, now, slept);
    if (is_dead(conn))
        conn_end(conn, ERR_CLOSED);
    switch (conn->state) {
    case CONN_FREE:
    case CONN_ENDING:
        break;
    case CONN_DIALING:
        if (now - conn->since_ms >= options->dial_timeout_ms)
            conn_end_because(conn, ERR_UNAVAILABLE, LOG_DEBUG, "no connection in time");
        break;
    case CONN_HELLO:
        if (now - conn->since_ms >= options->hello_timeout_ms)
            conn_end_because(conn, ERR_TIMEOUT, LOG_INFO, "no hello in time");
        break;
    case CONN_REFUSING:
        if (now - conn->since_ms >= LINGER_MS)
            conn_end(conn, ERR_CLOSED);
        break;
    case CONN_OPEN:
        if (now - conn->heard_ms >= options->idle_timeout_ms)
            conn_end_because(conn, ERR_TIMEOUT, LOG_INFO, "nothing heard for too long");
        else if (is_slow(conn, now))
            conn_end_because(conn, ERR_TIMEOUT, LOG_INFO, "a large frame does not arrive");
        else if (now - conn->wrote_ms >= options->idle_timeout_ms)
            conn_end_because(conn, ERR_TIMEOUT, LOG_INFO, "the other side does not read");
        else if (now - conn->said_ms >= options->ping_interval_ms) {
            conn_ping(conn);
            return;
        }
        break;
    }
    pthread_mutex_unlock(&conn->lock);
}

static void watch_all(struct nng_transport *transport, uint64_t now, bool slept)
{
    pthread_mutex_lock(&transport->lock);
    uint32_t count = transport->slot_count;
    pthread_mutex_unlock(&transport->lock);
    for (uint32_t slot = 0; slot < count; slot++) {
        struct conn *conn = transport->slots[slot];
        pthread_mutex_lock(&conn->lock);
        if (conn->id)
            watch(conn, now, slept);
        else
            pthread_mutex_unlock(&conn->lock);
    }
}

static uint64_t watch_interval_ms(const struct transport_nng_options *options)
{
    uint64_t shortest = options->hello_timeout_ms;
    if (options->idle_timeout_ms < shortest)
        shortest = options->idle_timeout_ms;
    if (options->ping_interval_ms < shortest)
        shortest = options->ping_interval_ms;
    if (options->dial_timeout_ms < shortest)
        shortest = options->dial_timeout_ms;
    uint64_t interval = shortest / 8;
    return interval < 5 ? 5 : interval > 200 ? 200 : interval;
}

/* ---- ends */

static void close_in_nng(struct conn *conn, uint64_t now)
{
    pthread_mutex_lock(&conn->lock);
    bool resting = conn->receive_op == OP_NONE && !conn->receiving && !conn->writing;
    bool due = conn->close_ms == 0 || (!resting && now - conn->close_ms >= CLOSE_RETRY_MS);
    enum conn_op op = conn->receive_op;
    nng_stream *stream = conn->stream;
    nng_stream_dialer *dialer = conn->dialer;
    pthread_mutex_unlock(&conn->lock);
    if (!due)
        return;
    conn->close_ms = now;
    if (op == OP_DIAL)
        nng_stream_dialer_close(dialer); /* never abort a dial: in nng that races with its end */
    if (!stream)
        return;
    nng_stream_close(stream);
    if (op != OP_DIAL)
        nng_aio_abort(conn->receive_aio, NNG_ECLOSED);
    nng_aio_abort(conn->write_aio, NNG_ECLOSED);
}

static void tell(struct conn *conn, bool stuck)
{
    conn->told = true;
    conn->stuck = stuck;
    counter_add(&conn->transport->closed, 1);
    conn->handler->on_close(conn->handler->context, conn->id, conn->reason);
    if (!stuck)
        return;
    log_event(conn->transport->options.log, LOG_ERROR,
              "msg=\"nng has lost an operation; its connection stays in memory\"");
    pthread_mutex_lock(&conn->transport->lock);
    conn->transport->stuck_count++;
    pthread_cond_broadcast(&conn->transport->gone_cond);
    pthread_mutex_unlock(&conn->transport->lock);
}

/* Nothing of it is in use: gives everything back, the slot too. */
static void release(struct conn *conn)
{
    nng_aio_free(conn->receive_aio); /* waits for the last lines of a callback */
    nng_aio_free(conn->write_aio);
    nng_aio_free(conn->quick_aio);
    if (conn->stream)
        nng_stream_free(conn->stream);
    if (conn->dialer)
        nng_stream_dialer_free(conn->dialer);
    bool was_stuck = conn->stuck;
    pthread_mutex_lock(&conn->lock);
    frame_reader_fini(&conn->reader);
    (void)conn_reserve(conn); /* nothing arrives: gives back */
    frame_writer_fini(&conn->writer);
    conn_count_pending(conn);
    frame_unref(conn->held);
    free(conn->address);
    conn->receive_aio = conn->write_aio = conn->quick_aio = NULL;
    conn->stream = NULL;
    conn->dialer = NULL;
    conn->held = NULL;
    conn->address = NULL;
    conn->id = 0;
    conn->state = CONN_FREE;
    conn->may_write = conn->told = conn->stuck = false;
    conn->heard = conn->said = conn->wrote = false;
    conn->ending_ms = conn->close_ms = 0;
    pthread_mutex_unlock(&conn->lock);

    struct nng_transport *transport = conn->transport;
    pthread_mutex_lock(&transport->lock);
    conn->next_free = transport->free_slots;
    transport->free_slots = conn;
    transport->used_count--;
    transport->stuck_count -= was_stuck;
    transport->full = false;
    pthread_cond_broadcast(&transport->gone_cond);
    pthread_mutex_unlock(&transport->lock);
}

/* True: it is gone. Called again until then. */
static bool advance_end(struct conn *conn, uint64_t now)
{
    if (conn->ending_ms == 0)
        conn->ending_ms = now;
    close_in_nng(conn, now);
    pthread_mutex_lock(&conn->lock);
    bool in_callback = conn->receiving;
    bool received = conn->receive_op == OP_NONE && !conn->receiving;
    bool wrote = !conn->writing;
    pthread_mutex_unlock(&conn->lock);
    bool too_long = now - conn->ending_ms >= STUCK_MS && !in_callback;
    if (!conn->told && ((received && wrote) || too_long))
        tell(conn, !(received && wrote));
    if (!conn->told || !received || !wrote || __atomic_load_n(&conn->calls, __ATOMIC_ACQUIRE) > 0)
        return false;
    release(conn);
    return true;
}

static void advance_ends(struct list *ending, uint64_t now)
{
    LIST_FOR_EACH_SAFE (link, following, ending) {
        struct conn *conn = LIST_ENTRY(link, struct conn, ending);
        list_remove(link);
        if (!advance_end(conn, now))
            list_push_back(following, link); /* where it was */
    }
}

/* ---- the thread */

/* Locked. Returns with the connections that other threads have given up at the end of `ending`. */
static void wait_for_work(struct nng_transport *transport, uint64_t wait_ms, struct list *ending)
{
    struct timespec until;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + wait_ms * 1000000;
    until.tv_sec += (time_t)(nanoseconds / 1000000000);
    until.tv_nsec = (long)(nanoseconds % 1000000000);
    while (!transport->wake && !transport->stop) {
        int rv = pthread_cond_timedwait(&transport->wake_cond, &transport->lock, &until);
        if (rv == ETIMEDOUT)
            break;
        CHECK(rv == 0);
    }
    transport->wake = false;
    for (struct list *link; (link = list_pop_front(&transport->ending));)
        list_push_back(ending, link);
}

static void *keeper_main(void *argument)
{
    struct nng_transport *transport = argument;
    struct list ending;
    list_init(&ending);
    uint64_t interval = watch_interval_ms(&transport->options);
    uint64_t watched = now_ms(transport);
    pthread_mutex_lock(&transport->lock);
    while (!transport->stop) {
        pthread_mutex_unlock(&transport->lock);
        uint64_t now = now_ms(transport);
        uint64_t passed = now - watched;
        pthread_mutex_lock(&transport->lock);
        uint64_t wait = passed >= interval ? 0 : interval - passed;
        if (!list_is_empty(&ending) && wait > CLOSE_RETRY_MS)
            wait = CLOSE_RETRY_MS;
        if (wait > 0)
            wait_for_work(transport, wait, &ending);
        pthread_mutex_unlock(&transport->lock);
        now = now_ms(transport);
        passed = now - watched;
        if (passed >= interval) {
            watch_all(transport, now, passed >= 4 * interval);
            watched = now;
        }
        advance_ends(&ending, now);
        pthread_mutex_lock(&transport->lock);
    }
    pthread_mutex_unlock(&transport->lock);
    return NULL;
}

enum err keeper_start(struct nng_transport *transport, struct error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the main thread */
    int rv = pthread_create(&transport->keeper, NULL, keeper_main, transport);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rv)
        return error_set(err, ERR_NO_MEMORY, "start a thread: %s", strerror(rv));
    pthread_setname_np(transport->keeper, "transport");
    return ERR_OK;
}

void keeper_stop(struct nng_transport *transport)
{
    pthread_mutex_lock(&transport->lock);
    transport->stop = true;
    pthread_cond_signal(&transport->wake_cond);
    pthread_mutex_unlock(&transport->lock);
    pthread_join(transport->keeper, NULL);
}
