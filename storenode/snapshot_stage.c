#include "snapshot_stage.h"

#include <stdio.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/group_keys.h"
#include "meta/keyspace.h"
#include "storenode/peer_heal.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/store_keys.h"

enum {
    FORMAT = 3,
    MARKER = 0x01,
    CHUNK = 0x02,
    TABLE = 0x03,
    HEAD_SIZE = 10,
    MARKER_SIZE = 57,
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

static struct group_key numbered_key(region_id region, uint8_t suffix, uint32_t sequence)
{
    struct group_key key = stage_key(region, suffix);
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
        if ((row->cf == ENGINE_RAFT) != (chunk->rows[0].cf == ENGINE_RAFT))
            return ERR_INVALID;
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
    struct group_key key = numbered_key(region, CHUNK, sequence);
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
    store_u32_be(value + 25, marker->chunk_first);
    store_u32_be(value + 29, marker->chunk_count);
    store_u32_be(value + 33, marker->table_count);
    store_u64_be(value + 37, marker->time.now_ms);
    store_u64_be(value + 45, marker->time.last_expiry_ms);
    store_u32_be(value + 53, group_checksum(MARKER, value, 53));
    struct group_key key = stage_key(region, MARKER);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(value, sizeof value));
}

static bool parse_marker(struct bytes value, struct snapshot_marker *ret_marker)
{
    if (value.size != MARKER_SIZE || value.data[0] != FORMAT ||
        load_u32_be(value.data + 53) != group_checksum(MARKER, value.data, 53))
        return false;
    *ret_marker = (struct snapshot_marker){
        .id = load_u64_be(value.data + 1),
        .position = {.index = load_u64_be(value.data + 9), .term = load_u64_be(value.data + 17)},
        .chunk_first = load_u32_be(value.data + 25),
        .chunk_count = load_u32_be(value.data + 29),
        .table_count = load_u32_be(value.data + 33),
        .time = {.now_ms = load_u64_be(value.data + 37), .last_expiry_ms = load_u64_be(value.data + 45)}};
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

static bool row_is_sound(uint8_t kind, struct bytes value)
{
    return value.size > CHECKSUM_SIZE && load_u32_be(value.data + value.size - CHECKSUM_SIZE) ==
                                             group_checksum(kind, value.data, value.size - CHECKSUM_SIZE);
}

void snapshot_stage_put_tables(struct engine *engine, struct engine_batch *batch, region_id region,
                               const struct snapshot_tables *tables)
{
    for (uint32_t i = 0; i < tables->count; i++) {
        uint8_t value[1 + ENGINE_TABLE_NAME_SIZE + CHECKSUM_SIZE] = {(uint8_t)tables->items[i].cf};
        size_t size = 1 + strlen(tables->items[i].name);
        memcpy(value + 1, tables->items[i].name, size - 1);
        store_u32_be(value + size, group_checksum(TABLE, value, size));
        struct group_key key = numbered_key(region, TABLE, i);
        engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(value, size + CHECKSUM_SIZE));
    }
}

static bool parse_table(struct bytes value, struct snapshot_table *ret_table)
{
    size_t size = value.size - CHECKSUM_SIZE - 1; /* of the name */
    if (!row_is_sound(TABLE, value) || size == 0 || size >= ENGINE_TABLE_NAME_SIZE || value.data[0] >= ENGINE_RAFT ||
        memchr(value.data + 1, '/', size) || memchr(value.data + 1, '\0', size))
        return false;
    *ret_table = (struct snapshot_table){.cf = (enum engine_cf)value.data[0]};
    memcpy(ret_table->name, value.data + 1, size);
    return true;
}

enum err snapshot_stage_load_tables(struct engine *engine, region_id region, uint32_t count,
                                    struct snapshot_tables *ret_tables, struct error *err)
{
    struct buf value;
    struct snapshot_tables tables = {.items = NULL};
    buf_init(&value, 1024);
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < count && code == ERR_OK; i++) {
        struct snapshot_table table = {.cf = ENGINE_DEFAULT};
        struct group_key key = numbered_key(region, TABLE, i);
        code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, err);
        if (code == ERR_NOT_FOUND || code == ERR_ENTRY_TOO_LARGE ||
            (code == ERR_OK && !parse_table(buf_bytes(&value), &table)))
            code = error_set(err, ERR_CORRUPT,
                             "region %llu: table %u of a snapshot that must be installed is not known", ULL(region), i);
        if (code == ERR_OK)
            snapshot_tables_add(&tables, table.cf, table.name);
    }
    buf_fini(&value);
    if (code == ERR_OK)
        *ret_tables = tables;
    else
        snapshot_tables_fini(&tables);
    return code;
}

void snapshot_stage_drop(struct engine *engine, struct engine_batch *batch, region_id region)
{
    struct group_key lower = stage_key(region, 0), upper = stage_key(region, TABLE + 1);
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&lower), group_key_bytes(&upper));
}

enum err snapshot_stage_check_row(struct bytes key, struct bytes value)
{
    struct snapshot_marker marker;
    if (key.size == HEAD_SIZE && key.data[9] == MARKER)
        return parse_marker(value, &marker) ? ERR_OK : ERR_CORRUPT;
    struct snapshot_table table;
    if (key.size == HEAD_SIZE + 4 && key.data[9] == TABLE)
        return parse_table(value, &table) ? ERR_OK : ERR_CORRUPT;
    return key.size == HEAD_SIZE + 4 && key.data[9] == CHUNK && row_is_sound(CHUNK, value) ? ERR_OK : ERR_CORRUPT;
}

/* ---- installing */

void snapshot_install_init(struct snapshot_install *install, struct region *take_region,
                           const struct snapshot_marker *marker, struct snapshot_tables *take_tables)
{
    *install = (struct snapshot_install){.region = take_region,
                                         .marker = *marker,
                                         .tables = *take_tables,
                                         .ingested_cf = ENGINE_DEFAULT,
                                         .next = marker->chunk_first,
                                         .row_count = take_tables->row_count,
                                         .size = take_tables->size};
    *take_tables = (struct snapshot_tables){.items = NULL};
}

void snapshot_install_fini(struct snapshot_install *install)
{
    region_free(install->region);
    snapshot_tables_fini(&install->tables);
}

/* Of column families that have tables, those do it. */
static void remove_old(const struct snapshot_install *install, struct engine *engine, struct engine_batch *batch)
{
    const struct region *region = install->region;
    for (int cf = ENGINE_DEFAULT; cf < ENGINE_RAFT && !BUG(install_keeps_old_rows); cf++)
        if (!snapshot_tables_have(&install->tables, (enum engine_cf)cf))
            engine_batch_delete_range(engine, batch, (enum engine_cf)cf, region->start_key, snapshot_end_of(region));
    struct group_key lower = group_key(region->id, STORE_TOKENS), upper = group_key(region->id, STORE_TOKENS_EDGE + 1);
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&lower), group_key_bytes(&upper));
}

static enum err move_chunk(struct snapshot_install *install, struct engine *engine, struct engine_batch *batch,
                           struct error *err)
{
    struct group_key key = numbered_key(install->region->id, CHUNK, install->next);
    struct wire_snapshot_chunk chunk = {0};
    struct buf value;
    struct arena arena;
    buf_init(&value, ROW_SIZE_MAX);
    arena_init(&arena);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, err);
    bool sound = code == ERR_OK && row_is_sound(CHUNK, buf_bytes(&value)) &&
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

static enum err ingest(struct snapshot_install *install, struct engine *engine, struct error *err)
{
    enum err code =
        snapshot_tables_ingest(&install->tables, engine, (enum engine_cf)install->ingested_cf, install->region, err);
    if (code == ERR_OK)
        install->ingested_cf++;
    return code == ERR_NOT_FOUND ? ERR_CORRUPT : code; /* the text says which */
}

enum err snapshot_install_step(struct snapshot_install *install, struct engine *engine, size_t size_max,
                               struct error *err)
{
    if (size_max == 0)
        size_max = BATCH_SIZE;
    while (install->ingested_cf < ENGINE_RAFT &&
           !snapshot_tables_have(&install->tables, (enum engine_cf)install->ingested_cf))
        install->ingested_cf++;
    if (install->ingested_cf < ENGINE_RAFT)
        return ingest(install, engine, err);
    uint32_t chunk_end = install->marker.chunk_first + install->marker.chunk_count;
    struct snapshot_install before = *install;
    struct engine_batch *batch = engine_batch_new(engine);
    enum err code = ERR_OK;
    if (!install->begun)
        remove_old(install, engine, batch);
    install->begun = true;
    while (install->next < chunk_end && code == ERR_OK && engine_batch_size(engine, batch) < size_max) {
        code = move_chunk(install, engine, batch, err);
        install->next++;
    }
    if (code == ERR_OK)
        code = engine_write(engine, batch, false, err);
    engine_batch_free(engine, batch);
    if (code != ERR_OK)
        *install = before;
    else
        install->whole = install->next == chunk_end;
    return code;
}

bool snapshot_install_put_end(const struct snapshot_install *install, struct engine *engine, struct engine_batch *batch)
{
    region_fsm_put_applied(engine, batch, install->region->id, install->marker.position.index,
                           install->marker.position.term, &install->marker.time);
    snapshot_stage_drop(engine, batch, install->region->id);
    damage_delete(engine, batch, install->region->id);
    return install->tables.count > 0;
}

void snapshot_install_end(struct snapshot_install *install, struct engine *engine)
{
    snapshot_tables_remove(&install->tables, engine);
}

enum err snapshot_install_all(struct snapshot_install *install, struct engine *engine, struct error *err)
{
    enum err code = ERR_OK;
    while (!install->whole && code == ERR_OK)
        code = snapshot_install_step(install, engine, 0, err);
    if (code != ERR_OK)
        return code;
    struct engine_batch *batch = engine_batch_new(engine);
    bool sync = snapshot_install_put_end(install, engine, batch);
    code = engine_write(engine, batch, sync, err);
    engine_batch_free(engine, batch);
    if (code == ERR_OK)
        snapshot_install_end(install, engine);
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

/* Its old rows mean nothing, and the new ones cannot be read: the replica is damaged, and gets them again. */
static enum err give_up(struct env *env, region_id id, const struct snapshot_marker *marker, const char *text,
                        struct error *err)
{
    log_event(env->log, LOG_ERROR, "event=snapshot_damaged region=%llu index=%llu msg=\"%s\"", ULL(id),
              ULL(marker->position.index), text);
    struct engine_batch *batch = engine_batch_new(env->engine);
    region_fsm_put_applied(env->engine, batch, id, marker->position.index, marker->position.term, &marker->time);
    snapshot_stage_drop(env->engine, batch, id);
    damage_put(env->engine, batch, id, text);
    enum err code = engine_write(env->engine, batch, true, err);
    engine_batch_free(env->engine, batch);
    return code;
}

static enum err finish(struct env *env, region_id id, const struct snapshot_marker *marker, struct error *err)
{
    struct region *region;
    struct snapshot_tables tables = {.items = NULL};
    struct error found = {0};
    enum err code = load_region(env->engine, id, &region, err);
    if (code != ERR_OK)
        return code;
    code = snapshot_stage_load_tables(env->engine, id, marker->table_count, &tables, &found);
    struct snapshot_install install;
    snapshot_install_init(&install, region, marker, &tables);
    for (uint32_t i = 0; i < install.tables.count && code == ERR_OK; i++)
        code = engine_tables_check(env->engine, install.tables.items[i].name, &found);
    if (code == ERR_NOT_FOUND)
        code = ERR_CORRUPT;
    if (code == ERR_OK)
        code = snapshot_install_all(&install, env->engine, &found);
    if (code == ERR_OK)
        log_event(env->log, LOG_INFO, "event=snapshot_installed region=%llu index=%llu rows=%llu at=start", ULL(id),
                  ULL(marker->position.index), ULL(install.row_count));
    snapshot_install_fini(&install);
    if (code == ERR_CORRUPT)
        return give_up(env, id, marker, found.text, err);
    return code == ERR_OK ? code : error_set(err, code, "%s", found.text);
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

struct leftover {
    struct engine *engine;
    struct snapshot_tables tables;
};

static void note_leftover(void *context, const char *name, uint64_t size)
{
    struct leftover *leftover = context;
    (void)size;
    snapshot_tables_add(&leftover->tables, ENGINE_DEFAULT, name);
}

/* Once no marker is left, no file is of any use. */
static enum err collect(struct env *env, struct error *err)
{
    struct leftover leftover = {.engine = env->engine};
    enum err code = engine_tables_list(env->engine, note_leftover, &leftover, err);
    if (code == ERR_OK)
        snapshot_tables_remove(&leftover.tables, env->engine);
    if (leftover.tables.count > 0)
        log_event(env->log, LOG_INFO, "event=snapshot_files_removed count=%u", leftover.tables.count);
    snapshot_tables_fini(&leftover.tables);
    return code;
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
    return code == ERR_OK ? collect(env, err) : code;
}
