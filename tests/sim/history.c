#include "history.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/check.h"

struct word {
    UT_hash_handle hh;
    uint32_t number;
    uint32_t size;
    uint8_t data[];
};

struct words {
    struct word *by_bytes;
    struct word **by_number;
    uint32_t count, capacity;
};

struct history {
    struct words keys, values;
    struct history_op *ops;
    size_t count, capacity;
};

static uint32_t words_intern(struct words *words, struct bytes bytes)
{
    struct word *word;
    HASH_FIND(hh, words->by_bytes, bytes.data ? bytes.data : (const uint8_t *)"", bytes.size, word);
    if (word)
        return word->number;
    if (words->count == words->capacity) {
        words->capacity = words->capacity ? words->capacity * 2 : 64;
        words->by_number = realloc(words->by_number, words->capacity * sizeof *words->by_number);
        CHECK(words->by_number);
    }
    word = malloc(sizeof *word + bytes.size);
    CHECK(word);
    word->number = words->count;
    word->size = (uint32_t)bytes.size;
    if (bytes.size > 0)
        memcpy(word->data, bytes.data, bytes.size);
    HASH_ADD_KEYPTR(hh, words->by_bytes, word->data, word->size, word);
    words->by_number[words->count++] = word;
    return word->number;
}

static void words_fini(struct words *words)
{
    HASH_CLEAR(hh, words->by_bytes);
    for (uint32_t i = 0; i < words->count; i++)
        free(words->by_number[i]);
    free(words->by_number);
}

struct history *history_new(void)
{
    struct history *history = calloc(1, sizeof *history);
    CHECK(history);
    return history;
}

void history_free(struct history *history)
{
    if (!history)
        return;
    words_fini(&history->keys);
    words_fini(&history->values);
    free(history->ops);
    free(history);
}

uint32_t history_intern_key(struct history *history, struct bytes key)
{
    return words_intern(&history->keys, key);
}

uint32_t history_intern(struct history *history, struct bytes value)
{
    return words_intern(&history->values, value) + 1;
}

struct bytes history_key(const struct history *history, uint32_t key)
{
    CHECK(key < history->keys.count);
    return bytes_of(history->keys.by_number[key]->data, history->keys.by_number[key]->size);
}

struct bytes history_value(const struct history *history, uint32_t value)
{
    if (value == HISTORY_NO_VALUE || value == HISTORY_NOT_TOLD)
        return bytes_empty();
    CHECK(value <= history->values.count);
    return bytes_of(history->values.by_number[value - 1]->data, history->values.by_number[value - 1]->size);
}

uint32_t history_key_count(const struct history *history)
{
    return history->keys.count;
}

void history_add(struct history *history, const struct history_op *op)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? history->capacity * 2 : 1024;
        history->ops = realloc(history->ops, history->capacity * sizeof *history->ops);
        CHECK(history->ops);
    }
    history->ops[history->count++] = *op;
}

size_t history_count(const struct history *history)
{
    return history->count;
}

struct history_op *history_at(struct history *history, size_t index)
{
    CHECK(index < history->count);
    return &history->ops[index];
}

/* ---- text out */

static const char *const kind_names[] = {"put", "get", "delete", "cas", "append"};
static const char *const outcome_names[] = {"ok", "fail", "unknown"};

static void add_value(cJSON *object, const char *name, const struct history *history, uint32_t value)
{
    if (value == HISTORY_NOT_TOLD)
        return;
    if (value == HISTORY_NO_VALUE) {
        cJSON_AddNullToObject(object, name);
        return;
    }
    struct bytes bytes = history_value(history, value);
    char *text = strndup((const char *)bytes.data, bytes.size);
    CHECK(text);
    cJSON_AddStringToObject(object, name, text);
    free(text);
}

void history_print(struct history *history, size_t index, void (*line)(void *context, const char *text), void *context)
{
    const struct history_op *op = history_at(history, index);
    cJSON *object = cJSON_CreateObject();
    struct bytes key = history_key(history, op->key);
    char *key_text = strndup((const char *)key.data, key.size);
    CHECK(object && key_text);
    cJSON_AddNumberToObject(object, "client", op->client);
    cJSON_AddStringToObject(object, "op", kind_names[op->kind]);
    cJSON_AddStringToObject(object, "key", key_text);
    free(key_text);
    if (op->kind == HISTORY_CAS)
        add_value(object, "expected", history, op->expected);
    if (op->kind != HISTORY_GET && op->kind != HISTORY_DELETE)
        add_value(object, "value", history, op->value);
    cJSON_AddNumberToObject(object, "start_us", (double)op->start);
    if (op->end != UINT64_MAX)
        cJSON_AddNumberToObject(object, "end_us", (double)op->end);
    cJSON_AddStringToObject(object, "outcome", outcome_names[op->outcome]);
    if (op->kind == HISTORY_GET && op->outcome == HISTORY_OK)
        add_value(object, "result", history, op->result);
    if (op->kind == HISTORY_CAS && op->outcome == HISTORY_OK) {
        cJSON_AddBoolToObject(object, "result", op->swapped);
        if (!op->swapped)
            add_value(object, "actual", history, op->result);
    }
    char *text = cJSON_PrintUnformatted(object);
    CHECK(text);
    line(context, text);
    cJSON_free(text);
    cJSON_Delete(object);
}

/* ---- text in: JSON lines */

struct reading {
    struct history *history;
    const char *path;
    unsigned line;
    struct error *err;
    /* Files of separate invocations and answers: the operation that each process has open, as index + 1. */
    size_t *open;
    size_t open_count;
    uint64_t time;
};

static enum err bad_line(struct reading *reading, const char *what)
{
    return error_set(reading->err, ERR_INVALID, "%s:%u: %s", reading->path, reading->line, what);
}

static uint32_t value_of(struct history *history, const cJSON *item, uint32_t absent)
{
    if (!item)
        return absent;
    if (cJSON_IsString(item))
        return history_intern(history, bytes_of_string(item->valuestring));
    return HISTORY_NO_VALUE;
}

static int find_name(const char *const *names, int count, const cJSON *item)
{
    for (int i = 0; cJSON_IsString(item) && i < count; i++)
        if (strcmp(names[i], item->valuestring) == 0)
            return i;
    return -1;
}

/* A whole number that a double holds exactly; what is further away has no integer at all. */
static bool is_count(const cJSON *item, double max)
{
    return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= max;
}

static enum err read_json(struct reading *reading, const cJSON *object)
{
    const double time_max = (double)(UINT64_C(1) << 53);
    struct history *history = reading->history;
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(object, "key");
    const cJSON *client = cJSON_GetObjectItemCaseSensitive(object, "client");
    const cJSON *start = cJSON_GetObjectItemCaseSensitive(object, "start_us");
    const cJSON *end = cJSON_GetObjectItemCaseSensitive(object, "end_us");
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(object, "result");
    int kind = find_name(kind_names, 5, cJSON_GetObjectItemCaseSensitive(object, "op"));
    int outcome = find_name(outcome_names, 3, cJSON_GetObjectItemCaseSensitive(object, "outcome"));
    if (kind < 0 || outcome < 0 || !cJSON_IsString(key) || !is_count(start, time_max) ||
        (client && !is_count(client, UINT32_MAX)) || (cJSON_IsNumber(end) && !is_count(end, time_max)))
        return bad_line(reading, "op, outcome, key or start_us is missing or not known, or a number is out of range");
    if (outcome == HISTORY_OK && (!cJSON_IsNumber(end) || end->valuedouble < start->valuedouble))
        return bad_line(reading, "an operation that is ok needs an end_us, not before start_us");
    struct history_op op = {
        .client = client ? (uint32_t)client->valuedouble : 0,
        .key = history_intern_key(history, bytes_of_string(key->valuestring)),
        .kind = (enum history_kind)kind,
        .outcome = (enum history_outcome)outcome,
        .value = value_of(history, cJSON_GetObjectItemCaseSensitive(object, "value"), HISTORY_NO_VALUE),
        .expected = value_of(history, cJSON_GetObjectItemCaseSensitive(object, "expected"), HISTORY_NO_VALUE),
        .result = HISTORY_NOT_TOLD,
        .start = (uint64_t)start->valuedouble,
        .end = cJSON_IsNumber(end) ? (uint64_t)end->valuedouble : UINT64_MAX};
    if (kind == HISTORY_GET && outcome == HISTORY_OK)
        op.result = value_of(history, result, HISTORY_NOT_TOLD);
    if (kind == HISTORY_CAS && outcome == HISTORY_OK) {
        if (!cJSON_IsBool(result))
            return bad_line(reading, "a cas that is ok needs a result, true or false");
        op.swapped = cJSON_IsTrue(result);
        op.result = value_of(history, cJSON_GetObjectItemCaseSensitive(object, "actual"), HISTORY_NOT_TOLD);
    }
    if ((kind == HISTORY_PUT || kind == HISTORY_CAS) && op.value == HISTORY_NO_VALUE)
        return bad_line(reading, "a put or cas needs a value");
    history_add(history, &op);
    return ERR_OK;
}

/* ---- text in: files in which an invocation and its answer are two lines */

static size_t *open_of(struct reading *reading, uint32_t process)
{
    if (process >= reading->open_count) {
        size_t count = (size_t)process + 64;
        reading->open = realloc(reading->open, count * sizeof *reading->open);
        CHECK(reading->open);
        memset(reading->open + reading->open_count, 0, (count - reading->open_count) * sizeof *reading->open);
        reading->open_count = count;
    }
    return &reading->open[process];
}

static enum err invoke(struct reading *reading, const struct history_op *op)
{
    size_t *open = open_of(reading, op->client);
    if (*open)
        return bad_line(reading, "the process has an operation open already");
    history_add(reading->history, op);
    *open = history_count(reading->history);
    return ERR_OK;
}

static struct history_op *answer(struct reading *reading, uint32_t process)
{
    size_t *open = open_of(reading, process);
    if (!*open)
        return NULL;
    struct history_op *op = history_at(reading->history, *open - 1);
    *open = 0;
    return op;
}

static uint32_t intern_text(struct reading *reading, const char *text)
{
    if (strcmp(text, "nil") == 0 || text[0] == '\0')
        return HISTORY_NO_VALUE;
    return history_intern(reading->history, bytes_of_string(text));
}

/* `INFO jepsen.util - PROCESS :invoke|:ok|:fail|:info :read|:write|:cas VALUE` */
static enum err read_jepsen(struct reading *reading, char *line)
{
    enum { PROCESS_MAX = 1000000 };
    unsigned process;
    char type[16], function[16], value[64] = "", second[32] = "";
    if (sscanf(line, "INFO jepsen.util - %u %15s %15s %63[^\n]", &process, type, function, value) < 3)
        return ERR_OK; /* the nemesis and the like */
    if (process > PROCESS_MAX)
        return bad_line(reading, "process number");
    struct history_op op = {.client = process,
                            .start = ++reading->time,
                            .end = UINT64_MAX,
                            .outcome = HISTORY_UNKNOWN,
                            .result = HISTORY_NOT_TOLD};
    bool is_cas = strcmp(function, ":cas") == 0, is_read = strcmp(function, ":read") == 0;
    if (!is_cas && !is_read && strcmp(function, ":write") != 0)
        return bad_line(reading, "neither read, write nor cas");
    if (strcmp(type, ":invoke") == 0) {
        op.key = history_intern_key(reading->history, bytes_of_string("register"));
        op.kind = is_cas ? HISTORY_CAS : is_read ? HISTORY_GET : HISTORY_PUT;
        if (is_cas) {
            char first[32] = "";
            if (sscanf(value, "[%31s %31[^]]", first, second) != 2)
                return bad_line(reading, "cas wants [from to]");
            op.expected = intern_text(reading, first);
            op.value = intern_text(reading, second);
        } else if (!is_read) {
            op.value = intern_text(reading, value);
        }
        return invoke(reading, &op);
    }
    struct history_op *asked = answer(reading, process);
    if (!asked)
        return bad_line(reading, "an answer without an invocation");
    if (strcmp(type, ":info") == 0)
        return ERR_OK; /* stays unknown, without an end */
    asked->end = op.start;
    bool failed = strcmp(type, ":fail") == 0;
    asked->outcome = failed && !is_cas ? HISTORY_FAIL : HISTORY_OK;
    if (is_cas)
        asked->swapped = !failed;
    else if (is_read)
        asked->result = intern_text(reading, value);
    return ERR_OK;
}

/* `{:process 0, :type :invoke, :f :append, :key "4", :value "x 0 1 y"}` */
static enum err read_porcupine(struct reading *reading, char *line)
{
    enum { PROCESS_MAX = 1000000 };
    unsigned process;
    char type[16], function[16];
    const char *key = strstr(line, ":key \""), *value = strstr(line, ":value ");
    if (sscanf(line, "{:process %u, :type :%15[a-z], :f :%15[a-z],", &process, type, function) != 3 || !key || !value ||
        process > PROCESS_MAX)
        return bad_line(reading, "not an operation");
    key += strlen(":key \"");
    value += strlen(":value ");
    size_t key_size = strcspn(key, "\"");
    uint32_t number = HISTORY_NO_VALUE;
    if (value[0] == '"' && strcspn(value + 1, "\"") > 0)
        number = history_intern(reading->history, bytes_of(value + 1, strcspn(value + 1, "\"")));
    if (strcmp(type, "invoke") == 0) {
        struct history_op op = {.client = process,
                                .key = history_intern_key(reading->history, bytes_of(key, key_size)),
                                .kind = strcmp(function, "append") == 0 ? HISTORY_APPEND
                                        : strcmp(function, "put") == 0  ? HISTORY_PUT
                                                                        : HISTORY_GET,
                                .value = number,
                                .result = HISTORY_NOT_TOLD,
                                .outcome = HISTORY_UNKNOWN,
                                .start = ++reading->time,
                                .end = UINT64_MAX};
        return invoke(reading, &op);
    }
    struct history_op *asked = answer(reading, process);
    if (!asked)
        return bad_line(reading, "an answer without an invocation");
    asked->end = ++reading->time;
    asked->outcome = HISTORY_OK;
    if (asked->kind == HISTORY_GET)
        asked->result = number;
    return ERR_OK;
}

static enum err read_line(struct reading *reading, char *line)
{
    if (line[0] == '\0')
        return ERR_OK;
    if (strncmp(line, "{:process", 9) == 0)
        return read_porcupine(reading, line);
    if (strncmp(line, "INFO ", 5) == 0)
        return read_jepsen(reading, line);
    if (line[0] != '{')
        return bad_line(reading, "not a line of a history");
    cJSON *object = cJSON_Parse(line);
    if (!object)
        return bad_line(reading, "not JSON");
    enum err code = read_json(reading, object);
    cJSON_Delete(object);
    return code;
}

enum err history_read(struct history *history, const char *path, struct error *err)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    struct reading reading = {.history = history, .path = path, .err = err};
    char *line = NULL;
    size_t capacity = 0;
    enum err code = ERR_OK;
    for (ssize_t size; code == ERR_OK && (size = getline(&line, &capacity, file)) >= 0;) {
        reading.line++;
        line[strcspn(line, "\r\n")] = '\0';
        code = read_line(&reading, line);
    }
    if (code == ERR_OK && ferror(file))
        code = error_set(err, ERR_IO, "%s: %s", path, strerror(errno));
    free(reading.open);
    free(line);
    fclose(file);
    return code;
}
