#include "env/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "env/os_private.h"

struct process_stat {
    char state;
    uint64_t cpu_ticks;
    uint64_t start_time;
};

/* /proc/PID/stat: `pid (name) state ...`, and the name may hold anything, parentheses too: fields count from the last.
 */
static bool read_stat(int32_t pid, struct process_stat *ret_stat)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    ssize_t size = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (size <= 0)
        return false;
    text[size] = '\0';
    char *at = strrchr(text, ')');
    if (!at)
        return false;
    unsigned long long user = 0, kernel = 0, start = 0;
    long threads = 0;
    if (sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %ld %*d %llu",
               &ret_stat->state, &user, &kernel, &threads, &start) != 5)
        return false;
    /* The main thread is a zombie at once, but as long as another one is on its way out of an fsync, say, the process
     * still has its files, locks and ports. */
    if (ret_stat->state == 'Z' && threads > 1)
        ret_stat->state = 'R';
    ret_stat->cpu_ticks = user + kernel;
    ret_stat->start_time = start;
    return true;
}

struct os_process os_process_self(void)
{
    struct process_stat stat;
    int32_t pid = (int32_t)getpid();
    return (struct os_process){.pid = pid, .start_time = read_stat(pid, &stat) ? stat.start_time : 0};
}

/* Still in the process table, perhaps as a zombie. */
static bool is_there(struct os_process process, struct process_stat *ret_stat)
{
    return process.pid > 0 && read_stat(process.pid, ret_stat) &&
           (process.start_time == 0 || process.start_time == ret_stat->start_time);
}

bool os_process_is_alive(struct os_process process)
{
    struct process_stat stat;
    return is_there(process, &stat) && stat.state != 'Z' && stat.state != 'X';
}

uint64_t os_process_memory(int32_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    unsigned long long pages = 0;
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t os_process_cpu_ms(int32_t pid)
{
    struct process_stat stat;
    return read_stat(pid, &stat) ? stat.cpu_ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK) : 0;
}

/* --- spawn --- */

/* In the child, between fork and exec: async-signal-safe calls only. */
_Noreturn static void become(const struct os_spawn_options *options, int log_descriptor, int failure, pid_t parent)
{
    if (options->detach)
        setsid();
    if (options->die_with_parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) /* it died before we could ask */
            _exit(127);
    }
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* fails for those that have none */
    sigprocmask(SIG_SETMASK, &none, NULL);
    int input = open("/dev/null", O_RDONLY);
    bool is_ready = input >= 0 && (input == STDIN_FILENO || dup2(input, STDIN_FILENO) >= 0);
    if (log_descriptor >= 0)
        is_ready = is_ready && dup2(log_descriptor, STDOUT_FILENO) >= 0 && dup2(log_descriptor, STDERR_FILENO) >= 0;
    if (is_ready) {
        syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
        execvp(options->argv[0], (char *const *)(uintptr_t)options->argv);
    }
    int number = errno;
    while (write(failure, &number, sizeof number) < 0 && errno == EINTR)
        ;
    _exit(127);
}

/* Returns 0 when the child runs its program, or the errno of the exec. */
static int wait_for_exec(int descriptor)
{
    int number = 0;
    ssize_t size;
    do
        size = read(descriptor, &number, sizeof number);
    while (size < 0 && errno == EINTR);
    return size == (ssize_t)sizeof number ? number : 0;
}

static enum err spawn(const struct os_spawn_options *options, int log_descriptor, struct os_process *ret_process,
                      struct error *err)
{
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return os_failed(err, errno, "start", options->argv[0]);
    pid_t parent = getpid();
    /* No signal may reach the child while it still has our handlers. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    int number = errno;
    if (pid == 0)
        become(options, log_descriptor, pipes[1], parent);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(pipes[1]);
    if (pid > 0) {
        number = wait_for_exec(pipes[0]);
        if (number != 0)
            waitpid(pid, NULL, 0);
    }
    close(pipes[0]);
    if (number != 0 && pid != 0)
        return os_failed(err, number, "start", options->argv[0]);
    struct process_stat stat;
    *ret_process = (struct os_process){.pid = (int32_t)pid, .start_time = read_stat(pid, &stat) ? stat.start_time : 0};
    return ERR_OK;
}

enum err os_spawn(const struct os_spawn_options *options, struct os_process *ret_process, struct error *err)
{
    CHECK(options->argv && options->argv[0]);
    int log_descriptor = -1;
    if (options->log_path) {
        log_descriptor = open(options->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (log_descriptor < 0)
            return os_failed(err, errno, "open", options->log_path);
    }
    enum err code = spawn(options, log_descriptor, ret_process, err);
    if (log_descriptor >= 0)
        close(log_descriptor);
    return code;
}

/* --- kill and wait --- */

static int number_of(enum os_kill how)
{
    static const int numbers[] = {SIGTERM, SIGKILL, SIGSTOP, SIGCONT};
    CHECK((size_t)how < sizeof numbers / sizeof numbers[0]);
    return numbers[how];
}

enum err os_process_kill(struct os_process process, enum os_kill how, struct error *err)
{
    char name[32];
    snprintf(name, sizeof name, "process %d", (int)process.pid);
    if (process.pid <= 1)
        return error_set(err, ERR_NOT_FOUND, "stop %s: no such process", name);
    /* The descriptor keeps meaning the same process, so nobody can take the pid between the check and the signal. */
    int descriptor = (int)syscall(SYS_pidfd_open, process.pid, 0);
    if (descriptor < 0 && errno != ENOSYS && errno != EPERM)
        return error_set(err, ERR_NOT_FOUND, "stop %s: it is gone", name);
    enum err code = ERR_OK;
    struct process_stat stat;
    if (!is_there(process, &stat) || stat.state == 'Z' || stat.state == 'X') {
        code = error_set(err, ERR_NOT_FOUND, "stop %s: it is gone", name);
    } else {
        long result = descriptor >= 0 ? syscall(SYS_pidfd_send_signal, descriptor, number_of(how), NULL, 0)
                                      : kill(process.pid, number_of(how));
        if (result != 0)
            code = errno == ESRCH ? error_set(err, ERR_NOT_FOUND, "stop %s: it is gone", name)
                                  : os_failed(err, errno, "stop", name);
    }
    if (descriptor >= 0)
        close(descriptor);
    return code;
}

static int exit_code_of(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

enum err os_process_wait(struct os_process process, uint64_t timeout_ms, int *ret_exit, struct error *err)
{
    enum { PAUSE_MS_MAX = 20 };
    uint64_t deadline_us = os_deadline_us(timeout_ms);
    uint64_t pause_ms = 1;
    for (;;) {
        struct process_stat stat;
        int status = 0;
        /* A dead child keeps its entry until it is reaped, so what waitpid reaps here is the one that was checked. */
        bool was_there = is_there(process, &stat);
        pid_t reaped = was_there ? waitpid(process.pid, &status, WNOHANG) : -1;
        bool is_dead = !was_there || ((stat.state == 'Z' || stat.state == 'X') && reaped < 0);
        if (is_dead || reaped == process.pid) {
            if (ret_exit)
                *ret_exit = reaped == process.pid ? exit_code_of(status) : -1;
            return ERR_OK;
        }
        if (os_monotonic_us() >= deadline_us)
            return error_set(err, ERR_TIMEOUT, "process %d did not end within %llu ms", (int)process.pid,
                             (unsigned long long)timeout_ms);
        os_sleep_ms(pause_ms);
        pause_ms = pause_ms < PAUSE_MS_MAX ? pause_ms * 2 : PAUSE_MS_MAX;
    }
}
