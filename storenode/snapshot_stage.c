#include "snapshot_stage.h"

#include <stdio.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/group_keys.h"
#include "meta/keyspace.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/store_keys.h"

enum {
    FORMAT = 1,
    MARKER = 0x01,
    CHUNK = 0x02,
    HEAD_SIZE = 10,
    MARKER_SIZE = 33,
    CHECKSUM_SIZE = 4,
    BATCH_SIZE = 4 * 1024 * 1024,
    ROW_SIZE_MAX = FRAME_SIZE_MAX + CHECKSUM_SIZE
};

#define ULL(value) ((unsigned long long)(value))

static struct group_key stage_key(region_id region, uint8_t suffix)
{
    struct group_key key = {.size = HEAD_SIZE};
    key.data[0] = 's';
    store_u64_be(key.data + 1, region);
    key.data[9] = suffix;
    return key;
}

static struct group_key chunk_key(region_id region, uint32_t sequence)
{
    struct group_key key = stage_key(region, CHUNK);
    store_u32_be(key.data + HEAD_SIZE, sequence);
    key.size = HEAD_SIZE + 4;
    return key;
}

/* ---- what may come */

static bool is_tokens_row(struct bytes key, region_id region)
{
    struct group_key windows = group_key(region, STORE_TOKENS), edge = group_key(region, STORE_TOKENS_EDGE);
    return bytes_equal(key, group_key_bytes(&edge)) ||
           (key.size == 18 && memcmp(key.data, windows.data, windows.size) == 0);
}

enum err snapshot_stage_check_chunk(const struct wire_snapshot_chunk *chunk, const struct region *region)
{
    for (uint32_t i = 0; i < chunk->rows_count; i++) {
        const struct wire_snapshot_row *row = &chunk->rows[i];
        bool fits = row->cf < ENGINE_RAFT ? row->key.size > 0 && region_contains(region, row->key)
                                          : row->cf == ENGINE_RAFT && is_tokens_row(row->key, region->id);
        if (!fits)
            return ERR_INVALID;
    }
    return ERR_OK;
}

/* ---- rows */

void snapshot_stage_put_chunk(struct engine *engine, struct engine_batch *batch, region_id region, uint32_t sequence,
                              struct bytes bytes)
{
    struct buf value;
    buf_init(&value, ROW_SIZE_MAX);
    enum err code = buf_append_bytes(&value, bytes);
    if (code == ERR_OK)
        code = buf_append_u32_be(&value, group_checksum(CHUNK, bytes.data, bytes.size));
    CHECK(code == ERR_OK); /* no frame is larger */
    struct group_key key = chunk_key(region, sequence);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&value));
    buf_fini(&value);
}

void snapshot_stage_put_marker(struct engine *engine, struct engine_batch *batch, region_id region,
                               const struct snapshot_marker *marker)
{
    uint8_t value[MARKER_SIZE] = {FORMAT};
    store_u64_be(value + 1, marker->id);
    store_u64_be(value + 9, marker->position.index);
    store_u64_be(value + 17, marker->position.term);
    store_u32_be(value + 25, marker->chunk_count);
    store_u32_be(value + 29, group_checksum(MARKER, value, 29));
    struct group_key key = stage_key(region, MARKER);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(value, sizeof value));
}

static bool parse_marker(struct bytes value, struct snapshot_marker *ret_marker)
{
    if (value.size != MARKER_SIZE || value.data[0] != FORMAT ||
        load_u32_be(value.data + 29) != group_checksum(MARKER, value.data, 29))
        return false;
    *ret_marker = (struct snapshot_marker){
        .id = load_u64_be(value.data + 1),
        .position = {.index = load_u64_be(value.data + 9), .term = load_u64_be(value.data + 17)},
        .chunk_count = load_u32_be(value.data + 25)};
    return true;
}

enum err snapshot_stage_load_marker(struct engine *engine, region_id region, struct snapshot_marker *ret_marker)
{
    struct group_key key = stage_key(region, MARKER);
    struct buf value;
    buf_init(&value, 1024);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, NULL);
    if (code == ERR_ENTRY_TOO_LARGE || (code == ERR_OK && !parse_marker(buf_bytes(&value), ret_marker)))
        code = ERR_CORRUPT;
    buf_fini(&value);
    return code;
}

static bool chunk_is_sound(struct bytes value)
{
    return value.size > CHECKSUM_SIZE && load_u32_be(value.data + value.size - CHECKSUM_SIZE) ==
                                             group_checksum(CHUNK, value.data, value.size - CHECKSUM_SIZE);
}

void snapshot_stage_drop(struct engine *engine, struct engine_batch *batch, region_id region)
{
    struct group_key lower = stage_key(region, 0), upper = stage_key(region, CHUNK + 1);
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&lower), group_key_bytes(&upper));
}

enum err snapshot_stage_check_row(struct bytes key, struct bytes value)
{
    struct snapshot_marker marker;
    if (key.size == HEAD_SIZE && key.data[9] == MARKER)
        return parse_marker(value, &marker) ? ERR_OK : ERR_CORRUPT;
    return key.size == HEAD_SIZE + 4 && key.data[9] == CHUNK && chunk_is_sound(value) ? ERR_OK : ERR_CORRUPT;
}

/* ---- installing */

void snapshot_install_init(struct snapshot_install *install, struct region *take_region,
                           const struct snapshot_marker *marker)
{
    *install = (struct snapshot_install){.region = take_region, .marker = *marker};
}

void snapshot_install_fini(struct snapshot_install *install)
{
    region_free(install->region);
}

/* Every key begins with its mode, which is below this. */
static struct bytes end_of(const struct region *region)
{
    return region->end_key.size > 0 ? region->end_key : bytes_of("\xff", 1);
}

static void remove_old(const struct snapshot_install *install, struct engine *engine, struct engine_batch *batch)
{
    const struct region *region = install->region;
    for (int cf = ENGINE_DEFAULT; cf < ENGINE_RAFT && !BUG(install_keeps_old_rows); cf++)
        engine_batch_delete_range(engine, batch, (enum engine_cf)cf, region->start_key, end_of(region));
    struct group_key lower = group_key(region->id, STORE_TOKENS), upper = group_key(region->id, STORE_TOKENS_EDGE + 1);
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&lower), group_key_bytes(&upper));
}

static enum err move_chunk(struct snapshot_install *install, struct engine *engine, struct engine_batch *batch,
                           struct error *err)
{
    struct group_key key = chunk_key(install->region->id, install->next);
    struct wire_snapshot_chunk chunk = {0};
    struct buf value;
    struct arena arena;
    buf_init(&value, ROW_SIZE_MAX);
    arena_init(&arena);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, err);
    bool sound = code == ERR_OK && chunk_is_sound(buf_bytes(&value)) &&
                 wire_decode_snapshot_chunk(bytes_of(value.data, value.size - CHECKSUM_SIZE), &arena, &chunk) == ERR_OK;
    if (sound)
        sound = chunk.region_id == install->region->id && chunk.id == install->marker.id &&
                chunk.sequence == install->next && snapshot_stage_check_chunk(&chunk, install->region) == ERR_OK;
    if (code == ERR_NOT_FOUND || (code == ERR_OK && !sound))
        code = error_set(err, ERR_CORRUPT, "region %llu: chunk %u of a snapshot that must be installed cannot be read",
                         ULL(install->region->id), install->next);
    for (uint32_t i = 0; i < chunk.rows_count && code == ERR_OK; i++) {
        const struct wire_snapshot_row *row = &chunk.rows[i];
        engine_batch_put(engine, batch, (enum engine_cf)row->cf, row->key, row->value);
        install->row_count++;
        install->size += row->key.size + row->value.size;
    }
    arena_fini(&arena);
    buf_fini(&value);
    return code;
}

enum err snapshot_install_step(struct snapshot_install *install, struct engine *engine, size_t size_max,
                               struct error *err)
{
    if (size_max == 0)
        size_max = BATCH_SIZE;
    struct snapshot_install before = *install;
    struct engine_batch *batch = engine_batch_new(engine);
    enum err code = ERR_OK;
    if (!install->begun)
        remove_old(install, engine, batch);
    install->begun = true;
    while (install->next < install->marker.chunk_count && code == ERR_OK &&
           engine_batch_size(engine, batch) < size_max) {
        code = move_chunk(install, engine, batch, err);
        install->next++;
    }
    if (code == ERR_OK && install->next == install->marker.chunk_count) {
        region_fsm_put_applied(engine, batch, install->region->id, install->marker.position.index,
                               install->marker.position.term);
        snapshot_stage_drop(engine, batch, install->region->id);
        install->done = true;
    }
    if (code == ERR_OK)
        code = engine_write(engine, batch, false, err);
    engine_batch_free(engine, batch);
    if (code != ERR_OK)
        *install = before;
    return code;
}

/* ---- start-up */

static enum err load_region(struct engine *engine, region_id id, struct region **ret_region, struct error *err)
{
    struct group_key key = group_key(id, STORE_REGION_STATE);
    struct wire_region_state state;
    struct arena arena;
    struct buf value;
    buf_init(&value, 64 * 1024);
    arena_init(&arena);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, err);
    if (code == ERR_OK)
        code = region_row_decode(buf_bytes(&value), &arena, &state);
    if (code == ERR_OK)
        code = region_from_wire(state.region, ret_region);
    if (code != ERR_OK)
        code = error_set(err, ERR_CORRUPT, "region %llu: a snapshot must be installed, and the region cannot be read",
                         ULL(id));
    arena_fini(&arena);
    buf_fini(&value);
    return code;
}

static enum err finish(struct env *env, region_id id, const struct snapshot_marker *marker, struct error *err)
{
    struct region *region;
    enum err code = load_region(env->engine, id, &region, err);
    if (code != ERR_OK)
        return code;
    struct snapshot_install install;
    snapshot_install_init(&install, region, marker);
    while (code == ERR_OK && !install.done)
        code = snapshot_install_step(&install, env->engine, 0, err);
    if (code == ERR_OK)
        log_event(env->log, LOG_INFO, "event=snapshot_installed region=%llu index=%llu rows=%llu at=start", ULL(id),
                  ULL(marker->position.index), ULL(install.row_count));
    snapshot_install_fini(&install);
    return code;
}

static enum err drop(struct engine *engine, region_id id, struct error *err)
{
    struct engine_batch *batch = engine_batch_new(engine);
    snapshot_stage_drop(engine, batch, id);
    enum err code = engine_write(engine, batch, false, err);
    engine_batch_free(engine, batch);
    return code;
}

/* The row that the iterator stands on is the first one of a region. */
static enum err recover_region(struct env *env, struct bytes key, struct bytes value, uint64_t *installed,
                               struct error *err)
{
    struct snapshot_marker marker;
    region_id id = load_u64_be(key.data + 1);
    if (key.size != HEAD_SIZE || key.data[9] != MARKER)
        return drop(env->engine, id, err);
    if (!parse_marker(value, &marker))
        return error_set(err, ERR_CORRUPT, "region %llu: the marker of a snapshot has a bad checksum or size", ULL(id));
    *installed += 1;
    return BUG(marker_ignored) ? drop(env->engine, id, err) : finish(env, id, &marker, err);
}

enum err snapshot_stage_recover(struct env *env, uint64_t *ret_installed, struct error *err)
{
    struct engine *engine = env->engine;
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, bytes_of("s", 1), bytes_of("t", 1));
    enum err code = ERR_OK;
    engine_iter_seek(engine, iter, bytes_of("s", 1));
    while (code == ERR_OK && engine_iter_valid(engine, iter)) {
        struct bytes key = engine_iter_key(engine, iter);
        if (key.size < HEAD_SIZE) {
            code = error_set(err, ERR_CORRUPT, "a row of column family raft has a key of %zu bytes", key.size);
            break;
        }
        region_id id = load_u64_be(key.data + 1);
        code = recover_region(env, key, engine_iter_value(engine, iter), ret_installed, err);
        struct group_key next = stage_key(id, 0xff);
        engine_iter_seek(engine, iter, group_key_bytes(&next));
    }
    if (code == ERR_OK)
        code = engine_iter_error(engine, iter, err);
    engine_iter_free(engine, iter);
    return code;
}
