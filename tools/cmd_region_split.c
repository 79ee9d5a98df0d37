/* cmd_region_split: `polder region split`: regions begin at keys that are given, read from a file, or found by counting. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "commands.h"
#include "env/os.h"
#include "kv.h"

enum { PAGE_ROWS = 10000, LINE_SIZE_MAX = 4 * KEY_SIZE_MAX + 16, KEYS_MAX = 100000, COUNT_MAX = 10000, LINES_MAX = 20 };

struct options {
    struct kv_base base;
    char *file;
    uint32_t count;
    char *start, *end;
};

static const struct setting rows[] = {
    CLI_CLIENT_ROWS(struct options, base.client),
    CLI_OUTPUT_ROW(struct options, base.output),
    KV_RAW_ROW(struct options),
    {.key = "file",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, file),
     .value_name = "FILE",
     .help = "read keys from there, one a line; - is standard input"},
    {.key = "count",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, count),
     .default_text = "0",
     .max = COUNT_MAX,
     .help = "cut into so many parts with as many keys each; reads all keys between --start and --end"},
    {.key = "start",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, start),
     .value_name = "KEY",
     .help = "with --count: from here on; not given: the first key"},
    {.key = "end",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, end),
     .value_name = "KEY",
     .help = "with --count: up to here, without it; not given: the last key"},
};

/* Keys in the order in which they came. */
struct keys {
    struct buf *items; /* owned */
    size_t count, capacity;
};

static struct buf *add_key(struct keys *keys)
{
    if (keys->count == keys->capacity) {
        keys->capacity = keys->capacity ? keys->capacity * 2 : 64;
        keys->items = realloc(keys->items, keys->capacity * sizeof *keys->items);
        CHECK(keys->items);
    }
    struct buf *key = &keys->items[keys->count++];
    buf_init(key, KV_TEXT_SIZE_MAX);
    return key;
}

static void keys_fini(struct keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        buf_fini(&keys->items[i]);
    free(keys->items);
}

static int compare_keys(const void *a, const void *b)
{
    return bytes_compare(buf_bytes(a), buf_bytes(b));
}

/* In order, each once. */
static void sort_keys(struct keys *keys)
{
    if (keys->count > 0)
        qsort(keys->items, keys->count, sizeof *keys->items, compare_keys);
    size_t kept = 0;
    for (size_t i = 0; i < keys->count; i++) {
        if (kept > 0 && compare_keys(&keys->items[i], &keys->items[kept - 1]) == 0)
            buf_fini(&keys->items[i]);
        else
            keys->items[kept++] = keys->items[i];
    }
    keys->count = kept;
}

/* ---- where they come from */

static int decode(const struct command *command, const struct options *options, const char *text, struct keys *keys)
{
    struct buf *key = add_key(keys);
    return kv_decode(command, &options->base, "key", text, key);
}

static int read_operands(const struct command *command, const struct options *options, const struct settings *settings,
                         struct keys *keys)
{
    int code = CLI_GO_ON;
    for (size_t i = 0; i < settings_operand_count(settings) && code == CLI_GO_ON; i++)
        code = decode(command, options, settings_operand(settings, i), keys);
    return code;
}

static int read_line(const struct command *command, const struct options *options, struct bytes line, struct keys *keys)
{
    if (line.size == 0)
        return CLI_GO_ON;
    if (keys->count >= KEYS_MAX || memchr(line.data, 0, line.size))
        return cli_usage(command, keys->count >= KEYS_MAX ? "too many keys at once" : "a line with a NUL byte");
    char *text = strndup((const char *)line.data, line.size);
    CHECK(text);
    int code = decode(command, options, text, keys);
    free(text);
    return code;
}

static int read_file(const struct command *command, const struct options *options, struct keys *keys)
{
    struct error err = {0};
    struct os_lines *lines = NULL;
    struct bytes line;
    int code = CLI_GO_ON;
    if (os_lines_open(options->file, LINE_SIZE_MAX, &lines, &err) != ERR_OK) {
        cli_complain(command, "%s", err.text);
        return CLI_FAILED;
    }
    enum err ended = ERR_OK;
    while (code == CLI_GO_ON && (ended = os_lines_next(lines, &line, &err)) == ERR_OK)
        code = read_line(command, options, line, keys);
    os_lines_close(lines);
    if (ended == ERR_OK || ended == ERR_NOT_FOUND)
        return code;
    cli_complain(command, "%s: %s", options->file, err.text);
    return CLI_FAILED;
}

/* Every key between start and end, a page at a time: `visit` may look at it. */
static int scan_keys(const struct command *command, const struct options *options, struct polder *polder,
                     const struct buf *start, const struct buf *end,
                     void (*visit)(void *context, struct polder_bytes key), void *context)
{
    struct polder_call call = kv_call(&options->base);
    struct polder_scan scan = {
        .size = sizeof scan, .start = kv_view(start), .end = kv_view(end), .limit = PAGE_ROWS, .keys_only = true};
    struct polder_result *before = NULL;
    int code = CLI_OK;
    for (bool more = true; more && code == CLI_OK;) {
        struct polder_result *result = polder_scan(polder, &scan, &call);
        code = cli_judge(command, result, "read the keys");
        for (size_t i = 0; code == CLI_OK && i < result->row_count; i++)
            visit(context, result->rows[i].key);
        more = result->more;
        scan.token = result->next;
        polder_result_free(before);
        before = result; /* the token is its */
    }
    polder_result_free(before);
    return code;
}

struct counting {
    uint64_t seen, total, parts;
    struct keys *keys;
};

static void count_key(void *context, struct polder_bytes key)
{
    (void)key;
    ((struct counting *)context)->total++;
}

/* The first key of the k-th part is the (k * total / parts)-th. */
static void choose_key(void *context, struct polder_bytes key)
{
    struct counting *counting = context;
    uint64_t part = counting->keys->count + 1;
    if (part < counting->parts && counting->seen >= part * counting->total / counting->parts && counting->seen > 0)
        CHECK(buf_append_bytes(add_key(counting->keys), kv_bytes(key)) == ERR_OK);
    counting->seen++;
}

static int find_keys(const struct command *command, const struct options *options, struct polder *polder,
                     struct keys *keys)
{
    struct counting counting = {.parts = options->count, .keys = keys};
    struct buf start, end;
    int code = kv_decode(command, &options->base, "start", options->start ? options->start : "", &start);
    int end_code = kv_decode(command, &options->base, "end", options->end ? options->end : "", &end);
    code = code == CLI_GO_ON ? end_code : code;
    if (code == CLI_GO_ON)
        code = scan_keys(command, options, polder, &start, &end, count_key, &counting);
    if (code == CLI_OK && counting.total < counting.parts) {
        cli_complain(command, "there are only %" PRIu64 " keys", counting.total);
        code = CLI_FAILED;
    }
    if (code == CLI_OK)
        code = scan_keys(command, options, polder, &start, &end, choose_key, &counting);
    buf_fini(&start);
    buf_fini(&end);
    return code == CLI_OK ? CLI_GO_ON : code;
}

/* ---- splitting */

static void print_rows(const struct options *options, const struct polder_result *result)
{
    cJSON *array = cJSON_CreateArray();
    for (size_t i = 0; i < result->row_count; i++) {
        const struct polder_row *row = &result->rows[i];
        cJSON *item = cJSON_CreateObject();
        cli_json_bytes(item, "key", kv_bytes(row->key));
        cJSON_AddStringToObject(item, "outcome", kv_outcome_name((enum polder_outcome)row->outcome));
        cJSON_AddStringToObject(item, "code", polder_code_name(row->code));
        cJSON_AddItemToArray(array, item);
    }
    if (kv_json(&options->base))
        cli_json_print(array);
    else
        cJSON_Delete(array);
}

/* What there is now, a line per key; of many, how many. Regions that a key began before this are among them. */
static void print_text(const struct options *options, const struct polder_result *result)
{
    size_t done = 0;
    for (size_t i = 0; i < result->row_count; i++) {
        const struct polder_row *row = &result->rows[i];
        done += row->outcome == POLDER_DONE;
        if (i >= LINES_MAX)
            continue;
        printf("%s at \"", row->outcome == POLDER_DONE ? "a region begins" : "no region begins");
        kv_print(&options->base, row->key);
        if (row->outcome == POLDER_DONE)
            printf("\"\n");
        else
            printf("\": %s, %s\n", kv_outcome_name((enum polder_outcome)row->outcome), polder_code_name(row->code));
    }
    if (result->row_count > LINES_MAX)
        printf("... %zu keys more\n", result->row_count - LINES_MAX);
    printf("regions begin at %zu of %zu keys; polder region list shows them\n", done, result->row_count);
}

static int split(const struct command *command, const struct options *options, struct polder *polder,
                 const struct keys *keys)
{
    struct polder_call call = kv_call(&options->base);
    struct polder_bytes *views = calloc(keys->count + 1, sizeof *views);
    CHECK(views);
    for (size_t i = 0; i < keys->count; i++)
        views[i] = kv_view(&keys->items[i]);
    struct polder_result *result = polder_region_split_keys(polder, views, keys->count, &call);
    int code = cli_judge(command, result, "split");
    print_rows(options, result);
    if (!kv_json(&options->base))
        print_text(options, result);
    polder_result_free(result);
    free(views);
    return code;
}

static int check_options(const struct command *command, const struct options *options, const struct settings *settings)
{
    bool given = settings_operand_count(settings) > 0;
    if (given + (options->file != NULL) + (options->count > 0) != 1)
        return cli_usage(command, "wants keys, or --file, or --count, and only one of them");
    if (options->count == 0 && (options->start || options->end))
        return cli_usage(command, "--start and --end go with --count");
    return CLI_GO_ON;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct options options;
    struct settings *settings;
    struct polder *polder = NULL;
    struct keys keys = {0};
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = check_options(command, &options, settings);
    if (code == CLI_GO_ON)
        code = options.file ? read_file(command, &options, &keys) : read_operands(command, &options, settings, &keys);
    if (code == CLI_GO_ON)
        code = cli_open(command, &options.base.client, &polder);
    if (code == CLI_GO_ON && options.count > 0)
        code = find_keys(command, &options, polder, &keys);
    if (code == CLI_GO_ON) {
        sort_keys(&keys);
        code = split(command, &options, polder, &keys);
    }
    polder_close(polder);
    keys_fini(&keys);
    settings_fini_target(rows, command->table_count, &options);
    settings_free(settings);
    return code;
}

const struct command command_region_split = {
    .name = "region split",
    .operands = "[KEY...]",
    .summary = "make new regions begin at keys",
    .text = "A region that holds such a KEY keeps what is before it. If a region begins there already, nothing "
            "happens, so\n"
            "that repeating is harmless. Keys of one region are cut at in one go, up to 64 at a time.\n"
            "Regions that grow beyond region-size-max or region-keys-max, and regions that are asked more than "
            "split-load,\n"
            "are split without that.\n" KV_ESCAPES "\n"
            "Examples:\n"
            "  polder region split user/5000\n"
            "  polder region split b c d e f                  before a load: in the middle of what will come\n"
            "  polder region split --count 16                 all keys there are, in 16 parts of as many keys\n"
            "  polder region split --count 4 --start a --end b\n"
            "  polder region split --file keys.txt -o json\n"
            "  seq -f 'user/%04.0f' 100 100 900 | polder region split --file -\n"
            "\n"
            "Exit codes: 0 done, 1 not done, 2 wrong usage, 5 unknown (perhaps done).\n\n",
    CLI_TABLE(rows),
    .operand_max = 1000,
    .run = run,
};
