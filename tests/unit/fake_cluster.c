#include "fake_cluster.h"

#include "base/check.h"
#include "rpc/frame_kind.h"

#include <stdio.h>
#include <stdlib.h>

struct fake_timer {
    struct fake_timer *next;
    uint64_t due_us;
    struct message *message;
};

struct fake_event {
    struct fake_event *next;
    enum { EVENT_OPEN, EVENT_FRAME, EVENT_CLOSE } kind;
    conn_id conn;
    struct frame *frame;
    enum err reason;
};

/* ---- clock and executor */

static struct fake_cluster *of_clock(struct clock *clock)
{
    return (struct fake_cluster *)(void *)((char *)clock - offsetof(struct fake_cluster, clock));
}

static uint64_t now_us(struct clock *clock)
{
    return of_clock(clock)->now_us;
}

static struct fake_cluster *of_executor(struct executor *executor)
{
    return (struct fake_cluster *)(void *)((char *)executor - offsetof(struct fake_cluster, executor));
}

static enum err spawn(struct executor *executor, const char *name, const struct actor_ops *ops, void *state,
                      uint32_t mailbox_max, struct actor **ret_actor)
{
    struct fake_cluster *cluster = of_executor(executor);
    (void)name;
    (void)mailbox_max;
    CHECK(!cluster->actor_ops); /* one is enough for a client */
    cluster->actor_ops = ops;
    cluster->actor_state = state;
    *ret_actor = (struct actor *)(void *)cluster;
    return ERR_OK;
}

static enum err post(struct executor *executor, struct actor *actor, struct message *take_message)
{
    struct fake_cluster *cluster = of_executor(executor);
    (void)actor;
    if (cluster->stopped)
        return ERR_CLOSED;
    take_message->next = NULL;
    *cluster->last = take_message;
    cluster->last = &take_message->next;
    cluster->waiting++;
    return ERR_OK;
}

static void post_must(struct executor *executor, struct actor *actor, struct message *take_message)
{
    if (post(executor, actor, take_message) != ERR_OK)
        message_free(take_message);
}

static void post_after(struct executor *executor, struct actor *actor, uint64_t delay_us, struct message *take_message)
{
    struct fake_cluster *cluster = of_executor(executor);
    (void)actor;
    if (cluster->stopped) {
        message_free(take_message);
        return;
    }
    struct fake_timer *timer = calloc(1, sizeof *timer), **at = &cluster->timers;
    *timer = (struct fake_timer){.due_us = cluster->now_us + delay_us, .message = take_message};
    while (*at && (*at)->due_us <= timer->due_us)
        at = &(*at)->next;
    timer->next = *at;
    *at = timer;
}

static const struct executor_ops executor_ops = {
    .spawn = spawn, .post = post, .post_must = post_must, .post_lazy = post_must, .post_after = post_after};

/* ---- transport */

static struct fake_cluster *of_transport(struct transport *transport)
{
    return (struct fake_cluster *)(void *)((char *)transport - offsetof(struct fake_cluster, transport));
}

static void add_event(struct fake_cluster *cluster, struct fake_event event)
{
    struct fake_event *copy = malloc(sizeof *copy);
    CHECK(copy);
    *copy = event;
    copy->next = NULL;
    *cluster->events_last = copy;
    cluster->events_last = &copy->next;
}

static enum err dial(struct transport *transport, const char *address, struct bytes hello,
                     const struct transport_handler *handler, conn_id *ret_conn)
{
    struct fake_cluster *cluster = of_transport(transport);
    struct arena arena;
    struct wire_hello said;
    arena_init(&arena);
    CHECK(wire_decode_hello(hello, &arena, &said) == ERR_OK && said.role == WIRE_ROLE_CLIENT);
    arena_fini(&arena);
    CHECK(cluster->conn_count + 1 < FAKE_CONNS_MAX);
    conn_id conn = ++cluster->conn_count;
    unsigned long long store = 0, moved = 0;
    bool known = strcmp(address, "fake://pd") == 0 || sscanf(address, "fake://store%llu-%llu", &store, &moved) == 2;
    CHECK(store <= FAKE_STORES);
    cluster->conns[conn] = (struct fake_conn){.store = store, .handler = *handler};
    *ret_conn = conn;
    if (cluster->black_hole[store])
        return ERR_OK;
    bool there = known && cluster->store_up[store] && (store == 0 || cluster->store_moved[store] == (moved == 2));
    add_event(cluster,
              (struct fake_event){.kind = there ? EVENT_OPEN : EVENT_CLOSE, .conn = conn, .reason = ERR_UNAVAILABLE});
    return ERR_OK;
}

static void end_conn(struct fake_cluster *cluster, conn_id conn, enum err reason)
{
    if (conn == 0 || cluster->conns[conn].ended)
        return;
    cluster->conns[conn].ended = true;
    add_event(cluster, (struct fake_event){.kind = EVENT_CLOSE, .conn = conn, .reason = reason});
}

static void close_conn(struct transport *transport, conn_id conn)
{
    end_conn(of_transport(transport), conn, ERR_CLOSED);
}

void fake_cut(struct fake_cluster *cluster, uint64_t store)
{
    for (conn_id conn = 1; conn <= cluster->conn_count; conn++)
        if (cluster->conns[conn].store == store)
            end_conn(cluster, conn, ERR_CLOSED);
}

/* ---- pd */

static int compare_text(struct bytes key, const char *text)
{
    return bytes_compare(key, bytes_of_string(text));
}

static struct wire_peer *peers(void)
{
    static struct wire_peer three[] = {
        {.id = 101, .store_id = 1}, {.id = 102, .store_id = 2}, {.id = 103, .store_id = 3}};
    return three;
}

static struct wire_region region_of(const struct fake_region *region)
{
    return (struct wire_region){.id = region->id,
                                .start_key = bytes_of_string(region->start),
                                .end_key = bytes_of_string(region->end),
                                .epoch_conf = region->epoch_conf,
                                .epoch_version = region->epoch_version,
                                .peers = peers(),
                                .peers_count = FAKE_STORES};
}

static bool holds(const struct fake_region *region, struct bytes key, bool before)
{
    int start = compare_text(key, region->start), end = region->end[0] ? compare_text(key, region->end) : -1;
    return before ? (key.size == 0 ? !region->end[0] : start > 0 && end <= 0) : start >= 0 && end < 0;
}

static void answer_pd(struct fake_cluster *cluster, conn_id conn, const struct wire_pd_request *request)
{
    struct wire_pd_reply reply = {.id = request->id, .cluster_id = 77, .code = (uint16_t)cluster->pd_code};
    struct wire_route routes[FAKE_REGIONS_MAX];
    struct wire_region regions[FAKE_REGIONS_MAX];
    struct wire_store stores[FAKE_STORES];
    char addresses[FAKE_STORES][32];
    bool page = request->op == WIRE_PD_OP_SCAN_REGIONS;
    uint32_t limit = page ? request->limit : 1;
    cluster->pd_request_count++;
    if (request->op == WIRE_PD_OP_LIST_STORES && cluster->pd_lists_nothing)
        return;
    if (request->op == WIRE_PD_OP_LIST_STORES) {
        cluster->store_list_count++;
        for (uint32_t i = 0; i < FAKE_STORES; i++) {
            snprintf(addresses[i], sizeof addresses[i], "fake://store%u-%d", i + 1,
                     cluster->store_moved[i + 1] ? 2 : 1);
            stores[i] = (struct wire_store){
                .id = i + 1, .address = bytes_of_string(addresses[i]), .state = WIRE_STORE_STATE_UP, .region_count = 7};
        }
        reply.stores = stores;
        reply.stores_count = FAKE_STORES;
    }
    if (page || request->op == WIRE_PD_OP_GET_REGION) {
        uint32_t i = 0;
        while (i < cluster->region_count && !holds(&cluster->regions[i], request->key, request->reverse))
            i++;
        for (; i < cluster->region_count && reply.routes_count < limit; i++) {
            regions[reply.routes_count] = region_of(&cluster->regions[i]);
            routes[reply.routes_count] = (struct wire_route){.region = &regions[reply.routes_count],
                                                             .leader_store = cluster->regions[i].pd_leader};
            reply.routes_count++;
        }
        reply.routes = routes;
        if (reply.routes_count == 0)
            reply.code = ERR_NOT_FOUND;
    }
    if (request->op == WIRE_PD_OP_GET_REGION_BY_ID) { /* knows none, like one that follows at first */
        reply.code = ERR_REGION_NOT_FOUND;
        reply.stale = cluster->pd_by_id_count++ == 0;
    }
    if (request->op == WIRE_PD_OP_TIMESTAMP)
        reply.timestamp = 1000, reply.count = request->count;
    if (cluster->pd_code != ERR_OK) {
        reply.routes_count = reply.stores_count = 0;
        reply.text = bytes_of_string("the pd of this test does not want to");
    }
    add_event(cluster, (struct fake_event){
                           .kind = EVENT_FRAME, .conn = conn, .frame = wire_frame_pd_reply(FRAME_PD_REPLY, &reply)});
}

/* ---- stores */

static const char *text_of(struct bytes key)
{
    static char text[64];
    CHECK(key.size < sizeof text);
    memcpy(text, key.data, key.size);
    text[key.size] = 0;
    return text;
}

struct fake_row *fake_row(struct fake_cluster *cluster, const char *key)
{
    for (uint32_t i = 0; i < cluster->row_count; i++)
        if (strcmp(cluster->rows[i].key, key) == 0)
            return &cluster->rows[i];
    return NULL;
}

static void remove_row(struct fake_cluster *cluster, const char *key)
{
    struct fake_row *row = fake_row(cluster, key);
    if (!row)
        return;
    free(row->value);
    size_t after = (size_t)(cluster->rows + cluster->row_count - (row + 1));
    memmove(row, row + 1, after * sizeof *row);
    cluster->row_count--;
}

void fake_put(struct fake_cluster *cluster, const char *key, struct bytes value)
{
    remove_row(cluster, key);
    uint32_t at = 0;
    while (at < cluster->row_count && strcmp(cluster->rows[at].key, key) < 0)
        at++;
    CHECK(cluster->row_count < FAKE_ROWS_MAX && strlen(key) < sizeof cluster->rows[0].key);
    memmove(&cluster->rows[at + 1], &cluster->rows[at], (cluster->row_count - at) * sizeof cluster->rows[0]);
    cluster->row_count++;
    struct fake_row *row = &cluster->rows[at];
    *row = (struct fake_row){.value = malloc(value.size + 1), .size = value.size};
    strcpy(row->key, key);
    memcpy(row->value, value.data, value.size);
}

static struct bytes value_of(struct fake_cluster *cluster, struct bytes key)
{
    struct fake_row *row = fake_row(cluster, text_of(key));
    return row ? bytes_of(row->value, row->size) : bytes_empty();
}

static enum err write_rows(struct fake_cluster *cluster, const struct wire_kv_request *request,
                           struct wire_kv_reply *reply)
{
    cluster->executed++;
    switch (request->op) {
    case WIRE_KV_OP_PUT:
        fake_put(cluster, text_of(request->key), request->value);
        return ERR_OK;
    case WIRE_KV_OP_DELETE_KEY:
        remove_row(cluster, text_of(request->key));
        return ERR_OK;
    case WIRE_KV_OP_DELETE_RANGE:
        for (uint32_t i = cluster->row_count; i > 0; i--) {
            struct bytes key = bytes_of_string(cluster->rows[i - 1].key);
            if (bytes_compare(key, request->key) >= 0 && bytes_compare(key, request->end_key) < 0)
                remove_row(cluster, cluster->rows[i - 1].key);
        }
        return ERR_OK;
    case WIRE_KV_OP_CAS:
        reply->value = value_of(cluster, request->key);
        if (request->expected.data ? !reply->value.data || !bytes_equal(reply->value, request->expected)
                                   : reply->value.data != NULL)
            return ERR_CONDITION_FAILED;
        reply->value = bytes_empty();
        fake_put(cluster, text_of(request->key), request->value);
        return ERR_OK;
    default:
        for (uint32_t i = 0; i < request->pairs_count; i++)
            if (request->pairs[i].remove)
                remove_row(cluster, text_of(request->pairs[i].key));
            else
                fake_put(cluster, text_of(request->pairs[i].key), request->pairs[i].value);
        return ERR_OK;
    }
}

static enum err write_once(struct fake_cluster *cluster, const struct wire_kv_request *request,
                           struct wire_kv_reply *reply)
{
    CHECK(request->client_id != 0 && request->sequence != 0 && request->sequence_done <= request->sequence);
    for (uint32_t i = 0; i < cluster->token_count; i++)
        if (cluster->tokens[i].client_id == request->client_id && cluster->tokens[i].sequence == request->sequence)
            return cluster->tokens[i].code;
    enum err code = write_rows(cluster, request, reply);
    CHECK(cluster->token_count < FAKE_TOKENS_MAX);
    cluster->tokens[cluster->token_count].client_id = request->client_id;
    cluster->tokens[cluster->token_count].sequence = request->sequence;
    cluster->tokens[cluster->token_count++].code = code;
    return code;
}

static void scan(struct fake_cluster *cluster, const struct wire_kv_request *request, struct wire_kv_reply *reply,
                 struct wire_kv_pair *pairs)
{
    reply->pairs = pairs;
    for (uint32_t n = 0; n < cluster->row_count; n++) {
        const struct fake_row *row = &cluster->rows[request->reverse ? cluster->row_count - 1 - n : n];
        struct bytes key = bytes_of_string(row->key);
        struct bytes low = request->reverse ? request->end_key : request->key;
        struct bytes high = request->reverse ? request->key : request->end_key;
        if (bytes_compare(key, low) < 0 || bytes_compare(key, high) >= 0)
            continue;
        if (reply->pairs_count == request->limit) {
            reply->more = true;
            reply->next_key = request->reverse ? reply->pairs[reply->pairs_count - 1].key : key;
            return;
        }
        reply->pairs[reply->pairs_count++] = (struct wire_kv_pair){
            .key = key, .value = request->keys_only ? bytes_empty() : bytes_of(row->value, row->size)};
    }
}

static enum err serve(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request,
                      struct wire_kv_reply *reply, struct wire_kv_pair *pairs, struct wire_region *region)
{
    const struct fake_region *found = NULL;
    for (uint32_t i = 0; i < cluster->region_count; i++)
        if (cluster->regions[i].id == request->region_id)
            found = &cluster->regions[i];
    if (!found)
        return ERR_REGION_NOT_FOUND;
    if (request->epoch_version != found->epoch_version) {
        *region = region_of(found);
        reply->regions = region;
        reply->regions_count = 1;
        return ERR_EPOCH_NOT_MATCH;
    }
    for (uint32_t i = 0; i < request->pairs_count; i++)
        CHECK(holds(found, request->pairs[i].key, false));
    CHECK(holds(found, request->key, request->reverse) || request->pairs_count > 0);
    if (found->leader != store && request->read_mode != WIRE_READ_MODE_STALE) {
        reply->leader_store = found->leader;
        return ERR_NOT_LEADER;
    }
    switch (request->op) {
    case WIRE_KV_OP_GET:
        reply->value = value_of(cluster, request->key);
        return reply->value.data ? ERR_OK : ERR_NOT_FOUND;
    case WIRE_KV_OP_BATCH_GET:
        reply->pairs = pairs;
        reply->pairs_count = request->pairs_count;
        for (uint32_t i = 0; i < request->pairs_count; i++) {
            pairs[i] =
                (struct wire_kv_pair){.key = request->pairs[i].key, .value = value_of(cluster, request->pairs[i].key)};
            pairs[i].remove = !pairs[i].value.data;
        }
        return ERR_OK;
    case WIRE_KV_OP_SCAN:
        scan(cluster, request, reply, pairs);
        return ERR_OK;
    case WIRE_KV_OP_CHECKSUM: /* one row an answer: sum of the keys' second bytes */
        for (uint32_t i = 0; i < cluster->row_count; i++) {
            struct bytes key = bytes_of_string(cluster->rows[i].key);
            if (bytes_compare(key, request->key) < 0 || bytes_compare(key, request->end_key) >= 0)
                continue;
            reply->more = reply->rows == 1;
            reply->next_key = key;
            if (reply->more)
                break;
            reply->rows = 1;
            reply->checksum = (uint64_t)1 << (key.data[1] - 'a');
            reply->size = key.size - 1 + cluster->rows[i].size;
        }
        return ERR_OK;
    default:
        return write_once(cluster, request, reply);
    }
}

static void log_request(struct fake_cluster *cluster, uint64_t store, const struct wire_kv_request *request)
{
    CHECK(cluster->log_count < FAKE_LOG_MAX);
    cluster->log[cluster->log_count++] = (struct fake_request){
        .store = store,
        .id = request->id,
        .region_id = request->region_id,
        .client_id = request->client_id,
        .sequence = request->sequence,
        .sequence_done = request->sequence_done,
        .at_us = cluster->now_us,
        .op = request->op,
        .retry = request->retry,
        .deadline_ms = request->deadline_ms,
        .pair_count = request->pairs_count,
        .frame = cluster->frame_count,
    };
    if (request->op != WIRE_KV_OP_DELETE_RANGE)
        return;
    struct fake_request *logged = &cluster->log[cluster->log_count - 1];
    memcpy(logged->key, request->key.data, request->key.size < 31 ? request->key.size : 31);
    memcpy(logged->end_key, request->end_key.data, request->end_key.size < 31 ? request->end_key.size : 31);
}

static void answer_kv(struct fake_cluster *cluster, conn_id conn, const struct wire_kv_request *request)
{
    static struct wire_kv_pair pairs[FAKE_ROWS_MAX];
    struct wire_region region;
    uint64_t store = cluster->conns[conn].store;
    struct wire_kv_reply reply = {0};
    log_request(cluster, store, request);
    enum fake_fate fate = cluster->hook ? cluster->hook(cluster, store, request, &reply) : FAKE_SERVE;
    if (fate == FAKE_SERVE || fate == FAKE_EXECUTE_CUT)
        reply.code = (uint16_t)serve(cluster, store, request, &reply, pairs, &region);
    if (fate == FAKE_CUT || fate == FAKE_EXECUTE_CUT)
        end_conn(cluster, conn, ERR_CLOSED);
    if (fate == FAKE_DROP || cluster->conns[conn].ended || cluster->store_silent[store])
        return;
    reply.id = request->id;
    reply.action = (uint8_t)err_action((enum err)reply.code);
    struct wire_kv_reply_batch batch = {.replies = &reply, .replies_count = 1};
    add_event(cluster, (struct fake_event){.kind = EVENT_FRAME,
                                           .conn = conn,
                                           .frame = wire_frame_kv_reply_batch(FRAME_KV_REPLY, &batch)});
}

static enum err send_frame(struct transport *transport, conn_id conn, struct frame *take_frame)
{
    struct fake_cluster *cluster = of_transport(transport);
    struct arena arena;
    if (conn == 0 || cluster->conns[conn].ended || !cluster->conns[conn].open) {
        frame_unref(take_frame);
        return ERR_CLOSED;
    }
    arena_init(&arena);
    if (take_frame->kind == FRAME_PD_REQUEST) {
        struct wire_pd_request request;
        CHECK(wire_decode_pd_request(frame_bytes(take_frame), &arena, &request) == ERR_OK);
        if (!cluster->store_silent[0])
            answer_pd(cluster, conn, &request);
    } else {
        struct wire_kv_request_batch batch;
        CHECK(take_frame->kind == FRAME_KV_REQUEST);
        CHECK(wire_decode_kv_request_batch(frame_bytes(take_frame), &arena, &batch) == ERR_OK);
        cluster->frame_count++;
        for (uint32_t i = 0; i < batch.requests_count; i++)
            answer_kv(cluster, conn, &batch.requests[i]);
    }
    arena_fini(&arena);
    frame_unref(take_frame);
    return ERR_OK;
}

static const struct transport_ops transport_ops = {.dial = dial, .send = send_frame, .close = close_conn};

static void run_event(struct fake_cluster *cluster, struct fake_event *event)
{
    struct fake_conn *conn = &cluster->conns[event->conn];
    struct wire_hello hello = {
        .role = WIRE_ROLE_STORENODE, .cluster_id = 77, .node_id = conn->store, .version_min = 1, .version_max = 1};
    if (event->kind == EVENT_CLOSE) {
        conn->open = false;
        conn->ended = true;
        conn->told = true;
        conn->handler.on_close(conn->handler.context, event->conn, event->reason);
    } else if (event->kind == EVENT_OPEN && !conn->ended) {
        struct frame *frame = wire_frame_hello(FRAME_HELLO, &hello);
        conn->open = true;
        enum err code = conn->handler.on_open(conn->handler.context, event->conn, frame_bytes(frame), NULL);
        CHECK(code == ERR_OK);
        frame_unref(frame);
    } else if (event->kind == EVENT_FRAME && conn->open && !conn->ended) {
        CHECK(conn->handler.on_frame(conn->handler.context, event->conn, event->frame) == ERR_OK);
        event->frame = NULL;
    }
    frame_unref(event->frame);
    free(event);
}

/* ---- running */

static bool run_round(struct fake_cluster *cluster)
{
    struct message *message = cluster->first;
    if (!message)
        return false;
    cluster->first = NULL;
    cluster->last = &cluster->first;
    cluster->waiting = 0;
    while (message) {
        struct message *next = message->next;
        cluster->actor_ops->on_message(cluster->actor_state, message);
        message = next;
    }
    cluster->actor_ops->on_round(cluster->actor_state);
    client_check(cluster->client);
    return true;
}

static bool step(struct fake_cluster *cluster, uint64_t end_us)
{
    struct fake_event *event = cluster->events;
    if (event) {
        cluster->events = event->next;
        if (!cluster->events)
            cluster->events_last = &cluster->events;
        run_event(cluster, event);
        return true;
    }
    if (run_round(cluster))
        return true;
    struct fake_timer *timer = cluster->timers;
    if (!timer || timer->due_us > end_us)
        return false;
    cluster->timers = timer->next;
    if (timer->due_us > cluster->now_us)
        cluster->now_us = timer->due_us;
    post_must(&cluster->executor, NULL, timer->message);
    free(timer);
    return true;
}

void fake_run(struct fake_cluster *cluster, uint64_t us, const bool *until)
{
    uint64_t end_us = cluster->now_us + us;
    while (!(until && *until))
        if (!step(cluster, end_us)) {
            cluster->now_us = end_us;
            return;
        }
}

struct answer {
    bool came;
    struct polder_result *result;
};

static void take_answer(void *user, struct polder_result *take_result)
{
    struct answer *answer = user;
    CHECK(!answer->came);
    answer->came = true;
    answer->result = take_result;
}

struct polder_result *fake_call(struct fake_cluster *cluster, struct client_call call)
{
    struct answer answer = {0};
    call.done = take_answer;
    call.user = &answer;
    enum err code = client_submit(cluster->client, &call);
    CHECK(code == ERR_OK);
    fake_run(cluster, 60 * 1000000u, &answer.came);
    CHECK(answer.came);
    return answer.result;
}

/* ---- life */

struct fake_cluster *fake_new(uint32_t region_count)
{
    struct fake_cluster *cluster = calloc(1, sizeof *cluster);
    CHECK(cluster && region_count <= 12);
    cluster->executor.ops = &executor_ops;
    cluster->clock.now_us = now_us;
    cluster->transport.ops = &transport_ops;
    cluster->env = (struct env){
        .executor = &cluster->executor, .clock = &cluster->clock, .transport = &cluster->transport, .seed = 1};
    cluster->now_us = 1000000;
    cluster->last = &cluster->first;
    cluster->events_last = &cluster->events;
    for (uint32_t i = 0; i <= FAKE_STORES; i++)
        cluster->store_up[i] = true;
    cluster->region_count = region_count;
    for (uint32_t i = 0; i < region_count; i++) {
        struct fake_region *region = &cluster->regions[i];
        *region = (struct fake_region){.id = i + 1, .epoch_conf = 1, .epoch_version = 1, .leader = 1, .pd_leader = 1};
        if (i > 0)
            snprintf(region->start, sizeof region->start, "r%c", 'b' + 2 * (char)(i - 1));
        if (i + 1 < region_count)
            snprintf(region->end, sizeof region->end, "r%c", 'b' + 2 * (char)i);
    }
    return cluster;
}

void fake_open_client(struct fake_cluster *cluster, const struct client_options *options)
{
    struct client_options mine = options ? *options : (struct client_options){0};
    struct error err = {0};
    if (!mine.pd)
        mine.pd = "fake://pd";
    CHECK(client_new(&cluster->env, &mine, &cluster->client, &err) == ERR_OK);
}

void fake_split(struct fake_cluster *cluster, uint32_t index, const char *at, uint64_t new_id)
{
    struct fake_region *left = &cluster->regions[index];
    memmove(left + 1, left, (cluster->region_count - index) * sizeof *left);
    cluster->region_count++;
    struct fake_region *right = left + 1;
    strcpy(left->end, at);
    strcpy(right->start, at);
    right->id = new_id;
    right->epoch_version = ++left->epoch_version;
}

void fake_free(struct fake_cluster *cluster)
{
    cluster->stopped = true;
    for (struct message *message = cluster->first, *next; message; message = next) {
        next = message->next;
        message_free(message);
    }
    for (struct fake_timer *timer = cluster->timers, *next; timer; timer = next) {
        next = timer->next;
        message_free(timer->message);
        free(timer);
    }
    client_free(cluster->client);
    for (struct fake_event *event = cluster->events, *next; event; event = next) {
        next = event->next;
        frame_unref(event->frame);
        free(event);
    }
    /* The transport closes as the real one does: a last call for each connection that has not had it. */
    for (conn_id conn = 1; conn <= cluster->conn_count; conn++)
        if (!cluster->conns[conn].told)
            cluster->conns[conn].handler.on_close(cluster->conns[conn].handler.context, conn, ERR_CLOSED);
    for (uint32_t i = 0; i < cluster->row_count; i++)
        free(cluster->rows[i].value);
    free(cluster);
}
