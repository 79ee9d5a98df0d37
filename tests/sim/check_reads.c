#include "check_reads.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/check.h"
#include "env/transport.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"
#include "storenode/region_fsm.h"

/* Half of the clients are enough, and half the work. */
enum { ASKED_MAX = 256, WATCH_EVERY = 2, NEWEST_MAX = 64 };

struct asked {
    const struct sim_node *client; /* NULL: free */
    uint64_t generation;           /* of the client */
    uint64_t request_id;
    region_id region;
    raft_index floor; /* applied somewhere when it was sent first */
};

struct newest {
    const struct sim_node *client;
    uint64_t generation;
    uint64_t request_id;
};

struct check_reads {
    struct world *world;
    struct check_raft *raft;
    struct arena arena;
    struct asked asked[ASKED_MAX]; /* a ring */
    uint32_t asked_count;
    struct newest newest[NEWEST_MAX]; /* by number */
};

#define ULL(value) ((unsigned long long)(value))

static struct asked *find(struct check_reads *check, const struct sim_node *client, uint64_t request_id)
{
    for (uint32_t i = 0; i < ASKED_MAX; i++) {
        struct asked *asked = &check->asked[i];
        if (asked->client == client && asked->request_id == request_id &&
            asked->generation == sim_node_generation(client))
            return asked;
    }
    return NULL;
}

/* It has asked later ones already: this one is sent again, and when it was sent first is not in the ring any more. An
 * answer to that first one may still come. */
static bool is_old(struct check_reads *check, const struct world_node *client, const struct sim_node *node,
                   uint64_t request_id)
{
    struct newest *newest = &check->newest[client->number % NEWEST_MAX];
    if (newest->client != node || newest->generation != sim_node_generation(node))
        *newest = (struct newest){.client = node, .generation = sim_node_generation(node)};
    bool old = request_id < newest->request_id;
    newest->request_id = old ? newest->request_id : request_id;
    return old;
}

static bool is_read(const struct wire_kv_request *request)
{
    return request->op == WIRE_KV_OP_GET || request->op == WIRE_KV_OP_BATCH_GET || request->op == WIRE_KV_OP_SCAN;
}

static void see_request(struct check_reads *check, const struct world_node *node, const struct sim_node *client,
                        const struct wire_kv_request *request)
{
    struct asked *before = find(check, client, request->id);
    bool old = is_old(check, node, client, request->id);
    if (before && before->region != request->region_id)
        *before = (struct asked){0}; /* split meanwhile: which of the two regions answers cannot be told */
    if (!is_read(request) || request->read_mode == WIRE_READ_MODE_STALE || before || old)
        return;
    check->asked[check->asked_count++ % ASKED_MAX] =
        (struct asked){.client = client,
                       .generation = sim_node_generation(client),
                       .request_id = request->id,
                       .region = request->region_id,
                       .floor = check_raft_applied(check->raft, request->region_id)};
}

static void see_reply(struct check_reads *check, const struct world_node *store, const struct sim_node *client,
                      const struct wire_kv_reply *reply)
{
    struct asked *asked = find(check, client, reply->id);
    if (!asked || (reply->code != ERR_OK && reply->code != ERR_NOT_FOUND))
        return;
    raft_index applied;
    raft_term term;
    struct error err;
    if (region_fsm_load_applied(store->disk, asked->region, &applied, &term, &err) == ERR_OK && applied < asked->floor)
        world_fail(check->world, "reads", asked->region,
                   "L1: s%u answers a read of region %llu and has applied %llu; %llu was applied when %s asked",
                   store->number, ULL(asked->region), ULL(applied), ULL(asked->floor), sim_node_name(client));
    *asked = (struct asked){0};
}

void check_reads_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame)
{
    struct check_reads *check = context;
    bool request = frame->kind == FRAME_KV_REQUEST, reply = frame->kind == FRAME_KV_REPLY;
    if (!request && !reply)
        return;
    const struct world_node *client = world_node_of(check->world, request ? from : to);
    if (client->role != WORLD_CLIENT || client->number % WATCH_EVERY != 0)
        return;
    struct wire_kv_request_batch requests;
    struct wire_kv_reply_batch replies;
    if (request && wire_decode_kv_request_batch(frame_bytes(frame), &check->arena, &requests) == ERR_OK)
        for (uint32_t i = 0; i < requests.requests_count; i++)
            see_request(check, client, from, &requests.requests[i]);
    if (reply && wire_decode_kv_reply_batch(frame_bytes(frame), &check->arena, &replies) == ERR_OK)
        for (uint32_t i = 0; i < replies.replies_count; i++)
            see_reply(check, world_node_of(check->world, from), to, &replies.replies[i]);
    arena_reset(&check->arena);
}

/* ---- life */

struct check_reads *check_reads_new(struct world *world, struct check_raft *raft)
{
    struct check_reads *check = calloc(1, sizeof *check);
    CHECK(check);
    check->world = world;
    check->raft = raft;
    arena_init(&check->arena);
    return check;
}

void check_reads_free(struct check_reads *check)
{
    if (!check)
        return;
    arena_fini(&check->arena);
    free(check);
}
