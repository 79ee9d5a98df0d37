#include "shrink.h"

#include <string.h>

enum { SEEDS_MAX = 6 /* a candidate may fail with one of so many seeds */ };

#define ULL(value) ((unsigned long long)(value))

struct shrinking {
    const struct batch_settings *settings;
    const char *checker;
    struct run_options options; /* the least that failed so far, with `seed` */
    uint64_t seed, first_seed;
    uint32_t run_count;
    struct batch_outcome outcome;
};

/* Does it fail alike? Then it is what we go on from. */
static bool try(struct shrinking *self, const struct run_options *candidate, const char *what)
{
    for (uint64_t i = 0; i < SEEDS_MAX; i++) {
        uint64_t seed = i == 0 ? self->seed : self->first_seed + i - 1; /* the one that failed last, then some */
        if (i > 0 && seed == self->seed)
            continue;
        self->run_count++;
        batch_run_one(self->settings, candidate, seed, &self->outcome);
        if (!self->outcome.failed || strcmp(self->outcome.checker, self->checker) != 0)
            continue;
        self->options = *candidate;
        self->seed = seed;
        fprintf(stderr, "shrink: %s: still fails (seed %llu)\n", what, ULL(seed));
        return true;
    }
    fprintf(stderr, "shrink: %s: does not fail\n", what);
    return false;
}

static bool drop_faults(struct shrinking *self)
{
    bool dropped = false;
    char what[64];
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        struct run_options candidate = self->options;
        if (!(candidate.fault_forced & FAULT_BIT(kind)))
            continue;
        candidate.fault_forced &= ~FAULT_BIT(kind);
        candidate.fault_allowed = candidate.fault_forced;
        snprintf(what, sizeof what, "without %s", fault_name((enum fault_kind)kind));
        dropped |= try(self, &candidate, what);
    }
    return dropped;
}

/* The smallest of some values that still fails. */
static bool lower(struct shrinking *self, const char *name, uint32_t *(*field)(struct run_options *options))
{
    static const uint32_t values[] = {1, 2, 3, 5, 8, 10, 15, 20};
    char what[64];
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct run_options candidate = self->options;
        if (values[i] >= *field(&candidate))
            return false;
        *field(&candidate) = values[i];
        snprintf(what, sizeof what, "%u %s", values[i], name);
        if (try(self, &candidate, what))
            return true;
    }
    return false;
}

static uint32_t *clients_of(struct run_options *options)
{
    return &options->clients;
}

static uint32_t *pds_of(struct run_options *options)
{
    return &options->pds;
}

static uint32_t *stores_of(struct run_options *options)
{
    return &options->stores;
}

static uint32_t *regions_of(struct run_options *options)
{
    return &options->regions;
}

static uint32_t *seconds_of(struct run_options *options)
{
    return &options->seconds;
}

static bool lower_sizes(struct shrinking *self)
{
    bool lowered = lower(self, "clients", clients_of);
    lowered |= lower(self, "pds", pds_of);
    lowered |= lower(self, "stores", stores_of);
    lowered |= lower(self, "regions", regions_of);
    lowered |= lower(self, "seconds", seconds_of);
    return lowered;
}

/* What the seed decided becomes what the command says. */
static struct run_options spell_out(const struct run_options *options, const struct run_result *result)
{
    struct run_options spelt = *options;
    spelt.pds = result->pds;
    spelt.stores = result->stores;
    spelt.clients = result->clients;
    spelt.regions = result->regions;
    spelt.fault_allowed = spelt.fault_forced = result->fault_mask;
    spelt.history_path = NULL;
    return spelt;
}

void shrink(const struct batch_settings *settings, uint64_t seed, const struct batch_outcome *failure)
{
    static struct shrinking self;
    self = (struct shrinking){.settings = settings, .checker = failure->checker, .seed = seed, .first_seed = seed + 1};
    struct run_options candidate = settings->run;
    if (failure->complete)
        candidate = spell_out(&candidate, &failure->result);
    else
        candidate.fault_forced = candidate.fault_allowed &= FAULT_BIT(FAULT_KIND_COUNT) - 1;
    fprintf(stderr, "shrink: looking for less that fails by \"%s\"\n", self.checker);
    if (!try(&self, &candidate, "with all that the seed decided spelt out"))
        return;
    for (bool less = true; less;) {
        less = drop_faults(&self);
        less |= lower_sizes(&self);
    }
    batch_run_one(settings, &self.options, self.seed, &self.outcome);
    printf("  least, after %u runs: ", self.run_count);
    batch_print_command(settings, &self.options, self.seed, stdout);
    printf("\n    %s\n", self.outcome.failure);
    fflush(stdout);
}
