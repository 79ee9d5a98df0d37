#include "client/client_internal.h"
#include "meta/keyspace.h"

#include <stdlib.h>

void polder_result_free(struct polder_result *result)
{
    if (!result)
        return;
    struct operation *op = (struct operation *)(void *)((char *)result - offsetof(struct operation, result));
    if (op->scan) {
        buf_fini(&op->scan->lower);
        buf_fini(&op->scan->upper);
        buf_fini(&op->scan->bound);
        buf_fini(&op->scan->token_end);
        free(op->scan);
    }
    arena_fini(&op->arena);
    free(op->text);
    free(op->value);
    free(op->rows);
    free(op->memory);
    free(op);
}

const char *polder_code_name(int code)
{
    return err_name((enum err)code);
}

struct polder_result *client_result_refused(enum err code, enum polder_advice advice)
{
    static const char *const reasons[] = {
        [ERR_BUSY] = "too many operations are under way in this client",
        [ERR_KEY_EMPTY] = "the key is empty",
        [ERR_KEY_TOO_LARGE] = "a key has more than 8 KiB",
        [ERR_ENTRY_TOO_LARGE] = "a value has more than 8 MiB",
        [ERR_CLOSED] = "the client is closed",
    };
    struct operation *op = calloc(1, sizeof *op);
    CHECK(op);
    bool known = (size_t)code < sizeof reasons / sizeof reasons[0] && reasons[code];
    result_set(op, (struct retry_end){POLDER_NOT_DONE, code, advice, 0}, known ? reasons[code] : NULL);
    return &op->result;
}

void result_value(struct operation *op, struct bytes value)
{
    free(op->value);
    op->value = malloc(value.size + 1); /* never NULL: an empty value is there */
    CHECK(op->value);
    memcpy(op->value, value.data, value.size);
    op->result.value = polder_bytes(op->value, value.size);
}

void result_set(struct operation *op, struct retry_end end, const char *text)
{
    struct polder_result *result = &op->result;
    result->outcome = end.outcome;
    result->code = (int)end.code;
    result->advice = end.advice;
    result->wait_ms = end.wait_ms;
    result->name = err_name(end.code);
    if (end.outcome != POLDER_DONE && !op->text) {
        op->text = strdup(text && *text ? text : result->name);
        CHECK(op->text);
        for (char *c = op->text; *c; c++) /* a server's words stay on their line and do not reach a terminal */
            if ((unsigned char)*c < ' ' || *c == 127)
                *c = '?';
    }
    result->text = op->text ? op->text : "";
}

/* ---- scans */

static struct polder_row *next_row(struct operation *op)
{
    struct scan_state *scan = op->scan;
    if (op->result.row_count == scan->row_capacity) {
        scan->row_capacity = scan->row_capacity ? scan->row_capacity * 2 : 64;
        op->rows = realloc(op->rows, scan->row_capacity * sizeof *op->rows);
        CHECK(op->rows);
        op->result.rows = op->rows;
    }
    return &op->rows[op->result.row_count++];
}

/* Going on must lead somewhere: behind the rows that came, and past the start even if none did. */
bool result_leads_on(const struct scan_state *scan, const struct wire_kv_reply *reply)
{
    struct bytes next = reply->next_key;
    if (next.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE + 1) /* a key, or the one right after it */
        return false;
    struct bytes start = buf_bytes(scan->reverse ? &scan->upper : &scan->lower);
    struct bytes last = reply->pairs_count > 0 ? reply->pairs[reply->pairs_count - 1].key : start;
    struct bytes end = buf_bytes(&scan->bound);
    if (scan->reverse)
        return bytes_compare(next, end) >= 0 && bytes_compare(next, last) <= 0 && bytes_compare(next, start) < 0;
    return bytes_compare(next, end) <= 0 && bytes_compare(next, last) > 0;
}

/* Rows come in scan order, inside what was asked for, and never twice. */
enum err result_scan_rows(struct operation *op, const struct wire_kv_reply *reply)
{
    struct scan_state *scan = op->scan;
    struct bytes low = buf_bytes(scan->reverse ? &scan->bound : &scan->lower);
    struct bytes high = buf_bytes(scan->reverse ? &scan->upper : &scan->bound);
    struct bytes before = bytes_empty();
    if (reply->pairs_count > scan->limit - op->result.row_count)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < reply->pairs_count; i++) {
        struct bytes key = reply->pairs[i].key, value = reply->pairs[i].value;
        if (bytes_compare(key, low) < 0 || bytes_compare(key, high) >= 0 || key.size <= KEYSPACE_PREFIX_SIZE)
            return ERR_CORRUPT;
        int order = i == 0 ? 0 : bytes_compare(key, before);
        if (i > 0 && (scan->reverse ? order >= 0 : order <= 0))
            return ERR_CORRUPT;
        before = key;
        key = arena_copy(&op->arena, bytes_of(key.data + KEYSPACE_PREFIX_SIZE, key.size - KEYSPACE_PREFIX_SIZE));
        value = scan->keys_only ? bytes_empty() : arena_copy(&op->arena, value);
        *next_row(op) = (struct polder_row){
            .key = polder_bytes(key.data, key.size), .value = polder_bytes(value.data, value.size), .found = true};
        scan->rows_size += key.size + value.size;
    }
    return !reply->more || result_leads_on(scan, reply) ? ERR_OK : ERR_CORRUPT;
}

/* ---- batches */

void result_batch(struct operation *op)
{
    struct polder_result *result = &op->result;
    size_t done = 0, unknown = 0, first_code = ERR_OK;
    for (size_t i = 0; i < op->pair_count; i++) {
        struct polder_row *row = &op->rows[i];
        struct bytes key = op->pairs[i].key;
        row->key = polder_bytes(key.data + KEYSPACE_PREFIX_SIZE, key.size - KEYSPACE_PREFIX_SIZE);
        done += row->outcome == POLDER_DONE;
        unknown += row->outcome == POLDER_UNKNOWN;
        if (row->outcome != POLDER_DONE && first_code == ERR_OK)
            first_code = row->code;
    }
    result->rows = op->rows;
    result->row_count = op->pair_count;
    struct retry_end end = {.outcome = POLDER_DONE};
    if (done < op->pair_count) {
        bool perhaps = op->write && (done > 0 || unknown > 0); /* half a read is no answer, but changes nothing */
        end.outcome = perhaps ? POLDER_UNKNOWN : POLDER_NOT_DONE;
        end.code = (enum err)first_code;
        end.advice = end.outcome == POLDER_UNKNOWN ? POLDER_ADVICE_RECHECK : result->advice;
        end.wait_ms = result->wait_ms;
    }
    result_set(op, end, NULL);
}

/* ---- ranges */

void result_range(struct operation *op)
{
    struct polder_result *result = &op->result;
    const struct buf *lower = &op->scan->lower;
    if (result->outcome == POLDER_DONE)
        return;
    result->more = true;
    result->next = polder_bytes(lower->data + KEYSPACE_PREFIX_SIZE, lower->size - KEYSPACE_PREFIX_SIZE);
    if (!op->scan->progressed || result->outcome == POLDER_UNKNOWN)
        return;
    result->outcome = POLDER_UNKNOWN; /* neither: some of it happened */
    result->advice = POLDER_ADVICE_RECHECK;
    result->wait_ms = 0;
}

/* ---- the cluster */

static const char *copy_text(struct operation *op, struct bytes text)
{
    char *copy = arena_alloc(&op->arena, text.size + 1); /* zeroed */
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    return copy;
}

static struct polder_bytes copy_key(struct operation *op, struct bytes key)
{
    struct bytes copy = arena_copy(&op->arena, key);
    return polder_bytes(copy.data, copy.size);
}

static const struct polder_store *copy_stores(struct operation *op, const struct wire_pd_reply *reply)
{
    struct polder_store *stores = arena_alloc(&op->arena, (reply->stores_count + 1) * sizeof *stores);
    for (uint32_t i = 0; i < reply->stores_count; i++) {
        const struct wire_store *in = &reply->stores[i];
        stores[i] = (struct polder_store){
            .id = in->id,
            .address = copy_text(op, in->address),
            .status_address = copy_text(op, in->status_address),
            .version = copy_text(op, in->version),
            .state = in->state <= POLDER_STORE_DOWN ? (enum polder_store_state)in->state : POLDER_STORE_UNKNOWN,
            .heartbeat_age_ms = in->heartbeat_age_ms,
            .region_count = in->region_count,
            .leader_count = in->leader_count,
            .capacity_size = in->capacity_size,
            .available_size = in->available_size,
            .used_size = in->used_size,
            .started_at_ms = in->started_at_ms,
            .keys_written = in->keys_written,
            .keys_read = in->keys_read,
            .lost = in->lost,
        };
    }
    return stores;
}

static struct polder_region copy_region(struct operation *op, const struct wire_region *in)
{
    struct polder_peer *peers = arena_alloc(&op->arena, (in->peers_count + 1) * sizeof *peers);
    for (uint32_t j = 0; j < in->peers_count; j++)
        peers[j] = (struct polder_peer){in->peers[j].id, in->peers[j].store_id, in->peers[j].role};
    return (struct polder_region){
        .id = in->id,
        .start_key = copy_key(op, in->start_key),
        .end_key = copy_key(op, in->end_key),
        .epoch_conf = in->epoch_conf,
        .epoch_version = in->epoch_version,
        .peers = peers,
        .peer_count = in->peers_count,
    };
}

static const struct polder_region *copy_regions(struct operation *op, const struct wire_pd_reply *reply,
                                                size_t *ret_count)
{
    struct polder_region *regions = arena_alloc(&op->arena, (reply->routes_count + 1) * sizeof *regions);
    size_t count = 0;
    for (uint32_t i = 0; i < reply->routes_count; i++) {
        const struct wire_route *route = &reply->routes[i];
        const struct wire_region *in = route->region;
        if (!in)
            continue;
        regions[count] = copy_region(op, in);
        regions[count].leader_peer = route->leader_peer;
        regions[count++].leader_store = route->leader_store;
    }
    *ret_count = count;
    return regions;
}

static const struct polder_member *copy_members(struct operation *op, const struct wire_pd_reply *reply)
{
    struct polder_member *members = arena_alloc(&op->arena, (reply->members_count + 1) * sizeof *members);
    for (uint32_t i = 0; i < reply->members_count; i++)
        members[i] = (struct polder_member){.id = reply->members[i].id,
                                            .name = copy_text(op, reply->members[i].name),
                                            .address = copy_text(op, reply->members[i].address),
                                            .leader = reply->members[i].leader,
                                            .learner = reply->members[i].learner,
                                            .active = reply->members[i].active};
    return members;
}

void result_peers(struct operation *op, const struct wire_kv_reply *reply)
{
    struct polder_cluster *cluster = arena_alloc(&op->arena, sizeof *cluster);
    struct polder_region *region = arena_alloc(&op->arena, sizeof *region);
    struct polder_peer_status *peers = arena_alloc(&op->arena, (reply->peers_count + 1) * sizeof *peers);
    if (reply->regions_count > 0) {
        *region = copy_region(op, &reply->regions[0]);
        region->leader_store = reply->leader_store;
        cluster->regions = region;
        cluster->region_page_count = 1;
    }
    for (uint32_t i = 0; i < reply->peers_count; i++) {
        const struct wire_peer_status *in = &reply->peers[i];
        if (in->peer)
            peers[cluster->peer_count++] = (struct polder_peer_status){.id = in->peer->id,
                                                                       .store_id = in->peer->store_id,
                                                                       .role = in->peer->role,
                                                                       .leader = in->leader,
                                                                       .active = in->active,
                                                                       .snapshot = in->snapshot,
                                                                       .match = in->match};
    }
    cluster->peers = peers;
    cluster->last_index = reply->last_index;
    op->result.cluster = cluster;
}

void result_cluster(struct operation *op, const struct wire_pd_reply *reply)
{
    struct polder_cluster *cluster = arena_alloc(&op->arena, sizeof *cluster);
    *cluster = (struct polder_cluster){
        .cluster_id = reply->cluster_id,
        .bootstrapped = reply->bootstrapped,
        .store_count_wanted = reply->store_count_wanted,
        .region_count = reply->region_count,
        .members = copy_members(op, reply),
        .member_count = reply->members_count,
        .stores = copy_stores(op, reply),
        .store_count = reply->stores_count,
        .first_id = reply->first_id,
        .timestamp = reply->timestamp,
        .count = reply->count,
        .revision = reply->revision,
        .lag_ms = reply->lag_ms,
    };
    cluster->regions = copy_regions(op, reply, &cluster->region_page_count);
    op->result.cluster = cluster;
}
