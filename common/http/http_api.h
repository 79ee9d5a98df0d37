/* http_api: from a request over HTTP to an answer, as a function: which route it means, what is wrong with it, JSON.
 *
 * A program has a table of routes; a handler gets the words of the path that {} stand for and the body as JSON, looks at
 * the context and fills the answer. No sockets here: the caller has env/http.h, a test has none.
 *
 * An error is always {"code": name of enum err, "message": what is wrong, "hint": what to do}. Numbers are exact up to
 * 2^64 (as digits; a reader that keeps doubles loses what is above 2^53). Keys are encoded and in hexadecimal digits.
 *
 * Everything in a request is hostile: a path that is none, escapes that are none, an unknown parameter, a body that is no
 * JSON object each are an answer with status 400. */
#ifndef HTTP_HTTP_API_H
#define HTTP_HTTP_API_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"

enum { API_WORDS_MAX = 3, API_WORD_SIZE_MAX = 64 * 1024, API_ANSWER_SIZE_MAX = 64 * 1024 * 1024 };

struct api_request {
    const char *method, *path, *query;
    struct bytes body;
};

struct api_answer {
    unsigned status;
    const char *type; /* static */
    struct buf body;  /* owned */
};

struct api_call {
    void *context; /* borrowed from the caller of api_run */
    const struct api_request *request;
    struct buf words[API_WORDS_MAX]; /* owned; of the path, unescaped, with a zero behind */
    uint32_t word_count;
    cJSON *body; /* owned; an object; NULL: there is none */
    struct api_answer *answer;
};

struct api_route {
    const char *method;
    const char *pattern;    /* "/pd/v1/stores/{id}" */
    const char *parameters; /* that may stand in the query, separated by spaces; "" if none */
    void (*handle)(struct api_call *call);
};

void api_answer_init(struct api_answer *answer);
void api_answer_fini(struct api_answer *answer);

/* Always answers. HEAD is as GET. */
void api_run(const struct api_route *routes, size_t count, void *context, const struct api_request *request,
             struct api_answer *answer);

/* ---- for handlers. What returns false has answered. */

/* `{n}` as an id: a number above 0. */
bool api_word_id(struct api_call *call, uint32_t n, const char *what, uint64_t *ret_id);
const char *api_word(const struct api_call *call, uint32_t n);
/* A number of the query. */
bool api_query_u64(struct api_call *call, const char *name, uint64_t value_default, uint64_t max, uint64_t *ret_value);
/* Text of the query, unescaped, with a zero behind; empty when it is not there. `text` is initialized, and to be ended. */
bool api_query_text(struct api_call *call, const char *name, struct buf *text);
bool api_query_has(const struct api_call *call, const char *name);
/* Hexadecimal digits of the query. */
bool api_query_key(struct api_call *call, const char *name, struct buf *key);
enum err api_unhex(const char *text, struct buf *out);

/* Nothing else may be in the body: names separated by spaces. */
bool api_body_only(struct api_call *call, const char *names);
/* What is not there is `*ret_value` as it was; `wanted`: then it is refused. Numbers may be text (above 2^53 they must). */
bool api_body_u64(struct api_call *call, const char *name, bool wanted, uint64_t *ret_value);
bool api_body_bool(struct api_call *call, const char *name, bool wanted, bool *ret_value);
bool api_body_text(struct api_call *call, const char *name, bool wanted, const char **ret_text); /* lent */
bool api_body_key(struct api_call *call, const char *name, struct buf *key); /* hexadecimal; not there: empty */

void api_error(struct api_call *call, enum err code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The status that goes with a code. */
unsigned api_status_of(enum err code);
/* Status 200, unless the answer has another one. */
void api_json(struct api_call *call, cJSON *take_json);
void api_text(struct api_call *call, unsigned status, const char *text);

/* ---- JSON */
void api_put_u64(cJSON *object, const char *name, uint64_t value);
void api_put_i64(cJSON *object, const char *name, int64_t value);
void api_put_key(cJSON *object, const char *name, struct bytes key);
/* JSON text as it is. */
void api_put_raw(cJSON *object, const char *name, struct bytes json);
/* Bytes that are no UTF-8 become ?. */
void api_put_text(cJSON *object, const char *name, const char *text);

/* ---- metrics, in the text format of Prometheus */
/* `# HELP` and `# TYPE`; `type` is "counter" or "gauge". */
void metric_head(struct buf *out, const char *name, const char *type, const char *help);
/* `labels` without braces, "" if there are none: store="4",state="up". */
void metric_u64(struct buf *out, const char *name, const char *labels, uint64_t value);
void metric_f64(struct buf *out, const char *name, const char *labels, double value);
/* One of its own, without labels. */
void metric_one(struct buf *out, const char *name, const char *type, uint64_t value, const char *help);

#endif
