#include "peer_conf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "storenode/pd_link.h"
#include "storenode/peer.h"
#include "storenode/region_worker.h"
#include "storenode/store_pairs.h"

enum { CAUGHT_UP_COUNT = 64, WAIT_MS = 50, TEXT_SIZE = 160 };

#define ULL(value) ((unsigned long long)(value))

/* What a request comes to, or why it does not. */
struct plan {
    struct raft_conf_change change;
    struct raft_conf conf; /* in the end: after a joint configuration was left */
    struct wire_peer added[RAFT_CHANGE_COUNT_MAX];
    uint32_t added_count;
    uint64_t next_id;
    struct raft_status status;
    char why[TEXT_SIZE];
};

static enum err say(struct plan *plan, enum err code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static enum err say(struct plan *plan, enum err code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(plan->why, sizeof plan->why, format, args);
    va_end(args);
    return code;
}

/* ---- one change */

static const struct raft_peer_status *status_of(const struct plan *plan, peer_id id)
{
    for (uint32_t i = 0; i < plan->status.peer_count; i++)
        if (plan->status.peers[i].id == id)
            return &plan->status.peers[i];
    return NULL;
}

static bool lives(const struct peer *peer, const struct plan *plan, const struct region_peer *member)
{
    const struct raft_peer_status *status = status_of(plan, member->id);
    return member->id == peer->id || (status && status->recent_active) ||
           store_pairs_is_live(region_worker_pairs(peer->worker), member->store_id);
}

/* It is there, and follows: that its store lives says nothing of a peer that was never made there. */
static bool follows(const struct peer *peer, const struct plan *plan, const struct region_peer *member)
{
    const struct raft_peer_status *status = status_of(plan, member->id);
    return member->id == peer->id || (lives(peer, plan, member) && status && status->state == RAFT_REPLICATE);
}

/* Close enough that the rest of the log is soon there, while nothing waits for it. */
static enum err check_caught_up(struct plan *plan, const struct region_peer *member)
{
    const struct raft_peer_status *status = status_of(plan, member->id);
    raft_index behind = status ? plan->status.last - status->match : plan->status.last;
    if (status && ((status->state == RAFT_REPLICATE && behind <= CAUGHT_UP_COUNT) || BUG(promotes_what_lags)))
        return ERR_OK;
    return say(plan, ERR_NOT_READY, "the learner on store %llu is %llu entries behind", ULL(member->store_id),
               ULL(behind));
}

static enum err plan_add(struct peer *peer, struct plan *plan, const struct wire_peer_change *wish,
                         const struct region_peer *member, peer_id *ret_id)
{
    if (member)
        return say(plan, ERR_EXISTS, "region %llu has a peer on store %llu", ULL(peer->region_id), ULL(wish->store_id));
    if (!region_worker_knows_store(peer->worker, wish->store_id))
        return say(plan, ERR_NOT_FOUND, "there is no store %llu", ULL(wish->store_id));
    peer_id id = wish->peer_id ? wish->peer_id : plan->next_id++;
    if (region_peer_by_id(peer->region, id))
        return say(plan, ERR_EXISTS, "region %llu has a peer %llu", ULL(peer->region_id), ULL(id));
    plan->added[plan->added_count++] =
        (struct wire_peer){.id = id, .store_id = wish->store_id, .role = WIRE_PEER_ROLE_LEARNER};
    *ret_id = id;
    return ERR_OK;
}

static enum err plan_one(struct peer *peer, struct plan *plan, const struct wire_peer_change *wish)
{
    static const uint8_t kinds[] = {[WIRE_PEER_CHANGE_KIND_ADD_LEARNER] = RAFT_CHANGE_ADD_LEARNER,
                                    [WIRE_PEER_CHANGE_KIND_PROMOTE] = RAFT_CHANGE_ADD_VOTER,
                                    [WIRE_PEER_CHANGE_KIND_DEMOTE] = RAFT_CHANGE_ADD_LEARNER,
                                    [WIRE_PEER_CHANGE_KIND_REMOVE] = RAFT_CHANGE_REMOVE};
    const struct region_peer *member = region_peer_on_store(peer->region, wish->store_id);
    bool learner = member && member->role == WIRE_PEER_ROLE_LEARNER;
    peer_id id = member ? member->id : 0;
    enum err code = ERR_OK;
    if (wish->kind == WIRE_PEER_CHANGE_KIND_NONE || wish->kind >= sizeof kinds)
        return say(plan, ERR_INVALID, "a change of an unknown kind");
    if (wish->kind == WIRE_PEER_CHANGE_KIND_ADD_LEARNER)
        code = plan_add(peer, plan, wish, member, &id);
    else if (!member)
        code = say(plan, ERR_NOT_FOUND, "region %llu has no peer on store %llu", ULL(peer->region_id),
                   ULL(wish->store_id));
    else if (wish->kind == WIRE_PEER_CHANGE_KIND_PROMOTE)
        code = learner ? check_caught_up(plan, member)
                       : say(plan, ERR_EXISTS, "the peer on store %llu is a voter", ULL(wish->store_id));
    else if (wish->kind == WIRE_PEER_CHANGE_KIND_DEMOTE && learner)
        code = say(plan, ERR_EXISTS, "the peer on store %llu is a learner", ULL(wish->store_id));
    for (uint32_t i = 0; i < plan->change.count && code == ERR_OK; i++)
        if (plan->change.changes[i].id == id)
            code = say(plan, ERR_INVALID, "two changes of the peer on store %llu", ULL(wish->store_id));
    if (code != ERR_OK)
        return code;
    plan->change.changes[plan->change.count].kind = kinds[wish->kind];
    plan->change.changes[plan->change.count++].id = id;
    return ERR_OK;
}

/* ---- all of them */

static enum err find_result(const struct raft_conf *now, struct plan *plan)
{
    struct raft_conf_change leave = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2};
    struct raft_conf joint;
    enum err code = raft_conf_apply(now, &plan->change, &joint);
    if (code != ERR_OK)
        return say(plan, ERR_INVALID, "no voter would be left, or too many members");
    if (!raft_conf_is_joint(&joint)) {
        plan->conf = joint;
        return ERR_OK;
    }
    return raft_conf_apply(&joint, &leave, &plan->conf);
}

static bool will_vote(const struct plan *plan, peer_id id)
{
    const struct raft_member *member = raft_conf_member(&plan->conf, id);
    return member && member->roles & RAFT_VOTER;
}

/* Of those that vote in the end, more than half are there now. */
static enum err check_quorum(const struct peer *peer, struct plan *plan)
{
    uint32_t voters = 0, live = 0;
    for (uint32_t i = 0; i < peer->region->peer_count; i++) {
        const struct region_peer *member = &peer->region->peers[i];
        if (!will_vote(plan, member->id))
            continue;
        voters++;
        live += follows(peer, plan, member);
    }
    if (live > voters / 2)
        return ERR_OK;
    return say(plan, ERR_NOT_READY, "of %u voters that would be left only %u follow the leader now", voters, live);
}

/* 0: none. */
static peer_id successor(const struct peer *peer, const struct plan *plan)
{
    const struct raft_peer_status *best = NULL;
    for (uint32_t i = 0; i < plan->status.peer_count; i++) {
        const struct raft_peer_status *other = &plan->status.peers[i];
        const struct region_peer *member = region_peer_by_id(peer->region, other->id);
        if (other->id != peer->id && other->roles == RAFT_VOTER && will_vote(plan, other->id) &&
            other->state == RAFT_REPLICATE && member && lives(peer, plan, member) &&
            (!best || other->match > best->match))
            best = other;
    }
    return best ? best->id : 0;
}

/* If nobody who stays can lead now, the leader goes on until the step is done, and the others elect one then. */
static enum err move_away(struct peer *peer, struct plan *plan)
{
    peer_id to = successor(peer, plan);
    if (will_vote(plan, peer->id) || to == 0)
        return ERR_OK;
    enum err code = plan->status.transfer_to ? ERR_OK : raft_transfer(peer->group->raft, to);
    region_worker_touch(peer->worker, peer);
    return code == ERR_OK ? say(plan, ERR_NOT_READY, "the leader on it goes first") : code;
}

static enum err make_plan(struct peer *peer, const struct conf_ask *ask, struct plan *plan)
{
    struct raft *raft = peer->group->raft;
    *plan = (struct plan){.change = {.entry_kind = RAFT_ENTRY_CONF_CHANGE_V2}, .next_id = ask->ids.first_id};
    if (!raft_is_leader(raft))
        return ERR_NOT_LEADER;
    if (ask->guard_conf != 0 && ask->guard_conf != peer->region->epoch_conf)
        return say(plan, ERR_CONDITION_FAILED, "the members are those of epoch %llu by now",
                   ULL(peer->region->epoch_conf));
    if (peer->snapshot.damaged) /* the rest may be all that there is */
        return say(plan, ERR_NOT_READY, "the replica of its leader is damaged");
    raft_get_status(raft, &plan->status);
    /* Who gets the entry of this change learns with it that all splits before it are committed, and applies them before
     * it goes: or a child would lie on too few stores to elect anybody. */
    if (peer->split.proposed != 0)
        return say(plan, ERR_BUSY, "a split is under way");
    if (raft_conf_is_joint(&plan->status.conf))
        return say(plan, ERR_BUSY, "a change of members is under way");
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < ask->count && code == ERR_OK; i++)
        code = plan_one(peer, plan, &ask->changes[i]);
    if (code == ERR_OK)
        code = find_result(&plan->status.conf, plan);
    if (code == ERR_OK)
        code = check_quorum(peer, plan);
    return code == ERR_OK ? move_away(peer, plan) : code;
}

static enum err propose(struct peer *peer, const struct conf_ask *ask, struct plan *plan)
{
    enum { CONTEXT_SIZE_MAX = 64 * 1024 };
    raft_index index = 0;
    raft_term term = 0;
    struct buf context;
    buf_init(&context, CONTEXT_SIZE_MAX);
    enum err code = region_conf_encode(peer->region, plan->added, plan->added_count, (struct region_epoch){0}, &context);
    plan->change.context = buf_bytes(&context);
    if (code == ERR_OK)
        code = raft_propose_conf(peer->group->raft, &plan->change, &index, &term);
    if (code == ERR_NOT_READY)
        code = say(plan, ERR_BUSY, "a change of members is under way");
    if (code == ERR_OK) {
        peer_add_proposal(peer, index, term, ask->owed ? &ask->to : NULL, context.size);
        log_event(region_worker_store(peer->worker)->env->log, LOG_INFO,
                  "event=members_proposed region=%llu index=%llu conf=%llu changes=%u", ULL(peer->region_id),
                  ULL(index), ULL(peer->region->epoch_conf), plan->change.count);
    }
    buf_fini(&context);
    return code;
}

static uint32_t ids_wanted(const struct conf_ask *ask)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < ask->count; i++)
        count += ask->changes[i].kind == WIRE_PEER_CHANGE_KIND_ADD_LEARNER && ask->changes[i].peer_id == 0;
    return count;
}

/* ---- the way of a request */

static void refuse(struct peer *peer, struct conf_ask *take_ask, enum err code, const char *why)
{
    bool later = err_action(code) == ERR_ACTION_BACKOFF;
    if (take_ask->owed)
        peer_refuse_because(peer, take_ask->to, code, later ? WAIT_MS : 0, why);
    message_free(&take_ask->ids.message);
}

void peer_conf_change(struct peer *peer, struct conf_ask *take_ask)
{
    struct plan plan;
    enum err code = make_plan(peer, take_ask, &plan);
    uint32_t count = ids_wanted(take_ask);
    if (code == ERR_OK && count > 0 && take_ask->ids.first_id == 0) {
        if (peer->conf.asked) {
            refuse(peer, take_ask, ERR_BUSY, "a change of members is under way");
            return;
        }
        peer->conf.asked = true;
        take_ask->guard_conf = peer->region->epoch_conf;
        take_ask->ids.count = count;
        take_ask->ids.done_kind = WORKER_CONF_IDS;
        take_ask->ids.since_us = region_worker_now_us(peer->worker);
        pd_link_ask_ids(region_worker_store(peer->worker)->pd_link, &take_ask->ids);
        return;
    }
    if (code == ERR_OK)
        code = propose(peer, take_ask, &plan);
    if (code == ERR_OK)
        message_free(&take_ask->ids.message);
    else
        refuse(peer, take_ask, code, plan.why);
    region_worker_touch(peer->worker, peer);
}

void peer_conf_ids(struct peer *peer, struct conf_ask *take_ask)
{
    peer->conf.asked = false;
    peer_wake(peer, WAKE_REQUEST);
    peer_sleep_note_work(peer);
    if (take_ask->ids.code == ERR_OK)
        peer_conf_change(peer, take_ask);
    else
        refuse(peer, take_ask, take_ask->ids.code, "pd gives no ids");
}

static void take_change(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    struct conf_ask *ask;
    enum err code = conf_ask_new(peer->region_id, request->changes, request->changes_count, &ask);
    if (code != ERR_OK) {
        peer_refuse_because(peer, to, code, 0, "no changes, or too many");
        return;
    }
    ask->guard_conf = request->guard_conf;
    ask->owed = true;
    ask->to = to;
    peer_conf_change(peer, ask);
}

static void take_transfer(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    store_id store = request->changes_count == 1 ? request->changes[0].store_id : 0;
    const struct region_peer *member = region_peer_on_store(peer->region, store);
    struct raft *raft = peer->group->raft;
    enum err code = ERR_OK;
    if (!member)
        code = ERR_NOT_FOUND;
    else if (member->id != peer->id && raft_leader(raft) != member->id)
        code = raft_transfer(raft, member->id);
    region_worker_touch(peer->worker, peer);
    if (code != ERR_OK) {
        peer_refuse_because(peer, to, code, 0, code == ERR_NOT_FOUND ? "no voter of the region is on that store" : NULL);
        return;
    }
    struct wire_kv_reply reply = {.leader_store = peer_leader_store(peer)};
    replies_add(region_worker_replies(peer->worker), to, &reply);
}

static void show(struct peer *peer, struct reply_to to)
{
    struct replies *replies = region_worker_replies(peer->worker);
    struct arena *arena = replies_arena(replies);
    const struct region *region = peer->region;
    struct plan plan = {0};
    raft_get_status(peer->group->raft, &plan.status);
    struct wire_kv_reply reply = {.leader_store = peer_leader_store(peer), .last_index = plan.status.last};
    region_split_tell(region, NULL, arena, &reply);
    reply.peers = arena_alloc(arena, region->peer_count * sizeof *reply.peers);
    reply.peers_count = region->peer_count;
    for (uint32_t i = 0; i < region->peer_count; i++) {
        const struct region_peer *member = &region->peers[i];
        const struct raft_peer_status *status = status_of(&plan, member->id);
        struct wire_peer *wire = arena_alloc(arena, sizeof *wire);
        *wire = (struct wire_peer){.id = member->id, .store_id = member->store_id, .role = member->role};
        bool own = member->id == peer->id;
        reply.peers[i] = (struct wire_peer_status){.peer = wire,
                                                   .leader = own,
                                                   .active = lives(peer, &plan, member),
                                                   .snapshot = status && status->state == RAFT_SNAPSHOTTING,
                                                   .match = own      ? plan.status.last
                                                            : status ? status->match
                                                                     : 0};
    }
    replies_add(replies, to, &reply);
}

void peer_conf_request(struct peer *peer, struct reply_to to, const struct wire_kv_request *request)
{
    if (!raft_is_leader(peer->group->raft))
        peer_refuse_because(peer, to, ERR_NOT_LEADER, 0, NULL);
    else if (request->op == WIRE_KV_OP_CHANGE_PEERS)
        take_change(peer, to, request);
    else if (request->op == WIRE_KV_OP_TRANSFER_LEADER)
        take_transfer(peer, to, request);
    else
        show(peer, to);
}

/* ---- what came of it */

static bool is_same(const struct raft_conf *a, const struct raft_conf *b)
{
    if (a->count != b->count || a->auto_leave != b->auto_leave)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (a->members[i].id != b->members[i].id || a->members[i].roles != b->members[i].roles)
            return false;
    return true;
}

static void log_change(const struct peer *peer, raft_index index)
{
    char members[512] = "";
    size_t at = 0;
    for (uint32_t i = 0; i < peer->region->peer_count && at < sizeof members - 48; i++) {
        static const char *const roles[] = {"", "(learner)", "(incoming)", "(outgoing)"};
        const struct region_peer *member = &peer->region->peers[i];
        at += (size_t)snprintf(members + at, sizeof members - at, "%s%llu@%llu%s", i ? "," : "", ULL(member->id),
                               ULL(member->store_id), member->role < 4 ? roles[member->role] : "");
    }
    log_event(region_worker_store(peer->worker)->env->log, LOG_INFO,
              "event=members_changed region=%llu peer=%llu conf=%llu index=%llu members=%s", ULL(peer->region_id),
              ULL(peer->id), ULL(peer->region->epoch_conf), ULL(index), members);
}

void peer_conf_applied(struct peer *peer, const struct raft_entry *entry, const struct region_conf *conf)
{
    struct raft_conf now;
    enum err code = raft_apply_conf(peer->group->raft, entry, &now);
    if (code != ERR_OK || !is_same(&now, &conf->conf)) {
        store_fail(region_worker_store(peer->worker), ERR_CORRUPT,
                   "a region's members are not those of its raft group");
        return;
    }
    struct region *before = peer->region;
    peer->region = region_copy(conf->region);
    peer->heartbeat_due = raft_is_leader(peer->group->raft);
    peer->split.announce |= raft_is_leader(peer->group->raft); /* without us they elect by the members they know of */
    peer_sleep_note_work(peer);
    region_worker_share(peer->worker, peer->region);
    log_change(peer, conf->index);
    region_free(before);
}
