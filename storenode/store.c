#include "store.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "env/clock.h"
#include "group/group_keys.h"
#include "storenode/conf_ask.h"
#include "storenode/kv_service.h"
#include "storenode/pd_link.h"
#include "storenode/peer_heal.h"
#include "storenode/peer_merge.h"
#include "storenode/region_merge.h"
#include "storenode/region_row.h"
#include "storenode/region_worker.h"
#include "storenode/snapshot_receive.h"
#include "storenode/snapshot_send.h"
#include "storenode/snapshot_stage.h"
#include "storenode/split_ask.h"
#include "storenode/store_keys.h"
#include "storenode/store_parts.h"
#include "storenode/store_ranges.h"

enum { LOG_TASKS_PER_WRITE_MAX = 64, READ_COUNT_MAX = 4096, CACHE_SIZE_MAX = 256 * 1024, VOTE_REFUSE_SLACK_TICKS = 1 };

void store_fail(struct store *store, enum err code, const char *what)
{
    int none = ERR_OK;
    if (atomic_compare_exchange_strong(&store->failure, &none, (int)code))
        log_event(store->env->log, LOG_ERROR, "event=store_failed store=%llu code=%s msg=\"%s\"",
                  (unsigned long long)atomic_load(&store->store_id), err_name(code), what);
}

bool store_is_ready(const struct store *store)
{
    return atomic_load(&store->ready) && atomic_load(&store->failure) == ERR_OK;
}

enum err store_failure(const struct store *store)
{
    return (enum err)atomic_load(&store->failure);
}

store_id store_get_id(const struct store *store)
{
    return atomic_load(&store->store_id);
}

void store_visit_peers(const struct store *store, void (*visit)(void *context, const struct store_peer_view *view),
                       void *context)
{
    for (uint32_t i = 0; i < store->worker_count; i++)
        region_worker_visit(store->workers[i], visit, context);
}

static void free_transfer(struct message *message)
{
    free(message);
}

void store_transfer_leader(struct store *store, region_id region, peer_id to)
{
    struct transfer_message *message = malloc(sizeof *message);
    CHECK(message);
    *message = (struct transfer_message){
        .message = {.kind = WORKER_TRANSFER, .free = free_transfer}, .region = region, .to = to};
    actor_post_must(store->env->executor, region_worker_actor(store->workers[region % store->worker_count]),
                    &message->message);
}

void store_split_region(struct store *store, region_id region, const struct bytes *keys, uint32_t count)
{
    struct split_ask *ask = split_ask_new(region, 0, 0);
    for (uint32_t i = 0; i < count; i++)
        split_ask_add(ask, keys[i]);
    ask->ids.message.kind = WORKER_SPLIT;
    actor_post_must(store->env->executor, region_worker_actor(store->workers[region % store->worker_count]),
                    &ask->ids.message);
}

void store_change_peers(struct store *store, region_id region, const struct wire_peer_change *changes, uint32_t count)
{
    struct conf_ask *ask;
    if (conf_ask_new(region, changes, count, &ask) != ERR_OK)
        return;
    ask->ids.message.kind = WORKER_CONF_CHANGE;
    actor_post_must(store->env->executor, region_worker_actor(store->workers[region % store->worker_count]),
                    &ask->ids.message);
}

void store_merge_region(struct store *store, region_id source, region_id target)
{
    peer_merge_post_wish(store, source, target);
}

static void free_leave(struct message *message)
{
    free(message);
}

void store_leave(struct store *store)
{
    for (uint32_t i = 0; i < store->worker_count; i++) {
        atomic_store(&store->leads_count[i], UINT32_MAX); /* until the worker says */
        struct message *message = calloc(1, sizeof *message);
        CHECK(message);
        *message = (struct message){.kind = WORKER_LEAVE, .free = free_leave};
        actor_post_must(store->env->executor, region_worker_actor(store->workers[i]), message);
    }
}

bool store_has_left(const struct store *store)
{
    for (uint32_t i = 0; i < store->worker_count; i++)
        if (atomic_load(&store->leads_count[i]) > 0)
            return false;
    return true;
}

void store_add_merge_counts(const struct store *store, struct store_merge_counts *counts)
{
    for (uint32_t i = 0; i < store->worker_count && store->workers[i]; i++)
        counts->ending += region_worker_ending_count(store->workers[i]);
    counts->prepared += atomic_load(&store->merge_counts.prepared);
    counts->rolled_back += atomic_load(&store->merge_counts.rolled_back);
    counts->taken_in += atomic_load(&store->merge_counts.taken_in);
    counts->waited += atomic_load(&store->merge_counts.waited);
    counts->by_snapshot += atomic_load(&store->merge_counts.by_snapshot);
}

void store_add_snapshot_counts(const struct store *store, struct store_snapshot_counts *counts)
{
    counts->sent += atomic_load(&store->snapshot_counts.sent);
    counts->not_sent += atomic_load(&store->snapshot_counts.not_sent);
    counts->sent_size += atomic_load(&store->snapshot_counts.sent_size);
    counts->resumed += atomic_load(&store->snapshot_counts.resumed);
    counts->slow += atomic_load(&store->snapshot_counts.slow);
    counts->installed_size += atomic_load(&store->snapshot_counts.installed_size);
    counts->refused += atomic_load(&store->snapshot_counts.refused);
    counts->installed += atomic_load(&store->snapshot_counts.installed);
    counts->installed_at_start += atomic_load(&store->snapshot_counts.installed_at_start);
}

void store_add_damage_counts(const struct store *store, struct store_damage_counts *counts)
{
    counts->found += atomic_load(&store->damage_counts.found);
    counts->healed += atomic_load(&store->damage_counts.healed);
    counts->damaged += atomic_load(&store->damage_counts.damaged);
    counts->lost += atomic_load(&store->damage_counts.lost);
    counts->hashes += atomic_load(&store->damage_counts.hashes);
    counts->hash_mismatches += atomic_load(&store->damage_counts.hash_mismatches);
}

void store_add_sleep_counts(const struct store *store, struct store_sleep_counts *counts)
{
    for (uint32_t i = 0; i < store->worker_count && store->workers[i]; i++) /* none: it did not start */
        region_worker_add_sleep_counts(store->workers[i], counts);
}

const char *wake_cause_name(enum wake_cause cause)
{
    static const char *const names[WAKE_CAUSE_COUNT] = {
        [WAKE_REQUEST] = "request",     [WAKE_LEADER] = "leader",       [WAKE_MESSAGE] = "message",
        [WAKE_SILENT] = "silent-store", [WAKE_RESTARTED] = "restarted", [WAKE_NO_QUORUM] = "no-quorum",
        [WAKE_BACK] = "store-back"};
    return names[cause];
}

void store_get_edge_counts(const struct store *store, struct store_edge_counts *ret_counts)
{
    *ret_counts = (struct store_edge_counts){.frames_refused = atomic_load(&store->frames_refused),
                                             .requests_refused = admission_refused_count(store->requests),
                                             .raft_dropped = admission_refused_count(store->raft_frames),
                                             .requests_size = admission_size(store->requests),
                                             .raft_size = admission_size(store->raft_frames)};
}

/* ---- whose directory is it */

static enum err check_role(struct store *store, struct error *err)
{
    struct engine *engine = store->env->engine;
    struct buf value;
    buf_init(&value, 64);
    enum err code = engine_get(engine, ENGINE_RAFT, bytes_of("p", 1), &value, err);
    if (code == ERR_OK && !bytes_equal(buf_bytes(&value), bytes_of("s", 1)))
        code = error_set(err, ERR_CLUSTER_NOT_MATCH, "data directory %s does not belong to a storenode",
                         store->config->data_dir);
    else if (code == ERR_NOT_FOUND) {
        /* The token is durable before it is used: a crash while registering must not make two stores of one. */
        struct rng rng;
        rng_init(&rng, store->env->seed, "registration");
        struct wire_store_ident ident = {.token = rng_next(&rng) | 1};
        struct engine_batch *batch = engine_batch_new(engine);
        engine_batch_put(engine, batch, ENGINE_RAFT, bytes_of("p", 1), bytes_of("s", 1));
        pd_link_put_ident(engine, batch, &ident);
        code = engine_write(engine, batch, true, err);
        engine_batch_free(engine, batch);
    }
    buf_fini(&value);
    return code;
}

/* ---- regions of an earlier life */

/* What it promised cannot be read, and no copy of its rows brings that back: it speaks for nobody any more, and keeps its
 * range. The others go on. */
static enum err lose_replica(struct store *store, const struct region *region, peer_id peer, const struct error *why)
{
    atomic_fetch_add(&store->damage_counts.lost, 1);
    log_event(store->env->log, LOG_ERROR, "event=replica_lost region=%llu peer=%llu msg=\"%s\"",
              (unsigned long long)region->id, (unsigned long long)peer, why->text);
    region_worker_add_lost(store->workers[region->id % store->worker_count], region, peer);
    return ERR_OK;
}

/* It was merged into another one; the rest of its rows may still be there. */
static enum err end_region(struct store *store, const struct region *region, struct error *err)
{
    struct engine *engine = store->env->engine;
    struct group_key first = group_key(region->id, 0), state = group_key(region->id, STORE_REGION_STATE),
                     end = group_key(region->id + 1, 0);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, group_key_bytes(&first), group_key_bytes(&end));
    bool more = false;
    region_worker_departed(store->workers[region->id % store->worker_count], region, NULL);
    engine_iter_seek(engine, iter, group_key_bytes(&first));
    for (int i = 0; i < 2 && engine_iter_valid(engine, iter); i++, engine_iter_next(engine, iter))
        more |= !bytes_equal(engine_iter_key(engine, iter), group_key_bytes(&state));
    enum err code = engine_iter_error(engine, iter, err);
    engine_iter_free(engine, iter);
    if (code == ERR_CORRUPT) { /* nobody needs it: it is one of those that are to go */
        more = true;
        code = ERR_OK;
    }
    if (code != ERR_OK || !more)
        return code;
    struct engine_batch *batch = engine_batch_new(engine);
    region_drop_rows(engine, batch, region->id);
    code = engine_write(engine, batch, false, err);
    engine_batch_free(engine, batch);
    return code;
}

static enum err load_region(struct store *store, struct bytes value, struct error *err)
{
    struct arena arena;
    struct wire_region_state state;
    struct region *region = NULL;
    arena_init(&arena);
    enum err code = region_row_decode(value, &arena, &state);
    if (code == ERR_OK)
        code = region_from_wire(state.region, &region);
    if (code != ERR_OK)
        code = error_set(err, ERR_CORRUPT, "a region's row: bad checksum or size");
    else if (state.tombstone && region_is_merging(region)) /* else it was removed, and knows nothing of its end */
        code = end_region(store, region, err);
    else if (!state.tombstone && store_ranges_find(store->ranges, region->start_key, region->end_key, region->id) != 0)
        code = error_set(err, ERR_CORRUPT, "region %llu has keys of another region", (unsigned long long)region->id);
    else if (!state.tombstone) {
        store_ranges_set(store->ranges, region);
        code = region_worker_add_region(store->workers[region->id % store->worker_count], region, state.local_peer_id,
                                        false, err);
        if (code == ERR_CORRUPT && region->peer_count > 1)
            code = lose_replica(store, region, state.local_peer_id, err);
    }
    region_free(region);
    arena_fini(&arena);
    return code;
}

/* Walks 'g' | id | 0x10 rows, hopping from region to region so that logs are not read. */
static enum err load_regions(struct store *store, struct error *err)
{
    struct engine *engine = store->env->engine;
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, bytes_of("g", 1), bytes_of("h", 1));
    struct group_key at = group_key(0, STORE_REGION_STATE);
    enum err code = ERR_OK;
    for (engine_iter_seek(engine, iter, group_key_bytes(&at)); code == ERR_OK && engine_iter_valid(engine, iter);) {
        struct bytes key = engine_iter_key(engine, iter);
        if (key.size < 10) {
            code = error_set(err, ERR_CORRUPT, "a row of column family raft has a key of %zu bytes", key.size);
            break;
        }
        uint64_t id = load_u64_be(key.data + 1);
        if (key.data[9] == STORE_REGION_STATE) {
            code = load_region(store, engine_iter_value(engine, iter), err);
            at = group_key(id + 1, STORE_REGION_STATE);
        } else
            at = group_key(key.data[9] > STORE_REGION_STATE ? id + 1 : id, STORE_REGION_STATE);
        engine_iter_seek(engine, iter, group_key_bytes(&at));
    }
    if (code == ERR_OK)
        code = engine_iter_error(engine, iter, err);
    engine_iter_free(engine, iter);
    return code;
}

/* ---- parts */

static void fill_raft_config(struct store *store, bool restarted)
{
    const struct store_config *config = store->config;
    struct raft_config *raft = &store->raft_config;
    raft_config_default(raft);
    raft->heartbeat_ticks = config->heartbeat_ticks;
    raft->election_ticks = config->election_ticks;
    raft->pre_vote = true;
    raft->check_quorum = true;
    raft->lease_reads = config->lease_read;
    raft->lazy_commit = true;
    raft->campaign_when_told = true; /* campaigns.h */
    raft->append_size_max = config->append_size_max;
    raft->inflight_count_max = config->inflight_count_max;
    raft->inflight_size_max = config->inflight_size_max;
    raft->uncommitted_size_max = 4 * config->proposal_size_max;
    raft->committed_size_max = 4 * config->proposal_size_max;
    raft->cache_size_max = CACHE_SIZE_MAX;
    raft->read_count_max = READ_COUNT_MAX;
    /* A vote given before the crash's memory loss may stand behind somebody's lease. */
    raft->vote_refuse_ticks = restarted && config->lease_read && !BUG(vote_after_restart_in_lease)
                                  ? (uint32_t)(config->lease_ms / config->tick_ms) + 1 + VOTE_REFUSE_SLACK_TICKS
                                  : 0;
    store->raft_config_fresh = *raft;
    store->raft_config_fresh.vote_refuse_ticks = 0;
}

static void flush_apply_replies(void *context)
{
    struct store *store = context;
    replies_flush(store->apply_replies);
}

static uint32_t or_default(uint32_t wanted)
{
    uint32_t count = wanted ? wanted : 1;
    return count > STORE_WORKERS_MAX ? STORE_WORKERS_MAX : count;
}

static void on_damage(void *context, region_id region, const char *text)
{
    store_report_damage(context, region, text);
}

static enum err make_workers(struct store *store)
{
    struct env *env = store->env;
    struct apply_worker_options options = {.context = store, .on_round = flush_apply_replies};
    struct read_limits limits = {.scan_limit_max = store->config->scan_limit_max,
                                 .scan_size_max = store->config->scan_size_max};
    store->apply_replies = replies_new(env);
    store->ranges = store_ranges_new();
    enum err code = log_worker_new(env, LOG_TASKS_PER_WRITE_MAX, &store->log_worker);
    if (code == ERR_OK)
        code = apply_worker_new(env, &options, &store->apply_worker);
    for (uint32_t i = 0; i < store->reader_count && code == ERR_OK; i++)
        code = read_worker_new(env, &limits, &store->readers[i]);
    for (uint32_t i = 0; i < store->reader_count && code == ERR_OK; i++)
        read_worker_set_damage(store->readers[i], on_damage, store);
    if (code == ERR_OK)
        code = snapshot_sender_new(store, &store->snapshot_sender);
    if (code == ERR_OK)
        code = snapshot_receiver_new(store, &store->snapshot_receiver);
    for (uint32_t i = 0; i < store->worker_count && code == ERR_OK; i++)
        code = region_worker_new(store, i, &store->workers[i]);
    return code;
}

static enum err start(struct store *store, struct error *err)
{
    struct wire_store_ident ident = {0};
    enum err code = check_role(store, err);
    if (code == ERR_OK)
        code = pd_link_load_ident(store->env->engine, &ident, err);
    if (code == ERR_NOT_FOUND)
        code =
            error_set(err, ERR_CORRUPT, "data directory %s: the store's identity is missing", store->config->data_dir);
    if (code != ERR_OK)
        return code;
    atomic_store(&store->cluster_id, ident.cluster_id);
    atomic_store(&store->store_id, ident.store_id);
    fill_raft_config(store, ident.bootstrapped);
    code = make_workers(store);
    if (code != ERR_OK)
        return error_set(err, code, "an actor cannot be started");
    uint64_t installed = 0;
    code = snapshot_stage_recover(store->env, &installed, err);
    atomic_store(&store->snapshot_counts.installed_at_start, installed);
    if (code == ERR_OK && ident.bootstrapped)
        code = load_regions(store, err);
    if (code != ERR_OK)
        return code;
    code = transport_listen(store->env->transport, store->config->address, &store->handler, err);
    if (code != ERR_OK)
        return code;
    code = pd_link_new(store, &ident, &store->pd_link); /* before anybody runs who could ask for it */
    if (code != ERR_OK)
        return error_set(err, code, "an actor cannot be started");
    for (uint32_t i = 0; i < store->worker_count && ident.bootstrapped; i++)
        region_worker_start(store->workers[i]);
    pd_link_start(store->pd_link);
    atomic_store(&store->ready, ident.bootstrapped);
    return ERR_OK;
}

enum err store_new(struct env *env, const struct store_config *config, struct store **ret_store, struct error *err)
{
    if (config->pd_count == 0)
        return error_set(err, ERR_INVALID, "no pd endpoint is configured");
    struct store *store = calloc(1, sizeof *store);
    CHECK(store);
    store->env = env;
    store->config = config;
    store->worker_count = or_default(config->region_workers);
    store->reader_count = or_default(config->read_workers);
    store->started_at_ms = clock_wall_ms(env->clock);
    struct rng rng;
    rng_init(&rng, env->seed, "incarnation");
    store->incarnation = rng_next(&rng) | 1;
    store->requests = admission_new(config->admission_size_max, config->connection_admission_size_max);
    /* Other stores are few, and what they may have under way is bounded by them. */
    store->raft_frames = admission_new(config->admission_size_max, config->admission_size_max);
    kv_service_init(store, &store->handler);
    *ret_store = store; /* also on failure: its actors may live until the executor stops, then store_free */
    return start(store, err);
}

void store_free(struct store *store)
{
    if (!store)
        return;
    pd_link_free(store->pd_link);
    snapshot_sender_free(store->snapshot_sender);
    snapshot_receiver_free(store->snapshot_receiver);
    for (uint32_t i = 0; i < store->worker_count; i++)
        region_worker_free(store->workers[i]);
    for (uint32_t i = 0; i < store->reader_count; i++)
        read_worker_free(store->readers[i]);
    apply_worker_free(store->apply_worker);
    log_worker_free(store->log_worker);
    replies_free(store->apply_replies);
    store_ranges_free(store->ranges);
    admission_unref(store->requests);
    admission_unref(store->raft_frames);
    free(store);
}
