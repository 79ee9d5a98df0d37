#include "pd/pd_jobs.h"

#include <stdlib.h>

#include "base/check.h"

struct pd_jobs {
    struct env *env;
    struct actor *actor, *owner;
    uint32_t done_kind;
};

static void on_message(void *state, struct message *take_message)
{
    struct pd_jobs *jobs = state;
    struct pd_job *job = (struct pd_job *)take_message;
    job->run(job, jobs->env);
    job->message.kind = jobs->done_kind;
    actor_post_must(jobs->env->executor, jobs->owner, &job->message);
}

enum err pd_jobs_new(struct env *env, struct actor *owner, uint32_t done_kind, struct pd_jobs **ret_jobs)
{
    static const struct actor_ops ops = {.on_message = on_message};
    struct pd_jobs *jobs = calloc(1, sizeof *jobs);
    CHECK(jobs);
    *jobs = (struct pd_jobs){.env = env, .owner = owner, .done_kind = done_kind};
    enum err code = executor_spawn(env->executor, "pd-jobs", &ops, jobs, UINT32_MAX, &jobs->actor);
    if (code != ERR_OK) {
        free(jobs);
        return code;
    }
    *ret_jobs = jobs;
    return ERR_OK;
}

void pd_jobs_free(struct pd_jobs *jobs)
{
    free(jobs);
}

void pd_jobs_post(struct pd_jobs *jobs, struct pd_job *take_job)
{
    take_job->message.kind = 0;
    actor_post_must(jobs->env->executor, jobs->actor, &take_job->message);
}
