/* placement_batch: `polder sim placement`: one case, or all, each seed in a process of its own. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "placement.h"

static const char help[] =
    "usage: polder sim placement --case NAME [flags]\n"
    "\n"
    "pd's policies against simulated stores in virtual time: what they move, how long it takes, and what comes out of\n"
    "it. Each case has limits. Exit 0 they were kept, 1 they were not, 2 usage. docs/placement.md explains.\n"
    "\n"
    "  --case NAME          a case, or all (default all)\n"
    "  --skip NAME          not this one\n"
    "  --stores N           stores at the beginning (default: the case's own)\n"
    "  --regions N          regions, three peers each\n"
    "  --heartbeat-s N      each region says so often how large and busy it is (default: the case's own)\n"
    "  --seed N             another order of events (default 1)\n"
    "  --seeds A..B         all of them\n"
    "  --twice              each run twice: digests must be equal\n"
    "  --explain N          the last N operators: steps, what was compared, what was refused (JSON, a line each)\n"
    "  --bug NAME           with this deliberate mistake in pd (only in a build with -Dbugs=true)\n"
    "  --quiet              only failures\n"
    "  -o, --output FORMAT  table, json (an object per line), or csv\n"
    "\n"
    "cases:\n";

struct settings {
    struct placement_options options;
    uint64_t first, last;
    bool twice, quiet;
    const char *skip;
    const char *format;
};

/* In a process of its own: then rss_bytes is the run's, and a broken belief ends only that. */
static bool run_apart(const struct placement_options *options, struct placement_result *result)
{
    int ends[2], status = 0;
    if (pipe(ends) != 0)
        return false;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        placement_run(options, result);
        _exit(write(ends[1], result, sizeof(*result)) == (ssize_t)sizeof(*result) ? 0 : 2);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t size; pid > 0 && used < sizeof(*result) &&
                       (size = read(ends[0], (char *)result + used, sizeof(*result) - used)) > 0;)
        used += (size_t)size;
    close(ends[0]);
    if (pid > 0)
        waitpid(pid, &status, 0);
    if (used == sizeof(*result))
        return true;
    *result = (struct placement_result){.seed = options->seed};
    snprintf(result->name, sizeof(result->name), "%s", options->name);
    snprintf(result->failure, sizeof(result->failure), "the process ended (signal %d)",
             WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return true;
}

#define FIELDS(X)                                                                                                      \
    X("stores", "%.0f", (double)result->stores)                                                                        \
    X("regions", "%.0f", (double)result->regions)                                                                      \
    X("seed", "%.0f", (double)result->seed)                                                                            \
    X("moves_made", "%.0f", (double)result->moves_made)                                                                \
    X("moves_necessary", "%.1f", result->moves_necessary)                                                              \
    X("moves_ratio", "%.4f", result->moves_ratio)                                                                      \
    X("redundant_ratio", "%.5f", result->redundant_ratio)                                                              \
    X("time_95_s", "%.0f", result->time_95_s)                                                                          \
    X("time_99_s", "%.0f", result->time_99_s)                                                                          \
    X("time_100_s", "%.0f", result->time_100_s)                                                                        \
    X("bound_s", "%.0f", result->bound_s)                                                                              \
    X("spread_ratio", "%.5f", result->spread_ratio)                                                                    \
    X("spread_leaders", "%.5f", result->spread_leaders)                                                                \
    X("spread_regions", "%.5f", result->spread_regions)                                                                \
    X("spread_read", "%.5f", result->spread_read)                                                                      \
    X("spread_write", "%.5f", result->spread_write)                                                                    \
    X("rule_violation_region_s", "%.1f", result->rule_violation_region_s)                                              \
    X("self_inflicted", "%.0f", (double)result->self_inflicted)                                                        \
    X("operators", "%.0f", (double)result->operators)                                                                  \
    X("operators_failed", "%.0f", (double)result->operators_failed)                                                    \
    X("operators_per_day", "%.1f", result->operators_per_day)                                                          \
    X("transfers_made", "%.0f", (double)result->transfers_made)                                                        \
    X("transfers_necessary", "%.0f", result->transfers_necessary)                                                      \
    X("splits_made", "%.0f", (double)result->splits_made)                                                              \
    X("merges_made", "%.0f", (double)result->merges_made)                                                              \
    X("demotion_s", "%.0f", result->demotion_s)                                                                        \
    X("virtual_s", "%.0f", result->virtual_s)                                                                          \
    X("cpu_s", "%.2f", result->cpu_s)                                                                                  \
    X("rss_bytes", "%.0f", (double)result->rss_bytes)

static void print_json(const struct placement_result *result)
{
    printf("{\"case\": \"%s\"", result->name);
#define PRINT(name, format, value) printf(", \"" name "\": " format, value);
    FIELDS(PRINT)
#undef PRINT
    for (int i = 0; i < POLICY_COUNT; i++)
        printf("%s\"%s\": %llu", i ? ", " : ", \"started\": {", scheduler_policy_name((enum scheduler_policy)i),
               (unsigned long long)result->started[i]);
    printf("}, \"digest\": \"%016llx\", \"failure\": \"%s\"}\n", (unsigned long long)result->digest, result->failure);
}

static void print_csv(const struct placement_result *result, bool head)
{
    if (head) {
        printf("case");
#define PRINT(name, format, value) printf("," name);
        FIELDS(PRINT)
#undef PRINT
        printf(",digest,failure\n");
    }
    printf("%s", result->name);
#define PRINT(name, format, value) printf("," format, value);
    FIELDS(PRINT)
#undef PRINT
    printf(",%016llx,%s\n", (unsigned long long)result->digest, result->failure);
}

static void print_table(const struct placement_result *result, bool head)
{
    if (head)
        printf("%-22s %6s %8s %8s %9s %6s %9s %8s %8s %7s %7s %9s %10s %8s %7s %6s\n", "case", "stores", "regions",
               "moves", "necessary", "ratio", "redundant", "99% s", "bound s", "spread", "leaders", "violated",
               "operators", "per day", "cpu s", "MiB");
    printf("%-22s %6u %8u %8llu %9.0f %6.3f %8.2f%% %8.0f %8.0f %6.2f%% %6.2f%% %9.0f %10llu %8.1f %7.1f %6.0f%s%s\n",
           result->name, result->stores, result->regions, (unsigned long long)result->moves_made,
           result->moves_necessary, result->moves_ratio, result->redundant_ratio * 100, result->time_99_s,
           result->bound_s, result->spread_ratio * 100, result->spread_leaders * 100, result->rule_violation_region_s,
           (unsigned long long)result->operators, result->operators_per_day, result->cpu_s,
           (double)result->rss_bytes / (double)PLACEMENT_MIB, result->failure[0] ? "  FAILED " : "", result->failure);
}

static bool run_one(const struct settings *settings, const struct placement_options *options, bool head)
{
    struct placement_result result, again;
    if (!run_apart(options, &result))
        return false;
    if (settings->twice && result.failure[0] == '\0' && run_apart(options, &again) && again.digest != result.digest)
        snprintf(result.failure, sizeof(result.failure), "the second run has another digest");
    bool ok = result.failure[0] == '\0';
    if (settings->quiet && ok)
        return true;
    if (strcmp(settings->format, "json") == 0)
        print_json(&result);
    else if (strcmp(settings->format, "csv") == 0)
        print_csv(&result, head);
    else
        print_table(&result, head);
    if (!ok && strcmp(settings->format, "table") == 0)
        printf("FAILED seed %llu: %s\n  replay: polder sim placement --case %s --stores %u --regions %u --seed %llu\n",
               (unsigned long long)options->seed, result.failure, options->name, options->stores, options->regions,
               (unsigned long long)options->seed);
    fflush(stdout);
    return ok;
}

static bool take_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *ret_number = number;
    return errno == 0 && end != text && *end == '\0' && text[0] != '-' && number >= min && number <= max;
}

static bool take_seeds(struct settings *settings, const char *text)
{
    char first[32];
    const char *dots = strstr(text, "..");
    if (!dots || (size_t)(dots - text) >= sizeof(first))
        return false;
    memcpy(first, text, (size_t)(dots - text));
    first[dots - text] = '\0';
    return take_number(first, 0, UINT64_MAX - 1, &settings->first) &&
           take_number(dots + 2, settings->first, UINT64_MAX - 1, &settings->last);
}

static bool take_bug(const char *name)
{
#ifdef POLDER_BUGS
    return bug_choose(name);
#else
    (void)name;
    fputs("polder sim placement: this program has no deliberate bugs; one made with `meson setup -Dbugs=true` does\n",
          stderr);
    return false;
#endif
}

static bool is_case(const char *name)
{
    uint32_t count;
    const struct placement_case *cases = placement_cases(&count);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(cases[i].name, name) == 0)
            return true;
    return strcmp(name, "all") == 0;
}

enum {
    FLAG_CASE = 1,
    FLAG_SKIP,
    FLAG_STORES,
    FLAG_REGIONS,
    FLAG_SEED,
    FLAG_SEEDS,
    FLAG_JOBS,
    FLAG_TWICE,
    FLAG_BUG,
    FLAG_QUIET,
    FLAG_EXPLAIN,
    FLAG_HEARTBEAT,
    FLAG_OUTPUT,
    FLAG_HELP
};

static const struct option flags[] = {
    {"case", required_argument, NULL, FLAG_CASE},
    {"stores", required_argument, NULL, FLAG_STORES},
    {"regions", required_argument, NULL, FLAG_REGIONS},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"seeds", required_argument, NULL, FLAG_SEEDS},
    {"jobs", required_argument, NULL, FLAG_JOBS},
    {"skip", required_argument, NULL, FLAG_SKIP},
    {"twice", no_argument, NULL, FLAG_TWICE},
    {"bug", required_argument, NULL, FLAG_BUG},
    {"heartbeat-s", required_argument, NULL, FLAG_HEARTBEAT},
    {"explain", required_argument, NULL, FLAG_EXPLAIN},
    {"quiet", no_argument, NULL, FLAG_QUIET},
    {"output", required_argument, NULL, FLAG_OUTPUT},
    {"help", no_argument, NULL, FLAG_HELP},
    {NULL, 0, NULL, 0},
};

static bool take_flag(struct settings *settings, int flag, const char *value)
{
    uint64_t number = 0;
    switch (flag) {
    case FLAG_CASE:
        settings->options.name = value;
        return is_case(value);
    case FLAG_SKIP:
        settings->skip = value;
        return is_case(value);
    case FLAG_STORES:
        if (!take_number(value, 3, PLACEMENT_STORES_MAX / 2, &number))
            return false;
        settings->options.stores = (uint32_t)number;
        return true;
    case FLAG_REGIONS:
        if (!take_number(value, 1, 50 * 1000 * 1000, &number))
            return false;
        settings->options.regions = (uint32_t)number;
        return true;
    case FLAG_SEED:
        if (!take_number(value, 0, UINT64_MAX - 1, &settings->first))
            return false;
        settings->last = settings->first;
        return true;
    case FLAG_SEEDS:
        return take_seeds(settings, value);
    case FLAG_JOBS:
        return take_number(value, 1, 64, &number); /* one after the other: each may be large */
    case FLAG_TWICE:
        return settings->twice = true;
    case FLAG_BUG:
        return take_bug(value);
    case FLAG_HEARTBEAT:
        if (!take_number(value, 1, 86400, &number))
            return false;
        settings->options.heartbeat_s = (uint32_t)number;
        return true;
    case FLAG_EXPLAIN:
        if (!take_number(value, 0, OPERATOR_HISTORY_MAX, &number))
            return false;
        settings->options.explain = (uint32_t)number;
        return true;
    case FLAG_QUIET:
        return settings->quiet = true;
    case FLAG_OUTPUT:
        settings->format = value;
        return strcmp(value, "table") == 0 || strcmp(value, "json") == 0 || strcmp(value, "csv") == 0;
    default:
        return false;
    }
}

static void print_help(void)
{
    uint32_t count;
    const struct placement_case *cases = placement_cases(&count);
    fputs(help, stdout);
    for (uint32_t i = 0; i < count; i++)
        printf("  %-22s %s (%u stores, %u regions)\n", cases[i].name, cases[i].about, cases[i].stores,
               cases[i].regions);
}

static int usage_error(const char *what, const char *text)
{
    fprintf(stderr, "polder sim placement: %s%s; see polder sim placement --help\n", what, text);
    return 2;
}

static int run_all(const struct settings *settings)
{
    uint32_t count, run = 0, failed = 0;
    const struct placement_case *cases = placement_cases(&count);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(settings->options.name, "all") != 0 && strcmp(settings->options.name, cases[i].name) != 0)
            continue;
        if (settings->skip && strcmp(settings->skip, cases[i].name) == 0)
            continue;
        for (uint64_t seed = settings->first; seed <= settings->last; seed++) {
            struct placement_options options = settings->options;
            options.name = cases[i].name;
            options.seed = seed;
            failed += !run_one(settings, &options, run++ == 0);
        }
    }
    return failed > 0;
}

int placement_main(int argc, char **argv)
{
    static struct settings settings;
    settings = (struct settings){.options = {.name = "all"}, .first = 1, .last = 1, .format = "table"};
    int index = 0;
    optind = 1;
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, ":o:", flags, &index)) != -1;) {
        if (flag == FLAG_HELP) {
            print_help();
            return 0;
        }
        if (flag == ':')
            return usage_error("a value is missing after ", argv[optind - 1]);
        if (flag == '?')
            return usage_error("unknown flag ", argv[optind - 1]);
        if (!take_flag(&settings, flag == 'o' ? FLAG_OUTPUT : flag, optarg))
            return usage_error("bad value for --", flag == 'o' ? "output" : flags[index].name);
    }
    if (optind < argc)
        return usage_error("unexpected operand ", argv[optind]);
    return run_all(&settings);
}
