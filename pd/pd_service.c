#include "pd/pd_service.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "env/clock.h"
#include "pd/pd_members.h"
#include "pd/pd_op.h"
#include "pd/pd_writes.h"

enum {
    WAIT_LEADER_MS = 50,     /* an election, or the start of a lone member */
    WAIT_BOOTSTRAP_MS = 100, /* stores are starting */
    WAIT_GAP_MS = 50,        /* the other half of a split is being reported */
    WAIT_QUEUE_MS = 10,
};

struct pd_service {
    struct env *env;
    const struct pd_config *config;
    struct pd_fsm *fsm;
    struct cluster *cluster;  /* owned */
    struct pd_sched *sched;   /* owned */
    struct pd_writes *writes; /* owned */
    struct pd_service_host host;
    bool leading;
    uint64_t leader_id;         /* 0: not known */
    char *leader_address;       /* owned; NULL: it is this one, or not known */
    uint64_t fresh_us;          /* see pd_service_set_fresh */
    struct list queued, sealed; /* of struct pd_op */
    uint32_t queued_count;
    struct pd_service_counts counts;
    uint32_t aged_count; /* the first of the queue, there at the last tick already */
};

/* ---- answers */

static void send_reply(struct pd_service *service, conn_id conn, uint64_t id, struct wire_pd_reply *reply)
{
    reply->id = id;
    reply->action = (uint8_t)err_action((enum err)reply->code);
    reply->cluster_id = pd_fsm_cluster_id(service->fsm);
    reply->bootstrapped = pd_fsm_bootstrapped(service->fsm);
    reply->region_count = region_tree_count(pd_fsm_regions(service->fsm));
    reply->revision = pd_fsm_applied_index(service->fsm);
    reply->store_count_wanted = service->config->bootstrap_stores;
    if (reply->stale)
        reply->lag_ms = (clock_now_us(service->env->clock) - service->fresh_us) / 1000;
    if (reply->code == ERR_NOT_LEADER && service->leader_address)
        reply->leader_address = bytes_of_string(service->leader_address);
    service->host.send(service->host.context, conn, reply);
}

/* The end of every request. */
static void answer(void *context, struct pd_op *take_op, struct wire_pd_reply *reply)
{
    send_reply(context, take_op->conn, take_op->request.id, reply);
    pd_op_free(take_op);
}

static void refuse(struct pd_service *service, struct pd_op *take_op, enum err code, uint32_t wait_ms, const char *text)
{
    struct wire_pd_reply reply = {.code = (uint16_t)code, .wait_ms = wait_ms, .text = bytes_of_string(text)};
    answer(service, take_op, &reply);
}

static void refuse_not_leading(struct pd_service *service, struct pd_op *take_op)
{
    if (service->leader_address)
        refuse(service, take_op, ERR_NOT_LEADER, 0, "this member of pd does not lead");
    else
        refuse(service, take_op, ERR_NOT_READY, WAIT_LEADER_MS, "pd has no leader yet");
}

/* ---- reads */

/* Only the leader knows. */
static void mark_active(struct pd_service *service, struct wire_pd_member *members, uint32_t count)
{
    struct raft_status status;
    if (!service->leading || !service->host.status)
        return;
    service->host.status(service->host.context, &status);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < status.peer_count; k++)
            if (status.peers[k].id == members[i].id)
                members[i].active = status.peers[k].recent_active || members[i].id == status.id;
}

static void cluster_info(struct pd_service *service, struct pd_op *take_op)
{
    struct wire_pd_member members[PD_FSM_MEMBERS_MAX];
    struct wire_pd_reply reply = {.members = members, .members_count = pd_fsm_member_count(service->fsm)};
    for (uint32_t i = 0; i < reply.members_count; i++) {
        const struct pd_member *member = pd_fsm_member_at(service->fsm, i);
        members[i] =
            (struct wire_pd_member){.id = member->id,
                                    .name = bytes_of_string(member->name),
                                    .address = bytes_of_string(pd_members_address(service->config, member)),
                                    .leader = member->id == service->leader_id,
                                    .learner = member->learner};
        if (members[i].leader)
            reply.leader_address = members[i].address;
    }
    mark_active(service, members, reply.members_count);
    answer(service, take_op, &reply);
}

static void take_store_heartbeat(struct pd_service *service, struct pd_op *take_op)
{
    const struct wire_store *store = take_op->request.store;
    if (!store || store->id == 0) {
        refuse(service, take_op, ERR_INVALID, 0, "a store heartbeat without a store");
        return;
    }
    struct error error = {0};
    struct wire_pd_reply reply = {0};
    enum err code = cluster_store_heartbeat(service->cluster, store, clock_now_us(service->env->clock));
    if (code == ERR_OK) {
        pd_sched_store_heartbeat(service->sched, store, &take_op->arena, &reply);
        answer(service, take_op, &reply);
        return;
    }
    error_set(&error, code, "cluster %llu has no store %llu", (unsigned long long)pd_fsm_cluster_id(service->fsm),
              (unsigned long long)store->id);
    refuse(service, take_op, code, 0, error.text);
}

static void list_stores(struct pd_service *service, struct pd_op *take_op)
{
    uint64_t now_us = clock_now_us(service->env->clock);
    uint32_t count = pd_fsm_store_count(service->fsm);
    struct wire_store *stores = arena_alloc(&take_op->arena, (count + 1) * sizeof(*stores));
    for (uint32_t i = 0; i < count; i++) {
        const struct pd_store *store = pd_fsm_store_at(service->fsm, i);
        stores[i] = (struct wire_store){.id = store->id,
                                        .address = bytes_of_string(store->address),
                                        .status_address = bytes_of_string(store->status_address),
                                        .version = bytes_of_string(store->version),
                                        .started_at_ms = store->started_at_ms,
                                        .capacity_size = store->capacity_size};
        cluster_fill_store(service->cluster, &stores[i], now_us);
        stores[i].lost = pd_sched_store_is_lost(service->sched, store->id);
    }
    struct wire_pd_reply reply = {.stores = stores, .stores_count = count};
    answer(service, take_op, &reply);
}

/* Memory is the op's arena's; keys are borrowed from the node. */
static void put_route(struct pd_service *service, struct arena *arena, struct region_node *node,
                      struct wire_route *ret_route)
{
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    struct wire_region *region = arena_alloc(arena, sizeof(*region));
    cluster_route(service->cluster, node, peers, region, ret_route);
    region->peers = arena_alloc(arena, region->peers_count * sizeof(*peers));
    memcpy(region->peers, peers, region->peers_count * sizeof(*peers));
}

static void answer_one_region(struct pd_service *service, struct pd_op *take_op, struct region_node *node)
{
    if (!node) {
        struct wire_pd_reply none = {.code = ERR_REGION_NOT_FOUND,
                                     .wait_ms = WAIT_GAP_MS,
                                     .text = bytes_of_string("no region covers this just now"),
                                     .stale = !service->leading};
        answer(service, take_op, &none);
        return;
    }
    struct wire_route route;
    put_route(service, &take_op->arena, node, &route);
    struct wire_pd_reply reply = {.routes = &route, .routes_count = 1, .stale = !service->leading};
    answer(service, take_op, &reply);
}

static void get_region(struct pd_service *service, struct pd_op *take_op)
{
    const struct region_tree *regions = pd_fsm_regions(service->fsm);
    struct bytes key = take_op->request.key;
    answer_one_region(service, take_op,
                      take_op->request.reverse ? region_tree_find_previous(regions, key)
                                               : region_tree_find(regions, key));
}

static void get_region_by_id(struct pd_service *service, struct pd_op *take_op)
{
    answer_one_region(service, take_op, region_tree_find_id(pd_fsm_regions(service->fsm), take_op->request.region_id));
}

/* Roughly what a route takes on the wire. */
static size_t route_size(const struct wire_route *route)
{
    return 96 + route->region->start_key.size + route->region->end_key.size + 32 * (size_t)route->region->peers_count;
}

struct route_list {
    struct wire_route *routes; /* of the op's arena */
    uint32_t count, capacity;
    size_t size;
};

static struct wire_route *route_list_add(struct route_list *list, struct arena *arena)
{
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? 2 * list->capacity : 64;
        struct wire_route *routes = arena_alloc(arena, capacity * sizeof(*routes));
        if (list->count)
            memcpy(routes, list->routes, list->count * sizeof(*routes));
        list->routes = routes;
        list->capacity = capacity;
    }
    return &list->routes[list->count++];
}

static uint32_t limit_of(const struct wire_pd_request *request, uint32_t limit_default)
{
    uint32_t limit = request->limit ? request->limit : limit_default;
    return limit < PD_SCAN_LIMIT_MAX ? limit : PD_SCAN_LIMIT_MAX;
}

static void scan_regions(struct pd_service *service, struct pd_op *take_op)
{
    const struct wire_pd_request *request = &take_op->request;
    const struct region_tree *regions = pd_fsm_regions(service->fsm);
    uint32_t limit = limit_of(request, PD_SCAN_LIMIT_DEFAULT);
    struct route_list list = {0};
    for (struct region_node *node = region_tree_seek(regions, request->key);
         node && list.count < limit && list.size < PD_REPLY_SIZE_MAX; node = region_tree_next(regions, node)) {
        if (request->end_key.size > 0 && bytes_compare(region_node_start(node), request->end_key) >= 0)
            break;
        struct wire_route *route = route_list_add(&list, &take_op->arena);
        put_route(service, &take_op->arena, node, route);
        list.size += route_size(route);
    }
    struct wire_pd_reply reply = {.routes = list.routes, .routes_count = list.count, .stale = !service->leading};
    answer(service, take_op, &reply);
}

static bool has_first_epoch(const struct region_node *node)
{
    return region_node_conf(node) == 1 && region_node_version(node) == 1;
}

static void bootstrap_regions(struct pd_service *service, struct pd_op *take_op)
{
    const struct wire_pd_request *request = &take_op->request;
    const struct region_tree *regions = pd_fsm_regions(service->fsm);
    if (!pd_fsm_find_store(service->fsm, request->store_id)) {
        refuse(service, take_op, ERR_STORE_NOT_MATCH, 0, "no such store; register first");
        return;
    }
    /* A store that waits for its first regions has no heartbeats to send yet: this question is one. */
    cluster_store_registered(service->cluster, request->store_id, clock_now_us(service->env->clock));
    pd_sched_store_registered(service->sched, request->store_id);
    struct route_list list = {0};
    uint32_t limit = limit_of(request, PD_SCAN_LIMIT_MAX);
    struct region_node *node = pd_fsm_bootstrapped(service->fsm) ? region_tree_seek(regions, request->key) : NULL;
    for (; node && list.count < limit && list.size < PD_FIRST_REGIONS_SIZE_MAX;
         node = region_tree_next(regions, node)) {
        if (!has_first_epoch(node) || !region_node_has_store(node, request->store_id))
            continue;
        struct wire_route *route = route_list_add(&list, &take_op->arena);
        put_route(service, &take_op->arena, node, route);
        route->leader_peer = region_node_first_peer(node);
        route->leader_store = region_node_store_of(node, route->leader_peer);
        list.size += route_size(route);
    }
    struct wire_pd_reply reply = {.store_id = request->store_id, .routes = list.routes, .routes_count = list.count};
    if (!pd_fsm_bootstrapped(service->fsm))
        reply.wait_ms = WAIT_BOOTSTRAP_MS;
    answer(service, take_op, &reply);
}

/* ---- dispatch */

static bool needs_regions(uint8_t op)
{
    return op == WIRE_PD_OP_GET_REGION || op == WIRE_PD_OP_GET_REGION_BY_ID || op == WIRE_PD_OP_SCAN_REGIONS ||
           op == WIRE_PD_OP_REGION_HEARTBEAT;
}

static void count_request(struct pd_service_counts *counts, const struct wire_pd_request *request)
{
    counts->requests++;
    counts->store_heartbeats += request->op == WIRE_PD_OP_STORE_HEARTBEAT;
    if (request->op == WIRE_PD_OP_REGION_HEARTBEAT)
        counts->region_heartbeats += request->heartbeats_count;
    else if (request->op == WIRE_PD_OP_TIMESTAMP)
        counts->timestamps += request->count;
}

static void transfer_leader(struct pd_service *service, struct pd_op *take_op)
{
    uint64_t wanted = take_op->request.member ? take_op->request.member->id : 0;
    struct raft_status status;
    service->host.status(service->host.context, &status);
    uint64_t successor = wanted == status.id ? wanted : pd_members_successor(&status, wanted);
    enum err code = successor == 0           ? ERR_INVALID
                    : successor == status.id ? ERR_OK
                                             : service->host.transfer(service->host.context, successor);
    refuse(service, take_op, code, 0,
           code == ERR_OK        ? ""
           : code == ERR_INVALID ? "no such member that votes and can be heard"
                                 : "leadership is being handed over already");
}

static bool may_be_stale(const struct pd_service *service, const struct wire_pd_request *request)
{
    return request->stale && service->fresh_us != 0 && pd_fsm_bootstrapped(service->fsm) &&
           (request->op == WIRE_PD_OP_GET_REGION || request->op == WIRE_PD_OP_GET_REGION_BY_ID ||
            request->op == WIRE_PD_OP_SCAN_REGIONS);
}

static void handle(struct pd_service *service, struct pd_op *take_op)
{
    count_request(&service->counts, &take_op->request);
    switch (take_op->request.op) {
    case WIRE_PD_OP_REGISTER_STORE:
        pd_writes_register_store(service->writes, take_op);
        break;
    case WIRE_PD_OP_STORE_HEARTBEAT:
        take_store_heartbeat(service, take_op);
        break;
    case WIRE_PD_OP_REGION_HEARTBEAT:
        pd_writes_region_heartbeat(service->writes, take_op);
        break;
    case WIRE_PD_OP_BOOTSTRAP_REGIONS:
        bootstrap_regions(service, take_op);
        break;
    case WIRE_PD_OP_GET_REGION:
        get_region(service, take_op);
        break;
    case WIRE_PD_OP_GET_REGION_BY_ID:
        get_region_by_id(service, take_op);
        break;
    case WIRE_PD_OP_SCAN_REGIONS:
        scan_regions(service, take_op);
        break;
    case WIRE_PD_OP_LIST_STORES:
        list_stores(service, take_op);
        break;
    case WIRE_PD_OP_ALLOC_ID:
        pd_writes_alloc_id(service->writes, take_op);
        break;
    case WIRE_PD_OP_TIMESTAMP:
        pd_writes_timestamp(service->writes, take_op);
        break;
    case WIRE_PD_OP_ADD_MEMBER:
    case WIRE_PD_OP_REMOVE_MEMBER:
        pd_writes_member(service->writes, take_op);
        break;
    case WIRE_PD_OP_TRANSFER_LEADER:
        transfer_leader(service, take_op);
        break;
    case WIRE_PD_OP_PEER_REPORT:
        send_reply(service, take_op->conn, take_op->request.id, &(struct wire_pd_reply){0});
        pd_sched_peer_report(service->sched, take_op);
        break;
    default:
        check_failed(__FILE__, __LINE__, "check_request refuses what is not above");
    }
}

/* What is wrong with a request whoever leads. ERR_OK: nothing, so far as our own cluster id is known yet. */
static enum err check_request(const struct pd_service *service, const struct wire_pd_request *request,
                              struct error *err)
{
    uint64_t own = pd_fsm_cluster_id(service->fsm);
    if (request->op == WIRE_PD_OP_NONE || request->op > WIRE_PD_OP_PEER_REPORT)
        return error_set(err, ERR_UNSUPPORTED, "this pd does not know operation %u", request->op);
    if (own != 0 && request->cluster_id != 0 && request->cluster_id != own)
        return error_set(err, ERR_CLUSTER_NOT_MATCH, "this is cluster %llu, the request is for cluster %llu",
                         (unsigned long long)own, (unsigned long long)request->cluster_id);
    if (request->key.size > REGION_KEY_SIZE_MAX || request->end_key.size > REGION_KEY_SIZE_MAX)
        return error_set(err, ERR_KEY_TOO_LARGE, "a key of %zu bytes is over the limit of %d",
                         request->key.size > request->end_key.size ? request->key.size : request->end_key.size,
                         REGION_KEY_SIZE_MAX);
    return ERR_OK;
}

/* It has forgotten nothing and knows nothing: what it promised others is not worth anything any more. */
static bool is_lost(const struct pd_service *service, const struct wire_pd_request *request)
{
    return request->store_id != 0 && pd_sched_store_is_lost(service->sched, request->store_id) &&
           !BUG(lost_store_comes_back);
}

static void run_one(struct pd_service *service, struct pd_op *take_op)
{
    struct error error = {0};
    list_remove(&take_op->link);
    enum err code = check_request(service, &take_op->request, &error);
    if (code != ERR_OK) {
        refuse(service, take_op, code, 0, error.text);
    } else if (take_op->request.op == WIRE_PD_OP_CLUSTER_INFO && pd_fsm_cluster_id(service->fsm) != 0) {
        cluster_info(service, take_op);
    } else if (!service->leading && !may_be_stale(service, &take_op->request) &&
               !(BUG(pd_follower_tso) && take_op->request.op == WIRE_PD_OP_TIMESTAMP)) {
        refuse_not_leading(service, take_op);
    } else if (needs_regions(take_op->request.op) && !pd_fsm_bootstrapped(service->fsm)) {
        error_set(&error, ERR_NOT_READY, "there are no regions yet: %u of %u stores have registered",
                  pd_fsm_store_count(service->fsm), service->config->bootstrap_stores);
        refuse(service, take_op, ERR_NOT_READY, WAIT_BOOTSTRAP_MS, error.text);
    } else if (is_lost(service, &take_op->request)) {
        error_set(&error, ERR_GIVEN_UP, "store %llu was declared lost for good (unsafe recover): it may not come back",
                  (unsigned long long)take_op->request.store_id);
        refuse(service, take_op, ERR_GIVEN_UP, 0, error.text);
    } else {
        handle(service, take_op);
    }
}

void pd_service_request(struct pd_service *service, conn_id conn, struct frame *take_frame)
{
    struct pd_op *op = pd_op_new(conn, take_frame);
    if (!op) {
        struct wire_pd_reply reply = {.code = ERR_INVALID, .text = bytes_of_string("malformed request")};
        send_reply(service, conn, 0, &reply);
        return;
    }
    bool at_once = service->leader_address != NULL || (!service->leading && may_be_stale(service, &op->request)) ||
                   (op->request.op == WIRE_PD_OP_CLUSTER_INFO && pd_fsm_cluster_id(service->fsm) != 0);
    if (at_once) {
        run_one(service, op);
    } else if (service->queued_count >= PD_QUEUE_MAX) {
        refuse(service, op, ERR_BUSY, WAIT_QUEUE_MS, "too many requests wait");
    } else {
        list_push_back(&service->queued, &op->link);
        service->queued_count++;
    }
}

static void seal(struct pd_service *service)
{
    CHECK(list_is_empty(&service->sealed) && !list_is_empty(&service->queued));
    service->sealed = service->queued;
    service->sealed.next->previous = service->sealed.previous->next = &service->sealed;
    list_init(&service->queued);
    service->queued_count = service->aged_count = 0;
}

bool pd_service_seal(struct pd_service *service)
{
    if (!list_is_empty(&service->sealed) || list_is_empty(&service->queued) || pd_fsm_cluster_id(service->fsm) == 0)
        return false;
    seal(service);
    return true;
}

void pd_service_run(struct pd_service *service)
{
    while (!list_is_empty(&service->sealed))
        run_one(service, LIST_ENTRY(service->sealed.next, struct pd_op, link));
}

/* ---- life */

static enum err propose_conf(void *context, const struct raft_conf_change *change, raft_index *ret_index,
                             raft_term *ret_term)
{
    struct pd_service *service = context;
    return service->host.propose_conf(service->host.context, change, ret_index, ret_term);
}

static void status_of(void *context, struct raft_status *ret_status)
{
    struct pd_service *service = context;
    service->host.status(service->host.context, ret_status);
}

static enum err propose(void *context, struct bytes command, raft_index *ret_index, raft_term *ret_term)
{
    struct pd_service *service = context;
    return service->host.propose(service->host.context, command, ret_index, ret_term);
}

static enum err take_ids(void *context, uint32_t count, uint64_t *ret_first)
{
    struct pd_service *service = context;
    return pd_writes_take_ids(service->writes, count, ret_first);
}

struct pd_service *pd_service_new(struct env *env, const struct pd_config *config, struct pd_fsm *fsm,
                                  const struct pd_service_host *host)
{
    struct pd_service *service = calloc(1, sizeof(*service));
    CHECK(service);
    service->env = env;
    service->config = config;
    service->fsm = fsm;
    service->host = *host;
    list_init(&service->queued);
    list_init(&service->sealed);
    service->cluster = cluster_new(config);
    const struct pd_writes_host writes_host = {
        .context = service, .propose = propose, .propose_conf = propose_conf, .status = status_of, .answer = answer};
    const struct pd_sched_host sched_host = {.context = service, .propose = propose, .take_ids = take_ids};
    service->sched = pd_sched_new(env, config, fsm, &sched_host);
    service->writes = pd_writes_new(env, config, fsm, service->cluster, service->sched, &writes_host);
    return service;
}

const struct cluster *pd_service_cluster(const struct pd_service *service)
{
    return service->cluster;
}

struct pd_service_counts pd_service_get_counts(const struct pd_service *service)
{
    return service->counts;
}

const struct pd_writes *pd_service_writes(const struct pd_service *service)
{
    return service->writes;
}

static void drop_all(struct list *ops)
{
    while (!list_is_empty(ops))
        pd_op_free(LIST_ENTRY(ops->next, struct pd_op, link));
}

void pd_service_free(struct pd_service *service)
{
    if (!service)
        return;
    drop_all(&service->queued);
    drop_all(&service->sealed);
    pd_writes_free(service->writes);
    pd_sched_free(service->sched);
    cluster_free(service->cluster);
    free(service->leader_address);
    free(service);
}

void pd_service_set_leader(struct pd_service *service, uint64_t member, const char *address)
{
    free(service->leader_address);
    service->leader_address = address ? strdup(address) : NULL;
    CHECK(!address || service->leader_address);
    service->leader_id = member;
}

const char *pd_service_leader_address(const struct pd_service *service)
{
    return service->leader_address;
}

void pd_service_set_fresh(struct pd_service *service, uint64_t fresh_us)
{
    service->fresh_us = fresh_us;
}

void pd_service_begin(struct pd_service *service)
{
    cluster_reset(service->cluster, pd_fsm_regions(service->fsm), clock_now_us(service->env->clock));
    for (uint32_t i = 0; i < pd_fsm_store_count(service->fsm); i++)
        CHECK(cluster_add_store(service->cluster, pd_fsm_store_at(service->fsm, i)->id));
    pd_sched_begin(service->sched);
    pd_writes_begin(service->writes);
    service->leading = true;
}

/* Nobody leads here: what is queued is told so. */
static void refuse_queued(struct pd_service *service)
{
    pd_service_run(service);
    if (!list_is_empty(&service->queued))
        seal(service);
    pd_service_run(service);
}

void pd_service_end(struct pd_service *service)
{
    if (!service->leading)
        return;
    service->leading = false;
    pd_writes_end(service->writes);
    pd_sched_end(service->sched);
    refuse_queued(service);
}

struct pd_sched *pd_service_sched(const struct pd_service *service)
{
    return service->sched;
}

void pd_service_tick(struct pd_service *service)
{
    if (service->leading) {
        pd_sched_tick(service->sched);
        return;
    }
    for (; service->aged_count > 0; service->aged_count--, service->queued_count--)
        run_one(service, LIST_ENTRY(service->queued.next, struct pd_op, link));
    service->aged_count = service->queued_count;
}

void pd_service_applied(struct pd_service *service, raft_index index, raft_term term,
                        const struct pd_fsm_result *result)
{
    if (result->placement)
        pd_sched_applied(service->sched);
    pd_writes_applied(service->writes, index, term, result);
}

void pd_service_round(struct pd_service *service)
{
    pd_writes_round(service->writes);
}
