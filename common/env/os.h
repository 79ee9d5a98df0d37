/* os: what a program needs from the machine besides the seams: files, processes, signals, terminal, ports.
 *
 * For the *_main.c files and for tools/: the actors of pd, storenode and client never call it (what they need is in
 * struct env). Everything that can fail says which path and why. Threads: any, unless a struct says otherwise. */
#ifndef ENV_OS_H
#define ENV_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"

/* --- chance and time --- */
uint64_t os_random_u64(void); /* from the kernel; for seeds and ids */
uint64_t os_monotonic_us(void);
uint64_t os_wall_ms(void);
void os_time_text(uint64_t wall_ms, char *text, size_t size); /* 2026-03-01T10:20:30.123Z */
void os_sleep_ms(uint64_t ms);

/* --- memory --- */
/* For a server, before its threads: memory of a few MiB that is freed stays with the process, because it is wanted again
 * at once (chunks of snapshots, rounds of requests), and each page that comes from the kernel costs as much as copying
 * it twice. */
void os_memory_keep(void);
/* For a server whose memory is mostly one actor's, before its threads: few pools of malloc, so that what is free in one of
 * them serves the others. */
void os_memory_share(void);

/* --- files --- */
/* Appends the content to `content`; more than fits there is ERR_ENTRY_TOO_LARGE. ERR_NOT_FOUND when there is none. */
enum err os_file_read(const char *path, struct buf *content, struct error *err);
/* After it returns ERR_OK the file has this content, whatever happens to the machine; otherwise it has the old one. */
enum err os_file_write(const char *path, struct bytes content, struct error *err);
enum err os_file_append(const char *path, struct bytes content, struct error *err); /* one write(2), not synced */
enum err os_file_rename(const char *from, const char *to, struct error *err);
enum err os_dir_make(const char *path, struct error *err); /* with its parents; fine when it is there already */
/* Removes a file or a whole directory; never follows a symbolic link; fine when there is none. */
enum err os_remove_tree(const char *path, struct error *err);
/* Calls `visit` for each name in order of bytes, without . and .. */
enum err os_dir_list(const char *path, void (*visit)(void *context, const char *name), void *context,
                     struct error *err);
bool os_exists(const char *path);
bool os_is_dir(const char *path);
bool os_is_writable_dir(const char *path);
enum err os_dir_size(const char *path, uint64_t *ret_size, struct error *err); /* bytes taken by all files below */
/* The size is what could be used: what is, and what is free. Blocks that nobody may have are in neither, or a disk could seem full. */
enum err os_disk_space(const char *path, uint64_t *ret_size, uint64_t *ret_free_size, struct error *err);
/* The absolute path without links of a thing that exists; owned by the caller (free). */
enum err os_path_absolute(const char *path, char **ret_path, struct error *err);
/* `directory/name` (free). */
char *os_path_join(const char *directory, const char *name);

/* One process at a time: an advisory lock on directory/LOCK.polder, which goes when the process does, however it ends.
 * ERR_LOCKED names the directory and the pid that holds it. */
struct os_lock;
enum err os_lock_dir(const char *directory, struct os_lock **ret_lock, struct error *err);
/* For who only reads: any number at a time, none beside an owner, and nothing is written. ERR_NOT_FOUND: nobody ever
 * locked this directory. */
enum err os_lock_dir_shared(const char *directory, struct os_lock **ret_lock, struct error *err);
void os_unlock(struct os_lock *lock); /* NULL is fine */

/* --- reading lines --- */
/* Lines of a file, or of standard input for "-". A line may hold any byte but newline; the last one may lack it.
 * Owner: one thread. */
struct os_lines;
enum err os_lines_open(const char *path, size_t line_size_max, struct os_lines **ret_lines, struct error *err);
void os_lines_close(struct os_lines *lines); /* NULL is fine */
/* ERR_OK and a line (lent until the next call), ERR_NOT_FOUND at the end (no text), ERR_ENTRY_TOO_LARGE (the line is
 * skipped: the next call goes on behind it), ERR_IO. */
enum err os_lines_next(struct os_lines *lines, struct bytes *ret_line, struct error *err);
uint64_t os_lines_number(const struct os_lines *lines);   /* of the line returned last, from 1 */
uint64_t os_lines_position(const struct os_lines *lines); /* bytes read so far, newlines included: where to go on */
uint64_t os_lines_size(const struct os_lines *lines);     /* of the file; 0: not known (a pipe) */
/* Goes on at a position from os_lines_position; reads and drops when the input cannot seek. Line numbers then count
 * from there. */
enum err os_lines_skip(struct os_lines *lines, uint64_t position, struct error *err);

/* --- processes --- */
/* A pid together with the time it was started at: a pid that was given to somebody else is never taken for it. */
struct os_process {
    int32_t pid;
    uint64_t start_time; /* clock ticks since boot, from /proc; 0: any */
};
struct os_spawn_options {
    const char *const *argv; /* ends with NULL; argv[0] is a path, or looked up in PATH when it has no slash */
    const char *log_path;    /* standard output and error are appended to it; NULL: inherited */
    bool detach;             /* a session of its own: no terminal, not hit by Ctrl-C there */
    bool die_with_parent;    /* SIGKILL when the thread that spawned it ends (so spawn from the main thread) */
};
/* Standard input is /dev/null; descriptors are not inherited; signal dispositions and mask are reset. The program that
 * cannot be executed is an error here, not an exit code there. */
enum err os_spawn(const struct os_spawn_options *options, struct os_process *ret_process, struct error *err);
struct os_process os_process_self(void);
/* Zombies are dead. */
bool os_process_is_alive(struct os_process process);
enum os_kill { OS_KILL_TERMINATE, OS_KILL_NOW, OS_KILL_PAUSE, OS_KILL_RESUME };
/* ERR_NOT_FOUND: it is gone (also when the pid is somebody else's by now). */
enum err os_process_kill(struct os_process process, enum os_kill how, struct error *err);
/* Waits until it is gone, child of ours or not; reaps it if it is a child. ERR_TIMEOUT. `*ret_exit` (may be NULL): the
 * exit code, 128 + signal, or -1 when it was not our child. */
enum err os_process_wait(struct os_process process, uint64_t timeout_ms, int *ret_exit, struct error *err);
uint64_t os_process_memory(int32_t pid); /* resident bytes; 0: gone */
uint64_t os_process_cpu_ms(int32_t pid); /* user and system time; 0: gone */
uint32_t os_cpu_count(void);
uint64_t os_memory_size(void);

/* --- signals --- */
/* Call it first in main, before any thread starts: it blocks INT, TERM, HUP and USR1 for all threads and ignores PIPE.
 */
struct os_signals;
enum os_signal { OS_SIGNAL_NONE, OS_SIGNAL_STOP, OS_SIGNAL_HANGUP, OS_SIGNAL_USER };
enum err os_signals_open(struct os_signals **ret_signals, struct error *err);
void os_signals_close(struct os_signals *signals); /* unblocks them again; NULL is fine */
/* The next signal, OS_SIGNAL_NONE after `timeout_ms`; 0 only looks. INT and TERM are both STOP. */
enum os_signal os_signals_wait(struct os_signals *signals, uint64_t timeout_ms);

/* --- the terminal and who we are --- */
bool os_is_terminal(int descriptor);          /* 0, 1 or 2 */
uint32_t os_terminal_width(void);             /* of standard output or error; 80 when there is none */
const char *os_environment(const char *name); /* NULL: not set */
const char *os_environment_at(size_t index);  /* "NAME=value"; NULL at the end */
enum err os_hostname(char *name, size_t size, struct error *err);
enum err os_executable_path(char **ret_path, struct error *err); /* of this program; free it */

/* --- ports --- */
bool os_port_is_free(const char *host, uint16_t port);                               /* for listening, TCP */
enum err os_port_find_free(const char *host, uint16_t *ret_port, struct error *err); /* nobody keeps it for you */

/* --- threads, for what is not an actor: a caller that waits, a load generator --- */
/* A gate that opens once per set: `wait` returns true when it was set, and closes it again. */
struct os_event;
struct os_event *os_event_new(void);
void os_event_free(struct os_event *event); /* NULL is fine; nobody may wait */
void os_event_set(struct os_event *event);  /* the waiter may free the event as soon as it is awake */
bool os_event_wait(struct os_event *event, uint64_t timeout_us); /* UINT64_MAX: for ever */
struct os_mutex;
struct os_mutex *os_mutex_new(void);
void os_mutex_free(struct os_mutex *mutex);
void os_mutex_lock(struct os_mutex *mutex);
void os_mutex_unlock(struct os_mutex *mutex);
struct os_thread;
enum err os_thread_start(const char *name, void (*run)(void *context), void *context, struct os_thread **ret_thread,
                         struct error *err);
void os_thread_join(struct os_thread *take_thread);
/* A counter in a descriptor that becomes readable (eventfd): what a program puts into its own poll loop. */
enum err os_notify_open(int *ret_descriptor, struct error *err);
void os_notify_set(int descriptor);
void os_notify_clear(int descriptor);
void os_notify_close(int descriptor);

#endif
