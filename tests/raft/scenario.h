/* scenario: text files of directives with their expected output, and what the drivers for them share.
 *
 *   # comment
 *   command key key=value key=(a, b)
 *   input line
 *   ----
 *   expected output, up to a blank line
 *
 * Between a second ---- right below the first and another two, the expected output may have blank lines.
 *
 * One environment per file; directives run in order. */
#ifndef TESTS_RAFT_SCENARIO_H
#define TESTS_RAFT_SCENARIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data; /* zero-terminated; NULL when empty */
    size_t size, capacity;
};
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_reset(struct text *text);
const char *text_string(const struct text *text);

struct argument {
    char *key;
    char **values; /* none for a bare key */
    uint32_t value_count;
};
struct directive {
    int line;
    char *command;
    struct argument *arguments;
    uint32_t argument_count;
    char *input;      /* trimmed */
    char *expected;   /* ends in a newline unless empty */
    bool is_complete; /* there was a ---- */
};
struct scenario {
    char *path;
    struct directive *directives;
    uint32_t directive_count;
};

/* NULL and a message on standard error if the file cannot be read. */
struct scenario *scenario_read(const char *path);
void scenario_free(struct scenario *scenario);

const struct argument *directive_find(const struct directive *directive, const char *key); /* NULL: not there */
/* First value as a number, or `otherwise`. */
uint64_t directive_number(const struct directive *directive, const char *key, uint64_t otherwise);
const char *directive_word(const struct directive *directive, const char *key, const char *otherwise);
bool directive_flag(const struct directive *directive, const char *key); /* key=true */
/* Numbers of key=(1, 2); how many there are. "_" is `blank`. */
uint32_t directive_numbers(const struct directive *directive, const char *key, uint64_t *ret_numbers,
                           uint32_t count_max, uint64_t blank);

/* One driver per kind of file. */
struct driver {
    void *(*new)(void);
    void (*run)(void *env, const struct directive *directive, struct text *out);
    void (*free)(void *env);
};
extern const struct driver quorum_driver, confchange_driver, vectors_driver, interaction_driver;
bool quorum_knows(const struct directive *directive);
bool quorum_knows_groups(const struct directive *directive);
bool confchange_knows(const struct directive *directive);
bool vectors_knows(const struct directive *directive);
bool interaction_knows(const struct directive *directive);

#endif
