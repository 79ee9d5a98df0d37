/* check_history FILE...: is each recorded history linearizable? A line per file; exit 1 if one is not. */
#include <stdio.h>

#include "check_linear.h"
#include "history.h"

static void print_line(void *context, const char *text)
{
    (void)context;
    printf("  %s\n", text);
}

static void explain(struct history *history, const struct linear_result *result)
{
    struct bytes key = history_key(history, result->key), value = history_value(history, result->stuck_value);
    printf("  key %.*s: after %zu operations that fit, with the value %s%.*s%s, no order explains:\n", (int)key.size,
           key.data, result->done_count, result->stuck_value ? "\"" : "(none)", (int)value.size, value.data,
           result->stuck_value ? "\"" : "");
    history_print(history, result->stuck_index, print_line, NULL);
}

static int check_file(const char *path)
{
    static const char *const verdicts[] = {"ok", "illegal", "undecided"};
    struct history *history = history_new();
    struct error err;
    int status = 2;
    if (history_read(history, path, &err) != ERR_OK) {
        fprintf(stderr, "check_history: %s\n", err.text);
    } else {
        struct linear_result result;
        check_linear(history, 0, &result);
        printf("%s %s (%zu operations, %u keys, %llu steps)\n", path, verdicts[result.verdict], history_count(history),
               history_key_count(history), (unsigned long long)result.steps);
        if (result.verdict == LINEAR_ILLEGAL)
            explain(history, &result);
        status = result.verdict != LINEAR_OK;
    }
    history_free(history);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: check_history FILE...\n");
        return 2;
    }
    int worst = 0;
    for (int i = 1; i < argc; i++) {
        int status = check_file(argv[i]);
        worst = status > worst ? status : worst;
    }
    return worst;
}
