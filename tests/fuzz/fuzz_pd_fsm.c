/* fuzz_pd_fsm: hostile commands in pd's log, and hostile rows in its engine.
 *
 * First byte even: commands, raw or of drawn fields, applied one after the other; odd: rows. After each command
 * pd_fsm_check; what the rows say after a restart is what was in memory. */
#include <stdlib.h>

#include "env/engine_mem.h"
#include "fuzz.h"
#include "pd/pd_fsm.h"

enum { COMMANDS_MAX = 64, ROWS_MAX = 64, PEERS_MAX = 4, REGIONS_MAX = 3 };

struct drawn {
    struct wire_pd_command command;
    struct wire_store store;
    struct wire_route routes[REGIONS_MAX];
    struct wire_region regions[REGIONS_MAX];
    struct wire_peer peers[REGIONS_MAX][PEERS_MAX];
};

static uint64_t draw_number(struct fuzz_input *input)
{
    return fuzz_number(input, fuzz_u8(input) % 16 == 15 ? 8 : 1);
}

static struct bytes draw_key(struct fuzz_input *input)
{
    return fuzz_take(input, fuzz_u8(input) % 4);
}

static void draw_region(struct fuzz_input *input, struct wire_region *region, struct wire_peer *peers)
{
    *region = (struct wire_region){.id = draw_number(input),
                                   .start_key = draw_key(input),
                                   .end_key = draw_key(input),
                                   .epoch_conf = draw_number(input),
                                   .epoch_version = draw_number(input),
                                   .peers = peers,
                                   .peers_count = fuzz_u8(input) % (PEERS_MAX + 1)};
    for (uint32_t i = 0; i < region->peers_count; i++)
        peers[i] = (struct wire_peer){.id = draw_number(input), .store_id = fuzz_u8(input), .role = fuzz_u8(input)};
}

static void draw_command(struct fuzz_input *input, struct drawn *drawn)
{
    struct wire_pd_command *command = &drawn->command;
    *command = (struct wire_pd_command){.kind = fuzz_u8(input) % 8,
                                        .cluster_id = draw_number(input),
                                        .bootstrapped = fuzz_u8(input) & 1,
                                        .token = draw_number(input),
                                        .count = (uint32_t)draw_number(input),
                                        .timestamp_limit = draw_number(input)};
    if (fuzz_u8(input) & 1) {
        drawn->store =
            (struct wire_store){.id = draw_number(input), .address = draw_key(input), .version = draw_key(input)};
        command->store = &drawn->store;
    }
    command->regions = drawn->routes;
    command->regions_count = fuzz_u8(input) % (REGIONS_MAX + 1);
    for (uint32_t i = 0; i < command->regions_count; i++) {
        draw_region(input, &drawn->regions[i], drawn->peers[i]);
        drawn->routes[i] = (struct wire_route){.region = fuzz_u8(input) == 255 ? NULL : &drawn->regions[i]};
    }
}

/* The command as bytes, in `out`. */
static struct bytes next_command(struct fuzz_input *input, struct buf *out)
{
    if (fuzz_u8(input) % 4 == 3)
        return fuzz_take(input, fuzz_u8(input));
    struct drawn drawn = {0};
    draw_command(input, &drawn);
    enum err code = wire_encode_pd_command(&drawn.command, out);
    CHECK(code == ERR_OK || code == ERR_INVALID);
    return code == ERR_OK ? buf_bytes(out) : bytes_empty();
}

static void must_load_the_same(struct engine *engine, const struct pd_fsm *fsm)
{
    struct error error = {0};
    struct pd_fsm *again = pd_fsm_new();
    enum err code = pd_fsm_load(again, engine, &error);
    if (code != ERR_OK)
        fprintf(stderr, "%s\n", error.text);
    CHECK(code == ERR_OK);
    pd_fsm_check(again);
    CHECK(pd_fsm_digest(again) == pd_fsm_digest(fsm));
    pd_fsm_free(again);
}

static void run_commands(struct engine *engine, struct fuzz_input *input)
{
    struct pd_fsm *fsm = pd_fsm_new();
    struct buf out;
    buf_init(&out, 1024 * 1024);
    struct engine_batch *batch = engine_batch_new(engine);
    for (raft_index index = 1; index <= COMMANDS_MAX && input->size > 0; index++) {
        struct pd_fsm_result result;
        engine_batch_clear(engine, batch);
        uint64_t before = pd_fsm_digest(fsm);
        struct bytes command = next_command(input, &out);
        pd_fsm_apply(fsm, command, engine, batch, &result);
        pd_fsm_check(fsm);
        CHECK(result.code != ERR_CORRUPT || (before == pd_fsm_digest(fsm) && engine_batch_count(engine, batch) == 0));
        pd_fsm_set_applied(fsm, index, 1);
        pd_fsm_put_applied(fsm, engine, batch);
        CHECK(engine_write(engine, batch, true, NULL) == ERR_OK);
    }
    if (pd_fsm_applied_index(fsm) > 0)
        must_load_the_same(engine, fsm);
    engine_batch_free(engine, batch);
    buf_fini(&out);
    pd_fsm_free(fsm);
}

static void put_row(struct engine *engine, struct engine_batch *batch, struct fuzz_input *input)
{
    static const char kinds[] = "acitksgmz";
    uint8_t key[9] = {(uint8_t)kinds[fuzz_u8(input) % (sizeof kinds - 1)]};
    size_t key_size = key[0] == 'k' || key[0] == 's' || key[0] == 'g' ? 9 : 1;
    if (key_size == 9)
        store_u64_be(key + 1, draw_number(input));
    if (fuzz_u8(input) == 255)
        key_size = fuzz_u8(input) % 10;
    struct bytes value = fuzz_take(input, fuzz_u8(input));
    engine_batch_put(engine, batch, ENGINE_DEFAULT, bytes_of(key, key_size), value);
}

static void run_rows(struct engine *engine, struct fuzz_input *input)
{
    struct error error = {0};
    struct engine_batch *batch = engine_batch_new(engine);
    for (int i = 0; i < ROWS_MAX && input->size > 0; i++)
        put_row(engine, batch, input);
    CHECK(engine_write(engine, batch, true, NULL) == ERR_OK);
    engine_batch_free(engine, batch);
    struct pd_fsm *fsm = pd_fsm_new();
    enum err code = pd_fsm_load(fsm, engine, &error);
    CHECK(code == ERR_OK || (code == ERR_CORRUPT && error.text[0] != 0));
    if (code == ERR_OK)
        pd_fsm_check(fsm);
    pd_fsm_free(fsm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input input = {.data = data, .size = size};
    struct engine *engine;
    CHECK(engine_mem_new(&engine) == ERR_OK);
    if (fuzz_u8(&input) & 1)
        run_rows(engine, &input);
    else
        run_commands(engine, &input);
    engine_mem_free(engine);
    return 0;
}

static void add_row(struct buf *seed, uint8_t kind, uint8_t id, struct bytes table)
{
    uint8_t head[] = {kind, 0, id, 0, (uint8_t)(table.size + 8), 1, 0, 0, 0, 0, 0, 0, 0};
    buf_append(seed, head, sizeof head);
    buf_append_bytes(seed, table);
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    /* set_cluster 7; alloc 9 ids; store 1 under token 3; the whole key space as region 2 */
    static const uint8_t commands[] = {0,   0, 1,   0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 7, 0, 0,   3,   0,
                                       9,   0, 0,   0, 0, 0, 2, 0, 7, 0, 0, 3, 0, 9, 0, 0, 1, 0, 0, 3,   'a', ':',
                                       '1', 1, '1', 0, 0, 3, 0, 7, 1, 0, 3, 0, 9, 0, 0, 0, 1, 0, 2, 0,   0,   0,
                                       1,   0, 1,   1, 0, 3, 1, 0, 0, 0, 5, 0, 7, 0, 0, 0, 0, 0, 0, 200, 0,   0};
    write(context, "commands", commands, sizeof commands);
    struct wire_peer peer = {.id = 3, .store_id = 1};
    struct wire_region region = {.id = 2, .epoch_conf = 1, .epoch_version = 1, .peers = &peer, .peers_count = 1};
    struct wire_route route = {.region = &region};
    struct wire_store store = {.id = 1, .address = bytes_of_string("tcp://a:1")};
    struct buf seed, table;
    buf_init(&seed, 4096);
    buf_init(&table, 4096);
    static const uint8_t head[] = {1, 1, 0, 10, 1, 0,  0, 0, 0, 0, 0, 0, 7, 1, 2, 0, 9, 1, 0, 0,
                                   0, 0, 0, 0,  0, 50, 4, 0, 9, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 1};
    buf_append(&seed, head, sizeof head);
    CHECK(wire_encode_store(&store, &table) == ERR_OK);
    add_row(&seed, 5, 1, buf_bytes(&table));
    CHECK(wire_encode_route(&route, &table) == ERR_OK);
    add_row(&seed, 6, 2, buf_bytes(&table));
    write(context, "rows", seed.data, seed.size);
    buf_fini(&table);
    buf_fini(&seed);
}
