/* pd_snapshot: all of pd's truth, from the leader to a member that lacks log which is gone, or has nothing yet.
 *
 *   leader    core: snapshot wanted --> cut (apply worker: an iterator as of one index) --> read a chunk (jobs) --> send
 *                                                        ^--------- acknowledged: it is on the disk -----------'
 *   member    chunk --> rows into the column family that is not in use (jobs) --> acknowledged --> ... --> the last one:
 *             loaded and checked (jobs) --> nothing is being applied --> the core wants it --> one synced write: these are
 *             the rows now, the log begins here --> acknowledged
 *
 * One chunk at a time, so a few MiB of memory at both ends whatever the size. Half of a snapshot is forgotten when
 * anything goes wrong: the next one begins with an empty column family. */
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "pd/pd_home.h"
#include "pd/pd_parts.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum { SILENCE_US = 30 * 1000 * 1000 };

/* ---- leader: the end */

static void report_failure(struct pd *pd, peer_id peer)
{
    for (uint32_t i = 0; i < pd->snapshot_failed_count; i++)
        if (pd->snapshot_failed[i] == peer)
            return;
    if (pd->snapshot_failed_count < PD_FSM_MEMBERS_MAX)
        pd->snapshot_failed[pd->snapshot_failed_count++] = peer;
}

static void end_sending(struct pd *pd, enum err code)
{
    struct pd_snapshot_out *out = &pd->out;
    peer_id to = out->to;
    if (out->iter)
        engine_iter_free(pd->env->engine, out->iter);
    *out = (struct pd_snapshot_out){0};
    if (code == ERR_OK)
        raft_report_snapshot(pd->group->raft, to, true);
    else
        report_failure(pd, to);
    log_event(pd->env->log, code == ERR_OK ? LOG_INFO : LOG_WARN, "event=pd_snapshot_sent to=%llu code=%s",
              (unsigned long long)to, err_name(code));
}

void pd_snapshot_stop_sending(struct pd *pd)
{
    if (pd->out.to != 0)
        end_sending(pd, ERR_NOT_LEADER);
    pd->snapshot_failed_count = 0;
}

/* ---- leader: the cut */

struct cut_task {
    struct apply_task task; /* first */
    struct pd *pd;
    struct engine *engine;
    enum engine_cf cf;
    uint64_t id;
    struct engine_iter *iter; /* owned */
    enum err code;
};

static void cut_free(struct message *message)
{
    struct cut_task *cut = (struct cut_task *)message;
    if (cut->iter)
        engine_iter_free(cut->engine, cut->iter);
    free(cut);
}

static void cut_nothing(struct apply_task *task, struct apply_worker *worker)
{
    (void)task, (void)worker;
}

/* On the apply worker: all that was committed when the cut was asked for is in the engine, and nothing more. */
static void cut_done(struct apply_task *take_task, enum err code)
{
    struct cut_task *cut = (struct cut_task *)take_task;
    cut->code = code;
    if (code == ERR_OK) {
        cut->iter = engine_iter_new_once(cut->engine, cut->cf, bytes_empty(), bytes_empty());
        engine_iter_seek(cut->engine, cut->iter, bytes_empty());
    }
    cut->task.message.kind = PD_CUT;
    actor_post_must(cut->pd->env->executor, cut->pd->actor, &cut->task.message);
}

void pd_snapshot_wanted(struct pd *pd, const struct raft_message *message)
{
    struct link *link = pd_raft_link(pd, message->to);
    if (pd->out.to != 0 || !link || !link_is_up(link)) {
        report_failure(pd, message->to);
        return;
    }
    pd->out = (struct pd_snapshot_out){
        .to = message->to, .term = message->term, .id = ++pd->snapshot_id_last, .heard_us = clock_now_us(pd->env->clock)};
    pd->out.snapshot = (struct raft_snapshot){
        .index = pd_fsm_applied_index(pd->fsm), .term = pd_fsm_applied_term(pd->fsm), .conf = pd->conf};
    struct cut_task *cut = calloc(1, sizeof *cut);
    CHECK(cut);
    *cut = (struct cut_task){
        .task = {.message = {.free = cut_free}, .apply = cut_nothing, .done = cut_done, .alone = true},
        .pd = pd,
        .engine = pd->env->engine,
        .cf = pd_fsm_cf(pd->fsm),
        .id = pd->out.id};
    pd_wait_begin(&pd->applies, clock_now_us(pd->env->clock));
    apply_worker_post(pd->apply_worker, &cut->task);
    log_event(pd->env->log, LOG_INFO, "event=pd_snapshot_begins to=%llu index=%llu", (unsigned long long)pd->out.to,
              (unsigned long long)pd->out.snapshot.index);
}

/* ---- leader: chunks */

struct read_job {
    struct pd_job job; /* first */
    struct engine *engine;
    struct engine_iter *iter; /* owned */
    uint64_t member_id;
    struct pd_snapshot_out out; /* a copy */
    size_t size_max;
    struct frame *frame; /* owned */
    bool last;
    enum err code;
};

static void read_free(struct message *message)
{
    struct read_job *job = (struct read_job *)message;
    if (job->iter)
        engine_iter_free(job->engine, job->iter);
    frame_unref(job->frame);
    free(job);
}

static struct bytes copy_bytes(struct arena *arena, struct bytes bytes)
{
    uint8_t *copy = arena_alloc(arena, bytes.size + 1);
    if (bytes.size)
        memcpy(copy, bytes.data, bytes.size);
    return bytes_of(copy, bytes.size);
}

static uint32_t collect_rows(struct read_job *job, struct arena *arena, struct wire_snapshot_row **ret_rows)
{
    uint32_t count = 0, capacity = 0;
    size_t size = 0;
    struct wire_snapshot_row *rows = NULL;
    for (; engine_iter_valid(job->engine, job->iter) && (count == 0 || size < job->size_max);
         engine_iter_next(job->engine, job->iter)) {
        struct bytes key = engine_iter_key(job->engine, job->iter), value = engine_iter_value(job->engine, job->iter);
        if (bytes_equal(key, bytes_of_string(PD_FSM_IDENTITY_KEY)))
            continue;
        if (count == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            rows = realloc(rows, capacity * sizeof *rows);
            CHECK(rows);
        }
        rows[count++] =
            (struct wire_snapshot_row){.key = copy_bytes(arena, key), .value = copy_bytes(arena, value)};
        size += key.size + value.size + 64;
    }
    *ret_rows = rows;
    return count;
}

static void read_run(struct pd_job *base, struct env *env)
{
    struct read_job *job = (struct read_job *)base;
    struct arena arena;
    struct wire_snapshot_row *rows;
    struct error error;
    arena_init(&arena);
    struct wire_snapshot_chunk chunk = {.region_id = PD_GROUP_ID,
                                        .from = job->member_id,
                                        .to = job->out.to,
                                        .term = job->out.term,
                                        .id = job->out.id,
                                        .sequence = job->out.sequence};
    chunk.rows_count = collect_rows(job, &arena, &rows);
    chunk.rows = rows;
    job->code = engine_iter_error(job->engine, job->iter, &error);
    chunk.last = job->last = !engine_iter_valid(job->engine, job->iter);
    chunk.snapshot = group_snapshot_to_wire(&job->out.snapshot, &arena);
    if (job->code == ERR_OK && !(job->frame = wire_frame_snapshot_chunk(FRAME_SNAPSHOT, &chunk)))
        job->code = ERR_ENTRY_TOO_LARGE;
    else if (job->code != ERR_OK)
        log_event(env->log, LOG_ERROR, "event=pd_snapshot_unreadable code=%s msg=\"%s\"", err_name(job->code),
                  error.text);
    free(rows);
    arena_fini(&arena);
}

static void read_done(void *context, struct pd_job *take_job)
{
    struct pd *pd = context;
    struct read_job *job = (struct read_job *)take_job;
    struct link *link = pd_raft_link(pd, job->out.to);
    if (pd->out.to != 0 && pd->out.id == job->out.id) {
        pd->out.iter = job->iter;
        job->iter = NULL;
        pd->out.last = job->last;
        pd->out.heard_us = clock_now_us(pd->env->clock);
        enum err code = job->code;
        if (code == ERR_OK)
            code = link && link_is_up(link) ? link_send(link, frame_ref(job->frame)) : ERR_UNAVAILABLE;
        if (code != ERR_OK)
            end_sending(pd, code);
    }
    message_free(&take_job->message);
}

static void read_next(struct pd *pd)
{
    struct read_job *job = calloc(1, sizeof *job);
    CHECK(job);
    *job = (struct read_job){.job = {.message = {.free = read_free}, .run = read_run, .done = read_done},
                             .engine = pd->env->engine,
                             .iter = pd->out.iter,
                             .member_id = pd->member_id,
                             .out = pd->out,
                             .size_max = pd->config->snapshot_chunk_size};
    pd->out.iter = NULL;
    pd_jobs_post(pd->jobs, &job->job);
}

void pd_snapshot_cut_done(struct pd *pd, struct message *take_message)
{
    struct cut_task *cut = (struct cut_task *)take_message;
    pd_wait_end(&pd->applies, clock_now_us(pd->env->clock));
    if (cut->code != ERR_OK) {
        pd_fail(pd, cut->code, "rows could not be written");
    } else if (pd->out.to != 0 && pd->out.id == cut->id) {
        pd->out.iter = cut->iter;
        cut->iter = NULL;
        read_next(pd);
    }
    message_free(take_message);
}

void pd_snapshot_ack(struct pd *pd, const struct frame *frame)
{
    struct wire_snapshot_ack ack;
    struct arena arena;
    arena_init(&arena);
    if (wire_decode_snapshot_ack(frame_bytes(frame), &arena, &ack) == ERR_OK && pd->out.to != 0 &&
        ack.id == pd->out.id && pd->out.iter) {
        if (ack.code != ERR_OK) {
            end_sending(pd, (enum err)ack.code);
        } else if (ack.next == pd->out.sequence + 1) {
            pd->out.heard_us = clock_now_us(pd->env->clock);
            if (pd->out.last)
                end_sending(pd, ERR_OK);
            else {
                pd->out.sequence++;
                read_next(pd);
            }
        }
    }
    arena_fini(&arena);
}

/* ---- member: chunks into the other column family */

static void send_ack(struct pd *pd, enum err code)
{
    struct wire_snapshot_ack ack = {
        .region_id = PD_GROUP_ID, .id = pd->in.id, .next = pd->in.next, .code = (uint16_t)code};
    struct frame *frame = wire_frame_snapshot_ack(FRAME_SNAPSHOT_ACK, &ack);
    CHECK(frame);
    transport_send(pd->env->transport, pd->in.conn, frame);
}

static void forget(struct pd *pd)
{
    bool busy = pd->in.busy;
    pd_fsm_free(pd->in.fsm);
    pd->in = (struct pd_snapshot_in){.busy = busy};
}

struct stage_job {
    struct pd_job job; /* first */
    uint64_t id;
    peer_id from;
    struct frame *frame; /* owned */
    enum engine_cf cf;
    struct raft_snapshot snapshot;
    bool last;
    struct pd_fsm *fsm; /* owned; what has been loaded after the last one */
    bool written;
    enum err code;
};

static void stage_free(struct message *message)
{
    struct stage_job *job = (struct stage_job *)message;
    frame_unref(job->frame);
    pd_fsm_free(job->fsm);
    free(job);
}

static enum err put_rows(struct engine *engine, struct engine_batch *batch, enum engine_cf cf,
                         const struct wire_snapshot_chunk *chunk)
{
    if (chunk->sequence == 0)
        pd_home_clear(engine, batch, cf);
    for (uint32_t i = 0; i < chunk->rows_count; i++) {
        struct bytes key = chunk->rows[i].key;
        if (key.size == 0 || key.data[0] < 'a' || key.data[0] >= 'z' || key.data[0] == PD_FSM_IDENTITY_KEY[0])
            return ERR_CORRUPT;
        engine_batch_put(engine, batch, cf, key, chunk->rows[i].value);
    }
    return ERR_OK;
}

static void load_whole(struct stage_job *job, struct env *env)
{
    struct error error = {.text = ""};
    job->fsm = pd_fsm_new();
    pd_fsm_set_cf(job->fsm, job->cf);
    job->code = pd_fsm_load(job->fsm, env->engine, &error);
    if (job->code == ERR_OK && (pd_fsm_applied_index(job->fsm) != job->snapshot.index ||
                                pd_fsm_applied_term(job->fsm) != job->snapshot.term))
        job->code = error_set(&error, ERR_CORRUPT, "its rows are as of %llu, not %llu",
                              (unsigned long long)pd_fsm_applied_index(job->fsm),
                              (unsigned long long)job->snapshot.index);
    if (job->code != ERR_OK)
        log_event(env->log, LOG_ERROR, "event=pd_snapshot_bad code=%s msg=\"%s\"", err_name(job->code), error.text);
}

static void stage_run(struct pd_job *base, struct env *env)
{
    struct stage_job *job = (struct stage_job *)base;
    struct wire_snapshot_chunk chunk;
    struct arena arena;
    struct error error = {.text = ""};
    arena_init(&arena);
    struct engine_batch *batch = engine_batch_new(env->engine);
    job->code = wire_decode_snapshot_chunk(frame_bytes(job->frame), &arena, &chunk);
    if (job->code == ERR_OK)
        job->code = put_rows(env->engine, batch, job->cf, &chunk);
    if (job->code == ERR_OK) {
        job->code = engine_write(env->engine, batch, job->last, &error);
        job->written = job->code == ERR_OK;
        if (!job->written)
            log_event(env->log, LOG_ERROR, "event=pd_snapshot_not_written code=%s msg=\"%s\"", err_name(job->code),
                      error.text);
    }
    engine_batch_free(env->engine, batch);
    arena_fini(&arena);
    if (job->written && job->last)
        load_whole(job, env);
}

static void stage_done(void *context, struct pd_job *take_job)
{
    struct pd *pd = context;
    struct stage_job *job = (struct stage_job *)take_job;
    pd->in.busy = false;
    if (!job->written && job->code == ERR_IO)
        pd_fail(pd, job->code, "rows of a snapshot could not be written");
    if (!pd_has_failed(pd) && pd->in.state == PD_SNAPSHOT_COMING && pd->in.id == job->id && pd->in.from == job->from) {
        pd->in.next++;
        if (job->code != ERR_OK) {
            send_ack(pd, job->code);
            forget(pd);
        } else if (!job->last) {
            send_ack(pd, ERR_OK);
        } else {
            pd->in.state = PD_SNAPSHOT_WHOLE;
            pd->in.fsm = job->fsm;
            job->fsm = NULL;
            pd_snapshot_go_on(pd);
        }
    }
    message_free(&take_job->message);
}

static void stage(struct pd *pd, const struct wire_snapshot_chunk *chunk, struct frame *frame)
{
    struct stage_job *job = calloc(1, sizeof *job);
    CHECK(job);
    *job = (struct stage_job){.job = {.message = {.free = stage_free}, .run = stage_run, .done = stage_done},
                              .id = chunk->id,
                              .from = chunk->from,
                              .frame = frame_ref(frame),
                              .cf = pd_home_other(pd_fsm_cf(pd->fsm)),
                              .snapshot = pd->in.snapshot,
                              .last = chunk->last};
    pd->in.busy = true;
    pd_jobs_post(pd->jobs, &job->job);
}

/* The first start of one that joins: who we are is what the leader calls us, if we learn. A voter that comes with empty
 * hands has lost its votes. */
static enum err adopt(struct pd *pd, const struct wire_snapshot_chunk *chunk, const struct raft_snapshot *snapshot)
{
    const struct raft_member *member = raft_conf_member(&snapshot->conf, chunk->to);
    struct engine *engine = pd->env->engine;
    struct error error = {.text = ""};
    if (!member || (member->roles != RAFT_LEARNER && !BUG(pd_voter_forgets)))
        return ERR_INVALID;
    struct engine_batch *batch = engine_batch_new(engine);
    struct raft_hard_state hard = {0};
    pd_home_put_identity(engine, batch, chunk->to);
    group_log_put_hard(engine, batch, PD_GROUP_ID, &hard);
    group_log_put_truncated(engine, batch, PD_GROUP_ID, (struct raft_position){0});
    group_put_conf(engine, batch, PD_GROUP_ID, &snapshot->conf);
    pd_fsm_put_applied(pd->fsm, engine, batch);
    enum err code = engine_write(engine, batch, true, &error);
    engine_batch_free(engine, batch);
    if (code == ERR_DISK_FULL)
        return code; /* nobody yet, as before: the leader tries again */
    if (code == ERR_OK) {
        pd->member_id = chunk->to;
        code = pd_open_group(pd, &error);
    }
    if (code != ERR_OK)
        pd_fail(pd, code, error.text);
    else
        log_event(pd->env->log, LOG_INFO, "event=pd_joins member=%llu", (unsigned long long)pd->member_id);
    return code;
}

static enum err begin(struct pd *pd, conn_id conn, const struct wire_snapshot_chunk *chunk)
{
    struct raft_snapshot snapshot;
    if (!chunk->snapshot || group_snapshot_from_wire(chunk->snapshot, &snapshot) != ERR_OK || snapshot.index == 0)
        return ERR_INVALID;
    if (pd->in.state >= PD_SNAPSHOT_WHOLE || pd->in.busy)
        return ERR_BUSY;
    if (!pd->group) {
        enum err code = adopt(pd, chunk, &snapshot);
        if (code != ERR_OK)
            return code;
    }
    if (chunk->term < raft_term_now(pd->group->raft) || chunk->to != pd->member_id)
        return ERR_NOT_LEADER;
    forget(pd);
    pd->in = (struct pd_snapshot_in){.state = PD_SNAPSHOT_COMING,
                                     .conn = conn,
                                     .from = chunk->from,
                                     .term = chunk->term,
                                     .id = chunk->id,
                                     .snapshot = snapshot};
    return ERR_OK;
}

void pd_snapshot_chunk(struct pd *pd, conn_id conn, struct frame *frame)
{
    struct wire_snapshot_chunk chunk;
    struct arena arena;
    arena_init(&arena);
    enum err code = wire_decode_snapshot_chunk(frame_bytes(frame), &arena, &chunk);
    if (code == ERR_OK && chunk.region_id == PD_GROUP_ID) {
        if (chunk.sequence == 0)
            code = begin(pd, conn, &chunk);
        if (code != ERR_OK) {
            struct wire_snapshot_ack ack = {.region_id = PD_GROUP_ID, .id = chunk.id, .code = (uint16_t)code};
            struct frame *answer = wire_frame_snapshot_ack(FRAME_SNAPSHOT_ACK, &ack);
            CHECK(answer);
            transport_send(pd->env->transport, conn, answer);
        } else if (pd->in.state == PD_SNAPSHOT_COMING && !pd->in.busy && chunk.id == pd->in.id &&
                   chunk.from == pd->in.from && chunk.sequence == pd->in.next) {
            pd->in.conn = conn;
            stage(pd, &chunk, frame);
        }
    }
    arena_fini(&arena);
}

/* ---- member: it becomes the truth */

void pd_snapshot_go_on(struct pd *pd)
{
    struct pd_snapshot_in *in = &pd->in;
    if (in->state != PD_SNAPSHOT_WHOLE || pd->applies.count > 0)
        return;
    struct raft_message message = {.kind = RAFT_SNAPSHOT,
                                   .from = in->from,
                                   .to = pd->member_id,
                                   .term = in->term,
                                   .snapshot = &in->snapshot};
    enum err code = raft_step(pd->group->raft, &message);
    if (code == ERR_OK && raft_pending_snapshot(pd->group->raft) == in->snapshot.index) {
        in->state = PD_SNAPSHOT_ACCEPTED;
        return;
    }
    send_ack(pd, code); /* we have all of it already, say, and the leader will see that by itself */
    forget(pd);
}

void pd_snapshot_install(struct pd *pd, const struct raft_snapshot *snapshot, struct log_task *task)
{
    enum engine_cf old = pd_fsm_cf(pd->fsm);
    CHECK(pd->in.state == PD_SNAPSHOT_ACCEPTED && pd->in.snapshot.index == snapshot->index && pd->applies.count == 0);
    pd_fsm_swap(pd->fsm, pd->in.fsm);
    pd->conf = snapshot->conf;
    if (!BUG(pd_snapshot_stays_away))
        pd_home_put_cf(pd->env->engine, task->batch, pd_fsm_cf(pd->fsm));
    pd_home_clear(pd->env->engine, task->batch, old);
}

void pd_snapshot_logged(struct pd *pd)
{
    if (pd->in.state != PD_SNAPSHOT_ACCEPTED || raft_pending_snapshot(pd->group->raft) != 0)
        return;
    log_event(pd->env->log, LOG_INFO, "event=pd_snapshot_installed index=%llu regions=%llu",
              (unsigned long long)pd->in.snapshot.index,
              (unsigned long long)region_tree_count(pd_fsm_regions(pd->fsm)));
    send_ack(pd, ERR_OK);
    forget(pd);
    pd_raft_sync_links(pd);
}

/* ---- time */

void pd_snapshot_tick(struct pd *pd, uint64_t now_us)
{
    struct link *link = pd_raft_link(pd, pd->out.to);
    if (pd->out.to != 0 && (!link || !link_is_up(link) || now_us > pd->out.heard_us + SILENCE_US))
        end_sending(pd, ERR_TIMEOUT);
    while (pd->snapshot_failed_count > 0) {
        peer_id peer = pd->snapshot_failed[--pd->snapshot_failed_count];
        if (raft_is_leader(pd->group->raft))
            raft_report_snapshot(pd->group->raft, peer, false);
    }
}

void pd_snapshot_fini(struct pd *pd)
{
    if (pd->out.iter)
        engine_iter_free(pd->env->engine, pd->out.iter);
    pd_fsm_free(pd->in.fsm);
}
