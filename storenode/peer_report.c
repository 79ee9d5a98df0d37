#include "storenode/peer_report.h"

#include <stdlib.h>

#include "base/check.h"
#include "rpc/frame_kind.h"
#include "storenode/pd_link.h"
#include "storenode/region_worker.h"

enum { PART_COUNT_MAX = 2000, PART_SIZE_MAX = 1024 * 1024, ROW_SIZE = 200 };

struct peer_report {
    struct message message; /* first */
    struct store *store;
    uint64_t number;
    uint32_t next_worker;
    struct arena arena;
    struct wire_peer_report *list; /* owned */
    uint32_t count, capacity;
};

static void free_report(struct message *message)
{
    struct peer_report *report = (struct peer_report *)message;
    arena_fini(&report->arena);
    free(report->list);
    free(report);
}

struct wire_peer_report *peer_report_add(struct peer_report *report, const struct region *region)
{
    if (report->count == report->capacity) {
        report->capacity = report->capacity ? 2 * report->capacity : 64;
        report->list = realloc(report->list, report->capacity * sizeof *report->list);
        CHECK(report->list);
    }
    struct wire_region *wire = arena_alloc(&report->arena, sizeof *wire);
    *wire = region_to_wire(region, &report->arena);
    wire->start_key = arena_copy(&report->arena, wire->start_key);
    wire->end_key = arena_copy(&report->arena, wire->end_key);
    struct wire_peer_report *row = &report->list[report->count++];
    *row = (struct wire_peer_report){.region = wire};
    return row;
}

/* So many of those from `first` on go into one frame. */
static uint32_t part_count(const struct peer_report *report, uint32_t first)
{
    uint32_t count = 0;
    size_t size = 0;
    while (first + count < report->count && count < PART_COUNT_MAX && size < PART_SIZE_MAX) {
        const struct wire_region *region = report->list[first + count].region;
        size += ROW_SIZE + region->start_key.size + region->end_key.size;
        count++;
    }
    return count;
}

static void send_parts(struct peer_report *report)
{
    uint32_t first = 0, part = 0;
    do {
        uint32_t count = part_count(report, first);
        struct wire_pd_request request = {.op = WIRE_PD_OP_PEER_REPORT,
                                          .cluster_id = atomic_load(&report->store->cluster_id),
                                          .store_id = atomic_load(&report->store->store_id),
                                          .reports = &report->list[first],
                                          .reports_count = count,
                                          .report = report->number,
                                          .part = part++,
                                          .last = first + count == report->count};
        struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
        if (!frame)
            return;
        pd_link_post(report->store->pd_link, frame);
        first += count;
    } while (first < report->count);
}

void peer_report_next(struct peer_report *take_report)
{
    struct store *store = take_report->store;
    if (take_report->next_worker < store->worker_count) {
        struct region_worker *worker = store->workers[take_report->next_worker++];
        actor_post_must(store->env->executor, region_worker_actor(worker), &take_report->message);
        return;
    }
    send_parts(take_report);
    free_report(&take_report->message);
}

void peer_report_begin(struct store *store, uint64_t number)
{
    struct peer_report *report = calloc(1, sizeof *report);
    CHECK(report);
    report->message = (struct message){.kind = WORKER_PEERS, .free = free_report};
    report->store = store;
    report->number = number;
    arena_init(&report->arena);
    peer_report_next(report);
}
