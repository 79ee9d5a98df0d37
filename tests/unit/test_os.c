/* Files, processes, signals, lines, logs: the parts where a mistake costs data or kills the wrong process. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "env/log_os.h"
#include "env/os.h"

static char directory[64];
static char path_text[256];

static const char *in_directory(const char *name)
{
    snprintf(path_text, sizeof path_text, "%s/%s", directory, name);
    return path_text;
}

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/polder-test-os-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return os_remove_tree(directory, NULL) == ERR_OK && !os_exists(directory) ? 0 : -1;
}

static struct bytes text(const char *content)
{
    return bytes_of_string(content);
}

static void assert_file_is(const char *path, const char *content)
{
    struct buf buf;
    struct error err = {.text = ""};
    buf_init(&buf, 1 << 20);
    if (os_file_read(path, &buf, &err) != ERR_OK)
        fail_msg("%s", err.text);
    if (!bytes_equal(buf_bytes(&buf), text(content)))
        fail_msg("%s: %.*s", path, (int)buf.size, (const char *)buf.data);
    buf_fini(&buf);
}

static int count_names(const char *path)
{
    char command[300];
    snprintf(command, sizeof command, "exit $(ls -A %s | wc -l)", path);
    int status = system(command);
    return WEXITSTATUS(status);
}

/* --- files --- */

static void a_file_is_replaced_whole_and_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(os_file_write(in_directory("f"), text("first content"), NULL), ERR_OK);
    assert_int_equal(os_file_write(in_directory("f"), text("second"), NULL), ERR_OK);
    assert_file_is(in_directory("f"), "second");
    assert_int_equal(os_file_append(in_directory("f"), text(" and more"), NULL), ERR_OK);
    assert_file_is(in_directory("f"), "second and more");
    assert_int_equal(count_names(directory), 1);
    struct error err;
    assert_int_equal(os_file_write(in_directory("none/f"), text("x"), &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, in_directory("none/f")));
    assert_int_equal(os_dir_make(in_directory("d"), NULL), ERR_OK);
    assert_int_equal(os_file_write(in_directory("d"), text("x"), &err), ERR_IO); /* a directory is in the way */
    assert_int_equal(count_names(directory), 2);
}

static void reading_respects_its_limit_and_names_what_is_missing(void **state)
{
    (void)state;
    struct error err;
    struct buf buf;
    buf_init(&buf, 10);
    assert_int_equal(os_file_write(in_directory("f"), text("0123456789"), NULL), ERR_OK);
    assert_int_equal(os_file_read(in_directory("f"), &buf, &err), ERR_OK);
    assert_int_equal(buf.size, 10);
    assert_int_equal(os_file_read(in_directory("f"), &buf, &err), ERR_ENTRY_TOO_LARGE);
    assert_int_equal(buf.size, 10);
    assert_int_equal(os_file_read(in_directory("none"), &buf, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, in_directory("none")));
    assert_int_equal(os_file_read(directory, &buf, &err), ERR_IO);
    buf_fini(&buf);
}

static void make_directories_with_parents_and_refuse_a_file_in_the_way(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(os_dir_make(in_directory("a/b/c/"), &err), ERR_OK);
    assert_int_equal(os_dir_make(in_directory("a/b/c"), &err), ERR_OK);
    assert_true(os_is_dir(in_directory("a/b/c")) && os_is_writable_dir(in_directory("a/b/c")));
    assert_int_equal(os_file_write(in_directory("a/f"), text("x"), NULL), ERR_OK);
    assert_int_equal(os_dir_make(in_directory("a/f"), &err), ERR_IO);
    assert_int_equal(os_dir_make(in_directory("a/f/g"), &err), ERR_IO);
    assert_non_null(strstr(err.text, in_directory("a/f")));
}

static void removing_a_tree_never_follows_a_link(void **state)
{
    (void)state;
    assert_int_equal(os_dir_make(in_directory("keep"), NULL), ERR_OK);
    assert_int_equal(os_file_write(in_directory("keep/f"), text("precious"), NULL), ERR_OK);
    assert_int_equal(os_dir_make(in_directory("tree/deep/er"), NULL), ERR_OK);
    assert_int_equal(os_file_write(in_directory("tree/deep/er/f"), text("x"), NULL), ERR_OK);
    char target[256];
    snprintf(target, sizeof target, "%s", in_directory("keep"));
    assert_int_equal(symlink(target, in_directory("tree/deep/link")), 0);
    uint64_t size = 0;
    assert_int_equal(os_dir_size(in_directory("tree"), &size, NULL), ERR_OK);
    assert_true(size >= 4096 && size < 1 << 20);
    assert_int_equal(os_remove_tree(in_directory("tree"), NULL), ERR_OK);
    assert_false(os_exists(in_directory("tree")));
    assert_file_is(in_directory("keep/f"), "precious");
    assert_int_equal(symlink(target, in_directory("link")), 0);
    assert_int_equal(os_remove_tree(in_directory("link"), NULL), ERR_OK);
    assert_file_is(in_directory("keep/f"), "precious");
    assert_int_equal(os_remove_tree(in_directory("tree"), NULL), ERR_OK); /* there is none */
}

static void add_name(void *context, const char *name)
{
    strcat(context, name);
    strcat(context, " ");
}

static void names_come_sorted(void **state)
{
    (void)state;
    static const char *const names[] = {"b", "a", ".hidden", "c10", "c9"};
    for (int i = 0; i < 5; i++)
        assert_int_equal(os_file_write(in_directory(names[i]), text(""), NULL), ERR_OK);
    char seen[256] = "";
    assert_int_equal(os_dir_list(directory, add_name, seen, NULL), ERR_OK);
    assert_string_equal(seen, ".hidden a b c10 c9 ");
    struct error err;
    assert_int_equal(os_dir_list(in_directory("none"), add_name, seen, &err), ERR_NOT_FOUND);
}

static void a_locked_directory_is_refused_until_its_holder_is_gone(void **state)
{
    (void)state;
    struct os_lock *lock = NULL, *second = NULL;
    struct error err;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        if (os_lock_dir(directory, &lock, NULL) != ERR_OK)
            _exit(1);
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(0);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(os_lock_dir(directory, &second, &err), ERR_LOCKED);
    char pid[32];
    snprintf(pid, sizeof pid, "pid %d", (int)child);
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.text, directory));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(os_lock_dir(directory, &second, &err), ERR_OK);
    assert_int_equal(os_lock_dir(directory, &lock, &err), ERR_LOCKED); /* in one process as well */
    os_unlock(second);
    assert_int_equal(os_lock_dir(directory, &lock, &err), ERR_OK);
    os_unlock(lock);
    assert_int_equal(os_lock_dir(in_directory("none"), &lock, &err), ERR_NOT_FOUND);
    assert_int_equal(os_lock_dir_shared(in_directory("none"), &lock, &err), ERR_NOT_FOUND);
    /* Readers share it, and the owner that died (its pid is still in the file) is not blamed for them. */
    assert_int_equal(os_lock_dir_shared(directory, &lock, &err), ERR_OK);
    assert_int_equal(os_lock_dir_shared(directory, &second, &err), ERR_OK);
    os_unlock(second);
    assert_int_equal(os_lock_dir(directory, &second, &err), ERR_LOCKED);
    os_unlock(lock);
    assert_int_equal(os_lock_dir(directory, &lock, &err), ERR_OK);
    assert_int_equal(os_lock_dir_shared(directory, &second, &err), ERR_LOCKED);
    os_unlock(lock);
    close(ready[0]);
    close(ready[1]);
}

/* --- lines --- */

static void lines_may_hold_any_byte_and_go_on_from_a_position(void **state)
{
    (void)state;
    static const char content[] = "one\n\n\0two\xff\nlast without newline";
    assert_int_equal(os_file_write(in_directory("f"), bytes_of(content, sizeof content - 1), NULL), ERR_OK);
    struct os_lines *lines = NULL;
    struct bytes line;
    assert_int_equal(os_lines_open(in_directory("f"), 100, &lines, NULL), ERR_OK);
    assert_int_equal(os_lines_size(lines), sizeof content - 1);
    assert_int_equal(os_lines_next(lines, &line, NULL), ERR_OK);
    assert_true(bytes_equal(line, text("one")));
    uint64_t position = os_lines_position(lines);
    assert_int_equal(position, 4);
    assert_int_equal(os_lines_next(lines, &line, NULL), ERR_OK);
    assert_int_equal(line.size, 0);
    assert_int_equal(os_lines_next(lines, &line, NULL), ERR_OK);
    assert_true(bytes_equal(line, bytes_of("\0two\xff", 5)));
    assert_int_equal(os_lines_number(lines), 3);
    assert_int_equal(os_lines_next(lines, &line, NULL), ERR_OK);
    assert_true(bytes_equal(line, text("last without newline")));
    assert_int_equal(os_lines_position(lines), sizeof content - 1);
    assert_int_equal(os_lines_next(lines, &line, NULL), ERR_NOT_FOUND);
    assert_int_equal(os_lines_next(lines, &line, NULL), ERR_NOT_FOUND);
    struct error err;
    assert_int_equal(os_lines_skip(lines, 1, &err), ERR_INVALID);
    os_lines_close(lines);
    assert_int_equal(os_lines_open(in_directory("f"), 100, &lines, NULL), ERR_OK);
    assert_int_equal(os_lines_skip(lines, position + 1, NULL), ERR_OK);
    assert_int_equal(os_lines_next(lines, &line, NULL), ERR_OK);
    assert_true(bytes_equal(line, bytes_of("\0two\xff", 5)));
    os_lines_close(lines);
    assert_int_equal(os_lines_open(directory, 100, &lines, &err), ERR_IO);
    assert_int_equal(os_lines_open(in_directory("none"), 100, &lines, &err), ERR_NOT_FOUND);
}

static void a_line_that_is_too_long_is_skipped_and_counted(void **state)
{
    (void)state;
    size_t size = 300000;
    char *content = malloc(size);
    memset(content, 'x', size);
    memcpy(content, "ab\n", 3);
    memcpy(content + size - 6, "\ncd\n", 4);
    assert_int_equal(os_file_write(in_directory("f"), bytes_of(content, size - 2), NULL), ERR_OK);
    free(content);
    struct os_lines *lines = NULL;
    struct bytes line;
    struct error err;
    assert_int_equal(os_lines_open(in_directory("f"), 100000, &lines, NULL), ERR_OK);
    assert_int_equal(os_lines_next(lines, &line, &err), ERR_OK);
    assert_int_equal(os_lines_next(lines, &line, &err), ERR_ENTRY_TOO_LARGE);
    assert_non_null(strstr(err.text, "line 2 "));
    assert_int_equal(os_lines_next(lines, &line, &err), ERR_OK);
    assert_true(bytes_equal(line, text("cd")));
    assert_int_equal(os_lines_number(lines), 3);
    assert_int_equal(os_lines_position(lines), size - 2);
    assert_int_equal(os_lines_next(lines, &line, &err), ERR_NOT_FOUND);
    os_lines_close(lines);
}

static void lines_of_a_pipe_can_be_skipped_too(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int before = dup(STDIN_FILENO);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(write(ends[1], "first\nsecond\n", 13), 13);
    close(ends[1]);
    struct os_lines *lines = NULL;
    struct bytes line;
    struct error err;
    assert_int_equal(os_lines_open("-", 100, &lines, NULL), ERR_OK);
    assert_int_equal(os_lines_size(lines), 0);
    assert_int_equal(os_lines_skip(lines, 6, NULL), ERR_OK);
    assert_int_equal(os_lines_next(lines, &line, &err), ERR_OK);
    assert_true(bytes_equal(line, text("second")));
    assert_int_equal(os_lines_skip(lines, 100, &err), ERR_INVALID);
    os_lines_close(lines);
    assert_int_equal(dup2(before, STDIN_FILENO), STDIN_FILENO);
    close(before);
    close(ends[0]);
}

/* --- processes --- */

static struct os_process start(const char *command, bool detach)
{
    const char *const argv[] = {"sh", "-c", command, NULL};
    struct os_spawn_options options = {.argv = argv, .log_path = in_directory("log"), .detach = detach};
    struct os_process process;
    struct error err = {.text = ""};
    if (os_spawn(&options, &process, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return process;
}

static void a_process_writes_its_log_and_returns_its_exit_code(void **state)
{
    (void)state;
    struct os_process process = start("echo out; echo err >&2; exit 7", false);
    int exit_code = -1;
    assert_int_equal(os_process_wait(process, 10000, &exit_code, NULL), ERR_OK);
    assert_int_equal(exit_code, 7);
    assert_file_is(in_directory("log"), "out\nerr\n");
    assert_false(os_process_is_alive(process));
    struct error err;
    assert_int_equal(os_process_kill(process, OS_KILL_TERMINATE, &err), ERR_NOT_FOUND);
}

static void a_program_that_does_not_exist_is_an_error_here(void **state)
{
    (void)state;
    const char *const argv[] = {in_directory("none"), NULL};
    struct os_spawn_options options = {.argv = argv};
    struct os_process process;
    struct error err;
    assert_int_equal(os_spawn(&options, &process, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, in_directory("none")));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and no zombie stays */
    options.log_path = "/none/log";
    assert_int_equal(os_spawn(&options, &process, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/none/log"));
}

static void signals_stop_pause_and_kill(void **state)
{
    (void)state;
    struct os_process process = start("trap 'exit 3' TERM; while :; do sleep 0.02; done", true);
    os_sleep_ms(50);
    assert_true(os_process_is_alive(process));
    assert_true(os_process_memory(process.pid) > 0);
    struct error err;
    assert_int_equal(os_process_wait(process, 20, NULL, &err), ERR_TIMEOUT);
    assert_int_equal(getsid(process.pid), process.pid);
    assert_int_equal(os_process_kill(process, OS_KILL_PAUSE, NULL), ERR_OK);
    assert_int_equal(os_process_kill(process, OS_KILL_TERMINATE, NULL), ERR_OK);
    assert_int_equal(os_process_wait(process, 100, NULL, &err), ERR_TIMEOUT); /* it sleeps: it cannot exit */
    assert_int_equal(os_process_kill(process, OS_KILL_RESUME, NULL), ERR_OK);
    int exit_code = -1;
    assert_int_equal(os_process_wait(process, 10000, &exit_code, &err), ERR_OK);
    assert_int_equal(exit_code, 3);
    process = start("sleep 100", false);
    assert_int_equal(os_process_kill(process, OS_KILL_NOW, NULL), ERR_OK);
    assert_int_equal(os_process_wait(process, 10000, &exit_code, &err), ERR_OK);
    assert_int_equal(exit_code, 128 + SIGKILL);
}

static void a_pid_with_another_start_time_is_somebody_else(void **state)
{
    (void)state;
    struct os_process process = start("sleep 100", false);
    struct os_process older = {.pid = process.pid, .start_time = process.start_time - 1};
    assert_true(os_process_is_alive(process));
    assert_false(os_process_is_alive(older));
    struct error err;
    assert_int_equal(os_process_kill(older, OS_KILL_NOW, &err), ERR_NOT_FOUND);
    assert_int_equal(os_process_wait(older, 1000, NULL, &err), ERR_OK);
    assert_true(os_process_is_alive(process));
    assert_int_equal(os_process_kill((struct os_process){.pid = 0}, OS_KILL_NOW, &err), ERR_NOT_FOUND);
    assert_int_equal(os_process_kill((struct os_process){.pid = -1}, OS_KILL_NOW, &err), ERR_NOT_FOUND);
    assert_int_equal(os_process_kill(process, OS_KILL_NOW, NULL), ERR_OK);
    assert_int_equal(os_process_wait(process, 10000, NULL, NULL), ERR_OK);
    assert_true(os_process_is_alive(os_process_self()));
}

static void a_process_with_a_strange_name_is_found(void **state)
{
    (void)state;
    struct os_process process = start("printf 'a) R 1' > /proc/$$/comm; while :; do sleep 0.05; done", true);
    os_sleep_ms(100);
    char command[64];
    snprintf(command, sizeof command, "grep -q 'a) R 1' /proc/%d/comm", (int)process.pid);
    assert_int_equal(system(command), 0);
    assert_true(os_process_is_alive(process));
    assert_int_equal(os_process_kill(process, OS_KILL_NOW, NULL), ERR_OK);
    assert_int_equal(os_process_wait(process, 10000, NULL, NULL), ERR_OK);
}

static void a_process_that_is_not_our_child_can_be_waited_for(void **state)
{
    (void)state;
    char command[512];
    snprintf(command, sizeof command, "sleep 0.2 & echo $! > %s/pid", directory);
    struct os_process middle = start(command, false);
    assert_int_equal(os_process_wait(middle, 10000, NULL, NULL), ERR_OK);
    struct buf buf;
    buf_init(&buf, 100);
    assert_int_equal(os_file_read(in_directory("pid"), &buf, NULL), ERR_OK);
    assert_int_equal(buf_append_u8(&buf, 0), ERR_OK);
    struct os_process grandchild = {.pid = atoi((char *)buf.data)};
    buf_fini(&buf);
    assert_true(os_process_is_alive(grandchild));
    int exit_code = 0;
    assert_int_equal(os_process_wait(grandchild, 10000, &exit_code, NULL), ERR_OK);
    assert_int_equal(exit_code, -1);
}

static void descriptors_are_not_inherited_and_signals_are_reset(void **state)
{
    (void)state;
    int descriptor = open("/dev/null", O_RDONLY); /* without O_CLOEXEC: somebody's library forgot it */
    assert_true(descriptor > 2);
    struct os_signals *signals = NULL;
    assert_int_equal(os_signals_open(&signals, NULL), ERR_OK);
    /* 32 and 33 are libc's own and cannot be set; a test that runs under make inherits them ignored, one or both. */
    struct os_process process = start(
        "ls /proc/self/fd | wc -l; grep -E 'SigBlk|SigIgn' /proc/self/status | sed 's/[01][08]0000000$/000000000/'",
        false);
    assert_int_equal(os_process_wait(process, 10000, NULL, NULL), ERR_OK);
    assert_file_is(in_directory("log"), "4\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    os_signals_close(signals);
    close(descriptor);
}

static void *sleep_a_little(void *context)
{
    usleep(300 * 1000);
    return context;
}

static void a_process_is_alive_until_its_last_thread_ended(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* its own background thread never ends */
#endif
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, sleep_a_little, NULL) != 0)
            _exit(1);
        pthread_exit(NULL); /* the main thread is a zombie from here on */
    }
    struct os_process process = {.pid = child};
    usleep(100 * 1000);
    assert_true(os_process_is_alive(process));
    assert_int_equal(os_process_wait(process, 5000, NULL, NULL), ERR_OK);
    assert_false(os_process_is_alive(process));
}

static void a_child_dies_with_its_parent_when_asked_to(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t parent = fork();
    if (parent == 0) {
        const char *const argv[] = {"sleep", "100", NULL};
        struct os_spawn_options options = {.argv = argv, .die_with_parent = true};
        struct os_process process;
        if (os_spawn(&options, &process, NULL) != ERR_OK || write(ends[1], &process, sizeof process) < 0)
            _exit(1);
        pause();
    }
    struct os_process process;
    assert_int_equal(read(ends[0], &process, sizeof process), sizeof process);
    assert_true(os_process_is_alive(process));
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    assert_int_equal(os_process_wait(process, 5000, NULL, NULL), ERR_OK);
    close(ends[0]);
    close(ends[1]);
}

static void signals_are_read_one_by_one(void **state)
{
    (void)state;
    struct os_signals *signals = NULL;
    assert_int_equal(os_signals_open(&signals, NULL), ERR_OK);
    assert_int_equal(os_signals_wait(signals, 0), OS_SIGNAL_NONE);
    uint64_t begin_us = os_monotonic_us();
    assert_int_equal(os_signals_wait(signals, 30), OS_SIGNAL_NONE);
    assert_true(os_monotonic_us() - begin_us >= 30000);
    kill(getpid(), SIGTERM);
    assert_int_equal(os_signals_wait(signals, 1000), OS_SIGNAL_STOP);
    kill(getpid(), SIGHUP);
    assert_int_equal(os_signals_wait(signals, UINT64_MAX), OS_SIGNAL_HANGUP);
    kill(getpid(), SIGUSR1);
    assert_int_equal(os_signals_wait(signals, 1000), OS_SIGNAL_USER);
    os_signals_close(signals);
}

/* --- ports, threads --- */

static void a_port_in_use_is_not_free(void **state)
{
    (void)state;
    uint16_t port = 0;
    struct error err;
    assert_int_equal(os_port_find_free("127.0.0.1", &port, &err), ERR_OK);
    assert_true(port > 0);
    assert_true(os_port_is_free("127.0.0.1", port));
    char command[256];
    snprintf(command, sizeof command,
             "exec python3 -c 'import socket,time; s=socket.create_server((\"127.0.0.1\",%u)); open(\"%s/up\",\"w\"); "
             "time.sleep(100)'",
             port, directory);
    struct os_process process = start(command, false);
    for (int i = 0; i < 500 && !os_exists(in_directory("up")); i++)
        os_sleep_ms(20);
    assert_false(os_port_is_free("127.0.0.1", port));
    assert_int_equal(os_process_kill(process, OS_KILL_NOW, NULL), ERR_OK);
    assert_int_equal(os_process_wait(process, 10000, NULL, NULL), ERR_OK);
    assert_true(os_port_is_free("127.0.0.1", port));
    assert_false(os_port_is_free("192.0.2.1", port)); /* an address that is not ours */
}

static void set_later(void *context)
{
    os_sleep_ms(30);
    os_event_set(context);
}

static void an_event_wakes_once_per_set(void **state)
{
    (void)state;
    struct os_event *event = os_event_new();
    assert_false(os_event_wait(event, 0));
    uint64_t begin_us = os_monotonic_us();
    assert_false(os_event_wait(event, 20000));
    assert_true(os_monotonic_us() - begin_us >= 20000);
    os_event_set(event);
    os_event_set(event);
    assert_true(os_event_wait(event, 0));
    assert_false(os_event_wait(event, 0));
    struct os_thread *thread = NULL;
    assert_int_equal(os_thread_start("setter", set_later, event, &thread, NULL), ERR_OK);
    assert_true(os_event_wait(event, UINT64_MAX));
    os_thread_join(thread);
    os_event_free(event);
    int descriptor = -1;
    assert_int_equal(os_notify_open(&descriptor, NULL), ERR_OK);
    struct pollfd look = {.fd = descriptor, .events = POLLIN};
    assert_int_equal(poll(&look, 1, 0), 0);
    os_notify_set(descriptor);
    assert_int_equal(poll(&look, 1, 0), 1);
    os_notify_clear(descriptor);
    assert_int_equal(poll(&look, 1, 0), 0);
    os_notify_close(descriptor);
}

static void facts_about_the_machine_are_plausible(void **state)
{
    (void)state;
    uint64_t size = 0, free_size = 0;
    assert_int_equal(os_disk_space(directory, &size, &free_size, NULL), ERR_OK);
    assert_true(size >= free_size && size > 0);
    struct error err;
    assert_int_equal(os_disk_space(in_directory("none"), &size, &free_size, &err), ERR_NOT_FOUND);
    assert_true(os_cpu_count() >= 1 && os_memory_size() > 1 << 20);
    assert_true(os_process_memory((int32_t)getpid()) > 100000);
    assert_int_not_equal(os_random_u64(), os_random_u64());
    char *path = NULL;
    assert_int_equal(os_executable_path(&path, NULL), ERR_OK);
    assert_non_null(strstr(path, "test_os"));
    free(path);
    path = os_path_join("/a/", "b");
    assert_string_equal(path, "/a/b");
    free(path);
    path = os_path_join("a", "b");
    assert_string_equal(path, "a/b");
    free(path);
    size_t count = 0;
    while (os_environment_at(count))
        count++;
    assert_true(count > 0 && os_environment("PATH"));
}

/* --- logs --- */

static char *log_with(bool json, const char *prefix, const char *fields)
{
    struct log_os_options options = {
        .level = LOG_INFO, .path = in_directory("out.log"), .prefix = prefix, .json = json};
    unlink(options.path);
    struct log *log = NULL;
    assert_int_equal(log_os_new(&options, &log, NULL), ERR_OK);
    log_event(log, LOG_DEBUG, "dropped");
    log_event(log, LOG_WARN, "%s", fields);
    log_os_free(log);
    struct buf buf;
    buf_init(&buf, 1 << 20);
    assert_int_equal(os_file_read(in_directory("out.log"), &buf, NULL), ERR_OK);
    assert_int_equal(buf_append_u8(&buf, 0), ERR_OK);
    assert_ptr_equal(strchr((char *)buf.data, '\n'), strrchr((char *)buf.data, '\n')); /* one line */
    return (char *)buf.data;
}

static void a_log_line_has_time_level_and_prefix(void **state)
{
    (void)state;
    char *line = log_with(false, "store=1", "region=17 msg=\"became leader\"");
    int year, month, day, hour, minute, second, ms, end = 0;
    assert_int_equal(
        sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute, &second, &ms, &end), 7);
    assert_int_equal(end, 24);
    assert_string_equal(line + end, " warn store=1 region=17 msg=\"became leader\"\n");
    free(line);
}

static void a_log_line_cannot_be_forged(void **state)
{
    (void)state;
    char *line = log_with(false, NULL, "key=\"a\nb\x1b[31m\x9b\" x=1");
    assert_non_null(strstr(line, " warn key=\"a?b?[31m?\" x=1\n"));
    free(line);
}

static void json_logs_are_json(void **state)
{
    (void)state;
    char *line = log_with(true, "store=1", "region=17 msg=\"say \\\"hi\\\" \\\\ \n \xff\" alone path=/a=b");
    cJSON *json = cJSON_Parse(line);
    assert_non_null(json);
    static const char *const expected[][2] = {{"level", "warn"}, {"store", "1"},
                                              {"region", "17"},  {"msg", "say \"hi\" \\ \n \xc3\xbf"},
                                              {"text", "alone"}, {"path", "/a=b"}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, expected[i][0])), expected[i][1]);
    cJSON_Delete(json);
    free(line);
    char *fields = malloc(2000);
    memset(fields, '\x01', 1999); /* each becomes six characters: far more than a line holds */
    memcpy(fields, "msg=\"", 5);
    fields[1999] = 0;
    line = log_with(true, "store=1", fields);
    json = cJSON_Parse(line);
    assert_non_null(json);
    cJSON_Delete(json);
    free(line);
    free(fields);
}

static void a_log_file_that_cannot_be_opened_is_named(void **state)
{
    (void)state;
    struct log_os_options options = {.path = "/none/x.log"};
    struct log *log = NULL;
    struct error err;
    assert_int_equal(log_os_new(&options, &log, &err), ERR_IO);
    assert_non_null(strstr(err.text, "/none/x.log"));
    enum log_level level;
    assert_int_equal(log_level_parse("warn", &level), ERR_OK);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse("loud", &level), ERR_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_is_replaced_whole_and_leaves_nothing_behind),
        TEST(reading_respects_its_limit_and_names_what_is_missing),
        TEST(make_directories_with_parents_and_refuse_a_file_in_the_way),
        TEST(removing_a_tree_never_follows_a_link),
        TEST(names_come_sorted),
        TEST(a_locked_directory_is_refused_until_its_holder_is_gone),
        TEST(lines_may_hold_any_byte_and_go_on_from_a_position),
        TEST(a_line_that_is_too_long_is_skipped_and_counted),
        TEST(lines_of_a_pipe_can_be_skipped_too),
        TEST(a_process_writes_its_log_and_returns_its_exit_code),
        TEST(a_program_that_does_not_exist_is_an_error_here),
        TEST(signals_stop_pause_and_kill),
        TEST(a_pid_with_another_start_time_is_somebody_else),
        TEST(a_process_with_a_strange_name_is_found),
        TEST(a_process_that_is_not_our_child_can_be_waited_for),
        TEST(descriptors_are_not_inherited_and_signals_are_reset),
        TEST(a_process_is_alive_until_its_last_thread_ended),
        TEST(a_child_dies_with_its_parent_when_asked_to),
        TEST(signals_are_read_one_by_one),
        TEST(a_port_in_use_is_not_free),
        TEST(an_event_wakes_once_per_set),
        TEST(facts_about_the_machine_are_plausible),
        TEST(a_log_line_has_time_level_and_prefix),
        TEST(a_log_line_cannot_be_forged),
        TEST(json_logs_are_json),
        TEST(a_log_file_that_cannot_be_opened_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
