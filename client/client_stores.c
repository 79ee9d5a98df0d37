#include "client/client_internal.h"
#include "rpc/frame_kind.h"

#include <stdio.h>
#include <stdlib.h>

enum { REDIAL_MAX_US = 300000 };

struct client_store *client_store_of(struct client *client, store_id id)
{
    struct client_store *store;
    HASH_FIND(hh, client->stores, &id, sizeof id, store);
    if (store)
        return store;
    if (HASH_COUNT(client->stores) >= STORE_COUNT_MAX) /* ids that nobody can vouch for: not for ever */
        return NULL;
    store = calloc(1, sizeof *store);
    CHECK(store);
    store->id = id;
    store->client = client;
    store->silence_us = client->silence_us;
    list_init(&store->ready);
    list_init(&store->throttled);
    list_init(&store->sent);
    list_init(&store->dirty_link);
    retry_budget_init(&store->budget, client->now_us);
    HASH_ADD(hh, client->stores, id, sizeof store->id, store);
    return store;
}

bool client_store_is_usable(const struct client_store *store)
{
    return store && store->state != CLIENT_STORE_DOWN;
}

void client_store_dirty(struct client_store *store)
{
    if (store->dirty)
        return;
    store->dirty = true;
    list_push_back(&store->client->dirty, &store->dirty_link);
}

/* ---- trouble */

static struct part *first_part(struct list *parts)
{
    return list_is_empty(parts) ? NULL : LIST_ENTRY(parts->next, struct part, link);
}

/* Answers to what was sent will not come. A part that is lost always pauses, so the loop ends. */
static void lose_sent(struct client_store *store, const char *why)
{
    struct client *client = store->client;
    for (struct part *part; (part = first_part(&store->sent));) {
        client->counts.losses++;
        part_note(part, "store %llu: %s", (unsigned long long)store->id, why);
        part_follow(part, retry_lost(&part->retry, &client->rng));
    }
}

/* What was to leave next goes elsewhere. */
static void move_ready(struct client_store *store, const char *why)
{
    struct client *client = store->client;
    struct list *lists[] = {&store->ready, &store->throttled};
    for (size_t i = 0; i < 2; i++) {
        for (struct part *part; (part = first_part(lists[i]));) {
            part_note(part, "store %llu: %s", (unsigned long long)store->id, why);
            uint64_t pause_us = part->retry.attempts == 0 && part->retry.hops++ == 0
                                    ? 0
                                    : retry_unsent(&part->retry, ERR_UNAVAILABLE, &client->rng);
            part_follow(part, (struct retry_verdict){.step = RETRY_NEXT_PEER, .pause_us = pause_us});
        }
    }
}

bool client_store_is_silent(const struct client_store *store)
{
    return store->owes_since_us != 0 && store->client->now_us >= store->owes_since_us + store->silence_us;
}

void client_store_silent(struct client_store *store)
{
    struct client *client = store->client;
    log_event(client->env->log, LOG_WARN, "store=%llu silence_ms=%llu msg=\"store says nothing\"",
              (unsigned long long)store->id, (unsigned long long)(store->silence_us / 1000));
    store->state = CLIENT_STORE_DOWN; /* until the connection is there again */
    store->owes_since_us = 0;
    if (store->silence_us < client->silence_us * SILENCE_GROWTH_MAX)
        store->silence_us *= 2;
    router_store_silent(client->router, store->id);
    lose_sent(store, "said nothing for too long");
    move_ready(store, "said nothing for too long");
    store->reset_wanted = true; /* a late answer would be one to a question that is asked elsewhere by then */
    client_store_dirty(store);
}

void client_store_unreachable(struct client_store *store)
{
    store->state = CLIENT_STORE_DOWN;
    router_store_silent(store->client->router, store->id);
    if (!store->address)
        client_stores_want(store->client);
    move_ready(store, store->address ? "cannot be reached" : "pd knows no address of it");
}

/* ---- links */

static void on_up(void *context, struct link *link, const struct wire_hello *hello)
{
    struct client_store *store = link_user(link);
    (void)context;
    (void)hello;
    store->state = CLIENT_STORE_UP;
    store->owes_since_us = 0;
    client_store_dirty(store);
}

static void on_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    struct client *client = context;
    struct client_store *store = link_user(link);
    if (was_up)
        log_event(client->env->log, LOG_WARN, "store=%llu address=%s code=%s msg=\"connection to store ended\"",
                  (unsigned long long)store->id, link_address(link), err_name(code));
    store->state = CLIENT_STORE_DOWN;
    store->owes_since_us = 0;
    router_store_silent(client->router, store->id);
    char why[200];
    snprintf(why, sizeof why, "%s: %s%s%.120s", was_up ? "connection lost" : "cannot be reached", err_name(code),
             text && *text ? ": " : "", text ? text : "");
    lose_sent(store, why);
    move_ready(store, why);
    if (!was_up) /* perhaps it lives elsewhere by now */
        client_stores_want(client);
}

static void on_frame(void *context, struct link *link, struct frame *take_frame)
{
    struct client *client = context;
    struct client_store *store = link_user(link);
    struct wire_kv_reply_batch batch;
    arena_reset(&client->message_arena);
    store->silence_us = client->silence_us;
    if (take_frame->kind != FRAME_KV_REPLY ||
        wire_decode_kv_reply_batch(frame_bytes(take_frame), &client->message_arena, &batch) != ERR_OK) {
        log_event(client->env->log, LOG_ERROR, "store=%llu kind=%u size=%u msg=\"a frame that is no answer\"",
                  (unsigned long long)store->id, take_frame->kind, take_frame->size);
        store->reset_wanted = true;
        client_store_dirty(store);
        frame_unref(take_frame);
        return;
    }
    for (uint32_t i = 0; i < batch.replies_count; i++) {
        struct part *part;
        HASH_FIND(hh, client->parts, &batch.replies[i].id, sizeof batch.replies[i].id, part);
        if (!part)
            continue;
        if (part->state == PART_SENT && part->store == store && part->retry.write)
            store->write_us += (client->now_us - part->sent_us) / 8 - store->write_us / 8;
        part_answered(part, store, &batch.replies[i]);
    }
    store->owes_since_us = list_is_empty(&store->sent) ? 0 : client->now_us;
    if (store->reset_wanted)
        client_store_dirty(store);
    frame_unref(take_frame);
}

void client_store_set_address(struct client_store *store, struct bytes address)
{
    if (store->address && bytes_equal(bytes_of_string(store->address), address))
        return;
    free(store->address);
    store->address = strndup((const char *)address.data, address.size);
    CHECK(store->address);
    if (store->link) { /* it has moved: what was sent to the old place is lost */
        link_close(store->link);
        store->link = NULL;
        router_store_silent(store->client->router, store->id);
        store->owes_since_us = 0;
        lose_sent(store, "has moved to another address");
    }
    store->state = STORE_FRESH;
    client_store_dirty(store);
}

/* ---- sending */

static void refuse_batch(struct client *client, struct client_store *store, uint32_t count, enum err code)
{
    for (uint32_t i = 0; i < count; i++) {
        struct part *part = client->batch_parts[i];
        part_note(part, "store %llu: %s", (unsigned long long)store->id,
                  code == ERR_BUSY ? "too much waits to be sent to it" : "the connection has just ended");
        part_pause(part, retry_unsent(&part->retry, code == ERR_BUSY ? ERR_BUSY : ERR_UNAVAILABLE, &client->rng));
    }
}

static void mark_sent(struct client *client, struct client_store *store, uint32_t count)
{
    client->counts.frames++;
    client->counts.requests += count;
    if (store->owes_since_us == 0)
        store->owes_since_us = client->now_us;
    for (uint32_t i = 0; i < count; i++) {
        struct part *part = client->batch_parts[i];
        if (part->retry.attempts == 0)
            retry_budget_first(&store->budget);
        else
            client->counts.retries++;
        retry_sent(&part->retry);
        list_remove(&part->link);
        list_push_back(&store->sent, &part->link);
        part->state = PART_SENT;
        part->sent_us = client->now_us;
        part->slow = 0;
        part->paid = false;
        client_due(client, part, client->now_us + store->silence_us);
    }
}

/* Has somebody learnt meanwhile who leads? Then the next send is no guess any more and costs nothing; unless the store
 * itself had asked for patience. */
static store_id known_leader(struct client *client, const struct part *part)
{
    if (part->retry.stale_read || err_action(part->retry.last_code) == ERR_ACTION_BACKOFF)
        return 0;
    const struct route *route = router_find_by_id(client->router, part->region_id);
    store_id leader = route ? route_leader(route) : 0;
    /* That of a store which cannot be reached is old news, most likely pd's. */
    return leader != 0 && client_store_is_usable(client_store_of(client, leader)) ? leader : 0;
}

static bool may_be_sent(struct client *client, struct client_store *store, const struct part *part)
{
    return !part->paid || known_leader(client, part) == store->id || retry_budget_take(&store->budget, client->now_us);
}

/* Takes ready parts into client->batch; returns how many. Parts that need a token and get none wait aside. */
static uint32_t fill_batch(struct client *client, struct client_store *store)
{
    size_t size = 0, pairs_first[BATCH_COUNT_MAX];
    uint32_t count = 0;
    client->batch_pairs_count = 0;
    LIST_FOR_EACH_SAFE (link, following, &store->ready) {
        if (count == BATCH_COUNT_MAX || size >= BATCH_SIZE_MAX)
            break;
        struct part *part = LIST_ENTRY(link, struct part, link);
        if (!may_be_sent(client, store, part)) {
            list_remove(link);
            list_push_back(&store->throttled, link);
            part->state = PART_THROTTLED;
            client->throttled_count++;
            continue;
        }
        part->paid = false;
        size += part_fill(part, &client->batch[count], &pairs_first[count]);
        client->batch_parts[count++] = part;
    }
    for (uint32_t i = 0; i < count; i++) /* the array of pairs stands still only now */
        if (client->batch[i].pairs_count > 0)
            client->batch[i].pairs = client->batch_pairs + pairs_first[i];
    return count;
}

/* Tokens came back, or news of who leads: the oldest first. */
static void release_throttled(struct client *client, struct client_store *store)
{
    if (list_is_empty(&store->throttled) || client->now_us < store->released_us + THROTTLE_US / 2)
        return;
    store->released_us = client->now_us;
    LIST_FOR_EACH_SAFE (link, following, &store->throttled) {
        struct part *part = LIST_ENTRY(link, struct part, link);
        store_id leader = known_leader(client, part);
        if (leader != 0 && leader != store->id) {
            part->paid = false;
            part_detach(part);
            part_route(part);
            continue;
        }
        if (!may_be_sent(client, store, part))
            continue;
        list_remove(&part->link);
        client->throttled_count--;
        part->state = PART_READY;
        part->paid = false; /* it has paid now */
        list_push_back(&store->ready, &part->link);
    }
}

static void flush_store(struct client *client, struct client_store *store)
{
    release_throttled(client, store);
    for (;;) {
        uint32_t count = fill_batch(client, store);
        if (count == 0)
            break;
        struct wire_kv_request_batch batch = {.requests = client->batch, .requests_count = count};
        struct frame *frame = wire_frame_kv_request_batch(FRAME_KV_REQUEST, &batch);
        CHECK(frame); /* one request is at most PART_SIZE_MAX, what comes before it at most BATCH_SIZE_MAX */
        enum err code = link_send(store->link, frame);
        if (code != ERR_OK)
            refuse_batch(client, store, count, code);
        else
            mark_sent(client, store, count);
    }
}

static void open_store(struct client *client, struct client_store *store)
{
    if (list_is_empty(&store->ready) && list_is_empty(&store->throttled))
        return;
    if (!store->address) {
        client_stores_want(client);
        return;
    }
    store->link = link_open(client->links, store->address, store->id, store);
    store->state = STORE_DIALING;
}

/* Many small frames cost everybody, the client first; and rounds of several stores that run at the same time share
 * syncs and wake-ups. So writes are sent in waves: fresh ones wait until most of the last wave is answered, for as long
 * as a write takes at most (and 4 ms). A lone writer, or two, never wait. Reads wait for nothing, and take along what
 * does. */
enum { GATHER_MIN_US = 200, GATHER_MAX_US = 4000, GATHER_COUNT_MAX = 256, WAVE_COUNT_MIN = 8, WAVE_REST = 7 };

static bool is_fresh_write(const struct part *part)
{
    return part->retry.write && part->retry.attempts == 0;
}

/* Something among what is ready cannot wait. */
static bool is_urgent(const struct client_store *store)
{
    uint32_t count = 0;
    LIST_FOR_EACH (link, &store->ready)
        if (!is_fresh_write(LIST_ENTRY(link, struct part, link)) || ++count >= GATHER_COUNT_MAX)
            return true;
    return false;
}

static uint32_t count_ready(const struct client_store *store, uint32_t enough)
{
    uint32_t count = 0;
    LIST_FOR_EACH (link, &store->ready)
        if (is_fresh_write(LIST_ENTRY(link, struct part, link)) && ++count >= enough)
            break;
    return count;
}

/* Writes that it will answer soon; a store that has been silent for much longer than usual holds up nobody. */
static uint32_t count_sent(const struct client_store *store, uint32_t enough)
{
    uint32_t count = 0;
    LIST_FOR_EACH (link, &store->sent) { /* the oldest first */
        const struct part *part = LIST_ENTRY(link, struct part, link);
        if (store->client->now_us > part->sent_us + 4 * store->write_us + GATHER_MAX_US)
            return 0;
        count += part->retry.write;
        if (count >= enough)
            break;
    }
    return count;
}

/* True: client->gather_due_us is when they go in any case. */
static bool writes_should_gather(struct client *client)
{
    uint32_t ready = 0, sent = 0;
    uint64_t wait_us = GATHER_MIN_US;
    for (struct client_store *store = client->stores; store && ready < GATHER_COUNT_MAX; store = store->hh.next)
        if (store->state == CLIENT_STORE_UP)
            ready += count_ready(store, GATHER_COUNT_MAX - ready);
    uint32_t rest = ready < WAVE_COUNT_MIN ? ready : ready / WAVE_REST; /* may be out while the next wave leaves */
    for (struct client_store *store = client->stores; store && sent <= rest; store = store->hh.next) {
        if (store->state != CLIENT_STORE_UP)
            continue;
        sent += count_sent(store, rest + 1 - sent);
        if (store->write_us > wait_us)
            wait_us = store->write_us;
    }
    if (ready == 0 || ready >= GATHER_COUNT_MAX || sent <= rest || client->now_us >= client->gather_due_us) {
        client->gather_due_us = UINT64_MAX;
        return false;
    }
    if (client->gather_due_us == UINT64_MAX)
        client->gather_due_us = client->now_us + (wait_us < GATHER_MAX_US ? wait_us : GATHER_MAX_US);
    return true;
}

static void flush_or_gather(struct client *client, struct client_store *store, bool gather)
{
    if (gather && !is_urgent(store))
        client_store_dirty(store);
    else
        flush_store(client, store);
}

void client_stores_flush(struct client *client)
{
    bool gather = writes_should_gather(client);
    struct list dirty;
    list_init(&dirty);
    while (!list_is_empty(&client->dirty)) /* what gets dirty meanwhile waits for its turn at the end */
        list_push_back(&dirty, list_pop_front(&client->dirty));
    for (struct list *link; (link = list_pop_front(&dirty));) {
        struct client_store *store = LIST_ENTRY(link, struct client_store, dirty_link);
        store->dirty = false;
        if (store->reset_wanted && store->link)
            link_reset(store->link);
        store->reset_wanted = false;
        if (!store->link)
            open_store(client, store);
        else if (store->state == CLIENT_STORE_UP && link_is_up(store->link))
            flush_or_gather(client, store, gather);
        if (!list_is_empty(&store->throttled))
            client_store_dirty(store);
    }
}

/* ---- life */

void client_stores_init(struct client *client)
{
    struct links_handler handler = {.context = client, .on_up = on_up, .on_frame = on_frame, .on_down = on_down};
    struct links_options options = {.pause_max_us = REDIAL_MAX_US}; /* somebody waits whenever this dials */
    client->links =
        links_new(client->env, client->actor, CLIENT_MESSAGE_STORE_LINKS, &client->hello, &options, &handler);
}

void client_stores_free(struct client *client)
{
    links_free(client->links);
    struct client_store *store, *following;
    HASH_ITER(hh, client->stores, store, following)
    {
        HASH_DEL(client->stores, store);
        free(store->address);
        free(store);
    }
}
