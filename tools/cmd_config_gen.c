/* cmd_config_gen: `polder config gen`: configuration files to start from: with every key, or of all processes of a cluster. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "config/address.h"
#include "env/os.h"
#include "pd/pd_config.h"
#include "storenode/store_config.h"

enum {
    YAML_SIZE_MAX = 256 * 1024,
    HOSTS_MAX = 64,
    PD_PORT = 2379,
    PD_PORT_STEP = 10, /* between two pds on one machine */
    STORE_PORT = 20160,
    REPLICAS = 3,
};

struct gen_options {
    uint32_t nodes, pds;
    char *hosts[HOSTS_MAX];
    size_t host_count;
    bool insecure;
    char *data_dir, *tls_dir, *dir;
};

static const struct setting gen_rows[] = {
    {.key = "hosts",
     .type = SETTING_STRINGS,
     SETTING_FIELD(struct gen_options, hosts),
     .count_offset = offsetof(struct gen_options, host_count),
     .list_max = HOSTS_MAX,
     .value_name = "HOST,...",
     .help = "write files for a storenode on each of these machines, and pd on the first ones"},
    {.key = "nodes",
     .type = SETTING_U32,
     SETTING_FIELD(struct gen_options, nodes),
     .default_text = "0",
     .max = HOSTS_MAX,
     .help = "write files for this many storenodes, and pd, all on this machine"},
    {.key = "pds",
     .type = SETTING_U32,
     SETTING_FIELD(struct gen_options, pds),
     .default_text = "0",
     .max = PD_CONFIG_FOUNDERS_MAX,
     .help = "members of pd: 1, 3 or 5; 0: 3 if there are so many hosts or nodes"},
    {.key = "insecure",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct gen_options, insecure),
     .default_text = "false",
     .help = "with --hosts: without TLS, in a network that nobody else reaches"},
    {.key = "tls-dir",
     .type = SETTING_STRING,
     SETTING_FIELD(struct gen_options, tls_dir),
     .default_text = "/etc/polder/tls",
     .value_name = "DIR",
     .help = "with --hosts: where ca.pem, cert.pem and key.pem will be on each machine"},
    {.key = "data-dir",
     .type = SETTING_STRING,
     SETTING_FIELD(struct gen_options, data_dir),
     .value_name = "DIR",
     .help = "where the processes keep their data; not given: /var/lib/polder with --hosts, polder-data with --nodes"},
    {.key = "dir",
     .type = SETTING_STRING,
     SETTING_FIELD(struct gen_options, dir),
     .default_text = "polder-config",
     .value_name = "DIR",
     .help = "where the files are written, with --hosts in a folder per host"},
};

/* Prints the file of host or node `index`. */
typedef void make_text(const struct gen_options *options, uint32_t index, FILE *out);

static enum err write_file(const struct gen_options *options, uint32_t index, const char *dir, const char *name,
                           make_text *make, struct error *err)
{
    char *path = os_path_join(dir, name), *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    CHECK(out);
    make(options, index, out);
    CHECK(fclose(out) == 0);
    enum err code = os_exists(path) ? error_set(err, ERR_EXISTS, "%s is there already", path)
                                    : os_file_write(path, bytes_of(text, size), err);
    if (code == ERR_OK)
        printf("%s\n", path);
    free(text);
    free(path);
    return code;
}

/* ---- a cluster */

static bool is_spread(const struct gen_options *options)
{
    return options->host_count > 0;
}

static uint32_t count_of(const struct gen_options *options)
{
    return is_spread(options) ? (uint32_t)options->host_count : options->nodes;
}

static void append_address(const struct gen_options *options, uint32_t index, uint32_t port, FILE *out)
{
    const char *host = is_spread(options) ? options->hosts[index] : "127.0.0.1";
    bool brackets = strchr(host, ':') && host[0] != '[';
    fprintf(out, "%s://%s%s%s:%u", is_spread(options) && !options->insecure ? "tls+tcp" : "tcp", brackets ? "[" : "",
            host, brackets ? "]" : "", port);
}

static void append_pd(const struct gen_options *options, uint32_t index, FILE *out)
{
    append_address(options, index, PD_PORT + (is_spread(options) ? 0 : index * PD_PORT_STEP), out);
}

/* `[tcp://...,tcp://...]`; `named`: each after its "pd-1=". */
static void append_pds(const struct gen_options *options, bool named, FILE *out)
{
    for (uint32_t i = 0; i < options->pds; i++) {
        fprintf(out, i == 0 ? "[" : ", ");
        if (named)
            fprintf(out, "pd-%u=", i + 1);
        append_pd(options, i, out);
    }
    fprintf(out, "]\n");
}

static void append_trust(const struct gen_options *options, FILE *out)
{
    if (!is_spread(options))
        return;
    if (options->insecure)
        fprintf(out, "insecure: true\n");
    else
        fprintf(out, "tls-ca: %s/ca.pem\ntls-cert: %s/cert.pem\ntls-key: %s/key.pem\n", options->tls_dir,
                options->tls_dir, options->tls_dir);
}

static void append_data_dir(const struct gen_options *options, const char *role, uint32_t index, FILE *out)
{
    const char *root = options->data_dir ? options->data_dir : is_spread(options) ? "/var/lib/polder" : "polder-data";
    fprintf(out, "data-dir: %s/%s", root, role);
    fprintf(out, is_spread(options) ? "\n" : "-%u\n", index + 1);
}

static void make_pd(const struct gen_options *options, uint32_t index, FILE *out)
{
    uint32_t count = count_of(options);
    fprintf(out, "name: pd-%u\n", index + 1);
    append_data_dir(options, "pd", index, out);
    fprintf(out, "address: ");
    append_pd(options, index, out);
    if (options->pds > 1) {
        fprintf(out, "\ninitial-cluster: ");
        append_pds(options, true, out);
    } else {
        fprintf(out, "\n");
    }
    append_trust(options, out);
    fprintf(out, "bootstrap-stores: %u\nbootstrap-regions: 16\nreplicas: %u\n", count,
            count < REPLICAS ? count : REPLICAS);
}

static void make_storenode(const struct gen_options *options, uint32_t index, FILE *out)
{
    append_data_dir(options, "storenode", index, out);
    fprintf(out, "address: ");
    append_address(options, index, STORE_PORT + (is_spread(options) ? 0 : index), out);
    fprintf(out, "\npd: ");
    append_pds(options, false, out);
    append_trust(options, out);
}

static enum err generate_one(const struct gen_options *options, uint32_t index, struct error *err)
{
    char name[64], *dir = is_spread(options) ? os_path_join(options->dir, options->hosts[index]) : strdup(options->dir);
    CHECK(dir);
    enum err code = os_dir_make(dir, err);
    if (code == ERR_OK && index < options->pds) {
        snprintf(name, sizeof name, is_spread(options) ? "pd.yaml" : "pd-%u.yaml", index + 1);
        code = write_file(options, index, dir, name, make_pd, err);
    }
    if (code == ERR_OK) {
        snprintf(name, sizeof name, is_spread(options) ? "storenode.yaml" : "storenode-%u.yaml", index + 1);
        code = write_file(options, index, dir, name, make_storenode, err);
    }
    free(dir);
    return code;
}

static enum err check_cluster(struct gen_options *options, struct error *err)
{
    uint32_t count = count_of(options);
    if (options->pds == 0)
        options->pds = count >= 3 ? 3 : 1;
    if (options->pds % 2 == 0)
        return error_set(err, ERR_INVALID, "--pds %u: 1, 3 or 5 can lose 0, 1 or 2", options->pds);
    if (options->pds > count)
        return error_set(err, ERR_INVALID, "--pds %u: there are only %u machines", options->pds, count);
    for (uint32_t i = 0; i < options->host_count; i++) {
        const char *host = options->hosts[i];
        char address[ADDRESS_TEXT_SIZE_MAX + 16], full[ADDRESS_TEXT_SIZE_MAX];
        const char *colon = strchr(host, ':'); /* one: a port; more: IPv6 */
        bool bare = host[0] != '\0' && host[0] != '.' && strcmp(host, "*") != 0 && !strchr(host, '/') &&
                    !(colon && !strchr(colon + 1, ':'));
        snprintf(address, sizeof address, colon ? "tcp://[%.255s]:1" : "tcp://%.255s:1", host);
        if (!bare || address_normalize(address, full, NULL) != ERR_OK)
            return error_set(err, ERR_INVALID, "--hosts: \"%.64s\" is not the name or address of a machine, alone",
                             host);
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(host, options->hosts[j]) == 0)
                return error_set(err, ERR_INVALID, "--hosts: %.64s is there twice", host);
    }
    return ERR_OK;
}

static enum err generate_cluster(const struct gen_options *options, struct error *err)
{
    enum err code = ERR_OK;
    for (uint32_t i = 0; i < count_of(options) && code == ERR_OK; i++)
        code = generate_one(options, i, err);
    return code;
}

/* ---- one role */

static int generate_role(const struct command *command, const char *role)
{
    size_t count;
    const struct setting *table = NULL;
    if (strcmp(role, "pd") == 0)
        table = pd_config_table(&count);
    else if (strcmp(role, "storenode") == 0)
        table = store_config_table(&count);
    else
        return cli_usage(command, "\"%.32s\" is neither pd nor storenode", role);
    struct buf text;
    buf_init(&text, YAML_SIZE_MAX);
    settings_generate(table, count, &text);
    printf("# polder %s --config THIS_FILE\n%.*s", role, (int)text.size, (const char *)text.data);
    buf_fini(&text);
    return CLI_OK;
}

static int run_gen(const struct command *command, int argc, char **argv)
{
    struct gen_options options;
    struct settings *settings;
    struct error err;
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    bool role = settings_operand_count(settings) > 0;
    code = CLI_OK;
    if (role + (options.nodes > 0) + (options.host_count > 0) != 1) {
        code = cli_usage(command, "wants either pd or storenode, or --hosts HOST,..., or --nodes N");
    } else if (role) {
        code = generate_role(command, settings_operand(settings, 0));
    } else if (check_cluster(&options, &err) != ERR_OK) {
        code = cli_usage(command, "%s", err.text);
    } else if (generate_cluster(&options, &err) != ERR_OK) {
        cli_complain(command, "%s", err.text);
        code = CLI_FAILED;
    }
    settings_fini_target(gen_rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_config_gen = {
    .name = "config gen",
    .operands = "[pd|storenode]",
    .operand_word = cli_role_word,
    .summary = "configuration files to start from",
    .text = "Prints a file with every key, its default and what it means; or writes a small file for each process of a "
            "cluster:\n"
            "docs/deploy.md goes on from there.\n"
            "\n"
            "Examples:\n"
            "  polder config gen storenode > store.yaml\n"
            "  polder config gen --hosts db1,db2,db3 --dir conf    # conf/db1/pd.yaml, conf/db1/storenode.yaml, ...\n"
            "  polder config gen --nodes 3 --pds 1 --dir conf      # all on this machine\n"
            "\n"
            "Exit codes: 0 ok, 1 could not write, 2 wrong usage.\n\n",
    CLI_TABLE(gen_rows),
    .operand_max = 1,
    .run = run_gen,
};
