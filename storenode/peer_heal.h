/* peer_heal: a replica whose rows cannot be read is named, serves nothing, and gets its rows anew from the leader.
 *
 *   a read, the apply worker, a cut, a start --store_report_damage--> DAMAGED (durable: row 0x13) --asks the leader-->
 *        rows as of index A come like a snapshot --> the state machine is replaced, the log stays --> healed
 *
 * Damaged: nothing is read, applied or sent to others from its rows; what it leads it hands over, and it campaigns only
 * when nobody leads for long: the others refuse whoever has less than it has, and may have nobody else (peer_heal_must_lead).
 * Before that it asks the others for rows, one after the other: what any of them has applied is committed. If it leads and
 * there is nobody to hand over to (a learner, say), it resigns once the others have had time to come to where it is.
 * It goes on to take entries, to acknowledge them and to vote, because its log and hard state are sound and are not
 * touched: docs/decisions/0014. Splits among the entries that the new rows make needless are not left out: somebody counts on
 * the peer of the new region that is to be here. It begins as a damaged one: it votes, and asks for its rows.
 * If those are damaged, the replica is lost: it must be removed and added with a new id.
 *
 *   'g' | region id | 0x13   damage   u8 format=1 | text | checksum u32
 *
 * Owner: the region worker of the peer. */
#ifndef STORENODE_PEER_HEAL_H
#define STORENODE_PEER_HEAL_H

#include "base/error.h"
#include "env/engine.h"
#include "raft/raft.h"
#include "storenode/store_parts.h"

struct peer;
struct store_ranges_change;

enum { PEER_HEAL_CHILDREN_MAX = 64 };

/* Of a replica that is known to be damaged. */
struct peer_heal {
    char *reason; /* owned */
    uint64_t since_us, asked_us;
    uint32_t leaderless_ticks, leading_ticks;
    uint32_t asked_count; /* others than a leader, in turn */
    struct region *rows_region; /* owned; before changes of members that were taken over; NULL: there are none */
    struct raft_conf rows_conf; /* with it */
    bool is_logged;   /* the row is on its way to the disk */
    struct region *children[PEER_HEAL_CHILDREN_MAX]; /* owned: split off in the entries that the new rows leave out */
    uint32_t child_count;
};

/* A row of this region could not be read here. Any thread. */
void store_report_damage(struct store *store, region_id region, const char *text);
/* WORKER_DAMAGE */
struct damage_message {
    struct message message;
    region_id region;
    char text[400];
};

/* Start-up: known from an earlier life, or found just now. */
void peer_heal_begin(struct peer *peer, const char *text, uint64_t now_us);
void peer_heal_damaged(struct peer *peer, const char *text);
/* Now and then, and when it is damaged: hands over, asks. */
void peer_heal_tick(struct peer *peer);
/* Ticks went by, with a leader or without. */
void peer_heal_count_ticks(struct peer *peer, uint32_t count);
/* Nobody has led for so long that its log may be the one that the others lack: it leads until they have it. */
bool peer_heal_must_lead(const struct peer *peer);
/* It is to campaign: the committed changes of members are taken over, though nothing can be applied. */
void peer_heal_know_members(struct peer *peer);
/* A damaged replica, which has applied up to `applied`, asks for its rows. */
void peer_heal_asked(struct peer *peer, peer_id from, raft_term term, raft_index applied);
/* Before rows as of `to`, when the region was `as_of`, are accepted: what is split off up to there, and was not merged back,
 * gets its rows, in the same batch. False: not now. */
bool peer_heal_children(struct peer *peer, raft_index to, const struct region *as_of, struct log_task *task);
/* They were not accepted: nothing of that counts. */
void peer_heal_forget_children(struct peer *peer);
/* They were, durably: whose are the keys of what was split off? It is started when the rows are new. */
void peer_heal_put_ranges(const struct peer *peer, struct store_ranges_change *change);
/* The rows are new. */
void peer_heal_done(struct peer *peer);
void peer_heal_fini(struct peer *peer);

/* ---- rows */
void damage_put(struct engine *engine, struct engine_batch *batch, region_id region, const char *text);
void damage_delete(struct engine *engine, struct engine_batch *batch, region_id region);
/* A row of its own that is damaged says "damaged", too. `text` of `size` bytes is filled. */
bool damage_load(struct engine *engine, region_id region, char *text, size_t size);

#endif
