#include "pd/id_alloc.h"

#include "base/check.h"

void id_alloc_init(struct id_alloc *alloc)
{
    *alloc = (struct id_alloc){0};
}

void id_alloc_check(const struct id_alloc *alloc)
{
    CHECK(alloc->next <= alloc->limit);
}

enum err id_alloc_take(struct id_alloc *alloc, uint32_t count, uint64_t *ret_first)
{
    if (count == 0 || count > ID_ALLOC_COUNT_MAX)
        return ERR_INVALID;
    if (alloc->limit - alloc->next < count)
        return ERR_NOT_READY;
    *ret_first = alloc->next;
    alloc->next += count;
    return ERR_OK;
}

bool id_alloc_wants_window(const struct id_alloc *alloc, uint32_t count, uint32_t *ret_count)
{
    if (alloc->pending_count > 0 || alloc->limit - alloc->next >= count)
        return false;
    *ret_count = count + ID_ALLOC_WINDOW_COUNT;
    return true;
}

void id_alloc_window_proposed(struct id_alloc *alloc, uint32_t count)
{
    CHECK(alloc->pending_count == 0);
    alloc->pending_count = count;
}

void id_alloc_window_applied(struct id_alloc *alloc, uint64_t first, uint32_t count)
{
    CHECK(first >= alloc->limit);
    alloc->pending_count = 0;
    /* Consecutive ids only: unless the windows touch, the rest of the old one is lost. */
    if (first != alloc->limit)
        alloc->next = first;
    alloc->limit = first + count;
}

void id_alloc_window_failed(struct id_alloc *alloc)
{
    alloc->pending_count = 0;
}
