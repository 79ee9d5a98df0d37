#include "region_split.h"

#include <stdlib.h>

#include "base/check.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "meta/keyspace.h"
#include "storenode/region_conf.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/store_keys.h"

static struct region_split *split_alloc(uint32_t count, raft_index index)
{
    struct region_split *split = calloc(1, sizeof *split + count * sizeof split->regions[0]);
    CHECK(split);
    split->index = index;
    split->count = count;
    return split;
}

struct region_split *region_change_new(enum region_change change, raft_index index, struct region *take_region,
                                       struct region *take_other)
{
    struct region_split *split = split_alloc(take_other ? 2 : 1, index);
    split->change = change;
    split->regions[0] = take_region;
    if (take_other)
        split->regions[1] = take_other;
    return split;
}

void region_split_free(struct region_split *split)
{
    if (!split)
        return;
    for (uint32_t i = 0; i < split->count; i++)
        region_free(split->regions[i]);
    free(split);
}

struct region_split *region_split_copy(const struct region_split *split)
{
    struct region_split *copy = split_alloc(split->count, split->index);
    copy->change = split->change;
    for (uint32_t i = 0; i < split->count; i++)
        copy->regions[i] = region_copy(split->regions[i]);
    return copy;
}

enum err region_split_check_key(const struct region *parent, struct bytes before, struct bytes key)
{
    if (key.size == 0 || key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE)
        return ERR_INVALID;
    if (!region_contains(parent, key) || bytes_equal(key, parent->start_key))
        return ERR_KEY_NOT_IN_REGION;
    return before.size > 0 && bytes_compare(before, key) >= 0 ? ERR_INVALID : ERR_OK;
}

static enum err check(const struct region *parent, const struct wire_log_command *command)
{
    if (command->epoch_conf != parent->epoch_conf || command->epoch_version != parent->epoch_version ||
        region_is_merging(parent))
        return ERR_EPOCH_NOT_MATCH;
    if (region_is_joint(parent))
        return ERR_NOT_READY; /* who belongs to a child would be for it to decide, and it has no leader yet */
    if (command->splits_count == 0 || command->splits_count > REGION_SPLIT_KEYS_MAX)
        return ERR_INVALID;
    struct bytes before = bytes_empty();
    for (uint32_t i = 0; i < command->splits_count; i++) {
        const struct wire_log_split *split = &command->splits[i];
        enum err code = region_split_check_key(parent, before, split->key);
        if (code != ERR_OK)
            return code;
        before = split->key;
        if (split->peer_ids_count != parent->peer_count || split->region_id == parent->id)
            return ERR_INVALID;
        for (uint32_t j = 0; j < i; j++)
            if (command->splits[j].region_id == split->region_id)
                return ERR_INVALID;
    }
    return ERR_OK;
}

static enum err make_child(const struct region *parent, const struct wire_log_command *command, uint32_t at,
                           struct region **ret_child)
{
    const struct wire_log_split *split = &command->splits[at];
    struct wire_peer peers[REGION_PEERS_MAX];
    for (uint32_t i = 0; i < parent->peer_count; i++)
        peers[i] = (struct wire_peer){
            .id = split->peer_ids[i], .store_id = parent->peers[i].store_id, .role = parent->peers[i].role};
    bool last = at + 1 == command->splits_count;
    struct wire_region child = {.id = split->region_id,
                                .start_key = split->key,
                                .end_key = last ? parent->end_key : command->splits[at + 1].key,
                                .epoch_conf = parent->epoch_conf,
                                .epoch_version = parent->epoch_version + command->splits_count,
                                .peers = peers,
                                .peers_count = parent->peer_count};
    return region_from_wire(&child, ret_child);
}

static struct region *shrunk_parent(const struct region *parent, const struct wire_log_command *command)
{
    struct arena arena;
    struct region *shrunk = NULL;
    arena_init(&arena);
    struct wire_region wire = region_to_wire(parent, &arena);
    wire.end_key = command->splits[0].key;
    wire.epoch_version += command->splits_count;
    enum err code = region_from_wire(&wire, &shrunk);
    CHECK(code == ERR_OK); /* it was sound, and the key lies inside */
    arena_fini(&arena);
    return shrunk;
}

enum err region_split_new(const struct region *parent, const struct wire_log_command *command, raft_index index,
                          struct region_split **ret_split)
{
    enum err code = check(parent, command);
    if (code != ERR_OK)
        return code;
    struct region_split *split = split_alloc(command->splits_count + 1, index);
    split->regions[0] = shrunk_parent(parent, command);
    for (uint32_t i = 0; i < command->splits_count && code == ERR_OK; i++)
        code = make_child(parent, command, i, &split->regions[i + 1]);
    if (code != ERR_OK) {
        region_split_free(split);
        return code;
    }
    *ret_split = split;
    return ERR_OK;
}

/* ---- telling */

static struct wire_region tell_one(const struct region *region, struct arena *arena)
{
    struct wire_region wire = region_to_wire_brief(region, arena);
    wire.start_key = arena_copy(arena, wire.start_key);
    wire.end_key = arena_copy(arena, wire.end_key);
    return wire;
}

void region_split_tell(const struct region *region, const struct region_split *last, struct arena *arena,
                       struct wire_kv_reply *reply)
{
    uint32_t children = last ? last->count - 1 : 0;
    reply->epoch_conf = region->epoch_conf;
    reply->epoch_version = region->epoch_version;
    reply->regions = arena_alloc(arena, (children + 1) * sizeof *reply->regions);
    reply->regions_count = children + 1;
    reply->regions[0] = tell_one(region, arena);
    for (uint32_t i = 0; i < children; i++)
        reply->regions[i + 1] = tell_one(last->regions[i + 1], arena);
}

/* ---- rows */

static enum err put_state(struct engine *engine, struct engine_batch *batch, const struct region *region,
                          peer_id local_peer, bool tombstone)
{
    struct arena arena;
    struct buf value;
    arena_init(&arena);
    buf_init(&value, 64 * 1024);
    struct wire_region wire = region_to_wire(region, &arena);
    struct wire_region_state state = {.region = &wire, .local_peer_id = local_peer, .tombstone = tombstone};
    struct group_key key = group_key(region->id, STORE_REGION_STATE);
    enum err code = region_row_encode(&state, &value);
    if (code == ERR_OK)
        engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&value));
    buf_fini(&value);
    arena_fini(&arena);
    return code;
}

enum err region_put_state(struct engine *engine, struct engine_batch *batch, const struct region *region,
                          peer_id local_peer)
{
    return put_state(engine, batch, region, local_peer, false);
}

enum err region_put_tombstone(struct engine *engine, struct engine_batch *batch, const struct region *region,
                              peer_id local_peer)
{
    return put_state(engine, batch, region, local_peer, true);
}

enum err region_put_new(struct engine *engine, struct engine_batch *batch, const struct region *region,
                        peer_id local_peer)
{
    struct raft_conf conf = {0};
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < region->peer_count && code == ERR_OK; i++) {
        uint8_t role = region->peers[i].role;
        if (role != WIRE_PEER_ROLE_VOTER && role != WIRE_PEER_ROLE_LEARNER)
            return ERR_INVALID;
        code = raft_conf_add(&conf, region->peers[i].id, role == WIRE_PEER_ROLE_LEARNER ? RAFT_LEARNER : RAFT_VOTER);
    }
    if (code == ERR_OK)
        code = region_put_state(engine, batch, region, local_peer);
    if (code != ERR_OK)
        return code;
    group_create(engine, batch, region->id, &conf);
    region_fsm_put_applied(engine, batch, region->id, GROUP_FIRST_INDEX, GROUP_FIRST_TERM, NULL);
    return ERR_OK;
}
