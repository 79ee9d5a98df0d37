#include "campaigns.h"

#include "base/check.h"

/* A campaign that is younger than this many ticks, and twice as long as it took the last ones to be won, has its place. */
enum { PATIENCE_TICKS = 2 };

void campaigns_init(struct campaigns *campaigns, uint32_t under_way_max)
{
    *campaigns = (struct campaigns){.under_way_max = under_way_max};
    for (int kind = 0; kind < 2; kind++) {
        list_init(&campaigns->places[kind].waiting);
        list_init(&campaigns->places[kind].under_way);
    }
}

static void leave_place(struct campaigns *campaigns, struct campaign *campaign)
{
    struct campaign_places *places = &campaigns->places[campaign->kind];
    CHECK(places->under_way_count > 0);
    places->under_way_count--;
    list_remove(&campaign->link);
}

void campaigns_tick(struct campaigns *campaigns, uint32_t ticks)
{
    campaigns->now += ticks;
    uint64_t patience = PATIENCE_TICKS + 2 * (uint64_t)campaigns->won_ticks;
    for (int kind = 0; kind < 2; kind++) {
        struct list *under_way = &campaigns->places[kind].under_way;
        while (!list_is_empty(under_way)) {
            struct campaign *oldest = LIST_ENTRY(under_way->next, struct campaign, link);
            if (campaigns->now < oldest->began + patience)
                break;
            leave_place(campaigns, oldest);
            oldest->state = CAMPAIGN_LATE;
        }
    }
}

void campaigns_want(struct campaigns *campaigns, struct campaign *campaign, bool quorum_lives)
{
    if (campaign->state == CAMPAIGN_WAITS && campaign->kind == quorum_lives)
        return;
    campaigns_end(campaigns, campaign);
    campaign->state = CAMPAIGN_WAITS;
    campaign->kind = quorum_lives;
    list_push_back(&campaigns->places[quorum_lives].waiting, &campaign->link);
}

struct campaign *campaigns_next(struct campaigns *campaigns)
{
    for (int kind = 1; kind >= 0; kind--) {
        struct campaign_places *places = &campaigns->places[kind];
        if (places->under_way_count >= campaigns->under_way_max || list_is_empty(&places->waiting))
            continue;
        struct campaign *campaign = LIST_ENTRY(list_pop_front(&places->waiting), struct campaign, link);
        campaign->state = CAMPAIGN_UNDER_WAY;
        campaign->began = campaigns->now;
        places->under_way_count++;
        list_push_back(&places->under_way, &campaign->link);
        return campaign;
    }
    return NULL;
}

/* Slower at once, quicker step by step. */
static void learn(struct campaigns *campaigns, uint64_t took)
{
    if (took > campaigns->won_ticks)
        campaigns->won_ticks = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    else
        campaigns->won_ticks -= (campaigns->won_ticks - (uint32_t)took + 7) / 8;
}

void campaigns_won(struct campaigns *campaigns, struct campaign *campaign)
{
    if (campaign->state == CAMPAIGN_UNDER_WAY || campaign->state == CAMPAIGN_LATE)
        learn(campaigns, campaigns->now - campaign->began);
    campaigns_end(campaigns, campaign);
}

void campaigns_end(struct campaigns *campaigns, struct campaign *campaign)
{
    if (campaign->state == CAMPAIGN_WAITS)
        list_remove(&campaign->link);
    else if (campaign->state == CAMPAIGN_UNDER_WAY)
        leave_place(campaigns, campaign);
    campaign->state = CAMPAIGN_NONE;
}
