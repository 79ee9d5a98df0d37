#include "progress_bar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "env/os.h"

enum { TERMINAL_INTERVAL_US = 200 * 1000, LINE_INTERVAL_US = 5 * 1000 * 1000, BAR_SIZE = 30 };

void progress_bar_init(struct progress_bar *progress, const char *what, const char *unit, uint64_t count_at_start)
{
    *progress = (struct progress_bar){
        .what = what, .unit = unit, .is_terminal = os_is_terminal(2), .count_at_start = count_at_start};
    progress->started_us = progress->printed_us = os_monotonic_us();
}

uint64_t progress_bar_ms(const struct progress_bar *progress)
{
    return (os_monotonic_us() - progress->started_us) / 1000;
}

void progress_bar_update(struct progress_bar *progress, uint64_t count, uint64_t done, uint64_t total)
{
    uint64_t now_us = os_monotonic_us();
    if (now_us - progress->printed_us < (progress->is_terminal ? TERMINAL_INTERVAL_US : LINE_INTERVAL_US))
        return;
    progress->printed_us = now_us;
    uint64_t rate = (count - progress->count_at_start) * 1000000 / (now_us - progress->started_us + 1);
    if (done > total)
        done = total;
    char share[16] = "";
    if (total)
        snprintf(share, sizeof share, "%3u %%  ", (unsigned)(done * 100 / total));
    if (!progress->is_terminal) {
        fprintf(stderr, "%s: %s%" PRIu64 " %s, %" PRIu64 "/s\n", progress->what, share, count, progress->unit, rate);
        return;
    }
    char bar[BAR_SIZE + 1];
    uint64_t filled = total ? done * BAR_SIZE / total : 0;
    for (uint64_t i = 0; i < BAR_SIZE; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR_SIZE] = '\0';
    fprintf(stderr, "\r%s [%s] %s%" PRIu64 " %s, %" PRIu64 "/s\033[K", progress->what, bar, share, count,
            progress->unit, rate);
    fflush(stderr);
}

void progress_bar_end(struct progress_bar *progress)
{
    if (progress->is_terminal)
        fprintf(stderr, "\r\033[K");
    fflush(stderr);
}
