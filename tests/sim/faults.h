/* faults: what goes wrong, and when. One fault every fault_interval_ms or so, of a kind that the swarm allows, each
 * with an end of its own; then faults_heal ends all of them, for the liveness phase.
 *
 * Owner: the thread of the world. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "workload.h"
#include "world.h"

struct faults;
struct wire_raft_message;

struct faults *faults_new(struct world *world, struct workload *workload);
void faults_free(struct faults *faults); /* the sim must not run any more */
/* Begins now; faults_heal will come at `heal_ns`, so what never ends by itself ends then. */
void faults_begin(struct faults *faults, uint64_t heal_ns);
/* No new ones, and all that lasts ends: nodes run again, paths are open, disks are quick and sound, clocks tick alike.
 */
void faults_heal(struct faults *faults);
/* A check_raft_listener: for aimed faults. */
void faults_see_message(void *context, struct sim_node *from, struct sim_node *to,
                        const struct wire_raft_message *message);

/* ---- for traps.c */
bool faults_aim(const struct faults *faults); /* aimed faults may come */
void faults_kill(struct faults *faults, struct world_node *node, bool machine, uint64_t duration_ns);

#endif
