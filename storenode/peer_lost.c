#include "peer_lost.h"

#include <stdlib.h>

#include <uthash.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/apply_worker.h"
#include "proto/wire.h"
#include "storenode/pd_link.h"
#include "storenode/peer_destroy.h"
#include "storenode/peer_report.h"
#include "storenode/region_split.h"
#include "storenode/region_worker.h"
#include "storenode/store_ranges.h"

enum { ASK_ELECTIONS = 3, ASKS_BEFORE_PD = 5 };

#define ULL(value) ((unsigned long long)(value))

struct lost_peer {
    UT_hash_handle hh;
    region_id id;
    struct region *region; /* owned: as its row has it */
    peer_id peer;
    uint32_t silent_ticks;
    bool removed; /* its rows are being deleted */
};

struct lost_peers {
    struct region_worker *worker; /* borrowed, it owns us */
    struct lost_peer *by_region;
};

struct lost_peers *lost_peers_new(struct region_worker *worker)
{
    struct lost_peers *lost = calloc(1, sizeof *lost);
    CHECK(lost);
    lost->worker = worker;
    return lost;
}

static void forget(struct lost_peers *lost, struct lost_peer *one)
{
    HASH_DEL(lost->by_region, one);
    region_free(one->region);
    free(one);
}

void lost_peers_free(struct lost_peers *lost)
{
    struct lost_peer *one, *following;
    if (!lost)
        return;
    HASH_ITER(hh, lost->by_region, one, following)
    forget(lost, one);
    free(lost);
}

static struct lost_peer *find(const struct lost_peers *lost, region_id region)
{
    struct lost_peer *one;
    HASH_FIND(hh, lost->by_region, &region, sizeof region, one);
    return one;
}

void lost_peers_add(struct lost_peers *lost, const struct region *region, peer_id peer)
{
    struct lost_peer *one = calloc(1, sizeof *one);
    CHECK(one && !find(lost, region->id));
    one->id = region->id;
    one->region = region_copy(region);
    one->peer = peer;
    HASH_ADD(hh, lost->by_region, id, sizeof one->id, one);
}

/* ---- its rows go */

struct forget_task {
    struct apply_task task;
    struct store *store;
    struct actor *owner;
    struct region *region; /* owned: as it was here */
    uint64_t epoch_conf;   /* at which the peer was gone */
    peer_id peer;
};

struct forgotten {
    struct message message;
    region_id region;
};

static void free_plain(struct message *message)
{
    free(message);
}

static void free_task(struct message *message)
{
    struct forget_task *task = (struct forget_task *)message;
    region_free(task->region);
    free(task);
}

/* Not synced: a crash brings the lost peer back, and whatever is made in its place is written later. */
static void delete_rows(struct apply_task *base, struct apply_worker *worker)
{
    struct forget_task *task = (struct forget_task *)base;
    struct engine *engine = task->store->env->engine;
    struct engine_batch *batch = apply_worker_batch(worker);
    struct region *tombstone = region_copy(task->region);
    tombstone->merging = NULL;
    tombstone->epoch_conf = task->epoch_conf;
    peer_destroy_put(engine, batch, task->region);
    enum err code = region_put_tombstone(engine, batch, tombstone, task->peer);
    CHECK(code == ERR_OK); /* it is a region like any other */
    region_free(tombstone);
    store_ranges_remove(task->store->ranges, task->region->id);
}

static void rows_are_deleted(struct apply_task *base, enum err code)
{
    struct forget_task *task = (struct forget_task *)base;
    struct forgotten *forgotten = calloc(1, sizeof *forgotten);
    CHECK(forgotten);
    if (code != ERR_OK)
        store_fail(task->store, code, "deleting the rows of a lost peer");
    *forgotten =
        (struct forgotten){.message = {.kind = WORKER_LOST_FORGOTTEN, .free = free_plain}, .region = task->region->id};
    actor_post_must(task->store->env->executor, task->owner, &forgotten->message);
    message_free(&task->task.message);
}

static void remove_one(struct lost_peers *lost, struct lost_peer *one, uint64_t epoch_conf)
{
    struct store *store = region_worker_store(lost->worker);
    if (one->removed)
        return;
    one->removed = true;
    log_event(store->env->log, LOG_INFO, "event=lost_replica_removed region=%llu peer=%llu conf=%llu", ULL(one->id),
              ULL(one->peer), ULL(epoch_conf));
    struct forget_task *task = calloc(1, sizeof *task);
    CHECK(task);
    *task =
        (struct forget_task){.task = {.message = {.free = free_task}, .apply = delete_rows, .done = rows_are_deleted},
                             .store = store,
                             .owner = region_worker_actor(lost->worker),
                             .region = region_copy(one->region),
                             .epoch_conf = epoch_conf,
                             .peer = one->peer};
    apply_worker_post(store->apply_worker, &task->task);
}

void lost_peers_forgotten(struct lost_peers *lost, const struct message *message)
{
    struct lost_peer *one = find(lost, ((const struct forgotten *)message)->region);
    CHECK(one && one->removed);
    atomic_fetch_sub(&region_worker_store(lost->worker)->damage_counts.lost, 1);
    forget(lost, one);
}

/* ---- is it a member? */

static bool is_member(const struct lost_peer *one)
{
    return region_peer_by_id(one->region, one->peer) != NULL;
}

/* As peer_destroy_judge. */
bool lost_peers_message(struct lost_peers *lost, const struct wire_raft_message *wire)
{
    struct lost_peer *one = find(lost, wire->region_id);
    if (!one)
        return false;
    if (BUG(lost_peer_comes_back))
        remove_one(lost, one, one->region->epoch_conf);
    bool is_newer = wire->epoch_conf >= one->region->epoch_conf + is_member(one);
    if (is_newer && (wire->to == one->peer) == (wire->kind == PEER_GONE))
        remove_one(lost, one, wire->epoch_conf);
    return true;
}

void lost_peers_seen(struct lost_peers *lost, const struct region *region)
{
    struct lost_peer *one = find(lost, region->id);
    if (one && region->epoch_conf >= one->region->epoch_conf + is_member(one) && !region_peer_by_id(region, one->peer))
        remove_one(lost, one, region->epoch_conf);
}

void lost_peers_unknown(struct lost_peers *lost, region_id region)
{
    const struct lost_peer *one = find(lost, region);
    if (one && !one->removed)
        peer_destroy_ask_everybody(lost->worker, one->region, one->peer);
}

static void ask(struct lost_peers *lost, const struct lost_peer *one)
{
    for (uint32_t i = 0; i < one->region->peer_count; i++) {
        const struct region_peer *other = &one->region->peers[i];
        struct wire_raft_message wire = {.region_id = one->id,
                                         .kind = PEER_ASK,
                                         .from = one->peer,
                                         .to = other->id,
                                         .epoch_conf = one->region->epoch_conf,
                                         .epoch_version = one->region->epoch_version};
        if (other->id != one->peer)
            region_worker_send_wire(lost->worker, other->store_id, &wire);
    }
}

void lost_peers_report(const struct lost_peers *lost, struct peer_report *report)
{
    for (const struct lost_peer *one = lost->by_region; one; one = one->hh.next) {
        struct wire_peer_report *row = peer_report_add(report, one->region);
        row->peer_id = one->peer;
        row->damaged = true;
    }
}

void lost_peers_tick(struct lost_peers *lost, uint32_t ticks)
{
    struct store *store = region_worker_store(lost->worker);
    uint32_t interval = ASK_ELECTIONS * store->config->election_ticks;
    struct lost_peer *one, *following;
    HASH_ITER(hh, lost->by_region, one, following)
    {
        uint32_t times = one->silent_ticks / interval;
        one->silent_ticks += ticks;
        if (one->removed || one->silent_ticks / interval == times)
            continue;
        ask(lost, one);
        if ((times + 1) % ASKS_BEFORE_PD == 0)
            pd_link_ask_region(store->pd_link, one->id);
    }
}
