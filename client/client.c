#include "client/client.h"

#include "client/client_internal.h"
#include "meta/keyspace.h"
#include "rpc/frame_kind.h"

#include <stdlib.h>

enum { MAILBOX_EXTRA = 4096 }; /* room for what links and timers post beside the operations */
enum { DEADLINE_MS_MAX = 3600 * 1000 };

struct timer_message {
    struct message message;
    uint64_t due_us;
};

/* ---- the heap of parts by due_us */

static void heap_place(struct client *client, uint32_t index, struct part *part)
{
    client->heap[index] = part;
    part->heap_index = index;
}

static void heap_up(struct client *client, uint32_t index)
{
    struct part *part = client->heap[index];
    for (; index > 0 && client->heap[(index - 1) / 2]->due_us > part->due_us; index = (index - 1) / 2)
        heap_place(client, index, client->heap[(index - 1) / 2]);
    heap_place(client, index, part);
}

static void heap_down(struct client *client, uint32_t index)
{
    struct part *part = client->heap[index];
    for (;;) {
        uint32_t child = 2 * index + 1;
        if (child >= client->heap_count)
            break;
        if (child + 1 < client->heap_count && client->heap[child + 1]->due_us < client->heap[child]->due_us)
            child++;
        if (client->heap[child]->due_us >= part->due_us)
            break;
        heap_place(client, index, client->heap[child]);
        index = child;
    }
    heap_place(client, index, part);
}

static void heap_add(struct client *client, struct part *part)
{
    if (client->heap_count == client->heap_capacity) {
        client->heap_capacity = client->heap_capacity ? client->heap_capacity * 2 : 256;
        client->heap = realloc(client->heap, client->heap_capacity * sizeof(struct part *));
        CHECK(client->heap);
    }
    heap_place(client, client->heap_count++, part);
    heap_up(client, part->heap_index);
}

void client_heap_remove(struct client *client, struct part *part)
{
    uint32_t index = part->heap_index;
    if (index == UINT32_MAX)
        return;
    part->heap_index = UINT32_MAX;
    struct part *last = client->heap[--client->heap_count];
    if (last == part)
        return;
    heap_place(client, index, last);
    heap_up(client, index);
    heap_down(client, last->heap_index);
}

void client_due(struct client *client, struct part *part, uint64_t due_us)
{
    part->due_us = due_us < part->op->deadline_us ? due_us : part->op->deadline_us;
    if (part->heap_index == UINT32_MAX) {
        heap_add(client, part);
        return;
    }
    heap_up(client, part->heap_index);
    heap_down(client, part->heap_index);
}

/* ---- operations: from the caller to the actor */

static enum err check_key(struct bytes key)
{
    if (key.size == 0)
        return ERR_KEY_EMPTY;
    return key.size > KEY_SIZE_MAX ? ERR_KEY_TOO_LARGE : ERR_OK;
}

static enum err check_scan(const struct polder_scan *scan)
{
    const struct polder_bytes *keys[] = {&scan->start, &scan->end, &scan->prefix};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i]->size > KEY_SIZE_MAX)
            return ERR_KEY_TOO_LARGE;
    /* A token may be a region's boundary or the key right after another. */
    return scan->token.size > KEY_SIZE_MAX + 16 ? ERR_KEY_TOO_LARGE : ERR_OK;
}

static enum err check_call(const struct client_call *call)
{
    enum err code;
    if (call->ttl_ms > POLDER_TTL_MAX_MS)
        return ERR_INVALID;
    switch (call->op) {
    case CLIENT_PUT:
    case CLIENT_CAS:
        if (call->value.size > VALUE_SIZE_MAX || (call->expect_value && call->expected.size > VALUE_SIZE_MAX))
            return (code = check_key(call->key)) != ERR_OK ? code : ERR_ENTRY_TOO_LARGE;
        return check_key(call->key);
    case CLIENT_GET:
    case CLIENT_DELETE:
    case CLIENT_SPLIT_REGION:
    case CLIENT_CHECK_REGION:
    case CLIENT_TTL:
    case CLIENT_CLUSTER_REGION_OF:
        return check_key(call->key);
    case CLIENT_SCAN:
    case CLIENT_DELETE_RANGE:
    case CLIENT_CHECKSUM:
        return check_scan(&call->scan);
    case CLIENT_BATCH_GET:
    case CLIENT_BATCH_WRITE:
    case CLIENT_SPLIT_REGIONS:
        if (call->pair_count > UINT32_MAX / 2)
            return ERR_INVALID;
        for (size_t i = 0; i < call->pair_count; i++) {
            const struct polder_pair *pair = &call->pairs[i];
            if ((code = check_key(bytes_of(pair->key.data, pair->key.size))) != ERR_OK)
                return code;
            if (call->op == CLIENT_BATCH_WRITE && pair->value.size > VALUE_SIZE_MAX)
                return ERR_ENTRY_TOO_LARGE;
        }
        return ERR_OK;
    case CLIENT_CHANGE_PEERS:
    case CLIENT_TRANSFER_LEADER:
        if (call->change_count == 0 || call->change_count > POLDER_PEER_CHANGES_MAX)
            return ERR_INVALID;
        return call->key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE ? ERR_KEY_TOO_LARGE : ERR_OK;
    case CLIENT_REGION_PEERS:
    case CLIENT_MERGE_REGION:
    case CLIENT_CLUSTER_REGIONS:
        return call->key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE ? ERR_KEY_TOO_LARGE : ERR_OK;
    case CLIENT_CLUSTER_ALLOC_IDS:
    case CLIENT_CLUSTER_TIMESTAMP:
        return call->count == 0 ? ERR_INVALID : ERR_OK;
    case CLIENT_CLUSTER_INFO:
    case CLIENT_CLUSTER_STORES:
    case CLIENT_CLUSTER_REGION_BY_ID:
        return ERR_OK;
    case CLIENT_STATS:
        return call->stats ? ERR_OK : ERR_INVALID;
    }
    return ERR_INVALID;
}

/* Copies to `*at` and moves it on. Present stays present, also when empty. */
static struct bytes copy_bytes(uint8_t **at, bool prefixed, struct bytes bytes)
{
    uint8_t *start = *at;
    if (prefixed)
        *(*at)++ = KEYSPACE_RAW;
    if (bytes.size > 0)
        memcpy(*at, bytes.data, bytes.size);
    *at += bytes.size;
    return bytes_of(start, (size_t)(*at - start));
}

static void copy_pairs(struct operation *op, const struct client_call *call)
{
    size_t size = 0;
    bool values = call->op == CLIENT_BATCH_WRITE;
    for (size_t i = 0; i < call->pair_count; i++)
        size += KEYSPACE_PREFIX_SIZE + call->pairs[i].key.size + (values ? call->pairs[i].value.size : 0);
    size_t fixed = call->pair_count * (sizeof(struct wire_kv_pair) + sizeof(uint32_t));
    op->memory = malloc(fixed + size + 1);
    CHECK(op->memory);
    op->pairs = op->memory;
    op->order = (uint32_t *)(void *)(op->pairs + call->pair_count);
    op->pair_count = call->pair_count;
    uint8_t *at = (uint8_t *)(op->order + call->pair_count);
    for (size_t i = 0; i < call->pair_count; i++) {
        const struct polder_pair *pair = &call->pairs[i];
        op->order[i] = (uint32_t)i;
        op->pairs[i] = (struct wire_kv_pair){
            .remove = values && pair->remove,
            .key = copy_bytes(&at, true, bytes_of(pair->key.data, pair->key.size)),
        };
        if (values && !pair->remove)
            op->pairs[i].value = copy_bytes(&at, false, bytes_of(pair->value.data, pair->value.size));
    }
    op->rows = calloc(call->pair_count + 1, sizeof *op->rows);
    CHECK(op->rows);
}

static void assign(struct buf *buf, struct polder_bytes key)
{
    buf_reset(buf);
    CHECK(buf_append_u8(buf, KEYSPACE_RAW) == ERR_OK);
    CHECK(buf_append(buf, key.data, key.size) == ERR_OK);
}

/* The first key after all that begin with the encoded prefix: its last byte that is not 0xff, plus one. */
static void after_prefix(struct buf *buf, struct polder_bytes prefix)
{
    assign(buf, prefix);
    while (buf->data[buf->size - 1] == 0xff)
        buf->size--;
    buf->data[buf->size - 1]++;
}

static void copy_scan(struct operation *op, const struct polder_scan *call)
{
    struct scan_state *scan = calloc(1, sizeof *scan);
    CHECK(scan);
    op->scan = scan;
    struct buf *bufs[] = {&scan->lower, &scan->upper, &scan->bound, &scan->token_end};
    for (size_t i = 0; i < 4; i++)
        buf_init(bufs[i], KEY_SIZE_MAX + 64);
    scan->reverse = call->reverse;
    scan->keys_only = call->keys_only;
    scan->limit = call->limit ? call->limit : 1000;
    scan->limit_size = call->limit_size ? call->limit_size : 4 * 1024 * 1024;
    if (scan->limit_size > 64 * 1024 * 1024)
        scan->limit_size = 64 * 1024 * 1024;
    assign(&scan->lower, call->start);
    struct polder_bytes none = {NULL, 0};
    if (call->end.size > 0)
        assign(&scan->upper, call->end);
    else
        after_prefix(&scan->upper, none); /* the end of the raw keys */
    assign(&scan->bound, call->prefix);
    if (bytes_compare(buf_bytes(&scan->bound), buf_bytes(&scan->lower)) > 0)
        assign(&scan->lower, call->prefix);
    after_prefix(&scan->bound, call->prefix);
    if (bytes_compare(buf_bytes(&scan->bound), buf_bytes(&scan->upper)) < 0)
        after_prefix(&scan->upper, call->prefix);
    if (call->token.size == 0)
        return;
    assign(&scan->bound, call->token);
    int order = bytes_compare(buf_bytes(&scan->bound), buf_bytes(call->reverse ? &scan->upper : &scan->lower));
    if (call->reverse && order < 0)
        assign(&scan->upper, call->token);
    else if (!call->reverse && order > 0)
        assign(&scan->lower, call->token);
}

static bool is_about_peers(enum client_op op)
{
    return op == CLIENT_REGION_PEERS || op == CLIENT_CHANGE_PEERS || op == CLIENT_TRANSFER_LEADER;
}

static void copy_changes(struct operation *op, const struct client_call *call)
{
    op->guard_conf = call->guard_conf;
    op->change_count = (uint32_t)call->change_count;
    op->changes = arena_alloc(&op->arena, (call->change_count + 1) * sizeof *op->changes);
    for (uint32_t i = 0; i < op->change_count; i++)
        op->changes[i] = (struct wire_peer_change){.kind = (uint8_t)call->changes[i].kind,
                                                   .store_id = call->changes[i].store_id};
}

static void drop_operation(struct message *message);

static struct operation *operation_new(struct client *client, const struct client_call *call)
{
    size_t size = call->op <= CLIENT_CAS || call->op >= CLIENT_TTL
                      ? KEYSPACE_PREFIX_SIZE + call->key.size + call->value.size + call->expected.size
                      : 0;
    struct operation *op = malloc(sizeof *op + size);
    CHECK(op);
    memset(op, 0, sizeof *op);
    op->message = (struct message){.kind = CLIENT_MESSAGE_OPERATION, .free = drop_operation};
    op->client = client;
    op->kind = call->op;
    op->write = call->op == CLIENT_PUT || call->op == CLIENT_DELETE || call->op == CLIENT_CAS ||
                call->op == CLIENT_BATCH_WRITE || call->op == CLIENT_DELETE_RANGE;
    op->read = call->read;
    op->deadline_ms = call->deadline_ms ? call->deadline_ms : client->deadline_ms;
    if (op->deadline_ms > DEADLINE_MS_MAX)
        op->deadline_ms = DEADLINE_MS_MAX;
    op->deadline_us = clock_now_us(client->env->clock) + (uint64_t)op->deadline_ms * 1000;
    op->done = call->done;
    op->user = call->user;
    op->stats = call->stats;
    op->ttl_ms = call->ttl_ms;
    op->region_id = call->region_id;
    op->target_region = call->target_region;
    op->count = call->count;
    op->expect_value = call->expect_value;
    uint8_t *at = op->data;
    if (call->op <= CLIENT_CAS || call->op == CLIENT_SPLIT_REGION || call->op == CLIENT_CHECK_REGION || call->op == CLIENT_TTL || call->op == CLIENT_CLUSTER_REGION_OF)
        op->key = copy_bytes(&at, true, call->key);
    else if (call->op == CLIENT_CLUSTER_REGIONS || call->op == CLIENT_MERGE_REGION || is_about_peers(call->op))
        op->key = copy_bytes(&at, false, call->key);
    if (call->op == CLIENT_PUT || call->op == CLIENT_CAS)
        op->new_value = copy_bytes(&at, false, call->value);
    if (call->op == CLIENT_CAS && call->expect_value)
        op->expected = copy_bytes(&at, false, call->expected);
    if (call->op == CLIENT_BATCH_GET || call->op == CLIENT_BATCH_WRITE || call->op == CLIENT_SPLIT_REGIONS)
        copy_pairs(op, call);
    if (call->op == CLIENT_SCAN || call->op == CLIENT_DELETE_RANGE || call->op == CLIENT_CHECKSUM)
        copy_scan(op, &call->scan);
    if (is_about_peers(call->op))
        copy_changes(op, call);
    return op;
}

static size_t call_size(const struct client_call *call)
{
    size_t size = call->key.size + call->value.size + call->expected.size;
    for (size_t i = 0; i < call->pair_count; i++)
        size += call->pairs[i].key.size + call->pairs[i].value.size;
    return size;
}

static void leave(struct client *client, size_t size)
{
    atomic_fetch_sub_explicit(&client->outstanding, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&client->outstanding_size, size, memory_order_relaxed);
}

/* Operations are counted in number and in bytes; a single one always finds room. */
static bool enter(struct client *client, size_t size)
{
    uint32_t count = atomic_fetch_add_explicit(&client->outstanding, 1, memory_order_relaxed);
    size_t before = atomic_fetch_add_explicit(&client->outstanding_size, size, memory_order_relaxed);
    if (count < client->outstanding_max && (before == 0 || before + size <= client->outstanding_size_max))
        return true;
    leave(client, size);
    return false;
}

enum err client_submit(struct client *client, const struct client_call *call)
{
    enum err code = check_call(call);
    if (code != ERR_OK)
        return code;
    size_t size = call_size(call);
    if (!enter(client, size))
        return ERR_BUSY;
    struct operation *op = operation_new(client, call);
    op->size = size;
    code = actor_post(client->env->executor, client->actor, &op->message);
    if (code != ERR_OK) {
        leave(client, size);
        polder_result_free(&op->result);
    }
    return code;
}

/* Hands the result to the caller, whose the memory of the operation is from here on. */
static void deliver(struct operation *op)
{
    leave(op->client, op->size);
    op->done(op->user, &op->result);
}

/* The mailbox ended with the operation still in it. */
static void drop_operation(struct message *message)
{
    struct operation *op = (struct operation *)(void *)message;
    struct retry retry;
    retry_init(&retry, op->write, false);
    result_set(op, retry_end_closed(&retry), "the client is closed");
    deliver(op);
}

/* ---- operations: on the actor */

void client_operation_end(struct operation *op)
{
    struct client *client = op->client;
    CHECK(op->parts_open == 0);
    list_remove(&op->link);
    if (op->ask) {
        pd_asker_cancel(client->asker, op->ask);
        free(op->ask);
        op->ask = NULL;
    }
    client->counts.operations++;
    if (op->result.outcome == POLDER_UNKNOWN)
        client->counts.unknown++;
    deliver(op);
}

static void fill_stats(struct client *client, struct polder_stats *stats)
{
    const struct client_counts *counts = &client->counts;
    stats->operations = counts->operations;
    stats->outstanding = atomic_load_explicit(&client->outstanding, memory_order_relaxed) - 1; /* but this one */
    stats->requests = counts->requests;
    stats->retries = counts->retries;
    stats->frames = counts->frames;
    stats->reroutes = counts->reroutes;
    stats->backoffs = counts->backoffs;
    stats->losses = counts->losses;
    stats->unknown = counts->unknown;
    stats->route_misses = counts->route_misses;
    stats->route_loads = counts->route_loads;
    stats->routes = router_count(client->router);
    stats->stores = HASH_COUNT(client->stores);
}

static int compare_pairs(const void *a, const void *b, void *context)
{
    const struct wire_kv_pair *pairs = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int order = bytes_compare(pairs[i].key, pairs[j].key);
    return order != 0 ? order : (i > j) - (i < j);
}

static const struct retry_end done = {.outcome = POLDER_DONE};

static void start_operation(struct client *client, struct operation *op)
{
    list_push_back(&client->operations, &op->link);
    switch (op->kind) {
    case CLIENT_SCAN:
    case CLIENT_DELETE_RANGE:
    case CLIENT_CHECKSUM:
        if (bytes_compare(buf_bytes(&op->scan->lower), buf_bytes(&op->scan->upper)) < 0)
            break;
        result_set(op, done, NULL);
        client_operation_end(op);
        return;
    case CLIENT_BATCH_GET:
    case CLIENT_BATCH_WRITE:
    case CLIENT_SPLIT_REGIONS:
        if (op->pair_count == 0) {
            result_set(op, done, NULL);
            client_operation_end(op);
            return;
        }
        qsort_r(op->order, op->pair_count, sizeof *op->order, compare_pairs, op->pairs);
        break;
    case CLIENT_STATS:
        fill_stats(client, op->stats);
        result_set(op, done, NULL);
        client_operation_end(op);
        return;
    case CLIENT_GET:
    case CLIENT_PUT:
    case CLIENT_DELETE:
    case CLIENT_CAS:
    case CLIENT_SPLIT_REGION:
    case CLIENT_CHECK_REGION:
    case CLIENT_TTL:
    case CLIENT_REGION_PEERS:
    case CLIENT_CHANGE_PEERS:
    case CLIENT_TRANSFER_LEADER:
    case CLIENT_MERGE_REGION:
        break;
    default:
        client_cluster_start(op);
        return;
    }
    part_init(&op->first, op);
    op->first.last = (uint32_t)op->pair_count;
    part_route(&op->first);
}

/* ---- time */

static void free_timer(struct message *message)
{
    free(message);
}

static void arm(struct client *client, uint64_t due_us)
{
    if (due_us >= client->armed_us)
        return;
    struct timer_message *timer = malloc(sizeof *timer);
    CHECK(timer);
    *timer = (struct timer_message){.message = {.kind = CLIENT_MESSAGE_TIMER, .free = free_timer}, .due_us = due_us};
    client->armed_us = due_us;
    uint64_t delay_us = due_us > client->now_us ? due_us - client->now_us : 0;
    actor_post_after(client->env->executor, client->actor, delay_us, &timer->message);
}

static void run_timers(struct client *client)
{
    while (client->heap_count > 0 && client->heap[0]->due_us <= client->now_us)
        part_timer(client->heap[0]);
}

static void on_message(void *state, struct message *take_message)
{
    struct client *client = state;
    client->now_us = clock_now_us(client->env->clock);
    switch ((enum client_message)take_message->kind) {
    case CLIENT_MESSAGE_OPERATION:
        start_operation(client, (struct operation *)(void *)take_message);
        return;
    case CLIENT_MESSAGE_STORE_LINKS:
        links_on_message(client->links, take_message);
        return;
    case CLIENT_MESSAGE_PD_LINKS:
        pd_asker_on_message(client->asker, take_message, client->now_us);
        client->asker_due_us = 0;
        return;
    case CLIENT_MESSAGE_START:
        message_free(take_message);
        return; /* on_round opens the first link */
    case CLIENT_MESSAGE_TIMER:
        if (((struct timer_message *)(void *)take_message)->due_us == client->armed_us)
            client->armed_us = UINT64_MAX;
        message_free(take_message);
        return; /* on_round looks at the clock */
    }
    CHECK(take_message->kind <= CLIENT_MESSAGE_TIMER); /* nobody sends others */
}

static void learn_cluster(struct client *client)
{
    uint64_t cluster = pd_asker_cluster_id(client->asker);
    if (cluster == client->hello.cluster_id)
        return;
    client->hello.cluster_id = cluster;
    links_set_hello(client->links, &client->hello);
}

static void on_round(void *state)
{
    struct client *client = state;
    run_timers(client);
    bool busy = !list_is_empty(&client->operations);
    if (busy && client->now_us >= client->ticked_us + TICK_US / 2) {
        client->ticked_us = client->now_us;
        links_tick(client->links);
    }
    client_routes_start(client);
    client_stores_flush(client); /* may find that pd must be asked for an address */
    if (client->now_us >= client->asker_due_us) {
        client->asker_due_us = pd_asker_tick(client->asker, client->now_us);
        learn_cluster(client);
        client_stores_flush(client);
    }
    uint64_t due_us = client->heap_count > 0 ? client->heap[0]->due_us : UINT64_MAX;
    if (client->asker_due_us < due_us && busy)
        due_us = client->asker_due_us;
    /* While one question is open its answer, or its end, brings the next round. */
    if (client->stores_wanted && busy && !client->stores_ask.open && client->stores_due_us < due_us)
        due_us = client->stores_due_us;
    if (client->gather_due_us < due_us)
        due_us = client->gather_due_us;
    if (client->throttled_count > 0 && client->now_us + THROTTLE_US < due_us)
        due_us = client->now_us + THROTTLE_US;
    /* Dialing goes on while somebody waits; an idle client sleeps. */
    if (busy && client->ticked_us + TICK_US < due_us)
        due_us = client->ticked_us + TICK_US;
    arm(client, due_us);
}

/* ---- life */

enum err client_new(struct env *env, const struct client_options *options, struct client **ret_client,
                    struct error *err)
{
    enum err code = pd_asker_check_endpoints(options->pd, err);
    if (code != ERR_OK)
        return code;
    struct client *client = calloc(1, sizeof *client);
    CHECK(client);
    client->env = env;
    client->deadline_ms = options->deadline_ms ? options->deadline_ms : 10000;
    client->outstanding_max = options->outstanding_max ? options->outstanding_max : 65536;
    client->outstanding_size_max = options->outstanding_size_max ? options->outstanding_size_max : (uint64_t)512 << 20;
    client->silence_us = (uint64_t)(options->silence_ms ? options->silence_ms : 1000) * 1000;
    client->now_us = clock_now_us(env->clock);
    rng_init(&client->rng, env->seed, "client");
    /* A client that starts again in the same world with the same seed must not look like the one before. */
    rng_init(&client->rng, rng_next(&client->rng) ^ client->now_us, "client life");
    client->client_id = options->client_id;
    while (client->client_id == 0)
        client->client_id = rng_next(&client->rng);
    client->name = strdup(options->name ? options->name : "libpolder");
    CHECK(client->name);
    list_init(&client->operations);
    list_init(&client->writes);
    list_init(&client->unrouted);
    list_init(&client->loads);
    list_init(&client->dirty);
    arena_init(&client->message_arena);
    client->armed_us = UINT64_MAX;
    client->router = router_new(options->route_count_max ? options->route_count_max : 100000);
    client->batch = calloc(BATCH_COUNT_MAX, sizeof *client->batch);
    client->batch_parts = calloc(BATCH_COUNT_MAX, sizeof(struct part *));
    CHECK(client->batch && client->batch_parts);
    static const struct actor_ops ops = {.on_message = on_message, .on_round = on_round, .brief = true};
    code =
        executor_spawn(env->executor, "client", &ops, client, client->outstanding_max + MAILBOX_EXTRA, &client->actor);
    if (code != ERR_OK) {
        error_set(err, code, "start the client's actor: %s", err_name(code));
        client_free(client);
        return code;
    }
    client->hello = (struct wire_hello){.role = WIRE_ROLE_CLIENT,
                                        .version_min = PROTOCOL_VERSION_MIN,
                                        .version_max = PROTOCOL_VERSION,
                                        .build = bytes_of_string(client->name)};
    client_stores_init(client);
    struct pd_asker_options asker_options = {
        .endpoints = options->pd, .name = client->name, .tls = options->tls, .silence_us = client->silence_us};
    code = pd_asker_new(env, client->actor, CLIENT_MESSAGE_PD_LINKS, &asker_options, &client->asker, err);
    CHECK(code == ERR_OK); /* the endpoints were checked */
    /* The actor opens the first link, so that nothing of it runs before this function has ended. */
    struct message *start = malloc(sizeof *start);
    CHECK(start);
    *start = (struct message){.kind = CLIENT_MESSAGE_START, .free = free_timer};
    actor_post_must(env->executor, client->actor, start);
    *ret_client = client;
    return ERR_OK;
}

static void end_all(struct client *client)
{
    while (!list_is_empty(&client->operations)) {
        struct operation *op = LIST_ENTRY(client->operations.next, struct operation, link);
        if (op->parts_open == 0) { /* it waits for pd */
            struct retry retry;
            retry_init(&retry, false, false);
            result_set(op, retry_end_closed(&retry), "the client is closed");
            client_operation_end(op);
            continue;
        }
        /* Ending the last open part ends the operation, so look it up anew each time. */
        struct part *part, *following;
        HASH_ITER(hh, client->parts, part, following)
        {
            part_note(part, "the client is closed");
            part_end(part, retry_end_closed(&part->retry));
        }
    }
}

void client_free(struct client *client)
{
    if (!client)
        return;
    end_all(client);
    client_routes_free(client);
    client_stores_free(client);
    pd_asker_free(client->asker);
    router_free(client->router);
    arena_fini(&client->message_arena);
    free(client->heap);
    free(client->batch);
    free(client->batch_parts);
    free(client->batch_pairs);
    free(client->name);
    free(client);
}

void client_check(const struct client *client)
{
    router_check(client->router);
    for (uint32_t i = 0; i < client->heap_count; i++) {
        CHECK(client->heap[i]->heap_index == i);
        CHECK(i == 0 || client->heap[(i - 1) / 2]->due_us <= client->heap[i]->due_us);
    }
    uint32_t open = 0;
    for (const struct part *part = client->parts; part; part = part->hh.next, open++) {
        CHECK(part->heap_index != UINT32_MAX && part->state != PART_NEW && part->state != PART_ENDED);
        CHECK((part->store != NULL) ==
              (part->state == PART_READY || part->state == PART_THROTTLED || part->state == PART_SENT));
        CHECK(part->retry.waiting == (part->state == PART_SENT));
        CHECK(part->retry.attempts == 0 || !part->op->write || part->sequence != 0);
    }
    CHECK(open == client->heap_count);
    uint64_t sequence = 0;
    LIST_FOR_EACH (link, &client->writes) {
        const struct part *part = LIST_ENTRY(link, struct part, write_link);
        CHECK(part->sequence >= sequence && part->sequence <= client->sequence_last);
        sequence = part->sequence;
    }
}
