#include "rocks_expiry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"

/* Spans of one slot; never changed once made. */
struct table {
    _Atomic uint32_t ref_count;
    bool (*is_expired)(struct bytes value, uint64_t time_ms);
    size_t count;
    struct engine_span *spans; /* by start key; keys are behind them */
};

struct rocks_expiry {
    pthread_mutex_t mutex;
    struct table *tables[ENGINE_EXPIRY_SLOT_COUNT]; /* under the mutex */
    _Atomic uint64_t dropped;
};

/* One compaction. */
struct filter {
    struct rocks_expiry *expiry;
    struct table *tables[ENGINE_EXPIRY_SLOT_COUNT];
};

static void table_unref(struct table *table)
{
    if (table && atomic_fetch_sub(&table->ref_count, 1) == 1)
        free(table);
}

static int by_start(const void *a, const void *b)
{
    return bytes_compare(((const struct engine_span *)a)->start, ((const struct engine_span *)b)->start);
}

static struct bytes copy_to(uint8_t **at, struct bytes bytes)
{
    struct bytes copy = bytes_of(*at, bytes.size);
    if (bytes.size > 0)
        memcpy(*at, bytes.data, bytes.size);
    *at += bytes.size;
    return copy;
}

static struct table *table_new(const struct engine_expiry *spans)
{
    size_t size = 0;
    for (size_t i = 0; i < spans->count; i++)
        size += spans->spans[i].start.size + spans->spans[i].end.size;
    struct table *table = malloc(sizeof *table + spans->count * sizeof *table->spans + size);
    CHECK(table);
    atomic_init(&table->ref_count, 1);
    table->is_expired = spans->is_expired;
    table->count = spans->count;
    table->spans = (struct engine_span *)(void *)(table + 1);
    uint8_t *at = (uint8_t *)(table->spans + table->count);
    for (size_t i = 0; i < table->count; i++) {
        const struct engine_span *span = &spans->spans[i];
        table->spans[i] = (struct engine_span){.time_ms = span->time_ms};
        table->spans[i].start = copy_to(&at, span->start);
        table->spans[i].end = copy_to(&at, span->end);
    }
    qsort(table->spans, table->count, sizeof *table->spans, by_start);
    return table;
}

/* The time for `key`; 0: nothing is known of it. */
static uint64_t table_time(const struct table *table, struct bytes key)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(table->spans[middle].start, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return 0;
    const struct engine_span *span = &table->spans[low - 1];
    return span->end.size == 0 || bytes_compare(key, span->end) < 0 ? span->time_ms : 0;
}

static unsigned char should_drop(void *state, int level, const char *key, size_t key_size, const char *value,
                                 size_t value_size, char **new_value, size_t *new_value_size,
                                 unsigned char *value_changed)
{
    struct filter *filter = state;
    (void)level, (void)new_value, (void)new_value_size;
    *value_changed = 0;
    for (int slot = 0; slot < ENGINE_EXPIRY_SLOT_COUNT; slot++) {
        const struct table *table = filter->tables[slot];
        if (!table || !table->is_expired(bytes_of(value, value_size), UINT64_MAX)) /* most rows never expire */
            continue;
        uint64_t time_ms = table_time(table, bytes_of(key, key_size));
        if (time_ms == 0 || !table->is_expired(bytes_of(value, value_size), time_ms))
            continue;
        atomic_fetch_add_explicit(&filter->expiry->dropped, 1, memory_order_relaxed);
        return 1;
    }
    return 0;
}

static const char *name(void *state)
{
    (void)state;
    return "polder.expiry";
}

static void filter_free(void *state)
{
    struct filter *filter = state;
    for (int slot = 0; slot < ENGINE_EXPIRY_SLOT_COUNT; slot++)
        table_unref(filter->tables[slot]);
    free(filter);
}

static rocksdb_compactionfilter_t *filter_new(void *state, rocksdb_compactionfiltercontext_t *context)
{
    struct rocks_expiry *expiry = state;
    struct filter *filter = calloc(1, sizeof *filter);
    CHECK(filter);
    (void)context;
    filter->expiry = expiry;
    pthread_mutex_lock(&expiry->mutex);
    for (int slot = 0; slot < ENGINE_EXPIRY_SLOT_COUNT; slot++) {
        filter->tables[slot] = expiry->tables[slot];
        if (filter->tables[slot])
            atomic_fetch_add(&filter->tables[slot]->ref_count, 1);
    }
    pthread_mutex_unlock(&expiry->mutex);
    return rocksdb_compactionfilter_create(filter, filter_free, should_drop, name);
}

static void keep(void *state)
{
    (void)state; /* ours lives longer than the database */
}

void rocks_expiry_attach(struct rocks_expiry *expiry, rocksdb_options_t *options)
{
    rocksdb_options_set_compaction_filter_factory(
        options, rocksdb_compactionfilterfactory_create(expiry, keep, filter_new, name));
}

struct rocks_expiry *rocks_expiry_new(void)
{
    struct rocks_expiry *expiry = calloc(1, sizeof *expiry);
    CHECK(expiry && pthread_mutex_init(&expiry->mutex, NULL) == 0);
    return expiry;
}

void rocks_expiry_free(struct rocks_expiry *expiry)
{
    if (!expiry)
        return;
    for (int slot = 0; slot < ENGINE_EXPIRY_SLOT_COUNT; slot++)
        table_unref(expiry->tables[slot]);
    pthread_mutex_destroy(&expiry->mutex);
    free(expiry);
}

void rocks_expiry_set(struct rocks_expiry *expiry, const struct engine_expiry *spans)
{
    CHECK(spans->slot < ENGINE_EXPIRY_SLOT_COUNT);
    struct table *table = table_new(spans);
    pthread_mutex_lock(&expiry->mutex);
    struct table *old = expiry->tables[spans->slot];
    expiry->tables[spans->slot] = table;
    pthread_mutex_unlock(&expiry->mutex);
    table_unref(old);
}

uint64_t rocks_expiry_dropped(const struct rocks_expiry *expiry)
{
    return atomic_load_explicit(&expiry->dropped, memory_order_relaxed);
}
