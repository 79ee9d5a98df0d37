/* polder: one program, a file per subcommand. This one finds the subcommand. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "config/nearest.h"

const struct command *const commands[] = {
    &command_up,
    &command_down,
    &command_restart,
    &command_status,
    &command_kv_put,
    &command_kv_get,
    &command_kv_delete,
    &command_kv_scan,
    &command_kv_cas,
    &command_kv_ttl,
    &command_kv_delete_range,
    &command_kv_checksum,
    &command_kv_batch,
    &command_kv_load,
    &command_kv_verify,
    &command_region_list,
    &command_region_split,
    &command_region_show,
    &command_region_add_peer,
    &command_region_remove_peer,
    &command_region_move_peer,
    &command_region_rebuild_peer,
    &command_region_transfer_leader,
    &command_region_check,
    &command_region_merge,
    &command_ctl,
    &command_bench,
    &command_pd,
    &command_storenode,
    &command_config_gen,
    &command_config_check,
    &command_config_show,
    &command_store_rebuild,
    &command_store_region_list,
    &command_store_region_show,
    &command_store_raft_list,
    &command_store_raft_show,
    &command_store_raft_log,
    &command_store_raft_min_checkpoint,
    &command_store_size,
    &command_store_snapshot_list,
    &command_store_check,
    &command_store_compact,
    &command_sim,
    &command_version,
    &command_completion,
    NULL,
};

/* True if `name` is `group` and one word more. */
static bool in_group(const char *name, const char *group)
{
    size_t size = strlen(group);
    return strncmp(name, group, size) == 0 && name[size] == ' ';
}

static void print_commands(const char *group)
{
    for (const struct command *const *at = commands; *at; at++)
        if (!group || in_group((*at)->name, group))
            printf("  %-26s %s\n", (*at)->name, (*at)->summary);
}

static int help(void)
{
    printf("polder: a sharded, replicated, ordered key-value database\n\nUsage: polder COMMAND [flags]\n\n");
    print_commands(NULL);
    printf(
        "\n`polder COMMAND --help` tells the rest. Clients find the cluster by --pd or POLDER_PD (127.0.0.1:2379).\n\n"
        "Try: polder up --detach && polder kv put hello world && polder kv get hello && polder down\n");
    return CLI_OK;
}

static int group_help(const char *group)
{
    printf("Usage: polder %s COMMAND [flags]\n\n", group);
    print_commands(group);
    return CLI_OK;
}

static bool is_help(const char *word)
{
    return word && (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0);
}

static int unknown(const char *group, const char *word)
{
    struct nearest nearest;
    nearest_init(&nearest, word);
    for (const struct command *const *at = commands; *at; at++) {
        if (group && in_group((*at)->name, group))
            nearest_offer(&nearest, (*at)->name + strlen(group) + 1);
        else if (!group)
            nearest_offer(&nearest, strchr((*at)->name, ' ') ? "" : (*at)->name);
    }
    if (!group) {
        nearest_offer(&nearest, "kv");
        nearest_offer(&nearest, "region");
        nearest_offer(&nearest, "config");
        nearest_offer(&nearest, "store");
        nearest_offer(&nearest, "help");
    }
    fprintf(stderr, "polder%s%s: unknown command \"%.64s\"", group ? " " : "", group ? group : "", word);
    if (nearest.best && nearest.best[0])
        fprintf(stderr, "; did you mean \"polder %s%s%s\"?\n", group ? group : "", group ? " " : "", nearest.best);
    else
        fprintf(stderr, "; see polder help\n");
    return CLI_USAGE;
}

static int run_group(const char *group, int argc, char **argv)
{
    if (argc < 1) {
        fprintf(stderr, "polder %s: wants a command; see polder %s --help\n", group, group);
        return CLI_USAGE;
    }
    if (is_help(argv[0]))
        return group_help(group);
    char name[96]; /* longer ones name nothing */
    bool inner = false;
    snprintf(name, sizeof name, "%s %s", group, argv[0]);
    for (const struct command *const *at = commands; *at; at++) {
        if (strcmp((*at)->name, name) == 0)
            return (*at)->run(*at, argc, argv);
        inner = inner || in_group((*at)->name, name);
    }
    return inner ? run_group(name, argc - 1, argv + 1) : unknown(group, argv[0]);
}

/* `argv[0]` is the subcommand. */
static int run(int argc, char **argv)
{
    bool group = false;
    for (const struct command *const *at = commands; *at; at++) {
        if (strcmp((*at)->name, argv[0]) == 0)
            return (*at)->run(*at, argc, argv);
        group = group || in_group((*at)->name, argv[0]);
    }
    return group ? run_group(argv[0], argc - 1, argv + 1) : unknown(NULL, argv[0]);
}

/* The same program under the name that operators know. */
static bool is_pd_ctl(const char *name)
{
    const char *slash = strrchr(name, '/');
    return strcmp(slash ? slash + 1 : name, "pd-ctl") == 0;
}

int main(int argc, char **argv)
{
    bool pd_ctl = argc > 0 && is_pd_ctl(argv[0]);
    if (argc < 2 && !pd_ctl) {
        help();
        return CLI_USAGE;
    }
    int code;
    if (pd_ctl && argc == 2 && strcmp(argv[1], "--version") == 0) {
        code = command_version.run(&command_version, 1, argv + 1);
    } else if (pd_ctl) {
        code = ctl_main(argc - 1, argv + 1);
    } else if (is_help(argv[1]) && argc > 2 && strcmp(argv[2], "ctl") == 0) {
        char word[] = "help";
        argv[2] = word;
        code = ctl_main(argc - 2, argv + 2);
    } else if (is_help(argv[1]) && argc > 2) {
        /* `polder help kv put` is `polder kv put --help`. */
        char flag[] = "--help";
        char *words[5] = {argv[2], argc > 3 ? argv[3] : flag, argc > 4 ? argv[4] : flag, flag, NULL};
        code = run(argc > 4 ? 4 : argc - 1, words);
    } else if (is_help(argv[1])) {
        code = help();
    } else if (strcmp(argv[1], "--version") == 0) {
        code = command_version.run(&command_version, 1, argv + 1);
    } else {
        code = run(argc - 1, argv + 1);
    }
    /* A result that could not be written is not a result. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "polder: writing to standard output failed\n");
        return code == CLI_OK ? CLI_FAILED : code;
    }
    return code;
}
