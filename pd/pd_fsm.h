/* pd_fsm: pd's replicated truth: cluster id, members, stores, regions, and how far ids and timestamps are reserved.
 *
 * Committed commands (PdCommand) are applied in log order. Each changes the truth in memory and puts the rows that say
 * the same into a batch, and at the end of the batch how far it goes (pd_fsm_put_applied), so that a restart loads
 * exactly what was written (pd_fsm_load) and the log gives the rest. A command that is refused changes nothing and says
 * why. Nothing here depends on time, chance or memory addresses: all members and all replays come to the same truth
 * (pd_fsm_digest).
 *
 * Rows, in one of two column families (a snapshot comes into the other one; pd_home.h), `default` at first; integers big
 * endian; the first byte of a value is its format, 1:
 *
 *   key                     value
 *   'a'                     01 | applied index u64 | applied term u64
 *   'c'                     01 | cluster id u64 | bootstrapped u8
 *   'i'                     01 | next id u64
 *   't'                     01 | timestamp limit, ms, u64
 *   'k' | token u64         01 | store id u64
 *   's' | store id u64      01 | 7 zero bytes | Store
 *   'g' | region id u64     01 | 7 zero bytes | Route
 *   'o' | name              01 | 7 zero bytes | value of a setting (pd_settings.h)
 *   'n'                     01 | next member id u64
 *   'p' | member id u64     01 | 7 zero bytes | PdMember
 *   'm'                     identity: "polder pd" and the id of this member, in `default` always (pd_home.h)
 *
 * (A storenode's rows in this column family begin with 'r' or 'x', so neither program takes the other's for its own.)
 *
 * Life of the region map:
 *
 *   EMPTY --put_regions that starts at the first key--> FILLING --put_regions with `bootstrapped`--> BOOTSTRAPPED
 *            (begins anew, should a crash have interrupted it)     (refused while there is a gap)
 *
 * Owner: the pd actor. Invariants (pd_fsm_check): F1 next id is above every id of a store, region or peer;  F2 a token
 * names one store for ever;  F3 from BOOTSTRAPPED on, the epoch rule of region_tree;  F4 the members
 * are those of the Raft configuration, and an id is never given to another one. */
#ifndef PD_PD_FSM_H
#define PD_PD_FSM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/types.h"
#include "env/engine.h"
#include "pd/pd_settings.h"
#include "pd/region_tree.h"
#include "proto/wire.h"
#include "raft/raft.h"

enum {
    PD_FSM_TEXT_SIZE_MAX = 512, /* address, status address, version of a store */
    PD_FSM_ROW_SIZE_MAX = 1024 * 1024,
    PD_FSM_MEMBERS_MAX = 16, /* of a file or a log; pd_members.h says how many there should be */
};

#define PD_FSM_IDENTITY_KEY "m"

/* A member of pd's own group. */
struct pd_member {
    uint64_t id;
    char *name;    /* owned, never NULL */
    char *address; /* owned, never NULL; what the others and clients dial */
    bool learner;  /* has no vote */
};

/* What is remembered of a store for ever. Texts are never NULL. */
struct pd_store {
    uint64_t id;
    uint64_t token;
    char *address;        /* owned */
    char *status_address; /* owned */
    char *version;        /* owned */
    uint64_t started_at_ms;
    uint64_t capacity_size;
};

struct pd_fsm;

struct pd_fsm_result {
    enum err code;          /* ERR_OK, or why it changed nothing */
    uint64_t first_id;      /* alloc_ids */
    uint64_t store_id;      /* put_store: the store; with ERR_EXISTS the one that the token named before */
    bool placement;         /* stores or settings changed */
    uint32_t refused_count; /* put_regions: regions that were not newer; the others are in */
};

struct pd_fsm *pd_fsm_new(void);
void pd_fsm_free(struct pd_fsm *fsm); /* NULL is fine */

/* Where its rows are: ENGINE_DEFAULT, unless said otherwise before the load. */
void pd_fsm_set_cf(struct pd_fsm *fsm, enum engine_cf cf);
enum engine_cf pd_fsm_cf(const struct pd_fsm *fsm);
/* Each becomes the other; whoever points to one of them sees the other's truth. */
void pd_fsm_swap(struct pd_fsm *one, struct pd_fsm *other);

/* Reads all rows; `fsm` is new. ERR_CORRUPT names the row. */
enum err pd_fsm_load(struct pd_fsm *fsm, struct engine *engine, struct error *err);

/* Applies one committed command and appends its rows to `batch`. Codes of the result:
 *   ERR_OK
 *   ERR_CORRUPT            not a PdCommand, or one that says nonsense (an id of 0 or never allocated, an empty range)
 *   ERR_UNSUPPORTED        a kind that this version does not know: the caller must stop, others may have understood it
 *   ERR_CLUSTER_NOT_MATCH  set_cluster: there is another id already
 *   ERR_EXISTS             put_store: the token names another store; put_regions: bootstrapped already
 *   ERR_INVALID            put_store: an id that was never allocated; alloc_ids: 0, or ids run out; put_store: too many
 *   ERR_NOT_FOUND          remove_store: there is none
 *   ERR_BUSY               put_setting: too many
 *   ERR_CONDITION_FAILED   remove_store: a region has a peer there; put_regions: `bootstrapped` with a gap in the map (the regions are in, the map stays
 * FILLING) */
void pd_fsm_apply(struct pd_fsm *fsm, struct bytes command, struct engine *engine, struct engine_batch *batch,
                  struct pd_fsm_result *ret_result);

/* A founder, before anything is applied; all members begin with the same. */
void pd_fsm_found_member(struct pd_fsm *fsm, const struct wire_pd_member *member, struct engine *engine,
                         struct engine_batch *batch);
/* A change of members makes `conf` of the group. Who is in there and unknown is in `context` (a PdCommand, change_members).
 * Codes: ERR_CORRUPT (no such context), ERR_EXISTS (name or address of another member), ERR_INVALID (an id that was given
 * before): nothing is changed then, here as on every member. */
enum err pd_fsm_change_members(struct pd_fsm *fsm, const struct raft_conf *conf, struct bytes context,
                               struct engine *engine, struct engine_batch *batch);

/* Everything up to here is applied in memory. */
void pd_fsm_set_applied(struct pd_fsm *fsm, raft_index index, raft_term term);
/* The row that says so, to end a batch. */
void pd_fsm_put_applied(struct pd_fsm *fsm, struct engine *engine, struct engine_batch *batch);
raft_index pd_fsm_applied_index(const struct pd_fsm *fsm); /* 0: nothing yet */
raft_term pd_fsm_applied_term(const struct pd_fsm *fsm);

uint64_t pd_fsm_cluster_id(const struct pd_fsm *fsm); /* 0: not set yet */
bool pd_fsm_bootstrapped(const struct pd_fsm *fsm);
uint64_t pd_fsm_next_id(const struct pd_fsm *fsm);
uint64_t pd_fsm_timestamp_limit_ms(const struct pd_fsm *fsm);
const struct pd_settings *pd_fsm_settings(const struct pd_fsm *fsm); /* borrowed, until the next apply */
struct region_tree *pd_fsm_regions(const struct pd_fsm *fsm); /* borrowed; only what was seen may be changed */

/* Members in order of id. Valid until the next apply. */
uint32_t pd_fsm_member_count(const struct pd_fsm *fsm);
const struct pd_member *pd_fsm_member_at(const struct pd_fsm *fsm, uint32_t position);
const struct pd_member *pd_fsm_find_member(const struct pd_fsm *fsm, uint64_t id); /* NULL: none */
uint64_t pd_fsm_next_member_id(const struct pd_fsm *fsm);

/* Stores in order of id. Valid until the next apply. */
uint32_t pd_fsm_store_count(const struct pd_fsm *fsm);
const struct pd_store *pd_fsm_store_at(const struct pd_fsm *fsm, uint32_t position);
const struct pd_store *pd_fsm_find_store(const struct pd_fsm *fsm, store_id id);          /* NULL: none */
const struct pd_store *pd_fsm_find_store_token(const struct pd_fsm *fsm, uint64_t token); /* NULL: none, or token 0 */

/* A number that is the same for the same truth. */
uint64_t pd_fsm_digest(const struct pd_fsm *fsm);
void pd_fsm_check(const struct pd_fsm *fsm);

#endif
