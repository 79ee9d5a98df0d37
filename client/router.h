/* router: which region holds a key, and which store leads it, as far as this client knows.
 *
 * A cache that may be wrong at any time: whoever follows it is told so by the store and repairs it here. Routes are
 * ordered by start key and never overlap. A route is only replaced by what is not older:
 *
 *   - of overlapping regions the one with the greater epoch_version is newer (split and merge raise it on all they
 * touch);
 *   - of the same region at the same version the one with the greater epoch_conf is newer;
 *   - the same epoch again only refreshes who leads, and only if nothing better is known.
 *
 * A leader is remembered together with the generation of its store. When a store falls silent its generation grows, and
 * with that none of its routes has a known leader any more: O(1) for any number of routes.
 *
 * Bounded: past `route_count_max` the route that was not used for longest goes.
 *
 * Owner: the client's actor. A `struct route *` is valid until the next call that inserts or removes.
 * Invariants (router_check): R1 routes are sorted and do not overlap;  R2 the index by id has exactly them;
 *   R3 no more than the maximum. */
#ifndef CLIENT_ROUTER_H
#define CLIENT_ROUTER_H

#include "base/bytes.h"
#include "base/list.h"
#include "base/types.h"
#include "proto/wire.h"

#include <bsd/sys/tree.h>
#include <uthash.h>

enum { ROUTE_PEERS_MAX = 15 };

struct router;
struct router_store;

struct route_peer {
    peer_id id;
    store_id store_id;
    uint8_t role; /* WIRE_PEER_ROLE_ */
};

struct route {
    region_id region_id;
    uint64_t epoch_conf;
    uint64_t epoch_version;
    struct bytes start_key; /* owned */
    struct bytes end_key;   /* owned; empty: the end of the key space */
    uint32_t peer_count;
    /* The rest is the router's. */
    struct router_store *leader; /* NULL: not known */
    uint64_t leader_generation;
    struct list used; /* in router->used, newest first */
    RB_ENTRY(route) by_start;
    UT_hash_handle hh; /* by region_id */
    struct route_peer peers[];
};

struct router *router_new(uint32_t route_count_max);
void router_free(struct router *router); /* NULL is fine */

/* The route whose region holds `key`; NULL: not known. */
struct route *router_find(struct router *router, struct bytes key);
/* The route whose region holds the keys just before `key`; an empty key is the end of the key space. */
struct route *router_find_before(struct router *router, struct bytes key);
struct route *router_find_by_id(struct router *router, region_id id);

enum router_insert {
    ROUTER_INSERTED,     /* new, or replaces what was older */
    ROUTER_REFRESHED,    /* the same epoch as before */
    ROUTER_OLDER,        /* something newer is known: nothing changed */
    ROUTER_NOT_A_REGION, /* no id, keys in the wrong order or too long, too many peers */
};
/* Copies. `leader`: 0 if not known. */
enum router_insert router_insert(struct router *router, const struct wire_region *region, store_id leader);
/* Forgets the region, if it is still known under this epoch (a newer one is kept). */
void router_remove(struct router *router, region_id id, uint64_t epoch_conf, uint64_t epoch_version);

/* The store that leads; 0: not known. */
store_id route_leader(const struct route *route);
/* `leader` 0: forget it. A store that has no peer of the region is not believed (and the leader is forgotten). */
void router_set_leader(struct router *router, struct route *route, store_id leader);
/* Its routes lose their leader. */
void router_store_silent(struct router *router, store_id store);

uint32_t router_count(const struct router *router);
void router_check(const struct router *router);

#endif
