/* operators: what people and pd do to a cluster while it works. In half of the seeds leaders are moved about; in
 * half of them regions are split, at keys in use or right behind them, often at several at once; in half of
 * them neighbours are merged.
 *
 * Owner: the thread of the world. */
#ifndef SIM_OPERATORS_H
#define SIM_OPERATORS_H

#include "workload.h"
#include "world.h"

struct operators;

struct operators *operators_new(struct world *world, struct workload *workload);
void operators_free(struct operators *operators);
void operators_stop(struct operators *operators);

#endif
