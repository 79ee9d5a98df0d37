/* hand_over: leaderships leave a store that should not lead: its disk hangs, or it is being stopped in order.
 *
 * The successor is the voter with most of the log whose store is heard and is not leaving itself. A transfer is the
 * core's (raft_transfer): writes are refused as busy meanwhile, a fraction of a second. If it fails, the next try, a tick
 * later, chooses anew.
 *
 * Owner: the region worker of the peer. */
#ifndef STORENODE_HAND_OVER_H
#define STORENODE_HAND_OVER_H

#include <stdbool.h>

struct peer;

enum hand_over {
    HAND_OVER_NONE,   /* does not lead, or there is nobody who could */
    HAND_OVER_BEGUN,  /* just now: the peer is touched */
    HAND_OVER_WAITING /* begun before and not over; or there is nobody yet */
};

enum hand_over hand_over_try(struct peer *peer);

#endif
