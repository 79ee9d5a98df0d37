/* settings: everything that a command can be told, described by one table.
 *
 * A row of the table names a key and says how it is spelt in a YAML file, in the environment and as a flag, what type
 * it has and where in the caller's struct it goes. From the table come the parsers, `--help`, `polder config gen` and
 * `polder config show --origin`, so none of them can disagree with the others.
 *
 * Precedence: flag > environment > file > default, whatever the order of reading. Where a value came from is
 * remembered. Sizes and durations must carry a unit. What is not in the table is an error that names the nearest thing
 * that is.
 *
 * Nothing here opens a file or asks for the environment: both are handed in. Owner: the caller. Threads: one.
 *
 * Errors are ERR_INVALID with a text that names file and line, variable or flag:
 *   pd.yaml:7: unknown key "tik"; did you mean "tick"?
 *   --lease: "750" has no unit; write for example 750ms (units: ms, s, min, h) */
#ifndef CONFIG_SETTINGS_H
#define CONFIG_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"

enum { SETTINGS_FILE_SIZE_MAX = 1024 * 1024 };

enum setting_type {
    SETTING_STRING,   /* char *, owned by the target; NULL if it has neither value nor default */
    SETTING_BOOL,     /* bool; a bare flag means true */
    SETTING_U32,      /* uint32_t */
    SETTING_U64,      /* uint64_t */
    SETTING_SIZE,     /* uint64_t bytes: 64MiB; B, KiB, MiB, GiB, TiB */
    SETTING_DURATION, /* uint64_t milliseconds: 200ms; ms, s, min, h */
    SETTING_STRINGS,  /* char *[list_max], each owned by the target; YAML sequence, else separated by commas */
};

struct setting {
    const char *key; /* as in YAML; the flag is `--key` */
    const char *env; /* POLDER_...; NULL: cannot be set so */
    char letter;     /* `-o` beside `--output`; 0: none */
    enum setting_type type;
    bool advanced;            /* under `advanced:` in YAML */
    bool flag_only;           /* not a configuration key (`--config` itself) */
    size_t offset;            /* of the field in the target */
    size_t count_offset;      /* SETTING_STRINGS: of the uint32_t count */
    uint32_t list_max;        /* SETTING_STRINGS */
    const char *default_text; /* NULL: empty */
    uint64_t min, max;        /* numbers; max 0: no limit but the type's */
    const char *choices;      /* strings: "debug|info|warn|error"; NULL: anything */
    const char *value_name;   /* in help: "DIR"; NULL: by type */
    const char *help;         /* one line */
};

#define SETTING_FIELD(type, field) .offset = offsetof(type, field)

enum setting_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENV, ORIGIN_FLAG };

struct settings;

/* The table is borrowed and must outlive; its defaults must parse (CHECK). */
struct settings *settings_new(const struct setting *table, size_t count);
void settings_free(struct settings *settings); /* NULL is fine */

/* `file` is a name for messages. Refused: over SETTINGS_FILE_SIZE_MAX, unknown and repeated keys, aliases, tags,
 * nesting. */
enum err settings_read_yaml(struct settings *settings, const char *file, struct bytes text, struct error *err);
/* `environment`: "NAME=value" strings, ended by NULL. Variables that the table does not name are nobody's business. */
enum err settings_read_env(struct settings *settings, char *const *environment, struct error *err);
/* `--key value`, `--key=value`, `-k value`; `--` ends flags. The rest are operands. `argv[0]` is not looked at.
 * `--help` and `-h` are known always: settings_wants_help. */
enum err settings_read_flags(struct settings *settings, int argc, char *const *argv, struct error *err);

bool settings_wants_help(const struct settings *settings);
size_t settings_operand_count(const struct settings *settings);
const char *settings_operand(const struct settings *settings, size_t index); /* lent */

/* Sets one value as if a flag had said so (defaults that are computed: use ORIGIN_DEFAULT). */
enum err settings_set(struct settings *settings, const char *key, enum setting_origin origin, const char *place,
                      const char *text, struct error *err);

/* Writes all values into `target`, whose old contents are overwritten, not freed. */
void settings_fill(const struct settings *settings, void *target);
/* Frees strings that settings_fill put there. */
void settings_fini_target(const struct setting *table, size_t count, void *target);

/* What is set, for `config show`. */
const struct setting *settings_table(const struct settings *settings, size_t *ret_count);
const char *settings_value(const struct settings *settings, size_t index); /* text as given; NULL: none */
enum setting_origin settings_origin(const struct settings *settings, size_t index);
const char *settings_place(const struct settings *settings,
                           size_t index); /* "pd.yaml:7", "POLDER_TICK", "--tick", "default" */
bool settings_is_set(const struct settings *settings, const char *key); /* by something else than a default */

/* All values as YAML that settings_read_yaml accepts; with `origin`, each line ends in `# place`. */
void settings_show(const struct settings *settings, bool origin, struct buf *out);
/* The table as YAML: keys with help; basic keys live, the advanced ones commented out. */
void settings_generate(const struct setting *table, size_t count, struct buf *out);
/* The table as the part of `--help` that lists flags. */
void settings_help(const struct setting *table, size_t count, struct buf *out);

#endif
