/* inspect_expiry: what may be dropped from the engine of a store that does not run; part of store_inspect. */
#include <stdlib.h>

#include "base/check.h"
#include "storenode/region_fsm.h"
#include "storenode/row.h"
#include "storenode/store_inspect.h"

struct regions {
    struct region **regions;   /* owned, and each of them */
    struct engine_span *spans; /* owned; keys are the regions' */
    size_t count, capacity;
};

static void regions_fini(struct regions *regions)
{
    for (size_t i = 0; i < regions->count; i++)
        region_free(regions->regions[i]);
    free(regions->regions);
    free(regions->spans);
}

static void add_region(struct regions *regions, struct region *take_region, struct region_time time)
{
    if (regions->count == regions->capacity) {
        regions->capacity = regions->capacity ? regions->capacity * 2 : 64;
        regions->regions = realloc(regions->regions, regions->capacity * sizeof(struct region *));
        regions->spans = realloc(regions->spans, regions->capacity * sizeof *regions->spans);
        CHECK(regions->regions && regions->spans);
    }
    regions->regions[regions->count] = take_region;
    regions->spans[regions->count++] = (struct engine_span){
        .start = take_region->start_key, .end = take_region->end_key, .time_ms = time.now_ms};
}

enum err inspect_allow_expiry(struct inspect *inspect, struct error *err)
{
    struct regions regions = {0};
    for (region_id id = 0; inspect_next_group(inspect, id, &id); id++) {
        struct region *region;
        struct region_time time;
        peer_id local;
        bool tombstone;
        if (!inspect_region(inspect, id, &region, &local, &tombstone))
            continue;
        if (!tombstone && region_fsm_load_time(inspect->engine, id, &time) == ERR_OK && time.last_expiry_ms > 0)
            add_region(&regions, region, time);
        else
            region_free(region);
    }
    struct engine_expiry expiry = {.spans = regions.spans, .count = regions.count, .is_expired = row_is_expired};
    enum err code = regions.count > 0 ? engine_set_expiry(inspect->engine, &expiry, err) : ERR_OK;
    regions_fini(&regions);
    return code;
}
