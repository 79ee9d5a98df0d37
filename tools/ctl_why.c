/* ctl_why: pd's reasons in plain words. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "ctl.h"

enum { TEXT_SIZE_MAX = 64 * 1024 };

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static void print_words(const char *name)
{
    for (; *name; name++)
        putchar(*name == '_' ? ' ' : *name);
}

static void print_number(const char *name, double value)
{
    char text[32];
    if (ends_with(name, "_size") || ends_with(name, "_bytes") || strcmp(name, "size") == 0) {
        cli_print_size((uint64_t)(value < 0 ? -value : value), text);
        printf("%s%s", value < 0 ? "-" : "", text);
    } else if (ends_with(name, "_ms")) {
        cli_print_duration((uint64_t)(value < 0 ? 0 : value), text);
        printf("%s", text);
    } else if (ends_with(name, "_permille")) {
        printf("%.1f %%", value / 10);
    } else {
        printf("%.*f", value == (double)(int64_t)value ? 0 : 2, value);
    }
}

void ctl_print_reason(const cJSON *reason, const char *indent, const char *if_none_refused)
{
    const cJSON *item, *facts = cJSON_GetObjectItemCaseSensitive(reason, "facts");
    const cJSON *refused = cJSON_GetObjectItemCaseSensitive(reason, "refused");
    if (cJSON_GetArraySize(facts) > 0) {
        printf("%scompared:", indent);
        cJSON_ArrayForEach(item, facts)
        {
            printf("%s ", item != facts->child ? "," : "");
            print_words(ends_with(item->string, "_permille") ? "share of " : "");
            print_words(item->string);
            printf(" ");
            print_number(item->string, item->valuedouble);
        }
        printf("\n");
    }
    cJSON_ArrayForEach(item, refused)
    {
        const cJSON *what = item->child;
        printf("%srefused: ", indent);
        if (what && cJSON_IsNumber(what))
            printf("%s %.0f: ", what->string, what->valuedouble);
        print_words(ctl_text(item, "why"));
        printf("\n");
    }
    double unkept = ctl_number(reason, "refused_unkept");
    if (unkept > 0)
        printf("%srefused: %.0f more, of which no note was kept\n", indent, unkept);
    if (cJSON_GetArraySize(refused) == 0 && if_none_refused[0])
        printf("%s%s\n", indent, if_none_refused);
}

static void print_steps(const cJSON *operator, const char * indent)
{
    const cJSON *step;
    uint32_t number = 0;
    cJSON_ArrayForEach(step, cJSON_GetObjectItemCaseSensitive(operator, "steps"))
    {
        printf("%sstep %u: ", indent, ++number);
        print_words(ctl_text(step, "step"));
        if (ctl_number(step, "store") > 0)
            printf(" on store %.0f", ctl_number(step, "store"));
        if (ctl_number(step, "other_store") > 0)
            printf(", for the one on store %.0f", ctl_number(step, "other_store"));
        printf("%s\n", cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(step, "done")) ? ": done" : "");
    }
}

static void print_operator(const cJSON *operator)
{
    const cJSON *reason = cJSON_GetObjectItemCaseSensitive(operator, "reason");
    char age[32], took[32];
    cli_print_duration((uint64_t)ctl_number(operator, "age_ms"), age);
    cli_print_duration((uint64_t)ctl_number(operator, "took_ms"), took);
    bool ended = cJSON_GetObjectItemCaseSensitive(operator, "took_ms") != NULL;
    printf("operator %.0f of region %.0f: ", ctl_number(operator, "operator"), ctl_number(operator, "region"));
    print_words(ctl_text(operator, "state"));
    printf(", begun %s ago%s%s\n", age, ended ? ", took " : "", ended ? took : "");
    if (ctl_number(operator, "other_region") > 0)
        printf("  with region %.0f\n", ctl_number(operator, "other_region"));
    printf("  decided by: ");
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(operator, "by_people")))
        printf("people (%s)\n", ctl_text(reason, "policy"));
    else
        printf("%s\n", ctl_text(reason, "policy"));
    print_steps(operator, "  ");
    ctl_print_reason(reason, "  ", cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(operator, "by_people"))
                                          ? "refused: nothing, people chose"
                                          : "refused: nothing, there was no other choice");
}

static uint32_t print_operators(const cJSON *json, const char *list, const char *title)
{
    const cJSON *operator, * operators = cJSON_GetObjectItemCaseSensitive(json, list);
    uint32_t count = 0;
    cJSON_ArrayForEach(operator, operators)
    {
        if (count++ == 0)
            printf("\n%s\n", title);
        print_operator(operator);
    }
    return count;
}

static void print_problems(const cJSON *json)
{
    const cJSON *problem, *problems = cJSON_GetObjectItemCaseSensitive(json, "problems");
    if (cJSON_GetArraySize(problems) == 0)
        printf("rules: all are met\n");
    cJSON_ArrayForEach(problem, problems)
    {
        printf("rules: ");
        print_words(cJSON_IsString(problem) ? problem->valuestring : "?");
        printf("\n");
    }
}

static void print_region(const cJSON *json)
{
    const cJSON *peer;
    char size[32];
    cli_print_size((uint64_t)ctl_number(json, "size"), size);
    printf("region %.0f, epoch %.0f.%.0f: %s, %.0f keys, %.0f reads/s, %.0f writes/s\n", ctl_number(json, "region"),
           ctl_number(json, "epoch_conf"), ctl_number(json, "epoch_version"), size, ctl_number(json, "keys"),
           ctl_number(json, "read_load"), ctl_number(json, "write_load"));
    cJSON_ArrayForEach(peer, cJSON_GetObjectItemCaseSensitive(json, "peers"))
    {
        const char *rule = ctl_text(peer, "rule");
        printf("peer %.0f on store %.0f: ", ctl_number(peer, "peer"), ctl_number(peer, "store"));
        print_words(ctl_text(peer, "role"));
        printf("%s, %s%s\n", cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(peer, "leader")) ? ", leads" : "",
               rule[0] ? "for rule " : "no rule wants it", rule);
    }
    print_problems(json);
    const cJSON *replicas = cJSON_GetObjectItemCaseSensitive(json, "replicas");
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(replicas, "refused")) > 0) {
        printf("replicas: nothing can be done now\n");
        ctl_print_reason(replicas, "  ", "");
    }
    const cJSON *merge = cJSON_GetObjectItemCaseSensitive(json, "merge");
    if (merge) {
        printf("merge: what would be said now\n");
        ctl_print_reason(merge, "  ", "refused: nothing, it may be merged");
    }
    uint32_t count = print_operators(json, "running", "under way:");
    count += print_operators(json, "history", "before, the newest first:");
    if (count == 0)
        printf("\nno operator for it since this leader of pd began: nothing had to be done\n");
}

static void print_store(const cJSON *json)
{
    const cJSON *now = cJSON_GetObjectItemCaseSensitive(json, "now"), *item;
    cJSON_ArrayForEach(item, now)
    {
        print_words(item->string);
        printf(": ");
        if (cJSON_IsNumber(item))
            print_number(item->string, item->valuedouble);
        else if (cJSON_IsBool(item))
            printf("%s", cJSON_IsTrue(item) ? "yes" : "no");
        else if (cJSON_IsString(item))
            print_words(item->valuestring);
        else
            printf("-");
        printf("\n");
    }
    if (print_operators(json, "running", "under way here:") == 0)
        printf("\nno operator under way takes or gives here\n");
}

static int why(struct ctl *ctl, void (*print)(const cJSON *json))
{
    cJSON *json = NULL;
    int code = ctl_ask(ctl, NULL, ctl->verb->path, NULL, &json, NULL);
    if (code != CLI_GO_ON)
        return code;
    if (!ctl_is_table(ctl))
        return ctl_show(ctl, json, NULL, NULL);
    print(json);
    cJSON_Delete(json);
    return CLI_OK;
}

static int why_region(struct ctl *ctl)
{
    return why(ctl, print_region);
}

static int why_store(struct ctl *ctl)
{
    return why(ctl, print_store);
}

static int why_operator(struct ctl *ctl)
{
    return why(ctl, print_operator);
}

#define WHY_TEXT                                                                                                       \
    "Policies note the numbers that they compared and what they looked at and did not take; this prints the notes.\n"  \
    "Operators are remembered by the member of pd that leads, since it began to.\n"

const struct ctl_verb ctl_why_region = {
    .command = {.name = "ctl why region",
                .operands = "REGION",
                .summary = "what pd did with a region, and why",
                .text = WHY_TEXT "\nExamples:\n  pd-ctl why region 42\n  pd-ctl why region 42 -o json\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/why/regions/{0}",
    .act = why_region,
};

const struct ctl_verb ctl_why_store = {
    .command = {.name = "ctl why store",
                .operands = "STORE",
                .summary = "what pd thinks of a store, and what it does there",
                .text = WHY_TEXT "\nExamples:\n  pd-ctl why store 3\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/why/stores/{0}",
    .act = why_store,
};

const struct ctl_verb ctl_why_operator = {
    .command = {.name = "ctl why operator",
                .operands = "OPERATOR",
                .summary = "why an operator was begun, and how far it is",
                .text = WHY_TEXT "\nExamples:\n  pd-ctl why operator 7\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .path = "/pd/v1/why/operators/{0}",
    .act = why_operator,
};
