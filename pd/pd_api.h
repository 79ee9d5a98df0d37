/* pd_api: what pd answers over HTTP, as a function of what it knows: (request) -> (status, type, body).
 *
 *   /livez /readyz /startupz /health /status /config /metrics     of this member; any member answers
 *   /pd/v1/...                                                     of the cluster; its leader answers (NotLeader otherwise)
 *
 * The routes and their fields are in docs/openapi.yaml, and a test compares. Reads may be as old as the last heartbeat.
 * Lists come in pages: `from` is a key, the answer's `next` is the `from` of the next page (absent: that was all), so that
 * the actor is never held up by a million regions.
 *
 * Owner: the pd actor; it fills the struct for each request. */
#ifndef PD_PD_API_H
#define PD_PD_API_H

#include "http/http_api.h"
#include "pd/cluster.h"
#include "pd/pd_config.h"
#include "pd/pd_fsm.h"
#include "pd/pd_sched.h"
#include "pd/pd_service.h"
#include "pd/tso.h"
#include "raft/raft.h"

enum {
    PD_API_LIMIT_DEFAULT = 100,
    PD_API_LIMIT_MAX = 1000,      /* regions in one answer */
    PD_API_WALK_MAX = 20 * 1000, /* regions looked at for one answer */
};


struct pd_api {
    const struct pd_config *config;
    const struct pd_fsm *fsm;
    const struct cluster *cluster;
    const struct tso *tso;
    struct pd_sched *sched;
    struct pd_service_counts counts;
    uint64_t http_requests;
    uint64_t now_us, wall_ms, started_us;
    bool leading;
    const char *leader_address; /* NULL: nobody is known to lead */
    enum err failure;
    raft_term term;
    raft_index committed_index;
    uint64_t log_size;
    uint64_t member_id;
    void (*status)(void *context, struct raft_status *ret_status); /* of pd's own group; NULL: not a member yet */
    void *context;
    bool wants_leader;     /* out: only who leads can answer this */
    struct frame *forward; /* out: pd_service answers this one, and pd_api_reply says it; NULL: it was answered here */
    raft_index wait_index; /* out: the answer may leave once this is applied; 0: at once */
};

void pd_api_handle(struct pd_api *api, const struct api_request *request, struct api_answer *answer);
void pd_api_reply(const struct wire_pd_reply *reply, struct api_answer *answer);
/* For the test of docs/openapi.yaml. */
const struct api_route *pd_api_routes(size_t *ret_count);

/* ---- parts of it, in files of their own */
void pd_api_metrics(struct api_call *call);
void pd_api_regions(struct api_call *call);
void pd_api_region(struct api_call *call);
void pd_api_region_of_key(struct api_call *call);
void pd_api_holes(struct api_call *call);
cJSON *pd_api_region_json(const struct pd_api *api, const struct region_node *node);
/* What people ask for: pd_api_people.c */
void pd_api_store_verb(struct api_call *call);
void pd_api_store_remove(struct api_call *call);
void pd_api_region_verb(struct api_call *call);
void pd_api_region_cancel(struct api_call *call);
void pd_api_scatter(struct api_call *call);
void pd_api_set_config(struct api_call *call);
void pd_api_scheduler_switch(struct api_call *call);
void pd_api_scheduler_pause(struct api_call *call);
void pd_api_put_rule(struct api_call *call);
void pd_api_remove_rule(struct api_call *call);
void pd_api_balance_now(struct api_call *call);
/* Unsafe recovery: pd_api_recovery.c */
void pd_api_recovery_report(struct api_call *call);
void pd_api_recovery_plan(struct api_call *call);
void pd_api_recovery_apply(struct api_call *call);
/* Members of pd: pd_api_members.c */
void pd_api_members(struct api_call *call);
void pd_api_member_add(struct api_call *call);
void pd_api_member_remove(struct api_call *call);
void pd_api_member_lead(struct api_call *call);
/* What pd thinks: pd_api_why.c */
void pd_api_operators(struct api_call *call);
void pd_api_operator(struct api_call *call);
void pd_api_history(struct api_call *call);
void pd_api_schedulers(struct api_call *call);
void pd_api_rules(struct api_call *call);
void pd_api_hot(struct api_call *call);
void pd_api_balance(struct api_call *call);
void pd_api_why_region(struct api_call *call);
void pd_api_why_store(struct api_call *call);
void pd_api_put_wishes(cJSON *json, const struct pd_api *api, store_id id);

/* How bad it is, in one word, and why. */
const char *pd_api_health(const struct pd_api *api, char *reason, size_t size);
/* False: this member does not lead, and has answered so. */
bool pd_api_leads(struct api_call *call);
/* What was wanted is proposed at `index`, and the answer waits for it; 0: there was nothing to change. */
void pd_api_answer_change(struct api_call *call, raft_index index);

#endif
