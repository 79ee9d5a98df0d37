#include "raft/raft.h"

#include "base/bug.h"
#include "base/check.h"
#include "raft/core.h"
#include "raft/membership.h"

/* ---- configuration ---- */

void raft_config_default(struct raft_config *ret_config)
{
    *ret_config = (struct raft_config){
        .heartbeat_ticks = 2,
        .election_ticks = 10,
        .pre_vote = true,
        .check_quorum = true,
        .step_down_on_removal = true,
        .vote_commit_hint = true,
        .coalesce = true,
        .append_size_max = 1024 * 1024,
        .inflight_count_max = 256,
        .inflight_size_max = 16 * 1024 * 1024,
        .uncommitted_size_max = 64 * 1024 * 1024,
        .committed_size_max = 64 * 1024 * 1024,
        .cache_size_max = 4 * 1024 * 1024,
        .read_count_max = 64 * 1024,
    };
}

static bool config_is_possible(const struct raft_config *config)
{
    return config->heartbeat_ticks > 0 && config->election_ticks > config->heartbeat_ticks &&
           config->election_ticks < UINT32_MAX / 8 && config->inflight_count_max > 0 && config->read_count_max > 0;
}

/* ---- birth and death ---- */

static bool entries_follow(struct raft_position previous, const struct raft_entry *entries, uint32_t count,
                           raft_term term_max)
{
    raft_term term = previous.term;
    for (uint32_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &entries[i];
        struct raft_conf_change change;
        if (entry->index != previous.index + 1 + i || entry->term < term || entry->term > term_max ||
            entry->term == 0 || entry->kind > RAFT_ENTRY_CONF_CHANGE_V2 || (entry->data.size > 0 && !entry->data.data))
            return false;
        if (entry->kind != RAFT_ENTRY_NORMAL && raft_conf_change_decode(entry, &change) != ERR_OK)
            return false;
        term = entry->term;
    }
    return true;
}

static enum err check_initial(const struct raft_initial *initial)
{
    raft_index last = initial->base.index + initial->entry_count;
    if (initial->id == 0 || (initial->conf.count > 0 && raft_conf_check(&initial->conf) != ERR_OK))
        return ERR_INVALID;
    if (initial->truncated.index > initial->base.index || initial->base.index > initial->applied ||
        initial->applied > last || initial->hard.commit > last || last > RAFT_OWN_INDEX_MAX ||
        initial->hard.term > RAFT_NUMBER_MAX)
        return ERR_CORRUPT;
    return entries_follow(initial->base, initial->entries, initial->entry_count, RAFT_NUMBER_MAX) ? ERR_OK
                                                                                                  : ERR_CORRUPT;
}

static void load_log(struct raft *raft, const struct raft_initial *initial)
{
    struct raftlog *log = &raft->log;
    raftlog_init(log, raft->pool, initial->truncated, initial->base);
    for (uint32_t i = 0; i < initial->entry_count; i++)
        raftlog_push(log, initial->entries[i].term, initial->entries[i].kind, initial->entries[i].data);
    log->unstable = log->in_progress = raftlog_last(log) + 1;
    log->applied = log->applying = log->commit = initial->applied;
    raftlog_commit_to(log, initial->hard.commit);
}

enum err raft_new(const struct raft_config *config, const struct raft_initial *initial, struct raft_pool *pool,
                  struct raft **ret_raft)
{
    if (!config_is_possible(config))
        return ERR_INVALID;
    enum err code = check_initial(initial);
    if (code != ERR_OK)
        return code;
    struct raft *raft = raft_pool_take(pool, sizeof(*raft));
    *raft = (struct raft){.config = config, .pool = pool, .id = initial->id, .refuse_ticks = config->vote_refuse_ticks};
    rng_init(&raft->rng, initial->seed ^ initial->id, "raft");
    raft->read_number = rng_next(&raft->rng); /* a late answer to a read of an earlier life must not fit */
    load_log(raft, initial);
    raft->conf_index = initial->conf_index;
    replicate_switch_conf(raft, &initial->conf, UINT32_MAX);
    raft->vote = BUG(forget_vote_on_restart) ? 0 : initial->hard.vote;
    raft->term = initial->hard.term;
    election_become_follower(raft, raft->term, 0);
    if (raft_is_lone(raft))
        raft->refuse_ticks = 0; /* nobody else can hold a lease that our vote could break */
    raft->handed_role = raft->role;
    raft->handed_hard = raft_hard_state(raft);
    *ret_raft = raft;
    return ERR_OK;
}

void raft_free(struct raft *raft)
{
    if (!raft)
        return;
    for (uint32_t i = 0; i < raft->peer_count; i++)
        progress_fini(&raft->peers[i], raft->pool);
    raft_pool_give(raft->pool, raft->peers);
    raft_pool_give(raft->pool, raft->reads.slots);
    outbox_fini(raft);
    raftlog_fini(&raft->log);
    raft_pool_give(raft->pool, raft);
}

/* ---- shared with the other modules ---- */

struct progress *raft_peer(const struct raft *raft, peer_id id)
{
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        if (raft->peers[i].id == id)
            return &raft->peers[i];
    }
    return NULL;
}

struct raft_hard_state raft_hard_state(const struct raft *raft)
{
    return (struct raft_hard_state){.term = raft->term, .vote = raft->vote, .commit = raft->log.commit};
}

uint64_t raft_quorum_value(const struct raft *raft, uint64_t (*value)(const struct raft *, const struct progress *))
{
    uint64_t incoming[RAFT_MEMBER_COUNT_MAX], outgoing[RAFT_MEMBER_COUNT_MAX];
    uint32_t incoming_count = 0, outgoing_count = 0;
    if (raft->forced)
        return value(raft, raft_peer(raft, raft->id));
    for (uint32_t i = 0; i < raft->peer_count; i++) {
        const struct progress *peer = &raft->peers[i];
        uint64_t its = value(raft, peer);
        if (peer->roles & RAFT_VOTER || (BUG(learner_counts) && peer->roles & RAFT_LEARNER))
            incoming[incoming_count++] = its;
        if (peer->roles & RAFT_OUTGOING)
            outgoing[outgoing_count++] = its;
    }
    uint64_t a = quorum_committed(incoming, incoming_count);
    uint64_t b = quorum_committed(outgoing, outgoing_count);
    return a < b || BUG(joint_one_half) ? a : b;
}

/* ---- messages in ---- */

static bool is_answer(uint8_t kind)
{
    return kind == RAFT_APP_RESP || kind == RAFT_VOTE_RESP || kind == RAFT_PRE_VOTE_RESP ||
           kind == RAFT_HEARTBEAT_RESP || kind == RAFT_READ_INDEX_RESP;
}

static bool snapshot_is_sane(const struct raft_message *message)
{
    const struct raft_snapshot *snapshot = message->snapshot;
    return snapshot && snapshot->index > 0 && snapshot->index < RAFT_NUMBER_MAX && snapshot->term > 0 &&
           snapshot->term <= message->term && raft_conf_check(&snapshot->conf) == ERR_OK;
}

bool raft_message_is_sane(const struct raft *raft, const struct raft_message *message)
{
    raft_index last = raftlog_last(&raft->log);
    bool ours =
        raft->role == RAFT_LEADER && message->term == raft->term; /* it speaks to, or against, the leader we are */
    if (message->from == 0 || message->to != raft->id || message->term == 0 || message->term > RAFT_NUMBER_MAX ||
        message->index > RAFT_NUMBER_MAX || message->commit > RAFT_NUMBER_MAX || message->reject_hint > RAFT_NUMBER_MAX)
        return false;
    switch (message->kind) {
    case RAFT_APP:
        return !ours && message->log_term <= message->term && (message->entry_count == 0 || message->entries) &&
               entries_follow((struct raft_position){.index = message->index, .term = message->log_term},
                              message->entries, message->entry_count, message->term);
    case RAFT_APP_RESP:
        return !ours || message->index <= last;
    case RAFT_SNAPSHOT:
        return !ours && snapshot_is_sane(message);
    case RAFT_HEARTBEAT:
        return !ours;
    case RAFT_VOTE:
    case RAFT_PRE_VOTE:
        return message->log_term <= message->term;
    case RAFT_ABSENT:
        return ours && raft_peer(raft, message->from) && message->from != raft->id;
    case RAFT_VOTE_RESP:
    case RAFT_PRE_VOTE_RESP:
    case RAFT_HEARTBEAT_RESP:
    case RAFT_TIMEOUT_NOW:
    case RAFT_READ_INDEX:
    case RAFT_READ_INDEX_RESP:
        return true;
    default:
        return false;
    }
}

static void on_lower_term(struct raft *raft, const struct raft_message *message)
{
    bool from_leader = message->kind == RAFT_HEARTBEAT || message->kind == RAFT_APP;
    /* A peer that was cut off and came back with a higher term would never follow a leader that it does not answer, and
     * with pre-vote or check-quorum it cannot depose it by an election either. So tell that leader about our term. */
    if (from_leader && (raft->config->check_quorum || raft->config->pre_vote))
        outbox_send(raft, (struct raft_message){.kind = RAFT_APP_RESP, .to = message->from});
    else if (message->kind == RAFT_PRE_VOTE) /* otherwise a candidate behind in term could wait for ever */
        outbox_send(raft, (struct raft_message){
                              .kind = RAFT_PRE_VOTE_RESP, .to = message->from, .term = raft->term, .reject = true});
}

/* False: the message was dealt with. */
static bool on_higher_term(struct raft *raft, const struct raft_message *message)
{
    switch (message->kind) {
    case RAFT_PRE_VOTE:
        return true; /* asks only: the term is not real yet */
    case RAFT_PRE_VOTE_RESP:
        if (!message->reject)
            return message->term == raft->term + 1;
        break;
    case RAFT_APP:
    case RAFT_HEARTBEAT:
    case RAFT_SNAPSHOT:
        election_become_follower(raft, message->term, message->from);
        return true;
    default:
        break;
    }
    election_become_follower(raft, message->term, 0);
    return true;
}

static enum err on_leader_message(struct raft *raft, const struct raft_message *message)
{
    if (raft->role != RAFT_FOLLOWER)
        election_become_follower(raft, message->term, message->from);
    raft->election_elapsed = 0;
    raft->leader = message->from;
    /* Our answer may become part of a lease. Unlike the refusal of check-quorum this promise outlives a change of term.
     */
    if (raft->config->lease_reads && raft->refuse_ticks < raft->config->election_ticks)
        raft->refuse_ticks = raft->config->election_ticks;
    if (message->kind == RAFT_APP)
        return replicate_on_append(raft, message);
    if (message->kind == RAFT_SNAPSHOT)
        replicate_on_snapshot(raft, message);
    else
        replicate_on_heartbeat(raft, message);
    return ERR_OK;
}

static void on_leader_answer(struct raft *raft, const struct raft_message *message)
{
    struct progress *peer = raft_peer(raft, message->from);
    if (raft->role != RAFT_LEADER || !peer)
        return;
    if (message->kind == RAFT_APP_RESP)
        replicate_on_append_response(raft, peer, message);
    else
        replicate_on_heartbeat_response(raft, peer, message);
}

static enum err step(struct raft *raft, const struct raft_message *message)
{
    if ((message->kind == RAFT_VOTE || message->kind == RAFT_PRE_VOTE) && election_ignores(raft, message))
        return ERR_OK;
    if (message->term < raft->term) {
        on_lower_term(raft, message);
        return ERR_OK;
    }
    if (message->term > raft->term && !on_higher_term(raft, message))
        return ERR_OK;
    switch (message->kind) {
    case RAFT_APP:
    case RAFT_HEARTBEAT:
    case RAFT_SNAPSHOT:
        return on_leader_message(raft, message);
    case RAFT_APP_RESP:
    case RAFT_HEARTBEAT_RESP:
        on_leader_answer(raft, message);
        break;
    case RAFT_VOTE:
    case RAFT_PRE_VOTE:
        election_on_request(raft, message);
        break;
    case RAFT_VOTE_RESP:
    case RAFT_PRE_VOTE_RESP:
        election_on_response(raft, message);
        break;
    case RAFT_TIMEOUT_NOW:
        if (raft->role == RAFT_FOLLOWER)
            election_hup(raft, ELECTION_TRANSFER); /* if it cannot be, the old leader gives up by itself */
        break;
    case RAFT_READ_INDEX:
        readindex_on_request(raft, message);
        break;
    case RAFT_READ_INDEX_RESP:
        readindex_on_response(raft, message);
        break;
    case RAFT_ABSENT:
        replicate_on_absent(raft, raft_peer(raft, message->from));
        break;
    default:
        break;
    }
    return ERR_OK;
}

enum err raft_step(struct raft *raft, const struct raft_message *message)
{
    if (message->from == raft->id || !raft_message_is_sane(raft, message))
        return ERR_INVALID;
    if (is_answer(message->kind) && !raft_peer(raft, message->from))
        return ERR_NOT_FOUND;
    /* The leader knows what we have, because we said so: if we do not have it, we lost it. */
    if (message->kind == RAFT_HEARTBEAT && message->term >= raft->term && message->commit > raftlog_last(&raft->log) &&
        !BUG(commit_own_last))
        return ERR_CORRUPT;
    return step(raft, message);
}

enum err raft_step_own(struct raft *raft, const struct raft_message *message)
{
    CHECK(message->from == raft->id && message->to == raft->id && is_answer(message->kind));
    if (!raft_peer(raft, raft->id))
        return ERR_NOT_FOUND; /* removed meanwhile: our log counts no more */
    return step(raft, message);
}

/* ---- time ---- */

void raft_tick(struct raft *raft, uint32_t count)
{
    uint32_t count_max = raft->refuse_ticks + 4 * raft->config->election_ticks; /* after that, more change nothing */
    raft->tick_count += count;
    for (uint32_t i = 0; i < count && i < count_max; i++)
        election_tick(raft);
    readindex_tick(raft);
}

uint32_t raft_next_deadline(const struct raft *raft)
{
    uint32_t deadline = UINT32_MAX;
    if (raft->role == RAFT_LEADER) {
        deadline = raft->config->heartbeat_ticks - raft->heartbeat_elapsed;
        uint32_t election = raft->config->election_ticks - raft->election_elapsed;
        deadline = election < deadline ? election : deadline;
    } else if (election_is_promotable(raft)) {
        deadline =
            raft->election_elapsed < raft->election_timeout ? raft->election_timeout - raft->election_elapsed : 1;
    }
    if (raft->reads.count > 0) {
        uint64_t at = raft->reads.slots[raft->reads.head].deadline_tick;
        uint64_t left = at > raft->tick_count ? at - raft->tick_count : 1;
        deadline = left < deadline ? (uint32_t)left : deadline;
    }
    return deadline;
}

/* ---- proposals ---- */

bool raft_append_own(struct raft *raft, uint8_t kind, struct bytes data)
{
    uint64_t size_max = raft->config->uncommitted_size_max;
    /* One entry of any size always goes, and an empty one always does: new leaders and the way out of joint
     * configurations depend on it. */
    if (size_max != 0 && raft->uncommitted_size > 0 && data.size > 0 && raft->uncommitted_size + data.size > size_max)
        return false;
    raft->uncommitted_size += data.size;
    raftlog_push(&raft->log, raft->term, kind, data);
    /* Counts once it is durable here; the followers may well be faster. */
    outbox_send(raft, (struct raft_message){.kind = RAFT_APP_RESP, .to = raft->id, .index = raftlog_last(&raft->log)});
    return true;
}

static enum err may_propose(const struct raft *raft)
{
    if (raft->role != RAFT_LEADER || !raft_peer(raft, raft->id))
        return ERR_NOT_LEADER;
    return raft->transfer_to != 0 ? ERR_BUSY : ERR_OK;
}

static enum err propose(struct raft *raft, uint8_t kind, struct bytes data, raft_index *ret_index, raft_term *ret_term)
{
    if (!raft_append_own(raft, kind, data))
        return ERR_BUSY;
    *ret_index = raftlog_last(&raft->log);
    *ret_term = raft->term;
    replicate_broadcast(raft);
    return ERR_OK;
}

enum err raft_propose(struct raft *raft, struct bytes data, raft_index *ret_index, raft_term *ret_term)
{
    enum err code = may_propose(raft);
    return code == ERR_OK ? propose(raft, RAFT_ENTRY_NORMAL, data, ret_index, ret_term) : code;
}

static enum err check_change(const struct raft *raft, const struct raft_conf_change *change)
{
    struct raft_conf conf, result;
    if (raft->config->disable_conf_change_check)
        return ERR_OK;
    raft_get_conf(raft, &conf);
    if ((raft->pending_conf_index > raft->log.applied && !BUG(two_conf_changes)) ||
        (raft_conf_is_joint(&conf) && change->count > 0))
        return ERR_NOT_READY;
    return raft_conf_apply(&conf, change, &result);
}

static bool change_is_possible(const struct raft_conf_change *change)
{
    if (change->count > RAFT_CHANGE_COUNT_MAX || change->transition > RAFT_TRANSITION_EXPLICIT)
        return false;
    for (uint32_t i = 0; i < change->count; i++) {
        if (change->changes[i].kind > RAFT_CHANGE_ADD_LEARNER)
            return false;
    }
    return change->entry_kind == RAFT_ENTRY_CONF_CHANGE_V2 ||
           (change->entry_kind == RAFT_ENTRY_CONF_CHANGE && change->count == 1 &&
            change->transition == RAFT_TRANSITION_AUTO);
}

enum err raft_propose_conf(struct raft *raft, const struct raft_conf_change *change, raft_index *ret_index,
                           raft_term *ret_term)
{
    enum err code = may_propose(raft);
    if (code == ERR_OK)
        code = change_is_possible(change) ? check_change(raft, change) : ERR_INVALID;
    if (code != ERR_OK)
        return code;
    size_t size = membership_encoded_size(change);
    uint8_t *data = size ? raft_pool_take(raft->pool, size) : NULL;
    membership_encode(change, data);
    code = propose(raft, change->entry_kind, bytes_of(data, size), ret_index, ret_term);
    if (code == ERR_OK)
        raft->pending_conf_index = *ret_index;
    raft_pool_give(raft->pool, data);
    return code;
}

/* ---- completions ---- */

void raft_appended(struct raft *raft, const struct raft_token *token)
{
    struct raftlog *log = &raft->log;
    CHECK(token->sequence == log->acked_sequence + 1 && token->sequence <= log->handed_sequence);
    log->acked_sequence = token->sequence;
    /* Under an older term, what was written may have been overwritten in the log since; the append that took over the
     * rest under the present term names it again. */
    if (token->last.index != 0 && token->term == raft->term)
        raftlog_stable_to(log, token->last);
    if (token->snapshot_index != 0) /* committed state: right under any term */
        raftlog_snapshot_installed(log, token->snapshot_index);
    raftlog_reap(log);
}

static void leave_joint(struct raft *raft)
{
    raft_index index;
    raft_term term;
    if (may_propose(raft) != ERR_OK)
        return; /* a transfer is under way: the next leader does it, or we after the next entry */
    CHECK(propose(raft, RAFT_ENTRY_CONF_CHANGE_V2, bytes_empty(), &index, &term) == ERR_OK);
    raft->pending_conf_index = index;
}

void raft_applied(struct raft *raft, raft_index index)
{
    struct raftlog *log = &raft->log;
    CHECK(index <= log->applying);
    if (index < log->applied)
        index = log->applied; /* a snapshot came in between */
    uint64_t size = 0;
    for (raft_index i = log->applied + 1; i <= index; i++) {
        const struct raft_entry *entry = raftlog_entry(log, i);
        size += entry ? entry->data.size : 0;
    }
    raft->uncommitted_size -= size < raft->uncommitted_size ? size : raft->uncommitted_size;
    raftlog_applied_to(log, raft->config, index);
    if (raft->auto_leave && raft->role == RAFT_LEADER && index >= raft->pending_conf_index)
        leave_joint(raft);
    if (raft->config->cache_size_max != 0)
        raftlog_evict_over(log, raft->config->cache_size_max);
    raftlog_reap(log);
}

void raft_resign(struct raft *raft)
{
    if (raft->role == RAFT_LEADER)
        election_become_follower(raft, raft->term, 0);
}

enum err raft_rebase(struct raft *raft, const struct raft_snapshot *snapshot)
{
    struct raftlog *log = &raft->log;
    raft_term term;
    if (raft->role == RAFT_LEADER || log->snapshot || snapshot->index < log->applied ||
        !raft_conf_member(&snapshot->conf, raft->id))
        return ERR_INVALID;
    if (snapshot->index > log->commit || snapshot->index >= log->unstable)
        return ERR_NOT_READY;
    if (raftlog_term(log, snapshot->index, &term) && term != snapshot->term)
        return ERR_CORRUPT;
    raftlog_rebase(log, snapshot->index);
    raft->conf_index = snapshot->index;
    replicate_switch_conf(raft, &snapshot->conf, UINT32_MAX);
    raftlog_reap(log);
    return ERR_OK;
}

enum err raft_apply_conf(struct raft *raft, const struct raft_entry *entry, struct raft_conf *ret_conf)
{
    struct raft_conf_change change;
    struct raft_conf conf;
    uint32_t fresh;
    bool outdated =
        entry->index <= raft_conf_index(raft) || (raft->log.snapshot && entry->index <= raft->log.snapshot->index);
    raft_get_conf(raft, &conf);
    if (outdated) /* the configuration is already that of a snapshot which includes this change */
        return ERR_INVALID;
    if (raft_conf_change_decode(entry, &change) != ERR_OK || membership_apply(&conf, &change, &conf, &fresh) != NULL)
        return ERR_INVALID;
    raft->conf_index = entry->index;
    replicate_switch_conf(raft, &conf, fresh);
    *ret_conf = conf;
    return ERR_OK;
}

void raft_conf_known(struct raft *raft, raft_index index)
{
    CHECK(index <= raft->log.commit || BUG(uncommitted_members_count));
    if (index > raft->conf_index)
        raft->conf_index = index;
}

raft_index raft_conf_index(const struct raft *raft)
{
    return raft->conf_index > raft->log.applied ? raft->conf_index : raft->log.applied;
}

/* ---- log memory ---- */

void raft_cache_evict(struct raft *raft, uint32_t keep_count)
{
    raft_index last = raftlog_last(&raft->log);
    if (last > keep_count)
        raftlog_evict_to(&raft->log, last - keep_count);
    raftlog_reap(&raft->log);
}

void raft_truncate(struct raft *raft, raft_index index, raft_term term)
{
    raftlog_truncate(&raft->log, (struct raft_position){.index = index, .term = term});
    raftlog_reap(&raft->log);
}
