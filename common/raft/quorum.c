#include "raft/quorum.h"

#include "base/bug.h"

uint64_t quorum_committed(uint64_t *values, uint32_t count)
{
    if (count == 0)
        return UINT64_MAX;
    for (uint32_t i = 1; i < count; i++) { /* a handful of values: insertion beats anything clever */
        uint64_t value = values[i];
        uint32_t hole = i;
        for (; hole > 0 && values[hole - 1] > value; hole--)
            values[hole] = values[hole - 1];
        values[hole] = value;
    }
    return values[count - (count / 2 + 1) + (BUG(majority_off_by_one) && count > 1)];
}

enum quorum_vote quorum_vote(uint32_t yes_count, uint32_t no_count, uint32_t count)
{
    uint32_t majority = count / 2 + !BUG(vote_by_half);
    if (count == 0 || yes_count >= majority)
        return QUORUM_WON;
    return count - no_count >= majority ? QUORUM_PENDING : QUORUM_LOST;
}

enum quorum_vote quorum_vote_joint(enum quorum_vote incoming, enum quorum_vote outgoing)
{
    if (incoming == outgoing)
        return incoming;
    return incoming == QUORUM_LOST || outgoing == QUORUM_LOST ? QUORUM_LOST : QUORUM_PENDING;
}
