/* pd_api_regions: regions over HTTP: pages of them, one of them, and what is wrong with them. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "pd/pd_api.h"

enum { SPLIT_SIZE_OVER = 144 * 1024 * 1024 }; /* the stores' own default for region-size-max */

static struct pd_api *api_of(const struct api_call *call)
{
    return call->context;
}

static const char *role_name(uint8_t role)
{
    static const char *const names[] = {"voter", "learner", "incoming_voter", "demoting_voter"};
    return role < sizeof names / sizeof names[0] ? names[role] : "unknown";
}

static void put_peers(cJSON *json, const struct pd_api *api, const struct region_node *node)
{
    uint64_t leader = region_node_seen(node).leader_peer;
    cJSON *peers = cJSON_AddArrayToObject(json, "peers");
    for (uint32_t i = 0; i < region_node_peer_count(node); i++) {
        struct wire_peer peer = region_node_peer(node, i);
        cJSON *item = cJSON_CreateObject();
        api_put_u64(item, "id", peer.id);
        api_put_u64(item, "store", peer.store_id);
        cJSON_AddStringToObject(item, "role", role_name(peer.role));
        cJSON_AddBoolToObject(item, "leader", peer.id == leader);
        cJSON_AddBoolToObject(item, "store_up",
                              cluster_store_state(api->cluster, peer.store_id, api->now_us) == WIRE_STORE_STATE_UP);
        cJSON_AddItemToArray(peers, item);
    }
}

cJSON *pd_api_region_json(const struct pd_api *api, const struct region_node *node)
{
    struct region_seen seen = region_node_seen(node);
    cJSON *json = cJSON_CreateObject();
    api_put_u64(json, "id", region_node_id(node));
    api_put_key(json, "start_key", region_node_start(node));
    api_put_key(json, "end_key", region_node_end(node));
    api_put_u64(json, "epoch_conf", region_node_conf(node));
    api_put_u64(json, "epoch_version", region_node_version(node));
    api_put_u64(json, "leader_store", region_node_leader_store(node));
    api_put_u64(json, "leader_peer", seen.leader_peer);
    api_put_u64(json, "term", seen.term);
    api_put_u64(json, "size", seen.approximate_size);
    api_put_u64(json, "keys", seen.approximate_keys);
    api_put_u64(json, "read_load", seen.read_load);
    api_put_u64(json, "write_load", seen.write_load);
    put_peers(json, api, node);
    return json;
}

/* ---- what is looked for */

struct peer_count {
    uint32_t voters, learners, moving, down;
};

static struct peer_count count_peers(const struct pd_api *api, const struct region_node *node)
{
    struct peer_count count = {0};
    for (uint32_t i = 0; i < region_node_peer_count(node); i++) {
        struct wire_peer peer = region_node_peer(node, i);
        uint8_t state = cluster_store_state(api->cluster, peer.store_id, api->now_us);
        count.voters += peer.role == WIRE_PEER_ROLE_VOTER;
        count.learners += peer.role == WIRE_PEER_ROLE_LEARNER;
        count.moving += peer.role != WIRE_PEER_ROLE_VOTER && peer.role != WIRE_PEER_ROLE_LEARNER;
        count.down += state == WIRE_STORE_STATE_DOWN || state == WIRE_STORE_STATE_DISCONNECTED;
    }
    return count;
}

static bool is_missing(const struct pd_api *api, const struct region_node *node)
{
    struct peer_count count = count_peers(api, node);
    return count.voters + count.moving < api->config->replicas;
}

static bool is_extra(const struct pd_api *api, const struct region_node *node)
{
    return count_peers(api, node).voters > api->config->replicas;
}

static bool is_down(const struct pd_api *api, const struct region_node *node)
{
    return count_peers(api, node).down > 0;
}

/* A change of its members is on its way. */
static bool is_pending(const struct pd_api *api, const struct region_node *node)
{
    struct peer_count count = count_peers(api, node);
    return count.learners + count.moving > 0;
}

/* Said to be: its leader has reported, and found nothing. */
static bool is_empty(const struct pd_api *api, const struct region_node *node)
{
    struct region_seen seen = region_node_seen(node);
    (void)api;
    return seen.leader_peer != 0 && seen.approximate_size == 0;
}

static bool is_oversized(const struct pd_api *api, const struct region_node *node)
{
    (void)api;
    return region_node_seen(node).approximate_size > SPLIT_SIZE_OVER;
}

static bool is_leaderless(const struct pd_api *api, const struct region_node *node)
{
    store_id leader = region_node_leader_store(node);
    return leader == 0 || cluster_store_state(api->cluster, leader, api->now_us) != WIRE_STORE_STATE_UP;
}

static const struct region_check {
    const char *name;
    bool (*is)(const struct pd_api *api, const struct region_node *node);
} checks[] = {{"miss", is_missing},         {"extra", is_extra}, {"down", is_down},
              {"pending", is_pending},      {"empty", is_empty}, {"oversized", is_oversized},
              {"leaderless", is_leaderless}};

enum { CHECK_COUNT = sizeof checks / sizeof checks[0] };

static uint64_t read_of(const struct region_node *node)
{
    return region_node_seen(node).read_load;
}

static uint64_t write_of(const struct region_node *node)
{
    return region_node_seen(node).write_load;
}

static uint64_t size_of(const struct region_node *node)
{
    return region_node_seen(node).approximate_size;
}

static const struct region_order {
    const char *name;
    uint64_t (*of)(const struct region_node *node);
} orders[] = {{"read", read_of}, {"write", write_of}, {"size", size_of}};

enum { ORDER_COUNT = sizeof orders / sizeof orders[0] };

/* ---- pages */

struct page {
    const struct pd_api *api;
    struct buf from; /* owned */
    uint64_t limit, store;
    const struct region_check *check; /* NULL: all */
    const struct region_order *order; /* NULL: by key; else the `limit` largest of the page */
    struct region_node *found[PD_API_LIMIT_MAX];
    uint32_t count;
};

static bool read_check(struct api_call *call, struct page *page)
{
    struct buf text;
    buf_init(&text, 64);
    bool ok = api_query_text(call, "check", &text);
    for (uint32_t i = 0; ok && i < CHECK_COUNT; i++)
        if (strcmp(checks[i].name, (const char *)text.data) == 0)
            page->check = &checks[i];
    if (ok && api_query_has(call, "check") && !page->check) {
        api_error(call, ERR_INVALID,
                  "miss, extra, down, pending, empty, oversized or leaderless; holes are a list of their own",
                  "there is no check \"%.40s\"", (const char *)text.data);
        ok = false;
    }
    buf_fini(&text);
    return ok;
}

static bool read_order(struct api_call *call, struct page *page)
{
    struct buf text;
    buf_init(&text, 64);
    bool ok = api_query_text(call, "top", &text);
    for (uint32_t i = 0; ok && i < ORDER_COUNT; i++)
        if (strcmp(orders[i].name, (const char *)text.data) == 0)
            page->order = &orders[i];
    if (ok && api_query_has(call, "top") && !page->order) {
        api_error(call, ERR_INVALID, "read, write or size", "there is no order \"%.40s\"", (const char *)text.data);
        ok = false;
    }
    buf_fini(&text);
    return ok;
}

static bool read_page(struct api_call *call, struct page *page)
{
    page->api = api_of(call);
    buf_init(&page->from, REGION_KEY_SIZE_MAX);
    return api_query_key(call, "from", &page->from) &&
           api_query_u64(call, "limit", PD_API_LIMIT_DEFAULT, PD_API_LIMIT_MAX, &page->limit) &&
           api_query_u64(call, "store", 0, UINT64_MAX, &page->store) && read_check(call, page) &&
           read_order(call, page);
}

static bool is_wanted(const struct page *page, const struct region_node *node)
{
    return (page->store == 0 || region_node_has_store(node, page->store)) &&
           (!page->check || page->check->is(page->api, node));
}

/* Largest first; what falls out at the end is gone. */
static void add_by_order(struct page *page, struct region_node *node)
{
    uint32_t at = page->count < page->limit ? page->count++ : page->count;
    for (; at > 0 && page->order->of(page->found[at - 1]) < page->order->of(node); at--)
        if (at < page->limit)
            page->found[at] = page->found[at - 1];
    if (at < page->limit)
        page->found[at] = node;
}

/* Returns where the next page begins; NULL: nothing is left. */
static struct region_node *fill(struct page *page)
{
    const struct region_tree *regions = pd_fsm_regions(page->api->fsm);
    struct region_node *node = region_tree_seek(regions, buf_bytes(&page->from));
    for (uint32_t walked = 0; node && walked < PD_API_WALK_MAX; walked++, node = region_tree_next(regions, node)) {
        if (!page->order && page->count == page->limit)
            break;
        if (!is_wanted(page, node))
            continue;
        if (page->order)
            add_by_order(page, node);
        else
            page->found[page->count++] = node;
    }
    return node;
}

void pd_api_regions(struct api_call *call)
{
    struct page page = {0};
    if (!pd_api_leads(call))
        return;
    if (read_page(call, &page) && page.limit == 0) {
        api_error(call, ERR_INVALID, "1 to 1000", "limit: a page of no regions");
    } else if (call->answer->status == 0) {
        struct region_node *next = fill(&page);
        cJSON *json = cJSON_CreateObject();
        cJSON *list = cJSON_AddArrayToObject(json, "regions");
        for (uint32_t i = 0; i < page.count; i++)
            cJSON_AddItemToArray(list, pd_api_region_json(page.api, page.found[i]));
        if (next)
            api_put_key(json, "next", region_node_start(next));
        api_json(call, json);
    }
    buf_fini(&page.from);
}

void pd_api_region(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    uint64_t id;
    if (!pd_api_leads(call) || !api_word_id(call, 0, "region", &id))
        return;
    const struct region_node *node = region_tree_find_id(pd_fsm_regions(api->fsm), id);
    if (node)
        api_json(call, pd_api_region_json(api, node));
    else
        api_error(call, ERR_REGION_NOT_FOUND, "pd-ctl region list names them", "there is no region %" PRIu64, id);
}

void pd_api_region_of_key(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    struct buf key;
    buf_init(&key, REGION_KEY_SIZE_MAX);
    if (pd_api_leads(call) && api_query_key(call, "key", &key)) {
        const struct region_node *node = region_tree_find(pd_fsm_regions(api->fsm), buf_bytes(&key));
        if (node)
            api_json(call, pd_api_region_json(api, node));
        else
            api_error(call, ERR_REGION_NOT_FOUND, "a split is being reported, or there are no regions yet",
                      "no region covers this key just now");
    }
    buf_fini(&key);
}

void pd_api_holes(struct api_call *call)
{
    const struct pd_api *api = api_of(call);
    struct buf from;
    uint64_t limit = 0;
    buf_init(&from, REGION_KEY_SIZE_MAX);
    if (pd_api_leads(call) && api_query_key(call, "from", &from) &&
        api_query_u64(call, "limit", PD_API_LIMIT_DEFAULT, PD_API_LIMIT_MAX, &limit)) {
        struct bytes at = buf_bytes(&from), start, end;
        cJSON *json = cJSON_CreateObject();
        cJSON *list = cJSON_AddArrayToObject(json, "holes");
        bool more = true;
        for (uint64_t i = 0; i < limit && (more = region_tree_gap(pd_fsm_regions(api->fsm), at, &start, &end)); i++) {
            cJSON *item = cJSON_CreateObject();
            api_put_key(item, "start_key", start);
            api_put_key(item, "end_key", end);
            cJSON_AddItemToArray(list, item);
            at = end;
            if (end.size == 0) {
                more = false;
                break;
            }
        }
        if (more)
            api_put_key(json, "next", at);
        api_json(call, json);
    }
    buf_fini(&from);
}
