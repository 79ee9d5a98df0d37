#include "storenode/slow_score.h"

enum { FINE_US = 50 * 1000, WORST_US = 500 * 1000, SCORE_MAX = 100, RECOVERY = 5 };

static uint32_t score_of(uint64_t latency_us)
{
    if (latency_us <= FINE_US)
        return 0;
    return latency_us >= WORST_US ? SCORE_MAX : (uint32_t)((latency_us - FINE_US) * SCORE_MAX / (WORST_US - FINE_US));
}

void slow_score_look(struct slow_score *slow, uint64_t writes, uint64_t write_us)
{
    uint64_t count = writes - slow->writes;
    slow->latency_us = count > 0 ? (write_us - slow->write_us) / count : 0;
    slow->writes = writes;
    slow->write_us = write_us;
    uint32_t now = score_of(slow->latency_us);
    if (now > slow->score)
        slow->score += (now - slow->score + 1) / 2;
    else
        slow->score = slow->score > now + RECOVERY ? slow->score - RECOVERY : now;
}
