#include "base/bug.h"
#include "base/check.h"
#include "raft/core.h"

/* Roles, and the function on every arrow:
 *
 *              timeout: hup            quorum of pre-votes: hup          quorum of votes: become_leader
 *   FOLLOWER -----------> PRE_CANDIDATE -----------------> CANDIDATE -----------------------------> LEADER
 *      ^  \_________________________________________________^ |                                       |
 *      |        timeout without pre-vote, or told to          | lost, leader found, higher term       |
 *      +------------------------------------------------------+---------------------------------------+
 *                                  become_follower               higher term, no quorum, removed */

/* ---- roles ---- */

static void reset(struct raft *raft, raft_term term)
{
    if (raft->term != term) {
        raft->term = term;
        raft->vote = 0;
    }
    raft->leader = 0;
    raft->election_elapsed = raft->heartbeat_elapsed = 0;
    raft->election_timeout =
        raft->config->election_ticks + (uint32_t)rng_below(&raft->rng, raft->config->election_ticks);
    raft->transfer_to = 0;
    raft->told_timeout_now = false;
    raft->pending_conf_index = 0;
    raft->uncommitted_size = 0;
    raft->confirmed_round = 0;
    raft_index last = raftlog_last(&raft->log);
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        struct progress *peer = &raft->peers[i];
        progress_reset(peer, raft->pool, peer->id == raft->id ? last : 0, last + 1);
    }
    readindex_drop_all(raft, ERR_NOT_LEADER);
}

void election_become_follower(struct raft *raft, raft_term term, peer_id leader)
{
    CHECK(term >= raft->term);
    reset(raft, term);
    raft->role = RAFT_FOLLOWER;
    raft->leader = leader;
}

/* Changes neither term nor vote: whoever already voted in this term stays bound by it. */
void election_become_pre_candidate(struct raft *raft)
{
    CHECK(raft->role != RAFT_LEADER);
    raft->role = RAFT_PRE_CANDIDATE;
    raft->leader = 0;
    for (uint32_t i = 0; i < raft->peer_count; i++)
        raft->peers[i].vote = PROGRESS_NO_ANSWER;
    readindex_drop_all(raft, ERR_NOT_LEADER);
}

void election_become_candidate(struct raft *raft)
{
    CHECK(raft->role != RAFT_LEADER);
    reset(raft, raft->term + 1);
    raft->vote = raft->id;
    raft->role = RAFT_CANDIDATE;
}

void election_become_leader(struct raft *raft)
{
    CHECK(raft->role != RAFT_FOLLOWER);
    reset(raft, raft->term);
    raft->leader = raft->id;
    raft->role = RAFT_LEADER;
    struct progress *own = raft_peer(raft, raft->id);
    CHECK(own);
    progress_become_replicate(own, raft->pool);
    own->recent_active = true;
    /* There may be an unapplied conf change in the log: until all of it is applied, no other may be proposed. */
    raft->pending_conf_index = raftlog_last(&raft->log);
    raft->first_of_term = raftlog_last(&raft->log) + 1;
    CHECK(raft_append_own(raft, RAFT_ENTRY_NORMAL, bytes_empty()));
}

/* ---- campaigning ---- */

bool election_is_promotable(const struct raft *raft)
{
    const struct progress *own = raft_peer(raft, raft->id);
    return own && (!(own->roles & RAFT_LEARNER) || raft->forced) && !raft->log.snapshot;
}

/* A conf change that is committed but not in our configuration could mean that we no longer are a voter, or count too few. */
static bool has_unapplied_conf_change(const struct raft *raft)
{
    for (raft_index index = raft_conf_index(raft) + 1; index <= raft->log.commit; index++) {
        if (raftlog_entry(&raft->log, index)->kind != RAFT_ENTRY_NORMAL && !BUG(campaign_before_conf_applied))
            return true;
    }
    return false;
}

static void set_commit_hint(const struct raft *raft, struct raft_message *message)
{
    if (!raft->config->vote_commit_hint)
        return;
    message->commit = raft->log.commit;
    CHECK(raft->log.snapshot || raftlog_term(&raft->log, message->commit, &message->commit_term));
}

static void campaign(struct raft *raft, enum election_kind kind)
{
    if (kind == ELECTION_PRE)
        election_become_pre_candidate(raft);
    else
        election_become_candidate(raft);
    raft_term term = kind == ELECTION_PRE ? raft->term + 1 : raft->term;
    struct raft_position last = raftlog_last_position(&raft->log);
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        struct progress *peer = &raft->peers[i];
        if (raft->forced ? peer->id != raft->id : !(peer->roles & (RAFT_VOTER | RAFT_OUTGOING)))
            continue;
        struct raft_message message = {.to = peer->id, .term = term};
        if (peer->id == raft->id) { /* counts once our vote is durable */
            message.kind = kind == ELECTION_PRE ? RAFT_PRE_VOTE_RESP : RAFT_VOTE_RESP;
        } else {
            message.kind = kind == ELECTION_PRE ? RAFT_PRE_VOTE : RAFT_VOTE;
            message.index = last.index;
            message.log_term = last.term;
            message.force = kind == ELECTION_TRANSFER;
            set_commit_hint(raft, &message);
        }
        outbox_send(raft, message);
    }
}

enum err election_hup(struct raft *raft, enum election_kind kind)
{
    if (raft->role == RAFT_LEADER)
        return ERR_EXISTS;
    if (!election_is_promotable(raft) || has_unapplied_conf_change(raft))
        return ERR_NOT_READY;
    if (raft->term >= RAFT_NUMBER_MAX) /* somebody lied; nobody would take a message of the term after it */
        return ERR_NOT_READY;
    if (raft->refuse_ticks > 0 && kind != ELECTION_TRANSFER) /* a vote for ourselves is a vote */
        return ERR_NOT_READY;
    campaign(raft, kind);
    return ERR_OK;
}

static bool timed_out(const struct raft *raft)
{
    return raft->role != RAFT_LEADER && raft->election_elapsed >= raft->election_timeout;
}

enum err raft_campaign(struct raft *raft)
{
    if (timed_out(raft))
        raft->election_elapsed = 0; /* also if it is refused: the next timeout tries again */
    return election_hup(raft, raft->config->pre_vote ? ELECTION_PRE : ELECTION_REAL);
}

enum err raft_campaign_at_once(struct raft *raft)
{
    return election_hup(raft, ELECTION_REAL);
}

/* Who votes for itself may be a learner: it must be a member, or nobody would follow it later. */
void raft_force(struct raft *raft, bool forced)
{
    raft->forced = forced && raft_peer(raft, raft->id);
}

bool raft_is_forced(const struct raft *raft)
{
    return raft->forced;
}

bool raft_wants_campaign(const struct raft *raft)
{
    return raft->config->campaign_when_told && timed_out(raft) && election_is_promotable(raft);
}

/* ---- votes ---- */

bool election_ignores(const struct raft *raft, const struct raft_message *message)
{
    if (message->force || BUG(vote_inside_lease))
        return false;
    if (raft->refuse_ticks > 0)
        return true;
    return message->term > raft->term && raft->config->check_quorum && raft->leader != 0 &&
           raft->election_elapsed < raft->config->election_ticks;
}

/* A leader learns it from its followers, or steps down without them. */
bool raft_learn_commit(struct raft *raft, struct raft_position position)
{
    if (position.index <= raft->log.commit)
        return true;
    if (raft->role == RAFT_LEADER || position.term == 0 || raft->log.snapshot || !raftlog_matches(&raft->log, position))
        return false;
    raftlog_commit_to(&raft->log, position.index);
    if ((raft->role == RAFT_CANDIDATE || raft->role == RAFT_PRE_CANDIDATE) && has_unapplied_conf_change(raft))
        election_become_follower(raft, raft->term, 0);
    return true;
}

/* A vote message tells of a commit index: it may be what we need to know to have, or see, a quorum. */
static void use_commit_hint(struct raft *raft, const struct raft_message *message)
{
    if (raft->config->vote_commit_hint)
        (void)raft_learn_commit(raft, (struct raft_position){.index = message->commit, .term = message->commit_term});
}

void election_on_request(struct raft *raft, const struct raft_message *message)
{
    bool pre = message->kind == RAFT_PRE_VOTE;
    bool can_vote = raft->vote == message->from || ((raft->vote == 0 || BUG(double_vote)) && raft->leader == 0) ||
                    (pre && message->term > raft->term);
    struct raft_position last = {.index = message->index, .term = message->log_term};
    struct raft_message answer = {.kind = pre ? RAFT_PRE_VOTE_RESP : RAFT_VOTE_RESP, .to = message->from};
    if (can_vote && (raftlog_is_up_to_date(&raft->log, last) || BUG(vote_outdated_log))) {
        answer.term = message->term; /* of a pre-vote: the term that the candidate would have */
        outbox_send(raft, answer);
        if (!pre) {
            raft->election_elapsed = 0;
            raft->vote = message->from;
        }
        return;
    }
    answer.term = raft->term;
    answer.reject = true;
    set_commit_hint(raft, &answer);
    outbox_send(raft, answer);
    use_commit_hint(raft, message);
}

static enum quorum_vote tally(const struct raft *raft, uint8_t role)
{
    uint32_t yes = 0, no = 0, count = 0;
    if (raft->forced)
        return raft_peer(raft, raft->id)->vote == PROGRESS_YES ? QUORUM_WON : QUORUM_PENDING;
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (!(raft->peers[i].roles & role))
            continue;
        count++;
        yes += raft->peers[i].vote == PROGRESS_YES;
        no += raft->peers[i].vote == PROGRESS_NO;
    }
    return quorum_vote(yes, no, count);
}

void election_on_response(struct raft *raft, const struct raft_message *message)
{
    bool pre = raft->role == RAFT_PRE_CANDIDATE;
    if (message->kind != (pre ? RAFT_PRE_VOTE_RESP : RAFT_VOTE_RESP) || (!pre && raft->role != RAFT_CANDIDATE))
        return;
    struct progress *peer = raft_peer(raft, message->from);
    if (!peer)
        return;
    if (peer->vote == PROGRESS_NO_ANSWER)
        peer->vote = message->reject ? PROGRESS_NO : PROGRESS_YES;
    switch (quorum_vote_joint(tally(raft, RAFT_VOTER), tally(raft, RAFT_OUTGOING))) {
    case QUORUM_WON:
        if (pre) {
            campaign(raft, ELECTION_REAL);
        } else {
            election_become_leader(raft);
            replicate_broadcast(raft);
        }
        return;
    case QUORUM_LOST:
        election_become_follower(raft, raft->term, 0);
        break;
    case QUORUM_PENDING:
        break;
    }
    if (message->reject)
        use_commit_hint(raft, message);
}

/* ---- transfer ---- */

void election_abort_transfer(struct raft *raft)
{
    raft->transfer_to = 0;
}

void election_tell_timeout_now(struct raft *raft, peer_id to)
{
    raft->told_timeout_now = true;
    outbox_send(raft, (struct raft_message){.kind = RAFT_TIMEOUT_NOW, .to = to});
}

enum err raft_transfer(struct raft *raft, peer_id id)
{
    struct progress *peer = raft_peer(raft, id);
    if (raft->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (!peer || !(peer->roles & RAFT_VOTER))
        return ERR_NOT_FOUND;
    if (raft->transfer_to == id)
        return ERR_OK;
    election_abort_transfer(raft);
    if (id == raft->id)
        return ERR_OK;
    raft->election_elapsed = 0; /* it has one election timeout */
    raft->transfer_to = id;
    if (peer->match == raftlog_last(&raft->log))
        election_tell_timeout_now(raft, id);
    else
        replicate_to_peer(raft, peer, true);
    return ERR_OK;
}

enum err raft_forget_leader(struct raft *raft)
{
    if (raft->config->lease_reads)
        return ERR_UNSUPPORTED;
    if (raft->role == RAFT_FOLLOWER && raft->leader != 0) {
        raft->leader = 0;
        readindex_drop_all(raft, ERR_NOT_LEADER);
    }
    return ERR_OK;
}

void raft_leader_lost(struct raft *raft)
{
    if (raft->role != RAFT_FOLLOWER || raft->leader == 0)
        return;
    raft->leader = 0;
    if (raft->election_elapsed < raft->config->election_ticks)
        raft->election_elapsed = raft->config->election_ticks;
    readindex_drop_all(raft, ERR_NOT_LEADER);
}

static uint32_t lesser(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

void raft_wake(struct raft *raft, uint32_t slept, uint32_t silent)
{
    raft->tick_count += slept;
    raft->refuse_ticks -= lesser(raft->refuse_ticks, slept);
    if (raft->role != RAFT_LEADER) {
        uint32_t unheard = raft->election_elapsed + lesser(slept, UINT32_MAX / 2);
        raft->election_elapsed = lesser(unheard, silent);
        return;
    }
    raft->heartbeat_elapsed = raft->config->heartbeat_ticks - 1;
    raft->election_elapsed = 0;
    for (uint32_t i = 0; i < raft->peer_count; i++) /* what they said before is no sign of life now */
        raft->peers[i].recent_active = raft->peers[i].id == raft->id;
}

/* ---- time ---- */

/* We may not campaign, but perhaps those who may do not know it yet: a new voter learns from the commit index that it
 * is one, and if the old leader left before it told, nobody else is there to tell. A pre-vote request that cannot be
 * granted (no log at all) carries the hint. */
static void pass_commit_hint(struct raft *raft)
{
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        struct raft_message message = {.kind = RAFT_PRE_VOTE, .to = raft->peers[i].id, .term = raft->term + 1};
        if (!(raft->peers[i].roles & (RAFT_VOTER | RAFT_OUTGOING)) || message.to == raft->id)
            continue;
        set_commit_hint(raft, &message);
        outbox_send(raft, message);
    }
}

static bool quorum_is_active(const struct raft *raft)
{
    uint32_t active[2] = {0, 0}, count[2] = {0, 0};
    if (raft->forced)
        return true;
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        const struct progress *peer = &raft->peers[i];
        for (int half = 0; half < 2; half++) {
            if (peer->roles & (half == 0 ? RAFT_VOTER : RAFT_OUTGOING)) {
                count[half]++;
                active[half] += peer->recent_active;
            }
        }
    }
    return quorum_vote_joint(quorum_vote(active[0], count[0] - active[0], count[0]),
                             quorum_vote(active[1], count[1] - active[1], count[1])) == QUORUM_WON;
}

static void check_quorum(struct raft *raft)
{
    if (!quorum_is_active(raft))
        election_become_follower(raft, raft->term, 0);
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id != raft->id)
            raft->peers[i].recent_active = false;
    }
}

static void tick_leader(struct raft *raft)
{
    raft->heartbeat_elapsed++;
    raft->election_elapsed++;
    if (raft->election_elapsed >= raft->config->election_ticks) {
        raft->election_elapsed = 0;
        if (raft->config->check_quorum)
            check_quorum(raft);
        if (raft->role == RAFT_LEADER)
            election_abort_transfer(raft);
    }
    if (raft->role == RAFT_LEADER && raft->heartbeat_elapsed >= raft->config->heartbeat_ticks) {
        raft->heartbeat_elapsed = 0;
        raft->round_wanted = false; /* this one will do */
        replicate_heartbeat(raft);
    }
}

static void lose_leader(struct raft *raft)
{
    if (raft->leader == 0)
        return;
    raft->leader = 0;
    readindex_drop_all(raft, ERR_NOT_LEADER);
}

void election_tick(struct raft *raft)
{
    if (raft->refuse_ticks > 0)
        raft->refuse_ticks--;
    if (raft->role == RAFT_LEADER) {
        tick_leader(raft);
        return;
    }
    raft->election_elapsed++;
    if (!timed_out(raft))
        return;
    if (election_is_promotable(raft) && !raft->config->campaign_when_told) {
        raft_campaign(raft); /* refusals are expected */
    } else if (election_is_promotable(raft)) {
        lose_leader(raft);
    } else if (raft->config->vote_commit_hint) {
        raft->election_elapsed = 0;
        lose_leader(raft);
        pass_commit_hint(raft);
    }
}
