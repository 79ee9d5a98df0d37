/* links: the outgoing connections of one actor, kept up.
 *
 * A link is a named address that should be connected: it dials, says hello, redials with growing random pauses when the
 * connection ends or the dial fails. Transport events reach the owner as messages of one kind (given at birth), so all
 * of this runs on the owner's actor and needs no lock.
 *
 * A dial is never told about inside link_open: its result, also that it could not start, comes later. Handlers may open and
 * close any link, the one they are called about too. A pause is short again after a connection on which a frame came.
 *
 * Owner: one actor. Threads: only that actor, but for the transport handler inside, which posts.
 * State of a link, with what moves it:
 *
 *   DOWN --links_tick (pause over)--> DIALING --on_open--> UP --on_close--> DOWN (pause grows from min to max, random)
 */
#ifndef RPC_LINKS_H
#define RPC_LINKS_H

#include "env/env.h"
#include "env/executor.h"
#include "env/transport.h"
#include "proto/wire.h"

struct links;
struct link;

struct links_handler {
    void *context; /* borrowed */
    void (*on_up)(void *context, struct link *link, const struct wire_hello *hello);
    /* Takes the frame. Its payload is not verified yet. */
    void (*on_frame)(void *context, struct link *link, struct frame *take_frame);
    /* Was up and is down, or a dial failed (`was_up` false). `code`/`text`: why; the listener's refusal if it gave one. */
    void (*on_down)(void *context, struct link *link, bool was_up, enum err code, const char *text);
};

struct links_options {
    uint64_t pause_min_us; /* 0: 20 ms */
    uint64_t pause_max_us; /* 0: 1 s */
};

/* `message_kind`: messages of this kind must be handed to links_on_message. `hello` is copied; its strings must outlive. */
struct links *links_new(struct env *env, struct actor *owner, uint32_t message_kind, const struct wire_hello *hello, const struct links_options *options,
                        const struct links_handler *handler);
void links_free(struct links *links); /* closes all; NULL is fine. The executor must have stopped, or nothing be posted later */
void links_on_message(struct links *links, struct message *take_message);
/* Dials what is due. Call it from the owner's timer, at least every 100 ms. */
void links_tick(struct links *links);
/* Changes what later dials say (a cluster id learnt since). */
void links_set_hello(struct links *links, const struct wire_hello *hello);

/* Starts dialing at once. `want_node_id`: the hello's field, so that another process at that address refuses (0: any). */
struct link *link_open(struct links *links, const char *address, uint64_t want_node_id, void *user);
void link_close(struct link *link); /* no handler call follows */
/* ERR_UNAVAILABLE when down, ERR_BUSY when too much is pending; the frame is taken in any case. */
enum err link_send(struct link *link, struct frame *take_frame);
bool link_is_up(const struct link *link);
conn_id link_conn(const struct link *link); /* 0 when down: for other actors of this process that send by conn */
const char *link_address(const struct link *link);
void *link_user(const struct link *link);
/* Ends the present connection (it answers nonsense, or belongs to another store); redials after a pause. */
void link_reset(struct link *link);

#endif
