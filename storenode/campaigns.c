#include "campaigns.h"

#include "base/check.h"

void campaigns_init(struct campaigns *campaigns, uint32_t under_way_max, uint64_t seed)
{
    *campaigns = (struct campaigns){.under_way_max = under_way_max};
    rng_init(&campaigns->rng, seed, "campaigns");
}

void campaigns_tick(struct campaigns *campaigns)
{
    for (int i = 0; i < 2; i++) {
        struct campaign_places *places = &campaigns->places[i];
        places->wanted_last = places->wanted;
        places->wanted = 0;
        places->free_count = campaigns->under_way_max - places->under_way;
    }
}

bool campaigns_try(struct campaigns *campaigns, struct campaign *campaign, bool quorum_lives)
{
    campaigns_end(campaigns, campaign); /* nothing came of its last one: it queues up again */
    struct campaign_places *places = &campaigns->places[quorum_lives];
    places->wanted++;
    if (places->under_way == campaigns->under_way_max ||
        (places->wanted_last > places->free_count &&
         !rng_chance(&campaigns->rng, places->free_count, places->wanted_last)))
        return false;
    places->under_way++;
    campaign->place = (uint8_t)(1 + quorum_lives);
    return true;
}

void campaigns_end(struct campaigns *campaigns, struct campaign *campaign)
{
    if (campaign->place == 0)
        return;
    struct campaign_places *places = &campaigns->places[campaign->place - 1];
    CHECK(places->under_way > 0);
    places->under_way--;
    campaign->place = 0;
}
