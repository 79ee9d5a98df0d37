#include "base/bug.h"
#include "base/check.h"
#include "raft/core.h"

/* ---- the follower's side ---- */

enum err replicate_on_append(struct raft *raft, const struct raft_message *message)
{
    struct raftlog *log = &raft->log;
    struct raft_message answer = {.kind = RAFT_APP_RESP, .to = message->from, .round = message->round};
    struct raft_position previous = {.index = message->index, .term = message->log_term};
    if (previous.index < log->commit) { /* an old message: what is committed here is the same there */
        answer.index = log->commit;
        outbox_send(raft, answer);
        return ERR_OK;
    }
    if (raft->peer_count == 0) {
        /* We do not know who the members were before the changes in this log, so we must not apply them: a newcomer
         * starts from a snapshot. */
        answer.reject = true;
        answer.index = previous.index;
        outbox_send(raft, answer);
        return ERR_OK;
    }
    raft_index verified, cut = 0;
    switch (
        raftlog_maybe_append(log, previous, message->entries, message->entry_count, message->commit, &verified, &cut)) {
    case RAFTLOG_CONTRADICTION:
        return ERR_CORRUPT;
    case RAFTLOG_APPENDED:
        if (cut != 0 && (raft->overwritten_from == 0 || cut < raft->overwritten_from))
            raft->overwritten_from = cut;
        answer.index = verified;
        break;
    case RAFTLOG_MISMATCH: {
        raft_index last = raftlog_last(log);
        if (BUG(ack_own_last) && previous.index <= last) {
            answer.index = last;
            break;
        }
        struct raft_position hint =
            raftlog_find_conflict_by_term(log, previous.index < last ? previous.index : last, previous.term);
        answer.reject = true;
        answer.index = previous.index;
        answer.reject_hint = hint.index;
        answer.log_term = hint.term;
        break;
    }
    }
    outbox_send(raft, answer);
    return ERR_OK;
}

void replicate_on_heartbeat(struct raft *raft, const struct raft_message *message)
{
    raft_index commit = message->commit;
    if (BUG(commit_own_last) && commit > raftlog_last(&raft->log))
        commit = raftlog_last(&raft->log);
    raftlog_commit_to(&raft->log, commit);
    outbox_send(raft, (struct raft_message){.kind = RAFT_HEARTBEAT_RESP, .to = message->from, .round = message->round});
}

static bool snapshot_includes_us(const struct raft *raft, const struct raft_snapshot *snapshot)
{
    return raft_conf_member(&snapshot->conf, raft->id) != NULL;
}

/* True if the snapshot must be installed; false if the log already says as much. */
static bool restore(struct raft *raft, const struct raft_snapshot *snapshot)
{
    struct raftlog *log = &raft->log;
    struct raft_position position = {.index = snapshot->index, .term = snapshot->term};
    if (position.index <= log->commit || !snapshot_includes_us(raft, snapshot))
        return false;
    if (raftlog_matches(log, position)) { /* keep the log and what comes after */
        raftlog_commit_to(log, position.index);
        return false;
    }
    if (raftlog_last(log) > position.index &&
        (raft->overwritten_from == 0 || raft->overwritten_from > position.index + 1))
        raft->overwritten_from = position.index + 1;
    raftlog_restore(log, snapshot);
    raft->conf_index = snapshot->index;
    if (!BUG(snapshot_forgets_conf))
        replicate_switch_conf(raft, &snapshot->conf, UINT32_MAX);
    return true;
}

void replicate_on_snapshot(struct raft *raft, const struct raft_message *message)
{
    struct raft_message answer = {.kind = RAFT_APP_RESP, .to = message->from};
    answer.index = restore(raft, message->snapshot) ? raftlog_last(&raft->log) : raft->log.commit;
    outbox_send(raft, answer);
}

/* ---- the leader's side: sending ---- */

static bool send_snapshot(struct raft *raft, struct progress *peer, bool absent)
{
    if ((!peer->recent_active && !absent) || raft->log.applied == 0) /* it could be down for days: do not start what costs most */
        return false;
    struct raft_snapshot snapshot = {.index = raft->log.applied};
    CHECK(raftlog_term(&raft->log, snapshot.index, &snapshot.term));
    raft_get_conf(raft, &snapshot.conf);
    CHECK(snapshot.index > peer->match);
    progress_become_snapshotting(peer, raft->pool, snapshot.index);
    outbox_send_snapshot(raft, peer->id, &snapshot);
    return true;
}

void replicate_on_absent(struct raft *raft, struct progress *peer)
{
    if (peer->match == 0 && peer->state != RAFT_SNAPSHOTTING && peer->fetch_from == 0) /* or the word is older than its first answer */
        (void)send_snapshot(raft, peer, true);
}

static bool fetch(struct raft *raft, struct progress *peer)
{
    peer->fetch_from = peer->next;
    outbox_fetch(raft, (struct raft_fetch){.peer = peer->id,
                                           .term = raft->term,
                                           .from = peer->next,
                                           .count_max = (uint32_t)(raft->log.base.index - peer->next + 1),
                                           .size_max = raft->config->append_size_max});
    return false;
}

static void note_sent(struct raft *raft, struct progress *peer, uint32_t count, uint64_t size, bool merged)
{
    progress_sent(peer, raft->pool, raft->config, count, size, merged);
    peer->sent_commit = raft->log.commit;
}

bool replicate_to_peer(struct raft *raft, struct progress *peer, bool if_empty)
{
    struct raftlog *log = &raft->log;
    if (progress_is_paused(peer) || peer->fetch_from != 0)
        return false;
    struct raft_position previous = {.index = peer->next - 1};
    if (peer->want_snapshot || previous.index < log->truncated.index)
        return send_snapshot(raft, peer, false);
    if (previous.index < log->base.index)
        return fetch(raft, peer);
    if (!raftlog_term(log, previous.index, &previous.term))
        return false;
    raft_index last = raftlog_last(log);
    uint32_t count = 0;
    uint64_t size = 0;
    /* With a full window only empty messages go, and only after heartbeat answers: if everything under way was lost,
     * the refusal of one of those says so. */
    if (last > previous.index && (peer->state != RAFT_REPLICATE || !progress_is_window_full(peer, raft->config)))
        count = raftlog_fit(log, peer->next, last, raft->config->append_size_max);
    if (count == 0 && !if_empty)
        return false;
    for (uint32_t i = 0; i < count; i++)
        size += raftlog_entry(log, peer->next + i)->data.size;
    bool merged = outbox_send_append(raft, peer, previous, peer->next, count);
    note_sent(raft, peer, count, size, merged);
    return true;
}

static bool fetched_is_sound(const struct raft_fetch *request, raft_term our_term, raft_term term_before,
                             const struct raft_entry *entries, uint32_t count)
{
    raft_term term = term_before;
    if (count == 0)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].index != request->from + i || entries[i].term < term || entries[i].term > our_term)
            return false;
        term = entries[i].term;
    }
    return true;
}

static void send_fetched(struct raft *raft, struct progress *peer, raft_term term_before,
                         const struct raft_entry *entries, uint32_t count)
{
    if (peer->state == RAFT_REPLICATE && progress_is_window_full(peer, raft->config))
        count = 0;
    uint64_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += entries[i].data.size;
    outbox_send_lent(raft, peer, (struct raft_position){.index = peer->next - 1, .term = term_before}, entries, count);
    note_sent(raft, peer, count, size, false);
}

void raft_fetched(struct raft *raft, const struct raft_fetch *request, enum err code, raft_term term_before,
                  const struct raft_entry *entries, uint32_t count)
{
    struct progress *peer = raft_peer(raft, request->peer);
    if (raft->role != RAFT_LEADER || raft->term != request->term || !peer || request->from == 0 ||
        peer->fetch_from != request->from)
        return;
    peer->fetch_from = 0;
    if (count > request->count_max)
        count = request->count_max;
    if (code == ERR_OK && !fetched_is_sound(request, raft->term, term_before, entries, count))
        code = ERR_CORRUPT;
    if (code != ERR_OK) {
        peer->want_snapshot |= code == ERR_NOT_FOUND && peer->next == request->from;
        peer->paused = true; /* until its next heartbeat answer */
        return;
    }
    if (peer->next == request->from && !progress_is_paused(peer))
        send_fetched(raft, peer, term_before, entries, count);
    while (replicate_to_peer(raft, peer, false))
        continue;
}

void replicate_broadcast(struct raft *raft)
{
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id != raft->id)
            replicate_to_peer(raft, &raft->peers[i], true);
    }
}

void replicate_heartbeat(struct raft *raft)
{
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        struct progress *peer = &raft->peers[i];
        if (peer->id == raft->id)
            continue;
        /* Never more than the peer is known to have: it must not commit what it cannot check. */
        bool knows_less = peer->match < raft->log.commit && !BUG(heartbeat_commits_blindly);
        raft_index commit = knows_less ? peer->match : raft->log.commit;
        if (BUG(commit_own_last))
            commit = raft->log.commit;
        outbox_send(raft, (struct raft_message){.kind = RAFT_HEARTBEAT, .to = peer->id, .commit = commit});
        peer->sent_commit = commit;
    }
}

/* ---- the leader's side: hearing ---- */

static uint64_t match_of(const struct raft *raft, const struct progress *peer)
{
    (void)raft;
    return peer->match;
}

raft_index raft_majority_index(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER)
        return raft->log.applied;
    if (raft->pending_conf_index > raft->log.applied) /* whose majority counts soon is not known yet */
        return raft_replicated_index(raft);
    return raft_quorum_value(raft, match_of);
}

bool replicate_commit(struct raft *raft)
{
    /* Only entries of our own term are committed by counting; the older ones before them then are, too (figure 3.7). */
    struct raft_position position = {.index = raft_quorum_value(raft, match_of), .term = raft->term};
    if (position.index <= raft->log.commit || !(raftlog_matches(&raft->log, position) || BUG(commit_old_term)))
        return false;
    raftlog_commit_to(&raft->log, position.index);
    readindex_on_commit(raft);
    return true;
}

static void on_refusal(struct raft *raft, struct progress *peer, const struct raft_message *message)
{
    raft_index probe = message->reject_hint;
    if (message->log_term > 0)
        probe = raftlog_find_conflict_by_term(&raft->log, message->reject_hint, message->log_term).index;
    if (!progress_nack(peer, message->index, probe))
        return;
    if (peer->state == RAFT_REPLICATE)
        progress_become_probe(peer, raft->pool);
    replicate_to_peer(raft, peer, true);
}

static void on_ack(struct raft *raft, struct progress *peer, raft_index index)
{
    bool news = progress_ack(peer, index);
    /* The bare answer to a message of an older term has index 0 and is no answer to a probe. Where entries are
     * truncated that can be told: taken for one it would move `next` below them, and ask for a snapshot that nobody
     * needs. */
    if (!news && !(peer->match == index && peer->state == RAFT_PROBE && index >= raft->log.truncated.index))
        return;
    switch (peer->state) {
    case RAFT_PROBE:
        progress_become_replicate(peer, raft->pool);
        break;
    case RAFT_SNAPSHOTTING: /* whatever brought it so far, the log goes on from there */
        if (peer->match >= raft->log.truncated.index) {
            progress_become_probe(peer, raft->pool);
            progress_become_replicate(peer, raft->pool);
        }
        break;
    default:
        progress_free_window(peer, raft->pool, index);
    }
    bool own = peer->id == raft->id;
    bool committed = replicate_commit(raft);
    if (raft->config->lazy_commit)
        ; /* what follows tells them */
    else if (committed)
        replicate_broadcast(raft);
    else if (!own && progress_can_bump_commit(peer, raft->log.commit))
        replicate_to_peer(raft, peer, true);
    while (!own && replicate_to_peer(raft, peer, false))
        continue;
    if (peer->id == raft->transfer_to && peer->match == raftlog_last(&raft->log))
        election_tell_timeout_now(raft, peer->id);
}

void replicate_on_append_response(struct raft *raft, struct progress *peer, const struct raft_message *message)
{
    peer->recent_active = true;
    if (peer->id != raft->id)
        readindex_on_round(raft, peer, message->round);
    if (message->reject)
        on_refusal(raft, peer, message);
    else
        on_ack(raft, peer, message->index);
}

void replicate_on_heartbeat_response(struct raft *raft, struct progress *peer, const struct raft_message *message)
{
    peer->recent_active = true;
    peer->paused = false;
    if (peer->match < raftlog_last(&raft->log) || peer->state == RAFT_PROBE)
        replicate_to_peer(raft, peer, true);
    readindex_on_round(raft, peer, message->round);
}

void raft_report_unreachable(struct raft *raft, peer_id id)
{
    struct progress *peer = raft_peer(raft, id);
    if (raft->role == RAFT_LEADER && peer && peer->state == RAFT_REPLICATE && id != raft->id)
        progress_become_probe(peer, raft->pool);
}

void raft_report_snapshot(struct raft *raft, peer_id id, bool ok)
{
    struct progress *peer = raft_peer(raft, id);
    if (raft->role != RAFT_LEADER || !peer || peer->state != RAFT_SNAPSHOTTING)
        return;
    if (!ok)
        peer->pending_snapshot = 0;
    progress_become_probe(peer, raft->pool);
    peer->paused = true; /* its ack, or its next heartbeat answer, goes on */
}

/* ---- a new configuration ---- */

static void rebuild_peers(struct raft *raft, const struct raft_conf *conf, uint32_t fresh)
{
    struct progress *peers = conf->count ? raft_pool_take(raft->pool, conf->count * sizeof(*peers)) : NULL;
    raft_index last = raftlog_last(&raft->log);
    for (uint32_t i = 0; i < conf->count; i++) {
        struct progress *old = raft_peer(raft, conf->members[i].id);
        if (old && !(fresh & UINT32_C(1) << i)) {
            peers[i] = *old;
            *old = (struct progress){.id = old->id}; /* its window has moved */
        } else {
            peers[i] = (struct progress){.id = conf->members[i].id, .next = last ? last : 1, .recent_active = true};
        }
        peers[i].roles = conf->members[i].roles;
    }
    for (uint32_t i = 0; i < raft->peer_count; i++)
        progress_fini(&raft->peers[i], raft->pool);
    raft_pool_give(raft->pool, raft->peers);
    raft->peers = peers;
    raft->peer_count = (uint8_t)conf->count;
    raft->auto_leave = conf->auto_leave;
    raft->forced = raft->forced && raft_peer(raft, raft->id);
}

void replicate_switch_conf(struct raft *raft, const struct raft_conf *conf, uint32_t fresh)
{
    rebuild_peers(raft, conf, fresh);
    struct progress *own = raft_peer(raft, raft->id);
    if (raft->role != RAFT_LEADER)
        return;
    if (!own || own->roles & RAFT_LEARNER) {
        if (raft->config->step_down_on_removal)
            election_become_follower(raft, raft->term, 0);
        return;
    }
    if (replicate_commit(raft)) { /* a smaller quorum may have had enough already */
        replicate_broadcast(raft);
    } else {
        for (uint32_t i = 0; i < raft->peer_count; i++) {
            if (raft->peers[i].id != raft->id)
                replicate_to_peer(raft, &raft->peers[i], false);
        }
    }
    readindex_confirm(raft);
    struct progress *target = raft_peer(raft, raft->transfer_to);
    if (raft->transfer_to && !(target && target->roles & (RAFT_VOTER | RAFT_OUTGOING)))
        election_abort_transfer(raft);
}
