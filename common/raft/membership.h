/* membership: configurations as data, and what a change makes of one. Pure.
 *
 * A configuration is a sorted table of members with role bits (raft.h). A change either replaces it at once (`simple`:
 * at most one voter differs, so old and new majorities overlap) or through a joint configuration, in which both
 * majorities must agree. Every peer computes the same result or the same refusal from the same log entry.
 *
 * Payload of a conf-change entry; nothing at all stands for AUTO without changes (leave the joint configuration):
 *
 *   0        1           2         3                  12
 *   +--------+-----------+---------+--------+---------+---  - - -  +-----------+
 *   | 1      |transition | count n | kind   | id (be) | n-1 more   | context.. |
 *   +--------+-----------+---------+--------+---------+---  - - -  +-----------+
 *
 * Ongaro 2014: 4.1 (one at a time), 4.3 (joint). */
#ifndef RAFT_MEMBERSHIP_H
#define RAFT_MEMBERSHIP_H

#include "raft/raft.h"

/* All return NULL and fill *ret_conf, or say why not. `ret_fresh` (may be NULL): bit i is set if members[i] was not
 * there before, or was removed on the way: nothing that was known about it holds. ret_conf may be conf. */
const char *membership_apply(const struct raft_conf *conf, const struct raft_conf_change *change,
                             struct raft_conf *ret_conf, uint32_t *ret_fresh);
const char *membership_simple(const struct raft_conf *conf, const struct raft_conf_change *change,
                              struct raft_conf *ret_conf, uint32_t *ret_fresh);
const char *membership_enter_joint(const struct raft_conf *conf, const struct raft_conf_change *change, bool auto_leave,
                                   struct raft_conf *ret_conf, uint32_t *ret_fresh);
const char *membership_leave_joint(const struct raft_conf *conf, struct raft_conf *ret_conf);

/* Does this change leave a joint configuration? */
bool membership_change_leaves(const struct raft_conf_change *change);
enum { MEMBERSHIP_HEADER_SIZE = 3, MEMBERSHIP_CHANGE_SIZE = 9 };
size_t membership_encoded_size(const struct raft_conf_change *change);
void membership_encode(const struct raft_conf_change *change, uint8_t *ret_data);

#endif
