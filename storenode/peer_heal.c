#include "peer_heal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "group/group_keys.h"
#include "storenode/hand_over.h"
#include "storenode/peer.h"
#include "storenode/region_merge.h"
#include "storenode/region_row.h"
#include "storenode/region_split.h"
#include "storenode/region_worker.h"
#include "storenode/store_keys.h"
#include "storenode/store_ranges.h"

enum { FORMAT = 1, ROW_SIZE_MAX = 1024, ASK_INTERVAL_MS = 1000 };
/* Election timeouts without a leader until others are asked, and until it leads itself; of leading until it resigns. */
enum { HELP_TIMEOUTS = 2, LEAD_TIMEOUTS = 6, RESIGN_TIMEOUTS = 2 };

#define ULL(value) ((unsigned long long)(value))

/* ---- rows */

void damage_put(struct engine *engine, struct engine_batch *batch, region_id region, const char *text)
{
    struct group_key key = group_key(region, STORE_DAMAGE);
    struct buf row;
    buf_init(&row, ROW_SIZE_MAX);
    enum err code = buf_append_u8(&row, FORMAT);
    if (code == ERR_OK)
        code = buf_append(&row, text, strnlen(text, ROW_SIZE_MAX / 2));
    if (code == ERR_OK)
        code = row_seal(&row, STORE_DAMAGE);
    CHECK(code == ERR_OK);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), buf_bytes(&row));
    buf_fini(&row);
}

void damage_delete(struct engine *engine, struct engine_batch *batch, region_id region)
{
    struct group_key key = group_key(region, STORE_DAMAGE);
    engine_batch_delete(engine, batch, ENGINE_RAFT, group_key_bytes(&key));
}

bool damage_load(struct engine *engine, region_id region, char *text, size_t size)
{
    struct group_key key = group_key(region, STORE_DAMAGE);
    struct buf value;
    buf_init(&value, ROW_SIZE_MAX);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, NULL);
    struct bytes row = buf_bytes(&value);
    bool sound = code == ERR_OK && row_unseal(&row, STORE_DAMAGE) == ERR_OK && row.size > 0;
    if (code != ERR_NOT_FOUND)
        snprintf(text, size, "%.*s", sound ? (int)row.size - 1 : 0, sound ? (const char *)row.data + 1 : "");
    if (code != ERR_NOT_FOUND && !sound)
        snprintf(text, size, "the row that says what is damaged cannot be read");
    buf_fini(&value);
    return code != ERR_NOT_FOUND;
}

/* ---- news of damage */

static void free_damage(struct message *message)
{
    free(message);
}

void store_report_damage(struct store *store, region_id region, const char *text)
{
    struct damage_message *damage = calloc(1, sizeof *damage);
    CHECK(damage);
    damage->message = (struct message){.kind = WORKER_DAMAGE, .free = free_damage};
    damage->region = region;
    snprintf(damage->text, sizeof damage->text, "%s", text && text[0] ? text : "a row cannot be read");
    actor_post_must(store->env->executor, region_worker_actor(store->workers[region % store->worker_count]),
                    &damage->message);
}

/* Who is alone has nobody to heal from: what can be read of it is better than nothing. */
static bool is_alone(const struct peer *peer)
{
    return peer->region->peer_count < 2;
}

static void put_row(struct peer *peer)
{
    struct log_task *task = region_worker_log_task(peer->worker);
    damage_put(region_worker_store(peer->worker)->env->engine, task->batch, peer->region_id, peer->heal->reason);
    task->sync = true;
    peer->heal->is_logged = true;
}

void peer_heal_begin(struct peer *peer, const char *text, uint64_t now_us)
{
    peer->heal = calloc(1, sizeof *peer->heal);
    CHECK(peer->heal);
    peer->heal->reason = strdup(text);
    CHECK(peer->heal->reason);
    peer->heal->since_us = now_us;
}

void peer_heal_damaged(struct peer *peer, const char *text)
{
    struct store *store = region_worker_store(peer->worker);
    if (!peer->heal) {
        atomic_fetch_add(&store->damage_counts.found, 1);
        log_event(store->env->log, LOG_ERROR,
                  "event=replica_damaged region=%llu peer=%llu applied=%llu leads=%d alone=%d msg=\"%s\"",
                  ULL(peer->region_id), ULL(peer->id), ULL(raft_applied_index(peer->group->raft)),
                  raft_is_leader(peer->group->raft), is_alone(peer), text);
        peer_heal_begin(peer, text, region_worker_now_us(peer->worker));
    }
    if (is_alone(peer) || peer->snapshot.damaged || BUG(damaged_replica_serves))
        return;
    peer->snapshot.damaged = true;
    atomic_fetch_add(&store->damage_counts.damaged, 1);
    atomic_fetch_add(&peer->snapshot.generation, 1); /* what is being read of it is not answered */
    peer_refuse_waiting(peer);
    put_row(peer);
    region_worker_touch(peer->worker, peer);
    peer_heal_tick(peer);
}

static bool has_passed(const struct peer *peer, uint32_t ticks, uint32_t timeouts)
{
    return ticks >= timeouts * region_worker_store(peer->worker)->config->election_ticks;
}

/* Nobody leads for long, perhaps because we do not campaign. 0: nobody yet. */
static peer_id next_helper(struct peer *peer)
{
    const struct region *region = peer->region;
    if (!has_passed(peer, peer->heal->leaderless_ticks, HELP_TIMEOUTS) || BUG(damaged_asks_leaders_only))
        return 0;
    const struct region_peer *next = &region->peers[peer->heal->asked_count++ % region->peer_count];
    if (next->id == peer->id)
        next = &region->peers[peer->heal->asked_count++ % region->peer_count];
    return next->id == peer->id ? 0 : next->id;
}

void peer_heal_tick(struct peer *peer)
{
    struct raft *raft = peer->group->raft;
    uint64_t now_us = region_worker_now_us(peer->worker);
    if (!peer->snapshot.damaged)
        return;
    if (!peer->heal->is_logged)
        put_row(peer);
    if (raft_is_leader(raft)) {
        if (hand_over_try(peer) == HAND_OVER_NONE && has_passed(peer, peer->heal->leading_ticks, RESIGN_TIMEOUTS))
            raft_resign(raft);
        return;
    }
    if (peer->snapshot.state != PEER_SNAPSHOT_NONE ||
        (peer->heal->asked_us > 0 && now_us < peer->heal->asked_us + ASK_INTERVAL_MS * 1000))
        return;
    peer_id whom = raft_leader(raft) != 0 ? raft_leader(raft) : next_helper(peer);
    if (whom == 0)
        return;
    peer->heal->asked_us = now_us;
    struct raft_message message = {.kind = STORE_ROWS_WANTED,
                                   .from = peer->id,
                                   .to = whom,
                                   .term = raft_term_now(raft),
                                   .index = raft_applied_index(raft)};
    region_worker_send(peer->worker, peer, &message, false);
}

void peer_heal_count_ticks(struct peer *peer, uint32_t count)
{
    const struct raft *raft = peer->group->raft;
    if (!peer->heal)
        return;
    peer->heal->leaderless_ticks = raft_leader(raft) == 0 ? peer->heal->leaderless_ticks + count : 0;
    peer->heal->leading_ticks = raft_is_leader(raft) ? peer->heal->leading_ticks + count : 0;
}

bool peer_heal_must_lead(const struct peer *peer)
{
    return peer->heal && !BUG(damaged_never_leads) && has_passed(peer, peer->heal->leaderless_ticks, LEAD_TIMEOUTS);
}

/* What a merge makes of a region decides about later changes of its members, and is not known without applying it. */
static bool is_of_a_merge(const struct raft_entry *entry)
{
    struct wire_log_command command = {0};
    struct arena arena;
    arena_init(&arena);
    bool found =
        entry->kind == RAFT_ENTRY_NORMAL && entry->data.size > 0 &&
        (wire_decode_log_command(entry->data, &arena, &command) != ERR_OK ||
         (command.kind >= WIRE_COMMAND_KIND_PREPARE_MERGE && command.kind <= WIRE_COMMAND_KIND_ROLLBACK_MERGE));
    arena_fini(&arena);
    return found;
}

/* False: who the members are after it cannot be told. */
static bool know_change(struct peer *peer, const struct raft_entry *entry)
{
    struct raft_conf conf;
    struct region_conf *change;
    raft_get_conf(peer->group->raft, &conf);
    enum err code = region_conf_new(peer->region, &conf, entry, &change);
    if (code != ERR_OK)
        return code != ERR_CORRUPT; /* refused, as everywhere */
    if (!peer->heal->rows_region) {
        peer->heal->rows_region = region_copy(peer->region);
        peer->heal->rows_conf = conf;
    }
    peer_conf_applied(peer, entry, change);
    region_conf_free(change);
    return true;
}

/* In memory: a start finds them again. They are those of its commit index, as with anybody who has applied everything. */
void peer_heal_know_members(struct peer *peer)
{
    struct raft *raft = peer->group->raft;
    raft_index last = BUG(uncommitted_members_count) ? raft_last_index(raft) : raft_commit_index(raft);
    bool known = !region_is_merging(peer->region);
    for (raft_index index = raft_conf_index(raft) + 1; known && index <= last; index++) {
        const struct raft_entry *entry = raft_log_entry(raft, index);
        known = entry && !is_of_a_merge(entry) && (entry->kind == RAFT_ENTRY_NORMAL || know_change(peer, entry));
    }
    if (known)
        raft_conf_known(raft, last);
}

void peer_heal_asked(struct peer *peer, peer_id from, raft_term term, raft_index applied)
{
    struct raft *raft = peer->group->raft;
    const struct region_peer *to = region_peer_by_id(peer->region, from);
    region_worker_touch(peer->worker, peer);
    bool leads = raft_is_leader_ready(raft) && term == raft_term_now(raft);
    bool helps = !raft_is_leader(raft) && (raft_leader(raft) == 0 || raft_leader(raft) == from) &&
                 raft_applied_index(raft) >= applied;
    if ((!leads && !helps) || !to || from == peer->id)
        return;
    if (peer_snapshot_start(peer, to, raft_applied_index(raft), leads ? term : PEER_SNAPSHOT_HELP))
        log_event(region_worker_store(peer->worker)->env->log, LOG_INFO,
                  "event=rows_asked_for region=%llu by_peer=%llu", ULL(peer->region_id), ULL(from));
}

/* ---- splits that are not applied here */

/* Ids are given once: what is here by that id, even a tombstone, is that region. */
static bool is_here(struct engine *engine, region_id id)
{
    struct group_key key = group_key(id, STORE_REGION_STATE);
    struct buf value;
    buf_init(&value, 64 * 1024);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, NULL);
    buf_fini(&value);
    return code != ERR_NOT_FOUND;
}

static bool add_child(struct peer *peer, const struct region *child, const struct region *as_of, struct log_task *task)
{
    struct store *store = region_worker_store(peer->worker);
    const struct region_peer *local = region_peer_on_store(child, atomic_load(&store->store_id));
    if (!local || is_here(store->env->engine, child->id) ||
        region_find_merged(as_of, child->id)) /* the rows that come are its rows, too */
        return true;
    if (peer->heal->child_count == PEER_HEAL_CHILDREN_MAX ||
        region_put_new(store->env->engine, task->batch, child, local->id) != ERR_OK)
        return false;
    damage_put(store->env->engine, task->batch, child->id, "split off from a damaged replica");
    peer->heal->children[peer->heal->child_count++] = region_copy(child);
    return true;
}

static void free_children(struct peer *peer)
{
    while (peer->heal->child_count > 0)
        region_free(peer->heal->children[--peer->heal->child_count]);
}

static void change_members(struct region **region, struct raft_conf *conf, const struct raft_entry *entry)
{
    struct region_conf *change;
    if (region_conf_new(*region, conf, entry, &change) != ERR_OK)
        return;
    region_free(*region);
    *region = region_copy(change->region);
    *conf = change->conf;
    region_conf_free(change);
}

static void take_over(struct region **region, struct region *take_next)
{
    region_free(*region);
    *region = take_next;
}

/* What the entry makes of the region, as far as its descriptor goes. False: there is no room for all the children. */
static bool pass_entry(struct peer *peer, const struct raft_entry *entry, struct region **region, struct arena *arena,
                       const struct region *as_of, struct log_task *task)
{
    struct wire_log_command command;
    struct region_split *split;
    struct region *merged;
    if (entry->data.size == 0 || wire_decode_log_command(entry->data, arena, &command) != ERR_OK)
        return true;
    if (!BUG(rebuild_skips_merges) &&
        region_merge_step(*region, &command, entry->index, entry->term, &merged) == ERR_OK)
        take_over(region, merged);
    if (command.kind != WIRE_COMMAND_KIND_SPLIT || region_split_new(*region, &command, entry->index, &split) != ERR_OK)
        return true;
    bool done = true;
    for (uint32_t i = 1; i < split->count && done; i++)
        done = add_child(peer, split->regions[i], as_of, task);
    take_over(region, region_copy(split->regions[0]));
    region_split_free(split);
    return done;
}

bool peer_heal_children(struct peer *peer, raft_index to, const struct region *as_of, struct log_task *task)
{
    struct raft_conf conf;
    raft_get_conf(peer->group->raft, &conf);
    struct region *region = region_copy(peer->heal->rows_region ? peer->heal->rows_region : peer->region);
    struct arena arena;
    bool done = true;
    if (peer->heal->rows_region)
        conf = peer->heal->rows_conf;
    arena_init(&arena);
    free_children(peer);
    for (raft_index index = raft_applied_index(peer->group->raft) + 1; index <= to && done; index++) {
        const struct raft_entry *entry = raft_log_entry(peer->group->raft, index);
        done = entry != NULL;
        if (entry && entry->kind != RAFT_ENTRY_NORMAL)
            change_members(&region, &conf, entry);
        else if (entry)
            done = pass_entry(peer, entry, &region, &arena, as_of, task);
        arena_reset(&arena);
    }
    region_free(region);
    arena_fini(&arena);
    return done;
}

static void start_children(struct peer *peer)
{
    for (uint32_t i = 0; i < peer->heal->child_count; i++) {
        if (BUG(range_set_late))
            store_ranges_post(region_worker_store(peer->worker)->ranges, region_worker_store(peer->worker)->apply_worker,
                              peer->heal->children[i]);
        region_worker_add_child(peer->worker, peer->heal->children[i], false);
    }
}

void peer_heal_put_ranges(const struct peer *peer, struct store_ranges_change *change)
{
    for (uint32_t i = 0; peer->heal && i < peer->heal->child_count; i++)
        store_ranges_change_set(change, peer->heal->children[i]);
}

void peer_heal_forget_children(struct peer *peer)
{
    if (peer->heal)
        free_children(peer);
}

void peer_heal_done(struct peer *peer)
{
    struct store *store = region_worker_store(peer->worker);
    if (!peer->snapshot.damaged)
        return;
    peer->snapshot.damaged = false;
    atomic_fetch_sub(&store->damage_counts.damaged, 1);
    atomic_fetch_add(&store->damage_counts.healed, 1);
    log_event(store->env->log, LOG_WARN, "event=replica_healed region=%llu peer=%llu index=%llu took_ms=%llu",
              ULL(peer->region_id), ULL(peer->id), ULL(raft_applied_index(peer->group->raft)),
              ULL((region_worker_now_us(peer->worker) - peer->heal->since_us) / 1000));
    start_children(peer);
    peer_heal_fini(peer);
}

void peer_heal_fini(struct peer *peer)
{
    if (!peer->heal)
        return;
    free_children(peer);
    region_free(peer->heal->rows_region);
    free(peer->heal->reason);
    free(peer->heal);
    peer->heal = NULL;
}
