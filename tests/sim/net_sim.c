#include "net_sim.h"

#include <stdlib.h>
#include <uthash.h>
#include <xxhash.h>

#include "base/check.h"
#include "base/list.h"
#include "exec_sim.h"
#include "rpc/frame_kind.h"

enum {
    NODES_MAX = 64,
    WATCH_INTERVAL_US = 100 * 1000,
    SYN_INTERVAL_US = 1000 * 1000, /* a lost SYN is sent again */
    OFFER_MIN_US = 2000,           /* a frame that met ERR_BUSY is offered again after 2..5 ms */
    OFFER_MAX_US = 5000,
    CLOG_LOOK_US = 20 * 1000,       /* how often what cannot be queued looks whether a clogged path is open */
    RETRANSMIT_MAX_US = 200 * 1000, /* a path that came back is noticed by TCP's retransmission */
};

/* One thing on the way: a hello, a frame, or the end of the direction. */
enum flight_kind { FLIGHT_HELLO, FLIGHT_FRAME, FLIGHT_END };

struct flight {
    struct list link;
    enum flight_kind kind;
    enum err reason;     /* END: what on_close gets */
    struct frame *frame; /* owned; NULL for END */
    uint64_t arrival_ns;
};

enum end_state { END_NONE, END_WAITING /* no hello from the other side yet */, END_OPEN, END_CLOSED };

/* One side of a connection, and the direction that leads away from it. */
struct end {
    struct conn *conn;
    struct sim_node *node;
    uint64_t generation; /* of the node */
    conn_id id;
    const struct transport_handler *handler; /* borrowed */
    enum end_state state;
    uint64_t heard_ns; /* when the other side was last able to reach us */
    uint64_t tag;      /* of the listener's hello, for every frame that it receives */
    /* away from here */
    struct list flights;
    uint64_t flight_size;
    uint64_t last_arrival_ns;
    bool ended;  /* an END is under way, or the direction was cut: what is sent later vanishes */
    bool shut;   /* this side ended it: nothing is delivered to it but on_close, which is under way */
    bool pumped; /* an event to deliver the head is scheduled */
    UT_hash_handle hh;
};

/* Lives while an end is open or an event refers to it. */
struct conn {
    struct list link;
    struct net *net;
    struct end ends[2]; /* dialer, listener */
    char address[64];
    uint32_t refs; /* events under way */
    bool dialing;
    uint64_t dialed_ns;
};

struct listener {
    struct list link;
    char address[64];
    struct sim_node *node;
    const struct transport_handler *handler;
};

struct node_transport {
    struct transport transport;
    struct net *net;
    struct sim_node *node;
    bool machine_dead;
};

struct net {
    struct sim *sim;
    struct rng rng;
    struct net_options options;
    struct net_counts counts;
    struct list conns;
    struct end *by_id;
    struct list listeners;
    struct node_transport *transports[NODES_MAX];
    uint16_t blocked[NODES_MAX][NODES_MAX], clogged[NODES_MAX][NODES_MAX];
    uint32_t slow_us[NODES_MAX][NODES_MAX];
    conn_id last_id;
    bool watching;
    net_observer *observer;
    void *observer_context;
};

/* ---- paths */

static bool path_is_blocked(const struct net *net, const struct sim_node *from, const struct sim_node *to)
{
    return net->blocked[sim_node_index(from)][sim_node_index(to)] > 0;
}

static bool path_is_clogged(const struct net *net, const struct sim_node *from, const struct sim_node *to)
{
    return net->clogged[sim_node_index(from)][sim_node_index(to)] > 0;
}

static uint64_t draw_delay_ns(struct net *net, const struct sim_node *from, const struct sim_node *to)
{
    const struct net_options *options = &net->options;
    uint64_t delay_us = rng_between(&net->rng, options->delay_min_us, options->delay_max_us);
    if (options->spike_per_100000 && rng_chance(&net->rng, options->spike_per_100000, 100000)) {
        delay_us += rng_below(&net->rng, (uint64_t)options->spike_max_us + 1);
        net->counts.spikes++;
        net->counts.spike_ns = sim_heap_ns(net->sim);
    }
    delay_us += net->slow_us[sim_node_index(from)][sim_node_index(to)];
    return delay_us * 1000 + rng_below(&net->rng, 1000);
}

static struct end *other_end(struct end *end)
{
    return &end->conn->ends[end == &end->conn->ends[0]];
}

static bool end_lives(const struct end *end)
{
    return (end->state == END_WAITING || end->state == END_OPEN) && sim_node_is_up(end->node) &&
           sim_node_generation(end->node) == end->generation;
}

/* ---- connections */

static struct flight *flight_new(enum flight_kind kind, struct frame *take_frame)
{
    struct flight *flight = calloc(1, sizeof *flight);
    CHECK(flight);
    flight->kind = kind;
    flight->frame = take_frame;
    return flight;
}

static void flight_free(struct flight *flight)
{
    frame_unref(flight->frame);
    free(flight);
}

static void drop_flight(struct end *from, struct flight *flight)
{
    list_remove(&flight->link);
    if (flight->frame)
        from->flight_size -= flight->frame->size;
    if (flight->kind != FLIGHT_END)
        from->conn->net->counts.frames_lost++;
    flight_free(flight);
}

static struct conn *conn_new(struct net *net)
{
    struct conn *conn = calloc(1, sizeof *conn);
    CHECK(conn);
    conn->net = net;
    for (int i = 0; i < 2; i++) {
        conn->ends[i].conn = conn;
        list_init(&conn->ends[i].flights);
    }
    list_push_back(&net->conns, &conn->link);
    return conn;
}

static void conn_free(struct conn *conn)
{
    for (int i = 0; i < 2; i++) {
        struct end *end = &conn->ends[i];
        while (!list_is_empty(&end->flights))
            drop_flight(end, LIST_ENTRY(end->flights.next, struct flight, link));
        if (end->id)
            HASH_DEL(conn->net->by_id, end);
    }
    list_remove(&conn->link);
    free(conn);
}

static bool end_is_over(const struct end *end)
{
    return end->state == END_NONE || end->state == END_CLOSED;
}

/* Frees the connection when nobody can come back to it. An end of a node that has just died still wants its on_close.
 */
static void conn_unref(struct conn *conn)
{
    CHECK(conn->refs > 0);
    if (--conn->refs == 0 && !conn->dialing && end_is_over(&conn->ends[0]) && end_is_over(&conn->ends[1]))
        conn_free(conn);
}

static void end_give_id(struct end *end, struct sim_node *node, const struct transport_handler *handler)
{
    struct net *net = end->conn->net;
    end->node = node;
    end->generation = sim_node_generation(node);
    end->handler = handler;
    end->id = ++net->last_id;
    end->state = END_WAITING;
    end->heard_ns = sim_now_ns(net->sim);
    HASH_ADD(hh, net->by_id, id, sizeof end->id, end);
}

static struct end *find_end(struct net *net, const struct sim_node *node, conn_id id)
{
    struct end *end;
    HASH_FIND(hh, net->by_id, &id, sizeof id, end);
    return end && end->node == node && end_lives(end) ? end : NULL;
}

static void drop_end_event(void *context)
{
    conn_unref(((struct end *)context)->conn);
}

static void at_end(struct end *end, struct sim_node *node, uint64_t at_ns, void (*run)(void *context))
{
    end->conn->refs++;
    sim_at(end->conn->net->sim, at_ns, node, run, drop_end_event, end);
}

/* ---- closing */

/* The last call about this end. */
static void close_now(struct end *end, enum err reason)
{
    if (end->state == END_CLOSED)
        return;
    struct net *net = end->conn->net;
    end->state = END_CLOSED;
    sim_digest_add(net->sim, end->id ^ (uint64_t)reason << 32);
    sim_trace(net->sim, "net: conn %llu closed: %s", (unsigned long long)end->id, err_name(reason));
    end->handler->on_close(end->handler->context, end->id, reason);
}

struct closing {
    struct end *end;
    enum err reason;
};

static void run_close(void *context)
{
    struct closing *closing = context;
    struct conn *conn = closing->end->conn;
    if (closing->end->state != END_NONE)
        close_now(closing->end, closing->reason);
    free(closing);
    conn_unref(conn);
}

static void drop_close(void *context)
{
    struct closing *closing = context;
    conn_unref(closing->end->conn);
    free(closing);
}

/* on_close for this end at a later time, in the name of its node. */
static void close_at(struct end *end, uint64_t at_ns, enum err reason)
{
    struct closing *closing = malloc(sizeof *closing);
    CHECK(closing);
    *closing = (struct closing){end, reason};
    end->conn->refs++;
    sim_at(end->conn->net->sim, at_ns, end->node, run_close, drop_close, closing);
}

static void pump(void *context);

static void schedule_pump(struct end *from, uint64_t not_before_ns)
{
    if (from->pumped || list_is_empty(&from->flights))
        return;
    struct flight *head = LIST_ENTRY(from->flights.next, struct flight, link);
    uint64_t at_ns = head->arrival_ns > not_before_ns ? head->arrival_ns : not_before_ns;
    from->pumped = true;
    at_end(from, NULL, at_ns, pump);
}

/* Puts something on the way from this end, behind what is on the way already. */
static void launch(struct end *from, struct flight *take_flight)
{
    struct net *net = from->conn->net;
    uint64_t at_ns = sim_heap_ns(net->sim) + draw_delay_ns(net, from->node, other_end(from)->node);
    if (at_ns <= from->last_arrival_ns)
        at_ns = from->last_arrival_ns + 1;
    from->last_arrival_ns = at_ns;
    take_flight->arrival_ns = at_ns;
    if (take_flight->frame)
        from->flight_size += take_flight->frame->size;
    list_push_back(&from->flights, &take_flight->link);
    schedule_pump(from, 0);
}

/* A random part of what is on the way is lost, always from the tail. */
static void lose_tail(struct end *from)
{
    struct net *net = from->conn->net;
    while (!list_is_empty(&from->flights) && rng_chance(&net->rng, 2, 3))
        drop_flight(from, LIST_ENTRY(from->flights.previous, struct flight, link));
}

static void end_direction(struct end *from, enum err reason)
{
    if (from->ended)
        return;
    from->ended = true;
    struct end *to = other_end(from);
    if (to->state == END_NONE)
        return;
    struct flight *flight = flight_new(FLIGHT_END, NULL);
    flight->reason = reason;
    launch(from, flight);
}

/* The owner of this end, or its watchdog, ends the connection; the other side hears of it behind what was sent. */
static void shut_end(struct end *end, enum err reason)
{
    struct net *net = end->conn->net;
    if (!end_lives(end) || end->shut)
        return;
    end->shut = true;
    if (rng_chance(&net->rng, 1, 4)) /* unread bytes make a reset of it, and a reset overtakes */
        lose_tail(end);
    end_direction(end, ERR_CLOSED);
    close_at(end, sim_heap_ns(net->sim) + rng_between(&net->rng, 1000, 50000), reason);
}

/* ---- delivery */

static void deliver_hello(struct end *to, struct frame *hello)
{
    struct net *net = to->conn->net;
    bool is_listener = to == &to->conn->ends[1];
    struct frame *reply = NULL;
    enum err code = to->handler->on_open(to->handler->context, to->id, frame_bytes(hello), is_listener ? &reply : NULL);
    sim_trace(net->sim, "net: conn %llu open at %s: %s", (unsigned long long)to->id,
              is_listener ? "listener" : "dialer", err_name(code));
    to->tag = reply ? reply->tag : 0;
    if (is_listener && reply && end_lives(to) && !to->ended)
        launch(to, flight_new(FLIGHT_HELLO, reply));
    else
        frame_unref(reply);
    if (!end_lives(to))
        return;
    if (code != ERR_OK)
        shut_end(to, code);
    else
        to->state = END_OPEN;
}

/* False: the receiver is busy and the frame stays. */
static bool deliver_frame(struct end *to, struct frame *frame)
{
    struct net *net = to->conn->net;
    sim_digest_add(net->sim, XXH3_64bits(frame->payload, frame->size) ^ frame->kind);
    struct frame *offered = frame_ref(frame);
    offered->tag = to->tag;
    enum err code = to->handler->on_frame(to->handler->context, to->id, offered);
    if (code == ERR_OK)
        return true;
    frame_unref(offered);
    if (code == ERR_BUSY) {
        net->counts.busy_offers++;
        return false;
    }
    shut_end(to, code);
    return true;
}

/* In the name of the receiving node: hands over what has arrived. */
static void receive(void *context)
{
    struct end *from = context;
    struct end *to = other_end(from);
    struct net *net = from->conn->net;
    uint64_t next_ns = 0;
    from->pumped = false;
    while (!list_is_empty(&from->flights)) {
        struct flight *flight = LIST_ENTRY(from->flights.next, struct flight, link);
        if (!end_lives(to) || to->shut) {
            drop_flight(from, flight);
            continue;
        }
        if (flight->arrival_ns > sim_heap_ns(net->sim))
            break;
        if (flight->kind == FLIGHT_FRAME && to->state == END_OPEN && !deliver_frame(to, flight->frame)) {
            next_ns = sim_heap_ns(net->sim) + rng_between(&net->rng, OFFER_MIN_US, OFFER_MAX_US) * 1000;
            break;
        }
        list_remove(&flight->link);
        if (flight->frame)
            from->flight_size -= flight->frame->size;
        if (flight->kind == FLIGHT_HELLO)
            deliver_hello(to, flight->frame);
        else if (flight->kind == FLIGHT_END)
            close_now(to, flight->reason);
        flight_free(flight);
    }
    schedule_pump(from, next_ns);
    conn_unref(from->conn);
}

static void drop_receive(void *context)
{
    struct end *from = context;
    from->pumped = false;
    conn_unref(from->conn);
}

/* In nobody's name: is the path open? Then the receiver's kernel has it, and the receiver gets it when it runs. */
static void pump(void *context)
{
    struct end *from = context;
    struct end *to = other_end(from);
    struct net *net = from->conn->net;
    if (path_is_blocked(net, from->node, to->node) || path_is_clogged(net, from->node, to->node)) {
        from->pumped = false; /* net_block or net_clog wakes it */
    } else if (!sim_node_is_up(to->node) || sim_node_generation(to->node) != to->generation) {
        from->pumped = false;
        while (!list_is_empty(&from->flights))
            drop_flight(from, LIST_ENTRY(from->flights.next, struct flight, link));
    } else {
        from->conn->refs++;
        if (!sim_run_as(to->node, receive, from))
            sim_at(net->sim, sim_heap_ns(net->sim), to->node, receive, drop_receive, from);
    }
    conn_unref(from->conn);
}

/* ---- dialing */

static struct listener *find_listener(struct net *net, const char *address)
{
    LIST_FOR_EACH (link, &net->listeners) {
        struct listener *listener = LIST_ENTRY(link, struct listener, link);
        if (strcmp(listener->address, address) == 0)
            return listener;
    }
    return NULL;
}

static void dial_failed(struct end *dialer, uint64_t at_ns)
{
    struct net *net = dialer->conn->net;
    dialer->conn->dialing = false;
    net->counts.dials_failed++;
    close_at(dialer, at_ns, ERR_UNAVAILABLE);
}

/* Where an address leads does not depend on whether somebody listens there: `sim://name` is the node of that name. */
static struct sim_node *node_at(struct net *net, const char *address)
{
    const char *name = address + strlen("sim://");
    for (uint32_t i = 0; i < NODES_MAX; i++)
        if (net->transports[i] && strcmp(sim_node_name(net->transports[i]->node), name) == 0)
            return net->transports[i]->node;
    return NULL;
}

/* A SYN reaches (or does not reach) the other machine. */
static void arrive_syn(void *context)
{
    struct end *dialer = context;
    struct conn *conn = dialer->conn;
    struct net *net = conn->net;
    uint64_t now_ns = sim_heap_ns(net->sim);
    struct sim_node *target = node_at(net, conn->address);
    bool silent = target && (path_is_blocked(net, dialer->node, target) || path_is_blocked(net, target, dialer->node) ||
                             net->transports[sim_node_index(target)]->machine_dead);
    struct listener *listener = find_listener(net, conn->address);
    if (!end_lives(dialer) || dialer->shut) {
        conn->dialing = false;
    } else if (target && (path_is_clogged(net, dialer->node, target) || path_is_clogged(net, target, dialer->node))) {
        at_end(dialer, NULL, now_ns + (uint64_t)CLOG_LOOK_US * 1000, arrive_syn);
    } else if (silent && now_ns + (uint64_t)SYN_INTERVAL_US * 1000 <
                             conn->dialed_ns + (uint64_t)net->options.dial_timeout_us * 1000) {
        at_end(dialer, NULL, now_ns + (uint64_t)SYN_INTERVAL_US * 1000, arrive_syn);
    } else if (silent) {
        uint64_t limit_ns = conn->dialed_ns + (uint64_t)net->options.dial_timeout_us * 1000;
        dial_failed(dialer, limit_ns > now_ns ? limit_ns : now_ns);
    } else if (!listener) {
        dial_failed(dialer, now_ns + rng_between(&net->rng, 1000, (uint64_t)net->options.delay_max_us * 1000 + 1000));
    } else {
        conn->dialing = false;
        end_give_id(&conn->ends[1], listener->node, listener->handler);
        dialer->heard_ns = now_ns;
        schedule_pump(dialer, 0);
    }
    conn_unref(conn);
}

static struct node_transport *transport_of(struct transport *transport)
{
    return LIST_ENTRY(transport, struct node_transport, transport);
}

static bool address_is_valid(const char *address)
{
    return strncmp(address, "sim://", 6) == 0 && address[6] != '\0' &&
           strlen(address) < sizeof((struct conn *)0)->address;
}

static enum err net_listen(struct transport *transport, const char *address, const struct transport_handler *handler,
                           struct error *err)
{
    struct node_transport *self = transport_of(transport);
    if (!address_is_valid(address))
        return error_set(err, ERR_INVALID, "listen on %s: not an address of the simulator", address);
    if (find_listener(self->net, address))
        return error_set(err, ERR_LOCKED, "listen on %s: the address is in use", address);
    struct listener *listener = calloc(1, sizeof *listener);
    CHECK(listener);
    strcpy(listener->address, address);
    listener->node = self->node;
    listener->handler = handler;
    list_push_back(&self->net->listeners, &listener->link);
    return ERR_OK;
}

static void watch(void *context);

static enum err net_dial(struct transport *transport, const char *address, struct bytes hello,
                         const struct transport_handler *handler, conn_id *ret_conn)
{
    struct node_transport *self = transport_of(transport);
    struct net *net = self->net;
    if (!sim_node_is_up(self->node))
        return ERR_CLOSED;
    if (!address_is_valid(address) || !node_at(net, address))
        return ERR_INVALID;
    struct conn *conn = conn_new(net);
    struct end *dialer = &conn->ends[0];
    strcpy(conn->address, address);
    conn->dialing = true;
    conn->ends[1].node = node_at(net, address);
    end_give_id(dialer, self->node, handler);
    *ret_conn = dialer->id;
    net->counts.dials++;
    conn->dialed_ns = sim_take_now_ns(net->sim);
    uint64_t at_ns = conn->dialed_ns + draw_delay_ns(net, self->node, conn->ends[1].node);
    struct flight *first = flight_new(FLIGHT_HELLO, frame_copy(FRAME_HELLO, hello));
    first->arrival_ns = dialer->last_arrival_ns = at_ns + 1;
    dialer->flight_size = hello.size;
    list_push_back(&dialer->flights, &first->link);
    at_end(dialer, NULL, at_ns, arrive_syn);
    if (!net->watching) {
        net->watching = true;
        sim_at(net->sim, conn->dialed_ns + (uint64_t)WATCH_INTERVAL_US * 1000, NULL, watch, NULL, net);
    }
    return ERR_OK;
}

/* ---- sending */

struct sending {
    struct end *from;
    struct frame *frame; /* owned */
};

static void drop_sending(void *context)
{
    struct sending *sending = context;
    frame_unref(sending->frame);
    conn_unref(sending->from->conn);
    free(sending);
}

/* A frame that goes its own way: repeated or overtaken. */
static void run_stray(void *context)
{
    struct sending *stray = context;
    struct end *to = other_end(stray->from);
    struct net *net = to->conn->net;
    if (path_is_clogged(net, stray->from->node, to->node)) {
        uint64_t at_ns = sim_heap_ns(net->sim) + (uint64_t)CLOG_LOOK_US * 1000;
        sim_at(net->sim, at_ns, to->node, run_stray, drop_sending, stray);
        return;
    }
    if (end_lives(to) && to->state == END_OPEN && !to->shut && !path_is_blocked(net, stray->from->node, to->node))
        deliver_frame(to, stray->frame);
    frame_unref(stray->frame);
    conn_unref(stray->from->conn);
    free(stray);
}

static struct sending *sending_new(struct end *from, struct frame *take_frame)
{
    struct sending *sending = malloc(sizeof *sending);
    CHECK(sending);
    *sending = (struct sending){from, take_frame};
    from->conn->refs++;
    return sending;
}

static void launch_stray(struct end *from, struct frame *take_frame)
{
    struct net *net = from->conn->net;
    uint64_t late_ns = rng_between(&net->rng, 0, (uint64_t)net->options.raft_reorder_max_us * 1000);
    uint64_t at_ns = sim_heap_ns(net->sim) + draw_delay_ns(net, from->node, other_end(from)->node) + late_ns;
    sim_at(net->sim, at_ns, other_end(from)->node, run_stray, drop_sending, sending_new(from, take_frame));
}

/* At the sender's time. */
static void send_now(struct end *from, struct frame *take_frame)
{
    struct net *net = from->conn->net;
    const struct net_options *options = &net->options;
    net->counts.frames++;
    net->counts.bytes += take_frame->size;
    if (!end_lives(from) || from->ended) {
        net->counts.frames_lost++;
        frame_unref(take_frame);
        return;
    }
    if (net->observer)
        net->observer(net->observer_context, from->node, other_end(from)->node, take_frame);
    if (take_frame->kind == FRAME_RAFT && other_end(from)->state == END_OPEN) {
        if (options->raft_drop_per_10000 && rng_chance(&net->rng, options->raft_drop_per_10000, 10000)) {
            net->counts.raft_dropped++;
            net->counts.raft_dropped_ns = sim_heap_ns(net->sim);
            frame_unref(take_frame);
            return;
        }
        if (options->raft_repeat_per_10000 && rng_chance(&net->rng, options->raft_repeat_per_10000, 10000)) {
            net->counts.raft_repeated++;
            net->counts.raft_repeated_ns = sim_heap_ns(net->sim);
            launch_stray(from, frame_ref(take_frame));
        }
        if (options->raft_reorder_per_10000 && rng_chance(&net->rng, options->raft_reorder_per_10000, 10000)) {
            net->counts.raft_reordered++;
            net->counts.raft_reordered_ns = sim_heap_ns(net->sim);
            launch_stray(from, take_frame);
            return;
        }
    }
    launch(from, flight_new(FLIGHT_FRAME, take_frame));
}

static void run_send(void *context)
{
    struct sending *sending = context;
    send_now(sending->from, sending->frame);
    conn_unref(sending->from->conn);
    free(sending);
}

static enum err net_send(struct transport *transport, conn_id id, struct frame *take_frame)
{
    struct node_transport *self = transport_of(transport);
    struct net *net = self->net;
    struct end *end = find_end(net, self->node, id);
    if (!end || end->shut) {
        frame_unref(take_frame);
        return ERR_CLOSED;
    }
    if (end->flight_size + take_frame->size > net->options.pending_size_max && end->flight_size > 0) {
        net->counts.busy_sends++;
        frame_unref(take_frame);
        return ERR_BUSY;
    }
    if (sim_is_ahead(net->sim))
        sim_at(net->sim, sim_take_now_ns(net->sim), self->node, run_send, drop_sending, sending_new(end, take_frame));
    else
        send_now(end, take_frame);
    return ERR_OK;
}

static void run_shut(void *context)
{
    struct end *end = context;
    shut_end(end, ERR_CLOSED);
    conn_unref(end->conn);
}

static void net_close(struct transport *transport, conn_id id)
{
    struct node_transport *self = transport_of(transport);
    struct end *end = find_end(self->net, self->node, id);
    if (!end)
        return;
    if (sim_is_ahead(self->net->sim))
        at_end(end, self->node, sim_take_now_ns(self->net->sim), run_shut);
    else
        shut_end(end, ERR_CLOSED);
}

static const struct transport_ops net_ops = {
    .listen = net_listen, .dial = net_dial, .send = net_send, .close = net_close};

/* ---- watchdogs */

/* Does this end hear the other side (its pings at least)? */
static bool end_hears(struct net *net, struct end *end)
{
    struct end *other = other_end(end);
    if (end_lives(other) && path_is_clogged(net, other->node, end->node) &&
        !path_is_blocked(net, other->node, end->node))
        return true;
    return end_lives(other) && !other->ended && !path_is_blocked(net, other->node, end->node) &&
           !sim_node_is_paused(other->node);
}

/* The other machine was started again and answers our bytes with a reset. */
static bool end_meets_reset(struct net *net, struct end *end)
{
    struct end *other = other_end(end);
    return other->state != END_NONE && sim_node_is_up(other->node) &&
           sim_node_generation(other->node) != other->generation && !path_is_blocked(net, end->node, other->node) &&
           !path_is_blocked(net, other->node, end->node) && rng_chance(&net->rng, 1, 4);
}

static void watch_end(struct net *net, struct end *end)
{
    if (!end_lives(end) || end->shut || end->conn->dialing)
        return;
    uint64_t now_ns = sim_heap_ns(net->sim);
    if (end_hears(net, end)) {
        end->heard_ns = now_ns;
    } else if (end_meets_reset(net, end) || now_ns - end->heard_ns > (uint64_t)net->options.idle_limit_us * 1000) {
        net->counts.conns_lost++;
        end->shut = true;
        end_direction(end, ERR_CLOSED);
        close_at(end, now_ns + 1000,
                 now_ns - end->heard_ns > (uint64_t)net->options.idle_limit_us * 1000 ? ERR_TIMEOUT : ERR_CLOSED);
    }
}

static void watch(void *context)
{
    struct net *net = context;
    LIST_FOR_EACH_SAFE (link, following, &net->conns) {
        struct conn *conn = LIST_ENTRY(link, struct conn, link);
        conn->refs++;
        watch_end(net, &conn->ends[0]);
        watch_end(net, &conn->ends[1]);
        conn_unref(conn);
    }
    sim_at(net->sim, sim_heap_ns(net->sim) + (uint64_t)WATCH_INTERVAL_US * 1000, NULL, watch, NULL, net);
}

/* ---- weather */

static void wake_path(struct net *net, const struct sim_node *from, const struct sim_node *to, uint64_t late_us)
{
    LIST_FOR_EACH (link, &net->conns) {
        struct conn *conn = LIST_ENTRY(link, struct conn, link);
        for (int i = 0; i < 2; i++) {
            struct end *end = &conn->ends[i];
            if (end->node == from && other_end(end)->node == to && other_end(end)->state != END_NONE)
                schedule_pump(end, sim_heap_ns(net->sim) + rng_between(&net->rng, 0, late_us) * 1000);
        }
    }
}

static bool matches(const struct sim_node *wanted, const struct sim_node *node)
{
    return !wanted || wanted == node;
}

void net_block(struct net *net, const struct sim_node *from, const struct sim_node *to, bool blocked)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        for (uint32_t j = 0; j < NODES_MAX; j++) {
            if (i == j || !net->transports[i] || !net->transports[j] || !matches(from, net->transports[i]->node) ||
                !matches(to, net->transports[j]->node))
                continue;
            if (blocked) {
                net->blocked[i][j]++;
            } else if (net->blocked[i][j] > 0 && --net->blocked[i][j] == 0) {
                wake_path(net, net->transports[i]->node, net->transports[j]->node, RETRANSMIT_MAX_US);
            }
        }
    }
}

void net_clog(struct net *net, const struct sim_node *from, const struct sim_node *to, bool clogged)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        for (uint32_t j = 0; j < NODES_MAX; j++) {
            if (i == j || !net->transports[i] || !net->transports[j] || !matches(from, net->transports[i]->node) ||
                !matches(to, net->transports[j]->node))
                continue;
            if (clogged)
                net->clogged[i][j]++;
            else if (net->clogged[i][j] > 0 && --net->clogged[i][j] == 0)
                wake_path(net, net->transports[i]->node, net->transports[j]->node, 0);
        }
    }
}

void net_unblock_all(struct net *net)
{
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        for (uint32_t j = 0; j < NODES_MAX; j++) {
            if (net->blocked[i][j] == 0 && net->clogged[i][j] == 0)
                continue;
            net->blocked[i][j] = net->clogged[i][j] = 0;
            wake_path(net, net->transports[i]->node, net->transports[j]->node, RETRANSMIT_MAX_US);
        }
    }
}

uint32_t net_cut(struct net *net, const struct sim_node *a, const struct sim_node *b)
{
    uint32_t count = 0;
    LIST_FOR_EACH (link, &net->conns) {
        struct conn *conn = LIST_ENTRY(link, struct conn, link);
        struct end *x = &conn->ends[0], *y = &conn->ends[1];
        bool fits = (matches(a, x->node) && matches(b, y->node)) || (matches(b, x->node) && matches(a, y->node));
        if (!fits || y->state == END_NONE || (!end_lives(x) && !end_lives(y)))
            continue;
        count++;
        net->counts.conns_lost++;
        for (int i = 0; i < 2; i++) {
            struct end *end = &conn->ends[i];
            if (end->ended || end->state == END_NONE)
                continue;
            lose_tail(end);
            end->last_arrival_ns += rng_below(&net->rng, 50u * 1000 * 1000);
            end_direction(end, ERR_CLOSED);
            /* Its own sends vanish from now on; that it is over it learns from the other side's END. */
        }
    }
    return count;
}

void net_slow(struct net *net, const struct sim_node *from, const struct sim_node *to, uint32_t extra_us)
{
    for (uint32_t i = 0; i < NODES_MAX; i++)
        for (uint32_t j = 0; j < NODES_MAX; j++)
            if (net->transports[i] && net->transports[j] && matches(from, net->transports[i]->node) &&
                matches(to, net->transports[j]->node))
                net->slow_us[i][j] = extra_us;
}

/* ---- nodes */

void net_node_killed(struct net *net, struct sim_node *node, bool machine)
{
    LIST_FOR_EACH_SAFE (link, following, &net->listeners) {
        struct listener *listener = LIST_ENTRY(link, struct listener, link);
        if (listener->node == node) {
            list_remove(&listener->link);
            free(listener);
        }
    }
    net->transports[sim_node_index(node)]->machine_dead = machine;
    LIST_FOR_EACH_SAFE (link, following, &net->conns) {
        struct conn *conn = LIST_ENTRY(link, struct conn, link);
        conn->refs++;
        for (int i = 0; i < 2; i++) {
            struct end *end = &conn->ends[i];
            if (end->node != node || end_is_over(end))
                continue;
            lose_tail(end);
            if (machine)
                end->ended = true;
            else
                end_direction(end, ERR_CLOSED);
            end->state = END_CLOSED;
            if (i == 0)
                conn->dialing = false;
            /* The program is gone and cannot hear it; but what it holds for the connection goes with this call. */
            end->handler->on_close(end->handler->context, end->id, ERR_CLOSED);
        }
        conn_unref(conn);
    }
}

void net_node_started(struct net *net, struct sim_node *node)
{
    net->transports[sim_node_index(node)]->machine_dead = false;
}

struct transport *net_transport(struct net *net, struct sim_node *node)
{
    uint32_t index = sim_node_index(node);
    CHECK(index < NODES_MAX);
    if (!net->transports[index]) {
        struct node_transport *self = calloc(1, sizeof *self);
        CHECK(self);
        self->transport.ops = &net_ops;
        self->net = net;
        self->node = node;
        net->transports[index] = self;
    }
    return &net->transports[index]->transport;
}

struct net *net_new(struct sim *sim)
{
    struct net *net = calloc(1, sizeof *net);
    CHECK(net);
    net->sim = sim;
    rng_init(&net->rng, rng_next(sim_rng(sim)), "net");
    net->options = (struct net_options){.delay_min_us = 50,
                                        .delay_max_us = 500,
                                        .raft_reorder_max_us = 20000,
                                        .idle_limit_us = 5000000,
                                        .dial_timeout_us = 3000000,
                                        .pending_size_max = 64u << 20};
    list_init(&net->conns);
    list_init(&net->listeners);
    return net;
}

void net_free(struct net *net)
{
    if (!net)
        return;
    LIST_FOR_EACH_SAFE (link, following, &net->conns)
        conn_free(LIST_ENTRY(link, struct conn, link));
    LIST_FOR_EACH_SAFE (link, following, &net->listeners)
        free(LIST_ENTRY(link, struct listener, link));
    for (uint32_t i = 0; i < NODES_MAX; i++)
        free(net->transports[i]);
    free(net);
}

void net_set_observer(struct net *net, net_observer *observer, void *context)
{
    net->observer = observer;
    net->observer_context = context;
}

struct net_options *net_options(struct net *net)
{
    return &net->options;
}

const struct net_counts *net_counts(const struct net *net)
{
    return &net->counts;
}
