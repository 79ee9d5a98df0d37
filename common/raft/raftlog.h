/* raftlog: the log as the core sees it: which part is durable, committed, applied; and the newest entries themselves.
 *
 *   truncated     base           applied   applying    commit             last
 *       |           |               |          |          |                |
 *   ----+-----------+===============+==========+==========+================+    === in memory
 *                                              |  unstable ^ .. in_progress ^ .. : handed to the disk / not yet
 *
 * Owner: the raft that holds it. Memory: a ring of entries and one block per payload, all from the pool.
 *
 * A payload is freed when nobody can read it any more: not the log worker (its append was acknowledged, L4), not the
 * apply worker (its index is applied), not the transport (the messages that lend it were given back). Until then it
 * waits on the `retired` ring, in the order in which it left the log.
 *
 * Invariants (raftlog_check):
 *   L1 truncated <= base <= applied <= applying <= commit <= last, except that a pending snapshot moves base and commit
 * ahead; L2 base < unstable <= in_progress <= last + 1; L3 terms never decrease along the log; L4 acked_sequence <=
 * handed_sequence. */
#ifndef RAFT_RAFTLOG_H
#define RAFT_RAFTLOG_H

#include "raft/raft.h"

enum { RAFTLOG_ENTRY_OVERHEAD = 24 }; /* counted per entry against limits in bytes */

struct retired;

struct raftlog {
    struct raft_pool *pool; /* borrowed */
    struct raft_position truncated, base;
    struct raft_entry *ring; /* base + 1 ..; payloads are owned */
    uint32_t head, count, capacity;
    raft_index unstable;    /* first entry that is not known to be durable */
    raft_index in_progress; /* first entry that was not handed out to be made durable */
    raft_index commit, applying, applied;
    uint64_t applying_size; /* bytes handed out to be applied */
    uint64_t cache_size;    /* bytes in memory */
    bool applying_paused;
    bool snapshot_in_progress;
    bool lent_to_messages;          /* messages that are queued or handed out point to payloads */
    struct raft_snapshot *snapshot; /* owned; waits to be installed; NULL: none */
    uint64_t handed_sequence, acked_sequence;
    uint64_t generation; /* of messages being queued */
    struct retired *retired;
    uint32_t retired_head, retired_count, retired_capacity;
};

void raftlog_init(struct raftlog *log, struct raft_pool *pool, struct raft_position truncated,
                  struct raft_position base);
void raftlog_fini(struct raftlog *log);
void raftlog_check(const struct raftlog *log);
size_t raftlog_memory_size(const struct raftlog *log);

/* ---- what is there ---- */
raft_index raftlog_last(const struct raftlog *log);
struct raft_position raftlog_last_position(const struct raftlog *log);
/* NULL if it is not in memory. */
const struct raft_entry *raftlog_entry(const struct raftlog *log, raft_index index);
/* False if unknown: past the ends, or on disk only. */
bool raftlog_term(const struct raftlog *log, raft_index index, raft_term *ret_term);
bool raftlog_matches(const struct raftlog *log, struct raft_position position);
bool raftlog_is_up_to_date(const struct raftlog *log, struct raft_position candidate);
/* First of `entries` (consecutive) that is new or has another term here; 0: all are here. */
raft_index raftlog_find_conflict(const struct raftlog *log, const struct raft_entry *entries, uint32_t count);
/* The largest index <= `index` whose term is <= `term`; where the term is not known, it is assumed to be (answer term
 * 0). */
struct raft_position raftlog_find_conflict_by_term(const struct raftlog *log, raft_index index, raft_term term);
uint64_t raftlog_entry_size(const struct raft_entry *entry);
/* How many entries from `from` to `to` (both included) fit in `size_max`; at least one. */
uint32_t raftlog_fit(const struct raftlog *log, raft_index from, raft_index to, uint64_t size_max);

/* ---- growing ---- */
/* Copies the payload; index must be last + 1. */
void raftlog_push(struct raftlog *log, raft_term term, uint8_t kind, struct bytes data);
/* Removes entries from `from` on; they must not be committed. */
void raftlog_cut(struct raftlog *log, raft_index from);
enum raftlog_append_result { RAFTLOG_APPENDED, RAFTLOG_MISMATCH, RAFTLOG_CONTRADICTION };
/* The follower's side of an append. CONTRADICTION: it would overwrite what is committed. *ret_cut: first index that was
 * overwritten, or 0. */
enum raftlog_append_result raftlog_maybe_append(struct raftlog *log, struct raft_position previous,
                                                const struct raft_entry *entries, uint32_t count,
                                                raft_index leader_commit, raft_index *ret_last, raft_index *ret_cut);
void raftlog_commit_to(struct raftlog *log, raft_index index); /* must be <= last; never goes back */
void raftlog_restore(struct raftlog *log, const struct raft_snapshot *snapshot);

/* ---- handing out and hearing back ---- */
bool raftlog_has_unstable(const struct raftlog *log); /* entries not yet durable, handed out or not */
void raftlog_stable_to(struct raftlog *log, struct raft_position position);
raft_index raftlog_appliable(const struct raftlog *log, bool apply_unstable);
/* The next entries to apply are applying + 1 .. *ret_to; false if there are none now. */
bool raftlog_next_committed(const struct raftlog *log, const struct raft_config *config, raft_index *ret_to);
void raftlog_accept_committed(struct raftlog *log, const struct raft_config *config, raft_index to);
void raftlog_applied_to(struct raftlog *log, const struct raft_config *config, raft_index index);
void raftlog_snapshot_installed(struct raftlog *log, raft_index index);
/* The state machine is as of `index` now; what was handed out behind it is handed out again. */
void raftlog_rebase(struct raftlog *log, raft_index index);

/* ---- memory ---- */
/* Entries up to `index` leave memory, as far as they are applied and durable. */
void raftlog_evict_to(struct raftlog *log, raft_index index);
void raftlog_evict_over(struct raftlog *log, uint64_t size_max); /* the oldest, until the rest takes at most size_max */
void raftlog_truncate(struct raftlog *log, struct raft_position position);
void raftlog_reap(struct raftlog *log); /* frees what is retired and no longer read */

#endif
