#include "pd/recovery.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/check.h"

/* All that is left of one region. */
struct group {
    const struct recovery_view *view;
    const struct recovery_replica *replicas;
    uint32_t count;
    const struct wire_region *newest; /* members as of the newest epoch that anybody knows */
};

static bool is_lost(const struct recovery_view *view, store_id store)
{
    for (uint32_t i = 0; i < view->lost_count; i++)
        if (view->lost[i] == store)
            return true;
    return false;
}

static int compare_replicas(const void *a, const void *b)
{
    const struct recovery_replica *x = a, *y = b;
    if (x->report->region->id != y->report->region->id)
        return x->report->region->id < y->report->region->id ? -1 : 1;
    return x->store < y->store ? -1 : x->store > y->store;
}

/* A log has a beginning: who has none was never told anything, or is not started (peer_lost.h). */
static bool has_log(const struct wire_peer_report *report)
{
    return report->last_index > 0;
}

static const struct wire_peer_report *find_report(const struct group *group, const struct wire_peer *member)
{
    for (uint32_t i = 0; i < group->count; i++)
        if (group->replicas[i].store == member->store_id && group->replicas[i].report->peer_id == member->id)
            return group->replicas[i].report;
    return NULL;
}

static bool votes(const struct wire_peer *member, bool outgoing)
{
    return member->role == WIRE_PEER_ROLE_VOTER ||
           member->role == (outgoing ? WIRE_PEER_ROLE_DEMOTING_VOTER : WIRE_PEER_ROLE_INCOMING_VOTER);
}

/* In both halves of a joint configuration, which are the same of any other. */
static bool has_majority(const struct group *group)
{
    for (int outgoing = 0; outgoing < 2; outgoing++) {
        uint32_t voters = 0, left = 0;
        for (uint32_t i = 0; i < group->newest->peers_count; i++) {
            const struct wire_peer *member = &group->newest->peers[i];
            const struct wire_peer_report *report = find_report(group, member);
            if (!votes(member, outgoing))
                continue;
            voters++;
            left += !is_lost(group->view, member->store_id) && report && has_log(report);
        }
        if (left <= voters / 2)
            return false;
    }
    return true;
}

/* By itself or by somebody who is there: elections and check-quorum know better than any count. */
static bool is_led(const struct group *group)
{
    for (uint32_t i = 0; i < group->count; i++) {
        const struct wire_peer_report *report = group->replicas[i].report;
        if (report->leader_peer == report->peer_id && !report->forced)
            return true;
    }
    return false;
}

static bool has_lost_member(const struct group *group)
{
    for (uint32_t i = 0; i < group->newest->peers_count; i++)
        if (is_lost(group->view, group->newest->peers[i].store_id))
            return true;
    return false;
}

/* ---- the one that is chosen */

static bool is_member(const struct group *group, const struct recovery_replica *replica)
{
    for (uint32_t i = 0; i < group->newest->peers_count; i++)
        if (group->newest->peers[i].id == replica->report->peer_id &&
            group->newest->peers[i].store_id == replica->store)
            return true;
    return false;
}

static bool is_learner(const struct wire_peer_report *report)
{
    for (uint32_t i = 0; i < report->region->peers_count; i++)
        if (report->region->peers[i].id == report->peer_id)
            return report->region->peers[i].role == WIRE_PEER_ROLE_LEARNER;
    return false;
}

static bool is_better(const struct wire_peer_report *a, const struct wire_peer_report *b)
{
    if (a->forced != b->forced)
        return a->forced; /* it may have answered somebody already */
    if (a->last_term != b->last_term)
        return a->last_term > b->last_term;
    if (a->last_index != b->last_index)
        return a->last_index > b->last_index;
    if (is_learner(a) != is_learner(b))
        return !is_learner(a);
    if (a->applied_index != b->applied_index)
        return a->applied_index > b->applied_index;
    return a->peer_id < b->peer_id;
}

static const struct recovery_replica *choose(const struct group *group)
{
    const struct recovery_replica *best = NULL;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct recovery_replica *replica = &group->replicas[i];
        if (has_log(replica->report) && !replica->report->damaged && is_member(group, replica) &&
            (!best || is_better(replica->report, best->report)))
            best = replica;
    }
    return best;
}

/* ---- one region */

static bool is_newer(const struct wire_region *a, const struct wire_region *b)
{
    return a->epoch_version != b->epoch_version ? a->epoch_version > b->epoch_version : a->epoch_conf > b->epoch_conf;
}

static void count_members(const struct group *group, struct recovery_region *region)
{
    for (uint32_t i = 0; i < group->newest->peers_count; i++) {
        const struct wire_peer *member = &group->newest->peers[i];
        const struct wire_peer_report *report = find_report(group, member);
        region->voters += votes(member, false) || votes(member, true);
        region->lost += is_lost(group->view, member->store_id);
        region->left += report && has_log(report);
        region->damaged += report && report->damaged;
    }
    for (uint32_t i = 0; i < group->count; i++)
        if (region->committed_index < group->replicas[i].report->committed_index)
            region->committed_index = group->replicas[i].report->committed_index;
}

/* Above what pd knows of newer regions with these keys. */
static uint64_t version_over(const struct region_tree *regions, const struct wire_region *own)
{
    uint64_t version = 0;
    for (struct region_node *node = region_tree_seek(regions, own->start_key); node;
         node = region_tree_next(regions, node)) {
        if (own->end_key.size > 0 && bytes_compare(region_node_start(node), own->end_key) >= 0)
            break;
        uint64_t other = region_node_version(node);
        bool same = region_node_id(node) == own->id;
        if ((same ? other > own->epoch_version : other >= own->epoch_version) && other >= version)
            version = other + 1;
    }
    return version;
}

static void describe(const struct group *group, const struct recovery_replica *chosen, struct recovery_region *region)
{
    const struct wire_region *own = chosen ? chosen->report->region : group->newest;
    const struct region_node *known = region_tree_find_id(group->view->regions, own->id);
    uint64_t conf = known ? region_node_conf(known) : 0;
    *region = (struct recovery_region){.region = own->id,
                                       .kind = chosen ? RECOVERY_FORCE : RECOVERY_GONE,
                                       .start_key = own->start_key,
                                       .end_key = own->end_key,
                                       .epoch_conf = own->epoch_conf,
                                       .epoch_version = own->epoch_version};
    count_members(group, region);
    if (!chosen)
        return;
    for (uint32_t i = 0; i < group->count; i++)
        if (conf < group->replicas[i].report->region->epoch_conf)
            conf = group->replicas[i].report->region->epoch_conf;
    region->store = chosen->store;
    region->peer = chosen->report->peer_id;
    region->forced = chosen->report->forced;
    region->refused = chosen->report->refused;
    region->epoch_conf_next = conf + RECOVERY_CONF_STEP;
    region->epoch_version_next = version_over(group->view->regions, own);
    region->last_term = chosen->report->last_term;
    region->last_index = chosen->report->last_index;
    region->applied_index = chosen->report->applied_index;
}

/* ---- who has which keys */

/* The newest of those that want the same keys has them. */
static void claim(struct region_tree *claims, const struct wire_region *region)
{
    (void)region_tree_insert(claims, region, NULL, NULL); /* refused: an older one, see holds */
}

static region_id holder_of(const struct region_tree *claims, const struct recovery_region *region)
{
    struct region_node *node = region_tree_seek(claims, region->start_key);
    return node ? region_node_id(node) : 0;
}

static bool holds(const struct region_tree *claims, const struct recovery_region *region)
{
    const struct region_node *node = region_tree_find_id(claims, region->region);
    return node && bytes_equal(region_node_start(node), region->start_key) &&
           bytes_equal(region_node_end(node), region->end_key);
}

static void find_holes(const struct recovery_view *view, struct recovery_plan *plan)
{
    struct bytes from = bytes_empty(), start, end;
    uint32_t capacity = 0;
    while (region_tree_gap(plan->claims, from, &start, &end)) {
        if (plan->hole_count == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            plan->holes = realloc(plan->holes, capacity * sizeof *plan->holes);
            CHECK(plan->holes);
        }
        struct region_node *node = region_tree_find(view->regions, start);
        plan->holes[plan->hole_count++] =
            (struct recovery_hole){.start_key = start, .end_key = end, .region = node ? region_node_id(node) : 0};
        if (end.size == 0)
            break;
        from = end;
    }
}

/* ---- the plan */

static void mix(XXH64_state_t *state, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
    XXH64_update(state, bytes, sizeof bytes);
}

static void mix_key(XXH64_state_t *state, struct bytes key)
{
    mix(state, key.size);
    if (key.size > 0)
        XXH64_update(state, key.data, key.size);
}

static uint64_t digest_of(const struct recovery_view *view, const struct recovery_plan *plan)
{
    XXH64_state_t *state = XXH64_createState();
    CHECK(state && XXH64_reset(state, 0) == XXH_OK);
    for (uint32_t i = 0; i < view->lost_count; i++)
        mix(state, view->lost[i]);
    for (uint32_t i = 0; i < plan->region_count; i++) {
        const struct recovery_region *region = &plan->regions[i];
        const uint64_t numbers[] = {region->region,        region->kind,      region->peer,      region->epoch_conf,
                                    region->epoch_version, region->last_term, region->last_index};
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            mix(state, numbers[k]);
    }
    for (uint32_t i = 0; i < plan->hole_count; i++) {
        mix_key(state, plan->holes[i].start_key);
        mix_key(state, plan->holes[i].end_key);
    }
    uint64_t digest = XXH64_digest(state);
    XXH64_freeState(state);
    return digest;
}

static struct recovery_region *plan_add(struct recovery_plan *plan, uint32_t *capacity)
{
    if (plan->region_count == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 16;
        plan->regions = realloc(plan->regions, *capacity * sizeof *plan->regions);
        CHECK(plan->regions);
    }
    return &plan->regions[plan->region_count++];
}

/* The newest word on its members: of a replica, or what pd has heard. */
static const struct wire_region *newest_of(const struct group *group, struct wire_peer *peers,
                                           struct wire_region *known)
{
    const struct wire_region *newest = group->replicas[0].report->region;
    for (uint32_t i = 1; i < group->count; i++)
        if (is_newer(group->replicas[i].report->region, newest))
            newest = group->replicas[i].report->region;
    const struct region_node *node = region_tree_find_id(group->view->regions, newest->id);
    if (!node)
        return newest;
    region_node_wire(node, peers, known);
    return is_newer(known, newest) ? known : newest;
}

static void take_group(struct group *group, struct recovery_plan *plan, uint32_t *capacity)
{
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    struct wire_region known;
    group->newest = newest_of(group, peers, &known);
    if (has_majority(group) || is_led(group) || !has_lost_member(group)) {
        plan->healthy_count++;
        claim(plan->claims, group->newest);
    } else {
        const struct recovery_replica *chosen = choose(group);
        describe(group, chosen, plan_add(plan, capacity));
        if (chosen)
            claim(plan->claims, chosen->report->region);
    }
    group->newest = NULL; /* `known` ends here */
}

void recovery_make(const struct recovery_view *view, struct recovery_plan *ret_plan)
{
    uint32_t capacity = 0;
    *ret_plan = (struct recovery_plan){.claims = region_tree_new()};
    CHECK(ret_plan->claims);
    if (view->replica_count > 0)
        qsort(view->replicas, view->replica_count, sizeof *view->replicas, compare_replicas);
    for (uint32_t i = 0, end; i < view->replica_count; i = end) {
        region_id id = view->replicas[i].report->region->id;
        for (end = i + 1; end < view->replica_count && view->replicas[end].report->region->id == id; end++)
            ;
        struct group group = {.view = view, .replicas = &view->replicas[i], .count = end - i};
        take_group(&group, ret_plan, &capacity);
    }
    for (uint32_t i = 0; i < ret_plan->region_count; i++) {
        struct recovery_region *region = &ret_plan->regions[i];
        if (region->kind == RECOVERY_FORCE && !holds(ret_plan->claims, region)) {
            region->kind = RECOVERY_SUPERSEDED;
            region->by = holder_of(ret_plan->claims, region);
        }
        ret_plan->force_count += region->kind == RECOVERY_FORCE;
    }
    find_holes(view, ret_plan);
    ret_plan->digest = digest_of(view, ret_plan);
}

void recovery_fini(struct recovery_plan *plan)
{
    region_tree_free(plan->claims);
    free(plan->regions);
    free(plan->holes);
    *plan = (struct recovery_plan){0};
}

const char *recovery_kind_name(enum recovery_kind kind)
{
    static const char *const names[] = {"force", "superseded", "gone"};
    return names[kind];
}
