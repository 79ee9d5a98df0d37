#include "pd/store_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "base/check.h"

enum { RETURNS_MAX = 16, STEADY_MIN_MS = 10 * 1000, STEADY_MAX_MS = 30 * 60 * 1000, FORGET_RETURN_MS = 60 * 60 * 1000 };
enum { BUCKET_FULL_MS = 2000, BACKOFF_MIN_PERMILLE = 50, BACKOFF_RECOVER_PERMILLE_PER_S = 50 };

struct store_table {
    uint64_t disconnected_ms, down_ms;
    uint32_t count, capacity;
    struct store_entry *entries; /* owned; in order of id */
    uint32_t text_count;
    char (*texts)[LABEL_TEXT_SIZE]; /* owned; text i + 1 is texts[i] */
};

struct store_table *store_table_new(uint64_t disconnected_ms, uint64_t down_ms)
{
    struct store_table *table = calloc(1, sizeof(*table));
    CHECK(table);
    table->disconnected_ms = disconnected_ms;
    table->down_ms = down_ms;
    return table;
}

void store_table_set_silence(struct store_table *table, uint64_t disconnected_ms, uint64_t down_ms)
{
    table->disconnected_ms = disconnected_ms;
    table->down_ms = down_ms;
}

void store_table_free(struct store_table *table)
{
    if (!table)
        return;
    free(table->entries);
    free(table->texts);
    free(table);
}

static uint32_t entry_position(const struct store_table *table, store_id id)
{
    uint32_t low = 0, high = table->count;
    if (id - 1 < high && table->entries[id - 1].id == id) /* ids are mostly 1 .. count */
        return (uint32_t)(id - 1);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->entries[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct store_entry *store_table_find(const struct store_table *table, store_id id)
{
    uint32_t position = entry_position(table, id);
    return position < table->count && table->entries[position].id == id ? &table->entries[position] : NULL;
}

enum err store_table_add(struct store_table *table, store_id id, uint64_t now_ms, struct store_entry **ret_store)
{
    if (store_table_find(table, id))
        return ERR_EXISTS;
    if (table->count == STORE_TABLE_COUNT_MAX)
        return ERR_BUSY;
    if (table->count == table->capacity) {
        table->capacity = table->capacity ? table->capacity * 2 : 16;
        table->entries = realloc(table->entries, table->capacity * sizeof(*table->entries));
        CHECK(table->entries);
    }
    uint32_t position = entry_position(table, id);
    struct store_entry *store = &table->entries[position];
    memmove(store + 1, store, (table->count - position) * sizeof(*store));
    table->count++;
    *store = (struct store_entry){
        .id = id, .heard_ms = now_ms, .leader_weight = 1, .region_weight = 1, .backoff_permille = 1000};
    if (ret_store)
        *ret_store = store;
    return ERR_OK;
}

enum err store_table_remove(struct store_table *table, store_id id, struct error *err)
{
    struct store_entry *store = store_table_find(table, id);
    if (!store)
        return error_set(err, ERR_STORE_NOT_MATCH, "no store %llu", (unsigned long long)id);
    if (store->wanted != STORE_TOMBSTONE)
        return error_set(err, ERR_CONDITION_FAILED, "store %llu is not a tombstone: drain it first",
                         (unsigned long long)id);
    table->count--;
    memmove(store, store + 1, (size_t)(&table->entries[table->count] - store) * sizeof(*store));
    return ERR_OK;
}

uint32_t store_table_count(const struct store_table *table)
{
    return table->count;
}

struct store_entry *store_table_at(const struct store_table *table, uint32_t index)
{
    return &table->entries[index];
}

/* ---- labels */

uint16_t store_table_text(const struct store_table *table, const char *text)
{
    for (uint32_t i = 0; i < table->text_count; i++)
        if (strcmp(table->texts[i], text) == 0)
            return (uint16_t)(i + 1);
    return 0;
}

const char *store_table_text_of(const struct store_table *table, uint16_t text)
{
    CHECK(text > 0 && text <= table->text_count);
    return table->texts[text - 1];
}

uint16_t store_table_intern(struct store_table *table, const char *text)
{
    uint16_t found = store_table_text(table, text);
    if (found || strlen(text) >= LABEL_TEXT_SIZE || table->text_count == LABEL_TEXTS_MAX)
        return found;
    if (table->text_count % 64 == 0) {
        table->texts = realloc(table->texts, (table->text_count + 64) * sizeof(*table->texts));
        CHECK(table->texts);
    }
    memcpy(table->texts[table->text_count++], text, strlen(text) + 1);
    return (uint16_t)table->text_count;
}

uint16_t store_label_value(const struct store_entry *store, uint16_t name)
{
    for (uint32_t i = 0; i < store->label_count; i++)
        if (store->labels[i].name == name)
            return store->labels[i].value;
    return 0;
}

enum err store_table_set_label(struct store_table *table, struct store_entry *store, const char *name,
                               const char *value)
{
    uint16_t name_text = store_table_intern(table, name), value_text = store_table_intern(table, value);
    if (*name == '\0' || name_text == 0 || value_text == 0)
        return ERR_INVALID;
    uint32_t i = 0;
    while (i < store->label_count && store->labels[i].name != name_text)
        i++;
    if (*value == '\0') {
        if (i < store->label_count)
            store->labels[i] = store->labels[--store->label_count];
        return ERR_OK;
    }
    if (i == STORE_LABELS_MAX)
        return ERR_INVALID;
    store->labels[i] = (struct store_label){name_text, value_text};
    store->label_count += i == store->label_count;
    return ERR_OK;
}

/* ---- life */

void store_heartbeat(struct store_entry *store, uint64_t now_ms)
{
    if (store->heard == STORE_DISCONNECTED || store->heard == STORE_DOWN) {
        store->up_since_ms = now_ms;
        store->returns += !store_in_restart(store, now_ms) && store->returns < RETURNS_MAX;
    } else if (store->returns > 0 && now_ms > store->up_since_ms + FORGET_RETURN_MS) {
        store->up_since_ms = now_ms - STEADY_MAX_MS;
        store->returns--;
    }
    store->heard = STORE_UP;
    store->heard_ms = now_ms;
}

void store_is_new(struct store_entry *store, uint64_t now_ms)
{
    store->up_since_ms = now_ms;
    store->returns = 1;
}

bool store_is_steady(const struct store_entry *store, uint64_t now_ms)
{
    uint64_t wait_ms = store->returns == 0 ? 0 : UINT64_C(1) << (store->returns - 1);
    wait_ms = wait_ms * STEADY_MIN_MS > STEADY_MAX_MS ? STEADY_MAX_MS : wait_ms * STEADY_MIN_MS;
    return now_ms >= store->up_since_ms + wait_ms;
}

bool store_in_restart(const struct store_entry *store, uint64_t now_ms)
{
    return now_ms < store->restart_until_ms;
}

void store_prepare_stop(struct store_entry *store, uint64_t until_ms)
{
    store->restart_until_ms = until_ms;
}

void store_table_tick(struct store_table *table, uint64_t now_ms)
{
    for (uint32_t i = 0; i < table->count; i++) {
        struct store_entry *store = &table->entries[i];
        /* The clock of a planned restart runs from its deadline: until then silence was announced. */
        uint64_t since_ms = store->heard_ms > store->restart_until_ms ? store->heard_ms : store->restart_until_ms;
        uint64_t silent_ms = now_ms > store->heard_ms ? now_ms - store->heard_ms : 0;
        if (now_ms > (BUG(repair_in_planned_restart) ? store->heard_ms : since_ms) + table->down_ms)
            store->heard = STORE_DOWN;
        else if (silent_ms > table->disconnected_ms)
            store->heard = STORE_DISCONNECTED;
    }
}

void store_table_forget_heard(struct store_table *table, uint64_t now_ms)
{
    for (uint32_t i = 0; i < table->count; i++) {
        table->entries[i].heard = STORE_UNKNOWN;
        table->entries[i].heard_ms = now_ms;
    }
}

/* ---- limits */

static struct store_bucket full_bucket(int64_t rate_size, uint64_t now_ms)
{
    if (rate_size != 0 && rate_size < STORE_RATE_MIN)
        rate_size = STORE_RATE_MIN;
    if (rate_size > STORE_RATE_MAX)
        rate_size = STORE_RATE_MAX;
    return (struct store_bucket){rate_size, rate_size * BUCKET_FULL_MS / 1000, now_ms};
}

void store_limit(struct store_entry *store, int64_t receive_size_per_s, int64_t send_size_per_s, uint64_t now_ms)
{
    store->receive = full_bucket(receive_size_per_s, now_ms);
    store->send = full_bucket(send_size_per_s, now_ms);
}

static void refill(struct store_bucket *bucket, int64_t permille, uint64_t now_ms)
{
    enum { PASSED_MS_MAX = 60 * 60 * 1000 }; /* so that nothing overflows */
    int64_t passed_ms = now_ms > bucket->filled_ms ? (int64_t)(now_ms - bucket->filled_ms) : 0;
    if (passed_ms > PASSED_MS_MAX)
        passed_ms = PASSED_MS_MAX;
    int64_t full = bucket->rate_size / 1000 * BUCKET_FULL_MS;
    bucket->filled_ms = now_ms;
    bucket->tokens += bucket->rate_size * permille / 1000 * passed_ms / 1000;
    if (bucket->tokens > full)
        bucket->tokens = full;
}

void store_refill(struct store_entry *store, uint64_t latency_target_us, uint64_t now_ms)
{
    int64_t passed_ms = now_ms > store->receive.filled_ms ? (int64_t)(now_ms - store->receive.filled_ms) : 0;
    if (latency_target_us > 0 && store->latency_us > latency_target_us)
        store->backoff_permille /= 2;
    else
        store->backoff_permille += BACKOFF_RECOVER_PERMILLE_PER_S * passed_ms / 1000;
    if (store->backoff_permille > 1000)
        store->backoff_permille = 1000;
    if (store->backoff_permille < BACKOFF_MIN_PERMILLE)
        store->backoff_permille = BACKOFF_MIN_PERMILLE;
    refill(&store->receive, store->backoff_permille, now_ms);
    refill(&store->send, store->backoff_permille, now_ms);
}

void store_bucket_take(struct store_bucket *bucket, uint64_t size)
{
    bucket->tokens -= (int64_t)size;
}
