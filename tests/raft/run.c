/* raft_scenarios PATH...: runs scenario files (or all .txt files below a folder) against the core and prints
 * `PATH: passed/total` for each; exit 0 if all passed, 1 if not, 77 if there was nothing to run (meson: skipped).
 *
 * The kind of a file is seen from its first directive: quorum arithmetic, configuration changes, vectors of single
 * rules, or interactions of whole nodes. With --rewrite, the expected output is replaced by the actual one (for our own
 * files). */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "scenario.h"

static const struct driver *driver_for(const struct scenario *scenario)
{
    if (scenario->directive_count == 0)
        return &interaction_driver;
    const struct directive *first = &scenario->directives[0];
    if (quorum_knows(first))
        return &quorum_driver;
    if (confchange_knows(first))
        return &confchange_driver;
    if (vectors_knows(first))
        return &vectors_driver;
    return &interaction_driver;
}

static void print_block(const char *mark, const char *text)
{
    while (*text) {
        size_t size = strcspn(text, "\n");
        printf("  %s %.*s\n", mark, (int)size, text);
        text += size + (text[size] == '\n');
    }
}

/* What both share at the beginning is left out, except for two lines: the first difference is what one looks for. */
static void print_difference(const struct scenario *scenario, const struct directive *directive, const char *actual)
{
    const char *expected = directive->expected;
    size_t same = 0, line = 0, before = 0;
    while (expected[same] && expected[same] == actual[same]) {
        if (expected[same++] == '\n') {
            before = line;
            line = same;
        }
    }
    printf("%s:%d: %s differs\n", scenario->path, directive->line, directive->command);
    if (before > 0)
        printf("    ...\n");
    print_block("-", expected + before);
    print_block("+", actual + before);
}

static void rewrite_directive(FILE *file, const struct directive *directive, const char *actual)
{
    fprintf(file, "%s", directive->command);
    for (uint32_t i = 0; i < directive->argument_count; i++) {
        const struct argument *argument = &directive->arguments[i];
        fprintf(file, argument->value_count ? " %s=" : " %s", argument->key);
        fprintf(file, "%s", argument->value_count > 1 ? "(" : "");
        for (uint32_t j = 0; j < argument->value_count; j++)
            fprintf(file, "%s%s", j ? "," : "", argument->values[j]);
        fprintf(file, "%s", argument->value_count > 1 ? ")" : "");
    }
    fprintf(file, "%s%s\n----\n%s\n", *directive->input ? "\n" : "", directive->input, actual);
}

/* Comments are kept: everything up to the line of a directive that is not part of the one before. */
static void rewrite_comments(FILE *file, FILE *old, int *line, int to)
{
    char text[4096];
    bool comment = true;
    while (*line < to - 1 && fgets(text, sizeof(text), old)) {
        comment = text[0] == '#';
        if (comment)
            fputs(text, file);
        ++*line;
    }
}

static bool run_file(const char *path, bool rewrite)
{
    struct scenario *scenario = scenario_read(path);
    if (!scenario)
        return false;
    const struct driver *driver = driver_for(scenario);
    void *env = driver->new ();
    uint32_t passed = 0;
    int line = 0;
    FILE *old = rewrite ? fopen(path, "r") : NULL;
    char new_path[4096];
    snprintf(new_path, sizeof(new_path), "%s.new", path);
    FILE *file = rewrite ? fopen(new_path, "w") : NULL;
    for (uint32_t i = 0; i < scenario->directive_count; i++) {
        const struct directive *directive = &scenario->directives[i];
        struct text out = {0};
        driver->run(env, directive, &out);
        if (out.size == 0 || out.data[out.size - 1] != '\n')
            text_add(&out, "\n");
        if (strcmp(out.data, directive->expected) == 0)
            passed++;
        else if (!rewrite)
            print_difference(scenario, directive, out.data);
        if (file) {
            rewrite_comments(file, old, &line, directive->line);
            rewrite_directive(file, directive, out.data);
        }
        text_reset(&out);
    }
    driver->free(env);
    if (file) {
        fclose(old);
        fclose(file);
        rename(new_path, path);
    }
    bool all = passed == scenario->directive_count;
    printf("%s: %u/%u\n", path, passed, scenario->directive_count);
    scenario_free(scenario);
    return all;
}

struct tally {
    uint32_t file_count, failed_count;
    bool rewrite;
};

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void run_path(const char *path, struct tally *tally)
{
    struct stat status;
    struct dirent **entries;
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        int count = scandir(path, &entries, NULL, by_name);
        for (int i = 0; i < count; i++) {
            char below[4096];
            size_t size = strlen(entries[i]->d_name);
            bool text = size > 4 && strcmp(entries[i]->d_name + size - 4, ".txt") == 0;
            snprintf(below, sizeof(below), "%s/%s", path, entries[i]->d_name);
            if (entries[i]->d_name[0] != '.' && (text || (stat(below, &status) == 0 && S_ISDIR(status.st_mode))))
                run_path(below, tally);
            free(entries[i]);
        }
        if (count >= 0)
            free(entries);
        return;
    }
    tally->file_count++;
    tally->failed_count += !run_file(path, tally->rewrite);
}

int main(int argc, char **argv)
{
    struct tally tally = {0};
    struct stat status;
    bool optional = false;
    if (argc < 2) {
        fprintf(stderr, "usage: raft_scenarios [--optional] [--rewrite] PATH...\n");
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--rewrite") == 0)
            tally.rewrite = true;
        else if (strcmp(argv[i], "--optional") == 0) /* a path that is not there counts as nothing to run */
            optional = true;
        else if (optional && stat(argv[i], &status) != 0)
            printf("%s: skipped, not there\n", argv[i]);
        else
            run_path(argv[i], &tally);
    }
    if (tally.file_count == 0)
        return optional ? 77 : 1;
    printf("%u of %u files passed\n", tally.file_count - tally.failed_count, tally.file_count);
    return tally.failed_count > 0;
}
