/* tokens: which writes of which clients a region has applied, so that a write sent twice happens once.
 *
 * A client numbers its writes (client_id, sequence) and says with each the lowest number that has not ended
 * (sequence_done); below that nothing is ever asked again. Per region and client the state machine keeps the numbers
 * from sequence_done on, each with the code it ended with. This is replicated state: it changes only by applying
 * entries. Its rows are not written with each entry: they are saved now and then as of an index (the fsm decides), and
 * what came after is told again from the log at the next load. So a save must come before the log behind it is cut,
 * and in the batch of any entry whose outcome the log alone does not tell (a write that did not simply succeed).
 *
 * Bounded: CLIENTS_MAX clients per region; the one whose last write is oldest (by log index) goes, the same on every
 * replica. After such a loss a *repeated* write that is not known is answered ERR_MAYBE, unless its client was known
 * all the time: it may be one of those that were lost. That is so as well when the client came back with newer writes.
 * A client may have SEQUENCES_MAX unfinished writes in one region; more are refused with ERR_BUSY.
 *
 * A write of several keys that was sent before may have been cut at a border of regions since, both parts under one number;
 * and if those regions merge, both come to one region. So what was done for a repetition of such a write is kept as doubtful
 * (the top bit of `code`): it may have been the other part, and the next repetition is ERR_MAYBE. What was done when it was
 * sent for the first time was all of it.
 *
 * When regions merge, what either knows is known to the one that is left.
 *
 *   row  key    'g' | region id | 0x11 | client id u64 be
 *        value  sequence_done u64 | last_index u64 | forgetful u8 | n x (offset from sequence_done u32, code u16) |
 * checksum u32 key    'g' | region id | 0x12          value  evicted_index u64 | saved_index u64 | checksum u32
 *
 * Owner: the apply worker. Ongaro 2014, 6.3 (linearizable semantics by client serial numbers). */
#ifndef STORENODE_TOKENS_H
#define STORENODE_TOKENS_H

#include "base/arena.h"
#include "base/error.h"
#include "base/types.h"
#include "env/engine.h"
#include "proto/wire.h"

enum { TOKENS_CLIENTS_MAX = 256, TOKENS_SEQUENCES_MAX = 8192 };

struct tokens;
struct token {
    uint64_t client_id;
    uint64_t sequence;
    uint64_t sequence_done;
    bool retry; /* an earlier send may have happened */
    bool part;  /* of several keys: if it is a repetition, perhaps one part of what was cut */
};

/* `first_index`: what counts as saved while nothing is (a fresh region's first index). Reads nothing yet. */
struct tokens *tokens_new(struct engine *engine, region_id region, raft_index first_index);
void tokens_free(struct tokens *tokens); /* NULL is fine */

/* Reads the rows. What the log says after tokens_saved_index is the caller's to record, before anything else. */
enum err tokens_load(struct tokens *tokens);
/* Puts the rows with which `child`, just split off this region, begins: it must recognise what was done before. Its log
 * is young, so that all of it counts as told at `first_index`. Loaded. */
void tokens_put_inherited(struct tokens *tokens, struct engine_batch *batch, region_id child, raft_index first_index);
/* The region takes in another one, whose tokens are `source` (loaded), with the entry `index`. Save them in its batch. */
void tokens_absorb(struct tokens *tokens, const struct tokens *source, raft_index index);
bool tokens_is_loaded(const struct tokens *tokens);
raft_index tokens_saved_index(const struct tokens *tokens);

/* May this write be executed? ERR_OK and `*ret_seen` false: yes, then call tokens_record with its result. `*ret_seen`
 * true: it was, `*ret_code` is what it ended with. ERR_MAYBE, ERR_BUSY: refuse with that. Loaded. */
enum err tokens_check(struct tokens *tokens, const struct token *token, bool *ret_seen, enum err *ret_code);
void tokens_record(struct tokens *tokens, const struct token *token, enum err code, raft_index index);
/* Puts the rows of all clients that changed since the last call into `batch`: everything up to `index` is told. */
void tokens_save(struct tokens *tokens, struct engine_batch *batch, raft_index index);
/* All rows as a save at `index` would leave them, for a snapshot: who gets it has no log from which to learn the rest.
 * Loaded. */
void tokens_export(struct tokens *tokens, raft_index index, struct arena *arena, struct wire_snapshot_row **ret_rows,
                   uint32_t *ret_count);
/* Is this the row of a client, by itself? For who looks in. ERR_CORRUPT. */
enum err tokens_check_row(struct bytes key, struct bytes value);

#endif
