/* pd_raft: what pd's group wants done: messages to the other members, log, committed entries, reads. */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "pd/pd_parts.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

/* ---- the other members */

struct link *pd_raft_link(const struct pd *pd, uint64_t member)
{
    for (uint32_t i = 0; i < pd->peer_count; i++)
        if (pd->peers[i].id == member)
            return pd->peers[i].link;
    return NULL;
}

static void close_peer(struct pd *pd, uint32_t position)
{
    link_close(pd->peers[position].link);
    pd->peers[position] = pd->peers[--pd->peer_count];
}

void pd_raft_sync_links(struct pd *pd)
{
    if (!pd->links)
        return;
    if (pd->group)
        pd_raft_note_leader(pd, raft_leader(pd->group->raft));
    for (uint32_t i = pd->peer_count; i-- > 0;)
        if (!pd_fsm_find_member(pd->fsm, pd->peers[i].id))
            close_peer(pd, i);
    for (uint32_t i = 0; i < pd_fsm_member_count(pd->fsm); i++) {
        const struct pd_member *member = pd_fsm_member_at(pd->fsm, i);
        if (member->id != pd->member_id && !pd_raft_link(pd, member->id))
            pd->peers[pd->peer_count++] = (struct pd_peer){
                .id = member->id,
                .link = link_open(pd->links, pd_members_address(pd->config, member), member->id, NULL)};
    }
}

/* ---- what the group asks for */

static struct log_task *host_log_task(void *context, struct group *group)
{
    struct pd *pd = context;
    (void)group;
    if (!pd->log_task)
        pd->log_task = log_task_new(pd->env, pd->actor, PD_LOGGED);
    return pd->log_task;
}

static void host_send(void *context, struct group *group, const struct raft_message *message, bool after)
{
    struct pd *pd = context;
    struct link *link = pd_raft_link(pd, message->to);
    conn_id conn = link && link_is_up(link) ? link_conn(link) : 0;
    if (!link && message->to == pd->heard_from)
        conn = pd->heard_conn; /* who has not got its first snapshot knows nobody, but must answer */
    if (conn == 0 || pd->muted)
        return;
    struct wire_raft_message wire;
    arena_reset(&pd->message_arena);
    group_message_to_wire(group, message, &pd->message_arena, &wire);
    struct wire_raft_batch batch = {
        .from_store = pd->member_id, .to_store = message->to, .messages = &wire, .messages_count = 1};
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    if (!frame)
        log_event(pd->env->log, LOG_ERROR, "event=raft_frame_too_large member=%llu", (unsigned long long)message->to);
    else if (after)
        log_task_add_send(host_log_task(pd, group), conn, frame);
    else
        transport_send(pd->env->transport, conn, frame); /* lost frames are Raft's daily bread */
}

/* ---- entries from the disk for a member that is behind */

struct fetch_job {
    struct pd_job job; /* first */
    struct group_fetch fetch;
};

static void fetch_free(struct message *message)
{
    struct fetch_job *job = (struct fetch_job *)message;
    group_fetch_fini(&job->fetch);
    free(job);
}

static void fetch_run(struct pd_job *job, struct env *env)
{
    group_fetch_run(&((struct fetch_job *)job)->fetch, env->engine, env->log);
}

static void fetch_done(void *context, struct pd_job *take_job)
{
    struct pd *pd = context;
    group_fetched(pd->group, &((struct fetch_job *)take_job)->fetch);
    message_free(&take_job->message);
}

static void host_fetch(void *context, struct group *group, const struct raft_fetch *fetch)
{
    struct pd *pd = context;
    struct fetch_job *job = calloc(1, sizeof *job);
    CHECK(job);
    job->job = (struct pd_job){.message = {.free = fetch_free}, .run = fetch_run, .done = fetch_done};
    group_fetch_init(&job->fetch, group->id, fetch);
    pd_jobs_post(pd->jobs, &job->job);
}

static void host_snapshot_wanted(void *context, struct group *group, const struct raft_message *message)
{
    (void)group;
    pd_snapshot_wanted(context, message);
}

static void host_install(void *context, struct group *group, const struct raft_snapshot *snapshot,
                         struct log_task *task)
{
    (void)group;
    pd_snapshot_install(context, snapshot, task);
}

/* ---- who leads */

static void end_leading(struct pd *pd)
{
    if (pd->leading_term == 0)
        return;
    pd->leading_term = 0;
    pd->barrier_wanted = false;
    pd->barrier_index = 0;
    pd_snapshot_stop_sending(pd);
    pd_service_end(pd->service);
    pd_http_forget(&pd->http);
    log_event(pd->env->log, LOG_INFO, "event=pd_not_leading term=%llu",
              (unsigned long long)raft_term_now(pd->group->raft));
}

bool pd_raft_note_leader(struct pd *pd, peer_id leader)
{
    const struct pd_member *member = leader == pd->member_id ? NULL : pd_fsm_find_member(pd->fsm, leader);
    pd_service_set_leader(pd->service, leader, member ? pd_members_address(pd->config, member) : NULL);
    return member != NULL;
}

static void host_changed(void *context, struct group *group, enum raft_role role, peer_id leader)
{
    struct pd *pd = context;
    bool known = pd_raft_note_leader(pd, leader);
    if (role != RAFT_LEADER)
        end_leading(pd);
    if (known)
        log_event(pd->env->log, LOG_INFO, "event=pd_follows leader=%llu term=%llu", (unsigned long long)leader,
                  (unsigned long long)raft_term_now(group->raft));
}

/* ---- committed entries */

/* The rows of one run of committed entries, on their way through the apply worker. */
struct pd_apply {
    struct apply_task task; /* first */
    struct pd *pd;
    struct engine *engine;
    struct engine_batch *batch; /* owned */
    raft_index last;
    struct raft_entry *confs; /* owned; changes of members: the core hears of them when the rows are written */
    uint32_t conf_count;
    enum err code;
};

static void apply_free(struct message *message)
{
    struct pd_apply *apply = (struct pd_apply *)message;
    engine_batch_free(apply->engine, apply->batch);
    free(apply->confs);
    free(apply);
}

/* On the apply worker. */
static void apply_rows(struct apply_task *task, struct apply_worker *worker)
{
    struct pd_apply *apply = (struct pd_apply *)task;
    engine_batch_append(apply->engine, apply_worker_batch(worker), apply->batch);
    if (apply->conf_count > 0)
        apply_worker_sync(worker);
}

static void apply_done(struct apply_task *take_task, enum err code)
{
    struct pd_apply *apply = (struct pd_apply *)take_task;
    apply->code = code;
    apply->task.message.kind = PD_APPLIED;
    actor_post_must(apply->pd->env->executor, apply->pd->actor, &apply->task.message);
}

static struct pd_apply *apply_new(struct pd *pd)
{
    struct pd_apply *apply = calloc(1, sizeof(*apply));
    CHECK(apply);
    apply->task = (struct apply_task){.message = {.free = apply_free}, .apply = apply_rows, .done = apply_done};
    apply->pd = pd;
    apply->engine = pd->env->engine;
    apply->batch = engine_batch_new(pd->env->engine);
    return apply;
}

static void apply_conf(struct pd *pd, struct pd_apply *apply, const struct raft_entry *entry,
                       struct pd_fsm_result *result)
{
    struct raft_conf_change change;
    struct raft_conf conf;
    if (raft_conf_change_decode(entry, &change) != ERR_OK) {
        pd_fail(pd, ERR_CORRUPT, "a change of pd's members cannot be read");
        return;
    }
    result->code = raft_conf_apply(&pd->conf, &change, &conf);
    if (result->code == ERR_OK)
        result->code = pd_fsm_change_members(pd->fsm, &conf, change.context, pd->env->engine, apply->batch);
    if (result->code != ERR_OK)
        return;
    pd->conf = conf;
    group_put_conf(pd->env->engine, apply->batch, PD_GROUP_ID, &conf);
    apply->confs = realloc(apply->confs, (apply->conf_count + 1) * sizeof *apply->confs);
    CHECK(apply->confs);
    apply->confs[apply->conf_count++] = *entry; /* its payload lives until group_applied */
}

static void apply_entry(struct pd *pd, struct pd_apply *apply, const struct raft_entry *entry)
{
    struct pd_fsm_result result = {.code = ERR_OK};
    if (entry->kind != RAFT_ENTRY_NORMAL)
        apply_conf(pd, apply, entry, &result);
    else if (entry->data.size > 0)
        pd_fsm_apply(pd->fsm, entry->data, pd->env->engine, apply->batch, &result);
    if (entry->kind == RAFT_ENTRY_NORMAL && result.code == ERR_UNSUPPORTED)
        pd_fail(pd, result.code, "pd's log holds a command of a newer version");
    if (pd_has_failed(pd))
        return;
    pd_fsm_set_applied(pd->fsm, entry->index, entry->term);
    if (entry->kind != RAFT_ENTRY_NORMAL || entry->data.size > 0)
        pd_service_applied(pd->service, entry->index, entry->term, &result);
}

/* The truth in memory changes at once; its rows follow through the apply worker. The log has everything already, so
 * answers need not wait for them. */
static void host_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count)
{
    struct pd *pd = context;
    (void)group;
    if (pd_has_failed(pd))
        return;
    struct pd_apply *apply = apply_new(pd);
    for (uint32_t i = 0; i < count && !pd_has_failed(pd); i++)
        apply_entry(pd, apply, &entries[i]);
    if (pd_has_failed(pd)) {
        apply_free(&apply->task.message);
        return;
    }
    apply->last = entries[count - 1].index;
    pd_fsm_put_applied(pd->fsm, pd->env->engine, apply->batch);
    pd_wait_begin(&pd->applies, clock_now_us(pd->env->clock));
    apply_worker_post(pd->apply_worker, &apply->task);
}

void pd_raft_applied(struct pd *pd, struct apply_task *take_task)
{
    struct pd_apply *apply = (struct pd_apply *)take_task;
    struct raft_conf conf;
    pd_wait_end(&pd->applies, clock_now_us(pd->env->clock));
    if (apply->code != ERR_OK)
        pd_fail(pd, apply->code, "rows could not be written");
    if (!pd_has_failed(pd)) {
        for (uint32_t i = 0; i < apply->conf_count; i++)
            CHECK(raft_apply_conf(pd->group->raft, &apply->confs[i], &conf) == ERR_OK);
        group_applied(pd->group, apply->last);
        if (apply->conf_count > 0) {
            pd_raft_sync_links(pd);
            if (!pd_fsm_find_member(pd->fsm, pd->member_id))
                log_event(pd->env->log, LOG_WARN, "event=pd_removed member=%llu msg=\"no member any more: stop it\"",
                          (unsigned long long)pd->member_id);
        }
    }
    apply_free(&apply->task.message);
}

/* ---- reads: proof of leadership for a sealed batch */

static void host_read_done(void *context, struct group *group, const struct raft_read_result *read)
{
    struct pd *pd = context;
    (void)group;
    if (read->context != pd->barrier)
        return;
    if (read->code == ERR_OK)
        pd->barrier_index = read->index;
    else
        pd->barrier_wanted = true; /* no answer: ask again; or leadership is gone, and `end` answers them */
}

void pd_raft_host(struct pd *pd, struct group_host *ret_host)
{
    *ret_host = (struct group_host){.context = pd,
                                    .send = host_send,
                                    .log_task = host_log_task,
                                    .committed = host_committed,
                                    .read_done = host_read_done,
                                    .fetch = host_fetch,
                                    .changed = host_changed,
                                    .snapshot_wanted = host_snapshot_wanted,
                                    .install = host_install};
}

/* ---- messages of other members */

static void note_leaders_word(struct pd *pd, const struct raft_message *message)
{
    if (message->from != raft_leader(pd->group->raft) ||
        (message->kind != RAFT_APP && message->kind != RAFT_HEARTBEAT))
        return;
    /* A heartbeat says no more than what we have acknowledged; an append says all. */
    if (message->commit > pd->commit_seen)
        pd->commit_seen = message->commit;
    if (pd->heard_us == 0) {
        pd->heard_us = clock_now_us(pd->env->clock);
        pd->heard_index = pd->commit_seen;
    }
}

/* We are no member yet, and cannot answer: the leader shall send a snapshot. */
static void say_absent(struct pd *pd, conn_id conn, const struct wire_raft_message *wire)
{
    struct wire_raft_message absent = {
        .region_id = PD_GROUP_ID, .kind = RAFT_ABSENT, .from = wire->to, .to = wire->from, .term = wire->term};
    struct wire_raft_batch batch = {
        .from_store = wire->to, .to_store = wire->from, .messages = &absent, .messages_count = 1};
    if (wire->kind != RAFT_APP && wire->kind != RAFT_HEARTBEAT)
        return;
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    CHECK(frame);
    transport_send(pd->env->transport, conn, frame);
}

static void on_raft_message(struct pd *pd, conn_id conn, const struct wire_raft_message *wire)
{
    struct raft_message message;
    if (!pd->group) {
        say_absent(pd, conn, wire);
        return;
    }
    if (wire->to != pd->member_id || group_message_from_wire(wire, &pd->message_arena, &message) != ERR_OK ||
        message.kind == RAFT_SNAPSHOT || /* comes as chunks */
        (message.kind == RAFT_ABSENT && !raft_is_leader(pd->group->raft)))
        return;
    pd->heard_from = message.from;
    pd->heard_conn = conn;
    enum err code = raft_step(pd->group->raft, &message);
    if (code == ERR_OK) {
        group_note_replicated(pd->group, wire->replicated);
        note_leaders_word(pd, &message);
    } else if (code == ERR_CORRUPT) {
        log_event(pd->env->log, LOG_ERROR, "event=raft_contradiction member=%llu from=%llu kind=%s index=%llu term=%llu",
                  (unsigned long long)pd->member_id, (unsigned long long)message.from,
                  raft_message_kind_name(message.kind), (unsigned long long)message.index,
                  (unsigned long long)message.term);
        pd_fail(pd, ERR_CORRUPT, "a message contradicts what is committed here");
    }
}

void pd_raft_frame(struct pd *pd, conn_id conn, const struct frame *frame)
{
    struct wire_raft_batch batch;
    struct arena arena;
    arena_init(&arena);
    if (wire_decode_raft_batch(frame_bytes(frame), &arena, &batch) == ERR_OK)
        for (uint32_t i = 0; i < batch.messages_count && !pd_has_failed(pd); i++) {
            arena_reset(&pd->message_arena);
            if (batch.messages[i].region_id == PD_GROUP_ID)
                on_raft_message(pd, conn, &batch.messages[i]);
        }
    arena_fini(&arena);
}

/* ---- ticks */

static void promote(struct pd *pd)
{
    struct raft_status status;
    raft_index index;
    raft_term term;
    raft_get_status(pd->group->raft, &status);
    uint64_t id = pd_members_promotable(&status);
    struct raft_conf_change change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2,
                                      .count = 1,
                                      .changes = {{.kind = RAFT_CHANGE_ADD_VOTER, .id = id}}};
    if (id != 0 && raft_propose_conf(pd->group->raft, &change, &index, &term) == ERR_OK)
        log_event(pd->env->log, LOG_INFO, "event=pd_member_votes member=%llu", (unsigned long long)id);
}

void pd_raft_tick(struct pd *pd)
{
    if (pd->leading_term == 0)
        return;
    for (uint32_t i = 0; i < pd_fsm_member_count(pd->fsm); i++)
        if (pd_fsm_member_at(pd->fsm, i)->learner) {
            promote(pd);
            return;
        }
}
