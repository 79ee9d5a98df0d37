/* world: a whole cluster in one process: members of pd, storenodes and clients, each a node of the simulator with an env of its
 * own.
 *
 *   sim (heap, clock)  --  net (connections)  --  nodes: env = {executor, clock, transport, engine_mem, log, seed}
 *
 * A node's disk outlives the node: world_kill makes it forget what was not synced at that instant, world_start opens
 * what is left. Faults call these functions, the workload talks through the clients, checkers read the state of the
 * nodes that are up.
 *
 * The first broken promise anywhere ends the run: world_fail.
 *
 * Owner: one thread. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/log.h"
#include "base/types.h"
#include "client/client.h"
#include "coverage.h"
#include "env/engine_mem.h"
#include "env/env.h"
#include "pd/pd.h"
#include "storenode/store.h"
#include "swarm.h"

enum {
    WORLD_PD_MAX = 5,
    WORLD_STORE_MAX = 9,
    WORLD_CLIENT_MAX = 32,
    WORLD_NODE_MAX = WORLD_PD_MAX + WORLD_STORE_MAX + WORLD_CLIENT_MAX
};

enum world_role { WORLD_PD, WORLD_STORE, WORLD_CLIENT };

struct world_options {
    uint64_t seed;
    uint32_t store_count, client_count;
    uint32_t region_count;
    uint32_t pd_count; /* 0: 1 */
};

struct world;

/* A full disk only says so, refuses writes, or (others took the reserve) fails at the sync. */
enum full_mode { FULL_IS_SAID, FULL_REFUSES, FULL_AT_SYNC, FULL_MODE_COUNT };

struct world_node {
    struct world *world;
    enum world_role role;
    uint32_t number;       /* 1, 2, ... within the role */
    struct sim_node *node; /* owned by the sim */
    struct env env;
    struct log log;
    struct engine *disk; /* owned; NULL for a client. Outlives the lives of the node */
    struct pd_config pd_config;
    struct store_config store_config;
    struct pd *pd; /* the one that fits the role, while up; owned */
    struct store *store;
    struct client *client;
    uint32_t slow_disk;      /* its syncs take so many times longer; 0: as usual */
    uint64_t hung_until_us;  /* no sync ends before; 0: as usual */
    uint64_t synced_us;      /* when the disk is done with the syncs it was given */
    uint32_t failing_writes; /* so many of the next writes fail with ERR_IO */
    uint32_t failing_syncs, failing_reads;
    bool disk_full;
    enum full_mode full_mode;
    bool may_stop;                /* it was given a failing disk: giving up is right */
};

/* Adds nothing that runs: every node is off. Both arguments are copied. */
struct world *world_new(const struct world_options *options, const struct swarm *swarm);
void world_free(struct world *world);

struct sim *world_sim(struct world *world);
struct net *world_net(struct world *world);
struct rng *world_rng(struct world *world);
struct swarm *world_swarm(struct world *world); /* the disks look at it, so that heal can change it */
const struct world_options *world_options(const struct world *world);

/* A fault happened here, and its effect lasts until then (0: it is over). */
void world_note_fault(struct world *world, enum fault_kind kind, uint64_t until_ns);
/* All faults end now. */
void world_note_heal(struct world *world);
/* An operation of a client that began at `start_ns` ends now. */
void world_note_op(struct world *world, unsigned op, uint64_t start_ns);
/* With the weather until now. */
const struct coverage *world_coverage(struct world *world);

uint32_t world_node_count(const struct world *world);
struct world_node *world_node(struct world *world, uint32_t index);
struct world_node *world_pd(struct world *world); /* that leads, or the first */
struct world_node *world_pd_member(struct world *world, uint32_t number); /* 1.. */
struct world_node *world_store(struct world *world, uint32_t number);  /* 1.. */
struct world_node *world_client(struct world *world, uint32_t number); /* 1.. */
struct world_node *world_node_of(struct world *world, const struct sim_node *node);

/* ERR_OK, or why the node could not start (it is off then). Already up: ERR_OK. */
enum err world_start(struct world *world, struct world_node *node, struct error *err);
/* At this instant. `machine`: connections are not reset but fall silent. Unsynced writes may be lost in any case. */
void world_kill(struct world *world, struct world_node *node, bool machine);
/* It is off; it has another disk, with nothing on it. */
void world_empty_disk(struct world_node *node);
/* A member of pd that is off: the next one at its address has nothing, and joins. */
void world_wipe(struct world *world, struct world_node *node);
/* Asked before each write of a node that is up; another code than ERR_OK is what the engine says. NULL takes it away. */
void world_set_write_hook(struct world *world, enum err (*hook)(void *context, struct world_node *node), void *context);
/* From now on every death leaves so much of what was not synced, instead of what the swarm draws. */
void world_set_loss(struct world *world, enum engine_mem_loss loss);
/* One event of the heap. False: a promise is broken, or nothing is left to happen. A store that gave up by itself is
 * killed, as its supervisor would see it exit. */
bool world_step(struct world *world);

/* How regions slept and woke, in all lives of all stores. */
void world_add_merge_counts(const struct world *world, struct store_merge_counts *counts);
void world_add_snapshot_counts(const struct world *world, struct store_snapshot_counts *counts);
void world_add_damage_counts(const struct world *world, struct store_damage_counts *counts);
void world_add_sleep_counts(const struct world *world, struct store_sleep_counts *counts);

/* Notes the first broken promise; later ones are ignored. `region` 0: none in particular. */
void world_fail(struct world *world, const char *checker, region_id region, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool world_has_failed(const struct world *world);
const char *world_failure(const struct world *world); /* "linear: ..." */
region_id world_failed_region(const struct world *world);

#endif
