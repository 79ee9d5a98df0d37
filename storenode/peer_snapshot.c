#include "peer_snapshot.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/group_keys.h"
#include "rpc/frame_kind.h"
#include "storenode/peer.h"
#include "storenode/region_split.h"
#include "storenode/region_worker.h"
#include "storenode/snapshot_receive.h"
#include "storenode/snapshot_send.h"
#include "storenode/store_keys.h"
#include "storenode/store_ranges.h"

enum { CHUNKS_PER_BATCH = 16 };

#define ULL(value) ((unsigned long long)(value))

/* ---- leader: a cut, made by the apply worker */

struct cut_task {
    struct apply_task task;
    struct env *env;
    struct actor *owner;
    struct region_fsm *fsm;
    struct snapshot_cut *cut; /* owned */
    enum err code;
};

static void free_cut_task(struct message *message)
{
    snapshot_cut_free(((struct cut_task *)message)->cut);
    free(message);
}

static void apply_nothing(struct apply_task *task, struct apply_worker *worker)
{
    (void)task;
    (void)worker;
}

static void cut_done(struct apply_task *base, enum err code)
{
    struct cut_task *task = (struct cut_task *)base;
    task->code = code == ERR_OK ? region_fsm_cut(task->fsm, task->cut) : code;
    task->task.message.kind = WORKER_SNAPSHOT_CUT;
    actor_post_must(task->env->executor, task->owner, &task->task.message);
}

static bool may_send(struct store *store)
{
    if (atomic_fetch_add(&store->snapshots_out, 1) < store->config->snapshots_max)
        return true;
    atomic_fetch_sub(&store->snapshots_out, 1);
    return false;
}

/* Told to the core at the next tick, or it would ask at each heartbeat. */
static void report_later(struct peer *peer, peer_id to)
{
    if (peer->snapshot.failed_count == REGION_PEERS_MAX)
        raft_report_snapshot(peer->group->raft, to, false);
    else
        peer->snapshot.failed[peer->snapshot.failed_count++] = to;
}

/* Twice as long each time: somebody who cannot take ours may be waiting for another region's, which has no place. */
static uint64_t pause_us(const struct peer *peer)
{
    enum { PAUSE_MS = 100, DOUBLINGS_MAX = 6 };
    uint32_t failures = peer->snapshot.failures;
    uint64_t interval_us = region_worker_store(peer->worker)->config->snapshot_interval_min_ms * 1000;
    if (failures == 0)
        return interval_us;
    uint64_t back_off_us = (uint64_t)PAUSE_MS * 1000 << (failures < DOUBLINGS_MAX ? failures : DOUBLINGS_MAX);
    return back_off_us > interval_us ? back_off_us : interval_us;
}

/* One has just ended, or so much is not applied here that the next one would follow at once. */
static bool must_wait(const struct peer *peer)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    raft_index commit = raft_commit_index(peer->group->raft), applied = raft_applied_index(peer->group->raft);
    return (peer->snapshot.ended_us > 0 &&
            region_worker_now_us(peer->worker) < peer->snapshot.ended_us + pause_us(peer)) ||
           (config->snapshot_lag_max > 0 && commit > applied + config->snapshot_lag_max);
}

void peer_snapshot_wanted(struct peer *peer, const struct raft_message *message)
{
    const struct region_peer *to = region_peer_by_id(peer->region, message->to);
    if (!to)
        raft_report_snapshot(peer->group->raft, message->to, false); /* the core asks again */
    else if (!peer_snapshot_start(peer, to, message->snapshot->index, message->term))
        report_later(peer, to->id);
}

bool peer_snapshot_start(struct peer *peer, const struct region_peer *to, raft_index floor, raft_term term)
{
    struct store *store = region_worker_store(peer->worker);
    if (peer_snapshot_installs(&peer->snapshot) || must_wait(peer) || !may_send(store))
        return false;
    if (peer->snapshot.sending++ == 0)
        peer->snapshot.floor = floor;
    peer->snapshot.helps = term == PEER_SNAPSHOT_HELP;
    struct cut_task *task = calloc(1, sizeof *task);
    CHECK(task);
    *task = (struct cut_task){.task = {.message = {.free = free_cut_task}, .apply = apply_nothing, .done = cut_done},
                              .env = store->env,
                              .owner = region_worker_actor(peer->worker),
                              .fsm = peer->fsm,
                              .cut = snapshot_cut_new(store->env->engine)};
    task->cut->region_id = peer->region_id;
    task->cut->from = peer->id;
    task->cut->to = to->id;
    task->cut->to_store = to->store_id;
    task->cut->term = term;
    peer->tasks_out++;
    apply_worker_post(store->apply_worker, &task->task);
    return true;
}

static void sending_ended(struct peer *peer, peer_id to, bool ok)
{
    CHECK(peer->snapshot.sending > 0);
    peer->snapshot.sending--;
    atomic_fetch_sub(&region_worker_store(peer->worker)->snapshots_out, 1);
    peer->snapshot.ended_us = region_worker_now_us(peer->worker);
    peer->snapshot.failures = ok ? 0 : peer->snapshot.failures + 1;
    if (ok)
        raft_report_snapshot(peer->group->raft, to, true);
    else
        report_later(peer, to);
    region_worker_touch(peer->worker, peer);
}

/* Nothing has happened since the region was made, by a split say. Others who take part in that have the same rows, so they
 * may as well come from here, before there is a leader. */
static bool is_newborn(const struct peer *peer)
{
    const struct raft *raft = peer->group->raft;
    return raft_last_index(raft) == GROUP_FIRST_INDEX && raft_commit_index(raft) == GROUP_FIRST_INDEX &&
           raft_applied_index(raft) == GROUP_FIRST_INDEX && !peer->snapshot.damaged;
}

/* Does anybody take rows from us? */
static bool has_say(const struct peer *peer)
{
    return raft_is_leader(peer->group->raft) || is_newborn(peer) || peer->snapshot.helps;
}

void peer_snapshot_absent(struct peer *peer, peer_id absent)
{
    const struct region_peer *to = region_peer_by_id(peer->region, absent);
    if (to && is_newborn(peer)) /* refused: we hear of it again */
        (void)peer_snapshot_start(peer, to, GROUP_FIRST_INDEX, GROUP_FIRST_TERM);
}

region_id peer_snapshot_cut_region(const struct message *message)
{
    return ((const struct cut_task *)message)->cut->region_id;
}

void peer_snapshot_cut_done(struct peer *peer, struct message *take_message)
{
    struct cut_task *task = (struct cut_task *)take_message;
    struct store *store = region_worker_store(peer->worker);
    peer->tasks_out--;
    if (task->code == ERR_CORRUPT)
        peer_heal_damaged(peer, "what a snapshot of the region needs cannot be read");
    else if (task->code != ERR_OK)
        store_fail(store, task->code, "reading a region for a snapshot");
    bool is_stale = !raft_is_leader(peer->group->raft) && task->cut->position.index != GROUP_FIRST_INDEX &&
                    task->cut->term != PEER_SNAPSHOT_HELP;
    if (task->code != ERR_OK || !has_say(peer) || is_stale || peer->merge.ended)
        sending_ended(peer, task->cut->to, false);
    else {
        snapshot_sender_post(store->snapshot_sender, region_worker_actor(peer->worker), task->cut);
        task->cut = NULL;
    }
    message_free(take_message);
    peer_merge_go_on(peer);
    peer_snapshot_go_on(peer);
}

void peer_snapshot_sent(struct peer *peer, const struct snapshot_sent *sent)
{
    sending_ended(peer, sent->to, sent->ok);
}

/* ---- follower: chunks */

struct snapshot_in {
    uint64_t id;
    peer_id from;
    raft_term term;
    struct region *region; /* owned */
    struct raft_snapshot snapshot;
    conn_id conn; /* by which the newest chunk came */
    uint64_t started_us, heard_us, size;
    struct snapshot_staged *staged;  /* owned; WHOLE */
    uint32_t chunk_count;            /* of all; WHOLE and later */
    struct snapshot_install install; /* from ACCEPTED on */
    bool has_install;
    struct region_time time;
};

static void in_free(struct snapshot_in *in)
{
    if (!in)
        return;
    if (in->has_install)
        snapshot_install_fini(&in->install);
    if (in->staged)
        message_free(&in->staged->message);
    region_free(in->region);
    free(in);
}

/* The place among those that come is free again. */
static void in_end(struct peer *peer)
{
    in_free(peer->snapshot.in);
    peer_merge_forget_sources(peer);
    peer->snapshot.in = NULL;
    peer->snapshot.state = PEER_SNAPSHOT_NONE;
    atomic_fetch_sub(&region_worker_store(peer->worker)->snapshots_in, 1);
}

/* COMING or WHOLE: what there is of it goes. */
static void in_discard(struct peer *peer)
{
    struct snapshot_receiver *receiver = region_worker_store(peer->worker)->snapshot_receiver;
    struct snapshot_in *in = peer->snapshot.in;
    if (in->staged)
        snapshot_receiver_post_forget(receiver, in->staged);
    else
        snapshot_receiver_post_drop(receiver, peer->region_id, in->id);
    in->staged = NULL;
}

static void in_drop(struct peer *peer)
{
    in_discard(peer);
    in_end(peer);
}

static void answer(struct peer *peer, const struct snapshot_in *in, uint32_t next, enum err code)
{
    (void)transport_send(region_worker_store(peer->worker)->env->transport, in->conn,
                         snapshot_ack_frame(peer->region_id, in->id, next, code));
}

void snapshot_refuse(struct store *store, const struct snapshot_chunk_message *message, enum err code)
{
    atomic_fetch_add(&store->snapshot_counts.refused, 1);
    (void)transport_send(store->env->transport, message->conn,
                         snapshot_ack_frame(message->chunk.region_id, message->chunk.id, 0, code));
}

static void refuse(struct peer *peer, const struct snapshot_chunk_message *message, enum err code)
{
    snapshot_refuse(region_worker_store(peer->worker), message, code);
}

static bool is_older(const struct region *region, const struct region *than)
{
    return region->epoch_conf < than->epoch_conf || region->epoch_version < than->epoch_version;
}

/* Everything that the snapshot has is committed here, and its leader does not know: our answer to an earlier one was lost.
 * Unless somebody writes, nothing else would ever tell. The core answers with how far we are. */
static void tell_how_far(struct peer *peer, const struct wire_snapshot_chunk *chunk,
                         const struct raft_snapshot *snapshot)
{
    struct raft_message message = {
        .kind = RAFT_SNAPSHOT, .from = chunk->from, .to = peer->id, .term = chunk->term, .snapshot = snapshot};
    peer_wake(peer, WAKE_MESSAGE);
    region_worker_touch(peer->worker, peer);
    (void)raft_step(peer->group->raft, &message);
}

static bool is_outdated(const struct peer *peer, raft_term term)
{
    return term == PEER_SNAPSHOT_HELP ? !peer->snapshot.damaged : term < raft_term_now(peer->group->raft);
}

/* A damaged replica needs rows, not entries: as new as what it had. */
static bool is_of_no_use(const struct peer *peer, const struct raft_snapshot *snapshot)
{
    const struct raft *raft = peer->group->raft;
    return peer->snapshot.damaged ? snapshot->index < raft_applied_index(raft)
                                  : snapshot->index <= raft_commit_index(raft);
}

/* Prepared for a merge, and the snapshot is of no other state: what it holds, its rows here hold. They must stay, from the
 * moment on that the engine says so: the target may take them in as soon. */
static bool waits_for_target(const struct peer *peer, const struct region *region)
{
    return peer->merge.yields || (region_is_merging(peer->region) && region_is_merging(region) &&
                                  peer->region->merging->index == region->merging->index);
}

/* Sequence 0 says what it is. */
static enum err in_begin(struct peer *peer, const struct snapshot_chunk_message *message)
{
    const struct wire_snapshot_chunk *chunk = &message->chunk;
    struct store *store = region_worker_store(peer->worker);
    const struct raft *raft = peer->group->raft;
    struct raft_snapshot snapshot;
    struct region *region;
    if (!chunk->snapshot || !chunk->region || group_snapshot_from_wire(chunk->snapshot, &snapshot) != ERR_OK ||
        region_from_wire(chunk->region, &region) != ERR_OK)
        return ERR_INVALID;
    const struct region_peer *own = region_peer_by_id(region, peer->id);
    const struct region_peer *from = region_peer_by_id(region, chunk->from);
    enum err code = ERR_OK;
    if (region->id != peer->region_id || !own || own->store_id != atomic_load(&store->store_id) || !from ||
        from->store_id != message->from_store)
        code = ERR_INVALID;
    else if (is_outdated(peer, chunk->term) || is_of_no_use(peer, &snapshot) || is_older(region, peer->region))
        code = ERR_EPOCH_NOT_MATCH; /* of a leader that was, or we have come further */
    else if (waits_for_target(peer, region))
        code = ERR_BUSY;
    else if (disk_guard_is_low(&store->disk_guard))
        code = ERR_DISK_FULL;
    else if (peer->snapshot.state == PEER_SNAPSHOT_NONE &&
             atomic_fetch_add(&store->snapshots_in, 1) >= store->config->snapshots_max) {
        atomic_fetch_sub(&store->snapshots_in, 1);
        code = ERR_BUSY;
    }
    if (code == ERR_EPOCH_NOT_MATCH && chunk->term != PEER_SNAPSHOT_HELP && chunk->term >= raft_term_now(raft) &&
        snapshot.index > GROUP_FIRST_INDEX && snapshot.index <= raft_commit_index(raft) &&
        peer->snapshot.state < PEER_SNAPSHOT_WHOLE && !BUG(how_far_is_not_told))
        tell_how_far(peer, chunk, &snapshot);
    if (code != ERR_OK) {
        region_free(region);
        return code;
    }
    if (peer->snapshot.in) /* an older one that did not end */
        in_discard(peer);
    in_free(peer->snapshot.in);
    struct snapshot_in *in = calloc(1, sizeof *in);
    CHECK(in);
    *in = (struct snapshot_in){.id = chunk->id,
                               .from = chunk->from,
                               .term = chunk->term,
                               .region = region,
                               .snapshot = snapshot,
                               .time = {.now_ms = chunk->time_ms, .last_expiry_ms = chunk->last_expiry_ms},
                               .started_us = region_worker_now_us(peer->worker)};
    peer->snapshot.in = in;
    peer->snapshot.state = PEER_SNAPSHOT_COMING;
    return ERR_OK;
}

static void in_accept(struct peer *peer)
{
    struct snapshot_in *in = peer->snapshot.in;
    struct snapshot_marker marker = {.id = in->id,
                                     .position = {.index = in->snapshot.index, .term = in->snapshot.term},
                                     .chunk_first = in->staged->chunk_first,
                                     .chunk_count = in->staged->chunk_count,
                                     .table_count = in->staged->tables.count,
                                     .time = in->time};
    snapshot_install_init(&in->install, region_copy(in->region), &marker, &in->staged->tables);
    in->has_install = true;
    peer->snapshot.state = PEER_SNAPSHOT_ACCEPTED;
    peer_snapshot_forget_committed(peer);
    atomic_fetch_add(&peer->snapshot.generation, 1);
}

static void put_staged(struct peer *peer, struct log_task *task);

/* The rows of a damaged replica are replaced, and its log, vote and term stay (docs/decisions/0014). */
static void rebuild(struct peer *peer)
{
    struct snapshot_in *in = peer->snapshot.in;
    struct store *store = region_worker_store(peer->worker);
    struct log_task *task = region_worker_log_task(peer->worker);
    size_t count = engine_batch_count(store->env->engine, task->batch),
           size = engine_batch_size(store->env->engine, task->batch);
    bool has_children = peer_heal_children(peer, in->snapshot.index, in->region, task);
    enum err code = has_children ? raft_rebase(peer->group->raft, &in->snapshot) : ERR_NOT_READY;
    if (code != ERR_OK) {
        engine_batch_cut(store->env->engine, task->batch, count, size);
        peer_heal_forget_children(peer);
    }
    if (code == ERR_NOT_READY && in->term != PEER_SNAPSHOT_HELP && in->term >= raft_term_now(peer->group->raft))
        return; /* not committed and durable here yet: the next tick */
    if (code != ERR_OK) { /* or of a leader that was: nobody may be left who would send us what is missing up to there */
        log_event(store->env->log, LOG_WARN, "event=rows_not_wanted region=%llu index=%llu code=%s",
                  ULL(peer->region_id), ULL(in->snapshot.index), err_name(code));
        answer(peer, in, in->chunk_count, ERR_OK);
        in_drop(peer);
        return;
    }
    in_accept(peer);
    put_staged(peer, task);
    group_put_conf_at(store->env->engine, task->batch, peer->region_id, &in->snapshot.conf, in->snapshot.index);
    if (BUG(rebuild_forgets_log))
        group_log_delete_head(store->env->engine, task->batch, peer->region_id, UINT64_MAX);
    task->sync = true;
    log_task_add_append(task, peer->region_id, (struct raft_token){0})->host_only = true;
}

/* All is staged, and the apply worker has nothing of us: does the core want it? Then ready.snapshot comes at the end of
 * this round. */
static void in_offer(struct peer *peer)
{
    struct snapshot_in *in = peer->snapshot.in;
    struct raft *raft = peer->group->raft;
    struct raft_message message = {
        .kind = RAFT_SNAPSHOT, .from = in->from, .to = peer->id, .term = in->term, .snapshot = &in->snapshot};
    region_worker_touch(peer->worker, peer); /* it has slept, perhaps: before anything is put in */
    raft_index before = raft_pending_snapshot(raft);
    bool waits = waits_for_target(peer, in->region);
    enum err code = waits ? ERR_BUSY : ERR_OK;
    if (in->term == PEER_SNAPSHOT_HELP)
        (void)raft_learn_commit(raft, (struct raft_position){in->snapshot.index, in->snapshot.term});
    else if (!waits)
        code = raft_step(raft, &message);
    if (code == ERR_OK && before == 0 && raft_pending_snapshot(raft) == in->snapshot.index) {
        in_accept(peer);
        return;
    }
    if (peer->snapshot.damaged && !waits) {
        rebuild(peer);
        return;
    }
    log_event(region_worker_store(peer->worker)->env->log, LOG_INFO,
              "event=snapshot_not_wanted region=%llu index=%llu commit=%llu code=%s", ULL(peer->region_id),
              ULL(in->snapshot.index), ULL(raft_commit_index(raft)), err_name(code));
    answer(peer, in, in->chunk_count, ERR_OK);
    in_drop(peer);
    peer_snapshot_end_install(peer);
}

/* The sender has not heard of it; it does as soon as the marker is durable. */
static void answer_again(struct peer *peer, conn_id conn)
{
    struct snapshot_in *in = peer->snapshot.in;
    in->conn = conn;
    answer(peer, in, peer->snapshot.state >= PEER_SNAPSHOT_LOGGED ? in->chunk_count : in->chunk_count - 1, ERR_OK);
}

/* May it go on to the receiver? */
static enum err judge(struct peer *peer, const struct snapshot_chunk_message *message, bool *ret_begin)
{
    const struct wire_snapshot_chunk *chunk = &message->chunk;
    const struct snapshot_in *in = peer->snapshot.in;
    *ret_begin = false;
    if (chunk->to != peer->id)
        return ERR_REGION_NOT_FOUND;
    if (peer->snapshot.state >= PEER_SNAPSHOT_WHOLE)
        return ERR_BUSY;
    if (chunk->sequence == 0 && (!in || in->id != chunk->id)) {
        *ret_begin = true;
        return in_begin(peer, message);
    }
    if (!in || in->id != chunk->id || in->from != chunk->from || in->term != chunk->term)
        return ERR_NOT_FOUND;                          /* we were restarted meanwhile, say */
    if (is_outdated(peer, in->term)) { /* the core would not take it from who leads no more */
        in_drop(peer);
        return ERR_EPOCH_NOT_MATCH;
    }
    return ERR_OK;
}

void peer_snapshot_chunk(struct peer *peer, struct snapshot_chunk_message *take_message)
{
    bool begin;
    if (peer->snapshot.state >= PEER_SNAPSHOT_WHOLE && take_message->chunk.to == peer->id &&
        peer->snapshot.in->id == take_message->chunk.id) {
        answer_again(peer, take_message->conn);
        message_free(&take_message->message);
        return;
    }
    enum err code = judge(peer, take_message, &begin);
    if (code != ERR_OK) {
        refuse(peer, take_message, code);
        message_free(&take_message->message);
        return;
    }
    peer->snapshot.in->heard_us = region_worker_now_us(peer->worker);
    peer->snapshot.in->conn = take_message->conn;
    snapshot_receiver_post(region_worker_store(peer->worker)->snapshot_receiver, take_message,
                           region_worker_actor(peer->worker), begin);
}

void peer_snapshot_staged(struct peer *peer, struct snapshot_staged *take_staged)
{
    struct store *store = region_worker_store(peer->worker);
    struct snapshot_in *in = peer->snapshot.in;
    if (peer->snapshot.state != PEER_SNAPSHOT_COMING || in->id != take_staged->id) {
        snapshot_receiver_post_forget(store->snapshot_receiver, take_staged);
        return;
    }
    in->size = take_staged->size;
    if (take_staged->code != ERR_OK) { /* it is sent again, from the beginning */
        atomic_fetch_add(&store->snapshot_counts.refused, 1);
        answer(peer, in, 0, take_staged->code);
        message_free(&take_staged->message);
        in_end(peer);
        return;
    }
    in->staged = take_staged;
    in->chunk_count = take_staged->next;
    peer_snapshot_begin_install(peer);
    peer->snapshot.state = PEER_SNAPSHOT_WHOLE;
    peer_snapshot_go_on(peer);
}

/* ---- follower: installing */

/* Every key begins with its mode, which is below this. */
static struct bytes end_of(const struct region *region)
{
    return region->end_key.size > 0 ? region->end_key : bytes_of("\xff", 1);
}

static void delete_between(struct engine *engine, struct engine_batch *batch, struct bytes from, struct bytes to)
{
    if (bytes_compare(from, to) >= 0)
        return;
    for (int cf = ENGINE_DEFAULT; cf < ENGINE_RAFT; cf++)
        engine_batch_delete_range(engine, batch, (enum engine_cf)cf, from, to);
}

static struct bytes smaller(struct bytes a, struct bytes b)
{
    return bytes_compare(a, b) < 0 ? a : b;
}

static struct bytes greater(struct bytes a, struct bytes b)
{
    return bytes_compare(a, b) > 0 ? a : b;
}

/* What was split off without us may never come here by itself. Until the row of `after` is there nobody else has these keys
 * on this store. */
static void delete_what_it_was(struct engine *engine, struct engine_batch *batch, const struct region *before,
                               const struct region *after)
{
    delete_between(engine, batch, before->start_key, smaller(after->start_key, end_of(before)));
    delete_between(engine, batch, greater(end_of(after), before->start_key), end_of(before));
}

void peer_snapshot_accepted(struct peer *peer, const struct raft_snapshot *snapshot, struct log_task *task)
{
    CHECK(peer->snapshot.state == PEER_SNAPSHOT_ACCEPTED && peer->snapshot.in->snapshot.index == snapshot->index);
    put_staged(peer, task);
}

static void put_staged(struct peer *peer, struct log_task *task)
{
    struct snapshot_in *in = peer->snapshot.in;
    struct engine *engine = region_worker_store(peer->worker)->env->engine;
    for (const struct snapshot_chunk_message *chunk = in->staged->chunks; chunk; chunk = chunk->next)
        snapshot_stage_put_chunk(engine, task->batch, peer->region_id, chunk->chunk.sequence,
                                 frame_bytes(chunk->frame));
    snapshot_stage_put_tables(engine, task->batch, peer->region_id, &in->install.tables);
    snapshot_stage_put_marker(engine, task->batch, peer->region_id, &in->install.marker);
    delete_what_it_was(engine, task->batch, peer->region, in->region);
    enum err code = region_put_state(engine, task->batch, in->region, peer->id);
    CHECK(code == ERR_OK); /* it came in a frame of that form */
    log_task_add_send(task, in->conn, snapshot_ack_frame(peer->region_id, in->id, in->chunk_count, ERR_OK));
    message_free(&in->staged->message);
    in->staged = NULL;
    peer_merge_put_sources_end(peer, task);
}

void peer_snapshot_logged(struct peer *peer)
{
    CHECK(peer->snapshot.state == PEER_SNAPSHOT_ACCEPTED);
    peer->snapshot.state = PEER_SNAPSHOT_LOGGED;
    struct store *store = region_worker_store(peer->worker);
    /* It has these keys from now on: nobody else may be made here with them while it is installed. */
    struct store_ranges_change *change = store_ranges_change_new(store->ranges);
    peer_merge_end_sources(peer, peer->snapshot.in->region, change);
    if (!BUG(range_set_late)) {
        store_ranges_change_set(change, peer->snapshot.in->region);
        peer_heal_put_ranges(peer, change);
    }
    store_ranges_change_post(change, store->apply_worker);
    peer_snapshot_go_on(peer);
}

void peer_snapshot_give_up(struct peer *peer)
{
    CHECK(peer->snapshot.state <= PEER_SNAPSHOT_WHOLE); /* else its rows were not whole, and nobody took them in */
    if (peer->snapshot.state != PEER_SNAPSHOT_NONE)
        in_drop(peer);
}

/* Off the region worker; a batch at a time, so that reads go on in between. What makes it count is written by the apply
 * worker, which learns of the new range in the same moment: a neighbour that this region is merged into looks at its rows
 * there, and may take it in right behind. */
struct install_job {
    struct snapshot_job job;
    struct apply_task end;
    struct store *store;
    struct actor *owner;
    struct snapshot_install *install; /* the peer's, which waits for us */
    region_id region;
    enum err code;
    struct error error;
};

static void free_install(struct message *message)
{
    free(message);
}

static struct install_job *job_of_end(void *end)
{
    return (struct install_job *)((char *)end - offsetof(struct install_job, end));
}

static void free_install_end(struct message *message)
{
    free(job_of_end(message));
}

static void post_installed(struct install_job *job)
{
    job->job.message.kind = WORKER_SNAPSHOT_INSTALLED;
    actor_post_must(job->store->env->executor, job->owner, &job->job.message);
}

static void apply_install_end(struct apply_task *task, struct apply_worker *worker)
{
    struct install_job *job = job_of_end(task);
    if (snapshot_install_put_end(job->install, job->store->env->engine, apply_worker_batch(worker)))
        apply_worker_sync(worker);
    store_ranges_set(job->store->ranges, job->install->region);
}

static void install_end_written(struct apply_task *take_task, enum err code)
{
    struct install_job *job = job_of_end(take_task);
    job->code = code;
    if (code == ERR_OK)
        snapshot_install_end(job->install, job->store->env->engine);
    else
        error_set(&job->error, code, "region %llu: the end of a snapshot cannot be written", ULL(job->region));
    post_installed(job);
}

static void run_install(struct snapshot_job *base)
{
    struct install_job *job = (struct install_job *)base;
    job->code = snapshot_install_step(job->install, job->store->env->engine,
                                      CHUNKS_PER_BATCH * job->store->config->snapshot_chunk_size, &job->error);
    if (job->code == ERR_OK && !job->install->whole)
        snapshot_receiver_post_job(job->store->snapshot_receiver, &job->job);
    else if (job->code == ERR_OK)
        apply_worker_post(job->store->apply_worker, &job->end);
    else
        post_installed(job);
}

static void start_install(struct peer *peer)
{
    struct store *store = region_worker_store(peer->worker);
    struct install_job *job = calloc(1, sizeof *job);
    CHECK(job);
    *job = (struct install_job){.job = {.message = {.free = free_install}, .run = run_install},
                                .end = {.message = {.free = free_install_end},
                                        .apply = apply_install_end,
                                        .alone = true,
                                        .done = install_end_written},
                                .store = store,
                                .owner = region_worker_actor(peer->worker),
                                .install = &peer->snapshot.in->install,
                                .region = peer->region_id};
    peer->snapshot.state = PEER_SNAPSHOT_RUNNING;
    snapshot_receiver_post_job(store->snapshot_receiver, &job->job);
}

void peer_snapshot_go_on(struct peer *peer)
{
    if (peer->tasks_out > 0)
        return;
    if (peer->snapshot.state == PEER_SNAPSHOT_WHOLE && peer_merge_sources_are_here(peer, peer->snapshot.in->region))
        in_offer(peer);
    else if (peer->snapshot.state == PEER_SNAPSHOT_LOGGED)
        start_install(peer);
}

region_id peer_snapshot_install_region(const struct message *message)
{
    return ((const struct install_job *)message)->region;
}

void peer_snapshot_installed(struct peer *peer, struct message *take_message)
{
    struct install_job *job = (struct install_job *)take_message;
    struct store *store = region_worker_store(peer->worker);
    struct snapshot_in *in = peer->snapshot.in;
    if (job->code == ERR_DISK_FULL)
        peer->snapshot.state = PEER_SNAPSHOT_LOGGED; /* until the next tick */
    else if (job->code != ERR_OK)
        store_fail(store, job->code, job->error.text);
    else {
        log_event(
            store->env->log, LOG_INFO,
            "event=snapshot_installed region=%llu index=%llu rows=%llu size=%llu chunks=%u tables=%u took_ms=%llu",
            ULL(peer->region_id), ULL(in->snapshot.index), ULL(in->install.row_count), ULL(in->install.size),
            in->chunk_count, in->install.marker.table_count,
            ULL((region_worker_now_us(peer->worker) - in->started_us) / 1000));
        atomic_fetch_add(&store->snapshot_counts.installed, 1);
        atomic_fetch_add(&store->snapshot_counts.installed_size, in->install.size);
        atomic_fetch_add(&peer->snapshot.generation, 1);
        region_fsm_free(peer->fsm);
        peer->fsm = region_fsm_new(store->env, store->ranges, in->region, peer->id, in->snapshot.index,
                                   in->snapshot.term, store->config->tokens_save_interval);
        region_free(peer->region);
        peer->region = region_copy(in->region);
        peer->time = region_fsm_time(peer->fsm);
        region_worker_share(peer->worker, peer->region);
        peer_split_forget(peer);
        peer->merge.told = false;
        peer->merge.ticks = 0;
        in_end(peer);
        peer_heal_done(peer);
        peer_snapshot_end_install(peer);
    }
    message_free(take_message);
    region_worker_touch(peer->worker, peer);
}

void peer_snapshot_tick(struct peer *peer)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    if (peer->snapshot.state == PEER_SNAPSHOT_COMING &&
        region_worker_now_us(peer->worker) > peer->snapshot.in->heard_us + config->snapshot_timeout_ms * 1000)
        in_drop(peer);
    if (peer->snapshot.sending > 0 && !has_say(peer)) /* nobody would take it from us */
        snapshot_sender_post_stop(region_worker_store(peer->worker)->snapshot_sender, peer->region_id);
    for (; peer->snapshot.failed_count > 0; peer->snapshot.failed_count--)
        raft_report_snapshot(peer->group->raft, peer->snapshot.failed[peer->snapshot.failed_count - 1], false);
    peer_snapshot_go_on(peer);
}

void peer_snapshot_cancel(struct peer *peer)
{
    if (peer->snapshot.state != PEER_SNAPSHOT_COMING && peer->snapshot.state != PEER_SNAPSHOT_WHOLE)
        return;
    in_drop(peer);
    peer_snapshot_end_install(peer);
}

void peer_snapshot_fini(struct peer *peer)
{
    in_free(peer->snapshot.in);
}
