#include "check_epoch.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/check.h"
#include "client/client_internal.h"
#include "env/transport.h"
#include "meta/keyspace.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum { INTERVAL_MS_MAX = 150, WATCH_NS = 2000000000, SENT_MAX = 1024, REGIONS_MAX = 64 };

/* The newest version of a region that a route had before it was made old. */
struct known {
    region_id region;
    uint64_t epoch_version;
};

/* A request under way, by its last sending. */
struct sent {
    const struct sim_node *store;
    uint64_t generation; /* of the client */
    uint64_t request_id;
    uint64_t epoch_version;
    bool is_stale; /* every time it was sent: else which sending is answered cannot be told */
};

/* A client numbers its requests one by one, and has fewer under way. */
struct sender {
    const struct sim_node *client;
    struct sent sent[SENT_MAX];
};

struct check_epoch {
    struct world *world;
    struct rng rng;
    struct arena arena;
    uint64_t watch_until_ns; /* until then frames are worth a look */
    struct known known[REGIONS_MAX];
    uint32_t known_count;
    struct sender *senders; /* owned array: of each client */
    uint32_t sender_count;
};

#define ULL(value) ((unsigned long long)(value))

/* NULL: too many regions. */
static uint64_t *newest_of(struct check_epoch *check, region_id region)
{
    uint32_t i = 0;
    while (i < check->known_count && check->known[i].region != region)
        i++;
    if (i == REGIONS_MAX)
        return NULL;
    if (i == check->known_count)
        check->known[check->known_count++] = (struct known){.region = region};
    return &check->known[i].epoch_version;
}

static void age_a_route(struct check_epoch *check)
{
    struct world *world = check->world;
    struct world_node *node =
        world_client(world, (uint32_t)rng_between(&check->rng, 1, world_options(world)->client_count));
    uint8_t key[2] = {KEYSPACE_RAW, (uint8_t)rng_below(&check->rng, 256)};
    struct route *route = node->client ? router_find(node->client->router, bytes_of(key, sizeof key)) : NULL;
    uint64_t *newest = route ? newest_of(check, route->region_id) : NULL;
    if (!newest || route->epoch_version == 0)
        return;
    sim_trace(world_sim(world), "%s knows region=%llu as it was", sim_node_name(node->node), ULL(route->region_id));
    if (route->epoch_version > *newest)
        *newest = route->epoch_version;
    route->epoch_version--;
    if (sim_heap_ns(world_sim(world)) > check->watch_until_ns) /* nobody looked: they may have left again */
        memset(check->senders, 0, check->sender_count * sizeof *check->senders);
    check->watch_until_ns = sim_heap_ns(world_sim(world)) + WATCH_NS;
    if (rng_chance(&check->rng, 1, 2)) /* and whom to ask: followers get work, too */
        router_set_leader(node->client->router, route, 0);
}

static void next(void *context)
{
    struct check_epoch *check = context;
    struct sim *sim = world_sim(check->world);
    age_a_route(check);
    sim_at(sim, sim_heap_ns(sim) + rng_between(&check->rng, 1, INTERVAL_MS_MAX) * 1000000, NULL, next, NULL, check);
}

/* ---- what follows */

static struct sent *sent_of(struct check_epoch *check, const struct sim_node *client, uint64_t request_id)
{
    uint32_t i = 0;
    while (i < check->sender_count && check->senders[i].client && check->senders[i].client != client)
        i++;
    if (i == check->sender_count)
        return NULL;
    check->senders[i].client = client;
    return &check->senders[i].sent[request_id % SENT_MAX];
}

static void see_requests(struct check_epoch *check, const struct sim_node *client, const struct sim_node *store,
                         const struct frame *frame)
{
    struct wire_kv_request_batch batch;
    if (wire_decode_kv_request_batch(frame_bytes(frame), &check->arena, &batch) != ERR_OK)
        return;
    for (uint32_t i = 0; i < batch.requests_count; i++) {
        const struct wire_kv_request *request = &batch.requests[i];
        struct sent *sent = sent_of(check, client, request->id);
        const uint64_t *newest = newest_of(check, request->region_id);
        if (!sent)
            continue;
        bool again = sent->request_id == request->id && sent->generation == sim_node_generation(client);
        /* A stale read may find a replica that is behind in its epoch, too. */
        bool is_stale = newest && request->epoch_version < *newest && request->read_mode != WIRE_READ_MODE_STALE;
        *sent = (struct sent){store, sim_node_generation(client), request->id, request->epoch_version,
                              is_stale && (!again || sent->is_stale)};
    }
}

static void see_reply(struct check_epoch *check, const struct sim_node *store, const struct sim_node *client,
                      const struct wire_kv_reply *reply)
{
    enum err code = (enum err)reply->code;
    const struct sent *sent = sent_of(check, client, reply->id);
    if (!sent || !sent->is_stale || sent->store != store || sent->request_id != reply->id ||
        sent->generation != sim_node_generation(client))
        return;
    if (code == ERR_OK || code == ERR_NOT_FOUND || code == ERR_CONDITION_FAILED)
        world_fail(check->world, "epoch", 0, "E1: %s answers a request of %s for version %llu of a region with %s",
                   sim_node_name(store), sim_node_name(client), ULL(sent->epoch_version), err_name(code));
}

void check_epoch_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame)
{
    struct check_epoch *check = context;
    struct wire_kv_reply_batch batch;
    if (sim_heap_ns(world_sim(check->world)) > check->watch_until_ns)
        return;
    if (frame->kind == FRAME_KV_REQUEST)
        see_requests(check, from, to, frame);
    else if (frame->kind == FRAME_KV_REPLY &&
             wire_decode_kv_reply_batch(frame_bytes(frame), &check->arena, &batch) == ERR_OK)
        for (uint32_t i = 0; i < batch.replies_count; i++)
            see_reply(check, from, to, &batch.replies[i]);
    arena_reset(&check->arena);
}

/* ---- life */

struct check_epoch *check_epoch_new(struct world *world)
{
    struct check_epoch *check = calloc(1, sizeof *check);
    CHECK(check);
    check->world = world;
    arena_init(&check->arena);
    check->sender_count = world_options(world)->client_count;
    check->senders = calloc(check->sender_count + 1, sizeof *check->senders);
    CHECK(check->senders);
    rng_init(&check->rng, world_options(world)->seed, "check_epoch");
    if (rng_chance(&check->rng, 1, 2))
        sim_at(world_sim(world), 0, NULL, next, NULL, check);
    return check;
}

void check_epoch_free(struct check_epoch *check)
{
    if (!check)
        return;
    arena_fini(&check->arena);
    free(check->senders);
    free(check);
}
