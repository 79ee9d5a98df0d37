/* fuzz_store_rows: hostile rows of a storenode: region states, apply states, tokens, values; and hostile commands that
 * a region's log holds.
 *
 * First byte: what the rest is. Regions are split, too, at keys and with ids that come along. Tokens that load and what is recorded afterwards are saved and load again. A region's
 * state machine that meets a command it cannot read stops; whatever else comes, it goes on by one entry at a time. */
#include <stdlib.h>

#include "../unit/inline_exec.h"
#include "env/clock.h"
#include "env/engine_mem.h"
#include "fuzz.h"
#include "group/group_keys.h"
#include "group/group_log.h"
#include "storenode/region_fsm.h"
#include "storenode/row.h"
#include "storenode/store_keys.h"
#include "storenode/tokens.h"

enum { REGION = 7, FIRST_INDEX = 5, ROWS_MAX = 16, STEPS_MAX = 64, ENTRIES_MAX = 16, WRITES_MAX = 4 };

static void put(struct engine *engine, struct group_key key, struct bytes value)
{
    struct engine_batch *batch = engine_batch_new(engine);
    engine_batch_put(engine, batch, ENGINE_RAFT, group_key_bytes(&key), value);
    CHECK(engine_write(engine, batch, true, NULL) == ERR_OK);
    engine_batch_free(engine, batch);
}

/* `suffix`: the checksum that the drawn bytes get; 0: they bring their own. */
static void put_drawn(struct engine *engine, struct group_key key, uint8_t suffix, struct bytes drawn)
{
    uint8_t *value = malloc(drawn.size + 4);
    CHECK(value);
    if (drawn.size > 0)
        memcpy(value, drawn.data, drawn.size);
    store_u32_be(value + drawn.size, suffix ? group_checksum(suffix, value, drawn.size) : 0);
    put(engine, key, bytes_of(value, drawn.size + (suffix ? 4 : 0)));
    free(value);
}

/* ---- tokens */

static void put_token_rows(struct engine *engine, struct fuzz_input *input)
{
    for (uint8_t count = fuzz_u8(input) % ROWS_MAX; count > 0; count--) {
        uint8_t how = fuzz_u8(input), suffix = how & 1 ? STORE_TOKENS_EDGE : STORE_TOKENS;
        struct group_key key =
            how & 1 ? group_key(REGION, suffix) : group_key_indexed(REGION, suffix, fuzz_u8(input) % 4 + 1);
        put_drawn(engine, key, how & 2 ? 0 : suffix, fuzz_take(input, fuzz_u8(input)));
    }
}

static struct token draw_token(struct fuzz_input *input)
{
    uint32_t width = fuzz_u8(input) % 16 == 15 ? 8 : 1;
    struct token token = {.client_id = fuzz_u8(input) % 5};
    token.sequence_done = fuzz_number(input, width);
    token.sequence = fuzz_number(input, width);
    token.retry = fuzz_u8(input) & 1;
    return token;
}

static void must_load_the_same(struct engine *engine, struct tokens *tokens, raft_index index)
{
    struct engine_batch *batch = engine_batch_new(engine);
    tokens_save(tokens, batch, index);
    CHECK(engine_write(engine, batch, true, NULL) == ERR_OK);
    engine_batch_free(engine, batch);
    struct tokens *again = tokens_new(engine, REGION, FIRST_INDEX);
    CHECK(tokens_load(again) == ERR_OK && tokens_saved_index(again) == index);
    for (uint64_t client = 1; client < 5; client++)
        for (uint64_t sequence = 0; sequence < 32; sequence++) {
            struct token token = {.client_id = client, .sequence = sequence, .retry = sequence % 2 == 0};
            bool seen, seen_again;
            enum err code = ERR_OK, code_again = ERR_OK;
            enum err a = tokens_check(tokens, &token, &seen, &code);
            enum err b = tokens_check(again, &token, &seen_again, &code_again);
            CHECK(a == b && seen == seen_again && code == code_again);
        }
    tokens_free(again);
}

static void run_tokens(struct engine *engine, struct fuzz_input *input)
{
    put_token_rows(engine, input);
    struct tokens *tokens = tokens_new(engine, REGION, FIRST_INDEX);
    enum err code = tokens_load(tokens);
    CHECK(code == ERR_OK || code == ERR_CORRUPT);
    for (raft_index index = 1000; code == ERR_OK && index < 1000 + STEPS_MAX && input->size > 0; index++) {
        struct token token = draw_token(input);
        bool seen;
        enum err seen_code;
        if (tokens_check(tokens, &token, &seen, &seen_code) == ERR_OK && !seen) {
            tokens_record(tokens, &token, fuzz_u8(input) % 4 ? ERR_OK : ERR_CONDITION_FAILED, index);
            if (token.client_id != 0)
                CHECK(tokens_check(tokens, &token, &seen, &seen_code) == ERR_OK && seen);
        }
        if (fuzz_u8(input) % 8 == 7)
            must_load_the_same(engine, tokens, index);
    }
    if (code == ERR_OK)
        must_load_the_same(engine, tokens, 5000);
    tokens_free(tokens);
}

/* ---- states and values */

static void run_states(struct engine *engine, struct fuzz_input *input)
{
    struct error error = {0};
    uint8_t how = fuzz_u8(input);
    struct bytes rest = fuzz_take(input, input->size), value;
    raft_index index;
    raft_term term;
    put_drawn(engine, group_key_indexed(REGION, GROUP_APPLY_STATE, 0), how & 1 ? GROUP_APPLY_STATE : 0, rest);
    enum err code = region_fsm_load_applied(engine, REGION, &index, &term, &error);
    CHECK(code == ERR_OK || (code == ERR_CORRUPT && error.text[0] != 0));
    uint64_t expiry_ms;
    if (row_parse(rest, &value, &expiry_ms) == ERR_OK)
        CHECK(value.size == rest.size - (rest.data[0] == ROW_EXPIRES ? ROW_HEADER_SIZE_MAX : ROW_HEADER_SIZE));
    struct arena arena;
    struct wire_region_state state;
    struct region *region = NULL;
    arena_init(&arena);
    if (wire_decode_region_state(rest, &arena, &state) == ERR_OK && region_from_wire(state.region, &region) == ERR_OK) {
        struct wire_region wire = region_to_wire(region, &arena);
        struct region *again = NULL;
        CHECK(region_from_wire(&wire, &again) == ERR_OK && again->id == region->id);
        CHECK(region_contains(again, region->start_key));
        region_free(again);
    }
    region_free(region);
    arena_fini(&arena);
}

/* ---- commands */

static uint64_t no_time(struct clock *clock)
{
    (void)clock;
    return 1;
}

static void drop_owner_message(void *state, struct message *take_message)
{
    enum err *code = state;
    const struct region_task *task = (const struct region_task *)take_message;
    *code = task->damaged ? ERR_CORRUPT : task->code;
    message_free(take_message);
}

static struct bytes draw_key(struct fuzz_input *input, struct arena *arena)
{
    uint8_t *key = arena_alloc(arena, 3);
    size_t size = fuzz_u8(input) % 4;
    key[0] = fuzz_u8(input) == 255 ? 'x' : 'r';
    key[1] = (uint8_t)('a' + fuzz_u8(input) % 4);
    key[2] = fuzz_u8(input);
    return bytes_of(key, size);
}

/* Often one that fits: versions and keys are few. */
static struct bytes draw_split(struct fuzz_input *input, struct arena *arena, struct buf *out)
{
    struct wire_log_split splits[3];
    uint64_t ids[3][2];
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_SPLIT,
                                       .epoch_conf = 1,
                                       .epoch_version = 1 + fuzz_u8(input) % 4,
                                       .splits = splits,
                                       .splits_count = fuzz_u8(input) % 4};
    for (uint32_t i = 0; i < command.splits_count; i++) {
        ids[i][0] = fuzz_u8(input);
        splits[i] = (struct wire_log_split){.key = draw_key(input, arena),
                                            .region_id = REGION + fuzz_u8(input),
                                            .peer_ids = ids[i],
                                            .peer_ids_count = fuzz_u8(input) % 8 ? 1 : 0};
    }
    return wire_encode_log_command(&command, out) == ERR_OK ? buf_bytes(out) : bytes_empty();
}

static struct bytes draw_command(struct fuzz_input *input, struct arena *arena, struct buf *out)
{
    uint8_t kind = fuzz_u8(input) % 8;
    if (kind == 7)
        return fuzz_take(input, fuzz_u8(input));
    if (kind == 6)
        return draw_split(input, arena, out);
    struct wire_log_write writes[WRITES_MAX];
    struct wire_log_command command = {.kind = WIRE_COMMAND_KIND_WRITE,
                                       .epoch_version = fuzz_u8(input) % 8 ? 1 : 2,
                                       .writes = writes,
                                       .writes_count = fuzz_u8(input) % (WRITES_MAX + 1)};
    for (uint32_t i = 0; i < command.writes_count; i++) {
        struct token token = draw_token(input);
        struct wire_kv_pair *pairs = arena_alloc(arena, 2 * sizeof *pairs);
        for (int at = 0; at < 2; at++)
            pairs[at] = (struct wire_kv_pair){.remove = fuzz_u8(input) & 1, .key = draw_key(input, arena)};
        writes[i] = (struct wire_log_write){.op = fuzz_u8(input) % 9,
                                            .key = draw_key(input, arena),
                                            .value = fuzz_take(input, fuzz_u8(input) % 16),
                                            .expected = fuzz_take(input, fuzz_u8(input) % 4),
                                            .pairs = pairs,
                                            .pairs_count = fuzz_u8(input) % 3,
                                            .client_id = token.client_id,
                                            .sequence = token.sequence,
                                            .sequence_done = token.sequence_done,
                                            .retry = token.retry};
    }
    return wire_encode_log_command(&command, out) == ERR_OK ? buf_bytes(out) : bytes_empty();
}

static void run_commands(struct engine *engine, struct fuzz_input *input)
{
    struct inline_exec exec;
    struct clock clock = {.now_us = no_time, .wall_ms = no_time};
    inline_exec_init(&exec);
    struct env env = {.executor = &exec.base, .clock = &clock, .engine = engine};
    static const struct actor_ops owner_ops = {.on_message = drop_owner_message};
    enum err told = ERR_OK;
    struct actor *owner;
    CHECK(executor_spawn(env.executor, "owner", &owner_ops, &told, UINT32_MAX, &owner) == ERR_OK);
    struct apply_worker_options options = {.batch_size_max = fuzz_u8(input) % 2 ? 16 : 0};
    struct apply_worker *worker;
    CHECK(apply_worker_new(&env, &options, &worker) == ERR_OK);
    struct arena arena;
    arena_init(&arena);
    struct wire_peer peer = {.id = 1, .store_id = 1};
    struct wire_region wire = {.id = REGION,
                               .start_key = bytes_of("r", 1),
                               .end_key = bytes_of("rd", 2),
                               .epoch_version = 1,
                               .epoch_conf = 1,
                               .peers = &peer,
                               .peers_count = 1};
    struct region *region;
    CHECK(region_from_wire(&wire, &region) == ERR_OK);
    struct region_fsm *fsm = region_fsm_new(&env, NULL, region, 1, FIRST_INDEX, FIRST_INDEX, 512);
    struct replies *replies = replies_new(&env);
    struct buf out;
    buf_init(&out, 1024 * 1024);
    raft_index index = FIRST_INDEX;
    while (index < FIRST_INDEX + ENTRIES_MAX && input->size > 0 && told == ERR_OK) {
        struct raft_entry entry = {.index = ++index, .term = FIRST_INDEX, .kind = fuzz_u8(input) == 255};
        entry.data = draw_command(input, &arena, &out);
        apply_worker_post(worker, &region_task_new(fsm, owner, 0, replies, &entry, 1, NULL)->task);
        inline_exec_run(&exec);
        CHECK(told != ERR_OK || region_fsm_applied(fsm) == index);
    }
    raft_index applied;
    raft_term term;
    if (told == ERR_OK && index > FIRST_INDEX)
        CHECK(region_fsm_load_applied(engine, REGION, &applied, &term, NULL) == ERR_OK && applied == index);
    buf_fini(&out);
    replies_free(replies);
    region_fsm_free(fsm);
    region_free(region);
    arena_fini(&arena);
    apply_worker_free(worker);
    inline_exec_fini(&exec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {.data = data, .size = size};
    struct engine *engine;
    CHECK(engine_mem_new(&engine) == ERR_OK);
    switch (fuzz_u8(&input) % 3) {
    case 0:
        run_tokens(engine, &input);
        break;
    case 1:
        run_states(engine, &input);
        break;
    default:
        run_commands(engine, &input);
    }
    engine_mem_free(engine);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const uint8_t tokens[] = {0, 2, 0, 0, 29, 0, 0, 0, 0, 0, 0,  0, 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0,
                                     1, 0, 0, 0, 0,  0, 4, 0, 0, 1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                     0, 9, 0, 1, 3,  5, 0, 1, 7, 0, 2,  0, 1, 0, 1, 7, 0, 1, 5, 6, 1, 1, 7};
    static const uint8_t commands[] = {2, 0, 0, 0, 1,   1,   0,   1, 0, 1, 0, 0,   2, 0,   0,   0,   2, 0, 1, 0, 2, 2,
                                       0, 0, 0, 3, 'x', 'y', 'z', 0, 0, 0, 0, 1,   1, 0,   1,   0,   2, 0, 0, 2, 0, 0,
                                       0, 2, 0, 1, 0,   5,   2,   0, 0, 0, 1, 'n', 3, 'x', 'y', 'z', 0, 0, 0, 1, 2, 0,
                                       2, 0, 1, 0, 0,   2,   0,   0, 0, 2, 0, 1,   0, 7,   2,   0,   0, 0, 0, 0, 2, 0,
                                       2, 0, 2, 1, 1,   0,   2,   0, 1, 0, 0, 3,   2, 0,   0,   0,   0, 0, 0};
    write(context, "tokens", tokens, sizeof tokens);
    write(context, "commands", commands, sizeof commands);
    struct wire_peer peers[] = {{.id = 1, .store_id = 1}, {.id = 2, .store_id = 2}};
    struct wire_region region = {.id = REGION,
                                 .start_key = bytes_of("ra", 2),
                                 .end_key = bytes_of("rb", 2),
                                 .epoch_conf = 1,
                                 .epoch_version = 1,
                                 .peers = peers,
                                 .peers_count = 2};
    struct wire_region_state state = {.region = &region, .local_peer_id = 1};
    struct buf seed, table;
    buf_init(&seed, 4096);
    buf_init(&table, 4096);
    CHECK(wire_encode_region_state(&state, &table) == ERR_OK);
    buf_append(&seed, "\001\000", 2);
    buf_append_bytes(&seed, buf_bytes(&table));
    write(context, "region_state", seed.data, seed.size);
    static const uint8_t applied[] = {1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 6};
    write(context, "apply_state", applied, sizeof applied);
    buf_fini(&table);
    buf_fini(&seed);
}
