#include "pd/pd_config.h"

#include <string.h>

#include "config/address.h"
#include "config/server_rows.h"
#include "config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(field) SETTING_FIELD(struct pd_config, field)

static const struct setting table[] = {
    {.key = "config",
     .env = "POLDER_CONFIG",
     .type = SETTING_STRING,
     .flag_only = true,
     FIELD(config_file),
     .value_name = "FILE",
     .help = "YAML file with any of these keys"},
    {.key = "name",
     .env = "POLDER_NAME",
     .type = SETTING_STRING,
     FIELD(name),
     .default_text = "pd-1",
     .value_name = "NAME",
     .help = "of this member, for people"},
    {.key = "data-dir",
     .env = "POLDER_DATA_DIR",
     .type = SETTING_STRING,
     FIELD(data_dir),
     .value_name = "DIR",
     .help = "where pd keeps its data; one process at a time"},
    {.key = "address",
     .env = "POLDER_ADDRESS",
     .type = SETTING_STRING,
     FIELD(address),
     .default_text = "tcp://127.0.0.1:2379",
     .value_name = "ADDRESS",
     .help = "where it listens: tcp://host:port, tls+tcp://host:port, ipc:///path"},
    {.key = "advertise-address",
     .env = "POLDER_ADVERTISE_ADDRESS",
     .type = SETTING_STRING,
     FIELD(advertise_address),
     .value_name = "ADDRESS",
     .help = "what others dial; not given: the address"},
    {.key = "status-address",
     .env = "POLDER_STATUS_ADDRESS",
     .type = SETTING_STRING,
     FIELD(status_address),
     .value_name = "ADDRESS",
     .help = "HTTP for probes, metrics and pd-ctl: host:port, or off; not given: the port of address + 2 on this machine"},
    {.key = "initial-cluster",
     .env = "POLDER_INITIAL_CLUSTER",
     .type = SETTING_STRINGS,
     FIELD(initial_cluster),
     .count_offset = offsetof(struct pd_config, initial_cluster_count),
     .list_max = PD_CONFIG_FOUNDERS_MAX,
     .value_name = "NAME=ADDRESS,...",
     .help = "all members that found the cluster, this one too; 1, 3 or 5. Not given: it is alone"},
    {.key = "join",
     .env = "POLDER_JOIN",
     .type = SETTING_BOOL,
     FIELD(join),
     .default_text = "false",
     .help = "with an empty data-dir: wait to be added to a cluster that runs"},
    SERVER_ROWS(struct pd_config),
    {.key = "bootstrap-stores",
     .env = "POLDER_BOOTSTRAP_STORES",
     .type = SETTING_U32,
     FIELD(bootstrap_stores),
     .default_text = "3",
     .min = 1,
     .max = 1024,
     .help = "stores that must register before the first regions are made"},
    {.key = "bootstrap-regions",
     .env = "POLDER_BOOTSTRAP_REGIONS",
     .type = SETTING_U32,
     FIELD(bootstrap_regions),
     .default_text = "16",
     .min = 1,
     .max = 65536,
     .help = "first regions, spread over the key space"},
    {.key = "replicas",
     .env = "POLDER_REPLICAS",
     .type = SETTING_U32,
     FIELD(replicas),
     .default_text = "3",
     .min = 1,
     .max = 9,
     .help = "copies of each region, on different stores"},
    {.key = "tick",
     .env = "POLDER_TICK",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(tick_ms),
     .default_text = "50ms",
     .min = 10,
     .max = 10000,
     .help = "the clock step of pd's own group"},
    {.key = "heartbeat-ticks",
     .env = "POLDER_HEARTBEAT_TICKS",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(heartbeat_ticks),
     .default_text = "2",
     .min = 1,
     .max = 1000,
     .help = "ticks between two signs of life of the leader"},
    {.key = "election-ticks",
     .env = "POLDER_ELECTION_TICKS",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(election_ticks),
     .default_text = "15",
     .min = 2,
     .max = 10000,
     .help = "ticks of silence until members elect"},
    {.key = "log-size-max",
     .env = "POLDER_LOG_SIZE_MAX",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(log_size_max),
     .default_text = "64MiB",
     .min = 1024,
     .help = "log kept for a member that is behind; then it gets a snapshot"},
    {.key = "snapshot-chunk-size",
     .env = "POLDER_SNAPSHOT_CHUNK_SIZE",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(snapshot_chunk_size),
     .default_text = "1MiB",
     .min = 1,
     .max = 16 * 1024 * 1024,
     .help = "of a snapshot in one message"},
    {.key = "mailbox-max",
     .env = "POLDER_MAILBOX_MAX",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(mailbox_max),
     .default_text = "65536",
     .min = 16,
     .max = 16777216,
     .help = "messages waiting per actor"},
    {.key = "store-disconnected-after",
     .env = "POLDER_STORE_DISCONNECTED_AFTER",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(store_disconnected_ms),
     .default_text = "5s",
     .min = 100,
     .help = "silence until a store counts as disconnected"},
    {.key = "store-down-after",
     .env = "POLDER_STORE_DOWN_AFTER",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(store_down_ms),
     .default_text = "30min",
     .min = 1000,
     .help = "silence until a store counts as down"},
    {.key = "scheduling",
     .env = "POLDER_SCHEDULING",
     .type = SETTING_BOOL,
     .advanced = true,
     FIELD(scheduling),
     .default_text = "true",
     .help = "pd decides by itself where peers and leaders are; false: only what people ask for is done"},
    {.key = "schedule-interval",
     .env = "POLDER_SCHEDULE_INTERVAL",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(schedule_interval_ms),
     .default_text = "500ms",
     .min = 10,
     .max = 3600000,
     .help = "between two rounds of deciding"},
    {.key = "region-merge-size",
     .env = "POLDER_REGION_MERGE_SIZE",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(region_merge_size),
     .default_text = "20MiB",
     .help = "a region that is no larger is merged with a neighbour; 0B: none is"},
    {.key = "region-merge-keys",
     .env = "POLDER_REGION_MERGE_KEYS",
     .type = SETTING_U64,
     .advanced = true,
     FIELD(region_merge_keys),
     .default_text = "200000",
     .help = "and has no more keys"},
    {.key = "split-merge-interval",
     .env = "POLDER_SPLIT_MERGE_INTERVAL",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(split_merge_interval_ms),
     .default_text = "1min",
     .help = "and was not split for so long"},
    {.key = "hot-region-load",
     .env = "POLDER_HOT_REGION_LOAD",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(hot_region_load),
     .default_text = "1000",
     .min = 1,
     .help = "keys and 4 KiB blocks per second from which on a region is hot"},
    {.key = "store-limit",
     .env = "POLDER_STORE_LIMIT",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(store_limit_size),
     .default_text = "100MiB",
     .help = "bytes of snapshots that a store sends, and receives, per second; 0B: no limit"},
    {.key = "store-space-low",
     .env = "POLDER_STORE_SPACE_LOW",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(store_space_low_percent),
     .default_text = "20",
     .max = 99,
     .help = "a store with less per cent of its disk free gets nothing"},
    {.key = "store-latency-target",
     .env = "POLDER_STORE_LATENCY_TARGET",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(store_latency_target_ms),
     .default_text = "200ms",
     .help = "of synced writes; above it snapshots to and from a store slow down; 0ms: never"},
    {.key = "operators-max",
     .env = "POLDER_OPERATORS_MAX",
     .type = SETTING_U32,
     .advanced = true,
     FIELD(operators_max),
     .default_text = "4096",
     .min = 1,
     .max = 1048576,
     .help = "changes of regions under way at a time"},
    {.key = "timestamp-window",
     .env = "POLDER_TIMESTAMP_WINDOW",
     .type = SETTING_DURATION,
     .advanced = true,
     FIELD(timestamp_window_ms),
     .default_text = "3s",
     .min = 100,
     .max = 60000,
     .help = "how far ahead timestamps are reserved"},
    {.key = "block-cache",
     .env = "POLDER_BLOCK_CACHE",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(block_cache_size),
     .default_text = "8MiB",
     .min = 1024 * 1024,
     .help = "RocksDB block cache"},
    {.key = "write-buffer",
     .env = "POLDER_WRITE_BUFFER",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(write_buffer_size),
     .default_text = "8MiB",
     .min = 1024 * 1024,
     .help = "RocksDB write buffer per column family"},
    {.key = "disk-reserve",
     .env = "POLDER_DISK_RESERVE",
     .type = SETTING_SIZE,
     .advanced = true,
     FIELD(disk_reserve_size),
     .default_text = "64MiB",
     .help = "with an eighth of it free (or of a twentieth of the disk) pd waits for room; 0B: never"},
};

enum { TABLE_COUNT = sizeof table / sizeof table[0] };

const struct setting *pd_config_table(size_t *ret_count)
{
    *ret_count = TABLE_COUNT;
    return table;
}

void pd_config_init(struct pd_config *config)
{
    struct settings *settings = settings_new(table, TABLE_COUNT);
    settings_fill(settings, config);
    settings_free(settings);
}

void pd_config_fini(struct pd_config *config)
{
    settings_fini_target(table, TABLE_COUNT, config);
}

static const char *const online_keys[] = {"scheduling",        "schedule-interval",    "region-merge-size",
                                          "region-merge-keys", "split-merge-interval", "hot-region-load",
                                          "store-limit",       "store-down-after",     "store-disconnected-after",
                                          "store-space-low",   "store-latency-target"};

bool pd_config_is_online(const char *key)
{
    for (size_t i = 0; i < sizeof online_keys / sizeof online_keys[0]; i++)
        if (strcmp(online_keys[i], key) == 0)
            return true;
    return false;
}

/* All of these are numbers. */
static void copy_field(const struct setting *row, const struct pd_config *from, struct pd_config *to)
{
    size_t size = row->type == SETTING_BOOL  ? sizeof(bool)
                  : row->type == SETTING_U32 ? sizeof(uint32_t)
                                             : sizeof(uint64_t);
    memcpy((char *)to + row->offset, (const char *)from + row->offset, size);
}

enum err pd_config_set_online(struct pd_config *config, const char *key, const char *text, struct error *err)
{
    if (!pd_config_is_online(key))
        return error_set(err, ERR_NOT_FOUND, "%s cannot be set while pd runs", key);
    struct settings *settings = settings_new(table, TABLE_COUNT);
    struct pd_config other = {0};
    enum err code = settings_set(settings, key, ORIGIN_FLAG, "online", text, err);
    settings_fill(settings, &other);
    for (size_t i = 0; i < TABLE_COUNT && code == ERR_OK; i++)
        if (strcmp(table[i].key, key) == 0)
            copy_field(&table[i], &other, config);
    pd_config_fini(&other);
    settings_free(settings);
    return code;
}

/* `name=host:port` becomes name=tcp://host:port. */
static enum err complete_founder(char **founder, struct error *err)
{
    char address[ADDRESS_TEXT_SIZE_MAX], text[2 * ADDRESS_TEXT_SIZE_MAX];
    const char *sign = strchr(*founder, '=');
    if (!sign || sign == *founder || sign - *founder > ADDRESS_TEXT_SIZE_MAX / 2)
        return error_set(err, ERR_INVALID, "initial-cluster: '%s' is not NAME=ADDRESS", *founder);
    enum err code = address_normalize(sign + 1, address, err);
    if (code != ERR_OK)
        return error_wrap(err, "initial-cluster");
    snprintf(text, sizeof text, "%.*s=%s", (int)(sign - *founder), *founder, address);
    free(*founder);
    return address_copy(founder, text);
}

static bool share_part(const char *one, const char *other)
{
    size_t size = strcspn(one, "=");
    return (strcspn(other, "=") == size && memcmp(one, other, size) == 0) ||
           strcmp(strchr(one, '='), strchr(other, '=')) == 0;
}

static enum err finish_founders(struct pd_config *config, const char *advertised, struct error *err)
{
    char own[2 * ADDRESS_TEXT_SIZE_MAX];
    bool found = config->initial_cluster_count == 0;
    enum err code = ERR_OK;
    snprintf(own, sizeof own, "%s=%s", config->name, advertised);
    if (config->join && config->initial_cluster_count > 0)
        return error_set(err, ERR_INVALID, "join: a member that joins learns from the others who they are; leave "
                                           "initial-cluster out");
    if (config->initial_cluster_count > 0 && config->initial_cluster_count % 2 == 0)
        return error_set(err, ERR_INVALID, "initial-cluster: %u members; 1, 3 or 5 can lose 0, 1 or 2",
                         config->initial_cluster_count);
    for (uint32_t i = 0; i < config->initial_cluster_count && code == ERR_OK; i++) {
        code = complete_founder(&config->initial_cluster[i], err);
        for (uint32_t k = 0; k < i && code == ERR_OK; k++)
            if (share_part(config->initial_cluster[i], config->initial_cluster[k]))
                code = error_set(err, ERR_INVALID, "initial-cluster: %s and %s have the same name or address",
                                 config->initial_cluster[k], config->initial_cluster[i]);
        found |= code == ERR_OK && strcmp(config->initial_cluster[i], own) == 0;
    }
    if (code == ERR_OK && !found)
        code = error_set(err, ERR_INVALID, "initial-cluster: %s, this member, is not in it", own);
    return code;
}

enum err pd_config_finish(struct pd_config *config, struct error *err)
{
    if (!config->data_dir || config->data_dir[0] == '\0')
        return error_set(err, ERR_INVALID, "data-dir: must be given");
    enum err code = address_complete(&config->address, "address", err);
    if (code == ERR_OK && config->advertise_address)
        code = address_complete(&config->advertise_address, "advertise-address", err);
    if (code == ERR_OK)
        code = address_check_listen(config->address, config->advertise_address, config->insecure, config->tls_cert_file,
                                    err);
    if (code != ERR_OK)
        return code;
    code = finish_founders(config, config->advertise_address ? config->advertise_address : config->address, err);
    if (code != ERR_OK)
        return code;
    if (config->replicas > config->bootstrap_stores)
        return error_set(err, ERR_INVALID, "replicas: %u are more than bootstrap-stores (%u)", config->replicas,
                         config->bootstrap_stores);
    if (config->election_ticks < 2 * config->heartbeat_ticks)
        return error_set(err, ERR_INVALID, "election-ticks: %u is less than twice heartbeat-ticks (%u)",
                         config->election_ticks, config->heartbeat_ticks);
    if (config->store_down_ms < config->store_disconnected_ms)
        return error_set(err, ERR_INVALID, "store-down-after: is shorter than store-disconnected-after");
    code = address_complete_status(&config->status_address, config->address, 2, config->insecure, err);
    if (code != ERR_OK)
        return code;
    return config->advertise_address ? ERR_OK : address_copy(&config->advertise_address, config->address);
}
