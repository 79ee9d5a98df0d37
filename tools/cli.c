#include "cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "client/polder.h"
#include "cluster_file.h"
#include "config/address.h"
#include "env/os.h"

const char *cli_program(const struct command *command)
{
    return strncmp(command->name, "ctl ", 4) == 0 ? "pd-" : "polder ";
}

const char *cli_role_word(size_t n)
{
    return n == 0 ? "pd" : n == 1 ? "storenode" : NULL;
}

static void complain(const struct command *command, const char *format, va_list arguments)
{
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    /* Whatever a server or a user put into the text: one line, and nothing that drives a terminal. */
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    fflush(stdout);
    fprintf(stderr, "%s%s: %s\n", cli_program(command), command->name, text);
}

void cli_complain(const struct command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(command, format, arguments);
    va_end(arguments);
}

int cli_usage(const struct command *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain(command, format, arguments);
    va_end(arguments);
    return CLI_USAGE;
}

const struct setting *cli_table(const struct command *command, size_t *ret_count)
{
    if (command->table_of)
        return command->table_of(ret_count);
    *ret_count = command->table_count;
    return command->table;
}

void cli_help(const struct command *command)
{
    struct buf flags;
    buf_init(&flags, 1 << 20);
    size_t count;
    const struct setting *table = cli_table(command, &count);
    settings_help(table, count, &flags);
    printf("%s%s: %s\n\nUsage: %s%s%s%s%s\n\n%s%.*s", cli_program(command), command->name, command->summary,
           cli_program(command), command->name,
           count ? " [flags]" : "", command->operands[0] ? " " : "", command->operands, command->text, (int)flags.size,
           flags.data ? (const char *)flags.data : "");
    buf_fini(&flags);
}

enum err cli_read_environment(struct settings *settings, struct error *err)
{
    size_t count = 0;
    while (os_environment_at(count))
        count++;
    char **environment = calloc(count + 1, sizeof *environment);
    CHECK(environment);
    for (size_t i = 0; i < count; i++) {
        environment[i] = strdup(os_environment_at(i));
        CHECK(environment[i]);
    }
    enum err code = settings_read_env(settings, environment, err);
    for (size_t i = 0; i < count; i++)
        free(environment[i]);
    free(environment);
    return code;
}

enum err cli_read_file(struct settings *settings, const char *path, struct error *err)
{
    struct buf content;
    buf_init(&content, SETTINGS_FILE_SIZE_MAX + 1);
    enum err code = os_file_read(path, &content, err);
    if (code == ERR_ENTRY_TOO_LARGE)
        code = error_set(err, ERR_INVALID, "%s: larger than 1MiB, surely not a configuration", path);
    else if (code == ERR_OK)
        code = settings_read_yaml(settings, path, buf_bytes(&content), err);
    buf_fini(&content);
    return code;
}

static int check_operands(const struct command *command, const struct settings *settings)
{
    size_t count = settings_operand_count(settings);
    if (count < command->operand_min)
        return cli_usage(command, "wants %s; see %s%s --help", command->operands, cli_program(command),
                         command->name);
    if (count > command->operand_max)
        return cli_usage(command, "unexpected \"%.64s\"; see %s%s --help",
                         settings_operand(settings, command->operand_max), cli_program(command), command->name);
    return CLI_GO_ON;
}

int cli_read_flags(const struct command *command, struct settings *settings, int argc, char **argv)
{
    struct error err;
    if (settings_read_flags(settings, argc, argv, &err) != ERR_OK)
        return cli_usage(command, "%s", err.text);
    if (settings_wants_help(settings)) {
        cli_help(command);
        return CLI_OK;
    }
    return check_operands(command, settings);
}

int cli_parse(const struct command *command, int argc, char **argv, struct settings **ret_settings, void *options)
{
    size_t count;
    const struct setting *table = cli_table(command, &count);
    struct settings *settings = settings_new(table, count);
    int code = cli_read_flags(command, settings, argc, argv);
    struct error err;
    if (code == CLI_GO_ON && cli_read_environment(settings, &err) != ERR_OK)
        code = cli_usage(command, "%s", err.text);
    if (code != CLI_GO_ON) {
        settings_free(settings);
        return code;
    }
    settings_fill(settings, options);
    *ret_settings = settings;
    return CLI_GO_ON;
}

enum err cli_endpoints(const struct cli_client *client, char *text, size_t size, struct error *err)
{
    if (!client->dir) {
        snprintf(text, size, "%s", client->pd);
        return ERR_OK;
    }
    struct cluster_file file;
    enum err code = cluster_file_read(client->dir, &file, err);
    if (code != ERR_OK)
        return code;
    snprintf(text, size, "%s", file.pd);
    cluster_file_fini(&file);
    return ERR_OK;
}

static enum err check_endpoints(const char *list, struct error *err)
{
    char one[ADDRESS_TEXT_SIZE_MAX], full[ADDRESS_TEXT_SIZE_MAX];
    enum err code = list[0] ? ERR_OK : error_set(err, ERR_INVALID, "--pd: names no endpoint");
    for (const char *at = list; *at && code == ERR_OK;) {
        size_t span = strcspn(at, ",");
        snprintf(one, sizeof one, "%.*s", (int)(span < sizeof one ? span : sizeof one - 1), at);
        code = address_normalize(one, full, err);
        if (code != ERR_OK)
            error_wrap(err, "--pd");
        at += span + (at[span] == ',');
    }
    return code;
}

int cli_open(const struct command *command, const struct cli_client *client, struct polder **ret_polder)
{
    char endpoints[2048];
    char text[512] = "";
    struct error err;
    if (cli_endpoints(client, endpoints, sizeof endpoints, &err) != ERR_OK ||
        check_endpoints(endpoints, &err) != ERR_OK)
        return cli_usage(command, "%s", err.text);
    struct polder_options options = {
        .size = sizeof options,
        .pd = endpoints,
        .deadline_ms = (uint32_t)client->deadline_ms,
        .tls_ca_file = client->tls_ca,
        .tls_cert_file = client->tls_cert,
        .tls_key_file = client->tls_key,
        .name = "polder-cli",
    };
    if (polder_open(&options, ret_polder, text, sizeof text) == POLDER_OK)
        return CLI_GO_ON;
    return cli_usage(command, "%s", text);
}

int cli_judge(const struct command *command, const struct polder_result *result, const char *what)
{
    const char *colon = result->text[0] ? ": " : "";
    switch (result->outcome) {
    case POLDER_DONE:
        return CLI_OK;
    case POLDER_NOT_DONE:
        cli_complain(command, "%s: not done: %s%s%s", what, result->name, colon, result->text);
        break;
    case POLDER_UNKNOWN:
        cli_complain(command, "%s: UNKNOWN, it may have happened: %s%s%s", what, result->name, colon, result->text);
        return CLI_UNKNOWN;
    }
    if (result->code == POLDER_CONDITION_FAILED)
        return CLI_CONDITION;
    if (result->code == POLDER_NOT_FOUND)
        return CLI_NOT_FOUND;
    if (result->code == POLDER_INVALID || result->code == POLDER_KEY_EMPTY || result->code == POLDER_KEY_TOO_LARGE ||
        result->code == POLDER_ENTRY_TOO_LARGE)
        return CLI_USAGE;
    return CLI_FAILED;
}
