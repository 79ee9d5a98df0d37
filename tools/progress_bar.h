/* progress_bar: how far long work is: a bar that moves on a terminal, a line now and then elsewhere. On standard error.
 */
#ifndef TOOLS_PROGRESS_BAR_H
#define TOOLS_PROGRESS_BAR_H

#include <stdbool.h>
#include <stdint.h>

struct progress_bar {
    const char *what; /* borrowed; "load" */
    const char *unit; /* borrowed; "rows" */
    bool is_terminal;
    uint64_t started_us, printed_us;
    uint64_t count_at_start;
};

void progress_bar_init(struct progress_bar *progress, const char *what, const char *unit, uint64_t count_at_start);
/* `total` 0: not known. Prints only when it is time; call it often. */
void progress_bar_update(struct progress_bar *progress, uint64_t count, uint64_t done, uint64_t total);
void progress_bar_end(struct progress_bar *progress); /* wipes the bar */
uint64_t progress_bar_ms(const struct progress_bar *progress);

#endif
