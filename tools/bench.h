/* bench: a load generator over the client library, in four parts.
 *
 *   bench_data     keys and values from numbers, nothing kept
 *   bench_stats    latencies, errors, gaps, of the whole run and of the present second
 *   bench_truth    what must be there at the end, given the answers; and the history file
 *   bench_run      `concurrency` slots, each with at most one operation under way: closed loop, or paced by a rate
 *
 * Threads: callbacks of the library and the main thread meet under one mutex of bench_run; the parts have none. */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/histogram.h"
#include "cli.h"
#include "client/polder.h"

struct bench_options {
    struct cli_client client;
    char *output, *op, *read_mode, *history;
    uint32_t concurrency, clients, read_percent;
    uint64_t value_size, keys, seconds, rate, seed, warmup_ms;
    bool progress, verify, no_load;
};

/* ---- data */

enum { BENCH_KEY_SIZE = 16, BENCH_VALUE_ID_SIZE = 17 };

/* 16 characters of 0-9A-Za-z, evenly spread over the alphabet, different for different numbers. */
void bench_data_key(uint64_t index, char key[static BENCH_KEY_SIZE]);
/* The value with a number: it begins with the number and can be made again from it. */
void bench_data_value(uint64_t id, size_t size, uint8_t *value);
/* The number that a value begins with; false if it is none of ours. */
bool bench_data_value_id(struct bytes value, uint64_t *ret_id);

/* ---- stats */

enum bench_kind { BENCH_PUT, BENCH_GET, BENCH_KIND_COUNT };
enum { BENCH_CODE_MAX = 128 };

struct bench_stats {
    struct histogram latency_us[BENCH_KIND_COUNT]; /* of what was done */
    struct histogram second_us;                    /* both kinds, since bench_stats_next_second */
    uint64_t not_done[BENCH_CODE_MAX], unknown[BENCH_CODE_MAX];
    uint64_t error_count, second_errors;
    uint64_t missing_count; /* gets of keys that were loaded and are not there */
    uint64_t started_us, last_success_us, longest_gap_us, longest_gap_at_us;
};

void bench_stats_start(struct bench_stats *stats, uint64_t now_us); /* forgets everything */
void bench_stats_record(struct bench_stats *stats, enum bench_kind kind, uint64_t start_us, uint64_t end_us,
                        const struct polder_result *result);
/* A refusal at the call itself. */
void bench_stats_refused(struct bench_stats *stats, int code);
void bench_stats_end(struct bench_stats *stats, uint64_t now_us); /* the last gap may be open */

/* ---- truth */

struct bench_truth;

/* `history_path` and `verify` say what is kept; both may be off, then nothing is. */
struct bench_truth *bench_truth_new(const char *history_path, bool verify, uint64_t key_count, size_t value_size);
void bench_truth_free(struct bench_truth *truth);
/* `end_us` is ignored if the outcome is unknown. */
void bench_truth_put(struct bench_truth *truth, uint32_t client, uint64_t key_index, uint64_t value_id,
                     uint64_t start_us, uint64_t end_us, enum polder_outcome outcome);
void bench_truth_get(struct bench_truth *truth, uint32_t client, uint64_t key_index, uint64_t start_us, uint64_t end_us,
                     enum polder_outcome outcome, bool found, struct bytes value);
/* Takes what waits to be written to the history file; empty if there is none. Then, without the mutex, write it. */
void bench_truth_take(struct bench_truth *truth, struct buf *out);

/* One value that must be there at the end. */
enum bench_verdict { BENCH_NEVER_WRITTEN, BENCH_RIGHT, BENCH_LOST, BENCH_WRONG };
enum bench_verdict bench_truth_judge(const struct bench_truth *truth, uint64_t key_index, bool found,
                                     struct bytes value);
bool bench_truth_expects(const struct bench_truth *truth, uint64_t key_index);
uint64_t bench_truth_acknowledged(const struct bench_truth *truth);

/* ---- run */

struct bench_result {
    struct bench_stats stats;
    uint64_t loaded, load_us;
    uint64_t run_us;
    uint64_t verified, lost, wrong, unread;
    uint64_t acknowledged;
    struct polder_stats client; /* sums over handles */
};

/* CLI_OK when it ran to the end (with errors or not) and, with verify, nothing was lost; otherwise it has said why. */
int bench_run(const struct command *command, const struct bench_options *options, struct bench_result *result);

#endif
