#include "snapshot_tables.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"

enum {
    TABLE_SIZE_MAX = 64 * 1024 * 1024,
    TABLE_SIZE_FIRST = 4 * 1024 * 1024, /* it shows whether compressing the others is worth it */
};

#define ULL(value) ((unsigned long long)(value))

struct snapshot_build {
    struct engine *engine; /* borrowed */
    struct region *region; /* owned */
    uint64_t id;
    struct raft_position position;
    uint32_t attempt;
    struct engine_table *table; /* owned; being written */
    char name[ENGINE_TABLE_NAME_SIZE];
    enum engine_cf cf;
    struct buf start; /* of its slice */
    struct buf last;  /* key */
    bool has_last;
    bool is_dense;     /* compressing saves little */
    uint64_t row_size; /* of the table that is being written */
    struct snapshot_tables done;
};

struct snapshot_build *snapshot_build_new(struct engine *engine, const struct region *region, uint64_t id,
                                          struct raft_position position, uint32_t attempt)
{
    struct snapshot_build *build = calloc(1, sizeof *build);
    CHECK(build);
    *build = (struct snapshot_build){
        .engine = engine, .region = region_copy(region), .id = id, .position = position, .attempt = attempt, .cf = ENGINE_DEFAULT};
    buf_init(&build->start, FRAME_SIZE_MAX);
    buf_init(&build->last, FRAME_SIZE_MAX);
    return build;
}

void snapshot_build_free(struct snapshot_build *build)
{
    if (!build)
        return;
    engine_table_free(build->engine, build->table);
    snapshot_tables_remove(&build->done, build->engine);
    snapshot_tables_fini(&build->done);
    region_free(build->region);
    buf_fini(&build->start);
    buf_fini(&build->last);
    free(build);
}

static enum err begin_table(struct snapshot_build *build, struct bytes start, struct error *err)
{
    snprintf(build->name, sizeof build->name, "rev_%llu_%llu_%llu_%016llx_%x_%u.sst", ULL(build->region->id),
             ULL(build->position.term), ULL(build->position.index), ULL(build->id), build->attempt,
             build->done.count);
    CHECK(buf_assign(&build->start, start) == ERR_OK);
    build->row_size = 0;
    return engine_table_new(build->engine, build->cf, build->name, !build->is_dense, &build->table, err);
}

static enum err end_table(struct snapshot_build *build, struct bytes end, struct error *err)
{
    struct bytes start = buf_bytes(&build->start);
    enum err code =
        engine_table_finish(build->engine, build->table, start, BUG(install_keeps_old_rows) ? start : end, err);
    if (code == ERR_OK && build->done.count == 0)
        build->is_dense = engine_table_size(build->engine, build->table) > build->row_size - build->row_size / 8;
    engine_table_free(build->engine, build->table);
    build->table = NULL;
    if (code != ERR_OK)
        return code;
    snapshot_tables_add(&build->done, build->cf, build->name);
    return BUG(tables_unchecked) ? ERR_OK : engine_tables_check(build->engine, build->name, err);
}

static bool is_large_enough(const struct snapshot_build *build)
{
    return build->done.count == 0 ? build->row_size >= TABLE_SIZE_FIRST
                                  : engine_table_size(build->engine, build->table) >= TABLE_SIZE_MAX;
}

static enum err put_row(struct snapshot_build *build, const struct wire_snapshot_row *row, struct error *err)
{
    enum err code = ERR_OK;
    if (row->cf < (int)build->cf ||
        (row->cf == (int)build->cf && build->has_last && bytes_compare(row->key, buf_bytes(&build->last)) <= 0))
        return error_set(err, ERR_INVALID, "region %llu: rows of a snapshot are not in order", ULL(build->region->id));
    if (build->table && row->cf != (int)build->cf)
        code = end_table(build, snapshot_end_of(build->region), err);
    else if (build->table && is_large_enough(build)) {
        code = end_table(build, row->key, err);
        if (code == ERR_OK)
            code = begin_table(build, row->key, err);
    }
    build->cf = (enum engine_cf)row->cf;
    if (code == ERR_OK && !build->table)
        code = begin_table(build, build->region->start_key, err);
    if (code == ERR_OK)
        code = engine_table_put(build->engine, build->table, row->key, row->value, err);
    if (code == ERR_OK)
        code = buf_assign(&build->last, row->key);
    build->has_last = true;
    build->row_size += row->key.size + row->value.size;
    build->done.row_count++;
    build->done.size += row->key.size + row->value.size;
    return code;
}

enum err snapshot_build_add(struct snapshot_build *build, const struct wire_snapshot_chunk *chunk, struct error *err)
{
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < chunk->rows_count && code == ERR_OK; i++)
        if (chunk->rows[i].cf < ENGINE_RAFT)
            code = put_row(build, &chunk->rows[i], err);
    return code;
}

enum err snapshot_build_finish(struct snapshot_build *build, struct snapshot_tables *ret_tables, struct error *err)
{
    enum err code = build->table ? end_table(build, snapshot_end_of(build->region), err) : ERR_OK;
    if (code == ERR_OK) {
        *ret_tables = build->done;
        build->done = (struct snapshot_tables){.items = NULL};
    }
    return code;
}

/* ---- lists of them */

enum err snapshot_tables_ingest(const struct snapshot_tables *tables, struct engine *engine, enum engine_cf cf,
                                const struct region *region, struct error *err)
{
    const char **names = calloc(tables->count + 1, sizeof *names);
    CHECK(names);
    uint32_t count = 0;
    for (uint32_t i = 0; i < tables->count; i++)
        if (tables->items[i].cf == cf)
            names[count++] = tables->items[i].name;
    enum err code = ERR_OK;
    if (count > 0)
        code = engine_tables_ingest(engine, cf, names, count, region->start_key,
                                    BUG(install_keeps_old_rows) ? region->start_key : snapshot_end_of(region), err);
    free(names);
    return code;
}

bool snapshot_tables_have(const struct snapshot_tables *tables, enum engine_cf cf)
{
    for (uint32_t i = 0; i < tables->count; i++)
        if (tables->items[i].cf == cf)
            return true;
    return false;
}

void snapshot_tables_add(struct snapshot_tables *tables, enum engine_cf cf, const char *name)
{
    tables->items = realloc(tables->items, (tables->count + 1) * sizeof *tables->items);
    CHECK(tables->items && strlen(name) < ENGINE_TABLE_NAME_SIZE);
    struct snapshot_table *table = &tables->items[tables->count++];
    *table = (struct snapshot_table){.cf = cf};
    snprintf(table->name, sizeof table->name, "%s", name);
}

void snapshot_tables_remove(const struct snapshot_tables *tables, struct engine *engine)
{
    for (uint32_t i = 0; i < tables->count; i++)
        (void)engine_tables_remove(engine, tables->items[i].name, NULL);
}

void snapshot_tables_fini(struct snapshot_tables *tables)
{
    free(tables->items);
    *tables = (struct snapshot_tables){.items = NULL};
}
