/* types: the scalars of the domain, and the limits that everybody must agree on. */
#ifndef BASE_TYPES_H
#define BASE_TYPES_H

#include <stdint.h>

typedef uint64_t cluster_id;
typedef uint64_t store_id;  /* 0: none */
typedef uint64_t region_id; /* 0: none; pd's own group is region 1 of its own engine */
typedef uint64_t peer_id;   /* unique in the cluster; 0: none */
typedef uint64_t raft_index;
typedef uint64_t raft_term;

enum {
    KEY_SIZE_MAX = 8 * 1024,          /* user key, before the mode prefix */
    VALUE_SIZE_MAX = 8 * 1024 * 1024, /* inline value */
    FRAME_SIZE_MAX = 32 * 1024 * 1024, /* payload of one frame; larger is a protocol error */
    STORE_COUNT_MAX = 4096,
};

#endif
