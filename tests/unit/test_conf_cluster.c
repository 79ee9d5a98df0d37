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
#include "meta/region.h"
#include "sim_cluster.h"
#include "storenode/pd_link.h"
#include "storenode/peer_heal.h"
#include "storenode/region_worker.h"
#include "storenode/store_parts.h"
#include "tests/sim/check_raft.h"
#include "tests/sim/check_region.h"

enum { STORES_MAX = 8 };

/* One region on three stores, if there are as many. */
static struct sim_cluster *make(uint32_t stores)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.store_count = stores;
    options.world.seed = 2; /* one of those in which a leader that was cut off for a moment still leads afterwards */
    return sim_cluster_new(&options);
}

/* ---- the region */

/* A store with (or without) a peer, other than the leader's. */
static store_id store_with_peer(struct sim_cluster *cluster, bool peer)
{
    const struct region *region = sim_cluster_look(cluster);
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

static bool is_member(struct sim_cluster *cluster, store_id store, uint8_t role)
{
    const struct region_peer *peer = region_peer_on_store(sim_cluster_look(cluster), store);
    return peer && peer->role == role;
}

/* ---- a client */

static int ask_with(struct sim_cluster *cluster, uint32_t number, struct client_call call)
{
    cluster->client = number;
    sim_cluster_ask(cluster, call);
    return cluster->outcome == POLDER_DONE ? POLDER_OK : cluster->code;
}

static int ask(struct sim_cluster *cluster, struct client_call call)
{
    return ask_with(cluster, 1, call);
}

static void put(struct sim_cluster *cluster, const char *key)
{
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_PUT, .key = bytes_of_string(key)}), POLDER_OK);
}

static int change_guarded(struct sim_cluster *cluster, const struct polder_peer_change *changes, size_t count,
                          uint64_t guard, uint32_t deadline_ms)
{
    return ask(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                             .region_id = sim_cluster_look(cluster)->id,
                                             .changes = changes,
                                             .change_count = count,
                                             .guard_conf = guard,
                                             .deadline_ms = deadline_ms});
}

static int change(struct sim_cluster *cluster, enum polder_peer_change_kind kind, store_id store)
{
    return change_guarded(cluster, &(struct polder_peer_change){kind, store}, 1, 0, 10000);
}

static void free_message(struct message *message)
{
    free(message);
}

/* ---- claims */

static void a_peer_moves_and_leaves_nothing_behind(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4);
    put(cluster, "a");
    store_id from = store_with_peer(cluster, true), to = store_with_peer(cluster, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, to), POLDER_OK);
    assert_true(is_member(cluster, to, WIRE_PEER_ROLE_LEARNER));
    const struct polder_peer_change step[] = {{POLDER_PEER_PROMOTE, to}, {POLDER_PEER_REMOVE, from}};
    assert_int_equal(change_guarded(cluster, step, 2, sim_cluster_look(cluster)->epoch_conf, 10000), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_true(is_member(cluster, to, WIRE_PEER_ROLE_VOTER));
    assert_null(region_peer_on_store(sim_cluster_look(cluster), from));
    assert_int_equal(count_rows(sim_cluster_store(cluster, from)->disk, ENGINE_DEFAULT), 0);
    assert_int_equal(count_rows(sim_cluster_store(cluster, to)->disk, ENGINE_DEFAULT), 1);
    put(cluster, "b");
    /* And back: a new peer where an old one was. */
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, from), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, from), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(sim_cluster_look(cluster)->peer_count, 4);
    sim_cluster_free(cluster, true);
}

static void find_oldest_conf(void *context, const struct store_peer_view *view)
{
    uint64_t *oldest = context;
    if (view->members->epoch_conf < *oldest)
        *oldest = view->members->epoch_conf;
}

static bool all_know_the_members(struct sim_cluster *cluster)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        store_visit_peers(world_store(cluster->world, i)->store, find_oldest_conf, &oldest);
    return sim_cluster_has_leader(cluster) && oldest == cluster->region->epoch_conf;
}

/* Else those that are left when the leader dies elect by the members of before. Heartbeats come each 200 ms. */
static void followers_know_of_a_change_of_members_at_once(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4);
    store_id to = store_with_peer(cluster, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, to), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, to), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20, all_know_the_members));
    sim_cluster_free(cluster, false);
}

static void a_leader_goes_before_it_is_removed(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3);
    sim_cluster_look(cluster);
    store_id leader = cluster->leader;
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, leader), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_look(cluster);
    assert_true(cluster->leader != leader);
    assert_int_equal(cluster->region->peer_count, 2);
    sim_cluster_free(cluster, true);
}

/* The one that stays forgets nothing of that, or it would need a vote from who is gone. It dies before it has told the other
 * one, or when that one has gone. */
static void one_of_two_goes_and_the_other_one_dies(bool told)
{
    struct sim_cluster *cluster = make(3);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, store_with_peer(cluster, true)), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    store_id other = store_with_peer(cluster, true);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, other), POLDER_OK);
    sim_cluster_look(cluster);
    struct world_node *last = sim_cluster_store(cluster, cluster->leader);
    if (told)
        assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    world_kill(cluster->world, last, true);
    assert_true(sim_cluster_run_until(cluster, 3000, NULL)); /* nobody is there to tell */
    sim_cluster_start(cluster, last);
    put(cluster, "a");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(sim_cluster_look(cluster)->peer_count, 1);
    sim_cluster_free(cluster, true);
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
    struct sim_cluster *cluster = make(4);
    put(cluster, "a");
    store_id from = store_with_peer(cluster, true), to = store_with_peer(cluster, false);
    struct world_node *away = sim_cluster_store(cluster, from);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, to), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, to), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, from), POLDER_OK);
    put(cluster, "b");
    assert_true(count_rows(away->disk, ENGINE_RAFT) > 5);
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(sim_cluster_look(cluster)->peer_count, 3);
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    sim_cluster_free(cluster, true);
}

static void nor_needs_it_anybody_whom_it_knows(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(6);
    put(cluster, "a");
    store_id was[3], now[3];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 3; i++)
        was[i] = sim_cluster_look(cluster)->peers[i].store_id;
    for (uint32_t i = 1; i <= 6; i++)
        if (!region_peer_on_store(cluster->region, store_get_id(world_store(cluster->world, i)->store)))
            now[count++] = store_get_id(world_store(cluster->world, i)->store);
    uint32_t away_at = was[0] == cluster->leader ? 1 : 0;
    struct world_node *away = sim_cluster_store(cluster, was[away_at]);
    world_kill(cluster->world, away, false);
    for (uint32_t i = 0; i < 3; i++) {
        const struct polder_peer_change step[] = {{POLDER_PEER_PROMOTE, now[i]}, {POLDER_PEER_REMOVE, was[i]}};
        assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, now[i]), POLDER_OK);
        assert_int_equal(change_guarded(cluster, step, 2, 0, 10000), POLDER_OK);
    }
    assert_true(sim_cluster_run_until(cluster, 5000, NULL));
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 40000, sim_cluster_is_whole));
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(count_rows(sim_cluster_store(cluster, was[i])->disk, ENGINE_DEFAULT), 0);
    sim_cluster_free(cluster, true);
}

/* The region is where a peer that it knows was, under another id. */
static void who_is_asked_for_a_peer_before_it_knows_who_is_gone(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3);
    put(cluster, "a");
    store_id first = sim_cluster_look(cluster)->peers[0].store_id, others[2];
    uint32_t count = 0;
    first = cluster->leader;
    for (uint32_t i = 0; i < 3; i++)
        if (cluster->region->peers[i].store_id != first)
            others[count++] = cluster->region->peers[i].store_id;
    struct world_node *away = sim_cluster_store(cluster, others[0]);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, others[0]), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, others[1]), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, others[1]), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, others[1]), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, first), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 5000, NULL));
    assert_int_equal(sim_cluster_look(cluster)->peer_count, 1);
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 10000, sim_cluster_is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    sim_cluster_free(cluster, true);
}

static void a_learner_that_was_removed_while_it_was_away_asks(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4);
    put(cluster, "a");
    store_id store = store_with_peer(cluster, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, store), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    struct world_node *away = sim_cluster_store(cluster, store);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, store), POLDER_OK);
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    sim_cluster_free(cluster, true);
}

static void a_new_peer_takes_the_place_of_a_stale_one_on_its_store(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3);
    put(cluster, "a");
    store_id store = store_with_peer(cluster, true);
    peer_id before = region_peer_on_store(sim_cluster_look(cluster), store)->id;
    struct world_node *away = sim_cluster_store(cluster, store);
    world_kill(cluster->world, away, false);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, store), POLDER_OK);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, store), POLDER_OK);
    put(cluster, "b");
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_true(region_peer_on_store(sim_cluster_look(cluster), store)->id != before);
    assert_int_equal(change(cluster, POLDER_PEER_PROMOTE, store), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 2);
    sim_cluster_free(cluster, true);
}

static void what_cannot_be_is_refused_with_a_reason(void **unused)
{
    (void)unused;
    enum { SOON = 300 };
    struct sim_cluster *cluster = make(4);
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
        all[i] = (struct polder_peer_change){POLDER_PEER_REMOVE, sim_cluster_look(cluster)->peers[i].store_id};
    assert_int_equal(change_guarded(cluster, all, 3, 0, SOON), POLDER_INVALID);
    /* One of three is down: without another one there is no quorum left. */
    world_kill(cluster->world, sim_cluster_store(cluster, with), false);
    assert_true(sim_cluster_run_until(cluster, 5000, NULL));
    store_id healthy = 0;
    for (uint32_t i = 0; i < 3; i++)
        if (sim_cluster_look(cluster)->peers[i].store_id != with &&
            sim_cluster_look(cluster)->peers[i].store_id != cluster->leader)
            healthy = sim_cluster_look(cluster)->peers[i].store_id;
    const struct polder_peer_change last = {POLDER_PEER_REMOVE, healthy};
    assert_int_equal(change_guarded(cluster, &last, 1, 0, SOON), POLDER_NOT_READY);
    assert_non_null(strstr(cluster->text, "of 2 voters that would be left only 1"));
    /* A learner that is not there yet. */
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, with), POLDER_OK);
    struct world_node *down = sim_cluster_store(cluster, without);
    world_kill(cluster->world, down, false);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, without), POLDER_OK);
    const struct polder_peer_change promote = {POLDER_PEER_PROMOTE, without};
    assert_int_equal(change_guarded(cluster, &promote, 1, 0, SOON), POLDER_NOT_READY);
    assert_non_null(strstr(cluster->text, "entries behind"));
    sim_cluster_start(cluster, down);
    for (uint32_t i = 1; i <= 4; i++)
        if (!world_store(cluster->world, i)->store)
            sim_cluster_start(cluster, world_store(cluster->world, i));
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    sim_cluster_free(cluster, true);
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

static void find_leaders(struct sim_cluster *cluster, struct leaders *leaders)
{
    *leaders = (struct leaders){0};
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        store_visit_peers(world_store(cluster->world, i)->store, visit_leader, leaders);
    assert_true(leaders->of_first && leaders->of_second);
}

static void split_in_two(struct sim_cluster *cluster, struct leaders *leaders)
{
    put(cluster, "a");
    put(cluster, "z");
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_SPLIT_REGION, .key = bytes_of_string("m")}),
                     POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    find_leaders(cluster, leaders);
}

static void end_both(struct sim_cluster *cluster, struct leaders *leaders)
{
    region_free(leaders->first);
    region_free(leaders->second);
    sim_cluster_free(cluster, true);
}

/* Leaders on two stores. */
static void split_apart(struct sim_cluster *cluster, struct leaders *leaders)
{
    split_in_two(cluster, leaders);
    const struct polder_peer_change away = {.store_id = leaders->of_first % 3 + 1};
    if (leaders->of_second == leaders->of_first)
        assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_TRANSFER_LEADER,
                                                           .region_id = leaders->second->id,
                                                           .changes = &away,
                                                           .change_count = 1}),
                         POLDER_OK);
    region_free(leaders->first);
    region_free(leaders->second);
    assert_true(sim_cluster_run_until(cluster, 2000, NULL));
    find_leaders(cluster, leaders);
    assert_true(leaders->of_first != leaders->of_second);
}

static bool is_taken_in(struct sim_cluster *cluster)
{
    struct store_merge_counts counts = {0};
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        if (world_store(cluster->world, i)->store)
            store_add_merge_counts(world_store(cluster->world, i)->store, &counts);
    return counts.taken_in > 0;
}

static void start_merge(struct sim_cluster *cluster, const struct leaders *leaders)
{
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_MERGE_REGION,
                                                       .key = leaders->second->start_key,
                                                       .region_id = leaders->second->id,
                                                       .target_region = leaders->first->id}),
                     POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 20000, is_taken_in));
}

static void cut_off(struct sim_cluster *cluster, const struct world_node *store, bool blocked)
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
    struct sim_cluster *cluster = make(3);
    struct store_merge_counts counts = {0};
    struct leaders leaders;
    split_apart(cluster, &leaders);
    struct client_call get = {.op = CLIENT_GET, .key = bytes_of_string("z"), .deadline_ms = 400};
    assert_int_equal(ask_with(cluster, 2, get), POLDER_OK);
    assert_string_equal(cluster->value, "");
    start_merge(cluster, &leaders);
    struct world_node *source = sim_cluster_store(cluster, leaders.of_second);
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
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    end_both(cluster, &leaders);
}

/* The target's peer beside the source's leader was removed, and has not heard of it. */
static void who_prepared_for_a_target_that_left_its_store_goes_on(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3);
    struct store_merge_counts counts = {0};
    struct leaders leaders;
    split_apart(cluster, &leaders);
    struct world_node *source = sim_cluster_store(cluster, leaders.of_second);
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
    assert_true(sim_cluster_run_until(cluster, 20000, NULL));
    store_add_merge_counts(source->store, &counts);
    assert_int_equal(counts.prepared, 1);
    assert_int_equal(counts.rolled_back, 1);
    put(cluster, "z");
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    end_both(cluster, &leaders);
}

/* Of two, this one. */
static void change_in(struct sim_cluster *cluster, const struct region *region, enum polder_peer_change_kind kind,
                      store_id store)
{
    const struct polder_peer_change change = {kind, store};
    assert_int_equal(ask(cluster, (struct client_call){.op = CLIENT_CHANGE_PEERS,
                                                       .key = region->start_key,
                                                       .region_id = region->id,
                                                       .changes = &change,
                                                       .change_count = 1}),
                     POLDER_OK);
}

/* A store that has both regions and leads none of them, and the one that has neither. */
static void find_bystanders(struct sim_cluster *cluster, const struct leaders *leaders, struct world_node **ret_with,
                            store_id *ret_without)
{
    for (uint32_t i = 1; i <= 4; i++) {
        struct world_node *node = world_store(cluster->world, i);
        store_id id = store_get_id(node->store);
        if (!region_peer_on_store(leaders->first, id))
            *ret_without = id;
        else if (id != leaders->of_first && id != leaders->of_second)
            *ret_with = node;
    }
}

static void report_damage(struct world_node *node, region_id region)
{
    sim_enter(node->node);
    store_report_damage(node->store, region, "a test");
    sim_leave(node->node);
}

/* The store has what prepares the source, dies before it hears that the target took it in, and when it comes back the target
 * has no peer there any more. A source that is damaged has not applied that, and never will. */
static void a_source_is_left_alone(bool damaged)
{
    struct sim_cluster *cluster = make(4);
    struct store_merge_counts merges = {0};
    struct store_damage_counts damages = {0};
    struct leaders leaders;
    split_in_two(cluster, &leaders);
    struct world_node *away = NULL;
    store_id to = 0;
    find_bystanders(cluster, &leaders, &away, &to);
    store_id from = store_get_id(away->store);
    uint32_t snapshots_max = away->store_config.snapshots_max;
    if (damaged) {
        away->store_config.snapshots_max = 0; /* it is not healed */
        report_damage(away, leaders.second->id);
        assert_true(sim_cluster_run_until(cluster, 1000, NULL));
    }
    start_merge(cluster, &leaders);
    store_add_merge_counts(away->store, &merges);
    assert_int_equal(merges.taken_in, 0);
    store_add_damage_counts(away->store, &damages);
    assert_int_equal(damages.damaged, damaged);
    if (damaged)
        assert_int_equal(merges.prepared, 0);
    world_kill(cluster->world, away, false);
    away->store_config.snapshots_max = snapshots_max;
    change_in(cluster, leaders.first, POLDER_PEER_ADD_LEARNER, to);
    change_in(cluster, leaders.first, POLDER_PEER_PROMOTE, to);
    change_in(cluster, leaders.first, POLDER_PEER_REMOVE, from);
    assert_true(count_rows(away->disk, ENGINE_DEFAULT) > 0);
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_true(sim_cluster_run_until(cluster, 5000, NULL));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, from), POLDER_OK); /* nothing is in its way */
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 2);
    end_both(cluster, &leaders);
}

static void a_source_is_not_left_over_where_its_target_was_removed(void **unused)
{
    (void)unused;
    a_source_is_left_alone(false);
}

static void nor_is_one_that_is_damaged_and_cannot_apply_what_prepared_it(void **unused)
{
    (void)unused;
    a_source_is_left_alone(true);
}

/* Of regions that pd does not know, more often than it answers. */
static bool is_whole_though_all_ask(struct sim_cluster *cluster)
{
    if (sim_cluster_now_ms(cluster) >= cluster->answered_ms + 20) {
        cluster->answered_ms = sim_cluster_now_ms(cluster);
        for (uint32_t i = 1; i <= 3; i++) {
            struct world_node *node = world_store(cluster->world, i);
            sim_enter(node->node);
            pd_link_ask_region(node->store->pd_link, 1000000);
            sim_leave(node->node);
        }
    }
    return sim_cluster_is_whole(cluster);
}

/* Regions without a leader ask pd what became of them; they get one when their stores have found each other. */
static void who_has_many_questions_still_learns_where_the_others_are(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(3);
    for (uint32_t i = 1; i <= 3; i++)
        world_kill(cluster->world, world_store(cluster->world, i), false);
    for (uint32_t i = 1; i <= 3; i++)
        sim_cluster_start(cluster, world_store(cluster->world, i));
    cluster->answered_ms = sim_cluster_now_ms(cluster);
    assert_true(sim_cluster_run_until(cluster, 20000, is_whole_though_all_ask));
    sim_cluster_free(cluster, true);
}

/* ---- a region that is no more */

/* Both regions go from the `count` stores `was` to the stores `now`, and become one. */
static void move_and_merge(struct sim_cluster *cluster, const struct leaders *leaders, const store_id *was,
                           const store_id *now, uint32_t count)
{
    const struct region *regions[] = {leaders->first, leaders->second};
    for (uint32_t i = 0; i < 2 * count; i++) {
        const struct polder_peer_change add = {POLDER_PEER_ADD_LEARNER, now[i / 2]},
                                        step[] = {{POLDER_PEER_PROMOTE, now[i / 2]}, {POLDER_PEER_REMOVE, was[i / 2]}};
        struct client_call call = {.op = CLIENT_CHANGE_PEERS,
                                   .key = regions[i % 2]->start_key,
                                   .region_id = regions[i % 2]->id,
                                   .changes = &add,
                                   .change_count = 1};
        assert_int_equal(ask(cluster, call), POLDER_OK);
        call.changes = step;
        call.change_count = 2;
        assert_int_equal(ask(cluster, call), POLDER_OK);
    }
    assert_true(sim_cluster_run_until(cluster, 5000, NULL)); /* those that are here have left the old stores */
    start_merge(cluster, leaders);
    assert_true(sim_cluster_run_until(cluster, 5000, NULL));
}

/* Of six: the three that have both regions, the others, and the last of the three, which leads neither. */
static struct world_node *find_stores(struct sim_cluster *cluster, const struct leaders *leaders, store_id *was,
                                      store_id *now)
{
    struct world_node *away = NULL;
    for (uint32_t i = 1; i <= 6; i++) {
        struct world_node *node = world_store(cluster->world, i);
        store_id id = store_get_id(node->store);
        bool has = region_peer_on_store(leaders->first, id) != NULL;
        if (has && !away && id != leaders->of_first && id != leaders->of_second)
            away = node;
        else
            *(has ? was++ : now++) = id;
    }
    assert_non_null(away);
    *was = store_get_id(away->store);
    return away;
}

/* Of those that it knows nobody is left, and pd has nothing to say. */
static void who_was_removed_from_a_region_that_is_no_more_finds_out(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(6);
    struct leaders leaders;
    store_id was[3], now[3];
    split_in_two(cluster, &leaders);
    struct world_node *away = find_stores(cluster, &leaders, was, now);
    world_kill(cluster->world, away, false);
    move_and_merge(cluster, &leaders, was, now, 3);
    for (uint32_t i = 0; i < 3; i++) { /* they know it from their disks, too */
        struct world_node *node = sim_cluster_store(cluster, now[i]);
        world_kill(cluster->world, node, false);
        sim_cluster_start(cluster, node);
    }
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 2);
    sim_cluster_start(cluster, away);
    assert_true(sim_cluster_run_until(cluster, 40000, sim_cluster_is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    end_both(cluster, &leaders);
}

static uint64_t asleep_at(const struct world_node *node)
{
    struct store_sleep_counts counts = {0};
    store_add_sleep_counts(node->store, &counts);
    return counts.asleep;
}

/* Its peers sleep, and what would have told them is lost on the way; they ask each half an hour. */
static void who_needs_the_keys_of_one_that_sleeps_lets_it_find_out(void **unused)
{
    (void)unused;
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.store_count = 6;
    options.world.seed = 2;
    options.swarm.sleep_after_ms = 1000;
    struct sim_cluster *cluster = sim_cluster_new(&options);
    struct leaders leaders;
    store_id was[3], now[3];
    split_in_two(cluster, &leaders);
    struct world_node *away = find_stores(cluster, &leaders, was, now);
    assert_true(sim_cluster_run_until(cluster, 10000, NULL));
    assert_int_equal(asleep_at(away), 2);
    cut_off(cluster, away, true);
    change_in(cluster, leaders.first, POLDER_PEER_REMOVE, was[2]);
    change_in(cluster, leaders.second, POLDER_PEER_REMOVE, was[2]);
    net_cut(world_net(cluster->world), away->node, NULL);
    cut_off(cluster, away, false);
    move_and_merge(cluster, &leaders, was, now, 2);
    assert_int_equal(asleep_at(away), 2);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, was[2]), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 40000, sim_cluster_is_whole));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 2);
    end_both(cluster, &leaders);
}

enum { STALE_CHECK_MS = 60000, LOOK_MS = 5000 }; /* LOOK_MS: workers look that often whether it is time */

/* All of them sleep, and ask each minute. */
static struct sim_cluster *make_sleepers(void)
{
    struct sim_cluster_options options;
    sim_cluster_options_init(&options);
    options.world.store_count = 4;
    options.swarm.sleep_after_ms = 1000;
    options.swarm.stale_check_interval_ms = STALE_CHECK_MS;
    struct sim_cluster *cluster = sim_cluster_new(&options);
    sim_cluster_put(cluster, "a", "");
    assert_true(sim_cluster_run_until(cluster, 10000, NULL));
    return cluster;
}

static struct store_sleep_counts sleep_counts(struct sim_cluster *cluster)
{
    struct store_sleep_counts counts = {0};
    for (uint32_t i = 1; i <= world_options(cluster->world)->store_count; i++)
        store_add_sleep_counts(world_store(cluster->world, i)->store, &counts);
    return counts;
}

/* What would have told it is lost on the way, and nobody needs its keys. */
static void who_was_removed_as_it_slept_asks_by_itself(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_sleepers();
    store_id from = store_with_peer(cluster, true);
    struct world_node *away = sim_cluster_store(cluster, from);
    cut_off(cluster, away, true);
    net_cut(world_net(cluster->world), away->node, NULL);
    assert_int_equal(change(cluster, POLDER_PEER_REMOVE, from), POLDER_OK);
    net_cut(world_net(cluster->world), away->node, NULL);
    cut_off(cluster, away, false);
    assert_true(sim_cluster_run_until(cluster, 10000, NULL));
    assert_int_equal(sleep_counts(cluster).asleep, 3); /* those that are left, too */
    assert_int_equal(asleep_at(away), 1);
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 1);
    assert_true(sim_cluster_run_until(cluster, STALE_CHECK_MS + LOOK_MS, sim_cluster_is_whole));
    assert_true(sim_cluster_run_until(cluster, 1000, NULL));
    assert_int_equal(count_rows(away->disk, ENGINE_DEFAULT), 0);
    assert_int_equal(sleep_counts(cluster).asleep, 2);
    sim_cluster_free(cluster, true);
}

static void who_sleeps_and_asks_wakes_nobody(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make_sleepers();
    struct store_sleep_counts before = sleep_counts(cluster);
    assert_int_equal(before.asleep, 3);
    assert_true(sim_cluster_run_until(cluster, 3 * STALE_CHECK_MS, NULL));
    struct store_sleep_counts after = sleep_counts(cluster);
    assert_memory_equal(&after, &before, sizeof after);
    sim_cluster_free(cluster, true);
}

/* Who asks is newer than a peer of the region that it asks, too. */
static void a_question_to_everybody_removes_nobody(void **unused)
{
    (void)unused;
    struct sim_cluster *cluster = make(4);
    put(cluster, "a");
    store_id behind = store_with_peer(cluster, true), asks = 0;
    for (uint32_t i = 0; i < 3; i++)
        if (sim_cluster_look(cluster)->peers[i].store_id != behind &&
            cluster->region->peers[i].store_id != cluster->leader)
            asks = cluster->region->peers[i].store_id;
    struct world_node *leader = sim_cluster_store(cluster, cluster->leader), *node = sim_cluster_store(cluster, behind);
    struct world_node *asker = sim_cluster_store(cluster, asks);
    net_block(world_net(cluster->world), leader->node, node->node, true);
    assert_int_equal(change(cluster, POLDER_PEER_ADD_LEARNER, store_with_peer(cluster, false)), POLDER_OK);
    assert_true(sim_cluster_run_until(cluster, 100, NULL)); /* the other one has it */
    struct region_ask *unknown = calloc(1, sizeof *unknown);
    assert_non_null(unknown);
    *unknown = (struct region_ask){.message = {.kind = WORKER_REGION_UNKNOWN, .free = free_message},
                                   .region = cluster->region->id};
    sim_enter(asker->node);
    actor_post_must(asker->store->env->executor,
                    region_worker_actor(asker->store->workers[cluster->region->id % asker->store->worker_count]),
                    &unknown->message);
    sim_leave(asker->node);
    assert_true(sim_cluster_run_until(cluster, 100, NULL));
    net_block(world_net(cluster->world), leader->node, node->node, false);
    assert_true(sim_cluster_run_until(cluster, 20000, sim_cluster_is_whole));
    assert_non_null(region_peer_on_store(sim_cluster_look(cluster), behind));
    sim_cluster_free(cluster, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_moves_and_leaves_nothing_behind),
        cmocka_unit_test(followers_know_of_a_change_of_members_at_once),
        cmocka_unit_test(a_leader_goes_before_it_is_removed),
        cmocka_unit_test(of_two_the_one_that_stays_serves_after_a_crash),
        cmocka_unit_test(who_was_removed_while_it_was_away_finds_out),
        cmocka_unit_test(nor_needs_it_anybody_whom_it_knows),
        cmocka_unit_test(who_is_asked_for_a_peer_before_it_knows_who_is_gone),
        cmocka_unit_test(a_learner_that_was_removed_while_it_was_away_asks),
        cmocka_unit_test(a_new_peer_takes_the_place_of_a_stale_one_on_its_store),
        cmocka_unit_test(who_was_removed_from_a_region_that_is_no_more_finds_out),
        cmocka_unit_test(who_needs_the_keys_of_one_that_sleeps_lets_it_find_out),
        cmocka_unit_test(who_was_removed_as_it_slept_asks_by_itself),
        cmocka_unit_test(who_sleeps_and_asks_wakes_nobody),
        cmocka_unit_test(a_question_to_everybody_removes_nobody),
        cmocka_unit_test(what_cannot_be_is_refused_with_a_reason),
        cmocka_unit_test(who_leads_a_source_serves_no_reads),
        cmocka_unit_test(who_prepared_for_a_target_that_left_its_store_goes_on),
        cmocka_unit_test(who_has_many_questions_still_learns_where_the_others_are),
        cmocka_unit_test(a_source_is_not_left_over_where_its_target_was_removed),
        cmocka_unit_test(nor_is_one_that_is_damaged_and_cannot_apply_what_prepared_it),
    };
    choose_bug();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
