/* cmd_version: `polder version`, and `polder completion`, which knows all commands and their flags. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "client/polder.h"
#include "commands.h"
#include "rpc/frame_kind.h"

struct version_options {
    char *output;
};

static const struct setting version_rows[] = {CLI_OUTPUT_ROW(struct version_options, output)};

static int run_version(const struct command *command, int argc, char **argv)
{
    struct settings *settings;
    struct version_options options;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    bool json = options.output[0] == 'j';
    settings_fini_target(version_rows, command->table_count, &options);
    settings_free(settings);
    if (json) {
        cJSON *all = cJSON_CreateObject();
        cJSON_AddStringToObject(all, "version", POLDER_VERSION);
        cJSON_AddStringToObject(all, "libpolder", polder_version());
        cJSON_AddNumberToObject(all, "protocol", PROTOCOL_VERSION);
        cJSON_AddNumberToObject(all, "protocol_oldest", PROTOCOL_VERSION_MIN);
        cli_json_print(all);
        return CLI_OK;
    }
    printf("polder %s\nlibpolder %s\nprotocol %d (oldest %d)\n", POLDER_VERSION, polder_version(), PROTOCOL_VERSION,
           PROTOCOL_VERSION_MIN);
    return CLI_OK;
}

const struct command command_version = {
    .name = "version",
    .operands = "",
    .summary = "which version this is",
    .text = "Exit codes: 0 ok, 2 wrong usage.\n\n",
    CLI_TABLE(version_rows),
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

/* What flags may be, as FLAG:CHOICE|CHOICE. */
static void print_choices(const struct command *command)
{
    size_t count;
    const struct setting *table = cli_table(command, &count);
    for (size_t i = 0; i < count; i++) {
        if (!table[i].choices)
            continue;
        printf("--%s:%s ", table[i].key, table[i].choices);
        if (table[i].letter)
            printf("-%c:%s ", table[i].letter, table[i].choices);
    }
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
    printf("    \"%s\") _polder_offer \"%s\" \"", group, group);
    /* Flags may stand in front of a verb of pd-ctl. */
    bool takes_flags = strncmp(group, "ctl", 3) == 0;
    if (takes_flags)
        print_flags(ctl_command_at(0));
    printf("\" \"%s", group[0] ? "" : "help ");
    for (size_t i = 0; command_at(i); i++) {
        size_t size = word_behind(command_at(i)->name, group, &word);
        if (size == 0 || (size == last_size && strncmp(word, last, size) == 0))
            continue;
        printf("%.*s ", (int)size, word);
        last = word;
        last_size = size;
    }
    printf("\" \"");
    if (takes_flags)
        print_choices(ctl_command_at(0));
    printf("\";;\n");
}

/* `line` are the words of the command that stand there already, without flags and their values; `flag` is the one whose value
 * is being written. bash splits at `=`. */
static const char functions[] =
    "_polder_offer() { # command, its flags, what its first operand may be, what flags may be\n"
    "    local pair\n"
    "    for pair in $4; do\n"
    "        [ \"${pair%%:*}\" = \"$flag\" ] || continue\n"
    "        pair=${pair#*:}\n"
    "        COMPREPLY=($(compgen -W \"${pair//|/ }\" -- \"$word\"))\n"
    "        return\n"
    "    done\n"
    "    if [ -n \"$flag\" ]; then COMPREPLY=($(compgen -f -- \"$word\"))\n"
    "    elif [ \"${word#-}\" != \"$word\" ]; then COMPREPLY=($(compgen -W \"$2\" -- \"$word\"))\n"
    "    elif [ -n \"$3\" ] && [ \"$line\" = \"$1\" ]; then COMPREPLY=($(compgen -W \"$3\" -- \"$word\"))\n"
    "    else COMPREPLY=($(compgen -f -W \"$2\" -- \"$word\")); fi\n"
    "}\n"
    "_polder_words() {\n"
    "    local word=${COMP_WORDS[COMP_CWORD]} line=$1 flag= i=1 one\n"
    "    COMPREPLY=()\n"
    "    [ \"$word\" = '=' ] && word=\n"
    "    while [ $i -lt $COMP_CWORD ]; do\n"
    "        one=${COMP_WORDS[i]}\n"
    "        i=$((i + 1))\n"
    "        case \"$one\" in\n"
    "        =) ;;\n";
static const char words[] = "        help) [ -n \"$line\" ] && [ \"$line\" != \"$1\" ] && line=\"$line help\";;\n"
                            "        -*=*) flag=;;\n"
                            "        -*) flag=$one;;\n"
                            "        *) if [ -n \"$flag\" ]; then flag=; else line=\"$line${line:+ }$one\"; fi;;\n"
                            "        esac\n"
                            "    done\n"
                            "    case \"$line\" in\n";
static const char ends[] = "    esac\n}\n_polder() { _polder_words ''; }\n_pd_ctl() { _polder_words ctl; }\n"
                           "complete -o filenames -F _polder polder\ncomplete -o filenames -F _pd_ctl pd-ctl\n";

static const struct setting *flag_at(size_t command, size_t index)
{
    size_t count;
    const struct setting *table = command_at(command) ? cli_table(command_at(command), &count) : NULL;
    return table && index < count ? &table[index] : NULL;
}

/* The first of its name, and of none of that name is there a value. */
static bool is_new_bare_flag(size_t command, const struct setting *flag)
{
    for (size_t i = 0; command_at(i); i++)
        for (size_t j = 0; flag_at(i, j); j++)
            if (strcmp(flag_at(i, j)->key, flag->key) == 0 && (i < command || flag_at(i, j)->type != SETTING_BOOL))
                return false;
    return true;
}

/* Flags that have no value: the word behind them is none. */
static void print_bare_flags(void)
{
    bool letters[128] = {false};
    printf("        --help|-h");
    for (size_t i = 0; command_at(i); i++)
        for (size_t j = 0; flag_at(i, j); j++) {
            const struct setting *flag = flag_at(i, j);
            if (is_new_bare_flag(i, flag))
                printf("|--%s", flag->key);
            if (flag->type == SETTING_BOOL && flag->letter > 0 && !letters[(size_t)flag->letter])
                printf("|-%c", flag->letter);
            if (flag->type == SETTING_BOOL && flag->letter > 0)
                letters[(size_t)flag->letter] = true;
        }
    printf(") ;;\n");
}

static void print_groups(void)
{
    char group[64], last[64] = "";
    for (size_t i = 0; command_at(i); i++) {
        const char *name = command_at(i)->name, *blank = strchr(name, ' ');
        for (; blank; blank = strchr(blank + 1, ' ')) {
            snprintf(group, sizeof group, "%.*s", (int)(blank - name), name);
            bool known = false; /* groups of groups come again */
            for (size_t j = 0; j < i && !known; j++)
                known = strncmp(command_at(j)->name, group, strlen(group)) == 0 &&
                        command_at(j)->name[strlen(group)] == ' ';
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
    print_bare_flags();
    printf("%s", words);
    for (size_t i = 0; command_at(i); i++) {
        if (command_at(i) == &command_ctl)
            continue;
        const char *name = command_at(i)->name;
        printf("    \"%s\"|\"%s \"*) _polder_offer \"%s\" \"", name, name, name);
        print_flags(command_at(i));
        printf("\" \"");
        for (size_t n = 0; command_at(i)->operand_word && command_at(i)->operand_word(n); n++)
            printf("%s%s", n ? " " : "", command_at(i)->operand_word(n));
        printf("\" \"");
        print_choices(command_at(i));
        printf("\";;\n");
    }
    print_groups();
    printf("%s", ends);
    return CLI_OK;
}

static const char *shell_word(size_t n)
{
    return n == 0 ? "bash" : n == 1 ? "zsh" : NULL;
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
    .operand_word = shell_word,
    .run = run_completion,
};
