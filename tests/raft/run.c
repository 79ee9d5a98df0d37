/* raft_scenarios PATH...: runs scenario files (or all .txt files below a folder) against the core and prints
 * `PATH: passed/total` for each, then a total per format; exit 0 if all passed, 1 if not, 77 if there was nothing to run
 * (meson: skipped).
 *
 * The format of a file is seen from its directives: the one that knows the first that anybody knows. If nobody knows any,
 * the name of the folder decides. Each file runs in a process of its own, so that one which ends the core (or the driver)
 * is told by file and line like any other failure, and the rest still runs.
 *
 * With --rewrite, the expected output is replaced by the actual one (for our own files). */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scenario.h"

enum { FORMAT_COUNT = 5, FILE_SECONDS_MAX = 60 };

static const struct format {
    const char *name; /* also of the folder */
    const struct driver *driver;
    bool (*knows)(const struct directive *);
} formats[FORMAT_COUNT] = {
    {"quorum", &quorum_driver, quorum_knows},
    {"raft-rs-extra", &quorum_driver, quorum_knows_groups},
    {"confchange", &confchange_driver, confchange_knows},
    {"vectors", &vectors_driver, vectors_knows},
    {"interaction", &interaction_driver, interaction_knows},
};

/* Files of others from which our core differs by decision; the reason is printed beside their count, and they do not
 * count as failures. None does. */
static const struct {
    const char *file, *reason;
} allowed[] = {{NULL, NULL}};

static const char *allowed_reason(const char *path)
{
    const char *slash = strrchr(path, '/');
    for (uint32_t i = 0; allowed[i].file; i++) {
        if (strcmp(allowed[i].file, slash ? slash + 1 : path) == 0)
            return allowed[i].reason;
    }
    return NULL;
}

static const struct format *format_that_knows(const struct directive *directive)
{
    for (uint32_t i = 0; i < FORMAT_COUNT; i++) {
        if (formats[i].knows(directive))
            return &formats[i];
    }
    return NULL;
}

static const struct format *format_of(const struct scenario *scenario)
{
    for (uint32_t i = 0; i < scenario->directive_count; i++) {
        const struct format *format = format_that_knows(&scenario->directives[i]);
        if (format)
            return format;
    }
    for (uint32_t i = 0; i < FORMAT_COUNT; i++) {
        if (strstr(scenario->path, formats[i].name))
            return &formats[i];
    }
    return &formats[FORMAT_COUNT - 1];
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

/* Written by the process that runs the file, read by the one that started it. */
struct outcome {
    uint32_t format, passed, total;
    int line; /* of the directive that runs */
    char command[64];
    bool is_scenario;
};
static struct outcome *outcome;

static void run_directive(const struct scenario *scenario, const struct directive *directive, void *env,
                          struct text *out)
{
    outcome->line = directive->line;
    snprintf(outcome->command, sizeof(outcome->command), "%s", directive->command);
    if (!directive->is_complete)
        printf("%s:%d: no ---- after %s\n", scenario->path, directive->line, directive->command);
    else if (!format_that_knows(directive))
        printf("%s:%d: unknown directive: %s\n", scenario->path, directive->line, directive->command);
    formats[outcome->format].driver->run(env, directive, out);
    if (out->size == 0 || out->data[out->size - 1] != '\n')
        text_add(out, "\n");
}

static void run_directives(const struct scenario *scenario, FILE *old, FILE *new)
{
    const struct driver *driver = formats[outcome->format].driver;
    void *env = driver->new ();
    int line = 0;
    for (uint32_t i = 0; i < scenario->directive_count; i++) {
        const struct directive *directive = &scenario->directives[i];
        struct text out = {0};
        run_directive(scenario, directive, env, &out);
        if (directive->is_complete && strcmp(out.data, directive->expected) == 0)
            outcome->passed++;
        else if (!new)
            print_difference(scenario, directive, out.data);
        if (new) {
            rewrite_comments(new, old, &line, directive->line);
            rewrite_directive(new, directive, out.data);
        }
        text_reset(&out);
    }
    driver->free(env);
}

static void run_file(const char *path, bool rewrite)
{
    struct scenario *scenario = scenario_read(path);
    if (!scenario)
        return;
    outcome->total = scenario->directive_count;
    for (uint32_t i = 0; i < scenario->directive_count; i++)
        outcome->is_scenario |= scenario->directives[i].is_complete;
    outcome->format = (uint32_t)(format_of(scenario) - formats);
    char new_path[4096];
    snprintf(new_path, sizeof(new_path), "%s.new", path);
    FILE *old = rewrite ? fopen(path, "r") : NULL;
    FILE *new = rewrite ? fopen(new_path, "w") : NULL;
    if (outcome->is_scenario)
        run_directives(scenario, old, new);
    if (new) {
        fclose(old);
        fclose(new);
        rename(new_path, path);
    }
    scenario_free(scenario);
}

struct tally {
    uint32_t file_count, failed_count;
    struct {
        uint32_t files, passed, total;
    } formats[FORMAT_COUNT];
    bool rewrite;
};

static bool ends_in_txt(const char *path)
{
    size_t size = strlen(path);
    return size > 4 && strcmp(path + size - 4, ".txt") == 0;
}

static void count_file(const char *path, int status, struct tally *tally)
{
    const char *reason = allowed_reason(path);
    bool ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (ended && !outcome->is_scenario && !ends_in_txt(path)) {
        printf("%s: skipped, no scenario\n", path);
        return;
    }
    if (WIFSIGNALED(status))
        printf("%s:%d: %s ended the process: %s\n", path, outcome->line, outcome->command,
               WTERMSIG(status) == SIGALRM ? "it took too long" : strsignal(WTERMSIG(status)));
    else if (!ended)
        printf("%s:%d: %s ended the process with status %d\n", path, outcome->line, outcome->command,
               WEXITSTATUS(status));
    else if (!outcome->is_scenario)
        printf("%s: no directive with a ---- after it\n", path);
    bool all = ended && outcome->is_scenario && outcome->passed == outcome->total;
    printf("%s: %u/%u%s%s\n", path, outcome->passed, outcome->total, !all && reason ? ", allowed: " : "",
           !all && reason ? reason : "");
    tally->file_count++;
    tally->failed_count += !all && !reason;
    tally->formats[outcome->format].files++;
    tally->formats[outcome->format].passed += outcome->passed;
    tally->formats[outcome->format].total += outcome->total;
}

static void run_apart(const char *path, struct tally *tally)
{
    int status = 0;
    *outcome = (struct outcome){0};
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setvbuf(stdout, NULL, _IOLBF, 0); /* what was said before it crashed is wanted */
        alarm(FILE_SECONDS_MAX);
        run_file(path, tally->rewrite);
        exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child) {
        perror("raft_scenarios");
        exit(2);
    }
    count_file(path, status, tally);
}

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
            bool text = ends_in_txt(entries[i]->d_name);
            snprintf(below, sizeof(below), "%s/%s", path, entries[i]->d_name);
            if (entries[i]->d_name[0] != '.' && (text || (stat(below, &status) == 0 && S_ISDIR(status.st_mode))))
                run_path(below, tally);
            free(entries[i]);
        }
        if (count >= 0)
            free(entries);
        return;
    }
    run_apart(path, tally);
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
    outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcome == MAP_FAILED) {
        perror("raft_scenarios");
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
    for (uint32_t i = 0; i < FORMAT_COUNT; i++) {
        if (tally.formats[i].files > 0)
            printf("total %s: %u/%u in %u files\n", formats[i].name, tally.formats[i].passed, tally.formats[i].total,
                   tally.formats[i].files);
    }
    printf("%u of %u files passed\n", tally.file_count - tally.failed_count, tally.file_count);
    return tally.failed_count > 0;
}
