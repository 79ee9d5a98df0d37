#include "region_conf.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"

static uint8_t role_of(uint8_t roles)
{
    if (roles & RAFT_OUTGOING)
        return roles & RAFT_VOTER ? WIRE_PEER_ROLE_VOTER : WIRE_PEER_ROLE_DEMOTING_VOTER;
    return roles & RAFT_VOTER ? WIRE_PEER_ROLE_VOTER : WIRE_PEER_ROLE_LEARNER;
}

bool region_is_joint(const struct region *region)
{
    for (uint32_t i = 0; i < region->peer_count; i++)
        if (region->peers[i].role == WIRE_PEER_ROLE_INCOMING_VOTER ||
            region->peers[i].role == WIRE_PEER_ROLE_DEMOTING_VOTER)
            return true;
    return false;
}

static store_id store_of(const struct region *region, const struct wire_log_command *command, peer_id id)
{
    const struct region_peer *known = region_peer_by_id(region, id);
    if (known)
        return known->store_id;
    for (uint32_t i = 0; i < command->peers_count; i++)
        if (command->peers[i].id == id)
            return command->peers[i].store_id;
    return 0;
}

/* C1. */
static enum err make_region(const struct region *region, const struct raft_conf *conf,
                            const struct wire_log_command *command, struct region **ret_region)
{
    struct wire_peer peers[RAFT_MEMBER_COUNT_MAX];
    struct arena arena;
    arena_init(&arena);
    bool joint = raft_conf_is_joint(conf);
    struct wire_region wire = region_to_wire(region, &arena);
    wire.peers = peers;
    wire.peers_count = conf->count;
    wire.epoch_conf += !BUG(conf_keeps_epoch);
    if (wire.epoch_conf < command->epoch_conf_next)
        wire.epoch_conf = command->epoch_conf_next;
    if (wire.epoch_version < command->epoch_version_next)
        wire.epoch_version = command->epoch_version_next;
    for (uint32_t i = 0; i < conf->count; i++) {
        uint8_t roles = conf->members[i].roles;
        peers[i] = (struct wire_peer){.id = conf->members[i].id, .role = role_of(roles)};
        if (joint && roles == RAFT_VOTER)
            peers[i].role = WIRE_PEER_ROLE_INCOMING_VOTER;
        peers[i].store_id = store_of(region, command, peers[i].id);
    }
    enum err code = region_from_wire(&wire, ret_region);
    arena_fini(&arena);
    return code;
}

static enum err read_context(const struct raft_conf_change *change, struct arena *arena,
                             struct wire_log_command *ret_command)
{
    *ret_command = (struct wire_log_command){0};
    if (change->count == 0)
        return ERR_OK;
    enum err code = wire_decode_log_command(change->context, arena, ret_command);
    return code == ERR_OK && ret_command->kind == WIRE_COMMAND_KIND_CONF ? ERR_OK : ERR_CORRUPT;
}

enum err region_conf_new(const struct region *region, const struct raft_conf *conf, const struct raft_entry *entry,
                         struct region_conf **ret_conf)
{
    struct raft_conf_change change;
    struct wire_log_command command;
    struct arena arena;
    if (raft_conf_change_decode(entry, &change) != ERR_OK)
        return ERR_CORRUPT;
    struct region_conf *result = calloc(1, sizeof *result);
    CHECK(result);
    result->index = entry->index;
    arena_init(&arena);
    enum err code = read_context(&change, &arena, &command);
    if (code == ERR_OK && ((change.count > 0 && command.epoch_conf != region->epoch_conf) || region_is_merging(region)))
        code = ERR_EPOCH_NOT_MATCH;
    if (code == ERR_OK)
        code = raft_conf_apply(conf, &change, &result->conf);
    if (code == ERR_OK)
        code = make_region(region, &result->conf, &command, &result->region);
    arena_fini(&arena);
    if (code == ERR_OK)
        *ret_conf = result;
    else
        region_conf_free(result);
    return code;
}

void region_conf_free(struct region_conf *conf)
{
    if (!conf)
        return;
    region_free(conf->region);
    free(conf);
}

enum err region_conf_encode(const struct region *region, struct wire_peer *peers, uint32_t peer_count,
                            struct region_epoch least, struct buf *context)
{
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_CONF,
                                       .epoch_conf_next = least.conf,
                                       .epoch_version_next = least.version,
                                       .epoch_conf = region->epoch_conf,
                                       .epoch_version = region->epoch_version,
                                       .peers = peers,
                                       .peers_count = peer_count};
    return wire_encode_log_command(&command, context);
}
