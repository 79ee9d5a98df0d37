/* raft_entries: copies of entries with payloads of their own, as a disk or a wire has them. Each payload is a block that is
 * just large enough, so that ASan sees whoever reads too far or too late. */
#ifndef SIM_RAFT_ENTRIES_H
#define SIM_RAFT_ENTRIES_H

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "raft/raft.h"

static inline struct raft_entry *raft_entries_copy(const struct raft_entry *entries, uint32_t count)
{
    struct raft_entry *copy = malloc((count + 1) * sizeof *copy);
    CHECK(copy);
    for (uint32_t i = 0; i < count; i++) {
        copy[i] = entries[i];
        uint8_t *data = malloc(entries[i].data.size + 1);
        CHECK(data);
        if (entries[i].data.size)
            memcpy(data, entries[i].data.data, entries[i].data.size);
        copy[i].data.data = data;
    }
    return copy;
}

/* Of entries `from` .. `to` - 1. */
static inline void raft_entries_free_payloads(struct raft_entry *entries, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++)
        free((void *)(uintptr_t)entries[i].data.data);
}

static inline void raft_entries_free(struct raft_entry *entries, uint32_t count)
{
    raft_entries_free_payloads(entries, 0, count);
    free(entries);
}

/* Returns the log with copies of `entries` behind its first `keep`, in place of what was there. */
static inline struct raft_entry *raft_entries_replace(struct raft_entry *take_log, uint32_t log_count, uint32_t keep,
                                                      const struct raft_entry *entries, uint32_t count)
{
    CHECK(keep <= log_count);
    struct raft_entry *copy = raft_entries_copy(entries, count); /* reads the payloads */
    raft_entries_free_payloads(take_log, keep, log_count);
    struct raft_entry *log = realloc(take_log, (keep + count + 1) * sizeof *log);
    CHECK(log);
    memcpy(log + keep, copy, count * sizeof *copy);
    free(copy);
    return log;
}

/* The first `gone` of a log. */
static inline void raft_entries_drop(struct raft_entry *log, uint32_t log_count, uint32_t gone)
{
    raft_entries_free_payloads(log, 0, gone);
    memmove(log, log + gone, (log_count - gone) * sizeof *log);
}

#endif
