#include "pd/pd.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/types.h"
#include "env/clock.h"
#include "env/executor.h"
#include "env/transport.h"
#include "group/apply_worker.h"
#include "group/group.h"
#include "group/log_worker.h"
#include "pd/id_alloc.h"
#include "pd/pd_fsm.h"
#include "pd/pd_http.h"
#include "pd/pd_service.h"
#include "pd/pd_writes.h"
#include "pd/split_keys.h"
#include "proto/wire.h"
#include "rpc/admission.h"
#include "rpc/frame_kind.h"

enum {
    PD_GROUP_ID = 1,
    PD_PEER_ID = 1,
    LOG_TASKS_MAX = 64,
    LOG_RETAIN_COUNT = 64,           /* a lone member needs no more than what it has not applied */
    LOG_SIZE_MAX = 64 * 1024 * 1024, /* then truncated to what is applied */
    POOL_SPARE_SIZE = 4 * 1024 * 1024,
    UNCOMMITTED_SIZE_MAX = 64 * 1024 * 1024,
    READ_COUNT_MAX = 16,
};

enum { REQUESTS_SIZE_MAX = 128 * 1024 * 1024, CONNECTION_REQUESTS_SIZE_MAX = 32 * 1024 * 1024 };
enum pd_message_kind { PD_TICK = 1, PD_FRAME, PD_LOGGED, PD_APPLIED, PD_HTTP };

struct pd_frame {
    struct message message;
    conn_id conn;
    struct frame *frame; /* owned */
    struct admission_charge *charge;
};

/* The rows of one run of committed entries, on their way through the apply worker. */
struct pd_apply {
    struct apply_task task; /* first */
    struct pd *pd;
    struct engine_batch *batch; /* owned */
    raft_index last;
    enum err code;
};

struct pd {
    struct env *env;                /* borrowed */
    const struct pd_config *config; /* borrowed */
    struct transport_handler handler;
    struct group_host group_host;
    struct raft_config raft_config;
    struct raft_pool *pool;
    struct group *group;
    struct log_worker *log_worker;
    struct apply_worker *apply_worker;
    struct actor *actor;
    struct pd_fsm *fsm;
    struct pd_service *service;
    struct log_task *log_task; /* of this round; NULL: nothing to log yet */
    raft_term leading_term;    /* 0: not leading, or not ready to */
    uint64_t barrier;          /* number of the newest ReadIndex */
    bool barrier_wanted;       /* a sealed batch waits for its ReadIndex to be asked for */
    raft_index barrier_index;  /* it is confirmed, run the batch when this is applied; 0: not confirmed */
    uint64_t started_us;
    struct pd_http http;
    /* For other threads. */
    _Atomic(uint64_t) cluster;
    _Atomic(bool) ready;
    struct admission *requests; /* owned; bytes that came in and wait in the mailbox, which counts messages */
    _Atomic(int) failure; /* enum err */
};

/* ---- giving up */

static void fail(struct pd *pd, enum err code, const char *what)
{
    int none = ERR_OK;
    if (!atomic_compare_exchange_strong(&pd->failure, &none, (int)code))
        return;
    atomic_store(&pd->ready, false);
    pd_service_end(pd->service);
    pd_http_forget(&pd->http);
    log_event(pd->env->log, LOG_ERROR, "event=pd_failed code=%s msg=\"%s\"", err_name(code), what);
}

static bool has_failed(const struct pd *pd)
{
    return atomic_load(&pd->failure) != ERR_OK;
}

/* ---- what the group asks for */

static struct log_task *host_log_task(void *context, struct group *group)
{
    struct pd *pd = context;
    (void)group;
    if (!pd->log_task)
        pd->log_task = log_task_new(pd->env, pd->actor, PD_LOGGED);
    return pd->log_task;
}

/* One member is all there is: a group of one never sends, fetches or ships a snapshot. */
static void host_send(void *context, struct group *group, const struct raft_message *message, bool after)
{
    (void)context, (void)group, (void)message, (void)after;
    check_failed(__FILE__, __LINE__, "pd's group has one member");
}

static void host_fetch(void *context, struct group *group, const struct raft_fetch *fetch)
{
    (void)context, (void)group, (void)fetch;
    check_failed(__FILE__, __LINE__, "pd's group has one member");
}

static void host_snapshot_wanted(void *context, struct group *group, const struct raft_message *message)
{
    (void)context, (void)group, (void)message;
    check_failed(__FILE__, __LINE__, "pd's group has one member");
}

static void host_install(void *context, struct group *group, const struct raft_snapshot *snapshot,
                         struct log_task *task)
{
    (void)context, (void)group, (void)snapshot, (void)task;
    check_failed(__FILE__, __LINE__, "pd's group has one member");
}

static void host_changed(void *context, struct group *group, enum raft_role role, peer_id leader)
{
    struct pd *pd = context;
    CHECK(leader == 0 || leader == PD_PEER_ID);
    if (role != RAFT_LEADER && pd->leading_term != 0) {
        pd->leading_term = 0;
        pd->barrier_wanted = false;
        pd->barrier_index = 0;
        atomic_store(&pd->ready, false);
        pd_service_end(pd->service);
        pd_http_forget(&pd->http);
        log_event(pd->env->log, LOG_INFO, "event=pd_not_leading term=%llu",
                  (unsigned long long)raft_term_now(group->raft));
    }
}

static void apply_free(struct message *message)
{
    struct pd_apply *apply = (struct pd_apply *)message;
    engine_batch_free(apply->pd->env->engine, apply->batch);
    free(apply);
}

/* On the apply worker. */
static void apply_rows(struct apply_task *task, struct apply_worker *worker)
{
    struct pd_apply *apply = (struct pd_apply *)task;
    engine_batch_append(apply->pd->env->engine, apply_worker_batch(worker), apply->batch);
}

static void apply_done(struct apply_task *take_task, enum err code)
{
    struct pd_apply *apply = (struct pd_apply *)take_task;
    apply->code = code;
    apply->task.message.kind = PD_APPLIED;
    actor_post_must(apply->pd->env->executor, apply->pd->actor, &apply->task.message);
}

static struct pd_apply *apply_new(struct pd *pd)
{
    struct pd_apply *apply = calloc(1, sizeof(*apply));
    CHECK(apply);
    apply->task = (struct apply_task){.message = {.free = apply_free}, .apply = apply_rows, .done = apply_done};
    apply->pd = pd;
    apply->batch = engine_batch_new(pd->env->engine);
    return apply;
}

static void apply_entry(struct pd *pd, struct pd_apply *apply, const struct raft_entry *entry)
{
    struct pd_fsm_result result;
    if (entry->kind != RAFT_ENTRY_NORMAL) {
        fail(pd, ERR_UNSUPPORTED, "pd's log holds a change of membership, which this version does not know");
    } else if (entry->data.size > 0) {
        pd_fsm_apply(pd->fsm, entry->data, pd->env->engine, apply->batch, &result);
        if (result.code == ERR_UNSUPPORTED)
            fail(pd, result.code, "pd's log holds a command of a newer version");
        else
            pd_service_applied(pd->service, entry->index, entry->term, &result);
    }
    pd_fsm_set_applied(pd->fsm, entry->index, entry->term);
}

/* The truth in memory changes at once; its rows follow through the apply worker. The log has everything already, so
 * answers need not wait for them. */
static void host_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count)
{
    struct pd *pd = context;
    (void)group;
    if (has_failed(pd))
        return;
    struct pd_apply *apply = apply_new(pd);
    for (uint32_t i = 0; i < count && !has_failed(pd); i++)
        apply_entry(pd, apply, &entries[i]);
    if (has_failed(pd)) {
        apply_free(&apply->task.message);
        return;
    }
    apply->last = entries[count - 1].index;
    pd_fsm_put_applied(pd->fsm, pd->env->engine, apply->batch);
    apply_worker_post(pd->apply_worker, &apply->task);
}

/* ---- reads: proof of leadership for a sealed batch */

static void run_when_applied(struct pd *pd)
{
    if (pd->barrier_index != 0 && pd_fsm_applied_index(pd->fsm) >= pd->barrier_index) {
        pd->barrier_index = 0;
        pd_service_run(pd->service);
    }
}

static void host_read_done(void *context, struct group *group, const struct raft_read_result *read)
{
    struct pd *pd = context;
    (void)group;
    if (read->context != pd->barrier)
        return;
    if (read->code == ERR_OK)
        pd->barrier_index = read->index;
    else
        pd->barrier_wanted = true; /* no answer: ask again; or leadership is gone, and `end` answers them */
}

/* A lone member needs no proof; others ask for one ReadIndex per batch. */
static void confirm_batch(struct pd *pd)
{
    if (pd->leading_term == 0)
        return;
    if (pd_service_seal(pd->service))
        pd->barrier_wanted = true;
    if (!pd->barrier_wanted)
        return;
    if (group_lease_holds(pd->group, clock_now_us(pd->env->clock), 0)) {
        pd->barrier_wanted = false;
        pd_service_run(pd->service);
    } else if (raft_read(pd->group->raft, pd->barrier + 1) == ERR_OK) {
        pd->barrier++;
        pd->barrier_wanted = false;
    }
}

/* ---- rounds */

static enum err service_propose(void *context, struct bytes command, raft_index *ret_index, raft_term *ret_term)
{
    struct pd *pd = context;
    return raft_propose(pd->group->raft, command, ret_index, ret_term);
}

static void service_send(void *context, conn_id conn, const struct wire_pd_reply *reply)
{
    struct pd *pd = context;
    struct frame *frame = wire_frame_pd_reply(FRAME_PD_REPLY, reply);
    if (!frame) { /* cannot be: lists are cut far below a frame's size */
        struct wire_pd_reply too_large = {.id = reply->id, .code = ERR_ENTRY_TOO_LARGE, .action = ERR_ACTION_GIVE_UP};
        frame = wire_frame_pd_reply(FRAME_PD_REPLY, &too_large);
        CHECK(frame);
    }
    transport_send(pd->env->transport, conn, frame); /* a connection that is gone, or does not read, loses its answer */
}

/* Leadership begins once everything that earlier terms committed is in our memory. */
static void begin_leading(struct pd *pd)
{
    if (pd->leading_term == 0 && group_is_ready_to_read(pd->group)) {
        pd->leading_term = raft_term_now(pd->group->raft);
        pd_service_begin(pd->service);
        log_event(pd->env->log, LOG_INFO, "event=pd_leading term=%llu applied=%llu cluster=%llu stores=%u regions=%llu",
                  (unsigned long long)pd->leading_term, (unsigned long long)pd_fsm_applied_index(pd->fsm),
                  (unsigned long long)pd_fsm_cluster_id(pd->fsm), pd_fsm_store_count(pd->fsm),
                  (unsigned long long)region_tree_count(pd_fsm_regions(pd->fsm)));
    }
}

static void publish(struct pd *pd)
{
    atomic_store(&pd->cluster, pd_fsm_cluster_id(pd->fsm));
    atomic_store(&pd->ready, pd->leading_term != 0 && pd_fsm_cluster_id(pd->fsm) != 0);
}

static void on_round(void *state)
{
    struct pd *pd = state;
    if (has_failed(pd))
        return;
    for (;;) { /* ends: what the service proposes comes back only after the log worker's sync */
        begin_leading(pd);
        confirm_batch(pd);
        run_when_applied(pd);
        pd_service_round(pd->service);
        if (!raft_has_ready(pd->group->raft))
            break;
        group_pull(pd->group);
        if (has_failed(pd))
            return;
    }
    pd_http_applied(&pd->http, pd_fsm_applied_index(pd->fsm));
    CHECK(group_release(pd->group));
    static const struct group_retention retention = {.retain_count = LOG_RETAIN_COUNT, .size_max = LOG_SIZE_MAX};
    group_maybe_truncate(pd->group, UINT64_MAX, &retention);
    if (pd->log_task) {
        struct log_task *task = pd->log_task;
        pd->log_task = NULL;
        log_worker_post(pd->log_worker, task);
    }
    publish(pd);
}

/* ---- messages */

static void message_free_plain(struct message *message)
{
    free(message);
}

static void post_tick(struct pd *pd, struct message *take_tick)
{
    take_tick->kind = PD_TICK;
    actor_post_after(pd->env->executor, pd->actor, pd->config->tick_ms * 1000, take_tick);
}

static void frame_message_free(struct message *message)
{
    struct pd_frame *frame = (struct pd_frame *)message;
    admission_charge_unref(frame->charge);
    frame_unref(frame->frame);
    free(frame);
}

static void on_frame_message(struct pd *pd, struct pd_frame *take_frame)
{
    struct frame *frame = take_frame->frame;
    take_frame->frame = NULL;
    if (has_failed(pd))
        frame_unref(frame);
    else
        pd_service_request(pd->service, take_frame->conn, frame);
    frame_message_free(&take_frame->message);
}

static void on_logged(struct pd *pd, struct log_task *take_task)
{
    if (take_task->result != ERR_OK)
        fail(pd, take_task->result, take_task->error.text);
    for (uint32_t i = 0; i < take_task->append_count && !has_failed(pd); i++)
        group_appended(pd->group, &take_task->appends[i]);
    log_task_free(take_task);
}

static void on_applied(struct pd *pd, struct pd_apply *take_apply)
{
    if (take_apply->code != ERR_OK)
        fail(pd, take_apply->code, "rows could not be written");
    if (!has_failed(pd))
        group_applied(pd->group, take_apply->last);
    apply_free(&take_apply->task.message);
}

static struct pd_api api_of_now(struct pd *pd)
{
    bool leading = pd->leading_term != 0;
    return (struct pd_api){.config = pd->config,
                           .sched = pd_service_sched(pd->service),
                           .fsm = pd->fsm,
                           .cluster = pd_service_cluster(pd->service),
                           .tso = pd_writes_tso(pd_service_writes(pd->service)),
                           .counts = pd_service_get_counts(pd->service),
                           .now_us = clock_now_us(pd->env->clock),
                           .wall_ms = clock_wall_ms(pd->env->clock),
                           .started_us = pd->started_us,
                           .leading = leading,
                           .leader_address = leading ? pd->config->advertise_address : NULL,
                           .failure = (enum err)atomic_load(&pd->failure),
                           .term = raft_term_now(pd->group->raft),
                           .committed_index = raft_commit_index(pd->group->raft),
                           .log_size = pd->group->log_size};
}

static void on_http(struct pd *pd, struct message *take_message)
{
    struct pd_api api = api_of_now(pd);
    pd_http_request(&pd->http, take_message, &api);
}

static void on_message(void *state, struct message *take_message)
{
    struct pd *pd = state;
    switch ((enum pd_message_kind)take_message->kind) {
    case PD_TICK:
        if (!has_failed(pd)) {
            raft_tick(pd->group->raft, 1);
            pd_service_tick(pd->service);
        }
        post_tick(pd, take_message);
        break;
    case PD_FRAME:
        on_frame_message(pd, (struct pd_frame *)take_message);
        break;
    case PD_LOGGED:
        on_logged(pd, (struct log_task *)take_message);
        break;
    case PD_APPLIED:
        on_applied(pd, (struct pd_apply *)take_message);
        break;
    case PD_HTTP:
        on_http(pd, take_message);
        break;
    }
}

/* ---- the transport's threads */

static enum err judge_hello(const struct pd *pd, const struct wire_hello *hello, struct error *err)
{
    uint64_t own = atomic_load(&pd->cluster);
    if (hello->version_min > PROTOCOL_VERSION || hello->version_max < PROTOCOL_VERSION_MIN)
        return error_set(err, ERR_VERSION, "you speak protocol versions %u to %u, this pd %d to %d", hello->version_min,
                         hello->version_max, PROTOCOL_VERSION_MIN, PROTOCOL_VERSION);
    if (hello->cluster_id != 0 && own != 0 && hello->cluster_id != own)
        return error_set(err, ERR_CLUSTER_NOT_MATCH, "this is cluster %llu, you belong to cluster %llu",
                         (unsigned long long)own, (unsigned long long)hello->cluster_id);
    if (hello->want_node_id != 0 && hello->want_node_id != PD_PEER_ID)
        return error_set(err, ERR_STORE_NOT_MATCH, "this is pd member %d, not %llu", PD_PEER_ID,
                         (unsigned long long)hello->want_node_id);
    return ERR_OK;
}

static enum err on_open(void *context, conn_id conn, struct bytes hello, struct frame **ret_reply)
{
    const struct pd *pd = context;
    struct arena message_arena;
    struct wire_hello theirs;
    struct error error = {0};
    (void)conn;
    arena_init(&message_arena);
    enum err code = wire_decode_hello(hello, &message_arena, &theirs);
    if (code == ERR_OK)
        code = judge_hello(pd, &theirs, &error);
    else
        error_set(&error, code, "malformed hello");
    const struct wire_hello ours = {.role = WIRE_ROLE_PD,
                                    .cluster_id = atomic_load(&pd->cluster),
                                    .node_id = PD_PEER_ID,
                                    .version_min = PROTOCOL_VERSION_MIN,
                                    .version_max = PROTOCOL_VERSION,
                                    .build = bytes_of_string(POLDER_VERSION),
                                    .code = (uint16_t)code,
                                    .text = bytes_of_string(error.text)};
    *ret_reply = wire_frame_hello(FRAME_HELLO, &ours);
    arena_fini(&message_arena);
    return code;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct pd *pd = context;
    if (take_frame->kind != FRAME_PD_REQUEST)
        return ERR_INVALID;
    struct admission_charge *charge = admission_charge(pd->requests, conn, take_frame->size);
    if (!charge)
        return ERR_BUSY; /* the transport offers it again, and reads no more there until then */
    struct pd_frame *message = calloc(1, sizeof(*message));
    CHECK(message);
    *message = (struct pd_frame){.message = {.kind = PD_FRAME, .free = frame_message_free},
                                 .conn = conn,
                                 .frame = take_frame,
                                 .charge = charge};
    enum err code = actor_post(pd->env->executor, pd->actor, &message->message);
    if (code != ERR_OK) {
        message->frame = NULL; /* stays the transport's */
        frame_message_free(&message->message);
    }
    return code;
}

static void on_close(void *context, conn_id conn, enum err reason)
{
    (void)context, (void)conn, (void)reason;
}

/* ---- birth and death */

static enum err check_config(const struct pd_config *config, struct error *err)
{
    if (config->bootstrap_stores < 1 || config->bootstrap_stores > STORE_COUNT_MAX)
        return error_set(err, ERR_INVALID, "bootstrap_stores is %u, must be 1 to %d", config->bootstrap_stores,
                         STORE_COUNT_MAX);
    if (config->replicas < 1 || config->replicas > config->bootstrap_stores || config->replicas > REGION_PEER_COUNT_MAX)
        return error_set(err, ERR_INVALID, "replicas is %u, must be 1 to bootstrap_stores (%u), at most %d",
                         config->replicas, config->bootstrap_stores, REGION_PEER_COUNT_MAX);
    if (config->bootstrap_regions < 1 || config->bootstrap_regions > SPLIT_KEYS_REGIONS_MAX ||
        (uint64_t)config->bootstrap_regions * (1 + config->replicas) > ID_ALLOC_COUNT_MAX)
        return error_set(err, ERR_INVALID, "bootstrap_regions is %u, must be 1 to %d, and with %u replicas at most %u",
                         config->bootstrap_regions, SPLIT_KEYS_REGIONS_MAX, config->replicas,
                         ID_ALLOC_COUNT_MAX / (1 + config->replicas));
    if (config->tick_ms < 1 || config->heartbeat_ticks < 1 || config->election_ticks <= config->heartbeat_ticks)
        return error_set(
            err, ERR_INVALID,
            "tick, heartbeat_ticks and election_ticks must be above 0, and an election longer than a heartbeat");
    return ERR_OK;
}

static const char identity_text[] = "polder pd";

static enum err engine_is_empty(struct engine *engine, bool *ret_empty, struct error *err)
{
    *ret_empty = true;
    for (int cf = 0; cf < ENGINE_CF_COUNT; cf++) {
        struct engine_iter *iter = engine_iter_new(engine, (enum engine_cf)cf, bytes_empty(), bytes_empty());
        engine_iter_seek(engine, iter, bytes_empty());
        *ret_empty &= !engine_iter_valid(engine, iter);
        enum err code = engine_iter_error(engine, iter, err);
        engine_iter_free(engine, iter);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

/* Identity, group and its start, in one write: either all of it is there or nothing. */
static enum err create(struct pd *pd, struct error *err)
{
    struct engine *engine = pd->env->engine;
    struct engine_batch *batch = engine_batch_new(engine);
    struct raft_conf conf = {0};
    CHECK(raft_conf_add(&conf, PD_PEER_ID, RAFT_VOTER) == ERR_OK);
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of_string(PD_FSM_IDENTITY_KEY),
                     bytes_of_string(identity_text));
    group_create(engine, batch, PD_GROUP_ID, &conf);
    pd_fsm_set_applied(pd->fsm, GROUP_FIRST_INDEX, GROUP_FIRST_TERM);
    pd_fsm_put_applied(pd->fsm, engine, batch);
    enum err code = engine_write(engine, batch, true, err);
    engine_batch_free(engine, batch);
    return code;
}

static enum err open_data(struct pd *pd, struct error *err)
{
    struct engine *engine = pd->env->engine;
    struct buf identity;
    bool empty;
    buf_init(&identity, 4096);
    enum err code = engine_get(engine, ENGINE_DEFAULT, bytes_of_string(PD_FSM_IDENTITY_KEY), &identity, err);
    if (code == ERR_OK && !bytes_equal(buf_bytes(&identity), bytes_of_string(identity_text)))
        code = error_set(err, ERR_CORRUPT, "the identity row is not a pd's");
    else if (code == ERR_OK)
        code = pd_fsm_load(pd->fsm, engine, err);
    else if (code == ERR_NOT_FOUND && (code = engine_is_empty(engine, &empty, err)) == ERR_OK)
        code = empty ? create(pd, err)
                     : error_set(err, ERR_CLUSTER_NOT_MATCH,
                                 "it is in use, but not by a pd: it has no identity row of one");
    buf_fini(&identity);
    return code;
}

static enum err open_group(struct pd *pd, struct error *err)
{
    raft_config_default(&pd->raft_config);
    pd->raft_config.heartbeat_ticks = pd->config->heartbeat_ticks;
    pd->raft_config.election_ticks = pd->config->election_ticks;
    pd->raft_config.uncommitted_size_max = UNCOMMITTED_SIZE_MAX;
    pd->raft_config.cache_size_max = 0; /* the log is short: see LOG_RETAIN_COUNT */
    pd->raft_config.read_count_max = READ_COUNT_MAX;
    pd->raft_config.vote_refuse_ticks = 0; /* no lease is ever used, see confirm_batch */
    pd->group_host = (struct group_host){.context = pd,
                                         .send = host_send,
                                         .log_task = host_log_task,
                                         .committed = host_committed,
                                         .read_done = host_read_done,
                                         .fetch = host_fetch,
                                         .changed = host_changed,
                                         .snapshot_wanted = host_snapshot_wanted,
                                         .install = host_install};
    pd->pool = raft_pool_new(POOL_SPARE_SIZE);
    const struct group_options options = {.id = PD_GROUP_ID,
                                          .self = PD_PEER_ID,
                                          .seed = pd->env->seed,
                                          .config = &pd->raft_config,
                                          .pool = pd->pool,
                                          .host = &pd->group_host,
                                          .user = pd,
                                          .applied_index = pd_fsm_applied_index(pd->fsm),
                                          .applied_term = pd_fsm_applied_term(pd->fsm)};
    return group_open(pd->env, &options, &pd->group, err);
}

static enum err start(struct pd *pd, struct error *err)
{
    static const struct actor_ops ops = {.on_message = on_message, .on_round = on_round};
    const struct apply_worker_options apply_options = {0};
    enum err code = log_worker_new(pd->env, LOG_TASKS_MAX, &pd->log_worker);
    if (code == ERR_OK)
        code = apply_worker_new(pd->env, &apply_options, &pd->apply_worker);
    if (code == ERR_OK)
        code = executor_spawn(pd->env->executor, "pd", &ops, pd, pd->config->mailbox_max, &pd->actor);
    if (code != ERR_OK)
        return error_set(err, code, "start the actors: %s", err_name(code));
    struct message *tick = calloc(1, sizeof(*tick));
    CHECK(tick);
    tick->free = message_free_plain;
    /* A lone member has nobody to wait for. Nothing runs on the actor before its first message. */
    if (raft_is_lone(pd->group->raft))
        raft_campaign(pd->group->raft);
    tick->kind = PD_TICK;
    actor_post_must(pd->env->executor, pd->actor, tick);
    pd->handler =
        (struct transport_handler){.context = pd, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
    return transport_listen(pd->env->transport, pd->config->address, &pd->handler, err);
}

enum err pd_new(struct env *env, const struct pd_config *config, struct pd **ret_pd, struct error *err)
{
    const struct pd_service_host host = {.propose = service_propose, .send = service_send};
    *ret_pd = NULL;
    enum err code = check_config(config, err);
    if (code != ERR_OK)
        return code;
    struct pd *pd = calloc(1, sizeof(*pd));
    CHECK(pd);
    struct pd_service_host own_host = host;
    own_host.context = pd;
    pd->env = env;
    pd_http_init(&pd->http);
    pd->started_us = clock_now_us(env->clock);
    pd->config = config;
    pd->fsm = pd_fsm_new();
    pd->requests = admission_new(REQUESTS_SIZE_MAX, CONNECTION_REQUESTS_SIZE_MAX);
    pd->service = pd_service_new(env, config, pd->fsm, &own_host);
    *ret_pd = pd;
    code = open_data(pd, err);
    if (code == ERR_OK)
        code = open_group(pd, err);
    if (code != ERR_OK) {
        *ret_pd = NULL;
        pd_free(pd);
        return error_wrap(err, "pd: data directory %s", config->data_dir);
    }
    atomic_store(&pd->cluster, pd_fsm_cluster_id(pd->fsm));
    code = start(pd, err);
    return code == ERR_OK ? code : error_wrap(err, "pd");
}

void pd_free(struct pd *pd)
{
    if (!pd)
        return;
    pd_http_forget(&pd->http);
    log_task_free(pd->log_task);
    log_worker_free(pd->log_worker);
    apply_worker_free(pd->apply_worker);
    pd_service_free(pd->service);
    group_close(pd->group);
    raft_pool_free(pd->pool);
    pd_fsm_free(pd->fsm);
    admission_unref(pd->requests);
    free(pd);
}

/* There are no more of them than connections. */
void pd_http(struct pd *pd, struct http_exchange *take_exchange)
{
    actor_post_must(pd->env->executor, pd->actor, pd_http_message_new(PD_HTTP, take_exchange));
}

bool pd_is_ready(const struct pd *pd)
{
    return atomic_load(&pd->ready);
}

enum err pd_failure(const struct pd *pd)
{
    return (enum err)atomic_load(&pd->failure);
}

uint64_t pd_cluster_id(const struct pd *pd)
{
    return atomic_load(&pd->cluster);
}

const struct pd_fsm *pd_get_fsm(const struct pd *pd)
{
    return pd->fsm;
}
