/* ctl: what the verbs of `polder ctl` (pd-ctl) share: one call of pd's HTTP API each, and how its answer is shown.
 *
 * A verb is a row: which request it makes of its words, and which columns of the answer a table has. What needs more has a
 * function of its own (`act`).
 *
 *   {0}   the first operand, which must be a number          {s0}  the same as a JSON text
 *   {p0}  the same as a part of a path                       {k0}  a user key (with escapes), encoded, hexadecimal
 *   {limit} {store} {from} {duration} {learner} {yes}        flags */
#ifndef TOOLS_CTL_H
#define TOOLS_CTL_H

#include <cjson/cJSON.h>

#include "cli.h"

struct http_client;

struct ctl_options {
    char *url, *dir, *output, *from;
    uint64_t deadline_ms, duration_ms, limit, store;
    bool learner, yes, wait, create_empty;
    /* of single verbs */
    char *leader_weight, *region_weight, *role, *start_key, *end_key, *constraint, *locations, *stores;
    uint32_t count, isolation;
};

enum ctl_kind { CTL_TEXT, CTL_NUMBER, CTL_SIZE, CTL_MS, CTL_KEY, CTL_BOOL, CTL_PEERS, CTL_LABELS, CTL_STEPS, CTL_PERMILLE };

struct ctl_column {
    const char *field, *title; /* field NULL: the end */
    enum ctl_kind kind;
};

struct ctl;

struct ctl_verb {
    struct command command;
    const char *method; /* NULL: GET */
    const char *path, *body;
    const char *list; /* the array in the answer; NULL: one object */
    const struct ctl_column *columns;
    int (*act)(struct ctl *ctl);
};

/* One run of a verb. */
struct ctl {
    const struct ctl_verb *verb;
    const struct command *command;
    struct ctl_options options;
    struct settings *settings;
    struct http_client *client;
    char *urls; /* owned; separated by commas */
};

/* The verbs, in the order of help; ends with NULL. */
extern const struct ctl_verb *const ctl_verbs[];
/* For .operand_word: names of policies. */
const char *ctl_scheduler_word(size_t n);
/* For .run of a verb's command. */
int ctl_run(const struct command *command, int argc, char **argv);

/* ---- for `act` */
const char *ctl_operand(const struct ctl *ctl, size_t index); /* "" if it is not there */
/* The answer as JSON, and its text in `body` (may be NULL). CLI_GO_ON, or an exit code after saying why. */
int ctl_fetch(struct ctl *ctl, const char *method, const char *path, const char *request, cJSON **ret_json,
              struct buf *body);
/* As ctl_fetch, for templates as above. */
int ctl_ask(struct ctl *ctl, const char *method, const char *path, const char *request, cJSON **ret_json,
            struct buf *body);
/* All pages of a list, up to --limit rows, as {name: [...]}. `path` may have a query. */
int ctl_pages(struct ctl *ctl, const char *path, const char *list, cJSON **ret_json);
/* In the form that -o wants. Takes the JSON. */
int ctl_show(struct ctl *ctl, cJSON *take_json, const char *list, const struct ctl_column *columns);
/* {"operator": n} or {"changed": ...}. Takes the JSON. */
int ctl_show_change(struct ctl *ctl, cJSON *take_json);
bool ctl_is_table(const struct ctl *ctl);
double ctl_number(const cJSON *object, const char *field); /* 0 if it is none */
const char *ctl_text(const cJSON *object, const char *field); /* "" if it is none */
/* As in `verb.path`; a zero goes behind. CLI_GO_ON or an exit code. `out` is initialized. */
int ctl_fill(struct ctl *ctl, const char *template, struct buf *out);
/* {name: [...]} of words separated by commas. */
void ctl_add_words(cJSON *object, const char *name, const char *words);
/* What was compared and refused, in plain words. */
void ctl_print_reason(const cJSON *reason, const char *indent, const char *if_none_refused);
/* A cell of a table; lent until the next call. */
void ctl_cell(const cJSON *item, enum ctl_kind kind, struct buf *out);
/* Hexadecimal digits of an encoded key as text; `if_empty` for none. */
void ctl_key_text(const char *hex, const char *if_empty, struct buf *out);

/* ---- flags that all have */
#define CTL_COMMON_ROWS                                                                                                \
    {.key = "url",                                                                                                     \
     .env = "POLDER_PD_STATUS",                                                                                        \
     .letter = 'u',                                                                                                    \
     .type = SETTING_STRING,                                                                                           \
     SETTING_FIELD(struct ctl_options, url),                                                                           \
     .default_text = "http://127.0.0.1:2381",                                                                          \
     .value_name = "LIST",                                                                                             \
     .help = "status addresses of the placement drivers"},                                                             \
        {.key = "dir",                                                                                                 \
         .type = SETTING_STRING,                                                                                       \
         SETTING_FIELD(struct ctl_options, dir),                                                                       \
         .value_name = "DIR",                                                                                          \
         .help = "directory of `polder up`: its cluster is meant"},                                                    \
        {.key = "deadline",                                                                                            \
         .type = SETTING_DURATION,                                                                                     \
         SETTING_FIELD(struct ctl_options, deadline_ms),                                                               \
         .default_text = "10s",                                                                                        \
         .min = 1,                                                                                                     \
         .max = 86400000,                                                                                              \
         .help = "how long it may take"},                                                                              \
        {.key = "output",                                                                                              \
         .letter = 'o',                                                                                                \
         .type = SETTING_STRING,                                                                                       \
         SETTING_FIELD(struct ctl_options, output),                                                                    \
         .default_text = "table",                                                                                      \
         .choices = "table|json|jsonl",                                                                                \
         .help = "form of the result"},                                                                                \
    {                                                                                                                  \
        .key = "yes", .letter = 'y', .type = SETTING_BOOL, SETTING_FIELD(struct ctl_options, yes),                     \
        .default_text = "false", .help = "do it without asking"                                                        \
    }

/* --wait: stays `until`. */
#define CTL_WAIT_ROW(until)                                                                                            \
    {                                                                                                                  \
        .key = "wait", .letter = 'w', .type = SETTING_BOOL, SETTING_FIELD(struct ctl_options, wait),                   \
        .default_text = "false", .help = "stay until " until                                                           \
    }

#define CTL_FOR_ROW                                                                                                    \
    {                                                                                                                  \
        .key = "for", .type = SETTING_DURATION, SETTING_FIELD(struct ctl_options, duration_ms),                        \
        .default_text = "10min", .help = "how long"                                                                    \
    }

enum { CTL_ROW_COUNT = 5, CTL_LIST_ROW_COUNT = 8, CTL_FOR_ROW_COUNT = 6 };
extern const struct setting ctl_rows[CTL_ROW_COUNT], ctl_list_rows[CTL_LIST_ROW_COUNT], ctl_for_rows[CTL_FOR_ROW_COUNT];

#define CTL_EXIT_CODES                                                                                                 \
    "\nExit codes: 0 done, 1 not done, 2 wrong usage, 3 no such thing, 4 refused as things are, 5 unknown (perhaps "   \
    "done).\n\n"

#endif
