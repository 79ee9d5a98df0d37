/* fsm_home: what state machines of regions live in, for tests of them: an engine in memory, an apply worker that runs when
 * the test says so, and a clock that stands still. What the worker has done goes to `ops` as a struct region_task. */
#ifndef UNIT_FSM_HOME_H
#define UNIT_FSM_HOME_H

#include "env/clock.h"
#include "env/engine_mem.h"
#include "inline_exec.h"
#include "storenode/region_fsm.h"

struct fsm_home {
    struct inline_exec exec;
    struct clock clock;
    struct env env;
    struct actor *owner;
    struct apply_worker *worker;
    struct replies *replies;
};

static inline uint64_t fsm_home_now(struct clock *clock)
{
    (void)clock;
    return 1;
}

static inline void fsm_home_init(struct fsm_home *home, const struct actor_ops *ops, void *state)
{
    static const struct apply_worker_options options = {0};
    inline_exec_init(&home->exec);
    home->clock = (struct clock){.now_us = fsm_home_now, .wall_ms = fsm_home_now};
    home->env = (struct env){.executor = &home->exec.base, .clock = &home->clock};
    assert_int_equal(engine_mem_new(&home->env.engine), ERR_OK);
    assert_int_equal(executor_spawn(&home->exec.base, "owner", ops, state, 16, &home->owner), ERR_OK);
    assert_int_equal(apply_worker_new(&home->env, &options, &home->worker), ERR_OK);
    home->replies = replies_new(&home->env);
}

/* After its state machines. */
static inline void fsm_home_fini(struct fsm_home *home)
{
    replies_free(home->replies);
    apply_worker_free(home->worker);
    inline_exec_fini(&home->exec);
    engine_mem_free(home->env.engine);
}

/* `urgent`: as region_task's. */
static inline void fsm_home_apply(struct fsm_home *home, struct region_fsm *fsm, const struct raft_entry *entries,
                                  uint32_t count, bool urgent)
{
    struct region_task *task = region_task_new(fsm, home->owner, 0, home->replies, entries, count, NULL);
    task->urgent = urgent;
    apply_worker_post(home->worker, &task->task);
    inline_exec_run(&home->exec);
}

/* Voters `first_peer` and the two behind it, on stores 1, 2 and 3. */
static inline struct region *fsm_home_region(region_id id, peer_id first_peer, const char *start, const char *end,
                                             uint64_t conf, uint64_t version)
{
    struct wire_peer peers[] = {{.id = first_peer, .store_id = 1},
                                {.id = first_peer + 1, .store_id = 2},
                                {.id = first_peer + 2, .store_id = 3}};
    struct wire_region wire = {.id = id,
                               .start_key = bytes_of_string(start),
                               .end_key = bytes_of_string(end),
                               .epoch_version = version,
                               .epoch_conf = conf,
                               .peers = peers,
                               .peers_count = 3};
    struct region *region;
    assert_int_equal(region_from_wire(&wire, &region), ERR_OK);
    return region;
}

#endif
