#include "client/client_internal.h"
#include "base/bug.h"
#include "rpc/frame_kind.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- what a part is about */

struct bytes part_key(const struct part *part)
{
    const struct operation *op = part->op;
    if (op->scan)
        return buf_bytes(op->scan->reverse ? &op->scan->upper : &op->scan->lower);
    return op->pairs ? op->pairs[op->order[part->first]].key : op->key;
}

bool part_is_reverse(const struct part *part)
{
    return part->op->scan && part->op->scan->reverse;
}

/* New content, new id: answers about the old one no longer count. */
static void renew_id(struct client *client, struct part *part)
{
    if (part->id != 0)
        HASH_DEL(client->parts, part);
    part->id = ++client->part_id_last;
    HASH_ADD(hh, client->parts, id, sizeof part->id, part);
}

void part_init(struct part *part, struct operation *op)
{
    part->op = op;
    part->state = PART_NEW;
    part->heap_index = UINT32_MAX;
    list_init(&part->link);
    list_init(&part->write_link);
    retry_init(&part->retry, op->write, op->read == POLDER_READ_STALE && !op->write);
    renew_id(op->client, part);
    part->peer_cursor = (uint32_t)part->id; /* while leaders are not known, parts ask different peers */
    op->parts_open++;
    client_due(op->client, part, op->deadline_us);
}

void part_note(struct part *part, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = NULL;
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    CHECK(size >= 0);
    free(part->trouble);
    part->trouble = text;
}

void part_detach(struct part *part)
{
    list_remove(&part->link);
    if (part->state == PART_THROTTLED)
        part->op->client->throttled_count--;
    part->store = NULL;
    part->load = NULL;
    part->state = PART_NEW;
}

/* ---- ends */

void part_end(struct part *part, struct retry_end end)
{
    struct operation *op = part->op;
    struct client *client = op->client;
    part_detach(part);
    part->state = PART_ENDED;
    client_heap_remove(client, part);
    HASH_DEL(client->parts, part);
    list_remove(&part->write_link);
    op->result.attempts += part->retry.attempts;
    if (op->pairs) {
        for (uint32_t i = part->first; i < part->last; i++) {
            struct polder_row *row = &op->rows[op->order[i]];
            row->outcome = (uint8_t)end.outcome;
            row->code = (uint16_t)end.code;
        }
    }
    /* Of several parts the trouble of the first that failed is told. */
    if (end.outcome != POLDER_DONE && !op->text)
        result_set(op, end, part->trouble);
    else if (!op->pairs)
        result_set(op, end, NULL);
    free(part->trouble);
    part->trouble = NULL;
    if (part != &op->first)
        free(part);
    if (--op->parts_open > 0)
        return;
    if (op->pairs)
        result_batch(op);
    if (op->scan && op->write)
        result_range(op);
    client_operation_end(op);
}

/* A deadline was met while a store owed the answer: the next operation should not have to find out by its own. */
static void suspect(struct client *client, struct client_store *store, region_id region)
{
    if (client_store_is_silent(store)) {
        client_store_silent(store);
        return;
    }
    struct route *route = router_find_by_id(client->router, region);
    if (route && route_leader(route) == store->id)
        router_set_leader(client->router, route, 0);
}

static void end_by_deadline(struct part *part)
{
    const struct operation *op = part->op;
    struct client *client = op->client;
    struct client_store *owing = part->retry.waiting ? part->store : NULL;
    region_id region = part->region_id;
    const char *trouble = part->trouble;
    if (!trouble && part->retry.waiting)
        part_note(part, "no answer from store %llu within %u ms", (unsigned long long)part->store->id, op->deadline_ms);
    else if (!trouble && part->state == PART_UNROUTED)
        part_note(part, "no route within %u ms%s%s", op->deadline_ms, *pd_asker_trouble(op->client->asker) ? "; " : "",
                  pd_asker_trouble(op->client->asker));
    else
        part_note(part, "gave up after %u ms and %u sends; last: %.300s", op->deadline_ms, part->retry.attempts,
                  trouble ? trouble : "nothing");
    part_end(part, retry_end_deadline(&part->retry));
    if (owing)
        suspect(client, owing, region);
}

/* ---- routing */

static void become_unrouted(struct part *part)
{
    part->state = PART_UNROUTED;
    list_push_back(&part->op->client->unrouted, &part->link);
    client_due(part->op->client, part, part->op->deadline_us);
    part->op->client->counts.route_misses++;
}

/* The stores of a route that may be asked, best first: the leader, else the peers in turn. */
static struct client_store *choose_store(struct part *part, const struct route *route)
{
    struct client *client = part->op->client;
    store_id leader = route_leader(route);
    if (leader != 0 && !part->retry.stale_read) {
        struct client_store *store = client_store_of(client, leader);
        if (store && client_store_is_usable(store))
            return store;
    }
    for (uint32_t i = 0; i < route->peer_count; i++) {
        uint32_t index = (part->peer_cursor + i) % route->peer_count;
        if (route->peers[index].role == WIRE_PEER_ROLE_LEARNER && !part->retry.stale_read)
            continue;
        struct client_store *store = client_store_of(client, route->peers[index].store_id);
        if (store && client_store_is_usable(store)) {
            part->peer_cursor = index;
            return store;
        }
    }
    return NULL;
}

/* Another part that holds [split, last) of a batch. A write that may have happened keeps its token on both sides: what
 * the store vouches for under it was about both. */
static struct part *split_off(struct part *part, uint32_t split)
{
    struct operation *op = part->op;
    struct part *rest = calloc(1, sizeof *rest);
    CHECK(rest);
    part_init(rest, op);
    rest->first = split;
    rest->last = part->last;
    rest->retry = part->retry;
    rest->retry.attempts = 0;
    rest->paid = part->paid;
    part->last = split;
    if (part->retry.attempts > 0)
        renew_id(op->client, part);
    if (part->sequence != 0 && part->retry.maybe) {
        rest->retry.attempts = 1; /* it was sent, as part of the other */
        op->result.attempts--;
        rest->sequence = part->sequence;
        list_push_front(&part->write_link, &rest->write_link); /* right after it */
    }
    return rest;
}

/* Cuts a batch at the end of the region, and where one request would become too large. Returns the rest, or NULL. */
static struct part *cut(struct part *part, const struct route *route)
{
    const struct operation *op = part->op;
    uint32_t index = part->first + 1;
    for (; index < part->last; index++) {
        if (route->end_key.size > 0 && bytes_compare(op->pairs[op->order[index]].key, route->end_key) >= 0)
            break;
        uint32_t keys_max = op->kind == CLIENT_SPLIT_REGIONS ? PART_SPLITS_MAX : PART_KEYS_MAX;
        if (!op->write && index - part->first >= keys_max)
            break;
    }
    return index < part->last ? split_off(part, index) : NULL;
}

static bool is_too_large(const struct part *part)
{
    const struct operation *op = part->op;
    size_t size = 0;
    if (!op->pairs || !op->write)
        return false;
    for (uint32_t i = part->first; i < part->last; i++)
        size += op->pairs[op->order[i]].key.size + op->pairs[op->order[i]].value.size + 64;
    return size > PART_SIZE_MAX;
}

/* The piece of a range that this region can answer for. A token that was sent says something about the keys of that send
 * only, and keeps saying it about what is left of them when the region is split meanwhile. */
static void set_bound(struct part *part, const struct route *route)
{
    struct scan_state *scan = part->op->scan;
    struct bytes mine = buf_bytes(scan->reverse ? &scan->lower : &scan->upper);
    struct bytes its = scan->reverse ? route->start_key : route->end_key;
    if (part->op->write && part->sequence != 0)
        mine = buf_bytes(&scan->token_end);
    bool inside = scan->reverse ? bytes_compare(its, mine) > 0 : its.size > 0 && bytes_compare(its, mine) < 0;
    if (part->retry.attempts > 0 && !bytes_equal(buf_bytes(&scan->bound), inside ? its : mine))
        renew_id(part->op->client, part); /* other bounds, other answer */
    CHECK(buf_assign(&scan->bound, inside ? its : mine) == ERR_OK);
    if (part->op->write && part->sequence == 0)
        CHECK(buf_assign(&scan->token_end, buf_bytes(&scan->bound)) == ERR_OK);
}

static void send_to(struct part *part, const struct route *route, struct client_store *store)
{
    struct client *client = part->op->client;
    part->region_id = route->region_id;
    part->epoch_conf = route->epoch_conf;
    part->epoch_version = route->epoch_version;
    part->reload = false;
    if (part->op->scan)
        set_bound(part, route);
    part->state = PART_READY;
    part->store = store;
    list_push_back(&store->ready, &part->link);
    client_store_dirty(store);
    /* A store that cannot be reached is not waited for until the deadline. */
    client_due(client, part, store->state == CLIENT_STORE_UP ? UINT64_MAX : client->now_us + client->silence_us);
}

/* Returns what does not lie in the same region and is to be routed next; NULL: nothing. */
static struct part *route_one(struct part *part)
{
    struct client *client = part->op->client;
    CHECK(part->state == PART_NEW);
    struct bytes key = part_key(part);
    struct route *route =
        part_is_reverse(part) ? router_find_before(client->router, key) : router_find(client->router, key);
    if (!route) {
        become_unrouted(part);
        return NULL;
    }
    struct part *rest = part->op->pairs ? cut(part, route) : NULL;
    struct client_store *store = choose_store(part, route);
    if (is_too_large(part)) {
        part_note(part, "the keys of region %llu in this batch have more than %d bytes",
                  (unsigned long long)route->region_id, PART_SIZE_MAX);
        part_end(part, retry_end_answered(&part->retry, ERR_ENTRY_TOO_LARGE));
    } else if (!store) {
        part_note(part, "no store of region %llu can be reached", (unsigned long long)route->region_id);
        client_route_refresh(client, route);
        part_pause(part, retry_unsent(&part->retry, ERR_UNAVAILABLE, &client->rng));
    } else {
        send_to(part, route, store);
    }
    return rest;
}

void part_route(struct part *part)
{
    while (part)
        part = route_one(part);
}

void part_pause(struct part *part, uint64_t pause_us)
{
    part_detach(part);
    part->state = PART_PAUSED;
    client_due(part->op->client, part, part->op->client->now_us + pause_us);
}

/* ---- sending */

static uint32_t remaining_ms(const struct part *part)
{
    uint64_t now_us = part->op->client->now_us;
    uint64_t left_us = part->op->deadline_us > now_us ? part->op->deadline_us - now_us : 0;
    return (uint32_t)(left_us / 1000) + 1;
}

static void fill_token(struct part *part, struct wire_kv_request *request)
{
    struct client *client = part->op->client;
    if (part->sequence == 0) {
        part->sequence = ++client->sequence_last;
        list_push_back(&client->writes, &part->write_link);
    }
    request->client_id = BUG(retry_without_token) && part->retry.maybe ? 0 : client->client_id;
    request->sequence = part->sequence;
    request->sequence_done = LIST_ENTRY(client->writes.next, struct part, write_link)->sequence;
    request->retry = part->retry.maybe; /* a send that was refused is none */
}

static size_t fill_pairs(struct part *part, struct wire_kv_request *request, size_t *ret_pairs)
{
    struct client *client = part->op->client;
    const struct operation *op = part->op;
    size_t count = part->last - part->first, size = 0;
    if (client->batch_pairs_count + count > client->batch_pairs_capacity) {
        client->batch_pairs_capacity = (client->batch_pairs_count + count) * 2;
        client->batch_pairs = realloc(client->batch_pairs, client->batch_pairs_capacity * sizeof *client->batch_pairs);
        CHECK(client->batch_pairs);
    }
    *ret_pairs = client->batch_pairs_count;
    for (uint32_t i = part->first; i < part->last; i++) {
        const struct wire_kv_pair *pair = &op->pairs[op->order[i]];
        client->batch_pairs[client->batch_pairs_count++] = *pair;
        size += pair->key.size + pair->value.size + 32;
    }
    request->pairs_count = (uint32_t)count;
    return size;
}

static void fill_scan(struct part *part, struct wire_kv_request *request)
{
    const struct scan_state *scan = part->op->scan;
    size_t rows = part->op->result.row_count;
    request->key = buf_bytes(scan->reverse ? &scan->upper : &scan->lower);
    request->end_key = buf_bytes(&scan->bound);
    if (part->op->kind != CLIENT_SCAN)
        return;
    request->limit = scan->limit - (uint32_t)rows;
    request->limit_size = scan->limit_size - (uint32_t)scan->rows_size;
    request->reverse = scan->reverse;
    request->keys_only = scan->keys_only;
}

size_t part_fill(struct part *part, struct wire_kv_request *request, size_t *ret_pairs)
{
    static const uint8_t kinds[] = {
        [CLIENT_GET] = WIRE_KV_OP_GET,
        [CLIENT_PUT] = WIRE_KV_OP_PUT,
        [CLIENT_DELETE] = WIRE_KV_OP_DELETE_KEY,
        [CLIENT_CAS] = WIRE_KV_OP_CAS,
        [CLIENT_SCAN] = WIRE_KV_OP_SCAN,
        [CLIENT_BATCH_GET] = WIRE_KV_OP_BATCH_GET,
        [CLIENT_BATCH_WRITE] = WIRE_KV_OP_BATCH_WRITE,
        [CLIENT_SPLIT_REGIONS] = WIRE_KV_OP_SPLIT,
        [CLIENT_SPLIT_REGION] = WIRE_KV_OP_SPLIT, /* done twice it is done once: repeated like a read */
        [CLIENT_CHECK_REGION] = WIRE_KV_OP_CHECK,
        [CLIENT_MERGE_REGION] = WIRE_KV_OP_MERGE, /* so is this */
        [CLIENT_DELETE_RANGE] = WIRE_KV_OP_DELETE_RANGE,
        [CLIENT_CHECKSUM] = WIRE_KV_OP_CHECKSUM,
        [CLIENT_TTL] = WIRE_KV_OP_TTL,
        [CLIENT_REGION_PEERS] = WIRE_KV_OP_SHOW_PEERS,
        [CLIENT_CHANGE_PEERS] = WIRE_KV_OP_CHANGE_PEERS, /* its guard keeps a repetition from being done twice */
        [CLIENT_TRANSFER_LEADER] = WIRE_KV_OP_TRANSFER_LEADER,
    };
    const struct operation *op = part->op;
    *request = (struct wire_kv_request){
        .id = part->id,
        .op = kinds[op->kind],
        .region_id = part->region_id,
        .epoch_conf = part->epoch_conf,
        .epoch_version = part->epoch_version,
        .deadline_ms = remaining_ms(part),
        .ttl_ms = op->ttl_ms,
    };
    size_t size = 128;
    if (op->write)
        fill_token(part, request);
    else
        request->read_mode = (uint8_t)op->read;
    if (op->pairs)
        return size + fill_pairs(part, request, ret_pairs);
    if (op->scan) {
        fill_scan(part, request);
        return size + KEY_SIZE_MAX;
    }
    if (op->changes) {
        request->region_id = op->region_id; /* that one, whoever has its keys by now */
        request->changes = op->changes;
        request->changes_count = op->change_count;
        request->guard_conf = op->guard_conf;
        return size + op->change_count * sizeof *op->changes;
    }
    if (op->kind == CLIENT_MERGE_REGION) {
        request->source_region = op->region_id;
        request->target_region = op->target_region;
    }
    request->key = op->key;
    request->value = op->new_value;
    request->expected = op->expected;
    return size + op->key.size + op->new_value.size + op->expected.size;
}

/* ---- judging */

void part_follow(struct part *part, struct retry_verdict verdict)
{
    struct client *client = part->op->client;
    struct route *route = router_find_by_id(client->router, part->region_id);
    part->paid = verdict.paid;
    switch (verdict.step) {
    case RETRY_NEXT_PEER:
        part->peer_cursor++;
        if (route && part->store && route_leader(route) == part->store->id)
            router_set_leader(client->router, route, 0);
        /* All have been asked: perhaps pd knows of others. Until it answers, go on with these. */
        if (route && part->retry.pauses > 0 && part->retry.pauses % (route->peer_count + 1) == 0)
            client_route_refresh(client, route);
        break;
    case RETRY_RECONNECT:
    case RETRY_RELOAD:
        router_remove(client->router, part->region_id, part->epoch_conf, part->epoch_version);
        part->reload = true;
        break;
    case RETRY_END: /* the caller has dealt with it */
    case RETRY_SAME:
    case RETRY_HINT:
    case RETRY_ROUTES:
        break;
    }
    if (verdict.pause_us > 0) {
        part_pause(part, verdict.pause_us);
        return;
    }
    part_detach(part);
    part_route(part);
}

/* What an answer tells about the region, beside the answer. True: the routes know something new. */
static bool learn(struct part *part, struct client_store *store, const struct wire_kv_reply *reply, bool *ret_hint)
{
    struct client *client = part->op->client;
    bool news = false;
    for (uint32_t i = 0; i < reply->regions_count; i++) {
        store_id leader = reply->leader_store ? reply->leader_store : store->id;
        news = router_insert(client->router, &reply->regions[i], leader) == ROUTER_INSERTED || news;
    }
    struct route *route = router_find_by_id(client->router, part->region_id);
    *ret_hint = false;
    if (!route)
        return news;
    if (reply->leader_store != 0) {
        router_set_leader(client->router, route, reply->leader_store);
        if (route_leader(route) == 0) /* a leader that is no peer we know of: ours is an old list */
            client_route_refresh(client, route);
        *ret_hint = route_leader(route) != 0 && reply->leader_store != store->id &&
                    client_store_is_usable(client_store_of(client, reply->leader_store));
    } else if (reply->code == ERR_OK && (part->op->write || part->op->read == POLDER_READ_LEADER) &&
               route_leader(route) == 0) { /* only a leader answers these */
        router_set_leader(client->router, route, store->id);
    } else if (reply->code == ERR_NOT_LEADER && route_leader(route) == store->id) {
        router_set_leader(client->router, route, 0);
    }
    return news;
}

/* It was sent by a route that has been replaced meanwhile: another answer may have brought the news that this one has. */
static bool is_outdated(const struct part *part)
{
    const struct route *route = router_find_by_id(part->op->client->router, part->region_id);
    return route && (route->epoch_version > part->epoch_version || route->epoch_conf > part->epoch_conf);
}

/* A page of a scan has come: cut it off and go on behind it. */
static void scan_answered(struct part *part, const struct wire_kv_reply *reply)
{
    struct operation *op = part->op;
    struct client *client = op->client;
    struct scan_state *scan = op->scan;
    enum err code = result_scan_rows(op, reply);
    if (code != ERR_OK) {
        part_note(part, "a store sent rows that are not of the range that was asked for");
        part_end(part, (struct retry_end){POLDER_NOT_DONE, code, POLDER_ADVICE_RETRY, 0});
        return;
    }
    struct buf *cursor = scan->reverse ? &scan->upper : &scan->lower;
    struct bytes next = reply->more ? reply->next_key : buf_bytes(&scan->bound);
    CHECK(buf_assign(cursor, next) == ERR_OK);
    if (BUG(scan_skips_at_region_edge) && !reply->more && !scan->reverse)
        CHECK(buf_append_u8(cursor, 0) == ERR_OK);
    bool at_end = bytes_compare(buf_bytes(&scan->lower), buf_bytes(&scan->upper)) >= 0;
    if (at_end || op->result.row_count >= scan->limit || scan->rows_size >= scan->limit_size) {
        op->result.more = !at_end;
        if (!at_end)
            op->result.next = polder_bytes(cursor->data + 1, cursor->size - 1);
        part_end(part, retry_end_answered(&part->retry, ERR_OK));
        return;
    }
    retry_progress(&part->retry);
    part->paid = false;
    part_detach(part);
    renew_id(client, part);
    part_route(part);
}

static void checksum_answered(struct part *part, const struct wire_kv_reply *reply)
{
    struct operation *op = part->op;
    struct scan_state *scan = op->scan;
    if (reply->more && !result_leads_on(scan, reply)) {
        part_note(part, "a store's answer is about another range");
        part_end(part, (struct retry_end){POLDER_NOT_DONE, ERR_CORRUPT, POLDER_ADVICE_RETRY, 0});
        return;
    }
    op->result.checksum ^= reply->checksum;
    op->result.checksum_rows += reply->rows;
    op->result.checksum_size += reply->size;
    CHECK(buf_assign(&scan->lower, reply->more ? reply->next_key : buf_bytes(&scan->bound)) == ERR_OK);
    if (bytes_compare(buf_bytes(&scan->lower), buf_bytes(&scan->upper)) >= 0) {
        part_end(part, retry_end_answered(&part->retry, ERR_OK));
        return;
    }
    retry_progress(&part->retry);
    part->paid = false;
    part_detach(part);
    renew_id(op->client, part);
    part_route(part);
}

/* A piece is gone. What is left of what the token was sent for, when a send without an answer may have removed it all,
 * keeps the token: else a key that somebody wrote since would be removed a second time. */
static void delete_range_answered(struct part *part)
{
    struct operation *op = part->op;
    struct scan_state *scan = op->scan;
    CHECK(buf_assign(&scan->lower, buf_bytes(&scan->bound)) == ERR_OK);
    if (BUG(range_skips_at_region_edge))
        CHECK(buf_append_u8(&scan->lower, 0) == ERR_OK);
    scan->progressed = true;
    if (bytes_compare(buf_bytes(&scan->lower), buf_bytes(&scan->upper)) >= 0) {
        part_end(part, retry_end_answered(&part->retry, ERR_OK));
        return;
    }
    bool token_goes_on = bytes_compare(buf_bytes(&scan->lower), buf_bytes(&scan->token_end)) < 0 && part->retry.maybe;
    if (token_goes_on && !BUG(range_forgets_token)) {
        retry_progress(&part->retry);
        part->retry.vouched = false;
    } else {
        op->result.attempts += part->retry.attempts;
        retry_init(&part->retry, true, false);
        list_remove(&part->write_link);
        part->sequence = 0;
    }
    part->paid = false;
    part_detach(part);
    renew_id(op->client, part);
    part_route(part);
}

/* ERR_CORRUPT: not an answer to these keys. An answer that became too large stops early (`more`). */
static enum err batch_get_rows(struct part *part, const struct wire_kv_reply *reply)
{
    struct operation *op = part->op;
    uint32_t count = part->last - part->first;
    if (reply->pairs_count == 0 || (reply->more ? reply->pairs_count >= count : reply->pairs_count != count))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < reply->pairs_count; i++) {
        const struct wire_kv_pair *pair = &reply->pairs[i];
        uint32_t index = op->order[part->first + i];
        if (!bytes_equal(pair->key, op->pairs[index].key))
            return ERR_CORRUPT;
        struct polder_row *row = &op->rows[index];
        row->found = !pair->remove;
        if (pair->remove)
            continue;
        struct bytes value = arena_copy(&op->arena, pair->value);
        row->value = polder_bytes(value.data, value.size);
    }
    return ERR_OK;
}

static void batch_get_answered(struct part *part, const struct wire_kv_reply *reply)
{
    enum err code = batch_get_rows(part, reply);
    struct part *rest = NULL;
    if (code != ERR_OK)
        part_note(part, "a store's answer is about other keys");
    else if (reply->more)
        rest = split_off(part, part->first + reply->pairs_count);
    part_end(part, code == ERR_OK ? retry_end_answered(&part->retry, code)
                                  : (struct retry_end){POLDER_NOT_DONE, code, POLDER_ADVICE_RETRY, 0});
    if (!rest)
        return;
    retry_progress(&rest->retry);
    part_route(rest);
}

static void finish(struct part *part, const struct wire_kv_reply *reply)
{
    struct operation *op = part->op;
    enum err code = (enum err)reply->code;
    switch (op->kind) {
    case CLIENT_CHECK_REGION:
    case CLIENT_GET:
        op->result.found = code == ERR_OK && reply->value.data;
        if (op->result.found)
            result_value(op, reply->value);
        code = code == ERR_NOT_FOUND ? ERR_OK : code;
        break;
    case CLIENT_TTL:
        op->result.found = code == ERR_OK;
        op->result.ttl_ms = reply->ttl_ms;
        code = code == ERR_NOT_FOUND ? ERR_OK : code;
        break;
    case CLIENT_DELETE:
        code = code == ERR_NOT_FOUND ? ERR_OK : code;
        break;
    case CLIENT_CAS:
        op->result.found = code == ERR_CONDITION_FAILED && reply->value.data;
        if (op->result.found)
            result_value(op, reply->value);
        break;
    case CLIENT_SCAN:
        if (code != ERR_OK)
            break;
        scan_answered(part, reply);
        return;
    case CLIENT_BATCH_GET:
        if (code != ERR_OK)
            break;
        batch_get_answered(part, reply);
        return;
    case CLIENT_DELETE_RANGE:
        if (code != ERR_OK)
            break;
        delete_range_answered(part);
        return;
    case CLIENT_CHECKSUM:
        if (code != ERR_OK)
            break;
        checksum_answered(part, reply);
        return;
    case CLIENT_REGION_PEERS:
    case CLIENT_CHANGE_PEERS:
        if (code == ERR_OK)
            result_peers(op, reply);
        break;
    default:
        break;
    }
    part_end(part, retry_end_answered(&part->retry, code));
}

/* A reply too large for one frame: two halves may fit. */
static bool halve(struct part *part, enum err code)
{
    if (part->op->kind != CLIENT_BATCH_GET || code != ERR_ENTRY_TOO_LARGE || part->last - part->first < 2)
        return false;
    struct part *rest = split_off(part, part->first + (part->last - part->first) / 2);
    part_detach(part);
    part_route(part);
    part_route(rest);
    return true;
}

static void note_refusal(struct part *part, const struct client_store *store, const struct wire_kv_reply *reply)
{
    part_note(part, "store %llu: %s%s%.*s", (unsigned long long)store->id, err_name((enum err)reply->code),
              reply->text.size > 0 ? ": " : "", (int)(reply->text.size < 300 ? reply->text.size : 300),
              reply->text.size > 0 ? (const char *)reply->text.data : "");
}

void part_answered(struct part *part, struct client_store *store, const struct wire_kv_reply *reply)
{
    struct operation *op = part->op;
    struct client *client = op->client;
    enum err code = (enum err)reply->code;
    bool current = part->state == PART_SENT && part->store == store;
    bool definite = code == ERR_OK || code == ERR_NOT_FOUND || code == ERR_CONDITION_FAILED;
    /* What an earlier send was refused for no longer matters; that it was done does. */
    if (!current && !definite)
        return;
    struct retry_answer answer = {.code = code, .server_action = reply->action, .wait_ms = reply->wait_ms};
    answer.has_regions = learn(part, store, reply, &answer.has_hint) || is_outdated(part);
    uint64_t remaining_us = op->deadline_us > client->now_us ? op->deadline_us - client->now_us : 0;
    struct retry_verdict verdict = retry_answered(&part->retry, &answer, remaining_us, &client->rng);
    if (definite) {
        if (code != ERR_OK && reply->text.size > 0)
            note_refusal(part, store, reply);
        if (part->retry.attempts > 1)
            retry_budget_success(&store->budget);
        finish(part, reply);
        return;
    }
    note_refusal(part, store, reply);
    if (err_action(code) == ERR_ACTION_REROUTE)
        client->counts.reroutes++;
    else if (err_action(code) == ERR_ACTION_BACKOFF)
        client->counts.backoffs++;
    if (verdict.step == RETRY_END) {
        if (!halve(part, code))
            finish(part, reply);
        return;
    }
    if (verdict.step == RETRY_RECONNECT)
        store->reset_wanted = true;
    if (verdict.step == RETRY_RELOAD && reply->regions_count > 0)
        verdict.step = RETRY_NEXT_PEER; /* what it knows is not newer than what we know: its time will come */
    part_follow(part, verdict);
}

static void sent_too_long(struct part *part)
{
    struct client *client = part->op->client;
    struct client_store *store = part->store;
    if (client_store_is_silent(store)) {
        client_store_silent(store);
        return;
    }
    if (++part->slow < SLOW_MAX) { /* it answers others */
        client_due(client, part, client->now_us + store->silence_us);
        return;
    }
    client->counts.losses++;
    part_note(part, "store %llu: no answer, though it answers others", (unsigned long long)store->id);
    part_follow(part, retry_lost(&part->retry, &client->rng));
}

void part_timer(struct part *part)
{
    struct client *client = part->op->client;
    if (client->now_us >= part->op->deadline_us) {
        end_by_deadline(part);
        return;
    }
    switch (part->state) {
    case PART_PAUSED:
        part_detach(part);
        part_route(part);
        break;
    case PART_SENT:
        sent_too_long(part);
        break;
    case PART_READY:
    case PART_THROTTLED:
        if (part->store->state == CLIENT_STORE_UP)
            client_due(client, part, UINT64_MAX); /* it came up meanwhile */
        else
            client_store_unreachable(part->store);
        break;
    case PART_UNROUTED:
    case PART_NEW:
    case PART_ENDED:
        client_due(client, part, UINT64_MAX);
        break;
    }
}
