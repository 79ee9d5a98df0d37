/* polder_queue: results that wait for a program with a poll loop (polder.h). A list behind a mutex and a descriptor
 * that is readable while the list is not empty. */
#include "base/check.h"
#include "client/polder.h"
#include "env/os.h"

#include <stdlib.h>

struct polder_ticket {
    struct polder_ticket *next; /* in the queue, once its operation has ended */
    struct polder_queue *queue;
    void *tag;
    struct polder_result *result;
};

struct polder_queue {
    struct os_mutex *mutex;
    int descriptor;
    struct polder_ticket *first, **last;
};

struct polder_queue *polder_queue_new(void)
{
    struct polder_queue *queue = calloc(1, sizeof *queue);
    CHECK(queue);
    if (os_notify_open(&queue->descriptor, NULL) != ERR_OK) {
        free(queue);
        return NULL;
    }
    queue->mutex = os_mutex_new();
    queue->last = &queue->first;
    return queue;
}

void polder_queue_free(struct polder_queue *queue)
{
    if (!queue)
        return;
    struct polder_completion completion;
    while (polder_queue_take(queue, &completion, 1) == 1)
        polder_result_free(completion.result);
    os_notify_close(queue->descriptor);
    os_mutex_free(queue->mutex);
    free(queue);
}

int polder_queue_fd(const struct polder_queue *queue)
{
    return queue->descriptor;
}

struct polder_ticket *polder_queue_ticket(struct polder_queue *queue, void *tag)
{
    struct polder_ticket *ticket = malloc(sizeof *ticket);
    CHECK(ticket);
    *ticket = (struct polder_ticket){.queue = queue, .tag = tag};
    return ticket;
}

void polder_ticket_free(struct polder_ticket *ticket)
{
    free(ticket);
}

void polder_queue_callback(void *user, struct polder_result *take_result)
{
    struct polder_ticket *ticket = user;
    struct polder_queue *queue = ticket->queue;
    ticket->result = take_result;
    os_mutex_lock(queue->mutex);
    bool was_empty = !queue->first;
    *queue->last = ticket;
    queue->last = &ticket->next;
    if (was_empty) /* inside the lock, so that the taker who empties it cannot clear a later set */
        os_notify_set(queue->descriptor);
    os_mutex_unlock(queue->mutex);
}

size_t polder_queue_take(struct polder_queue *queue, struct polder_completion *completions, size_t count_max)
{
    size_t count = 0;
    os_mutex_lock(queue->mutex);
    while (count < count_max && queue->first) {
        struct polder_ticket *ticket = queue->first;
        queue->first = ticket->next;
        completions[count++] = (struct polder_completion){.tag = ticket->tag, .result = ticket->result};
        free(ticket);
    }
    if (!queue->first && count > 0) {
        queue->last = &queue->first;
        os_notify_clear(queue->descriptor);
    }
    os_mutex_unlock(queue->mutex);
    return count;
}
