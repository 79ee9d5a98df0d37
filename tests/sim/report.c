#include "report.h"

#include <stdlib.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#define ULL(value) ((unsigned long long)(value))

static void print_faults(const struct coverage *coverage, uint64_t mask)
{
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        if (coverage->happened[kind] > 0)
            printf(" %s=%llu", fault_name((enum fault_kind)kind), ULL(coverage->happened[kind]));
        else if (mask & FAULT_BIT(kind))
            printf(" %s", fault_name((enum fault_kind)kind));
    }
}

static void print_done(const uint64_t *by_op)
{
    for (int op = 0; op < COVERAGE_OP_COUNT; op++)
        printf(" %s %llu", coverage_op_names[op], ULL(by_op[op]));
}

void report_seed(const struct batch_settings *settings, const struct run_result *result, uint64_t seed)
{
    if (settings->json || (settings->quiet && !result->failed))
        return;
    printf("seed %llu digest %016llx pds %u stores %u clients %u regions %u virtual %.1fs events %llu applied %llu elections "
           "%llu done %llu not-done %llu unknown %llu recovery %.1fs faults:",
           ULL(seed), ULL(result->digest), result->pds, result->stores, result->clients, result->regions,
           (double)result->virtual_us / 1e6, ULL(result->events), ULL(result->raft.applied),
           ULL(result->raft.elections), ULL(result->ops.done), ULL(result->ops.not_done), ULL(result->ops.unknown),
           (double)result->recovery_us / 1e6);
    print_faults(&result->coverage, result->fault_mask);
    printf("%s%s\n", result->linear_undecided ? " UNDECIDED" : "", result->failed ? " FAILED" : "");
    if (!settings->verbose)
        return;
    const struct net_counts *net = &result->net;
    printf("  net: frames %llu bytes %llu dials %llu (failed %llu) connections lost %llu frames lost %llu busy offers "
           "%llu busy sends %llu\n  done:",
           ULL(net->frames), ULL(net->bytes), ULL(net->dials), ULL(net->dials_failed), ULL(net->conns_lost),
           ULL(net->frames_lost), ULL(net->busy_offers), ULL(net->busy_sends));
    print_done(result->ops.by_op);
    printf(
        "; linearizability: %llu steps; committed entries looked for on disks: %llu; most idle rounds in a second: %u "
        "(%s)\n",
        ULL(result->linear_steps), ULL(result->raft.durable), result->most_idle_rounds, result->most_idle_rounds_of);
}

static double speed(const struct batch_totals *totals, double seconds)
{
    return seconds > 0 ? (double)totals->virtual_us / 1e6 / seconds : 0;
}

void report_progress(const struct batch_settings *settings, const struct batch_totals *totals, bool end)
{
    static double told_s;
    bool terminal = isatty(STDERR_FILENO);
    if (settings->first == settings->last || (!end && totals->real_s < told_s + (terminal ? 1 : 10)))
        return;
    if (end) {
        if (terminal && told_s > 0)
            fputs("\r\033[K", stderr);
        return;
    }
    told_s = totals->real_s;
    uint64_t all = settings->last - settings->first + 1;
    double rest_s = totals->seeds ? totals->real_s / (double)totals->seeds * (double)(all - totals->seeds) : 0;
    fprintf(stderr, "%s%llu of %llu seeds, %llu failed, %.1f virtual s per s, %.0f s to go%s", terminal ? "\r" : "",
            ULL(totals->seeds), ULL(all), ULL(totals->failed), speed(totals, totals->real_s), rest_s,
            terminal ? "\033[K" : "\n");
}

void report_totals(const struct batch_settings *settings, const struct batch_totals *totals)
{
    printf("%llu seeds, %llu failed, %llu run twice with equal digests, digest %016llx\n", ULL(totals->seeds),
           ULL(totals->failed), ULL(totals->twice), ULL(totals->digest));
    printf("%.0f virtual s in %.1f s (%.1f s of CPU): %.1f virtual s per real s, %.1f per s of CPU; %llu events, %llu "
           "ops, %llu unknown%s\n",
           (double)totals->virtual_us / 1e6, totals->real_s, totals->cpu_s, speed(totals, totals->real_s),
           speed(totals, totals->cpu_s), ULL(totals->events), ULL(totals->done), ULL(totals->unknown),
           totals->undecided ? ", some histories undecided" : "");
    printf("%llu elections, deposed leaders led on for %.1f s, %llu log tails were overwritten, %llu committed entries "
           "looked for on the disks; slowest recovery %.1f s (seed %llu)\ndone:",
           ULL(totals->raft.elections), (double)totals->raft.deposed_us / 1e6, ULL(totals->raft.overwritten),
           ULL(totals->raft.durable), (double)totals->recovery_max_us / 1e6, ULL(totals->recovery_seed));
    print_done(totals->by_op);
    printf("\nregions fell asleep %llu times and were woken by:", ULL(totals->sleep.slept));
    for (int cause = 0; cause < WAKE_CAUSE_COUNT; cause++)
        printf(" %s %llu", wake_cause_name((enum wake_cause)cause), ULL(totals->sleep.woken[cause]));
    printf("; %llu were handed over, for a disk that hung or an orderly end\n", ULL(totals->sleep.handed_over));
    printf("%llu snapshots of regions were sent, %llu given up, %llu resumed after a broken connection, %llu chunks "
           "refused; %llu were installed, and %llu by a start\n",
           ULL(totals->snapshots.sent), ULL(totals->snapshots.not_sent), ULL(totals->snapshots.resumed),
           ULL(totals->snapshots.refused), ULL(totals->snapshots.installed), ULL(totals->snapshots.installed_at_start));
    printf("%llu members of pd were replaced by others with an empty disk\n", ULL(totals->pds_replaced));
    printf("%llu times rows were found that could not be read, %llu replicas got their rows anew; %llu hashes were "
           "compared, %llu differed\n",
           ULL(totals->damage.found), ULL(totals->damage.healed), ULL(totals->damage.hashes),
           ULL(totals->damage.hash_mismatches));
    printf("peers of regions were prepared for a merge %llu times, and rolled back %llu; %llu took in a neighbour, %llu had to "
           "wait for it, %llu by a snapshot\n",
           ULL(totals->merges.prepared), ULL(totals->merges.rolled_back), ULL(totals->merges.taken_in),
           ULL(totals->merges.waited), ULL(totals->merges.by_snapshot));
    printf("pd's policies began %llu operators\n", ULL(totals->operators));
    if (settings->run.faults)
        coverage_print(&totals->coverage, settings->run.fault_allowed | settings->run.fault_forced, stdout);
}

/* ---- JSON */

static void add_hex(cJSON *object, const char *name, uint64_t value)
{
    char text[20];
    snprintf(text, sizeof text, "%016llx", ULL(value));
    cJSON_AddStringToObject(object, name, text);
}

static void add_number(cJSON *object, const char *name, uint64_t value)
{
    cJSON_AddNumberToObject(object, name, (double)value);
}

cJSON *report_json_failure(const struct batch_settings *settings, const struct batch_outcome *outcome, uint64_t seed)
{
    char *command = NULL;
    size_t size = 0;
    FILE *text = open_memstream(&command, &size);
    cJSON *failure = cJSON_CreateObject();
    add_number(failure, "seed", seed);
    cJSON_AddStringToObject(failure, "checker", outcome->checker);
    cJSON_AddStringToObject(failure, "failure", outcome->failure);
    if (text) {
        batch_print_command(settings, &settings->run, seed, text);
        fclose(text);
        cJSON_AddStringToObject(failure, "replay", command);
    }
    free(command);
    return failure;
}

static cJSON *coverage_json(const struct coverage *coverage, uint64_t kinds)
{
    cJSON *object = cJSON_CreateObject();
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        if (!(kinds & FAULT_BIT(kind)))
            continue;
        cJSON *row = cJSON_AddObjectToObject(object, fault_name((enum fault_kind)kind));
        add_number(row, "happened", coverage->happened[kind]);
        for (int op = 0; op < COVERAGE_OP_COUNT; op++)
            add_number(row, coverage_op_names[op], coverage->ops[kind][op]);
    }
    return object;
}

void report_json(const struct batch_settings *settings, const struct batch_totals *totals, cJSON *take_failures)
{
    cJSON *object = cJSON_CreateObject();
    add_number(object, "seed_first", settings->first);
    add_number(object, "seed_last", settings->last);
    add_number(object, "seeds", totals->seeds);
    add_number(object, "failed", totals->failed);
    add_number(object, "run_twice", totals->twice);
    add_hex(object, "digest", totals->digest);
    cJSON_AddNumberToObject(object, "virtual_s", (double)totals->virtual_us / 1e6);
    cJSON_AddNumberToObject(object, "real_s", totals->real_s);
    cJSON_AddNumberToObject(object, "cpu_s", totals->cpu_s);
    cJSON_AddNumberToObject(object, "virtual_s_per_real_s", speed(totals, totals->real_s));
    cJSON_AddNumberToObject(object, "virtual_s_per_cpu_s", speed(totals, totals->cpu_s));
    add_number(object, "events", totals->events);
    add_number(object, "ops_done", totals->done);
    add_number(object, "ops_unknown", totals->unknown);
    add_number(object, "histories_undecided", totals->undecided);
    add_number(object, "elections", totals->raft.elections);
    add_number(object, "log_tails_overwritten", totals->raft.overwritten);
    add_number(object, "regions_slept", totals->sleep.slept);
    cJSON *woken = cJSON_AddObjectToObject(object, "regions_woken_by");
    for (int cause = 0; cause < WAKE_CAUSE_COUNT; cause++)
        add_number(woken, wake_cause_name((enum wake_cause)cause), totals->sleep.woken[cause]);
    add_number(object, "handed_over", totals->sleep.handed_over);
    add_number(object, "snapshots_sent", totals->snapshots.sent);
    add_number(object, "snapshots_installed", totals->snapshots.installed);
    add_number(object, "damage_found", totals->damage.found);
    add_number(object, "replicas_healed", totals->damage.healed);
    add_number(object, "hashes_compared", totals->damage.hashes);
    add_number(object, "hashes_differed", totals->damage.hash_mismatches);
    add_number(object, "snapshots_installed_at_start", totals->snapshots.installed_at_start);
    add_number(object, "operators", totals->operators);
    add_number(object, "merges_prepared", totals->merges.prepared);
    add_number(object, "merges_rolled_back", totals->merges.rolled_back);
    add_number(object, "merges_taken_in", totals->merges.taken_in);
    add_number(object, "merges_waited", totals->merges.waited);
    add_number(object, "merges_by_snapshot", totals->merges.by_snapshot);
    add_number(object, "committed_entries_checked", totals->raft.durable);
    cJSON_AddNumberToObject(object, "recovery_max_s", (double)totals->recovery_max_us / 1e6);
    cJSON *done = cJSON_AddObjectToObject(object, "done");
    for (int op = 0; op < COVERAGE_OP_COUNT; op++)
        add_number(done, coverage_op_names[op], totals->by_op[op]);
    uint64_t kinds = settings->run.faults ? settings->run.fault_allowed | settings->run.fault_forced : 0;
    cJSON_AddItemToObject(object, "coverage", coverage_json(&totals->coverage, kinds));
    cJSON_AddItemToObject(object, "failures", take_failures);
    char *text = cJSON_Print(object);
    puts(text ? text : "{}");
    free(text);
    cJSON_Delete(object);
}
