#include "base/bug.h"
#include "base/check.h"
#include "raft/core.h"

peer_id raft_id(const struct raft *raft)
{
    return raft->id;
}

raft_term raft_term_now(const struct raft *raft)
{
    return raft->term;
}

enum raft_role raft_role(const struct raft *raft)
{
    return raft->role;
}

bool raft_is_leader(const struct raft *raft)
{
    return raft->role == RAFT_LEADER;
}

peer_id raft_leader(const struct raft *raft)
{
    return raft->leader;
}

bool raft_is_leader_ready(const struct raft *raft)
{
    return raft->role == RAFT_LEADER && (raft->log.commit >= raft->first_of_term || BUG(read_before_term_commit));
}

static bool is_joint(const struct raft *raft)
{
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].roles & RAFT_OUTGOING)
            return true;
    }
    return false;
}

bool raft_lease_allowed(const struct raft *raft)
{
    const struct progress *own = raft_peer(raft, raft->id);
    return raft->config->lease_reads && raft->config->check_quorum && raft_is_leader_ready(raft) && own &&
           own->roles == RAFT_VOTER &&
           ((raft->transfer_to == 0 && !raft->told_timeout_now) || BUG(lease_through_transfer)) &&
           raft->pending_conf_index <= raft->log.applied && !is_joint(raft);
}

bool raft_is_lone(const struct raft *raft)
{
    uint32_t others = 0, own = 0;
    if (raft->forced)
        return true;
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (!(raft->peers[i].roles & (RAFT_VOTER | RAFT_OUTGOING)))
            continue;
        if (raft->peers[i].id == raft->id)
            own = raft->peers[i].roles & RAFT_VOTER;
        else
            others++;
    }
    return own && others == 0;
}

uint64_t raft_round(const struct raft *raft)
{
    return raft->round;
}

uint64_t raft_confirmed_round(const struct raft *raft)
{
    return raft->confirmed_round;
}

raft_index raft_commit_index(const struct raft *raft)
{
    return raft->log.commit;
}

raft_index raft_applied_index(const struct raft *raft)
{
    return raft->log.applied;
}

raft_index raft_last_index(const struct raft *raft)
{
    return raftlog_last(&raft->log);
}

struct raft_position raft_truncated(const struct raft *raft)
{
    return raft->log.truncated;
}

const struct raft_entry *raft_log_entry(const struct raft *raft, raft_index index)
{
    return raftlog_entry(&raft->log, index);
}

raft_index raft_pending_snapshot(const struct raft *raft)
{
    return raft->log.snapshot ? raft->log.snapshot->index : 0;
}

raft_index raft_replicated_index(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER)
        return raft->log.applied;
    /* Of whom else a change of members that is not applied may speak is not known yet. */
    bool settled = raft->pending_conf_index <= raft->log.applied;
    raft_index index = settled ? raftlog_last(&raft->log) : raft->log.applied;
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].match < index)
            index = raft->peers[i].match;
    }
    return index;
}

raft_term raft_term_at(const struct raft *raft, raft_index index)
{
    raft_term term;
    return raftlog_term(&raft->log, index, &term) ? term : 0;
}

void raft_get_conf(const struct raft *raft, struct raft_conf *ret_conf)
{
    ret_conf->count = raft->peer_count;
    ret_conf->auto_leave = raft->auto_leave;
    for (uint32_t i = 0; i < raft->peer_count; i++)
        ret_conf->members[i] = (struct raft_member){.id = raft->peers[i].id, .roles = raft->peers[i].roles};
}

bool raft_may_sleep(const struct raft *raft)
{
    const struct raftlog *log = &raft->log;
    raft_index last = raftlog_last(log);
    if (raft->leader == 0 || raft_has_ready(raft) || raft->reads.count > 0 || raft->transfer_to != 0 ||
        log->applied != last || log->unstable != last + 1 || log->acked_sequence != log->handed_sequence ||
        is_joint(raft))
        return false;
    for (uint32_t i = 0; raft->role == RAFT_LEADER && i < raft->peer_count; i++) {
        const struct progress *peer = &raft->peers[i];
        if (peer->id == raft->id)
            continue;
        /* The last thing sent to it carried our commit index, and was answered. */
        if (peer->state != RAFT_REPLICATE || peer->match != last || peer->sent_commit != last ||
            peer->acked_round < peer->sent_round)
            return false;
    }
    return raft->role == RAFT_LEADER || raft->role == RAFT_FOLLOWER;
}

void raft_get_status(const struct raft *raft, struct raft_status *ret_status)
{
    *ret_status = (struct raft_status){
        .id = raft->id,
        .leader = raft->leader,
        .transfer_to = raft->transfer_to,
        .role = raft->role,
        .hard = raft_hard_state(raft),
        .applied = raft->log.applied,
        .last = raftlog_last(&raft->log),
        .truncated = raft->log.truncated,
        .base = raft->log.base,
        .uncommitted_size = raft->uncommitted_size,
        .peer_count = raft->role == RAFT_LEADER ? raft->peer_count : 0,
    };
    raft_get_conf(raft, &ret_status->conf);
    for (uint32_t i = 0; i < ret_status->peer_count; i++) {
        const struct progress *peer = &raft->peers[i];
        ret_status->peers[i] = (struct raft_peer_status){
            .id = peer->id,
            .roles = peer->roles,
            .state = peer->state,
            .match = peer->match,
            .next = peer->next,
            .pending_snapshot = peer->pending_snapshot,
            .inflight_count = peer->window_count,
            .inflight_full = progress_is_window_full(peer, raft->config),
            .paused = progress_is_paused(peer),
            .recent_active = peer->recent_active,
            .fetching = peer->fetch_from != 0,
            .acked_round = peer->acked_round,
        };
    }
}

size_t raft_memory_size(const struct raft *raft)
{
    size_t size = raft_pool_block_size(sizeof(*raft)) + raftlog_memory_size(&raft->log) + outbox_memory_size(raft);
    size += raft->peers ? raft_pool_block_size(raft->peer_count * sizeof(*raft->peers)) : 0;
    size += raft->reads.slots ? raft_pool_block_size(raft->reads.capacity * sizeof(*raft->reads.slots)) : 0;
    for (uint32_t i = 0; i < raft->peer_count; i++)
        size += progress_memory_size(&raft->peers[i]);
    return size;
}

const char *raft_message_kind_name(uint8_t kind)
{
    static const char *const names[] = {
        [RAFT_APP] = "append",
        [RAFT_APP_RESP] = "append-answer",
        [RAFT_VOTE] = "vote",
        [RAFT_VOTE_RESP] = "vote-answer",
        [RAFT_PRE_VOTE] = "pre-vote",
        [RAFT_PRE_VOTE_RESP] = "pre-vote-answer",
        [RAFT_HEARTBEAT] = "heartbeat",
        [RAFT_HEARTBEAT_RESP] = "heartbeat-answer",
        [RAFT_SNAPSHOT] = "snapshot",
        [RAFT_TIMEOUT_NOW] = "timeout-now",
        [RAFT_READ_INDEX] = "read-index",
        [RAFT_READ_INDEX_RESP] = "read-index-answer",
        [RAFT_ABSENT] = "absent",
    };
    return kind < sizeof(names) / sizeof(names[0]) && names[kind] ? names[kind] : "unknown";
}

void raft_check(const struct raft *raft)
{
    raftlog_check(&raft->log);
    CHECK(raft->log.commit >= raft->handed_hard.commit && raft->term >= raft->handed_hard.term);
    CHECK(raft->role != RAFT_LEADER || raft->leader == raft->id);
    CHECK(raft->role == RAFT_LEADER || raft->role == RAFT_FOLLOWER || raft->leader == 0);
    CHECK(raft->role != RAFT_CANDIDATE || raft->vote == raft->id);
    CHECK(raft->role == RAFT_LEADER || raft->transfer_to == 0);
    CHECK(raft->confirmed_round <= raft->round);
    raft_index last = raftlog_last(&raft->log);
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        const struct progress *peer = &raft->peers[i];
        CHECK(i == 0 || raft->peers[i - 1].id < peer->id);
        CHECK(peer->roles != 0 && peer->acked_round <= raft->round);
        if (raft->role != RAFT_LEADER)
            continue;
        CHECK(peer->match < peer->next && peer->match <= last && peer->next <= last + 1);
        CHECK((peer->window == NULL) == (peer->window_count == 0));
    }
}
