/* fuzz_history: hostile histories (`check_history FILE`). What is read is written as lines; those read back as the same
 * operations. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fuzz.h"
#include "../sim/history.h"

static void add_line(void *context, const char *text)
{
    struct buf *out = context;
    CHECK(buf_append(out, text, strlen(text)) == ERR_OK && buf_append_u8(out, '\n') == ERR_OK);
}

static enum err read_bytes(struct history *history, struct bytes bytes, struct error *err)
{
    char path[32];
    int fd = fuzz_file(bytes, path, "history");
    enum err code = history_read(history, path, err);
    close(fd);
    return code;
}

/* Foreign files know operations that our lines do not. */
static bool is_foreign(const struct history_op *op)
{
    bool writes = op->kind == HISTORY_PUT || op->kind == HISTORY_CAS;
    return op->kind == HISTORY_APPEND || (writes && op->value == HISTORY_NO_VALUE);
}

static void must_read_back(struct history *history)
{
    struct error error = {0};
    struct buf text;
    buf_init(&text, 64 * 1024 * 1024);
    for (size_t i = 0; i < history_count(history); i++) {
        if (is_foreign(history_at(history, i)))
            continue;
        history_print(history, i, add_line, &text);
    }
    struct history *again = history_new();
    enum err code = read_bytes(again, buf_bytes(&text), &error);
    if (code != ERR_OK)
        fprintf(stderr, "%s\n%.*s\n", error.text, (int)text.size, (const char *)text.data);
    CHECK(code == ERR_OK);
    size_t count = 0;
    for (size_t i = 0; i < history_count(history); i++) {
        const struct history_op *op = history_at(history, i);
        if (is_foreign(op))
            continue;
        CHECK(count < history_count(again));
        const struct history_op *other = history_at(again, count++);
        CHECK(op->kind == other->kind && op->outcome == other->outcome && op->client == other->client);
        CHECK(bytes_equal(history_key(history, op->key), history_key(again, other->key)));
        if (op->kind == HISTORY_PUT || op->kind == HISTORY_CAS)
            CHECK(bytes_equal(history_value(history, op->value), history_value(again, other->value)));
    }
    CHECK(count == history_count(again));
    history_free(again);
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error error = {0};
    struct history *history = history_new();
    enum err code = read_bytes(history, bytes_of(data, size), &error);
    CHECK(code == ERR_OK || (code != ERR_OK && error.text[0] != 0));
    if (code == ERR_OK)
        must_read_back(history);
    history_free(history);
    return 0;
}

void fuzz_seeds(fuzz_write_seed *write, void *context)
{
    static const char *const seeds[][2] = {
        {"own",
         "{\"client\":3,\"op\":\"put\",\"key\":\"k\",\"value\":\"v\",\"start_us\":10,\"end_us\":25,\"outcome\":\"ok\"}"
         "\n"
         "{\"client\":3,\"op\":\"get\",\"key\":\"k\",\"start_us\":30,\"end_us\":41,\"outcome\":\"ok\",\"result\":\"v\"}"
         "\n"
         "{\"client\":3,\"op\":\"get\",\"key\":\"k\",\"start_us\":30,\"end_us\":41,\"outcome\":\"ok\",\"result\":null}"
         "\n"
         "{\"client\":3,\"op\":\"delete\",\"key\":\"k\",\"start_us\":50,\"end_us\":60,\"outcome\":\"unknown\"}\n"
         "{\"client\":3,\"op\":\"cas\",\"key\":\"k\",\"expected\":null,\"value\":\"w\",\"start_us\":70,\"end_us\":80,"
         "\"outcome\":\"ok\",\"result\":false,\"actual\":\"v\"}\n"},
        {"jepsen", "INFO  jepsen.util - 3\t:invoke\t:cas\t[1 4]\nINFO  jepsen.util - 3\t:fail\t:cas\t[1 4]\n"
                   "INFO  jepsen.util - 2\t:invoke\t:read\tnil\nINFO  jepsen.util - 2\t:ok\t:read\t1\n"
                   "INFO  jepsen.util - 4\t:invoke\t:write\t2\nINFO  jepsen.util - 4\t:info\t:write\t:timed-out\n"},
        {"porcupine", "{:process 0, :type :invoke, :f :put, :key \"1\", :value \"x 0 0 y\"}\n"
                      "{:process 0, :type :ok, :f :put, :key \"1\", :value \"x 0 0 y\"}\n"
                      "{:process 1, :type :invoke, :f :append, :key \"1\", :value \"z\"}\n"
                      "{:process 2, :type :invoke, :f :get, :key \"1\", :value nil}\n"
                      "{:process 2, :type :ok, :f :get, :key \"1\", :value \"x 0 0 y\"}\n"},
    };
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        write(context, seeds[i][0], seeds[i][1], strlen(seeds[i][1]));
}
