#include "pd/pd_members.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

enum { PROMOTE_LAG_MAX = 64 /* entries */ };

bool pd_members_split(const char *text, struct bytes *ret_name, struct bytes *ret_address)
{
    const char *sign = strchr(text, '=');
    if (!sign || sign == text || sign[1] == '\0')
        return false;
    *ret_name = bytes_of(text, (size_t)(sign - text));
    *ret_address = bytes_of_string(sign + 1);
    return true;
}

static int compare_names(const void *left, const void *right)
{
    return bytes_compare(((const struct wire_pd_member *)left)->name, ((const struct wire_pd_member *)right)->name);
}

uint32_t pd_members_found(const struct pd_config *config, struct wire_pd_member ret_founders[static PD_CONFIG_FOUNDERS_MAX])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->initial_cluster_count; i++) {
        struct wire_pd_member *member = &ret_founders[count++];
        *member = (struct wire_pd_member){0};
        CHECK(pd_members_split(config->initial_cluster[i], &member->name, &member->address));
    }
    if (count == 0)
        ret_founders[count++] = (struct wire_pd_member){
            .name = bytes_of_string(config->name),
            .address = bytes_of_string(config->advertise_address ? config->advertise_address : config->address)};
    qsort(ret_founders, count, sizeof *ret_founders, compare_names);
    for (uint32_t i = 0; i < count; i++)
        ret_founders[i].id = i + 1;
    return count;
}

uint64_t pd_members_own_id(const struct pd_config *config)
{
    struct wire_pd_member founders[PD_CONFIG_FOUNDERS_MAX];
    uint32_t count = pd_members_found(config, founders);
    for (uint32_t i = 0; i < count; i++)
        if (bytes_equal(founders[i].name, bytes_of_string(config->name)))
            return founders[i].id;
    return 0;
}

const char *pd_members_address(const struct pd_config *config, const struct pd_member *member)
{
    for (uint32_t i = 0; i < config->initial_cluster_count; i++) {
        struct bytes name, address;
        if (pd_members_split(config->initial_cluster[i], &name, &address) &&
            bytes_equal(name, bytes_of_string(member->name)))
            return (const char *)address.data;
    }
    if (config->advertise_address && strcmp(member->name, config->name) == 0)
        return config->advertise_address;
    return member->address;
}

static bool text_is_printable(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f)
            return false;
    return text.size > 0 && text.size <= PD_FSM_TEXT_SIZE_MAX;
}

enum err pd_members_check_add(const struct pd_fsm *fsm, const struct wire_pd_member *member, struct error *err)
{
    if (!member || !text_is_printable(member->name) || !text_is_printable(member->address))
        return error_set(err, ERR_INVALID, "a new member needs a name and an address, plain text of at most %d bytes",
                         PD_FSM_TEXT_SIZE_MAX);
    for (uint32_t i = 0; i < pd_fsm_member_count(fsm); i++) {
        const struct pd_member *other = pd_fsm_member_at(fsm, i);
        bool name = bytes_equal(bytes_of_string(other->name), member->name);
        if (name || bytes_equal(bytes_of_string(other->address), member->address))
            return error_set(err, ERR_EXISTS, "%s %s is that of member %llu; remove it first",
                             name ? "name" : "address", name ? other->name : other->address,
                             (unsigned long long)other->id);
    }
    if (pd_fsm_member_count(fsm) >= PD_MEMBERS_MAX)
        return error_set(err, ERR_INVALID, "pd has %d members already; remove one first", PD_MEMBERS_MAX);
    return ERR_OK;
}

enum err pd_members_check_remove(const struct pd_fsm *fsm, const struct raft_status *status, uint64_t id,
                                 struct error *err)
{
    const struct pd_member *member = pd_fsm_find_member(fsm, id);
    uint32_t voters = 0, alive = 0;
    if (!member)
        return error_set(err, ERR_NOT_FOUND, "pd has no member %llu", (unsigned long long)id);
    if (member->learner)
        return ERR_OK;
    for (uint32_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *peer = &status->peers[i];
        if (peer->id == id || !(peer->roles & RAFT_VOTER))
            continue;
        voters++;
        alive += peer->id == status->id || peer->recent_active;
    }
    if (voters == 0)
        return error_set(err, ERR_INVALID, "member %llu (%s) is the last that votes; a cluster needs one",
                         (unsigned long long)id, member->name);
    if (alive < voters / 2 + 1)
        return error_set(err, ERR_INVALID,
                         "without member %llu (%s) %u voters are left, of which %u can be heard: no majority",
                         (unsigned long long)id, member->name, voters, alive);
    return ERR_OK;
}

uint64_t pd_members_successor(const struct raft_status *status, uint64_t wanted)
{
    const struct raft_peer_status *best = NULL;
    for (uint32_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *peer = &status->peers[i];
        if (peer->id == status->id || !(peer->roles & RAFT_VOTER) || !peer->recent_active ||
            (wanted != 0 && peer->id != wanted))
            continue;
        if (!best || peer->match > best->match)
            best = peer;
    }
    return best ? best->id : 0;
}

uint64_t pd_members_promotable(const struct raft_status *status)
{
    for (uint32_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *peer = &status->peers[i];
        if ((peer->roles & RAFT_LEARNER) && peer->recent_active && peer->state == RAFT_REPLICATE &&
            peer->match + PROMOTE_LAG_MAX >= status->last)
            return peer->id;
    }
    return 0;
}
