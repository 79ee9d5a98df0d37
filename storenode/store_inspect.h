/* store_inspect: what lies in the engine of a store that does not run, row by row: for people, and is it sound?
 *
 * Nothing is written and nothing is believed. Each row is decoded by the module whose row it is; what one row says is
 * then held against what others say:
 *
 *   a group      hard state, apply state, truncated state, membership and region row are there and whole
 *                truncated <= applied <= last; commit <= last; terms never fall and none is above the hard state's
 *                the log is whole from truncated + 1 to last; every entry decodes
 *                what tokens are not saved of is still in the log (tokens.h); saved <= applied
 *   a region     its row has its own id, this store, the local peer, the members
 *   the store    its identity; regions do not overlap
 *   user's rows  key, header and sizes (row.h); each lies in a region of this store (else: a warning)
 *
 * A row's own bytes have a checksum or not: region row, identity and user's rows have none, only RocksDB's blocks do.
 *
 * Owner: the caller's thread, which may wait for the disk. */
#ifndef STORENODE_STORE_INSPECT_H
#define STORENODE_STORE_INSPECT_H

#include "env/engine.h"
#include "meta/region.h"
#include "proto/wire.h"
#include "raft/raft.h"

struct inspect_totals {
    uint64_t row_count, size; /* of all column families: keys and values */
    uint64_t log_count, group_count;
    uint64_t finding_count, warning_count;
};

/* Where findings go, and how far it is. */
struct inspect {
    struct engine *engine; /* borrowed */
    void *context;
    void (*found)(void *context, bool is_warning, const char *text);      /* NULL: only counted */
    void (*progress)(void *context, const struct inspect_totals *totals); /* called often; may be NULL */
    struct inspect_totals totals;
    store_id store; /* of the identity row; 0: not known, and not compared */
};

/* Says it and counts it; for the caller's own findings, too. */
void inspect_found(struct inspect *inspect, bool is_warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct inspect_group {
    region_id id;
    struct region *region; /* owned; NULL: no row, or not readable */
    peer_id local_peer;
    bool is_tombstone;
    bool has_hard, has_applied, has_truncated, has_conf;
    struct raft_hard_state hard;
    struct raft_position applied, truncated;
    struct raft_conf conf;
    raft_index first_index, last_index; /* of the log's rows; 0: none */
    raft_term last_term;
    uint64_t log_count, log_size;
    uint64_t client_count;
    raft_index tokens_index; /* tokens are saved as of here */
};

/* Reads all rows of a group; false: it has none. Fini the group in any case. */
bool inspect_group(struct inspect *inspect, region_id id, struct inspect_group *ret_group);
void inspect_group_fini(struct inspect_group *group);
/* Entries that are in the log and not applied. */
uint64_t inspect_group_lag(const struct inspect_group *group);
/* The first index that this replica's log must still have: for entries to apply, and for tokens. Slow followers may need
 * more, but that only the leader knows. */
raft_index inspect_group_min_checkpoint(const struct inspect_group *group);

/* Entries from index `from` on (0: from the first), `limit` at most (0: all); the log ends at one that is damaged, which is
 * a finding. */
void inspect_entries(struct inspect *inspect, const struct inspect_group *group, raft_index from, uint64_t limit,
                     void (*visit)(void *context, const struct raft_entry *entry), void *context);
/* What an entry writes, key by key (and where it splits); nothing for one that does neither. ERR_CORRUPT, ERR_INVALID: cannot be decoded. */
typedef void inspect_write(void *context, const char *op, struct bytes key, size_t value_size);
enum err inspect_writes(const struct raft_entry *entry, inspect_write *visit, void *context);

/* The least group id >= `from` that has a row; false: none (or it cannot be read, which is a finding). */
bool inspect_next_group(struct inspect *inspect, region_id from, region_id *ret_id);

/* The region row alone, without the log: cheap. False: none, or not readable (a finding). Free the region. */
bool inspect_region(struct inspect *inspect, region_id id, struct region **ret_region, peer_id *ret_local_peer,
                    bool *ret_is_tombstone);

/* Reads the user's rows of [start, end) in one column family. */
void inspect_rows(struct inspect *inspect, enum engine_cf cf, struct bytes start, struct bytes end,
                  uint64_t *ret_row_count, uint64_t *ret_size);

/* The identity; sets inspect->store. ERR_NOT_FOUND, ERR_CORRUPT, ...: that is a finding, too. */
enum err inspect_ident(struct inspect *inspect, struct wire_store_ident *ret_ident);

/* The engine, if it was opened for writing, may drop what is expired by the times of its regions. ERR_IO, ... */
enum err inspect_allow_expiry(struct inspect *inspect, struct error *err);

/* Everything. */
void inspect_all(struct inspect *inspect);

#endif
