/* pd_jobs: what may wait for the disk is done here, so that pd's actor never does.
 *
 * Owner: an actor of its own. A job belongs to who posts it, then to the worker while it runs, then to pd's actor again. */
#ifndef PD_PD_JOBS_H
#define PD_PD_JOBS_H

#include "env/env.h"
#include "env/executor.h"

struct pd_job {
    struct message message; /* first; free: drops it, wherever it is */
    void (*run)(struct pd_job *job, struct env *env);
    void (*done)(void *context, struct pd_job *take_job); /* on the actor that it came from; what it needs is in `context` */
};

struct pd_jobs;

/* Jobs come back to `owner` as messages of `done_kind`, in order. */
enum err pd_jobs_new(struct env *env, struct actor *owner, uint32_t done_kind, struct pd_jobs **ret_jobs);
void pd_jobs_free(struct pd_jobs *jobs); /* after the executor has stopped; NULL is fine */
/* Never refused: there is a bounded number of jobs. */
void pd_jobs_post(struct pd_jobs *jobs, struct pd_job *take_job);

#endif
