#include "region_hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "storenode/peer.h"
#include "storenode/range_sum.h"
#include "storenode/region_worker.h"
#include "storenode/row.h"

enum { PORTION_SIZE = 1024 * 1024, PORTION_COUNT = 4096, WAIT_MS = 5000, COMMAND_SIZE_MAX = 1024 };

#define ULL(value) ((unsigned long long)(value))

/* ---- the hash */

static void add_row(struct region_hash *sum, int cf, struct bytes key, struct bytes value)
{
    struct range_sum one = {0};
    range_sum_add(&one, key, value);
    sum->hash += (one.checksum ^ (uint64_t)cf) * 0x9e3779b97f4a7c15u;
    sum->rows++;
    sum->size += one.size;
}

static void add_number(struct region_hash *sum, uint64_t number)
{
    sum->hash = (sum->hash ^ number) * 0xff51afd7ed558ccdu;
    sum->hash ^= sum->hash >> 29;
}

/* What is small, once all rows are in. */
static void add_rest(struct hash_job *job)
{
    const struct snapshot_cut *cut = job->cut;
    struct region_hash *sum = &job->sum;
    for (uint32_t i = 0; i < cut->row_count; i++)
        add_row(sum, cut->rows[i].cf, cut->rows[i].key, cut->rows[i].value);
    struct range_sum range = {0};
    range_sum_add(&range, cut->region->start_key, cut->region->end_key);
    add_number(sum, range.checksum);
    add_number(sum, cut->region->epoch_version);
    add_number(sum, cut->region->epoch_conf);
    add_number(sum, cut->position.index);
    add_number(sum, cut->position.term);
    for (uint32_t i = 0; i < cut->conf.count; i++)
        add_number(sum, cut->conf.members[i].id << 8 | cut->conf.members[i].roles);
}

/* True: there is no more. */
static bool hash_portion(struct hash_job *job)
{
    struct engine *engine = job->store->env->engine;
    uint64_t size_before = job->sum.size;
    for (uint32_t count = 0; job->cf < ENGINE_RAFT;) {
        struct engine_iter *iter = job->cut->iters[job->cf];
        if (!job->sought)
            engine_iter_seek(engine, iter, job->cut->region->start_key);
        job->sought = true;
        for (; engine_iter_valid(engine, iter); engine_iter_next(engine, iter)) {
            if (count++ >= PORTION_COUNT || job->sum.size - size_before >= PORTION_SIZE)
                return false;
            struct bytes value = engine_iter_value(engine, iter);
            if (job->cf != ENGINE_DEFAULT || !row_is_expired(value, job->cut->time.now_ms))
                add_row(&job->sum, job->cf, engine_iter_key(engine, iter), value);
        }
        struct error error = {0};
        job->code = engine_iter_error(engine, iter, &error);
        if (job->code != ERR_OK) {
            log_event(job->store->env->log, LOG_ERROR, "event=hash_failed region=%llu code=%s msg=\"%s\"",
                      ULL(job->cut->region_id), err_name(job->code), error.text);
            if (job->code == ERR_CORRUPT)
                store_report_damage(job->store, job->cut->region_id, error.text);
            return true;
        }
        job->cf++;
        job->sought = false;
    }
    return true;
}

static void run(struct read_job *base)
{
    struct hash_job *job = (struct hash_job *)base;
    struct store *store = job->store;
    if (!hash_portion(job)) {
        read_worker_post_job(store->readers[job->cut->region_id % store->reader_count], &job->job);
        return;
    }
    if (job->code == ERR_OK)
        add_rest(job);
    job->job.message.kind = WORKER_HASHED;
    actor_post_must(store->env->executor, job->owner, &job->job.message);
}

static void free_job(struct message *message)
{
    snapshot_cut_free(((struct hash_job *)message)->cut);
    free(message);
}

void region_hash_start(struct store *store, struct actor *owner, struct snapshot_cut *take_cut)
{
    struct hash_job *job = calloc(1, sizeof *job);
    CHECK(job);
    *job = (struct hash_job){.job = {.message = {.free = free_job}, .run = run},
                             .store = store,
                             .owner = owner,
                             .cut = take_cut,
                             .sum = {.index = take_cut->position.index}};
    read_worker_post_job(store->readers[take_cut->region_id % store->reader_count], &job->job);
}

/* ---- the peer's part */

struct heard_hash {
    peer_id peer;
    struct region_hash sum;
};

/* The leader's, while it compares. */
struct round {
    raft_index index; /* of the entry */
    raft_term term;
    uint64_t since_us;
    struct heard_hash heard[REGION_PEERS_MAX];
    uint32_t heard_count;
    struct reply_to owed[8];
    uint32_t owed_count;
};

struct peer_check {
    struct region_hash own, expected; /* the newest; index 0: none */
    struct round *round;              /* owned; NULL: nothing is under way */
};

static struct peer_check *check_of(struct peer *peer)
{
    if (!peer->check)
        peer->check = calloc(1, sizeof *peer->check);
    CHECK(peer->check);
    return peer->check;
}

void peer_check_fini(struct peer *peer)
{
    if (peer_check_is_busy(peer))
        atomic_fetch_sub(&region_worker_store(peer->worker)->checks_under_way, 1);
    if (peer->check)
        free(peer->check->round);
    free(peer->check);
    peer->check = NULL;
}

bool peer_check_is_busy(const struct peer *peer)
{
    return peer->check && peer->check->round;
}

static enum err propose(struct peer *peer, const struct wire_log_command *command, raft_index *ret_index,
                        raft_term *ret_term)
{
    struct buf encoded;
    buf_init(&encoded, COMMAND_SIZE_MAX);
    enum err code = wire_encode_log_command(command, &encoded);
    if (code == ERR_OK)
        code = raft_propose(peer->group->raft, buf_bytes(&encoded), ret_index, ret_term);
    buf_fini(&encoded);
    region_worker_touch(peer->worker, peer);
    return code;
}

enum err peer_check_start(struct peer *peer, const struct reply_to *to)
{
    struct store *store = region_worker_store(peer->worker);
    if (!raft_is_leader(peer->group->raft))
        return ERR_NOT_LEADER;
    if (peer_snapshot_installs(&peer->snapshot))
        return ERR_NOT_READY;
    struct peer_check *check = check_of(peer);
    struct round *round = check->round;
    if (to && round && round->owed_count == sizeof round->owed / sizeof round->owed[0])
        return ERR_BUSY;
    if (!round) {
        struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_HASH,
                                           .epoch_conf = peer->region->epoch_conf,
                                           .epoch_version = peer->region->epoch_version};
        raft_index index;
        raft_term term;
        enum err code = propose(peer, &command, &index, &term);
        if (code != ERR_OK)
            return code;
        round = check->round = calloc(1, sizeof *round);
        CHECK(round);
        *round = (struct round){.index = index, .term = term, .since_us = region_worker_now_us(peer->worker)};
        atomic_fetch_add(&store->checks_under_way, 1);
    }
    if (to)
        round->owed[round->owed_count++] = *to;
    return ERR_OK;
}

/* The hash that more than half of the members have; NULL: none. */
static const struct region_hash *majority(const struct peer *peer, const struct round *round)
{
    for (uint32_t i = 0; i < round->heard_count; i++) {
        uint32_t same = 0;
        for (uint32_t j = 0; j < round->heard_count; j++)
            same += round->heard[i].sum.hash == round->heard[j].sum.hash;
        if (same > peer->region->peer_count / 2)
            return &round->heard[i].sum;
    }
    return NULL;
}

static bool all_agree(const struct round *round)
{
    for (uint32_t i = 1; i < round->heard_count; i++)
        if (round->heard[i].sum.hash != round->heard[0].sum.hash)
            return false;
    return true;
}

/* A line per replica: region, peer, store, index, hash, rows, bytes; those that were not heard have a hash of -. */
static void answer(struct peer *peer, struct round *round, enum err code)
{
    struct replies *replies = region_worker_replies(peer->worker);
    char text[REGION_PEERS_MAX * 120];
    int used = 0;
    for (uint32_t i = 0; i < peer->region->peer_count && used < (int)sizeof text - 120; i++) {
        const struct region_peer *member = &peer->region->peers[i];
        const struct region_hash *sum = NULL;
        for (uint32_t j = 0; j < round->heard_count; j++)
            if (round->heard[j].peer == member->id)
                sum = &round->heard[j].sum;
        used += snprintf(text + used, sizeof text - (size_t)used, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
                         peer->region_id, member->id, member->store_id, round->index);
        used += sum ? snprintf(text + used, sizeof text - (size_t)used, " %016" PRIx64 " %" PRIu64 " %" PRIu64 "\n", sum->hash,
                               sum->rows, sum->size)
                    : snprintf(text + used, sizeof text - (size_t)used, " - 0 0\n");
    }
    for (uint32_t i = 0; i < round->owed_count; i++) {
        struct wire_kv_reply reply = {.code = (uint16_t)code, .wait_ms = code == ERR_NOT_READY ? 50 : 0};
        if (code == ERR_OK)
            reply.value = arena_copy(replies_arena(replies), bytes_of(text, (size_t)used));
        replies_add(replies, round->owed[i], &reply);
    }
    round->owed_count = 0;
}

static void end_round(struct peer *peer, struct round *round)
{
    struct store *store = region_worker_store(peer->worker);
    atomic_fetch_sub(&store->checks_under_way, 1);
    free(round);
    peer->check->round = NULL;
}

static void judge(struct peer *peer, struct round *round)
{
    struct store *store = region_worker_store(peer->worker);
    const struct region_hash *right = majority(peer, round);
    atomic_fetch_add(&store->damage_counts.hashes, 1);
    answer(peer, round, ERR_OK);
    if (!all_agree(round)) {
        atomic_fetch_add(&store->damage_counts.hash_mismatches, 1);
        for (uint32_t i = 0; i < round->heard_count; i++)
            log_event(store->env->log, LOG_ERROR,
                      "event=replicas_differ region=%llu index=%llu peer=%llu hash=%016llx rows=%llu size=%llu right=%s",
                      ULL(peer->region_id), ULL(round->index), ULL(round->heard[i].peer), ULL(round->heard[i].sum.hash),
                      ULL(round->heard[i].sum.rows), ULL(round->heard[i].sum.size),
                      !right                                       ? "nobody-knows"
                      : right->hash == round->heard[i].sum.hash ? "yes"
                                                                   : "no");
        if (right) {
            raft_index index;
            raft_term term;
            struct wire_log_hash hash = {.index = round->index, .hash = right->hash, .rows = right->rows, .size = right->size};
            struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_VERIFY,
                                               .epoch_conf = peer->region->epoch_conf,
                                               .epoch_version = peer->region->epoch_version,
                                               .check = &hash};
            (void)propose(peer, &command, &index, &term); /* refused: the next check says it again */
        }
    }
    end_round(peer, round);
}

static void hear(struct peer *peer, peer_id from, const struct region_hash *sum)
{
    struct round *round = peer->check ? peer->check->round : NULL;
    if (!round || round->index != sum->index || !region_peer_by_id(peer->region, from) ||
        round->term != raft_term_now(peer->group->raft))
        return;
    for (uint32_t i = 0; i < round->heard_count; i++)
        if (round->heard[i].peer == from)
            return;
    if (round->heard_count == REGION_PEERS_MAX)
        return;
    round->heard[round->heard_count++] = (struct heard_hash){.peer = from, .sum = *sum};
    if (round->heard_count == peer->region->peer_count)
        judge(peer, round);
}

static void compare(struct peer *peer)
{
    const struct peer_check *check = peer->check;
    if (check->own.index == 0 || check->own.index != check->expected.index || check->own.hash == check->expected.hash)
        return;
    char text[256];
    snprintf(text, sizeof text,
             "differs from most replicas at index %llu: hash %016llx, %llu rows, %llu bytes; theirs %016llx, %llu, %llu",
             ULL(check->own.index), ULL(check->own.hash), ULL(check->own.rows), ULL(check->own.size),
             ULL(check->expected.hash), ULL(check->expected.rows), ULL(check->expected.size));
    log_event(region_worker_store(peer->worker)->env->log, LOG_ERROR, "event=replica_differs region=%llu peer=%llu msg=\"%s\"",
              ULL(peer->region_id), ULL(peer->id), text);
    peer_heal_damaged(peer, text);
}

void peer_check_hashed(struct peer *peer, struct hash_job *take_job)
{
    struct raft *raft = peer->group->raft;
    const struct region_hash *sum = &take_job->sum;
    if (take_job->code == ERR_OK && !peer_snapshot_installs(&peer->snapshot)) {
        check_of(peer)->own = *sum;
        if (raft_is_leader(raft))
            hear(peer, peer->id, sum);
        else if (raft_leader(raft) != 0) {
            struct raft_message message = {.kind = STORE_HASH,
                                           .from = peer->id,
                                           .to = raft_leader(raft),
                                           .term = raft_term_now(raft),
                                           .index = sum->index,
                                           .context = sum->hash,
                                           .commit = sum->rows,
                                           .commit_term = sum->size};
            region_worker_touch(peer->worker, peer);
            region_worker_send(peer->worker, peer, &message, false);
        }
        compare(peer);
    }
    message_free(&take_job->job.message);
}

void peer_check_heard(struct peer *peer, const struct wire_raft_message *wire)
{
    struct region_hash sum = {
        .index = wire->index, .hash = wire->context, .rows = wire->commit, .size = wire->commit_term};
    if (raft_is_leader(peer->group->raft) && wire->term == raft_term_now(peer->group->raft))
        hear(peer, wire->from, &sum);
}

void peer_check_verify(struct peer *peer, const struct region_hash *expected)
{
    check_of(peer)->expected = *expected;
    compare(peer);
}

void peer_check_tick(struct peer *peer)
{
    struct round *round = peer->check ? peer->check->round : NULL;
    if (!round)
        return;
    if (!raft_is_leader(peer->group->raft) || round->term != raft_term_now(peer->group->raft)) {
        answer(peer, round, ERR_NOT_LEADER);
        end_round(peer, round);
    } else if (region_worker_now_us(peer->worker) > round->since_us + WAIT_MS * 1000)
        judge(peer, round); /* some are not here: those that are can be compared */
}
