#include "group.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"

enum {
    ROW_SIZE_MAX = 64 * 1024 * 1024,
    ROUND_SPACING_US = 2000,
    TRUNCATE_COUNT_MIN = 64,
    SCRATCH_KEPT_MAX = 64 * 1024
};

void group_create(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_conf *conf)
{
    struct raft_hard_state hard = {.term = GROUP_FIRST_TERM, .commit = GROUP_FIRST_INDEX};
    struct raft_position truncated = {.index = GROUP_FIRST_INDEX, .term = GROUP_FIRST_TERM};
    group_log_put_hard(engine, batch, id, &hard);
    group_log_put_truncated(engine, batch, id, truncated);
    group_put_conf(engine, batch, id, conf);
}

/* Nothing is of a later term than the one that was written before it. (The core would take it, and lead in a term that is
 * over.) */
static bool terms_are_possible(const struct group_log_state *state, const struct group_log_run *run,
                               raft_term applied_term)
{
    raft_term last = run->count > 0 ? run->entries[run->count - 1].term : applied_term;
    return state->truncated.term <= applied_term && applied_term <= last && last <= state->hard.term;
}

enum err group_open(struct env *env, const struct group_options *options, struct group **ret_group, struct error *err)
{
    struct group_log_run run;
    struct group_log_state state;
    group_log_run_init(&run);
    struct group *group = calloc(1, sizeof *group);
    CHECK(group);
    group->id = options->id;
    group->env = env;
    group->host = options->host;
    group->user = options->user;
    buf_init(&group->scratch, ROW_SIZE_MAX);
    enum err code = group_log_load(env->engine, options->id, options->applied_index, &state, &run, err);
    if (code == ERR_OK) {
        struct raft_initial initial = {.id = options->self,
                                       .seed = options->seed,
                                       .hard = state.hard,
                                       .conf = state.conf,
                                       .conf_index = state.conf_index,
                                       .applied = options->applied_index,
                                       .truncated = state.truncated,
                                       .base = {.index = options->applied_index, .term = options->applied_term},
                                       .entries = run.entries,
                                       .entry_count = run.count};
        code = terms_are_possible(&state, &run, options->applied_term)
                   ? raft_new(options->config, &initial, options->pool, &group->raft)
                   : ERR_CORRUPT;
        if (code != ERR_OK)
            error_set(err, code, "group %llu: hard state, membership and log contradict each other",
                      (unsigned long long)options->id);
    }
    if (code == ERR_OK) {
        group->logged_term = state.hard.term;
        group->logged_vote = state.hard.vote;
        group->logged_last = raft_last_index(group->raft);
        *ret_group = group;
    } else
        group_close(group);
    group_log_run_fini(&run);
    return code;
}

void group_close(struct group *group)
{
    if (!group)
        return;
    raft_free(group->raft);
    buf_fini(&group->scratch);
    free(group);
}

/* ---- leases: when rounds were sent */

static void note_round(struct group *group, uint64_t round)
{
    enum { CAPACITY = sizeof group->rounds / sizeof group->rounds[0] };
    uint64_t now_us = clock_now_us(group->env->clock);
    if (group->round_count == CAPACITY)
        return; /* an older one will be confirmed first; forgetting a newer one only shortens the lease */
    if (group->round_count > 0) {
        uint32_t newest = (group->round_first + group->round_count - 1) % CAPACITY;
        if (now_us < group->rounds[newest].sent_us + ROUND_SPACING_US)
            return;
    }
    uint32_t slot = (group->round_first + group->round_count++) % CAPACITY;
    group->rounds[slot].round = round;
    group->rounds[slot].sent_us = now_us;
}

static void confirm_rounds(struct group *group, uint64_t confirmed_round)
{
    enum { CAPACITY = sizeof group->rounds / sizeof group->rounds[0] };
    while (group->round_count > 0 && group->rounds[group->round_first].round <= confirmed_round) {
        group->lease_from_us =
            BUG(lease_from_receive_time) ? clock_now_us(group->env->clock) : group->rounds[group->round_first].sent_us;
        group->round_first = (group->round_first + 1) % CAPACITY;
        group->round_count--;
    }
}

static void forget_rounds(struct group *group)
{
    group->round_count = 0;
    group->lease_from_us = 0;
}

bool group_is_ready_to_read(const struct group *group)
{
    return raft_is_leader_ready(group->raft) &&
           (raft_term_at(group->raft, raft_applied_index(group->raft)) == raft_term_now(group->raft) ||
            BUG(read_before_term_commit));
}

bool group_lease_holds(const struct group *group, uint64_t now_us, uint64_t lease_us)
{
    if (!group_is_ready_to_read(group))
        return false;
    if (raft_is_lone(group->raft))
        return true;
    return raft_lease_allowed(group->raft) && group->lease_term == raft_term_now(group->raft) &&
           group->lease_from_us != 0 && now_us < group->lease_from_us + (BUG(stale_lease) ? 20 : 1) * lease_us;
}

/* ---- ready -> effects */

/* Does this append need a row at all? A commit index that moved alone is not worth one: it is learnt again. */
static bool needs_rows(const struct group *group, const struct raft_ready *ready)
{
    return ready->snapshot || ready->entry_count > 0 || ready->hard.term != group->logged_term ||
           ready->hard.vote != group->logged_vote;
}

static bool holds_conf_change(const struct raft_ready *ready)
{
    for (uint32_t i = 0; i < ready->entry_count; i++)
        if (ready->entries[i].kind != RAFT_ENTRY_NORMAL)
            return true;
    return false;
}

static void put_rows(struct group *group, const struct raft_ready *ready, struct log_task *task)
{
    struct engine *engine = group->env->engine;
    if (ready->snapshot) {
        struct raft_position truncated = {.index = ready->snapshot->index, .term = ready->snapshot->term};
        group_log_delete_head(engine, task->batch, group->id, UINT64_MAX);
        group_log_put_truncated(engine, task->batch, group->id, truncated);
        group_put_conf_at(engine, task->batch, group->id, &ready->snapshot->conf, ready->snapshot->index);
        group->host->install(group->host->context, group, ready->snapshot, task);
        group->logged_last = ready->snapshot->index;
        group->log_size = 0;
    }
    /* A change of members takes the commit index along: the change before it is committed, and who has the one and did not
     * remember the other after a restart could be elected by the members of two changes ago, of whom no majority need
     * know what those of today have decided. */
    if (ready->hard.term != group->logged_term || ready->hard.vote != group->logged_vote || holds_conf_change(ready)) {
        group_log_put_hard(engine, task->batch, group->id, &ready->hard);
        group->logged_term = ready->hard.term;
        group->logged_vote = ready->hard.vote;
    }
    for (uint32_t i = 0; i < ready->entry_count; i++) {
        group_log_put_entry(engine, task->batch, group->id, &ready->entries[i], &group->scratch);
        group->log_size += ready->entries[i].data.size + 64;
    }
    if (ready->entry_count > 0) {
        raft_index last = ready->entries[ready->entry_count - 1].index;
        if (group->logged_last > last)
            group_log_delete_tail(engine, task->batch, group->id, last + 1, group->logged_last);
        group->logged_last = last;
    }
    if (group->scratch.capacity > SCRATCH_KEPT_MAX)
        buf_fini(&group->scratch);
}

/* A newer message of a kind to ourselves makes the older one worthless: an acknowledgement of less, a vote in a
 * campaign that was given up. A process that was stopped for long may campaign many times in one round. */
static void keep_own(struct log_append *item, const struct raft_message *message)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < item->own_count; i++)
        if (item->own[i].kind != message->kind)
            item->own[kept++] = item->own[i];
    CHECK(kept < LOG_OWN_MESSAGES_MAX);
    item->own[kept] = *message;
    item->own_count = kept + 1;
}

static void append(struct group *group, const struct raft_ready *ready)
{
    bool rows = needs_rows(group, ready);
    if (!rows && ready->after_count == 0 && group->appends_under_way == 0) {
        struct raft_token token = ready->token;
        raft_appended(group->raft, &token);
        return;
    }
    struct log_task *task = group->host->log_task(group->host->context, group);
    if (rows) {
        put_rows(group, ready, task);
        task->sync |= !(BUG(skip_fsync_vote) && ready->entry_count == 0);
    }
    struct log_append *item = log_task_add_append(task, group->id, ready->token);
    for (uint32_t i = 0; i < ready->after_count; i++) {
        if (ready->after[i].to != raft_id(group->raft)) {
            group->host->send(group->host->context, group, &ready->after[i], !BUG(ack_before_append));
            continue;
        }
        keep_own(item, &ready->after[i]);
    }
    group->appends_under_way++;
}

static void note_soft_state(struct group *group, const struct raft_ready *ready)
{
    if (group->lease_term != raft_term_now(group->raft) || ready->role != RAFT_LEADER) {
        forget_rounds(group);
        group->lease_term = raft_term_now(group->raft);
    }
    if (ready->soft_changed)
        group->host->changed(group->host->context, group, ready->role, ready->leader);
}

static void pull_one(struct group *group, const struct raft_ready *ready)
{
    const struct group_host *host = group->host;
    note_soft_state(group, ready);
    if (ready->round)
        note_round(group, ready->round); /* before anything is sent */
    confirm_rounds(group, ready->confirmed_round);
    if (ready->role == RAFT_LEADER)
        group->replicated = raft_replicated_index(group->raft);
    for (uint32_t i = 0; i < ready->message_count; i++) {
        if (ready->messages[i].kind == RAFT_SNAPSHOT)
            host->snapshot_wanted(host->context, group, &ready->messages[i]);
        else
            host->send(host->context, group, &ready->messages[i], false);
    }
    if (ready->committed_count > 0)
        host->committed(host->context, group, ready->committed, ready->committed_count);
    for (uint32_t i = 0; i < ready->read_count; i++)
        host->read_done(host->context, group, &ready->reads[i]);
    for (uint32_t i = 0; i < ready->fetch_count; i++)
        host->fetch(host->context, group, &ready->fetches[i]);
    if (ready->append)
        append(group, ready); /* last: it may call the core */
}

void group_pull(struct group *group)
{
    struct raft_ready ready;
    if (raft_ready(group->raft, &ready))
        pull_one(group, &ready);
}

bool group_release(struct group *group)
{
    if (raft_has_ready(group->raft))
        return false;
    struct raft_ready ready;
    bool more = raft_ready(group->raft, &ready); /* gives the arrays of the last one back */
    CHECK(!more);
    return true;
}

void group_appended(struct group *group, const struct log_append *done)
{
    CHECK(group->appends_under_way > 0);
    group->appends_under_way--;
    for (uint32_t i = 0; i < done->own_count; i++)
        raft_step_own(group->raft, &done->own[i]);
    raft_appended(group->raft, &done->token);
}

void group_applied(struct group *group, raft_index index)
{
    raft_applied(group->raft, index);
}

/* ---- retention */

void group_note_replicated(struct group *group, raft_index replicated)
{
    if (replicated > group->replicated)
        group->replicated = replicated;
}

void group_maybe_truncate(struct group *group, raft_index limit, const struct group_retention *retention)
{
    uint64_t retain_count = retention->retain_count, gain_min = TRUNCATE_COUNT_MIN;
    raft_index applied = raft_applied_index(group->raft);
    raft_index bound = group->replicated < applied ? group->replicated : applied;
    uint64_t count = applied - raft_truncated(group->raft).index;
    if (retention->size_max > 0 && group->log_size > retention->size_max) {
        double fit = (double)count * (double)retention->size_max / 2 / (double)group->log_size; /* entries of this size */
        retain_count = fit < (double)retain_count ? (uint64_t)fit : retain_count;
    }
    if (retention->force || (retention->size_max > 0 && group->log_size > retention->size_max) ||
        (retention->count_max > 0 && count > retention->count_max)) {
        raft_index majority = raft_majority_index(group->raft);
        bound = majority < applied ? majority : applied;
        gain_min = 1; /* or a small limit would be none */
    }
    if (bound < limit)
        limit = bound;
    bound = bound > retain_count ? bound - retain_count : 0;
    if (bound > limit)
        bound = limit;
    struct raft_position truncated = raft_truncated(group->raft);
    if (bound < truncated.index + gain_min)
        return;
    raft_term term = raft_term_at(group->raft, bound);
    if (term == 0) {
        /* It left memory, and its term with it. Terms never decrease: between two entries of one term there is no other.
         * Else the edge of what is in memory, whose term is known, is noted and becomes the cut once all that is before it
         * may go: by then the edge itself has moved on. */
        struct raft_status status;
        raft_get_status(group->raft, &status);
        if (status.base.index >= bound && status.base.term == truncated.term)
            term = truncated.term;
        else if (group->edge.index < truncated.index + gain_min)
            group->edge = status.base;
    }
    if (term == 0) {
        if (group->edge.index > limit || group->edge.index < truncated.index + gain_min)
            return;
        bound = group->edge.index;
        term = group->edge.term;
    }
    struct log_task *task = group->host->log_task(group->host->context, group);
    group_log_delete_head(group->env->engine, task->batch, group->id, bound + 1);
    group_log_put_truncated(group->env->engine, task->batch, group->id,
                            (struct raft_position){.index = bound, .term = term});
    raft_truncate(group->raft, bound, term);
    group->log_size = 0;
}

void group_shrink(struct group *group)
{
    raft_cache_evict(group->raft, 0);
    buf_fini(&group->scratch);
}

/* ---- entries for slow followers */

void group_fetch_init(struct group_fetch *fetch, uint64_t group_id, const struct raft_fetch *wanted)
{
    *fetch = (struct group_fetch){.fetch = *wanted, .group_id = group_id};
    group_log_run_init(&fetch->run);
}

void group_fetch_run(struct group_fetch *fetch, struct engine *engine, struct log *log)
{
    struct error error = {0};
    const struct raft_fetch *wanted = &fetch->fetch;
    fetch->code = group_log_term(engine, fetch->group_id, wanted->from - 1, &fetch->term_before, &error);
    if (fetch->code == ERR_OK)
        fetch->code = group_log_read(engine, fetch->group_id, wanted->from, wanted->count_max, wanted->size_max,
                                     &fetch->run, &error);
    if (fetch->code == ERR_OK && fetch->run.count == 0)
        fetch->code = ERR_NOT_FOUND;
    if (fetch->code != ERR_OK && fetch->code != ERR_NOT_FOUND)
        log_event(log, LOG_ERROR, "event=log_fetch_failed group=%llu index=%llu code=%s msg=\"%s\"",
                  (unsigned long long)fetch->group_id, (unsigned long long)wanted->from, err_name(fetch->code),
                  error.text);
}

void group_fetch_fini(struct group_fetch *fetch)
{
    group_log_run_fini(&fetch->run);
}

void group_fetched(struct group *group, const struct group_fetch *fetch)
{
    raft_fetched(group->raft, &fetch->fetch, fetch->code, fetch->term_before, fetch->run.entries, fetch->run.count);
}

/* ---- wire */

static struct wire_raft_conf *conf_to_wire(const struct raft_conf *conf, struct arena *arena)
{
    struct wire_raft_conf *wire = arena_alloc(arena, sizeof *wire);
    wire->voters = arena_alloc(arena, conf->count * sizeof *wire->voters);
    wire->voters_outgoing = arena_alloc(arena, conf->count * sizeof *wire->voters_outgoing);
    wire->learners = arena_alloc(arena, conf->count * sizeof *wire->learners);
    wire->learners_next = arena_alloc(arena, conf->count * sizeof *wire->learners_next);
    wire->auto_leave = conf->auto_leave;
    for (uint32_t i = 0; i < conf->count; i++) {
        const struct raft_member *member = &conf->members[i];
        if (member->roles & RAFT_VOTER)
            wire->voters[wire->voters_count++] = member->id;
        if (member->roles & RAFT_OUTGOING)
            wire->voters_outgoing[wire->voters_outgoing_count++] = member->id;
        if (member->roles & RAFT_LEARNER)
            wire->learners[wire->learners_count++] = member->id;
        if (member->roles & RAFT_LEARNER_NEXT)
            wire->learners_next[wire->learners_next_count++] = member->id;
    }
    return wire;
}

static enum err add_roles(struct raft_conf *conf, const uint64_t *ids, uint32_t count, uint8_t role)
{
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < count && code == ERR_OK; i++)
        code = raft_conf_add(conf, ids[i], role);
    return code;
}

static enum err conf_from_wire(const struct wire_raft_conf *wire, struct raft_conf *ret_conf)
{
    *ret_conf = (struct raft_conf){.auto_leave = wire->auto_leave};
    enum err code = add_roles(ret_conf, wire->voters, wire->voters_count, RAFT_VOTER);
    if (code == ERR_OK)
        code = add_roles(ret_conf, wire->voters_outgoing, wire->voters_outgoing_count, RAFT_OUTGOING);
    if (code == ERR_OK)
        code = add_roles(ret_conf, wire->learners, wire->learners_count, RAFT_LEARNER);
    if (code == ERR_OK)
        code = add_roles(ret_conf, wire->learners_next, wire->learners_next_count, RAFT_LEARNER_NEXT);
    return code == ERR_OK ? raft_conf_check(ret_conf) : code;
}

struct wire_raft_snapshot *group_snapshot_to_wire(const struct raft_snapshot *snapshot, struct arena *arena)
{
    struct wire_raft_snapshot *wire = arena_alloc(arena, sizeof *wire);
    *wire = (struct wire_raft_snapshot){.index = snapshot->index,
                                        .term = snapshot->term,
                                        .conf = conf_to_wire(&snapshot->conf, arena),
                                        .id = snapshot->id,
                                        .size = snapshot->size};
    return wire;
}

enum err group_snapshot_from_wire(const struct wire_raft_snapshot *wire, struct raft_snapshot *ret_snapshot)
{
    *ret_snapshot =
        (struct raft_snapshot){.index = wire->index, .term = wire->term, .id = wire->id, .size = wire->size};
    return wire->conf ? conf_from_wire(wire->conf, &ret_snapshot->conf) : ERR_INVALID;
}

void group_message_to_wire(const struct group *group, const struct raft_message *message, struct arena *arena,
                           struct wire_raft_message *ret_wire)
{
    *ret_wire = (struct wire_raft_message){.region_id = group->id,
                                           .kind = message->kind,
                                           .from = message->from,
                                           .to = message->to,
                                           .term = message->term,
                                           .log_term = message->log_term,
                                           .index = message->index,
                                           .commit = message->commit,
                                           .commit_term = message->commit_term,
                                           .reject = message->reject,
                                           .reject_hint = message->reject_hint,
                                           .force = message->force,
                                           .round = message->round,
                                           .context = message->context,
                                           .entries_count = message->entry_count,
                                           .replicated = raft_is_leader(group->raft) ? group->replicated : 0};
    if (message->entry_count > 0)
        ret_wire->entries = arena_alloc(arena, message->entry_count * sizeof *ret_wire->entries);
    for (uint32_t i = 0; i < message->entry_count; i++) {
        const struct raft_entry *entry = &message->entries[i];
        ret_wire->entries[i] = (struct wire_raft_entry){
            .term = entry->term, .index = entry->index, .kind = entry->kind, .data = entry->data};
    }
    if (message->snapshot)
        ret_wire->snapshot = group_snapshot_to_wire(message->snapshot, arena);
}

enum err group_message_from_wire(const struct wire_raft_message *wire, struct arena *arena,
                                 struct raft_message *ret_message)
{
    *ret_message = (struct raft_message){.kind = wire->kind,
                                         .from = wire->from,
                                         .to = wire->to,
                                         .term = wire->term,
                                         .log_term = wire->log_term,
                                         .index = wire->index,
                                         .commit = wire->commit,
                                         .commit_term = wire->commit_term,
                                         .reject = wire->reject,
                                         .reject_hint = wire->reject_hint,
                                         .force = wire->force,
                                         .round = wire->round,
                                         .context = wire->context,
                                         .entry_count = wire->entries_count};
    struct raft_entry *entries = wire->entries_count ? arena_alloc(arena, wire->entries_count * sizeof *entries) : NULL;
    for (uint32_t i = 0; i < wire->entries_count; i++) {
        const struct wire_raft_entry *entry = &wire->entries[i];
        entries[i] =
            (struct raft_entry){.term = entry->term, .index = entry->index, .kind = entry->kind, .data = entry->data};
    }
    ret_message->entries = entries;
    if (!wire->snapshot)
        return ERR_OK;
    struct raft_snapshot *snapshot = arena_alloc(arena, sizeof *snapshot);
    ret_message->snapshot = snapshot;
    return group_snapshot_from_wire(wire->snapshot, snapshot);
}
