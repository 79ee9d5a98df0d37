/* sim_cluster: a whole cluster in simulated time and good weather, for tests that say what happens when. After each step
 * of a store check_raft looks at it.
 *
 *   sim_cluster_options_init -> (change what matters: the swarm's draws, sizes) -> sim_cluster_new: started and whole
 *   sim_cluster_ask: a client's call and its answer;  sim_cluster_run_until: until something is so
 *   sim_cluster_free: the regions cover the key space, and (as `equal` says) replicas are equal
 *
 * A promise that is broken fails the test. */
#ifndef UNIT_SIM_CLUSTER_H
#define UNIT_SIM_CLUSTER_H

#include "client/client_internal.h"
#include "tests/sim/world.h"

struct check_raft;

struct sim_cluster_options {
    struct world_options world; /* seed 1, three stores, two clients, one region */
    struct swarm swarm;         /* no faults */
    uint64_t region_size_max;   /* 0: regions are split by hand only; else they are split at half of it */
    uint32_t ask_interval_ms;   /* is_done is asked so often; 0: after each step */
    bool two_checks;            /* a second check_raft, that is_whole does not ask: `other_check` */
};

struct sim_cluster {
    struct world *world;
    uint32_t client; /* who asks: 1 */
    uint32_t ask_interval_ms;
    struct check_raft *check, *other_check;
    struct region *region; /* owned; what was looked at last, and who leads it */
    store_id leader;
    /* The last answer. */
    bool answered;
    uint64_t answered_ms;
    enum polder_outcome outcome;
    int code;
    bool found;
    uint64_t ttl_ms;
    size_t row_count;
    char value[512];
    char text[200];
};

void sim_cluster_options_init(struct sim_cluster_options *options);
struct sim_cluster *sim_cluster_new(const struct sim_cluster_options *options);
void sim_cluster_free(struct sim_cluster *cluster, bool equal);

uint64_t sim_cluster_now_ms(const struct sim_cluster *cluster);
/* False: it is not so after `limit_ms`. `is_done` NULL: that long, true. */
bool sim_cluster_run_until(struct sim_cluster *cluster, uint32_t limit_ms,
                           bool (*is_done)(struct sim_cluster *cluster));
bool sim_cluster_is_whole(struct sim_cluster *cluster);
void sim_cluster_start(struct sim_cluster *cluster, struct world_node *node);
/* The one with this id; none fails the test. */
struct world_node *sim_cluster_store(struct sim_cluster *cluster, store_id id);

/* The region (the last one, if there are more) as its leader has it, in `region` and `leader`. False: nobody leads. */
bool sim_cluster_has_leader(struct sim_cluster *cluster);
/* The same, and waits until there is a leader; lent until the next look. */
const struct region *sim_cluster_look(struct sim_cluster *cluster);

/* Begun; the answer comes while time passes. */
void sim_cluster_submit(struct sim_cluster *cluster, struct client_call call);
bool sim_cluster_is_answered(struct sim_cluster *cluster);
/* How long it took, ms; the answer, whatever it is, is in `cluster`. */
uint64_t sim_cluster_ask(struct sim_cluster *cluster, struct client_call call);
/* As sim_cluster_ask; anything but success fails the test. */
uint64_t sim_cluster_do(struct sim_cluster *cluster, struct client_call call);
uint64_t sim_cluster_put(struct sim_cluster *cluster, const char *key, const char *value);
uint64_t sim_cluster_get(struct sim_cluster *cluster, const char *key, const char *value); /* it must have this value */

#endif
