#include "storenode/worker_parts.h"

#include <stdlib.h>
#include "base/check.h"
#include "base/log.h"
#include "rpc/links.h"
#include "storenode/pd_link.h"
#include "storenode/region_step.h"
#include "storenode/peer.h"
#include "storenode/peer_create.h"
#include "storenode/peer_empty.h"
#include "storenode/peer_lost.h"
#include "storenode/region_merge.h"
#include "storenode/store_pairs.h"
#include "storenode/store_ranges.h"

enum { EARLY_VOTE_TICKS = 10, YOUNG_TICKS = 4 };

struct peer *worker_find_peer(const struct region_worker *worker, region_id id)
{
    struct peer *peer;
    HASH_FIND(hh, worker->peers, &id, sizeof id, peer);
    return peer;
}

/* Whatever comes back is for these as well. */
struct peer *worker_find_any_peer(const struct region_worker *worker, region_id id)
{
    struct peer *peer = worker_find_peer(worker, id);
    if (!peer)
        HASH_FIND(hh, worker->ending, &id, sizeof id, peer);
    return peer;
}

struct departed *worker_find_departed(const struct region_worker *worker, region_id id)
{
    struct departed *departed;
    HASH_FIND(hh, worker->departed, &id, sizeof id, departed);
    return departed;
}

void worker_keep_early_vote(struct region_worker *worker, const struct wire_raft_message *wire)
{
    if ((wire->kind != RAFT_PRE_VOTE && wire->kind != RAFT_VOTE) || wire->entries_count > 0 || wire->snapshot)
        return;
    struct early_vote *early = &worker->early[worker->early_count++ % EARLY_VOTES_MAX];
    *early = (struct early_vote){.wire = *wire, .tick = worker->tick_count};
    early->wire.entries = NULL;
    early->wire.merging = NULL;
}

static void step_early_votes(struct region_worker *worker, struct peer *peer)
{
    struct arena arena;
    arena_init(&arena);
    for (uint32_t i = 0; i < EARLY_VOTES_MAX; i++) {
        struct early_vote *early = &worker->early[i];
        if (early->wire.region_id != peer->region_id)
            continue;
        if (worker->tick_count - early->tick <= EARLY_VOTE_TICKS)
            peer_step(peer, &early->wire, &arena);
        *early = (struct early_vote){0};
    }
    arena_fini(&arena);
}

void worker_free_ended_peer(struct region_worker *worker, struct peer *peer)
{
    HASH_DEL(worker->ending, peer);
    peer_free(peer);
}

static void free_shared(struct message *message)
{
    free(message);
}

static void share(struct region_worker *worker, store_id store)
{
    if (store == atomic_load(&worker->store->store_id) || !store_pairs_share(worker->pairs, store) ||
        worker->index == 0)
        return;
    struct shared_message *shared = calloc(1, sizeof *shared);
    CHECK(shared);
    *shared = (struct shared_message){.message = {.kind = WORKER_SHARED, .free = free_shared}, .store = store};
    actor_post_must(worker->env->executor, worker->store->workers[0]->actor, &shared->message);
}

void region_worker_share(struct region_worker *worker, const struct region *region)
{
    for (uint32_t i = 0; i < region->peer_count; i++)
        share(worker, region->peers[i].store_id);
}

static enum err add_peer(struct region_worker *worker, const struct region *region, peer_id local_peer,
                         const struct raft_config *config, struct peer **ret_peer, struct error *err)
{
    struct peer *peer;
    enum err code = peer_new(worker, region, local_peer, config, &peer, err);
    if (code != ERR_OK)
        return code;
    HASH_ADD(hh, worker->peers, region_id, sizeof peer->region_id, peer);
    list_push_back(&worker->awake, &peer->awake);
    region_worker_share(worker, region);
    *ret_peer = peer;
    return ERR_OK;
}

enum err region_worker_add_region(struct region_worker *worker, const struct region *region, peer_id local_peer,
                                  bool leads_first, struct error *err)
{
    if (worker_find_peer(worker, region->id))
        return ERR_OK;
    struct peer *peer;
    enum err code = add_peer(worker, region, local_peer, &worker->store->raft_config, &peer, err);
    if (code == ERR_OK)
        peer->leads_first = leads_first || raft_is_lone(peer->group->raft); /* nobody else will */
    return code;
}

void region_worker_add_lost(struct region_worker *worker, const struct region *region, peer_id local_peer)
{
    lost_peers_add(worker->lost, region, local_peer);
}

/* It has never voted, in no earlier life: no vote of its stands behind a lease. */
void worker_start_child(struct region_worker *worker, const struct region *region, bool campaign)
{
    const struct region_peer *local = region_peer_on_store(region, atomic_load(&worker->store->store_id));
    struct error error = {0};
    struct peer *peer;
    if (!local || worker_find_peer(worker, region->id)) {
        store_fail(worker->store, ERR_CORRUPT, "a region was split off that is here already, or not ours");
        return;
    }
    enum err code = add_peer(worker, region, local->id, &worker->store->raft_config_fresh, &peer, &error);
    if (code != ERR_OK) {
        store_fail(worker->store, code, error.text);
        return;
    }
    peer_sleep_note_work(peer);
    peer->leads_first = campaign && !worker->leaving && !worker->disk_hangs;
    peer->split.young_ticks = YOUNG_TICKS;
    if (peer->leads_first)
        (void)raft_campaign_at_once(peer->group->raft);
    step_early_votes(worker, peer);
    region_worker_touch(worker, peer);
}

static void free_child(struct message *message)
{
    region_free(((struct child_message *)message)->region);
    free(message);
}

void region_worker_add_child(struct region_worker *worker, const struct region *region, bool campaign)
{
    struct region_worker *other = worker->store->workers[region->id % worker->store->worker_count];
    if (other == worker) {
        worker_start_child(worker, region, campaign);
        return;
    }
    struct child_message *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct child_message){
        .message = {.kind = WORKER_CHILD, .free = free_child}, .region = region_copy(region), .campaign = campaign};
    actor_post_must(worker->env->executor, other->actor, &message->message);
}

void region_worker_departed(struct region_worker *worker, const struct region *last, const struct region *into)
{
    struct departed *departed = worker_find_departed(worker, last->id);
    if (!departed) {
        departed = calloc(1, sizeof *departed);
        CHECK(departed);
        departed->id = last->id;
        HASH_ADD(hh, worker->departed, id, sizeof departed->id, departed);
    }
    region_free(departed->last);
    region_free(departed->into);
    departed->last = region_copy(last);
    departed->into = into ? region_copy(into) : NULL;
}

void region_worker_end_peer(struct region_worker *worker, struct peer *peer, const struct region *last,
                            const struct region *into)
{
    region_worker_departed(worker, last, into);
    HASH_DEL(worker->peers, peer);
    HASH_ADD(hh, worker->ending, region_id, sizeof peer->region_id, peer);
    list_remove(&peer->awake);
}

/* Its rows go with the next write of the log; a start finds the tombstone and does it again. */
void worker_drop_ended(struct region_worker *worker)
{
    for (struct peer *peer = worker->ending; peer; peer = peer->hh.next) {
        if (peer->merge.dropped || !peer_merge_is_over(peer))
            continue;
        struct log_task *task = region_worker_log_task(worker);
        region_drop_rows(worker->env->engine, task->batch, peer->region_id);
        log_task_add_append(task, peer->region_id, (struct raft_token){0})->host_only = true;
        peer->merge.dropped = true;
    }
}

void worker_on_merge(struct region_worker *worker, struct merge_message *take_message)
{
    bool comes_back = take_message->word == MERGE_FENCE || take_message->word == MERGE_TARGET;
    struct peer *peer =
        comes_back ? worker_find_any_peer(worker, take_message->to) : worker_find_peer(worker, take_message->to);
    const struct departed *departed = worker_find_departed(worker, take_message->to);
    if (peer)
        peer_merge_message(peer, take_message);
    else
        peer_merge_message_absent(worker->store, take_message, departed ? departed->last : NULL);
}

void worker_on_regions(struct region_worker *worker, struct regions_message *take_message)
{
    struct store *store = worker->store;
    for (uint32_t i = 0; i < take_message->reply.routes_count; i++) {
        const struct wire_route *route = &take_message->reply.routes[i];
        struct region *region;
        if (!route->region || route->region->id % store->worker_count != worker->index ||
            region_from_wire(route->region, &region) != ERR_OK)
            continue;
        const struct region_peer *local = region_peer_on_store(region, atomic_load(&store->store_id));
        struct error error = {0};
        enum err code = ERR_OK;
        if (local && !worker_find_peer(worker, region->id)) {
            store_ranges_post(store->ranges, store->apply_worker, region);
            code = region_worker_add_region(worker, region, local->id, route->leader_peer == local->id, &error);
        }
        if (code != ERR_OK)
            store_fail(store, code, error.text);
        region_free(region);
    }
    message_free(&take_message->message);
}

void worker_on_region_seen(struct region_worker *worker, struct regions_message *take_message)
{
    for (uint32_t i = 0; i < take_message->reply.routes_count; i++) {
        struct region *region;
        if (region_from_wire(take_message->reply.routes[i].region, &region) != ERR_OK)
            continue;
        struct peer *peer = worker_find_peer(worker, region->id);
        if (peer)
            peer_destroy_seen(peer, region);
        else
            lost_peers_seen(worker->lost, region);
        region_free(region);
    }
    message_free(&take_message->message);
}

void worker_on_region_unknown(struct region_worker *worker, struct region_ask *take_message)
{
    struct peer *peer = worker_find_peer(worker, take_message->region);
    if (peer)
        peer_destroy_unknown(peer);
    else
        lost_peers_unknown(worker->lost, take_message->region);
    message_free(&take_message->message);
}

void worker_on_steps(struct region_worker *worker, struct regions_message *take_message)
{
    for (uint32_t i = 0; i < take_message->reply.steps_count; i++) {
        const struct wire_region_step *step = &take_message->reply.steps[i];
        struct peer *peer = step->region_id % worker->store->worker_count == worker->index
                                ? worker_find_peer(worker, step->region_id)
                                : NULL;
        if (peer && !peer->destroy.begun)
            region_step_take(peer, step);
        else if (!peer && step->kind == WIRE_STEP_KIND_CREATE &&
                 step->region_id % worker->store->worker_count == worker->index)
            peer_empty_create(worker->store, worker->actor, step);
    }
    message_free(&take_message->message);
}

static struct birth *birth_of(const struct region_worker *worker, region_id region)
{
    struct birth *birth = worker->births;
    while (birth && birth->region != region)
        birth = birth->next;
    return birth;
}

static void birth_begin(struct region_worker *worker, region_id region)
{
    struct birth *birth = calloc(1, sizeof *birth);
    CHECK(birth);
    *birth = (struct birth){.next = worker->births, .region = region};
    birth->last = &birth->chunks;
    worker->births = birth;
}

static void birth_add(struct birth *birth, struct snapshot_chunk_message *take_chunk)
{
    take_chunk->next = NULL;
    *birth->last = take_chunk;
    birth->last = &take_chunk->next;
}

/* To the peer, if it is there; else they are of no use any more. */
static void birth_end(struct region_worker *worker, region_id region, struct peer *peer)
{
    struct birth **link = &worker->births;
    while (*link && (*link)->region != region)
        link = &(*link)->next;
    struct birth *birth = *link;
    if (!birth)
        return;
    *link = birth->next;
    for (struct snapshot_chunk_message *chunk = birth->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        chunk->next = NULL;
        if (peer)
            peer_snapshot_chunk(peer, chunk);
        else
            message_free(&chunk->message);
    }
    free(birth);
}

void worker_on_chunk(struct region_worker *worker, struct snapshot_chunk_message *take_message)
{
    struct store *store = worker->store;
    struct peer *peer = worker_find_peer(worker, take_message->chunk.region_id);
    struct birth *birth = peer ? NULL : birth_of(worker, take_message->chunk.region_id);
    enum err code = peer ? ERR_BUSY : ERR_REGION_NOT_FOUND;
    if (peer && !peer->destroy.begun)
        peer_snapshot_chunk(peer, take_message);
    else if (birth)
        birth_add(birth, take_message);
    else {
        region_id region = take_message->chunk.region_id;
        if (!peer && take_message->chunk.sequence == 0)
            code = atomic_load(&store->snapshots_in) < store->config->snapshots_max
                       ? peer_create_start(store, worker->actor, take_message)
                       : ERR_BUSY;
        if (code == ERR_OK) {
            birth_begin(worker, region);
            return;
        }
        snapshot_refuse(store, take_message, code);
        message_free(&take_message->message);
    }
}

void worker_on_created(struct region_worker *worker, struct peer_created *take_created)
{
    struct error error = {0};
    struct peer *peer = worker_find_peer(worker, take_created->region->id);
    enum err code = take_created->code;
    if (code == ERR_OK && take_created->began) {
        CHECK(!peer);
        code = add_peer(worker, take_created->region, take_created->peer, &worker->store->raft_config_fresh, &peer,
                        &error);
        if (code != ERR_OK)
            store_fail(worker->store, code, error.text);
        else {
            absent_peers_remove(worker->absent, take_created->region->id);
            log_event(worker->env->log, LOG_INFO, "event=peer_created region=%llu peer=%llu",
                      (unsigned long long)take_created->region->id, (unsigned long long)take_created->peer);
        }
    }
    if (take_created->overlaps != 0) /* it may be one that was removed and sleeps: nobody wakes it to tell it */
        pd_link_ask_region(worker->store->pd_link, take_created->overlaps);
    if (peer && !peer->destroy.begun) {
        peer_snapshot_chunk(peer, take_created->chunk);
        take_created->chunk = NULL;
    } else
        snapshot_refuse(worker->store, take_created->chunk, code == ERR_OK ? ERR_BUSY : code);
    birth_end(worker, take_created->region->id, peer && !peer->destroy.begun ? peer : NULL);
    message_free(&take_created->message);
}

/* Nobody has a pointer to it any more. */
void worker_remove_peer(struct region_worker *worker, struct peer *peer)
{
    struct peer **link = &worker->waiting;
    while (*link && *link != peer)
        link = &(*link)->next_waiting;
    if (*link)
        *link = peer->next_waiting;
    list_remove(&peer->awake);
    HASH_DEL(worker->peers, peer);
    peer_free(peer);
}

void worker_drop_births(struct region_worker *worker)
{
    while (worker->births)
        birth_end(worker, worker->births->region, NULL);
}
