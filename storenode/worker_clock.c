#include "storenode/worker_parts.h"

#include <malloc.h>
#include <stdlib.h>
#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"
#include "storenode/campaigns.h"
#include "storenode/expiry.h"
#include "storenode/hand_over.h"
#include "storenode/pd_link.h"
#include "storenode/peer.h"
#include "storenode/peer_create.h"
#include "storenode/peer_lost.h"
#include "storenode/peer_time.h"
#include "storenode/store_pairs.h"

enum {
    HEARTBEATS_PER_FRAME_MAX = 512,
    HEARTBEAT_ALL_INTERVAL_MS = 10000,
    TRIM_AFTER_COUNT = 1000, /* peers that fell asleep */
};

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
void worker_post_tick(struct region_worker *worker)
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
    struct neighbour *neighbour = worker_neighbour(worker, store);
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
void worker_leave(struct region_worker *worker)
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

/* Everybody sleeps: what was kept for the next round may take long to be of use. */
static void shrink(struct region_worker *worker)
{
    raft_pool_trim(worker->pool);
    worker_free_spare_tasks(worker);
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
        if (peer->sleep.asleep && !raft_is_leader(peer->group->raft) && !BUG(sleepers_do_not_ask))
            peer_destroy_ask(peer);
}

void worker_on_tick(struct region_worker *worker)
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
    worker_drop_ended(worker);
    tick_pairs(worker, ticks); /* after the peers: who wakes now has had its ticks */
    links_tick(worker->links);
    report_to_pd(worker, all);
    worker_post_tick(worker);
}
