/* split_ask: a split on its way: region worker -> pd link (which has ids in store) -> region worker.
 *
 * Somebody may be owed an answer: who has it last gives it. */
#ifndef STORENODE_SPLIT_ASK_H
#define STORENODE_SPLIT_ASK_H

#include "base/arena.h"
#include "base/types.h"
#include "storenode/id_ask.h"
#include "storenode/replies.h"

struct split_ask {
    struct id_ask ids; /* the first */
    struct arena arena;
    uint64_t epoch_version;
    struct bytes *keys; /* in the arena, with their bytes; ascending */
    uint32_t key_count;
    uint32_t peer_count; /* of the region */
    bool owed;
    struct reply_to to;
};

struct split_ask *split_ask_new(region_id region, uint64_t epoch_version, uint32_t peer_count);
void split_ask_add(struct split_ask *ask, struct bytes key); /* copies */
/* A child and its peers, for each key. */
static inline uint32_t split_ask_id_count(const struct split_ask *ask)
{
    return ask->key_count * (1 + ask->peer_count);
}

#endif
