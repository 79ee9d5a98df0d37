/* ctl_unsafe: `pd-ctl unsafe recover`: the way back when the majority of some regions is gone for good. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "ctl.h"
#include "env/os.h"

enum { TEXT_SIZE_MAX = 64 * 1024, WAIT_POLL_MS = 200 };

static const struct ctl_column plan_columns[] = {{"region", "REGION", CTL_NUMBER},
                                                 {"action", "ACTION", CTL_TEXT},
                                                 {"store", "STORE", CTL_NUMBER},
                                                 {"voters", "VOTERS", CTL_NUMBER},
                                                 {"lost", "LOST", CTL_NUMBER},
                                                 {"left", "LEFT", CTL_NUMBER},
                                                 {"committed_index", "COMMITTED", CTL_NUMBER},
                                                 {"last_index", "LAST", CTL_NUMBER},
                                                 {"uncertain_entries", "UNCERTAIN", CTL_NUMBER},
                                                 {"start_key", "FROM", CTL_KEY},
                                                 {"end_key", "TO", CTL_KEY},
                                                 {0}};
static const struct ctl_column hole_columns[] = {
    {"region", "WAS OF REGION", CTL_NUMBER}, {"start_key", "FROM", CTL_KEY}, {"end_key", "TO", CTL_KEY}, {0}};
static const struct ctl_column report_columns[] = {{"region", "REGION", CTL_NUMBER},
                                                   {"state", "STATE", CTL_TEXT},
                                                   {"store", "STORE", CTL_NUMBER},
                                                   {"planned_ms_ago", "PLANNED", CTL_MS},
                                                   {"forced_ms_ago", "FORCED", CTL_MS},
                                                   {"leading_ms_ago", "LEADING", CTL_MS},
                                                   {"replicated_ms_ago", "REPLICATED", CTL_MS},
                                                   {"refused", "REFUSED BY ITS STORE", CTL_TEXT},
                                                   {0}};

static const struct setting plan_rows[] = {
    CTL_COMMON_ROWS,
    {.key = "stores",
     .letter = 's',
     .type = SETTING_STRING,
     SETTING_FIELD(struct ctl_options, stores),
     .value_name = "IDS",
     .help = "the stores that are gone for good, separated by commas"},
};

static const struct setting apply_rows[] = {
    CTL_COMMON_ROWS,
    CTL_WAIT_ROW("it has ended, or the deadline has passed"),
    {.key = "create-empty",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct ctl_options, create_empty),
     .default_text = "false",
     .help = "make empty regions where nothing is left"},
};

static const struct setting wait_rows[] = {CTL_COMMON_ROWS, CTL_WAIT_ROW("it has ended, or the deadline has passed")};

/* ---- plans */

static void print_plan(struct ctl *ctl, const cJSON *json)
{
    if (ctl_number(json, "without_majority") > 0)
        ctl_show(ctl, cJSON_Duplicate(json, true), "regions", plan_columns);
    if (ctl_number(json, "hole_count") > 0) {
        printf("%skeys that no store has any more:\n", ctl_number(json, "without_majority") > 0 ? "\n" : "");
        ctl_show(ctl, cJSON_Duplicate(json, true), "holes", hole_columns);
    }
    printf("%s%.0f regions have no majority, %.0f of them will be led by the replica that knows most; %.0f holes; %.0f "
           "regions are healthy\n",
           ctl_number(json, "without_majority") + ctl_number(json, "hole_count") > 0 ? "\n" : "",
           ctl_number(json, "without_majority"), ctl_number(json, "to_force"), ctl_number(json, "hole_count"),
           ctl_number(json, "healthy"));
}

static int fetch_plan(struct ctl *ctl, const char *name, const char *text, cJSON **ret_json)
{
    char path[TEXT_SIZE_MAX / 16];
    if (strspn(text, "0123456789abcdef.,-") != strlen(text))
        return cli_usage(ctl->command, "\"%.60s\" is no %s", text,
                         strcmp(name, "stores") == 0 ? "list of store ids: --stores 3,4" : "id of a plan");
    snprintf(path, sizeof path, "/pd/v1/recovery/plan?%s=%.3000s", name, text);
    return ctl_fetch(ctl, NULL, path, NULL, ret_json, NULL);
}

static int plan(struct ctl *ctl)
{
    cJSON *json = NULL;
    if (!ctl->options.stores || !ctl->options.stores[0])
        return cli_usage(ctl->command, "which stores are lost? --stores 3,4");
    int code = fetch_plan(ctl, "stores", ctl->options.stores, &json);
    if (code != CLI_GO_ON)
        return code;
    if (!ctl_is_table(ctl))
        return ctl_show(ctl, json, NULL, NULL);
    const char *id = ctl_text(json, "plan");
    print_plan(ctl, json);
    printf("plan %s; nothing was changed. To do it:\n  pd-ctl unsafe recover apply %s --yes\n", id, id);
    cJSON_Delete(json);
    return CLI_OK;
}

/* CLI_GO_ON: it fits. Takes the JSON. */
static int judge_fit(struct ctl *ctl, cJSON *take_json)
{
    bool fits = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(take_json, "fits"));
    if (!fits)
        cli_complain(ctl->command, "the plan does not fit any more: by now it is plan %s", ctl_text(take_json, "plan"));
    cJSON_Delete(take_json);
    return fits ? CLI_GO_ON : CLI_CONDITION;
}

static int dry_run(struct ctl *ctl)
{
    cJSON *json = NULL;
    int code = fetch_plan(ctl, "plan", ctl_operand(ctl, 0), &json);
    if (code != CLI_GO_ON)
        return code;
    if (ctl_is_table(ctl))
        print_plan(ctl, json);
    else
        ctl_show(ctl, cJSON_Duplicate(json, true), NULL, NULL);
    code = judge_fit(ctl, json);
    if (code == CLI_GO_ON && ctl_is_table(ctl))
        printf("the plan fits; nothing was changed\n");
    return code == CLI_GO_ON ? CLI_OK : code;
}

/* ---- what goes on */

static void print_report(struct ctl *ctl, const cJSON *json)
{
    const char *state = ctl_text(json, "state");
    if (strcmp(state, "none") == 0) {
        printf("there was none\n");
        return;
    }
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "regions")) > 0)
        ctl_show(ctl, cJSON_Duplicate(json, true), "regions", report_columns);
    printf("plan %s: %s; regions planned %.0f, forced %.0f, leading %.0f, replicated %.0f", ctl_text(json, "plan"),
           state, ctl_number(json, "planned"), ctl_number(json, "forced"), ctl_number(json, "leading"),
           ctl_number(json, "replicated"));
    if (strcmp(state, "ended") == 0)
        printf("; superseded %.0f, gone %.0f, empty regions made %.0f, holes %.0f", ctl_number(json, "superseded"),
               ctl_number(json, "gone"), ctl_number(json, "created"), ctl_number(json, "hole_count"));
    if (ctl_number(json, "waits_for_store") > 0)
        printf("; store %.0f is being asked what it has", ctl_number(json, "waits_for_store"));
    printf("\n");
}

static int report(struct ctl *ctl)
{
    uint64_t end_us = os_monotonic_us() + ctl->options.deadline_ms * 1000;
    for (;;) {
        cJSON *json = NULL;
        int code = ctl_fetch(ctl, NULL, "/pd/v1/recovery", NULL, &json, NULL);
        if (code != CLI_GO_ON)
            return code;
        bool running = strcmp(ctl_text(json, "state"), "running") == 0;
        if (!ctl->options.wait || !running || os_monotonic_us() >= end_us) {
            if (!ctl_is_table(ctl))
                return ctl_show(ctl, json, NULL, NULL);
            print_report(ctl, json);
            cJSON_Delete(json);
            return ctl->options.wait && running ? CLI_FAILED : CLI_OK;
        }
        cJSON_Delete(json);
        os_sleep_ms(WAIT_POLL_MS);
    }
}

static int apply(struct ctl *ctl)
{
    cJSON *json = NULL;
    int code;
    if (!ctl->options.yes) {
        code = fetch_plan(ctl, "plan", ctl_operand(ctl, 0), &json);
        if (code != CLI_GO_ON)
            return code;
        if (ctl_is_table(ctl))
            print_plan(ctl, json);
        code = judge_fit(ctl, json);
        if (code == CLI_GO_ON)
            cli_complain(ctl->command, "nothing was begun: the stores would never come back, and what only they had is "
                                       "lost. Say --yes to do it");
        return CLI_CONDITION;
    }
    code =
        ctl_ask(ctl, "POST", "/pd/v1/recovery",
                ctl->options.create_empty ? "{\"plan\":{s0},\"create_empty\":true}" : "{\"plan\":{s0}}", &json, NULL);
    if (code != CLI_GO_ON)
        return code;
    if (ctl->options.wait) {
        cJSON_Delete(json);
        return report(ctl);
    }
    return ctl_show_change(ctl, json);
}

/* ---- verbs */

const struct ctl_verb ctl_unsafe_plan = {
    .command = {.name = "ctl unsafe recover plan",
                .operands = "",
                .summary = "what could be saved of regions whose majority is gone for good",
                .text =
                    "All other stores are asked which replicas they have. For each region without a majority of its "
                    "voters it says\n"
                    "which replica has the newest log and would lead alone, up to where it is known what was "
                    "committed, and how many\n"
                    "entries behind that are kept though nobody knows whether they were. Regions with a majority "
                    "are left alone.\n"
                    "Keys that no store has are listed as holes. Nothing is changed.\n"
                    "\n"
                    "Only for stores whose disks are lost: those that are down and come back need no recovery.\n"
                    "\n"
                    "Examples:\n"
                    "  pd-ctl unsafe recover plan --stores 3,4\n"
                    "  pd-ctl unsafe recover plan --stores 3,4 -o json\n" CTL_EXIT_CODES,
                CLI_TABLE(plan_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .act = plan,
};

const struct ctl_verb ctl_unsafe_dry_run = {
    .command = {.name = "ctl unsafe recover dry-run",
                .operands = "PLAN",
                .summary = "what apply would do now, and whether the plan still fits",
                .text = "Exit code 4: something has changed since the plan was made.\n"
                        "\n"
                        "Examples:\n"
                        "  pd-ctl unsafe recover dry-run 3.4-0123456789abcdef\n" CTL_EXIT_CODES,
                CLI_TABLE(ctl_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .act = dry_run,
};

const struct ctl_verb ctl_unsafe_apply = {
    .command = {.name = "ctl unsafe recover apply",
                .operands = "PLAN",
                .summary = "give the lost stores up, and let what is left go on",
                .text =
                    "The lost stores may never come back from then on: pd and all stores refuse them. What only they "
                    "had is lost, also\n"
                    "if it was acknowledged. It goes on if pd's leader changes; the same once more changes nothing. "
                    "Wants --yes.\n"
                    "Keys that no store has stay holes, and clients wait for them; with --create-empty empty regions "
                    "take their place in the end.\n"
                    "\n"
                    "Examples:\n"
                    "  pd-ctl unsafe recover apply 3.4-0123456789abcdef\n"
                    "  pd-ctl unsafe recover apply 3.4-0123456789abcdef --yes --create-empty\n"
                    "  pd-ctl unsafe recover apply 3.4-0123456789abcdef --yes --wait --deadline 5min\n" CTL_EXIT_CODES,
                CLI_TABLE(apply_rows),
                .operand_min = 1,
                .operand_max = 1,
                .run = ctl_run},
    .act = apply,
};

const struct ctl_verb ctl_unsafe_report = {
    .command = {.name = "ctl unsafe recover report",
                .operands = "",
                .summary = "how far the recovery is, region by region",
                .text =
                    "planned: its replica is told to lead alone; forced: it does; leading: without the lost stores, "
                    "as any region;\n"
                    "replicated: as many replicas as the rules want. Regions are those that this leader of pd has "
                    "seen to.\n"
                    "\n"
                    "Examples:\n"
                    "  pd-ctl unsafe recover report\n"
                    "  pd-ctl unsafe recover report --wait --deadline 5min\n" CTL_EXIT_CODES,
                CLI_TABLE(wait_rows),
                .operand_min = 0,
                .operand_max = 0,
                .run = ctl_run},
    .act = report,
};
