#include "check_raft.h"

#include "check_region.h"

#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>
#include <xxhash.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "check_durable.h"
#include "env/transport.h"
#include "group/group_keys.h"
#include "meta/region.h"
#include "proto/wire.h"
#include "raft/raft.h"
#include "rpc/frame_kind.h"

/* Who leads a region in a term; whom a peer voted for in a term. */
struct fact {
    struct {
        region_id region;
        raft_term term;
        peer_id voter; /* 0: the fact is who leads */
    } key;
    peer_id peer;
    UT_hash_handle hh;
};

struct applied {
    raft_term term; /* 0: not known */
    uint64_t hash;
};

struct region_log {
    region_id region;
    struct applied *entries; /* by index */
    raft_index capacity;
    raft_index last;      /* newest index applied anywhere */
    raft_term led_term;   /* newest term with a leader */
    raft_term ready_term; /* newest term whose leader has committed an entry of it */
    UT_hash_handle hh;
};

/* What a peer was like when it was looked at last. */
struct seen {
    struct {
        uint32_t store;
        region_id region;
    } key;
    uint64_t generation; /* of the node */
    peer_id peer;
    raft_term term;
    peer_id vote;
    raft_index commit, applied;
    raft_index checked; /* log rows up to here were compared */
    raft_index last;
    raft_term last_term;
    uint64_t deposed_ns; /* since when it leads without right; 0: it does not */
    bool led, installs;
    struct region_log *log; /* of the region */
    UT_hash_handle hh;
};

struct check_raft {
    struct world *world;
    struct fact *facts;
    struct region_log *logs;
    struct seen *seen;
    struct check_durable *durable;
    struct buf row;
    struct arena arena;
    struct check_raft_counts counts;
    check_raft_listener *listener;
    check_raft_install_listener *install_listener;
    void *listener_context;
    /* Peers of a store are visited in the same order again and again. */
    struct {
        struct seen **items; /* owned array */
        uint32_t count, capacity;
    } order[WORLD_STORE_MAX + 1];
    /* during a visit */
    struct world_node *store;
    uint32_t place;    /* in order[] of the store */
    bool lead_changed; /* a new leader writes: does an old one have a lease? */
};

#define ULL(value) ((unsigned long long)(value))

/* ---- facts */

/* The fact as it was stated first. */
static peer_id state_fact(struct check_raft *check, region_id region, raft_term term, peer_id voter, peer_id peer)
{
    struct fact *fact, wanted;
    memset(&wanted, 0, sizeof wanted);
    wanted.key.region = region;
    wanted.key.term = term;
    wanted.key.voter = voter;
    HASH_FIND(hh, check->facts, &wanted.key, sizeof wanted.key, fact);
    if (fact)
        return fact->peer;
    fact = malloc(sizeof *fact);
    CHECK(fact);
    *fact = wanted;
    fact->peer = peer;
    HASH_ADD(hh, check->facts, key, sizeof fact->key, fact);
    return peer;
}

static void state_leader(struct check_raft *check, region_id region, raft_term term, peer_id peer)
{
    peer_id first = state_fact(check, region, term, 0, peer);
    if (first != peer)
        world_fail(check->world, "raft", region, "R1: peers %llu and %llu both lead region %llu in term %llu",
                   ULL(first), ULL(peer), ULL(region), ULL(term));
}

static void state_vote(struct check_raft *check, region_id region, raft_term term, peer_id voter, peer_id candidate)
{
    peer_id first = state_fact(check, region, term, voter, candidate);
    if (first != candidate)
        world_fail(check->world, "raft", region,
                   "R2: peer %llu of region %llu voted for %llu and for %llu in term %llu", ULL(voter), ULL(region),
                   ULL(first), ULL(candidate), ULL(term));
}

/* ---- what was applied */

static struct region_log *log_of(struct check_raft *check, region_id region)
{
    struct region_log *log;
    HASH_FIND(hh, check->logs, &region, sizeof region, log);
    if (log)
        return log;
    log = calloc(1, sizeof *log);
    CHECK(log);
    log->region = region;
    HASH_ADD(hh, check->logs, region, sizeof log->region, log);
    return log;
}

static struct applied *applied_at(struct region_log *log, raft_index index)
{
    if (index >= log->capacity) {
        raft_index capacity = (index + 1) * 2 < 256 ? 256 : (index + 1) * 2;
        log->entries = realloc(log->entries, capacity * sizeof *log->entries);
        CHECK(log->entries);
        memset(log->entries + log->capacity, 0, (capacity - log->capacity) * sizeof *log->entries);
        log->capacity = capacity;
    }
    return &log->entries[index];
}

/* The log row of the store's disk: `format u8, kind u8, term u64, checksum u32, payload` (group_keys.h). */
static bool read_row(struct check_raft *check, region_id region, raft_index index, raft_term *ret_term,
                     uint64_t *ret_hash)
{
    struct group_key key = group_key_indexed(region, GROUP_LOG, index);
    if (engine_mem_get_durable(check->store->disk, ENGINE_RAFT, group_key_bytes(&key), &check->row) != ERR_OK ||
        check->row.size < 10)
        return false;
    *ret_term = load_u64_be(check->row.data + 2);
    *ret_hash = XXH3_64bits(check->row.data, check->row.size);
    return true;
}

static void print_bytes(char *text, size_t size, struct bytes bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < bytes.size && i < 12 && used + 4 < size; i++)
        used += (size_t)snprintf(text + used, size - used, bytes.data[i] > 32 && bytes.data[i] < 127 ? "%c" : "\\%02x",
                                 bytes.data[i]);
}

static void trace_write(struct check_raft *check, region_id region, raft_index index,
                        const struct wire_log_write *write, struct bytes key_bytes, struct bytes value_bytes,
                        bool remove)
{
    char key[64], value[64];
    print_bytes(key, sizeof key, key_bytes);
    print_bytes(value, sizeof value, value_bytes);
    sim_trace(world_sim(check->world), "s%u applied region=%llu index=%llu op=%u key=%s value=%s%s token=%llx/%llu%s",
              check->store->number, ULL(region), ULL(index), write->op, key, remove ? "(remove)" : "", value,
              ULL(write->client_id & 0xffff), ULL(write->sequence), write->retry ? " retry" : "");
}

/* The row that was read last, for people. */
static void trace_applied(struct check_raft *check, region_id region, raft_index index)
{
    enum { HEAD_SIZE = 14 };
    struct wire_log_command command;
    struct bytes payload = bytes_of(check->row.data + HEAD_SIZE, check->row.size - HEAD_SIZE);
    if (check->row.size <= HEAD_SIZE || wire_decode_log_command(payload, &check->arena, &command) != ERR_OK)
        return;
    for (uint32_t i = 0; i < command.writes_count; i++) {
        const struct wire_log_write *write = &command.writes[i];
        if (write->pairs_count == 0)
            trace_write(check, region, index, write, write->key, write->value, write->op == WIRE_KV_OP_DELETE_KEY);
        for (uint32_t j = 0; j < write->pairs_count; j++)
            trace_write(check, region, index, write, write->pairs[j].key, write->pairs[j].value,
                        write->pairs[j].remove);
    }
    arena_reset(&check->arena);
}

static void check_applied(struct check_raft *check, struct seen *seen, const struct store_peer_view *view)
{
    struct region_log *log = seen->log;
    raft_index truncated = raft_truncated(view->raft).index;
    if (seen->checked < truncated)
        seen->checked = truncated;
    while (seen->checked < view->applied_index) {
        raft_index index = ++seen->checked;
        raft_term term;
        uint64_t hash = 0;
        if (!read_row(check, view->region, index, &term, &hash)) {
            world_fail(check->world, "raft", view->region,
                       "R3: s%u applied index %llu of region %llu, which is not durable on its disk",
                       check->store->number, ULL(index), ULL(view->region));
            return;
        }
        if (sim_traces(world_sim(check->world)))
            trace_applied(check, view->region, index);
        struct applied *applied = applied_at(log, index);
        if (applied->term == 0) {
            *applied = (struct applied){term, hash};
            check->counts.applied++;
        } else if (applied->term != term || applied->hash != hash) {
            world_fail(check->world, "raft", view->region,
                       "R3: s%u has another entry at index %llu of region %llu: term %llu, before it was term %llu%s",
                       check->store->number, ULL(index), ULL(view->region), ULL(term), ULL(applied->term),
                       term == applied->term ? " with other bytes" : "");
            return;
        }
    }
    if (view->applied_index > log->last)
        log->last = view->applied_index;
}

static void check_completeness(struct check_raft *check, const struct store_peer_view *view)
{
    enum { DEPTH = 64 };
    struct region_log *log = log_of(check, view->region);
    raft_index last = raft_last_index(view->raft);
    if (last < log->last)
        world_fail(check->world, "raft", view->region,
                   "R4: s%u leads region %llu in term %llu with a log up to %llu, but %llu was applied",
                   check->store->number, ULL(view->region), ULL(raft_term_now(view->raft)), ULL(last), ULL(log->last));
    for (raft_index index = log->last; index > 0 && index + DEPTH > log->last && index <= last; index--) {
        raft_term mine = raft_term_at(view->raft, index), applied = applied_at(log, index)->term;
        if (mine != 0 && applied != 0 && mine != applied)
            world_fail(check->world, "raft", view->region,
                       "R4: s%u leads region %llu with term %llu at index %llu; applied was term %llu",
                       check->store->number, ULL(view->region), ULL(mine), ULL(index), ULL(applied));
    }
}

/* ---- a look at one peer */

static struct seen *find_seen(struct check_raft *check, region_id region)
{
    struct seen *seen, wanted;
    memset(&wanted, 0, sizeof wanted);
    wanted.key.store = check->store->number;
    wanted.key.region = region;
    HASH_FIND(hh, check->seen, &wanted.key, sizeof wanted.key, seen);
    if (!seen) {
        seen = malloc(sizeof *seen);
        CHECK(seen);
        *seen = wanted;
        seen->log = log_of(check, region);
        HASH_ADD(hh, check->seen, key, sizeof seen->key, seen);
    }
    return seen;
}

static struct seen *seen_of(struct check_raft *check, region_id region)
{
    uint32_t place = check->place++, number = check->store->number;
    if (place < check->order[number].count && check->order[number].items[place]->key.region == region)
        return check->order[number].items[place];
    if (place == check->order[number].capacity) {
        uint32_t capacity = place ? 2 * place : 16;
        check->order[number].items = realloc(check->order[number].items, capacity * sizeof(struct seen *));
        CHECK(check->order[number].items);
        check->order[number].capacity = capacity;
    }
    check->order[number].items[place] = find_seen(check, region);
    check->order[number].count = place + 1;
    return check->order[number].items[place];
}

static void check_order(struct check_raft *check, const struct seen *seen, const struct store_peer_view *view)
{
    const struct raft *raft = view->raft;
    raft_index truncated = raft_truncated(raft).index, applied = view->applied_index, commit = raft_commit_index(raft),
               last = raft_last_index(raft);
    bool installs = raft_pending_snapshot(raft) != 0; /* the log has jumped, what is applied follows */
    if ((truncated > applied && !installs) || applied > commit || commit > last)
        world_fail(check->world, "raft", view->region,
                   "R5: s%u region %llu: truncated %llu, applied %llu, commit %llu, last %llu", check->store->number,
                   ULL(view->region), ULL(truncated), ULL(applied), ULL(commit), ULL(last));
    if (raft_term_now(raft) < seen->term || commit < seen->commit || applied < seen->applied)
        world_fail(check->world, "raft", view->region,
                   "R6: s%u region %llu went back: term %llu to %llu, commit %llu to %llu, applied %llu to %llu",
                   check->store->number, ULL(view->region), ULL(seen->term), ULL(raft_term_now(raft)),
                   ULL(seen->commit), ULL(commit), ULL(seen->applied), ULL(applied));
}

static void count_corners(struct check_raft *check, struct seen *seen, const struct store_peer_view *view, bool leads)
{
    struct region_log *log = seen->log;
    raft_term term = raft_term_now(view->raft);
    uint64_t now_ns = sim_heap_ns(world_sim(check->world));
    if (leads && term > log->led_term) {
        log->led_term = term;
        check->counts.elections++;
    }
    bool deposed = leads && term < log->led_term;
    if (seen->deposed_ns > 0)
        check->counts.deposed_us += (now_ns - seen->deposed_ns) / 1000;
    seen->deposed_ns = deposed ? now_ns : 0;
    raft_index last = raft_last_index(view->raft);
    if (last < seen->last || (seen->last > 0 && raft_term_at(view->raft, seen->last) != seen->last_term &&
                              raft_term_at(view->raft, seen->last) != 0))
        check->counts.overwritten++;
    seen->last = last;
    seen->last_term = raft_term_at(view->raft, last);
}

/* Old entries must not be counted (figure 8): they could still be overwritten by a leader that never saw ours. */
static void check_commit_term(struct check_raft *check, const struct seen *seen, const struct store_peer_view *view)
{
    raft_index commit = raft_commit_index(view->raft);
    raft_term now = raft_term_now(view->raft), term = raft_term_at(view->raft, commit);
    if (raft_is_leader(view->raft) && seen->led && seen->term == now && commit > seen->commit && term != 0 &&
        term != now)
        world_fail(check->world, "raft", view->region,
                   "R7: s%u leads region %llu in term %llu and commits index %llu, an entry of term %llu, by counting",
                   check->store->number, ULL(view->region), ULL(now), ULL(commit), ULL(term));
}

static void check_lease(struct check_raft *check, const struct seen *seen, const struct store_peer_view *view)
{
    struct region_log *log = seen->log;
    raft_term term = raft_term_now(view->raft);
    if (raft_is_leader_ready(view->raft) && term > log->ready_term) {
        log->ready_term = term;
        check->lead_changed = true;
    }
    if (view->lease && term < log->ready_term)
        world_fail(check->world, "raft", view->region,
                   "R8: s%u has a lease on region %llu as the leader of term %llu; the leader of term %llu writes",
                   check->store->number, ULL(view->region), ULL(term), ULL(log->ready_term));
}

/* Most peers are as they were when they were looked at last: then nothing can be wrong now that was right then, but a
 * lease, or a leader that is one too long. */
static bool is_as_it_was(const struct seen *seen, const struct store_peer_view *view, uint64_t generation)
{
    const struct raft *raft = view->raft;
    raft_term term = raft_term_now(raft);
    raft_index last = raft_last_index(raft);
    return seen->generation == generation && seen->peer == view->peer && seen->term == term &&
           seen->commit == raft_commit_index(raft) && seen->applied == view->applied_index && seen->last == last &&
           seen->led == raft_is_leader(raft) && seen->installs == view->installs &&
           !(seen->led && term < seen->log->led_term) && seen->deposed_ns == 0 &&
           seen->last_term == raft_term_at(raft, last);
}

static void visit_peer(void *context, const struct store_peer_view *view)
{
    struct check_raft *check = context;
    const struct raft *raft = view->raft;
    struct seen *seen = seen_of(check, view->region);
    uint64_t generation = sim_node_generation(check->store->node);
    if (is_as_it_was(seen, view, generation)) {
        if (view->lease)
            check_lease(check, seen, view);
        return;
    }
    if (seen->generation != generation || seen->peer != view->peer) {
        seen->generation = generation;
        seen->peer = view->peer;
        seen->term = 0;
        seen->commit = seen->applied = seen->checked = seen->last = 0;
        seen->deposed_ns = 0;
        seen->led = seen->installs = false;
        check_durable_peer(check->durable, check->store, view);
    }
    raft_term term = raft_term_now(raft);
    bool leads = raft_is_leader(raft);
    check_order(check, seen, view);
    count_corners(check, seen, view, leads);
    if (leads && (!seen->led || seen->term != term)) {
        state_leader(check, view->region, term, view->peer);
        state_vote(check, view->region, term, view->peer, view->peer);
        if (term >= seen->log->led_term) /* else it was elected too late to matter, and will find out */
            check_completeness(check, view);
    }
    if (view->installs && !seen->installs && check->install_listener)
        check->install_listener(check->listener_context, check->store);
    seen->installs = view->installs;
    check_commit_term(check, seen, view);
    if (raft_commit_index(raft) > seen->commit)
        check_durable_commit(check->durable, check->store, view);
    check_lease(check, seen, view);
    if (seen->checked < view->applied_index)
        check_applied(check, seen, view);
    check_durable_conf(check->durable, view);
    seen->term = term;
    seen->led = leads;
    seen->commit = raft_commit_index(raft);
    seen->applied = view->applied_index;
}

static void visit_lease(void *context, const struct store_peer_view *view)
{
    struct check_raft *check = context;
    struct seen *seen = seen_of(check, view->region);
    if (seen->generation == sim_node_generation(check->store->node)) /* else it has not been looked at in this life */
        check_lease(check, seen, view);
}

void check_raft_store(struct check_raft *check, struct world_node *store)
{
    if (!store->store)
        return;
    check->store = store;
    check->place = 0;
    check->lead_changed = false;
    store_visit_peers(store->store, visit_peer, check);
    for (uint32_t number = 1; check->lead_changed && number <= world_options(check->world)->store_count; number++) {
        check->store = world_store(check->world, number);
        check->place = 0;
        if (check->store != store && check->store->store)
            store_visit_peers(check->store->store, visit_lease, check);
    }
}

/* ---- a look at the wire */

static void look_at_message(struct check_raft *check, const struct wire_raft_message *message)
{
    switch (message->kind) {
    case RAFT_VOTE_RESP:
        if (!message->reject)
            state_vote(check, message->region_id, message->term, message->from, message->to);
        break;
    case RAFT_APP:
    case RAFT_HEARTBEAT:
        state_leader(check, message->region_id, message->term, message->from);
        break;
    default:
        break;
    }
}

static void trace_message(struct sim *sim, const struct wire_raft_message *message)
{
    sim_trace(
        sim, "raft region=%llu %s %llu->%llu term=%llu index=%llu log_term=%llu commit=%llu entries=%u%s%s round=%llu",
        ULL(message->region_id), raft_message_kind_name(message->kind), ULL(message->from), ULL(message->to),
        ULL(message->term), ULL(message->index), ULL(message->log_term), ULL(message->commit), message->entries_count,
        message->reject ? " reject" : "", message->force ? " force" : "", ULL(message->round));
}

/* Requests and replies are no business of the checker, but of whoever reads the trace. */
static void trace_kv(struct check_raft *check, struct sim_node *to, const struct frame *frame)
{
    struct sim *sim = world_sim(check->world);
    struct wire_kv_request_batch requests;
    struct wire_kv_reply_batch replies;
    char key[64], value[64];
    if (frame->kind == FRAME_KV_REQUEST &&
        wire_decode_kv_request_batch(frame_bytes(frame), &check->arena, &requests) == ERR_OK)
        for (uint32_t i = 0; i < requests.requests_count; i++) {
            const struct wire_kv_request *request = &requests.requests[i];
            print_bytes(key, sizeof key, request->key);
            print_bytes(value, sizeof value, request->value);
            sim_trace(sim, "request to %s id=%llu region=%llu op=%u key=%s value=%s read=%u token=%llx/%llu%s",
                      sim_node_name(to), ULL(request->id), ULL(request->region_id), request->op, key, value,
                      request->read_mode, ULL(request->client_id & 0xffff), ULL(request->sequence),
                      request->retry ? " retry" : "");
        }
    if (frame->kind == FRAME_KV_REPLY &&
        wire_decode_kv_reply_batch(frame_bytes(frame), &check->arena, &replies) == ERR_OK)
        for (uint32_t i = 0; i < replies.replies_count; i++) {
            const struct wire_kv_reply *reply = &replies.replies[i];
            print_bytes(value, sizeof value, reply->value);
            sim_trace(sim, "reply to %s id=%llu %s value=%s pairs=%u", sim_node_name(to), ULL(reply->id),
                      err_name((enum err)reply->code), value, reply->pairs_count);
        }
    arena_reset(&check->arena);
}

void check_raft_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame)
{
    struct check_raft *check = context;
    struct sim *sim = world_sim(check->world);
    if (sim_traces(sim))
        trace_kv(check, to, frame);
    if (frame->kind != FRAME_RAFT || world_node_of(check->world, from)->role != WORLD_STORE)
        return;
    struct wire_raft_batch batch;
    if (wire_decode_raft_batch(frame_bytes(frame), &check->arena, &batch) != ERR_OK) {
        world_fail(check->world, "raft", 0, "%s sent a raft frame that cannot be read", sim_node_name(from));
    } else {
        for (uint32_t i = 0; i < batch.messages_count; i++) {
            look_at_message(check, &batch.messages[i]);
            if (check->listener)
                check->listener(check->listener_context, from, to, &batch.messages[i]);
            if (sim_traces(sim))
                trace_message(sim, &batch.messages[i]);
        }
    }
    arena_reset(&check->arena);
}

void check_raft_set_listener(struct check_raft *check, check_raft_listener *listener,
                             check_raft_install_listener *install_listener, void *context)
{
    check->install_listener = install_listener;
    check->listener = listener;
    check->listener_context = context;
}

/* ---- convergence */

struct convergence {
    struct check_raft *check;
    struct {
        region_id region;
        raft_index applied;
        uint32_t leaders, peers, members;
        uint64_t epoch_conf; /* of the newest that was seen; `members` is theirs */
        bool differs;
    } regions[1024];
    uint32_t count;
};

static void visit_convergence(void *context, const struct store_peer_view *view)
{
    struct convergence *convergence = context;
    struct raft_conf conf;
    raft_get_conf(view->raft, &conf);
    uint32_t i = 0;
    while (i < convergence->count && convergence->regions[i].region != view->region)
        i++;
    if (i == sizeof convergence->regions / sizeof convergence->regions[0])
        return;
    if (i == convergence->count) {
        convergence->count++;
        memset(&convergence->regions[i], 0, sizeof convergence->regions[i]);
        convergence->regions[i].region = view->region;
        convergence->regions[i].applied = view->applied_index;
    }
    if (view->members->epoch_conf > convergence->regions[i].epoch_conf) {
        convergence->regions[i].epoch_conf = view->members->epoch_conf;
        convergence->regions[i].members = view->members->peer_count;
    }
    convergence->regions[i].peers++;
    convergence->regions[i].leaders += raft_is_leader(view->raft);
    convergence->regions[i].differs = convergence->regions[i].differs || view->installs || raft_conf_is_joint(&conf) ||
                                      convergence->regions[i].applied != view->applied_index ||
                                      raft_commit_index(view->raft) != view->applied_index;
}

bool check_raft_is_whole(struct check_raft *check, bool equal, char *text, size_t size)
{
    struct convergence *convergence = calloc(1, sizeof *convergence);
    CHECK(convergence);
    const struct world_options *options = world_options(check->world);
    bool fine = true;
    for (uint32_t number = 1; number <= options->store_count; number++) {
        struct world_node *store = world_store(check->world, number);
        if (store->store && store_is_ready(store->store)) {
            struct store_merge_counts merges = {0};
            store_visit_peers(store->store, visit_convergence, convergence);
            store_add_merge_counts(store->store, &merges);
            if (merges.ending > 0) {
                fine = false;
                if (text)
                    snprintf(text, size, "s%u has peers that were merged and are not gone", number);
            }
            continue;
        }
        fine = false;
        if (text)
            snprintf(text, size, "s%u is not ready", number);
    }
    if (fine && convergence->count < options->region_count &&
        convergence->count + check_region_ended(check->world) < options->region_count) {
        fine = false;
        if (text)
            snprintf(text, size, "%u regions of %u are served", convergence->count, options->region_count);
    }
    for (uint32_t i = 0; i < convergence->count && fine; i++) {
        if (!(equal && convergence->regions[i].differs) && convergence->regions[i].leaders == 1 &&
            convergence->regions[i].peers == convergence->regions[i].members)
            continue;
        fine = false;
        if (text)
            snprintf(text, size, "region %llu: %u leaders, %u peers of %u%s", ULL(convergence->regions[i].region),
                     convergence->regions[i].leaders, convergence->regions[i].peers, convergence->regions[i].members,
                     equal && convergence->regions[i].differs ? " that have not applied the same" : "");
    }
    free(convergence);
    return fine;
}

static void describe_peer(void *context, const struct store_peer_view *view)
{
    static const char *const states[] = {"probe", "replicate", "snapshot"};
    struct check_raft *check = context;
    struct sim *sim = world_sim(check->world);
    struct raft_status status;
    raft_get_status(view->raft, &status);
    sim_trace(sim,
              "s%u status region=%llu peer=%llu role=%u leader=%llu term=%llu commit=%llu applied=%llu (machine %llu) "
              "last=%llu truncated=%llu base=%llu",
              check->store->number, ULL(view->region), ULL(view->peer), status.role, ULL(status.leader),
              ULL(status.hard.term), ULL(status.hard.commit), ULL(status.applied), ULL(view->applied_index),
              ULL(status.last), ULL(status.truncated.index), ULL(status.base.index));
    for (uint32_t i = 0; i < status.peer_count; i++) {
        const struct raft_peer_status *peer = &status.peers[i];
        sim_trace(
            sim,
            "s%u status region=%llu   follower %llu %s match=%llu next=%llu inflight=%u%s%s%s%s pending_snapshot=%llu",
            check->store->number, ULL(view->region), ULL(peer->id), states[peer->state], ULL(peer->match),
            ULL(peer->next), peer->inflight_count, peer->inflight_full ? " full" : "", peer->paused ? " paused" : "",
            peer->recent_active ? " active" : "", peer->fetching ? " fetching" : "", ULL(peer->pending_snapshot));
    }
}

void check_raft_describe(struct check_raft *check)
{
    for (uint32_t number = 1; number <= world_options(check->world)->store_count; number++) {
        check->store = world_store(check->world, number);
        if (check->store->store)
            store_visit_peers(check->store->store, describe_peer, check);
    }
}

raft_index check_raft_applied(struct check_raft *check, region_id region)
{
    return log_of(check, region)->last;
}

const struct check_raft_counts *check_raft_counts(struct check_raft *check)
{
    check->counts.durable = check_durable_count(check->durable);
    return &check->counts;
}

struct check_raft *check_raft_new(struct world *world)
{
    struct check_raft *check = calloc(1, sizeof *check);
    CHECK(check);
    check->world = world;
    check->durable = check_durable_new(world);
    buf_init(&check->row, 64u << 20);
    arena_init(&check->arena);
    return check;
}

void check_raft_free(struct check_raft *check)
{
    if (!check)
        return;
    struct fact *fact, *next_fact;
    HASH_ITER(hh, check->facts, fact, next_fact)
    {
        HASH_DEL(check->facts, fact);
        free(fact);
    }
    struct region_log *log, *next_log;
    HASH_ITER(hh, check->logs, log, next_log)
    {
        HASH_DEL(check->logs, log);
        free(log->entries);
        free(log);
    }
    struct seen *seen, *next_seen;
    HASH_ITER(hh, check->seen, seen, next_seen)
    {
        HASH_DEL(check->seen, seen);
        free(seen);
    }
    for (uint32_t number = 0; number <= WORLD_STORE_MAX; number++)
        free(check->order[number].items);
    check_durable_free(check->durable);
    buf_fini(&check->row);
    arena_fini(&check->arena);
    free(check);
}
