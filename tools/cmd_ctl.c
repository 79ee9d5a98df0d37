/* cmd_ctl: `polder ctl`, and the same under the name pd-ctl: finds the verb; by itself it is a shell with history. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "config/nearest.h"
#include "ctl.h"
#include "env/line_editor.h"
#include "env/os.h"

enum { WORDS_MAX = 64, FLAG_WORDS_MAX = 16, VERB_WORDS_MAX = 3 };

/* What follows "ctl ". */
static const char *verb_name(const struct ctl_verb *verb)
{
    return verb->command.name + 4;
}

static bool is_noun_of(const char *name, const char *noun)
{
    size_t size = strlen(noun);
    return strncmp(name, noun, size) == 0 && name[size] == ' ';
}

size_t ctl_command_count(void)
{
    size_t count = 0;
    while (ctl_verbs[count])
        count++;
    return count;
}

const struct command *ctl_command_at(size_t index)
{
    return &ctl_verbs[index]->command;
}

static void print_verbs(const char *noun)
{
    for (const struct ctl_verb *const *at = ctl_verbs; *at; at++)
        if (!noun || is_noun_of(verb_name(*at), noun))
            printf("  %-25s %s\n", verb_name(*at), (*at)->command.summary);
}

static int help(const char *noun)
{
    printf("pd-ctl (polder ctl): look at the placement of a cluster, and change it\n\n"
           "Usage: pd-ctl [--url LIST | --dir DIR] [-o table|json|jsonl] %s [flags]\n"
           "       pd-ctl                                without words: a shell with history and completion\n\n",
           noun ? noun : "NOUN VERB");
    print_verbs(noun);
    printf("\n`pd-ctl NOUN VERB --help` tells the rest. pd is found by --url or POLDER_PD_STATUS "
           "(http://127.0.0.1:2381).\n"
           "\nExamples:\n  pd-ctl status\n  pd-ctl store list\n  pd-ctl --dir ./polder-data region top "
           "size\n" CTL_EXIT_CODES);
    return CLI_OK;
}

/* The words that verbs begin with. */
static const char *const nouns[] = {"status", "member", "store", "region",  "operator", "scheduler", "rule",
                                    "hot",    "config", "tso",   "balance", "why",      "unsafe", "help"};
enum { NOUN_COUNT = sizeof nouns / sizeof nouns[0] };

static bool has_verbs(const char *noun)
{
    for (const struct ctl_verb *const *at = ctl_verbs; *at; at++)
        if (is_noun_of(verb_name(*at), noun))
            return true;
    return false;
}

static int unknown(const char *noun, const char *word)
{
    struct nearest nearest;
    bool known = has_verbs(noun);
    nearest_init(&nearest, known ? word : noun);
    for (const struct ctl_verb *const *at = ctl_verbs; known && *at; at++)
        if (is_noun_of(verb_name(*at), noun))
            nearest_offer(&nearest, verb_name(*at) + strlen(noun) + 1);
    for (size_t i = 0; !known && i < NOUN_COUNT; i++)
        nearest_offer(&nearest, nouns[i]);
    fprintf(stderr, "pd-ctl: there is no \"%.64s%s%.64s\"", noun, known ? " " : "", known ? word : "");
    if (nearest.best)
        fprintf(stderr, "; did you mean \"pd-ctl %s%s%s\"?\n", known ? noun : "", known ? " " : "", nearest.best);
    else
        fprintf(stderr, "; see pd-ctl help\n");
    return CLI_USAGE;
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* The verb of the most words. */
static const struct ctl_verb *find_verb(char **words, int count, int *ret_words)
{
    for (int used = count < VERB_WORDS_MAX ? count : VERB_WORDS_MAX; used > 0; used--) {
        char name[256];
        size_t at = 0;
        for (int i = 0; i < used && at < sizeof name; i++)
            at += (size_t)snprintf(name + at, sizeof name - at, "%s%.60s", i ? " " : "", words[i]);
        for (const struct ctl_verb *const *verb = ctl_verbs; *verb; verb++)
            if (strcmp(verb_name(*verb), name) == 0) {
                *ret_words = used;
                return *verb;
            }
    }
    return NULL;
}

/* Flags in front of the verb, as `pd-ctl -u URL store list`: how many words they are. */
static int count_flags(int argc, char **argv)
{
    int count = 0;
    while (count < argc && argv[count][0] == '-' && !is_help(argv[count]))
        count +=
            strchr(argv[count], '=') || strcmp(argv[count], "--yes") == 0 || strcmp(argv[count], "-y") == 0 ? 1 : 2;
    return count < argc ? count : argc;
}

/* Words without the name of the program. */
static int run_words(int argc, char **argv)
{
    int flags = count_flags(argc, argv), rest = argc - flags, words = 1;
    char **at = argv + flags;
    char flag_help[] = "--help";
    if (rest == 0)
        return help(NULL);
    if (is_help(at[0]) && rest == 1)
        return help(NULL);
    bool wants_help = is_help(at[0]);
    at += wants_help;
    rest -= wants_help;
    const struct ctl_verb *verb = find_verb(at, rest, &words);
    if (!verb) {
        char noun[64]; /* of one word, or of two: unsafe recover */
        snprintf(noun, sizeof noun, "%.20s %.20s", at[0], rest > 1 ? at[1] : "");
        int used = rest > 1 && has_verbs(noun) ? 2 : 1;
        if (used == 1)
            snprintf(noun, sizeof noun, "%.60s", at[0]);
        if (has_verbs(noun) && (rest == used || is_help(at[used]) || at[used][0] == '-')) {
            help(noun);
            return wants_help || rest > used ? CLI_OK : CLI_USAGE;
        }
        return unknown(noun, rest > used ? at[used] : "");
    }
    /* The verb is word 0 of what it gets: its operands, then the flags that stood in front. */
    char **all = calloc((size_t)argc + 3, sizeof *all);
    CHECK(all);
    int count = 0;
    all[count++] = at[words - 1];
    for (int i = 0; i < flags; i++)
        all[count++] = argv[i];
    for (int i = words; i < rest; i++)
        all[count++] = at[i];
    if (wants_help)
        all[count++] = flag_help;
    int code = verb->command.run(&verb->command, count, all);
    free(all);
    return code;
}

/* ---- the shell */

/* Words in place; quotes hold blanks together. -1: a quote that does not end, or too many. */
static int split_words(char *line, char **words)
{
    int count = 0;
    char *from = line, *to = line;
    while (*from) {
        from += strspn(from, " \t");
        if (!*from)
            break;
        if (count == WORDS_MAX)
            return -1;
        words[count++] = to;
        for (char quote = 0; *from && (quote || (*from != ' ' && *from != '\t')); from++) {
            if (quote ? *from == quote : *from == '"' || *from == '\'')
                quote = quote ? 0 : *from;
            else
                *to++ = *from;
            if (quote && !from[1])
                return -1;
        }
        from += *from != '\0';
        *to++ = '\0';
    }
    return count;
}

const char *ctl_scheduler_word(size_t n)
{
    /* as pd-ctl scheduler list has them (tests/e2e/pd_ctl.py compares) */
    static const char *const words[] = {"replica-check",  "evict-leader",   "slow-store",     "grant-leader",
                                        "split-merge",    "hot-read",       "hot-write",      "balance-leader",
                                        "balance-region", "shuffle-leader", "shuffle-region", "random-merge"};
    return n < sizeof words / sizeof words[0] ? words[n] : NULL;
}

/* The n-th of what may follow the verb that stands there already. */
static const char *complete_operand(const char *before, const char *start, size_t n)
{
    for (const struct ctl_verb *const *at = ctl_verbs; *at; at++) {
        size_t size = strlen(verb_name(*at));
        if (!(*at)->command.operand_word || strncmp(before, verb_name(*at), size) != 0 || before[size] != ' ' ||
            before[size + strspn(before + size, " ")] != '\0')
            continue;
        const char *word;
        for (size_t i = 0; (word = (*at)->command.operand_word(i)); i++)
            if (strncmp(word, start, strlen(start)) == 0 && n-- == 0)
                return word;
    }
    return NULL;
}

/* The n-th of the nouns, of the verbs of the noun that stands there already, or of the words behind noun and verb. */
static const char *complete(const char *before, const char *start, size_t n)
{
    char noun[64] = "";
    const char *first = before + strspn(before, " ");
    if (first[0] == '\0') {
        for (size_t i = 0; i < NOUN_COUNT; i++)
            if (strncmp(nouns[i], start, strlen(start)) == 0 && n-- == 0)
                return nouns[i];
        return NULL;
    }
    if (strncmp(first, "help ", 5) == 0)
        return complete(first + 5, start, n);
    for (const char *at = first; *at; at += strspn(at, " ")) { /* of one word, or of two: unsafe recover */
        size_t used = strlen(noun), size = strcspn(at, " ");
        snprintf(noun + used, sizeof noun - used, "%s%.*s", used ? " " : "", (int)size, at);
        at += size;
    }
    if (!has_verbs(noun))
        return complete_operand(first, start, n);
    for (const struct ctl_verb *const *at = ctl_verbs; *at; at++) {
        if (!is_noun_of(verb_name(*at), noun))
            continue;
        const char *verb = verb_name(*at) + strlen(noun) + 1;
        if (strncmp(verb, start, strlen(start)) == 0 && n-- == 0)
            return verb;
    }
    return NULL;
}

/* `flags` stood on the command line; every line gets them. */
static int shell(int flag_count, char **flags)
{
    const char *home = os_environment("HOME");
    char *path = home ? os_path_join(home, ".pd-ctl_history") : NULL;
    char *line;
    line_editor_open(path, complete);
    free(path);
    printf("pd-ctl: help lists the verbs, Tab completes, exit ends\n");
    while ((line = line_editor_read("pd-ctl> ")) != NULL) {
        char *words[WORDS_MAX + FLAG_WORDS_MAX];
        for (int i = 0; i < flag_count; i++)
            words[i] = flags[i];
        char **first = words + flag_count;
        int count = split_words(line, first);
        bool ends = count > 0 && (strcmp(first[0], "exit") == 0 || strcmp(first[0], "quit") == 0);
        if (count < 0)
            fprintf(stderr, "pd-ctl: a quote does not end, or there are too many words\n");
        else if (count > 0 && !ends)
            run_words(count + flag_count, words);
        fflush(stdout);
        free(line);
        if (ends)
            break;
    }
    line_editor_close();
    return CLI_OK;
}

int ctl_main(int argc, char **argv)
{
    int flags = count_flags(argc, argv);
    if (flags < argc)
        return run_words(argc, argv);
    if (os_is_terminal(0) && os_is_terminal(1) && argc <= FLAG_WORDS_MAX)
        return shell(argc, argv);
    help(NULL);
    return CLI_USAGE;
}

static int run(const struct command *command, int argc, char **argv)
{
    (void)command;
    return ctl_main(argc - 1, argv + 1);
}

const struct command command_ctl = {
    .name = "ctl",
    .operands = "NOUN VERB",
    .summary = "placement of a running cluster: pd-ctl (polder ctl help)",
    .text = "",
    .run = run,
};
