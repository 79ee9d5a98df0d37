#include "region_worker.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "env/clock.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"
#include "storenode/campaigns.h"
#include "storenode/expiry.h"
#include "storenode/hand_over.h"
#include "storenode/pd_link.h"
#include "storenode/region_step.h"
#include "storenode/peer.h"
#include "storenode/peer_create.h"
#include "storenode/peer_empty.h"
#include "storenode/peer_lost.h"
#include "storenode/peer_report.h"
#include "storenode/peer_time.h"
#include "storenode/snapshot_receive.h"
#include "storenode/region_merge.h"
#include "storenode/store.h"
#include "storenode/store_pairs.h"
#include "storenode/store_ranges.h"
#include "storenode/store_status.h"

enum {
    FRAME_GATHER_SIZE_MAX = 8 * 1024 * 1024, /* of raft entries in one frame */
    SPARE_LOG_TASKS_MAX = 4,
    SPARE_BLOCKS_SIZE = 4 * 1024 * 1024,
    HEARTBEATS_PER_FRAME_MAX = 512,
    READ_KEYS_WAITING_MAX = 128 * 1024,
    GATHER_MAX_US = 5000,
    TRIM_AFTER_COUNT = 1000, /* peers that fell asleep */
    HEARTBEAT_ALL_INTERVAL_MS = 10000,
    COUNT_SIZE_PER_MS = 16 * 1024,
    COUNT_SIZE_MIN = 64 * 1024,
    COUNT_BURST_MS = 1000,
    EARLY_VOTES_MAX = 512, /* what is lost is asked again, only an election timeout later */
    EARLY_VOTE_TICKS = 10,
    YOUNG_TICKS = 4,
    MESSAGE_SIZE = 128, /* of a raft message without entries, roughly */
};

/* Messages to one store that leave this round: [0] now, [1] after the log task is durable. */
struct outbox {
    struct wire_raft_message *messages[2];
    uint32_t count[2], capacity[2];
    size_t size[2];
};

/* Somebody campaigns in a region that we do not have yet: it was split off where the split is applied already. */
struct early_vote {
    struct wire_raft_message wire; /* without entries */
    uint64_t tick;
};

/* A peer is being made of a snapshot's first chunk; those behind it wait. There are no more than the sender has under way. */
struct birth {
    struct birth *next;
    region_id region;
    struct snapshot_chunk_message *chunks, **last; /* owned list */
};

struct neighbour {
    store_id id;
    struct link *link; /* owned by links */
    struct outbox outbox;
    bool dirty;
    bool lost; /* given up for good (unsafe recovery): what it says is not heard */
    struct neighbour *next_dirty;
    UT_hash_handle hh;
};

/* Was merged into another one. */
struct departed {
    region_id id;
    struct region *last; /* owned: at its end */
    struct region *into; /* owned: what took it in, then; NULL: not known */
    UT_hash_handle hh;
};

struct region_worker {
    struct store *store;
    struct env *env;
    uint32_t index;
    struct actor *actor;
    struct raft_pool *pool;
    struct peer *peers; /* by region id */
    struct peer *ending; /* by region id: merged into others, but something of them is still under way */
    struct departed *departed; /* by id */
    struct list awake;  /* those that are ticked */
    struct peer *touched, **touched_last;
    struct replies *replies;
    struct arena round_arena;     /* ends with the round */
    struct log_task *log_task;    /* of this round; NULL: none yet */
    struct log_task *spare_tasks; /* list through message.next */
    uint32_t spare_count;
    struct read_task *read_task; /* of this round */
    uint32_t next_reader;
    struct links *links;
    struct neighbour *neighbours; /* by store id */
    struct neighbour *dirty;
    struct store_pairs *pairs;
    struct campaigns campaigns;
    uint64_t tick_count;      /* given to awake peers since the start */
    uint32_t beat_ticks;      /* worker 0: since the last beat */
    uint32_t log_tasks_out;   /* at the log worker, ... */
    uint32_t log_still_ticks; /* ... which has given none of them back for so long */
    bool disk_hangs;
    bool leaving; /* being stopped in order: leads nothing, if others can */
    struct store_sleep_counts sleep_counts;
    uint64_t slept_at_trim;                   /* sleep_counts.slept when memory was given back last */
    uint32_t own_appends_out;                 /* log tasks with what was proposed here; elections close no gate */
    bool proposed;                            /* since the last log task */
    uint32_t proposals_out;                   /* entries proposed here and not committed yet */
    uint64_t proposed_us;                     /* when the last of them was */
    bool gate_open;                           /* writes of this pass may be proposed */
    uint64_t gathered_us;                     /* when the next WORKER_GATHERED comes; UINT64_MAX: none is on its way */
    struct peer *waiting;                     /* peers whose writes wait for that */
    struct early_vote early[EARLY_VOTES_MAX]; /* a ring */
    uint32_t early_count;
    struct birth *births;        /* owned list */
    struct lost_peers *lost;     /* owned: those that are not started */
    struct absent_peers *absent; /* owned: regions that are not here, though others think so */
    struct message *held;        /* batches whose bytes this round, or a write that waits, borrows */
    uint64_t now_us;
    uint64_t ticked_us;         /* time up to which ticks were given */
    uint64_t truncate_at_us;    /* next look at log retention */
    uint64_t count_at_us;       /* a region of which little is known may be counted */
    uint64_t stale_check_at_us; /* next question of those that sleep: are they members? */
    uint64_t heartbeat_at_us;   /* next full report to pd */
    uint64_t check_at_us;       /* next comparison of replicas */
    region_id checked;          /* of this one the last one was */
    uint64_t expiry_at_us;      /* the engine next hears which rows may go ... */
    uint64_t expiry_told;       /* ... unless it is what it heard last */
    bool stopped;               /* after a failed write: nothing is handled any more */
};

struct tick_message {
    struct message message;
};

/* ---- small questions */

struct actor *region_worker_actor(const struct region_worker *worker)
{
    return worker->actor;
}

struct store *region_worker_store(struct region_worker *worker)
{
    return worker->store;
}

struct replies *region_worker_replies(struct region_worker *worker)
{
    return worker->replies;
}

uint64_t region_worker_now_us(const struct region_worker *worker)
{
    return worker->now_us;
}

struct raft_pool *region_worker_pool(struct region_worker *worker)
{
    return worker->pool;
}

struct campaigns *region_worker_campaigns(struct region_worker *worker)
{
    return &worker->campaigns;
}

static struct peer *find_peer(const struct region_worker *worker, region_id id)
{
    struct peer *peer;
    HASH_FIND(hh, worker->peers, &id, sizeof id, peer);
    return peer;
}

/* Whatever comes back is for these as well. */
static struct peer *find_any_peer(const struct region_worker *worker, region_id id)
{
    struct peer *peer = find_peer(worker, id);
    if (!peer)
        HASH_FIND(hh, worker->ending, &id, sizeof id, peer);
    return peer;
}

static struct departed *find_departed(const struct region_worker *worker, region_id id)
{
    struct departed *departed;
    HASH_FIND(hh, worker->departed, &id, sizeof id, departed);
    return departed;
}

uint64_t region_worker_tick_count(const struct region_worker *worker)
{
    return worker->tick_count;
}

const struct store_pairs *region_worker_pairs(const struct region_worker *worker)
{
    return worker->pairs;
}

void region_worker_asleep(struct region_worker *worker, struct peer *peer)
{
    list_remove(&peer->awake);
    worker->sleep_counts.slept++;
    worker->sleep_counts.asleep++;
}

void region_worker_awake(struct region_worker *worker, struct peer *peer, enum wake_cause cause)
{
    list_push_back(&worker->awake, &peer->awake);
    worker->sleep_counts.woken[cause]++;
    worker->sleep_counts.asleep--;
}

void region_worker_add_sleep_counts(const struct region_worker *worker, struct store_sleep_counts *counts)
{
    counts->slept += worker->sleep_counts.slept;
    counts->asleep += worker->sleep_counts.asleep;
    counts->handed_over += worker->sleep_counts.handed_over;
    for (int cause = 0; cause < WAKE_CAUSE_COUNT; cause++)
        counts->woken[cause] += worker->sleep_counts.woken[cause];
}

void region_worker_touch(struct region_worker *worker, struct peer *peer)
{
    if (peer->merge.ended)
        return;
    peer_wake(peer, WAKE_REQUEST);
    if (peer->touched)
        return;
    peer->touched = true;
    peer->next_touched = NULL;
    *worker->touched_last = peer;
    worker->touched_last = &peer->next_touched;
}

/* What arrives while the last round of writes is under way gathers, and becomes the next round: one entry a region, one
 * frame a store, one sync. A lone write never waits, and nobody waits longer than GATHER_MAX_US for others' commits (a
 * region without a quorum must not hold up the rest; a far quorum must not either), or for our own disk, which would
 * have synced it behind those before anyhow. */
static bool gate_is_open(const struct region_worker *worker)
{
    return worker->own_appends_out == 0 &&
           (worker->proposals_out == 0 || worker->now_us >= worker->proposed_us + GATHER_MAX_US);
}

bool region_worker_may_propose(const struct region_worker *worker)
{
    return worker->gate_open;
}

void region_worker_proposed(struct region_worker *worker)
{
    worker->proposals_out++;
    worker->proposed = true;
    worker->proposed_us = worker->now_us;
}

void region_worker_proposal_ended(struct region_worker *worker)
{
    CHECK(worker->proposals_out > 0);
    worker->proposals_out--;
}

static void free_gathered(struct message *message)
{
    free(message);
}

/* Wakes us when the gate opens by time alone, unless something does so before. */
static void post_gathered(struct region_worker *worker)
{
    uint64_t due_us = worker->proposed_us + GATHER_MAX_US;
    if (due_us >= worker->gathered_us)
        return;
    struct message *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct message){.kind = WORKER_GATHERED, .free = free_gathered};
    uint64_t wait_us = due_us > worker->now_us ? due_us - worker->now_us : 0;
    actor_post_after(worker->env->executor, worker->actor, wait_us, message);
    worker->gathered_us = due_us;
}

/* Only between passes: a peer of the pass that is running cannot be touched again. */
static void touch_waiting(struct region_worker *worker)
{
    if (!worker->waiting)
        return;
    if (!gate_is_open(worker)) {
        if (worker->own_appends_out == 0) /* else the disk wakes us, and until then no time opens the gate */
            post_gathered(worker);
        return;
    }
    struct peer *peer = worker->waiting;
    worker->waiting = NULL;
    for (; peer; peer = peer->next_waiting) {
        peer->waiting = false;
        region_worker_touch(worker, peer);
    }
}

void region_worker_wait(struct region_worker *worker, struct peer *peer)
{
    if (peer->waiting || peer->merge.ended)
        return;
    peer->waiting = true;
    peer->next_waiting = worker->waiting;
    worker->waiting = peer;
}

/* ---- what gathers in a round */

struct log_task *region_worker_log_task(struct region_worker *worker)
{
    if (worker->log_task)
        return worker->log_task;
    if (worker->spare_tasks) {
        worker->log_task = worker->spare_tasks;
        worker->spare_tasks = (struct log_task *)worker->log_task->message.next;
        worker->spare_count--;
    } else
        worker->log_task = log_task_new(worker->env, worker->actor, WORKER_LOG_DONE);
    return worker->log_task;
}

struct read_task *region_worker_read_task(struct region_worker *worker)
{
    if (!worker->read_task)
        worker->read_task = read_task_new();
    return worker->read_task;
}

void region_worker_post_reads(struct region_worker *worker, struct read_task *take_task)
{
    struct store *store = worker->store;
    take_task->owner = worker->actor;
    read_worker_post(store->readers[worker->next_reader++ % store->reader_count], take_task);
}

/* Each count is paid for in time, at COUNT_SIZE_PER_MS: a little at once, the rest when it is known how much it was. */
bool region_worker_may_count(struct region_worker *worker)
{
    if (worker->now_us < worker->count_at_us)
        return false;
    region_worker_counted(worker, COUNT_SIZE_MIN);
    return true;
}

void region_worker_counted(struct region_worker *worker, uint64_t size)
{
    uint64_t earliest_us = worker->now_us > COUNT_BURST_MS * 1000 ? worker->now_us - COUNT_BURST_MS * 1000 : 0;
    if (worker->count_at_us < earliest_us)
        worker->count_at_us = earliest_us;
    worker->count_at_us += size * 1000 / COUNT_SIZE_PER_MS;
}

bool region_worker_reads_are_many(const struct region_worker *worker)
{
    const struct store *store = worker->store;
    uint64_t count = worker->read_task ? worker->read_task->keys_count : 0;
    for (uint32_t i = 0; i < store->reader_count; i++)
        count += read_worker_waiting(store->readers[i]);
    return count >= READ_KEYS_WAITING_MAX;
}

static struct neighbour *neighbour_of(const struct region_worker *worker, store_id id)
{
    struct neighbour *neighbour;
    HASH_FIND(hh, worker->neighbours, &id, sizeof id, neighbour);
    return neighbour;
}

static void send_frame(struct region_worker *worker, struct neighbour *neighbour, int after)
{
    struct outbox *outbox = &neighbour->outbox;
    if (outbox->count[after] == 0)
        return;
    struct wire_raft_batch batch = {.from_store = atomic_load(&worker->store->store_id),
                                    .to_store = neighbour->id,
                                    .messages = outbox->messages[after],
                                    .messages_count = outbox->count[after]};
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    outbox->count[after] = 0;
    outbox->size[after] = 0;
    if (!frame) {
        log_event(worker->env->log, LOG_ERROR, "event=raft_frame_too_large store=%llu",
                  (unsigned long long)neighbour->id);
        return;
    }
    if (!after)
        (void)link_send(neighbour->link, frame); /* lost frames are Raft's daily bread */
    else
        log_task_add_send(region_worker_log_task(worker), link_conn(neighbour->link), frame);
}

static struct neighbour *reachable(const struct region_worker *worker, store_id id)
{
    struct neighbour *neighbour = neighbour_of(worker, id);
    return neighbour && link_is_up(neighbour->link) ? neighbour : NULL;
}

static struct wire_raft_message *outbox_add(struct region_worker *worker, struct neighbour *neighbour, bool after)
{
    struct outbox *outbox = &neighbour->outbox;
    if (outbox->count[after] == outbox->capacity[after]) {
        outbox->capacity[after] = outbox->capacity[after] ? outbox->capacity[after] * 2 : 32;
        outbox->messages[after] =
            realloc(outbox->messages[after], outbox->capacity[after] * sizeof *outbox->messages[after]);
        CHECK(outbox->messages[after]);
    }
    outbox->size[after] += MESSAGE_SIZE;
    if (!neighbour->dirty) {
        neighbour->dirty = true;
        neighbour->next_dirty = worker->dirty;
        worker->dirty = neighbour;
    }
    return &outbox->messages[after][outbox->count[after]++];
}

void region_worker_send_wire(struct region_worker *worker, store_id to, const struct wire_raft_message *wire)
{
    struct neighbour *neighbour = reachable(worker, to);
    if (neighbour)
        *outbox_add(worker, neighbour, false) = *wire;
}

void region_worker_send_everybody(struct region_worker *worker, const struct wire_raft_message *wire)
{
    for (const struct neighbour *neighbour = worker->neighbours; neighbour; neighbour = neighbour->hh.next)
        region_worker_send_wire(worker, neighbour->id, wire);
}

void region_worker_send(struct region_worker *worker, struct peer *peer, const struct raft_message *message, bool after)
{
    struct neighbour *neighbour = reachable(worker, peer_store_of(peer, message->to));
    if (!neighbour) {
        if (message->kind == RAFT_APP)
            raft_report_unreachable(peer->group->raft, message->to);
        return;
    }
    struct outbox *outbox = &neighbour->outbox;
    struct wire_raft_message *wire = outbox_add(worker, neighbour, after);
    group_message_to_wire(peer->group, message, &worker->round_arena, wire);
    wire->epoch_conf = peer->region->epoch_conf;
    wire->epoch_version = peer->region->epoch_version;
    wire->hurry = peer->split.hurry_ticks > 0;
    peer_sleep_on_send(peer, message, wire);
    for (uint32_t i = 0; i < message->entry_count; i++)
        outbox->size[after] += message->entries[i].data.size;
    if (outbox->size[after] > FRAME_GATHER_SIZE_MAX)
        send_frame(worker, neighbour, after);
}

/* Such a task wakes us when it is done (log_worker.c: nobody_waits). */
static bool has_own_append(const struct log_task *task)
{
    for (uint32_t i = 0; i < task->append_count; i++)
        if (task->appends[i].own_count > 0)
            return true;
    return false;
}

static void post_log_task(struct region_worker *worker, struct log_task *take_task)
{
    if (worker->proposed && has_own_append(take_task)) {
        take_task->user = worker;
        worker->own_appends_out++;
    }
    worker->proposed = false;
    if (worker->log_tasks_out++ == 0)
        worker->log_still_ticks = 0;
    log_worker_post(worker->store->log_worker, take_task);
}

/* Everything that gathered leaves. Frames that wait for the disk go into the log task before it is posted. */
static void flush(struct region_worker *worker)
{
    for (struct neighbour *neighbour = worker->dirty; neighbour; neighbour = neighbour->next_dirty) {
        neighbour->dirty = false;
        send_frame(worker, neighbour, 0);
        send_frame(worker, neighbour, 1);
    }
    worker->dirty = NULL;
    if (worker->log_task) {
        struct log_task *task = worker->log_task;
        worker->log_task = NULL;
        post_log_task(worker, task);
    }
    if (worker->read_task) {
        struct read_task *task = worker->read_task;
        worker->read_task = NULL;
        region_worker_post_reads(worker, task);
    }
    arena_reset(&worker->round_arena);
}

/* ---- messages */

static void hold(struct region_worker *worker, struct message *take_message)
{
    take_message->next = worker->held;
    worker->held = take_message;
}

static void refuse_request(struct region_worker *worker, const struct kv_batch *batch,
                           const struct wire_kv_request *request)
{
    struct reply_to to = {.conn = batch->conn, .request_id = request->id};
    const struct departed *departed = find_departed(worker, request->region_id);
    if (departed && departed->into && request->op != WIRE_KV_OP_PING) {
        struct wire_kv_reply reply = {.code = ERR_EPOCH_NOT_MATCH};
        region_split_tell(departed->into, NULL, replies_arena(worker->replies), &reply);
        replies_add(worker->replies, to, &reply);
        return;
    }
    replies_add_error(worker->replies, to, request->op == WIRE_KV_OP_PING ? ERR_OK : ERR_REGION_NOT_FOUND, 0);
}

static void on_kv_batch(struct region_worker *worker, struct kv_batch *take_batch)
{
    for (uint32_t i = 0; i < take_batch->batch.requests_count; i++) {
        const struct wire_kv_request *request = &take_batch->batch.requests[i];
        if (request->region_id % worker->store->worker_count != worker->index)
            continue;
        struct peer *peer = request->op == WIRE_KV_OP_PING ? NULL : find_peer(worker, request->region_id);
        if (peer && !peer->destroy.begun)
            peer_request(peer, take_batch->conn, request, take_batch->received_us);
        else
            refuse_request(worker, take_batch, request);
    }
    hold(worker, &take_batch->message);
}

static void on_beat(struct region_worker *worker, store_id from, const struct wire_store_beat *beat)
{
    enum pairs_event event = store_pairs_heard(worker->pairs, from, beat->incarnation, beat->leaving);
    if (event == PAIRS_NOTHING)
        return;
    if (event == PAIRS_RESTARTED)
        log_event(worker->env->log, LOG_INFO, "event=store_restarted peer_store=%llu", (unsigned long long)from);
    for (struct peer *peer = worker->peers; peer; peer = peer->hh.next)
        peer_sleep_store_back(peer, from, event == PAIRS_RESTARTED);
}

static void keep_early_vote(struct region_worker *worker, const struct wire_raft_message *wire)
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

/* Somebody thinks that there is a peer here, and there is none: a leader should know, or a candidate who has nobody to
 * vote for it, once it is clear that none comes by itself. */
static void note_absent(struct region_worker *worker, store_id from, const struct wire_raft_message *wire)
{
    bool counts = wire->kind == RAFT_APP || wire->kind == RAFT_HEARTBEAT || wire->kind == RAFT_PRE_VOTE ||
                  wire->kind == RAFT_VOTE;
    if (!counts || !absent_peers_heard(worker->absent, wire->region_id, worker->tick_count))
        return;
    struct wire_raft_message answer = {
        .region_id = wire->region_id, .kind = RAFT_ABSENT, .from = wire->to, .to = wire->from, .term = wire->term};
    region_worker_send_wire(worker, from, &answer);
}

/* The region was merged into another one, and nobody else is left to say so: who was no member at its end was removed before.
 * Who was one ends with its target, or when that has left. */
static void tell_gone(struct region_worker *worker, store_id from, const struct wire_raft_message *wire)
{
    const struct departed *departed = find_departed(worker, wire->region_id);
    if (!departed || wire->kind == PEER_GONE || wire->kind == PEER_MERGED)
        return;
    bool member = region_peer_by_id(departed->last, wire->from) != NULL;
    const struct region_merging *merging = departed->last->merging;
    if (member && (!merging || merging->index == 0 || BUG(end_is_not_said)))
        return;
    struct wire_merging *told = NULL; /* it leaves at the end of the round */
    if (member) {
        told = arena_alloc(&worker->round_arena, sizeof *told);
        *told = (struct wire_merging){.target_id = merging->target,
                                      .epoch_conf = merging->epoch_conf,
                                      .epoch_version = merging->epoch_version,
                                      .index = merging->index,
                                      .term = merging->term};
    }
    struct wire_raft_message gone = {.region_id = wire->region_id,
                                     .kind = member ? PEER_MERGED : PEER_GONE,
                                     .from = wire->to,
                                     .to = wire->from,
                                     .index = merging ? merging->index : 0,
                                     .log_term = merging ? merging->term : 0,
                                     .merging = told,
                                     .epoch_conf = departed->last->epoch_conf,
                                     .epoch_version = departed->last->epoch_version};
    region_worker_send_wire(worker, from, &gone);
}

static void on_raft_batch(struct region_worker *worker, struct raft_batch *take_batch)
{
    const struct neighbour *from = neighbour_of(worker, take_batch->batch.from_store);
    if (from && from->lost && !BUG(lost_store_comes_back)) {
        message_free(&take_batch->message);
        return;
    }
    if (take_batch->batch.beat)
        on_beat(worker, take_batch->batch.from_store, take_batch->batch.beat);
    for (uint32_t i = 0; i < take_batch->batch.messages_count; i++) {
        const struct wire_raft_message *wire = &take_batch->batch.messages[i];
        struct peer *peer = find_peer(worker, wire->region_id);
        if (!peer && lost_peers_message(worker->lost, wire))
            continue;
        if (!peer) {
            keep_early_vote(worker, wire);
            tell_gone(worker, take_batch->batch.from_store, wire);
            note_absent(worker, take_batch->batch.from_store, wire);
        } else if (!peer_destroy_judge(peer, wire, take_batch->batch.from_store))
            peer_step(peer, wire, &take_batch->batch_arena);
    }
    message_free(&take_batch->message); /* the core has copied what it keeps */
}

static void free_ended_peer(struct region_worker *worker, struct peer *peer)
{
    HASH_DEL(worker->ending, peer);
    peer_free(peer);
}

static void on_log_done(struct region_worker *worker, struct log_task *take_task)
{
    if (take_task->result != ERR_OK) {
        store_fail(worker->store, take_task->result, take_task->error.text);
        worker->stopped = true;
        log_task_free(take_task);
        return;
    }
    for (uint32_t i = 0; i < take_task->append_count; i++) {
        struct peer *peer = find_any_peer(worker, take_task->appends[i].group_id);
        CHECK(peer);
        if (take_task->appends[i].host_only) {
            if (peer->merge.ended)
                free_ended_peer(worker, peer);
            else if (peer->destroy.posted)
                peer_destroy_logged(peer);
            else
                peer_snapshot_logged(peer);
            continue;
        }
        if (take_task->appends[i].token.snapshot_index != 0)
            peer_snapshot_logged(peer);
        group_appended(peer->group, &take_task->appends[i]);
        region_worker_touch(worker, peer);
    }
    worker->log_tasks_out--;
    worker->log_still_ticks = 0;
    if (take_task->user)
        worker->own_appends_out--;
    if (worker->spare_count >= SPARE_LOG_TASKS_MAX) {
        log_task_free(take_task);
        return;
    }
    log_task_reset(take_task);
    take_task->message.next = worker->spare_tasks ? &worker->spare_tasks->message : NULL;
    worker->spare_tasks = take_task;
    worker->spare_count++;
}

static void on_apply_done(struct region_worker *worker, struct region_task *take_task)
{
    struct peer *peer = find_any_peer(worker, take_task->region_id);
    CHECK(peer);
    if (take_task->code != ERR_OK)
        worker->stopped = true;
    peer_applied(peer, take_task);
}

static void on_fetched(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = find_any_peer(worker, peer_fetch_region(take_message));
    if (peer)
        peer_fetched(peer, take_message);
    message_free(take_message);
}

/* ---- regions and neighbours */

bool region_worker_knows_store(const struct region_worker *worker, store_id store)
{
    return store == atomic_load(&worker->store->store_id) || neighbour_of(worker, store);
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
    if (find_peer(worker, region->id))
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
static void start_child(struct region_worker *worker, const struct region *region, bool campaign)
{
    const struct region_peer *local = region_peer_on_store(region, atomic_load(&worker->store->store_id));
    struct error error = {0};
    struct peer *peer;
    if (!local || find_peer(worker, region->id)) {
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
        start_child(worker, region, campaign);
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
    struct departed *departed = find_departed(worker, last->id);
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
static void drop_ended(struct region_worker *worker)
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

static void on_merge(struct region_worker *worker, struct merge_message *take_message)
{
    bool comes_back = take_message->word == MERGE_FENCE || take_message->word == MERGE_TARGET;
    struct peer *peer =
        comes_back ? find_any_peer(worker, take_message->to) : find_peer(worker, take_message->to);
    const struct departed *departed = find_departed(worker, take_message->to);
    if (peer)
        peer_merge_message(peer, take_message);
    else
        peer_merge_message_absent(worker->store, take_message, departed ? departed->last : NULL);
}

static void on_regions(struct region_worker *worker, struct regions_message *take_message)
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
        if (local && !find_peer(worker, region->id)) {
            store_ranges_post(store->ranges, store->apply_worker, region);
            code = region_worker_add_region(worker, region, local->id, route->leader_peer == local->id, &error);
        }
        if (code != ERR_OK)
            store_fail(store, code, error.text);
        region_free(region);
    }
    message_free(&take_message->message);
}

static void on_region_seen(struct region_worker *worker, struct regions_message *take_message)
{
    for (uint32_t i = 0; i < take_message->reply.routes_count; i++) {
        struct region *region;
        if (region_from_wire(take_message->reply.routes[i].region, &region) != ERR_OK)
            continue;
        struct peer *peer = find_peer(worker, region->id);
        if (peer)
            peer_destroy_seen(peer, region);
        else
            lost_peers_seen(worker->lost, region);
        region_free(region);
    }
    message_free(&take_message->message);
}

static void on_region_unknown(struct region_worker *worker, struct region_ask *take_message)
{
    struct peer *peer = find_peer(worker, take_message->region);
    if (peer)
        peer_destroy_unknown(peer);
    else
        lost_peers_unknown(worker->lost, take_message->region);
    message_free(&take_message->message);
}

static void on_steps(struct region_worker *worker, struct regions_message *take_message)
{
    for (uint32_t i = 0; i < take_message->reply.steps_count; i++) {
        const struct wire_region_step *step = &take_message->reply.steps[i];
        struct peer *peer =
            step->region_id % worker->store->worker_count == worker->index ? find_peer(worker, step->region_id) : NULL;
        if (peer && !peer->destroy.begun)
            region_step_take(peer, step);
        else if (!peer && step->kind == WIRE_STEP_KIND_CREATE &&
                 step->region_id % worker->store->worker_count == worker->index)
            peer_empty_create(worker->store, worker->actor, step);
    }
    message_free(&take_message->message);
}

static void on_stores(struct region_worker *worker, struct regions_message *take_message)
{
    store_id own = atomic_load(&worker->store->store_id);
    for (uint32_t i = 0; i < take_message->reply.stores_count; i++) {
        const struct wire_store *store = &take_message->reply.stores[i];
        char address[256];
        if (store->id == own || store->id == 0 || store->address.size >= sizeof address)
            continue;
        snprintf(address, sizeof address, "%.*s", (int)store->address.size, (const char *)store->address.data);
        struct neighbour *neighbour = neighbour_of(worker, store->id);
        if (neighbour)
            neighbour->lost = store->lost;
        if (neighbour && strcmp(link_address(neighbour->link), address) == 0)
            continue;
        if (neighbour)
            link_close(neighbour->link); /* it moved */
        else {
            neighbour = calloc(1, sizeof *neighbour);
            CHECK(neighbour);
            neighbour->id = store->id;
            neighbour->lost = store->lost;
            HASH_ADD(hh, worker->neighbours, id, sizeof neighbour->id, neighbour);
        }
        neighbour->link = link_open(worker->links, address, store->id, neighbour);
    }
    message_free(&take_message->message);
}

static void on_link_up(void *context, struct link *link, const struct wire_hello *hello)
{
    struct region_worker *worker = context;
    struct neighbour *neighbour = link_user(link);
    if (hello->node_id != neighbour->id)
        link_reset(link);
    else
        log_event(worker->env->log, LOG_INFO, "event=store_connected peer_store=%llu address=%s",
                  (unsigned long long)neighbour->id, link_address(link));
}

static void on_link_frame(void *context, struct link *link, struct frame *take_frame)
{
    (void)context;
    (void)link;
    frame_unref(take_frame); /* answers come as the neighbour's own frames, on its own connection */
}

static void on_link_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    struct region_worker *worker = context;
    struct neighbour *neighbour = link_user(link);
    if (was_up)
        log_event(worker->env->log, LOG_WARN, "event=store_disconnected peer_store=%llu address=%s code=%s msg=\"%s\"",
                  (unsigned long long)neighbour->id, link_address(link), err_name(code), text ? text : "");
}

/* ---- reports to pd */

/* Who sleeps is well: that is what they agreed to. */
static void add_health(struct region_worker *worker, struct peer *peer, struct wire_region_heartbeat *heartbeat)
{
    enum { PENDING_COUNT = 1024 };
    struct raft_status status;
    if (peer->sleep.asleep)
        return;
    raft_get_status(peer->group->raft, &status);
    heartbeat->down_stores = arena_alloc(&worker->round_arena, 2 * REGION_PEERS_MAX * sizeof(uint64_t));
    heartbeat->pending_stores = heartbeat->down_stores + REGION_PEERS_MAX;
    for (uint32_t i = 0; i < status.peer_count; i++) {
        const struct raft_peer_status *other = &status.peers[i];
        const struct region_peer *member = region_peer_by_id(peer->region, other->id);
        if (other->id == peer->id || !member)
            continue;
        if (!other->recent_active && !store_pairs_is_live(worker->pairs, member->store_id))
            heartbeat->down_stores[heartbeat->down_stores_count++] = member->store_id;
        if (other->state != RAFT_REPLICATE || other->match + PENDING_COUNT < status.last)
            heartbeat->pending_stores[heartbeat->pending_stores_count++] = member->store_id;
    }
}

static void add_heartbeat(struct region_worker *worker, struct peer *peer, struct wire_region_heartbeat *heartbeat)
{
    struct wire_region *region = arena_alloc(&worker->round_arena, sizeof *region);
    *region = region_to_wire_brief(peer->region, &worker->round_arena);
    struct region_extent extent = peer_known_extent(peer);
    *heartbeat = (struct wire_region_heartbeat){
        .region = region,
        .leader_peer = peer->id,
        .term = raft_term_now(peer->group->raft),
        .approximate_size = extent.size,
        .approximate_keys = extent.keys,
        .keys_written = peer->keys_written,
        .keys_read = peer->keys_read,
        .size_written = peer->size_written,
        .interval_ms = peer->reported_us ? (worker->now_us - peer->reported_us) / 1000 : 0};
    add_health(worker, peer, heartbeat);
    peer->keys_written = peer->keys_read = peer->size_written = 0;
    peer->reported_us = worker->now_us;
    peer->heartbeat_due = false;
}

static void post_heartbeats(struct region_worker *worker, struct wire_region_heartbeat *heartbeats, uint32_t count)
{
    struct wire_pd_request request = {.op = WIRE_PD_OP_REGION_HEARTBEAT,
                                      .cluster_id = atomic_load(&worker->store->cluster_id),
                                      .store_id = atomic_load(&worker->store->store_id),
                                      .heartbeats = heartbeats,
                                      .heartbeats_count = count};
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
    if (frame)
        pd_link_post(worker->store->pd_link, frame);
}

/* All peers, or those that are awake: who sleeps has no news. */
static struct peer *awake_or_null(struct region_worker *worker, struct list *link)
{
    return link == &worker->awake ? NULL : LIST_ENTRY(link, struct peer, awake);
}

static struct peer *first_to_report(struct region_worker *worker, bool all)
{
    return all ? worker->peers : awake_or_null(worker, worker->awake.next);
}

static struct peer *next_to_report(struct region_worker *worker, bool all, struct peer *peer)
{
    return all ? peer->hh.next : awake_or_null(worker, peer->awake.next);
}

static void report_to_pd(struct region_worker *worker, bool all)
{
    struct wire_region_heartbeat *heartbeats = NULL;
    uint32_t count = 0;
    for (struct peer *peer = first_to_report(worker, all); peer; peer = next_to_report(worker, all, peer)) {
        if (all)
            peer_size_look(peer);
        if (!(all || peer->heartbeat_due) || !raft_is_leader(peer->group->raft) || peer->destroy.begun)
            continue;
        if (!heartbeats)
            heartbeats = arena_alloc(&worker->round_arena, HEARTBEATS_PER_FRAME_MAX * sizeof *heartbeats);
        add_heartbeat(worker, peer, &heartbeats[count++]);
        if (count == HEARTBEATS_PER_FRAME_MAX) {
            post_heartbeats(worker, heartbeats, count);
            count = 0;
        }
    }
    if (count > 0)
        post_heartbeats(worker, heartbeats, count);
}

/* ---- time */

static void free_tick(struct message *message)
{
    free(message);
}

/* At the end of the running tick, wherever in it we are: a heartbeat that is handled is then never more than one tick
 * ahead of the ticks that were given. Leases count on it (docs/decisions/0004). */
static void post_tick(struct region_worker *worker)
{
    uint64_t due_us = worker->ticked_us + worker->store->config->tick_ms * 1000;
    uint64_t now_us = clock_now_us(worker->env->clock);
    struct tick_message *tick = calloc(1, sizeof *tick);
    CHECK(tick);
    tick->message = (struct message){.kind = WORKER_TICK, .free = free_tick};
    actor_post_after(worker->env->executor, worker->actor, due_us > now_us ? due_us - now_us : 0, &tick->message);
}

/* Time in which we were deaf ourselves, because the process was stopped or has too little of the machine, is no silence of
 * the others: what they said waits in the mailbox. So a tick that is late counts for as much as store_pairs lets it count,
 * and with less than the machine can do for it a store is slow, but does not elect all the time. Promises to others last
 * longer than they need to; leases are measured by the clock (docs/decisions/0004). */
static uint32_t ticks_passed(struct region_worker *worker)
{
    const struct store_config *config = worker->store->config;
    uint64_t tick_us = config->tick_ms * 1000;
    uint64_t ticks = (worker->now_us - worker->ticked_us) / tick_us;
    worker->ticked_us += ticks * tick_us;
    return ticks < config->heartbeat_ticks ? (uint32_t)ticks : config->heartbeat_ticks;
}

/* ---- other stores */

static uint64_t election_us(const struct region_worker *worker)
{
    return worker->store->config->election_ticks * worker->store->config->tick_ms * 1000;
}

static void on_silent(void *context, store_id store)
{
    struct region_worker *worker = context;
    log_event(worker->env->log, LOG_WARN, "event=store_silent peer_store=%llu", (unsigned long long)store);
    for (struct peer *peer = worker->peers; peer; peer = peer->hh.next)
        peer_sleep_store_silent(peer, store);
}

static void send_beat(void *context, store_id store)
{
    struct region_worker *worker = context;
    struct neighbour *neighbour = neighbour_of(worker, store);
    if (!neighbour || !link_is_up(neighbour->link))
        return;
    struct wire_store_beat beat = {.incarnation = worker->store->incarnation, .leaving = worker->leaving};
    struct wire_raft_batch batch = {
        .from_store = atomic_load(&worker->store->store_id), .to_store = store, .beat = &beat};
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    if (frame)
        (void)link_send(neighbour->link, frame);
}

/* Worker 0: this store lives, if each of its workers has had its tick lately, with a disk that answers. */
static void send_beats(struct region_worker *worker, uint32_t ticks)
{
    worker->beat_ticks += ticks;
    if (worker->beat_ticks < worker->store->config->heartbeat_ticks)
        return;
    worker->beat_ticks = 0;
    for (uint32_t i = 0; i < worker->store->worker_count; i++)
        if (worker->now_us > atomic_load(&worker->store->fit_us[i]) + election_us(worker))
            return;
    store_pairs_each(worker->pairs, send_beat, worker);
}

/* Others should lead what is awake here. Returns how many groups are on their way. */
static uint32_t hand_over_all(struct region_worker *worker)
{
    uint32_t count = 0;
    LIST_FOR_EACH (link, &worker->awake) {
        struct peer *peer = LIST_ENTRY(link, struct peer, awake);
        enum hand_over state = peer->destroy.begun ? HAND_OVER_NONE : hand_over_try(peer);
        worker->sleep_counts.handed_over += state == HAND_OVER_BEGUN;
        count += state != HAND_OVER_NONE;
    }
    return count;
}

/* The store is being stopped in order: nothing is led here any more, as soon as others do. */
static void leave(struct region_worker *worker)
{
    if (!worker->leaving) {
        worker->leaving = true;
        for (struct peer *peer = worker->peers; peer; peer = peer->hh.next)
            if (raft_is_leader(peer->group->raft))
                peer_wake(peer, WAKE_REQUEST);
        if (worker->index == 0)
            store_pairs_each(worker->pairs, send_beat, worker); /* so that leaderships are not given to us */
    }
    atomic_store(&worker->store->leads_count[worker->index], hand_over_all(worker));
}

/* While we were stopped ourselves, what the disk has done since waits in the mailbox: that counts for little. */
static void check_disk(struct region_worker *worker, uint32_t ticks)
{
    const struct store_config *config = worker->store->config;
    if (worker->log_tasks_out > 0)
        worker->log_still_ticks += ticks < config->heartbeat_ticks ? ticks : config->heartbeat_ticks;
    bool hangs = worker->log_tasks_out > 0 && worker->log_still_ticks >= config->election_ticks;
    if (hangs && !worker->disk_hangs)
        log_event(worker->env->log, LOG_WARN, "event=disk_hangs msg=\"no write has ended for %llu ms\"",
                  (unsigned long long)worker->log_still_ticks * config->tick_ms);
    else if (!hangs && worker->disk_hangs)
        log_event(worker->env->log, LOG_WARN, "event=disk_answers");
    worker->disk_hangs = hangs;
    if (hangs) /* no heartbeat stops, but nothing can be done for clients here */
        (void)hand_over_all(worker);
    else
        atomic_store(&worker->store->fit_us[worker->index], worker->now_us);
}

static void tick_pairs(struct region_worker *worker, uint32_t ticks)
{
    check_disk(worker, ticks);
    store_pairs_tick(worker->pairs, ticks, on_silent, worker);
    if (worker->index == 0)
        send_beats(worker, ticks);
}

static void free_spare_tasks(struct region_worker *worker)
{
    while (worker->spare_tasks) {
        struct log_task *task = worker->spare_tasks;
        worker->spare_tasks = (struct log_task *)task->message.next;
        log_task_free(task);
    }
    worker->spare_count = 0;
}

/* Everybody sleeps: what was kept for the next round may take long to be of use. */
static void shrink(struct region_worker *worker)
{
    raft_pool_trim(worker->pool);
    free_spare_tasks(worker);
    for (struct neighbour *neighbour = worker->neighbours; neighbour; neighbour = neighbour->hh.next)
        for (int after = 0; after < 2 && !neighbour->dirty; after++) {
            free(neighbour->outbox.messages[after]);
            neighbour->outbox.messages[after] = NULL;
            neighbour->outbox.capacity[after] = 0;
        }
    /* What thousands of groups needed at a time is free, but in pieces all over the heap. */
    if (worker->sleep_counts.slept >= worker->slept_at_trim + TRIM_AFTER_COUNT) {
        worker->slept_at_trim = worker->sleep_counts.slept;
        malloc_trim(0);
    }
}

/* Every second or so. */
static void look_after(struct peer *peer)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    struct store *store = region_worker_store(peer->worker);
    uint64_t now_us = region_worker_now_us(peer->worker);
    if (peer->group->replicated >= raft_applied_index(peer->group->raft) || peer->behind_since_us == 0)
        peer->behind_since_us = now_us;
    bool is_old = config->log_age_max_ms > 0 && now_us - peer->behind_since_us > config->log_age_max_ms * 1000;
    const struct group_retention retention = {.retain_count = config->log_retain_count,
                                              .size_max = config->log_size_max,
                                              .count_max = config->log_count_max,
                                              .force = is_old || disk_guard_is_low(&store->disk_guard)};
    raft_index limit = region_fsm_log_needed_after(peer->fsm);
    if (peer->snapshot.sending > 0 && peer->snapshot.floor < limit)
        limit = peer->snapshot.floor;
    peer_snapshot_tick(peer);
    if (peer->destroy.begun)
        return;
    peer_check_tick(peer);
    if (!peer_snapshot_installs(&peer->snapshot))
        group_maybe_truncate(peer->group, limit, &retention);
    peer_split_look(peer);
}

/* Regions that sleep, too: what they hold may have to go. */
static void tell_expiry(struct region_worker *worker)
{
    struct expiry_spans *spans = expiry_spans_new();
    worker->expiry_at_us = worker->now_us + worker->store->config->expiry_interval_ms * 1000;
    struct peer *peer, *following;
    HASH_ITER(hh, worker->peers, peer, following)
    {
        if (peer->time.last_expiry_ms == 0)
            continue;
        struct region_time time = peer->time;
        if (BUG(dropped_by_clock))
            time.now_ms = clock_wall_ms(worker->env->clock);
        expiry_spans_add(spans, peer->region->start_key, peer->region->end_key, time);
        peer_time_look(peer);
    }
    expiry_spans_post(worker->store, worker->index, spans, &worker->expiry_told);
}

static void on_time_wish(struct region_worker *worker, struct time_wish *take_wish)
{
    struct peer *peer = find_peer(worker, take_wish->region);
    if (peer)
        peer_time_wish(peer, take_wish->time_ms);
    message_free(&take_wish->message);
}

/* The next of the regions that are led here; all of them have their turn in an interval. */
static void check_next(struct region_worker *worker)
{
    const struct store *store = worker->store;
    uint64_t interval_us = store->config->check_interval_ms * 1000, leads = 0;
    if (interval_us == 0 || worker->now_us < worker->check_at_us)
        return;
    struct peer *next = NULL, *first = NULL;
    for (struct peer *peer = worker->peers; peer; peer = peer->hh.next) {
        if (!raft_is_leader(peer->group->raft) || peer->region->peer_count < 2)
            continue;
        leads++;
        if (!first || peer->region_id < first->region_id)
            first = peer;
        if (peer->region_id > worker->checked && (!next || peer->region_id < next->region_id))
            next = peer;
    }
    bool begun = worker->check_at_us > 0; /* not all at once after a start */
    worker->check_at_us = worker->now_us + interval_us / (leads > 0 ? leads : 1);
    next = next ? next : first;
    if (!next || !begun || atomic_load(&store->checks_under_way) > 0)
        return;
    worker->checked = next->region_id;
    peer_wake(next, WAKE_REQUEST);
    (void)peer_check_start(next, NULL);
}

static void ask_for_sleepers(struct region_worker *worker)
{
    uint64_t interval_us = worker->store->config->stale_check_interval_ms * 1000;
    if (worker->stale_check_at_us == 0)
        worker->stale_check_at_us = worker->now_us + interval_us;
    if (worker->now_us < worker->stale_check_at_us)
        return;
    worker->stale_check_at_us = worker->now_us + interval_us;
    for (struct peer *peer = worker->peers; peer; peer = peer->hh.next)
        if (peer->sleep.asleep && !raft_is_leader(peer->group->raft))
            peer_destroy_ask(peer);
}

static void on_tick(struct region_worker *worker)
{
    uint32_t ticks = ticks_passed(worker);
    bool truncate = worker->now_us >= worker->truncate_at_us;
    bool all = worker->now_us >= worker->heartbeat_at_us;
    if (truncate)
        worker->truncate_at_us = worker->now_us + worker->store->config->log_check_interval_ms * 1000;
    if (all)
        worker->heartbeat_at_us = worker->now_us + HEARTBEAT_ALL_INTERVAL_MS * 1000;
    worker->tick_count += ticks;
    campaigns_tick(&worker->campaigns, ticks);
    LIST_FOR_EACH_SAFE (link, following, &worker->awake) {
        struct peer *peer = LIST_ENTRY(link, struct peer, awake);
        if (truncate)
            look_after(peer);
        /* With a disk that hangs, or on the way out, there is no point in being elected. */
        if (ticks > 0 && ((!worker->disk_hangs && !worker->leaving) || raft_is_leader(peer->group->raft)))
            peer_tick(peer, ticks);
    }
    check_next(worker);
    lost_peers_tick(worker->lost, ticks);
    if (truncate)
        absent_peers_sweep(worker->absent, worker->tick_count);
    if (truncate)
        ask_for_sleepers(worker);
    if (truncate && list_is_empty(&worker->awake))
        shrink(worker);
    if (worker->now_us >= worker->expiry_at_us)
        tell_expiry(worker);
    drop_ended(worker);
    tick_pairs(worker, ticks); /* after the peers: who wakes now has had its ticks */
    links_tick(worker->links);
    report_to_pd(worker, all);
    post_tick(worker);
}

/* ---- snapshots */

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

static void on_chunk(struct region_worker *worker, struct snapshot_chunk_message *take_message)
{
    struct store *store = worker->store;
    struct peer *peer = find_peer(worker, take_message->chunk.region_id);
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

static void on_staged(struct region_worker *worker, struct snapshot_staged *take_staged)
{
    struct peer *peer = find_peer(worker, take_staged->region);
    if (peer)
        peer_snapshot_staged(peer, take_staged);
    else
        snapshot_receiver_post_forget(worker->store->snapshot_receiver, take_staged);
}

static void on_created(struct region_worker *worker, struct peer_created *take_created)
{
    struct error error = {0};
    struct peer *peer = find_peer(worker, take_created->region->id);
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

static void on_sent(struct region_worker *worker, struct snapshot_sent *take_message)
{
    struct peer *peer = find_any_peer(worker, take_message->region);
    CHECK(peer);
    peer_snapshot_sent(peer, take_message);
    message_free(&take_message->message);
}

static void on_cut(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = find_any_peer(worker, peer_snapshot_cut_region(take_message));
    CHECK(peer);
    peer_snapshot_cut_done(peer, take_message);
}

static void on_installed(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = find_any_peer(worker, peer_snapshot_install_region(take_message));
    CHECK(peer);
    peer_snapshot_installed(peer, take_message);
}

static void on_damage(struct region_worker *worker, struct damage_message *take_message)
{
    struct peer *peer = find_peer(worker, take_message->region);
    if (peer)
        peer_heal_damaged(peer, take_message->text);
    message_free(&take_message->message);
}

static struct peer *find_member(const struct region_worker *worker, region_id id)
{
    struct peer *peer = find_peer(worker, id);
    return peer && !peer->destroy.begun ? peer : NULL;
}

static void on_transfer(struct region_worker *worker, struct transfer_message *take_message)
{
    struct peer *peer = find_member(worker, take_message->region);
    if (peer)
        peer_wake(peer, WAKE_REQUEST);
    if (peer && raft_transfer(peer->group->raft, take_message->to) == ERR_OK)
        region_worker_touch(worker, peer);
    message_free(&take_message->message);
}

static void on_split(struct region_worker *worker, struct split_ask *take_wish)
{
    struct peer *peer = find_member(worker, take_wish->ids.region);
    if (peer)
        peer_split(peer, take_wish);
    else
        message_free(&take_wish->ids.message);
}

static void on_split_ids(struct region_worker *worker, struct split_ask *take_ask)
{
    struct peer *peer = find_member(worker, take_ask->ids.region);
    if (peer) {
        peer_split_ids(peer, take_ask);
        return;
    }
    if (take_ask->owed)
        replies_add_error(worker->replies, take_ask->to, ERR_REGION_NOT_FOUND, 0);
    message_free(&take_ask->ids.message);
}

static void on_conf_ids(struct region_worker *worker, struct conf_ask *take_ask)
{
    struct peer *peer = find_member(worker, take_ask->ids.region);
    if (peer) {
        peer_conf_ids(peer, take_ask);
        return;
    }
    if (take_ask->owed)
        replies_add_error(worker->replies, take_ask->to, ERR_REGION_NOT_FOUND, 0);
    message_free(&take_ask->ids.message);
}

static void on_conf_change(struct region_worker *worker, struct conf_ask *take_ask)
{
    struct peer *peer = find_member(worker, take_ask->ids.region);
    if (!peer) {
        message_free(&take_ask->ids.message);
        return;
    }
    peer_wake(peer, WAKE_REQUEST);
    peer_sleep_note_work(peer);
    peer_conf_change(peer, take_ask);
}

static void on_split_checked(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = find_member(worker, peer_split_check_region(take_message));
    if (peer)
        peer_split_checked(peer, take_message);
    else
        message_free(take_message);
}

static void on_forgotten(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = find_peer(worker, peer_destroy_region(take_message));
    CHECK(peer);
    peer_destroy_forgotten(peer);
    message_free(take_message);
}

/* Nobody has a pointer to it any more. */
static void remove_peer(struct region_worker *worker, struct peer *peer)
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

/* ---- the actor */

static void on_status(struct region_worker *worker, struct status_ask *take_ask)
{
    for (const struct peer *peer = worker->peers; peer; peer = peer->hh.next) {
        const struct raft *raft = peer->group->raft;
        const struct status_peer status = {.region = peer->region_id,
                                           .peer = peer->id,
                                           .leader = raft_leader(raft),
                                           .role = raft_role(raft),
                                           .term = raft_term_now(raft),
                                           .truncated = raft_truncated(raft).index,
                                           .applied = raft_applied_index(raft),
                                           .committed = raft_commit_index(raft),
                                           .last = raft_last_index(raft),
                                           .log_size = peer->group->log_size,
                                           .memory_size = raft_memory_size(raft),
                                           .proposals = peer->proposed_count + peer->pending_count,
                                           .reads = peer->reads_count,
                                           .asleep = peer->sleep.asleep,
                                           .installs = peer->snapshot.state >= PEER_SNAPSHOT_WHOLE,
                                           .damaged = peer->snapshot.damaged};
        status_ask_add(take_ask, &status);
    }
    status_ask_next(take_ask);
}

static void on_peers(struct region_worker *worker, struct peer_report *take_report)
{
    for (const struct peer *peer = worker->peers; peer; peer = peer->hh.next) {
        const struct raft *raft = peer->group->raft;
        if (peer->destroy.begun || !peer_is_member(peer))
            continue;
        struct wire_peer_report *row = peer_report_add(take_report, peer->region);
        row->peer_id = peer->id;
        row->term = raft_term_now(raft);
        row->last_index = raft_last_index(raft);
        row->last_term = raft_term_at(raft, row->last_index);
        row->committed_index = raft_commit_index(raft);
        row->applied_index = raft_applied_index(raft);
        row->leader_peer = raft_leader(raft);
        row->damaged = peer->snapshot.damaged || peer->snapshot.state >= PEER_SNAPSHOT_WHOLE;
        row->forced = peer->force != NULL;
        row->refused = bytes_of_string(peer->force_refused ? peer->force_refused : "");
    }
    lost_peers_report(worker->lost, take_report);
    peer_report_next(take_report);
}

static void on_message(void *state, struct message *take_message)
{
    struct region_worker *worker = state;
    worker->now_us = clock_now_us(worker->env->clock);
    if (worker->stopped) {
        message_free(take_message);
        return;
    }
    if (!worker->links && (take_message->kind == WORKER_REGIONS || take_message->kind == WORKER_STORES))
        region_worker_start(worker); /* first start: the store has just learnt who it is */
    switch ((enum worker_message_kind)take_message->kind) {
    case WORKER_KV_BATCH:
        on_kv_batch(worker, (struct kv_batch *)take_message);
        break;
    case WORKER_RAFT_BATCH:
        on_raft_batch(worker, (struct raft_batch *)take_message);
        break;
    case WORKER_LOG_DONE:
        on_log_done(worker, (struct log_task *)take_message);
        break;
    case WORKER_APPLY_DONE:
        on_apply_done(worker, (struct region_task *)take_message);
        break;
    case WORKER_FETCHED:
        on_fetched(worker, take_message);
        break;
    case WORKER_TICK:
        message_free(take_message);
        on_tick(worker);
        break;
    case WORKER_GATHERED:
        message_free(take_message);
        worker->gathered_us = UINT64_MAX;
        break;
    case WORKER_LINKS:
        links_on_message(worker->links, take_message);
        break;
    case WORKER_REGIONS:
        on_regions(worker, (struct regions_message *)take_message);
        break;
    case WORKER_STORES:
        on_stores(worker, (struct regions_message *)take_message);
        break;
    case WORKER_REGION_UNKNOWN:
        on_region_unknown(worker, (struct region_ask *)take_message);
        break;
    case WORKER_REGION_SEEN:
        on_region_seen(worker, (struct regions_message *)take_message);
        break;
    case WORKER_STEPS:
        on_steps(worker, (struct regions_message *)take_message);
        break;
    case WORKER_HEARTBEAT_ALL:
        message_free(take_message);
        worker->heartbeat_at_us = 0;
        break;
    case WORKER_SHARED:
        (void)store_pairs_share(worker->pairs, ((struct shared_message *)take_message)->store);
        message_free(take_message);
        break;
    case WORKER_LEAVE:
        message_free(take_message);
        leave(worker);
        break;
    case WORKER_CHILD: {
        struct child_message *child = (struct child_message *)take_message;
        start_child(worker, child->region, child->campaign);
        message_free(take_message);
        break;
    }
    case WORKER_PEER_CREATED:
        on_created(worker, (struct peer_created *)take_message);
        break;
    case WORKER_SPLIT:
        on_split(worker, (struct split_ask *)take_message);
        break;
    case WORKER_CONF_CHANGE:
        on_conf_change(worker, (struct conf_ask *)take_message);
        break;
    case WORKER_CONF_IDS:
        on_conf_ids(worker, (struct conf_ask *)take_message);
        break;
    case WORKER_PEER_FORGOTTEN:
        on_forgotten(worker, take_message);
        break;
    case WORKER_LOST_FORGOTTEN:
        lost_peers_forgotten(worker->lost, take_message);
        message_free(take_message);
        break;
    case WORKER_MERGE:
        on_merge(worker, (struct merge_message *)take_message);
        break;
    case WORKER_SPLIT_IDS:
        on_split_ids(worker, (struct split_ask *)take_message);
        break;
    case WORKER_SPLIT_CHECKED:
        on_split_checked(worker, take_message);
        break;
    case WORKER_SNAPSHOT_CUT:
        on_cut(worker, take_message);
        break;
    case WORKER_SNAPSHOT_SENT:
        on_sent(worker, (struct snapshot_sent *)take_message);
        break;
    case WORKER_SNAPSHOT_CHUNK:
        on_chunk(worker, (struct snapshot_chunk_message *)take_message);
        break;
    case WORKER_SNAPSHOT_STAGED:
        on_staged(worker, (struct snapshot_staged *)take_message);
        break;
    case WORKER_SNAPSHOT_INSTALLED:
        on_installed(worker, take_message);
        break;
    case WORKER_TIME_WISH:
        on_time_wish(worker, (struct time_wish *)take_message);
        return;
    case WORKER_HASHED: {
        struct hash_job *job = (struct hash_job *)take_message;
        struct peer *peer = find_peer(worker, job->cut->region_id);
        if (peer)
            peer_check_hashed(peer, job);
        else
            message_free(take_message);
        break;
    }
    case WORKER_STATUS:
        on_status(worker, (struct status_ask *)take_message);
        break;
    case WORKER_EMPTY:
        start_child(worker, ((struct peer_empty *)take_message)->region, true);
        message_free(take_message);
        break;
    case WORKER_PEERS:
        on_peers(worker, (struct peer_report *)take_message);
        break;
    case WORKER_DAMAGE:
        on_damage(worker, (struct damage_message *)take_message);
        break;
    case WORKER_TRANSFER:
        on_transfer(worker, (struct transfer_message *)take_message);
        break;
    }
}

static void free_held(struct region_worker *worker)
{
    while (worker->held) {
        struct message *message = worker->held;
        worker->held = message->next;
        message_free(message);
    }
}

/* With a disk that hangs, or on the way out, there is no point in being elected. */
static void begin_campaigns(struct region_worker *worker)
{
    struct campaign *next;
    while (!worker->stopped && !worker->disk_hangs && !worker->leaving && (next = campaigns_next(&worker->campaigns)))
        peer_campaign(LIST_ENTRY(next, struct peer, campaign));
}

static void on_round(void *state)
{
    struct region_worker *worker = state;
    if (worker->leaving && !worker->stopped)
        leave(worker);
    begin_campaigns(worker);
    touch_waiting(worker);
    while (worker->touched && !worker->stopped) {
        struct peer *first = worker->touched;
        worker->touched = NULL;
        worker->touched_last = &worker->touched;
        worker->gate_open =
            gate_is_open(worker); /* for all of them: the first one's proposal must not shut out the next */
        for (struct peer *peer = first; peer; peer = peer->next_touched)
            if (!peer->merge.ended)
                peer_round(peer);
        flush(worker);
        for (struct peer *peer = first, *next; peer; peer = next) {
            next = peer->next_touched;
            peer->touched = false;
            if (peer->merge.ended)
                continue;
            if (peer->destroy.over)
                remove_peer(worker, peer);
            else if (!peer_release(peer))
                region_worker_touch(worker, peer);
            else if (peer->destroy.begun)
                peer_destroy_go_on(peer);
            else
                peer_sleep_try(peer);
        }
        touch_waiting(worker);
    }
    if (!worker->stopped)
        flush(worker); /* reads and retention without a touched peer */
    replies_flush(worker->replies);
    if (!worker->waiting)
        free_held(worker);
}

enum err region_worker_new(struct store *store, uint32_t index, struct region_worker **ret_worker)
{
    static const struct actor_ops ops = {.on_message = on_message, .on_round = on_round, .brief = true};
    struct region_worker *worker = calloc(1, sizeof *worker);
    CHECK(worker);
    worker->store = store;
    worker->env = store->env;
    worker->index = index;
    worker->touched_last = &worker->touched;
    list_init(&worker->awake);
    worker->lost = lost_peers_new(worker);
    worker->absent = absent_peers_new();
    worker->pairs = store_pairs_new(store->config->election_ticks, store->config->heartbeat_ticks);
    campaigns_init(&worker->campaigns, store->config->campaigns_max);
    worker->gathered_us = UINT64_MAX;
    worker->pool = raft_pool_new(SPARE_BLOCKS_SIZE);
    worker->replies = replies_new(store->env);
    arena_init(&worker->round_arena);
    enum err code =
        executor_spawn(store->env->executor, "region", &ops, worker, store->config->mailbox_max, &worker->actor);
    if (code != ERR_OK) {
        region_worker_free(worker);
        return code;
    }
    *ret_worker = worker;
    return ERR_OK;
}

void region_worker_start(struct region_worker *worker)
{
    struct wire_hello hello = {.role = WIRE_ROLE_STORENODE,
                               .cluster_id = atomic_load(&worker->store->cluster_id),
                               .node_id = atomic_load(&worker->store->store_id),
                               .version_min = PROTOCOL_VERSION_MIN,
                               .version_max = PROTOCOL_VERSION,
                               .build = bytes_of_string(POLDER_VERSION)};
    struct links_options options = {0};
    struct links_handler handler = {
        .context = worker, .on_up = on_link_up, .on_frame = on_link_frame, .on_down = on_link_down};
    worker->links = links_new(worker->env, worker->actor, WORKER_LINKS, &hello, &options, &handler);
    /* The first tick is late by a part of a tick, at random: stores that were started together, and lose a leader
     * together, would campaign in the same instant and split their votes. */
    struct rng rng;
    rng_init(&rng, worker->env->seed + worker->index, "tick");
    worker->now_us = clock_now_us(worker->env->clock);
    worker->ticked_us = worker->now_us + rng_below(&rng, worker->store->config->tick_ms * 1000);
    atomic_store(&worker->store->fit_us[worker->index], worker->now_us);
    post_tick(worker);
}

uint32_t region_worker_ending_count(const struct region_worker *worker)
{
    return HASH_COUNT(worker->ending);
}

void region_worker_visit(const struct region_worker *worker,
                         void (*visit)(void *context, const struct store_peer_view *view), void *context)
{
    const struct store *store = worker->store;
    for (const struct peer *peer = worker->peers; peer; peer = peer->hh.next) {
        struct store_peer_view view = {
            .region = peer->region_id,
            .range = peer->region,
            .peer = peer->id,
            .raft = peer->group->raft,
            .members = peer->region,
            .applied_index = raft_applied_index(peer->group->raft),
            .installs = peer_snapshot_installs(&peer->snapshot),
            .lease = store->config->lease_read &&
                     group_lease_holds(peer->group, clock_now_us(worker->env->clock), store->config->lease_ms * 1000)};
        visit(context, &view);
    }
}

void region_worker_free(struct region_worker *worker)
{
    if (!worker)
        return;
    struct peer *peer, *next_peer;
    HASH_ITER(hh, worker->peers, peer, next_peer)
    {
        HASH_DEL(worker->peers, peer);
        peer_free(peer);
    }
    HASH_ITER(hh, worker->ending, peer, next_peer)
    {
        HASH_DEL(worker->ending, peer);
        peer_free(peer);
    }
    struct departed *departed, *next_departed;
    HASH_ITER(hh, worker->departed, departed, next_departed)
    {
        HASH_DEL(worker->departed, departed);
        region_free(departed->last);
        region_free(departed->into);
        free(departed);
    }
    links_free(worker->links);
    store_pairs_free(worker->pairs);
    while (worker->births)
        birth_end(worker, worker->births->region, NULL);
    lost_peers_free(worker->lost);
    absent_peers_free(worker->absent);
    struct neighbour *neighbour, *next_neighbour;
    HASH_ITER(hh, worker->neighbours, neighbour, next_neighbour)
    {
        HASH_DEL(worker->neighbours, neighbour);
        free(neighbour->outbox.messages[0]);
        free(neighbour->outbox.messages[1]);
        free(neighbour);
    }
    free_spare_tasks(worker);
    log_task_free(worker->log_task);
    read_task_free(worker->read_task);
    free_held(worker);
    replies_free(worker->replies);
    raft_pool_free(worker->pool);
    arena_fini(&worker->round_arena);
    free(worker);
}
