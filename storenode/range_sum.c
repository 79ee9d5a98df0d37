#include "range_sum.h"

#include <lzma.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "env/engine.h"
#include "meta/keyspace.h"

enum { PORTION_SIZE = 1024 * 1024, PORTION_COUNT = 4096, ANSWER_SIZE_MAX = 32 * 1024 * 1024, ANSWER_MAX_MS = 250 };

struct range_sum_job {
    struct read_job job;
    struct env *env;
    struct read_worker *worker;
    struct replies *replies;
    uint32_t *under_way;
    struct reply_to to;
    region_id region;
    struct engine_iter *iter; /* owned; what the engine held when it began */
    struct range_sum sum;
    uint64_t answer_at_us; /* with what is there by then */
    uint64_t expire_us;
    struct expiry_view view;
};

void range_sum_add(struct range_sum *sum, struct bytes key, struct bytes value)
{
    uint64_t crc = 0;
    if (key.size > 0)
        crc = lzma_crc64(key.data, key.size, crc);
    if (value.size > 0)
        crc = lzma_crc64(value.data, value.size, crc);
    sum->checksum ^= crc;
    sum->rows++;
    sum->size += key.size + value.size;
}

static void free_job(struct message *message)
{
    struct range_sum_job *job = (struct range_sum_job *)message;
    engine_iter_free(job->env->engine, job->iter);
    free(job);
}

static enum err add_row(struct range_sum_job *job)
{
    struct engine *engine = job->env->engine;
    struct bytes key = engine_iter_key(engine, job->iter), value;
    uint64_t left_ms;
    enum err code = expiry_look(job->env, &job->view, engine_iter_value(engine, job->iter), &value, &left_ms);
    if (code == ERR_NOT_FOUND)
        return ERR_OK;
    if (code == ERR_OK)
        range_sum_add(&job->sum, bytes_of(key.data + KEYSPACE_PREFIX_SIZE, key.size - KEYSPACE_PREFIX_SIZE), value);
    return code;
}

static enum err add_portion(struct range_sum_job *job)
{
    struct engine *engine = job->env->engine;
    uint64_t size_before = job->sum.size;
    struct error error = {0};
    enum err code = ERR_OK;
    for (uint32_t count = 0; code == ERR_OK && count < PORTION_COUNT && job->sum.size - size_before < PORTION_SIZE &&
                             engine_iter_valid(engine, job->iter);
         count++) {
        code = add_row(job);
        if (code == ERR_OK)
            engine_iter_next(engine, job->iter);
    }
    if (code == ERR_OK)
        code = engine_iter_error(engine, job->iter, &error);
    if (code != ERR_OK && code != ERR_NOT_READY)
        log_event(job->env->log, LOG_ERROR, "event=checksum_failed code=%s msg=\"%s\"", err_name(code), error.text);
    if (code == ERR_CORRUPT)
        code = read_worker_damaged(job->worker, job->region, error.text);
    return code;
}

static void answer(struct range_sum_job *job, enum err code)
{
    struct wire_kv_reply reply = {.code = (uint16_t)code, .wait_ms = code == ERR_NOT_READY ? EXPIRY_WAIT_MS : 0};
    if (code == ERR_OK) {
        reply.checksum = job->sum.checksum;
        reply.rows = job->sum.rows;
        reply.size = job->sum.size;
        reply.more = engine_iter_valid(job->env->engine, job->iter);
        if (reply.more)
            reply.next_key = arena_copy(replies_arena(job->replies), engine_iter_key(job->env->engine, job->iter));
    }
    replies_add(job->replies, job->to, &reply);
    (*job->under_way)--;
    free_job(&job->job.message);
}

static void run(struct read_job *base)
{
    struct range_sum_job *job = (struct range_sum_job *)base;
    uint64_t now_us = clock_now_us(job->env->clock);
    enum err code = job->expire_us != 0 && now_us >= job->expire_us ? ERR_DEADLINE : add_portion(job);
    bool end = code != ERR_OK || !engine_iter_valid(job->env->engine, job->iter) || job->sum.size >= ANSWER_SIZE_MAX ||
               now_us >= job->answer_at_us;
    if (end)
        answer(job, code);
    else
        read_worker_post_job(job->worker, &job->job);
}

void range_sum_start(struct env *env, struct read_worker *worker, struct replies *replies,
                     const struct read_request *read, const struct expiry_view *view, uint32_t *under_way)
{
    struct bytes start = read->request->key, end = read->request->end_key;
    struct engine_iter *iter = engine_iter_new(env->engine, ENGINE_DEFAULT, start, end);
    if (read_request_is_outdated(read)) { /* the iterator is of that moment, and this the only one that counts */
        engine_iter_free(env->engine, iter);
        struct wire_kv_reply reply = {.code = ERR_NOT_READY, .wait_ms = READ_NOT_READY_WAIT_MS};
        replies_add(replies, read->to, &reply);
        return;
    }
    struct range_sum_job *job = calloc(1, sizeof *job);
    CHECK(job);
    *job = (struct range_sum_job){.job = {.message = {.free = free_job}, .run = run},
                                  .env = env,
                                  .worker = worker,
                                  .replies = replies,
                                  .under_way = under_way,
                                  .to = read->to,
                                  .region = read->request->region_id,
                                  .iter = iter,
                                  .answer_at_us = clock_now_us(env->clock) + ANSWER_MAX_MS * 1000,
                                  .expire_us = read->expire_us,
                                  .view = *view};
    engine_iter_seek(env->engine, job->iter, start);
    if (BUG(checksum_skips_a_row) && engine_iter_valid(env->engine, job->iter))
        engine_iter_next(env->engine, job->iter);
    (*under_way)++;
    run(&job->job);
}
