/* http_visitor: one request as if it had come over HTTP, and what it was answered. */
#ifndef UNIT_HTTP_VISITOR_H
#define UNIT_HTTP_VISITOR_H

#include <stdio.h>

#include "env/http.h"

struct http_visitor {
    struct http_exchange exchange; /* first */
    unsigned status;               /* 0: not answered */
    uint32_t count;
    char body[16384];
};

static inline void http_visitor_answer(struct http_exchange *exchange, unsigned status, const char *type,
                                       struct bytes body)
{
    struct http_visitor *visitor = (struct http_visitor *)exchange;
    assert_non_null(type);
    visitor->status = status;
    visitor->count++;
    snprintf(visitor->body, sizeof visitor->body, "%.*s", (int)body.size, (const char *)body.data);
}

static inline void http_visitor_init(struct http_visitor *visitor, const char *method, const char *path,
                                     const char *body)
{
    *visitor = (struct http_visitor){
        .exchange = {
            .method = method, .path = path, .query = "", .body = bytes_of_string(body), .answer = http_visitor_answer}};
}

#endif
