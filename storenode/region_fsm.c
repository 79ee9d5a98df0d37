#include "region_fsm.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/log.h"
#include "env/clock.h"
#include "group/group.h"
#include "group/group_keys.h"
#include "group/group_log.h"
#include "meta/keyspace.h"
#include "storenode/key_range.h"
#include "storenode/region_merge.h"
#include "storenode/row.h"
#include "storenode/snapshot_cut.h"
#include "storenode/store_ranges.h"
#include "storenode/tokens.h"

enum { FORMAT = 1, FORMAT_TIMED = 2, APPLY_STATE_SIZE = 21, TIMED_SIZE = 37, BUSY_WAIT_MS = 20 };

struct region_fsm {
    struct env *env;
    struct store_ranges *ranges; /* borrowed; NULL: nobody asks */
    region_id id;
    peer_id local_peer;
    struct region *region;           /* owned */
    struct region_split *last_split; /* owned; NULL: none in this life */
    struct raft_conf *conf;          /* owned; NULL: as in the engine */
    struct tokens *tokens;           /* owned */
    raft_index applied_index;
    raft_term applied_term;
    struct region_time time;
    uint32_t save_interval;
    uint64_t unsaved_size;            /* bytes of entries applied since the last save of tokens, ... */
    uint64_t unsaved_size_max;        /* ... and how many make it time for the next */
    _Atomic raft_index written_index; /* applied and in the engine */
    _Atomic uint64_t written_now_ms, written_last_expiry_ms;
    _Atomic raft_index split_index;   /* of the newest split in the engine */
    _Atomic raft_index tokens_index;  /* tokens in the engine are as of here; 0: not known yet */
    bool removed;                     /* its peer is no member any more: what comes after that is not for it */
    bool damaged;                     /* a row cannot be read: this replica goes no further (peer_heal.h) */
    bool must_save_tokens;            /* an outcome that the log alone does not tell */
    bool parked;                      /* waits for the source of a merge */
    enum err failure;                 /* an entry was left half applied: nothing may follow it */
    struct error *damage;             /* owned; what could not be read; NULL: nothing yet */
    struct buf row, value;
};

static void publish_time(struct region_fsm *fsm, struct region_time time)
{
    atomic_store_explicit(&fsm->written_now_ms, time.now_ms, memory_order_release);
    atomic_store_explicit(&fsm->written_last_expiry_ms, time.last_expiry_ms, memory_order_release);
}

struct region_time region_fsm_time(const struct region_fsm *fsm)
{
    return (struct region_time){
        .now_ms = atomic_load_explicit(&fsm->written_now_ms, memory_order_acquire),
        .last_expiry_ms = atomic_load_explicit(&fsm->written_last_expiry_ms, memory_order_acquire)};
}

/* What was applied since the last save is read again before the first write after a restart (in 10,000 regions at once),
 * and the log is not cut before it. A save costs a sixty-fourth of what the log does, or less. */
static uint64_t next_save_size(uint64_t saved_size)
{
    enum { UNSAVED_SIZE_MIN = 16 * 1024, UNSAVED_SIZE_MAX = 8 * 1024 * 1024, SHARE = 64 };
    uint64_t size = UNSAVED_SIZE_MIN + SHARE * saved_size;
    return size < UNSAVED_SIZE_MAX ? size : UNSAVED_SIZE_MAX;
}

struct region_fsm *region_fsm_new(struct env *env, struct store_ranges *ranges, const struct region *region,
                                  peer_id local_peer, raft_index applied_index, raft_term applied_term, uint32_t save_interval)
{
    struct region_fsm *fsm = calloc(1, sizeof *fsm);
    CHECK(fsm);
    fsm->env = env;
    fsm->ranges = ranges;
    fsm->id = region->id;
    fsm->local_peer = local_peer;
    fsm->region = region_copy(region);
    fsm->removed = local_peer != 0 && !region_peer_by_id(region, local_peer);
    fsm->tokens = tokens_new(env->engine, region->id, GROUP_FIRST_INDEX);
    fsm->applied_index = applied_index;
    atomic_init(&fsm->written_index, applied_index);
    fsm->applied_term = applied_term;
    fsm->unsaved_size_max = next_save_size(0);
    fsm->save_interval = save_interval;
    (void)region_fsm_load_time(env->engine, region->id, &fsm->time); /* who loaded the rest found it sound */
    publish_time(fsm, fsm->time);
    buf_init(&fsm->row, ROW_HEADER_SIZE_MAX + VALUE_SIZE_MAX);
    buf_init(&fsm->value, ROW_HEADER_SIZE_MAX + VALUE_SIZE_MAX);
    return fsm;
}

raft_index region_fsm_applied(const struct region_fsm *fsm)
{
    return atomic_load_explicit(&fsm->written_index, memory_order_acquire);
}

raft_index region_fsm_split_index(const struct region_fsm *fsm)
{
    return atomic_load_explicit(&fsm->split_index, memory_order_acquire);
}

raft_index region_fsm_log_needed_after(const struct region_fsm *fsm)
{
    return atomic_load_explicit(&fsm->tokens_index, memory_order_acquire);
}

void region_fsm_free(struct region_fsm *fsm)
{
    if (!fsm)
        return;
    region_free(fsm->region);
    region_split_free(fsm->last_split);
    free(fsm->conf);
    tokens_free(fsm->tokens);
    free(fsm->damage);
    buf_fini(&fsm->row);
    buf_fini(&fsm->value);
    free(fsm);
}

/* ---- apply state
 *
 *   u8 format=1 | index u64 | term u64 | checksum u32                                          nothing here ever expired
 *   u8 format=2 | index u64 | term u64 | time u64 | last expiry u64 | checksum u32 */

struct apply_state {
    raft_index index;
    raft_term term;
    struct region_time time;
};

void region_fsm_put_applied(struct engine *engine, struct engine_batch *batch, region_id region, raft_index index,
                            raft_term term, const struct region_time *time)
{
    uint8_t value[TIMED_SIZE];
    bool timed = time && (time->now_ms != 0 || time->last_expiry_ms != 0);
    size_t size = timed ? TIMED_SIZE : APPLY_STATE_SIZE;
    value[0] = timed ? FORMAT_TIMED : FORMAT;
    store_u64_be(value + 1, index);
    store_u64_be(value + 9, term);
    if (timed) {
        store_u64_be(value + 17, time->now_ms);
        store_u64_be(value + 25, time->last_expiry_ms);
    }
    store_u32_be(value + size - 4, group_checksum(GROUP_APPLY_STATE, value, size - 4));
    struct group_key key = group_key_indexed(region, GROUP_APPLY_STATE, 0);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), bytes_of(value, size));
}

static bool parse_applied(struct bytes value, struct apply_state *ret_state)
{
    if (value.size == 0 || value.size != (value.data[0] == FORMAT_TIMED ? TIMED_SIZE : APPLY_STATE_SIZE) ||
        (value.data[0] != FORMAT && value.data[0] != FORMAT_TIMED) ||
        load_u32_be(value.data + value.size - 4) != group_checksum(GROUP_APPLY_STATE, value.data, value.size - 4))
        return false;
    *ret_state = (struct apply_state){.index = load_u64_be(value.data + 1), .term = load_u64_be(value.data + 9)};
    if (value.data[0] == FORMAT_TIMED)
        ret_state->time = (struct region_time){.now_ms = load_u64_be(value.data + 17),
                                               .last_expiry_ms = load_u64_be(value.data + 25)};
    return true;
}

static enum err load_applied(struct engine *engine, region_id region, struct apply_state *ret_state, struct error *err)
{
    struct group_key key = group_key_indexed(region, GROUP_APPLY_STATE, 0);
    struct buf value;
    buf_init(&value, 1024);
    enum err code = engine_get(engine, ENGINE_RAFT, group_key_bytes(&key), &value, err);
    if (code == ERR_ENTRY_TOO_LARGE || (code == ERR_OK && !parse_applied(buf_bytes(&value), ret_state)))
        code =
            error_set(err, ERR_CORRUPT, "region %llu: apply state: bad checksum or size", (unsigned long long)region);
    buf_fini(&value);
    return code;
}

enum err region_fsm_load_applied(struct engine *engine, region_id region, raft_index *ret_index, raft_term *ret_term,
                                 struct error *err)
{
    struct apply_state state = {0};
    enum err code = load_applied(engine, region, &state, err);
    if (code == ERR_OK) {
        *ret_index = state.index;
        *ret_term = state.term;
    }
    return code;
}

enum err region_fsm_load_time(struct engine *engine, region_id region, struct region_time *ret_time)
{
    struct apply_state state = {0};
    enum err code = load_applied(engine, region, &state, NULL);
    *ret_time = code == ERR_OK ? state.time : (struct region_time){0};
    return code;
}

static void note_damage(struct region_fsm *fsm, const char *text)
{
    if (!fsm->damage)
        fsm->damage = calloc(1, sizeof *fsm->damage);
    CHECK(fsm->damage);
    error_set(fsm->damage, ERR_CORRUPT, "%s", text);
}

/* ---- one write */

/* `ttl_ms` 0: for ever. */
static void put_row(struct region_fsm *fsm, struct engine_batch *batch, struct bytes key, struct bytes value,
                    uint64_t ttl_ms)
{
    uint64_t expiry_ms = ttl_ms > 0 ? fsm->time.now_ms + ttl_ms : 0;
    if (expiry_ms > fsm->time.last_expiry_ms)
        fsm->time.last_expiry_ms = expiry_ms;
    enum err code = row_make(&fsm->row, value, expiry_ms);
    CHECK(code == ERR_OK); /* sizes were checked */
    engine_batch_put(fsm->env->engine, batch, ENGINE_DEFAULT, key, buf_bytes(&fsm->row));
}

static enum err check_key(const struct region_fsm *fsm, struct bytes key, struct bytes value)
{
    if (key.size <= KEYSPACE_PREFIX_SIZE || key.data[0] != KEYSPACE_RAW)
        return ERR_INVALID;
    if (key.size > KEY_SIZE_MAX + KEYSPACE_PREFIX_SIZE)
        return ERR_KEY_TOO_LARGE;
    if (value.size > VALUE_SIZE_MAX)
        return ERR_ENTRY_TOO_LARGE;
    return region_contains(fsm->region, key) ? ERR_OK : ERR_KEY_NOT_IN_REGION;
}

/* The value as of now: what this round has written already is in the batch, everything else in the engine. */
static enum err read_now(struct region_fsm *fsm, struct apply_worker *worker, struct bytes key, bool *ret_present,
                         struct bytes *ret_value)
{
    struct engine *engine = fsm->env->engine;
    struct bytes row;
    enum err code = ERR_OK;
    if (!engine_batch_find(engine, apply_worker_batch(worker), ENGINE_DEFAULT, key, ret_present, &row)) {
        struct error error = {0};
        code = engine_get(engine, ENGINE_DEFAULT, key, &fsm->value, &error);
        if (code == ERR_CORRUPT)
            note_damage(fsm, error.text);
        *ret_present = code == ERR_OK;
        row = buf_bytes(&fsm->value);
    }
    uint64_t expiry_ms = 0, now_ms = BUG(cas_by_clock) ? clock_wall_ms(fsm->env->clock) : fsm->time.now_ms;
    if (code == ERR_OK && *ret_present)
        code = row_parse(row, ret_value, &expiry_ms);
    if (expiry_ms != 0 && expiry_ms <= now_ms)
        *ret_present = false;
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* `arena`: for the value that the answer tells; NULL: nobody waits for it. */
static enum err apply_cas(struct region_fsm *fsm, struct apply_worker *worker, const struct wire_log_write *write,
                          struct arena *arena, struct wire_kv_reply *result)
{
    bool present;
    struct bytes now = bytes_empty();
    enum err code = read_now(fsm, worker, write->key, &present, &now);
    if (code != ERR_OK)
        return code;
    bool want_present = write->expected.data != NULL;
    if (present != want_present || (present && !bytes_equal(now, write->expected) && !BUG(cas_ignores_value))) {
        if (present && arena) {
            result->value = arena_copy(arena, now);
            if (!result->value.data)
                result->value = bytes_of("", 0); /* present and empty */
        }
        return ERR_CONDITION_FAILED;
    }
    put_row(fsm, apply_worker_batch(worker), write->key, write->value, write->ttl_ms);
    return ERR_OK;
}

static enum err apply_batch_write(struct region_fsm *fsm, struct engine_batch *batch,
                                  const struct wire_log_write *write)
{
    for (uint32_t i = 0; i < write->pairs_count; i++) {
        enum err code = check_key(fsm, write->pairs[i].key, write->pairs[i].value);
        if (code != ERR_OK)
            return code; /* all or nothing */
    }
    for (uint32_t i = 0; i < write->pairs_count; i++) {
        if (write->pairs[i].remove)
            engine_batch_delete(fsm->env->engine, batch, ENGINE_DEFAULT, write->pairs[i].key);
        else
            put_row(fsm, batch, write->pairs[i].key, write->pairs[i].value, write->ttl_ms);
    }
    return ERR_OK;
}

static enum err apply_delete_range(struct region_fsm *fsm, struct engine_batch *batch,
                                   const struct wire_log_write *write)
{
    enum err code = key_range_check(fsm->region, write->key, write->end_key);
    if (code == ERR_OK)
        engine_batch_delete_range(fsm->env->engine, batch, ENGINE_DEFAULT, write->key, write->end_key);
    return code;
}

static enum err execute(struct region_fsm *fsm, struct apply_worker *worker, const struct wire_log_write *write,
                        struct arena *arena, struct wire_kv_reply *result)
{
    struct engine_batch *batch = apply_worker_batch(worker);
    if (write->ttl_ms > REGION_TTL_MAX_MS)
        return ERR_INVALID;
    if (write->op == WIRE_KV_OP_BATCH_WRITE)
        return apply_batch_write(fsm, batch, write);
    if (write->op == WIRE_KV_OP_DELETE_RANGE)
        return apply_delete_range(fsm, batch, write);
    enum err code = check_key(fsm, write->key, write->value);
    if (code != ERR_OK)
        return code;
    switch (write->op) {
    case WIRE_KV_OP_PUT:
        put_row(fsm, batch, write->key, write->value, write->ttl_ms);
        return ERR_OK;
    case WIRE_KV_OP_DELETE_KEY:
        engine_batch_delete(fsm->env->engine, batch, ENGINE_DEFAULT, write->key);
        return ERR_OK;
    case WIRE_KV_OP_CAS:
        return apply_cas(fsm, worker, write, arena, result);
    default:
        return ERR_UNSUPPORTED;
    }
}

/* What a write that was refused for its place may learn is not an outcome: the client goes elsewhere with the same
 * token. */
static bool is_outcome(enum err code)
{
    enum err_action action = err_action(code);
    return action == ERR_ACTION_NONE || action == ERR_ACTION_GIVE_UP;
}

static struct token token_of(const struct wire_log_write *write)
{
    bool one_key = write->op == WIRE_KV_OP_PUT || write->op == WIRE_KV_OP_DELETE_KEY || write->op == WIRE_KV_OP_CAS;
    return (struct token){.client_id = write->client_id,
                          .part = !one_key,
                          .sequence = write->sequence,
                          .sequence_done = write->sequence_done,
                          .retry = write->retry};
}

/* What tokens became by an entry that was applied in an earlier life: its writes succeeded, or a save came with it. */
static enum err replay_tokens(struct region_fsm *fsm, const struct raft_entry *entry, struct arena *arena)
{
    struct wire_log_command command;
    if (entry->kind != RAFT_ENTRY_NORMAL || entry->data.size == 0)
        return ERR_OK;
    enum err code = wire_decode_log_command(entry->data, arena, &command);
    for (uint32_t i = 0; i < command.writes_count && code == ERR_OK; i++) {
        struct token token = token_of(&command.writes[i]);
        bool seen;
        enum err seen_code;
        if (tokens_check(fsm->tokens, &token, &seen, &seen_code) == ERR_OK && !seen)
            tokens_record(fsm->tokens, &token, ERR_OK, entry->index);
    }
    return code;
}

/* Rows, then the log from there up to what is applied. */
static enum err load_tokens(struct region_fsm *fsm)
{
    enum { RUN_COUNT = 256, RUN_SIZE = 4 * 1024 * 1024 };
    struct error error = {0};
    enum err code = tokens_load(fsm->tokens);
    if (code != ERR_OK)
        error_set(&error, code, "the idempotency tokens cannot be read");
    raft_index next = BUG(tokens_lost_on_restart) ? UINT64_MAX : tokens_saved_index(fsm->tokens) + 1;
    while (code == ERR_OK && next <= fsm->applied_index) {
        struct group_log_run run;
        struct arena arena;
        group_log_run_init(&run);
        arena_init(&arena);
        code = group_log_read(fsm->env->engine, fsm->region->id, next, RUN_COUNT, RUN_SIZE, &run, &error);
        if (code == ERR_OK && run.count == 0)
            code = error_set(&error, ERR_CORRUPT, "log entry %llu is missing", (unsigned long long)next);
        for (uint32_t i = 0; i < run.count && code == ERR_OK && next <= fsm->applied_index; i++, next++) {
            code = replay_tokens(fsm, &run.entries[i], &arena);
            arena_reset(&arena);
        }
        arena_fini(&arena);
        group_log_run_fini(&run);
    }
    if (code != ERR_OK)
        log_event(fsm->env->log, LOG_ERROR, "event=tokens_unreadable region=%llu code=%s msg=\"%s\"",
                  (unsigned long long)fsm->region->id, err_name(code), error.text);
    if (code == ERR_CORRUPT)
        note_damage(fsm, error.text);
    return code;
}

enum err region_fsm_cut(struct region_fsm *fsm, struct snapshot_cut *cut)
{
    struct engine *engine = fsm->env->engine;
    enum err code = fsm->damaged ? ERR_CORRUPT : fsm->failure;
    if (code == ERR_OK && !tokens_is_loaded(fsm->tokens))
        code = load_tokens(fsm);
    if (code == ERR_OK)
        code = group_log_load_conf(engine, fsm->region->id, &cut->conf, NULL);
    if (code != ERR_OK)
        return code;
    cut->region = region_copy(fsm->region);
    cut->time = fsm->time;
    cut->position = (struct raft_position){.index = fsm->applied_index, .term = fsm->applied_term};
    for (int cf = ENGINE_DEFAULT; cf < ENGINE_RAFT; cf++)
        cut->iters[cf] = engine_iter_new_once(engine, (enum engine_cf)cf, fsm->region->start_key, fsm->region->end_key);
    tokens_export(fsm->tokens, fsm->applied_index, &cut->rows_arena, &cut->rows, &cut->row_count);
    return ERR_OK;
}

static enum err save_tokens(struct region_fsm *fsm, struct apply_worker *worker)
{
    if (fsm->applied_index % fsm->save_interval != 0 && fsm->unsaved_size < fsm->unsaved_size_max &&
        !fsm->must_save_tokens)
        return ERR_OK;
    struct engine *engine = fsm->env->engine;
    struct engine_batch *batch = apply_worker_batch(worker);
    size_t size = engine_batch_size(engine, batch);
    fsm->unsaved_size = 0;
    enum err code = tokens_is_loaded(fsm->tokens) ? ERR_OK : load_tokens(fsm);
    if (code == ERR_OK)
        tokens_save(fsm->tokens, batch, fsm->applied_index);
    fsm->unsaved_size_max = next_save_size(engine_batch_size(engine, batch) - size);
    fsm->must_save_tokens = false;
    return code;
}

static void apply_write(struct region_fsm *fsm, struct apply_worker *worker, const struct wire_log_command *command,
                        const struct wire_log_write *write, raft_index index, struct arena *arena,
                        struct wire_kv_reply *result)
{
    struct token token = token_of(write);
    bool seen = false;
    enum err seen_code = ERR_OK;
    enum err code = tokens_is_loaded(fsm->tokens) ? ERR_OK : load_tokens(fsm);
    if (code == ERR_OK)
        code = tokens_check(fsm->tokens, &token, &seen, &seen_code);
    if (code == ERR_OK && seen)
        code = seen_code;
    else if (code == ERR_OK && !BUG(no_epoch_check) &&
             (command->epoch_version != fsm->region->epoch_version || region_is_merging(fsm->region)) &&
             !(BUG(merge_source_writes) && region_is_merging(fsm->region))) {
        code = ERR_EPOCH_NOT_MATCH;
        fsm->must_save_tokens = true;
    } else if (code == ERR_OK) {
        code = execute(fsm, worker, write, arena, result);
        fsm->must_save_tokens |= code != ERR_OK;
        if (is_outcome(code))
            tokens_record(fsm->tokens, &token, code, index);
    }
    result->code = (uint16_t)code;
    result->wait_ms = code == ERR_BUSY ? BUSY_WAIT_MS : 0;
}

/* ---- a split */

/* Ids are given once: a region that is here already means that somebody else's rows would be lost. */
static enum err check_is_new(struct region_fsm *fsm, region_id id)
{
    struct error error = {0};
    struct group_key key = group_key_indexed(id, GROUP_APPLY_STATE, 0);
    enum err code = engine_get(fsm->env->engine, ENGINE_RAFT, group_key_bytes(&key), &fsm->row, &error);
    if (code == ERR_NOT_FOUND)
        return ERR_OK;
    log_event(fsm->env->log, LOG_ERROR, "event=split_impossible region=%llu child=%llu msg=\"%s\"",
              (unsigned long long)fsm->id, (unsigned long long)id,
              code == ERR_OK ? "a region of that id is here already" : error.text);
    return code == ERR_OK ? ERR_EXISTS : code;
}

static peer_id local_peer_of(const struct region_fsm *fsm, const struct region *child)
{
    const struct region_peer *local = region_peer_by_id(fsm->region, fsm->local_peer);
    CHECK(local);
    return region_peer_on_store(child, local->store_id)->id;
}

static enum err put_children(struct region_fsm *fsm, struct engine_batch *batch, const struct region_split *split)
{
    struct engine *engine = fsm->env->engine;
    enum err code = tokens_is_loaded(fsm->tokens) ? ERR_OK : load_tokens(fsm);
    for (uint32_t i = 1; i < split->count && code == ERR_OK; i++) {
        const struct region *child = split->regions[i];
        code = check_is_new(fsm, child->id);
        if (code == ERR_OK)
            code = region_put_new(engine, batch, child, local_peer_of(fsm, child));
        if (code == ERR_OK && !BUG(split_forgets_time))
            region_fsm_put_applied(engine, batch, child->id, GROUP_FIRST_INDEX, GROUP_FIRST_TERM, &fsm->time);
        if (code == ERR_OK && !BUG(split_forgets_tokens))
            tokens_put_inherited(fsm->tokens, batch, child->id, GROUP_FIRST_INDEX);
    }
    return code;
}

static void add_change(struct region_task *task, struct region_split *take_change)
{
    struct region_split **last = &task->splits;
    while (*last)
        last = &(*last)->next;
    *last = take_change;
}

/* `*ret_word`: what is said of it; a refusal changes nothing, here as on every replica. The other code is fatal. */
static enum err apply_split(struct region_task *task, struct engine_batch *batch,
                            const struct wire_log_command *command, raft_index index, enum err *ret_word)
{
    struct region_fsm *fsm = task->fsm;
    struct region_split *split;
    *ret_word = region_split_new(fsm->region, command, index, &split);
    if (*ret_word != ERR_OK)
        return ERR_OK;
    enum err code = put_children(fsm, batch, split);
    if (code == ERR_OK)
        code = region_put_state(fsm->env->engine, batch, split->regions[0], fsm->local_peer);
    if (code != ERR_OK) {
        region_split_free(split);
        return code;
    }
    region_free(fsm->region);
    fsm->region = region_copy(split->regions[0]);
    for (uint32_t i = 0; i < split->count && fsm->ranges; i++)
        store_ranges_set(fsm->ranges, split->regions[i]);
    region_split_free(fsm->last_split);
    fsm->last_split = region_split_copy(split);
    add_change(task, split);
    return ERR_OK;
}

/* ---- a change of members */

static enum err load_conf(struct region_fsm *fsm)
{
    struct error error = {0};
    if (fsm->conf)
        return ERR_OK;
    fsm->conf = malloc(sizeof *fsm->conf);
    CHECK(fsm->conf);
    enum err code = group_log_load_conf(fsm->env->engine, fsm->id, fsm->conf, &error);
    if (code == ERR_OK)
        return ERR_OK;
    log_event(fsm->env->log, LOG_ERROR, "event=members_unreadable region=%llu code=%s msg=\"%s\"",
              (unsigned long long)fsm->id, err_name(code), error.text);
    return code == ERR_NOT_FOUND ? ERR_CORRUPT : code;
}

/* `*ret_word`: what is said of it; a refusal changes nothing, here as on every replica. The other code is fatal. */
static enum err apply_conf(struct region_task *task, struct apply_worker *worker, const struct raft_entry *entry,
                           enum err *ret_word)
{
    struct region_fsm *fsm = task->fsm;
    struct engine *engine = fsm->env->engine;
    struct engine_batch *batch = apply_worker_batch(worker);
    struct region_conf *conf;
    enum err code = load_conf(fsm);
    if (code != ERR_OK)
        return code;
    *ret_word = region_conf_new(fsm->region, fsm->conf, entry, &conf);
    if (*ret_word != ERR_OK)
        return *ret_word == ERR_CORRUPT ? ERR_CORRUPT : ERR_OK;
    fsm->removed = !region_peer_by_id(conf->region, fsm->local_peer);
    code = region_put_state(engine, batch, conf->region, fsm->local_peer);
    if (code != ERR_OK) {
        region_conf_free(conf);
        return code;
    }
    if (!BUG(conf_row_late))
        group_put_conf_at(engine, batch, fsm->id, &conf->conf, entry->index);
    apply_worker_sync(worker);
    *fsm->conf = conf->conf;
    region_free(fsm->region);
    fsm->region = region_copy(conf->region);
    struct region_conf **last = &task->confs;
    while (*last)
        last = &(*last)->next;
    *last = conf;
    return ERR_OK;
}

/* ---- a merge */

/* All of the source is in the engine: its rows, its tokens as of its last entry that counts. */
static enum err take_in(struct region_fsm *fsm, struct engine_batch *batch, const struct region *source,
                        peer_id source_peer, raft_index index)
{
    struct engine *engine = fsm->env->engine;
    struct tokens *tokens = tokens_new(engine, source->id, GROUP_FIRST_INDEX);
    enum err code = tokens_is_loaded(fsm->tokens) ? ERR_OK : load_tokens(fsm);
    if (code == ERR_OK)
        code = tokens_load(tokens);
    if (code == ERR_OK && !BUG(merge_forgets_tokens))
        tokens_absorb(fsm->tokens, tokens, index);
    struct region_time time = {0};
    if (code == ERR_OK)
        code = region_fsm_load_time(engine, source->id, &time);
    if (!BUG(merge_forgets_time))
        fsm->time = region_time_join(fsm->time, time);
    if (code == ERR_OK)
        code = region_put_tombstone(engine, batch, source, source_peer);
    tokens_free(tokens);
    return code;
}

static enum err commit_merge(struct region_task *task, struct engine_batch *batch,
                             const struct wire_log_command *command, raft_index index, struct region **ret_region,
                             struct region **ret_source, enum err *ret_word)
{
    struct region_fsm *fsm = task->fsm;
    struct error error = {0};
    peer_id source_peer = 0;
    *ret_word = region_merge_commit(fsm->region, command, ret_region, ret_source);
    if (*ret_word != ERR_OK)
        return ERR_OK;
    enum err code = region_merge_source_is_here(fsm->env->engine, *ret_source, &source_peer, &error);
    if (code == ERR_OK)
        code = take_in(fsm, batch, *ret_source, source_peer, index);
    if (code == ERR_NOT_READY) {
        region_free(task->waits_for);
        task->waits_for = *ret_source;
        *ret_source = NULL;
    } else if (code != ERR_OK)
        log_event(fsm->env->log, LOG_ERROR, "event=merge_impossible region=%llu index=%llu code=%s msg=\"%s\"",
                  (unsigned long long)fsm->id, (unsigned long long)index, err_name(code), error.text);
    return code;
}

/* ERR_NOT_READY: nothing was done, wait. Else as in apply_split. */
static enum err apply_merge(struct region_task *task, struct engine_batch *batch,
                            const struct wire_log_command *command, const struct raft_entry *entry, enum err *ret_word)
{
    struct region_fsm *fsm = task->fsm;
    struct region *region = NULL, *source = NULL;
    enum region_change change = REGION_TOOK_IN;
    enum err code = ERR_OK;
    switch (command->kind) {
    case WIRE_COMMAND_KIND_PREPARE_MERGE:
        change = REGION_PREPARED;
        *ret_word = region_merge_prepare(fsm->region, command, entry->index, entry->term, &region);
        break;
    case WIRE_COMMAND_KIND_ROLLBACK_MERGE:
        change = REGION_ROLLED_BACK;
        *ret_word = region_merge_rollback(fsm->region, command, &region);
        break;
    case WIRE_COMMAND_KIND_REFUSE_MERGE:
        change = REGION_REFUSED;
        *ret_word = region_merge_refuse(fsm->region, command, &region);
        break;
    default:
        code = commit_merge(task, batch, command, entry->index, &region, &source, ret_word);
        break;
    }
    if (code == ERR_OK && *ret_word == ERR_OK)
        code = region_put_state(fsm->env->engine, batch, region, fsm->local_peer);
    if (code != ERR_OK || *ret_word != ERR_OK) {
        region_free(region);
        region_free(source);
        return code;
    }
    region_free(fsm->region);
    fsm->region = region_copy(region);
    if (source && fsm->ranges) {
        store_ranges_remove(fsm->ranges, source->id);
        store_ranges_set(fsm->ranges, region);
    }
    region_split_free(fsm->last_split); /* its children may be what was taken in */
    fsm->last_split = NULL;
    fsm->must_save_tokens = true; /* the target reads the source's rows; what it learnt is in no entry of its own */
    add_change(task, region_change_new(change, entry->index, region, source));
    return ERR_OK;
}

static bool is_merge(uint8_t kind)
{
    return kind >= WIRE_COMMAND_KIND_PREPARE_MERGE && kind <= WIRE_COMMAND_KIND_ROLLBACK_MERGE;
}

/* ---- a task */

/* Bytes that every replica agreed on and that do not parse: nothing sensible can follow. */
static void stop_on_corrupt(struct region_fsm *fsm, raft_index index)
{
    log_event(fsm->env->log, LOG_ERROR,
              "event=corrupt_entry region=%llu index=%llu msg=\"a committed entry cannot be read\"",
              (unsigned long long)fsm->region->id, (unsigned long long)index);
}

static uint32_t proposals_size_max(const struct region_task *task)
{
    uint32_t count = 0;
    for (const struct proposal *proposal = task->proposals; proposal; proposal = proposal->next)
        count = proposal->count > count ? proposal->count : count;
    return count;
}

static struct wire_kv_reply *results_of(struct region_task *task, uint32_t count, enum err code)
{
    struct wire_kv_reply *results = arena_alloc(&task->results_arena, count * sizeof *results);
    for (uint32_t i = 0; i < count; i++)
        results[i].code = (uint16_t)code;
    return results;
}

static uint64_t deleted_count(const struct wire_log_write *write)
{
    uint64_t count = write->op == WIRE_KV_OP_DELETE_KEY;
    if (write->op == WIRE_KV_OP_DELETE_RANGE)
        return REGION_FSM_RANGE_KEYS;
    for (uint32_t i = 0; i < write->pairs_count; i++)
        count += write->pairs[i].remove;
    return count;
}

static enum err apply_entry(struct region_task *task, struct apply_worker *worker, const struct raft_entry *entry,
                            bool owed, struct wire_kv_reply **ret_results, uint32_t *ret_count)
{
    struct region_fsm *fsm = task->fsm;
    struct arena *values = owed ? &task->results_arena : NULL;
    if (fsm->removed) {
        *ret_count = task->proposals ? proposals_size_max(task) : 0;
        *ret_results = results_of(task, *ret_count, ERR_MAYBE);
        return ERR_OK;
    }
    CHECK(entry->index == fsm->applied_index + 1);
    *ret_count = 0;
    if (entry->kind == RAFT_ENTRY_NORMAL && entry->data.size > 0) {
        struct wire_log_command command;
        enum err code = wire_decode_log_command(entry->data, &task->results_arena, &command);
        if (code != ERR_OK) {
            stop_on_corrupt(fsm, entry->index);
            return ERR_VERSION; /* all replicas have the same: none of them can heal another */
        }
        if (BUG(time_goes_back) && command.time_ms > 0)
            fsm->time.now_ms = command.time_ms;
        if (!region_is_merging(fsm->region)) /* its rows and its time are as of its prepare, wherever it is taken in */
            region_time_pass(&fsm->time, command.time_ms);
        if (command.kind == WIRE_COMMAND_KIND_HASH)
            task->has_hash = true;
        if (command.kind == WIRE_COMMAND_KIND_VERIFY && command.check) {
            task->has_verify = true;
            task->verify = (struct region_hash){.index = command.check->index,
                                                .hash = command.check->hash,
                                                .rows = command.check->rows,
                                                .size = command.check->size};
        }
        bool changes = command.kind == WIRE_COMMAND_KIND_SPLIT || is_merge(command.kind);
        uint32_t count = changes ? 1 : command.writes_count;
        *ret_results = arena_alloc(&task->results_arena, count * sizeof **ret_results);
        *ret_count = count;
        if (changes) {
            command.writes_count = 0;
            enum err word;
            code = command.kind == WIRE_COMMAND_KIND_SPLIT
                       ? apply_split(task, apply_worker_batch(worker), &command, entry->index, &word)
                       : apply_merge(task, apply_worker_batch(worker), &command, entry, &word);
            if (code != ERR_OK)
                return code;
            (*ret_results)[0].code = (uint16_t)word;
        }
        for (uint32_t i = 0; i < command.writes_count; i++) {
            task->keys_written += command.writes[i].pairs_count > 0 ? command.writes[i].pairs_count : 1;
            task->keys_deleted += deleted_count(&command.writes[i]);
            apply_write(fsm, worker, &command, &command.writes[i], entry->index, values, &(*ret_results)[i]);
            if (err_action((enum err)(*ret_results)[i].code) == ERR_ACTION_STOP)
                return (enum err)(*ret_results)[i].code;
        }
    }
    if (entry->kind != RAFT_ENTRY_NORMAL) {
        enum err word;
        enum err code = apply_conf(task, worker, entry, &word);
        if (code == ERR_CORRUPT)
            stop_on_corrupt(fsm, entry->index);
        if (code != ERR_OK)
            return code;
        *ret_results = results_of(task, 1, word);
        *ret_count = 1;
    }
    fsm->applied_index = entry->index;
    fsm->applied_term = entry->term;
    fsm->unsaved_size += entry->data.size;
    return save_tokens(fsm, worker);
}

/* A row that it has to read is damaged: what it has put in is taken back, and this replica stops there. What others put
 * into the batch before it stays. */
static void stop_on_damage(struct region_fsm *fsm, struct engine_batch *batch, size_t count, size_t size,
                           struct raft_position before)
{
    engine_batch_cut(fsm->env->engine, batch, count, size);
    fsm->applied_index = before.index;
    fsm->applied_term = before.term;
    fsm->damaged = true;
    if (!fsm->damage)
        note_damage(fsm, "a row of the region cannot be read");
}

/* They are not in the engine. */
static void drop_changes_of(struct region_task *task, raft_index index)
{
    struct region_split **link = &task->splits;
    while (*link && (*link)->index < index)
        link = &(*link)->next;
    while (*link) {
        struct region_split *change = *link;
        *link = change->next;
        region_split_free(change);
    }
    struct region_conf **last = &task->confs;
    while (*last && (*last)->index < index)
        last = &(*last)->next;
    while (*last) {
        struct region_conf *conf = *last;
        *last = conf->next;
        region_conf_free(conf);
    }
}

/* Goes on where it stopped, if it did. True: something was applied. */
static bool apply_entries(struct region_task *task, struct apply_worker *worker)
{
    struct region_fsm *fsm = task->fsm;
    struct engine *engine = fsm->env->engine;
    struct engine_batch *batch = apply_worker_batch(worker);
    bool any = false;
    for (; task->next_entry < task->entry_count && task->code == ERR_OK && !fsm->damaged; task->next_entry++) {
        const struct raft_entry *entry = &task->entries[task->next_entry];
        struct proposal *proposal = task->next_proposal;
        struct wire_kv_reply *results = NULL;
        uint32_t count = 0;
        bool owed = proposal && proposal->index == entry->index;
        size_t batch_count = engine_batch_count(engine, batch), batch_size = engine_batch_size(engine, batch);
        struct raft_position before = {.index = fsm->applied_index, .term = fsm->applied_term};
        enum err code = apply_entry(task, worker, entry, owed, &results, &count);
        if (code == ERR_NOT_READY) {
            task->parked = fsm->parked = true;
            return any;
        }
        if (code == ERR_CORRUPT) {
            stop_on_damage(fsm, batch, batch_count, batch_size, before);
            drop_changes_of(task, entry->index);
            return any;
        }
        any = true;
        task->code = fsm->failure = code;
        if (code != ERR_OK)
            apply_worker_fail(worker, code);
        if (owed) {
            CHECK(code != ERR_OK || count >= proposal->count); /* nobody may wait for a split */
            task->results[task->next_result++] = results;
            task->next_proposal = proposal->next;
        }
    }
    return any;
}

static void apply(struct apply_task *base, struct apply_worker *worker)
{
    struct region_task *task = (struct region_task *)base;
    struct region_fsm *fsm = task->fsm;
    task->parked = fsm->parked && !task->resumes;
    task->applied_index = fsm->applied_index;
    task->time = fsm->time;
    if (task->parked)
        return;
    fsm->parked = task->resumes = false;
    if (task->gives_up) {
        fsm->damaged = true;
        note_damage(fsm, "a region that it has to take in is damaged here");
    }
    task->code = fsm->failure;
    bool any = apply_entries(task, worker);
    task->answered_count = task->next_result;
    task->damaged = fsm->damaged;
    task->damage = fsm->damage ? fsm->damage->text : "";
    if (any && !(BUG(apply_twice) && fsm->applied_index % 8)) {
        region_fsm_put_applied(fsm->env->engine, apply_worker_batch(worker), fsm->region->id, fsm->applied_index,
                               fsm->applied_term, &fsm->time);
    }
    task->applied_index = fsm->applied_index;
    task->time = fsm->time;
}

/* The engine is as of the last entry, and nothing came behind it yet (apply_task.alone). */
static void start_hash(struct region_task *task)
{
    struct region_fsm *fsm = task->fsm;
    struct snapshot_cut *cut = snapshot_cut_new(fsm->env->engine);
    cut->region_id = fsm->id;
    CHECK(fsm->applied_index == task->applied_index);
    if (region_fsm_cut(fsm, cut) == ERR_OK)
        region_hash_start(task->hash_store, task->owner, cut);
    else
        snapshot_cut_free(cut); /* whoever reads it next says why */
}

static void done(struct apply_task *base, enum err code)
{
    struct region_task *task = (struct region_task *)base;
    if (task->code == ERR_OK)
        task->code = code;
    task->parked &= task->code == ERR_OK;
    if (task->code == ERR_OK) {
        if (tokens_is_loaded(task->fsm->tokens))
            atomic_store_explicit(&task->fsm->tokens_index, tokens_saved_index(task->fsm->tokens),
                                  memory_order_release);
        for (const struct region_split *split = task->splits; split; split = split->next)
            atomic_store_explicit(&task->fsm->split_index, split->index, memory_order_release);
        publish_time(task->fsm, task->time);
        atomic_store_explicit(&task->fsm->written_index, task->applied_index, memory_order_release);
        if (task->has_hash && task->task.alone && task->hash_store && !task->damaged)
            start_hash(task);
        uint32_t at = 0;
        for (struct proposal *proposal = task->parked ? NULL : task->proposals; proposal; proposal = proposal->next, at++)
            for (uint32_t i = 0; i < proposal->count; i++) {
                if (at >= task->answered_count) { /* it is committed: others will say */
                    replies_add_error(task->replies, proposal->replies[i], ERR_MAYBE, 0);
                    continue;
                }
                struct wire_kv_reply *result = &task->results[at][i];
                if (result->value.size > 0) /* the task goes back before the flush */
                    result->value = arena_copy(replies_arena(task->replies), result->value);
                if (result->code == ERR_EPOCH_NOT_MATCH || task->splits || task->confs)
                    region_split_tell(task->fsm->region, task->fsm->last_split, replies_arena(task->replies), result);
                replies_add(task->replies, proposal->replies[i], result);
            }
    }
    task->task.message.kind = task->done_kind;
    if (task->urgent || task->splits || task->confs || task->damaged || task->parked || task->has_verify ||
        task->code != ERR_OK)
        actor_post_must(task->fsm->env->executor, task->owner, &task->task.message);
    else
        actor_post_lazy(task->fsm->env->executor, task->owner, &task->task.message);
}

static void free_task_message(struct message *message)
{
    region_task_free((struct region_task *)message);
}

struct region_task *region_task_new(struct region_fsm *fsm, struct actor *owner, uint32_t done_kind,
                                    struct replies *replies, const struct raft_entry *entries, uint32_t count,
                                    struct proposal *take_proposals)
{
    struct region_task *task = calloc(1, sizeof *task);
    CHECK(task);
    *task = (struct region_task){.task = {.message = {.free = free_task_message}, .apply = apply, .done = done},
                                 .fsm = fsm,
                                 .owner = owner,
                                 .done_kind = done_kind,
                                 .replies = replies,
                                 .entry_count = count,
                                 .proposals = take_proposals,
                                 .next_proposal = take_proposals,
                                 .region_id = fsm->id};
    arena_init(&task->results_arena);
    task->entries = arena_alloc(&task->results_arena, count * sizeof *entries);
    if (count > 0)
        memcpy(task->entries, entries, count * sizeof *entries);
    uint32_t proposal_count = 0;
    for (struct proposal *proposal = take_proposals; proposal; proposal = proposal->next)
        proposal_count++;
    task->results = arena_alloc(&task->results_arena, proposal_count * sizeof *task->results);
    return task;
}

void region_task_forget_confs(struct region_task *task)
{
    for (struct region_conf *conf = task->confs, *next; conf; conf = next) {
        next = conf->next;
        region_conf_free(conf);
    }
    task->confs = NULL;
}

void region_task_free(struct region_task *task)
{
    if (!task)
        return;
    for (struct proposal *proposal = task->proposals, *next; proposal; proposal = next) {
        next = proposal->next;
        free(proposal);
    }
    for (struct region_split *split = task->splits, *next; split; split = next) {
        next = split->next;
        region_split_free(split);
    }
    region_task_forget_confs(task);
    region_free(task->waits_for);
    arena_fini(&task->results_arena);
    free(task);
}
