#include "pd/pd_fsm.h"

#include <stdlib.h>

#include <xxhash.h>

#include "base/arena.h"
#include "base/bug.h"
#include "base/check.h"
#include "pd/id_alloc.h"
#include "pd/tso.h"

enum { ROW_FORMAT = 1, ROW_HEAD_SIZE = 8, KEY_SIZE = 9 };

/* Ids beyond are a broken counter, not a big cluster (and stores must fit in 56 bits: region_tree). */
#define NEXT_ID_MAX (UINT64_C(1) << 55)

struct pd_fsm {
    raft_index applied_index;
    raft_term applied_term;
    uint64_t cluster_id;
    bool bootstrapped;
    uint64_t next_id;
    uint64_t timestamp_limit_ms;
    enum engine_cf cf;
    uint64_t next_member_id;
    struct pd_member members[PD_FSM_MEMBERS_MAX]; /* in order of id */
    uint32_t member_count;
    struct pd_store *stores; /* owned; in order of id */
    uint32_t store_count, store_capacity;
    struct region_tree *regions; /* owned */
    struct pd_settings settings;
    struct arena command_arena;
    struct buf row; /* scratch of one row */
};

/* Where the rows of one command go. */
struct rows {
    struct pd_fsm *fsm;
    struct engine *engine;
    struct engine_batch *batch;
};

struct pd_fsm *pd_fsm_new(void)
{
    struct pd_fsm *fsm = calloc(1, sizeof(*fsm));
    CHECK(fsm);
    fsm->next_id = fsm->next_member_id = 1;
    fsm->cf = ENGINE_DEFAULT;
    fsm->regions = region_tree_new();
    arena_init(&fsm->command_arena);
    buf_init(&fsm->row, PD_FSM_ROW_SIZE_MAX);
    return fsm;
}

void pd_fsm_set_cf(struct pd_fsm *fsm, enum engine_cf cf)
{
    fsm->cf = cf;
}

enum engine_cf pd_fsm_cf(const struct pd_fsm *fsm)
{
    return fsm->cf;
}

void pd_fsm_swap(struct pd_fsm *one, struct pd_fsm *other)
{
    struct pd_fsm copy = *one;
    *one = *other;
    *other = copy;
}

static void member_fini(struct pd_member *member)
{
    free(member->name);
    free(member->address);
}

static void store_fini(struct pd_store *store)
{
    free(store->address);
    free(store->status_address);
    free(store->version);
}

void pd_fsm_free(struct pd_fsm *fsm)
{
    if (!fsm)
        return;
    for (uint32_t i = 0; i < fsm->store_count; i++)
        store_fini(&fsm->stores[i]);
    for (uint32_t i = 0; i < fsm->member_count; i++)
        member_fini(&fsm->members[i]);
    free(fsm->stores);
    region_tree_free(fsm->regions);
    pd_settings_fini(&fsm->settings);
    arena_fini(&fsm->command_arena);
    buf_fini(&fsm->row);
    free(fsm);
}

/* ---- rows */

struct row_key {
    uint8_t data[KEY_SIZE];
    size_t size;
};

static struct row_key row_key(char kind, uint64_t id)
{
    struct row_key key = {.size = KEY_SIZE};
    key.data[0] = (uint8_t)kind;
    store_u64_be(key.data + 1, id);
    return key;
}

static struct row_key row_key_single(char kind)
{
    return (struct row_key){.data = {(uint8_t)kind}, .size = 1};
}

static void rows_put(const struct rows *rows, struct row_key key, struct bytes value)
{
    engine_batch_put(rows->engine, rows->batch, rows->fsm->cf, bytes_of(key.data, key.size), value);
}

static void rows_put_number(const struct rows *rows, struct row_key key, uint64_t number)
{
    uint8_t value[9] = {ROW_FORMAT};
    store_u64_be(value + 1, number);
    rows_put(rows, key, bytes_of(value, sizeof(value)));
}

static void rows_put_cluster(const struct rows *rows)
{
    uint8_t value[10] = {ROW_FORMAT};
    store_u64_be(value + 1, rows->fsm->cluster_id);
    value[9] = rows->fsm->bootstrapped;
    rows_put(rows, row_key_single('c'), bytes_of(value, sizeof(value)));
}

/* `row` is the encoded table; the head keeps it aligned for the reader. */
static void rows_put_table(const struct rows *rows, struct row_key key, struct bytes table, struct arena *arena)
{
    uint8_t *value = arena_alloc(arena, ROW_HEAD_SIZE + table.size);
    value[0] = ROW_FORMAT;
    memcpy(value + ROW_HEAD_SIZE, table.data, table.size);
    rows_put(rows, key, bytes_of(value, ROW_HEAD_SIZE + table.size));
}

static void rows_put_store(const struct rows *rows, const struct pd_store *store)
{
    struct wire_store wire = {.id = store->id,
                              .address = bytes_of_string(store->address),
                              .status_address = bytes_of_string(store->status_address),
                              .version = bytes_of_string(store->version),
                              .started_at_ms = store->started_at_ms,
                              .capacity_size = store->capacity_size};
    CHECK(wire_encode_store(&wire, &rows->fsm->row) == ERR_OK);
    rows_put_table(rows, row_key('s', store->id), buf_bytes(&rows->fsm->row), &rows->fsm->command_arena);
}

static void rows_put_region(const struct rows *rows, const struct wire_region *region)
{
    struct wire_route wire = {.region = (struct wire_region *)region, .leader_peer = region->peers[0].id};
    CHECK(wire_encode_route(&wire, &rows->fsm->row) == ERR_OK);
    rows_put_table(rows, row_key('g', region->id), buf_bytes(&rows->fsm->row), &rows->fsm->command_arena);
}

/* ---- stores */

static uint32_t store_position(const struct pd_fsm *fsm, store_id id)
{
    uint32_t low = 0, high = fsm->store_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (fsm->stores[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct pd_store *pd_fsm_find_store(const struct pd_fsm *fsm, store_id id)
{
    uint32_t position = store_position(fsm, id);
    return position < fsm->store_count && fsm->stores[position].id == id ? &fsm->stores[position] : NULL;
}

const struct pd_store *pd_fsm_find_store_token(const struct pd_fsm *fsm, uint64_t token)
{
    for (uint32_t i = 0; token != 0 && i < fsm->store_count; i++)
        if (fsm->stores[i].token == token)
            return &fsm->stores[i];
    return NULL;
}

static struct pd_store *store_add(struct pd_fsm *fsm, store_id id)
{
    uint32_t position = store_position(fsm, id);
    if (fsm->store_count == fsm->store_capacity) {
        fsm->store_capacity = fsm->store_capacity ? 2 * fsm->store_capacity : 8;
        fsm->stores = realloc(fsm->stores, fsm->store_capacity * sizeof(*fsm->stores));
        CHECK(fsm->stores);
    }
    struct pd_store *store = &fsm->stores[position];
    memmove(store + 1, store, (fsm->store_count - position) * sizeof(*store));
    fsm->store_count++;
    *store = (struct pd_store){.id = id};
    return store;
}

static char *text_copy(struct bytes text)
{
    char *copy = malloc(text.size + 1);
    CHECK(copy);
    if (text.size)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    return copy;
}

static void store_assign(struct pd_store *store, const struct wire_store *wire)
{
    store_fini(store);
    store->address = text_copy(wire->address);
    store->status_address = text_copy(wire->status_address);
    store->version = text_copy(wire->version);
    store->started_at_ms = wire->started_at_ms;
    store->capacity_size = wire->capacity_size;
}

/* ---- members */

static uint32_t member_position(const struct pd_fsm *fsm, uint64_t id)
{
    uint32_t position = 0;
    while (position < fsm->member_count && fsm->members[position].id < id)
        position++;
    return position;
}

const struct pd_member *pd_fsm_find_member(const struct pd_fsm *fsm, uint64_t id)
{
    uint32_t position = member_position(fsm, id);
    return position < fsm->member_count && fsm->members[position].id == id ? &fsm->members[position] : NULL;
}

static bool member_is_sane(const struct wire_pd_member *member)
{
    return member && member->id != 0 && member->id < NEXT_ID_MAX && member->name.size > 0 &&
           member->name.size <= PD_FSM_TEXT_SIZE_MAX && member->address.size > 0 &&
           member->address.size <= PD_FSM_TEXT_SIZE_MAX;
}

static void member_insert(struct pd_fsm *fsm, const struct wire_pd_member *wire)
{
    uint32_t position = member_position(fsm, wire->id);
    CHECK(fsm->member_count < PD_FSM_MEMBERS_MAX);
    struct pd_member *member = &fsm->members[position];
    memmove(member + 1, member, (fsm->member_count - position) * sizeof(*member));
    fsm->member_count++;
    *member = (struct pd_member){.id = wire->id,
                                 .name = text_copy(wire->name),
                                 .address = text_copy(wire->address),
                                 .learner = wire->learner};
    if (wire->id >= fsm->next_member_id)
        fsm->next_member_id = wire->id + 1;
}

static void rows_put_member(const struct rows *rows, const struct pd_member *member)
{
    struct wire_pd_member wire = {.id = member->id,
                                  .name = bytes_of_string(member->name),
                                  .address = bytes_of_string(member->address),
                                  .learner = member->learner};
    CHECK(wire_encode_pd_member(&wire, &rows->fsm->row) == ERR_OK);
    rows_put_table(rows, row_key('p', member->id), buf_bytes(&rows->fsm->row), &rows->fsm->command_arena);
}

static void rows_put_next_member(const struct rows *rows)
{
    rows_put_number(rows, row_key_single('n'), rows->fsm->next_member_id);
}

void pd_fsm_found_member(struct pd_fsm *fsm, const struct wire_pd_member *member, struct engine *engine,
                         struct engine_batch *batch)
{
    struct rows rows = {.fsm = fsm, .engine = engine, .batch = batch};
    member_insert(fsm, member);
    rows_put_member(&rows, pd_fsm_find_member(fsm, member->id));
    rows_put_next_member(&rows);
}

static enum err check_new_member(const struct pd_fsm *fsm, const struct wire_pd_member *member)
{
    if (!member_is_sane(member))
        return ERR_CORRUPT;
    if (member->id < fsm->next_member_id)
        return ERR_INVALID;
    for (uint32_t i = 0; i < fsm->member_count; i++)
        if (bytes_equal(bytes_of_string(fsm->members[i].name), member->name) ||
            bytes_equal(bytes_of_string(fsm->members[i].address), member->address))
            return ERR_EXISTS;
    return fsm->member_count < PD_FSM_MEMBERS_MAX ? ERR_OK : ERR_INVALID;
}

static void drop_members_not_in(const struct rows *rows, const struct raft_conf *conf)
{
    struct pd_fsm *fsm = rows->fsm;
    for (uint32_t i = fsm->member_count; i-- > 0;) {
        struct pd_member *member = &fsm->members[i];
        if (raft_conf_member(conf, member->id))
            continue;
        struct row_key key = row_key('p', member->id);
        engine_batch_delete(rows->engine, rows->batch, fsm->cf, bytes_of(key.data, key.size));
        member_fini(member);
        memmove(member, member + 1, (fsm->member_count - i - 1) * sizeof(*member));
        fsm->member_count--;
    }
}

static enum err change_members(const struct rows *rows, const struct raft_conf *conf, struct bytes context)
{
    struct pd_fsm *fsm = rows->fsm;
    struct wire_pd_command command = {0};
    for (uint32_t i = 0; i < conf->count; i++) {
        if (pd_fsm_find_member(fsm, conf->members[i].id))
            continue;
        if (command.member || wire_decode_pd_command(context, &fsm->command_arena, &command) != ERR_OK ||
            !command.member || command.member->id != conf->members[i].id)
            return ERR_CORRUPT;
        enum err code = check_new_member(fsm, command.member);
        if (code != ERR_OK)
            return code;
    }
    if (command.member) {
        member_insert(fsm, command.member);
        rows_put_next_member(rows);
    }
    drop_members_not_in(rows, conf);
    for (uint32_t i = 0; i < fsm->member_count; i++) {
        struct pd_member *member = &fsm->members[i];
        member->learner = !(raft_conf_member(conf, member->id)->roles & RAFT_VOTER);
        rows_put_member(rows, member);
    }
    return ERR_OK;
}

enum err pd_fsm_change_members(struct pd_fsm *fsm, const struct raft_conf *conf, struct bytes context,
                               struct engine *engine, struct engine_batch *batch)
{
    struct rows rows = {.fsm = fsm, .engine = engine, .batch = batch};
    enum err code = change_members(&rows, conf, context);
    arena_reset(&fsm->command_arena);
    return code;
}

static bool store_is_sane(const struct wire_store *store)
{
    return store && store->id != 0 && store->address.size <= PD_FSM_TEXT_SIZE_MAX &&
           store->status_address.size <= PD_FSM_TEXT_SIZE_MAX && store->version.size <= PD_FSM_TEXT_SIZE_MAX;
}

/* ---- commands */

static enum err apply_set_cluster(const struct rows *rows, const struct wire_pd_command *command)
{
    struct pd_fsm *fsm = rows->fsm;
    if (command->cluster_id == 0)
        return ERR_CORRUPT;
    if (fsm->cluster_id != 0)
        return fsm->cluster_id == command->cluster_id ? ERR_OK : ERR_CLUSTER_NOT_MATCH;
    fsm->cluster_id = command->cluster_id;
    rows_put_cluster(rows);
    return ERR_OK;
}

static enum err apply_put_store(const struct rows *rows, const struct wire_pd_command *command,
                                struct pd_fsm_result *result)
{
    struct pd_fsm *fsm = rows->fsm;
    if (!store_is_sane(command->store))
        return ERR_CORRUPT;
    uint64_t id = command->store->id;
    const struct pd_store *known = pd_fsm_find_store_token(fsm, command->token);
    if (known && known->id != id) {
        result->store_id = known->id;
        return ERR_EXISTS;
    }
    struct pd_store *store = (struct pd_store *)pd_fsm_find_store(fsm, id);
    if (!store) {
        if (id >= fsm->next_id || fsm->store_count >= STORE_COUNT_MAX)
            return ERR_INVALID;
        store = store_add(fsm, id);
        /* A token counts only when it makes a store, so there are never more tokens than stores. */
        store->token = command->token;
        if (store->token != 0)
            rows_put_number(rows, row_key('k', store->token), id);
    }
    store_assign(store, command->store);
    rows_put_store(rows, store);
    result->store_id = id;
    return ERR_OK;
}

static void delete_replaced(void *context, region_id id)
{
    const struct rows *rows = context;
    struct row_key key = row_key('g', id);
    engine_batch_delete(rows->engine, rows->batch, rows->fsm->cf, bytes_of(key.data, key.size));
}

static void forget_regions(const struct rows *rows)
{
    struct row_key first = row_key_single('g'), behind = row_key_single('g' + 1);
    engine_batch_delete_range(rows->engine, rows->batch, rows->fsm->cf, bytes_of(first.data, first.size),
                              bytes_of(behind.data, behind.size));
    region_tree_reset(rows->fsm->regions);
}

static bool region_is_sane(const struct pd_fsm *fsm, const struct wire_region *region)
{
    if (!region || region_check_wire(region, NULL) != ERR_OK || region->id >= fsm->next_id)
        return false;
    for (uint32_t i = 0; i < region->peers_count; i++)
        if (region->peers[i].id >= fsm->next_id)
            return false;
    return true;
}

static bool regions_are_sane(const struct pd_fsm *fsm, const struct wire_pd_command *command)
{
    for (uint32_t i = 0; i < command->regions_count; i++)
        if (!region_is_sane(fsm, command->regions[i].region))
            return false;
    return command->regions_count > 0;
}

/* As the tree has it: of one epoch it keeps what came first, whoever its peers are said to be later. */
static void put_row_of(const struct rows *rows, region_id id)
{
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    struct wire_region region;
    region_node_wire(region_tree_find_id(rows->fsm->regions, id), peers, &region);
    rows_put_region(rows, &region);
}

static enum err apply_put_regions(const struct rows *rows, const struct wire_pd_command *command,
                                  struct pd_fsm_result *result)
{
    struct pd_fsm *fsm = rows->fsm;
    if (!regions_are_sane(fsm, command))
        return ERR_CORRUPT;
    if (fsm->bootstrapped && command->bootstrapped)
        return ERR_EXISTS;
    if (!fsm->bootstrapped && command->regions[0].region->start_key.size == 0 && region_tree_count(fsm->regions) > 0)
        forget_regions(rows);
    for (uint32_t i = 0; i < command->regions_count; i++) {
        const struct wire_region *region = command->regions[i].region;
        if (region_tree_insert(fsm->regions, region, delete_replaced, (void *)rows) == ERR_OK)
            put_row_of(rows, region->id);
        else
            result->refused_count++;
    }
    if (!command->bootstrapped)
        return ERR_OK;
    struct bytes start, end;
    if (region_tree_gap(fsm->regions, bytes_empty(), &start, &end))
        return ERR_CONDITION_FAILED;
    fsm->bootstrapped = true;
    rows_put_cluster(rows);
    return ERR_OK;
}

static enum err apply_alloc_ids(const struct rows *rows, const struct wire_pd_command *command,
                                struct pd_fsm_result *result)
{
    struct pd_fsm *fsm = rows->fsm;
    if (command->count == 0 || fsm->next_id + command->count > NEXT_ID_MAX)
        return ERR_INVALID;
    result->first_id = fsm->next_id;
    fsm->next_id += command->count;
    if (!BUG(id_twice))
        rows_put_number(rows, row_key_single('i'), fsm->next_id);
    return ERR_OK;
}

static enum err apply_timestamp_window(const struct rows *rows, const struct wire_pd_command *command)
{
    struct pd_fsm *fsm = rows->fsm;
    if (command->timestamp_limit > TSO_PHYSICAL_MS_MAX)
        return ERR_CORRUPT;
    if (command->timestamp_limit <= fsm->timestamp_limit_ms)
        return ERR_OK;
    fsm->timestamp_limit_ms = command->timestamp_limit;
    if (!BUG(tso_goes_back))
        rows_put_number(rows, row_key_single('t'), fsm->timestamp_limit_ms);
    return ERR_OK;
}

static enum err apply_put_setting(const struct rows *rows, const struct wire_pd_command *command)
{
    enum err code = pd_settings_put(&rows->fsm->settings, command->name, command->value);
    if (code != ERR_OK)
        return code;
    uint8_t key[1 + PD_SETTING_NAME_MAX] = {'o'};
    struct bytes row_key = bytes_of(key, 1 + command->name.size);
    memcpy(key + 1, command->name.data, command->name.size);
    if (command->value.size == 0) {
        engine_batch_delete(rows->engine, rows->batch, rows->fsm->cf, row_key);
        return ERR_OK;
    }
    uint8_t *value = arena_alloc(&rows->fsm->command_arena, ROW_HEAD_SIZE + command->value.size);
    value[0] = ROW_FORMAT;
    memcpy(value + ROW_HEAD_SIZE, command->value.data, command->value.size);
    engine_batch_put(rows->engine, rows->batch, rows->fsm->cf, row_key,
                     bytes_of(value, ROW_HEAD_SIZE + command->value.size));
    return ERR_OK;
}

static void delete_row(const struct rows *rows, struct row_key key)
{
    engine_batch_delete(rows->engine, rows->batch, rows->fsm->cf, bytes_of(key.data, key.size));
}

/* Its token goes, too: who comes with it later is a new store. */
static enum err apply_remove_store(const struct rows *rows, const struct wire_pd_command *command)
{
    struct pd_fsm *fsm = rows->fsm;
    if (!store_is_sane(command->store))
        return ERR_CORRUPT;
    uint64_t id = command->store->id;
    uint32_t position = store_position(fsm, id);
    if (!pd_fsm_find_store(fsm, id))
        return ERR_NOT_FOUND;
    if (region_tree_sums(fsm->regions, id).count > 0)
        return ERR_CONDITION_FAILED;
    if (fsm->stores[position].token != 0)
        delete_row(rows, row_key('k', fsm->stores[position].token));
    delete_row(rows, row_key('s', id));
    store_fini(&fsm->stores[position]);
    fsm->store_count--;
    memmove(&fsm->stores[position], &fsm->stores[position + 1],
            (fsm->store_count - position) * sizeof(*fsm->stores));
    return ERR_OK;
}

static enum err apply_command(const struct rows *rows, const struct wire_pd_command *command,
                              struct pd_fsm_result *result)
{
    switch (command->kind) {
    case WIRE_PD_COMMAND_KIND_NONE:
        return ERR_OK;
    case WIRE_PD_COMMAND_KIND_SET_CLUSTER:
        return apply_set_cluster(rows, command);
    case WIRE_PD_COMMAND_KIND_PUT_STORE:
        result->placement = true;
        return apply_put_store(rows, command, result);
    case WIRE_PD_COMMAND_KIND_PUT_REGIONS:
        return apply_put_regions(rows, command, result);
    case WIRE_PD_COMMAND_KIND_ALLOC_IDS:
        return apply_alloc_ids(rows, command, result);
    case WIRE_PD_COMMAND_KIND_TIMESTAMP_WINDOW:
        return apply_timestamp_window(rows, command);
    case WIRE_PD_COMMAND_KIND_PUT_SETTING:
        result->placement = true;
        return apply_put_setting(rows, command);
    case WIRE_PD_COMMAND_KIND_REMOVE_STORE:
        result->placement = true;
        return apply_remove_store(rows, command);
    default:
        return ERR_UNSUPPORTED;
    }
}

void pd_fsm_apply(struct pd_fsm *fsm, struct bytes command, struct engine *engine, struct engine_batch *batch,
                  struct pd_fsm_result *ret_result)
{
    struct rows rows = {.fsm = fsm, .engine = engine, .batch = batch};
    struct wire_pd_command decoded;
    *ret_result = (struct pd_fsm_result){.code = ERR_CORRUPT};
    if (wire_decode_pd_command(command, &fsm->command_arena, &decoded) == ERR_OK)
        ret_result->code = apply_command(&rows, &decoded, ret_result);
    arena_reset(&fsm->command_arena);
}

void pd_fsm_set_applied(struct pd_fsm *fsm, raft_index index, raft_term term)
{
    fsm->applied_index = index;
    fsm->applied_term = term;
}

void pd_fsm_put_applied(struct pd_fsm *fsm, struct engine *engine, struct engine_batch *batch)
{
    struct rows rows = {.fsm = fsm, .engine = engine, .batch = batch};
    uint8_t value[17] = {ROW_FORMAT};
    store_u64_be(value + 1, fsm->applied_index);
    store_u64_be(value + 9, fsm->applied_term);
    rows_put(&rows, row_key_single('a'), bytes_of(value, sizeof(value)));
}

/* ---- loading */

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
    if (wire_decode_store(table, &load->fsm->command_arena, &wire) != ERR_OK || !store_is_sane(&wire) ||
        wire.id != load_u64_be(load->key.data + 1))
        return load_corrupt(load, "not a store");
    struct pd_store *store = (struct pd_store *)pd_fsm_find_store(load->fsm, wire.id);
    if (!store && load->fsm->store_count >= STORE_COUNT_MAX)
        return load_corrupt(load, "one store too many");
    if (!store)
        store = store_add(load->fsm, wire.id);
    store_assign(store, &wire);
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
    store_add(load->fsm, id)->token = load_u64_be(load->key.data + 1);
    return ERR_OK;
}

static enum err load_member(const struct load *load)
{
    struct bytes table;
    enum err code = load_table(load, &table);
    if (code != ERR_OK)
        return code;
    struct wire_pd_member wire;
    if (wire_decode_pd_member(table, &load->fsm->command_arena, &wire) != ERR_OK || !member_is_sane(&wire) ||
        wire.id != load_u64_be(load->key.data + 1) || load->fsm->member_count == PD_FSM_MEMBERS_MAX)
        return load_corrupt(load, "not a member");
    member_insert(load->fsm, &wire);
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

/* ---- reading */

raft_index pd_fsm_applied_index(const struct pd_fsm *fsm)
{
    return fsm->applied_index;
}

raft_term pd_fsm_applied_term(const struct pd_fsm *fsm)
{
    return fsm->applied_term;
}

uint64_t pd_fsm_cluster_id(const struct pd_fsm *fsm)
{
    return fsm->cluster_id;
}

bool pd_fsm_bootstrapped(const struct pd_fsm *fsm)
{
    return fsm->bootstrapped;
}

uint64_t pd_fsm_next_id(const struct pd_fsm *fsm)
{
    return fsm->next_id;
}

uint64_t pd_fsm_timestamp_limit_ms(const struct pd_fsm *fsm)
{
    return fsm->timestamp_limit_ms;
}

const struct pd_settings *pd_fsm_settings(const struct pd_fsm *fsm)
{
    return &fsm->settings;
}

struct region_tree *pd_fsm_regions(const struct pd_fsm *fsm)
{
    return fsm->regions;
}

uint32_t pd_fsm_member_count(const struct pd_fsm *fsm)
{
    return fsm->member_count;
}

const struct pd_member *pd_fsm_member_at(const struct pd_fsm *fsm, uint32_t position)
{
    CHECK(position < fsm->member_count);
    return &fsm->members[position];
}

uint64_t pd_fsm_next_member_id(const struct pd_fsm *fsm)
{
    return fsm->next_member_id;
}

uint32_t pd_fsm_store_count(const struct pd_fsm *fsm)
{
    return fsm->store_count;
}

const struct pd_store *pd_fsm_store_at(const struct pd_fsm *fsm, uint32_t position)
{
    CHECK(position < fsm->store_count);
    return &fsm->stores[position];
}

static void digest_number(XXH3_state_t *state, uint64_t number)
{
    uint8_t bytes[8];
    store_u64_be(bytes, number);
    XXH3_64bits_update(state, bytes, sizeof(bytes));
}

static void digest_bytes(XXH3_state_t *state, struct bytes bytes)
{
    digest_number(state, bytes.size);
    XXH3_64bits_update(state, bytes.data, bytes.size);
}

static void digest_store(XXH3_state_t *state, const struct pd_store *store)
{
    digest_number(state, store->id);
    digest_number(state, store->token);
    digest_bytes(state, bytes_of_string(store->address));
    digest_bytes(state, bytes_of_string(store->status_address));
    digest_bytes(state, bytes_of_string(store->version));
    digest_number(state, store->started_at_ms);
    digest_number(state, store->capacity_size);
}

static void digest_member(XXH3_state_t *state, const struct pd_member *member)
{
    digest_number(state, member->id);
    digest_bytes(state, bytes_of_string(member->name));
    digest_bytes(state, bytes_of_string(member->address));
    digest_number(state, member->learner);
}

static void digest_region(XXH3_state_t *state, const struct region_node *node)
{
    struct wire_peer peers[REGION_PEER_COUNT_MAX];
    struct wire_region region;
    region_node_wire(node, peers, &region);
    digest_number(state, region.id);
    digest_bytes(state, region.start_key);
    digest_bytes(state, region.end_key);
    digest_number(state, region.epoch_conf);
    digest_number(state, region.epoch_version);
    for (uint32_t i = 0; i < region.peers_count; i++) {
        digest_number(state, peers[i].id);
        digest_number(state, peers[i].store_id);
        digest_number(state, peers[i].role);
    }
}

uint64_t pd_fsm_digest(const struct pd_fsm *fsm)
{
    XXH3_state_t *state = XXH3_createState();
    CHECK(state);
    XXH3_64bits_reset(state);
    digest_number(state, fsm->cluster_id);
    digest_number(state, fsm->bootstrapped);
    digest_number(state, fsm->next_id);
    digest_number(state, fsm->timestamp_limit_ms);
    digest_number(state, fsm->next_member_id);
    for (uint32_t i = 0; i < fsm->member_count; i++)
        digest_member(state, &fsm->members[i]);
    for (uint32_t i = 0; i < fsm->store_count; i++)
        digest_store(state, &fsm->stores[i]);
    for (struct region_node *node = region_tree_seek(fsm->regions, bytes_empty()); node;
         node = region_tree_next(fsm->regions, node))
        digest_region(state, node);
    for (uint32_t i = 0; i < fsm->settings.count; i++) {
        digest_bytes(state, fsm->settings.list[i].name);
        digest_bytes(state, fsm->settings.list[i].value);
    }
    uint64_t digest = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return digest;
}

void pd_fsm_check(const struct pd_fsm *fsm)
{
    region_tree_check(fsm->regions);
    for (uint32_t i = 0; i < fsm->store_count; i++) {
        CHECK(fsm->stores[i].id < fsm->next_id);
        CHECK(i == 0 || fsm->stores[i - 1].id < fsm->stores[i].id);
    }
    CHECK(!fsm->bootstrapped || region_tree_count(fsm->regions) > 0);
    for (uint32_t i = 0; i < fsm->member_count; i++)
        CHECK(fsm->members[i].id < fsm->next_member_id && (i == 0 || fsm->members[i - 1].id < fsm->members[i].id));
}
