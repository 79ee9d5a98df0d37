/* http: requests over HTTP, answered by actors.
 *
 *   connection --server's thread: method, path, body; bounded--> on_request --message--> an actor
 *   connection <--server's thread, woken-- http_answer <-------------------------------- its answer
 *
 * While nobody has answered, the connection sleeps and costs no thread. So whoever owns the state looks at it, and nobody
 * else. An exchange is answered once, from any thread; an owner that drops its message unhandled answers 503.
 *
 * Who is there is not trusted: sizes, times and counts are limited below, method and path are checked before anybody sees
 * them. A page of a browser that wants to change something here (it has an Origin) is refused.
 *
 * The filling is libmicrohttpd's (http_server.c), one thread per server. Tests fill `answer` themselves. */
#ifndef ENV_HTTP_H
#define ENV_HTTP_H

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"

enum {
    HTTP_PATH_SIZE_MAX = 32 * 1024, /* path and query, in which keys may stand */
    HTTP_BODY_SIZE_MAX = 1024 * 1024,
    HTTP_ANSWER_SIZE_MAX = 64 * 1024 * 1024,
    HTTP_CONNECTIONS_MAX = 64,
    HTTP_TIMEOUT_S = 30, /* of a connection that says nothing, or does not read */
};

#define HTTP_JSON "application/json"
#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

/* One question, lent to its owner until it is answered. */
struct http_exchange {
    const char *method; /* GET, HEAD, POST, PUT, PATCH or DELETE */
    const char *path;   /* begins with /, as it came: escapes are still in it */
    const char *query;  /* what is behind the ?; "" if nothing is */
    struct bytes body;
    /* Called once; `type` is static, `body` is copied. */
    void (*answer)(struct http_exchange *take_exchange, unsigned status, const char *type, struct bytes body);
};

static inline void http_answer(struct http_exchange *take_exchange, unsigned status, const char *type,
                               struct bytes body)
{
    take_exchange->answer(take_exchange, status, type, body);
}

struct http_handler {
    void *context; /* borrowed */
    /* On the server's thread: posts it, nothing else. */
    void (*on_request)(void *context, struct http_exchange *take_exchange);
};

struct http_server;

/* Listens on `host` (a name or 1.2.3.4 or ::1) and `port`; the handler is copied. ERR_LOCKED: the port is in use. */
enum err http_server_new(const char *host, uint16_t port, const struct http_handler *handler, struct log *log,
                         struct http_server **ret_server, struct error *err);
/* No on_request comes any more; who waits is told 503. Exchanges may still be answered afterwards: nothing happens then.
 * NULL is fine. */
void http_server_free(struct http_server *server);

#endif
