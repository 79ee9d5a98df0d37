#include "storenode/store_status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/setting_value.h"
#include "env/clock.h"
#include "env/http.h"
#include "group/write_counts.h"
#include "storenode/region_worker.h"
#include "storenode/store_parts.h"

struct status_ask {
    struct message message; /* first */
    struct store *store;
    struct http_exchange *exchange; /* NULL: answered */
    uint32_t next_worker;
    region_id from; /* pages: ids from here on */
    uint64_t limit;
    struct status_counts counts;
    uint32_t page_count;
    struct status_peer page[STORE_STATUS_LIMIT_MAX + 1]; /* the lowest ids so far, in order */
};

/* ---- through the workers */

static void free_ask(struct message *message)
{
    struct status_ask *ask = (struct status_ask *)message;
    if (ask->exchange)
        http_answer(ask->exchange, 503, HTTP_TEXT, bytes_of_string("the process is stopping\n"));
    free(ask);
}

static void count_peer(struct status_counts *counts, const struct status_peer *peer)
{
    counts->peers++;
    counts->leaders += peer->role == RAFT_LEADER;
    counts->candidates += peer->role == RAFT_CANDIDATE || peer->role == RAFT_PRE_CANDIDATE;
    counts->leaderless += peer->leader == 0;
    counts->asleep += peer->asleep;
    counts->installs += peer->installs;
    counts->damaged += peer->damaged;
    counts->log_entries += peer->last - peer->truncated;
    counts->log_size += peer->log_size;
    counts->memory_size += peer->memory_size;
    uint64_t behind = peer->committed > peer->applied ? peer->committed - peer->applied : 0;
    counts->not_applied += behind;
    if (behind > counts->not_applied_max)
        counts->not_applied_max = behind;
    counts->proposals += peer->proposals;
    counts->reads += peer->reads;
}

void status_ask_add(struct status_ask *ask, const struct status_peer *peer)
{
    count_peer(&ask->counts, peer);
    if (ask->limit == 0 || peer->region < ask->from)
        return;
    uint32_t at = ask->page_count;
    while (at > 0 && ask->page[at - 1].region > peer->region)
        at--;
    if (at > ask->limit)
        return;
    uint32_t kept = ask->page_count > ask->limit ? (uint32_t)ask->limit : ask->page_count;
    memmove(&ask->page[at + 1], &ask->page[at], (kept - at) * sizeof *ask->page);
    ask->page[at] = *peer;
    ask->page_count = kept + 1;
}

static void answer(struct status_ask *take_ask)
{
    struct http_exchange *exchange = take_ask->exchange;
    const struct api_request request = {
        .method = exchange->method, .path = exchange->path, .query = exchange->query, .body = exchange->body};
    struct store_status status = {.store = take_ask->store,
                                  .counts = take_ask->counts,
                                  .page = take_ask->page,
                                  .page_count = take_ask->page_count,
                                  .limit = take_ask->limit};
    struct api_answer answer;
    size_t count;
    const struct api_route *routes = store_status_routes(&count);
    api_answer_init(&answer);
    api_run(routes, count, &status, &request, &answer);
    take_ask->exchange = NULL;
    http_answer(exchange, answer.status, answer.type, buf_bytes(&answer.body));
    api_answer_fini(&answer);
    free_ask(&take_ask->message);
}

void status_ask_next(struct status_ask *take_ask)
{
    struct store *store = take_ask->store;
    if (take_ask->next_worker >= store->worker_count || !store->workers[take_ask->next_worker]) {
        answer(take_ask);
        return;
    }
    struct region_worker *worker = store->workers[take_ask->next_worker++];
    actor_post_must(store->env->executor, region_worker_actor(worker), &take_ask->message);
}

/* What decides how much the workers gather; the route judges these words again, and says what is wrong. */
static uint64_t query_number(const char *query, const char *name, uint64_t value_default)
{
    const char *at = strstr(query, name);
    return at ? strtoull(at + strlen(name), NULL, 10) : value_default;
}

void store_http(struct store *store, struct http_exchange *take_exchange)
{
    struct status_ask *ask = calloc(1, sizeof *ask);
    CHECK(ask);
    ask->message = (struct message){.kind = WORKER_STATUS, .free = free_ask};
    ask->store = store;
    ask->exchange = take_exchange;
    if (strcmp(take_exchange->path, "/store/v1/regions") == 0) {
        uint64_t limit = query_number(take_exchange->query, "limit=", STORE_STATUS_LIMIT_DEFAULT);
        ask->limit = limit <= STORE_STATUS_LIMIT_MAX ? limit : STORE_STATUS_LIMIT_MAX;
        ask->from = query_number(take_exchange->query, "from=", 0);
    }
    status_ask_next(ask);
}

/* ---- routes */

static const struct store *store_of(const struct api_call *call)
{
    return ((const struct store_status *)call->context)->store;
}

static void livez(struct api_call *call)
{
    enum err failure = store_failure(store_of(call));
    api_text(call, failure == ERR_OK ? 200 : 503, failure == ERR_OK ? "ok\n" : "stopped serving\n");
}

static void readyz(struct api_call *call)
{
    bool ready = store_is_ready(store_of(call));
    api_text(call, ready ? 200 : 503, ready ? "ok\n" : "not ready\n");
}

static void put_damage(cJSON *json, const struct store *store)
{
    struct store_damage_counts damage = {0};
    store_add_damage_counts(store, &damage);
    api_put_u64(json, "damaged_replicas", damage.damaged);
    api_put_u64(json, "lost_replicas", damage.lost);
}

static void health(struct api_call *call)
{
    const struct store *store = store_of(call);
    struct store_damage_counts damage = {0};
    store_add_damage_counts(store, &damage);
    const char *name = "healthy", *reason = "";
    if (store_failure(store) != ERR_OK)
        name = "down", reason = err_name(store_failure(store));
    else if (!store_is_ready(store))
        name = "down", reason = "not ready: it waits for pd, or loads its regions";
    else if (damage.damaged + damage.lost > 0)
        name = "degraded", reason = "replicas are damaged or lost";
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "health", name);
    cJSON_AddStringToObject(json, "reason", reason);
    api_json(call, json);
}

static void put_counts(cJSON *json, const struct status_counts *counts)
{
    api_put_u64(json, "peer_count", counts->peers);
    api_put_u64(json, "leader_count", counts->leaders);
    api_put_u64(json, "candidate_count", counts->candidates);
    api_put_u64(json, "leaderless_count", counts->leaderless);
    api_put_u64(json, "asleep_count", counts->asleep);
    api_put_u64(json, "installing_count", counts->installs);
    api_put_u64(json, "log_entry_count", counts->log_entries);
    api_put_u64(json, "log_size", counts->log_size);
    api_put_u64(json, "not_applied_count", counts->not_applied);
    api_put_u64(json, "waiting_write_count", counts->proposals);
    api_put_u64(json, "waiting_read_count", counts->reads);
}

static void status(struct api_call *call)
{
    const struct store_status *status = call->context;
    const struct store *store = status->store;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "role", "storenode");
    cJSON_AddStringToObject(json, "version", POLDER_VERSION);
    api_put_u64(json, "cluster_id", atomic_load(&store->cluster_id));
    api_put_u64(json, "store_id", atomic_load(&store->store_id));
    api_put_text(json, "address",
                 store->config->advertise_address ? store->config->advertise_address : store->config->address);
    cJSON_AddBoolToObject(json, "ready", store_is_ready(store));
    cJSON_AddStringToObject(json, "failure", store_failure(store) == ERR_OK ? "" : err_name(store_failure(store)));
    put_counts(json, &status->counts);
    api_put_u64(json, "snapshots_leaving", atomic_load(&store->snapshots_out));
    api_put_u64(json, "snapshots_coming", atomic_load(&store->snapshots_in));
    put_damage(json, store);
    api_put_u64(json, "started_at_ms", store->started_at_ms);
    api_json(call, json);
}

static void config(struct api_call *call)
{
    const struct store *store = store_of(call);
    size_t count;
    const struct setting *table = store_config_table(&count);
    cJSON *json = cJSON_CreateObject();
    for (size_t i = 0; i < count; i++) {
        if (table[i].flag_only)
            continue;
        struct buf text;
        buf_init(&text, 64 * 1024);
        setting_value_of(&table[i], store->config, &text);
        api_put_text(json, table[i].key, (const char *)text.data);
        buf_fini(&text);
    }
    api_json(call, json);
}

static const char *role_name(enum raft_role role)
{
    static const char *const names[] = {"follower", "pre_candidate", "candidate", "leader"};
    return names[role];
}

static cJSON *peer_json(const struct status_peer *peer)
{
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "region", peer->region);
    api_put_u64(json, "peer", peer->peer);
    cJSON_AddStringToObject(json, "role", role_name(peer->role));
    api_put_u64(json, "leader", peer->leader);
    api_put_u64(json, "term", peer->term);
    api_put_u64(json, "truncated_index", peer->truncated);
    api_put_u64(json, "applied_index", peer->applied);
    api_put_u64(json, "committed_index", peer->committed);
    api_put_u64(json, "last_index", peer->last);
    api_put_u64(json, "log_size", peer->log_size);
    api_put_u64(json, "memory_size", peer->memory_size);
    api_put_u64(json, "waiting_write_count", peer->proposals);
    api_put_u64(json, "waiting_read_count", peer->reads);
    cJSON_AddBoolToObject(json, "asleep", peer->asleep);
    cJSON_AddBoolToObject(json, "installing", peer->installs);
    cJSON_AddBoolToObject(json, "damaged", peer->damaged);
    return json;
}

static void regions(struct api_call *call)
{
    const struct store_status *status = call->context;
    uint64_t limit, from;
    if (!api_query_u64(call, "limit", STORE_STATUS_LIMIT_DEFAULT, STORE_STATUS_LIMIT_MAX, &limit) ||
        !api_query_u64(call, "from", 0, UINT64_MAX, &from))
        return;
    if (limit == 0) {
        api_error(call, ERR_INVALID, "1 to 1000", "limit: a page of no regions");
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "regions");
    for (uint32_t i = 0; i < status->page_count && i < limit; i++)
        cJSON_AddItemToArray(list, peer_json(&status->page[i]));
    if (status->page_count > limit)
        api_put_u64(json, "next", status->page[limit].region);
    api_json(call, json);
}

/* ---- metrics */

static void put_writes(struct buf *out, const char *who, const struct write_counts *counts)
{
    char name[64];
    snprintf(name, sizeof name, "polder_store_%s_writes_total", who);
    metric_one(out, name, "counter", atomic_load(&counts->writes), "Writes to the engine");
    snprintf(name, sizeof name, "polder_store_%s_tasks_total", who);
    metric_one(out, name, "counter", atomic_load(&counts->tasks), "Tasks of regions in these writes");
    snprintf(name, sizeof name, "polder_store_%s_write_seconds_total", who);
    metric_head(out, name, "counter", "Time spent in these writes");
    metric_f64(out, name, "", (double)atomic_load(&counts->write_us) / 1e6);
    snprintf(name, sizeof name, "polder_store_%s_write_seconds_max", who);
    metric_head(out, name, "gauge", "The longest of these writes since the start");
    metric_f64(out, name, "", (double)atomic_load(&counts->write_us_max) / 1e6);
}

static void put_peers(struct buf *out, const struct status_counts *counts)
{
    metric_one(out, "polder_store_regions", "gauge", counts->peers, "Peers of regions here");
    metric_one(out, "polder_store_leaders", "gauge", counts->leaders, "Regions led here");
    metric_one(out, "polder_store_candidates", "gauge", counts->candidates, "Peers that campaign");
    metric_one(out, "polder_store_leaderless", "gauge", counts->leaderless, "Peers that know no leader");
    metric_one(out, "polder_store_asleep", "gauge", counts->asleep, "Peers that sleep");
    metric_one(out, "polder_store_installing", "gauge", counts->installs,
               "Peers whose rows are being replaced by a snapshot");
    metric_one(out, "polder_store_raft_log_entries", "gauge", counts->log_entries, "Entries in the logs of all peers");
    metric_one(out, "polder_store_raft_log_bytes", "gauge", counts->log_size,
               "Bytes of the logs of all peers, since they were last cut");
    metric_one(out, "polder_store_raft_memory_bytes", "gauge", counts->memory_size, "Memory of the cores of all peers");
    metric_one(out, "polder_store_not_applied_entries", "gauge", counts->not_applied,
               "Committed entries that are not applied, all peers");
    metric_one(out, "polder_store_not_applied_entries_max", "gauge", counts->not_applied_max,
               "The same of the peer with the most");
    metric_one(out, "polder_store_waiting_writes", "gauge", counts->proposals, "Requests that wait for the log");
    metric_one(out, "polder_store_waiting_reads", "gauge", counts->reads, "Batches of reads that wait");
}

static void put_snapshots(struct buf *out, const struct store *store)
{
    struct store_snapshot_counts counts = {0};
    store_add_snapshot_counts(store, &counts);
    metric_one(out, "polder_store_snapshots_leaving", "gauge", atomic_load(&store->snapshots_out),
               "Snapshots on their way out");
    metric_one(out, "polder_store_snapshots_coming", "gauge", atomic_load(&store->snapshots_in),
               "Snapshots on their way in");
    metric_one(out, "polder_store_snapshots_sent_total", "counter", counts.sent, "Snapshots that arrived elsewhere");
    metric_one(out, "polder_store_snapshots_not_sent_total", "counter", counts.not_sent,
               "Snapshots given up, or refused by the other side");
    metric_one(out, "polder_store_snapshots_resumed_total", "counter", counts.resumed,
               "Connections that took the place of a broken one");
    metric_one(out, "polder_store_snapshot_sent_bytes_total", "counter", counts.sent_size, "Bytes sent in snapshots");
    metric_one(out, "polder_store_snapshots_refused_total", "counter", counts.refused,
               "Snapshots that came and had no place or no use");
    metric_one(out, "polder_store_snapshots_installed_total", "counter", counts.installed, "Snapshots installed");
    metric_one(out, "polder_store_snapshot_installed_bytes_total", "counter", counts.installed_size,
               "Bytes of rows installed");
}

static void put_door(struct buf *out, const struct store *store)
{
    struct store_edge_counts counts;
    store_get_edge_counts(store, &counts);
    metric_one(out, "polder_store_frames_refused_total", "counter", counts.frames_refused,
               "Frames that may not come on their connection");
    metric_one(out, "polder_store_requests_refused_total", "counter", counts.requests_refused,
               "Frames of requests answered Busy");
    metric_one(out, "polder_store_raft_dropped_total", "counter", counts.raft_dropped,
               "Frames of other stores dropped for want of room");
    metric_one(out, "polder_store_requests_bytes", "gauge", counts.requests_size, "Bytes of requests inside");
    metric_one(out, "polder_store_raft_bytes", "gauge", counts.raft_size, "Bytes of other stores' frames inside");
}

static void put_damages(struct buf *out, const struct store *store)
{
    struct store_damage_counts counts = {0};
    store_add_damage_counts(store, &counts);
    metric_one(out, "polder_store_damaged_replicas", "gauge", counts.damaged, "Replicas whose rows cannot be read");
    metric_one(out, "polder_store_lost_replicas", "gauge", counts.lost,
               "Replicas that were not started: what they promised cannot be read");
    metric_one(out, "polder_store_damages_found_total", "counter", counts.found, "Damages found");
    metric_one(out, "polder_store_damages_healed_total", "counter", counts.healed, "Damages healed");
    metric_one(out, "polder_store_replica_checks_total", "counter", counts.hashes, "Comparisons of replicas");
    metric_one(out, "polder_store_replica_mismatches_total", "counter", counts.hash_mismatches,
               "Comparisons that found a difference");
}

static void metrics(struct api_call *call)
{
    const struct store_status *status = call->context;
    const struct store *store = status->store;
    struct buf *out = &call->answer->body;
    call->answer->status = 200;
    call->answer->type = HTTP_PROMETHEUS;
    metric_one(out, "polder_store_id", "gauge", atomic_load(&store->store_id), "Id of this store; 0: not known yet");
    metric_one(out, "polder_store_ready", "gauge", store_is_ready(store), "1 while requests are served");
    put_peers(out, &status->counts);
    put_writes(out, "log", log_worker_counts(store->log_worker));
    put_writes(out, "apply", apply_worker_counts(store->apply_worker));
    put_snapshots(out, store);
    put_door(out, store);
    put_damages(out, store);
}

static const struct api_route routes[] = {
    {"GET", "/livez", "", livez},     {"GET", "/readyz", "", readyz},
    {"GET", "/startupz", "", readyz}, {"GET", "/health", "", health},
    {"GET", "/status", "", status},   {"GET", "/config", "", config},
    {"GET", "/metrics", "", metrics}, {"GET", "/store/v1/regions", "from limit", regions},
};

const struct api_route *store_status_routes(size_t *ret_count)
{
    *ret_count = sizeof routes / sizeof routes[0];
    return routes;
}
