/* list: intrusive doubly linked list; the links live in the elements, so nothing is allocated.
 *
 * Owner: whoever owns the head. An element is in at most one list per link. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *previous;
};

#define LIST_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))
#define LIST_FOR_EACH(link, head) for (struct list *link = (head)->next; link != (head); link = link->next)
/* `link` may be removed inside the loop. */
#define LIST_FOR_EACH_SAFE(link, following, head) \
    for (struct list *link = (head)->next, *following = link->next; link != (head); link = following, following = link->next)

static inline void list_init(struct list *head)
{
    head->next = head->previous = head;
}

static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}

static inline void list_push_back(struct list *head, struct list *link)
{
    link->previous = head->previous;
    link->next = head;
    head->previous->next = link;
    head->previous = link;
}

static inline void list_push_front(struct list *head, struct list *link)
{
    list_push_back(head->next, link);
}

/* Leaves `link` pointing at itself, so that removing twice does no harm. */
static inline void list_remove(struct list *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    list_init(link);
}

static inline struct list *list_pop_front(struct list *head)
{
    if (list_is_empty(head))
        return NULL;
    struct list *link = head->next;
    list_remove(link);
    return link;
}

#endif
