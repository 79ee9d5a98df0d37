/* pd_view: all that a placement decision looks at.
 *
 * Policies are functions of a view: `const struct operator *policy(struct pd_view *, struct reason *)`. They read stores,
 * regions, rules, operators that run, the time and a generator of chance, and start one operator or none; either way
 * the reason says what was compared and what was refused. The same view decides the same.
 *
 * pd_view_refresh, once per round of scheduling, takes what the stores hold from the region tree and finds the means.
 * Within a round the stores' coming_* carry what was decided since.
 *
 * What a store holds is measured in bytes, a region counting `region_cost_size` on top (an empty region is work, too),
 * and compared by its share: its weight times its capacity. Stores that can never exchange peers (a zone each for three
 * peers, or other rules) are different domains, with a mean of their own.
 *
 * A store is out of balance when it leaves a band around the mean, and it stays so until it is at the mean. A move takes
 * from a store above the mean to one below, at least one of them out of balance, and leaves both on their side of it but
 * for half a region: so nothing is moved twice, and noise inside the band moves nothing.
 *
 * Owner: whoever owns the struct; it borrows the rest. */
#ifndef PD_PD_VIEW_H
#define PD_PD_VIEW_H

#include "base/rng.h"
#include "pd/fit.h"
#include "pd/operator.h"
#include "pd/region_tree.h"
#include "pd/rules.h"
#include "pd/store_table.h"

enum { PD_VIEW_DOMAINS_MAX = 256, PD_VIEW_HOT_MAX = 8192, PD_VIEW_SUSPECTS_MAX = 65536 };

struct pd_view_config {
    uint64_t region_cost_size;     /* what a region counts beside its bytes: 4 MiB */
    uint32_t region_band_permille; /* 10 */
    uint32_t leader_band_permille; /* 10 */
    uint32_t hot_band_permille;    /* 100 */
    bool band_is_goal;             /* stop at the band, not at the mean: the rule that PD of TiKV has, for comparison */
    uint32_t hot_load_min;         /* regions below are never hot: 100 */
    uint64_t split_size, merge_size; /* 96 MiB and more: split; 8 MiB and less: merge */
    uint64_t merge_keys;
    uint64_t merged_size_max;         /* what comes out of a merge: 48 MiB */
    uint64_t region_count_min;        /* no merge leaves fewer: 0 */
    bool store_splits;                /* stores split what is too large by themselves: split_region does nothing */
    uint64_t split_merge_interval_ms; /* a region that was split is not merged for so long: 0 */
    uint64_t begun_ms;                /* of regions that were split before nothing is known */
    bool grants;                  /* grant_leader is on: true */
    uint32_t slow_score_max;      /* 80 */
    uint32_t space_low_permille;  /* a store with less of its capacity left gets nothing: 200 */
    uint32_t tries;               /* regions drawn per pair of stores: 12 */
    uint32_t patrol_count;        /* regions looked at per round, whatever happens: 1000 */
    uint64_t latency_target_us;   /* above it stores back off; 0: never */
    uint32_t operators_per_round; /* 4096 */
};

struct pd_view_mean {
    double region;      /* bytes and regions' cost, per share */
    double region_size; /* of one peer, with its cost */
    uint64_t key;       /* of the domain */
};

struct pd_view {
    struct region_tree *regions;
    struct store_table *stores;
    struct rules *rules;
    struct operator_list *operators;
    const struct pd_view_config *config;
    struct rng rng;
    uint64_t now_ms;

    uint32_t domain_count;
    struct pd_view_mean domains[PD_VIEW_DOMAINS_MAX];
    double leader_mean, read_mean, write_mean; /* per share */

    region_id hot[PD_VIEW_HOT_MAX]; /* regions that were busy, each in the place of its id; of two, the busier */
    uint32_t suspect_first, suspect_count;
    region_id suspects[PD_VIEW_SUSPECTS_MAX]; /* changed: replica_check looks at them first */
    region_id patrol, size_patrol;            /* the last ones that were looked at: by replica_check, by split_merge */
    uint32_t patrol_left, size_patrol_left;   /* in this round */
    uint64_t region_moved_ms; /* balance_region last found a move straight over the mean */
    uint32_t walk_store;                      /* position in the store table: whose turn it is to be left */
    uint64_t unsatisfied; /* regions that no rule could be met for in the last round, see the reason */
    struct reason unsatisfied_reason;
};

void pd_view_config_init(struct pd_view_config *config);
/* Borrows all; nothing is known yet. */
void pd_view_init(struct pd_view *view, struct region_tree *regions, struct store_table *stores, struct rules *rules,
                  struct operator_list *operators, const struct pd_view_config *config, uint64_t seed);
void pd_view_refresh(struct pd_view *view, uint64_t now_ms);
/* A heartbeat changed the tree for this region: its operator goes on (the step to do now is returned), hot ones are
 * noted, and if `changed` (its peers, leader or range) it is looked at soon. */
const struct operator_step *pd_view_report(struct pd_view *view, struct region_node *node, bool changed);
/* The region behind `*cursor` in order of keys, or the first; moves the cursor. NULL: there is none. */
struct region_node *pd_view_patrol(struct pd_view *view, region_id *cursor);
/* The load of a region, per second, after a heartbeat that counted `count` in `interval_ms`: what was before counts half
 * after a minute. So hot is what was hot for a while. */
uint32_t pd_view_decayed(uint32_t before, uint64_t count, uint64_t interval_ms);
void pd_view_suspect(struct pd_view *view, region_id id);

/* What a store holds now and will hold, and how far that is above (+) or below the mean of its domain. Leaders and reads
 * of a store that is granted all leaders are neither above nor below. */
double pd_view_region_amount(const struct pd_view *view, const struct store_entry *store);
double pd_view_region_excess(const struct pd_view *view, const struct store_entry *store);
double pd_view_leader_excess(const struct pd_view *view, const struct store_entry *store);
double pd_view_read_excess(const struct pd_view *view, const struct store_entry *store);
double pd_view_write_excess(const struct pd_view *view, const struct store_entry *store);
/* What moving the region adds to a store. */
double pd_view_region_weight(const struct pd_view *view, const struct region_node *node);

/* Busy enough that hot_read and hot_write look after it; the others leave it where it is. */
bool pd_view_is_hot(const struct pd_view *view, const struct region_node *node);

/* May this store get a peer / a leader at all now? `ret_why` says why not. */
bool pd_view_takes_peer(const struct pd_view *view, const struct store_entry *store, uint64_t size,
                        const char **ret_why);
bool pd_view_takes_leader(const struct pd_view *view, const struct store_entry *store);
bool pd_view_sends(const struct pd_view *view, const struct region_node *node);
/* Whether somebody is there who could change the region: it has a leader that is known, on a store that answers. */
bool pd_view_is_led(const struct pd_view *view, const struct region_node *node);

/* The best store for another peer of rule `rule`, where the peer `without` (index, or UINT32_MAX) goes; NULL: none, and
 * the reason says what was refused. */
struct store_entry *pd_view_pick_store(struct pd_view *view, const struct region_node *node, const struct fit *fit,
                                       uint32_t rule, uint32_t without, struct reason *reason);
/* Puts the peer on `from` to `to`, in the order that is safe; a learner that is there already is used. `leader`: who leads in the end; 0: whoever can. */
const struct operator *pd_view_move(struct pd_view *view, const struct region_node *node, const struct fit *fit,
                                    store_id from, store_id to, store_id leader, const struct reason *reason);
void pd_view_move_steps(const struct pd_view *view, const struct fit *fit, store_id from, store_id to, store_id leader,
                        struct operator *draft);
/* Another store of the region that may lead, the one with the fewest leaders for its share; 0: none. `reason` (NULL is
 * fine) hears why not the others. */
store_id pd_view_next_leader(const struct pd_view *view, const struct fit *fit, store_id not_this, store_id nor_this,
                             struct reason *reason);
const struct operator *pd_view_transfer(struct pd_view *view, const struct region_node *node, store_id to,
                                        const struct reason *reason);

/* What is compared when a peer (leadership) goes from one store to another; NULL: nobody gives. */
void pd_view_note_move(const struct pd_view *view, const struct store_entry *from, const struct store_entry *to,
                       struct reason *reason);
void pd_view_note_transfer(const struct pd_view *view, const struct store_entry *from, const struct store_entry *to,
                           struct reason *reason);

/* ---- what people ask for */

/* Begins to drain. Refuses what the rules could not survive: too few stores, too few locations, too little space, or a
 * store whose absence leaves a region without a majority. ERR_STORE_NOT_MATCH, ERR_CONDITION_FAILED and a text. */
enum err pd_view_drain(struct pd_view *view, store_id id, struct error *err);
enum err pd_view_cancel_drain(struct pd_view *view, store_id id, struct error *err);
/* Empty ones that were drained become tombstones; those that are not empty any more, drain again. */
void pd_view_end_drains(struct pd_view *view);
/* 0 .. 1000. */
uint32_t pd_view_drain_permille(const struct pd_view *view, const struct store_entry *store);

#endif
