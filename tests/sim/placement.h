/* placement: pd's real policies against simulated stores, in virtual time.
 *
 * Stores are a bandwidth in and out, a life and some load; regions are what pd's own region tree says, and the truth at
 * the same time: each change is told to it as a heartbeat with a newer epoch, as a storenode's leader would. Steps of
 * operators take as long as they would: a snapshot waits for its turn in both links.
 *
 *   round (every virtual second): changes whose time has come -> heartbeats of stores, and of a share of the regions ->
 *   the case's script -> scheduler_round -> new operators' first steps -> measuring
 *
 * Nothing is random but by the seed; the digest is over every change that happened. */
#ifndef SIM_PLACEMENT_H
#define SIM_PLACEMENT_H

#include "pd/scheduler.h"

#define PLACEMENT_MIB (UINT64_C(1) << 20)

enum { PLACEMENT_STORES_MAX = STORE_TABLE_COUNT_MAX };

struct placement_options {
    const char *name;         /* of the case */
    uint32_t stores, regions; /* 0: as the case wants */
    uint64_t seed;
    uint32_t heartbeat_s; /* each region says something so often; 0: as the case wants */
    uint32_t explain;     /* prints the last so many operators and why they were */
};

/* All that is told of a run; field names are those of the JSON output. */
struct placement_result {
    char name[32];
    uint32_t stores, regions;
    uint64_t seed, digest;
    uint64_t moves_made, transfers_made, splits_made, merges_made;
    double moves_necessary, transfers_necessary;
    double moves_ratio;     /* of bytes: made / necessary */
    double redundant_ratio; /* bytes that a store got and gave away again, of all that moved */
    double time_95_s, time_99_s, time_100_s, bound_s;
    double spread_ratio; /* of bytes: standard deviation / mean, by share */
    double spread_leaders, spread_regions, spread_read, spread_write;
    double rule_violation_region_s;
    uint64_t
        self_inflicted;   /* steps that left fewer healthy voters than the rules want, and not because somebody died */
    uint64_t unsatisfied; /* regions whose rules nobody could meet in the last round */
    double operators_per_day; /* while nothing happens any more */
    uint64_t operators, operators_failed;
    uint64_t started[POLICY_COUNT];
    double demotion_s; /* slow-store: until it led nothing */
    double virtual_s, cpu_s;
    uint64_t rss_bytes;
    char failure[256]; /* empty: the case's limits are kept */
};

struct placement;

struct placement_region {
    uint32_t size_kib, read_load, write_load;
    bool violated;
};

struct placement_store {
    store_id id;
    bool alive;
    uint64_t in_free_us, out_free_us; /* when its links have done what they have to */
    double in_weight, out_weight;     /* moved by operators */
};

struct placement_case {
    const char *name, *about;
    uint32_t stores, regions;      /* by default */
    uint32_t seconds_max, quiet_s; /* ends when nothing happened for so long after the script, or then */
    void (*setup)(struct placement *world);
    /* Each round; returns false when the script is over. */
    bool (*script)(struct placement *world);
    /* The limits of the case: writes `failure`. */
    void (*judge)(struct placement *world, struct placement_result *result);
};

struct placement_change; /* something that will happen */

struct placement {
    const struct placement_case *kind;
    struct placement_options options;
    struct region_tree *tree;
    struct store_table *table;
    struct rules rules;
    struct operator_list *operators;
    struct pd_view_config config;
    struct scheduler scheduler;
    struct rng rng;
    uint64_t now_us;
    uint32_t store_count, region_count, store_count_first;
    struct placement_store stores[PLACEMENT_STORES_MAX];
    struct placement_region *regions; /* owned; by id */
    uint64_t region_capacity, last_region, last_peer;
    struct placement_change *changes; /* owned heap */
    uint32_t change_count, change_capacity;
    uint64_t change_number;
    struct {
        uint64_t number;
        uint32_t step;
    } * dispatched; /* owned; by slot of the operator */

    /* what a case may set in setup */
    uint32_t racks, heartbeat_s, noise_permille;
    uint64_t region_size_min, region_size_max, receive_rate, send_rate, link_rate, down_ms;
    uint32_t first_stores; /* regions are placed on so many; 0: all */
    bool pareto, skew_leaders;
    uint32_t space_factor; /* capacity of all stores, of what is needed */
    uint32_t warm_s;       /* before the script begins */

    uint64_t heartbeat_cursor;
    uint64_t stage; /* of the script */
    bool script_over;
    uint64_t disturbed_s; /* when what is measured began */
    double necessary, leaders_necessary, moved_weight, moved_size;
    bool measuring;
    uint64_t violated_count, violated_us;
    double violated_region_s;
    uint64_t last_started_s, quiet_from_s, quiet_started; /* operators */
    uint64_t seen_started;
    struct placement_result result;
};

enum { PLACEMENT_OPERATORS_MAX = 65536 };

void placement_run(const struct placement_options *options, struct placement_result *ret_result);
const struct placement_case *placement_cases(uint32_t *ret_count);

/* ---- for cases */

uint64_t placement_now_s(const struct placement *world);    /* since the world began */
uint64_t placement_script_s(const struct placement *world); /* since the script began */
store_id placement_add_store(struct placement *world, uint64_t capacity_size);
void placement_kill(struct placement *world, uint32_t store);
void placement_revive(struct placement *world, uint32_t store);
/* From now on moves are measured against what is necessary now. */
void placement_measure(struct placement *world);
/* What a region's leader says next. */
void placement_set_region(struct placement *world, region_id id, uint64_t size, uint32_t read_load,
                          uint32_t write_load);
/* All regions say at once what they are. */
void placement_heartbeat_all(struct placement *world);
/* Rules have changed. */
void placement_judge_all(struct placement *world);
void placement_pd_fails_over(struct placement *world);

/* ---- placement.c and placement_measure.c for each other */

void placement_store_heartbeats(struct placement *world);
void placement_count_violated(struct placement *world); /* up to now */
void placement_measure_round(struct placement *world);
void placement_measure_end(struct placement *world);
void placement_explain(const struct placement *world); /* the last operators, as options.explain says */

int placement_main(int argc, char **argv);

#endif
