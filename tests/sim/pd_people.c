#include "pd_people.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "pd/pd_parts.h"
#include "proto/wire.h"
#include "rpc/frame_kind.h"

enum { INTERVAL_MS_MAX = 1500 };

struct pd_people {
    struct world *world;
    struct rng rng;
    bool stopped;
    bool wiped[WORLD_PD_MAX]; /* out, and to be added again */
    uint64_t replaced_count;
    uint64_t request_id;
};

static const char *name_of(uint32_t number, char text[static 16])
{
    snprintf(text, 16, "pd-%u", number);
    return text;
}

static const struct pd_member *member_named(const struct pd_fsm *fsm, const char *name)
{
    for (uint32_t i = 0; i < pd_fsm_member_count(fsm); i++)
        if (strcmp(pd_fsm_member_at(fsm, i)->name, name) == 0)
            return pd_fsm_member_at(fsm, i);
    return NULL;
}

/* Who leads in the newest term that anybody knows: its truth is the newest. */
static struct world_node *true_leader(struct world *world)
{
    struct world_node *leader = world_pd(world);
    for (uint32_t i = 1; i <= world_options(world)->pd_count; i++) {
        const struct pd *pd = world_pd_member(world, i)->pd;
        struct raft *raft = pd ? pd_get_raft(pd) : NULL;
        if (raft && raft_is_leader(raft) && (!leader->pd || !pd_get_raft(leader->pd) ||
                                             raft_term_now(raft) > raft_term_now(pd_get_raft(leader->pd))))
            leader = world_pd_member(world, i);
    }
    if (!leader->pd || !pd_is_leading(leader->pd) || sim_node_is_paused(leader->node))
        return NULL;
    for (uint32_t i = 1; i <= world_options(world)->pd_count; i++) {
        const struct pd *pd = world_pd_member(world, i)->pd;
        struct raft *raft = pd ? pd_get_raft(pd) : NULL;
        if (raft && raft_term_now(raft) > raft_term_now(pd_get_raft(leader->pd)))
            return NULL;
    }
    return leader;
}

/* As if it came in on a connection whose end does not wait for the answer. */
static void ask(struct pd_people *people, struct world_node *leader, uint8_t op, const struct wire_pd_member *member)
{
    struct wire_pd_member copy = *member;
    struct wire_pd_request request = {.id = ++people->request_id, .op = op, .member = &copy};
    struct frame *frame = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
    CHECK(frame);
    sim_trace(world_sim(people->world), "people: op %u member %llu %.*s", op, (unsigned long long)member->id,
              (int)member->name.size, member->name.size ? (const char *)member->name.data : "");
    sim_enter(leader->node);
    if (leader->pd->handler.on_frame(leader->pd, 0, frame) != ERR_OK)
        frame_unref(frame);
    sim_leave(leader->node);
}

/* True: something had to be done for one that is out. */
static bool look_after(struct pd_people *people, struct world_node *leader, uint32_t number)
{
    struct world_node *node = world_pd_member(people->world, number);
    char name[16];
    const struct pd_member *member = member_named(pd_get_fsm(leader->pd), name_of(number, name));
    if (member) {
        people->replaced_count += people->wiped[number - 1];
        people->wiped[number - 1] = false;
        return false;
    }
    if (node == leader)
        return true;
    if (!people->wiped[number - 1]) {
        world_kill(people->world, node, false);
        world_wipe(people->world, node);
        people->wiped[number - 1] = true;
    } else {
        const struct wire_pd_member wanted = {.name = bytes_of_string(name),
                                              .address = bytes_of_string(node->pd_config.address)};
        ask(people, leader, WIRE_PD_OP_ADD_MEMBER, &wanted);
    }
    return true;
}

static void act(struct pd_people *people, struct world_node *leader)
{
    uint32_t count = world_options(people->world)->pd_count;
    for (uint32_t number = 1; number <= count; number++)
        if (look_after(people, leader, number))
            return;
    const struct pd_fsm *fsm = pd_get_fsm(leader->pd);
    const struct pd_member *one = pd_fsm_member_at(fsm, (uint32_t)rng_below(&people->rng, pd_fsm_member_count(fsm)));
    const struct wire_pd_member wanted = {.id = one->id};
    ask(people, leader, rng_chance(&people->rng, 1, 2) ? WIRE_PD_OP_TRANSFER_LEADER : WIRE_PD_OP_REMOVE_MEMBER, &wanted);
}

static void next(void *context)
{
    struct pd_people *people = context;
    struct sim *sim = world_sim(people->world);
    if (people->stopped)
        return;
    struct world_node *leader = true_leader(people->world);
    if (leader && pd_fsm_bootstrapped(pd_get_fsm(leader->pd)))
        act(people, leader);
    sim_at(sim, sim_heap_ns(sim) + rng_between(&people->rng, 1, INTERVAL_MS_MAX) * 1000000, NULL, next, NULL, people);
}

struct pd_people *pd_people_new(struct world *world)
{
    struct pd_people *people = calloc(1, sizeof *people);
    CHECK(people);
    people->world = world;
    rng_init(&people->rng, world_options(world)->seed, "pd people");
    people->stopped = world_options(world)->pd_count < 3 || world_swarm(world)->fault_mask == 0 ||
                      !rng_chance(&people->rng, 1, 2);
    if (!people->stopped)
        sim_at(world_sim(world), sim_heap_ns(world_sim(world)) + 1, NULL, next, NULL, people);
    return people;
}

void pd_people_free(struct pd_people *people)
{
    free(people);
}

void pd_people_stop(struct pd_people *people)
{
    people->stopped = true;
}

uint64_t pd_people_replaced_count(const struct pd_people *people)
{
    return people->replaced_count;
}
