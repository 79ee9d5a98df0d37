#include "config/nearest.h"

#include <stdint.h>
#include <string.h>

enum { WORD_SIZE_MAX = 64 };

static int fold(char c)
{
    if (c == '_')
        return '-';
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b)
{
    size_t a_size = strlen(a), b_size = strlen(b);
    if (a_size > WORD_SIZE_MAX || b_size > WORD_SIZE_MAX)
        return SIZE_MAX;
    size_t rows[3][WORD_SIZE_MAX + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_size; j++)
        above[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t same = fold(a[i - 1]) == fold(b[j - 1]);
            row[j] = min2(min2(row[j - 1], above[j]) + 1, above[j - 1] + !same);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                row[j] = min2(row[j], before[j - 2] + 1);
        }
        size_t *reused = before;
        before = above;
        above = row;
        row = reused;
    }
    return above[b_size];
}

void nearest_init(struct nearest *nearest, const char *word)
{
    /* A third of the word may be wrong, and two letters of a short one. */
    size_t limit = strlen(word) / 3;
    *nearest = (struct nearest){.word = word, .best = NULL, .distance = (limit > 2 ? limit : 2) + 1};
    if (strlen(word) <= 2)
        nearest->distance = 2;
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
    size_t distance = nearest_distance(nearest->word, candidate);
    if (distance >= nearest->distance)
        return;
    nearest->distance = distance;
    nearest->best = candidate;
}
