#include "server.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "env/clock_os.h"
#include "env/engine_rocks.h"
#include "env/exec_threads.h"
#include "env/log_os.h"
#include "env/os.h"
#include "env/transport_nng.h"

enum { PROBE_INTERVAL_MS = 100, LEAVE_INTERVAL_MS = 10, LEAVE_LIMIT_MS = 3000 };

/* The file that flag or environment names; a key in it yields to both, whatever the order of reading. */
static enum err read_config_file(struct settings *settings, struct error *err)
{
    const char *path = settings_value(settings, 0);
    return path ? cli_read_file(settings, path, err) : ERR_OK;
}

int server_configure(const struct command *command, int argc, char **argv, void *config)
{
    struct settings *settings;
    int code = cli_parse(command, argc, argv, &settings, config);
    if (code != CLI_GO_ON)
        return code;
    size_t count;
    const struct setting *table = cli_table(command, &count);
    settings_fini_target(table, count, config);
    struct error err;
    if (read_config_file(settings, &err) != ERR_OK)
        code = cli_usage(command, "%s", err.text);
    else
        settings_fill(settings, config);
    settings_free(settings);
    return code;
}

static enum err open_data_dir(const struct server_options *options, struct server *server, struct error *err)
{
    enum err code = os_dir_make(options->data_dir, err);
    if (code == ERR_OK && !os_is_writable_dir(options->data_dir))
        code = error_set(err, ERR_IO, "data directory %s is not writable", options->data_dir);
    return code == ERR_OK ? os_lock_dir(options->data_dir, &server->lock, err) : code;
}

/* A directory is one role's for ever: the first process writes which, the others compare, before anything is opened. */
static enum err check_role(const struct server_options *options, struct error *err)
{
    char *path = os_path_join(options->data_dir, "ROLE");
    struct buf found;
    buf_init(&found, 64);
    enum err code = os_file_read(path, &found, err);
    if (code == ERR_NOT_FOUND)
        code = os_file_write(path, bytes_of_string(options->role), err);
    else if (code == ERR_ENTRY_TOO_LARGE ||
             (code == ERR_OK && !bytes_equal(buf_bytes(&found), bytes_of_string(options->role))))
        code =
            error_set(err, ERR_CLUSTER_NOT_MATCH, "data directory %s belongs to another role (%s says so), not to a %s",
                      options->data_dir, path, options->role);
    buf_fini(&found);
    free(path);
    return code;
}

static enum err open_engine(const struct server_options *options, struct server *server, struct error *err)
{
    char *path = os_path_join(options->data_dir, "engine");
    struct engine_rocks_options rocks = {
        .path = path,
        .create = true,
        .block_cache_size = options->block_cache_size,
        .write_buffer_size = options->write_buffer_size,
        .reserve_size = options->disk_reserve_size / 4,
        .log = server->env.log,
    };
    enum err code = engine_rocks_open(&rocks, &server->env.engine, err);
    free(path);
    return code;
}

enum err server_open(const struct server_options *options, struct server *server, struct error *err)
{
    memset(server, 0, sizeof *server);
    os_memory_keep();
    if (options->share_memory)
        os_memory_share();
    server->env.clock = clock_os();
    server->env.seed = os_random_u64();
    struct log_os_options log = {.prefix = options->log_prefix};
    enum err code = log_level_parse(options->log_level, &log.level);
    if (code != ERR_OK)
        return error_set(err, code, "log-level: \"%.32s\" is none", options->log_level);
    code = os_signals_open(&server->signals, err);
    if (code == ERR_OK)
        code = log_os_new(&log, &server->env.log, err);
    if (code == ERR_OK)
        code = open_data_dir(options, server, err);
    if (code == ERR_OK)
        code = check_role(options, err);
    if (code == ERR_OK) {
        log_event(server->env.log, LOG_INFO, "msg=\"opening\" version=%s data_dir=%s", POLDER_VERSION,
                  options->data_dir);
        code = open_engine(options, server, err);
    }
    if (code == ERR_OK)
        code = exec_threads_new(NULL, &server->env.executor, err);
    struct transport_nng_options transport = {
        .tls_ca_file = options->tls_ca_file,
        .tls_cert_file = options->tls_cert_file,
        .tls_key_file = options->tls_key_file,
        /* Who names an authority wants to know who is there, in both directions. */
        .tls_require_client = options->tls_ca_file != NULL,
        .log = server->env.log,
        .clock = server->env.clock,
    };
    if (code == ERR_OK)
        code = transport_nng_new(&transport, &server->env.transport, err);
    if (code != ERR_OK)
        server_close(server);
    return code;
}

void server_stop(struct server *server)
{
    if (server->env.executor)
        exec_threads_stop(server->env.executor);
    transport_nng_stop(server->env.transport); /* the service may still close its connections: nothing happens then */
}

void server_flush(struct server *server)
{
    struct error err;
    if (engine_rocks_flush(server->env.engine, &err) != ERR_OK)
        log_event(server->env.log, LOG_WARN, "msg=\"flush failed, the next start replays the log\" error=\"%s\"",
                  err.text);
}

void server_close(struct server *server)
{
    server_stop(server);
    transport_nng_free(server->env.transport);
    exec_threads_free(server->env.executor);
    engine_rocks_close(server->env.engine);
    os_unlock(server->lock);
    log_os_free(server->env.log);
    os_signals_close(server->signals);
    memset(server, 0, sizeof *server);
}

static void leave(struct server *server, const struct server_probe *probe)
{
    if (!probe->leave)
        return;
    uint64_t begun_us = clock_now_us(server->env.clock), now_us = begun_us;
    probe->leave(probe->context);
    while (!probe->has_left(probe->context) && now_us < begun_us + LEAVE_LIMIT_MS * 1000 &&
           os_signals_wait(server->signals, LEAVE_INTERVAL_MS) != OS_SIGNAL_STOP)
        now_us = clock_now_us(server->env.clock);
    log_event(server->env.log, LOG_INFO, "msg=\"left\" after_ms=%llu complete=%s",
              (unsigned long long)((now_us - begun_us) / 1000), probe->has_left(probe->context) ? "true" : "false");
}

enum err server_wait(struct server *server, const struct server_probe *probe)
{
    bool was_ready = false;
    for (;;) {
        enum os_signal signal = os_signals_wait(server->signals, PROBE_INTERVAL_MS);
        if (signal == OS_SIGNAL_STOP) {
            log_event(server->env.log, LOG_INFO, "msg=\"stopping\"");
            leave(server, probe);
            return ERR_OK;
        }
        enum err code = probe->failure ? probe->failure(probe->context) : ERR_OK;
        if (code != ERR_OK)
            return code;
        if (was_ready || !probe->is_ready(probe->context))
            continue;
        was_ready = true;
        log_event(server->env.log, LOG_INFO, "msg=\"ready\"");
    }
}
