/* coverage: which faults happened, and which operations of clients met them.
 *
 * A cell (fault, operation) counts operations that were under way, or ended, while a fault of that kind lasted or within
 * a second after it. A zero after many seeds means that the simulator says nothing about that pair: a class that is
 * silently dead.
 *
 * Owner: the world it is about; sums belong to whoever adds them. */
#ifndef SIM_COVERAGE_H
#define SIM_COVERAGE_H

#include <stdio.h>

#include "swarm.h"

enum { COVERAGE_OP_COUNT = 10 }; /* enum client_op, those that touch keys */
extern const char *const coverage_op_names[COVERAGE_OP_COUNT];

struct coverage {
    uint64_t happened[FAULT_KIND_COUNT];
    uint64_t ops[FAULT_KIND_COUNT][COVERAGE_OP_COUNT];
    uint64_t near_until_ns[FAULT_KIND_COUNT]; /* of one world */
};

/* A fault of this kind: `count` times, and its effect lasts until then. */
void coverage_fault(struct coverage *coverage, enum fault_kind kind, uint64_t count, uint64_t until_ns);
/* All that lasts ends now. */
void coverage_heal(struct coverage *coverage, uint64_t now_ns);
/* An operation that began at `start_ns` ends now. */
void coverage_op(struct coverage *coverage, unsigned op, uint64_t start_ns);

void coverage_add(struct coverage *sum, const struct coverage *more);
void coverage_print(const struct coverage *coverage, uint64_t kinds, FILE *out);
/* The first empty cell of the kinds in the mask; false: none is. */
bool coverage_find_hole(const struct coverage *coverage, uint64_t kinds, enum fault_kind *ret_kind, unsigned *ret_op);

#endif
