/* history: what clients asked, when, and what they were told; the evidence that check_linear judges.
 *
 * An operation spans [start, end] on one clock. Its outcome is
 *   ok       it happened within the span;
 *   fail     it did not and will not happen;
 *   unknown  it may have happened, or may yet happen at any time after start, or never.
 *
 * Text form, one JSON object a line (what `polder bench --verify` and `polder sim --history` write and
 * build/tests/check_history reads):
 *
 *   {"client":3,"op":"put","key":"k","value":"v","start_us":10,"end_us":25,"outcome":"ok"}
 *   {"client":3,"op":"get","key":"k","start_us":30,"end_us":41,"outcome":"ok","result":"v"}
 *   {"client":3,"op":"get","key":"k","start_us":30,"end_us":41,"outcome":"ok","result":null}
 *   {"client":3,"op":"delete","key":"k","start_us":50,"end_us":60,"outcome":"unknown"}
 *   {"client":3,"op":"cas","key":"k","expected":"v","value":"w","start_us":70,"end_us":80,"outcome":"ok","result":true}
 *   {"client":3,"op":"cas","key":"k","expected":null,"value":"w","start_us":70,"end_us":80,"outcome":"ok","result":false,"actual":"v"}
 *
 * `result` of a get: the value, null if there was none. `expected` of a cas: null: the key must not exist. `result` of
 * a cas: whether it swapped; `actual`: the value it found instead (null: none); may be absent, then nothing is
 * concluded from it. An unknown outcome may leave out end_us. A batch or a scan is written as one line per key with the
 * same span. Keys and values are text here: writers hash or hex what is not. Unknown fields are ignored. */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

enum history_kind { HISTORY_PUT, HISTORY_GET, HISTORY_DELETE, HISTORY_CAS, HISTORY_APPEND /* only in foreign files */ };
enum history_outcome { HISTORY_OK, HISTORY_FAIL, HISTORY_UNKNOWN };

enum { HISTORY_NO_VALUE = 0, HISTORY_NOT_TOLD = UINT32_MAX };

struct history_op {
    uint32_t client;
    uint32_t key;      /* number given by history_intern_key */
    uint32_t value;    /* put, cas, append: what is written. Numbers of history_intern; 0: no value */
    uint32_t expected; /* cas */
    uint32_t result;   /* get, cas that did not swap: what it found; HISTORY_NOT_TOLD */
    bool swapped;      /* cas */
    enum history_kind kind;
    enum history_outcome outcome;
    uint64_t start;
    uint64_t end; /* UINT64_MAX: never told */
};

/* Owner: whoever made it. Keys and values are kept once and known by number from then on. */
struct history;

struct history *history_new(void);
void history_free(struct history *history);

uint32_t history_intern_key(struct history *history, struct bytes key);
uint32_t history_intern(struct history *history, struct bytes value); /* never 0 */
struct bytes history_key(const struct history *history, uint32_t key);
struct bytes history_value(const struct history *history, uint32_t value); /* empty for 0 */
uint32_t history_key_count(const struct history *history);

void history_add(struct history *history, const struct history_op *op);
size_t history_count(const struct history *history);
struct history_op *history_at(struct history *history, size_t index);

/* Reads a file: JSON lines as above, a Jepsen log of etcd (`INFO jepsen.util - 3 :invoke :cas [1 4]`), or a history of
 * porcupine's key-value tests (`{:process 0, :type :invoke, ...}`); recognised by content. */
enum err history_read(struct history *history, const char *path, struct error *err);
/* Writes one line as above. */
void history_print(struct history *history, size_t index, void (*line)(void *context, const char *text), void *context);

#endif
