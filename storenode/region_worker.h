/* region_worker: an actor that owns a share of the peers of this store, and runs their rounds.
 *
 *   on_message:  requests, raft messages and completions go to the peer they name; it is marked as touched
 *   on_round:    touched peers propose what gathered, their groups are pulled; then everything leaves at once:
 *                one frame per store, one log task, one read task, one reply frame per connection
 *
 * Time goes by for awake peers only (peer_sleep.h): a tick costs nothing for a region that sleeps. Worker 0 sends the
 * beats that stand for them, as long as every worker has its ticks and a disk that answers.
 *
 * The disk is the clock of writes: while what was proposed is being synced here, new ones gather.
 *
 * It never waits: the disk belongs to the log, apply and read workers. */
#ifndef STORENODE_REGION_WORKER_H
#define STORENODE_REGION_WORKER_H

#include "storenode/store.h"
#include "storenode/store_parts.h"

struct campaigns;
struct peer;
struct store_pairs;

/* Makes the worker and its actor. Peers come from region_worker_add_region (start-up) or WORKER_REGIONS messages. */
enum err region_worker_new(struct store *store, uint32_t index, struct region_worker **ret_worker);
void region_worker_free(struct region_worker *worker); /* after the executor has stopped; NULL is fine */
struct actor *region_worker_actor(const struct region_worker *worker);

/* Start-up, before any message is handled: starts the local peer of a region whose rows are in the engine.
 * `leads_first`: this peer should. */
enum err region_worker_add_region(struct region_worker *worker, const struct region *region, peer_id local_peer,
                                  bool leads_first, struct error *err);
/* Start-up: its rows are there, and cannot be trusted (peer_lost.h). */
void region_worker_add_lost(struct region_worker *worker, const struct region *region, peer_id local_peer);
/* Start-up of a store that knows its id: starts the timer. On a first start the worker does it by itself, with its
 * first WORKER_REGIONS or WORKER_STORES message. */
void region_worker_start(struct region_worker *worker);
void region_worker_add_sleep_counts(const struct region_worker *worker, struct store_sleep_counts *counts);
/* Peers that were merged into others, and are not all gone yet. */
uint32_t region_worker_ending_count(const struct region_worker *worker);
void region_worker_visit(const struct region_worker *worker,
                         void (*visit)(void *context, const struct store_peer_view *view), void *context);

/* ---- for peer.c: where effects of this round gather */
struct store *region_worker_store(struct region_worker *worker);
struct replies *region_worker_replies(struct region_worker *worker);
struct log_task *region_worker_log_task(struct region_worker *worker);
struct read_task *region_worker_read_task(struct region_worker *worker);
void region_worker_post_reads(struct region_worker *worker, struct read_task *take_task);
/* The read workers are behind: no more for now. */
bool region_worker_reads_are_many(const struct region_worker *worker);
/* Now and then one region may be counted of which only little is known to have been written: after a restart, that is
 * how one that is too large already is found. */
bool region_worker_may_count(struct region_worker *worker);
void region_worker_counted(struct region_worker *worker, uint64_t size); /* that was so much to read */
void region_worker_touch(struct region_worker *worker, struct peer *peer);
/* False: writes should gather; region_worker_wait gives the peer another round when they may go. */
bool region_worker_may_propose(const struct region_worker *worker);
/* An entry was proposed; its outcome is known, one way or the other. */
void region_worker_proposed(struct region_worker *worker);
void region_worker_proposal_ended(struct region_worker *worker);
void region_worker_wait(struct region_worker *worker, struct peer *peer);
/* A region was split off one of this worker's: starts its peer here, on whichever worker. `campaign`: it should lead. */
void region_worker_add_child(struct region_worker *worker, const struct region *region, bool campaign);
/* A region that is here no more; `last`: as it was at its end, `into` (NULL: not known): what its keys are part of. */
void region_worker_departed(struct region_worker *worker, const struct region *last, const struct region *into);
/* The peer takes nothing any more; it is freed when peer_merge_is_over. */
void region_worker_end_peer(struct region_worker *worker, struct peer *peer, const struct region *last,
                            const struct region *into);
/* A raft message to the store of another peer; lent. */
void region_worker_send(struct region_worker *worker, struct peer *peer, const struct raft_message *message,
                        bool after);
/* One without entries, of any kind, to any store; nothing if there is no connection. Copied. */
void region_worker_send_wire(struct region_worker *worker, store_id to, const struct wire_raft_message *wire);
/* ... to all other stores that there are. */
void region_worker_send_everybody(struct region_worker *worker, const struct wire_raft_message *wire);
/* A region lies here and on other stores: their beats count, and ours go to them. */
void region_worker_share(struct region_worker *worker, const struct region *region);
bool region_worker_knows_store(const struct region_worker *worker, store_id store);
/* Ticks that all awake peers were given so far. */
uint64_t region_worker_tick_count(const struct region_worker *worker);
const struct store_pairs *region_worker_pairs(const struct region_worker *worker);
/* The peer fell asleep, or woke up: it leaves the list of those that are ticked, or joins it. */
void region_worker_asleep(struct region_worker *worker, struct peer *peer);
void region_worker_awake(struct region_worker *worker, struct peer *peer, enum wake_cause cause);
struct campaigns *region_worker_campaigns(struct region_worker *worker);
uint64_t region_worker_now_us(const struct region_worker *worker); /* of this round */
struct raft_pool *region_worker_pool(struct region_worker *worker);

#endif
