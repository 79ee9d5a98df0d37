/* world: a whole cluster in one process: a pd, storenodes and clients, each a node of the simulator with an env of its
 * own.
 *
 *   sim (heap, clock)  --  net (connections)  --  nodes: env = {executor, clock, transport, engine_mem, log, seed}
 *
 * A node's disk outlives the node: world_kill makes it forget (engine_mem_crash) what was not synced at that
 * instant, world_start opens what is left. Faults call these functions, the workload talks through the clients,
 * checkers read the state of the nodes that are up.
 *
 * Owner: one thread. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/types.h"

struct client;
struct engine;
struct engine_mem;
struct net;
struct pd;
struct sim;
struct sim_node;
struct store;

enum { WORLD_STORE_MAX = 9, WORLD_CLIENT_MAX = 32 };

enum world_role { WORLD_PD, WORLD_STORE, WORLD_CLIENT };

struct world_options {
    uint64_t seed;
    uint32_t store_count, client_count;
    uint32_t region_count;
    bool faults; /* false: good weather, nothing dies */
    bool trace;
};

struct world_node {
    enum world_role role;
    uint32_t number;         /* 1, 2, ... within the role */
    struct sim_node *node;   /* owned by the sim */
    struct env *env;         /* owned */
    struct engine_mem *disk; /* owned; NULL for a client */
    struct store *store;     /* the one that fits the role, while up; owned */
    struct pd *pd;
    struct client *client;
    uint64_t starts, start_failures;
    char text[256]; /* why the last start failed */
};

struct world;

struct world *world_new(const struct world_options *options);
void world_free(struct world *world);

struct sim *world_sim(struct world *world);
struct net *world_net(struct world *world);
const struct world_options *world_options(const struct world *world);

uint32_t world_node_count(const struct world *world);
struct world_node *world_node(struct world *world, uint32_t index);
struct world_node *world_pd(struct world *world, uint32_t number);     /* 1.. */
struct world_node *world_store(struct world *world, uint32_t number);  /* 1.. */
struct world_node *world_client(struct world *world, uint32_t number); /* 1.. */

/* Up to now nothing ran. ERR_OK, or why the node could not start (it stays off). */
enum err world_start(struct world *world, struct world_node *node, struct error *err);
/* At this instant. `machine`: the kernel dies too: what was written but not synced may be lost, connections are not
 * reset but fall silent. Otherwise the page cache keeps what was written. */
void world_kill(struct world *world, struct world_node *node, bool machine);

/* A node that gave up by itself (a store whose disk failed) is killed here, as its supervisor would see it exit. */
void world_reap_stopped(struct world *world);

#endif
