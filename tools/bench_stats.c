#include <string.h>

#include "bench.h"

void bench_stats_start(struct bench_stats *stats, uint64_t now_us)
{
    memset(stats, 0, sizeof *stats);
    stats->started_us = stats->last_success_us = now_us;
}

static void note_gap(struct bench_stats *stats, uint64_t now_us)
{
    uint64_t gap_us = now_us > stats->last_success_us ? now_us - stats->last_success_us : 0;
    if (gap_us > stats->longest_gap_us) {
        stats->longest_gap_us = gap_us;
        stats->longest_gap_at_us = stats->last_success_us - stats->started_us;
    }
}

static void count_error(struct bench_stats *stats, uint64_t *counts, int code)
{
    counts[code >= 0 && code < BENCH_CODE_MAX ? code : BENCH_CODE_MAX - 1]++;
    stats->error_count++;
    stats->second_errors++;
}

void bench_stats_record(struct bench_stats *stats, enum bench_kind kind, uint64_t start_us, uint64_t end_us,
                        const struct polder_result *result)
{
    if (result->outcome == POLDER_DONE) {
        histogram_record(&stats->latency_us[kind], end_us - start_us);
        histogram_record(&stats->second_us, end_us - start_us);
        stats->missing_count += kind == BENCH_GET && !result->found;
        note_gap(stats, end_us);
        if (end_us > stats->last_success_us)
            stats->last_success_us = end_us;
    } else {
        count_error(stats, result->outcome == POLDER_UNKNOWN ? stats->unknown : stats->not_done, result->code);
    }
}

void bench_stats_refused(struct bench_stats *stats, int code)
{
    count_error(stats, stats->not_done, code);
}

void bench_stats_end(struct bench_stats *stats, uint64_t now_us)
{
    note_gap(stats, now_us);
}
