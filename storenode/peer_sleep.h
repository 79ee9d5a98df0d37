/* peer_sleep: how the peers of an idle region fall asleep together, and what wakes them.
 *
 * A sleeping peer is not ticked, sends nothing and keeps nothing in memory that it can read again. That is safe as long
 * as somebody who is awake notices what its timers would have noticed: the stores' beats do (store_pairs.h).
 *
 *   leader    idle for region-sleep-after: its heartbeats ask (RaftMessage.sleep)                    peer_sleep_on_send
 *   follower  nothing is under way here, the leader's store is heard: its answer agrees, then it sleeps
 *   leader    all have agreed to the newest question, and nothing happened since: it sleeps          peer_sleep_try
 *
 * A lost question or answer leaves the leader awake, and its next heartbeat asks again. So:
 *   S1 while a leader sleeps, everybody has slept under it in its term with all of its log;
 *   S2 a follower that sleeps while its leader does not is woken by the next heartbeat;
 *   S3 who is woken by anything but its leader wakes its leader, by an answer to no heartbeat (peer_wake);
 *   S4 no peer sleeps unless it hears the stores that it depends on: a follower the leader's, a leader (when it falls
 *      asleep) everybody's, later a quorum's. An older binary sends no beats: regions shared with it stay awake.
 * What wakes: a message, a request; the leader's store silent or restarted (then it elects, too); for a leader, that no
 * quorum is heard any more, or that a store has come back, whose peer may be asking who leads.
 * Promises of leases age while sleeping (raft_wake); a leader that slept has no lease and asks a quorum.
 *
 * Owner: the region worker of the peer. */
#ifndef STORENODE_PEER_SLEEP_H
#define STORENODE_PEER_SLEEP_H

#include "raft/raft.h"
#include "storenode/store.h" /* enum wake_cause */

struct peer;
struct wire_raft_message;

struct peer_sleep {
    bool asleep;
    bool asked;           /* follower: the newest heartbeat asked, and nothing came after it */
    bool agreed;          /* follower: in this round's answer */
    uint32_t agreed_mask; /* leader: to the newest question; bits by place in the region */
    uint64_t asked_round; /* leader: of the newest question; 0: none that counts */
    uint64_t slept_tick;  /* the worker's count of ticks when it fell asleep */
    uint64_t worked_tick; /* ... when there was work last */
};

/* Somebody wants something, or the role changed: not idle. */
void peer_sleep_note_work(struct peer *peer);
/* `wire` is about to leave: asks or agrees in it. */
void peer_sleep_on_send(struct peer *peer, const struct raft_message *message, struct wire_raft_message *wire);
/* Around raft_step: wakes; then notes what was asked or agreed to. */
void peer_sleep_before_step(struct peer *peer, const struct wire_raft_message *wire);
void peer_sleep_after_step(struct peer *peer, const struct wire_raft_message *wire);
/* Falls asleep if it is time. Only when nothing of the core is lent. */
void peer_sleep_try(struct peer *peer);
/* Stores that hold a quorum of the voters are heard. */
bool peer_sleep_quorum_lives(const struct peer *peer);
void peer_wake(struct peer *peer, enum wake_cause cause); /* awake: nothing happens */

/* What the worker heard, or did not hear, of a store. For each peer, asleep or not. */
void peer_sleep_store_silent(struct peer *peer, store_id store);
void peer_sleep_store_back(struct peer *peer, store_id store, bool restarted);

#endif
