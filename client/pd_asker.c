#include "client/pd_asker.h"

#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "env/clock.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ENDPOINTS_MAX = 16,
    ADDRESS_SIZE_MAX = 256,
    PAUSE_MIN_US = 2000,
    PAUSE_MAX_US = 500000,
    REOPEN_PAUSE_US = 20000, /* between endpoints that all refuse */
    NOT_READY_MAX = 4,       /* in a row, of one endpoint: it may be the one that nobody talks to */
};

struct pd_asker {
    struct env *env;
    struct links *links;
    struct link *link;              /* to endpoints[current]; NULL between endpoints */
    char *endpoints[ENDPOINTS_MAX]; /* owned */
    uint32_t endpoint_count;
    uint32_t current;
    uint32_t refused;     /* endpoints in a row that did not work */
    uint32_t not_ready;   /* answers in a row of this one */
    uint64_t open_due_us; /* link is NULL: open then */
    uint64_t opened_us;
    /* Wishes of the handlers: a link is not closed inside a call about it, the next tick does it. */
    enum move { MOVE_NONE, MOVE_RESET, MOVE_NEXT, MOVE_TO } move;
    uint32_t move_to;
    uint64_t silence_us;
    uint64_t cluster_id;
    uint64_t id_last;
    struct pd_ask *by_id;
    struct list asks;
    struct arena message_arena;
    struct rng rng;
    uint64_t now_us;
    struct wire_hello hello;
    char *name; /* owned; the hello's build */
    char trouble[256];
};

/* ---- endpoints */

/* Visits the names between commas, spaces around them removed; 0 names is an error too. */
static enum err each_endpoint(const char *endpoints, struct pd_asker *asker, const char *scheme, struct error *err)
{
    uint32_t count = 0;
    for (const char *at = endpoints ? endpoints : ""; *at;) {
        size_t size = strcspn(at, ",");
        const char *first = at, *last = at + size;
        while (first < last && *first == ' ')
            first++;
        while (last > first && last[-1] == ' ')
            last--;
        at += size + (at[size] == ',');
        if (first == last)
            return error_set(err, ERR_INVALID, "pd endpoints '%s': an endpoint is empty", endpoints);
        if ((size_t)(last - first) > ADDRESS_SIZE_MAX)
            return error_set(err, ERR_INVALID, "pd endpoints: '%.40s...' is too long for an address", first);
        if (++count > ENDPOINTS_MAX)
            return error_set(err, ERR_INVALID, "pd endpoints: more than %d", ENDPOINTS_MAX);
        if (!asker)
            continue;
        bool plain = !memmem(first, (size_t)(last - first), "://", 3);
        char *address = NULL;
        CHECK(asprintf(&address, "%s%.*s", plain ? scheme : "", (int)(last - first), first) > 0);
        asker->endpoints[asker->endpoint_count++] = address;
    }
    return count > 0 ? ERR_OK : error_set(err, ERR_INVALID, "no pd endpoint is given (host:port,host:port)");
}

enum err pd_asker_check_endpoints(const char *endpoints, struct error *err)
{
    return each_endpoint(endpoints, NULL, "", err);
}

static void open_link(struct pd_asker *asker)
{
    asker->opened_us = asker->now_us;
    asker->not_ready = 0;
    asker->link = link_open(asker->links, asker->endpoints[asker->current], 0, asker);
}

static void close_link(struct pd_asker *asker)
{
    if (asker->link)
        link_close(asker->link);
    asker->link = NULL;
}

/* What was sent there is asked again elsewhere. */
static void unsend_all(struct pd_asker *asker)
{
    LIST_FOR_EACH (link, &asker->asks) {
        struct pd_ask *ask = LIST_ENTRY(link, struct pd_ask, link);
        if (ask->sent) {
            ask->sent = false;
            ask->due_us = asker->now_us;
        }
    }
}

static void next_endpoint(struct pd_asker *asker)
{
    unsend_all(asker);
    if (asker->endpoint_count == 1 && asker->link)
        return; /* the link dials again by itself */
    close_link(asker);
    asker->current = (asker->current + 1) % asker->endpoint_count;
    asker->refused++;
    /* The first round over all endpoints is quick, later ones are not. */
    uint64_t pause_us = asker->refused < asker->endpoint_count ? 0 : REOPEN_PAUSE_US * asker->refused;
    if (pause_us > PAUSE_MAX_US)
        pause_us = PAUSE_MAX_US;
    asker->open_due_us = asker->now_us + (pause_us ? rng_between(&asker->rng, pause_us / 2, pause_us) : 0);
}

/* Where a member says that the leader is; what we did not know is learnt. */
static void want_endpoint(struct pd_asker *asker, struct bytes address)
{
    if (address.size == 0 || address.size > ADDRESS_SIZE_MAX || memchr(address.data, 0, address.size))
        return;
    uint32_t index = 0;
    while (index < asker->endpoint_count && !bytes_equal(bytes_of_string(asker->endpoints[index]), address))
        index++;
    if (index == asker->current)
        return;
    if (index == asker->endpoint_count) {
        if (index == ENDPOINTS_MAX)
            return;
        asker->endpoints[index] = strndup((const char *)address.data, address.size);
        CHECK(asker->endpoints[index]);
        asker->endpoint_count++;
    }
    asker->move = MOVE_TO;
    asker->move_to = index;
}

static void move(struct pd_asker *asker)
{
    enum move wanted = asker->move;
    asker->move = MOVE_NONE;
    if (wanted == MOVE_NEXT) {
        next_endpoint(asker);
    } else if (wanted == MOVE_TO) {
        unsend_all(asker);
        close_link(asker);
        asker->current = asker->move_to;
        asker->open_due_us = asker->now_us;
    } else if (wanted == MOVE_RESET && asker->link) {
        unsend_all(asker);
        link_reset(asker->link);
    }
}

/* ---- what the links say */

static void on_up(void *context, struct link *link, const struct wire_hello *hello)
{
    struct pd_asker *asker = context;
    (void)link;
    if (hello->cluster_id != 0)
        asker->cluster_id = hello->cluster_id;
    asker->refused = 0;
}

static void on_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    struct pd_asker *asker = context;
    snprintf(asker->trouble, sizeof asker->trouble, "pd %s: %s%s%s", link_address(link), err_name(code),
             text && *text ? ": " : "", text ? text : "");
    if (was_up)
        log_event(asker->env->log, LOG_WARN, "pd=%s code=%s msg=\"connection to pd ended\"", link_address(link),
                  err_name(code));
    unsend_all(asker);
    if (asker->endpoint_count > 1)
        asker->move = MOVE_NEXT;
}

static void finish(struct pd_asker *asker, struct pd_ask *ask, enum err code, const struct wire_pd_reply *reply,
                   const char *text)
{
    pd_asker_cancel(asker, ask);
    ask->done(ask, code, reply, text);
}

static void pause_ask(struct pd_asker *asker, struct pd_ask *ask, uint32_t wait_ms)
{
    uint64_t pause_us = (uint64_t)PAUSE_MIN_US << ask->pauses;
    if (pause_us >= PAUSE_MAX_US)
        pause_us = PAUSE_MAX_US;
    else
        ask->pauses++;
    if (wait_ms > 0)
        pause_us = (uint64_t)wait_ms * 1000;
    ask->sent = false;
    ask->due_us = asker->now_us + rng_between(&asker->rng, pause_us / 2, pause_us);
}

static void on_reply(struct pd_asker *asker, const struct wire_pd_reply *reply)
{
    struct pd_ask *ask;
    HASH_FIND(hh, asker->by_id, &reply->id, sizeof reply->id, ask);
    if (!ask || !ask->sent)
        return; /* an answer that came too late */
    asker->not_ready = reply->code == ERR_NOT_READY ? asker->not_ready + 1 : 0;
    if (reply->code == ERR_OK) {
        if (reply->cluster_id != 0)
            asker->cluster_id = reply->cluster_id;
        finish(asker, ask, ERR_OK, reply, "");
        return;
    }
    enum err code = (enum err)reply->code;
    char text[256];
    /* A key is in some region again soon; a number that the leader does not know is no region's. */
    if (code == ERR_REGION_NOT_FOUND && ask->request.op == WIRE_PD_OP_GET_REGION_BY_ID && !reply->stale) {
        snprintf(text, sizeof text, "there is no region %llu", (unsigned long long)ask->request.region_id);
        finish(asker, ask, ERR_NOT_FOUND, NULL, text);
        return;
    }
    snprintf(text, sizeof text, "pd %s: %s%s%.*s", asker->endpoints[asker->current], err_name(code),
             reply->text.size > 0 ? ": " : "", (int)(reply->text.size < 160 ? reply->text.size : 160),
             reply->text.size > 0 ? (const char *)reply->text.data : "");
    if (err_action(code) == ERR_ACTION_GIVE_UP && code != ERR_DEADLINE) {
        finish(asker, ask, code, NULL, text);
        return;
    }
    memcpy(asker->trouble, text, sizeof text);
    pause_ask(asker, ask, reply->wait_ms);
    if (code == ERR_NOT_LEADER && reply->leader_address.size > 0) {
        ask->due_us = ask->pauses > 2 ? ask->due_us : asker->now_us;
        want_endpoint(asker, reply->leader_address);
    } else if ((err_action(code) != ERR_ACTION_BACKOFF || asker->not_ready >= NOT_READY_MAX) &&
               asker->endpoint_count > 1) {
        asker->move = MOVE_NEXT;
    }
}

static void on_frame(void *context, struct link *link, struct frame *take_frame)
{
    struct pd_asker *asker = context;
    struct wire_pd_reply reply;
    arena_reset(&asker->message_arena);
    if (link != asker->link) { /* an endpoint that was left meanwhile */
        frame_unref(take_frame);
        return;
    }
    if (take_frame->kind != FRAME_PD_REPLY ||
        wire_decode_pd_reply(frame_bytes(take_frame), &asker->message_arena, &reply) != ERR_OK) {
        snprintf(asker->trouble, sizeof asker->trouble, "pd %s: Corrupt: it sent what is no answer",
                 link_address(link));
        asker->move = MOVE_RESET;
    } else {
        on_reply(asker, &reply);
    }
    frame_unref(take_frame);
}

/* ---- life */

enum err pd_asker_new(struct env *env, struct actor *owner, uint32_t message_kind,
                      const struct pd_asker_options *options, struct pd_asker **ret_asker, struct error *err)
{
    struct pd_asker *asker = calloc(1, sizeof *asker);
    CHECK(asker);
    enum err code = each_endpoint(options->endpoints, asker, options->tls ? "tls+tcp://" : "tcp://", err);
    if (code != ERR_OK) {
        pd_asker_free(asker);
        return code;
    }
    asker->env = env;
    asker->now_us = clock_now_us(env->clock);
    asker->silence_us = options->silence_us;
    asker->name = strdup(options->name);
    CHECK(asker->name);
    list_init(&asker->asks);
    arena_init(&asker->message_arena);
    rng_init(&asker->rng, env->seed, "pd_asker");
    asker->current = (uint32_t)rng_below(&asker->rng, asker->endpoint_count);
    asker->hello = (struct wire_hello){.role = WIRE_ROLE_CLIENT,
                                       .version_min = PROTOCOL_VERSION_MIN,
                                       .version_max = PROTOCOL_VERSION,
                                       .build = bytes_of_string(asker->name)};
    struct links_handler handler = {.context = asker, .on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    asker->links = links_new(env, owner, message_kind, &asker->hello, NULL, &handler);
    *ret_asker = asker;
    return ERR_OK;
}

void pd_asker_free(struct pd_asker *asker)
{
    if (!asker)
        return;
    links_free(asker->links);
    HASH_CLEAR(hh, asker->by_id);
    arena_fini(&asker->message_arena);
    for (uint32_t i = 0; i < asker->endpoint_count; i++)
        free(asker->endpoints[i]);
    free(asker->name);
    free(asker);
}

void pd_asker_start(struct pd_asker *asker, struct pd_ask *ask, uint64_t now_us)
{
    CHECK(!ask->open);
    ask->open = true;
    ask->sent = false;
    ask->pauses = 0;
    ask->begun_us = ask->due_us = now_us;
    ask->request.stale = false;
    ask->request.id = ++asker->id_last;
    list_push_back(&asker->asks, &ask->link);
    HASH_ADD(hh, asker->by_id, request.id, sizeof ask->request.id, ask);
}

void pd_asker_cancel(struct pd_asker *asker, struct pd_ask *ask)
{
    if (!ask->open)
        return;
    ask->open = false;
    list_remove(&ask->link);
    HASH_DEL(asker->by_id, ask);
}

void pd_asker_on_message(struct pd_asker *asker, struct message *take_message, uint64_t now_us)
{
    asker->now_us = now_us;
    links_on_message(asker->links, take_message);
}

static void send_ask(struct pd_asker *asker, struct pd_ask *ask)
{
    ask->request.cluster_id = asker->cluster_id;
    ask->request.stale = ask->stale_after_us != 0 && asker->now_us >= ask->begun_us + ask->stale_after_us;
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &ask->request);
    CHECK(frame); /* keys are bounded */
    if (link_send(asker->link, frame) != ERR_OK) {
        pause_ask(asker, ask, 0);
        return;
    }
    ask->sent = true;
    ask->due_us = asker->now_us + asker->silence_us;
}

/* `done` may start and cancel asks: so one at a time, from the front, where the oldest are. */
static void end_expired(struct pd_asker *asker)
{
    struct list *link = asker->asks.next;
    while (link != &asker->asks) {
        struct pd_ask *ask = LIST_ENTRY(link, struct pd_ask, link);
        link = link->next;
        if (asker->now_us < ask->deadline_us)
            continue;
        char text[300];
        snprintf(text, sizeof text, "no answer from pd in time%s%s", *asker->trouble ? "; " : "", asker->trouble);
        finish(asker, ask, ERR_UNAVAILABLE, NULL, text);
        link = asker->asks.next;
    }
}

static bool is_silent(const struct pd_asker *asker)
{
    bool waiting_for_link = asker->link && !link_is_up(asker->link) && asker->endpoint_count > 1;
    if (waiting_for_link && !list_is_empty(&asker->asks) && asker->now_us >= asker->opened_us + asker->silence_us)
        return true;
    LIST_FOR_EACH (link, &asker->asks) {
        const struct pd_ask *ask = LIST_ENTRY(link, struct pd_ask, link);
        if (ask->sent && asker->now_us >= ask->due_us)
            return true;
    }
    return false;
}

uint64_t pd_asker_tick(struct pd_asker *asker, uint64_t now_us)
{
    asker->now_us = now_us;
    end_expired(asker);
    if (asker->move == MOVE_NONE && is_silent(asker)) {
        snprintf(asker->trouble, sizeof asker->trouble, "pd %s: says nothing", asker->endpoints[asker->current]);
        asker->move = asker->endpoint_count > 1 ? MOVE_NEXT : MOVE_RESET;
    }
    move(asker);
    if (!asker->link && now_us >= asker->open_due_us)
        open_link(asker);
    if (asker->link)
        links_tick(asker->links);
    bool up = pd_asker_is_up(asker);
    uint64_t next_us = asker->link ? UINT64_MAX : asker->open_due_us;
    LIST_FOR_EACH (link, &asker->asks) {
        struct pd_ask *ask = LIST_ENTRY(link, struct pd_ask, link);
        if (up && !ask->sent && now_us >= ask->due_us)
            send_ask(asker, ask);
        /* A link that comes up wakes us anyway. */
        uint64_t due_us = ask->sent || up ? ask->due_us : asker->opened_us + asker->silence_us;
        if (due_us <= now_us)
            due_us = now_us + PAUSE_MIN_US;
        due_us = due_us < ask->deadline_us ? due_us : ask->deadline_us;
        next_us = due_us < next_us ? due_us : next_us;
    }
    return next_us;
}

uint64_t pd_asker_cluster_id(const struct pd_asker *asker)
{
    return asker->cluster_id;
}

bool pd_asker_is_up(const struct pd_asker *asker)
{
    return asker->link && link_is_up(asker->link);
}

const char *pd_asker_trouble(const struct pd_asker *asker)
{
    return asker->trouble;
}
