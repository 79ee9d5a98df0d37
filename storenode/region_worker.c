#include "storenode/worker_parts.h"

#include <stdlib.h>
#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "env/clock.h"
#include "storenode/campaigns.h"
#include "storenode/expiry.h"
#include "storenode/peer.h"
#include "storenode/peer_create.h"
#include "storenode/peer_empty.h"
#include "storenode/peer_lost.h"
#include "storenode/peer_report.h"
#include "storenode/peer_time.h"
#include "storenode/snapshot_receive.h"
#include "storenode/store_pairs.h"
#include "storenode/store_status.h"

enum { SPARE_LOG_TASKS_MAX = 4, SPARE_BLOCKS_SIZE = 4 * 1024 * 1024, GATHER_MAX_US = 5000 };

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
    const struct departed *departed = worker_find_departed(worker, request->region_id);
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
        struct peer *peer = request->op == WIRE_KV_OP_PING ? NULL : worker_find_peer(worker, request->region_id);
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
    const struct departed *departed = worker_find_departed(worker, wire->region_id);
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
    const struct neighbour *from = worker_neighbour(worker, take_batch->batch.from_store);
    if (from && from->lost && !BUG(lost_store_comes_back)) {
        message_free(&take_batch->message);
        return;
    }
    if (take_batch->batch.beat)
        on_beat(worker, take_batch->batch.from_store, take_batch->batch.beat);
    for (uint32_t i = 0; i < take_batch->batch.messages_count; i++) {
        const struct wire_raft_message *wire = &take_batch->batch.messages[i];
        struct peer *peer = worker_find_peer(worker, wire->region_id);
        if (!peer && lost_peers_message(worker->lost, wire))
            continue;
        if (!peer) {
            worker_keep_early_vote(worker, wire);
            tell_gone(worker, take_batch->batch.from_store, wire);
            note_absent(worker, take_batch->batch.from_store, wire);
        } else if (!peer_destroy_judge(peer, wire, take_batch->batch.from_store))
            peer_step(peer, wire, &take_batch->batch_arena);
    }
    message_free(&take_batch->message); /* the core has copied what it keeps */
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
        struct peer *peer = worker_find_any_peer(worker, take_task->appends[i].group_id);
        CHECK(peer);
        if (take_task->appends[i].host_only) {
            if (peer->merge.ended)
                worker_free_ended_peer(worker, peer);
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
    struct peer *peer = worker_find_any_peer(worker, take_task->region_id);
    CHECK(peer);
    if (take_task->code != ERR_OK)
        worker->stopped = true;
    peer_applied(peer, take_task);
}

static void on_fetched(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = worker_find_any_peer(worker, peer_fetch_region(take_message));
    if (peer)
        peer_fetched(peer, take_message);
    message_free(take_message);
}

static void on_time_wish(struct region_worker *worker, struct time_wish *take_wish)
{
    struct peer *peer = worker_find_peer(worker, take_wish->region);
    if (peer)
        peer_time_wish(peer, take_wish->time_ms);
    message_free(&take_wish->message);
}

static void on_staged(struct region_worker *worker, struct snapshot_staged *take_staged)
{
    struct peer *peer = worker_find_peer(worker, take_staged->region);
    if (peer)
        peer_snapshot_staged(peer, take_staged);
    else
        snapshot_receiver_post_forget(worker->store->snapshot_receiver, take_staged);
}

static void on_sent(struct region_worker *worker, struct snapshot_sent *take_message)
{
    struct peer *peer = worker_find_any_peer(worker, take_message->region);
    CHECK(peer);
    peer_snapshot_sent(peer, take_message);
    message_free(&take_message->message);
}

static void on_cut(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = worker_find_any_peer(worker, peer_snapshot_cut_region(take_message));
    CHECK(peer);
    peer_snapshot_cut_done(peer, take_message);
}

static void on_installed(struct region_worker *worker, struct message *take_message)
{
    struct peer *peer = worker_find_any_peer(worker, peer_snapshot_install_region(take_message));
    CHECK(peer);
    peer_snapshot_installed(peer, take_message);
}

static void on_damage(struct region_worker *worker, struct damage_message *take_message)
{
    struct peer *peer = worker_find_peer(worker, take_message->region);
    if (peer)
        peer_heal_damaged(peer, take_message->text);
    message_free(&take_message->message);
}

static struct peer *find_member(const struct region_worker *worker, region_id id)
{
    struct peer *peer = worker_find_peer(worker, id);
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
    struct peer *peer = worker_find_peer(worker, peer_destroy_region(take_message));
    CHECK(peer);
    peer_destroy_forgotten(peer);
    message_free(take_message);
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
        worker_on_tick(worker);
        break;
    case WORKER_GATHERED:
        message_free(take_message);
        worker->gathered_us = UINT64_MAX;
        break;
    case WORKER_LINKS:
        links_on_message(worker->links, take_message);
        break;
    case WORKER_REGIONS:
        worker_on_regions(worker, (struct regions_message *)take_message);
        break;
    case WORKER_STORES:
        worker_on_stores(worker, (struct regions_message *)take_message);
        break;
    case WORKER_REGION_UNKNOWN:
        worker_on_region_unknown(worker, (struct region_ask *)take_message);
        break;
    case WORKER_REGION_SEEN:
        worker_on_region_seen(worker, (struct regions_message *)take_message);
        break;
    case WORKER_STEPS:
        worker_on_steps(worker, (struct regions_message *)take_message);
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
        worker_leave(worker);
        break;
    case WORKER_CHILD: {
        struct child_message *child = (struct child_message *)take_message;
        worker_start_child(worker, child->region, child->campaign);
        message_free(take_message);
        break;
    }
    case WORKER_PEER_CREATED:
        worker_on_created(worker, (struct peer_created *)take_message);
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
        worker_on_merge(worker, (struct merge_message *)take_message);
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
        worker_on_chunk(worker, (struct snapshot_chunk_message *)take_message);
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
        struct peer *peer = worker_find_peer(worker, job->cut->region_id);
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
        worker_start_child(worker, ((struct peer_empty *)take_message)->region, true);
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
        worker_leave(worker);
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
        worker_flush(worker);
        for (struct peer *peer = first, *next; peer; peer = next) {
            next = peer->next_touched;
            peer->touched = false;
            if (peer->merge.ended)
                continue;
            if (peer->destroy.over)
                worker_remove_peer(worker, peer);
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
        worker_flush(worker); /* reads and retention without a touched peer */
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
    worker_open_links(worker);
    /* The first tick is late by a part of a tick, at random: stores that were started together, and lose a leader
     * together, would campaign in the same instant and split their votes. */
    struct rng rng;
    rng_init(&rng, worker->env->seed + worker->index, "tick");
    worker->now_us = clock_now_us(worker->env->clock);
    worker->ticked_us = worker->now_us + rng_below(&rng, worker->store->config->tick_ms * 1000);
    atomic_store(&worker->store->fit_us[worker->index], worker->now_us);
    worker_post_tick(worker);
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
    worker_drop_births(worker);
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
    worker_free_spare_tasks(worker);
    log_task_free(worker->log_task);
    read_task_free(worker->read_task);
    free_held(worker);
    replies_free(worker->replies);
    raft_pool_free(worker->pool);
    arena_fini(&worker->round_arena);
    free(worker);
}
