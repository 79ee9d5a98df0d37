/* group_log: the rows of a group in the engine: written through log tasks, read at start-up and for slow followers.
 * Formats are drawn in group_keys.h. */
#include "group_log.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/bug.h"
#include "base/check.h"
#include "group/group_keys.h"

enum {
    FORMAT = 1,
    HARD_SIZE = 29,
    POSITION_SIZE = 21,
    ENTRY_HEAD_SIZE = 14,
    CONF_SIZE_MAX = 1024,
    ENTRY_SIZE_MAX = 64 * 1024 * 1024
};

static void put_checked(struct engine *engine, struct engine_batch *batch, struct group_key key, uint8_t suffix,
                        uint8_t *value, size_t size)
{
    store_u32_be(value + size - 4, group_checksum(suffix, value, size - 4));
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(value, size));
}

static bool is_sound(struct bytes value, uint8_t suffix, size_t size)
{
    return value.size == size && value.data[0] == FORMAT &&
           load_u32_be(value.data + size - 4) == group_checksum(suffix, value.data, size - 4);
}

void group_log_put_hard(struct engine *engine, struct engine_batch *batch, uint64_t id,
                        const struct raft_hard_state *hard)
{
    uint8_t value[HARD_SIZE] = {FORMAT};
    store_u64_be(value + 1, hard->term);
    store_u64_be(value + 9, BUG(forget_vote) ? 0 : hard->vote);
    store_u64_be(value + 17, hard->commit);
    put_checked(engine, batch, group_key(id, GROUP_HARD_STATE), GROUP_HARD_STATE, value, sizeof value);
}

void group_log_put_truncated(struct engine *engine, struct engine_batch *batch, uint64_t id,
                             struct raft_position position)
{
    uint8_t value[POSITION_SIZE] = {FORMAT};
    store_u64_be(value + 1, position.index);
    store_u64_be(value + 9, position.term);
    put_checked(engine, batch, group_key(id, GROUP_TRUNCATED_STATE), GROUP_TRUNCATED_STATE, value, sizeof value);
}

/* Covers where the entry belongs, its head, and its payload, which lies apart: each part seeds the hash of the next. */
static uint32_t entry_checksum(uint64_t id, raft_index index, const uint8_t *head, struct bytes payload)
{
    uint64_t place[2] = {id, index};
    uint64_t hash = XXH3_64bits_withSeed(place, sizeof place, GROUP_LOG);
    hash = XXH3_64bits_withSeed(head, ENTRY_HEAD_SIZE - 4, hash);
    return (uint32_t)XXH3_64bits_withSeed(payload.data, payload.size, hash);
}

void group_log_put_entry(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_entry *entry,
                         struct buf *scratch)
{
    uint8_t head[ENTRY_HEAD_SIZE] = {FORMAT, entry->kind};
    store_u64_be(head + 2, entry->term);
    store_u32_be(head + 10, entry_checksum(id, entry->index, head, entry->data));
    buf_reset(scratch);
    enum err code = buf_append(scratch, head, sizeof head);
    CHECK(code == ERR_OK);
    code = buf_append_bytes(scratch, entry->data);
    CHECK(code == ERR_OK);
    struct group_key key = group_key_indexed(id, GROUP_LOG, entry->index);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(scratch));
}

void group_log_delete_head(struct engine *engine, struct engine_batch *batch, uint64_t id, raft_index to)
{
    /* Shorter than any row's key, as engine.h wants it. */
    struct group_key start = group_key(id, GROUP_LOG), end = group_key_indexed(id, GROUP_LOG, to);
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&start), group_key_bytes(&end));
}

void group_log_delete_tail(struct engine *engine, struct engine_batch *batch, uint64_t id, raft_index from,
                           raft_index last)
{
    for (raft_index index = from; index <= last; index++) {
        struct group_key key = group_key_indexed(id, GROUP_LOG, index);
        engine_batch_delete(engine, batch, ENGINE_RAFT, group_key_bytes(&key));
    }
}

void group_put_conf(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_conf *conf)
{
    group_put_conf_at(engine, batch, id, conf, 0);
}

/* conf: u8 format | u8 auto_leave | u8 count | count x (id u64, roles u8) | index u64, unless it is 0 | checksum u32 */
void group_put_conf_at(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_conf *conf,
                       raft_index index)
{
    uint8_t value[CONF_SIZE_MAX] = {FORMAT, conf->auto_leave, (uint8_t)conf->count};
    size_t size = 3;
    for (uint32_t i = 0; i < conf->count; i++, size += 9) {
        store_u64_be(value + size, conf->members[i].id);
        value[size + 8] = conf->members[i].roles;
    }
    if (index > 0) {
        store_u64_be(value + size, index);
        size += 8;
    }
    put_checked(engine, batch, group_key(id, GROUP_CONF), GROUP_CONF, value, size + 4);
}

/* A row that is longer than any of its kind is as good as an empty one: not sound. */
static enum err get_row(struct engine *engine, uint64_t id, uint8_t suffix, struct buf *value, struct error *err)
{
    struct group_key key = group_key(id, suffix);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), value, err);
    if (code != ERR_ENTRY_TOO_LARGE)
        return code;
    buf_reset(value);
    return ERR_OK;
}

static enum err load_conf(struct engine *engine, uint64_t id, struct buf *value, struct raft_conf *ret_conf,
                          raft_index *ret_index, struct error *err)
{
    enum err code = get_row(engine, id, GROUP_CONF, value, err);
    if (code != ERR_OK)
        return code;
    *ret_conf = (struct raft_conf){0};
    *ret_index = 0;
    size_t end = value->size >= 7 ? 3 + 9 * (size_t)value->data[2] : 0;
    bool has_index = value->size == end + 12;
    bool good = end > 0 && (has_index || value->size == end + 4) &&
                is_sound(buf_bytes(value), GROUP_CONF, value->size);
    if (good) {
        ret_conf->auto_leave = value->data[1] != 0;
        if (has_index)
            *ret_index = load_u64_be(value->data + end);
        for (size_t at = 3; at < end && good; at += 9)
            good = raft_conf_add(ret_conf, load_u64_be(value->data + at), value->data[at + 8]) == ERR_OK;
    }
    if (!good || raft_conf_check(ret_conf) != ERR_OK)
        return error_set(err, ERR_CORRUPT, "group %llu: membership: bad checksum or content", (unsigned long long)id);
    return ERR_OK;
}

static enum err load_hard(struct engine *engine, uint64_t id, struct buf *value, struct raft_hard_state *ret_hard,
                          struct error *err)
{
    enum err code = get_row(engine, id, GROUP_HARD_STATE, value, err);
    if (code != ERR_OK)
        return code;
    if (!is_sound(buf_bytes(value), GROUP_HARD_STATE, HARD_SIZE))
        return error_set(err, ERR_CORRUPT, "group %llu: hard state: bad checksum or size", (unsigned long long)id);
    *ret_hard = (struct raft_hard_state){.term = load_u64_be(value->data + 1),
                                         .vote = load_u64_be(value->data + 9),
                                         .commit = load_u64_be(value->data + 17)};
    return ERR_OK;
}

static enum err load_truncated(struct engine *engine, uint64_t id, struct buf *value,
                               struct raft_position *ret_position, struct error *err)
{
    enum err code = get_row(engine, id, GROUP_TRUNCATED_STATE, value, err);
    if (code != ERR_OK)
        return code;
    if (!is_sound(buf_bytes(value), GROUP_TRUNCATED_STATE, POSITION_SIZE))
        return error_set(err, ERR_CORRUPT, "group %llu: truncated state: bad checksum or size", (unsigned long long)id);
    *ret_position = (struct raft_position){.index = load_u64_be(value->data + 1), .term = load_u64_be(value->data + 9)};
    return ERR_OK;
}

/* One row of the log; the payload is borrowed from `value`. */
enum err group_log_parse(uint64_t id, struct bytes key, struct bytes value, raft_index want_index,
                         struct raft_entry *ret_entry, struct error *err)
{
    if (key.size != 18 || load_u64_be(key.data + 10) != want_index)
        return error_set(err, ERR_CORRUPT, "group %llu: log entry %llu is missing", (unsigned long long)id,
                         (unsigned long long)want_index);
    if (value.size < ENTRY_HEAD_SIZE || value.data[0] != FORMAT)
        return error_set(err, ERR_CORRUPT, "group %llu: log entry %llu: bad size or format", (unsigned long long)id,
                         (unsigned long long)want_index);
    struct bytes payload = bytes_of(value.data + ENTRY_HEAD_SIZE, value.size - ENTRY_HEAD_SIZE);
    if (load_u32_be(value.data + 10) != entry_checksum(id, want_index, value.data, payload))
        return error_set(err, ERR_CORRUPT, "group %llu: log entry %llu: bad checksum", (unsigned long long)id,
                         (unsigned long long)want_index);
    *ret_entry = (struct raft_entry){
        .term = load_u64_be(value.data + 2), .index = want_index, .kind = value.data[1], .data = payload};
    return ERR_OK;
}

/* Reads entries from `from` on into `run` until a limit; stops quietly at the end of the log. */
enum err group_log_read(struct engine *engine, uint64_t id, raft_index from, uint32_t count_max, uint64_t size_max,
                        struct group_log_run *run, struct error *err)
{
    struct group_key start = group_key_indexed(id, GROUP_LOG, from), end = group_key(id, GROUP_LOG + 1);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, group_key_bytes(&start), group_key_bytes(&end));
    enum err code = ERR_OK;
    uint64_t size = 0;
    for (engine_iter_seek(engine, iter, group_key_bytes(&start)); code == ERR_OK && engine_iter_valid(engine, iter);
         engine_iter_next(engine, iter)) {
        if (run->count >= count_max || (run->count > 0 && size >= size_max))
            break;
        struct raft_entry entry;
        code = group_log_parse(id, engine_iter_key(engine, iter), engine_iter_value(engine, iter), from + run->count,
                               &entry, err);
        if (code != ERR_OK)
            break;
        if (run->count == run->capacity) {
            run->capacity = run->capacity ? run->capacity * 2 : 64;
            run->entries = realloc(run->entries, run->capacity * sizeof *run->entries);
            CHECK(run->entries);
        }
        size += entry.data.size;
        entry.data = arena_copy(&run->payload_arena, entry.data);
        run->entries[run->count++] = entry;
    }
    if (code == ERR_OK)
        code = engine_iter_error(engine, iter, err);
    engine_iter_free(engine, iter);
    return code;
}

void group_log_run_init(struct group_log_run *run)
{
    *run = (struct group_log_run){0};
    arena_init(&run->payload_arena);
}

void group_log_run_fini(struct group_log_run *run)
{
    free(run->entries);
    arena_fini(&run->payload_arena);
}

enum err group_log_term(struct engine *engine, uint64_t id, raft_index index, raft_term *ret_term, struct error *err)
{
    struct buf value;
    buf_init(&value, ENTRY_SIZE_MAX);
    struct group_key key = group_key_indexed(id, GROUP_LOG, index);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, err);
    struct raft_entry entry;
    if (code == ERR_OK)
        code = group_log_parse(id, group_key_bytes(&key), buf_bytes(&value), index, &entry, err);
    if (code == ERR_NOT_FOUND) {
        struct raft_position truncated;
        code = load_truncated(engine, id, &value, &truncated, err);
        if (code == ERR_OK && truncated.index == index)
            *ret_term = truncated.term;
        else if (code == ERR_OK)
            code = ERR_NOT_FOUND;
    } else if (code == ERR_OK)
        *ret_term = entry.term;
    buf_fini(&value);
    return code;
}

enum err group_log_load(struct engine *engine, uint64_t id, raft_index applied, struct group_log_state *ret_state,
                        struct group_log_run *run, struct error *err)
{
    struct buf value;
    buf_init(&value, CONF_SIZE_MAX);
    enum err code = load_hard(engine, id, &value, &ret_state->hard, err);
    if (code == ERR_OK)
        code = load_conf(engine, id, &value, &ret_state->conf, &ret_state->conf_index, err);
    if (code == ERR_OK)
        code = load_truncated(engine, id, &value, &ret_state->truncated, err);
    if (code == ERR_OK)
        code = group_log_read(engine, id, applied + 1, UINT32_MAX, UINT64_MAX, run, err);
    run->count -= BUG(log_row_lost_on_restart) && run->count > 0;
    buf_fini(&value);
    return code;
}

enum err group_log_load_hard(struct engine *engine, uint64_t id, struct raft_hard_state *ret_hard, struct error *err)
{
    struct buf value;
    buf_init(&value, CONF_SIZE_MAX);
    enum err code = load_hard(engine, id, &value, ret_hard, err);
    buf_fini(&value);
    return code;
}

enum err group_log_load_truncated(struct engine *engine, uint64_t id, struct raft_position *ret_position,
                                  struct error *err)
{
    struct buf value;
    buf_init(&value, CONF_SIZE_MAX);
    enum err code = load_truncated(engine, id, &value, ret_position, err);
    buf_fini(&value);
    return code;
}

enum err group_log_load_conf(struct engine *engine, uint64_t id, struct raft_conf *ret_conf, struct error *err)
{
    struct buf value;
    buf_init(&value, CONF_SIZE_MAX);
    raft_index index;
    enum err code = load_conf(engine, id, &value, ret_conf, &index, err);
    buf_fini(&value);
    return code;
}
