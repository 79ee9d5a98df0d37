/* bench_truth: for each key, which values could be the last one written, given the answers so far.
 *
 * A write that was acknowledged at `end` overwrites every write that had ended before it started; a write of unknown
 * outcome may still take effect later and so stays possible for ever. What is read at the end must be one of those. If
 * nothing was acknowledged for a key and nothing was there, "missing" is right as well. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "bench.h"

enum { HISTORY_WAITING_MAX = 256 * 1024 * 1024 };

struct candidate {
    uint64_t value_id;
    uint64_t end_us; /* UINT64_MAX: unknown */
};

struct key_truth {
    struct candidate *candidates; /* owned */
    uint32_t count, capacity;
    bool acknowledged; /* some write was: the key cannot be missing */
};

struct bench_truth {
    bool verify, history;
    uint64_t key_count;
    size_t value_size;
    struct key_truth *keys; /* owned; NULL without verify */
    uint8_t *scratch;       /* owned; one value */
    struct buf waiting;     /* history lines */
    uint64_t acknowledged;
};

struct bench_truth *bench_truth_new(const char *history_path, bool verify, uint64_t key_count, size_t value_size)
{
    struct bench_truth *truth = calloc(1, sizeof *truth);
    CHECK(truth);
    truth->verify = verify;
    truth->history = history_path != NULL;
    truth->key_count = key_count;
    truth->value_size = value_size;
    truth->scratch = malloc(value_size + 1);
    CHECK(truth->scratch);
    if (verify) {
        truth->keys = calloc(key_count, sizeof *truth->keys);
        CHECK(truth->keys);
    }
    buf_init(&truth->waiting, HISTORY_WAITING_MAX);
    return truth;
}

void bench_truth_free(struct bench_truth *truth)
{
    if (!truth)
        return;
    for (uint64_t i = 0; truth->keys && i < truth->key_count; i++)
        free(truth->keys[i].candidates);
    free(truth->keys);
    free(truth->scratch);
    buf_fini(&truth->waiting);
    free(truth);
}

/* ---- history */

static void append(struct buf *out, const char *text)
{
    CHECK(buf_append(out, text, strlen(text)) == ERR_OK);
}

/* Foreign bytes (a key that somebody else wrote) become \u00NN. */
static void append_json_text(struct buf *out, struct bytes bytes)
{
    append(out, "\"");
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];
        char escape[8];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            CHECK(buf_append_u8(out, c) == ERR_OK);
        else
            CHECK(buf_append(out, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", c)) == ERR_OK);
    }
    append(out, "\"");
}

static void write_line(struct bench_truth *truth, uint32_t client, const char *op, uint64_t key_index,
                       const char *field, const struct bytes *value, uint64_t start_us, uint64_t end_us,
                       enum polder_outcome outcome)
{
    static const char *const outcomes[] = {"ok", "fail", "unknown"};
    char key[BENCH_KEY_SIZE], text[128];
    struct buf *out = &truth->waiting;
    bench_data_key(key_index, key);
    snprintf(text, sizeof text, "{\"client\":%u,\"op\":\"%s\",\"key\":\"%.*s\"", client, op, BENCH_KEY_SIZE, key);
    append(out, text);
    if (field) {
        snprintf(text, sizeof text, ",\"%s\":", field);
        append(out, text);
        if (value)
            append_json_text(out, *value);
        else
            append(out, "null");
    }
    snprintf(text, sizeof text, ",\"start_us\":%llu", (unsigned long long)start_us);
    append(out, text);
    if (outcome != POLDER_UNKNOWN) {
        snprintf(text, sizeof text, ",\"end_us\":%llu", (unsigned long long)end_us);
        append(out, text);
    }
    snprintf(text, sizeof text, ",\"outcome\":\"%s\"}\n", outcomes[outcome]);
    append(out, text);
}

void bench_truth_take(struct bench_truth *truth, struct buf *out)
{
    struct buf empty = *out;
    *out = truth->waiting;
    truth->waiting = empty;
    buf_reset(&truth->waiting);
    truth->waiting.size_max = HISTORY_WAITING_MAX;
}

/* ---- candidates */

static void add_candidate(struct key_truth *key, uint64_t value_id, uint64_t end_us)
{
    if (key->count == key->capacity) {
        key->capacity = key->capacity ? 2 * key->capacity : 2;
        key->candidates = realloc(key->candidates, key->capacity * sizeof *key->candidates);
        CHECK(key->candidates);
    }
    key->candidates[key->count++] = (struct candidate){.value_id = value_id, .end_us = end_us};
}

static void drop_overwritten(struct key_truth *key, uint64_t start_us)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < key->count; i++)
        if (key->candidates[i].end_us >= start_us)
            key->candidates[kept++] = key->candidates[i];
    key->count = kept;
}

void bench_truth_put(struct bench_truth *truth, uint32_t client, uint64_t key_index, uint64_t value_id,
                     uint64_t start_us, uint64_t end_us, enum polder_outcome outcome)
{
    truth->acknowledged += outcome == POLDER_DONE;
    if (truth->history) {
        bench_data_value(value_id, truth->value_size, truth->scratch);
        struct bytes value = bytes_of(truth->scratch, truth->value_size);
        write_line(truth, client, "put", key_index, "value", &value, start_us, end_us, outcome);
    }
    if (!truth->verify || outcome == POLDER_NOT_DONE)
        return;
    struct key_truth *key = &truth->keys[key_index];
    if (outcome == POLDER_DONE) {
        drop_overwritten(key, start_us);
        key->acknowledged = true;
    }
    add_candidate(key, value_id, outcome == POLDER_DONE ? end_us : UINT64_MAX);
}

void bench_truth_get(struct bench_truth *truth, uint32_t client, uint64_t key_index, uint64_t start_us, uint64_t end_us,
                     enum polder_outcome outcome, bool found, struct bytes value)
{
    if (truth->history)
        write_line(truth, client, "get", key_index, outcome == POLDER_DONE ? "result" : NULL, found ? &value : NULL,
                   start_us, end_us, outcome);
}

bool bench_truth_expects(const struct bench_truth *truth, uint64_t key_index)
{
    return truth->verify && truth->keys[key_index].count > 0;
}

enum bench_verdict bench_truth_judge(const struct bench_truth *truth, uint64_t key_index, bool found,
                                     struct bytes value)
{
    const struct key_truth *key = &truth->keys[key_index];
    uint64_t id;
    if (key->count == 0)
        return BENCH_NEVER_WRITTEN;
    if (!found)
        return key->acknowledged ? BENCH_LOST : BENCH_RIGHT;
    if (!bench_data_value_id(value, &id) || value.size != truth->value_size)
        return BENCH_WRONG;
    bench_data_value(id, truth->value_size, truth->scratch);
    if (memcmp(truth->scratch, value.data, value.size) != 0)
        return BENCH_WRONG;
    for (uint32_t i = 0; i < key->count; i++)
        if (key->candidates[i].value_id == id)
            return BENCH_RIGHT;
    return BENCH_LOST;
}

uint64_t bench_truth_acknowledged(const struct bench_truth *truth)
{
    return truth->acknowledged;
}
