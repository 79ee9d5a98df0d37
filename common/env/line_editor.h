/* line_editor: lines that somebody types, with history and completion. libedit's; one per process. */
#ifndef ENV_LINE_EDITOR_H
#define ENV_LINE_EDITOR_H

#include <stdbool.h>
#include <stddef.h>

/* The n-th word that may follow `before` (the line up to the word that is being typed) and begins with `start`; NULL: no
 * more. */
typedef const char *(*line_complete)(const char *before, const char *start, size_t n);

/* `history_path`: read now, written at the end; NULL: none is kept. */
void line_editor_open(const char *history_path, line_complete complete);
void line_editor_close(void);
/* Without its newline, to be freed; NULL: the end. What is not empty goes into the history. */
char *line_editor_read(const char *prompt);

#endif
