/* life_batch: `polder sim life`: one life, or one for each write that a crash can follow, each in a process of its own. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bug.h"
#include "life.h"

enum { JOBS_MAX = 64, REAL_S_MAX = 300, FAILURES_SHOWN_MAX = 8 };

static const char help[] =
    "usage: polder sim life [--crash-every-write] [flags]\n"
    "\n"
    "The life of a region as a script, in the simulator: create, load, split, a store that comes back to a log that "
    "was\n"
    "cut, a replica that moves, replicas that go, read. With --crash-every-write it is lived again for each write that any disk gets, and the node whose "
    "write\n"
    "that is dies there: once with all that it had not synced, once without. Nothing acknowledged may be lost. Exit 0\n"
    "nothing was, 1 something was, 2 usage.\n"
    "\n"
    "  --crash-every-write  all crash points, both ways; prints `N crash points, N recovered`\n"
    "  --crash-at N         one crash point\n"
    "  --loss lose|keep     with --crash-at: what becomes of what was not synced (default lose)\n"
    "  --every N            only each N-th crash point (default 1)\n"
    "  --seed N             another order of events (default 1)\n"
    "  --jobs N             processes at once (default 1)\n"
    "  --bug NAME           with this deliberate mistake in the product (only in a build with -Dbugs=true)\n"
    "  --trace FILE         every message, log line and write of one life (- for standard output)\n"
    "  --quiet              no progress\n"
    "  -o, --output FORMAT  text, or json\n";

struct settings {
    struct life_options life;
    bool every_write, quiet, json;
    uint64_t every;
    uint32_t jobs;
    const char *trace_path;
};

/* A point of a campaign: point p crashes at write 1 + p / 2, with or without what was not synced. */
struct job {
    pid_t pid;
    int pipe;
    uint64_t crash_at;
    enum engine_mem_loss loss;
};

struct campaign {
    const struct settings *settings;
    struct job jobs[JOBS_MAX];
    uint32_t job_count;
    uint64_t point, point_count; /* next, all */
    uint64_t done, recovered, snapshots;
    uint64_t never_crashed; /* the run took another course and ended before */
    uint64_t failed;
};

static const char *loss_name(enum engine_mem_loss loss)
{
    return loss == ENGINE_MEM_KEEP ? "keep" : "lose";
}

static void start_job(struct campaign *campaign, struct job *job)
{
    int ends[2];
    uint64_t point = campaign->point;
    campaign->point += campaign->settings->every;
    *job = (struct job){.crash_at = 1 + point / 2, .loss = point % 2 ? ENGINE_MEM_KEEP : ENGINE_MEM_LOSE};
    if (pipe(ends) != 0) {
        perror("polder sim life: pipe");
        exit(2);
    }
    fflush(stdout);
    job->pid = fork();
    if (job->pid == 0) {
        static struct life_result result;
        struct life_options options = campaign->settings->life;
        close(ends[0]);
        options.crash_at = job->crash_at;
        options.loss = job->loss;
        alarm(REAL_S_MAX);
        life_run(&options, &result);
        _exit(write(ends[1], &result, sizeof result) == (ssize_t)sizeof result ? 0 : 2);
    }
    if (job->pid < 0) {
        perror("polder sim life: fork");
        exit(2);
    }
    close(ends[1]);
    job->pipe = ends[0];
}

static void print_replay(const struct settings *settings, const struct job *job)
{
    printf("  replay: polder sim life --seed %llu --crash-at %llu --loss %s --trace trace.txt\n",
           (unsigned long long)settings->life.seed, (unsigned long long)job->crash_at, loss_name(job->loss));
}

static void end_job(struct campaign *campaign, struct job *job)
{
    static struct life_result result;
    size_t used = 0;
    for (ssize_t size;
         used < sizeof result && (size = read(job->pipe, (char *)&result + used, sizeof result - used)) > 0;)
        used += (size_t)size;
    int status = 0;
    close(job->pipe);
    waitpid(job->pid, &status, 0);
    bool complete = used == sizeof result;
    campaign->done++;
    campaign->snapshots += complete ? result.snapshots : 0;
    if (complete && !result.failed) {
        campaign->recovered++;
        campaign->never_crashed += result.crashed_node[0] == '\0';
    } else if (campaign->failed++ < FAILURES_SHOWN_MAX && !campaign->settings->json) {
        char text[64];
        snprintf(text, sizeof text, "signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        printf("FAILED crash at write %llu (%s), %s in step %s: %s\n", (unsigned long long)job->crash_at,
               loss_name(job->loss), complete && result.crashed_node[0] ? result.crashed_node : "nobody",
               complete && result.crashed_in[0] ? result.crashed_in : "-", complete ? result.failure : text);
        print_replay(campaign->settings, job);
    }
}

static void wait_for_one(struct campaign *campaign)
{
    struct pollfd fds[JOBS_MAX];
    for (uint32_t i = 0; i < campaign->job_count; i++)
        fds[i] = (struct pollfd){.fd = campaign->jobs[i].pipe, .events = POLLIN};
    while (poll(fds, campaign->job_count, -1) < 0 && errno == EINTR)
        continue;
    for (uint32_t i = campaign->job_count; i-- > 0;) {
        if (fds[i].revents == 0)
            continue;
        end_job(campaign, &campaign->jobs[i]);
        campaign->jobs[i] = campaign->jobs[--campaign->job_count];
    }
}

static void show_progress(const struct campaign *campaign)
{
    if (!campaign->settings->quiet && !campaign->settings->json && isatty(STDERR_FILENO))
        fprintf(stderr, "\r%llu of %llu crash points, %llu failed ", (unsigned long long)campaign->done,
                (unsigned long long)(campaign->point_count / campaign->settings->every),
                (unsigned long long)campaign->failed);
}

static int crash_everywhere(const struct settings *settings)
{
    static struct campaign campaign;
    struct life_result calm;
    life_run(&settings->life, &calm);
    if (calm.failed) {
        printf("FAILED without a crash: %s\n", calm.failure);
        return 1;
    }
    campaign = (struct campaign){.settings = settings, .point_count = calm.writes * 2};
    while (campaign.point < campaign.point_count || campaign.job_count > 0) {
        while (campaign.point < campaign.point_count && campaign.job_count < settings->jobs)
            start_job(&campaign, &campaign.jobs[campaign.job_count++]);
        wait_for_one(&campaign);
        show_progress(&campaign);
    }
    if (!settings->quiet && !settings->json && isatty(STDERR_FILENO))
        fputc('\n', stderr);
    if (settings->json)
        printf(
            "{\"seed\": %llu, \"writes\": %llu, \"crash_points\": %llu, \"recovered\": %llu, \"never_reached\": %llu, "
            "\"snapshots\": %llu}\n",
            (unsigned long long)settings->life.seed, (unsigned long long)calm.writes, (unsigned long long)campaign.done,
            (unsigned long long)campaign.recovered, (unsigned long long)campaign.never_crashed,
            (unsigned long long)campaign.snapshots);
    else
        printf("%llu crash points, %llu recovered (%llu writes, each with and without what was not synced; %llu not "
               "reached; %llu snapshots were installed on the way)\n",
               (unsigned long long)campaign.done, (unsigned long long)campaign.recovered,
               (unsigned long long)calm.writes, (unsigned long long)campaign.never_crashed,
               (unsigned long long)campaign.snapshots);
    return campaign.recovered == campaign.done ? 0 : 1;
}

static void write_trace(void *context, const char *line)
{
    fprintf(context, "%s\n", line);
}

static int live_once(const struct settings *settings)
{
    struct life_options options = settings->life;
    struct life_result result;
    FILE *trace = NULL;
    if (settings->trace_path) {
        trace = strcmp(settings->trace_path, "-") == 0 ? stdout : fopen(settings->trace_path, "w");
        if (!trace) {
            fprintf(stderr, "polder sim life: %s: %s\n", settings->trace_path, strerror(errno));
            return 2;
        }
        options.trace = write_trace;
        options.trace_context = trace;
    }
    life_run(&options, &result);
    if (trace && trace != stdout)
        fclose(trace);
    if (settings->json)
        printf("{\"seed\": %llu, \"writes\": %llu, \"failed\": %s, \"crashed_node\": \"%s\", \"crashed_in\": \"%s\"}\n",
               (unsigned long long)options.seed, (unsigned long long)result.writes, result.failed ? "true" : "false",
               result.crashed_node, result.crashed_in);
    else
        printf("seed %llu digest %016llx writes %llu virtual %.1fs snapshots %llu%s%s%s%s%s%s\n",
               (unsigned long long)options.seed, (unsigned long long)result.digest, (unsigned long long)result.writes,
               (double)result.virtual_us / 1e6, (unsigned long long)result.snapshots,
               result.crashed_node[0] ? " crashed " : "", result.crashed_node, result.crashed_node[0] ? " in " : "",
               result.crashed_in, result.failed ? " FAILED " : "", result.failure);
    return result.failed ? 1 : 0;
}

enum {
    FLAG_EVERY_WRITE = 1,
    FLAG_CRASH_AT,
    FLAG_LOSS,
    FLAG_EVERY,
    FLAG_SEED,
    FLAG_JOBS,
    FLAG_BUG,
    FLAG_TRACE,
    FLAG_QUIET,
    FLAG_OUTPUT,
    FLAG_HELP
};

static const struct option flags[] = {
    {"crash-every-write", no_argument, NULL, FLAG_EVERY_WRITE},
    {"crash-at", required_argument, NULL, FLAG_CRASH_AT},
    {"loss", required_argument, NULL, FLAG_LOSS},
    {"every", required_argument, NULL, FLAG_EVERY},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"jobs", required_argument, NULL, FLAG_JOBS},
    {"bug", required_argument, NULL, FLAG_BUG},
    {"trace", required_argument, NULL, FLAG_TRACE},
    {"quiet", no_argument, NULL, FLAG_QUIET},
    {"output", required_argument, NULL, FLAG_OUTPUT},
    {"help", no_argument, NULL, FLAG_HELP},
    {NULL, 0, NULL, 0},
};

static bool take_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *ret_number = number;
    return errno == 0 && end != text && *end == '\0' && text[0] != '-' && number >= min && number <= max;
}

static bool take_bug(const char *name)
{
#ifdef POLDER_BUGS
    return bug_choose(name);
#else
    (void)name;
    fputs("polder sim life: this program has no deliberate bugs; one made with `meson setup -Dbugs=true` does\n",
          stderr);
    return false;
#endif
}

static bool take_flag(struct settings *settings, int flag, const char *value)
{
    uint64_t number;
    switch (flag) {
    case FLAG_EVERY_WRITE:
        return settings->every_write = true;
    case FLAG_CRASH_AT:
        return take_number(value, 1, UINT64_MAX / 2, &settings->life.crash_at);
    case FLAG_LOSS:
        settings->life.loss = strcmp(value, "keep") == 0 ? ENGINE_MEM_KEEP : ENGINE_MEM_LOSE;
        return strcmp(value, "keep") == 0 || strcmp(value, "lose") == 0;
    case FLAG_EVERY:
        return take_number(value, 1, UINT32_MAX, &settings->every);
    case FLAG_SEED:
        return take_number(value, 0, UINT64_MAX - 1, &settings->life.seed);
    case FLAG_JOBS:
        if (!take_number(value, 1, JOBS_MAX, &number))
            return false;
        settings->jobs = (uint32_t)number;
        return true;
    case FLAG_BUG:
        return take_bug(value);
    case FLAG_TRACE:
        settings->trace_path = value;
        return true;
    case FLAG_QUIET:
        return settings->quiet = true;
    case FLAG_OUTPUT:
        settings->json = strcmp(value, "json") == 0;
        return settings->json || strcmp(value, "text") == 0;
    default:
        return false;
    }
}

static int usage_error(const char *what, const char *text)
{
    fprintf(stderr, "polder sim life: %s%s; see polder sim life --help\n", what, text);
    return 2;
}

int life_main(int argc, char **argv)
{
    static struct settings settings;
    settings = (struct settings){.life = {.seed = 1, .loss = ENGINE_MEM_LOSE}, .every = 1, .jobs = 1};
    int index = 0;
    optind = 1;
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, ":o:", flags, &index)) != -1;) {
        if (flag == FLAG_HELP) {
            fputs(help, stdout);
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
    if (settings.every_write && (settings.trace_path || settings.life.crash_at > 0))
        return usage_error("--crash-every-write goes with neither --trace nor --crash-at", "");
    return settings.every_write ? crash_everywhere(&settings) : live_once(&settings);
}
