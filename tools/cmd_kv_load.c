/* cmd_kv_load: `polder kv load` and `polder kv verify`.
 *
 * Rows are put into batches; up to `window` batches are under way. Batches end in any order but retire in the order of
 * the file, so what is retired is a prefix of the file: its length is the checkpoint.
 *
 *   FREE --rows--> filling --send--> SENT --callback--> ENDED --retire (oldest first)--> FREE
 *
 * Two batches under way never hold the same key: the later line must win, so the loader waits for the earlier one.
 * Putting a row twice does no harm, so what is not done or unknown is simply put again. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/arena.h"
#include "base/check.h"
#include "commands.h"
#include "env/os.h"
#include "kv.h"
#include "progress_bar.h"
#include "row_reader.h"

enum { BATCH_BYTES_MAX = 512 * 1024, CHECKPOINT_INTERVAL_US = 1000 * 1000, RETRY_PAUSE_MS = 100, VERIFY_ROWS = 256 };

struct options {
    struct kv_base base;
    char *format;
    char *resume;
    uint32_t batch, window, retries;
};

#define LOAD_ROWS                                                                                                      \
    CLI_CLIENT_ROWS(struct options, base.client), CLI_OUTPUT_ROW(struct options, base.output),                         \
        KV_RAW_ROW(struct options),                                                                                    \
    {                                                                                                                  \
        .key = "format", .type = SETTING_STRING, SETTING_FIELD(struct options, format), .default_text = "tsv",         \
        .choices = "tsv|dpkg", .help = "tsv: key, tab, value; dpkg: a status file, package name to stanza"             \
    }

static const struct setting load_rows[] = {
    LOAD_ROWS,
    {.key = "resume",
     .type = SETTING_STRING,
     SETTING_FIELD(struct options, resume),
     .value_name = "STATEFILE",
     .help = "remember there how far it is, and go on from there"},
    {.key = "batch",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, batch),
     .default_text = "128",
     .min = 1,
     .max = 4096,
     .help = "rows to a request"},
    {.key = "window",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, window),
     .default_text = "16",
     .min = 1,
     .max = 1024,
     .help = "requests under way at a time"},
    {.key = "retries",
     .type = SETTING_U32,
     SETTING_FIELD(struct options, retries),
     .default_text = "5",
     .max = 1000,
     .help = "how often a request that was not done is put again"},
};

struct row {
    UT_hash_handle hh; /* in loader.keys, by the bytes of its key */
    struct bytes key;
    struct batch *batch;
    uint64_t line;
    bool is_listed;
};

enum batch_state { BATCH_FREE, BATCH_SENT, BATCH_ENDED };

struct batch {
    struct loader *loader;
    struct arena batch_arena;  /* keys and values */
    struct polder_pair *pairs; /* owned */
    struct row *rows;          /* owned */
    size_t count, bytes;
    uint64_t end_position, end_line; /* behind its last row */
    enum batch_state state;          /* with the loader's mutex */
    struct polder_result *result;    /* owned; once ENDED */
};

struct loader {
    const struct command *command;
    const struct options *options;
    struct polder *polder;
    struct row_reader *reader;
    struct os_mutex *mutex;
    struct os_event *ended;
    struct batch *batches;     /* owned; a ring */
    uint32_t head, sent_count; /* head: the oldest that is not retired; the one being filled is behind the sent ones */
    struct row *keys;          /* of all rows that are not retired */
    uint64_t row_count;        /* retired, of earlier runs too */
    uint64_t position, line;   /* of the checkpoint */
    uint64_t checkpoint_us;
    const char *path;
    struct progress_bar progress;
};

/* ---- checkpoint */

static enum err write_checkpoint(struct loader *loader, struct error *err)
{
    if (!loader->options->resume)
        return ERR_OK;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "file", loader->path);
    cJSON_AddStringToObject(json, "format", loader->options->format);
    cJSON_AddNumberToObject(json, "size", (double)row_reader_size(loader->reader));
    cJSON_AddNumberToObject(json, "position", (double)loader->position);
    cJSON_AddNumberToObject(json, "line", (double)loader->line);
    cJSON_AddNumberToObject(json, "rows", (double)loader->row_count);
    char *text = cJSON_Print(json);
    CHECK(text);
    enum err code = os_file_write(loader->options->resume, bytes_of_string(text), err);
    cJSON_free(text);
    cJSON_Delete(json);
    loader->checkpoint_us = os_monotonic_us();
    return code;
}

static uint64_t checkpoint_number(const cJSON *json, const char *name, bool *ok)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    *ok = *ok && cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 9e15;
    return *ok ? (uint64_t)item->valuedouble : 0;
}

static enum err apply_checkpoint(struct loader *loader, const cJSON *json, struct error *err)
{
    bool ok = json != NULL;
    const char *state_file = loader->options->resume;
    uint64_t size = checkpoint_number(json, "size", &ok), position = checkpoint_number(json, "position", &ok);
    uint64_t line = checkpoint_number(json, "line", &ok), row_count = checkpoint_number(json, "rows", &ok);
    const char *file = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "file"));
    const char *format = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "format"));
    if (!ok || !file || !format)
        return error_set(err, ERR_INVALID, "%s: not a state file of polder kv load", state_file);
    if (strcmp(file, loader->path) != 0 || strcmp(format, loader->options->format) != 0 ||
        size != row_reader_size(loader->reader))
        return error_set(err, ERR_INVALID, "%s: belongs to %s (%s, %" PRIu64 " bytes); remove it to start anew",
                         state_file, file, format, size);
    enum err code = row_reader_skip(loader->reader, position, line, err);
    if (code != ERR_OK)
        return code;
    loader->position = position;
    loader->line = line;
    loader->row_count = row_count;
    cli_complain(loader->command, "going on at line %" PRIu64 " (%" PRIu64 " rows were loaded before)", line + 1,
                 row_count);
    return ERR_OK;
}

static enum err read_checkpoint(struct loader *loader, struct error *err)
{
    if (!loader->options->resume || !os_exists(loader->options->resume))
        return ERR_OK;
    struct buf text;
    buf_init(&text, 64 * 1024);
    enum err code = os_file_read(loader->options->resume, &text, err);
    if (code == ERR_OK) {
        cJSON *json = cJSON_ParseWithLength((const char *)text.data, text.size);
        code = apply_checkpoint(loader, json, err);
        cJSON_Delete(json);
    }
    buf_fini(&text);
    return code;
}

/* ---- batches */

static struct batch *batch_at(struct loader *loader, uint32_t index)
{
    return &loader->batches[(loader->head + index) % loader->options->window];
}

/* The library's thread. */
static void on_batch_ended(void *user, struct polder_result *take_result)
{
    struct batch *batch = user;
    struct loader *loader = batch->loader;
    os_mutex_lock(loader->mutex);
    batch->result = take_result;
    batch->state = BATCH_ENDED;
    os_mutex_unlock(loader->mutex);
    os_event_set(loader->ended);
}

static void send_batch(struct loader *loader, struct batch *batch)
{
    struct polder_call call = kv_call(&loader->options->base);
    batch->state = BATCH_SENT;
    int code = polder_batch_write_async(loader->polder, batch->pairs, batch->count, &call, on_batch_ended, batch);
    if (code == POLDER_OK)
        return;
    /* Refused before anything was sent; the blocking call says the same with a text. */
    on_batch_ended(batch, polder_batch_write(loader->polder, batch->pairs, batch->count, &call));
}

static bool has_ended(struct loader *loader, struct batch *batch)
{
    os_mutex_lock(loader->mutex);
    bool ended = batch->state == BATCH_ENDED;
    os_mutex_unlock(loader->mutex);
    return ended;
}

static void clear_batch(struct loader *loader, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        if (batch->rows[i].is_listed)
            HASH_DEL(loader->keys, &batch->rows[i]);
    polder_result_free(batch->result);
    batch->result = NULL;
    batch->count = batch->bytes = 0;
    batch->state = BATCH_FREE;
    arena_reset(&batch->batch_arena);
}

/* Says which row it was that could not be put. */
static int give_up(struct loader *loader, const struct batch *batch)
{
    const struct polder_result *result = batch->result;
    size_t index = 0;
    while (index < result->row_count && result->rows[index].outcome == POLDER_DONE)
        index++;
    bool has_row = index < result->row_count;
    char what[128];
    snprintf(what, sizeof what, "%.64s:%" PRIu64, loader->path, batch->rows[has_row ? index : 0].line);
    int code = cli_judge(loader->command, result, what);
    return code == CLI_OK ? CLI_FAILED : code;
}

/* Waits for the oldest batch, puts it again if need be, and takes it out. CLI_GO_ON, or the exit code. */
static int retire(struct loader *loader)
{
    struct batch *batch = batch_at(loader, 0);
    for (uint32_t attempt = 0;; attempt++) {
        while (!has_ended(loader, batch))
            os_event_wait(loader->ended, 1000 * 1000);
        struct polder_result *result = batch->result;
        if (result->outcome == POLDER_DONE)
            break;
        if (attempt >= loader->options->retries || result->advice == POLDER_ADVICE_GIVE_UP)
            return give_up(loader, batch);
        os_sleep_ms(result->wait_ms ? result->wait_ms : RETRY_PAUSE_MS);
        polder_result_free(result);
        batch->result = NULL;
        send_batch(loader, batch);
    }
    loader->row_count += batch->count;
    loader->position = batch->end_position;
    loader->line = batch->end_line;
    clear_batch(loader, batch);
    loader->head = (loader->head + 1) % loader->options->window;
    loader->sent_count--;
    struct error err;
    if (os_monotonic_us() - loader->checkpoint_us > CHECKPOINT_INTERVAL_US &&
        write_checkpoint(loader, &err) != ERR_OK) {
        cli_complain(loader->command, "%s", err.text);
        return CLI_FAILED;
    }
    progress_bar_update(&loader->progress, loader->row_count, loader->position, row_reader_size(loader->reader));
    return CLI_GO_ON;
}

/* Sends what is being filled; leaves room for the next one to be filled. */
static int flush_batch(struct loader *loader)
{
    struct batch *batch = batch_at(loader, loader->sent_count);
    if (batch->count == 0)
        return CLI_GO_ON;
    send_batch(loader, batch);
    loader->sent_count++;
    int code = CLI_GO_ON;
    while (code == CLI_GO_ON && loader->sent_count > 0 &&
           (loader->sent_count == loader->options->window || has_ended(loader, batch_at(loader, 0))))
        code = retire(loader);
    return code;
}

static int drain(struct loader *loader)
{
    int code = flush_batch(loader);
    while (code == CLI_GO_ON && loader->sent_count > 0)
        code = retire(loader);
    return code;
}

static int add_row(struct loader *loader, struct bytes key, struct bytes value)
{
    struct row *earlier;
    int code = CLI_GO_ON;
    HASH_FIND(hh, loader->keys, key.data, key.size, earlier);
    if (earlier && earlier->batch != batch_at(loader, loader->sent_count)) {
        code = drain(loader);
        earlier = NULL;
    }
    if (code != CLI_GO_ON)
        return code;
    struct batch *batch = batch_at(loader, loader->sent_count);
    struct row *row = &batch->rows[batch->count];
    *row = (struct row){.key = arena_copy(&batch->batch_arena, key),
                        .batch = batch,
                        .line = row_reader_line(loader->reader),
                        .is_listed = !earlier};
    struct bytes kept = arena_copy(&batch->batch_arena, value);
    batch->pairs[batch->count] = (struct polder_pair){.key = polder_bytes(row->key.data, row->key.size),
                                                      .value = polder_bytes(kept.data, kept.size)};
    if (row->is_listed)
        HASH_ADD_KEYPTR(hh, loader->keys, row->key.data, row->key.size, row);
    batch->count++;
    batch->bytes += key.size + value.size;
    batch->end_position = row_reader_position(loader->reader);
    batch->end_line = row_reader_line(loader->reader);
    if (batch->count == loader->options->batch || batch->bytes >= BATCH_BYTES_MAX)
        return flush_batch(loader);
    return CLI_GO_ON;
}

/* ---- load */

static int load(struct loader *loader)
{
    struct error err;
    struct bytes key, value;
    int exit_code = CLI_GO_ON;
    progress_bar_init(&loader->progress, "load", "rows", loader->row_count);
    while (exit_code == CLI_GO_ON) {
        enum err code = row_reader_next(loader->reader, &key, &value, &err);
        if (code == ERR_NOT_FOUND)
            break;
        if (code == ERR_OK && kv_check_row(key, value, &err) != ERR_OK)
            code = error_wrap(&err, "%s:%" PRIu64, loader->path, row_reader_line(loader->reader));
        if (code == ERR_OK) {
            exit_code = add_row(loader, key, value);
            continue;
        }
        /* What was read before it is loaded all the same. */
        exit_code = drain(loader);
        cli_complain(loader->command, "%s", err.text);
        if (exit_code == CLI_GO_ON)
            exit_code = CLI_USAGE;
    }
    if (exit_code == CLI_GO_ON)
        exit_code = drain(loader);
    progress_bar_end(&loader->progress);
    if (write_checkpoint(loader, &err) != ERR_OK) {
        cli_complain(loader->command, "%s", err.text);
        return CLI_FAILED;
    }
    return exit_code == CLI_GO_ON ? CLI_OK : exit_code;
}

static void report(const struct loader *loader, int exit_code)
{
    uint64_t count = loader->row_count - loader->progress.count_at_start, ms = progress_bar_ms(&loader->progress);
    uint64_t rate = count * 1000 / (ms ? ms : 1);
    if (kv_json(&loader->options->base)) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddNumberToObject(json, "rows", (double)count);
        cJSON_AddNumberToObject(json, "rows_total", (double)loader->row_count);
        cJSON_AddNumberToObject(json, "line", (double)loader->line);
        cJSON_AddNumberToObject(json, "ms", (double)ms);
        cJSON_AddNumberToObject(json, "rows_per_s", (double)rate);
        cJSON_AddBoolToObject(json, "complete", exit_code == CLI_OK);
        cli_json_print(json);
        return;
    }
    char took[32];
    cli_print_duration(ms, took);
    printf("%" PRIu64 " rows in %s, %" PRIu64 " rows/s%s\n", count, took, rate,
           exit_code == CLI_OK ? "" : "; NOT complete");
}

static int open_and_load(const struct command *command, const struct options *options, const char *path)
{
    struct error err;
    struct loader loader = {.command = command, .options = options, .path = path};
    enum row_format format = options->format[0] == 'd' ? ROW_DPKG : ROW_TSV;
    if (row_reader_open(path, format, options->base.raw, &loader.reader, &err) != ERR_OK)
        return cli_usage(command, "%s", err.text);
    loader.mutex = os_mutex_new();
    loader.ended = os_event_new();
    loader.checkpoint_us = os_monotonic_us();
    loader.batches = calloc(options->window, sizeof *loader.batches);
    CHECK(loader.batches);
    for (uint32_t i = 0; i < options->window; i++) {
        struct batch *batch = &loader.batches[i];
        batch->loader = &loader;
        arena_init(&batch->batch_arena);
        batch->pairs = calloc(options->batch, sizeof *batch->pairs);
        batch->rows = calloc(options->batch, sizeof *batch->rows);
        CHECK(batch->pairs && batch->rows);
    }
    int code = cli_open(command, &options->base.client, &loader.polder);
    if (code == CLI_GO_ON && read_checkpoint(&loader, &err) != ERR_OK)
        code = cli_usage(command, "%s", err.text);
    if (code == CLI_GO_ON) {
        code = load(&loader);
        report(&loader, code);
    }
    polder_close(loader.polder); /* callbacks are over after this */
    for (uint32_t i = 0; i < options->window; i++) {
        clear_batch(&loader, &loader.batches[i]);
        arena_fini(&loader.batches[i].batch_arena);
        free(loader.batches[i].pairs);
        free(loader.batches[i].rows);
    }
    free(loader.batches);
    os_event_free(loader.ended);
    os_mutex_free(loader.mutex);
    row_reader_close(loader.reader);
    return code;
}

static int run_with(const struct command *command, int argc, char **argv,
                    int (*act)(const struct command *, const struct options *, const char *))
{
    struct options options;
    struct settings *settings;
    memset(&options, 0, sizeof options);
    int code = cli_parse(command, argc, argv, &settings, &options);
    if (code != CLI_GO_ON)
        return code;
    code = act(command, &options, settings_operand(settings, 0));
    settings_fini_target(command->table, command->table_count, &options);
    settings_free(settings);
    return code;
}

static int run_load(const struct command *command, int argc, char **argv)
{
    return run_with(command, argc, argv, open_and_load);
}

const struct command command_kv_load = {
    .name = "kv load",
    .operands = "FILE|-",
    .summary = "write many rows from a file",
    .text = "Lines are key, tab, value. Many requests are under way at a time; if a key comes twice, the later line "
            "wins. What is not\n"
            "done is put again. With --resume an interrupted load goes on where it was. " KV_ESCAPES "\n"
            "Examples:\n"
            "  polder kv load rows.tsv\n"
            "  seq 1000000 | awk '{print \"k\" $1 \"\\t\" $1}' | polder kv load -\n"
            "  polder kv load rows.tsv --resume rows.state\n"
            "  polder kv load --format dpkg /var/lib/dpkg/status\n"
            "\n" KV_EXIT_CODES,
    CLI_TABLE(load_rows),
    .operand_min = 1,
    .operand_max = 1,
    .run = run_load,
};

/* ---- verify */

static const struct setting verify_rows[] = {
    LOAD_ROWS,
    KV_READ_ROW(struct options),
};

/* A key that did not have the value of its line. A later line with the same key may still explain it. */
struct mismatch {
    UT_hash_handle hh;
    uint64_t line;
    bool missing;
    size_t key_size;
    uint8_t key[];
};

struct verifier {
    const struct command *command;
    const struct options *options;
    struct polder *polder;
    struct mismatch *mismatches; /* owned */
    uint64_t row_count;
    struct arena batch_arena;
    struct polder_bytes keys[VERIFY_ROWS];
    struct bytes values[VERIFY_ROWS];
    uint64_t lines[VERIFY_ROWS];
    size_t count, bytes;
};

static void note(struct verifier *verifier, size_t index, const struct polder_row *row)
{
    struct bytes key = kv_bytes(verifier->keys[index]);
    bool equal = row->found && bytes_equal(kv_bytes(row->value), verifier->values[index]);
    struct mismatch *mismatch;
    HASH_FIND(hh, verifier->mismatches, key.data, key.size, mismatch);
    if (equal && mismatch) {
        HASH_DEL(verifier->mismatches, mismatch);
        free(mismatch);
        return;
    }
    if (equal)
        return;
    if (!mismatch) {
        mismatch = calloc(1, sizeof *mismatch + key.size);
        CHECK(mismatch);
        mismatch->key_size = key.size;
        memcpy(mismatch->key, key.data, key.size);
        HASH_ADD_KEYPTR(hh, verifier->mismatches, mismatch->key, mismatch->key_size, mismatch);
    }
    mismatch->line = verifier->lines[index];
    mismatch->missing = !row->found;
}

static int verify_batch(struct verifier *verifier)
{
    if (verifier->count == 0)
        return CLI_GO_ON;
    struct polder_call call = kv_call(&verifier->options->base);
    struct polder_result *result = polder_batch_get(verifier->polder, verifier->keys, verifier->count, &call);
    int code = cli_judge(verifier->command, result, "read back");
    if (code == CLI_OK) {
        CHECK(result->row_count == verifier->count);
        for (size_t i = 0; i < verifier->count; i++)
            note(verifier, i, &result->rows[i]);
        verifier->row_count += verifier->count;
        code = CLI_GO_ON;
    }
    polder_result_free(result);
    verifier->count = verifier->bytes = 0;
    arena_reset(&verifier->batch_arena);
    return code;
}

static int verify(struct verifier *verifier, struct row_reader *reader)
{
    struct error err;
    struct bytes key, value;
    struct progress_bar progress;
    progress_bar_init(&progress, "verify", "rows", 0);
    int exit_code = CLI_GO_ON;
    while (exit_code == CLI_GO_ON) {
        enum err code = row_reader_next(reader, &key, &value, &err);
        if (code == ERR_NOT_FOUND)
            break;
        if (code != ERR_OK) {
            exit_code = cli_usage(verifier->command, "%s", err.text);
            break;
        }
        struct bytes kept = arena_copy(&verifier->batch_arena, key);
        verifier->keys[verifier->count] = polder_bytes(kept.data, kept.size);
        verifier->values[verifier->count] = arena_copy(&verifier->batch_arena, value);
        verifier->lines[verifier->count++] = row_reader_line(reader);
        verifier->bytes += key.size + value.size;
        if (verifier->count == VERIFY_ROWS || verifier->bytes >= BATCH_BYTES_MAX)
            exit_code = verify_batch(verifier);
        progress_bar_update(&progress, verifier->row_count, row_reader_position(reader), row_reader_size(reader));
    }
    if (exit_code == CLI_GO_ON)
        exit_code = verify_batch(verifier);
    progress_bar_end(&progress);
    return exit_code;
}

static int report_verified(struct verifier *verifier, int exit_code)
{
    uint64_t missing = 0, different = 0;
    struct mismatch *mismatch, *following;
    HASH_ITER(hh, verifier->mismatches, mismatch, following)
    {
        missing += mismatch->missing;
        different += !mismatch->missing;
        if (missing + different <= 10)
            cli_complain(verifier->command, "line %" PRIu64 ": the key %s", mismatch->line,
                         mismatch->missing ? "is missing" : "has another value");
        HASH_DEL(verifier->mismatches, mismatch);
        free(mismatch);
    }
    if (kv_json(&verifier->options->base)) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddNumberToObject(json, "rows", (double)verifier->row_count);
        cJSON_AddNumberToObject(json, "missing", (double)missing);
        cJSON_AddNumberToObject(json, "different", (double)different);
        cJSON_AddBoolToObject(json, "complete", exit_code == CLI_GO_ON);
        cli_json_print(json);
    } else {
        printf("%" PRIu64 " rows read back: %" PRIu64 " missing, %" PRIu64 " different%s\n", verifier->row_count,
               missing, different, exit_code == CLI_GO_ON ? "" : "; NOT complete");
    }
    if (exit_code != CLI_GO_ON)
        return exit_code;
    return missing + different ? CLI_FAILED : CLI_OK;
}

static int open_and_verify(const struct command *command, const struct options *options, const char *path)
{
    struct error err;
    struct row_reader *reader;
    enum row_format format = options->format[0] == 'd' ? ROW_DPKG : ROW_TSV;
    if (row_reader_open(path, format, options->base.raw, &reader, &err) != ERR_OK)
        return cli_usage(command, "%s", err.text);
    struct verifier *verifier = calloc(1, sizeof *verifier);
    CHECK(verifier);
    verifier->command = command;
    verifier->options = options;
    arena_init(&verifier->batch_arena);
    int code = cli_open(command, &options->base.client, &verifier->polder);
    if (code == CLI_GO_ON)
        code = report_verified(verifier, verify(verifier, reader));
    polder_close(verifier->polder);
    arena_fini(&verifier->batch_arena);
    free(verifier);
    row_reader_close(reader);
    return code;
}

static int run_verify(const struct command *command, int argc, char **argv)
{
    return run_with(command, argc, argv, open_and_verify);
}

const struct command command_kv_verify = {
    .name = "kv verify",
    .operands = "FILE|-",
    .summary = "is every row of a file there, as it is in the file?",
    .text =
        "Reads back what polder kv load wrote and compares every row; of lines with the same key the last one counts.\n"
        "\n"
        "Examples:\n"
        "  polder kv verify rows.tsv\n"
        "  polder kv verify --format dpkg /var/lib/dpkg/status\n"
        "\n"
        "Exit codes: 0 all equal, 1 some are missing or different (or could not be read), 2 wrong usage.\n\n",
    CLI_TABLE(verify_rows),
    .operand_min = 1,
    .operand_max = 1,
    .run = run_verify,
};
