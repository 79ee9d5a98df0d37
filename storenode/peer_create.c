#include "peer_create.h"

#include <stdlib.h>

#include <uthash.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/apply_worker.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "group/group_log.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/region_split.h"
#include "storenode/store_keys.h"
#include "storenode/store_ranges.h"

enum { ABSENT_COUNT_MAX = 65536, ABSENT_TICKS = 8, ABSENT_REPEAT_TICKS = 4, ABSENT_FORGOTTEN_TICKS = 50 };

/* ---- regions that others think are here */

struct absent {
    UT_hash_handle hh;
    region_id region;
    uint64_t since_tick, heard_tick, told_tick;
};

struct absent_peers {
    struct absent *by_region;
};

struct absent_peers *absent_peers_new(void)
{
    struct absent_peers *absent = calloc(1, sizeof *absent);
    CHECK(absent);
    return absent;
}

static void forget(struct absent_peers *absent, struct absent *one)
{
    HASH_DEL(absent->by_region, one);
    free(one);
}

void absent_peers_free(struct absent_peers *absent)
{
    struct absent *one, *following;
    if (!absent)
        return;
    HASH_ITER (hh, absent->by_region, one, following)
        forget(absent, one);
    free(absent);
}

bool absent_peers_heard(struct absent_peers *absent, region_id region, uint64_t tick)
{
    struct absent *one;
    HASH_FIND(hh, absent->by_region, &region, sizeof region, one);
    if (!one) {
        if (HASH_COUNT(absent->by_region) >= ABSENT_COUNT_MAX)
            return false; /* some of those are served first */
        one = calloc(1, sizeof *one);
        CHECK(one);
        one->region = region;
        one->since_tick = tick;
        HASH_ADD(hh, absent->by_region, region, sizeof one->region, one);
    }
    one->heard_tick = tick;
    if (tick < one->since_tick + ABSENT_TICKS || (one->told_tick > 0 && tick < one->told_tick + ABSENT_REPEAT_TICKS))
        return false;
    one->told_tick = tick;
    return true;
}

void absent_peers_remove(struct absent_peers *absent, region_id region)
{
    struct absent *one;
    HASH_FIND(hh, absent->by_region, &region, sizeof region, one);
    if (one)
        forget(absent, one);
}

void absent_peers_sweep(struct absent_peers *absent, uint64_t tick)
{
    struct absent *one, *following;
    HASH_ITER (hh, absent->by_region, one, following) {
        if (tick > one->heard_tick + ABSENT_FORGOTTEN_TICKS)
            forget(absent, one);
    }
}

/* ---- an empty peer, made by the apply worker */

struct create_task {
    struct apply_task task;
    struct store *store;
    struct actor *owner;
    struct peer_created *created; /* owned */
    struct raft_conf conf;
};

static void free_created(struct message *message)
{
    struct peer_created *created = (struct peer_created *)message;
    if (created->chunk)
        message_free(&created->chunk->message);
    region_free(created->region);
    free(created);
}

static void free_task(struct message *message)
{
    struct create_task *task = (struct create_task *)message;
    if (task->created)
        message_free(&task->created->message);
    free(task);
}

/* The peer that was here last was gone at some epoch_conf. A leader that is behind that may still mean that one, which has
 * voted, perhaps; ids are never given twice, so at that epoch or later it means another. */
static enum err check_not_removed(struct engine *engine, region_id region, uint64_t epoch_conf)
{
    struct group_key key = group_key(region, STORE_REGION_STATE);
    struct wire_region_state state;
    struct arena arena;
    struct buf value;
    arena_init(&arena);
    buf_init(&value, 64 * 1024);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, NULL);
    if (code == ERR_OK)
        code = region_row_decode(buf_bytes(&value), &arena, &state);
    if (code == ERR_OK)
        code = state.tombstone && state.region->epoch_conf <= epoch_conf
                   ? ERR_OK
                   : ERR_REGION_NOT_FOUND;
    else if (code == ERR_NOT_FOUND)
        code = ERR_OK;
    buf_fini(&value);
    arena_fini(&arena);
    return code;
}

static enum err put_rows(struct engine *engine, struct engine_batch *batch, const struct create_task *task)
{
    const struct region *region = task->created->region;
    struct raft_hard_state hard = {0};
    enum err code = region_put_state(engine, batch, region, task->created->peer);
    if (code != ERR_OK)
        return code;
    group_log_put_hard(engine, batch, region->id, &hard);
    group_log_put_truncated(engine, batch, region->id, (struct raft_position){0});
    group_put_conf(engine, batch, region->id, &task->conf);
    region_fsm_put_applied(engine, batch, region->id, 0, 0, NULL);
    return ERR_OK;
}

static void apply(struct apply_task *base, struct apply_worker *worker)
{
    struct create_task *task = (struct create_task *)base;
    struct peer_created *created = task->created;
    struct store *store = task->store;
    const struct region *region = created->region;
    region_id other = store_ranges_find(store->ranges, region->start_key, region->end_key, region->id);
    if (store_ranges_has(store->ranges, region->id))
        return; /* it was split off meanwhile */
    if (other != 0 && !BUG(create_over_another)) {
        created->code = ERR_BUSY;
        created->overlaps = other;
        log_event(store->env->log, LOG_INFO, "event=peer_not_created region=%llu peer=%llu overlaps=%llu",
                  (unsigned long long)region->id, (unsigned long long)created->peer, (unsigned long long)other);
        return;
    }
    created->code = check_not_removed(store->env->engine, region->id, region->epoch_conf);
    if (created->code == ERR_OK)
        created->code = put_rows(store->env->engine, apply_worker_batch(worker), task);
    if (created->code != ERR_OK)
        return;
    created->began = true;
    if (other == 0)
        store_ranges_set(store->ranges, region);
}

static void done(struct apply_task *base, enum err code)
{
    struct create_task *task = (struct create_task *)base;
    if (code != ERR_OK) { /* there may be no other region here that would say so */
        store_fail(task->store, code, "writing the rows of a new peer");
        task->created->code = code;
    }
    actor_post_must(task->store->env->executor, task->owner, &task->created->message);
    task->created = NULL;
    message_free(&task->task.message);
}

enum err peer_create_start(struct store *store, struct actor *owner, struct snapshot_chunk_message *take_chunk)
{
    const struct wire_snapshot_chunk *chunk = &take_chunk->chunk;
    struct raft_snapshot snapshot;
    struct region *region;
    if (!chunk->snapshot || !chunk->region || group_snapshot_from_wire(chunk->snapshot, &snapshot) != ERR_OK ||
        region_from_wire(chunk->region, &region) != ERR_OK)
        return ERR_INVALID;
    const struct region_peer *own = region_peer_by_id(region, chunk->to);
    if (region->id != chunk->region_id || !own || own->store_id != atomic_load(&store->store_id) ||
        raft_conf_check(&snapshot.conf) != ERR_OK || !raft_conf_member(&snapshot.conf, chunk->to)) {
        region_free(region);
        return ERR_INVALID;
    }
    /* It has done none of this yet: the snapshot says so once it is installed. */
    region->merging = NULL;
    region->merged_count = 0;
    struct create_task *task = calloc(1, sizeof *task);
    struct peer_created *created = calloc(1, sizeof *created);
    CHECK(task && created);
    *created = (struct peer_created){.message = {.kind = WORKER_PEER_CREATED, .free = free_created},
                                     .chunk = take_chunk,
                                     .region = region,
                                     .peer = chunk->to};
    *task = (struct create_task){.task = {.message = {.free = free_task}, .apply = apply, .done = done},
                                 .store = store,
                                 .owner = owner,
                                 .created = created,
                                 .conf = snapshot.conf};
    apply_worker_post(store->apply_worker, &task->task);
    return ERR_OK;
}
