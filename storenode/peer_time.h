/* peer_time: the leader's side of a region's time (region_time.h, expiry.h).
 *
 * A leader puts the time of its clock into commands whenever it matters: when something in them expires, and, in a region
 * that has rows which expire, always. When nobody writes, it lets time pass by an entry without writes: because a reader met
 * a row that is due, or once, when all that the region holds has expired, so that it can be dropped.
 *
 * Owner: the region worker. */
#ifndef STORENODE_PEER_TIME_H
#define STORENODE_PEER_TIME_H

#include <stdint.h>

struct peer;
struct wire_log_command;

/* What time a command should say; 0: none. */
uint64_t peer_time_of(struct peer *peer, const struct wire_log_command *command);
/* Somebody met a row that is due at `time_ms`. */
void peer_time_wish(struct peer *peer, uint64_t time_ms);
/* Now and then. */
void peer_time_look(struct peer *peer);

#endif
