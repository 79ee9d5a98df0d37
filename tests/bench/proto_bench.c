/* proto_bench: what a message costs between struct and bytes.
 *
 *   proto_bench [MILLISECONDS per figure, default 200]
 *
 * Prints the best of five runs, because everything else only makes a run slower. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "proto/wire.h"

enum { RUN_COUNT = 5, BATCH_COUNT = 64, CHUNK = 64, OUT_SIZE_MAX = 16 * 1024 * 1024 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct sample {
    const void *message;
    struct buf out;
    struct arena arena;
};

static double best_ns(void (*work)(struct sample *), struct sample *sample, uint64_t run_ns)
{
    double best = 0;
    for (int run = 0; run < RUN_COUNT; run++) {
        uint64_t start = now_ns(), end = start, count = 0;
        for (; end - start < run_ns / RUN_COUNT; end = now_ns(), count += CHUNK)
            for (int i = 0; i < CHUNK; i++)
                work(sample);
        double each = (double)(end - start) / (double)count;
        if (run == 0 || each < best)
            best = each;
    }
    return best;
}

#define WORK(name)                                                                                                     \
    static void encode_##name(struct sample *sample)                                                                   \
    {                                                                                                                  \
        CHECK(wire_encode_##name(sample->message, &sample->out) == ERR_OK);                                            \
    }                                                                                                                  \
    static void frame_##name(struct sample *sample)                                                                    \
    {                                                                                                                  \
        frame_unref(wire_frame_##name(1, sample->message));                                                            \
    }                                                                                                                  \
    static void decode_##name(struct sample *sample)                                                                   \
    {                                                                                                                  \
        struct wire_##name message;                                                                                    \
        arena_reset(&sample->arena);                                                                                   \
        CHECK(wire_decode_##name(buf_bytes(&sample->out), &sample->arena, &message) == ERR_OK);                        \
    }                                                                                                                  \
    static void bench_##name(const char *what, const struct wire_##name *message, uint64_t run_ns)                     \
    {                                                                                                                  \
        struct sample sample = {.message = message};                                                                   \
        buf_init(&sample.out, OUT_SIZE_MAX);                                                                           \
        arena_init(&sample.arena);                                                                                     \
        double encode = best_ns(encode_##name, &sample, run_ns), frame = best_ns(frame_##name, &sample, run_ns);       \
        double decode = best_ns(decode_##name, &sample, run_ns);                                                       \
        printf("%-44s %8zu B  encode %8.0f ns  frame %8.0f ns  verify+decode %8.0f ns\n", what, sample.out.size,       \
               encode, frame, decode);                                                                                 \
        buf_fini(&sample.out);                                                                                         \
        arena_fini(&sample.arena);                                                                                     \
    }

WORK(kv_request)
WORK(kv_request_batch)
WORK(kv_reply)
WORK(raft_batch)
WORK(log_command)
WORK(apply_state)

static void bench_kv(uint64_t run_ns)
{
    static uint8_t value[100];
    struct wire_kv_request requests[BATCH_COUNT];
    for (int i = 0; i < BATCH_COUNT; i++)
        requests[i] = (struct wire_kv_request){.id = 1,
                                               .op = WIRE_KV_OP_PUT,
                                               .region_id = 7,
                                               .epoch_conf = 1,
                                               .epoch_version = 1,
                                               .deadline_ms = 1000,
                                               .client_id = 5,
                                               .sequence = 9,
                                               .key = bytes_of("sixteen bytes ok", 16),
                                               .value = bytes_of(value, sizeof value)};
    struct wire_kv_request_batch batch = {.requests = requests, .requests_count = BATCH_COUNT};
    bench_kv_request("put, key 16 B, value 100 B", requests, run_ns);
    bench_kv_request_batch("64 of them", &batch, run_ns);

    struct wire_log_write write = {
        .op = WIRE_KV_OP_PUT, .key = requests[0].key, .value = requests[0].value, .client_id = 5, .sequence = 9};
    struct wire_log_command command = {
        .kind = WIRE_COMMAND_KIND_WRITE, .epoch_conf = 1, .epoch_version = 1, .writes = &write, .writes_count = 1};
    bench_log_command("the put in the log", &command, run_ns);
    struct wire_apply_state state = {.applied_index = 9, .applied_term = 3, .truncated_index = 1, .truncated_term = 1};
    bench_apply_state("apply state", &state, run_ns);

    struct wire_kv_reply done = {.id = 1};
    bench_kv_reply("answer of a put", &done, run_ns);
    static struct wire_kv_pair pairs[1000];
    for (int i = 0; i < 1000; i++)
        pairs[i] = (struct wire_kv_pair){.key = requests[0].key, .value = requests[0].value};
    struct wire_kv_reply scan = {.id = 1, .pairs = pairs, .pairs_count = 1000};
    bench_kv_reply("answer of a scan, 1000 rows", &scan, run_ns);
}

static void bench_raft(uint64_t run_ns)
{
    static uint8_t data[128];
    struct wire_raft_entry entries[BATCH_COUNT];
    for (uint64_t i = 0; i < BATCH_COUNT; i++)
        entries[i] = (struct wire_raft_entry){.term = 3, .index = 100 + i, .data = bytes_of(data, sizeof data)};
    struct wire_raft_message append = {.region_id = 7,
                                       .kind = 3,
                                       .from = 1,
                                       .to = 2,
                                       .term = 3,
                                       .index = 99,
                                       .entries = entries,
                                       .entries_count = BATCH_COUNT};
    struct wire_raft_batch one = {.from_store = 1, .to_store = 2, .messages = &append, .messages_count = 1};
    bench_raft_batch("append of 64 entries of 128 B", &one, run_ns);

    struct wire_raft_message heartbeats[BATCH_COUNT];
    for (uint64_t i = 0; i < BATCH_COUNT; i++)
        heartbeats[i] = (struct wire_raft_message){.region_id = i + 1, .kind = 5, .from = 1, .to = 2, .term = 3};
    struct wire_raft_batch batch = {.messages = heartbeats, .messages_count = BATCH_COUNT};
    bench_raft_batch("64 heartbeats", &batch, run_ns);
}

int main(int argc, char **argv)
{
    uint64_t run_ns = (argc > 1 ? strtoull(argv[1], NULL, 10) : 200) * 1000000;
    bench_kv(run_ns);
    bench_raft(run_ns);
    return 0;
}
