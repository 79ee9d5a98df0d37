#include "client/client_internal.h"

#include <stdlib.h>

enum { LOAD_DEADLINE_US = 3000000, LOAD_STALE_US = 300000, STORES_ASK_PAUSE_US = 500000 };

/* ---- routes */

static struct route_load *load_new(struct client *client, struct bytes key)
{
    struct route_load *load = calloc(1, sizeof *load + key.size + 1);
    CHECK(load);
    load->client = client;
    if (key.size > 0)
        memcpy(load->key, key.data, key.size);
    load->ask.request.key = bytes_of(load->key, key.size);
    load->ask.context = load;
    return load;
}

static void load_free(struct route_load *load)
{
    struct client *client = load->client;
    list_remove(&load->link);
    if (load->refresh)
        client->refresh_count--;
    else
        client->load_count--;
    free(load);
}

/* Who waits for a route looks again. The part that this was asked for, and that still has none, waits a little. */
static void reroute(struct client *client, const struct route_load *load, enum err code, const char *text)
{
    struct list waiting;
    list_init(&waiting);
    while (!list_is_empty(&client->unrouted))
        list_push_back(&waiting, list_pop_front(&client->unrouted));
    for (struct list *link; (link = list_pop_front(&waiting));) {
        struct part *part = LIST_ENTRY(link, struct part, link);
        struct route_load *mine = part->load;
        bool asked = mine == load;
        if (!asked && mine) { /* its own answer is on its way */
            list_push_back(&client->unrouted, link);
            continue;
        }
        bool found = part_is_reverse(part) ? router_find_before(client->router, part_key(part)) != NULL
                                           : router_find(client->router, part_key(part)) != NULL;
        if (found) {
            part_detach(part);
            part_route(part);
        } else if (!asked) {
            list_push_back(&client->unrouted, link);
        } else if (code != ERR_OK && err_action(code) == ERR_ACTION_GIVE_UP && code != ERR_NOT_FOUND) {
            part_note(part, "%s", text);
            part_end(part, retry_end_answered(&part->retry, code));
        } else {
            part_note(part, "%s", code == ERR_OK ? "pd knows no region that holds the key" : text);
            part_pause(part, retry_unsent(&part->retry, ERR_UNAVAILABLE, &client->rng));
        }
    }
}

static void load_done(struct pd_ask *ask, enum err code, const struct wire_pd_reply *reply, const char *text)
{
    struct route_load *load = ask->context;
    struct client *client = load->client;
    for (uint32_t i = 0; code == ERR_OK && i < reply->routes_count; i++)
        if (reply->routes[i].region)
            router_insert(client->router, reply->routes[i].region, reply->routes[i].leader_store);
    if (!load->refresh)
        reroute(client, load, code, text);
    load_free(load);
}

static void start_load(struct client *client, struct route_load *load)
{
    client->counts.route_loads++;
    load->ask.done = load_done;
    load->ask.deadline_us = client->now_us + LOAD_DEADLINE_US;
    load->ask.stale_after_us = LOAD_STALE_US;
    list_push_back(&client->loads, &load->link);
    pd_asker_start(client->asker, &load->ask, client->now_us);
    client->asker_due_us = 0;
}

static void load_for(struct client *client, struct part *part)
{
    struct route_load *load = load_new(client, part_key(part));
    struct wire_pd_request *request = &load->ask.request;
    /* One that was wrong is asked for alone; a part of the key space that we know nothing of, by the page. */
    bool page = !part->reload && !part_is_reverse(part);
    request->op = page ? WIRE_PD_OP_SCAN_REGIONS : WIRE_PD_OP_GET_REGION;
    request->limit = page ? LOAD_PAGE_COUNT : 1;
    request->reverse = part_is_reverse(part);
    client->load_count++;
    part->load = load;
    start_load(client, load);
}

/* Does a question under way promise to answer this one too? */
static bool is_covered(const struct client *client, const struct part *part)
{
    LIST_FOR_EACH (link, &client->loads) {
        const struct route_load *load = LIST_ENTRY(link, struct route_load, link);
        if (!load->refresh && load->ask.request.reverse == part_is_reverse(part) &&
            bytes_equal(load->ask.request.key, part_key(part)))
            return true;
    }
    return false;
}

static void ask_stores(struct client *client);

void client_routes_start(struct client *client)
{
    if (client->stores_wanted)
        ask_stores(client);
    LIST_FOR_EACH (link, &client->unrouted) {
        if (client->load_count >= LOADS_MAX)
            return;
        struct part *part = LIST_ENTRY(link, struct part, link);
        if (!part->load && !is_covered(client, part))
            load_for(client, part);
    }
}

void client_route_refresh(struct client *client, const struct route *route)
{
    if (client->refresh_count >= REFRESHES_MAX)
        return;
    LIST_FOR_EACH (link, &client->loads) {
        const struct route_load *load = LIST_ENTRY(link, struct route_load, link);
        if (load->refresh && load->region_id == route->region_id)
            return;
    }
    struct route_load *load = load_new(client, route->start_key);
    load->refresh = true;
    load->region_id = route->region_id;
    load->ask.request.op = WIRE_PD_OP_GET_REGION;
    load->ask.request.limit = 1;
    client->refresh_count++;
    start_load(client, load);
}

void client_routes_free(struct client *client)
{
    while (!list_is_empty(&client->loads)) {
        struct route_load *load = LIST_ENTRY(client->loads.next, struct route_load, link);
        pd_asker_cancel(client->asker, &load->ask);
        load_free(load);
    }
    if (client->asker)
        pd_asker_cancel(client->asker, &client->stores_ask);
}

/* ---- addresses of stores */

static void stores_done(struct pd_ask *ask, enum err code, const struct wire_pd_reply *reply, const char *text)
{
    struct client *client = ask->context;
    (void)text;
    for (uint32_t i = 0; code == ERR_OK && i < reply->stores_count; i++) {
        const struct wire_store *store = &reply->stores[i];
        if (store->id == 0 || store->lost || store->address.size == 0 || store->address.size > 512 ||
            memchr(store->address.data, 0, store->address.size))
            continue;
        struct client_store *known = client_store_of(client, store->id);
        if (known)
            client_store_set_address(known, store->address);
    }
    if (code != ERR_OK) { /* or who has no address would never get one: nobody is sent there who could ask again */
        client->stores_wanted = true;
        return;
    }
    for (struct client_store *store = client->stores; store; store = store->hh.next)
        if (!store->address)
            client_store_unreachable(store);
}

void client_stores_want(struct client *client)
{
    client->stores_wanted = true;
    ask_stores(client);
}

/* Not too often: whoever finds no address asks for all of them. */
static void ask_stores(struct client *client)
{
    if (client->stores_ask.open || client->now_us < client->stores_due_us)
        return;
    client->stores_wanted = false;
    client->stores_due_us = client->now_us + STORES_ASK_PAUSE_US;
    client->stores_ask.request.op = WIRE_PD_OP_LIST_STORES;
    client->stores_ask.context = client;
    client->stores_ask.done = stores_done;
    client->stores_ask.deadline_us = client->now_us + LOAD_DEADLINE_US;
    pd_asker_start(client->asker, &client->stores_ask, client->now_us);
    client->asker_due_us = 0;
}

/* ---- operations that pd answers */

static void cluster_done(struct pd_ask *ask, enum err code, const struct wire_pd_reply *reply, const char *text)
{
    struct operation *op = ask->context;
    struct retry retry;
    retry_init(&retry, false, false);
    struct retry_end end = retry_end_answered(&retry, code);
    op->result.attempts = 1;
    result_set(op, end, text);
    if (code == ERR_OK)
        result_cluster(op, reply);
    client_operation_end(op);
}

void client_cluster_start(struct operation *op)
{
    static const uint8_t kinds[] = {
        [CLIENT_CLUSTER_INFO] = WIRE_PD_OP_CLUSTER_INFO,
        [CLIENT_CLUSTER_STORES] = WIRE_PD_OP_LIST_STORES,
        [CLIENT_CLUSTER_REGIONS] = WIRE_PD_OP_SCAN_REGIONS,
        [CLIENT_CLUSTER_REGION_OF] = WIRE_PD_OP_GET_REGION,
        [CLIENT_CLUSTER_REGION_BY_ID] = WIRE_PD_OP_GET_REGION_BY_ID,
        [CLIENT_CLUSTER_ALLOC_IDS] = WIRE_PD_OP_ALLOC_ID,
        [CLIENT_CLUSTER_TIMESTAMP] = WIRE_PD_OP_TIMESTAMP,
    };
    struct pd_ask *ask = calloc(1, sizeof *ask);
    CHECK(ask);
    op->ask = ask;
    ask->request = (struct wire_pd_request){
        .op = kinds[op->kind],
        .key = op->key,
        .region_id = op->region_id,
        .count = op->count,
        .limit = op->kind == CLIENT_CLUSTER_REGIONS && op->count == 0 ? 256 : op->count,
    };
    ask->deadline_us = op->deadline_us;
    ask->context = op;
    ask->done = cluster_done;
    pd_asker_start(op->client->asker, ask, op->client->now_us);
    op->client->asker_due_us = 0;
}
