#include "storenode/peer_parts.h"

#include <stdlib.h>
#include "base/log.h"
#include "storenode/pd_link.h"
#include "storenode/region_worker.h"

enum { SPLIT_RETRY_MS = 20000, DELETED_COUNT = 1000 };

static void ask_for_ids(struct peer *peer, struct split_ask *take_ask)
{
    struct store *store = region_worker_store(peer->worker);
    peer->split.asked = true;
    take_ask->ids.count = split_ask_id_count(take_ask);
    take_ask->ids.done_kind = WORKER_SPLIT_IDS;
    take_ask->ids.since_us = region_worker_now_us(peer->worker);
    pd_link_ask_ids(store->pd_link, &take_ask->ids);
}

/* A first region comes to a store by pd's word, which speaks of the first epoch only (bootstrap_regions): once it was
 * split, a store that has not asked yet would never get it. Later ones come with their parent's log. */
static bool everybody_has_it(const struct peer *peer)
{
    return peer->region->epoch_version > 1 || peer->split.everybody ||
           raft_truncated(peer->group->raft).index > GROUP_FIRST_INDEX;
}

bool peer_may_split(const struct peer *peer)
{
    return everybody_has_it(peer) && !region_is_merging(peer->region) && !peer->split.asked &&
           peer->split.proposed == 0 && raft_is_leader(peer->group->raft) && !region_is_joint(peer->region);
}

void peer_split_request(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    if (!raft_is_leader(peer->group->raft)) {
        peer_refuse(peer, to, ERR_NOT_LEADER, 0);
        return;
    }
    if (!peer_may_split(peer)) {
        peer_refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
        return;
    }
    struct split_ask *ask = split_ask_new(peer->region_id, peer->region->epoch_version, peer->region->peer_count);
    for (uint32_t i = 0; i < peer_split_key_count(request); i++)
        if (!bytes_equal(peer_split_key(request, i), peer->region->start_key))
            split_ask_add(ask, peer_split_key(request, i));
    if (ask->key_count == 0) { /* a region begins there already */
        struct wire_kv_reply reply = {.leader_store = peer_leader_store(peer)};
        region_split_tell(peer->region, peer->split.last, replies_arena(region_worker_replies(peer->worker)), &reply);
        replies_add(region_worker_replies(peer->worker), to, &reply);
        message_free(&ask->ids.message);
        return;
    }
    ask->owed = true;
    ask->to = to;
    ask_for_ids(peer, ask);
}

void peer_split(struct peer *peer, struct split_ask *take_wish)
{
    struct split_ask *ask = split_ask_new(peer->region_id, peer->region->epoch_version, peer->region->peer_count);
    for (uint32_t i = 0; i < take_wish->key_count; i++) {
        struct bytes before = ask->key_count > 0 ? ask->keys[ask->key_count - 1] : bytes_empty();
        if (region_split_check_key(peer->region, before, take_wish->keys[i]) == ERR_OK)
            split_ask_add(ask, take_wish->keys[i]);
    }
    message_free(&take_wish->ids.message);
    if (ask->key_count > 0 && peer_may_split(peer))
        ask_for_ids(peer, ask);
    else
        message_free(&ask->ids.message);
}

static struct wire_log_split *log_splits_of(const struct peer *peer, struct split_ask *ask)
{
    uint32_t peer_count = peer->region->peer_count;
    struct wire_log_split *splits = arena_alloc(&ask->arena, ask->key_count * sizeof *splits);
    uint64_t id = ask->ids.first_id;
    for (uint32_t i = 0; i < ask->key_count; i++) {
        splits[i].key = ask->keys[i];
        splits[i].region_id = id++;
        splits[i].peer_ids = arena_alloc(&ask->arena, peer_count * sizeof *splits[i].peer_ids);
        splits[i].peer_ids_count = peer_count;
        for (uint32_t j = 0; j < peer_count; j++)
            splits[i].peer_ids[j] = id++;
    }
    return splits;
}

static enum err propose_split(struct peer *peer, struct split_ask *ask)
{
    enum { SPLIT_SIZE_MAX = 1024 * 1024 };
    if (ask->epoch_version != peer->region->epoch_version || ask->peer_count != peer->region->peer_count)
        return ERR_EPOCH_NOT_MATCH;
    if (!raft_is_leader(peer->group->raft))
        return ERR_NOT_LEADER;
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_SPLIT,
                                       .epoch_conf = peer->region->epoch_conf,
                                       .epoch_version = peer->region->epoch_version,
                                       .splits = log_splits_of(peer, ask),
                                       .splits_count = ask->key_count};
    struct buf encoded;
    buf_init(&encoded, SPLIT_SIZE_MAX);
    enum err code = wire_encode_log_command(&command, &encoded);
    raft_index index = 0;
    raft_term term = 0;
    if (code == ERR_OK)
        code = raft_propose(peer->group->raft, buf_bytes(&encoded), &index, &term);
    if (code == ERR_OK) {
        peer_add_proposal(peer, index, term, ask->owed ? &ask->to : NULL, encoded.size);
        peer->split.proposed = index;
        log_event(region_worker_store(peer->worker)->env->log, LOG_INFO,
                  "event=split_proposed region=%llu index=%llu children=%u first_id=%llu",
                  (unsigned long long)peer->region_id, (unsigned long long)index, ask->key_count,
                  (unsigned long long)ask->ids.first_id);
    }
    buf_fini(&encoded);
    return code;
}

void peer_split_ids(struct peer *peer, struct split_ask *take_ask)
{
    peer->split.asked = false;
    peer_wake(peer, WAKE_REQUEST);
    peer_sleep_note_work(peer);
    if (take_ask->ids.code == ERR_OK)
        peer_propose_pending(peer); /* before it they are done; behind it they would be refused */
    enum err code = take_ask->ids.code == ERR_OK ? propose_split(peer, take_ask) : take_ask->ids.code;
    if (code != ERR_OK) /* to count it again each second would change nothing */
        peer->split.look_at_us = region_worker_now_us(peer->worker) + SPLIT_RETRY_MS * 1000;
    if (code != ERR_OK && take_ask->owed)
        peer_refuse(peer, take_ask->to, code, code == ERR_NOT_LEADER || code == ERR_EPOCH_NOT_MATCH ? 0 : BUSY_WAIT_MS);
    region_worker_touch(peer->worker, peer);
    message_free(&take_ask->ids.message);
}

void peer_extent_forget(struct peer *peer)
{
    peer->split.counted = peer->split.estimated = peer->split.due = false;
    peer->split.extent = peer->split.written = (struct region_extent){0};
    peer->split.look_at_us = 0;
}

void peer_split_forget(struct peer *peer)
{
    region_split_free(peer->split.last);
    peer->split.last = NULL;
    peer->split.known = 0;
    peer->split.proposed = 0;
    peer_extent_forget(peer);
}

/* ---- does it grow too large? */

uint64_t peer_size(const struct peer *peer)
{
    return peer->split.extent.size + peer->split.written.size;
}

struct region_extent peer_known_extent(const struct peer *peer)
{
    const struct region_extent *written = &peer->split.written;
    uint64_t left = peer->split.extent.keys + written->keys;
    if (!peer->split.counted && !peer->split.estimated)
        return (struct region_extent){0};
    left = left > 2 * written->deleted ? left - 2 * written->deleted : 0;
    return (struct region_extent){.size = peer_size(peer) + 1, .keys = left};
}

/* What was written since the last count bounds what it can be now; after a restart little is known, and a part of a
 * region's size is reason enough to count. */
static bool may_be_too_large(const struct peer *peer)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    const struct region_extent *written = &peer->split.written;
    bool counted = peer->split.counted;
    if (config->region_size_max > 0 &&
        (peer_size(peer) >= config->region_size_max || (!counted && written->size >= config->region_split_size / 8)))
        return true;
    return config->region_keys_max > 0 && (peer->split.extent.keys + written->keys >= config->region_keys_max ||
                                           (!counted && written->keys >= config->region_split_keys / 8));
}

static void split_for_load(struct peer *peer, struct bytes key)
{
    struct store *store = region_worker_store(peer->worker);
    if (!peer_may_split(peer) || region_split_check_key(peer->region, bytes_empty(), key) != ERR_OK)
        return;
    log_event(store->env->log, LOG_INFO, "event=split_for_load region=%llu", (unsigned long long)peer->region_id);
    struct split_ask *ask = split_ask_new(peer->region_id, peer->region->epoch_version, peer->region->peer_count);
    split_ask_add(ask, key);
    ask_for_ids(peer, ask);
}

static void look_at_load(struct peer *peer)
{
    struct store *store = region_worker_store(peer->worker);
    const struct split_load_limits limits = {.requests = store->config->split_load,
                                             .size = store->config->split_load_size,
                                             .seconds = store->config->split_load_seconds};
    struct bytes key;
    if (!raft_is_leader(peer->group->raft)) {
        split_load_fini(&peer->load);
        return;
    }
    enum split_load_verdict verdict =
        split_load_look(&peer->load, &limits, peer->region->start_key, region_worker_now_us(peer->worker),
                        store->env->seed + peer->region_id, &key);
    if (verdict == SPLIT_LOAD_CUT)
        split_for_load(peer, key);
    else if (verdict != SPLIT_LOAD_NOTHING)
        log_event(store->env->log, LOG_INFO, "event=load_not_split region=%llu wait_s=%llu msg=\"%s\"",
                  (unsigned long long)peer->region_id,
                  (unsigned long long)(peer->load.again_us - region_worker_now_us(peer->worker)) / 1000000,
                  verdict == SPLIT_LOAD_ONE_KEY ? "one key takes too much of it"
                                                : "most requests would ask both parts");
}

/* Half of it at least was deleted since it was counted, or much since we know of it: somebody might want to merge it, and on
 * the disk it may be as large as ever. */
static bool is_much_smaller(const struct peer *peer)
{
    uint64_t deleted = peer->split.written.deleted;
    return peer->split.counted ? deleted > 0 && 2 * deleted >= peer->split.extent.keys
                               : deleted >= DELETED_COUNT || peer->split.holds_deleted;
}

static void start_check(struct peer *peer, enum split_check_kind kind, uint64_t piece_size)
{
    peer->split.asked = true;
    split_check_start(region_worker_store(peer->worker), region_worker_actor(peer->worker), peer->region,
                      peer->split.written, kind, piece_size);
}

void peer_size_look(struct peer *peer)
{
    bool known = peer->split.counted || peer->split.estimated;
    if (peer->split.asked || !raft_is_leader(peer->group->raft) || region_is_merging(peer->region) ||
        region_worker_now_us(peer->worker) < peer->split.look_at_us)
        return;
    /* Of large rows a few that were deleted may have been most of it, but who counts for a few must wait his turn. */
    bool doubtful = !known || (!peer->split.counted && peer->split.written.deleted > 0);
    if (is_much_smaller(peer))
        start_check(peer, SPLIT_CHECK_GROWN, 0);
    else if (doubtful && region_worker_may_count(peer->worker))
        start_check(peer, known ? SPLIT_CHECK_GROWN : SPLIT_CHECK_SIZE, 0);
}

void peer_split_look(struct peer *peer)
{
    look_at_load(peer);
    bool now = region_worker_now_us(peer->worker) >= peer->split.look_at_us && peer_may_split(peer);
    if (now && (peer->split.written.size > 0 || peer->split.due) && may_be_too_large(peer))
        start_check(peer, SPLIT_CHECK_GROWN, 0);
    else
        peer_size_look(peer);
}

void peer_split_in_middle(struct peer *peer)
{
    if (peer_may_split(peer) && !peer->split.counted)
        start_check(peer, SPLIT_CHECK_GROWN, 0); /* who wants it asks again */
    else if (peer_may_split(peer))
        start_check(peer, SPLIT_CHECK_MIDDLE, peer->split.extent.size / 2);
}

region_id peer_split_check_region(const struct message *message)
{
    return ((const struct split_check *)message)->region->id;
}

/* A snapshot may have begun the count anew meanwhile. */
static void forget_written(uint64_t *written, uint64_t known)
{
    *written -= known < *written ? known : *written;
}

void peer_split_checked(struct peer *peer, struct message *take_message)
{
    struct split_check *check = (struct split_check *)take_message;
    peer->split.asked = false;
    if (check->code != ERR_OK)
        peer->split.look_at_us = region_worker_now_us(peer->worker) + SPLIT_RETRY_MS * 1000;
    if (check->code == ERR_OK && check->region->epoch_version == peer->region->epoch_version) {
        peer->split.counted = !check->estimated;
        peer->split.estimated = check->estimated;
        peer->split.extent = check->extent;
        forget_written(&peer->split.written.size, check->written.size);
        forget_written(&peer->split.written.keys, check->written.keys);
        if (!check->estimated) {
            forget_written(&peer->split.written.deleted, check->written.deleted);
            peer->split.holds_deleted = false;
        }
        region_worker_counted(peer->worker, check->estimated ? 0 : check->extent.size);
        peer->heartbeat_due = true;
        struct split_ask *ask = check->ask;
        peer->split.due = ask->key_count > 0 && check->kind != SPLIT_CHECK_MIDDLE;
        if (ask->key_count > 0 && peer_may_split(peer)) {
            check->ask = NULL;
            ask_for_ids(peer, ask);
        }
    }
    message_free(take_message);
}
