#include "env/os.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "env/os_private.h"

/* --- memory --- */

void os_memory_keep(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 2 * 1024 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 8 * 1024 * 1024); /* per arena of malloc: what of its end is free and stays */
}

void os_memory_share(void)
{
    (void)mallopt(M_ARENA_MAX, 2);
}

/* --- shared --- */

enum err os_failed(struct error *err, int number, const char *what, const char *subject)
{
    enum err code = ERR_IO;
    if (number == ENOENT)
        code = ERR_NOT_FOUND;
    else if (number == ENOSPC || number == EDQUOT)
        code = ERR_DISK_FULL;
    else if (number == ENOMEM)
        code = ERR_NO_MEMORY;
    else if (number == EEXIST)
        code = ERR_EXISTS;
    return error_set(err, code, "%s %s: %s", what, subject, strerror(number));
}

char *os_duplicate(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy);
    return copy;
}

uint64_t os_deadline_us(uint64_t timeout_ms)
{
    uint64_t now_us = os_monotonic_us();
    return timeout_ms > (UINT64_MAX - now_us) / 1000 ? UINT64_MAX : now_us + timeout_ms * 1000;
}

int os_poll_timeout(uint64_t deadline_us)
{
    uint64_t now_us = os_monotonic_us();
    uint64_t left_ms = deadline_us > now_us ? (deadline_us - now_us - 1) / 1000 + 1 : 0;
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

/* --- chance and time --- */

uint64_t os_random_u64(void)
{
    uint64_t value = 0;
    ssize_t size;
    do
        size = getrandom(&value, sizeof value, 0);
    while (size < 0 && errno == EINTR);
    CHECK(size == (ssize_t)sizeof value);
    return value;
}

uint64_t os_monotonic_us(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t os_wall_ms(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

void os_time_text(uint64_t wall_ms, char *text, size_t size)
{
    struct tm parts;
    time_t seconds = (time_t)(wall_ms / 1000);
    char date[32] = "?";
    if (gmtime_r(&seconds, &parts))
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text, size, "%s.%03uZ", date, (unsigned)(wall_ms % 1000));
}

void os_sleep_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

/* --- signals --- */

struct os_signals {
    int descriptor;
    sigset_t before;
};

enum err os_signals_open(struct os_signals **ret_signals, struct error *err)
{
    struct os_signals *signals = calloc(1, sizeof *signals);
    CHECK(signals);
    sigset_t wanted;
    sigemptyset(&wanted);
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&wanted, numbers[i]);
    CHECK(pthread_sigmask(SIG_BLOCK, &wanted, &signals->before) == 0);
    signal(SIGPIPE, SIG_IGN);
    signals->descriptor = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals->descriptor < 0) {
        enum err code = os_failed(err, errno, "open", "signalfd");
        pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
        free(signals);
        return code;
    }
    *ret_signals = signals;
    return ERR_OK;
}

void os_signals_close(struct os_signals *signals)
{
    if (!signals)
        return;
    close(signals->descriptor);
    pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
    free(signals);
}

enum os_signal os_signals_wait(struct os_signals *signals, uint64_t timeout_ms)
{
    uint64_t deadline_us = os_deadline_us(timeout_ms);
    for (;;) {
        struct signalfd_siginfo info;
        ssize_t size = read(signals->descriptor, &info, sizeof info);
        if (size == (ssize_t)sizeof info) {
            if (info.ssi_signo == SIGHUP)
                return OS_SIGNAL_HANGUP;
            return info.ssi_signo == SIGUSR1 ? OS_SIGNAL_USER : OS_SIGNAL_STOP;
        }
        int left_ms = os_poll_timeout(deadline_us);
        if (left_ms == 0)
            return OS_SIGNAL_NONE;
        struct pollfd wait = {.fd = signals->descriptor, .events = POLLIN};
        poll(&wait, 1, left_ms);
    }
}

/* --- the terminal and who we are --- */

bool os_is_terminal(int descriptor)
{
    return isatty(descriptor) == 1;
}

uint32_t os_terminal_width(void)
{
    enum { WIDTH_DEFAULT = 80 };
    struct winsize size;
    for (int descriptor = STDOUT_FILENO; descriptor <= STDERR_FILENO; descriptor++)
        if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
            return size.ws_col;
    return WIDTH_DEFAULT;
}

const char *os_environment(const char *name)
{
    return getenv(name);
}

const char *os_environment_at(size_t index)
{
    for (size_t i = 0; environ && environ[i]; i++)
        if (i == index)
            return environ[i];
    return NULL;
}

enum err os_hostname(char *name, size_t size, struct error *err)
{
    CHECK(size > 0);
    if (gethostname(name, size) != 0)
        return os_failed(err, errno, "read", "the host name");
    name[size - 1] = '\0';
    return ERR_OK;
}

enum err os_executable_path(char **ret_path, struct error *err)
{
    char path[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    if (size < 0)
        return os_failed(err, errno, "read", "/proc/self/exe");
    path[size] = '\0';
    *ret_path = os_duplicate(path);
    return ERR_OK;
}

uint32_t os_cpu_count(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 1;
}

uint64_t os_memory_size(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page_size = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size : 0;
}

/* --- ports --- */

/* A listening socket, or -1 with errno; `*ret_port` is the port it got. */
static int listen_at(const char *host, uint16_t port, uint16_t *ret_port)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *addresses = NULL;
    if (getaddrinfo(host, service, &hints, &addresses) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    int one = 1, number = 0;
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    int descriptor = socket(addresses->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* As a server does: a port whose old connections are in TIME_WAIT is free. */
    if (descriptor < 0 || setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(descriptor, addresses->ai_addr, addresses->ai_addrlen) != 0 || listen(descriptor, 1) != 0 ||
        getsockname(descriptor, (struct sockaddr *)&bound, &size) != 0)
        number = errno;
    freeaddrinfo(addresses);
    if (number != 0) {
        if (descriptor >= 0)
            close(descriptor);
        errno = number;
        return -1;
    }
    *ret_port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    return descriptor;
}

bool os_port_is_free(const char *host, uint16_t port)
{
    uint16_t bound = 0;
    int descriptor = listen_at(host, port, &bound);
    if (descriptor < 0)
        return false;
    close(descriptor);
    return true;
}

enum err os_port_find_free(const char *host, uint16_t *ret_port, struct error *err)
{
    int descriptor = listen_at(host, 0, ret_port);
    if (descriptor < 0)
        return os_failed(err, errno, "find a free port at", host);
    close(descriptor);
    return ERR_OK;
}
