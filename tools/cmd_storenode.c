/* cmd_storenode: the process of a storenode around storenode/store.h. */
#include "base/log.h"
#include "commands.h"
#include "server.h"
#include "status_port.h"
#include "storenode/store.h"
#include "storenode/store_config.h"

static bool is_ready(void *context)
{
    return store_is_ready(context);
}

static enum err failure(void *context)
{
    return store_failure(context);
}

static void leave(void *context)
{
    store_leave(context);
}

static bool has_left(void *context)
{
    return store_has_left(context);
}

static void on_http(void *context, struct http_exchange *take_exchange)
{
    store_http(context, take_exchange);
}

static enum err serve(const struct store_config *config, struct error *err)
{
    struct server_options options = {
        .role = "storenode",
        .data_dir = config->data_dir,
        .log_level = config->log_level,
        .block_cache_size = config->block_cache_size,
        .write_buffer_size = config->write_buffer_size,
        .disk_reserve_size = config->disk_reserve_size,
        .tls_ca_file = config->tls_ca_file,
        .tls_cert_file = config->tls_cert_file,
        .tls_key_file = config->tls_key_file,
    };
    struct server server;
    struct store *store = NULL;
    struct status_port *status = NULL;
    enum err code = server_open(&options, &server, err);
    if (code != ERR_OK)
        return code;
    log_event(server.env.log, LOG_INFO, "msg=\"starting\" role=storenode version=%s address=%s data_dir=%s",
              POLDER_VERSION, config->address, config->data_dir);
    code = store_new(&server.env, config, &store, err);
    const struct http_handler http = {.context = store, .on_request = on_http};
    if (code == ERR_OK)
        code = status_port_open(&server, config->status_address, &http, &status, err);
    if (code == ERR_OK) {
        struct server_probe probe = {.context = store, .is_ready = is_ready, .failure = failure, .leave = leave, .has_left = has_left};
        code = server_wait(&server, &probe);
        if (code == ERR_CLUSTER_NOT_MATCH)
            error_set(err, code, "data directory %s belongs to another cluster than pd at %s", config->data_dir,
                      config->pd[0]);
        else if (code != ERR_OK)
            error_set(err, code, "stopped serving: %s; the log says what failed", err_name(code));
    }
    status_port_close(status);
    server_stop(&server);
    store_free(store);
    if (code == ERR_OK)
        server_flush(&server);
    server_close(&server);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct store_config config;
    struct error err;
    int code = server_configure(command, argc, argv, &config);
    if (code != CLI_GO_ON)
        return code;
    if (store_config_finish(&config, &err) != ERR_OK) {
        code = cli_usage(command, "%s", err.text);
    } else if (serve(&config, &err) == ERR_OK) {
        code = CLI_OK;
    } else {
        cli_complain(command, "start store: %s", err.text);
        code = CLI_FAILED;
    }
    store_config_fini(&config);
    return code;
}

const struct command command_storenode = {
    .name = "storenode",
    .operands = "",
    .summary = "run a storenode in the foreground",
    .text =
        "Keeps regions of the key space on disk, replicated with other storenodes. Logs to standard error; TERM and "
        "INT end it\n"
        "in order. Any key of the YAML file is a flag too; flags win over POLDER_* variables, those over the file.\n"
        "\n"
        "Examples:\n"
        "  polder storenode --data-dir /var/lib/polder --pd 127.0.0.1:2379\n"
        "  polder storenode --config store.yaml --address tcp://127.0.0.1:20161\n"
        "  polder config gen storenode > store.yaml\n"
        "\n"
        "Exit codes: 0 stopped by a signal, 1 could not start or had to stop, 2 wrong usage or configuration.\n\n",
    .table_of = store_config_table,
    .run = run,
};
