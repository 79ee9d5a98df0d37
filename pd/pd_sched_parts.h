/* pd_sched_parts: inside of pd_sched.h: its state, and what its files do for each other. */
#ifndef PD_PD_SCHED_PARTS_H
#define PD_PD_SCHED_PARTS_H

#include "pd/pd_sched.h"

/* A step that is to be said (again), and whose leader is to hear it. */
struct sched_due {
    store_id store;
    region_id region;
};

struct pd_sched {
    struct env *env;                /* borrowed, like ... */
    const struct pd_config *config; /* as in the file */
    struct pd_fsm *fsm;
    struct pd_sched_host host;
    struct pd_config effective; /* with what was set online; texts are the file's */
    bool leading;
    bool truth_is_old; /* stores or settings changed */
    raft_index
        proposed_index; /* of the newest wish of ours: what it says is in the tables, and in the truth once it is applied */
    uint64_t begun_ms, round_at_ms;

    /* between begin and end */
    struct store_table *stores;      /* owned */
    struct operator_list *operators; /* owned */
    struct rules rules;              /* its keys are owned */
    struct pd_view_config view_config;
    struct scheduler scheduler;
    uint64_t paused_until_ms[POLICY_COUNT];
    uint64_t *told_ms;     /* owned; by slot: when its step was said last */
    struct sched_due *due; /* owned; filled in each round */
    uint32_t due_count;
    struct pd_recovery *recovery; /* owned */
    struct scatter *scatter; /* owned, with its keys; NULL: none goes on */
    struct buf command;      /* scratch */
};

/* ---- pd_sched_truth.c */

/* Brings stores, rules, switches and configuration to what log and settings say. */
void sched_load_truth(struct pd_sched *sched);
bool sched_load_if_old(struct pd_sched *sched); /* false: not now, a wish of ours is on its way through the log */
struct store_entry *sched_store(struct pd_sched *sched, store_id id); /* NULL; brought to the truth if need be */
/* What the entry says now, as a setting. */
enum err sched_put_wish(struct pd_sched *sched, const struct store_entry *store, raft_index *ret_index,
                        struct error *err);
/* An empty value takes the setting away. */
enum err sched_put_setting(struct pd_sched *sched, const char *name, struct bytes value, raft_index *ret_index,
                           struct error *err);
enum err sched_propose(struct pd_sched *sched, const struct wire_pd_command *command, raft_index *ret_index,
                       struct error *err);
/* ERR_INVALID and a text. Its texts are interned; keys are borrowed from `wire`. */
enum err sched_rule_from_wire(struct pd_sched *sched, const struct wire_placement_rule *wire, struct rule *ret_rule,
                              struct error *err);

/* ---- pd_sched_people.c */
void sched_scatter_round(struct pd_sched *sched);
void sched_scatter_end(struct pd_sched *sched);

#endif
