/* pd_fsm_parts: inside of pd_fsm.h: its state, and what its files do for each other. */
#ifndef PD_PD_FSM_PARTS_H
#define PD_PD_FSM_PARTS_H

#include "base/arena.h"
#include "pd/pd_fsm.h"

enum { ROW_FORMAT = 1, ROW_HEAD_SIZE = 8, KEY_SIZE = 9 };

/* Ids beyond are a broken counter, not a big cluster (and stores must fit in 56 bits: region_tree). */
#define NEXT_ID_MAX (UINT64_C(1) << 55)

struct pd_fsm {
    raft_index applied_index;
    raft_term applied_term;
    uint64_t cluster_id;
    bool bootstrapped;
    uint64_t next_id;
    uint64_t timestamp_limit_ms;
    enum engine_cf cf;
    uint64_t next_member_id;
    struct pd_member members[PD_FSM_MEMBERS_MAX]; /* in order of id */
    uint32_t member_count;
    struct pd_store *stores; /* owned; in order of id */
    uint32_t store_count, store_capacity;
    struct region_tree *regions; /* owned */
    struct pd_settings settings;
    struct arena command_arena;
    struct buf row; /* scratch of one row */
};

/* ---- pd_fsm.c */

bool fsm_store_is_sane(const struct wire_store *store);
struct pd_store *fsm_store_add(struct pd_fsm *fsm, store_id id); /* there is none yet */
void fsm_store_assign(struct pd_store *store, const struct wire_store *wire);
bool fsm_member_is_sane(const struct wire_pd_member *member);
void fsm_member_insert(struct pd_fsm *fsm, const struct wire_pd_member *wire);

#endif
