/* fit: how the peers of a region meet the rules of its range.
 *
 * Each peer is given to at most one rule: first those in the right role on a healthy store, then what keeps the rule's
 * peers furthest apart. What no rule wants is an orphan.
 *
 * Owner: whoever holds the struct; it borrows stores and rules, and is valid until either changes. */
#ifndef PD_FIT_H
#define PD_FIT_H

#include "pd/region_tree.h"
#include "pd/rules.h"
#include "pd/store_table.h"

enum { FIT_ORPHAN = -1 };

/* What is wrong with a region, as bits. */
enum fit_problem {
    FIT_MISSES = 1,  /* a rule has too few peers */
    FIT_EXTRA = 2,   /* an orphan */
    FIT_DOWN = 4,    /* a peer on a store that is down, or gone */
    FIT_LEAVING = 8, /* a peer on a store that is drained: wanted elsewhere, but there */
    FIT_NEAR = 16,   /* two peers of a rule share what it isolates */
    FIT_ROLE = 32,   /* a voter that should be a learner, or the other way round */
    FIT_LEADER = 64, /* led where a rule wants no leader */
    FIT_CUT = 128,   /* a rule begins or ends inside */
};

struct fit_peer {
    struct wire_peer peer;
    const struct store_entry *store; /* NULL: not known */
    int rule;                        /* index, or FIT_ORPHAN */
    bool leader;
};

struct fit {
    uint32_t peer_count, rule_count;
    struct fit_peer peers[REGION_PEER_COUNT_MAX];
    const struct rule *rules[RULES_PER_REGION_MAX];
    uint32_t have[RULES_PER_REGION_MAX];
    struct bytes cut; /* the region must be split here first */
};

void fit_region(const struct store_table *stores, const struct rules *rules, const struct region_node *node,
                struct fit *ret_fit);
/* enum fit_problem, or-ed. */
uint32_t fit_problems(const struct fit *fit);
/* How near the peers of a rule are to each other if `store` (NULL: nobody) joins and the peer `without` (index; any other
 * number: nobody) leaves: lower is better; pairs that share more locations weigh 256 times more. */
uint64_t fit_cost(const struct fit *fit, uint32_t rule, const struct store_entry *store, uint32_t without);
/* Whether `store` is as far from the rule's other peers as it isolates. */
bool fit_isolates(const struct fit *fit, uint32_t rule, const struct store_entry *store, uint32_t without);
/* Why the rule of the peer `index` would not have `store` in its place, "constraint" or "isolation"; NULL: it would. */
const char *fit_refuses(const struct fit *fit, uint32_t index, const struct store_entry *store);
bool fit_has_store(const struct fit *fit, store_id store);
bool fit_peer_is_down(const struct fit_peer *peer);
/* How many voters it has; of those `ret_heard` (NULL is fine) on stores that answer. */
uint32_t fit_voters(const struct fit *fit, uint32_t *ret_heard);
/* Whether a leader may be there. */
bool fit_leads(const struct fit *fit, const struct fit_peer *peer);
bool role_is_voter(uint8_t role);

#endif
