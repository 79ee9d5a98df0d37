/* error: what can go wrong, and what a caller may do about it.
 *
 * `enum err` is returned by functions and travels on the wire: numbers are never reused. Each code has an action, and the
 * action is what decides whether an operation may be repeated:
 *
 *   NONE     it happened
 *   REROUTE  it did not happen; ask elsewhere (take the hint, or reload the route)
 *   BACKOFF  it did not happen; the same place may do it later (`wait_ms` of the reply says when)
 *   RECHECK  perhaps it happened; repeat only under an idempotency token
 *   GIVE_UP  it did not and will not happen; the request itself is at fault
 *   STOP     this node cannot go on
 *
 * `struct error` is text for operators: the deepest frame sets it, callers wrap it, who gives up logs it:
 *   start store 4: load region 17: open /data/raft: No space left on device */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdint.h>

enum err {
    ERR_OK = 0,
    /* REROUTE */
    ERR_NOT_LEADER = 1,
    ERR_EPOCH_NOT_MATCH = 2,
    ERR_REGION_NOT_FOUND = 3,
    ERR_KEY_NOT_IN_REGION = 4,
    ERR_STORE_NOT_MATCH = 5,
    /* BACKOFF */
    ERR_BUSY = 16,      /* a queue is full */
    ERR_NOT_READY = 17, /* starting, electing, catching up */
    ERR_DISK_FULL = 18,
    ERR_UNAVAILABLE = 19, /* never left this process: no connection, no route */
    /* RECHECK */
    ERR_MAYBE = 32,   /* accepted, then the outcome was lost sight of (StaleCommand, connection lost after send) */
    ERR_TIMEOUT = 33, /* the deadline passed after it was sent */
    /* GIVE_UP */
    ERR_INVALID = 48,         /* malformed request, configuration or argument */
    ERR_KEY_TOO_LARGE = 49,   /* over KEY_SIZE_MAX */
    ERR_ENTRY_TOO_LARGE = 50, /* value over VALUE_SIZE_MAX, or batch over the proposal limit */
    ERR_KEY_EMPTY = 51,
    ERR_NOT_FOUND = 52,         /* the key does not exist: an answer, not a failure */
    ERR_CONDITION_FAILED = 53,  /* compare-and-swap found another value */
    ERR_CLUSTER_NOT_MATCH = 54, /* other cluster id, or data directory of another cluster or store */
    ERR_VERSION = 55,           /* the other side speaks a protocol that we cannot */
    ERR_DEADLINE = 56,          /* the deadline passed before it was executed: it did not happen */
    ERR_EXISTS = 57,
    ERR_CANCELLED = 58, /* the caller closed the handle before it was sent */
    ERR_UNSUPPORTED = 59,
    /* STOP, and codes that stay inside a process */
    ERR_IO = 64,
    ERR_CORRUPT = 65,
    ERR_NO_MEMORY = 66,
    ERR_CLOSED = 67, /* the connection or actor is gone */
    ERR_LOCKED = 68, /* another process holds the data directory or the port */
    ERR_GIVEN_UP = 69, /* this store was declared lost for good (unsafe recover): it never serves again */
};

enum err_action { ERR_ACTION_NONE, ERR_ACTION_REROUTE, ERR_ACTION_BACKOFF, ERR_ACTION_RECHECK, ERR_ACTION_GIVE_UP, ERR_ACTION_STOP };

/* The name of a code as people and logs see it ("NotLeader"); never NULL, "Unknown" for a code from a newer version. */
const char *err_name(enum err code);
/* The action; a code from a newer version counts as RECHECK, because that promises least. */
enum err_action err_action(enum err code);
const char *err_action_name(enum err_action action);

struct error {
    enum err code;
    char text[504]; /* one line, no newline; always zero-terminated; cut at the end when too long */
};

/* Sets the text (the deepest frame does this) and returns `code`, so that `return error_set(err, ERR_IO, ...)` reads well.
 * `err` may be NULL. */
enum err error_set(struct error *err, enum err code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts `what: ` in front of the text and returns the code it already has. */
enum err error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
