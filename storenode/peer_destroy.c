#include "peer_destroy.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/apply_worker.h"
#include "group/group_keys.h"
#include "storenode/pd_link.h"
#include "storenode/peer.h"
#include "storenode/region_split.h"
#include "storenode/region_worker.h"
#include "storenode/store_keys.h"
#include "storenode/store_ranges.h"

enum { ASK_ELECTIONS = 3, ASKS_BEFORE_PD = 5 };

#define ULL(value) ((unsigned long long)(value))

/* ---- rows */

/* Every key begins with its mode, which is below this. */
static struct bytes end_of(const struct region *region)
{
    return region->end_key.size > 0 ? region->end_key : bytes_of("\xff", 1);
}

static void delete_raft_rows(struct engine *engine, struct engine_batch *batch, region_id region, uint8_t from,
                             uint8_t to)
{
    struct group_key lower = group_key(region, from), upper = group_key(region, to);
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&lower), group_key_bytes(&upper));
}

void peer_destroy_put(struct engine *engine, struct engine_batch *batch, const struct region *region)
{
    for (int cf = ENGINE_DEFAULT; cf < ENGINE_RAFT && !BUG(destroy_keeps_rows); cf++)
        engine_batch_delete_range(engine, batch, (enum engine_cf)cf, region->start_key, end_of(region));
    delete_raft_rows(engine, batch, region->id, 0, STORE_REGION_STATE);
    delete_raft_rows(engine, batch, region->id, STORE_REGION_STATE + 1, UINT8_MAX);
    snapshot_stage_drop(engine, batch, region->id);
}

static struct region *tombstone_of(const struct peer *peer)
{
    struct region *region = region_copy(peer->region);
    region->merging =
        NULL; /* a tombstone that is prepared says of the region that it was taken in, not of a peer that it left */
    if (region->epoch_conf < peer->destroy.epoch_conf)
        region->epoch_conf = peer->destroy.epoch_conf;
    return region;
}

/* Through the log's batch: what the log worker has of us is before it. */
static void post_batch(struct peer *peer)
{
    struct engine *engine = region_worker_store(peer->worker)->env->engine;
    struct log_task *task = region_worker_log_task(peer->worker);
    struct region *region = tombstone_of(peer);
    peer_destroy_put(engine, task->batch, peer->region);
    enum err code = region_put_tombstone(engine, task->batch, region, peer->id);
    CHECK(code == ERR_OK); /* it is a region like any other */
    task->sync = true;
    log_task_add_append(task, peer->region_id, (struct raft_token){0})->host_only = true;
    region_free(region);
    peer->destroy.posted = true;
}

/* ---- steps */

void peer_destroy_begin(struct peer *peer, uint64_t epoch_conf)
{
    struct peer_destroy *destroy = &peer->destroy;
    if (destroy->epoch_conf < epoch_conf)
        destroy->epoch_conf = epoch_conf;
    if (destroy->begun)
        return;
    region_worker_touch(peer->worker, peer); /* it is awake from here on, to the end */
    destroy->begun = true;
    log_event(region_worker_store(peer->worker)->env->log, LOG_INFO,
              "event=peer_removed region=%llu peer=%llu conf=%llu", ULL(peer->region_id), ULL(peer->id),
              ULL(epoch_conf));
    peer_end(peer);
    peer_snapshot_cancel(peer);
    atomic_fetch_add(&peer->snapshot.generation, 1);
}

/* What it knows to be committed may be a split, whose child counts on this store. */
static bool has_applied_all(const struct peer *peer)
{
    const struct raft *raft = peer->group->raft;
    return !peer_is_member(peer) || peer->snapshot.damaged || raft_applied_index(raft) >= raft_commit_index(raft);
}

static bool is_quiet(const struct peer *peer)
{
    return has_applied_all(peer) && peer->tasks_out == 0 && peer->group->appends_under_way == 0 &&
           peer->snapshot.sending == 0 && peer->snapshot.state == PEER_SNAPSHOT_NONE &&
           !raft_has_ready(peer->group->raft);
}

void peer_destroy_go_on(struct peer *peer)
{
    if (peer->destroy.begun && !peer->destroy.posted && is_quiet(peer))
        post_batch(peer);
}

/* ---- everybody forgets it */

struct forget_task {
    union {
        struct message message;
        struct apply_task apply;
        struct read_job read;
    } as; /* the first */
    struct store *store;
    struct actor *owner;
    region_id region;
};

static void free_forget(struct message *message)
{
    free(message);
}

static void come_back(struct forget_task *task)
{
    task->as.message.kind = WORKER_PEER_FORGOTTEN;
    actor_post_must(task->store->env->executor, task->owner, &task->as.message);
}

static void forget_range(struct apply_task *base, struct apply_worker *worker)
{
    (void)worker;
    struct forget_task *task = (struct forget_task *)base;
    store_ranges_remove(task->store->ranges, task->region);
}

static void range_is_forgotten(struct apply_task *base, enum err code)
{
    (void)code; /* it wrote nothing */
    come_back((struct forget_task *)base);
}

/* It comes behind all reads of this region that were posted there. */
static void reads_are_through(struct read_job *base)
{
    come_back((struct forget_task *)base);
}

static struct forget_task *forget_task_new(const struct peer *peer)
{
    struct forget_task *task = calloc(1, sizeof *task);
    CHECK(task);
    task->as.message.free = free_forget;
    task->store = region_worker_store(peer->worker);
    task->owner = region_worker_actor(peer->worker);
    task->region = peer->region_id;
    return task;
}

void peer_destroy_logged(struct peer *peer)
{
    struct store *store = region_worker_store(peer->worker);
    struct forget_task *task = forget_task_new(peer);
    task->as.apply.apply = forget_range;
    task->as.apply.done = range_is_forgotten;
    peer->destroy.waits = (uint8_t)(1 + store->reader_count);
    apply_worker_post(store->apply_worker, &task->as.apply);
    for (uint32_t i = 0; i < store->reader_count; i++) {
        task = forget_task_new(peer);
        task->as.read.run = reads_are_through;
        read_worker_post_job(store->readers[i], &task->as.read);
    }
}

region_id peer_destroy_region(const struct message *message)
{
    return ((const struct forget_task *)message)->region;
}

void peer_destroy_forgotten(struct peer *peer)
{
    CHECK(peer->destroy.waits > 0);
    if (--peer->destroy.waits > 0)
        return;
    peer->destroy.over = true;
    if (peer->snapshot.damaged)
        atomic_fetch_sub(&region_worker_store(peer->worker)->damage_counts.damaged, 1);
    log_event(region_worker_store(peer->worker)->env->log, LOG_INFO, "event=peer_destroyed region=%llu peer=%llu",
              ULL(peer->region_id), ULL(peer->id));
    region_worker_touch(peer->worker, peer); /* freed at the end of this round */
}

/* ---- who is gone */

bool peer_is_member(const struct peer *peer)
{
    return region_peer_by_id(peer->region, peer->id) != NULL;
}

static void say(struct peer *peer, uint8_t kind, peer_id to, store_id store)
{
    struct wire_raft_message wire = {.region_id = peer->region_id,
                                     .kind = kind,
                                     .from = peer->id,
                                     .to = to,
                                     .epoch_conf = peer->region->epoch_conf,
                                     .epoch_version = peer->region->epoch_version};
    region_worker_send_wire(peer->worker, store, &wire);
}

/* Who says this is no member of what we have applied, which is newer than what it knows. */
static bool comes_from_who_is_gone(const struct peer *peer, const struct wire_raft_message *wire)
{
    return wire->epoch_conf < peer->region->epoch_conf + (wire->kind == PEER_ASK) &&
           !region_peer_by_id(peer->region, wire->from);
}

static void tell_who_is_gone(struct peer *peer, const struct wire_raft_message *wire, store_id store)
{
    if (!BUG(gone_is_not_said))
        say(peer, PEER_GONE, wire->from, store);
}

bool peer_destroy_judge(struct peer *peer, const struct wire_raft_message *wire, store_id from_store)
{
    const struct region *region = peer->region;
    if (peer->destroy.begun)
        return true;
    if (wire->kind == PEER_MERGED) {
        if (wire->to == peer->id)
            peer_merge_heard_end(peer, (struct raft_position){.index = wire->index, .term = wire->log_term},
                                 wire->merging);
        return true;
    }
    if (wire->to != peer->id || wire->kind == PEER_GONE) {
        if (wire->epoch_conf >= region->epoch_conf + peer_is_member(peer) &&
            (wire->to == peer->id) == (wire->kind == PEER_GONE))
            peer_destroy_begin(peer, wire->epoch_conf);
        else if (wire->to != 0 && wire->kind != PEER_GONE && comes_from_who_is_gone(peer, wire))
            tell_who_is_gone(peer, wire, from_store); /* it knows a peer that was on this store before us */
        return true;
    }
    if (wire->from == raft_leader(peer->group->raft))
        peer->destroy.silent_ticks = 0;
    peer_note_sender(peer, wire->from, from_store);
    if (!comes_from_who_is_gone(peer, wire))
        return wire->kind == PEER_ASK;
    tell_who_is_gone(peer, wire, from_store);
    return true;
}

void peer_destroy_seen(struct peer *peer, const struct region *region)
{
    if (region->epoch_conf >= peer->region->epoch_conf + peer_is_member(peer) && !region_peer_by_id(region, peer->id))
        peer_destroy_begin(peer, region->epoch_conf);
}

void peer_destroy_ask(struct peer *peer)
{
    for (uint32_t i = 0; i < peer->region->peer_count && !peer->destroy.begun; i++)
        if (peer->region->peers[i].id != peer->id)
            say(peer, PEER_ASK, peer->region->peers[i].id, peer->region->peers[i].store_id);
}

void peer_destroy_ask_everybody(struct region_worker *worker, const struct region *region, peer_id peer)
{
    struct wire_raft_message wire = {.region_id = region->id,
                                     .kind = PEER_ASK,
                                     .from = peer,
                                     .epoch_conf = BUG(question_tells) ? region->epoch_conf : 0};
    region_worker_send_everybody(worker, &wire);
}

void peer_destroy_unknown(struct peer *peer)
{
    if (!peer->destroy.begun)
        peer_destroy_ask_everybody(peer->worker, peer->region, peer->id);
}

void peer_destroy_tick(struct peer *peer, uint32_t count)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    struct peer_destroy *destroy = &peer->destroy;
    if (raft_is_leader(peer->group->raft)) {
        destroy->silent_ticks = 0;
        return;
    }
    uint32_t interval = ASK_ELECTIONS * config->election_ticks, times = destroy->silent_ticks / interval;
    destroy->silent_ticks += count;
    if (destroy->silent_ticks / interval == times)
        return;
    if (++times % ASKS_BEFORE_PD == 0)
        pd_link_ask_region(region_worker_store(peer->worker)->pd_link, peer->region_id);
    peer_destroy_ask(peer);
}
