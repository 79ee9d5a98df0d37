/* Whole clusters in simulated time, in good weather: the members of a region change, stores are away while they do, and
 * nothing is left where a peer was. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chosen_bug.h"
#include "client/client_internal.h"
#include "meta/region.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/check_region.h"
#include "tests/sim/world.h"

enum { STORES_MAX = 8 };

struct cluster {
    struct world *world;
    struct check_raft *check;
    struct region *region; /* owned; as its leader knows it */
    store_id leader;
    bool answered;
    enum polder_outcome outcome;
    int code;
    char text[200];
    char value[40];
};

static uint64_t now_ms(const struct cluster *cluster)
{
    return sim_heap_ns(world_sim(cluster->world)) / 1000000;
}

static bool run_until(struct cluster *cluster, uint32_t limit_ms, bool (*is_done)(struct cluster *cluster))
{
    uint64_t limit = now_ms(cluster) + limit_ms;
    while (now_ms(cluster) < limit && world_step(cluster->world)) {
        struct sim_node *last = sim_last_node(world_sim(cluster->world));
        if (last && sim_node_is_up(last) && world_node_of(cluster->world, last)->role == WORLD_STORE)
            check_raft_store(cluster->check, world_node_of(cluster->world, last));
        if (is_done && is_done(cluster))
            return true;
    }
    assert_string_equal(world_failure(cluster->world), "");
    return !is_done;
}

static void start(struct cluster *cluster, struct world_node *node)
{
    struct error err = {0};
    assert_int_equal(world_start(cluster->world, node, &err), ERR_OK);
}

static bool is_whole(struct cluster *cluster)
{
    return check_raft_is_whole(cluster->check, true, NULL, 0);
}

/* One region on three stores, if there are as many. */
static struct cluster *cluster_new(uint32_t stores)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct swarm swarm;
    swarm_draw(1, false, 0, 0, &swarm);
    cluster->world = world_new(
        &(struct world_options){.seed = 1, .store_count = stores, .client_count = 2, .region_count = 1}, &swarm);
    cluster->check = check_raft_new(cluster->world);
    for (uint32_t i = 0; i < world_node_count(cluster->world); i++)
        start(cluster, world_node(cluster->world, i));
    assert_true(run_until(cluster, 60000, is_whole));
    return cluster;
}

static void cluster_free(struct cluster *cluster)
{
    check_region_ranges(cluster->world);
    check_region_replicas(cluster->world);
    assert_string_equal(world_failure(cluster->world), "");
    region_free(cluster->region);
    world_free(cluster->world);
    check_raft_free(cluster->check);
    free(cluster);
}

/* ---- the region */

static void visit(void *context, const struct store_peer_view *view)
{
    struct cluster *cluster = context;
    if (!raft_is_leader(view->raft))
        return;
    region_free(cluster->region);
    cluster->region = region_copy(view->members);
    cluster->leader = region_peer_by_id(view->members, view->peer)->store_id;
}

static bool has_leader(struct cluster *cluster)
{
    cluster->leader = 0;
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_visit_peers(world_store(cluster->world, i)->store, visit, cluster);
    return cluster->leader != 0;
}

static const struct region *look(struct cluster *cluster)
{
    assert_true(run_until(cluster, 20000, has_leader));
    return cluster->region;
}

static struct world_node *node_of(struct cluster *cluster, store_id id)
{
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store && store_get_id(world_store(cluster->world, i)->store) == id)
            return world_store(cluster->world, i);
    fail_msg("no such store");
    return NULL;
}

/* A store with (or without) a peer, other than the leader's. */
static store_id store_with_peer(struct cluster *cluster, bool peer)
{
    const struct region *region = look(cluster);
    for (store_id id = 1; id <= STORES_MAX * 16; id++)
        for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++) {
            struct world_node *node = world_store(cluster->world, i);
            if (node->store && store_get_id(node->store) == id && id != cluster->leader &&
                (region_peer_on_store(region, id) != NULL) == peer)
                return id;
        }
    fail_msg("there is none");
    return 0;
}

static size_t count_rows(struct engine *disk, enum engine_cf cf)
{
    size_t count = 0;
    struct engine_iter *iter = engine_iter_new(disk, cf, bytes_empty(), bytes_empty());
    for (engine_iter_seek(disk, iter, bytes_empty()); engine_iter_valid(disk, iter); engine_iter_next(disk, iter))
        count++;
    engine_iter_free(disk, iter);
    return count;
}

static bool is_member(struct cluster *cluster, store_id store, uint8_t role)
{
    const struct region_peer *peer = region_peer_on_store(look(cluster), store);
    return peer && peer->role == role;
}

/* ---- a client */

static void on_done(void *user, struct polder_result *take_result)
{
    struct cluster *cluster = user;
    cluster->answered = true;
    cluster->outcome = take_result->outcome;
    cluster->code = take_result->code;
    snprintf(cluster->text, sizeof cluster->text, "%s", take_result->text);
    snprintf(cluster->value, sizeof cluster->value, "%.*s", (int)take_result->value.size,
             (const char *)take_result->value.data);
    polder_result_free(take_result);
}

static bool is_answered(struct cluster *cluster)
{
    return cluster->answered;
}

static int ask_with(struct cluster *cluster, uint32_t number, struct client_call call)
{
    struct world_node *client = world_client(cluster->world, number);
    call.done = on_done;
    call.user = cluster;
    cluster->answered = false;
    sim_enter(client->node);
    assert_int_equal(client_submit(client->client, &call), ERR_OK);
    sim_leave(client->node);
    assert_true(run_until(cluster, 40000, is_answered));
    return cluster->outcome == POLDER_DONE ? POLDER_OK : cluster->code;
}

static int ask(struct cluster *cluster, struct client_call call)
{
    return ask_with(cluster, 1, call);
}

static void put(struct cluster *cluster, const char *key)
{
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_PUT, .key = bytes_of_string(key)}), POLDER_OK);
}

static int change_guarded(struct cluster *cluster, const struct polder_peer_change *changes, size_t count,
                          uint64_t guard, uint32_t deadline_ms)
{
    return ask(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                             .region_id = look(cluster)->id,
                                             .changes = changes,
                                             .change_count = count,
                                             .guard_conf = guard,
                                             .deadline_ms = deadline_ms});
}

static int change(struct cluster *cluster, enum polder_peer_change_kind kind, store_id store)
{
    return change_guarded(cluster, &(struct polder_peer_change){kind, store}, 1, 0, 10000);
}

/* ---- claims */

static void a_peer_moves_and_leaves_nothing_behind(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(4);
    put(cluster, "a");
    store_id from = store_with_peer(cluster, true), to = store_with_peer(cluster, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, to), POLDER_OK);
    assert_true(is_member(cluster, to, WIRE_PEER_ROLE_LEARNER));
    const struct polder_peer_change step[] = {{POLDER_PEER_PROMOTE, to}, {POLDER_PEER_REMOVE, from}};
    assert_int_equal(change_guarded(cluster, step, 2, look(cluster)->epoch_conf, 10000), POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    assert_true(is_member(cluster, to, WIRE_PEER_ROLE_VOTER));
    assert_null(region_peer_on_store(look(cluster), from));
    assert_int_equal(count_rows(node_of(cluster, from)->disk, ENGINE_DEFAULT), 0);
    assert_int_equal(count_rows(node_of(cluster, to)->disk, ENGINE_DEFAULT), 1);
    put(cluster, "b");
    /* And back: a new peer where an old one was. */
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, from), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, from), POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    assert_int_equal(look(cluster)->peer_count, 4);
    cluster_free(cluster);
}

static void a_leader_goes_before_it_is_removed(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(3);
    look(cluster);
    store_id leader = cluster->leader;
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, leader), POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    look(cluster);
    assert_true(cluster->leader != leader);
    assert_int_equal(cluster->region->peer_count, 2);
    cluster_free(cluster);
}

/* The one that stays forgets nothing of that, or it would need a vote from who is gone. It dies before it has told the other
 * one, or when that one has gone. */
static void one_of_two_goes_and_the_other_one_dies(bool told)
{
    struct cluster *cluster = cluster_new(3);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, store_with_peer(cluster, true)), POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    store_id other = store_with_peer(cluster, true);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, other), POLDER_OK);
    look(cluster);
    struct world_node *last = node_of(cluster, cluster->leader);
    if (told)
        assert_true(run_until(cluster, 20000, is_whole));
    world_kill(cluster->world, last, true);
    assert_true(run_until(cluster, 3000, NULL)); /* nobody is there to tell */
    start(cluster, last);
    put(cluster, "a");
    assert_true(run_until(cluster, 20000, is_whole));
    assert_int_equal(look(cluster)->peer_count, 1);
    cluster_free(cluster);
}

static void of_two_the_one_that_stays_serves_after_a_crash(void **unused)
{
    (void)unused;
    one_of_two_goes_and_the_other_one_dies(false);
    one_of_two_goes_and_the_other_one_dies(true);
}

static void who_was_removed_while_it_was_away_finds_out(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(4);
    put(cluster, "a");
    store_id from = store_with_peer(cluster, true), to = store_with_peer(cluster, false);
    struct world_node *away = node_of(cluster, from);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, to), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, to), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, from), POLDER_OK);
    put(cluster, "b");
    assert_true(count_rows(away->disk, ENGINE_RAFT) > 5);
    start(cluster, away);
    assert_true(run_until(cluster, 20000, is_whole));
    assert_int_equal(look(cluster)->peer_count, 3);
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    cluster_free(cluster);
}

static void nor_needs_it_anybody_whom_it_knows(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(6);
    put(cluster, "a");
    store_id was[3], now[3];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 3; i++)
        was[i] = look(cluster)->peers[i].store_id;
    for (uint32_t i = 1; i <= 6; i++)
        if (!region_peer_on_store(cluster->region, store_get_id(world_store(cluster->world, i)->store)))
            now[count++] = store_get_id(world_store(cluster->world, i)->store);
    uint32_t away_at = was[0] == cluster->leader ? 1 : 0;
    struct world_node *away = node_of(cluster, was[away_at]);
    world_kill(cluster->world, away, false);
    for (uint32_t i = 0; i < 3; i++) {
        const struct polder_peer_change step[] = {{POLDER_PEER_PROMOTE, now[i]}, {POLDER_PEER_REMOVE, was[i]}};
        assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, now[i]), POLDER_OK);
        assert_int_equal(change_guarded(cluster, step, 2, 0, 10000), POLDER_OK);
    }
    assert_true(run_until(cluster, 5000, NULL));
    start(cluster, away);
    assert_true(run_until(cluster, 40000, is_whole));
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(count_rows(node_of(cluster, was[i])->disk, ENGINE_DEFAULT), 0);
    cluster_free(cluster);
}

static void a_learner_that_was_removed_while_it_was_away_asks(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(4);
    put(cluster, "a");
    store_id store = store_with_peer(cluster, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, store), POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    struct world_node *away = node_of(cluster, store);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, store), POLDER_OK);
    start(cluster, away);
    assert_true(run_until(cluster, 20000, is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    cluster_free(cluster);
}

static void a_new_peer_takes_the_place_of_a_stale_one_on_its_store(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(3);
    put(cluster, "a");
    store_id store = store_with_peer(cluster, true);
    peer_id before = region_peer_on_store(look(cluster), store)->id;
    struct world_node *away = node_of(cluster, store);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, store), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, store), POLDER_OK);
    put(cluster, "b");
    start(cluster, away);
    assert_true(run_until(cluster, 20000, is_whole));
    assert_true(region_peer_on_store(look(cluster), store)->id != before);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, store), POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 2);
    cluster_free(cluster);
}

static void what_cannot_be_is_refused_with_a_reason(void **unused)
{
    (void)unused;
    enum { SOON = 300 };
    struct cluster *cluster = cluster_new(4);
    store_id with = store_with_peer(cluster, true), without = store_with_peer(cluster, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, with), POLDER_EXISTS);
    assert_non_null(strstr(cluster->text, "has a peer on store"));
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, 999), POLDER_NOT_FOUND);
    assert_non_null(strstr(cluster->text, "there is no store 999"));
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, without), POLDER_NOT_FOUND);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, with), POLDER_EXISTS);
    const struct polder_peer_change twice[] = {{POLDER_PEER_REMOVE, with}, {POLDER_PEER_DEMOTE, with}};
    assert_int_equal(change_guarded(cluster, twice, 2, 0, SOON), POLDER_INVALID);
    assert_int_equal(change_guarded(cluster, twice, 1, 77, SOON), POLDER_CONDITION_FAILED);
    struct polder_peer_change all[3];
    for (uint32_t i = 0; i < 3; i++)
        all[i] = (struct polder_peer_change){POLDER_PEER_REMOVE, look(cluster)->peers[i].store_id};
    assert_int_equal(change_guarded(cluster, all, 3, 0, SOON), POLDER_INVALID);
    /* One of three is down: without another one there is no quorum left. */
    world_kill(cluster->world, node_of(cluster, with), false);
    assert_true(run_until(cluster, 5000, NULL));
    store_id healthy = 0;
    for (uint32_t i = 0; i < 3; i++)
        if (look(cluster)->peers[i].store_id != with && look(cluster)->peers[i].store_id != cluster->leader)
            healthy = look(cluster)->peers[i].store_id;
    const struct polder_peer_change last = {POLDER_PEER_REMOVE, healthy};
    assert_int_equal(change_guarded(cluster, &last, 1, 0, SOON), POLDER_NOT_READY);
    assert_non_null(strstr(cluster->text, "of 2 voters that would be left only 1"));
    /* A learner that is not there yet. */
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, with), POLDER_OK);
    struct world_node *down = node_of(cluster, without);
    world_kill(cluster->world, down, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, without), POLDER_OK);
    const struct polder_peer_change promote = {POLDER_PEER_PROMOTE, without};
    assert_int_equal(change_guarded(cluster, &promote, 1, 0, SOON), POLDER_NOT_READY);
    assert_non_null(strstr(cluster->text, "entries behind"));
    start(cluster, down);
    for (uint32_t i = 1; i <= 4; i++)
        if (!world_store(cluster->world, i)->store)
            start(cluster, world_store(cluster->world, i));
    assert_true(run_until(cluster, 20000, is_whole));
    cluster_free(cluster);
}

/* ---- with a merge under way */

struct leaders {
    struct region *first, *second; /* owned: in key order, as their leaders know them */
    store_id of_first, of_second;
};

static void visit_leader(void *context, const struct store_peer_view *view)
{
    struct leaders *leaders = context;
    if (!raft_is_leader(view->raft))
        return;
    bool is_first = view->members->start_key.size == 0;
    struct region **region = is_first ? &leaders->first : &leaders->second;
    region_free(*region);
    *region = region_copy(view->members);
    *(is_first ? &leaders->of_first : &leaders->of_second) = region_peer_by_id(view->members, view->peer)->store_id;
}

static void find_leaders(struct cluster *cluster, struct leaders *leaders)
{
    *leaders = (struct leaders){0};
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        store_visit_peers(world_store(cluster->world, i)->store, visit_leader, leaders);
    assert_true(leaders->of_first && leaders->of_second);
}

/* ... on two stores. */
static void find_apart_leaders(struct cluster *cluster, struct leaders *leaders)
{
    find_leaders(cluster, leaders);
    const struct polder_peer_change away = {.store_id = leaders->of_first % 3 + 1};
    if (leaders->of_second == leaders->of_first)
        assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_TRANSFER_LEADER,
                                                           .region_id = leaders->second->id,
                                                           .changes = &away,
                                                           .change_count = 1}),
                         POLDER_OK);
    region_free(leaders->first);
    region_free(leaders->second);
    assert_true(run_until(cluster, 2000, NULL));
    find_leaders(cluster, leaders);
    assert_true(leaders->of_first != leaders->of_second);
}

static bool is_taken_in(struct cluster *cluster)
{
    struct store_merge_counts counts = {0};
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_add_merge_counts(world_store(cluster->world, i)->store, &counts);
    return counts.taken_in > 0;
}

static void start_merge(struct cluster *cluster, const struct leaders *leaders)
{
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_MERGE_REGION,
                                                       .key = leaders->second->start_key,
                                                       .region_id = leaders->second->id,
                                                       .target_region = leaders->first->id}),
                     POLDER_OK);
    assert_true(run_until(cluster, 20000, is_taken_in));
}

static void cut_off(struct cluster *cluster, const struct world_node *store, bool blocked)
{
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++) {
        struct world_node *other = world_store(cluster->world, i);
        if (other == store)
            continue;
        net_block(world_net(cluster->world), store->node, other->node, blocked);
        net_block(world_net(cluster->world), other->node, store->node, blocked);
    }
}

/* The source's leader is cut off before it hears that the target took it in and goes on; its lease lasts, and a client
 * still has its address. */
static void who_leads_a_source_serves_no_reads(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(3);
    struct store_merge_counts counts = {0};
    struct leaders leaders;
    put(cluster, "a");
    put(cluster, "z");
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("m")}),
                     POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    find_apart_leaders(cluster, &leaders);
    struct client_call get = {.op = CLIENT_GET, .key = bytes_of_string("z"), .deadline_ms = 400};
    assert_int_equal(ask_with(cluster, 2, get), POLDER_OK);
    assert_string_equal(cluster->value, "");
    start_merge(cluster, &leaders);
    struct world_node *source = node_of(cluster, leaders.of_second);
    store_add_merge_counts(source->store, &counts);
    assert_int_equal(counts.taken_in, 0);
    cut_off(cluster, source, true);
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_PUT,
                                                       .key = bytes_of_string("z"),
                                                       .value = bytes_of_string("new"),
                                                       .deadline_ms = 20000}),
                     POLDER_OK);
    if (ask_with(cluster, 2, get) == POLDER_OK)
        assert_string_equal(cluster->value, "new");
    cut_off(cluster, source, false);
    assert_true(run_until(cluster, 20000, is_whole));
    region_free(leaders.first);
    region_free(leaders.second);
    cluster_free(cluster);
}

/* The target's peer beside the source's leader was removed, and has not heard of it. */
static void who_prepared_for_a_target_that_left_its_store_goes_on(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(3);
    struct store_merge_counts counts = {0};
    struct leaders leaders;
    put(cluster, "a");
    put(cluster, "z");
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("m")}),
                     POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    find_apart_leaders(cluster, &leaders);
    struct world_node *source = node_of(cluster, leaders.of_second);
    cut_off(cluster, source, true);
    assert_int_equal(
        ask(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                          .region_id = leaders.first->id,
                                          .changes = &(struct polder_peer_change){.kind = POLDER_PEER_REMOVE,
                                                                                  .store_id = leaders.of_second},
                                          .change_count = 1}),
        POLDER_OK);
    cut_off(cluster, source, false);
    sim_enter(source->node);
    store_merge_region(source->store, leaders.second->id, leaders.first->id);
    sim_leave(source->node);
    assert_true(run_until(cluster, 20000, NULL));
    store_add_merge_counts(source->store, &counts);
    assert_int_equal(counts.prepared, 1);
    assert_int_equal(counts.rolled_back, 1);
    put(cluster, "z");
    assert_true(run_until(cluster, 20000, is_whole));
    region_free(leaders.first);
    region_free(leaders.second);
    cluster_free(cluster);
}

/* The store has applied what prepares the source, dies before it hears that the target took it in, and when it comes back
 * the target has no peer there any more. */
static void a_source_is_not_left_over_where_its_target_was_removed(void **unused)
{
    (void)unused;
    struct cluster *cluster = cluster_new(4);
    struct store_merge_counts counts = {0};
    struct leaders leaders;
    put(cluster, "a");
    put(cluster, "z");
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("m")}),
                     POLDER_OK);
    assert_true(run_until(cluster, 20000, is_whole));
    find_leaders(cluster, &leaders);
    store_id from = 0, to = 0;
    for (uint32_t i = 1; i <= 4; i++) {
        store_id id = store_get_id(world_store(cluster->world, i)->store);
        if (!region_peer_on_store(leaders.first, id))
            to = id;
        else if (id != leaders.of_first && id != leaders.of_second)
            from = id;
    }
    start_merge(cluster, &leaders);
    struct world_node *away = node_of(cluster, from);
    store_add_merge_counts(away->store, &counts);
    assert_int_equal(counts.taken_in, 0);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, to), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, to), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, from), POLDER_OK);
    assert_true(count_rows(away->disk, ENGINE_DEFAULT) > 0);
    start(cluster, away);
    assert_true(run_until(cluster, 20000, is_whole));
    assert_true(run_until(cluster, 5000, NULL));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, from), POLDER_OK); /* nothing is in its way */
    assert_true(run_until(cluster, 20000, is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 2);
    region_free(leaders.first);
    region_free(leaders.second);
    cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_moves_and_leaves_nothing_behind),
        cmocka_unit_test(a_leader_goes_before_it_is_removed),
        cmocka_unit_test(of_two_the_one_that_stays_serves_after_a_crash),
        cmocka_unit_test(who_was_removed_while_it_was_away_finds_out),
        cmocka_unit_test(nor_needs_it_anybody_whom_it_knows),
        cmocka_unit_test(a_learner_that_was_removed_while_it_was_away_asks),
        cmocka_unit_test(a_new_peer_takes_the_place_of_a_stale_one_on_its_store),
        cmocka_unit_test(what_cannot_be_is_refused_with_a_reason),
        cmocka_unit_test(who_leads_a_source_serves_no_reads),
        cmocka_unit_test(who_prepared_for_a_target_that_left_its_store_goes_on),
        cmocka_unit_test(a_source_is_not_left_over_where_its_target_was_removed),
    };
    choose_bug();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
