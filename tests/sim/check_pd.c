#include "check_pd.h"

#include <stdlib.h>

#include "base/check.h"
#include "pd/pd_fsm.h"

enum { INTERVAL_MS_MAX = 200, COUNT_MAX = 50, COUNTER_BITS = 18, TRUTHS_MAX = 4096 };

/* [first, first + count) were given out. */
struct range {
    uint64_t first, count;
};

struct ranges {
    struct range *all;
    size_t count, capacity;
};

/* What a member had applied, and what it made of it. */
struct truth {
    raft_index index;
    uint64_t digest;
};

struct check_pd {
    struct world *world;
    struct rng rng;
    uint64_t newest; /* timestamp that was answered */
    struct ranges ids, timestamps;
    struct truth truths[TRUTHS_MAX]; /* by index */
    raft_index looked[WORLD_PD_MAX];
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

static void take_range(struct check_pd *check, struct ranges *ranges, const char *what, uint64_t first, uint64_t count)
{
    for (size_t i = 0; i < ranges->count; i++)
        if (first < ranges->all[i].first + ranges->all[i].count && ranges->all[i].first < first + count)
            world_fail(check->world, "pd", 0, "%s %llu..%llu are given out twice", what, ULL(first),
                       ULL(first + count - 1));
    if (ranges->count == ranges->capacity) {
        ranges->capacity = ranges->capacity ? ranges->capacity * 2 : 64;
        ranges->all = realloc(ranges->all, ranges->capacity * sizeof *ranges->all);
        CHECK(ranges->all);
    }
    ranges->all[ranges->count++] = (struct range){first, count};
}

static void take_timestamps(struct check_pd *check, const struct question *question, uint64_t first)
{
    uint64_t last = first + question->count - 1;
    if (first <= question->newest)
        world_fail(check->world, "pd", 0, "D1: timestamp %llu + %llu after %llu + %llu had been given out",
                   ULL(first >> COUNTER_BITS), ULL(first & ((1u << COUNTER_BITS) - 1)),
                   ULL(question->newest >> COUNTER_BITS), ULL(question->newest & ((1u << COUNTER_BITS) - 1)));
    take_range(check, &check->timestamps, "D3: timestamps", first, question->count);
    if (last > check->newest)
        check->newest = last;
}

static void take_ids(struct check_pd *check, const struct question *question, uint64_t first)
{
    take_range(check, &check->ids, "D2: ids", first, question->count);
}

static uint64_t digest_of(const struct pd *pd)
{
    struct raft_conf conf;
    uint64_t digest = pd_fsm_digest(pd_get_fsm(pd));
    raft_get_conf(pd_get_raft(pd), &conf);
    if (raft_applied_index(pd_get_raft(pd)) == pd_fsm_applied_index(pd_get_fsm(pd))) /* the core follows the rows */
        for (uint32_t i = 0; i < pd_fsm_member_count(pd_get_fsm(pd)); i++)
            CHECK(raft_conf_member(&conf, pd_fsm_member_at(pd_get_fsm(pd), i)->id));
    return digest;
}

void check_pd_look(struct check_pd *check, const struct world_node *node)
{
    if (!node->pd || !pd_get_raft(node->pd) || world_options(check->world)->pd_count == 1)
        return;
    raft_index index = pd_fsm_applied_index(pd_get_fsm(node->pd));
    if (index == 0 || index == check->looked[node->number - 1])
        return;
    check->looked[node->number - 1] = index;
    struct truth *truth = &check->truths[index % TRUTHS_MAX];
    uint64_t digest = digest_of(node->pd);
    if (truth->index == index && truth->digest != digest)
        world_fail(check->world, "pd", 0, "D4: %s has applied up to %llu and has another truth than others that have",
                   sim_node_name(node->node), ULL(index));
    if (truth->index < index)
        *truth = (struct truth){.index = index, .digest = digest};
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
    free(check->ids.all);
    free(check->timestamps.all);
    free(check);
}
