/* workload: what the simulated clients ask for, and the record of what they were told.
 *
 * Each client runs a few threads; a thread asks, waits for the answer, thinks, asks again. Keys are few and lie in
 * every region, so that operations meet; every written value is unique, so that an answer says which write it saw. All
 * kinds of requests are used: put, get (under a lease or by ReadIndex, stale ones too, whose answers prove nothing),
 * delete, compare-and-swap (with guesses that are often right), batches, scans both ways, deletes and checksums of ranges.
 *
 * A client that dies takes its threads with it: what they were waiting for is unknown for ever.
 *
 * Owner: the thread of the world. */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "check_linear.h"
#include "history.h"
#include "world.h"

struct workload;

struct workload_counts {
    uint64_t done, not_done, unknown; /* operations as clients saw them */
    uint64_t by_op[COVERAGE_OP_COUNT]; /* done, by enum client_op */
};

/* `world` is borrowed. Clients must be started with workload_start_client. */
struct workload *workload_new(struct world *world);
void workload_free(struct workload *workload); /* after the clients are dead */

enum err workload_start_client(struct workload *workload, struct world_node *client, struct error *err);
/* Before world_kill of a client. */
void workload_client_dies(struct workload *workload, struct world_node *client);

/* From now on only puts and gets, on each key in turn, for every thread. */
void workload_probe(struct workload *workload);
/* Since workload_probe: has each client written and read each key? */
bool workload_probe_is_done(const struct workload *workload);
/* Names a key and a client that still wait. */
void workload_probe_explain(const struct workload *workload, char *text, size_t size);
/* No new operations from now on. */
void workload_stop(struct workload *workload);
bool workload_is_idle(const struct workload *workload);

/* One of the keys in use (a user key); lent. */
enum { WORKLOAD_KEY_SIZE_MAX = 64 };
struct bytes workload_any_key(const struct workload *workload, struct rng *rng);
struct history *workload_history(struct workload *workload);
const struct workload_counts *workload_counts(const struct workload *workload);

#endif
