/* write_counts: what a worker's writes to the engine cost, for /metrics. Only grows; counted by the worker, read by any thread. */
#ifndef GROUP_WRITE_COUNTS_H
#define GROUP_WRITE_COUNTS_H

#include <stdatomic.h>
#include <stdint.h>

struct write_counts {
    _Atomic uint64_t writes, tasks; /* tasks share writes */
    _Atomic uint64_t write_us;      /* spent in them */
    _Atomic uint64_t write_us_max;  /* the longest */
};

static inline void write_counts_add(struct write_counts *counts, uint64_t tasks, uint64_t us)
{
    atomic_fetch_add_explicit(&counts->writes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts->tasks, tasks, memory_order_relaxed);
    atomic_fetch_add_explicit(&counts->write_us, us, memory_order_relaxed);
    if (us > atomic_load_explicit(&counts->write_us_max, memory_order_relaxed))
        atomic_store_explicit(&counts->write_us_max, us, memory_order_relaxed);
}

#endif
