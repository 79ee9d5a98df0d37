/* placement_measure: what was necessary, what was done, how even it is now. */
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/check.h"
#include "placement.h"

static double shortage(const struct placement *world, bool leaders)
{
    double sum = 0;
    for (uint32_t i = 0; i < store_table_count(world->table); i++) {
        const struct store_entry *store = store_table_at(world->table, i);
        const struct pd_view *view = &world->scheduler.view;
        double excess = leaders ? pd_view_leader_excess(view, store) - (double)store->coming_leaders
                                : pd_view_region_excess(view, store) - (double)store->coming_size -
                                      (double)store->coming_count * (double)world->config.region_cost_size;
        sum += excess > 0 ? excess : 0;
    }
    return sum;
}

void placement_measure(struct placement *world)
{
    struct pd_view *view = &world->scheduler.view;
    placement_store_heartbeats(world);
    pd_view_refresh(view, world->now_us / 1000);
    world->measuring = true;
    world->disturbed_s = placement_now_s(world);
    world->leaders_necessary = shortage(world, true);
    double slowest = 0, sizes = 0, weights = 0;
    for (uint32_t i = 0; i < store_table_count(world->table); i++) {
        const struct store_entry *store = store_table_at(world->table, i);
        sizes += (double)store->size;
        weights += pd_view_region_amount(view, store);
    }
    /* What is inside of the band is balanced: then nothing is necessary. */
    world->necessary = shortage(world, false) * 100 < weights ? 0 : shortage(world, false);
    for (uint32_t i = 0; world->necessary > 0 && i < store_table_count(world->table); i++) {
        double needs =
            -pd_view_region_excess(view, store_table_at(world->table, i)) * sizes / (weights > 0 ? weights : 1);
        slowest = needs / (double)world->receive_rate > slowest ? needs / (double)world->receive_rate : slowest;
    }
    world->result.bound_s = slowest;
}

void placement_measure_round(struct placement *world)
{
    struct placement_result *result = &world->result;
    double since = (double)(placement_now_s(world) - world->disturbed_s);
    bool leaders = world->skew_leaders;
    double left = shortage(world, leaders), all = leaders ? world->leaders_necessary : world->necessary;
    if (!world->measuring || all == 0 || (result->time_99_s > 0 && result->time_95_s > 0))
        return;
    if (result->time_95_s == 0 && left <= all * 0.05)
        result->time_95_s = since > 0 ? since : 1e-9;
    if (result->time_99_s == 0 && left <= all * 0.01)
        result->time_99_s = since > 0 ? since : 1e-9;
}

enum spread_of { SPREAD_AMOUNT, SPREAD_LEADERS, SPREAD_REGIONS, SPREAD_READ, SPREAD_WRITE };

static double spread(const struct placement *world, enum spread_of what)
{
    double sum = 0, squares = 0, count = 0;
    for (uint32_t i = 0; i < store_table_count(world->table); i++) {
        const struct store_entry *store = store_table_at(world->table, i);
        bool by_leader = what == SPREAD_LEADERS || what == SPREAD_READ;
        double share = by_leader ? store->leader_share : store->region_share;
        if (share <= 0)
            continue;
        double value = what == SPREAD_AMOUNT    ? pd_view_region_amount(&world->scheduler.view, store)
                       : what == SPREAD_LEADERS ? (double)store->leader_count
                       : what == SPREAD_REGIONS ? (double)store->count
                       : what == SPREAD_READ    ? (double)store->read_load
                                                : (double)store->write_load;
        sum += value / share;
        squares += value / share * (value / share);
        count++;
    }
    double mean = count > 0 ? sum / count : 0, variance = count > 0 ? squares / count - mean * mean : 0;
    return mean > 0 && variance > 0 ? sqrt(variance) / mean : 0;
}

void placement_measure_end(struct placement *world)
{
    struct placement_result *result = &world->result;
    double net = 0;
    pd_view_refresh(&world->scheduler.view, world->now_us / 1000);
    for (uint32_t i = 0; i < world->store_count; i++) {
        double gained = world->stores[i].in_weight - world->stores[i].out_weight;
        net += gained > 0 ? gained : 0;
    }
    double each = result->moves_made > 0 ? world->moved_weight / (double)result->moves_made : 1;
    result->redundant_ratio = world->moved_weight > 0 ? (world->moved_weight - net) / world->moved_weight : 0;
    result->moves_ratio = world->necessary > 0 ? world->moved_weight / world->necessary : 0;
    result->moves_necessary = result->moves_made > 0 ? world->necessary / each : 0;
    result->transfers_necessary = world->leaders_necessary;
    if (world->skew_leaders) { /* leaders are what moves */
        result->moves_made = result->transfers_made;
        result->moves_necessary = world->leaders_necessary;
        result->moves_ratio = (double)result->moves_made / result->moves_necessary;
    }
    result->spread_ratio = spread(world, SPREAD_AMOUNT);
    result->spread_leaders = spread(world, SPREAD_LEADERS);
    result->spread_regions = spread(world, SPREAD_REGIONS);
    result->spread_read = spread(world, SPREAD_READ);
    result->spread_write = spread(world, SPREAD_WRITE);
    placement_count_violated(world);
    result->rule_violation_region_s = world->violated_region_s;
    result->unsatisfied = world->scheduler.view.unsatisfied;
    result->virtual_s = (double)world->now_us / 1e6;
    result->operators = world->scheduler.started_count;
    for (int i = 0; i < POLICY_COUNT; i++)
        result->started[i] = world->scheduler.states[i].started_count;
    double quiet_s = (double)(placement_now_s(world) - world->quiet_from_s);
    if (world->quiet_from_s > 0 && quiet_s > 0)
        result->operators_per_day = (double)(world->scheduler.started_count - world->quiet_started) * 86400 / quiet_s;
    for (uint32_t i = 0; operator_list_history(world->operators, i); i++)
        result->operators_failed += operator_list_history(world->operators, i)->state != OPERATOR_DONE;
}

void placement_explain(const struct placement *world)
{
    for (uint32_t i = world->options.explain; i-- > 0;) {
        const struct operator* operator= operator_list_history(world->operators, i);
        struct buf buf;
        if (!operator)
            continue;
        buf_init(&buf, 4096);
        CHECK(reason_json(&operator->reason, &buf) == ERR_OK);
        printf(
            "{\"operator\": %llu, \"region\": %llu, \"at_s\": %.1f, \"took_s\": %.1f, \"state\": \"%s\", \"steps\": \"",
            (unsigned long long)operator->number, (unsigned long long)operator->region,
            (double)operator->created_ms / 1000, (double)(operator->ended_ms - operator->created_ms) / 1000,
            operator_state_name(operator->state));
        for (uint32_t k = 0; k < operator->step_count; k++)
            printf("%s%s %llu/%llu", k ? ", " : "", operator_step_name(operator->steps[k].kind),
                   (unsigned long long)operator->steps[k].store, (unsigned long long)operator->steps[k].other);
        printf("\", \"reason\": %.*s}\n", (int)buf.size, (const char *)buf.data);
        buf_fini(&buf);
    }
    fflush(stdout);
}
