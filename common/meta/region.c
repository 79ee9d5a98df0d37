#include "meta/region.h"

#include <stdlib.h>

#include "base/check.h"
#include "meta/keyspace.h"

static bool wire_is_sound(const struct wire_region *wire)
{
    if (wire->id == 0 || wire->peers_count == 0 || wire->peers_count > REGION_PEERS_MAX)
        return false;
    if (wire->start_key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE ||
        wire->end_key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE || wire->merged_count > REGION_MERGED_MAX)
        return false;
    if (wire->merging && (wire->merging->target_id == 0 || wire->merging->target_id == wire->id))
        return false;
    if (wire->end_key.size > 0 && bytes_compare(wire->start_key, wire->end_key) >= 0)
        return false;
    for (uint32_t i = 0; i < wire->peers_count; i++) {
        if (wire->peers[i].id == 0 || wire->peers[i].store_id == 0)
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (wire->peers[i].id == wire->peers[j].id || wire->peers[i].store_id == wire->peers[j].store_id)
                return false;
    }
    return true;
}

/* One block: the struct, its peers, what it took in, then both keys. */
static struct region *allocate(uint32_t peer_count, uint32_t merged_count, const struct region_merging *merging,
                               struct bytes start_key, struct bytes end_key)
{
    size_t peers_end = sizeof(struct region) + peer_count * sizeof(struct region_peer);
    size_t merged_end = peers_end + merged_count * sizeof(struct region_merged);
    size_t head = merged_end + (merging ? sizeof *merging : 0);
    struct region *region = calloc(1, head + start_key.size + end_key.size);
    CHECK(region);
    uint8_t *keys = (uint8_t *)region + head;
    if (start_key.size > 0)
        memcpy(keys, start_key.data, start_key.size);
    if (end_key.size > 0)
        memcpy(keys + start_key.size, end_key.data, end_key.size);
    region->peer_count = peer_count;
    region->merged_count = merged_count;
    if (merging) {
        region->merging = (struct region_merging *)((uint8_t *)region + merged_end);
        *region->merging = *merging;
    }
    region->start_key = bytes_of(keys, start_key.size);
    region->end_key = bytes_of(keys + start_key.size, end_key.size);
    return region;
}

enum err region_from_wire(const struct wire_region *wire, struct region **ret_region)
{
    if (!wire || !wire_is_sound(wire))
        return ERR_INVALID;
    struct region_merging merging = {0};
    if (wire->merging)
        merging = (struct region_merging){.target = wire->merging->target_id,
                                          .epoch_conf = wire->merging->epoch_conf,
                                          .epoch_version = wire->merging->epoch_version,
                                          .index = wire->merging->index,
                                          .term = wire->merging->term};
    struct region *region = allocate(wire->peers_count, wire->merged_count, wire->merging ? &merging : NULL,
                                     wire->start_key, wire->end_key);
    region->id = wire->id;
    region->epoch_conf = wire->epoch_conf;
    region->epoch_version = wire->epoch_version;
    for (uint32_t i = 0; i < wire->peers_count; i++)
        region->peers[i] = (struct region_peer){
            .id = wire->peers[i].id, .store_id = wire->peers[i].store_id, .role = wire->peers[i].role};
    for (uint32_t i = 0; i < wire->merged_count; i++)
        region_merged_list(region)[i] = (struct region_merged){
            .id = wire->merged[i].region_id, .index = wire->merged[i].index, .term = wire->merged[i].term};
    *ret_region = region;
    return ERR_OK;
}

struct region *region_copy_merging(const struct region *region, uint64_t version, const struct region_merging *merging)
{
    struct region *copy =
        allocate(region->peer_count, region->merged_count, merging, region->start_key, region->end_key);
    copy->id = region->id;
    copy->epoch_conf = region->epoch_conf;
    copy->epoch_version = version;
    memcpy(copy->peers, region->peers, region->peer_count * sizeof region->peers[0]);
    if (region->merged_count > 0)
        memcpy(region_merged_list(copy), region_merged_list(region), region->merged_count * sizeof(struct region_merged));
    return copy;
}

struct region *region_copy(const struct region *region)
{
    return region_copy_merging(region, region->epoch_version, region->merging);
}

void region_free(struct region *region)
{
    free(region);
}

struct wire_region region_to_wire_brief(const struct region *region, struct arena *arena)
{
    struct wire_region wire = {.id = region->id,
                               .start_key = region->start_key,
                               .end_key = region->end_key,
                               .epoch_conf = region->epoch_conf,
                               .epoch_version = region->epoch_version,
                               .peers_count = region->peer_count};
    wire.peers = arena_alloc(arena, region->peer_count * sizeof *wire.peers);
    for (uint32_t i = 0; i < region->peer_count; i++) {
        wire.peers[i].id = region->peers[i].id;
        wire.peers[i].store_id = region->peers[i].store_id;
        wire.peers[i].role = region->peers[i].role;
    }
    return wire;
}

struct wire_region region_to_wire(const struct region *region, struct arena *arena)
{
    struct wire_region wire = region_to_wire_brief(region, arena);
    if (region_is_merging(region)) {
        wire.merging = arena_alloc(arena, sizeof *wire.merging);
        *wire.merging = (struct wire_merging){.target_id = region->merging->target,
                                              .epoch_conf = region->merging->epoch_conf,
                                              .epoch_version = region->merging->epoch_version,
                                              .index = region->merging->index,
                                              .term = region->merging->term};
    }
    if (region->merged_count == 0)
        return wire;
    wire.merged = arena_alloc(arena, region->merged_count * sizeof *wire.merged);
    wire.merged_count = region->merged_count;
    for (uint32_t i = 0; i < region->merged_count; i++)
        wire.merged[i] = (struct wire_merged){.region_id = region_merged_list(region)[i].id,
                                              .index = region_merged_list(region)[i].index,
                                              .term = region_merged_list(region)[i].term};
    return wire;
}

const struct region_merged *region_find_merged(const struct region *region, region_id source)
{
    for (uint32_t i = 0; i < region->merged_count; i++)
        if (region_merged_list(region)[i].id == source)
            return &region_merged_list(region)[i];
    return NULL;
}

bool region_overlaps(const struct region *a, const struct region *b)
{
    return (b->end_key.size == 0 || bytes_compare(a->start_key, b->end_key) < 0) &&
           (a->end_key.size == 0 || bytes_compare(b->start_key, a->end_key) < 0);
}

bool region_contains(const struct region *region, struct bytes key)
{
    return bytes_compare(key, region->start_key) >= 0 &&
           (region->end_key.size == 0 || bytes_compare(key, region->end_key) < 0);
}

bool region_contains_range(const struct region *region, struct bytes start, struct bytes end)
{
    if (bytes_compare(start, region->start_key) < 0)
        return false;
    if (region->end_key.size == 0)
        return true;
    return end.size > 0 && bytes_compare(end, region->end_key) <= 0;
}

const struct region_peer *region_peer_on_store(const struct region *region, store_id store)
{
    for (uint32_t i = 0; i < region->peer_count; i++)
        if (region->peers[i].store_id == store)
            return &region->peers[i];
    return NULL;
}

const struct region_peer *region_peer_by_id(const struct region *region, peer_id peer)
{
    for (uint32_t i = 0; i < region->peer_count; i++)
        if (region->peers[i].id == peer)
            return &region->peers[i];
    return NULL;
}
