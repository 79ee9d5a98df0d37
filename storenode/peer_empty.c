#include "storenode/peer_empty.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/apply_worker.h"
#include "group/group_keys.h"
#include "storenode/peer_destroy.h"
#include "storenode/region_split.h"
#include "storenode/store_keys.h"
#include "storenode/store_parts.h"
#include "storenode/store_ranges.h"

#define ULL(value) ((unsigned long long)(value))

struct empty_task {
    struct apply_task task; /* first */
    struct store *store;
    struct actor *owner;
    struct peer_empty *made; /* owned */
    peer_id peer;
    bool began;
};

static void free_made(struct message *message)
{
    region_free(((struct peer_empty *)message)->region);
    free(message);
}

static void free_task(struct message *message)
{
    struct empty_task *task = (struct empty_task *)message;
    if (task->made)
        message_free(&task->made->message);
    free(task);
}

/* A peer of it was or is here: this is a late word. */
static bool is_known(struct engine *engine, region_id region)
{
    struct group_key key = group_key(region, STORE_REGION_STATE);
    struct buf value;
    buf_init(&value, 64 * 1024);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, NULL);
    buf_fini(&value);
    return code != ERR_NOT_FOUND;
}

static void apply(struct apply_task *base, struct apply_worker *worker)
{
    struct empty_task *task = (struct empty_task *)base;
    struct store *store = task->store;
    struct engine *engine = store->env->engine;
    const struct region *region = task->made->region;
    if (store_ranges_has(store->ranges, region->id) || (is_known(engine, region->id) && !BUG(empty_region_again)))
        return;
    region_id other = store_ranges_find(store->ranges, region->start_key, region->end_key, region->id);
    if (other != 0) {
        log_event(store->env->log, LOG_WARN, "event=empty_region_refused region=%llu overlaps=%llu", ULL(region->id),
                  ULL(other));
        return;
    }
    peer_destroy_put(engine, apply_worker_batch(worker), region); /* nobody's rows may be left there */
    if (region_put_new(engine, apply_worker_batch(worker), region, task->peer) != ERR_OK)
        return; /* more than one peer: of no pd of ours */
    apply_worker_sync(worker);
    store_ranges_set(store->ranges, region);
    task->began = true;
}

static void done(struct apply_task *base, enum err code)
{
    struct empty_task *task = (struct empty_task *)base;
    if (code != ERR_OK)
        store_fail(task->store, code, "writing the rows of an empty region");
    if (code == ERR_OK && task->began) {
        log_event(task->store->env->log, LOG_WARN, "event=empty_region_created region=%llu peer=%llu",
                  ULL(task->made->region->id), ULL(task->peer));
        actor_post_must(task->store->env->executor, task->owner, &task->made->message);
        task->made = NULL;
    }
    message_free(&task->task.message);
}

void peer_empty_create(struct store *store, struct actor *owner, const struct wire_region_step *step)
{
    struct wire_peer peer = {
        .id = step->peer_id, .store_id = atomic_load(&store->store_id), .role = WIRE_PEER_ROLE_VOTER};
    const struct wire_region wire = {.id = step->region_id,
                                     .start_key = step->key,
                                     .end_key = step->end_key,
                                     .epoch_conf = step->epoch_conf,
                                     .epoch_version = step->epoch_version,
                                     .peers = &peer,
                                     .peers_count = 1};
    struct region *region;
    if (region_from_wire(&wire, &region) != ERR_OK)
        return;
    struct empty_task *task = calloc(1, sizeof *task);
    struct peer_empty *made = calloc(1, sizeof *made);
    CHECK(task && made);
    *made = (struct peer_empty){.message = {.kind = WORKER_EMPTY, .free = free_made}, .region = region};
    *task = (struct empty_task){.task = {.message = {.free = free_task}, .apply = apply, .done = done},
                                .store = store,
                                .owner = owner,
                                .made = made,
                                .peer = step->peer_id};
    apply_worker_post(store->apply_worker, &task->task);
}
