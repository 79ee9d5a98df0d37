/* split_load: is a region asked so much that two should share it, and at which key would they?
 *
 * Requests and their bytes are counted always (two additions). While there are more than `limits` say, and only then, a
 * uniform sample of the requests' keys is kept. When that has gone on for `seconds`, each sampled key is tried as the place
 * to cut: how many of the sampled requests lie left of it, right of it, or across it (scans, batches: both regions would
 * be asked). The best is taken if neither side has much more than the other and not many lie across. If there is none,
 * one key takes most, or nearly everything is a scan: to try again soon would help nobody, and the pause doubles.
 *
 * This is the way of TiKV's load-based split (components/raftstore/src/store/worker/split_controller.rs: Samples, split
 * keys by balance and contained score; its sample is of 20 ranges a second, ours of 256 over the whole time). Uniform
 * sample: Vitter 1985, algorithm R.
 *
 * Owner: a peer. All zero is a region of which nothing is known. */
#ifndef STORENODE_SPLIT_LOAD_H
#define STORENODE_SPLIT_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct load_samples;

struct split_load {
    uint32_t request_count;       /* since the last look, like ... */
    uint32_t failures;            /* in a row */
    uint64_t size;                /* ... this */
    uint64_t looked_us;           /* 0: never */
    uint64_t again_us;            /* nothing is tried before */
    struct load_samples *samples; /* owned; NULL: none are taken, it is not asked too much */
};

struct split_load_limits {
    uint64_t requests; /* a second; 0: no limit */
    uint64_t size;     /* bytes a second; 0: no limit */
    uint64_t seconds;
};

enum split_load_verdict {
    SPLIT_LOAD_NOTHING,
    SPLIT_LOAD_CUT,      /* at `*ret_key` */
    SPLIT_LOAD_ONE_KEY,  /* too much, but no key divides it */
    SPLIT_LOAD_SPANNING, /* too much, but most requests would ask both sides */
};

void split_load_fini(struct split_load *load); /* all zero then */

static inline void split_load_count(struct split_load *load, uint64_t size)
{
    load->request_count++;
    load->size += size;
}
static inline bool split_load_wants_samples(const struct split_load *load)
{
    return load->samples;
}
/* A request of the one key `start`, or of [start, end); an empty end is open. Copies if it is taken. */
void split_load_sample(struct split_load *load, struct bytes start);
void split_load_sample_range(struct split_load *load, struct bytes start, struct bytes end);
/* Every second or so. `seed`: of the sample. `*ret_key` is lent until the next call; it never is `start_key`. */
enum split_load_verdict split_load_look(struct split_load *load, const struct split_load_limits *limits,
                                        struct bytes start_key, uint64_t now_us, uint64_t seed, struct bytes *ret_key);

#endif
