/* core: the inside of `struct raft`, shared by the modules of this directory and by nobody else (tests that look inside
 * do).
 *
 *   raft.c       birth, messages in, ticks, proposals, completions       election.c   roles, votes, transfer
 *   outbox.c     messages out, raft_ready                                replicate.c  appends, acks, heartbeats,
 * snapshots readindex.c  reads                                                   status.c     questions, raft_check */
#ifndef RAFT_CORE_H
#define RAFT_CORE_H

#include "base/rng.h"
#include "raft/progress.h"
#include "raft/quorum.h"
#include "raft/raft.h"
#include "raft/raftlog.h"

/* Terms and indexes from the wire stay below this, so that adding one never overflows. */
#define RAFT_NUMBER_MAX (UINT64_MAX / 4)
/* Our own log may go on from there: what was written must be readable at the next start. */
#define RAFT_OWN_INDEX_MAX (UINT64_MAX / 2)

struct read_slot {
    uint64_t context;
    peer_id from;     /* whose read it is; own id: ours */
    raft_index index; /* leader: 0 until an entry of our term is committed */
    uint64_t round; /* leader: the round that must be confirmed; follower: the number under which we asked the leader */
    uint64_t deadline_tick;
};
struct read_queue {
    struct read_slot *slots; /* ring; NULL when empty */
    uint32_t head, count, capacity;
};

struct message_list {
    struct raft_message *items; /* owned, with their entries and snapshots */
    uint32_t count, capacity;
};
struct outbox {
    struct message_list now, after;
    struct raft_entry *entries, *committed;
    struct raft_read_result *reads;
    struct raft_fetch *fetches;
    uint32_t read_count, read_capacity, fetch_count, fetch_capacity;
    struct raft_snapshot *snapshot;
};

struct raft {
    const struct raft_config *config; /* borrowed, outlives us */
    struct raft_pool *pool;           /* borrowed, outlives us */
    peer_id id;
    raft_term term;
    peer_id vote, leader, transfer_to;
    uint8_t role;
    uint8_t peer_count;
    bool auto_leave;
    bool told_timeout_now; /* in this term: somebody may campaign past our lease at any time */
    bool round_wanted;     /* reads wait for a heartbeat round */
    bool forced;           /* see raft_force */
    uint8_t handed_role;
    uint32_t election_elapsed, heartbeat_elapsed, election_timeout;
    uint32_t refuse_ticks; /* neither vote nor campaign for so long: somebody may have a lease */
    uint64_t tick_count;
    struct progress *peers; /* by ascending id, one per member */
    struct raftlog log;
    raft_index first_of_term;      /* leader: the entry with which it began */
    raft_index conf_index; /* every change of members up to there is in the configuration, or was refused; else: applied */
    raft_index pending_conf_index; /* no conf change may be proposed before this is applied */
    uint64_t uncommitted_size;
    uint64_t round, confirmed_round;
    uint64_t read_number;
    struct read_queue reads;
    struct outbox *queued, *lent;
    struct raft_hard_state handed_hard;
    peer_id handed_leader;
    raft_index overwritten_from;
    struct rng rng;
};

/* ---- raft.c ---- */
struct progress *raft_peer(const struct raft *raft, peer_id id); /* NULL if not a member */
struct raft_hard_state raft_hard_state(const struct raft *raft);
/* The value that a quorum of voters (of both halves) has reached. */
uint64_t raft_quorum_value(const struct raft *raft, uint64_t (*value)(const struct raft *, const struct progress *));
/* Leader: appends one entry of the own term. False: too much is uncommitted. */
bool raft_append_own(struct raft *raft, uint8_t kind, struct bytes data);
void *raft_array_grow(struct raft_pool *pool, void *items, size_t item_size, uint32_t count, uint32_t *capacity);
bool raft_message_is_sane(const struct raft *raft, const struct raft_message *message);

/* ---- outbox.c ---- */
/* Fills in sender and (except for votes) term; queues it, answers that promise durability behind the append. */
void outbox_send(struct raft *raft, struct raft_message message);
/* An append of `count` entries from `first` on; merges with a queued one if configured. Returns true if merged into one
 * that had entries. */
bool outbox_send_append(struct raft *raft, struct progress *peer, struct raft_position previous, raft_index first,
                        uint32_t count);
/* The same with entries that are lent. */
void outbox_send_lent(struct raft *raft, struct progress *peer, struct raft_position previous,
                      const struct raft_entry *entries, uint32_t count);
void outbox_send_snapshot(struct raft *raft, peer_id to, const struct raft_snapshot *snapshot);
void outbox_read(struct raft *raft, struct raft_read_result result);
void outbox_fetch(struct raft *raft, struct raft_fetch fetch);
void outbox_fini(struct raft *raft);
size_t outbox_memory_size(const struct raft *raft);

/* ---- election.c ---- */
void election_become_follower(struct raft *raft, raft_term term, peer_id leader);
void election_become_pre_candidate(struct raft *raft);
void election_become_candidate(struct raft *raft);
void election_become_leader(struct raft *raft);
enum election_kind { ELECTION_PRE, ELECTION_REAL, ELECTION_TRANSFER };
enum err election_hup(struct raft *raft, enum election_kind kind);
bool election_is_promotable(const struct raft *raft);
void election_tick(struct raft *raft);
/* The vote is refused without an answer: the leader is alive, or may have a lease that we promised before a restart. */
bool election_ignores(const struct raft *raft, const struct raft_message *message);
void election_on_request(struct raft *raft, const struct raft_message *message);
void election_on_response(struct raft *raft, const struct raft_message *message);
void election_abort_transfer(struct raft *raft);
void election_tell_timeout_now(struct raft *raft, peer_id to);

/* ---- replicate.c ---- */
enum err replicate_on_append(struct raft *raft, const struct raft_message *message);
void replicate_on_append_response(struct raft *raft, struct progress *peer, const struct raft_message *message);
void replicate_on_heartbeat(struct raft *raft, const struct raft_message *message);
void replicate_on_heartbeat_response(struct raft *raft, struct progress *peer, const struct raft_message *message);
void replicate_on_absent(struct raft *raft, struct progress *peer);
void replicate_on_snapshot(struct raft *raft, const struct raft_message *message);
/* False if nothing was sent. */
bool replicate_to_peer(struct raft *raft, struct progress *peer, bool if_empty);
void replicate_broadcast(struct raft *raft);
void replicate_heartbeat(struct raft *raft);
/* Recomputes the commit index; true if it moved. */
bool replicate_commit(struct raft *raft);
void replicate_switch_conf(struct raft *raft, const struct raft_conf *conf, uint32_t fresh);

/* ---- readindex.c ---- */
void readindex_on_request(struct raft *raft, const struct raft_message *message);
void readindex_on_response(struct raft *raft, const struct raft_message *message);
/* The commit index moved: reads that waited for an entry of our own term can start. */
void readindex_on_commit(struct raft *raft);
void readindex_on_round(struct raft *raft, struct progress *peer, uint64_t round);
void readindex_confirm(struct raft *raft); /* the quorum may have changed */
void readindex_tick(struct raft *raft);
void readindex_drop_all(struct raft *raft, enum err code);

#endif
