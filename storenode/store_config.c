#include "storenode/store_config.h"

#include <stdlib.h>

#include "base/types.h"
#include "config/address.h"
#include "config/settings.h"

#define FIELD(field) SETTING_FIELD(struct store_config, field)

static const struct setting table[] = {
    {.key = "config",
     .env = "POLDER_CONFIG",
     .type = SETTING_STRING,
     .flag_only = true,
     FIELD(config_file),
     .value_name = "FILE",
     .help = "YAML file with any of these keys"},
    {.key = "data-dir",
     .env = "POLDER_DATA_DIR",
     .type = SETTING_STRING,
     FIELD(data_dir),
     .value_name = "DIR",
     .help = "where the store keeps its data; one process at a time"},
    {.key = "address",
     .env = "POLDER_ADDRESS",
     .type = SETTING_STRING,
     FIELD(address),
     .default_text = "tcp://127.0.0.1:20160",
     .value_name = "ADDRESS",
     .help = "where it listens: tcp://host:port, tls+tcp://host:port, ipc:///path"},
    {.key = "advertise-address",
     .env = "POLDER_ADVERTISE_ADDRESS",
     .type = SETTING_STRING,
     FIELD(advertise_address),
     .value_name = "ADDRESS",
     .help = "what others dial; not given: the address"},
    {.key = "pd",
     .env = "POLDER_PD",
     .type = SETTING_STRINGS,
     FIELD(pd),
     .count_offset = offsetof(struct store_config, pd_count),
     .list_max = STORE_PD_ENDPOINTS_MAX,
     .default_text = "tcp://127.0.0.1:2379",
     .value_name = "LIST",
     .help = "endpoints of the placement drivers"},
    {.key = "insecure",
     .env = "POLDER_INSECURE",
     .type = SETTING_BOOL,
     FIELD(insecure),
     .default_text = "false",
     .help = "allow an address that other machines reach, without TLS"},
    {.key = "log-level",
     .env = "POLDER_LOG_LEVEL",
     .type = SETTING_STRING,
     FIELD(log_level),
     .default_text = "info",
     .choices = "debug|info|warn|error",
     .help = "what is less important is not logged"},
    {.key = "region-workers",
     .env = "POLDER_REGION_WORKERS",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(region_workers),
     .default_text = "0",
     .max = 256,
     .help = "threads that own regions; 0: one per 4 cores"},
    {.key = "read-workers",
     .env = "POLDER_READ_WORKERS",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(read_workers),
     .default_text = "0",
     .max = 256,
     .help = "threads that read; 0: one per 2 cores"},
    {.key = "tick",
     .env = "POLDER_TICK",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(tick_ms),
     .default_text = "100ms",
     .min = 10,
     .max = 10000,
     .help = "the clock step of all groups"},
    {.key = "heartbeat-ticks",
     .env = "POLDER_HEARTBEAT_TICKS",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(heartbeat_ticks),
     .default_text = "2",
     .min = 1,
     .max = 1000,
     .help = "ticks between two signs of life of a leader"},
    {.key = "election-ticks",
     .env = "POLDER_ELECTION_TICKS",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(election_ticks),
     .default_text = "10",
     .min = 2,
     .max = 10000,
     .help = "ticks of silence until followers elect"},
    {.key = "lease-read",
     .env = "POLDER_LEASE_READ",
     .type = SETTING_BOOL,
     .advanced = true,
     FIELD(lease_read),
     .default_text = "true",
     .help = "leaders answer reads under a lease, without asking a quorum"},
    {.key = "lease",
     .env = "POLDER_LEASE",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(lease_ms),
     .default_text = "750ms",
     .min = 1,
     .help = "length of a lease; below (election-ticks - 1) * tick less 10% for clock drift"},
    {.key = "region-sleep-after",
     .env = "POLDER_REGION_SLEEP_AFTER",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(sleep_after_ms),
     .default_text = "1s",
     .max = 86400000,
     .help = "idle regions then send nothing until they are asked; 0ms: never"},
    {.key = "mailbox-max",
     .env = "POLDER_MAILBOX_MAX",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(mailbox_max),
     .default_text = "65536",
     .min = 16,
     .max = 16777216,
     .help = "messages waiting per actor"},
    {.key = "region-proposals-max",
     .env = "POLDER_REGION_PROPOSALS_MAX",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(region_proposals_max),
     .default_text = "4096",
     .min = 1,
     .max = 1048576,
     .help = "requests waiting per region"},
    {.key = "proposal-size-max",
     .env = "POLDER_PROPOSAL_SIZE_MAX",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(proposal_size_max),
     .default_text = "9MiB",
     .min = VALUE_SIZE_MAX + 64 * 1024,
     .max = FRAME_SIZE_MAX / 2,
     .help = "bytes in one log entry"},
    {.key = "inflight-count-max",
     .env = "POLDER_INFLIGHT_COUNT_MAX",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(inflight_count_max),
     .default_text = "256",
     .min = 1,
     .max = 65536,
     .help = "append messages on the way per follower"},
    {.key = "inflight-size-max",
     .env = "POLDER_INFLIGHT_SIZE_MAX",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(inflight_size_max),
     .default_text = "64MiB",
     .min = 64 * 1024,
     .help = "bytes on the way per follower"},
    {.key = "append-size-max",
     .env = "POLDER_APPEND_SIZE_MAX",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(append_size_max),
     .default_text = "1MiB",
     .min = 4096,
     .max = FRAME_SIZE_MAX / 2,
     .help = "bytes per append message"},
    {.key = "log-retain-count",
     .env = "POLDER_LOG_RETAIN_COUNT",
     .type = SETTING_U64,
     .advanced = true,
     FIELD(log_retain_count),
     .default_text = "1024",
     .help = "log entries kept after apply, for slow followers"},
    {.key = "log-size-max",
     .env = "POLDER_LOG_SIZE_MAX",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(log_size_max),
     .default_text = "64MiB",
     .min = 1024 * 1024,
     .help = "log per region; beyond it a slow follower gets a snapshot"},
    {.key = "store-heartbeat",
     .env = "POLDER_STORE_HEARTBEAT",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(store_heartbeat_ms),
     .default_text = "1s",
     .min = 10,
     .max = 60000,
     .help = "interval of reports to pd"},
    {.key = "block-cache",
     .env = "POLDER_BLOCK_CACHE",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(block_cache_size),
     .default_text = "256MiB",
     .min = 1024 * 1024,
     .help = "RocksDB block cache"},
    {.key = "write-buffer",
     .env = "POLDER_WRITE_BUFFER",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(write_buffer_size),
     .default_text = "32MiB",
     .min = 1024 * 1024,
     .help = "RocksDB write buffer per column family; a restart after a crash replays up to twice that"},
    {.key = "scan-limit-max",
     .env = "POLDER_SCAN_LIMIT_MAX",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(scan_limit_max),
     .default_text = "10000",
     .min = 1,
     .max = 1000000,
     .help = "rows per reply of a scan"},
    {.key = "scan-size-max",
     .env = "POLDER_SCAN_SIZE_MAX",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(scan_size_max),
     .default_text = "8MiB",
     .min = 4096,
     .max = FRAME_SIZE_MAX / 2,
     .help = "bytes per reply of a scan"},
    {.key = "tls-ca",
     .env = "POLDER_TLS_CA",
     .type = SETTING_STRING,
     .advanced = true,
     FIELD(tls_ca_file),
     .value_name = "FILE",
     .help = "PEM: who may vouch for the other side"},
    {.key = "tls-cert",
     .env = "POLDER_TLS_CERT",
     .type = SETTING_STRING,
     .advanced = true,
     FIELD(tls_cert_file),
     .value_name = "FILE",
     .help = "PEM: own certificate, for tls+tcp:// addresses"},
    {.key = "tls-key",
     .env = "POLDER_TLS_KEY",
     .type = SETTING_STRING,
     .advanced = true,
     FIELD(tls_key_file),
     .value_name = "FILE",
     .help = "PEM: key of the certificate"},
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

const struct setting *store_config_table(size_t *ret_count)
{
    *ret_count = TABLE_COUNT;
    return table;
}

void store_config_init(struct store_config *config)
{
    struct settings *settings = settings_new(table, TABLE_COUNT);
    settings_fill(settings, config);
    settings_free(settings);
}

void store_config_fini(struct store_config *config)
{
    settings_fini_target(table, TABLE_COUNT, config);
}

static enum err check_timing(const struct store_config *config, struct error *err)
{
    if (config->election_ticks < 2 * config->heartbeat_ticks)
        return error_set(err, ERR_INVALID, "election-ticks: %u is less than twice heartbeat-ticks (%u)",
                         config->election_ticks, config->heartbeat_ticks);
    uint64_t lease_limit_ms = (uint64_t)(config->election_ticks - 1) * config->tick_ms * 9 / 10;
    if (config->lease_read && config->lease_ms >= lease_limit_ms)
        return error_set(err, ERR_INVALID,
                         "lease: %llums is too long for election-ticks %u and tick %llums: it must stay below %llums",
                         (unsigned long long)config->lease_ms, config->election_ticks,
                         (unsigned long long)config->tick_ms, (unsigned long long)lease_limit_ms);
    return ERR_OK;
}

enum err store_config_finish(struct store_config *config, struct error *err)
{
    if (!config->data_dir || config->data_dir[0] == '\0')
        return error_set(err, ERR_INVALID, "data-dir: must be given");
    enum err code = address_complete(&config->address, "address", err);
    if (code == ERR_OK && config->advertise_address)
        code = address_complete(&config->advertise_address, "advertise-address", err);
    if (code == ERR_OK)
        code = address_check_listen(config->address, config->advertise_address, config->insecure, config->tls_cert_file,
                                    err);
    if (code == ERR_OK && config->pd_count == 0)
        code = error_set(err, ERR_INVALID, "pd: must name at least one endpoint");
    for (uint32_t i = 0; i < config->pd_count && code == ERR_OK; i++)
        code = address_complete(&config->pd[i], "pd", err);
    if (code == ERR_OK)
        code = check_timing(config, err);
    if (code == ERR_OK && !config->advertise_address)
        code = address_copy(&config->advertise_address, config->address);
    return code;
}
