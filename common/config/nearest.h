/* nearest: which of the known words did somebody mean? */
#ifndef CONFIG_NEAREST_H
#define CONFIG_NEAREST_H

#include <stddef.h>

struct nearest {
    const char *word; /* borrowed */
    const char *best; /* borrowed; NULL: nothing is near enough to be worth saying */
    size_t distance;
};

/* Offer candidates one after the other; of equals the first one wins. */
void nearest_init(struct nearest *nearest, const char *word);
void nearest_offer(struct nearest *nearest, const char *candidate);

/* Insertions, deletions, replacements and swaps of neighbours; case and `_` for `-` count nothing. Words over 64
 * characters are far from everything. */
size_t nearest_distance(const char *a, const char *b);

#endif
