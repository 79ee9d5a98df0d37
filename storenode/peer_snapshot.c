#include "peer_snapshot.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "group/group_keys.h"
#include "rpc/frame_kind.h"
#include "storenode/peer.h"
#include "storenode/region_split.h"
#include "storenode/region_worker.h"
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

void peer_snapshot_wanted(struct peer *peer, const struct raft_message *message)
{
    struct store *store = region_worker_store(peer->worker);
    const struct region_peer *to = region_peer_by_id(peer->region, message->to);
    if (!to || peer_snapshot_installs(&peer->snapshot) || !may_send(store)) {
        raft_report_snapshot(peer->group->raft, message->to, false); /* the core asks again */
        return;
    }
    if (peer->snapshot.sending++ == 0)
        peer->snapshot.floor = message->snapshot->index;
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
    task->cut->term = message->term;
    peer->tasks_out++;
    apply_worker_post(store->apply_worker, &task->task);
}

static void sending_ended(struct peer *peer, peer_id to, bool ok)
{
    CHECK(peer->snapshot.sending > 0);
    peer->snapshot.sending--;
    atomic_fetch_sub(&region_worker_store(peer->worker)->snapshots_out, 1);
    if (ok || peer->snapshot.failed_count == REGION_PEERS_MAX)
        raft_report_snapshot(peer->group->raft, to, ok);
    else
        peer->snapshot.failed[peer->snapshot.failed_count++] = to;
    region_worker_touch(peer->worker, peer);
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
    if (task->code != ERR_OK)
        store_fail(store, task->code, "reading a region for a snapshot");
    if (task->code != ERR_OK || !raft_is_leader(peer->group->raft))
        sending_ended(peer, task->cut->to, false);
    else {
        snapshot_sender_post(store->snapshot_sender, region_worker_actor(peer->worker), task->cut);
        task->cut = NULL;
    }
    message_free(take_message);
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
    uint32_t next;         /* sequence that is expected */
    struct region *region; /* owned */
    struct raft_snapshot snapshot;
    uint64_t started_us, heard_us, size;
    struct snapshot_install install; /* from ACCEPTED on */
    bool has_install;
};

static void in_free(struct snapshot_in *in)
{
    if (!in)
        return;
    if (in->has_install)
        snapshot_install_fini(&in->install);
    region_free(in->region);
    free(in);
}

/* The place among those that come is free again. */
static void in_end(struct peer *peer)
{
    in_free(peer->snapshot.in);
    peer->snapshot.in = NULL;
    peer->snapshot.state = PEER_SNAPSHOT_NONE;
    atomic_fetch_sub(&region_worker_store(peer->worker)->snapshots_in, 1);
}

static void in_drop(struct peer *peer)
{
    snapshot_stage_drop(region_worker_store(peer->worker)->env->engine, region_worker_log_task(peer->worker)->batch,
                        peer->region_id);
    in_end(peer);
}

static struct frame *ack_frame(const struct wire_snapshot_chunk *chunk, uint32_t next, enum err code)
{
    struct wire_snapshot_ack ack = {
        .region_id = chunk->region_id, .id = chunk->id, .next = next, .code = (uint16_t)code};
    struct frame *frame = wire_frame_snapshot_ack(FRAME_SNAPSHOT_ACK, &ack);
    CHECK(frame);
    return frame;
}

/* After the chunk is written. */
static void acknowledge(struct peer *peer, const struct snapshot_chunk_message *message, uint32_t next)
{
    log_task_add_send(region_worker_log_task(peer->worker), message->conn, ack_frame(&message->chunk, next, ERR_OK));
}

void snapshot_refuse(struct store *store, const struct snapshot_chunk_message *message, enum err code)
{
    atomic_fetch_add(&store->snapshot_counts.refused, 1);
    (void)transport_send(store->env->transport, message->conn, ack_frame(&message->chunk, 0, code));
}

static void refuse(struct peer *peer, const struct snapshot_chunk_message *message, enum err code)
{
    snapshot_refuse(region_worker_store(peer->worker), message, code);
}

static bool is_older(const struct region *region, const struct region *than)
{
    return region->epoch_conf < than->epoch_conf || region->epoch_version < than->epoch_version;
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
    else if (chunk->term < raft_term_now(raft) || snapshot.index <= raft_commit_index(raft) ||
             is_older(region, peer->region))
        code = ERR_EPOCH_NOT_MATCH; /* of a leader that was, or we have come further meanwhile */
    else if (disk_guard_is_low(&store->disk_guard))
        code = ERR_DISK_FULL;
    else if (peer->snapshot.state == PEER_SNAPSHOT_NONE &&
             atomic_fetch_add(&store->snapshots_in, 1) >= store->config->snapshots_max) {
        atomic_fetch_sub(&store->snapshots_in, 1);
        code = ERR_BUSY;
    }
    if (code != ERR_OK) {
        region_free(region);
        return code;
    }
    in_free(peer->snapshot.in); /* an older one that did not end */
    struct snapshot_in *in = calloc(1, sizeof *in);
    CHECK(in);
    *in = (struct snapshot_in){.id = chunk->id,
                               .from = chunk->from,
                               .term = chunk->term,
                               .region = region,
                               .snapshot = snapshot,
                               .started_us = region_worker_now_us(peer->worker)};
    peer->snapshot.in = in;
    peer->snapshot.state = PEER_SNAPSHOT_COMING;
    snapshot_stage_drop(store->env->engine, region_worker_log_task(peer->worker)->batch, peer->region_id);
    return ERR_OK;
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
    enum err code = raft_step(raft, &message);
    if (code == ERR_OK && before == 0 && raft_pending_snapshot(raft) == in->snapshot.index) {
        struct snapshot_marker marker = {.id = in->id,
                                         .position = {.index = in->snapshot.index, .term = in->snapshot.term},
                                         .chunk_count = in->next};
        snapshot_install_init(&in->install, region_copy(in->region), &marker);
        in->has_install = true;
        peer->snapshot.state = PEER_SNAPSHOT_ACCEPTED;
        peer_snapshot_forget_committed(peer);
        atomic_fetch_add(&peer->snapshot.generation, 1);
        return;
    }
    log_event(region_worker_store(peer->worker)->env->log, LOG_INFO,
              "event=snapshot_not_wanted region=%llu index=%llu commit=%llu code=%s", ULL(peer->region_id),
              ULL(in->snapshot.index), ULL(raft_commit_index(raft)), err_name(code));
    in_drop(peer);
    peer_snapshot_end_install(peer);
}

void peer_snapshot_chunk(struct peer *peer, const struct snapshot_chunk_message *message)
{
    const struct wire_snapshot_chunk *chunk = &message->chunk;
    struct engine *engine = region_worker_store(peer->worker)->env->engine;
    struct snapshot_in *in = peer->snapshot.in;
    if (chunk->to != peer->id) {
        refuse(peer, message, ERR_REGION_NOT_FOUND);
        return;
    }
    if (peer_snapshot_installs(&peer->snapshot)) {
        if (in->id == chunk->id)
            acknowledge(peer, message,
                        in->next); /* our word was lost; the marker is in the task or written before it */
        else
            refuse(peer, message, ERR_BUSY);
        return;
    }
    if (chunk->sequence == 0 && (!in || in->id != chunk->id)) {
        enum err code = in_begin(peer, message);
        if (code != ERR_OK) {
            refuse(peer, message, code);
            return;
        }
        in = peer->snapshot.in;
    }
    if (!in || in->id != chunk->id || in->from != chunk->from || in->term != chunk->term) {
        refuse(peer, message, ERR_NOT_FOUND); /* we were restarted meanwhile, say */
        return;
    }
    in->heard_us = region_worker_now_us(peer->worker);
    if (chunk->sequence != in->next) { /* lost, or sent again */
        acknowledge(peer, message, in->next);
        return;
    }
    if (snapshot_stage_check_chunk(chunk, in->region) != ERR_OK) {
        refuse(peer, message, ERR_INVALID);
        in_drop(peer);
        return;
    }
    snapshot_stage_put_chunk(engine, region_worker_log_task(peer->worker)->batch, peer->region_id, chunk->sequence,
                             frame_bytes(message->frame));
    in->size += message->frame->size;
    in->next++;
    acknowledge(peer, message, in->next);
    if (!chunk->last)
        return;
    peer_snapshot_begin_install(peer);
    peer->snapshot.state = PEER_SNAPSHOT_WHOLE;
    peer_snapshot_go_on(peer);
}

/* ---- follower: installing */

void peer_snapshot_accepted(struct peer *peer, const struct raft_snapshot *snapshot, struct log_task *task)
{
    const struct snapshot_in *in = peer->snapshot.in;
    CHECK(peer->snapshot.state == PEER_SNAPSHOT_ACCEPTED && in->snapshot.index == snapshot->index);
    snapshot_stage_put_marker(region_worker_store(peer->worker)->env->engine, task->batch, peer->region_id,
                              &in->install.marker);
    enum err code = region_put_state(region_worker_store(peer->worker)->env->engine, task->batch, in->region, peer->id);
    CHECK(code == ERR_OK); /* it came in a frame of that form */
}

void peer_snapshot_logged(struct peer *peer)
{
    CHECK(peer->snapshot.state == PEER_SNAPSHOT_ACCEPTED);
    peer->snapshot.state = PEER_SNAPSHOT_LOGGED;
    peer_snapshot_go_on(peer);
}

/* Off the region worker; a batch at a time, so that reads go on in between. */
struct install_job {
    struct read_job job;
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

static void run_install(struct read_job *base)
{
    struct install_job *job = (struct install_job *)base;
    job->code = snapshot_install_step(job->install, job->store->env->engine,
                                      CHUNKS_PER_BATCH * job->store->config->snapshot_chunk_size, &job->error);
    if (job->code == ERR_OK && !job->install->done) {
        read_worker_post_job(job->store->readers[0], &job->job);
        return;
    }
    job->job.message.kind = WORKER_SNAPSHOT_INSTALLED;
    actor_post_must(job->store->env->executor, job->owner, &job->job.message);
}

static void start_install(struct peer *peer)
{
    struct store *store = region_worker_store(peer->worker);
    struct install_job *job = calloc(1, sizeof *job);
    CHECK(job);
    *job = (struct install_job){.job = {.message = {.free = free_install}, .run = run_install},
                                .store = store,
                                .owner = region_worker_actor(peer->worker),
                                .install = &peer->snapshot.in->install,
                                .region = peer->region_id};
    peer->snapshot.state = PEER_SNAPSHOT_RUNNING;
    read_worker_post_job(store->readers[0], &job->job);
}

void peer_snapshot_go_on(struct peer *peer)
{
    if (peer->tasks_out > 0)
        return;
    if (peer->snapshot.state == PEER_SNAPSHOT_WHOLE)
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
        log_event(store->env->log, LOG_INFO,
                  "event=snapshot_installed region=%llu index=%llu rows=%llu size=%llu chunks=%u took_ms=%llu",
                  ULL(peer->region_id), ULL(in->snapshot.index), ULL(in->install.row_count), ULL(in->install.size),
                  in->next, ULL((region_worker_now_us(peer->worker) - in->started_us) / 1000));
        atomic_fetch_add(&store->snapshot_counts.installed, 1);
        atomic_fetch_add(&peer->snapshot.generation, 1);
        region_fsm_free(peer->fsm);
        peer->fsm = region_fsm_new(store->env, store->ranges, in->region, peer->id, in->snapshot.index, in->snapshot.term,
                                   store->config->tokens_save_interval);
        region_free(peer->region);
        peer->region = region_copy(in->region);
        peer_split_forget(peer);
        store_ranges_post(store->ranges, store->apply_worker, peer->region);
        in_end(peer);
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
    for (; peer->snapshot.failed_count > 0; peer->snapshot.failed_count--)
        raft_report_snapshot(peer->group->raft, peer->snapshot.failed[peer->snapshot.failed_count - 1], false);
    peer_snapshot_go_on(peer);
}

void peer_snapshot_fini(struct peer *peer)
{
    in_free(peer->snapshot.in);
}
