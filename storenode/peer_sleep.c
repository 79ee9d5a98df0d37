#include "peer_sleep.h"

#include "storenode/peer.h"
#include "storenode/region_worker.h"
#include "storenode/store_pairs.h"

/* ---- questions */

static bool store_lives(const struct peer *peer, store_id store)
{
    return store_pairs_is_live(region_worker_pairs(peer->worker), store);
}

static bool is_own(const struct peer *peer, const struct region_peer *member)
{
    return member->id == peer->id;
}

static bool everybody_lives(const struct peer *peer)
{
    const struct region *region = peer->region;
    for (uint32_t i = 0; i < region->peer_count; i++)
        if (!is_own(peer, &region->peers[i]) && !store_lives(peer, region->peers[i].store_id))
            return false;
    return true;
}

bool peer_sleep_quorum_lives(const struct peer *peer)
{
    const struct region *region = peer->region;
    uint32_t voters = 0, live = 0;
    for (uint32_t i = 0; i < region->peer_count; i++) {
        if (region->peers[i].role == WIRE_PEER_ROLE_LEARNER)
            continue;
        voters++;
        live += is_own(peer, &region->peers[i]) || store_lives(peer, region->peers[i].store_id);
    }
    return live > voters / 2;
}

/* Nobody is owed anything: the core alone does not know who waits outside of it. */
static bool nobody_waits(const struct peer *peer)
{
    return peer->pending_count == 0 && !peer->proposals && !peer->reads && !peer->round_reads &&
           !peer->round_lease_reads && peer->committed_count == 0 && peer->tasks_out == 0 && !peer->heartbeat_due &&
           !peer->leads_first && !peer->split.asked && peer->split.proposed == 0 && !peer->conf.asked &&
           !peer->destroy.begun && !peer_snapshot_is_busy(&peer->snapshot) && !peer_check_is_busy(peer) &&
           !region_is_merging(peer->region) && !peer->merge.querying;
}

static bool may_sleep(const struct peer *peer)
{
    return region_worker_store(peer->worker)->config->sleep_after_ms > 0 && nobody_waits(peer) &&
           raft_may_sleep(peer->group->raft);
}

static uint64_t idle_ticks(const struct peer *peer)
{
    return region_worker_tick_count(peer->worker) - peer->sleep.worked_tick;
}

/* As leader; cheap when it was not idle. */
static bool wants_sleep(const struct peer *peer)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    return config->sleep_after_ms > 0 && idle_ticks(peer) * config->tick_ms >= config->sleep_after_ms &&
           nobody_waits(peer) && everybody_lives(peer) && !peer->split.due;
}

static uint32_t bit_of(const struct peer *peer, peer_id id)
{
    for (uint32_t i = 0; i < peer->region->peer_count; i++)
        if (peer->region->peers[i].id == id)
            return UINT32_C(1) << i;
    return 0;
}

static bool all_agreed(const struct peer *peer)
{
    uint32_t all = (UINT32_C(1) << peer->region->peer_count) - 1;
    return (peer->sleep.agreed_mask | bit_of(peer, peer->id)) == all;
}

/* ---- falling asleep */

void peer_sleep_note_work(struct peer *peer)
{
    peer->sleep.worked_tick = region_worker_tick_count(peer->worker);
    peer->sleep.asked_round = 0;
    peer->sleep.asked = false;
}

static void ask(struct peer *peer, const struct raft_message *message, struct wire_raft_message *wire)
{
    struct peer_sleep *sleep = &peer->sleep;
    wire->sleep = wants_sleep(peer);
    if (!wire->sleep)
        sleep->asked_round = 0;
    else if (sleep->asked_round != message->round) {
        sleep->asked_round = message->round;
        sleep->agreed_mask = 0;
    }
}

static void agree(struct peer *peer, const struct raft_message *message, struct wire_raft_message *wire)
{
    struct peer_sleep *sleep = &peer->sleep;
    if (sleep->asked && message->to == raft_leader(peer->group->raft) && may_sleep(peer) &&
        store_lives(peer, peer_leader_store(peer)))
        wire->sleep = sleep->agreed = true;
}

void peer_sleep_on_send(struct peer *peer, const struct raft_message *message, struct wire_raft_message *wire)
{
    if (message->kind == RAFT_HEARTBEAT)
        ask(peer, message, wire);
    else if (message->kind == RAFT_HEARTBEAT_RESP)
        agree(peer, message, wire);
    else
        peer_sleep_note_work(peer);
}

void peer_sleep_after_step(struct peer *peer, const struct wire_raft_message *wire)
{
    struct peer_sleep *sleep = &peer->sleep;
    const struct raft *raft = peer->group->raft;
    if (wire->kind == RAFT_HEARTBEAT)
        sleep->asked = wire->sleep && wire->term == raft_term_now(raft) && wire->commit == raft_last_index(raft);
    else if (wire->kind != RAFT_HEARTBEAT_RESP || wire->round == 0)
        peer_sleep_note_work(peer);
    else if (wire->round == sleep->asked_round && wire->term == raft_term_now(raft)) {
        if (wire->sleep)
            sleep->agreed_mask |= bit_of(peer, wire->from);
        else
            sleep->asked_round = 0; /* not yet, says somebody: the next heartbeat asks again */
    }
}

static void fall_asleep(struct peer *peer)
{
    struct peer_sleep *sleep = &peer->sleep;
    peer_shrink(peer);
    sleep->asleep = true;
    sleep->asked = sleep->agreed = false;
    sleep->asked_round = 0;
    sleep->slept_tick = region_worker_tick_count(peer->worker);
    region_worker_asleep(peer->worker, peer);
}

void peer_sleep_try(struct peer *peer)
{
    struct peer_sleep *sleep = &peer->sleep;
    bool agreed = sleep->agreed;
    sleep->agreed = false;
    if (sleep->asleep || peer->touched || peer->waiting)
        return;
    if (raft_is_leader(peer->group->raft)) {
        bool alone = peer->region->peer_count == 1 && wants_sleep(peer);
        if (!alone && (sleep->asked_round == 0 || !all_agreed(peer) || !everybody_lives(peer)))
            return;
    } else if (!agreed)
        return;
    if (may_sleep(peer))
        fall_asleep(peer);
}

/* ---- waking */

/* An answer to no heartbeat: the core makes nothing of it, and an awake leader neither. */
static void wake_leader(struct peer *peer)
{
    const struct raft *raft = peer->group->raft;
    peer_id leader = raft_leader(raft);
    if (leader == 0 || leader == peer->id)
        return;
    struct raft_message message = {
        .kind = RAFT_HEARTBEAT_RESP, .from = peer->id, .to = leader, .term = raft_term_now(raft)};
    region_worker_send(peer->worker, peer, &message, false);
}

void peer_wake(struct peer *peer, enum wake_cause cause)
{
    struct peer_sleep *sleep = &peer->sleep;
    if (!sleep->asleep)
        return;
    uint64_t slept = region_worker_tick_count(peer->worker) - sleep->slept_tick;
    uint32_t silent = store_pairs_silent_ticks(region_worker_pairs(peer->worker), peer_leader_store(peer));
    sleep->asleep = false;
    raft_wake(peer->group->raft, slept < UINT32_MAX ? (uint32_t)slept : UINT32_MAX, silent);
    peer_sleep_note_work(peer);
    region_worker_awake(peer->worker, peer, cause);
    if (cause == WAKE_REQUEST || cause == WAKE_MESSAGE)
        wake_leader(peer);
}

void peer_sleep_before_step(struct peer *peer, const struct wire_raft_message *wire)
{
    if (peer->sleep.asleep)
        peer_wake(peer, wire->from == raft_leader(peer->group->raft) ? WAKE_LEADER : WAKE_MESSAGE);
}

static void wake_and_elect(struct peer *peer, enum wake_cause cause)
{
    peer_wake(peer, cause);
    raft_leader_lost(peer->group->raft);
    region_worker_touch(peer->worker, peer);
}

void peer_sleep_store_silent(struct peer *peer, store_id store)
{
    if (!peer->sleep.asleep)
        return; /* its own timers see to it */
    if (peer_leader_store(peer) == store)
        wake_and_elect(peer, WAKE_SILENT);
    else if (raft_is_leader(peer->group->raft) && region_peer_on_store(peer->region, store) && !peer_sleep_quorum_lives(peer))
        peer_wake(peer, WAKE_NO_QUORUM);
}

void peer_sleep_store_back(struct peer *peer, store_id store, bool restarted)
{
    if (!peer->sleep.asleep)
        return;
    if (restarted && peer_leader_store(peer) == store)
        wake_and_elect(peer, WAKE_RESTARTED);
    else if (raft_is_leader(peer->group->raft) && region_peer_on_store(peer->region, store))
        peer_wake(peer, WAKE_BACK);
}
