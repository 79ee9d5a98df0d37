#include "raft/membership.h"

#include "base/buf.h"
#include "base/check.h"

enum { FRESH = 0x80, ALL_ROLES = RAFT_VOTER | RAFT_OUTGOING | RAFT_LEARNER | RAFT_LEARNER_NEXT, CHANGE_VERSION = 1 };

/* Where `id` is, or where it belongs. */
static uint32_t place_of(const struct raft_conf *conf, peer_id id)
{
    uint32_t place = 0;
    while (place < conf->count && conf->members[place].id < id)
        place++;
    return place;
}

const struct raft_member *raft_conf_member(const struct raft_conf *conf, peer_id id)
{
    uint32_t place = place_of(conf, id);
    return place < conf->count && conf->members[place].id == id ? &conf->members[place] : NULL;
}

static struct raft_member *find(struct raft_conf *conf, peer_id id)
{
    uint32_t place = place_of(conf, id);
    return place < conf->count && conf->members[place].id == id ? &conf->members[place] : NULL;
}

enum err raft_conf_add(struct raft_conf *conf, peer_id id, uint8_t roles)
{
    struct raft_member *member = find(conf, id);
    if (member) {
        member->roles |= roles;
        return ERR_OK;
    }
    if (id == 0 || conf->count >= RAFT_MEMBER_COUNT_MAX)
        return ERR_INVALID;
    uint32_t place = place_of(conf, id);
    memmove(&conf->members[place + 1], &conf->members[place], (conf->count - place) * sizeof(conf->members[0]));
    conf->members[place] = (struct raft_member){.id = id, .roles = roles};
    conf->count++;
    return ERR_OK;
}

static void drop(struct raft_conf *conf, peer_id id)
{
    uint32_t place = place_of(conf, id);
    conf->count--;
    memmove(&conf->members[place], &conf->members[place + 1], (conf->count - place) * sizeof(conf->members[0]));
}

static uint32_t count_role(const struct raft_conf *conf, uint8_t role)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < conf->count; i++)
        count += (conf->members[i].roles & role) != 0;
    return count;
}

bool raft_conf_is_joint(const struct raft_conf *conf)
{
    return count_role(conf, RAFT_OUTGOING) > 0;
}

static bool roles_are_possible(uint8_t roles)
{
    if (roles == 0 || (roles & ~ALL_ROLES))
        return false;
    if (roles & RAFT_LEARNER)
        return roles == RAFT_LEARNER;
    if (roles & RAFT_LEARNER_NEXT)
        return roles == (RAFT_LEARNER_NEXT | RAFT_OUTGOING);
    return true;
}

enum err raft_conf_check(const struct raft_conf *conf)
{
    if (conf->count > RAFT_MEMBER_COUNT_MAX || count_role(conf, RAFT_VOTER) == 0)
        return ERR_INVALID;
    for (uint32_t i = 0; i < conf->count; i++) {
        const struct raft_member *member = &conf->members[i];
        if (member->id == 0 || !roles_are_possible(member->roles) || (i > 0 && member[-1].id >= member->id))
            return ERR_INVALID;
    }
    return conf->auto_leave && !raft_conf_is_joint(conf) ? ERR_INVALID : ERR_OK;
}

/* ---- one change ---- */

static const char *make_voter(struct raft_conf *conf, peer_id id)
{
    struct raft_member *member = find(conf, id);
    if (member) {
        member->roles = (uint8_t)((member->roles & ~(RAFT_LEARNER | RAFT_LEARNER_NEXT)) | RAFT_VOTER);
        return NULL;
    }
    return raft_conf_add(conf, id, RAFT_VOTER | FRESH) == ERR_OK ? NULL : "too many members";
}

/* Who still votes in the outgoing half may not be a learner yet: it waits in LEARNER_NEXT until that half is left. */
static const char *make_learner(struct raft_conf *conf, peer_id id)
{
    struct raft_member *member = find(conf, id);
    if (!member)
        return raft_conf_add(conf, id, RAFT_LEARNER | FRESH) == ERR_OK ? NULL : "too many members";
    if (member->roles & RAFT_LEARNER)
        return NULL;
    member->roles = (uint8_t)(member->roles & ~(RAFT_VOTER | RAFT_LEARNER_NEXT));
    member->roles |= member->roles & RAFT_OUTGOING ? RAFT_LEARNER_NEXT : RAFT_LEARNER;
    return NULL;
}

static void remove_member(struct raft_conf *conf, peer_id id)
{
    struct raft_member *member = find(conf, id);
    if (!member)
        return;
    member->roles = (uint8_t)(member->roles & ~(RAFT_VOTER | RAFT_LEARNER | RAFT_LEARNER_NEXT));
    if (!(member->roles & RAFT_OUTGOING))
        drop(conf, id);
}

static const char *apply_changes(struct raft_conf *conf, const struct raft_conf_change *change)
{
    for (uint32_t i = 0; i < change->count; i++) {
        peer_id id = change->changes[i].id;
        const char *why = NULL;
        if (id == 0)
            continue; /* a change that the layer above struck out */
        switch (change->changes[i].kind) {
        case RAFT_CHANGE_ADD_VOTER:
            why = make_voter(conf, id);
            break;
        case RAFT_CHANGE_ADD_LEARNER:
            why = make_learner(conf, id);
            break;
        case RAFT_CHANGE_REMOVE:
            remove_member(conf, id);
            break;
        case RAFT_CHANGE_UPDATE:
            break;
        default:
            why = "unknown kind of change";
        }
        if (why)
            return why;
    }
    return count_role(conf, RAFT_VOTER) ? NULL : "removed all voters";
}

static uint32_t take_fresh(struct raft_conf *conf)
{
    uint32_t fresh = 0;
    for (uint32_t i = 0; i < conf->count; i++) {
        if (conf->members[i].roles & FRESH)
            fresh |= UINT32_C(1) << i;
        conf->members[i].roles = (uint8_t)(conf->members[i].roles & ~FRESH);
    }
    return fresh;
}

static const char *finish(struct raft_conf *result, struct raft_conf *ret_conf, uint32_t *ret_fresh)
{
    uint32_t fresh = take_fresh(result);
    CHECK(raft_conf_check(result) == ERR_OK);
    *ret_conf = *result;
    if (ret_fresh)
        *ret_fresh = fresh;
    return NULL;
}

/* ---- whole changes ---- */

static uint32_t voters_that_differ(const struct raft_conf *a, const struct raft_conf *b)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct raft_member *other = raft_conf_member(b, a->members[i].id);
        count += (a->members[i].roles & RAFT_VOTER) && !(other && other->roles & RAFT_VOTER);
    }
    return count;
}

const char *membership_simple(const struct raft_conf *conf, const struct raft_conf_change *change,
                              struct raft_conf *ret_conf, uint32_t *ret_fresh)
{
    if (raft_conf_is_joint(conf))
        return "can't apply simple config change in joint config";
    struct raft_conf result = *conf;
    const char *why = apply_changes(&result, change);
    if (why)
        return why;
    if (voters_that_differ(conf, &result) + voters_that_differ(&result, conf) > 1)
        return "more than one voter changed without entering joint config";
    return finish(&result, ret_conf, ret_fresh);
}

const char *membership_enter_joint(const struct raft_conf *conf, const struct raft_conf_change *change, bool auto_leave,
                                   struct raft_conf *ret_conf, uint32_t *ret_fresh)
{
    if (raft_conf_is_joint(conf))
        return "config is already joint";
    if (count_role(conf, RAFT_VOTER) == 0)
        return "can't make a zero-voter config joint";
    struct raft_conf result = *conf;
    for (uint32_t i = 0; i < result.count; i++) {
        if (result.members[i].roles & RAFT_VOTER)
            result.members[i].roles |= RAFT_OUTGOING;
    }
    const char *why = apply_changes(&result, change);
    if (why)
        return why;
    result.auto_leave = auto_leave;
    return finish(&result, ret_conf, ret_fresh);
}

const char *membership_leave_joint(const struct raft_conf *conf, struct raft_conf *ret_conf)
{
    if (!raft_conf_is_joint(conf))
        return "can't leave a non-joint config";
    struct raft_conf result = {.auto_leave = false};
    for (uint32_t i = 0; i < conf->count; i++) {
        struct raft_member member = conf->members[i];
        if (member.roles & RAFT_LEARNER_NEXT)
            member.roles = RAFT_LEARNER;
        member.roles = (uint8_t)(member.roles & ~RAFT_OUTGOING);
        if (member.roles)
            result.members[result.count++] = member;
    }
    return finish(&result, ret_conf, NULL);
}

bool membership_change_leaves(const struct raft_conf_change *change)
{
    return change->count == 0 && change->transition == RAFT_TRANSITION_AUTO;
}

const char *membership_apply(const struct raft_conf *conf, const struct raft_conf_change *change,
                             struct raft_conf *ret_conf, uint32_t *ret_fresh)
{
    if (membership_change_leaves(change)) {
        if (ret_fresh)
            *ret_fresh = 0;
        return membership_leave_joint(conf, ret_conf);
    }
    if (change->transition != RAFT_TRANSITION_AUTO || change->count > 1)
        return membership_enter_joint(conf, change, change->transition != RAFT_TRANSITION_EXPLICIT, ret_conf,
                                      ret_fresh);
    return membership_simple(conf, change, ret_conf, ret_fresh);
}

enum err raft_conf_apply(const struct raft_conf *conf, const struct raft_conf_change *change,
                         struct raft_conf *ret_conf)
{
    return membership_apply(conf, change, ret_conf, NULL) ? ERR_INVALID : ERR_OK;
}

/* ---- encoding ---- */

size_t membership_encoded_size(const struct raft_conf_change *change)
{
    if (membership_change_leaves(change) && change->context.size == 0)
        return 0;
    return MEMBERSHIP_HEADER_SIZE + change->count * (size_t)MEMBERSHIP_CHANGE_SIZE + change->context.size;
}

void membership_encode(const struct raft_conf_change *change, uint8_t *ret_data)
{
    if (membership_encoded_size(change) == 0)
        return;
    uint8_t *at = ret_data;
    *at++ = CHANGE_VERSION;
    *at++ = change->transition;
    *at++ = change->count;
    for (uint32_t i = 0; i < change->count; i++, at += MEMBERSHIP_CHANGE_SIZE) {
        at[0] = change->changes[i].kind;
        store_u64_be(at + 1, change->changes[i].id);
    }
    if (change->context.size)
        memcpy(at, change->context.data, change->context.size);
}

enum err raft_conf_change_decode(const struct raft_entry *entry, struct raft_conf_change *ret_change)
{
    struct raft_conf_change change = {.entry_kind = entry->kind};
    if (entry->kind != RAFT_ENTRY_CONF_CHANGE && entry->kind != RAFT_ENTRY_CONF_CHANGE_V2)
        return ERR_INVALID;
    if (entry->data.size > 0) {
        const uint8_t *data = entry->data.data;
        if (entry->data.size < MEMBERSHIP_HEADER_SIZE || data[0] != CHANGE_VERSION ||
            data[1] > RAFT_TRANSITION_EXPLICIT || data[2] > RAFT_CHANGE_COUNT_MAX)
            return ERR_INVALID;
        change.transition = data[1];
        change.count = data[2];
        size_t size = MEMBERSHIP_HEADER_SIZE + change.count * (size_t)MEMBERSHIP_CHANGE_SIZE;
        if (entry->data.size < size)
            return ERR_INVALID;
        for (uint32_t i = 0; i < change.count; i++) {
            const uint8_t *at = data + MEMBERSHIP_HEADER_SIZE + i * (size_t)MEMBERSHIP_CHANGE_SIZE;
            if (at[0] > RAFT_CHANGE_ADD_LEARNER)
                return ERR_INVALID;
            change.changes[i].kind = at[0];
            change.changes[i].id = load_u64_be(at + 1);
        }
        change.context = bytes_of(data + size, entry->data.size - size);
    }
    if (entry->kind == RAFT_ENTRY_CONF_CHANGE && (change.count != 1 || change.transition != RAFT_TRANSITION_AUTO))
        return ERR_INVALID;
    *ret_change = change;
    return ERR_OK;
}
