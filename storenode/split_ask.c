#include "split_ask.h"

#include <stdlib.h>

#include "base/check.h"
#include "storenode/region_split.h"

static void free_ask(struct message *message)
{
    struct split_ask *ask = (struct split_ask *)message;
    arena_fini(&ask->arena);
    free(ask);
}

struct split_ask *split_ask_new(region_id region, uint64_t epoch_version, uint32_t peer_count)
{
    struct split_ask *ask = calloc(1, sizeof *ask);
    CHECK(ask);
    ask->ids.message.free = free_ask;
    ask->ids.region = region;
    ask->epoch_version = epoch_version;
    ask->peer_count = peer_count;
    arena_init(&ask->arena);
    ask->keys = arena_alloc(&ask->arena, REGION_SPLIT_KEYS_MAX * sizeof *ask->keys);
    return ask;
}

void split_ask_add(struct split_ask *ask, struct bytes key)
{
    CHECK(ask->key_count < REGION_SPLIT_KEYS_MAX);
    ask->keys[ask->key_count++] = arena_copy(&ask->arena, key);
}
