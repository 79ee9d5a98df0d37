#include "raft/progress.h"

#include "base/bug.h"
#include "base/check.h"

static raft_index least(raft_index a, raft_index b)
{
    return a < b ? a : b;
}

static raft_index most(raft_index a, raft_index b)
{
    return a > b ? a : b;
}

/* ---- window ---- */

static void drop_window(struct progress *progress, struct raft_pool *pool)
{
    raft_pool_give(pool, progress->window);
    progress->window = NULL;
    progress->window_head = progress->window_count = progress->window_capacity = 0;
    progress->window_size = 0;
}

static void grow_window(struct progress *progress, struct raft_pool *pool)
{
    uint32_t capacity = progress->window_capacity ? progress->window_capacity * 2 : 4;
    struct inflight *window = raft_pool_take(pool, capacity * sizeof(*window));
    for (uint32_t i = 0; i < progress->window_count; i++)
        window[i] = progress->window[(progress->window_head + i) & (progress->window_capacity - 1)];
    raft_pool_give(pool, progress->window);
    progress->window = window;
    progress->window_capacity = capacity;
    progress->window_head = 0;
}

static struct inflight *window_at(const struct progress *progress, uint32_t place)
{
    return &progress->window[(progress->window_head + place) & (progress->window_capacity - 1)];
}

static void window_add(struct progress *progress, struct raft_pool *pool, raft_index index, uint64_t size)
{
    if (progress->window_count == progress->window_capacity)
        grow_window(progress, pool);
    progress->window_count++;
    *window_at(progress, progress->window_count - 1) = (struct inflight){.index = index, .size = size};
    progress->window_size += size;
}

void progress_free_window(struct progress *progress, struct raft_pool *pool, raft_index index)
{
    while (progress->window_count > 0 && window_at(progress, 0)->index <= index) {
        progress->window_size -= window_at(progress, 0)->size;
        progress->window_head = (progress->window_head + 1) & (progress->window_capacity - 1);
        progress->window_count--;
    }
    if (progress->window_count == 0)
        drop_window(progress, pool);
}

bool progress_is_window_full(const struct progress *progress, const struct raft_config *config)
{
    return progress->window_count >= config->inflight_count_max ||
           (config->inflight_size_max != 0 && progress->window_size >= config->inflight_size_max);
}

/* ---- states ---- */

static void enter(struct progress *progress, struct raft_pool *pool, enum raft_progress_state state)
{
    progress->state = (uint8_t)state;
    progress->paused = false;
    progress->want_snapshot = false;
    progress->fetch_from = 0;
    progress->pending_snapshot = 0;
    drop_window(progress, pool);
}

void progress_reset(struct progress *progress, struct raft_pool *pool, raft_index match, raft_index next)
{
    enter(progress, pool, RAFT_PROBE);
    progress->match = match;
    progress->next = next;
    progress->sent_commit = 0;
    progress->acked_round = progress->sent_round = 0;
    progress->queued = 0;
    progress->vote = PROGRESS_NO_ANSWER;
    progress->recent_active = false;
}

void progress_become_probe(struct progress *progress, struct raft_pool *pool)
{
    raft_index snapshot = progress->state == RAFT_SNAPSHOTTING ? progress->pending_snapshot : 0;
    enter(progress, pool, RAFT_PROBE);
    progress->next = most(progress->match, snapshot) + 1;
    progress->sent_commit = least(progress->sent_commit, progress->next - 1);
}

void progress_become_replicate(struct progress *progress, struct raft_pool *pool)
{
    enter(progress, pool, RAFT_REPLICATE);
    progress->next = progress->match + 1;
}

void progress_become_snapshotting(struct progress *progress, struct raft_pool *pool, raft_index index)
{
    enter(progress, pool, RAFT_SNAPSHOTTING);
    progress->pending_snapshot = index;
    progress->next = index + 1;
    progress->sent_commit = index;
}

/* ---- answers ---- */

bool progress_ack(struct progress *progress, raft_index index)
{
    if (index <= progress->match)
        return false;
    progress->match = index;
    progress->next = most(progress->next, index + 1);
    progress->paused = false;
    progress->want_snapshot = false; /* it is further than we thought */
    return true;
}

bool progress_nack(struct progress *progress, raft_index rejected, raft_index hint)
{
    if (progress->state == RAFT_REPLICATE) {
        if (rejected <= progress->match)
            return false;
        progress->next = progress->match + 1;
    } else {
        /* Probes go one at a time, so only a refusal of the latest one counts; older ones come from a reordering
         * network. */
        if (progress->next - 1 != rejected && !BUG(stale_nack_moves_back))
            return false;
        progress->next = most(least(rejected, hint + 1), BUG(stale_nack_moves_back) ? 1 : progress->match + 1);
        progress->paused = false;
    }
    progress->fetch_from = 0;
    progress->sent_commit = least(progress->sent_commit, progress->next - 1);
    return true;
}

bool progress_is_paused(const struct progress *progress)
{
    return progress->state == RAFT_SNAPSHOTTING || progress->paused;
}

bool progress_can_bump_commit(const struct progress *progress, raft_index commit)
{
    return commit > progress->sent_commit && progress->sent_commit < progress->next - 1;
}

void progress_sent(struct progress *progress, struct raft_pool *pool, const struct raft_config *config, uint32_t count,
                   uint64_t size, bool merged)
{
    if (progress->state == RAFT_PROBE) {
        progress->paused = progress->paused || count > 0;
        return;
    }
    CHECK(progress->state == RAFT_REPLICATE);
    if (count > 0) {
        progress->next += count;
        if (merged && progress->window_count > 0) {
            struct inflight *newest = window_at(progress, progress->window_count - 1);
            newest->index = progress->next - 1;
            newest->size += size;
            progress->window_size += size;
        } else {
            window_add(progress, pool, progress->next - 1, size);
        }
    }
    /* A message that finds or makes the window full is a probe: its answer opens the flow again. */
    progress->paused = progress_is_window_full(progress, config);
}

void progress_fini(struct progress *progress, struct raft_pool *pool)
{
    drop_window(progress, pool);
}

size_t progress_memory_size(const struct progress *progress)
{
    return progress->window ? raft_pool_block_size(progress->window_capacity * sizeof(*progress->window)) : 0;
}
