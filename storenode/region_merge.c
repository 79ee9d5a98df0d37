#include "region_merge.h"

#include "base/bug.h"
#include "base/check.h"
#include "group/group_keys.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/region_split.h"
#include "storenode/snapshot_stage.h"
#include "storenode/store_keys.h"

#define ULL(value) ((unsigned long long)(value))

/* ---- may they? */

static bool are_on_same_stores(const struct region *a, const struct region *b)
{
    if (a->peer_count != b->peer_count)
        return false;
    for (uint32_t i = 0; i < a->peer_count; i++) {
        const struct region_peer *other = region_peer_on_store(b, a->peers[i].store_id);
        if (!other || other->role != a->peers[i].role)
            return false;
    }
    return true;
}

static bool are_neighbours(const struct region *a, const struct region *b)
{
    return (a->end_key.size > 0 && bytes_equal(a->end_key, b->start_key)) ||
           (b->end_key.size > 0 && bytes_equal(b->end_key, a->start_key));
}

enum err region_merge_check(const struct region *source, const struct region *target, const char **ret_reason)
{
    if (source->id == target->id || !are_neighbours(source, target)) {
        *ret_reason = "they are no neighbours";
        return ERR_INVALID;
    }
    if (region_is_merging(source) || region_is_merging(target)) {
        *ret_reason = "one of them is being merged";
        return ERR_EXISTS;
    }
    if (!are_on_same_stores(source, target)) {
        *ret_reason = "they are not on the same stores";
        return ERR_NOT_READY;
    }
    if (target->merged_count >= REGION_MERGED_MAX) {
        *ret_reason = "the target has taken in as many regions as one may; merge the other way";
        return ERR_UNSUPPORTED;
    }
    return ERR_OK;
}

enum region_merge_verdict region_merge_judge(const struct region *source, const struct region *target)
{
    const struct region_merging *merging = source->merging;
    const struct region_merged *merged = region_find_merged(target, source->id);
    if (merged && merged->index == merging->index)
        return REGION_MERGE_DONE;
    if (target->epoch_conf > merging->epoch_conf || target->epoch_version > merging->epoch_version)
        return REGION_MERGE_NEVER;
    bool same = target->epoch_conf == merging->epoch_conf && target->epoch_version == merging->epoch_version;
    return same ? REGION_MERGE_OPEN : REGION_MERGE_BEHIND;
}

/* ---- steps */

static bool is_for(const struct region *region, const struct wire_log_command *command)
{
    return command->merge && command->epoch_conf == region->epoch_conf &&
           command->epoch_version == region->epoch_version;
}

/* `wire` was made from `region`, and only numbers of it were changed. */
static struct region *made(const struct wire_region *wire)
{
    struct region *region;
    enum err code = region_from_wire(wire, &region);
    CHECK(code == ERR_OK);
    return region;
}

enum err region_merge_prepare(const struct region *region, const struct wire_log_command *command, raft_index index,
                              raft_term term, struct region **ret_region)
{
    if (!is_for(region, command) || region_is_merging(region))
        return ERR_EPOCH_NOT_MATCH;
    if (command->merge->target_id == 0 || command->merge->target_id == region->id)
        return ERR_INVALID;
    struct region_merging merging = {.target = command->merge->target_id,
                                     .epoch_conf = command->merge->target_conf,
                                     .epoch_version = command->merge->target_version,
                                     .index = index,
                                     .term = term};
    *ret_region = region_copy_merging(region, region->epoch_version + 1, &merging);
    return ERR_OK;
}

enum err region_merge_rollback(const struct region *region, const struct wire_log_command *command,
                               struct region **ret_region)
{
    if (!is_for(region, command) || !region_is_merging(region) || region->merging->index != command->merge->index)
        return ERR_EPOCH_NOT_MATCH;
    *ret_region = region_copy_merging(region, region->epoch_version + 1, NULL);
    return ERR_OK;
}

/* The epoch at which the source expects it. */
static enum err check_source(const struct region *region, const struct wire_log_command *command,
                             struct region **ret_source)
{
    const struct wire_merging *merging =
        command->merge && command->merge->source ? command->merge->source->merging : NULL;
    if (!is_for(region, command) || !merging || merging->target_id != region->id)
        return ERR_EPOCH_NOT_MATCH;
    if ((merging->epoch_conf != region->epoch_conf || merging->epoch_version != region->epoch_version) &&
        !BUG(merge_any_epoch))
        return ERR_EPOCH_NOT_MATCH;
    return region_from_wire(command->merge->source, ret_source);
}

enum err region_merge_commit(const struct region *region, const struct wire_log_command *command,
                             struct region **ret_region, struct region **ret_source)
{
    struct region *source = NULL;
    enum err code = check_source(region, command, &source);
    if (code != ERR_OK)
        return code;
    struct region *before = region_copy_merging(source, source->epoch_version, NULL);
    const char *reason;
    code = region_merge_check(before, region, &reason);
    region_free(before);
    if (code != ERR_OK) {
        region_free(source);
        return code;
    }
    struct arena arena;
    arena_init(&arena);
    struct wire_region wire = region_to_wire(region, &arena);
    struct wire_merged *merged = arena_alloc(&arena, (wire.merged_count + 1) * sizeof *merged);
    if (wire.merged_count > 0)
        memcpy(merged, wire.merged, wire.merged_count * sizeof *merged);
    merged[wire.merged_count++] =
        (struct wire_merged){.region_id = source->id, .index = source->merging->index, .term = source->merging->term};
    wire.merged = merged;
    if (source->end_key.size > 0 && bytes_equal(source->end_key, region->start_key))
        wire.start_key = source->start_key;
    else
        wire.end_key = source->end_key;
    if (source->epoch_version > wire.epoch_version)
        wire.epoch_version = source->epoch_version;
    wire.epoch_version++;
    *ret_region = made(&wire);
    *ret_source = source;
    arena_fini(&arena);
    return ERR_OK;
}

enum err region_merge_refuse(const struct region *region, const struct wire_log_command *command,
                             struct region **ret_region)
{
    struct region *source;
    enum err code = check_source(region, command, &source);
    if (code != ERR_OK)
        return code;
    region_free(source);
    *ret_region = region_copy_merging(region, region->epoch_version + 1, region->merging);
    return ERR_OK;
}

enum err region_merge_step(const struct region *region, const struct wire_log_command *command, raft_index index,
                           raft_term term, struct region **ret_region)
{
    struct region *source = NULL;
    enum err code = ERR_UNSUPPORTED;
    switch (command->kind) {
    case WIRE_COMMAND_KIND_PREPARE_MERGE:
        return region_merge_prepare(region, command, index, term, ret_region);
    case WIRE_COMMAND_KIND_ROLLBACK_MERGE:
        return region_merge_rollback(region, command, ret_region);
    case WIRE_COMMAND_KIND_REFUSE_MERGE:
        return region_merge_refuse(region, command, ret_region);
    case WIRE_COMMAND_KIND_COMMIT_MERGE:
        code = region_merge_commit(region, command, ret_region, &source);
        if (code == ERR_OK)
            region_free(source);
        return code;
    default:
        return code;
    }
}

/* ---- rows */

enum err region_load_state(struct engine *engine, region_id id, struct region **ret_region, peer_id *ret_local_peer,
                           struct error *err)
{
    struct group_key key = group_key(id, STORE_REGION_STATE);
    struct wire_region_state state;
    struct arena arena;
    struct buf value;
    *ret_region = NULL;
    buf_init(&value, 64 * 1024);
    arena_init(&arena);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, err);
    if (code == ERR_OK) {
        code = region_row_decode(buf_bytes(&value), &arena, &state);
        if (code == ERR_OK)
            code = region_from_wire(state.region, ret_region);
        if (code != ERR_OK)
            code = error_set(err, ERR_CORRUPT, "region %llu: its row cannot be read", ULL(id));
        else if (ret_local_peer)
            *ret_local_peer = state.local_peer_id;
        if (code == ERR_OK && state.tombstone)
            code = ERR_NOT_FOUND;
    }
    arena_fini(&arena);
    buf_fini(&value);
    return code;
}

enum err region_merge_source_is_here(struct engine *engine, const struct region *source, peer_id *ret_local_peer,
                                     struct error *err)
{
    struct region *here;
    struct snapshot_marker marker;
    enum err code = region_load_state(engine, source->id, &here, ret_local_peer, err);
    if (code == ERR_NOT_FOUND)
        code =
            error_set(err, ERR_CORRUPT, "region %llu: another region takes it in, and it is not here", ULL(source->id));
    else if (code == ERR_OK &&
             (!region_is_merging(here) || here->merging->index != source->merging->index ||
              here->merging->term != source->merging->term) &&
             !BUG(merge_without_source_log))
        code = ERR_NOT_READY;
    region_free(here);
    if (code == ERR_OK) { /* its row is there before its data, and before any word of how far it is */
        code = snapshot_stage_load_marker(engine, source->id, &marker);
        code = code == ERR_OK ? ERR_NOT_READY : code == ERR_NOT_FOUND ? ERR_OK : code;
    }
    raft_index applied = 0;
    raft_term term;
    if (code == ERR_OK)
        code = region_fsm_load_applied(engine, source->id, &applied, &term, err);
    if (code == ERR_OK && applied < source->merging->index && !BUG(merge_without_source_log))
        code = ERR_NOT_READY; /* an empty peer, say */
    return code;
}

void region_drop_rows(struct engine *engine, struct engine_batch *batch, region_id region)
{
    struct group_key first = group_key(region, 0), state = group_key(region, STORE_REGION_STATE),
                     behind = group_key(region, STORE_REGION_STATE + 1), end = group_key(region + 1, 0);
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&first), group_key_bytes(&state));
    engine_batch_delete_range(engine, batch, ENGINE_RAFT, group_key_bytes(&behind), group_key_bytes(&end));
    snapshot_stage_drop(engine, batch, region);
}
