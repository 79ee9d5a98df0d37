/* fuzz_wire: hostile bytes against the decoder of every table.
 *
 * The first byte says which table the rest pretends to be. What decodes must mean the same after another encode and
 * decode. */
#include <stdlib.h>

#include "base/rng.h"
#include "fuzz.h"
#include "wire_random.h"

enum { OUT_SIZE_MAX = 1024 * 1024, SEED_SIZE_MIN = 64, SEED_SIZE_MAX = 700 };

/* What arrives in frames or lies on disk has a number of its own, so that the corpus outlives new tables; the other
 * numbers reach the rest. */
static const char *const root_names[] = {
    [1] = "hello",        [2] = "kv_request_batch", [3] = "kv_reply_batch", [4] = "raft_batch", [5] = "pd_request",
    [6] = "pd_reply",     [7] = "snapshot_chunk",   [8] = "log_command",    [9] = "pd_command", [10] = "region_state",
    [11] = "apply_state", [12] = "token_window",    [13] = "store_ident",
};
enum { ROOT_NAME_COUNT = sizeof root_names / sizeof root_names[0] };

static const struct wire_root *root_of(uint8_t number)
{
    if (number < ROOT_NAME_COUNT && root_names[number]) {
        for (uint32_t i = 0; i < wire_root_count; i++) {
            if (strcmp(wire_roots[i].name, root_names[number]) == 0)
                return &wire_roots[i];
        }
    }
    return &wire_roots[number % wire_root_count];
}

/* A message may name one child often; written out it is larger than it was, perhaps too large. */
static void must_keep_its_meaning(const struct wire_root *root, const void *message, struct arena *arena)
{
    struct buf out;
    buf_init(&out, OUT_SIZE_MAX);
    enum err code = root->encode(message, &out);
    CHECK(code == ERR_OK || code == ERR_ENTRY_TOO_LARGE);
    if (code == ERR_OK) {
        void *again = arena_alloc(arena, root->size);
        CHECK(root->decode(buf_bytes(&out), arena, again) == ERR_OK);
        CHECK(root->equal(message, again));
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    /* A block of its own: aligned, and a sanitizer sees where it ends. */
    size_t message_size = size - 1;
    uint8_t *copy = malloc(message_size ? message_size : 1);
    CHECK(copy);
    memcpy(copy, data + 1, message_size);
    const struct wire_root *root = root_of(data[0]);
    struct arena arena;
    arena_init(&arena);
    void *message = arena_alloc(&arena, root->size);
    enum err code = root->decode(bytes_of(copy, message_size), &arena, message);
    CHECK(code == ERR_OK || code == ERR_CORRUPT);
    if (code == ERR_OK)
        must_keep_its_meaning(root, message, &arena);
    arena_fini(&arena);
    free(copy);
    return 0;
}

/* A random message that is neither trivial nor long. Small tables never reach the size wished for. */
static void random_seed(const struct wire_root *root, struct rng *rng, struct buf *out)
{
    for (int attempt = 0; attempt < 1000; attempt++) {
        struct arena arena;
        arena_init(&arena);
        void *message = arena_alloc(&arena, root->size);
        root->random(rng, &arena, message);
        CHECK(root->encode(message, out) == ERR_OK);
        arena_fini(&arena);
        if (out->size >= SEED_SIZE_MIN && out->size <= SEED_SIZE_MAX)
            return;
    }
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    struct rng rng;
    struct buf out, seed;
    rng_init(&rng, 1, "fuzz_wire");
    buf_init(&out, OUT_SIZE_MAX);
    buf_init(&seed, OUT_SIZE_MAX + 1);
    for (uint8_t number = 1; number < ROOT_NAME_COUNT; number++) {
        random_seed(root_of(number), &rng, &out);
        buf_reset(&seed);
        buf_append_u8(&seed, number);
        buf_append_bytes(&seed, buf_bytes(&out));
        write(context, root_names[number], seed.data, seed.size);
    }
    buf_fini(&seed);
    buf_fini(&out);
}
