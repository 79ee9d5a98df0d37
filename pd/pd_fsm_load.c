/* pd_fsm_load: the state machine from its rows, none of which is believed. */
#include "base/check.h"
#include "pd/pd_fsm_parts.h"
#include "pd/tso.h"

struct load {
    struct pd_fsm *fsm;
    struct bytes key, value;
    struct error *err;
};

static enum err load_corrupt(const struct load *load, const char *why)
{
    char kind = load->key.size ? (char)load->key.data[0] : '?';
    uint64_t id = load->key.size == KEY_SIZE ? load_u64_be(load->key.data + 1) : 0;
    return error_set(load->err, ERR_CORRUPT, "row '%c' %llu of pd: %s", kind, (unsigned long long)id, why);
}

static enum err load_number(const struct load *load, uint64_t *ret_number)
{
    if (load->value.size != 9 || load->value.data[0] != ROW_FORMAT)
        return load_corrupt(load, "not a number of format 1");
    *ret_number = load_u64_be(load->value.data + 1);
    return ERR_OK;
}

static enum err load_table(const struct load *load, struct bytes *ret_table)
{
    if (load->key.size != KEY_SIZE || load->value.size < ROW_HEAD_SIZE || load->value.data[0] != ROW_FORMAT)
        return load_corrupt(load, "not a table of format 1");
    *ret_table = bytes_of(load->value.data + ROW_HEAD_SIZE, load->value.size - ROW_HEAD_SIZE);
    return ERR_OK;
}

static enum err load_applied(const struct load *load)
{
    if (load->value.size != 17 || load->value.data[0] != ROW_FORMAT)
        return load_corrupt(load, "not a position of format 1");
    load->fsm->applied_index = load_u64_be(load->value.data + 1);
    load->fsm->applied_term = load_u64_be(load->value.data + 9);
    return ERR_OK;
}

static enum err load_cluster(const struct load *load)
{
    if (load->value.size != 10 || load->value.data[0] != ROW_FORMAT || load->value.data[9] > 1)
        return load_corrupt(load, "not a cluster row of format 1");
    load->fsm->cluster_id = load_u64_be(load->value.data + 1);
    load->fsm->bootstrapped = load->value.data[9];
    return ERR_OK;
}

static enum err load_store(const struct load *load)
{
    struct bytes table;
    enum err code = load_table(load, &table);
    if (code != ERR_OK)
        return code;
    struct wire_store wire;
    if (wire_decode_store(table, &load->fsm->command_arena, &wire) != ERR_OK || !fsm_store_is_sane(&wire) ||
        wire.id != load_u64_be(load->key.data + 1))
        return load_corrupt(load, "not a store");
    struct pd_store *store = (struct pd_store *)pd_fsm_find_store(load->fsm, wire.id);
    if (!store && load->fsm->store_count >= STORE_COUNT_MAX)
        return load_corrupt(load, "one store too many");
    if (!store)
        store = fsm_store_add(load->fsm, wire.id);
    fsm_store_assign(store, &wire);
    return ERR_OK;
}

/* Rows come in key order, so tokens ('k') come before their stores ('s'). */
static enum err load_token(const struct load *load)
{
    uint64_t id = 0;
    enum err code = load_number(load, &id);
    if (code != ERR_OK)
        return code;
    if (load->key.size != KEY_SIZE || id == 0 || pd_fsm_find_store(load->fsm, id) ||
        load->fsm->store_count >= STORE_COUNT_MAX)
        return load_corrupt(load, "not a token");
    fsm_store_add(load->fsm, id)->token = load_u64_be(load->key.data + 1);
    return ERR_OK;
}

static enum err load_member(const struct load *load)
{
    struct bytes table;
    enum err code = load_table(load, &table);
    if (code != ERR_OK)
        return code;
    struct wire_pd_member wire;
    if (wire_decode_pd_member(table, &load->fsm->command_arena, &wire) != ERR_OK || !fsm_member_is_sane(&wire) ||
        wire.id != load_u64_be(load->key.data + 1) || load->fsm->member_count == PD_FSM_MEMBERS_MAX)
        return load_corrupt(load, "not a member");
    fsm_member_insert(load->fsm, &wire);
    return ERR_OK;
}

static enum err load_region(const struct load *load)
{
    struct bytes table;
    enum err code = load_table(load, &table);
    if (code != ERR_OK)
        return code;
    struct wire_route wire;
    struct error why;
    if (wire_decode_route(table, &load->fsm->command_arena, &wire) != ERR_OK || !wire.region)
        return load_corrupt(load, "not a region");
    if (region_check_wire(wire.region, &why) != ERR_OK)
        return load_corrupt(load, why.text);
    uint64_t count = region_tree_count(load->fsm->regions);
    if (wire.region->id != load_u64_be(load->key.data + 1) ||
        region_tree_insert(load->fsm->regions, wire.region, NULL, NULL) != ERR_OK ||
        region_tree_count(load->fsm->regions) != count + 1)
        return load_corrupt(load, "overlaps another region");
    return ERR_OK;
}

static enum err load_setting(const struct load *load)
{
    if (load->value.size <= ROW_HEAD_SIZE || load->value.data[0] != ROW_FORMAT ||
        pd_settings_put(&load->fsm->settings, bytes_of(load->key.data + 1, load->key.size - 1),
                        bytes_of(load->value.data + ROW_HEAD_SIZE, load->value.size - ROW_HEAD_SIZE)) != ERR_OK)
        return load_corrupt(load, "not a setting of format 1");
    return ERR_OK;
}

static enum err load_row(const struct load *load)
{
    switch (load->key.data[0]) {
    case 'a':
        return load_applied(load);
    case 'c':
        return load_cluster(load);
    case 'i':
        return load_number(load, &load->fsm->next_id);
    case 't':
        return load_number(load, &load->fsm->timestamp_limit_ms);
    case 'k':
        return load_token(load);
    case 's':
        return load_store(load);
    case 'g':
        return load_region(load);
    case 'o':
        return load_setting(load);
    case 'n':
        return load_number(load, &load->fsm->next_member_id);
    case 'p':
        return load_member(load);
    case 'm':
        return ERR_OK;
    default:
        return load_corrupt(load, "unknown kind (a newer version wrote it?)");
    }
}

/* Of all that was given out: stores, regions, peers. */
static uint64_t greatest_id(const struct pd_fsm *fsm)
{
    uint64_t greatest = fsm->store_count ? fsm->stores[fsm->store_count - 1].id : 0;
    for (struct region_node *node = region_tree_seek(fsm->regions, bytes_empty()); node;
         node = region_tree_next(fsm->regions, node)) {
        struct wire_peer peers[REGION_PEER_COUNT_MAX];
        struct wire_region region;
        region_node_wire(node, peers, &region);
        greatest = region.id > greatest ? region.id : greatest;
        for (uint32_t i = 0; i < region.peers_count; i++)
            greatest = peers[i].id > greatest ? peers[i].id : greatest;
    }
    return greatest;
}

/* Across rows: each is sane by itself by now. */
static enum err load_finish(struct pd_fsm *fsm, struct error *err)
{
    for (uint32_t i = 0; i < fsm->store_count; i++)
        if (!fsm->stores[i].address)
            return error_set(err, ERR_CORRUPT, "pd has a token for store %llu, but no row 's' of it",
                             (unsigned long long)fsm->stores[i].id);
    if (fsm->next_id == 0 || fsm->next_id > NEXT_ID_MAX || fsm->next_id <= greatest_id(fsm) ||
        fsm->timestamp_limit_ms > TSO_PHYSICAL_MS_MAX)
        return error_set(err, ERR_CORRUPT, "pd's next id is %llu and its timestamp limit %llu ms",
                         (unsigned long long)fsm->next_id, (unsigned long long)fsm->timestamp_limit_ms);
    if (fsm->bootstrapped && region_tree_count(fsm->regions) == 0)
        return error_set(err, ERR_CORRUPT, "pd says that the cluster is bootstrapped, but has no region");
    return ERR_OK;
}

enum err pd_fsm_load(struct pd_fsm *fsm, struct engine *engine, struct error *err)
{
    struct engine_iter *iter = engine_iter_new(engine, fsm->cf, bytes_empty(), bytes_empty());
    enum err code = ERR_OK;
    for (engine_iter_seek(engine, iter, bytes_empty()); code == ERR_OK && engine_iter_valid(engine, iter);
         engine_iter_next(engine, iter)) {
        struct load load = {
            .fsm = fsm, .key = engine_iter_key(engine, iter), .value = engine_iter_value(engine, iter), .err = err};
        code = load.key.size ? load_row(&load) : load_corrupt(&load, "empty key");
        arena_reset(&fsm->command_arena);
    }
    if (code == ERR_OK)
        code = engine_iter_error(engine, iter, err);
    engine_iter_free(engine, iter);
    if (code == ERR_OK)
        code = load_finish(fsm, err);
    return code;
}
