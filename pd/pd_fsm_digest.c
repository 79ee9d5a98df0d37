/* pd_fsm_digest: one number for all that members of pd must agree on. */
#include <xxhash.h>

#include "base/check.h"
#include "pd/pd_fsm_parts.h"

static void digest_number(XXH3_state_t *state, uint64_t number)
{
    uint8_t bytes[8];
    store_u64_be(bytes, number);
    XXH3_64bits_update(state, bytes, sizeof(bytes));
}

static void digest_bytes(XXH3_state_t *state, struct bytes bytes)
{
    digest_number(state, bytes.size);
    XXH3_64bits_update(state, bytes.data, bytes.size);
}

static void digest_store(XXH3_state_t *state, const struct pd_store *store)
{
    digest_number(state, store->id);
    digest_number(state, store->token);
    digest_bytes(state, bytes_of_string(store->address));
    digest_bytes(state, bytes_of_string(store->status_address));
    digest_bytes(state, bytes_of_string(store->version));
    digest_number(state, store->started_at_ms);
    digest_number(state, store->capacity_size);
}

static void digest_member(XXH3_state_t *state, const struct pd_member *member)
{
    digest_number(state, member->id);
    digest_bytes(state, bytes_of_string(member->name));
    digest_bytes(state, bytes_of_string(member->address));
    digest_number(state, member->learner);
}

static void digest_region(XXH3_state_t *state, const struct region_node *node)
{
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    struct wire_region region;
    region_node_wire(node, peers, &region);
    digest_number(state, region.id);
    digest_bytes(state, region.start_key);
    digest_bytes(state, region.end_key);
    digest_number(state, region.epoch_conf);
    digest_number(state, region.epoch_version);
    for (uint32_t i = 0; i < region.peers_count; i++) {
        digest_number(state, peers[i].id);
        digest_number(state, peers[i].store_id);
        digest_number(state, peers[i].role);
    }
}

uint64_t pd_fsm_digest(const struct pd_fsm *fsm)
{
    XXH3_state_t *state = XXH3_createState();
    CHECK(state);
    XXH3_64bits_reset(state);
    digest_number(state, fsm->cluster_id);
    digest_number(state, fsm->bootstrapped);
    digest_number(state, fsm->next_id);
    digest_number(state, fsm->timestamp_limit_ms);
    digest_number(state, fsm->next_member_id);
    for (uint32_t i = 0; i < fsm->member_count; i++)
        digest_member(state, &fsm->members[i]);
    for (uint32_t i = 0; i < fsm->store_count; i++)
        digest_store(state, &fsm->stores[i]);
    for (struct region_node *node = region_tree_seek(fsm->regions, bytes_empty()); node;
         node = region_tree_next(fsm->regions, node))
        digest_region(state, node);
    for (uint32_t i = 0; i < fsm->settings.count; i++) {
        digest_bytes(state, fsm->settings.list[i].name);
        digest_bytes(state, fsm->settings.list[i].value);
    }
    uint64_t digest = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return digest;
}
