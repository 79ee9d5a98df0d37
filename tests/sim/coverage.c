#include "coverage.h"

const char *const coverage_op_names[COVERAGE_OP_COUNT] = {"get",  "put",       "delete",     "cas",
                                                          "scan", "batch-get", "batch-write", "delete-range", "checksum", "ttl"};

enum { NEAR_NS = 1000 * 1000 * 1000 };

void coverage_fault(struct coverage *coverage, enum fault_kind kind, uint64_t count, uint64_t until_ns)
{
    coverage->happened[kind] += count;
    if (until_ns + NEAR_NS > coverage->near_until_ns[kind])
        coverage->near_until_ns[kind] = until_ns + NEAR_NS;
}

void coverage_heal(struct coverage *coverage, uint64_t now_ns)
{
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++)
        if (coverage->near_until_ns[kind] > now_ns + NEAR_NS)
            coverage->near_until_ns[kind] = now_ns + NEAR_NS;
}

void coverage_op(struct coverage *coverage, unsigned op, uint64_t start_ns)
{
    if (op >= COVERAGE_OP_COUNT)
        return;
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++)
        coverage->ops[kind][op] += coverage->near_until_ns[kind] > start_ns;
}

void coverage_add(struct coverage *sum, const struct coverage *more)
{
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        sum->happened[kind] += more->happened[kind];
        for (int op = 0; op < COVERAGE_OP_COUNT; op++)
            sum->ops[kind][op] += more->ops[kind][op];
    }
}

void coverage_print(const struct coverage *coverage, uint64_t kinds, FILE *out)
{
    fprintf(out, "%-9s %11s |", "fault", "happened");
    for (int op = 0; op < COVERAGE_OP_COUNT; op++)
        fprintf(out, " %11s", coverage_op_names[op]);
    fputs("   operations within a second of it\n", out);
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        if (!(kinds & FAULT_BIT(kind)))
            continue;
        fprintf(out, "%-9s %11llu |", fault_name((enum fault_kind)kind), (unsigned long long)coverage->happened[kind]);
        for (int op = 0; op < COVERAGE_OP_COUNT; op++)
            fprintf(out, " %11llu", (unsigned long long)coverage->ops[kind][op]);
        fputs("\n", out);
    }
}

bool coverage_find_hole(const struct coverage *coverage, uint64_t kinds, enum fault_kind *ret_kind, unsigned *ret_op)
{
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        for (unsigned op = 0; op < COVERAGE_OP_COUNT; op++) {
            if (!(kinds & FAULT_BIT(kind)) || coverage->ops[kind][op] > 0)
                continue;
            *ret_kind = (enum fault_kind)kind;
            *ret_op = op;
            return true;
        }
    }
    return false;
}
