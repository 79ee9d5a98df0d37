#include "storenode/region_step.h"

#include "base/bug.h"
#include "base/log.h"
#include "storenode/conf_ask.h"
#include "storenode/peer.h"
#include "storenode/peer_conf.h"
#include "storenode/region_worker.h"

static void change_peers(struct peer *peer, const struct wire_region_step *step)
{
    struct wire_peer_change changes[2] = {0};
    uint32_t count = 0;
    struct conf_ask *ask;
    if (step->kind == WIRE_STEP_KIND_ADD_LEARNER)
        changes[count++] =
            (struct wire_peer_change){.kind = WIRE_PEER_CHANGE_KIND_ADD_LEARNER, .store_id = step->store_id};
    else if (step->kind == WIRE_STEP_KIND_REMOVE)
        changes[count++] = (struct wire_peer_change){.kind = WIRE_PEER_CHANGE_KIND_REMOVE, .store_id = step->store_id};
    else if (step->store_id != 0)
        changes[count++] = (struct wire_peer_change){.kind = WIRE_PEER_CHANGE_KIND_PROMOTE, .store_id = step->store_id};
    if (step->kind == WIRE_STEP_KIND_CHANGE && step->other_store != 0)
        changes[count++] =
            (struct wire_peer_change){.kind = WIRE_PEER_CHANGE_KIND_DEMOTE, .store_id = step->other_store};
    if (conf_ask_new(peer->region_id, changes, count, &ask) != ERR_OK)
        return;
    ask->guard_conf = BUG(step_of_any_epoch) ? 0 : step->epoch_conf;
    peer_conf_change(peer, ask);
}

static void transfer(struct peer *peer, store_id store)
{
    const struct region_peer *member = region_peer_on_store(peer->region, store);
    struct raft_status status;
    raft_get_status(peer->group->raft, &status);
    if (member && member->id != peer->id && status.transfer_to == 0 &&
        raft_transfer(peer->group->raft, member->id) == ERR_OK)
        region_worker_touch(peer->worker, peer);
}

static void split(struct peer *peer, struct bytes key)
{
    if (key.size == 0) {
        peer_split_in_middle(peer);
        return;
    }
    struct split_ask *wish = split_ask_new(peer->region_id, 0, 0);
    split_ask_add(wish, key);
    peer_split(peer, wish);
}

static void force(struct peer *peer, const struct wire_region_step *step)
{
    const char *why = peer_force_take(peer, step), *before = peer->force_refused;
    peer->force_refused = why;
    if (why && why != before) /* it is said again and again */
        log_event(region_worker_store(peer->worker)->env->log, LOG_WARN,
                  "event=recovery_refused region=%llu peer=%llu conf=%llu msg=\"%s\"",
                  (unsigned long long)step->region_id, (unsigned long long)step->peer_id,
                  (unsigned long long)step->epoch_conf, why);
}

void region_step_take(struct peer *peer, const struct wire_region_step *step)
{
    if (step->kind == WIRE_STEP_KIND_FORCE) {
        force(peer, step);
        return;
    }
    bool same = step->epoch_conf == peer->region->epoch_conf && step->epoch_version == peer->region->epoch_version;
    if (!raft_is_leader(peer->group->raft) || !(same || BUG(step_of_any_epoch)))
        return;
    peer_wake(peer, WAKE_REQUEST);
    peer_sleep_note_work(peer);
    switch (step->kind) {
    case WIRE_STEP_KIND_ADD_LEARNER:
    case WIRE_STEP_KIND_CHANGE:
    case WIRE_STEP_KIND_REMOVE:
        change_peers(peer, step);
        break;
    case WIRE_STEP_KIND_TRANSFER:
        transfer(peer, step->store_id);
        break;
    case WIRE_STEP_KIND_SPLIT:
        split(peer, step->key);
        break;
    case WIRE_STEP_KIND_MERGE:
        peer_merge_post_wish(region_worker_store(peer->worker), peer->region_id, step->other_region);
        break;
    default: /* of a newer pd */
        break;
    }
}
