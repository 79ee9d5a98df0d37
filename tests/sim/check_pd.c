#include "check_pd.h"

#include <stdlib.h>

#include "base/check.h"

enum { INTERVAL_MS_MAX = 200, COUNT_MAX = 50, COUNTER_BITS = 18 };

/* Ids [first, first + count) were given out. */
struct range {
    uint64_t first, count;
};

struct check_pd {
    struct world *world;
    struct rng rng;
    uint64_t newest; /* timestamp that was answered */
    struct range *ranges;
    size_t range_count, range_capacity;
    bool stopped;
};

struct question {
    struct check_pd *check;
    struct world_node *client;
    uint64_t generation; /* of the node */
    enum client_op op;
    uint32_t count;
    uint64_t newest; /* when it was asked */
};

#define ULL(value) ((unsigned long long)(value))

static void take_timestamps(struct check_pd *check, const struct question *question, uint64_t first)
{
    uint64_t last = first + question->count - 1;
    if (first <= question->newest)
        world_fail(check->world, "pd", 0, "D1: timestamp %llu + %llu after %llu + %llu had been given out",
                   ULL(first >> COUNTER_BITS), ULL(first & ((1u << COUNTER_BITS) - 1)),
                   ULL(question->newest >> COUNTER_BITS), ULL(question->newest & ((1u << COUNTER_BITS) - 1)));
    if (last > check->newest)
        check->newest = last;
}

static void take_ids(struct check_pd *check, const struct question *question, uint64_t first)
{
    for (size_t i = 0; i < check->range_count; i++)
        if (first < check->ranges[i].first + check->ranges[i].count && check->ranges[i].first < first + question->count)
            world_fail(check->world, "pd", 0, "D2: ids %llu..%llu are given out twice", ULL(first),
                       ULL(first + question->count - 1));
    if (check->range_count == check->range_capacity) {
        check->range_capacity = check->range_capacity ? check->range_capacity * 2 : 64;
        check->ranges = realloc(check->ranges, check->range_capacity * sizeof *check->ranges);
        CHECK(check->ranges);
    }
    check->ranges[check->range_count++] = (struct range){first, question->count};
}

static void on_done(void *user, struct polder_result *take_result)
{
    struct question *question = user;
    struct check_pd *check = question->check;
    bool heard =
        sim_node_is_up(question->client->node) && sim_node_generation(question->client->node) == question->generation;
    if (heard && take_result->outcome == POLDER_DONE && take_result->cluster) {
        if (question->op == CLIENT_CLUSTER_TIMESTAMP)
            take_timestamps(check, question, take_result->cluster->timestamp);
        else
            take_ids(check, question, take_result->cluster->first_id);
    }
    polder_result_free(take_result);
    free(question);
}

static void ask(void *context)
{
    struct question *question = context;
    question->newest = question->check->newest;
    struct client_call call = {.op = question->op, .count = question->count, .done = on_done, .user = question};
    if (client_submit(question->client->client, &call) != ERR_OK)
        free(question);
}

static void next_question(void *context)
{
    struct check_pd *check = context;
    struct sim *sim = world_sim(check->world);
    struct rng *rng = &check->rng;
    if (check->stopped)
        return;
    struct world_node *client =
        world_client(check->world, (uint32_t)rng_between(rng, 1, world_options(check->world)->client_count));
    bool timestamp = rng_chance(rng, 2, 3);
    uint32_t count = (uint32_t)rng_between(rng, 1, COUNT_MAX);
    if (sim_node_is_up(client->node)) {
        struct question *question = malloc(sizeof *question);
        CHECK(question);
        *question = (struct question){.check = check,
                                      .client = client,
                                      .generation = sim_node_generation(client->node),
                                      .op = timestamp ? CLIENT_CLUSTER_TIMESTAMP : CLIENT_CLUSTER_ALLOC_IDS,
                                      .count = count};
        sim_at(sim, sim_heap_ns(sim) + 1, client->node, ask, free, question);
    }
    uint64_t wait_ns = rng_between(rng, 1, INTERVAL_MS_MAX) * 1000000;
    sim_at(sim, sim_heap_ns(sim) + wait_ns, NULL, next_question, NULL, check);
}

struct check_pd *check_pd_new(struct world *world)
{
    struct check_pd *check = calloc(1, sizeof *check);
    CHECK(check);
    check->world = world;
    rng_init(&check->rng, world_options(world)->seed, "check_pd");
    sim_at(world_sim(world), sim_heap_ns(world_sim(world)) + 1, NULL, next_question, NULL, check);
    return check;
}

void check_pd_stop(struct check_pd *check)
{
    check->stopped = true;
}

void check_pd_free(struct check_pd *check)
{
    if (!check)
        return;
    free(check->ranges);
    free(check);
}
