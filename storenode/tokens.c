#include "tokens.h"

#include <stdlib.h>
#include <uthash.h>

#include "base/bug.h"
#include "base/check.h"
#include "group/group_keys.h"
#include "storenode/store_keys.h"

enum {
    ENTRY_SIZE = 6,
    HEAD_SIZE = 17,
    CHECKSUM_SIZE = 4,
    EDGE_SIZE = 20,
    ROW_SIZE_MAX = HEAD_SIZE + TOKENS_SEQUENCES_MAX * ENTRY_SIZE + CHECKSUM_SIZE
};

/* Beside the code, which is below these. */
enum { DOUBTFUL = 0x8000, CODE_MASK = 0x7fff };

struct entry {
    uint64_t sequence;
    uint16_t code;
};

struct window {
    uint64_t client_id;
    uint64_t sequence_done;
    raft_index last_index;
    struct entry *entries; /* owned; ascending sequence */
    uint32_t count, capacity;
    bool dirty;
    bool forgetful; /* began after an eviction, perhaps of this very client: what is not here may have happened */
    UT_hash_handle hh;
};

struct tokens {
    struct engine *engine;
    region_id region;
    bool loaded;
    struct window *windows;
    raft_index saved_index;   /* the rows tell everything up to here */
    raft_index evicted_index; /* last_index of the newest window that was evicted; 0: none ever */
    struct buf evicted;       /* client ids whose rows the next save deletes */
    struct buf row;
};

struct tokens *tokens_new(struct engine *engine, region_id region, raft_index first_index)
{
    struct tokens *tokens = calloc(1, sizeof *tokens);
    CHECK(tokens);
    tokens->engine = engine;
    tokens->region = region;
    tokens->saved_index = first_index;
    buf_init(&tokens->row, ROW_SIZE_MAX);
    buf_init(&tokens->evicted, SIZE_MAX);
    return tokens;
}

static void window_free(struct tokens *tokens, struct window *window)
{
    HASH_DEL(tokens->windows, window);
    free(window->entries);
    free(window);
}

void tokens_free(struct tokens *tokens)
{
    if (!tokens)
        return;
    struct window *window, *next;
    HASH_ITER(hh, tokens->windows, window, next)
    window_free(tokens, window);
    buf_fini(&tokens->row);
    buf_fini(&tokens->evicted);
    free(tokens);
}

static struct window *window_new(struct tokens *tokens, uint64_t client_id)
{
    struct window *window = calloc(1, sizeof *window);
    CHECK(window);
    window->client_id = client_id;
    HASH_ADD(hh, tokens->windows, client_id, sizeof window->client_id, window);
    return window;
}

static void append_entry(struct window *window, uint64_t sequence, uint16_t code)
{
    if (window->count == window->capacity) {
        window->capacity = window->capacity ? window->capacity * 2 : 8;
        window->entries = realloc(window->entries, window->capacity * sizeof *window->entries);
        CHECK(window->entries);
    }
    window->entries[window->count++] = (struct entry){.sequence = sequence, .code = code};
}

static enum err load_window(struct tokens *tokens, uint64_t client_id, struct bytes row)
{
    if (row.size < HEAD_SIZE + CHECKSUM_SIZE || (row.size - HEAD_SIZE - CHECKSUM_SIZE) % ENTRY_SIZE != 0 ||
        row.size > ROW_SIZE_MAX || client_id == 0 || HASH_COUNT(tokens->windows) >= TOKENS_CLIENTS_MAX ||
        load_u32_be(row.data + row.size - CHECKSUM_SIZE) !=
            group_checksum(STORE_TOKENS, row.data, row.size - CHECKSUM_SIZE))
        return ERR_CORRUPT;
    struct window *window = window_new(tokens, client_id);
    window->sequence_done = load_u64_be(row.data);
    window->last_index = load_u64_be(row.data + 8);
    window->forgetful = row.data[16] != 0;
    for (size_t at = HEAD_SIZE; at < row.size - CHECKSUM_SIZE; at += ENTRY_SIZE) {
        uint64_t sequence = window->sequence_done + load_u32_be(row.data + at);
        bool ascends = window->count == 0 || sequence > window->entries[window->count - 1].sequence;
        if (sequence < window->sequence_done || !ascends)
            return ERR_CORRUPT;
        append_entry(window, sequence, (uint16_t)(row.data[at + 4] << 8 | row.data[at + 5]));
    }
    return ERR_OK;
}

static enum err load_edge(struct tokens *tokens)
{
    struct group_key key = group_key(tokens->region, STORE_TOKENS_EDGE);
    buf_reset(&tokens->row);
    enum err code = engine_get(tokens->engine, ENGINE_RAFT, group_key_bytes(&key), &tokens->row, NULL);
    if (code == ERR_NOT_FOUND)
        return ERR_OK;
    if (code != ERR_OK)
        return code == ERR_ENTRY_TOO_LARGE ? ERR_CORRUPT : code;
    if (tokens->row.size != EDGE_SIZE ||
        load_u32_be(tokens->row.data + EDGE_SIZE - CHECKSUM_SIZE) !=
            group_checksum(STORE_TOKENS_EDGE, tokens->row.data, EDGE_SIZE - CHECKSUM_SIZE))
        return ERR_CORRUPT;
    tokens->evicted_index = load_u64_be(tokens->row.data);
    tokens->saved_index = load_u64_be(tokens->row.data + 8);
    return ERR_OK;
}

enum err tokens_load(struct tokens *tokens)
{
    struct group_key lower = group_key(tokens->region, STORE_TOKENS);
    struct group_key upper = group_key(tokens->region, STORE_TOKENS + 1);
    struct engine_iter *iter =
        engine_iter_new(tokens->engine, ENGINE_RAFT, group_key_bytes(&lower), group_key_bytes(&upper));
    enum err code = ERR_OK;
    for (engine_iter_seek(tokens->engine, iter, group_key_bytes(&lower));
         code == ERR_OK && engine_iter_valid(tokens->engine, iter); engine_iter_next(tokens->engine, iter)) {
        struct bytes key = engine_iter_key(tokens->engine, iter);
        code = key.size == 18 ? load_window(tokens, load_u64_be(key.data + 10), engine_iter_value(tokens->engine, iter))
                              : ERR_CORRUPT;
    }
    if (code == ERR_OK)
        code = engine_iter_error(tokens->engine, iter, NULL);
    engine_iter_free(tokens->engine, iter);
    if (code == ERR_OK)
        code = load_edge(tokens);
    tokens->loaded = code == ERR_OK;
    return code;
}

static struct window *find(struct tokens *tokens, uint64_t client_id)
{
    struct window *window;
    HASH_FIND(hh, tokens->windows, &client_id, sizeof client_id, window);
    return window;
}

/* The entry with that sequence, or the place where it belongs. */
static uint32_t position_of(const struct window *window, uint64_t sequence)
{
    uint32_t low = 0, high = window->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (window->entries[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum err tokens_check(struct tokens *tokens, const struct token *token, bool *ret_seen, enum err *ret_code)
{
    *ret_seen = false;
    if (token->client_id == 0 || BUG(lost_idempotency))
        return ERR_OK;
    CHECK(tokens->loaded);
    if (token->sequence < token->sequence_done)
        return ERR_MAYBE; /* contradicts itself; must not be recorded: rows keep distances from sequence_done */
    struct window *window = find(tokens, token->client_id);
    if (!window && token->sequence - token->sequence_done > UINT32_MAX)
        return ERR_BUSY; /* a row has no room for that distance */
    if (!window)
        return token->retry && tokens->evicted_index > 0 ? ERR_MAYBE : ERR_OK;
    if (token->sequence < window->sequence_done)
        return ERR_MAYBE; /* ended long ago for its client: a copy that wandered about */
    uint32_t at = position_of(window, token->sequence);
    if (at < window->count && window->entries[at].sequence == token->sequence) {
        if (token->retry && (window->entries[at].code & DOUBTFUL))
            return ERR_MAYBE;
        *ret_seen = true;
        *ret_code = (enum err)(window->entries[at].code & CODE_MASK);
        return ERR_OK;
    }
    if (token->retry && window->forgetful)
        return ERR_MAYBE;
    uint64_t floor = token->sequence_done > window->sequence_done ? token->sequence_done : window->sequence_done;
    if (window->count - position_of(window, floor) >= TOKENS_SEQUENCES_MAX || token->sequence - floor > UINT32_MAX)
        return ERR_BUSY;
    return ERR_OK;
}

/* The same on every replica: what is in memory between two saves must not matter, so the window goes at once and only
 * the deletion of its row waits for the save. */
static void evict_oldest(struct tokens *tokens)
{
    struct window *oldest = NULL;
    for (struct window *window = tokens->windows; window; window = window->hh.next)
        if (!oldest || window->last_index < oldest->last_index ||
            (window->last_index == oldest->last_index && window->client_id < oldest->client_id))
            oldest = window;
    if (oldest->last_index > tokens->evicted_index)
        tokens->evicted_index = oldest->last_index;
    buf_append_u64_be(&tokens->evicted, oldest->client_id);
    window_free(tokens, oldest);
}

static void raise_done(struct window *window, uint64_t sequence_done)
{
    if (sequence_done <= window->sequence_done)
        return;
    uint32_t gone = position_of(window, sequence_done);
    if (gone > 0)
        memmove(window->entries, window->entries + gone, (window->count - gone) * sizeof *window->entries);
    window->count -= gone;
    window->sequence_done = sequence_done;
}

void tokens_record(struct tokens *tokens, const struct token *token, enum err code, raft_index index)
{
    if (token->client_id == 0)
        return;
    CHECK(tokens->loaded);
    struct window *window = find(tokens, token->client_id);
    if (!window) {
        bool forgetful = tokens->evicted_index > 0;
        if (HASH_COUNT(tokens->windows) >= TOKENS_CLIENTS_MAX)
            evict_oldest(tokens);
        window = window_new(tokens, token->client_id);
        window->forgetful = forgetful;
    }
    raise_done(window, token->sequence_done);
    uint32_t at = position_of(window, token->sequence);
    bool doubtful = token->part && token->retry && !BUG(part_stands_for_all);
    uint16_t kept = (uint16_t)((uint16_t)code | (doubtful ? DOUBTFUL : 0));
    append_entry(window, token->sequence, kept);
    memmove(window->entries + at + 1, window->entries + at, (window->count - 1 - at) * sizeof *window->entries);
    window->entries[at] = (struct entry){.sequence = token->sequence, .code = kept};
    window->last_index = index;
    window->dirty = true;
}

/* Into tokens->row. `last_index`: the index that it says it is of. */
static void encode_window(struct tokens *tokens, const struct window *window, raft_index last_index)
{
    struct buf *row = &tokens->row;
    buf_reset(row);
    buf_append_u64_be(row, window->sequence_done);
    buf_append_u64_be(row, last_index);
    buf_append_u8(row, window->forgetful);
    for (uint32_t i = 0; i < window->count; i++) {
        buf_append_u32_be(row, (uint32_t)(window->entries[i].sequence - window->sequence_done));
        buf_append_u8(row, (uint8_t)(window->entries[i].code >> 8));
        buf_append_u8(row, (uint8_t)window->entries[i].code);
    }
    enum err code = buf_append_u32_be(row, group_checksum(STORE_TOKENS, row->data, row->size));
    CHECK(code == ERR_OK);
}

static void put_window(struct tokens *tokens, const struct window *window, region_id region, raft_index last_index,
                       struct engine_batch *batch)
{
    struct group_key key = group_key_indexed(region, STORE_TOKENS, window->client_id);
    encode_window(tokens, window, last_index);
    engine_batch_put(tokens->engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&tokens->row));
}

static void encode_edge(raft_index evicted_index, raft_index saved_index, uint8_t *edge)
{
    store_u64_be(edge, evicted_index);
    store_u64_be(edge + 8, saved_index);
    store_u32_be(edge + 16, group_checksum(STORE_TOKENS_EDGE, edge, EDGE_SIZE - CHECKSUM_SIZE));
}

static void put_edge(struct tokens *tokens, region_id region, raft_index evicted_index, raft_index saved_index,
                     struct engine_batch *batch)
{
    uint8_t edge[EDGE_SIZE];
    encode_edge(evicted_index, saved_index, edge);
    struct group_key key = group_key(region, STORE_TOKENS_EDGE);
    engine_batch_put(tokens->engine, batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(edge, sizeof edge));
}

void tokens_save(struct tokens *tokens, struct engine_batch *batch, raft_index index)
{
    for (size_t at = 0; at < tokens->evicted.size; at += 8) {
        struct group_key key = group_key_indexed(tokens->region, STORE_TOKENS, load_u64_be(tokens->evicted.data + at));
        engine_batch_delete(tokens->engine, batch, ENGINE_RAFT, group_key_bytes(&key));
    }
    buf_reset(&tokens->evicted);
    for (struct window *window = tokens->windows; window; window = window->hh.next)
        if (window->dirty) { /* after the deletions: a client may be back already */
            put_window(tokens, window, tokens->region, window->last_index, batch);
            window->dirty = false;
        }
    tokens->saved_index = index;
    put_edge(tokens, tokens->region, tokens->evicted_index, index, batch);
}

void tokens_put_inherited(struct tokens *tokens, struct engine_batch *batch, region_id child, raft_index first_index)
{
    CHECK(tokens->loaded);
    for (const struct window *window = tokens->windows; window; window = window->hh.next)
        put_window(tokens, window, child, first_index, batch);
    put_edge(tokens, child, tokens->evicted_index > 0 ? first_index : 0, first_index, batch);
}

/* ---- two regions become one */

static struct entry known_by_both(struct entry a, struct entry b)
{
    if (((a.code ^ b.code) & CODE_MASK) != 0)
        a.code |= DOUBTFUL;
    a.code |= b.code & DOUBTFUL;
    return a;
}

/* `other`: may be NULL. */
static void unite(struct window *window, const struct window *other)
{
    struct window united = {0};
    uint32_t i = 0, j = 0, others = other ? other->count : 0;
    uint64_t done = other && other->sequence_done > window->sequence_done ? other->sequence_done : window->sequence_done;
    while (i < window->count || j < others) {
        struct entry next;
        if (j == others || (i < window->count && window->entries[i].sequence < other->entries[j].sequence))
            next = window->entries[i++];
        else if (i == window->count || other->entries[j].sequence < window->entries[i].sequence)
            next = other->entries[j++];
        else
            next = known_by_both(window->entries[i++], other->entries[j++]);
        if (next.sequence >= done)
            append_entry(&united, next.sequence, next.code);
    }
    if (united.count > TOKENS_SEQUENCES_MAX) {
        uint32_t gone = united.count - TOKENS_SEQUENCES_MAX;
        memmove(united.entries, united.entries + gone, TOKENS_SEQUENCES_MAX * sizeof *united.entries);
        united.count = TOKENS_SEQUENCES_MAX;
        window->forgetful = true;
    }
    free(window->entries);
    window->entries = united.entries;
    window->count = united.count;
    window->capacity = united.capacity;
    window->sequence_done = done;
    window->dirty = true;
}

/* The same on every replica: in whatever order the windows are met. */
void tokens_absorb(struct tokens *tokens, const struct tokens *source, raft_index index)
{
    CHECK(tokens->loaded && source->loaded);
    for (struct window *window = tokens->windows; window; window = window->hh.next) {
        const struct window *other = find((struct tokens *)source, window->client_id);
        unite(window, other);
        window->forgetful |= other ? other->forgetful : source->evicted_index > 0;
        if (other)
            window->last_index = index;
    }
    for (const struct window *other = source->windows; other; other = other->hh.next) {
        if (find(tokens, other->client_id))
            continue;
        struct window *window = window_new(tokens, other->client_id);
        window->sequence_done = other->sequence_done;
        window->last_index = index;
        window->forgetful = other->forgetful || tokens->evicted_index > 0;
        unite(window, other);
    }
    if (source->evicted_index > 0 && index > tokens->evicted_index)
        tokens->evicted_index = index;
    while (HASH_COUNT(tokens->windows) > TOKENS_CLIENTS_MAX)
        evict_oldest(tokens);
}

static struct wire_snapshot_row row_of(struct arena *arena, const struct group_key *key, struct bytes value)
{
    return (struct wire_snapshot_row){
        .cf = ENGINE_RAFT, .key = arena_copy(arena, group_key_bytes(key)), .value = arena_copy(arena, value)};
}

void tokens_export(struct tokens *tokens, raft_index index, struct arena *arena, struct wire_snapshot_row **ret_rows,
                   uint32_t *ret_count)
{
    CHECK(tokens->loaded);
    struct wire_snapshot_row *rows = arena_alloc(arena, (HASH_COUNT(tokens->windows) + 1) * sizeof *rows);
    uint32_t count = 0;
    for (const struct window *window = tokens->windows; window && !BUG(snapshot_without_tokens);
         window = window->hh.next) {
        struct group_key key = group_key_indexed(tokens->region, STORE_TOKENS, window->client_id);
        encode_window(tokens, window, window->last_index);
        rows[count++] = row_of(arena, &key, buf_bytes(&tokens->row));
    }
    uint8_t edge[EDGE_SIZE];
    struct group_key key = group_key(tokens->region, STORE_TOKENS_EDGE);
    encode_edge(tokens->evicted_index, index, edge);
    rows[count++] = row_of(arena, &key, bytes_of(edge, sizeof edge));
    *ret_rows = rows;
    *ret_count = count;
}

bool tokens_is_loaded(const struct tokens *tokens)
{
    return tokens->loaded;
}

raft_index tokens_saved_index(const struct tokens *tokens)
{
    return tokens->saved_index;
}

enum err tokens_check_row(struct bytes key, struct bytes value)
{
    if (key.size != 18)
        return ERR_CORRUPT;
    struct tokens *tokens = tokens_new(NULL, 0, 0);
    enum err code = load_window(tokens, load_u64_be(key.data + 10), value);
    tokens_free(tokens);
    return code;
}
