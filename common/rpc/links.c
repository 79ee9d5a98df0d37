#include "rpc/links.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/list.h"
#include "base/rng.h"
#include "env/clock.h"
#include "rpc/frame_kind.h"

enum { PAUSE_MIN_US = 20000, PAUSE_MAX_US = 1000000, HELLO_SIZE_MAX = 64 * 1024, TEXT_SIZE = 256 };
enum link_state { LINK_DOWN, LINK_DIALING, LINK_UP };

struct link {
    struct links *links; /* borrowed */
    struct list siblings;
    char *address; /* owned */
    uint64_t want_node_id;
    void *user;
    enum link_state state;
    conn_id conn; /* of DIALING and UP */
    uint64_t pause_us;
    uint64_t dial_at_us; /* when DOWN */
};

struct links {
    struct env *env;
    struct actor *owner;
    uint32_t message_kind;
    struct wire_hello hello; /* strings borrowed */
    struct links_options options;
    struct links_handler handler;
    struct transport_handler transport_handler;
    struct list all; /* of struct link */
    struct rng rng;
};

/* What the transport said, on its way to the owner. The listener's hello travels as bytes and is read there. */
enum event_kind { EVENT_OPEN, EVENT_FRAME, EVENT_CLOSE };
struct link_event {
    struct message message;
    enum event_kind kind;
    conn_id conn;
    struct frame *frame; /* owned; EVENT_FRAME: the frame, EVENT_OPEN: the hello, EVENT_CLOSE: none */
    enum err reason;
};

/* ---- the transport's thread: check nothing, post everything */

static void free_event(struct message *message)
{
    struct link_event *event = (struct link_event *)message;
    frame_unref(event->frame);
    free(event);
}

static struct link_event *event_new(const struct links *links, enum event_kind kind, conn_id conn)
{
    struct link_event *event = calloc(1, sizeof *event);
    CHECK(event);
    event->message = (struct message){.kind = links->message_kind, .free = free_event};
    event->kind = kind;
    event->conn = conn;
    return event;
}

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)ret_reply;
    struct links *links = context;
    struct link_event *event = event_new(links, EVENT_OPEN, conn);
    event->frame = frame_copy(FRAME_HELLO, hello);
    actor_post_must(links->env->executor, links->owner, &event->message);
    return ERR_OK;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct links *links = context;
    struct link_event *event = event_new(links, EVENT_FRAME, conn);
    event->frame = take_frame;
    enum err code = actor_post(links->env->executor, links->owner, &event->message);
    if (code != ERR_OK) {
        event->frame = NULL; /* the transport keeps it and offers it again */
        free_event(&event->message);
    }
    return code;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    struct links *links = context;
    struct link_event *event = event_new(links, EVENT_CLOSE, conn);
    event->reason = reason;
    actor_post_must(links->env->executor, links->owner, &event->message);
}

/* ---- the owner's actor */

struct links *links_new(struct env *env, struct actor *owner, uint32_t message_kind, const struct wire_hello *hello,
                        const struct links_options *options, const struct links_handler *handler)
{
    struct links *links = calloc(1, sizeof *links);
    CHECK(links);
    links->env = env;
    links->owner = owner;
    links->message_kind = message_kind;
    links->hello = *hello;
    links->options = *options;
    if (links->options.pause_min_us == 0)
        links->options.pause_min_us = PAUSE_MIN_US;
    if (links->options.pause_max_us == 0)
        links->options.pause_max_us = PAUSE_MAX_US;
    links->handler = *handler;
    links->transport_handler =
        (struct transport_handler){.context = links, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
    list_init(&links->all);
    rng_init(&links->rng, env->seed, "links");
    return links;
}

void links_free(struct links *links)
{
    if (!links)
        return;
    LIST_FOR_EACH_SAFE (at, next, &links->all)
        link_close(LIST_ENTRY(at, struct link, siblings));
    free(links);
}

void links_set_hello(struct links *links, const struct wire_hello *hello)
{
    links->hello = *hello;
}

/* Grows the pause and picks a moment in its second half, so that a crowd does not come back as one. */
static void plan_dial(struct link *link)
{
    struct links *links = link->links;
    uint64_t pause_us = link->pause_us * 2;
    if (pause_us < links->options.pause_min_us)
        pause_us = links->options.pause_min_us;
    if (pause_us > links->options.pause_max_us)
        pause_us = links->options.pause_max_us;
    link->pause_us = pause_us;
    link->dial_at_us = clock_now_us(links->env->clock) + rng_between(&links->rng, pause_us / 2, pause_us);
}

/* `report`: not inside link_open, whose caller does not hold the link yet. */
static void dial(struct link *link, bool report)
{
    struct links *links = link->links;
    struct wire_hello hello = links->hello;
    hello.want_node_id = link->want_node_id;
    struct buf encoded;
    buf_init(&encoded, HELLO_SIZE_MAX);
    enum err code = wire_encode_hello(&hello, &encoded);
    if (code == ERR_OK)
        code = transport_dial(links->env->transport, link->address, buf_bytes(&encoded), &links->transport_handler,
                              &link->conn);
    buf_fini(&encoded);
    if (code == ERR_OK) {
        link->state = LINK_DIALING;
        return;
    }
    link->conn = 0;
    plan_dial(link);
    if (report)
        links->handler.on_down(links->handler.context, link, false, code, "the address cannot be dialed");
}

struct link *link_open(struct links *links, const char *address, uint64_t want_node_id, void *user)
{
    struct link *link = calloc(1, sizeof *link);
    CHECK(link);
    link->links = links;
    link->address = strdup(address);
    CHECK(link->address);
    link->want_node_id = want_node_id;
    link->user = user;
    link->dial_at_us = clock_now_us(links->env->clock);
    list_push_back(&links->all, &link->siblings);
    dial(link, false);
    return link;
}

/* Later events of its connection find no link and are dropped. */
void link_close(struct link *link)
{
    if (link->conn != 0)
        transport_close_conn(link->links->env->transport, link->conn);
    list_remove(&link->siblings);
    free(link->address);
    free(link);
}

void links_tick(struct links *links)
{
    uint64_t now_us = clock_now_us(links->env->clock);
    LIST_FOR_EACH_SAFE (at, next, &links->all) {
        struct link *link = LIST_ENTRY(at, struct link, siblings);
        if (link->state == LINK_DOWN && now_us >= link->dial_at_us)
            dial(link, true);
    }
}

static struct link *find(struct links *links, conn_id conn)
{
    LIST_FOR_EACH (at, &links->all) {
        struct link *link = LIST_ENTRY(at, struct link, siblings);
        if (link->conn == conn)
            return link;
    }
    return NULL;
}

/* Ends what there is and says so; the handler may close the link in its call. */
static void go_down(struct link *link, enum err code, const char *text)
{
    struct links *links = link->links;
    bool was_up = link->state == LINK_UP;
    link->state = LINK_DOWN;
    link->conn = 0;
    plan_dial(link);
    links->handler.on_down(links->handler.context, link, was_up, code, text);
}

static void on_opened(struct link *link, struct frame *hello_frame)
{
    struct links *links = link->links;
    struct arena arena;
    struct wire_hello hello;
    char text[TEXT_SIZE] = "the other side's hello cannot be read";
    arena_init(&arena);
    enum err code = wire_decode_hello(frame_bytes(hello_frame), &arena, &hello);
    if (code == ERR_OK) {
        code = (enum err)hello.code;
        size_t size = hello.text.size < sizeof text - 1 ? hello.text.size : sizeof text - 1;
        if (size > 0)
            memcpy(text, hello.text.data, size);
        text[size] = '\0';
    }
    if (code == ERR_OK && (hello.version_min > PROTOCOL_VERSION || hello.version_max < PROTOCOL_VERSION_MIN))
        code = ERR_VERSION;
    if (code != ERR_OK) {
        transport_close_conn(links->env->transport, link->conn);
        go_down(link, code, text);
    } else {
        link->state = LINK_UP;
        link->pause_us = 0;
        links->handler.on_up(links->handler.context, link, &hello);
    }
    arena_fini(&arena);
}

void links_on_message(struct links *links, struct message *take_message)
{
    struct link_event *event = (struct link_event *)take_message;
    struct link *link = find(links, event->conn);
    if (link && event->kind == EVENT_OPEN && link->state == LINK_DIALING)
        on_opened(link, event->frame);
    else if (link && event->kind == EVENT_FRAME && link->state == LINK_UP) {
        struct frame *frame = event->frame;
        event->frame = NULL;
        links->handler.on_frame(links->handler.context, link, frame);
    } else if (link && event->kind == EVENT_CLOSE)
        go_down(link, event->reason, "");
    message_free(take_message);
}

enum err link_send(struct link *link, struct frame *take_frame)
{
    if (link->state == LINK_UP)
        return transport_send(link->links->env->transport, link->conn, take_frame);
    frame_unref(take_frame);
    return ERR_UNAVAILABLE;
}

bool link_is_up(const struct link *link)
{
    return link->state == LINK_UP;
}

conn_id link_conn(const struct link *link)
{
    return link->state == LINK_UP ? link->conn : 0;
}

const char *link_address(const struct link *link)
{
    return link->address;
}

void *link_user(const struct link *link)
{
    return link->user;
}

void link_reset(struct link *link)
{
    if (link->conn != 0)
        transport_close_conn(link->links->env->transport, link->conn);
    if (link->state != LINK_DOWN)
        go_down(link, ERR_CLOSED, "the connection was given up");
}
