#include "sim.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"
#include "batch.h"
#include "core_batch.h"
#include "life.h"
#include "placement.h"

static const char help[] =
    "usage: polder sim [--seed N | --seeds A..B] [flags]\n"
    "       polder sim life [--crash-every-write] [flags]     see polder sim life --help\n"
    "       polder sim placement --case NAME [flags]          see polder sim placement --help\n"
    "\n"
    "Runs pds, storenodes and clients in one thread, deterministically, under faults drawn from the seed, and checks\n"
    "that every promise is kept. A line per seed; exit 0 all kept, 1 one broken, 2 usage. docs/simulator.md explains.\n"
    "\n"
    "  --seed N            one seed (default 1)\n"
    "  --seeds A..B        all of them\n"
    "  --jobs N            processes at once (default 1)\n"
    "  --swarm             the seed decides on pds (1, 3, 5), stores (1, 3, 5), clients (1..8) and regions (1..12), too\n"
    "  --pds N             members of pd, 1..5 (default 1)\n"
    "  --stores N          storenodes, 1..9 (default 3)\n"
    "  --clients N         clients, 1..32 (default 4)\n"
    "  --regions N         regions, 1..64 (default 6)\n"
    "  --seconds N         virtual seconds of the fault phase (default 30)\n"
    "  --no-faults         good weather\n"
    "  --faults A,B,...    only these kinds may be drawn; light: a handful of mild ones; none\n"
    "  --without A,B,...   these kinds are never drawn\n"
    "  --always A,B,...    these kinds are on in every seed\n"
    "  --bug NAME          with this deliberate mistake in the product (only in a build with -Dbugs=true); list: names "
    "them\n"
    "  --core              groups of the Raft core alone instead of clusters: members come and go, snapshots\n"
    "  --shrink            of the first seed that fails: leaves out faults, clients, stores, regions, seconds while it "
    "fails\n"
    "  --twice             runs each seed twice, not only every 50th; digests must be equal\n"
    "  --trace FILE        writes every message, log line and fault of one seed (- for standard output)\n"
    "  --history FILE      writes what the clients saw of one seed, as JSON lines (see tests/sim/history.h)\n"
    "  --quiet             only failures and the summary\n"
    "  --verbose           more about each seed\n"
    "  -o, --output FORMAT text, or json: one object at the end, with failures and coverage\n"
    "\n"
    "From 1000 seeds on, a kind of fault that no operation of some kind has met is an error, too.\n"
    "\n"
    "kinds of fault: ";

static void print_help(FILE *out)
{
    fputs(help, out);
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++)
        fprintf(out, "%s%s", kind ? ", " : "", fault_name((enum fault_kind)kind));
    fputs("\n", out);
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
    FLAG_SWARM,
    FLAG_PDS,
    FLAG_STORES,
    FLAG_CLIENTS,
    FLAG_REGIONS,
    FLAG_BUG,
    FLAG_CORE,
    FLAG_SECONDS,
    FLAG_NO_FAULTS,
    FLAG_FAULTS,
    FLAG_WITHOUT,
    FLAG_ALWAYS,
    FLAG_SHRINK,
    FLAG_TWICE,
    FLAG_TRACE,
    FLAG_HISTORY,
    FLAG_QUIET,
    FLAG_VERBOSE,
    FLAG_OUTPUT,
    FLAG_HELP
};

static const struct option flags[] = {
    {"seed", required_argument, NULL, FLAG_SEED},
    {"seeds", required_argument, NULL, FLAG_SEEDS},
    {"jobs", required_argument, NULL, FLAG_JOBS},
    {"swarm", no_argument, NULL, FLAG_SWARM},
    {"pds", required_argument, NULL, FLAG_PDS},
    {"stores", required_argument, NULL, FLAG_STORES},
    {"clients", required_argument, NULL, FLAG_CLIENTS},
    {"regions", required_argument, NULL, FLAG_REGIONS},
    {"bug", required_argument, NULL, FLAG_BUG},
    {"core", no_argument, NULL, FLAG_CORE},
    {"seconds", required_argument, NULL, FLAG_SECONDS},
    {"no-faults", no_argument, NULL, FLAG_NO_FAULTS},
    {"faults", required_argument, NULL, FLAG_FAULTS},
    {"without", required_argument, NULL, FLAG_WITHOUT},
    {"always", required_argument, NULL, FLAG_ALWAYS},
    {"shrink", no_argument, NULL, FLAG_SHRINK},
    {"twice", no_argument, NULL, FLAG_TWICE},
    {"trace", required_argument, NULL, FLAG_TRACE},
    {"history", required_argument, NULL, FLAG_HISTORY},
    {"quiet", no_argument, NULL, FLAG_QUIET},
    {"verbose", no_argument, NULL, FLAG_VERBOSE},
    {"output", required_argument, NULL, FLAG_OUTPUT},
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

/* What the command line says, and what it leaves open. */
struct command_line {
    struct batch_settings settings;
    bool swarm, core;
};

static bool take_flag(struct command_line *line, int flag, const char *value)
{
    struct batch_settings *settings = &line->settings;
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
        return parse_u32(value, 1, BATCH_JOBS_MAX, &settings->jobs);
    case FLAG_SWARM:
        return line->swarm = true;
    case FLAG_PDS:
        return parse_u32(value, 1, WORLD_PD_MAX, &run->pds);
    case FLAG_STORES:
        return parse_u32(value, 1, WORLD_STORE_MAX, &run->stores);
    case FLAG_CLIENTS:
        return parse_u32(value, 1, WORLD_CLIENT_MAX, &run->clients);
    case FLAG_REGIONS:
        return parse_u32(value, 1, 64, &run->regions);
    case FLAG_BUG:
        settings->bug = value;
        return take_bug(value);
    case FLAG_CORE:
        return line->core = true;
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
    case FLAG_SHRINK:
        return settings->shrink = true;
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
    case FLAG_OUTPUT:
        settings->json = strcmp(value, "json") == 0;
        return settings->json || strcmp(value, "text") == 0;
    default:
        return false;
    }
}

static void fill_sizes(struct command_line *line)
{
    struct run_options *run = &line->settings.run;
    if (line->swarm)
        return;
    run->pds = run->pds ? run->pds : 1;
    run->stores = run->stores ? run->stores : 3;
    run->clients = run->clients ? run->clients : 4;
    run->regions = run->regions ? run->regions : 6;
}

static int usage_error(const char *what, const char *text)
{
    fprintf(stderr, "polder sim: %s%s; see polder sim --help\n", what, text);
    return 2;
}

int sim_main(int argc, char **argv)
{
    static struct command_line line;
    struct batch_settings *settings = &line.settings;
    line = (struct command_line){
        .settings = {
            .run = {.seconds = 30, .faults = true, .fault_allowed = UINT64_MAX}, .first = 1, .last = 1, .jobs = 1}};
    int index = 0;
    if (argc > 1 && strcmp(argv[1], "life") == 0)
        return life_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "placement") == 0)
        return placement_main(argc - 1, argv + 1);
    optind = 1;
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, ":o:", flags, &index)) != -1;) {
        if (flag == FLAG_HELP) {
            print_help(stdout);
            return 0;
        }
        if (flag == ':')
            return usage_error("a value is missing after ", argv[optind - 1]);
        if (flag == '?')
            return usage_error("unknown flag ", argv[optind - 1]);
        if (!take_flag(&line, flag == 'o' ? FLAG_OUTPUT : flag, optarg))
            return usage_error("bad value for --", flag == 'o' ? "output" : flags[index].name);
    }
    fill_sizes(&line);
    if (optind < argc)
        return usage_error("unexpected operand ", argv[optind]);
    if ((settings->trace_path || settings->run.history_path) && settings->first != settings->last)
        return usage_error("--trace and --history want a single --seed", "");
    return line.core ? core_batch_run(settings) : batch_run(settings);
}
