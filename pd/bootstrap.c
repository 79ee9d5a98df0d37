#include "pd/bootstrap.h"

#include "base/check.h"

uint32_t bootstrap_id_count(uint32_t region_count, uint32_t replicas)
{
    return region_count * (1 + replicas);
}

void bootstrap_init(struct bootstrap *bootstrap, const uint64_t *stores, uint32_t store_count, uint32_t region_count,
                    uint32_t replicas, uint64_t first_id, struct arena *arena)
{
    CHECK(replicas >= 1 && replicas <= store_count && first_id > 0);
    *bootstrap = (struct bootstrap){.stores = stores,
                                    .store_count = store_count,
                                    .region_count = region_count,
                                    .replicas = replicas,
                                    .first_id = first_id,
                                    .split_keys = split_keys_make(region_count, arena)};
}

/* Region ids first, so that they are small and consecutive in key order; then the peers'. */
static struct wire_region *make_region(const struct bootstrap *bootstrap, uint32_t position, struct arena *arena)
{
    struct wire_region *region = arena_alloc(arena, sizeof(*region));
    region->id = bootstrap->first_id + position;
    region->epoch_conf = region->epoch_version = 1;
    if (position > 0)
        region->start_key = bootstrap->split_keys[position - 1];
    if (position + 1 < bootstrap->region_count)
        region->end_key = bootstrap->split_keys[position];
    uint64_t first_peer = bootstrap->first_id + bootstrap->region_count + (uint64_t)position * bootstrap->replicas;
    region->peers = arena_alloc(arena, bootstrap->replicas * sizeof(*region->peers));
    region->peers_count = bootstrap->replicas;
    for (uint32_t i = 0; i < bootstrap->replicas; i++)
        region->peers[i] = (struct wire_peer){.id = first_peer + i,
                                              .store_id = bootstrap->stores[(position + i) % bootstrap->store_count],
                                              .role = WIRE_PEER_ROLE_VOTER};
    return region;
}

bool bootstrap_next(struct bootstrap *bootstrap, struct arena *arena, struct wire_pd_command *ret_command)
{
    uint32_t left = bootstrap->region_count - bootstrap->next;
    if (left == 0)
        return false;
    uint32_t count = left < BOOTSTRAP_COMMAND_REGIONS_MAX ? left : BOOTSTRAP_COMMAND_REGIONS_MAX;
    struct wire_route *routes = arena_alloc(arena, count * sizeof(*routes));
    for (uint32_t i = 0; i < count; i++) {
        routes[i].region = make_region(bootstrap, bootstrap->next + i, arena);
        routes[i].leader_peer = routes[i].region->peers[0].id;
        routes[i].leader_store = routes[i].region->peers[0].store_id;
    }
    bootstrap->next += count;
    *ret_command = (struct wire_pd_command){.kind = WIRE_PD_COMMAND_KIND_PUT_REGIONS,
                                            .bootstrapped = count == left,
                                            .regions = routes,
                                            .regions_count = count};
    return true;
}
