/* hello: the smallest useful program against a cluster.
 *
 *   cc hello.c $(pkg-config --cflags --libs polder) -o hello && ./hello 127.0.0.1:2379
 *
 * It puts a few keys, reads one back, and lists them; after each step it says what is known about it. */
#include <polder.h>

#include <stdio.h>

/* Done or not, and if not, what to do about it. Returns whether it is done. */
static bool done(const char *what, const struct polder_result *result)
{
    static const char *const outcomes[] = {"done", "not done", "unknown"};
    printf("%-12s %s", what, outcomes[result->outcome]);
    if (result->outcome != POLDER_DONE)
        printf(": %s: %s", result->name, result->text);
    printf("\n");
    return result->outcome == POLDER_DONE;
}

int main(int argc, char **argv)
{
    struct polder_options options = {.size = sizeof options, .pd = argc > 1 ? argv[1] : "127.0.0.1:2379"};
    struct polder *db;
    char error_text[256];
    if (polder_open(&options, &db, error_text, sizeof error_text) != POLDER_OK) {
        fprintf(stderr, "hello: %s\n", error_text);
        return 2;
    }
    static const char *const names[] = {"hello/amsterdam", "hello/rotterdam", "hello/utrecht"};
    bool fine = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct polder_result *put = polder_put(db, polder_string(names[i]), polder_string("below the sea"), NULL);
        fine = done("put", put) && fine;
        polder_result_free(put);
    }
    struct polder_result *get = polder_get(db, polder_string("hello/utrecht"), NULL);
    if (done("get", get) && get->found)
        printf("  hello/utrecht = %.*s\n", (int)get->value.size, (const char *)get->value.data);
    polder_result_free(get);

    struct polder_scan scan = {.size = sizeof scan, .prefix = polder_string("hello/"), .keys_only = true};
    struct polder_result *rows = polder_scan(db, &scan, NULL);
    fine = done("scan", rows) && fine;
    for (size_t i = 0; i < rows->row_count; i++)
        printf("  %.*s\n", (int)rows->rows[i].key.size, (const char *)rows->rows[i].key.data);
    polder_result_free(rows);
    polder_close(db);
    return fine ? 0 : 1;
}
