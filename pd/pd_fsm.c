#include "pd/pd_fsm_parts.h"

#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "pd/id_alloc.h"
#include "pd/tso.h"

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

struct pd_store *fsm_store_add(struct pd_fsm *fsm, store_id id)
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

void fsm_store_assign(struct pd_store *store, const struct wire_store *wire)
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

bool fsm_member_is_sane(const struct wire_pd_member *member)
{
    return member && member->id != 0 && member->id < NEXT_ID_MAX && member->name.size > 0 &&
           member->name.size <= PD_FSM_TEXT_SIZE_MAX && member->address.size > 0 &&
           member->address.size <= PD_FSM_TEXT_SIZE_MAX;
}

void fsm_member_insert(struct pd_fsm *fsm, const struct wire_pd_member *wire)
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
    fsm_member_insert(fsm, member);
    rows_put_member(&rows, pd_fsm_find_member(fsm, member->id));
    rows_put_next_member(&rows);
}

static enum err check_new_member(const struct pd_fsm *fsm, const struct wire_pd_member *member)
{
    if (!fsm_member_is_sane(member))
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
        fsm_member_insert(fsm, command.member);
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

bool fsm_store_is_sane(const struct wire_store *store)
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
    if (!fsm_store_is_sane(command->store))
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
        store = fsm_store_add(fsm, id);
        /* A token counts only when it makes a store, so there are never more tokens than stores. */
        store->token = command->token;
        if (store->token != 0)
            rows_put_number(rows, row_key('k', store->token), id);
    }
    fsm_store_assign(store, command->store);
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
    if (!fsm_store_is_sane(command->store))
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
