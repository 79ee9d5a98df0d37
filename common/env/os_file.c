#include "env/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "env/os_private.h"

enum { READ_SIZE = 64 * 1024 };

/* 0 or errno. */
static int write_all(int descriptor, struct bytes content)
{
    while (content.size > 0) {
        ssize_t written = write(descriptor, content.data, content.size);
        if (written < 0 && errno != EINTR)
            return errno;
        if (written > 0)
            content = bytes_of(content.data + written, content.size - (size_t)written);
    }
    return 0;
}

enum err os_file_read(const char *path, struct buf *content, struct error *err)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return os_failed(err, errno, "open", path);
    size_t before_size = content->size;
    uint8_t *chunk = malloc(READ_SIZE);
    CHECK(chunk);
    enum err code = ERR_OK;
    while (code == ERR_OK) {
        ssize_t size = read(descriptor, chunk, READ_SIZE);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            code = os_failed(err, errno, "read", path);
        if (size <= 0)
            break;
        if (buf_append(content, chunk, (size_t)size) != ERR_OK)
            code = error_set(err, ERR_ENTRY_TOO_LARGE, "read %s: larger than %zu bytes", path, content->size_max);
    }
    free(chunk);
    close(descriptor);
    if (code != ERR_OK)
        content->size = before_size;
    return code;
}

static char *parent_of(const char *path)
{
    char *parent = os_duplicate(path);
    size_t size = strlen(parent);
    while (size > 1 && parent[size - 1] == '/')
        parent[--size] = '\0';
    char *slash = strrchr(parent, '/');
    if (!slash)
        strcpy(parent, size > 0 ? "." : "");
    else
        slash[slash == parent] = '\0';
    return parent;
}

/* A new name in a directory lasts only when the directory is synced too. 0 or errno. */
static int sync_parent(const char *path)
{
    char *parent = parent_of(path);
    int descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int number = descriptor < 0 || fsync(descriptor) != 0 ? errno : 0;
    if (descriptor >= 0)
        close(descriptor);
    free(parent);
    return number;
}

enum err os_file_write(const char *path, struct bytes content, struct error *err)
{
    size_t size = strlen(path) + 32;
    char *temporary = malloc(size);
    CHECK(temporary);
    snprintf(temporary, size, "%s.%ld.tmp", path, (long)getpid());
    enum err code = ERR_OK;
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (descriptor < 0) {
        code = os_failed(err, errno, "write", path);
    } else {
        int number = write_all(descriptor, content);
        if (number == 0 && fsync(descriptor) != 0)
            number = errno;
        if (close(descriptor) != 0 && number == 0)
            number = errno;
        if (number == 0 && rename(temporary, path) != 0)
            number = errno;
        if (number != 0)
            unlink(temporary);
        else
            number = sync_parent(path);
        if (number != 0)
            code = os_failed(err, number, "write", path);
    }
    free(temporary);
    return code;
}

enum err os_file_append(const char *path, struct bytes content, struct error *err)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (descriptor < 0)
        return os_failed(err, errno, "open", path);
    int number = write_all(descriptor, content);
    close(descriptor);
    return number == 0 ? ERR_OK : os_failed(err, number, "append to", path);
}

enum err os_file_rename(const char *from, const char *to, struct error *err)
{
    int number = rename(from, to) == 0 ? sync_parent(to) : errno;
    return number == 0 ? ERR_OK : os_failed(err, number, "rename", from);
}

enum err os_dir_make(const char *path, struct error *err)
{
    if (os_is_dir(path))
        return ERR_OK;
    char *parent = parent_of(path);
    enum err code = ERR_OK;
    if (strcmp(parent, path) != 0 && parent[0] != '\0')
        code = os_dir_make(parent, err);
    free(parent);
    if (code != ERR_OK)
        return code;
    if (mkdir(path, 0755) == 0 || (errno == EEXIST && os_is_dir(path)))
        return ERR_OK;
    int number = errno;
    enum err failed = os_failed(err, number, "make directory", path);
    return failed == ERR_DISK_FULL ? failed : error_set(err, ERR_IO, "make directory %s: %s", path, strerror(number));
}

/* --- trees. `path` is for messages; the work goes through descriptors, so that nobody can swap a link in. --- */

enum { DEPTH_MAX = 256 };

/* The names in a directory, sorted; takes the descriptor. */
static int read_names(int take_descriptor, char ***ret_names, size_t *ret_count)
{
    DIR *directory = fdopendir(take_descriptor);
    if (!directory) {
        int number = errno;
        close(take_descriptor);
        return number;
    }
    char **names = NULL;
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((count & (count - 1)) == 0) { /* room for the next power of two */
            names = realloc(names, (count ? 2 * count : 1) * sizeof names[0]);
            CHECK(names);
        }
        names[count++] = os_duplicate(entry->d_name);
    }
    closedir(directory);
    *ret_names = names;
    *ret_count = count;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void free_names(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

enum err os_dir_list(const char *path, void (*visit)(void *context, const char *name), void *context, struct error *err)
{
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char **names = NULL;
    size_t count = 0;
    int number = descriptor < 0 ? errno : read_names(descriptor, &names, &count);
    if (number != 0)
        return os_failed(err, number, "list", path);
    if (count > 0)
        qsort(names, count, sizeof names[0], compare_names);
    for (size_t i = 0; i < count; i++)
        visit(context, names[i]);
    free_names(names, count);
    return ERR_OK;
}

/* 0 or errno; what is gone already is fine. */
static int remove_at(int parent, const char *name, int depth)
{
    struct stat status;
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISDIR(status.st_mode))
        return unlinkat(parent, name, 0) == 0 || errno == ENOENT ? 0 : errno;
    if (depth > DEPTH_MAX)
        return ELOOP;
    int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int listing = descriptor < 0 ? -1 : fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    char **names = NULL;
    size_t count = 0;
    int number = listing < 0 ? errno : read_names(listing, &names, &count);
    for (size_t i = 0; i < count && number == 0; i++)
        number = remove_at(descriptor, names[i], depth + 1);
    free_names(names, count);
    if (descriptor >= 0)
        close(descriptor);
    if (number == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        number = errno;
    return number;
}

enum err os_remove_tree(const char *path, struct error *err)
{
    int number = remove_at(AT_FDCWD, path, 0);
    return number == 0 ? ERR_OK : os_failed(err, number, "remove", path);
}

static int size_at(int parent, const char *name, int depth, uint64_t *size)
{
    struct stat status;
    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT && depth > 0 ? 0 : errno; /* files come and go under a running database */
    *size += (uint64_t)status.st_blocks * 512;
    if (!S_ISDIR(status.st_mode))
        return 0;
    if (depth > DEPTH_MAX)
        return ELOOP;
    int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (descriptor < 0)
        return errno == ENOENT && depth > 0 ? 0 : errno;
    int listing = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    char **names = NULL;
    size_t count = 0;
    int number = listing < 0 ? errno : read_names(listing, &names, &count);
    for (size_t i = 0; i < count && number == 0; i++)
        number = size_at(descriptor, names[i], depth + 1, size);
    free_names(names, count);
    close(descriptor);
    return number;
}

enum err os_dir_size(const char *path, uint64_t *ret_size, struct error *err)
{
    uint64_t size = 0;
    int number = size_at(AT_FDCWD, path, 0, &size);
    if (number != 0)
        return os_failed(err, number, "measure", path);
    *ret_size = size;
    return ERR_OK;
}

/* --- questions --- */

bool os_exists(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

bool os_is_dir(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

bool os_is_writable_dir(const char *path)
{
    return os_is_dir(path) && access(path, W_OK | X_OK) == 0;
}

enum err os_disk_space(const char *path, uint64_t *ret_size, uint64_t *ret_free_size, struct error *err)
{
    struct statvfs space;
    if (statvfs(path, &space) != 0)
        return os_failed(err, errno, "read the free space of", path);
    *ret_size = (uint64_t)(space.f_blocks - space.f_bfree + space.f_bavail) * space.f_frsize;
    *ret_free_size = (uint64_t)space.f_bavail * space.f_frsize;
    return ERR_OK;
}

enum err os_path_absolute(const char *path, char **ret_path, struct error *err)
{
    char *absolute = realpath(path, NULL);
    if (!absolute)
        return os_failed(err, errno, "find", path);
    *ret_path = absolute;
    return ERR_OK;
}

char *os_path_join(const char *directory, const char *name)
{
    size_t directory_size = strlen(directory), size = directory_size + strlen(name) + 2;
    bool has_slash = directory_size > 0 && directory[directory_size - 1] == '/';
    char *path = malloc(size);
    CHECK(path);
    snprintf(path, size, "%s%s%s", directory, has_slash || directory_size == 0 ? "" : "/", name);
    return path;
}

/* --- the lock of a directory --- */

struct os_lock {
    int descriptor;
};

static struct os_lock *lock_new(int descriptor)
{
    struct os_lock *lock = malloc(sizeof *lock);
    CHECK(lock);
    lock->descriptor = descriptor;
    return lock;
}

/* Who has it, as it wrote there; a reader writes nothing, so the pid may be that of an owner long gone: not named. */
static enum err lock_failed(const char *directory, const char *path, int descriptor, struct error *err)
{
    if (errno != EWOULDBLOCK)
        return os_failed(err, errno, "lock", path);
    char owner[32] = "";
    ssize_t size = pread(descriptor, owner, sizeof owner - 1, 0);
    owner[size > 0 ? strspn(owner, "0123456789") : 0] = '\0';
    if (owner[0] && !os_process_is_alive((struct os_process){.pid = (int32_t)strtol(owner, NULL, 10)}))
        owner[0] = '\0';
    return error_set(err, ERR_LOCKED, "directory %s is used by another process%s%s", directory,
                     owner[0] ? ", pid " : "", owner);
}

enum err os_lock_dir(const char *directory, struct os_lock **ret_lock, struct error *err)
{
    char *path = os_path_join(directory, "LOCK.polder");
    int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    enum err code = ERR_OK;
    if (descriptor < 0) {
        code = os_failed(err, errno, "open", path);
    } else if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        code = lock_failed(directory, path, descriptor, err);
    } else {
        char owner[32];
        int size = snprintf(owner, sizeof owner, "%ld\n", (long)getpid());
        /* Only for the message above: that it cannot be written (a full disk) is no reason not to hold the lock. */
        if (ftruncate(descriptor, 0) == 0 && pwrite(descriptor, owner, (size_t)size, 0) < 0)
            (void)0;
    }
    if (code == ERR_OK)
        *ret_lock = lock_new(descriptor);
    else if (descriptor >= 0)
        close(descriptor);
    free(path);
    return code;
}

enum err os_lock_dir_shared(const char *directory, struct os_lock **ret_lock, struct error *err)
{
    char *path = os_path_join(directory, "LOCK.polder");
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    enum err code = ERR_OK;
    if (descriptor < 0)
        code = os_failed(err, errno, "open", path);
    else if (flock(descriptor, LOCK_SH | LOCK_NB) != 0)
        code = lock_failed(directory, path, descriptor, err);
    if (code == ERR_OK)
        *ret_lock = lock_new(descriptor);
    else if (descriptor >= 0)
        close(descriptor);
    free(path);
    return code;
}

void os_unlock(struct os_lock *lock)
{
    if (!lock)
        return;
    close(lock->descriptor);
    free(lock);
}

/* --- lines --- */

struct os_lines {
    char *path; /* owned */
    int descriptor;
    size_t line_size_max;
    uint8_t *data; /* owned; [begin, end) is read and not given out */
    size_t capacity, begin, end;
    bool is_at_end;
    uint64_t number, position;
};

enum err os_lines_open(const char *path, size_t line_size_max, struct os_lines **ret_lines, struct error *err)
{
    bool is_input = strcmp(path, "-") == 0;
    int descriptor = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return os_failed(err, errno, "open", path);
    struct stat status;
    if (fstat(descriptor, &status) != 0 || S_ISDIR(status.st_mode)) {
        if (!is_input)
            close(descriptor);
        return error_set(err, ERR_IO, "open %s: it is a directory", path);
    }
    struct os_lines *lines = calloc(1, sizeof *lines);
    CHECK(lines);
    lines->path = os_duplicate(is_input ? "standard input" : path);
    lines->descriptor = descriptor;
    lines->line_size_max = line_size_max;
    *ret_lines = lines;
    return ERR_OK;
}

void os_lines_close(struct os_lines *lines)
{
    if (!lines)
        return;
    if (lines->descriptor != STDIN_FILENO)
        close(lines->descriptor);
    free(lines->data);
    free(lines->path);
    free(lines);
}

/* Reads once. Keeps [begin, end) and makes room behind it. */
static enum err fill(struct os_lines *lines, struct error *err)
{
    if (lines->begin > 0) {
        memmove(lines->data, lines->data + lines->begin, lines->end - lines->begin);
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    if (lines->end == lines->capacity) {
        lines->capacity = lines->capacity ? lines->capacity * 2 : READ_SIZE;
        lines->data = realloc(lines->data, lines->capacity);
        CHECK(lines->data);
    }
    ssize_t size;
    do
        size = read(lines->descriptor, lines->data + lines->end, lines->capacity - lines->end);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return os_failed(err, errno, "read", lines->path);
    lines->is_at_end = size == 0;
    lines->end += (size_t)size;
    return ERR_OK;
}

/* Passes over the rest of a line that is too long, without keeping it. */
static enum err skip_line(struct os_lines *lines, struct error *err)
{
    for (;;) {
        uint8_t *newline = memchr(lines->data + lines->begin, '\n', lines->end - lines->begin);
        size_t size = newline ? (size_t)(newline - (lines->data + lines->begin)) + 1 : lines->end - lines->begin;
        lines->position += size;
        lines->begin += size;
        if (newline || lines->is_at_end)
            break;
        enum err code = fill(lines, err);
        if (code != ERR_OK)
            return code;
    }
    return error_set(err, ERR_ENTRY_TOO_LARGE, "%s: line %llu is longer than %zu bytes", lines->path,
                     (unsigned long long)lines->number, lines->line_size_max);
}

enum err os_lines_next(struct os_lines *lines, struct bytes *ret_line, struct error *err)
{
    for (size_t searched_size = 0;;) {
        size_t size = lines->end - lines->begin;
        uint8_t *from = lines->data + lines->begin;
        uint8_t *newline = size > searched_size ? memchr(from + searched_size, '\n', size - searched_size) : NULL;
        size_t line_size = newline ? (size_t)(newline - from) : size;
        if (line_size > lines->line_size_max) {
            lines->number++;
            return skip_line(lines, err);
        }
        if (newline || (lines->is_at_end && size > 0)) {
            size_t used_size = line_size + (newline != NULL);
            *ret_line = bytes_of(from, line_size);
            lines->begin += used_size;
            lines->position += used_size;
            lines->number++;
            return ERR_OK;
        }
        if (lines->is_at_end)
            return ERR_NOT_FOUND;
        searched_size = size;
        enum err code = fill(lines, err);
        if (code != ERR_OK)
            return code;
    }
}

uint64_t os_lines_number(const struct os_lines *lines)
{
    return lines->number;
}

uint64_t os_lines_position(const struct os_lines *lines)
{
    return lines->position;
}

uint64_t os_lines_size(const struct os_lines *lines)
{
    struct stat status;
    return fstat(lines->descriptor, &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
}

enum err os_lines_skip(struct os_lines *lines, uint64_t position, struct error *err)
{
    if (position < lines->position || position > INT64_MAX)
        return error_set(err, ERR_INVALID, "%s: cannot go back to byte %llu", lines->path,
                         (unsigned long long)position);
    uint64_t size = os_lines_size(lines);
    if (size > 0 && position <= size) {
        if (lseek(lines->descriptor, (off_t)position, SEEK_SET) < 0)
            return os_failed(err, errno, "seek in", lines->path);
        lines->begin = lines->end = 0;
        lines->is_at_end = false;
        lines->position = position;
        return ERR_OK;
    }
    while (lines->position < position) {
        uint64_t left = position - lines->position, there = lines->end - lines->begin;
        size_t step = (size_t)(left < there ? left : there);
        lines->begin += step;
        lines->position += step;
        if (lines->position == position)
            break;
        if (lines->is_at_end)
            return error_set(err, ERR_INVALID, "%s: ends before byte %llu", lines->path, (unsigned long long)position);
        enum err code = fill(lines, err);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}
