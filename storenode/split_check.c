#include "split_check.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "meta/keyspace.h"
#include "storenode/peer_heal.h"
#include "storenode/region_split.h"

enum {
    PORTION_SIZE = 1024 * 1024,
    PORTION_COUNT = 4096,
    SAMPLE_SIZE = 64 * 1024,
    SAMPLE_DEAD_TIMES = 4, /* it takes so many times as much room on the disk as it should: much of it is deleted */
    ROW_SIZE = 24,
};

static void free_check(struct message *message)
{
    struct split_check *check = (struct split_check *)message;
    if (check->ask)
        message_free(&check->ask->ids.message);
    region_free(check->region);
    buf_fini(&check->position);
    free(check);
}

static bool is_piece_whole(const struct split_check *check)
{
    const struct store_config *config = check->store->config;
    if (check->kind == SPLIT_CHECK_MIDDLE)
        return check->ask->key_count == 0 && check->piece.size >= check->piece_size;
    bool by_keys = config->region_keys_max > 0 && check->piece.keys >= config->region_split_keys;
    return by_keys || (config->region_size_max > 0 && check->piece.size >= config->region_split_size);
}

static bool is_too_large(const struct split_check *check, const struct region_extent *extent)
{
    const struct store_config *config = check->store->config;
    bool by_keys = config->region_keys_max > 0 && extent->keys >= config->region_keys_max;
    return by_keys || (config->region_size_max > 0 && extent->size >= config->region_size_max);
}

static void count_row(struct split_check *check, struct bytes key, struct bytes value)
{
    uint64_t size = ROW_SIZE + key.size + value.size;
    if (is_piece_whole(check) && check->ask->key_count < REGION_SPLIT_KEYS_MAX) {
        split_ask_add(check->ask, key);
        check->piece = (struct region_extent){0};
    }
    check->piece.size += size;
    check->piece.keys++;
    check->extent.size += size;
    check->extent.keys++;
}

/* True: that was all. */
static bool count_portion(struct split_check *check, uint64_t size_max, uint32_t count_max)
{
    struct engine *engine = check->store->env->engine;
    struct engine_iter *iter =
        engine_iter_new(engine, ENGINE_DEFAULT, buf_bytes(&check->position), check->region->end_key);
    uint64_t size_before = check->extent.size;
    uint32_t count = 0;
    struct error error = {0};
    engine_iter_seek(engine, iter, buf_bytes(&check->position));
    for (; engine_iter_valid(engine, iter) && count < count_max && check->extent.size - size_before < size_max;
         engine_iter_next(engine, iter), count++)
        count_row(check, engine_iter_key(engine, iter), engine_iter_value(engine, iter));
    bool more = engine_iter_valid(engine, iter);
    if (more) {
        buf_reset(&check->position);
        buf_append_bytes(&check->position, engine_iter_key(engine, iter));
    }
    check->code = engine_iter_error(engine, iter, &error);
    if (check->code != ERR_OK)
        log_event(check->store->env->log, LOG_ERROR, "event=split_check_failed region=%llu code=%s msg=\"%s\"",
                  (unsigned long long)check->region->id, err_name(check->code), error.text);
    if (check->code == ERR_CORRUPT)
        store_report_damage(check->store, check->region->id, error.text);
    engine_iter_free(engine, iter);
    return !more || check->code != ERR_OK;
}

/* A last piece that is small is not worth a region. */
static void choose(struct split_check *check)
{
    const struct store_config *config = check->store->config;
    bool small = check->piece.size < config->region_split_size / 2 && check->piece.keys < config->region_split_keys / 2;
    if (check->kind == SPLIT_CHECK_MIDDLE)
        return;
    if (!is_too_large(check, &check->extent))
        check->ask->key_count = 0;
    else if (check->ask->key_count > 1 && small)
        check->ask->key_count--;
}

static uint64_t size_on_disk(const struct split_check *check, struct bytes end_key)
{
    return engine_approximate_size(check->store->env->engine, ENGINE_DEFAULT, check->region->start_key, end_key);
}

/* As if all of it were like the first rows, which were counted and take `sample_size` of `size` on the disk. */
static struct region_extent extrapolate(const struct region_extent *first, uint64_t sample_size, uint64_t size)
{
    double times = (double)size / (double)sample_size;
    return (struct region_extent){.size = (uint64_t)((double)first->size * times),
                                  .keys = (uint64_t)((double)first->keys * times)};
}

/* What is large on the disk need not be known better: it is not small. Unless its first rows say that most of what lies
 * there is deleted, and no compaction has come by yet, or that it is too large. */
static bool is_large(struct split_check *check, bool *ret_all)
{
    uint64_t size = size_on_disk(check, check->region->end_key);
    if (size < check->store->config->region_split_size / 4)
        return false;
    *ret_all = count_portion(check, SAMPLE_SIZE, PORTION_COUNT);
    uint64_t sample_size = *ret_all ? 0 : size_on_disk(check, buf_bytes(&check->position));
    if (sample_size == 0 || sample_size > SAMPLE_DEAD_TIMES * check->extent.size)
        return false;
    struct region_extent whole = extrapolate(&check->extent, sample_size, size);
    if (is_too_large(check, &whole))
        return false;
    check->estimated = true;
    check->extent = whole;
    return true;
}

static void run(struct read_job *base)
{
    struct split_check *check = (struct split_check *)base;
    bool all = false, begins = check->extent.keys == 0;
    bool known = check->kind == SPLIT_CHECK_SIZE && begins && is_large(check, &all);
    if (!known && !all && !count_portion(check, PORTION_SIZE, PORTION_COUNT)) {
        read_worker_post_job(check->store->readers[check->region->id % check->store->reader_count], &check->job);
        return;
    }
    choose(check);
    check->job.message.kind = WORKER_SPLIT_CHECKED;
    actor_post_must(check->store->env->executor, check->owner, &check->job.message);
}

void split_check_start(struct store *store, struct actor *owner, const struct region *region,
                       struct region_extent written, enum split_check_kind kind, uint64_t piece_size)
{
    struct split_check *check = calloc(1, sizeof *check);
    CHECK(check);
    check->job = (struct read_job){.message = {.free = free_check}, .run = run};
    check->store = store;
    check->owner = owner;
    check->region = region_copy(region);
    check->written = written;
    check->kind = kind;
    check->piece_size = piece_size;
    check->ask = split_ask_new(region->id, region->epoch_version, region->peer_count);
    buf_init(&check->position, KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE);
    buf_append_bytes(&check->position, region->start_key);
    read_worker_post_job(store->readers[region->id % store->reader_count], &check->job);
}
