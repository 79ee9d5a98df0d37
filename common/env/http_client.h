/* http_client: one request over HTTP and its answer, for tools. Waits. libcurl's; http and https only, no redirects. */
#ifndef ENV_HTTP_CLIENT_H
#define ENV_HTTP_CLIENT_H

#include "base/buf.h"
#include "base/error.h"

struct http_client; /* keeps its connections; one thread at a time */

enum err http_client_new(struct http_client **ret_client, struct error *err);
void http_client_free(struct http_client *client); /* NULL is fine */

struct http_fetch {
    const char *method;
    const char *url;
    struct bytes body; /* JSON, if there is one */
    uint64_t timeout_ms;
};

/* ERR_OK: there is an answer, whatever its status. ERR_UNAVAILABLE: it never left this process (no such host, nobody
 * listens); ERR_MAYBE: it left, and no answer came back; ERR_INVALID: the URL is none; ERR_ENTRY_TOO_LARGE: the answer does not fit. */
enum err http_client_fetch(struct http_client *client, const struct http_fetch *fetch, unsigned *ret_status,
                           struct buf *body, struct error *err);

#endif
