#include "run.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "check_epoch.h"
#include "check_linear.h"
#include "check_pd.h"
#include "check_promise.h"
#include "check_raft.h"
#include "check_reads.h"
#include "check_region.h"
#include "faults.h"
#include "members.h"
#include "people.h"
#include "operators.h"
#include "pd_people.h"
#include "traps.h"
#include "world.h"

enum {
    BOOTSTRAP_US = 60 * 1000 * 1000, /* so long may the first start take when nothing goes wrong */
    LIVENESS_US = 60 * 1000 * 1000,
    SETTLE_US = 30 * 1000 * 1000,
    RANGES_INTERVAL_US = 500 * 1000,
};

struct run {
    const struct run_options *options;
    struct world *world;
    struct workload *workload;
    struct faults *faults;
    struct check_raft *raft;
    struct check_promise *promise;
    struct check_pd *pd;
    struct check_epoch *epoch;
    struct check_reads *reads;
    struct operators *operators;
    struct members *members;
    struct pd_people *pd_people;
    struct people *people;
    struct traps *traps;
    uint64_t ranges_checked_us;
};

static uint64_t now_us(const struct run *run)
{
    return sim_heap_ns(world_sim(run->world)) / 1000;
}

/* One event and a look at what it did. */
static bool step(struct run *run)
{
    if (!world_step(run->world))
        return false;
    struct sim_node *last = sim_last_node(world_sim(run->world));
    if (!last)
        check_promise_births(run->promise);
    if (last && sim_node_is_up(last)) {
        struct world_node *node = world_node_of(run->world, last);
        const char *actor = sim_last_actor(world_sim(run->world));
        if (node->role == WORLD_PD && actor && strcmp(actor, "pd") == 0)
            check_pd_look(run->pd, node);
        if (node->role == WORLD_STORE && actor && strcmp(actor, "region") == 0) /* who owns the cores */
            check_raft_store(run->raft, node);
    }
    if (now_us(run) >= run->ranges_checked_us + RANGES_INTERVAL_US) {
        run->ranges_checked_us = now_us(run);
        check_region_ranges(run->world);
    }
    return !world_has_failed(run->world);
}

/* Until `is_done` (asked now and then) or `limit_us`; false: a promise was broken. */
static bool run_until(struct run *run, uint64_t limit_us, bool (*is_done)(struct run *run))
{
    uint64_t asked_us = 0;
    while (now_us(run) < limit_us) {
        if (!step(run))
            return false;
        if (is_done && now_us(run) > asked_us + 10000) {
            asked_us = now_us(run);
            if (is_done(run))
                return true;
        }
    }
    return true;
}

static bool is_bootstrapped(struct run *run)
{
    for (uint32_t i = 1; i <= world_options(run->world)->pd_count; i++) {
        const struct world_node *node = world_pd_member(run->world, i);
        if (!node->pd || !pd_is_ready(node->pd))
            return false;
    }
    return check_raft_is_whole(run->raft, false, NULL, 0);
}

static bool is_probed(struct run *run)
{
    return workload_probe_is_done(run->workload);
}

static bool is_settled(struct run *run)
{
    return people_are_heard(run->people) && workload_is_idle(run->workload) &&
           check_raft_is_whole(run->raft, true, NULL, 0);
}

static bool bootstrap(struct run *run)
{
    if (!run_until(run, BOOTSTRAP_US, is_bootstrapped))
        return false;
    if (is_bootstrapped(run))
        return true;
    char text[256] = "pd is not ready";
    check_raft_is_whole(run->raft, false, text, sizeof text);
    world_fail(run->world, "liveness", 0, "no cluster after %d s of good weather: %s", BOOTSTRAP_US / 1000000, text);
    return false;
}

/* The weather of the swarm is only let loose when the cluster stands: else most seeds would test the bootstrap alone.
 * In some it rages from the beginning. */
static void set_weather(struct run *run, bool bad)
{
    const struct swarm *swarm = world_swarm(run->world);
    struct net_options calm = swarm->net;
    struct sim_timing timing = swarm->timing;
    if (!bad) {
        calm.spike_per_100000 = calm.raft_drop_per_10000 = calm.raft_repeat_per_10000 = calm.raft_reorder_per_10000 = 0;
        timing.stall_per_100000 = 0;
    }
    *net_options(world_net(run->world)) = calm;
    *sim_timing(world_sim(run->world)) = timing;
}

/* Else there is an entry more on some replica at any time. */
static void stop_comparing(struct world *world)
{
    world_swarm(world)->check_interval_ms = 0;
    for (uint32_t i = 1; i <= world_options(world)->store_count; i++)
        world_store(world, i)->store_config.check_interval_ms = 0;
}

static bool live_again(struct run *run, struct run_result *result)
{
    faults_heal(run->faults);
    workload_probe(run->workload);
    uint64_t healed_us = now_us(run);
    if (!run_until(run, healed_us + LIVENESS_US, is_probed))
        return false;
    char text[256];
    if (!is_probed(run)) {
        workload_probe_explain(run->workload, text, sizeof text);
        world_fail(run->world, "liveness", 0, "%d s after all faults ended, %s", LIVENESS_US / 1000000, text);
        return false;
    }
    result->recovery_us = now_us(run) - healed_us;
    workload_stop(run->workload);
    stop_comparing(run->world);
    check_pd_stop(run->pd);
    operators_stop(run->operators);
    members_stop(run->members);
    pd_people_stop(run->pd_people);
    people_stop(run->people);
    if (!run_until(run, now_us(run) + SETTLE_US, is_settled))
        return false;
    if (!is_settled(run)) {
        strcpy(text, people_are_heard(run->people) ? "clients still wait" : "pd goes on to decide");
        check_raft_is_whole(run->raft, true, text, sizeof text);
        world_fail(run->world, "liveness", 0, "%d s after the last request, %s", SETTLE_US / 1000000, text);
        return false;
    }
    check_region_replicas(run->world);
    return !world_has_failed(run->world);
}

static void describe_op(void *context, const char *text)
{
    snprintf(context, 512, "%s", text);
}

static void judge_history(struct run *run, struct run_result *result)
{
    struct history *history = workload_history(run->workload);
    struct linear_result linear;
    check_linear(history, 0, &linear);
    result->linear_steps = linear.steps;
    result->linear_undecided = linear.verdict == LINEAR_UNDECIDED;
    if (linear.verdict != LINEAR_ILLEGAL)
        return;
    char op[512];
    struct bytes key = history_key(history, linear.key), value = history_value(history, linear.stuck_value);
    history_print(history, linear.stuck_index, describe_op, op);
    world_fail(run->world, "linear", 0, "key %.*s: with the value %.*s, no order explains %s", (int)key.size,
               (const char *)key.data, value.size ? (int)(value.size < 40 ? value.size : 40) : 6,
               value.size ? (const char *)value.data : "(none)", op);
}

static void write_line(void *context, const char *line)
{
    fprintf(context, "%s\n", line);
}

static void write_history(struct run *run)
{
    FILE *file = fopen(run->options->history_path, "w");
    if (!file)
        return;
    struct history *history = workload_history(run->workload);
    for (size_t i = 0; i < history_count(history); i++)
        history_print(history, i, write_line, file);
    fclose(file);
}

static void begin_faults(struct run *run)
{
    faults_begin(run->faults, (now_us(run) + (uint64_t)run->options->seconds * 1000000) * 1000);
}

static void run_phases(struct run *run, struct run_result *result)
{
    bool wild = run->options->faults && run->options->seed % 8 == 7;
    uint64_t safety_us = (uint64_t)run->options->seconds * 1000000;
    set_weather(run, wild);
    if (wild)
        begin_faults(run);
    else if (!bootstrap(run))
        return;
    if (run->options->faults && !wild) {
        set_weather(run, true);
        begin_faults(run);
    }
    if (run_until(run, now_us(run) + safety_us, NULL))
        live_again(run, result);
}

/* Replicas that were damaged say so themselves: none ever differs. */
static void judge_hashes(struct run *run)
{
    struct store_damage_counts damage;
    world_add_damage_counts(run->world, &damage);
    if (damage.hash_mismatches > 0)
        world_fail(run->world, "hash", 0, "replicas differed %llu times of %llu", (unsigned long long)damage.hash_mismatches,
                   (unsigned long long)damage.hashes);
}

static void fill_result(struct run *run, struct run_result *result)
{
    struct sim *sim = world_sim(run->world);
    result->failed = world_has_failed(run->world);
    strcpy(result->failure, world_failure(run->world));
    result->failed_region = world_failed_region(run->world);
    result->digest = sim_digest(sim);
    result->virtual_us = now_us(run);
    result->events = sim_event_count(sim);
    result->raft = *check_raft_counts(run->raft);
    world_add_snapshot_counts(run->world, &result->snapshots);
    world_add_damage_counts(run->world, &result->damage);
    world_add_sleep_counts(run->world, &result->sleep);
    world_add_merge_counts(run->world, &result->merges);
    result->operators = people_operators(run->people);
    result->pds_replaced = pd_people_replaced_count(run->pd_people);
    result->ops = *workload_counts(run->workload);
    result->net = *net_counts(world_net(run->world));
    result->coverage = *world_coverage(run->world);
    const char *busiest;
    result->most_idle_rounds = sim_most_idle_rounds(sim, &busiest);
    strcpy(result->most_idle_rounds_of, busiest);
    result->fault_mask = world_swarm(run->world)->fault_mask;
}

static void see_message(void *context, struct sim_node *from, struct sim_node *to,
                        const struct wire_raft_message *message)
{
    struct run *run = context;
    check_promise_message(run->promise, from, to, message);
    faults_see_message(run->faults, from, to, message);
    traps_see_message(run->traps, from, to, message);
}

static void see_install(void *context, struct world_node *store)
{
    struct run *run = context;
    traps_see_install(run->traps, store);
}

static void take_size(uint32_t wanted, uint32_t *size)
{
    if (wanted > 0)
        *size = wanted;
}

static void see_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame)
{
    struct run *run = context;
    check_raft_frame(run->raft, from, to, frame);
    check_epoch_frame(run->epoch, from, to, frame);
    check_reads_frame(run->reads, from, to, frame);
}

void run_seed(const struct run_options *options, struct run_result *ret_result)
{
    struct swarm swarm;
    *ret_result = (struct run_result){0};
    swarm_draw(options->seed, options->faults, options->fault_allowed, options->fault_forced, &swarm);
    swarm_draw_sizes(options->seed, &ret_result->stores, &ret_result->clients, &ret_result->regions);
    ret_result->pds = swarm_draw_pds(options->seed);
    take_size(options->pds, &ret_result->pds);
    take_size(options->stores, &ret_result->stores);
    take_size(options->clients, &ret_result->clients);
    take_size(options->regions, &ret_result->regions);
    struct world_options world_options = {.seed = options->seed,
                                          .store_count = ret_result->stores,
                                          .client_count = ret_result->clients,
                                          .region_count = ret_result->regions,
                                          .pd_count = ret_result->pds};
    struct run run = {.options = options, .world = world_new(&world_options, &swarm)};
    struct sim *sim = world_sim(run.world);
    if (options->trace)
        sim_set_trace(sim, options->trace, options->trace_context);
    run.workload = workload_new(run.world);
    run.faults = faults_new(run.world, run.workload);
    run.raft = check_raft_new(run.world);
    net_set_observer(world_net(run.world), see_frame, &run);
    run.promise = check_promise_new(run.world);
    run.pd = check_pd_new(run.world);
    run.epoch = check_epoch_new(run.world);
    run.reads = check_reads_new(run.world, run.raft);
    run.operators = operators_new(run.world, run.workload);
    run.members = members_new(run.world);
    run.pd_people = pd_people_new(run.world);
    run.people = people_new(run.world);
    run.traps = traps_new(run.world, run.faults);
    check_raft_set_listener(run.raft, see_message, see_install, &run);
    run_phases(&run, ret_result);
    judge_hashes(&run);
    if (world_has_failed(run.world) && options->trace)
        check_raft_describe(run.raft);
    if (!world_has_failed(run.world))
        judge_history(&run, ret_result);
    if (options->history_path)
        write_history(&run);
    fill_result(&run, ret_result);
    sim_set_trace(sim, NULL, NULL); /* the end of the world is no news */
    world_free(run.world);
    check_raft_free(run.raft);
    check_promise_free(run.promise);
    check_pd_free(run.pd);
    check_epoch_free(run.epoch);
    check_reads_free(run.reads);
    operators_free(run.operators);
    members_free(run.members);
    pd_people_free(run.pd_people);
    people_free(run.people);
    traps_free(run.traps);
    faults_free(run.faults);
    workload_free(run.workload);
}
