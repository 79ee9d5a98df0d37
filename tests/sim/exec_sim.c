#include "exec_sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"

enum event_kind { EVENT_CALL, EVENT_ENQUEUE, EVENT_ROUND };

struct event {
    struct list link; /* deferred list of a paused node */
    enum event_kind kind;
    struct sim_node *node; /* NULL: the world's */
    uint64_t generation;
    struct actor *actor;     /* ENQUEUE, ROUND */
    struct message *message; /* ENQUEUE; owned */
    bool counted;
    bool lazy; /* nobody is woken for it */ /* ENQUEUE: against mailbox_max */
    void (*run)(void *context);
    void (*drop)(void *context);
    void *context;
};

/* What the heap moves about: the order without a visit to the event. */
struct slot {
    uint64_t time_ns;
    uint64_t
        tie; /* a random half, so that equal times come in any order, and a serial half, so that the order is total */
    struct event *event;
};

struct actor {
    struct list link; /* in the node */
    struct sim_node *node;
    const struct actor_ops *ops;
    void *state; /* borrowed */
    char name[16];
    uint32_t index; /* in the node's life */
    uint32_t mailbox_max;
    uint32_t waiting;    /* in the mailbox */
    uint32_t in_transit; /* posted at a later own time of the poster, not timers */
    struct message *first, **last;
    bool scheduled;
    uint64_t busy_until_ns;
    bool has_news;          /* something waits that is no timer's */
    uint64_t rounds_second; /* in this second ... */
    uint32_t rounds_count;  /* ... so many rounds without news */
};

struct sim_node {
    struct executor executor; /* must be found from the pointer: see node_of */
    struct clock clock;
    struct sim *sim;
    struct list link;
    char name[24];
    uint32_t index;
    uint64_t generation;
    bool up, paused;
    struct list actors;
    uint32_t actor_count;
    struct list deferred;
    int32_t rate_ppm;
    int64_t wall_skew_ms;
    uint64_t clock_base_us; /* node's monotonic time at heap time clock_since_ns */
    uint64_t clock_since_ns;
};

struct sim {
    struct list spare_events; /* used ones, to be used again */
    struct rng rng;
    uint64_t seed;
    struct sim_timing timing;
    struct slot *slots;
    size_t count, capacity;
    uint64_t heap_ns;
    uint64_t serial;
    uint64_t event_count;
    uint64_t stall_count, stall_ns;
    uint32_t most_idle_rounds;
    char most_idle_rounds_of[48];
    uint64_t digest;
    struct list nodes;
    uint32_t node_count;
    struct sim_node *last_node;
    struct actor *last_actor; /* dangles once its node dies: valid until the next event */
    struct sim_node *current;
    struct actor *current_actor;
    uint64_t local_ns; /* >= heap_ns; valid while current is set */
    void (*trace)(void *context, const char *line);
    void *trace_context;
};

/* ---- the heap: four children each, because it is mostly cache misses */

static bool slot_before(const struct slot *a, const struct slot *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->tie < b->tie;
}

static void sift_up(struct slot *slots, size_t place)
{
    struct slot moving = slots[place];
    while (place > 0) {
        size_t parent = (place - 1) / 4;
        if (!slot_before(&moving, &slots[parent]))
            break;
        slots[place] = slots[parent];
        place = parent;
    }
    slots[place] = moving;
}

static void sift_down(struct slot *slots, size_t count, size_t place)
{
    struct slot moving = slots[place];
    for (;;) {
        size_t best = 4 * place + 1;
        if (best >= count)
            break;
        for (size_t child = best + 1; child < count && child < 4 * place + 5; child++)
            if (slot_before(&slots[child], &slots[best]))
                best = child;
        if (!slot_before(&slots[best], &moving))
            break;
        slots[place] = slots[best];
        place = best;
    }
    slots[place] = moving;
}

static void push_event_tied(struct sim *sim, uint64_t time_ns, uint64_t chance, struct event *event)
{
    if (sim->count == sim->capacity) {
        sim->capacity = sim->capacity ? sim->capacity * 2 : 1024;
        sim->slots = realloc(sim->slots, sim->capacity * sizeof *sim->slots);
        CHECK(sim->slots);
    }
    CHECK(time_ns >= sim->heap_ns);
    uint64_t tie = chance << 40 | (sim->serial++ & 0xffffffffffu);
    sim->slots[sim->count] = (struct slot){time_ns, tie, event};
    sift_up(sim->slots, sim->count++);
}

static void push_event(struct sim *sim, uint64_t time_ns, struct event *event)
{
    push_event_tied(sim, time_ns, rng_next(&sim->rng) | 1, event);
}

static struct event *pop_event(struct sim *sim)
{
    struct slot top = sim->slots[0];
    sim->slots[0] = sim->slots[--sim->count];
    if (sim->count > 0)
        sift_down(sim->slots, sim->count, 0);
    CHECK(top.time_ns >= sim->heap_ns);
    sim->heap_ns = top.time_ns;
    return top.event;
}

static struct event *event_new(struct sim *sim, enum event_kind kind, struct sim_node *node)
{
    struct list *spare = list_pop_front(&sim->spare_events);
    struct event *event = spare ? LIST_ENTRY(spare, struct event, link) : malloc(sizeof *event);
    CHECK(event);
    *event = (struct event){.kind = kind, .node = node, .generation = node ? node->generation : 0};
    return event;
}

static void event_free(struct sim *sim, struct event *event)
{
    list_push_front(&sim->spare_events, &event->link);
}

/* Frees an event that will not run. */
static void drop_event(struct sim *sim, struct event *event)
{
    message_free(event->message);
    if (event->drop)
        event->drop(event->context);
    event_free(sim, event);
}

/* ---- time */

struct sim_timing *sim_timing(struct sim *sim)
{
    return &sim->timing;
}

struct rng *sim_rng(struct sim *sim)
{
    return &sim->rng;
}

uint64_t sim_heap_ns(const struct sim *sim)
{
    return sim->heap_ns;
}

uint64_t sim_now_ns(const struct sim *sim)
{
    return sim->current ? sim->local_ns : sim->heap_ns;
}

uint64_t sim_now_us(const struct sim *sim)
{
    return sim_now_ns(sim) / 1000;
}

uint64_t sim_next_ns(const struct sim *sim)
{
    return sim->count ? sim->slots[0].time_ns : UINT64_MAX;
}

void sim_wait(struct sim *sim, uint64_t wait_us)
{
    if (sim->current)
        sim->local_ns += wait_us * 1000;
}

bool sim_is_ahead(const struct sim *sim)
{
    return sim->current && sim->local_ns > sim->heap_ns;
}

uint64_t sim_take_now_ns(struct sim *sim)
{
    uint64_t now_ns = sim_now_ns(sim);
    if (sim_is_ahead(sim))
        sim->local_ns++;
    return now_ns;
}

/* ---- digest and trace */

void sim_digest_add(struct sim *sim, uint64_t value)
{
    uint64_t mixed = (sim->digest ^ value) * 0x9fb21c651e98df25u;
    sim->digest = mixed ^ (mixed >> 29);
}

uint32_t sim_most_idle_rounds(const struct sim *sim, const char **ret_name)
{
    *ret_name = sim->most_idle_rounds_of;
    return sim->most_idle_rounds;
}

uint64_t sim_stall_count(const struct sim *sim, uint64_t *ret_last_ns)
{
    *ret_last_ns = sim->stall_ns;
    return sim->stall_count;
}

uint64_t sim_digest(const struct sim *sim)
{
    return sim->digest;
}

struct sim_node *sim_last_node(const struct sim *sim)
{
    return sim->last_node;
}

const char *sim_last_actor(const struct sim *sim)
{
    return sim->last_actor ? sim->last_actor->name : NULL;
}

uint64_t sim_event_count(const struct sim *sim)
{
    return sim->event_count;
}

void sim_set_trace(struct sim *sim, void (*sink)(void *context, const char *line), void *context)
{
    sim->trace = sink;
    sim->trace_context = context;
}

bool sim_traces(const struct sim *sim)
{
    return sim->trace != NULL;
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    if (!sim->trace)
        return;
    char line[2048];
    uint64_t now_us = sim_now_us(sim);
    int used = snprintf(line, sizeof line, "%llu.%06llu %s %s ", (unsigned long long)(now_us / 1000000),
                        (unsigned long long)(now_us % 1000000), sim->current ? sim->current->name : "world",
                        sim_current_actor(sim));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
    va_end(arguments);
    sim->trace(sim->trace_context, line);
}

struct sim_node *sim_current(const struct sim *sim)
{
    return sim->current;
}

const char *sim_current_actor(const struct sim *sim)
{
    return sim->current_actor ? sim->current_actor->name : "-";
}

/* ---- actors */

/* How long an actor that became runnable sleeps on: the kernel's whim. */
static uint64_t draw_wake_ns(struct sim *sim)
{
    const struct sim_timing *timing = &sim->timing;
    uint64_t most_us = timing->wake_max_us;
    if (timing->stall_per_100000 && rng_chance(&sim->rng, timing->stall_per_100000, 100000)) {
        most_us = timing->stall_max_us;
        sim->stall_count++;
        sim->stall_ns = sim->heap_ns;
    }
    return rng_between(&sim->rng, 500, most_us * 1000 + 1000);
}

static void schedule_round(struct actor *actor)
{
    struct sim *sim = actor->node->sim;
    if (actor->scheduled || !actor->first)
        return;
    actor->scheduled = true;
    struct event *event = event_new(sim, EVENT_ROUND, actor->node);
    event->actor = actor;
    uint64_t from_ns = sim->heap_ns > actor->busy_until_ns ? sim->heap_ns : actor->busy_until_ns;
    push_event(sim, from_ns + draw_wake_ns(sim), event);
}

static void enqueue(struct actor *actor, struct message *take_message, bool timer, bool lazy)
{
    actor->has_news = actor->has_news || !timer;
    take_message->next = NULL;
    *actor->last = take_message;
    actor->last = &take_message->next;
    actor->waiting++;
    if (!lazy)
        schedule_round(actor);
}

static struct message *dequeue(struct actor *actor)
{
    struct message *message = actor->first;
    actor->first = message->next;
    if (!actor->first)
        actor->last = &actor->first;
    actor->waiting--;
    message->next = NULL;
    return message;
}

/* A poster that is ahead of the heap posts later, and each post a nanosecond after the one before (S2). */
static void deliver(struct actor *actor, struct message *take_message, uint64_t delay_ns, bool counted, bool lazy)
{
    struct sim *sim = actor->node->sim;
    uint64_t at_ns = sim_take_now_ns(sim) + delay_ns;
    if (at_ns == sim->heap_ns) {
        enqueue(actor, take_message, !counted, lazy);
        return;
    }
    struct event *event = event_new(sim, EVENT_ENQUEUE, actor->node);
    event->actor = actor;
    event->message = take_message;
    event->counted = counted;
    event->lazy = lazy;
    if (counted)
        actor->in_transit++;
    push_event(sim, at_ns, event);
}

static struct sim_node *node_of_executor(struct executor *executor)
{
    return LIST_ENTRY(executor, struct sim_node, executor);
}

static enum err spawn(struct executor *executor, const char *name, const struct actor_ops *ops, void *state,
                      uint32_t mailbox_max, struct actor **ret_actor)
{
    struct sim_node *node = node_of_executor(executor);
    if (!node->up)
        return ERR_CLOSED;
    struct actor *actor = calloc(1, sizeof *actor);
    CHECK(actor);
    actor->node = node;
    actor->ops = ops;
    actor->state = state;
    snprintf(actor->name, sizeof actor->name, "%s", name);
    actor->index = node->actor_count++;
    actor->mailbox_max = mailbox_max;
    actor->last = &actor->first;
    list_push_back(&node->actors, &actor->link);
    *ret_actor = actor;
    return ERR_OK;
}

static enum err post(struct executor *executor, struct actor *actor, struct message *take_message)
{
    struct sim_node *node = node_of_executor(executor);
    if (!node->up)
        return ERR_CLOSED;
    CHECK(actor->node == node);
    if (actor->waiting + actor->in_transit >= actor->mailbox_max)
        return ERR_BUSY;
    deliver(actor, take_message, 0, true, false);
    return ERR_OK;
}

static void post_must(struct executor *executor, struct actor *actor, struct message *take_message)
{
    struct sim_node *node = node_of_executor(executor);
    if (!node->up) {
        message_free(take_message);
        return;
    }
    CHECK(actor->node == node);
    deliver(actor, take_message, 0, true, false);
}

/* In order with the other posts, but nothing is scheduled for it. */
static void post_lazy(struct executor *executor, struct actor *actor, struct message *take_message)
{
    struct sim_node *node = node_of_executor(executor);
    if (!node->up) {
        message_free(take_message);
        return;
    }
    CHECK(actor->node == node);
    deliver(actor, take_message, 0, true, true);
}

static void post_after(struct executor *executor, struct actor *actor, uint64_t delay_us, struct message *take_message)
{
    struct sim_node *node = node_of_executor(executor);
    if (!node->up) {
        message_free(take_message);
        return;
    }
    CHECK(actor->node == node);
    struct sim *sim = node->sim;
    /* A fast clock ends the wait sooner. */
    uint64_t delay_ns = (uint64_t)((double)delay_us * 1000.0 * (1000000.0 / (1000000.0 + node->rate_ppm)));
    delay_ns += rng_below(&sim->rng, (uint64_t)sim->timing.timer_late_max_us * 1000 + 1) + 1;
    deliver(actor, take_message, delay_ns, false, false);
}

static const struct executor_ops executor_ops = {
    .spawn = spawn, .post = post, .post_must = post_must, .post_lazy = post_lazy, .post_after = post_after};

/* ---- running */

static void enter(struct sim_node *node, struct actor *actor, uint64_t local_ns)
{
    struct sim *sim = node->sim;
    CHECK(!sim->current);
    sim->current = node;
    sim->current_actor = actor;
    sim->local_ns = local_ns;
}

static uint64_t leave(struct sim *sim)
{
    CHECK(sim->current);
    sim->current = NULL;
    sim->current_actor = NULL;
    return sim->local_ns;
}

void sim_enter(struct sim_node *node)
{
    enter(node, NULL, node->sim->heap_ns);
}

void sim_leave(struct sim_node *node)
{
    CHECK(node->sim->current == node);
    leave(node->sim);
}

static uint32_t draw_share(struct sim *sim, uint32_t waiting)
{
    if (waiting == 1 || rng_chance(&sim->rng, sim->timing.take_all_percent, 100))
        return waiting;
    return (uint32_t)rng_between(&sim->rng, 1, waiting);
}

static void count_round(struct actor *actor)
{
    struct sim *sim = actor->node->sim;
    uint64_t second = sim->heap_ns / 1000000000;
    if (actor->rounds_second != second) {
        actor->rounds_second = second;
        actor->rounds_count = 0;
    }
    if (actor->has_news || ++actor->rounds_count <= sim->most_idle_rounds)
        return;
    sim->most_idle_rounds = actor->rounds_count;
    snprintf(sim->most_idle_rounds_of, sizeof sim->most_idle_rounds_of, "%s %s", actor->node->name, actor->name);
}

static void run_round(struct actor *actor)
{
    struct sim *sim = actor->node->sim;
    actor->scheduled = false;
    if (!actor->first)
        return;
    count_round(actor);
    sim->last_actor = actor;
    uint32_t share = draw_share(sim, actor->waiting);
    sim_digest_add(sim, (uint64_t)actor->node->index << 48 | (uint64_t)actor->index << 32 | share);
    enter(actor->node, actor, sim->heap_ns);
    actor->scheduled = true; /* posts to itself must not schedule: the end of the round does */
    for (uint32_t i = 0; i < share; i++) {
        struct message *message = dequeue(actor);
        sim_digest_add(sim, message->kind);
        actor->ops->on_message(actor->state, message);
    }
    if (actor->ops->on_round)
        actor->ops->on_round(actor->state);
    uint64_t end_ns = leave(sim);
    actor->has_news = actor->has_news && actor->waiting > 0;
    actor->busy_until_ns = end_ns + rng_below(&sim->rng, (uint64_t)sim->timing.round_cost_max_us * 1000 + 1);
    actor->scheduled = false;
    schedule_round(actor);
}

static void run_event(struct sim *sim, struct event *event)
{
    switch (event->kind) {
    case EVENT_CALL:
        sim_digest_add(sim, event->node ? event->node->index : UINT32_MAX);
        if (event->node)
            enter(event->node, NULL, sim->heap_ns);
        event->run(event->context);
        if (event->node)
            leave(sim);
        break;
    case EVENT_ENQUEUE:
        if (event->counted)
            event->actor->in_transit--;
        enqueue(event->actor, event->message, !event->counted, event->lazy);
        break;
    case EVENT_ROUND:
        run_round(event->actor);
        break;
    }
    event_free(sim, event);
}

bool sim_step(struct sim *sim)
{
    if (sim->count == 0)
        return false;
    CHECK(!sim->current);
    struct event *event = pop_event(sim);
    struct sim_node *node = event->node;
    sim->last_node = NULL;
    sim->last_actor = NULL;
    if (node && (!node->up || node->generation != event->generation)) { /* S3 */
        drop_event(sim, event);
        return true;
    }
    if (node && node->paused) {
        list_push_back(&node->deferred, &event->link);
        return true;
    }
    sim->event_count++;
    sim->last_node = node;
    sim_digest_add(sim, sim->heap_ns);
    run_event(sim, event);
    return true;
}

void sim_run_until(struct sim *sim, uint64_t until_ns)
{
    while (sim_next_ns(sim) <= until_ns)
        sim_step(sim);
    if (until_ns > sim->heap_ns)
        sim->heap_ns = until_ns;
}

void sim_at(struct sim *sim, uint64_t at_ns, struct sim_node *node, void (*run)(void *context),
            void (*drop)(void *context), void *context)
{
    struct event *event = event_new(sim, EVENT_CALL, node);
    event->run = run;
    event->drop = drop;
    event->context = context;
    push_event(sim, at_ns > sim->heap_ns ? at_ns : sim->heap_ns, event);
}

bool sim_run_as(struct sim_node *node, void (*run)(void *context), void *context)
{
    struct sim *sim = node->sim;
    CHECK(node->up);
    if (node->paused)
        return false;
    sim_digest_add(sim, node->index);
    sim->last_node = node;
    enter(node, NULL, sim->heap_ns);
    run(context);
    leave(sim);
    return true;
}

/* ---- clocks */

static struct sim_node *node_of_clock(struct clock *clock)
{
    return LIST_ENTRY(clock, struct sim_node, clock);
}

static uint64_t node_us(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    uint64_t now_ns = sim->current == node ? sim->local_ns : sim->heap_ns;
    uint64_t passed_us = (now_ns - node->clock_since_ns) / 1000;
    int64_t drift_us = (int64_t)passed_us * node->rate_ppm / 1000000;
    return node->clock_base_us + (uint64_t)((int64_t)passed_us + drift_us);
}

static uint64_t clock_us(struct clock *clock)
{
    return node_us(node_of_clock(clock));
}

static uint64_t clock_wall(struct clock *clock)
{
    enum { START_S = 1767225600 }; /* the first second of 2026 */
    const struct sim_node *node = node_of_clock(clock);
    const struct sim *sim = node->sim;
    uint64_t now_ns = sim->current == node ? sim->local_ns : sim->heap_ns;
    return (uint64_t)((int64_t)START_S * 1000 + (int64_t)(now_ns / 1000000) + node->wall_skew_ms);
}

void sim_node_set_clock(struct sim_node *node, int32_t rate_ppm, int64_t wall_skew_ms)
{
    node->clock_base_us = node_us(node);
    node->clock_since_ns = node->sim->heap_ns;
    node->rate_ppm = rate_ppm;
    node->wall_skew_ms = wall_skew_ms;
}

/* ---- nodes */

struct sim_node *sim_node_new(struct sim *sim, const char *name)
{
    struct sim_node *node = calloc(1, sizeof *node);
    CHECK(node);
    node->executor.ops = &executor_ops;
    node->clock.now_us = clock_us;
    node->clock.wall_ms = clock_wall;
    node->sim = sim;
    snprintf(node->name, sizeof node->name, "%s", name);
    node->index = sim->node_count++;
    /* Monotonic clocks of different machines have nothing to do with each other. */
    node->clock_base_us = rng_between(&sim->rng, 1000000, 1000000000000u);
    list_init(&node->actors);
    list_init(&node->deferred);
    list_push_back(&sim->nodes, &node->link);
    return node;
}

void sim_node_start(struct sim_node *node)
{
    CHECK(!node->up && list_is_empty(&node->actors));
    node->generation++;
    node->actor_count = 0;
    node->up = true;
    node->paused = false;
}

/* Takes this life's events out of the heap at once: what they hold belongs to memory that is about to go. */
static void drop_events_of(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct list dead;
    list_init(&dead);
    size_t kept = 0;
    for (size_t i = 0; i < sim->count; i++) {
        if (sim->slots[i].event->node == node)
            list_push_back(&dead, &sim->slots[i].event->link);
        else
            sim->slots[kept++] = sim->slots[i];
    }
    sim->count = kept;
    for (size_t i = kept; i-- > 0;)
        sift_down(sim->slots, kept, i);
    LIST_FOR_EACH_SAFE (link, following, &node->deferred) {
        list_remove(link);
        list_push_back(&dead, link);
    }
    for (struct list *link; (link = list_pop_front(&dead));)
        drop_event(sim, LIST_ENTRY(link, struct event, link));
}

void sim_node_kill(struct sim_node *node)
{
    CHECK(!node->sim->current);
    if (!node->up)
        return;
    node->up = false;
    node->paused = false;
    drop_events_of(node);
    LIST_FOR_EACH (link, &node->actors) {
        struct actor *actor = LIST_ENTRY(link, struct actor, link);
        while (actor->first)
            message_free(dequeue(actor));
    }
}

void sim_node_reap(struct sim_node *node)
{
    CHECK(!node->up);
    for (struct list *link; (link = list_pop_front(&node->actors));)
        free(LIST_ENTRY(link, struct actor, link));
}

void sim_node_pause(struct sim_node *node)
{
    CHECK(!node->sim->current);
    if (node->up)
        node->paused = true;
}

void sim_node_resume(struct sim_node *node)
{
    if (!node->paused)
        return;
    node->paused = false;
    for (struct list *link; (link = list_pop_front(&node->deferred));) /* before all else, in the order they fell due */
        push_event_tied(node->sim, node->sim->heap_ns, 0, LIST_ENTRY(link, struct event, link));
}

const char *sim_node_name(const struct sim_node *node)
{
    return node->name;
}

uint32_t sim_node_index(const struct sim_node *node)
{
    return node->index;
}

bool sim_node_is_up(const struct sim_node *node)
{
    return node->up;
}

bool sim_node_is_paused(const struct sim_node *node)
{
    return node->paused;
}

uint64_t sim_node_generation(const struct sim_node *node)
{
    return node->generation;
}

struct executor *sim_node_executor(struct sim_node *node)
{
    return &node->executor;
}

struct clock *sim_node_clock(struct sim_node *node)
{
    return &node->clock;
}

uint64_t sim_node_waiting(const struct sim_node *node)
{
    uint64_t waiting = 0;
    LIST_FOR_EACH (link, &node->actors)
        waiting += LIST_ENTRY(link, struct actor, link)->waiting;
    return waiting;
}

/* ---- the sim */

struct sim *sim_new(uint64_t seed)
{
    struct sim *sim = calloc(1, sizeof *sim);
    CHECK(sim);
    rng_init(&sim->rng, seed, "sim");
    sim->seed = seed;
    sim->digest = seed;
    sim->timing = (struct sim_timing){.wake_max_us = 20,
                                      .timer_late_max_us = 100,
                                      .round_cost_max_us = 10,
                                      .stall_max_us = 5000,
                                      .take_all_percent = 50};
    list_init(&sim->nodes);
    list_init(&sim->spare_events);
    return sim;
}

void sim_free(struct sim *sim)
{
    if (!sim)
        return;
    while (sim->count > 0)
        drop_event(sim, pop_event(sim));
    for (struct list *link; (link = list_pop_front(&sim->nodes));) {
        struct sim_node *node = LIST_ENTRY(link, struct sim_node, link);
        CHECK(!node->up && list_is_empty(&node->actors));
        free(node);
    }
    for (struct list *link; (link = list_pop_front(&sim->spare_events));)
        free(LIST_ENTRY(link, struct event, link));
    free(sim->slots);
    free(sim);
}
