#include "campaigns.h"

#include "base/check.h"

void campaigns_init(struct campaigns *campaigns, uint32_t under_way_max)
{
    *campaigns = (struct campaigns){.under_way_max = under_way_max};
    list_init(&campaigns->places[0].waiting);
    list_init(&campaigns->places[1].waiting);
}

void campaigns_want(struct campaigns *campaigns, struct campaign *campaign, bool quorum_lives)
{
    if (campaign->state == CAMPAIGN_WAITS && campaign->kind == quorum_lives)
        return;
    campaigns_end(campaigns, campaign);
    campaign->state = CAMPAIGN_WAITS;
    campaign->kind = quorum_lives;
    list_push_back(&campaigns->places[quorum_lives].waiting, &campaign->waiting);
}

struct campaign *campaigns_next(struct campaigns *campaigns)
{
    for (int kind = 1; kind >= 0; kind--) {
        struct campaign_places *places = &campaigns->places[kind];
        if (places->under_way >= campaigns->under_way_max || list_is_empty(&places->waiting))
            continue;
        struct campaign *campaign = LIST_ENTRY(list_pop_front(&places->waiting), struct campaign, waiting);
        campaign->state = CAMPAIGN_UNDER_WAY;
        places->under_way++;
        return campaign;
    }
    return NULL;
}

void campaigns_end(struct campaigns *campaigns, struct campaign *campaign)
{
    struct campaign_places *places = &campaigns->places[campaign->kind];
    if (campaign->state == CAMPAIGN_WAITS)
        list_remove(&campaign->waiting);
    else if (campaign->state == CAMPAIGN_UNDER_WAY) {
        CHECK(places->under_way > 0);
        places->under_way--;
    }
    campaign->state = CAMPAIGN_NONE;
}
