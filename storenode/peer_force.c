#include "storenode/peer_force.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "storenode/peer.h"
#include "storenode/region_conf.h"
#include "storenode/region_worker.h"
#include "storenode/store_pairs.h"

enum { CONTEXT_SIZE_MAX = 64 * 1024 };

#define ULL(value) ((unsigned long long)(value))

struct peer_force {
    store_id *lost; /* owned */
    uint32_t lost_count;
    struct region_epoch least;
    uint32_t led_ticks; /* since it leads */
};

static bool is_lost(const struct wire_region_step *step, store_id store)
{
    for (uint32_t i = 0; i < step->lost_count; i++)
        if (step->lost[i] == store)
            return true;
    return false;
}

/* ---- what speaks against it */

static bool has_lost(const struct peer *peer, const struct wire_region_step *step)
{
    for (uint32_t i = 0; i < peer->region->peer_count; i++)
        if (is_lost(step, peer->region->peers[i].store_id))
            return true;
    return false;
}

/* In both halves of a joint configuration, as far as this replica has applied it. */
static bool majority_is_left(const struct peer *peer, const struct wire_region_step *step)
{
    static const uint8_t halves[] = {RAFT_VOTER, RAFT_OUTGOING};
    struct raft_conf conf;
    raft_get_conf(peer->group->raft, &conf);
    for (size_t h = 0; h < sizeof halves; h++) {
        uint32_t voters = 0, left = 0;
        for (uint32_t i = 0; i < conf.count; i++) {
            const struct region_peer *member = region_peer_by_id(peer->region, conf.members[i].id);
            if (!(conf.members[i].roles & halves[h]))
                continue;
            voters++;
            left += member && !is_lost(step, member->store_id);
        }
        if (voters > 0 && left <= voters / 2)
            return false;
    }
    return true;
}

static const char *why_not(const struct peer *peer, const struct wire_region_step *step)
{
    const struct region *region = peer->region;
    struct region_worker *worker = peer->worker;
    if (step->peer_id != peer->id)
        return "another peer is meant";
    if (peer->destroy.begun || !peer_is_member(peer))
        return "it is no member any more";
    if (step->epoch_conf != region->epoch_conf || step->epoch_version != region->epoch_version)
        return "the region has another epoch by now";
    if (is_lost(step, atomic_load(&region_worker_store(worker)->store_id)))
        return "this store itself is called lost";
    if (peer->snapshot.damaged || peer->snapshot.state != PEER_SNAPSHOT_NONE)
        return "its rows are damaged or being replaced";
    if (!has_lost(peer, step))
        return "no member is on a lost store";
    if (BUG(forces_the_healthy))
        return NULL;
    if (majority_is_left(peer, step))
        return "a majority is left";
    if (raft_leader(peer->group->raft) != 0)
        return "it has a leader";
    for (uint32_t i = 0; i < region->peer_count; i++)
        if (is_lost(step, region->peers[i].store_id) &&
            store_pairs_is_live(region_worker_pairs(worker), region->peers[i].store_id))
            return "a lost store is heard";
    return NULL;
}

/* ---- forced */

void peer_force_fini(struct peer *peer)
{
    if (!peer->force)
        return;
    free(peer->force->lost);
    free(peer->force);
    peer->force = NULL;
}

static void end(struct peer *peer, const char *event)
{
    raft_force(peer->group->raft, false);
    log_event(region_worker_store(peer->worker)->env->log, LOG_WARN,
              "event=%s region=%llu peer=%llu conf=%llu version=%llu members=%u", event, ULL(peer->region_id),
              ULL(peer->id), ULL(peer->region->epoch_conf), ULL(peer->region->epoch_version), peer->region->peer_count);
    peer_force_fini(peer);
}

static void campaign(struct peer *peer)
{
    peer_wake(peer, WAKE_REQUEST);
    peer_sleep_note_work(peer);
    if (raft_campaign_at_once(peer->group->raft) == ERR_OK)
        region_worker_touch(peer->worker, peer);
}

const char *peer_force_take(struct peer *peer, const struct wire_region_step *step)
{
    if (peer->force)
        return NULL;
    const char *why = why_not(peer, step);
    if (why)
        return why;
    struct peer_force *force = calloc(1, sizeof *force);
    CHECK(force);
    force->lost = calloc(step->lost_count, sizeof *force->lost);
    CHECK(force->lost);
    memcpy(force->lost, step->lost, step->lost_count * sizeof *force->lost);
    force->lost_count = step->lost_count;
    force->least = (struct region_epoch){.conf = step->epoch_conf_next, .version = step->epoch_version_next};
    peer->force = force;
    raft_force(peer->group->raft, true);
    log_event(region_worker_store(peer->worker)->env->log, LOG_WARN,
              "event=recovery_forced region=%llu peer=%llu term=%llu committed=%llu last=%llu", ULL(peer->region_id),
              ULL(peer->id), ULL(raft_term_now(peer->group->raft)), ULL(raft_commit_index(peer->group->raft)),
              ULL(raft_last_index(peer->group->raft)));
    campaign(peer);
    return NULL;
}

static bool store_is_lost(const struct peer_force *force, store_id store)
{
    for (uint32_t i = 0; i < force->lost_count; i++)
        if (force->lost[i] == store)
            return true;
    return false;
}

static bool follows(const struct raft_status *status, peer_id id)
{
    for (uint32_t i = 0; i < status->peer_count; i++)
        if (status->peers[i].id == id)
            return status->peers[i].state == RAFT_REPLICATE && status->peers[i].recent_active;
    return false;
}

static void change(struct raft_conf_change *change, uint8_t kind, peer_id id)
{
    if (change->count == RAFT_CHANGE_COUNT_MAX)
        return; /* the others with the next one */
    change->changes[change->count].kind = kind;
    change->changes[change->count++].id = id;
}

/* Nobody waits for its answer; if it is not taken now, the next tick tries again. */
static void propose(struct peer *peer)
{
    struct raft *raft = peer->group->raft;
    struct raft_conf_change wish = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2};
    struct raft_status status;
    struct buf context;
    raft_index index;
    raft_term term;
    raft_get_status(raft, &status);
    if (region_is_joint(peer->region) || region_is_merging(peer->region) || raft_conf_is_joint(&status.conf))
        return;
    const struct region_peer *own = region_peer_by_id(peer->region, peer->id);
    if (own && own->role == WIRE_PEER_ROLE_LEARNER)
        change(&wish, RAFT_CHANGE_ADD_VOTER, peer->id);
    for (uint32_t i = 0; i < peer->region->peer_count; i++) {
        const struct region_peer *member = &peer->region->peers[i];
        if (member->id != peer->id && (store_is_lost(peer->force, member->store_id) || !follows(&status, member->id)))
            change(&wish, RAFT_CHANGE_REMOVE, member->id);
    }
    buf_init(&context, CONTEXT_SIZE_MAX);
    if (region_conf_encode(peer->region, NULL, 0, peer->force->least, &context) == ERR_OK) {
        wish.context = buf_bytes(&context);
        if (raft_propose_conf(raft, &wish, &index, &term) == ERR_OK) {
            peer_add_proposal(peer, index, term, NULL, context.size);
            region_worker_touch(peer->worker, peer);
        }
    }
    buf_fini(&context);
}

/* The change is applied, and so is the end of its joint configuration. */
static bool is_through(const struct peer *peer)
{
    if (peer->region->epoch_conf < peer->force->least.conf || region_is_joint(peer->region))
        return false;
    for (uint32_t i = 0; i < peer->region->peer_count; i++)
        if (store_is_lost(peer->force, peer->region->peers[i].store_id))
            return false;
    return true;
}

void peer_force_tick(struct peer *peer, uint32_t count)
{
    struct raft *raft = peer->group->raft;
    /* Not when check-quorum has just forgotten who was heard, as it does after each election timeout. */
    uint32_t patience = region_worker_store(peer->worker)->config->election_ticks * 3 / 2;
    if (!peer->force)
        return;
    if (is_through(peer)) {
        end(peer, "recovery_done");
    } else if (!raft_is_forced(raft) || (raft_leader(raft) != 0 && !raft_is_leader(raft))) {
        end(peer, "recovery_given_up"); /* it is no member by now, or somebody else leads after all */
    } else if (!raft_is_leader(raft)) {
        peer->force->led_ticks = 0;
        if (raft_role(raft) == RAFT_FOLLOWER)
            campaign(peer);
    } else {
        peer->force->led_ticks += count;
        if (peer->force->led_ticks >= patience && group_is_ready_to_read(peer->group))
            propose(peer);
    }
}
