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

/* All commands, and the verbs of pd-ctl, which has a table of its own. */
static const struct command *command_at(size_t index)
{
    size_t count = 0;
    for (const struct command *const *at = commands; *at; at++)
        if (count++ == index)
            return *at;
    return index - count < ctl_command_count() ? ctl_command_at(index - count) : NULL;
}

/* The word of `name` behind `group` ("" for none): its begin and size; 0: it is not in that group. */
static size_t word_behind(const char *name, const char *group, const char **ret_word)
{
    size_t size = strlen(group);
    if (size > 0 && (strncmp(name, group, size) != 0 || name[size] != ' '))
        return 0;
    *ret_word = size > 0 ? name + size + 1 : name;
    return strcspn(*ret_word, " ");
}

/* Each word that may follow `group` once; they stand together in the table. */
static void print_words(const char *group)
{
    const char *last = "", *word;
    size_t last_size = 0;
    printf("    \"%s\") COMPREPLY=($(compgen -W \"%s", group, group[0] ? "" : "help ");
    for (size_t i = 0; command_at(i); i++) {
        size_t size = word_behind(command_at(i)->name, group, &word);
        if (size == 0 || (size == last_size && strncmp(word, last, size) == 0))
            continue;
        printf("%.*s ", (int)size, word);
        last = word;
        last_size = size;
    }
    printf("\" -- \"$word\"));;\n");
}

static const char functions[] =
    "_polder_words() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} rest=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\"\n"
    "    local line=\"$1${1:+${rest:+ }}$rest\"\n"
    "    case \"$line\" in\n";
static const char ends[] = "    esac\n}\n_polder() { _polder_words ''; }\n_pd_ctl() { _polder_words ctl; }\n"
                           "complete -o filenames -F _polder polder\ncomplete -o filenames -F _pd_ctl pd-ctl\n";

static void print_groups(void)
{
    char group[64], last[64] = "";
    for (size_t i = 0; command_at(i); i++) {
        const char *name = command_at(i)->name, *blank = strchr(name, ' ');
        for (; blank; blank = strchr(blank + 1, ' ')) {
            snprintf(group, sizeof group, "%.*s", (int)(blank - name), name);
            bool known = false; /* groups of groups come again */
            for (size_t j = 0; j < i && !known; j++)
                known = strncmp(command_at(j)->name, group, strlen(group)) == 0 && command_at(j)->name[strlen(group)] == ' ';
            if (!known && strcmp(group, last) != 0)
                print_words(group);
            snprintf(last, sizeof last, "%s", group);
        }
    }
    print_words("");
}

static int run_completion(const struct command *command, int argc, char **argv)
{
    struct settings *settings;
    char options;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    bool zsh = strcmp(settings_operand(settings, 0), "zsh") == 0;
    bool known = zsh || strcmp(settings_operand(settings, 0), "bash") == 0;
    settings_free(settings);
    if (!known)
        return cli_usage(command, "only bash and zsh are known");
    if (zsh) /* zsh runs functions of bash */
        printf("autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n");
    printf("%s", functions);
    for (size_t i = 0; command_at(i); i++) {
        if (command_at(i) == &command_ctl)
            continue;
        printf("    \"%s\"|\"%s \"*) COMPREPLY=($(compgen -f -W \"", command_at(i)->name, command_at(i)->name);
        print_flags(command_at(i));
        for (size_t n = 0; command_at(i)->operand_word && command_at(i)->operand_word(n); n++)
            printf(" %s", command_at(i)->operand_word(n));
        printf("\" -- \"$word\"));;\n");
    }
    print_groups();
    printf("%s", ends);
    return CLI_OK;
}

const struct command command_completion = {
    .name = "completion",
    .operands = "bash|zsh",
    .summary = "completion for the shell",
    .text = "Of polder and of pd-ctl.\n"
            "\n"
            "Examples:\n"
            "  source <(polder completion bash)\n"
            "  source <(polder completion zsh)\n"
            "\n"
            "Exit codes: 0 ok, 2 wrong usage.\n",
    .operand_min = 1,
    .operand_max = 1,
    .run = run_completion,
};
