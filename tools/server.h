/* server: what `polder pd` and `polder storenode` have in common: configuration, an env filled with the real world, the
 * wait for a signal, an orderly end. */
#ifndef TOOLS_SERVER_H
#define TOOLS_SERVER_H

#include "cli.h"
#include "env/env.h"

struct os_lock;
struct os_signals;

struct server_options {
    const char *role; /* pd, storenode; borrowed, as all of them */
    const char *data_dir;
    const char *log_level;
    const char *log_prefix;
    uint64_t block_cache_size, write_buffer_size;
    bool share_memory; /* os_memory_share */
    uint64_t disk_reserve_size; /* a quarter is kept as a file */
    const char *tls_ca_file, *tls_cert_file, *tls_key_file;
};

struct server {
    struct env env;
    struct os_signals *signals; /* owned */
    struct os_lock *lock;       /* owned; of the data directory */
};

/* Flags, environment and file into `config`. CLI_GO_ON or an exit code. `config_file` is the index of that row: 0. */
int server_configure(const struct command *command, int argc, char **argv, void *config);

/* Opens everything but the service itself; ERR_LOCKED, ERR_IO, ... name the path. Call it before any thread is started.
 */
enum err server_open(const struct server_options *options, struct server *server, struct error *err);
/* No actor runs any more, no connection is open: now the service may be freed. Twice is fine. */
void server_stop(struct server *server);
/* Empties the memtables into files before an orderly end, so that the next start has no log to replay. After
 * server_stop. */
void server_flush(struct server *server);
void server_close(struct server *server); /* stops first */

struct server_probe {
    void *context;
    bool (*is_ready)(void *context);
    enum err (*failure)(void *context); /* ERR_OK, or why it cannot go on; NULL: never */
    /* Before an orderly end, for a few seconds at most; a second signal cuts it short. NULL: there is nothing to do. */
    void (*leave)(void *context);
    bool (*has_left)(void *context);
};
/* Until a signal says stop (ERR_OK) or the service failed. Logs when it becomes ready. */
enum err server_wait(struct server *server, const struct server_probe *probe);

#endif
