/* campaigns: how many elections a region worker has under way at a time.
 *
 * When stores start, or one is lost, thousands of groups want a leader in the same second. Were they all to ask at once,
 * the questions would wait in mailboxes and behind disks for longer than an election timeout, each candidate would begin
 * again with a higher term, and nothing but questions would be answered: 20,000 groups on three stores elected nobody.
 * So a peer whose timer fired waits for a place, first come, first served; meanwhile it votes for others like anybody, and
 * if they win it waits no longer. A place is free again when the election is decided: as fast as stores answer, that is
 * how fast campaigns begin. Who hears a leader, or is dead, does not answer at all, so a campaign that takes much longer
 * than the last ones that were won loses its place, too (it may still be won).
 *
 * Peers of which no quorum is heard have a queue and places of their own: who can win does not wait for who cannot.
 *
 * Owner: a region worker. */
#ifndef STORENODE_CAMPAIGNS_H
#define STORENODE_CAMPAIGNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct campaign_places {
    struct list waiting, under_way; /* campaigns, the oldest first */
    uint32_t under_way_count;
};

struct campaigns {
    uint32_t under_way_max;           /* of either kind */
    struct campaign_places places[2]; /* [1]: a quorum is heard */
    uint64_t now;                     /* ticks */
    uint32_t won_ticks;               /* how long one that is won takes lately */
};

/* A peer's part. Zero: nothing is wanted. */
struct campaign {
    struct list link;
    uint64_t began; /* campaigns.now then */
    uint8_t kind;   /* which of the places */
    enum { CAMPAIGN_NONE, CAMPAIGN_WAITS, CAMPAIGN_UNDER_WAY, CAMPAIGN_LATE } state;
};

void campaigns_init(struct campaigns *campaigns, uint32_t under_way_max);
void campaigns_tick(struct campaigns *campaigns, uint32_t ticks);
/* The peer wants to campaign: it waits from now on. If it has a place, nothing came of it, and it gives it up. If it waits
 * already, it goes on, unless its quorum is heard only now, or is not any more. */
void campaigns_want(struct campaigns *campaigns, struct campaign *campaign, bool quorum_lives);
/* Whose turn it is; it has a place from now on. NULL: nobody's. */
struct campaign *campaigns_next(struct campaigns *campaigns);
/* It is won. */
void campaigns_won(struct campaigns *campaigns, struct campaign *campaign);
/* It is lost, or given up, or not wanted any more. */
void campaigns_end(struct campaigns *campaigns, struct campaign *campaign);

#endif
