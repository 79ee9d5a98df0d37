#include "env/line_editor.h"

#include <stdio.h>
/* libedit's header wants it first */
#include <editline/readline.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

enum { HISTORY_MAX = 1000 };

static struct {
    char *path;
    line_complete complete;
    char *before;
    size_t next;
} editor; /* libedit has no place for a context */

static char *next_word(const char *start, int state)
{
    if (state == 0)
        editor.next = 0;
    const char *word = editor.complete(editor.before, start, editor.next++);
    return word ? strdup(word) : NULL;
}

static char **on_complete(const char *text, int start, int end)
{
    (void)end;
    free(editor.before);
    editor.before = strndup(rl_line_buffer, (size_t)start);
    CHECK(editor.before);
    rl_attempted_completion_over = 1; /* never file names */
    return rl_completion_matches(text, next_word);
}

void line_editor_open(const char *history_path, line_complete complete)
{
    editor.complete = complete;
    editor.path = history_path ? strdup(history_path) : NULL;
    rl_readline_name = "polder";
    rl_initialize();
    using_history();
    stifle_history(HISTORY_MAX);
    rl_attempted_completion_function = on_complete;
    if (editor.path)
        read_history(editor.path);
}

void line_editor_close(void)
{
    if (editor.path && write_history(editor.path) == 0)
        chmod(editor.path, 0600);
    free(editor.path);
    free(editor.before);
    editor.path = editor.before = NULL;
}

char *line_editor_read(const char *prompt)
{
    char *line = readline(prompt);
    if (line && line[strspn(line, " \t")])
        add_history(line);
    return line;
}
