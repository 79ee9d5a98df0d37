#include "hand_over.h"

#include "storenode/peer.h"
#include "storenode/region_worker.h"
#include "storenode/store_pairs.h"

/* 0: none. `*ret_soon`: there may be one before long. */
static peer_id best_successor(const struct peer *peer, const struct raft_status *status, bool *ret_soon)
{
    const struct raft_peer_status *best = NULL;
    *ret_soon = false;
    for (uint32_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *other = &status->peers[i];
        const struct region_peer *member = region_peer_by_id(peer->region, other->id);
        if (other->id == peer->id || other->roles != RAFT_VOTER || !member)
            continue;
        enum pairs_fitness fitness = store_pairs_fitness(region_worker_pairs(peer->worker), member->store_id);
        *ret_soon |= fitness != PAIRS_UNFIT;
        if (fitness == PAIRS_FIT && other->state == RAFT_REPLICATE && (!best || other->match > best->match))
            best = other;
    }
    return best ? best->id : 0;
}

enum hand_over hand_over_try(struct peer *peer)
{
    struct raft *raft = peer->group->raft;
    if (!raft_is_leader(raft))
        return HAND_OVER_NONE;
    struct raft_status status;
    raft_get_status(raft, &status);
    if (status.transfer_to != 0)
        return HAND_OVER_WAITING;
    bool soon;
    peer_id to = best_successor(peer, &status, &soon);
    if (to == 0 || raft_transfer(raft, to) != ERR_OK)
        return soon ? HAND_OVER_WAITING : HAND_OVER_NONE;
    region_worker_touch(peer->worker, peer);
    return HAND_OVER_BEGUN;
}
