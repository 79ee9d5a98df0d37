/* placement_bench: what pd's memory can do on one core: heartbeats applied, routes looked up, rounds of scheduling.
 *
 *     ninja -C build tests/placement_bench && build/tests/placement_bench [REGIONS [STORES]] */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "pd/cluster.h"
#include "pd/scheduler.h"

enum { KEY_SIZE = 9, LOOKUPS = 2000000 };

static double cpu_s(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double resident_mib(void)
{
    unsigned long long pages, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%llu %llu", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

static struct wire_peer peers[3];
static uint8_t keys[2][KEY_SIZE];

static struct bytes key_at(uint64_t number, uint8_t *data)
{
    data[0] = 'r';
    store_u64_be(data + 1, number);
    return bytes_of(data, KEY_SIZE);
}

static struct wire_region region_of(uint64_t id, uint64_t count, uint64_t stores)
{
    uint64_t step = UINT64_MAX / count;
    for (uint64_t i = 0; i < 3; i++)
        peers[i] = (struct wire_peer){.id = 3 * id + i + 1, .store_id = 1 + (id * 7 + i * (stores / 3)) % stores};
    return (struct wire_region){.id = id,
                                .start_key = id == 1 ? bytes_empty() : key_at((id - 1) * step, keys[0]),
                                .end_key = id == count ? bytes_empty() : key_at(id * step, keys[1]),
                                .epoch_conf = 1,
                                .epoch_version = 1,
                                .peers = peers,
                                .peers_count = 3};
}

static void say(const char *what, double count, double seconds)
{
    printf("%-44s %10.0f /s  (%.2f s)\n", what, count / seconds, seconds);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000,
             stores = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
    struct pd_config pd_config = {.store_disconnected_ms = 5000, .store_down_ms = 1800 * 1000};
    struct region_tree *tree = region_tree_new();
    struct store_table *table = store_table_new(5000, 1800 * 1000);
    struct cluster *cluster = cluster_new(&pd_config);
    struct operator_list *operators = operator_list_new(tree, table, 65536);
    struct pd_view_config config;
    static struct rules rules;
    static struct scheduler scheduler;
    struct rng rng;
    if (count < 1000 || stores < 3 || stores > STORE_TABLE_COUNT_MAX)
        return 2;
    rng_init(&rng, 1, "bench");
    pd_view_config_init(&config);
    rules_init(&rules);
    struct rule rule = {.group = "pd", .name = "default", .role = RULE_VOTER, .count = 3};
    CHECK(rules_put(&rules, &rule, NULL) == ERR_OK);
    scheduler_init(&scheduler, tree, table, &rules, operators, &config, 1);
    for (uint64_t id = 1; id <= stores; id++) {
        struct store_entry *store;
        CHECK(store_table_add(table, id, 0, &store) == ERR_OK);
        store_heartbeat(store, 0);
    }
    double before_mib = resident_mib(), start = cpu_s();
    for (uint64_t id = 1; id <= count; id++) {
        struct wire_region region = region_of(id, count, stores);
        CHECK(region_tree_insert(tree, &region, NULL, NULL) == ERR_OK);
    }
    say("regions inserted", (double)count, cpu_s() - start);
    cluster_reset(cluster, tree, 0);

    /* A heartbeat as pd gets it: verified, compared with the tree, seen, told to the policies. By chance of order. */
    for (int round = 0; round < 2; round++) {
        start = cpu_s();
        for (uint64_t i = 0; i < count; i++) {
            struct wire_region region = region_of(1 + rng_below(&rng, count), count, stores);
            struct wire_region_heartbeat heartbeat = {.region = &region,
                                                      .leader_peer = peers[region.id % 3].id,
                                                      .term = 6,
                                                      .approximate_size = 64 << 20,
                                                      .approximate_keys = 100000};
            CHECK(cluster_region_heartbeat(cluster, &heartbeat, NULL, NULL) == CLUSTER_SEEN);
            pd_view_report(&scheduler.view, region_tree_find_id(tree, region.id), false);
        }
        say(round ? "heartbeats applied, again" : "heartbeats applied, the first of each", (double)count,
            cpu_s() - start);
    }
    printf("%-44s %10.0f MiB, %.0f bytes a region\n", "memory", resident_mib(),
           (resident_mib() - before_mib) * 1048576 / (double)count);

    start = cpu_s();
    uint64_t found = 0;
    for (int i = 0; i < LOOKUPS; i++) {
        struct wire_peer route_peers[REGION_PEER_COUNT_MAX];
        struct wire_region region;
        struct wire_route route;
        cluster_route(cluster, region_tree_find(tree, key_at(rng_next(&rng), keys[0])), route_peers, &region, &route);
        found += route.leader_store != 0;
    }
    say("routes looked up", LOOKUPS, cpu_s() - start);

    start = cpu_s();
    for (int i = 0; i < 100; i++)
        scheduler_round(&scheduler, 0, NULL, NULL);
    printf("%-44s %10.2f ms\n", "a round of scheduling", (cpu_s() - start) * 10);
    operator_list_free(operators);
    cluster_free(cluster);
    store_table_free(table);
    region_tree_free(tree);
    rules_fini(&rules);
    return found > 0 ? 0 : 1;
}
