/* pd_api_members: members of pd over HTTP. Changes are requests like those of clients: pd_service answers them. */
#include <string.h>

#include "base/check.h"
#include "pd/pd_api.h"
#include "pd/pd_members.h"
#include "rpc/frame_kind.h"

static struct pd_api *api_of(const struct api_call *call)
{
    return call->context;
}

/* ---- what there is */

static const struct raft_peer_status *peer_of(const struct raft_status *status, uint64_t id)
{
    for (uint32_t i = 0; i < status->peer_count; i++)
        if (status->peers[i].id == id)
            return &status->peers[i];
    return NULL;
}

static cJSON *member_json(const struct pd_api *api, const struct pd_member *member, const struct raft_status *status)
{
    const struct raft_peer_status *peer = peer_of(status, member->id);
    bool self = member->id == api->member_id;
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "id", member->id);
    api_put_text(json, "name", member->name);
    api_put_text(json, "address", pd_members_address(api->config, member));
    api_put_text(json, "status_address", self && api->config->status_address ? api->config->status_address : "");
    cJSON_AddBoolToObject(json, "leader", self); /* only the leader answers */
    cJSON_AddBoolToObject(json, "learner", member->learner);
    cJSON_AddBoolToObject(json, "active", self || (peer && peer->recent_active));
    api_put_u64(json, "lags_by", peer && peer->match < status->last && !self ? status->last - peer->match : 0);
    return json;
}

void pd_api_members(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    struct raft_status status = {0};
    if (!pd_api_leads(call))
        return;
    if (api->status)
        api->status(api->context, &status);
    cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "members");
    for (uint32_t i = 0; i < pd_fsm_member_count(api->fsm); i++)
        cJSON_AddItemToArray(list, member_json(api, pd_fsm_member_at(api->fsm, i), &status));
    api_json(call, json);
}

/* ---- changes */

static void forward(struct api_call *call, enum wire_pd_op op, const struct wire_pd_member *member)
{
    struct pd_api *api = api_of(call);
    struct wire_pd_member copy = *member;
    const struct wire_pd_request request = {
        .id = 1, .op = (uint8_t)op, .cluster_id = pd_fsm_cluster_id(api->fsm), .member = &copy};
    api->forward = wire_frame_pd_request(FRAME_PD_REQUEST, &request);
    if (api->forward)
        call->answer->status = 200; /* pd_api_reply says what becomes of it */
    else
        api_error(call, ERR_ENTRY_TOO_LARGE, "say it shorter", "the request is too large");
}

static bool is_plain(const char *text)
{
    const char *at = text;
    while (*at > ' ' && *at < 0x7f)
        at++;
    return *at == '\0' && at != text;
}

void pd_api_member_add(struct api_call *call)
{
    const char *name = "", *address = "";
    if (!pd_api_leads(call) || !api_body_only(call, "name address") || !api_body_text(call, "name", true, &name) ||
        !api_body_text(call, "address", true, &address))
        return;
    const struct wire_pd_member member = {.name = bytes_of_string(name), .address = bytes_of_string(address)};
    if (is_plain(name) && is_plain(address))
        forward(call, WIRE_PD_OP_ADD_MEMBER, &member);
    else
        api_error(call, ERR_INVALID, "letters, digits and signs", "name or address is empty or no plain text");
}

void pd_api_member_remove(struct api_call *call)
{
    struct wire_pd_member member = {0};
    if (pd_api_leads(call) && api_body_only(call, "") && api_word_id(call, 0, "member", &member.id))
        forward(call, WIRE_PD_OP_REMOVE_MEMBER, &member);
}

void pd_api_member_lead(struct api_call *call)
{
    struct wire_pd_member member = {0};
    if (pd_api_leads(call) && api_body_only(call, "") && api_word_id(call, 0, "member", &member.id))
        forward(call, WIRE_PD_OP_TRANSFER_LEADER, &member);
}

void pd_api_reply(const struct wire_pd_reply *reply, struct api_answer *answer)
{
    struct api_call call = {.answer = answer};
    answer->status = 0;
    if (reply->code != ERR_OK) {
        api_error(&call, (enum err)reply->code, "pd-ctl member list names them", "%.*s", (int)reply->text.size,
                  reply->text.size ? (const char *)reply->text.data : "");
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddBoolToObject(json, "changed", true);
    if (reply->member_id != 0)
        api_put_u64(json, "member", reply->member_id);
    api_json(&call, json);
}
