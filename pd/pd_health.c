/* pd_health: a leader whose disk hangs goes on to say that it lives, and could lead for ever without applying anything: its
 * followers have the entries, it has not. So leadership is tied to the state machine:
 *
 *   a log task or an apply task is out for an election timeout    hand over to the voter that has most
 *   still leading, as long again                                  mute: no message leaves, the others elect
 *
 * An actor that does not run sends nothing anyway. A member whose disk hangs cannot be elected: its own vote must be
 * durable first. */
#include "base/bug.h"
#include "base/log.h"
#include "pd/pd_parts.h"

void pd_wait_begin(struct pd_wait *wait, uint64_t now_us)
{
    if (wait->count++ == 0)
        wait->since_us = now_us;
}

void pd_wait_end(struct pd_wait *wait, uint64_t now_us)
{
    wait->count--;
    wait->since_us = now_us;
}

static uint64_t waited_us(const struct pd_wait *wait, uint64_t now_us)
{
    return wait->count > 0 && now_us > wait->since_us ? now_us - wait->since_us : 0;
}

static void step_aside(struct pd *pd, uint64_t stuck_us)
{
    struct raft_status status;
    raft_get_status(pd->group->raft, &status);
    uint64_t successor = pd_members_successor(&status, 0);
    enum err code = successor ? raft_transfer(pd->group->raft, successor) : ERR_UNAVAILABLE;
    log_event(pd->env->log, LOG_WARN,
              "event=pd_steps_aside term=%llu to=%llu stuck_ms=%llu code=%s msg=\"what is decided is not applied here\"",
              (unsigned long long)status.hard.term, (unsigned long long)successor,
              (unsigned long long)stuck_us / 1000, err_name(code));
}

void pd_health_tick(struct pd *pd, uint64_t now_us)
{
    uint64_t limit_us = pd->config->election_ticks * pd->config->tick_ms * 1000;
    uint64_t logs_us = waited_us(&pd->logs, now_us), applies_us = waited_us(&pd->applies, now_us);
    uint64_t stuck_us = logs_us > applies_us ? logs_us : applies_us;
    bool leads = raft_is_leader(pd->group->raft) && !raft_is_lone(pd->group->raft);
    if (!leads || stuck_us < limit_us || BUG(pd_stuck_leads)) {
        pd->muted = false;
        pd->aside_us = 0;
    } else if (pd->aside_us == 0) {
        pd->aside_us = now_us;
        step_aside(pd, stuck_us);
    } else if (!pd->muted && now_us >= pd->aside_us + limit_us) {
        pd->muted = true;
        log_event(pd->env->log, LOG_WARN, "event=pd_mute msg=\"nobody took over: silent, so that others elect\"");
    }
}
