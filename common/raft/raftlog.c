#include "raft/raftlog.h"

#include "base/bug.h"
#include "base/check.h"

struct retired {
    void *block;         /* owned */
    uint64_t sequence;   /* the newest append that may read it */
    raft_index applying; /* ... and the newest apply */
    uint64_t generation; /* ... and the newest messages */
};

static raft_index least(raft_index a, raft_index b)
{
    return a < b ? a : b;
}

void raftlog_init(struct raftlog *log, struct raft_pool *pool, struct raft_position truncated,
                  struct raft_position base)
{
    *log = (struct raftlog){
        .pool = pool,
        .truncated = truncated,
        .base = base,
        .unstable = base.index + 1,
        .in_progress = base.index + 1,
        .commit = base.index,
        .applying = base.index,
        .applied = base.index,
        .generation = 1,
    };
}

/* ---- the ring ---- */

static struct raft_entry *slot(const struct raftlog *log, uint32_t place)
{
    return &log->ring[(log->head + place) & (log->capacity - 1)];
}

static void resize_ring(struct raftlog *log, uint32_t capacity)
{
    struct raft_entry *ring = raft_pool_take(log->pool, capacity * sizeof(*ring));
    for (uint32_t i = 0; i < log->count; i++)
        ring[i] = *slot(log, i);
    raft_pool_give(log->pool, log->ring);
    log->ring = ring;
    log->head = 0;
    log->capacity = capacity;
}

static void fit_ring(struct raftlog *log)
{
    if (log->count == 0) {
        raft_pool_give(log->pool, log->ring);
        log->ring = NULL;
        log->head = log->capacity = 0;
    } else if (log->capacity > 64 && log->count < log->capacity / 8) {
        resize_ring(log, log->capacity / 4);
    }
}

raft_index raftlog_last(const struct raftlog *log)
{
    return log->base.index + log->count;
}

struct raft_position raftlog_last_position(const struct raftlog *log)
{
    if (log->count == 0)
        return log->base;
    const struct raft_entry *entry = slot(log, log->count - 1);
    return (struct raft_position){.index = entry->index, .term = entry->term};
}

const struct raft_entry *raftlog_entry(const struct raftlog *log, raft_index index)
{
    uint64_t place = index - log->base.index - 1; /* wraps to something huge below the base */
    return place < log->count ? slot(log, (uint32_t)place) : NULL;
}

bool raftlog_term(const struct raftlog *log, raft_index index, raft_term *ret_term)
{
    const struct raft_entry *entry = raftlog_entry(log, index);
    if (entry)
        *ret_term = entry->term;
    else if (index == log->base.index)
        *ret_term = log->base.term;
    else if (index == log->truncated.index)
        *ret_term = log->truncated.term;
    else
        return false;
    return true;
}

bool raftlog_matches(const struct raftlog *log, struct raft_position position)
{
    raft_term term;
    return raftlog_term(log, position.index, &term) && term == position.term;
}

bool raftlog_is_up_to_date(const struct raftlog *log, struct raft_position candidate)
{
    struct raft_position last = raftlog_last_position(log);
    return candidate.term > last.term || (candidate.term == last.term && candidate.index >= last.index);
}

raft_index raftlog_find_conflict(const struct raftlog *log, const struct raft_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!raftlog_matches(log, (struct raft_position){.index = entries[i].index, .term = entries[i].term}))
            return entries[i].index;
    }
    return 0;
}

struct raft_position raftlog_find_conflict_by_term(const struct raftlog *log, raft_index index, raft_term term)
{
    for (; index > 0; index--) {
        raft_term ours;
        if (!raftlog_term(log, index, &ours))
            return (struct raft_position){.index = index, .term = 0};
        if (ours <= term)
            return (struct raft_position){.index = index, .term = ours};
    }
    return (struct raft_position){0};
}

uint64_t raftlog_entry_size(const struct raft_entry *entry)
{
    return entry->data.size + RAFTLOG_ENTRY_OVERHEAD;
}

uint32_t raftlog_fit(const struct raftlog *log, raft_index from, raft_index to, uint64_t size_max)
{
    uint64_t size = 0;
    uint32_t count = 0;
    for (raft_index index = from; index <= to; index++, count++) {
        size += raftlog_entry_size(raftlog_entry(log, index));
        if (count > 0 && size > size_max)
            break;
    }
    return count;
}

/* ---- payloads ---- */

static bool is_still_read(const struct raftlog *log, const struct retired *retired)
{
    return retired->sequence > log->acked_sequence || retired->applying > log->applied ||
           (log->lent_to_messages && retired->generation + 1 >= log->generation); /* queued then, handed out now */
}

void raftlog_reap(struct raftlog *log)
{
    while (log->retired_count > 0 && !is_still_read(log, &log->retired[log->retired_head])) {
        raft_pool_give(log->pool, log->retired[log->retired_head].block);
        log->retired_head = (log->retired_head + 1) & (log->retired_capacity - 1);
        log->retired_count--;
    }
    if (log->retired_count == 0 && log->retired_capacity > 0) {
        raft_pool_give(log->pool, log->retired);
        log->retired = NULL;
        log->retired_head = log->retired_capacity = 0;
    }
}

static void retire(struct raftlog *log, const void *block, uint64_t sequence, raft_index applying)
{
    struct retired retired = {
        .block = (void *)(uintptr_t)block,
        .sequence = sequence,
        .applying = applying,
        .generation = log->generation,
    };
    if (!block)
        return;
    if (log->retired_count == 0 && !is_still_read(log, &retired)) {
        raft_pool_give(log->pool, retired.block);
        return;
    }
    if (log->retired_count == log->retired_capacity) {
        uint32_t capacity = log->retired_capacity ? log->retired_capacity * 2 : 8;
        struct retired *ring = raft_pool_take(log->pool, capacity * sizeof(*ring));
        for (uint32_t i = 0; i < log->retired_count; i++)
            ring[i] = log->retired[(log->retired_head + i) & (log->retired_capacity - 1)];
        raft_pool_give(log->pool, log->retired);
        log->retired = ring;
        log->retired_head = 0;
        log->retired_capacity = capacity;
    }
    log->retired[(log->retired_head + log->retired_count++) & (log->retired_capacity - 1)] = retired;
}

void raftlog_fini(struct raftlog *log)
{
    for (uint32_t i = 0; i < log->count; i++)
        raft_pool_give(log->pool, (void *)(uintptr_t)slot(log, i)->data.data);
    for (uint32_t i = 0; i < log->retired_count; i++)
        raft_pool_give(log->pool, log->retired[(log->retired_head + i) & (log->retired_capacity - 1)].block);
    raft_pool_give(log->pool, log->ring);
    raft_pool_give(log->pool, log->retired);
    raft_pool_give(log->pool, log->snapshot);
}

/* ---- growing ---- */

void raftlog_push(struct raftlog *log, raft_term term, uint8_t kind, struct bytes data)
{
    struct raft_entry entry = {.term = term, .index = raftlog_last(log) + 1, .kind = kind};
    if (data.size > 0) {
        uint8_t *copy = raft_pool_take(log->pool, data.size);
        memcpy(copy, data.data, data.size);
        entry.data = bytes_of(copy, data.size);
    }
    if (log->count == log->capacity)
        resize_ring(log, log->capacity ? log->capacity * 2 : 4);
    log->count++;
    *slot(log, log->count - 1) = entry;
    log->cache_size += raftlog_entry_size(&entry);
}

void raftlog_cut(struct raftlog *log, raft_index from)
{
    CHECK(from > log->commit);
    while (raftlog_last(log) >= from) {
        struct raft_entry *entry = slot(log, log->count - 1);
        log->cache_size -= raftlog_entry_size(entry);
        retire(log, entry->data.data, log->handed_sequence, 0); /* never committed, so never applied */
        log->count--;
    }
    log->unstable = least(log->unstable, from);
    log->in_progress = least(log->in_progress, from);
}

enum raftlog_append_result raftlog_maybe_append(struct raftlog *log, struct raft_position previous,
                                                const struct raft_entry *entries, uint32_t count,
                                                raft_index leader_commit, raft_index *ret_last, raft_index *ret_cut)
{
    if (!raftlog_matches(log, previous))
        return RAFTLOG_MISMATCH;
    raft_index conflict = raftlog_find_conflict(log, entries, count);
    if (conflict != 0 && conflict <= log->commit)
        return RAFTLOG_CONTRADICTION;
    raft_index cut = 0;
    if (conflict != 0) {
        if (conflict <= raftlog_last(log)) {
            raftlog_cut(log, conflict);
            cut = conflict;
        }
        for (uint32_t i = (uint32_t)(conflict - entries[0].index); i < count; i++)
            raftlog_push(log, entries[i].term, entries[i].kind, entries[i].data);
    }
    if (BUG(stale_append_truncates) && conflict == 0 && previous.index + count >= log->commit && count > 0)
        raftlog_cut(log, cut = previous.index + count + 1);
    /* Only what this message has verified may count as committed: behind it, our log may be somebody else's. */
    raft_index verified = previous.index + count;
    raftlog_commit_to(log, least(leader_commit, verified));
    *ret_last = verified;
    *ret_cut = cut;
    return RAFTLOG_APPENDED;
}

void raftlog_commit_to(struct raftlog *log, raft_index index)
{
    if (index <= log->commit)
        return;
    CHECK(index <= raftlog_last(log));
    log->commit = index;
}

void raftlog_restore(struct raftlog *log, const struct raft_snapshot *snapshot)
{
    CHECK(snapshot->index > log->commit);
    for (uint32_t i = 0; i < log->count; i++)
        retire(log, slot(log, i)->data.data, log->handed_sequence, log->applying);
    log->count = 0;
    log->cache_size = 0;
    fit_ring(log);
    log->base = (struct raft_position){.index = snapshot->index + BUG(snapshot_off_by_one), .term = snapshot->term};
    log->truncated = log->base;
    log->commit = log->base.index;
    log->unstable = log->in_progress = log->base.index + 1;
    if (!log->snapshot)
        log->snapshot = raft_pool_take(log->pool, sizeof(*log->snapshot));
    *log->snapshot = *snapshot;
    log->snapshot_in_progress = false;
}

/* ---- handing out and hearing back ---- */

bool raftlog_has_unstable(const struct raftlog *log)
{
    return log->unstable <= raftlog_last(log);
}

void raftlog_stable_to(struct raftlog *log, struct raft_position position)
{
    /* The same index may have been written again since, by another leader: then this tells about an older write (ABA).
     */
    if (position.index < log->unstable || !raftlog_matches(log, position))
        return;
    log->unstable = position.index + 1;
    if (log->in_progress < log->unstable)
        log->in_progress = log->unstable;
}

raft_index raftlog_appliable(const struct raftlog *log, bool apply_unstable)
{
    return apply_unstable || BUG(apply_before_durable) ? log->commit : least(log->commit, log->unstable - 1);
}

bool raftlog_next_committed(const struct raftlog *log, const struct raft_config *config, raft_index *ret_to)
{
    raft_index to = raftlog_appliable(log, config->apply_unstable);
    if (log->applying_paused || log->snapshot || log->applying >= to)
        return false;
    if (config->committed_size_max != 0) {
        CHECK(log->applying_size < config->committed_size_max);
        to = log->applying + raftlog_fit(log, log->applying + 1, to, config->committed_size_max - log->applying_size);
    }
    *ret_to = to;
    return true;
}

static uint64_t size_between(const struct raftlog *log, raft_index from, raft_index to)
{
    uint64_t size = 0;
    for (raft_index index = from; index <= to; index++)
        size += raftlog_entry_size(raftlog_entry(log, index));
    return size;
}

void raftlog_accept_committed(struct raftlog *log, const struct raft_config *config, raft_index to)
{
    CHECK(to > log->applying && to <= log->commit);
    log->applying_size += size_between(log, log->applying + 1, to);
    log->applying = to;
    /* Also pause if the next entry alone would go over the limit: else it would go out one by one, past the limit. */
    log->applying_paused = config->committed_size_max != 0 && (log->applying_size >= config->committed_size_max ||
                                                               to < raftlog_appliable(log, config->apply_unstable));
}

void raftlog_applied_to(struct raftlog *log, const struct raft_config *config, raft_index index)
{
    CHECK(index >= log->applied && index <= log->applying);
    /* Entries that a snapshot has replaced meanwhile are gone from the ring, and their sizes with them. */
    uint64_t size = log->applied >= log->base.index ? size_between(log, log->applied + 1, index) : log->applying_size;
    log->applying_size -= size < log->applying_size ? size : log->applying_size;
    log->applied = index;
    log->applying_paused = config->committed_size_max != 0 && log->applying_size >= config->committed_size_max;
}

void raftlog_snapshot_installed(struct raftlog *log, raft_index index)
{
    if (log->snapshot && log->snapshot->index == index) {
        raft_pool_give(log->pool, log->snapshot);
        log->snapshot = NULL;
        log->snapshot_in_progress = false;
    }
    if (index > log->applied) {
        log->applied = index;
        if (log->applying < index) {
            log->applying = index;
            log->applying_size = 0;
            log->applying_paused = false;
        }
    }
}

void raftlog_rebase(struct raftlog *log, raft_index index)
{
    CHECK(index >= log->applied && index <= log->commit && index < log->unstable);
    log->applied = log->applying = index;
    log->applying_size = 0;
    log->applying_paused = false;
}

/* ---- memory ---- */

void raftlog_evict_to(struct raftlog *log, raft_index index)
{
    index = least(index, least(log->applied, log->unstable - 1));
    while (log->count > 0 && log->base.index < index) {
        struct raft_entry *entry = slot(log, 0);
        log->base = (struct raft_position){.index = entry->index, .term = entry->term};
        log->cache_size -= raftlog_entry_size(entry);
        retire(log, entry->data.data, 0, 0); /* durable and applied: only messages may lend it */
        log->head = (log->head + 1) & (log->capacity - 1);
        log->count--;
    }
    fit_ring(log);
}

void raftlog_evict_over(struct raftlog *log, uint64_t size_max)
{
    raft_index index = log->base.index;
    for (uint64_t size = log->cache_size; size > size_max && index < raftlog_last(log); index++)
        size -= raftlog_entry_size(raftlog_entry(log, index + 1));
    if (index > log->base.index)
        raftlog_evict_to(log, index);
}

void raftlog_truncate(struct raftlog *log, struct raft_position position)
{
    raft_term known;
    CHECK(position.index <= log->applied && position.index < log->unstable);
    CHECK(!raftlog_term(log, position.index, &known) || known == position.term);
    if (position.index <= log->truncated.index)
        return;
    raftlog_evict_to(log, position.index);
    log->truncated = position;
}

size_t raftlog_memory_size(const struct raftlog *log)
{
    size_t size = 0;
    for (uint32_t i = 0; i < log->count; i++)
        size += slot(log, i)->data.size ? raft_pool_block_size(slot(log, i)->data.size) : 0;
    size += log->ring ? raft_pool_block_size(log->capacity * sizeof(*log->ring)) : 0;
    size += log->retired ? raft_pool_block_size(log->retired_capacity * sizeof(*log->retired)) : 0;
    size += log->snapshot ? raft_pool_block_size(sizeof(*log->snapshot)) : 0;
    return size;
}

void raftlog_check(const struct raftlog *log)
{
    raft_index last = raftlog_last(log);
    CHECK(log->truncated.index <= log->base.index);
    CHECK(log->applied <= log->applying && log->applying <= log->commit && log->commit <= last);
    CHECK(log->snapshot || log->base.index <= log->applied);
    CHECK(log->base.index < log->unstable && log->unstable <= log->in_progress && log->in_progress <= last + 1);
    CHECK(log->acked_sequence <= log->handed_sequence);
    raft_term term = log->base.term;
    uint64_t size = 0;
    for (uint32_t i = 0; i < log->count; i++) {
        CHECK(slot(log, i)->index == log->base.index + 1 + i && slot(log, i)->term >= term);
        term = slot(log, i)->term;
        size += raftlog_entry_size(slot(log, i));
    }
    CHECK(size == log->cache_size);
}
