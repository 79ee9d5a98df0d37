#ifndef SIM_RAFT_WORLD_H
#define SIM_RAFT_WORLD_H

#include <stdint.h>

/* One world. Returns if every promise was kept, else prints what was broken to standard error and aborts. */
void raft_world_run(uint64_t seed);

#endif
