/* cmd_pd: the process of a placement driver around pd/pd.h. */
#include "base/log.h"
#include "commands.h"
#include "pd/pd.h"
#include "pd/pd_config.h"
#include "server.h"
#include "status_port.h"

static enum err failure(void *context)
{
    return pd_failure(context);
}

static bool is_ready(void *context)
{
    return pd_is_ready(context);
}

static void on_http(void *context, struct http_exchange *take_exchange)
{
    pd_http(context, take_exchange);
}

static enum err serve(const struct pd_config *config, struct error *err)
{
    struct server_options options = {
        .role = "pd",
        .data_dir = config->data_dir,
        .log_level = config->log_level,
        .block_cache_size = config->block_cache_size,
        .write_buffer_size = config->write_buffer_size,
        .share_memory = true,
        .disk_reserve_size = config->disk_reserve_size,
        .tls_ca_file = config->tls_ca_file,
        .tls_cert_file = config->tls_cert_file,
        .tls_key_file = config->tls_key_file,
    };
    struct server server;
    struct pd *pd = NULL;
    struct status_port *status = NULL;
    enum err code = server_open(&options, &server, err);
    if (code != ERR_OK)
        return code;
    log_event(server.env.log, LOG_INFO, "msg=\"starting\" role=pd name=%s version=%s address=%s data_dir=%s",
              config->name, POLDER_VERSION, config->address, config->data_dir);
    code = pd_new(&server.env, config, &pd, err);
    const struct http_handler http = {.context = pd, .on_request = on_http};
    if (code == ERR_OK)
        code = status_port_open(&server, config->status_address, &http, &status, err);
    if (code == ERR_OK) {
        struct server_probe probe = {.context = pd, .is_ready = is_ready, .failure = failure};
        code = server_wait(&server, &probe);
    }
    status_port_close(status);
    server_stop(&server);
    pd_free(pd);
    if (code == ERR_OK)
        server_flush(&server);
    server_close(&server);
    return code;
}

static int run(const struct command *command, int argc, char **argv)
{
    struct pd_config config;
    struct error err;
    int code = server_configure(command, argc, argv, &config);
    if (code != CLI_GO_ON)
        return code;
    if (pd_config_finish(&config, &err) != ERR_OK) {
        code = cli_usage(command, "%s", err.text);
    } else if (serve(&config, &err) == ERR_OK) {
        code = CLI_OK;
    } else {
        cli_complain(command, "start pd: %s", err.text);
        code = CLI_FAILED;
    }
    pd_config_fini(&config);
    return code;
}

const struct command command_pd = {
    .name = "pd",
    .operands = "",
    .summary = "run a placement driver in the foreground",
    .text = "Knows where every key range lives. Logs to standard error; TERM and INT end it in order. Any key of the "
            "YAML file is a\n"
            "flag too; flags win over POLDER_* variables, those over the file.\n"
            "\n"
            "Examples:\n"
            "  polder pd --data-dir /var/lib/polder-pd --bootstrap-stores 3 --bootstrap-regions 64\n"
            "  polder pd --name a --data-dir /var/lib/polder-pd --address 10.0.0.1:2379 \\\n"
            "    --initial-cluster a=10.0.0.1:2379,b=10.0.0.2:2379,c=10.0.0.3:2379   (the same list on all three)\n"
            "  polder pd --name d --data-dir /var/lib/polder-pd --address 10.0.0.4:2379 --join   (after it was added)\n"
            "  polder pd --config pd.yaml\n"
            "  polder config gen pd > pd.yaml\n"
            "\n"
            "Exit codes: 0 stopped by a signal, 1 could not start, 2 wrong usage or configuration.\n\n",
    .table_of = pd_config_table,
    .run = run,
};
