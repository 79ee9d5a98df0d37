#include "store_inspect.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "group/group_log.h"
#include "meta/keyspace.h"
#include "storenode/pd_link.h"
#include "storenode/region_fsm.h"
#include "storenode/region_row.h"
#include "storenode/row.h"
#include "storenode/snapshot_stage.h"
#include "storenode/store_keys.h"
#include "storenode/tokens.h"

enum { TEXT_SIZE = 900, KEY_TEXT_SIZE = 4 * 48 + 8, PLAIN_KEY_SIZE = 10, INDEXED_KEY_SIZE = 18 };

void inspect_found(struct inspect *inspect, bool is_warning, const char *format, ...)
{
    char text[TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (is_warning)
        inspect->totals.warning_count++;
    else
        inspect->totals.finding_count++;
    if (inspect->found)
        inspect->found(inspect->context, is_warning, text);
}

static void note_row(struct inspect *inspect, struct engine_iter *iter)
{
    inspect->totals.row_count++;
    inspect->totals.size += engine_iter_key(inspect->engine, iter).size + engine_iter_value(inspect->engine, iter).size;
    if (inspect->progress && inspect->totals.row_count % 256 == 0)
        inspect->progress(inspect->context, &inspect->totals);
}

/* Long keys are cut: it is to be recognised, not to be copied. */
static const char *key_text(struct bytes key, char text[KEY_TEXT_SIZE])
{
    size_t at = 0;
    for (size_t i = 0; i < key.size && i < 48; i++) {
        uint8_t c = key.data[i];
        bool plain = c >= ' ' && c <= '~' && c != '\\';
        at += (size_t)snprintf(text + at, KEY_TEXT_SIZE - at, plain ? "%c" : "\\x%02x", c);
    }
    if (key.size > 48)
        snprintf(text + at, KEY_TEXT_SIZE - at, "...");
    else
        text[at] = '\0';
    return text;
}

/* ---- one group */

static bool end_walk(struct inspect *inspect, struct engine_iter *iter, const char *what)
{
    struct error err;
    if (engine_iter_error(inspect->engine, iter, &err) == ERR_OK)
        return true;
    inspect_found(inspect, false, "%s: rows cannot be read: %s", what, err.text);
    return false;
}

static bool is_conf_of_region(const struct raft_conf *conf, const struct region *region)
{
    if (conf->count != region->peer_count)
        return false;
    for (uint32_t i = 0; i < conf->count; i++)
        if (!region_peer_by_id(region, conf->members[i].id))
            return false;
    return true;
}

static void parse_region(struct inspect *inspect, region_id id, struct bytes value, struct region **ret_region,
                         peer_id *ret_local_peer, bool *ret_is_tombstone)
{
    struct arena arena;
    struct wire_region_state state;
    struct region *region = NULL;
    arena_init(&arena);
    enum err code = region_row_decode(value, &arena, &state);
    if (code == ERR_OK)
        code = state.region ? region_from_wire(state.region, &region) : ERR_INVALID;
    if (code != ERR_OK) {
        inspect_found(inspect, false, "region %" PRIu64 ": the region's row cannot be read", id);
    } else {
        const struct region_peer *local = region_peer_by_id(region, state.local_peer_id);
        if (region->id != id)
            inspect_found(inspect, false, "region %" PRIu64 ": its row says that it is region %" PRIu64, id,
                          region->id);
        if (!local)
            inspect_found(inspect, false, "region %" PRIu64 ": the local peer %" PRIu64 " is none of its peers", id,
                          state.local_peer_id);
        else if (inspect->store != 0 && local->store_id != inspect->store)
            inspect_found(inspect, false,
                          "region %" PRIu64 ": the local peer %" PRIu64 " belongs to store %" PRIu64
                          ", this is store %" PRIu64,
                          id, local->id, local->store_id, inspect->store);
        *ret_region = region;
        *ret_local_peer = state.local_peer_id;
        *ret_is_tombstone = state.tombstone;
    }
    arena_fini(&arena);
}

static void check_payload(struct inspect *inspect, uint64_t id, const struct raft_entry *entry, struct arena *arena)
{
    enum err code = ERR_OK;
    struct raft_conf_change change;
    struct wire_log_command command;
    if (entry->kind == RAFT_ENTRY_CONF_CHANGE || entry->kind == RAFT_ENTRY_CONF_CHANGE_V2)
        code = raft_conf_change_decode(entry, &change);
    else if (entry->kind != RAFT_ENTRY_NORMAL)
        code = ERR_VERSION;
    else if (entry->data.size > 0)
        code = wire_decode_log_command(entry->data, arena, &command);
    arena_reset(arena);
    if (code != ERR_OK)
        inspect_found(inspect, false, "region %" PRIu64 ": log entry %" PRIu64 ": the payload cannot be decoded", id,
                      entry->index);
}

static void take_entry(struct inspect *inspect, struct inspect_group *group, struct bytes key, struct bytes value,
                       struct arena *arena)
{
    raft_index index = load_u64_be(key.data + 10);
    struct raft_entry entry = {0};
    struct error err;
    raft_index expected = group->log_count > 0   ? group->last_index + 1
                          : group->has_truncated ? group->truncated.index + 1
                                                 : index;
    if (index > expected)
        inspect_found(inspect, false, "region %" PRIu64 ": log entries %" PRIu64 "..%" PRIu64 " are missing", group->id,
                      expected, index - 1);
    else if (index < expected)
        inspect_found(inspect, true,
                      "region %" PRIu64 ": log entry %" PRIu64 " lies before the truncated edge %" PRIu64, group->id,
                      index, expected - 1);
    if (group_log_parse(group->id, key, value, index, &entry, &err) != ERR_OK) {
        inspect_found(inspect, false, "%s", err.text);
    } else {
        raft_term before = group->log_count > 0 ? group->last_term : group->truncated.term;
        if (entry.term < before || (group->has_hard && entry.term > group->hard.term))
            inspect_found(inspect, false,
                          "region %" PRIu64 ": log entry %" PRIu64 ": term %" PRIu64 " is impossible between %" PRIu64
                          " before it and %" PRIu64 " of the hard state",
                          group->id, index, entry.term, before, group->hard.term);
        if (group->has_applied && index == group->applied.index && entry.term != group->applied.term)
            inspect_found(inspect, false,
                          "region %" PRIu64 ": log entry %" PRIu64 " has term %" PRIu64
                          ", the apply state says %" PRIu64,
                          group->id, index, entry.term, group->applied.term);
        check_payload(inspect, group->id, &entry, arena);
        group->last_term = entry.term;
    }
    if (group->log_count == 0)
        group->first_index = index;
    group->last_index = index;
    group->log_count++;
    group->log_size += key.size + value.size;
    inspect->totals.log_count++;
}

static void take_row(struct inspect *inspect, struct inspect_group *group, struct bytes key, struct bytes value,
                     struct arena *arena)
{
    uint8_t suffix = key.size >= PLAIN_KEY_SIZE ? key.data[9] : 0;
    bool indexed = suffix == GROUP_APPLY_STATE || suffix == GROUP_LOG || suffix == STORE_TOKENS;
    char text[KEY_TEXT_SIZE];
    if (key.size != (indexed ? INDEXED_KEY_SIZE : PLAIN_KEY_SIZE)) {
        inspect_found(inspect, false, "region %" PRIu64 ": a row of column family raft with an unknown key: %s",
                      group->id, key_text(key, text));
        return;
    }
    switch (suffix) {
    case GROUP_HARD_STATE:
    case GROUP_APPLY_STATE:
    case GROUP_TRUNCATED_STATE:
    case GROUP_CONF:
    case STORE_TOKENS_EDGE:
        break; /* read by their loaders */
    case GROUP_LOG:
        take_entry(inspect, group, key, value, arena);
        break;
    case STORE_REGION_STATE:
        parse_region(inspect, group->id, value, &group->region, &group->local_peer, &group->is_tombstone);
        break;
    case STORE_TOKENS:
        group->client_count++;
        if (tokens_check_row(key, value) != ERR_OK)
            inspect_found(inspect, false, "region %" PRIu64 ": tokens of client %" PRIx64 ": bad checksum or content",
                          group->id, load_u64_be(key.data + 10));
        break;
    default:
        inspect_found(inspect, false, "region %" PRIu64 ": a row of column family raft with an unknown key: %s",
                      group->id, key_text(key, text));
    }
}

enum { MISSING_SIZE = 96 };

/* Appends `name` to the list of what is missing if it is. */
static bool loaded(struct inspect *inspect, enum err code, const struct error *err, const char *name,
                   char missing[MISSING_SIZE])
{
    size_t size = strlen(missing);
    if (code == ERR_NOT_FOUND)
        snprintf(missing + size, MISSING_SIZE - size, "%s%s", size ? ", " : "", name);
    else if (code != ERR_OK)
        inspect_found(inspect, false, "%s", err->text);
    return code == ERR_OK;
}

/* Of a snapshot that is to be installed. */
static void check_tables(struct inspect *inspect, region_id id, const struct snapshot_marker *marker)
{
    struct snapshot_tables tables = {.items = NULL};
    struct error err = {0};
    if (snapshot_stage_load_tables(inspect->engine, id, marker->table_count, &tables, &err) != ERR_OK)
        inspect_found(inspect, false, "%s", err.text);
    for (uint32_t i = 0; i < tables.count; i++)
        if (engine_tables_check(inspect->engine, tables.items[i].name, &err) != ERR_OK)
            inspect_found(inspect, false, "region %" PRIu64 ": a snapshot that must be installed: %s", id, err.text);
    snapshot_tables_fini(&tables);
}

/* The rows of which a group has one each. */
static void load_single_rows(struct inspect *inspect, struct inspect_group *group, char missing[MISSING_SIZE])
{
    struct engine *engine = inspect->engine;
    struct error err = {0};
    enum err code = group_log_load_hard(engine, group->id, &group->hard, &err);
    group->has_hard = loaded(inspect, code, &err, "hard state", missing);
    code = region_fsm_load_applied(engine, group->id, &group->applied.index, &group->applied.term, &err);
    group->has_applied = loaded(inspect, code, &err, "apply state", missing);
    struct snapshot_marker marker;
    if (snapshot_stage_load_marker(engine, group->id, &marker) == ERR_OK) {
        group->applied = marker.position; /* what it is as soon as the store starts */
        check_tables(inspect, group->id, &marker);
    }
    code = group_log_load_truncated(engine, group->id, &group->truncated, &err);
    group->has_truncated = loaded(inspect, code, &err, "truncated state", missing);
    code = group_log_load_conf(engine, group->id, &group->conf, &err);
    group->has_conf = loaded(inspect, code, &err, "membership", missing);
}

static void check_tokens(struct inspect *inspect, struct inspect_group *group)
{
    struct tokens *tokens = tokens_new(inspect->engine, group->id, GROUP_FIRST_INDEX);
    enum err code = tokens_load(tokens);
    group->tokens_index = tokens_saved_index(tokens);
    /* A peer that waits for its first snapshot: what counts as saved while nothing is does not count there. */
    if (group->has_applied && group->applied.index == 0 && group->tokens_index == GROUP_FIRST_INDEX)
        group->tokens_index = 0;
    if (code != ERR_OK) {
        inspect_found(inspect, false, "region %" PRIu64 ": the tokens cannot be loaded (%s)", group->id,
                      err_name(code));
    } else if (group->has_applied && group->tokens_index > group->applied.index) {
        inspect_found(inspect, false, "region %" PRIu64 ": tokens are saved as of %" PRIu64 ", but applied is %" PRIu64,
                      group->id, group->tokens_index, group->applied.index);
    } else if (group->has_truncated && group->truncated.index > group->tokens_index) {
        inspect_found(inspect, false,
                      "region %" PRIu64 ": the log begins after %" PRIu64 ", but tokens are saved as of %" PRIu64
                      " only",
                      group->id, group->truncated.index, group->tokens_index);
    }
    tokens_free(tokens);
}

static void check_positions(struct inspect *inspect, const struct inspect_group *group)
{
    raft_index last = group->log_count > 0 ? group->last_index : group->truncated.index;
    if (group->has_truncated && group->has_applied && group->truncated.index > group->applied.index)
        inspect_found(inspect, false, "region %" PRIu64 ": applied %" PRIu64 " is before the truncated edge %" PRIu64,
                      group->id, group->applied.index, group->truncated.index);
    if (group->has_truncated && group->has_applied && group->applied.index > last)
        inspect_found(inspect, false, "region %" PRIu64 ": applied %" PRIu64 " is after the end of the log, %" PRIu64,
                      group->id, group->applied.index, last);
    if (group->has_truncated && group->has_hard && group->hard.commit > last)
        inspect_found(inspect, false, "region %" PRIu64 ": committed %" PRIu64 " is after the end of the log, %" PRIu64,
                      group->id, group->hard.commit, last);
    if (group->has_truncated && group->has_applied && group->applied.index == group->truncated.index &&
        group->applied.term != group->truncated.term)
        inspect_found(inspect, false,
                      "region %" PRIu64 ": apply state and truncated state disagree about the term of %" PRIu64,
                      group->id, group->applied.index);
    if (group->has_hard && ((group->has_applied && group->applied.term > group->hard.term) ||
                            (group->has_truncated && group->truncated.term > group->hard.term)))
        inspect_found(inspect, false, "region %" PRIu64 ": a term is above %" PRIu64 " of the hard state", group->id,
                      group->hard.term);
}

static void check_group(struct inspect *inspect, struct inspect_group *group, const char *missing, bool has_region_row)
{
    if (group->is_tombstone) {
        if (group->log_count > 0 || group->has_hard || group->has_truncated)
            inspect_found(inspect, true, "region %" PRIu64 ": rows of a replica that was removed", group->id);
        return;
    }
    if (missing[0])
        inspect_found(inspect, false, "region %" PRIu64 ": missing: %s", group->id, missing);
    if (!has_region_row)
        inspect_found(inspect, false, "region %" PRIu64 ": the region's row is missing", group->id);
    check_positions(inspect, group);
    check_tokens(inspect, group);
    if (group->has_conf && group->region && !is_conf_of_region(&group->conf, group->region))
        inspect_found(inspect, true, "region %" PRIu64 ": members of the group are not the peers of the region",
                      group->id);
}

bool inspect_group(struct inspect *inspect, region_id id, struct inspect_group *ret_group)
{
    struct group_key lower = group_key(id, 0), upper = group_key(id + 1, 0);
    struct bytes start = bytes_of(lower.data, PLAIN_KEY_SIZE - 1);
    struct bytes end = id == UINT64_MAX ? bytes_of("h", 1) : bytes_of(upper.data, PLAIN_KEY_SIZE - 1);
    struct engine_iter *iter = engine_iter_new(inspect->engine, ENGINE_RAFT, start, end);
    char missing[MISSING_SIZE] = "";
    char what[40];
    bool is_there = false, has_region_row = false, whole;
    struct arena arena;
    *ret_group = (struct inspect_group){.id = id};
    arena_init(&arena);
    for (engine_iter_seek(inspect->engine, iter, start); engine_iter_valid(inspect->engine, iter);
         engine_iter_next(inspect->engine, iter)) {
        if (!is_there)
            load_single_rows(inspect, ret_group, missing); /* the log is held against them */
        is_there = true;
        note_row(inspect, iter);
        struct bytes key = engine_iter_key(inspect->engine, iter);
        has_region_row |= key.size == PLAIN_KEY_SIZE && key.data[9] == STORE_REGION_STATE;
        take_row(inspect, ret_group, key, engine_iter_value(inspect->engine, iter), &arena);
    }
    snprintf(what, sizeof what, "region %" PRIu64, id);
    whole = end_walk(inspect, iter, what);
    engine_iter_free(inspect->engine, iter);
    arena_fini(&arena);
    if (is_there && whole) {
        inspect->totals.group_count++;
        check_group(inspect, ret_group, missing, has_region_row);
    } else if (is_there && !has_region_row) /* it lies behind what cannot be read */
        inspect_region(inspect, id, &ret_group->region, &ret_group->local_peer, &ret_group->is_tombstone);
    return is_there;
}

void inspect_group_fini(struct inspect_group *group)
{
    region_free(group->region);
    group->region = NULL;
}

uint64_t inspect_group_lag(const struct inspect_group *group)
{
    return group->last_index > group->applied.index ? group->last_index - group->applied.index : 0;
}

raft_index inspect_group_min_checkpoint(const struct inspect_group *group)
{
    raft_index edge = group->applied.index < group->tokens_index ? group->applied.index : group->tokens_index;
    return edge + 1;
}

/* ---- entries, for people */

void inspect_entries(struct inspect *inspect, const struct inspect_group *group, raft_index from, uint64_t limit,
                     void (*visit)(void *context, const struct raft_entry *entry), void *context)
{
    enum { PAGE_COUNT = 256, PAGE_SIZE = 4 * 1024 * 1024 };
    raft_index next = from > group->first_index ? from : group->first_index;
    uint64_t left = limit ? limit : UINT64_MAX;
    enum err code = ERR_OK;
    while (code == ERR_OK && left > 0 && next <= group->last_index) {
        struct group_log_run run;
        struct error err;
        group_log_run_init(&run);
        code = group_log_read(inspect->engine, group->id, next, (uint32_t)(left < PAGE_COUNT ? left : PAGE_COUNT),
                              PAGE_SIZE, &run, &err);
        for (uint32_t i = 0; i < run.count; i++, next++, left--)
            visit(context, &run.entries[i]);
        if (code != ERR_OK)
            inspect_found(inspect, false, "%s", err.text);
        else if (run.count == 0)
            code = ERR_NOT_FOUND;
        group_log_run_fini(&run);
    }
}

static const char *op_name(uint8_t op)
{
    switch (op) {
    case WIRE_KV_OP_PUT:
        return "put";
    case WIRE_KV_OP_DELETE_KEY:
        return "delete";
    case WIRE_KV_OP_CAS:
        return "cas";
    case WIRE_KV_OP_DELETE_RANGE:
        return "delete-range from";
    default:
        return "unknown";
    }
}

enum err inspect_writes(const struct raft_entry *entry, inspect_write *visit, void *context)
{
    struct arena arena;
    struct wire_log_command command;
    if (entry->kind != RAFT_ENTRY_NORMAL || entry->data.size == 0)
        return ERR_OK;
    arena_init(&arena);
    enum err code = wire_decode_log_command(entry->data, &arena, &command);
    for (uint32_t i = 0; code == ERR_OK && i < command.writes_count; i++) {
        const struct wire_log_write *write = &command.writes[i];
        if (write->op != WIRE_KV_OP_BATCH_WRITE)
            visit(context, op_name(write->op), write->key, write->value.size);
        for (uint32_t pair = 0; write->op == WIRE_KV_OP_BATCH_WRITE && pair < write->pairs_count; pair++)
            visit(context, write->pairs[pair].remove ? "delete" : "put", write->pairs[pair].key,
                  write->pairs[pair].value.size);
    }
    for (uint32_t i = 0; code == ERR_OK && i < command.splits_count; i++)
        visit(context, "split", command.splits[i].key, 0);
    arena_fini(&arena);
    return code;
}

/* ---- walking */

bool inspect_next_group(struct inspect *inspect, region_id from, region_id *ret_id)
{
    struct group_key lower = group_key(from, 0);
    struct bytes start = bytes_of(lower.data, PLAIN_KEY_SIZE - 1);
    struct engine_iter *iter = engine_iter_new(inspect->engine, ENGINE_RAFT, start, bytes_of("h", 1));
    bool found = false;
    for (engine_iter_seek(inspect->engine, iter, start); !found && engine_iter_valid(inspect->engine, iter);) {
        struct bytes key = engine_iter_key(inspect->engine, iter);
        if (key.size >= PLAIN_KEY_SIZE - 1) {
            *ret_id = load_u64_be(key.data + 1);
            found = true;
        } else {
            char text[KEY_TEXT_SIZE];
            inspect_found(inspect, false, "a row of column family raft with an unknown key: %s", key_text(key, text));
            engine_iter_next(inspect->engine, iter);
        }
    }
    if (!found)
        end_walk(inspect, iter, "looking for groups in column family raft");
    engine_iter_free(inspect->engine, iter);
    return found;
}

bool inspect_region(struct inspect *inspect, region_id id, struct region **ret_region, peer_id *ret_local_peer,
                    bool *ret_is_tombstone)
{
    struct group_key key = group_key(id, STORE_REGION_STATE);
    struct buf value;
    struct error err = {0};
    buf_init(&value, SIZE_MAX);
    *ret_region = NULL;
    enum err code = engine_get(inspect->engine, ENGINE_RAFT, group_key_bytes(&key), &value, &err);
    if (code == ERR_OK)
        parse_region(inspect, id, buf_bytes(&value), ret_region, ret_local_peer, ret_is_tombstone);
    else if (code != ERR_NOT_FOUND)
        inspect_found(inspect, false, "region %" PRIu64 ": %s", id, err.text);
    buf_fini(&value);
    return *ret_region != NULL;
}

/* ---- the user's rows */

static void check_user_row(struct inspect *inspect, struct bytes key, struct bytes row)
{
    char text[KEY_TEXT_SIZE];
    struct bytes value;
    uint64_t expiry_ms;
    if (key.size <= KEYSPACE_PREFIX_SIZE || key.data[0] != KEYSPACE_RAW ||
        key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE)
        inspect_found(inspect, false, "column family default: no key of ours: %s (%zu bytes)", key_text(key, text),
                      key.size);
    else if (row_parse(row, &value, &expiry_ms) != ERR_OK)
        inspect_found(inspect, false, "column family default: row %s: unknown format", key_text(key, text));
    else if (value.size > VALUE_SIZE_MAX)
        inspect_found(inspect, false, "column family default: row %s: a value of %zu bytes", key_text(key, text),
                      value.size);
}

struct row_walk {
    enum engine_cf cf;
    struct bytes start, end;
    struct buf edge; /* the last key that could be read; empty: none */
    uint64_t row_count, size;
};

static void take_user_row(struct inspect *inspect, struct engine_iter *iter, struct row_walk *walk)
{
    struct bytes key = engine_iter_key(inspect->engine, iter), value = engine_iter_value(inspect->engine, iter);
    note_row(inspect, iter);
    if (walk->cf == ENGINE_DEFAULT)
        check_user_row(inspect, key, value);
    walk->row_count++;
    walk->size += key.size + value.size;
    CHECK(buf_assign(&walk->edge, key) == ERR_OK);
}

/* From the end down to what cannot be read, or to `walk->edge`. Says which keys are between. */
static void take_rows_behind(struct inspect *inspect, struct row_walk *walk, const char *name, const char *why)
{
    struct engine *engine = inspect->engine;
    char from[KEY_TEXT_SIZE], to[KEY_TEXT_SIZE];
    struct bytes lower = walk->edge.size ? buf_bytes(&walk->edge) : walk->start;
    struct engine_iter *iter = engine_iter_new(engine, walk->cf, lower, walk->end);
    key_text(buf_bytes(&walk->edge), from);
    buf_reset(&walk->edge);
    for (engine_iter_seek_for_previous(engine, iter, walk->end); engine_iter_valid(engine, iter);
         engine_iter_previous(engine, iter))
        take_user_row(inspect, iter, walk);
    engine_iter_free(engine, iter);
    inspect_found(inspect, false, "column family %s: rows between \"%s\" and \"%s\" cannot be read: %s", name,
                  from[0] ? from : key_text(walk->start, from),
                  key_text(walk->edge.size ? buf_bytes(&walk->edge) : walk->end, to), why);
}

void inspect_rows(struct inspect *inspect, enum engine_cf cf, struct bytes start, struct bytes end,
                  uint64_t *ret_row_count, uint64_t *ret_size)
{
    static const char *const names[ENGINE_CF_COUNT] = {"default", "lock", "write", "raft"};
    struct row_walk walk = {.cf = cf, .start = start, .end = end};
    struct engine_iter *iter = engine_iter_new(inspect->engine, cf, start, end);
    struct error err;
    buf_init(&walk.edge, SIZE_MAX);
    for (engine_iter_seek(inspect->engine, iter, start); engine_iter_valid(inspect->engine, iter);
         engine_iter_next(inspect->engine, iter))
        take_user_row(inspect, iter, &walk);
    if (engine_iter_error(inspect->engine, iter, &err) != ERR_OK)
        take_rows_behind(inspect, &walk, names[cf], err.text);
    engine_iter_free(inspect->engine, iter);
    buf_fini(&walk.edge);
    *ret_row_count = walk.row_count;
    *ret_size = walk.size;
}

/* ---- everything */

enum err inspect_ident(struct inspect *inspect, struct wire_store_ident *ret_ident)
{
    struct error err = {0};
    *ret_ident = (struct wire_store_ident){0};
    enum err code = pd_link_load_ident(inspect->engine, ret_ident, &err);
    if (code == ERR_NOT_FOUND)
        inspect_found(inspect, false, "the store's identity is missing");
    else if (code != ERR_OK)
        inspect_found(inspect, false, "%s", err.text);
    else
        inspect->store = ret_ident->store_id;
    return code;
}

/* Rows that belong to no group: the role, the identity, and what should not be there. */
static void check_other_rows(struct inspect *inspect, struct bytes start, struct bytes end)
{
    struct engine *engine = inspect->engine;
    struct engine_iter *iter = engine_iter_new(engine, ENGINE_RAFT, start, end);
    char text[KEY_TEXT_SIZE];
    for (engine_iter_seek(engine, iter, start); engine_iter_valid(engine, iter); engine_iter_next(engine, iter)) {
        struct bytes key = engine_iter_key(engine, iter), value = engine_iter_value(engine, iter);
        note_row(inspect, iter);
        if (bytes_equal(key, bytes_of("p", 1))) {
            if (!bytes_equal(value, bytes_of("s", 1)))
                inspect_found(inspect, false, "the directory does not say that it is a storenode's");
        } else if (key.size > 0 && key.data[0] == 's') {
            if (snapshot_stage_check_row(key, value) != ERR_OK)
                inspect_found(inspect, false, "a row of a snapshot that came: bad checksum or key: %s",
                              key_text(key, text));
        } else if (!bytes_equal(key, bytes_of("i", 1)))
            inspect_found(inspect, false, "a row of column family raft with an unknown key: %s", key_text(key, text));
    }
    end_walk(inspect, iter, "column family raft, beside the groups");
    engine_iter_free(engine, iter);
}

struct cover {
    struct region **regions; /* owned, all of them */
    size_t count, capacity;
};

static void cover_take(struct cover *cover, struct region *take_region)
{
    if (cover->count == cover->capacity) {
        cover->capacity = cover->capacity ? 2 * cover->capacity : 64;
        cover->regions = realloc(cover->regions, cover->capacity * sizeof(struct region *));
        CHECK(cover->regions);
    }
    cover->regions[cover->count++] = take_region;
}

static int by_start(const void *left, const void *right)
{
    const struct region *a = *(struct region *const *)left, *b = *(struct region *const *)right;
    int order = bytes_compare(a->start_key, b->start_key);
    return order ? order : (a->id > b->id) - (a->id < b->id);
}

static void cover_group(struct inspect *inspect, struct cover *cover, region_id id)
{
    struct inspect_group group;
    inspect_group(inspect, id, &group);
    if (group.region && !group.is_tombstone) {
        cover_take(cover, group.region);
        group.region = NULL;
    }
    inspect_group_fini(&group);
}

/* The groups behind a damaged block, from the last one down to where it lies. */
static void check_groups_backwards(struct inspect *inspect, struct cover *cover, region_id least)
{
    struct bytes end = bytes_of("h", 1);
    struct group_key upper;
    for (;;) {
        struct engine_iter *iter = engine_iter_new(inspect->engine, ENGINE_RAFT, bytes_of("g", 1), end);
        engine_iter_seek_for_previous(inspect->engine, iter, end);
        region_id id = 0;
        bool found = engine_iter_valid(inspect->engine, iter);
        if (found) {
            struct bytes key = engine_iter_key(inspect->engine, iter);
            found = key.size >= PLAIN_KEY_SIZE - 1;
            id = found ? load_u64_be(key.data + 1) : 0;
        }
        engine_iter_free(inspect->engine, iter);
        if (!found || id < least)
            return;
        cover_group(inspect, cover, id);
        upper = group_key(id, 0);
        end = bytes_of(upper.data, PLAIN_KEY_SIZE - 1);
    }
}

static void check_groups(struct inspect *inspect, struct cover *cover)
{
    region_id id = 0;
    uint64_t findings;
    for (;;) {
        findings = inspect->totals.finding_count;
        if (!inspect_next_group(inspect, id, &id))
            break;
        cover_group(inspect, cover, id);
        if (id++ == UINT64_MAX)
            return;
    }
    if (inspect->totals.finding_count > findings)
        check_groups_backwards(inspect, cover, id);
}

static void check_gap(struct inspect *inspect, struct bytes start, struct bytes end)
{
    char from[KEY_TEXT_SIZE], to[KEY_TEXT_SIZE];
    uint64_t count, size;
    if (end.size > 0 && bytes_compare(start, end) >= 0)
        return;
    inspect_rows(inspect, ENGINE_DEFAULT, start, end, &count, &size);
    if (count > 0)
        inspect_found(inspect, true, "%" PRIu64 " rows from \"%s\" to \"%s\" belong to no known region of this store",
                      count, key_text(start, from), end.size ? key_text(end, to) : "(end)");
}

/* Region by region: what cannot be read in one is no reason not to look at the next. */
static void check_data(struct inspect *inspect, struct cover *cover)
{
    struct bytes at = bytes_empty();
    const struct region *before = NULL;
    uint64_t count, size;
    bool at_end = false;
    if (cover->count > 0)
        qsort(cover->regions, cover->count, sizeof(struct region *), by_start);
    for (size_t i = 0; i < cover->count; i++) {
        const struct region *region = cover->regions[i];
        if (before && (at_end || bytes_compare(region->start_key, at) < 0))
            inspect_found(inspect, false, "regions %" PRIu64 " and %" PRIu64 " overlap", before->id, region->id);
        else if (region->start_key.size > 0)
            check_gap(inspect, at, region->start_key);
        if (at_end)
            continue;
        /* What an overlap has twice is read once. */
        struct bytes start = before && bytes_compare(region->start_key, at) < 0 ? at : region->start_key;
        if (region->end_key.size > 0 && bytes_compare(start, region->end_key) >= 0)
            continue;
        inspect_rows(inspect, ENGINE_DEFAULT, start, region->end_key, &count, &size);
        at = region->end_key;
        at_end = region->end_key.size == 0;
        before = region;
    }
    if (!at_end)
        check_gap(inspect, at, bytes_empty());
}

void inspect_all(struct inspect *inspect)
{
    struct cover cover = {0};
    struct wire_store_ident ident;
    uint64_t count, size;
    inspect_ident(inspect, &ident);
    check_other_rows(inspect, bytes_empty(), bytes_of("g", 1));
    check_other_rows(inspect, bytes_of("h", 1), bytes_empty());
    check_groups(inspect, &cover);
    check_data(inspect, &cover);
    inspect_rows(inspect, ENGINE_LOCK, bytes_empty(), bytes_empty(), &count, &size);
    inspect_rows(inspect, ENGINE_WRITE, bytes_empty(), bytes_empty(), &count, &size);
    for (size_t i = 0; i < cover.count; i++)
        region_free(cover.regions[i]);
    free(cover.regions);
}
