#include "check_promise.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "group/group_keys.h"
#include "proto/wire.h"
#include "raft/raft.h"

struct check_promise {
    struct world *world;
    struct buf row;
    uint64_t generations[WORLD_STORE_MAX + 1]; /* of each store, as seen last */
    struct world_node *store;                  /* during a visit */
};

#define ULL(value) ((unsigned long long)(value))

/* group_log.c: `format u8, term u64, vote u64, commit u64, checksum` | `format u8, index u64, term u64, checksum` |
 * `format u8, kind u8, term u64, checksum, payload`. */
enum { TERM_AT_HARD = 1, VOTE_AT_HARD = 9, INDEX_AT_TRUNCATED = 1, TERM_AT_ENTRY = 2, ROW_SIZE_MIN = 14 };

static bool read_row(struct check_promise *check, struct engine *disk, struct group_key key)
{
    return engine_mem_get_durable(disk, ENGINE_RAFT, group_key_bytes(&key), &check->row) == ERR_OK &&
           check->row.size >= ROW_SIZE_MIN;
}

static bool read_entry_term(struct check_promise *check, struct engine *disk, uint64_t group, raft_index index,
                            raft_term *ret_term)
{
    if (!read_row(check, disk, group_key_indexed(group, GROUP_LOG, index)))
        return false;
    *ret_term = load_u64_be(check->row.data + TERM_AT_ENTRY);
    return true;
}

static raft_index read_truncated(struct check_promise *check, struct engine *disk, uint64_t group)
{
    return read_row(check, disk, group_key(group, GROUP_TRUNCATED_STATE))
               ? load_u64_be(check->row.data + INDEX_AT_TRUNCATED)
               : 0;
}

/* ---- words and disks */

static void check_vote(struct check_promise *check, const struct world_node *store,
                       const struct wire_raft_message *message)
{
    raft_term term = 0;
    peer_id vote = 0;
    if (read_row(check, store->disk, group_key(message->region_id, GROUP_HARD_STATE))) {
        term = load_u64_be(check->row.data + TERM_AT_HARD);
        vote = load_u64_be(check->row.data + VOTE_AT_HARD);
    }
    if (term < message->term || (term == message->term && vote != message->to))
        world_fail(check->world, "promise", message->region_id,
                   "P1: s%u votes for peer %llu in term %llu of region %llu; its disk says term %llu, vote %llu",
                   store->number, ULL(message->to), ULL(message->term), ULL(message->region_id), ULL(term), ULL(vote));
}

static void check_acknowledgement(struct check_promise *check, const struct world_node *store,
                                  const struct wire_raft_message *message)
{
    raft_term term;
    if (message->index == 0) /* "your term is old" */
        return;
    /* Late words of an older term: writes that waited for a slow disk together became one, and what they speak of may
     * be overwritten in it already. It is as if they had been sent in time, and were slow on their way. */
    if (read_row(check, store->disk, group_key(message->region_id, GROUP_HARD_STATE)) &&
        load_u64_be(check->row.data + TERM_AT_HARD) > message->term)
        return;
    if (!read_entry_term(check, store->disk, message->region_id, message->index, &term)) {
        if (read_truncated(check, store->disk, message->region_id) < message->index)
            world_fail(check->world, "promise", message->region_id,
                       "P2: s%u acknowledges index %llu of region %llu, which is not durable on its disk",
                       store->number, ULL(message->index), ULL(message->region_id));
    } else if (term > message->term) {
        world_fail(check->world, "promise", message->region_id,
                   "P2: s%u acknowledges index %llu of region %llu in term %llu; its disk has an entry of term %llu",
                   store->number, ULL(message->index), ULL(message->region_id), ULL(message->term), ULL(term));
    }
}

void check_promise_message(void *context, struct sim_node *from, struct sim_node *to,
                           const struct wire_raft_message *message)
{
    struct check_promise *check = context;
    const struct world_node *store = world_node_of(check->world, from);
    (void)to;
    if (message->reject)
        return;
    if (message->kind == RAFT_VOTE_RESP)
        check_vote(check, store, message);
    else if (message->kind == RAFT_APP_RESP)
        check_acknowledgement(check, store, message);
}

/* ---- births */

static void check_hard_state(struct check_promise *check, const struct store_peer_view *view)
{
    struct raft_status status;
    raft_get_status(view->raft, &status);
    if (!read_row(check, check->store->disk, group_key(view->region, GROUP_HARD_STATE)))
        return;
    raft_term term = load_u64_be(check->row.data + TERM_AT_HARD);
    peer_id vote = load_u64_be(check->row.data + VOTE_AT_HARD);
    if (status.hard.term != term || status.hard.vote != vote)
        world_fail(check->world, "promise", view->region,
                   "P3: s%u begins region %llu with term %llu, vote %llu; its disk says term %llu, vote %llu",
                   check->store->number, ULL(view->region), ULL(status.hard.term), ULL(status.hard.vote), ULL(term),
                   ULL(vote));
}

static void check_log(struct check_promise *check, const struct store_peer_view *view)
{
    struct engine *disk = check->store->disk;
    raft_index last = raft_last_index(view->raft);
    raft_term on_disk, in_memory = raft_term_at(view->raft, last);
    bool has_last = read_entry_term(check, disk, view->region, last, &on_disk);
    bool fits = has_last ? on_disk == in_memory : read_truncated(check, disk, view->region) == last;
    if (!fits || read_entry_term(check, disk, view->region, last + 1, &on_disk))
        world_fail(check->world, "promise", view->region,
                   "P3: s%u begins region %llu with a log up to %llu (term %llu), and its disk holds another",
                   check->store->number, ULL(view->region), ULL(last), ULL(in_memory));
}

static void visit_birth(void *context, const struct store_peer_view *view)
{
    struct check_promise *check = context;
    check_hard_state(check, view);
    check_log(check, view);
}

void check_promise_births(struct check_promise *check)
{
    for (uint32_t number = 1; number <= world_options(check->world)->store_count; number++) {
        struct world_node *store = world_store(check->world, number);
        uint64_t generation = sim_node_generation(store->node);
        if (!store->store || generation == check->generations[number])
            continue;
        check->generations[number] = generation;
        check->store = store;
        store_visit_peers(store->store, visit_birth, check);
    }
}

/* ---- life */

struct check_promise *check_promise_new(struct world *world)
{
    struct check_promise *check = calloc(1, sizeof *check);
    CHECK(check);
    check->world = world;
    buf_init(&check->row, 64u << 20);
    return check;
}

void check_promise_free(struct check_promise *check)
{
    if (!check)
        return;
    buf_fini(&check->row);
    free(check);
}
