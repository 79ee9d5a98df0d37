/* kv: what the commands `polder kv ...` share. */
#ifndef TOOLS_KV_H
#define TOOLS_KV_H

#include "base/buf.h"
#include "base/types.h"
#include "cli.h"
#include "client/polder.h"

/* Longer input is refused here; the limits of keys and values are the library's to tell. */
enum { KV_TEXT_SIZE_MAX = 4 * VALUE_SIZE_MAX + 64 * 1024 };

struct kv_base {
    struct cli_client client;
    char *output;
    char *read_mode;
    uint64_t ttl_ms;
    bool raw;
};

/* Rows for a struct that begins with `struct kv_base base`. */
#define KV_RAW_ROW(target)                                                                                             \
    {                                                                                                                  \
        .key = "raw", .type = SETTING_BOOL, SETTING_FIELD(target, base.raw), .default_text = "false",                  \
        .help = "keys and values as they are, without escapes"                                                         \
    }
#define KV_TTL_ROW(target)                                                                                             \
    {                                                                                                                  \
        .key = "ttl", .type = SETTING_DURATION, SETTING_FIELD(target, base.ttl_ms), .default_text = "0ms",             \
        .max = POLDER_TTL_MAX_MS, .help = "what is put expires after this; 0ms: never"                                 \
    }
#define KV_READ_ROW(target)                                                                                            \
    {                                                                                                                  \
        .key = "read-mode", .type = SETTING_STRING, SETTING_FIELD(target, base.read_mode), .default_text = "leader",   \
        .choices = "leader|index|stale", .help = "who may answer: leader and index are linearizable, stale may be old" \
    }

/* Text of an exit code table, for --help. */
#define KV_EXIT_CODES                                                                                                  \
    "Exit codes: 0 done, 1 not done, 2 wrong usage, 3 no such key, 4 condition failed, 5 unknown (perhaps done).\n\n"
#define KV_ESCAPES                                                                                                     \
    "In keys and values \\n, \\t, \\\\ and \\xNN stand for bytes, coming and going; --raw takes and shows them as "    \
    "they are.\n"

/* The bytes that `text` means. CLI_GO_ON, or CLI_USAGE after saying what is wrong. `out` is initialised here. */
int kv_decode(const struct command *command, const struct kv_base *base, const char *what, const char *text,
              struct buf *out);
/* An empty `end` is after all keys. Bounds in the wrong order are a slip, not a range in which there is nothing. */
int kv_check_bounds(const struct command *command, struct bytes start, struct bytes end);
/* To standard output: escaped, or as they are. */
void kv_print(const struct kv_base *base, struct polder_bytes bytes);
bool kv_json(const struct kv_base *base);
struct polder_call kv_call(const struct kv_base *base);
struct polder_bytes kv_view(const struct buf *buf);
struct bytes kv_bytes(struct polder_bytes bytes);
/* The library's limits, told before a whole batch is refused for one row: ERR_KEY_EMPTY, ERR_KEY_TOO_LARGE,
 * ERR_ENTRY_TOO_LARGE. */
enum err kv_check_row(struct bytes key, struct bytes value, struct error *err);
const char *kv_outcome_name(enum polder_outcome outcome);
/* {"key":..., "outcome":..., "code":..., "text":...}, to which more can be added. */
struct cJSON *kv_result_json(struct polder_bytes key, const struct polder_result *result);

#endif
