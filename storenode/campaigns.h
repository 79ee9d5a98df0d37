/* campaigns: how many elections a region worker has under way at a time.
 *
 * When stores start, or one is lost, thousands of groups want a leader in the same second. Were they all to ask at once,
 * the questions would wait in mailboxes and behind disks for longer than an election timeout, each candidate would begin
 * again with a higher term, and nothing but questions would be answered: 20,000 groups on three stores elected nobody.
 * So a peer whose timer fired waits for a place; meanwhile it votes for others like anybody, and if they win it waits no
 * longer. A place is free again when the election is decided, or its next timeout has come: as fast as stores answer,
 * that is how fast campaigns begin.
 *
 * Who gets a place is drawn, so that no group waits for ever behind others that cannot win, and stores do not ask for the
 * same groups in the same order. Peers of which no quorum is heard have places of their own.
 *
 * Owner: a region worker. */
#ifndef STORENODE_CAMPAIGNS_H
#define STORENODE_CAMPAIGNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

struct campaign_places {
    uint32_t under_way;
    uint32_t wanted;      /* in this tick so far */
    uint32_t wanted_last; /* in the tick before */
    uint32_t free_count;  /* at the begin of this tick */
};

struct campaigns {
    struct rng rng;
    uint32_t under_way_max;           /* of either kind */
    struct campaign_places places[2]; /* [1]: a quorum is heard */
};

/* A peer's part; zero: it has no place. */
struct campaign {
    uint8_t place; /* 1 + which of the places */
};

void campaigns_init(struct campaigns *campaigns, uint32_t under_way_max, uint64_t seed);
/* Before the peers of a tick are asked what they want. */
void campaigns_tick(struct campaigns *campaigns);
/* The peer wants to campaign: it may, and has a place from now on; or it must ask again at the next tick. */
bool campaigns_try(struct campaigns *campaigns, struct campaign *campaign, bool quorum_lives);
/* It is decided, or given up. Without a place nothing happens. */
void campaigns_end(struct campaigns *campaigns, struct campaign *campaign);

#endif
