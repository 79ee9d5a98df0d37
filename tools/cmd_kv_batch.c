/* cmd_kv_batch: `polder kv batch`: puts and deletes from a file, many to a request. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "env/os.h"
#include "kv.h"

enum { BATCH_COUNT_MAX = 10000, BATCH_BYTES_MAX = 4 * 1024 * 1024, LINE_SIZE_MAX = KV_TEXT_SIZE_MAX };

struct options {
    struct kv_base base;
    uint32_t size;
};

static const struct setting rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
    KV_RAW_ROW(struct options),
    KV_TTL_ROW(struct options),
    {.key = "size",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, size),
     .default_text = "1000",
     .min = 1,
     .max = BATCH_COUNT_MAX,
     .help = "lines to a request"},
};

struct batch {
    struct polder_pair *pairs; /* owned */
    struct buf *bufs;          /* owned; key and value of each pair */
    uint64_t *lines;           /* owned; where each pair came from */
    size_t count, bytes;
    uint64_t done, not_done, unknown;
};

static void batch_clear(struct batch *batch)
{
    for (size_t i = 0; i < 2 * batch->count; i++)
        buf_fini(&batch->bufs[i]);
    batch->count = batch->bytes = 0;
}

/* Takes the word up to the next space or the end. */
static struct bytes next_word(struct bytes *rest)
{
    const uint8_t *space = rest->size ? memchr(rest->data, ' ', rest->size) : NULL;
    size_t size = space ? (size_t)(space - rest->data) : rest->size;
    struct bytes word = bytes_of(rest->data, size);
    size_t taken = space ? size + 1 : size;
    *rest = bytes_of(rest->data + taken, rest->size - taken);
    return word;
}

static enum err decode(bool raw, struct bytes text, struct buf *out, struct error *err)
{
    buf_init(out, KV_TEXT_SIZE_MAX);
    return raw ? buf_append_bytes(out, text) : cli_unescape(text, out, err);
}

/* `put KEY VALUE` or `delete KEY`; the value goes to the end of the line. */
static enum err parse_line(const struct options *options, struct bytes line, struct batch *batch, struct error *err)
{
    struct bytes rest = line;
    struct bytes verb = next_word(&rest);
    bool put = bytes_equal(verb, bytes_of_string("put"));
    if (!put && !bytes_equal(verb, bytes_of_string("delete")))
        return error_set(err, ERR_INVALID, "\"%.*s\" is neither put nor delete", (int)(verb.size < 32 ? verb.size : 32),
                         (const char *)verb.data);
    struct bytes key = next_word(&rest);
    if (key.size == 0)
        return error_set(err, ERR_INVALID, "no key");
    if (!put && rest.size)
        return error_set(err, ERR_INVALID, "delete wants a key and nothing else (write a space in a key as \\x20)");
    struct buf *key_buf = &batch->bufs[2 * batch->count], *value_buf = key_buf + 1;
    buf_init(value_buf, KV_TEXT_SIZE_MAX);
    enum err code = decode(options->base.raw, key, key_buf, err);
    if (code == ERR_OK)
        code = decode(options->base.raw, rest, value_buf, err);
    if (code == ERR_OK)
        code = kv_check_row(buf_bytes(key_buf), buf_bytes(value_buf), err);
    if (code != ERR_OK) {
        buf_fini(key_buf);
        buf_fini(value_buf);
        return code;
    }
    batch->pairs[batch->count] =
        (struct polder_pair){.key = kv_view(key_buf), .value = kv_view(value_buf), .remove = !put};
    batch->bytes += key_buf->size + value_buf->size;
    batch->count++;
    return ERR_OK;
}

static void send_batch(const struct command *command, const struct options *options, struct polder *polder,
                       struct batch *batch)
{
    if (batch->count == 0)
        return;
    struct polder_call call = kv_call(&options->base);
    struct polder_result *result = polder_batch_write(polder, batch->pairs, batch->count, &call);
    for (size_t i = 0; i < batch->count; i++) {
        /* Refused as a whole: no rows. */
        bool has_row = i < result->row_count;
        enum polder_outcome outcome = has_row ? (enum polder_outcome)result->rows[i].outcome : result->outcome;
        int code = has_row ? result->rows[i].code : result->code;
        batch->done += outcome == POLDER_DONE;
        batch->not_done += outcome == POLDER_NOT_DONE;
        batch->unknown += outcome == POLDER_UNKNOWN;
        if (outcome != POLDER_DONE)
            cli_complain(command, "line %" PRIu64 ": %s: %s", batch->lines[i],
                         outcome == POLDER_UNKNOWN ? "UNKNOWN, it may have happened" : "not done",
                         polder_code_name(code));
    }
    if (result->outcome != POLDER_DONE && result->text[0])
        cli_complain(command, "%s", result->text);
    polder_result_free(result);
    batch_clear(batch);
}

/* All lines; a line that is none ends it before anything of its batch is sent. */
static int send_lines(const struct command *command, const struct options *options, const char *path,
                      struct os_lines *lines, struct polder *polder, struct batch *batch)
{
    struct error err;
    struct bytes line;
    for (;;) {
        enum err code = os_lines_next(lines, &line, &err);
        if (code == ERR_NOT_FOUND)
            break;
        if (code == ERR_OK && line.size == 0)
            continue;
        batch->lines[batch->count] = os_lines_number(lines);
        if (code == ERR_OK)
            code = parse_line(options, line, batch, &err);
        if (code != ERR_OK) {
            cli_complain(command, "%s:%" PRIu64 ": %s", path, os_lines_number(lines), err.text);
            batch_clear(batch);
            return CLI_USAGE;
        }
        if (batch->count == options->size || batch->bytes > BATCH_BYTES_MAX)
            send_batch(command, options, polder, batch);
    }
    send_batch(command, options, polder, batch);
    return batch->unknown ? CLI_UNKNOWN : batch->not_done ? CLI_FAILED : CLI_OK;
}

static int run_file(const struct command *command, const struct options *options, const char *path)
{
    struct os_lines *lines;
    struct polder *polder = NULL;
    struct error err;
    if (os_lines_open(path, LINE_SIZE_MAX, &lines, &err) != ERR_OK)
        return cli_usage(command, "%s", err.text);
    struct batch batch = {
        .pairs = calloc(options->size, sizeof *batch.pairs),
        .bufs = calloc(2 * (size_t)options->size, sizeof *batch.bufs),
        .lines = calloc((size_t)options->size + 1, sizeof *batch.lines),
    };
    CHECK(batch.pairs && batch.bufs && batch.lines);
    int code = cli_open(command, &options->base.client, &polder);
    if (code == CLI_GO_ON) {
        code = send_lines(command, options, path, lines, polder, &batch);
        if (kv_json(&options->base)) {
            cJSON *json = cJSON_CreateObject();
            cJSON_AddNumberToObject(json, "done", (double)batch.done);
            cJSON_AddNumberToObject(json, "not_done", (double)batch.not_done);
            cJSON_AddNumberToObject(json, "unknown", (double)batch.unknown);
            cli_json_print(json);
        } else {
            printf("%" PRIu64 " done, %" PRIu64 " not done, %" PRIu64 " unknown\n", batch.done, batch.not_done,
                   batch.unknown);
        }
    }
    polder_close(polder);
    os_lines_close(lines);
    free(batch.pairs);
    free(batch.bufs);
    free(batch.lines);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = run_file(command, &options, settings_operand_count(settings) ? settings_operand(settings, 0) : "-");
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_kv_batch = {
    .name = "kv batch",
    .operands = "[FILE|-]",
    .summary = "puts and deletes from a file",
    .text = "Lines are `put KEY VALUE` (the value goes to the end of the line) or `delete KEY`. Each region's part of "
            "a request happens\n"
            "wholly or not at all; what is not done is named with its line. " KV_ESCAPES "\n"
            "Examples:\n"
            "  printf 'put a 1\\nput b two words\\ndelete c\\n' | polder kv batch\n"
            "  polder kv batch changes.txt\n"
            "\n" KV_EXIT_CODES,
    CLI_TABLE(rows),
    .operand_max = 1,
    .run = run,
};
