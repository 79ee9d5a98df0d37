#include "expiry.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/arena.h"
#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "storenode/row.h"
#include "storenode/store_parts.h"

_Static_assert((int)STORE_WORKERS_MAX <= (int)ENGINE_EXPIRY_SLOT_COUNT, "a slot per region worker");

/* ---- reads */

static void free_wish(struct message *message)
{
    free(message);
}

static void wish(struct env *env, const struct expiry_view *view)
{
    struct time_wish *wish = calloc(1, sizeof *wish);
    CHECK(wish);
    *wish = (struct time_wish){
        .message = {.kind = WORKER_TIME_WISH, .free = free_wish}, .region = view->region, .time_ms = view->clock_ms};
    actor_post_must(env->executor, view->owner, &wish->message);
}

enum err expiry_look(struct env *env, const struct expiry_view *view, struct bytes row, struct bytes *ret_value,
                     uint64_t *ret_left_ms)
{
    uint64_t expiry_ms, now_ms = view->now_ms;
    enum err code = row_parse(row, ret_value, &expiry_ms);
    *ret_left_ms = 0;
    if (code != ERR_OK || expiry_ms == 0 || BUG(expired_is_read))
        return code;
    if (expiry_ms <= now_ms || (BUG(expired_by_clock) && expiry_ms <= view->clock_ms))
        return ERR_NOT_FOUND;
    if (view->owner && expiry_ms + EXPIRY_GRACE_MS <= view->clock_ms) {
        wish(env, view);
        return ERR_NOT_READY;
    }
    if (view->clock_ms > now_ms)
        now_ms = view->clock_ms;
    *ret_left_ms = expiry_ms > now_ms ? expiry_ms - now_ms : 1;
    return ERR_OK;
}

/* ---- what compactions may drop */

struct expiry_spans {
    struct read_job job;
    struct env *env;
    uint32_t slot;
    struct arena arena;
    struct engine_span *spans;
    size_t count, capacity;
    uint64_t hash;
};

static void free_spans(struct message *message)
{
    expiry_spans_free((struct expiry_spans *)message);
}

static void tell_engine(struct read_job *base)
{
    struct expiry_spans *spans = (struct expiry_spans *)base;
    struct engine_expiry expiry = {
        .slot = spans->slot, .spans = spans->spans, .count = spans->count, .is_expired = row_is_expired};
    struct error error = {0};
    enum err code = engine_set_expiry(spans->env->engine, &expiry, &error);
    if (code != ERR_OK && code != ERR_DISK_FULL) /* the log's next write finds it, too, and stops us */
        log_event(spans->env->log, LOG_ERROR, "event=expiry_failed code=%s msg=\"%s\"", err_name(code), error.text);
    expiry_spans_free(spans);
}

struct expiry_spans *expiry_spans_new(void)
{
    struct expiry_spans *spans = calloc(1, sizeof *spans);
    CHECK(spans);
    spans->job = (struct read_job){.message = {.free = free_spans}, .run = tell_engine};
    arena_init(&spans->arena);
    return spans;
}

void expiry_spans_free(struct expiry_spans *spans)
{
    if (!spans)
        return;
    arena_fini(&spans->arena);
    free(spans->spans);
    free(spans);
}

void expiry_spans_add(struct expiry_spans *spans, struct bytes start, struct bytes end, struct region_time time)
{
    if (spans->count == spans->capacity) {
        spans->capacity = spans->capacity ? spans->capacity * 2 : 16;
        spans->spans = realloc(spans->spans, spans->capacity * sizeof *spans->spans);
        CHECK(spans->spans);
    }
    spans->spans[spans->count++] = (struct engine_span){
        .start = arena_copy(&spans->arena, start), .end = arena_copy(&spans->arena, end), .time_ms = time.now_ms};
    spans->hash = XXH3_64bits_withSeed(start.data, start.size, spans->hash);
    spans->hash = XXH3_64bits_withSeed(end.data, end.size, spans->hash);
    spans->hash = XXH3_64bits_withSeed(&time.now_ms, sizeof time.now_ms, spans->hash);
}

void expiry_spans_post(struct store *store, uint32_t slot, struct expiry_spans *take_spans, uint64_t *told)
{
    if (take_spans->hash == *told) {
        expiry_spans_free(take_spans);
        return;
    }
    *told = take_spans->hash;
    take_spans->env = store->env;
    take_spans->slot = slot;
    read_worker_post_job(store->readers[slot % store->reader_count], &take_spans->job);
}
