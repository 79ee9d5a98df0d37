#include "base/check.h"
#include "raft/core.h"

/* Two boxes: `queued` is being filled, `lent` is what the last raft_ready handed out. Both are NULL when empty, so that
 * an idle group holds neither. */

static struct outbox *queued(struct raft *raft)
{
    if (!raft->queued) {
        raft->queued = raft_pool_take(raft->pool, sizeof(*raft->queued));
        *raft->queued = (struct outbox){0};
    }
    return raft->queued;
}

void *raft_array_grow(struct raft_pool *pool, void *items, size_t item_size, uint32_t count, uint32_t *capacity)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? *capacity * 2 : 4;
    void *grown = raft_pool_take(pool, *capacity * item_size);
    if (count > 0)
        memcpy(grown, items, count * item_size);
    raft_pool_give(pool, items);
    return grown;
}

static void list_add(struct raft *raft, struct message_list *list, const struct raft_message *message)
{
    list->items = raft_array_grow(raft->pool, list->items, sizeof(*list->items), list->count, &list->capacity);
    list->items[list->count++] = *message;
}

/* ---- messages ---- */

/* An acknowledgement of more makes the one before it superfluous: one append of a batch, one answer. */
static bool supersede(const struct raft *raft, struct message_list *after, const struct raft_message *message)
{
    if (!raft->config->coalesce || after->count == 0 || message->kind != RAFT_APP_RESP || message->reject)
        return false;
    struct raft_message *newest = &after->items[after->count - 1];
    if (newest->kind != RAFT_APP_RESP || newest->reject || newest->to != message->to || newest->term != message->term ||
        newest->index > message->index)
        return false;
    *newest = *message;
    return true;
}

void outbox_send(struct raft *raft, struct raft_message message)
{
    struct outbox *box = queued(raft);
    bool is_vote = message.kind == RAFT_VOTE || message.kind == RAFT_VOTE_RESP || message.kind == RAFT_PRE_VOTE ||
                   message.kind == RAFT_PRE_VOTE_RESP;
    message.from = raft->id;
    if (!is_vote)
        message.term = raft->term;
    /* These promise that something is durable here: an append, or a vote. */
    if (message.kind == RAFT_APP_RESP || message.kind == RAFT_VOTE_RESP || message.kind == RAFT_PRE_VOTE_RESP) {
        if (!supersede(raft, &box->after, &message))
            list_add(raft, &box->after, &message);
        return;
    }
    CHECK(message.to != raft->id);
    list_add(raft, &box->now, &message);
}

static uint32_t entry_capacity(uint32_t count)
{
    uint32_t capacity = 1;
    while (capacity < count)
        capacity *= 2;
    return capacity;
}

static struct raft_entry *copy_entries(struct raft *raft, struct raft_entry *old, uint32_t old_count, raft_index first,
                                       uint32_t count)
{
    struct raft_entry *entries = old;
    if (!old || entry_capacity(old_count) < old_count + count) {
        entries = raft_pool_take(raft->pool, entry_capacity(old_count + count) * sizeof(*entries));
        if (old_count > 0)
            memcpy(entries, old, old_count * sizeof(*entries));
        raft_pool_give(raft->pool, old);
    }
    for (uint32_t i = 0; i < count; i++)
        entries[old_count + i] = *raftlog_entry(&raft->log, first + i);
    return entries;
}

static uint64_t size_of(const struct raft *raft, raft_index first, uint32_t count)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += raftlog_entry_size(raftlog_entry(&raft->log, first + i));
    return size;
}

/* The queued append to which one that starts after `previous` can be added, or NULL. */
static struct raft_message *mergeable(struct raft *raft, const struct progress *peer, struct raft_position previous,
                                      uint64_t size)
{
    if (!raft->config->coalesce || peer->queued == 0 || peer->state != RAFT_REPLICATE ||
        peer->queued_size + size > raft->config->append_size_max)
        return NULL;
    struct raft_message *message = &queued(raft)->now.items[peer->queued - 1];
    CHECK(message->to == peer->id && message->kind == RAFT_APP);
    return message->term == raft->term && message->index + message->entry_count == previous.index ? message : NULL;
}

bool outbox_send_append(struct raft *raft, struct progress *peer, struct raft_position previous, raft_index first,
                        uint32_t count)
{
    uint64_t size = size_of(raft, first, count);
    struct raft_message *merge = mergeable(raft, peer, previous, size);
    if (count > 0)
        raft->log.lent_to_messages = true;
    if (merge) {
        bool had_entries = merge->entry_count > 0;
        merge->commit = raft->log.commit;
        peer->queued_size += size;
        if (count > 0) {
            struct raft_entry *old = (struct raft_entry *)(uintptr_t)merge->entries;
            merge->entries = copy_entries(raft, old, merge->entry_count, first, count);
            merge->entry_count += count;
        }
        return had_entries;
    }
    struct raft_message message = {
        .kind = RAFT_APP,
        .to = peer->id,
        .index = previous.index,
        .log_term = previous.term,
        .commit = raft->log.commit,
        .entry_count = count,
        .entries = count ? copy_entries(raft, NULL, 0, first, count) : NULL,
    };
    outbox_send(raft, message);
    peer->queued = queued(raft)->now.count;
    peer->queued_size = size;
    return false;
}

/* Entries from the disk are not in the log's memory: headers and payloads go into one block with the message. */
void outbox_send_lent(struct raft *raft, struct progress *peer, struct raft_position previous,
                      const struct raft_entry *entries, uint32_t count)
{
    size_t size = count * sizeof(*entries);
    for (uint32_t i = 0; i < count; i++)
        size += entries[i].data.size;
    struct raft_entry *copy = count ? raft_pool_take(raft->pool, size) : NULL;
    uint8_t *data = (uint8_t *)(copy + count);
    for (uint32_t i = 0; i < count; i++) {
        copy[i] = entries[i];
        if (entries[i].data.size == 0)
            continue;
        copy[i].data.data = memcpy(data, entries[i].data.data, entries[i].data.size);
        data += entries[i].data.size;
    }
    struct raft_message message = {
        .kind = RAFT_APP,
        .to = peer->id,
        .index = previous.index,
        .log_term = previous.term,
        .commit = raft->log.commit,
        .entry_count = count,
        .entries = copy,
    };
    outbox_send(raft, message);
    peer->queued = 0; /* its block has no room: never merge with this one */
}

void outbox_send_snapshot(struct raft *raft, peer_id to, const struct raft_snapshot *snapshot)
{
    struct raft_snapshot *copy = raft_pool_take(raft->pool, sizeof(*copy));
    *copy = *snapshot;
    outbox_send(raft, (struct raft_message){.kind = RAFT_SNAPSHOT, .to = to, .snapshot = copy});
}

void outbox_read(struct raft *raft, struct raft_read_result result)
{
    struct outbox *box = queued(raft);
    box->reads = raft_array_grow(raft->pool, box->reads, sizeof(*box->reads), box->read_count, &box->read_capacity);
    box->reads[box->read_count++] = result;
}

void outbox_fetch(struct raft *raft, struct raft_fetch fetch)
{
    struct outbox *box = queued(raft);
    box->fetches =
        raft_array_grow(raft->pool, box->fetches, sizeof(*box->fetches), box->fetch_count, &box->fetch_capacity);
    box->fetches[box->fetch_count++] = fetch;
}

/* ---- handing out ---- */

static void release_list(struct raft *raft, struct message_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        raft_pool_give(raft->pool, (void *)(uintptr_t)list->items[i].entries);
        raft_pool_give(raft->pool, (void *)(uintptr_t)list->items[i].snapshot);
    }
    raft_pool_give(raft->pool, list->items);
}

static void release(struct raft *raft, struct outbox **box)
{
    struct outbox *old = *box;
    if (!old)
        return;
    release_list(raft, &old->now);
    release_list(raft, &old->after);
    raft_pool_give(raft->pool, old->entries);
    raft_pool_give(raft->pool, old->committed);
    raft_pool_give(raft->pool, old->reads);
    raft_pool_give(raft->pool, old->fetches);
    raft_pool_give(raft->pool, old->snapshot);
    raft_pool_give(raft->pool, old);
    *box = NULL;
}

void outbox_fini(struct raft *raft)
{
    release(raft, &raft->queued);
    release(raft, &raft->lent);
}

static void take_back_lent(struct raft *raft)
{
    release(raft, &raft->lent);
    raft->log.lent_to_messages = false;
    for (uint32_t i = 0; raft->queued && i < raft->queued->now.count; i++)
        raft->log.lent_to_messages |= raft->queued->now.items[i].entry_count > 0;
    raftlog_reap(&raft->log);
}

/* All appends and heartbeats of one ready make one round: whoever answers one heard from us after we began to send it.
 */
static uint64_t stamp_round(struct raft *raft)
{
    struct message_list *now = &queued(raft)->now;
    uint64_t round = 0;
    for (uint32_t i = 0; i < now->count; i++) {
        struct raft_message *message = &now->items[i];
        if ((message->kind != RAFT_APP && message->kind != RAFT_HEARTBEAT) || message->term != raft->term)
            continue;
        if (round == 0)
            round = ++raft->round;
        message->round = round;
        struct progress *peer = raft_peer(raft, message->to);
        if (peer)
            peer->sent_round = round;
    }
    for (uint32_t i = 0; i < raft->peer_count; i++)
        raft->peers[i].queued = 0;
    return round;
}

static const struct raft_entry *copy_range(struct raft *raft, struct raft_entry **box_entries, raft_index from,
                                           uint32_t count)
{
    *box_entries = copy_entries(raft, NULL, 0, from, count);
    return *box_entries;
}

static bool hard_state_changed(const struct raft *raft, const struct raft_hard_state *hard)
{
    return hard->term != raft->handed_hard.term || hard->vote != raft->handed_hard.vote ||
           hard->commit != raft->handed_hard.commit;
}

static bool has_new_snapshot(const struct raft *raft)
{
    return raft->log.snapshot && !raft->log.snapshot_in_progress;
}

bool raft_has_ready(const struct raft *raft)
{
    struct raft_hard_state hard = raft_hard_state(raft);
    raft_index to;
    return raft->queued || raft->round_wanted || raft->role != raft->handed_role ||
           raft->leader != raft->handed_leader || hard_state_changed(raft, &hard) || has_new_snapshot(raft) ||
           raft->log.in_progress <= raftlog_last(&raft->log) || raftlog_next_committed(&raft->log, raft->config, &to);
}

static void hand_out_append(struct raft *raft, struct outbox *box, struct raft_ready *ready)
{
    struct raftlog *log = &raft->log;
    raft_index last = raftlog_last(log);
    ready->hard = raft_hard_state(raft);
    ready->hard_changed = hard_state_changed(raft, &ready->hard);
    ready->must_sync = ready->hard.term != raft->handed_hard.term || ready->hard.vote != raft->handed_hard.vote;
    raft->handed_hard = ready->hard;
    if (has_new_snapshot(raft)) {
        box->snapshot = raft_pool_take(raft->pool, sizeof(*box->snapshot));
        *box->snapshot = *log->snapshot;
        ready->snapshot = box->snapshot;
        log->snapshot_in_progress = true;
    }
    if (log->in_progress <= last) {
        ready->entry_count = (uint32_t)(last + 1 - log->in_progress);
        ready->entries = copy_range(raft, &box->entries, log->in_progress, ready->entry_count);
        ready->must_sync = true;
        log->in_progress = last + 1;
    }
    ready->after = box->after.items;
    ready->after_count = box->after.count;
    ready->append = ready->hard_changed || ready->snapshot || ready->entry_count > 0 || ready->after_count > 0;
    if (!ready->append)
        return;
    /* Names the end of the whole log, not of this batch: an acknowledgement under a later term (earlier ones are
     * ignored) then covers everything that was in progress when that term began. */
    ready->token = (struct raft_token){
        .sequence = ++log->handed_sequence,
        .term = raft->term,
        .last = raftlog_has_unstable(log) ? raftlog_last_position(log) : (struct raft_position){0},
        .snapshot_index = ready->snapshot ? ready->snapshot->index : 0,
    };
}

static void hand_out_committed(struct raft *raft, struct outbox *box, struct raft_ready *ready)
{
    raft_index to;
    if (!raftlog_next_committed(&raft->log, raft->config, &to))
        return;
    ready->committed_count = (uint32_t)(to - raft->log.applying);
    ready->committed = copy_range(raft, &box->committed, raft->log.applying + 1, ready->committed_count);
    raftlog_accept_committed(&raft->log, raft->config, to);
}

bool raft_ready(struct raft *raft, struct raft_ready *ret_ready)
{
    take_back_lent(raft);
    if (!raft_has_ready(raft))
        return false;
    if (raft->round_wanted) {
        raft->round_wanted = false;
        replicate_heartbeat(raft);
    }
    struct raft_ready ready = {.role = raft->role, .leader = raft->leader};
    ready.soft_changed = raft->role != raft->handed_role || raft->leader != raft->handed_leader;
    raft->handed_role = raft->role;
    raft->handed_leader = raft->leader;
    ready.round = stamp_round(raft);
    ready.confirmed_round = raft_confirmed_round(raft);
    struct outbox *box = queued(raft);
    /* Which entries are committed is asked before the new ones count as handed out, and the other way round it would be
     * the same: what is not durable is not handed out to be applied (unless the caller persists first). */
    hand_out_append(raft, box, &ready);
    hand_out_committed(raft, box, &ready);
    ready.messages = box->now.items;
    ready.message_count = box->now.count;
    ready.reads = box->reads;
    ready.read_count = box->read_count;
    ready.fetches = box->fetches;
    ready.fetch_count = box->fetch_count;
    ready.overwritten_from = raft->overwritten_from;
    raft->overwritten_from = 0;
    raft->lent = box;
    raft->queued = NULL;
    raft->log.generation++;
    *ret_ready = ready;
    return true;
}

static size_t box_size(const struct outbox *box)
{
    if (!box)
        return 0;
    size_t size = raft_pool_block_size(sizeof(*box));
    size += box->now.capacity ? raft_pool_block_size(box->now.capacity * sizeof(*box->now.items)) : 0;
    size += box->after.capacity ? raft_pool_block_size(box->after.capacity * sizeof(*box->after.items)) : 0;
    return size;
}

size_t outbox_memory_size(const struct raft *raft)
{
    return box_size(raft->queued) + box_size(raft->lent);
}
