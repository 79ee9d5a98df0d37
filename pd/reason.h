/* reason: why pd decided as it did, in a form that people and programs can read.
 *
 * A policy notes what it compared (facts) and what it looked at and did not take (refusals); the operator that comes
 * out keeps the note for as long as its history lasts. Names are static strings, so a note is plain memory and copying
 * it is all there is to do. Facts and refusals beyond the maximum are counted, not kept.
 *
 * Owner: whoever holds the struct. */
#ifndef PD_REASON_H
#define PD_REASON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum { REASON_FACTS_MAX = 12, REASON_REFUSALS_MAX = 8 };

struct reason_fact {
    const char *name; /* static: "source_store", "mean_size", ... */
    int64_t value;
};

struct reason_refusal {
    const char *what; /* static: "store", "region", "rule" */
    uint64_t id;
    const char *why; /* static: "receive_limit", "isolation", ... */
};

struct reason {
    const char *policy; /* static */
    uint32_t fact_count, refusal_count, refusals_unkept;
    struct reason_fact facts[REASON_FACTS_MAX];
    struct reason_refusal refusals[REASON_REFUSALS_MAX];
};

void reason_begin(struct reason *reason, const char *policy);
/* Of the same name the later value is kept. */
void reason_fact(struct reason *reason, const char *name, int64_t value);
/* The same refusal twice is kept once. */
void reason_refuse(struct reason *reason, const char *what, uint64_t id, const char *why);
/* One JSON object: {"policy": ..., "facts": {...}, "refused": [{"store": 4, "why": ...}, ...], "refused_unkept": n}.
 * ERR_ENTRY_TOO_LARGE if `buf` is too small. */
enum err reason_json(const struct reason *reason, struct buf *buf);

#endif
