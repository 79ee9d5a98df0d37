/* show: the core's nouns in the words of the scenario files. */
#ifndef TESTS_RAFT_SHOW_H
#define TESTS_RAFT_SHOW_H

#include "raft/raft.h"
#include "scenario.h"

void show_conf(const struct raft_conf *conf, struct text *out);       /* voters=(1 2)&&(3) learners=(4) ... */
void show_conf_state(const struct raft_conf *conf, struct text *out); /* Voters:[1 2] VotersOutgoing:[] ... */
void show_entry(const struct raft_entry *entry, struct text *out);
void show_snapshot(const struct raft_snapshot *snapshot, struct text *out);
void show_hard_state(const struct raft_hard_state *hard, struct text *out);
const char *show_role(enum raft_role role);
const char *show_message_kind(uint8_t kind);
/* v1 l2 r3 u4 -> changes; how many. Returns false on anything else. */
bool show_parse_changes(const char *input, struct raft_conf_change *ret_change);

#endif
