#include "check_durable.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/check.h"
#include "group/group_keys.h"
#include "raft/raft.h"
#include "storenode/region_row.h"
#include "storenode/store_keys.h"

#define ULL(value) ((unsigned long long)(value))

/* Rows as group_keys.h draws them. */
enum { INDEX_AT_TRUNCATED = 1, TERM_AT_ENTRY = 2, ROW_SIZE_MIN = 14 };

struct home {
    struct {
        region_id region;
        peer_id peer;
    } key;
    uint32_t store;
    struct raft_conf conf; /* at the last look; count 0: there was none in this life */
    UT_hash_handle hh;
};

struct checked {
    region_id region;
    raft_index commit; /* all up to here was found durable */
    UT_hash_handle hh;
};

struct check_durable {
    struct world *world;
    struct home *homes;
    struct checked *regions;
    struct buf row;
    uint64_t count;
};

/* ---- disks */

static bool read_durable(struct check_durable *check, const struct world_node *store, struct group_key key)
{
    return engine_mem_get_durable(store->disk, ENGINE_RAFT, group_key_bytes(&key), &check->row) == ERR_OK &&
           check->row.size >= ROW_SIZE_MIN;
}

/* Merged into another one there. Its log had come to the end that counts; what was acknowledged behind that is refused
 * wherever it is applied. */
static bool has_ended(struct check_durable *check, const struct world_node *store, region_id region)
{
    struct wire_region_state state;
    struct arena arena;
    if (!read_durable(check, store, group_key(region, STORE_REGION_STATE)))
        return false;
    arena_init(&arena);
    bool ended = region_row_decode(buf_bytes(&check->row), &arena, &state) == ERR_OK && state.tombstone;
    arena_fini(&arena);
    return ended;
}

static bool entry_is_durable(struct check_durable *check, const struct world_node *store, region_id region,
                             raft_index index, raft_term term)
{
    if (read_durable(check, store, group_key_indexed(region, GROUP_LOG, index)))
        return load_u64_be(check->row.data + TERM_AT_ENTRY) == term;
    if (has_ended(check, store, region))
        return true;
    return read_durable(check, store, group_key(region, GROUP_TRUNCATED_STATE)) &&
           load_u64_be(check->row.data + INDEX_AT_TRUNCATED) >= index;
}

/* ---- quorums */

static struct home *find_home(struct check_durable *check, region_id region, peer_id peer)
{
    struct home *home, wanted;
    memset(&wanted, 0, sizeof wanted);
    wanted.key.region = region;
    wanted.key.peer = peer;
    HASH_FIND(hh, check->homes, &wanted.key, sizeof wanted.key, home);
    return home;
}

/* Who votes, and where. */
struct electorate {
    uint32_t count, voter_count, outgoing_count;
    struct {
        const struct world_node *store; /* NULL: never seen */
        uint8_t roles;
    } members[RAFT_MEMBER_COUNT_MAX];
};

static void find_electorate(struct check_durable *check, const struct store_peer_view *view,
                            const struct raft_conf *conf, struct electorate *ret_electorate)
{
    *ret_electorate = (struct electorate){0};
    for (uint32_t i = 0; i < conf->count; i++) {
        const struct raft_member *member = &conf->members[i];
        if (!(member->roles & (RAFT_VOTER | RAFT_OUTGOING)))
            continue;
        const struct home *home = find_home(check, view->region, member->id);
        ret_electorate->voter_count += (member->roles & RAFT_VOTER) != 0;
        ret_electorate->outgoing_count += (member->roles & RAFT_OUTGOING) != 0;
        ret_electorate->members[ret_electorate->count].roles = member->roles;
        ret_electorate->members[ret_electorate->count++].store = home ? world_store(check->world, home->store) : NULL;
    }
}

static bool is_on_quorum(struct check_durable *check, const struct electorate *electorate, region_id region,
                         raft_index index, raft_term term, uint32_t *ret_count)
{
    uint32_t voters = 0, outgoing = 0;
    *ret_count = 0;
    for (uint32_t i = 0; i < electorate->count; i++) {
        const struct world_node *store = electorate->members[i].store;
        if (!store || !entry_is_durable(check, store, region, index, term))
            continue;
        *ret_count += 1;
        voters += (electorate->members[i].roles & RAFT_VOTER) != 0;
        outgoing += (electorate->members[i].roles & RAFT_OUTGOING) != 0;
    }
    return (electorate->voter_count == 0 || voters > electorate->voter_count / 2) &&
           (electorate->outgoing_count == 0 || outgoing > electorate->outgoing_count / 2);
}

/* ---- what the raft checker tells */

void check_durable_peer(struct check_durable *check, const struct world_node *store, const struct store_peer_view *view)
{
    struct home *home = find_home(check, view->region, view->peer);
    if (!home) {
        home = calloc(1, sizeof *home);
        CHECK(home);
        home->key.region = view->region;
        home->key.peer = view->peer;
        HASH_ADD(hh, check->homes, key, sizeof home->key, home);
    }
    home->store = store->number;
    home->conf.count = 0;
}

void check_durable_conf(struct check_durable *check, const struct store_peer_view *view)
{
    struct home *home = find_home(check, view->region, view->peer);
    CHECK(home);
    raft_get_conf(view->raft, &home->conf);
}

static struct checked *checked_of(struct check_durable *check, region_id region)
{
    struct checked *checked;
    HASH_FIND(hh, check->regions, &region, sizeof region, checked);
    if (!checked) {
        checked = calloc(1, sizeof *checked);
        CHECK(checked);
        checked->region = region;
        HASH_ADD(hh, check->regions, region, sizeof checked->region, checked);
    }
    return checked;
}

void check_durable_commit(struct check_durable *check, const struct world_node *store,
                          const struct store_peer_view *view)
{
    struct checked *checked = checked_of(check, view->region);
    raft_index commit = raft_commit_index(view->raft), truncated = raft_truncated(view->raft).index;
    if (commit <= checked->commit)
        return;
    /* It may have changed its members since it counted. */
    struct electorate electorate, before;
    struct raft_conf conf;
    raft_get_conf(view->raft, &conf);
    if (raft_is_forced(view->raft)) { /* the others are gone for good */
        conf = (struct raft_conf){0};
        CHECK(raft_conf_add(&conf, view->peer, RAFT_VOTER) == ERR_OK);
    }
    find_electorate(check, view, &conf, &electorate);
    const struct home *home = find_home(check, view->region, view->peer);
    before = electorate;
    if (home && home->conf.count > 0 && !raft_is_forced(view->raft))
        find_electorate(check, view, &home->conf, &before);
    raft_index index = checked->commit > truncated ? checked->commit : truncated;
    while (++index <= commit) {
        raft_term term = raft_term_at(view->raft, index);
        uint32_t count;
        if (term == 0) /* neither in memory nor committed just now: a life that began with it */
            continue;
        check->count++;
        if (!is_on_quorum(check, &before, view->region, index, term, &count) &&
            !is_on_quorum(check, &electorate, view->region, index, term, &count)) {
            world_fail(
                check->world, "raft", view->region,
                "R9: s%u commits index %llu (term %llu) of region %llu, which is durable on %u of %u voters' disks",
                store->number, ULL(index), ULL(term), ULL(view->region), count, electorate.count);
            return;
        }
    }
    checked->commit = commit;
}

uint64_t check_durable_count(const struct check_durable *check)
{
    return check->count;
}

/* ---- life */

struct check_durable *check_durable_new(struct world *world)
{
    struct check_durable *check = calloc(1, sizeof *check);
    CHECK(check);
    check->world = world;
    buf_init(&check->row, 64u << 20);
    return check;
}

void check_durable_free(struct check_durable *check)
{
    if (!check)
        return;
    struct home *home, *next_home;
    HASH_ITER(hh, check->homes, home, next_home)
    {
        HASH_DEL(check->homes, home);
        free(home);
    }
    struct checked *checked, *next_checked;
    HASH_ITER(hh, check->regions, checked, next_checked)
    {
        HASH_DEL(check->regions, checked);
        free(checked);
    }
    buf_fini(&check->row);
    free(check);
}
