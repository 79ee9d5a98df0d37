/* range_sum: the checksum of a range of rows, on a read worker.
 *
 * The sum is the exclusive or, over all rows, of CRC-64/XZ (ECMA-182, reflected) of the user's key followed by the user's
 * value: it does not depend on order, parts can be joined, and TiKV's raw checksum is the same.
 *
 * Rows are read a portion at a time, other reads pass in between. An answer covers what the engine held at one moment; it
 * stops after ANSWER_SIZE_MAX bytes or ANSWER_MAX_MS, so that its connection is never silent for long, and the client asks
 * for the rest.
 *
 * Owner: the read worker. */
#ifndef STORENODE_RANGE_SUM_H
#define STORENODE_RANGE_SUM_H

#include "base/bytes.h"
#include "storenode/expiry.h"
#include "storenode/read_worker.h"

struct range_sum {
    uint64_t checksum, rows, size;
};

/* Takes in one row; `key` without the mode byte. */
void range_sum_add(struct range_sum *sum, struct bytes key, struct bytes value);

/* Answers `read` sooner or later; *under_way counts how many have not been. What is needed of `read` and `view` is copied.
 */
void range_sum_start(struct env *env, struct read_worker *worker, struct replies *replies,
                     const struct read_request *read, const struct expiry_view *view, uint32_t *under_way);

#endif
