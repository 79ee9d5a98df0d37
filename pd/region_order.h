/* region_order: regions in order of their start keys, flat enough for a million lookups a second.
 *
 *   firsts  [ prefix | prefix | prefix | ... ]      binary search: 64 KiB for a million regions
 *   runs        |        |
 *               v        v
 *           up to 128 of (prefix, region), in order
 *
 * A prefix is the first eight bytes of a start key as a number; only where two are equal the keys themselves are looked
 * at, which is another cache miss. A full run is cut in two (a new one begins where regions come in order); an empty one
 * goes. Nothing in a region points back here: its neighbours are found by its key.
 *
 * Owner: the region tree. Invariants (region_order_check): keys strictly increase; no run is empty. */
#ifndef PD_REGION_ORDER_H
#define PD_REGION_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct region_node;
struct order_run;

struct region_order {
    uint64_t *firsts;        /* owned */
    struct order_run **runs; /* owned */
    uint32_t count, capacity;
};

/* All zero is empty. */
void region_order_fini(struct region_order *order);
/* No region there has the same start key. */
void region_order_insert(struct region_order *order, struct region_node *node);
void region_order_remove(struct region_order *order, const struct region_node *node); /* is there */
/* The last region that starts at or before `key`; NULL: none. */
struct region_node *region_order_at_or_before(const struct region_order *order, struct bytes key);
struct region_node *region_order_first(const struct region_order *order);
struct region_node *region_order_last(const struct region_order *order);
/* Of one that is there; NULL at the end. */
struct region_node *region_order_next(const struct region_order *order, const struct region_node *node);
struct region_node *region_order_previous(const struct region_order *order, const struct region_node *node);
void region_order_check(const struct region_order *order);

#endif
