/* cmd_version: `polder version`, and `polder completion`, which knows all commands and their flags. */
#include <stdio.h>
#include <string.h>

#include "client/polder.h"
#include "commands.h"
#include "rpc/frame_kind.h"

static int run_version(const struct command *command, int argc, char **argv)
{
    struct settings *settings;
    char options;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    settings_free(settings);
    printf("polder %s\nlibpolder %s\nprotocol %d (oldest %d)\n", POLDER_VERSION, polder_version(), PROTOCOL_VERSION,
           PROTOCOL_VERSION_MIN);
    return CLI_OK;
}

const struct command command_version = {
    .name = "version",
    .operands = "",
    .summary = "which version this is",
    .text = "Exit codes: 0 ok, 2 wrong usage.\n",
    .run = run_version,
};

static void print_flags(const struct command *command)
{
    printf("--help");
    size_t count;
    const struct setting *table = cli_table(command, &count);
    for (size_t i = 0; i < count; i++)
        printf(" --%s", table[i].key);
}

static int run_completion(const struct command *command, int argc, char **argv)
{
    struct settings *settings;
    char options;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    bool known = strcmp(settings_operand(settings, 0), "bash") == 0;
    settings_free(settings);
    if (!known)
        return cli_usage(command, "only bash is known");
    printf("_polder() {\n    local word=${COMP_WORDS[COMP_CWORD]} line=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\"\n    case "
           "\"$line\" in\n");
    for (const struct command *const *at = commands; *at; at++) {
        printf("    \"%s\"|\"%s \"*) COMPREPLY=($(compgen -f -W \"", (*at)->name, (*at)->name);
        print_flags(*at);
        printf("\" -- \"$word\"));;\n");
    }
    static const char *const groups[] = {"kv", "config", "store", "store region", "store raft"};
    for (size_t group = 0; group < sizeof groups / sizeof groups[0]; group++) {
        size_t size = strlen(groups[group]);
        printf("    \"%s\") COMPREPLY=($(compgen -W \"", groups[group]);
        for (const struct command *const *at = commands; *at; at++)
            if (strncmp((*at)->name, groups[group], size) == 0 && (*at)->name[size] == ' ')
                printf("%.*s ", (int)strcspn((*at)->name + size + 1, " "), (*at)->name + size + 1);
        printf("\" -- \"$word\"));;\n");
    }
    printf("    \"\") COMPREPLY=($(compgen -W \"kv config store help");
    for (const struct command *const *at = commands; *at; at++)
        if (!strchr((*at)->name, ' '))
            printf(" %s", (*at)->name);
    printf("\" -- \"$word\"));;\n    esac\n}\ncomplete -o filenames -F _polder polder\n");
    return CLI_OK;
}

const struct command command_completion = {
    .name = "completion",
    .operands = "bash",
    .summary = "completion for the shell",
    .text = "Examples:\n"
            "  source <(polder completion bash)\n"
            "\n"
            "Exit codes: 0 ok, 2 wrong usage.\n",
    .operand_min = 1,
    .operand_max = 1,
    .run = run_completion,
};
