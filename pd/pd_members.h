/* pd_members: who founds pd's group, and which changes of members are refused. Pure.
 *
 * The founders are named in the configuration of each, `name=address`, in any order: their ids are 1, 2, ... in order of
 * name. Ids of later ones come from the log, and no id is ever given twice: a member that lost its disk has lost its votes
 * with it, so it is removed and comes back as another one. Who is added learns first; the leader makes it a voter
 * when it has caught up. */
#ifndef PD_PD_MEMBERS_H
#define PD_PD_MEMBERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "pd/pd_config.h"
#include "pd/pd_fsm.h"
#include "proto/wire.h"

enum { PD_MEMBERS_MAX = 7 /* five, and two on their way in or out */ };

/* False: there is no name, or no address. */
bool pd_members_split(const char *text, struct bytes *ret_name, struct bytes *ret_address);
/* In order of id; without a list in the configuration it is this one alone. Texts are borrowed from the configuration. */
uint32_t pd_members_found(const struct pd_config *config, struct wire_pd_member ret_founders[static PD_CONFIG_FOUNDERS_MAX]);
/* Which of them has that name; 0: none. */
uint64_t pd_members_own_id(const struct pd_config *config);

/* Where a member is: the own configuration knows better than the log, after everybody has moved to other ports. */
const char *pd_members_address(const struct pd_config *config, const struct pd_member *member);

/* As the leader sees its group. */
enum err pd_members_check_add(const struct pd_fsm *fsm, const struct wire_pd_member *member, struct error *err);
/* The last one stays, and nothing is removed that leaves less than a majority alive. */
enum err pd_members_check_remove(const struct pd_fsm *fsm, const struct raft_status *status, uint64_t id,
                                 struct error *err);
/* Who should lead instead: the voter that has most of the log, of those that were heard of lately; `wanted` 0: any. 0:
 * nobody can. */
uint64_t pd_members_successor(const struct raft_status *status, uint64_t wanted);
/* A learner that has what the leader has, roughly; 0: none. */
uint64_t pd_members_promotable(const struct raft_status *status);

#endif
