/* check_durable: is what a group has committed on enough disks?
 *
 *   R9 whenever a peer's commit index moves past all that was looked at before, the entries up to there (index and term)
 *      are durable on the disks of a quorum of the voters, of both halves if the configuration is joint
 *
 * A peer that leads alone (raft_force) counts its own disk only.
 *
 * The disks are asked for what no crash could take back at this instant (engine_mem_get_durable), those of dead stores
 * too. Each index of a region is looked at once, by whoever commits it first: that is its leader, and it has not told
 * anybody yet.
 *
 * Owner: the thread of the world. */
#ifndef SIM_CHECK_DURABLE_H
#define SIM_CHECK_DURABLE_H

#include "world.h"

struct check_durable;

/* Failures are given to world_fail. */
struct check_durable *check_durable_new(struct world *world);
void check_durable_free(struct check_durable *check);

/* Where a peer lives: once per life of its store, before anything that it says can count. */
void check_durable_peer(struct check_durable *check, const struct world_node *store,
                        const struct store_peer_view *view);
/* After each look at a peer: commits before it were counted with these members. */
void check_durable_conf(struct check_durable *check, const struct store_peer_view *view);
/* The commit index of this peer has moved. */
void check_durable_commit(struct check_durable *check, const struct world_node *store,
                          const struct store_peer_view *view);
uint64_t check_durable_count(const struct check_durable *check); /* entries looked at */

#endif
