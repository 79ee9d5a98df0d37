#include "life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "check_raft.h"
#include "check_region.h"
#include "meta/keyspace.h"
#include "world.h"

enum {
    STORES = 4,
    KEYS_MAX = 512,
    VALUE_SIZE = 120,
    PATIENCE_US = 60 * 1000 * 1000, /* for any step */
    RESTART_US = 200 * 1000,        /* from a death to the next life */
    RANGES_INTERVAL_US = 200 * 1000,
};

struct life {
    const struct life_options *options;
    struct life_result *result;
    struct world *world;
    struct check_raft *raft;
    struct world_node *client;
    const char *step;
    uint64_t ranges_checked_us;
    struct world_node *victim;   /* dying or dead by the crash */
    uint32_t versions[KEYS_MAX]; /* of the value that was acknowledged last; 0: none */
    uint32_t version;
    /* of the call that is under way */
    bool answered;
    enum polder_outcome outcome;
    struct polder_result *answer; /* owned */
};

static uint64_t now_us(const struct life *life)
{
    return sim_heap_ns(world_sim(life->world)) / 1000;
}

/* ---- the crash */

/* It may be the one that dies, in the middle of its start: then it comes later. */
static bool start_node(struct life *life, struct world_node *node)
{
    struct error error = {0};
    if (world_start(life->world, node, &error) == ERR_OK || life->victim == node)
        return true;
    world_fail(life->world, "life", 0, "%s does not start: %s", sim_node_name(node->node), error.text);
    return false;
}

static void start_again(void *context)
{
    struct life *life = context;
    struct world_node *node = life->victim;
    life->victim = NULL;
    (void)start_node(life, node);
}

static void die(void *context)
{
    struct life *life = context;
    struct sim *sim = world_sim(life->world);
    world_kill(life->world, life->victim, life->options->loss != ENGINE_MEM_KEEP);
    life->victim->may_stop = false;
    sim_at(sim, sim_heap_ns(sim) + RESTART_US * UINT64_C(1000), NULL, start_again, NULL, life);
}

/* Asked before a write. The one at which it dies is still done; none after it. */
static enum err see_write(void *context, struct world_node *node)
{
    struct life *life = context;
    struct sim *sim = world_sim(life->world);
    if (life->victim == node)
        return ERR_IO;
    if (++life->result->writes != life->options->crash_at)
        return ERR_OK;
    life->victim = node;
    node->may_stop = true;
    snprintf(life->result->crashed_node, sizeof life->result->crashed_node, "%s", sim_node_name(node->node));
    snprintf(life->result->crashed_in, sizeof life->result->crashed_in, "%s", life->step);
    sim_at(sim, sim_heap_ns(sim), NULL, die, NULL, life);
    return ERR_OK;
}

/* ---- time */

static bool step_world(struct life *life)
{
    if (!world_step(life->world))
        return false;
    struct sim_node *last = sim_last_node(world_sim(life->world));
    const char *actor = sim_last_actor(world_sim(life->world));
    if (last && sim_node_is_up(last) && actor && strcmp(actor, "region") == 0 &&
        world_node_of(life->world, last)->role == WORLD_STORE)
        check_raft_store(life->raft, world_node_of(life->world, last));
    if (now_us(life) >= life->ranges_checked_us + RANGES_INTERVAL_US) {
        life->ranges_checked_us = now_us(life);
        check_region_ranges(life->world);
    }
    return !world_has_failed(life->world);
}

static bool wait_for_us(struct life *life, uint64_t us)
{
    uint64_t until_us = now_us(life) + us;
    while (now_us(life) < until_us)
        if (!step_world(life))
            return false;
    return true;
}

static bool is_up(struct life *life)
{
    return world_pd(life->world)->pd && pd_is_ready(world_pd(life->world)->pd);
}

static bool is_whole(struct life *life)
{
    return is_up(life) && !life->victim && check_raft_is_whole(life->raft, false, NULL, 0);
}

static bool is_equal(struct life *life)
{
    return is_up(life) && !life->victim && check_raft_is_whole(life->raft, true, NULL, 0);
}

/* False: a promise was broken, or it never came. */
static bool wait_until(struct life *life, bool (*is_so)(struct life *life), const char *what)
{
    uint64_t until_us = now_us(life) + PATIENCE_US;
    while (now_us(life) < until_us) {
        if (!wait_for_us(life, 10000))
            return false;
        if (is_so(life))
            return true;
    }
    char text[256] = "";
    check_raft_is_whole(life->raft, true, text, sizeof text);
    world_fail(life->world, "life", 0, "%d s in step %s, and not %s: %s", PATIENCE_US / 1000000, life->step, what,
               text);
    return false;
}

/* ---- calls */

static void on_done(void *user, struct polder_result *take_result)
{
    struct life *life = user;
    polder_result_free(life->answer);
    life->answer = take_result;
    life->answered = true;
}

/* Whatever comes of it: life->answer. */
static bool call_once(struct life *life, struct client_call *call)
{
    call->done = on_done;
    call->user = life;
    life->answered = false;
    sim_enter(life->client->node);
    enum err code = client_submit(life->client->client, call);
    sim_leave(life->client->node);
    if (code != ERR_OK) {
        world_fail(life->world, "life", 0, "client_submit refused: %s", err_name(code));
        return false;
    }
    while (!life->answered)
        if (!step_world(life))
            return false;
    return true;
}

/* Until it is done: whatever the script asks for may be asked again. */
static bool call(struct life *life, struct client_call *call)
{
    uint64_t until_us = now_us(life) + PATIENCE_US;
    while (now_us(life) < until_us) {
        if (!call_once(life, call))
            return false;
        if (life->answer->outcome == POLDER_DONE)
            return true;
        if (!wait_for_us(life, 20000))
            return false;
    }
    world_fail(life->world, "life", 0, "%d s in step %s, and still: %s", PATIENCE_US / 1000000, life->step,
               life->answer ? life->answer->text : "no answer");
    return false;
}

static struct bytes key_of(uint32_t key, char *text)
{
    return bytes_of(text, (size_t)snprintf(text, 16, "key-%06u", key));
}

static struct bytes value_of(uint32_t key, uint32_t version, char *text)
{
    int head = snprintf(text, VALUE_SIZE + 1, "%u of %u ", version, key);
    memset(text + head, '.', (size_t)(VALUE_SIZE - head));
    return bytes_of(text, VALUE_SIZE);
}

static bool put(struct life *life, uint32_t key)
{
    char key_text[16], value_text[VALUE_SIZE + 1];
    uint32_t version = ++life->version;
    struct client_call wanted = {
        .op = CLIENT_PUT, .key = key_of(key, key_text), .value = value_of(key, version, value_text)};
    if (!call(life, &wanted))
        return false;
    life->versions[key] = version;
    return true;
}

static bool put_some(struct life *life, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!put(life, first + i))
            return false;
    return true;
}

static bool delete_one(struct life *life, uint32_t key)
{
    char key_text[16];
    struct client_call wanted = {.op = CLIENT_DELETE, .key = key_of(key, key_text)};
    if (!call(life, &wanted))
        return false;
    life->versions[key] = 0;
    return true;
}

/* ---- the script */

static bool create(struct life *life)
{
    for (uint32_t i = 0; i < world_node_count(life->world); i++)
        if (!start_node(life, world_node(life->world, i)))
            return false;
    return wait_until(life, is_whole, "a cluster");
}

static bool load(struct life *life)
{
    if (!put_some(life, 0, 24))
        return false;
    return delete_one(life, 3) && delete_one(life, 17) && put(life, 17);
}

static bool split_at(struct life *life, uint32_t key)
{
    char key_text[16];
    struct client_call wanted = {.op = CLIENT_SPLIT_REGION, .key = key_of(key, key_text)};
    return call(life, &wanted);
}

static bool split(struct life *life)
{
    return split_at(life, 12) && put_some(life, 8, 8) && split_at(life, 18) && put_some(life, 16, 4);
}

/* A store that has a peer of the first region: which one does not matter, as long as it is always the same. */
static struct world_node *store_that_follows(struct life *life);

struct seen {
    bool leads, has;
};

static void see_peer(void *context, const struct store_peer_view *view)
{
    struct seen *seen = context;
    seen->has = true;
    seen->leads |= raft_is_leader(view->raft);
}

static struct world_node *store_that_follows(struct life *life)
{
    struct world_node *any = NULL;
    for (uint32_t number = 1; number <= STORES; number++) {
        struct world_node *store = world_store(life->world, number);
        struct seen seen = {0};
        if (!store->store)
            continue;
        store_visit_peers(store->store, see_peer, &seen);
        if (seen.has && !seen.leads)
            return store;
        any = seen.has ? store : any;
    }
    return any;
}

static bool snapshot(struct life *life)
{
    struct store_snapshot_counts before = {0}, after = {0};
    if (!wait_until(life, is_whole, "whole"))
        return false;
    world_add_snapshot_counts(life->world, &before);
    struct world_node *store = store_that_follows(life);
    CHECK(store); /* the cluster is whole */
    if (store != life->victim)
        world_kill(life->world, store, true);
    if (!put_some(life, 0, 24) || !put_some(life, 0, 24) || !wait_for_us(life, 1000000))
        return false;
    if (!start_node(life, store) || !wait_until(life, is_equal, "equal"))
        return false;
    world_add_snapshot_counts(life->world, &after);
    life->result->snapshots +=
        after.installed + after.installed_at_start - before.installed - before.installed_at_start;
    return true;
}

/* ---- members, neighbours */

enum { REGIONS_MAX = 8, START_MAX = 32 };

/* A region as pd tells it. */
struct known {
    uint64_t id;
    uint8_t start[START_MAX];
    struct bytes start_key;
    uint64_t stores[8];
    uint32_t store_count, voter_count;
};

static void know(struct known *known, const struct polder_region *region)
{
    *known = (struct known){.id = region->id};
    CHECK(region->start_key.size <= START_MAX && region->peer_count <= 8);
    if (region->start_key.size > 0)
        memcpy(known->start, region->start_key.data, region->start_key.size);
    known->start_key = bytes_of(known->start, region->start_key.size);
    for (size_t i = 0; i < region->peer_count; i++) {
        known->stores[known->store_count++] = region->peers[i].store_id;
        known->voter_count += region->peers[i].role == 0;
    }
}

static bool has_store(const struct known *known, uint64_t store)
{
    for (uint32_t i = 0; i < known->store_count; i++)
        if (known->stores[i] == store)
            return true;
    return false;
}

/* In the order of their keys. */
static bool list_regions(struct life *life, struct known *regions, uint32_t *ret_count)
{
    struct client_call wanted = {.op = CLIENT_CLUSTER_REGIONS, .count = REGIONS_MAX};
    if (!call(life, &wanted))
        return false;
    const struct polder_cluster *cluster = life->answer->cluster;
    CHECK(cluster && cluster->region_page_count <= REGIONS_MAX);
    for (size_t i = 0; i < cluster->region_page_count; i++)
        know(&regions[i], &cluster->regions[i]);
    *ret_count = (uint32_t)cluster->region_page_count;
    return true;
}

/* Asks for it until pd tells of a region that is so. What was refused may have been done by an earlier try: the region says. */
static bool change_until(struct life *life, uint64_t id, const struct polder_peer_change *changes, uint32_t count,
                         bool (*is_so)(const struct known *region, uint64_t store), uint64_t store)
{
    uint64_t until_us = now_us(life) + PATIENCE_US;
    while (now_us(life) < until_us) {
        struct known regions[REGIONS_MAX], *region = NULL;
        uint32_t region_count;
        if (!list_regions(life, regions, &region_count))
            return false;
        for (uint32_t i = 0; i < region_count; i++)
            region = regions[i].id == id ? &regions[i] : region;
        if (region && is_so(region, store))
            return true;
        struct client_call wanted = {.op = CLIENT_CHANGE_PEERS,
                                     .key = region ? region->start_key : bytes_empty(),
                                     .region_id = id,
                                     .deadline_ms = 1000,
                                     .changes = changes,
                                     .change_count = count};
        if (region && !call_once(life, &wanted))
            return false;
        if (!wait_for_us(life, 50000))
            return false;
    }
    world_fail(life->world, "life", 0, "%d s in step %s, and the members of region %llu are not changed: %s",
               PATIENCE_US / 1000000, life->step, (unsigned long long)id, life->answer ? life->answer->text : "");
    return false;
}

static bool is_there(const struct known *region, uint64_t store)
{
    return has_store(region, store);
}

static bool is_gone(const struct known *region, uint64_t store)
{
    return !has_store(region, store);
}

static bool votes_everywhere(const struct known *region, uint64_t store)
{
    return has_store(region, store) && region->voter_count == region->store_count;
}

static uint64_t store_without(struct life *life, const struct known *region)
{
    for (uint32_t number = 1; number <= STORES; number++) {
        const struct world_node *node = world_store(life->world, number);
        uint64_t id = node->store ? store_get_id(node->store) : 0;
        if (id != 0 && !has_store(region, id))
            return id;
    }
    return 0;
}

/* A learner, then a voter in the place of another, in one step. */
static bool move(struct life *life)
{
    struct known regions[REGIONS_MAX];
    uint32_t count;
    if (!wait_until(life, is_equal, "equal") || !list_regions(life, regions, &count))
        return false;
    uint64_t from = regions[0].stores[0], to = store_without(life, &regions[0]);
    CHECK(to != 0); /* four stores, three peers */
    struct polder_peer_change add = {POLDER_PEER_ADD_LEARNER, to};
    struct polder_peer_change swap[] = {{POLDER_PEER_PROMOTE, to}, {POLDER_PEER_REMOVE, from}};
    return change_until(life, regions[0].id, &add, 1, is_there, to) && put_some(life, 0, 6) &&
           change_until(life, regions[0].id, swap, 2, is_gone, from) && put_some(life, 2, 6);
}

static bool remove_and_add(struct life *life)
{
    struct known regions[REGIONS_MAX];
    uint32_t count;
    if (!wait_until(life, is_equal, "equal") || !list_regions(life, regions, &count))
        return false;
    uint64_t store = regions[0].stores[1];
    struct polder_peer_change remove = {POLDER_PEER_REMOVE, store};
    struct polder_peer_change add = {POLDER_PEER_ADD_LEARNER, store};
    struct polder_peer_change promote = {POLDER_PEER_PROMOTE, store};
    return change_until(life, regions[0].id, &remove, 1, is_gone, store) && put_some(life, 4, 4) &&
           change_until(life, regions[0].id, &add, 1, is_there, store) &&
           change_until(life, regions[0].id, &promote, 1, votes_everywhere, store) && put_some(life, 6, 4);
}

static bool merge(struct life *life)
{
    struct known regions[REGIONS_MAX];
    uint32_t count, before;
    uint64_t until_us = now_us(life) + PATIENCE_US;
    if (!list_regions(life, regions, &before))
        return false;
    CHECK(before == 3);
    while (now_us(life) < until_us) {
        if (!list_regions(life, regions, &count))
            return false;
        if (count < before)
            return put_some(life, 12, 12);
        struct client_call wanted = {.op = CLIENT_MERGE_REGION,
                                     .key = regions[2].start_key,
                                     .region_id = regions[2].id,
                                     .target_region = regions[1].id,
                                     .deadline_ms = 1000};
        if (!call_once(life, &wanted) || !wait_for_us(life, 100000))
            return false;
    }
    world_fail(life->world, "life", 0, "%d s, and two regions are not merged: %s", PATIENCE_US / 1000000,
               life->answer ? life->answer->text : "");
    return false;
}

/* Every row, and none that is not. */
static bool read_all(struct life *life)
{
    struct client_call wanted = {.op = CLIENT_SCAN, .scan = {.size = sizeof wanted.scan, .limit = KEYS_MAX}};
    if (!call(life, &wanted))
        return false;
    size_t at = 0;
    for (uint32_t key = 0; key < KEYS_MAX; key++) {
        char key_text[16], value_text[VALUE_SIZE + 1];
        if (life->versions[key] == 0)
            continue;
        struct bytes wanted_key = key_of(key, key_text), value = value_of(key, life->versions[key], value_text);
        const struct polder_row *row = at < life->answer->row_count ? &life->answer->rows[at++] : NULL;
        if (!row || !bytes_equal(bytes_of(row->key.data, row->key.size), wanted_key) ||
            !bytes_equal(bytes_of(row->value.data, row->value.size), value)) {
            world_fail(life->world, "life", 0, "key %u with value %u was acknowledged, and is not there", key,
                       life->versions[key]);
            return false;
        }
    }
    if (at < life->answer->row_count)
        world_fail(life->world, "life", 0, "a row is there that was not, or not any more: row %zu", at);
    return !world_has_failed(life->world);
}

static bool settle(struct life *life)
{
    if (!wait_until(life, is_equal, "equal") || !read_all(life))
        return false;
    check_region_ranges(life->world);
    check_region_replicas(life->world);
    return !world_has_failed(life->world);
}

static const struct {
    const char *name;
    bool (*run)(struct life *life);
} script[] = {
    {"create", create}, {"load", load}, {"split", split}, {"snapshot", snapshot}, {"move", move},
    {"merge", merge}, {"remove", remove_and_add}, {"settle", settle},
};

/* ---- a run */

static void see_frame(void *context, struct sim_node *from, struct sim_node *to, const struct frame *frame)
{
    struct life *life = context;
    check_raft_frame(life->raft, from, to, frame);
}

/* Logs are cut early, chunks are small, regions sleep soon: more writes of each kind, in less time. */
static void choose_settings(uint64_t seed, struct swarm *swarm)
{
    swarm_draw(seed, false, 0, 0, swarm);
    swarm->log_retain_count = 4;
    swarm->log_count_max = 8;
    swarm->log_check_interval_ms = 50;
    swarm->tokens_save_interval = 8;
    swarm->snapshot_chunk_size = 512;
    swarm->sleep_after_ms = 500;
}

void life_run(const struct life_options *options, struct life_result *ret_result)
{
    struct swarm swarm;
    *ret_result = (struct life_result){0};
    choose_settings(options->seed, &swarm);
    struct world_options world_options = {
        .seed = options->seed, .store_count = STORES, .client_count = 1, .region_count = 1};
    struct life *life = calloc(1, sizeof *life);
    CHECK(life);
    life->options = options;
    life->result = ret_result;
    life->world = world_new(&world_options, &swarm);
    life->client = world_client(life->world, 1);
    struct sim *sim = world_sim(life->world);
    if (options->trace)
        sim_set_trace(sim, options->trace, options->trace_context);
    life->raft = check_raft_new(life->world);
    net_set_observer(world_net(life->world), see_frame, life);
    world_set_loss(life->world, options->loss);
    world_set_write_hook(life->world, see_write, life);
    for (size_t i = 0; i < sizeof script / sizeof script[0]; i++) {
        life->step = script[i].name;
        sim_trace(sim, "life: %s", life->step);
        if (!script[i].run(life))
            break;
    }
    if (world_has_failed(life->world) && options->trace)
        check_raft_describe(life->raft);
    ret_result->failed = world_has_failed(life->world);
    snprintf(ret_result->failure, sizeof ret_result->failure, "%s", world_failure(life->world));
    ret_result->digest = sim_digest(sim);
    ret_result->virtual_us = now_us(life);
    sim_set_trace(sim, NULL, NULL);
    world_set_write_hook(life->world, NULL, NULL);
    polder_result_free(life->answer);
    life->answer = NULL;
    world_free(life->world);
    polder_result_free(life->answer); /* of a call that the end of the world ended */
    check_raft_free(life->raft);
    free(life);
}
