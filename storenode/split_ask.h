/* split_ask: a split on its way: region worker -> pd link (which has ids in store) -> region worker.
 *
 * Somebody may be owed an answer: who has it last gives it. */
#ifndef STORENODE_SPLIT_ASK_H
#define STORENODE_SPLIT_ASK_H

#include "base/arena.h"
#include "base/types.h"
#include "env/executor.h"
#include "storenode/replies.h"

struct split_ask {
    struct message message;
    struct arena arena;
    region_id region;
    uint64_t epoch_version;
    struct bytes *keys; /* in the arena, with their bytes; ascending */
    uint32_t key_count;
    uint32_t peer_count; /* of the region */
    uint64_t first_id;   /* of split_ask_id_count in a row */
    enum err code;       /* or why there are none */
    bool owed;
    struct reply_to to;
    uint64_t since_us;
};

struct split_ask *split_ask_new(region_id region, uint64_t epoch_version, uint32_t peer_count);
void split_ask_add(struct split_ask *ask, struct bytes key); /* copies */
/* A child and its peers, for each key. */
static inline uint32_t split_ask_id_count(const struct split_ask *ask)
{
    return ask->key_count * (1 + ask->peer_count);
}

#endif
