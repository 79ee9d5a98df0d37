/* rules: how many peers of which role a range of keys wants, and on which stores.
 *
 * A rule speaks for a range of encoded keys: `count` peers of a role, on stores whose labels meet its constraints, spread
 * over `locations` (names of labels, outermost first: zone, rack, host). `isolation_level` is the location at which two
 * peers of the rule must differ: what cannot be placed so is not placed. Without it the spread is a wish.
 *
 * Rules stand in groups. For a range count all rules that cover it, group by group and by index; a rule with
 * `overrides` takes the place of those before it in its group, a group whose rules have `group_overrides` that of the
 * groups before it.
 *
 * A region that a rule covers in part must be split first: rules_of says where.
 *
 * Owner: whoever owns the struct. Memory: keys are copied. */
#ifndef PD_RULES_H
#define PD_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "pd/store_table.h"

enum {
    RULES_MAX = 64,
    RULE_NAME_SIZE = 32,
    RULE_CONSTRAINTS_MAX = 4,
    RULE_VALUES_MAX = 4,
    RULE_LOCATIONS_MAX = 4,
    RULE_PEERS_MAX = 7,
    RULES_PER_REGION_MAX = 8,
};

enum rule_role { RULE_VOTER, RULE_LEADER, RULE_FOLLOWER, RULE_LEARNER };
enum rule_test { RULE_IN, RULE_NOT_IN, RULE_EXISTS, RULE_NOT_EXISTS };

struct rule_constraint {
    uint16_t name; /* text of the store table */
    enum rule_test test;
    uint32_t value_count;
    uint16_t values[RULE_VALUES_MAX];
};

struct rule {
    char group[RULE_NAME_SIZE], name[RULE_NAME_SIZE];
    int32_t group_index, index;
    bool overrides, group_overrides;
    struct bytes start_key, end_key; /* owned by the set; an empty end is the end of the key space */
    enum rule_role role;
    uint32_t count;
    uint32_t constraint_count;
    struct rule_constraint constraints[RULE_CONSTRAINTS_MAX];
    uint32_t location_count;
    uint16_t locations[RULE_LOCATIONS_MAX]; /* texts, outermost first */
    uint32_t isolation_level;               /* how many of the locations must differ: 0 none, 1 the outermost, ... */
};

struct rules {
    uint32_t count;
    struct rule list[RULES_MAX]; /* in order */
};

void rules_init(struct rules *rules);
void rules_fini(struct rules *rules);
/* Adds, or takes the place of the rule of the same group and name. ERR_INVALID and a text, ERR_BUSY. */
enum err rules_put(struct rules *rules, const struct rule *rule, struct error *err);
enum err rules_remove(struct rules *rules, const char *group, const char *name); /* ERR_NOT_FOUND */

/* The rules for [start, end), in order; their number is returned. 0 with a non-empty `*ret_cut`: the range must be split
 * there first. 0 and an empty one: no rule. `list` must hold RULES_PER_REGION_MAX; rules beyond do not count. */
uint32_t rules_of(const struct rules *rules, struct bytes start, struct bytes end, const struct rule **list,
                  struct bytes *ret_cut);

bool rule_takes_store(const struct rule *rule, const struct store_entry *store);
/* How far two stores are apart for the rule: location_count when they share nothing, 0 when even the last location is
 * the same. A location without a label counts as shared. */
uint32_t rule_distance(const struct rule *rule, const struct store_entry *a, const struct store_entry *b);
/* Whether two peers of the rule may be on these stores. */
bool rule_isolates(const struct rule *rule, const struct store_entry *a, const struct store_entry *b);
const char *rule_role_name(enum rule_role role);

#endif
