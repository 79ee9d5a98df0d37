#include "raft/quorum.h"

#include <stdbool.h>

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

/* The largest value of members in any group but `except`; 0 if there is no such member. */
static uint64_t highest_of_groups(const uint64_t *values, const uint64_t *groups, uint32_t count, uint64_t except,
                                  uint64_t *ret_group)
{
    uint64_t highest = 0;
    *ret_group = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (groups[i] != 0 && groups[i] != except && (*ret_group == 0 || values[i] > highest)) {
            highest = values[i];
            *ret_group = groups[i];
        }
    }
    return highest;
}

uint64_t quorum_committed_in_groups(uint64_t *values, const uint64_t *groups, uint32_t count)
{
    uint64_t first, second, least = UINT64_MAX;
    (void)highest_of_groups(values, groups, count, 0, &first);
    uint64_t in_second = highest_of_groups(values, groups, count, first, &second);
    bool all_in_first = first != 0;
    for (uint32_t i = 0; i < count; i++) {
        all_in_first = all_in_first && groups[i] == first;
        least = values[i] < least ? values[i] : least;
    }
    uint64_t committed = quorum_committed(values, count); /* sorts: groups and values part here */
    if (second != 0)
        return in_second < committed ? in_second : committed;
    return all_in_first ? committed : least;
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
    if (incoming == outgoing || BUG(joint_vote_one_half))
        return incoming;
    return incoming == QUORUM_LOST || outgoing == QUORUM_LOST ? QUORUM_LOST : QUORUM_PENDING;
}
