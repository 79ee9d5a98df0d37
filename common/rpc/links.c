#include "rpc/links.h"

#include <stdlib.h>
#include <uthash.h>

#include "base/check.h"
#include "base/list.h"
#include "base/rng.h"
#include "env/clock.h"
#include "rpc/frame_kind.h"

enum {
    PAUSE_MIN_US_DEFAULT = 20 * 1000,
    PAUSE_MAX_US_DEFAULT = 1000 * 1000,
    HELLO_SIZE_MAX = 4096,
    TEXT_SIZE_MAX = 256,
};

/* What the transport's threads touch: it outlives `links` until the last connection has said its on_close. Nothing in
 * it changes but the count. */
struct gate {
    uint32_t count; /* atomic: 1 for links, 1 for each connection that has not been closed */
    uint32_t open;  /* atomic: 0 when links is gone */
    struct executor *executor;
    struct actor *owner;
    uint32_t message_kind;
    uint16_t version_min, version_max;
    struct transport_handler handler;
};

enum link_event { LINK_OPENED, LINK_REFUSED, LINK_FRAME, LINK_CLOSED };

struct link_message {
    struct message base;
    enum link_event event;
    conn_id conn;
    struct frame *frame; /* owned; OPENED, REFUSED: holds a hello */
    enum err reason;     /* CLOSED */
};

enum link_state { LINK_DOWN, LINK_DIALING, LINK_UP };

struct link {
    struct links *links;
    struct list link;  /* links->all */
    UT_hash_handle hh; /* links->by_conn, while conn is not 0 */
    char *address;     /* owned */
    uint64_t want_node_id;
    void *user;
    enum link_state state;
    conn_id conn;      /* 0 when down */
    uint64_t pause_us; /* before the next dial, at most; 0: it was up */
    uint64_t dial_at_us;
    bool heard; /* a frame came on this connection: it was of use */
    bool resetting;
    enum err failed;             /* the dial could not even start; not reported yet */
    char refusal[TEXT_SIZE_MAX]; /* what the listener said */
};

struct links {
    struct env *env;
    struct gate *gate; /* counted */
    struct wire_hello hello;
    uint64_t pause_min_us, pause_max_us;
    struct links_handler handler;
    struct rng rng;
    struct list all;
    struct link *by_conn;
};

/* ---- the transport's side */

static void gate_unref(struct gate *gate)
{
    if (__atomic_sub_fetch(&gate->count, 1, __ATOMIC_ACQ_REL) == 0)
        free(gate);
}

static void message_drop(struct message *message)
{
    struct link_message *dropped = (struct link_message *)message;
    frame_unref(dropped->frame);
    free(dropped);
}

static struct link_message *message_new(const struct gate *gate, enum link_event event, conn_id conn,
                                        struct frame *take_frame)
{
    struct link_message *message = malloc(sizeof *message);
    CHECK(message);
    *message = (struct link_message){
        .base = {.kind = gate->message_kind, .free = message_drop},
        .event = event,
        .conn = conn,
        .frame = take_frame,
    };
    return message;
}

static bool gate_is_open(const struct gate *gate)
{
    return __atomic_load_n(&gate->open, __ATOMIC_ACQUIRE);
}

static enum err judge_hello(const struct gate *gate, struct bytes bytes)
{
    struct arena hello_arena;
    struct wire_hello hello;
    arena_init(&hello_arena);
    enum err code = wire_decode_hello(bytes, &hello_arena, &hello);
    if (!code && hello.code)
        code = (enum err)hello.code;
    else if (!code && (hello.version_min > gate->version_max || hello.version_max < gate->version_min))
        code = ERR_VERSION;
    arena_fini(&hello_arena);
    return code;
}

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    (void)ret_reply; /* the dialer has said its hello */
    struct gate *gate = context;
    enum err code = judge_hello(gate, hello);
    if (!gate_is_open(gate))
        return ERR_CLOSED;
    if (code == ERR_CORRUPT)
        return code;
    struct link_message *message =
        message_new(gate, code ? LINK_REFUSED : LINK_OPENED, conn, frame_copy(FRAME_HELLO, hello));
    actor_post_must(gate->executor, gate->owner, &message->base);
    return code;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct gate *gate = context;
    if (!gate_is_open(gate))
        return ERR_CLOSED;
    struct link_message *message = message_new(gate, LINK_FRAME, conn, take_frame);
    enum err code = actor_post(gate->executor, gate->owner, &message->base);
    if (code) {
        message->frame = NULL; /* still the transport's */
        message_free(&message->base);
    }
    return code;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    struct gate *gate = context;
    if (gate_is_open(gate)) {
        struct link_message *message = message_new(gate, LINK_CLOSED, conn, NULL);
        message->reason = reason;
        actor_post_must(gate->executor, gate->owner, &message->base);
    }
    gate_unref(gate);
}

/* ---- dialing */

static uint64_t now_us(const struct links *links)
{
    return clock_now_us(links->env->clock);
}

/* The next dial comes after a pause that doubles with each failure. Half of it is chance, so that those who lost the
 * same process do not all come back in the same moment. */
static void go_down(struct link *link, bool was_of_use)
{
    struct links *links = link->links;
    uint64_t pause = was_of_use || link->pause_us == 0 ? links->pause_min_us : 2 * link->pause_us;
    link->pause_us = pause < links->pause_max_us ? pause : links->pause_max_us;
    link->state = LINK_DOWN;
    link->dial_at_us = now_us(links) + rng_between(&links->rng, link->pause_us / 2, link->pause_us);
    link->heard = link->resetting = false;
}

static struct wire_hello with_versions(struct wire_hello hello)
{
    if (hello.version_max == 0) {
        hello.version_min = PROTOCOL_VERSION_MIN;
        hello.version_max = PROTOCOL_VERSION;
    }
    return hello;
}

static enum err encode_hello(const struct link *link, struct buf *out)
{
    struct wire_hello hello = with_versions(link->links->hello);
    hello.want_node_id = link->want_node_id;
    return wire_encode_hello(&hello, out);
}

/* Calls no handler. */
static void dial(struct link *link)
{
    struct links *links = link->links;
    struct gate *gate = links->gate;
    struct buf hello;
    buf_init(&hello, HELLO_SIZE_MAX);
    conn_id conn = 0;
    enum err code = encode_hello(link, &hello);
    if (!code) {
        __atomic_add_fetch(&gate->count, 1, __ATOMIC_RELAXED);
        code = transport_dial(links->env->transport, link->address, buf_bytes(&hello), &gate->handler, &conn);
        if (code)
            gate_unref(gate);
    }
    buf_fini(&hello);
    if (code) {
        link->failed = code;
        go_down(link, false);
        return;
    }
    link->state = LINK_DIALING;
    link->conn = conn;
    link->refusal[0] = 0;
    HASH_ADD(hh, links->by_conn, conn, sizeof link->conn, link);
}

/* ---- events on the owner's actor */

static void decode_hello(struct frame *frame, struct arena *arena, struct wire_hello *hello)
{
    CHECK(wire_decode_hello(frame_bytes(frame), arena, hello) == ERR_OK); /* on_open has done it before */
}

static void opened(struct link *link, struct frame *frame)
{
    struct links *links = link->links;
    struct arena hello_arena;
    struct wire_hello hello;
    arena_init(&hello_arena);
    decode_hello(frame, &hello_arena, &hello);
    link->state = LINK_UP;
    if (links->handler.on_up)
        links->handler.on_up(links->handler.context, link, &hello);
    arena_fini(&hello_arena);
}

static void refused(struct link *link, struct frame *frame)
{
    struct arena hello_arena;
    struct wire_hello hello;
    arena_init(&hello_arena);
    decode_hello(frame, &hello_arena, &hello);
    size_t size = hello.text.size < TEXT_SIZE_MAX - 1 ? hello.text.size : TEXT_SIZE_MAX - 1;
    if (size > 0)
        memcpy(link->refusal, hello.text.data, size);
    link->refusal[size] = 0;
    arena_fini(&hello_arena);
}

/* It took the connection, and did not like what came first. */
static const char *why_closed_at_once(const struct link *link)
{
    if (strncmp(link->address, "tls+", 4) == 0)
        return "the connection ended at once: does it want a certificate (tls-cert, of a CA that it knows)?";
    if (strncmp(link->address, "tcp:", 4) == 0)
        return "the connection ended at once: does it speak TLS (tls+tcp://)?";
    return "the connection ended";
}

static const char *why(const struct link *link, bool was_up, enum err reason)
{
    switch (reason) {
    case ERR_UNAVAILABLE:
        return "no connection";
    case ERR_TIMEOUT:
        return "no answer in time";
    case ERR_CLOSED:
        return was_up ? "the connection ended" : why_closed_at_once(link);
    case ERR_CORRUPT:
        return "not our protocol";
    case ERR_VERSION:
        return "no common protocol version";
    case ERR_INVALID:
        return "not a valid address";
    default:
        return err_name(reason);
    }
}

static void tell_down(struct link *link, bool was_up, enum err code)
{
    struct links *links = link->links;
    char text[TEXT_SIZE_MAX];
    strcpy(text, link->refusal); /* the handler may close the link */
    link->refusal[0] = 0;
    if (links->handler.on_down)
        links->handler.on_down(links->handler.context, link, was_up, code, text[0] ? text : why(link, was_up, code));
}

static void closed(struct link *link, enum err reason)
{
    bool was_up = link->state == LINK_UP;
    HASH_DEL(link->links->by_conn, link);
    link->conn = 0;
    go_down(link, was_up && link->heard && !link->resetting);
    tell_down(link, was_up, reason);
}

/* The link may be gone when this returns. */
static void handle(struct link *link, struct link_message *message)
{
    struct links *links = link->links;
    switch (message->event) {
    case LINK_OPENED:
        opened(link, message->frame);
        break;
    case LINK_REFUSED:
        refused(link, message->frame);
        break;
    case LINK_CLOSED:
        closed(link, message->reason);
        break;
    case LINK_FRAME:
        CHECK(link->state == LINK_UP);
        link->heard = true;
        struct frame *frame = message->frame;
        message->frame = NULL;
        links->handler.on_frame(links->handler.context, link, frame);
        break;
    }
}

void links_on_message(struct links *links, struct message *take_message)
{
    struct link_message *message = (struct link_message *)take_message;
    struct link *link;
    HASH_FIND(hh, links->by_conn, &message->conn, sizeof message->conn, link);
    if (link) /* otherwise it was closed meanwhile, or is another connection now */
        handle(link, message);
    message_free(take_message);
}

static uint32_t count_failed(const struct links *links)
{
    uint32_t count = 0;
    LIST_FOR_EACH (at, &links->all)
        count += LIST_ENTRY(at, struct link, link)->failed != ERR_OK;
    return count;
}

static struct link *first_failed(struct links *links)
{
    LIST_FOR_EACH (at, &links->all) {
        struct link *link = LIST_ENTRY(at, struct link, link);
        if (link->failed)
            return link;
    }
    return NULL;
}

void links_tick(struct links *links)
{
    uint64_t now = now_us(links);
    LIST_FOR_EACH (at, &links->all) {
        struct link *link = LIST_ENTRY(at, struct link, link);
        if (link->state == LINK_DOWN && link->dial_at_us <= now && !link->failed)
            dial(link);
    }
    /* From the front each time: a handler may close any link, and open others. Those are told of next time, if they fail
     * at once too: an owner that tries the next address must not go round for ever. */
    struct link *link;
    for (uint32_t left = count_failed(links); left > 0 && (link = first_failed(links)); left--) {
        enum err code = link->failed;
        link->failed = ERR_OK;
        tell_down(link, false, code);
    }
}

/* ---- links and link, from outside */

struct links *links_new(struct env *env, struct actor *owner, uint32_t message_kind, const struct wire_hello *hello,
                        const struct links_options *options, const struct links_handler *handler)
{
    struct links *links = calloc(1, sizeof *links);
    struct gate *gate = calloc(1, sizeof *gate);
    CHECK(links && gate);
    *gate = (struct gate){
        .count = 1,
        .open = 1,
        .executor = env->executor,
        .owner = owner,
        .message_kind = message_kind,
        .version_min = with_versions(*hello).version_min,
        .version_max = with_versions(*hello).version_max,
        .handler = {.context = gate, .on_open = on_open, .on_frame = on_frame, .on_close = on_close},
    };
    links->env = env;
    links->gate = gate;
    links->hello = *hello;
    links->handler = *handler;
    links->pause_min_us = options && options->pause_min_us ? options->pause_min_us : PAUSE_MIN_US_DEFAULT;
    links->pause_max_us = options && options->pause_max_us ? options->pause_max_us : PAUSE_MAX_US_DEFAULT;
    rng_init(&links->rng, env->seed, "links");
    list_init(&links->all);
    return links;
}

void links_free(struct links *links)
{
    if (!links)
        return;
    while (!list_is_empty(&links->all))
        link_close(LIST_ENTRY(links->all.next, struct link, link));
    __atomic_store_n(&links->gate->open, 0, __ATOMIC_RELEASE);
    gate_unref(links->gate);
    free(links);
}

void links_set_hello(struct links *links, const struct wire_hello *hello)
{
    links->hello = *hello;
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
    list_push_back(&links->all, &link->link);
    dial(link);
    return link;
}

void link_close(struct link *link)
{
    struct links *links = link->links;
    if (link->conn) {
        HASH_DEL(links->by_conn, link);
        transport_close_conn(links->env->transport, link->conn);
    }
    list_remove(&link->link);
    free(link->address);
    free(link);
}

enum err link_send(struct link *link, struct frame *take_frame)
{
    if (link->state != LINK_UP) {
        frame_unref(take_frame);
        return ERR_UNAVAILABLE;
    }
    enum err code = transport_send(link->links->env->transport, link->conn, take_frame);
    return code == ERR_CLOSED ? ERR_UNAVAILABLE : code;
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
    if (!link->conn)
        return;
    link->resetting = true;
    transport_close_conn(link->links->env->transport, link->conn);
}
