/* store_pairs: which of the other stores live, as one region worker hears it.
 *
 * A sleeping group has no timers of its own (peer_sleep.h). What its members would say to each other is said once for
 * all regions that two stores share, by a beat (proto/raft.fbs StoreBeat) in each interval. Here is what was heard:
 *
 *   UNKNOWN --beat--> LIVE --silence_ticks without a beat--> SILENT --beat--> LIVE (pairs_event RETURNED)
 *                     LIVE, SILENT --beat with another incarnation--> LIVE (RESTARTED)
 *
 * Time is the owner's ticks, each of which counts for at most `step_max`: how long the owner was deaf itself (a stopped
 * process) is no silence of the others; their beats of that time wait in its mailbox.
 *
 * Owner: a region worker. */
#ifndef STORENODE_STORE_PAIRS_H
#define STORENODE_STORE_PAIRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

struct store_pairs;

enum pairs_event { PAIRS_NOTHING, PAIRS_RETURNED, PAIRS_RESTARTED };

struct store_pairs *store_pairs_new(uint32_t silence_ticks, uint32_t step_max);
void store_pairs_free(struct store_pairs *pairs); /* NULL is fine */

/* A region has peers here and there: the store's beats count from now on. True: that is news. */
bool store_pairs_share(struct store_pairs *pairs, store_id store);
void store_pairs_each(const struct store_pairs *pairs, void (*visit)(void *context, store_id store), void *context);
/* What a beat of that store says beyond "I live". The first one is RETURNED. Of a store with which nothing is shared it
 * says nothing. */
enum pairs_event store_pairs_heard(struct store_pairs *pairs, store_id store, uint64_t incarnation, bool leaving);
/* `silent` is called for each store that fell silent just now. */
void store_pairs_tick(struct store_pairs *pairs, uint32_t ticks, void (*silent)(void *context, store_id store),
                      void *context);
bool store_pairs_is_live(const struct store_pairs *pairs, store_id store);
/* Could it lead: now; soon (it has just been started, and refuses votes and campaigns while somebody may have a lease);
 * or not: it is silent, or being stopped. */
enum pairs_fitness { PAIRS_UNFIT, PAIRS_FIT_SOON, PAIRS_FIT };
enum pairs_fitness store_pairs_fitness(const struct store_pairs *pairs, store_id store);
/* Ticks since its last beat; UINT32_MAX if there was none. */
uint32_t store_pairs_silent_ticks(const struct store_pairs *pairs, store_id store);

#endif
