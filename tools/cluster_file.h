/* cluster_file: DIR/cluster.json, what `polder up` started: which processes, where, with which options.
 *
 * Written as a whole (temporary file, rename), so a reader never sees half of it. A process is named by pid and start
 * time, so that a pid which was given to somebody else is never taken for it.
 *
 * {"version": "0.1.0",
 *  "pd": "tcp://127.0.0.1:2379",                 endpoints for clients
 *  "options": {"pds": 1, "stores": 3, "regions": 16, "replicas": 3, "port_offset": 0},
 *  "processes": [{"role": "pd", "id": 1, "pid": 4711, "start_time": 123456, "address": "tcp://127.0.0.1:2379",
 *                 "status_address": "http://127.0.0.1:2381",
 *                 "data_dir": "/x/polder-data/pd-1/data", "log": "/x/polder-data/pd-1/log",
 *                 "args": ["pd", "--data-dir", ...]}, ...]} */
#ifndef TOOLS_CLUSTER_FILE_H
#define TOOLS_CLUSTER_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "env/os.h"

enum { CLUSTER_PROCESS_MAX = 64, CLUSTER_ARG_MAX = 32 };

struct cluster_process {
    char role[16]; /* pd, storenode */
    uint32_t id;   /* 1, 2, ... within the role */
    struct os_process process;
    char *address;               /* owned */
    char *status_address;        /* owned; HTTP; "" in files of older versions */
    char *data_dir;              /* owned */
    char *log;                   /* owned */
    char *args[CLUSTER_ARG_MAX]; /* owned; what follows the name of the program; ends with NULL */
};

struct cluster_file {
    char *pd; /* owned; endpoints, separated by commas */
    uint32_t pds, stores, regions, replicas, port_offset;
    struct cluster_process processes[CLUSTER_PROCESS_MAX];
    uint32_t process_count;
};

void cluster_file_fini(struct cluster_file *file);
char *cluster_file_path(const char *dir); /* free it */
/* ERR_NOT_FOUND: no cluster there; ERR_CORRUPT: the file is not one of ours. */
enum err cluster_file_read(const char *dir, struct cluster_file *ret_file, struct error *err);
enum err cluster_file_write(const char *dir, const struct cluster_file *file, struct error *err);
/* NULL if there is none. */
struct cluster_process *cluster_file_find(struct cluster_file *file, const char *role, uint32_t id);
uint32_t cluster_file_alive_count(const struct cluster_file *file);

#endif
