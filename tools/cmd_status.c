#include "commands.h"
#include "client/polder.h"
#include "view.h"

struct options {
    struct cli_client client;
    char *output;
};

static const struct setting rows[] = {
    CLI_CLIENT_ROWS(struct options, client),
    CLI_OUTPUT_ROW(struct options, output),
};

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct polder *polder = NULL;
    struct view view;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = cli_open(command, &options.client, &polder);
    if (code == CLI_GO_ON) {
        /* Somebody waits in front of the screen. */
        view_load(polder, settings_is_set(settings, "deadline") ? (uint32_t)options.client.deadline_ms : 3000, &view);
        if (options.output[0] == 'j')
            cli_json_print(view_json(&view));
        else
            view_print(&view);
        code = (int)view.health;
        view_fini(&view);
    }
    polder_close(polder);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_status = {
    .name = "status",
    .operands = "",
    .summary = "is the cluster well?",
    .text = "Shows pd, the stores with their regions and leaders, and regions without a leader.\n"
            "\n"
            "Examples:\n"
            "  polder status\n"
            "  polder status --dir ./polder-data\n"
            "  polder status --pd 10.0.0.1:2379 -o json\n"
            "\n"
            "Exit codes: 0 healthy, 1 degraded, 2 down (or wrong usage).\n\n",
    CLI_TABLE(rows),
    .run = run,
};
