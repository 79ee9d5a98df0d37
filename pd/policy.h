/* policy: what pd may decide to do, each a pure function of the view: an operator or nothing, and the reason either way.
 *
 * Called again in the same round it goes on with what else there is to do; NULL ends its round. */
#ifndef PD_POLICY_H
#define PD_POLICY_H

#include "pd/pd_view.h"

typedef const struct operator *(*policy_decide)(struct pd_view *view, struct reason *reason);

/* Rules: what misses, is down, leaves, is too near, too many, in a wrong role or led by the wrong one. Looks at regions
 * that changed, at stores that are to be left, and at a few others per round. */
const struct operator *replica_check(struct pd_view *view, struct reason *reason);
/* The same for one region; NULL: it is as it should be, or nothing can be done now, as the reason says. */
const struct operator *replica_check_region(struct pd_view *view, struct region_node *node, struct reason *reason);

/* Why nothing could be done for a region just now, or that nothing speaks against it. */
void replica_judge(const struct pd_view *view, const struct region_node *node, struct reason *reason);

const struct operator *balance_region(struct pd_view *view, struct reason *reason);
const struct operator *balance_leader(struct pd_view *view, struct reason *reason);
/* Whether the peer on `from` may be on `to` instead: rules, isolation, role. `reason` hears why not. */
bool balance_may_move(const struct pd_view *view, const struct fit *fit, const struct store_entry *from,
                      const struct store_entry *to, struct reason *reason);

const struct operator *hot_read(struct pd_view *view, struct reason *reason);
const struct operator *hot_write(struct pd_view *view, struct reason *reason);

/* For one region: too large; both it and a neighbour small. */
const struct operator *split_region(struct pd_view *view, struct region_node *node, struct reason *reason);
const struct operator *merge_region(struct pd_view *view, struct region_node *node, struct reason *reason);
/* Why it is not merged, or that nothing speaks against it. */
void merge_judge(const struct pd_view *view, const struct region_node *node, struct reason *reason);
/* The first into the second: its peers go where the other's are before, if they must. */
const struct operator *merge_pair(struct pd_view *view, struct region_node *source, struct region_node *target,
                                  bool by_people, struct reason *reason);
const struct operator *split_merge(struct pd_view *view, struct reason *reason); /* a few regions per round */

/* Leaders leave stores that people, a planned restart, or their own slowness want empty of leaders. */
const struct operator *evict_leader(struct pd_view *view, struct reason *reason);
const struct operator *slow_store(struct pd_view *view, struct reason *reason);
/* All leaders that can to the stores that people want them on: each from a store that is none of those to the one of
 * them that leads least. */
const struct operator *grant_leader(struct pd_view *view, struct reason *reason);

/* Spreads the regions of a range over all stores, evenly among themselves. */
struct scatter {
    struct bytes start_key, end_key;             /* borrowed; an empty end is the end of the key space */
    region_id last;                              /* went on behind it */
    uint32_t group_count[STORE_TABLE_COUNT_MAX]; /* of the range's peers, by position in the store table */
    bool counted;
};
const struct operator *scatter_range(struct pd_view *view, struct scatter *scatter, struct reason *reason);

/* For chaos: right, but without need. */
const struct operator *shuffle_leader(struct pd_view *view, struct reason *reason);
const struct operator *shuffle_region(struct pd_view *view, struct reason *reason);
const struct operator *random_merge(struct pd_view *view, struct reason *reason);

#endif
