/* quorum_file: commit indexes and votes of plain and joint majorities. Beside the printed result, each directive is
 * checked against laws that must hold for it: another algorithm, halves swapped, a half joint with itself or with
 * nothing. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "raft/quorum.h"
#include "scenario.h"

enum { ID_COUNT_MAX = 64 };
#define UNKNOWN UINT64_MAX

struct half {
    uint64_t ids[ID_COUNT_MAX];
    uint32_t count;
};
struct question {
    struct half in, out;
    bool joint;
    uint64_t ids[ID_COUNT_MAX]; /* of both, in order of appearance */
    uint32_t count;
    uint64_t values[ID_COUNT_MAX];
};

bool quorum_knows(const struct directive *directive)
{
    if (strcmp(directive->command, "vote") == 0) /* there also are vectors of that name */
        return !directive_find(directive, "log") && !directive_find(directive, "voted") &&
               !directive_find(directive, "state");
    return strcmp(directive->command, "committed") == 0;
}

/* raft-rs: what is committed must also be in two groups (say, places). */
bool quorum_knows_groups(const struct directive *directive)
{
    return strcmp(directive->command, "group_committed") == 0;
}

static uint32_t place_of(const struct question *question, uint64_t id)
{
    uint32_t place = 0;
    while (place < question->count && question->ids[place] != id)
        place++;
    return place;
}

static void note_ids(struct question *question, const struct half *half)
{
    for (uint32_t i = 0; i < half->count; i++) {
        if (place_of(question, half->ids[i]) == question->count)
            question->ids[question->count++] = half->ids[i];
    }
}

static uint64_t committed_half(const struct question *question, const struct half *half)
{
    uint64_t values[ID_COUNT_MAX];
    for (uint32_t i = 0; i < half->count; i++) {
        uint64_t value = question->values[place_of(question, half->ids[i])];
        values[i] = value == UNKNOWN ? 0 : value;
    }
    return quorum_committed(values, half->count);
}

static uint64_t committed(const struct question *question)
{
    uint64_t in = committed_half(question, &question->in), out = committed_half(question, &question->out);
    return in < out ? in : out;
}

/* The largest of the values that more than half have reached, by counting. */
static uint64_t committed_by_counting(const struct question *question, const struct half *half)
{
    uint64_t best = half->count ? 0 : UINT64_MAX;
    for (uint32_t i = 0; i < half->count; i++) {
        uint64_t candidate = question->values[place_of(question, half->ids[i])];
        uint32_t reached = 0;
        if (candidate == UNKNOWN)
            continue;
        for (uint32_t j = 0; j < half->count; j++) {
            uint64_t value = question->values[place_of(question, half->ids[j])];
            reached += value != UNKNOWN && value >= candidate;
        }
        if (reached > half->count / 2 && candidate > best)
            best = candidate;
    }
    return best;
}

static void check_laws(const struct question *question, uint64_t result)
{
    uint64_t in = committed_by_counting(question, &question->in), out = committed_by_counting(question, &question->out);
    assert(result == (in < out ? in : out));
    struct question other = *question;
    other.in = question->out;
    other.out = question->in;
    assert(committed(&other) == result);
    other.in = other.out = question->in;
    assert(committed(&other) == committed_half(question, &question->in));
    other.out.count = 0;
    assert(committed(&other) == committed_half(question, &question->in));
    for (uint32_t i = 0; i < question->count; i++) { /* a value below the result can be anything below it */
        other = *question;
        if (other.values[i] == UNKNOWN || other.values[i] >= result)
            continue;
        other.values[i] = 0;
        assert(committed(&other) == result);
    }
}

static uint64_t shown(uint64_t value)
{
    return value == UNKNOWN ? 0 : value;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_table(const struct question *question, struct text *out)
{
    uint32_t n = question->count;
    uint64_t ids[ID_COUNT_MAX];
    memcpy(ids, question->ids, n * sizeof(ids[0]));
    qsort(ids, n, sizeof(ids[0]), by_id);
    if (n == 0) {
        text_add(out, "<empty majority quorum>");
        return;
    }
    text_add(out, "%*s    idx\n", (int)n, "");
    for (uint32_t i = 0; i < n; i++) {
        uint64_t value = question->values[place_of(question, ids[i])];
        uint32_t bar = 0; /* how many are behind this one */
        for (uint32_t j = 0; j < n; j++)
            bar += shown(question->values[j]) < shown(value);
        if (value == UNKNOWN) {
            text_add(out, "?%*s", (int)n, "");
        } else {
            for (uint32_t j = 0; j < bar; j++)
                text_add(out, "x");
            text_add(out, ">%*s", (int)(n - bar), "");
        }
        text_add(out, " %5llu    (id=%llx)\n", (unsigned long long)shown(value), (unsigned long long)ids[i]);
    }
}

static enum quorum_vote vote_half(const struct question *question, const struct half *half)
{
    uint32_t yes = 0, no = 0;
    for (uint32_t i = 0; i < half->count; i++) {
        uint64_t value = question->values[place_of(question, half->ids[i])];
        yes += value == 1;
        no += value == 0;
    }
    return quorum_vote(yes, no, half->count);
}

static void run_vote(struct question *question, const struct directive *directive, struct text *out)
{
    const struct argument *votes = directive_find(directive, "votes");
    for (uint32_t i = 0; votes && i < votes->value_count && i < question->count; i++)
        question->values[i] = votes->values[i][0] == 'y' ? 1 : votes->values[i][0] == 'n' ? 0 : UNKNOWN;
    enum quorum_vote in = vote_half(question, &question->in), result = in;
    if (question->joint)
        result = quorum_vote_joint(in, vote_half(question, &question->out));
    assert(!question->joint || result == quorum_vote_joint(vote_half(question, &question->out), in));
    text_add(out, "%s\n", result == QUORUM_WON ? "VoteWon" : result == QUORUM_LOST ? "VoteLost" : "VotePending");
}

static void run_committed(struct question *question, const struct directive *directive, struct text *out)
{
    directive_numbers(directive, "idx", question->values, ID_COUNT_MAX, UNKNOWN);
    uint64_t result = committed(question);
    check_laws(question, result);
    print_table(question, out);
    if (result == UINT64_MAX)
        text_add(out, "∞\n");
    else
        text_add(out, "%llu\n", (unsigned long long)result);
}

static uint64_t group_committed_half(const struct question *question, const struct half *half, const uint64_t *groups)
{
    uint64_t values[ID_COUNT_MAX], its_groups[ID_COUNT_MAX];
    for (uint32_t i = 0; i < half->count; i++) {
        uint32_t place = place_of(question, half->ids[i]);
        values[i] = shown(question->values[place]);
        its_groups[i] = groups[place];
    }
    return quorum_committed_in_groups(values, its_groups, half->count);
}

static void run_group_committed(struct question *question, const struct directive *directive, struct text *out)
{
    uint64_t groups[ID_COUNT_MAX] = {0};
    directive_numbers(directive, "idx", question->values, ID_COUNT_MAX, UNKNOWN);
    directive_numbers(directive, "gid", groups, ID_COUNT_MAX, 0);
    uint64_t in = group_committed_half(question, &question->in, groups);
    uint64_t out_half = group_committed_half(question, &question->out, groups);
    text_add(out, "%llu\n", (unsigned long long)(in < out_half ? in : out_half));
}

static void run(void *env, const struct directive *directive, struct text *out)
{
    struct question question = {0};
    (void)env;
    question.in.count = directive_numbers(directive, "cfg", question.in.ids, ID_COUNT_MAX / 2, 0);
    question.joint = directive_find(directive, "cfgj") != NULL;
    if (strcmp(directive_word(directive, "cfgj", "zero"), "zero") != 0)
        question.out.count = directive_numbers(directive, "cfgj", question.out.ids, ID_COUNT_MAX / 2, 0);
    note_ids(&question, &question.in);
    note_ids(&question, &question.out);
    for (uint32_t i = 0; i < ID_COUNT_MAX; i++)
        question.values[i] = UNKNOWN;
    const struct argument *given = directive_find(directive, strcmp(directive->command, "vote") == 0 ? "votes" : "idx");
    if ((given ? given->value_count : 0) != question.count) {
        text_add(out, "error: mismatched input: %u values for %u voters\n", given ? given->value_count : 0,
                 question.count);
        return;
    }
    if (strcmp(directive->command, "committed") == 0)
        run_committed(&question, directive, out);
    else if (strcmp(directive->command, "vote") == 0)
        run_vote(&question, directive, out);
    else if (quorum_knows_groups(directive))
        run_group_committed(&question, directive, out);
    else
        text_add(out, "unknown command %s", directive->command);
}

static void *new (void)
{
    return NULL;
}

const struct driver quorum_driver = {.new = new, .run = run, .free = free};
