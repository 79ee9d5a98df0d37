/* region_peers: what other commands want of `polder region move-peer` (cmd_region_peers.c). */
#ifndef TOOLS_REGION_PEERS_H
#define TOOLS_REGION_PEERS_H

#include <stdint.h>

#include "kv.h"

/* The replica of `region` on store `from` goes to store `to`, and nothing is printed but progress. CLI_OK; CLI_NOT_FOUND: there
 * is none, or no such region; CLI_UNKNOWN: not in `wait_ms`; else it was refused, and why was said. */
int region_peers_move(const struct command *command, struct polder *polder, const struct kv_base *base,
                      uint64_t wait_ms, uint64_t region, uint64_t from, uint64_t to);

#endif
