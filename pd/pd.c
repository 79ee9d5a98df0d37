#include "pd/pd.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "base/types.h"
#include "env/clock.h"
#include "pd/id_alloc.h"
#include "pd/pd_home.h"
#include "pd/pd_parts.h"
#include "pd/pd_writes.h"
#include "pd/split_keys.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum {
    LOG_TASKS_MAX = 64,
    LOG_RETAIN_COUNT = 64,
    POOL_SPARE_SIZE = 4 * 1024 * 1024,
    UNCOMMITTED_SIZE_MAX = 64 * 1024 * 1024,
    READ_COUNT_MAX = 16,
    REDIAL_PAUSE_MAX_US = 200 * 1000,
};

enum { REQUESTS_SIZE_MAX = 128 * 1024 * 1024, CONNECTION_REQUESTS_SIZE_MAX = 32 * 1024 * 1024 };

struct pd_frame {
    struct message message;
    conn_id conn;
    struct frame *frame; /* owned */
    struct admission_charge *charge;
};

/* ---- giving up */

void pd_fail(struct pd *pd, enum err code, const char *what)
{
    int none = ERR_OK;
    if (!atomic_compare_exchange_strong(&pd->failure, &none, (int)code))
        return;
    atomic_store(&pd->ready, false);
    pd_service_end(pd->service);
    pd_http_forget(&pd->http);
    log_event(pd->env->log, LOG_ERROR, "event=pd_failed code=%s msg=\"%s\"", err_name(code), what);
}

/* ---- reads: proof of leadership for a sealed batch */

static void run_when_applied(struct pd *pd)
{
    if (pd->barrier_index != 0 && pd_fsm_applied_index(pd->fsm) >= pd->barrier_index) {
        pd->barrier_index = 0;
        pd_service_run(pd->service);
    }
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
    if (group_lease_holds(pd->group, clock_now_us(pd->env->clock), 0) || BUG(pd_read_unproved)) {
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

static enum err service_propose_conf(void *context, const struct raft_conf_change *change, raft_index *ret_index,
                                     raft_term *ret_term)
{
    struct pd *pd = context;
    return raft_propose_conf(pd->group->raft, change, ret_index, ret_term);
}

static enum err service_transfer(void *context, uint64_t member)
{
    struct pd *pd = context;
    return raft_transfer(pd->group->raft, member);
}

static void service_status(void *context, struct raft_status *ret_status)
{
    struct pd *pd = context;
    raft_get_status(pd->group->raft, ret_status);
}

static void service_send(void *context, conn_id conn, const struct wire_pd_reply *reply)
{
    struct pd *pd = context;
    if (pd_http_is_conn(conn)) {
        pd_http_reply(&pd->http, conn, reply);
        return;
    }
    struct frame *frame = wire_frame_pd_reply(FRAME_PD_REPLY, reply);
    if (!frame) { /* cannot be: lists are cut far below a frame's size */
        struct wire_pd_reply too_large = {.id = reply->id, .code = ERR_ENTRY_TOO_LARGE, .action = ERR_ACTION_GIVE_UP};
        frame = wire_frame_pd_reply(FRAME_PD_REPLY, &too_large);
        CHECK(frame);
    }
    transport_send(pd->env->transport, conn, frame); /* a connection that is gone, or does not read, loses its answer */
}

/* What we say when we dial. */
static struct wire_hello own_hello(const struct pd *pd)
{
    return (struct wire_hello){.role = WIRE_ROLE_PD,
                               .cluster_id = atomic_load(&pd->cluster),
                               .node_id = atomic_load(&pd->own_id),
                               .version_min = PROTOCOL_VERSION_MIN,
                               .version_max = PROTOCOL_VERSION,
                               .build = bytes_of_string(POLDER_VERSION)};
}

static void set_hello(struct pd *pd)
{
    struct wire_hello hello = own_hello(pd);
    if (pd->links)
        links_set_hello(pd->links, &hello);
}

/* Leadership begins once everything that earlier terms committed is in our memory. */
static void begin_leading(struct pd *pd)
{
    if (pd->leading_term != 0 || !group_is_ready_to_read(pd->group))
        return;
    pd->leading_term = raft_term_now(pd->group->raft);
    pd_service_begin(pd->service);
    log_event(pd->env->log, LOG_INFO, "event=pd_leading term=%llu applied=%llu cluster=%llu stores=%u regions=%llu",
              (unsigned long long)pd->leading_term, (unsigned long long)pd_fsm_applied_index(pd->fsm),
              (unsigned long long)pd_fsm_cluster_id(pd->fsm), pd_fsm_store_count(pd->fsm),
              (unsigned long long)region_tree_count(pd_fsm_regions(pd->fsm)));
}

static void publish(struct pd *pd)
{
    uint64_t cluster = pd_fsm_cluster_id(pd->fsm);
    peer_id leader = raft_leader(pd->group->raft);
    if (cluster != atomic_load(&pd->cluster)) {
        atomic_store(&pd->cluster, cluster);
        set_hello(pd);
    }
    if (pd->heard_us != 0 && pd_fsm_applied_index(pd->fsm) >= pd->heard_index) {
        pd->fresh_us = pd->heard_us;
        pd->heard_us = 0;
    }
    pd_service_set_fresh(pd->service, pd->fresh_us);
    atomic_store(&pd->ready,
                 cluster != 0 && (pd->leading_term != 0 || (leader != 0 && leader != pd->member_id)));
}

static void on_round(void *state)
{
    struct pd *pd = state;
    if (pd_has_failed(pd) || !pd->group)
        return;
    for (;;) { /* ends: what the service proposes comes back only after the log worker's sync */
        begin_leading(pd);
        confirm_batch(pd);
        run_when_applied(pd);
        pd_service_round(pd->service);
        if (!raft_has_ready(pd->group->raft))
            break;
        group_pull(pd->group);
        if (pd_has_failed(pd))
            return;
    }
    pd_http_applied(&pd->http, pd_fsm_applied_index(pd->fsm));
    CHECK(group_release(pd->group));
    const struct group_retention retention = {.retain_count = LOG_RETAIN_COUNT, .size_max = pd->config->log_size_max};
    group_maybe_truncate(pd->group, pd->out.to != 0 ? pd->out.snapshot.index : UINT64_MAX, &retention);
    if (pd->log_task) {
        struct log_task *task = pd->log_task;
        pd->log_task = NULL;
        pd_wait_begin(&pd->logs, clock_now_us(pd->env->clock));
        log_worker_post(pd->log_worker, task);
    }
    publish(pd);
}

/* ---- over HTTP */

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
                           .leader_address =
                               leading ? pd->config->advertise_address : pd_service_leader_address(pd->service),
                           .failure = (enum err)atomic_load(&pd->failure),
                           .member_id = pd->member_id,
                           .status = pd->group ? service_status : NULL,
                           .context = pd,
                           .term = pd->group ? raft_term_now(pd->group->raft) : 0,
                           .committed_index = pd->group ? raft_commit_index(pd->group->raft) : 0,
                           .log_size = pd->group ? pd->group->log_size : 0};
}

static void on_http(struct pd *pd, struct message *take_message, struct link *leader)
{
    struct pd_api api = api_of_now(pd);
    conn_id conn = 0;
    struct frame *frame = pd_http_request(&pd->http, take_message, &api, leader, &conn);
    if (frame)
        pd_service_request(pd->service, conn, frame);
}

/* A member passes on what it was asked. It goes no further. */
static void on_http_call(struct pd *pd, conn_id conn, const struct frame *frame)
{
    struct http_exchange *exchange = pd_relay_take(&pd->http.relay, conn, frame);
    if (exchange)
        on_http(pd, pd_http_message_new(PD_HTTP, exchange), NULL);
}

/* ---- frames, of whoever */

static void on_any_frame(struct pd *pd, conn_id conn, struct frame *take_frame)
{
    if (pd_has_failed(pd)) {
        frame_unref(take_frame);
        return;
    }
    switch (take_frame->kind) {
    case FRAME_PD_REQUEST:
        pd_service_request(pd->service, conn, take_frame);
        return;
    case FRAME_RAFT:
        pd_raft_frame(pd, conn, take_frame);
        break;
    case FRAME_SNAPSHOT:
        pd_snapshot_chunk(pd, conn, take_frame);
        break;
    case FRAME_SNAPSHOT_ACK:
        if (pd->group)
            pd_snapshot_ack(pd, take_frame);
        break;
    case FRAME_HTTP_CALL:
        on_http_call(pd, conn, take_frame);
        break;
    case FRAME_HTTP_ANSWER:
        pd_relay_answered(&pd->http.relay, take_frame);
        break;
    default:
        break;
    }
    frame_unref(take_frame);
}

/* ---- links to the other members: what comes back on them */

static void on_link_frame(void *context, struct link *link, struct frame *take_frame)
{
    if (take_frame->kind == FRAME_PD_REQUEST || take_frame->kind == FRAME_HTTP_CALL)
        frame_unref(take_frame); /* nobody asks on a connection that we dialed */
    else
        on_any_frame(context, link_conn(link), take_frame);
}

/* Once per failure, not at every dial that comes to nothing. False: it is marked like that already. */
static bool mark_said(struct pd *pd, const struct link *link, bool said)
{
    for (uint32_t i = 0; i < pd->peer_count; i++)
        if (pd->peers[i].link == link && pd->peers[i].said != said) {
            pd->peers[i].said = said;
            return true;
        }
    return false;
}

static void on_link_up(void *context, struct link *link, const struct wire_hello *hello)
{
    struct pd *pd = context;
    mark_said(pd, link, false);
    log_event(pd->env->log, LOG_INFO, "event=pd_member_up member=%llu address=%s", (unsigned long long)hello->node_id,
              link_address(link));
}

static void on_link_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    struct pd *pd = context;
    if (mark_said(pd, link, true) || was_up)
        log_event(pd->env->log, LOG_WARN, "event=pd_member_down address=%s code=%s msg=\"%s\"", link_address(link),
                  err_name(code), text ? text : "");
}

static void start_links(struct pd *pd)
{
    struct wire_hello hello = own_hello(pd);
    const struct links_options options = {.pause_max_us = REDIAL_PAUSE_MAX_US};
    const struct links_handler handler = {
        .context = pd, .on_up = on_link_up, .on_frame = on_link_frame, .on_down = on_link_down};
    pd->links = links_new(pd->env, pd->actor, PD_LINKS, &hello, &options, &handler);
    pd_raft_sync_links(pd);
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

static void on_tick(struct pd *pd)
{
    uint64_t now_us = clock_now_us(pd->env->clock);
    if (!pd->links) /* here and not at birth: what links say comes to this actor at once */
        start_links(pd);
    links_tick(pd->links);
    pd_relay_tick(&pd->http.relay);
    pd_service_tick(pd->service);
    if (!pd->group)
        return;
    raft_tick(pd->group->raft, 1);
    pd_raft_tick(pd);
    pd_health_tick(pd, now_us);
    pd_snapshot_tick(pd, now_us);
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
    on_any_frame(pd, take_frame->conn, frame);
    frame_message_free(&take_frame->message);
}

static void on_logged(struct pd *pd, struct log_task *take_task)
{
    pd_wait_end(&pd->logs, clock_now_us(pd->env->clock));
    if (take_task->result != ERR_OK)
        pd_fail(pd, take_task->result, take_task->error.text);
    for (uint32_t i = 0; i < take_task->append_count && !pd_has_failed(pd); i++)
        group_appended(pd->group, &take_task->appends[i]);
    if (!pd_has_failed(pd))
        pd_snapshot_logged(pd);
    log_task_free(take_task);
}

static void on_job(struct pd *pd, struct pd_job *take_job)
{
    if (pd_has_failed(pd))
        message_free(&take_job->message);
    else
        take_job->done(pd, take_job);
}

static void on_message(void *state, struct message *take_message)
{
    struct pd *pd = state;
    switch ((enum pd_message_kind)take_message->kind) {
    case PD_TICK:
        if (!pd_has_failed(pd))
            on_tick(pd);
        post_tick(pd, take_message);
        break;
    case PD_FRAME:
        on_frame_message(pd, (struct pd_frame *)take_message);
        break;
    case PD_LOGGED:
        on_logged(pd, (struct log_task *)take_message);
        break;
    case PD_APPLIED:
        pd_raft_applied(pd, (struct apply_task *)take_message);
        if (!pd_has_failed(pd))
            pd_snapshot_go_on(pd);
        break;
    case PD_CUT:
        pd_snapshot_cut_done(pd, take_message);
        break;
    case PD_JOB:
        on_job(pd, (struct pd_job *)take_message);
        break;
    case PD_LINKS:
        links_on_message(pd->links, take_message);
        break;
    case PD_HTTP:
        on_http(pd, take_message, pd->group ? pd_raft_link(pd, raft_leader(pd->group->raft)) : NULL);
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
    uint64_t own_id = atomic_load(&pd->own_id); /* 0: whoever adds us says who we are */
    if (hello->want_node_id != 0 && own_id != 0 && hello->want_node_id != own_id)
        return error_set(err, ERR_STORE_NOT_MATCH, "this is pd member %llu, not %llu", (unsigned long long)own_id,
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
    struct wire_hello ours = own_hello(pd);
    ours.code = (uint16_t)code;
    ours.text = bytes_of_string(error.text);
    *ret_reply = wire_frame_hello(FRAME_HELLO, &ours);
    if (code == ERR_OK)
        (*ret_reply)->tag = theirs.role == WIRE_ROLE_PD;
    arena_fini(&message_arena);
    return code;
}

static enum err on_frame(void *context, conn_id conn, struct frame *take_frame)
{
    struct pd *pd = context;
    bool of_member = take_frame->kind == FRAME_RAFT || take_frame->kind == FRAME_SNAPSHOT ||
                     take_frame->kind == FRAME_HTTP_CALL;
    if (take_frame->kind != FRAME_PD_REQUEST && !(of_member && take_frame->tag))
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

/* Identity, group and its start, in one write: either all of it is there or nothing. */
static enum err create(struct pd *pd, struct error *err)
{
    struct wire_pd_member founders[PD_CONFIG_FOUNDERS_MAX];
    struct engine *engine = pd->env->engine;
    struct raft_conf conf = {0};
    uint32_t count = pd_members_found(pd->config, founders);
    pd->member_id = pd_members_own_id(pd->config);
    if (pd->member_id == 0)
        return error_set(err, ERR_INVALID, "initial-cluster: %s, this member, is not in it", pd->config->name);
    struct engine_batch *batch = engine_batch_new(engine);
    pd_home_put_identity(engine, batch, pd->member_id);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(raft_conf_add(&conf, founders[i].id, RAFT_VOTER) == ERR_OK);
        pd_fsm_found_member(pd->fsm, &founders[i], engine, batch);
    }
    group_create(engine, batch, PD_GROUP_ID, &conf);
    pd_fsm_set_applied(pd->fsm, GROUP_FIRST_INDEX, GROUP_FIRST_TERM);
    pd_fsm_put_applied(pd->fsm, engine, batch);
    enum err code = engine_write(engine, batch, true, err);
    engine_batch_free(engine, batch);
    return code;
}

/* A directory of the days when every pd was alone says nothing about members. */
static enum err found_alone(struct pd *pd, struct error *err)
{
    if (pd_fsm_member_count(pd->fsm) > 0 || !raft_is_lone(pd->group->raft))
        return ERR_OK;
    struct wire_pd_member self = {.id = pd->member_id,
                                  .name = bytes_of_string(pd->config->name),
                                  .address = bytes_of_string(pd->config->advertise_address)};
    struct engine_batch *batch = engine_batch_new(pd->env->engine);
    pd_fsm_found_member(pd->fsm, &self, pd->env->engine, batch);
    enum err code = engine_write(pd->env->engine, batch, true, err);
    engine_batch_free(pd->env->engine, batch);
    return code;
}

static enum err open_data(struct pd *pd, struct error *err)
{
    struct pd_home home = {0};
    enum err code = pd_home_load(pd->env->engine, &home, err);
    if (code == ERR_NOT_FOUND)
        return pd->config->join ? ERR_OK : create(pd, err);
    if (code != ERR_OK)
        return code;
    pd->member_id = home.member_id;
    pd_fsm_set_cf(pd->fsm, home.cf);
    return pd_fsm_load(pd->fsm, pd->env->engine, err);
}

enum err pd_open_group(struct pd *pd, struct error *err)
{
    raft_config_default(&pd->raft_config);
    pd->raft_config.heartbeat_ticks = pd->config->heartbeat_ticks;
    pd->raft_config.election_ticks = pd->config->election_ticks;
    pd->raft_config.uncommitted_size_max = UNCOMMITTED_SIZE_MAX;
    pd->raft_config.read_count_max = READ_COUNT_MAX;
    pd->raft_config.vote_refuse_ticks = 0; /* no lease is ever used, see confirm_batch */
    pd_raft_host(pd, &pd->group_host);
    pd->pool = raft_pool_new(POOL_SPARE_SIZE);
    const struct group_options options = {.id = PD_GROUP_ID,
                                          .self = pd->member_id,
                                          .seed = pd->env->seed,
                                          .config = &pd->raft_config,
                                          .pool = pd->pool,
                                          .host = &pd->group_host,
                                          .user = pd,
                                          .applied_index = pd_fsm_applied_index(pd->fsm),
                                          .applied_term = pd_fsm_applied_term(pd->fsm)};
    enum err code = group_open(pd->env, &options, &pd->group, err);
    if (code == ERR_OK) {
        raft_get_conf(pd->group->raft, &pd->conf);
        code = found_alone(pd, err);
    }
    atomic_store(&pd->own_id, pd->member_id);
    set_hello(pd);
    return code;
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
    if (code == ERR_OK)
        code = pd_jobs_new(pd->env, pd->actor, PD_JOB, &pd->jobs);
    if (code != ERR_OK)
        return error_set(err, code, "start the actors: %s", err_name(code));
    struct message *tick = calloc(1, sizeof *tick);
    CHECK(tick);
    tick->free = message_free_plain;
    /* A lone member has nobody to wait for. Nothing runs on the actor before its first message. */
    if (pd->group && raft_is_lone(pd->group->raft))
        raft_campaign(pd->group->raft);
    tick->kind = PD_TICK;
    actor_post_must(pd->env->executor, pd->actor, tick);
    pd->handler =
        (struct transport_handler){.context = pd, .on_open = on_open, .on_frame = on_frame, .on_close = on_close};
    return transport_listen(pd->env->transport, pd->config->address, &pd->handler, err);
}

enum err pd_new(struct env *env, const struct pd_config *config, struct pd **ret_pd, struct error *err)
{
    *ret_pd = NULL;
    enum err code = check_config(config, err);
    if (code != ERR_OK)
        return code;
    struct pd *pd = calloc(1, sizeof(*pd));
    CHECK(pd);
    const struct pd_service_host host = {.context = pd,
                                         .propose = service_propose,
                                         .propose_conf = service_propose_conf,
                                         .transfer = service_transfer,
                                         .status = service_status,
                                         .send = service_send};
    pd->env = env;
    pd_http_init(&pd->http, env);
    pd->started_us = clock_now_us(env->clock);
    pd->config = config;
    pd->fsm = pd_fsm_new();
    arena_init(&pd->message_arena);
    pd->requests = admission_new(REQUESTS_SIZE_MAX, CONNECTION_REQUESTS_SIZE_MAX);
    pd->service = pd_service_new(env, config, pd->fsm, &host);
    *ret_pd = pd;
    code = open_data(pd, err);
    if (code == ERR_OK && pd->member_id != 0)
        code = pd_open_group(pd, err);
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
    pd_http_fini(&pd->http);
    links_free(pd->links);
    log_task_free(pd->log_task);
    log_worker_free(pd->log_worker);
    apply_worker_free(pd->apply_worker);
    pd_jobs_free(pd->jobs);
    pd_snapshot_fini(pd);
    pd_service_free(pd->service);
    group_close(pd->group);
    raft_pool_free(pd->pool);
    pd_fsm_free(pd->fsm);
    admission_unref(pd->requests);
    arena_fini(&pd->message_arena);
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

bool pd_is_leading(const struct pd *pd)
{
    return pd->leading_term != 0;
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

struct pd_sched *pd_get_sched(const struct pd *pd)
{
    return pd_service_sched(pd->service);
}

struct raft *pd_get_raft(const struct pd *pd)
{
    return pd->group ? pd->group->raft : NULL;
}
