#include "peer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "meta/keyspace.h"
#include "storenode/key_range.h"
#include "storenode/pd_link.h"
#include "storenode/peer_time.h"
#include "storenode/region_worker.h"

enum { APPLY_COUNT_MAX = 64, APPLY_SIZE_MAX = 256 * 1024 };
enum { BUSY_WAIT_MS = 10, NOT_READY_WAIT_MS = 50, READS_WAITING_MAX = 16384, READ_ROUNDS_MAX = 1024 };
enum { SPLIT_RETRY_MS = 20000, SPLIT_WAIT_MS = 3, MERGING_WAIT_MS = 10, DELETED_COUNT = 1000 };

static void on_send(void *context, struct group *group, const struct raft_message *message, bool after);
static struct log_task *on_log_task(void *context, struct group *group);
static void on_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count);
static void on_read_done(void *context, struct group *group, const struct raft_read_result *read);
static void on_fetch(void *context, struct group *group, const struct raft_fetch *fetch);
static void on_changed(void *context, struct group *group, enum raft_role role, peer_id leader);
static void on_snapshot_wanted(void *context, struct group *group, const struct raft_message *message);
static void on_install(void *context, struct group *group, const struct raft_snapshot *snapshot, struct log_task *task);

/* The context of these calls is the peer, found through group->user: one table serves all peers. */
static const struct group_host host = {.send = on_send,
                                       .log_task = on_log_task,
                                       .committed = on_committed,
                                       .read_done = on_read_done,
                                       .fetch = on_fetch,
                                       .changed = on_changed,
                                       .snapshot_wanted = on_snapshot_wanted,
                                       .install = on_install};

/* What is applied at least. A replica that is damaged, or is found to be, starts where its log begins: nothing is applied before
 * all of its rows are new. */
static enum err load_applied(struct store *store, const struct region *region, raft_index *ret_index,
                             raft_term *ret_term, bool *ret_damaged, char damage[static 256], struct error *err)
{
    struct engine *engine = store->env->engine;
    struct raft_position truncated;
    struct error error = {0};
    *ret_damaged = damage_load(engine, region->id, damage, 256);
    enum err code = region_fsm_load_applied(engine, region->id, ret_index, ret_term, &error);
    if (code == ERR_CORRUPT && region->peer_count > 1) {
        *ret_damaged = true;
        snprintf(damage, 256, "%.250s", error.text);
        *ret_index = *ret_term = 0;
    } else if (code != ERR_OK)
        return error_set(err, code, "%s", error.text);
    if (!*ret_damaged)
        return ERR_OK;
    code = group_log_load_truncated(engine, region->id, &truncated, err);
    if (code == ERR_OK && truncated.index > *ret_index) {
        *ret_index = truncated.index;
        *ret_term = truncated.term;
    }
    return code;
}

enum err peer_new(struct region_worker *worker, const struct region *region, peer_id id,
                  const struct raft_config *config, struct peer **ret_peer, struct error *err)
{
    struct store *store = region_worker_store(worker);
    raft_index applied_index = 0;
    raft_term applied_term = 0;
    char damage[256];
    bool damaged = false;
    enum err code = load_applied(store, region, &applied_index, &applied_term, &damaged, damage, err);
    if (code != ERR_OK)
        return code == ERR_NOT_FOUND ? error_set(err, ERR_CORRUPT, "region %llu: its apply state is missing",
                                                 (unsigned long long)region->id)
                                     : code;
    struct peer *peer = calloc(1, sizeof *peer);
    CHECK(peer);
    peer->region_id = region->id;
    peer->worker = worker;
    peer->region = region_copy(region);
    peer->id = id;
    peer->proposals_last = &peer->proposals;
    peer->reads_last = &peer->reads;
    list_init(&peer->awake);
    peer->fsm = region_fsm_new(store->env, store->ranges, region, id, applied_index, applied_term,
                               store->config->tokens_save_interval);
    peer->time = region_fsm_time(peer->fsm);
    struct group_options options = {.id = region->id,
                                    .self = id,
                                    .seed = store->env->seed,
                                    .config = config,
                                    .pool = region_worker_pool(worker),
                                    .host = &host,
                                    .user = peer,
                                    .applied_index = applied_index,
                                    .applied_term = applied_term};
    code = group_open(store->env, &options, &peer->group, err);
    if (code == ERR_NOT_FOUND)
        code = error_set(err, ERR_CORRUPT, "region %llu: its raft state is missing", (unsigned long long)region->id);
    if (code != ERR_OK) {
        peer_free(peer);
        return code;
    }
    if (damaged) {
        peer->snapshot.damaged = true;
        atomic_fetch_add(&store->damage_counts.damaged, 1);
        peer_heal_begin(peer, damage, clock_now_us(store->env->clock));
        log_event(store->env->log, LOG_ERROR, "event=replica_damaged region=%llu peer=%llu at=start msg=\"%s\"",
                  (unsigned long long)region->id, (unsigned long long)id, damage);
    }
    *ret_peer = peer;
    return ERR_OK;
}

void peer_free(struct peer *peer)
{
    if (!peer)
        return;
    for (struct proposal *proposal = peer->proposals, *next; proposal; proposal = next) {
        next = proposal->next;
        free(proposal);
    }
    for (struct waiting_reads *reads = peer->reads, *next; reads; reads = next) {
        next = reads->next;
        read_task_free(reads->task);
        free(reads);
    }
    read_task_free(peer->round_reads);
    read_task_free(peer->round_lease_reads);
    free(peer->pending);
    free(peer->committed);
    peer_snapshot_fini(peer);
    peer_heal_fini(peer);
    peer_force_fini(peer);
    free(peer->strangers);
    peer_check_fini(peer);
    campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
    peer_merge_fini(peer);
    group_close(peer->group);
    region_fsm_free(peer->fsm);
    region_split_free(peer->split.last);
    split_load_fini(&peer->load);
    region_free(peer->region);
    free(peer);
}

/* Members, as it seems, of a region that has changed since what we have applied of it: the newest. */
enum { STRANGER_COUNT = 4 };
struct peer_strangers {
    uint32_t count;
    struct {
        peer_id id;
        store_id store;
    } ring[STRANGER_COUNT];
};

store_id peer_store_of(const struct peer *peer, peer_id id)
{
    const struct region_peer *member = region_peer_by_id(peer->region, id);
    if (member)
        return member->store_id;
    for (uint32_t i = 0; peer->strangers && i < STRANGER_COUNT; i++)
        if (id != 0 && peer->strangers->ring[i].id == id)
            return peer->strangers->ring[i].store;
    return 0;
}

void peer_note_sender(struct peer *peer, peer_id id, store_id store)
{
    if (peer_store_of(peer, id) == store)
        return;
    if (!peer->strangers)
        peer->strangers = calloc(1, sizeof *peer->strangers);
    CHECK(peer->strangers);
    uint32_t place = peer->strangers->count++ % STRANGER_COUNT;
    peer->strangers->ring[place].id = id;
    peer->strangers->ring[place].store = store;
}

store_id peer_leader_store(const struct peer *peer)
{
    return peer_store_of(peer, raft_leader(peer->group->raft));
}

/* ---- answers */

void peer_refuse(struct peer *peer, struct reply_to to, enum err code, uint32_t wait_ms, const char *why)
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

static void refuse(struct peer *peer, struct reply_to to, enum err code, uint32_t wait_ms)
{
    peer_refuse(peer, to, code, wait_ms, NULL);
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
static uint32_t split_key_count(const struct wire_kv_request *request)
{
    return request->pairs_count > 0 ? request->pairs_count : 1;
}

static struct bytes split_key(const struct wire_kv_request *request, uint32_t at)
{
    return request->pairs_count > 0 ? request->pairs[at].key : request->key;
}

/* A key at which a region begins already is no mistake: it may have been asked for twice. */
static enum err check_split(const struct peer *peer, const struct wire_kv_request *request)
{
    if (split_key_count(request) > REGION_SPLIT_KEYS_MAX)
        return ERR_INVALID;
    struct bytes before = bytes_empty();
    for (uint32_t i = 0; i < split_key_count(request); i++) {
        struct bytes key = split_key(request, i);
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
    refuse(peer, to, soon ? ERR_NOT_READY : ERR_NOT_LEADER, soon ? SPLIT_WAIT_MS : 0);
}

static void take_write(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    const struct store_config *config = region_worker_store(peer->worker)->config;
    if (!raft_is_leader(peer->group->raft)) {
        refuse_not_leading(peer, to);
        return;
    }
    if (peer->snapshot.damaged) { /* it leads until another one can */
        refuse(peer, to, ERR_NOT_READY, NOT_READY_WAIT_MS);
        return;
    }
    if (peer->split.proposed != 0) { /* behind the split in the log it would be refused, only later */
        refuse(peer, to, ERR_NOT_READY, SPLIT_WAIT_MS);
        return;
    }
    if (disk_guard_is_low(&region_worker_store(peer->worker)->disk_guard) && !only_deletes(request)) {
        refuse(peer, to, ERR_DISK_FULL, DISK_FULL_WAIT_MS);
        return;
    }
    if (peer->pending_count + peer->proposed_count >= config->region_proposals_max) {
        refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
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
static bool is_range_old(const struct peer *peer)
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
        refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
        return;
    }
    peer->keys_read++;
    if (peer->snapshot.damaged) {
        refuse(peer, to, ERR_NOT_READY, NOT_READY_WAIT_MS);
        return;
    }
    if (stale && (peer_snapshot_installs(&peer->snapshot) || region_fsm_applied(peer->fsm) == 0)) {
        refuse(peer, to, ERR_NOT_READY, NOT_READY_WAIT_MS);
        return;
    }
    if (stale || (lease && is_all_applied(peer) && !is_range_old(peer))) {
        struct read_task *now = region_worker_read_task(peer->worker);
        read_task_add(now, to, request, region->start_key, region->end_key, expire_us);
        read_task_watch(now, &peer->snapshot.generation);
        read_task_set_time(now, false, region_fsm_time(peer->fsm).now_ms);
        return;
    }
    if (peer->reads_count + count_of(peer->round_reads) + count_of(peer->round_lease_reads) >= READS_WAITING_MAX) {
        refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
        return;
    }
    struct read_task **task = lease ? &peer->round_lease_reads : &peer->round_reads;
    if (!*task)
        *task = read_task_new();
    read_task_add(*task, to, request, region->start_key, region->end_key, expire_us);
    read_task_watch(*task, &peer->snapshot.generation);
    region_worker_touch(peer->worker, peer);
}

/* ---- splits: asked for by hand, or because it grew */

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
    return everybody_has_it(peer) && !region_is_merging(peer->region) && !peer->split.asked && peer->split.proposed == 0 &&
           raft_is_leader(peer->group->raft) && !region_is_joint(peer->region);
}

static void take_split(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    if (!raft_is_leader(peer->group->raft)) {
        refuse(peer, to, ERR_NOT_LEADER, 0);
        return;
    }
    if (!peer_may_split(peer)) {
        refuse(peer, to, ERR_BUSY, BUSY_WAIT_MS);
        return;
    }
    struct split_ask *ask = split_ask_new(peer->region_id, peer->region->epoch_version, peer->region->peer_count);
    for (uint32_t i = 0; i < split_key_count(request); i++)
        if (!bytes_equal(split_key(request, i), peer->region->start_key))
            split_ask_add(ask, split_key(request, i));
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
        refuse(peer, to, code, code == ERR_NOT_LEADER ? 0 : NOT_READY_WAIT_MS);
}

static void take_merge(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    if (request->source_region != peer->region_id)
        refuse(peer, to, ERR_INVALID, 0);
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
        refuse(peer, to, ERR_NOT_READY, MERGING_WAIT_MS);
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
        refuse(peer, to, code, 0);
    else if (is_admin(request->op))
        peer_conf_request(peer, to, request);
    else if (request->op == WIRE_KV_OP_SPLIT)
        take_split(peer, to, request);
    else if (request->op == WIRE_KV_OP_CHECK)
        take_check(peer, to);
    else if (request->op == WIRE_KV_OP_MERGE)
        take_merge(peer, to, request);
    else if (is_write(request->op))
        take_write(peer, to, request);
    else
        take_read(peer, to, request, expire_us);
}

/* ---- end of round: propose */

static struct wire_log_write log_write_of(const struct wire_kv_request *request)
{
    return (struct wire_log_write){.op = request->op,
                                   .key = request->key,
                                   .value = request->value,
                                   .expected = request->expected,
                                   .pairs = request->pairs,
                                   .pairs_count = request->pairs_count,
                                   .end_key = request->end_key,
                                   .ttl_ms = request->ttl_ms,
                                   .client_id = request->client_id,
                                   .sequence = request->sequence,
                                   .sequence_done = request->sequence_done,
                                   .retry = request->retry};
}

/* Room for one reply at least. */
static struct proposal *add_proposal(struct peer *peer, raft_index index, raft_term term, uint32_t count, size_t size)
{
    struct proposal *proposal = calloc(1, sizeof *proposal + (count + 1) * sizeof proposal->replies[0]);
    CHECK(proposal);
    *proposal = (struct proposal){.index = index, .term = term, .count = count, .size = (uint32_t)size};
    *peer->proposals_last = proposal;
    peer->proposals_last = &proposal->next;
    peer->proposed_count += count;
    region_worker_proposed(peer->worker);
    return proposal;
}

void peer_add_proposal(struct peer *peer, raft_index index, raft_term term, const struct reply_to *to, size_t size)
{
    struct proposal *proposal = add_proposal(peer, index, term, to != NULL, size);
    if (to)
        proposal->replies[0] = *to;
}

/* Proposes pending[from..to) as one entry. */
static void propose_some(struct peer *peer, uint32_t from, uint32_t to, struct buf *encoded,
                         struct wire_log_write *writes)
{
    uint32_t count = to - from;
    for (uint32_t i = 0; i < count; i++)
        writes[i] = log_write_of(peer->pending[from + i].request);
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_WRITE,
                                       .epoch_conf = peer->region->epoch_conf,
                                       .epoch_version = peer->region->epoch_version,
                                       .writes = writes,
                                       .writes_count = count};
    command.time_ms = peer_time_of(peer, &command);
    enum err code = wire_encode_log_command(&command, encoded);
    raft_index index = 0;
    raft_term term = 0;
    if (code == ERR_OK)
        code = raft_propose(peer->group->raft, buf_bytes(encoded), &index, &term);
    if (code != ERR_OK) {
        for (uint32_t i = from; i < to; i++)
            refuse(peer, peer->pending[i].to, code, code == ERR_BUSY ? BUSY_WAIT_MS : 0);
        return;
    }
    for (uint32_t i = from; BUG(answer_before_commit) && i < to; i++)
        refuse(peer, peer->pending[i].to, ERR_OK, 0);
    struct proposal *proposal = add_proposal(peer, index, term, count, encoded->size);
    for (uint32_t i = 0; i < count; i++)
        proposal->replies[i] = peer->pending[from + i].to;
    peer->keys_written += count;
    peer->size_written += encoded->size;
}

static void propose_pending(struct peer *peer)
{
    /* Beside what else gathers for one store (8 MiB) it must fit into a frame; keys and values alone never get so
     * large. */
    enum { PENDING_KEPT_MAX = 256, ENTRY_SIZE_MAX = 20 * 1024 * 1024 };
    if (peer->pending_count == 0)
        return;
    uint64_t size_max = region_worker_store(peer->worker)->config->proposal_size_max;
    struct wire_log_write *writes = malloc(peer->pending_count * sizeof *writes);
    CHECK(writes);
    struct buf encoded;
    buf_init(&encoded, ENTRY_SIZE_MAX);
    uint32_t from = 0;
    size_t size = 0;
    for (uint32_t i = 0; i < peer->pending_count; i++) {
        if (i > from && size + peer->pending[i].size > size_max) {
            propose_some(peer, from, i, &encoded, writes);
            from = i;
            size = 0;
        }
        size += peer->pending[i].size;
    }
    propose_some(peer, from, peer->pending_count, &encoded, writes);
    buf_fini(&encoded);
    free(writes);
    peer->pending_count = 0;
    if (peer->pending_capacity > PENDING_KEPT_MAX) {
        free(peer->pending);
        peer->pending = NULL;
        peer->pending_capacity = 0;
    }
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

enum err peer_propose_change(struct peer *peer, uint8_t kind, const struct wire_log_merge *merge,
                             const struct reply_to *owed)
{
    enum { CHANGE_SIZE_MAX = 1024 * 1024 };
    struct wire_log_merge copy = *merge;
    struct wire_log_command command = {.kind = kind,
                                       .epoch_conf = peer->region->epoch_conf,
                                       .epoch_version = peer->region->epoch_version,
                                       .merge = &copy};
    struct buf encoded;
    buf_init(&encoded, CHANGE_SIZE_MAX);
    enum err code = wire_encode_log_command(&command, &encoded);
    raft_index index = 0;
    raft_term term = 0;
    if (code == ERR_OK)
        code = raft_propose(peer->group->raft, buf_bytes(&encoded), &index, &term);
    if (code == ERR_OK) {
        struct proposal *proposal = add_proposal(peer, index, term, owed != NULL, encoded.size);
        if (owed)
            proposal->replies[0] = *owed;
        peer->split.proposed = index;
        region_worker_touch(peer->worker, peer);
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
        propose_pending(peer); /* before it they are done; behind it they would be refused */
    enum err code = take_ask->ids.code == ERR_OK ? propose_split(peer, take_ask) : take_ask->ids.code;
    if (code != ERR_OK) /* to count it again each second would change nothing */
        peer->split.look_at_us = region_worker_now_us(peer->worker) + SPLIT_RETRY_MS * 1000;
    if (code != ERR_OK && take_ask->owed)
        refuse(peer, take_ask->to, code, code == ERR_NOT_LEADER || code == ERR_EPOCH_NOT_MATCH ? 0 : BUSY_WAIT_MS);
    region_worker_touch(peer->worker, peer);
    message_free(&take_ask->ids.message);
}

static void forget_extent(struct peer *peer)
{
    peer->split.counted = peer->split.estimated = false;
    peer->split.extent = peer->split.written = (struct region_extent){0};
    peer->split.look_at_us = 0;
}

void peer_split_forget(struct peer *peer)
{
    region_split_free(peer->split.last);
    peer->split.last = NULL;
    peer->split.known = 0;
    peer->split.proposed = 0;
    forget_extent(peer);
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
    bool counted = peer->split.counted;
    uint64_t keys = peer->split.extent.keys + peer->split.written.keys;
    if (config->region_size_max > 0 &&
        (peer_size(peer) >= config->region_size_max ||
         (!counted && peer->split.written.size >= config->region_split_size / 8)))
        return true;
    return config->region_keys_max > 0 && keys >= (counted ? config->region_keys_max : config->region_split_keys / 8);
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
    if (now && peer->split.written.size > 0 && may_be_too_large(peer))
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
        if (ask->key_count > 0 && peer_may_split(peer)) {
            check->ask = NULL;
            ask_for_ids(peer, ask);
        }
    }
    message_free(take_message);
}

/* ---- reads that wait: for ReadIndex, or only for the apply worker */

static void refuse_reads(struct peer *peer, struct read_task *take_task, enum err code)
{
    for (const struct read_request *read = take_task->first; read; read = read->next)
        refuse(peer, read->to, code, err_action(code) == ERR_ACTION_REROUTE ? 0 : NOT_READY_WAIT_MS);
    read_task_free(take_task);
}

/* `index` 0: the core will say it, under `context`. */
static void wait_for_index(struct peer *peer, struct read_task *take_task, uint64_t context, raft_index index)
{
    struct waiting_reads *waiting = malloc(sizeof *waiting);
    CHECK(waiting);
    *waiting = (struct waiting_reads){.context = context, .index = index, .task = take_task};
    *peer->reads_last = waiting;
    peer->reads_last = &waiting->next;
    peer->reads_count += take_task->count;
}

static void ask_for_reads(struct peer *peer)
{
    if (peer->round_lease_reads) {
        wait_for_index(peer, peer->round_lease_reads, 0, raft_commit_index(peer->group->raft));
        peer->round_lease_reads = NULL;
    }
    struct read_task *task = peer->round_reads;
    if (!task)
        return;
    peer->round_reads = NULL;
    enum err code = raft_read(peer->group->raft, peer->read_context + 1);
    if (code != ERR_OK) {
        refuse_reads(peer, task, code);
        return;
    }
    wait_for_index(peer, task, ++peer->read_context, 0);
}

static void unlink_reads(struct peer *peer, struct waiting_reads **link)
{
    struct waiting_reads *waiting = *link;
    *link = waiting->next;
    if (peer->reads_last == &waiting->next)
        peer->reads_last = link;
    peer->reads_count -= waiting->task->count;
    free(waiting);
}

static void refuse_all_reads(struct peer *peer, enum err code)
{
    while (peer->reads) {
        struct read_task *task = peer->reads->task;
        unlink_reads(peer, &peer->reads);
        refuse_reads(peer, task, code);
    }
    struct read_task **rounds[] = {&peer->round_reads, &peer->round_lease_reads};
    for (int i = 0; i < 2; i++) {
        if (*rounds[i])
            refuse_reads(peer, *rounds[i], code);
        *rounds[i] = NULL;
    }
}

/* Such an entry is the last of its task. Only small ones are worth a look. */
static bool wants_hash(const struct raft_entry *entry)
{
    enum { COMMAND_SIZE_MAX = 128 };
    if (entry->kind != RAFT_ENTRY_NORMAL || entry->data.size == 0 || entry->data.size > COMMAND_SIZE_MAX)
        return false;
    struct wire_log_command command;
    struct arena arena;
    arena_init(&arena);
    bool wants = wire_decode_log_command(entry->data, &arena, &command) == ERR_OK && command.kind == WIRE_COMMAND_KIND_HASH;
    arena_fini(&arena);
    return wants;
}

/* The task wakes us when it is done only if somebody waits: reads, or a new leader's first reads. */
static void post_apply(struct peer *peer, const struct raft_entry *entries, uint32_t count,
                       struct proposal *take_proposals, bool urgent)
{
    struct store *store = region_worker_store(peer->worker);
    struct region_task *task = region_task_new(peer->fsm, region_worker_actor(peer->worker), WORKER_APPLY_DONE,
                                               store->apply_replies, entries, count, take_proposals);
    task->urgent =
        urgent || peer->reads != NULL || (raft_is_leader(peer->group->raft) && !group_is_ready_to_read(peer->group));
    if (count > 0 && wants_hash(&entries[count - 1])) {
        task->hash_store = store;
        task->task.alone = true;
    }
    peer->tasks_out++;
    peer->urgent_out += task->urgent;
    apply_worker_post(store->apply_worker, &task->task);
}

/* Those of entries up to `index`. */
static struct proposal *cut_proposals(struct proposal **list, raft_index index)
{
    struct proposal *first = *list, **last = &first;
    while (*last && (*last)->index <= index)
        last = &(*last)->next;
    *list = *last;
    *last = NULL;
    return first;
}

/* Hands over what gathered: rows are cheaper by the dozen. */
static void apply_committed(struct peer *peer, struct proposal *take_proposals)
{
    if (peer_snapshot_installs(&peer->snapshot) || peer->merge.parked)
        return;
    uint32_t from = 0;
    for (uint32_t i = 0; i < peer->committed_count; i++)
        if (wants_hash(&peer->committed[i])) {
            post_apply(peer, peer->committed + from, i + 1 - from, cut_proposals(&take_proposals, peer->committed[i].index),
                       true);
            from = i + 1;
        }
    if (peer->committed_count > from)
        post_apply(peer, peer->committed + from, peer->committed_count - from, take_proposals, false);
    free(peer->committed);
    peer->committed = NULL;
    peer->committed_count = 0;
    peer->committed_size = 0;
}

static void serve_applied_reads(struct peer *peer)
{
    if (peer_snapshot_installs(&peer->snapshot))
        return;
    if (peer->reads)
        apply_committed(peer, NULL);
    raft_index applied = region_fsm_applied(peer->fsm);
    struct waiting_reads **link = &peer->reads;
    if (peer->reads && peer->tasks_out > 0 && peer->urgent_out == 0)
        post_apply(peer, NULL, 0, NULL, false); /* what they wait for may be done, and nobody tells us */
    if (is_range_old(peer))
        return; /* the task with the split is on its way, and wakes us */
    while (*link) {
        struct waiting_reads *waiting = *link;
        if (waiting->index == 0 || waiting->index > applied) {
            link = &waiting->next;
            continue;
        }
        struct read_task *task = waiting->task;
        unlink_reads(peer, link);
        read_task_set_time(task, true, region_fsm_time(peer->fsm).now_ms);
        region_worker_post_reads(peer->worker, task);
    }
}

static void on_read_done(void *context, struct group *group, const struct raft_read_result *read)
{
    (void)context;
    struct peer *peer = group->user;
    for (struct waiting_reads **link = &peer->reads; *link; link = &(*link)->next) {
        struct waiting_reads *waiting = *link;
        if (waiting->context != read->context)
            continue;
        if (read->code == ERR_OK)
            waiting->index = read->index;
        else {
            struct read_task *task = waiting->task;
            unlink_reads(peer, link);
            refuse_reads(peer, task, read->code);
        }
        return;
    }
}

/* ---- the group's word */

static void on_send(void *context, struct group *group, const struct raft_message *message, bool after)
{
    (void)context;
    struct peer *peer = group->user;
    region_worker_send(peer->worker, peer, message, after);
}

static struct log_task *on_log_task(void *context, struct group *group)
{
    (void)context;
    struct peer *peer = group->user;
    return region_worker_log_task(peer->worker);
}

static void answer_proposal(struct peer *peer, struct proposal *take_proposal, enum err code)
{
    for (uint32_t i = 0; i < take_proposal->count; i++)
        refuse(peer, take_proposal->replies[i], code, 0);
    free(take_proposal);
}

static struct proposal *pop_proposal(struct peer *peer)
{
    struct proposal *proposal = peer->proposals;
    peer->proposals = proposal->next;
    if (!peer->proposals)
        peer->proposals_last = &peer->proposals;
    peer->proposed_count -= proposal->count;
    proposal->next = NULL;
    region_worker_proposal_ended(peer->worker);
    return proposal;
}

/* Of our proposals up to the last of these entries: those whose entry this is, in order. The slots of the others were
 * taken by another leader's entries: they did not happen and never will. */
static struct proposal *claim_proposals(struct peer *peer, const struct raft_entry *entries, uint32_t count)
{
    struct proposal *claimed = NULL, **last = &claimed;
    while (peer->proposals && peer->proposals->index <= entries[count - 1].index) {
        struct proposal *proposal = pop_proposal(peer);
        CHECK(proposal->index >= entries[0].index);
        if (proposal->index == peer->split.proposed)
            peer->split.proposed = 0;
        if (entries[proposal->index - entries[0].index].term == proposal->term || BUG(answers_others_entry)) {
            *last = proposal;
            last = &proposal->next;
        } else
            answer_proposal(peer, proposal, ERR_NOT_LEADER);
    }
    return claimed;
}

static void on_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count)
{
    (void)context;
    struct peer *peer = group->user;
    bool split_under_way = peer->split.proposed != 0;
    bool installs = peer_snapshot_installs(&peer->snapshot);
    struct proposal *proposals = installs ? NULL : claim_proposals(peer, entries, count); /* installs: at its end */
    if (peer->committed_count + count > APPLY_COUNT_MAX)
        apply_committed(peer, NULL); /* proposals are of newer entries than these */
    uint32_t wanted = peer->committed_count + count;
    if (!peer->committed || wanted > APPLY_COUNT_MAX) {
        peer->committed =
            realloc(peer->committed, (wanted > APPLY_COUNT_MAX ? wanted : APPLY_COUNT_MAX) * sizeof *entries);
        CHECK(peer->committed);
    }
    if (split_under_way && peer->split.proposed == 0 && raft_is_leader(group->raft))
        peer->split.announce = true;
    memcpy(peer->committed + peer->committed_count, entries, count * sizeof *entries);
    peer->committed_count += count;
    for (uint32_t i = 0; i < count; i++)
        peer->committed_size += entries[i].data.size;
    for (uint32_t i = 0; i < count; i++)
        peer->split.written.size += entries[i].data.size;
    bool somebody_waits = raft_is_leader(group->raft) || proposals || peer->reads;
    if (somebody_waits || peer->committed_count >= APPLY_COUNT_MAX || peer->committed_size >= APPLY_SIZE_MAX)
        apply_committed(peer, proposals);
}
/* Whoever waits for an answer that we cannot give any more. */
static void answer_all(struct peer *peer)
{
    /* They may still be committed by others; who asked must find out under its token. */
    while (peer->proposals && !BUG(answers_others_entry))
        answer_proposal(peer, pop_proposal(peer), BUG(step_down_says_not_done) ? ERR_NOT_LEADER : ERR_MAYBE);
    /* Those that waited for the disk were never proposed; and the disk may be what hangs. */
    for (uint32_t i = 0; i < peer->pending_count; i++)
        refuse(peer, peer->pending[i].to, ERR_NOT_LEADER, 0);
    peer->pending_count = 0;
    peer->split.proposed = 0; /* whatever becomes of it, the fsm says */
}

static void on_changed(void *context, struct group *group, enum raft_role role, peer_id leader)
{
    (void)context;
    struct peer *peer = group->user;
    struct store *store = region_worker_store(peer->worker);
    peer_sleep_note_work(peer);
    if (role == RAFT_LEADER) {
        peer->heartbeat_due = true;
        apply_committed(peer, NULL);
        log_event(store->env->log, LOG_INFO, "event=became_leader region=%llu peer=%llu term=%llu",
                  (unsigned long long)peer->region_id, (unsigned long long)peer->id,
                  (unsigned long long)raft_term_now(group->raft));
    } else
        answer_all(peer);
    if (leader != 0)
        peer->leads_first = false;
    if (role == RAFT_LEADER)
        campaigns_won(region_worker_campaigns(peer->worker), &peer->campaign);
    else if (role == RAFT_FOLLOWER && !raft_wants_campaign(group->raft))
        campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
}

/* ---- entries from the disk for a slow follower */

struct fetch_job {
    struct read_job job;
    struct env *env;
    struct actor *owner;
    struct group_fetch fetch;
};

static void free_fetch(struct message *message)
{
    struct fetch_job *job = (struct fetch_job *)message;
    group_fetch_fini(&job->fetch);
    free(job);
}

static void run_fetch(struct read_job *base)
{
    struct fetch_job *job = (struct fetch_job *)base;
    group_fetch_run(&job->fetch, job->env->engine, job->env->log);
    job->job.message.kind = WORKER_FETCHED;
    actor_post_must(job->env->executor, job->owner, &job->job.message);
}

static void on_fetch(void *context, struct group *group, const struct raft_fetch *fetch)
{
    (void)context;
    struct peer *peer = group->user;
    struct store *store = region_worker_store(peer->worker);
    struct fetch_job *job = calloc(1, sizeof *job);
    CHECK(job);
    job->job = (struct read_job){.message = {.free = free_fetch}, .run = run_fetch};
    job->env = store->env;
    job->owner = region_worker_actor(peer->worker);
    group_fetch_init(&job->fetch, peer->region_id, fetch);
    read_worker_post_job(store->readers[0], &job->job);
}

region_id peer_fetch_region(const struct message *message)
{
    return ((const struct fetch_job *)message)->fetch.group_id;
}

void peer_fetched(struct peer *peer, const struct message *message)
{
    group_fetched(peer->group, &((const struct fetch_job *)message)->fetch);
    region_worker_touch(peer->worker, peer);
}

/* ---- completions */

void peer_step(struct peer *peer, const struct wire_raft_message *wire, struct arena *arena)
{
    struct raft_message message;
    if (wire->to != peer->id || wire->kind == RAFT_SNAPSHOT)
        return; /* meant for a peer that was here before, or rows that did not come this way */
    if (wire->kind == STORE_ROWS_WANTED) {
        peer_heal_asked(peer, wire->from, wire->term, wire->index);
        return;
    }
    if (wire->kind == RAFT_ABSENT && !raft_is_leader(peer->group->raft)) {
        peer_snapshot_absent(peer, wire->from);
        return;
    }
    if (wire->kind == STORE_HASH) {
        peer_check_heard(peer, wire);
        return;
    }
    if (wire->kind == RAFT_TIMEOUT_NOW && peer->snapshot.damaged)
        return; /* it could not serve */
    if (group_message_from_wire(wire, arena, &message) != ERR_OK)
        return;
    peer_sleep_before_step(peer, wire);
    enum err code = raft_step(peer->group->raft, &message);
    if (code == ERR_CORRUPT)
        log_event(region_worker_store(peer->worker)->env->log, LOG_ERROR,
                  "event=raft_contradiction region=%llu peer=%llu from=%llu kind=%s index=%llu term=%llu "
                  "msg=\"a message contradicts what is committed here\"",
                  (unsigned long long)peer->region_id, (unsigned long long)peer->id, (unsigned long long)message.from,
                  raft_message_kind_name(message.kind), (unsigned long long)message.index,
                  (unsigned long long)message.term);
    if (code == ERR_OK) {
        group_note_replicated(peer->group, wire->replicated);
        peer_sleep_after_step(peer, wire);
        peer->split.hurry |= wire->hurry;
    }
    region_worker_touch(peer->worker, peer);
}

/* A campaign that is under way would begin again at the first question: who was chosen to lead first waits for it, too. */
static bool may_lead_first(const struct peer *peer)
{
    const struct raft *raft = peer->group->raft;
    return peer->leads_first && raft_role(raft) == RAFT_FOLLOWER && raft_leader(raft) == 0;
}

static void maybe_campaign(struct peer *peer)
{
    if (peer->snapshot.damaged && !peer_heal_must_lead(peer))
        return; /* its log is as good as any, but it could not serve */
    if (peer->snapshot.damaged && raft_wants_campaign(peer->group->raft))
        peer_heal_know_members(peer);
    bool is_time = raft_wants_campaign(peer->group->raft);
    if (!is_time && !may_lead_first(peer))
        return;
    bool quorum_lives = peer_sleep_quorum_lives(peer);
    if (is_time || quorum_lives) /* who is only to be the first has time until somebody would answer */
        campaigns_want(region_worker_campaigns(peer->worker), &peer->campaign, quorum_lives);
}

void peer_campaign(struct peer *peer)
{
    struct raft *raft = peer->group->raft;
    if ((raft_wants_campaign(raft) || may_lead_first(peer)) && raft_campaign(raft) == ERR_OK)
        region_worker_touch(peer->worker, peer);
    else
        campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
}

void peer_tick(struct peer *peer, uint32_t count)
{
    if (peer->destroy.begun)
        return;
    raft_tick(peer->group->raft, count);
    peer_destroy_tick(peer, count);
    peer->split.young_ticks -= count < peer->split.young_ticks ? count : peer->split.young_ticks;
    peer->split.hurry_ticks -= count < peer->split.hurry_ticks ? count : peer->split.hurry_ticks;
    apply_committed(peer, NULL);
    peer_heal_count_ticks(peer, count);
    peer_heal_tick(peer);
    peer_force_tick(peer, count);
    maybe_campaign(peer);
    if (raft_has_ready(peer->group->raft))
        region_worker_touch(peer->worker, peer);
    peer_merge_tick(peer, count);
    peer_sleep_try(peer);
}

/* Who still knows the region as it was before a split asks pd for the others. */
void peer_shrink(struct peer *peer)
{
    group_shrink(peer->group);
    region_split_free(peer->split.last);
    peer->split.last = NULL;
    free(peer->pending);
    peer->pending = NULL;
    peer->pending_capacity = 0;
}

/* Followers that learnt of it with the next heartbeat would make the children's voters late: a round at once says how
 * far all is committed. Nobody waits for its read. */
static void announce_split(struct peer *peer)
{
    enum { HURRY_TICKS = 4 };
    if (!peer->split.announce)
        return;
    peer->split.announce = false;
    peer->split.hurry_ticks = HURRY_TICKS;
    (void)raft_read(peer->group->raft, ++peer->read_context);
}

void peer_end(struct peer *peer)
{
    answer_all(peer);
    refuse_all_reads(peer, ERR_REGION_NOT_FOUND);
    peer->leads_first = peer->heartbeat_due = false;
    campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
    peer_snapshot_begin_install(peer);
}

void peer_round(struct peer *peer)
{
    if (peer->destroy.posted)
        return;
    if (region_worker_may_propose(peer->worker))
        propose_pending(peer);
    else if (peer->pending_count > 0)
        region_worker_wait(peer->worker, peer);
    announce_split(peer);
    ask_for_reads(peer);
    group_pull(peer->group);
    peer->split.everybody |= peer->group->replicated > GROUP_FIRST_INDEX;
    if (peer->split.hurry || peer->destroy.begun)
        apply_committed(peer, NULL);
    peer->split.hurry = false;
    peer_merge_round(peer);
    serve_applied_reads(peer);
}

bool peer_release(struct peer *peer)
{
    return peer->destroy.posted || (group_release(peer->group) && !peer->split.announce);
}

void peer_refuse_waiting(struct peer *peer)
{
    for (uint32_t i = 0; i < peer->pending_count; i++)
        refuse(peer, peer->pending[i].to, ERR_NOT_READY, NOT_READY_WAIT_MS);
    peer->pending_count = 0;
    refuse_all_reads(peer, ERR_NOT_READY);
}

static void refuse_waiting(struct peer *peer)
{
    for (uint32_t i = 0; i < peer->pending_count; i++)
        refuse(peer, peer->pending[i].to, ERR_EPOCH_NOT_MATCH, 0);
    peer->pending_count = 0;
    refuse_all_reads(peer, ERR_EPOCH_NOT_MATCH);
}

void peer_refuse_all(struct peer *peer, const struct region *into)
{
    region_free(peer->region);
    peer->region = region_copy(into); /* what the answers tell */
    refuse_waiting(peer);
    while (peer->proposals)
        answer_proposal(peer, pop_proposal(peer), ERR_EPOCH_NOT_MATCH);
}

/* For people: whom it has to do with. */
static region_id other_region(const struct peer *peer, const struct region_split *change)
{
    if (change->count > 1)
        return change->regions[1]->id;
    return region_is_merging(peer->region) ? peer->region->merging->target : 0;
}

/* The region is another one now. Whatever was let in for the old one and has not been served is refused: it did not
 * happen, and the answer says where to go. */
static void change_done(struct peer *peer, struct region_split *take_change)
{
    static const char *const names[] = {
        [REGION_WAS_SPLIT] = "split",     [REGION_PREPARED] = "merge_prepared", [REGION_ROLLED_BACK] = "merge_rolled_back",
        [REGION_REFUSED] = "merge_refused", [REGION_TOOK_IN] = "merge_done"};
    struct store *store = region_worker_store(peer->worker);
    bool leads = raft_is_leader(peer->group->raft), split = take_change->change == REGION_WAS_SPLIT;
    region_free(peer->region);
    peer->region = region_copy(take_change->regions[0]);
    region_split_free(peer->split.last);
    peer->split.last = split ? take_change : NULL; /* those that are refused below are told where to go */
    peer->split.known = take_change->index;
    peer->heartbeat_due = leads;
    if (split || take_change->change == REGION_TOOK_IN)
        forget_extent(peer);
    peer->split.holds_deleted |= take_change->change == REGION_TOOK_IN; /* what is merged was larger once */
    if (split)
        split_load_fini(&peer->load);
    refuse_waiting(peer);
    log_event(store->env->log, LOG_INFO, "event=%s region=%llu version=%llu index=%llu%s%llu", names[take_change->change],
              (unsigned long long)peer->region_id, (unsigned long long)peer->region->epoch_version,
              (unsigned long long)take_change->index, split ? " children=" : " other=",
              split ? (unsigned long long)take_change->count - 1 : (unsigned long long)other_region(peer, take_change));
    for (uint32_t i = 1; i < take_change->count && split; i++)
        region_worker_add_child(peer->worker, take_change->regions[i], leads);
    peer_merge_changed(peer, take_change);
    if (!split)
        region_split_free(take_change);
}

/* In the order of the log. */
static void region_changed(struct peer *peer, struct region_task *task)
{
    const struct region_conf *conf = task->confs;
    while (task->splits || conf) {
        struct region_split *split = task->splits;
        if (!split || (conf && conf->index < split->index)) {
            peer_conf_applied(peer, &task->entries[conf->index - task->entries[0].index], conf);
            conf = conf->next;
            continue;
        }
        task->splits = split->next;
        split->next = NULL;
        if (peer->merge.ended)
            region_split_free(split);
        else
            change_done(peer, split);
    }
}

void peer_applied(struct peer *peer, struct region_task *take_task)
{
    CHECK(peer->tasks_out > 0);
    peer->tasks_out--;
    peer->urgent_out -= take_task->urgent;
    if (take_task->code != ERR_OK)
        store_fail(region_worker_store(peer->worker), take_task->code, "applying committed entries");
    else {
        peer->split.written.keys += take_task->keys_written;
        peer->split.written.deleted += take_task->keys_deleted;
        if (take_task->entry_count > 0)
            peer->time = take_task->time;
        region_changed(peer, take_task);
        group_applied(peer->group, take_task->applied_index);
        if (take_task->has_verify)
            peer_check_verify(peer, &take_task->verify);
        if (take_task->damaged)
            peer_heal_damaged(peer, take_task->damage);
    }
    if (take_task->parked) {
        region_task_forget_confs(take_task);
        peer->tasks_out++;
        peer->urgent_out += take_task->urgent;
        peer_merge_park(peer, take_task);
    } else
        region_task_free(take_task);
    peer_merge_go_on(peer);
    if (!peer->merge.ended)
        peer_snapshot_go_on(peer);
    region_worker_touch(peer->worker, peer);
}

/* ---- snapshots */

static void on_snapshot_wanted(void *context, struct group *group, const struct raft_message *message)
{
    (void)context;
    peer_snapshot_wanted(group->user, message);
}

static void on_install(void *context, struct group *group, const struct raft_snapshot *snapshot, struct log_task *task)
{
    (void)context;
    peer_snapshot_accepted(group->user, snapshot, task);
}

void peer_snapshot_begin_install(struct peer *peer)
{
    apply_committed(peer, NULL);
    if (peer->tasks_out > 0 && peer->urgent_out == 0)
        post_apply(peer, NULL, 0, NULL, true); /* wakes us when those before it are done */
}

void peer_snapshot_forget_committed(struct peer *peer)
{
    peer->committed_count = 0;
    peer->committed_size = 0;
}

void peer_snapshot_end_install(struct peer *peer)
{
    if (peer->committed_count > 0)
        apply_committed(peer, claim_proposals(peer, peer->committed, peer->committed_count));
}
