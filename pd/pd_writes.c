#include "pd/pd_writes.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "base/rng.h"
#include "env/clock.h"
#include "pd/bootstrap.h"
#include "pd/id_alloc.h"
#include "pd/pd_members.h"
#include "pd/tso.h"

enum {
    COMMAND_SIZE_MAX = FRAME_SIZE_MAX - 64 * 1024, /* in a frame to the other members there is more than the command */
    BUSY_WAIT_MS = 10,
    MEMBER_WAIT_MS = 50,
    CLOCK_BEHIND_WARN_MS = 10 * 1000,
};

enum proposal_kind {
    PROPOSAL_CLUSTER,
    PROPOSAL_STORE,
    PROPOSAL_REGIONS,
    PROPOSAL_IDS,
    PROPOSAL_WINDOW,
    PROPOSAL_BOOTSTRAP,
    PROPOSAL_BOOTSTRAP_LAST,
    PROPOSAL_MEMBER,
};

struct proposal {
    struct list link; /* first: see proposal_of */
    enum proposal_kind kind;
    raft_index index;
    raft_term term;
    struct pd_op *op; /* owned; NULL: pd's own */
    uint64_t number;  /* ids: how many; window: its limit; member: its id */
};

struct pd_writes {
    struct env *env;
    const struct pd_config *config;
    struct pd_fsm *fsm;
    struct cluster *cluster;
    struct pd_sched *sched;
    struct pd_writes_host host;
    bool leading;
    struct tso tso;
    struct id_alloc ids;
    struct list proposals;         /* of struct proposal, in order of index */
    struct list id_waiters;        /* of struct pd_op: register_store, alloc_id */
    struct list timestamp_waiters; /* of struct pd_op */
    uint32_t waiting_count;
    bool cluster_proposed;
    bool bootstrap_proposed;
    struct rng cluster_rng;
    struct buf command; /* scratch */
};

struct pd_writes *pd_writes_new(struct env *env, const struct pd_config *config, struct pd_fsm *fsm,
                                struct cluster *cluster, struct pd_sched *sched, const struct pd_writes_host *host)
{
    struct pd_writes *writes = calloc(1, sizeof(*writes));
    CHECK(writes);
    writes->env = env;
    writes->config = config;
    writes->fsm = fsm;
    writes->cluster = cluster;
    writes->sched = sched;
    writes->host = *host;
    list_init(&writes->proposals);
    list_init(&writes->id_waiters);
    list_init(&writes->timestamp_waiters);
    buf_init(&writes->command, COMMAND_SIZE_MAX);
    rng_init(&writes->cluster_rng, env->seed, "cluster id");
    return writes;
}

static void drop_all(struct list *ops)
{
    while (!list_is_empty(ops))
        pd_op_free(LIST_ENTRY(ops->next, struct pd_op, link));
}

void pd_writes_free(struct pd_writes *writes)
{
    if (!writes)
        return;
    struct list *link;
    while ((link = list_pop_front(&writes->proposals)) != NULL) {
        struct proposal *proposal = LIST_ENTRY(link, struct proposal, link);
        pd_op_free(proposal->op);
        free(proposal);
    }
    drop_all(&writes->id_waiters);
    drop_all(&writes->timestamp_waiters);
    buf_fini(&writes->command);
    free(writes);
}

const struct tso *pd_writes_tso(const struct pd_writes *writes)
{
    return &writes->tso;
}

uint32_t pd_writes_waiting_count(const struct pd_writes *writes)
{
    return writes->waiting_count;
}

/* ---- answers */

static void answer(struct pd_writes *writes, struct pd_op *take_op, struct wire_pd_reply *reply)
{
    list_remove(&take_op->link);
    writes->host.answer(writes->host.context, take_op, reply);
}

static void refuse(struct pd_writes *writes, struct pd_op *take_op, enum err code, uint32_t wait_ms, const char *text)
{
    struct wire_pd_reply reply = {.code = (uint16_t)code, .wait_ms = wait_ms, .text = bytes_of_string(text)};
    answer(writes, take_op, &reply);
}

/* Counts it as waiting; false: too many do, it was refused. */
static bool admit(struct pd_writes *writes, struct pd_op *op)
{
    if (writes->waiting_count >= PD_WRITES_WAITING_MAX) {
        refuse(writes, op, ERR_BUSY, BUSY_WAIT_MS, "too many requests wait for pd's log");
        return false;
    }
    writes->waiting_count++;
    return true;
}

/* The end of what `admit` began. */
static void finish(struct pd_writes *writes, struct pd_op *take_op, struct wire_pd_reply *reply)
{
    CHECK(writes->waiting_count > 0);
    writes->waiting_count--;
    answer(writes, take_op, reply);
}

static void finish_refused(struct pd_writes *writes, struct pd_op *take_op, enum err code, uint32_t wait_ms,
                           const char *text)
{
    struct wire_pd_reply reply = {.code = (uint16_t)code, .wait_ms = wait_ms, .text = bytes_of_string(text)};
    finish(writes, take_op, &reply);
}

/* ---- proposing */

static void note_proposal(struct pd_writes *writes, const struct proposal *noted)
{
    struct proposal *proposal = calloc(1, sizeof(*proposal));
    CHECK(proposal);
    *proposal = *noted;
    if (proposal->op)
        list_remove(&proposal->op->link);
    list_push_back(&writes->proposals, &proposal->link);
}

/* `take_op` may be NULL. On an error the request stays the caller's. */
static enum err propose(struct pd_writes *writes, enum proposal_kind kind, const struct wire_pd_command *command,
                        struct pd_op *take_op, uint64_t number)
{
    enum err code = wire_encode_pd_command(command, &writes->command);
    if (code != ERR_OK)
        return code;
    raft_index index;
    raft_term term;
    code = writes->host.propose(writes->host.context, buf_bytes(&writes->command), &index, &term);
    if (code != ERR_OK)
        return code;
    note_proposal(writes,
                  &(struct proposal){.kind = kind, .index = index, .term = term, .op = take_op, .number = number});
    return ERR_OK;
}

static void propose_for(struct pd_writes *writes, enum proposal_kind kind, const struct wire_pd_command *command,
                        struct pd_op *take_op)
{
    enum err code = propose(writes, kind, command, take_op, 0);
    if (code != ERR_OK)
        finish_refused(writes, take_op, code, code == ERR_BUSY ? BUSY_WAIT_MS : 0, "pd's log did not take it");
}

/* ---- register_store */

static bool text_is_printable(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f)
            return false;
    return text.size <= PD_FSM_TEXT_SIZE_MAX;
}

static enum err check_registration(const struct pd_writes *writes, const struct wire_pd_request *request,
                                   struct error *err)
{
    const struct wire_store *store = request->store;
    unsigned long long cluster = (unsigned long long)pd_fsm_cluster_id(writes->fsm);
    if (!store || store->address.size == 0)
        return error_set(err, ERR_INVALID, "a registration needs the address of the store");
    if (!text_is_printable(store->address) || !text_is_printable(store->status_address) ||
        !text_is_printable(store->version))
        return error_set(err, ERR_INVALID,
                         "address, status address or version of the store is over %d bytes or not plain text",
                         PD_FSM_TEXT_SIZE_MAX);
    if (store->id == 0)
        return request->token != 0 ? ERR_OK
                                   : error_set(err, ERR_INVALID, "the registration of a new store needs a token");
    if (request->cluster_id == 0)
        return error_set(err, ERR_CLUSTER_NOT_MATCH,
                         "store %llu does not say which cluster it belongs to; this is cluster %llu",
                         (unsigned long long)store->id, cluster);
    if (!pd_fsm_find_store(writes->fsm, store->id))
        return error_set(err, ERR_STORE_NOT_MATCH, "cluster %llu has no store %llu", cluster,
                         (unsigned long long)store->id);
    return ERR_OK;
}

/* Who else has this address? A store that is known to live keeps it; of a store that has not been heard of since we
 * began to lead, nobody knows yet. */
static enum err check_address(const struct pd_writes *writes, uint64_t own_id, struct bytes address,
                              uint32_t *ret_wait_ms, struct error *err)
{
    uint64_t now_us = clock_now_us(writes->env->clock);
    for (uint32_t i = 0; i < pd_fsm_store_count(writes->fsm); i++) {
        const struct pd_store *other = pd_fsm_store_at(writes->fsm, i);
        if (other->id == own_id || !bytes_equal(bytes_of_string(other->address), address))
            continue;
        struct wire_store seen = {.id = other->id};
        cluster_fill_store(writes->cluster, &seen, now_us);
        if (seen.state == WIRE_STORE_STATE_UP)
            return error_set(err, ERR_EXISTS, "address %s belongs to store %llu, which is up (heard of %llu ms ago)",
                             other->address, (unsigned long long)other->id, (unsigned long long)seen.heartbeat_age_ms);
        if (seen.state == WIRE_STORE_STATE_UNKNOWN) {
            *ret_wait_ms = (uint32_t)cluster_store_silence_left_ms(writes->cluster, other->id, now_us);
            return error_set(err, ERR_NOT_READY, "address %s belongs to store %llu, which may still be up",
                             other->address, (unsigned long long)other->id);
        }
    }
    return ERR_OK;
}

/* Another registration of the same address is on its way through the log: its outcome decides about this one. */
static bool address_is_under_way(const struct pd_writes *writes, const struct pd_op *op)
{
    LIST_FOR_EACH (link, &writes->proposals) {
        const struct proposal *proposal = LIST_ENTRY(link, struct proposal, link);
        if (proposal->kind != PROPOSAL_STORE)
            continue;
        const struct wire_pd_request *other = &proposal->op->request;
        if (bytes_equal(other->store->address, op->request.store->address) &&
            (other->token != op->request.token || other->store->id != op->request.store->id))
            return true;
    }
    return false;
}

/* `op` is admitted. ERR_NOT_READY: no id is left, it must wait. */
static enum err register_store(struct pd_writes *writes, struct pd_op *op)
{
    const struct wire_pd_request *request = &op->request;
    const struct pd_store *known = pd_fsm_find_store_token(writes->fsm, request->token);
    struct error error = {0};
    uint32_t wait_ms = BUSY_WAIT_MS;
    op->store_id = request->store->id;
    if (op->store_id == 0 && known)
        op->store_id = known->id;
    enum err code = check_address(writes, op->store_id, request->store->address, &wait_ms, &error);
    if (code == ERR_OK && address_is_under_way(writes, op))
        code = error_set(&error, ERR_BUSY, "another store is registering with this address");
    if (code != ERR_OK) {
        finish_refused(writes, op, code, err_action(code) == ERR_ACTION_BACKOFF ? wait_ms : 0, error.text);
        return ERR_OK;
    }
    if (op->store_id == 0 && id_alloc_take(&writes->ids, 1, &op->store_id) == ERR_NOT_READY)
        return ERR_NOT_READY;
    struct wire_store store = *request->store;
    store.id = op->store_id;
    struct wire_pd_command command = {
        .kind = WIRE_PD_COMMAND_KIND_PUT_STORE, .store = &store, .token = request->store->id ? 0 : request->token};
    for (uint32_t i = 0; i < pd_fsm_store_count(writes->fsm) && BUG(address_is_identity); i++)
        if (bytes_equal(bytes_of_string(pd_fsm_store_at(writes->fsm, i)->address), store.address)) {
            op->store_id = store.id = pd_fsm_store_at(writes->fsm, i)->id;
            command.token = 0;
        }
    propose_for(writes, PROPOSAL_STORE, &command, op);
    return ERR_OK;
}

void pd_writes_register_store(struct pd_writes *writes, struct pd_op *take_op)
{
    struct error error = {0};
    enum err code = check_registration(writes, &take_op->request, &error);
    if (code != ERR_OK)
        refuse(writes, take_op, code, 0, error.text);
    else if (admit(writes, take_op) && register_store(writes, take_op) == ERR_NOT_READY)
        list_push_back(&writes->id_waiters, &take_op->link);
}

static void store_applied(struct pd_writes *writes, struct pd_op *op, const struct pd_fsm_result *result)
{
    struct wire_pd_reply reply = {.code = (uint16_t)result->code, .store_id = result->store_id};
    /* The same token twice under way: the second finds the store that the first made, and that is its answer. */
    if (result->code == ERR_EXISTS)
        reply.code = ERR_OK;
    else if (result->code != ERR_OK)
        reply.text = bytes_of_string("the registration was refused: the cluster has as many stores as it can have");
    if (reply.code == ERR_OK) {
        cluster_store_registered(writes->cluster, result->store_id, clock_now_us(writes->env->clock));
        pd_sched_store_registered(writes->sched, result->store_id);
        const struct pd_store *store = pd_fsm_find_store(writes->fsm, result->store_id);
        log_event(writes->env->log, LOG_INFO, "event=store_registered store=%llu address=%s",
                  (unsigned long long)store->id, store->address);
    }
    finish(writes, op, &reply);
}

/* ---- region_heartbeat */

/* Its range is smaller than it was, or it is new. */
static bool tells_of_split(const struct pd_writes *writes, const struct wire_region *region)
{
    const struct region_node *node = region_tree_find_id(pd_fsm_regions(writes->fsm), region->id);
    return !node || bytes_compare(region->start_key, region_node_start(node)) > 0 ||
           (region->end_key.size > 0 && (region_node_end(node).size == 0 ||
                                         bytes_compare(region->end_key, region_node_end(node)) < 0));
}

static void add_step(struct pd_writes *writes, struct pd_op *op, uint32_t index, enum region_news news,
                     struct wire_pd_reply *reply)
{
    if (!reply->steps)
        reply->steps = arena_alloc(&op->arena, op->request.heartbeats_count * sizeof(*reply->steps));
    reply->steps_count += pd_sched_region(writes->sched, op->request.heartbeats[index].region->id, news, &op->arena,
                                          &reply->steps[reply->steps_count]);
}

/* Notes what is old news; regions that must go through the log are collected in `ret_newer` (of the op's arena). */
static uint32_t sort_heartbeats(struct pd_writes *writes, struct pd_op *op, struct wire_route *ret_newer,
                                struct wire_pd_reply *reply, struct error *err)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < op->request.heartbeats_count; i++) {
        const struct wire_region_heartbeat *heartbeat = &op->request.heartbeats[i];
        bool other_leader = false;
        enum cluster_verdict verdict = cluster_region_heartbeat(writes->cluster, heartbeat, &other_leader, err);
        if (verdict == CLUSTER_SEEN)
            add_step(writes, op, i, other_leader ? REGION_CHANGED : REGION_SAME, reply);
        if (verdict != CLUSTER_NEWER)
            continue;
        op->split[i] = tells_of_split(writes, heartbeat->region);
        ret_newer[count++] = (struct wire_route){.region = heartbeat->region, .leader_peer = heartbeat->leader_peer};
    }
    return count;
}

void pd_writes_region_heartbeat(struct pd_writes *writes, struct pd_op *take_op)
{
    struct pd_op *op = take_op;
    if (op->request.heartbeats_count > PD_HEARTBEATS_MAX) {
        refuse(writes, op, ERR_INVALID, 0, "too many regions in one heartbeat");
        return;
    }
    struct error error = {0};
    struct wire_route *newer = arena_alloc(&op->arena, (op->request.heartbeats_count + 1) * sizeof(*newer));
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_PUT_REGIONS, .regions = newer};
    struct wire_pd_reply reply = {0};
    op->split = arena_alloc(&op->arena, op->request.heartbeats_count + 1);
    command.regions_count = sort_heartbeats(writes, op, newer, &reply, &error);
    if (error.code != ERR_OK)
        refuse(writes, op, error.code, 0, error.text);
    else if (command.regions_count == 0)
        answer(writes, op, &reply);
    else if (admit(writes, op))
        propose_for(writes, PROPOSAL_REGIONS, &command, op);
}

static void regions_applied(struct pd_writes *writes, struct pd_op *op, const struct pd_fsm_result *result)
{
    struct wire_pd_reply reply = {.code = (uint16_t)result->code};
    struct error error = {0};
    if (result->code == ERR_CORRUPT) { /* well-formed, but with ids that pd never gave out */
        reply.code = ERR_INVALID;
        reply.text = bytes_of_string("a region or peer id was never allocated");
    }
    for (uint32_t i = 0; i < op->request.heartbeats_count; i++)
        if (cluster_region_heartbeat(writes->cluster, &op->request.heartbeats[i], NULL, &error) == CLUSTER_SEEN)
            add_step(writes, op, i, op->split[i] ? REGION_SPLIT : REGION_CHANGED, &reply);
    finish(writes, op, &reply);
}

/* ---- windows: ids and timestamps */

/* `op` is admitted. ERR_NOT_READY: it must wait for a window. */
static enum err alloc_id(struct pd_writes *writes, struct pd_op *op)
{
    struct wire_pd_reply reply = {.count = op->request.count};
    enum err code = id_alloc_take(&writes->ids, op->request.count, &reply.first_id);
    if (code == ERR_NOT_READY)
        return code;
    if (code == ERR_OK)
        finish(writes, op, &reply);
    else
        finish_refused(writes, op, code, 0, "count must be 1 to 1000000 ids");
    return ERR_OK;
}

static enum err take_timestamp(struct pd_writes *writes, struct pd_op *op)
{
    struct wire_pd_reply reply = {.count = op->request.count};
    enum err code = tso_take(&writes->tso, clock_wall_ms(writes->env->clock), op->request.count, &reply.timestamp);
    if (code == ERR_NOT_READY)
        return code;
    if (code == ERR_OK)
        finish(writes, op, &reply);
    else
        finish_refused(writes, op, code, 0, "count must be 1 to 262144 timestamps");
    return ERR_OK;
}

/* Who came first is served first, so nobody passes those who wait already. */
void pd_writes_alloc_id(struct pd_writes *writes, struct pd_op *take_op)
{
    if (!admit(writes, take_op))
        return;
    if (!list_is_empty(&writes->id_waiters) || alloc_id(writes, take_op) == ERR_NOT_READY)
        list_push_back(&writes->id_waiters, &take_op->link);
}

void pd_writes_timestamp(struct pd_writes *writes, struct pd_op *take_op)
{
    if (!admit(writes, take_op))
        return;
    if (!list_is_empty(&writes->timestamp_waiters) || take_timestamp(writes, take_op) == ERR_NOT_READY)
        list_push_back(&writes->timestamp_waiters, &take_op->link);
}

static void serve_waiters(struct pd_writes *writes)
{
    LIST_FOR_EACH_SAFE (link, following, &writes->id_waiters) {
        struct pd_op *op = LIST_ENTRY(link, struct pd_op, link);
        bool registers = op->request.op == WIRE_PD_OP_REGISTER_STORE;
        if ((registers ? register_store(writes, op) : alloc_id(writes, op)) == ERR_NOT_READY)
            break;
    }
    LIST_FOR_EACH_SAFE (link, following, &writes->timestamp_waiters) {
        if (take_timestamp(writes, LIST_ENTRY(link, struct pd_op, link)) == ERR_NOT_READY)
            break;
    }
}

/* What the first of those who wait for ids needs; the bootstrap waits behind them. */
static uint32_t ids_wanted(const struct pd_writes *writes)
{
    if (list_is_empty(&writes->id_waiters))
        return 0;
    const struct pd_op *op = LIST_ENTRY(writes->id_waiters.next, struct pd_op, link);
    return op->request.op == WIRE_PD_OP_REGISTER_STORE ? 1 : op->request.count;
}

static void open_id_window(struct pd_writes *writes, uint32_t wanted)
{
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_ALLOC_IDS};
    if (wanted > 0 && id_alloc_wants_window(&writes->ids, wanted, &command.count) &&
        propose(writes, PROPOSAL_IDS, &command, NULL, command.count) == ERR_OK)
        id_alloc_window_proposed(&writes->ids, command.count);
}

enum err pd_writes_take_ids(struct pd_writes *writes, uint32_t count, uint64_t *ret_first)
{
    enum err code = id_alloc_take(&writes->ids, count, ret_first);
    if (code == ERR_NOT_READY)
        open_id_window(writes, count);
    return code;
}

static void open_timestamp_window(struct pd_writes *writes)
{
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_TIMESTAMP_WINDOW};
    bool urgent = !list_is_empty(&writes->timestamp_waiters);
    if (tso_wants_window(&writes->tso, clock_wall_ms(writes->env->clock), urgent, &command.timestamp_limit) &&
        propose(writes, PROPOSAL_WINDOW, &command, NULL, command.timestamp_limit) == ERR_OK)
        tso_window_proposed(&writes->tso, command.timestamp_limit);
}

static void ids_applied(struct pd_writes *writes, const struct proposal *proposal, const struct pd_fsm_result *result)
{
    if (result->code == ERR_OK) {
        id_alloc_window_applied(&writes->ids, result->first_id, (uint32_t)proposal->number);
        return;
    }
    id_alloc_window_failed(&writes->ids);
    while (!list_is_empty(&writes->id_waiters))
        finish_refused(writes, LIST_ENTRY(writes->id_waiters.next, struct pd_op, link), ERR_UNAVAILABLE, 0,
                       "the cluster has run out of ids");
}

static void window_applied(struct pd_writes *writes, const struct proposal *proposal,
                           const struct pd_fsm_result *result)
{
    if (result->code == ERR_OK)
        tso_window_applied(&writes->tso, proposal->number);
    else
        tso_window_failed(&writes->tso);
}

/* ---- members of pd */

static enum err check_member(struct pd_writes *writes, const struct wire_pd_request *request, struct error *err)
{
    struct raft_status status;
    if (request->op == WIRE_PD_OP_ADD_MEMBER)
        return pd_members_check_add(writes->fsm, request->member, err);
    writes->host.status(writes->host.context, &status);
    return pd_members_check_remove(writes->fsm, &status, request->member ? request->member->id : 0, err);
}

/* Alone in its entry: one voter more or less, or a learner; majorities before and after meet in one voter at least. */
static enum err propose_member(struct pd_writes *writes, struct pd_op *op)
{
    bool add = op->request.op == WIRE_PD_OP_ADD_MEMBER;
    struct wire_pd_member member = *op->request.member;
    raft_index index;
    raft_term term;
    if (add)
        member = (struct wire_pd_member){.id = pd_fsm_next_member_id(writes->fsm),
                                         .name = op->request.member->name,
                                         .address = op->request.member->address,
                                         .learner = true};
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_CHANGE_MEMBERS, .member = &member};
    enum err code = wire_encode_pd_command(&command, &writes->command);
    struct raft_conf_change change = {
        .entry_kind = RAFT_ENTRY_CONF_CHANGE_V2,
        .count = 1,
        .changes = {{.kind = add ? RAFT_CHANGE_ADD_LEARNER : RAFT_CHANGE_REMOVE, .id = member.id}},
        .context = add ? buf_bytes(&writes->command) : bytes_empty()};
    if (code == ERR_OK)
        code = writes->host.propose_conf(writes->host.context, &change, &index, &term);
    if (code == ERR_OK)
        note_proposal(writes, &(struct proposal){.kind = PROPOSAL_MEMBER,
                                                 .index = index,
                                                 .term = term,
                                                 .op = op,
                                                 .number = member.id});
    return code;
}

void pd_writes_member(struct pd_writes *writes, struct pd_op *take_op)
{
    struct error error = {.text = ""};
    enum err code = check_member(writes, &take_op->request, &error);
    if (code != ERR_OK) {
        refuse(writes, take_op, code, 0, error.text);
        return;
    }
    if (!admit(writes, take_op))
        return;
    code = propose_member(writes, take_op);
    if (code != ERR_OK)
        finish_refused(writes, take_op, code, err_action(code) == ERR_ACTION_BACKOFF ? MEMBER_WAIT_MS : 0,
                       code == ERR_NOT_READY ? "another change of members is under way" : "pd's log did not take it");
}

static void member_applied(struct pd_writes *writes, const struct proposal *proposal,
                           const struct pd_fsm_result *result)
{
    struct wire_pd_reply reply = {.code = (uint16_t)result->code, .member_id = proposal->number};
    if (result->code == ERR_OK)
        log_event(writes->env->log, LOG_INFO, "event=pd_member_%s member=%llu",
                  pd_fsm_find_member(writes->fsm, proposal->number) ? "added" : "removed",
                  (unsigned long long)proposal->number);
    else
        reply.text = bytes_of_string("the change came too late: the members are others by now");
    finish(writes, proposal->op, &reply);
}

/* ---- what pd puts into its log by itself */

/* Tools write it as a JSON number, so it has 53 bits. */
static void name_cluster(struct pd_writes *writes)
{
    if (writes->cluster_proposed || pd_fsm_cluster_id(writes->fsm) != 0)
        return;
    struct wire_pd_command command = {.kind = WIRE_PD_COMMAND_KIND_SET_CLUSTER,
                                      .cluster_id = rng_between(&writes->cluster_rng, 1, (UINT64_C(1) << 53) - 1)};
    writes->cluster_proposed = propose(writes, PROPOSAL_CLUSTER, &command, NULL, 0) == ERR_OK;
}

/* Only those who live: a store that died between its registration and the note of its id comes back as another one. */
static uint32_t living_stores(const struct pd_writes *writes, uint64_t *ret_stores)
{
    uint64_t now_us = clock_now_us(writes->env->clock);
    uint32_t count = 0;
    for (uint32_t i = 0; i < pd_fsm_store_count(writes->fsm); i++) {
        uint64_t id = pd_fsm_store_at(writes->fsm, i)->id;
        if (cluster_store_state(writes->cluster, id, now_us) == WIRE_STORE_STATE_UP)
            ret_stores[count++] = id;
    }
    return count;
}

static bool bootstrap_is_due(const struct pd_writes *writes)
{
    return !writes->bootstrap_proposed && !pd_fsm_bootstrapped(writes->fsm) &&
           pd_fsm_store_count(writes->fsm) >= writes->config->bootstrap_stores && list_is_empty(&writes->id_waiters);
}

/* All commands at once: the log keeps their order, and the last one checks that the others are there. */
static void propose_regions(struct pd_writes *writes, const uint64_t *stores, uint32_t store_count, uint64_t first_id)
{
    struct arena plan_arena, command_arena;
    struct bootstrap bootstrap;
    struct wire_pd_command command;
    arena_init(&plan_arena);
    arena_init(&command_arena);
    bootstrap_init(&bootstrap, stores, store_count, writes->config->bootstrap_regions, writes->config->replicas,
                   first_id, &plan_arena);
    writes->bootstrap_proposed = true;
    enum err code = ERR_OK;
    while (code == ERR_OK && bootstrap_next(&bootstrap, &command_arena, &command)) {
        code = propose(writes, command.bootstrapped ? PROPOSAL_BOOTSTRAP_LAST : PROPOSAL_BOOTSTRAP, &command, NULL, 0);
        arena_reset(&command_arena);
    }
    if (code != ERR_OK)
        writes->bootstrap_proposed = false; /* the log is full: the next tick begins anew */
    arena_fini(&command_arena);
    arena_fini(&plan_arena);
}

static void bootstrap_regions(struct pd_writes *writes)
{
    uint64_t stores[STORE_COUNT_MAX];
    uint64_t first_id;
    uint32_t store_count = living_stores(writes, stores);
    uint32_t count = bootstrap_id_count(writes->config->bootstrap_regions, writes->config->replicas);
    if (store_count < writes->config->bootstrap_stores)
        return;
    if (id_alloc_take(&writes->ids, count, &first_id) == ERR_OK)
        propose_regions(writes, stores, store_count, first_id);
    else
        open_id_window(writes, count);
}

static void bootstrap_applied(struct pd_writes *writes, const struct pd_fsm_result *result)
{
    if (result->code == ERR_OK)
        log_event(writes->env->log, LOG_INFO, "event=bootstrapped stores=%u regions=%llu replicas=%u",
                  pd_fsm_store_count(writes->fsm), (unsigned long long)region_tree_count(pd_fsm_regions(writes->fsm)),
                  writes->config->replicas);
    else
        writes->bootstrap_proposed = false;
}

/* ---- life */

void pd_writes_begin(struct pd_writes *writes)
{
    uint64_t wall_ms = clock_wall_ms(writes->env->clock);
    uint64_t limit_ms = pd_fsm_timestamp_limit_ms(writes->fsm);
    if (limit_ms > wall_ms + writes->config->timestamp_window_ms + CLOCK_BEHIND_WARN_MS)
        log_event(writes->env->log, LOG_WARN,
                  "event=clock_behind behind_ms=%llu msg=\"timestamps go on from the persisted limit\"",
                  (unsigned long long)(limit_ms - wall_ms));
    writes->leading = true;
    writes->cluster_proposed = writes->bootstrap_proposed = false;
    if (BUG(pd_window_of_ours) && limit_ms > writes->config->timestamp_window_ms)
        limit_ms -= writes->config->timestamp_window_ms;
    tso_init(&writes->tso, writes->config->timestamp_window_ms, limit_ms);
    id_alloc_init(&writes->ids);
}

void pd_writes_end(struct pd_writes *writes)
{
    static const char text[] = "pd lost its leadership";
    struct list *link;
    writes->leading = false;
    while ((link = list_pop_front(&writes->proposals)) != NULL) {
        struct proposal *proposal = LIST_ENTRY(link, struct proposal, link);
        if (proposal->op)
            finish_refused(writes, proposal->op, ERR_NOT_LEADER, 0, text);
        free(proposal);
    }
    while (!list_is_empty(&writes->id_waiters))
        finish_refused(writes, LIST_ENTRY(writes->id_waiters.next, struct pd_op, link), ERR_NOT_LEADER, 0, text);
    while (!list_is_empty(&writes->timestamp_waiters))
        finish_refused(writes, LIST_ENTRY(writes->timestamp_waiters.next, struct pd_op, link), ERR_NOT_LEADER, 0, text);
}

static void proposal_applied(struct pd_writes *writes, const struct proposal *proposal,
                             const struct pd_fsm_result *result)
{
    switch (proposal->kind) {
    case PROPOSAL_CLUSTER:
        log_event(writes->env->log, LOG_INFO, "event=cluster_created cluster=%llu",
                  (unsigned long long)pd_fsm_cluster_id(writes->fsm));
        break;
    case PROPOSAL_STORE:
        store_applied(writes, proposal->op, result);
        break;
    case PROPOSAL_REGIONS:
        regions_applied(writes, proposal->op, result);
        break;
    case PROPOSAL_IDS:
        ids_applied(writes, proposal, result);
        break;
    case PROPOSAL_WINDOW:
        window_applied(writes, proposal, result);
        break;
    case PROPOSAL_BOOTSTRAP:
        break;
    case PROPOSAL_BOOTSTRAP_LAST:
        bootstrap_applied(writes, result);
        break;
    case PROPOSAL_MEMBER:
        member_applied(writes, proposal, result);
        break;
    }
}

void pd_writes_applied(struct pd_writes *writes, raft_index index, raft_term term, const struct pd_fsm_result *result)
{
    if (list_is_empty(&writes->proposals))
        return;
    struct proposal *proposal = LIST_ENTRY(writes->proposals.next, struct proposal, link);
    if (proposal->index > index)
        return; /* of an earlier leader, or of an earlier life of ours */
    /* What a leader proposed and still waits for is what its log has there: `end` comes before any overwriting. */
    CHECK(proposal->index == index && proposal->term == term);
    list_remove(&proposal->link);
    proposal_applied(writes, proposal, result);
    free(proposal);
}

void pd_writes_round(struct pd_writes *writes)
{
    if (!writes->leading)
        return;
    name_cluster(writes);
    serve_waiters(writes);
    open_id_window(writes, ids_wanted(writes));
    open_timestamp_window(writes);
    if (bootstrap_is_due(writes))
        bootstrap_regions(writes);
}
