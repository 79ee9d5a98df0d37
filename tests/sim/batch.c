#include "batch.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cjson/cJSON.h>

#include "base/check.h"
#include "report.h"
#include "shrink.h"

enum { SEED_REAL_S_MAX = 600, RING_LINES = 60, RING_LINE_SIZE = 400, DEAD_CLASS_SEEDS = 1000 };

#define ULL(value) ((unsigned long long)(value))

/* What a child tells its parent. */
struct told {
    struct run_result result;
    bool ran_twice, twice_differs;
};

struct child {
    pid_t pid;
    int pipe;
    uint64_t seed;
};

struct batch {
    const struct batch_settings *settings;
    struct batch_totals totals;
    struct child children[BATCH_JOBS_MAX];
    uint32_t running;
    double begin_s;
    struct cJSON *failures; /* owned; NULL without --json */
};

/* ---- the command that repeats */

static void print_mask(const char *flag, uint64_t mask, FILE *out)
{
    fprintf(out, " --%s ", flag);
    const char *comma = "";
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        if (!(mask & FAULT_BIT(kind)))
            continue;
        fprintf(out, "%s%s", comma, fault_name((enum fault_kind)kind));
        comma = ",";
    }
    if (!comma[0])
        fputs("none", out);
}

static void print_size(const char *flag, uint32_t size, FILE *out)
{
    if (size > 0)
        fprintf(out, " --%s %u", flag, size);
}

void batch_print_command(const struct batch_settings *settings, const struct run_options *options, uint64_t seed,
                         FILE *out)
{
    uint64_t all = FAULT_BIT(FAULT_KIND_COUNT) - 1;
    fprintf(out, "polder sim --seed %llu", ULL(seed));
    if (!options->stores || !options->clients || !options->regions || !options->pds)
        fputs(" --swarm", out);
    print_size("pds", options->pds, out);
    print_size("stores", options->stores, out);
    print_size("clients", options->clients, out);
    print_size("regions", options->regions, out);
    print_size("seconds", options->seconds, out);
    if (!options->faults)
        fputs(" --no-faults", out);
    if ((options->fault_allowed & all) != all)
        print_mask("faults", options->fault_allowed & all, out);
    if (options->fault_forced)
        print_mask("always", options->fault_forced, out);
    if (settings->bug)
        fprintf(out, " --bug %s", settings->bug);
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

static void explain_in_child(const struct batch_settings *settings, uint64_t seed, uint64_t region)
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

static void explain(const struct batch_settings *settings, uint64_t seed, uint64_t region)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        explain_in_child(settings, seed, region);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

/* ---- children */

static void write_trace(void *context, const char *line)
{
    fprintf(context, "%s\n", line);
}

static FILE *open_trace(const char *path)
{
    FILE *trace = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    if (!trace) {
        fprintf(stderr, "polder sim: %s: %s\n", path, strerror(errno));
        _exit(2);
    }
    setvbuf(trace, NULL, _IOLBF, 1 << 16);
    return trace;
}

static void run_in_child(const struct batch_settings *settings, const struct run_options *wanted, uint64_t seed,
                         int out)
{
    struct run_options options = *wanted;
    static struct told told, again;
    FILE *trace = settings->trace_path ? open_trace(settings->trace_path) : NULL;
    options.seed = seed;
    options.trace = trace ? write_trace : NULL;
    options.trace_context = trace;
    alarm(SEED_REAL_S_MAX);
    run_seed(&options, &told.result);
    if ((settings->twice || seed % BATCH_TWICE_EVERY == 0) && !told.result.failed) {
        options.trace = NULL; /* a digest does not depend on who looks */
        run_seed(&options, &again.result);
        told.ran_twice = true;
        told.twice_differs = again.result.digest != told.result.digest;
    }
    if (trace)
        fclose(trace);
    if (write(out, &told, sizeof told) != (ssize_t)sizeof told)
        _exit(2);
    close(out);
    exit(0); /* not _exit: a leak checker wants its turn */
}

static bool start_child(const struct batch_settings *settings, const struct run_options *options, uint64_t seed,
                        struct child *child)
{
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    fflush(stdout);
    child->seed = seed;
    child->pid = fork();
    if (child->pid == 0) {
        close(ends[0]);
        run_in_child(settings, options, seed, ends[1]);
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

/* "raft: R3: s1 applied ..." -> "raft: R3"; "linear: key ..." -> "linear" */
static void name_checker(const char *failure, char *checker, size_t size)
{
    size_t used = strcspn(failure, ":");
    if (failure[used] && failure[used + 1] && isupper((unsigned char)failure[used + 2])) {
        size_t rule = 1;
        while (isdigit((unsigned char)failure[used + 2 + rule]))
            rule++;
        if (rule > 1 && failure[used + 2 + rule] == ':')
            used += 2 + rule;
    }
    snprintf(checker, size, "%.*s", (int)used, failure);
}

static void judge(const struct told *told, int status, struct batch_outcome *outcome)
{
    char *failure = outcome->failure;
    size_t size = sizeof outcome->failure;
    if (outcome->complete && told->result.failed)
        snprintf(failure, size, "%s", told->result.failure);
    else if (outcome->complete && told->twice_differs)
        snprintf(failure, size, "digest: two runs gave different digests");
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(failure, size, "time: it did not end within %d s", SEED_REAL_S_MAX);
    else if (WIFSIGNALED(status))
        snprintf(failure, size, "signal %d: %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (!outcome->complete || status != 0)
        snprintf(failure, size, "exit: the process ended with status %d", WEXITSTATUS(status));
    else
        return;
    outcome->failed = true;
    name_checker(failure, outcome->checker, sizeof outcome->checker);
}

static void end_child(struct child *child, struct batch_outcome *ret_outcome)
{
    static struct told told;
    int status = 0;
    *ret_outcome = (struct batch_outcome){.complete = read_told(child->pipe, &told)};
    close(child->pipe);
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    child->pid = 0;
    if (ret_outcome->complete) {
        ret_outcome->result = told.result;
        ret_outcome->ran_twice = told.ran_twice;
    }
    judge(&told, status, ret_outcome);
}

void batch_run_one(const struct batch_settings *settings, const struct run_options *options, uint64_t seed,
                   struct batch_outcome *ret_outcome)
{
    struct child child;
    struct batch_settings silent = *settings;
    silent.trace_path = NULL;
    CHECK(start_child(&silent, options, seed, &child));
    end_child(&child, ret_outcome);
}

/* ---- sums */

static double real_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Of children that have ended. */
static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void take_times(struct batch *batch)
{
    batch->totals.real_s = real_seconds() - batch->begin_s;
    batch->totals.cpu_s = cpu_seconds();
}

static void add_result(struct batch_totals *totals, const struct run_result *result, uint64_t seed)
{
    totals->virtual_us += result->virtual_us;
    totals->events += result->events;
    totals->done += result->ops.done;
    totals->unknown += result->ops.unknown;
    totals->raft.applied += result->raft.applied;
    totals->raft.elections += result->raft.elections;
    totals->raft.deposed_us += result->raft.deposed_us;
    totals->raft.overwritten += result->raft.overwritten;
    totals->raft.durable += result->raft.durable;
    totals->sleep.slept += result->sleep.slept;
    totals->sleep.handed_over += result->sleep.handed_over;
    for (int cause = 0; cause < WAKE_CAUSE_COUNT; cause++)
        totals->sleep.woken[cause] += result->sleep.woken[cause];
    totals->snapshots.sent += result->snapshots.sent;
    totals->snapshots.not_sent += result->snapshots.not_sent;
    totals->snapshots.resumed += result->snapshots.resumed;
    totals->snapshots.refused += result->snapshots.refused;
    totals->snapshots.installed += result->snapshots.installed;
    totals->snapshots.installed_at_start += result->snapshots.installed_at_start;
    totals->damage.found += result->damage.found;
    totals->damage.healed += result->damage.healed;
    totals->damage.hashes += result->damage.hashes;
    totals->damage.hash_mismatches += result->damage.hash_mismatches;
    totals->operators += result->operators;
    totals->pds_replaced += result->pds_replaced;
    totals->merges.prepared += result->merges.prepared;
    totals->merges.rolled_back += result->merges.rolled_back;
    totals->merges.taken_in += result->merges.taken_in;
    totals->merges.waited += result->merges.waited;
    totals->merges.by_snapshot += result->merges.by_snapshot;
    totals->undecided += result->linear_undecided;
    totals->digest += result->digest * (2 * seed + 1);
    coverage_add(&totals->coverage, &result->coverage);
    for (int op = 0; op < COVERAGE_OP_COUNT; op++)
        totals->by_op[op] += result->ops.by_op[op];
    if (result->recovery_us > totals->recovery_max_us) {
        totals->recovery_max_us = result->recovery_us;
        totals->recovery_seed = seed;
    }
}

static void tell_failure(struct batch *batch, const struct batch_outcome *outcome, uint64_t seed)
{
    const struct batch_settings *settings = batch->settings;
    if (settings->json) {
        cJSON_AddItemToArray(batch->failures, report_json_failure(settings, outcome, seed));
        return;
    }
    printf("FAILED seed %llu: %s\n  replay: ", ULL(seed), outcome->failure);
    batch_print_command(settings, &settings->run, seed, stdout);
    puts(" --trace trace.txt");
    if (!settings->trace_path && strcmp(outcome->checker, "digest") != 0)
        explain(settings, seed, outcome->complete ? outcome->result.failed_region : 0);
    fflush(stdout);
}

static void take_outcome(struct batch *batch, const struct batch_outcome *outcome, uint64_t seed)
{
    const struct batch_settings *settings = batch->settings;
    batch->totals.seeds++;
    batch->totals.twice += outcome->ran_twice;
    batch->totals.failed += outcome->failed;
    take_times(batch);
    if (outcome->complete) {
        add_result(&batch->totals, &outcome->result, seed);
        report_seed(settings, &outcome->result, seed);
    }
    if (!outcome->failed)
        return;
    report_progress(settings, &batch->totals, true);
    tell_failure(batch, outcome, seed);
    if (settings->shrink && batch->totals.failed == 1)
        shrink(settings, seed, outcome);
}

/* ---- all of them */

static bool run_children(struct batch *batch)
{
    static struct batch_outcome outcome;
    const struct batch_settings *settings = batch->settings;
    uint64_t next = settings->first;
    while (next <= settings->last || batch->running > 0) {
        struct pollfd polls[BATCH_JOBS_MAX];
        for (uint32_t i = 0; i < settings->jobs; i++) {
            struct child *child = &batch->children[i];
            if (child->pid == 0 && next <= settings->last) {
                if (!start_child(settings, &settings->run, next++, child))
                    return false;
                batch->running++;
            }
            polls[i] = (struct pollfd){.fd = child->pid ? child->pipe : -1, .events = POLLIN};
        }
        if (poll(polls, settings->jobs, 1000) < 0 && errno != EINTR)
            return false;
        for (uint32_t i = 0; i < settings->jobs; i++) {
            struct child *child = &batch->children[i];
            if (!child->pid || !polls[i].revents)
                continue;
            end_child(child, &outcome);
            batch->running--;
            take_outcome(batch, &outcome, child->seed);
            if (settings->shrink && outcome.failed)
                next = settings->last + 1; /* one is enough to look at */
        }
        take_times(batch);
        report_progress(settings, &batch->totals, false);
    }
    return true;
}

static bool tell_dead_class(const struct batch *batch)
{
    const struct batch_settings *settings = batch->settings;
    uint64_t kinds = settings->run.fault_allowed | settings->run.fault_forced;
    enum fault_kind kind;
    unsigned op;
    if (batch->totals.seeds < DEAD_CLASS_SEEDS || !settings->run.faults ||
        !coverage_find_hole(&batch->totals.coverage, kinds, &kind, &op))
        return false;
    fprintf(stderr,
            "\nDEAD FAULT CLASS: in %llu seeds no %s met a fault of kind %s. The simulator says nothing about it.\n",
            ULL(batch->totals.seeds), coverage_op_names[op], fault_name(kind));
    return true;
}

int batch_run(const struct batch_settings *settings)
{
    static struct batch batch;
    batch = (struct batch){.settings = settings, .begin_s = real_seconds()};
    if (settings->json)
        batch.failures = cJSON_CreateArray();
    if (!run_children(&batch)) {
        fprintf(stderr, "polder sim: cannot start a process: %s\n", strerror(errno));
        return 1;
    }
    report_progress(settings, &batch.totals, true);
    if (settings->json)
        report_json(settings, &batch.totals, batch.failures);
    else if (settings->last > settings->first)
        report_totals(settings, &batch.totals);
    bool dead = tell_dead_class(&batch);
    return batch.totals.failed > 0 || dead;
}
