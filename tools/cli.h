/* cli: what all subcommands of `polder` share: flags, help, exit codes, the way to a cluster, text and JSON.
 *
 * Results go to standard output, everything else to standard error as `polder kv get: ...`, one line each. */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"
#include "config/settings.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* did not happen; status: degraded */
    CLI_USAGE = 2,  /* status: down */
    CLI_NOT_FOUND = 3,
    CLI_CONDITION = 4,
    CLI_UNKNOWN = 5, /* perhaps it happened */
    CLI_GO_ON = -1,  /* cli_parse: run the command */
};

struct command {
    const char *name;            /* "kv put" */
    const char *operands;        /* "KEY VALUE"; "" if none */
    const char *summary;         /* one line */
    const char *text;            /* the rest of --help: what it does, examples, exit codes; lines end with \n */
    const struct setting *table; /* flags; or, when it is made elsewhere: */
    size_t table_count;
    const struct setting *(*table_of)(size_t *ret_count);
    size_t operand_min, operand_max;
    const char *(*operand_word)(size_t n); /* what the first one may be, for completion; ends with NULL. NULL: anything */
    int (*run)(const struct command *command, int argc, char **argv);
};

#define CLI_TABLE(rows) .table = (rows), .table_count = sizeof(rows) / sizeof((rows)[0])

const struct setting *cli_table(const struct command *command, size_t *ret_count);

/* Reads the environment and flags into `options` (its layout is in the table). CLI_GO_ON, or the exit code: --help was
 * printed, or what is wrong was. `*ret_settings` holds the operands; free it. After CLI_GO_ON
 * settings_fini_target(options). */
int cli_parse(const struct command *command, int argc, char **argv, struct settings **ret_settings, void *options);
/* The same in steps, for commands that read a file in between. */
int cli_read_flags(const struct command *command, struct settings *settings, int argc, char **argv);
void cli_help(const struct command *command);
enum err cli_read_environment(struct settings *settings, struct error *err);
enum err cli_read_file(struct settings *settings, const char *path, struct error *err);

/* operand_word of commands that begin with pd or storenode. */
const char *cli_role_word(size_t n);
/* What stands in front of its name: "polder ", or "pd-" for verbs of pd-ctl. */
const char *cli_program(const struct command *command);
/* `polder NAME: text` to standard error. */
void cli_complain(const struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, with a hint at --help; returns CLI_USAGE. */
int cli_usage(const struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- the way to a cluster */

struct polder;
struct polder_result;

struct cli_client {
    char *pd;
    char *dir; /* take the endpoints from DIR/cluster.json */
    char *tls_ca, *tls_cert, *tls_key;
    uint64_t deadline_ms;
};

/* Rows for a struct that has a `struct cli_client` at `member`. */
#define CLI_CLIENT_ROWS(target, member)                                                                                \
    {.key = "pd",                                                                                                      \
     .env = "POLDER_PD",                                                                                               \
     .type = SETTING_STRING,                                                                                           \
     SETTING_FIELD(target, member.pd),                                                                                 \
     .default_text = "tcp://127.0.0.1:2379",                                                                           \
     .value_name = "LIST",                                                                                             \
     .help = "endpoints of the placement drivers"},                                                                    \
        {.key = "dir",                                                                                                 \
         .type = SETTING_STRING,                                                                                       \
         SETTING_FIELD(target, member.dir),                                                                            \
         .value_name = "DIR",                                                                                          \
         .help = "directory of `polder up`: its cluster is meant"},                                                    \
        {.key = "deadline",                                                                                            \
         .type = SETTING_DURATION,                                                                                     \
         SETTING_FIELD(target, member.deadline_ms),                                                                    \
         .default_text = "10s",                                                                                        \
         .min = 1,                                                                                                     \
         .max = 86400000,                                                                                              \
         .help = "how long an operation may take"},                                                                    \
        {.key = "tls-ca",                                                                                              \
         .env = "POLDER_TLS_CA",                                                                                       \
         .type = SETTING_STRING,                                                                                       \
         .advanced = true,                                                                                             \
         SETTING_FIELD(target, member.tls_ca),                                                                         \
         .value_name = "FILE",                                                                                         \
         .help = "PEM: connections are TLS, servers are verified"},                                                    \
        {.key = "tls-cert",                                                                                            \
         .env = "POLDER_TLS_CERT",                                                                                     \
         .type = SETTING_STRING,                                                                                       \
         .advanced = true,                                                                                             \
         SETTING_FIELD(target, member.tls_cert),                                                                       \
         .value_name = "FILE",                                                                                         \
         .help = "PEM: own certificate"},                                                                              \
    {                                                                                                                  \
        .key = "tls-key", .env = "POLDER_TLS_KEY", .type = SETTING_STRING, .advanced = true,                           \
        SETTING_FIELD(target, member.tls_key), .value_name = "FILE", .help = "PEM: key of the certificate"             \
    }

#define CLI_OUTPUT_ROW(target, member)                                                                                 \
    {                                                                                                                  \
        .key = "output", .letter = 'o', .type = SETTING_STRING, SETTING_FIELD(target, member), .default_text = "text", \
        .choices = "text|json", .help = "form of the result"                                                           \
    }

/* CLI_GO_ON and a handle, or an exit code after saying why. */
int cli_open(const struct command *command, const struct cli_client *client, struct polder **ret_polder);
/* The endpoints that `client` means; the text is at least 2 KiB. */
enum err cli_endpoints(const struct cli_client *client, char *text, size_t size, struct error *err);

/* The exit code for a result; says what went wrong unless it is done. */
int cli_judge(const struct command *command, const struct polder_result *result, const char *what);

/* ---- bytes as text */

/* `\xNN` for what is not printable (UTF-8 stays), `\\`, `\t`, `\n`. Never fails but for size. */
void cli_escape(struct bytes bytes, struct buf *out);
/* ERR_INVALID names the escape that is none. */
enum err cli_unescape(struct bytes text, struct buf *out, struct error *err);
bool cli_is_utf8(struct bytes bytes);

struct cJSON;
/* Adds `name` as text, or `name_base64` when it is not UTF-8. */
void cli_json_bytes(struct cJSON *object, const char *name, struct bytes bytes);
/* Prints and deletes it. */
void cli_json_print(struct cJSON *take_json);

/* "1.4 GiB", "3 min 20 s"; `text` holds 32 bytes. */
void cli_print_size(uint64_t size, char *text);
void cli_print_duration(uint64_t ms, char *text);

#endif
