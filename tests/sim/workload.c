#include "workload.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/check.h"
#include "pd/split_keys.h"
#include "storenode/range_sum.h"

#include <uthash.h>

enum { TTL_MAX_MS = 4000, KEYS_MAX = 256, KEY_SIZE_SMALL = 16, THREADS_MAX = 8, BATCH_MAX = 6 };

struct key {
    uint8_t data[KEY_SIZE_SMALL];
    size_t size;
    uint32_t number; /* in the history */
    uint32_t last;   /* a value that somebody saw or wrote lately: a guess for cas */
};

/* One key's part of an operation under way. */
struct part {
    uint32_t key;
    uint32_t value;
    bool remove;
};

struct thread {
    struct workload *workload;
    struct world_node *client;
    uint64_t generation; /* of the node: answers to a former life are not ours */
    bool busy;
    enum client_op op;
    enum polder_read read;
    uint64_t start;
    struct part parts[BATCH_MAX];
    uint32_t part_count;
    uint32_t expected;
    uint64_t ttl_ms;
    uint32_t scan_from, scan_to; /* keys [from, to) in order */
    bool scan_reverse, scan_keys_only;
    uint32_t probe_key;
};

/* A row that somebody may have written, by its checksum. */
struct row_sum {
    uint64_t checksum;
    uint32_t key, value;
    UT_hash_handle hh;
};

/* How long a value that was put with a TTL may be seen; by number of the value. */
struct life {
    uint64_t ttl_ms;
    uint64_t seen_until_ns; /* by reads that begin then; 0: not known to be written */
};

struct workload {
    struct world *world;
    struct life *lives; /* owned */
    uint32_t life_count;
    struct row_sum *sums; /* owned */
    struct history *history;
    struct rng rng;
    struct key keys[KEYS_MAX]; /* in key order */
    uint32_t key_count;
    struct thread threads[WORLD_CLIENT_MAX][THREADS_MAX];
    uint64_t serial; /* of values */
    uint64_t last_time;
    bool stopped, probing;
    bool probe_written[WORLD_CLIENT_MAX][KEYS_MAX], probe_read[WORLD_CLIENT_MAX][KEYS_MAX];
    struct workload_counts counts;
};

/* Strictly growing, so that the order in which things happened is never in doubt. */
static uint64_t take_time(struct workload *workload)
{
    uint64_t now_ns = sim_now_ns(world_sim(workload->world));
    workload->last_time = now_ns > workload->last_time ? now_ns : workload->last_time + 1;
    return workload->last_time;
}

static struct bytes key_bytes(const struct key *key)
{
    return bytes_of(key->data, key->size);
}

static struct polder_bytes polder_view(struct bytes bytes)
{
    return polder_bytes(bytes.data, bytes.size);
}

/* ---- keys */

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(key_bytes(a), key_bytes(b));
}

/* As text if it is, else as hex: histories are text. */
static uint32_t intern_key(struct workload *workload, struct bytes key)
{
    char text[2 * KEY_SIZE_SMALL + 3] = "0x";
    bool printable = true;
    for (size_t i = 0; i < key.size; i++) {
        printable = printable && isgraph(key.data[i]) && key.data[i] < 128;
        snprintf(text + 2 + 2 * i, 3, "%02x", key.data[i]);
    }
    return printable ? history_intern_key(workload->history, key)
                     : history_intern_key(workload->history, bytes_of_string(text));
}

static void add_key(struct workload *workload, struct bytes start, const char *suffix)
{
    if (workload->key_count == KEYS_MAX || start.size + strlen(suffix) > KEY_SIZE_SMALL ||
        start.size + strlen(suffix) == 0)
        return;
    struct key *key = &workload->keys[workload->key_count++];
    if (start.size > 0)
        memcpy(key->data, start.data, start.size);
    memcpy(key->data + start.size, suffix, strlen(suffix));
    key->size = start.size + strlen(suffix);
}

/* A few keys in each of the first regions, the first key of each among them. */
static void make_keys(struct workload *workload)
{
    static const char *const suffixes[] = {"", "!", "~", "~~"};
    struct arena arena;
    arena_init(&arena);
    uint32_t regions = world_options(workload->world)->region_count;
    uint32_t per_region = world_swarm(workload->world)->keys_per_region;
    const struct bytes *boundaries = split_keys_make(regions, &arena);
    for (uint32_t region = 0; region < regions; region++) {
        struct bytes start =
            region > 0 ? bytes_of(boundaries[region - 1].data + 1, boundaries[region - 1].size - 1) : bytes_of("\0", 1);
        for (uint32_t i = 0; i < per_region; i++)
            add_key(workload, start, suffixes[i]);
    }
    arena_fini(&arena);
    qsort(workload->keys, workload->key_count, sizeof workload->keys[0], compare_keys);
    for (uint32_t i = 0; i < workload->key_count; i++)
        workload->keys[i].number = intern_key(workload, key_bytes(&workload->keys[i]));
}

static int find_key(const struct workload *workload, struct bytes bytes)
{
    uint32_t low = 0, high = workload->key_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = bytes_compare(key_bytes(&workload->keys[middle]), bytes);
        if (order == 0)
            return (int)middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

/* ---- values: "c3-17", then dots up to a random size, so that the bytes are checked too */

static uint32_t new_value(struct workload *workload, uint32_t client)
{
    char text[64];
    uint32_t size_max = world_swarm(workload->world)->value_size_max;
    size_t used = (size_t)snprintf(text, sizeof text, "c%u-%llu", client, (unsigned long long)++workload->serial);
    size_t size = rng_chance(&workload->rng, 3, 4) ? used : used + rng_below(&workload->rng, size_max + 1);
    uint8_t *bytes = malloc(size);
    CHECK(bytes);
    memset(bytes, '.', size);
    memcpy(bytes, text, used);
    uint32_t value = history_intern(workload->history, bytes_of(bytes, size));
    free(bytes);
    return value;
}

static void note_sum(struct workload *workload, uint32_t key, uint32_t value)
{
    struct range_sum sum = {0};
    range_sum_add(&sum, key_bytes(&workload->keys[key]), history_value(workload->history, value));
    struct row_sum *row = calloc(1, sizeof *row);
    CHECK(row);
    *row = (struct row_sum){.checksum = sum.checksum, .key = key, .value = value};
    HASH_ADD(hh, workload->sums, checksum, sizeof row->checksum, row);
}

/* ---- recording */

/* How far wall clocks may be from each other, and from the world's. */
static uint64_t clock_error_ms(const struct workload *workload)
{
    uint64_t mask = world_swarm(workload->world)->fault_mask;
    return UINT64_C(2) + (mask & FAULT_BIT(FAULT_WALL) ? 20000u : 0u) + (mask & FAULT_BIT(FAULT_CLOCK) ? 2000u : 0u);
}

static struct life *life_of(struct workload *workload, uint32_t value)
{
    if (value >= workload->life_count) {
        uint32_t count = value * 2 + 64;
        workload->lives = realloc(workload->lives, count * sizeof *workload->lives);
        CHECK(workload->lives);
        memset(workload->lives + workload->life_count, 0, (count - workload->life_count) * sizeof *workload->lives);
        workload->life_count = count;
    }
    return &workload->lives[value];
}

/* What was put with a TTL vanishes at some time after that, if it is still there: a compare-and-swap of that value with
 * nothing, which may happen, once. A value that comes back breaks the history. */
static void record_life(struct thread *thread, const struct part *part, enum history_outcome outcome)
{
    enum { GRACE_MS = 250 };
    struct workload *workload = thread->workload;
    uint64_t error_ms = clock_error_ms(workload), ttl_ms = thread->ttl_ms;
    struct history_op end = {.client = thread->client->number,
                             .key = workload->keys[part->key].number,
                             .kind = HISTORY_CAS,
                             .outcome = HISTORY_UNKNOWN,
                             .value = HISTORY_NO_VALUE,
                             .expected = part->value,
                             .result = HISTORY_NOT_TOLD,
                             .swapped = true,
                             .start = thread->start + (ttl_ms > error_ms ? (ttl_ms - error_ms) * 1000000 : 0),
                             .end = UINT64_MAX};
    history_add(workload->history, &end);
    if (outcome == HISTORY_OK)
        life_of(workload, part->value)->seen_until_ns = workload->last_time + (ttl_ms + GRACE_MS + error_ms) * 1000000;
}

static void check_life(struct thread *thread, const struct part *part, uint32_t value)
{
    const struct life *life = life_of(thread->workload, value);
    if (life->seen_until_ns != 0 && thread->start > life->seen_until_ns)
        world_fail(thread->workload->world, "client", 0, "key %u has outlived its time by %llu ms", part->key,
                   (unsigned long long)((thread->start - life->seen_until_ns) / 1000000));
}

static void record(struct thread *thread, enum history_kind kind, const struct part *part, enum history_outcome outcome,
                   uint32_t result, bool swapped)
{
    struct workload *workload = thread->workload;
    struct history_op op = {.client = thread->client->number,
                            .key = workload->keys[part->key].number,
                            .kind = kind,
                            .outcome = outcome,
                            .value = part->value,
                            .expected = thread->expected,
                            .result = result,
                            .swapped = swapped,
                            .start = thread->start,
                            .end = outcome == HISTORY_UNKNOWN ? UINT64_MAX : workload->last_time};
    history_add(workload->history, &op);
    bool writes = kind == HISTORY_PUT || (kind == HISTORY_CAS && (swapped || outcome != HISTORY_OK));
    if (writes && thread->ttl_ms > 0 && outcome != HISTORY_FAIL)
        record_life(thread, part, outcome);
    if (kind == HISTORY_GET && outcome == HISTORY_OK && result != HISTORY_NOT_TOLD)
        check_life(thread, part, result);
    if (outcome != HISTORY_OK)
        return;
    uint32_t seen = kind == HISTORY_GET ? result : kind == HISTORY_CAS && !swapped ? result : part->value;
    if (seen != HISTORY_NOT_TOLD)
        workload->keys[part->key].last = seen;
    if (workload->probing) {
        uint32_t client = thread->client->number - 1;
        (kind == HISTORY_GET ? workload->probe_read : workload->probe_written)[client][part->key] = true;
    }
}

static enum history_outcome outcome_of(enum polder_outcome outcome)
{
    return outcome == POLDER_DONE ? HISTORY_OK : outcome == POLDER_NOT_DONE ? HISTORY_FAIL : HISTORY_UNKNOWN;
}

static uint32_t intern_result(struct workload *workload, bool found, struct polder_bytes value)
{
    return found ? history_intern(workload->history, bytes_of(value.data, value.size)) : HISTORY_NO_VALUE;
}

static void record_cas(struct thread *thread, const struct polder_result *result)
{
    if (result->outcome != POLDER_NOT_DONE || result->code != POLDER_CONDITION_FAILED) {
        record(thread, HISTORY_CAS, &thread->parts[0], outcome_of(result->outcome), HISTORY_NOT_TOLD, true);
        return;
    }
    /* A repeated attempt is answered from its token, and that does not keep the value. */
    bool told = result->found || result->attempts <= 1;
    uint32_t found = told ? intern_result(thread->workload, result->found, result->value) : HISTORY_NOT_TOLD;
    record(thread, HISTORY_CAS, &thread->parts[0], HISTORY_OK, found, false);
}

static enum history_kind write_kind(const struct part *part)
{
    return part->remove ? HISTORY_DELETE : HISTORY_PUT;
}

static void record_batch(struct thread *thread, const struct polder_result *result)
{
    bool is_write = thread->op == CLIENT_BATCH_WRITE;
    for (uint32_t i = 0; i < thread->part_count; i++) {
        const struct part *part = &thread->parts[i];
        bool has_row = i < result->row_count;
        enum history_outcome outcome =
            outcome_of(has_row ? (enum polder_outcome)result->rows[i].outcome : result->outcome);
        if (has_row && !bytes_equal(bytes_of(result->rows[i].key.data, result->rows[i].key.size),
                                    key_bytes(&thread->workload->keys[part->key])))
            world_fail(thread->workload->world, "client", 0, "row %u of a batch answer is about another key", i);
        if (is_write)
            record(thread, write_kind(part), part, outcome, HISTORY_NOT_TOLD, false);
        else if (outcome == HISTORY_UNKNOWN && has_row)
            world_fail(thread->workload->world, "client", 0, "the read of one key in a batch ended as unknown");
        else if (thread->read != POLDER_READ_STALE && outcome != HISTORY_UNKNOWN)
            record(thread, HISTORY_GET, part, outcome,
                   has_row && outcome == HISTORY_OK
                       ? intern_result(thread->workload, result->rows[i].found, result->rows[i].value)
                       : HISTORY_NOT_TOLD,
                   false);
    }
}

/* Each key that the page covers was seen, or seen to be absent. */
static void record_scan(struct thread *thread, const struct polder_result *result)
{
    struct workload *workload = thread->workload;
    if (result->outcome != POLDER_DONE)
        return;
    uint32_t from = thread->scan_from, to = thread->scan_to;
    uint32_t seen[KEYS_MAX];
    memset(seen, 0, sizeof seen);
    int before = -1;
    for (size_t i = 0; i < result->row_count; i++) {
        int key = find_key(workload, bytes_of(result->rows[i].key.data, result->rows[i].key.size));
        bool in_order = before < 0 || (thread->scan_reverse ? key < before : key > before);
        if (key < (int)from || key >= (int)to || !in_order) {
            world_fail(workload->world, "client", 0,
                       "a scan answered a key that is not ours, not in the range or not in order (row %zu)", i);
            return;
        }
        seen[key] = intern_result(workload, true, result->rows[i].value);
        before = key;
    }
    if (result->more && before >= 0 && thread->scan_reverse)
        from = (uint32_t)before;
    else if (result->more && before >= 0)
        to = (uint32_t)before + 1;
    else if (result->more)
        return;
    for (uint32_t key = from; key < to && !thread->scan_keys_only && thread->read != POLDER_READ_STALE; key++)
        record(thread, HISTORY_GET, &(struct part){.key = key}, HISTORY_OK, seen[key], false);
}

/* To each key of the range it is a delete of its own: that those of one region go at one moment is not looked at here. How
 * far an unfinished one got is believed as well. */
static void record_delete_range(struct thread *thread, enum history_outcome outcome, struct bytes next)
{
    for (uint32_t key = thread->scan_from; key < thread->scan_to; key++) {
        bool before = next.size > 0 && bytes_compare(key_bytes(&thread->workload->keys[key]), next) < 0;
        record(thread, HISTORY_DELETE, &(struct part){.key = key},
               outcome == HISTORY_UNKNOWN && before ? HISTORY_OK : outcome, HISTORY_NOT_TOLD, false);
    }
}

/* Of one key it is a read: the checksum says which value was there. Of several, only what cannot be is looked at. */
static void record_checksum(struct thread *thread, const struct polder_result *result)
{
    struct workload *workload = thread->workload;
    uint32_t key_count = thread->scan_to - thread->scan_from;
    if (result->outcome != POLDER_DONE || thread->read == POLDER_READ_STALE)
        return;
    if (result->checksum_rows > key_count)
        world_fail(workload->world, "client", 0, "a checksum of %u keys is one of %llu rows", key_count,
                   (unsigned long long)result->checksum_rows);
    if (key_count != 1)
        return;
    struct row_sum *row = NULL;
    if (result->checksum_rows == 1)
        HASH_FIND(hh, workload->sums, &result->checksum, sizeof result->checksum, row);
    if (result->checksum_rows == 1 && (!row || row->key != thread->scan_from)) {
        world_fail(workload->world, "client", 0, "a checksum is of a row that nobody wrote");
        return;
    }
    record(thread, HISTORY_GET, &(struct part){.key = thread->scan_from}, HISTORY_OK,
           row ? row->value : HISTORY_NO_VALUE, false);
}

static void record_result(struct thread *thread, const struct polder_result *result)
{
    struct workload *workload = thread->workload;
    const struct part *part = &thread->parts[0];
    switch (thread->op) {
    case CLIENT_PUT:
    case CLIENT_DELETE:
        record(thread, write_kind(part), part, outcome_of(result->outcome), HISTORY_NOT_TOLD, false);
        break;
    case CLIENT_GET:
        if (thread->read != POLDER_READ_STALE)
            record(thread, HISTORY_GET, part, outcome_of(result->outcome),
                   result->outcome == POLDER_DONE ? intern_result(workload, result->found, result->value)
                                                  : HISTORY_NOT_TOLD,
                   false);
        break;
    case CLIENT_CAS:
        record_cas(thread, result);
        break;
    case CLIENT_SCAN:
        record_scan(thread, result);
        break;
    case CLIENT_TTL:
        if (result->outcome == POLDER_DONE && result->ttl_ms > TTL_MAX_MS)
            world_fail(workload->world, "client", 0, "a key has longer to live than any was given");
        if (result->outcome == POLDER_DONE && !result->found && thread->read != POLDER_READ_STALE)
            record(thread, HISTORY_GET, part, HISTORY_OK, HISTORY_NO_VALUE, false);
        break;
    case CLIENT_CHECKSUM:
        record_checksum(thread, result);
        break;
    case CLIENT_DELETE_RANGE:
        record_delete_range(thread, outcome_of(result->outcome), bytes_of(result->next.data, result->next.size));
        break;
    default:
        record_batch(thread, result);
    }
}

static bool is_write(enum client_op op)
{
    return op == CLIENT_PUT || op == CLIENT_DELETE || op == CLIENT_CAS || op == CLIENT_BATCH_WRITE ||
           op == CLIENT_DELETE_RANGE;
}

static void schedule_next(struct thread *thread, uint64_t think_us);

static void on_done(void *user, struct polder_result *take_result)
{
    struct thread *thread = user;
    struct workload *workload = thread->workload;
    struct workload_counts *counts = &workload->counts;
    /* In a client's last moments answers still come, but nobody is there to hear them. */
    bool heard = thread->busy && sim_node_is_up(thread->client->node) &&
                 sim_node_generation(thread->client->node) == thread->generation;
    if (heard) {
        take_time(workload);
        thread->busy = false;
        sim_digest_add(world_sim(workload->world), (uint64_t)take_result->code << 8 | take_result->outcome);
        if (sim_traces(world_sim(workload->world)))
            sim_trace(world_sim(workload->world), "op %d key %u: outcome %d %s attempts=%u %s", thread->op,
                      thread->parts[0].key, take_result->outcome, take_result->name, take_result->attempts,
                      take_result->text);
        /* A batch of which only some keys were read ends as unknown; its rows say what is what. */
        if (!is_write(thread->op) && thread->op != CLIENT_BATCH_GET && take_result->outcome == POLDER_UNKNOWN)
            world_fail(workload->world, "client", 0, "a read ended as unknown");
        bool done = take_result->outcome == POLDER_DONE || take_result->code == POLDER_CONDITION_FAILED;
        *(done ? &counts->done : take_result->outcome == POLDER_UNKNOWN ? &counts->unknown : &counts->not_done) += 1;
        counts->by_op[thread->op] += done;
        world_note_op(workload->world, thread->op, thread->start);
        record_result(thread, take_result);
        schedule_next(thread, rng_below(&workload->rng, world_swarm(workload->world)->think_max_us + 1));
    }
    polder_result_free(take_result);
}

/* ---- asking */

/* Every fourth key is written rarely: else no value would be old enough to be lost, or to expire. */
static bool is_quiet(struct workload *workload, uint32_t key)
{
    return key % 4 == 3 && !rng_chance(&workload->rng, 1, 20);
}

static void choose_scan(struct thread *thread, struct client_call *call)
{
    struct workload *workload = thread->workload;
    struct rng *rng = &workload->rng;
    thread->scan_from = (uint32_t)rng_below(rng, workload->key_count);
    thread->scan_to = (uint32_t)rng_between(rng, thread->scan_from + 1, workload->key_count);
    thread->scan_reverse = rng_chance(rng, 1, 3);
    thread->scan_keys_only = rng_chance(rng, 1, 8);
    call->scan = (struct polder_scan){.size = sizeof call->scan,
                                      .start = polder_view(key_bytes(&workload->keys[thread->scan_from])),
                                      .limit = rng_chance(rng, 1, 2) ? (uint32_t)rng_between(rng, 1, 5) : 0,
                                      .reverse = thread->scan_reverse,
                                      .keys_only = thread->scan_keys_only};
    if (thread->scan_to < workload->key_count)
        call->scan.end = polder_view(key_bytes(&workload->keys[thread->scan_to]));
}

/* Mostly short ones, over the border of two regions at most: else little would be left to read. */
static void choose_range(struct thread *thread, struct client_call *call)
{
    struct workload *workload = thread->workload;
    struct rng *rng = &workload->rng;
    uint32_t count_max = rng_chance(rng, 1, 20) ? workload->key_count : 1 + world_swarm(workload->world)->keys_per_region;
    thread->scan_from = (uint32_t)rng_below(rng, workload->key_count);
    thread->scan_to = thread->scan_from + (uint32_t)rng_between(rng, 1, count_max);
    if (thread->op == CLIENT_CHECKSUM && rng_chance(rng, 3, 4))
        thread->scan_to = thread->scan_from + 1;
    if (thread->scan_to > workload->key_count)
        thread->scan_to = workload->key_count;
    if (thread->op == CLIENT_DELETE_RANGE && is_quiet(workload, thread->scan_from))
        thread->scan_from--;
    for (uint32_t key = thread->scan_from + 1; key < thread->scan_to && thread->op == CLIENT_DELETE_RANGE; key++)
        if (is_quiet(workload, key))
            thread->scan_to = key;
    call->scan = (struct polder_scan){.size = sizeof call->scan};
    if (thread->scan_from > 0 || rng_chance(rng, 1, 2))
        call->scan.start = polder_view(key_bytes(&workload->keys[thread->scan_from]));
    if (thread->scan_to < workload->key_count)
        call->scan.end = polder_view(key_bytes(&workload->keys[thread->scan_to]));
}

static void choose_parts(struct thread *thread)
{
    struct workload *workload = thread->workload;
    struct rng *rng = &workload->rng;
    bool batch = thread->op == CLIENT_BATCH_GET || thread->op == CLIENT_BATCH_WRITE;
    uint32_t wanted = batch ? (uint32_t)rng_between(rng, 1, BATCH_MAX) : 1;
    thread->part_count = 0;
    while (thread->part_count < wanted) {
        uint32_t key = (uint32_t)rng_below(rng, workload->key_count);
        if (is_write(thread->op) && is_quiet(workload, key))
            key--;
        bool repeated = false;
        for (uint32_t i = 0; i < thread->part_count; i++)
            repeated = repeated || thread->parts[i].key == key;
        if (repeated) { /* a key once per batch: else only the later write is one */
            wanted--;
            continue;
        }
        struct part *part = &thread->parts[thread->part_count++];
        *part = (struct part){.key = key};
        part->remove = thread->op == CLIENT_DELETE || (thread->op == CLIENT_BATCH_WRITE && rng_chance(rng, 1, 4));
        if (is_write(thread->op) && !part->remove) {
            part->value = new_value(workload, thread->client->number);
            note_sum(workload, key, part->value);
        }
    }
}

static enum client_op choose_op(struct rng *rng)
{
    static const enum client_op ops[] = {CLIENT_GET,  CLIENT_GET,       CLIENT_GET, CLIENT_PUT,
                                         CLIENT_PUT,  CLIENT_PUT,       CLIENT_CAS, CLIENT_DELETE,
                                         CLIENT_SCAN, CLIENT_BATCH_GET, CLIENT_CAS, CLIENT_BATCH_WRITE};
    if (rng_chance(rng, 1, 16))
        return CLIENT_DELETE_RANGE;
    if (rng_chance(rng, 1, 12))
        return CLIENT_CHECKSUM;
    if (rng_chance(rng, 1, 24))
        return CLIENT_TTL;
    return ops[rng_below(rng, sizeof ops / sizeof ops[0])];
}

static void choose(struct thread *thread)
{
    struct rng *rng = &thread->workload->rng;
    thread->read = POLDER_READ_LEADER;
    thread->ttl_ms = 0;
    if (thread->workload->probing) {
        thread->op = thread->probe_key % 2 ? CLIENT_GET : CLIENT_PUT;
        uint32_t key = thread->probe_key++ / 2 % thread->workload->key_count;
        thread->parts[0] = (struct part){.key = key};
        if (thread->op == CLIENT_PUT) {
            thread->parts[0].value = new_value(thread->workload, thread->client->number);
            note_sum(thread->workload, key, thread->parts[0].value);
        }
        thread->part_count = 1;
        return;
    }
    thread->op = choose_op(rng);
    if (!is_write(thread->op) && rng_chance(rng, 1, 3))
        thread->read = rng_chance(rng, 1, 4) ? POLDER_READ_STALE : POLDER_READ_INDEX;
    choose_parts(thread);
    if (is_write(thread->op) && rng_chance(rng, world_swarm(thread->workload->world)->ttl_percent, 100))
        thread->ttl_ms = rng_chance(rng, 1, 8) ? 1 : rng_between(rng, 1, rng_chance(rng, 1, 2) ? 100 : TTL_MAX_MS);
}

static void ask(struct thread *thread)
{
    struct workload *workload = thread->workload;
    struct polder_pair pairs[BATCH_MAX];
    choose(thread);
    const struct part *first = &thread->parts[0];
    struct client_call call = {.op = thread->op,
                               .read = thread->read,
                               .ttl_ms = thread->ttl_ms,
                               .key = key_bytes(&workload->keys[first->key]),
                               .value = history_value(workload->history, first->value),
                               .done = on_done,
                               .user = thread};
    thread->expected = HISTORY_NO_VALUE;
    if (thread->op == CLIENT_CAS) {
        thread->expected = rng_chance(&workload->rng, 9, 10) ? workload->keys[first->key].last : HISTORY_NO_VALUE;
        call.expect_value = thread->expected != HISTORY_NO_VALUE;
        call.expected = history_value(workload->history, thread->expected);
    }
    for (uint32_t i = 0; i < thread->part_count; i++)
        pairs[i] = (struct polder_pair){.key = polder_view(key_bytes(&workload->keys[thread->parts[i].key])),
                                        .value = polder_view(history_value(workload->history, thread->parts[i].value)),
                                        .remove = thread->parts[i].remove};
    call.pairs = pairs;
    call.pair_count = thread->part_count;
    if (thread->op == CLIENT_SCAN)
        choose_scan(thread, &call);
    if (thread->op == CLIENT_DELETE_RANGE || thread->op == CLIENT_CHECKSUM)
        choose_range(thread, &call);
    thread->start = take_time(workload);
    thread->busy = true;
    enum err code = client_submit(thread->client->client, &call);
    if (code == ERR_OK)
        return;
    thread->busy = false;
    if (code != ERR_BUSY)
        world_fail(workload->world, "client", 0, "client_submit refused a good request: %s", err_name(code));
    schedule_next(thread, 10000);
}

static void run_next(void *context)
{
    struct thread *thread = context;
    if (!thread->workload->stopped)
        ask(thread);
}

static void schedule_next(struct thread *thread, uint64_t think_us)
{
    struct sim *sim = world_sim(thread->workload->world);
    sim_at(sim, sim_now_ns(sim) + think_us * 1000 + 1, thread->client->node, run_next, NULL, thread);
}

/* ---- life */

enum err workload_start_client(struct workload *workload, struct world_node *client, struct error *err)
{
    enum err code = world_start(workload->world, client, err);
    if (code != ERR_OK)
        return code;
    for (uint32_t i = 0; i < world_swarm(workload->world)->threads_per_client; i++) {
        struct thread *thread = &workload->threads[client->number - 1][i];
        *thread = (struct thread){.workload = workload,
                                  .client = client,
                                  .generation = sim_node_generation(client->node),
                                  .probe_key = (uint32_t)rng_below(&workload->rng, workload->key_count) * 2};
        schedule_next(thread, rng_below(&workload->rng, 100000));
    }
    return ERR_OK;
}

void workload_client_dies(struct workload *workload, struct world_node *client)
{
    for (uint32_t i = 0; i < THREADS_MAX; i++) {
        struct thread *thread = &workload->threads[client->number - 1][i];
        if (!thread->busy)
            continue;
        thread->busy = false;
        workload->counts.unknown++;
        world_note_op(workload->world, thread->op, thread->start);
        take_time(workload);
        bool is_cas = thread->op == CLIENT_CAS;
        if (thread->op == CLIENT_DELETE_RANGE) {
            record_delete_range(thread, HISTORY_UNKNOWN, bytes_empty());
            continue;
        }
        for (uint32_t part = 0; part < thread->part_count && is_write(thread->op); part++)
            record(thread, is_cas ? HISTORY_CAS : write_kind(&thread->parts[part]), &thread->parts[part],
                   HISTORY_UNKNOWN, HISTORY_NOT_TOLD, false);
    }
}

struct workload *workload_new(struct world *world)
{
    struct workload *workload = calloc(1, sizeof *workload);
    CHECK(workload && world_swarm(world)->threads_per_client <= THREADS_MAX);
    workload->world = world;
    workload->history = history_new();
    rng_init(&workload->rng, world_options(world)->seed, "workload");
    make_keys(workload);
    return workload;
}

void workload_free(struct workload *workload)
{
    if (!workload)
        return;
    struct row_sum *row, *next;
    HASH_ITER(hh, workload->sums, row, next)
    {
        HASH_DEL(workload->sums, row);
        free(row);
    }
    history_free(workload->history);
    free(workload->lives);
    free(workload);
}

void workload_probe(struct workload *workload)
{
    workload->probing = true;
}

static bool probe_lacks(const struct workload *workload, uint32_t *ret_client, uint32_t *ret_key)
{
    for (uint32_t client = 0; client < world_options(workload->world)->client_count; client++) {
        for (uint32_t key = 0; key < workload->key_count; key++) {
            if (workload->probe_written[client][key] && workload->probe_read[client][key])
                continue;
            *ret_client = client;
            *ret_key = key;
            return true;
        }
    }
    return false;
}

bool workload_probe_is_done(const struct workload *workload)
{
    uint32_t client, key;
    return !probe_lacks(workload, &client, &key);
}

void workload_probe_explain(const struct workload *workload, char *text, size_t size)
{
    uint32_t client, key;
    text[0] = '\0';
    if (!probe_lacks(workload, &client, &key))
        return;
    struct bytes name = history_key(workload->history, workload->keys[key].number);
    snprintf(text, size, "client c%u could not %s key %.*s", client + 1,
             workload->probe_written[client][key] ? "read" : "write", (int)name.size, (const char *)name.data);
}

void workload_stop(struct workload *workload)
{
    workload->stopped = true;
}

bool workload_is_idle(const struct workload *workload)
{
    for (uint32_t client = 0; client < WORLD_CLIENT_MAX; client++)
        for (uint32_t i = 0; i < THREADS_MAX; i++)
            if (workload->threads[client][i].busy)
                return false;
    return true;
}

struct bytes workload_any_key(const struct workload *workload, struct rng *rng)
{
    return key_bytes(&workload->keys[rng_below(rng, workload->key_count)]);
}

struct history *workload_history(struct workload *workload)
{
    return workload->history;
}

const struct workload_counts *workload_counts(const struct workload *workload)
{
    return &workload->counts;
}
