/* cmd_kv: `polder kv put|get|delete|cas`, one operation each. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "env/os.h"
#include "kv.h"

int kv_decode(const struct command *command, const struct kv_base *base, const char *what, const char *text,
              struct buf *out)
{
    struct error err;
    buf_init(out, KV_TEXT_SIZE_MAX);
    enum err code =
        base->raw ? buf_append_bytes(out, bytes_of_string(text)) : cli_unescape(bytes_of_string(text), out, &err);
    return code == ERR_OK ? CLI_GO_ON : cli_usage(command, "%s: %s", what, base->raw ? "too long" : err.text);
}

int kv_check_bounds(const struct command *command, struct bytes start, struct bytes end)
{
    if (end.size > 0 && bytes_compare(start, end) > 0)
        return cli_usage(command, "the end comes before the start");
    return CLI_GO_ON;
}

struct bytes kv_bytes(struct polder_bytes bytes)
{
    return bytes_of(bytes.data, bytes.size);
}

void kv_print(const struct kv_base *base, struct polder_bytes bytes)
{
    if (base->raw) {
        if (bytes.size)
            fwrite(bytes.data, 1, bytes.size, stdout);
        return;
    }
    struct buf text;
    buf_init(&text, 4 * bytes.size + 1);
    cli_escape(kv_bytes(bytes), &text);
    if (text.size)
        fwrite(text.data, 1, text.size, stdout);
    buf_fini(&text);
}

bool kv_json(const struct kv_base *base)
{
    return base->output[0] == 'j';
}

struct polder_call kv_call(const struct kv_base *base)
{
    struct polder_call call = {.size = sizeof call, .deadline_ms = (uint32_t)base->client.deadline_ms, .ttl_ms = base->ttl_ms};
    if (base->read_mode)
        call.read = base->read_mode[0] == 'i'   ? POLDER_READ_INDEX
                    : base->read_mode[0] == 's' ? POLDER_READ_STALE
                                                : POLDER_READ_LEADER;
    return call;
}

struct polder_bytes kv_view(const struct buf *buf)
{
    return polder_bytes(buf->data, buf->size);
}

enum err kv_check_row(struct bytes key, struct bytes value, struct error *err)
{
    if (key.size == 0)
        return error_set(err, ERR_KEY_EMPTY, "%s: the key is empty", err_name(ERR_KEY_EMPTY));
    if (key.size > KEY_SIZE_MAX)
        return error_set(err, ERR_KEY_TOO_LARGE, "%s: the key has %zu bytes, at most %d are possible",
                         err_name(ERR_KEY_TOO_LARGE), key.size, KEY_SIZE_MAX);
    if (value.size > VALUE_SIZE_MAX)
        return error_set(err, ERR_ENTRY_TOO_LARGE, "%s: the value has %zu bytes, at most %d are possible",
                         err_name(ERR_ENTRY_TOO_LARGE), value.size, VALUE_SIZE_MAX);
    return ERR_OK;
}

const char *kv_outcome_name(enum polder_outcome outcome)
{
    return outcome == POLDER_DONE ? "done" : outcome == POLDER_NOT_DONE ? "not_done" : "unknown";
}

struct cJSON *kv_result_json(struct polder_bytes key, const struct polder_result *result)
{
    cJSON *json = cJSON_CreateObject();
    cli_json_bytes(json, "key", kv_bytes(key));
    cJSON_AddStringToObject(json, "outcome", kv_outcome_name(result->outcome));
    cJSON_AddStringToObject(json, "code", result->name);
    cJSON_AddStringToObject(json, "text", result->text);
    return json;
}

/* "ok" or JSON for a write; the exit code. Takes the result. */
static int finish_write(const struct command *command, const struct kv_base *base, struct polder_bytes key,
                        struct polder_result *take_result, const char *what)
{
    int code = cli_judge(command, take_result, what);
    if (kv_json(base))
        cli_json_print(kv_result_json(key, take_result));
    else if (code == CLI_OK)
        puts("ok");
    polder_result_free(take_result);
    return code;
}

/* ---- put */

struct put_options {
    struct kv_base base;
    char *value_file;
};

static const struct setting put_rows[] = {
    CLI_CLIENT_ROWS(struct put_options, base.client),
    CLI_OUTPUT_ROW(struct put_options, base.output),
    KV_RAW_ROW(struct put_options),
    KV_TTL_ROW(struct put_options),
    {.key = "value-file",
     .type = SETTING_STRING,
     SETTING_FIELD(struct put_options, value_file),
     .value_name = "FILE",
     .help = "the value is what is in FILE, byte for byte; - is standard input"},
};

static int read_value(const struct command *command, const struct put_options *options, const struct settings *settings,
                      struct buf *value)
{
    bool has_operand = settings_operand_count(settings) > 1;
    if (has_operand == (options->value_file != NULL)) {
        buf_init(value, 0);
        return cli_usage(command, "wants a VALUE or --value-file, and not both");
    }
    if (has_operand)
        return kv_decode(command, &options->base, "value", settings_operand(settings, 1), value);
    struct error err;
    bool is_stdin = strcmp(options->value_file, "-") == 0;
    buf_init(value, KV_TEXT_SIZE_MAX);
    enum err code = os_file_read(is_stdin ? "/dev/stdin" : options->value_file, value, &err);
    return code == ERR_OK ? CLI_GO_ON : cli_usage(command, "value: %s", err.text);
}

static int run_put(const struct command *command, int argc, char **argv)
{
    struct put_options options;
    struct settings *settings;
    struct polder *polder = NULL;
    struct buf key, value;
    memset(&options, 0, sizeof options); /* not all fields have a flag here */
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = kv_decode(command, &options.base, "key", settings_operand(settings, 0), &key);
    int value_code = read_value(command, &options, settings, &value);
    if (code == CLI_GO_ON)
        code = value_code;
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON) {
        struct polder_call call = kv_call(&options.base);
        code = finish_write(command, &options.base, kv_view(&key),
                            polder_put(polder, kv_view(&key), kv_view(&value), &call), "put");
    }
    polder_close(polder);
    buf_fini(&key);
    buf_fini(&value);
    settings_fini_target(put_rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_kv_put = {
    .name = "kv put",
    .operands = "KEY [VALUE]",
    .summary = "write a value",
    .text = KV_ESCAPES "\n"
                       "Examples:\n"
                       "  polder kv put hello world\n"
                       "  polder kv put 'two\\nlines' 'a\\x00b'\n"
                       "  polder kv put photo --value-file photo.jpg\n"
                       "  polder kv put session abc --ttl 30s\n"
                       "\n" KV_EXIT_CODES,
    CLI_TABLE(put_rows),
    .operand_min = 1,
    .operand_max = 2,
    .run = run_put,
};

/* ---- keys as operands: get and delete */

struct keys_options {
    struct kv_base base;
};

struct keys {
    struct buf *bufs;           /* owned */
    struct polder_bytes *views; /* owned; into bufs */
    size_t count;
};

static void keys_fini(struct keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        buf_fini(&keys->bufs[i]);
    free(keys->bufs);
    free(keys->views);
}

static int keys_init(const struct command *command, const struct kv_base *base, const struct settings *settings,
                     struct keys *keys)
{
    int code = CLI_GO_ON;
    keys->count = settings_operand_count(settings);
    keys->bufs = calloc(keys->count, sizeof *keys->bufs);
    keys->views = calloc(keys->count, sizeof *keys->views);
    CHECK(keys->bufs && keys->views);
    for (size_t i = 0; i < keys->count; i++) {
        int decoded = kv_decode(command, base, "key", settings_operand(settings, i), &keys->bufs[i]);
        keys->views[i] = kv_view(&keys->bufs[i]);
        if (code == CLI_GO_ON)
            code = decoded;
    }
    return code;
}

/* get and delete differ in what is done with the keys. */
static int run_keys(const struct command *command, int argc, char **argv,
                    int (*act)(const struct command *, const struct kv_base *, struct polder *, const struct keys *))
{
    struct keys_options options;
    struct settings *settings;
    struct polder *polder = NULL;
    struct keys keys;
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = keys_init(command, &options.base, settings, &keys);
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON)
        code = act(command, &options.base, polder, &keys);
    polder_close(polder);
    keys_fini(&keys);
    settings_fini_target(command->table, command->table_count, &options);
    settings_free(settings);
    return code;
}

static const struct setting get_rows[] = {
    CLI_CLIENT_ROWS(struct keys_options, base.client),
    CLI_OUTPUT_ROW(struct keys_options, base.output),
    KV_RAW_ROW(struct keys_options),
    KV_READ_ROW(struct keys_options),
};

static int get_one(const struct command *command, const struct kv_base *base, struct polder *polder,
                   struct polder_bytes key)
{
    struct polder_call call = kv_call(base);
    struct polder_result *result = polder_get(polder, key, &call);
    int code = cli_judge(command, result, "get");
    if (kv_json(base)) {
        cJSON *json = kv_result_json(key, result);
        cJSON_AddBoolToObject(json, "found", result->found);
        if (result->found)
            cli_json_bytes(json, "value", kv_bytes(result->value));
        cli_json_print(json);
    } else if (code == CLI_OK && result->found) {
        kv_print(base, result->value);
        if (!base->raw)
            putchar('\n');
    } else if (code == CLI_OK) {
        cli_complain(command, "no such key");
    }
    if (code == CLI_OK && !result->found)
        code = CLI_NOT_FOUND;
    polder_result_free(result);
    return code;
}

static void print_row(const struct kv_base *base, const struct polder_row *row)
{
    kv_print(base, row->key);
    putchar('\t');
    kv_print(base, row->value);
    putchar('\n');
}

static cJSON *row_json(const struct polder_row *row)
{
    cJSON *item = cJSON_CreateObject();
    cli_json_bytes(item, "key", kv_bytes(row->key));
    cJSON_AddBoolToObject(item, "found", row->found);
    if (row->found)
        cli_json_bytes(item, "value", kv_bytes(row->value));
    cJSON_AddStringToObject(item, "outcome", kv_outcome_name((enum polder_outcome)row->outcome));
    cJSON_AddStringToObject(item, "code", polder_code_name(row->code));
    return item;
}

static int act_get(const struct command *command, const struct kv_base *base, struct polder *polder,
                   const struct keys *keys)
{
    if (keys->count == 1)
        return get_one(command, base, polder, keys->views[0]);
    struct polder_call call = kv_call(base);
    struct polder_result *result = polder_batch_get(polder, keys->views, keys->count, &call);
    int code = cli_judge(command, result, "get");
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < result->row_count; i++) {
        const struct polder_row *row = &result->rows[i];
        bool done = row->outcome == POLDER_DONE;
        if (kv_json(base))
            cJSON_AddItemToArray(list, row_json(row));
        else if (done && row->found)
            print_row(base, row);
        if (code == CLI_OK && done && !row->found)
            code = CLI_NOT_FOUND;
    }
    if (kv_json(base))
        cli_json_print(list);
    else
        cJSON_Delete(list);
    if (code == CLI_NOT_FOUND && !kv_json(base))
        cli_complain(command, "not all keys exist");
    polder_result_free(result);
    return code;
}

static int run_get(const struct command *command, int argc, char **argv)
{
    return run_keys(command, argc, argv, act_get);
}

const struct command command_kv_get = {
    .name = "kv get",
    .operands = "KEY...",
    .summary = "read values",
    .text = "Prints the value; of several keys, lines of key, tab, value. " KV_ESCAPES "\n"
            "Examples:\n"
            "  polder kv get hello\n"
            "  polder kv get --raw photo > photo.jpg\n"
            "  polder kv get -o json a b c\n"
            "\n" KV_EXIT_CODES,
    CLI_TABLE(get_rows),
    .operand_min = 1,
    .operand_max = 10000,
    .run = run_get,
};

/* ---- ttl */

static int act_ttl(const struct command *command, const struct kv_base *base, struct polder *polder,
                   const struct keys *keys)
{
    struct polder_call call = kv_call(base);
    struct polder_result *result = polder_ttl(polder, keys->views[0], &call);
    int code = cli_judge(command, result, "ttl");
    if (kv_json(base)) {
        cJSON *json = kv_result_json(keys->views[0], result);
        cJSON_AddBoolToObject(json, "found", result->found);
        if (result->found)
            cJSON_AddBoolToObject(json, "expires", result->ttl_ms > 0);
        if (result->found && result->ttl_ms > 0)
            cJSON_AddNumberToObject(json, "ttl_ms", (double)result->ttl_ms);
        cli_json_print(json);
    } else if (code == CLI_OK && !result->found) {
        cli_complain(command, "no such key");
    } else if (code == CLI_OK && result->ttl_ms == 0) {
        puts("does not expire");
    } else if (code == CLI_OK) {
        char text[32];
        cli_print_duration(result->ttl_ms, text);
        printf("%" PRIu64 "ms (%s)\n", result->ttl_ms, text);
    }
    if (code == CLI_OK && !result->found)
        code = CLI_NOT_FOUND;
    polder_result_free(result);
    return code;
}

static int run_ttl(const struct command *command, int argc, char **argv)
{
    return run_keys(command, argc, argv, act_ttl);
}

const struct command command_kv_ttl = {
    .name = "kv ttl",
    .operands = "KEY",
    .summary = "how long a key has to live",
    .text = "What is left of the life that `polder kv put --ttl` gave it. " KV_ESCAPES "\n"
            "Examples:\n"
            "  polder kv put session abc --ttl 30s\n"
            "  polder kv ttl session\n"
            "  polder kv ttl session -o json\n"
            "\n" KV_EXIT_CODES,
    CLI_TABLE(get_rows),
    .operand_min = 1,
    .operand_max = 1,
    .run = run_ttl,
};

static const struct setting delete_rows[] = {
    CLI_CLIENT_ROWS(struct keys_options, base.client),
    CLI_OUTPUT_ROW(struct keys_options, base.output),
    KV_RAW_ROW(struct keys_options),
};

static int act_delete(const struct command *command, const struct kv_base *base, struct polder *polder,
                      const struct keys *keys)
{
    struct polder_call call = kv_call(base);
    if (keys->count == 1)
        return finish_write(command, base, keys->views[0], polder_delete(polder, keys->views[0], &call), "delete");
    struct polder_result *result = polder_batch_delete(polder, keys->views, keys->count, &call);
    int code = cli_judge(command, result, "delete");
    if (kv_json(base)) {
        cJSON *list = cJSON_CreateArray();
        for (size_t i = 0; i < result->row_count; i++)
            cJSON_AddItemToArray(list, row_json(&result->rows[i]));
        cli_json_print(list);
    } else if (code == CLI_OK) {
        puts("ok");
    }
    polder_result_free(result);
    return code;
}

static int run_delete(const struct command *command, int argc, char **argv)
{
    return run_keys(command, argc, argv, act_delete);
}

const struct command command_kv_delete = {
    .name = "kv delete",
    .operands = "KEY...",
    .summary = "remove keys",
    .text = "A key that does not exist is fine. " KV_ESCAPES "\n"
            "Examples:\n"
            "  polder kv delete hello\n"
            "  polder kv delete a b c\n"
            "\n" KV_EXIT_CODES,
    CLI_TABLE(delete_rows),
    .operand_min = 1,
    .operand_max = 10000,
    .run = run_delete,
};

/* ---- cas */

struct cas_options {
    struct kv_base base;
    bool absent;
};

static const struct setting cas_rows[] = {
    CLI_CLIENT_ROWS(struct cas_options, base.client),
    CLI_OUTPUT_ROW(struct cas_options, base.output),
    KV_RAW_ROW(struct cas_options),
    KV_TTL_ROW(struct cas_options),
    {.key = "absent",
     .type = SETTING_BOOL,
     SETTING_FIELD(struct cas_options, absent),
     .default_text = "false",
     .help = "write only if there is no such key; then EXPECTED is left out"},
};

static int cas(const struct command *command, const struct kv_base *base, struct polder *polder, const struct buf *key,
               const struct buf *expected, const struct buf *value)
{
    struct polder_call call = kv_call(base);
    struct polder_bytes expected_view = expected ? kv_view(expected) : polder_bytes(NULL, 0);
    struct polder_result *result =
        polder_cas(polder, kv_view(key), expected ? &expected_view : NULL, kv_view(value), &call);
    int code = result->code == POLDER_CONDITION_FAILED ? CLI_CONDITION : cli_judge(command, result, "cas");
    if (kv_json(base)) {
        cJSON *json = kv_result_json(kv_view(key), result);
        if (code == CLI_CONDITION) {
            cJSON_AddBoolToObject(json, "found", result->found);
            if (result->found)
                cli_json_bytes(json, "value", kv_bytes(result->value));
        }
        cli_json_print(json);
    } else if (code == CLI_OK) {
        puts("ok");
    } else if (code == CLI_CONDITION) {
        cli_complain(command, result->found ? "condition failed; the value is now on standard output"
                                            : "condition failed: there is no such key");
        if (result->found) {
            kv_print(base, result->value);
            putchar('\n');
        }
    }
    polder_result_free(result);
    return code;
}

static int run_cas(const struct command *command, int argc, char **argv)
{
    struct cas_options options;
    struct settings *settings;
    struct polder *polder = NULL;
    struct buf words[3];
    memset(words, 0, sizeof words);
    memset(&options, 0, sizeof options); /* not all fields have a flag here */
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    size_t count = settings_operand_count(settings);
    if (count != (options.absent ? 2 : 3))
        code = cli_usage(command, options.absent ? "wants KEY VALUE with --absent"
                                                 : "wants KEY EXPECTED VALUE, or --absent KEY VALUE");
    else
        code = CLI_GO_ON;
    for (size_t i = 0; i < count && code == CLI_GO_ON; i++)
        code = kv_decode(command, &options.base,
                         i == 0           ? "key"
                         : i + 1 == count ? "value"
                                          : "expected",
                         settings_operand(settings, i), &words[i]);
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON)
        code = cas(command, &options.base, polder, &words[0], options.absent ? NULL : &words[1], &words[count - 1]);
    polder_close(polder);
    for (size_t i = 0; i < 3; i++)
        buf_fini(&words[i]);
    settings_fini_target(cas_rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_kv_cas = {
    .name = "kv cas",
    .operands = "KEY [EXPECTED] VALUE",
    .summary = "write a value if the present one is as expected",
    .text =
        "If the key has another value, nothing is written, that value is printed, and the exit code is 4. " KV_ESCAPES
        "\n"
        "Examples:\n"
        "  polder kv cas counter 41 42\n"
        "  polder kv cas --absent lock me --ttl 10s\n"
        "\n" KV_EXIT_CODES,
    CLI_TABLE(cas_rows),
    .operand_min = 2,
    .operand_max = 3,
    .run = run_cas,
};
