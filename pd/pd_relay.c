#include "pd/pd_relay.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "env/clock.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum { ANSWER_TIMEOUT_US = 5 * 1000 * 1000 };

struct waiting {
    struct list link;
    uint64_t id, until_us;
    struct http_exchange *exchange; /* owned */
};

void pd_relay_init(struct pd_relay *relay, struct env *env)
{
    relay->env = env;
    list_init(&relay->waiting);
}

static void finish(struct waiting *take_waiting, unsigned status, const char *type, struct bytes body)
{
    http_answer(take_waiting->exchange, status, type, body);
    list_remove(&take_waiting->link);
    free(take_waiting);
}

static void give_up(struct waiting *take_waiting)
{
    static const char unknown[] =
        "{\"code\":\"Maybe\",\"message\":\"the leader of pd did not answer: perhaps it happened\","
        "\"hint\":\"look, then ask again\"}\n";
    static const char unread[] = "{\"code\":\"NotReady\",\"message\":\"the leader of pd did not answer\","
                                 "\"hint\":\"ask again a little later\"}\n";
    const char *method = take_waiting->exchange->method;
    bool read = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    finish(take_waiting, read ? 503 : 504, HTTP_JSON, bytes_of_string(read ? unread : unknown));
}

void pd_relay_fini(struct pd_relay *relay)
{
    LIST_FOR_EACH_SAFE (link, following, &relay->waiting)
        give_up(LIST_ENTRY(link, struct waiting, link));
}

bool pd_relay_send(struct pd_relay *relay, struct link *leader, struct http_exchange *take_exchange)
{
    const struct wire_http_call call = {.id = ++relay->call_id,
                                        .method = bytes_of_string(take_exchange->method),
                                        .path = bytes_of_string(take_exchange->path),
                                        .query = bytes_of_string(take_exchange->query),
                                        .body = take_exchange->body};
    struct frame *frame = link_is_up(leader) ? wire_frame_http_call(FRAME_HTTP_CALL, &call) : NULL;
    if (!frame || link_send(leader, frame) != ERR_OK)
        return false;
    struct waiting *waiting = calloc(1, sizeof(*waiting));
    CHECK(waiting);
    waiting->id = call.id;
    waiting->until_us = clock_now_us(relay->env->clock) + ANSWER_TIMEOUT_US;
    waiting->exchange = take_exchange;
    list_push_back(&relay->waiting, &waiting->link);
    return true;
}

void pd_relay_answered(struct pd_relay *relay, const struct frame *frame)
{
    struct wire_http_answer answer;
    struct arena arena;
    arena_init(&arena);
    if (wire_decode_http_answer(frame_bytes(frame), &arena, &answer) == ERR_OK && answer.status >= 200 &&
        answer.status < 600)
        LIST_FOR_EACH_SAFE (link, following, &relay->waiting) {
            struct waiting *waiting = LIST_ENTRY(link, struct waiting, link);
            if (waiting->id == answer.id)
                finish(waiting, answer.status, answer.json ? HTTP_JSON : HTTP_TEXT, answer.body);
        }
    arena_fini(&arena);
}

void pd_relay_tick(struct pd_relay *relay)
{
    uint64_t now_us = clock_now_us(relay->env->clock);
    LIST_FOR_EACH_SAFE (link, following, &relay->waiting) {
        struct waiting *waiting = LIST_ENTRY(link, struct waiting, link);
        if (now_us >= waiting->until_us)
            give_up(waiting);
    }
}

/* ---- the leader's side */

struct taken {
    struct http_exchange exchange; /* first */
    struct env *env;
    conn_id conn;
    uint64_t id;
    char *method, *path, *query, *body; /* owned */
};

static void answer_member(struct http_exchange *take_exchange, unsigned status, const char *type, struct bytes body)
{
    struct taken *taken = (struct taken *)take_exchange;
    struct wire_http_answer answer = {
        .id = taken->id, .status = (uint16_t)status, .json = strcmp(type, HTTP_JSON) == 0, .body = body};
    struct frame *frame = wire_frame_http_answer(FRAME_HTTP_ANSWER, &answer);
    if (!frame) {
        static const char text[] =
            "{\"code\":\"EntryTooLarge\",\"message\":\"the answer is too large to be passed on\","
            "\"hint\":\"ask for less at a time, or the member that leads\"}\n";
        answer.status = 500;
        answer.json = true;
        answer.body = bytes_of_string(text);
        frame = wire_frame_http_answer(FRAME_HTTP_ANSWER, &answer);
        CHECK(frame);
    }
    transport_send(taken->env->transport, taken->conn, frame); /* a connection that is gone loses its answer */
    free(taken->method);
    free(taken->path);
    free(taken->query);
    free(taken->body);
    free(taken);
}

static char *text_of(struct bytes bytes)
{
    char *text = strndup(bytes.size ? (const char *)bytes.data : "", bytes.size); /* ends at a zero that is in it */
    CHECK(text);
    return text;
}

struct http_exchange *pd_relay_take(struct pd_relay *relay, conn_id conn, const struct frame *frame)
{
    struct wire_http_call call;
    struct arena arena;
    struct taken *taken = NULL;
    arena_init(&arena);
    if (wire_decode_http_call(frame_bytes(frame), &arena, &call) == ERR_OK && call.path.size > 0 &&
        call.path.data[0] == '/' && call.path.size + call.query.size <= HTTP_PATH_SIZE_MAX &&
        call.body.size <= HTTP_BODY_SIZE_MAX) {
        taken = calloc(1, sizeof(*taken));
        CHECK(taken);
        taken->env = relay->env;
        taken->conn = conn;
        taken->id = call.id;
        taken->method = text_of(call.method);
        taken->path = text_of(call.path);
        taken->query = text_of(call.query);
        taken->body = malloc(call.body.size + 1);
        CHECK(taken->body);
        if (call.body.size > 0)
            memcpy(taken->body, call.body.data, call.body.size);
        taken->exchange = (struct http_exchange){.method = taken->method,
                                                 .path = taken->path,
                                                 .query = taken->query,
                                                 .body = bytes_of(taken->body, call.body.size),
                                                 .answer = answer_member};
    }
    arena_fini(&arena);
    return taken ? &taken->exchange : NULL;
}
