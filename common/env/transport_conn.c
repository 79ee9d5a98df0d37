#include "env/transport_conn.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/types.h"
#include "env/exec_threads.h"

/* Numbers of connections, so that an id is never used twice in a process. */
static uint64_t serial;

/* ---- slots */

static struct conn *slot_new(struct nng_transport *transport, uint32_t slot)
{
    struct conn *conn = calloc(1, sizeof *conn);
    CHECK(conn);
    conn->transport = transport;
    conn->slot = slot;
    CHECK(pthread_mutex_init(&conn->lock, NULL) == 0);
    list_init(&conn->ending);
    __atomic_store_n(&transport->slots[slot], conn, __ATOMIC_RELEASE);
    return conn;
}

static enum err slot_take(struct nng_transport *transport, struct conn **ret_conn)
{
    enum err code = ERR_OK;
    bool say_full = false;
    pthread_mutex_lock(&transport->lock);
    if (transport->stopping) {
        code = ERR_CLOSED;
    } else if (transport->free_slots) {
        *ret_conn = transport->free_slots;
        transport->free_slots = (*ret_conn)->next_free;
    } else if (transport->slot_count < transport->options.connections_max) {
        *ret_conn = slot_new(transport, transport->slot_count++);
    } else {
        code = ERR_BUSY;
        say_full = !transport->full;
        transport->full = true;
    }
    if (!code)
        transport->used_count++;
    pthread_mutex_unlock(&transport->lock);
    if (say_full)
        log_event(transport->options.log, LOG_WARN, "connections=%u msg=\"connection refused: the maximum is reached\"",
                  transport->options.connections_max);
    return code;
}

enum err conn_new(struct nng_transport *transport, const struct transport_handler *handler, bool is_dialer, bool is_tls,
                  struct conn **ret_conn)
{
    struct conn *conn;
    enum err code = slot_take(transport, &conn);
    if (code)
        return code;
    const struct transport_nng_options *options = &transport->options;
    pthread_mutex_lock(&conn->lock);
    CHECK(conn->state == CONN_FREE);
    conn->id = (__atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED) << SLOT_BITS) | conn->slot;
    conn->state = is_dialer ? CONN_DIALING : CONN_HELLO;
    conn->receiving = true; /* ours until conn_dial or conn_accepted: the keeper waits */
    conn->reason = ERR_OK;
    conn->is_dialer = is_dialer;
    conn->is_tls = is_tls;
    conn->handler = handler;
    conn->version = options->version_min;
    frame_writer_init(&conn->writer);
    frame_reader_init(&conn->reader, options->version_min, options->version);
    conn->reader.payload_size_max = HELLO_SIZE_MAX;
    conn->since_ms = 0;
    conn->tag = 0;
    pthread_mutex_unlock(&conn->lock);
    counter_add(&transport->opened, 1);
    *ret_conn = conn;
    return ERR_OK;
}

struct conn *conn_find(struct nng_transport *transport, conn_id id)
{
    uint32_t slot = (uint32_t)(id & ((1u << SLOT_BITS) - 1));
    if (id == 0 || slot >= transport->options.connections_max)
        return NULL;
    struct conn *conn = __atomic_load_n(&transport->slots[slot], __ATOMIC_ACQUIRE);
    if (!conn)
        return NULL;
    pthread_mutex_lock(&conn->lock);
    if (conn->id == id)
        return conn;
    pthread_mutex_unlock(&conn->lock);
    return NULL;
}

/* ---- the end */

void conn_end(struct conn *conn, enum err reason)
{
    if (conn->state == CONN_ENDING || conn->state == CONN_FREE)
        return;
    if (conn->state != CONN_REFUSING)
        conn->reason = reason; /* a refused one has its reason already */
    conn->state = CONN_ENDING;
    struct nng_transport *transport = conn->transport;
    pthread_mutex_lock(&transport->lock);
    list_push_back(&transport->ending, &conn->ending);
    transport->wake = true;
    pthread_cond_signal(&transport->wake_cond);
    pthread_mutex_unlock(&transport->lock);
}

static void describe_peer(struct conn *conn, char *text, size_t size)
{
    nng_sockaddr address;
    if (conn->address) {
        snprintf(text, size, "%s", conn->address);
    } else if (!conn->stream || nng_stream_get_addr(conn->stream, NNG_OPT_REMADDR, &address) != 0) {
        snprintf(text, size, "unknown");
    } else if (address.s_family == NNG_AF_INET) {
        const uint8_t *ip = (const uint8_t *)&address.s_in.sa_addr;
        const uint8_t *port = (const uint8_t *)&address.s_in.sa_port; /* both in network order */
        snprintf(text, size, "%u.%u.%u.%u:%u", ip[0], ip[1], ip[2], ip[3], port[0] << 8 | port[1]);
    } else if (address.s_family == NNG_AF_INET6) {
        int length = 0;
        for (int i = 0; i < 16; i += 2)
            length += snprintf(text + length, size - (size_t)length, "%s%x", i ? ":" : "[",
                               address.s_in6.sa_addr[i] << 8 | address.s_in6.sa_addr[i + 1]);
        const uint8_t *port = (const uint8_t *)&address.s_in6.sa_port;
        snprintf(text + length, size - (size_t)length, "]:%u", port[0] << 8 | port[1]);
    } else {
        snprintf(text, size, "ipc");
    }
}

void conn_end_because(struct conn *conn, enum err reason, enum log_level level, const char *why)
{
    struct log *log = conn->transport->options.log;
    if (conn->state == CONN_ENDING || conn->state == CONN_FREE)
        return;
    if (log && level >= log->level) {
        char peer[192];
        describe_peer(conn, peer, sizeof peer);
        log_event(log, level, "peer=%s side=%s reason=%s msg=\"connection ended: %s\"", peer,
                  conn->is_dialer ? "dialer" : "listener", err_name(reason), why);
    }
    conn_end(conn, reason);
}

static void end_unlocked(struct conn *conn, enum err reason, enum log_level level, const char *why)
{
    pthread_mutex_lock(&conn->lock);
    if (why)
        conn_end_because(conn, reason, level, why);
    else
        conn_end(conn, reason);
    pthread_mutex_unlock(&conn->lock);
}

/* Locked. What nng says when reading or writing fails. */
static void end_failed(struct conn *conn, int rv)
{
    if (rv == NNG_EPEERAUTH)
        conn_end_because(conn, conn->is_dialer ? ERR_UNAVAILABLE : ERR_CLOSED, LOG_WARN,
                         "TLS: a certificate is not accepted");
    else if (rv == NNG_ECRYPTO)
        conn_end_because(conn, conn->is_dialer ? ERR_UNAVAILABLE : ERR_CLOSED, LOG_WARN,
                         "TLS: handshake or record is not good");
    else
        conn_end(conn, ERR_CLOSED);
}

/* ---- calls of nng that begin an operation */

/* Locked; the call is made without the lock, and call_end follows it. */
static void call_begin(struct conn *conn)
{
    __atomic_fetch_add(&conn->calls, 1, __ATOMIC_RELAXED);
}

/* The connection may be another one after this. */
static void call_end(struct conn *conn)
{
    __atomic_fetch_sub(&conn->calls, 1, __ATOMIC_RELEASE);
}

/* ---- writing */

void conn_count_pending(struct conn *conn)
{
    uint64_t size = conn->is_dialer || conn->writer.pending_size < MUCH_PENDING ? 0 : conn->writer.pending_size;
    if (size == conn->counted_size)
        return;
    counter_add(&conn->transport->pending_size, size - conn->counted_size); /* unsigned: down as well */
    conn->counted_size = size;
}

/* Locked. Who dials us may be anybody, and may have a thousand connections on which nothing is read. */
static bool total_is_reached(const struct conn *conn, size_t size)
{
    const struct nng_transport *transport = conn->transport;
    if (conn->is_dialer || (size <= SMALL_SIZE_MAX && conn->writer.pending_size < MUCH_PENDING))
        return false;
    return __atomic_load_n(&transport->pending_size, __ATOMIC_RELAXED) + size > transport->options.pending_total_max;
}

/* Locked. True: there is something to write on `aio`, and the caller unlocks and does it. */
static bool write_prepare(struct conn *conn, nng_aio *aio)
{
    if (!conn->may_write || conn->state == CONN_ENDING)
        return false;
    struct frame_piece pieces[FRAME_PIECES_MAX];
    nng_iov iov[FRAME_PIECES_MAX];
    uint32_t count = frame_writer_gather(&conn->writer, pieces);
    if (count == 0)
        return false;
    for (uint32_t i = 0; i < count; i++)
        iov[i] = (nng_iov){.iov_buf = (void *)(uintptr_t)pieces[i].data, .iov_len = pieces[i].size};
    CHECK(nng_aio_set_iov(aio, count, iov) == 0);
    counter_add(&conn->transport->writes, 1);
    return true;
}

/* Locked. */
static void written(struct conn *conn, int rv, size_t size)
{
    if (rv == 0) {
        frame_writer_sent(&conn->writer, size);
        conn_count_pending(conn);
        conn->wrote = conn->said = true;
        counter_add(&conn->transport->bytes_out, size);
    } else {
        end_failed(conn, rv);
    }
}

/* Most writes find room in the socket's buffer and are over before nng_stream_send returns. Such a one needs no
 * callback, and without one nng wakes no thread to run it. If it is not over, then nothing of it has been written (nng
 * ends an operation with the first bytes), and it is taken back to go the long way. False: that is the case. */
static bool write_at_once(nng_stream *stream, nng_aio *aio)
{
    nng_stream_send(stream, aio);
    if (nng_aio_count(aio) == 0)
        nng_aio_cancel(aio); /* does nothing to one that is over, or ends just now */
    nng_aio_wait(aio);
    return nng_aio_result(aio) != NNG_ECANCELED;
}

/* Unlocks, and writes all that is pending if nobody is writing. */
static void unlock_and_write(struct conn *conn)
{
    enum { AT_ONCE_MAX = 64 }; /* a quick reader must not hold this thread for ever */
    if (conn->writing || conn->corked) {
        pthread_mutex_unlock(&conn->lock);
        return;
    }
    nng_stream *stream = conn->stream;
    for (int i = 0; !conn->is_tls && i < AT_ONCE_MAX; i++) {
        if (!write_prepare(conn, conn->quick_aio)) {
            pthread_mutex_unlock(&conn->lock);
            return;
        }
        conn->writing = true;
        pthread_mutex_unlock(&conn->lock);
        bool over = write_at_once(stream, conn->quick_aio);
        pthread_mutex_lock(&conn->lock);
        conn->writing = false;
        if (!over)
            break;
        written(conn, nng_aio_result(conn->quick_aio), nng_aio_count(conn->quick_aio));
        if (conn->state == CONN_ENDING)
            keeper_wake(conn->transport);
    }
    conn->writing = write_prepare(conn, conn->write_aio);
    bool write = conn->writing;
    nng_aio *aio = conn->write_aio;
    if (write)
        call_begin(conn);
    pthread_mutex_unlock(&conn->lock);
    if (!write)
        return;
    nng_stream_send(stream, aio);
    call_end(conn);
}

static void on_written(void *argument)
{
    struct conn *conn = argument;
    pthread_mutex_lock(&conn->lock);
    conn->writing = false;
    written(conn, nng_aio_result(conn->write_aio), nng_aio_count(conn->write_aio));
    if (conn->state == CONN_ENDING)
        keeper_wake(conn->transport);
    unlock_and_write(conn);
}

/* Locked. */
static void put(struct conn *conn, struct frame *take_frame, uint32_t checksum)
{
    frame_writer_put(&conn->writer, conn->version, take_frame, checksum);
    conn_count_pending(conn);
    counter_add(&conn->transport->frames_out, 1);
}

/* Locked. In front of what was put before the connection was there. */
static void put_hello(struct conn *conn, struct frame *take_frame)
{
    frame_writer_put_first(&conn->writer, conn->transport->options.version, take_frame);
    counter_add(&conn->transport->frames_out, 1);
}

void conn_ping(struct conn *conn)
{
    if (conn->state == CONN_OPEN && !conn->writing && conn->writer.pending_size == 0)
        put(conn, frame_new(FRAME_WIRE_PING, 0), 0);
    unlock_and_write(conn);
}

enum err conn_send(struct nng_transport *transport, conn_id id, struct frame *take_frame)
{
    CHECK(take_frame->kind != FRAME_WIRE_PING && take_frame->kind != FRAME_WIRE_HELLO);
    enum err code = ERR_CLOSED;
    uint32_t checksum = 0;
    struct conn *conn = take_frame->size <= FRAME_SIZE_MAX ? conn_find(transport, id) : NULL;
    if (conn && frame_writer_is_large(take_frame)) {
        /* Reading a large frame takes longer than others should wait for the lock. */
        uint16_t version = conn->version;
        pthread_mutex_unlock(&conn->lock);
        checksum = frame_writer_checksum(version, take_frame);
        conn = conn_find(transport, id);
        if (conn && conn->version != version)
            checksum = frame_writer_checksum(conn->version, take_frame);
    }
    if (!conn) {
        code = take_frame->size <= FRAME_SIZE_MAX ? ERR_CLOSED : ERR_ENTRY_TOO_LARGE;
        frame_unref(take_frame);
        return code;
    }
    size_t pending = conn->writer.pending_size;
    if (conn->state == CONN_DIALING || conn->state == CONN_HELLO || conn->state == CONN_OPEN)
        code = pending > 0 && pending + take_frame->size + FRAME_HEADER_SIZE > transport->options.pending_size_max
                   ? ERR_BUSY
                   : ERR_OK;
    if (!code && total_is_reached(conn, take_frame->size))
        code = ERR_BUSY;
    if (code)
        frame_unref(take_frame);
    else
        put(conn, take_frame, checksum);
    unlock_and_write(conn);
    return code;
}

/* ---- hello */

/* Listener: the dialer's hello came. The answer goes first, in front of what the handler has sent meanwhile. */
static void answer_hello(struct conn *conn, const struct frame *hello)
{
    struct frame *reply = NULL;
    enum err code = conn->handler->on_open(conn->handler->context, conn->id, frame_bytes(hello), &reply);
    if (!reply)
        reply = frame_new(FRAME_WIRE_HELLO, 0);
    reply->kind = FRAME_WIRE_HELLO;
    conn->tag = reply->tag;
    CHECK(reply->size <= HELLO_SIZE_MAX);
    pthread_mutex_lock(&conn->lock);
    if (conn->state == CONN_HELLO) {
        if (code) {
            frame_writer_fini(&conn->writer);
            conn_count_pending(conn);
            conn->state = CONN_REFUSING;
            conn->reason = code;
        } else {
            conn->state = CONN_OPEN;
        }
        conn->since_ms = 0;
        put_hello(conn, reply);
        conn->may_write = true;
    } else {
        frame_unref(reply);
    }
    pthread_mutex_unlock(&conn->lock);
}

static void take_answer(struct conn *conn, const struct frame *hello)
{
    struct frame *reply = NULL;
    enum err code = conn->handler->on_open(conn->handler->context, conn->id, frame_bytes(hello), &reply);
    frame_unref(reply);
    pthread_mutex_lock(&conn->lock);
    if (code) {
        conn_end(conn, code);
    } else if (conn->state == CONN_HELLO) {
        conn->state = CONN_OPEN;
        conn->since_ms = 0;
    }
    pthread_mutex_unlock(&conn->lock);
}

static void on_hello(struct conn *conn, const struct frame *hello)
{
    uint16_t own = conn->transport->options.version;
    pthread_mutex_lock(&conn->lock);
    conn->version = conn->reader.version < own ? conn->reader.version : own;
    pthread_mutex_unlock(&conn->lock);
    conn->reader.payload_size_max = FRAME_SIZE_MAX;
    if (conn->is_dialer)
        take_answer(conn, hello);
    else
        answer_hello(conn, hello);
}

/* ---- receiving */

static enum conn_state state_of(struct conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    enum conn_state state = conn->state;
    pthread_mutex_unlock(&conn->lock);
    return state;
}

/* False: the frame is held, or the connection ends. */
static bool offer(struct conn *conn, struct frame *frame)
{
    frame->tag = conn->tag;
    enum err code = conn->handler->on_frame(conn->handler->context, conn->id, frame);
    if (!code)
        return true;
    if (code == ERR_BUSY) {
        conn->held = frame;
        return false;
    }
    frame_unref(frame);
    end_unlocked(conn, code, LOG_INFO, NULL);
    return false;
}

/* One frame before the connection is open, or one of the transport's own. Takes it. */
static bool handle_own(struct conn *conn, enum conn_state *state, struct frame *frame)
{
    const char *fault = NULL;
    if (frame->kind == FRAME_WIRE_PING) {
        if (*state == CONN_HELLO)
            fault = "a ping came before a hello";
        else if (frame->size > 0)
            fault = "a ping with a payload";
    } else if (*state != CONN_HELLO) {
        fault = "a second hello";
    } else if (frame->kind != FRAME_WIRE_HELLO) {
        fault = "the first frame is no hello";
    } else {
        on_hello(conn, frame);
        *state = state_of(conn);
    }
    frame_unref(frame);
    if (fault)
        end_unlocked(conn, ERR_CORRUPT, LOG_WARN, fault);
    return !fault;
}

/* Hands over all whole frames. The state is looked at once: a connection that somebody else ends meanwhile may still
 * hand over what has arrived, since on_close waits for us. */
static void handle_frames(struct conn *conn)
{
    enum conn_state state = state_of(conn);
    uint64_t count = 0;
    bool more = true;
    if (conn->held && state != CONN_ENDING) {
        struct frame *held = conn->held;
        conn->held = NULL;
        more = offer(conn, held);
    }
    while (more && state != CONN_ENDING) {
        struct frame *frame;
        enum err code = frame_reader_next(&conn->reader, &frame);
        if (code == ERR_NOT_READY)
            break;
        if (code) {
            end_unlocked(conn, code, LOG_WARN, conn->reader.fault);
            break;
        }
        count++;
        if (state == CONN_REFUSING)
            frame_unref(frame); /* sent before it read our answer */
        else if (state == CONN_OPEN && frame->kind != FRAME_WIRE_PING && frame->kind != FRAME_WIRE_HELLO)
            more = offer(conn, frame);
        else
            more = handle_own(conn, &state, frame);
    }
    counter_add(&conn->transport->frames_in, count);
}

static void dialed(struct conn *conn, int rv)
{
    pthread_mutex_lock(&conn->lock);
    if (rv) {
        conn_end_because(conn, ERR_UNAVAILABLE, LOG_DEBUG, nng_strerror(rv));
    } else if (conn->state == CONN_DIALING) {
        conn->state = CONN_HELLO;
        conn->since_ms = 0;
        conn->may_write = true;
    }
    pthread_mutex_unlock(&conn->lock);
}

/* All of the frame at once, so that whoever has begun can end. Dialed connections and those of other stores (tag) are
 * not counted: they are few, and must not wait behind strangers. */
bool conn_reserve(struct conn *conn)
{
    struct nng_transport *transport = conn->transport;
    bool counts = conn->reader.large && !conn->is_dialer && conn->tag == 0;
    uint64_t size = counts ? conn->reader.large_size : 0;
    if (size == conn->reserved_size)
        return true;
    __atomic_fetch_sub(&transport->arriving_size, conn->reserved_size, __ATOMIC_RELAXED);
    conn->reserved_size = 0;
    uint64_t now = __atomic_load_n(&transport->arriving_size, __ATOMIC_RELAXED);
    do {
        if (size > 0 && now > 0 && now + size > transport->options.arriving_total_max)
            return false;
    } while (!__atomic_compare_exchange_n(&transport->arriving_size, &now, now + size, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    conn->reserved_size = size;
    conn->reserved_ms = 0;
    return true;
}

/* Locked; prepares the next operation on receive_aio. */
static void receive_prepare(struct conn *conn)
{
    if (conn->held || !conn_reserve(conn)) {
        conn->receive_op = OP_PAUSE;
        return;
    }
    struct frame_room rooms[FRAME_ROOMS_MAX];
    nng_iov iov[FRAME_ROOMS_MAX];
    uint32_t count = frame_reader_room(&conn->reader, rooms);
    for (uint32_t i = 0; i < count; i++)
        iov[i] = (nng_iov){.iov_buf = rooms[i].data, .iov_len = rooms[i].size};
    CHECK(nng_aio_set_iov(conn->receive_aio, count, iov) == 0);
    conn->receive_op = OP_READ;
}

/* Ends a receive callback: writes what the handlers have put, and waits for more. */
static void receive_again(struct conn *conn)
{
    pthread_mutex_lock(&conn->lock);
    conn->corked = false;
    conn->receiving = false;
    if (conn->state == CONN_ENDING) {
        keeper_wake(conn->transport);
        pthread_mutex_unlock(&conn->lock);
        return;
    }
    receive_prepare(conn);
    enum conn_op op = conn->receive_op;
    nng_stream *stream = conn->stream;
    nng_aio *aio = conn->receive_aio;
    call_begin(conn);
    unlock_and_write(conn);
    if (op == OP_PAUSE)
        nng_sleep_aio(PAUSE_MS, aio);
    else
        nng_stream_recv(stream, aio);
    call_end(conn);
}

static void on_received(void *argument)
{
    struct conn *conn = argument;
    pthread_mutex_lock(&conn->lock);
    enum conn_op op = conn->receive_op;
    int rv = nng_aio_result(conn->receive_aio);
    size_t size = nng_aio_count(conn->receive_aio);
    conn->receive_op = OP_NONE;
    if (op == OP_DIAL && rv == 0)
        conn->stream = nng_aio_get_output(conn->receive_aio, 0); /* the keeper's to free, even when it is too late */
    bool ending = conn->state == CONN_ENDING;
    if (ending) {
        keeper_wake(conn->transport);
    } else {
        conn->receiving = conn->corked = true;
        conn->heard |= op == OP_READ && rv == 0;
    }
    pthread_mutex_unlock(&conn->lock);
    if (ending)
        return;
    if (op == OP_DIAL) {
        dialed(conn, rv);
    } else if (op == OP_READ && (rv != 0 || size == 0)) { /* 0 bytes: how TLS says that the other side has closed */
        pthread_mutex_lock(&conn->lock);
        end_failed(conn, rv);
        pthread_mutex_unlock(&conn->lock);
    } else if (op == OP_READ) {
        frame_reader_added(&conn->reader, size);
        counter_add(&conn->transport->bytes_in, size);
    }
    exec_threads_lend_begin();
    if (op != OP_DIAL)
        handle_frames(conn);
    receive_again(conn);
    exec_threads_lend_end();
}

/* ---- the beginning */

static void aios_new(struct conn *conn)
{
    CHECK(nng_aio_alloc(&conn->receive_aio, on_received, conn) == 0);
    CHECK(nng_aio_alloc(&conn->write_aio, on_written, conn) == 0);
    CHECK(nng_aio_alloc(&conn->quick_aio, NULL, NULL) == 0);
}

void conn_dial(struct conn *conn, nng_stream_dialer *take_dialer, const char *address, struct bytes hello)
{
    pthread_mutex_lock(&conn->lock);
    conn->dialer = take_dialer;
    conn->address = strdup(address);
    CHECK(conn->address);
    put_hello(conn, frame_copy(FRAME_WIRE_HELLO, hello));
    aios_new(conn);
    conn->receive_op = OP_DIAL;
    conn->receiving = false;
    nng_aio *aio = conn->receive_aio;
    call_begin(conn);
    pthread_mutex_unlock(&conn->lock);
    nng_stream_dialer_dial(take_dialer, aio);
    call_end(conn);
}

void conn_accepted(struct conn *conn, nng_stream *take_stream)
{
    /* Only tcp knows the option; without it a lone reply waits 40 ms for an acknowledgement. */
    (void)nng_stream_set_bool(take_stream, NNG_OPT_TCP_NODELAY, true);
    pthread_mutex_lock(&conn->lock);
    conn->stream = take_stream;
    aios_new(conn);
    pthread_mutex_unlock(&conn->lock);
    receive_again(conn);
}
