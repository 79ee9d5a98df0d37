#include "snapshot_inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"

static void add_file(void *context, const char *name, uint64_t size)
{
    struct snapshot_inspect *inspect = context;
    inspect->files = realloc(inspect->files, (inspect->file_count + 1) * sizeof *inspect->files);
    CHECK(inspect->files);
    struct snapshot_file *file = &inspect->files[inspect->file_count++];
    *file = (struct snapshot_file){.size = size};
    snprintf(file->name, sizeof file->name, "%s", name);
}

static void claim(struct snapshot_inspect *inspect, const struct snapshot_tables *tables, region_id region)
{
    for (uint32_t i = 0; i < tables->count; i++)
        for (uint32_t k = 0; k < inspect->file_count; k++)
            if (strcmp(inspect->files[k].name, tables->items[i].name) == 0) {
                struct error err = {0};
                inspect->files[k].region = region;
                inspect->files[k].code = engine_tables_check(inspect->engine, inspect->files[k].name, &err);
                snprintf(inspect->files[k].text, sizeof inspect->files[k].text, "%.*s", 250, err.text);
            }
}

static enum err add_staged(struct snapshot_inspect *inspect, region_id region, struct error *err)
{
    struct snapshot_marker marker;
    struct snapshot_tables tables = {.items = NULL};
    enum err code = snapshot_stage_load_marker(inspect->engine, region, &marker);
    if (code == ERR_OK)
        code = snapshot_stage_load_tables(inspect->engine, region, marker.table_count, &tables, err);
    if (code == ERR_NOT_FOUND)
        return ERR_OK; /* rows without a marker: of an older version */
    if (code != ERR_OK)
        return error_set(err, code, "region %" PRIu64 ": what a snapshot left cannot be read", region);
    inspect->staged = realloc(inspect->staged, (inspect->staged_count + 1) * sizeof *inspect->staged);
    CHECK(inspect->staged);
    inspect->staged[inspect->staged_count++] = (struct snapshot_left){.region = region, .marker = marker};
    claim(inspect, &tables, region);
    snapshot_tables_fini(&tables);
    return ERR_OK;
}

enum err snapshot_inspect(struct snapshot_inspect *inspect, struct error *err)
{
    struct engine *engine = inspect->engine;
    enum err code = engine_tables_list(engine, add_file, inspect, err);
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, bytes_of("s", 1), bytes_of("t", 1));
    engine_iter_seek(engine, iter, bytes_of("s", 1));
    while (code == ERR_OK && engine_iter_valid(engine, iter)) {
        struct bytes key = engine_iter_key(engine, iter);
        uint8_t next[10] = {'s'};
        if (key.size < sizeof next) {
            code = error_set(err, ERR_CORRUPT, "a row of column family raft has a key of %zu bytes", key.size);
            break;
        }
        region_id region = load_u64_be(key.data + 1);
        code = add_staged(inspect, region, err);
        store_u64_be(next + 1, region);
        next[9] = 0xff;
        engine_iter_seek(engine, iter, bytes_of(next, sizeof next));
    }
    if (code == ERR_OK)
        code = engine_iter_error(engine, iter, err);
    engine_iter_free(engine, iter);
    return code;
}

void snapshot_inspect_fini(struct snapshot_inspect *inspect)
{
    free(inspect->files);
    free(inspect->staged);
}
