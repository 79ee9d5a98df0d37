/* env: the seams. All that a program can reach outside itself: time, chance, threads, network, disk, log.
 *
 * Production fills them with threads, nng and RocksDB (exec_threads, clock_os, transport_nng, engine_rocks); the simulator
 * fills them with one seeded heap of events (tests/sim: exec_sim, net_sim; common/env/engine_mem). All logic of pd,
 * storenode and client is actors over this struct, so a whole cluster runs deterministically in one thread.
 *
 * See executor.h, clock.h, transport.h, engine.h. */
#ifndef ENV_ENV_H
#define ENV_ENV_H

#include <stdint.h>

struct executor;
struct clock;
struct transport;
struct engine;
struct log;

struct env {
    struct executor *executor;
    struct clock *clock;
    struct transport *transport;
    struct engine *engine; /* NULL in a client */
    struct log *log;
    uint64_t seed; /* rng_init(&rng, env->seed, "purpose") per module: urandom | --seed */
};

#endif
