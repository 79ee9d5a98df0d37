#include "placement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/check.h"

enum {
    ROUND_US = 1000 * 1000,
    MESSAGE_US = 20 * 1000,
    CONF_US = 60 * 1000,
    ELECTION_US = 2 * 1000 * 1000,
    SNAPSHOT_US = 300 * 1000, /* checkpoint, ingest */
    KEY_SIZE = 9,
    QUIET_BEFORE_COUNTING_S = 600,
};

enum change_kind { CHANGE_STEP, CHANGE_LEAVE_JOINT, CHANGE_ELECT };

struct placement_change {
    uint64_t at_us, number;
    enum change_kind kind;
    region_id region, other;
    struct operator_step step;
    struct bytes cut; /* borrowed from a rule */
};

/* ---- what will happen: a heap by time */

static bool sooner(const struct placement_change *a, const struct placement_change *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void push_change(struct placement *world, struct placement_change change)
{
    if (world->change_count == world->change_capacity) {
        world->change_capacity = world->change_capacity ? world->change_capacity * 2 : 1024;
        world->changes = realloc(world->changes, world->change_capacity * sizeof(*world->changes));
        CHECK(world->changes);
    }
    change.number = ++world->change_number;
    uint32_t i = world->change_count++;
    for (; i > 0 && sooner(&change, &world->changes[(i - 1) / 2]); i = (i - 1) / 2)
        world->changes[i] = world->changes[(i - 1) / 2];
    world->changes[i] = change;
}

static struct placement_change pop_change(struct placement *world)
{
    struct placement_change first = world->changes[0], last = world->changes[--world->change_count];
    uint32_t i = 0;
    for (uint32_t child; (child = 2 * i + 1) < world->change_count; i = child) {
        if (child + 1 < world->change_count && sooner(&world->changes[child + 1], &world->changes[child]))
            child++;
        if (!sooner(&world->changes[child], &last))
            break;
        world->changes[i] = world->changes[child];
    }
    world->changes[i] = last;
    return first;
}

/* ---- regions */

uint64_t placement_now_s(const struct placement *world)
{
    return world->now_us / 1000000;
}

uint64_t placement_script_s(const struct placement *world)
{
    return placement_now_s(world) - world->warm_s;
}

static uint64_t now_ms(const struct placement *world)
{
    return world->now_us / 1000;
}

static void digest(struct placement *world, uint64_t number)
{
    world->result.digest = (world->result.digest ^ number) * UINT64_C(0x100000001b3);
    world->result.digest ^= world->result.digest >> 29;
}

static struct placement_region *region_of(struct placement *world, region_id id)
{
    if (id >= world->region_capacity) {
        uint64_t capacity =
            world->region_capacity ? world->region_capacity + world->region_capacity / 4 + 1024 : id + 1024;
        world->regions = realloc(world->regions, capacity * sizeof(*world->regions));
        CHECK(world->regions);
        memset(&world->regions[world->region_capacity], 0,
               (capacity - world->region_capacity) * sizeof(*world->regions));
        world->region_capacity = capacity;
    }
    return &world->regions[id];
}

static struct placement_store *store_of(struct placement *world, store_id id)
{
    CHECK(id >= 1 && id <= world->store_count);
    return &world->stores[id - 1]; /* ids are 1, 2, ... */
}

void placement_count_violated(struct placement *world)
{
    world->violated_region_s += (double)world->violated_count * (double)(world->now_us - world->violated_us) / 1e6;
    world->violated_us = world->now_us;
}

/* By the truth: who is dead is known at once, whatever pd believes. */
static bool is_violated(struct placement *world, const struct region_node *node, bool *ret_by_death)
{
    struct fit fit;
    fit_region(world->table, &world->rules, node, &fit);
    *ret_by_death = false;
    for (uint32_t i = 0; i < fit.peer_count; i++)
        *ret_by_death |= fit.peers[i].rule != FIT_ORPHAN && !store_of(world, fit.peers[i].peer.store_id)->alive;
    return *ret_by_death || (fit_problems(&fit) & (FIT_MISSES | FIT_NEAR | FIT_ROLE | FIT_CUT)) != 0;
}

static void judge_region(struct placement *world, const struct region_node *node, bool by_operator)
{
    struct placement_region *region = region_of(world, region_node_id(node));
    bool by_death, violated = is_violated(world, node, &by_death);
    if (violated == region->violated)
        return;
    placement_count_violated(world);
    region->violated = violated;
    world->violated_count += violated ? 1 : (uint64_t)-1;
    world->result.self_inflicted += violated && by_operator && !by_death;
}

static void dispatch(struct placement *world, const struct operator *operator, const struct operator_step * step);

/* The region as it is now, as its leader tells pd. */
static void report(struct placement *world, const struct wire_region *region, peer_id leader, uint64_t term,
                   bool by_operator)
{
    const struct placement_region *known = region_of(world, region->id);
    bool is_new = !region_tree_find_id(world->tree, region->id);
    enum err code = region_tree_insert(world->tree, region, NULL, NULL);
    CHECK(code == ERR_OK);
    struct region_node *node = region_tree_find_id(world->tree, region->id);
    struct region_seen before = region_node_seen(node);
    const struct region_seen seen = {.leader_peer = leader,
                                     .term = term,
                                     .approximate_size = (uint64_t)known->size_kib * 1024,
                                     .approximate_keys = (uint64_t)known->size_kib * 4,
                                     .read_load = is_new ? known->read_load : before.read_load,
                                     .write_load = is_new ? known->write_load : before.write_load};
    region_tree_see(world->tree, node, &seen);
    judge_region(world, node, by_operator);
    const struct operator_step *step = pd_view_report(&world->scheduler.view, node, true);
    if (step)
        dispatch(world, operator_list_of(world->operators, node), step);
}

static void heartbeat(struct placement *world, region_id id)
{
    struct region_node *node = region_tree_find_id(world->tree, id);
    if (!node || region_node_leader_store(node) == 0)
        return;
    const struct placement_region *known = region_of(world, id);
    struct region_seen seen = region_node_seen(node);
    uint64_t noise = world->noise_permille ? rng_below(&world->rng, 2 * world->noise_permille + 1) : 0;
    uint64_t permille = 1000 - world->noise_permille + noise;
    seen.approximate_size = (uint64_t)known->size_kib * 1024 * permille / 1000;
    seen.approximate_keys = (uint64_t)known->size_kib * 4;
    uint64_t interval_s = world->heartbeat_s ? world->heartbeat_s : 60;
    seen.read_load =
        pd_view_decayed(seen.read_load, known->read_load * interval_s * permille / 1000, interval_s * 1000);
    seen.write_load =
        pd_view_decayed(seen.write_load, known->write_load * interval_s * permille / 1000, interval_s * 1000);
    region_tree_see(world->tree, node, &seen);
    const struct operator_step *step = pd_view_report(&world->scheduler.view, node, false);
    if (step)
        dispatch(world, operator_list_of(world->operators, node), step);
}

void placement_set_region(struct placement *world, region_id id, uint64_t size, uint32_t read_load, uint32_t write_load)
{
    struct placement_region *region = region_of(world, id);
    region->size_kib = (uint32_t)(size / 1024);
    region->read_load = read_load;
    region->write_load = write_load;
}

void placement_heartbeat_all(struct placement *world)
{
    for (region_id id = 1; id <= world->last_region; id++)
        heartbeat(world, id);
}

/* ---- steps of operators */

/* Both links do it when they have done what they have to; the slower one says when it is over. */
static uint64_t snapshot_end_us(struct placement *world, struct placement_store *from, struct placement_store *to,
                                uint64_t size)
{
    uint64_t duration_us = size * 1000000 / world->link_rate;
    from->out_free_us = (from->out_free_us > world->now_us ? from->out_free_us : world->now_us) + duration_us;
    to->in_free_us = (to->in_free_us > world->now_us ? to->in_free_us : world->now_us) + duration_us;
    return (from->out_free_us > to->in_free_us ? from->out_free_us : to->in_free_us) + SNAPSHOT_US;
}

static void dispatch(struct placement *world, const struct operator *operator, const struct operator_step * step)
{
    uint32_t index = (uint32_t)(step - operator->steps);
    if (world->dispatched[operator->slot].number == operator->number && world->dispatched[operator->slot].step == index)
        return; /* is at it */
    world->dispatched[operator->slot].number = operator->number;
    world->dispatched[operator->slot].step = index;
    struct region_node *node = region_tree_find_id(world->tree, operator->region);
    store_id leader = region_node_leader_store(node);
    if (leader == 0 || !store_of(world, leader)->alive)
        return; /* nobody hears it: it will time out */
    struct placement_change change = {.at_us = world->now_us + CONF_US,
                                      .kind = CHANGE_STEP,
                                      .region = operator->region,
                                      .other = operator->other_region,
                                      .step = *step};
    if (step->kind == STEP_ADD_LEARNER)
        change.at_us = snapshot_end_us(world, store_of(world, leader), store_of(world, step->store), operator->size);
    if (step->kind == STEP_SPLIT) {
        const struct rule *list[RULES_PER_REGION_MAX];
        rules_of(&world->rules, region_node_start(node), region_node_end(node), list, &change.cut);
    }
    push_change(world, change);
}

struct draft {
    struct wire_region region;
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    uint8_t keys[2][KEY_SIZE];
    struct region_seen seen;
};

/* A copy that survives the tree's change. False: no such region, or it cannot change now. */
static bool draft_of(struct placement *world, region_id id, struct draft *draft)
{
    const struct region_node *node = region_tree_find_id(world->tree, id);
    if (!node)
        return false;
    region_node_wire(node, draft->peers, &draft->region);
    draft->seen = region_node_seen(node);
    CHECK(draft->region.start_key.size <= KEY_SIZE && draft->region.end_key.size <= KEY_SIZE);
    memcpy(draft->keys[0], draft->region.start_key.data, draft->region.start_key.size);
    memcpy(draft->keys[1], draft->region.end_key.data, draft->region.end_key.size);
    draft->region.start_key.data = draft->keys[0];
    draft->region.end_key.data = draft->keys[1];
    uint32_t voters = 0, alive = 0;
    for (uint32_t i = 0; i < draft->region.peers_count; i++) {
        voters += role_is_voter(draft->peers[i].role);
        alive += role_is_voter(draft->peers[i].role) && store_of(world, draft->peers[i].store_id)->alive;
    }
    store_id leader = region_node_leader_store(node);
    return leader != 0 && store_of(world, leader)->alive && alive > voters / 2;
}

static struct wire_peer *peer_on(struct draft *draft, store_id store)
{
    for (uint32_t i = 0; i < draft->region.peers_count; i++)
        if (draft->peers[i].store_id == store)
            return &draft->peers[i];
    return NULL;
}

static void weigh_move(struct placement *world, store_id store, const struct draft *draft, bool in)
{
    double weight = (double)(draft->seen.approximate_size + world->config.region_cost_size);
    struct placement_store *known = store_of(world, store);
    if (!world->measuring)
        return;
    *(in ? &known->in_weight : &known->out_weight) += weight;
    if (!in)
        return;
    world->moved_weight += weight;
    world->moved_size += (double)draft->seen.approximate_size;
    world->result.moves_made++;
}

static void add_learner(struct placement *world, struct draft *draft, store_id store)
{
    if (peer_on(draft, store) || !store_of(world, store)->alive || draft->region.peers_count == REGION_PEER_COUNT_MAX)
        return;
    draft->peers[draft->region.peers_count++] =
        (struct wire_peer){.id = ++world->last_peer, .store_id = store, .role = WIRE_PEER_ROLE_LEARNER};
    draft->region.epoch_conf++;
    weigh_move(world, store, draft, true);
    report(world, &draft->region, draft->seen.leader_peer, draft->seen.term, true);
}

static void enter_joint(struct placement *world, struct draft *draft, const struct operator_step *step)
{
    struct wire_peer *in = step->store ? peer_on(draft, step->store) : NULL;
    struct wire_peer *out = step->other ? peer_on(draft, step->other) : NULL;
    if ((step->store && (!in || in->role != WIRE_PEER_ROLE_LEARNER)) ||
        (step->other && (!out || out->role != WIRE_PEER_ROLE_VOTER || out->id == draft->seen.leader_peer)))
        return;
    if (in)
        in->role = WIRE_PEER_ROLE_INCOMING_VOTER;
    if (out)
        out->role = WIRE_PEER_ROLE_DEMOTING_VOTER;
    draft->region.epoch_conf++;
    report(world, &draft->region, draft->seen.leader_peer, draft->seen.term, true);
    push_change(world, (struct placement_change){
                           .at_us = world->now_us + CONF_US, .kind = CHANGE_LEAVE_JOINT, .region = draft->region.id});
}

static void leave_joint(struct placement *world, struct draft *draft)
{
    bool joint = false;
    for (uint32_t i = 0; i < draft->region.peers_count; i++)
        joint |= draft->peers[i].role > WIRE_PEER_ROLE_LEARNER;
    if (!joint)
        return;
    for (uint32_t i = 0; i < draft->region.peers_count; i++) {
        if (draft->peers[i].role == WIRE_PEER_ROLE_INCOMING_VOTER)
            draft->peers[i].role = WIRE_PEER_ROLE_VOTER;
        if (draft->peers[i].role == WIRE_PEER_ROLE_DEMOTING_VOTER)
            draft->peers[i].role = WIRE_PEER_ROLE_LEARNER;
    }
    draft->region.epoch_conf++;
    report(world, &draft->region, draft->seen.leader_peer, draft->seen.term, true);
}

static void remove_peer(struct placement *world, struct draft *draft, store_id store)
{
    struct wire_peer *peer = peer_on(draft, store);
    if (!peer || peer->role != WIRE_PEER_ROLE_LEARNER)
        return;
    *peer = draft->peers[--draft->region.peers_count];
    draft->region.epoch_conf++;
    weigh_move(world, store, draft, false);
    report(world, &draft->region, draft->seen.leader_peer, draft->seen.term, true);
}

static void transfer(struct placement *world, struct draft *draft, store_id store)
{
    const struct wire_peer *peer = peer_on(draft, store);
    if (!peer || !role_is_voter(peer->role) || !store_of(world, store)->alive)
        return;
    world->result.transfers_made += world->measuring;
    report(world, &draft->region, peer->id, draft->seen.term + 1, true);
}

static uint64_t key_number(struct bytes key, uint64_t empty)
{
    return key.size == 0 ? empty : load_u64_be(key.data + 1);
}

static struct bytes key_at(uint64_t number, uint8_t *data)
{
    data[0] = 'r';
    store_u64_be(data + 1, number);
    return bytes_of(data, KEY_SIZE);
}

static void split(struct placement *world, struct draft *draft, struct bytes cut)
{
    uint8_t middle[KEY_SIZE];
    uint64_t low = key_number(draft->region.start_key, 0), high = key_number(draft->region.end_key, UINT64_MAX);
    if (cut.size == 0 && high - low < 2)
        return;
    cut = cut.size > 0 ? cut : key_at(low + (high - low) / 2, middle);
    if (key_number(cut, 0) <= low || key_number(cut, 0) >= high)
        return; /* was cut there by another one */
    struct placement_region half = *region_of(world, draft->region.id);
    half.size_kib /= 2;
    half.read_load /= 2;
    half.write_load /= 2;
    struct wire_region right = draft->region;
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    peer_id leader = 0;
    memcpy(peers, draft->peers, sizeof(peers));
    for (uint32_t i = 0; i < right.peers_count; i++) {
        leader = peers[i].id == draft->seen.leader_peer ? ++world->last_peer : leader;
        peers[i].id = peers[i].id == draft->seen.leader_peer ? leader : ++world->last_peer;
    }
    right.id = ++world->last_region;
    right.peers = peers;
    right.start_key = cut;
    right.epoch_version = ++draft->region.epoch_version;
    *region_of(world, right.id) = half;
    *region_of(world, draft->region.id) = half;
    placement_count_violated(world);
    world->violated_count += half.violated;
    draft->region.end_key = cut;
    world->result.splits_made++;
    report(world, &draft->region, draft->seen.leader_peer, draft->seen.term, true);
    report(world, &right, leader, draft->seen.term, true);
}

static void merge(struct placement *world, struct draft *source, region_id into)
{
    struct draft target;
    if (!draft_of(world, into, &target))
        return;
    for (uint32_t i = 0; i < source->region.peers_count; i++)
        if (!peer_on(&target, source->peers[i].store_id))
            return; /* not together */
    bool behind = bytes_equal(source->region.start_key, target.region.end_key) && target.region.end_key.size > 0;
    bool before = bytes_equal(source->region.end_key, target.region.start_key) && source->region.end_key.size > 0;
    if ((!behind && !before) || source->region.peers_count != target.region.peers_count)
        return;
    if (behind)
        target.region.end_key = source->region.end_key;
    else
        target.region.start_key = source->region.start_key;
    uint64_t version = source->region.epoch_version > target.region.epoch_version ? source->region.epoch_version
                                                                                  : target.region.epoch_version;
    struct placement_region *gone = region_of(world, source->region.id), *grown = region_of(world, into);
    grown->size_kib += gone->size_kib;
    grown->read_load += gone->read_load;
    grown->write_load += gone->write_load;
    if (gone->violated) {
        placement_count_violated(world);
        world->violated_count--;
    }
    *gone = (struct placement_region){0};
    target.region.epoch_version = version + 1;
    world->result.merges_made++;
    report(world, &target.region, target.seen.leader_peer, target.seen.term, true);
}

/* A leader that finds its region in a joint configuration leaves it, whoever entered. */
static void leave_joint_soon(struct placement *world, const struct region_node *node)
{
    for (uint32_t i = 0; i < region_node_peer_count(node); i++)
        if (region_node_peer(node, i).role > WIRE_PEER_ROLE_LEARNER) {
            push_change(world, (struct placement_change){.at_us = world->now_us + CONF_US,
                                                         .kind = CHANGE_LEAVE_JOINT,
                                                         .region = region_node_id(node)});
            return;
        }
}

static void elect(struct placement *world, region_id id)
{
    struct region_node *node = region_tree_find_id(world->tree, id);
    struct draft draft;
    if (!node)
        return;
    store_id leader = region_node_leader_store(node);
    leave_joint_soon(world, node); /* by then there is a leader, or it is said again after the next election */
    if (leader != 0 && store_of(world, leader)->alive)
        return;
    draft_of(world, id, &draft);
    uint32_t voters = 0, alive = 0, chosen = 0;
    for (uint32_t i = 0; i < draft.region.peers_count; i++) {
        if (!role_is_voter(draft.peers[i].role))
            continue;
        voters++;
        if (store_of(world, draft.peers[i].store_id)->alive && rng_below(&world->rng, ++alive) == 0)
            chosen = i;
    }
    if (alive > voters / 2)
        report(world, &draft.region, draft.peers[chosen].id, draft.seen.term + 1, false);
}

static void happen(struct placement *world, const struct placement_change *change)
{
    struct draft draft;
    world->now_us = change->at_us;
    world->scheduler.view.now_ms = now_ms(world);
    digest(world, change->region << 8 | (uint64_t)change->kind << 4 | (uint64_t)change->step.kind);
    digest(world, change->at_us ^ change->step.store << 40);
    if (change->kind == CHANGE_ELECT) {
        elect(world, change->region);
        return;
    }
    if (!draft_of(world, change->region, &draft))
        return;
    if (change->kind == CHANGE_LEAVE_JOINT) {
        leave_joint(world, &draft);
        return;
    }
    for (uint32_t i = 0; i < draft.region.peers_count; i++)
        if (draft.peers[i].role > WIRE_PEER_ROLE_LEARNER)
            return; /* in the middle of another change */
    switch (change->step.kind) {
    case STEP_ADD_LEARNER:
        add_learner(world, &draft, change->step.store);
        break;
    case STEP_CHANGE:
        enter_joint(world, &draft, &change->step);
        break;
    case STEP_REMOVE:
        remove_peer(world, &draft, change->step.store);
        break;
    case STEP_TRANSFER:
        transfer(world, &draft, change->step.store);
        break;
    case STEP_SPLIT:
        split(world, &draft, change->cut);
        break;
    case STEP_MERGE:
        merge(world, &draft, change->other);
        break;
    }
}

/* ---- stores */

static char *number_text(char *text, const char *prefix, uint64_t number)
{
    snprintf(text, LABEL_TEXT_SIZE, "%s%llu", prefix, (unsigned long long)number);
    return text;
}

store_id placement_add_store(struct placement *world, uint64_t capacity_size)
{
    char text[LABEL_TEXT_SIZE];
    struct store_entry *entry;
    uint32_t index = world->store_count++;
    CHECK(index < PLACEMENT_STORES_MAX);
    world->stores[index] = (struct placement_store){.id = index + 1, .alive = true};
    CHECK(store_table_add(world->table, index + 1, now_ms(world), &entry) == ERR_OK);
    entry->capacity_size = entry->available_size = capacity_size;
    store_limit(entry, (int64_t)world->receive_rate, (int64_t)world->send_rate, now_ms(world));
    store_table_set_label(world->table, entry, "zone", number_text(text, "z", index % world->racks % 3));
    store_table_set_label(world->table, entry, "rack", number_text(text, "r", index % world->racks));
    store_table_set_label(world->table, entry, "host", number_text(text, "h", index));
    store_heartbeat(entry, now_ms(world));
    return entry->id;
}

static void judge_store(struct placement *world, store_id id)
{
    struct region_node *node;
    for (uint32_t i = 0; (node = region_tree_at(world->tree, id, i)); i++)
        judge_region(world, node, false);
}

void placement_judge_all(struct placement *world)
{
    for (struct region_node *node = region_tree_seek(world->tree, bytes_empty()); node;
         node = region_tree_next(world->tree, node))
        judge_region(world, node, false);
}

void placement_kill(struct placement *world, uint32_t index)
{
    struct placement_store *store = &world->stores[index];
    if (!store->alive)
        return;
    store->alive = false;
    judge_store(world, store->id);
    uint32_t leaders = region_tree_sums(world->tree, store->id).leader_count;
    for (uint32_t i = 0; i < leaders; i++)
        push_change(
            world, (struct placement_change){.at_us = world->now_us + ELECTION_US + rng_below(&world->rng, ELECTION_US),
                                             .kind = CHANGE_ELECT,
                                             .region = region_node_id(region_tree_at(world->tree, store->id, i))});
}

void placement_revive(struct placement *world, uint32_t index)
{
    struct placement_store *store = &world->stores[index];
    struct region_node *node;
    if (store->alive)
        return;
    store->alive = true;
    store->in_free_us = store->out_free_us = 0;
    judge_store(world, store->id);
    for (uint32_t i = 0; (node = region_tree_at(world->tree, store->id, i)); i++)
        push_change(
            world, (struct placement_change){.at_us = world->now_us + ELECTION_US + rng_below(&world->rng, ELECTION_US),
                                             .kind = CHANGE_ELECT,
                                             .region = region_node_id(node)});
}

void placement_store_heartbeats(struct placement *world)
{
    for (uint32_t i = 0; i < world->store_count; i++) {
        struct store_entry *entry = store_table_find(world->table, world->stores[i].id);
        if (!world->stores[i].alive || !entry || entry->wanted == STORE_TOMBSTONE)
            continue;
        uint64_t used = region_tree_sums(world->tree, entry->id).size;
        entry->available_size = entry->capacity_size > used ? entry->capacity_size - used : 0;
        store_heartbeat(entry, now_ms(world));
    }
}

void placement_pd_fails_over(struct placement *world)
{
    struct {
        peer_id leader;
        uint64_t term;
    } *known = calloc(world->last_region + 1, sizeof(*known));
    CHECK(known);
    for (region_id id = 1; id <= world->last_region; id++) {
        struct region_node *node = region_tree_find_id(world->tree, id);
        if (!node)
            continue;
        struct region_seen seen = region_node_seen(node);
        known[id].leader = seen.leader_peer;
        known[id].term = seen.term;
    }
    scheduler_restart(&world->scheduler, now_ms(world));
    store_table_forget_heard(world->table, now_ms(world));
    region_tree_forget_seen(world->tree);
    scheduler_round(&world->scheduler, now_ms(world), NULL, NULL); /* knows nothing: must decide nothing */
    CHECK(operator_list_count(world->operators) == 0 || region_tree_count(world->tree) == 0);
    for (region_id id = 1; id <= world->last_region; id++) {
        struct region_node *node = region_tree_find_id(world->tree, id);
        if (!node || known[id].leader == 0)
            continue;
        const struct region_seen seen = {.leader_peer = known[id].leader,
                                         .term = known[id].term,
                                         .read_load = region_of(world, id)->read_load,
                                         .write_load = region_of(world, id)->write_load};
        region_tree_see(world->tree, node, &seen);
        heartbeat(world, id);
    }
    free(known);
}

/* ---- setting up */

static uint64_t draw_size(struct placement *world)
{
    if (!world->pareto)
        return rng_between(&world->rng, world->region_size_min, world->region_size_max);
    double u = (double)(1 + rng_below(&world->rng, 1000000)) / 1000001.0;
    double size = (double)world->region_size_min * pow(u, -1 / 1.2); /* a long tail */
    return size > (double)world->region_size_max ? world->region_size_max : (uint64_t)size;
}

/* Three stores of different racks; of two candidates the one that has less. */
static void place_region(struct placement *world, uint32_t *counts, uint32_t *leaders, region_id id, uint32_t among)
{
    uint32_t chosen[3];
    struct wire_peer peers[3];
    uint8_t keys[2][KEY_SIZE];
    for (uint32_t k = 0; k < 3;) {
        uint32_t a = (uint32_t)rng_below(&world->rng, among), b = (uint32_t)rng_below(&world->rng, among);
        uint32_t store = world->pareto || counts[a] <= counts[b] ? a : b;
        bool taken = false;
        for (uint32_t i = 0; i < k; i++)
            taken |= chosen[i] % world->racks == store % world->racks;
        if (!taken)
            chosen[k++] = store;
    }
    uint32_t leader = 0;
    for (uint32_t k = 0; k < 3; k++) {
        counts[chosen[k]]++;
        bool better = world->skew_leaders ? chosen[k] < chosen[leader] : leaders[chosen[k]] < leaders[chosen[leader]];
        leader = better ? k : leader;
        peers[k] =
            (struct wire_peer){.id = ++world->last_peer, .store_id = chosen[k] + 1, .role = WIRE_PEER_ROLE_VOTER};
    }
    leaders[chosen[leader]]++;
    uint64_t step = UINT64_MAX / world->region_count;
    struct wire_region region = {.id = id,
                                 .start_key = id == 1 ? bytes_empty() : key_at((id - 1) * step, keys[0]),
                                 .end_key = id == world->region_count ? bytes_empty() : key_at(id * step, keys[1]),
                                 .epoch_conf = 1,
                                 .epoch_version = 1,
                                 .peers = peers,
                                 .peers_count = 3};
    placement_set_region(world, id, draw_size(world), 10, 10);
    report(world, &region, peers[leader].id, 6, false);
}

static void default_rule(struct placement *world)
{
    struct rule rule = {.group = "pd", .name = "default", .role = RULE_VOTER, .count = 3, .location_count = 2};
    rule.locations[0] = store_table_intern(world->table, "rack");
    rule.locations[1] = store_table_intern(world->table, "host");
    CHECK(rules_put(&world->rules, &rule, NULL) == ERR_OK);
}

static void set_up(struct placement *world)
{
    uint32_t *counts = calloc(2 * (size_t)world->store_count_first, sizeof(*counts));
    CHECK(counts);
    world->table = store_table_new(5 * 1000, world->down_ms);
    world->tree = region_tree_new();
    rules_init(&world->rules);
    world->operators = operator_list_new(world->tree, world->table, PLACEMENT_OPERATORS_MAX);
    world->dispatched = calloc(PLACEMENT_OPERATORS_MAX, sizeof(*world->dispatched));
    CHECK(world->dispatched);
    scheduler_init(&world->scheduler, world->tree, world->table, &world->rules, world->operators, &world->config,
                   world->options.seed);
    default_rule(world);
    uint64_t mean = (world->region_size_min + world->region_size_max) / 2;
    uint64_t capacity = world->space_factor * 3 * (uint64_t)world->region_count * mean / world->store_count_first +
                        1024 * PLACEMENT_MIB;
    for (uint32_t i = 0; i < world->store_count_first; i++)
        placement_add_store(world, world->pareto ? capacity / 2 << i % 3 : capacity);
    uint32_t among = world->first_stores ? world->first_stores : world->store_count_first;
    for (region_id id = 1; id <= world->region_count; id++)
        place_region(world, counts, counts + world->store_count_first, id, among);
    world->last_region = world->region_count;
    world->scheduler.view.suspect_count = 0; /* they are as they should be */
    free(counts);
}

/* ---- running */

static void on_started(void *context, const struct operator *operator)
{
    struct placement *world = context;
    world->last_started_s = placement_now_s(world);
    digest(world, operator->number << 32 ^ operator->region);
    dispatch(world, operator, & operator->steps[0]);
}

static void region_heartbeats(struct placement *world)
{
    if (world->heartbeat_s == 0 || world->last_region == 0)
        return;
    uint64_t share = world->last_region / world->heartbeat_s + 1;
    for (uint64_t i = 0; i < share; i++)
        heartbeat(world, 1 + world->heartbeat_cursor++ % world->last_region);
}

static bool run_round(struct placement *world)
{
    uint64_t end_us = world->now_us + ROUND_US;
    while (world->change_count > 0 && world->changes[0].at_us <= end_us) {
        struct placement_change change = pop_change(world);
        happen(world, &change);
    }
    world->now_us = end_us;
    world->scheduler.view.now_ms = now_ms(world);
    placement_store_heartbeats(world);
    region_heartbeats(world);
    bool scripted = !world->script_over;
    if (scripted && placement_now_s(world) >= world->warm_s)
        world->script_over = !world->kind->script(world);
    scheduler_round(&world->scheduler, now_ms(world), on_started, world);
    placement_measure_round(world);
    uint64_t s = placement_now_s(world);
    if (operator_list_count(world->operators) > 0 && world->measuring)
        world->result.time_100_s = (double)(s - world->disturbed_s);
    if (scripted)
        return s < world->kind->seconds_max;
    if (world->quiet_from_s == 0 && s >= world->last_started_s + QUIET_BEFORE_COUNTING_S / 2) {
        world->quiet_from_s = s;
        world->quiet_started = world->scheduler.started_count;
    }
    bool busy = operator_list_count(world->operators) > 0 || s < world->last_started_s + world->kind->quiet_s;
    return s < world->kind->seconds_max &&
           (busy || world->quiet_from_s == 0 || s < world->quiet_from_s + world->kind->quiet_s);
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 + (double)usage.ru_stime.tv_sec +
           (double)usage.ru_stime.tv_usec / 1e6;
}

static uint64_t rss_bytes(void)
{
    unsigned long long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%llu %llu", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void clean_up(struct placement *world)
{
    operator_list_free(world->operators);
    region_tree_free(world->tree);
    store_table_free(world->table);
    rules_fini(&world->rules);
    free(world->regions);
    free(world->changes);
    free(world->dispatched);
    free(world);
}

void placement_run(const struct placement_options *options, struct placement_result *ret_result)
{
    struct placement *world = calloc(1, sizeof(*world));
    uint32_t count;
    double cpu_before = cpu_s();
    CHECK(world);
    const struct placement_case *cases = placement_cases(&count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(cases[i].name, options->name) == 0)
            world->kind = &cases[i];
    CHECK(world->kind);
    world->options = *options;
    rng_init(&world->rng, options->seed, "placement world");
    pd_view_config_init(&world->config);
    world->config.split_size = 144 * PLACEMENT_MIB;
    world->store_count_first = options->stores ? options->stores : world->kind->stores;
    world->region_count = options->regions ? options->regions : world->kind->regions;
    world->racks = world->store_count_first >= 60  ? world->store_count_first / 10
                   : world->store_count_first >= 6 ? 6
                                                   : 3;
    world->region_size_min = 64 * PLACEMENT_MIB;
    world->region_size_max = 96 * PLACEMENT_MIB;
    world->receive_rate = world->send_rate = 100 * PLACEMENT_MIB;
    world->link_rate = 125 * PLACEMENT_MIB;
    world->down_ms = 30 * 60 * 1000;
    world->warm_s = 180;
    world->space_factor = 2;
    if (world->kind->setup)
        world->kind->setup(world);
    world->heartbeat_s = options->heartbeat_s ? options->heartbeat_s : world->heartbeat_s;
    set_up(world);
    while (run_round(world))
        continue;
    placement_measure_end(world);
    struct placement_result *result = &world->result;
    snprintf(result->name, sizeof(result->name), "%s", options->name);
    result->stores = world->store_count_first;
    result->regions = world->region_count;
    result->seed = options->seed;
    operator_list_check(world->operators);
    if (world->region_count <= 20000)
        region_tree_check(world->tree);
    result->rss_bytes = rss_bytes();
    result->cpu_s = cpu_s() - cpu_before;
    if (result->self_inflicted > 0)
        snprintf(result->failure, sizeof(result->failure), "%llu steps broke a rule that was kept",
                 (unsigned long long)result->self_inflicted);
    if (result->failure[0] == '\0' && world->kind->judge)
        world->kind->judge(world, result);
    *ret_result = *result;
    placement_explain(world);
    clean_up(world);
}
