#include "storenode/peer_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "storenode/peer_time.h"
#include "storenode/region_worker.h"

enum { APPLY_COUNT_MAX = 64, APPLY_SIZE_MAX = 256 * 1024 };
enum { READ_ROUNDS_MAX = 1024 };

static void on_send(void *context, struct group *group, const struct raft_message *message, bool after);
static struct log_task *on_log_task(void *context, struct group *group);
static void on_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count);
static void on_read_done(void *context, struct group *group, const struct raft_read_result *read);
static void on_fetch(void *context, struct group *group, const struct raft_fetch *fetch);
static void on_changed(void *context, struct group *group, enum raft_role role, peer_id leader);
static void on_snapshot_wanted(void *context, struct group *group, const struct raft_message *message);
static void on_install(void *context, struct group *group, const struct raft_snapshot *snapshot, struct log_task *task);

/* The context of these calls is the peer, found through group->user: one table serves all peers. */
static const struct group_host host = {.send = on_send,
                                       .log_task = on_log_task,
                                       .committed = on_committed,
                                       .read_done = on_read_done,
                                       .fetch = on_fetch,
                                       .changed = on_changed,
                                       .snapshot_wanted = on_snapshot_wanted,
                                       .install = on_install};

/* What is applied at least. A replica that is damaged, or is found to be, starts where its log begins: nothing is applied before
 * all of its rows are new. */
static enum err load_applied(struct store *store, const struct region *region, raft_index *ret_index,
                             raft_term *ret_term, bool *ret_damaged, char damage[static 256], struct error *err)
{
    struct engine *engine = store->env->engine;
    struct raft_position truncated;
    struct error error = {0};
    *ret_damaged = damage_load(engine, region->id, damage, 256);
    enum err code = region_fsm_load_applied(engine, region->id, ret_index, ret_term, &error);
    if (code == ERR_CORRUPT && region->peer_count > 1) {
        *ret_damaged = true;
        snprintf(damage, 256, "%.250s", error.text);
        *ret_index = *ret_term = 0;
    } else if (code != ERR_OK)
        return error_set(err, code, "%s", error.text);
    if (!*ret_damaged)
        return ERR_OK;
    code = group_log_load_truncated(engine, region->id, &truncated, err);
    if (code == ERR_OK && truncated.index > *ret_index) {
        *ret_index = truncated.index;
        *ret_term = truncated.term;
    }
    return code;
}

enum err peer_new(struct region_worker *worker, const struct region *region, peer_id id,
                  const struct raft_config *config, struct peer **ret_peer, struct error *err)
{
    struct store *store = region_worker_store(worker);
    raft_index applied_index = 0;
    raft_term applied_term = 0;
    char damage[256];
    bool damaged = false;
    enum err code = load_applied(store, region, &applied_index, &applied_term, &damaged, damage, err);
    if (code != ERR_OK)
        return code == ERR_NOT_FOUND ? error_set(err, ERR_CORRUPT, "region %llu: its apply state is missing",
                                                 (unsigned long long)region->id)
                                     : code;
    struct peer *peer = calloc(1, sizeof *peer);
    CHECK(peer);
    peer->region_id = region->id;
    peer->worker = worker;
    peer->region = region_copy(region);
    peer->id = id;
    peer->proposals_last = &peer->proposals;
    peer->reads_last = &peer->reads;
    list_init(&peer->awake);
    peer->fsm = region_fsm_new(store->env, store->ranges, region, id, applied_index, applied_term,
                               store->config->tokens_save_interval);
    peer->time = region_fsm_time(peer->fsm);
    struct group_options options = {.id = region->id,
                                    .self = id,
                                    .seed = store->env->seed,
                                    .config = config,
                                    .pool = region_worker_pool(worker),
                                    .host = &host,
                                    .user = peer,
                                    .applied_index = applied_index,
                                    .applied_term = applied_term};
    code = group_open(store->env, &options, &peer->group, err);
    if (code == ERR_NOT_FOUND)
        code = error_set(err, ERR_CORRUPT, "region %llu: its raft state is missing", (unsigned long long)region->id);
    if (code != ERR_OK) {
        peer_free(peer);
        return code;
    }
    if (damaged) {
        peer->snapshot.damaged = true;
        atomic_fetch_add(&store->damage_counts.damaged, 1);
        peer_heal_begin(peer, damage, clock_now_us(store->env->clock));
        log_event(store->env->log, LOG_ERROR, "event=replica_damaged region=%llu peer=%llu at=start msg=\"%s\"",
                  (unsigned long long)region->id, (unsigned long long)id, damage);
    }
    *ret_peer = peer;
    return ERR_OK;
}

void peer_free(struct peer *peer)
{
    if (!peer)
        return;
    for (struct proposal *proposal = peer->proposals, *next; proposal; proposal = next) {
        next = proposal->next;
        free(proposal);
    }
    for (struct waiting_reads *reads = peer->reads, *next; reads; reads = next) {
        next = reads->next;
        read_task_free(reads->task);
        free(reads);
    }
    read_task_free(peer->round_reads);
    read_task_free(peer->round_lease_reads);
    free(peer->pending);
    free(peer->committed);
    peer_snapshot_fini(peer);
    peer_heal_fini(peer);
    peer_force_fini(peer);
    free(peer->strangers);
    peer_check_fini(peer);
    campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
    peer_merge_fini(peer);
    group_close(peer->group);
    region_fsm_free(peer->fsm);
    region_split_free(peer->split.last);
    split_load_fini(&peer->load);
    region_free(peer->region);
    free(peer);
}

/* Members, as it seems, of a region that has changed since what we have applied of it: the newest. */
enum { STRANGER_COUNT = 4 };
struct peer_strangers {
    uint32_t count;
    struct {
        peer_id id;
        store_id store;
    } ring[STRANGER_COUNT];
};

store_id peer_store_of(const struct peer *peer, peer_id id)
{
    const struct region_peer *member = region_peer_by_id(peer->region, id);
    if (member)
        return member->store_id;
    for (uint32_t i = 0; peer->strangers && i < STRANGER_COUNT; i++)
        if (id != 0 && peer->strangers->ring[i].id == id)
            return peer->strangers->ring[i].store;
    return 0;
}

void peer_note_sender(struct peer *peer, peer_id id, store_id store)
{
    if (peer_store_of(peer, id) == store)
        return;
    if (!peer->strangers)
        peer->strangers = calloc(1, sizeof *peer->strangers);
    CHECK(peer->strangers);
    uint32_t place = peer->strangers->count++ % STRANGER_COUNT;
    peer->strangers->ring[place].id = id;
    peer->strangers->ring[place].store = store;
}

store_id peer_leader_store(const struct peer *peer)
{
    return peer_store_of(peer, raft_leader(peer->group->raft));
}

/* ---- end of round: propose */

static struct wire_log_write log_write_of(const struct wire_kv_request *request)
{
    return (struct wire_log_write){.op = request->op,
                                   .key = request->key,
                                   .value = request->value,
                                   .expected = request->expected,
                                   .pairs = request->pairs,
                                   .pairs_count = request->pairs_count,
                                   .end_key = request->end_key,
                                   .ttl_ms = request->ttl_ms,
                                   .client_id = request->client_id,
                                   .sequence = request->sequence,
                                   .sequence_done = request->sequence_done,
                                   .retry = request->retry};
}

/* Room for one reply at least. */
static struct proposal *add_proposal(struct peer *peer, raft_index index, raft_term term, uint32_t count, size_t size)
{
    struct proposal *proposal = calloc(1, sizeof *proposal + (count + 1) * sizeof proposal->replies[0]);
    CHECK(proposal);
    *proposal = (struct proposal){.index = index, .term = term, .count = count, .size = (uint32_t)size};
    *peer->proposals_last = proposal;
    peer->proposals_last = &proposal->next;
    peer->proposed_count += count;
    region_worker_proposed(peer->worker);
    return proposal;
}

void peer_add_proposal(struct peer *peer, raft_index index, raft_term term, const struct reply_to *to, size_t size)
{
    struct proposal *proposal = add_proposal(peer, index, term, to != NULL, size);
    if (to)
        proposal->replies[0] = *to;
}

/* Proposes pending[from..to) as one entry. */
static void propose_some(struct peer *peer, uint32_t from, uint32_t to, struct buf *encoded,
                         struct wire_log_write *writes)
{
    uint32_t count = to - from;
    for (uint32_t i = 0; i < count; i++)
        writes[i] = log_write_of(peer->pending[from + i].request);
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_WRITE,
                                       .epoch_conf = peer->region->epoch_conf,
                                       .epoch_version = peer->region->epoch_version,
                                       .writes = writes,
                                       .writes_count = count};
    command.time_ms = peer_time_of(peer, &command);
    enum err code = wire_encode_log_command(&command, encoded);
    raft_index index = 0;
    raft_term term = 0;
    if (code == ERR_OK)
        code = raft_propose(peer->group->raft, buf_bytes(encoded), &index, &term);
    if (code != ERR_OK) {
        for (uint32_t i = from; i < to; i++)
            peer_refuse(peer, peer->pending[i].to, code, code == ERR_BUSY ? BUSY_WAIT_MS : 0);
        return;
    }
    for (uint32_t i = from; BUG(answer_before_commit) && i < to; i++)
        peer_refuse(peer, peer->pending[i].to, ERR_OK, 0);
    struct proposal *proposal = add_proposal(peer, index, term, count, encoded->size);
    for (uint32_t i = 0; i < count; i++)
        proposal->replies[i] = peer->pending[from + i].to;
    peer->keys_written += count;
    peer->size_written += encoded->size;
}

void peer_propose_pending(struct peer *peer)
{
    /* Beside what else gathers for one store (8 MiB) it must fit into a frame; keys and values alone never get so
     * large. */
    enum { PENDING_KEPT_MAX = 256, ENTRY_SIZE_MAX = 20 * 1024 * 1024 };
    if (peer->pending_count == 0)
        return;
    uint64_t size_max = region_worker_store(peer->worker)->config->proposal_size_max;
    struct wire_log_write *writes = malloc(peer->pending_count * sizeof *writes);
    CHECK(writes);
    struct buf encoded;
    buf_init(&encoded, ENTRY_SIZE_MAX);
    uint32_t from = 0;
    size_t size = 0;
    for (uint32_t i = 0; i < peer->pending_count; i++) {
        if (i > from && size + peer->pending[i].size > size_max) {
            propose_some(peer, from, i, &encoded, writes);
            from = i;
            size = 0;
        }
        size += peer->pending[i].size;
    }
    propose_some(peer, from, peer->pending_count, &encoded, writes);
    buf_fini(&encoded);
    free(writes);
    peer->pending_count = 0;
    if (peer->pending_capacity > PENDING_KEPT_MAX) {
        free(peer->pending);
        peer->pending = NULL;
        peer->pending_capacity = 0;
    }
}

enum err peer_propose_change(struct peer *peer, uint8_t kind, const struct wire_log_merge *merge,
                             const struct reply_to *owed)
{
    enum { CHANGE_SIZE_MAX = 1024 * 1024 };
    struct wire_log_merge copy = *merge;
    struct wire_log_command command = {.kind = kind,
                                       .epoch_conf = peer->region->epoch_conf,
                                       .epoch_version = peer->region->epoch_version,
                                       .merge = &copy};
    struct buf encoded;
    buf_init(&encoded, CHANGE_SIZE_MAX);
    enum err code = wire_encode_log_command(&command, &encoded);
    raft_index index = 0;
    raft_term term = 0;
    if (code == ERR_OK)
        code = raft_propose(peer->group->raft, buf_bytes(&encoded), &index, &term);
    if (code == ERR_OK) {
        struct proposal *proposal = add_proposal(peer, index, term, owed != NULL, encoded.size);
        if (owed)
            proposal->replies[0] = *owed;
        peer->split.proposed = index;
        region_worker_touch(peer->worker, peer);
    }
    buf_fini(&encoded);
    return code;
}

/* ---- reads that wait: for ReadIndex, or only for the apply worker */

static void refuse_reads(struct peer *peer, struct read_task *take_task, enum err code)
{
    for (const struct read_request *read = take_task->first; read; read = read->next)
        peer_refuse(peer, read->to, code, err_action(code) == ERR_ACTION_REROUTE ? 0 : NOT_READY_WAIT_MS);
    read_task_free(take_task);
}

/* `index` 0: the core will say it, under `context`. */
static void wait_for_index(struct peer *peer, struct read_task *take_task, uint64_t context, raft_index index)
{
    struct waiting_reads *waiting = malloc(sizeof *waiting);
    CHECK(waiting);
    *waiting = (struct waiting_reads){.context = context, .index = index, .task = take_task};
    *peer->reads_last = waiting;
    peer->reads_last = &waiting->next;
    peer->reads_count += take_task->count;
}

static void ask_for_reads(struct peer *peer)
{
    if (peer->round_lease_reads) {
        wait_for_index(peer, peer->round_lease_reads, 0, raft_commit_index(peer->group->raft));
        peer->round_lease_reads = NULL;
    }
    struct read_task *task = peer->round_reads;
    if (!task)
        return;
    peer->round_reads = NULL;
    enum err code = raft_read(peer->group->raft, peer->read_context + 1);
    if (code != ERR_OK) {
        refuse_reads(peer, task, code);
        return;
    }
    wait_for_index(peer, task, ++peer->read_context, 0);
}

static void unlink_reads(struct peer *peer, struct waiting_reads **link)
{
    struct waiting_reads *waiting = *link;
    *link = waiting->next;
    if (peer->reads_last == &waiting->next)
        peer->reads_last = link;
    peer->reads_count -= waiting->task->count;
    free(waiting);
}

static void refuse_all_reads(struct peer *peer, enum err code)
{
    while (peer->reads) {
        struct read_task *task = peer->reads->task;
        unlink_reads(peer, &peer->reads);
        refuse_reads(peer, task, code);
    }
    struct read_task **rounds[] = {&peer->round_reads, &peer->round_lease_reads};
    for (int i = 0; i < 2; i++) {
        if (*rounds[i])
            refuse_reads(peer, *rounds[i], code);
        *rounds[i] = NULL;
    }
}

/* Such an entry is the last of its task. Only small ones are worth a look. */
static bool wants_hash(const struct raft_entry *entry)
{
    enum { COMMAND_SIZE_MAX = 128 };
    if (entry->kind != RAFT_ENTRY_NORMAL || entry->data.size == 0 || entry->data.size > COMMAND_SIZE_MAX)
        return false;
    struct wire_log_command command;
    struct arena arena;
    arena_init(&arena);
    bool wants = wire_decode_log_command(entry->data, &arena, &command) == ERR_OK && command.kind == WIRE_COMMAND_KIND_HASH;
    arena_fini(&arena);
    return wants;
}

/* The task wakes us when it is done only if somebody waits: reads, or a new leader's first reads. */
static void post_apply(struct peer *peer, const struct raft_entry *entries, uint32_t count,
                       struct proposal *take_proposals, bool urgent)
{
    struct store *store = region_worker_store(peer->worker);
    struct region_task *task = region_task_new(peer->fsm, region_worker_actor(peer->worker), WORKER_APPLY_DONE,
                                               store->apply_replies, entries, count, take_proposals);
    task->urgent =
        urgent || peer->reads != NULL || (raft_is_leader(peer->group->raft) && !group_is_ready_to_read(peer->group));
    if (count > 0 && wants_hash(&entries[count - 1])) {
        task->hash_store = store;
        task->task.alone = true;
    }
    peer->tasks_out++;
    peer->urgent_out += task->urgent;
    apply_worker_post(store->apply_worker, &task->task);
}

/* Those of entries up to `index`. */
static struct proposal *cut_proposals(struct proposal **list, raft_index index)
{
    struct proposal *first = *list, **last = &first;
    while (*last && (*last)->index <= index)
        last = &(*last)->next;
    *list = *last;
    *last = NULL;
    return first;
}

/* Hands over what gathered: rows are cheaper by the dozen. */
static void apply_committed(struct peer *peer, struct proposal *take_proposals)
{
    if (peer_snapshot_installs(&peer->snapshot) || peer->merge.parked)
        return;
    uint32_t from = 0;
    for (uint32_t i = 0; i < peer->committed_count; i++)
        if (wants_hash(&peer->committed[i])) {
            post_apply(peer, peer->committed + from, i + 1 - from, cut_proposals(&take_proposals, peer->committed[i].index),
                       true);
            from = i + 1;
        }
    if (peer->committed_count > from)
        post_apply(peer, peer->committed + from, peer->committed_count - from, take_proposals, false);
    free(peer->committed);
    peer->committed = NULL;
    peer->committed_count = 0;
    peer->committed_size = 0;
}

static void serve_applied_reads(struct peer *peer)
{
    if (peer_snapshot_installs(&peer->snapshot))
        return;
    if (peer->reads)
        apply_committed(peer, NULL);
    raft_index applied = region_fsm_applied(peer->fsm);
    struct waiting_reads **link = &peer->reads;
    if (peer->reads && peer->tasks_out > 0 && peer->urgent_out == 0)
        post_apply(peer, NULL, 0, NULL, false); /* what they wait for may be done, and nobody tells us */
    if (peer_range_is_old(peer))
        return; /* the task with the split is on its way, and wakes us */
    while (*link) {
        struct waiting_reads *waiting = *link;
        if (waiting->index == 0 || waiting->index > applied) {
            link = &waiting->next;
            continue;
        }
        struct read_task *task = waiting->task;
        unlink_reads(peer, link);
        read_task_set_time(task, true, region_fsm_time(peer->fsm).now_ms);
        region_worker_post_reads(peer->worker, task);
    }
}

static void on_read_done(void *context, struct group *group, const struct raft_read_result *read)
{
    (void)context;
    struct peer *peer = group->user;
    for (struct waiting_reads **link = &peer->reads; *link; link = &(*link)->next) {
        struct waiting_reads *waiting = *link;
        if (waiting->context != read->context)
            continue;
        if (read->code == ERR_OK)
            waiting->index = read->index;
        else {
            struct read_task *task = waiting->task;
            unlink_reads(peer, link);
            refuse_reads(peer, task, read->code);
        }
        return;
    }
}

/* ---- the group's word */

static void on_send(void *context, struct group *group, const struct raft_message *message, bool after)
{
    (void)context;
    struct peer *peer = group->user;
    region_worker_send(peer->worker, peer, message, after);
}

static struct log_task *on_log_task(void *context, struct group *group)
{
    (void)context;
    struct peer *peer = group->user;
    return region_worker_log_task(peer->worker);
}

static void answer_proposal(struct peer *peer, struct proposal *take_proposal, enum err code)
{
    for (uint32_t i = 0; i < take_proposal->count; i++)
        peer_refuse(peer, take_proposal->replies[i], code, 0);
    free(take_proposal);
}

static struct proposal *pop_proposal(struct peer *peer)
{
    struct proposal *proposal = peer->proposals;
    peer->proposals = proposal->next;
    if (!peer->proposals)
        peer->proposals_last = &peer->proposals;
    peer->proposed_count -= proposal->count;
    proposal->next = NULL;
    region_worker_proposal_ended(peer->worker);
    return proposal;
}

/* Of our proposals up to the last of these entries: those whose entry this is, in order. The slots of the others were
 * taken by another leader's entries: they did not happen and never will. */
static struct proposal *claim_proposals(struct peer *peer, const struct raft_entry *entries, uint32_t count)
{
    struct proposal *claimed = NULL, **last = &claimed;
    while (peer->proposals && peer->proposals->index <= entries[count - 1].index) {
        struct proposal *proposal = pop_proposal(peer);
        CHECK(proposal->index >= entries[0].index);
        if (proposal->index == peer->split.proposed)
            peer->split.proposed = 0;
        if (entries[proposal->index - entries[0].index].term == proposal->term || BUG(answers_others_entry)) {
            *last = proposal;
            last = &proposal->next;
        } else
            answer_proposal(peer, proposal, ERR_NOT_LEADER);
    }
    return claimed;
}

static void on_committed(void *context, struct group *group, const struct raft_entry *entries, uint32_t count)
{
    (void)context;
    struct peer *peer = group->user;
    bool split_under_way = peer->split.proposed != 0;
    bool installs = peer_snapshot_installs(&peer->snapshot);
    struct proposal *proposals = installs ? NULL : claim_proposals(peer, entries, count); /* installs: at its end */
    if (peer->committed_count + count > APPLY_COUNT_MAX)
        apply_committed(peer, NULL); /* proposals are of newer entries than these */
    uint32_t wanted = peer->committed_count + count;
    if (!peer->committed || wanted > APPLY_COUNT_MAX) {
        peer->committed =
            realloc(peer->committed, (wanted > APPLY_COUNT_MAX ? wanted : APPLY_COUNT_MAX) * sizeof *entries);
        CHECK(peer->committed);
    }
    if (split_under_way && peer->split.proposed == 0 && raft_is_leader(group->raft))
        peer->split.announce = true;
    memcpy(peer->committed + peer->committed_count, entries, count * sizeof *entries);
    peer->committed_count += count;
    for (uint32_t i = 0; i < count; i++)
        peer->committed_size += entries[i].data.size;
    for (uint32_t i = 0; i < count; i++)
        peer->split.written.size += entries[i].data.size;
    bool somebody_waits = raft_is_leader(group->raft) || proposals || peer->reads;
    if (somebody_waits || peer->committed_count >= APPLY_COUNT_MAX || peer->committed_size >= APPLY_SIZE_MAX)
        apply_committed(peer, proposals);
}
/* Whoever waits for an answer that we cannot give any more. */
static void answer_all(struct peer *peer)
{
    /* They may still be committed by others; who asked must find out under its token. */
    while (peer->proposals && !BUG(answers_others_entry))
        answer_proposal(peer, pop_proposal(peer), BUG(step_down_says_not_done) ? ERR_NOT_LEADER : ERR_MAYBE);
    /* Those that waited for the disk were never proposed; and the disk may be what hangs. */
    for (uint32_t i = 0; i < peer->pending_count; i++)
        peer_refuse(peer, peer->pending[i].to, ERR_NOT_LEADER, 0);
    peer->pending_count = 0;
    peer->split.proposed = 0; /* whatever becomes of it, the fsm says */
}

static void on_changed(void *context, struct group *group, enum raft_role role, peer_id leader)
{
    (void)context;
    struct peer *peer = group->user;
    struct store *store = region_worker_store(peer->worker);
    peer_sleep_note_work(peer);
    if (role == RAFT_LEADER) {
        peer->heartbeat_due = true;
        apply_committed(peer, NULL);
        log_event(store->env->log, LOG_INFO, "event=became_leader region=%llu peer=%llu term=%llu",
                  (unsigned long long)peer->region_id, (unsigned long long)peer->id,
                  (unsigned long long)raft_term_now(group->raft));
    } else
        answer_all(peer);
    if (leader != 0)
        peer->leads_first = false;
    if (role == RAFT_LEADER)
        campaigns_won(region_worker_campaigns(peer->worker), &peer->campaign);
    else if (role == RAFT_FOLLOWER && !raft_wants_campaign(group->raft))
        campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
}

/* ---- entries from the disk for a slow follower */

struct fetch_job {
    struct read_job job;
    struct env *env;
    struct actor *owner;
    struct group_fetch fetch;
};

static void free_fetch(struct message *message)
{
    struct fetch_job *job = (struct fetch_job *)message;
    group_fetch_fini(&job->fetch);
    free(job);
}

static void run_fetch(struct read_job *base)
{
    struct fetch_job *job = (struct fetch_job *)base;
    group_fetch_run(&job->fetch, job->env->engine, job->env->log);
    job->job.message.kind = WORKER_FETCHED;
    actor_post_must(job->env->executor, job->owner, &job->job.message);
}

static void on_fetch(void *context, struct group *group, const struct raft_fetch *fetch)
{
    (void)context;
    struct peer *peer = group->user;
    struct store *store = region_worker_store(peer->worker);
    struct fetch_job *job = calloc(1, sizeof *job);
    CHECK(job);
    job->job = (struct read_job){.message = {.free = free_fetch}, .run = run_fetch};
    job->env = store->env;
    job->owner = region_worker_actor(peer->worker);
    group_fetch_init(&job->fetch, peer->region_id, fetch);
    read_worker_post_job(store->readers[0], &job->job);
}

region_id peer_fetch_region(const struct message *message)
{
    return ((const struct fetch_job *)message)->fetch.group_id;
}

void peer_fetched(struct peer *peer, const struct message *message)
{
    group_fetched(peer->group, &((const struct fetch_job *)message)->fetch);
    region_worker_touch(peer->worker, peer);
}

/* ---- completions */

void peer_step(struct peer *peer, const struct wire_raft_message *wire, struct arena *arena)
{
    struct raft_message message;
    if (wire->to != peer->id || wire->kind == RAFT_SNAPSHOT)
        return; /* meant for a peer that was here before, or rows that did not come this way */
    if (wire->kind == STORE_ROWS_WANTED) {
        peer_heal_asked(peer, wire->from, wire->term, wire->index);
        return;
    }
    if (wire->kind == RAFT_ABSENT && !raft_is_leader(peer->group->raft)) {
        peer_snapshot_absent(peer, wire->from);
        return;
    }
    if (wire->kind == STORE_HASH) {
        peer_check_heard(peer, wire);
        return;
    }
    if (wire->kind == RAFT_TIMEOUT_NOW && peer->snapshot.damaged)
        return; /* it could not serve */
    if (group_message_from_wire(wire, arena, &message) != ERR_OK)
        return;
    peer_sleep_before_step(peer, wire);
    enum err code = raft_step(peer->group->raft, &message);
    if (code == ERR_CORRUPT)
        log_event(region_worker_store(peer->worker)->env->log, LOG_ERROR,
                  "event=raft_contradiction region=%llu peer=%llu from=%llu kind=%s index=%llu term=%llu "
                  "msg=\"a message contradicts what is committed here\"",
                  (unsigned long long)peer->region_id, (unsigned long long)peer->id, (unsigned long long)message.from,
                  raft_message_kind_name(message.kind), (unsigned long long)message.index,
                  (unsigned long long)message.term);
    if (code == ERR_OK) {
        group_note_replicated(peer->group, wire->replicated);
        peer_sleep_after_step(peer, wire);
        peer->split.hurry |= wire->hurry;
    }
    region_worker_touch(peer->worker, peer);
}

/* A campaign that is under way would begin again at the first question: who was chosen to lead first waits for it, too. */
static bool may_lead_first(const struct peer *peer)
{
    const struct raft *raft = peer->group->raft;
    return peer->leads_first && raft_role(raft) == RAFT_FOLLOWER && raft_leader(raft) == 0;
}

static void maybe_campaign(struct peer *peer)
{
    if (peer->snapshot.damaged && !peer_heal_must_lead(peer))
        return; /* its log is as good as any, but it could not serve */
    if (peer->snapshot.damaged && raft_wants_campaign(peer->group->raft))
        peer_heal_know_members(peer);
    bool is_time = raft_wants_campaign(peer->group->raft);
    if (!is_time && !may_lead_first(peer))
        return;
    bool quorum_lives = peer_sleep_quorum_lives(peer);
    if (is_time || quorum_lives) /* who is only to be the first has time until somebody would answer */
        campaigns_want(region_worker_campaigns(peer->worker), &peer->campaign, quorum_lives);
}

void peer_campaign(struct peer *peer)
{
    struct raft *raft = peer->group->raft;
    if ((raft_wants_campaign(raft) || may_lead_first(peer)) && raft_campaign(raft) == ERR_OK)
        region_worker_touch(peer->worker, peer);
    else
        campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
}

void peer_tick(struct peer *peer, uint32_t count)
{
    if (peer->destroy.begun)
        return;
    raft_tick(peer->group->raft, count);
    peer_destroy_tick(peer, count);
    peer->split.young_ticks -= count < peer->split.young_ticks ? count : peer->split.young_ticks;
    peer->split.hurry_ticks -= count < peer->split.hurry_ticks ? count : peer->split.hurry_ticks;
    apply_committed(peer, NULL);
    peer_heal_count_ticks(peer, count);
    peer_heal_tick(peer);
    peer_force_tick(peer, count);
    maybe_campaign(peer);
    if (raft_has_ready(peer->group->raft))
        region_worker_touch(peer->worker, peer);
    peer_merge_tick(peer, count);
    peer_sleep_try(peer);
}

/* Who still knows the region as it was before a split asks pd for the others. */
void peer_shrink(struct peer *peer)
{
    group_shrink(peer->group);
    region_split_free(peer->split.last);
    peer->split.last = NULL;
    free(peer->pending);
    peer->pending = NULL;
    peer->pending_capacity = 0;
}

/* Followers that learnt of it with the next heartbeat would make the children's voters late: a round at once says how
 * far all is committed. Nobody waits for its read. */
static void announce_split(struct peer *peer)
{
    enum { HURRY_TICKS = 4 };
    if (!peer->split.announce)
        return;
    peer->split.announce = false;
    peer->split.hurry_ticks = HURRY_TICKS;
    (void)raft_read(peer->group->raft, ++peer->read_context);
}

void peer_end(struct peer *peer)
{
    answer_all(peer);
    refuse_all_reads(peer, ERR_REGION_NOT_FOUND);
    peer->leads_first = peer->heartbeat_due = false;
    campaigns_end(region_worker_campaigns(peer->worker), &peer->campaign);
    peer_snapshot_begin_install(peer);
}

void peer_round(struct peer *peer)
{
    if (peer->destroy.posted)
        return;
    if (region_worker_may_propose(peer->worker))
        peer_propose_pending(peer);
    else if (peer->pending_count > 0)
        region_worker_wait(peer->worker, peer);
    announce_split(peer);
    ask_for_reads(peer);
    group_pull(peer->group);
    peer->split.everybody |= peer->group->replicated > GROUP_FIRST_INDEX;
    if (peer->split.hurry || peer->destroy.begun)
        apply_committed(peer, NULL);
    peer->split.hurry = false;
    peer_merge_round(peer);
    serve_applied_reads(peer);
}

bool peer_release(struct peer *peer)
{
    return peer->destroy.posted || (group_release(peer->group) && !peer->split.announce);
}

void peer_refuse_waiting(struct peer *peer)
{
    for (uint32_t i = 0; i < peer->pending_count; i++)
        peer_refuse(peer, peer->pending[i].to, ERR_NOT_READY, NOT_READY_WAIT_MS);
    peer->pending_count = 0;
    refuse_all_reads(peer, ERR_NOT_READY);
}

static void refuse_waiting(struct peer *peer)
{
    for (uint32_t i = 0; i < peer->pending_count; i++)
        peer_refuse(peer, peer->pending[i].to, ERR_EPOCH_NOT_MATCH, 0);
    peer->pending_count = 0;
    refuse_all_reads(peer, ERR_EPOCH_NOT_MATCH);
}

void peer_refuse_all(struct peer *peer, const struct region *into)
{
    region_free(peer->region);
    peer->region = region_copy(into); /* what the answers tell */
    refuse_waiting(peer);
    while (peer->proposals)
        answer_proposal(peer, pop_proposal(peer), ERR_EPOCH_NOT_MATCH);
}

/* For people: whom it has to do with. */
static region_id other_region(const struct peer *peer, const struct region_split *change)
{
    if (change->count > 1)
        return change->regions[1]->id;
    return region_is_merging(peer->region) ? peer->region->merging->target : 0;
}

/* The region is another one now. Whatever was let in for the old one and has not been served is refused: it did not
 * happen, and the answer says where to go. */
static void change_done(struct peer *peer, struct region_split *take_change)
{
    static const char *const names[] = {
        [REGION_WAS_SPLIT] = "split",     [REGION_PREPARED] = "merge_prepared", [REGION_ROLLED_BACK] = "merge_rolled_back",
        [REGION_REFUSED] = "merge_refused", [REGION_TOOK_IN] = "merge_done"};
    struct store *store = region_worker_store(peer->worker);
    bool leads = raft_is_leader(peer->group->raft), split = take_change->change == REGION_WAS_SPLIT;
    region_free(peer->region);
    peer->region = region_copy(take_change->regions[0]);
    region_split_free(peer->split.last);
    peer->split.last = split ? take_change : NULL; /* those that are refused below are told where to go */
    peer->split.known = take_change->index;
    peer->heartbeat_due = leads;
    if (split || take_change->change == REGION_TOOK_IN)
        peer_extent_forget(peer);
    peer->split.holds_deleted |= take_change->change == REGION_TOOK_IN; /* what is merged was larger once */
    if (split)
        split_load_fini(&peer->load);
    refuse_waiting(peer);
    log_event(store->env->log, LOG_INFO, "event=%s region=%llu version=%llu index=%llu%s%llu", names[take_change->change],
              (unsigned long long)peer->region_id, (unsigned long long)peer->region->epoch_version,
              (unsigned long long)take_change->index, split ? " children=" : " other=",
              split ? (unsigned long long)take_change->count - 1 : (unsigned long long)other_region(peer, take_change));
    for (uint32_t i = 1; i < take_change->count && split; i++)
        region_worker_add_child(peer->worker, take_change->regions[i], leads);
    peer_merge_changed(peer, take_change);
    if (!split)
        region_split_free(take_change);
}

/* In the order of the log. */
static void region_changed(struct peer *peer, struct region_task *task)
{
    const struct region_conf *conf = task->confs;
    while (task->splits || conf) {
        struct region_split *split = task->splits;
        if (!split || (conf && conf->index < split->index)) {
            peer_conf_applied(peer, &task->entries[conf->index - task->entries[0].index], conf);
            conf = conf->next;
            continue;
        }
        task->splits = split->next;
        split->next = NULL;
        if (peer->merge.ended)
            region_split_free(split);
        else
            change_done(peer, split);
    }
}

void peer_applied(struct peer *peer, struct region_task *take_task)
{
    CHECK(peer->tasks_out > 0);
    peer->tasks_out--;
    peer->urgent_out -= take_task->urgent;
    if (take_task->code != ERR_OK)
        store_fail(region_worker_store(peer->worker), take_task->code, "applying committed entries");
    else {
        peer->split.written.keys += take_task->keys_written;
        peer->split.written.deleted += take_task->keys_deleted;
        if (take_task->entry_count > 0)
            peer->time = take_task->time;
        region_changed(peer, take_task);
        group_applied(peer->group, take_task->applied_index);
        if (take_task->has_verify)
            peer_check_verify(peer, &take_task->verify);
        if (take_task->damaged)
            peer_heal_damaged(peer, take_task->damage);
    }
    if (take_task->parked) {
        region_task_forget_confs(take_task);
        peer->tasks_out++;
        peer->urgent_out += take_task->urgent;
        peer_merge_park(peer, take_task);
    } else
        region_task_free(take_task);
    peer_merge_go_on(peer);
    if (!peer->merge.ended)
        peer_snapshot_go_on(peer);
    region_worker_touch(peer->worker, peer);
}

/* ---- snapshots */

static void on_snapshot_wanted(void *context, struct group *group, const struct raft_message *message)
{
    (void)context;
    peer_snapshot_wanted(group->user, message);
}

static void on_install(void *context, struct group *group, const struct raft_snapshot *snapshot, struct log_task *task)
{
    (void)context;
    peer_snapshot_accepted(group->user, snapshot, task);
}

void peer_snapshot_begin_install(struct peer *peer)
{
    apply_committed(peer, NULL);
    if (peer->tasks_out > 0 && peer->urgent_out == 0)
        post_apply(peer, NULL, 0, NULL, true); /* wakes us when those before it are done */
}

void peer_snapshot_forget_committed(struct peer *peer)
{
    peer->committed_count = 0;
    peer->committed_size = 0;
}

void peer_snapshot_end_install(struct peer *peer)
{
    if (peer->committed_count > 0)
        apply_committed(peer, claim_proposals(peer, peer->committed, peer->committed_count));
}
