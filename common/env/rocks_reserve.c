#include "env/rocks_reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "env/os.h"

enum { PART_OF_DISK = 20 };

struct rocks_reserve {
    char *directory, *path; /* owned */
    uint64_t size;
    struct log *log;
    atomic_bool is_taken; /* the file is gone, its room is used */
    atomic_bool refuses;  /* for the log: said once */
    pthread_mutex_t lock; /* of a change of is_taken */
};

static bool look(const struct rocks_reserve *reserve, uint64_t *ret_free_size, uint64_t *ret_disk_size)
{
    return os_disk_space(reserve->directory, ret_disk_size, ret_free_size, NULL) == ERR_OK;
}

/* False: there is no room for it. */
static bool make_file(const struct rocks_reserve *reserve)
{
    int fd = open(reserve->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    int number = posix_fallocate(fd, 0, (off_t)reserve->size);
    close(fd);
    if (number != 0)
        unlink(reserve->path);
    return number == 0;
}

static void take(struct rocks_reserve *reserve, uint64_t free_size)
{
    pthread_mutex_lock(&reserve->lock);
    if (!atomic_load(&reserve->is_taken)) {
        unlink(reserve->path);
        atomic_store(&reserve->is_taken, true);
        log_event(reserve->log, LOG_ERROR, "event=disk_full data_dir=%s free=%llu msg=\"the reserve is being used\"",
                  reserve->directory, (unsigned long long)free_size);
    }
    pthread_mutex_unlock(&reserve->lock);
}

static void give_back(struct rocks_reserve *reserve)
{
    pthread_mutex_lock(&reserve->lock);
    if (atomic_load(&reserve->is_taken) && make_file(reserve)) {
        atomic_store(&reserve->is_taken, false);
        log_event(reserve->log, LOG_INFO, "event=disk_has_room data_dir=%s", reserve->directory);
    }
    pthread_mutex_unlock(&reserve->lock);
}

struct rocks_reserve *rocks_reserve_new(const char *directory, uint64_t size, struct log *log)
{
    struct rocks_reserve *reserve = calloc(1, sizeof *reserve);
    CHECK(reserve);
    reserve->directory = strdup(directory);
    CHECK(reserve->directory);
    CHECK(asprintf(&reserve->path, "%s.reserve", directory) > 0);
    reserve->log = log;
    CHECK(pthread_mutex_init(&reserve->lock, NULL) == 0);
    uint64_t free_size, disk_size;
    if (!look(reserve, &free_size, &disk_size))
        return reserve;
    reserve->size = size < disk_size / PART_OF_DISK ? size : disk_size / PART_OF_DISK;
    struct stat status;
    bool is_there = stat(reserve->path, &status) == 0 && (uint64_t)status.st_size == reserve->size;
    if (reserve->size > 0 && !is_there)
        atomic_store(&reserve->is_taken, free_size < 2 * reserve->size || !make_file(reserve));
    return reserve;
}

void rocks_reserve_free(struct rocks_reserve *reserve)
{
    if (!reserve)
        return;
    pthread_mutex_destroy(&reserve->lock);
    free(reserve->directory);
    free(reserve->path);
    free(reserve);
}

bool rocks_reserve_allows(struct rocks_reserve *reserve)
{
    uint64_t free_size, disk_size;
    if (reserve->size == 0 || !look(reserve, &free_size, &disk_size))
        return true;
    if (!atomic_load(&reserve->is_taken)) {
        if (free_size >= reserve->size / 2)
            return true;
        take(reserve, free_size);
        free_size += reserve->size;
    } else if (free_size >= 2 * reserve->size) {
        give_back(reserve);
    }
    bool refuses = free_size < reserve->size / 4;
    if (refuses != atomic_exchange(&reserve->refuses, refuses))
        log_event(reserve->log, LOG_ERROR, "event=%s data_dir=%s free=%llu",
                  refuses ? "writes_stopped" : "writes_go_on", reserve->directory, (unsigned long long)free_size);
    return !refuses;
}

uint64_t rocks_reserve_taken(const struct rocks_reserve *reserve)
{
    return atomic_load(&reserve->is_taken) ? reserve->size : 0;
}
