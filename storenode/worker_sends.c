#include "storenode/worker_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/check.h"
#include "base/log.h"
#include "rpc/frame_kind.h"
#include "rpc/links.h"
#include "storenode/peer.h"

enum {
    FRAME_GATHER_SIZE_MAX = 8 * 1024 * 1024, /* of raft entries in one frame */
    MESSAGE_SIZE = 128,                      /* of a raft message without entries, roughly */
    READ_KEYS_WAITING_MAX = 128 * 1024,
    COUNT_SIZE_PER_MS = 16 * 1024,
    COUNT_SIZE_MIN = 64 * 1024,
    COUNT_BURST_MS = 1000,
};

struct log_task *region_worker_log_task(struct region_worker *worker)
{
    if (worker->log_task)
        return worker->log_task;
    if (worker->spare_tasks) {
        worker->log_task = worker->spare_tasks;
        worker->spare_tasks = (struct log_task *)worker->log_task->message.next;
        worker->spare_count--;
    } else
        worker->log_task = log_task_new(worker->env, worker->actor, WORKER_LOG_DONE);
    return worker->log_task;
}

struct read_task *region_worker_read_task(struct region_worker *worker)
{
    if (!worker->read_task)
        worker->read_task = read_task_new();
    return worker->read_task;
}

void region_worker_post_reads(struct region_worker *worker, struct read_task *take_task)
{
    struct store *store = worker->store;
    take_task->owner = worker->actor;
    read_worker_post(store->readers[worker->next_reader++ % store->reader_count], take_task);
}

/* Each count is paid for in time, at COUNT_SIZE_PER_MS: a little at once, the rest when it is known how much it was. */
bool region_worker_may_count(struct region_worker *worker)
{
    if (worker->now_us < worker->count_at_us)
        return false;
    region_worker_counted(worker, COUNT_SIZE_MIN);
    return true;
}

void region_worker_counted(struct region_worker *worker, uint64_t size)
{
    uint64_t earliest_us = worker->now_us > COUNT_BURST_MS * 1000 ? worker->now_us - COUNT_BURST_MS * 1000 : 0;
    if (worker->count_at_us < earliest_us)
        worker->count_at_us = earliest_us;
    worker->count_at_us += size * 1000 / COUNT_SIZE_PER_MS;
}

bool region_worker_reads_are_many(const struct region_worker *worker)
{
    const struct store *store = worker->store;
    uint64_t count = worker->read_task ? worker->read_task->keys_count : 0;
    for (uint32_t i = 0; i < store->reader_count; i++)
        count += read_worker_waiting(store->readers[i]);
    return count >= READ_KEYS_WAITING_MAX;
}

struct neighbour *worker_neighbour(const struct region_worker *worker, store_id id)
{
    struct neighbour *neighbour;
    HASH_FIND(hh, worker->neighbours, &id, sizeof id, neighbour);
    return neighbour;
}

static void send_frame(struct region_worker *worker, struct neighbour *neighbour, int after)
{
    struct outbox *outbox = &neighbour->outbox;
    if (outbox->count[after] == 0)
        return;
    struct wire_raft_batch batch = {.from_store = atomic_load(&worker->store->store_id),
                                    .to_store = neighbour->id,
                                    .messages = outbox->messages[after],
                                    .messages_count = outbox->count[after]};
    struct frame *frame = wire_frame_raft_batch(FRAME_RAFT, &batch);
    outbox->count[after] = 0;
    outbox->size[after] = 0;
    if (!frame) {
        log_event(worker->env->log, LOG_ERROR, "event=raft_frame_too_large store=%llu",
                  (unsigned long long)neighbour->id);
        return;
    }
    if (!after)
        (void)link_send(neighbour->link, frame); /* lost frames are Raft's daily bread */
    else
        log_task_add_send(region_worker_log_task(worker), link_conn(neighbour->link), frame);
}

static struct neighbour *reachable(const struct region_worker *worker, store_id id)
{
    struct neighbour *neighbour = worker_neighbour(worker, id);
    return neighbour && link_is_up(neighbour->link) ? neighbour : NULL;
}

static struct wire_raft_message *outbox_add(struct region_worker *worker, struct neighbour *neighbour, bool after)
{
    struct outbox *outbox = &neighbour->outbox;
    if (outbox->count[after] == outbox->capacity[after]) {
        outbox->capacity[after] = outbox->capacity[after] ? outbox->capacity[after] * 2 : 32;
        outbox->messages[after] =
            realloc(outbox->messages[after], outbox->capacity[after] * sizeof *outbox->messages[after]);
        CHECK(outbox->messages[after]);
    }
    outbox->size[after] += MESSAGE_SIZE;
    if (!neighbour->dirty) {
        neighbour->dirty = true;
        neighbour->next_dirty = worker->dirty;
        worker->dirty = neighbour;
    }
    return &outbox->messages[after][outbox->count[after]++];
}

void region_worker_send_wire(struct region_worker *worker, store_id to, const struct wire_raft_message *wire)
{
    struct neighbour *neighbour = reachable(worker, to);
    if (neighbour)
        *outbox_add(worker, neighbour, false) = *wire;
}

void region_worker_send_everybody(struct region_worker *worker, const struct wire_raft_message *wire)
{
    for (const struct neighbour *neighbour = worker->neighbours; neighbour; neighbour = neighbour->hh.next)
        region_worker_send_wire(worker, neighbour->id, wire);
}

void region_worker_send(struct region_worker *worker, struct peer *peer, const struct raft_message *message, bool after)
{
    struct neighbour *neighbour = reachable(worker, peer_store_of(peer, message->to));
    if (!neighbour) {
        if (message->kind == RAFT_APP)
            raft_report_unreachable(peer->group->raft, message->to);
        return;
    }
    struct outbox *outbox = &neighbour->outbox;
    struct wire_raft_message *wire = outbox_add(worker, neighbour, after);
    group_message_to_wire(peer->group, message, &worker->round_arena, wire);
    wire->epoch_conf = peer->region->epoch_conf;
    wire->epoch_version = peer->region->epoch_version;
    wire->hurry = peer->split.hurry_ticks > 0;
    peer_sleep_on_send(peer, message, wire);
    for (uint32_t i = 0; i < message->entry_count; i++)
        outbox->size[after] += message->entries[i].data.size;
    if (outbox->size[after] > FRAME_GATHER_SIZE_MAX)
        send_frame(worker, neighbour, after);
}

/* Such a task wakes us when it is done (log_worker.c: nobody_waits). */
static bool has_own_append(const struct log_task *task)
{
    for (uint32_t i = 0; i < task->append_count; i++)
        if (task->appends[i].own_count > 0)
            return true;
    return false;
}

static void post_log_task(struct region_worker *worker, struct log_task *take_task)
{
    if (worker->proposed && has_own_append(take_task)) {
        take_task->user = worker;
        worker->own_appends_out++;
    }
    worker->proposed = false;
    if (worker->log_tasks_out++ == 0)
        worker->log_still_ticks = 0;
    log_worker_post(worker->store->log_worker, take_task);
}

/* Everything that gathered leaves. Frames that wait for the disk go into the log task before it is posted. */
void worker_flush(struct region_worker *worker)
{
    for (struct neighbour *neighbour = worker->dirty; neighbour; neighbour = neighbour->next_dirty) {
        neighbour->dirty = false;
        send_frame(worker, neighbour, 0);
        send_frame(worker, neighbour, 1);
    }
    worker->dirty = NULL;
    if (worker->log_task) {
        struct log_task *task = worker->log_task;
        worker->log_task = NULL;
        post_log_task(worker, task);
    }
    if (worker->read_task) {
        struct read_task *task = worker->read_task;
        worker->read_task = NULL;
        region_worker_post_reads(worker, task);
    }
    arena_reset(&worker->round_arena);
}

bool region_worker_knows_store(const struct region_worker *worker, store_id store)
{
    return store == atomic_load(&worker->store->store_id) || worker_neighbour(worker, store);
}

/* ---- other stores */

void worker_on_stores(struct region_worker *worker, struct regions_message *take_message)
{
    store_id own = atomic_load(&worker->store->store_id);
    for (uint32_t i = 0; i < take_message->reply.stores_count; i++) {
        const struct wire_store *store = &take_message->reply.stores[i];
        char address[256];
        if (store->id == own || store->id == 0 || store->address.size >= sizeof address)
            continue;
        snprintf(address, sizeof address, "%.*s", (int)store->address.size, (const char *)store->address.data);
        struct neighbour *neighbour = worker_neighbour(worker, store->id);
        if (neighbour)
            neighbour->lost = store->lost;
        if (neighbour && strcmp(link_address(neighbour->link), address) == 0)
            continue;
        if (neighbour)
            link_close(neighbour->link); /* it moved */
        else {
            neighbour = calloc(1, sizeof *neighbour);
            CHECK(neighbour);
            neighbour->id = store->id;
            neighbour->lost = store->lost;
            HASH_ADD(hh, worker->neighbours, id, sizeof neighbour->id, neighbour);
        }
        neighbour->link = link_open(worker->links, address, store->id, neighbour);
    }
    message_free(&take_message->message);
}

static void on_link_up(void *context, struct link *link, const struct wire_hello *hello)
{
    struct region_worker *worker = context;
    struct neighbour *neighbour = link_user(link);
    if (hello->node_id != neighbour->id)
        link_reset(link);
    else
        log_event(worker->env->log, LOG_INFO, "event=store_connected peer_store=%llu address=%s",
                  (unsigned long long)neighbour->id, link_address(link));
}

static void on_link_frame(void *context, struct link *link, struct frame *take_frame)
{
    (void)context;
    (void)link;
    frame_unref(take_frame); /* answers come as the neighbour's own frames, on its own connection */
}

static void on_link_down(void *context, struct link *link, bool was_up, enum err code, const char *text)
{
    struct region_worker *worker = context;
    struct neighbour *neighbour = link_user(link);
    if (was_up)
        log_event(worker->env->log, LOG_WARN, "event=store_disconnected peer_store=%llu address=%s code=%s msg=\"%s\"",
                  (unsigned long long)neighbour->id, link_address(link), err_name(code), text ? text : "");
}

void worker_free_spare_tasks(struct region_worker *worker)
{
    while (worker->spare_tasks) {
        struct log_task *task = worker->spare_tasks;
        worker->spare_tasks = (struct log_task *)task->message.next;
        log_task_free(task);
    }
    worker->spare_count = 0;
}

void worker_open_links(struct region_worker *worker)
{
    struct wire_hello hello = {.role = WIRE_ROLE_STORENODE,
                               .cluster_id = atomic_load(&worker->store->cluster_id),
                               .node_id = atomic_load(&worker->store->store_id),
                               .version_min = PROTOCOL_VERSION_MIN,
                               .version_max = PROTOCOL_VERSION,
                               .build = bytes_of_string(POLDER_VERSION)};
    struct links_options options = {0};
    struct links_handler handler = {
        .context = worker, .on_up = on_link_up, .on_frame = on_link_frame, .on_down = on_link_down};
    worker->links = links_new(worker->env, worker->actor, WORKER_LINKS, &hello, &options, &handler);
}
