/* group_log: the rows of a group in the engine: written through log tasks, read at start-up and for slow followers.
 * Formats are drawn in group_keys.h. Inner part of common/group. */
#ifndef GROUP_GROUP_LOG_H
#define GROUP_GROUP_LOG_H

#include "base/arena.h"
#include "base/buf.h"
#include "env/engine.h"
#include "raft/raft.h"

void group_log_put_hard(struct engine *engine, struct engine_batch *batch, uint64_t id,
                        const struct raft_hard_state *hard);
void group_log_put_truncated(struct engine *engine, struct engine_batch *batch, uint64_t id,
                             struct raft_position position);
void group_log_put_entry(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_entry *entry,
                         struct buf *scratch);
void group_put_conf(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_conf *conf);
/* The same, as of an entry: who loses its apply state still knows which changes these members are of. */
void group_put_conf_at(struct engine *engine, struct engine_batch *batch, uint64_t id, const struct raft_conf *conf,
                       raft_index index);
/* Rows before `to`. */
void group_log_delete_head(struct engine *engine, struct engine_batch *batch, uint64_t id, raft_index to);
/* Rows from..last, which another leader's log has no room for. */
void group_log_delete_tail(struct engine *engine, struct engine_batch *batch, uint64_t id, raft_index from,
                           raft_index last);

/* Entries with their payloads. */
struct group_log_run {
    struct raft_entry *entries; /* owned */
    uint32_t count, capacity;
    struct arena payload_arena;
};
void group_log_run_init(struct group_log_run *run);
void group_log_run_fini(struct group_log_run *run);
/* Reads from `from` on until a limit (at least one entry) or the end of the log. ERR_CORRUPT names group and index. */
enum err group_log_read(struct engine *engine, uint64_t id, raft_index from, uint32_t count_max, uint64_t size_max,
                        struct group_log_run *run, struct error *err);
/* ERR_NOT_FOUND: neither in the log nor its truncated edge. */
enum err group_log_term(struct engine *engine, uint64_t id, raft_index index, raft_term *ret_term, struct error *err);

/* One row, for who looks in: the entry, its payload borrowed from `value`. ERR_CORRUPT: another index, or damaged. */
enum err group_log_parse(uint64_t id, struct bytes key, struct bytes value, raft_index want_index,
                         struct raft_entry *ret_entry, struct error *err);
/* One row each, for who goes on when another one is damaged. ERR_NOT_FOUND: there is none; no text. */
enum err group_log_load_hard(struct engine *engine, uint64_t id, struct raft_hard_state *ret_hard, struct error *err);
enum err group_log_load_truncated(struct engine *engine, uint64_t id, struct raft_position *ret_position,
                                  struct error *err);
enum err group_log_load_conf(struct engine *engine, uint64_t id, struct raft_conf *ret_conf, struct error *err);

struct group_log_state {
    struct raft_hard_state hard;
    struct raft_conf conf;
    raft_index conf_index; /* 0: not known */
    struct raft_position truncated;
};
/* Everything at start-up; entries after `applied` into `run`. ERR_NOT_FOUND: no such group. */
enum err group_log_load(struct engine *engine, uint64_t id, raft_index applied, struct group_log_state *ret_state,
                        struct group_log_run *run, struct error *err);

#endif
