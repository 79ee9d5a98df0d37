#include "sim.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/check.h"
#include "run.h"

enum { JOBS_MAX = 64, SEED_REAL_S_MAX = 600, RING_LINES = 60, RING_LINE_SIZE = 400 };

#define ULL(value) ((unsigned long long)(value))

struct settings_sim {
    struct run_options run;
    uint64_t first, last;
    uint32_t jobs;
    bool twice, verbose, quiet;
    const char *trace_path;
    char flags[512]; /* what a replay must repeat */
};

/* What a child tells its parent. */
struct told {
    struct run_result result;
    bool twice_differs;
};

struct child {
    pid_t pid;
    int pipe;
    uint64_t seed;
};

struct totals {
    uint64_t seeds, failed, virtual_us, events, done, unknown, undecided;
    uint64_t elections, deposed_us, overwritten;
    struct coverage coverage;
    uint64_t by_op[8];
    uint64_t recovery_max_us, recovery_seed;
    uint64_t digest;
};

static const char help[] =
    "usage: polder sim [--seed N | --seeds A..B] [flags]\n"
    "\n"
    "Runs a pd, storenodes and clients in one thread, deterministically, under faults drawn from the seed, and checks "
    "that\n"
    "every promise is kept. A line per seed; exit 0 all kept, 1 one broken, 2 usage.\n"
    "\n"
    "  --seed N            one seed (default 1)\n"
    "  --seeds A..B        all of them\n"
    "  --jobs N            processes at once (default 1)\n"
    "  --stores N          storenodes, 1..9 (default 3)\n"
    "  --clients N         clients, 1..32 (default 4)\n"
    "  --regions N         regions (default 6)\n"
    "  --seconds N         virtual seconds of the fault phase (default 30)\n"
    "  --no-faults         good weather\n"
    "  --faults A,B,...    only these kinds may be drawn\n"
    "  --without A,B,...   these kinds are never drawn\n"
    "  --always A,B,...    these kinds are on in every seed\n"
    "  --bug NAME          with this deliberate mistake in the product (only in a build with -Dbugs=true); list: names "
    "them\n"
    "  --twice             runs each seed twice; digests must be equal\n"
    "  --trace FILE        writes every message, log line and fault of one seed (- for standard output)\n"
    "  --history FILE      writes what the clients saw of one seed, as JSON lines (see tests/sim/history.h)\n"
    "  --quiet             only failures and the summary\n"
    "  --verbose           more about each seed\n"
    "\n"
    "kinds of fault: ";

static void print_help(FILE *out)
{
    fputs(help, out);
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++)
        fprintf(out, "%s%s", kind ? ", " : "", fault_name((enum fault_kind)kind));
    fputs("\n", out);
}

/* ---- what is printed */

static void print_faults(const uint64_t *faults, uint64_t mask)
{
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        if (faults[kind] > 0)
            printf(" %s=%llu", fault_name((enum fault_kind)kind), ULL(faults[kind]));
        else if (mask & FAULT_BIT(kind))
            printf(" %s", fault_name((enum fault_kind)kind));
    }
}

static void print_replay(const struct settings_sim *settings, uint64_t seed)
{
    printf("  replay: polder sim --seed %llu%s --trace trace.txt\n", ULL(seed), settings->flags);
}

static void print_result(const struct settings_sim *settings, const struct run_result *result, uint64_t seed)
{
    if (settings->quiet && !result->failed)
        return;
    printf("seed %llu digest %016llx virtual %.1fs events %llu applied %llu elections %llu done %llu not-done %llu "
           "unknown %llu recovery %.1fs faults:",
           ULL(seed), ULL(result->digest), (double)result->virtual_us / 1e6, ULL(result->events),
           ULL(result->raft.applied), ULL(result->raft.elections), ULL(result->ops.done), ULL(result->ops.not_done),
           ULL(result->ops.unknown), (double)result->recovery_us / 1e6);
    print_faults(result->coverage.happened, result->fault_mask);
    printf("%s%s\n", result->linear_undecided ? " UNDECIDED" : "", result->failed ? " FAILED" : "");
    if (settings->verbose) {
        const struct net_counts *net = &result->net;
        printf("  net: frames %llu bytes %llu dials %llu (failed %llu) connections lost %llu frames lost %llu busy "
               "offers %llu busy sends %llu\n",
               ULL(net->frames), ULL(net->bytes), ULL(net->dials), ULL(net->dials_failed), ULL(net->conns_lost),
               ULL(net->frames_lost), ULL(net->busy_offers), ULL(net->busy_sends));
        printf("  done: get %llu put %llu delete %llu cas %llu scan %llu batch-get %llu batch-write %llu; "
               "linearizability: %llu steps\n",
               ULL(result->ops.by_op[0]), ULL(result->ops.by_op[1]), ULL(result->ops.by_op[2]),
               ULL(result->ops.by_op[3]), ULL(result->ops.by_op[4]), ULL(result->ops.by_op[5]),
               ULL(result->ops.by_op[6]), ULL(result->linear_steps));
    }
}

static void add_totals(struct totals *totals, const struct run_result *result, uint64_t seed)
{
    totals->virtual_us += result->virtual_us;
    totals->events += result->events;
    totals->done += result->ops.done;
    totals->unknown += result->ops.unknown;
    totals->elections += result->raft.elections;
    totals->deposed_us += result->raft.deposed_us;
    totals->overwritten += result->raft.overwritten;
    totals->undecided += result->linear_undecided;
    totals->digest += result->digest * (2 * seed + 1); /* whatever the order of the jobs */
    coverage_add(&totals->coverage, &result->coverage);
    for (int op = 0; op < 8; op++)
        totals->by_op[op] += result->ops.by_op[op];
    if (result->recovery_us > totals->recovery_max_us) {
        totals->recovery_max_us = result->recovery_us;
        totals->recovery_seed = seed;
    }
}

static double real_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_totals(const struct settings_sim *settings, const struct totals *totals, double real_s)
{
    printf("%llu seeds, %llu failed, digest %016llx; %.0f virtual s in %.1f s: %.1f virtual s per real s and job; %llu "
           "events, %llu ops, %llu unknown%s\n",
           ULL(totals->seeds), ULL(totals->failed), ULL(totals->digest), (double)totals->virtual_us / 1e6, real_s,
           (double)totals->virtual_us / 1e6 / real_s / settings->jobs, ULL(totals->events), ULL(totals->done),
           ULL(totals->unknown), totals->undecided ? ", some histories undecided" : "");
    printf("%llu elections, deposed leaders led on for %.1f s, %llu log tails were overwritten; slowest recovery %.1f "
           "s (seed %llu)\n",
           ULL(totals->elections), (double)totals->deposed_us / 1e6, ULL(totals->overwritten),
           (double)totals->recovery_max_us / 1e6, ULL(totals->recovery_seed));
    printf("done: get %llu put %llu delete %llu cas %llu scan %llu batch-get %llu batch-write %llu\nfaults:",
           ULL(totals->by_op[0]), ULL(totals->by_op[1]), ULL(totals->by_op[2]), ULL(totals->by_op[3]),
           ULL(totals->by_op[4]), ULL(totals->by_op[5]), ULL(totals->by_op[6]));
    print_faults(totals->coverage.happened, 0);
    printf("\n");
}

/* ---- the last lines of a failing run, kept while it runs again */

static struct {
    char lines[RING_LINES][RING_LINE_SIZE];
    uint64_t count;
    char filter[64]; /* "" all; else lines that have it, and those that have no region at all but matter */
} ring;

static void keep_line(void *context, const char *line)
{
    (void)context;
    if (ring.filter[0] && strstr(line, " region=") && !strstr(line, ring.filter))
        return;
    if (ring.filter[0] && strstr(line, " net: "))
        return;
    snprintf(ring.lines[ring.count++ % RING_LINES], RING_LINE_SIZE, "%s", line);
}

static void print_ring(void)
{
    printf("  the last events%s%s:\n", ring.filter[0] ? " about" : "", ring.filter);
    for (uint64_t i = ring.count > RING_LINES ? ring.count - RING_LINES : 0; i < ring.count; i++)
        printf("    %s\n", ring.lines[i % RING_LINES]);
    fflush(stdout);
}

static void on_fatal(int number)
{
    print_ring(); /* not safe in a handler, but there is nothing left to lose */
    signal(number, SIG_DFL);
    raise(number);
}

static void explain_in_child(const struct settings_sim *settings, uint64_t seed, uint64_t region)
{
    struct run_options options = settings->run;
    struct run_result result;
    options.seed = seed;
    options.trace = keep_line;
    options.history_path = NULL;
    if (region)
        snprintf(ring.filter, sizeof ring.filter, " region=%llu ", ULL(region));
    signal(SIGABRT, on_fatal);
    signal(SIGSEGV, on_fatal);
    signal(SIGALRM, on_fatal);
    alarm(SEED_REAL_S_MAX);
    if (!freopen("/dev/null", "w", stderr))
        _exit(1);
    run_seed(&options, &result);
    print_ring();
    _exit(0);
}

static void explain(const struct settings_sim *settings, uint64_t seed, uint64_t region)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        explain_in_child(settings, seed, region);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

/* ---- children: a process per seed, so that one that breaks takes nobody along */

static void write_trace(void *context, const char *line)
{
    fprintf(context, "%s\n", line);
}

static void run_in_child(const struct settings_sim *settings, uint64_t seed, int out)
{
    struct run_options options = settings->run;
    static struct told told, again;
    FILE *trace = NULL;
    options.seed = seed;
    if (settings->trace_path) {
        trace = strcmp(settings->trace_path, "-") == 0 ? stdout : fopen(settings->trace_path, "w");
        if (!trace) {
            fprintf(stderr, "polder sim: %s: %s\n", settings->trace_path, strerror(errno));
            _exit(2);
        }
        setvbuf(trace, NULL, _IOLBF, 1 << 16);
        options.trace = write_trace;
        options.trace_context = trace;
    }
    alarm(SEED_REAL_S_MAX);
    run_seed(&options, &told.result);
    if (settings->twice) {
        run_seed(&options, &again.result);
        told.twice_differs = again.result.digest != told.result.digest;
    }
    if (trace)
        fclose(trace);
    if (write(out, &told, sizeof told) != (ssize_t)sizeof told)
        _exit(2);
    close(out);
    exit(0); /* not _exit: a leak checker wants its turn */
}

static bool start_child(const struct settings_sim *settings, uint64_t seed, struct child *child)
{
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    fflush(stdout);
    child->seed = seed;
    child->pid = fork();
    if (child->pid == 0) {
        close(ends[0]);
        run_in_child(settings, seed, ends[1]);
    }
    close(ends[1]);
    child->pipe = ends[0];
    return child->pid > 0;
}

static bool read_told(int from, struct told *told)
{
    size_t used = 0;
    for (ssize_t size; used < sizeof *told && (size = read(from, (char *)told + used, sizeof *told - used)) > 0;)
        used += (size_t)size;
    return used == sizeof *told;
}

static void end_child(const struct settings_sim *settings, struct child *child, struct totals *totals)
{
    static struct told told;
    int status = 0;
    bool complete = read_told(child->pipe, &told);
    close(child->pipe);
    waitpid(child->pid, &status, 0);
    child->pid = 0;
    totals->seeds++;
    bool died = !complete || status != 0;
    if (complete) {
        print_result(settings, &told.result, child->seed);
        add_totals(totals, &told.result, child->seed);
    }
    if (!died && !told.result.failed && !told.twice_differs)
        return;
    totals->failed++;
    if (complete && told.result.failed)
        printf("FAILED seed %llu: %s\n", ULL(child->seed), told.result.failure);
    else if (complete && told.twice_differs)
        printf("FAILED seed %llu: two runs gave different digests\n", ULL(child->seed));
    else if (WIFSIGNALED(status))
        printf("FAILED seed %llu: %s\n", ULL(child->seed),
               WTERMSIG(status) == SIGALRM ? "it did not end in time" : strsignal(WTERMSIG(status)));
    else
        printf("FAILED seed %llu: the process ended with status %d\n", ULL(child->seed), WEXITSTATUS(status));
    print_replay(settings, child->seed);
    if (!settings->trace_path && !told.twice_differs)
        explain(settings, child->seed, complete ? told.result.failed_region : 0);
    fflush(stdout);
}

static int run_all(const struct settings_sim *settings)
{
    struct child children[JOBS_MAX] = {{0}};
    struct totals totals = {0};
    uint64_t next = settings->first;
    uint32_t running = 0;
    double begin_s = real_seconds();
    while (next <= settings->last || running > 0) {
        struct pollfd polls[JOBS_MAX];
        for (uint32_t i = 0; i < settings->jobs; i++) {
            if (children[i].pid == 0 && next <= settings->last) {
                if (!start_child(settings, next++, &children[i])) {
                    fprintf(stderr, "polder sim: cannot start a process: %s\n", strerror(errno));
                    return 1;
                }
                running++;
            }
            polls[i] = (struct pollfd){.fd = children[i].pid ? children[i].pipe : -1, .events = POLLIN};
        }
        if (poll(polls, settings->jobs, -1) < 0 && errno != EINTR)
            return 1;
        for (uint32_t i = 0; i < settings->jobs; i++) {
            if (children[i].pid && polls[i].revents) {
                end_child(settings, &children[i], &totals);
                running--;
            }
        }
    }
    if (settings->last > settings->first)
        print_totals(settings, &totals, real_seconds() - begin_s);
    return totals.failed > 0;
}

/* ---- flags */

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (errno || end == text || *end || text[0] == '-' || value < min || value > max)
        return false;
    *ret_value = value;
    return true;
}

static bool parse_u32(const char *text, uint64_t min, uint64_t max, uint32_t *ret_value)
{
    uint64_t value;
    if (!parse_number(text, min, max, &value))
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

static bool parse_range(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%s", text);
    char *dots = strstr(copy, "..");
    if (!dots)
        return false;
    *dots = '\0';
    return parse_number(copy, 0, UINT64_MAX - 1, ret_first) &&
           parse_number(dots + 2, *ret_first, UINT64_MAX - 1, ret_last);
}

enum {
    FLAG_SEED = 1,
    FLAG_SEEDS,
    FLAG_JOBS,
    FLAG_STORES,
    FLAG_CLIENTS,
    FLAG_REGIONS,
    FLAG_BUG,
    FLAG_SECONDS,
    FLAG_NO_FAULTS,
    FLAG_FAULTS,
    FLAG_WITHOUT,
    FLAG_ALWAYS,
    FLAG_TWICE,
    FLAG_TRACE,
    FLAG_HISTORY,
    FLAG_QUIET,
    FLAG_VERBOSE,
    FLAG_HELP
};

static const struct option flags[] = {
    {"seed", required_argument, NULL, FLAG_SEED},
    {"seeds", required_argument, NULL, FLAG_SEEDS},
    {"jobs", required_argument, NULL, FLAG_JOBS},
    {"stores", required_argument, NULL, FLAG_STORES},
    {"clients", required_argument, NULL, FLAG_CLIENTS},
    {"regions", required_argument, NULL, FLAG_REGIONS},
    {"bug", required_argument, NULL, FLAG_BUG},
    {"seconds", required_argument, NULL, FLAG_SECONDS},
    {"no-faults", no_argument, NULL, FLAG_NO_FAULTS},
    {"faults", required_argument, NULL, FLAG_FAULTS},
    {"without", required_argument, NULL, FLAG_WITHOUT},
    {"always", required_argument, NULL, FLAG_ALWAYS},
    {"twice", no_argument, NULL, FLAG_TWICE},
    {"trace", required_argument, NULL, FLAG_TRACE},
    {"history", required_argument, NULL, FLAG_HISTORY},
    {"quiet", no_argument, NULL, FLAG_QUIET},
    {"verbose", no_argument, NULL, FLAG_VERBOSE},
    {"help", no_argument, NULL, FLAG_HELP},
    {NULL, 0, NULL, 0},
};

#ifdef POLDER_BUGS
static void list_bugs(void)
{
    for (int bug = BUG_NONE + 1; bug < BUG_COUNT; bug++) {
        for (const char *c = bug_text((enum bug)bug); *c; c++)
            putchar(*c == '_' ? '-' : *c);
        putchar('\n');
    }
}

static bool take_bug(const char *name)
{
    if (strcmp(name, "list") == 0) {
        list_bugs();
        exit(0);
    }
    return bug_choose(name);
}
#else
static bool take_bug(const char *name)
{
    (void)name;
    fputs("polder sim: this program has no deliberate bugs; one made with `meson setup -Dbugs=true` does\n", stderr);
    exit(2);
}
#endif

static bool take_flag(struct settings_sim *settings, int flag, const char *value)
{
    struct run_options *run = &settings->run;
    uint64_t mask;
    switch (flag) {
    case FLAG_SEED:
        if (!parse_number(value, 0, UINT64_MAX - 1, &settings->first))
            return false;
        settings->last = settings->first;
        return true;
    case FLAG_SEEDS:
        return parse_range(value, &settings->first, &settings->last);
    case FLAG_JOBS:
        return parse_u32(value, 1, JOBS_MAX, &settings->jobs);
    case FLAG_STORES:
        return parse_u32(value, 1, WORLD_STORE_MAX, &run->stores);
    case FLAG_CLIENTS:
        return parse_u32(value, 1, WORLD_CLIENT_MAX, &run->clients);
    case FLAG_REGIONS:
        return parse_u32(value, 1, 64, &run->regions);
    case FLAG_BUG:
        return take_bug(value);
    case FLAG_SECONDS:
        return parse_u32(value, 1, 100000, &run->seconds);
    case FLAG_NO_FAULTS:
        run->faults = false;
        return true;
    case FLAG_FAULTS:
        return fault_mask_parse(value, &run->fault_allowed);
    case FLAG_WITHOUT:
        if (!fault_mask_parse(value, &mask))
            return false;
        run->fault_allowed &= ~mask;
        return true;
    case FLAG_ALWAYS:
        return fault_mask_parse(value, &run->fault_forced);
    case FLAG_TWICE:
        return settings->twice = true;
    case FLAG_TRACE:
        settings->trace_path = value;
        return true;
    case FLAG_HISTORY:
        run->history_path = value;
        return true;
    case FLAG_QUIET:
        return settings->quiet = true;
    case FLAG_VERBOSE:
        return settings->verbose = true;
    default:
        return false;
    }
}

/* Flags that change what happens belong to the command that replays a seed. */
static void note_flag(struct settings_sim *settings, int index, const char *value)
{
    int flag = flags[index].val;
    size_t used = strlen(settings->flags);
    if (flag >= FLAG_STORES && flag <= FLAG_ALWAYS)
        snprintf(settings->flags + used, sizeof settings->flags - used, " --%s%s%s", flags[index].name,
                 value ? " " : "", value ? value : "");
}

static int usage_error(const char *what, const char *text)
{
    fprintf(stderr, "polder sim: %s%s; see polder sim --help\n", what, text);
    return 2;
}

int sim_main(int argc, char **argv)
{
    static struct settings_sim settings;
    settings = (struct settings_sim){
        .run = {.stores = 3, .clients = 4, .regions = 6, .seconds = 30, .faults = true, .fault_allowed = UINT64_MAX},
        .first = 1,
        .last = 1,
        .jobs = 1};
    int index = 0;
    optind = 1;
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, ":", flags, &index)) != -1;) {
        if (flag == FLAG_HELP) {
            print_help(stdout);
            return 0;
        }
        if (flag == ':')
            return usage_error("a value is missing after ", argv[optind - 1]);
        if (flag == '?')
            return usage_error("unknown flag ", argv[optind - 1]);
        if (!take_flag(&settings, flag, optarg))
            return usage_error("bad value for --", flags[index].name);
        note_flag(&settings, index, optarg);
    }
    if (optind < argc)
        return usage_error("unexpected operand ", argv[optind]);
    if ((settings.trace_path || settings.run.history_path) && settings.first != settings.last)
        return usage_error("--trace and --history want a single --seed", "");
    return run_all(&settings);
}
