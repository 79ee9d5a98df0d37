#include "pd_link.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "config/address.h"
#include "env/clock.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"
#include "storenode/peer_report.h"
#include "storenode/region_row.h"
#include "storenode/region_split.h"
#include "storenode/region_worker.h"
#include "storenode/slow_score.h"
#include "storenode/snapshot_send.h"
#include "storenode/store_keys.h"

enum pd_link_message { PD_LINK_LINKS, PD_LINK_TICK, PD_LINK_FRAME, PD_LINK_LOG_DONE, PD_LINK_IDS, PD_LINK_REGION };
enum state { STATE_START, STATE_REGISTER, STATE_IDENT, STATE_BOOTSTRAP, STATE_REGIONS, STATE_SERVING };
enum {
    TICK_MS = 50,
    ASK_INTERVAL_MS = 100,
    REOPEN_PAUSE_US = 100 * 1000,
    ANSWER_TIMEOUT_MS = 1000,
    NOT_READY_MAX = 4, /* in a row, of one endpoint: it may be the one that nobody talks to */
    STORES_INTERVAL_MS = 2000,
    IDENT_FORMAT = 1,
    MAILBOX_MAX = 4096,
    ID_STOCK_COUNT = 1024, /* asked for at once: a split need not wait for pd */
    ID_WAIT_MS = 5000,     /* then the split is given up */
    REGION_ASKS_MAX = 64,  /* more are asked another time */
};

struct pd_link {
    struct store *store;
    struct env *env;
    struct actor *actor;
    struct links *links;
    struct link *link; /* to the endpoint that is being used */
    uint32_t endpoint;
    uint32_t not_ready, failed; /* answers of this endpoint, endpoints: in a row */
    uint64_t open_at_us;        /* there is no link: not before */
    uint64_t opened_us;
    char endpoint_address[256];
    enum state state;
    uint64_t request_id; /* of the question under way; 0: none */
    uint64_t asked_us;   /* when it was sent */
    uint64_t ask_at_us;  /* not before */
    uint64_t heartbeat_at_us, stores_at_us, register_at_us;
    struct slow_score slow;
    bool registered; /* by this process: pd knows our address of today */
    uint8_t asked_op;
    region_id asked_region; /* if it was about one */
    uint64_t next_id, id_count;                /* the stock; what is left at the end of the process is never given */
    struct message *id_asks, **id_asks_last;   /* owned list: they wait for ids, the oldest first */
    region_id region_asks[REGION_ASKS_MAX]; /* what became of these? */
    uint32_t region_ask_count;
    char *status_address;            /* owned; as others reach it */
    uint64_t token;                  /* makes a repeated registration find the first one */
    struct regions_message *regions; /* owned: the first regions while their rows are being written */
    char refusal[256];               /* last one logged, so that it is said once */
};

struct frame_message {
    struct message message;
    struct frame *frame; /* owned */
};

/* ---- identity */

static struct bytes ident_key(void)
{
    return bytes_of("i", 1);
}

enum err pd_link_load_ident(struct engine *engine, struct wire_store_ident *ret_ident, struct error *err)
{
    struct buf value;
    struct arena arena;
    buf_init(&value, 4096);
    arena_init(&arena);
    enum err code = engine_get(engine, ENGINE_RAFT, ident_key(), &value, err);
    struct bytes row = buf_bytes(&value);
    if (code == ERR_OK && (row_unseal(&row, 'i') != ERR_OK || wire_decode_store_ident(row, &arena, ret_ident) != ERR_OK))
        code = error_set(err, ERR_CORRUPT, "store identity: bad checksum or size");
    if (code == ERR_OK && ret_ident->format > IDENT_FORMAT)
        code = error_set(err, ERR_VERSION, "store identity: format %u is newer than this binary's %d",
                         ret_ident->format, IDENT_FORMAT);
    arena_fini(&arena);
    buf_fini(&value);
    return code;
}

void pd_link_put_ident(struct engine *engine, struct engine_batch *batch, const struct wire_store_ident *ident)
{
    struct wire_store_ident current = *ident;
    current.format = IDENT_FORMAT;
    struct buf value;
    buf_init(&value, 4096);
    enum err code = wire_encode_store_ident(&current, &value);
    if (code == ERR_OK)
        code = row_seal(&value, 'i');
    CHECK(code == ERR_OK);
    engine_batch_put(engine, batch, ENGINE_RAFT, ident_key(), buf_bytes(&value));
    buf_fini(&value);
}

static void put_ident(struct pd_link *link, struct engine_batch *batch, bool bootstrapped)
{
    struct wire_store_ident ident = {.cluster_id = atomic_load(&link->store->cluster_id),
                                     .store_id = atomic_load(&link->store->store_id),
                                     .bootstrapped = bootstrapped,
                                     .token = link->token};
    pd_link_put_ident(link->env->engine, batch, &ident);
}

static void write_ident(struct pd_link *link)
{
    struct log_task *task = log_task_new(link->env, link->actor, PD_LINK_LOG_DONE);
    put_ident(link, task->batch, false);
    task->sync = true;
    link->state = STATE_IDENT;
    log_worker_post(link->store->log_worker, task);
}

/* ---- first regions */

static enum err put_region(struct pd_link *link, struct engine_batch *batch, const struct wire_route *route)
{
    struct engine *engine = link->env->engine;
    struct region *region;
    if (!route->region || region_from_wire(route->region, &region) != ERR_OK)
        return ERR_INVALID;
    const struct region_peer *local = region_peer_on_store(region, atomic_load(&link->store->store_id));
    enum err code = local ? region_put_new(engine, batch, region, local->id) : ERR_INVALID;
    region_free(region);
    return code;
}

/* All rows of all first regions and the mark that says so, in one synced write. */
static void write_regions(struct pd_link *link, struct regions_message *take_message)
{
    struct log_task *task = log_task_new(link->env, link->actor, PD_LINK_LOG_DONE);
    for (uint32_t i = 0; i < take_message->reply.routes_count; i++)
        if (put_region(link, task->batch, &take_message->reply.routes[i]) != ERR_OK) {
            log_event(link->env->log, LOG_ERROR,
                      "event=bad_region_from_pd msg=\"pd sent a region that is none, or not ours\"");
            log_task_free(task);
            message_free(&take_message->message);
            return;
        }
    put_ident(link, task->batch, true);
    task->sync = true;
    link->regions = take_message;
    link->state = STATE_REGIONS;
    log_worker_post(link->store->log_worker, task);
}

/* ---- messages to the workers */

static void free_regions(struct message *message)
{
    struct regions_message *regions = (struct regions_message *)message;
    frame_unref(regions->frame);
    arena_fini(&regions->message_arena);
    free(regions);
}

static struct regions_message *regions_message_new(uint32_t kind, struct frame *frame)
{
    struct regions_message *message = calloc(1, sizeof *message);
    CHECK(message);
    message->message = (struct message){.kind = kind, .free = free_regions};
    message->frame = frame_ref(frame);
    arena_init(&message->message_arena);
    if (wire_decode_pd_reply(frame_bytes(frame), &message->message_arena, &message->reply) != ERR_OK) {
        message_free(&message->message);
        return NULL;
    }
    return message;
}

static bool is_up(const struct pd_link *link)
{
    return link->link && link_is_up(link->link);
}

static void tell_workers(struct pd_link *link, uint32_t kind, struct frame *frame)
{
    for (uint32_t i = 0; i < link->store->worker_count; i++) {
        struct regions_message *message = regions_message_new(kind, frame);
        if (message)
            actor_post_must(link->env->executor, region_worker_actor(link->store->workers[i]), &message->message);
    }
}

static void free_plain(struct message *message)
{
    free(message);
}

static void tell_unknown(struct pd_link *link, region_id region)
{
    struct region_ask *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct region_ask){.message = {.kind = WORKER_REGION_UNKNOWN, .free = free_plain}, .region = region};
    struct region_worker *worker = link->store->workers[region % link->store->worker_count];
    actor_post_must(link->env->executor, region_worker_actor(worker), &message->message);
}

static void ask_workers_to_report(struct pd_link *link)
{
    for (uint32_t i = 0; i < link->store->worker_count; i++) {
        struct message *message = calloc(1, sizeof *message);
        CHECK(message);
        *message = (struct message){.kind = WORKER_HEARTBEAT_ALL, .free = free_plain};
        actor_post_must(link->env->executor, region_worker_actor(link->store->workers[i]), message);
    }
}

/* ---- questions */

static struct wire_store describe(const struct pd_link *link)
{
    const struct store_config *config = link->store->config;
    return (struct wire_store){
        .id = atomic_load(&link->store->store_id),
        .address = bytes_of_string(config->advertise_address ? config->advertise_address : config->address),
        .status_address = bytes_of_string(link->status_address),
        .version = bytes_of_string(POLDER_VERSION),
        .started_at_ms = link->store->started_at_ms};
}

static void ask(struct pd_link *link, struct wire_pd_request *request)
{
    link->request_id++;
    link->asked_op = request->op;
    link->asked_us = clock_now_us(link->env->clock);
    request->id = link->request_id;
    request->cluster_id = atomic_load(&link->store->cluster_id);
    request->store_id = atomic_load(&link->store->store_id);
    link->asked_region = request->region_id;
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, request);
    if (!frame || link_send(link->link, frame) != ERR_OK)
        link->asked_us = 0;
}

/* What has to be asked in this state; nothing while an answer or a write is under way. */
static void ask_next(struct pd_link *link, uint64_t now_us)
{
    struct wire_store store = describe(link);
    struct wire_pd_request request = {0};
    switch (link->state) {
    case STATE_START:
        request.op = WIRE_PD_OP_CLUSTER_INFO;
        break;
    case STATE_REGISTER:
        request.op = WIRE_PD_OP_REGISTER_STORE;
        request.store = &store;
        request.token = link->token;
        break;
    case STATE_BOOTSTRAP:
        request.op = WIRE_PD_OP_BOOTSTRAP_REGIONS;
        break;
    case STATE_SERVING:
        /* We may have moved while we were down; we serve whatever pd says to that. */
        if (!link->registered && now_us >= link->register_at_us) {
            link->register_at_us = now_us + STORES_INTERVAL_MS * 1000;
            request.op = WIRE_PD_OP_REGISTER_STORE;
            request.store = &store;
            request.token = link->token;
            break;
        }
        /* First: of the other questions there may be no end, and some end only when the stores have found each other. */
        if (now_us >= link->stores_at_us) {
            link->stores_at_us = now_us + STORES_INTERVAL_MS * 1000;
            request.op = WIRE_PD_OP_LIST_STORES;
        } else if (link->id_asks) {
            uint32_t count = ((const struct id_ask *)link->id_asks)->count;
            request.op = WIRE_PD_OP_ALLOC_ID;
            request.count = count > ID_STOCK_COUNT ? count : (uint32_t)ID_STOCK_COUNT;
        } else if (link->region_ask_count > 0) {
            request.op = WIRE_PD_OP_GET_REGION_BY_ID;
            request.region_id = link->region_asks[--link->region_ask_count];
        } else {
            return;
        }
        break;
    case STATE_IDENT:
    case STATE_REGIONS:
        return;
    }
    ask(link, &request);
}

static void send_store_heartbeat(struct pd_link *link)
{
    struct wire_store store = describe(link);
    struct engine_space space;
    engine_get_space(link->env->engine, &space);
    store.used_size = space.used_size;
    store.available_size = space.available_size;
    store.capacity_size = space.capacity_size;
    const struct write_counts *counts = log_worker_counts(link->store->log_worker);
    slow_score_look(&link->slow, atomic_load(&counts->writes), atomic_load(&counts->write_us));
    store.slow_score = link->slow.score;
    store.latency_us = link->slow.latency_us;
    store.snapshots_sending = atomic_load(&link->store->snapshots_out);
    store.snapshots_receiving = atomic_load(&link->store->snapshots_in);
    struct wire_pd_request request = {.op = WIRE_PD_OP_STORE_HEARTBEAT,
                                      .cluster_id = atomic_load(&link->store->cluster_id),
                                      .store_id = store.id,
                                      .store = &store};
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
    if (frame)
        (void)link_send(link->link, frame);
}

/* ---- ids */

static void end_id_ask(struct pd_link *link, enum err code)
{
    struct id_ask *ask = (struct id_ask *)link->id_asks;
    link->id_asks = ask->message.next;
    if (!link->id_asks)
        link->id_asks_last = &link->id_asks;
    ask->code = code;
    ask->message.next = NULL;
    ask->message.kind = ask->done_kind;
    struct region_worker *worker = link->store->workers[ask->region % link->store->worker_count];
    actor_post_must(link->env->executor, region_worker_actor(worker), &ask->message);
}

/* In order: who needs many is not passed by for ever. */
static void give_ids(struct pd_link *link, uint64_t now_us)
{
    while (link->id_asks) {
        struct id_ask *ask = (struct id_ask *)link->id_asks;
        uint32_t count = ask->count;
        if (count <= link->id_count) {
            ask->first_id = link->next_id;
            link->next_id += count;
            link->id_count -= count;
            end_id_ask(link, ERR_OK);
        } else if (now_us >= ask->since_us + ID_WAIT_MS * 1000)
            end_id_ask(link, ERR_NOT_READY);
        else
            return;
    }
}

/* ---- answers */

static void say_refusal(struct pd_link *link, enum err code, const char *text, size_t size)
{
    char line[sizeof link->refusal];
    snprintf(line, sizeof line, "%s: %.*s", err_name(code), (int)size, text);
    if (strcmp(line, link->refusal) == 0)
        return;
    memcpy(link->refusal, line, sizeof line);
    /* A directory of another cluster: refused at the start. Later it is pd that went wrong, not we. */
    if (code == ERR_CLUSTER_NOT_MATCH && !link->registered)
        store_fail(link->store, code, line);
    if (code == ERR_GIVEN_UP)
        store_fail(link->store, code, line);
    log_event(link->env->log, LOG_WARN, "event=pd_refused address=%s msg=\"%s\"", link->endpoint_address, line);
}

static void start_serving(struct pd_link *link)
{
    link->state = STATE_SERVING;
    link->stores_at_us = link->heartbeat_at_us = 0;
    atomic_store(&link->store->ready, true);
    log_event(link->env->log, LOG_INFO, "event=store_ready store=%llu cluster=%llu",
              (unsigned long long)atomic_load(&link->store->store_id),
              (unsigned long long)atomic_load(&link->store->cluster_id));
}

static void on_answer(struct pd_link *link, const struct wire_pd_reply *reply, struct frame *frame)
{
    switch (link->state) {
    case STATE_START:
        atomic_store(&link->store->cluster_id, reply->cluster_id);
        link->state = STATE_REGISTER;
        break;
    case STATE_REGISTER:
        atomic_store(&link->store->store_id, reply->store_id);
        link->registered = true;
        write_ident(link);
        break;
    case STATE_BOOTSTRAP: {
        struct regions_message *regions = reply->bootstrapped ? regions_message_new(WORKER_REGIONS, frame) : NULL;
        if (regions)
            write_regions(link, regions);
        break;
    }
    case STATE_SERVING:
        if (link->asked_op == WIRE_PD_OP_REGISTER_STORE)
            link->registered = true;
        else if (link->asked_op == WIRE_PD_OP_ALLOC_ID) {
            link->next_id = reply->first_id;
            link->id_count = reply->first_id > 0 ? reply->count : 0;
            give_ids(link, clock_now_us(link->env->clock));
        } else if (link->asked_op == WIRE_PD_OP_GET_REGION_BY_ID) {
            tell_workers(link, WORKER_REGION_SEEN, frame);
        } else {
            struct regions_message *stores = regions_message_new(WORKER_STORES, frame);
            tell_workers(link, WORKER_STORES, frame);
            if (stores)
                snapshot_sender_post_stores(link->store->snapshot_sender, stores);
        }
        break;
    case STATE_IDENT:
    case STATE_REGIONS:
        break;
    }
}

static void open_link(struct pd_link *link);
static void use_endpoint(struct pd_link *link, uint32_t endpoint, const char *address);

static void next_endpoint(struct pd_link *link)
{
    const struct store_config *config = link->store->config;
    uint32_t next = (link->endpoint + 1) % config->pd_count;
    if (config->pd_count > 1 || strcmp(link->endpoint_address, config->pd[0]) != 0)
        use_endpoint(link, next, config->pd[next]);
}

/* It does not lead, or nobody does, or it cannot know. */
static void follow(struct pd_link *link, const struct wire_pd_reply *reply)
{
    char address[sizeof link->endpoint_address];
    link->not_ready++;
    /* Asked again soon: the leader that is cut off from the other members says this, and somebody else leads. */
    if (reply->code == ERR_NOT_LEADER || reply->code == ERR_NOT_READY)
        link->stores_at_us = 0;
    if (reply->code == ERR_NOT_LEADER && reply->leader_address.size > 0 && reply->leader_address.size < sizeof address) {
        snprintf(address, sizeof address, "%.*s", (int)reply->leader_address.size,
                 (const char *)reply->leader_address.data);
        use_endpoint(link, link->endpoint, address);
    } else if (reply->code == ERR_NOT_LEADER || (reply->code == ERR_NOT_READY && link->not_ready >= NOT_READY_MAX)) {
        next_endpoint(link);
    }
}

static void on_frame(void *context, struct link *from, struct frame *take_frame)
{
    struct pd_link *link = context;
    struct arena arena;
    struct wire_pd_reply reply;
    arena_init(&arena);
    bool readable =
        take_frame->kind == FRAME_PD_REPLY && wire_decode_pd_reply(frame_bytes(take_frame), &arena, &reply) == ERR_OK;
    if (readable && reply.steps_count > 0)
        tell_workers(link, WORKER_STEPS, take_frame);
    if (readable && reply.report != 0)
        peer_report_begin(link->store, reply.report);
    if (!readable)
        link_reset(from);
    else if (reply.id == link->request_id && link->asked_us != 0) {
        uint64_t now_us = clock_now_us(link->env->clock);
        link->asked_us = 0;
        link->ask_at_us = now_us + ASK_INTERVAL_MS * 1000;
        if (reply.code == ERR_REGION_NOT_FOUND && link->asked_op == WIRE_PD_OP_GET_REGION_BY_ID) {
            link->ask_at_us = now_us; /* whoever wants to know asks again */
            tell_unknown(link, link->asked_region);
        } else if (reply.code == ERR_OK) {
            link->ask_at_us = link->state == STATE_BOOTSTRAP && !reply.bootstrapped ? link->ask_at_us : now_us;
            link->refusal[0] = '\0';
            link->not_ready = link->failed = 0;
            on_answer(link, &reply, take_frame);
        } else {
            say_refusal(link, (enum err)reply.code, (const char *)reply.text.data, reply.text.size);
            follow(link, &reply);
        }
    } else if (reply.id == 0 && reply.code != ERR_OK) { /* of a heartbeat */
        say_refusal(link, (enum err)reply.code, (const char *)reply.text.data, reply.text.size);
        if (reply.code == ERR_NOT_LEADER)
            follow(link, &reply);
    }
    arena_fini(&arena);
    frame_unref(take_frame);
}

/* ---- the connection */

static void open_link(struct pd_link *link)
{
    link->opened_us = clock_now_us(link->env->clock);
    link->link = link_open(link->links, link->endpoint_address, 0, NULL);
}

static void use_endpoint(struct pd_link *link, uint32_t endpoint, const char *address)
{
    if (link->link)
        link_close(link->link);
    link->endpoint = endpoint;
    snprintf(link->endpoint_address, sizeof link->endpoint_address, "%s", address);
    link->asked_us = 0;
    link->not_ready = 0;
    /* The first round over all of them is quick, later ones are not. */
    uint64_t pause_us = link->failed < 2 * link->store->config->pd_count ? 0 : REOPEN_PAUSE_US;
    link->link = NULL;
    link->open_at_us = clock_now_us(link->env->clock) + pause_us;
    if (pause_us == 0)
        open_link(link);
}

static void on_up(void *context, struct link *up, const struct wire_hello *hello)
{
    struct pd_link *link = context;
    uint64_t cluster = atomic_load(&link->store->cluster_id);
    if (hello->role != WIRE_ROLE_PD || (cluster != 0 && hello->cluster_id != 0 && hello->cluster_id != cluster)) {
        char text[160];
        snprintf(text, sizeof text, "that is not pd of our cluster %llu but of %llu", (unsigned long long)cluster,
                 (unsigned long long)hello->cluster_id);
        say_refusal(link, ERR_CLUSTER_NOT_MATCH, text, strlen(text));
        link_reset(up);
        return;
    }
    link->asked_us = 0;
    link->ask_at_us = 0;
    link->heartbeat_at_us = 0;
    if (link->state == STATE_SERVING)
        ask_workers_to_report(link); /* a pd that has just started knows no leaders */
}

static void on_down(void *context, struct link *down, bool was_up, enum err code, const char *text)
{
    (void)down;
    (void)was_up;
    struct pd_link *link = context;
    say_refusal(link, code, text ? text : "", text ? strlen(text) : 0);
    link->asked_us = 0;
    link->failed++;
    next_endpoint(link);
}

/* ---- the actor */

static void post_tick(struct pd_link *link)
{
    struct message *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct message){.kind = PD_LINK_TICK, .free = free_plain};
    actor_post_after(link->env->executor, link->actor, TICK_MS * 1000, message);
}

static void start_links(struct pd_link *link)
{
    struct wire_hello hello = {.role = WIRE_ROLE_STORENODE,
                               .cluster_id = atomic_load(&link->store->cluster_id),
                               .node_id = atomic_load(&link->store->store_id),
                               .version_min = PROTOCOL_VERSION_MIN,
                               .version_max = PROTOCOL_VERSION,
                               .build = bytes_of_string(POLDER_VERSION)};
    struct links_options options = {.pause_min_us = 20000, .pause_max_us = 500000};
    struct links_handler handler = {.context = link, .on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    link->links = links_new(link->env, link->actor, PD_LINK_LINKS, &hello, &options, &handler);
    use_endpoint(link, 0, link->store->config->pd[0]);
}

/* Here, because this actor may wait for the system and has a timer. */
static void look_at_disk(struct pd_link *link)
{
    struct store *store = link->store;
    struct engine_space space;
    engine_get_space(link->env->engine, &space);
    if (!disk_guard_look(&store->disk_guard, &space, store->config->disk_reserve_size))
        return;
    bool low = disk_guard_is_low(&store->disk_guard);
    log_event(link->env->log, low ? LOG_WARN : LOG_INFO, "event=%s free=%llu capacity=%llu%s",
              low ? "disk_low" : "disk_not_low", (unsigned long long)space.available_size,
              (unsigned long long)space.capacity_size, low ? " msg=\"only reads and deletes are taken\"" : "");
}

static void on_tick(struct pd_link *link)
{
    uint64_t now_us = clock_now_us(link->env->clock);
    look_at_disk(link);
    give_ids(link, now_us);
    if (!link->links)
        start_links(link);
    if (!link->link && now_us >= link->open_at_us)
        open_link(link);
    links_tick(link->links);
    if (link->asked_us != 0 && now_us >= link->asked_us + ANSWER_TIMEOUT_MS * 1000) {
        link->asked_us = 0;
        if (link->link)
            link_reset(link->link); /* it is up and says nothing */
    } else if (link->link && !is_up(link) && now_us >= link->opened_us + ANSWER_TIMEOUT_MS * 1000) {
        link->failed++;
        next_endpoint(link); /* nobody takes the call */
    }
    if (is_up(link)) {
        if (link->asked_us == 0 && now_us >= link->ask_at_us)
            ask_next(link, now_us);
        if (link->state == STATE_SERVING && now_us >= link->heartbeat_at_us) {
            link->heartbeat_at_us = now_us + link->store->config->store_heartbeat_ms * 1000;
            send_store_heartbeat(link);
        }
    }
    post_tick(link);
}

static void on_log_done(struct pd_link *link, struct log_task *take_task)
{
    if (take_task->result != ERR_OK)
        store_fail(link->store, take_task->result, take_task->error.text);
    else if (link->state == STATE_IDENT)
        link->state = STATE_BOOTSTRAP;
    else if (link->state == STATE_REGIONS) {
        tell_workers(link, WORKER_REGIONS, link->regions->frame);
        message_free(&link->regions->message);
        link->regions = NULL;
        start_serving(link);
    }
    log_task_free(take_task);
}

static void on_message(void *state, struct message *take_message)
{
    struct pd_link *link = state;
    switch ((enum pd_link_message)take_message->kind) {
    case PD_LINK_LINKS:
        links_on_message(link->links, take_message);
        /* An answer may allow the next question at once: a first start is five of them. */
        if (is_up(link) && (link->state != STATE_SERVING || link->id_asks) && link->asked_us == 0 &&
            clock_now_us(link->env->clock) >= link->ask_at_us)
            ask_next(link, clock_now_us(link->env->clock));
        break;
    case PD_LINK_TICK:
        message_free(take_message);
        on_tick(link);
        break;
    case PD_LINK_FRAME: {
        struct frame_message *message = (struct frame_message *)take_message;
        if (link->links && is_up(link)) {
            (void)link_send(link->link, message->frame);
            message->frame = NULL;
        }
        message_free(take_message);
        break;
    }
    case PD_LINK_IDS:
        take_message->next = NULL;
        *link->id_asks_last = take_message;
        link->id_asks_last = &take_message->next;
        give_ids(link, clock_now_us(link->env->clock));
        if (link->id_asks && link->links && is_up(link) && link->asked_us == 0)
            ask_next(link, clock_now_us(link->env->clock));
        break;
    case PD_LINK_REGION:
        if (link->region_ask_count < REGION_ASKS_MAX)
            link->region_asks[link->region_ask_count++] = ((struct region_ask *)take_message)->region;
        message_free(take_message);
        break;
    case PD_LINK_LOG_DONE:
        on_log_done(link, (struct log_task *)take_message);
        break;
    }
}

static void free_frame_message(struct message *message)
{
    frame_unref(((struct frame_message *)message)->frame);
    free(message);
}

void pd_link_post(struct pd_link *link, struct frame *take_frame)
{
    struct frame_message *message = calloc(1, sizeof *message);
    CHECK(message);
    message->message = (struct message){.kind = PD_LINK_FRAME, .free = free_frame_message};
    message->frame = take_frame;
    if (actor_post(link->env->executor, link->actor, &message->message) != ERR_OK)
        message_free(&message->message); /* the next report says it again */
}

void pd_link_ask_region(struct pd_link *link, region_id region)
{
    struct region_ask *ask = calloc(1, sizeof *ask);
    CHECK(ask);
    *ask = (struct region_ask){.message = {.kind = PD_LINK_REGION, .free = free_plain}, .region = region};
    if (actor_post(link->env->executor, link->actor, &ask->message) != ERR_OK)
        message_free(&ask->message); /* it is asked again */
}

void pd_link_ask_ids(struct pd_link *link, struct id_ask *take_ask)
{
    take_ask->message.kind = PD_LINK_IDS;
    actor_post_must(link->env->executor, link->actor, &take_ask->message);
}

enum err pd_link_new(struct store *store, const struct wire_store_ident *ident, struct pd_link **ret_link)
{
    static const struct actor_ops ops = {.on_message = on_message};
    struct pd_link *link = calloc(1, sizeof *link);
    CHECK(link);
    link->store = store;
    link->env = store->env;
    link->state = ident->bootstrapped ? STATE_SERVING : ident->store_id != 0 ? STATE_BOOTSTRAP : STATE_START;
    link->token = ident->token;
    link->id_asks_last = &link->id_asks;
    const struct store_config *config = store->config;
    link->status_address = address_advertise_status(
        config->status_address, config->advertise_address ? config->advertise_address : config->address);
    enum err code = executor_spawn(store->env->executor, "pd-link", &ops, link, MAILBOX_MAX, &link->actor);
    if (code != ERR_OK) {
        free(link->status_address);
        free(link);
        return code;
    }
    *ret_link = link;
    return ERR_OK;
}

void pd_link_start(struct pd_link *link)
{
    struct message *message = calloc(1, sizeof *message);
    CHECK(message);
    *message = (struct message){.kind = PD_LINK_TICK, .free = free_plain};
    actor_post_must(link->env->executor, link->actor, message);
}

void pd_link_free(struct pd_link *link)
{
    if (!link)
        return;
    links_free(link->links);
    while (link->id_asks) {
        struct message *message = link->id_asks;
        link->id_asks = message->next;
        message_free(message);
    }
    if (link->regions)
        message_free(&link->regions->message);
    free(link->status_address);
    free(link);
}
