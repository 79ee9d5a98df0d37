#include "env/os.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "env/os_private.h"

struct os_event {
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    bool is_set;
};

struct os_event *os_event_new(void)
{
    struct os_event *event = calloc(1, sizeof *event);
    CHECK(event);
    pthread_condattr_t attributes;
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&event->wake, &attributes) == 0);
    CHECK(pthread_mutex_init(&event->mutex, NULL) == 0);
    pthread_condattr_destroy(&attributes);
    return event;
}

void os_event_free(struct os_event *event)
{
    if (!event)
        return;
    pthread_cond_destroy(&event->wake);
    pthread_mutex_destroy(&event->mutex);
    free(event);
}

void os_event_set(struct os_event *event)
{
    pthread_mutex_lock(&event->mutex);
    event->is_set = true;
    pthread_cond_signal(&event->wake); /* inside the lock: outside of it the event may be gone already */
    pthread_mutex_unlock(&event->mutex);
}

bool os_event_wait(struct os_event *event, uint64_t timeout_us)
{
    uint64_t now_us = os_monotonic_us();
    uint64_t until_us = timeout_us > INT64_MAX - now_us ? INT64_MAX : now_us + timeout_us;
    struct timespec until = {.tv_sec = (time_t)(until_us / 1000000u), .tv_nsec = (long)(until_us % 1000000u) * 1000};
    pthread_mutex_lock(&event->mutex);
    int result = 0;
    while (!event->is_set && result == 0)
        result = timeout_us == UINT64_MAX ? pthread_cond_wait(&event->wake, &event->mutex)
                                          : pthread_cond_timedwait(&event->wake, &event->mutex, &until);
    bool was_set = event->is_set;
    event->is_set = false;
    pthread_mutex_unlock(&event->mutex);
    return was_set;
}

struct os_mutex {
    pthread_mutex_t mutex;
};

struct os_mutex *os_mutex_new(void)
{
    struct os_mutex *mutex = malloc(sizeof *mutex);
    CHECK(mutex);
    CHECK(pthread_mutex_init(&mutex->mutex, NULL) == 0);
    return mutex;
}

void os_mutex_free(struct os_mutex *mutex)
{
    if (!mutex)
        return;
    pthread_mutex_destroy(&mutex->mutex);
    free(mutex);
}

void os_mutex_lock(struct os_mutex *mutex)
{
    CHECK(pthread_mutex_lock(&mutex->mutex) == 0);
}

void os_mutex_unlock(struct os_mutex *mutex)
{
    CHECK(pthread_mutex_unlock(&mutex->mutex) == 0);
}

struct os_thread {
    pthread_t thread;
    void (*run)(void *context);
    void *context;
};

static void *thread_run(void *argument)
{
    struct os_thread *thread = argument;
    thread->run(thread->context);
    return NULL;
}

enum err os_thread_start(const char *name, void (*run)(void *context), void *context, struct os_thread **ret_thread,
                         struct error *err)
{
    struct os_thread *thread = calloc(1, sizeof *thread);
    CHECK(thread);
    thread->run = run;
    thread->context = context;
    sigset_t all, before; /* signals belong to main */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int number = pthread_create(&thread->thread, NULL, thread_run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (number != 0) {
        free(thread);
        return os_failed(err, number, "start thread", name);
    }
    char short_name[16];
    snprintf(short_name, sizeof short_name, "%.15s", name);
    pthread_setname_np(thread->thread, short_name);
    *ret_thread = thread;
    return ERR_OK;
}

void os_thread_join(struct os_thread *take_thread)
{
    CHECK(pthread_join(take_thread->thread, NULL) == 0);
    free(take_thread);
}

/* --- eventfd --- */

enum err os_notify_open(int *ret_descriptor, struct error *err)
{
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0)
        return os_failed(err, errno, "open", "eventfd");
    *ret_descriptor = descriptor;
    return ERR_OK;
}

void os_notify_set(int descriptor)
{
    uint64_t one = 1;
    ssize_t size;
    do
        size = write(descriptor, &one, sizeof one);
    while (size < 0 && errno == EINTR); /* EAGAIN: the counter is full, so it is readable anyway */
}

void os_notify_clear(int descriptor)
{
    uint64_t count;
    ssize_t size;
    do
        size = read(descriptor, &count, sizeof count);
    while (size < 0 && errno == EINTR);
}

void os_notify_close(int descriptor)
{
    close(descriptor);
}
