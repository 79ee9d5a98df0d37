#include "view.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cli.h"
#include "client/polder.h"

static const char *const state_names[] = {"unknown", "up", "disconnected", "down"};

const char *view_health_name(enum view_health health)
{
    static const char *const names[] = {"healthy", "degraded", "down"};
    return names[health];
}

static const char *state_name(const struct polder_store *store)
{
    enum polder_store_state state = store->state;
    if (store->lost)
        return "lost";
    return (unsigned)state <= POLDER_STORE_DOWN ? state_names[state] : "unknown";
}

static void set_health(struct view *view, enum view_health health, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The worst health wins and its first reason is told. */
static void set_health(struct view *view, enum view_health health, const char *format, ...)
{
    if (view->health >= health && view->reason[0])
        return;
    view->health = health;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(view->reason, sizeof view->reason, format, arguments);
    va_end(arguments);
}

static size_t store_index(const struct view *view, uint64_t id)
{
    const struct polder_cluster *cluster = view->stores->cluster;
    for (size_t i = 0; i < cluster->store_count; i++)
        if (cluster->stores[i].id == id)
            return i;
    return SIZE_MAX;
}

static void count_region(struct view *view, const struct polder_region *region)
{
    view->region_count++;
    for (size_t i = 0; i < region->peer_count; i++) {
        size_t index = store_index(view, region->peers[i].store_id);
        if (index != SIZE_MAX)
            view->region_counts[index]++;
    }
    /* Who was a leader before its store went is none. */
    size_t index = region->leader_store ? store_index(view, region->leader_store) : SIZE_MAX;
    if (index == SIZE_MAX || view->stores->cluster->stores[index].state != POLDER_STORE_UP) {
        if (view->leaderless_count < VIEW_LEADERLESS_MAX)
            view->leaderless[view->leaderless_count] = region->id;
        view->leaderless_count++;
        return;
    }
    view->leader_counts[index]++;
}

static bool same_key(struct polder_bytes a, struct polder_bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Walks the routes page by page. `key` is a copy, because the page it lies in ends first. */
static void load_regions(struct polder *polder, const struct polder_call *call, struct view *view)
{
    struct buf key;
    buf_init(&key, 1 << 20);
    view->covers = true;
    for (;;) {
        struct polder_result *page = polder_cluster_regions(polder, polder_bytes(key.data, key.size), 1000, call);
        const struct polder_cluster *cluster = page->cluster;
        if (page->outcome != POLDER_DONE || cluster->region_page_count == 0) {
            set_health(view, VIEW_DOWN, "pd does not tell the regions: %s",
                       page->outcome == POLDER_DONE ? "none" : page->text);
            polder_result_free(page);
            break;
        }
        for (size_t i = 0; i < cluster->region_page_count; i++) {
            const struct polder_region *region = &cluster->regions[i];
            view->covers = view->covers && same_key(region->start_key, polder_bytes(key.data, key.size));
            CHECK(buf_assign(&key, bytes_of(region->end_key.data, region->end_key.size)) == ERR_OK);
            count_region(view, region);
        }
        polder_result_free(page);
        if (key.size == 0)
            break;
    }
    buf_fini(&key);
}

static void judge(struct view *view)
{
    const struct polder_cluster *stores = view->stores->cluster;
    for (size_t i = 0; i < stores->store_count; i++)
        view->up_count += stores->stores[i].state == POLDER_STORE_UP;
    if (!view->info->cluster->bootstrapped) {
        set_health(view, VIEW_DOWN, "waiting for stores: %zu of %u have registered", stores->store_count,
                   view->info->cluster->store_count_wanted);
        return;
    }
    if (view->up_count == 0)
        set_health(view, VIEW_DOWN, "no store is up");
    if (view->leaderless_count && view->leaderless_count == view->region_count)
        set_health(view, VIEW_DOWN, "no region has a leader");
    else if (view->leaderless_count)
        set_health(view, VIEW_DEGRADED, "%" PRIu64 " regions have no leader (first: %" PRIu64 ")",
                   view->leaderless_count, view->leaderless[0]);
    for (size_t i = 0; i < stores->store_count; i++) {
        const struct polder_store *store = &stores->stores[i];
        if (store->state != POLDER_STORE_UP && !store->lost)
            set_health(view, VIEW_DEGRADED, "store %" PRIu64 " (%s) is %s", store->id, store->address,
                       state_name(store));
    }
    if (!view->covers)
        set_health(view, VIEW_DEGRADED, "the regions do not cover the key space");
}

void view_load(struct polder *polder, uint32_t deadline_ms, struct view *view)
{
    struct polder_call call = {.size = sizeof call, .deadline_ms = deadline_ms};
    memset(view, 0, sizeof *view);
    view->info = polder_cluster_info(polder, &call);
    if (view->info->outcome != POLDER_DONE) {
        set_health(view, VIEW_DOWN, "pd does not answer: %s: %s", view->info->name, view->info->text);
        return;
    }
    view->stores = polder_cluster_stores(polder, &call);
    if (view->stores->outcome != POLDER_DONE) {
        set_health(view, VIEW_DOWN, "pd does not tell the stores: %s: %s", view->stores->name, view->stores->text);
        return;
    }
    size_t count = view->stores->cluster->store_count;
    view->region_counts = calloc(count + 1, sizeof *view->region_counts);
    view->leader_counts = calloc(count + 1, sizeof *view->leader_counts);
    CHECK(view->region_counts && view->leader_counts);
    if (view->info->cluster->bootstrapped)
        load_regions(polder, &call, view);
    judge(view);
}

void view_fini(struct view *view)
{
    polder_result_free(view->info);
    polder_result_free(view->stores);
    free(view->region_counts);
    free(view->leader_counts);
    memset(view, 0, sizeof *view);
}

static void print_store(const struct view *view, size_t index)
{
    const struct polder_store *store = &view->stores->cluster->stores[index];
    char used[32], available[32], age[32];
    cli_print_size(store->used_size, used);
    cli_print_size(store->available_size, available);
    cli_print_duration(store->heartbeat_age_ms, age);
    printf("%-6" PRIu64 " %-26s %-13s %8u %8u %10s %10s %12s  %s\n", store->id, store->address,
           state_name(store), view->region_counts[index], view->leader_counts[index], used, available, age,
           store->version);
}

void view_print(const struct view *view)
{
    printf("%s%s%s\n", view_health_name(view->health), view->reason[0] ? ": " : "", view->reason);
    if (view->info->outcome != POLDER_DONE)
        return;
    const struct polder_cluster *info = view->info->cluster;
    printf("cluster %" PRIu64, info->cluster_id);
    for (size_t i = 0; i < info->member_count; i++)
        printf(", pd %s %s%s", info->members[i].name, info->members[i].address,
               info->members[i].leader ? " (leader)" : "");
    printf("\n");
    if (!view->stores || view->stores->outcome != POLDER_DONE)
        return;
    size_t count = view->stores->cluster->store_count;
    printf("%" PRIu64 " regions, %" PRIu64 " with a leader; %zu stores, %u up\n\n", view->region_count,
           view->region_count - view->leaderless_count, count, view->up_count);
    printf("%-6s %-26s %-13s %8s %8s %10s %10s %12s  %s\n", "STORE", "ADDRESS", "STATE", "REGIONS", "LEADERS", "USED",
           "FREE", "HEARTBEAT", "VERSION");
    for (size_t i = 0; i < count; i++)
        print_store(view, i);
    if (view->leaderless_count == 0)
        return;
    printf("\nregions without a leader:");
    for (uint64_t i = 0; i < view->leaderless_count && i < VIEW_LEADERLESS_MAX; i++)
        printf(" %" PRIu64, view->leaderless[i]);
    printf("%s\n", view->leaderless_count > VIEW_LEADERLESS_MAX ? " ..." : "");
}

/* Ids are text: they are 64 bits and JSON numbers are not. */
static void add_id(cJSON *object, const char *name, uint64_t id)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, id);
    cJSON_AddStringToObject(object, name, text);
}

static void add_stores(cJSON *json, const struct view *view)
{
    cJSON *list = cJSON_AddArrayToObject(json, "stores");
    for (size_t i = 0; i < view->stores->cluster->store_count; i++) {
        const struct polder_store *store = &view->stores->cluster->stores[i];
        cJSON *item = cJSON_CreateObject();
        add_id(item, "id", store->id);
        cJSON_AddStringToObject(item, "address", store->address);
        cJSON_AddStringToObject(item, "state", state_name(store));
        cJSON_AddStringToObject(item, "version", store->version);
        cJSON_AddNumberToObject(item, "regions", view->region_counts[i]);
        cJSON_AddNumberToObject(item, "leaders", view->leader_counts[i]);
        cJSON_AddNumberToObject(item, "used_bytes", (double)store->used_size);
        cJSON_AddNumberToObject(item, "available_bytes", (double)store->available_size);
        cJSON_AddNumberToObject(item, "capacity_bytes", (double)store->capacity_size);
        cJSON_AddNumberToObject(item, "heartbeat_age_ms", (double)store->heartbeat_age_ms);
        cJSON_AddNumberToObject(item, "started_at_ms", (double)store->started_at_ms);
        cJSON_AddNumberToObject(item, "keys_written", (double)store->keys_written);
        cJSON_AddNumberToObject(item, "keys_read", (double)store->keys_read);
        cJSON_AddItemToArray(list, item);
    }
}

struct cJSON *view_json(const struct view *view)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "health", view_health_name(view->health));
    cJSON_AddStringToObject(json, "reason", view->reason);
    if (view->info->outcome != POLDER_DONE)
        return json;
    const struct polder_cluster *info = view->info->cluster;
    add_id(json, "cluster_id", info->cluster_id);
    cJSON_AddBoolToObject(json, "bootstrapped", info->bootstrapped);
    cJSON_AddNumberToObject(json, "revision", (double)info->revision);
    cJSON *members = cJSON_AddArrayToObject(json, "pd");
    for (size_t i = 0; i < info->member_count; i++) {
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", info->members[i].name);
        cJSON_AddStringToObject(item, "address", info->members[i].address);
        cJSON_AddBoolToObject(item, "leader", info->members[i].leader);
        cJSON_AddBoolToObject(item, "learner", info->members[i].learner);
        cJSON_AddBoolToObject(item, "active", info->members[i].active);
        cJSON_AddItemToArray(members, item);
    }
    if (!view->stores || view->stores->outcome != POLDER_DONE)
        return json;
    cJSON_AddNumberToObject(json, "regions", (double)view->region_count);
    cJSON_AddNumberToObject(json, "regions_without_leader", (double)view->leaderless_count);
    cJSON_AddBoolToObject(json, "regions_cover_key_space", view->covers);
    cJSON *leaderless = cJSON_AddArrayToObject(json, "leaderless");
    for (uint64_t i = 0; i < view->leaderless_count && i < VIEW_LEADERLESS_MAX; i++) {
        char text[32];
        snprintf(text, sizeof text, "%" PRIu64, view->leaderless[i]);
        cJSON_AddItemToArray(leaderless, cJSON_CreateString(text));
    }
    cJSON_AddNumberToObject(json, "stores_up", view->up_count);
    add_stores(json, view);
    return json;
}
