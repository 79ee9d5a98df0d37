#include "storenode/peer_parts.h"

#include <stdlib.h>
#include "base/bug.h"
#include "base/check.h"
#include "env/clock.h"
#include "meta/keyspace.h"
#include "storenode/key_range.h"
#include "storenode/region_worker.h"

enum { SPLIT_WAIT_MS = 3, MERGING_WAIT_MS = 10, READS_WAITING_MAX = 16384 };

/* ---- answers */

void peer_refuse_because(struct peer *peer, struct reply_to to, enum err code, uint32_t wait_ms, const char *why)
{
    struct replies *replies = region_worker_replies(peer->worker);
    struct wire_kv_reply reply = {.code = (uint16_t)code, .wait_ms = wait_ms};
    if (why)
        reply.text = arena_copy(replies_arena(replies), bytes_of_string(why));
    if (code == ERR_NOT_LEADER)
        reply.leader_store = peer_leader_store(peer);
    if (code == ERR_EPOCH_NOT_MATCH || code == ERR_KEY_NOT_IN_REGION) {
        region_split_tell(peer->region, peer->split.last, replies_arena(replies), &reply);
        reply.leader_store = peer_leader_store(peer);
    }
    replies_add(replies, to, &reply);
}

void peer_refuse(struct peer *peer, struct reply_to to, enum err code, uint32_t wait_ms)
{
    peer_refuse_because(peer, to, code, wait_ms, NULL);
}

/* ---- requests */

static bool is_write(uint8_t op)
{
    return op == WIRE_KV_OP_PUT || op == WIRE_KV_OP_DELETE_KEY || op == WIRE_KV_OP_CAS ||
           op == WIRE_KV_OP_BATCH_WRITE || op == WIRE_KV_OP_DELETE_RANGE;
}

static bool is_admin(uint8_t op)
{
    return op == WIRE_KV_OP_CHANGE_PEERS || op == WIRE_KV_OP_TRANSFER_LEADER || op == WIRE_KV_OP_SHOW_PEERS;
}

static enum err check_key(const struct peer *peer, struct bytes key)
{
    if (key.size < KEYSPACE_PREFIX_SIZE || key.data[0] != KEYSPACE_RAW)
        return ERR_INVALID;
    if (key.size == KEYSPACE_PREFIX_SIZE)
        return ERR_KEY_EMPTY;
    if (key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE)
        return ERR_KEY_TOO_LARGE;
    return region_contains(peer->region, key) ? ERR_OK : ERR_KEY_NOT_IN_REGION;
}

static enum err check_pairs(const struct peer *peer, const struct wire_kv_request *request)
{
    if (request->pairs_count == 0)
        return ERR_INVALID;
    size_t size = 0;
    for (uint32_t i = 0; i < request->pairs_count; i++) {
        enum err code = check_key(peer, request->pairs[i].key);
        if (code != ERR_OK)
            return code;
        if (request->pairs[i].value.size > VALUE_SIZE_MAX)
            return ERR_ENTRY_TOO_LARGE;
        size += request->pairs[i].key.size + request->pairs[i].value.size;
    }
    return size > region_worker_store(peer->worker)->config->proposal_size_max ? ERR_ENTRY_TOO_LARGE : ERR_OK;
}

/* One key, or several. */
uint32_t peer_split_key_count(const struct wire_kv_request *request)
{
    return request->pairs_count > 0 ? request->pairs_count : 1;
}

struct bytes peer_split_key(const struct wire_kv_request *request, uint32_t at)
{
    return request->pairs_count > 0 ? request->pairs[at].key : request->key;
}

/* A key at which a region begins already is no mistake: it may have been asked for twice. */
static enum err check_split(const struct peer *peer, const struct wire_kv_request *request)
{
    if (peer_split_key_count(request) > REGION_SPLIT_KEYS_MAX)
        return ERR_INVALID;
    struct bytes before = bytes_empty();
    for (uint32_t i = 0; i < peer_split_key_count(request); i++) {
        struct bytes key = peer_split_key(request, i);
        if (i == 0 && bytes_equal(key, peer->region->start_key))
            continue;
        enum err code = region_split_check_key(peer->region, before, key);
        if (code != ERR_OK)
            return code;
        before = key;
    }
    return ERR_OK;
}

static enum err check_request(const struct peer *peer, const struct wire_kv_request *request)
{
    if (request->epoch_version != peer->region->epoch_version && !BUG(no_epoch_check) &&
        request->op != WIRE_KV_OP_MERGE)
        return ERR_EPOCH_NOT_MATCH;
    if (request->ttl_ms > REGION_TTL_MAX_MS)
        return ERR_INVALID;
    switch (request->op) {
    case WIRE_KV_OP_PUT:
    case WIRE_KV_OP_CAS:
        if (request->value.size > VALUE_SIZE_MAX || request->expected.size > VALUE_SIZE_MAX)
            return ERR_ENTRY_TOO_LARGE;
        return check_key(peer, request->key);
    case WIRE_KV_OP_DELETE_KEY:
    case WIRE_KV_OP_GET:
    case WIRE_KV_OP_TTL:
        return check_key(peer, request->key);
    case WIRE_KV_OP_BATCH_GET:
    case WIRE_KV_OP_BATCH_WRITE:
        return check_pairs(peer, request);
    case WIRE_KV_OP_SCAN:
        return ERR_OK;
    case WIRE_KV_OP_CHECK:
        return request->key.size > 0 ? ERR_OK : ERR_INVALID;
    case WIRE_KV_OP_SPLIT:
        return check_split(peer, request);
    case WIRE_KV_OP_DELETE_RANGE:
    case WIRE_KV_OP_CHECKSUM:
        return key_range_check(peer->region, request->key, request->end_key);
    case WIRE_KV_OP_CHANGE_PEERS:
    case WIRE_KV_OP_TRANSFER_LEADER:
    case WIRE_KV_OP_SHOW_PEERS:
    case WIRE_KV_OP_MERGE:
        return ERR_OK;
    default:
        return ERR_UNSUPPORTED;
    }
}

/* Bytes that the request takes in a log entry, roughly and from above. */
static size_t entry_size_of(const struct wire_kv_request *request)
{
    size_t size = 160 + request->key.size + request->end_key.size + request->value.size + request->expected.size;
    for (uint32_t i = 0; i < request->pairs_count; i++)
        size += 64 + request->pairs[i].key.size + request->pairs[i].value.size;
    return size;
}

static bool only_deletes(const struct wire_kv_request *request)
{
    if (request->op == WIRE_KV_OP_DELETE_KEY || request->op == WIRE_KV_OP_DELETE_RANGE)
        return true;
    if (request->op != WIRE_KV_OP_BATCH_WRITE)
        return false;
    for (uint32_t i = 0; i < request->pairs_count; i++)
        if (!request->pairs[i].remove)
            return false;
    return true;
}

static void refuse_not_leading(struct peer *peer, struct reply_to to)
{
    bool soon = peer->leads_first && peer->split.young_ticks > 0 && raft_leader(peer->group->raft) == 0;
    peer_refuse(peer, to, soon ? ERR_NOT_READY : ERR_NOT_LEADER, soon ? SPLIT_WAIT_MS : 0);
}

static void take_write(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    if (!raft_is_leader(peer->group->raft)) {
        refuse_not_leading(peer, to);
        return;
    }
    if (peer->snapshot.damaged) { /* it leads until another one can */
        peer_refuse(peer, to, ERR_NOT_READY, NOT_READY_WAIT_MS);
        return;
    }
    if (peer->split.proposed != 0) { /* behind the split in the log it would be refused, only later */
        peer_refuse(peer, to, ERR_NOT_READY, SPLIT_WAIT_MS);
        return;
    }
    if (disk_guard_is_low(&region_worker_store(peer->worker)->disk_guard) && !only_deletes(request)) {
        peer_refuse(peer, to, ERR_DISK_FULL, DISK_FULL_WAIT_MS);
        return;
    }
    if (peer->pending_count + peer->proposed_count >= config->region_proposals_max) {
        peer_refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
        return;
    }
    if (peer->pending_count == peer->pending_capacity) {
        peer->pending_capacity = peer->pending_capacity ? peer->pending_capacity * 2 : 16;
        peer->pending = realloc(peer->pending, peer->pending_capacity * sizeof *peer->pending);
        CHECK(peer->pending);
    }
    peer->pending[peer->pending_count++] =
        (struct pending_write){.to = to, .request = request, .size = entry_size_of(request)};
    region_worker_touch(peer->worker, peer);
}

static uint32_t count_of(const struct read_task *task)
{
    return task ? task->count : 0;
}

/* What is committed can have been read already from a replica that is quicker than we are (ReadIndex on a follower). So
 * a lease alone is not enough: the engine must hold all that is committed. */
static bool is_all_applied(const struct peer *peer)
{
    return region_fsm_applied(peer->fsm) >= raft_commit_index(peer->group->raft) || BUG(lease_read_before_applied);
}

/* A split, say, is in the engine, its task not back yet: our range is that of before, and what was cut off may be written to
 * by others already. Ask this after region_fsm_applied. */
bool peer_range_is_old(const struct peer *peer)
{
    return region_fsm_split_index(peer->fsm) != peer->split.known;
}

static void take_read(struct peer *peer, struct reply_to to, const struct wire_kv_request *request, uint64_t expire_us)
{
    struct store *store = region_worker_store(peer->worker);
    const struct region *region = peer->region;
    bool leader = raft_is_leader(peer->group->raft);
    if (!leader && request->read_mode == WIRE_READ_MODE_LEADER) {
        refuse_not_leading(peer, to);
        return;
    }
    bool stale = request->read_mode == WIRE_READ_MODE_STALE || (BUG(follower_reads_alone) && !leader), lease = false;
    /* The clock is read here, not remembered: the process may have been stopped since the round began. */
    if (request->read_mode == WIRE_READ_MODE_LEADER && store->config->lease_read)
        lease = group_lease_holds(peer->group, clock_now_us(store->env->clock), store->config->lease_ms * 1000);
    if (region_worker_reads_are_many(peer->worker)) {
        peer_refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
        return;
    }
    peer->keys_read++;
    if (peer->snapshot.damaged) {
        peer_refuse(peer, to, ERR_NOT_READY, NOT_READY_WAIT_MS);
        return;
    }
    if (stale && (peer_snapshot_installs(&peer->snapshot) || region_fsm_applied(peer->fsm) == 0)) {
        peer_refuse(peer, to, ERR_NOT_READY, NOT_READY_WAIT_MS);
        return;
    }
    if (stale || (lease && is_all_applied(peer) && !peer_range_is_old(peer))) {
        struct read_task *now = region_worker_read_task(peer->worker);
        read_task_add(now, to, request, region->start_key, region->end_key, expire_us);
        read_task_watch(now, &peer->snapshot.generation);
        read_task_set_time(now, false, region_fsm_time(peer->fsm).now_ms);
        return;
    }
    if (peer->reads_count + count_of(peer->round_reads) + count_of(peer->round_lease_reads) >= READS_WAITING_MAX) {
        peer_refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
        return;
    }
    struct read_task **task = lease ? &peer->round_lease_reads : &peer->round_reads;
    if (!*task)
        *task = read_task_new();
    read_task_add(*task, to, request, region->start_key, region->end_key, expire_us);
    read_task_watch(*task, &peer->snapshot.generation);
    region_worker_touch(peer->worker, peer);
}

/* All of it: a batch goes from its least key to its greatest. */
static void sample_pairs(struct peer *peer, const struct wire_kv_request *request)
{
    struct bytes first = request->pairs[0].key, last = first;
    for (uint32_t i = 1; i < request->pairs_count; i++) {
        struct bytes key = request->pairs[i].key;
        first = bytes_compare(key, first) < 0 ? key : first;
        last = bytes_compare(key, last) > 0 ? key : last;
    }
    if (bytes_equal(first, last))
        split_load_sample(&peer->load, first);
    else
        split_load_sample_range(&peer->load, first, last);
}

static void count_load(struct peer *peer, const struct wire_kv_request *request)
{
    split_load_count(&peer->load, request->key.size + request->value.size);
    if (!split_load_wants_samples(&peer->load))
        return;
    if (request->pairs_count > 0)
        sample_pairs(peer, request);
    else if (request->op == WIRE_KV_OP_SCAN && request->reverse)
        split_load_sample_range(&peer->load, request->end_key, request->key);
    else if (request->op == WIRE_KV_OP_SCAN || request->op == WIRE_KV_OP_DELETE_RANGE ||
             request->op == WIRE_KV_OP_CHECKSUM)
        split_load_sample_range(&peer->load, request->key, request->end_key);
    else
        split_load_sample(&peer->load, request->key);
}

static void take_check(struct peer *peer, struct reply_to to)
{
    enum err code = peer_check_start(peer, &to);
    if (code != ERR_OK)
        peer_refuse(peer, to, code, code == ERR_NOT_LEADER ? 0 : NOT_READY_WAIT_MS);
}

static void take_merge(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    if (request->source_region != peer->region_id)
        peer_refuse(peer, to, ERR_INVALID, 0);
    else if (raft_is_leader(peer->group->raft))
        peer_merge_request(peer, to, request);
    else
        refuse_not_leading(peer, to);
}

void peer_request(struct peer *peer, conn_id conn, const struct wire_kv_request *request, uint64_t received_us)
{
    struct reply_to to = {.conn = conn, .request_id = request->id};
    uint64_t expire_us = request->deadline_ms ? received_us + (uint64_t)request->deadline_ms * 1000 : 0;
    if (peer_is_member(peer) && region_is_merging(peer->region) && request->op != WIRE_KV_OP_MERGE &&
        !(BUG(merge_source_reads) && !is_write(request->op)) && !(BUG(merge_source_writes) && is_write(request->op))) {
        peer_refuse(peer, to, ERR_NOT_READY, MERGING_WAIT_MS);
        return;
    }
    enum err code = peer_is_member(peer) ? check_request(peer, request) : ERR_REGION_NOT_FOUND;
    if (code == ERR_OK && expire_us != 0 && region_worker_now_us(peer->worker) >= expire_us)
        code = ERR_DEADLINE;
    if (code == ERR_OK) {
        peer_sleep_note_work(peer);
        count_load(peer, request);
    }
    if (code != ERR_OK)
        peer_refuse(peer, to, code, 0);
    else if (is_admin(request->op))
        peer_conf_request(peer, to, request);
    else if (request->op == WIRE_KV_OP_SPLIT)
        peer_split_request(peer, to, request);
    else if (request->op == WIRE_KV_OP_CHECK)
        take_check(peer, to);
    else if (request->op == WIRE_KV_OP_MERGE)
        take_merge(peer, to, request);
    else if (is_write(request->op))
        take_write(peer, to, request);
    else
        take_read(peer, to, request, expire_us);
}
