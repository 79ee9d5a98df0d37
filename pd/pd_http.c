#include "pd/pd_http.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "env/http.h"

struct http_message {
    struct message message;         /* first */
    struct http_exchange *exchange; /* NULL: answered */
    /* While it waits for the log: what to say then. */
    struct list link;
    raft_index index; /* 0: it waits for the answer of pd_service on `conn` */
    conn_id conn;
    struct api_answer answer;
};

static void finish(struct http_message *take_http, unsigned status, const char *type, struct bytes body)
{
    if (take_http->exchange)
        http_answer(take_http->exchange, status, type, body);
    list_remove(&take_http->link);
    api_answer_fini(&take_http->answer);
    free(take_http);
}

static void free_message(struct message *message)
{
    finish((struct http_message *)message, 503, HTTP_TEXT, bytes_of_string("the process is stopping\n"));
}

static void say(struct http_message *take_http)
{
    finish(take_http, take_http->answer.status, take_http->answer.type, buf_bytes(&take_http->answer.body));
}

struct message *pd_http_message_new(uint32_t kind, struct http_exchange *take_exchange)
{
    struct http_message *http = calloc(1, sizeof(*http));
    CHECK(http);
    http->message = (struct message){.kind = kind, .free = free_message};
    http->exchange = take_exchange;
    list_init(&http->link);
    api_answer_init(&http->answer);
    return &http->message;
}

void pd_http_init(struct pd_http *http, struct env *env)
{
    list_init(&http->waiting);
    pd_relay_init(&http->relay, env);
}

void pd_http_fini(struct pd_http *http)
{
    pd_http_forget(http);
    pd_relay_fini(&http->relay);
}

struct frame *pd_http_request(struct pd_http *http, struct message *take_message, struct pd_api *api,
                              struct link *leader, conn_id *ret_conn)
{
    struct http_message *message = (struct http_message *)take_message;
    struct http_exchange *exchange = message->exchange;
    const struct api_request request = {
        .method = exchange->method, .path = exchange->path, .query = exchange->query, .body = exchange->body};
    api->http_requests = ++http->count;
    pd_api_handle(api, &request, &message->answer);
    message->index = api->wait_index;
    if (api->wants_leader && leader && pd_relay_send(&http->relay, leader, exchange)) {
        message->exchange = NULL;
        say(message);
    } else if (api->forward) {
        message->conn = *ret_conn = PD_HTTP_CONN | ++http->conn;
        list_push_back(&http->waiting, &message->link);
    } else if (api->wait_index <= pd_fsm_applied_index(api->fsm) || BUG(pd_http_says_too_early)) {
        say(message);
    } else {
        list_push_back(&http->waiting, &message->link);
    }
    return api->forward;
}

void pd_http_reply(struct pd_http *http, conn_id conn, const struct wire_pd_reply *reply)
{
    LIST_FOR_EACH (link, &http->waiting) {
        struct http_message *message = LIST_ENTRY(link, struct http_message, link);
        if (message->conn != conn)
            continue;
        pd_api_reply(reply, &message->answer);
        say(message);
        return;
    }
}

void pd_http_applied(struct pd_http *http, raft_index index)
{
    LIST_FOR_EACH_SAFE (link, following, &http->waiting) {
        struct http_message *message = LIST_ENTRY(link, struct http_message, link);
        if (message->index != 0 && message->index <= index)
            say(message);
    }
}

void pd_http_forget(struct pd_http *http)
{
    static const char text[] = "{\"code\":\"Maybe\",\"message\":\"pd lost its leader: perhaps it happened\","
                               "\"hint\":\"look, then ask again\"}\n";
    struct list *link;
    while ((link = list_pop_front(&http->waiting)) != NULL)
        finish(LIST_ENTRY(link, struct http_message, link), 504, HTTP_JSON, bytes_of_string(text));
}
