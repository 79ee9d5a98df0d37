#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/types.h"
#include "bench.h"
#include "commands.h"

static const struct setting rows[] = {
    CLI_CLIENT_ROWS(struct bench_options, client),
    CLI_OUTPUT_ROW(struct bench_options, output),
    {.key = "op",
     .type = SETTING_STRING,
     SETTING_FIELD(struct bench_options, op),
     .default_text = "mix",
     .choices = "put|get|mix",
     .help = "what to do"},
    {.key = "concurrency",
     .letter = 'c',
     .type = SETTING_U32,
     SETTING_FIELD(struct bench_options, concurrency),
     .default_text = "64",
     .min = 1,
     .max = 60000,
     .help = "operations under way at a time"},
    {.key = "clients",
     .type = SETTING_U32,
     SETTING_FIELD(struct bench_options, clients),
     .default_text = "1",
     .min = 1,
     .max = 1000,
     .help = "client handles (each with its own connections) that share them"},
    {.key = "value-size",
     .type = SETTING_U64,
     SETTING_FIELD(struct bench_options, value_size),
     .default_text = "100",
     .max = VALUE_SIZE_MAX,
     .help = "bytes to a value"},
    {.key = "keys",
     .type = SETTING_U64,
     SETTING_FIELD(struct bench_options, keys),
     .default_text = "10000",
     .min = 1,
     .max = 1000000000,
     .help = "different keys, 16 bytes each, spread over the key space"},
    {.key = "seconds",
     .type = SETTING_U64,
     SETTING_FIELD(struct bench_options, seconds),
     .default_text = "10",
     .min = 1,
     .max = 86400,
     .help = "how long to measure"},
    {.key = "warmup",
     .type = SETTING_DURATION,
     SETTING_FIELD(struct bench_options, warmup_ms),
     .default_text = "0s",
     .help = "how long to run before measuring"},
    {.key = "rate",
     .type = SETTING_U64,
     SETTING_FIELD(struct bench_options, rate),
     .default_text = "0",
     .max = 1000000,
     .help = "operations per second, latency counted from when each was due; 0: as fast as answers come"},
    {.key = "read-percent",
     .type = SETTING_U32,
     SETTING_FIELD(struct bench_options, read_percent),
     .default_text = "50",
     .max = 100,
     .help = "share of gets in a mix"},
    {.key = "read-mode",
     .type = SETTING_STRING,
     SETTING_FIELD(struct bench_options, read_mode),
     .default_text = "leader",
     .choices = "leader|index|stale",
     .help = "who may answer gets: leader and index are linearizable"},
    {.key = "seed",
     .type = SETTING_U64,
     SETTING_FIELD(struct bench_options, seed),
     .default_text = "1",
     .help = "which keys and operations are chosen"},
    {.key = "progress",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct bench_options, progress),
     .default_text = "false",
     .help = "a line per second, on standard error"},
    {.key = "no-load",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct bench_options, no_load),
     .default_text = "false",
     .help = "do not write the keys first"},
    {.key = "verify",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct bench_options, verify),
     .default_text = "false",
     .help = "at the end read all keys back: no acknowledged write may be lost"},
    {.key = "history",
     .type = SETTING_STRING,
     SETTING_FIELD(struct bench_options, history),
     .value_name = "FILE",
     .help = "write every operation there (JSON lines), for a linearizability checker"},
};

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

static void print_latency(const char *name, const struct histogram *latency)
{
    if (latency->count == 0)
        return;
    printf("%-5s p50 %.2f ms, p95 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms, mean %.2f ms\n", name,
           ms(histogram_quantile(latency, 500)), ms(histogram_quantile(latency, 950)),
           ms(histogram_quantile(latency, 990)), ms(histogram_quantile(latency, 999)), ms(latency->max),
           ms(histogram_mean(latency)));
}

static uint64_t per_second(uint64_t count, uint64_t us)
{
    return us ? (uint64_t)((double)count * 1e6 / (double)us + 0.5) : 0;
}

static void print_errors(const struct bench_stats *stats)
{
    printf("errors %" PRIu64, stats->error_count);
    for (int code = 0; code < BENCH_CODE_MAX; code++) {
        if (stats->not_done[code])
            printf(", %s (not done) %" PRIu64, polder_code_name(code), stats->not_done[code]);
        if (stats->unknown[code])
            printf(", %s (unknown) %" PRIu64, polder_code_name(code), stats->unknown[code]);
    }
    printf("\nlongest time without a success %.0f ms (at %.1f s)\n", ms(stats->longest_gap_us),
           ms(stats->longest_gap_at_us) / 1000);
    if (stats->missing_count)
        printf("gets that found nothing %" PRIu64 "\n", stats->missing_count);
}

static void print_text(const struct bench_options *options, const struct bench_result *result,
                       const struct histogram *all)
{
    const struct bench_stats *stats = &result->stats;
    if (result->loaded)
        printf("loaded %" PRIu64 " keys, %" PRIu64 "/s\n", result->loaded, per_second(result->loaded, result->load_us));
    printf("%s, %u under way, %u clients, values of %" PRIu64 " bytes, %" PRIu64 " keys, %.1f s\n", options->op,
           options->concurrency, options->clients, options->value_size, options->keys, ms(result->run_us) / 1000);
    printf("%" PRIu64 " ops/s (%" PRIu64 " puts, %" PRIu64 " gets)\n", per_second(all->count, result->run_us),
           stats->latency_us[BENCH_PUT].count, stats->latency_us[BENCH_GET].count);
    print_latency("all", all);
    if (stats->latency_us[BENCH_PUT].count && stats->latency_us[BENCH_GET].count) {
        print_latency("put", &stats->latency_us[BENCH_PUT]);
        print_latency("get", &stats->latency_us[BENCH_GET]);
    }
    print_errors(stats);
    printf("client: %" PRIu64 " requests in %" PRIu64 " frames, %" PRIu64 " sent again, %" PRIu64 " rerouted, %" PRIu64
           " told to wait\n",
           result->client.requests, result->client.frames, result->client.retries, result->client.reroutes,
           result->client.backoffs);
    if (options->verify)
        printf("verified: %" PRIu64 " acknowledged writes, %" PRIu64 " keys right, %" PRIu64 " lost, %" PRIu64
               " wrong, %" PRIu64 " unreadable\n",
               result->acknowledged, result->verified, result->lost, result->wrong, result->unread);
}

static void add_latency(cJSON *json, const char *name, const struct histogram *latency)
{
    cJSON *item = cJSON_AddObjectToObject(json, name);
    cJSON_AddNumberToObject(item, "count", (double)latency->count);
    cJSON_AddNumberToObject(item, "p50_us", (double)histogram_quantile(latency, 500));
    cJSON_AddNumberToObject(item, "p95_us", (double)histogram_quantile(latency, 950));
    cJSON_AddNumberToObject(item, "p99_us", (double)histogram_quantile(latency, 990));
    cJSON_AddNumberToObject(item, "p999_us", (double)histogram_quantile(latency, 999));
    cJSON_AddNumberToObject(item, "max_us", (double)latency->max);
    cJSON_AddNumberToObject(item, "mean_us", (double)histogram_mean(latency));
}

static void add_codes(cJSON *json, const char *name, const uint64_t *counts)
{
    cJSON *item = cJSON_AddObjectToObject(json, name);
    for (int code = 0; code < BENCH_CODE_MAX; code++)
        if (counts[code])
            cJSON_AddNumberToObject(item, polder_code_name(code), (double)counts[code]);
}

static void print_json(const struct bench_options *options, const struct bench_result *result,
                       const struct histogram *all)
{
    const struct bench_stats *stats = &result->stats;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "op", options->op);
    cJSON_AddNumberToObject(json, "concurrency", options->concurrency);
    cJSON_AddNumberToObject(json, "clients", options->clients);
    cJSON_AddNumberToObject(json, "value_size", (double)options->value_size);
    cJSON_AddNumberToObject(json, "keys", (double)options->keys);
    cJSON_AddNumberToObject(json, "seconds", ms(result->run_us) / 1000);
    cJSON_AddNumberToObject(json, "loaded", (double)result->loaded);
    cJSON_AddNumberToObject(json, "ops", (double)all->count);
    cJSON_AddNumberToObject(json, "ops_per_s", (double)per_second(all->count, result->run_us));
    add_latency(json, "latency", all);
    add_latency(json, "put", &stats->latency_us[BENCH_PUT]);
    add_latency(json, "get", &stats->latency_us[BENCH_GET]);
    cJSON_AddNumberToObject(json, "errors", (double)stats->error_count);
    add_codes(json, "not_done", stats->not_done);
    add_codes(json, "unknown", stats->unknown);
    cJSON_AddNumberToObject(json, "missing", (double)stats->missing_count);
    cJSON_AddNumberToObject(json, "longest_gap_ms", ms(stats->longest_gap_us));
    cJSON_AddNumberToObject(json, "longest_gap_at_s", ms(stats->longest_gap_at_us) / 1000);
    cJSON *client = cJSON_AddObjectToObject(json, "client");
    cJSON_AddNumberToObject(client, "requests", (double)result->client.requests);
    cJSON_AddNumberToObject(client, "frames", (double)result->client.frames);
    cJSON_AddNumberToObject(client, "retries", (double)result->client.retries);
    cJSON_AddNumberToObject(client, "reroutes", (double)result->client.reroutes);
    cJSON_AddNumberToObject(client, "backoffs", (double)result->client.backoffs);
    cJSON_AddNumberToObject(client, "losses", (double)result->client.losses);
    if (options->verify) {
        cJSON *verify = cJSON_AddObjectToObject(json, "verify");
        cJSON_AddNumberToObject(verify, "acknowledged", (double)result->acknowledged);
        cJSON_AddNumberToObject(verify, "right", (double)result->verified);
        cJSON_AddNumberToObject(verify, "lost", (double)result->lost);
        cJSON_AddNumberToObject(verify, "wrong", (double)result->wrong);
        cJSON_AddNumberToObject(verify, "unreadable", (double)result->unread);
    }
    cli_json_print(json);
}

static int check(const struct command *command, const struct bench_options *options)
{
    if (options->clients > options->concurrency)
        return cli_usage(command, "--clients %u: there are only %u operations to share (--concurrency)",
                         options->clients, options->concurrency);
    if ((options->verify || options->history) && options->value_size < BENCH_VALUE_ID_SIZE)
        return cli_usage(command, "--value-size %" PRIu64 ": --verify and --history need at least %d",
                         options->value_size, BENCH_VALUE_ID_SIZE);
    if (options->verify && options->keys > 10000000)
        return cli_usage(command, "--keys %" PRIu64 ": --verify keeps all of them in memory; at most 10000000",
                         options->keys);
    return CLI_GO_ON;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct bench_options options;
    struct settings *settings;
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    struct bench_result *result = calloc(1, sizeof *result);
    struct histogram *all = calloc(1, sizeof *all);
    CHECK(result && all);
    code = check(command, &options);
    if (code == CLI_GO_ON) {
        code = bench_run(command, &options, result);
        histogram_add(all, &result->stats.latency_us[BENCH_PUT]);
        histogram_add(all, &result->stats.latency_us[BENCH_GET]);
        if (result->run_us)
            (options.output[0] == 'j' ? print_json : print_text)(&options, result, all);
        if (code == CLI_OK && all->count == 0)
            code = CLI_FAILED;
    }
    free(all);
    free(result);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_bench = {
    .name = "bench",
    .operands = "",
    .summary = "measure a cluster",
    .text = "Writes the keys first (--no-load leaves that out), then keeps --concurrency operations under way and "
            "tells how fast they\n"
            "were answered, what failed, and the longest time in which nothing succeeded. Ctrl-C ends it early, with what "
            "was measured.\n"
            "\n"
            "Examples:\n"
            "  polder bench --op put --concurrency 64 --seconds 10\n"
            "  polder bench --op get --read-mode index -o json\n"
            "  polder bench --op mix --verify --history run.jsonl --progress\n"
            "\n"
            "Exit codes: 0 it ran (and --verify found all), 1 nothing succeeded, or an acknowledged write is lost or "
            "could not be\n"
            "read, 2 wrong usage, 5 the keys could not be written for sure.\n\n",
    CLI_TABLE(rows),
    .run = run,
};
