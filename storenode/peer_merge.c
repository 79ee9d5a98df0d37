#include "peer_merge.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "storenode/hand_over.h"
#include "storenode/peer.h"
#include "storenode/region_merge.h"
#include "storenode/region_worker.h"
#include "storenode/store_pairs.h"
#include "storenode/store_ranges.h"

enum { WISH_TICKS = 8 };
enum { BUSY_WAIT_MS = 50, LAG_COUNT_MAX = 1024 };

#define ULL(value) ((unsigned long long)(value))

struct merge_source {
    struct region_merged wanted;
    struct region *region; /* owned: as it was prepared; NULL: not here, or not known yet */
    bool known;
};

struct merge_sources {
    uint32_t count;
    struct merge_source *items; /* owned array */
};

static struct store *store_of(const struct peer *peer)
{
    return region_worker_store(peer->worker);
}

/* ---- messages */

static void free_merge(struct message *message)
{
    region_free(((struct merge_message *)message)->region);
    free(message);
}

static struct merge_message *merge_new(enum merge_word word, region_id from, region_id to, const struct region *region)
{
    struct merge_message *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct merge_message){.message = {.kind = WORKER_MERGE, .free = free_merge},
                                      .word = word,
                                      .from = from,
                                      .to = to,
                                      .region = region ? region_copy(region) : NULL};
    return message;
}

static void post(struct store *store, struct merge_message *take_message)
{
    struct region_worker *worker = store->workers[take_message->to % store->worker_count];
    actor_post_must(store->env->executor, region_worker_actor(worker), &take_message->message);
}

void peer_merge_post_wish(struct store *store, region_id source, region_id target)
{
    post(store, merge_new(MERGE_WISH, target, source, NULL));
}

/* ---- life */

void peer_merge_forget_sources(struct peer *peer)
{
    struct merge_sources *sources = peer->merge.sources;
    for (uint32_t i = 0; sources && i < sources->count; i++)
        region_free(sources->items[i].region);
    if (sources)
        free(sources->items);
    free(sources);
    peer->merge.sources = NULL;
}

void peer_merge_fini(struct peer *peer)
{
    for (struct region_task *task = peer->merge.parked, *next; task; task = next) {
        next = task->next;
        region_task_free(task);
    }
    peer_merge_forget_sources(peer);
}

/* ---- asking for it */

static void answer(struct peer *peer, struct reply_to to, enum err code, const char *text)
{
    struct wire_kv_reply reply = {.code = (uint16_t)code, .text = bytes_of_string(text)};
    if (err_action(code) == ERR_ACTION_BACKOFF)
        reply.wait_ms = BUSY_WAIT_MS;
    replies_add(region_worker_replies(peer->worker), to, &reply);
}

/* Every peer of it hears us, was made, and has nearly all: it will not wait long. One that was not made yet speaks, too
 * (RAFT_ABSENT), and lacks little of a short log. */
static bool everybody_is_near(const struct peer *peer)
{
    struct raft_status status;
    raft_get_status(peer->group->raft, &status);
    for (uint32_t i = 0; i < status.peer_count; i++)
        if (status.peers[i].id != peer->id &&
            (!status.peers[i].recent_active || status.peers[i].match == 0 ||
             status.peers[i].match + LAG_COUNT_MAX < status.last))
            return false;
    return true;
}

static void query(struct peer *peer, region_id target, const struct reply_to *owed)
{
    struct merge_message *message = merge_new(MERGE_QUERY, peer->region_id, target, peer->region);
    peer->merge.querying = true;
    message->owed = owed != NULL;
    if (owed)
        message->reply_to = *owed;
    post(store_of(peer), message);
}

void peer_merge_request(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    if (region_is_merging(peer->region))
        answer(peer, to, peer->region->merging->target == request->target_region ? ERR_OK : ERR_EXISTS,
               "it is being merged");
    else if (!everybody_is_near(peer))
        answer(peer, to, ERR_NOT_READY, "not all of its peers are there");
    else if (!peer_may_split(peer) || peer->merge.querying)
        answer(peer, to, ERR_BUSY, "it is being split or merged, or is too young");
    else
        query(peer, request->target_region, &to);
}

static enum err propose_prepare(struct peer *peer, const struct merge_message *message, const char **ret_reason)
{
    *ret_reason = "that region is not on this store";
    if (!message->region)
        return ERR_REGION_NOT_FOUND;
    enum err code = region_merge_check(peer->region, message->region, ret_reason);
    if (code != ERR_OK)
        return code;
    *ret_reason = "the target has no leader: nobody could take it in, or refuse";
    if (!message->ready)
        return ERR_NOT_READY;
    *ret_reason = "it does not lead any more, or changes";
    if (!peer_may_split(peer))
        return raft_is_leader(peer->group->raft) ? ERR_BUSY : ERR_NOT_LEADER;
    struct wire_log_merge merge = {.target_id = message->region->id,
                                   .target_conf = message->region->epoch_conf,
                                   .target_version = message->region->epoch_version};
    return peer_propose_change(peer, WIRE_COMMAND_KIND_PREPARE_MERGE, &merge,
                               message->owed ? &message->reply_to : NULL);
}

static void on_target(struct peer *peer, const struct merge_message *message)
{
    const char *reason = "";
    peer->merge.querying = false;
    enum err code = peer->merge.ended ? ERR_EPOCH_NOT_MATCH : propose_prepare(peer, message, &reason);
    if (code != ERR_OK && message->owed)
        answer(peer, message->reply_to, code, reason);
}

static void on_query(const struct peer *peer, const struct merge_message *message)
{
    struct merge_message *reply = merge_new(MERGE_TARGET, peer->region_id, message->from, peer->region);
    reply->ready = raft_leader(peer->group->raft) != 0;
    reply->owed = message->owed;
    reply->reply_to = message->reply_to;
    post(store_of(peer), reply);
}

static void try_wish(struct peer *peer)
{
    if (peer->region->epoch_version != peer->merge.wish_version || region_is_merging(peer->region) ||
        !raft_is_leader(peer->group->raft))
        peer->merge.wish = 0;
    else if (everybody_is_near(peer) && peer_may_split(peer) && !peer->merge.querying) {
        query(peer, peer->merge.wish, NULL);
        peer->merge.wish = 0;
    }
}

static void on_wish(struct peer *peer, const struct merge_message *message)
{
    peer->merge.wish = message->from;
    peer->merge.wish_version = peer->region->epoch_version;
    peer->merge.wish_ticks = WISH_TICKS;
    peer_wake(peer, WAKE_REQUEST);
    peer_sleep_note_work(peer);
    try_wish(peer);
}

/* ---- the source waits */

static bool all_have_log(const struct peer *peer)
{
    return peer->group->replicated >= peer->region->merging->index || BUG(merge_before_all_have);
}

static void ask(struct peer *peer)
{
    bool ready = all_have_log(peer);
    bool patient = (uint64_t)peer->merge.ticks * store_of(peer)->config->tick_ms < MERGE_PATIENCE_MS;
    if (!ready && patient && !raft_is_leader(peer->group->raft))
        return;
    struct merge_message *message = merge_new(MERGE_ASK, peer->region_id, peer->region->merging->target, peer->region);
    message->ready = ready;
    message->refuse = !patient;
    post(store_of(peer), message);
}

static void rollback(struct peer *peer, raft_index index)
{
    if (!raft_is_leader(peer->group->raft) || !region_is_merging(peer->region) ||
        peer->region->merging->index != index || peer->split.proposed != 0)
        return;
    struct wire_log_merge merge = {.index = index};
    (void)peer_propose_change(peer, WIRE_COMMAND_KIND_ROLLBACK_MERGE, &merge, NULL);
}

/* The target's peer of this store was removed, and we prepared ourselves before it heard of that: a REFUSED of another one
 * would come to a peer of ours that does not lead. */
static void on_no_target(struct peer *peer, const struct merge_message *message)
{
    if (region_is_merging(peer->region) && peer->region->merging->index == message->position.index &&
        !BUG(no_target_is_waited_for))
        (void)hand_over_try(peer);
}

static void send_catch_up(struct peer *peer, const struct region_merged *source, bool for_snapshot)
{
    struct merge_message *message = merge_new(MERGE_CATCH_UP, peer->region_id, source->id, NULL);
    message->position = (struct raft_position){.index = source->index, .term = source->term};
    message->for_snapshot = for_snapshot;
    post(store_of(peer), message);
}

static void send_catch_up_of_parked(struct peer *peer)
{
    for (const struct region_task *task = peer->merge.parked; task; task = task->next)
        if (task->waits_for) {
            const struct region_merging *merging = task->waits_for->merging;
            struct region_merged source = {.id = task->waits_for->id, .index = merging->index, .term = merging->term};
            send_catch_up(peer, &source, false);
            return;
        }
}

void peer_merge_tick(struct peer *peer, uint32_t count)
{
    if (peer->merge.parked)
        send_catch_up_of_parked(peer);
    if (peer->merge.sources)
        peer_snapshot_go_on(peer);
    if (peer->merge.wish != 0) {
        peer->merge.wish_ticks -= count < peer->merge.wish_ticks ? count : peer->merge.wish_ticks;
        if (peer->merge.wish_ticks == 0)
            peer->merge.wish = 0;
        else
            try_wish(peer);
    }
    if (!region_is_merging(peer->region))
        return;
    peer->merge.ticks += count;
    ask(peer);
    if (BUG(rollback_unasked) && peer->merge.ticks > 2)
        rollback(peer, peer->region->merging->index);
}

void peer_merge_round(struct peer *peer)
{
    if (!region_is_merging(peer->region) || peer->merge.told || !all_have_log(peer))
        return;
    peer->merge.told = true;
    peer->split.announce |= raft_is_leader(peer->group->raft); /* the target may be led where only that says so */
    ask(peer);
}

static void tell_waiter(struct peer *peer)
{
    /* What is being read from its rows may meet those of a snapshot of the target. */
    atomic_fetch_add(&peer->snapshot.generation, 1);
    if (peer->merge.waiter == 0)
        return;
    post(store_of(peer), merge_new(MERGE_CAUGHT_UP, peer->region_id, peer->merge.waiter, peer->region));
    peer->merge.waiter = 0;
}

void peer_merge_changed(struct peer *peer, const struct region_split *change)
{
    peer->merge.told = false;
    peer->merge.ticks = 0;
    switch (change->change) {
    case REGION_PREPARED:
        atomic_fetch_add(&store_of(peer)->merge_counts.prepared, 1);
        tell_waiter(peer);
        break;
    case REGION_ROLLED_BACK:
        atomic_fetch_add(&store_of(peer)->merge_counts.rolled_back, 1);
        break;
    case REGION_TOOK_IN:
        atomic_fetch_add(&store_of(peer)->merge_counts.taken_in, 1);
        post(store_of(peer), merge_new(MERGE_TAKEN, peer->region_id, change->regions[1]->id, change->regions[0]));
        break;
    default:
        break;
    }
}

/* ---- the target decides */

/* It takes nothing in while one of its own peers is far behind, or not there at all: where the source is, it must be, too. */
static void on_ask(struct peer *peer, const struct merge_message *message)
{
    enum region_merge_verdict verdict = region_merge_judge(message->region, peer->region);
    if (verdict == REGION_MERGE_NEVER) {
        struct merge_message *reply = merge_new(MERGE_REFUSED, peer->region_id, message->from, NULL);
        reply->position.index = message->region->merging->index;
        post(store_of(peer), reply);
    }
    bool commit = message->ready && everybody_is_near(peer);
    if (verdict != REGION_MERGE_OPEN || !raft_is_leader(peer->group->raft) || peer->split.proposed != 0 ||
        !(commit || message->refuse))
        return;
    struct arena arena;
    arena_init(&arena);
    struct wire_region source = region_to_wire(message->region, &arena);
    struct wire_log_merge merge = {.source = &source};
    peer_wake(peer, WAKE_REQUEST);
    (void)peer_propose_change(peer, commit ? WIRE_COMMAND_KIND_COMMIT_MERGE : WIRE_COMMAND_KIND_REFUSE_MERGE, &merge,
                              NULL);
    arena_fini(&arena);
}

/* ---- the target is there before the source */

void peer_merge_park(struct peer *peer, struct region_task *take_task)
{
    take_task->next = NULL;
    struct region_task **last = &peer->merge.parked;
    while (*last)
        last = &(*last)->next;
    *last = take_task;
    peer->merge.parked_count++;
    if (take_task->waits_for) {
        atomic_fetch_add(&store_of(peer)->merge_counts.waited, 1);
        log_event(store_of(peer)->env->log, LOG_INFO, "event=merge_waits region=%llu source=%llu index=%llu",
                  ULL(peer->region_id), ULL(take_task->waits_for->id), ULL(take_task->waits_for->merging->index));
        send_catch_up_of_parked(peer);
    }
}

/* In the order in which they were posted first: so all of them have to be back. */
void peer_merge_go_on(struct peer *peer)
{
    if (!peer->merge.resume || !peer->merge.parked || peer->merge.parked_count != peer->tasks_out)
        return;
    struct region_task *task = peer->merge.parked;
    peer->merge.parked = NULL;
    peer->merge.parked_count = 0;
    peer->merge.resume = false;
    task->resumes = true;
    while (task) {
        struct region_task *next = task->next;
        apply_worker_post(store_of(peer)->apply_worker, &task->task);
        task = next;
    }
}

/* Those that the rest of its log was to take in. False: not all of it is in memory. */
static bool tell_nested(struct peer *peer, const struct merge_message *message)
{
    struct arena arena;
    arena_init(&arena);
    bool all = true;
    for (raft_index index = raft_applied_index(peer->group->raft) + 1; index <= message->position.index && all;
         index++) {
        const struct raft_entry *entry = raft_log_entry(peer->group->raft, index);
        struct wire_log_command command;
        all = entry != NULL;
        if (!entry || entry->kind != RAFT_ENTRY_NORMAL || entry->data.size == 0 ||
            wire_decode_log_command(entry->data, &arena, &command) != ERR_OK ||
            command.kind != WIRE_COMMAND_KIND_COMMIT_MERGE || !command.merge || !command.merge->source ||
            !command.merge->source->merging)
            continue;
        struct merge_message *also = merge_new(MERGE_ALSO, peer->region_id, message->from, NULL);
        also->also = command.merge->source->id;
        also->position = (struct raft_position){.index = command.merge->source->merging->index,
                                                .term = command.merge->source->merging->term};
        post(store_of(peer), also);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    return all;
}

/* Its last entry may have come here without the word that it is committed, and nobody may be left to say so. */
static void on_catch_up(struct peer *peer, const struct merge_message *message)
{
    if (region_is_merging(peer->region) && peer->region->merging->index == message->position.index) {
        peer->merge.waiter = message->from;
        tell_waiter(peer);
        return;
    }
    if (peer->snapshot.damaged && message->for_snapshot && !tell_nested(peer, message))
        return;
    if (peer->snapshot.damaged && (message->for_snapshot || raft_leader(peer->group->raft) == 0) &&
        peer->snapshot.state < PEER_SNAPSHOT_WHOLE) {
        peer->merge.yields |= message->for_snapshot;
        peer->merge.waiter = 0;
        atomic_fetch_add(&peer->snapshot.generation, 1);
        struct region *last = region_copy_merging(
            peer->region, peer->region->epoch_version,
            &(struct region_merging){.target = message->from}); /* of its PREPARE it knows nothing */
        post(store_of(peer),
             merge_new(message->for_snapshot ? MERGE_CAUGHT_UP : MERGE_DAMAGED, peer->region_id, message->from, last));
        region_free(last);
        return;
    }
    peer->merge.waiter = message->from;
    region_worker_touch(peer->worker, peer);
    (void)raft_learn_commit(peer->group->raft, message->position);
    peer->split.hurry = true;
}

static void on_source_damaged(struct peer *peer, const struct merge_message *message)
{
    struct region_task *first = peer->merge.parked;
    if (!first || !first->waits_for || first->waits_for->id != message->from)
        return;
    first->gives_up = peer->merge.resume = true;
    peer_merge_go_on(peer);
}

static void on_caught_up(struct peer *peer, struct merge_message *message, bool is_here)
{
    struct merge_sources *sources = peer->merge.sources;
    peer->merge.resume |= peer->merge.parked != NULL;
    peer_merge_go_on(peer);
    for (uint32_t i = 0; sources && i < sources->count; i++)
        if (sources->items[i].wanted.id == message->from && !sources->items[i].known) {
            sources->items[i].known = true;
            sources->items[i].region = is_here ? message->region : NULL;
            message->region = is_here ? NULL : message->region;
        }
    if (sources)
        peer_snapshot_go_on(peer);
}

/* ---- a source's peer that is left over
 *
 * All of its region have ended but this one: the target's peer beside it was removed before it applied COMMIT. No other peer
 * of the target that comes here ever applies that entry, it is behind it; and none that has our keys comes before we are gone. */

/* Who is damaged applies nothing any more, so it must be told what its PREPARE says; and gets no rows, since nobody has them
 * under this name. */
static void damaged_heard_end(struct peer *peer, const struct wire_merging *wire)
{
    const struct region_merging merging = {.target = wire->target_id,
                                           .epoch_conf = wire->epoch_conf,
                                           .epoch_version = wire->epoch_version,
                                           .index = wire->index,
                                           .term = wire->term};
    struct region *region = region_copy_merging(peer->region, peer->region->epoch_version, &merging);
    post(store_of(peer), merge_new(MERGE_LEFT_OVER, peer->region_id, merging.target, region));
    region_free(region);
}

void peer_merge_heard_end(struct peer *peer, struct raft_position prepared, const struct wire_merging *merging)
{
    if (region_is_merging(peer->region) && peer->region->merging->index == prepared.index) {
        if (BUG(left_over_ends_unasked))
            peer_destroy_begin(peer, peer->region->epoch_conf + 1);
        else
            post(store_of(peer),
                 merge_new(MERGE_LEFT_OVER, peer->region_id, peer->region->merging->target, peer->region));
        return;
    }
    if (peer->snapshot.damaged && !region_is_merging(peer->region) && merging && merging->target_id != 0 &&
        merging->target_id != peer->region_id && merging->index == prepared.index && !BUG(damaged_hears_no_end)) {
        damaged_heard_end(peer, merging);
        return;
    }
    region_worker_touch(peer->worker, peer);
    (void)raft_learn_commit(peer->group->raft, prepared);
    peer->split.hurry = true;
}

static void on_target_left(struct peer *peer, const struct merge_message *message)
{
    /* Who is damaged has asked because it heard of the end; else it has its rows again by now, and goes on. */
    if (region_is_merging(peer->region) ? peer->region->merging->index == message->position.index : peer->snapshot.damaged)
        peer_destroy_begin(peer, peer->region->epoch_conf + 1);
}

static bool has_left(struct store *store, region_id target, const struct region_merging *merging)
{
    struct region *last;
    enum err code = region_load_state(store->env->engine, target, &last, NULL, NULL);
    bool left = code == ERR_NOT_FOUND && last && last->epoch_conf > merging->epoch_conf;
    region_free(last);
    return left;
}

/* ---- a snapshot of the target */

static void add_source(struct merge_sources *sources, struct region_merged wanted)
{
    for (uint32_t i = 0; i < sources->count; i++)
        if (sources->items[i].wanted.id == wanted.id)
            return;
    sources->items = realloc(sources->items, (sources->count + 1) * sizeof *sources->items);
    CHECK(sources->items);
    sources->items[sources->count++] = (struct merge_source){.wanted = wanted};
}

static void on_also(struct peer *peer, const struct merge_message *message)
{
    struct region_merged wanted = {
        .id = message->also, .index = message->position.index, .term = message->position.term};
    if (peer->merge.sources)
        add_source(peer->merge.sources, wanted);
}

/* Those that it took in since what we know of it. */
static struct merge_sources *sources_new(const struct peer *peer, const struct region *region)
{
    struct merge_sources *sources = calloc(1, sizeof *sources);
    CHECK(sources);
    for (uint32_t i = 0; i < region->merged_count; i++)
        if (!region_find_merged(peer->region, region_merged_list(region)[i].id) && !BUG(snapshot_keeps_source))
            add_source(sources, region_merged_list(region)[i]);
    return sources;
}

bool peer_merge_sources_are_here(struct peer *peer, const struct region *region)
{
    bool all = true;
    if (!peer->merge.sources)
        peer->merge.sources = sources_new(peer, region);
    for (uint32_t i = 0; i < peer->merge.sources->count; i++)
        if (!peer->merge.sources->items[i].known) {
            all = false;
            send_catch_up(peer, &peer->merge.sources->items[i].wanted, true);
        }
    return all;
}

void peer_merge_put_sources_end(struct peer *peer, struct log_task *task)
{
    struct store *store = store_of(peer);
    for (uint32_t i = 0; peer->merge.sources && i < peer->merge.sources->count; i++) {
        const struct region *source = peer->merge.sources->items[i].region;
        if (!source)
            continue;
        const struct region_peer *local = region_peer_on_store(source, atomic_load(&store->store_id));
        enum err code = region_put_tombstone(store->env->engine, task->batch, source, local ? local->id : 0);
        CHECK(code == ERR_OK); /* it was read from such a row */
    }
}

void peer_merge_end_sources(struct peer *peer, const struct region *region, struct store_ranges_change *ranges)
{
    struct store *store = store_of(peer);
    for (uint32_t i = 0; peer->merge.sources && i < peer->merge.sources->count; i++) {
        region_id source = peer->merge.sources->items[i].wanted.id;
        if (!peer->merge.sources->items[i].region)
            continue;
        atomic_fetch_add(&store->merge_counts.by_snapshot, 1);
        store_ranges_change_remove(ranges, source);
        post(store, merge_new(MERGE_TAKEN, peer->region_id, source, region));
    }
    peer_merge_forget_sources(peer);
}

/* ---- the end */

/* Reads that were posted before it have been answered when it comes back. */
struct fence_job {
    struct read_job job;
    struct store *store;
    region_id region;
    uint32_t reader;
};

static void free_fence(struct message *message)
{
    free(message);
}

static void run_fence(struct read_job *base)
{
    struct fence_job *job = (struct fence_job *)base;
    struct store *store = job->store;
    if (++job->reader < store->reader_count) {
        read_worker_post_job(store->readers[job->reader], &job->job);
        return;
    }
    post(store, merge_new(MERGE_FENCE, job->region, job->region, NULL));
    message_free(&job->job.message);
}

static void start_fence(struct peer *peer)
{
    struct fence_job *job = calloc(1, sizeof *job);
    CHECK(job);
    *job = (struct fence_job){
        .job = {.message = {.free = free_fence}, .run = run_fence}, .store = store_of(peer), .region = peer->region_id};
    read_worker_post_job(store_of(peer)->readers[0], &job->job);
}

void peer_merge_end(struct peer *peer, const struct region *into)
{
    if (peer->merge.ended)
        return;
    log_event(store_of(peer)->env->log, LOG_INFO, "event=region_merged region=%llu into=%llu version=%llu",
              ULL(peer->region_id), ULL(into->id), ULL(into->epoch_version));
    peer_wake(peer, WAKE_REQUEST);
    peer->merge.ended = true;
    if (peer->snapshot.damaged)
        atomic_fetch_sub(&store_of(peer)->damage_counts.damaged, 1);
    campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
    region_worker_end_peer(peer->worker, peer, peer->region, into);
    peer_refuse_all(peer, into);
    peer_snapshot_give_up(peer);
    start_fence(peer);
}

bool peer_merge_is_over(const struct peer *peer)
{
    return peer->merge.ended && peer->merge.fenced && peer->tasks_out == 0 && peer->group->appends_under_way == 0 &&
           peer->snapshot.sending == 0 && !peer->touched && !peer->waiting && !peer->merge.querying;
}

/* ---- dispatch */

void peer_merge_message(struct peer *peer, struct merge_message *take_message)
{
    switch (take_message->word) {
    case MERGE_WISH:
        on_wish(peer, take_message);
        break;
    case MERGE_QUERY:
        on_query(peer, take_message);
        break;
    case MERGE_TARGET:
        on_target(peer, take_message);
        break;
    case MERGE_ASK:
        on_ask(peer, take_message);
        break;
    case MERGE_REFUSED:
        rollback(peer, take_message->position.index);
        break;
    case MERGE_NO_TARGET:
        on_no_target(peer, take_message);
        break;
    case MERGE_CATCH_UP:
        on_catch_up(peer, take_message);
        break;
    case MERGE_CAUGHT_UP:
    case MERGE_ABSENT:
        on_caught_up(peer, take_message, take_message->word == MERGE_CAUGHT_UP);
        break;
    case MERGE_ALSO:
        on_also(peer, take_message);
        break;
    case MERGE_DAMAGED:
        on_source_damaged(peer, take_message);
        break;
    case MERGE_TAKEN:
        peer_merge_end(peer, take_message->region);
        break;
    case MERGE_LEFT_OVER:
        break; /* we are here, and take it in: with COMMIT, or with a snapshot from after it */
    case MERGE_TARGET_LEFT:
        on_target_left(peer, take_message);
        break;
    case MERGE_FENCE:
        peer->merge.fenced = true;
        break;
    }
    message_free(&take_message->message);
}

/* Its rows say whether it only has not been started yet. */
static bool has_no_rows(struct store *store, region_id id)
{
    struct region *region;
    enum err code = region_load_state(store->env->engine, id, &region, NULL, NULL);
    region_free(region);
    return code == ERR_NOT_FOUND;
}

void peer_merge_message_absent(struct store *store, struct merge_message *take_message, const struct region *departed)
{
    struct merge_message *reply = NULL;
    if (take_message->word == MERGE_QUERY) {
        reply = merge_new(MERGE_TARGET, take_message->to, take_message->from, NULL);
        reply->owed = take_message->owed;
        reply->reply_to = take_message->reply_to;
    } else if (take_message->word == MERGE_ASK && departed &&
               region_merge_judge(take_message->region, departed) == REGION_MERGE_NEVER) {
        reply = merge_new(MERGE_REFUSED, take_message->to, take_message->from, NULL);
        reply->position.index = take_message->region->merging->index;
    } else if (take_message->word == MERGE_ASK && take_message->refuse) {
        reply = merge_new(MERGE_NO_TARGET, take_message->to, take_message->from, NULL);
        reply->position.index = take_message->region->merging->index;
    } else if (take_message->word == MERGE_LEFT_OVER &&
               has_left(store, take_message->to, take_message->region->merging)) {
        reply = merge_new(MERGE_TARGET_LEFT, take_message->to, take_message->from, NULL);
        reply->position.index = take_message->region->merging->index;
    } else if (take_message->word == MERGE_CATCH_UP && take_message->for_snapshot &&
               (departed || has_no_rows(store, take_message->to)))
        reply = merge_new(MERGE_ABSENT, take_message->to, take_message->from, NULL);
    if (reply)
        post(store, reply);
    message_free(&take_message->message);
}
